//! What a plan asks of the services and of this machine, worked out before anything is started.
//!
//! Figures are those of a service that answers at once: registrations and connections fall due when devices start, and
//! nobody tries again. Where chance decides, they are expected values.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::questions::{lets_go_between_questions, questions, reconnects};
use super::{Population, Rhythm, Roster, Shard, Target, Telemetry};
use crate::azure::limits::{DPS_REGISTRATIONS_PER_MINUTE, HubSize, Tier};
use crate::payload::{Context, Sizes};
use crate::plan::Plan;
use crate::time::UnixTime;

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Devices that start before the run ends.
    pub devices: u64,
    /// When the last of them starts, in seconds of the run clock.
    pub last_start_s: f64,
    /// The end of the run clock; `None` if the run ends when every device has finished.
    pub duration_s: Option<f64>,
    /// Until when every device has done what it is planned to do, if the services answer at once; `None` if that is only
    /// the end of the run clock.
    pub finished_s: Option<f64>,
    /// Each population by itself.
    pub populations: Vec<PopulationLoad>,
    /// Registrations at DPS; `None` without one.
    pub registrations: Option<Flow>,
    /// New connections to hubs; `None` if nobody connects.
    pub connections: Option<Flow>,
    /// Messages; `None` if nobody sends.
    pub messages: Option<Messages>,
    /// Requests for messages from the cloud over HTTPS; `None` if nobody makes any.
    pub questions: Option<Flow>,
    /// Connections that are open at once.
    pub open: Open,
}

/// One population's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PopulationLoad {
    /// Its name.
    pub name: String,
    /// Devices that start before the run ends.
    pub devices: u64,
    /// When the last of them starts, in seconds of the run clock.
    pub last_start_s: f64,
    /// Messages per second when most of its devices send; 0 if they send nothing.
    pub messages_per_s: f64,
    /// Messages in the run.
    pub messages: f64,
    /// Mean bytes of a message: body and properties.
    pub mean_bytes: f64,
    /// Bytes that no message exceeds.
    pub largest_bytes: usize,
    /// Metered messages (4 KiB each) that one message counts as, on average.
    pub metered_each: f64,
}

/// Events of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Flow {
    /// How many in the run.
    pub total: f64,
    /// The most in a second.
    pub per_s: f64,
    /// The most in a minute.
    pub per_min: f64,
    /// Whether the two above add up what populations do at different times: they are upper bounds then.
    pub at_most: bool,
}

impl Flow {
    /// Adds what comes on top.
    pub(super) fn add(&mut self, more: Self) {
        self.total += more.total;
        self.per_s += more.per_s;
        self.per_min += more.per_min;
        self.at_most |= more.at_most;
    }
}

/// Telemetry of all populations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Messages {
    /// How many in the run.
    pub total: f64,
    /// Messages per second when most devices send.
    pub per_s: f64,
    /// Metered messages (4 KiB each) in the run.
    pub metered: f64,
    /// Metered messages of a day at that rate.
    pub metered_per_day: f64,
    /// The same with the meter of the free tier (0.5 KiB each).
    pub metered_per_day_f1: f64,
    /// In the run, with the meter of the free tier.
    pub metered_f1: f64,
}

/// Connections that are open at once: each takes a descriptor, and a port for its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Open {
    /// Certainly, whatever the service does.
    pub least: u64,
    /// If no device lets go of its connection.
    pub most: u64,
}

/// What a hub of one tier needs to serve a load without delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The tier.
    pub tier: Tier,
    /// Units for the rate of new connections.
    pub connects: u64,
    /// Units for the rate of messages.
    pub sends: u64,
    /// Units for the daily quota, were the run to go on for a day.
    pub quota: u64,
    /// Units altogether: the largest of the three.
    pub units: u64,
    /// Hubs that this takes, of as many units as the tier has.
    pub hubs: u64,
}

/// Something that a service would hold up or refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Throttled {
    /// Who, what, and how much.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// A hub whose size is known.
struct KnownHub {
    name: String,
    tier: Tier,
    units: u32,
    /// Its part of the load, from 0 to 1.
    share: f64,
}

impl Load {
    /// Works out what `plan` comes to, all shards together.
    pub fn of(plan: &Plan) -> Self {
        Self::of_part(plan, Shard::WHOLE)
    }

    /// Works out what the plan's shard comes to. Devices are counted; where chance decides or a peak is asked for, it is given
    /// an even part of the whole.
    pub fn of_shard(plan: &Plan) -> Self {
        Self::of_part(plan, plan.shard)
    }

