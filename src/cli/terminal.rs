//! What the terminal can show.

use std::io::{self, IsTerminal as _, Write as _};

use super::exit;
use crate::run::tell;

/// Widest text that is written, in columns.
const WIDEST: usize = 100;

/// Writes to standard output and flushes it, so that a reader that has gone away is noticed.
///
/// # Errors
/// What the system says.
pub(super) fn write_out(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()
}

/// The same as the last thing a command does; a reader that has gone away is told by the exit code.
pub(super) fn print(text: &[u8]) -> u8 {
    match write_out(text) {
        Ok(()) => exit::PASS,
        Err(error) => {
            tell(format_args!("error: cannot write to standard output: {error}"));
            exit::FAILED
        }
    }
}

/// Whether standard output takes colour.
pub(super) fn stdout_has_colour() -> bool {
    colour(std::io::stdout().is_terminal())
}

/// Whether standard error takes colour.
pub(super) fn stderr_has_colour() -> bool {
    colour(std::io::stderr().is_terminal())
}

/// NO_COLOR, of any value but the empty one, and a dumb terminal mean no colour (<https://no-color.org>).
fn colour(terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of standard output, at most [`WIDEST`]; that if it is no terminal.
pub(super) fn stdout_columns() -> usize {
    columns(std::io::stdout())
}

/// Columns of standard error, at most [`WIDEST`]; that if it is no terminal.
pub(super) fn stderr_columns() -> usize {
    columns(std::io::stderr())
}

fn columns(stream: impl std::os::fd::AsFd) -> usize {
    // Fails for what is no terminal.
    rustix::termios::tcgetwinsize(stream).map_or(WIDEST, |size| usize::from(size.ws_col)).clamp(40, WIDEST)
}
