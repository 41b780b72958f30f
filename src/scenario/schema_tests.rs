//! The JSON Schema and the readers are held against each other, both ways, from the lists of keys.
//!
//! Documents are JSON values here: written as TOML for the readers, and parsed back from that TOML for the schema.

use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use toml::de::{DeTable, DeValue};

use super::*;
use crate::document::schema::{Key, MAX_DURATIONS, OneOf, Shape, Table};
use crate::document::{MAX_ELEMENTS, json_schema};

static SCHEMA: LazyLock<Json> = LazyLock::new(|| json_schema::schema(&keys::SCENARIO, "Muster scenario"));
static VALIDATOR: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).expect("the schema is a JSON Schema"));

/// Every scenario that is shipped.
pub(super) fn shipped_scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect()
}

/// For scenarios that load.
pub(super) fn assert_schema_accepts(text: &str) {
    let document = parsed(text);
    let complaints: Vec<String> =
        VALIDATOR.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(complaints.is_empty(), "{}\n{text}", complaints.join("\n"));
}

fn parsed(text: &str) -> Json {
    table_to_json(DeTable::parse(text).expect("a scenario that loads is TOML").get_ref())
}

fn table_to_json(table: &DeTable<'_>) -> Json {
    let entries = table.iter();
    entries.map(|(key, value)| (key.get_ref().to_string(), value_to_json(value.get_ref()))).collect()
}

fn value_to_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).expect("64 bits").into()
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().expect("a number").into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(array) => array.iter().map(|element| value_to_json(element.get_ref())).collect(),
        DeValue::Table(table) => table_to_json(table),
    }
}

/// A document as TOML, one line for each key of its top level.
fn written(document: &Json) -> String {
    fn inline(value: &Json) -> String {
        match value {
            Json::Object(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{key:?} = {}", inline(value))).collect();
                format!("{{ {} }}", entries.join(", "))
            }
            Json::Array(elements) => {
                format!("[{}]", elements.iter().map(inline).collect::<Vec<_>>().join(", "))
            }
            // Strings, numbers and truth are written alike in both.
            value => value.to_string(),
        }
    }
    let entries = document.as_object().expect("a table").iter();
    entries.map(|(key, value)| format!("{key:?} = {}\n", inline(value))).collect()
}

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "TEXT" | "PROXY_USER" | "PROXY_PASSWORD" => "x",
        "DURATION" => "30s",
        "RATE" => "5/s",
        "SHARE" => "5 %",
        "SIZE" => "5 B",
        "CHOICE" => "https",
        _ => return None,
    };
    Some(value.to_owned())
}

/// What the readers complain about; parts of the document are not held against each other.
fn complaints(text: &str) -> Vec<String> {
    let mut diagnostics = Diagnostics::default();
    let id = diagnostics.add_source("s.toml", text);
    if let Some(mut root) = node::parse(id, &mut diagnostics) {
        environment::replace(&mut root, &variable, &mut diagnostics);
        if let Some(reader) = written::open(&root, &mut diagnostics) {
            written::read(&reader, &mut diagnostics);
        }
    }
    diagnostics.iter().map(|diagnostic| diagnostic.message.clone()).collect()
}

/// Whether readers and schema accept a document.
fn judged(document: &Json) -> (bool, bool) {
    let text = written(document);
    (complaints(&text).is_empty(), VALIDATOR.is_valid(&parsed(&text)))
}

fn assert_accepted(document: &Json) {
    let text = written(document);
    assert_eq!(complaints(&text), [""; 0], "{text}");
    assert_schema_accepts(&text);
}

fn assert_refused(document: &Json, why: &str) {
    assert_eq!(judged(document), (false, false), "(readers, schema) on {why}:\n{}", written(document));
}

fn from_toml(text: &str) -> Json {
    parsed(&format!("value = {text}"))["value"].take()
}

fn tables() -> Vec<&'static Table> {
    keys::SCENARIO.with_inner()
}

/// A table with what it must have, and nothing else.
fn minimal(table: &'static Table) -> Json {
    let mut value = json!({});
    let first = table.one_of.iter().filter(|one_of| one_of.required.is_some()).map(|one_of| one_of.keys[0]);
    let required = table.keys.iter().filter(|key| key.required).map(|key| key.name);
    for name in required.chain(first) {
        value[name] = from_toml(table.key(name).unwrap().example);
    }
    value
}

/// Sets a key in a table, in place of those that it excludes.
fn put(table: &'static Table, value: &mut Json, key: &Key, inner: Json) {
    for OneOf { keys, .. } in table.one_of.iter().filter(|one_of| one_of.keys.contains(&key.name)) {
        value.as_object_mut().unwrap().retain(|name, _| !keys.contains(&name.as_str()));
    }
    value[key.name] = inner;
    // What a key has a meaning beside, where this is no matter of the lists.
    if table.name == "[enrollment.NAME]" && key.name == "hub" {
        value["allocation"] = "static".into();
    }
    if key.name == "units" {
        value["tier"] = "S2".into();
    }
}

