//! What messages hold: keys of `[fleet.NAME.telemetry]` or of its `[[payload]]` tables, and what they mean.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::azure::hub::MAX_MESSAGE;
use crate::document::diagnostics::quote;
use crate::document::node::{Text, Value};
use crate::document::values::Refusal;
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Reader, Spanned};
use crate::payload::{Longest, Payload, Payloads, PropertyError, TemplateError};
use crate::scenario::build::{Paths, refused};

/// The keys of which a payload has exactly one.
const KINDS: [&str; 4] = ["json", "text", "bytes", "file"];

/// The keys that describe a payload, in `[telemetry]` as in `[[payload]]`.
const DIRECT: [&str; 8] =
    ["json", "text", "bytes", "file", "properties", "content_type", "content_encoding", "message_id"];

/// One payload as it was written.
#[derive(Debug)]
pub(super) struct Written {
    weight: Given<u64>,
    kind: Kind,
    properties: Vec<(Spanned<String>, Spanned<Text>)>,
    content_type: Given<Text>,
    content_encoding: Given<Text>,
    message_id: Given<Text>,
    /// Where its size is complained about.
    origin: Origin,
}

#[derive(Debug)]
enum Kind {
    Default,
    Broken,
    Json(Spanned<Text>),
    Text(Spanned<Text>),
    Bytes(Spanned<u64>),
    File(Spanned<Text>),
}

/// Reads the payloads of a telemetry table.
pub(super) fn read(telemetry: &Reader<'_>, diagnostics: &mut Diagnostics) -> Vec<Written> {
    if telemetry.is_absent("payload") {
        let kind = telemetry.one_of("json", diagnostics);
        return vec![one(telemetry, kind, Given::Absent, diagnostics)];
    }
    if let Some(direct) = DIRECT.iter().find(|key| telemetry.has(key))
        && telemetry.has("payload")
    {
        diagnostics.push(
            Diagnostic::error(
                telemetry.key_origin(direct),
                format!("`{direct}` is given beside `payload`, which describes the messages"),
            )
            .related(telemetry.key_origin("payload"), "payloads given here")
            .help(format!(
                "move `{direct}` into a [[{}.payload]] of its own, or remove it",
                telemetry.path()
            )),
        );
    }
    let tables = telemetry.array("payload", diagnostics);
    if tables.is_empty()
        && let Some(entry) = telemetry.entry("payload")
        && entry.node.value == Value::Array(Vec::new())
    {
        diagnostics.push(
            Diagnostic::error(entry.node.origin, "there is no payload in this list")
                .help("remove it for the default payload, or add { json = '...' }"),
        );
    }
    let mut payloads = Vec::new();
    for table in &tables {
        let kind = table.one_of("json", diagnostics);
        let weight = table.count("weight", diagnostics);
        payloads.push(one(table, kind, weight, diagnostics));
    }
    payloads
}

fn one(
    table: &Reader<'_>,
    kind: Option<&'static str>,
    weight: Given<u64>,
    diagnostics: &mut Diagnostics,
) -> Written {
    let origin = kind.map_or(table.origin(), |kind| table.key_origin(kind));
    let mut text = |name| match table.text(name, diagnostics) {
        Given::Value(text) => Some(text),
        _ => None,
    };
    let kind = match kind {
        Some("json") => text("json").map_or(Kind::Broken, Kind::Json),
        Some("text") => text("text").map_or(Kind::Broken, Kind::Text),
        Some("file") => text("file").map_or(Kind::Broken, Kind::File),
        Some(_) => match table.size("bytes", diagnostics) {
            Given::Value(size) => Kind::Bytes(Spanned { value: size.value.0, origin: size.origin }),
            _ => Kind::Broken,
        },
        None if KINDS.iter().all(|key| table.is_absent(key)) => Kind::Default,
        None => Kind::Broken,
    };
    Written {
        weight,
        kind,
        properties: properties(table, diagnostics),
        content_type: table.text("content_type", diagnostics),
        content_encoding: table.text("content_encoding", diagnostics),
        message_id: table.text("message_id", diagnostics),
        origin,
    }
}

