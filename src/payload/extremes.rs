//! The largest that can stand in a message: what trial renderings and sizes are worked out with.

use super::Context;
use crate::azure::registration::MAX_ID_LENGTH;
use crate::time::UnixTime;

/// The largest number of a device: populations end at 1,000,000,000.
const LAST_DEVICE: u64 = 999_999_999;

/// The largest number of a message: a million a second for thirty years.
const LAST_MESSAGE: u64 = 999_999_999_999_999;

/// Ids of the greatest length.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    device: String,
    registration: String,
    run: String,
    population: String,
}

impl Default for Ids {
    fn default() -> Self {
        let longest = "d".repeat(MAX_ID_LENGTH);
        // A run has 8 digits; names of populations end at 64 characters.
        Self {
            device: longest.clone(),
            registration: longest,
            run: "0a1b2c3d".into(),
            population: "p".repeat(64),
        }
    }
}

impl Ids {
    /// Ids of these lengths, at most the greatest.
    pub(super) fn of_lengths(device: usize, registration: usize, population: &str) -> Self {
        Self {
            device: "d".repeat(device.min(MAX_ID_LENGTH)),
            registration: "d".repeat(registration.min(MAX_ID_LENGTH)),
            population: population.to_owned(),
            ..Self::default()
        }
    }

    /// The last message of the last device.
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            seed: 0,
            population: &self.population,
            n: LAST_DEVICE,
            device_id: &self.device,
            registration_id: &self.registration,
            run: &self.run,
            sequence: LAST_MESSAGE,
            now: UnixTime::from_nanos(u64::MAX),
        }
    }
}