    fn of_part(plan: &Plan, part: Shard) -> Self {
        let populations: Vec<PopulationLoad> =
            plan.populations.iter().map(|p| population(plan, p, part)).collect();
        let longest =
            |seconds: &dyn Fn(&PopulationLoad) -> f64| populations.iter().map(seconds).fold(0.0, f64::max);
        let registers = |p: &&Population| p.provision.is_some();
        let connects = |p: &&Population| p.connect.is_some();
        let starts =
            |wanted: &dyn Fn(&&Population) -> bool| flow(plan, part, plan.populations.iter().filter(wanted));
        let finished = plan.populations.iter().map(|p| finished(plan, p)).collect::<Option<Vec<_>>>();
        Self {
            devices: populations.iter().map(|p| p.devices).sum(),
            last_start_s: longest(&|p| p.last_start_s),
            duration_s: plan.duration.map(|duration| duration.as_secs_f64()),
            finished_s: finished.map(|ends| ends.into_iter().max().unwrap_or_default().as_secs_f64()),
            registrations: plan.populations.iter().any(|p| registers(&p)).then(|| starts(&registers)),
            connections: plan.populations.iter().any(|p| connects(&p)).then(|| {
                let mut flow = starts(&connects);
                for (population, load) in plan.populations.iter().zip(&populations) {
                    let again = reconnects_per_message(population);
                    flow.total += again * load.messages;
                    flow.per_s += again * load.messages_per_s;
                    flow.per_min += again * load.messages_per_s * 60.0;
                    flow.add(reconnects(plan, population, load));
                }
                flow
            }),
            messages: messages(plan, &populations),
            questions: questions(plan, &populations),
            open: Open {
                least: plan.populations.iter().map(|p| held_at_once(plan, p, part)).sum(),
                most: populations.iter().map(|p| p.devices).sum(),
            },
            populations,
        }
    }

    /// What hubs of each standard tier need; nothing if nobody connects.
    pub fn needs(&self) -> Vec<Need> {
        let Some(connections) = self.connections else { return Vec::new() };
        let (per_s, per_day) = self.messages.map_or((0.0, 0.0), |m| (m.per_s, m.metered_per_day));
        let need = |tier: Tier| {
            let connects = units(connections.per_s, |units| tier.connects_per_second(units));
            let sends = units(per_s, |units| tier.sends_per_second(units));
            let quota = units(per_day, |units| tier.messages_per_day(units) as f64);
            let units = connects.max(sends).max(quota);
            Need { tier, connects, sends, quota, units, hubs: units.div_ceil(u64::from(tier.max_units())) }
        };
        [Tier::S1, Tier::S2, Tier::S3].map(need).to_vec()
    }

    /// How long a DPS that admits `per_minute` needs for all registrations, in seconds, at least.
    pub fn registering_s(&self, per_minute: f64) -> f64 {
        self.registrations.map_or(0.0, |flow| flow.total / per_minute * 60.0)
    }

    /// What the services of `plan` would hold up or refuse, as far as their size is known.
    pub fn throttled(&self, plan: &Plan) -> Vec<Throttled> {
        let mut throttled = Vec::new();
        if let (Some(limit), Some(flow)) = (registrations_per_minute(plan), self.registrations)
            && flow.per_min > limit
        {
            let least = show_seconds(self.registering_s(limit));
            throttled.push(Throttled {
                message: format!(
                    "DPS admits {} registrations/min, and up to {} begin in a minute: the rest is answered 429, and the last \
                     device is assigned after {least} at the earliest",
                    show(limit),
                    show(flow.per_min)
                ),
                remedy: format!(
                    "start at most {} devices a second, give `deadline.register` that much time, or ask for a higher limit",
                    show_rate(limit / 60.0)
                ),
            });
        }
        for hub in known_hubs(plan) {
            throttled.extend(self.throttled_by(&hub));
        }
        throttled
    }

