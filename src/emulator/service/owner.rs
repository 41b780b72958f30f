//! What the services' own APIs ask of [`Service`]: proof of a policy, the registry of devices, enrollments.
//!
//! One policy each, which may do everything: `iothubowner` at the hubs, `provisioningserviceowner` at DPS.

use std::sync::atomic::Ordering;

use super::{DpsRefusal, HubRefusal, Service, lower_case, token_text};
use crate::azure::dps::{RegistrationState, error_code};
use crate::azure::hub::HubError;
use crate::azure::keys::SigningKey;
use crate::azure::registration::check_device_id;
use crate::azure::sas::{DPS_OWNER_POLICY, HUB_OWNER_POLICY, Presented, Refusal};
use crate::emulator::config::ServiceKeys;
use crate::emulator::enrollments::{Credential, Key};
use crate::emulator::entrance::Told;
use crate::emulator::hub::{Edit, Hub, Registered};
use crate::emulator::service::ConfigError;
use crate::emulator::throttle::Traffic;
use crate::rng::{self, Purpose};
use crate::text::Secret;
use crate::time::{Instant, UnixTime};

const NOT_REGISTERED: DpsRefusal = DpsRefusal::new(error_code::NOT_FOUND, "Registration not found");

/// The keys of both policies, ready for use.
pub(super) struct Owners {
    hub: SigningKey,
    dps: SigningKey,
}

impl Owners {
    pub(super) fn new(keys: &ServiceKeys) -> Result<Self, ConfigError> {
        let read = |policy, key: &Secret| {
            let key = SigningKey::from_base64(key.expose_text().unwrap_or("\u{fffd}"));
            key.map_err(|source| ConfigError::Policy { policy, source })
        };
        Ok(Self { hub: read(HUB_OWNER_POLICY, &keys.hub)?, dps: read(DPS_OWNER_POLICY, &keys.dps)? })
    }
}

impl Service {
    /// Checks a token of a hub's policy; the hub that its resource names.
    ///
    /// * `entrance`: as for [`Self::authenticate_device`]
    ///
    /// # Errors
    /// [`HubRefusal`] with 401.
    pub fn authenticate_hub_owner(
        &self,
        entrance: Option<usize>,
        token: Option<&str>,
        wall: UnixTime,
    ) -> Result<usize, HubRefusal> {
        let unauthorized = |message| HubRefusal { error: HubError::UNAUTHORIZED, message };
        let key = self.owners.as_ref().map(|owners| &owners.hub);
        let host =
            verified_host(token, HUB_OWNER_POLICY, key, wall).map_err(|why| unauthorized(token_text(why)))?;
        self.hub_of(&host, entrance).ok_or(unauthorized("the token is for a hub that is not here"))
    }

    /// Checks a token of DPS's policy. Its resource may be any host: there is one DPS, by whatever name it was reached.
    ///
    /// # Errors
    /// [`DpsRefusal`] with 401.
    pub fn authenticate_dps_owner(&self, token: Option<&str>, wall: UnixTime) -> Result<(), DpsRefusal> {
        let key = self.owners.as_ref().map(|owners| &owners.dps);
        match verified_host(token, DPS_OWNER_POLICY, key, wall) {
            Ok(_) => Ok(()),
            Err(why) => Err(DpsRefusal::new(error_code::UNAUTHORIZED, token_text(why))),
        }
    }

    /// Creates or updates a device in hub number `hub`.
    ///
    /// # Errors
    /// [`HubRefusal`] with 400 for its id or a key, 409 if it is there and should not be, 412 if it is not as expected.
    pub(in crate::emulator) fn put_device(
        &self,
        hub: usize,
        device_id: &str,
        keys: [Option<&str>; 2],
        edit: Edit<'_>,
    ) -> Result<Registered, HubRefusal> {
        let invalid = |message| HubRefusal { error: HubError::ARGUMENT_INVALID, message };
        check_device_id(device_id).map_err(|_| invalid("no device may have this id"))?;
        let edition = self.next_edition();
        let read = |text: Secret| {
            Key::read(&text, SigningKey::from_base64)
                .map_err(|_| invalid("a key is not 16 to 64 bytes of base64"))
        };
        let given = keys.map(|key| key.filter(|key| !key.is_empty()));
        let credential = match given {
            [None, None] => None,
            given => {
                let made = |n: usize| self.made_key(device_id, 2 * edition + n as u64);
                let [primary, secondary] = [0, 1]
                    .map(|n| given[n].map_or_else(|| made(n), |key| Secret::new(key.as_bytes().to_vec())));
                Some(Credential::of_device(device_id, read(primary)?, read(secondary)?))
            }
        };
        let fresh = || {
            let made = |n| read(self.made_key(device_id, 2 * edition + n));
            Ok(Credential::of_device(device_id, made(0)?, made(1)?))
        };
        self.hubs[hub].edit(device_id, credential, fresh, edition, edit)
    }