fn properties(table: &Reader<'_>, diagnostics: &mut Diagnostics) -> Vec<(Spanned<String>, Spanned<Text>)> {
    let mut properties = Vec::new();
    for entry in table.named_entries("properties", diagnostics) {
        match &entry.node.value {
            Value::Text(text) => properties.push((
                Spanned { value: entry.key.clone(), origin: entry.key_origin },
                Spanned { value: text.clone(), origin: entry.node.origin },
            )),
            Value::Unknown => {}
            _ => diagnostics.push(
                Diagnostic::error(
                    entry.node.origin,
                    format!(
                        "the property {} is {}; it must be a string",
                        quote(&entry.key),
                        entry.node.kind()
                    ),
                )
                .help("properties are texts: put the value in quotes"),
            ),
        }
    }
    properties
}

/// Reads payload files: each once, and not more than fits.
pub(super) struct Files<'a> {
    paths: &'a Paths<'a>,
    read: HashMap<PathBuf, Arc<[u8]>>,
    bytes: usize,
}

impl<'a> Files<'a> {
    /// What the files of all payloads together may hold: 64 MiB.
    const MAX_BYTES: usize = 64 * 1024 * 1024;

    pub(super) fn new(paths: &'a Paths<'a>) -> Self {
        Self { paths, read: HashMap::new(), bytes: 0 }
    }

    fn payload(&mut self, path: &Spanned<Text>) -> Result<Payload, Refusal> {
        let resolved = self.paths.resolve(&path.value.value, path.origin);
        let content = match self.read.get(&resolved) {
            Some(content) => Arc::clone(content),
            None => {
                let content: Arc<[u8]> = read_file(&resolved, path.value.shown())?.into();
                self.bytes += content.len();
                if self.bytes > Self::MAX_BYTES {
                    return Err(Refusal::new(
                        "the payload files have more than 64 MiB together",
                        "use fewer or smaller files",
                    ));
                }
                self.read.insert(resolved.clone(), Arc::clone(&content));
                content
            }
        };
        Payload::file(&resolved, content).map_err(|error| too_large(&error))
    }
}

/// The content of a payload file, of which at most one byte too much is read.
///
/// * `shown`: the path as it was written
fn read_file(path: &Path, shown: &str) -> Result<Vec<u8>, Refusal> {
    let shown = quote(shown);
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Refusal::new(
            format!("there is no file {shown}"),
            "check the path; it is relative to the scenario file",
        ),
        ErrorKind::PermissionDenied => {
            Refusal::new(format!("the file {shown} may not be read"), "check its permissions")
        }
        _ => Refusal::new(format!("the file {shown} cannot be read: {error}"), "check the path and the disk"),
    };
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Refusal::new(
            format!("{shown} is not a file"),
            "name a file: its content is the message",
        ));
    }
    let mut content = Vec::new();
    let limit = MAX_MESSAGE as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content)).map_err(failed)?;
    if content.len() > MAX_MESSAGE {
        return Err(Refusal::new(
            format!("the file {shown} has more than {MAX_MESSAGE} bytes, which no hub takes"),
            "use a file of at most 256 KiB",
        ));
    }
    Ok(content)
}

