//! Lists of devices in CSV files: one row a device, read row by row, so that ten million of them take no memory.
//!
//! ```text
//! registration_id,key,device_id
//! gateway-1,c2l4dGVlbi1ieXRlcy1vay4=,roof(1)
//! ```
//!
//! A list is checked once, whole ([`DeviceList::check`]: 8 bytes a row while it lasts, to find ids that are there twice),
//! and read again by whoever needs its rows ([`DeviceList::rows`]: nothing is held but the row itself). Separators are
//! commas, or semicolons where the header has no comma; fields may be quoted, lines may end in CRLF, a byte order mark is
//! skipped. Columns that nobody asks for are ignored, unless they look like one that is misspelt.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use csv::{ByteRecord, ReaderBuilder};
use zeroize::Zeroizing;

use crate::azure::keys::{BASE64, DeviceKey, KeyError};
use crate::azure::registration::{MAX_ID_LENGTH, check_device_id, check_registration_id};
use crate::document::source;
use crate::document::values::nearest;
use crate::rng::{self, Purpose};
use crate::text::{Secret, Untrusted};

mod error;

pub use error::{ListError, RowProblem};

/// The most rows of a list.
pub const MAX_ROWS: u64 = 50_000_000;

/// The longest row in bytes, quotes and line end included: several times what four legal fields can have.
pub const MAX_ROW_BYTES: u64 = 64 * 1024;

/// How much of a file is read at once: fewer calls than with the 8 KiB that readers have by default.
const BUFFER: usize = 64 * 1024;

/// How many mistakes of one list are told; the rest is not looked for.
const MAX_TOLD: usize = 10;

/// After so many rows the rest of a list is estimated, so that what is held for each need not be moved as it grows, which
/// would take twice the memory.
const SAMPLE: usize = 1_000;

/// A list that was checked: where it is, what it has, how long it is. Holds no row.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceList {
    path: PathBuf,
    columns: Columns,
    rows: u64,
    /// Length and last change (nanoseconds since 1970) of the file when it was checked.
    state: (u64, Option<u128>),
}

/// Where the columns stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Columns {
    registration_id: usize,
    device_id: Option<usize>,
    key: Option<usize>,
    secondary_key: Option<usize>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its registration id.
    pub registration_id: String,
    /// Its id at the hub, if that is another.
    pub device_id: Option<String>,
    /// Its primary key in base64; `None` where the list has none.
    pub key: Option<Secret>,
    /// Its secondary key in base64.
    pub secondary_key: Option<Secret>,
}

impl DeviceList {
    /// Reads the whole list once and checks every row.
    ///
    /// A list with a key column must be readable by its owner only.
    ///
    /// # Errors
    /// The first mistakes, at most ten, in the order of the file.
    pub fn check(path: &Path) -> Result<Self, Vec<ListError>> {
        let (mut rows, mut list) = Self::open(path).map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        let mut hashes = Vec::new();
        loop {
            match rows.next_fields() {
                None => break,
                Some(Ok(fields)) => {
                    hashes.push(id_hash(fields.registration_id));
                    // A key is checked here and not where it is used: a wrong one in row nine million is better told now.
                    if let Err(problem) = fields.check_keys() {
                        errors.push(rows.at_last(problem));
                    }
                    if hashes.len() == SAMPLE {
                        hashes.reserve_exact(rows.expected(list.state.0));
                    }
                }
                Some(Err(error)) => {
                    let fatal =
                        !matches!(&error, ListError::Row { problem, .. } if *problem != RowProblem::TooLong);
                    errors.push(error);
                    if fatal {
                        break;
                    }
                }
            }
            if hashes.len() as u64 > MAX_ROWS {
                errors.push(ListError::TooManyRows { path: path.to_owned() });
            }
            if errors.len() >= MAX_TOLD || hashes.len() as u64 > MAX_ROWS {
                break;
            }
        }
        list.rows = hashes.len() as u64;
        if errors.is_empty() && hashes.is_empty() {
            errors.push(ListError::Empty { path: path.to_owned() });
        }
        if errors.is_empty() {
            errors = list.duplicates(hashes)?;
        }
        if errors.is_empty() { Ok(list) } else { Err(errors) }
    }

    /// Looks at the header only: rows are checked as they are read, and an id that is there twice is not noticed. In return
    /// nothing is held, however long the list. Its length is not known.
    ///
    /// # Errors
    /// [`ListError`] when the file cannot be read, is exposed, or its header is none.
    pub fn unchecked(path: &Path) -> Result<Self, ListError> {
        Self::open(path).map(|(_, list)| list)
    }

