//! When devices start.

use std::time::Duration;

use crate::units::Rate;

/// The shape of a population's starts. Each start is computed from the device's number, so no rounding piles up.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// Evenly: device n at n / rate.
    Rate(Rate),
    /// From one rate to another, linearly over a time; then at the second rate.
    Ramp {
        /// Starts per second at the beginning.
        from: Rate,
        /// Starts per second from `over` on.
        to: Rate,
        /// How long the change takes; above 0.
        over: Duration,
    },
    /// All at once.
    Burst {
        /// When, on the run clock.
        at: Duration,
    },
}

impl Arrival {
    /// When device `n` (from 0) starts, on the run clock. Never decreases with `n`.
    pub fn due(&self, n: u64) -> Duration {
        let seconds = match self {
            Self::Rate(rate) => n as f64 / rate.per_second(),
            Self::Ramp { from, to, over } => {
                let (from, to, over) = (from.per_second(), to.per_second(), over.as_secs_f64());
                let during = (from + to) / 2.0 * over;
                let n = n as f64;
                if n >= during {
                    over + (n - during) / to
                } else {
                    // Solves from·t + (to−from)/(2·over)·t² = n in the form that stays exact when from ≈ to.
                    let slope = (to - from) / over;
                    2.0 * n / (from + (from * from + 2.0 * slope * n).max(0.0).sqrt())
                }
            }
            Self::Burst { at } => return *at,
        };
        // Whole nanoseconds; a start beyond the longest duration is never reached anyway.
        Duration::from_nanos((seconds * 1e9).min(u64::MAX as f64) as u64)
    }

    /// How many of `count` devices have started by `at`, that instant included.
    pub fn started_by(&self, at: Duration, count: u64) -> u64 {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due(middle) <= at { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The most of `count` devices that start within a window of length `window`, none later than `end`.
    ///
    /// All shapes are steepest at their beginning or at their end, so those two windows are looked at.
    pub fn most_within(&self, window: Duration, count: u64, end: Option<Duration>) -> u64 {
        let count = end.map_or(count, |end| self.started_by(end, count));
        if count == 0 {
            return 0;
        }
        let last = self.due(count - 1);
        let before = last.checked_sub(window).map_or(0, |from| self.started_by(from, count));
        self.started_by(window, count).max(count - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(per_second: f64) -> Rate {
        Rate::new(per_second).expect("a legal rate")
    }

    #[test]
    fn the_ramp_of_the_design_starts_its_4000th_device_at_91_7_s() {
        let ramp = Arrival::Ramp { from: rate(10.0), to: rate(60.0), over: Duration::from_secs(60) };
        assert_eq!(ramp.due(0), Duration::ZERO);
        assert_eq!(ramp.due(2_100), Duration::from_secs(60));
        assert_eq!(ramp.due(3_999).as_millis(), 91_650);
    }

    #[test]
    fn a_rate_starts_exactly_its_number_of_devices_in_each_second() {
        let arrival = Arrival::Rate(rate(100.0));
        assert_eq!(arrival.due(100), Duration::from_secs(1));
        assert_eq!(arrival.due(360_000), Duration::from_secs(3_600));
    }

    #[test]
    fn the_busiest_window_of_a_ramp_is_at_its_steep_end() {
        let up = Arrival::Ramp { from: rate(10.0), to: rate(60.0), over: Duration::from_secs(60) };
        assert_eq!(up.most_within(Duration::from_secs(10), 4_000, None), 600);
        let down = Arrival::Ramp { from: rate(60.0), to: rate(10.0), over: Duration::from_secs(60) };
        assert!(down.most_within(Duration::from_secs(1), 4_000, None) >= 60);
        assert_eq!(Arrival::Burst { at: Duration::ZERO }.most_within(Duration::ZERO, 500, None), 500);
        let steady = Arrival::Rate(rate(100.0));
        assert_eq!(steady.most_within(Duration::MAX, 1_000, Some(Duration::from_secs(5))), 501);
    }

    proptest! {
        #[test]
        fn starts_never_go_back_in_time(from in 0.1f64..1e4, to in 0.1f64..1e4, over in 1u64..600, n in 0u64..1_000_000) {
            for arrival in [
                Arrival::Rate(rate(from)),
                Arrival::Ramp { from: rate(from), to: rate(to), over: Duration::from_secs(over) },
                Arrival::Burst { at: Duration::from_secs(over) },
            ] {
                prop_assert!(arrival.due(n) <= arrival.due(n + 1));
            }
        }

        #[test]
        fn a_ramp_starts_as_many_devices_as_the_area_under_it(from in 0.1f64..1e3, to in 0.1f64..1e3, over in 1u64..600, at in 0.0f64..1.0) {
            let ramp = Arrival::Ramp { from: rate(from), to: rate(to), over: Duration::from_secs(over) };
            let (over, at) = (over as f64, at * over as f64);
            let area = from * at + (to - from) / (2.0 * over) * at * at;
            let n = area.floor() as u64;
            prop_assert!(ramp.due(n).as_secs_f64() <= at + 1e-6);
            prop_assert!(ramp.due(n + 1).as_secs_f64() >= at - 1e-6);
        }
    }
}
