//! What a hub does with its devices' twins, methods and messages, whatever protocol asks; and its counts of all that.
//!
//! Everything of one device happens under the lock of its shard, and nothing waits there. Who has to wait, for a device to
//! come online or to answer, is given a receiver.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::cloud_to_device::{Ack, Delivery, Full, LockLost, Message, Settlement, USUAL_LIFE};
use super::hub::{Device, Filter, Hub};
use super::ledger::Counter;
use super::mailbox::MethodAnswer;
use super::service::HubRefusal;
use super::twin::{Change, Twin, TwinError};
use crate::azure::hub::HubError;
use crate::time::{Instant, UnixTime};

macro_rules! counts {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// Counts of what went both ways between one hub and its devices. Messages from the cloud that were sent are
        /// those completed, those dead-lettered, and those that still wait.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct TwoWay {
            $($(#[doc = $text])+ pub $name: u64,)+
        }

        /// The same, counted by every thread.
        #[derive(Debug, Default)]
        pub(super) struct Counts {
            $(pub(super) $name: Counter,)+
        }

        impl Counts {
            /// All at this moment.
            pub(super) fn sum(&self) -> TwoWay {
                TwoWay { $($name: self.$name.value(),)+ }
            }
        }
    };
}

counts! {
    /// Twins that devices read.
    twin_gets,
    /// Changes of reported properties that were taken.
    twin_patches,
    /// Changes of desired properties that were taken.
    desired_updates,
    /// Changes of desired properties that a device was told of.
    desired_pushes,
    /// Of the others, those that a subscribed device was not told of because it did not read what came before, or left.
    desired_lost,
    /// Methods that were sent to a device.
    methods_invoked,
    /// Of these, those that it answered in time.
    methods_answered,
    /// Of these, those that it did not.
    methods_timed_out,
    /// Methods for devices that were not there, or went.
    methods_offline,
    /// Messages from the cloud that were taken for a device.
    c2d_sent,
    /// Deliveries of such messages, each again counted.
    c2d_delivered,
    /// Messages that a device completed; over MQTT, that it confirmed.
    c2d_completed,
    /// Messages that a device rejected; also in `c2d_dead_lettered`.
    c2d_rejected,
    /// Times that a device abandoned a message.
    c2d_abandoned,
    /// Messages that were rejected, expired, were abandoned too often, or purged. Of those that expire it is noticed when
    /// their device or another message comes.
    c2d_dead_lettered,
    /// Messages whose completion their sender wanted to hear of.
    feedback_positive,
    /// Messages whose death their sender wanted to hear of.
    feedback_negative,
}

impl TwoWay {
    /// Whether nothing ever happened.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a hub does not do what is asked of it with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    NoDevice,
    Twin(TwinError),
    /// It is not connected, or has not subscribed to methods.
    NotOnline,
    /// Too much is unanswered already.
    Busy,
    QueueFull,
    LockLost,
}

impl From<Trouble> for HubRefusal {
    fn from(trouble: Trouble) -> Self {
        let (error, message) = match trouble {
            Trouble::NoDevice => (HubError::DEVICE_NOT_FOUND, "no such device in this hub"),
            // The status of the real hub for too large is not published; devices' SDKs know 413 as that.
            Trouble::Twin(error) => {
                let code = match error {
                    TwinError::Invalid(_) => HubError::ARGUMENT_INVALID,
                    TwinError::TooLarge(_) => HubError::MESSAGE_TOO_LARGE,
                    TwinError::Changed => HubError::PRECONDITION_FAILED,
                };
                (code, error.text())
            }
            Trouble::NotOnline => (HubError::DEVICE_NOT_ONLINE, "Timed out waiting for device to connect."),
            Trouble::Busy => (HubError::THROTTLED, "the device has too much unanswered; wait and try again"),
            Trouble::QueueFull => (HubError::QUEUE_FULL, "50 messages wait for the device; let it take them"),
            Trouble::LockLost => (HubError::LOCK_LOST, "the lock has expired, or there is none"),
        };
        Self { error, message }
    }
}

impl Hub {
    fn with<R>(&self, device_id: &str, act: impl FnOnce(&mut Device) -> R) -> Result<R, Trouble> {
        self.devices.lock(device_id).get_mut(device_id).map(act).ok_or(Trouble::NoDevice)
    }

    /// The twin as its device sees it.
    pub(super) fn twin_for_device(&self, device_id: &str) -> Result<Vec<u8>, Trouble> {
        self.with(device_id, |device| match &device.twin {
            Some(twin) => twin.for_device(),
            None => Twin::default().for_device(),
        })
    }

    /// The whole twin.
    pub(super) fn twin(&self, device_id: &str) -> Result<Twin, Trouble> {
        self.with(device_id, |device| device.twin.as_deref().cloned().unwrap_or_default())
    }

    /// Takes what a device reports; the new version.
    pub(super) fn report(&self, device_id: &str, patch: &[u8], wall: UnixTime) -> Result<u64, Trouble> {
        let version = self
            .with(device_id, |device| device.twin_mut(|twin| twin.report(patch, wall)))?
            .map_err(Trouble::Twin)?;
        self.two_way.twin_patches.add(1);
        Ok(version)
    }

    /// Changes tags and desired properties, and tells the device if it listens; the twin after it.
    pub(super) fn change_twin(
        &self,
        device_id: &str,
        change: &Change,
        if_match: Option<&str>,
        wall: UnixTime,
    ) -> Result<Twin, Trouble> {
        self.with(device_id, |device| {
            let update =
                device.twin_mut(|twin| twin.change(change, if_match, wall)).map_err(Trouble::Twin)?;
            if let Some(update) = update {
                self.two_way.desired_updates.add(1);
                let link = device.link.as_ref().filter(|link| link.listens_to(Filter::TwinDesired));
                if let Some(link) = link
                    && link.mailbox.push_desired(&Arc::new(update)).is_err()
                {
                    self.two_way.desired_lost.add(1);
                }
            }
            Ok(device.twin.as_deref().cloned().unwrap_or_default())
        })?
    }

