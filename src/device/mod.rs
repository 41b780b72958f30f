//! One simulated device: registers, connects, sends.
//!
//! [`life`] decides and [`dps`], [`hub`] act; this file drives them. Books are kept as each step ends. Devices know neither the
//! plan nor the emulator: they are told a [`world::Profile`] and meet services through bytes.

use std::rc::Rc;
use std::time::Duration;

use crate::rng::{self, Purpose};
use crate::step::{Cause, Class, Exchange, Failure, Milestone, Outcome, StepKind};
use crate::time::Instant;

mod devicebound;
pub mod dps;
pub mod hub;
pub mod life;
mod link;
mod mqtt;
#[cfg(test)]
mod mqtt_tests;
pub mod outbox;
mod parting;
pub mod habits;
pub mod two_way;
mod waiting;
pub mod world;

use hub::suspicion::{Gone, Suspicion};
use hub::{Event, Hub};
use life::{Call, Ended, Happened, Life, Next};
use link::Link;
use outbox::{Outbox, Tick};
use two_way::Errands;
use waiting::{tend, until, wait_for};
use world::{Identity, Narration, Phase, Profile, Route, World};

/// How long an orderly end of a connection may take; a peer that does not read is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// Lives the life of device `n` of a population, which is due to start at `due`. Ends when the device has finished, gave up, or
/// the run is over; everything it owed is in the books by then.
///
/// * `held`: dropped at that end, also if it is a panic
pub fn live<Held>(
    world: Rc<World>,
    profile: Rc<Profile>,
    n: u64,
    identity: Identity,
    due: Instant,
    held: Held,
) -> impl Future<Output = ()> + use<Held> {
    let draws = rng::stream(world.seed, &profile.name, n, Purpose::Retry);
    let life = match profile.route {
        Route::Dps { .. } => Life::with_registration(due, Rc::clone(&profile.limits), draws),
        Route::Hub { .. } => Life::without_registration(due, Rc::clone(&profile.limits), draws),
    };
    let mut device = Device {
        n,
        due,
        link: Link::new(
            identity,
            &profile.route,
            rng::stream(world.seed, &profile.name, n, Purpose::Client).bits(),
        ),
        renewing: None,
        looked: Instant::from_nanos(0),
        life,
        outbox: Outbox::default(),
        errands: (!profile.chores.is_empty()).then(|| Box::new(Errands::of(&profile))),
        not_before: None,
        sent_any: false,
        suspicion: Suspicion::default(),
        world,
        profile,
    };
    // An async function would keep its arguments beside the device that is made of them.
    async move {
        device.run().await;
        drop(held);
    }
}

struct Device {
    world: Rc<World>,
    profile: Rc<Profile>,
    n: u64,
    due: Instant,
    life: Life,
    link: Link,
    outbox: Outbox,
    /// `None` for a device that does nothing but send.
    errands: Option<Box<Errands>>,
    /// The hub asked for no message before this.
    not_before: Option<Instant>,
    sent_any: bool,
    suspicion: Suspicion,
    /// The renewal that is under way while messages are still waited for: when it was due, and when our code got to it.
    renewing: Option<(Instant, Instant)>,
    /// When somebody looked last whether one is due, and none was.
    looked: Instant,
}

impl Device {
    async fn run(&mut self) {
        self.book_start();
        loop {
            match self.life.next() {
                // Boxed, for a device is in this state for a small part of its life and should not be as large as it.
                Next::At(at, call) => Box::pin(self.call_at(at, call)).await,
                Next::Serve => self.serve().await,
                Next::Ended(end) => {
                    self.settle(end);
                    if let Some(hub) = self.link.hub.take_if(|_| end == life::End::Finished) {
                        self.say_good_bye(hub).await;
                    }
                    return;
                }
            }
        }
    }

    fn book_start(&self) {
        let mut books = self.world.recorder.borrow_mut();
        books.device_started(self.profile.population);
        if matches!(self.profile.route, Route::Dps { .. }) {
            books.milestone_due(self.profile.population, Milestone::TimeToAssigned);
        }
        if self.profile.sending.is_some() {
            books.milestone_due(self.profile.population, Milestone::TimeToFirstTelemetry);
        }
    }

