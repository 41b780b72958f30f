//! DPS and IoT Hub over MQTT 3.1.1: user names, topics, property bags.
//!
//! Sources: <https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-dps>,
//! <https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub>, and what SDKs send (OBS).

use std::borrow::Cow;
use std::fmt::Display;

use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};

use super::percent::{Percent, UNRESERVED};

/// Port of MQTT over TLS, at DPS and hub.
pub const PORT: u16 = 8883;

/// Path of the WebSocket that MQTT may go through, at DPS and hub, on the port of HTTPS.
pub const WEBSOCKET_PATH: &str = "/$iothub/websocket";

/// Subprotocol of that WebSocket. The C SDK writes it in capitals.
pub const WEBSOCKET_PROTOCOL: &str = "mqtt";

/// What a device subscribes to at DPS; the only subscription there is.
pub const DPS_RESPONSES: &str = "$dps/registrations/res/#";

/// What a device subscribes to for direct methods.
pub const METHODS: &str = "$iothub/methods/POST/#";

/// What a device subscribes to for answers about its twin.
pub const TWIN_RESPONSES: &str = "$iothub/twin/res/#";

/// What a device subscribes to for changes of desired properties.
pub const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

/// The longest keep-alive that the hub honours: it waits 1.5 times as long, and at most 1,767 s.
pub const MAX_KEEP_ALIVE_S: u16 = 1_177;

/// The longest that the hub waits for a packet of a device, in seconds.
pub const MAX_SILENCE_S: u64 = 1_767;

/// What is left as it is in an id inside a topic or user name. The SDKs write ids as they are; those that nothing here would
/// change are the same for all.
const IN_ID: &AsciiSet =
    &UNRESERVED.remove(b':').remove(b'@').remove(b'=').remove(b',').remove(b'$').remove(b'\'');

/// User name towards DPS.
///
/// * `agent`: names the client, not yet percent-encoded
pub fn dps_user_name(id_scope: &str, registration_id: &str, api_version: &str, agent: &str) -> String {
    dps_user_name_as(id_scope, registration_id, api_version, (agent, Percent::Strict))
}

/// [`dps_user_name`] of a client with its own spelling of `agent`.
pub fn dps_user_name_as(
    id_scope: &str,
    registration_id: &str,
    api_version: &str,
    (agent, spelling): (&str, Percent),
) -> String {
    let agent = spelling.encode(agent);
    format!("{id_scope}/registrations/{registration_id}/api-version={api_version}&ClientVersion={agent}")
}

/// User name towards a hub.
///
/// * `host`: the hub's name as DPS wrote it
/// * `agent`: names the client, not yet percent-encoded
pub fn hub_user_name(host: &str, device_id: &str, api_version: &str, agent: &str) -> String {
    hub_user_name_as(host, device_id, api_version, (agent, Percent::Strict))
}

/// [`hub_user_name`] of a client with its own spelling of `agent`.
pub fn hub_user_name_as(
    host: &str,
    device_id: &str,
    api_version: &str,
    (agent, spelling): (&str, Percent),
) -> String {
    let agent = spelling.encode(agent);
    let id = utf8_percent_encode(device_id, IN_ID);
    format!("{host}/{id}/?api-version={api_version}&DeviceClientType={agent}")
}

/// What a user name says of who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// A device that wants to register.
    Dps {
        /// The id scope.
        id_scope: String,
        /// The registration id.
        registration_id: String,
        /// The api-version, if there is one.
        api_version: Option<String>,
    },
    /// A device that wants its hub.
    Hub {
        /// The hub's name, with port if the device wrote one.
        host: String,
        /// The device id, decoded.
        device_id: String,
        /// The api-version, if there is one.
        api_version: Option<String>,
    },
}

impl UserName {
    /// Reads a user name; `None` if it is neither form.
    pub fn parse(text: &str) -> Option<Self> {
        let version = |query: &str| {
            let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("api-version="));
            values.next().map(str::to_owned)
        };
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if let Some((id_scope, rest)) = text.split_once("/registrations/") {
            let (registration_id, query) = rest.split_once('/').unwrap_or((rest, ""));
            return Some(Self::Dps {
                id_scope: filled(id_scope)?,
                registration_id: filled(&decoded(registration_id)?)?,
                api_version: version(query),
            });
        }
        let (host, rest) = text.split_once('/')?;
        let (device_id, query) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self::Hub {
            host: filled(host)?,
            device_id: filled(&decoded(device_id)?)?,
            api_version: version(query.strip_prefix('?').unwrap_or(query)),
        })
    }
}

/// Topic of a registration.
pub fn register_topic(rid: impl Display) -> String {
    format!("$dps/registrations/PUT/iotdps-register/?$rid={rid}")
}

