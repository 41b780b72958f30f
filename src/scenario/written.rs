//! A scenario as it was written: nothing is assumed yet, and every value knows its place.

use std::time::Duration;

use crate::document::diagnostics::quote;
use crate::document::node::{Entry, Node, Text, Value};
use crate::document::source::SourceId;
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Reader, Spanned};
use crate::scenario::emulator::{self, Emulator};
use crate::scenario::enrollment::{self, Enrollment};
use crate::scenario::fleet::{self, Fleet};
use crate::scenario::keys;
use crate::scenario::target::{self, Target};

/// The whole file.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) seed: Given<u64>,
    pub(super) duration: Given<Duration>,
    pub(super) drain: Given<Duration>,
    pub(super) narrate: Given<bool>,
    pub(super) target: Target,
    pub(super) enrollments: Vec<Enrollment>,
    pub(super) fleets: Vec<Fleet>,
    /// Whether there is a table for some fleet, legible or not, or one that is misspelt.
    pub(super) names_a_fleet: bool,
    pub(super) sends_from: Given<Duration>,
    pub(super) thresholds: Vec<Limit>,
    pub(super) gates: Vec<Limit>,
    /// Where `[gate]` is.
    pub(super) gate: Origin,
    pub(super) emulator: Option<Emulator>,
}

/// One line of `[thresholds]` or `[gate]`.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) metric: Spanned<String>,
    pub(super) limit: Spanned<Text>,
    pub(super) abort_after: Given<Duration>,
}

/// Opens the document; `None` if its version is one that this program cannot judge.
pub(super) fn open<'a>(root: &'a Node, diagnostics: &mut Diagnostics) -> Option<Reader<'a>> {
    if let Some(Entry { node, .. }) = root.entry("version")
        && let Value::Integer(version) = node.value
        && version != i128::from(keys::VERSION)
    {
        // Another version has other keys: complaints about them would be beside the point.
        diagnostics.push(
            Diagnostic::error(
                node.origin,
                format!("version {version} of the scenario format is not supported"),
            )
            .help(format!("this program reads `version = {}`", keys::VERSION)),
        );
        return None;
    }
    let reader = Reader::open(&keys::SCENARIO, "", Origin::whole(SourceId::FILE), root, diagnostics)?;
    reader.count("version", diagnostics);
    Some(reader)
}

/// Reads the whole file.
pub(super) fn read(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Scenario {
    let measure = reader.table("measure", diagnostics);
    Scenario {
        seed: reader.count("seed", diagnostics),
        duration: reader.duration("duration", diagnostics),
        drain: reader.duration("drain", diagnostics),
        narrate: reader.boolean("narrate", diagnostics),
        target: target::read(reader, diagnostics),
        enrollments: enrollments(reader, diagnostics),
        names_a_fleet: !reader.is_absent("fleet")
            && reader.entry("fleet").is_none_or(|fleet| fleet.node.entries() != Some(&[])),
        fleets: reader
            .tables("fleet", diagnostics)
            .into_iter()
            .map(|(name, reader)| fleet::read(name, &reader, diagnostics))
            .collect(),
        sends_from: measure.map_or(Given::Absent, |measure| measure.duration("sends_from", diagnostics)),
        thresholds: limits(reader, &THRESHOLDS, diagnostics),
        gates: limits(reader, &GATE, diagnostics),
        gate: reader.key_origin("gate"),
        emulator: emulator::read(reader, diagnostics),
    }
}

/// Reads `[enrollment.NAME]`.
pub(super) fn enrollments(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Vec<Enrollment> {
    for entry in reader.named_entries("enrollment", diagnostics) {
        enrollment::conceal_keys(&entry.node, diagnostics);
    }
    reader
        .tables("enrollment", diagnostics)
        .into_iter()
        .map(|(name, reader)| enrollment::read(name, &reader, diagnostics))
        .collect()
}

/// How a table of limits is called, and what stands in it.
struct Limits {
    name: &'static str,
    one: &'static str,
    /// Whether it may be a table with options.
    one_is_table: bool,
    must_be: &'static str,
    line: &'static str,
    values: &'static str,
}

const THRESHOLDS: Limits = Limits {
    name: "thresholds",
    one: "a threshold",
    one_is_table: true,
    must_be: "a string with a comparison",
    line: "\"send.response.p99\" = \"< 250ms\"",
    values: "\"< 250ms\", \"= 0 %\" or \"= 0\"",
};

const GATE: Limits = Limits {
    name: "gate",
    one: "a limit of [gate]",
    one_is_table: false,
    must_be: "a string with the change that is allowed",
    line: "\"send.response.p99\" = \"+5 %\"",
    values: "\"+5 %\"",
};

fn limits(reader: &Reader<'_>, table: &Limits, diagnostics: &mut Diagnostics) -> Vec<Limit> {
    let mut limits = Vec::new();
    for Entry { key, key_origin, node } in reader.named_entries(table.name, diagnostics) {
        let complaint = match &node.value {
            Value::Text(text) => {
                limits.push(Limit {
                    metric: Spanned { value: key.clone(), origin: *key_origin },
                    limit: Spanned { value: text.clone(), origin: node.origin },
                    abort_after: Given::Absent,
                });
                continue;
            }
            Value::Unknown => continue,
            Value::Table(_)
                if table.one_is_table
                    && (node.entry("limit").is_some() || node.entry("abort_after").is_some()) =>
            {
                let path = format!("{}.{key:?}", table.name);
                let options = Reader::open(&keys::THRESHOLD, path, *key_origin, node, diagnostics);
                if let Some(options) = options
                    && let Given::Value(limit) = options.text("limit", diagnostics)
                {
                    let metric = Spanned { value: key.clone(), origin: *key_origin };
                    let abort_after = options.duration("abort_after", diagnostics);
                    limits.push(Limit { metric, limit, abort_after });
                }
                continue;
            }
            Value::Table(_) if node.entry("limit").is_some() => {
                Diagnostic::error(node.origin, format!("{} has no options", table.one))
                    .help(format!("write the limit alone: {}", table.line))
            }
            Value::Table(_) => Diagnostic::error(
                *key_origin,
                format!("{} is not a metric: a metric is one key, in quotes", quote(key)),
            )
            .help(format!("write for example {}", table.line)),
            _ => Diagnostic::error(
                node.origin,
                format!("the limit is {}; it must be {}", node.kind(), table.must_be),
            )
            .help(format!("write for example {}", table.values)),
        };
        diagnostics.push(complaint);
    }
    limits
}
