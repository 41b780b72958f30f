//! Messages from the cloud over HTTPS: a device asks for them, and says what becomes of each.
//!
//! ```text
//!   Rest ── its time has come ──▶ Asked ── 200 ──▶ Held ── the connection is free ──▶ Told ── 204 ──▶ Rest
//!    ▲                              │                                                                  │
//!    └── 204: after `poll_every` ───┘    at once, for there may be another; after `poll_every` if it was abandoned
//! ```
//!
//! One message at a time. A message that was abandoned is the first that the hub gives out again: whoever asked for it at once
//! would go round and round. The questions and answers go over the connection of the telemetry, each in the order in which it
//! became due: HTTP/1.1 has one request under way at a time.

use std::time::Duration;

use super::hub::https::HubHttps;
use super::two_way::MessageChores;
use super::world::{Phase, Profile, World};
use crate::step::{Cause, Failure, Observation, Outcome, Reason, StepKind};
use crate::time::Instant;

/// Names a message that a hub has given out, until its lock expires.
pub(crate) type LockToken = Box<str>;

/// What one device does about messages from the cloud.
#[derive(Debug)]
pub(super) struct Devicebound {
    chores: MessageChores,
    state: State,
    /// It asks no more.
    is_leaving: bool,
}

#[derive(Debug)]
enum State {
    /// Asks at that instant; `None` as long as the device was never connected.
    Rest { at: Option<Instant> },
    /// Has asked.
    Asked { started: Instant },
    /// Has a message.
    Held(Held),
    /// Has said what becomes of it.
    Told { held: Held, started: Instant },
}

/// A message that the device has taken.
#[derive(Debug)]
struct Held {
    token: LockToken,
    due: Instant,
    ready: Instant,
}

/// The shortest wait that a hub may ask for: one that says 0 is not asked again and again.
const LEAST_HINT: Duration = Duration::from_secs(1);

impl Devicebound {
    pub(super) const fn new(chores: MessageChores) -> Self {
        Self { chores, state: State::Rest { at: None }, is_leaving: false }
    }

