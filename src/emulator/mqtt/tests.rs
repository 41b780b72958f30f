use hyper::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::session::{MAX_HELD, MAX_QUEUED};
use super::*;
use crate::azure::dps::error_code;
use crate::azure::limits::{HubSize, Tier};
use crate::azure::mqtt::*;
use crate::azure::sas::{ResourceSpelling, dps_resource, hub_resource};
use crate::emulator::channel::Report;
use crate::emulator::config::Config;
use crate::emulator::fixture::*;
use crate::emulator::http::IDLE;
use crate::emulator::ledger::Operation;
use crate::emulator::serve::DPS_HOST;
use crate::net::mqtt::{Publish, Qos, SubEntry, SubOpts, SubackReturnCode, Subscribe, Unsubscribe};

impl World {
    async fn register(&self, id: &str) {
        let mut dps = Client::connect(&self.network, DPS_HOST).await;
        assert_eq!(dps.register(id).await.status, 200);
    }

    fn dial(&self, host: &str) -> Device {
        let stream = self.network.dial(host).expect("somebody listens");
        Device { packets: PacketStream::new(stream, 1024 * 1024), clock: self.clock.clone() }
    }

    /// Connects, and is let in.
    async fn connect(&self, host: &str, connect: Connect) -> Device {
        let mut device = self.dial(host);
        let connack = device.greet(&connect).await;
        assert_eq!(connack.return_code(), ConnectReturnCode::Accepted);
        device
    }

    /// A device that is at its hub, with a session of its own for this connection.
    async fn device(&self, id: &str) -> Device {
        self.register(id).await;
        self.connect(NORTH, hub_connect(id, true)).await
    }

    fn ended(&self, ending: Ending) -> u64 {
        self.emulator.ledger().mqtt.count(ending)
    }
}

/// An MQTT client as the tests need it.
struct Device {
    packets: PacketStream,
    clock: Clock,
}

impl Device {
    async fn greet(&mut self, connect: &Connect) -> Connack {
        self.packets.send(connect);
        match self.next().await {
            Some(Packet::Connack(connack)) => connack,
            other => panic!("{other:?}"),
        }
    }

    /// The next packet; `None` when the server has closed. Never waits longer than any server does.
    async fn next(&mut self) -> Option<Packet> {
        let deadline = self.clock.now() + seconds(2 * MAX_SILENCE_S);
        self.clock.until(deadline, self.packets.next()).await.expect("an answer or an end").unwrap_or(None)
    }

    async fn subscribe(&mut self, filters: &[(&str, Qos)]) -> Vec<SubackReturnCode> {
        let entries = filters
            .iter()
            .map(|(filter, qos)| SubEntry::new(*filter, SubOpts::new().set_qos(*qos)).expect("a filter"));
        let entries: Vec<_> = entries.collect();
        let subscribe = Subscribe::builder().packet_id(7).entries(entries).build();
        self.packets.send(&subscribe.expect("a packet"));
        match self.next().await {
            Some(Packet::Suback(suback)) => suback.return_codes(),
            other => panic!("{other:?}"),
        }
    }

    fn publish(&mut self, topic: &str, packet_id: Option<u16>, body: &[u8]) {
        self.packets.send(&publish(topic, packet_id, body));
    }

    /// Sends and waits for the PUBACK.
    async fn send(&mut self, topic: &str, body: &[u8]) {
        self.publish(topic, Some(9), body);
        match self.next().await {
            Some(Packet::Puback(9)) => {}
            other => panic!("{other:?}"),
        }
    }

