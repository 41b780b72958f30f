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
    /// MQTT 3.1.1 inside a WebSocket, for networks that let only HTTPS out.
    MqttWs,
}

impl Protocol {
    /// All.
    pub const ALL: [Self; 3] = [Self::Https, Self::Mqtt, Self::MqttWs];

    /// As written in scenario files and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Mqtt => "mqtt",
            Self::MqttWs => "mqtt-ws",
        }
    }

    /// The port of that protocol at DPS and hub.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Https | Self::MqttWs => 443,
            Self::Mqtt => mqtt::PORT,
        }
    }

    /// Whether packets of MQTT go through it, one way or the other.
    pub const fn is_mqtt(self) -> bool {
        matches!(self, Self::Mqtt | Self::MqttWs)
    }

    /// The protocol of that name, if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }
}
