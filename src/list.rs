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
use csv::{ByteRecord, ReaderBuilder, Trim};
use zeroize::Zeroizing;

use crate::azure::keys::{BASE64, DeviceKey, KeyError};
use crate::azure::registration::{IdError, check_device_id, check_registration_id};
use crate::document::values::nearest;
use crate::rng::{self, Purpose};
use crate::text::{Secret, Untrusted};

/// The most rows of a list.
pub const MAX_ROWS: u64 = 50_000_000;

/// The longest row in bytes, quotes and line end included: several times what four legal fields can have.
pub const MAX_ROW_BYTES: u64 = 64 * 1024;

/// How many mistakes of one list are told; the rest is not looked for.
const MAX_TOLD: usize = 10;

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
    /// More than [`MAX_ROWS`].
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
            match rows.next() {
                None => break,
                Some(Ok(row)) => {
                    hashes.push(id_hash(&row.registration_id));
                    // A key is checked here and not where it is used: a wrong one in row nine million is better told now.
                    if let Err(problem) = check_keys(&row) {
                        errors.push(rows.at_last(problem));
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
        for row in self.rows()? {
            found(&row?.registration_id);
        }
        Ok(())
    }

    fn open(path: &Path) -> Result<(Rows, Self), ListError> {
        let unreadable = |source| ListError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
        }
        let (separator, file) = separator(file).map_err(unreadable)?;
        let limit = Limit::default();
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .trim(Trim::All)
            .has_headers(false)
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
        while let Some(row) = rows.next() {
            let row = row.map_err(|error| vec![error])?;
            if !twice.contains(&id_hash(&row.registration_id)) {
                continue;
            }
            let line = rows.line();
            if let Some(first) = seen.insert(row.registration_id.to_ascii_lowercase(), line) {
                let id = Untrusted::new(&row.registration_id).terminal();
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
    for byte in registration_id.bytes() {
        hasher.write_u8(byte.to_ascii_lowercase());
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

    fn row(&self) -> Result<Row, RowProblem> {
        let found = self.record.len() as u64;
        if found != self.fields {
            return Err(RowProblem::Ragged { found, expected: self.fields });
        }
        let text = |column: usize, name| {
            std::str::from_utf8(self.record.get(column).unwrap_or_default())
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
        let secret = |column: Option<usize>| {
            let bytes = column.and_then(|column| self.record.get(column)).unwrap_or_default();
            (!bytes.is_empty()).then(|| Secret::new(bytes.to_vec()))
        };
        let key = secret(self.columns.key);
        if self.columns.key.is_some() && key.is_none() {
            return Err(RowProblem::Key { column: "key", source: KeyError::Empty });
        }
        Ok(Row {
            registration_id: registration_id.to_owned(),
            device_id: device_id.map(str::to_owned),
            key,
            secondary_key: secret(self.columns.secondary_key),
        })
    }
}

impl Iterator for Rows {
    type Item = Result<Row, ListError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(false) => None,
            Ok(true) => Some(self.row().map_err(|problem| self.at_last(problem))),
            Err(error) => Some(Err(error)),
        }
    }
}

fn check_keys(row: &Row) -> Result<(), RowProblem> {
    for (column, key) in [("key", &row.key), ("secondary_key", &row.secondary_key)] {
        if let Some(key) = key {
            let text = key.expose_text().unwrap_or("\u{fffd}");
            DeviceKey::from_base64(text).map_err(|source| RowProblem::Key { column, source })?;
        }
    }
    Ok(())
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
mod tests {
    use super::*;

    const KEY: &str = "c2l4dGVlbi1ieXRlcy1vay4=";

    fn checked(text: &[u8], mode: u32) -> (tempfile::TempDir, Result<DeviceList, String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("devices.csv");
        std::fs::write(&path, text).expect("a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        }
        let shown = |errors: Vec<ListError>| {
            let lines: Vec<String> = errors.iter().map(ListError::to_string).collect();
            lines.join("\n").replace(&format!("{}/", folder.path().display()), "")
        };
        let list = DeviceList::check(&path).map_err(shown);
        (folder, list)
    }

    fn rows(text: &str) -> Vec<Row> {
        let (_folder, list) = checked(text.as_bytes(), 0o600);
        let list = list.expect("a list");
        let rows: Vec<Row> = list.rows().expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len() as u64, list.len());
        rows
    }

    #[test]
    fn rows_are_read_whatever_the_spelling_of_the_file() {
        let plain = rows(&format!("registration_id,key,device_id\na-1,{KEY},roof(1)\nb-2,{KEY},\n"));
        assert_eq!(plain[0].device_id.as_deref(), Some("roof(1)"));
        assert_eq!(plain[0].key.as_ref().and_then(Secret::expose_text), Some(KEY));
        assert_eq!((plain[1].registration_id.as_str(), &plain[1].device_id), ("b-2", &None));
        for text in [
            format!(
                "\u{feff}registrationId;Primary Key;DEVICE-ID;site\r\na-1;{KEY};roof(1);north\r\nb-2;\"{KEY}\";;\"x\r\ny\"\r\n"
            ),
            format!("site,device_id,registration_id,key\n\n\"a, b\",roof(1), a-1 ,{KEY}\n,,b-2,{KEY}"),
        ] {
            assert_eq!(rows(&text), plain, "{text}");
        }
        assert_eq!(rows("registration_id\na\n")[0].key, None);
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_no_key_is_repeated() {
        let long = "x".repeat(129);
        for (text, expected) in [
            (String::new(), "lists no device"),
            ("registration_id,key\n".to_owned(), "lists no device"),
            ("id,key\na,b\n".to_owned(), "no column `registration_id`; it begins with `id`, `key`"),
            ("registration_id,devise_id\n".to_owned(), "did you mean `device_id`"),
            ("registration_id,key,primary_key\n".to_owned(), "the column `key` is there twice"),
            (
                format!("registration_id,key\na,{KEY}\nb\n"),
                "devices.csv:3: the row has 1 fields and the header 2",
            ),
            (
                format!("registration_id,key\na b,{KEY}\n"),
                "devices.csv:2: the registration id is not a legal one",
            ),
            (format!("registration_id\n{long}\n"), "129 characters"),
            (format!("registration_id,key,device_id\na,{KEY},x/y\n"), "the device id is not a legal one"),
            ("registration_id,key\na,canary\n".to_owned(), "key: "),
            ("registration_id,key\na,\n".to_owned(), "the key is empty"),
            ("registration_id,key\na,can-ary_0123456789abcdef\n".to_owned(), "URL-safe"),
            (format!("registration_id,key\na,HostName=x;SharedAccessKey={KEY}\n"), "connection string"),
            (
                format!("registration_id,key\nabc,{KEY}\nx,{KEY}\nABC,{KEY}\n"),
                "devices.csv:4: ABC is in line 2 already",
            ),
            (format!("registration_id\n\"open{}", "y\n".repeat(100_000)), "devices.csv:2: the row is longer"),
            (format!("registration_id\n{}", "z".repeat(1 << 20)), "the row is longer"),
        ] {
            let (_folder, list) = checked(text.as_bytes(), 0o600);
            let told = list.expect_err("a mistake");
            assert!(told.contains(expected), "{told}");
            assert!(!told.contains("canary") && !told.contains(KEY), "{told}");
        }
        let (_folder, list) = checked(b"registration_id\n\xff\xfe\n", 0o600);
        assert!(list.expect_err("no text").contains("devices.csv:2: the registration id is not UTF-8"));
        let many = format!("registration_id\n{}", "a b\n".repeat(1_000));
        let (_folder, list) = checked(many.as_bytes(), 0o600);
        assert_eq!(list.expect_err("mistakes").lines().count(), 10);
    }

    #[cfg(unix)]
    #[test]
    fn a_list_of_keys_that_others_may_read_is_refused_and_one_of_ids_is_not() {
        let (_folder, list) = checked(format!("registration_id,key\na,{KEY}\n").as_bytes(), 0o640);
        assert!(list.expect_err("exposed").contains("chmod 600"));
        let (_folder, list) = checked(b"registration_id\na\n", 0o644);
        assert!(list.is_ok());
    }

    #[test]
    fn a_list_that_changed_after_it_was_checked_is_told() {
        let (folder, list) = checked(b"registration_id\na\nb\n", 0o600);
        let list = list.expect("a list");
        let mut rows = list.rows().expect("unchanged");
        rows.skip_rows(1).expect("a row");
        assert_eq!(rows.next().expect("a row").expect("legal").registration_id, "b");
        std::fs::write(folder.path().join("devices.csv"), "registration_id\nlonger\n").expect("a file");
        assert!(matches!(list.rows(), Err(ListError::Changed { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_check_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = checked(&bytes, 0o600);
            let _ = checked(&[b"registration_id,key\n".as_slice(), &bytes].concat(), 0o600);
        }
    }
}
