//! One emulated IoT Hub: its devices.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::enrollments::Credential;
use super::entrance::Advertised;
use super::sharded::Sharded;
use super::throttle::HubThrottle;

/// A hub and the devices that were assigned to it. Message counts are per worker thread, in the ledger.
pub(super) struct Hub {
    pub(super) name: String,
    /// What registrations are told as `assignedHub`.
    pub(super) advertised: Advertised,
    /// By device id; case counts.
    devices: Sharded<Device>,
    count: AtomicU64,
    senders: AtomicU64,
    links: AtomicU64,
    /// `None` if everything is admitted.
    pub(super) throttle: Option<HubThrottle>,
}

struct Device {
    credential: Credential,
    enabled: bool,
    has_sent: bool,
    /// The connection that speaks for it, if one is kept open.
    link: Option<Link>,
    /// What it subscribed to in a session that outlives connections.
    session: Option<Subscriptions>,
}

/// An open connection, as the hub knows it.
struct Link {
    /// Tells a connection from its successor.
    number: u64,
    end: oneshot::Sender<Displaced>,
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
}

/// What a new connection of a device is given.
pub(super) struct Attached {
    /// Names the connection to [`Hub::detach`].
    pub(super) number: u64,
    /// Resolves when the hub wants the connection to end.
    pub(super) displaced: oneshot::Receiver<Displaced>,
    /// The session that it takes up; `None` if there was none, or the device wants none.
    pub(super) resumed: Option<Subscriptions>,
}

/// What the hub knows about a device that wants in.
pub(super) struct Identity {
    pub(super) credential: Credential,
    pub(super) enabled: bool,
}

impl Hub {
    pub(super) fn new(name: String, advertised: Advertised, throttle: Option<HubThrottle>) -> Self {
        Self {
            name,
            advertised,
            devices: Sharded::new(),
            count: AtomicU64::new(0),
            senders: AtomicU64::new(0),
            links: AtomicU64::new(0),
            throttle,
        }
    }

    /// Creates the device; one that exists keeps its state and takes the new credential.
    pub(super) fn put(&self, device_id: &str, credential: Credential) {
        let mut devices = self.devices.lock(device_id);
        match devices.get_mut(device_id) {
            Some(device) => device.credential = credential,
            None => {
                let device = Device { credential, enabled: true, has_sent: false, link: None, session: None };
                devices.insert(device_id.into(), device);
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Deletes the device; `false` if there is none.
    pub(super) fn remove(&self, device_id: &str) -> bool {
        let removed = self.devices.lock(device_id).remove(device_id);
        let Some(mut device) = removed else { return false };
        self.count.fetch_sub(1, Ordering::Relaxed);
        device.displace(Displaced::Disabled);
        true
    }

    /// Enables or disables the device; `false` if there is none.
    pub(super) fn set_enabled(&self, device_id: &str, enabled: bool) -> bool {
        match self.devices.lock(device_id).get_mut(device_id) {
            Some(device) => {
                device.enabled = enabled;
                if !enabled {
                    device.displace(Displaced::Disabled);
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
        let (end, displaced) = oneshot::channel();
        let mut devices = self.devices.lock(device_id);
        let device = devices.get_mut(device_id).filter(|device| device.enabled)?;
        device.displace(Displaced::Takeover);
        device.link = Some(Link { number, end });
        let resumed = device.session.take();
        if !is_clean {
            device.session = Some(resumed.unwrap_or_default());
        }
        Some(Attached { number, displaced, resumed: resumed.filter(|_| !is_clean) })
    }

    /// Remembers what the device is subscribed to in a session that outlives connection `number`, if that still speaks
    /// for it.
    pub(super) fn keep(&self, device_id: &str, number: u64, subscriptions: Subscriptions) {
        if let Some(device) = self.devices.lock(device_id).get_mut(device_id)
            && device.link.as_ref().is_some_and(|link| link.number == number)
        {
            device.session = Some(subscriptions);
        }
    }

    /// Forgets connection `number`, if it still speaks for the device.
    pub(super) fn detach(&self, device_id: &str, number: u64) {
        if let Some(device) = self.devices.lock(device_id).get_mut(device_id) {
            device.link.take_if(|link| link.number == number);
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
    /// Ends its connection, if one is kept open.
    fn displace(&mut self, why: Displaced) {
        if let Some(link) = self.link.take() {
            // A connection that has ended meanwhile needs no telling.
            let _ = link.end.send(why);
        }
    }
}
