//! Keys of `[target]`.

use crate::azure::limits::Tier;
use crate::document::{Key, Shape, Table};

/// `[target]`.
pub static TARGET: Table = Table {
    name: "[target]",
    about: "Where the load goes: the embedded emulator, a DPS with its hubs, or one hub.",
    keys: &[
        Key::new(
            "kind",
            Shape::Choice { names: &["emulator", "azure", "hub"], later: &[] },
            "\"emulator\"",
            "The embedded emulator (default), a DPS elsewhere (azure), or one hub without DPS.",
        )
        .default("\"emulator\""),
        Key::new(
            "dps",
            Shape::Text,
            "\"global.azure-devices-provisioning.net\"",
            "For azure: host of the DPS, with port if it is not the protocol's own; the global endpoint by default.",
        )
        .default("\"global.azure-devices-provisioning.net\""),
        Key::new("id_scope", Shape::Text, "\"0ne00000A0A\"", "For azure, required: the id scope of the DPS."),
        Key::new(
            "allow",
            Shape::Texts,
            "[\"*.azure-devices.net\"]",
            "For azure, required unless the DPS is on this machine: hosts that it may send devices to; `*` stands for any characters.",
        ),
        Key::new(
            "host",
            Shape::Text,
            "\"contoso.azure-devices.net\"",
            "For hub, required: its host, with port if it is not the protocol's own (8883 for mqtt, 443 for https).",
        ),
        Key::new(
            "ca_file",
            Shape::Text,
            "\"ca.pem\"",
            "For azure and hub: PEM file of authorities to trust instead of the system's; relative to the scenario file.",
        ),
        Key::new(
            "proxy",
            Shape::Text,
            "\"http://${env:PROXY_USER}:${env:PROXY_PASSWORD}@proxy.example:3128\"",
            "For azure and hub: HTTP proxy that all connections go through by CONNECT; user and password, percent-encoded, come from variables.",
        ),
        Key::new(
            "connect",
            Shape::Mapping("hosts, with or without port, for example \"contoso.azure-devices.net\""),
            "{ \"contoso.azure-devices.net\" = \"127.0.0.1:8443\" }",
            "For azure and hub: addresses to connect to instead of a host's own; TLS, tokens and headers keep the host's name.",
        ),
        Key::new(
            "tier",
            Shape::Choice { names: &Tier::NAMES, later: &[] },
            "\"S1\"",
            "For azure and hub: size of your hub, or of each of them; nothing is assumed about it by default.",
        ),
        Key::new(
            "units",
            Shape::Count { min: 1, max: 200 },
            "2",
            "With tier: how many units the hub has; 1 by default.",
        ),
        Key::new(
            "dps_registrations",
            Shape::Rate,
            "\"1000/min\"",
            "For azure: registrations that your DPS admits, if support raised the published 1,000 a minute.",
        )
        .default("\"1000/min\""),
    ],
    later: &[],
    one_of: &[],
};
