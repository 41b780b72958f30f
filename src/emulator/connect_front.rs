//! A port that looks like an HTTP proxy, for clients that can be told of a proxy and of nothing else.
//!
//! ```text
//! client                                              front
//! CONNECT hub.azure-devices.net:8883 HTTP/1.1  --->   whose host is that?  nobody's: 403, and the end
//!         <---  HTTP/1.1 200 Connection established
//! TLS of the tunnel                            <-->   the emulator itself, as that host
//! ```
//!
//! No connection is ever opened from here: a tunnel ends in this process, and a host that is not the emulator's is refused.
//! A script that knows only `global.azure-devices-provisioning.net`, and dials 8883 whatever it is told, gets here with two
//! variables in its environment and no change: `mqtt_proxy` and `SSL_CERT_FILE`.
//!
//! Source: RFC 9110, section 9.3.6.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::config::Hub;
use super::entrance::{Entrance, Told};
use super::serve::DPS_HOST;
use crate::azure::{dps, hub, mqtt};
use crate::net::dial::Endpoint;
use crate::net::proxy::end_of_head;
use crate::time::Clock;

/// Largest head of a request in bytes.
pub const MAX_HEAD: usize = 8 * 1024;

/// How long a client may take for its request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long a client that is refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Port of HTTPS and WebSockets, at DPS and hub.
const HTTPS_PORT: u16 = 443;

/// What a [`ConnectFront`] lets in.
#[derive(Debug)]
pub struct ConnectFront {
    /// Names of this emulator and of no other, in lower case; `None` for DPS, and for what several hubs share.
    hosts: HashMap<String, Option<usize>>,
    /// Ports of its own listeners; `None` for DPS.
    ports: Vec<(u16, Option<usize>)>,
    /// What is let in, in words.
    allowed: String,
}

/// Why there is no tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The client left before it had asked.
    Gone,
    /// Not a request of HTTP/1, or one without host and port.
    Malformed,
    /// Bytes behind the head, which no client may send before it is answered.
    Early,
    /// Another method than `CONNECT`.
    Method,
    /// A head beyond [`MAX_HEAD`].
    TooLarge,
    /// A head beyond [`HEAD_DEADLINE`].
    Slow,
    /// A host that is not the emulator's, or a port on which none of its hosts is.
    Elsewhere,
}

impl ConnectFront {
    /// A front for a DPS and its hubs.
    ///
    /// * `hubs`: each with its further names, as registrations may be told them
    /// * `ports`: the emulator's own ports, and whose they are; `None` for DPS
    pub fn new<'a>(
        hubs: impl IntoIterator<Item = (&'a Hub, Vec<String>)>,
        ports: Vec<(u16, Option<usize>)>,
    ) -> Self {
        let mut hosts = HashMap::from([(DPS_HOST.to_owned(), None)]);
        let mut shown = Vec::new();
        for (index, (hub, names)) in hubs.into_iter().enumerate() {
            for name in names.iter().chain([&hub.host]) {
                if let Some(host) = Endpoint::parse(name, HTTPS_PORT).map(|endpoint| endpoint.host)
                    && host != LOCALHOST
                {
                    // An address that several hubs share says nothing; the port may.
                    let hub = hosts.entry(host).or_insert(Some(index));
                    if *hub != Some(index) {
                        *hub = None;
                    }
                }
            }
            shown.push(hub.host.as_str());
        }
        let mut allowed = format!("*.{}, *.{}, {LOCALHOST}", dps::DOMAIN, hub::DOMAIN);
        // A status line that lists a hundred hubs would be cut by whoever shows it.
        for host in shown.iter().take(SHOWN_HUBS) {
            allowed.push_str(", ");
            allowed.push_str(host);
        }
        if shown.len() > SHOWN_HUBS {
            allowed.push_str(", ...");
        }
        Self { hosts, ports, allowed }
    }

