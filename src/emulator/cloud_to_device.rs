//! Messages from the cloud that wait for one device.
//!
//! ```text
//!   send ──▶ Waiting ── to an MQTT connection ──▶ OnLink ── PUBACK ──▶ completed
//!               ▲  │                                │
//!               │  └── GET over HTTPS ──▶ Locked ── DELETE ──▶ completed, or rejected: dead-lettered
//!               └── connection ended ──────┴─ lock expired, or abandoned (too often: dead-lettered)
//! ```
//!
//! The queue keeps the order in which messages came, whatever is redelivered. Whatever time does to it is done when it is
//! looked at next.
//!
//! Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-c2d>; there as well: only an explicit
//! abandon counts as a delivery, a lock that expires does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::two_way::Counts;
use crate::azure::two_way::MAX_DEVICEBOUND_QUEUE;
use crate::time::{Instant, UnixTime};

/// A message from the cloud.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Message {
    /// Its id, if its sender gave one.
    pub(super) message_id: Option<String>,
    /// Id of the message that it answers.
    pub(super) correlation_id: Option<String>,
    /// Who sent it, in the sender's words.
    pub(super) user_id: Option<String>,
    /// Content type of the body.
    pub(super) content_type: Option<String>,
    /// Content encoding of the body.
    pub(super) content_encoding: Option<String>,
    /// When it expires, if its sender said so.
    pub(super) expiry: Option<UnixTime>,
    /// What its sender wants to hear of it.
    pub(super) ack: Ack,
    /// The sender's own properties, in their order.
    pub(super) properties: Vec<(String, Option<String>)>,
    /// Anything.
    pub(super) body: Vec<u8>,
}

/// What the sender of a message wants to hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ack {
    /// Nothing.
    #[default]
    None,
    /// That it was completed.
    Positive,
    /// That it was dead-lettered.
    Negative,
    /// Either.
    Full,
}

impl Ack {
    /// All, with their names in messages.
    const NAMES: [(&'static str, Self); 4] = [
        ("none", Self::None),
        ("positive", Self::Positive),
        ("negative", Self::Negative),
        ("full", Self::Full),
    ];

    /// The one of that name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, ack)| *ack)
    }

    /// Name in messages.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// Messages that wait for one device, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// Names the messages in the order in which they came.
    sequence: u64,
    last_packet_id: u16,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    sequence: u64,
    enqueued: UnixTime,
    expires: UnixTime,
    state: State,
    /// Times that it was abandoned.
    abandoned: u32,
    /// Its id on MQTT connections, once it was sent over one: the same for all of them, as a session wants it.
    packet_id: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Sent over that connection, and not confirmed.
    OnLink(u64),
    /// Taken over HTTPS.
    Locked {
        token: u128,
        until: Instant,
    },
}

/// The queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The lock is no longer, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LockLost;

/// A message on its way to the device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivery {
    pub(super) message: Arc<Message>,
    /// 0 where it is not confirmed by one.
    pub(super) packet_id: u16,
    /// Whether it was sent over MQTT before.
    pub(super) is_again: bool,
    pub(super) sequence: u64,
    pub(super) enqueued: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) abandoned: u32,
}

/// What a device does with a message that it has taken over HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settlement {
    Complete,
    Reject,
    Abandon,
}

impl Queue {
    /// Takes a message.
    ///
    /// # Errors
    /// [`Full`] if as many wait as may.
    pub(super) fn send(
        &mut self,
        now: Instant,
        wall: UnixTime,
        message: Message,
        counts: &Counts,
    ) -> Result<(), Full> {
        self.catch_up(now, wall, counts);
        if self.entries.len() >= MAX_DEVICEBOUND_QUEUE {
            return Err(Full);
        }
        self.sequence += 1;
        let latest = wall + LONGEST_LIFE;
        self.entries.push_back(Entry {
            expires: message.expiry.map_or(wall + USUAL_LIFE, |expiry| expiry.min(latest)),
            message: Arc::new(message),
            sequence: self.sequence,
            enqueued: wall,
            state: State::Waiting,
            abandoned: 0,
            packet_id: None,
        });
        counts.c2d_sent.add(1);
        Ok(())
    }

