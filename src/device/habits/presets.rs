//! The habits that there are.

use std::time::Duration;

use super::{
    BagHabits, Deadlines, DpsHabits, Field, Habits, HubHabits, PacketIds, Patience, PollBody, RegisterBody,
    RequestIds, Subscribe, Subscribing, Waits, WebSocketHabits,
};
use crate::azure::percent::Percent;
use crate::azure::sas::{Form, REGISTRATION_POLICY, ResourceSpelling};
use crate::azure::{dps, hub, mqtt};
use crate::device::hub::Qos;
use crate::device::mqtt::AGENT;

const MINUTE: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3_600);

/// `Accept` of requests to DPS.
const ACCEPT_JSON: Field = Field::Fixed("accept", "application/json");

/// `Content-Type` of requests to DPS.
const JSON: Field = Field::Fixed("content-type", dps::JSON);

/// Muster's own.
pub(super) static MUSTER: Habits = Habits {
    dps: DpsHabits {
        api_version: dps::API_VERSION,
        agent: AGENT,
        agent_spelling: Percent::Strict,
        keep_alive: None,
        // DPS keeps no session.
        clean_session: true,
        qos: Qos::AtLeastOnce,
        unsubscribes: false,
        request_ids: RequestIds::Counted,
        token: Form { policy: Some(REGISTRATION_POLICY), ..Form::PLAIN },
        token_lifetime: HOUR,
        rounds_expiry_up: false,
        patience: Patience { open: None, answer: None, both: None },
        keeps_connection: false,
        gives_up_over_http: false,
        body: RegisterBody::Id,
        poll_body: PollBody::Space,
        http_poll_body: "",
        http_ids: Percent::Raw,
        http_head: &[Field::Host, Field::Authorization, ACCEPT_JSON, JSON, Field::Fixed("user-agent", AGENT)],
    },
    hub: HubHabits {
        api_version: hub::API_VERSION,
        http_api_version: hub::API_VERSION,
        agent: AGENT,
        agent_spelling: Percent::Strict,
        // As the SDKs do: subscriptions and queued messages survive a reconnect.
        clean_session: false,
        token: Form::PLAIN,
        http_token: Form::PLAIN,
        bag: BagHabits { spelling: Percent::Strict, is_application_first: false },
        subscribing: Subscribing {
            qos: Qos::AtLeastOnce,
            is_one_by_one: false,
            when: Subscribe::IfForgotten,
        },
        request_ids: RequestIds::Counted,
        twin_body: " ",
        twin_qos: Qos::AtMostOnce,
        reply_qos: Qos::AtLeastOnce,
        chunked: false,
        http_message: &[
            Field::Host,
            Field::Authorization,
            Field::BodyType,
            Field::ContentType,
            Field::MessageId,
            Field::Fixed("user-agent", AGENT),
            Field::ContentEncoding,
            Field::Properties,
        ],
        http_question: &[Field::Host, Field::Authorization, Field::Fixed("user-agent", AGENT)],
        http_settlement: &[Field::Host, Field::Authorization, Field::Fixed("user-agent", AGENT)],
    },
    keep_alive: MINUTE,
    token_lifetime: HOUR,
    renew_before: Duration::from_secs(300),
    only_tls12: false,
    packet_ids: PacketIds::FromOne,
    websocket: WebSocketHabits {
        subprotocol: mqtt::WEBSOCKET_PROTOCOL,
        names_port: false,
        has_origin: false,
    },
    waits: Waits::MUSTER,
    deadlines: Deadlines {
        register: MINUTE,
        connect: Duration::from_secs(30),
        send: Duration::from_secs(30),
    },
};

