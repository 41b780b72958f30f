//! What a scenario means: no option left open, a function of (scenario, seed). No I/O in here.
//!
//! Devices are never listed: who device `n` of a population is ([`roster::Roster`]), when it starts
//! ([`arrival::Starts`]) and what it sends ([`telemetry::Rhythm`]) is computed, or read from the user's list, when it is
//! needed, on whatever thread or shard it lives.

use std::path::PathBuf;
use std::time::Duration;

use crate::azure::limits::HubSize;
use crate::emulator::config;
use crate::emulator::drive::Drive;
use crate::list::DeviceList;
use crate::net::way::Way;
use crate::text::Secret;
use crate::units::Rate;

pub mod arrival;
pub mod load;
mod questions;
pub mod place;
pub mod roster;
pub mod shard;
pub mod telemetry;
pub mod threshold;

pub use crate::azure::protocol::Protocol;
pub use crate::device::habits::{Behave, Deadlines, Skew, TokenLife};
pub use crate::device::two_way::{Chores, MessageChores, MethodChores, Settle, TwinChores};
pub use arrival::{Arrival, Starts};
pub use place::Place;
pub use roster::{IdPattern, Roster};
pub use shard::Shard;
pub use telemetry::{Offset, OnChange, Rhythm, Telemetry};
pub use threshold::{Gate, Threshold};

/// A run with every question answered.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the scenario: its file name without ending.
    pub name: String,
    /// All chance of the run comes from here.
    pub seed: u64,
    /// Distinguishes runs: `{run}` in id patterns. Eight lower-case hexadecimal digits.
    pub run_id: String,
    /// End of the run clock: what is due later is not planned. `None`: the run ends when every device has finished.
    pub duration: Option<Duration>,
    /// How long to wait for open answers after that.
    pub drain: Duration,
    /// Where the load goes.
    pub target: Target,
    /// Whose keys the devices use.
    pub enrollments: Vec<Enrollment>,
    /// The devices, by population, in the order of the file.
    pub populations: Vec<Population>,
    /// From when on sends are measured, on the run clock; sends due earlier are counted but not in the histograms.
    pub sends_from: Duration,
    /// What makes the run pass.
    pub thresholds: Vec<Threshold>,
    /// How much worse than a baseline it may be. Nothing compares that yet.
    pub gates: Vec<Gate>,
    /// Whether devices tell on standard error what they do.
    pub narrate: bool,
    /// Which of the devices are carried out here; a scenario does not say.
    pub shard: Shard,
}

/// Where the load goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// An emulator that the run starts itself. Its enrollments are filled in when the keys are known.
    Emulator(EmulatorTarget),
    /// A DPS elsewhere, and the hubs that it names.
    Azure(AzureTarget),
    /// No DPS: devices go straight to one hub.
    Hub(HubTarget),
}

/// See [`Target::Emulator`].
#[derive(Debug, Clone)]
pub struct EmulatorTarget {
    /// Id scope of its DPS.
    pub id_scope: String,
    /// How its DPS behaves.
    pub dps: config::Dps,
    /// Its hubs.
    pub hubs: Vec<config::Hub>,
    /// How hubs are chosen where an enrollment does not say.
    pub allocation: config::Allocation,
    /// Traffic from the cloud that it makes itself.
    pub drive: Drive,
}

/// See [`Target::Azure`].
#[derive(Debug, Clone)]
pub struct AzureTarget {
    /// DPS host, with `:port` if it is not the protocol's own.
    pub dps: String,
    /// Id scope.
    pub id_scope: String,
    /// Patterns of hosts that DPS may send devices to; `*` stands for any number of characters.
    pub allow: Vec<String>,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the bytes go: proxy and connect map.
    pub way: Way,
    /// What the hubs are said to be.
    pub stated: Option<HubSize>,
    /// Registrations that the DPS is said to admit.
    pub dps_registrations: Rate,
}

/// See [`Target::Hub`].
#[derive(Debug, Clone)]
pub struct HubTarget {
    /// Hub host, with `:port` if it is not the protocol's own.
    pub host: String,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the bytes go: proxy and connect map.
    pub way: Way,
    /// What the hub is said to be.
    pub stated: Option<HubSize>,
}

