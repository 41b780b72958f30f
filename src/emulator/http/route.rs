//! Whose request it is, by its path.

use std::borrow::Cow;

use hyper::Method;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::body::BodyError;
use super::dps_service::ServiceCall;
use super::service_route::{HubCall, ReceiveCall};
use super::{Reply, reply};
use crate::azure::dps::{MAX_BODY, error_code};
use crate::azure::hub::{BATCH_CONTENT_TYPE, HubError, MAX_MESSAGE};
use crate::emulator::ledger::Operation;
use crate::emulator::reply_body::is_api_version;
use crate::emulator::service::{DpsRefusal, HubRefusal};

/// Where a path leads.
pub(super) enum Route {
    Dps(DpsRoute),
    Hub(HubRoute),
    /// MQTT wants to go through it.
    WebSocket,
    /// A device's messages from the cloud.
    Receive {
        device_id: String,
        call: ReceiveCall,
    },
    HubService(HubCall),
    DpsService(ServiceCall),
    Unknown,
}

/// A path of DPS's device API.
pub(super) struct DpsRoute {
    pub(super) id_scope: String,
    pub(super) registration_id: String,
    pub(super) call: DpsCall,
}

pub(super) enum DpsCall {
    Register,
    Poll { operation_id: String },
    Lookup,
}

/// A path of the hub's device API.
pub(super) struct HubRoute {
    pub(super) device_id: String,
}

impl Route {
    /// Reads a path, without its query.
    pub(super) fn of(path: &str) -> Self {
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        // Longer than any path there is, so that one segment too many is noticed.
        let segments: [&str; 6] = std::array::from_fn(|_| segments.next().unwrap_or(""));
        let dps =
            |id_scope: &str, registration_id: &str, call| match (decode(id_scope), decode(registration_id)) {
                (Some(id_scope), Some(registration_id)) => {
                    Self::Dps(DpsRoute { id_scope, registration_id, call })
                }
                _ => Self::Unknown,
            };
        match segments {
            ["devices", device, "messages", "events", "", ""] => match decode(device) {
                Some(device_id) => Self::Hub(HubRoute { device_id }),
                None => Self::Unknown,
            },
            ["$iothub" | "%24iothub", "websocket", "", "", "", ""] => Self::WebSocket,
            [scope, "registrations", id, "", "", ""] => dps(scope, id, DpsCall::Lookup),
            [scope, "registrations", id, "register", "", ""] => dps(scope, id, DpsCall::Register),
            [scope, "registrations", id, "operations", operation, ""] => match decode(operation) {
                Some(operation_id) => dps(scope, id, DpsCall::Poll { operation_id }),
                None => Self::Unknown,
            },
            ["devices", device, "messages", bound, token, verb] => {
                let call = ReceiveCall::of([bound, token, verb], decode);
                let receive = decode(device).zip(call);
                receive.map_or(Self::Unknown, |(device_id, call)| Self::Receive { device_id, call })
            }
            _ => match (HubCall::of(&segments, decode), ServiceCall::of(&segments, decode)) {
                (Some(call), _) => Self::HubService(call),
                (None, Some(call)) => Self::DpsService(call),
                (None, None) => Self::Unknown,
            },
        }
    }

    /// Checks the method; the error is the one that the path takes. Unknown paths are not known by their method.
    pub(super) fn check_method(&self, method: &Method) -> Result<(), Method> {
        let wanted = match self {
            Self::Dps(DpsRoute { call: DpsCall::Register, .. }) => Method::PUT,
            Self::Dps(DpsRoute { call: DpsCall::Poll { .. }, .. }) | Self::WebSocket => Method::GET,
            Self::Dps(DpsRoute { call: DpsCall::Lookup, .. }) | Self::Hub(_) => Method::POST,
            Self::Receive { call, .. } => call.method(),
            Self::HubService(call) => return one_of(call.methods(), method),
            Self::DpsService(call) => return one_of(call.methods(), method),
            Self::Unknown => return Ok(()),
        };
        if *method == wanted { Ok(()) } else { Err(wanted) }
    }

    /// What the ledger calls it.
    pub(super) fn operation(&self, head: &Parts) -> Operation {
        match self {
            Self::Dps(DpsRoute { call: DpsCall::Register, .. }) => Operation::DpsRegister,
            Self::Dps(DpsRoute { call: DpsCall::Poll { .. }, .. }) => Operation::DpsPoll,
            Self::Dps(DpsRoute { call: DpsCall::Lookup, .. }) => Operation::DpsLookup,
            Self::Hub(_) if is_batch(head) => Operation::HubBatch,
            Self::Hub(_) => Operation::HubSend,
            Self::WebSocket => Operation::WebSocket,
            Self::Receive { call, .. } => call.operation(),
            Self::HubService(call) => call.operation(),
            Self::DpsService(call) => call.operation(),
            Self::Unknown => Operation::Other,
        }
    }

    /// Largest body in bytes.
    pub(super) fn max_body(&self) -> usize {
        match self {
            Self::Dps(_) | Self::Unknown => MAX_BODY,
            Self::WebSocket => 0,
            Self::Hub(_) => MAX_MESSAGE,
            Self::Receive { .. } => MAX_BODY,
            Self::HubService(call) => call.max_body(),
            Self::DpsService(_) => ServiceCall::MAX_BODY,
        }
    }

