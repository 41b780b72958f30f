//! The transports that devices speak, at DPS and hub alike.

use super::mqtt;

/// A transport that devices speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTPS.
    Https,
    /// MQTT 3.1.1 over TLS, which most SDKs use unless told otherwise.
    #[default]
    Mqtt,
}

impl Protocol {
    /// As written in scenario files and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Mqtt => "mqtt",
        }
    }

    /// The port of that protocol at DPS and hub.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Mqtt => mqtt::PORT,
        }
    }
}