/// A minimal table with one key more.
fn with_key(table: &'static Table, key: &Key, inner: Json) -> Json {
    let mut value = minimal(table);
    put(table, &mut value, key, inner);
    value
}

/// How a key holds a table.
enum Held {
    Plainly,
    /// Under a chosen name.
    Named,
    /// In an array.
    Listed,
}

/// The tables and keys that lead from the document to a table, and how each holds the next.
fn way_to(wanted: &'static Table) -> Vec<(&'static Table, &'static Key, Held)> {
    fn leads(shape: &'static Shape, wanted: &'static Table) -> Option<Held> {
        match shape {
            Shape::Table(table) => std::ptr::eq(*table, wanted).then_some(Held::Plainly),
            Shape::Tables(table) | Shape::Limits(_, table) => {
                std::ptr::eq(*table, wanted).then_some(Held::Named)
            }
            Shape::Array(table) => std::ptr::eq(*table, wanted).then_some(Held::Listed),
            Shape::Any(shapes) => shapes.iter().find_map(|shape| leads(shape, wanted)),
            _ => None,
        }
    }
    let mut way = Vec::new();
    let mut at = wanted;
    while !std::ptr::eq(at, &raw const keys::SCENARIO) {
        let mut steps = tables()
            .into_iter()
            .flat_map(|table| table.keys.iter().map(move |key| (table, key)))
            .filter_map(|(table, key)| Some((table, key, leads(&key.shape, at)?)));
        let step = steps.next().unwrap_or_else(|| panic!("nothing leads to {}", at.name));
        at = step.0;
        way.insert(0, step);
    }
    way
}

/// A minimal document that holds `value` as a table of this kind.
fn document(table: &'static Table, mut value: Json) -> Json {
    for (outer, key, held) in way_to(table).into_iter().rev() {
        value = match held {
            Held::Plainly => value,
            Held::Named => json!({ "one": value }),
            Held::Listed => json!([value]),
        };
        value = with_key(outer, key, value);
    }
    value
}

const STRINGS: [&str; 10] = ["zzz", "", "5", "5s", "5/s", "5 %", "5 KiB", "5x", "0s", "0/s"];

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "float",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "table",
    }
}

fn kinds(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::Boolean => vec!["boolean"],
        Shape::Count { .. } => vec!["integer"],
        Shape::Texts | Shape::Durations { .. } | Shape::Array(_) => vec!["array"],
        Shape::Table(_) | Shape::Tables(_) | Shape::Mapping(_) | Shape::Limits(..) | Shape::Free(_) => {
            vec!["table"]
        }
        Shape::Text
        | Shape::Duration { .. }
        | Shape::Rate
        | Shape::Share
        | Shape::Size
        | Shape::Choice { .. } => vec!["string"],
        Shape::Any(shapes) => shapes.iter().flat_map(kinds).collect(),
    }
}

/// Values that a key of this shape must not have.
fn wrong(shape: &'static Shape) -> Vec<Json> {
    let kinds = kinds(shape);
    let others =
        [json!(5), json!(1.5), json!(true), json!("zzz"), json!([]), json!([1]), json!({ "zzz": 1 })];
    let mut wrong: Vec<Json> =
        others.into_iter().filter(|other| !kinds.contains(&self::kind(other))).collect();
    let strings_but = |right: &[&str]| -> Vec<Json> {
        STRINGS.into_iter().filter(|text| !right.contains(text)).map(Json::from).collect()
    };
    match shape {
        Shape::Text | Shape::Boolean | Shape::Free(_) => {}
        Shape::Texts => wrong.extend([json!([1]), json!(["a", 1])]),
        Shape::Count { min, max } => {
            wrong.push(json!(*min as i64 - 1));
            wrong.extend((*max < i64::MAX as u64).then(|| json!(max + 1)));
        }
        Shape::Duration { min, .. } if min.is_zero() => wrong.extend(strings_but(&["5s", "0s"])),
        Shape::Duration { .. } => wrong.extend(strings_but(&["5s"])),
        Shape::Durations { .. } => {
            wrong.extend([json!([]), json!([1]), json!(["5s", "5/s"]), json!(vec!["5s"; MAX_DURATIONS + 1])]);
        }
        Shape::Rate => wrong.extend(strings_but(&["5/s"])),
        Shape::Share => wrong.extend(strings_but(&["5 %"])),
        Shape::Size => wrong.extend(strings_but(&["5 KiB"])),
        Shape::Choice { later, .. } => {
            wrong.extend(strings_but(&[]));
            wrong.extend(later.iter().map(|name| json!(name)));
        }
        Shape::Table(_) => wrong.push(json!({ "zzz": 1 })),
        Shape::Array(table) => {
            wrong.extend([json!([]), json!([5]), json!([{ "zzz": 1 }])]);
            wrong.push(json!(vec![minimal(table); MAX_ELEMENTS + 1]));
        }
        Shape::Tables(table) => {
            wrong.extend([json!({ "one": 5 }), json!({ "Not a name": minimal(table) })]);
        }
        Shape::Mapping(_) => wrong.push(json!({ "failed.share": 5 })),
        Shape::Limits(_, table) => {
            let mut more = minimal(table);
            more["zzz"] = json!(1);
            wrong.extend([json!({ "failed.share": 5 }), json!({ "failed.share": more })]);
        }
        Shape::Any(shapes) => {
            let refused_by = |shape: &'static Shape, value: &Json| {
                !self::kinds(shape).contains(&kind(value)) || self::wrong(shape).contains(value)
            };
            let all = shapes.iter().flat_map(self::wrong);
            wrong = all.filter(|value| shapes.iter().all(|shape| refused_by(shape, value))).collect();
        }
    }
    wrong
}

