//! A hub's service API: the registry of devices, twins, methods, messages to devices. A part of what the real one has,
//! with the names and bodies that its SDKs use.
//!
//! Azure's SDKs send messages to devices over AMQP; `POST /messages/devicebound` is the hub's HTTPS call of earlier days,
//! its headers those of a device's messages.
//!
//! Source: <https://learn.microsoft.com/rest/api/iothub/service>

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::devicebound::{ACK, CORRELATION_ID, EXPIRY, TO, USER_ID};
use super::route::{decode, has_api_version};
use super::service_route::HubCall;
use super::{Arrival, Reply, hub, reply};
use crate::azure::hub::{
    CONTENT_ENCODING_HEADER, CONTENT_TYPE_HEADER, HubError, MESSAGE_ID_HEADER, PROPERTY_HEADER_PREFIX,
};
use crate::azure::two_way::MAX_DEVICEBOUND;
use crate::emulator::cloud_to_device::{Ack, Message};
use crate::emulator::hub::{Edit, Registered};
use crate::emulator::methods::{self, Invocation};
use crate::emulator::service::HubRefusal;
use crate::emulator::throttle::Traffic;
use crate::emulator::twin::{Change, Twin};
use crate::emulator::two_way::Trouble;
use crate::time::UnixTime;

/// Answers a call of a hub's service API.
pub(super) async fn handle(arrival: &Arrival<'_>, call: &HubCall) -> Reply {
    match (decide(arrival, call).await, call) {
        (Ok(reply), _) => reply,
        (Err(refusal), HubCall::Method { .. }) => reply::method_error(refusal),
        (Err(refusal), _) => reply::hub_error(refusal),
    }
}

