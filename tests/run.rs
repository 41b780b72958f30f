//! `muster run` as a whole program, against the emulator's process.

mod common;

use common::stub::{Stub, json};
use common::{GROUP_KEY, Place, SMALL, acknowledged, books_agree, repository, step};

#[test]
fn a_healthy_run_passes_with_the_summary_and_nothing_else_on_standard_output() {
    let place = Place::new();
    let scenario = place.write("small.toml", SMALL);
    let ran = place.run(&[&scenario]);
    // On a machine that is busy with other tests, the generator may be late; nothing else may be wrong.
    let verdict = if ran.passes().code == Some(0) { "PASS" } else { "VOID" };
    let (folder, result) = &ran.results[0];
    assert!(ran.stdout.starts_with(&format!("{verdict}  small, ")), "{}", ran.stdout);
    assert!(ran.stdout.ends_with(&format!("Files: results/{folder}\n")), "{}", ran.stdout);
    ran.shows(&[
        "20 devices · 20 assigned · 60 of 60 messages acknowledged",
        "✓ failed.share = 0 % observed 0 %",
        "✓ the emulator counted the same: 20 assigned, 60 messages accepted",
        "✓ 60 messages reconciled one by one: 0 lost, 0 phantom, 0 counted twice",
    ]);
    assert!(!ran.stdout.contains("registered ·"), "progress belongs to standard error: {}", ran.stdout);
    assert!(ran.stderr.contains("20/20 registered"), "{}", ran.stderr);
    for line in ran.stdout.lines().chain(ran.stderr.lines()) {
        assert!(!line.chars().any(char::is_control), "plain lines: {line:?}");
        assert!(line.chars().count() <= 100, "at most 100 columns: {line}");
    }
    assert_eq!(result["judgement"]["exit_code"], ran.code.expect("it ended by itself"));
}

#[test]
fn a_result_is_of_its_schema_and_adds_up_and_agrees_with_the_emulator() {
    let place = Place::new();
    let scenario = place.write("small.toml", SMALL);
    let ran = place.run(&[&scenario, "--threads", "2"]);
    let result = ran.passes().result();
    let schema = std::fs::read_to_string(repository("src/result/result.schema.json")).expect("the schema");
    let schema = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<_> = validator.iter_errors(result).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(
        !validator.is_valid(&serde_json::json!({ "format": "muster-result" })),
        "the schema tells nothing"
    );

    books_agree(result);
    assert_eq!(result["facts"]["threads"], 2);
    // The machine was watched beside the load, and what that cost is told.
    let noise = &result["facts"]["generator"]["noise"];
    assert!(noise["wakes"].as_u64() > Some(0) && noise["cpu_ns"].as_u64() > Some(0), "{noise}");
    assert!(result["facts"]["pace"]["worst_due"].as_u64() > Some(0), "{}", result["facts"]["pace"]);
    for (kind, count) in [("register", 20), ("connect", 20), ("send", 60)] {
        assert_eq!(acknowledged(result, kind), count, "{kind}");
        assert_eq!(step(result, kind)["all"]["due"], count, "{kind}");
    }
    let totals = &result["facts"]["ledger"]["totals"];
    assert_eq!(totals["mqtt.dps.register 200"], 20, "{totals}");
    assert_eq!(totals["mqtt.hub.send 204"], 60, "{totals}");
}

#[test]
fn a_device_that_is_told_to_wait_polls_until_it_is_assigned() {
    let place = Place::new();
    let text = SMALL.replace("assign = \"0s\"", "assign = \"10ms\"\nretry_after = \"1s\"\npolls = 1");
    let scenario = place.write("polls.toml", &text);
    let ran = place.run(&[&scenario]);
    let result = ran.passes().result();
    books_agree(result);
    let totals = &result["facts"]["ledger"]["totals"];
    assert_eq!(totals["mqtt.dps.register 202"], 20, "{totals}");
    assert_eq!(totals["mqtt.dps.poll 202"], 20, "{totals}");
    assert_eq!(totals["mqtt.dps.poll 200"], 20, "{totals}");
    // Two waits of a second, which are obeyed to the letter.
    let fastest = step(result, "register")["response"]["min_ns"].as_u64().expect("a time");
    assert!(fastest >= 2_000_000_000, "{fastest} ns");
}

