//! When messages came, as the emulator saw it, against when the plan wanted them.

use std::time::Duration;

use super::paired::{RANDOM_DEVICES, SECONDS, WARM_UP_S};
use super::quantile;
use super::trial::Trial;
use crate::report::verification::{Check, Claim, Relation, Unit};
use crate::units::show_count;

/// Median of the time from when a message is due until the emulator has read it, above the noise floor: our lateness, and the
/// way there.
const MEDIAN: f64 = 200e-6;

/// How far the rate of arrivals may be from the plan's over ten seconds.
const RATE: f64 = 0.001;

/// Largest distance from the exponential distribution, times the square root of the number of gaps, that chance alone exceeds in
/// 1 of 100 cases (Kolmogorov and Smirnov).
const DISTANCE: f64 = 1.63;

pub(super) fn claims(trial: &Trial) -> Vec<Claim> {
    let from = trial.epoch + Duration::from_secs(WARM_UP_S);
    let until = from + Duration::from_secs(SECONDS);
    let pairs = trial.pairs("mqtt");
    let mut late: Vec<f64> = pairs
        .iter()
        .map(|pair| {
            pair.residence.arrived.nanos() as f64 / 1e9 - pair.fate.observation.due.nanos() as f64 / 1e9
        })
        .collect();
    late.sort_unstable_by(f64::total_cmp);
    let median = quantile(&late, 0.5).unwrap_or(f64::INFINITY);
    let (floor, _) = trial.floor();

    let mqtt = |stamped: &&(String, u64)| stamped.0.starts_with("mqtt-");
    let within = |instant| instant >= from && instant < until;
    let due =
        trial.fates.iter().filter(|fate| trial.fleet(fate) == "mqtt" && within(fate.observation.due)).count();
    let arrivals = trial.stamps.keys().filter(mqtt).flat_map(|key| &trial.stamps[key]);
    let came = arrivals.filter(|residence| within(residence.arrived)).count();
    let error = (came as f64 - due as f64).abs() / (due as f64).max(1.0);

    let random = trial.stamps.iter().filter(|((device, _), _)| device.starts_with("poisson-"));
    let mut instants: Vec<u64> = random
        .flat_map(|(_, residences)| residences)
        .map(|residence| residence.arrived)
        .filter(|arrived| within(*arrived))
        .map(|arrived| arrived.nanos())
        .collect();
    instants.sort_unstable();
    let gaps: Vec<f64> = instants.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect();
    let distance = distance_from_exponential(&gaps, 1.0 / RANDOM_DEVICES as f64);

    let void = trial.is_void();
    vec![
        Claim::new(
            Check::Schedule,
            "from due to read by the emulator, median",
            Unit::Seconds,
            median,
            (Relation::AtMost, MEDIAN + floor),
        )
        .unless(void),
        Claim::new(
            Check::Schedule,
            format!("rate of arrivals over {SECONDS} s is off by"),
            Unit::Share,
            error,
            (Relation::AtMost, RATE),
        )
        .noting(format!("{} came, {} were due", show_count(came as u64), show_count(due as u64)))
        .unless(void),
        Claim::new(
            Check::Schedule,
            "random arrivals: distance from exponential gaps × √n",
            Unit::Count,
            distance,
            (Relation::AtMost, DISTANCE),
        )
        .noting(format!("{} gaps; chance alone exceeds the limit in 1 of 100 cases", gaps.len()))
        .unless(void),
    ]
}

/// Largest distance between the distribution of `gaps` and the exponential one of that mean, times the square root of their
/// number; infinite for none.
fn distance_from_exponential(gaps: &[f64], mean: f64) -> f64 {
    let mut gaps = gaps.to_vec();
    gaps.sort_unstable_by(f64::total_cmp);
    let count = gaps.len() as f64;
    let distances = gaps.iter().enumerate().map(|(index, gap)| {
        let expected = 1.0 - (-gap / mean).exp();
        (expected - index as f64 / count).max((index + 1) as f64 / count - expected)
    });
    distances.reduce(f64::max).map_or(f64::INFINITY, |distance| distance * count.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn exponential_gaps_are_accepted_and_others_are_not() {
        let mut stream = stream(7, "gaps", 0, Purpose::Arrival);
        let exponential: Vec<f64> = (0..1_000).map(|_| 0.01 * stream.exponential()).collect();
        assert!(distance_from_exponential(&exponential, 0.01) < DISTANCE);
        let even: Vec<f64> = (0..1_000).map(|_| stream.uniform(0.0, 0.02)).collect();
        assert!(distance_from_exponential(&even, 0.01) > 2.0 * DISTANCE);
        assert!(distance_from_exponential(&[0.01; 1_000], 0.01) > 2.0 * DISTANCE);
        // A rate that is off by a fifth.
        assert!(distance_from_exponential(&exponential, 0.012) > DISTANCE);
        assert!(distance_from_exponential(&[], 0.01).is_infinite());
    }
}
