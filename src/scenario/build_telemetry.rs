//! What `[fleet.NAME.telemetry]` means.

use std::sync::Arc;
use std::time::Duration;

use crate::device::hub::{Qos, Resend};
use crate::document::node::Text;
use crate::document::values::Refusal;
use crate::document::{Diagnostic, Diagnostics, Given};
use crate::payload::Longest;
use crate::plan::{Offset, Protocol, Rhythm as Planned, Telemetry};
use crate::scenario::fleet::{Fleet, Rhythm, Telemetry as WrittenTelemetry};
use crate::scenario::payload;
use crate::scenario::target::TargetKind;
use crate::scenario::written::Scenario;
use crate::units::{MAX_DURATION, show_count, spell_duration};

const DEFAULT_QUEUE: u64 = 100;

/// With MQTT; HTTPS carries one request at a time.
const DEFAULT_IN_FLIGHT: u64 = 10;

/// Longest topic of a plain broker, in bytes. Our own choice: far above what anybody uses.
const MAX_TOPIC_BYTES: usize = 256;

/// What a fleet's telemetry is held against.
pub(super) struct Context<'a> {
    pub(super) fleet: &'a Fleet,
    /// How the devices talk to their hub.
    pub(super) connect: Option<Protocol>,
    pub(super) count: u64,
    /// Whether the count is what was meant, and no stand-in.
    pub(super) known_count: bool,
    pub(super) written: &'a Scenario,
    pub(super) longest: Longest<'a>,
}

pub(super) fn telemetry(
    telemetry: &WrittenTelemetry,
    context: &Context<'_>,
    files: &mut payload::Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Telemetry {
    let Context { fleet, connect, count, known_count, written, longest } = *context;
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
                format!("`[fleet.{}.telemetry]` lacks `every` or `fleet_rate`: nothing says when messages are due", fleet.name),
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
    // What is broken may have been meant for any protocol.
    let is_https = connect == Some(Protocol::Https) && !matches!(fleet.connect, Given::Broken);
    let qos = qos(telemetry, is_https, diagnostics);
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
        qos,
        resend: resend(telemetry, qos, is_https, diagnostics),
        topic: topic(telemetry, written, is_https, diagnostics),
        in_flight: in_flight(telemetry, is_https, diagnostics),
        queue: u32::try_from(queue).unwrap_or(u32::MAX),
        payload: payload::build(&telemetry.payloads, longest, files, diagnostics),
    }
}

fn qos(telemetry: &WrittenTelemetry, is_https: bool, diagnostics: &mut Diagnostics) -> Qos {
    let Some(qos) = telemetry.qos.spanned().filter(|qos| qos.value == 0) else { return Qos::AtLeastOnce };
    if is_https {
        diagnostics.push(
            Diagnostic::error(qos.origin, "https confirms every message: there is no qos 0")
                .help("use qos = 1, or remove it; connect = \"mqtt\" has qos 0"),
        );
    }
    Qos::AtMostOnce
}

fn in_flight(telemetry: &WrittenTelemetry, is_https: bool, diagnostics: &mut Diagnostics) -> u32 {
    if !is_https {
        return u32::try_from(telemetry.in_flight.or(DEFAULT_IN_FLIGHT)).unwrap_or(u32::MAX);
    }
    if let Some(in_flight) = telemetry.in_flight.spanned().filter(|in_flight| in_flight.value > 1) {
        diagnostics.push(
            Diagnostic::error(in_flight.origin, "https carries one request at a time on a connection")
                .help("use in_flight = 1, or remove it; connect = \"mqtt\" carries more"),
        );
    }
    1
}

fn resend(telemetry: &WrittenTelemetry, qos: Qos, is_https: bool, diagnostics: &mut Diagnostics) -> Resend {
    let Some(resend) = telemetry.resend.spanned().filter(|resend| resend.value == Resend::Duplicates) else {
        return Resend::None;
    };
    if is_https {
        diagnostics.push(
            Diagnostic::error(resend.origin, "a request of https cannot be marked as a duplicate")
                .help("remove `resend`, or write connect = \"mqtt\""),
        );
    } else if qos == Qos::AtMostOnce {
        diagnostics.push(
            Diagnostic::error(
                resend.origin,
                "with qos 0 nothing is confirmed: nobody knows which messages to send again",
            )
            .help("remove `resend`, or use qos = 1"),
        );
    }
    Resend::Duplicates
}

/// Where the messages go at a broker that is no IoT hub.
fn topic(
    telemetry: &WrittenTelemetry,
    written: &Scenario,
    is_https: bool,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let origin = telemetry.topic.spanned()?.origin;
    let kind = &written.target.kind;
    let complaint = if is_https {
        Some(("`topic` is for mqtt: a request of https has a path", "remove it, or write connect = \"mqtt\""))
    } else if matches!(kind, Given::Value(_) | Given::Absent) && kind.value() != Some(&TargetKind::Hub) {
        Some((
            "`topic` is for plain brokers: at an IoT hub devices may send to their own topic only",
            "remove it, or write kind = \"hub\" and the broker's host in [target]",
        ))
    } else {
        None
    };
    if let Some((message, help)) = complaint {
        diagnostics.push(Diagnostic::error(origin, message).help(help));
    }
    let topic = telemetry.topic.clone().check(diagnostics, |topic| check_topic(&topic));
    topic.value().cloned()
}

/// A topic that can be published to (MQTT 3.1.1, section 4.7).
fn check_topic(topic: &Text) -> Result<String, Refusal> {
    let text = &topic.value;
    let wrong = if text.is_empty() {
        "the topic is empty".to_owned()
    } else if text.len() > MAX_TOPIC_BYTES {
        format!("the topic has {} bytes; {MAX_TOPIC_BYTES} are the most", show_count(text.len() as u64))
    } else if let Some(wildcard) = text.chars().find(|c| matches!(c, '#' | '+')) {
        format!("the topic holds `{wildcard}`, which is for subscriptions only")
    } else if text.contains('\0') {
        "the topic holds U+0000, which MQTT forbids".to_owned()
    } else {
        return Ok(text.clone());
    };
    Err(Refusal::new(wrong, "write for example topic = \"plant/{id}/telemetry\""))
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
