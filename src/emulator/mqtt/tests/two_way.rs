//! Twins, methods and messages from the cloud.

use serde_json::{Value, json};

use super::*;
use crate::azure::two_way::*;
use crate::emulator::cloud_to_device::{Ack, Message};
use crate::emulator::ledger::TwoWay;
use crate::emulator::methods::{self, Invocation, MethodResult};
use crate::emulator::service::HubRefusal;
use crate::emulator::twin::Change;

impl World {
    fn counts(&self) -> TwoWay {
        self.emulator.ledger().hubs["north"].two_way
    }

    fn set_desired(&self, id: &str, desired: Value) {
        let Value::Object(desired) = desired else { panic!("an object") };
        let change = Change { desired: Some(desired), ..Change::default() };
        let hub = self.emulator.service().hub(0);
        hub.change_twin(id, &change, None, self.clock.wall()).expect("a good change");
    }

    fn send_message(&self, id: &str, message: Message) {
        let hub = self.emulator.service().hub(0);
        hub.send_message(id, self.clock.now(), self.clock.wall(), message).expect("room");
    }

    async fn invoke(&self, id: &str, method: Value) -> Result<MethodResult, HubRefusal> {
        let method: Invocation = serde_json::from_value(method).expect("a method");
        let payload = method.check().expect("a good one");
        methods::invoke(self.emulator.service().hub(0), &self.clock, id, &method, payload).await
    }
}

impl Device {
    /// The server's next message: topic, body, packet id, whether it came before.
    async fn told(&mut self) -> (String, Vec<u8>, Option<u16>, bool) {
        match self.next().await {
            Some(Packet::Publish(publish)) => {
                let body = publish.payload().as_slice().to_vec();
                (publish.topic_name().to_owned(), body, publish.packet_id(), publish.dup())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&mut self, topic: &str, body: &[u8]) -> (String, Vec<u8>) {
        self.publish(topic, None, body);
        let (topic, body, packet_id, _) = self.told().await;
        assert_eq!(packet_id, None, "answers are of QoS 0");
        (topic, body)
    }

    fn confirm(&mut self, packet_id: u16) {
        self.packets.send_puback(packet_id);
    }
}

fn text(body: &str) -> Message {
    Message { body: body.into(), ..Message::default() }
}

#[test]
fn a_device_reads_its_twin_and_reports_and_is_answered_on_the_topic_of_answers() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        // Without a subscription nothing comes, and what was asked is done.
        device.send(&twin_patch_topic("0"), br#"{"early":true}"#).await;
        device.subscribe(&[(TWIN_RESPONSES, Qos::AtLeastOnce)]).await;
        let (topic, body) = device.ask(&twin_get_topic("a-1"), b"").await;
        assert_eq!(topic, "$iothub/twin/res/200/?$rid=a-1");
        let twin: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            twin,
            json!({ "desired": { "$version": 1 }, "reported": { "early": true, "$version": 2 } })
        );
        let (topic, body) = device.ask(&twin_patch_topic("2"), br#"{"early":null,"t":{"now":1.5}}"#).await;
        assert_eq!((topic.as_str(), body.len()), ("$iothub/twin/res/204/?$rid=2&$version=3", 0));
        for bad in [&b"{"[..], b"", b"[1]", br#"{"a.b":1}"#] {
            let (topic, body) = device.ask(&twin_patch_topic("3"), bad).await;
            assert_eq!(topic, "$iothub/twin/res/400/?$rid=3");
            let error: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(error["errorCode"], 400_004);
        }
        let large = json!({ "n": (0..9).map(|_| "x".repeat(4_096)).collect::<Vec<_>>() }).to_string();
        let (topic, _) = device.ask(&twin_patch_topic("4"), large.as_bytes()).await;
        assert_eq!(topic, "$iothub/twin/res/413/?$rid=4");
        let (_, body) = device.ask(&twin_get_topic(""), b" ").await;
        let twin: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(twin["reported"], json!({ "t": { "now": 1.5 }, "$version": 3 }));
        let ledger = world.emulator.ledger();
        assert_eq!(
            (ledger.count(Operation::MqttTwinGet, 200), ledger.count(Operation::MqttTwinPatch, 204)),
            (2, 2)
        );
        assert_eq!(
            (ledger.count(Operation::MqttTwinPatch, 400), ledger.count(Operation::MqttTwinPatch, 413)),
            (4, 1)
        );
        assert_eq!((world.counts().twin_gets, world.counts().twin_patches), (2, 2));
        assert_eq!(ledger.messages(), 0, "no telemetry");
        device.leave().await;
    });
}

