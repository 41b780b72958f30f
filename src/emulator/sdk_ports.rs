//! Where SDKs look that can be told no port with a host, and the names that lead there.
//!
//! | hubs | `listen` | DPS | hub |
//! |---|---|---|---|
//! | one | 127.0.0.1, or unspecified | `localhost` | `127.0.0.1` |
//! | one | any other of IPv4 | that address | that address |
//! | several | 127.0.0.1 | `localhost` | `127.0.0.2`, `127.0.0.3`, ... |
//!
//! A hub is never called `localhost`: the C SDK splits its host at the first dot, and refuses one that has none. DPS may be.
//!
//! Source: `IoTHubClientCore_LL_CreateFromDeviceAuth` of Azure/azure-iot-sdk-c, `iothub_client_core_ll.c`, August 2026.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The listeners of [`super::serve::Options::sdk_ports`], before they are bound.
#[derive(Debug)]
pub(super) struct SdkPorts<'a> {
    ports: &'a [u16],
    listen: Ipv4Addr,
    hubs: usize,
}

/// Why there can be no listeners where SDKs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSdkPorts {
    /// Only IPv4 has addresses that every SDK takes for a host.
    #[error(
        "SDKs that take no port are told an IPv4 address, which leads nobody to {0}: listen on one, or do without the ports \
         where they look"
    )]
    Ipv6(IpAddr),
    /// One address cannot be several hubs'.
    #[error(
        "where SDKs look, each of several hubs has an address of its own, 127.0.0.2 and those after it, which leads nobody \
         to {0}: leave the address at 127.0.0.1, or serve one hub"
    )]
    OneAddress(IpAddr),
}

impl<'a> SdkPorts<'a> {
    /// The places for DPS and a number of hubs; `None` if there are no such ports.
    ///
    /// # Errors
    /// [`NoSdkPorts`] when no name would lead from every SDK to `listen`.
    pub(super) fn new(ports: &'a [u16], listen: IpAddr, hubs: usize) -> Result<Option<Self>, NoSdkPorts> {
        if ports.is_empty() {
            return Ok(None);
        }
        let IpAddr::V4(address) = listen.to_canonical() else { return Err(NoSdkPorts::Ipv6(listen)) };
        if hubs > 1 && address != Ipv4Addr::LOCALHOST {
            return Err(NoSdkPorts::OneAddress(listen));
        }
        Ok(Some(Self { ports, listen: address, hubs }))
    }

    /// The host of DPS.
    pub(super) fn dps_host(&self) -> String {
        if self.is_here() { "localhost".to_owned() } else { self.listen.to_string() }
    }

    /// The host of a hub; `None` where there are more hubs than addresses.
    pub(super) fn hub_host(&self, hub: usize) -> Option<String> {
        let address = match self.hubs {
            1 if self.is_here() => Some(Ipv4Addr::LOCALHOST),
            1 => Some(self.listen),
            _ => loopback_of(hub),
        };
        address.map(|address| address.to_string())
    }

    /// What to bind: for DPS (`None`), and for each hub unless the only one shares that of DPS.
    pub(super) fn places(&self) -> impl Iterator<Item = (SocketAddr, Option<usize>)> {
        let of_hubs = (0..self.hubs).filter(|_| self.hubs > 1);
        // With more hubs than addresses the rest is told its usual names.
        let of_hubs = of_hubs.filter_map(|hub| Some((loopback_of(hub)?, Some(hub))));
        let hosts = std::iter::once((self.listen, None)).chain(of_hubs);
        hosts.flat_map(|(address, hub)| {
            self.ports.iter().map(move |port| (SocketAddr::from((address, *port)), hub))
        })
    }

    /// Whether what every machine calls `localhost` leads here.
    fn is_here(&self) -> bool {
        self.listen == Ipv4Addr::LOCALHOST || self.listen.is_unspecified()
    }
}

/// The loopback address that is a hub's own.
pub(super) fn loopback_of(hub: usize) -> Option<Ipv4Addr> {
    let last = u8::try_from(hub + 2).ok().filter(|last| *last < u8::MAX)?;
    Some(Ipv4Addr::new(127, 0, 0, last))
}

/// The address as a client on this machine writes it into a URL.
///
/// `localhost` only where it leads for certain: it is 127.0.0.1 everywhere, but `::1` on some machines only.
pub fn dialable(address: SocketAddr) -> String {
    let ip = address.ip().to_canonical();
    if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip.is_unspecified() {
        return format!("localhost:{}", address.port());
    }
    SocketAddr::new(ip, address.port()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Host of DPS, hosts of the hubs, and what is bound.
    fn places(listen: &str, hubs: usize) -> (String, Vec<Option<String>>, Vec<String>) {
        let sdk = SdkPorts::new(&[8883, 443], ip(listen), hubs).expect("it goes").expect("ports");
        let hosts = (0..hubs).map(|hub| sdk.hub_host(hub)).collect();
        (sdk.dps_host(), hosts, sdk.places().map(|(address, _)| address.to_string()).collect())
    }

    #[test]
    fn no_hub_is_told_without_a_dot_and_every_name_leads_to_what_is_bound() {
        for (listen, dps, hub) in [
            ("127.0.0.1", "localhost", "127.0.0.1"),
            ("0.0.0.0", "localhost", "127.0.0.1"),
            ("::ffff:127.0.0.1", "localhost", "127.0.0.1"),
            ("127.0.0.5", "127.0.0.5", "127.0.0.5"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ] {
            let (told, hubs, bound) = places(listen, 1);
            assert_eq!((&*told, &*hubs), (dps, &[Some(hub.to_owned())][..]), "{listen}");
            let address = ip(listen).to_canonical();
            assert_eq!(bound, [format!("{address}:8883"), format!("{address}:443")]);
        }
        let (told, hubs, bound) = places("127.0.0.1", 254);
        assert_eq!(
            (&*told, hubs[0].as_deref(), hubs[252].as_deref()),
            ("localhost", Some("127.0.0.2"), Some("127.0.0.254"))
        );
        assert_eq!((hubs[253].as_deref(), bound.len()), (None, 2 * 254));
    }

    #[test]
    fn addresses_to_which_no_name_leads_every_sdk_are_refused() {
        assert!(SdkPorts::new(&[], ip("::1"), 3).expect("nobody asked for it").is_none());
        for (listen, hubs, refused) in [
            ("::1", 1, NoSdkPorts::Ipv6 as fn(IpAddr) -> NoSdkPorts),
            ("::", 1, NoSdkPorts::Ipv6),
            ("127.0.0.5", 2, NoSdkPorts::OneAddress),
            ("0.0.0.0", 2, NoSdkPorts::OneAddress),
        ] {
            let error = SdkPorts::new(&[443], ip(listen), hubs).err();
            assert_eq!(error, Some(refused(ip(listen))), "{listen}");
        }
    }

    #[test]
    fn localhost_is_said_only_where_it_leads() {
        for (address, told) in [
            ("127.0.0.1:8444", "localhost:8444"),
            ("0.0.0.0:8444", "localhost:8444"),
            ("[::]:8444", "localhost:8444"),
            ("[::ffff:127.0.0.1]:8444", "localhost:8444"),
            ("127.0.0.5:8444", "127.0.0.5:8444"),
            ("[::1]:8444", "[::1]:8444"),
            ("192.0.2.7:8444", "192.0.2.7:8444"),
        ] {
            assert_eq!(dialable(address.parse().expect("an address")), told);
        }
    }
}