    fn throttled_by(&self, hub: &KnownHub) -> Vec<Throttled> {
        let KnownHub { name, tier, units: has, share } = hub;
        let size = format!("{} × {has}", tier.name());
        let remedy = |needed: u64| {
            if needed > u64::from(tier.max_units()) {
                format!(
                    "use a larger tier, or {} hubs",
                    crate::units::show_count(needed.div_ceil(u64::from(tier.max_units())))
                )
            } else {
                format!("use {needed} units, a larger tier, or a lower rate")
            }
        };
        let mut throttled = Vec::new();
        let rates = [
            ("connections", self.connections.map_or(0.0, |flow| flow.per_s), tier.connects_per_second(*has)),
            ("messages", self.messages.map_or(0.0, |messages| messages.per_s), tier.sends_per_second(*has)),
        ];
        for (what, rate, limit) in rates {
            let rate = rate * share;
            if rate > limit {
                let needed = units(rate, |units| tier.connects_per_second(units));
                throttled.push(Throttled {
                    message: format!(
                        "{name} ({size}) admits {} {what}/s, and up to {} come: first they are held up, then refused",
                        show_rate(limit),
                        show_rate(rate)
                    ),
                    remedy: remedy(needed),
                });
            }
        }
        let asked = self.questions.map_or(0.0, |flow| flow.per_min) * share;
        let limit = tier.devicebound_receives_per_minute(*has);
        if asked > limit {
            let needed = units(asked, |units| tier.devicebound_receives_per_minute(units));
            throttled.push(Throttled {
                message: format!(
                    "{name} ({size}) admits {} requests/min for messages from the cloud over HTTPS, and {} come: the rest is \
                     answered 429",
                    show(limit),
                    show(asked)
                ),
                remedy: format!("raise `c2d.poll_every`, or {}", remedy(needed)),
            });
        }
        let Some(messages) = self.messages else { return throttled };
        let (metered, per_day) = match tier {
            Tier::F1 => (messages.metered_f1, messages.metered_per_day_f1),
            _ => (messages.metered, messages.metered_per_day),
        };
        let (metered, per_day) = (metered * share, per_day * share);
        let quota = tier.messages_per_day(*has) as f64;
        if metered > quota {
            let after = show_seconds(quota / per_day * 86_400.0);
            let needed = units(metered, |units| tier.messages_per_day(units) as f64);
            throttled.push(Throttled {
                message: format!(
                    "{name} ({size}) takes {} metered messages a day, and the run sends {}: the quota is used up after \
                     about {after} of sending",
                    show(quota),
                    show(metered)
                ),
                remedy: remedy(needed),
            });
        }
        throttled
    }
}

/// Registrations a minute that the DPS of `plan` is known to admit; `None` for an emulator without limit, and without DPS.
pub fn registrations_per_minute(plan: &Plan) -> Option<f64> {
    match &plan.target {
        Target::Emulator(target) => target.dps.registrations.map(|rate| rate.per_second() * 60.0),
        Target::Azure(target) => Some(target.dps_registrations.per_second() * 60.0),
        Target::Hub(_) => None,
    }
}

/// The published limit of a DPS.
pub const PUBLISHED_REGISTRATIONS_PER_MINUTE: f64 = DPS_REGISTRATIONS_PER_MINUTE as f64;

/// Devices of a population whose connections are certainly open at the same time in one part of the plan.
pub fn held_at_once(plan: &Plan, population: &Population, part: Shard) -> u64 {
    if population.connect.is_none() {
        return 0;
    }
    let until_end = plan.duration.unwrap_or(Duration::MAX);
    let held = match &population.telemetry {
        // Held until the run's end, if it has one.
        None if lets_go_between_questions(population) => Duration::ZERO,
        None => plan.duration.unwrap_or_default(),
        Some(telemetry) if telemetry.rhythm.longest_gap() > population.keep_connection => Duration::ZERO,
        Some(telemetry) => match telemetry.messages {
            // Messages that a change brings about may use up the number at once.
            Some(_) if telemetry.rhythm.on_change.is_some() => Duration::ZERO,
            Some(messages) => telemetry.rhythm.span(messages).min(until_end),
            None => until_end,
        },
    };
    // They start one after another, so that every part has its share, give or take one.
    population.starts(plan).most_within(held, plan.duration) / u64::from(part.count())
}

/// Hubs of known size, with their part of the load.
fn known_hubs(plan: &Plan) -> Vec<KnownHub> {
    match &plan.target {
        Target::Emulator(target) => {
            let weights: f64 = target.hubs.iter().map(|hub| f64::from(hub.weight)).sum();
            target
                .hubs
                .iter()
                .filter_map(|hub| {
                    let size = hub.size?;
                    let share = f64::from(hub.weight) / weights;
                    Some(KnownHub {
                        name: format!("hub `{}`", hub.name),
                        tier: size.tier,
                        units: size.units,
                        share,
                    })
                })
                .collect()
        }
        // How many hubs there are is for DPS to know: the load is held against one.
        Target::Azure(target) => target.stated.iter().map(stated).collect(),
        Target::Hub(target) => target.stated.iter().map(stated).collect(),
    }
}

fn stated(hub: &HubSize) -> KnownHub {
    KnownHub { name: "a hub".to_owned(), tier: hub.tier, units: hub.units, share: 1.0 }
}

