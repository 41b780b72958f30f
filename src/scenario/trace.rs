//! Files of start instants: one a line, ascending.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::document::source;
use crate::document::values::Refusal;
use crate::plan::arrival::Trace;
use crate::text::Untrusted;
use crate::units::{MAX_DURATION, parse_duration, show_count};

/// The most instants of one file. They are held, 8 bytes each, as a run walks them.
const MAX_INSTANTS: usize = 10_000_000;

/// After so many instants, how many there will be is estimated.
const SAMPLE: usize = 1_000;

/// The longest line in bytes.
const MAX_LINE: u64 = 256;

/// Reads the instants in `path`: seconds (`12.5`) or durations with a unit (`1m30s`) on the run clock. Empty lines, what
/// follows a `#`, and a first line of letters (a header) are skipped.
pub(super) fn read(path: &Path) -> Result<Trace, Refusal> {
    const REMEDY: &str = "one instant a line, in ascending order: 12.5 (seconds) or 1m30s";
    let name = path.display();
    let unreadable =
        |error: std::io::Error| Refusal::new(format!("cannot read {name}: {error}"), "check the path");
    let (file, metadata) = source::open_regular(path).map_err(unreadable)?;
    let mut reader = BufReader::new(file);
    let mut instants: Vec<u64> = Vec::new();
    let mut line = Vec::new();
    let mut position = 0;
    for number in 1u64.. {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        position += read as u64;
        if instants.len() == SAMPLE {
            // Room for the rest at once, judged by what came: a list that grows is moved, which takes the memory twice.
            let rest = metadata.len().saturating_sub(position) / (position / SAMPLE as u64).max(1);
            instants.reserve_exact(usize::try_from(rest + 1).unwrap_or(usize::MAX).min(MAX_INSTANTS));
        }
        if line.len() as u64 > MAX_LINE {
            let reason = format!("{name}:{number}: the line is longer than {MAX_LINE} bytes");
            return Err(Refusal::new(reason, REMEDY));
        }
        let text = String::from_utf8_lossy(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line));
        let text = text.split('#').next().unwrap_or_default().trim().trim_end_matches(',');
        if text.is_empty() || (number == 1 && text.chars().all(|c| c.is_ascii_alphabetic() || c == '_')) {
            continue;
        }
        let Some(instant) = instant(text) else {
            let shown = Untrusted::new(text).terminal();
            return Err(Refusal::new(format!("{name}:{number}: `{shown}` is not an instant"), REMEDY));
        };
        if instants.last().is_some_and(|last| instant < *last) {
            let reason = format!("{name}:{number}: {text} is earlier than the line before");
            return Err(Refusal::new(reason, format!("sort the file: sort -n {name} -o {name}")));
        }
        if instants.len() == MAX_INSTANTS {
            let reason = format!("{name} has more than {} instants", show_count(MAX_INSTANTS as u64));
            return Err(Refusal::new(reason, "split it over several fleets"));
        }
        instants.push(instant);
    }
    if instants.is_empty() {
        return Err(Refusal::new(format!("{name} holds no instant"), REMEDY));
    }
    Trace::new(instants).ok_or_else(|| Refusal::new(format!("{name} is not in ascending order"), REMEDY))
}

/// Nanoseconds on the run clock.
fn instant(text: &str) -> Option<u64> {
    let nanos = match text.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_DURATION.as_secs_f64()).contains(&seconds) => (seconds * 1e9).round(),
        Ok(_) => return None,
        Err(_) => parse_duration(text).ok()?.as_nanos() as f64,
    };
    Some(nanos as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("starts.txt");
        std::fs::write(&path, text).expect("a file");
        let shown = |refusal: Refusal| refusal.message.replace(&format!("{}/", folder.path().display()), "");
        read(&path).map(|trace| format!("{trace:?}")).map_err(shown)
    }

    #[test]
    fn instants_are_seconds_or_durations_and_comments_are_skipped() {
        let trace = told(b"\xef\xbb\xbfstart\r\n# a comment\r\n0\r\n0.25 # early\n\n1m30s\n90.000000001,\n");
        assert_eq!(trace.expect("a trace"), "Trace(4 instants, the last at Some(90000000001) ns)");
    }

    #[test]
    fn what_is_no_list_of_instants_is_refused_with_its_line() {
        let long = [b'1'; 300];
        for (text, expected) in [
            (b"".as_slice(), "holds no instant"),
            (b"# nothing\n", "holds no instant"),
            (b"1\n3\n2\n", "starts.txt:3: 2 is earlier than the line before"),
            (b"1\nx\n", "starts.txt:2: `x` is not an instant"),
            (b"-1\n", "starts.txt:1: `-1` is not an instant"),
            (b"nan\n1\ninf\n", "starts.txt:3: `inf`"),
            (b"1e300\n", "is not an instant"),
            (b"1\n\x1b[2J\n", "`\\u{1b}[2J` is not an instant"),
            (&long, "longer than 256 bytes"),
        ] {
            let told = told(text).expect_err("no trace");
            assert!(told.contains(expected), "{told}");
        }
        assert!(read(Path::new("no/such/file")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            assert!(read(path).expect_err("no file").message.contains("cannot read"), "{path:?}");
        }
    }

    #[test]
    fn a_trace_of_many_instants_is_held_in_the_room_that_its_beginning_promised() {
        let lines: String = (0..50_000).map(|n| format!("{n}\n")).collect();
        assert!(told(lines.as_bytes()).expect("a trace").starts_with("Trace(50000 instants"));
    }
}
