//! The summary on standard output: verdict first, then what led to it, then what it cost.

use super::table::{Look, Page, QUANTILES, columns, figure, left, nanos, quantile_cells, right, safe};
use crate::result::file::{Ended, FailureGroup, Judgement, Measured, Quantiles, RunResult, Step, Verdict};
use crate::units::show_count;

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
    let mut page = Page::new(options.width.clamp(80, 100), options.colour);
    verdict(&mut page, result);
    if let Some(judgement) = &result.judgement {
        thresholds(&mut page, judgement);
    }
    milestones(&mut page, &result.total);
    steps(&mut page, result);
    parts(&mut page, &result.total);
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
    let (word, look) = match verdict {
        Some(Verdict::Pass) => ("PASS", Look::Good),
        Some(Verdict::Threshold) => ("THRESHOLD CROSSED", Look::Bad),
        Some(Verdict::Void) => ("VOID", Look::Warning),
        Some(Verdict::Interrupted) => ("INTERRUPTED", Look::Warning),
        Some(Verdict::Broken) => ("FAULT", Look::Bad),
        None => ("NOT JUDGED", Look::Warning),
    };
    let facts = &result.facts;
    let head = &result.headline;
    let stopped = if facts.ended == Ended::Aborted { ", stopped early" } else { "" };
    let word = page.paint(look, word);
    page.line(&format!(
        "{word}  {}, {} at seed {}{stopped}",
        safe(&facts.scenario),
        nanos(facts.duration_ns),
        facts.seed
    ));
    let devices = if head.devices == 1 { "device" } else { "devices" };
    let mut did = vec![format!("{} {devices}", show_count(head.devices))];
    if result.total.steps.iter().any(|step| step.kind == "register") {
        did.push(format!("{} assigned", show_count(head.assigned)));
    }
    if head.messages_due > 0 {
        let (sent, due) = (show_count(head.messages), show_count(head.messages_due));
        did.push(format!("{sent} of {due} messages acknowledged"));
    }
    page.line(&format!("      {}", did.join(" · ")));
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

/// Layout of a table of quantiles.
struct Columns {
    label: usize,
    figure: usize,
}

impl Columns {
    fn of(page: &Page) -> Self {
        // Five figures of at most ten characters (`> deadline`), and what is left for the label.
        let figure = if page.width() >= 96 { 12 } else { 11 };
        Self { label: page.width() - 5 * figure, figure }
    }

    fn head(&self, page: &mut Page, title: &str) {
        let names: String = QUANTILES.iter().map(|name| right(name, self.figure)).collect();
        let line = format!(
            "{}{}",
            page.paint(Look::Heading, &left(title, self.label)),
            page.paint(Look::Dim, &names)
        );
        page.line("");
        page.line(&line);
    }

    fn row(&self, page: &mut Page, label: &str, quantiles: &Quantiles) {
        let cells: String = quantile_cells(quantiles).iter().map(|cell| right(cell, self.figure)).collect();
        if columns(label) < self.label {
            page.line(&format!("{}{cells}", left(label, self.label)));
        } else {
            page.line(label);
            page.line(&format!("{}{cells}", left("", self.label)));
        }
    }
}

fn milestones(page: &mut Page, total: &Measured) {
    if total.milestones.is_empty() {
        return;
    }
    let columns = Columns::of(page);
    columns.head(page, "Over all due");
    for milestone in &total.milestones {
        let mut label = safe(&milestone.name).replace('_', " ");
        if let Some(first) = label.get(..1).map(str::to_ascii_uppercase) {
            label.replace_range(..1, &first);
        }
        columns.row(page, &label, &milestone.took.quantiles);
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
            let cells = [
                show_count(step.all.due),
                show_count(step.all.acknowledged.saturating_add(step.all.written)),
                show_count(step.failed),
                show_count(step.unknown),
                show_count(step.not_sent),
                step.rate_per_s.map_or("–".to_owned(), |rate| format!("{rate:.1}/s")),
            ];
            let cells: String = cells.iter().zip(widths).map(|(cell, width)| right(cell, width)).collect();
            page.line(&format!("{}{cells}", left(&format!("  {}{written}", safe(&step.kind)), label)));
        }
    }
    let has_written = |measured: &Measured| measured.steps.iter().any(|step| step.all.written > 0);
    if has_written(&result.total) {
        page.wrapped("  ", "* written, for which no confirmation exists", Look::Dim);
    }

    let columns = Columns::of(page);
    columns.head(page, "Latency over all due");
    for (name, measured) in &groups {
        if named {
            page.line(&page.paint(Look::Dim, name));
        }
        for step in &measured.steps {
            for (kind, view, timing) in
                [(step.kind.as_str(), "response", &step.response), ("", "service", &step.service)]
            {
                columns.row(page, &format!("  {} {view}", left(&safe(kind), 8)), &timing.quantiles);
            }
        }
    }
}

/// Exchanges, phases and poll waits: what steps were made of.
fn parts(page: &mut Page, total: &Measured) {
    let exchanges = total.exchanges.iter().map(|e| (safe(&e.name), &e.took, e.failed));
    let waits = total.poll_wait.iter().map(|took| ("wait between polls".to_owned(), took, 0));
    let phases = total.phases.iter().map(|p| (format!("{} {}", safe(&p.party), safe(&p.phase)), &p.took, 0));
    let parts: Vec<_> = exchanges.chain(waits).chain(phases).collect();
    if parts.is_empty() {
        return;
    }
    let columns = Columns::of(page);
    columns.head(page, "Of those that worked");
    for (name, took, _) in &parts {
        columns.row(page, &format!("  {name}"), &took.quantiles);
    }
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
    if result.failures.is_empty() && unknown.is_empty() && not_sent.is_empty() {
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
        memory.push(format!("memory {} at most", bytes(used.peak_rss_bytes)));
    }
    if let Some(each) = head.memory_per_device_bytes {
        memory.push(format!("{} per connected device", bytes(each)));
    }
    if used.descriptors > 0 {
        let limit = show_count(used.descriptor_limit);
        memory.push(format!("{} of {limit} descriptors", show_count(used.descriptors)));
    }
    let mut late = format!(
        "lateness p50 {}, p99 {}, max {}",
        figure(head.lateness.p50),
        figure(head.lateness.p99),
        figure(head.lateness.max)
    );
    if let Some(floor) = used.noise_floor_p99_ns {
        late.push_str(&format!("; noise floor p99 {}", nanos(floor)));
    }
    let machine = &result.facts.machine;
    let threads = format!(
        "threads: {} on {} cores; {}, {} {}",
        result.facts.threads,
        machine.cores,
        safe(&machine.cpu),
        safe(&machine.os),
        safe(&machine.kernel)
    );
    for line in [cpu.join(", "), memory.join(", "), late, threads] {
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
}

/// A size of memory: one decimal is all that it is good for.
fn bytes(count: u64) -> String {
    let (unit, size) = if count >= 1 << 30 {
        ("GiB", 1u64 << 30)
    } else if count >= 1 << 20 {
        ("MiB", 1 << 20)
    } else {
        ("KiB", 1 << 10)
    };
    format!("{:.1} {unit}", count as f64 / size as f64)
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