    /// The state of a registration, whoever asks.
    ///
    /// # Errors
    /// [`DpsRefusal`] with 404 if the device has never registered.
    pub(in crate::emulator) fn registration(
        &self,
        now: Instant,
        id: &str,
    ) -> Result<RegistrationState, DpsRefusal> {
        let id = lower_case(id);
        let credential = self.registrations.credential(&id).ok_or(NOT_REGISTERED)?;
        let snapshot = self.registrations.lookup(now, &id, self.linked(&credential));
        snapshot.map(|snapshot| self.state(&snapshot, Told::Usual)).ok_or(NOT_REGISTERED)
    }

    /// Forgets a registration; the device stays at its hub.
    ///
    /// * `etag`: of its state; `*` and `None` for any
    ///
    /// # Errors
    /// [`DpsRefusal`] with 404, or 412 if it is another.
    pub(in crate::emulator) fn remove_registration(
        &self,
        id: &str,
        etag: Option<&str>,
    ) -> Result<(), DpsRefusal> {
        match self.registrations.remove(&lower_case(id), etag.filter(|etag| *etag != "*")) {
            None => Err(NOT_REGISTERED),
            Some(false) => Err(DpsRefusal::new(412_000, "The registration has changed; read it again")),
            Some(true) => Ok(()),
        }
    }

    /// States of registrations made with an enrollment group, in the order of their ids, those after `after`; and what the
    /// next page begins after, if there is one.
    pub(in crate::emulator) fn registrations_of(
        &self,
        now: Instant,
        group: &str,
        after: Option<&str>,
        most: usize,
    ) -> (Vec<RegistrationState>, Option<Box<str>>) {
        let mut ids = self.registrations.ids_of(group, after);
        let is_last = ids.len() <= most;
        ids.truncate(most);
        let states = ids.iter().filter_map(|id| self.registration(now, id).ok()).collect();
        (states, ids.pop().filter(|_| !is_last))
    }

    /// A key that nobody has asked for yet.
    pub(in crate::emulator) fn made_key(&self, name: &str, index: u64) -> Secret {
        use base64::Engine as _;
        let mut bytes = zeroize::Zeroizing::new([0; 64]);
        // Another stream than a scenario's generated keys, whose names are those of enrollments.
        rng::stream(self.seed ^ 0x6d61_6465, name, index, Purpose::Key).fill(bytes.as_mut_slice());
        Secret::new(crate::azure::keys::BASE64.encode(bytes.as_slice()).into_bytes())
    }

    /// Counts what the services' APIs change.
    pub(in crate::emulator) fn next_edition(&self) -> u64 {
        1 + self.editions.fetch_add(1, Ordering::Relaxed)
    }

    /// Names a lock of a message from the cloud. Whoever knows the device's key may settle it all the same, so that it need
    /// not be hard to guess.
    pub(in crate::emulator) fn lock_token(&self, device_id: &str) -> u128 {
        let mut stream = rng::stream(self.seed, device_id, self.next_edition(), Purpose::Identifier);
        u128::from(stream.bits()) << 64 | u128::from(stream.bits())
    }

    /// Lets a request of the registry in.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub(in crate::emulator) fn admit_registry(
        &self,
        hub: usize,
        now: Instant,
        wall: UnixTime,
    ) -> Result<&Hub, HubRefusal> {
        self.admit(hub, Traffic::Registry, now, wall, 0)?;
        Ok(&self.hubs[hub])
    }
}

/// The host of a token's resource, if `key` has signed it under the name of `policy`.
fn verified_host(
    token: Option<&str>,
    policy: &str,
    key: Option<&SigningKey>,
    wall: UnixTime,
) -> Result<String, Refusal> {
    let token = Presented::parse(token.ok_or(Refusal::Malformed)?)?;
    let key = key.filter(|_| token.policy() == Some(policy)).ok_or(Refusal::Signature)?;
    let host = token.resource().split('/').next().unwrap_or_default();
    token.verify(&[key], host, wall)?;
    Ok(host.to_owned())
}
