//! One emulated IoT Hub: its devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use tokio::sync::oneshot;

use super::cloud_to_device::Queue;
use super::enrollments::Credential;
use super::entrance::Advertised;
use super::mailbox::Mailbox;
use super::service::HubRefusal;
use super::sharded::Sharded;
use super::throttle::HubThrottle;
use super::twin::{Twin, TwinError};
use super::two_way::{Counts, Trouble};
use crate::azure::hub::HubError;
use crate::azure::keys::BASE64;
use crate::rng::Distribution;
use crate::time::Instant;

/// A hub and the devices that were assigned to it. Message counts are per worker thread, in the ledger.
pub(super) struct Hub {
    pub(super) name: String,
    /// What registrations are told as `assignedHub`.
    pub(super) advertised: Advertised,
    /// By device id; case counts.
    pub(super) devices: Sharded<Device>,
    count: AtomicU64,
    senders: AtomicU64,
    links: AtomicU64,
    /// `None` if everything is admitted.
    pub(super) throttle: Option<HubThrottle>,
    /// Seconds that it takes over a message.
    pub(super) delay: Distribution,
    /// Of all threads together: what is counted here took a device's lock before.
    pub(super) two_way: Counts,
}

pub(super) struct Device {
    credential: Credential,
    enabled: bool,
    has_sent: bool,
    /// Names what its identity says, for whoever changes it; 0 as long as only DPS did.
    edition: u32,
    /// The connection that speaks for it, if one is kept open.
    pub(super) link: Option<Link>,
    /// What it subscribed to in a session that outlives connections.
    session: Option<Subscriptions>,
    /// `None` as long as nobody has touched it.
    pub(super) twin: Option<Box<Twin>>,
    /// `None` as long as nobody has sent it anything.
    pub(super) kept: Option<Box<Kept>>,
}

/// What is kept for a device that somebody writes to.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) queue: Queue,
    /// Who waits for it to subscribe to methods.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    /// When it last asked for messages over HTTPS.
    pub(super) asked: Option<Instant>,
}

/// An open connection, as the hub knows it.
pub(super) struct Link {
    /// Tells a connection from its successor.
    pub(super) number: u64,
    pub(super) mailbox: Arc<Mailbox>,
    subscriptions: Subscriptions,
}

/// Why the hub ends a connection that did nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Displaced {
    /// The device has connected anew.
    Takeover,
    /// It was disabled or deleted.
    Disabled,
}

/// What a device is subscribed to: the granted QoS of each filter that there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Subscriptions([Option<u8>; Filter::COUNT]);

/// The filters that a hub knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// Messages from the cloud.
    DeviceBound,
    /// Direct methods.
    Methods,
    /// Answers about the twin.
    TwinResponses,
    /// Changes of desired properties.
    TwinDesired,
}

impl Filter {
    const COUNT: usize = 4;
}

impl Subscriptions {
    pub(super) fn set(&mut self, filter: Filter, granted: Option<u8>) {
        self.0[filter as usize] = granted;
    }

    /// The granted QoS; `None` if it is not subscribed to.
    pub(super) fn granted(&self, filter: Filter) -> Option<u8> {
        self.0[filter as usize]
    }
}

/// What a new connection of a device is given.
pub(super) struct Attached {
    /// Names the connection to [`Hub::detach`].
    pub(super) number: u64,
    /// What the hub has for the connection: its end, and what the device is told.
    pub(super) mailbox: Arc<Mailbox>,
    /// The session that it takes up; `None` if there was none, or the device wants none.
    pub(super) resumed: Option<Subscriptions>,
}

/// What the hub knows about a device that wants in.
pub(super) struct Identity {
    pub(super) credential: Credential,
    pub(super) enabled: bool,
}

impl Hub {
    pub(super) fn new(
        name: String,
        advertised: Advertised,
        throttle: Option<HubThrottle>,
        delay: Distribution,
    ) -> Self {
        Self {
            name,
            advertised,
            devices: Sharded::new(),
            count: AtomicU64::new(0),
            senders: AtomicU64::new(0),
            links: AtomicU64::new(0),
            throttle,
            delay,
            two_way: Counts::default(),
        }
    }

