//! Single values: from a node to a number with its unit, or to a complaint.

use std::time::Duration;

use serde_json::Value as Json;

use crate::document::diagnostics::quote;
use crate::document::node::{Node, Text, Value};
use crate::document::schema::{Key, MAX_DURATIONS, Shape};
use crate::document::source::Origin;
use crate::document::{Diagnostic, Diagnostics};
use crate::units::{UnitError, parse_duration, show_count, spell_duration};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub origin: Origin,
}

/// What a key gave. Broken values are told apart from absent ones, so that nothing is said twice about them.
#[derive(Debug, Clone, PartialEq)]
pub enum Given<T> {
    /// The key is not there.
    Absent,
    /// It is there, and a complaint was made.
    Broken,
    /// A legal value.
    Value(Spanned<T>),
}

impl<T> Given<T> {
    /// Whether the key is not there.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value, if it is a legal one.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(spanned) => Some(&spanned.value),
            _ => None,
        }
    }

    /// The value with its place, if it is a legal one.
    pub const fn spanned(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Value(spanned) => Some(spanned),
            _ => None,
        }
    }

    /// The value, or `default` if there is none or a broken one.
    pub fn or(&self, default: T) -> T
    where
        T: Clone,
    {
        self.value().cloned().unwrap_or(default)
    }

    /// Turns the value into another.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Self::Absent => Given::Absent,
            Self::Broken => Given::Broken,
            Self::Value(Spanned { value, origin }) => Given::Value(Spanned { value: turn(value), origin }),
        }
    }

    /// Turns the value into another; an error becomes a complaint at its place.
    pub fn check<U>(
        self,
        diagnostics: &mut Diagnostics,
        read: impl FnOnce(T) -> Result<U, Refusal>,
    ) -> Given<U> {
        match self {
            Self::Absent => Given::Absent,
            Self::Broken => Given::Broken,
            Self::Value(Spanned { value, origin }) => match read(value) {
                Ok(value) => Given::Value(Spanned { value, origin }),
                Err(Refusal { message, help }) => {
                    diagnostics.push(Diagnostic { help, ..Diagnostic::error(origin, message) });
                    Given::Broken
                }
            },
        }
    }
}

/// Why a value is refused, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Refusal {
    /// A reason with a remedy.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

/// Reads one node as what `key` holds; for keys of several shapes, whose reader has looked at the node itself.
pub fn read_node<T>(
    key: &'static Key,
    node: &Node,
    diagnostics: &mut Diagnostics,
    read: impl FnOnce(&'static Key, &Node) -> Option<Result<T, Refusal>>,
) -> Given<T> {
    if node.value == Value::Unknown {
        return Given::Broken;
    }
    match read(key, node) {
        Some(Ok(value)) => Given::Value(Spanned { value, origin: node.origin }),
        Some(Err(Refusal { message, help })) => {
            diagnostics.push(Diagnostic { help, ..Diagnostic::error(node.origin, message) });
            Given::Broken
        }
        None => {
            diagnostics.push(wrong_kind(key, node));
            Given::Broken
        }
    }
}

/// A node as JSON; `None` after a complaint about each part of it that JSON does not know.
pub fn json(node: &Node, diagnostics: &mut Diagnostics) -> Option<Json> {
    let refuse = |diagnostics: &mut Diagnostics, help: &str| {
        let message = format!("this is {}, which JSON does not know", node.kind());
        diagnostics.push(Diagnostic::error(node.origin, message).help(help));
        None
    };
    match &node.value {
        // Each entry is looked at, so that all complaints are made at once.
        Value::Table(entries) => {
            let entries =
                entries.iter().map(|entry| Some((entry.key.clone(), json(&entry.node, diagnostics)?)));
            let entries: Vec<_> = entries.collect();
            entries.into_iter().collect::<Option<_>>().map(Json::Object)
        }
        Value::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(|element| json(element, diagnostics)).collect();
            elements.into_iter().collect::<Option<_>>().map(Json::Array)
        }
        Value::Text(text) => Some(text.value.clone().into()),
        Value::Boolean(value) => Some((*value).into()),
        Value::Integer(number) => match i64::try_from(*number) {
            Ok(number) => Some(number.into()),
            Err(_) => {
                diagnostics.push(
                    Diagnostic::error(node.origin, "a whole number of this size is not kept exactly")
                        .help("write it as a string"),
                );
                None
            }
        },
        Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Some(Json::Number(number)),
            None => refuse(diagnostics, "write a number, or leave it out"),
        },
        Value::Datetime => refuse(diagnostics, "write it as a string, in quotes"),
        Value::Unknown => None,
    }
}

/// A node as a whole number in the range of its key; `None` if it is something else.
pub fn count(key: &'static Key, node: &Node) -> Option<Result<u64, Refusal>> {
    let (min, max) = first_shape(key, |shape| match *shape {
        Shape::Count { min, max } => Some((min, max)),
        _ => None,
    })
    .unwrap_or((0, u64::MAX));
    let Value::Integer(number) = node.value else { return None };
    let in_range = u64::try_from(number).ok().filter(|number| (min..=max).contains(number));
    Some(in_range.ok_or_else(|| {
        let shown = match u64::try_from(number) {
            Ok(number) => show_count(number),
            _ if number == i128::MAX || number == i128::MIN => "it".to_owned(),
            _ => number.to_string(),
        };
        let range = if max == i64::MAX as u64 {
            format!("{} or more", show_count(min))
        } else {
            format!("{} to {}", show_count(min), show_count(max))
        };
        Refusal::new(
            format!("`{}` is out of range: {shown} is not {range}", key.name),
            format!("use a whole number, for example `{} = {}`", key.name, key.example),
        )
    }))
}

