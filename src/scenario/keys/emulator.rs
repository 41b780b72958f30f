//! Keys of `[emulator]`.

use crate::azure::limits::Tier;
use crate::document::schema::OneOf;
use crate::document::{Key, Later, Shape, Table};
use crate::scenario::keys::{STEP_DEADLINE, UP_TO_AN_HOUR};

/// The most units that a hub of any tier may have.
const MAX_UNITS: u64 = Tier::S2.max_units() as u64;

/// `[emulator]`.
pub static EMULATOR: Table = Table {
    name: "[emulator]",
    about: "How the embedded emulator behaves.",
    keys: &[
        Key::new("id_scope", Shape::Text, "\"0ne00000001\"", "Id scope of its DPS; 0ne00000001 by default.")
            .default("\"0ne00000001\""),
        Key::new(
            "allocation",
            ALLOCATION_SHAPE,
            "\"hashed\"",
            "How devices get their hub: hashed (default), weighted, or { static = \"north\" }.",
        )
        .default("\"hashed\""),
        Key::new("dps", Shape::Table(&EMULATOR_DPS), "{ retry_after = \"3s\" }", "How its DPS behaves."),
        Key::new(
            "drive",
            Shape::Table(&EMULATOR_DRIVE),
            "{ methods = \"5/s\", c2d = \"2/s\", desired = \"1/s\" }",
            "What its hubs send to devices of their own accord; nothing by default.",
        ),
        Key::new(
            "hub",
            Shape::Tables(&EMULATOR_HUB),
            "{ north = { weight = 3 } }",
            "Its hubs; one named `hub` by default.",
        ),
    ],
    later: &[
        Later::new(
            "fault",
            "faults are a script of what goes wrong at the services: answers 503, resets, silence",
        ),
        Later::new("service", "`service` is how long the emulator takes to answer"),
        Later::new("tls", "`tls` is which certificates and versions the emulator speaks"),
        Later::new("listen", "`listen` is where the emulator can be reached"),
    ],
    one_of: &[],
};

/// `[emulator.drive]`.
pub static EMULATOR_DRIVE: Table = Table {
    name: "[emulator.drive]",
    about: "What the emulated hubs send of their own accord, per second of all hubs together, in turn to the devices that listen.",
    keys: &[
        Key::new("methods", Shape::Rate, "\"5/s\"", "Direct methods; none by default."),
        Key::new("c2d", Shape::Rate, "\"2/s\"", "Messages from the cloud; none by default."),
        Key::new("desired", Shape::Rate, "\"1/s\"", "Changes of a desired property; none by default."),
    ],
    later: &[],
    one_of: &[],
};

/// `[emulator.dps]`.
pub static EMULATOR_DPS: Table = Table {
    name: "[emulator.dps]",
    about: "How the emulated DPS behaves.",
    keys: &[
        Key::new(
            "retry_after",
            Shape::Any(&[UP_TO_AN_HOUR, Shape::Choice { names: &["none"], later: &[] }]),
            "\"3s\"",
            "Wait that it asks for between polls, in whole seconds; \"none\" asks for none. 3s by default.",
        )
        .default("\"3s\""),
        Key::new(
            "polls",
            Shape::Any(&[Shape::Count { min: 0, max: 1_000 }, Shape::Table(&COUNTS)]),
            "2",
            "Polls that are answered `assigning` before the result is, at least; 0 by default.",
        )
        .default("0"),
        Key::new(
            "assign",
            Shape::Any(&[UP_TO_AN_HOUR, Shape::Table(&DURATIONS)]),
            "\"800ms\"",
            "How long an assignment takes; { lognormal = { median = \"800ms\", p99 = \"2500ms\" } } by default.",
        )
        .default("{ lognormal = { median = \"800ms\", p99 = \"2500ms\" } }"),
        Key::new(
            "registrations",
            Shape::Rate,
            "\"6000/min\"",
            "Registrations that it admits, more are answered 429, as are more than 5 polls of a device in 10 s; no limit by default.",
        ),
    ],
    later: &[
        Later::new("polls_per_window", "`polls_per_window` is how often a device may poll"),
        Later::new("connections", "`connections` is how many connections DPS accepts"),
        Later::new("throttle", "`throttle` is how DPS refuses what is too much"),
    ],
    one_of: &[],
};

/// A distribution of counts.
pub static COUNTS: Table = Table {
    name: "distribution of counts",
    about: "Whole numbers drawn anew each time: { uniform = { low = 1, high = 3 } }.",
    keys: &[Key::new(
        "uniform",
        Shape::Table(&COUNT_RANGE),
        "{ low = 1, high = 3 }",
        "Evenly, both ends included.",
    )
    .required()],
    later: &[
        Later::new("lognormal", "`lognormal` draws counts with a long tail"),
        Later::new("exponential", "`exponential` draws counts by their mean"),
    ],
    one_of: &[],
};

/// A range of counts.
pub static COUNT_RANGE: Table = Table {
    name: "range of counts",
    about: "A range: { low = 1, high = 3 }.",
    keys: &[
        Key::new("low", Shape::Count { min: 0, max: 1_000 }, "1", "Smallest.").required(),
        Key::new("high", Shape::Count { min: 0, max: 1_000 }, "3", "Largest.").required(),
    ],
    later: &[],
    one_of: &[],
};

