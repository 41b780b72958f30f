//! What devices ask of hubs that take messages from the cloud over HTTPS.

use std::time::Duration;

use super::load::{Flow, PopulationLoad, SECOND};
use super::{Plan, Population, Protocol, Starts};

/// Time between two questions for messages from the cloud, of one device that takes them over HTTPS, if none comes.
fn poll_every(population: &Population) -> Option<Duration> {
    let messages = population.chores.messages.filter(|_| population.connect == Some(Protocol::Https));
    messages.map(|messages| messages.poll_every)
}

/// How many devices are looked at to find the mean of all.
const LOOKED_AT: u64 = 10_000;

/// Questions of one device after its first, until the run ends; the mean of all. None if the run has no end of its own, for
/// devices leave when they have sent what they have to send.
fn later_questions(plan: &Plan, population: &Population, devices: u64) -> f64 {
    let (Some(duration), Some(every)) = (plan.duration, poll_every(population)) else { return 0.0 };
    let starts = Starts { count: devices, ..population.starts(plan) };
    let (mut sum, mut looked_at) = (0.0, 0u64);
    for start in starts.sample(LOOKED_AT).take_while(|start| *start <= duration) {
        sum += (duration - start).div_duration_f64(every).floor();
        looked_at += 1;
    }
    if looked_at == 0 { 0.0 } else { sum / looked_at as f64 }
}

/// Whether a device that only asks for messages closes its connection from one question to the next.
pub(super) fn lets_go_between_questions(population: &Population) -> bool {
    poll_every(population).is_some_and(|every| every > population.keep_connection)
}

/// The questions for messages from the cloud of all devices that have started, the most in a second and in a minute; `None` if
/// nobody asks over HTTPS.
pub(super) fn questions(plan: &Plan, loads: &[PopulationLoad]) -> Option<Flow> {
    let mut flow = Flow { total: 0.0, per_s: 0.0, per_min: 0.0, at_most: false };
    for (population, load) in plan.populations.iter().zip(loads) {
        if let Some(every) = poll_every(population) {
            let in_a_minute = load.devices as f64 * 60.0 / every.as_secs_f64();
            // The first comes with the first connection, and the others on top of those that come anew.
            let starts = population.starts(plan);
            let first = |within| starts.most_within(within, plan.duration) as f64;
            flow.total += load.devices as f64 * (1.0 + later_questions(plan, population, load.devices));
            flow.per_s += (in_a_minute / 60.0).max(first(SECOND));
            flow.per_min += in_a_minute.max(first(MINUTE));
        }
    }
    (flow.total > 0.0).then_some(flow)
}

/// Connections that are made for such questions alone.
pub(super) fn reconnects(plan: &Plan, population: &Population, load: &PopulationLoad) -> Flow {
    let alone = population.telemetry.is_none() && lets_go_between_questions(population);
    let every = poll_every(population).filter(|_| alone);
    let in_a_minute = every.map_or(0.0, |every| load.devices as f64 * 60.0 / every.as_secs_f64());
    let later = every.map_or(0.0, |_| later_questions(plan, population, load.devices));
    Flow {
        total: load.devices as f64 * later,
        per_s: in_a_minute / 60.0,
        per_min: in_a_minute,
        at_most: false,
    }
}

/// A window that holds the events of one minute: its ends belong to it.
const MINUTE: Duration = Duration::from_nanos(59_999_999_999);
