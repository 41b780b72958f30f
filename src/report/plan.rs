//! What a scenario comes to: `muster check`.

use std::time::Duration;

use super::table::{Look, Page, columns, left, right, safe, wrap};
use crate::document::resolve::{Resolved, ResolvedOrigin};
use crate::plan::load::{
    Flow, Load, Need, PUBLISHED_REGISTRATIONS_PER_MINUTE, Throttled, registrations_per_minute,
};
use crate::plan::{Arrival, Plan, Population, Target};
use crate::units::{ByteSize, show_bytes, show_count, show_duration, spell_duration};

/// What is to be shown of a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'a> {
    /// What it means.
    pub plan: &'a Plan,
    /// Its keys, with the origin of each; what the command line adds stands in [`Self::flags`].
    pub resolved: &'a [Resolved],
    /// Values from flags and their variables, with the name of the one that gave each.
    pub flags: &'a [(String, String, &'static str)],
    /// What it comes to, all shards together.
    pub load: &'a Load,
    /// What the plan's shard comes to; `None` for a run that is not split.
    pub part: Option<&'a Load>,
    /// What to know of limits that the shards' emulators keep.
    pub shard_limits: Option<&'a str>,
    /// What would be held up or refused.
    pub throttled: &'a [Throttled],
    /// Files that this process may open at once; `None` for no limit.
    pub descriptors: Option<u64>,
    /// Of these, what it needs for itself.
    pub own_descriptors: u64,
    /// Why the run will be refused for what is certainly open at once; `None` if it will not.
    pub refused: Option<&'a str>,
    /// Ports of one source address for one destination; `None` if unknown.
    pub ports: Option<u64>,
    /// Memory that the most connections that are open at once take, in bytes.
    pub memory: u64,
    /// Memory that is to be had; `None` if unknown.
    pub available_memory: Option<u64>,
}

/// Ports of one source for one destination, as Linux comes.
const PORTS: u64 = 28_232;

/// The whole text, to be kept within `width` columns: 80 to 100.
pub fn render(checked: &Checked<'_>, width: usize, colour: bool) -> String {
    let mut page = Page::new(width.clamp(80, 100), colour);
    head(&mut page, checked);
    values(&mut page, checked);
    fleets(&mut page, checked);
    load(&mut page, checked);
    part(&mut page, checked);
    limits(&mut page, checked);
    throttled(&mut page, checked.throttled);
    page.into_text()
}

fn head(page: &mut Page, checked: &Checked<'_>) {
    let Checked { plan, load, .. } = checked;
    let word = page.paint(Look::Good, "VALID");
    page.line(&format!("{word}  {}", safe(&plan.name)));
    let target = match &plan.target {
        Target::Emulator(target) => {
            let hubs = if target.hubs.len() == 1 { "hub" } else { "hubs" };
            format!("the embedded emulator: DPS and {} {hubs}, on this machine", target.hubs.len())
        }
        Target::Azure(target) => {
            format!("DPS {}, and hubs {}", safe(&target.dps), safe(&target.allow.join(", ")))
        }
        Target::Hub(target) => format!("the hub {}, without DPS", safe(&target.host)),
    };
    page.wrapped("       loads ", &target, Look::Plain);
    let devices = if load.devices == 1 { "device" } else { "devices" };
    let ends = match (load.finished_s, load.duration_s) {
        (Some(end), _) => format!("done after about {}", seconds(end)),
        (None, Some(end)) => format!("ends at {}", seconds(end)),
        (None, None) => "ends when every device has finished".to_owned(),
    };
    let last = seconds(load.last_start_s);
    page.line(&format!("       {} {devices}, the last starts at {last}; {ends}", show_count(load.devices)));
}

fn values(page: &mut Page, checked: &Checked<'_>) {
    page.heading("Values, and where each was written");
    let mut rows: Vec<(String, String)> = Vec::new();
    for (path, value, flag) in checked.flags {
        rows.push((format!("{path} = {value}"), (*flag).to_owned()));
    }
    for key in checked.resolved.iter().filter(|key| !checked.flags.iter().any(|(path, ..)| *path == key.path))
    {
        rows.push((format!("{} = {}", key.path, safe(&key.value)), origin(&key.origin)));
    }
    let origins = rows.iter().map(|(_, origin)| columns(origin)).max().unwrap_or(0).min(page.width() / 2);
    let room = page.width().saturating_sub(origins + 4);
    for (value, origin) in rows {
        let mut origin = page.paint(Look::Dim, &origin);
        for line in wrap(&value, room) {
            page.line(&format!("  {}  {}", left(&line, room), std::mem::take(&mut origin)));
        }
    }
}

