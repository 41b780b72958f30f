//! What goes both ways between a hub and its devices over MQTT: twins, direct methods, messages from the cloud.
//!
//! Topics only; bodies are JSON, those of messages whatever their sender likes.
//!
//! Source: <https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub>; the bag of messages from the cloud as traces
//! of devices show it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::mqtt::{append_property, devicebound_filter};

/// What a device asks its hub about its twin, as the topic says. The answer repeats the request id literally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwinRequest<'a> {
    /// The whole twin.
    Get {
        /// Request id; empty if the device gave none.
        rid: &'a str,
    },
    /// Change reported properties.
    Patch {
        /// Request id; empty if the device gave none.
        rid: &'a str,
    },
}

impl<'a> TwinRequest<'a> {
    /// Reads a topic; `None` if it is no such request.
    pub fn parse(topic: &'a str) -> Option<Self> {
        let (path, rid) = split(topic.strip_prefix("$iothub/twin/")?);
        match path {
            "GET" => Some(Self::Get { rid }),
            "PATCH/properties/reported" => Some(Self::Patch { rid }),
            _ => None,
        }
    }
}

/// Topic of a question for the twin.
pub fn twin_get_topic(rid: &str) -> String {
    format!("$iothub/twin/GET/?$rid={rid}")
}

/// Topic of a change of reported properties.
pub fn twin_patch_topic(rid: &str) -> String {
    format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}")
}

/// The hub's answer about a twin, as its topic says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwinResponse<'a> {
    /// As in HTTP: 200 for the twin, 204 for a change.
    pub status: u16,
    /// The id of the request, as it was sent.
    pub rid: &'a str,
    /// Version of the reported properties after a change.
    pub version: Option<u64>,
}

impl<'a> TwinResponse<'a> {
    /// Reads a topic; `None` if it is no such answer.
    pub fn parse(topic: &'a str) -> Option<Self> {
        let (status, query) = topic.strip_prefix("$iothub/twin/res/")?.split_once('/')?;
        let query = query.strip_prefix('?')?;
        let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            status: is_status.then(|| status.parse().ok()).flatten()?,
            rid: value(query, "$rid").unwrap_or_default(),
            version: value(query, "$version").and_then(|version| version.parse().ok()),
        })
    }
}

/// Topic of the hub's answer about a twin.
///
/// * `version`: of the reported properties, after a change
pub fn twin_response_topic(status: u16, rid: &str, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("$iothub/twin/res/{status}/?$rid={rid}&$version={version}"),
        None => format!("$iothub/twin/res/{status}/?$rid={rid}"),
    }
}

/// Topic on which a device is told of desired properties that changed.
pub fn desired_topic(version: u64) -> String {
    format!("$iothub/twin/PATCH/properties/desired/?$version={version}")
}

/// The version of the desired properties that such a topic names; `None` if it is another topic.
pub fn parse_desired_topic(topic: &str) -> Option<u64> {
    let rest = topic.strip_prefix("$iothub/twin/PATCH/properties/desired/")?;
    value(rest.strip_prefix('?')?, "$version")?.parse().ok()
}

/// Topic of a direct method that the cloud invokes.
///
/// * `name`: as the caller wrote it; only names for which [`is_method_name`] holds are topics
pub fn method_topic(name: &str, rid: &str) -> String {
    format!("$iothub/methods/POST/{name}/?$rid={rid}")
}

/// Name and request id of an invoked method; `None` if the topic is another.
pub fn parse_method_topic(topic: &str) -> Option<(&str, &str)> {
    let (name, query) = topic.strip_prefix("$iothub/methods/POST/")?.split_once('/')?;
    Some((name, value(query.strip_prefix('?')?, "$rid")?))
}

/// Topic of a device's answer to a method.
///
/// * `status`: what the device likes; by custom as in HTTP
pub fn method_response_topic(status: i32, rid: &str) -> String {
    format!("$iothub/methods/res/{status}/?$rid={rid}")
}

/// Status and request id of a device's answer to a method; `None` if the topic is no such answer, or its status no number.
pub fn parse_method_response_topic(topic: &str) -> Option<(i32, &str)> {
    let (status, query) = topic.strip_prefix("$iothub/methods/res/")?.split_once('/')?;
    Some((status.parse().ok()?, value(query.strip_prefix('?')?, "$rid")?))
}

