//! What DPS and its hubs decide, whatever protocol asks.
//!
//! A front door proves who is asking ([`Service::authenticate_registration`], [`Service::authenticate_device`]) and
//! hands the proof to the operation it wants. A door that keeps a connection open authenticates once.
//!
//! All worker threads share one [`Service`]. Signatures are checked outside of every lock. Whatever is drawn comes from
//! the stream of that registration id and attempt, so that the order in which devices arrive changes nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::allocation::{Allocator, Policy};
use super::config::Config;
use super::enrollments::{Credential, Denied, Enrollments, lower_case};
use super::entrance::{Advertised, HubNames, Told};
use super::hub::Hub;
use super::registrations::{Guid, Linked, NoAnswer, Registrations, Snapshot};
use super::throttle::{DpsThrottle, Excess, HubThrottle, Refused, Tally, Traffic, Verdict};
use super::two_way::TwoWay;
use crate::azure::dps::{RegistrationState, SymmetricKeyResult, error_code, status};
use crate::azure::hub::HubError;
use crate::azure::registration::check_registration_id;
use crate::azure::sas::{Presented, Refusal, dps_resource, hub_resource};
use crate::time::{Instant, UnixTime};

pub use super::config::ConfigError;
pub use super::registrations::OperationId;

mod delay;
mod owner;

/// An emulated DPS with its hubs.
pub struct Service {
    id_scope: String,
    enrollments: Enrollments,
    allocator: Allocator,
    allocation: Policy,
    registrations: Registrations,
    owners: Option<owner::Owners>,
    /// Names what the services' APIs make.
    editions: AtomicU64,
    seed: u64,
    /// `None` if every registration is admitted.
    throttle: Option<DpsThrottle>,
    hubs: Vec<Hub>,
    /// Hubs by every name a token may carry, in lower case; `None` where several share it.
    names: HashMap<String, Option<usize>>,
    assigned: AtomicU64,
    failed: AtomicU64,
    registrations_refused: AtomicU64,
    polls_refused: AtomicU64,
    frozen_from: AtomicU64,
    frozen_until: AtomicU64,
}

/// What a hub knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubFigures<'a> {
    /// Short name.
    pub name: &'a str,
    /// Devices there are now.
    pub devices: u64,
    /// Different devices that have sent.
    pub senders: u64,
    /// What it let wait and refused; `None` if it has no limit.
    pub throttle: Option<Tally>,
    /// Twins, methods, messages from the cloud.
    pub two_way: TwoWay,
}

/// A refusal by DPS: error code, whose first three digits are the HTTP status, and a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DpsRefusal {
    /// One of [`error_code`].
    pub code: i64,
    /// For people.
    pub message: &'static str,
    /// How long the service would like the device to wait, in whole seconds.
    pub retry_after: Option<Duration>,
}

/// A refusal by a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubRefusal {
    /// Code and name.
    pub error: HubError,
    /// For people.
    pub message: &'static str,
}

/// Proof that a registration's token was checked, and how it is to be told of its hub.
#[derive(Debug, Clone)]
pub struct Attested {
    told: Told,
    registration_id: Box<str>,
    lower: Box<str>,
    credential: Credential,
}

/// Proof that a device's token was checked, for one hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubDevice {
    hub: usize,
    device_id: Box<str>,
    expiry: UnixTime,
}

/// Where an operation stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Poll again.
    Assigning {
        /// What to poll.
        operation_id: OperationId,
        /// How long the service would like the device to wait.
        retry_after: Option<Duration>,
    },
    /// Done: assigned, or failed, as the state says.
    Done {
        /// The operation that ended.
        operation_id: OperationId,
        /// Its result.
        state: Box<RegistrationState>,
    },
}

