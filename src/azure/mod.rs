//! What devices and services must agree on, as pure functions: each fact with its source.
//!
//! Sources are named by tag where no public page states the fact: `OBS` is what unmodified SDKs were observed to send,
//! `REST` the published API specification of the service.

pub mod dps;
pub mod hub;
pub mod keys;
pub mod limits;
pub mod mqtt;
pub mod percent;
pub mod two_way;
pub mod protocol;
pub mod registration;
pub mod sas;
