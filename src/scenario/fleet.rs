//! `[fleet.NAME]` as it was written: a population, when it starts and what it sends.

use std::time::Duration;

use crate::device::hub::Resend;
use crate::document::node::{Node, Text};
use crate::document::source::Origin;
use crate::document::values::{duration, durations, read_node};
use crate::document::{Diagnostics, Given, Reader, Spanned};
use crate::plan::{Arrival, Behave, MethodChores, OnChange, Protocol, Settle, SignWith, Skew, TwinChores};
use crate::scenario::enrollment::check_name;
use crate::scenario::{keys, payload};
use crate::units::Rate;

/// One population.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) count: Given<u64>,
    pub(super) id: Given<Text>,
    pub(super) ids: Given<Text>,
    pub(super) enrollment: Given<Text>,
    pub(super) sign_with: Given<SignWith>,
    pub(super) start: Given<Start>,
    pub(super) provision: Given<Protocol>,
    /// `None` for devices that only register.
    pub(super) connect: Given<Option<Protocol>>,
    pub(super) register_deadline: Given<Duration>,
    pub(super) connect_deadline: Given<Duration>,
    pub(super) send_deadline: Given<Duration>,
    pub(super) behave: Given<Behave>,
    pub(super) token_lifetime: Given<Duration>,
    pub(super) renew_before: Given<Duration>,
    pub(super) renew_jitter: Given<Duration>,
    pub(super) skew: Given<Skew>,
    pub(super) keep_alive: Given<Duration>,
    pub(super) keep_connection: Given<Duration>,
    pub(super) telemetry: Option<Telemetry>,
    pub(super) chores: Chores,
}

/// What it does besides.
#[derive(Debug)]
pub(super) struct Chores {
    pub(super) twin: Option<TwinChores>,
    pub(super) methods: Option<MethodChores>,
    pub(super) c2d: Option<C2d>,
    /// The tables that ask for them.
    pub(super) origins: Vec<(&'static str, Origin)>,
}

/// How it takes messages from the cloud.
#[derive(Debug)]
pub(super) struct C2d {
    pub(super) settle: Given<Settle>,
    pub(super) poll_every: Given<Duration>,
}

/// When devices start.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Start {
    /// As a shape says.
    Shape(Arrival),
    /// At the instants in this file, relative to the scenario.
    Trace(Text),
}

/// What it sends.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) origin: Origin,
    pub(super) rhythm: Given<Rhythm>,
    pub(super) on_change: Given<OnChange>,
    pub(super) offset: Given<Duration>,
    pub(super) qos: Given<u64>,
    pub(super) messages: Given<u64>,
    pub(super) jitter: Given<Duration>,
    pub(super) resend: Given<Resend>,
    pub(super) topic: Given<Text>,
    pub(super) in_flight: Given<u64>,
    pub(super) queue: Given<u64>,
    pub(super) payloads: Vec<payload::Written>,
}

/// When it sends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rhythm {
    /// Times between two messages of one device, taken in turn.
    Every(Vec<Duration>),
    /// Messages per second of all devices together.
    FleetRate(Rate),
}

pub(super) fn read(name: String, reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Fleet {
    check_name("fleet", &name, reader.origin(), diagnostics);
    reader.one_of("id", diagnostics);
    let deadline = reader.table("deadline", diagnostics);
    let token = reader.table("token", diagnostics);
    let mut inner = |table: &Option<Reader<'_>>, name| {
        table.as_ref().map_or(Given::Absent, |table| table.duration(name, diagnostics))
    };
    let (register_deadline, connect_deadline, send_deadline) =
        (inner(&deadline, "register"), inner(&deadline, "connect"), inner(&deadline, "send"));
    let (token_lifetime, renew_before, renew_jitter) =
        (inner(&token, "lifetime"), inner(&token, "renew_before"), inner(&token, "jitter"));
    Fleet {
        name,
        origin: reader.origin(),
        count: reader.count("count", diagnostics),
        id: reader.text("id", diagnostics),
        ids: reader.text("ids", diagnostics),
        enrollment: reader.text("enrollment", diagnostics),
        sign_with: reader.choice("sign_with", diagnostics).check(diagnostics, |name| {
            Ok(if name == "secondary" { SignWith::Secondary } else { SignWith::Primary })
        }),
        start: start(reader, diagnostics),
        provision: reader.choice("provision", diagnostics).map(protocol),
        connect: reader
            .choice("connect", diagnostics)
            .map(|name| if name == "none" { None } else { Some(protocol(name)) }),
        register_deadline,
        connect_deadline,
        send_deadline,
        behave: reader.choice("behave", diagnostics).map(|name| Behave::by_name(name).unwrap_or_default()),
        token_lifetime,
        renew_before,
        renew_jitter,
        skew: skew(reader, diagnostics),
        keep_alive: reader.duration("keep_alive", diagnostics),
        keep_connection: reader.duration("keep_connection", diagnostics),
        telemetry: reader.table("telemetry", diagnostics).map(|table| telemetry(&table, diagnostics)),
        chores: chores(reader, diagnostics),
    }
}

