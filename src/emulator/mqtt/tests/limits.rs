//! What the service puts up with: silence, size, expiry, too much at once, a peer that does not read.

use super::*;
use crate::rng::Distribution;

#[test]
fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        for (keep_alive, silence) in [(10, 15), (1_177, 1_765), (60_000, 1_767), (0, 1_767)] {
            let user = hub_user_name(NORTH, "dev", "2021-04-12", "x");
            let expiry = world.clock.wall() + seconds(100_000);
            let key = derived(PRIMARY, "dev");
            let token = token(&key, &hub_resource(NORTH, "dev"), ResourceSpelling::Raw, expiry);
            let connect = connect!("dev", user, token, true).keep_alive(keep_alive).build();
            let mut device = world.connect(NORTH, connect.expect("a packet")).await;
            world.clock.sleep(seconds(silence - 1)).await;
            device.ping().await;
            let start = world.clock.now();
            device.is_closed().await;
            assert_eq!(world.clock.now().since(start).as_secs(), silence, "{keep_alive}");
        }
        assert_eq!(world.ended(Ending::KeepAlive), 4);
    });
}

#[test]
fn a_token_that_expires_ends_the_connection() {
    run(immediate(), |world| async move {
        let mut device = world.device("dev").await;
        let start = world.clock.wall();
        for _ in 0..17 {
            world.clock.sleep(seconds(200)).await;
            device.ping().await;
        }
        device.is_closed().await;
        assert_eq!(world.clock.wall(), VALID);
        assert_eq!((since(VALID, start), world.ended(Ending::Expired)), (seconds(3_600), 1));
    });
}

#[test]
fn a_message_too_large_ends_the_connection() {
    run(immediate(), |world| async move {
        let most = 256 * 1024 - 3;
        let mut device = world.device("dev").await;
        let topic = format!("{EVENTS}%24.mid=m-1");
        device.send(&topic, &vec![0; most]).await;
        device.publish(&topic, Some(1), &vec![0; most + 1]);
        device.is_closed().await;
        let mut device = world.device("dev").await;
        device.publish(&topic, Some(1), &vec![0; 400 * 1024]);
        device.is_closed().await;
        let ledger = world.emulator.ledger();
        assert_eq!((ledger.messages(), ledger.mqtt.count(Ending::TooLarge)), (1, 2));
        assert_eq!(ledger.count(Operation::MqttSend, 413), 1, "the other was never read");
        // Who has not been let in may send less.
        let mut stranger = world.network.dial(NORTH).expect("somebody listens");
        stranger.write_all(&[0x10, 0xff, 0xff, 0x03, 0]).await.expect("room");
        assert_eq!(stranger.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!(world.ended(Ending::TooLarge), 3);
    });
}

#[test]
fn a_will_is_delivered_unless_the_device_says_good_bye() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        let with_will = |topic: &str| {
            let user = hub_user_name(NORTH, "dev", "2021-04-12", "x");
            let connect = connect!("dev", user, hub_token(NORTH, "dev"), true);
            let connect = connect.will_message(topic, b"gone".to_vec(), Qos::AtLeastOnce, false);
            connect.expect("a will").build().expect("a packet")
        };
        world.connect(NORTH, with_will(EVENTS)).await.leave().await;
        assert_eq!(world.emulator.ledger().hubs["north"].wills, 0);
        // Lost, overtaken, thrown out; and a will that is for nobody.
        drop(world.connect(NORTH, with_will(EVENTS)).await);
        world.clock.sleep(seconds(1)).await;
        assert_eq!(world.emulator.ledger().hubs["north"].wills, 1);
        let mut old = world.connect(NORTH, with_will(EVENTS)).await;
        let mut new = world.connect(NORTH, with_will(EVENTS)).await;
        old.is_closed().await;
        new.publish("elsewhere", None, b"");
        new.is_closed().await;
        drop(world.connect(NORTH, with_will("elsewhere")).await);
        world.clock.sleep(seconds(1)).await;
        let north = &world.emulator.ledger().hubs["north"];
        assert_eq!((north.wills, north.messages), (3, 0));
    });
}