/// A distribution of durations.
pub static DURATIONS: Table = Table {
    name: "distribution of durations",
    about: "Durations drawn anew each time: exactly one of lognormal, uniform, exponential and bimodal.",
    keys: &[
        Key::new(
            "lognormal",
            Shape::Table(&LOGNORMAL),
            "{ median = \"800ms\", p99 = \"4s\" }",
            "As latencies usually are: given by median and 99th percentile.",
        ),
        Key::new(
            "uniform",
            Shape::Table(&DURATION_RANGE),
            "{ low = \"100ms\", high = \"900ms\" }",
            "Evenly between two durations.",
        ),
        Key::new(
            "exponential",
            Shape::Table(&EXPONENTIAL),
            "{ mean = \"800ms\" }",
            "As gaps of independent events.",
        ),
        Key::new(
            "bimodal",
            Shape::Table(&BIMODAL),
            "{ low = \"5ms\", high = \"80ms\", high_share = \"10 %\" }",
            "One of two durations, as of a cache that has something or has not.",
        ),
    ],
    later: &[],
    one_of: &[OneOf::exactly(
        &["lognormal", "uniform", "exponential", "bimodal"],
        "a distribution has one shape",
        "for example { lognormal = { median = \"800ms\", p99 = \"4s\" } }",
    )],
};

/// Parameters of a distribution with two values.
pub static BIMODAL: Table = Table {
    name: "bimodal",
    about: "One of two durations: { low = \"5ms\", high = \"80ms\", high_share = \"10 %\" }.",
    keys: &[
        Key::new("low", UP_TO_AN_HOUR, "\"5ms\"", "The shorter one.").required(),
        Key::new("high", UP_TO_AN_HOUR, "\"80ms\"", "The longer one.").required(),
        Key::new("high_share", Shape::Share, "\"10 %\"", "How many are the longer one.").required(),
    ],
    later: &[],
    one_of: &[],
};

/// Parameters of a lognormal distribution.
pub static LOGNORMAL: Table = Table {
    name: "lognormal",
    about: "A lognormal distribution: { median = \"800ms\", p99 = \"4s\" }.",
    keys: &[
        Key::new("median", STEP_DEADLINE, "\"800ms\"", "Half of all are shorter.").required(),
        Key::new("p99", STEP_DEADLINE, "\"4s\"", "99 % of all are shorter; at least the median.").required(),
    ],
    later: &[],
    one_of: &[],
};

/// A range of durations.
pub static DURATION_RANGE: Table = Table {
    name: "range of durations",
    about: "A range: { low = \"100ms\", high = \"900ms\" }.",
    keys: &[
        Key::new("low", UP_TO_AN_HOUR, "\"100ms\"", "Shortest.").required(),
        Key::new("high", UP_TO_AN_HOUR, "\"900ms\"", "Longest.").required(),
    ],
    later: &[],
    one_of: &[],
};

/// Parameter of an exponential distribution.
pub static EXPONENTIAL: Table = Table {
    name: "exponential",
    about: "An exponential distribution: { mean = \"800ms\" }.",
    keys: &[Key::new("mean", STEP_DEADLINE, "\"800ms\"", "The mean.").required()],
    later: &[],
    one_of: &[],
};

/// `[emulator.hub.NAME]`.
pub static EMULATOR_HUB: Table = Table {
    name: "[emulator.hub.NAME]",
    about: "An emulated IoT Hub.",
    keys: &[
        Key::new(
            "weight",
            Shape::Count { min: 1, max: 1_000 },
            "3",
            "Its share of devices, relative to the other hubs; 1 by default.",
        )
        .default("1"),
        Key::new(
            "host",
            Shape::Text,
            "\"north.azure-devices.localhost\"",
            "Its host name in tokens and user names; NAME.azure-devices.localhost by default.",
        ),
        Key::new(
            "tier",
            Shape::Choice { names: &Tier::NAMES, later: &[] },
            "\"S2\"",
            "Its tier, whose limits it keeps: connections and messages per second, messages per day; no limit by default.",
        ),
        Key::new(
            "units",
            Shape::Count { min: 1, max: MAX_UNITS },
            "4",
            "With tier: its units, up to the tier's maximum; 1 by default.",
        ),
        Key::new(
            "delay",
            Shape::Any(&[UP_TO_AN_HOUR, Shape::Table(&DURATIONS)]),
            "\"20ms\"",
            "How long it takes over a telemetry message before it confirms it, drawn for each; those of one connection in order; 0s by default.",
        )
        .default("\"0s\""),
    ],
    later: &[],
    one_of: &[],
};

pub(super) const ALLOCATION_SHAPE: Shape = Shape::Any(&[
    Shape::Choice { names: &["hashed", "weighted", "static"], later: &["geolatency", "custom"] },
    Shape::Table(&ALLOCATION),
]);

/// Allocation with a parameter.
pub static ALLOCATION: Table = Table {
    name: "allocation",
    about: "A hub for all devices: { static = \"north\" }.",
    keys: &[Key::new("static", Shape::Text, "\"north\"", "Name of the hub.").required()],
    later: &[],
    one_of: &[],
};