    /// Waits until `at` and makes a call; messages go on becoming due meanwhile.
    async fn call_at(&mut self, at: Instant, call: Call) {
        let mut seen = self.world.stop.phase();
        if seen == Phase::Over {
            return self.abandon();
        }
        let Some((kind, deadline)) = self.life.step() else { return };
        let happened = self.attempt(at, call, kind, deadline, &mut seen).await;
        match happened {
            Some(happened) => self.happened(happened),
            // A connect that waits to be tried again is in the books, and owes an outcome.
            None if seen == Phase::Over || self.life.owes_outcome() => self.abandon(),
            // Nothing is owed and no more will be: the connection is not needed again.
            None => self.life.finish(),
        }
    }

    /// What came of the call; `None` if the run ended first, or the call is not needed any more.
    async fn attempt(
        &mut self,
        at: Instant,
        call: Call,
        kind: StepKind,
        deadline: Instant,
        seen: &mut Phase,
    ) -> Option<Happened> {
        let Self { life, link, outbox, errands, world, profile, .. } = self;
        let mut attempt = std::pin::pin!(async {
            link.wait(world, at).await;
            let now = world.agenda.now();
            if life.ready(now) {
                world.recorder.borrow_mut().due(profile.population, kind);
            }
            life.started(now);
            // Boxed as well, for the wait before it is the longer part.
            let called = Box::pin(link.call(world, profile, call));
            match world.agenda.clock().until(deadline, called).await {
                Some(happened) => happened,
                None => Happened::Failed(link.timed_out()),
            }
        });
        loop {
            tokio::select! {
                biased;
                happened = &mut attempt => return Some(happened),
                phase = world.stop.left(*seen) => {
                    *seen = phase;
                    // A connection that is only due with the next message is not needed any more if there is none.
                    let holds_none = errands.as_ref().is_none_or(|errands| !errands.holds_message());
                    let idle = outbox.is_idle() && holds_none;
                    let needless = kind == StepKind::Connect && world.agenda.now() < at && idle;
                    if phase == Phase::Over || needless {
                        return None;
                    }
                }
                // None of them can be under way: there is no hub connection.
                _ = outbox.tick(world, profile) => {}
                () = tend(errands, world, profile) => {}
            }
        }
    }

    fn happened(&mut self, happened: Happened) {
        let now = self.world.agenda.now();
        let connected = happened == Happened::Connected;
        let failure = match &happened {
            Happened::Failed(failure) => Some(failure.clone()),
            _ => None,
        };
        let kind = self.life.step().map(|(kind, _)| kind);
        match (self.life.happened(now, happened), kind) {
            (Some(ended), _) => {
                self.book(&ended);
                if let (StepKind::Connect | StepKind::Renew, Outcome::Failed(class)) =
                    (ended.observation.kind, ended.observation.outcome)
                    && self.is_pointless()
                {
                    self.life.give_up_on(class);
                }
            }
            (None, Some(kind)) => {
                if let Some(failure) = &failure {
                    self.world.recorder.borrow_mut().failed_attempt(
                        self.profile.population,
                        kind,
                        failure,
                        now,
                    );
                }
            }
            (None, None) => {}
        }
        if let Some(failure) = &failure {
            self.world.narrate(Narration::Failed(failure));
        }
        if connected {
            self.world.recorder.borrow_mut().device_connected(self.profile.population);
            self.outbox.start(&self.profile, self.n, now);
            if let Some(errands) = &mut self.errands {
                errands.connected(&self.world, &self.profile);
            }
        }
    }

    /// Whether a device that did not reach its hub has no reason to go on trying: nothing is owed and nothing will be, or
    /// it never was connected, so that nothing can become due, and the run has no end but its devices'.
    fn is_pointless(&self) -> bool {
        let nothing_to_come = self.is_idle()
            && self.outbox.next_due(&self.world, &self.profile).is_none()
            && !self.waits_for_more();
        if self.outbox.has_started() { nothing_to_come } else { !self.profile.hold }
    }