    /// The server's next message: topic, body, QoS.
    async fn message(&mut self) -> (String, serde_json::Value, Qos) {
        match self.next().await {
            Some(Packet::Publish(publish)) => {
                let body = serde_json::from_slice(publish.payload().as_slice()).expect("JSON");
                (publish.topic_name().to_owned(), body, publish.qos())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn ping(&mut self) {
        self.packets.send_pingreq();
        match self.next().await {
            Some(Packet::Pingresp) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn leave(mut self) {
        self.packets.send_disconnect();
        assert!(self.next().await.is_none());
    }

    async fn is_closed(&mut self) {
        if let Some(packet) = self.next().await {
            panic!("{packet:?}");
        }
    }
}

fn publish(topic: &str, packet_id: Option<u16>, body: &[u8]) -> Publish {
    let publish = Publish::builder().topic_name(topic).expect("a topic").payload(body.to_vec());
    let publish = match packet_id {
        Some(id) => publish.qos(Qos::AtLeastOnce).packet_id(id),
        None => publish,
    };
    publish.build().expect("a packet")
}

macro_rules! connect {
    ($id:expr, $user:expr, $token:expr, $clean:expr) => {
        Connect::builder()
            .client_id($id)
            .expect("an id")
            .clean_session($clean)
            .user_name($user.as_str())
            .expect("a name")
            .password($token.as_bytes().to_vec())
            .expect("a token")
            .keep_alive(240)
    };
}

// After the macro, which they use.
mod limits;
mod websocket;
mod two_way;
mod wire;

fn hub_connect(id: &str, is_clean: bool) -> Connect {
    connect!(id, hub_user_name(NORTH, id, "2021-04-12", "test"), hub_token(NORTH, id), is_clean)
        .build()
        .expect("a packet")
}

fn dps_connect(id: &str, token: &str) -> Connect {
    connect!(id, dps_user_name(SCOPE, id, "2019-03-31", "test"), token, true).build().expect("a packet")
}

fn sized(tier: Tier) -> Config {
    let mut config = immediate();
    config.hubs[0].size = Some(HubSize { tier, units: 1 });
    config
}

const EVENTS: &str = "devices/dev/messages/events/";

#[test]
fn a_device_registers_and_sends_as_with_the_real_services() {
    run(config(), |world| async move {
        let mut dps = world.connect(DPS_HOST, dps_connect("dev", &dps_token("dev"))).await;
        let granted = dps.subscribe(&[(DPS_RESPONSES, Qos::ExactlyOnce)]).await;
        assert_eq!(granted, [SubackReturnCode::SuccessMaximumQos1]);
        let register = "$dps/registrations/PUT/iotdps-register/?$rid=a%20b:1";
        dps.send(register, body_of("dev").as_bytes()).await;
        let (topic, first, qos) = dps.message().await;
        assert_eq!(topic, "$dps/registrations/res/202/?$rid=a%20b:1&retry-after=3");
        assert_eq!((first.as_object().map(serde_json::Map::len), qos), (Some(2), Qos::AtLeastOnce));
        let operation = first["operationId"].as_str().expect("an id").to_owned();

        dps.publish(&poll_topic(2, &operation), None, b" ");
        let (topic, early, _) = dps.message().await;
        assert_eq!(topic, "$dps/registrations/res/202/?$rid=2&retry-after=3");
        assert_eq!(early["registrationState"]["status"], "assigning");
        world.clock.sleep(seconds(3)).await;
        assert_eq!(dps.subscribe(&[(DPS_RESPONSES, Qos::AtMostOnce)]).await.len(), 1);
        dps.publish(&poll_topic(3, &operation), None, b"");
        let (topic, done, qos) = dps.message().await;
        assert_eq!((topic.as_str(), qos), ("$dps/registrations/res/200/?$rid=3", Qos::AtMostOnce));
        assert_eq!(done["registrationState"]["assignedHub"], NORTH);
        dps.publish(&poll_topic(4, "5.x"), None, b"");
        let (topic, unknown, _) = dps.message().await;
        assert_eq!(topic, "$dps/registrations/res/404/?$rid=4");
        assert_eq!(unknown["errorCode"], error_code::NOT_FOUND);
        dps.leave().await;

        let mut hub = world.connect(NORTH, hub_connect("dev", true)).await;
        hub.publish(EVENTS, None, b"{}");
        hub.send(&format!("{EVENTS}%24.mid=m-1&%24.ct=text&a%20=bc&d"), b"{}").await;
        hub.send("devices/dev/messages/events", b"").await;
        let mut retained = publish(EVENTS, Some(1), b"");
        retained = Publish::builder()
            .topic_name(retained.topic_name())
            .expect("a topic")
            .qos(Qos::AtLeastOnce)
            .packet_id(1u16)
            .retain(true)
            .build()
            .expect("a packet");
        hub.packets.send(&retained);
        assert!(matches!(hub.next().await, Some(Packet::Puback(1))));
        hub.leave().await;

        let ledger = world.emulator.ledger();
        assert_eq!(ledger.count(Operation::MqttRegister, 202), 1);
        assert_eq!(ledger.count(Operation::MqttPoll, 202), 1);
        assert_eq!(ledger.count(Operation::MqttPoll, 200), 1);
        assert_eq!(ledger.count(Operation::MqttPoll, 404), 1);
        assert_eq!(ledger.count(Operation::MqttSend, 204), 4);
        let north = &ledger.hubs["north"];
        assert_eq!((north.messages, north.mqtt_qos0, north.mqtt_qos1, north.senders), (4, 1, 3, 1));
        // Bodies; values of system properties; names and values of the device's own; that it was retained.
        assert_eq!(north.bytes, 2 + (2 + 3 + 4 + 4 + 1) + 15);
        let mqtt = &ledger.mqtt;
        assert_eq!((mqtt.connections, mqtt.dps_connects, north.mqtt_connects), (2, 1, 1));
        assert_eq!((ledger.assigned, mqtt.count(Ending::Disconnect)), (1, 2));
        // What a ledger of before MQTT does not have is nothing.
        let mut old = serde_json::to_value(&ledger).expect("JSON");
        old.as_object_mut().expect("an object").remove("mqtt");
        assert!(serde_json::from_value::<crate::emulator::ledger::Ledger>(old).is_ok());
    });
}

#[test]
fn a_wrong_token_is_told_with_the_request_and_not_before() {
    run(immediate(), |world| async move {
        let short = world.clock.wall() + seconds(5);
        let resource = dps_resource(SCOPE, "dev");
        let short = token(&derived(PRIMARY, "dev"), &resource, ResourceSpelling::Raw, short);
        for (token, wait) in [("nonsense", 0), (&dps_token("other"), 0), (&short, 5)] {
            let mut dps = world.connect(DPS_HOST, dps_connect("dev", token)).await;
            dps.subscribe(&[(DPS_RESPONSES, Qos::AtLeastOnce)]).await;
            world.clock.sleep(seconds(wait)).await;
            // A client that forgot the dollar is answered without its request id.
            for (topic, rid) in [(register_topic(1), "1"), (register_topic(1).replace('$', ""), "")] {
                let topic = topic.replacen("dps", "$dps", usize::from(rid.is_empty()));
                dps.publish(&topic, None, body_of("dev").as_bytes());
                let (topic, body, _) = dps.message().await;
                assert_eq!(topic, format!("$dps/registrations/res/401/?$rid={rid}"));
                assert_eq!(body["errorCode"], error_code::UNAUTHORIZED);
                assert_eq!(body["trackingId"].as_str().map(str::len), Some(32));
            }
        }
        assert_eq!(world.emulator.ledger().count(Operation::MqttRegister, 401), 6);
        // The same for a body that names somebody else, and for a user name without version.
        let user = format!("{SCOPE}/registrations/dev");
        let mut dps = world.connect(DPS_HOST, dps_connect("dev", &dps_token("dev"))).await;
        let bare = connect!("DEV", user, dps_token("dev"), true).build().expect("a packet");
        let mut other = world.connect(DPS_HOST, bare).await;
        for (device, id) in [(&mut dps, "other"), (&mut other, "dev")] {
            device.subscribe(&[(DPS_RESPONSES, Qos::AtLeastOnce)]).await;
            device.publish(&register_topic(1), None, body_of(id).as_bytes());
            let (topic, body, _) = device.message().await;
            assert_eq!(topic, "$dps/registrations/res/400/?$rid=1");
            assert_eq!(body["errorCode"], error_code::INVALID_ARGUMENT);
        }
    });
}

#[test]
fn a_throttled_registration_is_told_when_to_come_back_in_lower_case() {
    let mut config = immediate();
    config.dps.registrations = Some("6/min".parse().expect("a rate"));
    run(config, |world| async move {
        let mut dps = world.connect(DPS_HOST, dps_connect("dev", &dps_token("dev"))).await;
        dps.subscribe(&[(DPS_RESPONSES, Qos::AtLeastOnce)]).await;
        for status in [200, 429] {
            dps.publish(&register_topic(1), None, body_of("dev").as_bytes());
            let (topic, _, _) = dps.message().await;
            assert!(topic.starts_with(&format!("$dps/registrations/res/{status}/?$rid=1")), "{topic}");
            assert_eq!(topic.ends_with("&retry-after=3"), status == 429, "{topic}");
        }
        assert_eq!(world.emulator.ledger().registrations_throttled, 1);
    });
}

#[test]
fn what_dps_does_not_take_ends_the_connection() {
    run(immediate(), |world| async move {
        let body = body_of("dev");
        for (topic, subscribes) in [("$dps/registrations/POST/x/?$rid=1", true), (&register_topic(1), false)]
        {
            let mut dps = world.connect(DPS_HOST, dps_connect("dev", &dps_token("dev"))).await;
            let refused = dps.subscribe(&[("$dps/#", Qos::AtMostOnce), (METHODS, Qos::AtMostOnce)]).await;
            assert_eq!(refused, [SubackReturnCode::Failure; 2]);
            if subscribes {
                dps.subscribe(&[(DPS_RESPONSES, Qos::AtLeastOnce)]).await;
            }
            dps.publish(topic, None, body.as_bytes());
            dps.is_closed().await;
        }
        assert_eq!(world.ended(Ending::Protocol), 2);
    });
}

#[test]
fn a_client_that_is_not_let_in_is_told_why() {
    run(two_hubs(), |world| async move {
        world.emulator.service().freeze(Instant::from_nanos(0), Instant::from_nanos(0));
        let mut dps = Client::connect(&world.network, DPS_HOST).await;
        dps.register("dev").await;
        world.clock.sleep(seconds(3)).await;
        let operation = dps.register("dev").await.json()["operationId"].as_str().expect("an id").to_owned();
        world.clock.sleep(seconds(3)).await;
        let state = dps.poll("dev", &operation).await.json()["registrationState"].clone();
        let home = state["assignedHub"].as_str().expect("a hub").to_owned();
        let other = if home == NORTH { "south.azure-devices.localhost" } else { NORTH };
        let good = hub_token(&home, "dev");
        let user = |host: &str, id: &str| hub_user_name(host, id, "2021-04-12", "test");
        let expired =
            token(&derived(PRIMARY, "dev"), &hub_resource(&home, "dev"), ResourceSpelling::Raw, EXPIRED);
        use ConnectReturnCode::*;
        let cases = [
            ("", user(&home, "dev"), &good, IdentifierRejected),
            ("dev2", user(&home, "dev"), &good, IdentifierRejected),
            ("DEV", user(&home, "dev"), &good, IdentifierRejected),
            ("dev2", dps_user_name(SCOPE, "dev", "2019-03-31", "x"), &good, IdentifierRejected),
            ("dev", "dev".to_owned(), &good, BadUserNameOrPassword),
            ("dev", format!("{home}/dev/"), &good, BadUserNameOrPassword),
            ("dev", user(&home, "dev"), &"nonsense".to_owned(), NotAuthorized),
            ("dev", user(&home, "dev"), &expired, NotAuthorized),
            ("dev", user(other, "dev"), &good, NotAuthorized),
            ("dev", user(other, "dev"), &hub_token(other, "dev"), NotAuthorized),
            ("dev", user("elsewhere.net", "dev"), &good, NotAuthorized),
            ("dev", user(&home, "dev"), &good, Accepted),
        ];
        for (id, user, token, code) in cases {
            let mut device = world.dial(DPS_HOST);
            let connack = device.greet(&connect!(id, user, token, true).build().expect("a packet")).await;
            assert_eq!((connack.return_code(), connack.session_present()), (code, false), "{id} {user}");
            if code != Accepted {
                device.is_closed().await;
            }
        }
        let mut old = hub_connect("dev", true).to_continuous_buffer();
        let level = old.windows(4).position(|part| part == b"MQTT").expect("its name") + 4;
        old[level] = 5;
        let mut device = world.network.dial(NORTH).expect("somebody listens");
        device.write_all(&old).await.expect("room");
        let mut answer = Vec::new();
        device.read_to_end(&mut answer).await.expect("an end");
        assert_eq!(answer, [0x20, 2, 0, 1]);
        let refused = world.emulator.ledger().mqtt.refused;
        assert_eq!(refused.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 4), (4, 2), (5, 5)]);
        assert_eq!(world.ended(Ending::Refused), 12);
    });
}

#[test]
fn flags_that_the_standard_forbids_end_the_connection_without_an_answer() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        let good = hub_connect("dev", true).to_continuous_buffer();
        let flags = good.windows(4).position(|part| part == b"MQTT").expect("its name") + 5;
        assert_eq!(good[flags], 0b1100_0010);
        for wrong in [0b0000_0001, 0b0010_0000, 0b0000_1000, 0b0001_1000] {
            let mut bytes = good.clone();
            bytes[flags] |= wrong;
            let mut device = world.network.dial(NORTH).expect("somebody listens");
            device.write_all(&bytes).await.expect("room");
            let mut answer = Vec::new();
            device.read_to_end(&mut answer).await.expect("an end");
            assert!(answer.is_empty(), "{wrong:#b}: {answer:?}");
        }
        assert_eq!(world.ended(Ending::Malformed), 4);
    });
}

