//! What `[fleet.NAME.telemetry]` means.

use std::sync::Arc;
use std::time::Duration;

use crate::device::hub::{Qos, Resend};
use crate::document::{Diagnostic, Diagnostics};
use crate::payload::Longest;
use crate::plan::{Offset, Protocol, Rhythm as Planned, Telemetry};
use crate::scenario::fleet::{Rhythm, Telemetry as WrittenTelemetry};
use crate::scenario::payload;
use crate::scenario::target::TargetKind;
use crate::scenario::written::Scenario;
use crate::units::{MAX_DURATION, show_count, spell_duration};

const DEFAULT_QUEUE: u64 = 100;

/// Of MQTT.
const DEFAULT_IN_FLIGHT: u64 = 10;

/// Longest topic of a scenario, in bytes; an id comes on top.
const MAX_TOPIC: usize = 256;

/// What a fleet's telemetry is held against.
pub(super) struct Context<'a> {
    pub(super) fleet: &'a str,
    pub(super) count: u64,
    /// Whether the count is what was meant, and no stand-in.
    pub(super) known_count: bool,
    pub(super) written: &'a Scenario,
    pub(super) longest: Longest<'a>,
    pub(super) target: TargetKind,
    /// How the fleet talks to its hub; `None` if it does not, which was complained about.
    pub(super) connect: Option<Protocol>,
}

pub(super) fn telemetry(
    telemetry: &WrittenTelemetry,
    context: &Context<'_>,
    files: &mut payload::Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Telemetry {
    let Context { fleet, count, known_count, written, longest, .. } = *context;
    let every = match telemetry.rhythm.value() {
        Some(Rhythm::Every(every)) => every.clone(),
        Some(Rhythm::FleetRate(rate)) => vec![Planned::interval_of_fleet_rate(*rate, count)],
        // Devices that send on change only have no grid; a broken one is no reason to say more.
        None if telemetry.rhythm.is_absent() => Vec::new(),
        None => vec![MAX_DURATION],
    };
    if telemetry.rhythm.is_absent() && telemetry.on_change.is_absent() {
        diagnostics.push(
            Diagnostic::error(
                telemetry.origin,
                format!("`[fleet.{fleet}.telemetry]` lacks `every` or `fleet_rate`: nothing says when messages are due"),
            )
            .help("for example every = \"10s\" (per device), or fleet_rate = \"50/s\" (all devices together)"),
        );
    }
    let origin = telemetry.rhythm.spanned().map_or(telemetry.origin, |rhythm| rhythm.origin);
    let shortest = every.iter().min().copied();
    if let Some(interval) = shortest.filter(|shortest| *shortest > MAX_DURATION && known_count) {
        diagnostics.push(
            Diagnostic::error(origin, format!("each device would send every {}", spell_duration(interval)))
                .help(format!(
                    "raise the rate: the longest time between two messages is {}",
                    spell_duration(MAX_DURATION)
                )),
        );
    }
    let at_once = shortest.is_some_and(|shortest| shortest.is_zero());
    ends(telemetry, at_once, written, diagnostics);
    suits_the_grid(telemetry, shortest.filter(|_| known_count), diagnostics);
    let delivery = delivery(telemetry, context, diagnostics);
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
        rhythm: Arc::new(Planned {
            every,
            jitter: telemetry.jitter.or(Duration::ZERO),
            offset: telemetry.offset.value().map_or(Offset::Drawn, |offset| Offset::Fixed(*offset)),
            on_change: telemetry.on_change.value().copied(),
        }),
        messages: telemetry.messages.value().copied(),
        qos: delivery.qos,
        resend: delivery.resend,
        topic: delivery.topic,
        in_flight: delivery.in_flight,
        queue: u32::try_from(queue).unwrap_or(u32::MAX),
        payload: payload::build(&telemetry.payloads, longest, files, diagnostics),
    }
}

/// How messages travel and are confirmed.
struct Delivery {
    qos: Qos,
    resend: Resend,
    topic: Option<String>,
    in_flight: u32,
}

