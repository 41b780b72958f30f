//! `muster report`: a stored result, shown again.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{exit, terminal};
use crate::report;
use crate::result::file::RunResult;
use crate::result::percentiles::Percentiles;
use crate::result::{self, FILE_NAME};
use crate::run::tell;

/// Arguments of `muster report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A result.json, or the folder of a run
    #[arg(value_name = "RESULT")]
    result: PathBuf,

    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Percentiles to show instead of 50,90,99,99.9: above 0 and below 100, at most 20
    #[arg(long, value_name = "LIST", value_parser = percents)]
    percentiles: Option<Percents>,

    /// Write to this file, which must not exist, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The summary that a run ends with
    Text,
    /// Figures for scripts, without histograms
    Json,
    /// Percentiles, one a row
    Csv,
    /// Tables for a pull request or a wiki
    Markdown,
}

/// Ascending, each once.
#[derive(Debug, Clone, PartialEq)]
struct Percents(Vec<f64>);

/// The most percentiles that can be asked for.
const MAX_PERCENTILES: usize = 20;

fn percents(text: &str) -> Result<Percents, String> {
    let mut percents = Vec::new();
    for part in text.split(',').map(str::trim) {
        let plain = !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '.');
        let percent = Some(part).filter(|_| plain).and_then(|part| part.parse::<f64>().ok());
        match percent.filter(|percent| *percent > 0.0 && *percent < 100.0) {
            Some(percent) => percents.push(percent),
            None => {
                return Err(format!(
                    "`{part}` is no number above 0 and below 100; write, for example, 50,95,99.9"
                ));
            }
        }
    }
    percents.sort_by(f64::total_cmp);
    percents.dedup();
    if percents.len() > MAX_PERCENTILES {
        return Err(format!("{} percentiles are too many; give at most {MAX_PERCENTILES}", percents.len()));
    }
    Ok(Percents(percents))
}

/// Shows the result; its verdict does not matter for the exit code.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let result = match result::read(&arguments.result) {
        Ok(result) => result,
        Err(error) => return failed(&error.to_string(), exit::USAGE),
    };
    let percentiles = match &arguments.percentiles {
        None => result.usual_percentiles(),
        Some(Percents(percents)) => match result.percentiles(percents) {
            Ok(percentiles) => percentiles,
            Err(damage) => {
                return failed(&format!("{}: {damage}", arguments.result.display()), exit::USAGE);
            }
        },
    };
    let text = show(&result, &percentiles, arguments);
    let (written, target) = match &arguments.output {
        Some(path) => (write_new(path, &text), path.display().to_string()),
        None => (terminal::write_out(text.as_bytes()), "standard output".to_owned()),
    };
    match written {
        Ok(()) => exit::PASS,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => failed(
            &format!("{target} is there already and is not overwritten; name another file"),
            exit::FAILED,
        ),
        Err(error) => failed(&format!("cannot write to {target}: {error}"), exit::FAILED),
    }
}

fn show(result: &RunResult, percentiles: &Percentiles, arguments: &Arguments) -> String {
    match arguments.format {
        Format::Text => {
            let to_file = arguments.output.is_some();
            let path = &arguments.result;
            let folder = if path.file_name().is_some_and(|name| name == FILE_NAME) && path.is_file() {
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
            } else {
                path
            };
            let options = report::Options {
                width: terminal::stdout_columns(),
                colour: !to_file && terminal::stdout_has_colour(),
                directory: Some(&folder.display().to_string()),
            };
            report::render_percentiles(result, &options, percentiles)
        }
        Format::Json => report::json::render(result, percentiles),
        Format::Csv => report::csv::percentiles_of(percentiles),
        Format::Markdown => report::markdown::render(result, percentiles),
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a report is of no use to anybody.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn failed(text: &str, code: u8) -> u8 {
    tell(format_args!("error: {text}"));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_sorted_and_each_is_there_once() {
        assert_eq!(percents("99.9, 50,95,50.0"), Ok(Percents(vec![50.0, 95.0, 99.9])));
        for wrong in ["", "50,", "0", "100", "-1", "1e1", "nan", "p50", "50;90", "99.99999999999999999999"] {
            let error = percents(wrong).expect_err(wrong);
            assert!(error.contains("above 0 and below 100"), "{error}");
        }
        let many: Vec<_> = (1..=21).map(|n| n.to_string()).collect();
        assert!(percents(&many.join(",")).expect_err("21").contains("at most 20"));
        assert!(percents(&many[1..].join(",")).is_ok());
    }
}
