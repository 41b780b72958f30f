//! The only module that opens or binds sockets: dialling and accepting with a stamp per phase, and an in-memory network
//! for simulated runs.

pub mod accept;
pub mod dial;
pub mod failure;
pub mod http;
pub mod memory;
pub mod mqtt;
pub mod proxy;
pub mod stream;
pub mod tls;
pub mod trust;
pub mod way;
pub mod websocket;
