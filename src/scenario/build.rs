//! From what was written to what it means: the one place where defaults are applied and parts are held against each
//! other.
//!
//! Building goes on after a complaint, with a stand-in for what is broken, so that everything is told at once; the plan
//! is thrown away then.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::diagnostics::quote;
use crate::document::node::Text;
use crate::document::source::SourceId;
use crate::document::values::{Refusal, listed, nearest};
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Spanned};
use crate::list::DeviceList;
use crate::plan::arrival::Trace;
use crate::plan::{Enrollment, KeySource, Keys, Plan, Shard, Target};
use crate::rng;
use crate::scenario::enrollment::{self, Enrollment as WrittenEnrollment};
use crate::scenario::target::TargetKind;
use crate::scenario::written::Scenario;
use crate::scenario::{
    Options, build_emulator, build_fleet, build_roster, build_target, build_threshold, trace,
};

/// How long to wait for open answers after the end of a run that does not say.
const DEFAULT_DRAIN: Duration = Duration::from_secs(20);

/// Name of the enrollment that stands in where the emulator is given none.
const IMPLICIT_ENROLLMENT: &str = "default";

/// Where relative paths of a scenario begin, and what was read of the files that they name: each is read once, however
/// often it is named.
pub(super) struct Paths<'a> {
    /// The scenario file.
    file: &'a Path,
    lists: RefCell<HashMap<PathBuf, Result<DeviceList, Vec<Refusal>>>>,
    traces: RefCell<HashMap<PathBuf, Result<Trace, Refusal>>>,
}

impl<'a> Paths<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self { file, lists: RefCell::default(), traces: RefCell::default() }
    }

    /// The list of devices in the file at `path`, which is resolved.
    pub(super) fn list(&self, path: PathBuf) -> Result<DeviceList, Vec<Refusal>> {
        once(&self.lists, path, build_roster::check)
    }

    /// The instants in the file at `path`, which is resolved.
    pub(super) fn trace(&self, path: PathBuf) -> Result<Trace, Refusal> {
        once(&self.traces, path, trace::read)
    }

    /// A path in the file is relative to the file; one on the command line to the current directory, as typed.
    pub(super) fn resolve(&self, path: &str, origin: Origin) -> PathBuf {
        match self.file.parent() {
            Some(directory) if origin.source == SourceId::FILE => directory.join(path),
            _ => PathBuf::from(path),
        }
    }
}

/// What `read` made of the file when it was first named, in whatever spelling.
fn once<T: Clone>(known: &RefCell<HashMap<PathBuf, T>>, path: PathBuf, read: impl FnOnce(&Path) -> T) -> T {
    let file = path.canonicalize().unwrap_or_else(|_| path.clone());
    known.borrow_mut().entry(file).or_insert_with(|| read(&path)).clone()
}

/// Builds the plan. Worthless if there are errors in `diagnostics` afterwards.
pub(super) fn plan(
    written: &Scenario,
    options: &Options,
    paths: &Paths<'_>,
    diagnostics: &mut Diagnostics,
) -> Plan {
    let kind = written.target.kind.or(TargetKind::Emulator);
    let target = build_target::target(written, paths, diagnostics);
    let hubs = match &target {
        Target::Emulator(target) => target.hubs.as_slice(),
        _ => &[],
    };
    let mut enrollments = enrollments(&written.enrollments, paths, diagnostics);
    // With a broken kind nobody knows whether these are the hubs.
    if !matches!(written.target.kind, Given::Broken)
        && let Target::Emulator(_) = &target
    {
        build_emulator::enrollment_allocations(&mut enrollments, &written.enrollments, hubs, diagnostics);
    }
    if written.target.kind.value().is_some() {
        enrollments_suit_target(written, kind, diagnostics);
        lists_suit_target(written, &enrollments, kind, diagnostics);
    }
    if enrollments.is_empty() {
        if kind != TargetKind::Emulator && written.enrollments.is_empty() {
            diagnostics.push(
                Diagnostic::error(
                    written.target.origin,
                    "there is no enrollment, so the devices have no keys",
                )
                .help("add for example [enrollment.plant] with group_key = { env = \"GROUP_KEY\" }"),
            );
        }
        enrollments.push(implicit_enrollment());
    }
    if !written.names_a_fleet {
        diagnostics.push(
            Diagnostic::error(
                Origin::whole(SourceId::FILE),
                "there is no fleet, so the run would do nothing",
            )
            .help("add for example [fleet.devices] with count = 1000 and start.rate = \"100/s\""),
        );
    }
    let seed = options.seed.unwrap_or_else(|| written.seed.value().copied().unwrap_or_else(rng::fresh_seed));
    let context = build_fleet::Context { written, enrollments: &enrollments, target: kind, paths, seed };
    let populations = build_fleet::populations(&context, diagnostics);
    let sends_from = sends_from(written, diagnostics);
    let thresholds = build_threshold::thresholds(written, &populations, kind, diagnostics);
    let gates = build_threshold::gates(written, &populations, kind, diagnostics);
    let mut run_id = [0; 4];
    rng::fill_from_system(&mut run_id);
    Plan {
        name: paths.file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        seed,
        run_id: options.run_id.clone().unwrap_or_else(|| run_id.map(|byte| format!("{byte:02x}")).concat()),
        duration: written.duration.value().copied(),
        drain: written.drain.or(DEFAULT_DRAIN),
        target,
        enrollments,
        populations,
        sends_from,
        thresholds,
        gates,
        narrate: written.narrate.or(false),
        shard: Shard::WHOLE,
    }
}

