//! How complaints look. Everything shown here may come from a hostile file.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin as Place, Renderer, Snippet};

use crate::document::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::document::key_mask;
use crate::document::source::{Origin, Source, SourceId, Span};
use crate::text::Untrusted;

/// Characters shown of a line before and after the underlined place. Lines that people write are shorter.
const CONTEXT: usize = 120;

/// Characters shown of a message or a remedy.
const MAX_MESSAGE: usize = 1_000;

pub(super) fn render(diagnostics: &Diagnostics, colour: bool, width: Option<usize>) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer =
        renderer.term_width(width.unwrap_or(annotate_snippets::renderer::DEFAULT_TERM_WIDTH).max(40));
    let mut text = String::new();
    let lines = Lines::new(diagnostics);
    for diagnostic in diagnostics.iter().take(Diagnostics::MAX_SHOWN) {
        text.push_str(&renderer.render(&[group(diagnostics, &lines, diagnostic)]));
        text.push_str("\n\n");
    }
    if diagnostics.is_empty() {
        return text;
    }
    let (errors, warnings) = diagnostics.counts();
    let level = if errors > 0 { Level::ERROR } else { Level::WARNING };
    let name = diagnostics.sources().source(SourceId::FILE).map_or("", |source| source.name.as_str());
    let counted = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        .collect::<Vec<_>>()
        .join(", ");
    let hidden = (errors + warnings).saturating_sub(Diagnostics::MAX_SHOWN);
    let more = if hidden > 0 { format!(" ({hidden} not shown)") } else { String::new() };
    let summary = format!("{}: {counted}{more}", visible(name));
    text.push_str(&renderer.render(&[Group::with_title(level.primary_title(summary))]));
    text.push('\n');
    text
}

fn group<'a>(diagnostics: &'a Diagnostics, lines: &Lines, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(visible(&diagnostic.message)));
    let places = std::iter::once((diagnostic.origin, diagnostic.label.as_deref(), AnnotationKind::Primary))
        .chain(
            diagnostic
                .related
                .as_deref()
                .map(|(origin, label)| (*origin, Some(label.as_str()), AnnotationKind::Context)),
        );
    for (origin, label, kind) in places {
        let Some(source) = diagnostics.sources().source(origin.source) else { continue };
        let name = visible(&source.name);
        let Some(span) = origin.span else {
            if !name.is_empty() {
                group = group.element(Place::path(name));
            }
            continue;
        };
        let line = lines.line(diagnostics, source, origin.source, span);
        let mut annotation: Annotation<'_> = kind.span(line.marked);
        if let Some(label) = label {
            annotation = annotation.label(visible(label));
        }
        let snippet = Snippet::source(line.text).line_start(line.number).annotation(annotation);
        if line.cut {
            // The snippet would count columns from where the line was cut.
            let place = Place::path(name).line(line.number).char_column(line.column);
            group = group.element(place).element(snippet);
        } else {
            group = group.element(snippet.path(name));
        }
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(visible(help)));
    }
    group
}

/// Where the lines of each source begin, worked out once.
struct Lines {
    starts: Vec<Vec<usize>>,
}

/// A line ready to be shown.
struct Line {
    text: String,
    number: usize,
    column: usize,
    cut: bool,
    /// Bytes of `text` to underline.
    marked: std::ops::Range<usize>,
}

impl Lines {
    fn new(diagnostics: &Diagnostics) -> Self {
        let starts = |source: &Source| {
            let ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        };
        Self { starts: diagnostics.sources().iter().map(starts).collect() }
    }

