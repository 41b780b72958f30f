//! How long devices wait before they ask again.
//!
//! Pure: failure, attempt and stream in, delay out.

use std::time::Duration;

use crate::azure::dps;
use crate::rng::Stream;
use crate::step::{Class, Failure};

/// How long devices wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waits {
    /// Before the first poll, whatever the service asks for; `None`: as it asks.
    pub first_poll: Option<Duration>,
    /// Before a poll where the service asks for nothing intelligible.
    pub absent_retry_after: Duration,
    /// The shortest and longest wait that is obeyed; what is outside counts as not asked for. `None`: all.
    pub obeyed: Option<(Duration, Duration)>,
    /// Before a request to DPS is repeated.
    pub dps: Again,
    /// Before a device that lost its hub, or did not reach it, connects again.
    pub hub: Again,
}

/// A rule for repeating.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Again {
    /// At once after a lost connection; then doubling, drawn evenly from the whole span, so that devices that failed together do
    /// not return together: 100 ms to 10 s, and after throttling, or at the end of a quota, 5 s to 60 s.
    ///
    /// Source: <https://learn.microsoft.com/azure/iot/concepts-manage-device-reconnections>
    Spread,
    /// The first time after one wait, then always after another: a fleet of these comes back in step.
    Fixed {
        /// After a lost connection.
        first: Duration,
        /// From then on.
        then: Duration,
    },
    /// At once, then growing with a little chance: 100 ms to 10 s, or 10 s to 60 s after throttling. `ExponentialBackOffWithJitter`
    /// of Node's azure-iot-common: min(cMin + (2^(n-1) - 1) × random() × c / 4, cMax).
    Node,
    /// At once, then 1, 2, 4 ... 30 s and up to 5 % more, in whole seconds: `IOTHUB_CLIENT_RETRY_EXPONENTIAL_BACKOFF_WITH_JITTER` of
    /// the SDK for C.
    C,
}

/// What a service asks for is obeyed, but for "at once": this is the least.
const LEAST_HINT: Duration = Duration::from_millis(50);

impl Waits {
    /// Muster's own.
    pub const MUSTER: Self = Self {
        first_poll: None,
        absent_retry_after: dps::ABSENT_RETRY_AFTER,
        obeyed: None,
        dps: Again::Spread,
        hub: Again::Spread,
    };

    /// Python's: what the service asks for is ignored the first time.
    pub const PYTHON: Self = Self {
        first_poll: Some(Duration::from_secs(2)),
        absent_retry_after: Duration::from_secs(2),
        obeyed: None,
        dps: Again::Fixed { first: Duration::from_secs(2), then: Duration::from_secs(2) },
        hub: Again::Fixed { first: Duration::from_millis(10), then: Duration::from_secs(10) },
    };

    /// Node's.
    pub const NODE: Self = Self {
        first_poll: None,
        absent_retry_after: Duration::from_secs(2),
        obeyed: None,
        dps: Again::Fixed { first: Duration::from_secs(2), then: Duration::from_secs(2) },
        hub: Again::Node,
    };

    /// That of the SDK for C.
    pub const C: Self = Self {
        first_poll: None,
        absent_retry_after: Duration::from_secs(1),
        obeyed: Some((Duration::from_secs(1), Duration::from_secs(300))),
        dps: Again::Fixed { first: Duration::from_secs(1), then: Duration::from_secs(1) },
        hub: Again::C,
    };

    /// Before a poll.
    ///
    /// * `asked`: by the service
    /// * `is_first`: whether it is the first for the operation
    pub fn poll(&self, asked: Option<Duration>, is_first: bool) -> Duration {
        if let Some(wait) = self.first_poll.filter(|_| is_first) {
            return wait;
        }
        self.obey(asked).unwrap_or(self.absent_retry_after)
    }

    /// Before a request to DPS is repeated for the `attempt`th time (from 1) after `failure`.
    pub fn before_dps(&self, attempt: u32, failure: &Failure, draws: &mut Stream) -> Duration {
        match self.obey(failure.retry_after) {
            Some(hint) => hint.max(LEAST_HINT),
            None => self.dps.delay(attempt, failure, draws),
        }
    }

    /// Before connecting to the hub after `attempt` failures in a row, 0 for a connection that worked and was lost.
    pub fn before_hub(&self, attempt: u32, failure: &Failure, draws: &mut Stream) -> Duration {
        match failure.retry_after.filter(|_| attempt > 0) {
            Some(hint) => hint.max(LEAST_HINT),
            None => self.hub.delay(attempt, failure, draws),
        }
    }

    fn obey(&self, asked: Option<Duration>) -> Option<Duration> {
        asked.filter(|asked| self.obeyed.is_none_or(|(least, most)| (least..=most).contains(asked)))
    }
}

