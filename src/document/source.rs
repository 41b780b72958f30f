//! The texts that a document is made of, and places in them.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::document::{Diagnostic, Diagnostics, MAX_DOCUMENT_BYTES};

/// One text: a file, or the argument of one `--set`.
#[derive(Debug, Clone)]
pub struct Source {
    /// How diagnostics call it: the path as the user gave it, or `--set`.
    pub name: String,
    /// The text, without byte order mark.
    pub text: String,
}

/// Number of a source in its [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

impl SourceId {
    /// The first source: the file.
    pub const FILE: Self = Self(0);

    /// Its position among the sources, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Bytes `start .. end` of a source's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One after the last byte.
    pub end: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// Where something was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// In which text.
    pub source: SourceId,
    /// At which bytes; `None` for what concerns the whole text.
    pub span: Option<Span>,
}

impl Origin {
    /// Bytes of a source.
    pub fn at(source: SourceId, span: impl Into<Span>) -> Self {
        Self { source, span: Some(span.into()) }
    }

    /// A source as a whole.
    pub const fn whole(source: SourceId) -> Self {
        Self { source, span: None }
    }
}

/// The texts of one document, in order of precedence: the file first.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a text; returns the number under which origins refer to it.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let id = SourceId(u32::try_from(self.0.len()).expect("fewer sources than command line arguments"));
        self.0.push(Source { name: name.into(), text: text.into() });
        id
    }

    /// The source of that number; `None` if it belongs to another document.
    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.0.get(id.index())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }
}

/// Reads a document's text: at most [`MAX_DOCUMENT_BYTES`], UTF-8, a byte order mark is dropped.
///
/// * `path`: the file to read
/// * `diagnostics`: the text is added to its sources, under the path's name, also when it cannot be read (then empty)
///
/// # Errors
/// A [`Diagnostic`] that says what is wrong with the file.
pub fn read_file(path: &Path, diagnostics: &mut Diagnostics) -> Result<SourceId, Diagnostic> {
    let name = path.display().to_string();
    let bytes = match read_bytes(path) {
        Ok(bytes) => bytes,
        Err((message, help)) => {
            let id = diagnostics.add_source(name, "");
            return Err(Diagnostic::error(Origin::whole(id), message).help(help));
        }
    };
    let without_mark = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match std::str::from_utf8(without_mark) {
        Ok(text) => Ok(diagnostics.add_source(name, text)),
        Err(error) => {
            let at = error.valid_up_to();
            let (line, column) = position(&without_mark[..at]);
            let byte = without_mark[at];
            // What follows the first bad byte is not needed to show its line, except the rest of that line.
            let line_end =
                without_mark[at..].iter().position(|b| *b == b'\n').map_or(without_mark.len(), |n| at + n);
            let id = diagnostics.add_source(name, String::from_utf8_lossy(&without_mark[..line_end]));
            let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
            Err(Diagnostic::error(
                Origin::at(id, span),
                format!("the file is not UTF-8: byte 0x{byte:02x} at line {line}, column {column}"),
            )
            .help("save the file as UTF-8"))
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, (String, &'static str)> {
    const TOO_LARGE: &str = "the file is too large: a scenario is at most 1 MiB";
    const SPLIT: &str = "check that this is a scenario file; several scenarios belong into several files";
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => ("there is no such file".to_owned(), "check the path"),
        ErrorKind::PermissionDenied => (
            "the file may not be read: permission denied".to_owned(),
            "check the permissions of the file and its directory",
        ),
        ErrorKind::IsADirectory => {
            ("this is a directory, not a file".to_owned(), "name a scenario file inside it")
        }
        _ => (format!("the file cannot be read: {error}"), "check the path and the disk"),
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if metadata.len() > MAX_DOCUMENT_BYTES {
        return Err((TOO_LARGE.to_owned(), SPLIT));
    }
    let mut bytes = Vec::new();
    // Bounded again, because pipes and devices have no length, and a file may grow.
    file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err((TOO_LARGE.to_owned(), SPLIT));
    }
    Ok(bytes)
}

/// Opens a file that is read whole or row by row, maybe more than once.
///
/// # Errors
/// What the system says, or [`ErrorKind::InvalidInput`] for what is no regular file: a pipe may never end, nor even open.
pub fn open_regular(path: &Path) -> std::io::Result<(File, Metadata)> {
    let regular = |metadata: Metadata| match metadata.file_type() {
        kind if kind.is_file() => Ok(metadata),
        kind if kind.is_dir() => Err(std::io::Error::from(ErrorKind::IsADirectory)),
        _ => Err(std::io::Error::new(ErrorKind::InvalidInput, "it is a pipe or a device, not a file")),
    };
    // Asked before it is opened, for opening a pipe waits for a writer; and again, for it may be another by then.
    std::fs::metadata(path).and_then(regular)?;
    let file = File::open(path)?;
    let metadata = file.metadata().and_then(regular)?;
    Ok((file, metadata))
}

/// Line and column (in characters), counted from 1, of the place after `before`, which is UTF-8.
fn position(before: &[u8]) -> (usize, usize) {
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // Bytes that continue a character do not start one.
    let column = before[start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Diagnostics, Result<SourceId, Diagnostic>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.toml");
        std::fs::write(&path, bytes).unwrap();
        let mut diagnostics = Diagnostics::default();
        let read = read_file(&path, &mut diagnostics);
        (diagnostics, read)
    }

    #[test]
    fn a_byte_order_mark_is_dropped_and_line_ends_stay() {
        let (diagnostics, id) = read(b"\xef\xbb\xbfversion = 1\r\n");
        assert_eq!(diagnostics.sources().source(id.unwrap()).unwrap().text, "version = 1\r\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_located() {
        let (_, read) = read("a = 1\nb = \"ü\u{0}".as_bytes());
        assert!(read.is_ok(), "control characters are the parser's business");
        let (_, read) = self::read(b"a = 1\r\nb = \"\xc3\xbc\xff\"\nc = 2");
        let error = read.unwrap_err();
        assert_eq!(error.message, "the file is not UTF-8: byte 0xff at line 2, column 7");
    }

    #[test]
    fn a_file_above_the_limit_is_refused_before_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large.toml");
        // Sparse: reading it would take a gigabyte of memory, its length alone is enough to refuse it.
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        let error = read_file(&path, &mut Diagnostics::default()).unwrap_err();
        assert!(error.message.contains("at most 1 MiB"), "{}", error.message);
    }

    #[test]
    fn a_missing_file_and_a_directory_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let mut diagnostics = Diagnostics::default();
        let missing = read_file(&directory.path().join("no.toml"), &mut diagnostics).unwrap_err();
        assert_eq!(missing.message, "there is no such file");
        let folder = read_file(directory.path(), &mut diagnostics).unwrap_err();
        assert_eq!(folder.message, "this is a directory, not a file");
    }
}
