//! What goes both ways between a hub and a device over MQTT: twins, direct methods, messages from the cloud.
//!
//! A device asks with a PUBLISH and is answered with another, at QoS 0 as the real hub does. What it is told unasked comes
//! out of its mailbox once everything before it is written, so that a device that does not read makes nothing pile up
//! here. A message from the cloud is pulled from the device's queue and stays there until its PUBACK.

use super::hub::HubSession;
use super::session::MAX_QUEUED;
use super::{Front, Moment};
use crate::azure::hub::HubError;
use crate::azure::mqtt::system_property::{CONTENT_ENCODING, CONTENT_TYPE, MESSAGE_ID};
use crate::azure::two_way::system_property::{ACK, CORRELATION_ID, EXPIRY, TO, USER_ID};
use crate::azure::two_way::{
    MAX_METHOD_PAYLOAD, TwinRequest, desired_topic, devicebound_topic, method_topic,
    parse_method_response_topic, twin_response_topic,
};
use crate::emulator::cloud_to_device::{Ack, Delivery};
use crate::emulator::hub::Filter;
use crate::emulator::ledger::{Ending, Operation};
use crate::emulator::mailbox::{Mail, MethodAnswer};
use crate::emulator::reply_body;
use crate::emulator::service::HubRefusal;
use crate::emulator::throttle::Traffic;
use crate::net::mqtt::{PacketStream, Publish, Qos};
use crate::time::{Instant, UnixTime};

/// Bytes that may wait to be written to a device, whatever it asked for: only one that has left comes near.
const MAX_BACKLOG: usize = 1024 * 1024;

impl HubSession {
    /// Takes what a device sends to a topic of `$iothub`.
    pub(super) fn two_way(
        &mut self,
        front: &Front,
        packets: &mut PacketStream,
        publish: &Publish,
        moment: Moment,
    ) -> Result<(), Ending> {
        let topic = publish.topic_name();
        if let Some(packet_id) = publish.packet_id() {
            packets.send_puback(packet_id);
        }
        if let Some((status, rid)) = parse_method_response_topic(topic) {
            return self.method_answer(front, publish, status, rid, moment);
        }
        let request = TwinRequest::parse(topic).ok_or(Ending::Protocol)?;
        let (operation, rid, result) = match request {
            TwinRequest::Get { rid } => (Operation::MqttTwinGet, rid, self.twin(front, moment)),
            TwinRequest::Patch { rid } => {
                (Operation::MqttTwinPatch, rid, self.report(front, publish.payload().as_slice(), moment))
            }
        };
        let (status, version, body) = match result {
            Ok((status, version, body)) => (status, version, body),
            Err(refusal) => {
                let path = format!("{}/{topic}", self.device().device_id());
                let id = reply_body::request_id(front.seed, &path, moment.arrived);
                (refusal.error.status(), None, reply_body::device_error(&refusal, &id, moment.wall))
            }
        };
        front.counters.request(operation, status);
        // Without subscription the answer is lost, as with the real hub: what was asked is done all the same.
        match self.subscriptions().granted(Filter::TwinResponses) {
            None => Ok(()),
            Some(_) => self.push(packets, twin_response_topic(status, rid, version), body, None),
        }
    }

    fn twin(&self, front: &Front, moment: Moment) -> Result<(u16, Option<u64>, Vec<u8>), HubRefusal> {
        let device = self.device();
        let hub = front.service.hub_of_device(device);
        let twin = hub.twin_for_device(device.device_id()).map_err(HubRefusal::from);
        let size = twin.as_ref().map_or(0, Vec::len) as u64;
        front.service.admit(device.hub_index(), Traffic::TwinRead, moment.now, moment.wall, size)?;
        hub.two_way.twin_gets.add(1);
        Ok((200, None, twin?))
    }

    fn report(
        &self,
        front: &Front,
        patch: &[u8],
        moment: Moment,
    ) -> Result<(u16, Option<u64>, Vec<u8>), HubRefusal> {
        let device = self.device();
        let size = patch.len() as u64;
        front.service.admit(device.hub_index(), Traffic::TwinUpdate, moment.now, moment.wall, size)?;
        let hub = front.service.hub_of_device(device);
        let version = hub.report(device.device_id(), patch, moment.wall)?;
        Ok((204, Some(version), Vec::new()))
    }

