//! What no complaint may show.

use super::*;

#[test]
fn a_key_is_shown_nowhere_wherever_it_was_put() {
    for table in [
        format!("[enrollment.a]\ngroup_key = \"{CANARY}\"\n"),
        format!("[enrollment.a]\ngroup_key = \"{CANARY}\"\nunknown = 1\n"),
        format!("enrollment.a = {{ group_key = '{CANARY}', other = 1, secondary_key = '{CANARY}' }}\n"),
        format!("[enrollment.a]\ngroup_key = {{ env = \"{CANARY}\" }}\n"),
        format!("[enrollment.a]\ngroup_key = {{ key = \"{CANARY}\" }}\n"),
        format!("[enrollment.a]\nprimary = \"{CANARY}\"\n"),
        format!("[enrollment.a]\ngroup_key = \"{CANARY}\n"),
        format!("[enrollment.a]\ngroup_key = {CANARY}\n"),
        format!("[enrollment.a]\ngroup_key = ['{CANARY}']\n"),
        format!("[enrollment.a]\nindividual = {{ registration_id = '{CANARY}', key = '{CANARY}' }}\n"),
        format!("[enrollment.a]\ngroup_key = 'stdin'\nhub = '{CANARY}'\nallocation = '{CANARY}'\n"),
        format!("[target]\nkind = 'azure'\nid_scope = '{CANARY}'\n"),
        format!("[fleet.a]\ncount = '{CANARY}'\nid = '{CANARY}'\nenrollment = '{CANARY}'\n"),
        format!("\"{CANARY}\" = 1\n"),
        format!("[thresholds]\n'failed.share' = '{CANARY}'\n'{CANARY}' = '< 1s'\n"),
    ] {
        let told = told(&format!("version = 1\n{table}"));
        assert!(
            !told.contains(&CANARY[..12]) && !told.contains(&CANARY[CANARY.len() - 12..]),
            "{table}\n{told}"
        );
    }
    let set = format!("enrollment.a.group_key={CANARY}");
    let told = load_bytes(MINIMAL.as_bytes(), &[&set]).unwrap_err();
    assert!(!told.contains(&CANARY[..12]), "{told}");
    assert!(told.contains("does not belong on a command line"), "{told}");
    // Short ones do not look like a key; the place where they stand tells.
    let short = self::told(&format!("{MINIMAL}[enrollment.a]\ngroup_key = \"hunter2\"\n"));
    assert!(!short.contains("hunter2"), "{short}");
}

#[test]
fn a_value_from_the_environment_is_shown_as_it_was_written() {
    let secret = "${env:SECRET}";
    for text in [
        with("\"2s\"", &format!("\"{secret}\"")),
        with("\"100/s\"", &format!("\"{secret}\"")),
        with("1_000", &format!("1_000\nid = \"{secret} {{\"")),
        with("1_000", &format!("1_000\nenrollment = \"{secret}\"\nprovision = \"{secret}\"")),
        with("\"< 10s\"", &format!("\"< {secret}\"")),
        with("\"< 10s\"", &format!("\"{secret}\"")),
        with("messages = 5", &format!("messages = 5\njson = '{{\"a\":{secret}}}'")),
        with("messages = 5", &format!("messages = 5\nbytes = '{secret}'")),
        with_payload(&format!("json = '{{\"a\":${{choice({secret})}}}}'")),
        with_payload(&format!("text = '${{uniform({secret}, 1)}}'")),
        with_payload(&format!("file = '{secret}'")),
        with_payload(&format!("properties = {{ a = '${{{secret}}}' }}\nmessage_id = '{secret}'")),
        with_payload(&format!("[[fleet.devices.telemetry.payload]]\ntext = '${{{secret}'")),
        format!(
            "{MINIMAL}[enrollment.a]\ngroup_key = \"{secret}\"\nallocation = '{secret}'\nhub = '{secret}'\n"
        ),
        format!(
            "{MINIMAL}[enrollment.a]\nindividual = {{ registration_id = '{secret}', device_id = '{secret}', key = {{ env = '{secret}' }} }}\n"
        ),
        format!(
            "{MINIMAL}[target]\nkind = 'azure'\ndps = '{secret}'\nid_scope = '{secret}'\nallow = ['{secret}']\n"
        ),
        format!("{MINIMAL}[target]\nkind = '{secret}'\n"),
        format!(
            "{MINIMAL}[emulator]\nid_scope = '{secret}'\nhub.a.host = '{secret}'\nallocation = {{ static = '{secret}' }}\n"
        ),
    ] {
        let told = told(&text);
        assert!(!told.contains("canary"), "{text}\n{told}");
        assert!(told.contains("${env:SECRET}"), "{text}\n{told}");
    }
}
