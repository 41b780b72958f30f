//! One client's connection from CONNACK to its end: reading, keep-alive, freezes, subscriptions; what a message means is
//! for [`super::dps`] and [`super::hub`] to say.
//!
//! All packets that have come by the time they are read are answered with one write, so that an emulator with more to do
//! than it can gets cheaper per message, and not dearer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::dps::DpsSession;
use super::hub::HubSession;
use super::{Front, Moment, ending_of, longest_silence};
use crate::azure::dps::MAX_BODY;
use crate::azure::hub::MAX_MESSAGE;
use crate::emulator::ledger::Ending;
use crate::net::mqtt::{
    Packet, PacketStream, Publish, Qos, Suback, SubackReturnCode, Subscribe, Unsubscribe,
};
use crate::time::{Instant, Sleep};

/// A client that has more than this many bytes to read, and does not, is closed.
pub(super) const MAX_QUEUED: usize = 64 * 1024;

/// Bytes of answers that may wait while there is more to read: 256 PUBACKs.
const PATIENCE: usize = 1_024;

/// Packets or messages of one connection that may wait, for the end of a freeze or in the hub's queue, before no more is
/// read from it.
pub(super) const MAX_HELD: usize = 1_000;

/// The same for the bytes of packets that wait for the end of a freeze: the largest message fits, and then another.
const MAX_FROZEN_BYTES: usize = 2 * MAX_MESSAGE;

/// What a filter takes besides its text, in bytes: a little more than it really does.
const FILTER: usize = 64;

/// Most filters that one SUBSCRIBE is granted.
const MAX_FILTERS: usize = 5;

/// Whose connection it is.
pub(super) enum Role {
    /// DPS's.
    Dps(DpsSession),
    /// A hub's.
    Hub(Box<HubSession>),
}

/// A client that has been let in.
pub(super) struct Session<'a> {
    front: &'a Front,
    packets: PacketStream,
    role: Role,
    /// How long nothing need come.
    silence: Duration,
    /// When something came last.
    heard: Instant,
    frozen: Frozen,
    /// The end of a freeze that keeps mail from the device.
    quiet: Option<Instant>,
    /// How the connection ended while packets were frozen that still count.
    leaving: Option<Ending>,
    /// Kept until it fires: what it waits for mostly moves away before it is reached.
    timer: Option<(Instant, Sleep)>,
}

/// Packets that arrived while the service was frozen, in their order.
#[derive(Default)]
struct Frozen {
    packets: VecDeque<(Packet, Instant)>,
    bytes: usize,
    until: Option<Instant>,
}

/// What a session waits for.
enum Event {
    Packet(Packet),
    Over(Ending),
    /// The hub has something for the device.
    Mail,
    Time,
}

impl Role {
    /// Largest body of a message, in bytes.
    pub(super) fn max_body(&self) -> usize {
        match self {
            Self::Dps(_) => MAX_BODY,
            Self::Hub(_) => MAX_MESSAGE,
        }
    }

    fn grant(&mut self, filter: &str, qos: Qos) -> SubackReturnCode {
        let granted = match self {
            Self::Dps(dps) => dps.subscribe(filter, qos),
            Self::Hub(hub) => hub.subscribe(filter, qos),
        };
        match granted {
            Some(0) => SubackReturnCode::SuccessMaximumQos0,
            Some(_) => SubackReturnCode::SuccessMaximumQos1,
            None => SubackReturnCode::Failure,
        }
    }
}

impl<'a> Session<'a> {
    /// * `keep_alive_s`: as the client wants it
    pub(super) fn new(front: &'a Front, mut packets: PacketStream, role: Role, keep_alive_s: u16) -> Self {
        packets.set_patience(PATIENCE);
        Self {
            front,
            packets,
            role,
            silence: longest_silence(keep_alive_s),
            heard: front.clock.now(),
            frozen: Frozen::default(),
            quiet: None,
            leaving: None,
            timer: None,
        }
    }

    /// Serves the client until the connection is to be closed.
    pub(super) async fn run(&mut self) -> Ending {
        loop {
            let done = match self.catch_up() {
                Err(ending) => Err(ending),
                Ok(()) => match self.wait().await {
                    Event::Packet(packet) => self.take(packet),
                    Event::Over(ending) if self.frozen.packets.is_empty() => Err(ending),
                    // What came before it counts, once the service thaws: it had arrived.
                    Event::Over(ending @ (Ending::Gone | Ending::Malformed | Ending::TooLarge)) => {
                        self.leaving = Some(ending);
                        Ok(())
                    }
                    Event::Over(ending) => Err(ending),
                    Event::Mail => self.deliver(),
                    Event::Time => Ok(()),
                },
            };
            if let Err(ending) = done {
                return ending;
            }
        }
    }

    /// Settles what the end of the connection leaves behind; the stream, to be closed.
    pub(super) fn end(mut self, ending: Ending) -> PacketStream {
        self.front.counters.abandoned.add(self.frozen.requests());
        if let Role::Hub(hub) = &mut self.role {
            hub.end(self.front, ending);
        }
        self.packets
    }

