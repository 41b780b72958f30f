//! IoT Hub over MQTT: telemetry, and what a device is subscribed to. What comes of that is in [`super::two_way`].
//!
//! MQTT 3.1.1 has no answer to a message but its PUBACK: whatever is wrong with one ends the connection.
//!
//! Source: <https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub>

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use percent_encoding::percent_decode_str;

use super::{Front, Moment};
use crate::azure::hub::{HubError, MAX_MESSAGE};
use crate::azure::mqtt::{
    METHODS, TWIN_DESIRED, TWIN_RESPONSES, parse_events_topic, properties, system_property,
};
use crate::emulator::arrivals::{DeviceArrivals, Numbered};
use crate::emulator::channel::Stamp;
use crate::emulator::hub::{Attached, Displaced, Filter, Subscriptions};
use crate::emulator::ledger::{Ending, Operation};
use crate::emulator::mailbox::{Mailbox, Notice};
use crate::emulator::service::HubDevice;
use crate::emulator::throttle::{Excess, Verdict};
use crate::net::mqtt::{PacketStream, Publish, Qos};
use crate::time::Instant;

/// A device at its hub.
pub(super) struct HubSession {
    device: HubDevice,
    /// Names the connection at the hub.
    number: u64,
    mailbox: Arc<Mailbox>,
    subscriptions: Subscriptions,
    /// See [`Self::slack`].
    slack: u32,
    expires: Instant,
    /// Size of the message to be sent should the device be lost.
    will: Option<u64>,
    /// Messages that wait in the hub's queue, in their order.
    held: VecDeque<Held>,
    has_sent: bool,
    /// Where it is kept which messages arrived, from the first on, if anybody wants to know.
    arrived: Option<Arc<DeviceArrivals>>,
}

/// A message that has been admitted. Its body is nobody's business.
struct Admitted {
    packet_id: Option<u16>,
    bytes: u64,
    arrived: Instant,
    /// If somebody wants stamps.
    message_id: Option<String>,
    number: Numbered,
}

struct Held {
    slot: Instant,
    message: Admitted,
}

impl HubSession {
    /// * `will`: size of the message to be sent should the device be lost
    pub(super) fn new(device: HubDevice, attached: Attached, expires: Instant, will: Option<u64>) -> Self {
        Self {
            device,
            number: attached.number,
            mailbox: attached.mailbox,
            subscriptions: attached.resumed.unwrap_or_default(),
            slack: 0,
            expires,
            will,
            held: VecDeque::new(),
            has_sent: false,
            arrived: None,
        }
    }

    pub(super) fn expires(&self) -> Instant {
        self.expires
    }

    /// Messages that wait.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// When the first of them has waited enough.
    pub(super) fn next_slot(&self) -> Option<Instant> {
        self.held.front().map(|held| held.slot)
    }