    /// The refusal of a body, in the words of the service whose path it is. The connection cannot be used further: the
    /// rest of the body is still under way.
    pub(super) fn refuse_body(&self, error: BodyError) -> Reply {
        let (dps, hub, text) = match error {
            BodyError::TooLarge => {
                (error_code::TOO_LARGE, HubError::MESSAGE_TOO_LARGE, "the body is too large")
            }
            BodyError::Slow => (error_code::TIMEOUT, HubError::REQUEST_TIMEOUT, "the body took too long"),
            BodyError::Broken => {
                (error_code::INVALID_ARGUMENT, HubError::ARGUMENT_INVALID, "the body cannot be read")
            }
        };
        let mut reply = if self.is_of_hub() {
            reply::hub_error(HubRefusal { error: hub, message: text })
        } else {
            reply::dps_error(DpsRefusal::new(dps, text))
        };
        reply::close(&mut reply);
        reply
    }

    /// The refusal of a method.
    pub(super) fn wrong_method(&self, allowed: Method) -> Reply {
        let text = "the path does not take this method";
        let mut reply = if self.is_of_hub() {
            reply::hub_error(HubRefusal { error: HubError::METHOD_NOT_ALLOWED, message: text })
        } else {
            reply::dps_error(DpsRefusal::new(error_code::METHOD_NOT_ALLOWED, text))
        };
        reply::allow(&mut reply, &allowed);
        reply
    }

    /// Whose words refusals are in.
    fn is_of_hub(&self) -> bool {
        matches!(self, Self::Hub(_) | Self::Receive { .. } | Self::HubService(_))
    }

    /// The answer to a path that leads nowhere.
    pub(super) fn unknown(&self) -> Reply {
        reply::dps_error(DpsRefusal::new(error_code::NOT_FOUND, "Unknown path"))
    }
}

/// Whether a hub request carries several messages.
pub(super) fn is_batch(head: &Parts) -> bool {
    media_type(head).is_some_and(|media| media.eq_ignore_ascii_case(BATCH_CONTENT_TYPE))
}

/// The `Content-Type` without its parameters.
pub(super) fn media_type(head: &Parts) -> Option<&str> {
    let value = head.headers.get(hyper::header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// Whether the query has an api-version.
pub(super) fn has_api_version(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("api-version="));
    values.next().is_some_and(is_api_version)
}

/// The error is the first that there is.
fn one_of(methods: &[Method], method: &Method) -> Result<(), Method> {
    if methods.contains(method) { Ok(()) } else { Err(methods[0].clone()) }
}

/// A segment of a path; `None` if it is empty or not UTF-8.
pub(super) fn decode(segment: &str) -> Option<String> {
    if segment.is_empty() {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_service() {
        let is_dps = |path: &str| matches!(Route::of(path), Route::Dps(_));
        assert!(is_dps("/0ne0/registrations/dev%3A1/register"));
        assert!(is_dps("/0ne0/registrations/dev/operations/5.1"));
        assert!(is_dps("/0ne0/registrations/dev"));
        match Route::of("/devices/a%25b%20/messages/events") {
            Route::Hub(route) => assert_eq!(route.device_id, "a%b "),
            _ => panic!("a hub's path"),
        }
        let service = |path: &str| match Route::of(path) {
            Route::Receive { device_id, call } => format!("{device_id} {call:?}"),
            Route::HubService(call) => format!("{call:?}"),
            Route::DpsService(call) => format!("{call:?}"),
            _ => "another".to_owned(),
        };
        for (path, expected) in [
            ("/devices/a%23b/messages/deviceBound", "a#b Next"),
            ("/devices/d/messages/devicebound/l", "d Settle { token: \"l\" }"),
            ("/devices/d/messages/devicebound/l/abandon", "d Abandon { token: \"l\" }"),
            ("/devices", "Devices"),
            ("/devices/d", "Device { device_id: \"d\" }"),
            ("/twins/d/methods", "Method { device_id: \"d\" }"),
            ("/messages/devicebound", "Send"),
            ("/enrollments/query", "Enrollments { kind: Individual }"),
            ("/enrollmentGroups/g", "Enrollment { kind: Group, id: \"g\" }"),
            ("/registrations/d", "Registration { id: \"d\" }"),
            ("/registrations/g/query", "Registrations { group: \"g\" }"),
        ] {
            assert_eq!(service(path), expected, "{path}");
        }
        for path in [
            "/",
            "",
            "*",
            "//registrations/dev/register",
            "/0ne0/registrations/",
            "/0ne0/registrations/dev/operations/",
            "/0ne0/registrations/dev/register/more",
            "/0ne0/registrations/dev/operations/5.1/more/and/more",
            "/devices/d/messages/events/x",
            "/devices/%ff/messages/events",
            "/devices/d/messages/devicebound/token/complete",
            "/devices/%ff/messages/devicebound",
            "/devices/d/messages/other",
            "/twins/",
            "/twins/d/methods/more",
            "/twins/%ff",
            "/enrollments/",
            "/enrollments/e/keys",
            "/registrations/g/query/more",
            "/messages/events",
        ] {
            assert!(matches!(Route::of(path), Route::Unknown), "{path}");
        }
    }
}
