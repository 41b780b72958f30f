//! `[enrollment.NAME]` as it was written: whose keys devices use, and where those are to be found.

use crate::azure::registration::{check_device_id, check_registration_id};
use crate::document::diagnostics::quote;
use crate::document::environment::is_variable_name;
use crate::document::node::{Node, Text, Value};
use crate::document::schema::{MAX_NAME, is_name};
use crate::document::source::{Origin, SourceId};
use crate::document::values::{Refusal, listed, nearest, wrong_kind};
use crate::document::{Diagnostic, Diagnostics, Given, Reader, Spanned};
use crate::emulator::config::{InitialTwin, Reprovision};
use crate::scenario::emulator::{Allocation, allocation};
use crate::scenario::keys;

/// One enrollment.
#[derive(Debug)]
pub(super) struct Enrollment {
    pub(super) name: String,
    /// `None` if a complaint was made about them.
    pub(super) keys: Option<Keys>,
    pub(super) enabled: Given<bool>,
    pub(super) allocation: Given<Allocation>,
    pub(super) reprovision: Given<Reprovision>,
    pub(super) initial_twin: Option<InitialTwin>,
    /// Keys that only the emulator understands, as far as they are there.
    pub(super) emulator_only: Vec<(&'static str, Origin)>,
}

/// Group or individual.
#[derive(Debug)]
pub(super) enum Keys {
    Group {
        primary: Given<KeySource>,
        secondary: Given<KeySource>,
    },
    Individual {
        registration_id: Given<String>,
        device_id: Given<String>,
        primary: Given<KeySource>,
        secondary: Given<KeySource>,
    },
    /// Path of a list of devices.
    List(Spanned<Text>),
}

impl Keys {
    /// Primary and secondary key.
    pub(super) const fn sources(&self) -> [&Given<KeySource>; 2] {
        match self {
            Self::Group { primary, secondary } | Self::Individual { primary, secondary, .. } => {
                [primary, secondary]
            }
            Self::List(_) => [&Given::Absent, &Given::Absent],
        }
    }
}

/// Where a key is to be found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum KeySource {
    Generated,
    Stdin,
    Environment(String),
    /// As written; relative to the scenario file.
    File(Spanned<String>),
}

