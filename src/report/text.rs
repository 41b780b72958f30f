//! The summary on standard output: verdict first, then what led to it, then what it cost.

use super::shards;
use super::table::{
    Look, Page, columns, figure, left, nanos, reconciled, right, safe, step_cells, verdict_word,
    what_was_done,
};
use crate::result::file::{Ended, FailureGroup, Judgement, Measured, Noise, RunResult, Step, Verdict};
use crate::result::percentiles::{Percentiles, Row};
use crate::units::{show_bytes, show_count};

/// How the summary is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    /// Columns to keep within: 80 to 100; anything else is taken as the nearer of the two.
    pub width: usize,
    /// Whether to use colour.
    pub colour: bool,
    /// Where the files of the run are, if they were kept.
    pub directory: Option<&'a str>,
}

/// The summary of a run.
pub fn render(result: &RunResult, options: &Options<'_>) -> String {
    render_percentiles(result, options, &result.usual_percentiles())
}

/// The summary of a run with these percentiles instead of the usual ones; tables with more than fit are continued below.
pub fn render_percentiles(result: &RunResult, options: &Options<'_>, percentiles: &Percentiles) -> String {
    let mut page = Page::new(options.width.clamp(80, 100), options.colour);
    verdict(&mut page, result);
    if let Some(judgement) = &result.judgement {
        thresholds(&mut page, judgement);
    }
    milestones(&mut page, &result.total, percentiles);
    steps(&mut page, result);
    latencies(&mut page, result, percentiles);
    delays(&mut page, &result.total, percentiles);
    parts(&mut page, &result.total, percentiles);
    if let Some(merged) = &result.merged {
        shards::table(&mut page, merged);
    }
    failures(&mut page, result);
    generator(&mut page, result);
    files(&mut page, result, options.directory);
    page.into_text()
}

/// The verdict and what led to it, without the figures.
pub fn render_verdict(result: &RunResult, options: &Options<'_>) -> String {
    let mut page = Page::new(options.width.clamp(80, 100), options.colour);
    verdict(&mut page, result);
    page.into_text()
}

fn verdict(page: &mut Page, result: &RunResult) {
    let verdict = result.judgement.as_ref().map(|judgement| judgement.verdict);
    let look = match verdict {
        Some(Verdict::Pass) => Look::Good,
        Some(Verdict::Threshold | Verdict::Broken) => Look::Bad,
        Some(Verdict::Void | Verdict::Interrupted) | None => Look::Warning,
        Some(Verdict::Part) => Look::Plain,
    };
    let facts = &result.facts;
    let stopped = if facts.ended == Ended::Aborted { ", stopped early" } else { "" };
    let word = page.paint(look, verdict_word(verdict));
    page.line(&format!(
        "{word}  {}, {} at seed {}{stopped}",
        safe(&facts.scenario),
        nanos(facts.duration_ns),
        facts.seed
    ));
    page.line(&format!("      {}", what_was_done(result)));
    for reason in result.judgement.iter().flat_map(|judgement| &judgement.reasons) {
        page.wrapped("      ", &safe(reason), look);
    }
}

fn thresholds(page: &mut Page, judgement: &Judgement) {
    if judgement.thresholds.is_empty() {
        return;
    }
    page.heading("Thresholds");
    let texts: Vec<_> = judgement.thresholds.iter().map(|threshold| safe(&threshold.text)).collect();
    let width = texts.iter().map(|text| columns(text)).max().unwrap_or(0).min(page.width() - 34);
    for (threshold, text) in judgement.thresholds.iter().zip(&texts) {
        let mark = if threshold.holds { page.paint(Look::Good, "✓") } else { page.paint(Look::Bad, "✗") };
        let note = threshold.note.as_ref().map(|note| format!(" ({})", safe(note))).unwrap_or_default();
        let observed = safe(&threshold.observed);
        if columns(text) > width {
            page.line(&format!("  {mark} {text}"));
            page.line(&format!("    {}  observed {observed}{note}", left("", width)));
        } else {
            page.line(&format!("  {mark} {}  observed {observed}{note}", left(text, width)));
        }
    }
}