#[test]
fn a_hub_over_its_limit_confirms_later_and_then_closes() {
    run(sized(Tier::S1), |world| async move {
        let mut device = world.device("dev").await;
        let service = world.emulator.service();
        let others = |count: u32| {
            for _ in 0..count {
                service.admit_message(0, world.clock.now(), world.clock.wall(), 1);
            }
        };
        others(5_999);
        let start = world.clock.now();
        for id in 1..=3 {
            device.publish(EVENTS, Some(id), b"{}");
        }
        assert!(matches!(device.next().await, Some(Packet::Puback(1))));
        device.ping().await;
        assert_eq!(world.clock.now(), start, "the last of the burst, and a ping while others wait");
        for id in 2..=3u16 {
            match device.next().await {
                Some(Packet::Puback(confirmed)) => assert_eq!(confirmed, id),
                other => panic!("{other:?}"),
            }
            assert_eq!(world.clock.now().since(start), Duration::from_millis(u64::from(id - 1) * 10));
        }
        // One waits when the next finds the queue full: the hub has the one, and nobody is told.
        others(999);
        device.publish(EVENTS, Some(4), b"{}");
        device.publish(EVENTS, None, b"{}");
        device.is_closed().await;
        let ledger = world.emulator.ledger();
        let north = &ledger.hubs["north"];
        assert_eq!((north.mqtt_qos1, north.mqtt_qos0), (4, 0));
        assert_eq!((ledger.count(Operation::MqttSend, 204), ledger.count(Operation::MqttSend, 429)), (4, 1));
        assert_eq!(ledger.mqtt.count(Ending::Throttled), 1);
    });
}

#[test]
fn a_connection_reads_on_only_as_long_as_what_waits_is_bounded() {
    let mut config = sized(Tier::S2);
    config.hubs[0].size = Some(HubSize { tier: Tier::S3, units: 1 });
    run(config, |world| async move {
        let mut device = world.device("dev").await;
        let service = world.emulator.service();
        // An S3 admits 6,000 a second: the burst is gone, and 3,000 messages wait for half a second.
        for _ in 0..360_000 {
            service.admit_message(0, world.clock.now(), world.clock.wall(), 1);
        }
        let start = world.clock.now();
        for id in 1..=3_000u16 {
            device.publish(EVENTS, Some(id), b"{}");
        }
        device.packets.flush().await.expect("it is read");
        device.packets.send_pingreq();
        let (mut confirmed, mut pinged_after) = (0, None);
        while confirmed < 3_000 {
            match device.next().await {
                Some(Packet::Puback(id)) => {
                    confirmed += 1;
                    assert_eq!(id, confirmed);
                }
                Some(Packet::Pingresp) => pinged_after = Some(usize::from(confirmed)),
                other => panic!("{other:?}"),
            }
        }
        let pinged_after = pinged_after.expect("an answer");
        assert!((3_000 - MAX_HELD - 1..3_000).contains(&pinged_after), "{pinged_after}");
        assert!(world.clock.now().since(start) >= Duration::from_millis(499));
    });
}

#[test]
fn a_hub_out_of_quota_and_one_with_too_many_connections_close() {
    run(sized(Tier::F1), |world| async move {
        let mut device = world.device("dev").await;
        let service = world.emulator.service();
        service.admit_message(0, world.clock.now(), world.clock.wall(), 8_000 * 512);
        device.publish(EVENTS, None, b"{}");
        device.is_closed().await;
        assert_eq!(world.ended(Ending::Quota), 1);
        assert_eq!(world.emulator.ledger().count(Operation::MqttSend, 403), 1);

        let start = world.clock.now();
        for _ in 0..999 {
            service.admit_connection(0, start);
        }
        world.connect(NORTH, hub_connect("dev", true)).await;
        assert_eq!(world.clock.now().since(start), Duration::from_millis(10), "it is let wait");
        for _ in 0..1_000 {
            service.admit_connection(0, world.clock.now());
        }
        let mut refused = world.dial(NORTH);
        refused.packets.send(&hub_connect("dev", true));
        refused.is_closed().await;
        assert_eq!(world.ended(Ending::Throttled), 1);
    });
}

