//! The command line: one file per command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

mod check;
mod completions;
mod derive;
mod emulate;
mod list;
mod man;
mod merge;
mod new;
mod progress;
mod report;
mod run;
mod schema;
mod shard_process;
mod split;
mod terminal;
mod verify;

use crate::document::Diagnostics;
use crate::run::tell;
use crate::scenario;

/// Exit codes, for scripts.
pub mod exit {
    /// Everything that was asked for held.
    pub const PASS: u8 = 0;
    /// The tool itself failed.
    pub const FAILED: u8 = 1;
    /// The command line or the scenario is wrong.
    pub const USAGE: u8 = 2;
    /// The run was not allowed to start: guard or pre-flight.
    pub const REFUSED: u8 = 3;
    /// Somebody wanted it to end.
    pub const INTERRUPTED: u8 = 130;
}

/// Load-tests an IoT fleet's way into Azure: DPS registration, hub connection, telemetry.
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 100, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say more on standard error (-vv: everything); MUSTER_LOG takes a filter instead
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios, one after another; the worst exit code wins
    Run(run::Arguments),
    /// Validate scenarios and print what each comes to, beside the services' limits; opens no socket
    Check(check::Arguments),
    /// Write a commented scenario to start from
    New(new::Arguments),
    /// Serve DPS and IoT Hub device endpoints for any client, until interrupted
    Emulate(emulate::Arguments),
    /// Derive device keys, SAS tokens or connection strings from a group key
    Derive(derive::Arguments),
    /// Prove the measuring on this machine, against the emulator's own stamps; takes about a minute
    Verify(verify::Arguments),
    /// Show a stored result, as text or for a spreadsheet, a script or a pull request
    Report(report::Arguments),
    /// Put the results of a run's shards together, and judge them as one
    Merge(merge::Arguments),
    /// List the runs in a folder, newest first
    List(list::Arguments),
    /// Print the JSON Schema of scenario files, for editors
    Schema,
    /// Print a shell's completion script
    Completions(completions::Arguments),
    /// Print the manual page, or write one for each command
    Man(man::Arguments),
    /// The embedded emulator's process (started by `run`)
    #[command(name = crate::run::embedded::CHILD_COMMAND, hide = true)]
    EmulatorProcess,
    /// The process of a shard (started by `run --processes`)
    #[command(name = crate::run::processes::SHARD_COMMAND, hide = true)]
    ShardProcess,
}

const EXIT_CODES: &str = "Exit codes:
    0  pass
    1  the tool failed
    2  wrong command line or scenario
    3  target refused (not confirmed, or the run cannot fit on this machine)
   97  void: the generator missed its own schedule, or this machine ran out of something
   98  regression against the baseline
   99  a threshold was crossed
  130  interrupted (results written, and marked)";

/// Does what the command line says.
pub fn main() -> ExitCode {
    if let Some(code) = derive::refuse_key_arguments(std::env::args_os()) {
        return ExitCode::from(code);
    }
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    log_to_stderr(cli.verbose);
    match cli.command {
        Command::Run(arguments) => ExitCode::from(run::run(&arguments)),
        Command::Check(arguments) => {
            ExitCode::from(check::run(&arguments, matches.subcommand_matches("check")))
        }
        Command::New(arguments) => ExitCode::from(new::run(&arguments)),
        Command::Emulate(arguments) => ExitCode::from(emulate::run(&arguments)),
        Command::Derive(arguments) => ExitCode::from(derive::run(&arguments)),
        Command::Completions(arguments) => ExitCode::from(completions::run(&arguments)),
        Command::Man(arguments) => ExitCode::from(man::run(&arguments)),
        Command::Verify(arguments) => ExitCode::from(verify::run(&arguments)),
        Command::Merge(arguments) => ExitCode::from(merge::run(&arguments)),
        Command::Report(arguments) => ExitCode::from(report::run(&arguments)),
        Command::List(arguments) => ExitCode::from(list::run(&arguments)),
        Command::Schema => ExitCode::from(schema::run()),
        Command::EmulatorProcess => crate::emulator::child::child_main(),
        Command::ShardProcess => ExitCode::from(shard_process::run()),
    }
}

fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = ["warn", "muster=debug", "trace"][usize::from(verbose.min(2))];
    let filter = EnvFilter::try_from_env("MUSTER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::stderr_has_colour())
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
}

/// Reads a scenario and tells what is wrong with it, or may be; `None` if it cannot be used.
fn load(
    path: &Path,
    options: &scenario::Options,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<scenario::Loaded> {
    let show = |diagnostics: &Diagnostics| {
        let text = diagnostics.render(terminal::stderr_has_colour(), Some(terminal::stderr_columns()));
        tell(text.trim_end());
    };
    match scenario::load(path, options, environment) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                show(&loaded.warnings);
            }
            Some(loaded)
        }
        Err(diagnostics) => {
            show(&diagnostics);
            None
        }
    }
}

/// The program's own path, for starting the emulator's process.
fn program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}