    /// Whether nothing is under way and no message is in hand.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Rest { .. })
    }

    /// Whether a request is under way.
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self.state, State::Asked { .. } | State::Told { .. })
    }

    /// Whether a message is in hand.
    pub(super) const fn holds_message(&self) -> bool {
        matches!(self.state, State::Held(_) | State::Told { .. })
    }

    /// The device asks no more; what it has in hand it still settles.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// The hub connection is usable. The first question is due with the first connection.
    pub(super) fn connected(&mut self, now: Instant) {
        if let State::Rest { at } = &mut self.state {
            at.get_or_insert(now);
        }
    }

    /// When it asks next; `None` if it does not, or something else comes first.
    pub(super) fn next_question(&self, world: &World) -> Option<Instant> {
        let State::Rest { at } = self.state else { return None };
        let asks = !self.is_leaving && world.stop.phase() == Phase::Running;
        at.filter(|at| asks && world.stop.plans(*at))
    }

    /// Whether there is something to wait for: a question, or what comes of one.
    pub(super) fn has_more(&self, world: &World) -> bool {
        !matches!(self.state, State::Rest { at: Some(_) }) || self.next_question(world).is_some()
    }

    /// Whether a request waits for the connection that was due before `due`, of what else waits for it.
    pub(super) fn goes_before(&self, world: &World, due: Instant) -> bool {
        match &self.state {
            State::Held(held) => held.due < due,
            State::Rest { .. } => {
                self.next_question(world).is_some_and(|at| at <= world.agenda.now() && at < due)
            }
            State::Asked { .. } | State::Told { .. } => false,
        }
    }

    /// When there is something to do.
    ///
    /// * `is_free`: whether the connection takes a request
    pub(super) fn next(&self, world: &World, profile: &Profile, is_free: bool) -> Option<Instant> {
        match &self.state {
            // While the connection is busy, its next event is what to wait for.
            State::Rest { .. } => self.next_question(world).filter(|at| is_free || *at > world.agenda.now()),
            State::Held(held) => Some(held.due + profile.send_deadline),
            State::Asked { .. } | State::Told { .. } => self.deadline(profile),
        }
    }

    /// Until when the answer to the request under way has to be there.
    fn deadline(&self, profile: &Profile) -> Option<Instant> {
        match &self.state {
            State::Asked { started } => Some(*started + profile.send_deadline),
            State::Told { held, .. } => Some(held.due + profile.send_deadline),
            State::Rest { .. } | State::Held(_) => None,
        }
    }

    /// Whether an answer is not there by its deadline: HTTP has no way to give it up but to give up the connection.
    pub(super) fn is_overdue(&self, world: &World, profile: &Profile) -> bool {
        self.deadline(profile).is_some_and(|deadline| deadline <= world.agenda.now())
    }

    /// Gives up the message that could not be settled by its deadline.
    pub(super) fn expire(&mut self, world: &World, profile: &Profile) {
        let now = world.agenda.now();
        if let State::Held(held) = &self.state
            && held.due + profile.send_deadline <= now
        {
            held.book(world, profile, now, now, Outcome::NotSent(Reason::Deadline), None);
            self.rest_for(now, self.chores.poll_every);
        }
    }

    /// Sends what is due by now, if the connection takes it.
    ///
    /// # Errors
    /// When the hub's lock token cannot stand in a path; the connection is as good as before.
    pub(super) fn attend(
        &mut self,
        world: &World,
        profile: &Profile,
        hub: &mut HubHttps,
    ) -> Result<(), Failure> {
        self.expire(world, profile);
        if !hub.can_send() {
            return Ok(());
        }
        let (clock, now) = (world.agenda.clock(), world.agenda.now());
        if let State::Held(held) = &self.state {
            if let Err(failure) = hub.settle(clock, &held.token, self.chores.settle) {
                held.book(world, profile, now, now, Outcome::Failed(failure.class), Some(&failure));
                self.rest_for(now, self.chores.poll_every);
                return Err(failure);
            }
            self.state = match std::mem::replace(&mut self.state, State::Rest { at: None }) {
                State::Held(held) => State::Told { held, started: now },
                other => other,
            };
        } else if self.next_question(world).is_some_and(|at| at <= now) {
            hub.ask(clock);
            self.state = State::Asked { started: now };
        }
        Ok(())
    }

    /// The hub answered the question.
    ///
    /// * `answer`: the message's lock token; `None` if there is no message
    pub(super) fn asked(
        &mut self,
        world: &World,
        profile: &Profile,
        answer: Result<Option<LockToken>, Failure>,
        finished: Instant,
    ) {
        match answer {
            Ok(Some(token)) => {
                world.recorder.borrow_mut().due(profile.population, StepKind::C2dReceive);
                self.state = State::Held(Held { token, due: finished, ready: world.agenda.now() });
            }
            Ok(None) => self.rest_for(finished, self.chores.poll_every),
            Err(failure) => {
                // No message was due, so that no step failed: the next question is the next attempt.
                let mut books = world.recorder.borrow_mut();
                books.failed_attempt(profile.population, StepKind::C2dReceive, &failure, finished);
                drop(books);
                self.rest_after(finished, &failure);
            }
        }
    }

    /// The hub answered what becomes of the message.
    pub(super) fn settled(
        &mut self,
        world: &World,
        profile: &Profile,
        failure: Option<&Failure>,
        (started, finished): (Instant, Instant),
    ) {
        let State::Told { held, .. } = std::mem::replace(&mut self.state, State::Rest { at: None }) else {
            debug_assert!(false, "the hub answers what it was told");
            return self.rest_for(finished, self.chores.poll_every);
        };
        let outcome = failure.map_or(Outcome::Acknowledged, |failure| Outcome::Failed(failure.class));
        held.book(world, profile, started, finished, outcome, failure);
        match failure {
            None if self.chores.settle.brings_it_back() => self.rest_for(finished, self.chores.poll_every),
            None => self.rest_for(finished, Duration::ZERO),
            Some(failure) => self.rest_after(finished, failure),
        }
    }

    /// The request under way was certainly never written: it is made again on the next connection.
    pub(super) fn never_written(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Rest { at: None }) {
            State::Told { held, .. } => State::Held(held),
            other => other,
        };
    }

    /// The connection is gone. A message in hand can be settled over the next.
    pub(super) fn lost(&mut self, world: &World, profile: &Profile, cause: Cause) {
        let now = world.agenda.now();
        match &self.state {
            // How soon there is another connection is the device's policy.
            State::Asked { .. } => self.rest_for(now, Duration::ZERO),
            State::Told { held, started } => {
                held.book(world, profile, *started, now, Outcome::Unknown(cause), None);
                self.rest_for(now, self.chores.poll_every);
            }
            State::Rest { .. } | State::Held(_) => {}
        }
    }

    /// Nothing will be sent any more.
    pub(super) fn abandon(&mut self, world: &World, profile: &Profile, cause: Cause, reason: Reason) {
        let now = world.agenda.now();
        match &self.state {
            State::Told { held, started } => {
                held.book(world, profile, *started, now, Outcome::Unknown(cause), None);
            }
            State::Held(held) => held.book(world, profile, now, now, Outcome::NotSent(reason), None),
            State::Rest { .. } | State::Asked { .. } => {}
        }
        self.state = State::Rest { at: None };
        self.is_leaving = true;
    }

    fn rest_for(&mut self, now: Instant, wait: Duration) {
        self.state = State::Rest { at: Some(now + wait) };
    }

    fn rest_after(&mut self, now: Instant, failure: &Failure) {
        let hint = failure.retry_after.map(|hint| hint.max(LEAST_HINT));
        self.rest_for(now, hint.unwrap_or(self.chores.poll_every));
    }
}

impl Held {
    fn book(
        &self,
        world: &World,
        profile: &Profile,
        started: Instant,
        finished: Instant,
        outcome: Outcome,
        failure: Option<&Failure>,
    ) {
        let observation = Observation {
            kind: StepKind::C2dReceive,
            due: self.due,
            ready: self.ready,
            started,
            finished,
            outcome,
        };
        world.recorder.borrow_mut().step(profile.population, &observation, failure);
    }
}
