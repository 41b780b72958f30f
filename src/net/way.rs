//! Where the bytes for a host go: to an address of the connect map, through a proxy, or straight to the host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::dial::{Endpoint, is_localhost};
use super::proxy::Proxy;

/// The way of all connections of a run. Names in TLS, tokens and headers are not its business: they stay what they are.
///
/// What counts as this machine is decided here and nowhere else, by where the bytes go and not by what a host is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// Hosts that are to be found elsewhere than their name says.
    pub connect: ConnectMap,
    /// All connections go through it, if there is one.
    pub proxy: Option<Proxy>,
}

impl Way {
    /// What a connection to `endpoint` is opened to, be it by this program or by the proxy on its behalf.
    pub fn target(&self, endpoint: &Endpoint) -> Endpoint {
        pinned(self.connect.get(endpoint).unwrap_or(endpoint))
    }

    /// What this program itself connects to for a `target`: the proxy, if there is one.
    pub(super) fn peer(&self, target: &Endpoint) -> Endpoint {
        self.proxy.as_ref().map_or_else(|| target.clone(), |proxy| pinned(&proxy.endpoint))
    }

    /// Whether what is sent to `endpoint` certainly stays on this machine: what it is mapped to is here, and the proxy too.
    pub fn stays_here(&self, endpoint: &Endpoint) -> bool {
        self.target(endpoint).is_loopback()
            && self.proxy.as_ref().is_none_or(|proxy| proxy.endpoint.is_loopback())
    }
}

/// `localhost` and the names below it are 127.0.0.1, which no resolver is asked about (RFC 6761), and no proxy either.
fn pinned(endpoint: &Endpoint) -> Endpoint {
    let mut endpoint = endpoint.clone();
    if is_localhost(&endpoint.host) {
        endpoint.host = Ipv4Addr::LOCALHOST.to_string();
    }
    endpoint
}

/// Addresses to connect to instead of a host's own, by the exact name of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectMap(BTreeMap<String, BTreeMap<Option<u16>, Endpoint>>);

impl ConnectMap {
    /// Connections to `host` go to `address` from now on; returns what they went to before.
    ///
    /// * `host`: in any case; its brackets, if it is an IPv6 address, left out
    /// * `port`: only those to this port; an entry for a port precedes one for all ports
    pub fn insert(&mut self, host: &str, port: Option<u16>, address: Endpoint) -> Option<Endpoint> {
        self.0.entry(host.to_ascii_lowercase()).or_default().insert(port, address)
    }

    /// Where connections to `endpoint` go, if that is elsewhere. An address is not looked for in the map again.
    pub fn get(&self, endpoint: &Endpoint) -> Option<&Endpoint> {
        let ports = self.0.get(&endpoint.host)?;
        ports.get(&Some(endpoint.port)).or_else(|| ports.get(&None))
    }

    /// Every host as written, with its port if it has one, and its address; in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Endpoint)> {
        self.0.iter().flat_map(|(host, ports)| {
            ports.iter().map(move |(port, address)| match port {
                Some(port) => (Endpoint { host: host.clone(), port: *port }.to_string(), address),
                None => (host.clone(), address),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::parse(text, 443).expect(text)
    }

    fn way(connect: &[(&str, Option<u16>, &str)], proxy: Option<&str>) -> Way {
        let mut map = ConnectMap::default();
        for (host, port, address) in connect {
            assert_eq!(map.insert(host, *port, endpoint(address)), None);
        }
        Way { connect: map, proxy: proxy.map(|proxy| Proxy::new(endpoint(proxy), None)) }
    }

    #[test]
    fn names_are_mapped_whatever_their_case_and_an_entry_with_a_port_goes_first() {
        let way = way(
            &[
                ("Contoso.Azure-devices.NET", None, "127.0.0.1:8443"),
                ("contoso.azure-devices.net", Some(8883), "10.0.0.1:8883"),
                ("10.0.0.1", None, "127.0.0.1:9"),
                ("::1", Some(443), "hub.example:1"),
            ],
            None,
        );
        for (text, target) in [
            ("contoso.azure-devices.net", "127.0.0.1:8443"),
            ("CONTOSO.azure-devices.net:5671", "127.0.0.1:8443"),
            // What it is mapped to is not mapped again.
            ("contoso.azure-devices.net:8883", "10.0.0.1:8883"),
            ("contoso.azure-devices.net.evil.example", "contoso.azure-devices.net.evil.example:443"),
            ("x.contoso.azure-devices.net", "x.contoso.azure-devices.net:443"),
            ("10.0.0.1", "127.0.0.1:9"),
            ("[::1]", "hub.example:1"),
            ("[::1]:444", "[::1]:444"),
            ("a.localhost:8443", "127.0.0.1:8443"),
        ] {
            assert_eq!(way.target(&endpoint(text)).to_string(), target, "{text}");
        }
        let listed: Vec<_> = way.connect.iter().map(|(host, address)| format!("{host} {address}")).collect();
        assert_eq!(
            listed,
            [
                "10.0.0.1 127.0.0.1:9",
                "[::1]:443 hub.example:1",
                "contoso.azure-devices.net 127.0.0.1:8443",
                "contoso.azure-devices.net:8883 10.0.0.1:8883",
            ]
        );
    }

    #[test]
    fn only_what_goes_to_this_machine_all_the_way_stays_here() {
        let map: &[(&str, Option<u16>, &str)] = &[
            ("hub.example", None, "127.0.0.1:8443"),
            ("half.example", Some(443), "[::1]:8443"),
            ("named.example", None, "hub.localhost:8443"),
            ("localhost", None, "10.0.0.1:443"),
            ("127.0.0.1", Some(443), "hub.example:443"),
        ];
        let (near, far) = (Some("127.0.0.1:3128"), Some("proxy.example:3128"));
        for (host, mapped, plain) in [
            ("hub.example", true, false),
            ("HUB.example:1", true, false),
            ("half.example", true, false),
            ("half.example:444", false, false),
            ("named.example", true, false),
            ("localhost", false, true),
            ("sub.localhost", true, true),
            ("127.0.0.1", false, true),
            ("127.0.0.1:444", true, true),
            ("127.0.0.2", true, true),
            ("other.example", false, false),
        ] {
            for (map, expected) in [(map, mapped), (&[], plain)] {
                let here = |proxy| way(map, proxy).stays_here(&endpoint(host));
                assert_eq!(
                    (here(None), here(near), here(far)),
                    (expected, expected, false),
                    "{host} {map:?}"
                );
            }
        }
    }
}
