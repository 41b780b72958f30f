//! Templates in, messages or complaints out.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn context(n: u64, sequence: u64) -> Context<'static> {
    Context {
        seed: 7,
        population: "sensors",
        n,
        device_id: "dev-1",
        registration_id: "reg-1",
        run: "0a1b2c3d",
        sequence,
        now: UnixTime::from_nanos(1_700_000_000_123_456_789),
    }
}

fn body(payloads: &Payloads, context: &Context<'_>) -> String {
    let mut out = Rendered::default();
    payloads.render(context, &mut out);
    String::from_utf8(out.body().to_vec()).expect("text")
}

fn text(template: &str) -> Payloads {
    Payload::text(template).unwrap_or_else(|error| panic!("{template}: {error}")).into()
}

/// The first messages of device 0.
fn messages(template: &str, count: u64) -> Vec<String> {
    let payloads = text(template);
    (1..=count).map(|sequence| body(&payloads, &context(0, sequence))).collect()
}

fn numbers(template: &str, count: u64) -> Vec<f64> {
    messages(template, count).iter().map(|text| text.parse().expect("a number")).collect()
}

#[test]
fn the_default_payload_tells_device_sequence_time_and_a_value() {
    let text = body(&Payloads::default(), &context(0, 3));
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&value["device"], &value["seq"]), (&"dev-1".into(), &3.into()));
    assert_eq!(value["at"], "2023-11-14T22:13:20.123Z");
    assert!((8.0..=12.0).contains(&value["wind"].as_f64().expect("a number")));
    let mut out = Rendered::default();
    Payloads::default().render(&context(0, 3), &mut out);
    assert_eq!((out.message_id(), out.values().len()), (&b"0a1b2c3d-3"[..], 0));
}

#[test]
fn facts_about_the_device_and_the_message_are_filled_in() {
    let all = "${device_id} ${registration_id} ${n} ${seq} ${ run } ${population} ${now(unix)} $${x} $";
    let expected = "dev-1 reg-1 4 9 0a1b2c3d sensors 1700000000 ${x} $";
    assert_eq!(body(&text(all), &context(4, 9)), expected);
}

#[test]
fn steps_begin_again_after_their_end_and_lists_go_round() {
    for (template, expected) in [
        ("${step(0, 0.5, 1)}", "0.0 0.5 1.0 0.0 0.5"),
        ("${step(0, 0.1, 0.3)}", "0.0 0.1 0.2 0.3 0.0"),
        ("${step(10, -5, 0)}", "10 5 0 10 5"),
        ("${step(1, 1)}", "1 2 3 4 5"),
        ("${step(1, 1, 1)}", "1 1 1 1 1"),
        ("${step(1, 0.25, 2, 1)}", "1.0 1.2 1.5 1.8 2.0"),
        ("${sequence(\"a\", 2, true)}", "a 2 true a 2"),
    ] {
        assert_eq!(messages(template, 5).join(" "), expected, "{template}");
    }
    let late = body(&text("${step(0, 1, 999)} ${sequence(0, 1, 2)}"), &context(0, 1_000_000_000_001));
    assert_eq!(late, "0 1");
}

#[test]
fn drawn_numbers_lie_within_their_bounds_and_have_their_mean() {
    let uniform = numbers("${uniform(-2, 3)}", 20_000);
    assert!(uniform.iter().all(|value| (-2.0..=3.0).contains(value)));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!((mean(&uniform) - 0.5).abs() < 0.05, "{}", mean(&uniform));

    let dice = numbers("${int(1, 6)}", 6_000);
    for side in 1..=6 {
        let count = dice.iter().filter(|value| **value == f64::from(side)).count();
        assert!((900..1_100).contains(&count), "{side} came {count} times");
    }

    let normal = numbers("${normal(20, 2, 4)}", 20_000);
    let average = mean(&normal);
    let variance = normal.iter().map(|value| (value - average).powi(2)).sum::<f64>() / normal.len() as f64;
    assert!((average - 20.0).abs() < 0.06 && (variance.sqrt() - 2.0).abs() < 0.05, "{average} {variance}");

    let walk = numbers("${walk(20, 0.5, 15, 25, 6)}", 5_000);
    assert_eq!(walk[0], 20.0);
    assert!(walk.iter().all(|value| (15.0..=25.0).contains(value)));
    // A move that is thrown back at a bound is shorter, and few are.
    let moves: Vec<f64> = walk.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).collect();
    assert!((mean(&moves).sqrt() - 0.5).abs() < 0.03, "{}", mean(&moves).sqrt());
}

