//! What holds for every key of a document, and where it was written: for people who ask what a scenario comes to.

use crate::document::diagnostics::Diagnostics;
use crate::document::environment;
use crate::document::key_mask;
use crate::document::node::{Entry, Node, Value};
use crate::document::render;
use crate::document::schema::{Key, Shape, Table};
use crate::document::source::{Origin, SourceId};

/// One key and what holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The keys that lead to it, as `--set` takes them: `thresholds."failed.share"`.
    pub path: String,
    /// Its value as TOML would write it. `${env:NAME}` stands as it was written, and `…` for what must not be shown.
    pub value: String,
    /// Where that comes from.
    pub origin: ResolvedOrigin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedOrigin {
    /// It is written in the file.
    File {
        /// The path as the user gave it.
        name: String,
        /// Line of the key, from 1.
        line: usize,
        /// Column of the key in characters, from 1.
        column: usize,
    },
    /// It was set on the command line.
    Set {
        /// The argument of `--set`.
        text: String,
    },
    /// Variables were replaced in it.
    Environment {
        /// Their names, in the order of the text, each once.
        names: Vec<String>,
        /// Where they are referred to: [`Self::File`] or [`Self::Set`].
        written: Box<Self>,
    },
    /// It is written nowhere.
    Default,
}

/// Whether something that is not there is worth telling: the table that lacks it, the key, and what the table has.
///
/// It is asked about keys with a default, and about tables, which are told key by key then.
pub type InUse<'a> = &'a dyn Fn(&'static Table, &'static Key, &[Entry]) -> bool;

/// Every key of `root` that is there, and those absent ones with a default that are `in_use`, in the order of the lists;
/// tables under chosen names in the order of the text. Keys that are on no list are left out.
///
/// * `root`: the document after `--set` and the environment were laid over it
/// * `diagnostics`: the document's own, after it was read: readers conceal keys while they read
pub fn resolve(
    table: &'static Table,
    root: &Node,
    diagnostics: &Diagnostics,
    in_use: InUse<'_>,
) -> Vec<Resolved> {
    let file = diagnostics.sources().source(SourceId::FILE).map_or("", |source| source.text.as_str());
    let line_starts = std::iter::once(0).chain(file.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let mut walk = Walk { diagnostics, in_use, line_starts, found: Vec::new() };
    walk.table(table, "", root.entries().unwrap_or_default());
    walk.found
}

struct Walk<'a> {
    diagnostics: &'a Diagnostics,
    in_use: InUse<'a>,
    /// Where the lines of the file start.
    line_starts: Vec<usize>,
    found: Vec<Resolved>,
}

