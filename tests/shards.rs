//! Shards, merging and runs in several processes, as a whole program.

mod common;

use common::{GROUP_KEY, Place, Ran, Running, acknowledged, books_agree, children_of, eventually, is_alive};
use serde_json::Value;

/// 41 devices, assigned at once, three messages each: less than two seconds.
const SMALL: &str = r#"
version = 1
seed = 7
drain = "5s"

[fleet.devices]
count = 41
id = "d-{n}-{run}"
start.rate = "40/s"

[fleet.devices.telemetry]
every = "100ms"
messages = 3

[thresholds]
"failed.share" = "= 0 %"
"send.acknowledged.count" = "= 123"

[emulator.dps]
assign = "0s"
"#;

/// Lateness of a busy machine is let through, and nothing else.
fn passes(ran: &Ran) -> &Ran {
    assert!(matches!(ran.code, Some(0 | 97)), "{ran:?}");
    ran
}

fn without_run(text: &str) -> String {
    text.replace("-{run}", "")
}

#[test]
fn shards_started_by_hand_merge_into_a_result_that_is_judged_and_shown() {
    let place = Place::new();
    let scenario = place.write("small.toml", &without_run(SMALL));
    for index in ["0", "1", "2"] {
        let shard = format!("{index}/3");
        let folder = format!("shards/{index}");
        let ran = place.run(&[&scenario, "--shard", &shard, "-o", &folder, "--quiet"]);
        passes(&ran);
        assert!(ran.stdout.starts_with("PART  small") || ran.code == Some(97), "{}", ran.stdout);
        let (_, result) = &place.results(&folder)[0];
        books_agree(result);
        assert_eq!(acknowledged(result, "register"), if index == "2" { 13 } else { 14 });
        assert_eq!(result["judgement"]["thresholds"].as_array().map(Vec::len), Some(0), "a part judges none");
        assert_eq!(
            (result["version"].as_u64(), result["facts"]["shard"]["count"].as_u64()),
            (Some(3), Some(3))
        );
    }
    let folder = |index: u32| {
        let folder = format!("shards/{index}");
        let (name, _) = place.results(&folder).remove(0);
        format!("{folder}/{name}")
    };
    let (zero, one, two) = (folder(0), folder(1), folder(2));
    let merge = |arguments: &[&str]| {
        let mut command = place.muster(&["merge"]);
        command.args(arguments);
        place.finish(command)
    };
    let merged = merge(&[&two, &zero, &one, "-o", "results"]);
    passes(&merged);
    merged.shows(&[
        "41 devices · 41 assigned · 123 of 123 messages acknowledged",
        "✓ send.acknowledged.count = 123 observed 123",
        "Over shards",
        "3 of 3 shards; they began within",
        "by the clock of the machine that they share",
        "the emulator counted the same: 41 assigned, 123 messages accepted",
    ]);
    books_agree(merged.result());
    assert_eq!(merged.result()["merged"]["shards"].as_array().map(Vec::len), Some(3));
    // It is a result like any other.
    let name = format!("results/{}", merged.results[0].0);
    for format in ["text", "json", "csv", "markdown"] {
        place.finish(place.muster(&["report", &name, "--format", format])).ends_with(0);
    }
    place.finish(place.muster(&["list"])).ends_with(0).shows(&["41 123"]);
    assert!(place.path().join(&name).join("timeline.csv").is_file());

    merge(&[&zero, &two]).ends_with(2).tells(&["shard 1 of 3 are missing", "--allow-missing"]);
    merge(&[&zero, &two, "--allow-missing", "-o", "part"])
        .ends_with(97)
        .shows(&["VOID", "Shard 1 is missing"]);
    merge(&[&zero, &zero, &one]).ends_with(2).tells(&["both shard 0/3"]);
    merge(&[&zero, &name]).ends_with(2).tells(&["was merged already"]);
    merge(&["nowhere"]).ends_with(2).tells(&["nowhere", "check the path"]);
}

#[test]
fn a_shard_is_named_by_the_environment_only_where_that_is_asked_for() {
    let place = Place::new();
    let scenario = place.write("small.toml", &without_run(SMALL));
    let check = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.muster(&["check", &scenario, "--json"]);
        command.args(arguments).envs(variables.iter().copied());
        let ran = place.finish(command);
        serde_json::from_str::<Value>(&ran.stdout).unwrap_or(Value::String(ran.stderr))
    };
    let job = [("JOB_COMPLETION_INDEX", "1")];
    assert_eq!(check(&[], &job)["shard"], Value::Null);
    let part = &check(&["--shards", "4"], &job)["shard"];
    assert_eq!((part["index"].as_u64(), part["load"]["devices"].as_u64()), (Some(1), Some(10)));
    let array =
        [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "3"), ("SLURM_ARRAY_TASK_MIN", "1")];
    assert_eq!(check(&["--shard", "auto"], &array)["shard"]["index"], 2);
    assert!(check(&["--shard", "auto"], &[]).as_str().is_some_and(|told| told.contains("--shard I/N")));
    place.finish(place.muster(&["check", &scenario, "--shard", "2/4"])).ends_with(0).shows(&[
        "Shard 2/4, counted from 0: its part of that",
        "10 (10 devices): every device whose number leaves 2 when divided by 4",
    ]);
}

