//! MQTT, at DPS and hub.

use super::*;
use crate::azure::mqtt as azure;
use crate::azure::two_way::{method_response_topic, twin_get_topic, twin_patch_topic};
use crate::net::mqtt::Qos;

/// The operation of the recordings.
const OPERATION: &str = "5.be7c16dfa68d94e0.00cb04ac-06fe-4834-9bab-7398c39143f8";

/// azure-iot-device 2.14.0 (paho-mqtt 1.6.1, Python 3.11.7) registers with one poll: all that it wrote, captured behind TLS 1.2
/// on 2026-11-26.
const PYTHON_DPS: &[&[u8]] = &[
    b"\x10\xc5\x02\x00\x04MQTT\x04\xc0\x00<\x00\x05dev-1\x00\xb10ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29\x00\x7fSharedAccessSignature sr=0ne00000001%2Fregistrations%2Fdev-1&sig=HFkhqvA%2BABLQJfgKAU7OLHovG53o2iYEyoLqww2FUxo%3D&se=1795728514",
    b"\x82\x1d\x00\x01\x00\x18$dps/registrations/res/#\x01",
    b"2\x81\x01\x00Q$dps/registrations/PUT/iotdps-register/?$rid=9e3e4916-33f6-421b-8284-6182bd3c74b1\x00\x02{\"payload\": null, \"registrationId\": \"dev-1\"}",
    b"@\x02\x00\x01",
    b"2\xa5\x01\x00\xa0$dps/registrations/GET/iotdps-get-operationstatus/?$rid=64320cf1-f706-4d21-a4ad-a5e82ba3aa31&operationId=5.be7c16dfa68d94e0.00cb04ac-06fe-4834-9bab-7398c39143f8\x00\x03 ",
    b"@\x02\x00\x02",
    b"\xe0\x00",
];

/// The same, at its hub: a message, messages from the cloud, methods, desired properties, the twin, a report.
const PYTHON_HUB: &[&[u8]] = &[
    b"\x10\xac\x02\x00\x04MQTT\x04\xc0\x00<\x00\x06dev-id\x00\xa0localhost/dev-id/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29\x00vSharedAccessSignature sr=localhost%2Fdevices%2Fdev-id&sig=I3xKkBat9kG8jRlBrdfD3zzkX9gr2VWIxbPzAjL4GwU%3D&se=1795728516",
    b"2s\x00hdevices/dev-id/messages/events/%24.mid=r-1&%24.ct=application%2Fjson&%24.ce=utf-8&level=high%20%26%20low\x00\x01{\"a\":1}",
    b"\x82*\x00\x02\x00%devices/dev-id/messages/devicebound/#\x01",
    b"\x82\x1b\x00\x03\x00\x16$iothub/methods/POST/#\x01",
    b"\x82,\x00\x04\x00'$iothub/twin/PATCH/properties/desired/#\x01",
    b"\x82\x17\x00\x05\x00\x12$iothub/twin/res/#\x01",
    b"2@\x00;$iothub/twin/GET/?$rid=845398eb-6c5c-462b-ae70-d7ed5b040b18\x00\x06 ",
    b"2]\x00Q$iothub/twin/PATCH/properties/reported/?$rid=de6e710c-b868-4716-839b-2819626a14d8\x00\x07{\"a\": 1}",
    b"\xe0\x00",
];

/// azure-iot-provisioning-device 1.9.1 (mqtt 4.3.8, Node 20.20.2) registers with one poll: all that it wrote, captured behind TLS
/// 1.3 on 2026-11-26.
const NODE_DPS: &[&[u8]] = &[
    b"\x10\x89\x02\x00\x04MQTT\x04\xc2\x00\xb4\x00\x05dev-1\x00j0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1\x00\x8aSharedAccessSignature sr=0ne00000001/registrations/dev-1&sig=UEvYgLRwLyk3fVOYfbtGkVpuvPj6NP6LuOfQlJVNjxY%3D&skn=registration&se=1795728680",
    b"\x82\x1d\xec7\x00\x18$dps/registrations/res/#\x01",
    b"2o\x00Q$dps/registrations/PUT/iotdps-register/?$rid=939ae8a4-d487-4d83-a902-b13a56e80854\xec8{\"registrationId\":\"dev-1\"}",
    b"@\x02\x00\x01",
    b"2\xa5\x01\x00\xa0$dps/registrations/GET/iotdps-get-operationstatus/?$rid=8cd5ed8a-927f-479e-8153-e858cca82fdf&operationId=5.c506488dce6ae637.2c74f452-585f-448d-9b27-31e851d68a77\xec9 ",
    b"@\x02\x00\x02",
    b"\xa2\x1c\xec:\x00\x18$dps/registrations/res/#",
    b"\xe0\x00",
];

