//! What is told of mistakes, and where.

use super::*;

#[test]
fn complaints_look_like_this() {
    for (name, text) in [
        ("unknown_key", with("count  ", "cuont  ")),
        ("wrong_unit", with("\"2s\"", "\"2/s\"")),
        ("every_and_fleet_rate", with("messages = 5", "fleet_rate = \"50/s\"\nmessages = 5")),
        (
            "unknown_enrollment",
            with("count ", "enrollment = \"plnt\"\ncount ")
                + "[enrollment.plant]\ngroup_key = \"generated\"\n",
        ),
        ("duplicate_key", with("messages = 5", "messages = 5\nevery = \"3s\"")),
        ("two_errors", with("1_000", "\"many\"").replace("= 0 %", "= none")),
        ("bad_toml", with("\"100/s\"", "100/s").replace("[thresholds]", "[thresholds")),
        ("literal_key", format!("{MINIMAL}[enrollment.plant]\ngroup_key = \"{CANARY}\"\n")),
        ("unset_variables", with("1_000", "1_000\nid = \"${env:PREFIX}-{n}-${env:SUFFIX}\"")),
        ("escape_bytes", with("\"100/s\"", "'100\u{9b}/s' # \u{202e}")),
        ("no_fleet", "version = 1\n".to_owned()),
        ("later", format!("{MINIMAL}[[event]]\nname = \"power-cut\"\n[[emulator.fault]]\n")),
        (
            "gate",
            format!(
                "{MINIMAL}[gate]\n'send.respnse.p99' = '+5 %'\n'send.lateness.p99' = '+5 %'\n'failed.share' = '+5 %'\n\
                 'send.response.p99' = '< 5 %'\n'send.response.p50' = '+5'\n'send[x].response.p99' = '+5 %'\n\
                 'connect.response.p99' = '+500 %'\n'register.response.p99' = 5\n"
            ),
        ),
        ("no_devices", with("1_000", "0")),
        ("too_many_devices", with("1_000", "1_000_000_001")),
        ("version", "version = 2\nfuture = true\n".to_owned()),
    ] {
        insta::assert_snapshot!(name, told(&text));
    }
}

/// Asserts that what is told says where and what to do, as often as something is told.
fn assert_placed(told: &str) {
    let blocks: Vec<&str> = told.trim_end().split("\n\n").collect();
    let (summary, complaints) = blocks.split_last().unwrap();
    assert!(summary.starts_with("error: s.toml: ") && !complaints.is_empty(), "{told}");
    for complaint in complaints {
        let place = complaint.lines().find_map(|line| line.trim_start().strip_prefix("--> s.toml:"));
        let numbers: Vec<_> = place.unwrap_or_default().split(':').map(str::parse::<u32>).collect();
        assert!(numbers.len() == 2 && numbers.iter().all(Result::is_ok), "line and column of:\n{complaint}");
        assert!(complaint.contains("= help: "), "the remedy of:\n{complaint}");
        assert!(complaint.starts_with("error: ") && complaint.contains('^'), "the reason of:\n{complaint}");
    }
}

#[test]
fn absurd_numbers_are_told_where_why_and_what_instead() {
    for (name, place, values) in [
        ("absurd_counts", "1_000", &["nan", "inf", "-inf", "-1", "1e308", "1.5", "\"5\""][..]),
        (
            "absurd_rates",
            "\"100/s\"",
            &["\"nan/s\"", "\"inf/s\"", "\"-1/s\"", "\"0/s\"", "\"1e308/s\"", "nan", "1e308"],
        ),
        (
            "absurd_durations",
            "\"2s\"",
            &["\"nans\"", "\"infs\"", "\"-1s\"", "\"1e308s\"", "\"400d\"", "inf", "-1"],
        ),
    ] {
        let told: Vec<String> = values.iter().map(|value| told(&with(place, value))).collect();
        told.iter().for_each(|told| assert_placed(told));
        insta::assert_snapshot!(name, told.join("\n"));
    }
}

