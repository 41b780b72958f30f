//! What devices ask of hubs that take messages from the cloud over HTTPS.

use std::time::Duration;

use super::load::{Flow, PopulationLoad, SECOND};
use super::{Plan, Population, Protocol, Starts};

/// Questions for messages from the cloud a second, of one device that takes them over HTTPS, if none comes.
fn questions_per_second(population: &Population) -> f64 {
    match (population.connect, population.chores.messages) {
        (Some(Protocol::Https), Some(messages)) => 1.0 / messages.poll_every.as_secs_f64(),
        _ => 0.0,
    }
}

/// How many devices are looked at to find the mean of all.
const LOOKED_AT: u64 = 10_000;

/// Questions of one device after its first, until the run ends; the mean of all. None if the run has no end of its own, for
/// devices leave when they have sent what they have to send.
fn later_questions(plan: &Plan, population: &Population, devices: u64) -> f64 {
    let (Some(duration), each) = (plan.duration, questions_per_second(population)) else { return 0.0 };
    let starts = Starts { count: devices, ..population.starts(plan) };
    let (mut sum, mut looked_at) = (0.0, 0u64);
    for start in starts.sample(LOOKED_AT).take_while(|start| *start <= duration) {
        sum += ((duration - start).as_secs_f64() * each).floor();
        looked_at += 1;
    }
    if looked_at == 0 { 0.0 } else { sum / looked_at as f64 }
}

/// Whether a device that only asks for messages closes its connection from one question to the next.
pub(super) fn lets_go_between_questions(population: &Population) -> bool {
    let keep = population.keep_connection.as_secs_f64();
    let questions = questions_per_second(population);
    questions > 0.0 && 1.0 / questions > keep
}

/// The questions for messages from the cloud of all devices that have started, the most in a second and in a minute; `None` if
/// nobody asks over HTTPS.
pub(super) fn questions(plan: &Plan, loads: &[PopulationLoad]) -> Option<Flow> {
    let mut flow = Flow { total: 0.0, per_s: 0.0, per_min: 0.0, at_most: false };
    for (population, load) in plan.populations.iter().zip(loads) {
        let (each, devices) = (questions_per_second(population), load.devices as f64);
        if each > 0.0 {
            // The first comes with the first connection, and the others on top of those that come anew.
            let starts = population.starts(plan);
            let first = |within| starts.most_within(within, plan.duration) as f64;
            flow.total += devices * (1.0 + later_questions(plan, population, load.devices));
            flow.per_s += (devices * each).max(first(SECOND));
            flow.per_min += (devices * each * 60.0).max(first(MINUTE));
        }
    }
    (flow.total > 0.0).then_some(flow)
}

/// Connections that are made for such questions alone.
pub(super) fn reconnects(plan: &Plan, population: &Population, load: &PopulationLoad) -> Flow {
    let alone = population.telemetry.is_none() && lets_go_between_questions(population);
    let each = if alone { questions_per_second(population) } else { 0.0 };
    let devices = load.devices as f64;
    Flow {
        total: if alone { devices * later_questions(plan, population, load.devices) } else { 0.0 },
        per_s: devices * each,
        per_min: devices * each * 60.0,
        at_most: false,
    }
}

/// A window that holds the events of one minute: its ends belong to it.
const MINUTE: Duration = Duration::from_nanos(59_999_999_999);