#[test]
fn what_all_shards_must_share_is_asked_for() {
    let place = Place::new();
    let seedless = place.write("seedless.toml", &without_run(SMALL).replace("seed = 7\n", ""));
    place.run(&[&seedless, "--shard", "0/2"]).ends_with(2).tells(&["need one seed"]);
    let scenario = place.write("small.toml", SMALL);
    place.run(&[&scenario, "--shard", "0/2"]).ends_with(2).tells(&["--run-id", "--start-at"]);
    place.run(&[&scenario, "--shard", "2/2"]).ends_with(2).tells(&["the last is 1/2"]);
    place.run(&[&scenario, "--start-at", "2026-01-31T12:00:00Z"]).ends_with(2).tells(&["is in the past"]);
    place
        .run(&[&scenario, "--shard", "0/2", "--processes", "2"])
        .ends_with(2)
        .tells(&["cannot be used with"]);
    assert!(!place.path().join("results").exists(), "a run that never was leaves nothing");
}

#[test]
fn a_start_is_waited_for_and_told_and_an_interrupt_ends_the_wait() {
    let place = Place::new();
    let scenario = place.write("small.toml", &without_run(SMALL));
    let ran = place.run(&[&scenario, "--start-at", "in 3s", "--set", "fleet.devices.count=1"]);
    ran.tells(&["prepared; starts in"]);
    let mut command = place.muster(&["run", &scenario, "--start-at", "in 10m", "-o", "waiting"]);
    command.stderr(std::fs::File::create(place.path().join("err")).expect("writable"));
    command.stdout(std::process::Stdio::null());
    let mut running = Running::start(&mut command);
    eventually("it waits", || {
        let told = std::fs::read_to_string(place.path().join("err")).expect("a file");
        told.contains("prepared; starts in").then_some(())
    });
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.end().code(), Some(130));
    let (_, result) = &place.results("waiting")[0];
    assert_eq!(
        (result["facts"]["ended"].as_str(), result["total"]["started"].as_u64()),
        (Some("interrupted"), Some(0))
    );
}

#[test]
fn processes_make_one_result_with_those_of_the_shards_inside_and_one_summary() {
    let place = Place::new();
    let scenario = place.write("small.toml", SMALL);
    let ran = place.run(&[&scenario, "--processes", "3"]);
    passes(&ran);
    ran.shows(&[
        "41 devices · 41 assigned · 123 of 123 messages acknowledged",
        "3 of 3 shards",
        "observed 123",
    ]);
    ran.tells(&["41/41 registered"]);
    let (name, result) = &ran.results[0];
    books_agree(result);
    assert_eq!(result["merged"]["offset_ns"], 0, "they began at one instant");
    let folder = format!("results/{name}");
    let shards = place.results(&folder);
    assert_eq!(
        shards.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["shard-0", "shard-1", "shard-2"]
    );
    assert!(shards.iter().all(|(_, shard)| shard["facts"]["run_id"] == result["facts"]["run_id"]));
    for file in ["timeline.csv", "latency.hlog", "percentiles.csv", "failures.csv"] {
        assert!(place.path().join(&folder).join(file).is_file(), "{file}");
    }
    // They can be merged again.
    let paths: Vec<String> = shards.iter().map(|(name, _)| format!("{folder}/{name}")).collect();
    let mut command = place.muster(&["merge", "-o", "again", "--quiet"]);
    command.args(&paths);
    let again = place.finish(command);
    assert_eq!(again.code, ran.code);
    let (_, again) = &place.results("again")[0];
    for part in ["populations", "total", "timeline", "merged", "headline"] {
        assert!(again[part] == result[part], "{part}");
    }
}

