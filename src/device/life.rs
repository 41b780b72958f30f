//! The life of one device, as a value: what happened and the time go in, what to do next comes out.
//!
//! ```text
//!              Register            Assigning            Assigned
//!   start ──▶ AwaitAnswer ───────▶ AwaitPoll ─────────▶ AwaitHub ──▶ Online ──▶ Ended
//!                 ▲  └─ transient failure: again later ──┘  ▲  │        │
//!                 └──── operation forgotten ────────────────┘  └─ lost ─┘
//! ```
//!
//! A step (`register`, `connect`) spans all attempts within its deadline; each end of a step is handed back once, with its
//! four instants, for the books. The same decisions drive real sockets and simulated runs.

use std::rc::Rc;
use std::time::Duration;

use super::habits::Waits;
use crate::rng::Stream;
use crate::step::{Cause, Class, Failure, Observation, Outcome, Reason, StepKind};
use crate::time::Instant;

/// What a device may take its time for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Deadline of `register`, from its due instant.
    pub register: Duration,
    /// Deadline of `connect`, from its due instant; of `renew` as well.
    pub connect: Duration,
    /// How long it waits before it asks again.
    pub waits: Waits,
    /// Whether a refusal of DPS ends `register`, also one that is only for now.
    pub is_refused_for_good: bool,
}

/// What a device does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait until then, and make the call.
    At(Instant, Call),
    /// Its hub connection is usable.
    Serve,
    /// Nothing more.
    Ended(End),
}

/// A call to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Open a connection to DPS if there is none, and register.
    Register,
    /// Ask for the operation's status.
    Poll,
    /// Open a connection to the hub.
    Connect,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything planned is done.
    Finished,
    /// Given up for good.
    GaveUp(Class),
    /// The run ended first.
    Abandoned,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// DPS is at it; ask again after that time.
    Assigning {
        /// As the service asked; `None` if it did not, or not intelligibly.
        retry_after: Option<Duration>,
    },
    /// DPS named a hub.
    Assigned,
    /// The hub connection is usable.
    Connected,
    /// The call did not work.
    Failed(Failure),
}

/// A step that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its instants and outcome.
    pub observation: Observation,
    /// Why, if it failed.
    pub failure: Option<Failure>,
    /// Whether our code ever got to it; if not, nobody has booked it as due.
    pub met: bool,
}

/// The life of one device.
#[derive(Debug)]
pub struct Life {
    state: State,
    limits: Rc<Limits>,
    draws: Stream,
    /// Why the last attempt of the step under way failed.
    last: Option<Failure>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    AwaitAnswer { at: Instant, step: Step },
    AwaitPoll { at: Instant, step: Step },
    AwaitHub { at: Instant, step: Step },
    Online { failures: u32 },
    Ended(End),
}

/// A step under way.
#[derive(Debug, Clone, Copy)]
struct Step {
    kind: StepKind,
    due: Instant,
    deadline: Instant,
    ready: Option<Instant>,
    started: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// DPS forgot the operation, and it was registered anew.
    reregistered: bool,
}

/// The shortest wait between polls, for a service that asks for none: 5 polls in 10 s is what the real one takes, but one
/// that says 0 means it.
const MIN_POLL_WAIT: Duration = Duration::from_millis(100);

impl Life {
    /// A device that is due to register at `due`.
    pub fn with_registration(due: Instant, limits: Rc<Limits>, draws: Stream) -> Self {
        let step = Step::new(StepKind::Register, due, limits.register);
        Self { state: State::AwaitAnswer { at: due, step }, limits, draws, last: None }
    }

    /// A device that knows its hub and is due to connect at `due`.
    pub fn without_registration(due: Instant, limits: Rc<Limits>, draws: Stream) -> Self {
        let step = Step::new(StepKind::Connect, due, limits.connect);
        Self { state: State::AwaitHub { at: due, step }, limits, draws, last: None }
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        match self.state {
            State::AwaitAnswer { at, .. } => Next::At(at, Call::Register),
            State::AwaitPoll { at, .. } => Next::At(at, Call::Poll),
            State::AwaitHub { at, .. } => Next::At(at, Call::Connect),
            State::Online { .. } => Next::Serve,
            State::Ended(end) => Next::Ended(end),
        }
    }

    /// The kind and the deadline of the step under way.
    pub fn step(&self) -> Option<(StepKind, Instant)> {
        self.under_way().map(|step| (step.kind, step.deadline))
    }

    /// Whether a step is under way that our code got to: it is booked as due, and owes an outcome.
    pub fn owes_outcome(&self) -> bool {
        self.under_way().is_some_and(|step| step.ready.is_some())
    }