    /// Reads the rows, from the first on.
    ///
    /// # Errors
    /// [`ListError`] when the file is gone, or not what was checked any more.
    pub fn rows(&self) -> Result<Rows, ListError> {
        let (rows, now) = Self::open(&self.path)?;
        if now.state != self.state || now.columns != self.columns {
            return Err(ListError::Changed { path: self.path.clone() });
        }
        Ok(rows)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many devices it lists; at least 1.
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Never: a list without rows is refused.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether it has a column of secondary keys.
    pub fn has_secondary_keys(&self) -> bool {
        self.columns.secondary_key.is_some()
    }

    /// Whether it has a column of device ids.
    pub fn has_device_ids(&self) -> bool {
        self.columns.device_id.is_some()
    }

    /// Whether it has a column of keys.
    pub fn has_keys(&self) -> bool {
        self.columns.key.is_some()
    }

    /// Calls `found` with each registration id.
    ///
    /// # Errors
    /// As [`Self::rows`], or a row that cannot be read any more.
    pub fn for_each_id(&self, mut found: impl FnMut(&str)) -> Result<(), ListError> {
        let mut rows = self.rows()?;
        while let Some(fields) = rows.next_fields() {
            found(fields?.registration_id);
        }
        Ok(())
    }

    fn open(path: &Path) -> Result<(Rows, Self), ListError> {
        let unreadable = |source| ListError::Unreadable { path: path.to_owned(), source };
        let (file, metadata) = source::open_regular(path).map_err(unreadable)?;
        let (separator, file) = separator(file).map_err(unreadable)?;
        let limit = Limit::default();
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .has_headers(false)
            .buffer_capacity(BUFFER)
            .from_reader(Limited { inner: file, delivered: 0, limit: limit.clone() });
        limit.allow(MAX_ROW_BYTES);
        let mut header = ByteRecord::new();
        match reader.read_byte_record(&mut header) {
            Ok(true) => {}
            Ok(false) => return Err(ListError::Empty { path: path.to_owned() }),
            Err(error) => return Err(from_csv(path, 1, error)),
        }
        let columns = columns(path, &header)?;
        #[cfg(unix)]
        if columns.key.is_some() || columns.secondary_key.is_some() {
            use std::os::unix::fs::MetadataExt as _;
            let mode = metadata.mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(ListError::Exposed { path: path.to_owned(), mode });
            }
        }
        let list =
            Self { path: path.to_owned(), columns, rows: 0, state: (metadata.len(), changed(&metadata)) };
        let rows = Rows {
            path: path.to_owned(),
            columns,
            fields: header.len() as u64,
            reader,
            limit,
            record: ByteRecord::new(),
            failed: false,
        };
        Ok((rows, list))
    }

    /// Names ids that are there twice. Equal hashes are rare enough to look at the file again for them.
    fn duplicates(&self, mut hashes: Vec<u64>) -> Result<Vec<ListError>, Vec<ListError>> {
        hashes.sort_unstable();
        let twice: std::collections::HashSet<u64> =
            hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).take(MAX_TOLD).collect();
        drop(hashes);
        if twice.is_empty() {
            return Ok(Vec::new());
        }
        let mut seen = std::collections::HashMap::new();
        let mut errors = Vec::new();
        let mut rows = self.rows().map_err(|error| vec![error])?;
        while let Some(fields) = rows.next_fields() {
            let registration_id = fields.map_err(|error| vec![error])?.registration_id;
            if !twice.contains(&id_hash(registration_id)) {
                continue;
            }
            let id = Untrusted::new(registration_id).terminal();
            let lower = registration_id.to_ascii_lowercase();
            let line = rows.line();
            if let Some(first) = seen.insert(lower, line) {
                errors.push(rows.at_last(RowProblem::Duplicate { id, first }));
                if errors.len() >= MAX_TOLD {
                    break;
                }
            }
        }
        Ok(errors)
    }
}

/// The key of a listed device whose list has none: 32 bytes made from `seed`, as base64. For the emulator, which makes
/// the same one.
pub fn generated_key(seed: u64, registration_id: &str) -> Secret {
    let mut bytes = Zeroizing::new([0; 32]);
    let lower = registration_id.to_ascii_lowercase();
    // An enrollment of that name draws from other numbers.
    rng::stream(seed, &lower, u64::MAX, Purpose::Key).fill(bytes.as_mut_slice());
    Secret::new(BASE64.encode(bytes.as_slice()).into_bytes())
}