fn origin(origin: &ResolvedOrigin) -> String {
    match origin {
        ResolvedOrigin::File { line, .. } => format!("line {line}"),
        ResolvedOrigin::Set { .. } => "--set".to_owned(),
        ResolvedOrigin::Environment { names, written } => {
            format!("{}, {}", names.join(", "), self::origin(written))
        }
        ResolvedOrigin::Default => "default".to_owned(),
    }
}

fn fleets(page: &mut Page, checked: &Checked<'_>) {
    page.heading("Fleets");
    for (population, load) in checked.plan.populations.iter().zip(&checked.load.populations) {
        let devices = if load.devices == 1 { "device" } else { "devices" };
        let mut parts = vec![format!("{} {devices}, {}", show_count(load.devices), starts(population))];
        match &population.telemetry {
            Some(telemetry) => {
                let size = ByteSize(load.mean_bytes.round() as u64);
                let largest = ByteSize(load.largest_bytes as u64);
                let each = match telemetry.messages {
                    Some(1) => "1 message each".to_owned(),
                    Some(messages) => format!("{} messages each", show_count(messages)),
                    None => "messages until the end".to_owned(),
                };
                parts.push(format!("{each}, {}", rhythm(telemetry)));
                parts.push(format!(
                    "a message has {size} on average, {largest} at most (body and properties)"
                ));
            }
            None if population.connect.is_some() => parts.push("no telemetry".to_owned()),
            None => parts.push("only registers".to_owned()),
        }
        let name = left(&population.name, 14);
        page.wrapped(&format!("  {name}  "), &parts.join("; "), Look::Plain);
    }
}

fn starts(population: &Population) -> String {
    match &population.arrival {
        Arrival::Rate(rate) => format!("started at {rate}"),
        Arrival::Ramp { from, to, over } => {
            format!("started at {from} rising to {to} over {}", spell_duration(*over))
        }
        Arrival::Staircase { from, to, step, every } => {
            format!("started at {from} to {to} in steps of {step}, {} each", spell_duration(*every))
        }
        Arrival::Poisson(rate) => format!("started at random, {rate} on average"),
        Arrival::Burst { at } => format!("all started at {}", spell_duration(*at)),
        Arrival::Trace(_) => "started at the instants of a file".to_owned(),
    }
}

fn rhythm(telemetry: &crate::plan::Telemetry) -> String {
    let rhythm = &telemetry.rhythm;
    let grid = match rhythm.every.as_slice() {
        [] => String::new(),
        [every] if every.is_zero() => "all at once".to_owned(),
        [every] => format!("one every {}", spell_duration(*every)),
        several => {
            let times: Vec<String> = several.iter().map(|every| spell_duration(*every)).collect();
            format!("after {} in turn", times.join(", "))
        }
    };
    let Some(change) = rhythm.on_change else { return grid };
    let burst = format!("bursts of {} about every {}", change.messages, spell_duration(change.every));
    if grid.is_empty() { burst } else { format!("{grid}, and {burst}") }
}

fn load(page: &mut Page, checked: &Checked<'_>) {
    let Checked { load, .. } = checked;
    page.heading("Load, if the services answer at once");
    page.line(&format!(
        "  {}{}{}{}",
        left("", 16),
        right("in the run", 16),
        right("most in 1 s", 16),
        right("most in 1 min", 16)
    ));
    let row = |page: &mut Page, name: &str, flow: Flow| {
        let bound = if flow.at_most { "≤ " } else { "" };
        page.line(&format!(
            "  {}{}{}{}",
            left(name, 16),
            right(&number(flow.total), 16),
            right(&format!("{bound}{}", number(flow.per_s)), 16),
            right(&format!("{bound}{}", number(flow.per_min)), 16)
        ));
    };
    if let Some(flow) = load.registrations {
        row(page, "registrations", flow);
    }
    if let Some(flow) = load.connections {
        row(page, "connections", flow);
    }
    if let Some(messages) = load.messages {
        page.line(&format!(
            "  {}{}{}",
            left("messages", 16),
            right(&number(messages.total), 16),
            right(&number(messages.per_s), 16)
        ));
        page.line(&format!(
            "  {}{}   {} a day at that rate (4 KiB each)",
            left("metered", 16),
            right(&number(messages.metered), 16),
            number(messages.metered_per_day)
        ));
    }
    if let Some(flow) = load.questions {
        row(page, "c2d polls", flow);
    }
    if checked.part.is_none() {
        open(page, checked, load);
    }
}

