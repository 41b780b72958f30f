//! The scripts for Slurm, started as Slurm starts them: with the variables of a job array, and with stand-ins for its commands.
//! `results/slurm.txt` has what they do on the real one.

#![cfg(target_os = "linux")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use common::{Place, SMALL, books_agree, repository};

/// The small scenario with a key from the environment, and all its messages as a threshold.
fn small() -> String {
    let threshold = "\"failed.share\" = \"= 0 %\"\n";
    let thresholds = format!("{threshold}\"send.acknowledged.count\" = \"= 60\"\n");
    SMALL.replace(threshold, &thresholds) + "\n[enrollment.plant]\ngroup_key = { env = \"GROUP_KEY\" }\n"
}

/// The submitting side: writes down what it is given, and answers with the number of a job, and a cluster's name.
const SBATCH: &str = "printf '%s ' \"$@\" >> submitted; echo >> submitted; echo '4711;here'";

/// The first question finds one task running and one pending; from the second on all run, the last since now.
const SQUEUE: &str = r#"echo "$@" >> asked
if mkdir first; then printf 'R 1700000000\nPD N/A\n'; else
    date +%s > started.$$; ln started.$$ started
    printf 'R 1700000000\nR %s\n' "$(cat started)"
fi"#;

/// A task has failed before all had started.
const SQUEUE_FAILED: &str = "printf 'R 1700000000\\nF 1700000001\\n'";

/// A place with a scenario, the program on its path, and a command of Slurm's.
fn place(command: &str, script: &str) -> Place {
    let place = Place::new();
    place.write("small.toml", &small());
    place.write("group.key", common::GROUP_KEY);
    let bin = place.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_muster"), bin.join("muster")).expect("a link");
    let command = bin.join(command);
    std::fs::write(&command, format!("#!/bin/sh\n{script}\n")).expect("writable");
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).expect("ours");
    place
}

/// A script below deploy/slurm, in this place.
fn script(place: &Place, name: &str, arguments: &[&str]) -> Command {
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new("bash");
    command.arg(repository(&format!("deploy/slurm/{name}"))).args(arguments);
    command.current_dir(place.path()).stdin(Stdio::null()).env_clear();
    command.env("PATH", format!("{}:{path}", place.path().join("bin").display()));
    command
}

/// Task `index` of an array of two.
fn task(place: &Place, index: &str) -> Child {
    let mut command = script(place, "shards.sbatch", &["small.toml"]);
    command.envs([
        ("SLURM_ARRAY_JOB_ID", "4711"),
        ("SLURM_ARRAY_TASK_ID", index),
        ("SLURM_ARRAY_TASK_COUNT", "2"),
        ("SLURM_ARRAY_TASK_MIN", "0"),
        ("SLURM_ARRAY_TASK_MAX", "1"),
        ("SLURM_ARRAY_TASK_STEP", "1"),
        ("SLURM_CPUS_PER_TASK", "2"),
        // They ask every five seconds.
        ("START_AFTER", "10"),
        ("GROUP_KEY_FILE", "group.key"),
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash")
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("a child of ours");
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(!told.contains(common::GROUP_KEY), "the key is in no output");
    (output.status.code(), told.into_owned())
}

#[test]
fn tasks_of_a_job_array_begin_together_once_all_have_started_and_are_merged() {
    let place = place("squeue", SQUEUE);
    let first = task(&place, "0");
    common::eventually("the first has asked", || place.path().join("first").exists().then_some(()));
    let tasks = [first, task(&place, "1")];
    for (code, told) in tasks.map(ended) {
        assert!(matches!(code, Some(0 | 97)), "{told}");
        assert!(told.contains("threads: 1 on"), "half of its two cores: {told}");
    }
    let asked = std::fs::read_to_string(place.path().join("asked")).expect("somebody asked");
    assert!(asked.lines().all(|line| line.contains("--jobs=4711")), "{asked}");

    let merged = place.finish(script(&place, "merge.sbatch", &["muster-4711"]));
    assert!(matches!(merged.code, Some(0 | 97)), "{merged:?}");
    merged.shows(&["20 devices · 20 assigned · 60 of 60 messages acknowledged", "2 of 2 shards"]);
    let summary = std::fs::read_to_string(place.path().join("muster-4711/summary.txt")).expect("a summary");
    assert_eq!(summary, merged.stdout);
    let results = place.results("muster-4711");
    let [(_, result)] = &results[..] else { panic!("one result: {results:?}") };
    books_agree(result);
    assert_eq!(result["facts"]["run_id"], "00001267", "the number of the array, 4711");
}

#[test]
fn a_task_that_ends_before_all_have_started_ends_the_others() {
    let place = place("squeue", SQUEUE_FAILED);
    let (code, told) = ended(task(&place, "0"));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("has ended before all had started"), "{told}");
    // The merge comes all the same, and says that there is nothing.
    let merged = place.finish(script(&place, "merge.sbatch", &["muster-4711"]));
    merged.ends_with(2).tells(&["muster-4711/shards"]);
}

#[test]
fn submitting_checks_the_scenario_and_makes_the_merge_depend_on_the_array() {
    let place = place("sbatch", SBATCH);
    let submitted = || std::fs::read_to_string(place.path().join("submitted"));
    let wrong =
        place.finish(script(&place, "submit.sh", &["small.toml", "3", "--set", "fleet.devices.count=0"]));
    wrong.ends_with(2).tells(&["fleet.devices.count"]);
    assert!(submitted().is_err(), "nothing was submitted");

    let told = place.finish(script(&place, "submit.sh", &["small.toml", "3", "--seed", "8", "--yes"]));
    told.ends_with(0).shows(&["shards: job 4711, tasks 0-2; merge: job 4711"]);
    let submitted = submitted().expect("two jobs");
    let lines: Vec<&str> = submitted.lines().collect();
    let [array, merge] = lines[..] else { panic!("two jobs: {submitted}") };
    assert!(array.starts_with("--parsable --array=0-2 "), "{array}");
    assert!(array.ends_with("/shards.sbatch small.toml --seed 8 --yes "), "{array}");
    assert!(merge.starts_with("--parsable --dependency=afterany:4711 "), "{merge}");
    assert!(merge.ends_with("/merge.sbatch muster-4711 "), "{merge}");
}