#[test]
fn every_item_of_a_choice_comes_about_as_often_as_its_weight_says() {
    let long: Vec<String> = (0..20).map(|item| format!("{item}: {}", item + 1)).collect();
    let long = format!("${{choice({})}}", long.join(", "));
    for (template, expected) in [
        ("${choice(\"ok\": 95, \"busy\": 5)}".to_owned(), vec![("ok", 95.0 / 100.0), ("busy", 5.0 / 100.0)]),
        (
            "${choice(1, null, \"x\")}".to_owned(),
            vec![("1", 1.0 / 3.0), ("null", 1.0 / 3.0), ("x", 1.0 / 3.0)],
        ),
        ("${boolean(0.1)}".to_owned(), vec![("true", 0.1), ("false", 0.9)]),
        ("${boolean}".to_owned(), vec![("true", 0.5), ("false", 0.5)]),
        (long, vec![("0", 1.0 / 210.0), ("19", 20.0 / 210.0)]),
    ] {
        let mut counts: HashMap<String, f64> = HashMap::new();
        for message in messages(&template, 20_000) {
            *counts.entry(message).or_default() += 1.0 / 20_000.0;
        }
        for (item, share) in expected {
            let seen = counts.get(item).copied().unwrap_or(0.0);
            assert!((seen - share).abs() < 0.012, "{template}: {item} has {seen} instead of {share}");
        }
    }
    assert!(messages("${boolean(0)}", 100).iter().all(|text| text == "false"));
    assert!(messages("${boolean(1)}", 100).iter().all(|text| text == "true"));
}

#[test]
fn each_walk_of_a_device_goes_its_own_way() {
    let two = messages("${walk(0, 1, -100, 100)} ${walk(0, 1, -100, 100)}", 10);
    let (first, second): (Vec<_>, Vec<_>) =
        two.iter().map(|text| text.split_once(' ').expect("two numbers")).unzip();
    assert_ne!(first, second);
    let walk = text("${walk(0, 1, -100, 100)}");
    assert_ne!(body(&walk, &context(0, 9)), body(&walk, &context(1, 9)), "devices differ");
}