    pub(super) fn device(&self) -> &HubDevice {
        &self.device
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    pub(super) fn subscriptions(&self) -> Subscriptions {
        self.subscriptions
    }

    /// Bytes that may wait to be written beyond what any client may leave unread: there was something large for this one,
    /// and it cannot have read that yet.
    pub(super) fn slack(&self) -> usize {
        self.slack as usize
    }

    /// * `bytes`: that wait; 0 once all is written
    pub(super) fn set_slack(&mut self, bytes: usize) {
        self.slack = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Resolves when the hub wants the connection to end, and when there is mail, if that is wanted.
    pub(super) fn poll_mailbox(&self, context: &mut Context<'_>, wants_mail: bool) -> Poll<Option<Ending>> {
        self.mailbox.poll(context, wants_mail).map(|notice| match notice {
            Notice::Mail => None,
            Notice::Displaced(Displaced::Takeover) => Some(Ending::Takeover),
            Notice::Displaced(Displaced::Disabled) => Some(Ending::Disabled),
        })
    }

    /// The QoS that a subscription is granted; `None` if there is nothing of that name.
    pub(super) fn subscribe(&mut self, filter: &str, qos: Qos) -> Option<u8> {
        let filter = self.filter(filter)?;
        let granted = match filter {
            Filter::DeviceBound => (qos as u8).min(1),
            Filter::Methods | Filter::TwinResponses | Filter::TwinDesired => 0,
        };
        self.subscriptions.set(filter, Some(granted));
        Some(granted)
    }

    pub(super) fn unsubscribe(&mut self, filter: &str) {
        if let Some(filter) = self.filter(filter) {
            self.subscriptions.set(filter, None);
        }
    }

    fn filter(&self, filter: &str) -> Option<Filter> {
        match filter {
            METHODS => Some(Filter::Methods),
            TWIN_RESPONSES => Some(Filter::TwinResponses),
            TWIN_DESIRED => Some(Filter::TwinDesired),
            _ => {
                let id = filter.strip_prefix("devices/")?.strip_suffix("/messages/devicebound/#")?;
                let id = percent_decode_str(id).decode_utf8().ok()?;
                (id == self.device.device_id()).then_some(Filter::DeviceBound)
            }
        }
    }

    /// Lets the hub know the subscriptions, which it remembers if they are to outlive the connection.
    pub(super) fn keep_subscriptions(&self, front: &Front) {
        let hub = front.service.hub_of_device(&self.device);
        hub.keep(self.device.device_id(), self.number, self.subscriptions);
    }

    /// Takes a message, or puts it in the hub's queue.
    pub(super) fn publish(
        &mut self,
        front: &Front,
        packets: &mut PacketStream,
        publish: &Publish,
        moment: Moment,
    ) -> Result<(), Ending> {
        if publish.topic_name().starts_with("$iothub/") {
            return self.two_way(front, packets, publish, moment);
        }
        let (id, bag) = parse_events_topic(publish.topic_name()).ok_or(Ending::Protocol)?;
        let id_of_device = self.device.device_id();
        if id != id_of_device {
            return Err(Ending::Protocol);
        }
        let refused = |status, ending| {
            front.counters.request(Operation::MqttSend, status);
            Err(ending)
        };
        let mut number = Numbered::Foreign;
        let look = |id: &str| {
            if let Some(arrivals) = &front.arrivals {
                number = arrivals.read(id_of_device, id);
            }
        };
        let Some((bag, message_id)) = read_bag(bag, front.stamps.is_some(), look) else {
            return refused(HubError::ARGUMENT_INVALID.status(), Ending::Malformed);
        };
        let retained = if publish.retain() { RETAINED } else { 0 };
        let size = publish.payload().len() + bag + retained;
        if size > MAX_MESSAGE {
            return refused(HubError::MESSAGE_TOO_LARGE.status(), Ending::TooLarge);
        }
        let Moment { arrived, now, wall } = moment;
        let bytes = size as u64;
        let message = Admitted { packet_id: publish.packet_id(), bytes, arrived, message_id, number };
        let admitted = front.service.admit_message(self.device.hub_index(), now, wall, bytes);
        match front.service.delayed(&self.device, arrived, now, admitted) {
            Verdict::Now if self.held.is_empty() => self.accept(front, packets, message),
            verdict @ (Verdict::Now | Verdict::At(_)) => {
                // Messages of one connection stay in order, whatever the queue says.
                let last = self.held.back().map_or(now, |held| held.slot);
                let slot = if let Verdict::At(slot) = verdict { slot.max(last) } else { last };
                self.held.push_back(Held { slot, message });
            }
            Verdict::Refused(Excess::Rate) => {
                return refused(HubError::THROTTLED.status(), Ending::Throttled);
            }
            Verdict::Refused(Excess::Quota) => {
                return refused(HubError::QUOTA_EXCEEDED.status(), Ending::Quota);
            }
        }
        Ok(())
    }

    /// Accepts the messages that have waited enough.
    pub(super) fn release(&mut self, front: &Front, packets: &mut PacketStream, now: Instant) {
        while let Some(held) = self.held.pop_front_if(|held| held.slot <= now) {
            self.accept(front, packets, held.message);
        }
    }

    fn accept(&mut self, front: &Front, packets: &mut PacketStream, message: Admitted) {
        self.count(front, &message);
        let Admitted { packet_id, arrived, message_id, .. } = message;
        if let (Some(stamps), Some(message_id)) = (&front.stamps, message_id) {
            let device_id = self.device.device_id().to_owned();
            stamps.push(&Stamp { device_id, message_id, arrived, answered: front.clock.now() });
        }
        if let Some(packet_id) = packet_id {
            packets.send_puback(packet_id);
        }
    }

    fn count(&mut self, front: &Front, message: &Admitted) {
        front.counters.request(Operation::MqttSend, 204);
        let is_confirmed = message.packet_id.is_some();
        front.counters.mqtt_message(self.device.hub_index(), is_confirmed, message.bytes);
        if let Some(arrivals) = &front.arrivals {
            let arrived = self.arrived.get_or_insert_with(|| arrivals.of(self.device.device_id()));
            arrived.accept(message.number);
        }
        if !std::mem::replace(&mut self.has_sent, true) {
            front.service.accept_messages(&self.device);
        }
    }

    /// Takes leave of the hub.
    pub(super) fn end(&mut self, front: &Front, ending: Ending) {
        front.service.hub_of_device(&self.device).detach(self.device.device_id(), self.number);
        // They are in the hub's queue, and charged: it will have them, only nobody is left to be told. A device that sends
        // at QoS 0 and leaves relies on it.
        for held in std::mem::take(&mut self.held) {
            self.count(front, &held.message);
        }
        if let Some(size) = self.will.filter(|_| ending != Ending::Disconnect) {
            let (hub, now, wall) = (self.device.hub_index(), front.clock.now(), front.clock.wall());
            if !matches!(front.service.admit_message(hub, now, wall, size), Verdict::Refused(_)) {
                front.counters.will(hub);
            }
        }
    }
}

/// Size of the message that a will would be; `None` if it is not for the device's own telemetry: such a will is accepted
/// and forgotten, for the real hub's answer to it is not published.
///
/// * `payload`: in bytes
pub(super) fn will_size(topic: &str, device_id: &str, payload: usize) -> Option<u64> {
    let (id, bag) = parse_events_topic(topic)?;
    let (bag, _) = read_bag(bag, false, |_| {})?;
    let size = payload + bag;
    (id == device_id && size <= MAX_MESSAGE).then_some(size as u64)
}

/// What of a property bag counts as size: values of system properties, names and values of the device's own; and the
/// message id if it is asked for, empty if there is none. `None` for a bag that is not UTF-8.
///
/// * `look`: is shown the message id, if there is one
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct>
fn read_bag(bag: &str, wants_id: bool, mut look: impl FnMut(&str)) -> Option<(usize, Option<String>)> {
    let (mut size, mut message_id) = (0, wants_id.then(String::new));
    for pair in properties(bag) {
        let (name, value) = pair?;
        size += if name.starts_with("$.") { value.len() } else { name.len() + value.len() };
        if name == system_property::MESSAGE_ID && value.len() <= MAX_MESSAGE_ID {
            look(&value);
            if let Some(id) = &mut message_id {
                *id = value.into_owned();
            }
        }
    }
    Some((size, message_id))
}

/// The longest message id that is stamped, in bytes; of a message with a longer one the stamp has none. As many ids as
/// messages may wait are kept, and the real hub takes 128 bytes.
const MAX_MESSAGE_ID: usize = 1_024;

/// RETAIN is not obeyed; the message carries it as a property.
const RETAINED: usize = "mqtt-retain".len() + "true".len();
