//! Keys of `[fleet.NAME]`, but for its telemetry.

use std::time::Duration;

use crate::azure::mqtt;
use crate::document::schema::OneOf;
use crate::document::{Key, Later, Shape, Table};
use crate::scenario::keys::telemetry::TELEMETRY;
use crate::scenario::keys::{ANY_DURATION, MAX_DEVICES, POSITIVE_DURATION, STEP_DEADLINE};

const NAMES_LATER: &[&str] = &["amqp", "amqp-ws"];
const PROTOCOL: Shape = Shape::Choice { names: &["mqtt", "mqtt-ws", "https"], later: NAMES_LATER };
const CONNECT: Shape = Shape::Choice { names: &["mqtt", "mqtt-ws", "https", "none"], later: NAMES_LATER };
/// Shorter ones that are not zero, and fractions of a second, are refused when the plan is built.
const KEEP_ALIVE: Shape =
    Shape::Duration { min: Duration::ZERO, max: Duration::from_secs(mqtt::MAX_KEEP_ALIVE_S as u64) };

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
        Key::new("provision", PROTOCOL, "\"https\"", "How devices talk to DPS; mqtt by default, mqtt-ws for MQTT inside a WebSocket on the port of HTTPS.")
            .default("\"mqtt\""),
        Key::new(
            "connect",
            CONNECT,
            "\"https\"",
            "How devices talk to their hub; mqtt by default, mqtt-ws for MQTT inside a WebSocket, none for devices that only register.",
        )
        .default("\"mqtt\""),
        Key::new(
            "deadline",
            Shape::Table(&DEADLINE),
            "{ register = \"60s\", connect = \"30s\", send = \"30s\" }",
            "Until when a step must be done, counted from when it is due.",
        ),
        Key::new(
            "keep_alive",
            KEEP_ALIVE,
            "\"60s\"",
            "For mqtt: a device that has sent nothing for so long tells that it is there; whole seconds from 5s, or 0s for never; 60s by default.",
        )
        .default("\"60s\""),
        Key::new(
            "keep_connection",
            ANY_DURATION,
            "\"60s\"",
            "For connect = \"https\": a device whose next message is due later than this closes its hub connection until then; 60s by default. With mqtt devices stay connected.",
        )
        .default("\"60s\""),
        Key::new(
            "telemetry",
            Shape::Table(&TELEMETRY),
            "{ every = \"10s\" }",
            "What the devices send; nothing by default.",
        ),
    ],
    later: &[
        Later::new("behave", "`behave` gives devices the habits of an SDK: its waits, retries and keep-alive"),
        Later::new("renew", "`renew` is when devices renew their tokens"),
        Later::new("reconnect", "`reconnect` is how devices come back after a lost connection"),
        Later::new("retry", "`retry` is how devices repeat what failed"),
        Later::new("twin", "`twin` is what devices do with their twins"),
        Later::new("methods", "`methods` is how devices answer direct methods"),
        Later::new("tls", "`tls` is how devices open TLS: versions and resumption"),
        Later::new("commands", "`commands` is how devices take messages from the cloud"),
    ],
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
    later: &[Later::new("renew", "`renew` is until when a new token must be in use")],
    one_of: &[],
};
