//! One machine's or process's part of a plan.
//!
//! Device n of every population belongs to shard n mod N. A part is a choice of devices and nothing else: who a device is, its
//! key, when it starts, when it sends and what, is computed from its number n in the whole population, so that a total
//! (`start.rate`, `fleet_rate`) stays the whole fleet's and each shard does its share of it.

use std::fmt;
use std::str::FromStr;

/// Part `index` of `count`. Indices count from 0, as Kubernetes' `JOB_COMPLETION_INDEX` and device numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Everything: a run that is not split.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The most shards that a run can be split into.
    pub const MAX: u32 = 1_000;

    /// Shard `index` (from 0) of `count`.
    ///
    /// # Errors
    /// [`ShardError`] for a count outside 1 ..= [`Self::MAX`], or an index that is not below it.
    pub fn new(index: u64, count: u64) -> Result<Self, ShardError> {
        if !(1..=u64::from(Self::MAX)).contains(&count) {
            return Err(ShardError::Count(count));
        }
        if index >= count {
            return Err(ShardError::Index { index, count });
        }
        Ok(Self { index: index as u32, count: count as u32 })
    }

    /// Which, from 0.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Of how many.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Whether there is no other.
    pub const fn is_whole(self) -> bool {
        self.count == 1
    }

    /// Whether device `n` of a population belongs to it.
    pub const fn has(self, n: u64) -> bool {
        n % self.count as u64 == self.index as u64
    }

    /// How many of a population's first `devices` belong to it.
    pub const fn of(self, devices: u64) -> u64 {
        let (index, count) = (self.index as u64, self.count as u64);
        devices / count + (index < devices % count) as u64
    }

    /// The first device of thread `thread` of `threads`, and how many further on its next one is: device n belongs to thread
    /// (n div N) mod T.
    pub const fn walk(self, thread: usize, threads: usize) -> (u64, u64) {
        let (index, count) = (self.index as u64, self.count as u64);
        (index + count * thread as u64, count * threads as u64)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or(ShardError::Text)
        };
        let (index, count) = text.split_once('/').ok_or(ShardError::Text)?;
        Self::new(number(index)?, number(count)?)
    }
}

/// Why something is no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Not of the form I/N.
    #[error("write I/N: shard I of N, counted from 0; for example 0/4, 1/4, 2/4 and 3/4")]
    Text,
    /// None, or too many.
    #[error("a run is split into 1 to {max} shards, not {0}", max = Shard::MAX)]
    Count(u64),
    /// There is no such shard.
    #[error("there is no shard {index} of {count}: they count from 0, and the last is {last}/{count}", last = .count - 1)]
    Index {
        /// The index asked for.
        index: u64,
        /// How many there are.
        count: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shards_count_from_zero_and_what_is_none_says_how_to_write_one() {
        let shard: Shard = "3/4".parse().expect("a shard");
        assert_eq!((shard.index(), shard.count(), shard.to_string()), (3, 4, "3/4".to_owned()));
        for (wrong, told) in [
            ("4/4", "the last is 3/4"),
            ("0/0", "1 to 1000 shards, not 0"),
            ("1/1001", "not 1001"),
            ("1", "counted from 0"),
            ("+1/4", "I/N"),
            ("1/", "I/N"),
            ("99999999999999999999/4", "I/N"),
        ] {
            let error = wrong.parse::<Shard>().expect_err(wrong).to_string();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_device_belongs_to_one_thread_of_one_shard(devices in 0u64..500, count in 1u64..70, threads in 1usize..5) {
            let mut seen = vec![0; devices as usize];
            for index in 0..count {
                let shard = Shard::new(index, count).expect("a shard");
                let mut own = 0;
                for thread in 0..threads {
                    let (first, step) = shard.walk(thread, threads);
                    for n in (first..devices).step_by(step as usize) {
                        prop_assert!(shard.has(n));
                        prop_assert_eq!((n / count) as usize % threads, thread);
                        seen[n as usize] += 1;
                        own += 1;
                    }
                }
                prop_assert_eq!(own, shard.of(devices));
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }
    }
}