#[test]
fn runs_of_one_second_get_folders_of_their_own_and_nothing_is_overwritten() {
    let place = Place::new();
    let scenario = place.write("small.toml", SMALL);
    let arguments = [scenario.as_str(), "--set", "fleet.devices.count=2", "--quiet", "-o", "runs"];
    let ran: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| place.run(&arguments))).collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    ran.iter().for_each(|ran| {
        ran.passes();
    });
    let names: Vec<_> = place.results("runs").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in &names {
        let time = name.strip_prefix("small-").expect("the scenario's name");
        let (time, suffix) = time.split_once('-').unwrap_or((time, ""));
        let digits = time.replace(['T', 'Z'], "");
        assert!(digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
        assert!(suffix.is_empty() || suffix.parse::<u32>().is_ok_and(|n| n >= 2), "{name}");
    }
}

#[test]
fn several_scenarios_run_one_after_another_and_the_worst_code_wins() {
    let place = Place::new();
    let good = place.write("good.toml", SMALL);
    let crossed = place.write("crossed.toml", &SMALL.replace("\"= 0 %\"", "\"> 50 %\""));
    let ran = place.run(&[&good, &crossed, "--set", "fleet.devices.count=3"]);
    // 97 of a starved machine is the worse of the two.
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    assert_eq!(ran.results.len(), 2, "{ran:?}");
    ran.shows(&["good, ", "crossed, "]);

    let ran = place.run(&[&crossed, "no-such-file.toml", &good, "--quiet", "--set", "fleet.devices.count=3"]);
    ran.ends_with(2).tells(&["no-such-file.toml"]).shows(&["crossed, ", "good, "]);
}

#[test]
fn a_crossed_threshold_ends_with_99_and_is_marked() {
    let place = Place::new();
    let scenario = place.write(
        "small.toml",
        &SMALL.replace(
            "\"failed.share\" = \"= 0 %\"",
            "\"failed.share\" = \"= 0 %\"\n\"send.acknowledged.count\" = \"= 61\"\n\"connect.response.max\" = \"< 1ns\"",
        ),
    );
    let ran = place.run(&[&scenario]);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    ran.shows(&[
        "✓ failed.share = 0 % observed 0 %",
        "✗ send.acknowledged.count = 61 observed 60",
        "✗ connect.response.max < 1ns observed",
        "2 thresholds were crossed.",
    ]);
    if ran.code == Some(99) {
        assert!(ran.stdout.starts_with("THRESHOLD CROSSED"), "{}", ran.stdout);
    }
}

#[test]
fn two_mistakes_of_a_scenario_are_told_together_and_end_with_2() {
    let place = Place::new();
    let text = SMALL.replace("start.rate = \"40/s\"", "start.rate = \"40\"").replace("messages", "mesages");
    let scenario = place.write("wrong.toml", &text);
    let ran = place.run(&[&scenario]);
    ran.ends_with(2).tells(&["wrong.toml:8:", "40", "wrong.toml:12:", "mesages", "messages"]);
    assert_eq!(ran.stdout, "");
    assert!(!place.path().join("results").exists(), "a run that never was leaves nothing");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let place = Place::new();
    for arguments in [&["run"][..], &["run", "--threads", "0", "a.toml"], &["fly"], &["run", "--key", "x"]] {
        place.finish(place.muster(arguments)).ends_with(2);
    }
}

#[test]
fn set_changes_a_key_for_one_run() {
    let place = Place::new();
    let scenario = place.write("small.toml", SMALL);
    let ran = place.run(&[
        &scenario,
        "--set",
        "fleet.devices.count=5",
        "--set",
        "fleet.devices.telemetry.messages=2",
        "--set",
        "thresholds.\"send.acknowledged.count\"=\"= 10\"",
        "--quiet",
    ]);
    let result = ran.passes().result();
    assert_eq!((acknowledged(result, "register"), acknowledged(result, "send")), (5, 10));
    let thresholds = result["judgement"]["thresholds"].as_array().expect("thresholds");
    assert!(thresholds.iter().all(|threshold| threshold["holds"] == true), "{thresholds:?}");

    place.run(&[&scenario, "--set", "fleet.devices.cuont=5"]).ends_with(2).tells(&["cuont", "count"]);
}

