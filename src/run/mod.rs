//! A whole run: guard, keys, pre-flight, the emulator's process, the fleet, the result. The only module that knows both
//! fleet and emulator.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::device::world::Narration;
use crate::emulator::channel::{Ready, Stamp};
use crate::emulator::config::Config;
use crate::emulator::serve::DPS_HOST;
use crate::fleet::{Connections, Destination, FleetError, Setup};
use crate::net::dial::Endpoint;
use crate::net::trust::{self, Trust, TrustError};
use crate::plan::{Place, Plan, Target};
use crate::report;
use crate::result::files::Growing;
use crate::result::{self, file, store};
use crate::time::{Clock, UnixTime};
use crate::verdict;

pub mod coordinate;
pub mod embedded;
pub mod guard;
pub mod keys;
pub mod machine;
pub mod messages;
pub mod noise;
pub mod preflight;
pub mod reconcile;
pub mod simulated;

use coordinate::{Keeper, Progress, Watched, Watcher};
use embedded::{Embedded, EmbeddedError};
use messages::Reconciler;

/// How a run is to be made.
pub struct Options<'a> {
    /// This program, for the emulator's process.
    pub program: PathBuf,
    /// Generator threads; `None`: one per core, or half the cores when the embedded emulator shares the machine.
    pub threads: Option<usize>,
    /// Loading hosts other than this machine is confirmed.
    pub yes: bool,
    /// Folder in which the run's folder is made.
    pub output: PathBuf,
    /// Looks up environment variables, for keys.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the emulator is to stamp each message's residence.
    pub stamps: bool,
    /// Whether the fleet's messages are held against the emulator's one by one; `None`: wherever there is an embedded emulator.
    pub reconcile: Option<bool>,
}