    /// The next message for MQTT connection `link`.
    ///
    /// * `is_confirmed`: the device confirms it, so that it is kept until then
    pub(super) fn next(
        &mut self,
        now: Instant,
        wall: UnixTime,
        link: u64,
        is_confirmed: bool,
        counts: &Counts,
    ) -> Option<Delivery> {
        self.catch_up(now, wall, counts);
        let at = self.entries.iter().position(|entry| entry.state == State::Waiting)?;
        counts.c2d_delivered.add(1);
        if !is_confirmed {
            let entry = self.entries.remove(at)?;
            counts.completed(entry.message.ack);
            return Some(entry.delivery(0));
        }
        let known = self.entries[at].packet_id;
        let packet_id = known.unwrap_or_else(|| self.fresh_packet_id());
        let entry = &mut self.entries[at];
        entry.state = State::OnLink(link);
        entry.packet_id = Some(packet_id);
        Some(Delivery { is_again: known.is_some(), ..entry.delivery(packet_id) })
    }

    /// Completes the message that `link` confirms; `false` if that is none it was sent.
    pub(super) fn confirm(&mut self, link: u64, packet_id: u16, counts: &Counts) -> bool {
        let is_it = |entry: &Entry| entry.state == State::OnLink(link) && entry.packet_id == Some(packet_id);
        let Some(entry) = self.entries.iter().position(is_it).and_then(|at| self.entries.remove(at)) else {
            return false;
        };
        counts.completed(entry.message.ack);
        true
    }

    /// Puts back what the connection has not confirmed.
    pub(super) fn link_ended(&mut self, link: u64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.state == State::OnLink(link)) {
            entry.state = State::Waiting;
        }
    }

    /// Gives out a message over HTTPS, locked under `token`.
    pub(super) fn lock(
        &mut self,
        now: Instant,
        wall: UnixTime,
        token: u128,
        counts: &Counts,
    ) -> Option<Delivery> {
        self.catch_up(now, wall, counts);
        let entry = self.entries.iter_mut().find(|entry| entry.state == State::Waiting)?;
        entry.state = State::Locked { token, until: now + LOCK };
        counts.c2d_delivered.add(1);
        Some(entry.delivery(0))
    }

    /// Settles a message that was given out over HTTPS.
    ///
    /// # Errors
    /// [`LockLost`] if its lock has expired, or there is none.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        token: u128,
        how: Settlement,
        counts: &Counts,
    ) -> Result<(), LockLost> {
        self.catch_up(now, wall, counts);
        let is_it = |entry: &Entry| matches!(entry.state, State::Locked { token: held, .. } if held == token);
        let at = self.entries.iter().position(is_it).ok_or(LockLost)?;
        let entry = &mut self.entries[at];
        match how {
            Settlement::Complete => counts.completed(entry.message.ack),
            Settlement::Reject => {
                counts.c2d_rejected.add(1);
                counts.dead_lettered(entry.message.ack);
            }
            Settlement::Abandon => {
                counts.c2d_abandoned.add(1);
                entry.abandoned += 1;
                if entry.abandoned < MAX_DELIVERIES {
                    entry.state = State::Waiting;
                    return Ok(());
                }
                counts.dead_lettered(entry.message.ack);
            }
        }
        self.entries.remove(at);
        Ok(())
    }

    /// Drops all messages, and says how many.
    pub(super) fn purge(&mut self, counts: &Counts) -> usize {
        let purged = std::mem::take(&mut self.entries);
        purged.iter().for_each(|entry| counts.dead_lettered(entry.message.ack));
        purged.len()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Does what time has done: locks expire, and messages. One that the device has in hand is left to it.
    fn catch_up(&mut self, now: Instant, wall: UnixTime, counts: &Counts) {
        self.entries.retain_mut(|entry| {
            if matches!(entry.state, State::Locked { until, .. } if until <= now) {
                entry.state = State::Waiting;
            }
            let is_dead = entry.state == State::Waiting && entry.expires <= wall;
            if is_dead {
                counts.dead_lettered(entry.message.ack);
            }
            !is_dead
        });
    }

    /// One that no message in the queue has.
    fn fresh_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            // Ends, for there are far more ids than messages.
            if self.entries.iter().all(|entry| entry.packet_id != Some(self.last_packet_id)) {
                return self.last_packet_id;
            }
        }
    }
}

impl Entry {
    fn delivery(&self, packet_id: u16) -> Delivery {
        Delivery {
            message: Arc::clone(&self.message),
            packet_id,
            is_again: false,
            sequence: self.sequence,
            enqueued: self.enqueued,
            expires: self.expires,
            abandoned: self.abandoned,
        }
    }
}

