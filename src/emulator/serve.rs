//! The emulator on the network: worker threads on sockets, or tasks on the network inside the process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::sync::watch;

use super::certificates::{self, CertificateError};
use super::channel::{HubAddress, Ready, StampQueue};
use super::config::Config;
use super::door::{Door, Means};
use super::ledger::{Counters, Ledger};
use super::service::{ConfigError, HubNames, Service};
use crate::net::accept::{self, Acceptor};
use crate::net::memory::MemoryNetwork;
use crate::time::{Clock, Instant};

/// The name of the emulated DPS; looks like a host and can never be one.
pub const DPS_HOST: &str = "dps.emulator.localhost";

/// How the emulator is put on the network.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads, at least 1. Each accepts for itself.
    pub threads: usize,
    /// The address for everything. `None`: 127.0.0.1, and on Linux, where it goes without set-up, each hub on a loopback
    /// address of its own (127.0.0.2, ...), so that clients do not run out of ports towards one address. Whether an
    /// address that other machines can reach is allowed is the caller's to decide: [`accept::require_loopback`].
    pub listen: Option<IpAddr>,
    /// Port of DPS; 0 takes a free one.
    pub dps_port: u16,
    /// Ports of the hubs in their order; a free one for 0 and for hubs beyond the list.
    pub hub_ports: Vec<u16>,
    /// Where certificates are kept; made anew at each start if `None`.
    pub certificate_dir: Option<PathBuf>,
    /// What registrations are told as `assignedHub`.
    pub advertise: Advertise,
    /// TLS sessions that a client may resume, per connection; 0 (the default) makes every handshake a full one.
    pub tls13_tickets: usize,
}

/// What registrations are told as `assignedHub`. Tokens for either form are always accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Advertise {
    /// The hub's configured host, for a client that knows where to find it.
    #[default]
    Name,
    /// `localhost:PORT` (or `ADDRESS:PORT` where not listening on loopback), for any client to dial.
    Address,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            listen: None,
            dps_port: 0,
            hub_ports: Vec::new(),
            certificate_dir: None,
            advertise: Advertise::default(),
            tls13_tickets: 0,
        }
    }
}

/// Why the emulator does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be emulated.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {source}{}", bind_remedy(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Key and certificate do not go together.
    #[error("the server's certificate and key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// A thread or its runtime is refused.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[source] io::Error),
}

/// A running emulator. [`Running::stop`] ends it; so does dropping this, without waiting for its threads.
pub struct Running {
    dps: SocketAddr,
    hubs: Vec<HubAddress>,
    ca_pem: String,
    books: Books,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the emulator and returns when it accepts connections.
///
/// # Errors
/// [`StartError`] says what is in the way. Nothing is left running then.
pub fn start(config: &Config, options: &Options, clock: Clock) -> Result<Running, StartError> {
    let threads = options.threads.max(1);
    let is_spread =
        options.listen.is_none() && options.advertise == Advertise::Name && cfg!(target_os = "linux");
    let listen = options.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let dps = bind(SocketAddr::new(listen, options.dps_port), threads)?;
    let mut entrances = vec![dps];
    for index in 0..config.hubs.len() {
        let last = u8::try_from(index + 2).ok().filter(|last| is_spread && *last < u8::MAX);
        let address = last.map_or(listen, |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
        let port = options.hub_ports.get(index).copied().unwrap_or(0);
        entrances.push(bind(SocketAddr::new(address, port), threads)?);
    }
    let hubs: Vec<HubAddress> = config
        .hubs
        .iter()
        .zip(&entrances[1..])
        .map(|(hub, entrance)| HubAddress {
            name: hub.name.clone(),
            host: match options.advertise {
                Advertise::Name => hub.host.clone(),
                Advertise::Address => dialable(entrance.address),
            },
            address: entrance.address,
        })
        .collect();
    let service = Arc::new(Service::new(config, &hubs.iter().map(names).collect::<Vec<_>>())?);
    let made = certificate(config, options, &hubs, listen, &clock)?;
    let tls = accept::server_config(made.chain, made.key, options.tls13_tickets)?;
    let dps = entrances[0].address;
    let books = Books::new(service, threads, config.stamps);
    let (stop, stopping) = watch::channel(false);
    let mut running = Running { dps, hubs, ca_pem: made.ca_pem, books, stop, threads: Vec::new() };
    for index in 0..threads {
        let worker = Worker {
            listeners: entrances.iter_mut().filter_map(|entrance| entrance.listeners.pop()).collect(),
            tls: Arc::clone(&tls),
            clock: clock.clone(),
            service: Arc::clone(&running.books.service),
            counters: Arc::clone(&running.books.counters[index]),
            stamps: running.books.stamps.get(index).cloned(),
            seed: config.seed,
            stopping: stopping.clone(),
        };
        match worker.start(index) {
            Ok(thread) => running.threads.push(thread),
            Err(error) => {
                running.stop();
                return Err(StartError::Thread(error));
            }
        }
    }
    Ok(running)
}

impl Running {
    /// Where DPS listens.
    pub fn dps(&self) -> SocketAddr {
        self.dps
    }

    /// The hubs, in the order of [`Config::hubs`].
    pub fn hubs(&self) -> &[HubAddress] {
        &self.hubs
    }

    /// The authority that clients have to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// All of the above, as the channel tells it.
    pub fn ready(&self) -> Ready {
        Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            dps: self.dps,
            hubs: self.hubs.clone(),
            ca_pem: self.ca_pem.clone(),
        }
    }

    /// The books at this moment.
    pub fn ledger(&self) -> Ledger {
        self.books.ledger()
    }

    /// The rules that are served, for what no device can ask: to freeze the service, disable a device.
    pub fn service(&self) -> &Arc<Service> {
        &self.books.service
    }

    /// Where the workers' stamps wait; empty unless [`Config::stamps`].
    pub fn stamps(&self) -> &[Arc<StampQueue>] {
        &self.books.stamps
    }

    /// Ends all connections and threads; the last books.
    pub fn stop(&mut self) -> Ledger {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A worker that panicked has told so on standard error, and its counts are still there.
            let _ = thread.join();
        }
        self.ledger()
    }
}

