//! Every key of a scenario file: the lists that the readers read by, and that descriptions are printed from.

use std::time::Duration;

use crate::azure::limits::Tier;
use crate::document::schema::OneOf;
use crate::document::{Key, Shape, Table};
use crate::payload::MAX_WEIGHT;
use crate::units::MAX_DURATION;

/// The one version of the format.
pub const VERSION: u64 = 1;

const NAMES_LATER: &[&str] = &["mqtt", "mqtt-ws", "amqp", "amqp-ws"];
const PROTOCOL: Shape = Shape::Choice { names: &["https"], later: NAMES_LATER };
const CONNECT: Shape = Shape::Choice { names: &["https", "none"], later: NAMES_LATER };
const ANY_DURATION: Shape = Shape::Duration { min: Duration::ZERO, max: MAX_DURATION };
const POSITIVE_DURATION: Shape = Shape::Duration { min: Duration::from_nanos(1), max: MAX_DURATION };
const UP_TO_AN_HOUR: Shape = Shape::Duration { min: Duration::ZERO, max: Duration::from_secs(3_600) };
const STEP_DEADLINE: Shape =
    Shape::Duration { min: Duration::from_nanos(1), max: Duration::from_secs(3_600) };
/// Any whole number that TOML can write.
const ANY_COUNT: Shape = Shape::Count { min: 0, max: i64::MAX as u64 };

/// The most units that a hub of any tier may have.
const MAX_UNITS: u64 = Tier::S2.max_units() as u64;
const ONLY_VERSION: Shape = Shape::Count { min: VERSION, max: VERSION };

/// The most devices that one fleet may have.
pub const MAX_DEVICES: u64 = 1_000_000_000;

/// The document.
pub static SCENARIO: Table = Table {
    name: "the scenario",
    about: "What a run does and what makes it pass.",
    keys: &[
        Key::new("version", ONLY_VERSION, "1", "Version of this format; 1 is the only one.").required(),
        Key::new(
            "seed",
            ANY_COUNT,
            "7",
            "All chance of the run comes from it; drawn anew for each run by default.",
        ),
        Key::new(
            "duration",
            POSITIVE_DURATION,
            "\"6m\"",
            "End of the run clock; a step due later is not planned. By default the run ends when every device has finished.",
        ),
        Key::new(
            "drain",
            UP_TO_AN_HOUR,
            "\"20s\"",
            "How long to wait for open answers after the end; 20s by default.",
        )
        .default("\"20s\""),
        Key::new(
            "narrate",
            Shape::Boolean,
            "true",
            "Whether devices tell on standard error what they do; false by default.",
        )
        .default("false"),
        Key::new("target", Shape::Table(&TARGET), "{ kind = \"emulator\" }", "Where the load goes."),
        Key::new(
            "enrollment",
            Shape::Tables(&ENROLLMENT),
            "{ plant = { group_key = \"generated\" } }",
            "Whose keys the devices use.",
        ),
        Key::new(
            "fleet",
            Shape::Tables(&FLEET),
            "{ devices = { count = 1000, start = { rate = \"100/s\" } } }",
            "The devices, in populations; at least one.",
        ),
        Key::new("measure", Shape::Table(&MEASURE), "{ sends_from = \"30s\" }", "What is measured."),
        Key::new(
            "thresholds",
            Shape::Limits("metrics, for example \"send.response.p99\"", &THRESHOLD),
            "{ \"failed.share\" = \"= 0 %\" }",
            "What makes the run pass: limits by metric, in quotes: step or milestone, [fleet] if it is about one, view and statistic.",
        ),
        Key::new(
            "emulator",
            Shape::Table(&EMULATOR),
            "{ allocation = \"hashed\" }",
            "How the emulator behaves.",
        ),
    ],
    later: &["event", "gate"],
    one_of: &[],
};