#[test]
fn packets_that_a_client_may_not_send_end_the_connection() {
    run(immediate(), |world| async move {
        let qos2 =
            Publish::builder().topic_name(EVENTS).expect("a topic").qos(Qos::ExactlyOnce).packet_id(1u16);
        let cases: Vec<(Vec<u8>, Ending)> = vec![
            (qos2.build().expect("a packet").to_continuous_buffer(), Ending::Protocol),
            (hub_connect("dev", true).to_continuous_buffer(), Ending::Protocol),
            (vec![0x20, 2, 0, 0], Ending::Protocol),
            (vec![0x62, 2, 0, 1], Ending::Protocol),
            (vec![0xd0, 0], Ending::Protocol),
            (publish("devices/other/messages/events/", None, b"").to_continuous_buffer(), Ending::Protocol),
            (publish("$iothub/twin/PUT/?$rid=1", None, b"").to_continuous_buffer(), Ending::Protocol),
            (publish("$iothub/methods/res/x/?$rid=1", None, b"").to_continuous_buffer(), Ending::Protocol),
            (publish(&format!("{EVENTS}a=%ff"), None, b"").to_continuous_buffer(), Ending::Malformed),
            (publish(&format!("{EVENTS}\0"), None, b"").to_continuous_buffer(), Ending::Malformed),
            // DUP at QoS 0; packet id 0; a subscription with a bit of version 5.
            (vec![0x38, 3, 0, 1, b'a'], Ending::Malformed),
            (vec![0x82, 6, 0, 0, 0, 1, b'a', 0], Ending::Malformed),
            (vec![0x82, 6, 0, 1, 0, 1, b'a', 4], Ending::Malformed),
            (vec![0xa2, 5, 0, 0, 0, 1, b'a'], Ending::Malformed),
            (vec![0xf0, 0], Ending::Malformed),
        ];
        for (bytes, ending) in cases {
            world.device("dev").await;
            let mut device = world.network.dial(NORTH).expect("somebody listens");
            let before = world.ended(ending);
            device.write_all(&hub_connect("dev", true).to_continuous_buffer()).await.expect("room");
            device.write_all(&bytes).await.expect("room");
            let mut answer = Vec::new();
            device.read_to_end(&mut answer).await.expect("an end");
            assert_eq!(answer, [0x20, 2, 0, 0], "{bytes:?}");
            assert_eq!(world.ended(ending), before + 1, "{bytes:?}");
        }
        let ledger = world.emulator.ledger();
        assert_eq!((ledger.messages(), ledger.count(Operation::MqttSend, 400)), (0, 1));
    });
}

