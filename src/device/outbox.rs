//! The messages of one device that are due: waiting for their turn, or under way.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::dps::Assigned;
use super::hub::Resend;
use super::world::{EndedMessage, Fates, Instants, Profile, Sending, World};
use crate::record::messages::Sent;
use crate::record::{DeviceMessages, Marks};
use crate::step::{Cause, Failure, Observation, Outcome, Reason, StepKind};
use crate::time::{Due, Instant, Sleep, UnixTime};

/// What a device owes its hub. Empty until the device was first connected, from when on its telemetry counts.
#[derive(Default)]
pub struct Outbox {
    position: Option<Position>,
    waiting: VecDeque<Owed>,
    /// In the order they were sent, which is the order of their deadlines.
    under_way: VecDeque<Owed>,
    /// The wait for the next due instant. Waits are kept from one look to the next: a timer is set once for each message,
    /// not once for each event.
    due_wait: Option<(Instant, Due)>,
    /// A wait for a deadline, or for one that was met in time: it is put off when it ends, and not with each message.
    deadline_wait: Option<(Instant, Sleep)>,
    /// What became of each message, if somebody wants to know.
    marks: Marks,
}

/// How far a device has come in what it owes.
struct Position {
    device: u64,
    instants: Instants,
    origin: Instant,
    /// Messages that became due.
    passed: u64,
    /// `None` if no more will.
    next_due: Option<Instant>,
}

/// A message that is due.
#[derive(Debug, Clone, Copy)]
pub struct Owed {
    /// Number of the message, from 1.
    pub sequence: u64,
    /// Under which packet id it went, if it did and the protocol has that.
    pub packet_id: Option<u16>,
    due: Instant,
    ready: Instant,
    /// When it first went: one that goes again stays the same step, and the same message.
    first_sent: Option<(Instant, UnixTime)>,
    /// How often it goes again because its connection was lost with it.
    again: u8,
}

/// What a [`Outbox::tick`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Messages became due, or waited for too long.
    Due,
    /// A message under way was not answered by its deadline.
    Overdue,
}

impl Outbox {
    /// Starts the schedule of device `device`; only the first time counts.
    pub fn start(&mut self, profile: &Profile, device: u64, connected: Instant) {
        if let (None, Some(sending)) = (&self.position, &profile.sending) {
            let mut instants = (sending.instants)(device);
            let next_due = instants.next().map(|due| connected + due);
            self.position = Some(Position { device, instants, origin: connected, passed: 0, next_due });
            if sending.fates != Fates::EachMessage {
                self.marks = Marks::given_up();
            }
        }
    }

    /// When the next message becomes due, if the plan has one.
    pub fn next_due(&self, world: &World, profile: &Profile) -> Option<Instant> {
        let (position, sending) = (self.position.as_ref()?, profile.sending.as_ref()?);
        let owed = sending.messages.is_none_or(|messages| position.passed < messages);
        // Whatever the phase: what was due before the end is owed, noticed in time or not.
        position.next_due.filter(|due| owed && world.stop.plans(*due))
    }

    /// Whether the device was ever connected.
    pub fn has_started(&self) -> bool {
        self.position.is_some()
    }

