//! What `[fleet.NAME]` means.

use std::collections::HashMap;
use std::time::Duration;

use crate::azure::registration::MAX_ID_LENGTH;
use crate::document::diagnostics::quote;
use crate::document::values::Refusal;
use crate::document::{Diagnostic, Diagnostics, Given, Origin};
use crate::payload::Longest;
use crate::plan::{Arrival, Deadlines, Enrollment, IdPattern, Keys, Population, Protocol, Telemetry};
use crate::scenario::build::{Paths, refused, unknown_name};
use crate::scenario::fleet::{Fleet, Rhythm, Telemetry as WrittenTelemetry};
use crate::scenario::payload;
use crate::scenario::written::{Scenario, TargetKind};
use crate::units::{MAX_DURATION, show_count, spell_duration};

const DEFAULT_KEEP_CONNECTION: Duration = Duration::from_secs(60);
const DEFAULT_QUEUE: u64 = 100;

pub(super) fn populations(
    written: &Scenario,
    enrollments: &[Enrollment],
    target: TargetKind,
    paths: &Paths<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Population> {
    let mut first_ids = HashMap::new();
    let mut files = payload::Files::new(paths);
    let mut populations = Vec::new();
    for fleet in &written.fleets {
        let population = population(fleet, written, enrollments, target, &mut files, diagnostics);
        // Ids are compared without case by the service. Patterns that agree in the first id usually agree in all.
        let first_id = population.id.render(0, "run").to_ascii_lowercase();
        if let Some(other) = first_ids.insert(first_id.clone(), fleet.origin)
            && !first_id.is_empty()
        {
            let origin = id_origin(fleet);
            diagnostics.push(
                Diagnostic::error(origin, "devices of two fleets would have the same registration id")
                    .related(other, "the other fleet")
                    .help("give each fleet an `id` of its own, or an individual enrollment of its own"),
            );
        }
        populations.push(population);
    }
    populations
}

fn population(
    fleet: &Fleet,
    written: &Scenario,
    enrollments: &[Enrollment],
    target: TargetKind,
    files: &mut payload::Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Population {
    let enrollment = enrollment(fleet, enrollments, diagnostics);
    let individual = match enrollment.and_then(|index| enrollments.get(index)).map(|found| &found.keys) {
        Some(Keys::Individual { registration_id, .. }) => Some(registration_id.as_str()),
        _ => None,
    };
    let count = count(fleet, enrollment.is_some(), individual.is_some(), diagnostics);
    let arrival = arrival(fleet, count, individual.is_some(), diagnostics);
    starts_before_the_end(fleet, &arrival, count, written, diagnostics);
    if target == TargetKind::Hub
        && let Some(provision) = fleet.provision.spanned()
    {
        diagnostics.push(
            Diagnostic::error(provision.origin, "`provision` has no meaning for a target of kind \"hub\"")
                .help("remove it: without DPS the devices go straight to the hub"),
        );
    }
    let deadlines = Deadlines::default();
    let known_count = fleet.count.value().is_some() || individual.is_some();
    let id = id(fleet, count, individual, diagnostics);
    let id_length = id.render(count.saturating_sub(1), "00000000").len();
    // What an enrollment of one device calls it at the hub is its own affair.
    let device_id = if individual.is_some() { MAX_ID_LENGTH } else { id_length };
    let longest = Longest { device_id, registration_id: id_length, population: &fleet.name };
    Population {
        name: fleet.name.clone(),
        count,
        id,
        enrollment: enrollment.unwrap_or(0),
        arrival,
        provision: (target != TargetKind::Hub).then_some(Protocol::Https),
        connect: connect(fleet, target, diagnostics),
        deadlines: Deadlines {
            register: fleet.register_deadline.or(deadlines.register),
            connect: fleet.connect_deadline.or(deadlines.connect),
            send: fleet.send_deadline.or(deadlines.send),
        },
        keep_connection: fleet.keep_connection.or(DEFAULT_KEEP_CONNECTION),
        telemetry: fleet.telemetry.as_ref().map(|telemetry| {
            self::telemetry(telemetry, count, known_count, written, longest, files, diagnostics)
        }),
    }
}

/// How the fleet talks to its hub; `None` if it only registers.
fn connect(fleet: &Fleet, target: TargetKind, diagnostics: &mut Diagnostics) -> Option<Protocol> {
    let Some(none) = fleet.connect.spanned().filter(|connect| connect.value == "none") else {
        return Some(Protocol::Https);
    };
    if target == TargetKind::Hub {
        diagnostics.push(
            Diagnostic::error(none.origin, "devices of a target of kind \"hub\" do nothing but connect")
                .help("remove `connect`, or choose another kind of target"),
        );
    }
    if let Some(telemetry) = &fleet.telemetry {
        diagnostics.push(
            Diagnostic::error(telemetry.origin, "devices that do not connect cannot send")
                .help("remove this table, or `connect = \"none\"`"),
        );
    }
    None
}

/// Index of the fleet's enrollment; `None` with a complaint if there is none.
fn enrollment(fleet: &Fleet, enrollments: &[Enrollment], diagnostics: &mut Diagnostics) -> Option<usize> {
    let names: Vec<&str> = enrollments.iter().map(|enrollment| enrollment.name.as_str()).collect();
    match &fleet.enrollment {
        Given::Broken => None,
        Given::Value(name) => {
            let found = names.iter().position(|known| *known == name.value.value);
            if found.is_none() {
                let refusal = unknown_name("enrollment", name.value.shown(), &names);
                diagnostics.push(refused(name.origin, refusal));
            }
            found
        }
        Given::Absent if enrollments.len() == 1 => Some(0),
        Given::Absent => {
            diagnostics.push(
                Diagnostic::error(
                    fleet.origin,
                    format!("`[fleet.{}]` does not say which enrollment it uses", fleet.name),
                )
                .help(format!(
                    "add enrollment = \"{}\", or another of the {} enrollments",
                    names.first().unwrap_or(&"plant"),
                    names.len()
                )),
            );
            None
        }
    }
}

fn count(fleet: &Fleet, has_enrollment: bool, individual: bool, diagnostics: &mut Diagnostics) -> u64 {
    match &fleet.count {
        Given::Value(count) if individual && count.value != 1 => {
            diagnostics.push(
                Diagnostic::error(count.origin, "an individual enrollment is for one device")
                    .help("remove `count`, or use an enrollment group"),
            );
            1
        }
        Given::Absent if !individual && has_enrollment => {
            diagnostics.push(
                Diagnostic::error(fleet.origin, format!("`[fleet.{}]` lacks `count`", fleet.name))
                    .help("add for example count = 500: how many devices there are"),
            );
            1
        }
        count => count.or(1),
    }
}

fn id(fleet: &Fleet, count: u64, individual: Option<&str>, diagnostics: &mut Diagnostics) -> IdPattern {
    if let Some(registration_id) = individual {
        if let Some(id) = fleet.id.spanned() {
            diagnostics.push(
                Diagnostic::error(
                    id.origin,
                    "the id of this fleet's device is the enrollment's registration id",
                )
                .help("remove `id`"),
            );
        }
        return IdPattern::parse(registration_id, 1).unwrap_or_else(|_| IdPattern::empty());
    }
    let default = format!("{}-{{n:05}}", fleet.name);
    let (pattern, from_environment) = match &fleet.id {
        Given::Value(id) => (id.value.value.as_str(), id.value.written.as_deref()),
        _ => (default.as_str(), None),
    };
    match IdPattern::parse(pattern, count) {
        Ok(pattern) => pattern,
        Err(error) => {
            let message = match from_environment {
                Some(written) => {
                    format!("{} is not a pattern of ids once the environment is filled in", quote(written))
                }
                None => error.to_string(),
            };
            let refusal = match message.split_once("; ") {
                Some((reason, remedy)) => Refusal::new(reason, remedy),
                None => Refusal::new(message, format!("for example id = \"{default}\"")),
            };
            // A name that no id can be made of was complained about already, and stands in no `id`.
            if fleet.id.value().is_some() {
                diagnostics.push(refused(id_origin(fleet), refusal));
            } else if !diagnostics.has_errors() {
                diagnostics.push(refused(fleet.origin, refusal));
            }
            IdPattern::empty()
        }
    }
}

fn id_origin(fleet: &Fleet) -> Origin {
    fleet.id.spanned().map_or(fleet.origin, |id| id.origin)
}

fn arrival(fleet: &Fleet, count: u64, individual: bool, diagnostics: &mut Diagnostics) -> Arrival {
    let at_once = Arrival::Burst { at: Duration::ZERO };
    // A broken count is no reason to ask for a start as well.
    let single = count == 1 && (individual || fleet.count.value() == Some(&1));
    if fleet.start.is_absent() && !single && fleet.count.value().is_some() {
        diagnostics.push(
            Diagnostic::error(
                fleet.origin,
                format!("`[fleet.{}]` does not say when its devices start", fleet.name),
            )
            .help("add for example start.rate = \"100/s\", or start.burst = { at = \"0s\" } for all at once"),
        );
    }
    fleet.start.or(at_once)
}

/// Warns of devices that never start.
fn starts_before_the_end(
    fleet: &Fleet,
    arrival: &Arrival,
    count: u64,
    written: &Scenario,
    diagnostics: &mut Diagnostics,
) {
    let (Some(start), Some(duration)) = (fleet.start.spanned(), written.duration.value()) else { return };
    if arrival.due(count - 1) < *duration {
        return;
    }
    // Starts never go back in time, so the first that is too late can be searched for.
    let (mut low, mut high) = (0, count - 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if arrival.due(middle) < *duration { low = middle + 1 } else { high = middle }
    }
    diagnostics.push(
        Diagnostic::warning(
            start.origin,
            format!(
                "{} of {} devices never start: the run ends at {}",
                show_count(count - low),
                show_count(count),
                spell_duration(*duration)
            ),
        )
        .help("start them faster, or raise `duration`"),
    );
}

fn telemetry(
    telemetry: &WrittenTelemetry,
    count: u64,
    known_count: bool,
    written: &Scenario,
    longest: Longest<'_>,
    files: &mut payload::Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Telemetry {
    let interval = match telemetry.rhythm.value() {
        Some(Rhythm::Every(every)) => *every,
        Some(Rhythm::FleetRate(rate)) => Telemetry::interval_of_fleet_rate(*rate, count),
        None => MAX_DURATION,
    };
    let rhythm_origin = telemetry.rhythm.spanned().map_or(telemetry.origin, |rhythm| rhythm.origin);
    if interval > MAX_DURATION && known_count {
        diagnostics.push(
            Diagnostic::error(
                rhythm_origin,
                format!("each device would send every {}", spell_duration(interval)),
            )
            .help(format!(
                "raise the rate: the longest time between two messages is {}",
                spell_duration(MAX_DURATION)
            )),
        );
    }
    let at_once = interval.is_zero();
    if telemetry.messages.is_absent() && at_once {
        diagnostics.push(
            Diagnostic::error(
                rhythm_origin,
                "`every = \"0s\"` sends all messages at once, but nothing says how many",
            )
            .help("add for example messages = 10"),
        );
    } else if telemetry.messages.is_absent() && written.duration.is_absent() {
        diagnostics.push(
            Diagnostic::error(rhythm_origin, "nothing ends this telemetry, so the run would never end")
                .help("add messages = 10 here, or duration = \"5m\" at the top of the scenario"),
        );
    }
    if let Some(jitter) = telemetry.jitter.spanned()
        && jitter.value > interval / 2
        && telemetry.rhythm.value().is_some()
        && known_count
    {
        diagnostics.push(
            Diagnostic::error(
                jitter.origin,
                format!(
                    "`jitter` is more than half of the time between two messages, {}",
                    spell_duration(interval)
                ),
            )
            .help(format!(
                "use at most \"{}\": messages would overtake each other",
                spell_duration(interval / 2)
            )),
        );
    }
    if let Some(in_flight) = telemetry.in_flight.spanned()
        && in_flight.value > 1
    {
        diagnostics.push(
            Diagnostic::error(in_flight.origin, "https carries one request at a time on a connection")
                .help("use in_flight = 1, or remove it"),
        );
    }
    let queue = telemetry.queue.or(DEFAULT_QUEUE);
    if let Some(messages) = telemetry.messages.spanned()
        && at_once
        && messages.value > queue.saturating_add(1)
    {
        diagnostics.push(
            Diagnostic::warning(
                messages.origin,
                format!(
                    "{} messages are due at once and {} fit into the queue: the others will not be sent",
                    show_count(messages.value),
                    show_count(queue)
                ),
            )
            .help(format!("raise `queue` to {}", messages.value)),
        );
    }
    Telemetry {
        interval,
        jitter: telemetry.jitter.or(Duration::ZERO),
        messages: telemetry.messages.value().copied(),
        in_flight: 1,
        queue: u32::try_from(queue).unwrap_or(u32::MAX),
        payload: payload::build(&telemetry.payloads, longest, files, diagnostics),
    }
}
