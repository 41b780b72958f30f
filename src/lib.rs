//! Muster load-tests an IoT fleet's way into Azure: keys, registration with DPS, connection to the hub, telemetry.
//!
//! A run is a pipeline, and the modules follow it:
//!
//! ```text
//! scenario (what the user wrote) -> plan (what it means) -> fleet (carries it out)
//!     -> record (what was seen) -> result (what is kept) -> verdict, report
//! ```
//!
//! They are listed below in reading order, and a module uses only those listed before it (`tests/layers.rs` holds them to
//! it; `scenario` and `plan` are two sides of one thing). What a module never does:
//!
//! | module | what it is | what it never does |
//! |---|---|---|
//! | [`units`] | numbers that cannot be mixed up | know what they measure |
//! | [`time`] | the one door to clocks and timers, real or simulated | |
//! | [`rng`] | the one door to chance: named streams from the seed | depend on the order of draws elsewhere |
//! | [`text`] | what a stranger wrote, what is secret | display either without being asked how |
//! | [`azure`] | what devices and services must agree on, with sources | any I/O, any state |
//! | [`document`] | strict TOML with positions, every complaint at once | know what a scenario is |
//! | [`list`] | lists of devices in CSV files, row by row | hold rows |
//! | [`step`] | vocabulary of measuring: steps, outcomes, failures | |
//! | [`record`] | histograms, counts, series in constant memory | any I/O, grow with the length of a run |
//! | [`payload`] | compiled telemetry templates | depend on what was sent before |
//! | [`net`] | the only module that opens or binds sockets | know what the bytes mean to a service |
//! | [`device`] | one simulated device; `life` decides, the rest acts | know the plan or the emulator |
//! | [`emulator`] | the services' side; `service` rules, front doors speak | know the devices |
//! | [`scenario`] | what the user wrote | leave a mistake untold, start anything |
//! | [`plan`] | what it means, no option left open | any I/O, list devices |
//! | [`fleet`] | carries out a plan on threads that share nothing | know the emulator |
//! | [`result`] | what is kept: a file format of its own | derive from live structures |
//! | [`verdict`] | pass, threshold, void, interrupted | any I/O |
//! | [`report`] | results for people | compute a number |
//! | [`run`] | a whole run; the only one that knows fleet and emulator | decide what passes |
//! | [`cli`] | one file per command | |
#![forbid(unsafe_code)]

pub mod units;
pub mod time;
pub mod rng;
pub mod text;
pub mod azure;
pub mod document;
pub mod list;
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