impl Walk<'_> {
    fn table(&mut self, table: &'static Table, path: &str, entries: &[Entry]) {
        let entry = |name: &str| entries.iter().find(|entry| entry.key == name);
        for key in table.keys {
            let path = join(path, key.name);
            if let Some(entry) = entry(key.name) {
                self.present(&key.shape, path, entry);
                continue;
            }
            let excluded = table.one_of.iter().any(|one_of| {
                one_of.keys.contains(&key.name) && one_of.keys.iter().any(|other| entry(other).is_some())
            });
            if excluded {
                continue;
            }
            match (key.default, &key.shape) {
                (Some(default), _) if (self.in_use)(table, key, entries) => {
                    let value = default.to_owned();
                    self.found.push(Resolved { path, value, origin: ResolvedOrigin::Default });
                }
                (None, Shape::Table(inner)) if (self.in_use)(table, key, entries) => {
                    self.table(inner, &path, &[]);
                }
                _ => {}
            }
        }
    }

    fn present(&mut self, shape: &'static Shape, path: String, entry: &Entry) {
        let Some(entries) = entry.node.entries() else { return self.value(path, entry) };
        match shape {
            Shape::Table(table) => self.table(table, &path, entries),
            Shape::Tables(table) => {
                for named in entries {
                    let path = join(&path, &named.key);
                    match named.node.entries() {
                        Some(entries) => self.table(table, &path, entries),
                        None => self.value(path, named),
                    }
                }
            }
            Shape::Limits(_, table) => {
                for named in entries {
                    let path = join(&path, &named.key);
                    match named.node.entries() {
                        Some(entries) => self.table(table, &path, entries),
                        None => self.value(path, named),
                    }
                }
            }
            Shape::Mapping(_) => {
                for named in entries {
                    self.value(join(&path, &named.key), named);
                }
            }
            Shape::Any(shapes) => {
                let holds =
                    |shape: &&Shape| matches!(shape, Shape::Table(_) | Shape::Tables(_) | Shape::Mapping(_));
                match shapes.iter().find(holds) {
                    Some(shape) => self.present(shape, path, entry),
                    None => self.value(path, entry),
                }
            }
            // A table where none belongs, about which there is a complaint; or one that is a value.
            Shape::Free(_)
            | Shape::Text
            | Shape::Texts
            | Shape::Boolean
            | Shape::Count { .. }
            | Shape::Duration { .. }
            | Shape::Durations { .. }
            | Shape::Array(_)
            | Shape::Rate
            | Shape::Share
            | Shape::Size
            | Shape::Choice { .. } => self.value(path, entry),
        }
    }

    fn value(&mut self, path: String, entry: &Entry) {
        let mut names = Vec::new();
        let value = self.toml(&entry.node, &mut names);
        let written = self.place(entry.key_origin);
        let origin = if names.is_empty() {
            written
        } else {
            ResolvedOrigin::Environment { names, written: Box::new(written) }
        };
        self.found.push(Resolved { path, value, origin });
    }

    /// A value as TOML; adds the variables that were replaced in it to `names`.
    fn toml(&self, node: &Node, names: &mut Vec<String>) -> String {
        match &node.value {
            Value::Text(text) => {
                if let Some(written) = &text.written {
                    for name in environment::names(written) {
                        if !names.iter().any(|known| known == name) {
                            names.push(name.to_owned());
                        }
                    }
                }
                if self.is_concealed(node.origin) { "\"…\"".to_owned() } else { quoted(text.shown()) }
            }
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}").to_lowercase(),
            Value::Boolean(value) => value.to_string(),
            Value::Array(elements) => {
                let elements: Vec<String> =
                    elements.iter().map(|element| self.toml(element, names)).collect();
                format!("[{}]", elements.join(", "))
            }
            Value::Table(entries) if entries.is_empty() => "{}".to_owned(),
            Value::Table(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| format!("{} = {}", segment(&entry.key), self.toml(&entry.node, names)))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
            Value::Datetime | Value::Unknown => self.source_text(node.origin),
        }
    }

    fn place(&self, origin: Origin) -> ResolvedOrigin {
        if origin.source != SourceId::FILE {
            return ResolvedOrigin::Set { text: self.source_text(Origin::whole(origin.source)) };
        }
        let source = self.diagnostics.sources().source(origin.source);
        let (name, text) = source.map_or(("", ""), |source| (source.name.as_str(), source.text.as_str()));
        let at = origin.span.map_or(0, |span| span.start.min(text.len()));
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let column = text[self.line_starts[line - 1]..at].chars().count() + 1;
        ResolvedOrigin::File { name: name.to_owned(), line, column }
    }

    fn is_concealed(&self, origin: Origin) -> bool {
        let Some(span) = origin.span else { return false };
        self.diagnostics.secrets().iter().any(|secret| {
            secret.source == origin.source
                && secret.span.is_none_or(|secret| secret.start < span.end && span.start < secret.end)
        })
    }

    /// The text at a place, without what is concealed in it.
    fn source_text(&self, origin: Origin) -> String {
        let Some(source) = self.diagnostics.sources().source(origin.source) else { return String::new() };
        let span = origin.span.map_or(0..source.text.len(), |span| span.start..span.end);
        let mut secrets: Vec<std::ops::Range<usize>> = self
            .diagnostics
            .secrets()
            .iter()
            .filter(|secret| secret.source == origin.source)
            .map(|secret| secret.span.map_or(span.clone(), |secret| secret.start..secret.end))
            .filter(|secret| secret.start < span.end && span.start < secret.end)
            .collect();
        secrets.sort_by_key(|secret| secret.start);
        let mut text = String::new();
        let mut from = span.start;
        for secret in secrets {
            text.push_str(source.text.get(from..secret.start.max(from)).unwrap_or_default());
            text.push('…');
            from = secret.end.max(from);
        }
        text.push_str(source.text.get(from..span.end.max(from)).unwrap_or_default());
        render::visible(&text)
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { segment(key) } else { format!("{path}.{}", segment(key)) }
}

/// A key as it stands in a path.
fn segment(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(bare) { key_mask::mask(key) } else { quoted(key) }
}