/// azure-iot-device 1.18.4 at its hub, as Python's above; it listens for desired properties once it has its twin.
const NODE_HUB: &[&[u8]] = &[
    b"\x10\x91\x02\x00\x04MQTT\x04\xc0\x00\xb4\x00\x06dev-id\x00\x81localhost/dev-id/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20Debian%2012%3B%20x64)\x00zSharedAccessSignature sr=localhost%2Fdevices%2Fdev-id&sig=M1Ue%2BptCgbPJFt4RLrIuFuHdvrk2EEe%2B22G3ZZtR9Ho%3D&se=1795728682",
    b"2s\x00hdevices/dev-id/messages/events/%24.mid=r-1&%24.ct=application%2Fjson&%24.ce=utf-8&level=high%20%26%20low\x81\x0c{\"a\":1}",
    b"\x82*\x81\r\x00%devices/dev-id/messages/devicebound/#\x01",
    b"\x82\x1b\x81\x0e\x00\x16$iothub/methods/POST/#\x00",
    b"\x82\x17\x81\x0f\x00\x12$iothub/twin/res/#\x00",
    b"0>\x00;$iothub/twin/GET/?$rid=9982bfe2-94a7-4293-b222-85352c973b7c ",
    b"\x82,\x81\x10\x00'$iothub/twin/PATCH/properties/desired/#\x00",
    b"0Z\x00Q$iothub/twin/PATCH/properties/reported/?$rid=f4d970c9-e377-424b-b50a-fe72b100a612{\"a\":1}",
    b"\xe0\x00",
];

/// The SDK for C 1.15.0 (azure-iot-sdk-c c86b2d6 with OpenSSL 3.0.19, Linux) registers with one poll: all that it wrote, captured inside TLS
/// TLS, with the id and the operation of these tests. Requests have QoS 0, and count as if they had a packet id.
fn c_dps() -> Vec<u8> {
    let token = "SharedAccessSignature sr=0ne00000001%2fregistrations%2fdev-1&sig=x%3d&se=1&skn=registration";
    let user = "0ne00000001/registrations/dev-1/api-version=2021-06-01&ClientVersion=1.15.0";
    let poll = format!("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId={OPERATION}");
    let body = br#"{"registrationId":"dev-1"}"#;
    [
        packet(0x10, &[b"\0\x04MQTT\x04\xc2\0\0", &field("dev-1"), &field(user), &field(token)]),
        packet(0x82, &[b"\0\x01", &field("$dps/registrations/res/#"), b"\x01"]),
        packet(0x30, &[&field("$dps/registrations/PUT/iotdps-register/?$rid=1"), body]),
        // The service answered with QoS 1.
        packet(0x40, &[b"\0\x01"]),
        packet(0x30, &[&field(&poll), body]),
        packet(0x40, &[b"\0\x02"]),
        packet(0xe0, &[]),
    ]
    .concat()
}

