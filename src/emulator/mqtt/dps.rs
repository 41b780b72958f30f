//! DPS over MQTT: register and poll.
//!
//! Source: <https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-dps>

use super::{Front, Moment};
use crate::azure::dps::{MAX_BODY, error_code};
use crate::azure::mqtt::{DPS_RESPONSES, DpsRequest, response_topic};
use crate::emulator::entrance::Told;
use crate::emulator::ledger::{Ending, Operation};
use crate::emulator::reply_body::{self, NO_API_VERSION, OperationReply};
use crate::emulator::service::DpsRefusal;
use crate::net::mqtt::{PacketStream, Publish, Qos};
use crate::text::Secret;

/// A client that wants to register. Whether it may is found out with each request: the real service lets in everybody, and
/// refuses the request.
pub(super) struct DpsSession {
    id_scope: String,
    registration_id: String,
    has_version: bool,
    token: Option<Secret>,
    told: Told,
    /// QoS at which it is answered; `None` as long as it has not subscribed.
    answers: Option<Qos>,
    last_packet_id: u16,
}

impl DpsSession {
    /// * `has_version`: the user name has an api-version that is one
    /// * `told`: how it is told of its hub
    pub(super) fn new(
        id_scope: String,
        registration_id: String,
        has_version: bool,
        token: Option<Secret>,
        told: Told,
    ) -> Self {
        Self { id_scope, registration_id, has_version, token, told, answers: None, last_packet_id: 0 }
    }

    /// The QoS that a subscription is granted; `None` if there is nothing of that name.
    pub(super) fn subscribe(&mut self, filter: &str, qos: Qos) -> Option<u8> {
        if filter != DPS_RESPONSES {
            return None;
        }
        let granted = match qos {
            Qos::AtMostOnce => Qos::AtMostOnce,
            _ => Qos::AtLeastOnce,
        };
        self.answers = Some(granted);
        Some(granted as u8)
    }

    pub(super) fn unsubscribe(&mut self, filter: &str) {
        if filter == DPS_RESPONSES {
            self.answers = None;
        }
    }

    /// Answers a request.
    pub(super) fn publish(
        &mut self,
        front: &Front,
        packets: &mut PacketStream,
        publish: &Publish,
        moment: Moment,
    ) -> Result<(), Ending> {
        let topic = publish.topic_name();
        let request = DpsRequest::parse(topic).ok_or(Ending::Protocol)?;
        // Nobody would hear the answer. A client with that mistake learns of it at once, and not by a timeout.
        let qos = self.answers.ok_or(Ending::Protocol)?;
        let (operation, rid) = match &request {
            DpsRequest::Register { rid } => (Operation::MqttRegister, *rid),
            DpsRequest::Poll { rid, .. } => (Operation::MqttPoll, *rid),
        };
        let (status, body, retry_after) = match self.decide(front, &request, publish, moment) {
            Ok(reply) => (reply.status, reply_body::json(&reply.body), reply.retry_after),
            Err(refusal) => {
                let path = format!("{}/registrations/{}/{topic}", self.id_scope, self.registration_id);
                let id = reply_body::request_id(front.seed, &path, moment.arrived);
                let body = reply_body::dps_error(&refusal, &id, moment.wall);
                (reply_body::status_of(refusal.code), body, refusal.retry_after)
            }
        };
        if let Some(packet_id) = publish.packet_id() {
            packets.send_puback(packet_id);
        }
        let mut answer = Publish::builder()
            .topic_name(response_topic(status, rid, retry_after.map(|wait| wait.as_secs())))
            // A request id as long as a topic may be leaves no room for the answer's.
            .map_err(|_| Ending::Protocol)?
            .qos(qos)
            .payload(body);
        if qos == Qos::AtLeastOnce {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            answer = answer.packet_id(self.last_packet_id);
        }
        packets.send(&answer.build().map_err(|_| Ending::Protocol)?);
        front.counters.request(operation, status);
        Ok(())
    }

    fn decide(
        &self,
        front: &Front,
        request: &DpsRequest<'_>,
        publish: &Publish,
        moment: Moment,
    ) -> Result<OperationReply, DpsRefusal> {
        if !self.has_version {
            return Err(NO_API_VERSION);
        }
        let Moment { now, wall, .. } = moment;
        let token = self.token.as_ref().and_then(Secret::expose_text);
        let service = &front.service;
        let who = service.authenticate_registration(&self.id_scope, &self.registration_id, token, wall)?;
        let who = who.told(self.told);
        let body = publish.payload().as_slice();
        if body.len() > MAX_BODY {
            return Err(DpsRefusal::new(error_code::TOO_LARGE, "the body is too large"));
        }
        let (progress, is_register) = match request {
            DpsRequest::Register { .. } => {
                reply_body::check_register_body(body, &self.registration_id)?;
                (service.register(now, wall, &who)?, true)
            }
            // Its body is a space or nothing.
            DpsRequest::Poll { operation_id, .. } => (service.poll(now, &who, operation_id)?, false),
        };
        Ok(OperationReply::new(progress, &self.registration_id, is_register))
    }
}
