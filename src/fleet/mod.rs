//! Carries out a plan: threads, starts, drain, stop. Does not know the emulator.
//!
//! Each thread owns its devices, timers and books; nothing is shared on the way of a message. Once a second a thread hands
//! its interval to whoever runs the fleet.

use std::sync::Arc;

use tokio::sync::watch;

use crate::azure::keys::{DeviceKey, GroupKey};
use crate::device::world::{EndedMessage, Narration};
use crate::list::ListError;
use crate::net::dial::Network;
use crate::net::way::Way;
use crate::plan::{Place, Plan};
use crate::record::{Interval, Record};
use crate::time::{Clock, Instant};

mod roster;
mod thread;

pub use thread::{Share, drive};

/// Everything the fleet is told.
#[derive(Clone)]
pub struct Setup {
    /// What to do.
    pub plan: Arc<Plan>,
    /// What the devices of each population sign with, in the plan's order.
    pub keys: Arc<Vec<DeviceKeys>>,
    /// Where devices go.
    pub destination: Destination,
    /// Zero of the run clock.
    pub epoch: Instant,
    /// How many threads.
    pub threads: usize,
    /// Whether the record is to say what became of each message, where its id holds its number.
    pub keeps_messages: bool,
    /// Told what devices do; called on the fleet's threads.
    pub narrator: Option<Narrator>,
    /// Told of each message that has come to its end; called on the fleet's threads.
    pub witness: Option<Witness>,
}

/// What the devices of one population sign with.
#[derive(Debug, Clone)]
pub enum DeviceKeys {
    /// Keys that are derived from this one.
    Group(GroupKey),
    /// The only device's own.
    Individual {
        /// Its key.
        key: DeviceKey,
        /// Its id at a hub that it reaches without DPS, if that differs from the registration id.
        device_id: Option<String>,
    },
    /// Each with the key in its row of the list.
    Listed,
}

/// Is told what devices do.
pub type Narrator = Arc<dyn Fn(Narration<'_>) + Send + Sync>;

/// Is told of messages that have come to their end.
pub type Witness = Arc<dyn Fn(&EndedMessage) + Send + Sync>;

/// Where devices go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To DPS first.
    Dps {
        /// Where it is.
        place: Place,
        /// As the `Host` header has it.
        host: String,
        /// Id scope.
        id_scope: String,
        /// Patterns of hubs that may be contacted.
        allow: Vec<String>,
    },
    /// To one hub.
    Hub {
        /// Where it is.
        place: Place,
        /// As tokens and headers have it.
        host: String,
    },
}

/// How connections are made on real sockets.
#[derive(Clone)]
pub struct Connections {
    /// TLS, trust included.
    pub tls: crate::net::trust::ClientTls,
    /// Where the bytes for a host go.
    pub way: Arc<Way>,
}

/// What a running fleet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Go on to the planned end.
    Run,
    /// Start nothing more, wait for open answers as long as the plan's drain, and end.
    Interrupt,
    /// End at once.
    Leave,
}

/// What a thread reports once a second.
pub struct Report {
    /// Which thread.
    pub thread: usize,
    /// Seconds of the run clock at the interval's end, rounded; intervals of one second are numbered from 1.
    pub second: u64,
    /// What happened since the last report.
    pub interval: Interval,
    /// Whether this is the thread's last: its devices have all ended.
    pub last: bool,
}

/// Why a fleet could not do its work; a fault of this tool or this machine.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No thread, runtime or timer.
    #[error(
        "cannot start the generator's thread {thread}: {source}; lower --threads or raise the limits of this machine"
    )]
    Start {
        /// Which.
        thread: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A list of devices cannot be read any more.
    #[error(transparent)]
    List(#[from] ListError),
    /// A list of devices became shorter.
    #[error("{0} was changed while the run used it; leave it alone")]
    ListChanged(std::path::PathBuf),
    /// A bug.
    #[error("the generator's thread {0} failed; this is a bug in muster, and its message is above")]
    Panicked(usize),
}

/// A fleet on its own threads.
pub struct Running {
    threads: Vec<std::thread::JoinHandle<Result<Record, FleetError>>>,
}

/// Starts the fleet on `setup.threads` threads.
///
/// * `commands`: obeyed by all threads
/// * `reports`: receives each thread's intervals; ends when the last thread does
///
/// # Errors
/// [`FleetError::Start`] when the operating system refuses a thread.
pub fn start(
    setup: &Setup,
    connections: &Connections,
    commands: &watch::Receiver<Command>,
    reports: &tokio::sync::mpsc::UnboundedSender<Report>,
) -> Result<Running, FleetError> {
    let mut threads = Vec::with_capacity(setup.threads);
    for thread in 0..setup.threads {
        let (setup, connections) = (setup.clone(), connections.clone());
        let (commands, reports) = (commands.clone(), reports.clone());
        let body = move || {
            let failed = |source| FleetError::Start { thread, source };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(Default::default())
                .map_err(failed)?;
            let driven = runtime.block_on(async {
                let share = Share {
                    thread,
                    clock: Clock::machine(),
                    network: Network::sockets(connections.tls, connections.way),
                    commands,
                };
                let report = move |report| {
                    // Nobody listening is no reason to stop: the record holds everything.
                    let _ = reports.send(report);
                };
                drive(&setup, share, report).await
            });
            // A look-up that hangs in the system's resolver is not waited for.
            runtime.shutdown_background();
            driven
        };
        let builder = std::thread::Builder::new().name(format!("fleet-{thread}"));
        threads.push(builder.spawn(body).map_err(|source| FleetError::Start { thread, source })?);
    }
    Ok(Running { threads })
}

impl Running {
    /// Waits for all threads and puts their books together.
    ///
    /// # Errors
    /// [`FleetError`] of the first thread that failed.
    pub fn join(self) -> Result<Record, FleetError> {
        let mut whole: Option<Record> = None;
        let mut trouble = None;
        for (index, thread) in self.threads.into_iter().enumerate() {
            match thread.join().unwrap_or(Err(FleetError::Panicked(index))) {
                Ok(record) => match &mut whole {
                    Some(whole) => whole.merge(&record).expect("threads of one run keep equal books"),
                    None => whole = Some(record),
                },
                Err(error) => {
                    trouble.get_or_insert(error);
                }
            }
        }
        match (trouble, whole) {
            (None, Some(record)) => Ok(record),
            (Some(error), _) => Err(error),
            (None, None) => Err(FleetError::Panicked(0)),
        }
    }
}
