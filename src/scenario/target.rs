//! `[target]` as it was written: where the load goes.

use crate::document::node::Text;
use crate::document::{Diagnostics, Given, Origin, Reader, Spanned};

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
        };
    };
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
    }
}
