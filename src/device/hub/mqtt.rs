//! A hub over MQTT: messages of QoS 0 are done when they are written, those of QoS 1 when PUBACK comes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::{Context, Poll};

use super::{Event, Message, Qos};
use crate::azure::mqtt::{self, system_property};
use crate::device::habits::Habits;
use crate::device::mqtt::{Greeting, Session, Span, unexpected};
use crate::net::mqtt::{Outgoing, Packet, Publish};
use crate::net::stream::Stream;
use crate::payload::Payload;
use crate::rng;
use crate::step::{Class, Failure};
use crate::text::Secret;
use crate::time::{Clock, Instant};

thread_local! {
    /// Where a topic is put together: messages of a device that does nothing else cost no allocation.
    static TOPIC: Cell<String> = const { Cell::new(String::new()) };
}

/// A device's connection to its hub.
pub struct HubMqtt {
    session: Session,
    /// The topic, or its part before the property bag.
    topic: Box<str>,
    has_bag: bool,
    /// Not confirmed yet, in the order they were sent.
    unconfirmed: VecDeque<UnderWay>,
    /// QoS 0: not written yet.
    unwritten: VecDeque<UnderWay>,
    /// Whether a message was ever confirmed here.
    confirmed_any: bool,
    /// For devices that do more than send.
    aside: Option<Box<Aside>>,
}

#[derive(Default)]
struct Aside {
    /// Packet ids of what was told with QoS 1 and is not confirmed.
    told: Vec<u16>,
    /// What came while subscriptions were waited for.
    early: VecDeque<Publish>,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    packet_id: u16,
    sequence: u64,
    started: Instant,
}

/// How a device greets its hub.
pub struct Opening<'a> {
    /// The hub's name as DPS wrote it.
    pub host: &'a str,
    /// The device's id there.
    pub device_id: &'a str,
    /// Its token.
    pub token: &'a Secret,
    /// Whole seconds; 0 for no keep-alive.
    pub keep_alive_s: u16,
    /// What it does.
    pub habits: &'static Habits,
    /// Where chance comes from: packet ids.
    pub draws: rng::Stream,
    /// For a broker that is no hub: where messages go; `{id}` stands for the device's id.
    pub topic: Option<&'a str>,
    /// The last packet id on the connection before, 0 if there was none: ids of messages that go again stay theirs.
    pub last_packet_id: u16,
}

impl HubMqtt {
    /// Greets the hub on `stream`.
    ///
    /// # Errors
    /// What the hub refuses, or the network does.
    pub async fn open(
        stream: Stream,
        clock: &Clock,
        mut opening: Opening<'_>,
    ) -> Result<(Self, Span), Failure> {
        let Habits { hub, random_packet_ids, .. } = opening.habits;
        let user_name = mqtt::hub_user_name(opening.host, opening.device_id, hub.api_version, hub.agent);
        let greeting = Greeting {
            client_id: opening.device_id,
            user_name: &user_name,
            password: opening.token,
            clean_session: hub.clean_session,
            keep_alive_s: opening.keep_alive_s,
        };
        let (mut session, connect) = Session::open(stream, clock, &greeting).await?;
        session.write_late();
        if opening.last_packet_id != 0 {
            session.continue_after(opening.last_packet_id);
        } else if *random_packet_ids {
            session.continue_after(opening.draws.bits() as u16);
        }
        let topic = match opening.topic {
            Some(pattern) => pattern.replace("{id}", opening.device_id),
            None => mqtt::events_prefix(opening.device_id),
        };
        let hub = Self {
            session,
            topic: topic.into(),
            has_bag: opening.topic.is_none(),
            unconfirmed: VecDeque::new(),
            unwritten: VecDeque::new(),
            confirmed_any: false,
            aside: None,
        };
        Ok((hub, connect))
    }