    fn book(&mut self, ended: &Ended) {
        let mut books = self.world.recorder.borrow_mut();
        let observation = &ended.observation;
        books.step(self.profile.population, observation, ended.failure.as_ref());
        if observation.kind == StepKind::Register && observation.outcome == Outcome::Acknowledged {
            let took = observation.finished.since(self.due);
            books.milestone(self.profile.population, Milestone::TimeToAssigned, took);
            drop(books);
            self.link.leave_dps(self.world.agenda.clock());
            if !self.profile.connects {
                self.life.finish();
            }
            if let Some(assigned) = &self.link.assigned {
                self.world.narrate(Narration::Assigned(assigned));
            }
        }
    }

    /// Sends what is due while the hub connection lasts.
    async fn serve(&mut self) {
        let (world, profile) = (Rc::clone(&self.world), Rc::clone(&self.profile));
        let mut seen = world.stop.phase();
        let mut left = Box::pin(world.stop.left(seen));
        let mut wait = None;
        loop {
            if seen == Phase::Over {
                return self.abandon();
            }
            let now = world.agenda.now();
            let renewal = self.renewal(now);
            match (renewal, self.renewing) {
                (Some(renewal), Some((due, ready))) => {
                    if self.awaits_none() || renewal.by <= now {
                        return self.renew(due, ready);
                    }
                }
                _ => {
                    if let Err(failure) = self.hand_over() {
                        return self.disconnect(Some(failure), &[], Cause::ConnectionLost);
                    }
                }
            }
            let is_renewing = self.renewing.is_some();
            if let Err(failure) = self.attend(is_renewing) {
                world.narrate(Narration::Failed(&failure));
            }
            if self.errands.as_ref().is_some_and(|errands| errands.is_overdue(&world, &profile)) {
                let failure = self.link.timed_out();
                return self.disconnect(Some(failure), &[], Cause::Deadline);
            }
            if self.outbox.next_due(&world, &profile).is_none()
                && self.outbox.is_idle()
                && !self.waits_for_more()
                && let Some(errands) = &mut self.errands
            {
                errands.leave();
            }
            if self.is_idle() {
                match self.next_due() {
                    None if !self.waits_for_more() => return self.leave_hub(None),
                    Some(due) if !profile.stays_connected() && due.since(now) > profile.keep_connection => {
                        return self.leave_hub(Some(due));
                    }
                    _ => {}
                }
            }
            let Some(hub) = &mut self.link.hub else {
                return self.disconnect(None, &[], Cause::ConnectionLost);
            };
            let at = renewal.map(|renewal| if is_renewing { renewal.by } else { renewal.due });
            // One that is far off needs no timer: the next ping comes before.
            let at = at.filter(|at| profile.keep_alive_s == 0 || at.since(now) <= 2 * profile.keep_alive());
            let can_go = if profile.connect.is_mqtt() { !is_renewing } else { hub.can_send() };
            let errands = self.errands.as_ref();
            let errand = errands.and_then(|errands| errands.next(&world, &profile, can_go));
            let next = at.into_iter().chain(errand).min();
            tokio::select! {
                biased;
                event = hub.event(world.agenda.clock()) => {
                    if !self.event(event) {
                        return;
                    }
                }
                tick = self.outbox.tick(&world, &profile) => {
                    if tick == Tick::Overdue {
                        // HTTP has no way to give up one answer but to give up the connection.
                        let failure = self.link.timed_out();
                        return self.disconnect(Some(failure), &[], Cause::Deadline);
                    }
                }
                () = until(&world, self.not_before) => {}
                () = wait_for(&world, &mut wait, next) => {}
                phase = &mut left => {
                    seen = phase;
                    left = Box::pin(world.stop.left(seen));
                }
            }
        }
    }

    /// Does what errands need by now.
    fn attend(&mut self, is_renewing: bool) -> Result<(), Failure> {
        let Some(errands) = &mut self.errands else { return Ok(()) };
        if !self.profile.connect.is_mqtt() {
            self.link.freshen(&self.world, &self.profile)?;
        }
        // They go on becoming due, and too late, while nothing is sent.
        let hub = self.link.hub.as_mut().filter(|_| !is_renewing);
        errands.attend(&self.world, &self.profile, hub)
    }

