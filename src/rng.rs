//! The one door to chance: every use has a named stream.
//!
//! A stream is a function of (seed, name, index, purpose), so a draw added in one place leaves all
//! others as they were, and device 17 of a population draws the same numbers on any thread or shard.
//! The derivation below is part of what "same seed, same run" means: changing it changes every run.

use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// What a stream is drawn for; part of its derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Where in its first interval a device's telemetry grid begins.
    TelemetryOffset = 1,
    /// How far one message is moved from its grid instant.
    TelemetryJitter = 2,
    /// Values inside telemetry payloads.
    Payload = 3,
    /// Waits before a retry.
    Retry = 4,
    /// Gaps between device starts.
    Arrival = 5,
    /// What the emulator draws for one registration: delay, polls, hub.
    Assignment = 6,
    /// Identifiers that the emulator makes up (operation ids, etags).
    Identifier = 7,
    /// Keys that a scenario asks to have generated.
    Key = 8,
    /// Time that the emulator takes over one request.
    Service = 9,
    /// When something changes in a device's world, so that it sends.
    TelemetryChange = 10,
    /// What a client makes up: request ids, first packet ids, when it renews its token.
    Client = 11,
}

/// A stream of random numbers. Not for secrets that must not be guessed.
#[derive(Debug, Clone)]
pub struct Stream(Xoshiro256PlusPlus);

/// The stream of `purpose` for entity number `index` of `name` (a population, an enrollment, a registration id).
pub fn stream(seed: u64, name: &str, index: u64, purpose: Purpose) -> Stream {
    // FNV-1a over the name, then one splitmix64 step per part: cheap, and well mixed by xoshiro's own seeding.
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    for byte in name.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    for part in [seed, index, purpose as u64] {
        state = mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    }
    Stream(Xoshiro256PlusPlus::seed_from_u64(state))
}