    /// Subscribes to `filters`, unless the hub has kept the session in which the device did; when that was asked for and when
    /// it was granted.
    ///
    /// # Errors
    /// What the hub refuses, or the network does.
    pub async fn subscribe(&mut self, clock: &Clock, filters: &[String]) -> Result<Option<Span>, Failure> {
        if filters.is_empty() || self.session.is_resumed() {
            return Ok(None);
        }
        let early = &mut self.aside.get_or_insert_default().early;
        self.session.subscribe_to(clock, filters, early).await.map(Some)
    }

    /// Tells the hub something that is no message of the device; with QoS 1, gives the packet id that
    /// [`Event::Told`] will name.
    ///
    /// # Errors
    /// When topic or body do not fit a packet, or the hub has confirmed nothing for too long; nothing is sent then.
    pub fn tell(
        &mut self,
        clock: &Clock,
        topic: &str,
        body: &[u8],
        qos: Qos,
    ) -> Result<Option<u16>, Failure> {
        if self.aside.as_ref().is_some_and(|aside| aside.told.len() >= MAX_UNCONFIRMED) {
            return Err(Failure::new(Class::NoAnswer, "the hub confirms nothing that it is told"));
        }
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(self.free_packet_id()),
        };
        self.session.publish(clock.now(), &Outgoing { topic, packet_id, dup: false, body })?;
        self.aside.get_or_insert_default().told.extend(packet_id);
        Ok(packet_id)
    }

    /// Hands a message over; an [`Event`] tells what comes of it. Gives the packet id of a message of QoS 1.
    ///
    /// # Errors
    /// When its topic is too long; nothing is sent then.
    pub fn send(&mut self, clock: &Clock, message: &Message<'_>, bag: &Bag) -> Result<u16, Failure> {
        let packet_id = match bag.qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(message.packet_id.unwrap_or_else(|| self.free_packet_id())),
        };
        let started = clock.now();
        let mut scratch = TOPIC.take();
        let topic = if self.has_bag {
            scratch.clear();
            bag.write_topic(&mut scratch, &self.topic, message);
            &scratch
        } else {
            &*self.topic
        };
        let (dup, body) = (message.packet_id.is_some(), message.rendered.body());
        let sent = self.session.publish(started, &Outgoing { topic, packet_id, dup, body });
        TOPIC.set(scratch);
        sent?;
        let packet_id = packet_id.unwrap_or_default();
        let under_way = UnderWay { packet_id, sequence: message.sequence, started };
        match bag.qos {
            Qos::AtMostOnce => self.unwritten.push_back(under_way),
            Qos::AtLeastOnce => self.unconfirmed.push_back(under_way),
        }
        Ok(packet_id)
    }

    fn has_told(&self, id: u16) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.told.contains(&id))
    }

    /// Ids of messages whose confirmation never came stay taken.
    fn free_packet_id(&mut self) -> u16 {
        loop {
            let id = self.session.next_packet_id();
            if !self.unconfirmed.iter().any(|message| message.packet_id == id) && !self.has_told(id) {
                return id;
            }
        }
    }

    /// Whether another message can be handed over. So many at most are unconfirmed as there can be in the window, and as
    /// many again that were given up for being late: a hub that never answers is no reason to grow.
    pub fn can_send(&self) -> bool {
        self.session.is_open() && self.unconfirmed.len() < MAX_UNCONFIRMED
    }

    /// The last packet id that was given out.
    pub fn last_packet_id(&self) -> u16 {
        self.session.last_packet_id()
    }

    /// Whether a message was ever confirmed on this connection.
    pub fn confirmed_any(&self) -> bool {
        self.confirmed_any
    }

    /// Whether a message was sent and is not confirmed.
    pub fn awaits_confirmation(&self) -> bool {
        !self.unconfirmed.is_empty()
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn event(&mut self, clock: &Clock) -> Event {
        std::future::poll_fn(|context| self.poll_event(context, clock)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>, clock: &Clock) -> Poll<Event> {
        if let Some(message) = self.aside.as_mut().and_then(|aside| aside.early.pop_front()) {
            return Poll::Ready(Event::Arrived { message: Box::new(message), at: clock.now() });
        }
        let lost = |failure| {
            let failure = Some(failure);
            Poll::Ready(Event::Lost { failure, unsent: Vec::new(), is_aside_unsent: false })
        };
        match self.session.poll_next(context, clock) {
            Poll::Pending if self.session.is_written() => {
                let Some(message) = self.unwritten.pop_front() else {
                    let has_pinged = self.session.take_pinged();
                    return if has_pinged { Poll::Ready(Event::Pinged) } else { Poll::Pending };
                };
                let UnderWay { sequence, started, .. } = message;
                Poll::Ready(Event::Written { sequence, started, finished: clock.now() })
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Packet::Puback(id))) => {
                let at = self.unconfirmed.iter().position(|message| message.packet_id == id);
                if let Some(UnderWay { sequence, started, .. }) =
                    at.and_then(|at| self.unconfirmed.remove(at))
                {
                    self.confirmed_any = true;
                    let finished = clock.now();
                    return Poll::Ready(Event::Acknowledged { sequence, started, finished });
                }
                if self.has_told(id) {
                    self.aside.get_or_insert_default().told.retain(|told| *told != id);
                    return Poll::Ready(Event::Told { packet_id: id, finished: clock.now() });
                }
                if self.session.has_used(id) {
                    return Poll::Ready(Event::AcknowledgedAgain);
                }
                lost(Failure::new(Class::BadAnswer, &format!("PUBACK of {id}, which was never sent")))
            }
            Poll::Ready(Ok(Packet::Publish(message))) => {
                self.session.confirm(&message);
                Poll::Ready(Event::Arrived { message: Box::new(message), at: clock.now() })
            }
            Poll::Ready(Ok(other)) => lost(unexpected(&other)),
            Poll::Ready(Err(failure)) => lost(failure),
        }
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        !self.session.is_open()
    }

    /// Ends the connection in order.
    pub async fn close(&mut self) {
        self.session.close().await;
    }
}

