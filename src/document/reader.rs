//! Reading tables key by key against their list of legal keys.

use std::time::Duration;

use serde_json::Value as Json;

use crate::document::diagnostics::quote;
use crate::document::node::{Entry, Node, Text, Value};
use crate::document::schema::{Key, OneOf, Shape, Table};
use crate::document::source::Origin;
use crate::document::values::{
    Given, Refusal, Spanned, choice, count, duration, json, listed, nearest, quantity, read_node, wrong_kind,
};
use crate::document::{Diagnostic, Diagnostics, MAX_ELEMENTS, MAX_NAMED, MAX_TABLES};
use crate::units::{ByteSize, Rate, Share, show_count};

/// One table while it is read.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    table: &'static Table,
    path: String,
    origin: Origin,
    entries: &'a [Entry],
    /// Keys that an unknown key is probably a misspelling of: what is meant by them is broken rather than absent.
    misspelt: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Opens a table: everything in it that is not on the list of `table` becomes a complaint, and so does every
    /// required key that is not there. `None`, with a complaint, if `node` is no table.
    ///
    /// * `path`: the keys that lead to it, `fleet.devices`; empty for the document
    /// * `origin`: where complaints about the table as a whole point to
    pub fn open(
        table: &'static Table,
        path: impl Into<String>,
        origin: Origin,
        node: &'a Node,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let path = path.into();
        let entries = match &node.value {
            Value::Table(entries) => entries,
            Value::Unknown => return None,
            _ => {
                diagnostics.push(
                    Diagnostic::error(
                        node.origin,
                        format!("`{path}` is {}; it must be a table", node.kind()),
                    )
                    .help(table.about),
                );
                return None;
            }
        };
        let mut reader = Self { table, path, origin, entries, misspelt: Vec::new() };
        let unknown = entries.iter().filter(|entry| table.key(&entry.key).is_none());
        // Guessing what was meant takes a while; beyond these nobody reads it.
        for entry in unknown.take(Diagnostics::MAX_KEPT) {
            let later = table.later(&entry.key).is_some();
            let near = nearest(&entry.key, table.keys.iter().map(|key| key.name)).filter(|_| !later);
            diagnostics.push(reader.unknown(entry, near));
            reader.misspelt.extend(near);
        }
        for key in table.keys.iter().filter(|key| key.required && reader.is_absent(key.name)) {
            diagnostics.push(
                Diagnostic::error(origin, format!("{} lacks `{}`", reader.name(), key.name))
                    .help(format!("add for example `{} = {}`: {}", key.name, key.example, key.about)),
            );
        }
        Some(reader)
    }

    /// How the table is called: `[fleet.devices]`.
    pub fn name(&self) -> String {
        if self.path.is_empty() { "the scenario".to_owned() } else { format!("`[{}]`", self.path) }
    }

    /// The keys that lead to it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where complaints about the table as a whole point to.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether a key is there, legal value or not.
    pub fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Whether a key is not there, in no spelling.
    pub fn is_absent(&self, name: &str) -> bool {
        !self.has(name) && !self.misspelt.contains(&name)
    }

    /// Where a key was written; the table's own place if it is not there.
    pub fn key_origin(&self, name: &str) -> Origin {
        self.entry(name).map_or(self.origin, |entry| entry.key_origin)
    }

    /// The entry of a key that the caller reads itself.
    pub fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.key(name);
        self.entries.iter().find(|entry| entry.key == name)
    }

    /// Reads a string.
    pub fn text(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<Text> {
        self.read(name, diagnostics, |_, node| match &node.value {
            Value::Text(text) => Some(Ok(text.clone())),
            _ => None,
        })
    }

    /// Reads an array of strings.
    pub fn texts(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<Vec<Spanned<Text>>> {
        self.read(name, diagnostics, |_, node| {
            let Value::Array(elements) = &node.value else { return None };
            let texts = elements.iter().map(|element| match &element.value {
                Value::Text(text) => Some(Spanned { value: text.clone(), origin: element.origin }),
                _ => None,
            });
            texts.collect::<Option<Vec<_>>>().map(Ok)
        })
    }

    /// Reads `true` or `false`.
    pub fn boolean(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<bool> {
        self.read(name, diagnostics, |_, node| match node.value {
            Value::Boolean(value) => Some(Ok(value)),
            _ => None,
        })
    }

    /// Reads a whole number in the range that the list gives.
    pub fn count(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<u64> {
        self.read(name, diagnostics, count)
    }

    /// Reads a duration in the range that the list gives.
    pub fn duration(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<Duration> {
        self.read(name, diagnostics, duration)
    }

    /// Reads a rate.
    pub fn rate(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<Rate> {
        self.read(name, diagnostics, |_, node| quantity(node, str::parse::<Rate>))
    }

    /// Reads a share.
    pub fn share(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<Share> {
        self.read(name, diagnostics, |_, node| quantity(node, str::parse::<Share>))
    }

    /// Reads a size.
    pub fn size(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<ByteSize> {
        self.read(name, diagnostics, |_, node| quantity(node, str::parse::<ByteSize>))
    }

    /// Reads one of the names on the list.
    pub fn choice(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<&'static str> {
        self.read(name, diagnostics, |key, node| match &node.value {
            Value::Text(text) => Some(choice(key, text)),
            _ => None,
        })
    }

    /// Reads a table of whatever JSON knows.
    pub fn json(&self, name: &str, diagnostics: &mut Diagnostics) -> Given<serde_json::Map<String, Json>> {
        let Some(entry) = self.entry(name) else {
            return if self.is_absent(name) { Given::Absent } else { Given::Broken };
        };
        match json(&entry.node, diagnostics) {
            Some(Json::Object(value)) => Given::Value(Spanned { value, origin: entry.node.origin }),
            Some(_) => {
                diagnostics.push(wrong_kind(self.key(name), &entry.node));
                Given::Broken
            }
            None => Given::Broken,
        }
    }

    /// Opens a table inside this one; `None` if it is not there or no table.
    pub fn table(&self, name: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Shape::Table(table) = self.key(name).shape else {
            debug_assert!(false, "`{name}` is listed as something other than a table");
            return None;
        };
        let entry = self.entry(name)?;
        Self::open(table, self.join(name), entry.key_origin, &entry.node, diagnostics)
    }

    /// Opens the named tables inside the table `name`, in the order of the text.
    pub fn tables(&self, name: &str, diagnostics: &mut Diagnostics) -> Vec<(String, Self)> {
        let Shape::Tables(table) = self.key(name).shape else {
            debug_assert!(false, "`{name}` is listed as something other than named tables");
            return Vec::new();
        };
        let path = self.join(name);
        let mut tables = Vec::new();
        for entry in self.named_entries(name, diagnostics) {
            let path = format!("{path}.{}", entry.key);
            if let Some(reader) = Self::open(table, path, entry.key_origin, &entry.node, diagnostics) {
                tables.push((entry.key.clone(), reader));
            }
        }
        tables
    }

    /// Opens the tables of the array `name`, in the order of the text; the first [`MAX_ELEMENTS`] of them.
    ///
    /// One table where an array of them belongs is a complaint, but is read as if it were the only one.
    pub fn array(&self, name: &str, diagnostics: &mut Diagnostics) -> Vec<Self> {
        let key = self.key(name);
        let Shape::Array(table) = key.shape else {
            debug_assert!(false, "`{name}` is listed as something other than an array of tables");
            return Vec::new();
        };
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let path = self.join(name);
        // All of them are called the same; which one is meant is seen from the place.
        let elements = match &entry.node.value {
            Value::Array(elements) => elements.as_slice(),
            Value::Unknown => &[],
            Value::Table(_) => {
                diagnostics.push(
                    Diagnostic::error(
                        entry.key_origin,
                        format!("`{path}` is one table; it must be an array of them"),
                    )
                    .help(format!("write [[{path}]] with two brackets, or {name} = [{{ ... }}]")),
                );
                std::slice::from_ref(&entry.node)
            }
            _ => {
                diagnostics.push(wrong_kind(key, &entry.node));
                &[]
            }
        };
        if let Some(beyond) = elements.get(MAX_ELEMENTS) {
            diagnostics.push(
                Diagnostic::error(beyond.origin, format!("`{path}` has more than {MAX_ELEMENTS} tables"))
                    .related(entry.key_origin, "the array")
                    .help("use fewer"),
            );
        }
        let open = |node: &'a Node| Self::open(table, path.clone(), node.origin, node, diagnostics);
        elements.iter().take(MAX_ELEMENTS).filter_map(open).collect()
    }

    /// The entries of the table `name`, whose keys the user chooses; the first [`MAX_TABLES`] or
    /// [`MAX_NAMED`] of them.
    pub fn named_entries(&self, name: &str, diagnostics: &mut Diagnostics) -> &'a [Entry] {
        let Some(entry) = self.entry(name) else { return &[] };
        let most = if matches!(self.key(name).shape, Shape::Tables(_)) { MAX_TABLES } else { MAX_NAMED };
        match &entry.node.value {
            Value::Table(entries) => {
                if entries.len() > most {
                    diagnostics.push(
                        Diagnostic::error(
                            entry.key_origin,
                            format!("`{name}` has more than {} entries", show_count(most as u64)),
                        )
                        .help("check that this is meant; one fleet may have many devices"),
                    );
                }
                &entries[..entries.len().min(most)]
            }
            Value::Unknown => &[],
            _ => {
                let key = self.key(name);
                diagnostics.push(wrong_kind(key, &entry.node));
                &[]
            }
        }
    }

    /// Says that at most one, or exactly one, of the keys may be there that the list declares to exclude `name` and each
    /// other. Returns the one that is.
    pub fn one_of(&self, name: &str, diagnostics: &mut Diagnostics) -> Option<&'static str> {
        let Some(OneOf { keys: names, required, reason }) =
            self.table.one_of.iter().find(|one_of| one_of.keys.contains(&name))
        else {
            debug_assert!(false, "the list of {} does not say what excludes `{name}`", self.table.name);
            return None;
        };
        let mut there: Vec<&'static str> = names.iter().copied().filter(|name| self.has(name)).collect();
        there.sort_by_key(|name| self.key_origin(name));
        match *there.as_slice() {
            [] => {
                if let Some(help) = *required
                    && names.iter().all(|name| self.is_absent(name))
                {
                    let list = listed(names, "or");
                    diagnostics.push(
                        Diagnostic::error(self.origin, format!("{} lacks {list}: {reason}", self.name()))
                            .help(help),
                    );
                }
                None
            }
            [one] => Some(one),
            [first, second, ..] => {
                diagnostics.push(
                    Diagnostic::error(
                        self.key_origin(second),
                        format!("both `{first}` and `{second}` are given: {reason}"),
                    )
                    .related(self.key_origin(first), "first given here")
                    .help(format!("keep exactly one of {}", listed(names, "and"))),
                );
                None
            }
        }
    }

    /// The list's word on a key. The tables of this program read only what they list; anything else is a mistake in
    /// the program.
    fn key(&self, name: &str) -> &'static Key {
        match self.table.key(name) {
            Some(key) => key,
            None => {
                debug_assert!(false, "`{name}` is not on the list of {}", self.table.name);
                &UNLISTED
            }
        }
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn read<T>(
        &self,
        name: &str,
        diagnostics: &mut Diagnostics,
        read: impl FnOnce(&'static Key, &Node) -> Option<Result<T, Refusal>>,
    ) -> Given<T> {
        let key = self.key(name);
        match self.entry(name) {
            None if self.is_absent(name) => Given::Absent,
            None => Given::Broken,
            Some(entry) => read_node(key, &entry.node, diagnostics, read),
        }
    }

    fn unknown(&self, entry: &Entry, near: Option<&str>) -> Diagnostic {
        let key = &entry.key;
        let name = self.name();
        if let Some(later) = self.table.later(key) {
            return Diagnostic::error(entry.key_origin, format!("`{key}` is not supported by this version"))
                .help(format!(
                    "{}; a later version of muster can do that, so remove it for now",
                    later.about
                ));
        }
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{name} takes {}", listed(&self.key_names(), "and")),
        };
        Diagnostic::error(entry.key_origin, format!("{} is not a key of {name}", quote(key)))
            .label("unknown key")
            .help(help)
    }

    fn key_names(&self) -> Vec<&'static str> {
        self.table.keys.iter().map(|key| key.name).collect()
    }
}

/// Stands in for a key that a list lacks, in builds without debug assertions.
static UNLISTED: Key = Key::new("", Shape::Text, "\"\"", "");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Later;
    use crate::document::node;

    static INNER: Table = Table {
        name: "[x.inner]",
        about: "A table inside.",
        keys: &[Key::new("size", Shape::Size, "\"2 KiB\"", "A size.")],
        later: &[],
        one_of: &[],
    };

    static OUTER: Table = Table {
        name: "[x]",
        about: "A table.",
        keys: &[
            Key::new("count", Shape::Count { min: 1, max: 10 }, "5", "How many.").required(),
            Key::new(
                "every",
                Shape::Duration { min: Duration::from_nanos(1), max: Duration::from_secs(60) },
                "\"2s\"",
                "How often.",
            ),
            Key::new("share", Shape::Share, "\"5 %\"", "How much."),
            Key::new(
                "kind",
                Shape::Choice { names: &["one", "two"], later: &["three"] },
                "\"one\"",
                "Which.",
            ),
            Key::new("names", Shape::Texts, "[\"a\"]", "Names."),
            Key::new("inner", Shape::Table(&INNER), "{}", "Inside."),
            Key::new("row", Shape::Array(&INNER), "[{ size = \"1 B\" }]", "In a row."),
        ],
        later: &[Later::new("behave", "`behave` is how it behaves")],
        one_of: &[],
    };

    fn complaints(text: &str) -> String {
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", text);
        let root = node::parse(id, &mut diagnostics).unwrap();
        if let Some(reader) = Reader::open(&OUTER, "x", Origin::whole(id), &root, &mut diagnostics) {
            reader.count("count", &mut diagnostics);
            reader.duration("every", &mut diagnostics);
            reader.share("share", &mut diagnostics);
            reader.choice("kind", &mut diagnostics);
            reader.texts("names", &mut diagnostics);
            if let Some(inner) = reader.table("inner", &mut diagnostics) {
                inner.size("size", &mut diagnostics);
            }
            for element in reader.array("row", &mut diagnostics) {
                element.size("size", &mut diagnostics);
            }
        }
        let lines =
            diagnostics.iter().map(|d| format!("{} / {}\n", d.message, d.help.as_deref().unwrap_or("")));
        lines.collect()
    }

    #[test]
    fn each_mistake_is_told_with_its_remedy() {
        for (text, expected) in [
            ("", "`[x]` lacks `count` / add for example `count = 5`: How many."),
            ("count = '500'", "`count` is a string; it must be a whole number / for example `count = 5`"),
            (
                "count = 0",
                "`count` is out of range: 0 is not 1 to 10 / use a whole number, for example `count = 5`",
            ),
            ("count = 1.5", "`count` is a number with decimals; it must be a whole number"),
            ("count = 1\nevery = 2", "`every` is a number without a unit / for example `every = \"2s\"`"),
            ("count = 1\nevery = '5/s'", "`5/s` is not a duration / write for example \"30s\""),
            ("count = 1\nevery = '0s'", "`every` is out of range; use a duration above 0s and at most 1m"),
            ("count = 1\nshare = '5'", "`5` lacks a unit of share / write for example \"5 %\""),
            ("count = 1\nkind = 'tow'", "`tow` is not a value of `kind` / did you mean `kind = \"two\"`?"),
            ("count = 1\nkind = 'three'", "`three` is not supported by this version"),
            ("count = 1\nnames = ['a', 1]", "`names` is an array; it must be an array of strings"),
            ("count = 1\ninner = 1", "`x.inner` is a whole number; it must be a table"),
            ("cuont = 2", "`cuont` is not a key of `[x]` / did you mean `count`?"),
            (
                "count = 1\nzzz = 2",
                "`[x]` takes `count`, `every`, `share`, `kind`, `names`, `inner` and `row`",
            ),
            ("count = 1\nbehave = 2", "`behave` is not supported by this version"),
            ("count = 1\ninner.sizes = 2", "did you mean `size`?"),
            (
                "count = 1\nrow.size = '1 B'",
                "`x.row` is one table; it must be an array of them / write [[x.row]]",
            ),
            (
                "count = 1\nrow = 2",
                "`row` is a whole number; it must be an array of tables / for example `row = [{",
            ),
            ("count = 1\nrow = [{}, 2]", "`x.row` is a whole number; it must be a table / A table inside."),
            ("count = 1\n[[row]]\nsizes = 2", "`sizes` is not a key of `[x.row]` / did you mean `size`?"),
        ] {
            let told = complaints(text);
            assert!(told.contains(expected), "{text}: {told}");
            assert_eq!(told.lines().count(), 1, "{text}: {told}");
        }
    }

    #[test]
    fn reading_goes_on_after_a_mistake() {
        assert_eq!(
            complaints("count = 0\nevery = 'x'\nshare = 5\nkind = 1\nnames = 2\nextra = 3").lines().count(),
            6
        );
    }
}