    /// Passes an answer on to whoever waits for it. One that comes too late is no error of the device's.
    fn method_answer(
        &self,
        front: &Front,
        publish: &Publish,
        status: i32,
        rid: &str,
        moment: Moment,
    ) -> Result<(), Ending> {
        let payload = publish.payload().as_slice();
        let answered = if payload.len() > MAX_METHOD_PAYLOAD {
            Err(HubError::MESSAGE_TOO_LARGE)
        } else {
            let (hub, Moment { now, wall, .. }) = (self.device().hub_index(), moment);
            let size = payload.len() as u64;
            let admitted = front.service.admit(hub, Traffic::Method, now, wall, size);
            admitted.map_err(|refusal| refusal.error).and_then(|()| {
                let answer = MethodAnswer { status, payload: payload.to_vec() };
                if !self.mailbox().answer(rid, answer) {
                    return Err(HubError::DEVICE_NOT_FOUND);
                }
                front.service.hub_of_device(self.device()).two_way.methods_answered.add(1);
                Ok(())
            })
        };
        front.counters.request(Operation::MqttMethodReply, answered.map_or_else(HubError::status, |()| 204));
        match answered {
            Err(HubError::MESSAGE_TOO_LARGE) => Err(Ending::TooLarge),
            Err(HubError::THROTTLED) => Err(Ending::Throttled),
            Err(HubError::QUOTA_EXCEEDED) => Err(Ending::Quota),
            _ => Ok(()),
        }
    }

    /// Completes the message that a PUBACK confirms.
    pub(super) fn confirmed(&self, front: &Front, packet_id: u16) {
        let hub = front.service.hub_of_device(self.device());
        let is_known = hub.confirm_message(self.device().device_id(), self.number(), packet_id);
        front.counters.request(Operation::MqttC2dSettle, if is_known { 204 } else { 404 });
    }

    /// Sends what there is for the device, as far as it reads.
    pub(super) fn deliver(&mut self, front: &Front, packets: &mut PacketStream) -> Result<(), Ending> {
        let (now, wall) = (front.clock.now(), front.clock.wall());
        while packets.queued() <= MAX_QUEUED {
            match self.mailbox().take() {
                Some(Mail::Desired(update)) => {
                    if self.subscriptions().granted(Filter::TwinDesired).is_some() {
                        self.push(packets, desired_topic(update.version), update.body.clone(), None)?;
                        front.service.hub_of_device(self.device()).two_way.desired_pushes.add(1);
                    }
                }
                Some(Mail::Method(call)) => {
                    let topic = method_topic(&call.name, &call.rid.to_string());
                    self.push(packets, topic, call.payload.clone(), None)?;
                }
                None => break,
            }
        }
        if self.mailbox().take_announcement() {
            self.deliver_messages(front, packets, now, wall)?;
        }
        Ok(())
    }

    fn deliver_messages(
        &mut self,
        front: &Front,
        packets: &mut PacketStream,
        now: Instant,
        wall: UnixTime,
    ) -> Result<(), Ending> {
        let Some(granted) = self.subscriptions().granted(Filter::DeviceBound) else { return Ok(()) };
        let is_confirmed = granted > 0;
        let hub = front.service.hub_of_device(self.device());
        loop {
            if packets.queued() > MAX_QUEUED {
                // The rest when this is written.
                self.mailbox().announce_messages();
                return Ok(());
            }
            let id = self.device().device_id();
            let Some(delivery) = hub.next_message(id, now, wall, self.number(), is_confirmed) else {
                return Ok(());
            };
            let topic = topic_of(id, &delivery);
            let confirmation = is_confirmed.then_some((delivery.packet_id, delivery.is_again));
            self.push(packets, topic, delivery.message.body.clone(), confirmation)?;
        }
    }

    /// Puts a message to the device into the queue to be written.
    ///
    /// * `confirmation`: packet id of a message at QoS 1, and whether it was sent before
    fn push(
        &mut self,
        packets: &mut PacketStream,
        topic: String,
        body: Vec<u8>,
        confirmation: Option<(u16, bool)>,
    ) -> Result<(), Ending> {
        let message = Publish::builder()
            .topic_name(topic)
            // Names longer than a topic may be: a request id that fills the request's leaves no room for the answer's.
            .map_err(|_| Ending::Protocol)?
            .payload(body);
        let message = match confirmation {
            None => message.qos(Qos::AtMostOnce),
            Some((packet_id, is_again)) => message.qos(Qos::AtLeastOnce).packet_id(packet_id).dup(is_again),
        };
        packets.send(&message.build().map_err(|_| Ending::Protocol)?);
        if packets.queued() > MAX_BACKLOG {
            return Err(Ending::SlowReader);
        }
        self.set_slack(packets.queued());
        Ok(())
    }
}

/// Topic of a message from the cloud: what its sender set, system properties first.
fn topic_of(device_id: &str, delivery: &Delivery) -> String {
    let message = &delivery.message;
    let to = format!("/devices/{device_id}/messages/deviceBound");
    let expiry = message.expiry.map(|expiry| expiry.to_rfc3339(7));
    let ack = (message.ack != Ack::None).then(|| message.ack.name());
    let system = [
        (TO, Some(to.as_str())),
        (MESSAGE_ID, message.message_id.as_deref()),
        (CORRELATION_ID, message.correlation_id.as_deref()),
        (USER_ID, message.user_id.as_deref()),
        (CONTENT_TYPE, message.content_type.as_deref()),
        (CONTENT_ENCODING, message.content_encoding.as_deref()),
        (EXPIRY, expiry.as_deref()),
        (ACK, ack),
    ];
    let system = system.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let own = message.properties.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    devicebound_topic(device_id, system, own)
}