fn chores(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Chores {
    let twin = reader.table("twin", diagnostics).map(|table| {
        let mut when = |name| table.choice(name, diagnostics).map(|when| when == "on-connect");
        let (gets, reports) = (when("get").or(true), when("report").or(false));
        TwinChores {
            gets,
            reports,
            report_every: table.duration("report_every", diagnostics).value().copied(),
            desired: table.boolean("desired", diagnostics).or(false),
        }
    });
    let methods = reader.table("methods", diagnostics).map(|table| MethodChores {
        reply_after: table.duration("reply_after", diagnostics).or(Duration::ZERO),
        status: i32::try_from(table.count("status", diagnostics).or(200)).unwrap_or(200),
    });
    let c2d = reader.table("c2d", diagnostics).map(|table| C2d {
        settle: table.choice("settle", diagnostics).map(|name| Settle::by_name(name).unwrap_or_default()),
        poll_every: table.duration("poll_every", diagnostics),
    });
    let origins = ["twin", "methods", "c2d"]
        .into_iter()
        .filter(|name| !reader.is_absent(name))
        .map(|name| (name, reader.key_origin(name)))
        .collect();
    Chores { twin, methods, c2d, origins }
}

fn skew(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Skew> {
    if reader.is_absent("clock") {
        return Given::Absent;
    }
    let Some(table) = reader.table("clock", diagnostics) else { return Given::Broken };
    match table.one_of("ahead", diagnostics) {
        Some("ahead") => table.duration("ahead", diagnostics).map(Skew::Ahead),
        Some(_) => table.duration("behind", diagnostics).map(Skew::Behind),
        None => Given::Broken,
    }
}

fn protocol(name: &str) -> Protocol {
    Protocol::by_name(name).unwrap_or_default()
}

fn start(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Start> {
    if reader.is_absent("start") {
        return Given::Absent;
    }
    let Some(table) = reader.table("start", diagnostics) else { return Given::Broken };
    let which = table.one_of("rate", diagnostics);
    let Some(which) = which else { return Given::Broken };
    let arrival = match which {
        "rate" => return table.rate("rate", diagnostics).map(|rate| Start::Shape(Arrival::Rate(rate))),
        "poisson" => {
            return table.rate("poisson", diagnostics).map(|rate| Start::Shape(Arrival::Poisson(rate)));
        }
        "trace" => return table.text("trace", diagnostics).map(Start::Trace),
        "ramp" => table.table("ramp", diagnostics).and_then(|ramp| {
            let (from, to) = (ramp.rate("from", diagnostics), ramp.rate("to", diagnostics));
            let over = ramp.duration("over", diagnostics);
            Some(Arrival::Ramp { from: *from.value()?, to: *to.value()?, over: *over.value()? })
        }),
        "staircase" => table.table("staircase", diagnostics).and_then(|stairs| {
            let (from, to) = (stairs.rate("from", diagnostics), stairs.rate("to", diagnostics));
            let (step, every) = (stairs.rate("step", diagnostics), stairs.duration("every", diagnostics));
            let (from, to, step) = (*from.value()?, *to.value()?, *step.value()?);
            Some(Arrival::Staircase { from, to, step, every: *every.value()? })
        }),
        _ => table.table("burst", diagnostics).and_then(|burst| match burst.duration("at", diagnostics) {
            Given::Broken => None,
            at => Some(Arrival::Burst { at: at.or(Duration::ZERO) }),
        }),
    };
    let origin = table.key_origin(which);
    arrival.map_or(Given::Broken, |arrival| Given::Value(Spanned { value: Start::Shape(arrival), origin }))
}

fn telemetry(table: &Reader<'_>, diagnostics: &mut Diagnostics) -> Telemetry {
    let on_change = on_change(table, diagnostics);
    let rhythm = table.one_of("every", diagnostics);
    let rhythm = match rhythm {
        Some("every") => every(table, diagnostics),
        Some(_) => table.rate("fleet_rate", diagnostics).map(Rhythm::FleetRate),
        None if table.is_absent("every") && table.is_absent("fleet_rate") => Given::Absent,
        None => Given::Broken,
    };
    Telemetry {
        origin: table.origin(),
        rhythm,
        on_change,
        offset: table.duration("offset", diagnostics),
        qos: table.count("qos", diagnostics),
        messages: table.count("messages", diagnostics),
        jitter: table.duration("jitter", diagnostics),
        resend: table
            .choice("resend", diagnostics)
            .map(|name| if name == "dup" { Resend::Duplicates } else { Resend::None }),
        topic: table.text("topic", diagnostics),
        in_flight: table.count("in_flight", diagnostics),
        queue: table.count("queue", diagnostics),
        payloads: payload::read(table, diagnostics),
    }
}

fn every(table: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Rhythm> {
    let (Some(entry), Some(key)) = (table.entry("every"), keys::TELEMETRY.key("every")) else {
        return Given::Broken;
    };
    let read = |key, node: &Node| {
        durations(key, node).or_else(|| Some(duration(key, node)?.map(|every| vec![every])))
    };
    read_node(key, &entry.node, diagnostics, read).map(Rhythm::Every)
}

fn on_change(table: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<OnChange> {
    if table.is_absent("on_change") {
        return Given::Absent;
    }
    let Some(change) = table.table("on_change", diagnostics) else { return Given::Broken };
    let (every, gap) = (change.duration("every", diagnostics), change.duration("gap", diagnostics));
    let messages = change.count("messages", diagnostics);
    match (every.value(), &messages, &gap) {
        (None, ..) | (_, Given::Broken, _) | (.., Given::Broken) => Given::Broken,
        (Some(every), ..) => Given::Value(Spanned {
            value: OnChange {
                every: *every,
                messages: u32::try_from(messages.or(1)).unwrap_or(u32::MAX),
                gap: gap.or(Duration::ZERO),
            },
            origin: table.key_origin("on_change"),
        }),
    }
}