/// The fewest units that reach `wanted`.
fn units(wanted: f64, reached: impl Fn(u32) -> f64) -> u64 {
    let (mut low, mut high) = (1u32, u32::MAX / 256);
    while low < high {
        let middle = low + (high - low) / 2;
        if reached(middle) >= wanted { high = middle } else { low = middle + 1 }
    }
    low.into()
}

fn population(plan: &Plan, population: &Population, part: Shard) -> PopulationLoad {
    let starts = population.starts(plan);
    let all = plan.duration.map_or(population.count, |end| starts.started_by(end));
    let devices = part.of(all);
    // The part's last device is number index + N × (devices − 1).
    let (first, step) = part.walk(0, 1);
    let count = first.saturating_add(step.saturating_mul(devices.saturating_sub(1))).saturating_add(1);
    let last = super::Starts { count: count.min(all.max(1)), ..starts }.last();
    let mut load = PopulationLoad {
        name: population.name.clone(),
        devices,
        last_start_s: if devices == 0 { 0.0 } else { last.as_secs_f64() },
        messages_per_s: 0.0,
        messages: 0.0,
        mean_bytes: 0.0,
        largest_bytes: 0,
        metered_each: 0.0,
    };
    if let Some(telemetry) = &population.telemetry {
        let sizes = sizes(plan, population, telemetry);
        let share = if all == 0 { 0.0 } else { devices as f64 / all as f64 };
        load.messages_per_s = messages_per_second(plan, population, telemetry, all) * share;
        load.messages = messages_in_run(plan, population, telemetry, all) * share;
        load.mean_bytes = sizes.mean();
        load.largest_bytes = sizes.largest();
        load.metered_each = sizes.blocks(Tier::S1.meter_bytes() as u32);
    }
    load
}

/// Sizes of the messages of a device in the middle of the population.
fn sizes(plan: &Plan, population: &Population, telemetry: &Telemetry) -> Sizes {
    let n = population.count / 2;
    let id = match &population.roster {
        Roster::Pattern(pattern) => pattern.render(n, &plan.run_id),
        // As long as most; the list is not read for this.
        Roster::List(_) => "d".repeat(32),
    };
    telemetry.payload.sizes(&Context {
        seed: plan.seed,
        population: &population.name,
        n,
        device_id: &id,
        registration_id: &id,
        run: &plan.run_id,
        sequence: 1,
        now: UnixTime::from_nanos(1_700_000_000_000_000_000),
    })
}

fn messages_per_second(plan: &Plan, population: &Population, telemetry: &Telemetry, devices: u64) -> f64 {
    let starts = population.starts(plan);
    let each = telemetry.rhythm.per_second();
    match telemetry.messages {
        Some(messages) if telemetry.rhythm.is_at_once() => {
            starts.most_within(SECOND, plan.duration) as f64 * messages as f64
        }
        // Devices are through with their messages after a while, and others have begun.
        Some(messages) => {
            // One interval more than lies between the first and the last, for the first is as far from the connection.
            let sending = telemetry.rhythm.span(messages.saturating_add(1));
            starts.most_within(sending, plan.duration) as f64 * each
        }
        None => devices as f64 * each,
    }
}

/// How many devices are looked at to find the mean of all.
const LOOKED_AT: u64 = 10_000;

fn messages_in_run(plan: &Plan, population: &Population, telemetry: &Telemetry, devices: u64) -> f64 {
    let most = telemetry.messages.map_or(f64::INFINITY, |messages| messages as f64);
    let Some(duration) = plan.duration else { return devices as f64 * most };
    let each = telemetry.rhythm.per_second();
    let (mut sum, mut looked_at) = (0.0, 0u64);
    let starts = super::Starts { count: devices, ..population.starts(plan) };
    for start in starts.sample(LOOKED_AT).take_while(|start| *start <= duration) {
        let sending = (duration - start).as_secs_f64();
        sum += if telemetry.rhythm.is_at_once() { most } else { (sending * each).min(most) };
        looked_at += 1;
    }
    if looked_at == 0 { 0.0 } else { sum / looked_at as f64 * devices as f64 }
}

/// Connections that one message brings about, because its device does not keep its connection for as long as the time
/// between two messages.
fn reconnects_per_message(population: &Population) -> f64 {
    let Some(telemetry) = &population.telemetry else { return 0.0 };
    let Rhythm { every, on_change, .. } = &*telemetry.rhythm;
    let keep = population.keep_connection;
    let long = every.iter().filter(|every| **every > keep).count() as f64 / every.len().max(1) as f64;
    match on_change {
        None => long,
        Some(change) => {
            // Exponential gaps: this part of them is longer.
            let quiet = (-keep.as_secs_f64() / change.every.as_secs_f64()).exp();
            if every.is_empty() { quiet / f64::from(change.messages) } else { long * quiet }
        }
    }
}

