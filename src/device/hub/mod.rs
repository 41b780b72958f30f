//! Talking to a hub: one small file per protocol behind the same few operations.

use crate::azure::hub::{ErrorBody, HubError};
use crate::azure::protocol::Protocol;
use crate::device::devicebound::LockToken;
use crate::device::habits::BagHabits;
use crate::net::mqtt::Publish;
use crate::payload::{Payload, Rendered};
use crate::step::{Class, Exchange, Failure};
use crate::text::Untrusted;
use crate::time::{Clock, Instant};

pub mod https;
pub mod mqtt;
pub mod suspicion;

/// How a hub confirms messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Qos {
    /// Not at all (MQTT QoS 0): a message is done when it was written.
    AtMostOnce,
    /// Each (MQTT QoS 1, and always with HTTPS).
    #[default]
    AtLeastOnce,
}

/// What becomes of messages that were sent and not confirmed when their connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resend {
    /// They are unknown.
    #[default]
    None,
    /// They go again on the next connection, marked as duplicates, within their deadline; each stays one step.
    Duplicates,
}

/// A telemetry message, ready to go.
pub struct Message<'a> {
    /// Number of the message among the device's, from 1.
    pub sequence: u64,
    /// Body, message id, and values of application properties.
    pub rendered: &'a Rendered,
    /// What is the same in every message of its kind: content type and encoding, names of application properties.
    pub envelope: &'a Envelope,
    /// The packet id with which it went before, for one that goes again.
    pub packet_id: Option<u16>,
}

/// What messages of one kind have in common, made ready for the protocol once.
#[derive(Debug, Clone)]
pub enum Envelope {
    /// HTTPS.
    Https(https::Headers),
    /// MQTT.
    Mqtt(mqtt::Bag),
}

impl Envelope {
    /// That of `payload` over `protocol`.
    ///
    /// * `qos`, `habits`: for MQTT
    pub fn of(payload: &Payload, protocol: Protocol, qos: Qos, habits: BagHabits) -> Self {
        match protocol {
            Protocol::Https => Self::Https(https::Headers::of(payload)),
            Protocol::Mqtt | Protocol::MqttWs => Self::Mqtt(mqtt::Bag::of(payload, qos, habits)),
        }
    }
}

/// A device's connection to its hub, over whatever protocol.
pub enum Hub {
    /// HTTPS.
    Https(Box<https::HubHttps>),
    /// MQTT.
    Mqtt(Box<mqtt::HubMqtt>),
}

impl Hub {
    /// Whether a message can be handed over now.
    pub fn can_send(&self) -> bool {
        match self {
            Self::Https(hub) => hub.can_send(),
            Self::Mqtt(hub) => hub.can_send(),
        }
    }

    /// Hands a message over; an [`Event`] tells what comes of it. Gives the packet id by which it may go again, if the
    /// protocol has that.
    ///
    /// # Errors
    /// When the message cannot be put into the protocol's form; nothing is sent then.
    pub fn send(&mut self, clock: &Clock, message: &Message<'_>) -> Result<u16, Failure> {
        match (self, message.envelope) {
            (Self::Https(hub), Envelope::Https(headers)) => hub.send(clock, message, headers).map(|()| 0),
            (Self::Mqtt(hub), Envelope::Mqtt(bag)) => hub.send(clock, message, bag),
            _ => Err(Failure::new(Class::OtherIo, "the message was made ready for another protocol")),
        }
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn event(&mut self, clock: &Clock) -> Event {
        match self {
            Self::Https(hub) => hub.event(clock).await,
            Self::Mqtt(hub) => hub.event(clock).await,
        }
    }

    /// Whether the connection has ended while nothing was under way.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Https(hub) => hub.is_over(),
            Self::Mqtt(hub) => hub.is_over(),
        }
    }

    /// What the books call the exchange of a message.
    pub fn exchange(&self) -> Exchange {
        match self {
            Self::Https(_) => Exchange::HttpPost,
            Self::Mqtt(_) => Exchange::MqttPublish,
        }
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        match self {
            Self::Https(hub) => Box::pin(hub.close()).await,
            Self::Mqtt(mut hub) => hub.close().await,
        }
    }
}

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
    /// The message was written, and the protocol confirms none of its kind.
    Written {
        /// Its number.
        sequence: u64,
        /// When it was handed over.
        started: Instant,
        /// When its last byte was written.
        finished: Instant,
    },
    /// The hub confirmed a message that it had confirmed before.
    AcknowledgedAgain,
    /// The hub confirmed a packet of [`mqtt::HubMqtt::tell`].
    Told {
        /// Its packet id.
        packet_id: u16,
        /// When the confirmation was decoded.
        finished: Instant,
    },
    /// HTTPS: the hub answered whether it has a message for the device.
    Asked {
        /// What settles the message, if there is one.
        answer: Result<Option<LockToken>, Failure>,
        /// When the question was handed over.
        started: Instant,
        /// When the answer was decoded.
        finished: Instant,
    },
    /// HTTPS: the hub answered what the device said of such a message.
    Settled {
        /// Why it is not settled, if it is not.
        failure: Option<Failure>,
        /// When that was handed over.
        started: Instant,
        /// When the answer was decoded.
        finished: Instant,
    },
    /// The device told that it is there: a moment to look what else may be due.
    Pinged,
    /// The hub sent something of its own accord; it is confirmed, if that was asked for.
    Arrived {
        /// What it sent.
        message: Box<Publish>,
        /// When it was decoded.
        at: Instant,
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
        /// HTTPS: whether that holds for a request under way that was no message of the device.
        is_aside_unsent: bool,
    },
}

/// The failure that a hub's error status and body stand for.
pub(super) fn refusal(status: u16, body: &[u8]) -> Failure {
    let is_quota = status == HubError::QUOTA_EXCEEDED.status()
        && serde_json::from_slice::<ErrorBody>(body)
            .is_ok_and(|error| error.name() == Some(HubError::QUOTA_EXCEEDED.name));
    let class = if is_quota { Class::QuotaExceeded } else { Class::of_refusal(status) };
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

    #[test]
    fn the_end_of_the_daily_quota_is_told_from_a_disabled_device_by_the_body() {
        for (message, expected) in [
            ("ErrorCode:IotHubQuotaExceeded;Total number of messages exceeded", Class::QuotaExceeded),
            ("ErrorCode:IotHubQuotaExceeded", Class::QuotaExceeded),
            ("ErrorCode:DeviceDisabled;IotHubQuotaExceeded", Class::Disabled),
            ("IotHubQuotaExceeded", Class::Disabled),
            ("", Class::Disabled),
        ] {
            let body = format!(r#"{{"Message":"{message}","ExceptionMessage":"Tracking ID:1"}}"#);
            assert_eq!(refusal(403, body.as_bytes()).class, expected, "{message}");
            assert_eq!(refusal(429, body.as_bytes()).class, Class::Throttled);
        }
        assert_eq!(refusal(403, b"{").class, Class::Disabled);
        assert_eq!(refusal(403, b"[]").class, Class::Disabled);
    }
}
