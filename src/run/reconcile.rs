//! Holding the fleet's books against the emulator's.

use std::collections::BTreeMap;

use crate::device::hub::Qos;
use crate::emulator::ledger::{Ending, HubLedger, Ledger, Operation, TwoWay};
use crate::plan::{Population, Protocol, Settle};
use crate::record::{Counts, PopulationRecord, Record};
use crate::result::file;
use crate::step::StepKind;
use crate::units::show_count;

/// The emulator's totals, and a sentence for each that contradicts the fleet's.
///
/// A step that the fleet calls unknown may have worked, so the emulator may have counted up to that many more; and a
/// message that went again may have arrived twice.
pub fn compare(record: &Record, populations: &[Population], ledger: &Ledger) -> file::Ledger {
    let mut books = Books::default();
    let total = record.total();
    let register = &total.step(StepKind::Register).all;
    // A device that gave up, or was cut off, may have been assigned without ever hearing of it.
    let unheard = register.failed_total() + register.unknown_total() + register.retried_total();
    books.check("assigned", register.acknowledged, unheard, ledger.assigned);

    let mut sends: [Counts; 3] = Default::default();
    for (population, seen) in populations.iter().zip(&record.populations) {
        let qos = population.telemetry.as_ref().map_or(Qos::AtLeastOnce, |telemetry| telemetry.qos);
        let over = match (population.connect, qos) {
            (Some(Protocol::Mqtt | Protocol::MqttWs), Qos::AtLeastOnce) => Over::Confirmed,
            (Some(Protocol::Mqtt | Protocol::MqttWs), Qos::AtMostOnce) => Over::Unconfirmed,
            _ => Over::Https,
        };
        sends[over as usize].merge(&seen.step(StepKind::Send).all);
    }
    let hubs = ledger.hubs.values();
    let [qos0, qos1] = [|hub: &HubLedger| hub.mqtt_qos0, |hub: &HubLedger| hub.mqtt_qos1];
    let (qos0, qos1) = (hubs.clone().map(qos0).sum::<u64>(), hubs.map(qos1).sum::<u64>());
    let https = ledger.messages().saturating_sub(qos0 + qos1);
    let is_orderly = ledger.mqtt.count(Ending::Disconnect) == ledger.mqtt.connections;
    let is_mixed = sends.iter().filter(|counts| counts.due > 0).count() > 1;
    for (over, theirs) in [(Over::Https, https), (Over::Confirmed, qos1), (Over::Unconfirmed, qos0)] {
        let ours = &sends[over as usize];
        if ours.due > 0 || theirs > 0 {
            let maybe = ours.unknown_total() + ours.retried_total();
            let what = if is_mixed { over.what() } else { "messages accepted" };
            match over {
                Over::Https | Over::Confirmed => books.check(what, ours.acknowledged, maybe, theirs),
                // What was written may be lost with its connection, unless each ended in order.
                Over::Unconfirmed if maybe == 0 && is_orderly => books.check(what, ours.written, 0, theirs),
                Over::Unconfirmed => books.check(what, theirs.min(ours.written), maybe, theirs),
            }
        }
    }
    if sends.iter().all(|counts| counts.due == 0) && ledger.messages() == 0 {
        books.check("messages accepted", 0, 0, 0);
    }
    two_way(&total, ledger, &mut books);
    devicebound(record, populations, ledger, &mut books);
    file::Ledger {
        totals: totals(ledger),
        agreed: books.agreed,
        differences: books.differences,
        messages: None,
    }
}

