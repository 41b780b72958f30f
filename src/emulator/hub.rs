//! One emulated IoT Hub: its devices.

use std::sync::atomic::{AtomicU64, Ordering};

use super::enrollments::Credential;
use super::sharded::Sharded;
use super::throttle::HubThrottle;

/// A hub and the devices that were assigned to it. Message counts are per worker thread, in the ledger.
pub(super) struct Hub {
    pub(super) name: String,
    /// What registrations are told as `assignedHub`.
    pub(super) advertised: String,
    /// By device id; case counts.
    devices: Sharded<Device>,
    count: AtomicU64,
    senders: AtomicU64,
    /// `None` if everything is admitted.
    pub(super) throttle: Option<HubThrottle>,
}

struct Device {
    credential: Credential,
    enabled: bool,
    has_sent: bool,
}

/// What the hub knows about a device that wants in.
pub(super) struct Identity {
    pub(super) credential: Credential,
    pub(super) enabled: bool,
}

impl Hub {
    pub(super) fn new(name: String, advertised: String, throttle: Option<HubThrottle>) -> Self {
        Self {
            name,
            advertised,
            devices: Sharded::new(),
            count: AtomicU64::new(0),
            senders: AtomicU64::new(0),
            throttle,
        }
    }

    /// Creates the device; one that exists keeps its state and takes the new credential.
    pub(super) fn put(&self, device_id: &str, credential: Credential) {
        let mut devices = self.devices.lock(device_id);
        match devices.get_mut(device_id) {
            Some(device) => device.credential = credential,
            None => {
                let device = Device { credential, enabled: true, has_sent: false };
                devices.insert(device_id.into(), device);
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Deletes the device; `false` if there is none.
    pub(super) fn remove(&self, device_id: &str) -> bool {
        let removed = self.devices.lock(device_id).remove(device_id).is_some();
        if removed {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    /// Enables or disables the device; `false` if there is none.
    pub(super) fn set_enabled(&self, device_id: &str, enabled: bool) -> bool {
        match self.devices.lock(device_id).get_mut(device_id) {
            Some(device) => {
                device.enabled = enabled;
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
