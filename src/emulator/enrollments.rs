//! Who may register, and whose signature a token carries.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::allocation::{Allocator, Policy};
use super::config::{Attestation, Enrollment, Reprovision};
use super::listed::Store;
use super::service::ConfigError;
use crate::azure::keys::{GroupKey, KeyError, SigningKey};
use crate::azure::sas::{Presented, Refusal};
use crate::text::Secret;
use crate::time::UnixTime;

/// All enrollments of a DPS.
pub(super) struct Enrollments {
    entries: Vec<Entry>,
    /// By registration id in lower case.
    individual: HashMap<Box<str>, usize>,
    lists: Vec<(usize, Arc<Store>)>,
    groups: Vec<usize>,
}

/// One enrollment, its keys ready for use.
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) allocation: Option<Policy>,
    pub(super) reprovision: Reprovision,
    enabled: bool,
    keys: Keys,
}

enum Keys {
    Group { primary: GroupKey, secondary: Option<GroupKey> },
    Individual { device_id: Option<Box<str>>, primary: SigningKey, secondary: Option<SigningKey> },
    List(Arc<Store>),
}

/// Whose keys a registration was signed with. The hub checks the device's tokens by the same keys, which are derived
/// again each time: a fleet's keys are never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    enrollment: usize,
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

impl Enrollments {
    pub(super) fn new(enrollments: &[Enrollment], allocator: &Allocator) -> Result<Self, ConfigError> {
        let mut all =
            Self { entries: Vec::new(), individual: HashMap::new(), lists: Vec::new(), groups: Vec::new() };
        for (index, enrollment) in enrollments.iter().enumerate() {
            let key_error = |source| ConfigError::Key { enrollment: enrollment.name.clone(), source };
            let keys = match &enrollment.attestation {
                Attestation::Group { primary, secondary } => {
                    all.groups.push(index);
                    Keys::Group {
                        primary: read(primary, GroupKey::from_base64).map_err(key_error)?,
                        secondary: optional(secondary, GroupKey::from_base64).map_err(key_error)?,
                    }
                }
                Attestation::Individual { registration_id, device_id, primary, secondary } => {
                    let id = registration_id.to_ascii_lowercase().into_boxed_str();
                    if all.individual.insert(id, index).is_some() {
                        return Err(ConfigError::Duplicate { registration_id: registration_id.clone() });
                    }
                    Keys::Individual {
                        device_id: device_id.as_deref().map(Into::into),
                        primary: read(primary, SigningKey::from_base64).map_err(key_error)?,
                        secondary: optional(secondary, SigningKey::from_base64).map_err(key_error)?,
                    }
                }
                Attestation::List(listed) => {
                    let name = enrollment.name.clone();
                    let store =
                        listed.store().map_err(|reason| ConfigError::List { enrollment: name, reason })?;
                    if let Some(registration_id) = store.duplicate() {
                        return Err(ConfigError::Duplicate { registration_id });
                    }
                    all.lists.push((index, Arc::clone(&store)));
                    Keys::List(store)
                }
            };
            all.entries.push(Entry {
                name: enrollment.name.as_str().into(),
                allocation: enrollment.allocation.as_ref().map(|allocation| allocator.policy(allocation)),
                reprovision: enrollment.reprovision,
                enabled: enrollment.enabled,
                keys,
            });
        }
        Ok(all)
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
        if let Some(&enrollment) = self.individual.get(lower.as_ref()) {
            let entry = &self.entries[enrollment];
            if !entry.enabled {
                return Err(Denied::Disabled);
            }
            entry.keys.verify(&lower, resource, token, wall).map_err(Denied::Token)?;
            return Ok(Credential { enrollment, derived_from: None, row: None });
        }
        for (enrollment, store) in &self.lists {
            let Some(found) = store.find(&lower) else { continue };
            if !self.entries[*enrollment].enabled {
                return Err(Denied::Disabled);
            }
            let (primary, secondary) = found.keys();
            try_both(&primary, &secondary, |key| token.verify(&[key], resource, wall))
                .map_err(Denied::Token)?;
            return Ok(Credential { enrollment: *enrollment, derived_from: None, row: Some(found.at) });
        }
        // Whether the service derives from the id as sent or in lower case is not published: both are accepted.
        let spellings = [Some(registration_id), (lower != registration_id).then_some(lower.as_ref())];
        for &enrollment in &self.groups {
            for spelling in spellings.into_iter().flatten() {
                let entry = &self.entries[enrollment];
                match entry.keys.verify(spelling, resource, token, wall) {
                    Err(Refusal::Signature) => {}
                    Err(refusal) => return Err(Denied::Token(refusal)),
                    Ok(()) if !entry.enabled => return Err(Denied::Disabled),
                    Ok(()) => {
                        let derived_from = Some(spelling.into());
                        return Ok(Credential { enrollment, derived_from, row: None });
                    }
                }
            }
        }
        Err(Denied::Token(Refusal::Signature))
    }