impl Service {
    /// A service as configured, with nobody registered.
    ///
    /// * `names`: one per hub, in the order of [`Config::hubs`]; hubs beyond it go by their host alone
    ///
    /// # Errors
    /// [`ConfigError`] names what cannot be emulated.
    pub fn new(config: &Config, names: &[HubNames]) -> Result<Self, ConfigError> {
        if config.hubs.is_empty() {
            return Err(ConfigError::NoHub);
        }
        let mut by_name = HashMap::new();
        let mut hubs = Vec::new();
        for (index, hub) in config.hubs.iter().enumerate() {
            if hubs.iter().any(|other: &Hub| other.name == hub.name)
                || by_name.insert(hub.host.to_ascii_lowercase(), Some(index)).is_some()
            {
                return Err(ConfigError::SameHub { name: hub.name.clone() });
            }
            let advertised = names
                .get(index)
                .map_or_else(|| Advertised::everywhere(&hub.host), |it| it.advertised.clone());
            let throttle = hub.size.map(HubThrottle::new);
            hubs.push(Hub::new(hub.name.clone(), advertised, throttle, hub.delay));
        }
        for (index, names) in names.iter().enumerate().take(hubs.len()) {
            for name in names.aliases.iter().chain(names.advertised.all()) {
                let hub = by_name.entry(name.to_ascii_lowercase()).or_insert(Some(index));
                if *hub != Some(index) {
                    *hub = None;
                }
            }
        }
        let allocator = Allocator::new(&config.hubs);
        Ok(Self {
            id_scope: config.id_scope.clone(),
            enrollments: Enrollments::new(&config.enrollments, &allocator)?,
            allocation: allocator.policy(&config.allocation),
            allocator,
            registrations: Registrations::new(config.seed, &config.dps),
            owners: config.service_keys.as_ref().map(owner::Owners::new).transpose()?,
            editions: AtomicU64::new(0),
            seed: config.seed,
            throttle: config.dps.registrations.map(DpsThrottle::new),
            hubs,
            names: by_name,
            assigned: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            registrations_refused: AtomicU64::new(0),
            polls_refused: AtomicU64::new(0),
            frozen_from: AtomicU64::new(0),
            frozen_until: AtomicU64::new(0),
        })
    }

    /// Checks a device's claim to a registration: scope, id, enrollment, signature, resource, expiry, in this order.
    ///
    /// # Errors
    /// [`DpsRefusal`] with 404 for the scope, 400 for the id, 403 for a disabled enrollment, 401 for the token.
    pub fn authenticate_registration(
        &self,
        id_scope: &str,
        registration_id: &str,
        token: Option<&str>,
        wall: UnixTime,
    ) -> Result<Attested, DpsRefusal> {
        if !id_scope.eq_ignore_ascii_case(&self.id_scope) {
            return Err(DpsRefusal::new(error_code::NOT_FOUND, "Unknown id scope"));
        }
        if check_registration_id(registration_id).is_err() {
            return Err(DpsRefusal::new(error_code::INVALID_ARGUMENT, "Invalid RegistrationId"));
        }
        let unauthorized = |refusal| DpsRefusal::new(error_code::UNAUTHORIZED, token_text(refusal));
        let token = token
            .ok_or(DpsRefusal::new(error_code::UNAUTHORIZED, "Unauthorized: no token"))
            .and_then(|token| Presented::parse(token).map_err(unauthorized))?;
        let resource = dps_resource(id_scope, registration_id);
        match self.enrollments.authenticate(registration_id, &resource, &token, wall) {
            Ok(credential) => Ok(Attested {
                told: Told::Usual,
                registration_id: registration_id.into(),
                lower: lower_case(registration_id).into(),
                credential,
            }),
            Err(Denied::Token(refusal)) => Err(unauthorized(refusal)),
            Err(Denied::Disabled) => Err(DpsRefusal::new(error_code::DISABLED, "The enrollment is disabled")),
        }
    }

    /// Starts an assignment. Its result is in the answer only if the service is configured to need neither time nor
    /// polls for it.
    ///
    /// # Errors
    /// [`DpsRefusal`] with 429 beyond the limit. Only who has proved himself is charged to it: whether the real service
    /// counts before it checks tokens is unpublished.
    pub fn register(&self, now: Instant, wall: UnixTime, who: &Attested) -> Result<Progress, DpsRefusal> {
        if self.throttle.as_ref().is_some_and(|throttle| !throttle.admits(now)) {
            self.registrations_refused.fetch_add(1, Ordering::Relaxed);
            let refusal = DpsRefusal::new(error_code::THROTTLED, "Too many registrations");
            return Err(DpsRefusal { retry_after: self.registrations.retry_after(), ..refusal });
        }
        let linked = self.linked(&who.credential);
        let (operation_id, snapshot) =
            self.registrations.register(now, wall, &who.registration_id, &who.lower, &who.credential, linked);
        Ok(match snapshot {
            None => self.assigning(operation_id),
            Some(snapshot) => self.progress(operation_id, &snapshot, who.told),
        })
    }

