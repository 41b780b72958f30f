//! Writing a result so that it is either whole or absent, and reading one without trusting it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserializer as _;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};

use super::decode::Damage;
use super::file::{FORMAT, OLDEST_VERSION, RunResult, VERSION};
use super::guard::Guard;
use super::seal::{Sealed, seal};
use crate::text::Untrusted;
use crate::time::UnixTime;

/// Name of the file in a run's directory.
pub const FILE_NAME: &str = "result.json";

/// The largest file that is read. A run of ten populations and 512 intervals has a tenth of it. It is never in memory
/// as a whole.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// How much of a file is read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Directories of one scenario and second before giving up.
const MAX_SUFFIX: u32 = 999;

/// Why a result was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}; {remedy}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
        /// What can be done.
        remedy: &'static str,
    },
    /// There is one already.
    #[error("{path}: is there already and is not overwritten; name another directory", path = path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// Larger than any result.
    #[error(
        "{path}: is larger than {limit} MiB, which no result is; name a result.json", path = path.display(),
        limit = MAX_FILE_BYTES >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A pipe, a device or the like: reading it could take for ever.
    #[error("{path}: is no ordinary file; name a result.json or the folder of a run", path = path.display())]
    NoFile {
        /// What it is not.
        path: PathBuf,
    },
    /// Not a result, or cut short.
    #[error("{path}: is not a result of this program, or is cut short: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why, safe for a terminal.
        reason: String,
    },
    /// A result of another version of the format.
    #[error(
        "{path}: has version {found} of the result format, and this program reads {OLDEST_VERSION} to {VERSION}; use the \
         version that wrote it",
        path = path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Not as it was written.
    #[error(
        "{path}: was changed since it was written, its checksum says; fetch it again from where it was written",
        path = path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It contradicts itself.
    #[error("{path}: is damaged: {source}; fetch it again from where it was written", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: Damage,
    },
}

impl StoreError {
    /// A folder of a run that cannot be made.
    pub(crate) fn cannot_make(path: &Path, source: io::Error) -> Self {
        Self::io(path, "make the directory", source)
    }

    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        let remedy = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, or name another directory",
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                "name a directory that you may write to, or a file that you may read"
            }
            ErrorKind::NotFound => "check the path",
            ErrorKind::NotADirectory => "a file stands where a directory is needed: name another",
            _ => "check the path and the disk",
        };
        Self::Io { path: path.to_owned(), action, source, remedy }
    }
}

/// Makes a directory for one run, `<root>/<scenario>-<UTC time>`, with `-2`, `-3` … if it exists, and returns it.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be made, [`StoreError::Exists`] when a thousand of them exist.
pub fn create_directory(root: &Path, scenario: &str, started: UnixTime) -> Result<PathBuf, StoreError> {
    fs::create_dir_all(root).map_err(|e| StoreError::io(root, "make the directory", e))?;
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let scenario: String = scenario.chars().take(100).map(plain).collect();
    let name = format!("{scenario}-{}", started.to_basic());
    let mut directory = root.join(&name);
    for suffix in 2..=MAX_SUFFIX + 1 {
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                directory = root.join(format!("{name}-{suffix}"));
            }
            Err(e) => return Err(StoreError::io(&directory, "make the directory", e)),
        }
    }
    Err(StoreError::Exists { path: root.join(name) })
}

/// Stores `result` as [`FILE_NAME`] in `directory` and returns its path. Whoever looks finds it whole or not at all.
///
/// # Errors
/// [`StoreError::Exists`] if there is one already, [`StoreError::Io`] if the disk is full or read-only; nothing is left
/// behind then.
pub fn write(directory: &Path, result: &RunResult) -> Result<PathBuf, StoreError> {
    let path = directory.join(FILE_NAME);
    let temporary = directory.join(format!(".{FILE_NAME}.part"));
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists { path });
    }
    let stored = write_whole(&temporary, result)
        .and_then(|()| fs::rename(&temporary, &path))
        .and_then(|()| File::open(directory)?.sync_all());
    if let Err(source) = stored {
        // What could not be written is of no use to anybody; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&temporary);
        return Err(StoreError::io(&path, "write the result", source));
    }
    Ok(path)
}

/// Writes a table of a result beside it, as `name` in `directory`.
///
/// # Errors
/// [`StoreError::Io`] if there is one already, or the disk is full or read-only; no half of a table is left behind.
pub fn write_table(directory: &Path, name: &str, table: &str) -> Result<(), StoreError> {
    let path = directory.join(name);
    let failed = |source| StoreError::io(&path, "write the table", source);
    let mut file = File::create_new(&path).map_err(failed)?;
    if let Err(source) = file.write_all(table.as_bytes()).and_then(|()| file.sync_all()) {
        let _ = fs::remove_file(&path);
        return Err(failed(source));
    }
    Ok(())
}

