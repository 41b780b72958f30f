//! Who may register, and whose signature a token carries.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::allocation::{Allocator, Policy};
use super::config::{Attestation, Enrollment, InitialTwin, Reprovision};
use super::listed::Store;
use super::service::ConfigError;
use super::twin::Twin;
use crate::azure::keys::{GroupKey, KeyError, SigningKey};
use crate::azure::sas::{Presented, Refusal};
use crate::text::Secret;
use crate::time::UnixTime;

/// All enrollments of a DPS. They can change while devices register.
pub(super) struct Enrollments {
    /// By registration id in lower case.
    individual: RwLock<BTreeMap<Box<str>, Arc<Entry>>>,
    lists: Vec<(Arc<Entry>, Arc<Store>)>,
    /// By name. Taken whole by whoever tries their keys, so that nobody waits for him.
    groups: RwLock<Arc<BTreeMap<Box<str>, Arc<Entry>>>>,
}

/// One enrollment, its keys ready for use. Never changed: a new one takes its place, and devices that registered before go
/// on with the keys that they had, as at the real hub.
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) allocation: Option<Policy>,
    pub(super) reprovision: Reprovision,
    pub(super) initial_twin: Option<InitialTwin>,
    pub(super) enabled: bool,
    pub(super) keys: Keys,
    /// As an API says it, with what else it said.
    pub(super) written: Written,
}

/// What only an API wants to know of an enrollment.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    /// Nothing for those of the configuration: they were there before time began.
    pub(super) created: Option<UnixTime>,
    pub(super) updated: Option<UnixTime>,
    /// Counts the changes of all enrollments.
    pub(super) edition: u64,
    /// The policy's name, and the hubs that it was given.
    pub(super) allocation: Option<String>,
    pub(super) hubs: Vec<String>,
}

pub(super) enum Keys {
    Group {
        primary: Key<GroupKey>,
        secondary: Option<Key<GroupKey>>,
    },
    Individual {
        registration_id: Box<str>,
        device_id: Option<Box<str>>,
        primary: Key<SigningKey>,
        secondary: Option<Key<SigningKey>>,
    },
    List(Arc<Store>),
}

/// A key ready for use, and as it was written.
pub(super) struct Key<K> {
    pub(super) ready: K,
    pub(super) text: Secret,
}

/// Whose keys a registration was signed with. The hub checks the device's tokens by the same keys, which are derived
/// again each time: a fleet's keys are never kept.
#[derive(Clone)]
pub(super) struct Credential {
    entry: Arc<Entry>,
    /// For groups: the exact bytes that the key was derived from, if that is not the device id.
    derived_from: Option<Box<str>>,
    /// For lists: the row.
    row: Option<u64>,
}

/// Why nobody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    Token(Refusal),
    Disabled,
}

/// Why an enrollment is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotChanged {
    /// There is none of that name.
    Unknown,
    /// It is not what the caller thinks it is, or there is one where he thinks there is none.
    Changed,
    /// There are as many as may be.
    TooMany,
}

/// What a caller thinks is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Anything,
    /// Something, of whatever edition.
    Something,
    Nothing,
    Edition(u64),
}

impl Expected {
    fn holds(self, edition: Option<u64>) -> bool {
        match self {
            Self::Anything => true,
            Self::Something => edition.is_some(),
            Self::Nothing => edition.is_none(),
            Self::Edition(expected) => edition == Some(expected),
        }
    }
}

impl Enrollments {
    pub(super) fn new(enrollments: &[Enrollment], allocator: &Allocator) -> Result<Self, ConfigError> {
        let (mut individual, mut groups, mut lists) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for enrollment in enrollments {
            let entry = Arc::new(Entry::new(enrollment, allocator)?);
            match &entry.keys {
                Keys::Group { .. } => drop(groups.insert(entry.name.clone(), entry)),
                Keys::Individual { registration_id, .. } => {
                    let id = registration_id.to_ascii_lowercase().into_boxed_str();
                    if individual.contains_key(&id) {
                        return Err(ConfigError::Duplicate { registration_id: registration_id.to_string() });
                    }
                    individual.insert(id, entry);
                }
                Keys::List(store) => {
                    if let Some(registration_id) = store.duplicate() {
                        return Err(ConfigError::Duplicate { registration_id });
                    }
                    lists.push((Arc::clone(&entry), Arc::clone(store)));
                }
            }
        }
        let groups = RwLock::new(Arc::new(groups));
        Ok(Self { individual: RwLock::new(individual), lists, groups })
    }