    /// Takes the request of a connection and lets it in: where the tunnel leads, whose client its peer is from then on.
    ///
    /// Takes at most [`HEAD_DEADLINE`], and [`MAX_HEAD`] of memory.
    ///
    /// # Errors
    /// [`Refused`], which is still to be told: [`ConnectFront::refuse`].
    pub async fn open(
        &self,
        clock: &Clock,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<Entrance, Refused> {
        let deadline = clock.now() + HEAD_DEADLINE;
        let head = clock.until(deadline, read_head(stream)).await.unwrap_or(Err(Refused::Slow));
        let entrance = self.judge(&head?)?;
        // In one piece: clients read it to its last byte before they begin with TLS, and not a byte more.
        let answer = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        match clock.until(deadline, answer).await {
            Some(Ok(())) => Ok(entrance),
            _ => Err(Refused::Gone),
        }
    }

    /// Tells a client why there is no tunnel, and closes. Takes no longer than a second.
    pub async fn refuse(
        &self,
        clock: &Clock,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        refused: Refused,
    ) {
        let Some(answer) = self.answer(refused) else { return };
        let say = async {
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            // What is not read when a socket closes makes it forget what was written.
            let mut rest = [0; 1_024];
            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        };
        let _ = clock.until(clock.now() + FAREWELL, say).await;
    }

    /// Where the tunnel leads that a head asks for.
    fn judge(&self, head: &[u8]) -> Result<Entrance, Refused> {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| Refused::Malformed)?;
        let mut words = line.strip_suffix('\r').unwrap_or(line).split(' ');
        let (Some(method), Some(target), Some("HTTP/1.0" | "HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Refused::Malformed);
        };
        if method != "CONNECT" {
            return Err(Refused::Method);
        }
        // There is no port that would go without saying.
        let target =
            Endpoint::parse(target, 0).filter(|target| target.port != 0).ok_or(Refused::Malformed)?;
        let hub = self.hub_of(&target).ok_or(Refused::Elsewhere)?;
        Ok(Entrance { hub, told: Told::Azure })
    }

    /// The hub that a host and port mean, or `Some(None)` for DPS and for what both share; `None` for others.
    fn hub_of(&self, target: &Endpoint) -> Option<Option<usize>> {
        let is_usual = matches!(target.port, mqtt::PORT | HTTPS_PORT);
        let own = self.ports.iter().find(|(port, _)| *port == target.port).map(|(_, hub)| *hub);
        if let Some(hub) = self.hosts.get(&target.host) {
            let is_address = target.host.parse::<IpAddr>().is_ok();
            let by_port = own.flatten().filter(|_| is_address);
            return (is_usual || own.is_some()).then_some(hub.or(by_port));
        }
        if target.host == LOCALHOST {
            return own.or_else(|| is_usual.then_some(None));
        }
        // A hub that is not here: its device learns it from the answer to its token, as from any other listener.
        let is_azure = [dps::DOMAIN, hub::DOMAIN].into_iter().any(|domain| is_below(&target.host, domain));
        (is_azure && is_usual).then_some(None)
    }

    /// What a client is told; `None` if nobody is there to be told. Nothing that it wrote is repeated.
    fn answer(&self, refused: Refused) -> Option<Vec<u8>> {
        let (status, text, headers) = match refused {
            Refused::Gone => return None,
            Refused::Malformed => (400, "this port takes CONNECT host:port HTTP/1.1".to_owned(), ""),
            Refused::Early => (400, "wait for the answer before using the tunnel".to_owned(), ""),
            Refused::Method => (405, "this port takes CONNECT only".to_owned(), "Allow: CONNECT\r\n"),
            Refused::Slow => (408, "the request took too long".to_owned(), ""),
            Refused::TooLarge => (431, format!("the request has more than {MAX_HEAD} bytes"), ""),
            Refused::Elsewhere => {
                (403, format!("the emulator is no open proxy; allowed at 8883 and 443: {}", self.allowed), "")
            }
        };
        // The reason stands in the status line as well: some clients show nothing else.
        let length = text.len() + 1;
        Some(
            format!(
                "HTTP/1.1 {status} {text}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
                 {headers}Connection: close\r\n\r\n{text}\n"
            )
            .into_bytes(),
        )
    }
}

/// Reads a head and nothing behind it.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Refused> {
    let mut head = vec![0; MAX_HEAD];
    let mut taken = 0;
    loop {
        let read = stream.read(&mut head[taken..]).await.map_err(|_| Refused::Gone)?;
        if read == 0 {
            return Err(if taken == MAX_HEAD { Refused::TooLarge } else { Refused::Gone });
        }
        let known = taken;
        taken += read;
        // TLS without a tunnel, most likely: its end would never come.
        if !head[0].is_ascii_uppercase() {
            return Err(Refused::Malformed);
        }
        if let Some(end) = end_of_head(&head[..taken], known) {
            head.truncate(taken);
            return if end == taken { Ok(head) } else { Err(Refused::Early) };
        }
    }
}

/// Whether a name is below a domain, both in lower case.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
}

/// The name of this machine.
const LOCALHOST: &str = "localhost";

/// How many hubs are named to who asks for another.
const SHOWN_HUBS: usize = 4;

#[cfg(test)]
#[path = "connect_front_tests.rs"]
mod tests;