/// An emulator on the network inside the process. Its tasks end with the runtime.
pub struct InMemory {
    books: Books,
}

/// Serves DPS as [`DPS_HOST`] and every hub under its host, in tasks of the current runtime.
///
/// # Errors
/// [`ConfigError`] when the configuration cannot be emulated.
///
/// # Panics
/// Outside of a runtime that runs local tasks.
pub fn serve_in_memory(
    config: &Config,
    clock: &Clock,
    network: &MemoryNetwork,
) -> Result<InMemory, ConfigError> {
    let books = Books::new(Arc::new(Service::new(config, &[])?), 1, config.stamps);
    let counters = Arc::clone(&books.counters[0]);
    let stamps = books.stamps.first().cloned();
    let door = Door::new(Means {
        service: Arc::clone(&books.service),
        clock: clock.clone(),
        counters: Arc::clone(&counters),
        stamps,
        seed: config.seed,
    });
    let hosts = config.hubs.iter().enumerate().map(|(index, hub)| (hub.host.as_str(), Some(index)));
    for (host, entrance) in std::iter::once((DPS_HOST, None)).chain(hosts) {
        let mut listener = network.listen(host);
        let (door, counters) = (Rc::clone(&door), Arc::clone(&counters));
        tokio::task::spawn_local(async move {
            while let Some(stream) = listener.accept().await {
                counters.connections.add(1);
                tokio::task::spawn_local(Rc::clone(&door).serve(stream, entrance));
            }
        });
    }
    Ok(InMemory { books })
}

impl InMemory {
    /// The books at this moment.
    pub fn ledger(&self) -> Ledger {
        self.books.ledger()
    }

    /// Lets every request that arrives in `from` .. `until` wait for `until`.
    pub fn freeze(&self, from: Instant, until: Instant) {
        self.books.service.freeze(from, until);
    }

    /// The rules that are served.
    pub fn service(&self) -> &Arc<Service> {
        &self.books.service
    }

    /// Stamps since the last call, as lines of the channel; empty unless [`Config::stamps`].
    pub fn take_stamps(&self) -> String {
        let mut lines = String::new();
        if let Some(queue) = self.books.stamps.first() {
            queue.swap(&mut lines);
        }
        lines
    }
}

/// The service and what its workers count.
struct Books {
    service: Arc<Service>,
    counters: Vec<Arc<Counters>>,
    stamps: Vec<Arc<StampQueue>>,
}