pub(super) fn read(name: String, reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Enrollment {
    check_name("enrollment", &name, reader.origin(), diagnostics);
    let which = reader.one_of("group_key", diagnostics);
    let keys = match which {
        Some("group_key") => Some(Keys::Group {
            primary: key_source(reader, "group_key", diagnostics),
            secondary: key_source(reader, "secondary_key", diagnostics),
        }),
        Some(_) => {
            if reader.has("secondary_key") {
                diagnostics.push(
                    Diagnostic::error(
                        reader.key_origin("secondary_key"),
                        "`secondary_key` beside `individual` belongs to no key",
                    )
                    .help("move it into the braces of `individual`"),
                );
            }
            individual(reader, diagnostics)
        }
        None => None,
    };
    let emulator_only = ["enabled", "allocation", "hub", "reprovision", "initial_twin"];
    Enrollment {
        name,
        keys,
        enabled: reader.boolean("enabled", diagnostics),
        allocation: allocation(reader, diagnostics),
        reprovision: reader.choice("reprovision", diagnostics).check(diagnostics, |name| {
            Ok(match name {
                "reset" => Reprovision::Reset,
                "never" => Reprovision::Never,
                _ => Reprovision::Migrate,
            })
        }),
        initial_twin: initial_twin(reader, diagnostics),
        emulator_only: emulator_only
            .into_iter()
            .filter(|key| reader.has(key))
            .map(|key| (key, reader.key_origin(key)))
            .collect(),
    }
}

/// What twins begin with; `None` after a complaint, too.
fn initial_twin(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Option<InitialTwin> {
    let table = reader.table("initial_twin", diagnostics)?;
    let (tags, desired) = (table.json("tags", diagnostics), table.json("desired", diagnostics));
    let initial = InitialTwin { tags: tags.or(Default::default()), desired: desired.or(Default::default()) };
    if let Err(reason) = initial.check() {
        diagnostics.push(
            Diagnostic::error(reader.key_origin("initial_twin"), format!("no twin may be so: {reason}"))
                .help("tags have 8 KB at most and desired properties 32 KB, ten levels deep, with names without `.`, `$` and blanks"),
        );
        return None;
    }
    Some(initial)
}

fn individual(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Option<Keys> {
    let entry = reader.entry("individual")?;
    if let Value::Text(path) = &entry.node.value {
        return Some(Keys::List(Spanned { value: path.clone(), origin: entry.node.origin }));
    }
    if !matches!(entry.node.value, Value::Table(_) | Value::Unknown) {
        if let Some(key) = keys::ENROLLMENT.key("individual") {
            diagnostics.push(wrong_kind(key, &entry.node));
        }
        return None;
    }
    let path = format!("{}.individual", reader.path());
    let reader = Reader::open(&keys::INDIVIDUAL, path, entry.key_origin, &entry.node, diagnostics)?;
    let refuse = |text: &Text, reason: String| Refusal {
        message: format!("{} is not a legal id: {reason}", quote(text.shown())),
        help: None,
    };
    Some(Keys::Individual {
        registration_id: reader.text("registration_id", diagnostics).check(diagnostics, |text| {
            check_registration_id(&text.value).map_err(|error| refuse(&text, error.to_string()))?;
            Ok(text.value)
        }),
        device_id: reader.text("device_id", diagnostics).check(diagnostics, |text| {
            check_device_id(&text.value).map_err(|error| refuse(&text, error.to_string()))?;
            Ok(text.value)
        }),
        primary: key_source(&reader, "key", diagnostics),
        secondary: key_source(&reader, "secondary_key", diagnostics),
    })
}

fn key_source(reader: &Reader<'_>, name: &'static str, diagnostics: &mut Diagnostics) -> Given<KeySource> {
    let Some(entry) = reader.entry(name) else { return Given::Absent };
    let origin = entry.node.origin;
    let given = |value| Given::Value(Spanned { value, origin });
    match &entry.node.value {
        Value::Unknown => Given::Broken,
        Value::Text(text) => match text.value.as_str() {
            "generated" => given(KeySource::Generated),
            "stdin" => given(KeySource::Stdin),
            _ => {
                diagnostics.push(refused_literal(name, text, origin));
                Given::Broken
            }
        },
        Value::Table(_) => {
            let path = format!("{}.{name}", reader.path());
            let Some(table) =
                Reader::open(&keys::KEY_SOURCE, path, entry.key_origin, &entry.node, diagnostics)
            else {
                return Given::Broken;
            };
            key_place(&table, diagnostics).map_or(Given::Broken, given)
        }
        _ => {
            // Both tables that hold key sources list them alike.
            if let Some(key) = keys::ENROLLMENT.key(name).or_else(|| keys::INDIVIDUAL.key(name)) {
                diagnostics.push(wrong_kind(key, &entry.node));
            }
            Given::Broken
        }
    }
}

fn key_place(table: &Reader<'_>, diagnostics: &mut Diagnostics) -> Option<KeySource> {
    let which = table.one_of("env", diagnostics)?;
    if which == "env" {
        let name = table.text("env", diagnostics).check(diagnostics, |text| {
            if is_variable_name(&text.value) {
                return Ok(text.value);
            }
            // Not quoted: it may be the key itself.
            Err(Refusal::new(
                "this is not the name of an environment variable",
                "`env` takes the variable's name, not the key: { env = \"GROUP_KEY\" }",
            ))
        });
        return name.value().cloned().map(KeySource::Environment);
    }
    let file = table.text("file", diagnostics).check(diagnostics, |text| {
        if text.value.is_empty() {
            return Err(Refusal::new("the path is empty", "name the file that holds the key"));
        }
        Ok(text.value)
    });
    file.spanned().cloned().map(KeySource::File)
}

/// A key in the file, or a misspelt word; the value itself is concealed either way.
fn refused_literal(name: &str, text: &Text, origin: Origin) -> Diagnostic {
    let words = ["generated", "stdin"];
    if let (Some(near), None) = (nearest(&text.value, words), &text.written) {
        return Diagnostic::error(origin, format!("`{name}` is a word that is not known"))
            .help(format!("did you mean `{name} = \"{near}\"`?"));
    }
    if let Some(written) = &text.written {
        return Diagnostic::error(
            origin,
            format!(
                "{} would copy a key into the text of the scenario, which is kept with the result",
                quote(written)
            ),
        )
        .help(format!("name the variable instead: {name} = {{ env = \"GROUP_KEY\" }}"));
    }
    let reason = if origin.source == SourceId::FILE {
        "a key does not belong into a file that is kept and shared"
    } else {
        "a key does not belong on a command line, which every process on this machine can read"
    };
    Diagnostic::error(origin, reason).help(format!(
        "use {name} = {{ env = \"GROUP_KEY\" }}, {{ file = \"group.key\" }}, \"stdin\", or \"generated\" with the emulator"
    ))
}

/// Conceals every string below an enrollment that may be a key, whichever key somebody put it under.
pub(super) fn conceal_keys(node: &Node, diagnostics: &mut Diagnostics) {
    const HARMLESS: [&str; 8] =
        ["env", "file", "registration_id", "device_id", "hub", "allocation", "static", "reprovision"];
    match &node.value {
        Value::Table(entries) => {
            // A twin is what devices and services may read; its own checks say what belongs there.
            for entry in entries.iter().filter(|entry| entry.key != "initial_twin") {
                let harmless = (HARMLESS.contains(&entry.key.as_str()) || is_path(&entry.key, &entry.node))
                    && !misused(&entry.key, &entry.node);
                if !harmless || matches!(entry.node.value, Value::Table(_)) {
                    conceal_keys(&entry.node, diagnostics);
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                conceal_keys(element, diagnostics);
            }
        }
        Value::Text(text)
            if text.written.is_none() && !matches!(text.value.as_str(), "generated" | "stdin") =>
        {
            let mut origin = node.origin;
            // In a file the quotes stay, so that the line still reads as TOML.
            if let Some(span) = &mut origin.span
                && origin.source == SourceId::FILE
                && span.end >= span.start + 2
            {
                span.start += 1;
                span.end -= 1;
            }
            diagnostics.conceal(origin);
        }
        _ => {}
    }
}

/// Whether `individual` holds the path of a list: base64 has no point.
fn is_path(key: &str, node: &Node) -> bool {
    key == "individual" && matches!(&node.value, Value::Text(text) if text.value.contains('.'))
}

/// Whether `env` holds something that is no variable's name.
fn misused(key: &str, node: &Node) -> bool {
    key == "env" && !matches!(&node.value, Value::Text(text) if is_variable_name(&text.value))
}

/// Says what names of tables may look like: they appear in metrics and file names.
pub(super) fn check_name(what: &str, name: &str, origin: Origin, diagnostics: &mut Diagnostics) {
    if !is_name(name) {
        diagnostics.push(
            Diagnostic::error(origin, format!("{} is not a name for {} {what}", quote(name), article(what)))
                .help(format!(
                    "use 1 to {MAX_NAME} of {}: names appear in metrics and files",
                    listed(&["a-z", "0-9", "_", "-"], "and")
                )),
        );
    }
}

fn article(what: &str) -> &'static str {
    if what.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" }
}
