//! `muster verify`: proves the measuring on this machine.

use std::path::PathBuf;

use super::{exit, progress, terminal};
use crate::report::verification::Check;
use crate::run::tell;
use crate::run::verify::{Options, VerifyError, verify};

/// Arguments of `muster verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Arguments {
    /// Only these checks, separated by commas
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = check, hide_possible_values = true)]
    only: Vec<Check>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Keep the runs and their scenarios in this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Seed of everything drawn
    #[arg(long, env = "MUSTER_SEED", default_value_t = 7)]
    seed: u64,

    /// Show no progress on standard error
    #[arg(long)]
    no_progress: bool,

    /// Print the verdict only
    #[arg(short, long)]
    quiet: bool,
}

const EXIT_CODES: &str = "Checks:
  paired     service times are the service's, by the emulator's stamp of each message
  freeze     a service that stands still shows in all that was due meanwhile
  stopped    a generator that stands still makes its run void
  schedule   messages come when the scenario says
  delays     known delays are found again
  quantiles  reported quantiles are those of the single measurements
  books      every message is in the books of both sides, once

Exit codes:
    0  every claim holds
   97  a claim cannot be judged: the machine was too busy or too noisy
   99  a claim does not hold
  130  interrupted

It loads this machine alone, at 1,000 messages/s, for about 50 s.";

fn check(text: &str) -> Result<Check, String> {
    Check::ALL.into_iter().find(|check| check.name() == text).ok_or_else(|| {
        let names: Vec<_> = Check::ALL.iter().map(|check| check.name()).collect();
        format!("there is no such check; take some of {}", names.join(", "))
    })
}

/// Verifies, and gives the exit code.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let program = match super::program() {
        Ok(program) => program,
        Err(error) => {
            tell(format_args!("error: cannot find this program's own path: {error}"));
            return exit::FAILED;
        }
    };
    let silent = arguments.no_progress || arguments.quiet;
    let mut begin = |name: &str, plan: &crate::plan::Plan| {
        if !silent {
            tell(format_args!("verify: {name}"));
        }
        progress::choose(plan, silent)
    };
    let checks = if arguments.only.is_empty() { Check::ALL.to_vec() } else { arguments.only.clone() };
    let options =
        Options { program, checks, seed: arguments.seed, keep: arguments.output.clone(), begin: &mut begin };
    let verification = match verify(options) {
        Ok(verification) => verification,
        Err(error) => {
            tell(format_args!("error: {error}"));
            return code(&error);
        }
    };
    let (width, colour) = (terminal::stdout_columns(), terminal::stdout_has_colour());
    let text = if arguments.json {
        serde_json::to_string_pretty(&verification).map(|text| text + "\n")
    } else if arguments.quiet {
        Ok(verification.render_verdict(width, colour))
    } else {
        Ok(verification.render(width, colour))
    };
    let written = text.map_err(std::io::Error::from).and_then(|text| terminal::write_out(text.as_bytes()));
    match written {
        Ok(()) => verification.exit_code(),
        Err(error) => {
            tell(format_args!("error: cannot write what was found: {error}"));
            exit::FAILED
        }
    }
}

fn code(error: &VerifyError) -> u8 {
    match error {
        VerifyError::Interrupted => exit::INTERRUPTED,
        VerifyError::Run(error) => super::run::code(error),
        VerifyError::Folder { .. } => exit::USAGE,
        _ => exit::FAILED,
    }
}