/// Twice the largest window.
const MAX_UNCONFIRMED: usize = 2_000;

/// The property bag that is the same in every message of one kind.
#[derive(Debug, Clone)]
pub struct Bag {
    qos: Qos,
    /// System properties but the message id, percent-encoded, as they follow it.
    system: Box<str>,
    properties: Vec<Property>,
}

#[derive(Debug, Clone)]
struct Property {
    name: Box<str>,
    /// `None` if its value differs from message to message.
    constant: Option<Box<str>>,
}

impl Bag {
    /// That of `payload`, sent with `qos`.
    pub fn of(payload: &Payload, qos: Qos) -> Self {
        let mut system = String::new();
        mqtt::append_property(&mut system, 0, system_property::CONTENT_TYPE, payload.content_type());
        if let Some(encoding) = payload.content_encoding() {
            mqtt::append_property(&mut system, 0, system_property::CONTENT_ENCODING, encoding);
        }
        let property = |property: &crate::payload::Property| Property {
            name: property.name.clone(),
            constant: property.value.constant().map(Into::into),
        };
        Self { qos, system: system.into(), properties: payload.properties().iter().map(property).collect() }
    }

    /// Appends the topic of a message: system properties first, as the SDKs have it.
    fn write_topic(&self, topic: &mut String, prefix: &str, message: &Message<'_>) {
        topic.push_str(prefix);
        let start = topic.len();
        // Templates render to printable ASCII; anything else would be a bug that the hub may see.
        let id = String::from_utf8_lossy(message.rendered.message_id());
        mqtt::append_property(topic, start, system_property::MESSAGE_ID, &id);
        topic.push('&');
        topic.push_str(&self.system);
        for (property, value) in self.properties.iter().zip(message.rendered.values()) {
            let value = match &property.constant {
                Some(constant) => std::borrow::Cow::Borrowed(&**constant),
                None => String::from_utf8_lossy(value),
            };
            mqtt::append_property(topic, start, &property.name, &value);
        }
    }
}