#[test]
fn what_a_gate_allows_reaches_the_plan_with_a_warning() {
    let text = format!(
        "{MINIMAL}[gate]\n'send[devices].response.p99' = '+5 %'\n'time_to_assigned.response.p50' = ' +12.5% '\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, &Options::default(), &variable).unwrap();
    let gates: Vec<_> =
        loaded.plan.gates.iter().map(|gate| (gate.text.as_str(), gate.population, gate.allowed)).collect();
    assert_eq!(
        gates,
        [
            ("send[devices].response.p99 +5 %", Some(0), 0.05),
            ("time_to_assigned.response.p50 +12.5%", None, 0.125)
        ]
    );
    insta::assert_snapshot!("gate_warning", shown(&loaded.warnings, directory.path()));
    assert!(plan(&format!("{MINIMAL}[gate]\n")).gates.is_empty());
}

#[test]
fn places_are_right_behind_a_byte_order_mark_and_with_windows_line_ends() {
    let text = format!("\u{feff}{}", with("\"2s\"", "\"2\""));
    insta::assert_snapshot!("bom_and_crlf", told(&text.replace('\n', "\r\n")));
}

#[test]
fn files_that_are_no_text_or_too_large_or_not_there_are_told_apart() {
    let mut bytes = with_top("# caf\u{e9} ").into_bytes();
    bytes.extend(b"# caf\xe9\nx = 1\n");
    insta::assert_snapshot!("not_utf8", load_bytes(&bytes, &[]).unwrap_err());
    let large = vec![b'#'; 4 * 1024 * 1024 + 1];
    insta::assert_snapshot!("too_large", load_bytes(&large, &[]).unwrap_err());
    let directory = tempfile::tempdir().unwrap();
    // A GiB of holes is told apart without being read.
    std::fs::File::create(directory.path().join("s.toml")).unwrap().set_len(1 << 30).unwrap();
    let huge = load(&directory.path().join("s.toml"), &Options::default(), &variable).unwrap_err();
    assert_eq!(shown(&huge, directory.path()), load_bytes(&large, &[]).unwrap_err());
    let missing = load(&directory.path().join("no.toml"), &Options::default(), &variable).unwrap_err();
    insta::assert_snapshot!("missing", shown(&missing, directory.path()));
}

#[test]
fn bad_sets_are_shown_with_their_own_text() {
    let sets = ["fleet.devices.count", "fleet.devices.count.x=1", "fleet.devices.cuont=5", "drain=20"];
    insta::assert_snapshot!("bad_set", load_bytes(MINIMAL.as_bytes(), &sets).unwrap_err());
}

#[test]
fn absurd_numbers_are_refused() {
    for value in [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e308",
        "1_000_000_001",
        "0x7fffffffffffffff",
        "1.5",
        "\"5\"",
        "1979-05-27",
    ] {
        let told = told(&with("1_000", value));
        assert!(told.contains("`count`"), "{value}: {told}");
    }
    assert_eq!(plan(&with("1_000", "1_000_000_000")).populations[0].count, 1_000_000_000);
    for value in ["nan/s", "-1/s", "0/s", "1e308/s", "inf/s", "100"] {
        let told = told(&with("100/s", value));
        assert!(told.contains("rate"), "{value}: {told}");
    }
    for value in ["nans", "-1s", "1e308s", "400d", "infs"] {
        told(&with("\"2s\"", &format!("\"{value}\"")));
    }
    told(&with_top("seed = -1"));
    told(&with_top("duration = \"0s\""));
}

#[test]
fn each_contradiction_is_told_with_its_remedy() {
    const AZURE: &str = "[target]\nkind = 'azure'\nid_scope = 'a'\nallow = ['*.azure-devices.net']\n";
    const HUB: &str = "[target]\nkind = 'hub'\nhost = 'a.b'\n";
    const KEY: &str = "[enrollment.a]\ngroup_key = 'stdin'\n";
    const ONE: &str = "[fleet.x]\ncount = 1\n";
    const DEVICE: &str = "[enrollment.a]\nindividual = { registration_id = 'd-1', key = 'generated' }\n";
    for (tables, expected) in [
        (format!("{AZURE}[emulator]\n{KEY}{ONE}"), "`[emulator]` has no meaning for a target of kind \"azure\""),
        (format!("{AZURE}host = 'x'\n{KEY}{ONE}"), "`host` has no meaning for a target of kind \"azure\""),
        (format!("[target]\nallow = ['*.a.b']\n{ONE}"), "`allow` has no meaning for a target of kind \"emulator\""),
        (format!("[target]\nkind = 'azure'\nallow = ['h.x']\n{KEY}{ONE}"), "`[target]` lacks `id_scope`"),
        (format!("[target]\nkind = 'azure'\nid_scope = 'a'\n{KEY}{ONE}"), "add allow = [\"*.azure-devices.net\"]"),
        (format!("[target]\nkind = 'hub'\n{KEY}{ONE}"), "`[target]` lacks `host`"),
        (format!("[target]\nkind = 'hub'\nhost = 'https://a.b'\n{KEY}{ONE}"), "it has a scheme"),
        (format!("{AZURE}{ONE}"), "there is no enrollment"),
        (format!("{AZURE}[enrollment.a]\ngroup_key = 'generated'\n{ONE}"), "a generated key is known to the emulator only"),
        (format!("{AZURE}{KEY}enabled = false\n{ONE}"), "`enabled` configures the emulator"),
        (format!("{HUB}{KEY}{ONE}provision = 'https'\n"), "`provision` has no meaning"),
        (format!("{ONE}provision = 'amqp'\n"), "`amqp` is not supported by this version"),
        (format!("{ONE}connect = 'amqp-ws'\n"), "use \"mqtt\" or \"mqtt-ws\" or \"https\" or \"none\""),
        (format!("{ONE}behave = 'python-sdk'\nconnect = 'https'\n"), "use mqtt or mqtt-ws, or let the devices behave"),
        (format!("{ONE}behave = 'java-sdk'\n"), "use \"muster\" or \"python-sdk\""),
        (format!("{ONE}token = {{ lifetime = '1m', renew_before = '40s' }}\n"), "may be half of `lifetime` at most"),
        (format!("{ONE}token = {{ lifetime = '1s' }}\n"), "5s"),
        (format!("{ONE}clock = {{ ahead = '1s', behind = '2s' }}\n"), "a clock is wrong one way"),
        (format!("{ONE}connect = 'https'\ntwin = {{}}\n"), "`twin` is for devices that are connected over mqtt"),
        (format!("{ONE}connect = 'none'\nc2d = {{}}\n"), "`c2d` has no meaning for devices that do not connect"),
        (format!("{ONE}c2d = {{ settle = 'reject' }}\n"), "write settle = \"complete\", or connect = \"https\""),
        (format!("{ONE}connect = 'mqtt-ws'\nc2d = {{ settle = 'abandon' }}\n"), "a device can only complete a message"),
        (format!("{ONE}c2d = {{ poll_every = '30s' }}\n"), "`poll_every` is for https"),
        (format!("{ONE}connect = 'https'\nc2d = {{ poll_every = '10ms' }}\n"), "use a duration 100ms to"),
        (format!("{ONE}connect = 'https'\nc2d = {{ settle = 'drop' }}\n"), "`drop` is not a value of `settle`"),
        (format!("{AZURE}{KEY}initial_twin = {{ tags = {{ a = 1 }} }}\n{ONE}"), "`initial_twin` configures the emulator"),
        (format!("{KEY}initial_twin = {{ desired = {{ 'a.b' = 1 }} }}\n{ONE}"), "no twin may be so"),
        (format!("{KEY}initial_twin = {{ tags = {{ a = '{0}', b = '{0}', c = '{0}' }} }}\n{ONE}", "x".repeat(3_000)), "the tags would exceed 8 KB"),
        (format!("{KEY}initial_twin = {{ desired = {{ a = [2026-01-01] }} }}\n{ONE}"), "a date, which JSON does not know"),
        (format!("{KEY}initial_twin = {{ desired = {{ a = inf }} }}\n{ONE}"), "which JSON does not know"),
        (format!("{KEY}initial_twin = {{ desired = 5 }}\n{ONE}"), "`desired` is a whole number; it must be a table"),
        (format!("{KEY}initial_twin = {{ reported = {{}} }}\n{ONE}"), "is not a key of"),
        (format!("{KEY}secondary_key = 'stdin'\n{ONE}"), "standard input holds one key"),
        (format!("[enrollment.a]\n{ONE}"), "lacks `group_key` or `individual`"),
        (format!("[enrollment.a]\ngroup_key = 'genrated'\n{ONE}"), "did you mean `group_key = \"generated\"`?"),
        (format!("[enrollment.a]\ngroup_key = {{ env = 'A', file = 'b' }}\n{ONE}"), "both `env` and `file`"),
        (format!("{DEVICE}secondary_key = 'generated'\n{ONE}"), "move it into the braces"),
        (format!("{DEVICE}[fleet.x]\ncount = 2\nstart.rate = '1/s'\n"), "an individual enrollment is for one device"),
        (format!("{DEVICE}[fleet.x]\nid = 'a-{{n}}'\n"), "is the enrollment's registration id"),
        (format!("{DEVICE}[fleet.x]\n[fleet.y]\n"), "the same registration id"),
        (format!("{KEY}[enrollment.b]\ngroup_key = 'generated'\n{ONE}"), "does not say which enrollment"),
        (format!("{KEY}hub = 'north'\n{ONE}"), "only with static allocation"),
        (format!("{KEY}allocation = 'static'\n{ONE}"), "needs the name of a hub"),
        (format!("{KEY}allocation = {{ static = 'hub' }}\nhub = 5\n{ONE}"), "names the hub already"),
        (format!("{ONE}[emulator.dps]\npolls = {{}}\n"), "lacks `uniform`"),
        (format!("{KEY}allocation = {{ static = 'noth' }}\n{ONE}[emulator.hub.north]\n"), "did you mean \"north\"?"),
        ("[fleet.x]\n".to_owned(), "`[fleet.x]` lacks `count`"),
        ("[fleet.x]\ncount = 5\n".to_owned(), "does not say when its devices start"),
        ("[fleet.x]\ncount = 5\nid = 'same'\nstart.rate = '1/s'\n".to_owned(), "would all have the id"),
        ("[fleet.x]\ncount = 5\nstart.rate = '1/s'\nstart.burst = {}\n".to_owned(), "both `rate` and `burst`"),
        ("[fleet.x]\ncount = 5\nstart = {}\n".to_owned(), "lacks `rate`, `ramp`, `staircase`, `poisson`, `burst` or `trace`"),
        ("[fleet.X]\ncount = 1\n".to_owned(), "is not a name for a fleet"),
        (format!("{ONE}deadline.send = '2h'\n"), "at most 1h"),
        (format!("{ONE}[fleet.x.telemetry]\nmessages = 1\n"), "lacks `every` or `fleet_rate`"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\n"), "the run would never end"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '0s'\n"), "nothing says how many"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\njitter = '1001ms'\n"), "use at most \"1s\""),
        (format!("{ONE}connect = 'https'\n[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\nin_flight = 2\n"), "one request at a time"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\nbytes = '1 B'\njson = '1'\n"), "one payload"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\njson = '${{nope}}'\n"), "is not a placeholder"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\nbytes = '1 MiB'\n"), "a hub takes at most 262144"),
        ("[fleet.x]\ncount = 5\nstart.rate = '1/s'\n[fleet.x.telemetry]\nfleet_rate = '1/day'\nmessages = 1\n[fleet.y]\ncount = 1000\nstart.rate = '1/s'\n[fleet.y.telemetry]\nfleet_rate = '1/day'\nmessages = 1\n".to_owned(), "each device would send every 1000d"),
        (format!("{ONE}[thresholds]\nsend.response.p99 = '< 1s'\n"), "a metric is one key, in quotes"),
        (format!("{ONE}[thresholds]\n'failed.share' = {{ limit = '< 1 %', abort = '3s' }}\n"), "did you mean `abort_after`?"),
        (format!("{ONE}[thresholds]\n'failed.share' = {{ abort_after = '3s' }}\n"), "lacks `limit`"),
        (format!("{ONE}[thresholds]\n'time_to_assigned.response.p99' = {{ limit = '< 1s', abort_after = '3s' }}\n"), "known at the end of a run only"),
        (format!("{ONE}[thresholds]\n'connect.service.p99' = {{ limit = '< 1s', abort_after = '3s' }}\n"), "only response times are known"),
        (format!("{ONE}[thresholds]\n'connect.acknowledged.count' = {{ limit = '= 1', abort_after = '3s' }}\n"), "reached at the end at the earliest"),
        (format!("{ONE}[thresholds]\n'failed[y].share' = '< 1 %'\n"), "there is no fleet `y`"),
        (format!("{ONE}[thresholds]\n'failed.share' = 1\n"), "must be a string with a comparison"),
        (format!("{ONE}[emulator.dps]\nretry_after = '1500ms'\n"), "header in whole seconds"),
        (format!("{ONE}[emulator.dps]\nassign = {{ lognormal = {{ median = '2s', p99 = '1s' }} }}\n"), "below the median"),
        (format!("{ONE}[emulator.dps]\npolls = {{ uniform = {{ low = 3, high = 1 }} }}\n"), "`high` is below `low`"),
        (format!("{ONE}[emulator.dps]\npolls_per_window = 3\n"), "`polls_per_window` is not supported by this version"),
        (format!("{ONE}[emulator.dps]\nregistrations = 6000\n"), "a number without a unit"),
        (format!("{ONE}[emulator.dps]\nregistrations = '0/min'\n"), "a rate above 0"),
        (format!("{ONE}[emulator.hub.a]\nunits = 2\n"), "a hub without tier has no limit"),
        (format!("{ONE}[emulator.hub.a]\ntier = 's2'\n"), "`s2` is not a value of `tier`"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S4'\nunits = 2\n"), "\"S3\""),
        (format!("{ONE}[emulator.hub.a]\ntier = 'F1'\nunits = 2\n"), "use units = 1, or another tier"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S3'\nunits = 11\n"), "a hub of tier S3 has at most 10 units"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S1'\nunits = 201\n"), "200"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S1'\nunits = 0\n"), "1"),
        (format!("{ONE}[emulator.hub.a]\nhost = 'h.x'\n[emulator.hub.b]\nhost = 'H.x'\n"), "the same host name"),
        ("duration = '1m'\n[measure]\nsends_from = '1m'\n[fleet.x]\ncount = 1\n".to_owned(), "nothing is measured"),
        ("[flet.x]\ncount = 5\n".to_owned(), "did you mean `fleet`?"),
        ("[fleet.x]\ncuont = 5\nstrat.rate = '1/s'\n".to_owned(), "did you mean `start`?"),
        ("[fleet]\n".to_owned(), "there is no fleet"),
        (format!("{ONE}[fleet.x.telemetry]\nevry = '2s'\nmesages = 2\n"), "did you mean `every`?"),
        (format!("[taget]\nkind = 'azure'\n[enrollment.a]\ngroup_key = 'generated'\n{ONE}"), "did you mean `target`?"),
        ("fleet = 5\n".to_owned(), "`fleet` is a whole number; it must be a table"),
        ("target = 5\n[fleet.x]\ncount = 1\n".to_owned(), "`target` is a whole number; it must be a table"),
    ] {
        let told = told(&format!("version = 1\n{tables}"));
        assert!(told.contains(expected), "{tables}\n{told}");
        // One mistake, one complaint.
        let mistakes = 1 + usize::from(["mesages", "strat."].iter().any(|second| tables.contains(second)));
        assert!(told.contains(&format!(": {mistakes} error")), "{tables}\n{told}");
    }
}