    /// Where an operation stands.
    ///
    /// # Errors
    /// [`DpsRefusal`] with 404 for an operation that is unknown, of another registration, or overtaken by a later one; with
    /// 429 for a device that polls too often, if registrations are limited.
    pub fn poll(&self, now: Instant, who: &Attested, operation_id: &str) -> Result<Progress, DpsRefusal> {
        let linked = self.linked(&who.credential);
        let answer = self.registrations.poll(now, &who.lower, operation_id, linked);
        let (id, snapshot) = answer.map_err(|no_answer| match no_answer {
            NoAnswer::Unknown => DpsRefusal::new(error_code::NOT_FOUND, "Unknown operation"),
            NoAnswer::NotBefore(then) => {
                self.polls_refused.fetch_add(1, Ordering::Relaxed);
                let wait = Duration::from_secs(then.since(now).as_nanos().div_ceil(1_000_000_000) as u64);
                let retry_after = self.registrations.retry_after().map(|usual| usual.max(wait));
                DpsRefusal { retry_after, ..DpsRefusal::new(error_code::THROTTLED, "Too many polls") }
            }
        })?;
        Ok(self.progress(id, &snapshot, who.told))
    }

    /// The last known state of a registration.
    ///
    /// # Errors
    /// [`DpsRefusal`] with 404 if the device has never registered.
    pub fn lookup(&self, now: Instant, who: &Attested) -> Result<RegistrationState, DpsRefusal> {
        let linked = self.linked(&who.credential);
        let snapshot = self
            .registrations
            .lookup(now, &who.lower, linked)
            .ok_or(DpsRefusal::new(error_code::NOT_FOUND, "Registration not found"))?;
        Ok(self.state(&snapshot, who.told))
    }

    /// Checks a device's token for a hub. The token's resource says which hub is meant.
    ///
    /// * `entrance`: the hub whose listener was called, if it was a hub's; decides where several hubs share a name
    ///   (`localhost`)
    ///
    /// # Errors
    /// [`HubRefusal`] with 401 for the token and for a hub that is not here, 404 for an unknown device, 403 for a
    /// disabled one.
    pub fn authenticate_device(
        &self,
        entrance: Option<usize>,
        device_id: &str,
        token: Option<&str>,
        wall: UnixTime,
    ) -> Result<HubDevice, HubRefusal> {
        let unauthorized = |text| HubRefusal { error: HubError::UNAUTHORIZED, message: text };
        let token = token
            .ok_or(Refusal::Malformed)
            .and_then(Presented::parse)
            .map_err(|refusal| unauthorized(token_text(refusal)))?;
        let host = token.resource().split('/').next().unwrap_or_default();
        let index =
            self.hub_of(host, entrance).ok_or(unauthorized("the token is for a hub that is not here"))?;
        let hub = &self.hubs[index];
        // The real hub's answer to an unknown device over HTTPS is not published. 404001 is the code that tells a device
        // to provision itself again, which a bare 401 does not; an emulator has no ids to keep secret.
        let identity = hub
            .identity(device_id)
            .ok_or(HubRefusal { error: HubError::DEVICE_NOT_FOUND, message: "no such device in this hub" })?;
        let verify = |id: &str| {
            let resource = hub_resource(host, id);
            identity.credential.verify_device(device_id, &resource, &token, wall)
        };
        verify(device_id)
            .or_else(|refusal| {
                // Some SDKs quote the id before they quote the whole resource.
                let quoted = utf8_percent_encode(device_id, ID_IN_RESOURCE).to_string();
                if refusal == Refusal::Resource && quoted != device_id {
                    verify(&quoted)
                } else {
                    Err(refusal)
                }
            })
            .map_err(|refusal| unauthorized(token_text(refusal)))?;
        if !identity.enabled {
            return Err(HubRefusal { error: HubError::DEVICE_DISABLED, message: "the device is disabled" });
        }
        Ok(HubDevice { hub: index, device_id: device_id.into(), expiry: token.expiry() })
    }

    /// Whether a device may open a connection to hub number `hub` now. A door asks when the device has proved itself on a
    /// connection for the first time, and lets the device wait as long as the verdict says.
    pub fn admit_connection(&self, hub: usize, now: Instant) -> Verdict {
        match self.hubs.get(hub).and_then(|hub| hub.throttle.as_ref()) {
            None => Verdict::Now,
            Some(throttle) => throttle.admit_connection(now),
        }
    }

    /// Whether hub number `hub` takes a message of `size` bytes, body and properties, now.
    pub fn admit_message(&self, hub: usize, now: Instant, wall: UnixTime, size: u64) -> Verdict {
        self.admit_messages(hub, now, wall, [size])
    }