fn delivery(telemetry: &WrittenTelemetry, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Delivery {
    let is_https = context.connect == Some(Protocol::Https);
    let mut refuse = |origin, what: &str, help: &str| {
        diagnostics.push(Diagnostic::error(origin, what).help(help));
    };
    let qos0 = telemetry.qos.spanned().filter(|qos| qos.value == 0);
    let resend = telemetry.resend.spanned().filter(|resend| resend.value == "dup");
    if let Some(qos) = qos0.filter(|_| is_https) {
        refuse(qos.origin, "HTTPS confirms every message: there is no qos 0", "use qos = 1, or remove it");
    }
    match resend {
        Some(resend) if is_https => {
            let what = "HTTPS has no way to mark a message that goes again";
            refuse(resend.origin, what, "remove `resend`, or use connect = \"mqtt\"");
        }
        Some(resend) if qos0.is_some() => {
            let what = "messages of qos 0 are not confirmed, so none can be found to be missing";
            refuse(resend.origin, what, "remove `resend`, or use qos = 1");
        }
        _ => {}
    }
    if let Some(in_flight) = telemetry.in_flight.spanned().filter(|in_flight| is_https && in_flight.value > 1)
    {
        let what = "HTTPS carries one request at a time on a connection";
        refuse(in_flight.origin, what, "use in_flight = 1, or remove it");
    }
    if let Some(topic) = telemetry.topic.spanned() {
        let text = &topic.value.value;
        if is_https {
            refuse(topic.origin, "HTTPS has no topics", "remove `topic`, or use connect = \"mqtt\"");
        } else if context.target != TargetKind::Hub {
            let what = "an IoT Hub takes telemetry on its own topic only";
            refuse(topic.origin, what, "remove `topic`; it is for brokers, with a target of kind \"hub\"");
        } else if text.is_empty() || text.len() > MAX_TOPIC || text.contains(['#', '+', '\0']) {
            let what =
                "messages cannot be sent to this topic: it is empty, too long, or has a wildcard (# +)";
            refuse(topic.origin, what, "use up to 256 bytes, for example topic = \"plant/{id}/telemetry\"");
        }
    }
    let in_flight = telemetry.in_flight.or(if is_https { 1 } else { DEFAULT_IN_FLIGHT });
    Delivery {
        qos: if qos0.is_some() { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        resend: if resend.is_some() { Resend::Duplicates } else { Resend::None },
        topic: telemetry.topic.value().map(|topic| topic.value.clone()),
        in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
    }
}

/// Says that something must end what a device sends.
fn ends(telemetry: &WrittenTelemetry, at_once: bool, written: &Scenario, diagnostics: &mut Diagnostics) {
    let origin = telemetry.rhythm.spanned().map_or(telemetry.origin, |rhythm| rhythm.origin);
    if telemetry.messages.is_absent() && at_once {
        diagnostics.push(
            Diagnostic::error(
                origin,
                "`every = \"0s\"` sends all messages at once, but nothing says how many",
            )
            .help("add for example messages = 10"),
        );
    } else if telemetry.messages.is_absent()
        && written.duration.is_absent()
        && !(telemetry.rhythm.is_absent() && telemetry.on_change.is_absent())
    {
        diagnostics.push(
            Diagnostic::error(origin, "nothing ends this telemetry, so the run would never end")
                .help("add messages = 10 here, or duration = \"5m\" at the top of the scenario"),
        );
    }
}

/// Says what `jitter`, `offset` and `on_change` need of the grid.
///
/// * `shortest`: the shortest time between two messages on it, if it is known
fn suits_the_grid(telemetry: &WrittenTelemetry, shortest: Option<Duration>, diagnostics: &mut Diagnostics) {
    for (name, given) in [("jitter", &telemetry.jitter), ("offset", &telemetry.offset)] {
        if let Some(given) = given.spanned().filter(|_| telemetry.rhythm.is_absent()) {
            diagnostics.push(
                Diagnostic::error(
                    given.origin,
                    format!("`{name}` has no meaning for messages that are sent on change only"),
                )
                .help("remove it, or add every = \"10s\""),
            );
        }
    }
    let Some(shortest) = shortest.filter(|_| telemetry.rhythm.value().is_some()) else { return };
    if let Some(jitter) = telemetry.jitter.spanned().filter(|jitter| jitter.value > shortest / 2) {
        diagnostics.push(
            Diagnostic::error(
                jitter.origin,
                format!(
                    "`jitter` is more than half of the time between two messages, {}",
                    spell_duration(shortest)
                ),
            )
            .help(format!(
                "use at most \"{}\": messages would overtake each other",
                spell_duration(shortest / 2)
            )),
        );
    }
    if let Some(change) = telemetry.on_change.spanned().filter(|_| shortest.is_zero()) {
        diagnostics.push(
            Diagnostic::error(
                change.origin,
                "`every = \"0s\"` sends all messages at once: none is left for changes",
            )
            .help("remove `on_change`, or use a longer time"),
        );
    }
}
