//! What a device does over MQTT at DPS and hub alike: the greeting, subscribing, keep-alive.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::habits::PacketIds;
use crate::net::failure::classify;
use crate::net::mqtt::{
    Broken, Connack, Connect, ConnectReturnCode, Outgoing, Packet, PacketStream, Publish, Qos, SubEntry,
    SubOpts, SubackReturnCode, Subscribe, Unsubscribe,
};
use crate::net::stream::Stream;
use crate::rng;
use crate::step::{Class, Failure};
use crate::text::Secret;
use crate::time::{Clock, Instant, Sleep};

/// The largest packet that is taken of a service: cloud-to-device messages have 64 KB and a topic.
const MAX_PACKET: u32 = 128 * 1024;

/// The shortest wait for the answer to a ping.
const MIN_PING_WAIT: Duration = Duration::from_secs(5);

/// Messages that may come before a subscription is confirmed: as many as a hub keeps for a device.
const MAX_EARLY: usize = 50;

/// Bytes of messages that may wait while there is something to read.
const PATIENCE: usize = 4 * 1024;

/// How the client names itself in user names.
pub(super) const AGENT: &str = concat!("muster/", env!("CARGO_PKG_VERSION"));

/// When a request was handed to the connection, and when its answer was decoded.
pub(super) type Span = (Instant, Instant);

/// What a device says of itself.
pub(super) struct Greeting<'a> {
    pub(super) client_id: &'a str,
    pub(super) user_name: &'a str,
    pub(super) password: &'a Secret,
    pub(super) clean_session: bool,
    /// Whole seconds; 0 for no keep-alive.
    pub(super) keep_alive_s: u16,
}

/// An open connection: packets in and out, and keep-alive.
pub(super) struct Session {
    packets: PacketStream,
    keep_alive: Duration,
    last_sent: Instant,
    /// When a ping was sent that is not answered yet.
    pinged: Option<Instant>,
    /// Armed for some instant at or before the next ping is due; put off when it fires, and not with every packet.
    timer: Option<Pin<Box<Sleep>>>,
    is_open: bool,
    /// Whether the service has kept the session of an earlier connection.
    is_resumed: bool,
    /// A ping was sent since somebody asked.
    has_pinged: bool,
    last_packet_id: u16,
    /// Whether the counter has begun anew.
    wrapped: bool,
}

impl Session {
    /// Sends CONNECT on `stream` and waits for CONNACK.
    ///
    /// # Errors
    /// [`Class::Unauthorized`] for a wrong name or token, else what the service or the network did.
    pub(super) async fn open(
        stream: Stream,
        clock: &Clock,
        greeting: &Greeting<'_>,
    ) -> Result<(Self, Span), Failure> {
        let connect = connect(greeting)?;
        let started = clock.now();
        let mut session = Self {
            packets: PacketStream::new(stream, MAX_PACKET),
            keep_alive: Duration::from_secs(greeting.keep_alive_s.into()),
            last_sent: started,
            pinged: None,
            timer: None,
            is_open: true,
            is_resumed: false,
            has_pinged: false,
            last_packet_id: 0,
            wrapped: false,
        };
        session.packets.send(&connect);
        match session.next(clock).await? {
            Packet::Connack(connack) => {
                accepted(&connack)?;
                session.is_resumed = connack.session_present();
            }
            other => return Err(unexpected(&other)),
        }
        Ok((session, (started, clock.now())))
    }

