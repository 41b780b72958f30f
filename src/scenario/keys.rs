//! Every key of a scenario file: the lists that the readers read by, and that descriptions are printed from.

use std::time::Duration;

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

/// The most devices that one fleet may have.
pub const MAX_DEVICES: u64 = 1_000_000_000;

/// The document.
pub static SCENARIO: Table = Table {
    name: "the scenario",
    about: "What a run does and what makes it pass.",
    keys: &[
        Key::new("version", ANY_COUNT, "1", "Version of this format; 1 is the only one.").required(),
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
        ),
        Key::new(
            "narrate",
            Shape::Boolean,
            "true",
            "Whether devices tell on standard error what they do; false by default.",
        ),
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
            Shape::Mapping("metrics, for example \"send.response.p99\""),
            "{ \"failed.share\" = \"= 0 %\" }",
            "What makes the run pass: limits by metric.",
        ),
        Key::new(
            "emulator",
            Shape::Table(&EMULATOR),
            "{ allocation = \"hashed\" }",
            "How the emulator behaves.",
        ),
    ],
    later: &["event", "gate"],
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
        ),
        Key::new(
            "dps",
            Shape::Text,
            "\"global.azure-devices-provisioning.net\"",
            "For azure: host of the DPS; the global endpoint by default.",
        ),
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
    ],
    later: &[],
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
            Shape::Table(&INDIVIDUAL),
            "{ registration_id = \"device-1\", key = { env = \"DEVICE_KEY\" } }",
            "Instead of a group: one device with its own key.",
        ),
        Key::new(
            "enabled",
            Shape::Boolean,
            "true",
            "For the emulator: a disabled enrollment refuses every registration; true by default.",
        ),
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
        ),
    ],
    later: &[],
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
            "How many devices; may be left out for an individual enrollment, which is one.",
        ),
        Key::new(
            "id",
            Shape::Text,
            "\"sensor-{n:05}\"",
            "Registration id of each device: {n} is its number from 0, {run} differs from run to run; NAME-{n:05} by default.",
        ),
        Key::new(
            "enrollment",
            Shape::Text,
            "\"plant\"",
            "Name of the enrollment; may be left out if there is only one.",
        ),
        Key::new(
            "start",
            Shape::Table(&START),
            "{ rate = \"100/s\" }",
            "When the devices start; a single device starts at once by default.",
        ),
        Key::new("provision", PROTOCOL, "\"https\"", "How devices talk to DPS; https by default."),
        Key::new(
            "connect",
            CONNECT,
            "\"https\"",
            "How devices talk to their hub; https by default, none for devices that only register.",
        ),
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
        ),
        Key::new(
            "telemetry",
            Shape::Table(&TELEMETRY),
            "{ every = \"10s\" }",
            "What the devices send; nothing by default.",
        ),
    ],
    later: &["behave", "renew", "reconnect", "retry", "twin", "methods", "tls", "commands"],
};

/// `start` of a fleet.
pub static START: Table = Table {
    name: "[fleet.NAME.start]",
    about: "When devices start: exactly one of rate, ramp and burst.",
    keys: &[
        Key::new("rate", Shape::Rate, "\"100/s\"", "Evenly: devices started per second, whole fleet."),
        Key::new(
            "ramp",
            Shape::Table(&RAMP),
            "{ from = \"10/s\", to = \"60/s\", over = \"60s\" }",
            "From one rate to another, then at the second.",
        ),
        Key::new("burst", Shape::Table(&BURST), "{ at = \"0s\" }", "All at once."),
    ],
    later: &["poisson", "trace"],
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
};

/// `start.burst` of a fleet.
pub static BURST: Table = Table {
    name: "[fleet.NAME.start.burst]",
    about: "All devices at one instant: { at = \"0s\" }.",
    keys: &[Key::new("at", ANY_DURATION, "\"0s\"", "When, on the run clock; 0s by default.")],
    later: &[],
};

/// `deadline` of a fleet.
pub static DEADLINE: Table = Table {
    name: "[fleet.NAME.deadline]",
    about: "Until when a step must be done, counted from when it is due; at most 1h.",
    keys: &[
        Key::new("register", STEP_DEADLINE, "\"60s\"", "To be assigned to a hub; 60s by default."),
        Key::new("connect", STEP_DEADLINE, "\"30s\"", "To be connected to the hub; 30s by default."),
        Key::new("send", STEP_DEADLINE, "\"30s\"", "To have a message acknowledged; 30s by default."),
    ],
    later: &["renew"],
};

/// `[fleet.NAME.telemetry]`.
pub static TELEMETRY: Table = Table {
    name: "[fleet.NAME.telemetry]",
    about: "What the devices of a fleet send, and when.",
    keys: &[
        Key::new(
            "every",
            ANY_DURATION,
            "\"10s\"",
            "Per device: time between two messages; 0s sends all of `messages` at once.",
        ),
        Key::new(
            "fleet_rate",
            Shape::Rate,
            "\"50/s\"",
            "Instead of every: messages per second of the whole fleet.",
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
        ),
        Key::new(
            "in_flight",
            Shape::Count { min: 1, max: 65_535 },
            "1",
            "Messages of one device that may await their answer at once; 1 for https.",
        ),
        Key::new(
            "queue",
            Shape::Count { min: 0, max: 1_000_000 },
            "100",
            "Messages of one device that may wait for their turn; one more is not sent. 100 by default.",
        ),
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
    later: &["qos", "batch"],
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
        MESSAGE_ID,
    ],
    later: &[],
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
)
.default("\"${run}-${seq}\"");

