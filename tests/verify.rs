//! `muster verify`: what does not hang on how quiet this machine is.

mod common;

use common::Place;
use serde_json::Value;

/// The claims of a check, each as its text and verdict.
fn claims(verification: &Value, check: &str) -> Vec<(String, String)> {
    let claims = verification["claims"].as_array().expect("claims");
    let text = |claim: &Value, key: &str| claim[key].as_str().expect("a text").to_owned();
    let of_check = claims.iter().filter(|claim| claim["check"] == check);
    of_check.map(|claim| (text(claim, "what"), text(claim, "verdict"))).collect()
}

#[test]
fn a_generator_that_is_stopped_is_void_and_the_books_of_both_sides_agree_message_by_message() {
    let place = Place::new();
    let ran =
        place.finish(place.muster(&["verify", "--only", "stopped,quantiles,books", "--json", "-o", "kept"]));
    let verification: Value = serde_json::from_str(&ran.stdout).expect("JSON and nothing else");
    assert_eq!(verification["format"], "muster-verification");
    let stopped = claims(&verification, "stopped");
    let holds = |start: &str| {
        let claim = stopped.iter().find(|(what, _)| what.starts_with(start)).expect("such a claim");
        assert_eq!(claim.1, "holds", "{start}: {verification:#}");
    };
    holds("exit code of the run");
    holds("messages that were begun 500 ms late");
    for check in ["quantiles", "books"] {
        let claims = claims(&verification, check);
        assert!(!claims.is_empty());
        assert!(claims.iter().all(|(_, verdict)| verdict == "holds"), "{verification:#}");
    }
    assert!(claims(&verification, "freeze").is_empty(), "nobody asked for it");
    // With what a reader needs to make the run again.
    assert!(place.path().join("kept/mqtt.toml").is_file());
    assert!(ran.stderr.contains("verify: stopped"), "{}", ran.stderr);
}

#[test]
fn a_check_that_there_is_not_is_told_with_those_that_there_are() {
    let place = Place::new();
    let ran = place.finish(place.muster(&["verify", "--only", "truth"]));
    ran.ends_with(2);
    assert!(ran.stderr.contains("take some of paired, freeze, stopped, schedule"), "{}", ran.stderr);
    assert!(ran.stdout.is_empty());
}
