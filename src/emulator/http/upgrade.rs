//! The WebSocket that MQTT may go through.
//!
//! What the real services say to a handshake that is none is not published; the statuses are those of the standard.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::{Arrival, Reply, reply};
use crate::azure::dps::error_code;
use crate::azure::mqtt::WEBSOCKET_PROTOCOL;
use crate::emulator::service::DpsRefusal;
use crate::net::websocket::{Unfit, accept_headers};

/// Answers a handshake.
pub(super) fn handle(arrival: &Arrival<'_>) -> Reply {
    let refused = |text| reply::dps_error(DpsRefusal::new(error_code::INVALID_ARGUMENT, text));
    match accept_headers(&arrival.head.headers, WEBSOCKET_PROTOCOL) {
        Ok(headers) => {
            let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
            reply.headers_mut().extend(headers);
            reply
        }
        Err(Unfit::OtherVersion) => {
            let mut reply = reply::empty(StatusCode::UPGRADE_REQUIRED);
            reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            reply
        }
        Err(Unfit::NoHandshake) => refused("the path takes the handshake of a WebSocket only"),
        Err(Unfit::OtherSubprotocol) => refused("the WebSocket is for the subprotocol mqtt only"),
    }
}
