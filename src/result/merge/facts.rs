//! What is known of several shards together.

use std::collections::BTreeMap;

use super::once;
use crate::record;
use crate::result::file::{Ended, Facts, Generator, Ledger, Messages, Noise, OffsetBy, Pace, RunClock};
use crate::time::UnixTime;
use crate::units::show_count;

/// When the shards' run clocks began.
pub(super) struct Offsets {
    /// By how much later than the first, in the order of the shards.
    pub(super) each_ns: Vec<u64>,
    /// From which clock.
    pub(super) by: OffsetBy,
}

/// Run clocks that begin further apart than this are told in a note: it is the resolution of the timeline.
const APART_NS: u64 = 1_000_000_000;

/// The facts of `all` shards of a run, of which there is at least one, in the order of their indices.
pub(super) fn together(all: &[&Facts]) -> (Facts, Offsets) {
    let offsets = offsets(all);
    let first = all[0];
    let earliest = offsets.each_ns.iter().position(|offset| *offset == 0).unwrap_or(0);
    let mut notes = once(all.iter().flat_map(|facts| facts.notes.iter().cloned()));
    let apart = offsets.each_ns.iter().copied().max().unwrap_or(0);
    if apart > APART_NS {
        notes.push(format!(
            "The shards began up to {:.1} s apart: what stands beside each other in the timeline happened at the same time of \
             their run clocks, and not at the same time.",
            apart as f64 / 1e9
        ));
    }
    if all.iter().any(|facts| facts.machine != first.machine) {
        notes.push("The shards ran on different machines; that of the first is shown.".to_owned());
    }
    let clock = first.clock.as_ref().filter(|_| offsets.by == OffsetBy::MonotonicClock);
    let facts = Facts {
        shard: None,
        clock: clock.map(|clock| RunClock {
            zero_ns: all.iter().filter_map(|f| Some(f.clock.as_ref()?.zero_ns)).min().unwrap_or(0),
            ..clock.clone()
        }),
        started: all[earliest].started.clone(),
        duration_ns: all.iter().map(|facts| facts.duration_ns).max().unwrap_or(0),
        threads: all.iter().map(|facts| facts.threads).fold(0, u32::saturating_add),
        ended: ended(all),
        generator: generator(all),
        pace: pace(all),
        ledger: ledger(all),
        notes,
        ..first.clone()
    };
    (facts, offsets)
}

fn offsets(all: &[&Facts]) -> Offsets {
    let clocks: Vec<&RunClock> =
        all.iter().filter_map(|facts| facts.clock.as_ref()).filter(|clock| !clock.boot.is_empty()).collect();
    let is_shared = clocks.len() == all.len() && clocks.windows(2).all(|pair| pair[0].boot == pair[1].boot);
    let (zeros, by): (Vec<u64>, _) = if is_shared {
        (clocks.iter().map(|clock| clock.zero_ns).collect(), OffsetBy::MonotonicClock)
    } else {
        let wall = |facts: &&Facts| UnixTime::parse_rfc3339(&facts.started).map_or(0, UnixTime::nanos);
        (all.iter().map(wall).collect(), OffsetBy::WallClocks)
    };
    let first = zeros.iter().copied().min().unwrap_or(0);
    Offsets { each_ns: zeros.into_iter().map(|zero| zero - first).collect(), by }
}

fn ended(all: &[&Facts]) -> Ended {
    let any = |ended| all.iter().any(|facts| facts.ended == ended);
    match (any(Ended::Interrupted), any(Ended::Aborted)) {
        (true, _) => Ended::Interrupted,
        (false, true) => Ended::Aborted,
        (false, false) => Ended::Completed,
    }
}

/// Sums, but for what cannot be added: the shards' peaks are added as if they were at the same time, and of the noise floors'
/// percentiles the worst is taken.
fn generator(all: &[&Facts]) -> Generator {
    let sum = |figure: fn(&Generator) -> u64| {
        all.iter().map(|facts| figure(&facts.generator)).fold(0, u64::saturating_add)
    };
    let most = |figure: fn(&Generator) -> u64| all.iter().map(|facts| figure(&facts.generator)).max();
    let noise = noise(all);
    Generator {
        cpu_ns: sum(|used| used.cpu_ns),
        peak_rss_bytes: sum(|used| used.peak_rss_bytes),
        base_rss_bytes: sum(|used| used.base_rss_bytes),
        peak_connected: sum(|used| used.peak_connected),
        descriptors: most(|used| used.descriptors).unwrap_or(0),
        descriptor_limit: most(|used| used.descriptor_limit).unwrap_or(0),
        noise_floor_p99_ns: noise.as_ref().and_then(|noise| noise.p99_ns),
        syn_retransmissions: syn_retransmissions(all),
        noise,
    }
}

