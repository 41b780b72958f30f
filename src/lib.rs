//! Muster load-tests an IoT fleet's way into Azure.
#![forbid(unsafe_code)]

pub mod units;
pub mod time;
pub mod rng;
pub mod text;
pub mod azure;
pub mod document;
pub mod step;
pub mod record;
pub mod payload;
pub mod net;
pub mod device;
pub mod emulator;
pub mod scenario;
pub mod plan;
pub mod fleet;
pub mod result;
pub mod verdict;
pub mod report;
pub mod run;
pub mod cli;