impl Books {
    fn new(service: Arc<Service>, threads: usize, has_stamps: bool) -> Self {
        let counters = (0..threads).map(|_| Arc::new(Counters::new(service.hub_count()))).collect();
        let queues = if has_stamps { threads } else { 0 };
        Self { service, counters, stamps: (0..queues).map(|_| Arc::default()).collect() }
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::sum(&self.service, self.counters.iter().map(Arc::as_ref));
        ledger.lost_stamps = self.stamps.iter().map(|queue| queue.lost()).sum();
        ledger
    }
}

/// A bound address with one listener for each thread.
struct Entrance {
    address: SocketAddr,
    listeners: Vec<TcpListener>,
}

fn bind(address: SocketAddr, threads: usize) -> Result<Entrance, StartError> {
    let failed = |source| StartError::Bind { address, source };
    let listeners = accept::bind(address, threads).map_err(failed)?;
    let address = listeners[0].local_addr().map_err(failed)?;
    Ok(Entrance { address, listeners })
}

fn bind_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; choose another port, or 0 for a free one",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on, or 0 for a free one",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        _ => "",
    }
}

/// All names of a hub besides its configured host.
fn names(hub: &HubAddress) -> HubNames {
    let (ip, port) = (hub.address.ip(), hub.address.port());
    HubNames {
        advertised: hub.host.clone(),
        aliases: vec![
            "localhost".to_owned(),
            format!("localhost:{port}"),
            ip.to_string(),
            hub.address.to_string(),
        ],
    }
}

/// The address as a client on this machine writes it into a URL.
fn dialable(address: SocketAddr) -> String {
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        return format!("localhost:{}", address.port());
    }
    address.to_string()
}

fn certificate(
    config: &Config,
    options: &Options,
    hubs: &[HubAddress],
    listen: IpAddr,
    clock: &Clock,
) -> Result<certificates::Certificates, CertificateError> {
    let mut names: Vec<String> = config.hubs.iter().map(|hub| hub.host.clone()).collect();
    names.extend(hubs.iter().map(|hub| hub.address.ip()).chain([listen]).map(|ip| ip.to_string()));
    match &options.certificate_dir {
        Some(directory) => certificates::keep(directory, &names, clock.wall()),
        None => certificates::make(&names, clock.wall()),
    }
}

/// What one worker thread needs.
struct Worker {
    /// DPS first, then the hubs.
    listeners: Vec<TcpListener>,
    tls: Arc<ServerConfig>,
    clock: Clock,
    service: Arc<Service>,
    counters: Arc<Counters>,
    stamps: Option<Arc<StampQueue>>,
    seed: u64,
    stopping: watch::Receiver<bool>,
}

impl Worker {
    /// Starts the thread and waits until it accepts.
    fn start(self, index: usize) -> io::Result<JoinHandle<()>> {
        let (started, is_started) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("emulator-{index}")).spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            match runtime {
                Ok(runtime) => runtime.block_on(self.run(&started)),
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        is_started.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))?;
        Ok(thread)
    }

    async fn run(mut self, started: &mpsc::Sender<io::Result<()>>) {
        let door = Door::new(Means {
            service: self.service,
            clock: self.clock.clone(),
            counters: Arc::clone(&self.counters),
            stamps: self.stamps,
            seed: self.seed,
        });
        for (index, listener) in self.listeners.into_iter().enumerate() {
            let acceptor = match Acceptor::new(listener, Arc::clone(&self.tls), self.clock.clone()) {
                Ok(acceptor) => acceptor,
                Err(error) => return drop(started.send(Err(error))),
            };
            let (door, counters) = (Rc::clone(&door), Arc::clone(&self.counters));
            tokio::task::spawn_local(accept_all(acceptor, door, counters, index.checked_sub(1)));
        }
        let _ = started.send(Ok(()));
        // Ends when told to, or when nobody is left to tell. Every task ends with the runtime.
        let _ = self.stopping.wait_for(|stop| *stop).await;
    }
}

async fn accept_all(acceptor: Acceptor, door: Rc<Door>, counters: Arc<Counters>, entrance: Option<usize>) {
    loop {
        let connection = acceptor.accept(|_| counters.accept_pauses.add(1)).await;
        counters.connections.add(1);
        let handshake = acceptor.handshake(connection);
        let (door, counters) = (Rc::clone(&door), Arc::clone(&counters));
        tokio::task::spawn_local(async move {
            // Boxed, so that the memory of the handshake is given back while the connection lives.
            match Box::pin(handshake).await {
                Ok(stream) => door.serve(stream, entrance).await,
                Err(_) => counters.handshakes_failed.add(1),
            }
        });
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