/// Each counts those of its whole machine, so that of the shards of one machine the largest count is taken.
fn syn_retransmissions(all: &[&Facts]) -> Option<u64> {
    let mut machines: BTreeMap<String, u64> = BTreeMap::new();
    for (at, facts) in all.iter().enumerate() {
        let count = facts.generator.syn_retransmissions?;
        let boot = facts.clock.as_ref().map(|clock| clock.boot.clone()).unwrap_or_default();
        let machine = if boot.is_empty() { format!("unknown {at}") } else { boot };
        let known = machines.entry(machine).or_default();
        *known = (*known).max(count);
    }
    Some(machines.into_values().fold(0, u64::saturating_add))
}

fn noise(all: &[&Facts]) -> Option<Noise> {
    let each: Vec<&Noise> = all.iter().filter_map(|facts| facts.generator.noise.as_ref()).collect();
    let sum = |figure: fn(&Noise) -> u64| each.iter().map(|noise| figure(noise)).fold(0, u64::saturating_add);
    let worst = |figure: fn(&Noise) -> Option<u64>| each.iter().filter_map(|noise| figure(noise)).max();
    Some(Noise {
        wakes: sum(|noise| noise.wakes),
        period_ns: each.first()?.period_ns,
        p50_ns: worst(|noise| noise.p50_ns),
        p99_ns: worst(|noise| noise.p99_ns),
        max_ns: worst(|noise| noise.max_ns),
        over_1ms: sum(|noise| noise.over_1ms),
        over_10ms: sum(|noise| noise.over_10ms),
        over_100ms: sum(|noise| noise.over_100ms),
        over_1s: sum(|noise| noise.over_1s),
        cpu_ns: sum(|noise| noise.cpu_ns),
    })
}

/// Each shard keeps its worst window; the worst of those is the worst of any shard, and nothing is known of their sum.
fn pace(all: &[&Facts]) -> Option<Pace> {
    let rank = |pace: &Pace| {
        let worst = pace.worst();
        (worst.off() >= record::Pace::TELLS_FROM, worst.error())
    };
    let each = all.iter().filter_map(|facts| facts.pace.as_ref());
    each.cloned().reduce(|worst, next| {
        let windows = worst.windows.saturating_add(next.windows);
        let taken = if rank(&next) > rank(&worst) { next } else { worst };
        Pace { windows, ..taken }
    })
}

/// Every emulator's books, added. What both sides counted alike is a number and what it counts.
fn ledger(all: &[&Facts]) -> Option<Ledger> {
    let mut sum = Ledger::default();
    let mut agreed: Vec<(String, u64)> = Vec::new();
    let mut messages = Some(Messages::default());
    let mut is_known = false;
    for facts in all {
        let Some(ledger) = &facts.ledger else { continue };
        is_known = true;
        for (name, count) in &ledger.totals {
            let total = sum.totals.entry(name.clone()).or_default();
            *total = total.saturating_add(*count);
        }
        for sentence in &ledger.agreed {
            let (count, what) = sentence.split_once(' ').unwrap_or(("", sentence));
            let count = count.replace(',', "").parse().unwrap_or(0u64);
            match agreed.iter_mut().find(|(known, _)| known == what) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => agreed.push((what.to_owned(), count)),
            }
        }
        match (&mut messages, &ledger.messages) {
            (Some(sum), Some(one)) => sum.merge(one),
            // One that was compared by totals only leaves the whole at that.
            (sum, _) => *sum = None,
        }
        let index = facts.shard.map_or(0, |shard| shard.index);
        sum.differences.extend(ledger.differences.iter().map(|text| format!("shard {index}: {text}")));
    }
    sum.agreed = agreed.into_iter().map(|(what, count)| format!("{} {what}", show_count(count))).collect();
    sum.messages = messages;
    is_known.then_some(sum)
}
