//! The emulator on the network: worker threads on sockets, or tasks on the network inside the process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::arrivals::Arrivals;
use super::certificates::{self, CertificateError};
use super::channel::{HubAddress, Ready, StampQueue};
use super::config::Config;
use super::connect_front::ConnectFront;
use super::door::{Door, Means};
use super::drive::Drive;
use super::entrance::{Advertised, Entrance, HubNames, Told, azure_names};
use super::ledger::{Counters, Ledger};
use super::sdk_ports::{NoSdkPorts, SdkPorts, dialable, loopback_of};
use super::service::{ConfigError, Service};
use super::worker::{Behind, Worker};
use crate::azure::dps;
use crate::net::accept;
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
    /// What registrations are told as `assignedHub` at the listeners above.
    pub advertise: Advertise,
    /// Ports at which SDKs look for DPS and hubs and can be told no other: 8883 and 443. Bound on the address for everything
    /// besides what is above, and where there are several hubs, on a loopback address of each; none by default.
    pub sdk_ports: Vec<u16>,
    /// Port of a [`ConnectFront`] on the address for everything; 0 takes a free one. There is none by default.
    pub connect_front: Option<u16>,
    /// TLS sessions that a client may resume, per connection; 0 (the default) makes every handshake a full one.
    pub tls13_tickets: usize,
}

