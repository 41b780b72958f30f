//! Everything an emulator is told: services, hubs, enrollments. No protocol and no socket in here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::drive::Drive;
use super::listed::Listed;
use super::twin::{Twin, TwinError};
use crate::azure::keys::KeyError;
use crate::azure::limits::HubSize;
use crate::payload::IdForm;
use crate::rng::Distribution;
use crate::text::Secret;
use crate::time::UnixTime;
use crate::units::Rate;

/// A whole emulated DPS with its hubs.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the emulator draws comes from here, keyed by device, never by order of arrival.
    pub seed: u64,
    /// Id scope of the DPS.
    pub id_scope: String,
    /// How DPS behaves.
    pub dps: Dps,
    /// The linked hubs, at least one, names distinct.
    pub hubs: Vec<Hub>,
    /// How hubs are chosen where an enrollment does not say.
    pub allocation: Allocation,
    /// Who may register.
    pub enrollments: Vec<Enrollment>,
    /// Whether each message's residence is written to the channel.
    pub stamps: bool,
    /// Forms of message ids: which of the messages of each device arrived is kept for those that have such an id. Nothing is kept
    /// if there are none.
    pub message_ids: Vec<IdForm>,
    /// The keys of the services' own policies; nobody gets at their APIs if `None`.
    pub service_keys: Option<ServiceKeys>,
    /// Traffic from the cloud that the emulator makes itself.
    pub drive: Drive,
}

/// Keys of the shared access policies that the services' APIs ask for, base64 as the portal shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceKeys {
    /// Of every hub's policy `iothubowner`.
    pub hub: Secret,
    /// Of DPS's policy `provisioningserviceowner`.
    pub dps: Secret,
}

/// How the emulated DPS behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dps {
    /// `Retry-After` of 202 replies, whole seconds; absent if `None`.
    pub retry_after: Option<u64>,
    /// Polls of an operation that are answered `assigning` before its result is, at least; drawn per registration.
    pub polls: Distribution,
    /// Seconds from a registration's arrival until its assignment is decided; drawn per registration.
    pub assign: Distribution,
    /// Registrations that it admits; with a limit, a device's polls are limited too. Unlimited if `None`.
    pub registrations: Option<Rate>,
}

impl Dps {
    /// The longest assignment delay that a draw may give.
    pub const MAX_ASSIGN: Duration = Duration::from_secs(3_600);
}

impl Default for Dps {
    /// The real service's `Retry-After`, an assignment that is decided by the first poll, and no limit.
    fn default() -> Self {
        Self {
            retry_after: Some(3),
            polls: Distribution::Constant(0.0),
            assign: Distribution::Lognormal { median: 0.8, p99: 2.5 },
            registrations: None,
        }
    }
}

/// One emulated IoT Hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hub {
    /// Short name, as in `[emulator.hub.north]`.
    pub name: String,
    /// The host name that tokens and user names carry; looks real and can never be: `north.azure-devices.localhost`.
    pub host: String,
    /// Share of devices under hashed and weighted allocation, relative to the other hubs: 1 to 1000.
    pub weight: u32,
    /// What it admits; without limit if `None`.
    pub size: Option<HubSize>,
    /// Seconds that it takes over a message before it confirms it, besides what its limits cost; drawn per message.
    #[serde(default = "no_delay")]
    pub delay: Distribution,
}

impl Hub {
    /// A hub of weight 1 that admits everything and takes no time over it.
    ///
    /// * `name`, `host`: see the fields
    pub fn new(name: impl Into<String>, host: impl Into<String>) -> Self {
        Self { name: name.into(), host: host.into(), weight: 1, size: None, delay: no_delay() }
    }

    /// The longest delay that a draw may give.
    pub const MAX_DELAY: Duration = Duration::from_secs(3_600);
}

const fn no_delay() -> Distribution {
    Distribution::Constant(0.0)
}

