//! When messages are due.

use std::time::Duration;

use crate::payload::Payloads;
use crate::rng::{self, Purpose};
use crate::units::Rate;

/// What the devices of a population send, and when.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Time between two messages of one device; zero sends all of them at once.
    pub interval: Duration,
    /// Each message is moved by up to this, either way; at most half of `interval`.
    pub jitter: Duration,
    /// Messages per device; `None`: until the run ends.
    pub messages: Option<u64>,
    /// Messages of one device that may await their acknowledgement at once; at least 1.
    pub in_flight: u32,
    /// Messages of one device that may wait for their turn; one more is not sent (queue full).
    pub queue: u32,
    /// What a message holds.
    pub payload: Payloads,
}

impl Telemetry {
    /// The interval of one device when `count` devices together send at `fleet_rate`.
    pub fn interval_of_fleet_rate(fleet_rate: Rate, count: u64) -> Duration {
        Duration::from_nanos((count as f64 / fleet_rate.per_second() * 1e9).round() as u64)
    }

    /// The grid of one device.
    pub fn grid(&self, seed: u64, population: &str, n: u64) -> Grid {
        let interval = self.interval.as_nanos() as u64;
        let offset = rng::stream(seed, population, n, Purpose::TelemetryOffset).below(interval);
        // A device's jitter draws are numbered after it, so that they do not overlap with another device's.
        Grid { interval, jitter: self.jitter.as_nanos() as u64, offset, seed, device: n }
    }
}

/// The due instants of one device's messages, counted from when it was first connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    interval: u64,
    jitter: u64,
    offset: u64,
    seed: u64,
    device: u64,
}

impl Grid {
    /// When message `k` (from 0) is due: offset + k × interval, moved by its jitter. Never decreases with `k`.
    ///
    /// Computed from `k` each time, so that a long run ends when its schedule says.
    pub fn due(&self, population: &str, k: u64) -> Duration {
        let nominal = self.offset.saturating_add(self.interval.saturating_mul(k));
        if self.jitter == 0 {
            return Duration::from_nanos(nominal);
        }
        let message = self.device.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(k);
        let moved =
            rng::stream(self.seed, population, message, Purpose::TelemetryJitter).below(2 * self.jitter + 1);
        Duration::from_nanos((nominal + moved).saturating_sub(self.jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn telemetry(interval: Duration, jitter: Duration) -> Telemetry {
        Telemetry { interval, jitter, messages: None, in_flight: 1, queue: 10, payload: Payloads::default() }
    }

    #[test]
    fn a_rate_of_the_fleet_is_another_way_to_write_the_interval() {
        let rate = "50/s".parse().expect("a rate");
        assert_eq!(Telemetry::interval_of_fleet_rate(rate, 200), Duration::from_secs(4));
    }

    #[test]
    fn an_interval_of_zero_makes_every_message_due_at_once() {
        let grid = telemetry(Duration::ZERO, Duration::ZERO).grid(7, "sensors", 3);
        assert_eq!((grid.due("sensors", 0), grid.due("sensors", 9)), (Duration::ZERO, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn messages_stay_on_their_grid_and_in_order(seed: u64, n in 0u64..1_000_000, k in 0u64..1_000_000, millis in 2u64..100_000) {
            let interval = Duration::from_millis(millis);
            let jitter = interval / 2;
            let grid = telemetry(interval, jitter).grid(seed, "sensors", n);
            let plain = telemetry(interval, Duration::ZERO).grid(seed, "sensors", n);
            prop_assert!(plain.due("sensors", 0) < interval);
            prop_assert_eq!(plain.due("sensors", k + 1), plain.due("sensors", k) + interval);
            let (due, nominal) = (grid.due("sensors", k), plain.due("sensors", k));
            prop_assert!(due <= nominal + jitter && due + jitter >= nominal);
            prop_assert!(due <= grid.due("sensors", k + 1));
        }
    }
}
