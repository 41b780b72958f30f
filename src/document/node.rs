//! A document as a tree in which every value and key knows where it was written.

use toml::de::{DeTable, DeValue};

use crate::document::source::{Origin, SourceId};
use crate::document::{Diagnostic, Diagnostics, MAX_DOCUMENT_SIGNS};
use crate::units::show_count;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where.
    pub origin: Origin,
    /// What.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Keys with values, in the order of the text.
    Table(Vec<Entry>),
    /// Values in a row.
    Array(Vec<Node>),
    /// A string.
    Text(Text),
    /// A whole number; what no 128 bits hold is cut to the largest that they do.
    Integer(i128),
    /// A number with a point or exponent; may be infinite or not a number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, which no scenario has a use for.
    Datetime,
    /// Something about which a complaint was made already.
    Unknown,
}

/// A string, and how it was written if `${env:NAME}` was replaced in it.
#[derive(Clone, PartialEq)]
pub struct Text {
    /// The string with everything replaced. May be secret if `written` is there.
    pub value: String,
    /// The string before, for diagnostics; `None` if nothing was replaced.
    pub written: Option<String>,
}

impl Text {
    /// What a diagnostic may show: the string as it was written.
    pub fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.value)
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({:?})", self.shown())
    }
}

/// One key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written; of several places (`[a.b]`, `[a.c]`) the first.
    pub key_origin: Origin,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The entries of a table; `None` for anything else.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key`, if this is a table that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// What it is, with its article, for complaints.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Table(_) => "a table",
            Value::Array(_) => "an array",
            Value::Text(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(number) if number.is_nan() => "no number at all",
            Value::Float(number) if number.is_infinite() => "infinite, or too large for any number",
            Value::Float(number) if number.fract() == 0.0 => "a number with a point or an exponent",
            Value::Float(_) => "a number with decimals",
            Value::Boolean(_) => "true or false",
            Value::Datetime => "a date",
            Value::Unknown => "unknown",
        }
    }
}

/// Parses a source; each syntax error becomes a complaint.
///
/// Returns the tree, or `None` when errors make it too incomplete to be judged: keys that it seems to lack may stand in
/// what the parser skipped. Duplicate keys alone do not.
pub fn parse(id: SourceId, diagnostics: &mut Diagnostics) -> Option<Node> {
    let text = diagnostics.sources().source(id)?.text.clone();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ') || byte >= 0x80;
    let before = std::iter::once(b' ').chain(text.bytes());
    let counted =
        before.zip(text.bytes()).filter(|(before, byte)| !plain(*byte) || (*before == b' ' && *byte != b' '));
    if counted.count() > MAX_DOCUMENT_SIGNS {
        diagnostics.push(
            Diagnostic::error(
                Origin::whole(id),
                format!(
                    "the file has more than {} words, brackets, quotes and other signs",
                    show_count(MAX_DOCUMENT_SIGNS as u64)
                ),
            )
            .help("check that this is a scenario file; several scenarios belong into several files"),
        );
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(&text);
    let mut complete = true;
    let mut line = 0..0;
    let mut told = 0;
    for error in &errors {
        complete &= error.message() == DUPLICATE;
        let start = error.span().map(|span| span.start.min(text.len()));
        // After one mistake the rest of its line is guesswork. And more complaints than are ever shown cost memory.
        if start.is_some_and(|start| line.contains(&start)) || told > Diagnostics::MAX_SHOWN {
            continue;
        }
        let origin = error.span().map_or(Origin::whole(id), |span| Origin::at(id, span));
        diagnostics.push(syntax_error(error.message(), origin));
        told += 1;
        if let Some(start) = start {
            let end = text.as_bytes()[start..].iter().position(|byte| *byte == b'\n');
            line = start..end.map_or(text.len(), |length| start + length + 1);
        }
    }
    complete.then(|| table(root.into_inner(), Origin::whole(id), id))
}

/// What the parser says about a key that is there twice.
const DUPLICATE: &str = "duplicate key";

/// A complaint in the words of the parser.
pub(in crate::document) fn syntax_error(message: &str, origin: Origin) -> Diagnostic {
    if message == DUPLICATE {
        return Diagnostic::error(origin, "this key is there twice")
            .label("second time")
            .help("keep one of the two");
    }
    if message.starts_with("string values must be quoted") {
        return Diagnostic::error(origin, "not valid TOML: this is neither a number nor a string in quotes")
            .help("write quantities in quotes, with their unit: \"100/s\", \"30s\", \"5 %\"");
    }
    Diagnostic::error(origin, format!("not valid TOML: {message}")).help(
        "a line is `key = value`, `[table]` or `# comment`; a string that holds quotes stands in single quotes: 'say \"ok\"'",
    )
}

