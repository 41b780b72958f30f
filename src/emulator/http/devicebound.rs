//! A device's messages from the cloud over HTTPS: taken under a lock, then completed, rejected or abandoned.
//!
//! Source: <https://learn.microsoft.com/rest/api/iothub/device/receive-device-bound-notification>

use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};

use super::route::has_api_version;
use super::service_route::ReceiveCall;
use super::{Arrival, Reply, hub, reply};
use crate::azure::hub::{
    CONTENT_ENCODING_HEADER, CONTENT_TYPE_HEADER, HubError, MESSAGE_ID_HEADER, PROPERTY_HEADER_PREFIX,
};
use crate::emulator::cloud_to_device::{Ack, Delivery, Settlement};
use crate::emulator::registrations::Guid;
use crate::emulator::service::HubRefusal;
use crate::emulator::throttle::Traffic;

/// Header that carries where a message was sent.
pub(super) const TO: &str = "iothub-to";
/// Header that carries the id of the message that another answers.
pub(super) const CORRELATION_ID: &str = "iothub-correlationid";
/// Header that carries who sent a message.
pub(super) const USER_ID: &str = "iothub-userid";
/// Header that carries when a message expires.
pub(super) const EXPIRY: &str = "iothub-expiry";
/// Header that carries what a message's sender wants to hear of it.
pub(super) const ACK: &str = "iothub-ack";

/// Answers a device's request for its messages.
pub(super) async fn handle(arrival: &Arrival<'_>, device_id: &str, call: &ReceiveCall) -> Reply {
    decide(arrival, device_id, call).await.unwrap_or_else(reply::hub_error)
}

async fn decide(arrival: &Arrival<'_>, device_id: &str, call: &ReceiveCall) -> Result<Reply, HubRefusal> {
    let invalid = |message| HubRefusal { error: HubError::ARGUMENT_INVALID, message };
    if !has_api_version(arrival.head) {
        return Err(invalid("api-version is missing or not a date"));
    }
    let service = &arrival.front.service;
    let (entrance, token, wall) = (arrival.entrance, arrival.token(), arrival.wall);
    let device = service.authenticate_device(entrance.hub, device_id, token, wall)?;
    let (now, wall) = hub::enter(arrival, device.hub_index()).await?;
    let hub = service.hub_of_device(&device);
    let (token, how) = match call {
        ReceiveCall::Next => {
            service.admit(device.hub_index(), Traffic::ReceiveDeviceBound, now, wall, 0)?;
            let token = service.lock_token(device_id);
            return Ok(match hub.lock_message(device_id, now, wall, token) {
                None => reply::empty(StatusCode::NO_CONTENT),
                Some(delivery) => message(device_id, &delivery, token),
            });
        }
        ReceiveCall::Abandon { token } => (token, Settlement::Abandon),
        ReceiveCall::Settle { token } => {
            let query = arrival.head.uri.query().unwrap_or_default();
            let is_rejected = query.split('&').any(|pair| pair == "reject" || pair.starts_with("reject="));
            (token, if is_rejected { Settlement::Reject } else { Settlement::Complete })
        }
    };
    let token = Guid::parse(token).ok_or(invalid("the lock token is none"))?;
    hub.settle_message(device_id, now, wall, token.0, how)?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// A message as a reply: its body, and everything else in headers. A property that no header can carry is left out.
fn message(device_id: &str, delivery: &Delivery, token: u128) -> Reply {
    let message = &delivery.message;
    let mut reply = reply::bytes(StatusCode::OK, message.body.clone());
    let headers = reply.headers_mut();
    let mut set = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG.as_str(), &format!("\"{}\"", Guid(token)));
    set(TO, &format!("/devices/{device_id}/messages/deviceBound"));
    set("iothub-sequencenumber", &delivery.sequence.to_string());
    set("iothub-enqueuedtime", &delivery.enqueued.to_rfc3339(7));
    set("iothub-deliverycount", &delivery.abandoned.to_string());
    set(EXPIRY, &delivery.expires.to_rfc3339(7));
    if message.ack != Ack::None {
        set(ACK, message.ack.name());
    }
    for (name, value) in [
        (MESSAGE_ID_HEADER, &message.message_id),
        (CORRELATION_ID, &message.correlation_id),
        (USER_ID, &message.user_id),
        (CONTENT_TYPE_HEADER, &message.content_type),
        (CONTENT_ENCODING_HEADER, &message.content_encoding),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
    for (name, value) in &message.properties {
        set(&format!("{PROPERTY_HEADER_PREFIX}{name}"), value.as_deref().unwrap_or_default());
    }
    reply
}