/// What the plan's shard is, beside the whole.
fn part(page: &mut Page, checked: &Checked<'_>) {
    let Some(part) = checked.part else { return };
    let shard = checked.plan.shard;
    page.heading(&format!("Shard {shard}, counted from 0: its part of that"));
    let fleets = checked.plan.populations.iter().zip(&part.populations);
    let fleets = fleets.map(|(fleet, load)| format!("{} {}", show_count(load.devices), safe(&fleet.name)));
    let devices = format!(
        "{} ({}): every device whose number leaves {} when divided by {}",
        show_count(part.devices),
        fleets.collect::<Vec<_>>().join(", "),
        shard.index(),
        shard.count()
    );
    page.wrapped(&format!("  {}", left("devices", 16)), &devices, Look::Plain);
    let flow =
        |flow: Flow| format!("{} in the run, at most {} in 1 s", number(flow.total), number(flow.per_s));
    let messages =
        part.messages.map(|all| format!("{} in the run, {} in 1 s", number(all.total), number(all.per_s)));
    let rows = [
        ("registrations", part.registrations.map(flow)),
        ("connections", part.connections.map(flow)),
        ("messages", messages),
        ("c2d polls", part.questions.map(flow)),
    ];
    for (name, text) in rows {
        if let Some(text) = text {
            page.wrapped(&format!("  {}", left(name, 16)), &text, Look::Plain);
        }
    }
    open(page, checked, part);
    if let Some(limits) = checked.shard_limits {
        page.wrapped("  ! ", limits, Look::Warning);
    }
}

/// Connections that are open at once, and whether they fit into a process.
fn open(page: &mut Page, checked: &Checked<'_>, load: &Load) {
    let open = load.open;
    let need = open.most + checked.own_descriptors;
    let ports = checked.ports.unwrap_or(PORTS);
    let may = checked.descriptors.map_or_else(|| "any number".to_owned(), show_count);
    let at_once = match (show_count(open.least), show_count(open.most)) {
        (least, most) if least == most => most,
        (least, most) => format!("{least} to {most}"),
    };
    let text = format!(
        "{at_once} open at once: up to {} descriptors of the {may} that a process here may open, and as many ports of the \
         {} that one source address has for one destination; about {} of memory{}",
        show_count(need),
        show_count(ports),
        show_bytes(checked.memory),
        checked
            .available_memory
            .map(|bytes| format!(" of {} to be had", show_bytes(bytes)))
            .unwrap_or_default(),
    );
    page.wrapped(&format!("  {}", left("connections", 16)), &text, Look::Plain);
    let lead = format!("  {}", left("", 16));
    if let Some(refused) = checked.refused {
        page.wrapped(&lead, &format!("`muster run` will refuse this (exit 3): {refused}"), Look::Bad);
    } else if checked.descriptors.is_some_and(|limit| need > limit)
        || open.most > ports
        || checked.available_memory.is_some_and(|bytes| checked.memory > bytes)
    {
        let text = "this fits only while devices let go of their connections in time";
        page.wrapped(&lead, text, Look::Warning);
    }
}

fn limits(page: &mut Page, checked: &Checked<'_>) {
    let Checked { plan, load, .. } = checked;
    page.heading("Published limits of the services");
    if load.registrations.is_some() {
        let published = PUBLISHED_REGISTRATIONS_PER_MINUTE;
        let mut text = format!(
            "one instance admits {} registrations/min by default and needs {} for these",
            number(published),
            seconds(load.registering_s(published))
        );
        if let Some(limit) = registrations_per_minute(plan).filter(|limit| (limit - published).abs() > 0.5) {
            let whose = if matches!(plan.target, Target::Emulator(_)) { "this emulator" } else { "yours" };
            text.push_str(&format!(
                "; {whose} admits {}/min and needs {}",
                number(limit),
                seconds(load.registering_s(limit))
            ));
        }
        page.wrapped("  DPS     ", &text, Look::Plain);
    }
    let needs = load.needs();
    if needs.is_empty() {
        return;
    }
    page.wrapped(
        "  Hub     ",
        "units that it takes to serve this without delay, were it to go on for a day:",
        Look::Plain,
    );
    let cells = |name: &str, cells: [&str; 4]| {
        let [connects, sends, quota, units] = cells;
        format!(
            "          {}{}{}{}   {units}",
            left(name, 6),
            right(connects, 11),
            right(sends, 11),
            right(quota, 14)
        )
    };
    let head = cells("tier", ["connections", "messages", "daily quota", "altogether"]);
    let head = page.paint(Look::Dim, &head);
    page.line(&head);
    for Need { tier, connects, sends, quota, units, hubs } in needs {
        let unit = if units == 1 { "unit" } else { "units" };
        let mut altogether = format!("{} {unit}", show_count(units));
        if hubs > 1 {
            altogether.push_str(&format!(", over {} hubs", show_count(hubs)));
        }
        let [connects, sends, quota] = [connects, sends, quota].map(show_count);
        page.line(&cells(tier.name(), [&connects, &sends, &quota, &altogether]));
    }
    let is_unknown = match &plan.target {
        Target::Azure(target) => target.stated.is_none(),
        Target::Hub(target) => target.stated.is_none(),
        Target::Emulator(_) => false,
    };
    if is_unknown {
        let text = "with tier = \"S1\" and units = 1 in [target], or what your hub is, this page says what it would throttle";
        page.wrapped("          ", text, Look::Dim);
    }
}