/// Whether a method may have this name: visible ASCII without `$()<>@,;:\"/[]?={}` and what MQTT keeps for itself.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods>; the length is the specification's.
pub fn is_method_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"$()<>@,;:\\\"/[]?={}#+".contains(&byte);
    (1..=MAX_METHOD_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Longest name of a method, in bytes.
pub const MAX_METHOD_NAME: usize = 100;

/// Topic of a message from the cloud with its property bag: system properties first, as traces show it.
///
/// * `system`, `application`: names and values, not yet percent-encoded; a property without value is written as its name
///   alone
pub fn devicebound_topic<'a>(
    device_id: &str,
    system: impl IntoIterator<Item = (&'a str, &'a str)>,
    application: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> String {
    let mut topic = devicebound_filter(device_id);
    topic.pop();
    let start = topic.len();
    for (name, value) in system {
        append_property(&mut topic, start, name, value);
    }
    for (name, value) in application {
        append_property(&mut topic, start, name, value.unwrap_or_default());
        if value.is_none() {
            topic.pop();
        }
    }
    topic
}

/// Device id (decoded) and property bag of the topic of a message from the cloud; `None` if it is another topic.
pub fn parse_devicebound_topic(topic: &str) -> Option<(Cow<'_, str>, &str)> {
    let (id, rest) = topic.strip_prefix("devices/")?.split_once('/')?;
    let bag = rest.strip_prefix("messages/devicebound/")?;
    Some((percent_decode_str(id).decode_utf8().ok()?, bag))
}

/// Names of system properties in the bag of a message from the cloud, besides those of
/// [`super::mqtt::system_property`].
pub mod system_property {
    /// Where it was sent: `/devices/{id}/messages/deviceBound`.
    pub const TO: &str = "$.to";
    /// Id of the message that it answers.
    pub const CORRELATION_ID: &str = "$.cid";
    /// Who sent it, in the sender's words.
    pub const USER_ID: &str = "$.uid";
    /// When it expires, ISO 8601.
    pub const EXPIRY: &str = "$.exp";
    /// What feedback its sender wants.
    pub const ACK: &str = "iothub-ack";
}

/// Largest body and properties of a message from the cloud, in bytes.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>
pub const MAX_DEVICEBOUND: usize = 64 * 1024;

/// Messages that wait for one device, at most.
pub const MAX_DEVICEBOUND_QUEUE: usize = 50;

/// Largest payload of a method, and of its answer, in bytes.
pub const MAX_METHOD_PAYLOAD: usize = 128 * 1024;

/// The path of a request, and its request id.
fn split(rest: &str) -> (&str, &str) {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    (path.trim_end_matches('/'), value(query, "$rid").unwrap_or_default())
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_as_they_are_written() {
        assert_eq!(TwinRequest::parse(&twin_get_topic("a1")), Some(TwinRequest::Get { rid: "a1" }));
        assert_eq!(TwinRequest::parse(&twin_patch_topic("7")), Some(TwinRequest::Patch { rid: "7" }));
        // Node writes no slash before the question mark in some versions, and a version behind the request id.
        assert_eq!(TwinRequest::parse("$iothub/twin/GET?$rid=1&x=2"), Some(TwinRequest::Get { rid: "1" }));
        let topic = twin_response_topic(204, "ho", Some(88));
        assert_eq!(topic, "$iothub/twin/res/204/?$rid=ho&$version=88");
        let response = TwinResponse { status: 204, rid: "ho", version: Some(88) };
        assert_eq!(TwinResponse::parse(&topic), Some(response));
        assert_eq!(desired_topic(15), "$iothub/twin/PATCH/properties/desired/?$version=15");
        assert_eq!(parse_desired_topic(&desired_topic(15)), Some(15));
        assert_eq!(parse_method_topic(&method_topic("reboot", "3f")), Some(("reboot", "3f")));
        assert_eq!(parse_method_response_topic(&method_response_topic(-1, "3f")), Some((-1, "3f")));
        let to = "/devices/MySmartDevice/messages/deviceBound";
        let topic = devicebound_topic(
            "MySmartDevice",
            [(system_property::TO, to)],
            [("foo", Some("bar")), ("flag", None), ("empty", Some(""))],
        );
        // The first half was seen on the wire of a real device.
        assert_eq!(
            topic,
            "devices/MySmartDevice/messages/devicebound/\
             %24.to=%2Fdevices%2FMySmartDevice%2Fmessages%2FdeviceBound&foo=bar&flag&empty="
        );
        let bag = topic.rsplit('/').next().expect("a bag");
        assert_eq!(parse_devicebound_topic(&topic), Some(("MySmartDevice".into(), bag)));
    }

    #[test]
    fn other_topics_are_none_of_these() {
        for topic in [
            "",
            "$iothub/twin/",
            "$iothub/twin/PUT/?$rid=1",
            "$iothub/twin/PATCH/properties/desired/?$rid=1",
            "$iothub/twin/res/2x4/?$rid=1",
            "$iothub/twin/res/204",
            "$iothub/methods/res/?$rid=1",
            "$iothub/methods/res/99999999999/?$rid=1",
            "$iothub/methods/res/200/",
            "$iothub/methods/POST/a",
            "devices/d/messages/events/",
        ] {
            assert_eq!(TwinRequest::parse(topic), None, "{topic}");
            assert_eq!(TwinResponse::parse(topic), None, "{topic}");
            assert_eq!(parse_desired_topic(topic), None, "{topic}");
            assert_eq!(parse_method_topic(topic), None, "{topic}");
            assert_eq!(parse_method_response_topic(topic), None, "{topic}");
            assert_eq!(parse_devicebound_topic(topic), None, "{topic}");
        }
        for (name, good) in
            [("reboot", true), ("a-b_c.1!", true), ("", false), ("a/b", false), ("a b", false)]
        {
            assert_eq!(is_method_name(name), good, "{name}");
        }
        assert!(!is_method_name(&"x".repeat(101)) && !is_method_name("#"));
    }
}
