//! The Device Provisioning Service's device API: paths, bodies, error codes.
//!
//! Source: <https://learn.microsoft.com/rest/api/iot-dps/device> (API specification 2021-10-01), and what SDKs send (OBS).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::UnixTime;

/// Below it every DPS of the public cloud has its name.
pub const DOMAIN: &str = "azure-devices-provisioning.net";

/// Host of the global device endpoint.
pub const GLOBAL_HOST: &str = "global.azure-devices-provisioning.net";

/// The api-version that nearly every SDK in the field uses (Python, Node, C#, embedded C).
pub const API_VERSION: &str = "2019-03-31";

/// `Content-Type` of requests and replies; clients do not parse a reply without it.
pub const JSON: &str = "application/json; charset=utf-8";

/// The wait that the real service asks for after register and after a poll.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(3);

/// What to wait when the service gives no `Retry-After`: the SDKs' value.
pub const ABSENT_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Path and query of a registration (PUT).
pub fn register_path(id_scope: &str, registration_id: &str) -> String {
    register_path_at(id_scope, registration_id, API_VERSION)
}

/// [`register_path`] of another api-version.
pub fn register_path_at(id_scope: &str, registration_id: &str, api_version: &str) -> String {
    format!("/{id_scope}/registrations/{registration_id}/register?api-version={api_version}")
}

/// Path and query of an operation's status (GET).
pub fn operation_path(id_scope: &str, registration_id: &str, operation_id: &str) -> String {
    operation_path_at(id_scope, registration_id, operation_id, API_VERSION)
}

/// [`operation_path`] of another api-version.
pub fn operation_path_at(
    id_scope: &str,
    registration_id: &str,
    operation_id: &str,
    api_version: &str,
) -> String {
    format!("/{id_scope}/registrations/{registration_id}/operations/{operation_id}?api-version={api_version}")
}

/// Path and query of a lookup of what is registered (POST).
pub fn lookup_path(id_scope: &str, registration_id: &str) -> String {
    format!("/{id_scope}/registrations/{registration_id}?api-version={API_VERSION}")
}

/// Body of a register request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterBody {
    /// Must equal the one in the URL or user name.
    pub registration_id: String,
    /// Passed to a custom allocation webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}

/// Reply to register and to polls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Opaque; a poll's *error* may lack it, so the last one is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// `assigning`, `assigned`, `failed`; kept as text, for other values are the service's fault and not a parse error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Absent from the reply to register, short while assigning, full at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_state: Option<RegistrationState>,
}

/// State of a registration (REST: `DeviceRegistrationResult`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationState {
    /// The registration this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_id: Option<String>,
    /// ISO 8601 with seven fraction digits and `Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_date_time_utc: Option<String>,
    /// Host name of the hub, no scheme; the real service gives no port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_hub: Option<String>,
    /// The device's id at the hub; differs from the registration id where an individual enrollment says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// As in [`OperationStatus::status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `initialAssignment`, `deviceDataMigrated`, `deviceDataReset`, `reprovisionedToInitialAssignment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substatus: Option<String>,
    /// Set when the assignment failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i64>,
    /// Set when the assignment failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// ISO 8601 with seven fraction digits and `Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated_date_time_utc: Option<String>,
    /// Quoted, as an HTTP entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// How a group device proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symmetric_key: Option<SymmetricKeyResult>,
    /// What a custom allocation webhook returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}

/// Attestation part of a [`RegistrationState`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SymmetricKeyResult {
    /// Absent for individual enrollments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_group_id: Option<String>,
}

/// Values of [`OperationStatus::status`].
pub mod status {
    /// Not decided yet: poll again.
    pub const ASSIGNING: &str = "assigning";
    /// Done.
    pub const ASSIGNED: &str = "assigned";
    /// Done, without a hub; `errorCode` says why.
    pub const FAILED: &str = "failed";
}

