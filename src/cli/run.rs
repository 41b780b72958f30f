//! `muster run`: the main job.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;

use super::split::{self, Split, StartAt};
use super::{exit, progress, terminal};
use crate::plan::Roster;
use crate::report;
use crate::result::file::Ended;
use crate::run::coordinate::Start;
use crate::run::processes::{self, ProcessError, Spread};
use crate::run::{self, RunError, tell};
use crate::scenario::{self, Loaded};
use crate::time::UnixTime;

/// Arguments of `muster run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Scenario files
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,

    /// Folder in which each run makes its own, <scenario>-<UTC time>
    #[arg(short, long, value_name = "DIR", default_value = "results", env = "MUSTER_OUTPUT")]
    output: PathBuf,

    /// Set a key of the scenario, for example fleet.devices.count=500 (repeatable)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,

    /// Seed of everything drawn: same seed, same run
    #[arg(long, env = "MUSTER_SEED")]
    seed: Option<u64>,

    /// Threads of the generator, of each process [default: the cores, or half of them beside the embedded emulator]
    #[arg(long, value_parser = threads, env = "MUSTER_THREADS")]
    threads: Option<usize>,

    #[command(flatten)]
    split: Split,

    /// Spread the devices over N processes on this machine, each with an emulator of its own; their results become one
    #[arg(long, value_name = "N", value_parser = processes, conflicts_with_all = ["shard", "shards"])]
    processes: Option<u32>,

    /// When the run clock begins, once everything is prepared: a time, 2026-01-31T12:00:00Z, or "in 30s"
    #[arg(long, value_name = "TIME")]
    start_at: Option<StartAt>,

    /// Id of the run, eight hexadecimal digits, the same for all its shards [default: drawn; of shards, worked out from
    /// scenario, seed, number of shards and --start-at]
    #[arg(long, value_name = "ID", value_parser = split::run_id, env = "MUSTER_RUN_ID")]
    run_id: Option<String>,

    /// Hold every message against what the emulator accepted, one by one [default: with the embedded emulator] [env:
    /// MUSTER_RECONCILE=]
    #[arg(long, overrides_with = "no_reconcile")]
    reconcile: bool,

    /// Compare totals only
    #[arg(long, overrides_with = "reconcile")]
    no_reconcile: bool,

    /// The environment's word on it, in a place of its own: a flag that overrides another must not be set from there.
    #[arg(long, hide = true, env = "MUSTER_RECONCILE", value_parser = BoolishValueParser::new())]
    reconcile_unless_told: Option<bool>,

    /// Confirm loading hosts other than this machine
    #[arg(long)]
    yes: bool,

    /// Show no progress on standard error
    #[arg(long)]
    no_progress: bool,

    /// Print the verdict only
    #[arg(short, long)]
    quiet: bool,
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=256) => Ok(threads),
        _ => Err("give a whole number from 1 to 256".to_owned()),
    }
}

fn processes(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(processes @ 1..=64) => Ok(processes),
        _ => Err("give a whole number from 1 to 64".to_owned()),
    }
}

/// Runs the scenarios one after another. Gives the worst exit code; 0 is the best, and after it the smaller the code the
/// worse, for a tool that failed says less than a threshold that was crossed.
pub(super) fn run(arguments: &Arguments) -> u8 {
    if arguments.start_at.is_some() && arguments.scenarios.len() > 1 {
        return failed(
            "--start-at is for one scenario: the next begins when the one before has ended",
            exit::USAGE,
        );
    }
    let mut worst = exit::PASS;
    for path in &arguments.scenarios {
        let (code, ended) = one(path, arguments);
        // An interrupt is meant for all of them.
        if ended == Some(Ended::Interrupted) {
            return code;
        }
        if worst == exit::PASS || (code != exit::PASS && code < worst) {
            worst = code;
        }
    }
    worst
}

