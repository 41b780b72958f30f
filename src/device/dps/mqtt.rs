//! DPS over MQTT.
//!
//! A wrong key is not refused with the greeting: the service answers the register request with 401.

use std::collections::VecDeque;

use super::{Answer, Exchanged};
use crate::azure::mqtt;
use crate::device::habits::{DpsHabits, Habits, PollBody, RequestIds, uuid};
use crate::device::hub::Qos as Service;
use crate::device::mqtt::{Greeting, Session, Span, unexpected};
use crate::net::mqtt::{Outgoing, Packet, Qos};
use crate::net::stream::Stream;
use crate::rng;
use crate::step::Failure;
use crate::text::Secret;
use crate::time::{Clock, Instant};

/// A device's connection to DPS.
pub struct DpsMqtt {
    session: Session,
    habits: &'static DpsHabits,
    registration_id: Box<str>,
    /// Of random request ids.
    draws: rng::Stream,
    /// How many requests there were.
    requests: u64,
    /// Id of the last one.
    rid: Box<str>,
}

/// How a device greets DPS.
pub struct Opening<'a> {
    /// The instance.
    pub id_scope: &'a str,
    /// Who registers.
    pub registration_id: &'a str,
    /// Its token.
    pub token: &'a Secret,
    /// Whole seconds; 0 for no keep-alive.
    pub keep_alive_s: u16,
    /// What it does.
    pub habits: &'static Habits,
    /// Where chance comes from: packet ids and request ids.
    pub draws: rng::Stream,
}

/// The exchanges that opening a connection took.
pub struct Opened {
    /// CONNECT until CONNACK.
    pub connect: Span,
    /// SUBSCRIBE until SUBACK.
    pub subscribe: Span,
}

impl DpsMqtt {
    /// Greets DPS on `stream` and subscribes to its answers.
    ///
    /// # Errors
    /// What the service refuses, or the network does.
    pub async fn open(
        stream: Stream,
        clock: &Clock,
        opening: Opening<'_>,
    ) -> Result<(Self, Opened), Failure> {
        let Opening { id_scope, registration_id, token, keep_alive_s, habits, mut draws } = opening;
        let dps = &habits.dps;
        let agent = (dps.agent, dps.agent_spelling);
        let greeting = Greeting {
            client_id: registration_id,
            user_name: &mqtt::dps_user_name_as(id_scope, registration_id, dps.api_version, agent),
            password: token,
            clean_session: dps.clean_session,
            keep_alive_s,
        };
        let (mut session, connect) = Session::open(stream, clock, &greeting).await?;
        session.begin_packet_ids(habits.packet_ids, false, &mut draws);
        let wanted = [(mqtt::DPS_RESPONSES.to_owned(), Qos::AtLeastOnce)];
        let subscribe = session.subscribe(clock, &wanted, &mut VecDeque::new()).await?;
        let registration_id = registration_id.into();
        let dps = Self { session, habits: dps, registration_id, draws, requests: 0, rid: Box::default() };
        Ok((dps, Opened { connect, subscribe }))
    }

    /// Whether another request can be made.
    pub fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// The register request.
    pub async fn register(&mut self, clock: &Clock) -> Exchanged {
        let body = self.habits.body.of(&self.registration_id);
        let packet_id = self.begin();
        self.exchange(clock, packet_id, &mqtt::register_topic(&self.rid), &body).await
    }

    /// The question how an operation stands.
    pub async fn poll(&mut self, clock: &Clock, operation: &str) -> Exchanged {
        let body = match self.habits.poll_body {
            PollBody::Space => b" ".to_vec(),
            PollBody::Registration => self.habits.body.of(&self.registration_id),
        };
        let packet_id = self.begin();
        self.exchange(clock, packet_id, &mqtt::poll_topic(&self.rid, operation), &body).await
    }

    /// Makes the ids of the next request; the packet id of it.
    fn begin(&mut self) -> u16 {
        let before = self.session.last_packet_id();
        let packet_id = self.session.next_packet_id();
        self.requests += 1;
        self.rid = match self.habits.request_ids {
            RequestIds::Counted => self.requests.to_string(),
            // The topic is written before the packet's id is drawn (prov_transport_mqtt_common.c, send_register_message).
            RequestIds::PacketId => before.to_string(),
            RequestIds::Uuid => uuid(&mut self.draws),
        }
        .into();
        packet_id
    }

    /// Keeps the connection alive between two requests; ends when it does. Dropping the future loses nothing.
    pub async fn idle(&mut self, clock: &Clock) {
        while self.session.is_open() {
            // An answer to a request that was given up is of no use any more.
            if let Ok(Packet::Publish(message)) = self.session.next(clock).await {
                self.session.confirm(&message);
            }
        }
    }

    /// Ends the connection in order.
    pub async fn close(&mut self) {
        if self.habits.unsubscribes && self.session.is_open() {
            // Its failure is that of the connection, which ends anyway.
            let _ = self.session.unsubscribe(mqtt::DPS_RESPONSES).await;
        }
        self.session.close().await;
    }

    async fn exchange(&mut self, clock: &Clock, packet_id: u16, topic: &str, body: &[u8]) -> Exchanged {
        let packet_id = match self.habits.qos {
            Service::AtMostOnce => None,
            Service::AtLeastOnce => Some(packet_id),
        };
        let started = clock.now();
        // The operation id is the service's text, and may be too long for a topic.
        if let Err(failure) = self.session.publish(started, &Outgoing { topic, packet_id, dup: false, body })
        {
            return Exchanged { result: Err(failure), span: None };
        }
        match self.answer(clock).await {
            Ok((result, finished)) => Exchanged { result, span: Some((started, finished)) },
            Err(failure) => Exchanged { result: Err(failure), span: None },
        }
    }

    /// Waits for the answer to the last request.
    async fn answer(&mut self, clock: &Clock) -> Result<(Result<Answer, Failure>, Instant), Failure> {
        loop {
            match self.session.next(clock).await? {
                Packet::Publish(message) => {
                    let finished = clock.now();
                    self.session.confirm(&message);
                    let Some(response) = mqtt::DpsResponse::parse(message.topic_name()) else { continue };
                    // Those to other requests are dropped, as by the SDKs.
                    if response.rid == &*self.rid {
                        let body = message.payload().as_slice();
                        let result =
                            super::interpret(response.status, response.retry_after, body, clock.wall());
                        return Ok((result, finished));
                    }
                }
                Packet::Puback(_) => {}
                other => return Err(unexpected(&other)),
            }
        }
    }
}