/// The enrollment of a scenario that names none: the emulator makes up a group key.
pub(super) fn implicit_enrollment() -> Enrollment {
    Enrollment {
        name: IMPLICIT_ENROLLMENT.to_owned(),
        keys: Keys::Group { primary: KeySource::Generated, secondary: None },
        enabled: true,
        allocation: None,
        reprovision: Default::default(),
        initial_twin: None,
    }
}

/// What only the emulator understands or may be given.
fn enrollments_suit_target(written: &Scenario, kind: TargetKind, diagnostics: &mut Diagnostics) {
    if kind == TargetKind::Emulator {
        return;
    }
    for enrollment in &written.enrollments {
        for (key, origin) in &enrollment.emulator_only {
            diagnostics.push(
                Diagnostic::error(
                    *origin,
                    format!("`{key}` configures the emulator; a real service has its own settings"),
                )
                .help("remove it, or change the enrollment in the portal"),
            );
        }
        for source in enrollment.keys.iter().flat_map(enrollment::Keys::sources) {
            if let Some(Spanned { value: enrollment::KeySource::Generated, origin }) = source.spanned() {
                diagnostics.push(
                    Diagnostic::error(*origin, "a generated key is known to the emulator only")
                        .help("name the place of the real key: { env = \"GROUP_KEY\" }, { file = \"group.key\" } or \"stdin\""),
                );
            }
        }
    }
}

/// A real service knows no keys that are made here.
fn lists_suit_target(
    written: &Scenario,
    enrollments: &[Enrollment],
    kind: TargetKind,
    diagnostics: &mut Diagnostics,
) {
    for (enrollment, written) in enrollments.iter().zip(&written.enrollments) {
        if let (Keys::List(list), Some(enrollment::Keys::List(path))) = (&enrollment.keys, &written.keys)
            && !list.has_keys()
            && kind != TargetKind::Emulator
        {
            diagnostics.push(
                Diagnostic::error(path.origin, "the list has no column `key`, so the devices have no keys")
                    .help("add the column, with the primary key of each enrollment; and chmod 600 the file"),
            );
        }
    }
}

/// The enrollments with their keys; what concerns the emulator's hubs is filled in later.
pub(super) fn enrollments(
    written: &[WrittenEnrollment],
    paths: &Paths<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Enrollment> {
    let mut stdin: Option<Origin> = None;
    for source in written.iter().filter_map(|e| e.keys.as_ref()).flat_map(enrollment::Keys::sources) {
        if let Some(Spanned { value: enrollment::KeySource::Stdin, origin }) = source.spanned() {
            match stdin {
                None => stdin = Some(*origin),
                Some(first) => diagnostics.push(
                    Diagnostic::error(*origin, "standard input holds one key, and it is taken")
                        .related(first, "taken here")
                        .help("give the other key by { env = ... } or { file = ... }"),
                ),
            }
        }
    }
    let source = |given: &Given<enrollment::KeySource>| match given.value() {
        Some(enrollment::KeySource::Stdin) => KeySource::Stdin,
        Some(enrollment::KeySource::Environment(name)) => KeySource::Environment(name.clone()),
        Some(enrollment::KeySource::File(path)) => KeySource::File(paths.resolve(&path.value, path.origin)),
        Some(enrollment::KeySource::Generated) | None => KeySource::Generated,
    };
    let optional = |given: &Given<enrollment::KeySource>| given.value().map(|_| source(given));
    written
        .iter()
        .map(|written| Enrollment {
            name: written.name.clone(),
            keys: match &written.keys {
                Some(enrollment::Keys::List(path)) => list(path, paths, diagnostics),
                None => Keys::Group { primary: KeySource::Generated, secondary: None },
                Some(enrollment::Keys::Group { primary, secondary }) => {
                    Keys::Group { primary: source(primary), secondary: optional(secondary) }
                }
                Some(enrollment::Keys::Individual { registration_id, device_id, primary, secondary }) => {
                    Keys::Individual {
                        registration_id: registration_id.or(String::new()),
                        device_id: device_id.value().cloned(),
                        primary: source(primary),
                        secondary: optional(secondary),
                    }
                }
            },
            enabled: written.enabled.or(true),
            allocation: None,
            reprovision: written.reprovision.or(Default::default()),
            initial_twin: written.initial_twin.clone(),
        })
        .collect()
}

/// The devices of a list; one that cannot be used has been complained about.
fn list(path: &Spanned<Text>, paths: &Paths<'_>, diagnostics: &mut Diagnostics) -> Keys {
    let path = Spanned { value: path.value.value.clone(), origin: path.origin };
    match build_roster::read(&path, paths, diagnostics) {
        Some(list) => Keys::List(list),
        None => Keys::Group { primary: KeySource::Generated, secondary: None },
    }
}

fn sends_from(written: &Scenario, diagnostics: &mut Diagnostics) -> Duration {
    if let (Some(from), Some(duration)) = (written.sends_from.spanned(), written.duration.value())
        && from.value >= *duration
    {
        diagnostics.push(
            Diagnostic::error(from.origin, "nothing is measured: the run ends before sends are")
                .help("use a time before the end of the run, or raise `duration`"),
        );
    }
    written.sends_from.or(Duration::ZERO)
}

/// Why a name leads nowhere, with the names that there are.
pub(super) fn unknown_name(what: &str, name: &str, known: &[&str]) -> Refusal {
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known.is_empty() => format!("there is no {what} at all"),
        None => format!("there is {}", listed(known, "and")),
    };
    Refusal::new(format!("there is no {what} {}", quote(name)), help)
}

/// A refusal at a place.
pub(super) fn refused(origin: Origin, Refusal { message, help }: Refusal) -> Diagnostic {
    Diagnostic { help, ..Diagnostic::error(origin, message) }
}
