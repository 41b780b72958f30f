//! How long to wait before trying again. Pure: failure, attempt and stream in, delay out.

use std::time::Duration;

use crate::rng::Stream;
use crate::step::{Class, Failure};

/// Wait before attempt `attempt` (1 for the first repetition) after `failure`.
///
/// What the service asks for is obeyed, but for "at once": 50 ms are the least. Without a hint the wait doubles from attempt to attempt and is drawn
/// evenly from its whole span, so that devices that failed together do not return together: 100 ms to 10 s, and after
/// throttling, or at the end of a quota, 5 s to 60 s, as the SDKs for C, C# and Node do.
///
/// Source: <https://learn.microsoft.com/azure/iot/concepts-manage-device-reconnections>
pub fn delay(attempt: u32, failure: &Failure, stream: &mut Stream) -> Duration {
    let (first, longest) = match failure.class {
        Class::Throttled | Class::QuotaExceeded => (Duration::from_secs(5), Duration::from_secs(60)),
        _ => (Duration::from_millis(100), Duration::from_secs(10)),
    };
    if let Some(hint) = failure.retry_after {
        return hint.max(Duration::from_millis(50));
    }
    // At most 2^16 times the first wait, which is beyond the longest anyway.
    let span = first.saturating_mul(1 << attempt.clamp(1, 17).saturating_sub(1)).min(longest);
    // Never below half the first wait: a draw near zero would hammer a service that is in trouble.
    let floor = first / 2;
    floor + (span - floor).mul_f64(stream.unit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    fn draws() -> Stream {
        stream(7, "sensors", 0, Purpose::Retry)
    }

    #[test]
    fn the_hint_of_the_service_is_obeyed() {
        let mut failure = Failure::new(Class::Throttled, "");
        failure.retry_after = Some(Duration::from_secs(20));
        assert_eq!(delay(3, &failure, &mut draws()), Duration::from_secs(20));
    }

    #[test]
    fn a_service_that_asks_for_no_wait_is_not_hammered() {
        let mut failure = Failure::new(Class::Throttled, "");
        failure.retry_after = Some(Duration::ZERO);
        assert_eq!(delay(1, &failure, &mut draws()), Duration::from_millis(50));
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
                    let wait = delay(attempt, &failure, &mut stream);
                    assert!(wait >= Duration::from_millis(floor) && wait <= Duration::from_millis(longest));
                }
            }
            let late: Vec<_> = (0..200).map(|_| delay(20, &failure, &mut stream)).collect();
            assert!(late.iter().any(|wait| wait.as_millis() > u128::from(longest / 2)));
        }
    }
}