/// When every device of a population has done what it is planned to; `None` if that is the end of the run clock.
fn finished(plan: &Plan, population: &Population) -> Option<Duration> {
    let last = population.starts(plan).last();
    let telemetry = match (&population.telemetry, plan.duration) {
        // Devices that send nothing stay connected while the run clock runs.
        (None, Some(_)) if population.connect.is_some() => return None,
        (None, _) => Duration::ZERO,
        (Some(telemetry), _) => telemetry.rhythm.span(telemetry.messages?.saturating_add(1)),
    };
    let registering = match (&plan.target, population.provision) {
        (_, None) => Duration::ZERO,
        (Target::Emulator(target), _) => target.dps.retry_after.map_or(REGISTERING, Duration::from_secs),
        _ => REGISTERING,
    };
    let end = last.saturating_add(registering).saturating_add(telemetry);
    plan.duration.is_none_or(|duration| end < duration).then_some(end)
}

/// What a registration takes if all is well: one wait of 3 s, as DPS asks for.
const REGISTERING: Duration = Duration::from_secs(3);

/// A window that holds the events of one second: its ends belong to it.
pub(super) const SECOND: Duration = Duration::from_nanos(999_999_999);

fn messages(plan: &Plan, loads: &[PopulationLoad]) -> Option<Messages> {
    plan.populations.iter().any(|population| population.telemetry.is_some()).then(|| {
        let mut all = Messages {
            total: 0.0,
            per_s: 0.0,
            metered: 0.0,
            metered_per_day: 0.0,
            metered_per_day_f1: 0.0,
            metered_f1: 0.0,
        };
        for (population, load) in plan.populations.iter().zip(loads) {
            let Some(telemetry) = &population.telemetry else { continue };
            let free = sizes(plan, population, telemetry).blocks(Tier::F1.meter_bytes() as u32);
            all.total += load.messages;
            all.per_s += load.messages_per_s;
            all.metered += load.messages * load.metered_each;
            all.metered_f1 += load.messages * free;
            all.metered_per_day += load.messages_per_s * load.metered_each * 86_400.0;
            all.metered_per_day_f1 += load.messages_per_s * free * 86_400.0;
        }
        all
    })
}

/// So many starts are counted one by one.
const COUNTED: u64 = 5_000_000;

/// Starts of several populations together, in one part of the plan.
fn flow<'a>(plan: &'a Plan, part: Shard, populations: impl Iterator<Item = &'a Population> + Clone) -> Flow {
    let devices = |population: &Population| {
        plan.duration.map_or(population.count, |end| population.starts(plan).started_by(end))
    };
    let all: u64 = populations.clone().map(devices).sum();
    let total: u64 = populations.clone().map(|population| part.of(devices(population))).sum();
    let exact = all <= COUNTED;
    let mut seconds: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut per_s, mut per_min, mut count) = (0u64, 0u64, 0usize);
    for population in populations {
        count += 1;
        if exact {
            let (first, step) = part.walk(0, 1);
            let instants = population.starts(plan).instants().skip(first as usize).step_by(step as usize);
            for start in instants.take_while(|start| plan.duration.is_none_or(|end| *start <= end)) {
                *seconds.entry(start.as_secs()).or_default() += 1;
            }
        } else {
            let starts = population.starts(plan);
            let parts = u64::from(part.count());
            let minute = Duration::from_secs(60) - Duration::from_nanos(1);
            per_s += starts.most_within(SECOND, plan.duration).div_ceil(parts);
            per_min += starts.most_within(minute, plan.duration).div_ceil(parts);
        }
    }
    // A minute that slides over the seconds.
    let (mut minute, mut oldest) = (0, seconds.iter().peekable());
    for (second, starts) in &seconds {
        minute += starts;
        while let Some((_, gone)) = oldest.next_if(|(old, _)| **old + 60 <= *second) {
            minute -= gone;
        }
        per_s = per_s.max(*starts);
        per_min = per_min.max(minute);
    }
    Flow { total: total as f64, per_s: per_s as f64, per_min: per_min as f64, at_most: !exact && count > 1 }
}

fn show(number: f64) -> String {
    crate::units::show_count(number.round() as u64)
}

fn show_rate(rate: f64) -> String {
    if rate >= 100.0 { show(rate) } else { format!("{:.1}", rate).trim_end_matches(".0").to_owned() }
}

fn show_seconds(seconds: f64) -> String {
    crate::units::show_duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