#[test]
fn every_shipped_scenario_is_valid() {
    assert!(shipped_scenarios().len() >= 7);
    for path in shipped_scenarios() {
        assert_schema_accepts(&std::fs::read_to_string(path).unwrap());
    }
}

#[test]
fn every_table_and_key_is_described() {
    let tables = tables();
    let definitions = SCHEMA["$defs"].as_object().unwrap();
    assert_eq!(definitions.len() + 1, tables.len(), "definitions have names of their own");
    for table in tables {
        let mut found =
            definitions.values().chain([&*SCHEMA]).filter(|schema| schema["description"] == table.about);
        let schema = found.next().unwrap_or_else(|| panic!("{} is described", table.name));
        assert_eq!(schema["properties"].as_object().unwrap().len(), table.keys.len(), "{}", table.name);
        for key in table.keys {
            let schema = &schema["properties"][key.name];
            assert_eq!(schema["description"], key.about, "{}: {}", table.name, key.name);
            assert_eq!(schema["examples"], json!([from_toml(key.example)]));
            assert_eq!(schema.get("default"), key.default.map(from_toml).as_ref());
        }
    }
}

#[test]
fn examples_and_defaults_are_accepted() {
    for table in tables() {
        assert_accepted(&document(table, minimal(table)));
        for key in table.keys {
            for text in [Some(key.example), key.default].into_iter().flatten() {
                assert_accepted(&document(table, with_key(table, key, from_toml(text))));
            }
        }
    }
}

#[test]
fn wrong_values_are_refused() {
    let mut count = 0;
    for table in tables() {
        for key in table.keys {
            let wrong = wrong(&key.shape);
            assert!(wrong.len() > 3, "{}: {}", table.name, key.name);
            for value in wrong {
                let why = format!("`{}` of {}", key.name, table.name);
                assert_refused(&document(table, with_key(table, key, value)), &why);
                count += 1;
            }
        }
    }
    assert!(count > 500, "{count} values");
}

#[test]
fn unknown_and_later_keys_are_refused() {
    for table in tables() {
        for name in table.later.iter().map(|later| later.name).chain(["zzz"]) {
            let mut value = minimal(table);
            value[name] = json!("5s");
            assert_refused(&document(table, value), &format!("`{name}` in {}", table.name));
        }
    }
}

#[test]
fn missing_keys_are_refused() {
    for table in tables() {
        let exactly = table.one_of.iter().filter(|one_of| one_of.required.is_some());
        let required = table.keys.iter().filter(|key| key.required).map(|key| key.name);
        for name in required.chain(exactly.map(|one_of| one_of.keys[0])) {
            let mut value = minimal(table);
            value.as_object_mut().unwrap().remove(name);
            assert_refused(&document(table, value), &format!("no `{name}` in {}", table.name));
        }
    }
}

#[test]
fn keys_that_exclude_each_other_are_refused() {
    for table in tables() {
        for OneOf { keys, .. } in table.one_of {
            for (index, first) in keys.iter().enumerate() {
                for second in &keys[index + 1..] {
                    let [first, second] = [first, second].map(|name| table.key(name).unwrap());
                    let mut value = with_key(table, first, from_toml(first.example));
                    value[second.name] = from_toml(second.example);
                    let why = format!("`{}` and `{}` in {}", first.name, second.name, table.name);
                    assert_refused(&document(table, value), &why);
                }
            }
        }
    }
}

/// Choices that a random document is made of; where they are used up, everything is short and right.
struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
    mistakes: bool,
}

