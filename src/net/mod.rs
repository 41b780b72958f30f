//! The only module that opens or binds sockets: dialling and accepting with a stamp per phase, and an in-memory network
//! for simulated runs.

pub mod memory;
pub mod stream;