#[test]
fn a_frozen_service_answers_everything_when_it_thaws_and_in_its_order() {
    let mut config = immediate();
    config.stamps = true;
    run(config, |world| async move {
        let mut device = world.device("dev").await;
        let start = world.clock.now();
        let until = start + seconds(400);
        world.emulator.freeze(start + seconds(1), until);
        let topic = format!("{EVENTS}%24.mid=m-1");
        device.send(&topic, b"").await;
        world.clock.sleep_until(start + seconds(2)).await;
        device.publish(&topic, Some(1), b"");
        device.packets.send_pingreq();
        device.packets.flush().await.expect("room");
        world.clock.sleep_until(start + seconds(3)).await;
        device.publish(EVENTS, Some(2), b"");
        // Longer than its keep-alive allows: it is not the device that is silent.
        assert!(matches!(device.next().await, Some(Packet::Puback(1))));
        assert!(matches!(device.next().await, Some(Packet::Pingresp)));
        assert!(matches!(device.next().await, Some(Packet::Puback(2))));
        assert_eq!(world.clock.now(), until);
        let stamps: Vec<(String, Duration)> = world
            .emulator
            .take_stamps()
            .lines()
            .map(|line| match Report::parse(line) {
                Ok(Report::Stamp(stamp)) => (stamp.message_id, stamp.answered.since(stamp.arrived)),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [("m-1", 0), ("m-1", 398), ("", 397)];
        assert_eq!(stamps, expected.map(|(id, residence)| (id.to_owned(), seconds(residence))));

        // What had come from a device that is gone counts.
        let now = world.clock.now();
        world.emulator.freeze(now, now + seconds(10));
        device.publish(EVENTS, None, b"");
        device.packets.send_disconnect();
        device.packets.flush().await.expect("room");
        drop(device);
        world.clock.sleep(seconds(9)).await;
        assert_eq!(world.emulator.ledger().messages(), 3);
        world.clock.sleep(seconds(2)).await;
        assert_eq!((world.emulator.ledger().messages(), world.ended(Ending::Disconnect)), (4, 1));
    });
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    run(immediate(), |world| async move {
        let mut dps = world.connect(DPS_HOST, dps_connect("dev", &dps_token("dev"))).await;
        dps.subscribe(&[(DPS_RESPONSES, Qos::AtMostOnce)]).await;
        let topic = poll_topic(1, "none");
        // Each answer has more than 200 bytes; the network between holds 64 KB.
        for _ in 0..2 * (MAX_QUEUED + 64 * 1024) / 200 {
            dps.publish(&topic, None, b"");
        }
        let _ = dps.packets.flush().await;
        world.clock.sleep(seconds(2)).await;
        assert_eq!(world.ended(Ending::SlowReader), 1);
    });
}

#[test]
fn both_services_and_both_protocols_share_every_port() {
    run(immediate(), |world| async move {
        for host in [DPS_HOST, NORTH] {
            let mut dps = world.connect(host, dps_connect("dev", &dps_token("dev"))).await;
            dps.subscribe(&[(DPS_RESPONSES, Qos::AtLeastOnce)]).await;
            dps.publish(&register_topic(1), None, body_of("dev").as_bytes());
            assert_eq!(dps.message().await.1["status"], "assigned");
            let mut hub = world.connect(host, hub_connect("dev", true)).await;
            hub.send(EVENTS, b"{}").await;
            let mut https = Client::connect(&world.network, host).await;
            assert_eq!(https.send("dev", &hub_token(NORTH, "dev"), "{}").await.status, 204);
            assert_eq!(https.call(Method::GET, "/", &[], "").await.status, 404);
        }
        let ledger = world.emulator.ledger();
        let north = &ledger.hubs["north"];
        assert_eq!((north.messages, north.mqtt_qos1), (4, 2));
        assert_eq!((ledger.connections, ledger.mqtt.connections), (6, 4));
    });
}

#[test]
fn whoever_says_nothing_or_never_ends_his_connect_is_closed() {
    run(immediate(), |world| async move {
        let start = world.clock.now();
        let mut silent = world.network.dial(NORTH).expect("somebody listens");
        let mut slow = world.network.dial(NORTH).expect("somebody listens");
        slow.write_all(&[FIRST_BYTE]).await.expect("room");
        assert_eq!(slow.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!(world.clock.now(), start + CONNECT_DEADLINE);
        assert_eq!(silent.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!(world.clock.now(), start + IDLE);
        assert_eq!((world.emulator.ledger().idle_closed, world.ended(Ending::NoConnect)), (1, 1));
    });
}

#[test]
fn a_hub_that_takes_its_time_confirms_each_message_that_much_later_and_in_order() {
    let mut config = immediate();
    config.hubs[0].delay = Distribution::Constant(0.3);
    config.stamps = true;
    run(config, |world| async move {
        let mut device = world.device("dev").await;
        let start = world.clock.now();
        device.publish(EVENTS, Some(1), b"");
        device.packets.flush().await.expect("room");
        world.clock.sleep_until(start + Duration::from_millis(200)).await;
        device.publish(EVENTS, Some(2), b"");
        device.packets.flush().await.expect("room");
        for (id, at) in [(1, 300), (2, 500)] {
            assert!(matches!(device.next().await, Some(Packet::Puback(packet)) if packet == id));
            assert_eq!(world.clock.now().since(start), Duration::from_millis(at));
        }
    });

    let mut config = immediate();
    config.hubs[0].delay = Distribution::Bimodal { low: 0.1, high: 5.0, high_share: 0.5 };
    run(config, |world| async move {
        let mut device = world.device("dev").await;
        for id in 1..=40 {
            device.publish(EVENTS, Some(id), b"");
        }
        device.packets.flush().await.expect("room");
        for id in 1..=40 {
            assert!(matches!(device.next().await, Some(Packet::Puback(packet)) if packet == id));
        }
    });
}
