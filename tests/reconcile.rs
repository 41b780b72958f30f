//! `muster run` holds the fleet's messages against the emulator's, one by one, as a whole program.

mod common;

use common::{GROUP_KEY, Place, SMALL, books_agree};

#[test]
fn messages_are_reconciled_one_by_one_unless_that_is_not_wanted_and_a_flag_goes_before_the_environment() {
    for (flags, environment, expected) in [
        (&[][..], None, true),
        (&["--no-reconcile"], None, false),
        (&["--no-reconcile", "--reconcile"], None, true),
        (&["--reconcile", "--no-reconcile"], Some("1"), false),
        (&[], Some("false"), false),
        (&["--no-reconcile"], Some("true"), false),
        (&["--reconcile"], Some("0"), true),
    ] {
        let place = Place::new();
        let scenario = place.write("small.toml", SMALL);
        let few = [scenario.as_str(), "--set", "fleet.devices.count=2"];
        let variables: Vec<_> = environment.iter().map(|value| ("MUSTER_RECONCILE", *value)).collect();
        let ran = place.run_with(&[&few[..], flags].concat(), &variables);
        let result = ran.passes().result();
        books_agree(result);
        let found = &result["facts"]["ledger"]["messages"];
        assert_eq!(found["messages"].as_u64(), expected.then_some(6), "{flags:?} {environment:?} {found}");
        assert_eq!(ran.stdout.contains("reconciled one by one"), expected, "{}", ran.stdout);
    }
}

#[test]
fn there_is_nothing_to_reconcile_with_elsewhere_and_that_is_said_before_anything_starts() {
    let place = Place::new();
    let text = "version = 1\n[target]\nkind = \"hub\"\nhost = \"localhost:1\"\n\
        [enrollment.plant]\ngroup_key = { env = \"GROUP_KEY\" }\n[fleet.devices]\ncount = 1\n\
        [fleet.devices.telemetry]\nevery = \"1s\"\nmessages = 1\n";
    let scenario = place.write("elsewhere.toml", text);
    let ran = place.run_with(&[&scenario, "--reconcile"], &[("GROUP_KEY", GROUP_KEY)]);
    ran.ends_with(2).tells(&["--reconcile", "needs the embedded emulator", "localhost:1"]);
    assert!(ran.results.is_empty(), "{ran:?}");
}

#[test]
fn ids_that_do_not_hold_the_number_leave_the_totals_and_say_so() {
    let place = Place::new();
    let with = |id: &str| SMALL.replace("messages = 3", &format!("messages = 3\nmessage_id = '{id}'"));
    let scenario = place.write("uuid.toml", &with("${uuid}"));
    let ran = place.run(&[&scenario]);
    let result = ran.passes().result();
    books_agree(result);
    ran.shows(&["! compared by totals only, fleet `devices`: its `message_id` does not hold the number"]);
    assert_eq!(result["facts"]["ledger"]["messages"]["messages"], 0);

    let own = place.write("own.toml", &with("${device_id}:${seq}:${run}"));
    place.run(&[&own, "-o", "own"]).shows(&["✓ 60 messages reconciled one by one: 0 lost, 0 phantom"]);
}