impl Target {
    /// Where the bytes go; `None` for the embedded emulator, which says itself where it is.
    pub const fn way(&self) -> Option<&Way> {
        match self {
            Self::Emulator(_) => None,
            Self::Azure(azure) => Some(&azure.way),
            Self::Hub(hub) => Some(&hub.way),
        }
    }
}

/// Whose keys devices use.
#[derive(Debug, Clone)]
pub struct Enrollment {
    /// Name, as in `[enrollment.plant]`.
    pub name: String,
    /// Group or individual, and where the keys are.
    pub keys: Keys,
    /// For the emulator: disabled enrollments refuse every registration.
    pub enabled: bool,
    /// For the emulator: how its devices get their hub.
    pub allocation: Option<config::Allocation>,
    /// For the emulator: what a second registration does.
    pub reprovision: config::Reprovision,
    /// For the emulator: what its devices' twins begin with.
    pub initial_twin: Option<config::InitialTwin>,
}

/// Keys of an enrollment.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Every device's key is derived from this.
    Group {
        /// The group's primary key.
        primary: KeySource,
        /// The group's secondary key, which is as good.
        secondary: Option<KeySource>,
    },
    /// One device's own.
    Individual {
        /// The registration id.
        registration_id: String,
        /// The device's id at the hub, if it differs.
        device_id: Option<String>,
        /// The device's primary key.
        primary: KeySource,
        /// The device's secondary key, which is as good.
        secondary: Option<KeySource>,
    },
    /// Many devices with their own keys, in a file. Where it has no keys, they are made from the seed.
    List(DeviceList),
}

impl Keys {
    /// Whether the primary key is made from the seed.
    pub fn is_generated(&self) -> bool {
        match self {
            Self::Group { primary, .. } | Self::Individual { primary, .. } => {
                matches!(primary, KeySource::Generated)
            }
            Self::List(list) => !list.has_keys(),
        }
    }
}

/// Where a key is to be found. Reading it is the run's business.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Made from the seed; for the emulator only.
    Generated,
    /// In an environment variable of that name.
    Environment(String),
    /// In a file that nobody else may read.
    File(PathBuf),
    /// On standard input.
    Stdin,
    /// Already known (tests).
    Known(Secret),
}

/// Devices that one `[fleet.NAME]` describes.
#[derive(Debug, Clone)]
pub struct Population {
    /// Name, as in `[fleet.sensors]`.
    pub name: String,
    /// How many devices; at least 1.
    pub count: u64,
    /// Who they are.
    pub roster: Roster,
    /// Index in [`Plan::enrollments`].
    pub enrollment: usize,
    /// Which of the enrollment's keys they sign with.
    pub sign_with: SignWith,
    /// When each starts.
    pub arrival: Arrival,
    /// How they register; `None` for a hub target, which has no DPS.
    pub provision: Option<Protocol>,
    /// How they talk to their hub; `None` for devices that only register.
    pub connect: Option<Protocol>,
    /// Until when a step must be done, counted from when it is due.
    pub deadlines: Deadlines,
    /// Whose habits they have.
    pub behave: Behave,
    /// The life of their tokens.
    pub token: TokenLife,
    /// What they believe the time to be.
    pub skew: Skew,
    /// MQTT: a device says that it is there when it has sent nothing for so long, and expects an answer within half of it
    /// again; whole seconds, zero for never.
    pub keep_alive: Duration,
    /// A device whose next message is due later than this closes its hub connection until then; [`Duration::MAX`] for MQTT,
    /// where devices stay connected.
    pub keep_connection: Duration,
    /// What they send; `None` for devices that only connect.
    pub telemetry: Option<Telemetry>,
    /// What they do besides: twins, methods, messages from the cloud.
    pub chores: Chores,
}

impl Population {
    /// When its devices start.
    pub fn starts<'a>(&'a self, plan: &Plan) -> Starts<'a> {
        Starts { arrival: &self.arrival, count: self.count, seed: plan.seed, population: &self.name }
    }
}

/// Which of an enrollment's two keys devices sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignWith {
    /// The primary key.
    #[default]
    Primary,
    /// The secondary key: as in a rotation, when the primary one is about to be replaced.
    Secondary,
}
