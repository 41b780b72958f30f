//! What `[thresholds]` means, once the populations are known.

use std::time::Duration;

use crate::document::{Diagnostic, Diagnostics};
use crate::plan::threshold::{Comparison, Ending, Metric};
use crate::plan::{Population, Threshold};
use crate::scenario::build::{refused, unknown_name};
use crate::scenario::target::TargetKind;
use crate::scenario::threshold;
use crate::scenario::written::{self, Scenario};
use crate::step::{Milestone, StepKind, View};

pub(super) fn thresholds(
    written: &Scenario,
    populations: &[Population],
    target: TargetKind,
    diagnostics: &mut Diagnostics,
) -> Vec<Threshold> {
    if written.thresholds.is_empty() {
        return defaults(populations);
    }
    let names: Vec<&str> = written.fleets.iter().map(|fleet| fleet.name.as_str()).collect();
    let mut thresholds = Vec::new();
    for line in &written.thresholds {
        let (metric, population) = match threshold::metric(&line.metric.value) {
            Ok(read) => read,
            Err(refusal) => {
                diagnostics.push(refused(line.metric.origin, refusal));
                continue;
            }
        };
        let population = match population {
            None => None,
            Some(name) => match names.iter().position(|known| *known == name) {
                Some(index) => Some(index),
                None => {
                    diagnostics.push(refused(line.metric.origin, unknown_name("fleet", name, &names)));
                    continue;
                }
            },
        };
        let (comparison, limit) = match threshold::limit(&line.limit.value, metric) {
            Ok(read) => read,
            Err(refusal) => {
                diagnostics.push(refused(line.limit.origin, refusal));
                continue;
            }
        };
        let about = match population {
            Some(index) => populations.get(index..=index).unwrap_or_default(),
            None => populations,
        };
        if let Some(reason) = never_sampled(metric, about, target) {
            diagnostics.push(
                Diagnostic::warning(line.metric.origin, format!("this threshold cannot hold: {reason}"))
                    .help("remove it, or change the fleet"),
            );
        }
        thresholds.push(Threshold {
            text: format!("{} {}", line.metric.value, line.limit.value.value.trim()),
            metric,
            population,
            comparison,
            limit,
            abort_after: abort_after(line, metric, comparison, limit, diagnostics),
        });
    }
    thresholds
}

/// After how long the threshold ends the run; refused where it could not be told in time, or would be crossed until the
/// run's end.
fn abort_after(
    line: &written::Threshold,
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

/// The thresholds of a scenario that gives none: of each kind of step that its devices make, one must have worked.
fn defaults(populations: &[Population]) -> Vec<Threshold> {
    let made = |kind: StepKind| {
        populations.iter().any(|population| match kind {
            StepKind::Register => population.provision.is_some(),
            StepKind::Connect => population.connect.is_some(),
            StepKind::Send => population.telemetry.is_some(),
        })
    };
    let kinds = StepKind::ALL.iter().copied().filter(|kind| made(*kind));
    kinds
        .map(|kind| Threshold {
            text: format!("{}.failed.share < 100 % (default)", kind.name()),
            metric: Metric::Share(Some(kind), Ending::Unsuccessful),
            population: None,
            comparison: Comparison::Below,
            limit: 1.0,
            abort_after: None,
        })
        .collect()
}

/// Why no step that the metric is about is ever due; without samples a latency fails its threshold.
fn never_sampled(metric: Metric, populations: &[Population], target: TargetKind) -> Option<&'static str> {
    let kind = match metric {
        Metric::Latency(kind, ..) => kind,
        Metric::Milestone(Milestone::TimeToAssigned, _) => StepKind::Register,
        Metric::Milestone(Milestone::TimeToFirstTelemetry, _) => StepKind::Send,
        _ => return None,
    };
    let silent =
        !populations.is_empty() && populations.iter().all(|population| population.telemetry.is_none());
    match kind {
        StepKind::Register if target == TargetKind::Hub => Some("without DPS no device registers"),
        StepKind::Send if silent => Some("no device that it is about sends telemetry"),
        _ => None,
    }
}