/// What the SDK for C 1.15.0 writes to its hub, from iothub_client/src/iothubtransport_mqtt_common.c: SendMqttConnectMsg,
/// buildConfigForUsernameStep2IfNeeded, SubscribeToMqttProtocol (lines 2343 to 2382), addPropertiesTouMqttMessage with
/// `auto_url_encode_decode` on, publishTelemetryMsg, publishTwinMsg (GET without a body, its request id the packet id that QoS 0
/// does not tell), publishDeviceMethodResponseMsg; packet ids begin at 2 (`packetId = 1`, getNextPacketId). CONNECT and the packet ids of
/// ten messages without properties were captured as well, and are these.
fn c_hub() -> Vec<u8> {
    let token = "SharedAccessSignature sr=localhost/devices/dev-id&sig=x%3d&se=1";
    let user = "localhost/dev-id/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.15.0%20(native%3b%20Linux%3b%20x86_64)";
    let events = "devices/dev-id/messages/events/level=high%20%26%20low&%24.mid=r-1&%24.ct=application%2fjson&%24.ce=utf-8";
    [
        packet(0x10, &[b"\0\x04MQTT\x04\xc0\0\xf0", &field("dev-id"), &field(user), &field(token)]),
        packet(0x32, &[&field(events), b"\0\x02", br#"{"a":1}"#]),
        packet(
            0x82,
            &[
                b"\0\x03",
                &field("devices/dev-id/messages/devicebound/#"),
                b"\x01",
                &field("$iothub/twin/res/#"),
                b"\0",
                &field("$iothub/twin/PATCH/properties/desired/#"),
                b"\0",
                &field("$iothub/methods/POST/#"),
                b"\0",
            ],
        ),
        packet(0x30, &[&field("$iothub/twin/GET/?$rid=4")]),
        packet(0x30, &[&field("$iothub/twin/PATCH/properties/reported/?$rid=5"), br#"{"a":1}"#]),
        packet(0x30, &[&field("$iothub/methods/res/200/?$rid=3f"), b"{}"]),
        packet(0x32, &[&field(events), b"\0\x07", br#"{"a":1}"#]),
        packet(0xe0, &[]),
    ]
    .concat()
}

/// Plays either service: confirms what wants it, and answers registrations with QoS 1 as the one of the recordings did.
async fn serve(mut peer: PacketStream) {
    let mut answers: u16 = 0;
    while let Ok(Some(packet)) = peer.next().await {
        match packet {
            Packet::Connect(_) => {
                let connack =
                    Connack::builder().session_present(false).return_code(ConnectReturnCode::Accepted);
                peer.send(&connack.build().expect("a CONNACK"));
            }
            Packet::Subscribe(subscribe) => {
                let granted = vec![net::SubackReturnCode::SuccessMaximumQos1; subscribe.entries().len()];
                let suback = Suback::builder().packet_id(subscribe.packet_id()).return_codes(granted);
                peer.send(&suback.build().expect("a SUBACK"));
            }
            Packet::Unsubscribe(unsubscribe) => peer.send_unsuback(unsubscribe.packet_id()),
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id() {
                    peer.send_puback(id);
                }
                let Some(rid) = publish
                    .topic_name()
                    .strip_prefix("$dps/registrations/")
                    .and_then(|rest| rest.split("$rid=").nth(1).and_then(|rest| rest.split('&').next()))
                else {
                    continue;
                };
                answers += 1;
                let topic = azure::response_topic(202, rid, Some(3));
                let body = format!(r#"{{"operationId":"{OPERATION}","status":"assigning"}}"#);
                let answer = net::Publish::builder().topic_name(topic).expect("a topic");
                let answer = answer.qos(Qos::AtLeastOnce).packet_id(answers).payload(body.as_bytes());
                peer.send(&answer.build().expect("a PUBLISH"));
            }
            _ => {}
        }
    }
}

/// All that a device of that kind writes to DPS: it registers, and asks once.
async fn at_dps(clock: &Clock, sdk: Behave) -> Vec<u8> {
    let (near, far, tape) = tapped();
    let service = tokio::task::spawn_local(serve(PacketStream::new(far, 64 * 1_024)));
    let token = dps_token(sdk);
    let habits = sdk.habits();
    let opening = DpsOpening {
        id_scope: SCOPE,
        registration_id: REGISTRATION,
        token: &token,
        keep_alive_s: seconds(habits.dps.keep_alive.unwrap_or(habits.keep_alive)),
        habits,
        draws: draws(),
    };
    let (mut dps, _) = DpsMqtt::open(near, clock, opening).await.expect("it is let in");
    dps.register(clock).await.result.expect("an answer");
    dps.poll(clock, OPERATION).await.result.expect("an answer");
    dps.close().await;
    drop(dps);
    service.await.expect("it ends");
    tape.bytes()
}

fn seconds(duration: Duration) -> u16 {
    u16::try_from(duration.as_secs()).expect("a keep-alive")
}

/// A device of that kind at its hub.
struct AtHub {
    hub: HubMqtt,
    clock: Clock,
    tape: Tape,
    service: tokio::task::JoinHandle<()>,
    sdk: Behave,
}

impl AtHub {
    async fn open(clock: &Clock, sdk: Behave) -> Self {
        Self::drawing(clock, sdk, draws()).await
    }

    async fn drawing(clock: &Clock, sdk: Behave, draws: Stream) -> Self {
        let (near, far, tape) = tapped();
        let service = tokio::task::spawn_local(serve(PacketStream::new(far, 64 * 1_024)));
        let token = sdk.habits().hub.token.token(&key(), &hub_resource(HUB, DEVICE), EXPIRY);
        let opening = Opening {
            host: HUB,
            device_id: DEVICE,
            token: &token,
            keep_alive_s: seconds(sdk.habits().keep_alive),
            habits: sdk.habits(),
            draws,
            topic: None,
            last_packet_id: 0,
        };
        let (hub, _) = HubMqtt::open(near, clock, opening).await.expect("it is let in");
        Self { hub, clock: clock.clone(), tape, service, sdk }
    }

    async fn send(&mut self) {
        let (payload, rendered) = message();
        let habits = self.sdk.habits().hub.bag;
        let qos = crate::device::hub::Qos::AtLeastOnce;
        let envelope = Envelope::of(&payload, crate::azure::protocol::Protocol::Mqtt, qos, habits);
        let Envelope::Mqtt(bag) = &envelope else { panic!("for MQTT") };
        let message = Message { sequence: 1, rendered: &rendered, envelope: &envelope, packet_id: None };
        self.hub.send(&self.clock, &message, bag).expect("it fits");
        let event = self.hub.event(&self.clock).await;
        assert!(matches!(event, Event::Acknowledged { sequence: 1, .. }), "{event:?}");
    }

    /// Subscribes to those whose topics begin so, in that order.
    async fn subscribe(&mut self, starts: &[&str]) {
        let chores = Chores {
            twin: Some(TwinChores { gets: true, reports: true, report_every: None, desired: true }),
            methods: Some(MethodChores { reply_after: Duration::ZERO, status: 200 }),
            messages: Some(MessageChores { settle: Settle::Complete, poll_every: MessageChores::POLL_EVERY }),
        };
        let all = chores.filters(DEVICE, self.sdk.habits().hub.subscribing.qos);
        let named = |start: &&str| all.iter().find(|(filter, _)| filter.starts_with(start)).cloned();
        let wanted = match starts.is_empty() {
            true => all.clone(),
            false => starts.iter().map(|start| named(start).expect("one of them")).collect(),
        };
        let subscribed = self.hub.subscribe(&self.clock, &wanted, Before::Nothing).await;
        assert!(subscribed.expect("it is granted").is_some());
    }

    fn get_twin(&mut self) {
        let rid = self.hub.request_id().expect("an SDK has its own");
        let habits = &self.sdk.habits().hub;
        let topic = twin_get_topic(&rid);
        self.hub.tell(&self.clock, &topic, habits.twin_body.as_bytes(), habits.twin_qos).expect("it fits");
    }

    fn report(&mut self, body: &str) {
        let rid = self.hub.request_id().expect("an SDK has its own");
        let qos = self.sdk.habits().hub.twin_qos;
        self.hub.tell(&self.clock, &twin_patch_topic(&rid), body.as_bytes(), qos).expect("it fits");
    }

    fn reply(&mut self) {
        self.hub.reply(&self.clock, &method_response_topic(200, "3f"), b"{}").expect("it fits");
    }

    /// All that it wrote.
    async fn close(mut self) -> Vec<u8> {
        self.hub.close().await;
        drop(self.hub);
        self.service.await.expect("it ends");
        self.tape.bytes()
    }
}

/// What was recorded, with the operation of [`OPERATION`].
fn recorded(packets: &[&[u8]], is_relative: bool) -> Vec<String> {
    let lines = super::packets(&packets.concat(), is_relative);
    let node = "5.c506488dce6ae637.2c74f452-585f-448d-9b27-31e851d68a77";
    lines.iter().map(|line| line.replace(node, OPERATION)).collect()
}

#[test]
fn dps_gets_the_packets_of_pythons_sdk() {
    let done = simulate(|clock| async move {
        assert_eq!(packets(&at_dps(&clock, Behave::Python).await, false), recorded(PYTHON_DPS, false));
    });
    done.expect("no task is left waiting");
}

#[test]
fn dps_gets_the_packets_of_nodes_sdk() {
    let done = simulate(|clock| async move {
        assert_eq!(packets(&at_dps(&clock, Behave::Node).await, true), recorded(NODE_DPS, true));
    });
    done.expect("no task is left waiting");
}

#[test]
fn dps_gets_the_packets_of_the_sdk_for_c() {
    let done = simulate(|clock| async move {
        assert_eq!(packets(&at_dps(&clock, Behave::C).await, false), packets(&c_dps(), false));
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_hub_gets_the_packets_of_pythons_sdk() {
    let done = simulate(|clock| async move {
        let mut device = AtHub::open(&clock, Behave::Python).await;
        device.send().await;
        device.subscribe(&["devices/", "$iothub/methods", "$iothub/twin/PATCH", "$iothub/twin/res"]).await;
        device.get_twin();
        device.report("{\"a\": 1}");
        assert_eq!(packets(&device.close().await, false), recorded(PYTHON_HUB, false));
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_hub_gets_the_packets_of_nodes_sdk() {
    let done = simulate(|clock| async move {
        let mut device = AtHub::open(&clock, Behave::Node).await;
        device.send().await;
        device.subscribe(&["devices/", "$iothub/methods", "$iothub/twin/res"]).await;
        device.get_twin();
        device.subscribe(&["$iothub/twin/PATCH"]).await;
        device.report("{\"a\":1}");
        assert_eq!(packets(&device.close().await, true), recorded(NODE_HUB, true));
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_hub_gets_the_packets_of_the_sdk_for_c() {
    let done = simulate(|clock| async move {
        let mut device = AtHub::open(&clock, Behave::C).await;
        device.send().await;
        device.subscribe(&[]).await;
        device.get_twin();
        device.report("{\"a\":1}");
        device.reply();
        // Of the reply one does not see the id, but it had one.
        device.send().await;
        assert_eq!(packets(&device.close().await, false), packets(&c_hub(), false));
    });
    done.expect("no task is left waiting");
}

/// mqtt 4.3.8 (client.js, `_nextId`) begins with `Math.floor(Math.random() * 65535)`; the other two count on from where they start.
#[test]
fn nodes_packet_ids_begin_at_a_random_one_and_those_of_the_others_do_not() {
    let done = simulate(|clock| async move {
        let first = |sdk: Behave, seed: u64| {
            let clock = clock.clone();
            async move {
                let mut device = AtHub::drawing(&clock, sdk, stream(seed, "x", 0, Purpose::Client)).await;
                device
                    .hub
                    .subscribe(&clock, &[(azure::METHODS.to_owned(), Qos::AtMostOnce)], Before::Nothing)
                    .await
                    .expect("it is granted");
                packets(&device.close().await, false)[1].clone()
            }
        };
        for (sdk, id) in [(Behave::Muster, 1), (Behave::Python, 1), (Behave::C, 2)] {
            let line = first(sdk, 1).await;
            assert!(line.starts_with(&format!("SUBSCRIBE 82 id {id} ")), "{sdk:?}: {line}");
        }
        assert_ne!(first(Behave::Node, 1).await, first(Behave::Node, 2).await);
    });
    done.expect("no task is left waiting");
}

/// Not in the recordings: azure/iot/device/iothub/pipeline/pipeline_stages_iothub_mqtt.py publishes all with QoS 1, and
/// azure-iot-device-mqtt's mqtt_device_method_client (`qos: 0`) with QoS 0.
#[test]
fn methods_are_answered_with_the_qos_of_each_sdk() {
    let done = simulate(|clock| async move {
        for (sdk, expected) in [
            (Behave::Python, "PUBLISH 32 id 1 $iothub/methods/res/200/?$rid=3f\n  \"{}\""),
            (Behave::Node, "PUBLISH 30 id - $iothub/methods/res/200/?$rid=3f\n  \"{}\""),
        ] {
            let mut device = AtHub::open(&clock, sdk).await;
            device.reply();
            assert_eq!(packets(&device.close().await, false)[1], expected, "{sdk:?}");
        }
    });
    done.expect("no task is left waiting");
}

/// A hub that has kept the session gives back its subscriptions, and not every SDK relies on it: Python's never subscribes twice
/// (OBS), Node's `_disconnectHandler` (azure-iot-device, internal_client.js and device_client.js) does after a loss, C after each
/// reconnect (iothubtransport_mqtt_common.c, `topics_ToSubscribe`).
#[test]
fn each_sdk_subscribes_again_when_it_does() {
    let done = simulate(|clock| async move {
        for (sdk, expected) in [
            (Behave::Muster, [true, true, true]),
            (Behave::Python, [true, false, false]),
            (Behave::Node, [true, true, false]),
            (Behave::C, [true, true, true]),
        ] {
            let mut subscribed = Vec::new();
            for before in [Before::Nothing, Before::Loss, Before::Renewal] {
                let mut device = AtHub::open(&clock, sdk).await;
                let wanted = [(azure::METHODS.to_owned(), Qos::AtMostOnce)];
                let done = device.hub.subscribe(&clock, &wanted, before).await;
                subscribed.push(done.expect("it is granted").is_some());
            }
            assert_eq!(subscribed, expected, "{sdk:?}");
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_mask_hides_no_more_than_its_name_says() {
    let line = "$rid=939ae8a4-d487-4d83-a902-b13a56e80854&operationId=5.c506488dce6ae637.2c74f452-585f-448d-9b27-31e851d68a77";
    assert_eq!(masked(line), "$rid=*&operationId=5.c506488dce6ae637.2c74f452-585f-448d-9b27-31e851d68a77");
    assert_eq!(masked("$rid=7&sr=a%2fb&sig=x%3d&se=12&skn="), "$rid=7&sr=a%2fb&sig=*&se=*&skn=");
}