    /// Does what is due by now.
    fn catch_up(&mut self) -> Result<(), Ending> {
        let now = self.front.clock.now();
        if let Role::Hub(hub) = &mut self.role {
            hub.release(self.front, &mut self.packets, now);
        }
        self.quiet.take_if(|until| *until <= now);
        if self.frozen.until.is_some_and(|until| until <= now) {
            self.frozen.until = None;
        }
        if self.frozen.until.is_none() {
            let wall = self.front.clock.wall();
            while !self.is_backlogged()
                && let Some((packet, arrived)) = self.frozen.packets.pop_front()
            {
                self.handle(packet, Moment { arrived, now, wall })?;
            }
            if self.frozen.packets.is_empty() {
                self.frozen.bytes = 0;
            }
        }
        if self.frozen.packets.is_empty()
            && let Some(ending) = self.leaving
        {
            return Err(ending);
        }
        if self.expires().is_some_and(|expires| expires <= now) {
            return Err(Ending::Expired);
        }
        // Whoever is not listened to, or waits for an answer, is not silent; unless it does not read the answers it has.
        let is_backlogged = self.is_backlogged();
        if !is_backlogged && (!self.is_reading() || self.frozen.until.is_some()) {
            self.heard = now;
        } else if self.heard + self.silence <= now {
            return Err(if is_backlogged { Ending::SlowReader } else { Ending::KeepAlive });
        }
        Ok(())
    }

