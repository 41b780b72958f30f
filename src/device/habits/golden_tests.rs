//! What goes over the wire, held against what was recorded of each SDK, field by field.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::azure::keys::SigningKey;
use crate::azure::mqtt::WEBSOCKET_PATH;
use crate::azure::sas::{dps_resource, hub_resource};
use crate::device::dps::https::DpsHttps;
use crate::device::dps::mqtt::{DpsMqtt, Opening as DpsOpening};
use crate::device::hub::https::{Headers, HubHttps, Opening as HttpsOpening};
use crate::device::hub::mqtt::{HubMqtt, Opening};
use crate::device::hub::{Envelope, Message};
use crate::net::mqtt::{self as net, Connack, ConnectReturnCode, Packet, PacketStream, Suback};
use crate::net::stream::Stream as Bytes;
use crate::net::websocket::{Wanted, open};
use crate::payload::{Context, Payload, Payloads, Rendered};
use crate::rng::{Purpose, stream};
use crate::text::Secret;
use crate::time::{Clock, simulate};

const SCOPE: &str = "0ne00000A0A";
const ID: &str = "symm-key-python-device-008";
/// The quickstart's.
const KEY: &str = "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";
const EXPIRY: UnixTime = UnixTime::from_nanos(1_700_000_000_000_000_000);

const SDKS: [Behave; 3] = [Behave::Python, Behave::Node, Behave::C];

fn draws() -> Stream {
    stream(7, "devices", 0, Purpose::Client)
}

fn seconds(duration: Duration) -> u16 {
    u16::try_from(duration.as_secs()).expect("a keep-alive")
}

#[test]
fn tokens_are_spelled_as_each_sdk_spells_them() {
    let key = SigningKey::from_base64(KEY).expect("a key");
    let token = |form: Form<'_>, resource: &str| {
        form.token(&key, resource, EXPIRY).expose_text().expect("text").to_owned()
    };
    let start = "SharedAccessSignature sr=0ne00000A0A";
    let dps = SDKS.map(|sdk| token(sdk.habits().dps.token, &dps_resource(SCOPE, ID)));
    assert_eq!(
        dps,
        [
            format!(
                "{start}%2Fregistrations%2F{ID}&sig=3grXEdbedYjNIZd7TgaF%2FXKjZCCV2%2BYBc%2BViKmsffSI%3D&se=1700000000"
            ),
            format!(
                "{start}/registrations/{ID}&sig=7RgicU%2FPt765%2BDaApg%2FfJBRKBIoC4sNbZIda0JgHTZM%3D&skn=registration&se=1700000000"
            ),
            format!(
                "{start}%2fregistrations%2f{ID}&sig=Lm1ifPNq%2FafEsZUrjlPTQOeP9GNqJuzuwf1kgn6gIAs%3D&se=1700000000&skn=registration"
            ),
        ]
    );
    let hub = SDKS.map(|sdk| {
        token(sdk.habits().hub.token, &hub_resource("hub1.azure-devices.net", "python-device-008"))
    });
    let start = "SharedAccessSignature sr=hub1.azure-devices.net";
    let upper = format!(
        "{start}%2Fdevices%2Fpython-device-008&sig=eyg4SdTXq7E55Sbss6b0hCo%2F1CRlLdhVslQU2X7HyXo%3D&se=1700000000"
    );
    assert_eq!(hub[..2], [upper.clone(), upper]);
    assert!(hub[2].starts_with(&format!("{start}%2fdevices%2fpython-device-008&sig=")), "{}", hub[2]);
    assert!(hub[2].ends_with("&se=1700000000"));
}

#[test]
fn tokens_live_and_are_renewed_as_with_each_sdk() {
    let figures = |sdk: Behave, lifetime: Option<u64>| {
        let life = sdk.habits().token_life(lifetime.map(Duration::from_secs));
        (life.lifetime.as_secs(), life.renew_before.as_secs())
    };
    assert_eq!(SDKS.map(|sdk| figures(sdk, None)), [(3_600, 120), (3_600, 900), (3_600, 720)]);
    // 80 % of its life with C, whatever it is.
    assert_eq!(SDKS.map(|sdk| figures(sdk, Some(360))), [(360, 12), (360, 90), (360, 72)]);
    assert_eq!(figures(Behave::Muster, Some(7_200)), (7_200, 300));
}

/// What a device sent to DPS over MQTT.
#[derive(Debug, PartialEq)]
struct AtDps {
    connect_flags: u8,
    keep_alive_s: u16,
    client_id: String,
    user_name: String,
    subscribed: (String, u8),
    /// Topic without its request id, QoS and body.
    register: (String, u8, String),
    poll: (String, u8, String),
    rids: [String; 2],
    unsubscribed: bool,
}