    /// Whether nothing is owed now.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Whether no message is under way.
    pub fn awaits_none(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether a message waits and may go, as far as the device's window is concerned.
    pub fn may_send(&self, sending: &Sending) -> bool {
        !self.waiting.is_empty() && self.under_way.len() < sending.in_flight
    }

    /// When the message whose turn it is was due.
    pub fn first_due(&self) -> Option<Instant> {
        self.waiting.front().map(|owed| owed.due)
    }

    /// Takes the message whose turn it is; [`Self::sent`] takes it back.
    pub fn take(&mut self) -> Option<Owed> {
        self.waiting.pop_front()
    }

    /// A message that was taken is under way from now on.
    pub fn sent(&mut self, owed: Owed) {
        self.under_way.push_back(owed);
    }

    /// Waits until a message becomes due or a deadline passes, and books what did.
    pub async fn tick(&mut self, world: &World, profile: &Profile) -> Tick {
        std::future::poll_fn(|context| self.poll_waits(context, world, profile)).await;
        self.notice(world, profile);
        self.expire(world, profile)
    }

    fn poll_waits(&mut self, context: &mut Context<'_>, world: &World, profile: &Profile) -> Poll<()> {
        if let Some(due) = self.next_due(world, profile) {
            let wait = match &mut self.due_wait {
                Some((at, wait)) if *at == due => wait,
                other => &mut other.insert((due, world.agenda.until(due))).1,
            };
            if Pin::new(wait).poll(context).is_ready() {
                self.due_wait = None;
                return Poll::Ready(());
            }
        } else {
            self.due_wait = None;
        }
        let first = [self.waiting.front(), self.under_way.front()].into_iter().flatten();
        let Some(deadline) = first.map(|owed| owed.due + profile.send_deadline).min() else {
            return Poll::Pending;
        };
        let clock = world.agenda.clock();
        loop {
            let wait = match &mut self.deadline_wait {
                Some((at, wait)) if *at <= deadline => wait,
                other => &mut other.insert((deadline, clock.sleep_until(deadline))).1,
            };
            if Pin::new(wait).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.deadline_wait = None;
            if clock.now() >= deadline {
                return Poll::Ready(());
            }
        }
    }

    /// A message under way was answered.
    pub fn answered(
        &mut self,
        world: &World,
        profile: &Profile,
        sequence: u64,
        (started, finished): (Instant, Instant),
        outcome: Outcome,
        failure: Option<&Failure>,
    ) {
        // An answer to nothing that is under way is the peer's mistake; there is nothing to book.
        if let Some(at) = self.under_way.iter().position(|owed| owed.sequence == sequence)
            && let Some(owed) = self.under_way.remove(at)
        {
            let started = owed.first_sent.map_or(started, |(first, _)| first.min(started));
            self.book(owed, world, profile, (started, finished), outcome, failure);
        }
    }

    /// The connection is gone: what was under way is unknown, but for messages that were certainly never written, and for
    /// all if they go again: those wait. Gives how many were sent and go again.
    pub fn lost(&mut self, world: &World, profile: &Profile, unsent: &[u64], cause: Cause) -> usize {
        let again = profile.sending.as_ref().is_some_and(|sending| sending.resend == Resend::Duplicates);
        let sent = self.under_way.iter().filter(|owed| !unsent.contains(&owed.sequence)).count();
        self.give_back(world, profile, unsent, cause, again);
        if again { sent } else { 0 }
    }

    fn give_back(&mut self, world: &World, profile: &Profile, unsent: &[u64], cause: Cause, again: bool) {
        let now = world.agenda.now();
        while let Some(mut owed) = self.under_way.pop_back() {
            let is_unsent = unsent.contains(&owed.sequence);
            if again || is_unsent {
                owed.again = owed.again.saturating_add(u8::from(!is_unsent));
                self.waiting.push_front(owed);
            } else {
                // Response and service time of an unknown message are in no histogram: `started` only orders the instants.
                self.book(owed, world, profile, (owed.ready, now), Outcome::Unknown(cause), None);
            }
        }
    }

    /// Nothing will be sent any more.
    pub fn abandon(&mut self, world: &World, profile: &Profile, cause: Cause, reason: Reason) {
        self.give_back(world, profile, &[], cause, false);
        let now = world.agenda.now();
        for owed in std::mem::take(&mut self.waiting) {
            self.book(owed, world, profile, (now, now), owed.never_or(reason, cause), None);
        }
        self.position = None;
    }

    /// Books every message that is due by now: it waits, or the queue is full.
    pub fn notice(&mut self, world: &World, profile: &Profile) {
        let Some(sending) = &profile.sending else { return };
        let now = world.agenda.now();
        while let Some(due) = self.next_due(world, profile).filter(|due| *due <= now) {
            let position = self.position.as_mut().expect("a message that is due has a place in the schedule");
            position.passed += 1;
            position.next_due = position.instants.next().map(|due| position.origin + due);
            let owed = Owed {
                sequence: position.passed,
                packet_id: None,
                due,
                ready: now,
                first_sent: None,
                again: 0,
            };
            world.recorder.borrow_mut().due(profile.population, StepKind::Send);
            // A message that can go at once does not take a place in the queue.
            let free = sending.in_flight.saturating_sub(self.under_way.len());
            if self.waiting.len() < sending.queue + free {
                self.waiting.push_back(owed);
            } else {
                let outcome = Outcome::NotSent(Reason::QueueFull);
                self.book(owed, world, profile, (now, now), outcome, None);
            }
        }
    }

    fn expire(&mut self, world: &World, profile: &Profile) -> Tick {
        let now = world.agenda.now();
        let is_late = |owed: &mut Owed| owed.due + profile.send_deadline <= now;
        while let Some(owed) = self.waiting.pop_front_if(is_late) {
            let outcome = owed.never_or(Reason::Deadline, Cause::Deadline);
            self.book(owed, world, profile, (now, now), outcome, None);
        }
        if profile.connect.is_mqtt() {
            // The connection is as good as before; a confirmation that comes now is too late.
            while let Some(owed) = self.under_way.pop_front_if(is_late) {
                let outcome = Outcome::Unknown(Cause::Deadline);
                self.book(owed, world, profile, (owed.ready, now), outcome, None);
            }
            return Tick::Due;
        }
        let overdue = self.under_way.front().is_some_and(|owed| owed.due + profile.send_deadline <= now);
        if overdue { Tick::Overdue } else { Tick::Due }
    }

    /// Hands over what became of each message of device `n`, which has nothing left to do.
    pub fn leave_marks(&mut self, world: &World, profile: &Profile, n: u64, assigned: Option<&Assigned>) {
        let marks = std::mem::take(&mut self.marks);
        let wanted = profile.sending.as_ref().is_some_and(|sending| sending.fates != Fates::Forgotten);
        if let Some(Assigned { device_id, .. }) = assigned.filter(|_| wanted && marks.count() != Some(0)) {
            let (population, device_id) = (profile.population, device_id.as_str().into());
            world.recorder.borrow_mut().messages(DeviceMessages { population, n, device_id, marks });
        }
    }

    fn book(
        &mut self,
        owed: Owed,
        world: &World,
        profile: &Profile,
        (started, finished): (Instant, Instant),
        outcome: Outcome,
        failure: Option<&Failure>,
    ) {
        let sent = Sent::of(outcome, owed.again);
        self.marks.change(owed.sequence, |before| sent.entered(before));
        let observation = Observation {
            kind: StepKind::Send,
            due: owed.due,
            ready: owed.ready,
            started,
            finished,
            outcome,
        };
        world.recorder.borrow_mut().step(profile.population, &observation, failure);
        if let (Some(witness), Some(Position { device, .. })) = (&world.witness, &self.position) {
            let (population, device, sequence) = (profile.population, *device, owed.sequence);
            witness(&EndedMessage { population, device, sequence, observation });
        }
    }
}

impl Owed {
    /// Takes note that it goes, and says at what wall time it went first.
    pub fn goes(&mut self, now: Instant, wall: UnixTime) -> UnixTime {
        self.first_sent.get_or_insert((now, wall)).1
    }

    /// The outcome of a message that waits: not sent, or unknown if it went before and was to go again.
    fn never_or(&self, reason: Reason, cause: Cause) -> Outcome {
        match self.first_sent {
            None => Outcome::NotSent(reason),
            Some(_) => Outcome::Unknown(cause),
        }
    }
}
