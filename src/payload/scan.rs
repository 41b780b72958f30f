//! From the text of a template to its pieces.

use std::ops::Range;

use super::error::TemplateError;
use super::{MAX_ITEMS, MAX_PLACEHOLDERS};

/// A piece of a template, and the bytes where it stands.
#[derive(Debug)]
pub(super) enum Piece<'t> {
    /// Text that goes into every message.
    Literal(&'t str),
    /// `${name}` or `${name(arguments)}`.
    Placeholder(Call<'t>),
}

/// A placeholder as it was written.
#[derive(Debug)]
pub(super) struct Call<'t> {
    /// Without spaces around it.
    pub(super) name: &'t str,
    /// `None` without parentheses.
    pub(super) arguments: Option<Vec<Argument<'t>>>,
    /// The whole placeholder, from `$` to `}`.
    pub(super) span: Range<usize>,
}

/// One argument.
#[derive(Debug)]
pub(super) struct Argument<'t> {
    pub(super) value: Word<'t>,
    /// What follows a colon.
    pub(super) weight: Option<Bare<'t>>,
}

/// What an argument can be.
#[derive(Debug)]
pub(super) enum Word<'t> {
    /// A string in quotes, without them and with `\"` and `\\` resolved.
    Quoted(String, Range<usize>),
    /// Anything else.
    Bare(Bare<'t>),
}

impl Word<'_> {
    pub(super) fn span(&self) -> Range<usize> {
        match self {
            Self::Quoted(_, span) => span.clone(),
            Self::Bare(bare) => bare.span.clone(),
        }
    }
}

/// A number or a word.
#[derive(Debug, Clone)]
pub(super) struct Bare<'t> {
    pub(super) text: &'t str,
    pub(super) span: Range<usize>,
}

/// The pieces of a template in order; each with where it begins.
pub(super) fn pieces(template: &str) -> Result<Vec<(usize, Piece<'_>)>, TemplateError> {
    let mut pieces = Vec::new();
    let mut placeholders = 0;
    let mut at = 0;
    while let Some(found) = template[at..].find("${") {
        let open = at + found;
        // `$${` stands for `${`: the text up to its first `$`, and then from its second on.
        if template[at..open].ends_with('$') {
            push_literal(&mut pieces, template, at..open - 1);
            push_literal(&mut pieces, template, open..open + 2);
            at = open + 2;
            continue;
        }
        push_literal(&mut pieces, template, at..open);
        placeholders += 1;
        if placeholders > MAX_PLACEHOLDERS {
            return Err(TemplateError::new(
                template,
                open..open + 2,
                format!("there are more than {MAX_PLACEHOLDERS} placeholders"),
                "use fewer; `bytes`, `hex` and `string` make long values",
            ));
        }
        let call = Scanner { template, at: open + 2, open }.call()?;
        at = call.span.end;
        pieces.push((open, Piece::Placeholder(call)));
    }
    push_literal(&mut pieces, template, at..template.len());
    Ok(pieces)
}

fn push_literal<'t>(pieces: &mut Vec<(usize, Piece<'t>)>, template: &'t str, range: Range<usize>) {
    if !range.is_empty() {
        pieces.push((range.start, Piece::Literal(&template[range])));
    }
}

/// Reads one placeholder.
struct Scanner<'t> {
    template: &'t str,
    /// The next byte.
    at: usize,
    /// Where the placeholder begins.
    open: usize,
}

