//! Texts that nobody would write on purpose.

use proptest::prelude::*;

use super::*;

#[test]
fn hostile_files_of_every_shape_are_refused_in_a_few_lines() {
    // What a file of the largest size has room for beside the rest of each.
    let length = (1 << 20) - 64;
    let repeated = |unit: &str| unit.repeat(length / unit.len());
    let numbered = |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    for (name, text, expected) in [
        ("array", format!("a = [{}1]", repeated("1,")), "more than 150,000"),
        ("mistakes", repeated("=\n"), "more than 150,000"),
        ("words", repeated("a "), "more than 150,000"),
        ("one long string", format!("a = '{}", repeated("x")), "not valid TOML"),
        ("deep", "[".repeat(100_000), "not valid TOML"),
        ("deep key", format!("{}=1", "a.".repeat(50_000)), "not valid TOML"),
        ("deep header", format!("[{}a]", "a.".repeat(140_000)), "not valid TOML"),
        ("deep array header", format!("[[{}a]]", "a.".repeat(140_000)), "not valid TOML"),
        (
            "deep header and key",
            format!("[{0}a]\n{0}a = {1}", "a.".repeat(75), "[".repeat(75) + &"]".repeat(75)),
            "`version`",
        ),
        ("unknown keys", numbered(&|n| format!("k{n} = 1\n"), 30_000), "not shown)"),
        ("fleets", numbered(&|n| format!("[fleet.f{n}]\n"), 20_000), "`fleet` has more than 100 entries"),
        (
            "metrics",
            format!("[thresholds]\n{}", numbered(&|n| format!("m{n} = ''\n"), 20_000)),
            "`thresholds` has more than 1,000 entries",
        ),
        ("variables", numbered(&|n| format!("k{n} = '${{env:V{n}}}'\n"), 10_000), "is not set"),
        ("keys", format!("a = '{}' b", repeated("aA1bbbbbbbbbbbbbbbbbbbbbbbbbbbb= ")), "not valid TOML"),
    ] {
        let told = told(&text);
        assert!(told.len() < 100_000, "{name}: {} bytes", told.len());
        assert!(told.contains(expected), "{name}: {told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_loading_panic(text in "\\PC{0,200}", set in "\\PC{0,40}") {
        let _ = load_bytes(text.as_bytes(), &[&set]);
    }

    #[test]
    fn no_bytes_make_loading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = load_bytes(&bytes, &[]);
    }

    #[test]
    fn no_change_of_a_scenario_makes_loading_panic(at in 0usize..1, cut in 0usize..40, insert in "[\\PC\n\"'\\[\\]{}=.$]{0,12}", pick: prop::sample::Index, file in 0usize..4) {
        let shipped = ["first-run.toml", "ci-smoke.toml", "quickstart.toml"];
        let text = match shipped.get(file) {
            Some(name) => std::fs::read_to_string(self::shipped(name)).unwrap(),
            None => MINIMAL.to_owned(),
        };
        let characters: Vec<char> = text.chars().collect();
        let at = at + pick.index(characters.len());
        let mut changed: String = characters[..at].iter().collect();
        changed.push_str(&insert);
        changed.extend(&characters[(at + cut).min(characters.len())..]);
        let _ = load_bytes(changed.as_bytes(), &[&insert]);
    }

    #[test]
    fn no_value_of_a_key_makes_loading_panic(key in 0usize..12, value in "(-?[0-9]{1,40}|\"[ -~&&[^\"\\\\]]{0,20}\"|nan|inf|1e999|\\[\\]|\\{\\}|true|\"[0-9]{1,25}(s|ms|h|/s|/day| %| KiB)\")") {
        let keys = [
            "seed", "duration", "drain", "fleet.devices.count", "fleet.devices.start.rate",
            "fleet.devices.telemetry.every", "fleet.devices.telemetry.jitter",
            "fleet.devices.telemetry.messages", "fleet.devices.id", "measure.sends_from",
            "emulator.dps.assign", "thresholds.\"failed.share\"",
        ];
        let _ = load_bytes(MINIMAL.as_bytes(), &[&format!("{}={value}", keys[key])]);
    }
}
