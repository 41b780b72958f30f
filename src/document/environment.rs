//! `${env:NAME}` in strings.

use crate::document::diagnostics::quote;
use crate::document::node::{Node, Text, Value};
use crate::document::{Diagnostic, Diagnostics};

/// Looks up a variable; `None` if it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces `${env:NAME}` in every string below `node`; variables that are not set become complaints, each once.
///
/// A string that lacks a variable becomes [`Value::Unknown`]. Replaced text is not searched again.
pub fn replace(node: &mut Node, lookup: Lookup<'_>, diagnostics: &mut Diagnostics) {
    let mut missing = Vec::new();
    walk(node, lookup, diagnostics, &mut missing);
}

fn walk(node: &mut Node, lookup: Lookup<'_>, diagnostics: &mut Diagnostics, missing: &mut Vec<String>) {
    match &mut node.value {
        Value::Table(entries) => {
            for entry in entries {
                walk(&mut entry.node, lookup, diagnostics, missing);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                walk(element, lookup, diagnostics, missing);
            }
        }
        Value::Text(text) => match expand(&text.value, lookup) {
            Ok(None) => {}
            Ok(Some(value)) => {
                let written = std::mem::replace(text, Text { value, written: None });
                text.written = Some(written.value);
            }
            Err(wrong) => {
                for error in wrong {
                    let diagnostic = match error {
                        Wrong::Unset(name) if missing.contains(&name) => continue,
                        Wrong::Unset(name) => {
                            let diagnostic = Diagnostic::error(
                                node.origin,
                                format!("the environment variable `{name}` is not set"),
                            )
                            .help(format!("set it before the run: export {name}=..."));
                            missing.push(name);
                            diagnostic
                        }
                        Wrong::Name(name) => Diagnostic::error(
                            node.origin,
                            format!("{} is not the name of an environment variable", quote(&name)),
                        )
                        .help("names have letters, digits and `_`: `${env:ID_SCOPE}`"),
                        Wrong::Unclosed => Diagnostic::error(node.origin, "a `${env:` has no closing `}`")
                            .help("write `${env:NAME}`"),
                    };
                    diagnostics.push(diagnostic);
                }
                node.value = Value::Unknown;
            }
        },
        _ => {}
    }
}

const OPEN: &str = "${env:";

enum Wrong {
    Unset(String),
    Name(String),
    Unclosed,
}

/// `text` with every variable replaced; `None` if it names none.
fn expand(text: &str, lookup: Lookup<'_>) -> Result<Option<String>, Vec<Wrong>> {
    if !text.contains(OPEN) {
        return Ok(None);
    }
    let (mut expanded, mut wrong, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, tail)) = rest.split_once(OPEN) {
        expanded.push_str(before);
        let Some((name, tail)) = tail.split_once('}') else {
            wrong.push(Wrong::Unclosed);
            return Err(wrong);
        };
        rest = tail;
        if !is_variable_name(name) {
            wrong.push(Wrong::Name(name.to_owned()));
            continue;
        }
        match lookup(name) {
            Some(value) => expanded.push_str(&value),
            None => wrong.push(Wrong::Unset(name.to_owned())),
        }
    }
    expanded.push_str(rest);
    if wrong.is_empty() { Ok(Some(expanded)) } else { Err(wrong) }
}

/// The names of the variables in `text`, as far as they are such.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    let references = text.split(OPEN).skip(1);
    references
        .filter_map(|tail| tail.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| is_variable_name(name))
}

/// Whether a shell could export a variable of that name.
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::node;

    fn replaced(file: &str) -> (Diagnostics, Node) {
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", file);
        let mut root = node::parse(id, &mut diagnostics).unwrap();
        let lookup = |name: &str| (name == "HOST").then(|| "secret ${env:OTHER}".to_owned());
        replace(&mut root, &lookup, &mut diagnostics);
        (diagnostics, root)
    }

    #[test]
    fn variables_are_replaced_once_and_remember_how_they_were_written() {
        let (diagnostics, root) = replaced("a = ['x ${env:HOST} y']\nb = '${uniform(1, 2)}'");
        assert!(diagnostics.is_empty());
        let Value::Array(elements) = &root.entry("a").unwrap().node.value else { panic!("an array") };
        let Value::Text(text) = &elements[0].value else { panic!("a string") };
        assert_eq!((text.value.as_str(), text.shown()), ("x secret ${env:OTHER} y", "x ${env:HOST} y"));
        assert!(!format!("{root:?}").contains("secret"));
    }

    #[test]
    fn every_missing_variable_is_told_once() {
        let (diagnostics, root) =
            replaced("a = '${env:ONE} ${env:TWO}'\nb = '${env:ONE}'\nc = '${env:1}'\nd = '${env:X'");
        let shown = diagnostics.render(false, None);
        assert_eq!(diagnostics.counts(), (4, 0), "{shown}");
        assert!(shown.contains("export TWO=..."), "{shown}");
        assert_eq!(root.entry("b").unwrap().node.value, Value::Unknown);
    }
}
