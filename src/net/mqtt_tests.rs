use super::*;
use crate::time::simulate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn pair() -> (PacketStream, tokio::io::DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (PacketStream::new(Stream::Memory(near), 1_024), far)
}

#[test]
fn packets_come_out_whole_however_the_bytes_were_cut() {
    let done = simulate(|_| async {
        // PINGRESP, PUBACK of 258, PUBLISH of QoS 0 to "a" with body "b".
        let bytes = [0xd0, 0, 0x40, 2, 1, 2, 0x30, 4, 0, 1, b'a', b'b'];
        for cut in 0..bytes.len() {
            let (mut packets, mut far) = pair();
            far.write_all(&bytes[..cut]).await.expect("room");
            tokio::task::spawn_local(async move {
                far.write_all(&bytes[cut..]).await.expect("room");
            });
            assert!(matches!(packets.next().await, Ok(Some(Packet::Pingresp))));
            assert!(matches!(packets.next().await, Ok(Some(Packet::Puback(258)))));
            match packets.next().await {
                Ok(Some(Packet::Publish(publish))) => {
                    assert_eq!((publish.topic_name(), publish.payload().as_slice()), ("a", &b"b"[..]));
                }
                other => panic!("{other:?}"),
            }
            assert!(matches!(packets.next().await, Ok(None)));
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn what_is_no_packet_ends_the_stream_with_its_reason_after_what_came_before() {
    let done = simulate(|_| async {
        for (bytes, reason) in [
            (&[0x30, 0xff, 0xff, 0x7f][..], "larger"),
            (&[0x30, 0xff, 0xff, 0xff, 0xff, 1], "no packet"),
            (&[0x00, 0], "no packet"),
            (&[0xf0, 0], "no packet"),
            (&[0xd1, 0], "flags"),
            (&[0xd0, 1, 0], "no packet"),
            (&[0x40, 2, 0, 0], "no packet"),
            (&[0x36, 3, 0, 1, b'a'], "no packet"),
            (&[0x32, 5, 0, 1, b'a', 0, 0], "no packet"),
            (&[0x30, 3, 0, 1, b'#'], "no packet"),
            (&[0x30, 9, 0, 1], "ended within"),
        ] {
            let (mut packets, mut far) = pair();
            far.write_all(&[0xc0, 0]).await.expect("room");
            far.write_all(bytes).await.expect("room");
            drop(far);
            assert!(matches!(packets.next().await, Ok(Some(Packet::Pingreq))));
            let error = packets.next().await.expect_err("it is none").to_string();
            assert!(error.contains(reason), "{bytes:?}: {error}");
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_patient_stream_answers_when_everything_that_came_is_read_or_its_patience_is_over() {
    const PINGS: usize = 3 * READ / 2;
    // How much was answered at once, at first.
    async fn first_answer(patience: usize) -> usize {
        let (mut packets, mut far) = pair();
        packets.set_patience(patience);
        far.write_all(&[0xc0, 0].repeat(PINGS)).await.expect("room");
        let mut answers = vec![0; PINGS * 2];
        let mut answered = async || {
            let mut buffer = ReadBuf::new(&mut answers);
            let read = std::future::poll_fn(|context| {
                Poll::Ready(Pin::new(&mut far).poll_read(context, &mut buffer).is_ready())
            });
            if read.await { buffer.filled().len() } else { 0 }
        };
        for _ in 0..PINGS {
            assert!(matches!(packets.next().await, Ok(Some(Packet::Pingreq))));
            let count = answered().await;
            if count > 0 {
                return count;
            }
            packets.send_pingresp();
        }
        let next = std::future::poll_fn(|context| Poll::Ready(packets.poll_next(context).is_pending()));
        assert!(next.await && packets.is_written());
        answered().await
    }
    let done = simulate(|_| {
        // Every read counts here, and none may be put off for fairness.
        tokio::task::unconstrained(async {
            assert_eq!(first_answer(0).await, 2);
            assert_eq!(first_answer(100).await, 102);
            assert_eq!(first_answer(100_000).await, 2 * PINGS);
        })
    });
    done.expect("no task is left waiting");
}

#[test]
fn what_is_sent_is_written_in_order_and_its_memory_given_back() {
    let done = simulate(|_| async {
        let (mut packets, mut far) = pair();
        packets.send_puback(0x1234);
        packets.send_pingreq();
        assert_eq!(packets.queued(), 6);
        packets.flush().await.expect("room");
        assert_eq!((packets.queued(), packets.out.capacity()), (0, 0));
        let mut read = [0; 6];
        far.read_exact(&mut read).await.expect("was written");
        assert_eq!(read, [0x40, 2, 0x12, 0x34, 0xc0, 0]);
    });
    done.expect("no task is left waiting");
}

#[test]
fn an_idle_stream_keeps_no_memory_and_its_buffers_serve_the_next() {
    let done = simulate(|_| async {
        let (mut packets, mut far) = pair();
        for _ in 0..3 {
            far.write_all(&[0xd0, 0, 0x40, 2, 1, 2]).await.expect("room");
            assert!(matches!(packets.next().await, Ok(Some(Packet::Pingresp))));
            assert!(matches!(packets.next().await, Ok(Some(Packet::Puback(258)))));
            packets.send_pingreq();
            packets.flush().await.expect("room");
            assert_eq!((packets.ready.capacity(), packets.out.capacity()), (0, 0));
        }
        let kept = SPARE.with_borrow(|spare| (spare.out.len(), spare.ready.len()));
        assert_eq!(kept, (1, 1));
    });
    done.expect("no task is left waiting");
}

proptest::proptest! {
    #[test]
    fn a_message_is_written_as_the_library_writes_it(
        topic in "[^#+\\x00]{1,80}",
        packet_id in proptest::option::of(1u16..),
        dup: bool,
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..20_000),
    ) {
        let mut library = Publish::builder().topic_name(topic.as_str()).expect("a topic");
        if let Some(id) = packet_id {
            library = library.qos(Qos::AtLeastOnce).packet_id(id).dup(dup);
        }
        let library = library.payload(body.as_slice()).build().expect("a message");
        let (mut packets, _far) = pair();
        let message = Outgoing { topic: &topic, packet_id, dup, body: &body };
        packets.send_publish(&message).expect("a message");
        proptest::prop_assert_eq!(&packets.out, &library.to_continuous_buffer());
    }
}

#[test]
fn what_is_no_message_is_refused_and_nothing_of_it_is_sent() {
    let message = Outgoing { topic: "a", packet_id: Some(1), dup: false, body: b"" };
    let long = "a".repeat(65_536);
    let vast = vec![0; MAX_REMAINING];
    for (message, why) in [
        (Outgoing { topic: "", ..message }, Unfit::Topic),
        (Outgoing { topic: "a/#", ..message }, Unfit::Topic),
        (Outgoing { topic: "+", ..message }, Unfit::Topic),
        (Outgoing { topic: "\0", ..message }, Unfit::Topic),
        (Outgoing { topic: &long, ..message }, Unfit::Topic),
        (Outgoing { packet_id: Some(0), ..message }, Unfit::PacketId),
        (Outgoing { body: &vast, ..message }, Unfit::TooLong),
    ] {
        let (mut packets, _far) = pair();
        assert_eq!((packets.send_publish(&message), packets.queued()), (Err(why), 0));
    }
}