#[test]
fn strings_in_json_are_escaped_and_in_text_they_are_not() {
    let template = r#"{"a":"${choice("q\"b\\")}"}"#;
    let json = Payload::json(template).expect("JSON");
    assert_eq!(body(&json.into(), &context(0, 1)), r#"{"a":"q\"b\\"}"#);
    assert_eq!(body(&text(template), &context(0, 1)), r#"{"a":"q"b\"}"#);
}

#[test]
fn kinds_of_message_come_as_often_as_their_weights_say() {
    let mut alarm = Payload::text("alarm").expect("a template");
    alarm.add_property("level", "alarm-${seq}").expect("a property");
    alarm.add_property("kind", "b").expect("a property");
    alarm.set_message_id("${device_id}:${seq}", LONGEST).expect("an id");
    alarm.set_content_encoding("gzip").expect("an encoding");
    let payloads = Payloads::weighted([(95, Payload::random(64).expect("a size")), (5, alarm)]);
    let mut out = Rendered::default();
    let mut alarms = 0;
    for sequence in 1..=10_000 {
        payloads.render(&context(0, sequence), &mut out);
        if out.kind() == 1 {
            alarms += 1;
            let values: Vec<&[u8]> = out.values().collect();
            assert_eq!(values, [format!("alarm-{sequence}").as_bytes(), b"b"]);
            assert_eq!(out.message_id(), format!("dev-1:{sequence}").as_bytes());
            let size = 5 + 5 + values[0].len() + 4 + 1 + out.message_id().len() + "text/plain".len() + 4;
            assert_eq!(out.size(), size, "body, names and values");
        } else {
            assert_eq!((out.body().len(), out.values().len()), (64, 0));
        }
    }
    assert!((420..580).contains(&alarms), "{alarms} of 10,000");
}

const LONGEST: Longest<'static> = Longest { device_id: 20, registration_id: 20, population: "sensors" };

#[test]
fn mistakes_are_named_with_place_and_remedy() {
    for (template, problem, remedy, column) in [
        ("x ${seqq}", "`${seqq}` is not a placeholder", "did you mean `seq`?", 3),
        ("${devceid}", "is not a placeholder", "did you mean `device_id`?", 1),
        ("${zzz}", "is not a placeholder", "there is device_id, registration_id", 1),
        ("${}", "has no name", "there is", 1),
        ("ä${uniform(1)}", "`uniform` does not take one argument", "write ${uniform(8, 12, 2)}", 2),
        ("${uniform}", "`uniform` lacks its arguments", "write ${uniform", 1),
        ("${uniform()}", "no arguments in its parentheses", "write ${uniform", 1),
        ("${uniform(2, 1)}", "the lower bound is above", "the smaller number first", 11),
        ("${uniform(1, 2, 3, 4)}", "does not take 4 arguments", "write ${uniform", 1),
        ("${uniform(nan, 2)}", "`nan` is not a number", "for example 12", 11),
        ("${uniform(1, inf)}", "`inf` is not a number", "for example 12", 14),
        ("${uniform(1, 1e16)}", "`1e16` is too far from zero", "-1e15 to 1e15", 14),
        ("${uniform(1, 2, 10)}", "the number of decimals is out of range", "use 0 to 9", 17),
        ("${uniform(\"1\", 2)}", "a string where a number belongs", "without quotes", 11),
        ("${int(0.5, 2)}", "`int` takes whole numbers", "uniform", 7),
        ("${normal(1, -1)}", "a deviation is negative", "0 or more", 13),
        ("${boolean(5)}", "not between 0 and 1", "${boolean(0.1)}", 11),
        ("${boolean()}", "no arguments in its parentheses", "${boolean} or", 1),
        ("${step(0, -1, 5)}", "never leads to the end", "towards the end", 11),
        ("${step(0, 0, 5)}", "never leads to the end", "towards the end", 11),
        ("${choice()}", "no arguments in its parentheses", "choice", 1),
        ("${choice(ok)}", "`ok` is neither a number nor true", "in quotes", 10),
        ("${choice(1,)}", "an item of the list is missing", "in quotes", 12),
        ("${choice(1: 0)}", "`0` is not a weight", "from 1 to 1000000", 13),
        ("${sequence(1: 2)}", "has a weight", "only `choice`", 15),
        ("${walk(9, 1, 0, 5)}", "starts outside of its bounds", "low <= start <= high", 8),
        ("${walk(1, -1, 0, 5)}", "a step is negative", "0 or more", 11),
        ("${now(unixms)}", "`unixms` is not a form of the time", "did you mean", 7),
        ("${now(\"%!\")}", "the format of the time is wrong", "strftime", 7),
        ("${bytes(0)}", "the length of `bytes` is out of range", "1 to 65536", 9),
        ("${hex(65537)}", "the length of `hex` is out of range", "1 to 65536", 7),
        ("${seq(1)}", "`seq` does not take one argument", "write ${seq}", 1),
    ] {
        let error = Payload::text(template).expect_err(template);
        assert!(error.problem.contains(problem), "{template}: {error}");
        assert!(error.remedy.contains(remedy), "{template}: {error}");
        assert_eq!(error.column, column, "{template}: {error}");
    }
    let error = Payload::text("{\n  ${no}").expect_err("a mistake").to_string();
    assert!(error.contains("(line 2, column 3)"), "{error}");
}

#[test]
fn json_is_tried_with_every_item_and_the_extremes_of_numbers() {
    for (template, reason, column) in [
        ("{\"a\":${seq}", "EOF while parsing an object", 12),
        ("{\"a\":${device_id}}", "expected value", 6),
        ("{\"a\":${choice(1, 2, 3, \"x\", 5)}}", "for example by `x`: expected value", 6),
        ("{\"a\":${sequence(1, true, \"\")}}", "expected value", 30),
        ("{\"a\":${int(-3, 7)}5}", "invalid number", 19),
        ("{\"a\":1${uniform(-0.5, 1)}}", "", 7),
        ("{\"a\":\"x\" ${seq}}", "expected `,` or `}`", 10),
        ("{\"a\":\n ${hex(4)}}", "", 2),
        ("$${seq}", "expected value", 2),
    ] {
        let error = Payload::json(template).expect_err(template);
        assert!(error.problem.contains("not JSON"), "{template}: {error}");
        assert!(error.problem.contains(reason), "{template}: {error}");
        assert_eq!(error.column, column, "{template}: {error}");
    }
    Payload::json("{\"a\":${choice(1, 2.5, -3e2, true, null)},\"b\":\"${choice(\"ok\", \"bu\\\"sy\")}\"}")
        .expect("JSON");
    Payload::json("[${n},${walk(0,1,-5,5)},\"${uuid}\",\"${bytes(9)}\",\"${now(\"%A\")}\",${boolean}]")
        .expect("JSON");
}

#[test]
fn what_a_hub_does_not_take_is_refused() {
    assert!(Payload::random(262_145).is_err());
    assert!(Payload::random(262_144).expect("a size").check_size().is_err(), "properties count too");
    Payload::random(262_000).expect("a size").check_size().expect("with room for properties");
    let huge = "${bytes(65536)}".repeat(4);
    assert!(Payload::text(&huge).expect_err("too large").problem.contains("349536 bytes"));

    let mut payload = Payload::text("x").expect("a template");
    assert_eq!(payload.add_property("a b", "x"), Err(PropertyError::Name));
    assert_eq!(payload.add_property("", "x"), Err(PropertyError::Name));
    assert_eq!(payload.add_property("a", "ü"), Err(PropertyError::Character('ü')));
    assert_eq!(payload.add_property("a", "${choice(\"x\", \"\n\")}"), Err(PropertyError::Character('\n')));
    assert!(matches!(payload.add_property("a", "${x}"), Err(PropertyError::Template(_))));
    payload.add_property("level!#$%&'*+-.^_`|~", "").expect("all signs");
    assert_eq!(payload.add_property("LEVEL!#$%&'*+-.^_`|~", "x"), Err(PropertyError::Twice));
    for n in 1..MAX_PROPERTIES {
        payload.add_property(&format!("p{n}"), "${seq}").expect("a property");
    }
    assert_eq!(payload.add_property("one-more", "x"), Err(PropertyError::TooMany));

    assert_eq!(payload.set_content_type(" "), Err(PropertyError::Empty));
    assert_eq!(payload.set_content_type("a\r\nb"), Err(PropertyError::Character('\r')));
    assert_eq!(
        payload.set_content_type("Application/vnd.microsoft.iothub.json; charset=utf-8"),
        Err(PropertyError::Batch)
    );
    assert!(matches!(payload.set_content_encoding(&"x".repeat(257)), Err(PropertyError::TooLong { .. })));
    assert_eq!(payload.set_message_id("a/${seq}", LONGEST), Err(PropertyError::IdCharacter('/')));
    assert_eq!(payload.set_message_id("", LONGEST), Err(PropertyError::Empty));
    assert_eq!(
        payload.set_message_id("${string(114)}${seq}", LONGEST),
        Err(PropertyError::TooLong { length: 129, limit: 128 })
    );
}

#[test]
fn sizes_tell_the_mean_the_largest_and_the_blocks_of_a_message() {
    let payloads = Payloads::weighted([
        (1, Payload::text("${string(10)}").expect("a template")),
        (1, Payload::random(5_000).expect("a size")),
    ]);
    let sizes = payloads.sizes(&context(0, 1));
    let rest = |content_type: usize| content_type + "0a1b2c3d-".len();
    assert_eq!(sizes.largest(), 5_000 + rest("application/octet-stream".len()) + 15);
    assert!((sizes.mean() - 2_540.0).abs() < 200.0, "{}", sizes.mean());
    assert!((sizes.blocks(4_096) - 1.5).abs() < 0.05, "{}", sizes.blocks(4_096));
    assert!(sizes.blocks(512) > 5.0);
}

/// Every placeholder at once.
const ALL: &str = r#"{"a":"${device_id}","b":"${registration_id}","c":${n},"d":${seq},"e":"${run}","f":"${population}",
"g":"${now}","h":${now(unix_ms)},"i":"${now("%A \" %j")}","j":${uniform(-5,5)},"k":${int(-9,9)},"l":${normal(0,3,1)},
"m":${boolean},"n":${step(-2,0.5,2)},"o":"${sequence("x","y\\")}","p":${choice(1:3,null,false:2)},"q":${walk(0,1,-9,9,3)},
"r":"${uuid}","s":"${bytes(100)}","t":"${hex(9)}","u":"${string(33)}","v":"$${x}"}"#;