/// Values of [`RegistrationState::substatus`].
///
/// Source: <https://learn.microsoft.com/rest/api/iot-dps/device/runtime-registration> (ProvisioningServiceSubstatus)
pub mod substatus {
    /// Assigned for the first time.
    pub const INITIAL_ASSIGNMENT: &str = "initialAssignment";
    /// Assigned to a different hub, its data moved along.
    pub const DEVICE_DATA_MIGRATED: &str = "deviceDataMigrated";
    /// Assigned to a different hub, its data as the enrollment has it.
    pub const DEVICE_DATA_RESET: &str = "deviceDataReset";
    /// Assigned again to the hub it had.
    pub const REPROVISIONED: &str = "reprovisionedToInitialAssignment";
}

/// Body of an error reply. The HTTP status is `error_code / 1000`, repeated in the header [`ERROR_CODE_HEADER`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// See [`error_code`].
    pub error_code: i64,
    /// Names the request in the service's own logs.
    #[serde(default)]
    pub tracking_id: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// ISO 8601.
    #[serde(default)]
    pub timestamp_utc: String,
}

/// Header that repeats [`ErrorBody::error_code`].
pub const ERROR_CODE_HEADER: &str = "x-ms-error-code";

/// Header that names each request in the service's logs.
pub const REQUEST_ID_HEADER: &str = "x-ms-request-id";

/// Error codes of the device API.
pub mod error_code {
    /// An argument is invalid, for example the registration id.
    pub const INVALID_ARGUMENT: i64 = 400_004;
    /// No hub is linked that the enrollment may use.
    pub const NO_HUB: i64 = 400_208;
    /// The token is wrong, for another resource, or expired.
    pub const UNAUTHORIZED: i64 = 401_002;
    /// Scope, enrollment or operation unknown. The real code for an unknown scope was not found in public text.
    pub const NOT_FOUND: i64 = 404_201;
    /// The path exists, but not for this method.
    pub const METHOD_NOT_ALLOWED: i64 = 405_000;
    /// The enrollment is disabled. Real text for this case was not found; the hub's own is 403012.
    pub const DISABLED: i64 = 403_012;
    /// The body took too long to arrive. Our own choice: the real service's limit is not published.
    pub const TIMEOUT: i64 = 408_001;
    /// Body too large.
    pub const TOO_LARGE: i64 = 413_001;
    /// The body is not JSON.
    pub const UNSUPPORTED_MEDIA_TYPE: i64 = 415_000;
    /// More registrations or polls than the quota allows. Real body not found in public text.
    pub const THROTTLED: i64 = 429_001;
    /// The service failed.
    pub const INTERNAL: i64 = 500_001;
}

/// Largest body of a device request in bytes (limit of the service: 96 KB).
///
/// Source: <https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits>
pub const MAX_BODY: usize = 96 * 1024;

/// The wait that a `Retry-After` value asks for: whole seconds or an HTTP date; `None` for anything else
/// (negative, fraction, garbage). A date in the past means no wait. The caller bounds what is too long for it.
pub fn parse_retry_after(value: &str, now: UnixTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are still "very long", which is how the caller treats them.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_nanosecond();
    let wait = (date - i128::from(now.nanos())).max(0);
    Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_nanos(1_700_000_000_000_000_000);

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        for (value, expected) in [
            ("3", Some(3)),
            (" 0 ", Some(0)),
            ("1000000000", Some(1_000_000_000)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Tue, 14 Nov 2023 22:13:30 GMT", Some(10)),
            ("Tue, 14 Nov 2023 22:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(value, NOW), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_reply_with_fields_missing_or_unknown_is_still_read() {
        let full = r#"{"operationId":"5.1","status":"assigned","registrationState":{"registrationId":"dev",
            "createdDateTimeUtc":"2022-09-19T18:30:53.5150000Z","assignedHub":"hub.azure-devices.net","deviceId":"dev",
            "status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"2022-09-19T18:30:53.8170000Z",
            "etag":"\"0000\"","symmetricKey":{"enrollmentGroupId":"grp"},"payload":{},"issuedCertificateChain":[]}}"#;
        let read: OperationStatus = serde_json::from_str(full).expect("a reply");
        let state = read.registration_state.expect("a state");
        assert_eq!(state.assigned_hub.as_deref(), Some("hub.azure-devices.net"));
        let short: OperationStatus = serde_json::from_str("{}").expect("a reply");
        assert_eq!(short.status, None);
    }
}