/// A hash of a registration id in which case does not count, as for the service.
pub fn id_hash(registration_id: &str) -> u64 {
    use std::hash::Hasher as _;
    // Fixed keys: a list is the user's own, and hashes only point out what is then compared.
    let mut hasher = std::hash::DefaultHasher::new();
    // In pieces: byte by byte it would take three times as long.
    let mut piece = [0; MAX_ID_LENGTH];
    for bytes in registration_id.as_bytes().chunks(piece.len()) {
        let piece = &mut piece[..bytes.len()];
        piece.copy_from_slice(bytes);
        piece.make_ascii_lowercase();
        hasher.write(piece);
    }
    hasher.finish()
}

/// The rows of a list, one after another. Holds one row and a read buffer.
pub struct Rows {
    path: PathBuf,
    columns: Columns,
    fields: u64,
    reader: csv::Reader<Limited>,
    limit: Limit,
    record: ByteRecord,
    failed: bool,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The buffers hold keys.
        write!(f, "Rows({})", self.path.display())
    }
}

impl Rows {
    /// Passes over `count` rows without looking at them.
    ///
    /// # Errors
    /// A row that cannot be read any more.
    pub fn skip_rows(&mut self, count: u64) -> Result<(), ListError> {
        for _ in 0..count {
            self.advance()?;
        }
        Ok(())
    }

    /// The line of the last row.
    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn at_last(&self, problem: RowProblem) -> ListError {
        ListError::Row { path: self.path.clone(), line: self.line(), problem }
    }

    /// Reads one record; `false` at the end.
    fn advance(&mut self) -> Result<bool, ListError> {
        if self.failed {
            return Ok(false);
        }
        self.limit.allow(self.reader.position().byte() + MAX_ROW_BYTES);
        let line = self.reader.position().line();
        self.reader.read_byte_record(&mut self.record).map_err(|error| {
            self.failed = true;
            from_csv(&self.path, line, error)
        })
    }

    /// How many rows are still to come in a file of `length` bytes, judged by those that came.
    fn expected(&self, length: u64) -> usize {
        let (position, came) = (self.reader.position().byte().max(1), self.reader.position().record());
        let all = u128::from(length.saturating_sub(position)) * u128::from(came) / u128::from(position);
        // A little more, for memory that is not used costs nothing.
        usize::try_from(all + all / 64).unwrap_or(usize::MAX).min(MAX_ROWS as usize)
    }

    /// The next row, where it stands in the buffer.
    fn next_fields(&mut self) -> Option<Result<Fields<'_>, ListError>> {
        match self.advance() {
            Ok(false) => None,
            Ok(true) => Some(self.fields().map_err(|problem| self.at_last(problem))),
            Err(error) => Some(Err(error)),
        }
    }

    fn fields(&self) -> Result<Fields<'_>, RowProblem> {
        let found = self.record.len() as u64;
        if found != self.fields {
            return Err(RowProblem::Ragged { found, expected: self.fields });
        }
        let text = |column: usize, name| {
            std::str::from_utf8(self.record.get(column).unwrap_or_default().trim_ascii())
                .map_err(|_| RowProblem::NotText(name))
        };
        let optional = |column: Option<usize>, name| {
            let text = column.map(|column| text(column, name)).transpose()?;
            Ok(text.filter(|text| !text.is_empty()))
        };
        let registration_id = text(self.columns.registration_id, "registration id")?;
        check_registration_id(registration_id).map_err(RowProblem::RegistrationId)?;
        let device_id = optional(self.columns.device_id, "device id")?;
        if let Some(id) = device_id {
            check_device_id(id).map_err(RowProblem::DeviceId)?;
        }
        let key = |column: Option<usize>| {
            let bytes = column.and_then(|column| self.record.get(column)).unwrap_or_default().trim_ascii();
            (!bytes.is_empty()).then_some(bytes)
        };
        let (key, secondary_key) = (key(self.columns.key), key(self.columns.secondary_key));
        if self.columns.key.is_some() && key.is_none() {
            return Err(RowProblem::Key { column: "key", source: KeyError::Empty });
        }
        Ok(Fields { registration_id, device_id, key, secondary_key })
    }
}

impl Iterator for Rows {
    type Item = Result<Row, ListError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_fields()?.map(Row::from))
    }
}

/// One device, as it stands in the buffer.
struct Fields<'a> {
    registration_id: &'a str,
    device_id: Option<&'a str>,
    key: Option<&'a [u8]>,
    secondary_key: Option<&'a [u8]>,
}