    /// The individual enrollment of a registration id.
    pub(super) fn individual(&self, registration_id: &str) -> Option<Arc<Entry>> {
        let lower = lower_case(registration_id);
        self.individual.read().unwrap_or_else(PoisonError::into_inner).get(lower.as_ref()).cloned()
    }

    /// The group of that name.
    pub(super) fn group(&self, name: &str) -> Option<Arc<Entry>> {
        self.groups().get(name).cloned()
    }

    /// Individual enrollments in the order of their ids, those after `after`.
    pub(super) fn individuals(&self, after: Option<&str>, most: usize) -> Vec<Arc<Entry>> {
        page(&self.individual.read().unwrap_or_else(PoisonError::into_inner), after, most)
    }

    /// The same with groups.
    pub(super) fn all_groups(&self, after: Option<&str>, most: usize) -> Vec<Arc<Entry>> {
        page(&self.groups(), after, most)
    }

    /// Puts an enrollment in the place of the one that is there, or where none is.
    pub(super) fn put(&self, entry: Entry, expected: Expected) -> Result<Arc<Entry>, NotChanged> {
        let entry = Arc::new(entry);
        let put = |entries: &mut BTreeMap<Box<str>, Arc<Entry>>, id: Box<str>, most: usize| {
            let edition = entries.get(&id).map(|entry| entry.written.edition);
            if !expected.holds(edition) {
                return Err(NotChanged::Changed);
            }
            if edition.is_none() && entries.len() >= most {
                return Err(NotChanged::TooMany);
            }
            entries.insert(id, Arc::clone(&entry));
            Ok(())
        };
        match &entry.keys {
            Keys::Group { .. } => {
                let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
                put(Arc::make_mut(&mut groups), entry.name.clone(), MAX_GROUPS)?;
            }
            Keys::Individual { registration_id, .. } => {
                let id = registration_id.to_ascii_lowercase().into_boxed_str();
                let mut individual = self.individual.write().unwrap_or_else(PoisonError::into_inner);
                put(&mut individual, id, MAX_INDIVIDUAL)?;
            }
            Keys::List(_) => return Err(NotChanged::Unknown),
        }
        Ok(entry)
    }

    /// Removes an enrollment; who registered with it stays.
    pub(super) fn remove(&self, id: &str, is_group: bool, expected: Expected) -> Result<(), NotChanged> {
        let remove = |entries: &mut BTreeMap<Box<str>, Arc<Entry>>, id: &str| {
            let edition = entries.get(id).map(|entry| entry.written.edition);
            match edition {
                None => Err(NotChanged::Unknown),
                Some(_) if !expected.holds(edition) => Err(NotChanged::Changed),
                Some(_) => {
                    entries.remove(id);
                    Ok(())
                }
            }
        };
        if is_group {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            return remove(Arc::make_mut(&mut groups), id);
        }
        let lower = lower_case(id);
        remove(&mut self.individual.write().unwrap_or_else(PoisonError::into_inner), &lower)
    }

