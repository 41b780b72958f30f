//! The merged figure beside those of the shards, and which shards differ.

use crate::plan::Shard;
use crate::record::durations::enough_for;
use crate::record::{Durations, Latency, PopulationRecord};
use crate::result::decode::Damage;
use crate::result::file::{
    Beyond, Estimate, Figure, Measured, Merged, Quantiles, RunResult, ShardFigure, ShardPart, Spread,
    SpreadFigure,
};
use crate::step::{Milestone, StepKind, View};

/// Standard deviations of a quantile's rank that chance is allowed.
pub const DIFFERS_SIGMAS: f64 = 4.0;

/// A shard's figure that is off by less than this part of the merged one is not worth a word, however sure it is.
pub const DIFFERS_OFF: f64 = 0.1;

/// With fewer shards than this nobody can say which one differs from the others.
pub const DIFFERS_FROM_SHARDS: usize = 3;

/// What is kept of a shard. Its offset is known when all shards are.
pub(super) fn part(index: u32, result: &RunResult, total: &PopulationRecord) -> ShardPart {
    let facts = &result.facts;
    let milestones = Milestone::ALL.iter().map(|milestone| {
        let seen = &total.milestones[milestone.index()];
        figure(milestone.name(), &seen.took, seen.due)
    });
    let steps = StepKind::ALL.iter().map(|kind| {
        let step = total.step(*kind);
        figure(kind.name(), step.view(View::Response), step.total_of(View::Response))
    });
    ShardPart {
        index,
        verdict: result.judgement.as_ref().map(|judgement| judgement.verdict),
        started: facts.started.clone(),
        offset_ns: 0,
        duration_ns: facts.duration_ns,
        devices: total.devices.started,
        messages: result.headline.messages,
        lateness_p99: result.headline.lateness.p99,
        figures: milestones.chain(steps).filter(|figure| figure.of > 0).collect(),
    }
}

fn figure(kind: &str, durations: &Durations, due: u64) -> ShardFigure {
    let of = due.max(durations.count());
    ShardFigure {
        kind: kind.to_owned(),
        of,
        p50: estimate(durations, 0.5, of),
        p99: estimate(durations, 0.99, of),
    }
}

/// The quantile, between the values whose ranks lie [`DIFFERS_SIGMAS`] standard deviations from its own. A rank below the first
/// or above the last bounds nothing.
fn estimate(durations: &Durations, q: f64, of: u64) -> Option<Estimate> {
    if !enough_for(q, of) {
        return None;
    }
    let value = match durations.quantile(q, of)? {
        Latency::Within(duration) => Figure::Nanos(duration.as_nanos() as u64),
        Latency::Beyond => BEYOND,
    };
    let at_rank = |rank: f64| {
        let seen = durations.at_rank(rank as u64);
        seen.map_or(BEYOND, |duration| Figure::Nanos(duration.as_nanos() as u64))
    };
    let total = of as f64;
    let (rank, chance) = (q * total, DIFFERS_SIGMAS * (total * q * (1.0 - q)).sqrt());
    let (low, high) = ((rank - chance).floor(), (rank + chance).ceil());
    Some(Estimate {
        value,
        low: if low < 1.0 { Figure::Nanos(0) } else { at_rank(low) },
        high: if high > total { BEYOND } else { at_rank(high) },
    })
}

const BEYOND: Figure = Figure::Beyond(Beyond::Beyond);

/// Latencies in order: what has none is longer than all.
fn order(figure: Figure) -> (bool, u64) {
    match figure {
        Figure::Nanos(nanos) => (false, nanos),
        Figure::Beyond(_) => (true, 0),
    }
}

/// Checks what a file says of its shards, and works out again what follows from it.
pub(in crate::result) fn refresh(merged: &mut Merged, total: &Measured) -> Result<(), Damage> {
    let inconsistent = |what| Damage::Inconsistent { of: "the shards".to_owned(), what };
    if merged.count == 0 || merged.count > Shard::MAX {
        return Err(inconsistent("there is an impossible number of them"));
    }
    let mut all: Vec<u32> = merged.missing.clone();
    all.extend(merged.shards.iter().map(|shard| shard.index));
    all.sort_unstable();
    if !all.iter().copied().eq(0..merged.count) {
        return Err(inconsistent("not each of them is there or missing, once"));
    }
    merged.spread = spread(&merged.shards, total);
    Ok(())
}

/// The figures of `total`, and how they spread over `shards`.
pub(super) fn spread(shards: &[ShardPart], total: &Measured) -> Vec<Spread> {
    let milestones = total.milestones.iter().map(|m| (m.name.as_str(), &m.took.quantiles));
    let steps = total.steps.iter().map(|step| (step.kind.as_str(), &step.response.quantiles));
    milestones.chain(steps).map(|(kind, quantiles)| of_kind(kind, quantiles, shards)).collect()
}

fn of_kind(kind: &str, merged: &Quantiles, shards: &[ShardPart]) -> Spread {
    let figures = |which: fn(&ShardFigure) -> Option<Estimate>| {
        let of = |shard: &ShardPart| {
            let figure = shard.figures.iter().find(|figure| figure.kind == kind)?;
            Some((shard.index, which(figure)?))
        };
        shards.iter().filter_map(of).collect::<Vec<_>>()
    };
    Spread {
        kind: kind.to_owned(),
        p50: over(merged.p50, &figures(|figure| figure.p50)),
        p99: over(merged.p99, &figures(|figure| figure.p99)),
    }
}

fn over(merged: Option<Figure>, shards: &[(u32, Estimate)]) -> SpreadFigure {
    let values = || shards.iter().map(|(_, estimate)| estimate.value);
    let differs = |estimate: &Estimate| merged.is_some_and(|merged| differs(estimate, merged));
    SpreadFigure {
        merged,
        least: values().min_by_key(|value| order(*value)),
        most: values().max_by_key(|value| order(*value)),
        differ: if shards.len() < DIFFERS_FROM_SHARDS {
            Vec::new()
        } else {
            shards.iter().filter(|(_, estimate)| differs(estimate)).map(|(index, _)| *index).collect()
        },
    }
}

fn differs(estimate: &Estimate, merged: Figure) -> bool {
    let by_chance = (order(estimate.low)..=order(estimate.high)).contains(&order(merged));
    let is_off = match (estimate.value, merged) {
        (Figure::Nanos(value), Figure::Nanos(merged)) => {
            value.abs_diff(merged) as f64 > DIFFERS_OFF * merged as f64
        }
        (value, merged) => order(value) != order(merged),
    };
    !by_chance && is_off
}