/// A run that came to its end.
pub struct Finished {
    /// What is kept of it, judged.
    pub result: file::RunResult,
    /// Where it is kept.
    pub folder: PathBuf,
    /// The emulator's stamps, if asked for.
    pub stamps: Vec<Stamp>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not allowed to start.
    #[error(transparent)]
    Refused(#[from] guard::Refused),
    /// It cannot fit.
    #[error(transparent)]
    DoesNotFit(#[from] preflight::DoesNotFit),
    /// A key is not to be had.
    #[error(transparent)]
    Keys(#[from] keys::KeyTrouble),
    /// Nobody to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No emulator.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// No fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// There is nothing to reconcile with.
    #[error(
        "--reconcile (or MUSTER_RECONCILE) needs the embedded emulator, which tells what it accepted; {0} does not: leave it \
         out, or set target.kind = \"emulator\""
    )]
    NothingToReconcile(String),
    /// The result cannot be kept.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

/// Time between the last preparation and zero of the run clock, in which threads start.
const RUN_UP: Duration = Duration::from_millis(100);

/// Makes a run.
///
/// * `text`: the scenario as written, of which the result keeps a hash
///
/// # Errors
/// [`RunError`] when it cannot start, or its result cannot be kept.
pub fn execute(
    plan: Plan,
    text: &str,
    options: &Options<'_>,
    progress: &mut dyn Progress,
) -> Result<Finished, RunError> {
    let watcher = Watcher::new()?;
    let endpoints = guard::endpoints(&plan)?;
    if options.reconcile == Some(true) && !matches!(plan.target, Target::Emulator(_)) {
        return Err(RunError::NothingToReconcile(guard::named(&endpoints)));
    }
    guard::confirm(&plan, &endpoints, options.yes)?;
    let descriptor_limit = machine::raise_descriptor_limit();
    preflight::check(&plan, descriptor_limit)?;
    let sources = keys::Sources { environment: options.environment, stdin: &mut std::io::stdin() };
    let ring = keys::collect(&plan.enrollments, plan.seed, sources)?;
    let started = Clock::machine().wall();
    // Before the load: a folder that cannot be made is better told now than after an hour.
    let folder = store::create_directory(&options.output, &plan.name, started)?;
    let run = carry_out(
        plan,
        text,
        options,
        progress,
        Prepared { watcher, endpoints, descriptor_limit, ring, folder: &folder },
    );
    match run {
        Ok((result, stamps)) => {
            store::write(&folder, &result)?;
            store::write_table(&folder, "percentiles.csv", &report::csv::percentiles(&result))?;
            store::write_table(&folder, "failures.csv", &report::csv::failures(&result))?;
            Ok(Finished { result, folder, stamps })
        }
        Err(error) => {
            // Only if it is empty: what a run left that broke in its middle may tell why.
            let _ = std::fs::remove_dir(&folder);
            Err(error)
        }
    }
}

/// What a run needs besides its plan.
struct Prepared<'a> {
    watcher: Watcher,
    endpoints: Vec<Endpoint>,
    descriptor_limit: Option<u64>,
    ring: keys::KeyRing,
    folder: &'a Path,
}

fn carry_out(
    plan: Plan,
    text: &str,
    options: &Options<'_>,
    progress: &mut dyn Progress,
    prepared: Prepared<'_>,
) -> Result<(file::RunResult, Vec<Stamp>), RunError> {
    let Prepared { watcher, endpoints, descriptor_limit, ring, folder } = prepared;
    let clock = Clock::machine();
    let cores = machine::cores();
    let shares_machine = matches!(plan.target, Target::Emulator(_));
    let threads = options.threads.unwrap_or(if shares_machine { (cores / 2).max(1) } else { cores });

    let reconciles = shares_machine && options.reconcile.unwrap_or(true);
    let keys = ring.device_keys(&plan);
    let embedded = match &plan.target {
        Target::Emulator(target) => {
            let config = Config {
                seed: plan.seed,
                id_scope: target.id_scope.clone(),
                dps: target.dps.clone(),
                hubs: target.hubs.clone(),
                allocation: target.allocation.clone(),
                enrollments: ring.enrollments,
                stamps: options.stamps,
                message_ids: if reconciles { messages::id_forms(&plan) } else { Vec::new() },
                service_keys: None,
                drive: target.drive,
            };
            Some(Embedded::start(&options.program, &config, cores.saturating_sub(threads).max(1))?)
        }
        Target::Azure(_) | Target::Hub(_) => None,
    };
    let ready = embedded.as_ref().map(|embedded| &embedded.ready);
    let connections = connections(&plan, ready)?;
    // A DPS on this machine was not asked about, and must not be a way around the question.
    let confirmed = options.yes || guard::leaves_machine(&plan, &endpoints);
    let Some(destination) = destination(&plan, guard::place(&plan)?, ready, confirmed) else {
        return Err(RunError::Embedded(EmbeddedError::Gone));
    };
    let narrator = plan.narrate.then(|| Arc::new(|told: Narration<'_>| narrate(&told)) as _);
    let plan = Arc::new(plan);
    let (epoch, started) = (clock.now() + RUN_UP, clock.wall() + RUN_UP);
    let mut files = Growing::create(folder, started)?;
    let before = machine::Usage::now();
    let repeated_before = machine::syn_retransmissions();
    let setup = Setup {
        plan: Arc::clone(&plan),
        keys: Arc::new(keys),
        destination,
        epoch,
        threads,
        keeps_messages: reconciles,
        narrator,
    };
    let early = verdict::Early::new(&plan.thresholds, plan.sends_from);
    // Not to know it is no reason to do without the run.
    let noise = noise::Meter::start(epoch).ok();
    let watched = watcher.watch(&setup, &connections, Keeper { progress, files: &mut files, early })?;
    let noise = noise.and_then(noise::Meter::stop);
    let after = machine::Usage::now();

    let generator = file::Generator {
        cpu_ns: nanos(after.cpu.saturating_sub(before.cpu)),
        peak_rss_bytes: after.peak_resident_bytes,
        base_rss_bytes: before.resident_bytes,
        peak_connected: watched.peak_connected,
        descriptors: watched.peak_descriptors,
        descriptor_limit: descriptor_limit.unwrap_or(0),
        syn_retransmissions: machine::syn_retransmissions()
            .zip(repeated_before)
            .map(|(after, before)| after.saturating_sub(before)),
        noise_floor_p99_ns: noise.as_ref().and_then(|noise| noise.p99_ns),
        noise,
    };
    let mut facts = facts(&plan, text, started, &watched, threads, generator, &endpoints);
    let mut stamps = Vec::new();
    if let Some(embedded) = embedded {
        let mut reconciler = reconciles.then(|| Reconciler::new(&watched.record.messages, &plan));
        let told = |report| {
            if let Some(reconciler) = &mut reconciler {
                reconciler.take(report);
            }
        };
        match embedded.stop(told) {
            Ok((ledger, kept)) => {
                let mut compared = reconcile::compare(&watched.record, &plan.populations, &ledger);
                if let Some(reconciler) = reconciler {
                    reconciler.finish(&mut compared);
                }
                facts.ledger = Some(compared);
                stamps = kept;
            }
            // What was measured is kept all the same, marked as what it is.
            Err(error) => {
                let differences = vec![format!("there is no ledger: {error}")];
                facts.ledger = Some(file::Ledger { differences, ..file::Ledger::default() });
            }
        }
    }
    // Another way makes for other latencies: who compares results should see it.
    facts.notes.extend(guard::detours(&plan).map(|detours| format!("Connections were made {detours}.")));
    facts.notes.extend(watched.aborted.iter().map(|text| format!("Ended early by the threshold `{text}`.")));
    facts.notes.extend(guard::left_behind(&plan, &endpoints));
    let mut judgement = verdict::judge(&watched.record, &facts, &plan.thresholds);
    if let Err(error) = files.finish() {
        judgement.spoil(format!("The files of this run are incomplete: {error}."));
    }
    let mut result = result::build(&watched.record, &watched.series, facts);
    result.judgement = Some(judgement);
    Ok((result, stamps))
}

fn connections(plan: &Plan, ready: Option<&Ready>) -> Result<Connections, TrustError> {
    let trust = match (&plan.target, ready) {
        (_, Some(ready)) => Trust::Only(ready.ca_pem.clone()),
        (Target::Azure(azure), None) => Trust::System { ca_file: azure.ca_file.clone() },
        (Target::Hub(hub), None) => Trust::System { ca_file: hub.ca_file.clone() },
        (Target::Emulator(_), None) => Trust::System { ca_file: None },
    };
    let mut way = plan.target.way().cloned().unwrap_or_default();
    if let Some(ready) = ready {
        let hubs = ready.hubs.iter().map(|hub| (hub.host.as_str(), hub.address));
        for (host, address) in hubs.chain([(DPS_HOST, ready.dps)]) {
            way.connect.insert(host, None, Endpoint::from(address));
        }
    }
    Ok(Connections { tls: trust::client_tls(&trust)?, way: Arc::new(way) })
}

/// Where the devices go; `None` only if there should be an emulator and is none.
///
/// * `confirmed`: hubs other than on this machine may be contacted, as far as the scenario allows them
fn destination(
    plan: &Plan,
    place: Option<Place>,
    ready: Option<&Ready>,
    confirmed: bool,
) -> Option<Destination> {
    match &plan.target {
        Target::Emulator(target) => {
            let ready = ready?;
            Some(Destination::Dps {
                place: Endpoint { host: DPS_HOST.to_owned(), port: ready.dps.port() }.into(),
                host: DPS_HOST.to_owned(),
                id_scope: target.id_scope.clone(),
                allow: Vec::new(),
            })
        }
        Target::Azure(azure) => Some(Destination::Dps {
            place: place?,
            host: azure.dps.clone(),
            id_scope: azure.id_scope.clone(),
            allow: if confirmed { azure.allow.clone() } else { Vec::new() },
        }),
        Target::Hub(hub) => Some(Destination::Hub { place: place?, host: hub.host.clone() }),
    }
}

fn facts(
    plan: &Plan,
    text: &str,
    started: UnixTime,
    watched: &Watched,
    threads: usize,
    generator: file::Generator,
    endpoints: &[Endpoint],
) -> file::Facts {
    let hash = Sha256::digest(text.as_bytes());
    file::Facts {
        scenario: plan.name.clone(),
        scenario_sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        seed: plan.seed,
        run_id: plan.run_id.clone(),
        muster_version: env!("CARGO_PKG_VERSION").to_owned(),
        started: started.to_rfc3339(3),
        duration_ns: nanos(watched.elapsed),
        sends_from_ns: nanos(plan.sends_from),
        threads: threads as u32,
        target: guard::named(endpoints),
        ended: match (watched.interrupted, &watched.aborted) {
            (true, _) => file::Ended::Interrupted,
            (false, Some(_)) => file::Ended::Aborted,
            (false, None) => file::Ended::Completed,
        },
        machine: file::Machine::describe(),
        populations: plan
            .populations
            .iter()
            .map(|population| file::PopulationFacts {
                name: population.name.clone(),
                count: population.count,
                provision: population.provision.map(|protocol| protocol.name().to_owned()),
                connect: population.connect.map(|protocol| protocol.name().to_owned()),
            })
            .collect(),
        generator,
        pace: file::Pace::of(&watched.record.pace),
        ledger: None,
        notes: Vec::new(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes a line to standard error; nobody reading it is no reason to stop.
pub fn tell(line: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells on standard error what a device does, in the words of Azure's Python quickstart.
fn narrate(told: &Narration<'_>) {
    match told {
        Narration::Assigned(assigned) => {
            tell("The complete registration result is");
            tell(&assigned.device_id);
            tell(assigned.hub.terminal());
            let or_null = |text: &Option<crate::text::Untrusted>| {
                text.as_ref().map_or_else(|| "null".to_owned(), |t| t.terminal())
            };
            tell(or_null(&assigned.substatus));
            tell(or_null(&assigned.payload));
        }
        Narration::WillSend => tell("Will send telemetry from the provisioned device"),
        Narration::Sending(sequence) => tell(format_args!("sending message #{sequence}")),
        Narration::Sent(sequence) => tell(format_args!("done sending message #{sequence}")),
        Narration::Failed(failure) => {
            let (class, detail) = (failure.class, failure.detail.terminal());
            tell(format_args!("{}: {detail} ({})", class.name(), class.remedy()));
        }
    }
}
