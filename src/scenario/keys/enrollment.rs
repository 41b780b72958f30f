//! Keys of `[enrollment.NAME]`.

use crate::document::schema::OneOf;
use crate::document::{Key, Shape, Table};
use crate::scenario::keys::emulator::ALLOCATION_SHAPE;

/// `[enrollment.NAME]`.
pub static ENROLLMENT: Table = Table {
    name: "[enrollment.NAME]",
    about: "An enrollment group, or one individual enrollment: whose keys devices use.",
    keys: &[
        Key::new(
            "group_key",
            KEY_SHAPE,
            "{ env = \"GROUP_KEY\" }",
            "Where the group's primary key is to be found; every device's key is derived from it.",
        ),
        Key::new(
            "secondary_key",
            KEY_SHAPE,
            "{ env = \"SECONDARY_KEY\" }",
            "Where the group's secondary key is to be found.",
        ),
        Key::new(
            "individual",
            Shape::Any(&[Shape::Text, Shape::Table(&INDIVIDUAL)]),
            "{ registration_id = \"device-1\", key = { env = \"DEVICE_KEY\" } }",
            "Instead of a group: one device with its own key, or the path of a CSV with a row for each device: registration_id, key, and device_id and secondary_key if wanted.",
        ),
        Key::new(
            "enabled",
            Shape::Boolean,
            "true",
            "For the emulator: a disabled enrollment refuses every registration; true by default.",
        )
        .default("true"),
        Key::new(
            "allocation",
            ALLOCATION_SHAPE,
            "\"hashed\"",
            "For the emulator: how devices get their hub; the way of [emulator] by default.",
        ),
        Key::new(
            "hub",
            Shape::Text,
            "\"north\"",
            "For the emulator, with allocation = \"static\": the hub that all devices get.",
        ),
        Key::new(
            "reprovision",
            Shape::Choice { names: &["migrate", "reset", "never"], later: &[] },
            "\"migrate\"",
            "For the emulator: what happens to a device that registers again; migrate by default.",
        )
        .default("\"migrate\""),
        Key::new(
            "initial_twin",
            Shape::Table(&INITIAL_TWIN),
            "{ tags = { site = \"plant-1\" }, desired = { interval_s = 30 } }",
            "For the emulator: what the devices' twins begin with when they are assigned to a hub for the first time; nothing by default.",
        ),
    ],
    later: &[],
    one_of: &[OneOf::exactly(
        &["group_key", "individual"],
        "an enrollment is a group or one individual device",
        "for the emulator: group_key = \"generated\"; else group_key = { env = \"GROUP_KEY\" }",
    )],
};

/// `initial_twin` of an enrollment.
pub(super) static INITIAL_TWIN: Table = Table {
    name: "[enrollment.NAME.initial_twin]",
    about: "What twins begin with: { tags = { ... }, desired = { ... } }, whose tables hold what JSON would.",
    keys: &[
        Key::new(
            "tags",
            Shape::Free("a tag"),
            "{ site = \"plant-1\" }",
            "Tags, which devices do not see; at most 8 KB.",
        ),
        Key::new(
            "desired",
            Shape::Free("a desired property"),
            "{ interval_s = 30 }",
            "Desired properties, which devices find when they read their twins; at most 32 KB.",
        ),
    ],
    later: &[],
    one_of: &[],
};

/// `individual` of an enrollment.
pub static INDIVIDUAL: Table = Table {
    name: "individual",
    about: "One device with its own key: { registration_id = \"...\", key = { env = \"DEVICE_KEY\" } }.",
    keys: &[
        Key::new("registration_id", Shape::Text, "\"device-1\"", "The registration id.").required(),
        Key::new(
            "device_id",
            Shape::Text,
            "\"device-1\"",
            "The device's id at its hub; the registration id by default.",
        ),
        Key::new(
            "key",
            KEY_SHAPE,
            "{ env = \"DEVICE_KEY\" }",
            "Where the device's primary key is to be found.",
        )
        .required(),
        Key::new(
            "secondary_key",
            KEY_SHAPE,
            "{ env = \"SECONDARY_KEY\" }",
            "Where the device's secondary key is to be found.",
        ),
    ],
    later: &[],
    one_of: &[],
};

const KEY_SHAPE: Shape =
    Shape::Any(&[Shape::Choice { names: &["generated", "stdin"], later: &[] }, Shape::Table(&KEY_SOURCE)]);

/// Where a key is to be found.
pub static KEY_SOURCE: Table = Table {
    name: "key source",
    about: "Where a key is to be found: { env = \"NAME\" } or { file = \"path\" }.",
    keys: &[
        Key::new("env", Shape::Text, "\"GROUP_KEY\"", "Name of an environment variable that holds the key."),
        Key::new(
            "file",
            Shape::Text,
            "\"group.key\"",
            "Path of a file that holds the key and that nobody else may read; relative to the scenario file.",
        ),
    ],
    later: &[],
    one_of: &[OneOf::exactly(
        &["env", "file"],
        "a key comes from one place",
        "write { env = \"GROUP_KEY\" } or { file = \"group.key\" }",
    )],
};
