//! What `[emulator]` means.

use std::collections::HashMap;

use crate::azure::limits::DPS_LINKED_HUBS;
use crate::document::{Diagnostic, Diagnostics, Given, Spanned};
use crate::emulator::config;
use crate::emulator::drive::Drive;
use crate::plan::{EmulatorTarget, Enrollment};
use crate::scenario::build::{refused, unknown_name};
use crate::scenario::emulator::{Allocation, Emulator};
use crate::scenario::enrollment::Enrollment as WrittenEnrollment;

/// Id scope of an emulator that is given none; in the form of real ones.
pub const DEFAULT_ID_SCOPE: &str = "0ne00000001";

const DEFAULT_HUB: &str = "hub";

/// The emulator as a target.
pub(super) fn target(written: Option<&Emulator>, diagnostics: &mut Diagnostics) -> EmulatorTarget {
    let defaults = config::Dps::default();
    let Some(written) = written else {
        return EmulatorTarget {
            id_scope: DEFAULT_ID_SCOPE.to_owned(),
            dps: defaults,
            hubs: vec![hub(DEFAULT_HUB, None)],
            allocation: config::Allocation::Hashed,
            drive: Drive::default(),
        };
    };
    let hubs = hubs(written, diagnostics);
    EmulatorTarget {
        id_scope: written.id_scope.or(DEFAULT_ID_SCOPE.to_owned()),
        dps: config::Dps {
            retry_after: written.retry_after.or(defaults.retry_after),
            polls: written.polls.or(defaults.polls),
            assign: written.assign.or(defaults.assign),
            registrations: written.registrations.value().copied(),
        },
        allocation: allocation(&written.allocation, &hubs, diagnostics).unwrap_or(config::Allocation::Hashed),
        hubs,
        drive: written.drive,
    }
}

/// Fills in how each enrollment's devices get their hub.
pub(super) fn enrollment_allocations(
    enrollments: &mut [Enrollment],
    written: &[WrittenEnrollment],
    hubs: &[config::Hub],
    diagnostics: &mut Diagnostics,
) {
    for (enrollment, written) in enrollments.iter_mut().zip(written) {
        enrollment.allocation = allocation(&written.allocation, hubs, diagnostics);
    }
}

fn hubs(written: &Emulator, diagnostics: &mut Diagnostics) -> Vec<config::Hub> {
    if written.hubs.is_empty() {
        return vec![hub(DEFAULT_HUB, None)];
    }
    if let Some(beyond) = written.hubs.get(DPS_LINKED_HUBS) {
        diagnostics.push(
            Diagnostic::error(beyond.origin, format!("a DPS is linked to at most {DPS_LINKED_HUBS} hubs"))
                .help("remove hubs"),
        );
    }
    let mut hosts = HashMap::new();
    let mut hubs = Vec::new();
    for written in written.hubs.iter().take(DPS_LINKED_HUBS) {
        let weight = u32::try_from(written.weight.or(1)).unwrap_or(1);
        let plain = hub(&written.name, written.host.value());
        let delay = written.delay.or(plain.delay);
        let hub = config::Hub { weight, size: written.size, delay, ..plain };
        if let Some(first) = hosts.insert(hub.host.to_ascii_lowercase(), written.origin) {
            diagnostics.push(
                Diagnostic::error(written.origin, "two hubs have the same host name")
                    .related(first, "the other one")
                    .help("give each hub a host of its own"),
            );
        }
        hubs.push(hub);
    }
    hubs
}

/// A hub as it is if nothing else is said.
fn hub(name: &str, host: Option<&String>) -> config::Hub {
    config::Hub::new(name, host.cloned().unwrap_or_else(|| format!("{name}.azure-devices.localhost")))
}

fn allocation(
    written: &Given<Allocation>,
    hubs: &[config::Hub],
    diagnostics: &mut Diagnostics,
) -> Option<config::Allocation> {
    Some(match written.value()? {
        Allocation::Hashed => config::Allocation::Hashed,
        Allocation::Weighted => config::Allocation::Weighted,
        Allocation::Static(Spanned { value, origin }) => {
            let names: Vec<&str> = hubs.iter().map(|hub| hub.name.as_str()).collect();
            if !names.contains(&value.value.as_str()) {
                diagnostics.push(refused(*origin, unknown_name("hub", value.shown(), &names)));
            }
            config::Allocation::Static(value.value.clone())
        }
    })
}
