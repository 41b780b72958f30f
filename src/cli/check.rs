//! `muster check`: what a scenario comes to, without starting anything.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::json;

use super::split::Split;
use super::{exit, terminal};
use crate::document::resolve::ResolvedOrigin;
use crate::plan::Target;
use crate::plan::load::Load;
use crate::report::plan::{self, Checked};
use crate::run::{emulators_of_their_own, preflight, tell};
use crate::scenario;

/// Arguments of `muster check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Scenario files
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,

    /// Set a key of the scenario, for example fleet.devices.count=500 (repeatable)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,

    /// Seed of everything drawn: same seed, same run
    #[arg(long, env = "MUSTER_SEED")]
    seed: Option<u64>,

    #[command(flatten)]
    split: Split,

    /// Print JSON: one object a line for each scenario
    #[arg(long)]
    json: bool,

    /// Print nothing if all is well
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Checks the scenarios one after another; opens no socket, reads no key from the environment.
///
/// * `matches`: tells whether the seed came from a flag or from its variable
pub(super) fn run(arguments: &Arguments, matches: Option<&ArgMatches>) -> u8 {
    let mut worst = exit::PASS;
    for (index, path) in arguments.scenarios.iter().enumerate() {
        if index > 0 && !arguments.quiet && !arguments.json && worst == exit::PASS {
            terminal::print(b"\n");
        }
        worst = worst.max(one(path, arguments, matches));
    }
    worst
}

fn one(path: &Path, arguments: &Arguments, matches: Option<&ArgMatches>) -> u8 {
    let environment = |name: &str| std::env::var(name).ok();
    let options = scenario::Options {
        sets: arguments.sets.clone(),
        seed: arguments.seed,
        ..scenario::Options::default()
    };
    let part = match arguments.split.part(&environment) {
        Ok(part) => part,
        Err(error) => {
            tell(format_args!("error: {error}"));
            return exit::USAGE;
        }
    };
    let Some(mut loaded) = super::load(path, &options, &environment) else { return exit::USAGE };
    loaded.plan.shard = part.shard;
    if arguments.quiet {
        return exit::PASS;
    }
    let load = Load::of(&loaded.plan);
    let part = (!loaded.plan.shard.is_whole()).then(|| Load::of_shard(&loaded.plan));
    // An emulator is loaded by its own shard, any other service by all.
    let throttled = match (&part, &loaded.plan.target) {
        (Some(part), Target::Emulator(_)) => part.throttled(&loaded.plan),
        _ => load.throttled(&loaded.plan),
    };
    let limits = emulators_of_their_own(&loaded.plan);
    let flag = match matches.and_then(|matches| matches.value_source("seed")) {
        Some(ValueSource::EnvVariable) => "MUSTER_SEED",
        _ => "--seed",
    };
    let mut flags: Vec<_> =
        arguments.seed.map(|seed| ("seed".to_owned(), seed.to_string(), flag)).into_iter().collect();
    if flags.is_empty() && !loaded.resolved.iter().any(|key| key.path == "seed") {
        flags.push(("seed".to_owned(), "(drawn anew for each run)".to_owned(), "default"));
    }
    let room = preflight::Room::now();
    let refused = preflight::check(&loaded.plan, &room, 1).err().map(|error| error.to_string());
    let ours = part.as_ref().unwrap_or(&load);
    let devices: Vec<u64> = ours.populations.iter().map(|population| population.devices).collect();
    let embedded = matches!(loaded.plan.target, Target::Emulator(_));
    let checked = Checked {
        plan: &loaded.plan,
        resolved: &loaded.resolved,
        flags: &flags,
        load: &load,
        part: part.as_ref(),
        shard_limits: limits.as_deref(),
        throttled: &throttled,
        descriptors: room.descriptors,
        own_descriptors: preflight::OWN_DESCRIPTORS,
        refused: refused.as_deref(),
        ports: room.ports,
        memory: preflight::memory(&loaded.plan.populations, &devices, embedded),
        available_memory: room.memory,
    };
    let text = if arguments.json {
        format!("{}\n", to_json(path, &checked))
    } else {
        plan::render(&checked, terminal::stdout_columns(), terminal::stdout_has_colour())
    };
    terminal::print(text.as_bytes())
}

fn to_json(path: &Path, checked: &Checked<'_>) -> serde_json::Value {
    let origin = |origin: &ResolvedOrigin| match origin {
        ResolvedOrigin::File { line, column, .. } => json!({ "line": line, "column": column }),
        ResolvedOrigin::Set { text } => json!({ "set": text }),
        ResolvedOrigin::Environment { names, .. } => json!({ "environment": names }),
        ResolvedOrigin::Default => json!("default"),
    };
    let flag = |path: &str| checked.flags.iter().find(|(flagged, ..)| flagged == path);
    let mut values: Vec<_> = checked
        .resolved
        .iter()
        .filter(|key| flag(&key.path).is_none())
        .map(|key| json!({ "path": key.path, "value": key.value, "origin": origin(&key.origin) }))
        .collect();
    values.extend(
        checked
            .flags
            .iter()
            .map(|(path, value, flag)| json!({ "path": path, "value": value, "origin": { "flag": flag } })),
    );
    json!({
        "scenario": path.display().to_string(),
        "name": checked.plan.name,
        "values": values,
        "load": checked.load,
        "shard": checked.part.map(|part| json!({
            "index": checked.plan.shard.index(),
            "count": checked.plan.shard.count(),
            "load": part,
        })),
        "hub_needs": checked.load.needs(),
        "throttled": checked.throttled,
        "descriptor_limit": checked.descriptors,
    })
}