async fn decide(arrival: &Arrival<'_>, call: &HubCall) -> Result<Reply, HubRefusal> {
    if !has_api_version(arrival.head) {
        return Err(invalid("api-version is missing or not a date"));
    }
    let service = &arrival.front.service;
    let (now, wall) = (arrival.now, arrival.wall);
    let index = service.authenticate_hub_owner(arrival.entrance.hub, arrival.token(), wall)?;
    let hub = service.hub(index);
    match call {
        HubCall::Devices => {
            let most = query_number(arrival, "top").unwrap_or(MAX_LISTED).min(MAX_LISTED);
            let devices = service.admit_registry(index, now, wall)?.some_registered(most);
            let devices: Vec<Value> = devices.iter().map(device_json).collect();
            Ok(reply::json(StatusCode::OK, &devices))
        }
        HubCall::Device { device_id } => {
            let hub = service.admit_registry(index, now, wall)?;
            if arrival.head.method == Method::DELETE {
                hub.delete(device_id, if_match(arrival).unwrap_or("*"))?;
                return Ok(reply::empty(StatusCode::NO_CONTENT));
            }
            let device = if arrival.head.method == Method::PUT {
                put_device(arrival, index, device_id)?
            } else {
                hub.registered(device_id).ok_or(Trouble::NoDevice)?
            };
            Ok(with_etag(reply::json(StatusCode::OK, &device_json(&device)), &device.etag))
        }
        HubCall::Purge { device_id } => {
            let purged = service.admit_registry(index, now, wall)?.purge_messages(device_id)?;
            let body = json!({ "deviceId": device_id, "moduleId": null, "totalMessagesPurged": purged });
            Ok(reply::json(StatusCode::OK, &body))
        }
        HubCall::Twin { device_id } => {
            let twin = if arrival.head.method == Method::GET {
                let twin = hub.twin(device_id)?;
                service.admit(index, Traffic::TwinRead, now, wall, 0)?;
                twin
            } else {
                service.admit(index, Traffic::TwinUpdate, now, wall, arrival.body.len() as u64)?;
                let change = change(arrival)?;
                let etag = if_match(arrival).filter(|etag| *etag != "*");
                hub.change_twin(device_id, &change, etag, wall)?
            };
            let device = hub.registered(device_id).ok_or(Trouble::NoDevice)?;
            Ok(with_etag(reply::json(StatusCode::OK, &twin_json(&device, &twin)), &twin.etag()))
        }
        HubCall::Method { device_id } => {
            let invocation: Invocation = body(arrival)?;
            let payload = invocation.check()?;
            service.admit(index, Traffic::Method, now, wall, payload.len() as u64)?;
            let clock = &arrival.front.clock;
            let result = methods::invoke(hub, clock, device_id, &invocation, payload).await?;
            Ok(reply::json(StatusCode::OK, &result))
        }
        HubCall::Send => {
            let (device_id, message) = message(arrival)?;
            let size = (arrival.body.len() + hub::properties_size(&arrival.head.headers)) as u64;
            if size > MAX_DEVICEBOUND as u64 {
                let message = "body and properties together exceed 64 KB";
                return Err(HubRefusal { error: HubError::MESSAGE_TOO_LARGE, message });
            }
            service.admit(index, Traffic::SendDeviceBound, now, wall, size)?;
            hub.send_message(&device_id, now, wall, message)?;
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
    }
}

/// A device as the registry's clients write it, as far as it is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDevice {
    device_id: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    authentication: Option<Authentication>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authentication {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    symmetric_key: Option<SymmetricKey>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymmetricKey {
    #[serde(default)]
    primary_key: Option<String>,
    #[serde(default)]
    secondary_key: Option<String>,
}

fn put_device(arrival: &Arrival<'_>, hub: usize, device_id: &str) -> Result<Registered, HubRefusal> {
    let device: WrittenDevice = body(arrival)?;
    if device.device_id != device_id {
        return Err(invalid("the deviceId of the body is not that of the path"));
    }
    let enabled = match device.status.as_deref() {
        None => None,
        Some("enabled") => Some(true),
        Some("disabled") => Some(false),
        Some(_) => return Err(invalid("status is neither enabled nor disabled")),
    };
    let key = match device.authentication {
        Some(Authentication { kind: Some(kind), .. }) if kind != "sas" => {
            return Err(invalid("devices are authenticated by symmetric keys here: use type sas"));
        }
        Some(Authentication { symmetric_key: Some(key), .. }) => key,
        _ => SymmetricKey::default(),
    };
    let keys = [key.primary_key.as_deref(), key.secondary_key.as_deref()];
    let edit = Edit { enabled, expected: if_match(arrival) };
    arrival.front.service.put_device(hub, device_id, keys, edit)
}

/// The fields that the registry's clients expect. When things happened is not kept, and the fields for it say so as the
/// real hub does for what never happened.
fn device_json(device: &Registered) -> Value {
    let (primary, secondary) = device.credential.device_keys(&device.device_id);
    json!({
        "deviceId": device.device_id,
        "generationId": "1",
        "etag": device.etag,
        "connectionState": connection_state(device),
        "status": status(device),
        "statusReason": null,
        "connectionStateUpdatedTime": NEVER,
        "statusUpdatedTime": NEVER,
        "lastActivityTime": NEVER,
        "cloudToDeviceMessageCount": device.messages,
        "authentication": {
            "type": "sas",
            "symmetricKey": {
                "primaryKey": primary.expose_text(),
                "secondaryKey": secondary.expose_text(),
            },
            "x509Thumbprint": { "primaryThumbprint": null, "secondaryThumbprint": null },
        },
        "capabilities": { "iotEdge": false },
    })
}

fn twin_json(device: &Registered, twin: &Twin) -> Value {
    let (tags, properties) = twin.for_service();
    json!({
        "deviceId": device.device_id,
        "etag": twin.etag(),
        "deviceEtag": device.etag,
        "status": status(device),
        "statusUpdateTime": NEVER,
        "connectionState": connection_state(device),
        "lastActivityTime": NEVER,
        "cloudToDeviceMessageCount": device.messages,
        "authenticationType": "sas",
        "x509Thumbprint": { "primaryThumbprint": null, "secondaryThumbprint": null },
        "modelId": "",
        "version": twin.version(),
        "tags": tags,
        "properties": properties,
        "capabilities": { "iotEdge": false },
    })
}

fn status(device: &Registered) -> &'static str {
    if device.is_enabled { "enabled" } else { "disabled" }
}

fn connection_state(device: &Registered) -> &'static str {
    if device.is_connected { "Connected" } else { "Disconnected" }
}

