//! What `[fleet.NAME.telemetry]` means.

use std::sync::Arc;
use std::time::Duration;

use crate::device::hub::{Qos, Resend};
use crate::document::{Diagnostic, Diagnostics};
use crate::payload::Longest;
use crate::plan::{Offset, Rhythm as Planned, Telemetry};
use crate::scenario::fleet::{Rhythm, Telemetry as WrittenTelemetry};
use crate::scenario::payload;
use crate::scenario::written::Scenario;
use crate::units::{MAX_DURATION, show_count, spell_duration};

const DEFAULT_QUEUE: u64 = 100;

/// What a fleet's telemetry is held against.
pub(super) struct Context<'a> {
    pub(super) fleet: &'a str,
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
    let Context { fleet, count, known_count, written, longest } = *context;
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
    if let Some(qos) = telemetry.qos.spanned().filter(|qos| qos.value == 0) {
        diagnostics.push(
            Diagnostic::error(qos.origin, "https confirms every message: there is no qos 0")
                .help("use qos = 1, or remove it"),
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
        rhythm: Arc::new(Planned {
            every,
            jitter: telemetry.jitter.or(Duration::ZERO),
            offset: telemetry.offset.value().map_or(Offset::Drawn, |offset| Offset::Fixed(*offset)),
            on_change: telemetry.on_change.value().copied(),
        }),
        messages: telemetry.messages.value().copied(),
        qos: Qos::AtLeastOnce,
        resend: Resend::None,
        topic: None,
        in_flight: 1,
        queue: u32::try_from(queue).unwrap_or(u32::MAX),
        payload: payload::build(&telemetry.payloads, longest, files, diagnostics),
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
