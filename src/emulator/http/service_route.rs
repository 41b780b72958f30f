//! Paths of the services' own APIs, and of a device's messages from the cloud.
//!
//! Source: <https://learn.microsoft.com/rest/api/iothub/service>, <https://learn.microsoft.com/rest/api/iothub/device>,
//! <https://learn.microsoft.com/rest/api/iot-dps/service>

use hyper::Method;

use crate::azure::hub::MAX_MESSAGE;
use crate::azure::two_way::MAX_DEVICEBOUND;
use crate::emulator::ledger::Operation;

/// A call of a hub's service API.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HubCall {
    /// `GET /devices`
    Devices,
    /// `GET`, `PUT`, `DELETE /devices/{id}`
    Device { device_id: String },
    /// `DELETE /devices/{id}/commands`: drops the messages that wait.
    Purge { device_id: String },
    /// `GET`, `PATCH`, `PUT /twins/{id}`
    Twin { device_id: String },
    /// `POST /twins/{id}/methods`
    Method { device_id: String },
    /// `POST /messages/devicebound`
    Send,
}

/// What a device does with messages from the cloud over HTTPS.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReceiveCall {
    /// `GET /devices/{id}/messages/devicebound`
    Next,
    /// `DELETE /devices/{id}/messages/devicebound/{lockToken}`, with `reject` in its query or without.
    Settle { token: String },
    /// `POST /devices/{id}/messages/devicebound/{lockToken}/abandon`
    Abandon { token: String },
}

impl HubCall {
    /// Reads the decoded segments of a path.
    pub(super) fn of(segments: &[&str; 6], decode: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let call = match segments {
            ["devices", "", "", "", "", ""] => Self::Devices,
            ["devices", id, "", "", "", ""] => Self::Device { device_id: decode(id)? },
            ["devices", id, "commands", "", "", ""] => Self::Purge { device_id: decode(id)? },
            ["twins", id, "", "", "", ""] => Self::Twin { device_id: decode(id)? },
            ["twins", id, "methods", "", "", ""] => Self::Method { device_id: decode(id)? },
            ["messages", bound, "", "", "", ""] if bound.eq_ignore_ascii_case("devicebound") => Self::Send,
            _ => return None,
        };
        Some(call)
    }

    /// The methods that it takes.
    pub(super) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Devices => &[Method::GET],
            Self::Device { .. } => &[Method::GET, Method::PUT, Method::DELETE],
            Self::Purge { .. } => &[Method::DELETE],
            Self::Twin { .. } => &[Method::GET, Method::PATCH, Method::PUT],
            Self::Method { .. } | Self::Send => &[Method::POST],
        }
    }

    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Devices | Self::Device { .. } | Self::Purge { .. } => Operation::HubDevices,
            Self::Twin { .. } => Operation::HubTwins,
            Self::Method { .. } => Operation::HubMethods,
            Self::Send => Operation::HubC2dSend,
        }
    }

    /// Largest body, in bytes. A twin in JSON is larger than what its limits count.
    pub(super) fn max_body(&self) -> usize {
        match self {
            Self::Send => MAX_DEVICEBOUND,
            _ => MAX_MESSAGE,
        }
    }
}

impl ReceiveCall {
    /// Reads what follows `/devices/{id}/messages/`.
    pub(super) fn of(segments: [&str; 3], decode: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let [bound, token, verb] = segments;
        if !bound.eq_ignore_ascii_case("devicebound") {
            return None;
        }
        match (token, verb) {
            ("", "") => Some(Self::Next),
            (token, "") => Some(Self::Settle { token: decode(token)? }),
            (token, "abandon") => Some(Self::Abandon { token: decode(token)? }),
            _ => None,
        }
    }

    pub(super) fn method(&self) -> Method {
        match self {
            Self::Next => Method::GET,
            Self::Settle { .. } => Method::DELETE,
            Self::Abandon { .. } => Method::POST,
        }
    }

    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Next => Operation::HubC2dReceive,
            Self::Settle { .. } | Self::Abandon { .. } => Operation::HubC2dSettle,
        }
    }
}
