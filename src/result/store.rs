//! Writing a result so that it is either whole or absent, and reading one without trusting it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::decode::Damage;
use super::file::{FORMAT, RunResult, VERSION};
use crate::text::Untrusted;
use crate::time::UnixTime;

/// Name of the file in a run's directory.
pub const FILE_NAME: &str = "result.json";

/// The largest file that is read. A run of ten populations and 512 intervals has a tenth of it.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

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
        "{path}: has version {found} of the result format, and this program reads {VERSION}; use the version that wrote it",
        path = path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
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

fn write_whole(path: &Path, result: &RunResult) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(result)?;
    text.push(b'\n');
    let mut file = File::create(path)?;
    file.write_all(&text)?;
    file.sync_all()
}

/// Reads a stored result: a file, or the directory of a run. All figures in it are worked out again.
///
/// # Errors
/// [`StoreError`] if it cannot be read, is larger than [`MAX_FILE_BYTES`], is of another version, is not a result, or
/// contradicts itself.
pub fn read(path: &Path) -> Result<RunResult, StoreError> {
    let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let failed = |e| StoreError::io(&path, "read the result", e);
    let mut text = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text))
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(StoreError::TooLarge { path });
    }
    parse(&path, &text)
}

/// What identifies the file, whatever its version.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

pub(super) fn parse(path: &Path, text: &[u8]) -> Result<RunResult, StoreError> {
    let path = path.to_owned();
    let malformed = |e: serde_json::Error| StoreError::Malformed {
        path: path.clone(),
        reason: Untrusted::new(&e.to_string()).terminal(),
    };
    let head: Head = serde_json::from_slice(text).map_err(malformed)?;
    if head.format != FORMAT {
        return Err(StoreError::Malformed { path, reason: format!("`format` is not `{FORMAT}`") });
    }
    if head.version != VERSION {
        return Err(StoreError::Version { path, found: head.version });
    }
    let mut result: RunResult = serde_json::from_slice(text).map_err(malformed)?;
    result.refresh().map_err(|source| StoreError::Damaged { path, source })?;
    Ok(result)
}