/// How a registration gets its hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// Evenly by weight, from a hash of the registration id: the same device always gets the same hub.
    Hashed,
    /// Drawn by weight for each assignment.
    Weighted,
    /// Always the hub of that short name.
    Static(String),
}

/// Who may register, and with what key.
#[derive(Debug, Clone)]
pub struct Enrollment {
    /// Name, as in `[enrollment.plant]`; the enrollment group id.
    pub name: String,
    /// How devices prove themselves.
    pub attestation: Attestation,
    /// Disabled enrollments refuse every registration.
    pub enabled: bool,
    /// How its devices get their hub; the service's way if `None`.
    pub allocation: Option<Allocation>,
    /// What happens when a device that has a hub registers again.
    pub reprovision: Reprovision,
    /// What its devices' twins begin with; nothing if `None`.
    pub initial_twin: Option<InitialTwin>,
}

/// What a twin begins with. Rules and limits are those of twins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitialTwin {
    /// Tags, which devices do not see.
    pub tags: Map<String, Value>,
    /// Desired properties.
    pub desired: Map<String, Value>,
}

impl InitialTwin {
    /// Whether a twin may begin so.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self) -> Result<(), &'static str> {
        Twin::initial(self, UnixTime::from_nanos(0)).map(drop).map_err(TwinError::text)
    }
}

/// How devices of an enrollment prove themselves. Keys are base64 as the portal shows them.
#[derive(Debug, Clone)]
pub enum Attestation {
    /// Any registration id, with a key derived from one of these.
    Group {
        /// First key.
        primary: Secret,
        /// Second key, equally valid.
        secondary: Option<Secret>,
    },
    /// One registration id with its own key. Comes before any group.
    Individual {
        /// The id it is for.
        registration_id: String,
        /// The device's id at the hub; the registration id if `None`.
        device_id: Option<String>,
        /// First key.
        primary: Secret,
        /// Second key, equally valid.
        secondary: Option<Secret>,
    },
    /// Many registration ids, each with its own keys. Come before any group.
    List(Listed),
}

/// What happens when a device that has a hub registers again.
///
/// Source: <https://learn.microsoft.com/azure/iot-dps/concepts-device-reprovision>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reprovision {
    /// Assigned anew, its data moved along if the hub changes: substatus `deviceDataMigrated`.
    #[default]
    Migrate,
    /// Assigned anew, its data reset: substatus `deviceDataReset`.
    Reset,
    /// Keeps its hub and data: substatus `initialAssignment`.
    Never,
}

/// Why a [`Config`] cannot be emulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No hub at all.
    #[error("the emulator has no hub; configure at least one")]
    NoHub,
    /// Two hubs with one name or host.
    #[error("two hubs are called `{name}`; give each a name and host of its own")]
    SameHub {
        /// The name they share.
        name: String,
    },
    /// Two individual enrollments for one registration.
    #[error("two individual enrollments are for `{registration_id}` (case does not count); remove one")]
    Duplicate {
        /// The registration id, as the second spells it.
        registration_id: String,
    },
    /// A list of devices cannot be used.
    #[error("enrollment `{enrollment}`: {reason}")]
    List {
        /// Name of the enrollment.
        enrollment: String,
        /// Why, with the remedy.
        reason: String,
    },
    /// A key of a service's policy is not one.
    #[error("policy `{policy}`: {source}")]
    Policy {
        /// Name of the policy.
        policy: &'static str,
        /// What is wrong with its key.
        source: KeyError,
    },
    /// No twin can begin so.
    #[error("enrollment `{enrollment}`: its initial twin cannot be: {reason}")]
    InitialTwin {
        /// Name of the enrollment.
        enrollment: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A key is not one.
    #[error("enrollment `{enrollment}`: {source}")]
    Key {
        /// Name of the enrollment.
        enrollment: String,
        /// What is wrong with its key.
        source: KeyError,
    },
}
