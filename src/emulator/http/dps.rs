//! DPS over HTTPS: register, operation status, lookup.
//!
//! Source: <https://learn.microsoft.com/rest/api/iot-dps/device>

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::route::{DpsCall, DpsRoute, has_api_version, media_type};
use super::{Arrival, Reply, reply};
use crate::azure::dps::{OperationStatus, RegistrationState, error_code, status};
use crate::emulator::service::{DpsRefusal, Progress};

/// Answers a request on a path of DPS.
pub(super) fn handle(arrival: &Arrival<'_>, route: &DpsRoute) -> Reply {
    decide(arrival, route).unwrap_or_else(reply::dps_error)
}

fn decide(arrival: &Arrival<'_>, route: &DpsRoute) -> Result<Reply, DpsRefusal> {
    if !has_api_version(arrival.head) {
        return Err(DpsRefusal::new(error_code::INVALID_ARGUMENT, "api-version is missing or not a date"));
    }
    let service = &arrival.front.service;
    let who = service.authenticate_registration(
        &route.id_scope,
        &route.registration_id,
        arrival.token(),
        arrival.wall,
    )?;
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

/// What a register body must be: JSON that names the registration of the path.
fn check_body(arrival: &Arrival<'_>, route: &DpsRoute) -> Result<(), DpsRefusal> {
    /// [`crate::azure::dps::RegisterBody`], read without keeping the payload, which nobody here looks at.
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(rename = "registrationId", borrow)]
        registration_id: Cow<'a, str>,
        #[serde(default, rename = "payload")]
        _payload: IgnoredAny,
    }
    if media_type(arrival.head).is_some_and(|media| !media.eq_ignore_ascii_case("application/json")) {
        return Err(DpsRefusal::new(error_code::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"));
    }
    let body: Body<'_> = serde_json::from_slice(&arrival.body).map_err(|_| {
        DpsRefusal::new(error_code::INVALID_ARGUMENT, "The body is not a device registration in JSON")
    })?;
    if !body.registration_id.eq_ignore_ascii_case(&route.registration_id) {
        return Err(DpsRefusal::new(
            error_code::INVALID_ARGUMENT,
            "The registrationId of the body is not that of the path",
        ));
    }
    Ok(())
}

fn answer(arrival: &Arrival<'_>, route: &DpsRoute, progress: Progress, is_register: bool) -> Reply {
    match progress {
        Progress::Done { operation_id, state } => {
            let body = OperationStatus {
                operation_id: Some(operation_id.to_string()),
                status: state.status.clone(),
                registration_state: Some(*state),
            };
            reply::json(StatusCode::OK, &body)
        }
        Progress::Assigning { operation_id, retry_after } => {
            let operation_id = operation_id.to_string();
            let location = is_register.then(|| location(arrival, route, &operation_id)).flatten();
            // As observed: the reply to PUT has two fields, the reply to a poll adds a short state.
            let state = (!is_register).then(|| RegistrationState {
                registration_id: Some(route.registration_id.clone()),
                status: Some(status::ASSIGNING.to_owned()),
                ..RegistrationState::default()
            });
            let body = OperationStatus {
                operation_id: Some(operation_id),
                status: Some(status::ASSIGNING.to_owned()),
                registration_state: state,
            };
            let mut reply = reply::json(StatusCode::ACCEPTED, &body);
            if let Some(wait) = retry_after {
                reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
            }
            if let Some(location) = location {
                reply.headers_mut().insert(header::LOCATION, location);
            }
            reply
        }
    }
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
