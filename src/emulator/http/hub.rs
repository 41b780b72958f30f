//! IoT Hub over HTTPS: telemetry, one message or a batch of them.
//!
//! Source: <https://learn.microsoft.com/rest/api/iothub/device/send-device-event>

use base64::Engine as _;
use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::route::{HubRoute, has_api_version, is_batch};
use super::{Arrival, Reply, reply};
use crate::azure::hub::{BatchMessage, HubError, MAX_MESSAGE, MESSAGE_ID_HEADER, PROPERTY_HEADER_PREFIX};
use crate::azure::keys::BASE64;
use crate::emulator::channel::{Stamp, StampQueue};
use crate::emulator::service::HubRefusal;
use crate::time::Instant;

/// Messages that were accepted, for stamping.
pub(super) struct Accepted {
    device_id: String,
    message_ids: Vec<String>,
}

/// Answers a request on a path of the hub.
pub(super) fn handle(arrival: &Arrival<'_>, route: &HubRoute) -> (Reply, Option<Accepted>) {
    match decide(arrival, route) {
        Ok(accepted) => (reply::empty(StatusCode::NO_CONTENT), accepted),
        Err(refusal) => (reply::hub_error(refusal), None),
    }
}

fn decide(arrival: &Arrival<'_>, route: &HubRoute) -> Result<Option<Accepted>, HubRefusal> {
    let invalid = |message| HubRefusal { error: HubError::ARGUMENT_INVALID, message };
    if !has_api_version(arrival.head) {
        return Err(invalid("api-version is missing or not a date"));
    }
    let front = arrival.front;
    let device = front.service.authenticate_device(
        arrival.entrance,
        &route.device_id,
        arrival.token(),
        arrival.wall,
    )?;
    let wants_stamps = front.stamps.is_some();
    let (messages, bytes, message_ids) = if is_batch(arrival.head) {
        let batch: Vec<BatchMessage> =
            serde_json::from_slice(&arrival.body).map_err(|_| invalid("the body is not a batch in JSON"))?;
        if batch.is_empty() {
            return Err(invalid("the batch is empty"));
        }
        if batch.iter().any(|message| BASE64.decode(&message.body).is_err()) {
            return Err(invalid("the body of a message is not base64"));
        }
        let ids = if wants_stamps { batch.iter().map(batch_message_id).collect() } else { Vec::new() };
        (batch.len() as u64, arrival.body.len(), ids)
    } else {
        let size = arrival.body.len() + properties_size(&arrival.head.headers);
        if size > MAX_MESSAGE {
            return Err(HubRefusal {
                error: HubError::MESSAGE_TOO_LARGE,
                message: "body and properties together exceed 256 KB",
            });
        }
        let id = wants_stamps.then(|| {
            let value = arrival.head.headers.get(MESSAGE_ID_HEADER);
            value.map_or(String::new(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        (1, size, Vec::from_iter(id))
    };
    front.service.accept_messages(&device);
    front.counters.messages(device.hub_index(), messages, bytes as u64);
    Ok(wants_stamps.then(|| Accepted { device_id: route.device_id.clone(), message_ids }))
}

/// What counts besides the body: values of system properties, names and values of the device's own.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct>
fn properties_size(headers: &HeaderMap) -> usize {
    let size = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| match name
        .as_str()
        .strip_prefix(PROPERTY_HEADER_PREFIX)
    {
        Some(property) => property.len() + value.len(),
        None if name.as_str().starts_with("iothub-") => value.len(),
        None => 0,
    };
    headers.iter().map(size).sum()
}

fn batch_message_id(message: &BatchMessage) -> String {
    let id = message.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(MESSAGE_ID_HEADER));
    id.map(|(_, value)| value.clone()).unwrap_or_default()
}

impl Accepted {
    /// Writes down how long the request was here, once for each of its messages.
    pub(super) fn stamp(self, queue: &StampQueue, arrived: Instant, answered: Instant) {
        for message_id in self.message_ids {
            queue.push(&Stamp { device_id: self.device_id.clone(), message_id, arrived, answered });
        }
    }
}