    /// Subscribes to `filters`, each with its QoS, at once and waits for the answer; messages that come before it go to `early`,
    /// and are confirmed.
    ///
    /// # Errors
    /// [`Class::Rejected`] if the service refuses, else what the network did; also when more comes than a hub keeps for a device.
    pub(super) async fn subscribe(
        &mut self,
        clock: &Clock,
        filters: &[(String, Qos)],
        early: &mut VecDeque<Publish>,
    ) -> Result<Span, Failure> {
        let id = self.next_packet_id();
        let entries: Result<Vec<_>, _> = filters
            .iter()
            .map(|(filter, qos)| SubEntry::new(filter.as_str(), SubOpts::new().set_qos(*qos)))
            .collect();
        let wanted = entries
            .and_then(|entries| Subscribe::builder().packet_id(id).entries(entries).build())
            .map_err(|error| unfit(&format!("{error:?}")))?;
        let started = clock.now();
        self.packets.send(&wanted);
        self.last_sent = started;
        loop {
            match self.next(clock).await? {
                Packet::Suback(suback) if suback.packet_id() == id => {
                    let codes = suback.return_codes();
                    if codes.len() != filters.len() {
                        let what = "a SUBACK for another number of subscriptions";
                        return Err(Failure::new(Class::BadAnswer, what));
                    }
                    return match codes.iter().position(|code| *code == SubackReturnCode::Failure) {
                        None => Ok((started, clock.now())),
                        Some(at) => {
                            let what = format!("the subscription to {} was refused", filters[at].0);
                            Err(Failure::new(Class::Rejected, &what))
                        }
                    };
                }
                Packet::Publish(message) if early.len() < MAX_EARLY => {
                    self.confirm(&message);
                    early.push_back(message);
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Whether a ping was sent since this was asked last.
    pub(super) fn take_pinged(&mut self) -> bool {
        std::mem::take(&mut self.has_pinged)
    }

    /// Whether the service has kept the session of an earlier connection, with its subscriptions.
    pub(super) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// From now on, messages wait until what has come in is read, so that a device which has fallen behind sends several
    /// with one write.
    pub(super) fn write_late(&mut self) {
        self.packets.set_patience(PATIENCE);
    }

    /// Cancels the subscription to `filter` and waits for the answer; what else comes is dropped.
    ///
    /// # Errors
    /// What the network did.
    pub(super) async fn unsubscribe(&mut self, filter: &str) -> Result<(), Broken> {
        let id = self.next_packet_id();
        let entry = Unsubscribe::builder().packet_id(id).entries(vec![filter]);
        let unsubscribe = entry.and_then(|unsubscribe| unsubscribe.build());
        self.packets.send(&unsubscribe.map_err(|error| Broken::Malformed(format!("{error:?}")))?);
        loop {
            match self.packets.next().await? {
                Some(Packet::Unsuback(answered)) if answered == id => return Ok(()),
                Some(_) => {}
                None => return Err(Broken::Truncated),
            }
        }
    }

    /// Puts a message in the queue to be written.
    ///
    /// # Errors
    /// When there is no such message in MQTT; nothing is sent then.
    pub(super) fn publish(&mut self, now: Instant, message: &Outgoing<'_>) -> Result<(), Failure> {
        self.packets.send_publish(message).map_err(|error| unfit(&error.to_string()))?;
        self.last_sent = now;
        Ok(())
    }

    /// Confirms a message of the service, if it wants that.
    pub(super) fn confirm(&mut self, message: &Publish) {
        if let (Qos::AtLeastOnce, Some(id)) = (message.qos(), message.packet_id()) {
            self.packets.send_puback(id);
        }
    }

    /// A packet id that the caller knows to be free. They count up, so that a late confirmation is never taken for that
    /// of another message.
    pub(super) fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = match self.last_packet_id.checked_add(1) {
            Some(id) => id,
            None => {
                self.wrapped = true;
                1
            }
        };
        self.last_packet_id
    }

    /// Goes on counting after `id`.
    pub(super) fn continue_after(&mut self, id: u16) {
        (self.last_packet_id, self.wrapped) = (id, true);
    }

    /// Begins to count where devices of that habit do on their first connection to a hub, or on one to DPS.
    pub(super) fn begin_packet_ids(&mut self, habit: PacketIds, is_hub: bool, draws: &mut rng::Stream) {
        match habit {
            PacketIds::FromOne => {}
            PacketIds::CountAll => self.last_packet_id = is_hub.into(),
            PacketIds::Random => self.continue_after(draws.bits() as u16),
        }
    }

    /// The last packet id that was given out; 0 if none was.
    pub(super) fn last_packet_id(&self) -> u16 {
        self.last_packet_id
    }

    /// Whether that packet id was ever in use.
    pub(super) fn has_used(&self, id: u16) -> bool {
        self.wrapped || id <= self.last_packet_id
    }

    /// Whether everything that was put in the queue is written.
    pub(super) fn is_written(&self) -> bool {
        self.packets.is_written()
    }

    /// Whether the connection still is, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The next packet that is not about keep-alive; writes, pings and watches for the answer meanwhile. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// When the connection is gone, whoever ended it, or a ping was not answered.
    pub(super) async fn next(&mut self, clock: &Clock) -> Result<Packet, Failure> {
        std::future::poll_fn(|context| self.poll_next(context, clock)).await
    }

    /// See [`Self::next`].
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        clock: &Clock,
    ) -> Poll<Result<Packet, Failure>> {
        loop {
            let failure = match self.packets.poll_next(context) {
                Poll::Ready(Ok(Some(Packet::Pingresp))) => {
                    self.pinged = None;
                    continue;
                }
                Poll::Ready(Ok(Some(packet))) => return Poll::Ready(Ok(packet)),
                Poll::Ready(Ok(None)) => Failure::new(Class::Closed, "the service closed the connection"),
                Poll::Ready(Err(broken)) => of(broken),
                Poll::Pending => match self.keep_alive(context, clock) {
                    Kept::Waiting => return Poll::Pending,
                    Kept::Pinged => continue,
                    Kept::Unanswered => Failure::new(Class::NoAnswer, "a ping was not answered"),
                },
            };
            self.is_open = false;
            return Poll::Ready(Err(failure));
        }
    }

    fn keep_alive(&mut self, context: &mut Context<'_>, clock: &Clock) -> Kept {
        if self.keep_alive.is_zero() {
            return Kept::Waiting;
        }
        loop {
            let due = match self.pinged {
                Some(pinged) => pinged + (self.keep_alive / 2).max(MIN_PING_WAIT),
                None => self.last_sent + self.keep_alive,
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(clock.sleep_until(due)));
            if timer.as_mut().poll(context).is_pending() {
                return Kept::Waiting;
            }
            self.timer = None;
            let now = clock.now();
            if now < due {
                continue;
            }
            if self.pinged.is_some() {
                return Kept::Unanswered;
            }
            self.packets.send_pingreq();
            self.has_pinged = true;
            (self.pinged, self.last_sent) = (Some(now), now);
            return Kept::Pinged;
        }
    }

    /// Says good-bye and ends the connection in order. By reference, for thousands may do so at once, and a future that owns
    /// the connection would hold it twice.
    pub(super) async fn close(&mut self) {
        if self.is_open {
            self.packets.send_disconnect();
        }
        self.packets.close().await;
    }
}

enum Kept {
    Waiting,
    Pinged,
    Unanswered,
}

fn connect(greeting: &Greeting<'_>) -> Result<Connect, Failure> {
    Connect::builder()
        .client_id(greeting.client_id)
        .and_then(|connect| connect.user_name(greeting.user_name))
        .and_then(|connect| connect.password(greeting.password.expose().to_vec()))
        .and_then(|connect| {
            connect.clean_session(greeting.clean_session).keep_alive(greeting.keep_alive_s).build()
        })
        .map_err(|error| unfit(&format!("{error:?}")))
}

fn accepted(connack: &Connack) -> Result<(), Failure> {
    let (class, said) = match connack.return_code() {
        ConnectReturnCode::Accepted => return Ok(()),
        ConnectReturnCode::ServerUnavailable => (Class::ServerError, "the server is unavailable"),
        ConnectReturnCode::BadUserNameOrPassword => (Class::Unauthorized, "bad user name or password"),
        ConnectReturnCode::NotAuthorized => (Class::Unauthorized, "not authorized"),
        ConnectReturnCode::IdentifierRejected => (Class::Rejected, "the client id was rejected"),
        ConnectReturnCode::UnacceptableProtocolVersion => (Class::Rejected, "no MQTT 3.1.1 there"),
    };
    Err(Failure::new(class, &format!("CONNACK {}: {said}", connack.return_code() as u8)))
}

/// What a broken stream of packets means.
fn of(broken: Broken) -> Failure {
    match broken {
        Broken::Io(error) => classify(&error),
        Broken::Truncated => Failure::new(Class::Closed, "the connection ended within a packet"),
        other => Failure::new(Class::BadAnswer, &other.to_string()),
    }
}

/// A packet that has no place where it came.
pub(super) fn unexpected(packet: &Packet) -> Failure {
    let name = match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::Connack(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::Puback(_) => "PUBACK",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::Suback(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::Unsuback(_) => "UNSUBACK",
        Packet::Pingreq => "PINGREQ",
        Packet::Pingresp => "PINGRESP",
        Packet::Disconnect => "DISCONNECT",
        Packet::Qos2(_) => "a packet of QoS 2",
    };
    Failure::new(Class::BadAnswer, &format!("{name} out of place"))
}

/// Names, topics and tokens are checked before; this is for what a service made up.
pub(super) fn unfit(why: &str) -> Failure {
    Failure::new(Class::BadAnswer, &format!("cannot stand in an MQTT packet: {why}"))
}