/// What registrations are told as `assignedHub` at the listeners of DPS and hubs. Tokens for either form are always accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Advertise {
    /// The hub's configured host, for a client that knows where to find it.
    #[default]
    Name,
    /// `localhost:PORT` (or `ADDRESS:PORT` where that does not lead here), for any client to dial.
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
            sdk_ports: Vec::new(),
            connect_front: None,
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
    /// A port that SDKs insist on cannot be bound.
    #[error(
        "cannot listen on {address}, where SDKs look for DPS and hubs and can be told no other port: {source}{}; scripts \
         that honour a proxy need no such port: --connect-proxy instead of --sdk-ports",
        sdk_remedy(source)
    )]
    BindSdk {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// No name would lead SDKs to the ports where they look.
    #[error(transparent)]
    NoSdkPorts(#[from] NoSdkPorts),
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
    sdk_dps: Option<String>,
    sdk_hosts: Vec<String>,
    connect_front: Option<SocketAddr>,
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
    let listen = options.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let sdk_ports = SdkPorts::new(&options.sdk_ports, listen, config.hubs.len())?;
    let is_spread =
        options.listen.is_none() && options.advertise == Advertise::Name && cfg!(target_os = "linux");
    let dps = bind(SocketAddr::new(listen, options.dps_port), threads)?;
    let mut listeners = vec![dps.behind(Behind::Door(Entrance::usual(None)))];
    let mut hubs = Vec::new();
    for (index, hub) in config.hubs.iter().enumerate() {
        let address = loopback_of(index).filter(|_| is_spread).map_or(listen, IpAddr::V4);
        let port = options.hub_ports.get(index).copied().unwrap_or(0);
        let bound = bind(SocketAddr::new(address, port), threads)?;
        hubs.push(HubAddress {
            name: hub.name.clone(),
            host: match options.advertise {
                Advertise::Name => hub.host.clone(),
                Advertise::Address => dialable(bound.address),
            },
            address: bound.address,
        });
        listeners.push(bound.behind(Behind::Door(Entrance::usual(Some(index)))));
    }
    let dps = listeners[0].address;
    let sdk = bind_sdk(sdk_ports.as_ref(), threads)?;
    let names = hub_names(config, &hubs, sdk_ports.as_ref());
    let service = Arc::new(Service::new(config, &names)?);
    let connect_front = match options.connect_front {
        None => None,
        Some(port) => {
            let bound = bind(SocketAddr::new(listen, port), threads)?;
            let address = bound.address;
            let ports = std::iter::once((dps.port(), None))
                .chain(hubs.iter().enumerate().map(|(index, hub)| (hub.address.port(), Some(index))));
            let known = config
                .hubs
                .iter()
                .zip(&names)
                .map(|(hub, names)| (hub, names.advertised.all().into_iter().cloned().collect()));
            let front = Arc::new(ConnectFront::new(known, ports.collect()));
            listeners.push(bound.behind(Behind::Front(front)));
            Some(address)
        }
    };
    listeners.extend(sdk);
    let sdk_dps = sdk_ports.as_ref().map(SdkPorts::dps_host);
    let made = certificate(config, options, &listeners, &names, listen, sdk_dps.as_deref(), &clock)?;
    let tls = accept::server_config(made.chain, made.key, options.tls13_tickets)?;
    let books = Books::new(service, threads, config);
    let (stop, stopping) = watch::channel(false);
    let sdk_hosts = match &options.sdk_ports[..] {
        [] => Vec::new(),
        _ => names.iter().map(|names| names.advertised.plain.clone()).collect(),
    };
    let ca_pem = made.ca_pem;
    let mut running =
        Running { dps, hubs, sdk_dps, sdk_hosts, connect_front, ca_pem, books, stop, threads: Vec::new() };
    for index in 0..threads {
        let worker = Worker {
            listeners: listeners.iter_mut().filter_map(Bound::take).collect(),
            tls: Arc::clone(&tls),
            clock: clock.clone(),
            service: Arc::clone(&running.books.service),
            counters: Arc::clone(&running.books.counters[index]),
            stamps: running.books.stamps.get(index).cloned(),
            arrivals: running.books.arrivals.clone(),
            seed: config.seed,
            drive: if index == 0 { config.drive } else { Drive::default() },
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

    /// The name of DPS at [`Options::sdk_ports`], if there are such ports.
    pub fn sdk_dps(&self) -> Option<&str> {
        self.sdk_dps.as_deref()
    }

    /// The hubs' names at [`Options::sdk_ports`], in their order; empty if there are no such ports.
    pub fn sdk_hosts(&self) -> &[String] {
        &self.sdk_hosts
    }

    /// Where the CONNECT front listens, if there is one.
    pub fn connect_front(&self) -> Option<SocketAddr> {
        self.connect_front
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

    /// Which messages of each device arrived; `None` unless [`Config::message_ids`].
    pub fn arrivals(&self) -> Option<&Arc<Arrivals>> {
        self.books.arrivals.as_ref()
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
    let books = Books::new(Arc::new(Service::new(config, &[])?), 1, config);
    let counters = Arc::clone(&books.counters[0]);
    let stamps = books.stamps.first().cloned();
    let door = Door::new(Means {
        service: Arc::clone(&books.service),
        clock: clock.clone(),
        counters: Arc::clone(&counters),
        stamps,
        arrivals: books.arrivals.clone(),
        seed: config.seed,
    });
    if !config.drive.is_none() {
        let (drive, service, clock) = (config.drive, Arc::clone(&books.service), clock.clone());
        tokio::task::spawn_local(async move { drive.run(&service, &clock).await });
    }
    let hosts = config.hubs.iter().enumerate().map(|(index, hub)| (hub.host.as_str(), Some(index)));
    for (host, entrance) in std::iter::once((DPS_HOST, None)).chain(hosts) {
        let mut listener = network.listen(host);
        let entrance = Entrance::usual(entrance);
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

    /// Which messages of each device arrived; `None` unless [`Config::message_ids`].
    pub fn arrivals(&self) -> Option<&Arc<Arrivals>> {
        self.books.arrivals.as_ref()
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
    arrivals: Option<Arc<Arrivals>>,
}

impl Books {
    fn new(service: Arc<Service>, threads: usize, config: &Config) -> Self {
        let counters = (0..threads).map(|_| Arc::new(Counters::new(service.hub_count()))).collect();
        let queues = if config.stamps { threads } else { 0 };
        let stamps = (0..queues).map(|_| Arc::default()).collect();
        Self { service, counters, stamps, arrivals: Arrivals::new(&config.message_ids) }
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::sum(&self.service, self.counters.iter().map(Arc::as_ref));
        ledger.lost_stamps = self.stamps.iter().map(|queue| queue.lost()).sum();
        ledger
    }
}

/// A bound address with one listener for each thread, and what is behind it.
struct Bound<B = Behind> {
    address: SocketAddr,
    listeners: Vec<TcpListener>,
    behind: B,
}

impl<B> Bound<B> {
    fn behind(self, behind: Behind) -> Bound {
        Bound { address: self.address, listeners: self.listeners, behind }
    }
}

impl Bound {
    /// One thread's share.
    fn take(&mut self) -> Option<(TcpListener, Behind)> {
        Some((self.listeners.pop()?, self.behind.clone()))
    }
}

fn bind(address: SocketAddr, threads: usize) -> Result<Bound<()>, StartError> {
    let failed = |source| StartError::Bind { address, source };
    let listeners = accept::bind(address, threads).map_err(failed)?;
    let address = listeners[0].local_addr().map_err(failed)?;
    Ok(Bound { address, listeners, behind: () })
}

/// The listeners of [`Options::sdk_ports`].
fn bind_sdk(sdk: Option<&SdkPorts<'_>>, threads: usize) -> Result<Vec<Bound>, StartError> {
    let place = |(address, hub)| {
        let bound = bind(address, threads).map_err(|error| match error {
            StartError::Bind { address, source } => StartError::BindSdk { address, source },
            other => other,
        })?;
        Ok(bound.behind(Behind::Door(Entrance { hub, told: Told::Plain })))
    };
    sdk.into_iter().flat_map(SdkPorts::places).map(place).collect()
}

fn bind_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; choose another port, or 0 for a free one",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on, or 0 for a free one",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        _ => "",
    }
}

fn sdk_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; end what listens there",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege: setcap cap_net_bind_service=+ep on the program, or sysctl \
             net.ipv4.ip_unprivileged_port_start=443"
        }
        io::ErrorKind::AddrNotAvailable => "; give the loopback interface this address, or serve one hub",
        _ => "",
    }
}

/// All names of the hubs besides their configured hosts.
fn hub_names(config: &Config, hubs: &[HubAddress], sdk: Option<&SdkPorts<'_>>) -> Vec<HubNames> {
    let names = |(index, (hub, azure)): (usize, (&HubAddress, String))| {
        let (ip, port) = (hub.address.ip(), hub.address.port());
        let usual = hub.host.clone();
        HubNames {
            advertised: Advertised {
                plain: sdk.and_then(|sdk| sdk.hub_host(index)).unwrap_or_else(|| usual.clone()),
                usual,
                azure,
            },
            aliases: vec![
                "localhost".to_owned(),
                format!("localhost:{port}"),
                ip.to_string(),
                hub.address.to_string(),
            ],
        }
    };
    hubs.iter().zip(azure_names(&config.hubs)).enumerate().map(names).collect()
}

/// A certificate for every name and address; one that is kept must be good for what SDKs are told.
fn certificate(
    config: &Config,
    options: &Options,
    listeners: &[Bound],
    hubs: &[HubNames],
    listen: IpAddr,
    sdk_dps: Option<&str>,
    clock: &Clock,
) -> Result<certificates::Certificates, CertificateError> {
    let mut names: Vec<String> = config.hubs.iter().map(|hub| hub.host.clone()).collect();
    names.extend(listeners.iter().map(|bound| bound.address.ip()).chain([listen]).map(|ip| ip.to_string()));
    let mut required = Vec::new();
    if let Some(dps) = sdk_dps {
        required.push(dps);
        required.extend(hubs.iter().map(|names| names.advertised.plain.as_str()));
    }
    if options.connect_front.is_some() {
        required.push(dps::GLOBAL_HOST);
        required.extend(hubs.iter().map(|names| names.advertised.azure.as_str()));
    }
    match &options.certificate_dir {
        Some(directory) => certificates::keep(directory, &names, &required, clock.wall()),
        None => certificates::make(&names, clock.wall()),
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
