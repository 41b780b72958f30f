//! Replies as the real services word them.

use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use super::Reply;
use crate::azure::{dps, hub};
use crate::emulator::service::{DpsRefusal, HubRefusal};
use crate::rng::{self, Purpose};
use crate::time::{Instant, UnixTime};

/// A JSON reply. Clients do not parse one without its content type.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(body).expect("replies are plain structures of text and numbers");
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(dps::JSON));
    reply
}

/// A reply without body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}

/// An error of DPS. What only the end of handling knows ([`finish`]) is left out.
pub(super) fn dps_error(refusal: DpsRefusal) -> Reply {
    let mut reply = empty(status(refusal.code));
    set(&mut reply, dps::ERROR_CODE_HEADER, HeaderValue::from(refusal.code));
    if let Some(wait) = refusal.retry_after {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    reply.extensions_mut().insert(Refused::Dps(refusal));
    reply
}

/// An error of a hub.
pub(super) fn hub_error(refusal: HubRefusal) -> Reply {
    let mut reply = empty(status(i64::from(refusal.error.code)));
    set(&mut reply, dps::ERROR_CODE_HEADER, HeaderValue::from(refusal.error.code));
    reply.extensions_mut().insert(Refused::Hub(refusal));
    reply
}

/// Says that the connection ends with this reply.
pub(super) fn close(reply: &mut Reply) {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Names the method that the path takes.
pub(super) fn allow(reply: &mut Reply, method: &Method) {
    if let Ok(value) = HeaderValue::from_str(method.as_str()) {
        reply.headers_mut().insert(header::ALLOW, value);
    }
}

/// What an error reply says, until [`finish`] writes its body.
#[derive(Clone, Copy)]
enum Refused {
    Dps(DpsRefusal),
    Hub(HubRefusal),
}

/// Adds what every reply carries, and writes the body of errors, which repeats some of it.
pub(super) fn finish(reply: &mut Reply, request_id: &str, date: &mut Date, wall: UnixTime) {
    let body = match reply.extensions_mut().remove::<Refused>() {
        None => None,
        Some(Refused::Dps(refusal)) => serde_json::to_vec(&dps::ErrorBody {
            error_code: refusal.code,
            tracking_id: request_id.to_owned(),
            message: refusal.message.to_owned(),
            timestamp_utc: wall.to_rfc3339(7),
        })
        .ok(),
        Some(Refused::Hub(refusal)) => serde_json::to_vec(&hub::ErrorBody {
            message: format!("ErrorCode:{};{}", refusal.error.name, refusal.message),
            exception_message: format!("Tracking ID:{request_id}-TimeStamp:{}", wall.to_rfc3339(3)),
        })
        .ok(),
    };
    if let Some(body) = body {
        *reply.body_mut() = Full::from(body);
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(dps::JSON));
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        set(reply, dps::REQUEST_ID_HEADER, id);
    }
    let headers = reply.headers_mut();
    headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT_TRANSPORT));
    headers.insert(header::DATE, date.at(wall));
}

/// Names a request. From its path and arrival, so that a simulated run gives the same ids each time.
pub(super) fn request_id(seed: u64, path: &str, arrived: Instant) -> String {
    let mut stream = rng::stream(seed, path, arrived.nanos(), Purpose::Identifier);
    format!("{:016x}{:016x}", stream.bits(), stream.bits())
}

/// The `Date` header, written once a second.
#[derive(Default)]
pub(super) struct Date {
    seconds: u64,
    text: Option<HeaderValue>,
}

impl Date {
    fn at(&mut self, wall: UnixTime) -> HeaderValue {
        if let Some(text) = &self.text
            && self.seconds == wall.seconds()
        {
            return text.clone();
        }
        let written = i64::try_from(wall.seconds())
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .and_then(|time| {
                jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
            })
            .and_then(|text| HeaderValue::from_str(&text).ok());
        let text = written.unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
        self.seconds = wall.seconds();
        self.text = Some(text.clone());
        text
    }
}

/// The status that the first three digits of an error code name.
fn status(code: i64) -> StatusCode {
    let status = u16::try_from(code / 1_000).ok();
    status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn set(reply: &mut Reply, name: &'static str, value: HeaderValue) {
    reply.headers_mut().insert(header::HeaderName::from_static(name), value);
}

/// As the real service sends it.
const STRICT_TRANSPORT: &str = "max-age=31536000; includeSubDomains";