    /// Sends a method to the device, if that is there for it.
    pub(super) fn invoke(
        &self,
        device_id: &str,
        name: &str,
        payload: Vec<u8>,
    ) -> Result<oneshot::Receiver<MethodAnswer>, Trouble> {
        let (_, answer) = self.with(device_id, |device| {
            let link = device.link.as_ref().filter(|link| link.listens_to(Filter::Methods));
            let link = link.ok_or(Trouble::NotOnline)?;
            link.mailbox.invoke(name, payload).map_err(|_| Trouble::Busy)
        })??;
        Ok(answer)
    }

    /// Resolves when the device takes methods; at once if it does.
    pub(super) fn when_online(&self, device_id: &str) -> Result<oneshot::Receiver<()>, Trouble> {
        self.with(device_id, |device| {
            let (sender, receiver) = oneshot::channel();
            if device.link.as_ref().is_some_and(|link| link.listens_to(Filter::Methods)) {
                let _ = sender.send(());
                return Ok(receiver);
            }
            let waiting = &mut device.kept().waiting;
            waiting.retain(|sender| !sender.is_closed());
            if waiting.len() >= MAX_WAITING {
                return Err(Trouble::Busy);
            }
            waiting.push(sender);
            Ok(receiver)
        })?
    }

    /// Devices that listen to `filter`, in no order: those whose connections do, and for messages those that have asked for some
    /// over HTTPS not too long ago.
    pub(super) fn listeners(&self, filter: Filter, now: Instant) -> Vec<Box<str>> {
        let ids = self.devices.collect(usize::MAX, |device_id, device| {
            let asked = device.kept.as_ref().and_then(|kept| kept.asked);
            let asks = filter == Filter::DeviceBound && asked.is_some_and(|asked| now < asked + USUAL_LIFE);
            let is_listening = asks || device.link.as_ref().is_some_and(|link| link.listens_to(filter));
            is_listening.then(|| device_id.into())
        });
        ids.into_iter().flatten().collect()
    }

    /// Takes a message for the device.
    pub(super) fn send_message(
        &self,
        device_id: &str,
        now: Instant,
        wall: UnixTime,
        message: Message,
    ) -> Result<(), Trouble> {
        self.with(device_id, |device| {
            let sent = device.kept().queue.send(now, wall, message, &self.two_way);
            sent.map_err(|Full| Trouble::QueueFull)?;
            if let Some(link) = device.link.as_ref().filter(|link| link.listens_to(Filter::DeviceBound)) {
                link.mailbox.announce_messages();
            }
            Ok(())
        })?
    }

    /// Drops all messages that wait for the device, and says how many.
    pub(super) fn purge_messages(&self, device_id: &str) -> Result<usize, Trouble> {
        self.with(device_id, |device| device.kept.as_mut().map_or(0, |kept| kept.queue.purge(&self.two_way)))
    }

    /// The next message for connection `link` of the device, if that still speaks for it.
    ///
    /// * `is_confirmed`: the device confirms what it gets
    pub(super) fn next_message(
        &self,
        device_id: &str,
        now: Instant,
        wall: UnixTime,
        link: u64,
        is_confirmed: bool,
    ) -> Option<Delivery> {
        self.with(device_id, |device| {
            if device.link.as_ref().is_none_or(|current| current.number != link) {
                return None;
            }
            let kept = device.kept.as_mut()?;
            kept.queue.next(now, wall, link, is_confirmed, &self.two_way)
        })
        .ok()?
    }

    /// Completes a message that was sent over connection `link`; `false` if there is none such.
    pub(super) fn confirm_message(&self, device_id: &str, link: u64, packet_id: u16) -> bool {
        self.with(device_id, |device| match &mut device.kept {
            Some(kept) => kept.queue.confirm(link, packet_id, &self.two_way),
            None => false,
        })
        .unwrap_or(false)
    }

    /// Gives out the next message over HTTPS.
    pub(super) fn lock_message(
        &self,
        device_id: &str,
        now: Instant,
        wall: UnixTime,
        token: u128,
    ) -> Option<Delivery> {
        let locked = self.with(device_id, |device| {
            let kept = device.kept();
            kept.asked = Some(now);
            kept.queue.lock(now, wall, token, &self.two_way)
        });
        locked.ok()?
    }

    /// Settles a message that was given out so.
    pub(super) fn settle_message(
        &self,
        device_id: &str,
        now: Instant,
        wall: UnixTime,
        token: u128,
        how: Settlement,
    ) -> Result<(), Trouble> {
        self.with(device_id, |device| match &mut device.kept {
            Some(kept) => kept.queue.settle(now, wall, token, how, &self.two_way),
            None => Err(LockLost),
        })?
        .map_err(|LockLost| Trouble::LockLost)
    }
}

impl Counts {
    pub(super) fn completed(&self, ack: Ack) {
        self.c2d_completed.add(1);
        if matches!(ack, Ack::Positive | Ack::Full) {
            self.feedback_positive.add(1);
        }
    }

    pub(super) fn dead_lettered(&self, ack: Ack) {
        self.c2d_dead_lettered.add(1);
        if matches!(ack, Ack::Negative | Ack::Full) {
            self.feedback_negative.add(1);
        }
    }
}

/// Callers that may wait for one device to come online.
const MAX_WAITING: usize = 64;