/// Topic of a question for an operation's status.
pub fn poll_topic(rid: impl Display, operation_id: &str) -> String {
    let operation_id = utf8_percent_encode(operation_id, UNRESERVED);
    format!("$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operation_id}")
}

/// A request to DPS, as its topic says. Its answer repeats the request id literally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DpsRequest<'a> {
    /// Register.
    Register {
        /// Request id; empty if the device gave none.
        rid: &'a str,
    },
    /// Ask for an operation.
    Poll {
        /// Request id; empty if the device gave none.
        rid: &'a str,
        /// The operation; empty if the device gave none.
        operation_id: Cow<'a, str>,
    },
}

impl<'a> DpsRequest<'a> {
    /// Reads a topic; `None` if DPS knows no such request.
    pub fn parse(topic: &'a str) -> Option<Self> {
        let rest = topic.strip_prefix("$dps/registrations/")?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let rid = value(query, "$rid").unwrap_or_default();
        match path.trim_end_matches('/') {
            "PUT/iotdps-register" => Some(Self::Register { rid }),
            "GET/iotdps-get-operationstatus" => {
                let operation_id = value(query, "operationId").unwrap_or_default();
                Some(Self::Poll { rid, operation_id: percent_decode_str(operation_id).decode_utf8().ok()? })
            }
            _ => None,
        }
    }
}

/// Topic of DPS's answer. SDKs want `$rid` first and `retry-after` in lower case.
pub fn response_topic(status: u16, rid: &str, retry_after_s: Option<u64>) -> String {
    match retry_after_s {
        Some(seconds) => format!("$dps/registrations/res/{status}/?$rid={rid}&retry-after={seconds}"),
        None => format!("$dps/registrations/res/{status}/?$rid={rid}"),
    }
}

/// An answer of DPS, as its topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpsResponse<'a> {
    /// As in HTTP.
    pub status: u16,
    /// The id of the request, as it was sent.
    pub rid: &'a str,
    /// What the service asks to wait, unread.
    pub retry_after: Option<&'a str>,
}

impl<'a> DpsResponse<'a> {
    /// Reads a topic; `None` if it is no answer of DPS.
    pub fn parse(topic: &'a str) -> Option<Self> {
        let rest = topic.strip_prefix("$dps/registrations/res/")?;
        let (status, rest) = rest.split_once('/')?;
        let query = rest.strip_prefix('?')?;
        let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            status: is_status.then(|| status.parse().ok()).flatten()?,
            rid: value(query, "$rid").unwrap_or_default(),
            // C# looks for it in any case; whoever answers may do as much.
            retry_after: query.split('&').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.eq_ignore_ascii_case("retry-after").then_some(value)
            }),
        })
    }
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Start of the topic to which one device sends telemetry; a property bag follows, or nothing.
pub fn events_prefix(device_id: &str) -> String {
    format!("devices/{}/messages/events/", utf8_percent_encode(device_id, IN_ID))
}

/// What a device subscribes to for cloud-to-device messages.
pub fn devicebound_filter(device_id: &str) -> String {
    format!("devices/{}/messages/devicebound/#", utf8_percent_encode(device_id, IN_ID))
}

/// Device id (decoded) and property bag of a telemetry topic; `None` if it is none.
pub fn parse_events_topic(topic: &str) -> Option<(Cow<'_, str>, &str)> {
    let (id, rest) = topic.strip_prefix("devices/")?.split_once('/')?;
    let rest = rest.strip_prefix("messages/events")?;
    let bag = match rest {
        "" => "",
        _ => rest.strip_prefix('/')?,
    };
    Some((percent_decode_str(id).decode_utf8().ok()?, bag))
}

/// Names of system properties in a property bag.
pub mod system_property {
    /// Message id.
    pub const MESSAGE_ID: &str = "$.mid";
    /// Content type of the body.
    pub const CONTENT_TYPE: &str = "$.ct";
    /// Content encoding of the body.
    pub const CONTENT_ENCODING: &str = "$.ce";
}

/// Appends `name=value` to a property bag, both percent-encoded (the dollar of system properties too, as SDKs do).
///
/// * `start`: where the bag begins in `bag`, which may hold the rest of the topic before it
pub fn append_property(bag: &mut String, start: usize, name: &str, value: &str) {
    append_property_as(bag, start, (name, value), Percent::Strict);
}

/// [`append_property`] of a client with its own spelling.
pub fn append_property_as(bag: &mut String, start: usize, (name, value): (&str, &str), spelling: Percent) {
    if bag.len() > start {
        bag.push('&');
    }
    spelling.append(bag, name);
    bag.push('=');
    spelling.append(bag, value);
}