/// A string in quotes, with nothing in it that a terminal would obey.
fn quoted(text: &str) -> String {
    let text = key_mask::mask(text);
    let plain = |c: char| matches!(c, ' '..='~') && c != '\'';
    // JSON reads better in the quotes that people would use for it.
    if text.contains(['"', '\\']) && text.chars().all(plain) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            _ if render::visible_as_it_is(c) => quoted.push(c),
            _ => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{node, overlay};

    static PLACE: Table = Table {
        name: "[outer.NAME.place]",
        about: "A place.",
        keys: &[
            Key::new("x", Shape::Count { min: 0, max: 9 }, "1", "Across.").default("0"),
            Key::new("y", Shape::Count { min: 0, max: 9 }, "1", "Down."),
        ],
        later: &[],
        one_of: &[],
    };

    static INNER: Table = Table {
        name: "[outer.NAME]",
        about: "One of several.",
        keys: &[
            Key::new("size", Shape::Size, "\"2 KiB\"", "A size.").default("\"1 KiB\""),
            Key::new("place", Shape::Any(&[Shape::Text, Shape::Table(&PLACE)]), "\"top\"", "Where."),
            Key::new("names", Shape::Texts, "[\"a\"]", "Names."),
        ],
        later: &[],
        one_of: &[],
    };

    static SINGLE: Table = Table {
        name: "[single]",
        about: "There is one.",
        keys: &[Key::new("share", Shape::Share, "\"5 %\"", "How much.").default("\"1 %\"")],
        later: &[],
        one_of: &[],
    };

    static ROOT: Table = Table {
        name: "the document",
        about: "All.",
        keys: &[
            Key::new("one", Shape::Boolean, "true", "First.").default("false"),
            Key::new("other", Shape::Boolean, "true", "Second.").default("true"),
            Key::new("outer", Shape::Tables(&INNER), "{}", "Several."),
            Key::new("limits", Shape::Mapping("limits"), "{}", "Limits."),
            Key::new("single", Shape::Table(&SINGLE), "{}", "One."),
            Key::new("unused", Shape::Table(&SINGLE), "{}", "None."),
        ],
        later: &[],
        one_of: &[crate::document::schema::OneOf::at_most(&["one", "other"], "one is enough")],
    };

    fn conceal(node: &Node, secret: &str, diagnostics: &mut Diagnostics) {
        match &node.value {
            Value::Text(text) if text.value == secret => diagnostics.conceal(node.origin),
            Value::Table(entries) => {
                entries.iter().for_each(|entry| conceal(&entry.node, secret, diagnostics));
            }
            _ => {}
        }
    }

    /// One line for each key: path, value, and where it comes from.
    fn resolved(file: &str, sets: &[&str], secret: &str) -> String {
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", file);
        let mut root = node::parse(id, &mut diagnostics).unwrap();
        for set in sets {
            overlay::apply(set, &mut root, &mut diagnostics);
        }
        environment::replace(&mut root, &|name| Some(format!("value of {name}")), &mut diagnostics);
        conceal(&root, secret, &mut diagnostics);
        let resolved = resolve(&ROOT, &root, &diagnostics, &|_, key, _| key.name != "unused");
        resolved.iter().map(|key| format!("{} = {} # {:?}\n", key.path, key.value, key.origin)).collect()
    }

    #[test]
    fn every_key_is_told_with_its_origin_in_the_order_of_the_lists() {
        let file = "limits.\"b.c\" = '< 1s'\r\nlimits.\"ü\" = \"${env:B} ${env:A}${env:B}\"\r\none = true\r\n\
                    [outer.z]\r\nplace.y = 0x7\r\n[outer.a]\r\n  place = 'top \"left\"\\'\r\n\
                    names = ['é', '${env:A}']\r\nunknown = 1\r\n";
        let sets = ["outer.a.size=2 KiB", "outer.new.names=[\"${env:C}\"]"];
        insta::assert_snapshot!(resolved(file, &sets, ""));
    }

    #[test]
    fn secrets_and_what_looks_like_a_key_are_not_shown() {
        let key = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        let file = format!(
            "limits = {{ a = 'hunter2', \"{key}\" = '{key}', c = \"x\u{202e}\\u001b\" }}\nouter.a.names = 1979-05-27\n"
        );
        let set = format!("outer.b.place={key}");
        let shown = resolved(&file, &[&set, "outer.c.place = hunter2"], "hunter2");
        assert!(!shown.contains("hunter2") && !shown.contains("8isrFI1s"), "{shown}");
        for part in [
            "limits.a = \"…\"",
            "\"…\" = \"…\"",
            "\\U0000202E\\U0000001B",
            "outer.b.place = \"…\"",
            "text: \"outer.b.place=…\"",
            "text: \"outer.c.place = …\"",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("outer.a.names = 1979-05-27"), "{shown}");
    }
}
