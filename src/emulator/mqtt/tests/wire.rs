//! The bytes themselves: as the standard has them, cut short, and changed.

use super::*;
use crate::azure::two_way::{method_response_topic, twin_patch_topic};

#[test]
fn what_is_on_the_wire_is_what_the_standard_says_to_the_byte() {
    /// Two bytes of length, and the text.
    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
    }
    /// A header with its remaining length in two bytes, and the rest.
    fn packet(header: u8, rest: &[&[u8]]) -> Vec<u8> {
        let rest = rest.concat();
        let length = [0x80 | (rest.len() % 128) as u8, (rest.len() / 128) as u8];
        [&[header][..], &length, &rest].concat()
    }
    run(immediate(), |world| async move {
        world.register("dev").await;
        // Written by hand from the tables of the standard, without the library that both parties share. User names,
        // topics and flags as Node's client sends them.
        let user = format!("{NORTH}/dev/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4");
        let token = hub_token(NORTH, "dev");
        let names = [text("dev"), text(&user), text(&token)].concat();
        let connect = packet(0x10, &[&text("MQTT"), &[4, 0xc0, 0, 180], &names]);
        let event = text("devices/dev/messages/events/%24.mid=1");
        let exchanges: [(Vec<u8>, &[u8]); 8] = [
            (connect, &[0x20, 2, 0, 0]),
            (packet(0x82, &[&[0, 10], &text(METHODS), &[0]]), &[0x90, 3, 0, 10, 0]),
            (
                packet(0x82, &[&[0, 11], &text("devices/dev/messages/devicebound/#"), &[2]]),
                &[0x90, 3, 0, 11, 1],
            ),
            (packet(0x82, &[&[0, 12], &text("x/#"), &[1]]), &[0x90, 3, 0, 12, 0x80]),
            (packet(0x32, &[&event, &[0x12, 0x34], b"{}"]), &[0x40, 2, 0x12, 0x34]),
            (packet(0xa2, &[&[0, 13], &text(METHODS)]), &[0xb0, 2, 0, 13]),
            (vec![0xc0, 0], &[0xd0, 0]),
            (vec![0xe0, 0], &[]),
        ];
        let mut device = world.network.dial(NORTH).expect("somebody listens");
        for (sent, expected) in exchanges {
            device.write_all(&sent).await.expect("room");
            let mut answer = vec![0; expected.len()];
            device.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(answer, expected, "{sent:02x?}");
        }
        assert_eq!(device.read(&mut [0; 8]).await.expect("an end"), 0);
    });
}

/// Sessions in which every packet that a client sends occurs.
fn good_sessions() -> [Vec<u8>; 3] {
    let expiry = VALID + seconds(1_000_000_000);
    let key = derived(PRIMARY, "dev");
    let session = |user: String, resource: String, filter: &str, publishes: [Publish; 2]| {
        let token = token(&key, &resource, ResourceSpelling::UpperCaseHex, expiry);
        let connect = connect!("dev", user, token, false);
        let connect = connect.will_message(EVENTS, b"gone".to_vec(), Qos::AtLeastOnce, true).expect("a will");
        let entry = SubEntry::new(filter, SubOpts::new().set_qos(Qos::AtLeastOnce)).expect("a filter");
        let subscribe = Subscribe::builder().packet_id(3).entries(vec![entry]).build().expect("a packet");
        let unsubscribe = Unsubscribe::builder().packet_id(4).entries(vec![filter]).expect("filters");
        let mut bytes = connect.build().expect("a packet").to_continuous_buffer();
        bytes.extend(subscribe.to_continuous_buffer());
        publishes.iter().for_each(|publish| bytes.extend(publish.to_continuous_buffer()));
        bytes.extend([0x40, 2, 0, 1]);
        bytes.extend(unsubscribe.build().expect("a packet").to_continuous_buffer());
        bytes.extend([0xc0, 0, 0xe0, 0]);
        bytes
    };
    let register = publish(&register_topic(1), Some(1), body_of("dev").as_bytes());
    let poll = publish(&poll_topic(2, "5.x"), None, b" ");
    let confirmed = publish(&format!("{EVENTS}%24.mid=m&a=b"), Some(1), b"{}");
    [
        session(
            dps_user_name(SCOPE, "dev", "2019-03-31", "x"),
            dps_resource(SCOPE, "dev"),
            DPS_RESPONSES,
            [register, poll],
        ),
        session(
            hub_user_name(NORTH, "dev", "2021-04-12", "x"),
            hub_resource(NORTH, "dev"),
            METHODS,
            [confirmed, publish(EVENTS, None, b"{}")],
        ),
        session(
            hub_user_name(NORTH, "dev", "2021-04-12", "x"),
            hub_resource(NORTH, "dev"),
            TWIN_RESPONSES,
            [
                publish(&twin_patch_topic("1"), Some(1), br#"{"a":{"b":null}}"#),
                publish(&method_response_topic(200, "1"), None, b"{}"),
            ],
        ),
    ]
}

#[test]
fn every_prefix_and_every_change_of_a_byte_is_answered_or_ends_the_connection() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        for good in good_sessions() {
            let prefixes = (1..=good.len()).map(|end| good[..end].to_vec());
            let changes = (0..good.len()).flat_map(|at| {
                let masks = (0..8).map(|bit| 1 << bit).chain([0xff]);
                let good = &good;
                masks.map(move |mask| {
                    let mut bytes = good.clone();
                    bytes[at] ^= mask;
                    bytes
                })
            });
            for bytes in prefixes.chain(changes) {
                let mut stream = world.network.dial(NORTH).expect("somebody listens");
                stream.write_all(&bytes).await.expect("room");
                // Nothing more comes: it is the server that has to make an end.
                let mut answer = Vec::new();
                let deadline = world.clock.now() + seconds(MAX_SILENCE_S + 1);
                let ended = world.clock.until(deadline, stream.read_to_end(&mut answer)).await;
                ended.expect("an end").expect("an orderly one");
            }
        }
        let ledger = world.emulator.ledger();
        // A door that panicked would not have counted the end.
        assert_eq!(ledger.mqtt.connections, ledger.mqtt.ended.values().sum::<u64>());
        assert!(ledger.mqtt.connections > 8_000, "{}", ledger.mqtt.connections);
        assert!(ledger.mqtt.ended.len() >= 6, "{:?}", ledger.mqtt.ended);
        assert_eq!(ledger.count(Operation::MqttSend, 204), ledger.messages());
    });
}
