//! Opening connections, with a stamp per phase.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::failure::classify;
use super::memory::MemoryNetwork;
use super::stream::Stream;
use super::tls::Tls;
use super::trust::ClientTls;
use super::way::Way;
use crate::step::{Class, Failure, Phase};
use crate::time::{Clock, Instant};

/// A host name or address with its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Reads `host`, `host:port`, `1.2.3.4:port`, `[::1]:port`; `None` when that is not what the text is.
    ///
    /// The text may come from a server: anything but letters, digits, `.`, `-` and `_` in a name is refused.
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = match rest {
                "" => default_port,
                _ => parse_port(rest.strip_prefix(':')?)?,
            };
            return Some(Self { host: address.to_string(), port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, default_port),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) || host.starts_with(['.', '-']) {
            return None;
        }
        Some(Self { host: host.to_ascii_lowercase(), port })
    }

    /// Whether this is certainly this machine: `localhost`, a name below it (RFC 6761), 127.0.0.0/8 or ::1. Names that
    /// only happen to resolve there do not count.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => is_localhost(&self.host),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|port| *port > 0)
}

/// Whether a name is `localhost` or below it.
pub(super) fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// How the connections of one thread are made. Clones share what they know.
#[derive(Clone)]
pub enum Network {
    /// Over TCP and TLS.
    Sockets(Rc<Sockets>),
    /// Inside the process (simulated runs).
    Memory(MemoryNetwork),
}

/// See [`Network::Sockets`].
pub struct Sockets {
    tls: ClientTls,
    /// Where the bytes for a host go.
    way: Arc<Way>,
    /// Answers of the resolver. A thread asks once per name and [`DNS_CACHE`], and others wait for that answer: thousands
    /// of devices in one process would otherwise measure the resolver of this machine.
    resolved: RefCell<HashMap<Endpoint, Rc<LookUp>>>,
}

/// The last answer of the resolver for one name, locked while it is being asked.
type LookUp = tokio::sync::Mutex<Option<(Instant, Result<SocketAddr, Failure>)>>;

/// How long a looked-up address is used.
const DNS_CACHE: Duration = Duration::from_secs(60);

/// How long a failed look-up is believed.
const DNS_FAILURE_CACHE: Duration = Duration::from_secs(1);

/// A connection that is ready to use.
pub struct Dialled {
    /// Its bytes.
    pub stream: Stream,
    /// The phases it went through and how long each took.
    pub phases: Vec<(Phase, Duration)>,
}

impl Network {
    /// TCP and TLS, on the given way.
    pub fn sockets(tls: ClientTls, way: Arc<Way>) -> Self {
        Self::Sockets(Rc::new(Sockets { tls, way, resolved: RefCell::default() }))
    }

    /// Whether what is sent to `endpoint` certainly stays on this machine.
    pub fn stays_here(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Sockets(sockets) => sockets.way.stays_here(endpoint),
            Self::Memory(_) => true,
        }
    }

    /// Opens a connection. The caller bounds the time it may take.
    ///
    /// * `only_tls12`: offers TLS 1.2 only
    ///
    /// # Errors
    /// A [`Failure`] that tells the phase by its class.
    pub async fn dial(
        &self,
        clock: &Clock,
        endpoint: &Endpoint,
        only_tls12: bool,
    ) -> Result<Dialled, Failure> {
        match self {
            Self::Sockets(sockets) => sockets.dial(clock, endpoint, only_tls12).await,
            Self::Memory(network) => match network.dial(&endpoint.host) {
                Some(stream) => Ok(Dialled { stream, phases: Vec::new() }),
                None => Err(Failure::new(Class::Refused, &format!("nobody listens as {endpoint}"))),
            },
        }
    }
}

