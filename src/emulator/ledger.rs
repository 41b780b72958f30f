//! The server's own books: exact counts, to be held against a client's.
//!
//! Every worker thread counts into its own [`Counters`]; a [`Ledger`] is their sum at one moment, with what the service
//! itself knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::service::Service;
use super::throttle::Tally;

pub use super::two_way::TwoWay;

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
    /// A WebSocket for MQTT; what comes through it is counted as MQTT.
    WebSocket,
    /// Start of an assignment, over MQTT.
    MqttRegister,
    /// Status of an operation, over MQTT.
    MqttPoll,
    /// One telemetry message over MQTT, of either quality of service.
    MqttSend,
    /// Question for a twin, over MQTT.
    MqttTwinGet,
    /// Change of reported properties, over MQTT.
    MqttTwinPatch,
    /// A device's answer to a method, over MQTT: 204 if somebody waited for it, 404 if nobody did.
    MqttMethodReply,
    /// PUBACK of a message from the cloud: 204, or 404 if it is of none.
    MqttC2dSettle,
    /// Question of a device for a message from the cloud, over HTTPS.
    HubC2dReceive,
    /// What a device did with one.
    HubC2dSettle,
    /// A message from the cloud.
    HubC2dSend,
    /// Read or change of a twin by the service's side.
    HubTwins,
    /// Direct method.
    HubMethods,
    /// Call of the registry of devices.
    HubDevices,
    /// Call for enrollments or enrollment groups.
    DpsEnrollments,
    /// Call of the service's side for registrations.
    DpsRegistrations,
}

impl Operation {
    /// All, in the order of the ledger.
    pub const ALL: [Self; 22] = [
        Self::DpsRegister,
        Self::DpsPoll,
        Self::DpsLookup,
        Self::HubSend,
        Self::HubBatch,
        Self::Other,
        Self::WebSocket,
        Self::MqttRegister,
        Self::MqttPoll,
        Self::MqttSend,
        Self::MqttTwinGet,
        Self::MqttTwinPatch,
        Self::MqttMethodReply,
        Self::MqttC2dSettle,
        Self::HubC2dReceive,
        Self::HubC2dSettle,
        Self::HubC2dSend,
        Self::HubTwins,
        Self::HubMethods,
        Self::HubDevices,
        Self::DpsEnrollments,
        Self::DpsRegistrations,
    ];

    /// Name in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DpsRegister => "dps.register",
            Self::DpsPoll => "dps.poll",
            Self::DpsLookup => "dps.lookup",
            Self::HubSend => "hub.send",
            Self::HubBatch => "hub.batch",
            Self::Other => "other",
            Self::WebSocket => "websocket",
            Self::MqttRegister => "mqtt.dps.register",
            Self::MqttPoll => "mqtt.dps.poll",
            Self::MqttSend => "mqtt.hub.send",
            Self::MqttTwinGet => "mqtt.twin.get",
            Self::MqttTwinPatch => "mqtt.twin.patch",
            Self::MqttMethodReply => "mqtt.method.reply",
            Self::MqttC2dSettle => "mqtt.c2d.settle",
            Self::HubC2dReceive => "hub.c2d.receive",
            Self::HubC2dSettle => "hub.c2d.settle",
            Self::HubC2dSend => "hub.c2d.send",
            Self::HubTwins => "hub.twins",
            Self::HubMethods => "hub.methods",
            Self::HubDevices => "hub.devices",
            Self::DpsEnrollments => "dps.enrollments",
            Self::DpsRegistrations => "dps.registrations",
        }
    }
}

/// How an MQTT connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client said good-bye.
    Disconnect,
    /// The client closed, or the network did, without a good-bye.
    Gone,
    /// Its CONNECT was refused, as [`MqttLedger::refused`] says.
    Refused,
    /// No CONNECT came in time.
    NoConnect,
    /// What came was no packet of MQTT 3.1.1.
    Malformed,
    /// A packet that a client may not send, or not then, or that the services do not take.
    Protocol,
    /// The same device connected anew.
    Takeover,
    /// The device was disabled or deleted.
    Disabled,
    /// The hub was over its rate, for messages or for connections.
    Throttled,
    /// The hub's daily quota was used up.
    Quota,
    /// Nothing came for one and a half times the keep-alive.
    KeepAlive,
    /// The token expired.
    Expired,
    /// A packet or message larger than is taken.
    TooLarge,
    /// The client did not read what it was sent.
    SlowReader,
}