#[test]
fn subscriptions_are_granted_as_the_hub_does_and_unsubscribe_is_always_answered() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        use SubackReturnCode::*;
        let bound = devicebound_filter("dev");
        let granted = device
            .subscribe(&[
                (METHODS, Qos::AtLeastOnce),
                (&bound, Qos::ExactlyOnce),
                ("devices/other/messages/devicebound/#", Qos::AtMostOnce),
                ("#", Qos::AtMostOnce),
                (&bound, Qos::AtMostOnce),
                (TWIN_DESIRED, Qos::AtMostOnce),
            ])
            .await;
        let expected =
            [SuccessMaximumQos0, SuccessMaximumQos1, Failure, Failure, SuccessMaximumQos0, Failure];
        assert_eq!(granted, expected);
        let filters = vec![METHODS, "nothing/known"];
        let unsubscribe = Unsubscribe::builder().packet_id(12).entries(filters).expect("filters").build();
        device.packets.send(&unsubscribe.expect("a packet"));
        assert!(matches!(device.next().await, Some(Packet::Unsuback(12))));
        device.ping().await;
    });
}

#[test]
fn a_session_is_kept_for_a_device_that_wants_it_and_dropped_for_one_that_does_not() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        for (is_clean, is_present) in
            [(true, false), (false, false), (false, true), (false, true), (true, false), (false, false)]
        {
            let mut device = world.dial(NORTH);
            let connack = device.greet(&hub_connect("dev", is_clean)).await;
            assert_eq!(connack.session_present(), is_present);
            device.subscribe(&[(METHODS, Qos::AtMostOnce)]).await;
            device.leave().await;
        }
        let hub = world.emulator.service().authenticate_device(
            None,
            "dev",
            Some(&hub_token(NORTH, "dev")),
            world.clock.wall(),
        );
        let hub = world.emulator.service().hub_of_device(&hub.expect("a device")).attach("dev", false);
        let mut kept = crate::emulator::hub::Subscriptions::default();
        kept.set(crate::emulator::hub::Filter::Methods, Some(0));
        assert_eq!(hub.expect("a device").resumed, Some(kept));
    });
}

#[test]
fn a_new_connection_of_a_device_ends_its_old_one_at_once() {
    run(immediate(), |world| async move {
        let mut first = world.device("dev").await;
        let mut bystander = world.device("other").await;
        let start = world.clock.now();
        let mut second = world.connect(NORTH, hub_connect("dev", true)).await;
        first.is_closed().await;
        assert_eq!(world.clock.now(), start);
        // Whoever is not let in ends nothing.
        let mut stranger = world.dial(NORTH);
        let user = hub_user_name(NORTH, "dev", "2021-04-12", "x");
        stranger.greet(&connect!("dev", user, "nonsense", true).build().expect("a packet")).await;
        second.ping().await;
        bystander.ping().await;
        assert_eq!(world.ended(Ending::Takeover), 1);
        let service = world.emulator.service();
        service.set_device_enabled("north", "dev", false);
        second.is_closed().await;
        service.delete_device("north", "other");
        bystander.is_closed().await;
        assert_eq!((world.clock.now(), world.ended(Ending::Disabled)), (start, 2));
    });
}