fn write_whole(path: &Path, result: &RunResult) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&text(result)?)?;
    file.sync_all()
}

/// What is stored of `result`.
pub(super) fn text(result: &RunResult) -> io::Result<Vec<u8>> {
    debug_assert!(result.checksum.is_empty(), "only a stored result has a checksum");
    let mut text = serde_json::to_vec_pretty(result)?;
    text.push(b'\n');
    Ok(seal(text))
}

/// Reads a stored result: a file, or the directory of a run. All figures in it are worked out again.
///
/// # Errors
/// [`StoreError`] if it cannot be read, is no ordinary file or larger than [`MAX_FILE_BYTES`], is of another version, is
/// not a result, was changed since it was written, or contradicts itself.
pub fn read(path: &Path) -> Result<RunResult, StoreError> {
    let (path, file) = open(path)?;
    parse(&path, file)
}

/// Opens a file of which something can be made, and says which.
pub(super) fn open(path: &Path) -> Result<(PathBuf, File), StoreError> {
    let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let failed = |e| StoreError::io(&path, "read the result", e);
    // Opening a pipe would wait for somebody to write to it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(&path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(StoreError::NoFile { path });
    }
    if about.len() > MAX_FILE_BYTES {
        return Err(StoreError::TooLarge { path });
    }
    Ok((path, file))
}

pub(super) fn parse(path: &Path, text: impl Read + Seek) -> Result<RunResult, StoreError> {
    let mut result: RunResult = parse_as(path, text)?;
    result.checksum.clear();
    result.refresh().map_err(|source| StoreError::Damaged { path: path.to_owned(), source })?;
    Ok(result)
}

/// Reads what begins like a result of this version, and is as it was written, as `T`. What it says is not checked yet.
pub(super) fn parse_as<T: DeserializeOwned>(
    path: &Path,
    mut text: impl Read + Seek,
) -> Result<T, StoreError> {
    let path = path.to_owned();
    let malformed = |e: serde_json::Error| StoreError::Malformed {
        path: path.clone(),
        reason: Untrusted::new(&e.to_string()).terminal(),
    };
    let (format, version) =
        head(BufReader::with_capacity(BUFFER_BYTES, bounded(&mut text))).map_err(malformed)?;
    if format != FORMAT {
        return Err(StoreError::Malformed { path, reason: format!("`format` is not `{FORMAT}`") });
    }
    if !(OLDEST_VERSION..=VERSION).contains(&version) {
        return Err(StoreError::Version { path, found: version });
    }
    let failed = |e| StoreError::io(&path, "read the result", e);
    text.rewind().map_err(failed)?;
    let mut sealed = Sealed::new(bounded(text));
    let read =
        serde_json::from_reader(BufReader::with_capacity(BUFFER_BYTES, &mut sealed)).map_err(malformed)?;
    match sealed.finish().map_err(failed)? {
        true => Ok(read),
        false => Err(StoreError::Changed { path }),
    }
}

/// Within the bounds of a result, whatever becomes of the file while it is read.
fn bounded(text: impl Read) -> impl Read {
    Guard::new(text.take(MAX_FILE_BYTES))
}

/// What identifies the file, whatever its version; no more of it is read than that takes.
fn head(text: impl Read) -> Result<(String, u32), serde_json::Error> {
    struct Head<'a>(&'a mut (Option<String>, Option<u32>));
    impl<'de> Visitor<'de> for Head<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with `format` and `version`")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let (format, version) = self.0;
            while format.is_none() || version.is_none() {
                match map.next_key::<String>()?.as_deref() {
                    Some("format") => *format = Some(map.next_value()?),
                    Some("version") => *version = Some(map.next_value()?),
                    Some(_) => drop(map.next_value::<IgnoredAny>()?),
                    None => {
                        let missing = if format.is_none() { "format" } else { "version" };
                        return Err(serde::de::Error::missing_field(missing));
                    }
                }
            }
            Ok(())
        }
    }
    let mut found = (None, None);
    let ended = serde_json::Deserializer::from_reader(text).deserialize_map(Head(&mut found));
    match (found, ended) {
        // That the object has not ended yet is no concern of ours.
        ((Some(format), Some(version)), _) => Ok((format, version)),
        (_, Err(error)) => Err(error),
        (_, Ok(())) => Err(serde::de::Error::missing_field("format")),
    }
}