    /// The first line of `span`, with its characters made harmless and its secrets masked.
    fn line(&self, diagnostics: &Diagnostics, source: &Source, id: SourceId, span: Span) -> Line {
        let text = source.text.as_str();
        let starts = self.starts.get(id.index()).map_or(&[0][..], Vec::as_slice);
        let at = span.start.min(text.len());
        let index = starts.partition_point(|start| *start <= at).saturating_sub(1);
        let start = starts[index];
        let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
        let end = if text[start..end].ends_with('\r') { end - 1 } else { end };
        let marked = at.min(end)..span.end.clamp(at.min(end), end);

        let before: Vec<usize> = text[start..marked.start].char_indices().map(|(n, _)| start + n).collect();
        let column = before.len() + 1;
        let from = before.len().checked_sub(CONTEXT).map_or(start, |n| before[n]);
        let marked_limit = nth_char(text, marked.start, marked.end, CONTEXT);
        let to = nth_char(text, marked_limit, end, CONTEXT);
        let marked = marked.start..marked_limit;

        // A key may be cut by the window, so keys are looked for in a wider one.
        let wide_from = before.len().checked_sub(4 * CONTEXT).map_or(start, |n| before[n]);
        let wide_to = nth_char(text, to, end, 3 * CONTEXT);
        let wide = &text[wide_from..wide_to];
        let mut masks: Vec<std::ops::Range<usize>> = [key_mask::keys(wide), key_mask::passwords(wide)]
            .concat()
            .into_iter()
            .map(|key| wide_from + key.start..wide_from + key.end)
            .collect();
        masks.extend(diagnostics.secrets().iter().filter(|origin| origin.source == id).filter_map(
            |Origin { span, .. }| {
                span.filter(|span| span.start < to && span.end > from).map(|s| s.start..s.end)
            },
        ));
        let mut line = Line {
            text: String::new(),
            number: index + 1,
            column,
            cut: from > start || to < end,
            marked: 0..0,
        };
        if from > start {
            line.text.push('…');
        }
        let mut masked = false;
        for (n, c) in text[from..to].char_indices() {
            let n = from + n;
            if n == marked.start {
                line.marked.start = line.text.len();
            }
            if n == marked.end {
                line.marked.end = line.text.len();
            }
            let hide = masks.iter().any(|mask| mask.contains(&n));
            match (hide, masked) {
                (true, false) => line.text.push('…'),
                (true, true) => {}
                (false, _) => line.text.push(harmless(c)),
            }
            masked = hide;
        }
        if marked.start >= to {
            line.marked.start = line.text.len();
        }
        if marked.end >= to {
            line.marked.end = line.text.len();
        }
        line.marked.end = line.marked.end.max(line.marked.start);
        // An annotation inside a masked run still has its `…` to point at.
        if line.marked.is_empty() && marked.end > marked.start {
            line.marked.start =
                line.text[..line.marked.start].char_indices().next_back().map_or(0, |(n, _)| n);
        }
        if to < end {
            line.text.push('…');
        }
        line
    }
}

/// Byte position of the `n`th character after `from`, at most `to`.
fn nth_char(text: &str, from: usize, to: usize, n: usize) -> usize {
    text[from..to].char_indices().nth(n).map_or(to, |(at, _)| from + at)
}

/// The character itself, or one that stands for it and does nothing to a terminal.
fn harmless(c: char) -> char {
    match c {
        '\t' | ' '..='~' => c,
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        _ if visible_as_it_is(c) => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

pub(super) fn visible_as_it_is(c: char) -> bool {
    let mut buffer = [0; 4];
    let text: &str = c.encode_utf8(&mut buffer);
    Untrusted::new(text).terminal() == text
}

/// A message without control characters and keys, cut to a bearable length.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in key_mask::mask(text).chars().enumerate() {
        if count == MAX_MESSAGE {
            shown.push('…');
            break;
        }
        if matches!(c, ' '..='~') || visible_as_it_is(c) {
            shown.push(c);
        } else {
            shown.push_str(&Untrusted::new(c.encode_utf8(&mut [0; 4])).terminal());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: std::ops::Range<usize>) -> String {
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", text);
        diagnostics.push(Diagnostic::error(Origin::at(id, span), "wrong"));
        diagnostics.render(false, Some(100))
    }

    #[test]
    fn no_control_character_of_a_file_reaches_the_terminal() {
        let text = "a = \"\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\"\r\nb = 1";
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s\u{1b}.toml", text);
        for start in 0..text.len() {
            if text.is_char_boundary(start) {
                let origin = Origin::at(id, start..text.len());
                diagnostics
                    .push(Diagnostic::error(origin, text).label(text).help(text).related(origin, text));
            }
        }
        let shown = diagnostics.render(false, None);
        let bad: Vec<char> = shown.chars().filter(|c| *c != '\n' && !visible_as_it_is(*c)).collect();
        assert_eq!(bad, []);
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_place_and_keeps_its_column() {
        let text = format!("{}WRONG{}", "x ".repeat(50_000), " y".repeat(50_000));
        let shown = shown(&text, 100_000..100_005);
        assert!(shown.len() < 2_000, "{} bytes", shown.len());
        assert!(shown.contains("s.toml:1:100001"), "{shown}");
        assert!(shown.contains("WRONG"), "{shown}");
        assert!(shown.contains("^^^^^"), "{shown}");
    }

    #[test]
    fn a_concealed_place_is_shown_as_an_ellipsis_by_every_complaint_about_its_line() {
        let text = "k = { group_key = \"hunter2\", other = 1 }";
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", text);
        diagnostics.conceal(Origin::at(id, 19..26));
        diagnostics.push(Diagnostic::error(Origin::at(id, 18..27), "secret"));
        diagnostics.push(Diagnostic::error(Origin::at(id, 29..34), "unknown"));
        let shown = diagnostics.render(false, Some(100));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("group_key = \"…\", other = 1"), "{shown}");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut diagnostics = Diagnostics::default();
        let id = diagnostics.add_source("s.toml", "a = 1");
        diagnostics.push(Diagnostic::warning(Origin::at(id, 0..1), "hm").help("do"));
        let styled = diagnostics.render(true, None);
        assert!(styled.contains('\u{1b}'));
        let plain = diagnostics.render(false, None);
        assert!(plain.ends_with("warning: s.toml: 1 warning\n"), "{plain}");
    }
}