/// What two runs of one seed have in common.
fn drawn(result: &serde_json::Value) -> serde_json::Value {
    let totals = &result["facts"]["ledger"]["totals"];
    let names = ["hub east devices", "hub west devices", "hub east messages", "hub west messages"];
    let totals: Vec<_> = names.iter().map(|name| totals[*name].clone()).collect();
    serde_json::json!({ "totals": totals, "bytes": result["total"]["bytes_sent"], "seed": result["facts"]["seed"] })
}

const TWO_HUBS: &str = r#"
version = 1
drain = "5s"

[fleet.devices]
count = 40
start.burst = {}

[fleet.devices.telemetry]
every = "50ms"
messages = 2
json = '{"at":"${now}","n":[${uniform(0, 100000, 0)},${uniform(0, 100, 0)},${uniform(0, 20, 0)}],"id":"${device_id}"}'

[emulator]
allocation = "hashed"
[emulator.dps]
assign = "0s"
[emulator.hub]
east = {}
west = {}
"#;

#[test]
fn one_seed_gives_the_same_devices_hubs_and_payloads_on_any_number_of_threads() {
    let place = Place::new();
    let scenario = place.write("two-hubs.toml", TWO_HUBS);
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let _ = std::fs::remove_dir_all(place.path().join("results"));
        let ran = place.run_with(&[&[scenario.as_str(), "--quiet"], arguments].concat(), variables);
        books_agree(ran.passes().result());
        drawn(ran.result())
    };
    let first = run(&["--seed", "11", "--threads", "1"], &[]);
    assert_eq!(first["seed"], 11);
    assert_eq!(run(&["--seed", "11", "--threads", "2"], &[]), first);
    assert_eq!(run(&[], &[("MUSTER_SEED", "11")]), first, "the variable means the same as the flag");
    assert_eq!(run(&["--seed", "11"], &[("MUSTER_SEED", "12")]), first, "the flag goes before the variable");
    assert_ne!(run(&["--seed", "13"], &[])["bytes"], first["bytes"], "another seed draws other payloads");
    let on = |at: usize| first["totals"][at].as_u64().expect("a count");
    assert_eq!((on(0) + on(1), on(2) + on(3)), (40, 80));
    assert!(on(0) > 0 && on(1) > 0, "both hubs have devices: {first}");
}

#[test]
fn the_ids_of_devices_do_not_change_from_run_to_run_unless_the_scenario_wants_them_to() {
    let place = Place::new();
    let stub =
        Stub::https(|_, _| json("404 Not Found", "", "{\"errorCode\":404201,\"message\":\"Not found\"}"));
    place.write("ca.pem", &stub.ca_pem);
    let text = format!(
        "version = 1\nseed = 7\n[target]\nkind = \"azure\"\ndps = \"localhost:{}\"\nid_scope = \"0ne1\"\n\
         ca_file = \"ca.pem\"\n[enrollment.plant]\ngroup_key = {{ env = \"GROUP_KEY\" }}\n\
         [fleet.sensors]\ncount = 4\nprovision = \"https\"\nconnect = \"https\"\nstart.burst = {{}}\n",
        stub.port
    );
    let scenario = place.write("ids.toml", &text);
    let mut seen = 0;
    let mut run = |extra: &[&str]| {
        place.run_with(&[&[scenario.as_str()], extra].concat(), &[("GROUP_KEY", GROUP_KEY)]);
        let all = stub.requests();
        let mut paths: Vec<_> =
            all[seen..].iter().map(|head| head.split(' ').nth(1).unwrap_or_default().to_owned()).collect();
        seen = all.len();
        paths.sort();
        paths
    };
    let first = run(&[]);
    let expected: Vec<_> = (0..4)
        .map(|n| format!("/0ne1/registrations/sensors-{n:05}/register?api-version=2019-03-31"))
        .collect();
    assert_eq!(first, expected);
    assert_eq!(run(&["--threads", "2"]), expected);
    let fresh = "fleet.sensors.id=\"s-{run}-{n}\"";
    let (one, other) = (run(&["--set", fresh]), run(&["--set", fresh]));
    assert_eq!((one.len(), other.len()), (4, 4));
    assert!(one.iter().all(|path| !other.contains(path)), "{one:?} {other:?}");
}