/// One line of a table of percentiles.
enum Line<'a> {
    /// The name of a population.
    Group(&'a str),
    /// A label, and the figures for it.
    Figures(String, &'a Row),
}

/// Figures that fit beside a label.
const FIGURES: usize = 5;

/// A table of percentiles and the largest. What does not fit beside the labels follows in a table of its own.
fn table(page: &mut Page, title: &str, percentiles: &Percentiles, lines: &[Line<'_>]) {
    // Figures have at most ten characters (`> deadline`); what is left is for the label.
    let width = if page.width() >= 96 { 12 } else { 11 };
    let label_width = page.width() - FIGURES * width;
    let mut names = percentiles.names();
    names.push("max".to_owned());
    for (at, names) in names.chunks(FIGURES).enumerate() {
        let names: String = names.iter().map(|name| right(name, width)).collect();
        let title = page.paint(Look::Heading, &left(title, label_width));
        let head = format!("{title}{}", page.paint(Look::Dim, &names));
        page.line("");
        page.line(&head);
        for line in lines {
            let (label, row) = match line {
                Line::Group(name) => {
                    page.line(&page.paint(Look::Dim, name));
                    continue;
                }
                Line::Figures(label, row) => (label, row),
            };
            let figures = row.figures.iter().chain([&row.max]).skip(at * FIGURES).take(FIGURES);
            let cells: String = figures.map(|value| right(&figure(*value), width)).collect();
            if columns(label) < label_width {
                page.line(&format!("{}{cells}", left(label, label_width)));
            } else {
                page.line(label);
                page.line(&format!("{}{cells}", left("", label_width)));
            }
        }
    }
}

/// The figures of that name. Each is there: rows are made of the same result.
fn line<'a>(rows: &'a [Row], label: String, kind: &str, view: &str) -> Option<Line<'a>> {
    let row = rows.iter().find(|row| row.kind == kind && row.view == view)?;
    Some(Line::Figures(label, row))
}

fn milestones(page: &mut Page, total: &Measured, percentiles: &Percentiles) {
    let lines = total.milestones.iter().filter_map(|milestone| {
        let mut label = safe(&milestone.name).replace('_', " ");
        if let Some(first) = label.get(..1).map(str::to_ascii_uppercase) {
            label.replace_range(..1, &first);
        }
        line(percentiles.rows(None), label, &milestone.name, "response")
    });
    let lines: Vec<_> = lines.collect();
    if !lines.is_empty() {
        table(page, "Over all due", percentiles, &lines);
    }
}

/// Each population by name, and all together where there are several.
fn groups(result: &RunResult) -> Vec<(String, &Measured)> {
    let mut groups: Vec<_> =
        result.populations.iter().map(|population| (safe(&population.name), &population.measured)).collect();
    if groups.len() > 1 {
        groups.push(("all".to_owned(), &result.total));
    }
    groups
}

fn steps(page: &mut Page, result: &RunResult) {
    let groups = groups(result);
    let named = groups.len() > 1;
    let heads = ["due", "acknowledged", "failed", "unknown", "not sent", "rate"];
    let widths = if page.width() >= 96 { [14, 15, 12, 12, 12, 13] } else { [11, 14, 9, 10, 10, 11] };
    let label = page.width() - widths.iter().sum::<usize>();
    let names: String = heads.iter().zip(widths).map(|(head, width)| right(head, width)).collect();
    let head =
        format!("{}{}", page.paint(Look::Heading, &left("Steps", label)), page.paint(Look::Dim, &names));
    page.line("");
    page.line(&head);
    for (name, measured) in &groups {
        if named {
            page.line(&page.paint(Look::Dim, name));
        }
        for step in &measured.steps {
            // What was written without confirmation (QoS 0) has no column of its own: it says so beside the name.
            let written = if step.all.written > 0 { " *" } else { "" };
            let cells: String =
                step_cells(step).iter().zip(widths).map(|(cell, width)| right(cell, width)).collect();
            page.line(&format!("{}{cells}", left(&format!("  {}{written}", safe(&step.kind)), label)));
        }
    }
    let has_written = |measured: &Measured| measured.steps.iter().any(|step| step.all.written > 0);
    if has_written(&result.total) {
        page.wrapped("  ", "* written, for which no confirmation exists", Look::Dim);
    }
}

fn latencies(page: &mut Page, result: &RunResult, percentiles: &Percentiles) {
    let groups = groups(result);
    let mut lines = Vec::new();
    for (at, (name, measured)) in groups.iter().enumerate() {
        let steps = measured.steps.iter().filter(|step| !is_only_written(step));
        // All together come last.
        let rows = percentiles.rows((at < result.populations.len()).then_some(at));
        let mut of_group = Vec::new();
        for step in steps {
            for (kind, view) in [(step.kind.as_str(), "response"), ("", "service")] {
                let label = format!("  {} {view}", left(&safe(kind), 8));
                of_group.extend(line(rows, label, &step.kind, view));
            }
        }
        if groups.len() > 1 && !of_group.is_empty() {
            lines.push(Line::Group(name));
        }
        lines.append(&mut of_group);
    }
    if !lines.is_empty() {
        table(page, "Latency over all due", percentiles, &lines);
    }
    let only_written = result.populations.iter().flat_map(|population| &population.measured.steps);
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for step in only_written.filter(|step| is_only_written(step)) {
        let count = counts.entry(&step.kind).or_default();
        *count = count.saturating_add(step.all.written);
    }
    let counts: Vec<_> =
        counts.into_iter().map(|(kind, count)| format!("{} {}", show_count(count), safe(kind))).collect();
    if !counts.is_empty() {
        let text = format!("no latency of what nothing confirms: {} written", counts.join(", "));
        page.wrapped("  ", &text, Look::Dim);
    }
}

