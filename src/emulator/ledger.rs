//! The server's own books: exact counts, to be held against a client's.
//!
//! Every worker thread counts into its own [`Counters`]; a [`Ledger`] is their sum at one moment, with what the service
//! itself knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::service::Service;
use super::throttle::Tally;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Start of an assignment.
    DpsRegister,
    /// Status of an operation.
    DpsPoll,
    /// State of a registration.
    DpsLookup,
    /// One telemetry message.
    HubSend,
    /// Several in one request.
    HubBatch,
    /// Nothing that the services know.
    Other,
}

impl Operation {
    /// All, in the order of the ledger.
    pub const ALL: [Self; 6] =
        [Self::DpsRegister, Self::DpsPoll, Self::DpsLookup, Self::HubSend, Self::HubBatch, Self::Other];

    /// Name in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DpsRegister => "dps.register",
            Self::DpsPoll => "dps.poll",
            Self::DpsLookup => "dps.lookup",
            Self::HubSend => "hub.send",
            Self::HubBatch => "hub.batch",
            Self::Other => "other",
        }
    }
}

/// Counters of one worker thread. Only that thread writes, so that no cache line is fought over.
#[derive(Debug)]
#[repr(align(64))]
pub struct Counters {
    requests: [[AtomicU64; STATUSES.len()]; Operation::ALL.len()],
    /// Per hub: messages, and bytes of their bodies and properties.
    hubs: Box<[[AtomicU64; 2]]>,
    /// See [`Ledger::connections`].
    pub connections: Counter,
    /// See [`Ledger::handshakes_failed`].
    pub handshakes_failed: Counter,
    /// See [`Ledger::accept_pauses`].
    pub accept_pauses: Counter,
    /// See [`Ledger::abandoned`].
    pub abandoned: Counter,
    /// See [`Ledger::malformed`].
    pub malformed: Counter,
    /// See [`Ledger::idle_closed`].
    pub idle_closed: Counter,
    /// See [`Ledger::body_bytes`].
    pub body_bytes: Counter,
}

/// A count that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Counters of a service with that many hubs, all at zero.
    pub fn new(hubs: usize) -> Self {
        Self {
            requests: Default::default(),
            hubs: (0..hubs).map(|_| Default::default()).collect(),
            connections: Counter::default(),
            handshakes_failed: Counter::default(),
            accept_pauses: Counter::default(),
            abandoned: Counter::default(),
            malformed: Counter::default(),
            idle_closed: Counter::default(),
            body_bytes: Counter::default(),
        }
    }

    /// Counts a request that was answered with `status`.
    pub fn request(&self, operation: Operation, status: u16) {
        let column = STATUSES.iter().position(|known| *known == status).unwrap_or(0);
        self.requests[operation as usize][column].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts messages that hub number `hub` accepted.
    pub fn messages(&self, hub: usize, count: u64, bytes: u64) {
        if let Some([messages, sizes]) = self.hubs.get(hub) {
            messages.fetch_add(count, Ordering::Relaxed);
            sizes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// All counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Answered requests by operation ([`Operation::name`]) and HTTP status; 0 stands for any status that is not
    /// foreseen. What never occurred is absent.
    pub requests: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Registrations that ended with a hub; one that registers twice counts twice.
    pub assigned: u64,
    /// Registrations that ended without a hub.
    pub failed: u64,
    /// Requests to register that were refused because they were too many; their devices may have come back since.
    pub registrations_throttled: u64,
    /// Polls that were refused because their device polled too often.
    pub polls_throttled: u64,
    /// By hub name.
    pub hubs: BTreeMap<String, HubLedger>,
    /// Connections taken from a listener.
    pub connections: u64,
    /// Connections on which no TLS session came about.
    pub handshakes_failed: u64,
    /// Times that accepting paused because the machine was out of descriptors or memory.
    pub accept_pauses: u64,
    /// Requests whose connection ended before they were answered.
    pub abandoned: u64,
    /// Connections that ended because what came over them was not HTTP.
    pub malformed: u64,
    /// Connections closed because nothing was asked over them for long.
    pub idle_closed: u64,
    /// Bytes of request bodies.
    pub body_bytes: u64,
    /// Stamps that were not written because nobody read them in time.
    pub lost_stamps: u64,
}

/// Counts of one hub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubLedger {
    /// Devices there are now.
    pub devices: u64,
    /// Different devices from which a message was accepted.
    pub senders: u64,
    /// Messages accepted, each of a batch counted.
    pub messages: u64,
    /// Bytes of their bodies and properties.
    pub bytes: u64,
    /// What it let wait and refused; absent if it has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Tally>,
}

impl Ledger {
    /// The sum of what all workers counted and what the service knows.
    pub fn sum<'a>(service: &Service, workers: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut sum = Self::default();
        (sum.assigned, sum.failed) = service.assignments();
        (sum.registrations_throttled, sum.polls_throttled) = service.throttled();
        let mut hubs: Vec<HubLedger> = service
            .hub_figures()
            .map(|hub| HubLedger {
                devices: hub.devices,
                senders: hub.senders,
                throttle: hub.throttle,
                ..HubLedger::default()
            })
            .collect();
        for worker in workers {
            sum.add(worker, &mut hubs);
        }
        sum.hubs = service.hub_figures().map(|hub| hub.name.to_owned()).zip(hubs).collect();
        sum
    }

    /// Requests of `operation` that were answered with `status`.
    pub fn count(&self, operation: Operation, status: u16) -> u64 {
        self.requests.get(operation.name()).and_then(|row| row.get(&status)).copied().unwrap_or(0)
    }

    /// Messages accepted by all hubs.
    pub fn messages(&self) -> u64 {
        self.hubs.values().map(|hub| hub.messages).sum()
    }

    fn add(&mut self, worker: &Counters, hubs: &mut [HubLedger]) {
        for (operation, row) in Operation::ALL.iter().zip(&worker.requests) {
            for (status, count) in STATUSES.iter().zip(row) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let row = self.requests.entry(operation.name().to_owned()).or_default();
                    *row.entry(*status).or_default() += count;
                }
            }
        }
        for (sum, [messages, bytes]) in hubs.iter_mut().zip(&worker.hubs) {
            sum.messages += messages.load(Ordering::Relaxed);
            sum.bytes += bytes.load(Ordering::Relaxed);
        }
        self.connections += worker.connections.value();
        self.handshakes_failed += worker.handshakes_failed.value();
        self.accept_pauses += worker.accept_pauses.value();
        self.abandoned += worker.abandoned.value();
        self.malformed += worker.malformed.value();
        self.idle_closed += worker.idle_closed.value();
        self.body_bytes += worker.body_bytes.value();
    }
}

/// Statuses that have a column of their own; the first stands for all others.
const STATUSES: [u16; 15] = [0, 200, 202, 204, 400, 401, 403, 404, 405, 408, 413, 415, 429, 500, 503];
