//! What SDKs do that services notice: names they give themselves, details of requests, waits, tokens. A device has the habits
//! of one of them, or of muster itself.
//!
//! Sources: the SDKs observed against a capture server, and their code: Python azure-iot-device 2.14.0 (OBS), Node
//! azure-iot-device 1.18.4 with azure-iot-provisioning-device 1.9.1 (OBS), and azure-iot-sdk-c at its release 1.15.0
//! (provisioning_client, iothub_client, and the c-utility, umqtt and uhttp that belong to it, read; over MQTT captured too).
//!
//! What devices do not do as their SDK does, and why:
//!
//! - An SDK that gives up tells the application: Python after an explicit `connect()` that failed, Node after the first
//!   connection to a hub that failed, both after a request to DPS without an answer for 30 s or an answer from 300 to 428, Node when
//!   an operation was not done in 240 s. What applications do then nobody has recorded; here the device goes on as one of
//!   muster's own would, until the step's deadline, and comes back to its hub in the rhythm in which that SDK reconnects.
//! - "Without limit" (Python and Node at DPS, Python's messages) means an hour, the longest deadline that a scenario can have.
//! - Python gives up on a TCP connection after 5 s and then waits for its rhythm; here only the whole way to the greeting has a limit.
//! - Node sends a message again that was not confirmed in 30 s, C one that was not in 60 s; here `resend` decides, and only after
//!   a lost connection.
//! - Node offers permessage-deflate for its WebSocket. It is never offered here: a compressor for each device costs more memory
//!   than all the rest of it.
//! - Names of headers are in lower case, and those of a WebSocket's handshake in an order of their own: so our libraries write
//!   them. Neither means anything in HTTP.
//! - Ids with characters that need escaping (`%#*?!()`) are escaped in user names and topics; the SDKs write them as they are, and
//!   are not understood.
//! - The SDK for C makes a token for each request over HTTPS; here it is used until it is to be replaced.
//! - The SDK for C encodes property bags only if its application asks for that, as its samples do; here it always does.

use std::time::Duration;

use crate::azure::dps;
use crate::azure::percent::Percent;
use crate::azure::sas::Form;
use crate::device::hub::Qos;
use crate::rng::Stream;
use crate::time::UnixTime;

mod presets;
mod waits;

pub use waits::{Again, Waits};

/// Whose habits a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Behave {
    /// Muster's own: what the services document, and nothing that costs without need.
    #[default]
    Muster,
    /// Python's SDK.
    Python,
    /// Node's SDK.
    Node,
    /// The SDK for C.
    C,
}

impl Behave {
    /// All, as they are offered.
    pub const ALL: [Self; 4] = [Self::Muster, Self::Python, Self::Node, Self::C];

    /// As written in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Muster => "muster",
            Self::Python => "python-sdk",
            Self::Node => "node-sdk",
            Self::C => "c-sdk",
        }
    }

    /// The one of that name, if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|behave| behave.name() == name)
    }

    /// What devices do that behave so.
    pub const fn habits(self) -> &'static Habits {
        match self {
            Self::Muster => &presets::MUSTER,
            Self::Python => &presets::PYTHON,
            Self::Node => &presets::NODE,
            Self::C => &presets::C,
        }
    }
}

/// What devices of one kind do.
#[derive(Debug, Clone, PartialEq)]
pub struct Habits {
    /// Towards DPS.
    pub dps: DpsHabits,
    /// Towards the hub.
    pub hub: HubHabits,
    /// MQTT: seconds of silence after which a device tells that it is there.
    pub keep_alive: Duration,
    /// How long its tokens for hubs live.
    pub token_lifetime: Duration,
    /// How long before its expiry a token towards the hub is replaced. Of a shorter lifetime, the same share.
    pub renew_before: Duration,
    /// Whether devices offer TLS 1.2 only.
    pub only_tls12: bool,
    /// MQTT: the packet ids.
    pub packet_ids: PacketIds,
    /// The WebSocket for MQTT.
    pub websocket: WebSocketHabits,
    /// How long devices wait.
    pub waits: Waits,
    /// Until when they want their steps done.
    pub deadlines: Deadlines,
}

/// Deadlines of steps, each counted from the step's due instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Of `register`.
    pub register: Duration,
    /// Of `connect`, and of `renew`.
    pub connect: Duration,
    /// Of `send`.
    pub send: Duration,
}