/// Lets a device of that kind register over MQTT, with one poll.
async fn at_dps(clock: &Clock, sdk: Behave) -> AtDps {
    let (near, far) = tokio::io::duplex(64 * 1_024);
    let (seen, taken) = std::sync::mpsc::channel();
    let server = tokio::task::spawn_local(play_dps(far, seen));
    let token = Secret::new(b"token".to_vec());
    let opening = DpsOpening {
        id_scope: SCOPE,
        registration_id: ID,
        token: &token,
        keep_alive_s: seconds(sdk.habits().keep_alive),
        habits: sdk.habits(),
        draws: draws(),
    };
    let (mut dps, _) = DpsMqtt::open(Bytes::Memory(near), clock, opening).await.expect("it is let in");
    dps.register(clock).await.result.expect("an answer");
    dps.poll(clock, "5.016aac5b").await.result.expect("an answer");
    dps.close().await;
    let flags = server.await.expect("it ends");
    let mut packets = taken.try_iter();
    let Some(Packet::Connect(connect)) = packets.next() else { panic!("a CONNECT first") };
    let Some(Packet::Subscribe(subscribe)) = packets.next() else { panic!("then a SUBSCRIBE") };
    let mut requests = packets.by_ref().filter_map(|packet| match packet {
        Packet::Publish(publish) => Some(publish),
        Packet::Puback(_) => None,
        other => panic!("{other:?}"),
    });
    let mut request = || {
        let publish = requests.next().expect("a request");
        let topic = publish.topic_name().to_owned();
        let rid = topic.split("$rid=").nth(1).and_then(|rest| rest.split('&').next()).expect("an id");
        let body = String::from_utf8(publish.payload().as_slice().to_vec()).expect("text");
        ((topic.replace(&format!("$rid={rid}"), "$rid=*"), publish.qos() as u8, body), rid.to_owned())
    };
    let ((register, first), (poll, second)) = (request(), request());
    let entry = &subscribe.entries()[0];
    let rest: Vec<Packet> = packets.filter(|packet| !matches!(packet, Packet::Puback(_))).collect();
    assert!(matches!(rest.last(), Some(Packet::Disconnect)), "{rest:?}");
    AtDps {
        connect_flags: flags,
        keep_alive_s: connect.keep_alive(),
        client_id: connect.client_id().to_owned(),
        user_name: connect.user_name().expect("there is one").to_owned(),
        subscribed: (entry.topic_filter().to_owned(), entry.sub_opts().qos() as u8),
        register,
        poll,
        rids: [first, second],
        unsubscribed: matches!(rest[0], Packet::Unsubscribe(_)),
    }
}

/// Plays DPS, and gives the flags of CONNECT.
async fn play_dps(mut far: DuplexStream, seen: std::sync::mpsc::Sender<Packet>) -> u8 {
    // One fixed header of two or three bytes, the protocol's name and level, and then the flags.
    let mut head = [0; 11];
    far.read_exact(&mut head).await.expect("a CONNECT");
    let flags = if head[1] & 0x80 == 0 { head[9] } else { head[10] };
    let (mut back, rest) = tokio::io::duplex(64 * 1_024);
    tokio::task::spawn_local(async move {
        back.write_all(&head).await.expect("room");
        let _ = tokio::io::copy_bidirectional(&mut back, &mut far).await;
    });
    let mut peer = PacketStream::new(Bytes::Memory(rest), 64 * 1_024);
    while let Ok(Some(packet)) = peer.next().await {
        match &packet {
            Packet::Connect(_) => greet(&mut peer),
            Packet::Subscribe(subscribe) => {
                let suback = Suback::builder()
                    .packet_id(subscribe.packet_id())
                    .return_codes(vec![net::SubackReturnCode::SuccessMaximumQos1])
                    .build();
                peer.send(&suback.expect("a SUBACK"));
            }
            Packet::Unsubscribe(unsubscribe) => peer.send_unsuback(unsubscribe.packet_id()),
            Packet::Publish(request) => {
                if let Some(id) = request.packet_id() {
                    peer.send_puback(id);
                }
                let rid = request.topic_name().split("$rid=").nth(1).and_then(|rest| rest.split('&').next());
                let topic = mqtt::response_topic(202, rid.expect("a request id"), Some(3));
                let body = br#"{"operationId":"5.016aac5b","status":"assigning"}"#;
                let answer = net::Publish::builder().topic_name(topic).expect("a topic").payload(&body[..]);
                peer.send(&answer.build().expect("a PUBLISH"));
            }
            _ => {}
        }
        seen.send(packet).expect("somebody looks");
    }
    flags
}

