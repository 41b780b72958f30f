//! What the user wrote: reads a scenario file and turns it into a [`Plan`].
//!
//! [`keys`] lists every key of the file. The readers (`written`, `enrollment`, `fleet`, `emulator`) take the values off
//! the page, each with its place and still optional; `build` applies every default once, holds the parts against each
//! other and makes the plan, in which no option is left open.
//!
//! What this module never does: open a socket, keep a key (those of a list are checked and forgotten), or look at the process
//! environment (it is given a lookup).

use std::path::Path;
use std::time::Duration;

use crate::device::hub::Qos;
use crate::document::environment;
use crate::document::node::{self, Entry, Node, Value};
use crate::document::resolve::{self, Resolved, ResolvedOrigin};
use crate::document::{Diagnostics, Key, Table, overlay, source};
use crate::plan::{EmulatorTarget, Enrollment, Plan, Protocol, Threshold};
use crate::rng;
use crate::units::{parse_duration, spell_duration};
use target::TargetKind;

mod build;
mod build_chores;
mod build_emulator;
mod build_fleet;
mod build_roster;
mod build_telemetry;
mod build_target;
mod build_threshold;
mod emulator;
mod enrollment;
mod fleet;
mod host;
pub mod keys;
mod payload;
mod proxy;
mod target;
mod threshold;
mod trace;
mod written;

pub use build_emulator::DEFAULT_ID_SCOPE;

/// What the command line adds to a scenario.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Texts of `--set path=value`, in their order.
    pub sets: Vec<String>,
    /// The seed; takes precedence over the scenario's.
    pub seed: Option<u64>,
    /// The run's id, eight lower-case hexadecimal digits; made up if `None`.
    pub run_id: Option<String>,
}

/// A scenario that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it means.
    pub plan: Plan,
    /// Every key that holds, with its value and where that was written; none of them a secret.
    pub resolved: Vec<Resolved>,
    /// What probably does not mean what was intended; holds no error.
    pub warnings: Diagnostics,
    /// The file as it was written, without byte order mark; `${env:NAME}` is not replaced in it.
    pub text: String,
}

impl Loaded {
    /// Whether the seed is the user's, and not drawn for this run.
    pub fn has_seed(&self, options: &Options) -> bool {
        options.seed.is_some() || self.resolved.iter().any(|key| key.path == "seed")
    }
}

/// Thresholds of a scenario from the texts that its results have, for the populations of these names.
///
/// # Errors
/// The first text that is no threshold of this version.
pub fn thresholds_from<'a>(texts: &'a [String], fleets: &[&str]) -> Result<Vec<Threshold>, &'a str> {
    texts.iter().map(|text| build_threshold::from_text(text, fleets).ok_or(text.as_str())).collect()
}

/// What `muster emulate` needs of a scenario.
#[derive(Debug, Clone)]
pub struct LoadedEmulator {
    /// The services.
    pub target: EmulatorTarget,
    /// Who may register.
    pub enrollments: Vec<Enrollment>,
    /// The scenario's seed, [`Options::seed`], or a fresh one.
    pub seed: u64,
    /// What probably does not mean what was intended; holds no error.
    pub warnings: Diagnostics,
}

/// Reads the scenario at `path`.
///
/// * `env`: looks up the variables that the scenario refers to as `${env:NAME}`; nothing else is asked for
///
/// # Errors
/// Everything that is wrong with it, and the warnings besides.
pub fn load(
    path: &Path,
    options: &Options,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let Some(mut root) = document(path, options, &mut diagnostics) else { return Err(diagnostics) };
    environment::replace(&mut root, env, &mut diagnostics);
    let Some(reader) = written::open(&root, &mut diagnostics) else { return Err(diagnostics) };
    let written = written::read(&reader, &mut diagnostics);
    let plan = build::plan(&written, options, &build::Paths::new(path), &mut diagnostics);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let kind = written.target.kind.or(TargetKind::Emulator);
    let mut resolved = resolve::resolve(&keys::SCENARIO, &root, &diagnostics, &in_use(kind));
    suit_protocols(&mut resolved, &plan);
    let text = diagnostics.sources().source(source::SourceId::FILE).map(|file| file.text.clone());
    Ok(Loaded { plan, resolved, warnings: diagnostics, text: text.unwrap_or_default() })
}