impl Ending {
    /// All, in the order of their counters.
    pub const ALL: [Self; 14] = [
        Self::Disconnect,
        Self::Gone,
        Self::Refused,
        Self::NoConnect,
        Self::Malformed,
        Self::Protocol,
        Self::Takeover,
        Self::Disabled,
        Self::Throttled,
        Self::Quota,
        Self::KeepAlive,
        Self::Expired,
        Self::TooLarge,
        Self::SlowReader,
    ];

    /// Name in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::NoConnect => "no connect",
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
            Self::Takeover => "takeover",
            Self::Disabled => "disabled",
            Self::Throttled => "throttled",
            Self::Quota => "quota",
            Self::KeepAlive => "keep-alive",
            Self::Expired => "expired",
            Self::TooLarge => "too large",
            Self::SlowReader => "slow reader",
        }
    }
}

/// Counters of one worker thread. Only that thread writes, so that no cache line is fought over.
#[derive(Debug)]
#[repr(align(64))]
pub struct Counters {
    requests: [[AtomicU64; STATUSES.len()]; Operation::ALL.len()],
    hubs: Box<[HubCounters]>,
    /// MQTT connections by how they ended.
    endings: [AtomicU64; Ending::ALL.len()],
    /// CONNECTs by return code; 0 stands for those that DPS accepted.
    connacks: [AtomicU64; CONNACKS],
    /// See [`Ledger::connections`].
    pub connections: Counter,
    /// See [`Ledger::handshakes_failed`].
    pub handshakes_failed: Counter,
    /// See [`Ledger::tunnels`].
    pub tunnels: Counter,
    /// See [`Ledger::tunnels_refused`].
    pub tunnels_refused: Counter,
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
    /// See [`MqttLedger::connections`].
    pub mqtt_connections: Counter,
}

/// What a worker counts for one hub.
#[derive(Debug, Default)]
struct HubCounters {
    messages: Counter,
    bytes: Counter,
    mqtt: [Counter; 2],
    mqtt_connects: Counter,
    wills: Counter,
}

