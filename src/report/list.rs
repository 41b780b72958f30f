//! The runs in a folder, a line each.

use serde_json::{Value, json};

use super::table::{Look, Page, figure, left, right, safe};
use crate::result::file::Verdict;
use crate::result::list::{Entry, Head};
use crate::units::show_count;

/// A line for each run; those that cannot be read follow, with the reason.
///
/// * `width`: below 96 columns there is no room for the date, which the folder's name has as well
pub fn render(entries: &[Entry], width: usize, colour: bool) -> String {
    let mut page = Page::new(width.clamp(80, 100), colour);
    let dated = page.width() >= 96;
    let runs: Vec<_> = entries.iter().filter_map(|e| Some((e, e.head.as_ref().ok()?))).collect();
    if !runs.is_empty() {
        let figures = ["assigned", "messages", "assigned p99", "send p99"];
        let heads: String = figures.iter().zip(WIDTHS).map(|(head, width)| right(head, width)).collect();
        let date = if dated { left("started (UTC)", DATE) } else { String::new() };
        let head = page.paint(Look::Dim, &format!("{date}{}{heads}  folder", left("verdict", VERDICT)));
        page.line(&head);
    }
    for (entry, head) in runs {
        let line = line(&page, entry, head, dated);
        page.line(&line);
    }
    let unread: Vec<_> = entries.iter().filter_map(|e| Some((e, e.head.as_ref().err()?))).collect();
    if !unread.is_empty() {
        page.heading("Cannot be read");
    }
    for (entry, why) in unread {
        let folder = entry.path.display().to_string();
        let why = why.to_string();
        // What went wrong in a file begins with its path.
        let text = if why.starts_with(&folder) { why } else { format!("{folder}: {why}") };
        page.wrapped("  ", &safe(&text), Look::Warning);
    }
    page.into_text()
}

const DATE: usize = 18;
const VERDICT: usize = 11;
const WIDTHS: [usize; 4] = [10, 11, 13, 9];

fn line(page: &Page, entry: &Entry, head: &Head, dated: bool) -> String {
    let (word, look) = match head.verdict {
        Some(Verdict::Pass) => ("pass", Look::Good),
        Some(Verdict::Part) => ("part", Look::Plain),
        Some(Verdict::Threshold) => ("threshold", Look::Bad),
        Some(Verdict::Void) => ("void", Look::Warning),
        Some(Verdict::Interrupted) => ("stopped", Look::Warning),
        Some(Verdict::Broken) => ("fault", Look::Bad),
        None => ("not judged", Look::Warning),
    };
    let figures = [
        show_count(head.devices_assigned),
        show_count(head.messages_acknowledged),
        figure(head.time_to_assigned_p99_ns),
        figure(head.send_response_p99_ns),
    ];
    let figures: String = figures.iter().zip(WIDTHS).map(|(cell, width)| right(cell, width)).collect();
    // To the minute: `2026-01-31T12:00` of `2026-01-31T12:00:00.123Z`.
    let minute: String = safe(&head.started).chars().take(16).collect();
    let date = if dated { left(&minute.replace('T', " "), DATE) } else { String::new() };
    format!("{date}{}{figures}  {}", page.paint(look, &left(word, VERDICT)), safe(&folder(entry)))
}

fn folder(entry: &Entry) -> String {
    entry.path.file_name().unwrap_or(entry.path.as_os_str()).to_string_lossy().into_owned()
}

/// One JSON object a line: `path` and the fields of [`Head`], or `path` and `error`. Text is escaped as for a terminal,
/// a latency is a number of nanoseconds, `"beyond"` or `null`.
pub fn render_json(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let path = safe_path(entry);
        let object: Value = match &entry.head {
            Ok(head) => {
                let head =
                    Head { scenario: safe(&head.scenario), started: safe(&head.started), ..head.clone() };
                let mut object = json!(head);
                object["path"] = json!(path);
                object
            }
            Err(why) => json!({ "path": path, "error": safe(&why.to_string()) }),
        };
        text.push_str(&format!("{object}\n"));
    }
    text
}

fn safe_path(entry: &Entry) -> String {
    let path = entry.path.display().to_string();
    // A path is to be opened again; only what would not survive a terminal is escaped.
    if path.chars().any(char::is_control) { safe(&path) } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::file::{Beyond, Figure};
    use crate::result::list::Unlisted;

    fn entries() -> Vec<Entry> {
        let head = |verdict, figure| Head {
            scenario: "first-run\u{1b}".to_owned(),
            started: "2026-01-31T12:00:00.123Z".to_owned(),
            verdict,
            devices_assigned: 1_000,
            messages_acknowledged: 1_234_567,
            time_to_assigned_p99_ns: figure,
            send_response_p99_ns: Some(Figure::Nanos(4_350_000)),
        };
        let entry = |path: &str, head| Entry { path: format!("results/{path}").into(), head };
        vec![
            entry("first-run-20260131T120000Z", Ok(head(Some(Verdict::Pass), None))),
            entry("x\u{1b}[2J", Ok(head(Some(Verdict::Threshold), Some(Figure::Beyond(Beyond::Beyond))))),
            entry("y", Ok(head(None, Some(Figure::Nanos(3_020_000_000))))),
            entry("first-run-20260131T110000Z", Err(Unlisted::Unfinished)),
        ]
    }

    #[test]
    fn runs_are_a_line_each_within_a_hundred_columns() {
        let text = render(&entries(), 100, false);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_narrow_terminal_gets_no_date() {
        insta::assert_snapshot!(render(&entries(), 80, true).replace('\u{1b}', "ESC"));
    }

    #[test]
    fn for_programs_an_object_a_line() {
        insta::assert_snapshot!(render_json(&entries()));
    }
}
