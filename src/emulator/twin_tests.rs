use proptest::prelude::*;

use super::*;

const NOW: UnixTime = UnixTime::from_nanos(1_767_225_600_000_000_000);
const LATER: UnixTime = UnixTime::from_nanos(1_767_225_660_000_000_000);

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other}"),
    }
}

fn desired(value: Value) -> Change {
    Change { desired: Some(object(value)), ..Change::default() }
}

fn seen(twin: &Twin) -> Value {
    serde_json::from_slice(&twin.for_device()).expect("JSON")
}

#[test]
fn a_patch_sets_removes_and_merges_and_counts() {
    let mut twin = Twin::default();
    assert_eq!(seen(&twin), json!({ "desired": { "$version": 1 }, "reported": { "$version": 1 } }));
    let before = twin.etag();
    assert_eq!(twin.report(br#"{"a":{"b":1,"c":[1,null]},"d":true}"#, NOW), Ok(2));
    assert_eq!(twin.report(br#"{"a":{"b":null,"e":"x"},"d":null,"gone":null}"#, LATER), Ok(3));
    assert_eq!(seen(&twin)["reported"], json!({ "a": { "c": [1, null], "e": "x" }, "$version": 3 }));
    assert_eq!(
        (twin.etag(), twin.version()),
        (before.clone(), 3),
        "a device changes nothing of the service's"
    );
    let update = twin.change(&desired(json!({ "x": { "y": null }, "$version": 99 })), None, NOW);
    let update = update.expect("it is good").expect("the device is told");
    assert_eq!(update.version, 2);
    assert_eq!(update.body, br#"{"$version":2,"x":{"y":null}}"#, "as it came");
    assert_eq!(seen(&twin)["desired"], json!({ "x": {}, "$version": 2 }));
    assert_eq!(twin.change(&desired(json!({})), Some(&before), NOW), Err(TwinError::Changed));
    let etag = twin.etag();
    assert!(twin.change(&desired(json!({})), Some(&etag), NOW).is_ok());
}

#[test]
fn what_is_replaced_keeps_nothing_and_tags_are_not_the_devices_business() {
    let mut twin = Twin::default();
    let change = Change {
        tags: Some(object(json!({ "site": "a", "floor": 1 }))),
        desired: Some(object(json!({ "p": 1, "q": 2 }))),
        is_whole: false,
    };
    twin.change(&change, None, NOW).expect("it is good");
    let whole = Change {
        tags: Some(object(json!({ "site": "b" }))),
        desired: Some(object(json!({ "q": 3 }))),
        is_whole: true,
    };
    twin.change(&whole, None, LATER).expect("it is good");
    assert_eq!(seen(&twin)["desired"], json!({ "q": 3, "$version": 3 }));
    let (tags, properties) = twin.for_service();
    assert_eq!(Value::Object(tags), json!({ "site": "b" }));
    let updated = "2026-01-01T00:01:00.0000000Z";
    assert_eq!(
        properties["desired"]["$metadata"],
        json!({ "$lastUpdated": updated, "q": { "$lastUpdated": updated } })
    );
    let untouched = twin.change(&Change { desired: None, ..whole }, None, LATER).expect("it is good");
    assert_eq!(untouched, None, "nobody is told of tags");
}

#[test]
fn every_rule_of_names_and_values_is_kept() {
    let mut deep = json!(1);
    for _ in 0..11 {
        deep = json!({ "a": deep });
    }
    let deepest = deep["a"].clone();
    let mut twin = Twin::default();
    for (patch, good) in [
        (json!({ "a.b": 1 }), false),
        (json!({ "a": { "$b": 1 } }), false),
        (json!({ "a b": 1 }), false),
        (json!({ "a\u{7}": 1 }), false),
        (json!({ "": 1 }), false),
        (json!({ "x".repeat(1_024): 1 }), true),
        (json!({ "x".repeat(1_025): 1 }), false),
        (json!({ "a": "x".repeat(4_096) }), true),
        (json!({ "a": "x".repeat(4_097) }), false),
        (json!({ "a": 4_503_599_627_370_495_i64, "b": -4_503_599_627_370_496_i64, "c": 1e300 }), true),
        (json!({ "a": 4_503_599_627_370_496_i64 }), false),
        (json!({ "a": u64::MAX }), false),
        (json!({ "a": { "b": 1, "c": [{ "d.e": 1 }] } }), false),
        (json!({ "t": deepest }), true),
        (json!({ "t": deep }), false),
    ] {
        let before = twin.clone();
        let result = twin.report(patch.to_string().as_bytes(), NOW);
        assert_eq!(result.is_ok(), good, "{patch}: {result:?}");
        assert_eq!(twin == before, !good, "all or nothing: {patch}");
    }
    for text in ["", "{", "[]", "null", "1", "{\"a\":1}x", "\u{fffd}"] {
        assert!(matches!(twin.report(text.as_bytes(), NOW), Err(TwinError::Invalid(_))), "{text}");
    }
}

#[test]
fn a_twin_is_as_large_as_it_may_be_and_no_larger() {
    let mut twin = Twin::default();
    let filled = |length: usize| {
        let mut patch = Map::new();
        for n in 0..8 {
            patch.insert(n.to_string(), "x".repeat(4_095).into());
        }
        patch.insert("y".repeat(length), Value::Null);
        patch
    };
    // 8 names of 1 and texts of 4,095: 32 KB to the byte.
    let patch = Value::Object(filled(5)).to_string();
    assert_eq!(twin.report(patch.as_bytes(), NOW), Ok(2));
    assert!(matches!(twin.report(br#"{"z":""}"#, NOW), Err(TwinError::TooLarge(_))));
    assert_eq!(twin.report(br#"{"7":"","z":1}"#, NOW), Ok(3), "there is room again");
    let tags = Change {
        tags: Some(object(json!({ "a": "x".repeat(4_096), "b": "x".repeat(4_095) }))),
        ..Change::default()
    };
    assert!(matches!(twin.change(&tags, None, NOW), Err(TwinError::TooLarge(_))));
    // Nothing that a device sends is free, however empty it is.
    let nothing = format!("{{\"a\":[{}[]]}}", "[],".repeat(20_000));
    assert!(matches!(twin.report(nothing.as_bytes(), NOW), Err(TwinError::TooLarge(_))));
    let initial = InitialTwin { tags: Map::new(), desired: filled(1) };
    assert!(Twin::initial(&initial, NOW).is_ok_and(|twin| twin.is_some()));
    assert_eq!(Twin::initial(&InitialTwin::default(), NOW), Ok(None));
}

/// The standard's own words: RFC 7386, section 2.
fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = if let Value::Object(target) = target { target } else { Map::new() };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.remove(name).unwrap_or(Value::Null);
            target.insert(name.clone(), merge_patch(old, value));
        }
    }
    Value::Object(target)
}

/// JSON with few names, so that patches meet what is there.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-100_i64..100).prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn patches() -> impl Strategy<Value = Vec<Value>> {
    let object = prop::collection::btree_map("[a-d]", value(), 0..4);
    prop::collection::vec(object.prop_map(|map| map.into_iter().collect()), 1..5)
}

proptest! {
    #[test]
    fn patches_are_merged_as_the_standard_says(patches in patches()) {
        let (mut twin, mut expected) = (Twin::default(), json!({}));
        for (n, patch) in (2..).zip(&patches) {
            prop_assert_eq!(twin.report(patch.to_string().as_bytes(), NOW), Ok(n));
            expected = merge_patch(expected, patch);
        }
        let mut reported = object(seen(&twin)["reported"].clone());
        reported.remove("$version");
        prop_assert_eq!(Value::Object(reported), expected);
        // The same patch again changes nothing but the version.
        let before = seen(&twin)["reported"].clone();
        let last = patches.last().expect("one at least").to_string();
        twin.report(last.as_bytes(), LATER).expect("it was good before");
        let mut after = seen(&twin)["reported"].clone();
        after["$version"] = before["$version"].clone();
        prop_assert_eq!(after, before);
    }

    #[test]
    fn no_bytes_make_a_twin_fail_or_grow_beyond_its_limit(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut twin = Twin::default();
        let before = twin.clone();
        if twin.report(&bytes, NOW).is_err() {
            prop_assert_eq!(twin, before);
        }
    }
}
