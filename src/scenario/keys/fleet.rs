//! Keys of `[fleet.NAME]`, but for its telemetry.

use std::time::Duration;

use crate::azure::mqtt;
use crate::document::schema::OneOf;
use crate::document::{Key, Later, Shape, Table};
use crate::scenario::keys::telemetry::TELEMETRY;
use crate::scenario::keys::{ANY_DURATION, MAX_DEVICES, POSITIVE_DURATION, STEP_DEADLINE};
use crate::units::MAX_DURATION;

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
            "behave",
            Shape::Choice { names: &["muster", "python-sdk", "node-sdk", "c-sdk"], later: &[] },
            "\"python-sdk\"",
            "Whose habits devices have: names, details of requests, waits, deadlines, keep-alive, rhythm of reconnects, life of tokens; muster's own by default. Other keys of the fleet go before it.",
        )
        .default("\"muster\""),
        Key::new(
            "token",
            Shape::Table(&TOKEN),
            "{ lifetime = \"1h\", renew_before = \"5m\", jitter = \"1m\" }",
            "How long the devices' SAS tokens live, and when those for the hub are replaced: over mqtt by connecting anew, which is the step `renew`.",
        ),
        Key::new(
            "clock",
            Shape::Table(&CLOCK),
            "{ ahead = \"10m\" }",
            "How wrong the devices' clocks are: tokens and ${now} go by them; not at all by default.",
        ),
        Key::new(
            "keep_alive",
            KEEP_ALIVE,
            "\"60s\"",
            "For mqtt: a device that has sent nothing for so long tells that it is there; whole seconds from 5s, or 0s for never; 60s by default, or as `behave` has it.",
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
            "twin",
            Shape::Table(&TWIN),
            "{ get = \"on-connect\", report_every = \"60s\", desired = true }",
            "Over mqtt: what the devices do with their twins, in the steps twin_get and twin_report; nothing by default.",
        ),
        Key::new(
            "methods",
            Shape::Table(&METHODS),
            "{ reply_after = \"20ms\", status = 200 }",
            "Over mqtt: how the devices answer direct methods, in the step method_reply; not at all by default.",
        ),
        Key::new(
            "c2d",
            Shape::Table(&C2D),
            "{ settle = \"complete\" }",
            "The devices take messages from the cloud, in the step c2d_receive: as they come over mqtt, by asking for them over https; not by default.",
        ),
        Key::new(
            "telemetry",
            Shape::Table(&TELEMETRY),
            "{ every = \"10s\" }",
            "What the devices send; nothing by default.",
        ),
    ],
    later: &[
        Later::new("reconnect", "`reconnect` is how devices come back after a lost connection"),
        Later::new("retry", "`retry` is how devices repeat what failed"),
        Later::new("tls", "`tls` is how devices open TLS: versions and resumption"),
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
        Key::new(
            "register",
            STEP_DEADLINE,
            "\"60s\"",
            "To be assigned to a hub; 60s by default, or as `behave` has it.",
        )
        .default("\"60s\""),
        Key::new(
            "connect",
            STEP_DEADLINE,
            "\"30s\"",
            "To be connected to the hub; 30s by default, or as `behave` has it.",
        )
        .default("\"30s\""),
        Key::new(
            "send",
            STEP_DEADLINE,
            "\"30s\"",
            "To have a message acknowledged; 30s by default, or as `behave` has it.",
        )
        .default("\"30s\""),
    ],
    later: &[],
    one_of: &[],
};

/// `token` of a fleet.
pub static TOKEN: Table = Table {
    name: "[fleet.NAME.token]",
    about: "The life of the devices' SAS tokens.",
    keys: &[
        Key::new(
            "lifetime",
            LIFETIME,
            "\"10m\"",
            "From the instant a token is made, by the device's clock; 1h by default, and for DPS as `behave` has it.",
        )
        .default("\"1h\""),
        Key::new(
            "renew_before",
            ANY_DURATION,
            "\"1m\"",
            "How long before its expiry a token for the hub is replaced; 5m by default, or as `behave` has it, and the same share of a shorter lifetime.",
        )
        .default("\"5m\""),
        Key::new(
            "jitter",
            ANY_DURATION,
            "\"30s\"",
            "A renewal comes by up to this earlier, drawn anew each time, so that devices that connected together do not renew together; 0s by default.",
        )
        .default("\"0s\""),
    ],
    later: &[],
    one_of: &[],
};