    /// Takes in a packet and all that came with it.
    fn take(&mut self, packet: Packet) -> Result<(), Ending> {
        let (now, wall) = (self.front.clock.now(), self.front.clock.wall());
        let moment = Moment { arrived: now, now, wall };
        self.heard = now;
        let held_until = self.front.service.held_until(now);
        let mut next = Some(packet);
        while let Some(packet) = next {
            if held_until.is_some() || self.frozen.until.is_some() || !self.frozen.packets.is_empty() {
                self.frozen.push(packet, now, held_until);
            } else {
                self.handle(packet, moment)?;
            }
            let goes_on = self.is_reading() && !self.is_backlogged();
            next = if goes_on { self.packets.take_ready() } else { None };
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), Ending> {
        // A frozen service tells nobody anything either.
        self.quiet = self.front.service.held_until(self.front.clock.now());
        match &mut self.role {
            Role::Hub(_) if self.quiet.is_some() => Ok(()),
            Role::Dps(_) => Ok(()),
            Role::Hub(hub) => hub.deliver(self.front, &mut self.packets),
        }
    }

    fn handle(&mut self, packet: Packet, moment: Moment) -> Result<(), Ending> {
        match packet {
            Packet::Publish(publish) => self.publish(&publish, moment),
            Packet::Pingreq => {
                self.packets.send_pingresp();
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            // Nothing is sent again within a connection [MQTT-4.4.0-1]: at DPS nobody waits for it.
            Packet::Puback(packet_id) => {
                if let Role::Hub(hub) = &self.role {
                    hub.confirmed(self.front, packet_id);
                }
                Ok(())
            }
            Packet::Disconnect => Err(Ending::Disconnect),
            // A second CONNECT [MQTT-3.1.0-2], what only servers send, and QoS 2.
            Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp
            | Packet::Qos2(_) => Err(Ending::Protocol),
        }
    }

    fn publish(&mut self, publish: &Publish, moment: Moment) -> Result<(), Ending> {
        // [MQTT-3.3.1-2, MQTT-1.5.3-2]
        if (publish.dup() && publish.qos() == Qos::AtMostOnce) || publish.topic_name().contains('\0') {
            return Err(Ending::Malformed);
        }
        if publish.qos() == Qos::ExactlyOnce {
            return Err(Ending::Protocol);
        }
        match &mut self.role {
            Role::Dps(dps) => dps.publish(self.front, &mut self.packets, publish, moment),
            Role::Hub(hub) => hub.publish(self.front, &mut self.packets, publish, moment),
        }
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), Ending> {
        let entries = subscribe.entries();
        // The upper bits are of version 5 [MQTT-3.8.3-4]; 0 is no packet id [MQTT-2.3.1-1].
        let is_odd = |bits: u8| bits & !3 != 0;
        if subscribe.packet_id() == 0 || entries.iter().any(|entry| is_odd(entry.sub_opts().to_buffer()[0])) {
            return Err(Ending::Malformed);
        }
        let mut codes = Vec::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate() {
            codes.push(match position {
                MAX_FILTERS.. => SubackReturnCode::Failure,
                _ => self.role.grant(entry.topic_filter(), entry.sub_opts().qos()),
            });
        }
        if let Role::Hub(hub) = &self.role {
            hub.keep_subscriptions(self.front);
        }
        let suback = Suback::builder().packet_id(subscribe.packet_id()).return_codes(codes).build();
        self.packets.send(&suback.map_err(|_| Ending::Malformed)?);
        Ok(())
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), Ending> {
        if unsubscribe.packet_id() == 0 {
            return Err(Ending::Malformed);
        }
        for filter in unsubscribe.entries() {
            match &mut self.role {
                Role::Dps(dps) => dps.unsubscribe(filter.as_str()),
                Role::Hub(hub) => hub.unsubscribe(filter.as_str()),
            }
        }
        if let Role::Hub(hub) = &self.role {
            hub.keep_subscriptions(self.front);
        }
        self.packets.send_unsuback(unsubscribe.packet_id());
        Ok(())
    }

    /// Whether there is room for another packet that may have to wait.
    fn is_reading(&self) -> bool {
        let has_room = match &self.role {
            Role::Dps(_) => true,
            Role::Hub(hub) => hub.held() < MAX_HELD,
        };
        has_room && self.leaving.is_none() && self.frozen.has_room()
    }

    /// Whether answers that can be large, as twins are, wait to be written: nothing more is taken until they are, and who
    /// leaves them unread for as long as it may be silent is closed.
    fn is_backlogged(&self) -> bool {
        match &self.role {
            Role::Dps(_) => false,
            Role::Hub(hub) => hub.slack() > 0 && self.packets.queued() > MAX_QUEUED && self.leaving.is_none(),
        }
    }

    fn expires(&self) -> Option<Instant> {
        match &self.role {
            // Its token is looked at with each request.
            Role::Dps(_) => None,
            Role::Hub(hub) => Some(hub.expires()),
        }
    }

    /// When [`Self::catch_up`] has something to do, if nothing comes before.
    fn deadline(&self) -> Instant {
        let silence = self.heard + self.silence;
        let slot = match &self.role {
            Role::Dps(_) => None,
            Role::Hub(hub) => hub.next_slot(),
        };
        let all = [Some(silence), self.expires(), self.frozen.until, self.quiet, slot];
        all.into_iter().flatten().min().unwrap_or(silence)
    }

    /// Waits for something to do, and writes meanwhile.
    async fn wait(&mut self) -> Event {
        let deadline = self.deadline();
        if self.timer.as_ref().is_none_or(|(armed, _)| *armed > deadline) {
            self.timer = Some((deadline, self.front.clock.sleep_until(deadline)));
        }
        let is_backlogged = self.is_backlogged();
        let (is_reading, is_leaving) = (self.is_reading() && !is_backlogged, self.leaving.is_some());
        let Self { packets, role, timer, quiet, .. } = self;
        let mut most = MAX_QUEUED;
        if let Role::Hub(hub) = role {
            if packets.is_written() {
                hub.set_slack(0);
            }
            most += hub.slack();
        }
        poll_fn(|context| {
            if let Role::Hub(hub) = &*role
                && let Poll::Ready(Some(ending)) = hub.poll_mailbox(context, false)
            {
                return Poll::Ready(Event::Over(ending));
            }
            if is_reading {
                match packets.poll_next(context) {
                    Poll::Ready(Ok(Some(packet))) => return Poll::Ready(Event::Packet(packet)),
                    Poll::Ready(Ok(None)) => return Poll::Ready(Event::Over(Ending::Gone)),
                    Poll::Ready(Err(broken)) => return Poll::Ready(Event::Over(ending_of(&broken))),
                    Poll::Pending => {}
                }
            } else if !is_leaving && let Poll::Ready(Err(_)) = packets.poll_flush(context) {
                return Poll::Ready(Event::Over(Ending::Gone));
            }
            if is_backlogged && packets.queued() <= MAX_QUEUED {
                return Poll::Ready(Event::Time);
            }
            if packets.queued() > most {
                return Poll::Ready(Event::Over(Ending::SlowReader));
            }
            // What nobody asked for waits until everything else is written.
            if let Role::Hub(hub) = &*role
                && !is_leaving
                && quiet.is_none()
                && packets.is_written()
                && hub.poll_mailbox(context, true).is_ready()
            {
                return Poll::Ready(Event::Mail);
            }
            if let Some((_, sleep)) = timer
                && Pin::new(sleep).poll(context).is_ready()
            {
                *timer = None;
                return Poll::Ready(Event::Time);
            }
            Poll::Pending
        })
        .await
    }
}

impl Frozen {
    /// * `until`: the end of the freeze; `None` for a packet that only came behind others
    fn push(&mut self, packet: Packet, arrived: Instant, until: Option<Instant>) {
        self.bytes += match &packet {
            Packet::Publish(publish) => publish.size(),
            // Each filter is a piece of memory of its own, however short it is.
            Packet::Subscribe(subscribe) => subscribe.size() + subscribe.entries().len() * FILTER,
            Packet::Unsubscribe(unsubscribe) => unsubscribe.size() + unsubscribe.entries().len() * FILTER,
            Packet::Connect(connect) => connect.size(),
            _ => 0,
        };
        self.packets.push_back((packet, arrived));
        self.until = until.or(self.until);
    }

    fn has_room(&self) -> bool {
        self.packets.len() < MAX_HELD && self.bytes < MAX_FROZEN_BYTES
    }

    /// Messages among what was never looked at.
    fn requests(&self) -> u64 {
        self.packets.iter().filter(|(packet, _)| matches!(packet, Packet::Publish(_))).count() as u64
    }
}
