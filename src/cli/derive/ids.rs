//! Whose keys: arguments, a numbered range, a CSV list, or lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::Failure;
use super::lines::{Device, KeyOf};
use crate::azure::keys::{DeviceKey, GroupKey};
use crate::azure::registration::check_registration_id;
use crate::list::DeviceList;
use crate::plan::IdPattern;
use crate::plan::roster::PatternError;

/// The devices, not one of them held but those given as arguments.
#[derive(Debug)]
pub(super) enum Ids {
    /// Given one by one.
    Arguments(Vec<String>),
    /// Numbers `from` and the `count - 1` after it.
    Numbered { pattern: IdPattern, from: u64, count: u64 },
    /// The rows of a list.
    List(DeviceList),
    /// A line each, of a file or of standard input.
    Lines(Option<PathBuf>),
}

impl Ids {
    /// Ids given one by one.
    pub(super) fn arguments(ids: &[String]) -> Result<Self, Failure> {
        // An id that is none could be a key with a character lost: it is told by its position.
        let wrong: Vec<String> = ids
            .iter()
            .enumerate()
            .filter_map(|(index, id)| {
                let error = check_registration_id(id).err()?;
                Some(format!("id {} of {}: {error}", index + 1, ids.len()))
            })
            .take(MAX_TOLD)
            .collect();
        if wrong.is_empty() { Ok(Self::Arguments(ids.to_vec())) } else { Err(Failure::Usage(wrong)) }
    }

    /// A numbered range.
    pub(super) fn numbered(text: &str, from: u64, count: u64) -> Result<Self, Failure> {
        let wrong = |error: PatternError| Failure::usage(format!("--pattern: {error}"));
        let last = from.saturating_add(count - 1);
        if last > MAX_NUMBER {
            return Err(Failure::usage("--from and --count reach beyond device 1,000,000,000,000,000"));
        }
        // One device may have an id without a number, whichever it is.
        let pattern = IdPattern::parse(text, if count == 1 { 1 } else { last + 1 }).map_err(wrong)?;
        if pattern.names_the_run() {
            return Err(Failure::usage(
                "--pattern: `{run}` stands for the id of a run, and there is none here",
            ));
        }
        let id = pattern.render(last, "");
        check_registration_id(&id).map_err(|reason| wrong(PatternError::Id { n: last, id, reason }))?;
        Ok(Self::Numbered { pattern, from, count })
    }

    /// A list, whose rows are checked as they are read: millions of them take no memory.
    pub(super) fn list(path: &Path) -> Result<Self, Failure> {
        // It is read twice, which a pipe cannot be.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
            let path = path.display();
            return Err(Failure::usage(format!("{path} is not a file; a pipe of ids goes with --ids -")));
        }
        DeviceList::unchecked(path).map(Self::List).map_err(|error| Failure::usage(error.to_string()))
    }

    /// A line each; `-` is standard input.
    pub(super) fn lines(path: &Path) -> Self {
        Self::Lines((path.as_os_str() != "-").then(|| path.to_owned()))
    }

    /// Whether the devices have keys of their own.
    pub(super) fn have_keys(&self) -> bool {
        matches!(self, Self::List(list) if list.has_keys())
    }

    /// Whether the devices may have other ids at the hub.
    pub(super) fn have_device_ids(&self) -> bool {
        matches!(self, Self::List(list) if list.has_device_ids())
    }

    /// Whether a single id was given as an argument.
    pub(super) fn is_single(&self) -> bool {
        matches!(self, Self::Arguments(ids) if ids.len() == 1)
    }

    /// Hands over one device after another.
    ///
    /// * `group`: `None` only if the devices have keys of their own
    pub(super) fn for_each(
        &self,
        group: Option<&GroupKey>,
        mut found: impl FnMut(&Device<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let of_group =
            || group.map(KeyOf::Group).ok_or_else(|| Failure::Failed("there is no group key".into()));
        let mut found = |registration_id: &str, device_id: Option<&str>, key: KeyOf<'_>| {
            found(&Device { registration_id, device_id, key })
        };
        match self {
            Self::Arguments(ids) => ids.iter().try_for_each(|id| found(id, None, of_group()?)),
            Self::Numbered { pattern, from, count } => {
                let mut id = String::new();
                (*from..from + count).try_for_each(|n| {
                    id.clear();
                    pattern.render_into(n, "", &mut id);
                    found(&id, None, of_group()?)
                })
            }
            Self::List(list) => {
                let wrong = |error: crate::list::ListError| Failure::usage(error.to_string());
                for row in list.rows().map_err(wrong)? {
                    let row = row.map_err(wrong)?;
                    let own = row.key.as_ref().and_then(|key| key.expose_text()).map(DeviceKey::from_base64);
                    let own = own.transpose().map_err(|error| {
                        Failure::usage(format!("{}: {}: {error}", list.path().display(), row.registration_id))
                    })?;
                    let key = match &own {
                        Some(key) => KeyOf::Own(key),
                        None => of_group()?,
                    };
                    found(&row.registration_id, row.device_id.as_deref(), key)?;
                }
                Ok(())
            }
            Self::Lines(None) => {
                each_line("standard input", std::io::stdin().lock(), |id| found(id, None, of_group()?))
            }
            Self::Lines(Some(path)) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
                each_line(&name, BufReader::with_capacity(64 * 1024, file), |id| found(id, None, of_group()?))
            }
        }
    }
}