#[test]
fn a_subscribed_device_is_told_of_desired_properties_at_once_and_one_that_is_not_finds_them_later() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        world.set_desired("dev", json!({ "a": 1 }));
        let mut device = world.connect(NORTH, hub_connect("dev", true)).await;
        world.set_desired("dev", json!({ "b": 2 }));
        device.ping().await;
        device.subscribe(&[(TWIN_RESPONSES, Qos::AtMostOnce), (TWIN_DESIRED, Qos::AtMostOnce)]).await;
        let start = world.clock.now();
        world.set_desired("dev", json!({ "a": null, "c": { "d": "x" } }));
        let (topic, body, packet_id, _) = device.told().await;
        assert_eq!((topic.as_str(), packet_id), ("$iothub/twin/PATCH/properties/desired/?$version=4", None));
        assert_eq!(body, br#"{"$version":4,"a":null,"c":{"d":"x"}}"#);
        assert_eq!(world.clock.now(), start);
        let (_, twin) = device.ask(&twin_get_topic("1"), b"").await;
        let twin: Value = serde_json::from_slice(&twin).expect("JSON");
        assert_eq!(twin["desired"], json!({ "b": 2, "c": { "d": "x" }, "$version": 4 }));
        let counts = world.counts();
        assert_eq!((counts.desired_updates, counts.desired_pushes, counts.desired_lost), (3, 1, 0));
    });
}

#[test]
fn a_message_from_the_cloud_is_delivered_with_its_properties_and_completed_by_its_puback() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        let early = text("early");
        world.send_message("dev", early);
        device.ping().await;
        device.subscribe(&[(&devicebound_filter("dev"), Qos::AtLeastOnce)]).await;
        let (topic, body, packet_id, _) = device.told().await;
        let to = "devices/dev/messages/devicebound/%24.to=%2Fdevices%2Fdev%2Fmessages%2FdeviceBound";
        assert_eq!((topic.as_str(), body.as_slice(), packet_id), (to, &b"early"[..], Some(1)));
        let full = Message {
            message_id: Some("m 1".into()),
            correlation_id: Some("c".into()),
            content_type: Some("application/json".into()),
            ack: Ack::Full,
            properties: vec![("p".into(), Some("v/1".into())), ("flag".into(), None)],
            ..text("{}")
        };
        world.send_message("dev", full);
        let (topic, _, packet_id, _) = device.told().await;
        let bag = "&%24.mid=m%201&%24.cid=c&%24.ct=application%2Fjson&iothub-ack=full&p=v%2F1&flag";
        assert_eq!((topic, packet_id), (format!("{to}{bag}"), Some(2)));
        for id in [2, 1, 1, 77] {
            device.confirm(id);
        }
        device.ping().await;
        let counts = world.counts();
        assert_eq!((counts.c2d_sent, counts.c2d_delivered, counts.c2d_completed), (2, 2, 2));
        assert_eq!((counts.feedback_positive, counts.feedback_negative), (1, 0));
        let ledger = world.emulator.ledger();
        let settled = |status| ledger.count(Operation::MqttC2dSettle, status);
        assert_eq!((settled(204), settled(404)), (2, 2));
    });
}

