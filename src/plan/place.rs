//! A host that devices of several protocols contact.

use crate::net::dial::Endpoint;
use crate::plan::Protocol;

/// A host as a scenario names it: with a port, or at the port of whatever protocol a device speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: Option<u16>,
}

impl Place {
    /// At the port that each protocol has for itself.
    pub fn of_host(host: &str) -> Self {
        Self { host: host.to_ascii_lowercase(), port: None }
    }

    /// Reads what [`Endpoint::parse`] reads; `None` when that is not what the text is.
    pub fn parse(text: &str) -> Option<Self> {
        // No text has port 0, so that one stands for a port that is not there.
        let Endpoint { host, port } = Endpoint::parse(text, 0)?;
        Some(Self { host, port: (port > 0).then_some(port) })
    }

    /// Where devices that speak `protocol` find it.
    pub fn endpoint(&self, protocol: Protocol) -> Endpoint {
        Endpoint { host: self.host.clone(), port: self.port.unwrap_or(protocol.default_port()) }
    }

    /// The port that it names.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

impl From<Endpoint> for Place {
    fn from(endpoint: Endpoint) -> Self {
        Self { host: endpoint.host, port: Some(endpoint.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_own_port_unless_the_place_names_one() {
        for (text, https, mqtt) in [
            ("Contoso.azure-devices.net", "contoso.azure-devices.net:443", "contoso.azure-devices.net:8883"),
            ("localhost:1883", "localhost:1883", "localhost:1883"),
            ("[::1]", "[::1]:443", "[::1]:8883"),
            ("[::1]:1", "[::1]:1", "[::1]:1"),
        ] {
            let place = Place::parse(text).expect(text);
            assert_eq!(place.endpoint(Protocol::Https).to_string(), https, "{text}");
            assert_eq!(place.endpoint(Protocol::Mqtt).to_string(), mqtt, "{text}");
        }
        assert_eq!(Place::parse("localhost:0"), None);
        assert_eq!(Place::parse("a b"), None);
    }
}
