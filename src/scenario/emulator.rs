//! `[emulator]` as it was written: how the emulated services behave.

use std::time::Duration;

use crate::azure::limits::{HubSize, Tier};
use crate::document::node::{Text, Value};
use crate::document::values::{Refusal, count, duration, read_node, wrong_kind};
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Reader, Spanned, Table};
use crate::emulator::drive::Drive;
use crate::rng::Distribution;
use crate::scenario::enrollment::check_name;
use crate::scenario::{host, keys};
use crate::units::{Rate, show_count};

/// The whole table.
#[derive(Debug)]
pub(super) struct Emulator {
    pub(super) origin: Origin,
    pub(super) id_scope: Given<String>,
    pub(super) allocation: Given<Allocation>,
    /// `None` inside: no `Retry-After`.
    pub(super) retry_after: Given<Option<u64>>,
    pub(super) polls: Given<Distribution>,
    pub(super) assign: Given<Distribution>,
    pub(super) registrations: Given<Rate>,
    pub(super) hubs: Vec<Hub>,
    pub(super) drive: Drive,
}

/// `[emulator.hub.NAME]`.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) weight: Given<u64>,
    pub(super) host: Given<String>,
    /// `None`: no limit. Complaints have been made.
    pub(super) size: Option<HubSize>,
    pub(super) delay: Given<Distribution>,
}

/// How devices get their hub.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Allocation {
    Hashed,
    Weighted,
    Static(Spanned<Text>),
}

pub(super) fn read(scenario: &Reader<'_>, diagnostics: &mut Diagnostics) -> Option<Emulator> {
    let reader = scenario.table("emulator", diagnostics)?;
    let dps = reader.table("dps", diagnostics);
    let hubs = reader.tables("hub", diagnostics).into_iter().map(|(name, reader)| {
        check_name("hub", &name, reader.origin(), diagnostics);
        Hub {
            name,
            origin: reader.origin(),
            weight: reader.count("weight", diagnostics),
            host: reader.text("host", diagnostics).check(diagnostics, |text| host::check(&text)),
            size: size(&reader, diagnostics),
            delay: durations(&reader, &keys::EMULATOR_HUB, "delay", diagnostics),
        }
    });
    let hubs = hubs.collect();
    let mut emulator = Emulator {
        origin: reader.origin(),
        id_scope: reader.text("id_scope", diagnostics).check(diagnostics, |text| check_id_scope(&text)),
        allocation: allocation(&reader, diagnostics),
        retry_after: Given::Absent,
        polls: Given::Absent,
        assign: Given::Absent,
        registrations: Given::Absent,
        hubs,
        drive: reader.table("drive", diagnostics).map_or(Drive::default(), |table| {
            let mut rate = |name| table.rate(name, diagnostics).value().copied();
            Drive { methods: rate("methods"), c2d: rate("c2d"), desired: rate("desired") }
        }),
    };
    if let Some(dps) = dps {
        emulator.retry_after = retry_after(&dps, diagnostics);
        emulator.polls = polls(&dps, diagnostics);
        emulator.assign = durations(&dps, &keys::EMULATOR_DPS, "assign", diagnostics);
        emulator.registrations = dps.rate("registrations", diagnostics);
    }
    Some(emulator)
}

/// An id scope stands in paths and user names.
pub(super) fn check_id_scope(text: &Text) -> Result<String, Refusal> {
    const LONGEST: usize = 64;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.value.is_empty() || text.value.len() > LONGEST || !text.value.chars().all(legal) {
        return Err(Refusal::new(
            format!("{} is not an id scope", crate::document::diagnostics::quote(text.shown())),
            "copy the ID scope from the overview of the DPS: letters and digits, for example 0ne00000A0A",
        ));
    }
    Ok(text.value.clone())
}