fn throttled(page: &mut Page, throttled: &[Throttled]) {
    if throttled.is_empty() {
        return;
    }
    page.heading("What would be throttled");
    for Throttled { message, remedy } in throttled {
        page.wrapped("  ! ", message, Look::Warning);
        page.wrapped("    ", remedy, Look::Plain);
    }
}

/// A number of events: whole from 100 on.
fn number(value: f64) -> String {
    if value >= 99.95 || (value - value.round()).abs() < 0.005 {
        show_count(value.round() as u64)
    } else {
        format!("{value:.1}")
    }
}

fn seconds(seconds: f64) -> String {
    show_duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario;

    fn shown(text: &str, width: usize, colour: bool) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, text).expect("a file");
        show(&path, width, colour)
    }

    fn show(path: &Path, width: usize, colour: bool) -> String {
        let options = scenario::Options {
            seed: Some(7),
            run_id: Some("0a1b2c3d".to_owned()),
            sets: vec!["drain=5s".to_owned()],
        };
        let loaded = scenario::load(path, &options, &|name| (name == "HOST").then(|| "a.b.c".to_owned()))
            .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, None)));
        let load = Load::of(&loaded.plan);
        let checked = Checked {
            plan: &loaded.plan,
            resolved: &loaded.resolved,
            flags: &[("seed".to_owned(), "7".to_owned(), "--seed")],
            load: &load,
            part: None,
            shard_limits: None,
            throttled: &load.throttled(&loaded.plan),
            descriptors: Some(20_000),
            own_descriptors: 32,
            refused: None,
            ports: Some(28_232),
            memory: 33 * 1024 * load.open.most,
            available_memory: Some(20 << 30),
        };
        render(&checked, width, colour)
    }

    const PLANT: &str = r#"version = 1
duration = "1h"
[emulator.dps]
registrations = "2000/min"
[emulator.hub]
north = { tier = "S1", units = 1, weight = 3 }
south = { tier = "F1" }
[fleet.sensors]
count = 15_000
start.ramp = { from = "10/s", to = "60/s", over = "60s" }
[fleet.sensors.telemetry]
every = ["10s", "10s", "40s"]
bytes = "6 KiB"
[fleet.gateways]
count = 300
connect = "https"
start.poisson = "1/s"
[fleet.gateways.telemetry]
every = "5m"
on_change = { every = "10m", messages = 3, gap = "200ms" }
json = '{"seq":${seq}}'
[fleet.onlookers]
count = 50
connect = "none"
start.burst = { at = "10s" }
"#;

    const HUB: &str = r#"version = 1
[target]
kind = "hub"
host = "${env:HOST}"
[enrollment.plant]
group_key = { env = "GROUP_KEY" }
[fleet.one]
count = 1
"#;

    #[test]
    fn a_plan_that_asks_too_much_on_a_wide_and_a_narrow_terminal() {
        insta::assert_snapshot!("too_much_100", shown(PLANT, 100, false));
        let narrow = shown(PLANT, 80, false);
        assert!(narrow.lines().all(|line| columns(line) <= 80), "{narrow}");
        insta::assert_snapshot!("too_much_80", narrow);
    }

    #[test]
    fn a_plan_without_dps_and_telemetry_in_colour() {
        insta::assert_snapshot!("hub_colour", shown(HUB, 100, true));
    }
}
