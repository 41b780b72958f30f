//! What `[target]` means.

use std::path::PathBuf;

use crate::azure::dps;
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Spanned};
use crate::plan::{AzureTarget, HubTarget, Target};
use crate::scenario::build::Paths;
use crate::scenario::target::{Target as WrittenTarget, TargetKind};
use crate::scenario::written::Scenario;
use crate::scenario::{build_emulator, emulator, host};

/// The target of a plan.
pub(super) fn target(written: &Scenario, paths: &Paths<'_>, diagnostics: &mut Diagnostics) -> Target {
    let table = &written.target;
    let kind = table.kind.or(TargetKind::Emulator);
    if table.kind.value().is_some() || table.kind.is_absent() {
        keys_suit_kind(written, kind, diagnostics);
    }
    let ca_file = table.ca_file.spanned().map(|path| paths.resolve(&path.value.value, path.origin));
    match kind {
        TargetKind::Emulator => {
            Target::Emulator(build_emulator::target(written.emulator.as_ref(), diagnostics))
        }
        TargetKind::Azure => azure_target(table, ca_file, diagnostics),
        TargetKind::Hub => {
            require("host", "\"contoso.azure-devices.net\"", &table.host, table.origin, diagnostics);
            let host = table.host.clone().check(diagnostics, |text| host::check(&text));
            Target::Hub(HubTarget { host: host.or(String::new()), ca_file })
        }
    }
}

fn azure_target(table: &WrittenTarget, ca_file: Option<PathBuf>, diagnostics: &mut Diagnostics) -> Target {
    require("id_scope", "\"${env:ID_SCOPE}\"", &table.id_scope, table.origin, diagnostics);
    let dps = table.dps.clone().check(diagnostics, |text| host::check(&text));
    let id_scope = table.id_scope.clone().check(diagnostics, |text| emulator::check_id_scope(&text));
    let mut allow = Vec::new();
    for pattern in table.allow.value().into_iter().flatten() {
        let pattern = Given::Value(pattern.clone()).check(diagnostics, |text| host::check_pattern(&text));
        allow.extend(pattern.value().cloned());
    }
    let names_none = table.allow.is_absent() || table.allow.value().is_some_and(Vec::is_empty);
    // Without `dps`, it is the global endpoint; with a broken one, nothing can be said.
    let remote = match &dps {
        Given::Value(dps) => !host::is_loopback(&dps.value),
        Given::Absent => true,
        Given::Broken => false,
    };
    if remote && names_none {
        let origin = table.allow.spanned().map_or(table.origin, |allow| allow.origin);
        diagnostics.push(
            Diagnostic::error(origin, "nothing says which hubs DPS may send the devices to")
                .help("add allow = [\"*.azure-devices.net\"], or better the names of your hubs"),
        );
    }
    Target::Azure(AzureTarget {
        dps: dps.or(dps::GLOBAL_HOST.to_owned()),
        id_scope: id_scope.or(String::new()),
        allow,
        ca_file,
    })
}

fn require<T>(name: &str, example: &str, given: &Given<T>, origin: Origin, diagnostics: &mut Diagnostics) {
    if given.is_absent() {
        diagnostics.push(
            Diagnostic::error(origin, format!("`[target]` lacks `{name}`"))
                .help(format!("add for example {name} = {example}")),
        );
    }
}

/// Keys of `[target]` that belong to another kind, and an `[emulator]` that would not be used.
fn keys_suit_kind(written: &Scenario, kind: TargetKind, diagnostics: &mut Diagnostics) {
    use TargetKind::{Azure, Emulator, Hub};
    let table = &written.target;
    let name = match kind {
        Emulator => "emulator",
        Azure => "azure",
        Hub => "hub",
    };
    let allow = match &table.allow {
        Given::Value(Spanned { origin, .. }) => Some(*origin),
        _ => None,
    };
    let place = |text: &Given<_>| text.spanned().map(|text| text.origin);
    let uses: [(&str, Option<Origin>, &[TargetKind], &str); 5] = [
        ("dps", place(&table.dps), &[Azure], "azure"),
        ("id_scope", place(&table.id_scope), &[Azure], "azure"),
        ("allow", allow, &[Azure], "azure"),
        ("host", place(&table.host), &[Hub], "hub"),
        ("ca_file", place(&table.ca_file), &[Azure, Hub], "azure"),
    ];
    for (key, origin, kinds, other) in uses {
        let Some(origin) = origin.filter(|_| !kinds.contains(&kind)) else { continue };
        let help = match (kind, key) {
            (Emulator, "id_scope") => "remove it, or write it into [emulator]".to_owned(),
            _ => format!("remove it, or write kind = \"{other}\""),
        };
        diagnostics.push(
            Diagnostic::error(origin, format!("`{key}` has no meaning for a target of kind \"{name}\""))
                .help(help),
        );
    }
    if let Some(emulator) = written.emulator.as_ref().filter(|_| kind != Emulator) {
        diagnostics.push(
            Diagnostic::error(
                emulator.origin,
                format!("`[emulator]` has no meaning for a target of kind \"{name}\""),
            )
            .help("remove it, or write kind = \"emulator\" in [target]"),
        );
    }
}
