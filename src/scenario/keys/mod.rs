//! Every key of a scenario file: the lists that the readers read by, and that descriptions are printed from.

use std::time::Duration;

use crate::document::{Key, Later, Shape, Table};
use crate::units::MAX_DURATION;

mod emulator;
mod enrollment;
mod fleet;
mod target;
mod telemetry;

pub use emulator::{
    ALLOCATION, BIMODAL, COUNT_RANGE, COUNTS, DURATION_RANGE, DURATIONS, EMULATOR, EMULATOR_DPS,
    EMULATOR_DRIVE, EMULATOR_HUB, EXPONENTIAL, LOGNORMAL,
};
pub use enrollment::{ENROLLMENT, INDIVIDUAL, KEY_SOURCE};
pub use fleet::{BURST, C2D, DEADLINE, FLEET, METHODS, RAMP, STAIRCASE, START, TOKEN, TWIN};
pub use target::TARGET;
pub use telemetry::{ON_CHANGE, PAYLOAD, TELEMETRY};

/// The one version of the format.
pub const VERSION: u64 = 1;

const ANY_DURATION: Shape = Shape::Duration { min: Duration::ZERO, max: MAX_DURATION };
const POSITIVE_DURATION: Shape = Shape::Duration { min: Duration::from_nanos(1), max: MAX_DURATION };
const UP_TO_AN_HOUR: Shape = Shape::Duration { min: Duration::ZERO, max: Duration::from_secs(3_600) };
const STEP_DEADLINE: Shape =
    Shape::Duration { min: Duration::from_nanos(1), max: Duration::from_secs(3_600) };
/// Any whole number that TOML can write.
const ANY_COUNT: Shape = Shape::Count { min: 0, max: i64::MAX as u64 };

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
            "gate",
            Shape::Mapping("metrics of latency, for example \"send.response.p99\""),
            "{ \"send.response.p99\" = \"+5 %\" }",
            "How much worse than a baseline a latency may be; checked, but not compared yet: this version has no baselines.",
        ),
        Key::new(
            "emulator",
            Shape::Table(&EMULATOR),
            "{ allocation = \"hashed\" }",
            "How the emulator behaves.",
        ),
    ],
    later: &[Later::new("event", "events are storms that strike devices during a run, such as a power cut")],
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
    later: &[
        Later::new("interval", "`interval` is how finely a run is recorded over its time"),
        Later::new("lateness", "`lateness` is how late the generator may be before a run is void"),
    ],
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
            assert!(table.later(key.name).is_none(), "{}: `{}` is both now and later", table.name, key.name);
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