    /// Checks a hub token of `device_id`, whose registration left `credential`.
    pub(super) fn verify_device(
        &self,
        credential: &Credential,
        device_id: &str,
        resource: &str,
        token: &Presented<'_>,
        wall: UnixTime,
    ) -> Result<(), Refusal> {
        let id = credential.derived_from.as_deref().unwrap_or(device_id);
        let entry = self.entry(credential);
        if let (Keys::List(store), Some(row)) = (&entry.keys, credential.row) {
            let (primary, secondary) = store.row(row).keys();
            return try_both(&primary, &secondary, |key| token.verify(&[key], resource, wall));
        }
        entry.keys.verify(id, resource, token, wall)
    }

    /// The device's id at the hub, where it is not the registration id.
    pub(super) fn device_id(&self, credential: &Credential) -> Option<&str> {
        match (&self.entry(credential).keys, credential.row) {
            (Keys::Individual { device_id, .. }, _) => device_id.as_deref(),
            (Keys::List(store), Some(row)) => store.row(row).device_id(),
            _ => None,
        }
    }

    pub(super) fn entry(&self, credential: &Credential) -> &Entry {
        &self.entries[credential.enrollment]
    }
}

impl Entry {
    pub(super) fn is_group(&self) -> bool {
        matches!(self.keys, Keys::Group { .. })
    }
}

impl Credential {
    /// The same with no text kept where the device id says it already.
    pub(super) fn for_device(mut self, device_id: &str) -> Self {
        if self.derived_from.as_deref() == Some(device_id) {
            self.derived_from = None;
        }
        self
    }
}

impl Keys {
    /// Checks `token` against both keys, the secondary only if the primary did not sign it.
    fn verify(&self, id: &str, resource: &str, token: &Presented<'_>, wall: UnixTime) -> Result<(), Refusal> {
        match self {
            Self::Individual { primary, secondary, .. } => {
                try_both(primary, secondary, |key| token.verify(&[key], resource, wall))
            }
            // Whose keys depends on the row.
            Self::List(_) => Err(Refusal::Signature),
            Self::Group { primary, secondary } => {
                try_both(primary, secondary, |key| token.verify(&[&key.derive(id).signing()], resource, wall))
            }
        }
    }
}

fn try_both<K>(
    primary: &K,
    secondary: &Option<K>,
    verify: impl Fn(&K) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    match (verify(primary), secondary) {
        (Err(Refusal::Signature), Some(secondary)) => verify(secondary),
        (result, _) => result,
    }
}

/// Registration ids are compared in lower case; nearly all are in it.
pub(super) fn lower_case(id: &str) -> Cow<'_, str> {
    if id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(id.to_ascii_lowercase())
    } else {
        Cow::Borrowed(id)
    }
}

fn read<K>(key: &Secret, parse: impl Fn(&str) -> Result<K, KeyError>) -> Result<K, KeyError> {
    // Bytes that are no text are not base64 from their start.
    parse(key.expose_text().unwrap_or("\u{fffd}"))
}

fn optional<K>(
    key: &Option<Secret>,
    parse: impl Fn(&str) -> Result<K, KeyError>,
) -> Result<Option<K>, KeyError> {
    key.as_ref().map(|key| read(key, parse)).transpose()
}
