//! What SDKs do that services notice: names they give themselves, details of requests, waits, tokens. A device has the habits
//! of one of them, or of muster itself.
//!
//! Sources: the SDKs observed against a capture server, and their code: Python azure-iot-device 2.14.0 (OBS), Node
//! azure-iot-device 1.18.4 with azure-iot-provisioning-device 1.9.1 (OBS), and azure-iot-sdk-c at its release 1.15.0
//! (provisioning_client, iothub_client, read).

use std::time::Duration;

use crate::azure::sas::{Form, REGISTRATION_POLICY, ResourceSpelling};
use crate::azure::{dps, hub, mqtt};
use crate::device::hub::Qos;
use crate::rng::Stream;
use crate::time::UnixTime;

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
            Self::Muster => &MUSTER,
            Self::Python => &PYTHON,
            Self::Node => &NODE,
            Self::C => &C,
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
    /// How long its tokens live.
    pub token_lifetime: Duration,
    /// How long before its expiry a token towards the hub is replaced. Of a shorter lifetime, the same share.
    pub renew_before: Duration,
    /// Whether devices offer TLS 1.2 only.
    pub only_tls12: bool,
    /// Whether MQTT packet ids begin at a random one.
    pub random_packet_ids: bool,
    /// The WebSocket for MQTT.
    pub websocket: WebSocketHabits,
    /// How long devices wait.
    pub waits: Waits,
}

/// What devices do towards DPS.
#[derive(Debug, Clone, PartialEq)]
pub struct DpsHabits {
    /// The api-version.
    pub api_version: &'static str,
    /// What they call themselves, not percent-encoded: `ClientVersion` in the MQTT user name.
    pub agent: &'static str,
    /// `User-Agent` over HTTPS.
    pub http_agent: &'static str,
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
    /// The body of a registration.
    pub body: RegisterBody,
    /// MQTT: the body of a poll.
    pub poll_body: PollBody,
    /// HTTPS: the body of a poll, which is a GET.
    pub http_poll_body: &'static str,
    /// HTTPS: whether each request has a `Request-Id`.
    pub http_request_ids: bool,
}

/// What devices do towards their hub.
#[derive(Debug, Clone, PartialEq)]
pub struct HubHabits {
    /// The api-version.
    pub api_version: &'static str,
    /// What they call themselves, not percent-encoded: `DeviceClientType` in the MQTT user name, and `User-Agent` over HTTPS.
    pub agent: &'static str,
    /// MQTT: whether they ask for a new session.
    pub clean_session: bool,
    /// How the token is written.
    pub token: Form<'static>,
    /// MQTT: the quality of service of requests about the twin.
    pub twin_qos: Qos,
    /// MQTT: the quality of service of answers to methods.
    pub reply_qos: Qos,
    /// HTTPS: whether a message goes in chunks, with `iothub-to`, instead of with its length.
    pub chunked: bool,
}

/// What request ids of DPS over MQTT are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestIds {
    /// 1, 2, 3, ...
    Counted,
    /// The MQTT packet id.
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
    /// Whether `Host` names the port, and `Origin` is there.
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
    /// From the instant a token is made.
    pub lifetime: Duration,
    /// How long before its expiry a token towards the hub is replaced.
    pub renew_before: Duration,
    /// A renewal comes by up to this earlier, drawn anew each time.
    pub jitter: Duration,
}

