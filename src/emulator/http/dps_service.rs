//! DPS's service API: enrollments, enrollment groups, registrations. A part of what the real one has, with the names and
//! bodies that its SDKs use.
//!
//! Source: <https://learn.microsoft.com/rest/api/iot-dps/service>, API specification 2021-10-01.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::hub_service::{if_match, with_etag};
use super::route::has_api_version;
use super::{Arrival, Reply, reply};
use crate::azure::dps::error_code;
use crate::azure::hub::MAX_MESSAGE;
use crate::emulator::enrolling::{Kind, WrittenEnrollment};
use crate::emulator::ledger::Operation;
use crate::emulator::reply_body;
use crate::emulator::service::DpsRefusal;

/// A call of DPS's service API.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServiceCall {
    /// `GET`, `PUT`, `DELETE /enrollments/{id}`, and `/enrollmentGroups/{id}`
    Enrollment { kind: Kind, id: String },
    /// `POST /enrollments/{id}/attestationmechanism`
    Attestation { kind: Kind, id: String },
    /// `POST /enrollments/query`
    Enrollments { kind: Kind },
    /// `GET`, `DELETE /registrations/{id}`
    Registration { id: String },
    /// `POST /registrations/{enrollmentGroupId}/query`
    Registrations { group: String },
}

impl ServiceCall {
    /// Reads the segments of a path.
    pub(super) fn of(segments: &[&str; 6], decode: impl Fn(&str) -> Option<String>) -> Option<Self> {
        // Node's SDK writes a path of its own in small letters.
        let kind = |name: &str| {
            let is = |kind: &str| name.eq_ignore_ascii_case(kind);
            let individual = is("enrollments").then_some(Kind::Individual);
            individual.or_else(|| is("enrollmentGroups").then_some(Kind::Group))
        };
        let call = match segments {
            ["registrations", group, "query", "", "", ""] => Self::Registrations { group: decode(group)? },
            ["registrations", id, "", "", "", ""] => Self::Registration { id: decode(id)? },
            [name, "query", "", "", "", ""] => Self::Enrollments { kind: kind(name)? },
            [name, id, "", "", "", ""] => Self::Enrollment { kind: kind(name)?, id: decode(id)? },
            [name, id, "attestationmechanism", "", "", ""] => {
                Self::Attestation { kind: kind(name)?, id: decode(id)? }
            }
            _ => return None,
        };
        Some(call)
    }

    /// The methods that it takes.
    pub(super) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Enrollment { .. } => &[Method::GET, Method::PUT, Method::DELETE],
            Self::Registration { .. } => &[Method::GET, Method::DELETE],
            Self::Attestation { .. } | Self::Enrollments { .. } | Self::Registrations { .. } => {
                &[Method::POST]
            }
        }
    }

    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Registration { .. } | Self::Registrations { .. } => Operation::DpsRegistrations,
            _ => Operation::DpsEnrollments,
        }
    }

    /// Largest body, in bytes: an initial twin of 40 KB fits.
    pub(super) const MAX_BODY: usize = MAX_MESSAGE;
}

/// Answers a call of DPS's service API.
pub(super) fn handle(arrival: &Arrival<'_>, call: &ServiceCall) -> Reply {
    decide(arrival, call).unwrap_or_else(reply::dps_error)
}

fn decide(arrival: &Arrival<'_>, call: &ServiceCall) -> Result<Reply, DpsRefusal> {
    if !has_api_version(arrival.head) {
        return Err(reply_body::NO_API_VERSION);
    }
    let service = &arrival.front.service;
    service.authenticate_dps_owner(arrival.token(), arrival.wall)?;
    let etag = if_match(arrival);
    let method = &arrival.head.method;
    match call {
        ServiceCall::Enrollment { kind, id } if method == Method::DELETE => {
            service.remove_enrollment(*kind, id, etag)?;
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
        ServiceCall::Enrollment { kind, id } => {
            let is_put = method == Method::PUT;
            let entry = if is_put {
                let written: WrittenEnrollment = serde_json::from_slice(&arrival.body).map_err(|_| {
                    DpsRefusal::new(error_code::INVALID_ARGUMENT, "the body is no enrollment in JSON")
                })?;
                service.put_enrollment(arrival.wall, *kind, id, written, etag)?
            } else {
                service.enrollment(*kind, id)?
            };
            let mut json = entry.json(is_put);
            if *kind == Kind::Individual
                && let Ok(state) = service.registration(arrival.now, id)
            {
                json["registrationState"] = serde_json::json!(state);
            }
            let reply = reply::json(StatusCode::OK, &json);
            Ok(with_etag(reply, entry.etag().trim_matches('"')))
        }
        ServiceCall::Attestation { kind, id } => {
            Ok(reply::json(StatusCode::OK, &service.enrollment(*kind, id)?.attestation()))
        }
        ServiceCall::Enrollments { kind } => {
            let (after, most) = page(arrival)?;
            // One more than asked for tells whether there are more.
            let mut entries = service.some_enrollments(*kind, after.as_deref(), most + 1);
            let is_last = entries.len() <= most;
            entries.truncate(most);
            let next = entries.last().filter(|_| !is_last).map(|entry| entry.id());
            let entries: Vec<Value> = entries.iter().map(|entry| entry.json(false)).collect();
            let item = if *kind == Kind::Group { "enrollmentGroup" } else { "enrollment" };
            Ok(paged(reply::json(StatusCode::OK, &entries), next.as_deref(), item))
        }
        ServiceCall::Registration { id } if method == Method::DELETE => {
            service.remove_registration(id, etag)?;
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
        ServiceCall::Registration { id } => {
            Ok(reply::json(StatusCode::OK, &service.registration(arrival.now, id)?))
        }
        ServiceCall::Registrations { group } => {
            let (after, most) = page(arrival)?;
            let (states, next) = service.registrations_of(arrival.now, group, after.as_deref(), most);
            let reply = reply::json(StatusCode::OK, &states);
            Ok(paged(reply, next.as_deref(), "deviceRegistration"))
        }
    }
}

/// What a query begins after, and how much it wants. What else it says is not looked at: SDKs can but ask for all.
fn page(arrival: &Arrival<'_>) -> Result<(Option<String>, usize), DpsRefusal> {
    let header = |name: &str| arrival.head.headers.get(name).and_then(|value| value.to_str().ok());
    let invalid = |message| DpsRefusal::new(error_code::INVALID_ARGUMENT, message);
    let after = match header(CONTINUATION).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let bytes = base64::Engine::decode(&crate::azure::keys::BASE64, text).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            Some(text.ok_or(invalid("x-ms-continuation is not one that was given out"))?)
        }
    };
    let most = match header(MAX_ITEMS) {
        None => MAX_PAGE,
        Some(text) => text.parse().map_err(|_| invalid("x-ms-max-item-count is no number"))?,
    };
    Ok((after, most.clamp(1, MAX_PAGE)))
}

fn paged(mut reply: Reply, next: Option<&str>, item: &'static str) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(HeaderName::from_static(ITEM_TYPE), HeaderValue::from_static(item));
    let next = next.map(|next| base64::Engine::encode(&crate::azure::keys::BASE64, next));
    if let Some(Ok(next)) = next.map(HeaderValue::try_from) {
        headers.insert(HeaderName::from_static(CONTINUATION), next);
    }
    reply
}

const CONTINUATION: &str = "x-ms-continuation";
const MAX_ITEMS: &str = "x-ms-max-item-count";
const ITEM_TYPE: &str = "x-ms-item-type";

/// Items of one answer, at most and by default. Ours: the real limit is not published.
const MAX_PAGE: usize = 1_000;