/// MQTT packet ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketIds {
    /// 1, 2, 3, ... over all connections.
    FromOne,
    /// At DPS 1, 2, 3, ..., at a hub 2, 3, 4, ... over all connections; messages of QoS 0 count, although they tell none.
    CountAll,
    /// Counted up from a random one, anew on each connection.
    Random,
}

/// What devices do towards DPS.
#[derive(Debug, Clone, PartialEq)]
pub struct DpsHabits {
    /// The api-version.
    pub api_version: &'static str,
    /// What they call themselves, not percent-encoded: `ClientVersion` in the MQTT user name.
    pub agent: &'static str,
    /// How they encode that.
    pub agent_spelling: Percent,
    /// MQTT: their keep-alive, zero for none; `None`: that of the population.
    pub keep_alive: Option<Duration>,
    /// MQTT: whether they ask for a new session.
    pub clean_session: bool,
    /// MQTT: the quality of service of their requests.
    pub qos: Qos,
    /// MQTT: whether they cancel the subscription before they leave.
    pub unsubscribes: bool,
    /// MQTT: what their request ids are.
    pub request_ids: RequestIds,
    /// How the token is written.
    pub token: Form<'static>,
    /// How long it lives.
    pub token_lifetime: Duration,
    /// Whether its expiry is the next whole second, and not the one before.
    pub rounds_expiry_up: bool,
    /// How long they are ready to wait.
    pub patience: Patience,
    /// Whether they ask again on the same connection after DPS has refused.
    pub keeps_connection: bool,
    /// HTTPS: whether the first refusal is the end of a registration, even one that is only for now.
    pub gives_up_over_http: bool,
    /// The body of a registration.
    pub body: RegisterBody,
    /// MQTT: the body of a poll.
    pub poll_body: PollBody,
    /// HTTPS: the body of a poll, which is a GET.
    pub http_poll_body: &'static str,
    /// HTTPS: how ids are spelled in paths.
    pub http_ids: Percent,
    /// HTTPS: the head of a request, in this order.
    pub http_head: &'static [Field],
}

/// How long devices are ready to wait for DPS. `None`: as long as the step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience {
    /// For a usable connection.
    pub open: Option<Duration>,
    /// For the answer to a request.
    pub answer: Option<Duration>,
    /// For both together.
    pub both: Option<Duration>,
}

/// A line in the head of an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Always the same: name in lower case, and value.
    Fixed(&'static str, &'static str),
    /// `Host`.
    Host,
    /// `Host` with the port, also if it is the usual one.
    HostAndPort,
    /// `Authorization`: the token.
    Authorization,
    /// `Request-Id`: a random UUID.
    RequestId,
    /// `Content-Length`, also of nothing.
    Length,
    /// `iothub-to`: the path, without query.
    To,
    /// The message's id.
    MessageId,
    /// The application's properties.
    Properties,
    /// The message's content type, as a property.
    ContentType,
    /// The message's content encoding, if it has one, as a property.
    ContentEncoding,
    /// `Content-Type`: the message's.
    BodyType,
    /// `If-Match`: what names the message that was taken.
    IfMatch {
        /// As the hub wrote it.
        is_quoted: bool,
    },
}

/// What devices do towards their hub.
#[derive(Debug, Clone, PartialEq)]
pub struct HubHabits {
    /// The api-version over MQTT.
    pub api_version: &'static str,
    /// The api-version over HTTPS.
    pub http_api_version: &'static str,
    /// What they call themselves, not percent-encoded: `DeviceClientType` in the MQTT user name.
    pub agent: &'static str,
    /// How they encode that.
    pub agent_spelling: Percent,
    /// MQTT: whether they ask for a new session.
    pub clean_session: bool,
    /// How the token is written over MQTT.
    pub token: Form<'static>,
    /// How it is over HTTPS.
    pub http_token: Form<'static>,
    /// MQTT: the property bag of messages.
    pub bag: BagHabits,
    /// MQTT: their subscriptions.
    pub subscribing: Subscribing,
    /// MQTT: what request ids about the twin are.
    pub request_ids: RequestIds,
    /// MQTT: the body of a request for the twin.
    pub twin_body: &'static str,
    /// MQTT: the quality of service of requests about the twin.
    pub twin_qos: Qos,
    /// MQTT: the quality of service of answers to methods.
    pub reply_qos: Qos,
    /// HTTPS: whether a message goes in chunks instead of with its length.
    pub chunked: bool,
    /// HTTPS: the head of a message, in this order.
    pub http_message: &'static [Field],
    /// HTTPS: that of the question for a message from the cloud.
    pub http_question: &'static [Field],
    /// HTTPS: that of what settles one.
    pub http_settlement: &'static [Field],
}

