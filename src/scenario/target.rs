//! `[target]` as it was written: where the load goes.

use crate::azure::limits::Tier;
use crate::document::diagnostics::quote;
use crate::document::node::{Entry, Text, Value};
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Reader, Spanned};
use crate::scenario::proxy;
use crate::units::Rate;

/// `[target]`; all absent if there is no such table.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) origin: Origin,
    pub(super) kind: Given<TargetKind>,
    pub(super) dps: Given<Text>,
    pub(super) id_scope: Given<Text>,
    pub(super) allow: Given<Vec<Spanned<Text>>>,
    pub(super) host: Given<Text>,
    pub(super) ca_file: Given<Text>,
    pub(super) proxy: Given<Text>,
    pub(super) connect: Given<Vec<Mapped>>,
    pub(super) tier: Given<Tier>,
    pub(super) units: Given<u64>,
    pub(super) dps_registrations: Given<Rate>,
}

/// One entry of `target.connect`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mapped {
    pub(super) host: Spanned<String>,
    pub(super) address: Spanned<Text>,
}

/// `target.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetKind {
    Emulator,
    Azure,
    Hub,
}

/// Reads `[target]`.
pub(super) fn read(reader: &Reader<'_>, diagnostics: &mut Diagnostics) -> Target {
    let Some(table) = reader.table("target", diagnostics) else {
        return Target {
            origin: reader.origin(),
            // A broken [target] must not be taken for a wish to use the emulator.
            kind: if reader.is_absent("target") { Given::Absent } else { Given::Broken },
            dps: Given::Absent,
            id_scope: Given::Absent,
            allow: Given::Absent,
            host: Given::Absent,
            ca_file: Given::Absent,
            proxy: Given::Absent,
            connect: Given::Absent,
            tier: Given::Absent,
            units: Given::Absent,
            dps_registrations: Given::Absent,
        };
    };
    if let Some(entry) = table.entry("proxy") {
        proxy::conceal(&entry.node, diagnostics);
    }
    let kind = table.choice("kind", diagnostics).check(diagnostics, |name| {
        Ok(match name {
            "azure" => TargetKind::Azure,
            "hub" => TargetKind::Hub,
            _ => TargetKind::Emulator,
        })
    });
    Target {
        origin: table.origin(),
        kind,
        dps: table.text("dps", diagnostics),
        id_scope: table.text("id_scope", diagnostics),
        allow: table.texts("allow", diagnostics),
        host: table.text("host", diagnostics),
        ca_file: table.text("ca_file", diagnostics),
        proxy: table.text("proxy", diagnostics),
        connect: connect(&table, diagnostics),
        tier: table
            .choice("tier", diagnostics)
            .check(diagnostics, |name| Ok(Tier::from_name(name).expect("the choice is among their names"))),
        units: table.count("units", diagnostics),
        dps_registrations: table.rate("dps_registrations", diagnostics),
    }
}

fn connect(table: &Reader<'_>, diagnostics: &mut Diagnostics) -> Given<Vec<Mapped>> {
    let mut mapped = Vec::new();
    for Entry { key, key_origin, node } in table.named_entries("connect", diagnostics) {
        let complaint = match &node.value {
            Value::Text(text) => {
                mapped.push(Mapped {
                    host: Spanned { value: key.clone(), origin: *key_origin },
                    address: Spanned { value: text.clone(), origin: node.origin },
                });
                continue;
            }
            Value::Unknown => continue,
            Value::Table(_) => Diagnostic::error(
                *key_origin,
                format!("{} is not a host: a host is one key, in quotes", quote(key)),
            ),
            _ => {
                Diagnostic::error(node.origin, format!("the address is {}; it must be a string", node.kind()))
            }
        };
        diagnostics.push(complaint.help(format!("write for example connect = {MAPPED}")));
    }
    match table.entry("connect") {
        Some(entry) => Given::Value(Spanned { value: mapped, origin: entry.key_origin }),
        None if table.is_absent("connect") => Given::Absent,
        None => Given::Broken,
    }
}

/// What a connect map may look like.
pub(super) const MAPPED: &str = "{ \"contoso.azure-devices.net\" = \"127.0.0.1:8443\" }";
