//! `muster list`: the runs in a folder.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::{exit, terminal};
use crate::report;
use crate::result::list::list;
use crate::run::tell;

/// Arguments of `muster list`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Folder with the folders of runs
    #[arg(value_name = "DIR", default_value = "results")]
    folder: PathBuf,

    /// Print JSON: one object a line for each run
    #[arg(long)]
    json: bool,
}

/// Lists the runs; one that cannot be read is told with the reason and is no failure.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let folder = arguments.folder.display();
    let entries = match list(&arguments.folder) {
        Ok(entries) => entries,
        Err(error) => {
            tell(format_args!(
                "error: cannot list {folder}: {error}; name the folder with the folders of runs"
            ));
            let usage = error.kind() == ErrorKind::NotADirectory;
            return if usage { exit::USAGE } else { exit::FAILED };
        }
    };
    let text = if arguments.json {
        report::list::render_json(&entries)
    } else if entries.is_empty() {
        format!("No runs in {folder}. Make one: muster run scenarios/first-run.toml\n")
    } else {
        report::list::render(&entries, terminal::stdout_columns(), terminal::stdout_has_colour())
    };
    match terminal::write_out(text.as_bytes()) {
        Ok(()) => exit::PASS,
        Err(error) => {
            tell(format_args!("error: cannot write the list: {error}"));
            exit::FAILED
        }
    }
}