impl Sockets {
    async fn dial(&self, clock: &Clock, endpoint: &Endpoint, only_tls12: bool) -> Result<Dialled, Failure> {
        let mut phases = Vec::with_capacity(4);
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| Failure::new(Class::DnsFailed, &format!("{} is not a host name", endpoint.host)))?;
        let target = self.way.target(endpoint);
        let proxy = self.way.proxy.as_ref();
        // With a proxy the target's name is its business: here it may well have no address.
        let told = |failure: Failure| match proxy {
            Some(proxy) => proxy.told(&failure),
            None => failure,
        };
        let address = self.resolve(clock, &self.way.peer(&target), &mut phases).await.map_err(told)?;
        let start = clock.now();
        let mut tcp = TcpStream::connect(address).await.map_err(|error| told(classify(&error)))?;
        tcp.set_nodelay(true).map_err(|error| classify(&error))?;
        let mut connected = clock.now();
        phases.push((Phase::Tcp, connected.since(start)));
        if let Some(proxy) = proxy {
            let start = connected;
            proxy.open(&mut tcp, &target).await?;
            connected = clock.now();
            phases.push((Phase::Proxy, connected.since(start)));
        }
        let config = if only_tls12 { &self.tls.only_12 } else { &self.tls.any };
        let session = UnbufferedClientConnection::new(Arc::clone(config), name)
            .map_err(|error| classify(&io::Error::other(error)))?;
        let tls = Tls::handshake(session, tcp).await.map_err(|error| classify(&error))?;
        phases.push((Phase::Tls, clock.now().since(connected)));
        Ok(Dialled { stream: Stream::TlsClient(Box::new(tls)), phases })
    }

    async fn resolve(
        &self,
        clock: &Clock,
        endpoint: &Endpoint,
        phases: &mut Vec<(Phase, Duration)>,
    ) -> Result<SocketAddr, Failure> {
        if let Ok(address) = endpoint.host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, endpoint.port));
        }
        let look_up = Rc::clone(self.resolved.borrow_mut().entry(endpoint.clone()).or_default());
        let mut answer = look_up.lock().await;
        let start = clock.now();
        if let Some((at, known)) = &*answer {
            let life = if known.is_ok() { DNS_CACHE } else { DNS_FAILURE_CACHE };
            if start.since(*at) < life {
                return known.clone();
            }
        }
        let fresh = ask(endpoint).await;
        let answered = clock.now();
        phases.push((Phase::Dns, answered.since(start)));
        *answer = Some((answered, fresh.clone()));
        fresh
    }
}

async fn ask(endpoint: &Endpoint) -> Result<SocketAddr, Failure> {
    let failed = |reason: &str| Failure::new(Class::DnsFailed, &format!("{}: {reason}", endpoint.host));
    let mut addresses =
        tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await.map_err(|error| {
            // A shortage of this machine is not the resolver's fault.
            if error.raw_os_error().is_some() { classify(&error) } else { failed(&error.to_string()) }
        })?;
    addresses.next().ok_or_else(|| failed("no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_port() {
        for (text, host, port) in [
            ("Hub.azure-devices.net", "hub.azure-devices.net", 443),
            ("localhost:8443", "localhost", 8443),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:8443", "::1", 8443),
            ("[::1]", "::1", 443),
        ] {
            assert_eq!(Endpoint::parse(text, 443), Some(Endpoint { host: host.into(), port }), "{text}");
        }
    }

    #[test]
    fn hostile_host_names_are_refused() {
        for text in [
            "",
            ":443",
            "evil.example:22/..",
            "a b",
            "a\r\nb",
            "user@host",
            "host:0",
            "host:99999",
            "host:+1",
            "host:",
            "http://host",
            "[::1",
            "[host]",
            ".host",
            "-host",
            "hö.st",
        ] {
            assert_eq!(Endpoint::parse(text, 443), None, "{text:?}");
        }
    }

    #[test]
    fn only_certain_names_and_addresses_are_this_machine() {
        let loopback = |text: &str| Endpoint::parse(text, 1).expect(text).is_loopback();
        for text in ["localhost", "north.azure-devices.localhost", "127.0.0.9", "[::1]"] {
            assert!(loopback(text), "{text}");
        }
        for text in ["localhost.example.com", "128.0.0.1", "notlocalhost", "10.0.0.1", "[::2]"] {
            assert!(!loopback(text), "{text}");
        }
    }
}
