//! What `[thresholds]` means, once the populations are known.

use crate::document::{Diagnostic, Diagnostics};
use crate::plan::threshold::{Comparison, Ending, Metric};
use crate::plan::{Population, Threshold};
use crate::scenario::build::{refused, unknown_name};
use crate::scenario::target::TargetKind;
use crate::scenario::threshold;
use crate::scenario::written::Scenario;
use crate::step::{Milestone, StepKind};

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
        });
    }
    thresholds
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
