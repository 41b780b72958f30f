//! What can be wrong with a list of devices.

use std::path::PathBuf;

use crate::azure::keys::KeyError;
use crate::azure::registration::IdError;

/// What is wrong with a list. Never repeats a key.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("cannot read the list of devices {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Other users could read its keys.
    #[error("others may read the keys in {path} (mode {mode:03o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No header, or no row after it.
    #[error(
        "{path} lists no device; it needs a header, for example `registration_id,key`, and a row for each"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The header lacks `registration_id`.
    #[error("{path}:1: the header has no column `registration_id`; it begins with {found}")]
    NoIdColumn {
        /// The file.
        path: PathBuf,
        /// Its first columns.
        found: String,
    },
    /// A column that is probably meant to be another.
    #[error("{path}:1: there is no column `{found}`; did you mean `{near}`?")]
    Misspelt {
        /// The file.
        path: PathBuf,
        /// As written.
        found: String,
        /// The column that is probably meant.
        near: &'static str,
    },
    /// Two columns of one name.
    #[error("{path}:1: the column `{name}` is there twice; remove one")]
    SameColumn {
        /// The file.
        path: PathBuf,
        /// The name.
        name: &'static str,
    },
    /// A row cannot be used.
    #[error("{path}:{line}: {problem}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The row's line, from 1.
        line: u64,
        /// Why.
        problem: RowProblem,
    },
    /// More than [`MAX_ROWS`](super::MAX_ROWS).
    #[error("{path} has more than 50,000,000 rows; split it over several enrollments")]
    TooManyRows {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was checked any more.
    #[error("{path} was changed after it was checked; leave it alone while a run uses it")]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// Not as many fields as the header.
    #[error("the row has {found} fields and the header {expected}; quote fields that hold a separator")]
    Ragged {
        /// Fields of the row.
        found: u64,
        /// Fields of the header.
        expected: u64,
    },
    /// A row that does not end.
    #[error("the row is longer than 65,536 bytes; is a quote left open?")]
    TooLong,
    /// Not UTF-8.
    #[error("the {0} is not UTF-8; save the file as UTF-8")]
    NotText(&'static str),
    /// The registration id is none.
    #[error("the registration id is not a legal one: {0}")]
    RegistrationId(IdError),
    /// The device id is none.
    #[error("the device id is not a legal one: {0}")]
    DeviceId(IdError),
    /// A key is none.
    #[error("{column}: {source}")]
    Key {
        /// Which key.
        column: &'static str,
        /// Why.
        source: KeyError,
    },
    /// The id was there before, in this spelling or another.
    #[error("{id} is in line {first} already (case does not count); remove one of the two")]
    Duplicate {
        /// As written here.
        id: String,
        /// Where it was first.
        first: u64,
    },
    /// Something that the CSV reader found.
    #[error("{0}")]
    Other(String),
}