#[test]
fn what_is_not_confirmed_comes_again_in_the_next_session_in_its_order() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        let mut device = world.connect(NORTH, hub_connect("dev", false)).await;
        device.subscribe(&[(&devicebound_filter("dev"), Qos::AtLeastOnce)]).await;
        for body in ["a", "b", "c"] {
            world.send_message("dev", text(body));
        }
        for _ in 0..3 {
            device.told().await;
        }
        device.confirm(2);
        device.leave().await;
        world.send_message("dev", text("d"));
        // It subscribes to nothing, and gets what its session has.
        let mut device = world.connect(NORTH, hub_connect("dev", false)).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (_, body, packet_id, is_again) = device.told().await;
            seen.push((String::from_utf8(body).expect("text"), packet_id, is_again));
        }
        let expected = [("a", Some(1), true), ("c", Some(3), true), ("d", Some(4), false)];
        assert_eq!(seen, expected.map(|(body, id, again)| (body.to_owned(), id, again)));
        // A takeover while they are under way loses none either.
        let mut next = world.connect(NORTH, hub_connect("dev", false)).await;
        device.is_closed().await;
        for id in [1, 3, 4] {
            assert_eq!(next.told().await.2, Some(id));
            next.confirm(id);
        }
        next.ping().await;
        let counts = world.counts();
        assert_eq!((counts.c2d_sent, counts.c2d_delivered, counts.c2d_completed), (4, 9, 4));
        // A device that wants no session hears nothing until it subscribes; at QoS 0 nobody confirms.
        next.leave().await;
        world.send_message("dev", text("e"));
        let mut clean = world.connect(NORTH, hub_connect("dev", true)).await;
        clean.ping().await;
        clean.subscribe(&[(&devicebound_filter("dev"), Qos::AtMostOnce)]).await;
        let (_, body, packet_id, _) = clean.told().await;
        assert_eq!((body.as_slice(), packet_id, world.counts().c2d_completed), (&b"e"[..], None, 5));
    });
}

#[test]
fn a_full_queue_of_large_messages_reaches_a_device_that_reads_slowly_but_reads() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        device.subscribe(&[(&devicebound_filter("dev"), Qos::AtLeastOnce)]).await;
        for n in 0..50 {
            world.send_message("dev", Message { body: vec![n; 60 * 1024], ..Message::default() });
        }
        world.clock.sleep(seconds(10)).await;
        for n in 0..50 {
            let (_, body, packet_id, _) = device.told().await;
            assert_eq!((body.len(), body[0], packet_id), (60 * 1024, n, Some(u16::from(n) + 1)));
            world.clock.sleep(seconds(1)).await;
        }
        (1..=50).for_each(|id| device.confirm(id));
        device.ping().await;
        assert_eq!(world.counts().c2d_completed, 50);
    });
}

#[test]
fn a_method_is_answered_by_its_device_with_status_and_payload() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        device.subscribe(&[(METHODS, Qos::AtLeastOnce)]).await;
        let caller = world.invoke("dev", json!({ "methodName": "reboot", "payload": { "in": [1] } }));
        let answer = async {
            let (topic, body, packet_id, _) = device.told().await;
            assert_eq!((topic.as_str(), packet_id), ("$iothub/methods/POST/reboot/?$rid=1", None));
            assert_eq!(body, br#"{"in":[1]}"#);
            device.publish(&method_response_topic(418, "1"), None, br#"{"ok":true}"#);
            // Nobody waits for these.
            device.publish(&method_response_topic(200, "1"), None, b"");
            device.publish(&method_response_topic(200, "x"), Some(5), b"");
            assert!(matches!(device.next().await, Some(Packet::Puback(5))));
        };
        let (result, ()) = tokio::join!(caller, answer);
        assert_eq!(result, Ok(MethodResult { status: 418, payload: json!({ "ok": true }) }));
        // No payload, and an answer without one; then one that is no JSON.
        for (reply, expected) in [(&b""[..], Ok(Value::Null)), (b"{", Err(502))] {
            let caller = world.invoke("dev", json!({ "methodName": "m" }));
            let answer = async {
                let (topic, body, _, _) = device.told().await;
                assert_eq!(body.len(), 0);
                let rid = parse_method_topic(&topic).expect("a method").1.to_owned();
                device.publish(&method_response_topic(0, &rid), None, reply);
                device.packets.flush().await.expect("it is taken");
            };
            let (result, ()) = tokio::join!(caller, answer);
            assert_eq!(result.map(|answer| answer.payload).map_err(|e| e.error.status()), expected);
        }
        let ledger = world.emulator.ledger();
        let replies = |status| ledger.count(Operation::MqttMethodReply, status);
        assert_eq!((replies(204), replies(404)), (3, 2));
        assert_eq!((world.counts().methods_invoked, world.counts().methods_answered), (3, 3));
    });
}

