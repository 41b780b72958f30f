//! The services' side: an emulated DPS with its hubs.
//!
//! Rules and protocol are apart. [`service`] decides, given who asks and what time it is: enrollments, registrations,
//! allocation, hub identities; [`throttle`] says what is admitted when. What goes to devices, not only comes from them
//! (twins, direct methods, messages from the cloud), a hub keeps per device, and hands to the device's connection through a
//! mailbox; [`drive`] makes such traffic. A front door ([`http`], [`mqtt`]; [`door`] tells who
//! wants which) turns bytes into those questions and the answers into bytes, keeps the [`ledger`] and, if somebody wants
//! to know, the [`arrivals`] of each device's messages, and knows nothing else.
//! [`serve`] puts doors onto sockets, or onto the
//! network inside the process; [`child`] runs the whole as a child process, spoken to over its pipes ([`channel`]).
//!
//! Nothing here knows the devices' side: the two meet through bytes.

mod allocation;
pub mod arrivals;
mod cloud_to_device;
mod enrollments;
mod enrolling;
mod hub;
mod mailbox;
mod methods;
mod registrations;
mod reply_body;
mod sharded;
mod worker;
mod twin;
mod two_way;

pub mod config;
pub mod entrance;
pub mod listed;
pub mod throttle;
pub mod certificates;
pub mod service;
pub mod ledger;
pub mod http;
pub mod mqtt;
pub mod door;
pub mod connect_front;
pub mod sdk_ports;
pub mod serve;
pub mod channel;
pub mod child;
pub mod drive;

#[cfg(test)]
mod fixture;
