//! DPS over HTTPS: register, operation status, lookup.
//!
//! Source: <https://learn.microsoft.com/rest/api/iot-dps/device>

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::route::{DpsCall, DpsRoute, has_api_version, media_type};
use super::{Arrival, Reply, reply};
use crate::azure::dps::error_code;
use crate::emulator::reply_body::{self, OperationReply};
use crate::emulator::service::{DpsRefusal, Progress};

/// Answers a request on a path of DPS.
pub(super) fn handle(arrival: &Arrival<'_>, route: &DpsRoute) -> Reply {
    decide(arrival, route).unwrap_or_else(reply::dps_error)
}

fn decide(arrival: &Arrival<'_>, route: &DpsRoute) -> Result<Reply, DpsRefusal> {
    if !has_api_version(arrival.head) {
        return Err(reply_body::NO_API_VERSION);
    }
    let service = &arrival.front.service;
    let who = service.authenticate_registration(
        &route.id_scope,
        &route.registration_id,
        arrival.token(),
        arrival.wall,
    )?;
    let who = who.told(arrival.entrance.told);
    match &route.call {
        DpsCall::Register => {
            check_body(arrival, route)?;
            let progress = service.register(arrival.now, arrival.wall, &who)?;
            Ok(answer(arrival, route, progress, true))
        }
        // Node sends a body of `{}` with its GET; there is nothing in it to look at.
        DpsCall::Poll { operation_id } => {
            let progress = service.poll(arrival.now, &who, operation_id)?;
            Ok(answer(arrival, route, progress, false))
        }
        DpsCall::Lookup => {
            check_body(arrival, route)?;
            Ok(reply::json(StatusCode::OK, &service.lookup(arrival.now, &who)?))
        }
    }
}

/// See [`reply_body::check_register_body`].
fn check_body(arrival: &Arrival<'_>, route: &DpsRoute) -> Result<(), DpsRefusal> {
    if media_type(arrival.head).is_some_and(|media| !media.eq_ignore_ascii_case("application/json")) {
        return Err(DpsRefusal::new(error_code::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"));
    }
    reply_body::check_register_body(&arrival.body, &route.registration_id)
}

fn answer(arrival: &Arrival<'_>, route: &DpsRoute, progress: Progress, is_register: bool) -> Reply {
    let OperationReply { status, body, retry_after } =
        OperationReply::new(progress, &route.registration_id, is_register);
    let mut reply = reply::json(StatusCode::from_u16(status).expect("200 or 202"), &body);
    if let Some(wait) = retry_after {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    if is_register
        && status == 202
        && let Some(id) = &body.operation_id
        && let Some(location) = location(arrival, route, id)
    {
        reply.headers_mut().insert(header::LOCATION, location);
    }
    reply
}

/// Where the operation can be asked for, under the host that the client used and with its api-version.
fn location(arrival: &Arrival<'_>, route: &DpsRoute, operation_id: &str) -> Option<HeaderValue> {
    let host = arrival.head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = host.map(|host| format!("https://{host}")).unwrap_or_default();
    let DpsRoute { id_scope, registration_id, .. } = route;
    let query = arrival.head.uri.query().unwrap_or_default();
    let url =
        format!("{origin}/{id_scope}/registrations/{registration_id}/operations/{operation_id}?{query}");
    HeaderValue::from_str(&url).ok()
}