/// How long a message lives whose sender does not say: the hub's default.
pub(super) const USUAL_LIFE: Duration = Duration::from_secs(3_600);

/// The longest that one lives, whatever its sender says.
const LONGEST_LIFE: Duration = Duration::from_secs(2 * 86_400);

/// How long a message that was taken over HTTPS is nobody else's.
const LOCK: Duration = Duration::from_secs(60);

/// Times that a message may be abandoned until it is dead: the hub's default.
const MAX_DELIVERIES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_nanos(1_767_225_600_000_000_000);

    /// A queue at a moment, in seconds from the start.
    #[derive(Default)]
    struct Fixture {
        queue: Queue,
        counts: Counts,
    }

    fn at(seconds: u64) -> (Instant, UnixTime) {
        (Instant::from_nanos(seconds * 1_000_000_000), START + Duration::from_secs(seconds))
    }

    impl Fixture {
        fn send(&mut self, seconds: u64, body: &str) -> Result<(), Full> {
            let (now, wall) = at(seconds);
            let message = Message { body: body.into(), ack: Ack::Full, ..Message::default() };
            self.queue.send(now, wall, message, &self.counts)
        }

        fn next(&mut self, seconds: u64, link: u64) -> Option<(String, u16, bool)> {
            let (now, wall) = at(seconds);
            let next = self.queue.next(now, wall, link, true, &self.counts)?;
            let body = String::from_utf8(next.message.body.clone()).expect("text");
            Some((body, next.packet_id, next.is_again))
        }

        fn lock(&mut self, seconds: u64, token: u128) -> Option<String> {
            let (now, wall) = at(seconds);
            let next = self.queue.lock(now, wall, token, &self.counts)?;
            Some(String::from_utf8(next.message.body.clone()).expect("text"))
        }

        fn settle(&mut self, seconds: u64, token: u128, how: Settlement) -> Result<(), LockLost> {
            let (now, wall) = at(seconds);
            self.queue.settle(now, wall, token, how, &self.counts)
        }
    }

    #[test]
    fn a_message_stays_until_it_is_confirmed_and_keeps_its_place_and_id() {
        let mut fixture = Fixture::default();
        for body in ["a", "b", "c"] {
            fixture.send(0, body).expect("room");
        }
        assert_eq!(fixture.next(1, 7), Some(("a".into(), 1, false)));
        assert_eq!(fixture.next(1, 7), Some(("b".into(), 2, false)));
        assert!(!fixture.queue.confirm(8, 1, &fixture.counts), "another connection");
        assert!(!fixture.queue.confirm(7, 3, &fixture.counts), "never sent");
        assert!(fixture.queue.confirm(7, 2, &fixture.counts));
        assert!(!fixture.queue.confirm(7, 2, &fixture.counts), "twice");
        fixture.queue.link_ended(7);
        assert_eq!(fixture.next(2, 8), Some(("a".into(), 1, true)));
        assert_eq!(fixture.next(2, 8), Some(("c".into(), 3, false)));
        assert_eq!(fixture.next(2, 8), None);
        let counts = fixture.counts.sum();
        assert_eq!((counts.c2d_sent, counts.c2d_delivered, counts.c2d_completed), (3, 4, 1));
        assert_eq!((counts.feedback_positive, fixture.queue.len()), (1, 2));
    }

    #[test]
    fn one_message_more_than_fifty_is_refused() {
        let mut fixture = Fixture::default();
        for n in 0..50 {
            assert_eq!(fixture.send(0, &n.to_string()), Ok(()));
        }
        assert_eq!(fixture.send(0, "one more"), Err(Full));
        assert!(fixture.next(0, 1).is_some());
        assert_eq!(fixture.send(0, "one more"), Err(Full), "it is not confirmed yet");
        assert!(fixture.queue.confirm(1, 1, &fixture.counts));
        assert_eq!(fixture.send(0, "one more"), Ok(()));
        assert_eq!(fixture.queue.purge(&fixture.counts), 50);
    }

    #[test]
    fn messages_expire_after_an_hour_or_when_their_sender_says_and_never_in_hand() {
        let mut fixture = Fixture::default();
        fixture.send(0, "usual").expect("room");
        fixture.send(0, "in hand").expect("room");
        let (now, wall) = at(0);
        for (body, expiry) in [("short", 10), ("for ever", 10_000_000)] {
            let expiry = Some(wall + Duration::from_secs(expiry));
            let message = Message { body: body.into(), expiry, ..Message::default() };
            fixture.queue.send(now, wall, message, &fixture.counts).expect("room");
        }
        assert_eq!(fixture.next(1, 7).map(|next| next.0), Some("usual".into()));
        assert_eq!(fixture.next(1, 7).map(|next| next.0), Some("in hand".into()));
        assert!(fixture.queue.confirm(7, 1, &fixture.counts));
        assert_eq!(fixture.next(10, 7).map(|next| next.0), Some("for ever".into()), "the short one is dead");
        fixture.queue.link_ended(7);
        assert_eq!(fixture.next(3_600, 8).map(|next| next.0), Some("for ever".into()));
        fixture.queue.link_ended(8);
        assert_eq!(fixture.next(2 * 86_400, 9), None);
        let counts = fixture.counts.sum();
        assert_eq!((counts.c2d_dead_lettered, counts.feedback_negative, fixture.queue.len()), (3, 1, 0));
    }

    #[test]
    fn a_lock_lasts_a_minute_and_a_message_is_abandoned_ten_times_at_most() {
        let mut fixture = Fixture::default();
        fixture.send(0, "a").expect("room");
        assert_eq!(fixture.lock(0, 1), Some("a".into()));
        assert_eq!(fixture.lock(59, 2), None);
        assert_eq!(fixture.lock(60, 2), Some("a".into()));
        assert_eq!(fixture.settle(61, 1, Settlement::Complete), Err(LockLost));
        for n in 2..12 {
            assert_eq!(fixture.settle(61, n, Settlement::Abandon), Ok(()));
            assert_eq!(fixture.lock(61, n + 1).is_some(), n < 11, "{n}");
        }
        fixture.send(62, "b").expect("room");
        assert_eq!(fixture.lock(62, 99), Some("b".into()));
        assert_eq!(fixture.settle(62, 99, Settlement::Reject), Ok(()));
        assert_eq!(fixture.settle(62, 99, Settlement::Reject), Err(LockLost));
        let counts = fixture.counts.sum();
        assert_eq!((counts.c2d_abandoned, counts.c2d_rejected, counts.c2d_dead_lettered), (10, 1, 2));
        assert_eq!(counts.feedback_negative, 2);
    }

    proptest::proptest! {
        #[test]
        fn whatever_happens_every_message_is_completed_dead_or_waiting(
            steps in proptest::collection::vec((0..8_u8, 0..6_u8, 0..40_u64), 1..200),
        ) {
            let mut fixture = Fixture::default();
            let (mut seconds, mut refused) = (0, 0);
            for (step, n, wait) in steps {
                seconds += wait;
                match step {
                    0 | 1 => refused += u64::from(fixture.send(seconds, "x").is_err()),
                    2 => drop(fixture.next(seconds, u64::from(n))),
                    3 => drop(fixture.queue.confirm(u64::from(n) % 3, u16::from(n), &fixture.counts)),
                    4 => fixture.queue.link_ended(u64::from(n)),
                    5 => drop(fixture.lock(seconds, u128::from(n))),
                    6 => drop(fixture.settle(seconds, u128::from(n), Settlement::Abandon)),
                    _ => drop(fixture.settle(seconds, u128::from(n), [Settlement::Complete, Settlement::Reject][usize::from(n % 2)])),
                }
                let counts = fixture.counts.sum();
                let known = counts.c2d_completed + counts.c2d_dead_lettered + fixture.queue.len() as u64;
                proptest::prop_assert_eq!(counts.c2d_sent, known);
                proptest::prop_assert_eq!(counts.feedback_positive + counts.feedback_negative, known - fixture.queue.len() as u64);
                proptest::prop_assert!(fixture.queue.len() <= MAX_DEVICEBOUND_QUEUE && refused <= 200);
                let mut ids: Vec<_> = fixture.queue.entries.iter().filter_map(|entry| entry.packet_id).collect();
                ids.sort_unstable();
                proptest::prop_assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "ids are different");
            }
        }
    }

    #[test]
    fn names_of_feedback_are_read_as_they_are_written() {
        for (name, ack) in Ack::NAMES {
            assert_eq!((Ack::from_name(name), ack.name()), (Some(ack), name));
        }
        assert_eq!(Ack::from_name("some"), None);
    }
}