#[test]
fn a_method_for_a_device_that_is_not_there_or_says_nothing_fails_as_documented() {
    run(immediate(), |world| async move {
        let code = |result: Result<MethodResult, HubRefusal>| result.expect_err("no answer").error.code;
        let method = |connect: u64| json!({ "methodName": "m", "responseTimeoutInSeconds": 5, "connectTimeoutInSeconds": connect });
        assert_eq!(code(world.invoke("nobody", method(9)).await), 404_001);
        let mut device = world.device("dev").await;
        let start = world.clock.now();
        assert_eq!(code(world.invoke("dev", method(0)).await), 404_103);
        assert_eq!(world.clock.now(), start);
        assert_eq!(code(world.invoke("dev", method(9)).await), 404_103);
        assert_eq!(world.clock.now().since(start), seconds(9));
        // One that comes in time, and then does not answer.
        let late = async {
            world.clock.sleep(seconds(3)).await;
            device.subscribe(&[(METHODS, Qos::AtMostOnce)]).await;
            device.told().await;
        };
        let (result, ()) = tokio::join!(world.invoke("dev", method(9)), late);
        assert_eq!(code(result), 504_101);
        assert_eq!(world.clock.now().since(start), seconds(9 + 3 + 5));
        // Its late answer goes nowhere; one that leaves is noticed at once.
        device.publish(&method_response_topic(200, "1"), None, b"");
        let leaving = async {
            device.told().await;
            device.leave().await;
        };
        let (result, ()) = tokio::join!(world.invoke("dev", method(0)), leaving);
        assert_eq!(code(result), 404_103);
        assert_eq!(world.clock.now().since(start), seconds(17));
        let counts = world.counts();
        assert_eq!((counts.methods_invoked, counts.methods_timed_out, counts.methods_offline), (2, 1, 3));
    });
}

#[test]
fn each_kind_of_traffic_has_a_limit_of_its_own_and_basic_tiers_have_none_of_it() {
    run(sized(Tier::S1), |world| async move {
        let mut device = world.device("dev").await;
        device.subscribe(&[(TWIN_RESPONSES, Qos::AtMostOnce)]).await;
        // 50 updates and 100 reads a second, of ten seconds at once.
        for (topic, admitted) in [(twin_patch_topic("1"), 500), (twin_get_topic("1"), 1_000)] {
            for n in 0..=admitted {
                let (topic, _) = device.ask(&topic, b"{}").await;
                assert_eq!(topic.contains("/res/429/"), n == admitted, "{n}: {topic}");
            }
        }
        world.clock.sleep(Duration::from_millis(20)).await;
        assert!(device.ask(&twin_patch_topic("1"), b"{}").await.0.contains("/res/204/"));
        let throttle = world.emulator.ledger().hubs["north"].throttle.expect("limits");
        assert_eq!((throttle.twin_reads_refused, throttle.twin_updates_refused), (1, 1));
        assert_eq!((throttle.metered, throttle.messages_refused), (1_501, 0));
        device.send(EVENTS, b"{}").await;
    });
    run(sized(Tier::B1), |world| async move {
        let mut device = world.device("dev").await;
        device.subscribe(&[(TWIN_RESPONSES, Qos::AtMostOnce)]).await;
        let (topic, body) = device.ask(&twin_get_topic("1"), b"").await;
        let error: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((topic.as_str(), &error["errorCode"]), ("$iothub/twin/res/403/?$rid=1", &json!(403_010)));
    });
}