#[test]
fn a_key_from_standard_input_reaches_every_process_and_no_argument() {
    let place = Place::new();
    let text = format!("{SMALL}\n[enrollment.plant]\ngroup_key = \"stdin\"\n");
    let scenario = place.write("small.toml", &text.replace("every = \"100ms\"", "every = \"400ms\""));
    place.write("key", GROUP_KEY);
    let mut command = place.muster(&["run", &scenario, "--processes", "2"]);
    command.stdin(std::fs::File::open(place.path().join("key")).expect("a file"));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut running = Running::start(&mut command);
    let children =
        eventually("its processes", || Some(children_of(running.pid())).filter(|all| all.len() == 2));
    for child in children {
        let arguments = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        assert!(!arguments.contains(&GROUP_KEY[..12]), "{arguments}");
    }
    assert!(matches!(running.end().code(), Some(0 | 97)));
    let (_, result) = &place.results("results")[0];
    assert_eq!(acknowledged(result, "register"), 41);
}

/// Two processes that would send for a minute.
fn long(place: &Place) -> (Running, Vec<u32>) {
    let text = SMALL.replace("messages = 3\n", "").replace("seed = 7\n", "seed = 7\nduration = \"60s\"\n");
    let scenario = place.write("long.toml", &text.replace("\"send.acknowledged.count\" = \"= 123\"\n", ""));
    let mut command = place.muster(&["run", &scenario, "--processes", "2"]);
    command.stdout(std::process::Stdio::null());
    command.stderr(std::fs::File::create(place.path().join("err")).expect("writable"));
    let running = Running::start(&mut command);
    let told = || std::fs::read_to_string(place.path().join("err")).expect("a file");
    eventually("all are connected", || told().contains("41 connected").then_some(()));
    let children = children_of(running.pid());
    assert_eq!(children.len(), 2);
    (running, children)
}

#[test]
fn an_interrupt_reaches_all_processes_and_the_merged_result_is_marked() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let place = Place::new();
        let (mut running, children) = long(&place);
        running.signal(signal);
        assert_eq!(running.end().code(), Some(130));
        assert!(children.into_iter().all(|child| !is_alive(child)));
        let (_, result) = &place.results("results")[0];
        books_agree(result);
        assert_eq!(
            (result["facts"]["ended"].as_str(), acknowledged(result, "register")),
            (Some("interrupted"), 41)
        );
    }
}

#[test]
fn a_process_that_dies_is_named_and_the_others_come_to_their_end() {
    let place = Place::new();
    let (mut running, children) = long(&place);
    let victim = rustix::process::Pid::from_raw(children[0] as i32).expect("a pid");
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).expect("it is there");
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.end().code(), Some(1));
    let (_, result) = &place.results("results")[0];
    let reason = result["judgement"]["reasons"][0].as_str().expect("a reason");
    assert!(reason.contains("failed: its process ended unexpectedly (signal: 9"), "{reason}");
    assert_eq!(result["merged"]["missing"].as_array().map(Vec::len), Some(1));
    assert!(matches!(acknowledged(result, "register"), 20 | 21));
}

#[test]
fn a_threshold_of_the_whole_ends_all_processes_and_one_of_a_shard_ends_nothing() {
    let place = Place::new();
    let text = SMALL.replace("seed = 7\n", "seed = 7\nduration = \"60s\"\n").replace("messages = 3\n", "");
    // A DPS that admits one registration a minute: all others fail at their deadline.
    let text = text
        .replace("\"send.acknowledged.count\" = \"= 123\"\n", "")
        .replace("\"= 0 %\"", "{ limit = \"= 0 %\", abort_after = \"1s\" }")
        .replace("assign = \"0s\"", "assign = \"0s\"\nregistrations = \"1/min\"")
        .replace("[fleet.devices]\n", "[fleet.devices]\ndeadline.register = \"1s\"\n");
    let scenario = place.write("hopeless.toml", &text);
    let ran = place.run(&[&scenario, "--processes", "2"]);
    let (_, result) = &ran.results[0];
    assert_eq!(result["facts"]["ended"], "aborted", "{ran:?}");
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    ran.shows(&["Ended early by the threshold `failed.share = 0 %`", "keeps the scenario's limits"]);
    let short = text.replace("\"60s\"", "\"6s\"").replace("-{run}", "");
    let scenario = place.write("short.toml", &short);
    let part = place.run(&[&scenario, "--shard", "0/2", "-o", "part"]);
    assert!(matches!(part.code, Some(0 | 97)), "{part:?}");
    assert_eq!(place.results("part")[0].1["facts"]["ended"], "completed");
    place
        .finish(place.muster(&["check", &scenario, "--shard", "0/2"]))
        .ends_with(0)
        .shows(&["Each of the 2 shards has an emulator of its own, which keeps the scenario's limits"]);
}

#[test]
fn processes_end_when_the_run_is_killed() {
    let place = Place::new();
    let (running, children) = long(&place);
    running.signal(rustix::process::Signal::KILL);
    eventually("they end", || children.iter().all(|child| !is_alive(*child)).then_some(()));
}
