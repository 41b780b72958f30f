//! IoT Hub's HTTPS device API: paths, headers, error bodies.
//!
//! Source: <https://learn.microsoft.com/rest/api/iothub/device> and what SDKs send (OBS).

use serde::{Deserialize, Serialize};

/// Below it every hub of the public cloud has its name.
pub const DOMAIN: &str = "azure-devices.net";

/// The api-version of Node's current HTTPS client.
pub const API_VERSION: &str = "2021-04-12";

/// Path and query to which one device sends telemetry (POST). The id is percent-encoded as SDKs do.
pub fn events_path(device_id: &str) -> String {
    events_path_at(device_id, API_VERSION)
}

/// [`events_path`] of another api-version.
pub fn events_path_at(device_id: &str, api_version: &str) -> String {
    let id = percent_encoding::utf8_percent_encode(device_id, ID_IN_PATH);
    format!("/devices/{id}/messages/events?api-version={api_version}")
}

/// Path at which one device asks for a message from the cloud (GET), without query.
///
/// Source: <https://learn.microsoft.com/rest/api/iothub/device/receive-device-bound-notification>
pub fn devicebound_path(device_id: &str) -> String {
    let id = percent_encoding::utf8_percent_encode(device_id, ID_IN_PATH);
    format!("/devices/{id}/messages/devicebound")
}

/// Path of a message that a device has taken, without query: DELETE completes it, or rejects it with `reject` in the query;
/// POST to `/abandon` below it gives it back.
///
/// * `devicebound_path`: [`devicebound_path`]
/// * `lock_token`: as the hub wrote it into `ETag`, without quotes
pub fn locked_path(devicebound_path: &str, lock_token: &str) -> String {
    format!("{devicebound_path}/{}", percent_encoding::utf8_percent_encode(lock_token, ID_IN_PATH))
}

/// What is escaped in a device id inside a path.
const ID_IN_PATH: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// `Content-Type` of a batch: a JSON array of [`BatchMessage`].
pub const BATCH_CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.json";

/// Header that carries the message id.
pub const MESSAGE_ID_HEADER: &str = "iothub-messageid";

/// Header that carries the content type of the message itself.
pub const CONTENT_TYPE_HEADER: &str = "iothub-contenttype";

/// Header that carries the content encoding of the message itself.
pub const CONTENT_ENCODING_HEADER: &str = "iothub-contentencoding";

/// Where a message goes, as Node's client repeats it beside the path.
pub const TO_HEADER: &str = "iothub-to";

/// Prefix of headers that carry application properties.
pub const PROPERTY_HEADER_PREFIX: &str = "iothub-app-";

/// Largest telemetry message, and largest batch, in bytes: body plus properties.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>
pub const MAX_MESSAGE: usize = 256 * 1024;

/// One message of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchMessage {
    /// Base64.
    pub body: String,
    /// Header names and values, as a single message would carry them.
    #[serde(default)]
    pub properties: std::collections::BTreeMap<String, String>,
}

/// Body of an error reply: `{"Message":"ErrorCode:{Name};{text}","ExceptionMessage":"Tracking ID:…"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorBody {
    /// Name of the error and a text for people.
    #[serde(default)]
    pub message: String,
    /// Names the request in the service's logs.
    #[serde(default)]
    pub exception_message: String,
}

impl ErrorBody {
    /// Name of the error: what stands between `ErrorCode:` and the semicolon; `None` if the message has another form.
    pub fn name(&self) -> Option<&str> {
        let rest = self.message.strip_prefix("ErrorCode:")?;
        rest.split(';').next().map(str::trim)
    }
}

/// An error that the hub tells a device over HTTPS.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/troubleshoot-error-codes>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubError {
    /// Six digits; the first three are the HTTP status.
    pub code: u32,
    /// Name in the error body.
    pub name: &'static str,
}

impl HubError {
    /// The request makes no sense.
    pub const ARGUMENT_INVALID: Self = Self { code: 400_004, name: "ArgumentInvalid" };
    /// The token is wrong, for another resource, or expired.
    pub const UNAUTHORIZED: Self = Self { code: 401_002, name: "IotHubUnauthorizedAccess" };
    /// The messages of this UTC day are used up.
    pub const QUOTA_EXCEEDED: Self = Self { code: 403_002, name: "IotHubQuotaExceeded" };
    /// As many messages from the cloud wait for the device as may.
    pub const QUEUE_FULL: Self = Self { code: 403_004, name: "DeviceMaximumQueueDepthExceeded" };
    /// Hubs of this tier have no such operation.
    pub const NOT_IN_TIER: Self = Self { code: 403_010, name: "OperationNotAvailableInCurrentTier" };
    /// The device is disabled.
    pub const DEVICE_DISABLED: Self = Self { code: 403_012, name: "DeviceDisabled" };
    /// No such device in this hub.
    pub const DEVICE_NOT_FOUND: Self = Self { code: 404_001, name: "DeviceNotFound" };
    /// The device is not connected, or does not take methods.
    pub const DEVICE_NOT_ONLINE: Self = Self { code: 404_103, name: "DeviceNotOnline" };
    /// There is a device of that name already.
    pub const DEVICE_EXISTS: Self = Self { code: 409_001, name: "DeviceAlreadyExists" };
    /// What is there is not what the caller thinks it is.
    pub const PRECONDITION_FAILED: Self = Self { code: 412_001, name: "PreconditionFailed" };
    /// The lock of a message from the cloud has expired.
    pub const LOCK_LOST: Self = Self { code: 412_002, name: "DeviceMessageLockLost" };
    /// What a device answered is not what it may answer.
    pub const BAD_GATEWAY: Self = Self { code: 502_000, name: "BadGateway" };
    /// The device did not answer in time.
    pub const GATEWAY_TIMEOUT: Self = Self { code: 504_101, name: "GatewayTimeout" };
    /// The path exists, but not for this method.
    pub const METHOD_NOT_ALLOWED: Self = Self { code: 405_000, name: "MethodNotAllowed" };
    /// The body took too long to arrive. Our own choice: the real hub's limit is not published.
    pub const REQUEST_TIMEOUT: Self = Self { code: 408_001, name: "RequestTimeout" };
    /// Body and properties exceed [`MAX_MESSAGE`].
    pub const MESSAGE_TOO_LARGE: Self = Self { code: 413_001, name: "MessageTooLarge" };
    /// Over the send or connect rate.
    pub const THROTTLED: Self = Self { code: 429_001, name: "ThrottlingException" };
    /// The hub failed.
    pub const SERVER_ERROR: Self = Self { code: 500_001, name: "ServerError" };

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        (self.code / 1_000) as u16
    }
}