    fn groups(&self) -> Arc<BTreeMap<Box<str>, Arc<Entry>>> {
        Arc::clone(&self.groups.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Finds the enrollment that `token` is signed for.
    ///
    /// An individual enrollment comes before every group, even if it is disabled: that is how one device of a group is
    /// locked out. Groups are told apart by the signature alone.
    ///
    /// Source: <https://learn.microsoft.com/azure/iot-dps/how-to-unprovision-devices>
    pub(super) fn authenticate(
        &self,
        registration_id: &str,
        resource: &str,
        token: &Presented<'_>,
        wall: UnixTime,
    ) -> Result<Credential, Denied> {
        let lower = lower_case(registration_id);
        if let Some(entry) = self.individual(&lower) {
            if !entry.enabled {
                return Err(Denied::Disabled);
            }
            entry.keys.verify(&lower, resource, token, wall).map_err(Denied::Token)?;
            return Ok(Credential { entry, derived_from: None, row: None });
        }
        for (entry, store) in &self.lists {
            let Some(found) = store.find(&lower) else { continue };
            if !entry.enabled {
                return Err(Denied::Disabled);
            }
            let (primary, secondary) = found.keys();
            try_both(&primary, secondary.as_ref(), |key| token.verify(&[key], resource, wall))
                .map_err(Denied::Token)?;
            return Ok(Credential { entry: Arc::clone(entry), derived_from: None, row: Some(found.at) });
        }
        // Whether the service derives from the id as sent or in lower case is not published: both are accepted.
        let spellings = [Some(registration_id), (lower != registration_id).then_some(lower.as_ref())];
        for entry in self.groups().values() {
            for spelling in spellings.into_iter().flatten() {
                match entry.keys.verify(spelling, resource, token, wall) {
                    Err(Refusal::Signature) => {}
                    Err(refusal) => return Err(Denied::Token(refusal)),
                    Ok(()) if !entry.enabled => return Err(Denied::Disabled),
                    Ok(()) => {
                        let derived_from = Some(spelling.into());
                        return Ok(Credential { entry: Arc::clone(entry), derived_from, row: None });
                    }
                }
            }
        }
        Err(Denied::Token(Refusal::Signature))
    }
}

impl Credential {
    /// A device that nobody registered: an API made it, with keys of its own.
    pub(super) fn of_device(device_id: &str, primary: Key<SigningKey>, secondary: Key<SigningKey>) -> Self {
        let keys = Keys::Individual {
            registration_id: device_id.into(),
            device_id: None,
            primary,
            secondary: Some(secondary),
        };
        let entry = Entry {
            name: "".into(),
            allocation: None,
            reprovision: Reprovision::default(),
            initial_twin: None,
            enabled: true,
            keys,
            written: Written::default(),
        };
        Self { entry: Arc::new(entry), derived_from: None, row: None }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Checks a hub token of `device_id`, whose registration left this.
    pub(super) fn verify_device(
        &self,
        device_id: &str,
        resource: &str,
        token: &Presented<'_>,
        wall: UnixTime,
    ) -> Result<(), Refusal> {
        if let (Keys::List(store), Some(row)) = (&self.entry.keys, self.row) {
            let (primary, secondary) = store.row(row).keys();
            return try_both(&primary, secondary.as_ref(), |key| token.verify(&[key], resource, wall));
        }
        let id = self.derived_from.as_deref().unwrap_or(device_id);
        self.entry.keys.verify(id, resource, token, wall)
    }

    /// Both keys of the device in base64, as a registry shows them. Without a second key the first stands for it.
    pub(super) fn device_keys(&self, device_id: &str) -> (Secret, Secret) {
        let id = self.derived_from.as_deref().unwrap_or(device_id);
        let both = |primary: Secret, secondary: Option<Secret>| {
            let secondary = secondary.unwrap_or_else(|| primary.clone());
            (primary, secondary)
        };
        match (&self.entry.keys, self.row) {
            (Keys::Group { primary, secondary }, _) => {
                let derive = |key: &Key<GroupKey>| key.ready.derive(id).to_base64();
                both(derive(primary), secondary.as_ref().map(derive))
            }
            (Keys::Individual { primary, secondary, .. }, _) => {
                both(primary.text.clone(), secondary.as_ref().map(|key| key.text.clone()))
            }
            (Keys::List(store), Some(row)) => store.row(row).key_texts(),
            (Keys::List(_), None) => both(Secret::new(Vec::new()), None),
        }
    }

    /// The device's id at the hub, where it is not the registration id.
    pub(super) fn device_id(&self) -> Option<&str> {
        match (&self.entry.keys, self.row) {
            (Keys::Individual { device_id, .. }, _) => device_id.as_deref(),
            (Keys::List(store), Some(row)) => store.row(row).device_id(),
            _ => None,
        }
    }

    /// The same with no text kept where the device id says it already.
    pub(super) fn for_device(mut self, device_id: &str) -> Self {
        if self.derived_from.as_deref() == Some(device_id) {
            self.derived_from = None;
        }
        self
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("enrollment", &self.entry.name).finish_non_exhaustive()
    }
}

impl Entry {
    fn new(enrollment: &Enrollment, allocator: &Allocator) -> Result<Self, ConfigError> {
        let name = || enrollment.name.clone();
        let key_error = |source| ConfigError::Key { enrollment: name(), source };
        let keys = match &enrollment.attestation {
            Attestation::Group { primary, secondary } => Keys::Group {
                primary: Key::read(primary, GroupKey::from_base64).map_err(key_error)?,
                secondary: optional(secondary, GroupKey::from_base64).map_err(key_error)?,
            },
            Attestation::Individual { registration_id, device_id, primary, secondary } => Keys::Individual {
                registration_id: registration_id.as_str().into(),
                device_id: device_id.as_deref().map(Into::into),
                primary: Key::read(primary, SigningKey::from_base64).map_err(key_error)?,
                secondary: optional(secondary, SigningKey::from_base64).map_err(key_error)?,
            },
            Attestation::List(listed) => {
                let store = listed.store();
                Keys::List(store.map_err(|reason| ConfigError::List { enrollment: name(), reason })?)
            }
        };
        if let Some(initial) = &enrollment.initial_twin
            && let Err(error) = Twin::initial(initial, UnixTime::from_nanos(0))
        {
            return Err(ConfigError::InitialTwin { enrollment: name(), reason: error.text() });
        }
        Ok(Self {
            name: enrollment.name.as_str().into(),
            allocation: enrollment.allocation.as_ref().map(|allocation| allocator.policy(allocation)),
            reprovision: enrollment.reprovision,
            initial_twin: enrollment.initial_twin.clone(),
            enabled: enrollment.enabled,
            keys,
            written: Written::default(),
        })
    }

    /// The twin that its devices begin with.
    pub(super) fn initial_twin(&self, wall: UnixTime) -> Option<Box<Twin>> {
        self.initial_twin.as_ref().and_then(|initial| Twin::initial(initial, wall).ok().flatten())
    }

    pub(super) fn is_group(&self) -> bool {
        matches!(self.keys, Keys::Group { .. })
    }
}

impl Keys {
    /// Checks `token` against both keys, the secondary only if the primary did not sign it.
    fn verify(&self, id: &str, resource: &str, token: &Presented<'_>, wall: UnixTime) -> Result<(), Refusal> {
        match self {
            Self::Individual { primary, secondary, .. } => {
                try_both(primary, secondary.as_ref(), |key| token.verify(&[&key.ready], resource, wall))
            }
            // Whose keys depends on the row.
            Self::List(_) => Err(Refusal::Signature),
            Self::Group { primary, secondary } => try_both(primary, secondary.as_ref(), |key| {
                token.verify(&[&key.ready.derive(id).signing()], resource, wall)
            }),
        }
    }
}

impl<K> Key<K> {
    pub(super) fn read(text: &Secret, parse: impl Fn(&str) -> Result<K, KeyError>) -> Result<Self, KeyError> {
        // Bytes that are no text are not base64 from their start.
        let ready = parse(text.expose_text().unwrap_or("\u{fffd}"))?;
        Ok(Self { ready, text: text.clone() })
    }
}

fn try_both<K>(
    primary: &K,
    secondary: Option<&K>,
    verify: impl Fn(&K) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    match (verify(primary), secondary) {
        (Err(Refusal::Signature), Some(secondary)) => verify(secondary),
        (result, _) => result,
    }
}

fn page(entries: &BTreeMap<Box<str>, Arc<Entry>>, after: Option<&str>, most: usize) -> Vec<Arc<Entry>> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    entries
        .range::<str, _>((start, Bound::Unbounded))
        .take(most)
        .map(|(_, entry)| Arc::clone(entry))
        .collect()
}

/// Registration ids are compared in lower case; nearly all are in it.
pub(super) fn lower_case(id: &str) -> Cow<'_, str> {
    if id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(id.to_ascii_lowercase())
    } else {
        Cow::Borrowed(id)
    }
}

fn optional<K>(
    key: &Option<Secret>,
    parse: impl Fn(&str) -> Result<K, KeyError>,
) -> Result<Option<Key<K>>, KeyError> {
    key.as_ref().map(|key| Key::read(key, parse)).transpose()
}

/// Enrollment groups with symmetric keys that one DPS takes.
///
/// Source: <https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits>
const MAX_GROUPS: usize = 100;

/// Individual enrollments that can be made while the emulator runs. The real service takes a million; an emulator that
/// needs as many has a list.
const MAX_INDIVIDUAL: usize = 100_000;
