//! What messages hold.

use super::*;
use crate::payload::{Context, Rendered};
use crate::time::UnixTime;

#[test]
fn complaints_about_payloads_look_like_this() {
    for (name, keys) in [
        ("payload_unknown_placeholder", r#"json = '{"device":"${devcie_id}","seq":${seq}}'"#),
        ("payload_not_json", r#"json = '{"device":"${device_id}","state":${choice(1, 2, "busy")}}'"#),
        ("payload_property_name", "properties = { \"a level\" = \"x\", level = \"ü\", n = 5 }"),
        (
            "payload_twice",
            "json = '{}'\n[[fleet.devices.telemetry.payload]]\nweight = 0\nbytes = \"1 KiB\"\n\
             [[fleet.devices.telemetry.payload]]\ntext = 'x'\nfile = 'y'\n[[fleet.devices.telemetry.payload]]\nwieght = 2",
        ),
        ("payload_missing_file", "file = \"no-such-message.json\""),
        ("payload_too_large", "bytes = \"256 KiB\"\nproperties = { level = \"${string(100)}\" }"),
        (
            "payload_system_properties",
            "message_id = \"${device_id}/${seq}\"\ncontent_type = \"application/vnd.microsoft.iothub.json\"\ncontent_encoding = \"\"",
        ),
        ("payload_environment", r#"json = '{"site":"${env:SECRET}","seq":${seqq}}'"#),
    ] {
        insta::assert_snapshot!(name, told(&with_payload(keys)));
    }
}

#[test]
fn payloads_and_what_goes_with_them_reach_the_plan() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("message.json"), "{\"a\": 1}").unwrap();
    let path = directory.path().join("s.toml");
    let text = with_payload(
        "[[fleet.devices.telemetry.payload]]\nweight = 3\njson = '{\"seq\":${seq}}'\n\
         properties = { level = \"normal\", Batch = \"${seq}\" }\nmessage_id = \"${device_id}:${seq}\"\n\
         [[fleet.devices.telemetry.payload]]\nfile = \"message.json\"\ncontent_encoding = \"utf-16\"\n\
         [[fleet.devices.telemetry.payload]]\ntext = '${env:DEVICE};${n}'\ncontent_type = \"text/csv\"\n",
    );
    std::fs::write(&path, text).unwrap();
    let plan = load(&path, &Options::default(), &variable)
        .unwrap_or_else(|told| panic!("{}", told.render(false, None)))
        .plan;
    let telemetry = plan.populations[0].telemetry.as_ref().unwrap();
    let kinds: Vec<_> = telemetry
        .payload
        .kinds()
        .map(|kind| (kind.content_type(), kind.content_encoding().unwrap_or("-"), kind.properties().len()))
        .collect();
    assert_eq!(
        kinds,
        [("application/json", "utf-8", 2), ("application/json", "utf-16", 0), ("text/csv", "utf-8", 0)]
    );
    let mut bodies: Vec<String> = (1..100)
        .map(|sequence| {
            let mut out = Rendered::default();
            let context = Context {
                seed: 7,
                population: "devices",
                n: 9,
                device_id: "d-9",
                registration_id: "d-9",
                run: "0a1b2c3d",
                sequence,
                now: UnixTime::from_nanos(0),
            };
            telemetry.payload.render(&context, &mut out);
            String::from_utf8_lossy(out.body()).replace(char::is_numeric, "#")
        })
        .collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies, ["device-#;#", "{\"a\": #}", "{\"seq\":##}", "{\"seq\":#}"]);
}

#[test]
fn a_payload_file_is_a_file_of_a_size_that_a_hub_takes() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::File::create(directory.path().join("large")).unwrap().set_len(1 << 30).unwrap();
    for (file, expected) in [
        ("large", "more than 262144 bytes"),
        (".", "is not a file"),
        ("/dev/zero", "is not a file"),
        ("${env:SECRET}", "there is no file `${env:SECRET}`"),
    ] {
        let path = directory.path().join("s.toml");
        std::fs::write(&path, with_payload(&format!("file = \"{file}\""))).unwrap();
        let told = load(&path, &Options::default(), &variable).map(|_| ()).unwrap_err();
        let told = shown(&told, directory.path());
        assert!(told.contains(expected) && !told.contains("canary"), "{told}");
    }
}