impl Fields<'_> {
    fn check_keys(&self) -> Result<(), RowProblem> {
        for (column, key) in [("key", self.key), ("secondary_key", self.secondary_key)] {
            if let Some(key) = key {
                let text = std::str::from_utf8(key).unwrap_or("\u{fffd}");
                DeviceKey::from_base64(text).map_err(|source| RowProblem::Key { column, source })?;
            }
        }
        Ok(())
    }
}

impl From<Fields<'_>> for Row {
    fn from(fields: Fields<'_>) -> Self {
        let secret = |key: Option<&[u8]>| key.map(|key| Secret::new(key.to_vec()));
        Self {
            registration_id: fields.registration_id.to_owned(),
            device_id: fields.device_id.map(str::to_owned),
            key: secret(fields.key),
            secondary_key: secret(fields.secondary_key),
        }
    }
}

/// When the file was last changed; `None` where the file system does not say.
fn changed(metadata: &std::fs::Metadata) -> Option<u128> {
    let since = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_nanos())
}

/// Column names in the spellings that exports use: `registrationId`, `Device ID`, `primary-key`.
fn columns(path: &Path, header: &ByteRecord) -> Result<Columns, ListError> {
    const NAMES: [(&str, &str); 6] = [
        ("registrationid", "registration_id"),
        ("deviceid", "device_id"),
        ("key", "key"),
        ("primarykey", "key"),
        ("secondarykey", "secondary_key"),
        ("symmetrickey", "key"),
    ];
    let mut places: [(&'static str, Option<usize>); 4] =
        [("registration_id", None), ("device_id", None), ("key", None), ("secondary_key", None)];
    let shown = |field: &[u8]| Untrusted::from_bytes(field).terminal();
    for (at, field) in header.iter().enumerate() {
        let plain: String = String::from_utf8_lossy(field)
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .take(64)
            .collect();
        let Some((_, name)) = NAMES.iter().find(|(spelling, _)| *spelling == plain) else {
            let near = nearest(&plain, NAMES.iter().map(|(spelling, _)| *spelling));
            if let Some((_, near)) =
                near.and_then(|near| NAMES.iter().find(|(spelling, _)| *spelling == near))
            {
                return Err(ListError::Misspelt { path: path.to_owned(), found: shown(field), near });
            }
            continue;
        };
        for (known, place) in places.iter_mut().filter(|(known, _)| known == name) {
            if place.replace(at).is_some() {
                return Err(ListError::SameColumn { path: path.to_owned(), name: known });
            }
        }
    }
    let [(_, registration_id), (_, device_id), (_, key), (_, secondary_key)] = places;
    let Some(registration_id) = registration_id else {
        let found: Vec<String> = header.iter().take(4).map(|field| format!("`{}`", shown(field))).collect();
        return Err(ListError::NoIdColumn { path: path.to_owned(), found: found.join(", ") });
    };
    Ok(Columns { registration_id, device_id, key, secondary_key })
}

fn from_csv(path: &Path, line: u64, error: csv::Error) -> ListError {
    let path = path.to_owned();
    match error.into_kind() {
        csv::ErrorKind::Io(source) if source.kind() == std::io::ErrorKind::FileTooLarge => {
            ListError::Row { path, line, problem: RowProblem::TooLong }
        }
        csv::ErrorKind::Io(source) => ListError::Unreadable { path, source },
        other => ListError::Row { path, line, problem: RowProblem::Other(format!("{other:?}")) },
    }
}

/// The separator of the header, and the file with what was read for it put back.
fn separator(mut file: File) -> std::io::Result<(u8, Source)> {
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(4_096).read_to_end(&mut start)?;
    let header = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let separator = if header.contains(&b';') && !header.contains(&b',') { b';' } else { b',' };
    Ok((separator, std::io::Cursor::new(start).chain(file)))
}

type Source = std::io::Chain<std::io::Cursor<Vec<u8>>, File>;

/// How far into the file may be read: a row that does not end must not fill the memory.
#[derive(Debug, Clone, Default)]
struct Limit(std::rc::Rc<std::cell::Cell<u64>>);

impl Limit {
    fn allow(&self, until: u64) {
        self.0.set(until);
    }
}

struct Limited {
    inner: Source,
    delivered: u64,
    limit: Limit,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // The reader asks for more only when it has used up what it has: the limit is about the row it is at.
        let left = self.limit.0.get().saturating_sub(self.delivered);
        if left == 0 {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..length])?;
        self.delivered += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
