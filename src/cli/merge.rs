//! `muster merge`: results of shards become one.

use std::path::PathBuf;

use super::{exit, terminal};
use crate::report;
use crate::run::merge::{self, MergeRunError};
use crate::run::tell;

/// Arguments of `muster merge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The results must be of the shards of one run: same scenario, values, seed, run id, number of shards and version of muster.
Counts, sums and histograms are added, which loses nothing; thresholds are judged on the sum, and the exit code is that of a
run. A shard that is void makes the whole void.

Beside each merged figure stands its spread over shards. With three shards or more, one is marked whose figure differs: the
merged figure lies outside the range in which chance would leave the shard's own (four standard deviations of its rank), and
the shard's is off by more than 10 %.

Examples:
  muster merge results/fleet-*-shard/ -o merged
  muster merge shard-0 shard-1 shard-3 --allow-missing")]
pub(super) struct Arguments {
    /// Results of shards: each a result.json, or the folder of a run, in any order
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,

    /// Folder in which the merged result makes its own, <scenario>-<UTC time>
    #[arg(short, long, value_name = "DIR", default_value = "results", env = "MUSTER_OUTPUT")]
    output: PathBuf,

    /// Merge what there is, though shards are missing: the result says so, and is void
    #[arg(long)]
    allow_missing: bool,

    /// Print the verdict only
    #[arg(short, long)]
    quiet: bool,
}

/// Merges, and gives the verdict's exit code.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let result = match merge::merge(&arguments.results, arguments.allow_missing) {
        Ok(result) => result,
        Err(error) => return failed(&error, exit::USAGE),
    };
    let folder = match merge::keep(&arguments.output, &result) {
        Ok(folder) => folder,
        Err(error) => return failed(&MergeRunError::Store(error), exit::FAILED),
    };
    let folder = folder.display().to_string();
    let options = report::Options {
        width: terminal::stdout_columns(),
        colour: terminal::stdout_has_colour(),
        directory: Some(&folder),
    };
    let text = if arguments.quiet {
        report::render_verdict(&result, &options)
    } else {
        report::render(&result, &options)
    };
    let code = result.judgement.as_ref().map_or(exit::FAILED, |judgement| judgement.exit_code);
    match terminal::print(text.as_bytes()) {
        exit::PASS => code,
        failed if code == exit::PASS => failed,
        _ => code,
    }
}

fn failed(error: &MergeRunError, code: u8) -> u8 {
    tell(format_args!("error: {error}"));
    code
}
