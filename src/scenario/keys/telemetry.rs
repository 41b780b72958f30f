//! Keys of `[fleet.NAME.telemetry]`: when messages are due, and what they hold.

use std::time::Duration;

use crate::document::schema::OneOf;
use crate::document::{Key, Later, Shape, Table};
use crate::payload::MAX_WEIGHT;
use crate::scenario::keys::{ANY_DURATION, POSITIVE_DURATION, UP_TO_AN_HOUR};
use crate::units::MAX_DURATION;

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
            "Whether the hub confirms messages: 1, or 0 for none; with https it always does, and only 1 is taken. 1 by default.",
        )
        .default("1"),
        Key::new(
            "in_flight",
            Shape::Count { min: 1, max: 1_000 },
            "10",
            "Messages of one device that may await their answer at once; 10 by default, with https always 1.",
        )
        .default("10"),
        Key::new(
            "resend",
            Shape::Choice { names: &["none", "dup"], later: &[] },
            "\"dup\"",
            "For mqtt with qos 1: what becomes of messages without an answer when their connection is lost: none leaves them unknown (default), dup sends them again, marked as duplicates.",
        )
        .default("\"none\""),
        Key::new(
            "topic",
            Shape::Text,
            "\"plant/{id}/telemetry\"",
            "For mqtt and a target of kind hub that is another broker than an IoT hub: the topic that messages go to; {id} stands for the device's id.",
        ),
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
    later: &[Later::new("batch", "`batch` sends several messages in one request")],
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