#[test]
fn a_list_that_many_fleets_name_is_read_once_and_told_as_shared() {
    let fleets: String = (0..100)
        .map(|n| format!("[fleet.f{n}]\nids = '{}g.csv'\nstart.rate = '1/s'\n", "./".repeat(n % 9)))
        .collect();
    let rows: String = (0..20_000).map(|n| format!("g-{n}\n")).collect();
    let text = format!("version = 1\n[enrollment.p]\ngroup_key = 'generated'\n{fleets}");
    let told = plan_with_files(&text, &[("g.csv", &format!("registration_id\n{rows}"))]).expect_err("shared");
    assert!(told.contains("the same registration id, `g-0`") && told.contains(": 10 errors"), "{told}");
}

#[test]
fn ids_that_several_lists_have_are_told_for_each_list() {
    let text = "version = 1\n[enrollment.p]\ngroup_key = 'generated'\n[fleet.a]\nids = 'a.csv'\nstart.rate = '1/s'\n\
                [fleet.b]\nids = 'b.csv'\nstart.rate = '1/s'\n[fleet.c]\nids = 'c.csv'\nstart.rate = '1/s'\n";
    let list = |ids: &str| format!("registration_id\n{ids}");
    let files = [("a.csv", &*list("x\ny\n")), ("b.csv", &list("Y\nz\n")), ("c.csv", &list("w\nZ\n"))];
    let told = plan_with_files(text, &files).expect_err("shared");
    assert!(told.contains("id, `Y`") && told.contains("id, `Z`") && told.contains(": 2 errors"), "{told}");
    let files = [("a.csv", &*list("x\ny\n")), ("b.csv", &list("v\nz\n")), ("c.csv", &list("w\nu\n"))];
    assert!(plan_with_files(text, &files).is_ok());
}