    /// The same for several messages that come as one; each counts, and all get the same verdict. The sizes are only
    /// looked at if the hub has a limit.
    ///
    /// How the real hub charges a batch is unpublished.
    pub fn admit_messages(
        &self,
        hub: usize,
        now: Instant,
        wall: UnixTime,
        sizes: impl IntoIterator<Item = u64>,
    ) -> Verdict {
        match self.hubs.get(hub).and_then(|hub| hub.throttle.as_ref()) {
            None => Verdict::Now,
            Some(throttle) => throttle.admit_messages(now, wall, sizes),
        }
    }

    /// Whether hub number `hub` takes a request of another kind now: `size` bytes, body and properties.
    ///
    /// # Errors
    /// [`HubRefusal`] with 429 beyond the limit of that kind, 403 beyond the day's quota and where the tier has no such
    /// thing.
    pub fn admit(
        &self,
        hub: usize,
        traffic: Traffic,
        now: Instant,
        wall: UnixTime,
        size: u64,
    ) -> Result<(), HubRefusal> {
        let throttle = self.hubs.get(hub).and_then(|hub| hub.throttle.as_ref());
        throttle.map_or(Ok(()), |throttle| throttle.admit(traffic, now, wall, size)).map_err(|refused| {
            match refused {
                Refused::Excess(excess) => excess.into(),
                Refused::Tier => HubRefusal {
                    error: HubError::NOT_IN_TIER,
                    message: "hubs of this tier have no such operation; use a standard one",
                },
            }
        })
    }

    /// Takes note that messages of a device were accepted. How many is counted by the door, per thread.
    pub fn accept_messages(&self, from: &HubDevice) {
        self.hubs[from.hub].mark_sender(&from.device_id);
    }

    pub(super) fn enrollments(&self) -> &Enrollments {
        &self.enrollments
    }

    /// Hub number `index`, counted from 0.
    pub(super) fn hub(&self, index: usize) -> &Hub {
        &self.hubs[index]
    }

    /// The hub of a device that has proved itself.
    pub(super) fn hub_of_device(&self, device: &HubDevice) -> &Hub {
        &self.hubs[device.hub]
    }

    /// Enables or disables a device in a hub, both by name; `false` if there is no such device.
    pub fn set_device_enabled(&self, hub: &str, device_id: &str, enabled: bool) -> bool {
        let hub = self.hubs.iter().find(|other| other.name == hub);
        hub.is_some_and(|hub| hub.set_enabled(device_id, enabled))
    }

    /// Deletes a device from a hub, both by name; `false` if there is no such device.
    pub fn delete_device(&self, hub: &str, device_id: &str) -> bool {
        let hub = self.hubs.iter().find(|other| other.name == hub);
        hub.is_some_and(|hub| hub.remove(device_id).is_some())
    }

    /// Lets every request that arrives in `from` .. `until` wait for `until`. A later call replaces an earlier one.
    pub fn freeze(&self, from: Instant, until: Instant) {
        // In this order, so that a reader in between sees too short a freeze and never one without end.
        self.frozen_until.store(0, Ordering::SeqCst);
        self.frozen_from.store(from.nanos(), Ordering::SeqCst);
        self.frozen_until.store(until.nanos(), Ordering::SeqCst);
    }

    /// Until when a request that arrived at `arrived` has to wait, if the service was frozen then.
    pub fn held_until(&self, arrived: Instant) -> Option<Instant> {
        let until = self.frozen_until.load(Ordering::Relaxed);
        (arrived.nanos() < until && arrived.nanos() >= self.frozen_from.load(Ordering::Relaxed))
            .then(|| Instant::from_nanos(until))
    }

    /// Number of hubs; they are counted from 0.
    pub fn hub_count(&self) -> usize {
        self.hubs.len()
    }