/// A node as a duration in the range of its key; `None` if it is something else.
pub fn duration(key: &'static Key, node: &Node) -> Option<Result<Duration, Refusal>> {
    let (min, max) = first_shape(key, |shape| match *shape {
        Shape::Duration { min, max } => Some((min, max)),
        _ => None,
    })
    .unwrap_or((Duration::ZERO, Duration::MAX));
    Some(quantity(node, parse_duration)?.and_then(|value| {
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        Err(out_of_range(key, min, max))
    }))
}

fn out_of_range(key: &'static Key, min: Duration, max: Duration) -> Refusal {
    let range = if min == Duration::from_nanos(1) {
        format!("above 0s and at most {}", spell_duration(max))
    } else {
        format!("{} to {}", spell_duration(min), spell_duration(max))
    };
    Refusal::new(
        format!("`{}` is out of range; use a duration {range}", key.name),
        format!("for example `{} = {}`", key.name, key.example),
    )
}

/// A node as an array of durations in the range of its key; `None` if it is something else.
pub fn durations(key: &'static Key, node: &Node) -> Option<Result<Vec<Duration>, Refusal>> {
    let Value::Array(elements) = &node.value else { return None };
    let (min, max) = first_shape(key, |shape| match *shape {
        Shape::Durations { min, max } => Some((min, max)),
        _ => None,
    })?;
    if elements.is_empty() || elements.len() > MAX_DURATIONS {
        return Some(Err(Refusal::new(
            format!("`{}` has {} durations; an array holds 1 to {MAX_DURATIONS}", key.name, elements.len()),
            format!("for example `{} = [\"10s\", \"10s\", \"1m\"]`", key.name),
        )));
    }
    let read = |element| {
        let value = quantity(element, parse_duration)?;
        Some(value.and_then(|value| {
            if (min..=max).contains(&value) { Ok(value) } else { Err(out_of_range(key, min, max)) }
        }))
    };
    elements.iter().map(read).collect()
}

/// A node as a number with a unit; `None` if it is not a string.
pub fn quantity<T>(
    node: &Node,
    parse: impl FnOnce(&str) -> Result<T, UnitError>,
) -> Option<Result<T, Refusal>> {
    let Value::Text(text) = &node.value else { return None };
    Some(parse(&text.value).map_err(|error| unit_refusal(error, text)))
}

/// A unit error in which the value is shown as it was written.
pub fn unit_refusal(mut error: UnitError, written: &Text) -> Refusal {
    let (UnitError::Malformed { text, .. } | UnitError::Unit { text, .. } | UnitError::Range { text, .. }) =
        &mut error;
    let shown = quote(written.shown());
    // The error's own text puts the backquotes.
    *text = shown.trim_matches('`').to_owned();
    let message = error.to_string();
    match message.split_once("; ") {
        Some((reason, remedy)) => Refusal::new(reason, remedy),
        None => Refusal { message, help: None },
    }
}

pub(in crate::document) fn choice(key: &'static Key, text: &Text) -> Result<&'static str, Refusal> {
    let Some((names, later)) = first_shape(key, |shape| match *shape {
        Shape::Choice { names, later } => Some((names, later)),
        _ => None,
    }) else {
        return Err(Refusal { message: format!("`{}` is not a choice", key.name), help: None });
    };
    if let Some(name) = names.iter().find(|name| **name == text.value) {
        return Ok(name);
    }
    let list = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    if later.contains(&text.value.as_str()) {
        return Err(Refusal::new(
            format!("`{}` is not supported by this version", text.shown()),
            format!("use {list}"),
        ));
    }
    let help = match nearest(text.shown(), names.iter().copied()) {
        Some(near) => format!("did you mean `{} = \"{near}\"`?", key.name),
        None => format!("use {list}"),
    };
    Err(Refusal::new(format!("{} is not a value of `{}`", quote(text.shown()), key.name), help))
}

/// The complaint about a value of another kind than its key's.
pub fn wrong_kind(key: &'static Key, node: &Node) -> Diagnostic {
    let unit = first_shape(key, |shape| {
        matches!(shape, Shape::Duration { .. } | Shape::Rate | Shape::Share | Shape::Size).then_some(())
    });
    let finite = match node.value {
        Value::Integer(_) => true,
        Value::Float(number) => number.is_finite(),
        _ => false,
    };
    let message = if unit.is_some() && finite {
        format!("`{}` is a number without a unit", key.name)
    } else {
        format!("`{}` is {}; it must be {}", key.name, node.kind(), key.shape.expected())
    };
    Diagnostic::error(node.origin, message).help(format!("for example `{} = {}`", key.name, key.example))
}

fn first_shape<T>(key: &'static Key, pick: impl Fn(&Shape) -> Option<T>) -> Option<T> {
    match &key.shape {
        Shape::Any(shapes) => shapes.iter().find_map(pick),
        shape => pick(shape),
    }
}

/// The candidate that `text` is probably a misspelling of.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Names are short; comparing a long text with each would take a while and lead nowhere.
    const LONGEST: usize = 80;
    if text.len() > LONGEST {
        return None;
    }
    let text = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&text, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= candidate.len().max(text.len()) / 3
                || (text.len() > 3 && (candidate.starts_with(&text) || text.starts_with(candidate)))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Names in a sentence: `a`, `b` and `c`.
pub fn listed(names: &[&str], conjunction: &str) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(|name| format!("`{name}`")).collect();
            format!("{} {conjunction} `{last}`", most.join(", "))
        }
    }
}
