//! `muster run`: the main job.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;

use super::{exit, progress, terminal};
use crate::report;
use crate::result::file::Ended;
use crate::run::{self, RunError, tell};
use crate::scenario;

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

    /// Threads of the generator [default: the cores, or half of them beside the embedded emulator]
    #[arg(long, value_parser = threads, env = "MUSTER_THREADS")]
    threads: Option<usize>,

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

/// Runs the scenarios one after another. Gives the worst exit code; 0 is the best, and after it the smaller the code the
/// worse, for a tool that failed says less than a threshold that was crossed.
pub(super) fn run(arguments: &Arguments) -> u8 {
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
    let options = scenario::Options {
        sets: arguments.sets.clone(),
        seed: arguments.seed,
        ..scenario::Options::default()
    };
    let Some(loaded) = super::load(path, &options, &environment) else { return (exit::USAGE, None) };
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
        reconcile: match (arguments.reconcile, arguments.no_reconcile) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => arguments.reconcile_unless_told,
        },
    };
    let narrates = loaded.plan.narrate;
    let mut progress = progress::choose(&loaded.plan, arguments.no_progress || arguments.quiet || narrates);
    match run::execute(loaded.plan, &loaded.text, &options, progress.as_mut()) {
        Ok(finished) => (show(&finished, arguments.quiet), Some(finished.result.facts.ended)),
        Err(error) => (failed(&error.to_string(), code(&error)), None),
    }
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

fn code(error: &RunError) -> u8 {
    match error {
        RunError::Refused(run::guard::Refused::Host(_))
        | RunError::Keys(_)
        | RunError::NothingToReconcile(_) => exit::USAGE,
        RunError::Refused(_) | RunError::DoesNotFit(_) => exit::REFUSED,
        RunError::Trust(_) => exit::USAGE,
        RunError::Embedded(_) | RunError::Fleet(_) | RunError::Store(_) => exit::FAILED,
    }
}