/// The exit code of one scenario, and how its run ended if it came to one.
fn one(path: &Path, arguments: &Arguments) -> (u8, Option<Ended>) {
    let environment = |name: &str| std::env::var(name).ok();
    let prepared = arguments.split.part(&environment).and_then(|part| {
        let start = arguments.start_at.map(StartAt::time).transpose()?;
        Ok((part, start))
    });
    let (part, start) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return (failed(&error, exit::USAGE), None),
    };
    let options = scenario::Options {
        sets: arguments.sets.clone(),
        seed: arguments.seed,
        run_id: arguments.run_id.clone().or(part.run_id),
    };
    let Some(mut loaded) = super::load(path, &options, &environment) else { return (exit::USAGE, None) };
    loaded.plan.shard = part.shard;
    let common = arguments.start_at.and_then(StartAt::common);
    if let Err(error) = suit_shards(&mut loaded, &options, common) {
        return (failed(&error, exit::USAGE), None);
    }
    let program = match super::program() {
        Ok(program) => program,
        Err(error) => {
            return (failed(&format!("cannot find this program's own path: {error}"), exit::FAILED), None);
        }
    };
    let options = run::Options {
        program,
        threads: arguments.threads,
        yes: arguments.yes,
        output: arguments.output.clone(),
        environment: &environment,
        stamps: false,
        witness: None,
        starting: None,
        values_sha256: run::values_sha256(&loaded.resolved),
        start: start.map_or(Start::Now, Start::At),
        processes: 1,
        reconcile: match (arguments.reconcile, arguments.no_reconcile) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => arguments.reconcile_unless_told,
        },
    };
    let narrates = loaded.plan.narrate;
    let mut progress = progress::choose(&loaded.plan, arguments.no_progress || arguments.quiet || narrates);
    let ran = match arguments.processes {
        Some(processes @ 2..) => {
            let spread = Spread { processes, scenario: path, sets: &arguments.sets };
            processes::execute(loaded.plan, &options, &spread, progress.as_mut())
        }
        _ => run::execute(loaded.plan, &loaded.text, &options, progress.as_mut()),
    };
    match ran {
        Ok(finished) => (show(&finished, arguments.quiet), Some(finished.result.facts.ended)),
        Err(error) => (failed(&error.to_string(), code(&error)), None),
    }
}

/// Makes sure that all shards of a run do the same: the seed must be given, and so must what ids with `{run}` are made of.
///
/// * `start`: when all shards begin, if that was given as a time
fn suit_shards(
    loaded: &mut Loaded,
    options: &scenario::Options,
    start: Option<UnixTime>,
) -> Result<(), String> {
    let shard = loaded.plan.shard;
    if shard.is_whole() {
        return Ok(());
    }
    if !loaded.has_seed(options) {
        return Err("the shards of a run need one seed; put `seed` into the scenario, or add --seed to each"
            .to_owned());
    }
    if options.run_id.is_none() {
        let names_run = |roster: &Roster| matches!(roster, Roster::Pattern(pattern) if pattern.names_run());
        if start.is_none() && loaded.plan.populations.iter().any(|population| names_run(&population.roster)) {
            return Err("ids with `{run}` must be the same in all shards and others in each run; add --run-id ID to each \
                 shard, or --start-at with a time"
                .to_owned());
        }
        loaded.plan.run_id = run::common_run_id(&loaded.text, loaded.plan.seed, shard.count(), start);
    }
    Ok(())
}

/// Prints the summary and gives the verdict's exit code.
fn show(finished: &run::Finished, quiet: bool) -> u8 {
    let folder = finished.folder.display().to_string();
    let options = report::Options {
        width: terminal::stdout_columns(),
        colour: terminal::stdout_has_colour(),
        directory: Some(&folder),
    };
    let text = if quiet {
        report::render_verdict(&finished.result, &options)
    } else {
        report::render(&finished.result, &options)
    };
    let code = finished.result.judgement.as_ref().map_or(exit::FAILED, |judgement| judgement.exit_code);
    match terminal::write_out(text.as_bytes()) {
        Ok(()) => code,
        Err(error) => {
            tell(format_args!("error: cannot write the summary: {error}; the result is in {folder}"));
            if code == exit::PASS { exit::FAILED } else { code }
        }
    }
}

fn failed(text: &str, code: u8) -> u8 {
    tell(format_args!("error: {text}"));
    code
}

/// The exit code of a run that came to nothing.
pub(super) fn code(error: &RunError) -> u8 {
    match error {
        RunError::Process(ProcessError::Failed { code, .. }) => *code,
        RunError::Refused(run::guard::Refused::Host(_))
        | RunError::Keys(_)
        | RunError::NothingToReconcile(_) => exit::USAGE,
        RunError::Refused(_) | RunError::DoesNotFit(_) => exit::REFUSED,
        RunError::Trust(_) | RunError::TooLate(_) => exit::USAGE,
        RunError::Embedded(_) | RunError::Fleet(_) | RunError::Store(_) => exit::FAILED,
        RunError::Process(ProcessError::Spawn { .. }) | RunError::Merge(_) => exit::FAILED,
    }
}