/// How devices write property bags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BagHabits {
    /// How names and values are encoded.
    pub spelling: Percent,
    /// Whether the application's properties come before those of the system.
    pub is_application_first: bool,
}

/// How devices subscribe at their hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribing {
    /// To what is about twins and methods; to messages from the cloud always with QoS 1.
    pub qos: Qos,
    /// Whether each subscription has a packet of its own.
    pub is_one_by_one: bool,
    /// When.
    pub when: Subscribe,
}

/// When devices subscribe at their hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribe {
    /// When the hub has not kept an earlier session.
    IfForgotten,
    /// When they connect for the first time.
    Once,
    /// That, and after each connection that was lost; not after one that was left for a new token.
    AfterLoss,
    /// Each time they connect.
    Always,
}

/// What request ids over MQTT are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestIds {
    /// 1, 2, 3, ...
    Counted,
    /// An MQTT packet id: of DPS, the one before that of the request; about the twin, its own.
    PacketId,
    /// Random UUIDs (version 4).
    Uuid,
}

/// The body of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterBody {
    /// The registration id.
    Id,
    /// A payload that is null, and the registration id, with spaces between.
    NullAndId,
}

impl RegisterBody {
    /// The body for one device.
    pub fn of(self, registration_id: &str) -> Vec<u8> {
        let body = dps::RegisterBody { registration_id: registration_id.to_owned(), payload: None };
        let body = serde_json::to_vec(&body).expect("an id is valid JSON");
        match self {
            Self::Id => body,
            Self::NullAndId => {
                let id = serde_json::to_string(registration_id).expect("an id is valid JSON");
                format!("{{\"payload\": null, \"registrationId\": {id}}}").into_bytes()
            }
        }
    }
}

/// The body of a poll over MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollBody {
    /// One space.
    Space,
    /// That of the registration once more.
    Registration,
}

/// How devices ask for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketHabits {
    /// The subprotocol as they write it.
    pub subprotocol: &'static str,
    /// Whether `Host` names the port.
    pub names_port: bool,
    /// Whether `Origin` is there.
    pub has_origin: bool,
}

/// A random UUID (version 4) from the device's own stream.
pub(super) fn uuid(draws: &mut Stream) -> String {
    let (high, low) = (draws.bits(), draws.bits());
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// What a device believes the time to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Skew {
    /// As it is.
    #[default]
    None,
    /// So much later.
    Ahead(Duration),
    /// So much earlier.
    Behind(Duration),
}

impl Skew {
    /// What the device believes when it is `wall`.
    pub fn of(self, wall: UnixTime) -> UnixTime {
        match self {
            Self::None => wall,
            Self::Ahead(by) => wall + by,
            Self::Behind(by) => {
                let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
                UnixTime::from_nanos(wall.nanos().saturating_sub(by))
            }
        }
    }
}

/// The life of a device's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLife {
    /// Of one for the hub, from the instant it is made.
    pub lifetime: Duration,
    /// Of one for DPS.
    pub dps_lifetime: Duration,
    /// How long before its expiry a token towards the hub is replaced.
    pub renew_before: Duration,
    /// A renewal comes by up to this earlier, drawn anew each time.
    pub jitter: Duration,
}

impl Habits {
    /// The life of tokens of a lifetime of one's own, or of the usual one.
    pub fn token_life(&self, lifetime: Option<Duration>) -> TokenLife {
        let dps_lifetime = lifetime.unwrap_or(self.dps.token_lifetime);
        let lifetime = lifetime.unwrap_or(self.token_lifetime);
        let share = self.renew_before.div_duration_f64(self.token_lifetime);
        let renew_before = self.renew_before.min(lifetime.mul_f64(share));
        TokenLife { lifetime, dps_lifetime, renew_before, jitter: Duration::ZERO }
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod presets_tests;