#[test]
fn a_device_that_asks_and_does_not_read_is_closed_and_one_that_reads_is_not() {
    run(immediate(), |world| async move {
        let filled = json!({ "a": (0..7).map(|_| "x".repeat(4_096)).collect::<Vec<_>>() });
        for reads in [true, false] {
            let mut device = world.device("dev").await;
            device.subscribe(&[(TWIN_RESPONSES, Qos::AtMostOnce)]).await;
            device.ask(&twin_patch_topic("1"), filled.to_string().as_bytes()).await;
            // Many questions in one write.
            for _ in 0..200 {
                device.publish(&twin_get_topic("1"), None, b"");
            }
            device.packets.flush().await.expect("it is taken");
            if reads {
                for _ in 0..200 {
                    assert!(device.told().await.1.len() > 28 * 1024);
                }
                device.ping().await;
            } else {
                world.clock.sleep(seconds(359)).await;
                assert_eq!(world.ended(Ending::SlowReader), 0);
                // One and a half keep-alives.
                world.clock.sleep(seconds(2)).await;
                assert_eq!(world.ended(Ending::SlowReader), 1);
            }
        }
    });
}

#[test]
fn what_the_services_api_wants_of_a_device_reaches_it() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        device.subscribe(&[(TWIN_DESIRED, Qos::AtMostOnce), (METHODS, Qos::AtMostOnce)]).await;
        let mut hub = Client::connect(&world.network, NORTH).await;
        let twin =
            hub.owner(Method::PATCH, "/twins/dev", &[], r#"{"properties":{"desired":{"a":1}}}"#).await.json();
        assert_eq!(twin["connectionState"], "Connected");
        assert_eq!(device.told().await.1, br#"{"$version":2,"a":1}"#);
        // A PUT tells what there is from now on.
        hub.owner(Method::PUT, "/twins/dev", &[], r#"{"properties":{"desired":{"b":1}}}"#).await;
        assert_eq!(device.told().await.1, br#"{"$version":3,"b":1}"#);
        let method = r#"{"methodName":"reboot","responseTimeoutInSeconds":10,"payload":null}"#;
        let call = hub.owner(Method::POST, "/twins/dev/methods", &[], method);
        let answer = async {
            let topic = device.told().await.0;
            let rid = parse_method_topic(&topic).expect("a method").1.to_owned();
            device.publish(&method_response_topic(201, &rid), None, b"[1]");
            device.packets.flush().await.expect("it is taken");
        };
        let (answered, ()) = tokio::join!(call, answer);
        assert_eq!((answered.status, answered.json()), (200, json!({ "status": 201, "payload": [1] })));
        device.leave().await;
        let offline = hub.owner(Method::POST, "/twins/dev/methods", &[], method).await;
        assert_eq!((offline.status, offline.header("x-ms-error-code")), (404, "404103"));
        // JSON in JSON, as service SDKs know it.
        let outer = offline.json();
        let inner: Value = serde_json::from_str(outer["Message"].as_str().expect("a text")).expect("JSON");
        assert_eq!(
            (&inner["errorCode"], &inner["message"]),
            (&json!(404_103), &json!("Timed out waiting for device to connect."))
        );
        for bad in [r#"{"methodName":""}"#, r#"{"methodName":"m","responseTimeoutInSeconds":4}"#, "{}"] {
            assert_eq!(hub.owner(Method::POST, "/twins/dev/methods", &[], bad).await.status, 400, "{bad}");
        }
        let ledger = world.emulator.ledger();
        assert_eq!(
            (ledger.count(Operation::HubMethods, 200), ledger.count(Operation::HubMethods, 404)),
            (1, 1)
        );
        let json = serde_json::to_value(&ledger).expect("JSON");
        assert_eq!(json["hubs"]["north"]["two_way"]["desired_pushes"], 2);
    });
}

#[test]
fn the_emulators_own_traffic_reaches_those_who_listen_in_turn_and_at_its_rate() {
    run(immediate(), |world| async move {
        let drive: crate::emulator::drive::Drive =
            "methods=2/s,c2d=1/s,desired=1/s".parse().expect("a drive");
        let (service, clock) = (std::sync::Arc::clone(world.emulator.service()), world.clock.clone());
        tokio::task::spawn_local(async move { drive.run(&service, &clock).await });
        // Nobody is there yet.
        world.clock.sleep(seconds(10)).await;
        let mut devices = Vec::new();
        for id in ["a", "b", "c"] {
            let mut device = world.device(id).await;
            // The third listens to nothing; the second does not answer.
            if id != "c" {
                let bound = devicebound_filter(id);
                let filters = [METHODS, TWIN_DESIRED, &bound].map(|filter| (filter, Qos::AtLeastOnce));
                device.subscribe(&filters).await;
            }
            devices.push((id, device));
        }
        let start = world.clock.now();
        let until = start + seconds(60);
        let mut seen = Vec::new();
        let (silent, answering) = devices.split_at_mut(1);
        let (_, a) = &mut silent[0];
        let (_, b) = &mut answering[0];
        while let Some(next) = world
            .clock
            .until(until, async {
                tokio::select! { p = a.packets.next() => (true, p), p = b.packets.next() => (false, p) }
            })
            .await
        {
            let (is_first, Ok(Some(Packet::Publish(publish)))) = next else { panic!("{next:?}") };
            let topic = publish.topic_name();
            let device = if is_first { &mut *a } else { &mut *b };
            if let Some(packet_id) = publish.packet_id() {
                device.confirm(packet_id);
            }
            let kind = match parse_method_topic(topic) {
                Some((name, rid)) => {
                    assert_eq!(name, "drive");
                    if is_first {
                        device.publish(&method_response_topic(200, rid), None, b"");
                    }
                    0
                }
                None if parse_desired_topic(topic).is_some() => 1,
                None => 2,
            };
            seen.push((kind, is_first));
        }
        // They are found within two seconds; then each has its turn.
        for (kind, expected) in [(0, 120), (1, 60), (2, 60)] {
            let turns: Vec<bool> =
                seen.iter().filter(|(of, _)| *of == kind).map(|(_, first)| *first).collect();
            assert!((expected - 4..=expected).contains(&turns.len()), "{kind}: {}", turns.len());
            assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{kind}: one after the other");
        }
        let counts = world.counts();
        assert_eq!(counts.methods_invoked as usize, seen.iter().filter(|(kind, _)| *kind == 0).count());
        assert!(counts.methods_timed_out > 10 && counts.methods_answered > 50, "{counts:?}");
        assert!(
            counts.c2d_completed + 1 >= counts.c2d_sent && counts.desired_pushes == counts.desired_updates
        );
        assert_eq!(counts.feedback_positive, counts.c2d_completed);
    });
}

#[test]
fn a_frozen_service_tells_its_devices_nothing_until_it_thaws() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        device.subscribe(&[(TWIN_DESIRED, Qos::AtMostOnce)]).await;
        let start = world.clock.now();
        world.emulator.freeze(start, start + seconds(20));
        world.set_desired("dev", json!({ "a": 1 }));
        device.told().await;
        assert_eq!(world.clock.now().since(start), seconds(20));
        // What a device was never told of is in the books when it leaves.
        world.emulator.freeze(start, start + seconds(60));
        world.set_desired("dev", json!({ "a": 2 }));
        drop(device);
        world.clock.sleep(seconds(60)).await;
        let counts = world.counts();
        assert_eq!((counts.desired_updates, counts.desired_pushes, counts.desired_lost), (2, 1, 1));
    });
}

#[test]
fn a_device_at_its_hub_takes_no_more_room_for_what_it_may_be_told() {
    // One lock, one waker, one pointer in the mailbox; nothing else is there until there is mail.
    let session = size_of::<crate::emulator::mqtt::hub::HubSession>();
    assert!(session <= 136, "{session}");
}
