//! A device's MQTT connections against a peer that the test plays itself.

use std::future::Future as _;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::dps::Answer;
use super::dps::mqtt::{DpsMqtt, Opening as DpsOpening};
use super::habits::Behave;
use super::hub::mqtt::{Bag, HubMqtt, Opening};
use super::hub::{Envelope, Event, Message, Qos};
use crate::azure::mqtt::response_topic;
use crate::net::mqtt::{self as net, Connack, ConnectReturnCode, Packet, PacketStream, Suback};
use crate::net::stream::Stream;
use crate::payload::{Context, Payload, Rendered};
use crate::rng::{self, Purpose};
use crate::step::Class;
use crate::text::Secret;
use crate::time::{Clock, UnixTime, simulate};

const KEEP_ALIVE_S: u16 = 60;

fn pair() -> (Stream, PacketStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (Stream::Memory(near), PacketStream::new(Stream::Memory(far), 64 * 1024))
}

fn greet(peer: &mut PacketStream, code: ConnectReturnCode) {
    let connack = Connack::builder().session_present(false).return_code(code).build().expect("a CONNACK");
    peer.send(&connack);
}

async fn hub(clock: &Clock) -> (HubMqtt, PacketStream) {
    let (stream, mut peer) = pair();
    greet(&mut peer, ConnectReturnCode::Accepted);
    peer.flush().await.expect("room");
    let token = Secret::new(b"token".to_vec());
    let opening = Opening {
        host: "h.net",
        device_id: "dev-1",
        token: &token,
        keep_alive_s: KEEP_ALIVE_S,
        habits: Behave::Muster.habits(),
        draws: rng::stream(0, "", 0, Purpose::Client),
        topic: None,
        last_packet_id: 0,
    };
    let (hub, _) = HubMqtt::open(stream, clock, opening).await.expect("it was greeted");
    match peer.next().await {
        Ok(Some(Packet::Connect(connect))) => {
            assert_eq!((connect.client_id(), connect.clean_session()), ("dev-1", false));
            let user = connect.user_name().expect("there is one");
            assert!(
                user.starts_with("h.net/dev-1/?api-version=2021-04-12&DeviceClientType=muster%2F"),
                "{user}"
            );
            assert_eq!(connect.password(), Some(&b"token"[..]));
            assert_eq!(connect.keep_alive(), KEEP_ALIVE_S);
        }
        other => panic!("{other:?}"),
    }
    (hub, peer)
}

fn send(hub: &mut HubMqtt, clock: &Clock, sequence: u64, qos: Qos, packet_id: Option<u16>) -> u16 {
    let mut payload = Payload::json("{}").expect("a template");
    payload.add_property("level", "a b").expect("a property");
    let (bag, payloads) = (
        Bag::of(&payload, qos, Behave::Muster.habits().hub.bag),
        crate::payload::Payloads::weighted([(1, payload)]),
    );
    let mut rendered = Rendered::default();
    let context = Context {
        seed: 0,
        population: "p",
        n: 0,
        device_id: "dev-1",
        registration_id: "dev-1",
        run: "r",
        sequence,
        now: UnixTime::from_nanos(0),
    };
    payloads.render(&context, &mut rendered);
    let envelope = Envelope::Mqtt(bag.clone());
    let message = Message { sequence, rendered: &rendered, envelope: &envelope, packet_id };
    hub.send(clock, &message, &bag).expect("it fits")
}

/// Lets the device write what it has to, as it does whenever nothing is left to read.
async fn written(hub: &mut HubMqtt, clock: &Clock) {
    let mut event = std::pin::pin!(hub.event(clock));
    let nothing = std::future::poll_fn(|context| Poll::Ready(event.as_mut().poll(context).is_pending()));
    assert!(nothing.await);
}