fn greet(peer: &mut PacketStream) {
    let code = ConnectReturnCode::Accepted;
    peer.send(&Connack::builder().session_present(false).return_code(code).build().expect("a CONNACK"));
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts[2].starts_with('4')
        && parts[3].starts_with(['8', '9', 'a', 'b'])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[test]
fn dps_over_mqtt_sees_each_sdk() {
    let done = simulate(|clock| async move {
        let register = "$dps/registrations/PUT/iotdps-register/?$rid=*".to_owned();
        let poll =
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=*&operationId=5.016aac5b".to_owned();
        let agents = [
            "2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%283.11.2%3BLinux%20%231%20SMP%3Bx86_64%29",
            "2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1",
            "2021-06-01&ClientVersion=1.15.0",
        ];
        let plain = format!("{{\"registrationId\":\"{ID}\"}}");
        let python = format!("{{\"payload\": null, \"registrationId\": \"{ID}\"}}");
        for (sdk, connect_flags, keep_alive_s, agent, qos, [body, poll_body], unsubscribed) in [
            (Behave::Python, 0xc0, 60, agents[0], 1, [python.as_str(), " "], false),
            (Behave::Node, 0xc2, 180, agents[1], 1, [&plain, " "], true),
            (Behave::C, 0xc2, 240, agents[2], 0, [&plain, &plain], false),
        ] {
            let seen = at_dps(&clock, sdk).await;
            let rids = seen.rids.clone();
            match sdk {
                // SUBSCRIBE was the first packet with an id.
                Behave::C => assert_eq!(rids, ["2", "3"]),
                _ => assert!(rids.iter().all(|rid| is_uuid(rid)) && rids[0] != rids[1], "{rids:?}"),
            }
            let expected = AtDps {
                connect_flags,
                keep_alive_s,
                client_id: ID.to_owned(),
                user_name: format!("{SCOPE}/registrations/{ID}/api-version={agent}"),
                subscribed: ("$dps/registrations/res/#".to_owned(), 1),
                register: (register.clone(), qos, body.to_owned()),
                poll: (poll.clone(), qos, poll_body.to_owned()),
                rids,
                unsubscribed,
            };
            assert_eq!(seen, expected, "{sdk:?}");
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_hub_over_mqtt_sees_each_sdk() {
    let done = simulate(|clock| async move {
        for (sdk, keep_alive_s, agent) in [
            (
                Behave::Python,
                60,
                "2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.2%3BLinux%20%231%20SMP%3Bx86_64%29",
            ),
            (
                Behave::Node,
                180,
                "2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20%28node%20v20.20.2%3B%20Linux%206.1.0%3B%20x64%29",
            ),
            (
                Behave::C,
                240,
                "2020-09-30&DeviceClientType=iothubclient%2F1.15.0%20%28native%3B%20Linux%3B%20x86_64%29",
            ),
        ] {
            let (near, far) = tokio::io::duplex(64 * 1_024);
            let mut peer = PacketStream::new(Bytes::Memory(far), 64 * 1_024);
            greet(&mut peer);
            peer.flush().await.expect("room");
            let token = Secret::new(b"token".to_vec());
            let opening = Opening {
                host: "hub.net",
                device_id: ID,
                token: &token,
                keep_alive_s: seconds(sdk.habits().keep_alive),
                habits: sdk.habits(),
                draws: draws(),
                topic: None,
                last_packet_id: 0,
            };
            HubMqtt::open(Bytes::Memory(near), &clock, opening).await.expect("it is let in");
            let Ok(Some(Packet::Connect(connect))) = peer.next().await else { panic!("a CONNECT") };
            assert_eq!((connect.keep_alive(), connect.clean_session()), (keep_alive_s, false));
            assert_eq!(connect.client_id(), ID);
            let user = format!("hub.net/{ID}/?api-version={agent}");
            assert_eq!(connect.user_name(), Some(user.as_str()));
        }
    });
    done.expect("no task is left waiting");
}

/// Head and body of the next request, lower-case names; answers it.
async fn request(far: &mut DuplexStream, body: &str, answer: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(&format!("\r\n\r\n{body}")) {
        text.push(far.read_u8().await.expect("a request").into());
    }
    let answer = format!(
        "HTTP/1.1 202 x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    );
    far.write_all(answer.as_bytes()).await.expect("room");
    text
}

#[test]
fn dps_over_https_sees_nodes_sdk() {
    let done = simulate(|clock| async move {
        let (near, mut far) = tokio::io::duplex(64 * 1_024);
        let habits = &Behave::Node.habits().dps;
        let token = Secret::new(b"token".to_vec());
        let dps = DpsHttps::new(Bytes::Memory(near), "dps.net", &token, habits, draws()).await;
        let mut dps = dps.expect("a connection");
        let put = format!("{{\"registrationId\":\"{ID}\"}}");
        let answer = r#"{"operationId":"5.1","status":"assigning"}"#;
        let (_, text) = tokio::join!(dps.register(&clock, SCOPE, ID), request(&mut far, &put, answer));
        let is_line = |text: &str, line: &str| text.lines().any(|is| is.eq_ignore_ascii_case(line));
        let common = [
            "host: dps.net",
            "accept: application/json",
            "content-type: application/json; charset=utf-8",
            "authorization: token",
            "user-agent: azure-iot-provisioning-device/1.9.1",
        ];
        assert!(
            text.starts_with(&format!("PUT /{SCOPE}/registrations/{ID}/register?api-version=2019-03-31 "))
        );
        for line in common.into_iter().chain([format!("content-length: {}", put.len()).as_str()]) {
            assert!(is_line(&text, line), "{line}: {text}");
        }
        let id = text.lines().find_map(|line| line.strip_prefix("request-id: ")).expect("a request id");
        assert!(is_uuid(id), "{id}");
        let (_, text) = tokio::join!(dps.poll(&clock, SCOPE, ID, "5.1"), request(&mut far, "{}", answer));
        assert!(
            text.starts_with(&format!(
                "GET /{SCOPE}/registrations/{ID}/operations/5.1?api-version=2019-03-31 "
            ))
        );
        for line in common.into_iter().chain(["content-length: 2"]) {
            assert!(is_line(&text, line), "{line}: {text}");
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_hub_over_https_sees_nodes_sdk() {
    let done = simulate(|clock| async move {
        let (near, mut far) = tokio::io::duplex(64 * 1_024);
        let token = Secret::new(b"token".to_vec());
        let habits = &Behave::Node.habits().hub;
        let opening =
            HttpsOpening { host: "hub.net", device_id: ID, token: &token, habits, takes_messages: false };
        let hub = HubHttps::new(Bytes::Memory(near), opening).await;
        let mut hub = hub.expect("a connection");
        let payload = Payload::json("{}").expect("a template");
        let headers = Headers::of(&payload);
        let mut rendered = Rendered::default();
        let context = Context {
            seed: 0,
            population: "p",
            n: 0,
            device_id: ID,
            registration_id: ID,
            run: "r",
            sequence: 1,
            now: UnixTime::from_nanos(0),
        };
        Payloads::weighted([(1, payload)]).render(&context, &mut rendered);
        let envelope = Envelope::Https(headers.clone());
        let message = Message { sequence: 1, rendered: &rendered, envelope: &envelope, packet_id: None };
        hub.send(&clock, &message, &headers).expect("it fits");
        let (_, text) = tokio::join!(hub.event(&clock), request(&mut far, "2\r\n{}\r\n0\r\n\r\n", ""));
        assert!(
            text.starts_with(&format!("POST /devices/{ID}/messages/events?api-version=2021-04-12 ")),
            "{text}"
        );
        for line in [
            "transfer-encoding: chunked",
            &format!("iothub-to: /devices/{ID}/messages/events"),
            "user-agent: azure-iot-device/1.18.4 (node v20.20.2; Linux 6.1.0; x64)",
            "iothub-messageid: r-1",
        ] {
            assert!(text.lines().any(|is| is.eq_ignore_ascii_case(line)), "{line}: {text}");
        }
        assert!(!text.to_ascii_lowercase().contains("content-length"));
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_websocket_is_asked_for_as_each_sdk_does() {
    let done = simulate(|_| async {
        for (sdk, lines) in [
            (
                Behave::Python,
                ["host: hub.net:443", "origin: https://hub.net:443", "sec-websocket-protocol: mqtt"],
            ),
            (Behave::Node, ["host: hub.net", "upgrade: websocket", "sec-websocket-protocol: mqtt"]),
            (Behave::C, ["host: hub.net", "upgrade: websocket", "Sec-WebSocket-Protocol: MQTT"]),
        ] {
            let (near, mut far) = tokio::io::duplex(64 * 1_024);
            let habits = sdk.habits().websocket;
            let wanted = Wanted {
                host: "hub.net",
                path: WEBSOCKET_PATH,
                subprotocol: habits.subprotocol,
                origin: habits.has_origin.then(|| "hub.net:443".to_owned()),
            };
            let asked = tokio::select! {
                _ = open(Bytes::Memory(near), &wanted) => unreachable!("nobody answers that"),
                text = request(&mut far, "", "") => text,
            };
            assert!(asked.starts_with("GET /$iothub/websocket HTTP/1.1\r\n"), "{asked}");
            for line in lines {
                let is_there = |is: &str| match line.split_once(": ") {
                    Some((name, value)) => {
                        is.split_once(": ").is_some_and(|(n, v)| n.eq_ignore_ascii_case(name) && v == value)
                    }
                    None => false,
                };
                assert!(asked.lines().any(is_there), "{sdk:?}: {line}: {asked}");
            }
            assert_eq!(asked.to_ascii_lowercase().contains("origin"), sdk == Behave::Python);
        }
    });
    done.expect("no task is left waiting");
}
