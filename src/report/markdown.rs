//! A result for a pull request or a wiki: verdict, thresholds, tables.

use super::shards;
use super::table::{figure, nanos, reconciled, step_cells, verdict_word, what_was_done};
use crate::result::file::{Measured, MessageExample, RunResult};
use crate::result::percentiles::{Percentiles, Row};
use crate::text::Untrusted;
use crate::units::show_count;

/// The report, as GitHub-flavoured Markdown.
pub fn render(result: &RunResult, percentiles: &Percentiles) -> String {
    let mut text = String::new();
    let facts = &result.facts;
    let verdict = result.judgement.as_ref().map(|judgement| judgement.verdict);
    text.push_str(&format!(
        "## {}: {}, {} at seed {}\n\n{}\n",
        verdict_word(verdict),
        safe(&facts.scenario),
        nanos(facts.duration_ns),
        facts.seed,
        what_was_done(result)
    ));
    let judgement = result.judgement.as_ref();
    let reasons = judgement.map(|judgement| judgement.reasons.as_slice()).unwrap_or_default();
    if !reasons.is_empty() {
        text.push('\n');
    }
    reasons.iter().for_each(|reason| text.push_str(&format!("- {}\n", safe(reason))));
    let thresholds = judgement.map(|judgement| judgement.thresholds.as_slice()).unwrap_or_default();
    let thresholds = thresholds.iter().map(|threshold| {
        let note = threshold.note.as_ref().map(|note| format!(" ({})", safe(note))).unwrap_or_default();
        let mark = if threshold.holds { "✅" } else { "❌" };
        vec![mark.to_owned(), safe(&threshold.text), format!("{}{note}", safe(&threshold.observed))]
    });
    table(&mut text, "Thresholds", &["", "threshold", "observed"].map(str::to_owned), 3, thresholds);
    steps(&mut text, result);
    latencies(&mut text, percentiles);
    shards(&mut text, result);
    failures(&mut text, result);
    messages(&mut text, result);
    text.push_str(&format!(
        "\n{} · run {} · muster {} · {} cores, {}\n",
        safe(&facts.started),
        safe(&facts.run_id),
        safe(&facts.muster_version),
        facts.machine.cores,
        safe(&facts.machine.cpu)
    ));
    text
}

fn steps(text: &mut String, result: &RunResult) {
    let heads = ["population", "step", "due", "acknowledged", "failed", "unknown", "not sent", "rate"];
    let mut groups: Vec<(String, &Measured)> =
        result.populations.iter().map(|p| (safe(&p.name), &p.measured)).collect();
    if groups.len() > 1 {
        groups.push(("all".to_owned(), &result.total));
    }
    let rows = groups.iter().flat_map(|(name, measured)| {
        measured.steps.iter().map(move |step| {
            let mut row = vec![name.clone(), safe(&step.kind)];
            row.extend(step_cells(step));
            row
        })
    });
    table(text, "Steps", &heads.map(str::to_owned), 2, rows);
}

/// Response and service time, waiting and lateness for each population, parts for all together.
fn latencies(text: &mut String, percentiles: &Percentiles) {
    let mut names = percentiles.names();
    names.push("max".to_owned());
    let mut groups: Vec<_> = percentiles.populations.iter().map(|(name, rows)| (safe(name), rows)).collect();
    if groups.len() > 1 {
        groups.push(("all".to_owned(), &percentiles.total));
    }
    let figures = |row: &Row| row.figures.iter().chain([&row.max]).map(|value| figure(*value)).collect();
    let row = |first: Vec<String>, row: &Row| [first, figures(row)].concat();
    let over_all = groups.iter().flat_map(|(name, rows)| {
        let rows = rows.iter().filter(|row| row.view != "took");
        rows.map(move |of| row(vec![name.clone(), safe(&of.kind), of.view.to_owned()], of))
    });
    let heads =
        |first: &[&str]| [first.iter().map(|head| (*head).to_owned()).collect(), names.clone()].concat();
    table(text, "Latency over all due", &heads(&["population", "what", "time"]), 3, over_all);
    let parts = percentiles.total.iter().filter(|row| row.view == "took");
    let parts = parts.map(|of| row(vec![safe(&of.kind)], of));
    table(text, "Of those that worked", &heads(&["what"]), 1, parts);
}