/// Reads `allocation`, and `hub` beside it where the table has such a key.
pub(super) fn allocation(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Allocation> {
    const STATIC: &str = "allocation = { static = \"north\" }";
    let Some(entry) = reader.entry("allocation") else {
        if reader_takes_hub(reader) && reader.has("hub") {
            diagnostics.push(
                Diagnostic::error(
                    reader.key_origin("hub"),
                    "`hub` has a meaning only with static allocation",
                )
                .help(format!("write {STATIC}")),
            );
        }
        return Given::Absent;
    };
    let origin = entry.node.origin;
    let given = |value| Given::Value(Spanned { value, origin });
    if let Value::Table(_) = entry.node.value {
        let path = format!("{}.allocation", reader.path());
        let name = Reader::open(&keys::ALLOCATION, path, entry.key_origin, &entry.node, diagnostics)
            .map_or(Given::Broken, |table| table.text("static", diagnostics));
        if reader_takes_hub(reader) && reader.has("hub") {
            diagnostics.push(
                Diagnostic::error(reader.key_origin("hub"), "`allocation` names the hub already")
                    .help("remove `hub`"),
            );
        }
        return match name.spanned() {
            Some(name) => given(Allocation::Static(name.clone())),
            None => Given::Broken,
        };
    }
    let choice = reader.choice("allocation", diagnostics);
    let hub = if reader_takes_hub(reader) { reader.text("hub", diagnostics) } else { Given::Absent };
    match (choice.value().copied(), hub) {
        (None, _) | (Some("static"), Given::Broken) => Given::Broken,
        (Some("static"), Given::Value(hub)) => given(Allocation::Static(hub)),
        (Some("static"), Given::Absent) => {
            diagnostics.push(
                Diagnostic::error(origin, "static allocation needs the name of a hub")
                    .help(format!("write {STATIC}")),
            );
            Given::Broken
        }
        (Some(name), hub) => {
            if !hub.is_absent() {
                diagnostics.push(
                    Diagnostic::error(
                        reader.key_origin("hub"),
                        format!("`hub` has no meaning with {name} allocation"),
                    )
                    .help(format!("remove it, or write {STATIC}")),
                );
            }
            given(if name == "weighted" { Allocation::Weighted } else { Allocation::Hashed })
        }
    }
}

/// `[enrollment.NAME]` has a key `hub`; in `[emulator]` that name is taken by the tables of hubs.
fn reader_takes_hub(reader: &Reader<'_>) -> bool {
    reader.path() != "emulator"
}

/// Reads `tier` and `units` of a hub.
fn size(hub: &Reader<'_>, diagnostics: &mut Diagnostics) -> Option<HubSize> {
    let (tier, units) = (hub.choice("tier", diagnostics), hub.count("units", diagnostics));
    if tier.is_absent() && !units.is_absent() {
        diagnostics.push(
            Diagnostic::error(hub.key_origin("units"), "`units` has no meaning without `tier`")
                .help("add for example tier = \"S1\", or remove `units`: a hub without tier has no limit"),
        );
    }
    let tier = Tier::from_name(tier.value()?)?;
    if let Some(written) = units.spanned().filter(|units| units.value > u64::from(tier.max_units())) {
        let (name, most) = (tier.name(), tier.max_units());
        let counted =
            if most == 1 { "1 unit".to_owned() } else { format!("{} units", show_count(most.into())) };
        let remedy = match tier {
            Tier::F1 => "use units = 1, or another tier".to_owned(),
            _ => format!("use at most {most}, more hubs, or a larger tier"),
        };
        let complaint = format!("a hub of tier {name} has at most {counted}");
        diagnostics.push(Diagnostic::error(written.origin, complaint).help(remedy));
    }
    Some(HubSize { tier, units: u32::try_from(units.or(1)).unwrap_or(1) })
}

fn retry_after(dps: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Option<u64>> {
    let (Some(entry), Some(key)) = (dps.entry("retry_after"), keys::EMULATOR_DPS.key("retry_after")) else {
        return Given::Absent;
    };
    if matches!(&entry.node.value, Value::Text(text) if text.value == "none") {
        return Given::Value(Spanned { value: None, origin: entry.node.origin });
    }
    read_node(key, &entry.node, diagnostics, duration).check(diagnostics, |value: Duration| {
        if value.subsec_nanos() != 0 {
            return Err(Refusal::new(
                "`Retry-After` is a header in whole seconds",
                "use for example \"3s\", or \"none\" to send no such header",
            ));
        }
        Ok(Some(value.as_secs()))
    })
}

fn polls(dps: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Distribution> {
    let (Some(entry), Some(key)) = (dps.entry("polls"), keys::EMULATOR_DPS.key("polls")) else {
        return Given::Absent;
    };
    let origin = entry.node.origin;
    if let Value::Integer(_) = entry.node.value {
        return read_node(key, &entry.node, diagnostics, count)
            .check(diagnostics, |value| Ok(Distribution::Constant(value as f64)));
    }
    if !matches!(entry.node.value, Value::Table(_)) {
        diagnostics.push(wrong_kind(key, &entry.node));
        return Given::Broken;
    }
    let table = Reader::open(&keys::COUNTS, "emulator.dps.polls", entry.key_origin, &entry.node, diagnostics);
    let Some(uniform) = table.and_then(|table| table.table("uniform", diagnostics)) else {
        return Given::Broken;
    };
    let (low, high) = (uniform.count("low", diagnostics), uniform.count("high", diagnostics));
    range(low, high, origin, diagnostics, |value| value as f64)
}

/// Reads key `name` of `reader`, which has the keys of `table`: a duration, or a distribution of them.
fn durations(
    reader: &Reader<'_>,
    table: &'static Table,
    name: &str,
    diagnostics: &mut Diagnostics,
) -> Given<Distribution> {
    let (Some(entry), Some(key)) = (reader.entry(name), table.key(name)) else {
        return Given::Absent;
    };
    let origin = entry.node.origin;
    if !matches!(entry.node.value, Value::Table(_)) {
        return read_node(key, &entry.node, diagnostics, duration)
            .check(diagnostics, |value: Duration| Ok(Distribution::Constant(value.as_secs_f64())));
    }
    let path = format!("{}.{name}", reader.path());
    let Some(table) = Reader::open(&keys::DURATIONS, path, entry.key_origin, &entry.node, diagnostics) else {
        return Given::Broken;
    };
    let which = table.one_of("lognormal", diagnostics);
    let Some((which, inner)) = which.and_then(|name| Some((name, table.table(name, diagnostics)?))) else {
        return Given::Broken;
    };
    let seconds = |value: Duration| value.as_secs_f64();
    match which {
        "uniform" => {
            let (low, high) = (inner.duration("low", diagnostics), inner.duration("high", diagnostics));
            range(low, high, origin, diagnostics, seconds)
        }
        "exponential" => inner
            .duration("mean", diagnostics)
            .check(diagnostics, |mean| Ok(Distribution::Exponential { mean: seconds(mean) })),
        "bimodal" => {
            let share = inner.share("high_share", diagnostics);
            let (low, high) = (inner.duration("low", diagnostics), inner.duration("high", diagnostics));
            let Given::Value(range) = range(low, high, origin, diagnostics, seconds) else {
                return Given::Broken;
            };
            let (Distribution::Uniform { low, high }, Some(share)) = (range.value, share.value()) else {
                return Given::Broken;
            };
            let value = Distribution::Bimodal { low, high, high_share: share.fraction() };
            Given::Value(Spanned { value, origin })
        }
        _ => {
            let (median, p99) = (inner.duration("median", diagnostics), inner.duration("p99", diagnostics));
            let (Some(median), Some(p99)) = (median.value(), p99.value()) else { return Given::Broken };
            if p99 < median {
                diagnostics.push(
                    Diagnostic::error(inner.key_origin("p99"), "`p99` is below the median")
                        .help("99 % of all values lie below `p99`, half of them below `median`"),
                );
                return Given::Broken;
            }
            let value = Distribution::Lognormal { median: seconds(*median), p99: seconds(*p99) };
            Given::Value(Spanned { value, origin })
        }
    }
}

fn range<T: Copy + PartialOrd>(
    low: Given<T>,
    high: Given<T>,
    origin: Origin,
    diagnostics: &mut Diagnostics,
    number: impl Fn(T) -> f64,
) -> Given<Distribution> {
    let (Some(low), Some(high)) = (low.value(), high.spanned()) else { return Given::Broken };
    if high.value < *low {
        diagnostics.push(
            Diagnostic::error(high.origin, "`high` is below `low`")
                .help("exchange the two, or make them equal"),
        );
        return Given::Broken;
    }
    Given::Value(Spanned {
        value: Distribution::Uniform { low: number(*low), high: number(high.value) },
        origin,
    })
}
