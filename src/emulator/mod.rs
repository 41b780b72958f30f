//! The services' side: an emulated DPS with its hubs.
pub mod config;
