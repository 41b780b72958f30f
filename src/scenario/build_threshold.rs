//! What `[thresholds]` and `[gate]` mean, once the populations are known.

use std::time::Duration;

use crate::document::node::Text;
use crate::document::{Diagnostic, Diagnostics};
use crate::plan::threshold::{Comparison, Ending, Metric};
use crate::plan::{Gate, Population, Protocol, Threshold};
use crate::scenario::build::{refused, unknown_name};
use crate::scenario::target::TargetKind;
use crate::scenario::threshold;
use crate::scenario::written::{Limit, Scenario};
use crate::step::{Milestone, StepKind, View};

/// What `[thresholds]` means, once the populations are known.
pub(super) fn thresholds(
    written: &Scenario,
    populations: &[Population],
    target: TargetKind,
    diagnostics: &mut Diagnostics,
) -> Vec<Threshold> {
    if written.thresholds.is_empty() {
        return defaults(populations);
    }
    let mut thresholds = Vec::new();
    for line in &written.thresholds {
        let Some((metric, population)) = subject(line, written, diagnostics) else { continue };
        let (comparison, limit) = match threshold::limit(&line.limit.value, metric) {
            Ok(read) => read,
            Err(refusal) => {
                diagnostics.push(refused(line.limit.origin, refusal));
                continue;
            }
        };
        if let Some(reason) = never_sampled(metric, about(populations, population), target) {
            diagnostics.push(
                Diagnostic::warning(line.metric.origin, format!("this threshold cannot hold: {reason}"))
                    .help("remove it, or change the fleet"),
            );
        }
        let abort_after = abort_after(line, metric, comparison, limit, diagnostics);
        thresholds.push(Threshold { text: text(line), metric, population, comparison, limit, abort_after });
    }
    thresholds
}

/// After how long the threshold ends the run; refused where it could not be told in time, or would be crossed until the
/// run's end.
fn abort_after(
    line: &Limit,
    metric: Metric,
    comparison: Comparison,
    limit: f64,
    diagnostics: &mut Diagnostics,
) -> Option<Duration> {
    let after = line.abort_after.spanned()?;
    let grows = matches!(metric, Metric::Count(..))
        && (matches!(comparison, Comparison::AtLeast | Comparison::Above)
            || comparison == Comparison::Equal && limit > 0.0);
    let refusal = match metric {
        Metric::Milestone(..) => Some((
            "milestones are known at the end of a run only",
            "use register.response or connect.response",
        )),
        Metric::Latency(_, view, _) if view != View::Response => Some((
            "only response times are known while a run goes",
            "use `response`, or remove `abort_after`",
        )),
        _ if grows => {
            Some(("this count is reached at the end at the earliest", "remove `abort_after`, or use a rate"))
        }
        _ => None,
    };
    if let Some((reason, help)) = refusal {
        diagnostics.push(
            Diagnostic::error(after.origin, format!("this threshold cannot end a run: {reason}")).help(help),
        );
    }
    Some(after.value)
}

/// Reads a threshold back from the text that reports show, for the populations of these names; `None` if it is none. It ends
/// no run.
pub(super) fn from_text(shown: &str, fleets: &[&str]) -> Option<Threshold> {
    let plain = shown.strip_suffix(BY_DEFAULT).unwrap_or(shown);
    let mut spaces = plain.rmatch_indices(' ').map(|(at, _)| at);
    let at = spaces.find(|at| plain[at + 1..].starts_with(['<', '=', '>']))?;
    let (metric, population) = threshold::metric(plain[..at].trim_end()).ok()?;
    let population = match population {
        None => None,
        Some(name) => Some(fleets.iter().position(|known| *known == name)?),
    };
    let limit = Text { value: plain[at + 1..].to_owned(), written: None };
    let (comparison, limit) = threshold::limit(&limit, metric).ok()?;
    Some(Threshold { text: shown.to_owned(), metric, population, comparison, limit, abort_after: None })
}

/// What `[gate]` means, once the populations are known.
pub(super) fn gates(
    written: &Scenario,
    populations: &[Population],
    target: TargetKind,
    diagnostics: &mut Diagnostics,
) -> Vec<Gate> {
    let mut gates = Vec::new();
    for line in &written.gates {
        let Some((metric, population)) = subject(line, written, diagnostics) else { continue };
        if let Some(refusal) = threshold::not_gated(&line.metric.value, metric) {
            diagnostics.push(refused(line.metric.origin, refusal));
            continue;
        }
        let allowed = match threshold::allowed(&line.limit.value) {
            Ok(allowed) => allowed,
            Err(refusal) => {
                diagnostics.push(refused(line.limit.origin, refusal));
                continue;
            }
        };
        if let Some(reason) = never_sampled(metric, about(populations, population), target) {
            diagnostics.push(
                Diagnostic::warning(line.metric.origin, format!("there is nothing to compare: {reason}"))
                    .help("remove it, or change the fleet"),
            );
        }
        gates.push(Gate { text: text(line), metric, population, allowed });
    }
    if !written.gates.is_empty() {
        diagnostics.push(
            Diagnostic::warning(
                written.gate,
                "`[gate]` is compared against a baseline only, which this version cannot do yet",
            )
            .help("what makes this run pass are its [thresholds]; [gate] may stay for a later version"),
        );
    }
    gates
}

