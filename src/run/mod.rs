//! A whole run: guard, keys, pre-flight, the emulator's process, the fleet, the result. The only module that knows both
//! fleet and emulator.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::device::world::Narration;
use crate::document::resolve::Resolved;
use crate::emulator::channel::{Ready, Stamp};
use crate::emulator::config::Config;
use crate::emulator::serve::DPS_HOST;
use crate::fleet::{Connections, Destination, FleetError, Setup, Witness};
use crate::net::dial::Endpoint;
use crate::net::trust::{self, Trust, TrustError};
use crate::plan::{Place, Plan, Target};
use crate::report;
use crate::result::files::Growing;
use crate::result::{self, file, store};
use crate::time::{Clock, Instant, UnixTime};
use crate::verdict;

pub mod coordinate;
pub mod embedded;
pub mod guard;
pub mod keys;
pub mod machine;
pub mod merge;
pub mod messages;
pub mod noise;
pub mod preflight;
pub mod processes;
pub mod reconcile;
pub mod simulated;
pub mod verify;

use coordinate::{Keeper, Progress, Start, TooLate, Watched, Watcher};
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
    /// Told of each message that has come to its end; called on the generator's threads.
    pub witness: Option<Witness>,
    /// Told that devices are about to start.
    pub starting: Option<&'a dyn Fn(&Starting)>,
    /// Whether the fleet's messages are held against the emulator's one by one; `None`: wherever there is an embedded emulator.
    pub reconcile: Option<bool>,
    /// A hash of every key of the scenario that holds; see [`values_sha256`].
    pub values_sha256: String,
    /// When the run clock begins.
    pub start: Start,
    /// How many processes share this machine's cores: each takes its part of them.
    pub processes: usize,
}

/// A run whose devices are about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starting {
    /// Zero of the run clock.
    pub epoch: Instant,
    /// Process id of the embedded emulator, if there is one.
    pub emulator: Option<u32>,
}

/// SHA-256 of every key of a scenario and its value: the same for runs of one scenario with the same `--set`. The values of
/// variables are not in it.
pub fn values_sha256(resolved: &[Resolved]) -> String {
    let mut hash = Sha256::new();
    for key in resolved {
        hash.update(format!("{} = {}\n", key.path, key.value));
    }
    hex(&hash.finalize())
}

