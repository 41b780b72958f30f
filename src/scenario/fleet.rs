//! `[fleet.NAME]` as it was written: a population, when it starts and what it sends.

use std::time::Duration;

use crate::document::node::Text;
use crate::document::source::Origin;
use crate::document::{Diagnostics, Given, Reader, Spanned};
use crate::plan::Arrival;
use crate::scenario::enrollment::check_name;
use crate::scenario::payload;
use crate::units::Rate;

/// One population.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) count: Given<u64>,
    pub(super) id: Given<Text>,
    pub(super) enrollment: Given<Text>,
    pub(super) start: Given<Arrival>,
    pub(super) provision: Given<&'static str>,
    pub(super) connect: Given<&'static str>,
    pub(super) register_deadline: Given<Duration>,
    pub(super) connect_deadline: Given<Duration>,
    pub(super) send_deadline: Given<Duration>,
    pub(super) keep_connection: Given<Duration>,
    pub(super) telemetry: Option<Telemetry>,
}

/// What it sends.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) origin: Origin,
    pub(super) rhythm: Given<Rhythm>,
    pub(super) messages: Given<u64>,
    pub(super) jitter: Given<Duration>,
    pub(super) in_flight: Given<u64>,
    pub(super) queue: Given<u64>,
    pub(super) payloads: Vec<payload::Written>,
}

/// When it sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rhythm {
    /// Time between two messages of one device.
    Every(Duration),
    /// Messages per second of all devices together.
    FleetRate(Rate),
}

pub(super) fn read(name: String, reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Fleet {
    check_name("fleet", &name, reader.origin(), diagnostics);
    let deadline = reader.table("deadline", diagnostics);
    let mut step = |name| {
        deadline.as_ref().map_or(Given::Absent, |deadline: &Reader<'_>| deadline.duration(name, diagnostics))
    };
    let (register_deadline, connect_deadline, send_deadline) =
        (step("register"), step("connect"), step("send"));
    Fleet {
        name,
        origin: reader.origin(),
        count: reader.count("count", diagnostics),
        id: reader.text("id", diagnostics),
        enrollment: reader.text("enrollment", diagnostics),
        start: start(reader, diagnostics),
        provision: reader.choice("provision", diagnostics),
        connect: reader.choice("connect", diagnostics),
        register_deadline,
        connect_deadline,
        send_deadline,
        keep_connection: reader.duration("keep_connection", diagnostics),
        telemetry: reader.table("telemetry", diagnostics).map(|table| telemetry(&table, diagnostics)),
    }
}

fn start(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Arrival> {
    if reader.is_absent("start") {
        return Given::Absent;
    }
    let Some(table) = reader.table("start", diagnostics) else { return Given::Broken };
    let which = table.one_of(
        &["rate", "ramp", "burst"],
        Some("for example start.rate = \"100/s\""),
        "devices start in one way",
        diagnostics,
    );
    match which {
        Some("rate") => table.rate("rate", diagnostics).check(diagnostics, |rate| Ok(Arrival::Rate(rate))),
        Some("ramp") => {
            let Some(ramp) = table.table("ramp", diagnostics) else { return Given::Broken };
            let (from, to) = (ramp.rate("from", diagnostics), ramp.rate("to", diagnostics));
            let over = ramp.duration("over", diagnostics);
            match (from.value(), to.value(), over.value()) {
                (Some(from), Some(to), Some(over)) => Given::Value(Spanned {
                    value: Arrival::Ramp { from: *from, to: *to, over: *over },
                    origin: table.key_origin("ramp"),
                }),
                _ => Given::Broken,
            }
        }
        Some(_) => {
            let Some(burst) = table.table("burst", diagnostics) else { return Given::Broken };
            match burst.duration("at", diagnostics) {
                Given::Broken => Given::Broken,
                at => Given::Value(Spanned {
                    value: Arrival::Burst { at: at.or(Duration::ZERO) },
                    origin: table.key_origin("burst"),
                }),
            }
        }
        None => Given::Broken,
    }
}

fn telemetry(table: &Reader<'_>, diagnostics: &mut Diagnostics) -> Telemetry {
    let rhythm = table.one_of(
        &["every", "fleet_rate"],
        Some("for example every = \"10s\" (per device), or fleet_rate = \"50/s\" (all devices together)"),
        "`every` is per device, `fleet_rate` is the total",
        diagnostics,
    );
    let rhythm = match rhythm {
        Some("every") => {
            table.duration("every", diagnostics).check(diagnostics, |every| Ok(Rhythm::Every(every)))
        }
        Some(_) => {
            table.rate("fleet_rate", diagnostics).check(diagnostics, |rate| Ok(Rhythm::FleetRate(rate)))
        }
        None => Given::Broken,
    };
    Telemetry {
        origin: table.origin(),
        rhythm,
        messages: table.count("messages", diagnostics),
        jitter: table.duration("jitter", diagnostics),
        in_flight: table.count("in_flight", diagnostics),
        queue: table.count("queue", diagnostics),
        payloads: payload::read(table, diagnostics),
    }
}
