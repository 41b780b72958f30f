//! One thread's part of a run.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::roster::Walk;
use super::{Command, Destination, FleetError, Report, Setup};
use crate::device;
use crate::device::hub::Envelope;
use crate::device::life::Limits;
use crate::device::world::{Fates, HubRule, Phase, Profile, Route, Sending, Stop, World};
use crate::net::dial::Network;
use crate::plan::{Plan, Population, Protocol, Roster};
use crate::record::{Record, Recorder, Settings};
use crate::time::{Agenda, Clock};

/// What one thread is given of its own.
pub struct Share {
    /// Number of the thread, from 0.
    pub thread: usize,
    /// Its clock.
    pub clock: Clock,
    /// Its connections.
    pub network: Network,
    /// What it is told while it runs.
    pub commands: watch::Receiver<Command>,
}

/// Carries out one thread's part of the plan: of N shards, device n belongs to shard n mod N and there to thread
/// (n div N) mod threads. Needs a runtime with local tasks.
///
/// # Errors
/// [`FleetError`] when there is no timer, or a device's task failed by a bug.
pub async fn drive(
    setup: &Setup,
    share: Share,
    mut report: impl FnMut(Report),
) -> Result<Record, FleetError> {
    let Share { thread, clock, network, mut commands } = share;
    let plan = &setup.plan;
    let agenda = Agenda::new(&clock).map_err(|source| FleetError::Start { thread, source })?;
    let end = plan.duration.map(|duration| setup.epoch + duration);
    let settings = Settings { epoch: setup.epoch, sends_from: plan.sends_from };
    let world = Rc::new(World {
        agenda,
        network,
        recorder: RefCell::new(Recorder::new(plan.populations.len(), settings)),
        stop: Stop::new(end),
        run_id: plan.run_id.clone(),
        seed: plan.seed,
        rendered: RefCell::default(),
        narrator: setup
            .narrator
            .clone()
            .map(|narrator| Box::new(move |told: device::world::Narration<'_>| narrator(told)) as _),
        witness: setup
            .witness
            .clone()
            .map(|witness| Box::new(move |fate: &device::world::EndedMessage| witness(fate)) as _),
    });
    let alive = Rc::new(Alive::default());
    for (index, population) in plan.populations.iter().enumerate() {
        let profile = Rc::new(profile(setup, index, population));
        let (world, setup, watched) = (Rc::clone(&world), setup.clone(), Rc::clone(&alive));
        let guard = Alive::enter(&alive);
        tokio::task::spawn_local(async move {
            launch(world, profile, setup, index, thread, watched).await;
            drop(guard);
        });
    }

    let mut over_at = end.map(|end| end + plan.drain);
    let mut seconds = 0u64;
    loop {
        let phase = world.stop.phase();
        let next = match phase {
            Phase::Running => end,
            Phase::Draining => over_at,
            Phase::Over => None,
        };
        let tick = setup.epoch + Duration::from_secs(seconds + 1);
        tokio::select! {
            biased;
            () = alive.none() => break,
            () = async { world.agenda.until(next.expect("is some")).await }, if next.is_some() => {
                let into = if phase == Phase::Running { Phase::Draining } else { Phase::Over };
                world.stop.advance(into, next.expect("is some"), false);
            }
            Ok(()) = commands.changed() => {
                let now = clock.now();
                match *commands.borrow_and_update() {
                    Command::Run => {}
                    Command::Interrupt => {
                        world.stop.advance(Phase::Draining, now, true);
                        let grace = now + plan.drain.min(INTERRUPT_GRACE);
                        over_at = Some(over_at.map_or(grace, |over| over.min(grace)));
                    }
                    Command::Leave => world.stop.advance(Phase::Over, now, true),
                }
            }
            () = clock.sleep_until(tick) => {
                seconds += 1;
                let interval = world.recorder.borrow_mut().take_interval();
                report(Report { thread, second: seconds, interval, last: false });
            }
        }
    }
    let interval = world.recorder.borrow_mut().take_interval();
    report(Report { thread, second: seconds + 1, interval, last: true });
    if let Some(error) = alive.trouble.take() {
        return Err(error);
    }
    if alive.panicked.get() {
        return Err(FleetError::Panicked(thread));
    }
    // Every device has ended; a task that only closes a connection may still hold the world for a moment.
    let settings = Settings { epoch: setup.epoch, sends_from: plan.sends_from };
    Ok(world.recorder.replace(Recorder::new(0, settings)).finish())
}

/// How long open answers are awaited after an interrupt, at most.
const INTERRUPT_GRACE: Duration = Duration::from_secs(10);

/// Starts this thread's devices of one population, each when it is due.
async fn launch(
    world: Rc<World>,
    profile: Rc<Profile>,
    setup: Setup,
    index: usize,
    thread: usize,
    alive: Rc<Alive>,
) {
    let trouble = |error| {
        alive.trouble.borrow_mut().get_or_insert(error);
        world.stop.advance(Phase::Over, world.agenda.now(), true);
    };
    let population = &setup.plan.populations[index];
    let mut walk = match Walk::new(&setup.plan, population, &setup.keys[index]) {
        Ok(walk) => walk,
        Err(error) => return trouble(error.into()),
    };
    let (first, step) = setup.plan.shard.walk(thread, setup.threads);
    let (skipped, step) = (usize::try_from(first).unwrap_or(usize::MAX), step as usize);
    let own = (first..population.count).step_by(step);
    let instants = population.starts(&setup.plan).instants().skip(skipped).step_by(step);
    for (n, due) in own.zip(instants) {
        let due = setup.epoch + due;
        // An interrupt moves the run's end to now, and with it what is planned; the planned end itself does not wait for
        // those who are due before it.
        while due > world.agenda.now() && world.stop.plans(due) {
            let seen = world.stop.phase();
            tokio::select! {
                biased;
                _ = world.stop.left(seen) => {}
                () = world.agenda.until(due) => {}
            }
        }
        if !world.stop.plans(due) {
            return;
        }
        let identity = match (walk.device(n), &population.roster) {
            (Ok(Some(identity)), _) => identity,
            (Ok(None), Roster::List(list)) => {
                return trouble(FleetError::ListChanged(list.path().to_owned()));
            }
            (Ok(None), Roster::Pattern(_)) => return,
            (Err(error), _) => return trouble(error.into()),
        };
        let (world, profile) = (Rc::clone(&world), Rc::clone(&profile));
        tokio::task::spawn_local(device::live(world, profile, n, identity, due, Alive::enter(&alive)));
    }
}

fn profile(setup: &Setup, index: usize, population: &Population) -> Profile {
    let plan: &Plan = &setup.plan;
    let route = match &setup.destination {
        Destination::Dps { place, host, id_scope, allow } => Route::Dps {
            endpoint: place.endpoint(population.provision.unwrap_or_default()),
            host: host.clone(),
            id_scope: id_scope.clone(),
            hubs: HubRule {
                allow: allow.clone(),
                default_port: population.connect.unwrap_or_default().default_port(),
            },
        },
        Destination::Hub { place, host } => Route::Hub {
            endpoint: place.endpoint(population.connect.unwrap_or_default()),
            host: host.clone(),
        },
    };
    // A device that only registers has no hub, and the protocol towards it does not matter.
    let connect = population.connect.unwrap_or(Protocol::Mqtt);
    let habits = population.behave.habits();
    let sending = population.telemetry.clone().map(|telemetry| {
        let (seed, name) = (plan.seed, population.name.clone());
        Sending {
            messages: telemetry.messages,
            in_flight: telemetry.in_flight as usize,
            queue: telemetry.queue as usize,
            resend: telemetry.resend,
            topic: telemetry.topic.clone(),
            fates: match setup.keeps_messages {
                false => Fates::Forgotten,
                true if telemetry.payload.id_forms(&plan.run_id, &name).is_some() => Fates::EachMessage,
                true => Fates::DeviceOnly,
            },
            envelopes: telemetry
                .payload
                .kinds()
                .map(|payload| Envelope::of(payload, connect, telemetry.qos, habits.hub.bag))
                .collect(),
            payload: telemetry.payload.clone(),
            instants: Box::new(move |n| Box::new(telemetry.rhythm.instants(seed, &name, n))),
        }
    });
    Profile {
        population: index,
        name: population.name.clone(),
        route,
        limits: Rc::new(Limits {
            register: population.deadlines.register,
            connect: population.deadlines.connect,
            waits: habits.waits,
            is_refused_for_good: habits.dps.gives_up_over_http
                && population.provision == Some(Protocol::Https),
        }),
        habits,
        token: population.token,
        skew: population.skew,
        send_deadline: population.deadlines.send,
        provision: population.provision.unwrap_or(Protocol::Mqtt),
        connect,
        keep_alive_s: u16::try_from(population.keep_alive.as_secs()).unwrap_or(u16::MAX),
        keep_connection: population.keep_connection,
        sending,
        chores: population.chores.clone(),
        connects: population.connect.is_some(),
        hold: plan.duration.is_some(),
    }
}

/// A task that is counted.
struct Guard(Rc<Alive>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.set(true);
        }
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0 {
            self.0.none.notify_waiters();
        }
    }
}

/// Counts tasks that the thread has to wait for.
#[derive(Default)]
struct Alive {
    count: Cell<u64>,
    none: Notify,
    panicked: Cell<bool>,
    trouble: RefCell<Option<FleetError>>,
}

impl Alive {
    /// Counts a task from now until it drops what it is given, be it by a panic.
    fn enter(alive: &Rc<Self>) -> Guard {
        alive.count.set(alive.count.get() + 1);
        Guard(Rc::clone(alive))
    }

    /// Waits until no task is left.
    async fn none(&self) {
        let mut notified = std::pin::pin!(self.none.notified());
        notified.as_mut().enable();
        if self.count.get() > 0 {
            notified.await;
        }
    }
}
