//! What the services answer, whatever protocol carries it: statuses, bodies, the names of requests.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::service::{DpsRefusal, HubRefusal, Progress};
use crate::azure::dps::{self, OperationStatus, RegistrationState, error_code, status};
use crate::azure::hub;
use crate::rng::{self, Purpose};
use crate::time::{Instant, UnixTime};

/// The answer to a registration or a poll.
pub(super) struct OperationReply {
    /// As in HTTP.
    pub(super) status: u16,
    pub(super) body: OperationStatus,
    /// How long the service would like the device to wait, in whole seconds.
    pub(super) retry_after: Option<Duration>,
}

impl OperationReply {
    /// As observed: the reply to a registration under way has two fields, the reply to a poll adds a short state.
    pub(super) fn new(progress: Progress, registration_id: &str, is_register: bool) -> Self {
        match progress {
            Progress::Done { operation_id, state } => Self {
                status: 200,
                body: OperationStatus {
                    operation_id: Some(operation_id.to_string()),
                    status: state.status.clone(),
                    registration_state: Some(*state),
                },
                retry_after: None,
            },
            Progress::Assigning { operation_id, retry_after } => {
                let state = (!is_register).then(|| RegistrationState {
                    registration_id: Some(registration_id.to_owned()),
                    status: Some(status::ASSIGNING.to_owned()),
                    ..RegistrationState::default()
                });
                let body = OperationStatus {
                    operation_id: Some(operation_id.to_string()),
                    status: Some(status::ASSIGNING.to_owned()),
                    registration_state: state,
                };
                Self { status: 202, body, retry_after }
            }
        }
    }
}

/// What the body of a registration must be: JSON that names the registration of path or user name.
pub(super) fn check_register_body(body: &[u8], registration_id: &str) -> Result<(), DpsRefusal> {
    /// [`crate::azure::dps::RegisterBody`], read without keeping the payload, which nobody here looks at.
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(rename = "registrationId", borrow)]
        registration_id: Cow<'a, str>,
        #[serde(default, rename = "payload")]
        _payload: IgnoredAny,
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| {
        DpsRefusal::new(error_code::INVALID_ARGUMENT, "The body is not a device registration in JSON")
    })?;
    if !body.registration_id.eq_ignore_ascii_case(registration_id) {
        return Err(DpsRefusal::new(
            error_code::INVALID_ARGUMENT,
            "The registrationId of the body is not that of the path",
        ));
    }
    Ok(())
}

/// Whether an api-version is one. Any date is good, with what previews append to it: services keep old versions alive,
/// and which the emulator should refuse is nobody's business.
pub(super) fn is_api_version(version: &str) -> bool {
    let date = version.as_bytes().get(..10);
    date.is_some_and(|date| {
        date.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    })
}

/// The refusal of a request without one.
pub(super) const NO_API_VERSION: DpsRefusal =
    DpsRefusal::new(error_code::INVALID_ARGUMENT, "api-version is missing or not a date");

/// Names a request. From its path (or topic) and arrival, so that a simulated run gives the same ids each time.
pub(super) fn request_id(seed: u64, path: &str, arrived: Instant) -> String {
    let mut stream = rng::stream(seed, path, arrived.nanos(), Purpose::Identifier);
    format!("{:016x}{:016x}", stream.bits(), stream.bits())
}

/// The status that the first three digits of an error code name.
pub(super) fn status_of(code: i64) -> u16 {
    u16::try_from(code / 1_000).ok().filter(|status| (100..600).contains(status)).unwrap_or(500)
}

/// Body of an error of DPS.
pub(super) fn dps_error(refusal: &DpsRefusal, request_id: &str, wall: UnixTime) -> Vec<u8> {
    json(&dps::ErrorBody {
        error_code: refusal.code,
        tracking_id: request_id.to_owned(),
        message: refusal.message.to_owned(),
        timestamp_utc: wall.to_rfc3339(7),
    })
}

/// Body of an error of a hub.
pub(super) fn hub_error(refusal: &HubRefusal, request_id: &str, wall: UnixTime) -> Vec<u8> {
    json(&hub::ErrorBody {
        message: format!("ErrorCode:{};{}", refusal.error.name, refusal.message),
        exception_message: format!("Tracking ID:{request_id}-TimeStamp:{}", wall.to_rfc3339(3)),
    })
}

/// Body of an error in an answer about a twin over MQTT, and inside that of an error with a method. For twins that of the
/// real hub is not published.
pub(super) fn device_error(refusal: &HubRefusal, request_id: &str, wall: UnixTime) -> Vec<u8> {
    json(&dps::ErrorBody {
        error_code: refusal.error.code.into(),
        tracking_id: request_id.to_owned(),
        message: refusal.message.to_owned(),
        timestamp_utc: wall.to_rfc3339(7),
    })
}

/// Body of an error with a direct method: JSON in JSON, as users of service SDKs report it.
pub(super) fn method_error(refusal: &HubRefusal, request_id: &str, wall: UnixTime) -> Vec<u8> {
    let inner = device_error(refusal, request_id, wall);
    json(&hub::ErrorBody {
        message: String::from_utf8_lossy(&inner).into_owned(),
        exception_message: String::new(),
    })
}

/// A body in JSON.
pub(super) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("replies are plain structures of text and numbers")
}
