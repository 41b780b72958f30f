//! The listening side: sockets bound by hand, and TLS accepted on them.
//!
//! tokio's own `bind` listens with a backlog of 128, which 200 simultaneous connects overflow: their SYNs are repeated
//! after a whole second, and that looks like a slow service. Sockets here have the largest backlog the kernel grants.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, UnbufferedServerConnection};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::stream::Stream;
use super::tls::Tls;
use crate::time::Clock;

/// How long a peer may take for its TLS handshake.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long accepting pauses when the machine is out of descriptors or memory: connections that end meanwhile give some
/// back, and trying at once would only burn the CPU.
const PAUSE: Duration = Duration::from_millis(10);

/// A listener would be reachable from other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} can be reached from other machines, and an emulator trusts generated keys; use a loopback address, or \
     allow it expressly"
)]
pub struct NotLoopback {
    /// The address asked for.
    pub address: IpAddr,
}

/// Refuses addresses that other machines can reach.
///
/// # Errors
/// [`NotLoopback`] for all but loopback addresses.
pub fn require_loopback(address: IpAddr) -> Result<(), NotLoopback> {
    if address.to_canonical().is_loopback() { Ok(()) } else { Err(NotLoopback { address }) }
}

/// Binds `address` once for each of `threads`, so that every thread accepts for itself; port 0 takes a free port, the
/// same for all.
///
/// # Errors
/// What the operating system says; a port on which somebody listens already is refused, whoever that is.
pub fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<TcpListener>> {
    // Sockets that share a port share its connections. Two emulators on one port would each serve half of the devices,
    // so a first socket that does not share looks whether the port is free.
    if address.port() != 0 {
        socket(address, false)?;
    }
    let first = socket(address, SHARED)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < threads {
        let next = if SHARED { socket(address, true)? } else { listeners[0].try_clone()? };
        listeners.push(next);
    }
    Ok(listeners)
}

/// Only Linux spreads connections over sockets that share a port; elsewhere all threads accept from one socket.
const SHARED: bool = cfg!(target_os = "linux");

fn socket(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // The kernel lowers it to net.core.somaxconn.
    socket.listen(i32::MAX)?;
    Ok(socket.into())
}

/// A TLS 1.2 and 1.3 server with one certificate, which asks for none.
///
/// * `tls13_tickets`: sessions that a client may resume, per connection; 0 means no resumption in either version, so
///   that every handshake costs what a fresh device's does
///
/// # Errors
/// When the key does not belong to the certificate.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    tls13_tickets: usize,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.send_tls13_tickets = tls13_tickets;
    config.session_storage = match tls13_tickets {
        0 => Arc::new(NoServerSessionStorage {}),
        _ => ServerSessionMemoryCache::new(RESUMABLE_SESSIONS),
    };
    Ok(Arc::new(config))
}

/// Sessions kept for resumption, where that is wanted at all.
const RESUMABLE_SESSIONS: usize = 16_384;

/// Why an accepted connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Longer than [`HANDSHAKE_DEADLINE`].
    #[error("no TLS session within the deadline")]
    Deadline,
    /// The peer left, or spoke something else than TLS.
    #[error("TLS: {0}")]
    Tls(#[from] io::Error),
}

/// Accepts on one listener, for one thread.
pub struct Acceptor {
    listener: tokio::net::TcpListener,
    tls: Arc<ServerConfig>,
    clock: Clock,
}

impl Acceptor {
    /// Accepts on `listener` as `tls` says.
    ///
    /// # Errors
    /// When the runtime cannot watch the listener.
    pub fn new(listener: TcpListener, tls: Arc<ServerConfig>, clock: Clock) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(Self { listener, tls, clock })
    }

    /// The next TCP connection, without delay of small writes. Never fails: what goes wrong with one connection is told
    /// to `failed`, and a machine out of descriptors makes a pause.
    pub async fn accept(&self, mut failed: impl FnMut(&io::Error)) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((connection, _)) => {
                    // Fails only for a connection that is gone, which its first read will tell.
                    let _ = connection.set_nodelay(true);
                    return connection;
                }
                // The peer left while it waited in the backlog.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    failed(&error);
                    self.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    /// The handshake; in a task of its own, for a peer may take up to [`HANDSHAKE_DEADLINE`].
    ///
    /// # Errors
    /// [`HandshakeError`] when there is no TLS session in the end.
    pub fn handshake(
        &self,
        connection: TcpStream,
    ) -> impl Future<Output = Result<Stream, HandshakeError>> + use<> {
        let session = UnbufferedServerConnection::new(Arc::clone(&self.tls));
        let clock = self.clock.clone();
        async move {
            let session = session.map_err(io::Error::other)?;
            let deadline = clock.now() + HANDSHAKE_DEADLINE;
            let accepting = Tls::handshake(session, connection);
            let tls = clock.until(deadline, accepting).await.ok_or(HandshakeError::Deadline)??;
            Ok(Stream::TlsServer(Box::new(tls)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn all_threads_listen_on_one_port_and_nobody_else_can() {
        let listeners = bind(ANY_PORT, 3).expect("a free port");
        let address = listeners[0].local_addr().expect("an address");
        assert!(listeners.iter().all(|other| other.local_addr().expect("an address") == address));
        let second = bind(address, 1).expect_err("the port is taken");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn only_loopback_addresses_pass_without_leave() {
        for (address, passes) in [
            ("127.0.0.1", true),
            ("127.0.0.17", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("192.168.1.1", false),
        ] {
            assert_eq!(require_loopback(address.parse().expect("an address")).is_ok(), passes, "{address}");
        }
    }
}