/// A count that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
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
            tunnels: Counter::default(),
            tunnels_refused: Counter::default(),
            accept_pauses: Counter::default(),
            abandoned: Counter::default(),
            malformed: Counter::default(),
            idle_closed: Counter::default(),
            body_bytes: Counter::default(),
            mqtt_connections: Counter::default(),
            endings: Default::default(),
            connacks: Default::default(),
        }
    }

    /// Counts a request that was answered with `status`.
    pub fn request(&self, operation: Operation, status: u16) {
        let column = STATUSES.iter().position(|known| *known == status).unwrap_or(0);
        self.requests[operation as usize][column].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts messages that hub number `hub` accepted.
    pub fn messages(&self, hub: usize, count: u64, bytes: u64) {
        if let Some(hub) = self.hubs.get(hub) {
            hub.messages.add(count);
            hub.bytes.add(bytes);
        }
    }

    /// Counts a message that hub number `hub` accepted over MQTT, also among all messages.
    pub fn mqtt_message(&self, hub: usize, is_confirmed: bool, bytes: u64) {
        self.messages(hub, 1, bytes);
        if let Some(hub) = self.hubs.get(hub) {
            hub.mqtt[usize::from(is_confirmed)].add(1);
        }
    }

    /// Counts a will that hub number `hub` delivered, and not among messages.
    pub fn will(&self, hub: usize) {
        if let Some(hub) = self.hubs.get(hub) {
            hub.wills.add(1);
        }
    }

    /// Counts an accepted CONNECT; `None`: by DPS.
    pub fn mqtt_accepted(&self, hub: Option<usize>) {
        match hub.map(|hub| self.hubs.get(hub)) {
            None => drop(self.connacks[0].fetch_add(1, Ordering::Relaxed)),
            Some(hub) => hub.into_iter().for_each(|hub| hub.mqtt_connects.add(1)),
        }
    }

    /// Counts a CONNECT that was refused with `code`, 1 to 5.
    pub fn mqtt_refused(&self, code: u8) {
        if let Some(count) = self.connacks.get(usize::from(code)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the end of an MQTT connection.
    pub fn mqtt_ended(&self, ending: Ending) {
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// All counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Answered requests by operation ([`Operation::name`]) and HTTP status; 0 stands for any status that is not
    /// foreseen. What never occurred is absent. A message over MQTT is booked with what HTTPS would have answered, 204 if
    /// it was accepted, at either QoS; for one that was refused the connection was closed.
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
    /// Tunnels opened by the CONNECT front.
    #[serde(default)]
    pub tunnels: u64,
    /// Connections to the CONNECT front that asked for no tunnel, or for one that leads elsewhere.
    #[serde(default)]
    pub tunnels_refused: u64,
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
    /// What concerns MQTT alone; its requests are in `requests`, its messages with their hub.
    #[serde(default)]
    pub mqtt: MqttLedger,
}

/// Counts of MQTT connections.
///
/// `connections` is the sum of `ended` and of those that are open. Each began with one of: a CONNECT that DPS accepted,
/// one that a hub accepted ([`HubLedger::mqtt_connects`]), one that was refused, or none that could be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MqttLedger {
    /// Connections that began as MQTT does; also in [`Ledger::connections`].
    pub connections: u64,
    /// CONNECTs that DPS accepted; whether their tokens are good is checked later.
    pub dps_connects: u64,
    /// Refused CONNECTs by return code, 1 to 5. What never occurred is absent.
    pub refused: BTreeMap<u8, u64>,
    /// Connections that have ended, by [`Ending::name`]. What never occurred is absent.
    pub ended: BTreeMap<String, u64>,
}

impl MqttLedger {
    /// Connections that ended so.
    pub fn count(&self, ending: Ending) -> u64 {
        self.ended.get(ending.name()).copied().unwrap_or(0)
    }
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
    /// Messages accepted over MQTT at QoS 0, which nobody confirmed; also in `messages`.
    #[serde(default)]
    pub mqtt_qos0: u64,
    /// Messages accepted over MQTT at QoS 1; also in `messages`. A device that left meanwhile was not told.
    #[serde(default)]
    pub mqtt_qos1: u64,
    /// MQTT connections accepted.
    #[serde(default)]
    pub mqtt_connects: u64,
    /// Wills delivered; in none of the other counts.
    #[serde(default)]
    pub wills: u64,
    /// What it let wait and refused; absent if it has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Tally>,
    /// Twins, methods, messages from the cloud; absent if there was nothing of the kind.
    #[serde(default, skip_serializing_if = "TwoWay::is_nothing")]
    pub two_way: TwoWay,
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
                two_way: hub.two_way,
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
        for (sum, hub) in hubs.iter_mut().zip(&worker.hubs) {
            sum.messages += hub.messages.value();
            sum.bytes += hub.bytes.value();
            sum.mqtt_qos0 += hub.mqtt[0].value();
            sum.mqtt_qos1 += hub.mqtt[1].value();
            sum.mqtt_connects += hub.mqtt_connects.value();
            sum.wills += hub.wills.value();
        }
        for (ending, count) in Ending::ALL.iter().zip(&worker.endings) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                *self.mqtt.ended.entry(ending.name().to_owned()).or_default() += count;
            }
        }
        for (code, count) in (0..).zip(&worker.connacks) {
            match (code, count.load(Ordering::Relaxed)) {
                (0, count) => self.mqtt.dps_connects += count,
                (_, 0) => {}
                (_, count) => *self.mqtt.refused.entry(code).or_default() += count,
            }
        }
        self.mqtt.connections += worker.mqtt_connections.value();
        self.connections += worker.connections.value();
        self.handshakes_failed += worker.handshakes_failed.value();
        self.tunnels += worker.tunnels.value();
        self.tunnels_refused += worker.tunnels_refused.value();
        self.accept_pauses += worker.accept_pauses.value();
        self.abandoned += worker.abandoned.value();
        self.malformed += worker.malformed.value();
        self.idle_closed += worker.idle_closed.value();
        self.body_bytes += worker.body_bytes.value();
    }
}

/// Statuses that have a column of their own; the first stands for all others.
const STATUSES: [u16; 21] =
    [0, 101, 200, 202, 204, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 426, 429, 500, 502, 503, 504];

/// Return codes of CONNACK.
const CONNACKS: usize = 6;