/// Of Python's SDK, on Debian 12.
pub(super) static PYTHON: Habits = Habits {
    dps: DpsHabits {
        api_version: "2019-03-31",
        agent: "azure-iot-device-provisioning-py/2.14.0(3.11.2;Linux #1 SMP;x86_64)",
        agent_spelling: Percent::Strict,
        keep_alive: None,
        clean_session: false,
        qos: Qos::AtLeastOnce,
        unsubscribes: false,
        request_ids: RequestIds::Uuid,
        token: Form::PLAIN,
        token_lifetime: HOUR,
        rounds_expiry_up: false,
        // WATCHDOG_INTERVAL of pipeline_stages_mqtt.py, DEFAULT_TIMEOUT_INTERVAL of provisioning's constant.py.
        patience: Patience { open: Some(MINUTE), answer: Some(Duration::from_secs(30)), both: None },
        keeps_connection: true,
        // It speaks MQTT only.
        gives_up_over_http: false,
        body: RegisterBody::NullAndId,
        poll_body: PollBody::Space,
        http_poll_body: "",
        http_ids: Percent::Raw,
        http_head: &[],
    },
    hub: HubHabits {
        api_version: "2019-10-01",
        http_api_version: "",
        agent: "azure-iot-device-iothub-py/2.14.0(3.11.2;Linux #1 SMP;x86_64)",
        agent_spelling: Percent::Strict,
        clean_session: false,
        token: Form::PLAIN,
        http_token: Form::PLAIN,
        bag: BagHabits { spelling: Percent::Strict, is_application_first: false },
        // It relies on the session that the hub keeps.
        subscribing: Subscribing { qos: Qos::AtLeastOnce, is_one_by_one: true, when: Subscribe::Once },
        request_ids: RequestIds::Uuid,
        twin_body: " ",
        twin_qos: Qos::AtLeastOnce,
        reply_qos: Qos::AtLeastOnce,
        chunked: false,
        http_message: &[],
        http_question: &[],
        http_settlement: &[],
    },
    keep_alive: MINUTE,
    token_lifetime: HOUR,
    renew_before: Duration::from_secs(120),
    only_tls12: true,
    packet_ids: PacketIds::FromOne,
    websocket: WebSocketHabits { subprotocol: "mqtt", names_port: true, has_origin: true },
    waits: Waits::PYTHON,
    // It repeats what DPS refuses for now, and waits for the confirmation of a message, without limit; for CONNACK a minute.
    deadlines: Deadlines { register: HOUR, connect: MINUTE, send: HOUR },
};

const NODE_AGENT: &str = "azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)";

const NODE_DPS_AGENT: &str = "azure-iot-provisioning-device/1.9.1";

/// Node's HTTP client adds it behind the headers of the SDK.
const NODE_CONNECTION: Field = Field::Fixed("connection", "keep-alive");

/// Of Node's SDK, on Debian 12.
pub(super) static NODE: Habits = Habits {
    dps: DpsHabits {
        api_version: "2019-03-31",
        agent: NODE_DPS_AGENT,
        agent_spelling: Percent::Component,
        keep_alive: None,
        clean_session: true,
        qos: Qos::AtLeastOnce,
        unsubscribes: true,
        request_ids: RequestIds::Uuid,
        token: Form {
            spelling: ResourceSpelling::Raw,
            policy: Some(REGISTRATION_POLICY),
            is_policy_before_expiry: true,
            ..Form::PLAIN
        },
        token_lifetime: HOUR,
        // `anHourFromNow` of azure-iot-common.
        rounds_expiry_up: true,
        // `defaultTimeoutInterval` of azure-iot-provisioning-device: the connection is opened within the request.
        patience: Patience { open: None, answer: None, both: Some(Duration::from_secs(30)) },
        keeps_connection: true,
        gives_up_over_http: true,
        body: RegisterBody::Id,
        poll_body: PollBody::Space,
        http_poll_body: "{}",
        http_ids: Percent::Raw,
        http_head: &[
            ACCEPT_JSON,
            JSON,
            Field::Authorization,
            Field::RequestId,
            Field::Fixed("user-agent", NODE_DPS_AGENT),
            Field::Length,
            Field::Host,
            NODE_CONNECTION,
        ],
    },
    hub: HubHabits {
        api_version: "2021-04-12",
        http_api_version: "2021-04-12",
        agent: NODE_AGENT,
        agent_spelling: Percent::Component,
        clean_session: false,
        token: Form::PLAIN,
        http_token: Form::PLAIN,
        bag: BagHabits { spelling: Percent::Component, is_application_first: false },
        subscribing: Subscribing { qos: Qos::AtMostOnce, is_one_by_one: true, when: Subscribe::AfterLoss },
        request_ids: RequestIds::Uuid,
        twin_body: " ",
        twin_qos: Qos::AtMostOnce,
        reply_qos: Qos::AtMostOnce,
        chunked: true,
        http_message: &[
            Field::To,
            Field::Fixed("user-agent", NODE_AGENT),
            Field::Authorization,
            Field::Properties,
            Field::MessageId,
            Field::ContentType,
            Field::ContentEncoding,
            Field::Host,
            NODE_CONNECTION,
            Field::Fixed("transfer-encoding", "chunked"),
        ],
        http_question: &[
            Field::To,
            Field::Fixed("user-agent", NODE_AGENT),
            Field::Authorization,
            Field::Host,
            NODE_CONNECTION,
        ],
        http_settlement: &[
            Field::IfMatch { is_quoted: false },
            Field::Fixed("user-agent", NODE_AGENT),
            Field::Authorization,
            Field::Host,
            NODE_CONNECTION,
        ],
    },
    keep_alive: Duration::from_secs(180),
    token_lifetime: HOUR,
    renew_before: Duration::from_secs(900),
    only_tls12: false,
    packet_ids: PacketIds::Random,
    websocket: WebSocketHabits { subprotocol: "mqtt", names_port: false, has_origin: false },
    waits: Waits::NODE,
    // What DPS refuses for now is repeated without limit over MQTT; `connectTimeout` of azure-iot-mqtt-base, and
    // MAX_OPERATION_TIMEOUT of azure-iot-device.
    deadlines: Deadlines { register: HOUR, connect: MINUTE, send: Duration::from_secs(240) },
};