async fn publish(peer: &mut PacketStream) -> net::Publish {
    match peer.next().await {
        Ok(Some(Packet::Publish(publish))) => publish,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_puback_closes_the_exchange_of_its_own_message_whatever_the_order() {
    let done = simulate(|clock| async move {
        let (mut hub, mut peer) = hub(&clock).await;
        let ids = [1, 2, 3].map(|sequence| send(&mut hub, &clock, sequence, Qos::AtLeastOnce, None));
        assert_eq!(ids, [1, 2, 3]);
        written(&mut hub, &clock).await;
        for id in [2, 3, 2] {
            peer.send_puback(id);
        }
        peer.flush().await.expect("room");
        assert!(matches!(hub.event(&clock).await, Event::Acknowledged { sequence: 2, .. }));
        assert!(matches!(hub.event(&clock).await, Event::Acknowledged { sequence: 3, .. }));
        assert!(matches!(hub.event(&clock).await, Event::AcknowledgedAgain));
        let first = publish(&mut peer).await;
        assert_eq!(
            first.topic_name(),
            "devices/dev-1/messages/events/%24.mid=r-1&%24.ct=application%2Fjson&%24.ce=utf-8&level=a%20b"
        );
        assert_eq!(
            (first.packet_id(), first.dup(), first.payload().as_slice()),
            (Some(1), false, &b"{}"[..])
        );
        assert!(hub.awaits_confirmation() && hub.confirmed_any());
        peer.send_puback(9);
        peer.flush().await.expect("room");
        match hub.event(&clock).await {
            Event::Lost { failure: Some(failure), .. } => assert_eq!(failure.class, Class::BadAnswer),
            other => panic!("{other:?}"),
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_packet_id_is_free_again_only_after_its_confirmation() {
    // Tens of thousands of reads and writes, none of which may be put off for fairness.
    let done = simulate(|clock| {
        tokio::task::unconstrained(async move {
            let (mut hub, mut peer) = hub(&clock).await;
            send(&mut hub, &clock, 1, Qos::AtLeastOnce, None);
            for sequence in 2..=u64::from(u16::MAX) + 3 {
                let id = send(&mut hub, &clock, sequence, Qos::AtLeastOnce, None);
                assert_ne!(id, 1, "message {sequence}");
                written(&mut hub, &clock).await;
                peer.send_puback(id);
                peer.flush().await.expect("room");
                assert!(matches!(hub.event(&clock).await, Event::Acknowledged { .. }));
                while publish(&mut peer).await.packet_id() != Some(id) {}
            }
        })
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_message_of_qos_0_is_done_when_it_is_written_and_one_that_goes_again_is_marked() {
    let done = simulate(|clock| async move {
        let (mut hub, mut peer) = hub(&clock).await;
        send(&mut hub, &clock, 1, Qos::AtMostOnce, None);
        assert!(matches!(hub.event(&clock).await, Event::Written { sequence: 1, .. }));
        let first = publish(&mut peer).await;
        assert_eq!((first.qos(), first.packet_id()), (net::Qos::AtMostOnce, None));
        send(&mut hub, &clock, 2, Qos::AtLeastOnce, Some(77));
        written(&mut hub, &clock).await;
        peer.send_puback(77);
        peer.flush().await.expect("room");
        assert!(matches!(hub.event(&clock).await, Event::Acknowledged { sequence: 2, .. }));
        let again = publish(&mut peer).await;
        assert_eq!((again.packet_id(), again.dup()), (Some(77), true));
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_hub_that_confirms_nothing_is_told_no_more_than_so_much() {
    let done = simulate(|clock| async move {
        let (mut hub, mut peer) = hub(&clock).await;
        let mut told = 0;
        while hub.tell(&clock, "$iothub/methods/res/200/?$rid=1", b"{}", Qos::AtLeastOnce).is_ok() {
            told += 1;
        }
        assert_eq!(told, 2_000);
        written(&mut hub, &clock).await;
        let first = publish(&mut peer).await.packet_id().expect("QoS 1");
        peer.send_puback(first);
        peer.flush().await.expect("room");
        assert!(matches!(hub.event(&clock).await, Event::Told { packet_id, .. } if packet_id == first));
        assert!(hub.tell(&clock, "$iothub/methods/res/200/?$rid=1", b"{}", Qos::AtLeastOnce).is_ok());
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_silent_device_pings_and_a_ping_without_answer_ends_the_connection() {
    let done = simulate(|clock| async move {
        let (mut hub, mut peer) = hub(&clock).await;
        let start = clock.now();
        let answered = async {
            assert!(matches!(peer.next().await, Ok(Some(Packet::Pingreq))));
            assert_eq!(clock.now().since(start), Duration::from_secs(60));
            peer.send_pingresp();
            peer.flush().await.expect("room");
            assert!(matches!(peer.next().await, Ok(Some(Packet::Pingreq))));
            std::future::pending::<()>().await;
        };
        let event = async {
            loop {
                match hub.event(&clock).await {
                    Event::Pinged => {}
                    event => return event,
                }
            }
        };
        let lost = tokio::select! {
            event = event => event,
            () = answered => unreachable!("it waits for ever"),
        };
        match lost {
            Event::Lost { failure: Some(failure), .. } => assert_eq!(failure.class, Class::NoAnswer),
            other => panic!("{other:?}"),
        }
        // The second ping, and half of the keep-alive for its answer.
        assert_eq!(clock.now().since(start), Duration::from_secs(60 + 60 + 30));
    });
    done.expect("no task is left waiting");
}

#[test]
fn each_refusal_of_the_greeting_has_its_class() {
    let done = simulate(|clock| async move {
        for (code, class) in [
            (ConnectReturnCode::UnacceptableProtocolVersion, Class::Rejected),
            (ConnectReturnCode::IdentifierRejected, Class::Rejected),
            (ConnectReturnCode::ServerUnavailable, Class::ServerError),
            (ConnectReturnCode::BadUserNameOrPassword, Class::Unauthorized),
            (ConnectReturnCode::NotAuthorized, Class::Unauthorized),
        ] {
            let (stream, mut peer) = pair();
            greet(&mut peer, code);
            peer.flush().await.expect("room");
            let token = Secret::new(b"token".to_vec());
            let opened = DpsMqtt::open(stream, &clock, dps_opening("dev-1", &token)).await;
            assert_eq!(opened.err().map(|failure| failure.class), Some(class));
        }
    });
    done.expect("no task is left waiting");
}

fn dps_opening<'a>(registration_id: &'a str, token: &'a Secret) -> DpsOpening<'a> {
    DpsOpening {
        id_scope: "0ne",
        registration_id,
        token,
        keep_alive_s: KEEP_ALIVE_S,
        habits: Behave::Muster.habits(),
        draws: rng::stream(0, "", 0, Purpose::Client),
    }
}

/// Plays DPS: answers each request with the next of `answers`, after one to a request that nobody made.
async fn play_dps(mut peer: PacketStream, answers: Vec<(u16, Option<u64>, &'static str)>) {
    greet(&mut peer, ConnectReturnCode::Accepted);
    let mut answers = answers.into_iter();
    while let Ok(Some(packet)) = peer.next().await {
        match packet {
            Packet::Subscribe(subscribe) => {
                let suback = Suback::builder()
                    .packet_id(subscribe.packet_id())
                    .return_codes(vec![net::SubackReturnCode::SuccessMaximumQos1])
                    .build();
                peer.send(&suback.expect("a SUBACK"));
            }
            Packet::Publish(request) => {
                let Some((status, wait, body)) = answers.next() else { return };
                peer.send_puback(request.packet_id().expect("QoS 1"));
                let rid = request.topic_name().split("$rid=").nth(1).expect("a request id");
                let rid = rid.split('&').next().expect("a request id").to_owned();
                for (rid, body) in [("999", "{}"), (&rid, body)] {
                    let topic = response_topic(status, rid, wait);
                    let answer = net::Publish::builder().topic_name(topic).expect("a topic");
                    let answer = answer.qos(net::Qos::AtLeastOnce).packet_id(2u16).payload(body.as_bytes());
                    peer.send(&answer.build().expect("a PUBLISH"));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn dps_is_asked_and_its_answers_are_told_by_the_request_id() {
    let done = simulate(|clock| async move {
        let (stream, peer) = pair();
        tokio::task::spawn_local(play_dps(
            peer,
            vec![
                (202, Some(3), r#"{"operationId":"5.1","status":"assigning"}"#),
                (429, Some(9), "{}"),
                (401, None, r#"{"errorCode":401002,"message":"Unauthorized"}"#),
            ],
        ));
        let token = Secret::new(b"token".to_vec());
        let opened = DpsMqtt::open(stream, &clock, dps_opening("dev-1", &token)).await;
        let (mut dps, _) = opened.expect("it was greeted");
        let first = dps.register(&clock).await;
        let expected =
            Answer::Assigning { operation: Some("5.1".into()), retry_after: Some(Duration::from_secs(3)) };
        assert_eq!(first.result, Ok(expected));
        let throttled = dps.poll(&clock, "5.1").await.result.expect_err("429");
        assert_eq!(
            (throttled.class, throttled.retry_after),
            (Class::Throttled, Some(Duration::from_secs(9)))
        );
        let refused = dps.register(&clock).await.result.expect_err("401");
        assert_eq!(refused.class, Class::Unauthorized);
        let gone = dps.register(&clock).await;
        assert_eq!(gone.result.expect_err("the peer left").class, Class::Closed);
        assert!(!dps.is_open());
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_device_that_leaves_says_so() {
    let done = simulate(|clock| async move {
        let (mut hub, mut peer) = hub(&clock).await;
        hub.close().await;
        drop(hub);
        assert!(matches!(peer.next().await, Ok(Some(Packet::Disconnect))));
        assert!(matches!(peer.next().await, Ok(None)));
    });
    done.expect("no task is left waiting");
}

/// What goes over the wire at first, byte by byte.
#[test]
fn the_greeting_of_dps_is_that_of_the_standard() {
    let done = simulate(|clock| async move {
        let (near, mut far): (DuplexStream, DuplexStream) = tokio::io::duplex(4_096);
        let token = Secret::new(b"tk".to_vec());
        let opening = DpsMqtt::open(Stream::Memory(near), &clock, dps_opening("d", &token));
        let read = async {
            let mut bytes = vec![0; 15];
            far.read_exact(&mut bytes).await.expect("a CONNECT");
            bytes
        };
        let bytes = tokio::select! {
            _ = opening => unreachable!("nobody answers"),
            bytes = read => bytes,
        };
        // CONNECT, length, "MQTT", level 4, user name + password + clean session, keep-alive 60, client id "d".
        assert_eq!((bytes[0], &bytes[2..]), (0x10, &b"\0\x04MQTT\x04\xc2\0\x3c\0\x01d"[..]));
    });
    done.expect("no task is left waiting");
}

/// Everything that a well-behaved service sends to a device that registers, byte for byte.
async fn bytes_of_a_service() -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut service = PacketStream::new(Stream::Memory(near), 1_024);
    greet(&mut service, ConnectReturnCode::Accepted);
    let suback =
        Suback::builder().packet_id(1u16).return_codes(vec![net::SubackReturnCode::SuccessMaximumQos1]);
    service.send(&suback.build().expect("a SUBACK"));
    service.send_puback(2);
    let body = br#"{"operationId":"5.1","status":"assigning"}"#;
    let answer = net::Publish::builder().topic_name(response_topic(202, "1", Some(3))).expect("a topic");
    let answer = answer.qos(net::Qos::AtLeastOnce).packet_id(7u16).payload(&body[..]).build();
    service.send(&answer.expect("a PUBLISH"));
    service.send_pingresp();
    service.close().await;
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).await.expect("memory");
    bytes
}

/// What a device makes of these bytes of a service, which then says nothing more, or leaves.
async fn meet(clock: &Clock, bytes: &[u8], leaves: bool) {
    use tokio::io::AsyncWriteExt as _;
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(bytes).await.expect("room");
    let _far = (!leaves).then_some(far);
    let token = Secret::new(b"token".to_vec());
    let life = async {
        let opened = DpsMqtt::open(Stream::Memory(near), clock, dps_opening("dev-1", &token)).await;
        if let Ok((mut dps, _)) = opened {
            let _ = dps.register(clock).await;
            dps.idle(clock).await;
            dps.close().await;
        }
    };
    clock
        .until(clock.now() + Duration::from_secs(600), life)
        .await
        .expect("a silent service is left by itself");
}

#[test]
fn every_prefix_and_every_changed_byte_of_a_service_ends_well() {
    let done = simulate(|clock| async move {
        let whole = bytes_of_a_service().await;
        for end in 0..=whole.len() {
            meet(&clock, &whole[..end], true).await;
            meet(&clock, &whole[..end], false).await;
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x02, 0x10, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= flip;
                meet(&clock, &changed, true).await;
                meet(&clock, &changed, false).await;
            }
        }
    });
    done.expect("no task is left waiting");
}