/// `twin` of a fleet.
pub static TWIN: Table = Table {
    name: "[fleet.NAME.twin]",
    about: "What devices do with their twins.",
    keys: &[
        Key::new("get", WHEN, "\"on-connect\"", "When a device reads its twin: on-connect by default, or never.")
            .default("\"on-connect\""),
        Key::new(
            "report",
            WHEN,
            "\"on-connect\"",
            "When a device reports besides: on-connect is when it has read its twin, if it does; never by default.",
        )
        .default("\"never\""),
        Key::new(
            "report_every",
            REPORT_INTERVAL,
            "\"60s\"",
            "Time between two reports of one device, the first so long after it was first connected; none by default.",
        ),
        Key::new(
            "desired",
            Shape::Boolean,
            "true",
            "Whether devices want to be told of desired properties that change; false by default.",
        )
        .default("false"),
    ],
    later: &[],
    one_of: &[],
};

/// A hub admits 100 changes of twins a second, of all its devices.
const REPORT_INTERVAL: Shape = Shape::Duration { min: Duration::from_millis(10), max: MAX_DURATION };

const WHEN: Shape = Shape::Choice { names: &["on-connect", "never"], later: &[] };

/// `methods` of a fleet.
pub static METHODS: Table = Table {
    name: "[fleet.NAME.methods]",
    about: "How devices answer direct methods.",
    keys: &[
        Key::new(
            "reply_after",
            ANY_DURATION,
            "\"20ms\"",
            "How long a device takes over a method before it answers; 0s by default.",
        )
        .default("\"0s\""),
        Key::new(
            "status",
            Shape::Count { min: 0, max: 999 },
            "200",
            "The status that devices answer with, by custom as in HTTP; 200 by default.",
        )
        .default("200"),
    ],
    later: &[],
    one_of: &[],
};

/// `c2d` of a fleet.
pub static C2D: Table = Table {
    name: "[fleet.NAME.c2d]",
    about: "How devices take messages from the cloud.",
    keys: &[
        Key::new(
            "settle",
            Shape::Choice { names: &["complete", "reject", "abandon"], later: &[] },
            "\"complete\"",
            "What becomes of a message that arrived: complete by default, and over mqtt a device can do nothing else. reject has the hub put it away as dead; with abandon it comes again, until the hub has given it out ten times.",
        )
        .default("\"complete\""),
        Key::new(
            "poll_every",
            POLL_INTERVAL,
            "\"30s\"",
            "For connect = \"https\": how long after the hub had no message a device asks again, the first time when it has connected; after a message it asks at once, unless that was abandoned. 25m by default, the least that Azure wants of devices.",
        )
        .default("\"25m\""),
    ],
    later: &[],
    one_of: &[],
};

/// Shorter ones would be a loop rather than a device.
const POLL_INTERVAL: Shape = Shape::Duration { min: Duration::from_millis(100), max: MAX_DURATION };

/// Shorter ones would be renewed all the time, for a token says whole seconds.
const LIFETIME: Shape = Shape::Duration { min: Duration::from_secs(5), max: MAX_DURATION };

/// `clock` of a fleet.
pub(super) static CLOCK: Table = Table {
    name: "[fleet.NAME.clock]",
    about: "How wrong the devices' clocks are.",
    keys: &[
        Key::new("ahead", ANY_DURATION, "\"10m\"", "The devices believe it to be so much later than it is."),
        Key::new(
            "behind",
            ANY_DURATION,
            "\"10m\"",
            "The devices believe it to be so much earlier than it is.",
        ),
    ],
    later: &[],
    one_of: &[OneOf::exactly(&["ahead", "behind"], "a clock is wrong one way", "ahead = \"10m\"")],
};