/// A parsed value with its places; `shift` bytes stand before it in its source.
pub(in crate::document) fn value(spanned: toml::Spanned<DeValue<'_>>, id: SourceId, shift: usize) -> Node {
    let span = spanned.span();
    let origin = Origin::at(id, span.start + shift..span.end + shift);
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::Text(Text { value: text.into_owned(), written: None }),
        DeValue::Integer(number) => Value::Integer(
            i128::from_str_radix(number.as_str(), number.radix())
                .unwrap_or(if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX }),
        ),
        // What overflows is infinite, and refused as such by whoever reads it.
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(array) => {
            Value::Array(array.into_iter().map(|element| self::value(element, id, shift)).collect())
        }
        DeValue::Table(entries) => return table_at(entries, origin, id, shift),
    };
    Node { origin, value }
}

fn table(entries: DeTable<'_>, origin: Origin, id: SourceId) -> Node {
    table_at(entries, origin, id, 0)
}

fn table_at(entries: DeTable<'_>, origin: Origin, id: SourceId, shift: usize) -> Node {
    let mut entries: Vec<Entry> = entries
        .into_iter()
        .map(|(key, node)| {
            let span = key.span();
            Entry {
                key_origin: Origin::at(id, span.start + shift..span.end + shift),
                key: key.into_inner().into_owned(),
                node: value(node, id, shift),
            }
        })
        .collect();
    // The parser sorts by name; the order of the text is the order of populations in reports.
    entries.sort_by_key(|entry| entry.key_origin.span.map(|span| span.start));
    Node { origin, value: Value::Table(entries) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Diagnostics, Option<Node>) {
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", text);
        let node = parse(id, &mut diagnostics);
        (diagnostics, node)
    }

    #[test]
    fn every_key_and_value_knows_its_bytes() {
        let text = "[fleet.b]\r\nstart.rate = \"1/s\"\r\n[fleet.a]\ncount = 1_000\n";
        let (_, root) = parsed(text);
        let root = root.unwrap();
        let fleet = &root.entry("fleet").unwrap().node;
        let names: Vec<&str> = fleet.entries().unwrap().iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(names, ["b", "a"], "in the order of the text");
        let rate = fleet.entry("b").unwrap().node.entry("start").unwrap().node.entry("rate").unwrap().clone();
        let bytes = |origin: Origin| origin.span.map(|span| &text[span.start..span.end]).unwrap();
        assert_eq!((bytes(rate.key_origin), bytes(rate.node.origin)), ("rate", "\"1/s\""));
        let count = &fleet.entry("a").unwrap().node.entry("count").unwrap().node;
        assert_eq!((bytes(count.origin), &count.value), ("1_000", &Value::Integer(1_000)));
    }

    #[test]
    fn numbers_of_any_size_are_kept_apart_from_errors() {
        let (_, root) = parsed(
            "a = 99999999999999999999999999999999999999999999\nb = 1e308\nc = nan\nd = -inf\ne = 0xff",
        );
        let root = root.unwrap();
        assert_eq!(root.entry("a").unwrap().node.value, Value::Integer(i128::MAX));
        assert_eq!(root.entry("b").unwrap().node.value, Value::Float(1e308));
        assert!(matches!(root.entry("c").unwrap().node.value, Value::Float(x) if x.is_nan()));
        assert_eq!(root.entry("e").unwrap().node.value, Value::Integer(255));
    }

    #[test]
    fn all_syntax_errors_are_told_and_duplicates_leave_a_tree() {
        let (diagnostics, root) = parsed("a = \nb = 1\nc == 2\n");
        assert!(root.is_none());
        assert_eq!(diagnostics.counts(), (2, 0), "{}", diagnostics.render(false, None));
        let (diagnostics, root) = parsed("a = 1\na = 2\n");
        assert!(root.is_some());
        assert_eq!(diagnostics.counts(), (1, 0));
    }
}