    /// What each hub knows of itself, in the order of their numbers.
    pub fn hub_figures(&self) -> impl Iterator<Item = HubFigures<'_>> {
        self.hubs.iter().map(|hub| HubFigures {
            name: &hub.name,
            devices: hub.device_count(),
            senders: hub.sender_count(),
            throttle: hub.throttle.as_ref().map(HubThrottle::tally),
            two_way: hub.two_way.sum(),
        })
    }

    /// Registrations and polls that were refused because they were too many.
    pub fn throttled(&self) -> (u64, u64) {
        (self.registrations_refused.load(Ordering::Relaxed), self.polls_refused.load(Ordering::Relaxed))
    }

    /// Registrations that ended with a hub, and without one.
    pub fn assignments(&self) -> (u64, u64) {
        (self.assigned.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// The hub that a token's host means: any of its names, with any port or none.
    pub(super) fn hub_of(&self, host: &str, entrance: Option<usize>) -> Option<usize> {
        let host = lower_case(host);
        let named = |name: &str| match self.names.get(name) {
            Some(Some(index)) => Some(*index),
            Some(None) => entrance,
            None => None,
        };
        named(&host).or_else(|| {
            let (name, port) = host.rsplit_once(':')?;
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            is_port.then(|| named(name)).flatten()
        })
    }

    fn linked<'a>(&'a self, credential: &'a Credential) -> Linked<'a> {
        let entry = credential.entry();
        Linked {
            allocator: &self.allocator,
            policy: entry.allocation.unwrap_or(self.allocation),
            hubs: &self.hubs,
            device_id: credential.device_id(),
            entry,
        }
    }

    fn assigning(&self, operation_id: OperationId) -> Progress {
        Progress::Assigning { operation_id, retry_after: self.registrations.retry_after() }
    }

    fn progress(&self, operation_id: OperationId, snapshot: &Snapshot, told: Told) -> Progress {
        match snapshot.result {
            None => self.assigning(operation_id),
            Some(_) => Progress::Done { operation_id, state: Box::new(self.state(snapshot, told)) },
        }
    }

    /// The state as replies show it; counts the assignment if this question brought it about.
    fn state(&self, snapshot: &Snapshot, told: Told) -> RegistrationState {
        let mut state = RegistrationState {
            registration_id: Some(snapshot.registration_id.to_string()),
            status: Some(status::ASSIGNING.to_owned()),
            ..RegistrationState::default()
        };
        let Some(result) = &snapshot.result else {
            return state;
        };
        let entry = result.credential.entry();
        state.created_date_time_utc = Some(snapshot.created.to_rfc3339(FRACTION_DIGITS));
        state.last_updated_date_time_utc = Some(result.updated.to_rfc3339(FRACTION_DIGITS));
        state.etag = Some(format!("\"{}\"", Guid(result.etag)));
        state.symmetric_key = Some(SymmetricKeyResult {
            enrollment_group_id: entry.is_group().then(|| entry.name.to_string()),
        });
        let counter = match &result.assigned {
            Some((hub, device_id)) => {
                state.status = Some(status::ASSIGNED.to_owned());
                state.substatus = Some(result.substatus.to_owned());
                state.assigned_hub = Some(self.hubs[*hub].advertised.by(told).to_owned());
                state.device_id = Some(device_id.to_string());
                &self.assigned
            }
            None => {
                state.status = Some(status::FAILED.to_owned());
                state.error_code = Some(error_code::NO_HUB);
                state.error_message = Some("No hub is linked that the enrollment may use".to_owned());
                &self.failed
            }
        };
        if snapshot.is_news {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        state
    }
}

impl Attested {
    /// The same, told of its hub in that way; [`Told::Usual`] is what it begins with.
    #[must_use]
    pub fn told(self, told: Told) -> Self {
        Self { told, ..self }
    }
}

impl HubDevice {
    /// Number of its hub, in the order of [`Config::hubs`].
    pub fn hub_index(&self) -> usize {
        self.hub
    }

    /// Its id.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// When the token ceases to prove anything.
    pub fn expiry(&self) -> UnixTime {
        self.expiry
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("id_scope", &self.id_scope).finish_non_exhaustive()
    }
}

impl DpsRefusal {
    /// A refusal with this code and text.
    pub const fn new(code: i64, message: &'static str) -> Self {
        Self { code, message, retry_after: None }
    }
}

impl From<Excess> for HubRefusal {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Rate => Self {
                error: HubError::THROTTLED,
                message: "the hub is over its limit; wait 10 seconds and try again",
            },
            Excess::Quota => Self {
                error: HubError::QUOTA_EXCEEDED,
                message: "the hub has taken all messages of its daily quota; it begins anew at midnight UTC",
            },
        }
    }
}

/// The words for a refused token, alike in both services.
fn token_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed => "Unauthorized: the token is missing or malformed",
        Refusal::Signature => "Unauthorized: the signature does not match any key",
        Refusal::Resource => "Unauthorized: the token is for another resource",
        Refusal::Expired => "Unauthorized: the token has expired",
    }
}

/// What a device id that is quoted on its own has escaped: all but letters, digits and `-._~`.
const ID_IN_RESOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Of the times in replies, as the real service writes them.
const FRACTION_DIGITS: u8 = 7;

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
