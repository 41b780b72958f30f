//! What `twin`, `methods` and `c2d` of a fleet mean.

use crate::document::{Diagnostic, Diagnostics, Given};
use crate::plan::{Chores, MessageChores, Protocol, Settle};
use crate::scenario::fleet::{C2d, Fleet};
use crate::scenario::target::TargetKind;
use crate::units::spell_duration;

/// What the devices do besides sending.
pub(super) fn chores(
    fleet: &Fleet,
    connect: Option<Protocol>,
    target: TargetKind,
    diagnostics: &mut Diagnostics,
) -> Chores {
    let written = &fleet.chores;
    let messages = |c2d: &C2d| MessageChores {
        settle: c2d.settle.or(Settle::default()),
        poll_every: c2d.poll_every.or(MessageChores::POLL_EVERY),
    };
    let all = Chores {
        twin: written.twin.clone(),
        methods: written.methods.clone(),
        messages: written.c2d.as_ref().map(messages),
    };
    if matches!(fleet.connect, Given::Broken) {
        return all;
    }
    match connect {
        Some(Protocol::Mqtt | Protocol::MqttWs) => {
            if let Some(c2d) = &written.c2d {
                suits_mqtt(c2d, diagnostics);
            }
            all
        }
        Some(Protocol::Https) => {
            if let Some(c2d) = &written.c2d {
                suits_hubs(c2d, target, diagnostics);
            }
            complain(
                fleet,
                &["twin", "methods"],
                "is for devices that are connected over mqtt",
                "remove it, or connect with mqtt or mqtt-ws: the HTTPS device API has no twins and no methods",
                diagnostics,
            );
            Chores { twin: None, methods: None, ..all }
        }
        None => {
            complain(
                fleet,
                &["twin", "methods", "c2d"],
                "has no meaning for devices that do not connect",
                "remove it, or `connect = \"none\"`",
                diagnostics,
            );
            Chores::default()
        }
    }
}

/// Over MQTT messages come by themselves, and PUBACK is all that a device can say to one.
fn suits_mqtt(c2d: &C2d, diagnostics: &mut Diagnostics) {
    if let Some(settle) = c2d.settle.spanned().filter(|settle| settle.value != Settle::Complete) {
        diagnostics.push(
            Diagnostic::error(
                settle.origin,
                "over mqtt a device can only complete a message: its PUBACK does, and there is nothing else that it could say",
            )
            .help("write settle = \"complete\", or connect = \"https\""),
        );
    }
    if let Some(poll_every) = c2d.poll_every.spanned() {
        diagnostics.push(
            Diagnostic::error(
                poll_every.origin,
                "`poll_every` is for https: over mqtt messages come by themselves",
            )
            .help("remove it, or write connect = \"https\""),
        );
    }
}

/// A real hub is asked less often, or its operators know why.
fn suits_hubs(c2d: &C2d, target: TargetKind, diagnostics: &mut Diagnostics) {
    let usual = MessageChores::POLL_EVERY;
    if let Some(poll_every) = c2d.poll_every.spanned().filter(|every| every.value < usual)
        && target != TargetKind::Emulator
    {
        diagnostics.push(
            Diagnostic::warning(
                poll_every.origin,
                format!("Azure asks devices to poll no more often than every {}", spell_duration(usual)),
            )
            .help(
                "check that the hub has units for it: each admits 1,000 such requests a minute (S3: 50,000), of all devices together",
            ),
        );
    }
}

fn complain(fleet: &Fleet, tables: &[&str], message: &str, help: &str, diagnostics: &mut Diagnostics) {
    for (name, origin) in fleet.chores.origins.iter().filter(|(name, _)| tables.contains(name)) {
        diagnostics.push(Diagnostic::error(*origin, format!("`{name}` {message}")).help(help));
    }
}