    /// Our code got to the call; the first time counts, and is told by `true`: the step is to be booked as due.
    pub fn ready(&mut self, now: Instant) -> bool {
        match self.under_way_mut() {
            Some(step) if step.ready.is_none() => {
                step.ready = Some(now);
                true
            }
            _ => false,
        }
    }

    /// The first byte was handed to a connection; the first time counts.
    pub fn started(&mut self, at: Instant) {
        if let Some(step) = self.under_way_mut() {
            step.started.get_or_insert(at);
        }
    }

    /// Takes what came of the call that [`Self::next`] asked for. Gives the step that ended with it, if one did.
    pub fn happened(&mut self, now: Instant, happened: Happened) -> Option<Ended> {
        match (self.state, happened) {
            (
                State::AwaitAnswer { mut step, .. } | State::AwaitPoll { mut step, .. },
                Happened::Assigning { retry_after },
            ) => {
                step.failures = 0;
                let is_first = matches!(self.state, State::AwaitAnswer { .. });
                let wait = self.limits.waits.poll(retry_after, is_first).max(MIN_POLL_WAIT);
                let at = now + wait;
                if at >= step.deadline {
                    let reason = format!("still assigning; the next poll would be {wait:?} later");
                    return self.give_up(now, step, Failure::new(Class::NeverAssigned, &reason));
                }
                self.state = State::AwaitPoll { at, step };
                None
            }
            (State::AwaitAnswer { step, .. } | State::AwaitPoll { step, .. }, Happened::Assigned) => {
                self.last = None;
                let connect = Step::new(StepKind::Connect, now, self.limits.connect);
                self.state = State::AwaitHub { at: now, step: connect };
                Some(step.end(now, Outcome::Acknowledged, None))
            }
            (State::AwaitHub { step, .. }, Happened::Connected) => {
                self.last = None;
                self.state = State::Online { failures: step.failures };
                Some(step.end(now, Outcome::Acknowledged, None))
            }
            (State::AwaitAnswer { step, .. }, Happened::Failed(failure)) => {
                self.again(now, step, failure, |at, step| State::AwaitAnswer { at, step })
            }
            // The operation is gone, not the enrollment: registering anew, once, is what the service documents.
            (State::AwaitPoll { mut step, .. }, Happened::Failed(failure))
                if failure.class == Class::NotFound && !step.reregistered =>
            {
                step.reregistered = true;
                self.later(now, step, failure, |at, step| State::AwaitAnswer { at, step })
            }
            (State::AwaitPoll { step, .. }, Happened::Failed(failure)) => {
                self.again(now, step, failure, |at, step| State::AwaitPoll { at, step })
            }
            (State::AwaitHub { step, .. }, Happened::Failed(failure)) => {
                self.again(now, step, failure, |at, step| State::AwaitHub { at, step })
            }
            (State::Online { .. } | State::Ended(_), _)
            | (State::AwaitHub { .. }, Happened::Assigning { .. } | Happened::Assigned)
            | (State::AwaitAnswer { .. } | State::AwaitPoll { .. }, Happened::Connected) => {
                debug_assert!(false, "no call was asked for that could have this result");
                None
            }
        }
    }

    /// A message was acknowledged: the connection works, and failures before it are forgotten.
    pub fn works(&mut self) {
        if let State::Online { failures } = &mut self.state {
            *failures = 0;
        }
    }

    /// We closed the hub connection, for nothing is due for long. It is due again at `due`.
    pub fn left(&mut self, due: Instant) {
        if matches!(self.state, State::Online { .. }) {
            let step = Step::new(StepKind::Connect, due, self.limits.connect);
            self.state = State::AwaitHub { at: due, step };
        }
    }

    /// We closed the hub connection, for its token is to be replaced: that was due at `due`, and our code got to it at `ready`.
    pub fn renew(&mut self, due: Instant, ready: Instant) {
        if let State::Online { failures } = self.state {
            let mut step = Step::new(StepKind::Renew, due, self.limits.connect);
            (step.ready, step.failures) = (Some(ready), failures);
            self.state = State::AwaitHub { at: due, step };
        }
    }

    /// The hub connection was lost by `failure`. It is due again at `due`, and not before a wait that grows with each loss
    /// in a row: that wait is the device's policy, so the step is due at its end, and nobody is late.
    pub fn lost(&mut self, now: Instant, due: Instant, failure: &Failure) {
        let State::Online { failures } = self.state else { return };
        let wait = self.limits.waits.before_hub(failures, failure, &mut self.draws);
        let at = due.max(now + wait);
        let mut step = Step::new(StepKind::Connect, at, self.limits.connect);
        step.failures = failures + 1;
        self.state = State::AwaitHub { at, step };
    }