#[test]
fn mistakes_in_lists_are_told_at_the_place_that_names_them() {
    const LISTED: &str = "version = 1\n[enrollment.g]\nindividual = 'g.csv'\n[fleet.x]\nstart.rate = '1/s'\n";
    let ids = "registration_id\na\nb\n";
    let told = |text: &str, csv: &str| plan_with_files(text, &[("g.csv", csv)]).expect_err("a mistake");
    insta::assert_snapshot!("bad_list", told(LISTED, "registration_id,key\na b,x\nok\ngw-1,short\n"));
    for (tables, expected) in [
        (LISTED.replace("start.rate = '1/s'\n", ""), "does not say when its devices start"),
        (format!("{LISTED}count = 3\n"), "the list has 2 devices"),
        (format!("{LISTED}id = 'x-{{n}}'\n"), "those of the enrollment's list"),
        (format!("{LISTED}ids = 'g.csv'\n"), "those of the enrollment's list"),
        (format!("{LISTED}sign_with = 'secondary'\n"), "no secondary key"),
        (LISTED.replace("g.csv", "none.csv"), "cannot read the list of devices none.csv"),
        (format!("{LISTED}[fleet.y]\nstart.rate = '1/s'\n"), "the same registration id, `a`"),
        (
            format!("{LISTED}enrollment = 'g'\n[enrollment.p]\ngroup_key = 'generated'\n[fleet.y]\nenrollment = 'p'\nid = 'B'\ncount = 1\n"),
            "the same registration id, `b`",
        ),
        (
            "version = 1\n[fleet.x]\nid = 's-{n:03}'\ncount = 10\nstart.rate = '1/s'\n[fleet.y]\nid = 's-{n+9:03}'\ncount = 10\nstart.rate = '1/s'\n".to_owned(),
            "the same registration id, `s-009`",
        ),
        ("version = 1\n[fleet.x]\nid = 'a-{n}'\nids = 'g.csv'\nstart.rate = '1/s'\n".to_owned(), "both `id` and `ids`"),
        ("version = 1\n[fleet.x]\ncount = 5\nstart.trace = 'g.csv'\n".to_owned(), "`a` is not an instant"),
        (
            LISTED.replace("[fleet", "[target]\nkind = 'azure'\nid_scope = 'a'\nallow = ['*.azure-devices.net']\n[fleet"),
            "the list has no column `key`",
        ),
    ] {
        let told = told(&tables, ids);
        assert!(told.contains(expected), "{tables}\n{told}");
        assert!(told.contains(": 1 error"), "{tables}\n{told}");
    }
    let trace = "version = 1\n[fleet.x]\ncount = 3\nstart.trace = 'g.csv'\n";
    assert!(told(trace, "1\n2\n").contains("the list of starts has 2 instants"));
}