    /// When the device has a reason of its own to be connected: its next message, or the question whether there is one for it.
    fn next_due(&self) -> Option<Instant> {
        let message = self.outbox.next_due(&self.world, &self.profile);
        let question = self.errands.as_ref().and_then(|errands| errands.next_question(&self.world));
        message.into_iter().chain(question).min()
    }

    /// Whether something may come that a device has to be there for, whatever it has sent.
    fn waits_for_more(&self) -> bool {
        let profile = &self.profile;
        self.world.stop.phase() == Phase::Running
            && profile.waits_for_more()
            // Over HTTPS nothing comes that was not asked for.
            && match &self.errands {
                Some(errands) if !profile.stays_connected() => errands.has_questions(&self.world),
                _ => true,
            }
    }

    /// Whether a message waits for a connection, or to be settled over one.
    fn needs_hub(&self) -> bool {
        !self.outbox.is_idle() || self.errands.as_ref().is_some_and(|errands| errands.holds_message())
    }

    /// Whether nothing is owed now.
    fn is_idle(&self) -> bool {
        self.outbox.is_idle() && self.errands.as_ref().is_none_or(|errands| errands.is_idle())
    }

    /// Whether nothing was sent that is not answered.
    fn awaits_none(&self) -> bool {
        self.outbox.awaits_none() && self.errands.as_ref().is_none_or(|errands| errands.awaits_none())
    }

    /// Takes a report of the hub connection; `false` when the connection is gone.
    fn event(&mut self, event: Event) -> bool {
        let (world, profile) = (&self.world, &self.profile);
        let exchange = self.link.hub.as_ref().map_or(Exchange::HttpPost, Hub::exchange);
        match event {
            Event::Acknowledged { sequence, started, finished } => {
                self.outbox.answered(
                    world,
                    profile,
                    sequence,
                    (started, finished),
                    Outcome::Acknowledged,
                    None,
                );
                let took = finished.since(started);
                world.recorder.borrow_mut().exchange(profile.population, exchange, took, true);
                self.works(sequence, finished);
            }
            Event::Written { sequence, started, finished } => {
                let span = (started, finished);
                self.outbox.answered(world, profile, sequence, span, Outcome::Written, None);
                self.works(sequence, finished);
            }
            Event::AcknowledgedAgain => {
                let mut books = world.recorder.borrow_mut();
                books.exchange(profile.population, exchange, Duration::ZERO, false);
            }
            Event::Refused { sequence, failure, started, finished } => {
                let outcome = Outcome::Failed(failure.class);
                self.not_before = failure.retry_after.map(|wait| finished + wait);
                self.outbox.answered(world, profile, sequence, (started, finished), outcome, Some(&failure));
                let took = finished.since(started);
                world.recorder.borrow_mut().exchange(profile.population, exchange, took, false);
                world.narrate(Narration::Failed(&failure));
            }
            Event::Pinged => {}
            Event::Told { packet_id, finished } => {
                if let Some(errands) = &mut self.errands {
                    errands.confirmed(world, profile, packet_id, finished);
                }
            }
            Event::Arrived { message, at } => {
                // A service may send what it likes to a device that asked for nothing.
                if let Some(errands) = &mut self.errands
                    && let Err(failure) = errands.arrived(world, profile, &message, at)
                {
                    self.disconnect(Some(failure), &[], Cause::ConnectionLost);
                    return false;
                }
            }
            Event::Asked { answer, started, finished } => {
                let took = finished.since(started);
                let mut books = world.recorder.borrow_mut();
                books.exchange(profile.population, Exchange::HttpC2dGet, took, answer.is_ok());
                drop(books);
                match &answer {
                    Ok(_) => self.life.works(),
                    Err(failure) => world.narrate(Narration::Failed(failure)),
                }
                if let Some(errands) = &mut self.errands {
                    errands.asked(world, profile, answer, finished);
                }
            }
            Event::Settled { failure, started, finished } => {
                let took = finished.since(started);
                let mut books = world.recorder.borrow_mut();
                books.exchange(profile.population, Exchange::HttpC2dSettle, took, failure.is_none());
                drop(books);
                match &failure {
                    None => self.life.works(),
                    Some(failure) => world.narrate(Narration::Failed(failure)),
                }
                if let Some(errands) = &mut self.errands {
                    errands.settled(world, profile, failure.as_ref(), (started, finished));
                }
            }
            Event::Lost { failure, unsent, is_aside_unsent } => {
                if let Some(errands) = self.errands.as_mut().filter(|_| is_aside_unsent) {
                    errands.never_written();
                }
                let cause = self.suspect(failure.as_ref());
                self.disconnect(failure, &unsent, cause);
                return false;
            }
        }
        if self.link.hub.as_ref().is_some_and(Hub::is_over) {
            // The hub announced the end of the connection with its answer.
            self.disconnect(None, &[], Cause::ConnectionLost);
            return false;
        }
        true
    }