impl Choices<'_> {
    fn new(bytes: &[u8]) -> Choices<'_> {
        let mut choices = Choices { bytes: bytes.iter(), mistakes: false };
        choices.mistakes = choices.one_in(2);
        choices
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 1
    }

    fn mistake(&mut self) -> bool {
        self.mistakes && self.one_in(30)
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    fn table(&mut self, table: &'static Table) -> Json {
        let mut value = json!({});
        for one_of in table.one_of {
            // Beyond the last there is none.
            let choices = one_of.keys.len() + usize::from(one_of.required.is_none() || self.mistake());
            if let Some(name) = one_of.keys.get(self.below(choices)) {
                value[*name] = self.key(table.key(name).unwrap());
            }
        }
        for key in table.keys {
            let excluded = table.one_of.iter().any(|one_of| one_of.keys.contains(&key.name));
            let there = match (key.required, excluded) {
                (true, _) => !self.mistake(),
                (_, true) => self.mistake(),
                _ => self.one_in(3),
            };
            if there {
                value[key.name] = self.key(key);
            }
        }
        if self.mistake() {
            value["zzz"] = json!(1);
        }
        if self.mistake() && !table.later.is_empty() {
            let later = &table.later[self.below(table.later.len())];
            value[later.name] = json!("5s");
        }
        value
    }

    fn key(&mut self, key: &'static Key) -> Json {
        if self.one_in(3) { from_toml(key.example) } else { self.value(&key.shape, key) }
    }

    fn value(&mut self, shape: &'static Shape, key: &'static Key) -> Json {
        if self.mistake() {
            return self.pick(&wrong(shape));
        }
        match shape {
            Shape::Text => self.pick(&[from_toml(key.example), json!("x"), json!("${env:TEXT}")]),
            Shape::Texts => self.pick(&[json!([]), json!(["a.b.c", "x-${env:TEXT}.y.z"])]),
            Shape::Boolean => self.pick(&[json!(false), json!(true)]),
            Shape::Count { min, max } => {
                let middle = min + (max - min) / 2;
                self.pick(&[json!(min), json!(middle.min(1 << 40)), json!(max)])
            }
            Shape::Duration { .. } => {
                let texts = ["30s", "1m30s", " 1 m .5 s ", "1_0.0ms", "2d", "0s", "1ns", "400d"];
                self.pick(
                    &texts.map(Json::from).into_iter().chain([json!("${env:DURATION}")]).collect::<Vec<_>>(),
                )
            }
            Shape::Durations { .. } => {
                self.pick(&[json!(["30s"]), json!(["30s", "1m .5 s", "${env:DURATION}"])])
            }
            Shape::Rate => self.pick(&["5/s", "1e2 / min", "0.5/day", "9999999/s", "${env:RATE}"]).into(),
            Shape::Share => self.pick(&["5 %", "0%", "100 %", "101 %", "${env:SHARE}"]).into(),
            Shape::Size => self.pick(&["5 B", "2 KiB", "1.5 KB", "0.1 B", "${env:SIZE}"]).into(),
            Shape::Choice { names, .. } => self.pick(&[names, &["${env:CHOICE}"][..]].concat()).into(),
            Shape::Table(table) => self.table(table),
            Shape::Array(table) => (0..=self.below(2)).map(|_| self.table(table)).collect(),
            Shape::Tables(table) => {
                let names = if self.mistake() { ["one", "Two"] } else { ["one", "t-w_0"] };
                let names = &names[..self.below(names.len() + 1)];
                names.iter().map(|name| ((*name).to_owned(), self.table(table))).collect()
            }
            Shape::Limits(_, table) => {
                let table = self.table(table);
                self.pick(&[json!({}), json!({ "failed.share": "= 0 %" }), json!({ "failed.share": table })])
            }
            Shape::Mapping(_) => {
                self.pick(&[json!({}), json!({ "failed.share": "= 0 %", "x": "${env:TEXT}" })])
            }
            // What no twin may hold is for the readers to know, as is what no JSON has.
            Shape::Free(_) => self.pick(&[json!({}), json!({ "a": [1, { "b": 0.5 }], "c": "${env:TEXT}" })]),
            Shape::Any(shapes) => {
                let shape = &shapes[self.below(shapes.len())];
                self.value(shape, key)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_the_schema_refuses_the_readers_refuse(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let document = Choices::new(&bytes).table(&keys::SCENARIO);
        let (read, valid) = judged(&document);
        prop_assert!(valid || !read, "the readers accept, the schema does not:\n{}", written(&document));
    }
}

#[test]
fn random_documents_are_both_right_and_wrong() {
    let mut random = 1u64;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..1_000 {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 56) as u8
            })
            .collect();
        *counts.entry(judged(&Choices::new(&bytes).table(&keys::SCENARIO))).or_insert(0) += 1;
    }
    for agreed in [(true, true), (false, false)] {
        assert!(counts.get(&agreed).is_some_and(|count| *count > 150), "(readers, schema): {counts:?}");
    }
}
