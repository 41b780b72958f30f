//! The lists of legal keys as a JSON Schema (draft 2020-12), for editors and other tools.
//!
//! What the reader accepts, the schema accepts. It is as strict as its means allow: unknown and missing keys, keys that
//! exclude each other, kinds of values, ranges of counts and spellings of quantities are told; what needs arithmetic
//! (`"400d"` is too long) or another table (the name of an enrollment) only the reader knows.

use serde_json::{Map, Value as Json, json};
use toml::de::DeTable;

use crate::document::node::{self, Node, Value};
use crate::document::schema::{Key, MAX_DURATIONS, MAX_NAME, OneOf, Shape, Table};
use crate::document::source::SourceId;
use crate::document::{MAX_ELEMENTS, MAX_NAMED, MAX_TABLES};

/// The schema of a document whose top level is `root`.
///
/// * `title`: what such a document is called
///
/// Tables under names that the user chooses may all be left out: there are commands that read a part of the document.
pub fn schema(root: &'static Table, title: &str) -> Json {
    let tables = root.with_inner();
    let definitions: Map<String, Json> =
        tables.iter().skip(1).map(|inner| (definition(inner), table(inner))).collect();
    let mut schema = table(root);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = title.into();
    schema["$defs"] = definitions.into();
    schema
}

/// The name of a table among the definitions: `fleet.NAME.start`.
fn definition(table: &Table) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = table.name.trim_start_matches('[').trim_end_matches(']');
    name.chars().map(|c| if plain(c) { c } else { '-' }).collect()
}

fn table(table: &Table) -> Json {
    let properties: Map<String, Json> =
        table.keys.iter().map(|key| (key.name.to_owned(), self::key(key))).collect();
    let required: Vec<&str> = table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({
        "description": table.about,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if !table.one_of.is_empty() {
        schema["allOf"] = table.one_of.iter().map(one_of).collect();
    }
    schema
}

fn one_of(one_of: &OneOf) -> Json {
    let OneOf { keys, required, reason } = one_of;
    let mut choices: Vec<Json> = keys.iter().map(|key| json!({ "required": [key] })).collect();
    if required.is_none() {
        choices.push(json!({ "not": { "anyOf": choices } }));
    }
    json!({ "description": reason, "oneOf": choices })
}

fn key(key: &Key) -> Json {
    let mut schema = shape(&key.shape);
    schema["description"] = key.about.into();
    schema["examples"] = json!([from_toml(key.example)]);
    if let Some(default) = key.default {
        schema["default"] = from_toml(default);
    }
    schema
}

/// Every shape has its line here, so that a new one cannot be forgotten.
fn shape(shape: &Shape) -> Json {
    match *shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Count { min, max } => {
            let mut schema = json!({ "type": "integer", "minimum": min });
            // As much as TOML can write is no limit; and readers of JSON may round numbers of that size.
            if max < i64::MAX as u64 {
                schema["maximum"] = max.into();
            }
            schema
        }
        Shape::Duration { min, .. } => quantity(&duration_pattern(), min.is_zero()),
        Shape::Durations { min, .. } => json!({
            "type": "array",
            "items": quantity(&duration_pattern(), min.is_zero()),
            "minItems": 1,
            "maxItems": MAX_DURATIONS,
        }),
        Shape::Rate => quantity(&rate_pattern(), false),
        Shape::Share => quantity(&share_pattern(), true),
        Shape::Size => quantity(&size_pattern(), true),
        Shape::Choice { names, .. } => {
            json!({ "anyOf": [{ "enum": names }, { "type": "string", "pattern": FROM_ENVIRONMENT }] })
        }
        Shape::Table(table) => reference(table),
        Shape::Tables(table) => json!({
            "type": "object",
            "propertyNames": { "pattern": format!("^[a-z0-9_-]{{1,{MAX_NAME}}}$") },
            "additionalProperties": reference(table),
            "maxProperties": MAX_TABLES,
        }),
        Shape::Array(table) => json!({
            "type": "array",
            "items": reference(table),
            "minItems": 1,
            "maxItems": MAX_ELEMENTS,
        }),
        Shape::Mapping(what) => json!({
            "type": "object",
            "propertyNames": { "description": what },
            "additionalProperties": { "type": "string" },
            "maxProperties": MAX_NAMED,
        }),
        Shape::Limits(what, table) => json!({
            "type": "object",
            "propertyNames": { "description": what },
            "additionalProperties": { "anyOf": [{ "type": "string" }, reference(table)] },
            "maxProperties": MAX_NAMED,
        }),
        // Editors show the description of the key, and not this one; other tools may.
        Shape::Free(what) => json!({ "type": "object", "additionalProperties": { "description": what } }),
        Shape::Any(shapes) => json!({ "anyOf": shapes.iter().map(self::shape).collect::<Vec<_>>() }),
    }
}

fn reference(table: &Table) -> Json {
    json!({ "$ref": format!("#/$defs/{}", definition(table)) })
}

/// A string that matches `pattern`, or in which a variable is replaced before it is read.
///
/// Patterns stand with each key rather than among the definitions: editors show what stands beside a `$ref` or leave it
/// out as they like. None looks ahead or behind, which not all engines can.
fn quantity(pattern: &str, may_be_zero: bool) -> Json {
    let mut schema = json!({ "type": "string", "pattern": format!("{pattern}|{FROM_ENVIRONMENT}") });
    if !may_be_zero {
        schema["allOf"] = json!([{ "pattern": format!("[1-9]|{FROM_ENVIRONMENT}") }]);
    }
    schema
}

/// A variable that is replaced ([`environment`](crate::document::environment)).
const FROM_ENVIRONMENT: &str = r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}";