/// What goes both ways; nothing is said of what never happened.
fn two_way(total: &PopulationRecord, ledger: &Ledger, books: &mut Books) {
    let of = |count: fn(&TwoWay) -> u64| ledger.hubs.values().map(|hub| count(&hub.two_way)).sum::<u64>();
    let mut check = |kind, what, theirs: u64, late: u64| {
        let ours = &total.step(kind).all;
        if ours.due > 0 || theirs > 0 {
            let unsure = ours.unknown_total() + ours.retried_total() + ours.written;
            let late = late.min(ours.acknowledged);
            books.check(what, ours.acknowledged - late, late + unsure, theirs);
        }
    };
    check(StepKind::TwinGet, "twins read", of(|hub| hub.twin_gets), 0);
    check(StepKind::TwinReport, "reports taken", of(|hub| hub.twin_patches), 0);
    // An answer that came too late for who invoked the method was confirmed all the same.
    let answered = of(|hub| hub.methods_answered);
    let replies = ledger.requests.get(Operation::MqttMethodReply.name());
    let replies = replies.map_or(0, |statuses| statuses.values().sum::<u64>());
    check(StepKind::MethodReply, "methods answered", answered, replies.saturating_sub(answered));
}

/// What became of messages from the cloud, by what their devices do with them.
fn devicebound(record: &Record, populations: &[Population], ledger: &Ledger, books: &mut Books) {
    // Where each connection ended in order, each confirmation over MQTT arrived; elsewhere some may not have, and their
    // messages came again.
    let is_orderly = ledger.mqtt.count(Ending::Disconnect) == ledger.mqtt.connections;
    for (_, settle) in Settle::NAMES {
        let (what, count): (_, fn(&TwoWay) -> u64) = match settle {
            Settle::Complete => ("messages from the cloud completed", |hub| hub.c2d_completed),
            Settle::Reject => ("messages from the cloud rejected", |hub| hub.c2d_rejected),
            Settle::Abandon => ("messages from the cloud abandoned", |hub| hub.c2d_abandoned),
        };
        let theirs = ledger.hubs.values().map(|hub| count(&hub.two_way)).sum::<u64>();
        let does = |population: &Population| population.chores.messages.is_some_and(|it| it.settle == settle);
        let mut ours = Counts::default();
        for (_, seen) in
            populations.iter().zip(&record.populations).filter(|(population, _)| does(population))
        {
            ours.merge(&seen.step(StepKind::C2dReceive).all);
        }
        if ours.due > 0 || theirs > 0 {
            let unsure = if is_orderly { 0 } else { ours.written };
            let least = ours.acknowledged + ours.written - unsure;
            // Of what is unsure, as much as there is; what is said of it is said only where the books differ.
            let counted = least + theirs.saturating_sub(least).min(unsure);
            let most = ours.acknowledged + ours.written + ours.unknown_total();
            books.check(what, counted, most - counted, theirs);
        }
    }
}

/// How a message goes, as far as the ledger tells messages apart.
#[derive(Clone, Copy)]
enum Over {
    Https,
    /// MQTT, QoS 1.
    Confirmed,
    /// MQTT, QoS 0.
    Unconfirmed,
}

impl Over {
    const fn what(self) -> &'static str {
        match self {
            Self::Https => "messages accepted over HTTPS",
            Self::Confirmed => "messages accepted over MQTT (QoS 1)",
            Self::Unconfirmed => "messages taken over MQTT (QoS 0)",
        }
    }
}

#[derive(Default)]
struct Books {
    agreed: Vec<String>,
    differences: Vec<String>,
}

impl Books {
    fn check(&mut self, what: &str, ours: u64, maybe: u64, theirs: u64) {
        if theirs < ours || theirs > ours + maybe {
            let doubt = if maybe > 0 { format!(" (and {maybe} unknown)") } else { String::new() };
            self.differences.push(format!("{what}: the fleet counts {ours}{doubt}, the emulator {theirs}"));
        } else {
            self.agreed.push(format!("{} {what}", show_count(theirs)));
        }
    }
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
    for (ending, count) in &ledger.mqtt.ended {
        totals.insert(format!("MQTT connections ended: {ending}"), *count);
    }
    for (code, count) in &ledger.mqtt.refused {
        totals.insert(format!("MQTT connects refused with {code}"), *count);
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
        for (what, count) in [
            ("messages over MQTT, QoS 0", hub.mqtt_qos0),
            ("messages over MQTT, QoS 1", hub.mqtt_qos1),
            ("MQTT connects", hub.mqtt_connects),
            ("wills", hub.wills),
        ] {
            if count > 0 {
                totals.insert(format!("hub {name} {what}"), count);
            }
        }
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