proptest! {
    #[test]
    fn a_message_is_a_function_of_seed_population_device_and_number(seed: u64, n: u64, sequence in 1u64.., others in prop::collection::vec((any::<u64>(), 1u64..), 0..5)) {
        let payloads = Payloads::weighted([(3, Payload::json(ALL).expect("JSON")), (1, Payload::random(50).expect("a size"))]);
        let context = Context { seed, ..context(n, sequence) };
        let (mut fresh, mut used) = (Rendered::default(), Rendered::default());
        payloads.render(&context, &mut fresh);
        for (n, sequence) in others {
            payloads.render(&Context { n, sequence, ..context }, &mut used);
        }
        payloads.render(&context, &mut used);
        prop_assert_eq!(&fresh, &used);
    }

    #[test]
    fn every_message_of_a_json_template_is_json_and_no_larger_than_was_said(seed: u64, n in 0u64..1_000_000_000, sequence in 1u64..1_000_000_000_000_000, nanos: u64) {
        let payloads: Payloads = Payload::json(ALL).expect("JSON").into();
        let context = Context { seed, now: UnixTime::from_nanos(nanos), ..context(n, sequence) };
        let text = body(&payloads, &context);
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        let mut out = Rendered::default();
        payloads.render(&context, &mut out);
        prop_assert!(out.size() <= payloads.sizes(&context).largest());
    }

    #[test]
    fn no_text_makes_a_template_panic(template in "\\PC{0,60}") {
        let _ = Payload::json(&template);
        let _ = Payload::text(&template);
    }

    #[test]
    fn no_placeholder_makes_a_template_panic(
        name in prop::sample::select(&["now", "uniform", "int", "normal", "boolean", "step", "sequence", "choice", "walk", "bytes", "hex", "string", "seq", "x"]),
        arguments in prop::collection::vec("(-?[0-9]{1,17}(\\.[0-9]{1,3})?(e[0-9]{1,3})?|\"[ -~]{0,8}\"|[a-z_]{0,8}|\"[%a-zA-Z0-9:-]{0,8}\")( ?: ?[0-9]{1,8})?", 0..6),
        tail in "[)}\" ]{0,3}",
        sequence: u64,
    ) {
        for end in [")}", &tail] {
            let template = format!("${{{name}({}{end}", arguments.join(","));
            if let Ok(payload) = Payload::text(&template) {
                let mut out = Rendered::default();
                let payloads: Payloads = payload.into();
                payloads.render(&context(0, sequence), &mut out);
                prop_assert!(payloads.sizes(&context(0, 1)).largest() < 2_000_000);
            }
            let _ = Payload::json(&template);
        }
    }
}