impl Again {
    fn delay(self, attempt: u32, failure: &Failure, draws: &mut Stream) -> Duration {
        let is_throttled = matches!(failure.class, Class::Throttled | Class::QuotaExceeded);
        // 2^(attempt - 1), at most far beyond the longest wait.
        let factor = 1_u32 << attempt.clamp(1, 17).saturating_sub(1);
        match self {
            Self::Fixed { first, .. } if attempt == 0 => first,
            Self::Fixed { then, .. } => then,
            Self::Spread | Self::C if attempt == 0 => Duration::ZERO,
            Self::Node if attempt == 0 && !is_throttled => Duration::ZERO,
            Self::Spread => {
                let (first, longest) = if is_throttled { (5_000, 60_000) } else { (100, 10_000) };
                let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
                let span = first.saturating_mul(factor).min(longest);
                // Never below half the first wait: a draw near zero would hammer a service that is in trouble.
                let floor = first / 2;
                floor + (span - floor).mul_f64(draws.unit())
            }
            Self::Node => {
                let (c, least, longest) =
                    if is_throttled { (5_000.0, 10_000.0, 60_000.0) } else { (100.0, 100.0, 10_000.0) };
                // 2^(attempt - 1) is a half before the first attempt, where a throttled device has to wait already.
                let growth = if attempt == 0 { -0.5 } else { f64::from(factor - 1) };
                let grown = least + growth * draws.unit() * c / 4.0;
                Duration::from_secs_f64(f64::min(grown, longest) / 1e3)
            }
            Self::C => {
                let seconds = f64::from(factor.min(30)) * (1.0 + 0.05 * draws.unit());
                Duration::from_secs(seconds as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    fn draws() -> Stream {
        stream(7, "sensors", 0, Purpose::Retry)
    }

    fn throttled(seconds: u64) -> Failure {
        let retry_after = Some(Duration::from_secs(seconds));
        Failure { retry_after, ..Failure::new(Class::Throttled, "") }
    }

    #[test]
    fn the_hint_of_the_service_is_obeyed() {
        for waits in [Waits::MUSTER, Waits::PYTHON, Waits::NODE, Waits::C] {
            assert_eq!(waits.before_dps(3, &throttled(20), &mut draws()), Duration::from_secs(20));
            assert_eq!(waits.before_hub(3, &throttled(20), &mut draws()), Duration::from_secs(20));
        }
    }

    #[test]
    fn a_service_that_asks_for_no_wait_is_not_hammered() {
        assert_eq!(Waits::MUSTER.before_dps(1, &throttled(0), &mut draws()), Duration::from_millis(50));
    }

    #[test]
    fn waits_grow_to_ten_seconds_and_after_throttling_to_a_minute() {
        for (class, floor, longest) in [
            (Class::Refused, 50, 10_000),
            (Class::Throttled, 2_500, 60_000),
            (Class::QuotaExceeded, 2_500, 60_000),
        ] {
            let failure = Failure::new(class, "");
            let mut stream = draws();
            for attempt in [1, 2, 5, 20, u32::MAX] {
                for _ in 0..200 {
                    let wait = Waits::MUSTER.before_dps(attempt, &failure, &mut stream);
                    assert!(wait >= Duration::from_millis(floor) && wait <= Duration::from_millis(longest));
                }
            }
            let mut late = (0..200).map(|_| Waits::MUSTER.before_hub(20, &failure, &mut stream));
            assert!(late.any(|wait| wait.as_millis() > u128::from(longest / 2)));
        }
    }

    #[test]
    fn each_sdk_comes_back_to_its_hub_in_its_own_rhythm() {
        let lost = Failure::new(Class::Closed, "");
        let rhythm = |waits: Waits, failure: &Failure| {
            let mut stream = draws();
            [0, 1, 2, 5, 6, 40].map(|attempt| waits.before_hub(attempt, failure, &mut stream).as_millis())
        };
        assert_eq!(rhythm(Waits::PYTHON, &lost), [10, 10_000, 10_000, 10_000, 10_000, 10_000]);
        let [first, second, third, ..] = rhythm(Waits::NODE, &lost);
        assert_eq!((first, second), (0, 100));
        assert!((100..=125).contains(&third), "{third}");
        let [first, second, .., last] = rhythm(Waits::NODE, &Failure::new(Class::Throttled, ""));
        assert!((9_375..=10_000).contains(&first), "{first}");
        assert_eq!((second, last), (10_000, 60_000));
        let c = rhythm(Waits::C, &lost);
        assert_eq!(c[..4], [0, 1_000, 2_000, 16_000]);
        assert!(c[4..].iter().all(|wait| (30_000..=31_500).contains(wait)), "{c:?}");
    }

    #[test]
    fn each_sdk_polls_in_its_own_rhythm() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (waits, asked, first, later) in [
            (Waits::MUSTER, seconds(3), 3, 3),
            (Waits::MUSTER, None, 2, 2),
            (Waits::PYTHON, seconds(3), 2, 3),
            (Waits::PYTHON, None, 2, 2),
            (Waits::NODE, seconds(3), 3, 3),
            (Waits::NODE, None, 2, 2),
            (Waits::C, seconds(3), 3, 3),
            (Waits::C, None, 1, 1),
            (Waits::C, seconds(301), 1, 1),
            (Waits::C, seconds(0), 1, 1),
        ] {
            let waited = [true, false].map(|is_first| waits.poll(asked, is_first).as_secs());
            assert_eq!(waited, [first, later], "{asked:?} {waits:?}");
        }
    }
}