/// 64 random bits for point `index` of `key`, without a stream: for those who need many points, and few of each.
pub fn scattered(key: u64, index: u64) -> u64 {
    mix(key ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// A seed for a run whose scenario names none, from the operating system.
pub fn fresh_seed() -> u64 {
    let mut bytes = [0; 8];
    // Only the low 32 bits: short enough to be typed again from a report.
    fill_from_system(&mut bytes[..4]);
    u64::from_le_bytes(bytes)
}

/// Unguessable bytes from the operating system, for keys and run ids.
///
/// # Panics
/// If the operating system has no random source, without which no key may be made.
pub fn fill_from_system(bytes: &mut [u8]) {
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(bytes)
        .expect("the operating system's random source answers");
}

impl Stream {
    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        // The 53 high bits, which is what a double holds.
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [`low`, `high`).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0 .. `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift; its bias is below 2^-40 for any bound used here.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Normal with mean 0 and standard deviation 1 (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Fills `bytes` with random bits.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// A distribution of non-negative numbers, in the unit its user gives it (seconds, counts).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Always the same.
    Constant(f64),
    /// Evenly spread over `low` ..= `high`.
    Uniform {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
    },
    /// Its logarithm is normal; given by what a latency report shows.
    Lognormal {
        /// Half of all values are below.
        median: f64,
        /// 99 % of all values are below; at least `median`.
        p99: f64,
    },
    /// Gaps of independent events.
    Exponential {
        /// Mean value.
        mean: f64,
    },
    /// One of two values, as of a cache that has something or has not.
    Bimodal {
        /// Smaller value.
        low: f64,
        /// Larger value.
        high: f64,
        /// How often it is the larger one: 0 to 1.
        high_share: f64,
    },
}

impl Distribution {
    /// One value; never negative.
    pub fn draw(&self, stream: &mut Stream) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Uniform { low, high } => stream.uniform(low, high),
            Self::Lognormal { median, p99 } => {
                // 2.3263 standard deviations lie between the median and the 99th percentile of a normal distribution.
                let sigma = (p99 / median).ln() / 2.326_347_874_040_841;
                median * (sigma * stream.normal()).exp()
            }
            Self::Exponential { mean } => mean * stream.exponential(),
            Self::Bimodal { low, high, high_share } => {
                if stream.unit() < high_share {
                    high
                } else {
                    low
                }
            }
        }
        .max(0.0)
    }

    /// One value in seconds as a duration, at most `limit`.
    pub fn draw_duration(&self, stream: &mut Stream, limit: Duration) -> Duration {
        Duration::try_from_secs_f64(self.draw(stream)).unwrap_or(limit).min(limit)
    }

    /// One value as a count, rounded to the nearest whole number.
    pub fn draw_count(&self, stream: &mut Stream) -> u32 {
        match *self {
            // Both ends are included and equally likely.
            Self::Uniform { low, high } => {
                let (low, high) = (low.round() as u64, high.round() as u64);
                (low + stream.below(high.saturating_sub(low) + 1)) as u32
            }
            _ => self.draw(stream).round() as u32,
        }
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_stream_depends_on_each_of_its_four_parts() {
        let firsts: HashSet<u64> = [
            stream(1, "a", 0, Purpose::Payload),
            stream(2, "a", 0, Purpose::Payload),
            stream(1, "b", 0, Purpose::Payload),
            stream(1, "a", 1, Purpose::Payload),
            stream(1, "a", 0, Purpose::Retry),
        ]
        .map(|mut stream| stream.bits())
        .into();
        assert_eq!(firsts.len(), 5);
    }

    #[test]
    fn streams_are_the_same_in_every_version_of_the_program() {
        let mut stream = stream(7, "sensors", 42, Purpose::TelemetryOffset);
        assert_eq!([stream.bits(), stream.bits()], KNOWN);
    }

    #[test]
    fn draws_have_the_mean_and_spread_of_their_distribution() {
        let mut stream = stream(7, "statistics", 0, Purpose::Payload);
        let count = 100_000;
        let mut moments = [(0.0, 0.0); 3];
        for _ in 0..count {
            for (slot, value) in [stream.unit(), stream.normal(), stream.exponential()].iter().enumerate() {
                moments[slot].0 += value;
                moments[slot].1 += value * value;
            }
        }
        let expected = [(0.5, 1.0 / 12.0), (0.0, 1.0), (1.0, 1.0)];
        for ((sum, squares), (mean, variance)) in moments.into_iter().zip(expected) {
            let measured = sum / f64::from(count);
            assert!((measured - mean).abs() < 0.02, "mean {measured} instead of {mean}");
            let spread = squares / f64::from(count) - measured * measured;
            assert!((spread - variance).abs() < 0.03, "variance {spread} instead of {variance}");
        }
    }

    #[test]
    fn a_bimodal_has_its_two_values_in_the_share_it_is_given() {
        let distribution = Distribution::Bimodal { low: 0.005, high: 0.08, high_share: 0.1 };
        let mut stream = stream(7, "statistics", 2, Purpose::Service);
        let draws: Vec<f64> = (0..10_000).map(|_| distribution.draw(&mut stream)).collect();
        assert!(draws.iter().all(|value| [0.005, 0.08].contains(value)));
        let high = draws.iter().filter(|value| **value == 0.08).count();
        assert!((900..1_100).contains(&high), "{high} of 10,000");
    }

    #[test]
    fn a_lognormal_has_the_median_and_p99_it_is_given_by() {
        let distribution = Distribution::Lognormal { median: 0.8, p99: 4.0 };
        let mut stream = stream(7, "lognormal", 0, Purpose::Assignment);
        let mut values: Vec<f64> = (0..100_000).map(|_| distribution.draw(&mut stream)).collect();
        values.sort_by(f64::total_cmp);
        assert!((values[50_000] - 0.8).abs() < 0.02, "median {}", values[50_000]);
        assert!((values[99_000] - 4.0).abs() < 0.3, "p99 {}", values[99_000]);
    }

    #[test]
    fn counts_reach_both_ends_of_a_uniform_range() {
        let distribution = Distribution::Uniform { low: 1.0, high: 3.0 };
        let mut stream = stream(7, "counts", 0, Purpose::Assignment);
        let seen: HashSet<u32> = (0..1_000).map(|_| distribution.draw_count(&mut stream)).collect();
        assert_eq!(seen, HashSet::from([1, 2, 3]));
    }

    const KNOWN: [u64; 2] = [8_686_747_812_967_644_127, 8_987_130_668_826_183_921];
}