/// The metric of a line and the population that it is about; `None`, with a complaint, if it names none that there is.
fn subject(
    line: &Limit,
    written: &Scenario,
    diagnostics: &mut Diagnostics,
) -> Option<(Metric, Option<usize>)> {
    let read = threshold::metric(&line.metric.value).and_then(|(metric, population)| {
        let Some(name) = population else { return Ok((metric, None)) };
        let names: Vec<&str> = written.fleets.iter().map(|fleet| fleet.name.as_str()).collect();
        match names.iter().position(|known| *known == name) {
            Some(index) => Ok((metric, Some(index))),
            None => Err(unknown_name("fleet", name, &names)),
        }
    });
    read.map_err(|refusal| diagnostics.push(refused(line.metric.origin, refusal))).ok()
}

/// The populations that a line is about.
fn about(populations: &[Population], population: Option<usize>) -> &[Population] {
    match population {
        Some(index) => populations.get(index..=index).unwrap_or_default(),
        None => populations,
    }
}

/// A line as reports show it.
fn text(line: &Limit) -> String {
    format!("{} {}", line.metric.value, line.limit.value.value.trim())
}

/// Marks the text of a threshold that nobody wrote.
const BY_DEFAULT: &str = " (default)";

/// The thresholds of a scenario that gives none: of each kind of step that its devices make, one must have worked.
fn defaults(populations: &[Population]) -> Vec<Threshold> {
    let made = |kind: StepKind| {
        populations.iter().any(|population| match kind {
            StepKind::Register => population.provision.is_some(),
            StepKind::Connect => population.connect.is_some(),
            StepKind::Send => population.telemetry.is_some(),
            StepKind::TwinGet => population.chores.twin.as_ref().is_some_and(|twin| twin.gets),
            StepKind::TwinReport => population
                .chores
                .twin
                .as_ref()
                .is_some_and(|twin| twin.reports || twin.report_every.is_some()),
            // Most runs end before a token does, and others decide what comes from the cloud.
            StepKind::Renew | StepKind::MethodReply | StepKind::C2dReceive => false,
        })
    };
    let kinds = StepKind::ALL.iter().copied().filter(|kind| made(*kind));
    kinds
        .map(|kind| Threshold {
            text: format!("{}.failed.share < 100 %{BY_DEFAULT}", kind.name()),
            metric: Metric::Share(Some(kind), Ending::Unsuccessful),
            population: None,
            comparison: Comparison::Below,
            limit: 1.0,
            abort_after: None,
        })
        .collect()
}

/// Why no step that the metric is about is ever due; without samples a latency fails its threshold, and so does the share of
/// a step.
fn never_sampled(metric: Metric, populations: &[Population], target: TargetKind) -> Option<&'static str> {
    let kind = match metric {
        Metric::Latency(kind, ..) | Metric::Share(Some(kind), _) => kind,
        Metric::Milestone(Milestone::TimeToAssigned, _) => StepKind::Register,
        Metric::Milestone(Milestone::TimeToFirstTelemetry, _) => StepKind::Send,
        _ => return None,
    };
    let silent =
        !populations.is_empty() && populations.iter().all(|population| population.telemetry.is_none());
    let renews = |population: &Population| population.connect.is_some_and(Protocol::is_mqtt);
    match kind {
        StepKind::Renew if !populations.iter().any(renews) => Some(
            "only over MQTT is a token renewed by a step of its own, and no device that it is about connects so",
        ),
        StepKind::Register if target == TargetKind::Hub => Some("without DPS no device registers"),
        StepKind::Send if silent => Some("no device that it is about sends telemetry"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_read_back_from_the_text_that_reports_show() {
        let read = |text: &str| from_text(text, &["sensors", "gate ways"]);
        let share = read("failed.share = 0 %").expect("a threshold");
        assert_eq!((share.metric, share.limit), (Metric::Share(None, Ending::Unsuccessful), 0.0));
        let default = read("send.failed.share < 100 % (default)").expect("a threshold");
        assert_eq!((default.limit, default.text.as_str()), (1.0, "send.failed.share < 100 % (default)"));
        let of = read("send[gate ways].response.p99 <= 250ms").expect("a threshold");
        assert_eq!((of.population, of.comparison, of.limit), (Some(1), Comparison::AtMost, 0.25));
        for wrong in
            ["", "failed.share", "failed.share 0 %", "fly.p99 < 1s", "send[others].response.p99 < 1s", "a < "]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