/// How many wrong ids are told.
const MAX_TOLD: usize = 10;

/// The last number of a range.
const MAX_NUMBER: u64 = 1_000_000_000_000_000;

/// The longest line in bytes, with much white space around an id.
const MAX_LINE_BYTES: u64 = 4_096;

/// Calls `found` with the id in each line; white space around it, empty lines and a byte order mark do not count.
fn each_line(
    name: &str,
    mut reader: impl BufRead,
    mut found: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    let mut any = false;
    for number in 1u64.. {
        let wrong = |reason: &dyn std::fmt::Display| Failure::usage(format!("{name}:{number}: {reason}"));
        line.clear();
        let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))? == 0 {
            break;
        }
        if line.len() as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
            return Err(wrong(&"the line is longer than 4,096 bytes; write an id a line"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| wrong(&"the line is not UTF-8"))?;
        let id = text.trim_start_matches('\u{feff}').trim();
        if !id.is_empty() {
            check_registration_id(id).map_err(|error| wrong(&error))?;
            found(id)?;
            any = true;
        }
    }
    if any { Ok(()) } else { Err(Failure::usage(format!("{name} has no id; write one a line"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids_of(text: &[u8]) -> Result<Vec<String>, String> {
        let mut ids = Vec::new();
        let read = each_line("ids", text, |id| {
            ids.push(id.to_owned());
            Ok(())
        });
        match read {
            Ok(()) => Ok(ids),
            Err(Failure::Usage(told)) => Err(told.join("\n")),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn lines_are_read_whatever_the_line_end_and_wrong_ones_are_told_by_number() {
        assert_eq!(
            ids_of(b"\xef\xbb\xbfa-1\r\n\n  b-2 \nC"),
            Ok(vec!["a-1".into(), "b-2".into(), "C".into()])
        );
        for (text, expected) in [
            (&b"a\nb c\n"[..], "ids:2: character 2"),
            (b"a\n\xff\n", "ids:2: the line is not UTF-8"),
            (b"\n \n", "ids has no id"),
            (&[b'x'; 10_000], "ids:1: the line is longer"),
            (&[b'x'; 129], "ids:1: the id has 129 characters"),
        ] {
            let told = ids_of(text).expect_err("a mistake");
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn a_range_begins_where_it_is_told_and_its_last_id_is_checked() {
        let group = GroupKey::from_base64("c2l4dGVlbi1ieXRlcy1vay4=").expect("a key");
        let ids = |pattern, from, count| {
            let mut ids = Vec::new();
            Ids::numbered(pattern, from, count)?.for_each(Some(&group), |device| {
                ids.push(device.registration_id.to_owned());
                Ok(())
            })?;
            Ok::<_, Failure>(ids.join(" "))
        };
        assert_eq!(ids("s-{n:03}", 9, 2).ok().as_deref(), Some("s-009 s-010"));
        assert_eq!(ids("fixed", 7, 1).ok().as_deref(), Some("fixed"));
        for (pattern, from, count) in [
            ("fixed", 0, 2),
            ("s-{n}-{run}", 0, 2),
            ("s {n}", 0, 1),
            ("{n", 0, 1),
            ("s-{n}", u64::MAX, 2),
            (&format!("{}{{n}}", "x".repeat(127)), 9, 2),
            (&format!("{}{{n}}", "x".repeat(127)), 10, 1),
        ] {
            assert!(ids(pattern, from, count).is_err(), "{pattern} {from} {count}");
        }
    }
}