/// Merged figures and their spread over shards.
fn shards(text: &mut String, result: &RunResult) {
    let Some(merged) = &result.merged else { return };
    let heads = ["what", "p50", "least", "most", "p99", "least", "most"].map(str::to_owned);
    let rows = merged.spread.iter().map(|spread| {
        let figures = [&spread.p50, &spread.p99].into_iter();
        let figures = figures.flat_map(|figures| [figures.merged, figures.least, figures.most].map(figure));
        [vec![safe(&spread.kind)], figures.collect()].concat()
    });
    table(text, "Over shards", &heads, 1, rows);
    text.push('\n');
    for sentence in shards::different(merged).into_iter().chain([shards::began(merged)]) {
        text.push_str(&format!("- {}\n", safe(&sentence)));
    }
}

fn failures(text: &mut String, result: &RunResult) {
    let heads = ["owner", "class", "steps", "example", "remedy", "failed", "tried again"].map(str::to_owned);
    let rows = result.failures.iter().map(|group| {
        let example = group.examples.first().map(|example| safe(&example.detail)).unwrap_or_default();
        vec![
            safe(&group.owner),
            safe(&group.class),
            safe(&group.steps.join(", ")),
            example,
            safe(&group.remedy),
            show_count(group.count),
            show_count(group.retried),
        ]
    });
    table(text, "What went wrong", &heads, 5, rows);
}

/// What came of reconciling message by message.
fn messages(text: &mut String, result: &RunResult) {
    let Some(found) = result.facts.ledger.as_ref().and_then(|ledger| ledger.messages.as_ref()) else {
        return;
    };
    let mark = if found.is_whole() { "✅" } else { "❌" };
    if let Some(sentence) = reconciled(found) {
        text.push_str(&format!("\n{mark} {sentence}\n"));
    }
    for sentence in &found.by_totals {
        text.push_str(&format!("\nCompared by totals only, {}\n", safe(sentence)));
    }
    let kinds = [("lost", &found.lost), ("phantom", &found.phantom), ("counted twice", &found.counted_twice)];
    let rows = kinds.iter().flat_map(|(what, messages)| {
        let row = |example: &MessageExample| {
            vec![(*what).to_owned(), safe(&example.device_id), show_count(example.sequence)]
        };
        messages.examples.iter().map(row)
    });
    table(text, "Messages", &["", "device", "number"].map(str::to_owned), 2, rows);
}

/// A table below a heading; nothing if it has no rows.
///
/// * `left`: how many columns begin at the left; the others are figures
fn table(
    text: &mut String,
    title: &str,
    heads: &[String],
    left: usize,
    rows: impl Iterator<Item = Vec<String>>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let rule: Vec<_> = (0..heads.len()).map(|at| if at < left { "---" } else { "--:" }).collect();
    text.push_str(&format!("\n### {title}\n\n| {} |\n|{}|\n", heads.join(" | "), rule.join("|")));
    rows.for_each(|row| text.push_str(&format!("| {} |\n", row.join(" | "))));
}

/// Text that came out of a result, which may have been written by anybody.
fn safe(text: &str) -> String {
    Untrusted::new(text).markdown()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples::{self, Story};

    #[test]
    fn a_run_with_failures() {
        let result = samples::result(Story::Failing);
        insta::assert_snapshot!(render(&result, &result.usual_percentiles()));
    }

    #[test]
    fn one_population_and_percentiles_that_were_asked_for() {
        let result = samples::result(Story::Few);
        insta::assert_snapshot!(render(&result, &result.percentiles(&[25.0, 95.0]).expect("it is whole")));
    }

    #[test]
    fn text_of_a_stranger_is_no_markup() {
        let mut hostile = samples::result(Story::Failing);
        let markup = "<script>|[x](http://e.example) @all ![](y)\n# h";
        hostile.facts.scenario = markup.to_owned();
        hostile.populations[0].name = markup.to_owned();
        hostile.failures[0].examples[0].detail = markup.to_owned();
        let shown = "`<script>`&#124;`[x](http://e.example) @all ![](y)\\n# h`";
        let text = render(&hostile, &hostile.usual_percentiles());
        assert!(text.matches(shown).count() > 5, "{text}");
        assert!(!text.replace(shown, "").contains("script"), "{text}");
        for row in text.lines().filter(|line| line.starts_with("| ") && line.contains(shown)) {
            assert!(matches!(row.matches('|').count(), 8 | 9), "{row}");
        }
    }
}