impl<'t> Scanner<'t> {
    fn call(mut self) -> Result<Call<'t>, TemplateError> {
        let name = self.bare(&['(', '}', '"', '$']);
        if name.text.contains(',') {
            return Err(self.wrong("a placeholder has one name", "write `${name}` or `${name(arguments)}`"));
        }
        let arguments = match self.next() {
            Some('(') => Some(self.arguments()?),
            Some('}') => None,
            _ => return Err(self.unclosed()),
        };
        if arguments.is_some() {
            self.spaces();
            match self.next() {
                Some('}') => {}
                None => return Err(self.unclosed()),
                Some(_) => {
                    return Err(self.wrong(
                        "something stands between the `)` and the `}` of a placeholder",
                        "write `${name(arguments)}`",
                    ));
                }
            }
        }
        Ok(Call { name: name.text, arguments, span: self.open..self.at })
    }

    fn arguments(&mut self) -> Result<Vec<Argument<'t>>, TemplateError> {
        let mut arguments = Vec::new();
        self.spaces();
        if self.peek() == Some(')') {
            self.next();
            return Ok(arguments);
        }
        loop {
            if arguments.len() == MAX_ITEMS {
                return Err(self.wrong(
                    format!("a placeholder has more than {MAX_ITEMS} arguments"),
                    "use fewer; several payloads may have lists of their own",
                ));
            }
            let value = self.word()?;
            self.spaces();
            let mut weight = None;
            if self.peek() == Some(':') {
                self.next();
                weight = Some(self.bare(&[',', ')', '}', '"']));
                self.spaces();
            }
            arguments.push(Argument { value, weight });
            match self.next() {
                Some(',') => {}
                Some(')') => return Ok(arguments),
                Some('}') => {
                    return Err(
                        self.wrong("the `(` of a placeholder has no closing `)`", "close it before the `}`")
                    );
                }
                None => return Err(self.unclosed()),
                Some(_) => {
                    return Err(self.wrong(
                        "there is no comma between two arguments",
                        "write `${choice(\"a\", \"b\")}`",
                    ));
                }
            }
        }
    }

    fn word(&mut self) -> Result<Word<'t>, TemplateError> {
        self.spaces();
        if self.peek() != Some('"') {
            return Ok(Word::Bare(self.bare(&[',', ')', ':', '}', '"'])));
        }
        let start = self.at;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(Word::Quoted(text, start..self.at)),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '\\')) => text.push(c),
                    _ => {
                        return Err(TemplateError::new(
                            self.template,
                            self.at.saturating_sub(2).max(start)..self.at,
                            "a `\\` in a string of a placeholder stands before something other than `\"` or `\\`",
                            "write `\\\\` for a backslash and `\\\"` for a quote",
                        ));
                    }
                },
                Some(c) => text.push(c),
                None => {
                    return Err(TemplateError::new(
                        self.template,
                        start..self.template.len(),
                        "a string of a placeholder has no closing `\"`",
                        "close it; inside a string, a quote is written `\\\"`",
                    ));
                }
            }
        }
    }

    /// The text up to one of `ends`, without spaces around it.
    fn bare(&mut self, ends: &[char]) -> Bare<'t> {
        let rest = &self.template[self.at..];
        let raw = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let text = raw.trim();
        let start = self.at + (raw.len() - raw.trim_start().len());
        self.at += raw.len();
        Bare { text, span: start..start + text.len() }
    }

    fn spaces(&mut self) {
        let rest = &self.template[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn peek(&self) -> Option<char> {
        self.template[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn unclosed(&self) -> TemplateError {
        TemplateError::new(
            self.template,
            self.open..self.at,
            "a `${` has no closing `}`",
            "close it, or write `$${` for the two characters themselves",
        )
    }

    fn wrong(&self, problem: impl Into<String>, remedy: &str) -> TemplateError {
        TemplateError::new(self.template, self.open..self.at, problem, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_placeholders_are_told_apart() {
        let pieces = pieces(r#"a${ x }$${y}${z("}\"", 1 : 2)}$$"#).expect("a template");
        let shown: Vec<String> = pieces
            .iter()
            .map(|(at, piece)| match piece {
                Piece::Literal(text) => format!("{at} {text}"),
                Piece::Placeholder(call) => {
                    format!("{at} {} {}", call.name, call.arguments.as_ref().map_or(0, Vec::len))
                }
            })
            .collect();
        assert_eq!(shown, ["0 a", "1 x 0", "8 ${", "10 y}", "12 z 2", "30 $$"]);
    }

    #[test]
    fn a_template_that_does_not_close_what_it_opens_is_refused_with_its_place() {
        for (template, expected, column) in [
            ("ä${seq", "no closing `}`", 2),
            ("${a(1", "no closing `}`", 1),
            ("${a(1}", "no closing `)`", 1),
            ("${a(\"x)}", "no closing `\"`", 5),
            ("${a(\"\\n\")}", "stands before something other", 6),
            ("${a(\"x\" \"y\")}", "no comma", 1),
            ("${a(1)b}", "between the `)` and the `}`", 1),
            ("${${seq}}", "no closing `}`", 1),
        ] {
            let error = pieces(template).expect_err(template);
            assert!(error.problem.contains(expected), "{template}: {error}");
            assert_eq!((error.line, error.column), (1, column), "{template}: {error}");
        }
        let many = "${seq}".repeat(MAX_PLACEHOLDERS + 1);
        assert!(pieces(&many).is_err());
        assert!(pieces(&format!("${{a({})}}", "1,".repeat(MAX_ITEMS + 1))).is_err());
    }
}
