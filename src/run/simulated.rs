//! A whole run in simulated time: fleet, devices and emulator in one process, on one thread, over in-memory streams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::emulator::config::{Config, Enrollment};
use crate::emulator::ledger::Ledger;
use crate::emulator::serve::{DPS_HOST, serve_in_memory};
use crate::emulator::service::ConfigError;
use crate::fleet::{Command, Destination, DeviceKeys, FleetError, Setup, Share, drive};
use crate::net::dial::Network;
use crate::net::memory::MemoryNetwork;
use crate::plan::{Place, Plan, Target};
use crate::record::{Record, Series};
use crate::result::file;
use crate::run::reconcile;
use crate::time::{self, Stalled};

/// Longer than any scenario that is worth simulating: a run that is not over by then never will be.
const LIMIT: Duration = Duration::from_secs(7 * 86_400);

/// What a simulated run is given besides its plan.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The emulator answers nothing that arrives between these instants of the run clock until the second.
    pub freeze: Option<(Duration, Duration)>,
    /// An interrupt comes at this instant of the run clock.
    pub interrupt: Option<Duration>,
    /// When somebody sets the wall clock, in order of time.
    pub wall_steps: Vec<WallStep>,
    /// Over how many shares the devices are spread, as over threads; at least 1.
    pub shares: usize,
}

/// A step of the wall clock, which fleet and emulator share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallStep {
    /// When, on the run clock.
    pub at: Duration,
    /// By how many seconds: forward, or back if negative.
    pub by_s: i64,
}

/// What a simulated run leaves.
#[derive(Debug)]
pub struct Simulated {
    /// The fleet's books.
    pub record: Record,
    /// What happened when.
    pub series: Series,
    /// The emulator's books.
    pub ledger: Ledger,
    /// What came of holding the one against the other.
    pub reconciled: file::Ledger,
    /// Run clock at the end.
    pub elapsed: Duration,
}

/// Why a simulated run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// Only an emulator can be simulated.
    #[error("only a scenario with the emulator as its target can be simulated")]
    Target,
    /// The emulator cannot be what the plan describes.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A bug: somebody waits for nothing.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// A bug in the fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

/// Plays `plan` against the emulator it describes.
///
/// # Errors
/// [`SimulationError`] when the plan has another target, or by a bug.
pub fn simulate(
    plan: &Plan,
    keys: Vec<DeviceKeys>,
    enrollments: Vec<Enrollment>,
    options: &Options,
) -> Result<Simulated, SimulationError> {
    let Target::Emulator(target) = &plan.target else { return Err(SimulationError::Target) };
    let config = Config {
        seed: plan.seed,
        id_scope: target.id_scope.clone(),
        dps: target.dps.clone(),
        hubs: target.hubs.clone(),
        allocation: target.allocation.clone(),
        enrollments,
        stamps: false,
        message_ids: Vec::new(),
        service_keys: None,
        drive: target.drive,
    };
    let (plan, keys, options) = (Arc::new(plan.clone()), Arc::new(keys), options.clone());
    let populations = plan.populations.clone();
    time::simulate(move |clock| async move {
        let network = MemoryNetwork::default();
        let emulator = serve_in_memory(&config, &clock, &network)?;
        let epoch = clock.now();
        if let Some((from, until)) = options.freeze {
            emulator.freeze(epoch + from, epoch + until);
        }
        let setup = Setup {
            destination: Destination::Dps {
                place: Place::of_host(DPS_HOST),
                host: DPS_HOST.to_owned(),
                id_scope: config.id_scope.clone(),
                allow: Vec::new(),
            },
            plan,
            keys,
            epoch,
            threads: options.shares.max(1),
            keeps_messages: false,
            narrator: None,
        };
        let (command, commands) = watch::channel(Command::Run);
        if let Some(at) = options.interrupt {
            let clock = clock.clone();
            tokio::task::spawn_local(async move {
                clock.sleep_until(epoch + at).await;
                // Nobody listening means that the run has ended before.
                let _ = command.send(Command::Interrupt);
            });
        }
        for step in options.wall_steps {
            let clock = clock.clone();
            tokio::task::spawn_local(async move {
                clock.sleep_until(epoch + step.at).await;
                clock.step_wall(step.by_s);
            });
        }
        let seconds = Rc::new(RefCell::new(BTreeMap::new()));
        let shares: Vec<_> = (0..setup.threads)
            .map(|thread| {
                let share = Share {
                    thread,
                    clock: clock.clone(),
                    network: Network::Memory(network.clone()),
                    commands: commands.clone(),
                };
                let (setup, seconds) = (setup.clone(), Rc::clone(&seconds));
                tokio::task::spawn_local(async move {
                    let report = |report: crate::fleet::Report| {
                        seconds.borrow_mut().insert((report.second, report.thread), report.interval);
                    };
                    let clock = share.clock.clone();
                    clock.until(epoch + LIMIT, drive(&setup, share, report)).await
                })
            })
            .collect();
        let mut record: Option<Record> = None;
        for share in shares {
            let part = share.await.map_err(|_| FleetError::Panicked(0))?.ok_or(Stalled)??;
            match &mut record {
                None => record = Some(part),
                Some(record) => record.merge(&part).expect("shares of one run keep equal books"),
            }
        }
        let elapsed = clock.now().since(epoch);
        let mut series = Series::default();
        for ((second, _), interval) in seconds.take() {
            series.add(second.saturating_sub(1), &interval);
        }
        let record = record.ok_or(FleetError::Panicked(0))?;
        let ledger = emulator.ledger();
        let reconciled = reconcile::compare(&record, &populations, &ledger);
        Ok(Simulated { record, series, ledger, reconciled, elapsed })
    })?
}
