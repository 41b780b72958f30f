//! Delays of a known distribution: what devices measure against what the emulator stamped.

use super::quantile;
use super::trial::Trial;
use crate::report::verification::{Check, Claim, Relation, Unit};
use crate::units::show_count;

/// How far a quantile may be from that of the stamps, above the 99th percentile of the noise floor.
const BAND: f64 = 1e-3;

const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Each fleet with a hub of its own: name, protocol, the hub's delay.
const FLEETS: [(&str, &str, &str); 3] = [
    ("constant", "mqtt", "\"20ms\""),
    ("lognormal", "mqtt", "{ lognormal = { median = \"20ms\", p99 = \"150ms\" } }"),
    // A fifth, so that no quantile below lies at the jump.
    ("bimodal", "https", "{ bimodal = { low = \"5ms\", high = \"80ms\", high_share = \"20 %\" } }"),
];

/// Three hubs with three delays, and a fleet for each at 300 messages a second.
pub(super) fn scenario(seed: u64) -> String {
    let mut text = format!(
        "# Question  Are delays of a known distribution found again?\n\
         # Healthy   quantiles of service times are those of the emulator's stamps.\n\
         version = 1\nseed = {seed}\nduration = \"7s\"\ndrain = \"5s\"\n\n\
         [emulator.dps]\nretry_after = \"none\"\nassign = \"0s\"\n\n[measure]\nsends_from = \"3s\"\n"
    );
    for (name, protocol, delay) in FLEETS {
        text.push_str(&format!(
            "\n[emulator.hub.{name}]\ndelay = {delay}\n\
             [enrollment.{name}]\ngroup_key = \"generated\"\nallocation = {{ static = \"{name}\" }}\n\
             [fleet.{name}]\nenrollment = \"{name}\"\ncount = 150\nid = \"{name}-{{n}}\"\nstart.rate = \"75/s\"\n\
             provision = \"{protocol}\"\nconnect = \"{protocol}\"\n\
             [fleet.{name}.telemetry]\nevery = \"500ms\"\nbytes = \"300 B\"\n"
        ));
    }
    text
}

pub(super) fn claims(trial: &Trial) -> Vec<Claim> {
    let (_, floor) = trial.floor();
    let claim = |(name, protocol, _): (&str, &str, &str)| {
        let pairs = trial.pairs(name);
        let sorted = |mut values: Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let ours = sorted(
            pairs
                .iter()
                .map(|pair| pair.fate.observation.finished.since(pair.fate.observation.started).as_secs_f64())
                .collect(),
        );
        let theirs = sorted(pairs.iter().map(|pair| pair.residence.time().as_secs_f64()).collect());
        let at = |values: &[f64], q| quantile(values, q).unwrap_or(f64::INFINITY);
        let worst = QUANTILES.iter().map(|q| (at(&ours, *q) - at(&theirs, *q)).abs());
        let worst =
            worst.fold(0.0, |worst: f64, one| if one.is_finite() { worst.max(one) } else { f64::INFINITY });
        let list = |values: &[f64]| {
            let shown = QUANTILES.map(|q| format!("{:.1}", at(values, q) * 1e3));
            shown.join(", ")
        };
        Claim::new(
            Check::Delays,
            format!("{name} over {}: p50, p90, p99 differ by up to", protocol.to_ascii_uppercase()),
            Unit::Seconds,
            worst,
            (Relation::AtMost, BAND + floor),
        )
        .noting(format!(
            "measured {} ms, stamped {} ms, {} messages",
            list(&ours),
            list(&theirs),
            show_count(pairs.len() as u64)
        ))
        .unless(trial.is_void())
    };
    FLEETS.map(claim).into()
}