/// The properties of a bag, decoded, in their order; a name without `=` has an empty value. `None` for one that is not
/// UTF-8 when decoded.
pub fn properties(bag: &str) -> impl Iterator<Item = Option<(Cow<'_, str>, Cow<'_, str>)>> {
    let pairs = bag.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text| percent_decode_str(text).decode_utf8().ok();
        decode(name).zip(decode(value))
    })
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_of_the_sdks_are_told_apart() {
        let python =
            "0ne00000A0A/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot%2F2.14.0%28x%29";
        assert_eq!(
            UserName::parse(python),
            Some(UserName::Dps {
                id_scope: "0ne00000A0A".into(),
                registration_id: "dev-1".into(),
                api_version: Some("2019-03-31".into())
            })
        );
        let node = "localhost:18883/a%25b/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4";
        let hub = |host: &str, id: &str, version: Option<&str>| {
            Some(UserName::Hub {
                host: host.into(),
                device_id: id.into(),
                api_version: version.map(str::to_owned),
            })
        };
        assert_eq!(UserName::parse(node), hub("localhost:18883", "a%b", Some("2021-04-12")));
        assert_eq!(UserName::parse("h.net/d"), hub("h.net", "d", None));
        for text in ["", "d", "/d", "h/", "/registrations/d/api-version=1", "s/registrations/", "h/%ff/"] {
            assert_eq!(UserName::parse(text), None, "{text}");
        }
        for (ours, host, id) in [("hub.net", "hub.net", "a b%/c"), ("h:1", "h:1", "dev:1")] {
            assert_eq!(
                UserName::parse(&hub_user_name(ours, id, "2021-04-12", "muster/1")),
                hub(host, id, Some("2021-04-12"))
            );
        }
        let ours = dps_user_name("0ne", "dev:1", "2019-03-31", "muster/1 (x)");
        assert_eq!(ours, "0ne/registrations/dev:1/api-version=2019-03-31&ClientVersion=muster%2F1%20%28x%29");
    }

    #[test]
    fn topics_of_dps_are_read_as_they_are_written() {
        assert_eq!(DpsRequest::parse(&register_topic(7)), Some(DpsRequest::Register { rid: "7" }));
        let poll = poll_topic(8, "5.3d e");
        assert_eq!(poll, "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=8&operationId=5.3d%20e");
        assert_eq!(
            DpsRequest::parse(&poll),
            Some(DpsRequest::Poll { rid: "8", operation_id: "5.3d e".into() })
        );
        // A client that forgot the dollar is answered with an empty request id.
        let odd = "$dps/registrations/PUT/iotdps-register/?rid=1";
        assert_eq!(DpsRequest::parse(odd), Some(DpsRequest::Register { rid: "" }));
        assert_eq!(DpsRequest::parse("$dps/registrations/POST/x/?$rid=1"), None);

        let answer = response_topic(202, "7", Some(3));
        assert_eq!(answer, "$dps/registrations/res/202/?$rid=7&retry-after=3");
        let read = DpsResponse { status: 202, rid: "7", retry_after: Some("3") };
        assert_eq!(DpsResponse::parse(&answer), Some(read));
        let other = "$dps/registrations/res/429/?$rid=a&Retry-After=9";
        assert_eq!(DpsResponse::parse(other).and_then(|read| read.retry_after), Some("9"));
        for topic in ["$dps/registrations/res/+20/?$rid=1", "$dps/registrations/res/202", "x", ""] {
            assert_eq!(DpsResponse::parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_property_bag_is_read_as_it_is_written() {
        let mut topic = events_prefix("a/b");
        let start = topic.len();
        for (name, value) in [("$.mid", "m 1"), ("$.ct", "application/json"), ("ü", "&=%")] {
            append_property(&mut topic, start, name, value);
        }
        assert_eq!(
            topic,
            "devices/a%2Fb/messages/events/%24.mid=m%201&%24.ct=application%2Fjson&%C3%BC=%26%3D%25"
        );
        let (id, bag) = parse_events_topic(&topic).expect("a telemetry topic");
        assert_eq!(id, "a/b");
        let read: Vec<_> = properties(bag).map(|pair| pair.expect("UTF-8")).collect();
        assert_eq!(read[2], ("ü".into(), "&=%".into()));
        assert_eq!(parse_events_topic("devices/d/messages/events"), Some(("d".into(), "")));
        assert_eq!(parse_events_topic("devices/d/messages/eventsx"), None);
        assert_eq!(parse_events_topic("devices/%ff/messages/events/"), None);
        assert!(properties("a=%ff").any(|pair| pair.is_none()));
    }
}