/// Whether a key that is not written holds its default, or a table that is not written has keys that do, in a scenario
/// with a target of that kind.
fn in_use(kind: TargetKind) -> impl Fn(&'static Table, &'static Key, &[Entry]) -> bool {
    let emulator = kind == TargetKind::Emulator;
    move |table, key, entries| match (table.name, key.name) {
        ("[target]", "dps" | "dps_registrations") => kind == TargetKind::Azure,
        ("[fleet.NAME]", "provision") => kind != TargetKind::Hub,
        // What is sent on change only has no grid to be moved from.
        ("[fleet.NAME.telemetry]", "jitter") => {
            entries.iter().any(|entry| matches!(entry.key.as_str(), "every" | "fleet_rate"))
        }
        (_, "emulator") | ("[enrollment.NAME]", _) => emulator,
        (_, "target" | "measure" | "deadline" | "token") | ("[emulator]", "dps") => true,
        _ => key.default.is_some(),
    }
}

/// Makes the defaults that hang on a fleet's protocols and habits, which other keys name, what they are in `plan`.
fn suit_protocols(resolved: &mut Vec<Resolved>, plan: &Plan) {
    for population in &plan.populations {
        let is_https = population.connect == Some(Protocol::Https);
        let speaks_mqtt =
            [population.provision, population.connect].into_iter().flatten().any(Protocol::is_mqtt);
        let confirms =
            population.telemetry.as_ref().is_some_and(|telemetry| telemetry.qos == Qos::AtLeastOnce);
        let fleet = format!("fleet.{}.", population.name);
        resolved.retain_mut(|key| {
            let Some(name) = key.path.strip_prefix(&fleet) else { return true };
            if key.origin != ResolvedOrigin::Default {
                return true;
            }
            let of_its_habits = match name {
                "keep_alive" => Some(population.keep_alive),
                "deadline.register" => Some(population.deadlines.register),
                "deadline.connect" => Some(population.deadlines.connect),
                "deadline.send" => Some(population.deadlines.send),
                "token.renew_before" => Some(population.token.renew_before),
                _ => None,
            };
            if let Some(duration) = of_its_habits {
                key.value = as_written(&key.value, duration);
            }
            match name {
                "keep_alive" => speaks_mqtt,
                "keep_connection" | "c2d.poll_every" => is_https,
                "telemetry.resend" => !is_https && confirms,
                "telemetry.in_flight" if is_https => {
                    key.value = "1".to_owned();
                    true
                }
                _ => true,
            }
        });
    }
}

/// A duration as a scenario writes it; `usual` itself if it is that one.
fn as_written(usual: &str, is: Duration) -> String {
    if parse_duration(usual.trim_matches('"')) == Ok(is) {
        usual.to_owned()
    } else {
        format!("{:?}", spell_duration(is))
    }
}

/// Reads the `[emulator]` and `[enrollment]` tables of the scenario at `path`; the others are left alone, and so are the
/// variables that they refer to. Without enrollments there is one group with a generated key.
///
/// * `env`: as for [`load`]
///
/// # Errors
/// Everything that is wrong with these tables, and the warnings besides.
pub fn load_emulator(
    path: &Path,
    options: &Options,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<LoadedEmulator, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let Some(mut root) = document(path, options, &mut diagnostics) else { return Err(diagnostics) };
    if let Value::Table(entries) = &mut root.value {
        // Left in place, so that misspelt tables are still told; their content is nobody's business here.
        const USED: [&str; 4] = ["version", "seed", "emulator", "enrollment"];
        for entry in entries.iter_mut().filter(|entry| !USED.contains(&entry.key.as_str())) {
            entry.node.value = Value::Unknown;
        }
    }
    environment::replace(&mut root, env, &mut diagnostics);
    let Some(reader) = written::open(&root, &mut diagnostics) else { return Err(diagnostics) };
    let seed = reader.count("seed", &mut diagnostics);
    let emulator = emulator::read(&reader, &mut diagnostics);
    let written = written::enrollments(&reader, &mut diagnostics);
    let target = build_emulator::target(emulator.as_ref(), &mut diagnostics);
    let mut enrollments = build::enrollments(&written, &build::Paths::new(path), &mut diagnostics);
    build_emulator::enrollment_allocations(&mut enrollments, &written, &target.hubs, &mut diagnostics);
    if enrollments.is_empty() {
        enrollments.push(build::implicit_enrollment());
    }
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let seed = options.seed.unwrap_or_else(|| seed.value().copied().unwrap_or_else(rng::fresh_seed));
    Ok(LoadedEmulator { target, enrollments, seed, warnings: diagnostics })
}

/// The file with `--set` laid over it; `None` if it is too broken to be judged.
fn document(path: &Path, options: &Options, diagnostics: &mut Diagnostics) -> Option<Node> {
    let id = match source::read_file(path, diagnostics) {
        Ok(id) => id,
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            return None;
        }
    };
    let mut root = node::parse(id, diagnostics)?;
    for set in &options.sets {
        overlay::apply(set, &mut root, diagnostics);
    }
    Some(root)
}

#[cfg(test)]
mod defaults_tests;
#[cfg(test)]
mod resolved_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
