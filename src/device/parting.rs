//! How a device leaves its hub of its own accord: for a new token, until the next message, or for good; and what it books at the end.

use super::hub::Hub;
use super::hub::mqtt::Before;
use super::life::{self, Next};
use super::{Device, FAREWELL, link};
use crate::step::{Cause, Class, Failure, Reason, StepKind};
use crate::time::Instant;

impl Device {
    /// The renewal that comes next, if the run still plans it. One that is due is under way from now on.
    pub(super) fn renewal(&mut self, now: Instant) -> Option<link::Renewal> {
        let link::Renewal { due, by } = self.link.renewal(&self.world, &self.profile)?;
        let patience = by.since(due);
        if let Some((due, _)) = self.renewing {
            return Some(link::Renewal { due, by: due + patience });
        }
        // What is due before the last look at it, when it was not, became so by a clock that was moved: it is due now.
        let due = if due < self.looked { now } else { due };
        if !self.world.stop.plans(due) {
            return None;
        }
        if due <= now {
            self.renewing = Some((due, now));
        } else {
            self.looked = now;
        }
        Some(link::Renewal { due, by: due + patience })
    }

    /// Makes the hub connection anew, for the sake of its token. What nobody confirmed by now is unknown, or goes again.
    pub(super) fn renew(&mut self, due: Instant, ready: Instant) {
        self.renewing = None;
        let mut again = 0;
        if !self.awaits_none() {
            again = self.outbox.lost(&self.world, &self.profile, &[], Cause::ConnectionLost);
            if let Some(errands) = &mut self.errands {
                errands.lost(&self.world, &self.profile, Cause::ConnectionLost);
            }
        }
        let now = self.world.agenda.now();
        let mut books = self.world.recorder.borrow_mut();
        // Each message that has to go again is a failed attempt, as where a connection is lost: the hub may have both.
        let failure = Failure::new(Class::Closed, "the token had to be renewed before the hub confirmed");
        for _ in 0..again {
            books.failed_attempt(self.profile.population, StepKind::Send, &failure, now);
        }
        books.device_disconnected(self.profile.population);
        books.due(self.profile.population, StepKind::Renew);
        drop(books);
        if let Some(hub) = self.link.hub.take() {
            tokio::task::spawn_local(self.say_good_bye(hub));
        }
        self.link.before = Before::Renewal;
        self.life.renew(due, ready);
    }
    /// Leaves the hub, until the next message is due or for good.
    pub(super) fn leave_hub(&mut self, until: Option<Instant>) {
        self.world.recorder.borrow_mut().device_disconnected(self.profile.population);
        match until {
            Some(due) => {
                if let Some(hub) = self.link.hub.take() {
                    tokio::task::spawn_local(self.say_good_bye(hub));
                }
                self.life.left(due);
            }
            // The connection is closed when the books are, by this task: thousands may leave at once.
            None => self.life.finish(),
        }
    }

    /// Closes a hub connection in order.
    pub(super) fn say_good_bye(&self, hub: Hub) -> impl Future<Output = ()> + use<> {
        let clock = self.world.agenda.clock().clone();
        // Boxed, for a device is in this state for the last instant of its life and should not be as large as it.
        Box::pin(async move {
            clock.until(clock.now() + FAREWELL, hub.close()).await;
        })
    }

    /// The run is over.
    pub(super) fn abandon(&mut self) {
        let interrupted = self.world.stop.is_interrupted();
        if self.life.next() == Next::Serve {
            self.world.recorder.borrow_mut().device_disconnected(self.profile.population);
        }
        if let Some(ended) = self.life.abandon(self.world.agenda.now(), interrupted) {
            let mut books = self.world.recorder.borrow_mut();
            if !ended.met {
                books.due(self.profile.population, ended.observation.kind);
            }
            books.step(self.profile.population, &ended.observation, None);
        }
    }

    /// Books what is left when the device's life ends.
    pub(super) fn settle(&mut self, end: life::End) {
        let (cause, reason) = match end {
            life::End::GaveUp(_) | life::End::Finished => (Cause::ConnectionLost, Reason::DeviceStopped),
            life::End::Abandoned if self.world.stop.is_interrupted() => {
                (Cause::Interrupted, Reason::Interrupted)
            }
            life::End::Abandoned => (Cause::RunEnded, Reason::RunEnded),
        };
        if end == life::End::Abandoned {
            // What was due before the end and not noticed yet is owed as well.
            self.outbox.notice(&self.world, &self.profile);
        }
        self.outbox.abandon(&self.world, &self.profile, cause, reason);
        self.outbox.leave_marks(&self.world, &self.profile, self.n, self.link.assigned.as_deref());
        if let Some(errands) = &mut self.errands {
            errands.abandon(&self.world, &self.profile, cause, reason);
        }
        self.world.recorder.borrow_mut().device_finished(self.profile.population);
    }
}
