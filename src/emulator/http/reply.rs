//! Replies as the real services word them.

use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use super::Reply;
use crate::azure::dps;
use crate::emulator::reply_body;
use crate::emulator::service::{DpsRefusal, HubRefusal};
use crate::time::UnixTime;

/// A JSON reply. Clients do not parse one without its content type.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut reply = Response::new(Full::from(reply_body::json(body)));
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

/// A reply whose body is anything.
pub(super) fn bytes(status: StatusCode, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
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

/// An error with a direct method, which has a body of its own form.
pub(super) fn method_error(refusal: HubRefusal) -> Reply {
    let mut reply = hub_error(refusal);
    reply.extensions_mut().insert(Refused::Method(refusal));
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
    Method(HubRefusal),
}

/// Adds what every reply carries, and writes the body of errors, which repeats some of it.
pub(super) fn finish(reply: &mut Reply, request_id: &str, date: &mut Date, wall: UnixTime) {
    let body = reply.extensions_mut().remove::<Refused>().map(|refused| match refused {
        Refused::Dps(refusal) => reply_body::dps_error(&refusal, request_id, wall),
        Refused::Hub(refusal) => reply_body::hub_error(&refusal, request_id, wall),
        Refused::Method(refusal) => reply_body::method_error(&refusal, request_id, wall),
    });
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

fn status(code: i64) -> StatusCode {
    StatusCode::from_u16(reply_body::status_of(code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn set(reply: &mut Reply, name: &'static str, value: HeaderValue) {
    reply.headers_mut().insert(header::HeaderName::from_static(name), value);
}

/// As the real service sends it.
const STRICT_TRANSPORT: &str = "max-age=31536000; includeSubDomains";