/// A number without sign as [`units`](crate::units) reads it, in a text where `e` belongs to a unit.
const PLAIN_NUMBER: &str = r"(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\._*[0-9][0-9_]*)";

const EXPONENT: &str = r"(?:[eE]_*[+-]?_*[0-9][0-9_]*)?";

/// What [`parse_duration`](crate::units::parse_duration) reads.
fn duration_pattern() -> String {
    format!(r"^\s*(?:{PLAIN_NUMBER}\s*(?:ns|us|µs|μs|ms|s|sec|m|min|h|d)\s*)+$")
}

/// What [`Rate`](crate::units::Rate) reads.
fn rate_pattern() -> String {
    let unit = "s|sec|second|min|m|minute|h|hour|d|day";
    format!(r"^\s*{PLAIN_NUMBER}{EXPONENT}\s*/\s*(?:{unit})\s*$")
}

/// What [`Share`](crate::units::Share) reads.
fn share_pattern() -> String {
    format!(r"^\s*{PLAIN_NUMBER}{EXPONENT}\s*%\s*$")
}

/// What [`ByteSize`](crate::units::ByteSize) reads.
fn size_pattern() -> String {
    format!(r"^\s*{PLAIN_NUMBER}\s*(?:B|kB|KB|MB|GB|KiB|MiB|GiB)\s*$")
}

/// A value of the lists, which is written as TOML. `null` if it is none; a test of the lists finds those.
fn from_toml(text: &str) -> Json {
    let line = format!("value = {text}");
    let Ok(parsed) = DeTable::parse(&line) else { return Json::Null };
    let value = parsed.into_inner().into_iter().next().map(|(_, value)| value);
    value.map_or(Json::Null, |value| to_json(&node::value(value, SourceId::FILE, 0)))
}

fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::Table(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.node))).collect()
        }
        Value::Array(elements) => elements.iter().map(to_json).collect(),
        Value::Text(text) => text.shown().into(),
        Value::Integer(number) => i64::try_from(*number).map_or(Json::Null, Json::from),
        Value::Float(number) => Json::from(*number),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime | Value::Unknown => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::environment::is_variable_name;
    use crate::document::schema::is_name;
    use crate::units::{ByteSize, Rate, Share, UnitError, parse_duration};
    use proptest::prelude::*;
    use std::time::Duration;

    fn accepts(schema: &Json, value: &str) -> bool {
        jsonschema::validator_for(schema).unwrap().is_valid(&value.into())
    }

    #[test]
    fn spellings_of_quantities_are_those_of_units() {
        let any = Shape::Duration { min: Duration::ZERO, max: Duration::MAX };
        let positive = Shape::Duration { min: Duration::from_nanos(1), max: Duration::MAX };
        for (shape, right, wrong) in [
            (any, "1m30s|1 m 30 s|.5h|1_000 µs|1.ms|0s| 5d |${env:X}", "30|s|1e3s|1x|1s2|1mins|-1s||${env:}"),
            (positive, "1ns|0m1s|x ${env:A_1}", "0s|0.0s|"),
            (Shape::Rate, "10/s|1.5 / h|1e3/min|1e_+_3/day|${env:R}/s", "10|/s|0/s|10/w|5s|5 %|-1/s|1//s"),
            (Shape::Share, "5 %|0.5%|0%|1e1 %", "5|%|-1 %|5 %%|5/s"),
            (Shape::Size, "300 B|2KiB|1.5 MiB|0 B", "300|1e3 B|2 kib|B|1 XB"),
        ] {
            let schema = super::shape(&shape);
            for text in right.split('|') {
                assert!(accepts(&schema, text), "{shape:?} accepts {text:?}");
            }
            for text in wrong.split('|') {
                assert!(!accepts(&schema, text), "{shape:?} refuses {text:?}");
            }
        }
    }

    /// Whether the text is spelled right; its value may be out of range.
    fn is_spelled<T>(parsed: Result<T, UnitError>) -> bool {
        matches!(parsed, Ok(_) | Err(UnitError::Range { .. }))
    }

    /// Numbers that are infinite count as misspelt for the parser, and no pattern can tell.
    fn is_modest(text: &str) -> bool {
        !text
            .split(['e', 'E'])
            .skip(1)
            .any(|exponent| exponent.chars().filter(char::is_ascii_digit).count() > 2)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn patterns_and_parsers_agree_on_every_spelling(
            text in "([0-9]{0,3}[._eE+-]{0,2}[0-9_.]{0,3} ?(s|ms|m|min|h|d|µs|μs|ns|us|sec|/s|/min| / day|/|%| %|B|kB|KiB|GB|x)? ?){1,2}"
        ) {
            static VALIDATORS: std::sync::LazyLock<[jsonschema::Validator; 4]> = std::sync::LazyLock::new(|| {
                [duration_pattern(), rate_pattern(), share_pattern(), size_pattern()]
                    .map(|pattern| jsonschema::validator_for(&quantity(&pattern, true)).unwrap())
            });
            let spelled = [
                is_spelled(parse_duration(&text)),
                is_spelled(text.parse::<Rate>()),
                is_spelled(text.parse::<Share>()),
                is_spelled(text.parse::<ByteSize>()),
            ];
            for (validator, spelled) in VALIDATORS.iter().zip(spelled) {
                let matches = validator.is_valid(&text.as_str().into());
                prop_assert!(matches || !spelled, "{text:?} is read but does not match");
                prop_assert!(spelled || !matches || !is_modest(&text), "{text:?} matches but is not read");
            }
        }

        #[test]
        fn names_agree(text in "[a-zA-Z0-9_.-]{0,3}([a-z]{0,70})?", variable in "[a-zA-Z0-9_.-]{0,4}") {
            static INNER: Table = Table { name: "x", about: "", keys: &[], later: &[], one_of: &[] };
            let schema = json!({ "propertyNames": shape(&Shape::Tables(&INNER))["propertyNames"] });
            let mut document = Map::new();
            document.insert(text.clone(), Json::Null);
            prop_assert_eq!(jsonschema::validator_for(&schema).unwrap().is_valid(&document.into()), is_name(&text));
            let schema = json!({ "pattern": FROM_ENVIRONMENT });
            prop_assert_eq!(accepts(&schema, &format!("${{env:{variable}}}")), is_variable_name(&variable));
        }
    }
}
