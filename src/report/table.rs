//! Text that lines up, with or without colour.

use std::time::Duration;

use crate::result::file::{Figure, Messages, RunResult, Step, Verdict};
use crate::text::Untrusted;
use crate::units::{show_count, show_duration};

/// How a piece of text looks, where colour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Heading,
    Dim,
    Good,
    Bad,
    Warning,
}

/// Writes lines of a width, in colour or not.
pub(super) struct Page {
    text: String,
    width: usize,
    colour: bool,
}

impl Page {
    pub(super) fn new(width: usize, colour: bool) -> Self {
        Self { text: String::new(), width, colour }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// `text` with that look. Padding is for the caller to add outside of it.
    pub(super) fn paint(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Heading => "1",
            Look::Dim => "2",
            Look::Good => "1;32",
            Look::Bad => "1;31",
            Look::Warning => "1;33",
            Look::Plain => return text.to_owned(),
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// One line as it is; blanks at its end are dropped.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// An empty line and a heading.
    pub(super) fn heading(&mut self, title: &str) {
        let title = self.paint(Look::Heading, title);
        self.line("");
        self.line(&title);
    }

    /// Plain text broken between words, the first line beginning with `first` and the others indented below its end.
    pub(super) fn wrapped(&mut self, first: &str, text: &str, look: Look) {
        let indent = columns(first);
        let room = self.width.saturating_sub(indent).max(20);
        let mut lead = first.to_owned();
        for line in wrap(text, room) {
            let painted = self.paint(look, &line);
            self.line(&format!("{lead}{painted}"));
            lead = " ".repeat(indent);
        }
    }
}

/// Columns that `text` takes: one for each character, which holds for everything this program writes itself.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// `text` with blanks after it.
pub(super) fn left(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// `text` with blanks before it.
pub(super) fn right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Breaks `text` between words into lines of `room` columns; a longer word is broken itself.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let used = columns(line);
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= room {
                line.push_str(&" ".repeat(gap));
                line.extend(word);
                break;
            }
            if used == 0 {
                let rest = word.split_off(room);
                line.extend(word);
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// What came of reconciling message by message, as a sentence; `None` if no message was.
pub(super) fn reconciled(found: &Messages) -> Option<String> {
    if found.devices == 0 && found.is_whole() {
        return None;
    }
    let mut text = format!(
        "{} messages reconciled one by one: {} lost, {} phantom, {} counted twice",
        show_count(found.messages),
        show_count(found.lost.count),
        show_count(found.phantom.count),
        show_count(found.counted_twice.count)
    );
    for (count, what) in [
        (found.arrived_again, "arrived again after they were sent again"),
        (found.written_not_arrived, "written and not arrived (QoS 0)"),
        (found.unknown_arrived, "of unknown outcome had arrived"),
        (found.not_ours, "with ids of another form"),
    ] {
        if count > 0 {
            text.push_str(&format!("; {} {what}", show_count(count)));
        }
    }
    Some(text)
}

/// Text that came out of a result, which may have been written by anybody.
pub(super) fn safe(text: &str) -> String {
    Untrusted::new(text).terminal()
}

/// A duration of a result.
pub(super) fn nanos(nanos: u64) -> String {
    show_duration(Duration::from_nanos(nanos))
}

/// A figure, `–` where there are too few samples for it.
pub(super) fn figure(figure: Option<Figure>) -> String {
    match figure {
        Some(Figure::Nanos(value)) => nanos(value),
        Some(Figure::Beyond(_)) => "> deadline".to_owned(),
        None => "–".to_owned(),
    }
}

/// A time on the run clock for scripts: seconds with all their decimals.
pub(super) fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// The verdict in capitals.
pub(super) fn verdict_word(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Pass) => "PASS",
        Some(Verdict::Part) => "PART",
        Some(Verdict::Threshold) => "THRESHOLD CROSSED",
        Some(Verdict::Void) => "VOID",
        Some(Verdict::Interrupted) => "INTERRUPTED",
        Some(Verdict::Broken) => "FAULT",
        None => "NOT JUDGED",
    }
}

/// Devices, how many were assigned, and their messages.
pub(super) fn what_was_done(result: &RunResult) -> String {
    let head = &result.headline;
    let devices = if head.devices == 1 { "device" } else { "devices" };
    let mut did = vec![format!("{} {devices}", show_count(head.devices))];
    if result.total.steps.iter().any(|step| step.kind == "register") {
        did.push(format!("{} assigned", show_count(head.assigned)));
    }
    if head.messages_due > 0 {
        let (sent, due) = (show_count(head.messages), show_count(head.messages_due));
        did.push(format!("{sent} of {due} messages acknowledged"));
    }
    did.join(" · ")
}

/// Due, acknowledged (or written, where nothing confirms), failed, unknown, not sent, and the rate.
pub(super) fn step_cells(step: &Step) -> [String; 6] {
    [
        show_count(step.all.due),
        show_count(step.all.acknowledged.saturating_add(step.all.written)),
        show_count(step.failed),
        show_count(step.unknown),
        show_count(step.not_sent),
        step.rate_per_s.map_or("–".to_owned(), |rate| format!("{rate:.1}/s")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_a_long_word_within() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a abcdefghij b", 4), ["a", "abcd", "efgh", "ij b"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