    /// A message is done.
    fn works(&mut self, sequence: u64, finished: Instant) {
        if !self.sent_any {
            self.sent_any = true;
            let took = finished.since(self.due);
            let mut books = self.world.recorder.borrow_mut();
            books.milestone(self.profile.population, Milestone::TimeToFirstTelemetry, took);
        }
        self.world.narrate(Narration::Sent(sequence));
        self.life.works();
    }

    /// Why the messages under way are unknown, now that the connection is gone.
    fn suspect(&mut self, failure: Option<&Failure>) -> Cause {
        match &self.link.hub {
            Some(Hub::Mqtt(hub)) => self.suspicion.of(Gone {
                class: failure.map_or(Class::Closed, |failure| failure.class),
                awaits_confirmation: hub.awaits_confirmation(),
                confirmed_any: hub.confirmed_any(),
            }),
            _ => Cause::ConnectionLost,
        }
    }

    /// Hands over messages as long as the connection and the window take them.
    fn hand_over(&mut self) -> Result<(), Failure> {
        let (world, profile) = (&self.world, &self.profile);
        let Some(sending) = &profile.sending else { return Ok(()) };
        self.outbox.notice(world, profile);
        if self.not_before.is_some_and(|not_before| world.agenda.now() < not_before) {
            return Ok(());
        }
        self.not_before = None;
        while self.outbox.may_send(sending) && self.link.hub.as_ref().is_some_and(Hub::can_send) {
            if let (Some(errands), Some(due)) = (&self.errands, self.outbox.first_due())
                && errands.go_before(world, due)
            {
                break;
            }
            let Some(mut owed) = self.outbox.take() else { break };
            if owed.sequence == 1 {
                world.narrate(Narration::WillSend);
            }
            world.narrate(Narration::Sending(owed.sequence));
            let handed = self.link.send(world, profile, self.n, &mut owed);
            self.outbox.sent(owed);
            handed?;
        }
        Ok(())
    }

    /// The hub connection is gone, or is given up.
    fn disconnect(&mut self, failure: Option<Failure>, unsent: &[u64], cause: Cause) {
        let now = self.world.agenda.now();
        self.link.drop_hub();
        self.renewing = None;
        let again = self.outbox.lost(&self.world, &self.profile, unsent, cause);
        if let Some(errands) = &mut self.errands {
            errands.lost(&self.world, &self.profile, cause);
        }
        self.world.recorder.borrow_mut().device_disconnected(self.profile.population);
        if let Some(failure) = &failure {
            // The loss of a connection is one failed attempt, and so is each message that has to go again.
            for _ in 0..again.max(1) {
                let mut books = self.world.recorder.borrow_mut();
                books.failed_attempt(self.profile.population, StepKind::Send, failure, now);
            }
            self.world.narrate(Narration::Failed(failure));
        }
        let (next, needs_hub) = (self.next_due(), self.needs_hub());
        // With a message waiting, at once; else with the next message: an idle HTTPS device has no need of a connection.
        let failure = failure.unwrap_or_else(|| Failure::new(Class::Closed, "the hub closed the connection"));
        let asks = self.errands.is_some() && !self.profile.stays_connected();
        let has_an_end = self.profile.sending.is_some() || asks;
        match next.filter(|_| !needs_hub) {
            Some(_) if self.profile.stays_connected() => self.life.lost(now, now, &failure),
            Some(due) => self.life.lost(now, due.max(now), &failure),
            None if !needs_hub && has_an_end && !self.waits_for_more() => self.life.finish(),
            None => self.life.lost(now, now, &failure),
        }
    }
}

#[cfg(test)]
mod tests;
