//! Talking to a hub: one small file per protocol behind the same few operations.

use crate::payload::Rendered;
use crate::step::{Class, Failure};
use crate::text::Untrusted;
use crate::time::Instant;

pub mod https;

/// A telemetry message, ready to go.
pub struct Message<'a> {
    /// Number of the message among the device's, from 1.
    pub sequence: u64,
    /// Body, message id, and values of application properties.
    pub rendered: &'a Rendered,
    /// What is the same in every message of its kind: content type and encoding, names of application properties.
    pub envelope: &'a Envelope,
}

/// What messages of one kind have in common, made ready for the protocol once.
pub type Envelope = https::Headers;

/// What a hub connection reports.
#[derive(Debug)]
pub enum Event {
    /// The hub confirmed the message.
    Acknowledged {
        /// Its number.
        sequence: u64,
        /// When it was handed over.
        started: Instant,
        /// When the answer was decoded.
        finished: Instant,
    },
    /// The hub refused the message.
    Refused {
        /// Its number.
        sequence: u64,
        /// Why.
        failure: Failure,
        /// When it was handed over.
        started: Instant,
        /// When the answer was decoded.
        finished: Instant,
    },
    /// The connection is gone, and with it the fate of every message under way.
    Lost {
        /// Why; `None` if it ended in order and nothing was under way.
        failure: Option<Failure>,
        /// Numbers of messages that were certainly never written: they may go again.
        unsent: Vec<u64>,
    },
}

/// The failure that a hub's error status and body stand for.
fn refusal(status: u16, body: &[u8]) -> Failure {
    let class = Class::of_refusal(status);
    let text = Untrusted::from_bytes(&body[..body.len().min(160)]);
    let said = if body.is_empty() { status.to_string() } else { format!("{status}: {}", text.raw()) };
    Failure::new(class, &said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_told_from_an_error_and_a_disabled_device_from_a_wrong_key() {
        for (status, expected) in [
            (401, Class::Unauthorized),
            (403, Class::Disabled),
            (404, Class::NotFound),
            (413, Class::Rejected),
            (429, Class::Throttled),
            (503, Class::ServerError),
            (301, Class::BadAnswer),
        ] {
            assert_eq!(refusal(status, b"").class, expected, "{status}");
        }
    }
}