/// `[measure]`.
pub static MEASURE: Table = Table {
    name: "[measure]",
    about: "What is measured.",
    keys: &[Key::new(
        "sends_from",
        ANY_DURATION,
        "\"30s\"",
        "Sends due earlier are counted but not measured; 0s by default.",
    )],
    later: &["interval", "lateness"],
};

/// `[emulator]`.
pub static EMULATOR: Table = Table {
    name: "[emulator]",
    about: "How the embedded emulator behaves.",
    keys: &[
        Key::new("id_scope", Shape::Text, "\"0ne00000001\"", "Id scope of its DPS; 0ne00000001 by default."),
        Key::new(
            "allocation",
            ALLOCATION_SHAPE,
            "\"hashed\"",
            "How devices get their hub: hashed (default), weighted, or { static = \"north\" }.",
        ),
        Key::new("dps", Shape::Table(&EMULATOR_DPS), "{ retry_after = \"3s\" }", "How its DPS behaves."),
        Key::new(
            "hub",
            Shape::Tables(&EMULATOR_HUB),
            "{ north = { weight = 3 } }",
            "Its hubs; one named `hub` by default.",
        ),
    ],
    later: &["fault", "service", "tls", "listen"],
};

/// `[emulator.dps]`.
pub static EMULATOR_DPS: Table = Table {
    name: "[emulator.dps]",
    about: "How the emulated DPS behaves.",
    keys: &[
        Key::new(
            "retry_after",
            Shape::Duration { min: Duration::ZERO, max: Duration::from_secs(3_600) },
            "\"3s\"",
            "Wait that it asks for between polls, in whole seconds; \"none\" asks for none. 3s by default.",
        ),
        Key::new(
            "polls",
            Shape::Any(&[Shape::Count { min: 0, max: 1_000 }, Shape::Table(&COUNTS)]),
            "2",
            "Polls that are answered `assigning` before the result is, at least; 0 by default.",
        ),
        Key::new(
            "assign",
            Shape::Any(&[UP_TO_AN_HOUR, Shape::Table(&DURATIONS)]),
            "\"800ms\"",
            "How long an assignment takes; { lognormal = { median = \"800ms\", p99 = \"2500ms\" } } by default.",
        ),
    ],
    later: &["registrations", "polls_per_window", "connections", "throttle"],
};

/// A distribution of counts.
pub static COUNTS: Table = Table {
    name: "distribution",
    about: "Whole numbers drawn anew each time: { uniform = { low = 1, high = 3 } }.",
    keys: &[Key::new(
        "uniform",
        Shape::Table(&COUNT_RANGE),
        "{ low = 1, high = 3 }",
        "Evenly, both ends included.",
    )],
    later: &["lognormal", "exponential"],
};

/// A range of counts.
pub static COUNT_RANGE: Table = Table {
    name: "uniform",
    about: "A range: { low = 1, high = 3 }.",
    keys: &[
        Key::new("low", Shape::Count { min: 0, max: 1_000 }, "1", "Smallest.").required(),
        Key::new("high", Shape::Count { min: 0, max: 1_000 }, "3", "Largest.").required(),
    ],
    later: &[],
};

/// A distribution of durations.
pub static DURATIONS: Table = Table {
    name: "distribution",
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
};

/// A range of durations.
pub static DURATION_RANGE: Table = Table {
    name: "uniform",
    about: "A range: { low = \"100ms\", high = \"900ms\" }.",
    keys: &[
        Key::new("low", UP_TO_AN_HOUR, "\"100ms\"", "Shortest.").required(),
        Key::new("high", UP_TO_AN_HOUR, "\"900ms\"", "Longest.").required(),
    ],
    later: &[],
};

/// Parameter of an exponential distribution.
pub static EXPONENTIAL: Table = Table {
    name: "exponential",
    about: "An exponential distribution: { mean = \"800ms\" }.",
    keys: &[Key::new("mean", STEP_DEADLINE, "\"800ms\"", "The mean.").required()],
    later: &[],
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
        ),
        Key::new(
            "host",
            Shape::Text,
            "\"north.azure-devices.localhost\"",
            "Its host name in tokens and user names; NAME.azure-devices.localhost by default.",
        ),
    ],
    later: &["tier", "units"],
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn visit(table: &'static Table, seen: &mut HashSet<*const Table>) {
        if !seen.insert(table) {
            return;
        }
        let mut names = HashSet::new();
        for key in table.keys {
            assert!(names.insert(key.name), "{}: `{}` is listed twice", table.name, key.name);
            assert!(!table.later.contains(&key.name), "{}: `{}` is both now and later", table.name, key.name);
            assert!(key.about.ends_with('.'), "{}: `{}` has no sentence", table.name, key.name);
            let line = format!("{} = {}", key.name, key.example);
            assert!(toml::de::DeTable::parse(&line).is_ok(), "{line}");
            visit_shape(&key.shape, seen);
        }
    }

    fn visit_shape(shape: &'static Shape, seen: &mut HashSet<*const Table>) {
        match shape {
            Shape::Table(table) | Shape::Tables(table) | Shape::Array(table) => visit(table, seen),
            Shape::Any(shapes) => shapes.iter().for_each(|shape| visit_shape(shape, seen)),
            _ => {}
        }
    }

    #[test]
    fn every_key_has_a_sentence_and_an_example_that_is_toml() {
        let mut seen = HashSet::new();
        visit(&SCENARIO, &mut seen);
        assert!(seen.len() > 15, "{} kinds of tables", seen.len());
    }
}