/// Whether nothing can be said of how long these took: each was written, and there is no confirmation.
fn is_only_written(step: &Step) -> bool {
    step.all.written > 0 && step.all.written == step.all.due
}

/// What response time holds besides service time, all populations together: waiting, which a slow service makes, and lateness,
/// which is ours.
fn delays(page: &mut Page, total: &Measured, percentiles: &Percentiles) {
    let rows = percentiles.rows(None);
    let mut lines = Vec::new();
    for step in total.steps.iter().filter(|step| !is_only_written(step)) {
        for (kind, view) in [(step.kind.as_str(), "waiting"), ("", "lateness")] {
            let label = format!("  {} {view}", left(&safe(kind), 8));
            lines.extend(line(rows, label, &step.kind, view));
        }
    }
    if !lines.is_empty() {
        table(page, "Before it was sent", percentiles, &lines);
    }
}

/// Exchanges, phases and poll waits: what steps were made of.
fn parts(page: &mut Page, total: &Measured, percentiles: &Percentiles) {
    let exchanges = total.exchanges.iter().map(|e| (safe(&e.name), e.name.clone(), e.failed));
    let waits = total.poll_wait.iter().map(|_| ("wait between polls".to_owned(), "poll_wait".to_owned(), 0));
    let phases = total
        .phases
        .iter()
        .map(|p| (format!("{} {}", safe(&p.party), safe(&p.phase)), format!("{}.{}", p.party, p.phase), 0));
    let parts: Vec<_> = exchanges.chain(waits).chain(phases).collect();
    if parts.is_empty() {
        return;
    }
    let rows = percentiles.rows(None);
    let lines = parts.iter().filter_map(|(name, kind, _)| line(rows, format!("  {name}"), kind, "took"));
    table(page, "Of those that worked", percentiles, &lines.collect::<Vec<_>>());
    let failed: Vec<_> = parts.iter().filter(|(_, _, failed)| *failed > 0).collect();
    if !failed.is_empty() {
        let list: Vec<_> =
            failed.iter().map(|(name, _, failed)| format!("{name} {}", show_count(*failed))).collect();
        page.wrapped("  did not work: ", &list.join(", "), Look::Plain);
    }
}

fn failures(page: &mut Page, result: &RunResult) {
    let ending = |counts: fn(&Step) -> &std::collections::BTreeMap<String, u64>| {
        let steps = result.total.steps.iter();
        let lines = steps.flat_map(move |step| {
            let named = counts(step).iter();
            named.map(|(why, count)| format!("{} {}: {}", show_count(*count), safe(&step.kind), safe(why)))
        });
        lines.collect::<Vec<_>>()
    };
    let unknown = ending(|step| &step.all.unknown);
    let not_sent = ending(|step| &step.all.not_sent);
    let repeated = repeated_syns(result);
    if result.failures.is_empty() && unknown.is_empty() && not_sent.is_empty() && repeated.is_none() {
        return;
    }
    page.heading("What went wrong");
    let mut owner = "";
    for group in &result.failures {
        if group.owner != owner {
            owner = &group.owner;
            page.line(&format!("  {}", page.paint(Look::Dim, &safe(owner))));
        }
        failure(page, group);
    }
    for (title, lines) in [("unknown: sent, and no answer came", unknown), ("not sent", not_sent)] {
        if !lines.is_empty() {
            page.line(&format!("  {}", page.paint(Look::Dim, title)));
        }
        for line in lines {
            page.wrapped("    ", &line, Look::Plain);
        }
    }
    let throttled: u64 = result.total.steps.iter().map(|s| s.retried_throttled).fold(0, u64::saturating_add);
    if throttled > 0 {
        let text = format!("{} requests were throttled (429) and tried again", show_count(throttled));
        page.wrapped("  ", &text, Look::Plain);
    }
    if let Some(text) = repeated {
        page.wrapped("  ", &text, Look::Warning);
    }
}

/// What to know about lost SYNs, if there were any: no step need have failed, and the service looks slow.
fn repeated_syns(result: &RunResult) -> Option<String> {
    let ours = result.headline.syn_repeated;
    let all = result.facts.generator.syn_retransmissions.unwrap_or(0);
    let count = match (ours, all) {
        (0, 0) => return None,
        (0, all) => format!("network: {} SYNs were repeated on this machine during the run", show_count(all)),
        (ours, 0) => format!("network: {} connections had their SYN repeated", show_count(ours)),
        (ours, all) => format!(
            "network: {} connections had their SYN repeated ({} on the whole machine)",
            show_count(ours),
            show_count(all)
        ),
    };
    Some(format!(
        "{count}; each costs 1 s or more and looks like a slow service: start fewer devices at a time, or look for a listener \
         whose backlog overflows"
    ))
}

