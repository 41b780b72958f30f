//! Service times against the time that the emulator had each message: what is left is the way there and back.

use super::quantile;
use super::trial::Trial;
use crate::report::verification::{Check, Claim, Relation, Unit};
use crate::units::show_count;

/// Median of what the wire may take, above the noise floor.
const MEDIAN: f64 = 100e-6;

/// The same for the 99th percentile.
const P99: f64 = 1e-3;

/// Of [`mqtt`]: for how long the rate is held after the warm-up.
pub(super) const SECONDS: u64 = 10;

/// Of [`mqtt`]: devices that send at random instants, once a second each at the mean.
pub(super) const RANDOM_DEVICES: u64 = 100;

/// Of all scenarios here: end of the warm-up.
pub(super) const WARM_UP_S: u64 = 3;

/// A fleet at 1,000 messages a second over MQTT for ten seconds, and one that sends at random beside it.
pub(super) fn mqtt(seed: u64) -> String {
    let mut text = scenario(seed, "mqtt", WARM_UP_S + SECONDS);
    text.push_str(&format!(
        "\n# Each at random, once a second at the mean: all together a Poisson process.\n\
         [fleet.poisson]\ncount = {RANDOM_DEVICES}\nid = \"poisson-{{n}}\"\nstart.rate = \"50/s\"\n\
         [fleet.poisson.telemetry]\non_change = {{ every = \"1s\" }}\nbytes = \"300 B\"\n"
    ));
    text
}

/// A fleet at 1,000 messages a second over `protocol` for three seconds.
pub(super) fn plain(seed: u64, protocol: &str) -> String {
    scenario(seed, protocol, WARM_UP_S + 3)
}

fn scenario(seed: u64, protocol: &str, seconds: u64) -> String {
    format!(
        "# Question  How much of a service time over {protocol} is not the service's?\n\
         # Healthy   service time less stamped residence: median about 100 µs, never below zero.\n\
         version = 1\nseed = {seed}\nduration = \"{seconds}s\"\ndrain = \"5s\"\n\n\
         [emulator.dps]\nretry_after = \"none\"\nassign = \"0s\"\n\n\
         [measure]\nsends_from = \"{WARM_UP_S}s\"\n\n\
         [fleet.{protocol}]\ncount = 200\nid = \"{protocol}-{{n}}\"\nstart.rate = \"100/s\"\n\
         provision = \"{protocol}\"\nconnect = \"{protocol}\"\n\
         [fleet.{protocol}.telemetry]\nevery = \"200ms\"\nbytes = \"300 B\"\n"
    )
}

/// * `fleet`: whose messages
/// * `protocol`: for people
pub(super) fn claims(trial: &Trial, fleet: &str, protocol: &str) -> Vec<Claim> {
    let mut rest: Vec<i64> = trial
        .pairs(fleet)
        .iter()
        .map(|pair| {
            let service =
                pair.fate.observation.finished.nanos() as i64 - pair.fate.observation.started.nanos() as i64;
            service - pair.residence.time().as_nanos() as i64
        })
        .collect();
    rest.sort_unstable();
    let seconds = |q: f64| quantile(&rest, q).map_or(f64::INFINITY, |nanos| nanos as f64 / 1e9);
    let (floor, floor_p99) = trial.floor();
    let at_most = |what: &str, q, limit| {
        Claim::new(
            Check::Paired,
            format!("{protocol}: {what}"),
            Unit::Seconds,
            seconds(q),
            (Relation::AtMost, limit),
        )
        .unless(trial.is_void())
    };
    vec![
        at_most("median of what is not the service's", 0.5, MEDIAN + floor),
        at_most("99th percentile", 0.99, P99 + floor_p99),
        // No machine is so noisy that an answer comes before it was given.
        Claim::new(
            Check::Paired,
            format!("{protocol}: the least"),
            Unit::Seconds,
            seconds(0.0),
            (Relation::AtLeast, 0.0),
        )
        .noting(format!("of {} messages", show_count(rest.len() as u64))),
    ]
}