/// What the payloads of a telemetry table mean.
pub(super) fn build(
    written: &[Written],
    longest: Longest<'_>,
    files: &mut Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Payloads {
    let mut kinds = Vec::new();
    for written in written {
        let Some(mut payload) = body(&written.kind, files, diagnostics) else { continue };
        for (name, value) in &written.properties {
            let set = |text: &str| payload.add_property(&name.value, text);
            if let Some(complaint) = apply(&value.value, set) {
                let origin = if complaint.about_name { name.origin } else { value.origin };
                diagnostics.push(complaint.at(&value.value, origin, diagnostics));
            }
        }
        let mut set = |given: &Given<Text>, set: &mut dyn FnMut(&str) -> Result<(), PropertyError>| {
            if let Some(text) = given.spanned()
                && let Some(complaint) = apply(&text.value, set)
            {
                diagnostics.push(complaint.at(&text.value, text.origin, diagnostics));
            }
        };
        set(&written.content_type, &mut |text| payload.set_content_type(text));
        set(&written.content_encoding, &mut |text| payload.set_content_encoding(text));
        set(&written.message_id, &mut |text| payload.set_message_id(text, longest));
        if let Err(error) = payload.check_size() {
            diagnostics.push(refused(written.origin, too_large(&error)));
        }
        kinds.push((written.weight.or(1), payload));
    }
    Payloads::weighted(kinds)
}

fn body(kind: &Kind, files: &mut Files<'_>, diagnostics: &mut Diagnostics) -> Option<Payload> {
    let mut payload = None;
    let refusal = match kind {
        Kind::Default => return Some(Payload::default()),
        Kind::Broken => return None,
        Kind::Json(text) | Kind::Text(text) => {
            let compile = if matches!(kind, Kind::Json(_)) { Payload::json } else { Payload::text };
            let complaint = apply(&text.value, |text| {
                payload = Some(compile(text)?);
                Ok(())
            });
            if let Some(complaint) = complaint {
                diagnostics.push(complaint.at(&text.value, text.origin, diagnostics));
            }
            return payload;
        }
        Kind::Bytes(size) => Payload::random(size.value).map_err(|error| (size.origin, too_large(&error))),
        Kind::File(path) => files.payload(path).map_err(|refusal| (path.origin, refusal)),
    };
    match refusal {
        Ok(payload) => Some(payload),
        Err((origin, refusal)) => {
            diagnostics.push(refused(origin, refusal));
            None
        }
    }
}

fn too_large(error: &crate::payload::TooLarge) -> Refusal {
    let text = error.to_string();
    let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
    Refusal::new(message, format!("{help}, so make body and properties smaller"))
}

/// What is said about a text that is wrong.
#[derive(Debug, PartialEq)]
struct Complaint {
    message: String,
    help: String,
    /// Which bytes of the text it is about, and how people call the place.
    place: Option<(Range<usize>, String)>,
    /// Whether it is the name of a property that is wrong.
    about_name: bool,
}

/// Tries `set` with a text; `None` if it accepts it.
fn apply(text: &Text, mut set: impl FnMut(&str) -> Result<(), PropertyError>) -> Option<Complaint> {
    let complaint = Complaint::of(set(&text.value).err()?);
    let Some(written) = &text.written else { return Some(complaint) };
    // The value of a variable must not be shown, and a complaint may repeat it, or tell its characters or its length. One
    // that is just the same whatever the variable holds may be told.
    let same = set(&masked(written)).err().map(Complaint::of);
    Some(same.filter(|same| same.message == complaint.message).unwrap_or_else(|| Complaint {
        message: "this is wrong once the environment is filled in".to_owned(),
        help: "check the variables that it names".to_owned(),
        place: None,
        about_name: false,
    }))
}

/// A text with digits in place of its variables: they are legal in a JSON string, and as a number.
fn masked(written: &str) -> String {
    let (mut masked, mut rest) = (String::new(), written);
    while let Some(at) = rest.find("${env:") {
        let length = rest[at..].find('}').map_or(rest.len() - at, |end| end + 1);
        masked.push_str(&rest[..at]);
        masked.extend(std::iter::repeat_n('1', length));
        rest = &rest[at + length..];
    }
    masked + rest
}

impl Complaint {
    fn of(error: PropertyError) -> Self {
        let about_name = matches!(error, PropertyError::Name | PropertyError::Twice | PropertyError::TooMany);
        if let PropertyError::Template(error) = error {
            let place = Some((error.span.clone(), error.place()));
            let TemplateError { problem, remedy, .. } = error;
            return Self { message: problem, help: remedy, place, about_name };
        }
        let text = error.to_string();
        let (message, help) = text.split_once("; ").unwrap_or((&text, "check it"));
        Self { message: message.to_owned(), help: help.to_owned(), place: None, about_name }
    }

    /// The complaint as it is shown: if the text stands in its source as it is, the place inside is underlined.
    fn at(self, text: &Text, origin: Origin, diagnostics: &Diagnostics) -> Diagnostic {
        let Some((span, place)) = self.place else {
            return Diagnostic::error(origin, self.message).help(self.help);
        };
        let source = diagnostics.sources().source(origin.source);
        let start = origin.span.zip(source).and_then(|(span, source)| {
            let written = source.text.get(span.start..span.end)?;
            Some(span.start + written.find(text.shown())?)
        });
        let origin = match start {
            Some(start) if !span.is_empty() => {
                Origin::at(origin.source, start + span.start..start + span.end)
            }
            _ => origin,
        };
        Diagnostic::error(origin, format!("{} ({place} of the template)", self.message)).help(self.help)
    }
}