impl Habits {
    /// The life of tokens of a lifetime of one's own, or of the usual one.
    pub fn token_life(&self, lifetime: Option<Duration>) -> TokenLife {
        let lifetime = lifetime.unwrap_or(self.token_lifetime);
        let share = self.renew_before.div_duration_f64(self.token_lifetime);
        let renew_before = self.renew_before.min(lifetime.mul_f64(share));
        TokenLife { lifetime, renew_before, jitter: Duration::ZERO }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

static MUSTER: Habits = Habits {
    dps: DpsHabits {
        api_version: dps::API_VERSION,
        agent: super::mqtt::AGENT,
        http_agent: super::mqtt::AGENT,
        // DPS keeps no session.
        clean_session: true,
        qos: Qos::AtLeastOnce,
        unsubscribes: false,
        request_ids: RequestIds::Counted,
        token: Form { policy: Some(REGISTRATION_POLICY), ..Form::PLAIN },
        body: RegisterBody::Id,
        poll_body: PollBody::Space,
        http_poll_body: "",
        http_request_ids: false,
    },
    hub: HubHabits {
        api_version: hub::API_VERSION,
        agent: super::mqtt::AGENT,
        // As the SDKs do: subscriptions and queued messages survive a reconnect.
        clean_session: false,
        token: Form::PLAIN,
        twin_qos: Qos::AtMostOnce,
        reply_qos: Qos::AtLeastOnce,
        chunked: false,
    },
    keep_alive: MINUTE,
    token_lifetime: Duration::from_secs(3_600),
    renew_before: Duration::from_secs(300),
    only_tls12: false,
    random_packet_ids: false,
    websocket: WebSocketHabits { subprotocol: mqtt::WEBSOCKET_PROTOCOL, has_origin: false },
    waits: Waits::MUSTER,
};

static PYTHON: Habits = Habits {
    dps: DpsHabits {
        api_version: "2019-03-31",
        agent: "azure-iot-device-provisioning-py/2.14.0(3.11.2;Linux #1 SMP;x86_64)",
        // It speaks MQTT only.
        http_agent: "",
        clean_session: false,
        qos: Qos::AtLeastOnce,
        unsubscribes: false,
        request_ids: RequestIds::Uuid,
        token: Form::PLAIN,
        body: RegisterBody::NullAndId,
        poll_body: PollBody::Space,
        http_poll_body: "",
        http_request_ids: false,
    },
    hub: HubHabits {
        api_version: "2019-10-01",
        agent: "azure-iot-device-iothub-py/2.14.0(3.11.2;Linux #1 SMP;x86_64)",
        clean_session: false,
        token: Form::PLAIN,
        twin_qos: Qos::AtLeastOnce,
        reply_qos: Qos::AtLeastOnce,
        chunked: false,
    },
    keep_alive: MINUTE,
    token_lifetime: Duration::from_secs(3_600),
    renew_before: Duration::from_secs(120),
    only_tls12: true,
    random_packet_ids: false,
    websocket: WebSocketHabits { subprotocol: "mqtt", has_origin: true },
    waits: Waits::PYTHON,
};

static NODE: Habits = Habits {
    dps: DpsHabits {
        api_version: "2019-03-31",
        agent: "azure-iot-provisioning-device/1.9.1",
        http_agent: "azure-iot-provisioning-device/1.9.1",
        clean_session: true,
        qos: Qos::AtLeastOnce,
        unsubscribes: true,
        request_ids: RequestIds::Uuid,
        token: Form {
            spelling: ResourceSpelling::Raw,
            policy: Some(REGISTRATION_POLICY),
            is_policy_before_expiry: true,
        },
        body: RegisterBody::Id,
        poll_body: PollBody::Space,
        http_poll_body: "{}",
        http_request_ids: true,
    },
    hub: HubHabits {
        api_version: "2021-04-12",
        agent: "azure-iot-device/1.18.4 (node v20.20.2; Linux 6.1.0; x64)",
        clean_session: false,
        token: Form::PLAIN,
        twin_qos: Qos::AtMostOnce,
        reply_qos: Qos::AtMostOnce,
        chunked: true,
    },
    keep_alive: Duration::from_secs(180),
    token_lifetime: Duration::from_secs(3_600),
    renew_before: Duration::from_secs(900),
    only_tls12: false,
    random_packet_ids: true,
    websocket: WebSocketHabits { subprotocol: "mqtt", has_origin: false },
    waits: Waits::NODE,
};

static C: Habits = Habits {
    dps: DpsHabits {
        api_version: "2021-06-01",
        agent: "1.15.0",
        http_agent: "prov_device_client/1.0",
        clean_session: true,
        qos: Qos::AtMostOnce,
        unsubscribes: false,
        request_ids: RequestIds::PacketId,
        token: Form {
            spelling: ResourceSpelling::LowerCaseHex,
            policy: Some(REGISTRATION_POLICY),
            is_policy_before_expiry: false,
        },
        body: RegisterBody::Id,
        poll_body: PollBody::Registration,
        http_poll_body: "",
        http_request_ids: false,
    },
    hub: HubHabits {
        api_version: "2020-09-30",
        agent: "iothubclient/1.15.0 (native; Linux; x86_64)",
        clean_session: false,
        token: Form { spelling: ResourceSpelling::LowerCaseHex, ..Form::PLAIN },
        twin_qos: Qos::AtMostOnce,
        reply_qos: Qos::AtMostOnce,
        chunked: false,
    },
    keep_alive: Duration::from_secs(240),
    token_lifetime: Duration::from_secs(3_600),
    // At 80 % of its life.
    renew_before: Duration::from_secs(720),
    only_tls12: false,
    random_packet_ids: false,
    websocket: WebSocketHabits { subprotocol: "MQTT", has_origin: false },
    waits: Waits::C,
};

#[cfg(test)]
mod golden_tests;
