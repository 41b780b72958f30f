//! A whole run in simulated time: fleet, devices and emulator in one process, on one thread, over in-memory streams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::emulator::channel::{ArrivedLine, Report};
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
use crate::run::{messages, reconcile};
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
        message_ids: messages::id_forms(plan),
        service_keys: None,
        drive: target.drive.share(plan.shard.count()),
    };
    let (plan, keys, options) = (Arc::new(plan.clone()), Arc::new(keys), options.clone());
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
            keeps_messages: true,
            narrator: None,
            witness: None,
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
        let mut reconciled = reconcile::compare(&record, &setup.plan.populations, &ledger);
        let mut reconciler = messages::Reconciler::new(&record.messages, &setup.plan);
        let mut told = 0;
        if let Some(arrivals) = emulator.arrivals() {
            arrivals.each(|device_id, arrived| {
                let line = ArrivedLine { device_id: device_id.to_owned(), arrived: arrived.clone() };
                reconciler.take(Report::Arrived(Box::new(line)));
                told += 1;
            });
        }
        reconciler.take(Report::Complete(told));
        reconciler.finish(&mut reconciled);
        Ok(Simulated { record, series, ledger, reconciled, elapsed })
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::arrivals::planted::{Rule, plant};
    use crate::run::keys;

    /// A run with an emulator that does something else with messages than it says.
    fn with_planted(rule: Rule) -> file::Ledger {
        let text = "version = 1\nseed = 7\n[fleet.a]\ncount = 30\nstart.rate = '10/s'\n\
            telemetry = { every = '1s', messages = 5 }\n\
            [fleet.b]\ncount = 2\nstart.burst = {}\nconnect = 'https'\ntelemetry = { every = '1s', messages = 5 }\n\
            [fleet.c]\ncount = 2\nstart.burst = {}\nconnect = 'mqtt-ws'\ntelemetry = { every = '1s', messages = 5 }\n";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.toml");
        std::fs::write(&path, text).expect("a file");
        let plan = match crate::scenario::load(&path, &Default::default(), &|_| None) {
            Ok(loaded) => loaded.plan,
            Err(diagnostics) => panic!("{}", diagnostics.render(false, None)),
        };
        let sources = keys::Sources { environment: &|_| None, stdin: &mut std::io::empty() };
        let ring = keys::collect(&plan.enrollments, plan.seed, sources).expect("keys");
        let keys = ring.device_keys(&plan);
        plant(Some(rule));
        let run = simulate(&plan, keys, ring.enrollments, &Options::default());
        plant(None);
        run.expect("the run ends").reconciled
    }

    /// Lost, phantom and twice counted messages; the totals of such a run agree.
    fn counts(ledger: &file::Ledger) -> [u64; 3] {
        assert!(ledger.agreed.iter().any(|text| text.contains("messages accepted over")), "{ledger:?}");
        let found = ledger.messages.as_ref().expect("messages were reconciled");
        assert_eq!((found.devices, found.messages), (34, 170));
        [&found.lost, &found.phantom, &found.counted_twice].map(|messages| messages.count)
    }

    #[test]
    fn a_hub_that_does_what_it_says_leaves_every_message_where_it_should_be() {
        let ledger = with_planted(|number| Some((number, 1)));
        assert_eq!(counts(&ledger), [0, 0, 0]);
        assert_eq!(ledger.differences, Vec::<String>::new());
    }

    #[test]
    fn messages_that_a_hub_confirms_and_drops_are_lost() {
        let ledger = with_planted(|number| (number != 3).then_some((number, 1)));
        assert_eq!(counts(&ledger), [34, 0, 0]);
        let lost = &ledger.messages.as_ref().expect("messages were reconciled").lost;
        assert_eq!(lost.examples.len(), 20);
        assert!(lost.examples.iter().all(|message| message.sequence == 3), "{lost:?}");
        assert_eq!(lost.examples[1].device_id, "a-00001");
        assert!(
            ledger.differences.iter().any(|text| text.starts_with("34 messages are lost: confirmed")
                && text.ends_with("(no. 3 of a-00000, no. 3 of a-00001, no. 3 of a-00002 …)")),
            "{:?}",
            ledger.differences
        );
    }

    #[test]
    fn messages_that_a_hub_has_twice_are_counted_twice() {
        let ledger = with_planted(|number| Some((number, if number == 2 { 2 } else { 1 })));
        assert_eq!(counts(&ledger), [0, 0, 34]);
        assert_eq!(ledger.differences.len(), 1, "{:?}", ledger.differences);
    }

    #[test]
    fn messages_that_nobody_sent_are_phantoms_and_those_whose_place_they_took_are_lost() {
        let ledger = with_planted(|number| Some((if number == 5 { 1_000_000 } else { number }, 1)));
        assert_eq!(counts(&ledger), [34, 34, 0]);
        assert_eq!(ledger.differences.len(), 2, "{:?}", ledger.differences);
    }
}
