//! Direct methods: a question to a device that is there, and its answer in time.
//!
//! Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods>; error codes and texts as users of
//! service SDKs report them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hub::Hub;
use super::service::HubRefusal;
use super::two_way::Trouble;
use crate::azure::hub::HubError;
use crate::azure::two_way::{MAX_METHOD_PAYLOAD, is_method_name};
use crate::time::Clock;

/// A method to be invoked, as service SDKs write it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Invocation {
    /// Its name.
    pub(super) method_name: String,
    /// What the device gets; an empty body if there is none.
    #[serde(default)]
    pub(super) payload: Option<Value>,
    /// How long the device may take to answer, in seconds: 5 to 300, by default 30.
    #[serde(default)]
    pub(super) response_timeout_in_seconds: Option<u64>,
    /// How long it may take to come online, in seconds: 0 to 300, by default 0.
    #[serde(default)]
    pub(super) connect_timeout_in_seconds: Option<u64>,
}

/// What the device answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct MethodResult {
    /// As the device likes.
    pub(super) status: i32,
    /// Null if its answer was empty.
    pub(super) payload: Value,
}

impl Invocation {
    /// Whether there can be such a method; the JSON of its payload.
    ///
    /// # Errors
    /// [`HubRefusal`] with 400, or 413 for a payload that is too large.
    pub(super) fn check(&self) -> Result<Vec<u8>, HubRefusal> {
        let invalid = |message| Err(HubRefusal { error: HubError::ARGUMENT_INVALID, message });
        if !is_method_name(&self.method_name) {
            return invalid("the method's name is empty, too long, or has a character that it may not have");
        }
        if self.response_timeout_in_seconds.is_some_and(|seconds| !(5..=300).contains(&seconds)) {
            return invalid("responseTimeoutInSeconds is not from 5 to 300");
        }
        if self.connect_timeout_in_seconds.is_some_and(|seconds| seconds > 300) {
            return invalid("connectTimeoutInSeconds is over 300");
        }
        let payload =
            self.payload.as_ref().map(|payload| payload.to_string().into_bytes()).unwrap_or_default();
        if payload.len() > MAX_METHOD_PAYLOAD {
            return Err(HubRefusal {
                error: HubError::MESSAGE_TOO_LARGE,
                message: "the payload exceeds 128 KB",
            });
        }
        Ok(payload)
    }
}

/// Invokes a method and waits for its answer, or until one cannot come any more.
///
/// * `payload`: what [`Invocation::check`] gave
///
/// # Errors
/// [`HubRefusal`] with 404 for a device that is unknown, or not there, or leaves; with 504 for one that does not answer;
/// with 502 if its answer is no JSON.
pub(super) async fn invoke(
    hub: &Hub,
    clock: &Clock,
    device_id: &str,
    invocation: &Invocation,
    payload: Vec<u8>,
) -> Result<MethodResult, HubRefusal> {
    let response_timeout = Duration::from_secs(invocation.response_timeout_in_seconds.unwrap_or(30));
    let connect_by = clock.now() + Duration::from_secs(invocation.connect_timeout_in_seconds.unwrap_or(0));
    let answer = loop {
        match hub.invoke(device_id, &invocation.method_name, payload.clone()) {
            Ok(answer) => break answer,
            Err(Trouble::NotOnline) if clock.now() < connect_by => {
                let online = hub.when_online(device_id)?;
                // Who comes and goes is asked once more, and who does not come is found out below.
                let _ = clock.until(connect_by, online).await;
            }
            Err(trouble) => {
                if trouble == Trouble::NotOnline {
                    hub.two_way.methods_offline.add(1);
                }
                return Err(trouble.into());
            }
        }
    };
    hub.two_way.methods_invoked.add(1);
    match clock.until(clock.now() + response_timeout, answer).await {
        None => {
            hub.two_way.methods_timed_out.add(1);
            let message = "Timed out waiting for the response from device.";
            Err(HubRefusal { error: HubError::GATEWAY_TIMEOUT, message })
        }
        Some(Err(_)) => {
            hub.two_way.methods_offline.add(1);
            Err(HubRefusal { error: HubError::DEVICE_NOT_ONLINE, message: "Device unavailable" })
        }
        Some(Ok(answer)) => {
            let payload = match answer.payload.as_slice() {
                [] => Value::Null,
                json => serde_json::from_slice(json).map_err(|_| HubRefusal {
                    error: HubError::BAD_GATEWAY,
                    message: "the device's answer is not JSON",
                })?,
            };
            Ok(MethodResult { status: answer.status, payload })
        }
    }
}
