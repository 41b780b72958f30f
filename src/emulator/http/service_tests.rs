use hyper::Method;
use serde_json::{Value, json};

use crate::azure::hub::events_path;
use crate::azure::keys::SigningKey;
use crate::azure::sas::{DPS_OWNER_POLICY, HUB_OWNER_POLICY, ResourceSpelling, dps_resource, hub_resource};
use crate::emulator::config::{Allocation, InitialTwin, Reprovision};
use crate::emulator::fixture::*;
use crate::emulator::ledger::Operation;
use crate::emulator::serve::DPS_HOST;

impl World {
    async fn at(&self, host: &str) -> Client {
        Client::connect(&self.network, host).await
    }
}

const BOUND: &str = "/devices/dev/messages/devicebound";

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[test]
fn nobody_gets_at_a_service_without_its_policy() {
    run(immediate(), |world| async move {
        let (hub_key, dps_key) = (own_key(), SigningKey::from_base64(SECONDARY).expect("a key"));
        let good_key = SigningKey::from_base64(PRIMARY).expect("a key");
        let tokens = [
            String::new(),
            "nonsense".to_owned(),
            policy_token(&hub_key, NORTH, HUB_OWNER_POLICY),
            policy_token(&good_key, NORTH, "device"),
            policy_token(&good_key, "elsewhere.net", HUB_OWNER_POLICY),
            policy_token(&dps_key, NORTH, DPS_OWNER_POLICY),
        ];
        let mut hub = world.at(NORTH).await;
        for token in &tokens {
            let answer = hub
                .call(Method::GET, "/twins/dev?api-version=2021-04-12", &[("authorization", token)], "")
                .await;
            assert_eq!(answer.status, 401, "{token}");
        }
        let mut dps = world.at(DPS_HOST).await;
        for token in &tokens[..5] {
            let path = "/enrollmentGroups/plant?api-version=2021-10-01";
            let answer = dps.call(Method::GET, path, &[("authorization", token)], "").await;
            assert_eq!((answer.status, answer.json()["errorCode"].clone()), (401, json!(401_002)), "{token}");
        }
        let token = owner_token(NORTH);
        let answer = hub.call(Method::GET, "/twins/dev", &[("authorization", &token)], "").await;
        assert_eq!(answer.status, 400, "no api-version");
        let answer = hub.owner(Method::POST, "/twins/dev", &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET"));
        assert_eq!(world.emulator.ledger().count(Operation::HubTwins, 401), 6);
    });
    let closed = crate::emulator::config::Config { service_keys: None, ..immediate() };
    run(closed, |world| async move {
        assert_eq!(world.at(NORTH).await.owner(Method::GET, "/devices", &[], "").await.status, 401);
        let answer = world.at(DPS_HOST).await.owner(Method::GET, "/enrollmentGroups/plant", &[], "").await;
        assert_eq!(answer.status, 401);
    });
}

#[test]
fn a_twin_is_read_patched_and_replaced_by_those_who_know_its_edition() {
    run(immediate(), |world| async move {
        world.at(DPS_HOST).await.register("dev").await;
        let mut hub = world.at(NORTH).await;
        assert_eq!(hub.owner(Method::GET, "/twins/nobody", &[], "").await.status, 404);
        let fresh = hub.owner(Method::GET, "/twins/dev", &[], "").await;
        let twin = fresh.json();
        assert_eq!(
            (&twin["deviceId"], &twin["status"], &twin["connectionState"]),
            (&json!("dev"), &json!("enabled"), &json!("Disconnected"))
        );
        assert_eq!((&twin["version"], &twin["tags"]), (&json!(1), &json!({})));
        assert_eq!(fresh.header("etag"), format!("\"{}\"", twin["etag"].as_str().expect("an etag")));
        let patch =
            json!({ "tags": { "site": "a" }, "properties": { "desired": { "x": { "y": 1 } } } }).to_string();
        let patched =
            hub.owner(Method::PATCH, "/twins/dev", &[("if-match", fresh.header("etag"))], &patch).await;
        assert_eq!(patched.status, 200);
        let twin = patched.json();
        assert_eq!(
            (&twin["tags"], &twin["properties"]["desired"]["x"]),
            (&json!({ "site": "a" }), &json!({ "y": 1 }))
        );
        let updated = "2026-01-01T00:00:00.0000000Z";
        assert_eq!(twin["properties"]["desired"]["$metadata"]["x"]["y"]["$lastUpdated"], updated);
        assert_eq!(twin["properties"]["desired"]["$version"], 2);
        // Somebody else was faster.
        let stale =
            hub.owner(Method::PATCH, "/twins/dev", &[("if-match", fresh.header("etag"))], &patch).await;
        assert_eq!((stale.status, stale.header("x-ms-error-code")), (412, "412001"));
        let replaced = hub
            .owner(Method::PUT, "/twins/dev", &[("if-match", "*")], r#"{"properties":{"desired":{"z":2}}}"#)
            .await;
        let desired = object(replaced.json()["properties"]["desired"].clone());
        assert_eq!(desired.keys().collect::<Vec<_>>(), ["$metadata", "$version", "z"]);
        assert_eq!(replaced.json()["tags"], json!({ "site": "a" }), "tags were not mentioned");
        for (body, status) in [("{", 400), (r#"{"tags":{"a.b":1}}"#, 400), (r#"{"tags":[]}"#, 400)] {
            assert_eq!(hub.owner(Method::PATCH, "/twins/dev", &[], body).await.status, status, "{body}");
        }
        let large = json!({ "tags": { "a": "x".repeat(4_096), "b": "x".repeat(4_096) } }).to_string();
        assert_eq!(hub.owner(Method::PATCH, "/twins/dev", &[], &large).await.status, 413);
    });
}

#[test]
fn a_device_of_the_registry_has_keys_and_can_be_disabled_and_deleted() {
    run(immediate(), |world| async move {
        let mut hub = world.at(NORTH).await;
        let made = hub.owner(Method::PUT, "/devices/own", &[], r#"{"deviceId":"own"}"#).await;
        assert_eq!(made.status, 200, "{made:?}");
        let device = made.json();
        let key = device["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("a key").to_owned();
        assert_eq!((key.len(), &device["status"]), (88, &json!("enabled")));
        let send = async |hub: &mut Client, key: &str| {
            let key = SigningKey::from_base64(key).expect("a key");
            let token = token(&key, &hub_resource(NORTH, "own"), ResourceSpelling::Raw, VALID);
            hub.send("own", &token, "{}").await.status
        };
        assert_eq!(send(&mut hub, &key).await, 204);
        let again = hub.owner(Method::PUT, "/devices/own", &[], r#"{"deviceId":"own"}"#).await;
        assert_eq!((again.status, again.header("x-ms-error-code")), (409, "409001"));
        let with_key = json!({ "deviceId": "own", "status": "disabled", "authentication": { "type": "sas",
            "symmetricKey": { "primaryKey": INDIVIDUAL, "secondaryKey": INDIVIDUAL } } });
        let etag = made.header("etag").to_owned();
        let updated =
            hub.owner(Method::PUT, "/devices/own", &[("if-match", &etag)], &with_key.to_string()).await;
        assert_eq!((updated.status, &updated.json()["status"]), (200, &json!("disabled")));
        assert_eq!((send(&mut hub, &key).await, send(&mut hub, INDIVIDUAL).await), (401, 403));
        let stale =
            hub.owner(Method::PUT, "/devices/own", &[("if-match", &etag)], &with_key.to_string()).await;
        assert_eq!(stale.status, 412);
        let enabled = r#"{"deviceId":"own","status":"enabled"}"#;
        assert_eq!(hub.owner(Method::PUT, "/devices/own", &[("if-match", "*")], enabled).await.status, 200);
        assert_eq!(send(&mut hub, INDIVIDUAL).await, 204, "without keys it keeps those that it has");
        // A device of a group shows the keys that it derives.
        world.at(DPS_HOST).await.register("dev").await;
        let derived = hub.owner(Method::GET, "/devices/dev", &[], "").await.json();
        let key = derived["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("a key").to_owned();
        let token = token(
            &SigningKey::from_base64(&key).expect("a key"),
            &hub_resource(NORTH, "dev"),
            ResourceSpelling::Raw,
            VALID,
        );
        assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        let ids = |answer: Answer| {
            let devices = answer.json();
            let mut ids: Vec<_> =
                devices.as_array().expect("a list").iter().map(|d| d["deviceId"].to_string()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(hub.owner(Method::GET, "/devices?top=10", &[], "").await), ["\"dev\"", "\"own\""]);
        assert_eq!(ids(hub.owner(Method::GET, "/devices?top=1", &[], "").await).len(), 1);
        for (id, body) in [
            ("a b", r#"{"deviceId":"a b"}"#),
            ("x", r#"{"deviceId":"y"}"#),
            ("x", "{}"),
            ("x", r#"{"deviceId":"x","status":"?"}"#),
            ("x", r#"{"deviceId":"x","authentication":{"type":"selfSigned"}}"#),
            ("x", r#"{"deviceId":"x","authentication":{"symmetricKey":{"primaryKey":"?"}}}"#),
        ] {
            let path = format!("/devices/{}", id.replace(' ', "%20"));
            assert_eq!(hub.owner(Method::PUT, &path, &[], body).await.status, 400, "{body}");
        }
        assert_eq!(hub.owner(Method::DELETE, "/devices/own", &[("if-match", "\"x\"")], "").await.status, 412);
        assert_eq!(hub.owner(Method::DELETE, "/devices/own", &[("if-match", "*")], "").await.status, 204);
        assert_eq!(hub.owner(Method::GET, "/devices/own", &[], "").await.status, 404);
        assert_eq!(hub.owner(Method::DELETE, "/devices/own", &[], "").await.status, 404);
        assert_eq!(world.emulator.ledger().hubs["north"].devices, 1);
    });
}

#[test]
fn a_device_takes_its_messages_over_https_under_a_lock() {
    run(immediate(), |world| async move {
        world.at(DPS_HOST).await.register("dev").await;
        let mut hub = world.at(NORTH).await;
        let device_token = hub_token(NORTH, "dev");
        let version = "api-version=2021-04-12";
        let receive = async |hub: &mut Client| {
            hub.call(Method::GET, &format!("{BOUND}?{version}"), &[("authorization", &device_token)], "")
                .await
        };
        let settle = async |hub: &mut Client, method: Method, rest: &str, query: &str| {
            let path = format!("{BOUND}/{rest}?{version}{query}");
            hub.call(method, &path, &[("authorization", &device_token)], "").await.status
        };
        assert_eq!(receive(&mut hub).await.status, 204);
        let headers = [
            ("iothub-to", BOUND),
            ("iothub-messageid", "m-1"),
            ("iothub-ack", "full"),
            ("iothub-app-p", "v"),
        ];
        let send = async |hub: &mut Client, body: &str| {
            hub.owner(Method::POST, "/messages/devicebound", &headers, body).await
        };
        for body in ["one", "two", "three"] {
            assert_eq!(send(&mut hub, body).await.status, 204);
        }
        let taken = receive(&mut hub).await;
        assert_eq!((taken.status, &taken.body[..]), (200, &b"one"[..]));
        assert_eq!((taken.header("iothub-messageid"), taken.header("iothub-app-p")), ("m-1", "v"));
        assert_eq!(
            (taken.header("iothub-to"), taken.header("iothub-deliverycount")),
            ("/devices/dev/messages/deviceBound", "0")
        );
        assert_eq!(taken.header("iothub-expiry"), "2026-01-01T01:00:00.0000000Z");
        let lock = |answer: &Answer| answer.header("etag").trim_matches('"').to_owned();
        let second = receive(&mut hub).await;
        assert_eq!(&second.body[..], b"two");
        assert_eq!(settle(&mut hub, Method::DELETE, &lock(&taken), "").await, 204);
        assert_eq!(settle(&mut hub, Method::DELETE, &lock(&taken), "").await, 412);
        assert_eq!(settle(&mut hub, Method::DELETE, "nonsense", "").await, 400);
        assert_eq!(settle(&mut hub, Method::POST, &format!("{}/abandon", lock(&second)), "").await, 204);
        let again = receive(&mut hub).await;
        assert_eq!((&again.body[..], again.header("iothub-deliverycount")), (&b"two"[..], "1"));
        assert_eq!(settle(&mut hub, Method::DELETE, &lock(&again), "&reject").await, 204);
        let third = receive(&mut hub).await;
        world.clock.sleep(seconds(60)).await;
        assert_eq!(settle(&mut hub, Method::DELETE, &lock(&third), "").await, 412);
        for _ in 1..50 {
            assert_eq!(send(&mut hub, "more").await.status, 204);
        }
        let full = send(&mut hub, "more").await;
        assert_eq!((full.status, full.header("x-ms-error-code")), (403, "403004"));
        let purged = hub.owner(Method::DELETE, "/devices/dev/commands", &[], "").await;
        assert_eq!(purged.json()["totalMessagesPurged"], 50);
        let two_way = world.emulator.ledger().hubs["north"].two_way;
        assert_eq!((two_way.c2d_sent, two_way.c2d_completed, two_way.c2d_rejected), (52, 1, 1));
        assert_eq!((two_way.c2d_abandoned, two_way.c2d_dead_lettered), (1, 51));
        assert_eq!((two_way.feedback_positive, two_way.feedback_negative), (1, 51));
        for (headers, status) in [
            (&[][..], 400),
            (&[("iothub-to", "/devices/dev")], 400),
            (&[("iothub-to", "/devices/nobody/messages/devicebound")], 404),
            (&[("iothub-to", BOUND), ("iothub-ack", "?")], 400),
            (&[("iothub-to", BOUND), ("iothub-expiry", "soon")], 400),
        ] {
            let answer = hub.owner(Method::POST, "/messages/devicebound", headers, "x").await;
            assert_eq!(answer.status, status, "{headers:?}");
        }
        let large = "x".repeat(64 * 1024 - 10);
        assert_eq!(send(&mut hub, &large).await.status, 413);
    });
}

#[test]
fn an_enrollment_made_at_run_time_lets_its_device_in_at_once_and_its_end_leaves_what_there_is() {
    run(immediate(), |world| async move {
        let mut dps = world.at(DPS_HOST).await;
        let body = json!({ "enrollmentGroupId": "late", "attestation": { "type": "symmetricKey" },
            "initialTwin": { "tags": { "t": 1 }, "properties": { "desired": { "d": 2 } } } });
        let made = dps.owner(Method::PUT, "/enrollmentGroups/late", &[], &body.to_string()).await;
        assert_eq!(made.status, 200, "{made:?}");
        let group = made.json();
        assert_eq!(
            (&group["provisioningStatus"], &group["reprovisionPolicy"]["migrateDeviceData"]),
            (&json!("enabled"), &json!(true))
        );
        let key = group["attestation"]["symmetricKey"]["primaryKey"].as_str().expect("a key").to_owned();
        let shown = dps.owner(Method::GET, "/enrollmentGroups/late", &[], "").await.json();
        assert_eq!(
            shown["attestation"],
            json!({ "type": "symmetricKey" }),
            "keys are shown to who asks for them"
        );
        let mechanism =
            dps.owner(Method::POST, "/enrollmentGroups/late/attestationmechanism", &[], "").await.json();
        assert_eq!(mechanism["symmetricKey"]["primaryKey"], key);
        // As Node's SDK has it.
        let path = "/enrollmentgroups/late/attestationmechanism";
        assert_eq!(dps.owner(Method::POST, path, &[], "").await.json(), mechanism);
        let register = async |dps: &mut Client, key: &SigningKey, id: &str| {
            let token = token(key, &dps_resource(SCOPE, id), ResourceSpelling::Raw, VALID);
            let path = crate::azure::dps::register_path(SCOPE, id);
            dps.call(Method::PUT, &path, &[("authorization", &token)], body_of(id)).await
        };
        let device = derived(&key, "dev-1");
        let assigned = register(&mut dps, &device, "dev-1").await;
        assert_eq!(
            (assigned.status, &assigned.json()["registrationState"]["symmetricKey"]["enrollmentGroupId"]),
            (200, &json!("late"))
        );
        let mut hub = world.at(NORTH).await;
        let twin = hub.owner(Method::GET, "/twins/dev-1", &[], "").await.json();
        assert_eq!((&twin["tags"], &twin["properties"]["desired"]["d"]), (&json!({ "t": 1 }), &json!(2)));
        // Again without its etag is a mistake; with it an update, which keeps the keys.
        let again = dps.owner(Method::PUT, "/enrollmentGroups/late", &[], &body.to_string()).await;
        assert_eq!((again.status, again.header("x-ms-error-code")), (409, "409202"));
        let disabled = json!({ "enrollmentGroupId": "late", "attestation": { "type": "symmetricKey" }, "provisioningStatus": "disabled" });
        let etag = group["etag"].as_str().expect("an etag").to_owned();
        let updated = dps
            .owner(Method::PUT, "/enrollmentGroups/late", &[("if-match", &etag)], &disabled.to_string())
            .await;
        assert_eq!(
            (updated.status, &updated.json()["attestation"]["symmetricKey"]["primaryKey"]),
            (200, &json!(key))
        );
        let stale = dps
            .owner(Method::PUT, "/enrollmentGroups/late", &[("if-match", &etag)], &disabled.to_string())
            .await;
        assert_eq!(stale.status, 412);
        assert_eq!(register(&mut dps, &device, "dev-1").await.status, 403);
        assert_eq!(
            dps.owner(Method::DELETE, "/enrollmentGroups/late", &[("if-match", &etag)], "").await.status,
            412
        );
        assert_eq!(dps.owner(Method::DELETE, "/enrollmentGroups/late", &[], "").await.status, 204);
        let gone = dps.owner(Method::GET, "/enrollmentGroups/late", &[], "").await;
        assert_eq!((gone.status, gone.header("x-ms-error-code")), (404, "404202"));
        assert_eq!(register(&mut dps, &device, "dev-1").await.status, 401);
        // What was registered stays: the registration, and the device with its key.
        let state = dps.owner(Method::GET, "/registrations/dev-1", &[], "").await.json();
        assert_eq!((&state["status"], &state["assignedHub"]), (&json!("assigned"), &json!(NORTH)));
        let hub_token = token(&device, &hub_resource(NORTH, "dev-1"), ResourceSpelling::Raw, VALID);
        assert_eq!(hub.send("dev-1", &hub_token, "{}").await.status, 204);
        assert_eq!(
            dps.owner(Method::DELETE, "/registrations/dev-1", &[("if-match", "\"x\"")], "").await.status,
            412
        );
        let etag = state["etag"].as_str().expect("an etag").to_owned();
        assert_eq!(
            dps.owner(Method::DELETE, "/registrations/dev-1", &[("if-match", &etag)], "").await.status,
            204
        );
        assert_eq!(dps.owner(Method::GET, "/registrations/dev-1", &[], "").await.status, 404);
        assert_eq!(hub.send("dev-1", &hub_token, "{}").await.status, 204);
        // An individual one, with a key of its own and another id at the hub.
        let own = json!({ "registrationId": "Own-1", "deviceId": "own.1", "attestation": { "type": "symmetricKey",
            "symmetricKey": { "primaryKey": INDIVIDUAL } }, "allocationPolicy": "static", "iotHubs": [NORTH] });
        let made = dps.owner(Method::PUT, "/enrollments/own-1", &[], &own.to_string()).await;
        assert_eq!((made.status, &made.json()["allocationPolicy"]), (200, &json!("static")), "{made:?}");
        let assigned = register(&mut dps, &own_key(), "own-1").await;
        assert_eq!(assigned.json()["registrationState"]["deviceId"], "own.1");
        let shown = dps.owner(Method::GET, "/enrollments/own-1", &[], "").await.json();
        assert_eq!(shown["registrationState"]["deviceId"], "own.1");
        let ledger = world.emulator.ledger();
        assert_eq!(
            (ledger.count(Operation::DpsEnrollments, 200), ledger.count(Operation::DpsEnrollments, 412)),
            (7, 2)
        );
        for (path, body) in [
            ("/enrollments/x", json!({})),
            ("/enrollments/x", json!({ "registrationId": "y", "attestation": { "type": "symmetricKey" } })),
            ("/enrollments/x", json!({ "registrationId": "x", "attestation": { "type": "tpm" } })),
            ("/enrollments/x.", json!({ "registrationId": "x.", "attestation": { "type": "symmetricKey" } })),
            (
                "/enrollments/x",
                json!({ "registrationId": "x", "attestation": { "type": "symmetricKey" }, "allocationPolicy": "custom" }),
            ),
            (
                "/enrollments/x",
                json!({ "registrationId": "x", "attestation": { "type": "symmetricKey" }, "iotHubs": ["west.net"] }),
            ),
            (
                "/enrollments/x",
                json!({ "registrationId": "x", "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": "?" } } }),
            ),
            (
                "/enrollments/x",
                json!({ "registrationId": "x", "attestation": { "type": "symmetricKey" }, "initialTwin": { "tags": { "a b": 1 } } }),
            ),
        ] {
            assert_eq!(dps.owner(Method::PUT, path, &[], &body.to_string()).await.status, 400, "{body}");
        }
    });
}

#[test]
fn queries_come_in_pages_that_go_on_where_the_last_ended() {
    run(immediate(), |world| async move {
        let mut dps = world.at(DPS_HOST).await;
        for n in 0..7 {
            dps.register(&format!("dev-{n}")).await;
        }
        for n in 0..5 {
            let body =
                json!({ "registrationId": format!("one-{n}"), "attestation": { "type": "symmetricKey" } });
            dps.owner(Method::PUT, &format!("/enrollments/one-{n}"), &[], &body.to_string()).await;
        }
        for (path, field, item, expected) in [
            // Two of them are the configuration's.
            (
                "/enrollments/query",
                "registrationId",
                "enrollment",
                vec!["gateway-1", "locked-1", "one-0", "one-1", "one-2", "one-3", "one-4"],
            ),
            (
                "/registrations/plant/query",
                "registrationId",
                "deviceRegistration",
                vec!["dev-0", "dev-1", "dev-2", "dev-3", "dev-4", "dev-5", "dev-6"],
            ),
            ("/enrollmentGroups/query", "enrollmentGroupId", "enrollmentGroup", vec!["plant"]),
            ("/registrations/nothing/query", "registrationId", "deviceRegistration", vec![]),
        ] {
            let (mut seen, mut next, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let headers = [("x-ms-max-item-count", "3"), ("x-ms-continuation", next.as_str())];
                let answer = dps.owner(Method::POST, path, &headers, r#"{"query":"*"}"#).await;
                assert_eq!((answer.status, answer.header("x-ms-item-type")), (200, item));
                seen.extend(
                    answer
                        .json()
                        .as_array()
                        .expect("a list")
                        .iter()
                        .map(|entry| entry[field].as_str().expect("an id").to_owned()),
                );
                pages += 1;
                next = answer.header("x-ms-continuation").to_owned();
                if next.is_empty() {
                    break;
                }
            }
            assert_eq!(
                (seen, pages),
                (expected.iter().map(|id| (*id).to_owned()).collect(), expected.len().div_ceil(3).max(1)),
                "{path}"
            );
        }
        let answer = dps.owner(Method::POST, "/enrollments/query", &[("x-ms-continuation", "%%")], "").await;
        assert_eq!(answer.status, 400);
    });
}

#[test]
fn a_device_that_registers_again_keeps_its_twin_or_begins_anew_as_its_enrollment_says() {
    for (policy, moves, expected) in [
        (Reprovision::Migrate, false, json!({ "initial": true, "own": 1 })),
        (Reprovision::Migrate, true, json!({ "initial": true, "own": 1 })),
        (Reprovision::Reset, false, json!({ "initial": true })),
        (Reprovision::Reset, true, json!({ "initial": true })),
        (Reprovision::Never, true, json!({ "initial": true, "own": 1 })),
    ] {
        let mut config = two_hubs();
        config.dps.assign = crate::rng::Distribution::Constant(0.0);
        config.enrollments[0].reprovision = policy;
        config.enrollments[0].allocation = Some(Allocation::Static("north".to_owned()));
        let desired = object(json!({ "initial": true }));
        config.enrollments[0].initial_twin = Some(InitialTwin { desired, ..InitialTwin::default() });
        run(config, move |world| async move {
            let mut dps = world.at(DPS_HOST).await;
            dps.register("dev").await;
            let mut north = world.at(NORTH).await;
            let patch = r#"{"properties":{"desired":{"own":1}}}"#;
            assert_eq!(north.owner(Method::PATCH, "/twins/dev", &[], patch).await.status, 200);
            if moves {
                // The group goes to the other hub from now on.
                let group = dps.owner(Method::GET, "/enrollmentGroups/plant", &[], "").await.json();
                let mut group = object(group);
                group.insert("allocationPolicy".into(), json!("static"));
                group.insert("iotHubs".into(), json!(["south.azure-devices.localhost"]));
                let body = Value::Object(group).to_string();
                assert_eq!(
                    dps.owner(Method::PUT, "/enrollmentGroups/plant", &[("if-match", "*")], &body)
                        .await
                        .status,
                    200
                );
            }
            let state = dps.register("dev").await.json()["registrationState"].clone();
            let stays = !moves || policy == Reprovision::Never;
            let host = if stays { NORTH } else { "south.azure-devices.localhost" };
            assert_eq!(state["assignedHub"], host, "{policy:?} {moves}");
            let mut hub = world.at(host).await;
            let twin = hub.owner(Method::GET, "/twins/dev", &[], "").await.json();
            let mut desired = object(twin["properties"]["desired"].clone());
            desired.retain(|name, _| !name.starts_with('$'));
            assert_eq!(Value::Object(desired), expected, "{policy:?} {moves}");
            assert_eq!(
                north.owner(Method::GET, "/twins/dev", &[], "").await.status,
                if stays { 200 } else { 404 }
            );
        });
    }
}

#[test]
fn no_body_however_broken_gets_more_than_a_refusal() {
    run(immediate(), |world| async move {
        let mut hub = world.at(NORTH).await;
        world.at(DPS_HOST).await.register("dev").await;
        let twin = r#"{"tags":{"a":1},"properties":{"desired":{"b":{"c":[null,"x"]}}}}"#;
        let device = r#"{"deviceId":"d","status":"enabled","authentication":{"type":"sas"}}"#;
        let group = r#"{"enrollmentGroupId":"g","attestation":{"type":"symmetricKey"},"iotHubs":[]}"#;
        let method = r#"{"methodName":"m","payload":{"a":1},"responseTimeoutInSeconds":5}"#;
        for (verb, path, good) in [
            (Method::PATCH, "/twins/dev", twin),
            (Method::PUT, "/devices/d", device),
            (Method::PUT, "/enrollmentGroups/g", group),
            (Method::POST, "/twins/dev/methods", method),
        ] {
            let cut = (0..good.len()).map(|end| good.as_bytes()[..end].to_vec());
            let changed = (0..good.len()).flat_map(|at| {
                [0, 0xff, b'"', b'}', b'9'].map(|byte| {
                    let mut bytes = good.as_bytes().to_vec();
                    bytes[at] = byte;
                    bytes
                })
            });
            for body in cut.chain(changed) {
                let path = format!("{path}?api-version=2021-10-01");
                let token =
                    if path.starts_with("/enrollment") { dps_owner_token() } else { owner_token(NORTH) };
                let headers = [("authorization", token.as_str()), ("if-match", "*")];
                let status = hub.call(verb.clone(), &path, &headers, body.clone()).await.status;
                assert!(
                    [200, 400, 404, 412, 413].contains(&status),
                    "{status}: {}",
                    String::from_utf8_lossy(&body)
                );
            }
        }
        // The hub is as it was.
        let token = hub_token(NORTH, "dev");
        let sent = hub.call(Method::POST, &events_path("dev"), &[("authorization", &token)], "{}").await;
        assert_eq!(sent.status, 204);
    });
}
