//! What is kept of a run: the stored file `result.json` and the figures that reports show.
//!
//! [`build`] turns what was recorded into a [`RunResult`], working out every figure that a report shows; [`write()`]
//! stores it, [`read`] takes it back from a file it does not trust, and [`RunResult::record`] makes a [`Record`] of it
//! again, for merging and comparing.
//!
//! [`Record`]: crate::record::Record

mod build;
mod decode;
pub mod file;
pub mod files;
mod guard;
mod histogram;
pub mod list;
mod machine;
pub mod merge;
pub mod percentiles;
mod seal;
pub mod store;

pub use build::build;
pub(crate) use build::interval as stored_interval;
pub use decode::Damage;
pub(crate) use decode::restore_single as restored_interval;
pub use file::{Ended, Facts, Generator, Ledger, Machine, PopulationFacts, RunResult};
pub use histogram::HistogramError;
pub use percentiles::Percentiles;
pub use store::{FILE_NAME, MAX_FILE_BYTES, StoreError, create_directory, read, write};

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
