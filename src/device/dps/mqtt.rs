//! DPS over MQTT.
//!
//! A wrong key is not refused with the greeting: the service answers the register request with 401.

use super::{Answer, Exchanged};
use crate::azure::{dps, mqtt};
use crate::device::mqtt::{AGENT, Greeting, Session, Span, unexpected, unfit};
use crate::net::mqtt::{Packet, Publish, Qos};
use crate::net::stream::Stream;
use crate::step::Failure;
use crate::text::Secret;
use crate::time::{Clock, Instant};

/// A device's connection to DPS.
pub struct DpsMqtt {
    session: Session,
    /// Number of the last request.
    rid: u64,
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
    /// * `keep_alive_s`: whole seconds; 0 for none
    ///
    /// # Errors
    /// What the service refuses, or the network does.
    pub async fn open(
        stream: Stream,
        clock: &Clock,
        id_scope: &str,
        registration_id: &str,
        token: &Secret,
        keep_alive_s: u16,
    ) -> Result<(Self, Opened), Failure> {
        let user_name = mqtt::dps_user_name(id_scope, registration_id, AGENT);
        let greeting = Greeting {
            client_id: registration_id,
            user_name: &user_name,
            password: token,
            // DPS keeps no session.
            clean_session: true,
            keep_alive_s,
        };
        let (mut session, connect) = Session::open(stream, clock, &greeting).await?;
        let subscribe = session.subscribe(clock, mqtt::DPS_RESPONSES).await?;
        Ok((Self { session, rid: 0 }, Opened { connect, subscribe }))
    }

    /// Whether another request can be made.
    pub fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// The register request.
    pub async fn register(&mut self, clock: &Clock, registration_id: &str) -> Exchanged {
        let body = dps::RegisterBody { registration_id: registration_id.to_owned(), payload: None };
        let body = serde_json::to_vec(&body).expect("an id is valid JSON");
        self.rid += 1;
        self.exchange(clock, &mqtt::register_topic(self.rid), &body).await
    }

    /// The question how an operation stands.
    pub async fn poll(&mut self, clock: &Clock, operation: &str) -> Exchanged {
        self.rid += 1;
        // A body of one space, as the SDKs send it.
        self.exchange(clock, &mqtt::poll_topic(self.rid, operation), b" ").await
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
        self.session.close().await;
    }

    async fn exchange(&mut self, clock: &Clock, topic: &str, body: &[u8]) -> Exchanged {
        let request = Publish::builder()
            .topic_name(topic)
            .and_then(|publish| {
                let id = self.session.next_packet_id();
                publish.qos(Qos::AtLeastOnce).packet_id(id).payload(body).build()
            })
            // The operation id is the service's text, and may be too long for a topic.
            .map_err(|error| unfit(&format!("{error:?}")));
        let request = match request {
            Ok(request) => request,
            Err(failure) => return Exchanged { result: Err(failure), span: None },
        };
        let started = clock.now();
        self.session.publish(started, &request);
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
                    if response.rid.parse() == Ok(self.rid) {
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