    /// Creates the device; one that exists keeps its state and takes the new credential.
    ///
    /// * `twin`: the twin of a device that is new; `None` for an empty one
    /// * `is_reset`: one that exists gets that twin too
    pub(super) fn put(
        &self,
        device_id: &str,
        credential: Credential,
        twin: Option<Box<Twin>>,
        is_reset: bool,
    ) {
        let mut devices = self.devices.lock(device_id);
        match devices.get_mut(device_id) {
            Some(device) => {
                device.credential = credential;
                if is_reset {
                    device.twin = twin;
                }
            }
            None => {
                devices.insert(device_id.into(), Device::new(credential, twin));
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Creates or updates a device for whoever keeps the registry.
    ///
    /// * `credential`: its new keys; those that it has, or `fresh` ones, if `None`
    ///
    /// # Errors
    /// [`HubRefusal`] with 409 or 412 if it is not as `edit` expects.
    pub(super) fn edit(
        &self,
        device_id: &str,
        credential: Option<Credential>,
        fresh: impl FnOnce() -> Result<Credential, HubRefusal>,
        edition: u64,
        edit: Edit<'_>,
    ) -> Result<Registered, HubRefusal> {
        let mut devices = self.devices.lock(device_id);
        let known = devices.get_mut(device_id);
        let is_expected = match (edit.expected, &known) {
            (None, Some(_)) => {
                return Err(HubRefusal { error: HubError::DEVICE_EXISTS, message: "there is such a device" });
            }
            (None, None) => true,
            (Some(_), None) => return Err(Trouble::NoDevice.into()),
            (Some("*"), Some(_)) => true,
            (Some(etag), Some(device)) => etag == etag_of(device.edition),
        };
        if !is_expected {
            return Err(DEVICE_CHANGED);
        }
        let device = match known {
            Some(device) => device,
            None => {
                let credential = match &credential {
                    Some(credential) => credential.clone(),
                    None => fresh()?,
                };
                self.count.fetch_add(1, Ordering::Relaxed);
                devices.entry(device_id.into()).or_insert(Device::new(credential, None))
            }
        };
        if let Some(credential) = credential {
            device.credential = credential;
        }
        // Wraps after four thousand million changes, which no etag lives to see.
        device.edition = edition as u32;
        device.enabled = edit.enabled.unwrap_or(device.enabled);
        if !device.enabled {
            self.two_way.desired_lost.add(device.displace(Displaced::Disabled));
        }
        Ok(device.registered(device_id))
    }

    /// What the registry says of a device.
    pub(super) fn registered(&self, device_id: &str) -> Option<Registered> {
        self.devices.lock(device_id).get(device_id).map(|device| device.registered(device_id))
    }

    /// The same of `most` devices, in no order.
    pub(super) fn some_registered(&self, most: usize) -> Vec<Registered> {
        self.devices.collect(most, |device_id, device| device.registered(device_id))
    }

    /// Deletes the device if it is as expected: `etag`, or `*`.
    ///
    /// # Errors
    /// [`HubRefusal`] with 404 or 412.
    pub(super) fn delete(&self, device_id: &str, etag: &str) -> Result<(), HubRefusal> {
        let known = self.registered(device_id).ok_or(Trouble::NoDevice)?;
        if etag != "*" && etag != known.etag {
            return Err(DEVICE_CHANGED);
        }
        self.remove(device_id).map(drop).ok_or(Trouble::NoDevice.into())
    }

    /// Deletes the device, whose twin is handed out for whoever has a use for it; `None` if there is none.
    pub(super) fn remove(&self, device_id: &str) -> Option<Option<Box<Twin>>> {
        let mut device = self.devices.lock(device_id).remove(device_id)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.two_way.desired_lost.add(device.displace(Displaced::Disabled));
        if let Some(kept) = &mut device.kept {
            kept.queue.purge(&self.two_way);
        }
        Some(device.twin)
    }

    /// Enables or disables the device; `false` if there is none.
    pub(super) fn set_enabled(&self, device_id: &str, enabled: bool) -> bool {
        match self.devices.lock(device_id).get_mut(device_id) {
            Some(device) => {
                device.enabled = enabled;
                if !enabled {
                    self.two_way.desired_lost.add(device.displace(Displaced::Disabled));
                }
                true
            }
            None => false,
        }
    }

    /// Copied out, so that signatures are checked outside of the lock.
    pub(super) fn identity(&self, device_id: &str) -> Option<Identity> {
        let devices = self.devices.lock(device_id);
        let device = devices.get(device_id)?;
        Some(Identity { credential: device.credential.clone(), enabled: device.enabled })
    }

    /// Makes a connection the one that speaks for the device, and ends the one that did. `None` if there is no such
    /// device, or it is disabled.
    ///
    /// * `is_clean`: the device wants no session that outlives the connection, and drops what it has
    pub(super) fn attach(&self, device_id: &str, is_clean: bool) -> Option<Attached> {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::<Mailbox>::default();
        let mut devices = self.devices.lock(device_id);
        let device = devices.get_mut(device_id).filter(|device| device.enabled)?;
        self.two_way.desired_lost.add(device.displace(Displaced::Takeover));
        let resumed = device.session.take().filter(|_| !is_clean);
        if !is_clean {
            device.session = Some(resumed.unwrap_or_default());
        }
        device.link =
            Some(Link { number, mailbox: Arc::clone(&mailbox), subscriptions: Subscriptions::default() });
        device.subscribed(resumed.unwrap_or_default());
        Some(Attached { number, mailbox, resumed })
    }

    /// Remembers what the device is subscribed to, if connection `number` still speaks for it; beyond the connection if
    /// the device has a session that outlives it.
    pub(super) fn keep(&self, device_id: &str, number: u64, subscriptions: Subscriptions) {
        if let Some(device) = self.devices.lock(device_id).get_mut(device_id)
            && device.link.as_ref().is_some_and(|link| link.number == number)
        {
            if let Some(session) = &mut device.session {
                *session = subscriptions;
            }
            device.subscribed(subscriptions);
        }
    }

    /// Forgets connection `number`, if it still speaks for the device.
    pub(super) fn detach(&self, device_id: &str, number: u64) {
        if let Some(device) = self.devices.lock(device_id).get_mut(device_id)
            && let Some(link) = device.link.take_if(|link| link.number == number)
        {
            self.two_way.desired_lost.add(link.mailbox.close());
            device.put_back(&link);
        }
    }

    /// Remembers that the device has sent something.
    pub(super) fn mark_sender(&self, device_id: &str) {
        if let Some(device) = self.devices.lock(device_id).get_mut(device_id)
            && !std::mem::replace(&mut device.has_sent, true)
        {
            self.senders.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Devices there are now.
    pub(super) fn device_count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Different devices from which a message was accepted.
    pub(super) fn sender_count(&self) -> u64 {
        self.senders.load(Ordering::Relaxed)
    }
}

impl Device {
    fn new(credential: Credential, twin: Option<Box<Twin>>) -> Self {
        Self {
            credential,
            enabled: true,
            has_sent: false,
            edition: 0,
            link: None,
            session: None,
            twin,
            kept: None,
        }
    }

    pub(super) fn registered(&self, device_id: &str) -> Registered {
        Registered {
            device_id: device_id.to_owned(),
            etag: etag_of(self.edition),
            credential: self.credential.clone(),
            is_enabled: self.enabled,
            is_connected: self.link.is_some(),
            messages: self.kept.as_ref().map_or(0, |kept| kept.queue.len()),
        }
    }

    /// Ends its connection, if one is kept open; the changes of desired properties that it was not told of.
    #[must_use]
    fn displace(&mut self, why: Displaced) -> u64 {
        let Some(link) = self.link.take() else { return 0 };
        self.put_back(&link);
        link.mailbox.end(why)
    }

    /// What the connection has not confirmed waits for the next.
    fn put_back(&mut self, link: &Link) {
        if let Some(kept) = &mut self.kept {
            kept.queue.link_ended(link.number);
        }
    }

    /// Takes note of what its connection listens to from now on, and of what that may have missed.
    fn subscribed(&mut self, subscriptions: Subscriptions) {
        let Some(link) = &mut self.link else { return };
        link.subscriptions = subscriptions;
        let Some(kept) = &mut self.kept else { return };
        if link.listens_to(Filter::DeviceBound) && kept.queue.len() > 0 {
            link.mailbox.announce_messages();
        }
        if link.listens_to(Filter::Methods) {
            for waiting in kept.waiting.drain(..) {
                // Whoever has stopped waiting need not know.
                let _ = waiting.send(());
            }
        }
    }

    /// What is kept for it from now on.
    pub(super) fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    /// Changes its twin. A device that had none, and whose change fails, has none after it.
    pub(super) fn twin_mut<R>(
        &mut self,
        change: impl FnOnce(&mut Twin) -> Result<R, TwinError>,
    ) -> Result<R, TwinError> {
        match &mut self.twin {
            Some(twin) => change(twin),
            none => {
                let mut twin = Box::<Twin>::default();
                let changed = change(&mut twin)?;
                *none = Some(twin);
                Ok(changed)
            }
        }
    }
}

/// What the registry says of a device.
pub(super) struct Registered {
    pub(super) device_id: String,
    pub(super) etag: String,
    pub(super) credential: Credential,
    pub(super) is_enabled: bool,
    pub(super) is_connected: bool,
    /// Messages from the cloud that wait for it.
    pub(super) messages: usize,
}

/// A change of the registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit<'a> {
    /// As it is if `None`.
    pub(super) enabled: Option<bool>,
    /// The etag of the device that is there, `*` for any; `None` if none is to be there.
    pub(super) expected: Option<&'a str>,
}

fn etag_of(edition: u32) -> String {
    BASE64.encode(u64::from(edition).to_be_bytes())
}

const DEVICE_CHANGED: HubRefusal =
    HubRefusal { error: HubError::PRECONDITION_FAILED, message: "the device has changed; read it again" };

impl Link {
    pub(super) fn listens_to(&self, filter: Filter) -> bool {
        self.subscriptions.granted(filter).is_some()
    }
}