    /// All that was planned is done.
    pub fn finish(&mut self) {
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(End::Finished);
        }
    }

    /// There is no point in going on.
    pub fn give_up_on(&mut self, class: Class) {
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(End::GaveUp(class));
        }
    }

    /// The run is over. Gives the step under way, if it was due: unknown if anything of it was sent, else not sent.
    pub fn abandon(&mut self, now: Instant, interrupted: bool) -> Option<Ended> {
        let step = self.under_way().copied();
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(End::Abandoned);
        }
        let step = step.filter(|step| step.due <= now)?;
        let outcome = match (step.started, interrupted) {
            (Some(_), false) => Outcome::Unknown(Cause::RunEnded),
            (Some(_), true) => Outcome::Unknown(Cause::Interrupted),
            (None, false) => Outcome::NotSent(Reason::RunEnded),
            (None, true) => Outcome::NotSent(Reason::Interrupted),
        };
        Some(step.end(now, outcome, None))
    }

    /// Tries again later if that may help and time is left; else the step has failed.
    fn again(
        &mut self,
        now: Instant,
        step: Step,
        failure: Failure,
        state: fn(Instant, Step) -> State,
    ) -> Option<Ended> {
        let is_refusal = matches!(failure.class, Class::Throttled | Class::ServerError);
        let is_final = step.kind == StepKind::Register && is_refusal && self.limits.is_refused_for_good;
        if is_final || !failure.class.is_transient() {
            return self.give_up(now, step, failure);
        }
        // The deadline cut this attempt short: why those before it failed says more.
        let cut = now >= step.deadline && matches!(failure.class, Class::ConnectTimeout | Class::NoAnswer);
        let failure = if cut { self.last.take().unwrap_or(failure) } else { failure };
        self.later(now, step, failure, state)
    }

    /// Tries again after a wait, if time is left for that; else the step has failed.
    fn later(
        &mut self,
        now: Instant,
        mut step: Step,
        failure: Failure,
        state: fn(Instant, Step) -> State,
    ) -> Option<Ended> {
        step.failures += 1;
        let waits = self.limits.waits;
        let wait = match step.kind {
            StepKind::Connect | StepKind::Renew => waits.before_hub(step.failures, &failure, &mut self.draws),
            _ => waits.before_dps(step.failures, &failure, &mut self.draws),
        };
        let at = now + wait;
        if at < step.deadline {
            self.state = state(at, step);
            self.last = Some(failure);
            return None;
        }
        self.last = None;
        if matches!(step.kind, StepKind::Connect | StepKind::Renew) {
            // A device that cannot reach its hub goes on trying: the next attempt is a step of its own.
            let mut next = Step::new(StepKind::Connect, at, self.limits.connect);
            next.failures = step.failures;
            self.state = State::AwaitHub { at, step: next };
            return Some(step.end(now, Outcome::Failed(failure.class), Some(failure)));
        }
        self.give_up(now, step, failure)
    }

    fn give_up(&mut self, now: Instant, step: Step, failure: Failure) -> Option<Ended> {
        self.last = None;
        self.state = State::Ended(End::GaveUp(failure.class));
        Some(step.end(now, Outcome::Failed(failure.class), Some(failure)))
    }

    fn under_way(&self) -> Option<&Step> {
        match &self.state {
            State::AwaitAnswer { step, .. }
            | State::AwaitPoll { step, .. }
            | State::AwaitHub { step, .. } => Some(step),
            State::Online { .. } | State::Ended(_) => None,
        }
    }

    fn under_way_mut(&mut self) -> Option<&mut Step> {
        match &mut self.state {
            State::AwaitAnswer { step, .. }
            | State::AwaitPoll { step, .. }
            | State::AwaitHub { step, .. } => Some(step),
            State::Online { .. } | State::Ended(_) => None,
        }
    }
}

impl Step {
    fn new(kind: StepKind, due: Instant, limit: Duration) -> Self {
        Self {
            kind,
            due,
            deadline: due + limit,
            ready: None,
            started: None,
            failures: 0,
            reregistered: false,
        }
    }

    fn end(self, now: Instant, outcome: Outcome, failure: Option<Failure>) -> Ended {
        let ready = self.ready.unwrap_or(now);
        let observation = Observation {
            kind: self.kind,
            due: self.due,
            ready,
            started: self.started.unwrap_or(now),
            finished: now,
            outcome,
        };
        Ended { observation, failure, met: self.ready.is_some() }
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