#[test]
fn messages_reach_the_hub_with_their_properties_and_each_kind_with_its_own() {
    let place = Place::new();
    let stub = Stub::https(|_, _| b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    place.write("ca.pem", &stub.ca_pem);
    place.write("alarm.csv", "a;b\n");
    let text = format!(
        r#"
version = 1
seed = 7
drain = "5s"
[target]
kind = "hub"
host = "localhost:{}"
ca_file = "ca.pem"
[enrollment.plant]
group_key = {{ env = "GROUP_KEY" }}
[fleet.sensors]
count = 2
connect = "https"
start.burst = {{}}
[fleet.sensors.telemetry]
every = "20ms"
messages = 20
[[fleet.sensors.telemetry.payload]]
weight = 3
json = '{{"seq":${{seq}}}}'
properties = {{ Level = "normal", batch = "b-${{seq}}" }}
[[fleet.sensors.telemetry.payload]]
file = "alarm.csv"
content_encoding = "us-ascii"
message_id = "${{device_id}}:${{seq}}"
"#,
        stub.port
    );
    let scenario = place.write("payloads.toml", &text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    assert_eq!(acknowledged(ran.passes().result(), "send"), 40);
    let header = |head: &str, name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map_or("-".to_owned(), |(_, value)| value.to_owned())
    };
    let mut kinds = [0; 2];
    for head in stub.requests() {
        let told = ["content-type", "iothub-contenttype", "iothub-contentencoding", "iothub-app-level"]
            .map(|name| header(&head, name));
        let (id, batch) = (header(&head, "iothub-messageid"), header(&head, "iothub-app-batch"));
        if told == ["application/json", "application/json", "utf-8", "normal"] {
            assert_eq!(batch.strip_prefix("b-"), id.split_once('-').map(|(_, sequence)| sequence), "{head}");
            kinds[0] += 1;
        } else {
            assert_eq!(told, ["text/csv", "text/csv", "us-ascii", "-"], "{head}");
            assert!(id.starts_with("sensors-0000") && id.contains(':'), "{id}");
            kinds[1] += 1;
        }
    }
    assert!(kinds[0] > kinds[1] && kinds[1] > 0, "{kinds:?}");
}

#[test]
fn quiet_prints_the_verdict_only() {
    let place = Place::new();
    let scenario = place.write("small.toml", SMALL);
    let ran = place.run(&[&scenario, "--quiet"]);
    ran.passes().shows(&["20 devices · 20 assigned · 60 of 60 messages acknowledged"]);
    if ran.code == Some(0) {
        assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
}

#[test]
fn without_progress_standard_error_is_silent() {
    let place = Place::new();
    let scenario = place.write("small.toml", SMALL);
    let ran = place.run(&[&scenario, "--no-progress"]);
    assert_eq!(ran.passes().stderr, "");
}

#[test]
fn no_color_is_obeyed_on_a_terminal() {
    let script = std::path::Path::new("/usr/bin/script");
    if !script.exists() {
        println!("skipped: there is no /usr/bin/script to make a terminal with");
        return;
    }
    let place = Place::new();
    place.write("small.toml", &SMALL.replace("count = 20", "count = 2"));
    let run = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(script);
        let muster = format!("{} run small.toml", env!("CARGO_BIN_EXE_muster"));
        command.args(["-qec", &muster, "typescript"]).current_dir(place.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TERM", "xterm");
        command.envs(variables.iter().copied());
        let output = assert_cmd::Command::from_std(command).timeout(common::PATIENCE).output();
        let output = output.expect("script starts");
        assert!(matches!(output.status.code(), Some(0 | 97)), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The bar moves the cursor; colours are the sequences that end with `m`.
    let is_coloured = |text: &str| {
        text.split("\x1b[").skip(1).any(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';');
            end.is_some_and(|end| rest[end..].starts_with('m') && end > 0)
        })
    };
    let (coloured, plain) = (run(&[]), run(&[("NO_COLOR", "1")]));
    assert!(is_coloured(&coloured), "{coloured:?}");
    assert!(!is_coloured(&plain), "{plain:?}");
}

#[test]
fn help_tells_commands_flags_and_exit_codes() {
    let place = Place::new();
    let ran = place.finish(place.muster(&["--help"]));
    ran.ends_with(0).shows(&["run", "emulate", "97 void", "99 a threshold was crossed", "130 interrupted"]);
    assert!(!ran.stdout.contains("emulator-process"), "that command is for the program itself");
    let ran = place.finish(place.muster(&["run", "--help"]));
    ran.ends_with(0).shows(&["--set", "--seed", "--threads", "--yes", "--no-progress", "MUSTER_SEED"]);
    let ran = place.finish(place.muster(&["--version"]));
    assert_eq!(ran.ends_with(0).stdout, format!("muster {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn groups_and_individuals_and_static_allocation_share_a_run() {
    let place = Place::new();
    let text = r#"
version = 1
drain = "5s"
duration = "1s"
[enrollment.plant]
group_key = { env = "GROUP_KEY" }
secondary_key = "generated"
allocation = { static = "south" }
[enrollment.gateway]
individual = { registration_id = "gateway-1", device_id = "gate-A", key = "generated" }
allocation = "static"
hub = "north"
[fleet.sensors]
count = 6
enrollment = "plant"
start.rate = "50/s"
telemetry = { every = "200ms" }
[fleet.gateway]
enrollment = "gateway"
telemetry = { every = "100ms", messages = 4, bytes = "2 KiB" }
[emulator]
id_scope = "0ne0000ABCD"
[emulator.dps]
assign = "0s"
[emulator.hub]
north = {}
south = { weight = 3 }
"#;
    let scenario = place.write("mixed.toml", text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    let result = ran.passes().result();
    books_agree(result);
    let totals = &result["facts"]["ledger"]["totals"];
    assert_eq!((&totals["hub south devices"], &totals["hub north devices"]), (&6.into(), &1.into()));
    assert_eq!(totals["hub north messages"], 4);
    ran.shows(&["sensors", "gateway", "all"]);
}

#[test]
fn continuous_telemetry_lasts_until_the_end_of_the_run_and_is_drained() {
    let place = Place::new();
    let text = SMALL
        .replace("messages = 3", "")
        .replace("drain = \"5s\"", "drain = \"5s\"\nduration = \"2s\"")
        .replace("start.rate = \"40/s\"", "start.burst = {}");
    let scenario = place.write("steady.toml", &text);
    let ran = place.run(&[&scenario]);
    let result = ran.passes().result();
    books_agree(result);
    // 20 devices, 10 messages/s each, for 2 s less the time to connect.
    let messages = acknowledged(result, "send");
    assert!((200..=400).contains(&messages), "{messages}");
    let lasted = result["facts"]["duration_ns"].as_u64().expect("a time");
    assert!((1_500_000_000..20_000_000_000).contains(&lasted), "{lasted} ns");
}

#[test]
fn devices_may_do_nothing_but_connect_and_are_held_until_the_end() {
    let place = Place::new();
    let text = r#"
version = 1
duration = "1500ms"
[fleet.idle]
count = 10
start.burst = {}
[emulator.dps]
assign = "0s"
"#;
    let scenario = place.write("idle.toml", text);
    let ran = place.run(&[&scenario]);
    let result = ran.passes().result();
    books_agree(result);
    assert_eq!((acknowledged(result, "connect"), acknowledged(result, "send")), (10, 0));
    assert_eq!(result["facts"]["generator"]["peak_connected"], 10);
}

#[test]
fn the_scenarios_that_come_with_the_program_are_right() {
    let place = Place::new();
    let smoke = repository("scenarios/ci-smoke.toml");
    let ran = place.run(&[smoke.to_str().expect("a plain path"), "--no-progress"]);
    let result = ran.passes().result();
    books_agree(result);
    assert_eq!(acknowledged(result, "send"), 150);
    // The long one, made short.
    let first = repository("scenarios/first-run.toml");
    let small = [
        "--set",
        "fleet.devices.count=10",
        "--set",
        "fleet.devices.telemetry.every=100ms",
        "--set",
        "emulator.dps.assign=0s",
    ];
    let _ = std::fs::remove_dir_all(place.path().join("results"));
    let ran = place.run(&[&[first.to_str().expect("a plain path"), "--no-progress"], &small[..]].concat());
    assert_eq!(acknowledged(ran.passes().result(), "send"), 50);
}

#[test]
fn devices_of_a_list_register_with_keys_of_their_own() {
    let place = Place::new();
    let rows: String = (0..40)
        .map(|n| {
            format!(
                "gateway-{n:02},{},{}\n",
                common::GROUP_KEY,
                if n % 2 == 0 { format!("roof({n})") } else { String::new() }
            )
        })
        .collect();
    place.write("gateways.csv", &format!("registration_id,key,device_id\n{rows}"));
    place.write(
        "serials.csv",
        &(0..20).fold("registration_id,site\n".to_owned(), |text, n| text + &format!("serial.{n}x,north\n")),
    );
    let scenario = place.write(
        "listed.toml",
        "version = 1\ndrain = \"2s\"\n[enrollment.gateways]\nindividual = \"gateways.csv\"\n[enrollment.plant]\n\
         group_key = \"generated\"\nsecondary_key = \"generated\"\n\
         [fleet.gateways]\nenrollment = \"gateways\"\nstart.poisson = \"200/s\"\n[fleet.gateways.telemetry]\nevery = \"50ms\"\nmessages = 2\n\
         [fleet.serials]\nenrollment = \"plant\"\nids = \"serials.csv\"\nsign_with = \"secondary\"\nstart.burst = {}\n\
         [fleet.serials.telemetry]\non_change = { every = \"50ms\", messages = 2 }\nmessages = 3\n\
         [emulator.dps]\nretry_after = \"1s\"\nassign = \"10ms\"\n[thresholds]\n\"failed.share\" = \"= 0 %\"\n",
    );
    let refused = place.run(&[&scenario]);
    assert!(refused.stderr.contains("chmod 600 gateways.csv"), "{refused:?}");
    refused.ends_with(2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(place.path().join("gateways.csv"), private).expect("a mode");
    }
    let ran = place.run(&[&scenario]);
    ran.passes();
    assert!(ran.stdout.contains("60 assigned") && ran.stdout.contains("140 of 140"), "{ran:?}");
}

#[test]
fn a_threshold_with_abort_after_ends_the_run_and_says_so() {
    let place = Place::new();
    let scenario = place.write(
        "hopeless.toml",
        "version = 1\ndrain = \"2s\"\n[enrollment.plant]\ngroup_key = \"generated\"\nenabled = false\n\
         [fleet.devices]\ncount = 600\nstart.rate = \"10/s\"\n\
         [thresholds]\n\"failed.share\" = { limit = \"< 5 %\", abort_after = \"2s\" }\n",
    );
    let ran = place.run(&[&scenario]);
    let result = ran.result();
    assert_eq!(result["facts"]["ended"], "aborted", "{ran:?}");
    let seconds = result["facts"]["duration_ns"].as_u64().expect("a duration") / 1_000_000_000;
    assert!(seconds < 40, "it would have taken a minute: {seconds} s");
    assert!(ran.stdout.contains("Ended early by the threshold `failed.share < 5 %`"), "{}", ran.stdout);
    if ran.code != Some(97) {
        ran.ends_with(99);
    }
}