/// One of `[thresholds]`, where it has more than its limit.
pub static THRESHOLD: Table = Table {
    name: "threshold",
    about: "A limit with options: { limit = \"< 0.5 %\", abort_after = \"30s\" }.",
    keys: &[
        Key::new("limit", Shape::Text, "\"< 0.5 %\"", "The limit, as it stands without options.").required(),
        Key::new(
            "abort_after",
            UP_TO_AN_HOUR,
            "\"30s\"",
            "Ends the run when the limit has been crossed for so long without a break, looked at once a second; never by default.",
        ),
    ],
    later: &[],
    one_of: &[],
};

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
            "For azure: host of the DPS; the global endpoint by default.",
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
            "For hub, required: its host, with port if it is not 443.",
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
    ],
    later: &[],
    one_of: &[OneOf::exactly(
        &["group_key", "individual"],
        "an enrollment is a group or one individual device",
        "for the emulator: group_key = \"generated\"; else group_key = { env = \"GROUP_KEY\" }",
    )],
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

const ALLOCATION_SHAPE: Shape = Shape::Any(&[
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

/// `[fleet.NAME]`.
pub static FLEET: Table = Table {
    name: "[fleet.NAME]",
    about: "A population: devices that do the same.",
    keys: &[
        Key::new(
            "count",
            Shape::Count { min: 1, max: MAX_DEVICES },
            "500",
            "How many devices; may be left out where an individual enrollment, a list of devices or a list of starts says it.",
        ),
        Key::new(
            "id",
            Shape::Text,
            "\"sensor-{n:05}\"",
            "Registration id of each device: {n} is its number from 0, {n+1000} counts from 1000, {run} differs from run to run; NAME-{n:05} by default.",
        ),
        Key::new(
            "ids",
            Shape::Text,
            "\"serials.csv\"",
            "Instead of id: path of a CSV with a column registration_id and a row for each device, whose keys are derived from the group's; relative to the scenario file.",
        ),
        Key::new(
            "enrollment",
            Shape::Text,
            "\"plant\"",
            "Name of the enrollment; may be left out if there is only one.",
        ),
        Key::new(
            "sign_with",
            Shape::Choice { names: &["primary", "secondary"], later: &[] },
            "\"secondary\"",
            "Which of the enrollment's keys the devices sign with, or derive theirs from; primary by default.",
        )
        .default("\"primary\""),
        Key::new(
            "start",
            Shape::Table(&START),
            "{ rate = \"100/s\" }",
            "When the devices start; a single device starts at once by default.",
        ),
        Key::new("provision", PROTOCOL, "\"https\"", "How devices talk to DPS; https by default.")
            .default("\"https\""),
        Key::new(
            "connect",
            CONNECT,
            "\"https\"",
            "How devices talk to their hub; https by default, none for devices that only register.",
        )
        .default("\"https\""),
        Key::new(
            "deadline",
            Shape::Table(&DEADLINE),
            "{ register = \"60s\", connect = \"30s\", send = \"30s\" }",
            "Until when a step must be done, counted from when it is due.",
        ),
        Key::new(
            "keep_connection",
            ANY_DURATION,
            "\"60s\"",
            "A device whose next message is due later than this closes its hub connection until then; 60s by default.",
        )
        .default("\"60s\""),
        Key::new(
            "telemetry",
            Shape::Table(&TELEMETRY),
            "{ every = \"10s\" }",
            "What the devices send; nothing by default.",
        ),
    ],
    later: &["behave", "renew", "reconnect", "retry", "twin", "methods", "tls", "commands"],
    one_of: &[OneOf::at_most(&["id", "ids"], "devices are numbered or listed")],
};

/// `start` of a fleet.
pub static START: Table = Table {
    name: "[fleet.NAME.start]",
    about: "When devices start: exactly one of these shapes.",
    keys: &[
        Key::new("rate", Shape::Rate, "\"100/s\"", "Evenly: devices started per second, whole fleet."),
        Key::new(
            "ramp",
            Shape::Table(&RAMP),
            "{ from = \"10/s\", to = \"60/s\", over = \"60s\" }",
            "From one rate to another, then at the second.",
        ),
        Key::new(
            "staircase",
            Shape::Table(&STAIRCASE),
            "{ from = \"10/s\", to = \"60/s\", step = \"10/s\", every = \"60s\" }",
            "From one rate to another in steps, then at the second.",
        ),
        Key::new(
            "poisson",
            Shape::Rate,
            "\"100/s\"",
            "As independent devices come, with exponential gaps: the mean of devices started per second, whole fleet.",
        ),
        Key::new("burst", Shape::Table(&BURST), "{ at = \"0s\" }", "All at once."),
        Key::new(
            "trace",
            Shape::Text,
            "\"starts.txt\"",
            "At given instants: path of a file with one a line, in ascending order, as seconds (12.5) or with a unit (1m30s); relative to the scenario file.",
        ),
    ],
    later: &[],
    one_of: &[OneOf::exactly(
        &["rate", "ramp", "staircase", "poisson", "burst", "trace"],
        "devices start in one way",
        "for example start.rate = \"100/s\"",
    )],
};

/// `start.staircase` of a fleet.
pub static STAIRCASE: Table = Table {
    name: "[fleet.NAME.start.staircase]",
    about: "Starts per second that change in steps: { from = \"10/s\", to = \"60/s\", step = \"10/s\", every = \"60s\" }.",
    keys: &[
        Key::new("from", Shape::Rate, "\"10/s\"", "Starts per second on the first stair.").required(),
        Key::new("to", Shape::Rate, "\"60/s\"", "Starts per second on the last stair, which has no end.")
            .required(),
        Key::new("step", Shape::Rate, "\"10/s\"", "How much a stair differs from the one before.").required(),
        Key::new("every", POSITIVE_DURATION, "\"60s\"", "How long each stair lasts.").required(),
    ],
    later: &[],
    one_of: &[],
};

/// `start.ramp` of a fleet.
pub static RAMP: Table = Table {
    name: "[fleet.NAME.start.ramp]",
    about: "Starts per second that change linearly: { from = \"10/s\", to = \"60/s\", over = \"60s\" }.",
    keys: &[
        Key::new("from", Shape::Rate, "\"10/s\"", "Starts per second at the beginning.").required(),
        Key::new("to", Shape::Rate, "\"60/s\"", "Starts per second at the end, and from then on.").required(),
        Key::new("over", POSITIVE_DURATION, "\"60s\"", "How long the change takes.").required(),
    ],
    later: &[],
    one_of: &[],
};

/// `start.burst` of a fleet.
pub static BURST: Table = Table {
    name: "[fleet.NAME.start.burst]",
    about: "All devices at one instant: { at = \"0s\" }.",
    keys: &[
        Key::new("at", ANY_DURATION, "\"0s\"", "When, on the run clock; 0s by default.").default("\"0s\"")
    ],
    later: &[],
    one_of: &[],
};

/// `deadline` of a fleet.
pub static DEADLINE: Table = Table {
    name: "[fleet.NAME.deadline]",
    about: "Until when a step must be done, counted from when it is due; at most 1h.",
    keys: &[
        Key::new("register", STEP_DEADLINE, "\"60s\"", "To be assigned to a hub; 60s by default.")
            .default("\"60s\""),
        Key::new("connect", STEP_DEADLINE, "\"30s\"", "To be connected to the hub; 30s by default.")
            .default("\"30s\""),
        Key::new("send", STEP_DEADLINE, "\"30s\"", "To have a message acknowledged; 30s by default.")
            .default("\"30s\""),
    ],
    later: &["renew"],
    one_of: &[],
};

/// `[fleet.NAME.telemetry]`.
pub static TELEMETRY: Table = Table {
    name: "[fleet.NAME.telemetry]",
    about: "What the devices of a fleet send, and when.",
    keys: &[
        Key::new(
            "every",
            Shape::Any(&[ANY_DURATION, Shape::Durations { min: Duration::from_nanos(1), max: MAX_DURATION }]),
            "\"10s\"",
            "Per device: time between two messages, or a list of times that are taken in turn; 0s sends all of `messages` at once.",
        ),
        Key::new(
            "fleet_rate",
            Shape::Rate,
            "\"50/s\"",
            "Instead of every: messages per second of the whole fleet.",
        ),
        Key::new(
            "on_change",
            Shape::Table(&ON_CHANGE),
            "{ every = \"5m\", messages = 3, gap = \"200ms\" }",
            "Bursts of messages at instants that nobody foresees, besides `every` or instead of it.",
        ),
        Key::new(
            "messages",
            Shape::Count { min: 1, max: 1_000_000_000_000 },
            "5",
            "Messages per device; until the run ends by default.",
        ),
        Key::new(
            "jitter",
            ANY_DURATION,
            "\"500ms\"",
            "Each message is moved by up to this, either way; at most half of `every`, 0s by default.",
        )
        .default("\"0s\""),
        Key::new(
            "offset",
            ANY_DURATION,
            "\"5s\"",
            "When the first message is due, counted from the first connection; drawn for each device by default, so that a fleet's messages are spread evenly.",
        ),
        Key::new(
            "qos",
            Shape::Count { min: 0, max: 1 },
            "1",
            "Whether the hub confirms messages: 1, or 0 for none; https always does, and takes 1 only.",
        )
        .default("1"),
        Key::new(
            "in_flight",
            Shape::Count { min: 1, max: 65_535 },
            "1",
            "Messages of one device that may await their answer at once; 1 for https.",
        )
        .default("1"),
        Key::new(
            "queue",
            Shape::Count { min: 0, max: 1_000_000 },
            "100",
            "Messages of one device that may wait for their turn; one more is not sent. 100 by default.",
        )
        .default("100"),
        JSON.default(
            "'{\"device\":\"${device_id}\",\"seq\":${seq},\"wind\":${uniform(8, 12, 2)},\"at\":\"${now}\"}'",
        ),
        TEXT,
        BYTES,
        FILE,
        PROPERTIES,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        MESSAGE_ID,
        Key::new(
            "payload",
            Shape::Array(&PAYLOAD),
            "[{ weight = 95, json = '{\"seq\":${seq}}' }, { weight = 5, bytes = \"2 KiB\" }]",
            "Instead of the keys of one payload: several of them, of which each message gets one by chance.",
        ),
    ],
    later: &["batch"],
    one_of: &[
        OneOf::at_most(&["every", "fleet_rate"], "`every` is per device, `fleet_rate` is the total"),
        OneOf::at_most(&["json", "text", "bytes", "file", "payload"], "a message holds one payload"),
    ],
};

/// `on_change` of a fleet's telemetry.
pub static ON_CHANGE: Table = Table {
    name: "[fleet.NAME.telemetry.on_change]",
    about: "Bursts of messages: { every = \"5m\", messages = 3, gap = \"200ms\" }.",
    keys: &[
        Key::new(
            "every",
            POSITIVE_DURATION,
            "\"5m\"",
            "Per device: mean time from the end of one burst to the next; exponential, as independent events are.",
        )
        .required(),
        Key::new("messages", Shape::Count { min: 1, max: 10_000 }, "3", "Messages of a burst; 1 by default.")
            .default("1"),
        Key::new("gap", UP_TO_AN_HOUR, "\"200ms\"", "Time between two messages of a burst; 0s by default.")
            .default("\"0s\""),
    ],
    later: &[],
    one_of: &[],
};

/// `[[fleet.NAME.telemetry.payload]]`.
pub static PAYLOAD: Table = Table {
    name: "[[fleet.NAME.telemetry.payload]]",
    about: "One of several payloads: exactly one of json, text, bytes and file, and what goes with it.",
    keys: &[
        Key::new(
            "weight",
            Shape::Count { min: 1, max: MAX_WEIGHT },
            "95",
            "How many messages get it, relative to the weights of the others; 1 by default.",
        )
        .default("1"),
        JSON,
        TEXT,
        BYTES,
        FILE,
        PROPERTIES,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        MESSAGE_ID.default("\"${run}-${seq}\""),
    ],
    later: &[],
    one_of: &[OneOf::exactly(
        &["json", "text", "bytes", "file"],
        "a message holds one payload",
        "for example json = '{\"seq\":${seq}}'",
    )],
};

const JSON: Key = Key::new(
    "json",
    Shape::Text,
    "'{\"device\":\"${device_id}\",\"seq\":${seq},\"state\":\"${choice(\"ok\": 95, \"busy\": 5)}\"}'",
    "The message as JSON; placeholders are filled in: device_id, registration_id, n, seq, run, population, now, uniform, int, \
     normal, boolean, step, sequence, choice, walk, uuid, bytes, hex and string.",
);

const TEXT: Key = Key::new(
    "text",
    Shape::Text,
    "'${device_id};${seq};${uniform(8, 12, 2)}'",
    "Instead of json: any text, with the same placeholders.",
);

const BYTES: Key =
    Key::new("bytes", Shape::Size, "\"2 KiB\"", "Instead of json: so many random bytes, 256 KiB at most.");

const FILE: Key = Key::new(
    "file",
    Shape::Text,
    "\"message.json\"",
    "Instead of json: the content of a file as it is, 256 KiB at most; relative to the scenario file.",
);

const PROPERTIES: Key = Key::new(
    "properties",
    Shape::Mapping(
        "application properties: names with texts, in which the placeholders of json are filled in",
    ),
    "{ level = \"normal\", batch = \"${seq}\" }",
    "Application properties, for example for routing: at most 100 names with texts, in which placeholders are filled in.",
);

const CONTENT_TYPE: Key = Key::new(
    "content_type",
    Shape::Text,
    "\"application/json\"",
    "Content type of the message; by default what goes with json, text, bytes, or the ending of the file's name.",
);

const CONTENT_ENCODING: Key = Key::new(
    "content_encoding",
    Shape::Text,
    "\"utf-8\"",
    "Content encoding of the message; utf-8 for texts by default, and none for bytes.",
);

const MESSAGE_ID: Key = Key::new(
    "message_id",
    Shape::Text,
    "\"${device_id}-${seq}\"",
    "Id of each message, with the placeholders of json, at most 128 characters; ${run}-${seq} by default.",
);

/// `[measure]`.
pub static MEASURE: Table = Table {
    name: "[measure]",
    about: "What is measured.",
    keys: &[Key::new(
        "sends_from",
        ANY_DURATION,
        "\"30s\"",
        "Sends due earlier are counted but not measured; 0s by default.",
    )
    .default("\"0s\"")],
    later: &["interval", "lateness"],
    one_of: &[],
};

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
            "hub",
            Shape::Tables(&EMULATOR_HUB),
            "{ north = { weight = 3 } }",
            "Its hubs; one named `hub` by default.",
        ),
    ],
    later: &["fault", "service", "tls", "listen"],
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
    later: &["polls_per_window", "connections", "throttle"],
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
    later: &["lognormal", "exponential"],
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
    about: "Durations drawn anew each time: exactly one of lognormal, uniform and exponential.",
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
    ],
    later: &[],
    one_of: &[OneOf::exactly(
        &["lognormal", "uniform", "exponential"],
        "a distribution has one shape",
        "for example assign = { lognormal = { median = \"800ms\", p99 = \"4s\" } }",
    )],
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
    ],
    later: &[],
    one_of: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn check(table: &Table) {
        let mut names = HashSet::new();
        for key in table.keys {
            assert!(names.insert(key.name), "{}: `{}` is listed twice", table.name, key.name);
            assert!(!table.later.contains(&key.name), "{}: `{}` is both now and later", table.name, key.name);
            assert!(key.about.ends_with('.'), "{}: `{}` has no sentence", table.name, key.name);
            let line = format!("{} = {}", key.name, key.example);
            assert!(toml::de::DeTable::parse(&line).is_ok(), "{line}");
        }
        for name in table.one_of.iter().flat_map(|one_of| one_of.keys) {
            let key = table.key(name).unwrap_or_else(|| panic!("{}: `{name}` is no key", table.name));
            assert!(!key.required, "{}: `{name}` is required and excluded", table.name);
        }
    }

    #[test]
    fn every_key_has_a_sentence_and_an_example_that_is_toml() {
        let tables = SCENARIO.with_inner();
        tables.iter().for_each(|table| check(table));
        assert!(tables.len() > 15, "{} kinds of tables", tables.len());
        let names: HashSet<&str> = tables.iter().map(|table| table.name).collect();
        assert_eq!(names.len(), tables.len(), "no two kinds of tables have one name");
    }
}