fn failure(page: &mut Page, group: &FailureGroup) {
    let mut counts = Vec::new();
    if group.count > 0 {
        counts.push(format!("{} failed", show_count(group.count)));
    }
    if group.retried > 0 {
        counts.push(format!("{} attempts", show_count(group.retried)));
    }
    let steps: Vec<_> = group.steps.iter().map(|step| safe(step)).collect();
    let (first, last) = (nanos(group.first_ns), nanos(group.last_ns));
    let when = if first == last { format!("at {first}") } else { format!("from {first} to {last}") };
    let text = format!("{}: {} ({}), {when}", safe(&group.class), counts.join(", "), steps.join(", "));
    page.wrapped("    ", &text, if group.count > 0 { Look::Bad } else { Look::Warning });
    if let Some(example) = group.examples.first().filter(|example| !example.detail.is_empty()) {
        page.wrapped("      for example ", &safe(&example.detail), Look::Plain);
    }
    page.wrapped("      → ", &safe(&group.remedy), Look::Plain);
}

fn generator(page: &mut Page, result: &RunResult) {
    let used = &result.facts.generator;
    let head = &result.headline;
    page.heading("This machine");
    let mut cpu = Vec::new();
    if used.cpu_ns > 0 {
        cpu.push(format!("CPU {}", nanos(used.cpu_ns)));
        let each = head.cpu_per_message_ns;
        cpu.extend(each.map(|each| format!("{} per message, everything included", nanos(each))));
    }
    let mut memory = Vec::new();
    if used.peak_rss_bytes > 0 {
        memory.push(format!("memory {} at most", show_bytes(used.peak_rss_bytes)));
    }
    if let Some(each) = head.memory_per_device_bytes {
        memory.push(format!("{} per connected device", show_bytes(each)));
    }
    if used.descriptors > 0 {
        let limit = show_count(used.descriptor_limit);
        memory.push(format!("{} of {limit} descriptors", show_count(used.descriptors)));
    }
    let late = format!(
        "lateness p50 {}, p99 {}, max {}",
        figure(head.lateness.p50),
        figure(head.lateness.p99),
        figure(head.lateness.max)
    );
    let noise = used.noise.as_ref().map(noise).unwrap_or_default();
    let machine = &result.facts.machine;
    let threads = format!(
        "threads: {} on {} cores; {}, {} {}",
        result.facts.threads,
        machine.cores,
        safe(&machine.cpu),
        safe(&machine.os),
        safe(&machine.kernel)
    );
    for line in [cpu.join(", "), memory.join(", "), late, noise, threads] {
        if !line.is_empty() {
            page.wrapped("  ", &line, Look::Plain);
        }
    }
    let Some(ledger) = &result.facts.ledger else { return };
    if ledger.differences.is_empty() {
        let agreed: Vec<_> = ledger.agreed.iter().map(|sentence| safe(sentence)).collect();
        page.wrapped("  ✓ ", &format!("the emulator counted the same: {}", agreed.join(", ")), Look::Good);
    } else {
        for difference in &ledger.differences {
            page.wrapped("  ✗ ", &format!("the emulator counted otherwise: {}", safe(difference)), Look::Bad);
        }
    }
    let Some(messages) = &ledger.messages else { return };
    if let Some(sentence) = reconciled(messages) {
        let (mark, look) = if messages.is_whole() { ("  ✓ ", Look::Good) } else { ("  ✗ ", Look::Bad) };
        page.wrapped(mark, &sentence, look);
    }
    for sentence in &messages.by_totals {
        page.wrapped("  ! ", &format!("compared by totals only, {}", safe(sentence)), Look::Warning);
    }
}

/// The noise floor in a line.
fn noise(noise: &Noise) -> String {
    let shown = |figure: Option<u64>| figure.map_or("–".to_owned(), nanos);
    let mut text = format!(
        "noise floor p50 {}, p99 {}, max {}",
        shown(noise.p50_ns),
        shown(noise.p99_ns),
        shown(noise.max_ns)
    );
    if noise.over_10ms > 0 {
        let (late, wakes) = (show_count(noise.over_10ms), show_count(noise.wakes));
        text.push_str(&format!("; {late} of {wakes} wakes over 10 ms"));
    }
    text
}

fn files(page: &mut Page, result: &RunResult, directory: Option<&str>) {
    if result.facts.notes.is_empty() && directory.is_none() {
        return;
    }
    page.line("");
    for note in &result.facts.notes {
        page.wrapped("", &safe(note), Look::Plain);
    }
    if let Some(directory) = directory {
        page.line(&format!("Files: {}", safe(directory)));
    }
}

#[cfg(test)]
mod tests;