/// What a PATCH or PUT of a twin wants changed.
fn change(arrival: &Arrival<'_>) -> Result<Change, HubRefusal> {
    #[derive(Deserialize)]
    struct WrittenTwin {
        #[serde(default)]
        tags: Option<Map<String, Value>>,
        #[serde(default)]
        properties: Option<Properties>,
    }
    #[derive(Deserialize)]
    struct Properties {
        #[serde(default)]
        desired: Option<Map<String, Value>>,
    }
    let twin: WrittenTwin = body(arrival)?;
    let desired = twin.properties.and_then(|properties| properties.desired);
    Ok(Change { tags: twin.tags, desired, is_whole: arrival.head.method == Method::PUT })
}

/// A message for a device, and for which.
fn message(arrival: &Arrival<'_>) -> Result<(String, Message), HubRefusal> {
    let header = |name: &str| {
        let value = arrival.head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let to = header(TO).ok_or(invalid("iothub-to is missing"))?;
    let device_id = to.strip_prefix("/devices/").and_then(|rest| rest.split_once("/messages/"));
    let device_id = device_id
        .filter(|(_, bound)| bound.eq_ignore_ascii_case("devicebound"))
        .and_then(|(id, _)| decode(id))
        .ok_or(invalid("iothub-to is not /devices/{id}/messages/devicebound"))?;
    let expiry = match header(EXPIRY) {
        None => None,
        Some(text) => Some(parse_time(&text).ok_or(invalid("iothub-expiry is no time of ISO 8601"))?),
    };
    let ack = match header(ACK) {
        None => Ack::None,
        Some(text) => {
            Ack::from_name(&text).ok_or(invalid("iothub-ack is none, positive, negative or full"))?
        }
    };
    let properties = arrival.head.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(PROPERTY_HEADER_PREFIX)?;
        Some((name.to_owned(), Some(value.to_str().ok()?.to_owned())))
    });
    let message = Message {
        message_id: header(MESSAGE_ID_HEADER),
        correlation_id: header(CORRELATION_ID),
        user_id: header(USER_ID),
        content_type: header(CONTENT_TYPE_HEADER),
        content_encoding: header(CONTENT_ENCODING_HEADER),
        expiry,
        ack,
        properties: properties.collect(),
        body: arrival.body.to_vec(),
    };
    Ok((device_id, message))
}

fn parse_time(text: &str) -> Option<UnixTime> {
    let time: jiff::Timestamp = text.trim().parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok().map(UnixTime::from_nanos)
}

/// The body as JSON.
fn body<T: for<'de> Deserialize<'de>>(arrival: &Arrival<'_>) -> Result<T, HubRefusal> {
    serde_json::from_slice(&arrival.body).map_err(|_| invalid("the body is not what the call wants in JSON"))
}

/// The etag that the caller expects, without its quotes; `*` for any.
pub(super) fn if_match<'a>(arrival: &'a Arrival<'_>) -> Option<&'a str> {
    let value = arrival.head.headers.get(header::IF_MATCH)?.to_str().ok()?.trim();
    let value = value.strip_prefix("W/").unwrap_or(value);
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// * `etag`: without quotes
pub(super) fn with_etag(mut reply: Reply, etag: &str) -> Reply {
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        reply.headers_mut().insert(header::ETAG, value);
    }
    reply
}

fn query_number(arrival: &Arrival<'_>, name: &str) -> Option<usize> {
    let query = arrival.head.uri.query().unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

fn invalid(message: &'static str) -> HubRefusal {
    HubRefusal { error: HubError::ARGUMENT_INVALID, message }
}

/// Devices in one answer.
///
/// Source: <https://learn.microsoft.com/rest/api/iothub/service/devices/get-devices>
const MAX_LISTED: usize = 1_000;

/// How the real hub writes a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";
