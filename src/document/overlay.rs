//! `--set a.b.c=value`: one more value, laid over the document.

use toml::de::{DeTable, DeValue};

use crate::document::node::{self, Entry, Node, Text, Value};
use crate::document::source::{Origin, SourceId};
use crate::document::{Diagnostic, Diagnostics};

/// Lays the assignment in `text` over `root`, making the tables on its way; mistakes become complaints.
///
/// The value is read as TOML; what is no TOML value is a string, so that `start.rate=100/s` needs no quotes. A key with
/// dots in it is quoted: `thresholds."send.response.p99"=< 1s`.
pub fn apply(text: &str, root: &mut Node, diagnostics: &mut Diagnostics) {
    let id = diagnostics.add_source("--set", text);
    match assignment(text, id) {
        Ok((path, value)) => {
            if let Err(diagnostic) = insert(root, &path, value) {
                diagnostics.push(diagnostic);
            }
        }
        Err(diagnostic) => diagnostics.push(diagnostic),
    }
}

const USAGE: &str = "write `--set path=value`, for example `--set fleet.devices.count=500`";

type Path = Vec<(String, Origin)>;

fn assignment(text: &str, id: SourceId) -> Result<(Path, Node), Diagnostic> {
    let Some(equals) = unquoted_equals(text) else {
        return Err(Diagnostic::error(Origin::at(id, 0..text.len()), "there is no `=` in it").help(USAGE));
    };
    let wrong_path =
        || Diagnostic::error(Origin::at(id, 0..equals), "this is not the path of a key").help(USAGE);
    // A line break or comment before the equals sign would start something other than a key.
    if text[..equals].contains(['\n', '\r', '#']) {
        return Err(wrong_path());
    }
    let key = format!("{}=0", &text[..equals]);
    let root = DeTable::parse(&key).map_err(|_| wrong_path())?;
    let path = path(root.into_inner(), id);

    let raw = &text[equals + 1..];
    let start = equals + 1 + (raw.len() - raw.trim_start().len());
    let raw = raw.trim();
    if raw.is_empty() {
        return Err(Diagnostic::error(Origin::at(id, equals..text.len()), "there is no value after the `=`")
            .help(format!("{USAGE}; an empty string is `\"\"`")));
    }
    let value = match DeValue::parse(raw) {
        Ok(value) => node::value(value, id, start),
        Err(error) if raw.starts_with(['"', '\'']) => {
            let at = error.span().map_or(start, |span| start + span.start);
            return Err(node::syntax_error(error.message(), Origin::at(id, at..start + raw.len())));
        }
        Err(_) => Node {
            origin: Origin::at(id, start..start + raw.len()),
            value: Value::Text(Text { value: raw.to_owned(), written: None }),
        },
    };
    Ok((path, value))
}

/// The first `=` that is not inside quotes.
fn unquoted_equals(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// The keys that lead to the only value of a parsed `a.b.c = 0`.
fn path(mut table: DeTable<'_>, id: SourceId) -> Path {
    let mut path = Vec::new();
    loop {
        let Some((key, value)) = std::mem::take(&mut table).into_iter().next() else { return path };
        path.push((key.get_ref().to_string(), Origin::at(id, key.span())));
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            _ => return path,
        }
    }
}

fn insert(root: &mut Node, path: &[(String, Origin)], value: Node) -> Result<(), Diagnostic> {
    let mut node = root;
    let mut walked = String::new();
    for (depth, (key, origin)) in path.iter().enumerate() {
        let kind = node.kind();
        let node_origin = node.origin;
        let Value::Table(entries) = &mut node.value else {
            let mut diagnostic =
                Diagnostic::error(*origin, format!("`{walked}` is {kind}, which has no key `{key}`"))
                    .help("set the value itself, or check the path");
            if node_origin.span.is_some() {
                diagnostic = diagnostic.related(node_origin, kind);
            }
            return Err(diagnostic);
        };
        let at = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
            let empty = Node { origin: *origin, value: Value::Table(Vec::new()) };
            entries.push(Entry { key: key.clone(), key_origin: *origin, node: empty });
            entries.len() - 1
        });
        if depth + 1 == path.len() {
            entries[at].key_origin = *origin;
            entries[at].node = value;
            return Ok(());
        }
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(key);
        node = &mut entries[at].node;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(file: &str, sets: &[&str]) -> (Diagnostics, Node) {
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", file);
        let mut root = node::parse(id, &mut diagnostics).unwrap();
        for set in sets {
            apply(set, &mut root, &mut diagnostics);
        }
        (diagnostics, root)
    }

    fn at<'a>(root: &'a Node, path: &[&str]) -> &'a Value {
        &path.iter().fold(root, |node, key| &node.entry(key).unwrap().node).value
    }

    #[test]
    fn values_are_toml_and_anything_else_is_a_string() {
        let (diagnostics, root) = applied(
            "[fleet.x]\ncount = 1\nstart.rate = \"1/s\"\n",
            &[
                "fleet.x.count=500",
                "fleet.x.start.rate=100/s",
                "fleet.x.id = \"a = b\"",
                "thresholds.\"send.response.p99\"=< 1s",
                "narrate=true",
                "target.allow=[\"a\", \"b\"]",
            ],
        );
        assert!(diagnostics.is_empty(), "{}", diagnostics.render(false, None));
        let text = |text: &str| Value::Text(Text { value: text.to_owned(), written: None });
        assert_eq!(*at(&root, &["fleet", "x", "count"]), Value::Integer(500));
        assert_eq!(*at(&root, &["fleet", "x", "start", "rate"]), text("100/s"));
        assert_eq!(*at(&root, &["fleet", "x", "id"]), text("a = b"));
        assert_eq!(*at(&root, &["thresholds", "send.response.p99"]), text("< 1s"));
        assert_eq!(*at(&root, &["narrate"]), Value::Boolean(true));
        assert!(matches!(at(&root, &["target", "allow"]), Value::Array(names) if names.len() == 2));
    }

    #[test]
    fn values_know_their_place_in_the_argument() {
        let set = "fleet.x.start.rate =  100/s ";
        let (_, root) = applied("", &[set]);
        let node = &root.entry("fleet").unwrap().node.entry("x").unwrap().node.entry("start").unwrap().node;
        let span = node.entry("rate").unwrap().node.origin.span.unwrap();
        assert_eq!(&set[span.start..span.end], "100/s");
        let (_, root) = applied("", &["a=[1, \"b\"]"]);
        let Value::Array(elements) = at(&root, &["a"]) else { panic!("an array") };
        assert_eq!(elements[1].origin.span, Some((6..9).into()));
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        for (set, expected) in [
            ("fleet.x.count", "no `=`"),
            ("=5", "not the path"),
            ("a b=5", "not the path"),
            ("[a]\nb=5", "not the path"),
            ("a=", "no value"),
            ("a=\"open", "not valid TOML"),
            ("fleet.x.count.y=1", "`fleet.x.count` is a whole number, which has no key `y`"),
        ] {
            let (diagnostics, _) = applied("[fleet.x]\ncount = 1\n", &[set]);
            let shown = diagnostics.render(false, None);
            assert!(shown.contains(expected), "{set}: {shown}");
        }
    }
}
