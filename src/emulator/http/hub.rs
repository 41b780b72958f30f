//! IoT Hub over HTTPS: telemetry, one message or a batch of them.
//!
//! Source: <https://learn.microsoft.com/rest/api/iothub/device/send-device-event>

use std::borrow::Cow;

use base64::Engine as _;
use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::route::{HubRoute, has_api_version, is_batch};
use super::{Arrival, Reply, reply};
use crate::azure::hub::{BatchMessage, HubError, MAX_MESSAGE, MESSAGE_ID_HEADER, PROPERTY_HEADER_PREFIX};
use crate::azure::keys::BASE64;
use crate::emulator::channel::{Stamp, StampQueue};
use crate::emulator::service::HubRefusal;
use crate::emulator::throttle::Verdict;
use crate::time::{Clock, Instant, UnixTime};

/// Messages that were accepted, for stamping.
pub(super) struct Accepted {
    device_id: String,
    message_ids: Vec<String>,
}

/// Answers a request on a path of the hub.
pub(super) async fn handle(arrival: &Arrival<'_>, route: &HubRoute) -> (Reply, Option<Accepted>) {
    match decide(arrival, route).await {
        Ok(accepted) => (reply::empty(StatusCode::NO_CONTENT), accepted),
        Err(refusal) => (reply::hub_error(refusal), None),
    }
}

async fn decide(arrival: &Arrival<'_>, route: &HubRoute) -> Result<Option<Accepted>, HubRefusal> {
    let invalid = |message| HubRefusal { error: HubError::ARGUMENT_INVALID, message };
    if !has_api_version(arrival.head) {
        return Err(invalid("api-version is missing or not a date"));
    }
    let front = arrival.front;
    let device = front.service.authenticate_device(
        arrival.entrance.hub,
        &route.device_id,
        arrival.token(),
        arrival.wall,
    )?;
    let (service, clock) = (&front.service, &front.clock);
    let hub = device.hub_index();
    let (now, wall) = enter(arrival, hub).await?;
    let wants_stamps = front.stamps.is_some();
    // Told apart by their ids only if anybody wants to know.
    let number = |id: &str| front.arrivals.as_ref().map(|arrivals| arrivals.read(&route.device_id, id));
    let (messages, bytes, message_ids, numbers, verdict) = if is_batch(arrival.head) {
        let batch: Vec<BatchMessage> =
            serde_json::from_slice(&arrival.body).map_err(|_| invalid("the body is not a batch in JSON"))?;
        if batch.is_empty() {
            return Err(invalid("the batch is empty"));
        }
        if batch.iter().any(|message| BASE64.decode(&message.body).is_err()) {
            return Err(invalid("the body of a message is not base64"));
        }
        let ids: Vec<String> =
            batch.iter().filter(|_| wants_stamps).map(|it| batch_message_id(it).to_owned()).collect();
        let verdict = service.admit_messages(hub, now, wall, batch.iter().map(batch_message_size));
        let numbers: Vec<_> = batch.iter().filter_map(|message| number(batch_message_id(message))).collect();
        (batch.len() as u64, arrival.body.len(), ids, numbers, verdict)
    } else {
        let size = arrival.body.len() + properties_size(&arrival.head.headers);
        if size > MAX_MESSAGE {
            return Err(HubRefusal {
                error: HubError::MESSAGE_TOO_LARGE,
                message: "body and properties together exceed 256 KB",
            });
        }
        let id = arrival.head.headers.get(MESSAGE_ID_HEADER);
        let id = id.map_or(Cow::default(), |value| String::from_utf8_lossy(value.as_bytes()));
        let numbers = Vec::from_iter(number(&id));
        let id = wants_stamps.then(|| id.into_owned());
        let verdict = service.admit_message(hub, now, wall, size as u64);
        (1, size, Vec::from_iter(id), numbers, verdict)
    };
    wait_for(clock, service.delayed(&device, arrival.now, now, verdict)).await?;
    service.accept_messages(&device);
    if let Some(arrivals) = &front.arrivals {
        let arrived = arrivals.of(&route.device_id);
        numbers.into_iter().for_each(|number| arrived.accept(number));
    }
    front.counters.messages(hub, messages, bytes as u64);
    Ok(wants_stamps.then(|| Accepted { device_id: route.device_id.clone(), message_ids }))
}

/// Lets a device's connection into the hub, if this is its first request to it; when the request goes on.
pub(super) async fn enter(arrival: &Arrival<'_>, hub: usize) -> Result<(Instant, UnixTime), HubRefusal> {
    let (service, clock) = (&arrival.front.service, &arrival.front.clock);
    let mut moment = (arrival.now, arrival.wall);
    if arrival.entered.get() != Some(hub) {
        if wait_for(clock, service.admit_connection(hub, arrival.now)).await? {
            moment = (clock.now(), clock.wall());
        }
        arrival.entered.set(Some(hub));
    }
    Ok(moment)
}

/// Holds the request as long as the hub's queue does; whether that was any time at all. Only this task waits.
async fn wait_for(clock: &Clock, verdict: Verdict) -> Result<bool, HubRefusal> {
    match verdict {
        Verdict::Now => Ok(false),
        Verdict::At(slot) => {
            clock.sleep_until(slot).await;
            Ok(true)
        }
        Verdict::Refused(excess) => Err(excess.into()),
    }
}

/// What counts besides the body: values of system properties, names and values of the device's own.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct>
pub(super) fn properties_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| property_size(name.as_str(), value.len())).sum()
}

/// * `name`: of a header, in lower case
fn property_size(name: &str, value: usize) -> usize {
    match name.strip_prefix(PROPERTY_HEADER_PREFIX) {
        Some(property) => property.len() + value,
        None if name.starts_with("iothub-") => value,
        None => 0,
    }
}

/// Body and properties of one message of a batch, whose body is base64.
fn batch_message_size(message: &BatchMessage) -> u64 {
    let body = message.body.trim_end_matches('=').len() * 3 / 4;
    let properties = message.properties.iter();
    let properties = properties.map(|(name, value)| property_size(&name.to_ascii_lowercase(), value.len()));
    (body + properties.sum::<usize>()) as u64
}

fn batch_message_id(message: &BatchMessage) -> &str {
    let id = message.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(MESSAGE_ID_HEADER));
    id.map_or("", |(_, value)| value)
}

impl Accepted {
    /// Writes down how long the request was here, once for each of its messages.
    pub(super) fn stamp(self, queue: &StampQueue, arrived: Instant, answered: Instant) {
        for message_id in self.message_ids {
            queue.push(&Stamp { device_id: self.device_id.clone(), message_id, arrived, answered });
        }
    }
}
