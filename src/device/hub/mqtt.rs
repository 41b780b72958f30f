//! A hub over MQTT: messages of QoS 0 are done when they are written, those of QoS 1 when PUBACK comes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::{Context, Poll};

use super::{Event, Message, Qos};
use crate::azure::mqtt::{self, system_property};
use crate::device::habits::{BagHabits, Habits, HubHabits, PacketIds, RequestIds, Subscribe, uuid};
use crate::device::mqtt::{Greeting, Session, Span, unexpected};
use crate::net::mqtt::{self as net, Outgoing, Packet, Publish};
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
    habits: &'static HubHabits,
    /// Whether a message of QoS 0 takes a packet id as well.
    counts_all: bool,
    /// Of request ids.
    draws: rng::Stream,
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

/// What was before a connection to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// None.
    Nothing,
    /// One that was left for a new token.
    Renewal,
    /// One that was lost.
    Loss,
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
    /// Where chance comes from: packet ids and request ids.
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
        let Habits { hub, packet_ids, .. } = opening.habits;
        let agent = (hub.agent, hub.agent_spelling);
        let user_name = mqtt::hub_user_name_as(opening.host, opening.device_id, hub.api_version, agent);
        let greeting = Greeting {
            client_id: opening.device_id,
            user_name: &user_name,
            password: opening.token,
            clean_session: hub.clean_session,
            keep_alive_s: opening.keep_alive_s,
        };
        let (mut session, connect) = Session::open(stream, clock, &greeting).await?;
        session.write_late();
        match opening.last_packet_id {
            0 => session.begin_packet_ids(*packet_ids, true, &mut opening.draws),
            last => session.continue_after(last),
        }
        let topic = match opening.topic {
            Some(pattern) => pattern.replace("{id}", opening.device_id),
            None => mqtt::events_prefix(opening.device_id),
        };
        let connection = Self {
            session,
            topic: topic.into(),
            has_bag: opening.topic.is_none(),
            unconfirmed: VecDeque::new(),
            unwritten: VecDeque::new(),
            confirmed_any: false,
            habits: hub,
            counts_all: *packet_ids == PacketIds::CountAll,
            draws: opening.draws,
            aside: None,
        };
        Ok((connection, connect))
    }

    /// Subscribes to `filters`, each with its QoS, if the device has the habit of doing so after what was before; when that was
    /// asked for and when it was granted.
    ///
    /// # Errors
    /// What the hub refuses, or the network does.
    pub async fn subscribe(
        &mut self,
        clock: &Clock,
        filters: &[(String, net::Qos)],
        before: Before,
    ) -> Result<Option<Span>, Failure> {
        let subscribes = match self.habits.subscribing.when {
            Subscribe::IfForgotten => !self.session.is_resumed(),
            Subscribe::Once => before == Before::Nothing,
            Subscribe::AfterLoss => before != Before::Renewal,
            Subscribe::Always => true,
        };
        if !subscribes || filters.is_empty() {
            return Ok(None);
        }
        let early = &mut self.aside.get_or_insert_default().early;
        let at_once = if self.habits.subscribing.is_one_by_one { 1 } else { filters.len() };
        let mut whole: Option<Span> = None;
        for filters in filters.chunks(at_once) {
            let (started, finished) = self.session.subscribe(clock, filters, early).await?;
            whole = Some((whole.map_or(started, |(first, _)| first), finished));
        }
        Ok(whole)
    }

    /// The id of the next request about the twin; `None` for devices that count them over all connections.
    pub fn request_id(&mut self) -> Option<String> {
        match self.habits.request_ids {
            RequestIds::Counted => None,
            RequestIds::PacketId => Some(self.free_packet_id().to_string()),
            RequestIds::Uuid => Some(uuid(&mut self.draws)),
        }
    }

    /// Tells the hub what a method answers.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub fn reply(&mut self, clock: &Clock, topic: &str, body: &[u8]) -> Result<Option<u16>, Failure> {
        let qos = self.habits.reply_qos;
        if self.counts_all && qos == Qos::AtMostOnce {
            self.free_packet_id();
        }
        self.tell(clock, topic, body, qos)
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
    habits: BagHabits,
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
    pub fn of(payload: &Payload, qos: Qos, habits: BagHabits) -> Self {
        let mut system = String::new();
        let mut append = |property| mqtt::append_property_as(&mut system, 0, property, habits.spelling);
        append((system_property::CONTENT_TYPE, payload.content_type()));
        if let Some(encoding) = payload.content_encoding() {
            append((system_property::CONTENT_ENCODING, encoding));
        }
        let property = |property: &crate::payload::Property| Property {
            name: property.name.clone(),
            constant: property.value.constant().map(Into::into),
        };
        let properties = payload.properties().iter().map(property).collect();
        Self { qos, habits, system: system.into(), properties }
    }

    /// Appends the topic of a message.
    fn write_topic(&self, topic: &mut String, prefix: &str, message: &Message<'_>) {
        topic.push_str(prefix);
        let start = topic.len();
        if self.habits.is_application_first {
            self.append_application(topic, start, message);
        }
        // Templates render to printable ASCII; anything else would be a bug that the hub may see.
        let id = String::from_utf8_lossy(message.rendered.message_id());
        let id = (system_property::MESSAGE_ID, &*id);
        mqtt::append_property_as(topic, start, id, self.habits.spelling);
        topic.push('&');
        topic.push_str(&self.system);
        if !self.habits.is_application_first {
            self.append_application(topic, start, message);
        }
    }

    fn append_application(&self, topic: &mut String, start: usize, message: &Message<'_>) {
        for (property, value) in self.properties.iter().zip(message.rendered.values()) {
            let value = match &property.constant {
                Some(constant) => std::borrow::Cow::Borrowed(&**constant),
                None => String::from_utf8_lossy(value),
            };
            mqtt::append_property_as(topic, start, (&property.name, &value), self.habits.spelling);
        }
    }
}