/// The id that all shards of a run work out alike, where none is given: eight hexadecimal digits.
///
/// * `text`: the scenario as written
/// * `start`: when the run begins, if that is known to all
pub fn common_run_id(text: &str, seed: u64, shards: u32, start: Option<UnixTime>) -> String {
    let start = start.map_or(0, UnixTime::nanos);
    let hash = Sha256::digest(format!("muster run {seed} {shards} {start}\n{text}"));
    hex(&hash[..4])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    /// It should have begun already.
    #[error(transparent)]
    TooLate(#[from] TooLate),
    /// A process that carries out a shard.
    #[error(transparent)]
    Process(#[from] processes::ProcessError),
    /// The results of its shards do not become one.
    #[error(transparent)]
    Merge(#[from] merge::MergeRunError),
}

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
    let folder = |name: &str| store::create_directory(&options.output, name, Clock::machine().wall());
    execute_watched(plan, text, options, progress, watcher, &mut std::io::stdin(), &folder)
}

/// The same with its interrupts, standard input for keys, and how its folder is made.
fn execute_watched(
    plan: Plan,
    text: &str,
    options: &Options<'_>,
    progress: &mut dyn Progress,
    watcher: Watcher,
    stdin: &mut dyn std::io::Read,
    folder: &dyn Fn(&str) -> Result<PathBuf, store::StoreError>,
) -> Result<Finished, RunError> {
    let endpoints = guard::endpoints(&plan)?;
    reconcilable(&plan, options, &endpoints)?;
    guard::confirm(&plan, &endpoints, options.yes)?;
    let room = preflight::Room::now();
    let descriptor_limit = room.descriptors;
    // Processes that share this machine were checked together.
    preflight::check(&plan, &room, 1)?;
    let sources = keys::Sources { environment: options.environment, stdin };
    let ring = keys::collect(&plan.enrollments, plan.seed, sources)?;
    // Before the load: a folder that cannot be made is better told now than after an hour.
    let folder = folder(&plan.name)?;
    let run = carry_out(
        plan,
        text,
        options,
        progress,
        Prepared { watcher, endpoints, descriptor_limit, ring, folder: &folder },
    );
    match run {
        Ok((result, stamps)) => {
            keep(&folder, &result)?;
            Ok(Finished { result, folder, stamps })
        }
        Err(error) => {
            // Only if it is empty: what a run left that broke in its middle may tell why.
            let _ = std::fs::remove_dir(&folder);
            Err(error)
        }
    }
}

/// Writes the files that a run's folder gets at its end.
fn keep(folder: &Path, result: &file::RunResult) -> Result<(), store::StoreError> {
    store::write(folder, result)?;
    store::write_table(folder, "percentiles.csv", &report::csv::percentiles(result))?;
    store::write_table(folder, "failures.csv", &report::csv::failures(result))
}

/// Threads of the generator and of the embedded emulator, for one of `processes` that share this machine's cores.
///
/// * `threads`: of the generator, if that was asked for
fn threads(threads: Option<usize>, processes: usize, has_emulator: bool) -> (usize, usize) {
    let cores = (machine::cores() / processes.max(1)).max(1);
    let own = threads.unwrap_or(if has_emulator { (cores / 2).max(1) } else { cores });
    (own, cores.saturating_sub(own).max(1))
}

/// Whether messages can be reconciled, if that is insisted on.
fn reconcilable(plan: &Plan, options: &Options<'_>, endpoints: &[Endpoint]) -> Result<(), RunError> {
    if options.reconcile == Some(true) && !matches!(plan.target, Target::Emulator(_)) {
        return Err(RunError::NothingToReconcile(guard::named(endpoints)));
    }
    Ok(())
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
    let Prepared { mut watcher, endpoints, descriptor_limit, ring, folder } = prepared;
    let clock = Clock::machine();
    let shares_machine = matches!(plan.target, Target::Emulator(_));
    let (threads, emulator_threads) = self::threads(options.threads, options.processes, shares_machine);

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
                drive: target.drive.share(plan.shard.count()),
            };
            Some(Embedded::start(&options.program, &config, emulator_threads)?)
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
    let epoch = watcher.wait(options.start, progress)?;
    let started = clock.wall() + epoch.since(clock.now());
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
        witness: options.witness.clone(),
    };
    if let Some(starting) = options.starting {
        starting(&Starting { epoch, emulator: ready.map(|ready| ready.pid) });
    }
    // A part knows nothing of the whole that thresholds are about.
    let watched_for = if plan.shard.is_whole() { plan.thresholds.as_slice() } else { &[] };
    let early = verdict::Early::new(watched_for, plan.sends_from);
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
    facts.values_sha256 = options.values_sha256.clone();
    facts.clock = Some(file::RunClock { boot: machine::boot(), zero_ns: epoch.nanos() });
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
    facts.notes.extend(emulators_of_their_own(&plan));
    let mut judgement = verdict::judge(&watched.record, &facts, &plan.thresholds);
    if let Err(error) = files.finish() {
        judgement.spoil(format!("The files of this run are incomplete: {error}."));
    }
    let mut result = result::build(&watched.record, &watched.series, facts);
    result.judgement = Some(judgement);
    Ok((result, stamps))
}

/// What to know of limits that several emulators keep, each for itself; `None` where there are none.
pub fn emulators_of_their_own(plan: &Plan) -> Option<String> {
    let Target::Emulator(target) = &plan.target else { return None };
    let is_limited = target.dps.registrations.is_some() || target.hubs.iter().any(|hub| hub.size.is_some());
    (is_limited && !plan.shard.is_whole()).then(|| {
        format!(
            "Each of the {n} shards has an emulator of its own, which keeps the scenario's limits (registrations, tiers) for \
             itself: together they admit {n} times as much.",
            n = plan.shard.count()
        )
    })
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
    let shard = plan.shard;
    file::Facts {
        scenario: plan.name.clone(),
        scenario_sha256: hex(&Sha256::digest(text.as_bytes())),
        values_sha256: String::new(),
        seed: plan.seed,
        run_id: plan.run_id.clone(),
        shard: (!shard.is_whole()).then(|| file::Shard { index: shard.index(), count: shard.count() }),
        clock: None,
        thresholds: plan.thresholds.iter().map(|threshold| threshold.text.clone()).collect(),
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
