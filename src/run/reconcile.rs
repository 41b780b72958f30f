//! Holding the fleet's books against the emulator's.

use std::collections::BTreeMap;

use crate::emulator::ledger::Ledger;
use crate::record::Record;
use crate::result::file;
use crate::step::StepKind;
use crate::units::show_count;

/// The emulator's totals, and a sentence for each that contradicts the fleet's.
///
/// A step that the fleet calls unknown may have worked, so the emulator may have counted up to that many more.
pub fn compare(record: &Record, ledger: &Ledger) -> file::Ledger {
    let total = record.total();
    let (mut agreed, mut differences) = (Vec::new(), Vec::new());
    let mut check = |what: &str, ours: u64, maybe: u64, theirs: u64| {
        if theirs < ours || theirs > ours + maybe {
            let doubt = if maybe > 0 { format!(" (and {maybe} unknown)") } else { String::new() };
            differences.push(format!("{what}: the fleet counts {ours}{doubt}, the emulator {theirs}"));
        } else {
            agreed.push(format!("{} {what}", show_count(theirs)));
        }
    };
    let register = &total.step(StepKind::Register).all;
    // A device that gave up, or was cut off, may have been assigned without ever hearing of it.
    let unheard = register.failed_total() + register.unknown_total() + register.retried_total();
    check("assigned", register.acknowledged, unheard, ledger.assigned);
    let send = &total.step(StepKind::Send).all;
    check("messages accepted", send.acknowledged, send.unknown_total(), ledger.messages());
    file::Ledger { totals: totals(ledger), agreed, differences }
}

fn totals(ledger: &Ledger) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::from([
        ("assigned".to_owned(), ledger.assigned),
        ("assignments failed".to_owned(), ledger.failed),
        ("messages".to_owned(), ledger.messages()),
        ("connections".to_owned(), ledger.connections),
        ("handshakes failed".to_owned(), ledger.handshakes_failed),
        ("requests abandoned".to_owned(), ledger.abandoned),
    ]);
    for (operation, statuses) in &ledger.requests {
        for (status, count) in statuses {
            totals.insert(format!("{operation} {status}"), *count);
        }
    }
    for (name, count) in [
        ("registrations throttled", ledger.registrations_throttled),
        ("polls throttled", ledger.polls_throttled),
    ] {
        if count > 0 {
            totals.insert(name.to_owned(), count);
        }
    }
    for (name, hub) in &ledger.hubs {
        totals.insert(format!("hub {name} devices"), hub.devices);
        totals.insert(format!("hub {name} messages"), hub.messages);
        if let Some(throttle) = &hub.throttle {
            for (what, count) in [
                ("connections held", throttle.connections_held),
                ("connections refused", throttle.connections_refused),
                ("messages held", throttle.messages_held),
                ("messages refused", throttle.messages_refused),
                ("messages over quota", throttle.over_quota),
                ("messages metered", throttle.metered),
            ] {
                totals.insert(format!("hub {name} {what}"), count);
            }
        }
    }
    totals
}