const C_AGENT: &str = "iothubclient/1.15.0 (native; Linux; x86_64)";

/// Of the SDK for C, whose HTTP client for hubs is libcurl: `Host` first, then what it adds itself, then what it was given.
pub(super) static C: Habits = Habits {
    dps: DpsHabits {
        api_version: "2021-06-01",
        agent: "1.15.0",
        agent_spelling: Percent::Raw,
        // The options of its MQTT client are left at zero (prov_transport_mqtt_common.c, create_connection).
        keep_alive: Some(Duration::ZERO),
        clean_session: true,
        qos: Qos::AtMostOnce,
        unsubscribes: false,
        request_ids: RequestIds::PacketId,
        token: Form {
            spelling: ResourceSpelling::LowerCaseHex,
            policy: Some(REGISTRATION_POLICY),
            is_policy_before_expiry: false,
            signature: Percent::C,
        },
        // SAS_TOKEN_DEFAULT_LIFETIME of prov_device_ll_client.c.
        token_lifetime: Duration::from_secs(2_400),
        rounds_expiry_up: false,
        patience: Patience { open: None, answer: None, both: None },
        keeps_connection: true,
        gives_up_over_http: false,
        body: RegisterBody::Id,
        poll_body: PollBody::Registration,
        http_poll_body: "",
        http_ids: Percent::C,
        http_head: &[
            // It has no hyphen (prov_transport_http_client.c, HEADER_USER_AGENT).
            Field::Fixed("useragent", "prov_device_client/1.0"),
            ACCEPT_JSON,
            Field::Fixed("connection", "keep-alive"),
            JSON,
            Field::Authorization,
            Field::HostAndPort,
            Field::Length,
        ],
    },
    hub: HubHabits {
        api_version: "2020-09-30",
        http_api_version: "2016-11-14",
        agent: C_AGENT,
        agent_spelling: Percent::C,
        clean_session: false,
        token: Form { spelling: ResourceSpelling::Raw, signature: Percent::C, ..Form::PLAIN },
        // The key has a name, which is empty (iothubtransporthttp.c, create_deviceSASObject).
        http_token: Form {
            spelling: ResourceSpelling::Raw,
            policy: Some(""),
            is_policy_before_expiry: false,
            signature: Percent::C,
        },
        bag: BagHabits { spelling: Percent::C, is_application_first: true },
        subscribing: Subscribing { qos: Qos::AtMostOnce, is_one_by_one: false, when: Subscribe::Always },
        request_ids: RequestIds::PacketId,
        twin_body: "",
        twin_qos: Qos::AtMostOnce,
        reply_qos: Qos::AtMostOnce,
        chunked: false,
        http_message: &[
            Field::Host,
            Field::To,
            Field::Authorization,
            ACCEPT_JSON,
            Field::Fixed("connection", "Keep-Alive"),
            Field::Fixed("user-agent", C_AGENT),
            Field::Fixed("content-type", "application/octet-stream"),
            Field::Properties,
            Field::MessageId,
            Field::ContentType,
            Field::ContentEncoding,
            Field::Length,
        ],
        http_question: &[
            Field::Host,
            Field::Fixed("accept", "*/*"),
            Field::Fixed("user-agent", C_AGENT),
            Field::Authorization,
            Field::Length,
        ],
        http_settlement: &[
            Field::Host,
            Field::Fixed("accept", "*/*"),
            Field::Fixed("user-agent", C_AGENT),
            Field::Authorization,
            Field::IfMatch { is_quoted: true },
            Field::Length,
            // libcurl's own, for it takes all of these for posted forms.
            Field::Fixed("content-type", "application/x-www-form-urlencoded"),
        ],
    },
    keep_alive: Duration::from_secs(240),
    token_lifetime: HOUR,
    // At 80 % of its life.
    renew_before: Duration::from_secs(720),
    only_tls12: false,
    packet_ids: PacketIds::CountAll,
    websocket: WebSocketHabits { subprotocol: "MQTT", names_port: true, has_origin: false },
    waits: Waits::C,
    // PROV_DEFAULT_TIMEOUT of prov_device_ll_client.c; DEFAULT_CONNACK_TIMEOUT and TELEMETRY_MSG_TIMEOUT_MIN of
    // iothubtransport_mqtt_common.c.
    deadlines: Deadlines {
        register: MINUTE,
        connect: Duration::from_secs(30),
        send: Duration::from_secs(120),
    },
};
