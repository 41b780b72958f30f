use super::*;
use crate::azure::limits::HubSize;
use crate::azure::limits::Tier;
use crate::emulator::arrivals::Arrived;
use crate::emulator::fixture::*;
use crate::record::Marks;
use proptest::prelude::*;

#[test]
fn a_configuration_survives_the_channel_with_its_keys() {
    let mut config = two_hubs();
    config.dps.registrations = Some("6000/min".parse().expect("a rate"));
    config.hubs[1].size = Some(HubSize { tier: Tier::S2, units: 4 });
    let mut setup = None;
    let mut enrollments = Vec::new();
    let mut is_started = false;
    let mut lines = Vec::new();
    opening(&config, 3, |line| lines.push(line.to_owned())).expect("no list");
    for line in lines {
        match Command::parse(&line).expect("a line") {
            Command::Config(found) => setup = Some(found),
            Command::Enroll(found) => enrollments.push(*found),
            Command::Start => is_started = true,
            other => panic!("{other:?}"),
        }
    }
    let setup = setup.expect("a setup");
    assert!(is_started);
    assert_eq!(setup.threads, 3);
    let found = setup.into_config(enrollments);
    // `Debug` hides keys: they are compared as a line.
    assert_eq!(format!("{found:?}"), format!("{config:?}"));
    for (found, expected) in found.enrollments.iter().zip(&config.enrollments) {
        let line = |enrollment: &Enrollment| Command::Enroll(Box::new(enrollment.clone())).to_line();
        assert!(line(found).contains("primary"));
        assert_eq!(line(found), line(expected));
    }
}

#[test]
fn reports_survive_the_channel() {
    let address = "127.0.0.2:4567".parse().expect("an address");
    let hub = HubAddress { name: "north".to_owned(), host: NORTH.to_owned(), address };
    let ready = Ready {
        version: "0.1.0".to_owned(),
        pid: 7,
        dps: address,
        hubs: vec![hub],
        ca_pem: "-----BEGIN\nx\n".to_owned(),
    };
    let mut ledger = Ledger { assigned: 3, ..Ledger::default() };
    ledger.requests.entry("dps.register".to_owned()).or_default().insert(202, 3);
    let reports = [
        Report::Ready(ready),
        Report::Failed("no\nport".to_owned()),
        Report::Complete(17),
        Report::Ledger(Box::new(ledger)),
    ];
    for report in reports {
        let line = report.to_line();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert_eq!(Report::parse(&line), Ok(report));
    }
}

#[test]
fn an_error_does_not_repeat_the_line_with_its_keys() {
    let line =
        "enroll {\"name\":\"x\",\"attestation\":{\"group\":{\"primary\":\"canary\"}},\"enabled\":\"canary\"}";
    let error = Command::parse(line).expect_err("malformed").to_string();
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn a_line_longer_than_allowed_ends_the_conversation_without_being_kept() {
    let endless = std::io::repeat(b'x');
    let mut lines = Lines::new(std::io::BufReader::new(endless));
    assert_eq!(lines.next_line().expect_err("too long").kind(), io::ErrorKind::InvalidData);
    assert!(lines.line.len() <= MAX_LINE);
    let mut cut = Lines::new(&b"stop\nled"[..]);
    assert_eq!(cut.next_line().expect("a line"), Some("stop"));
    assert_eq!(cut.next_line().expect("the end"), None);
}

#[test]
fn no_device_takes_more_than_a_line_has() {
    let mut marks = Marks::default();
    let ends = (1..=Marks::MAX_RUNS as u64).map(|run| u64::from(u32::MAX) - 2 * run);
    ends.rev().for_each(|number| marks.change(number, |_| 255));
    // As many runs as are kept; one that is longer by one is given up before it is told.
    let arrived = Arrived { marks, foreign: u64::MAX };
    let mut line = String::new();
    write_arrived(&"\u{7f}".repeat(128), &arrived, &mut line);
    assert!(line.len() < 16 * 1024, "{}", line.len());
    let longer = format!("arrived d\t0\t{}", vec!["1*1"; 100_000].join(","));
    assert!(Report::parse(&longer).is_err());
}

#[test]
fn stamps_nobody_reads_are_lost_and_counted() {
    let queue = StampQueue::default();
    let stamp = Stamp {
        device_id: "d".repeat(100),
        message_id: "m".repeat(1_000),
        arrived: Instant::from_nanos(1),
        answered: Instant::from_nanos(2),
    };
    let count = 2 * StampQueue::MAX_BYTES / 1_100;
    (0..count).for_each(|_| queue.push(&stamp));
    let mut lines = String::new();
    queue.swap(&mut lines);
    assert!(lines.len() <= StampQueue::MAX_BYTES);
    assert!(queue.lost() > 0);
    assert_eq!(lines.lines().count() as u64 + queue.lost(), count as u64);
    queue.push(&stamp);
    queue.swap(&mut lines);
    assert_eq!(lines.lines().count(), 1, "there is room again");
}

proptest! {
    #[test]
    fn a_stamp_reads_back_unchanged_on_one_printable_line(
        device_id in any::<String>(),
        message_id in any::<String>(),
        arrived in any::<u64>(),
        answered in any::<u64>(),
    ) {
        let (arrived, answered) = (Instant::from_nanos(arrived), Instant::from_nanos(answered));
        let report = Report::Stamp(Stamp { device_id, message_id, arrived, answered });
        let line = report.to_line();
        prop_assert!(line.trim_end_matches('\n').bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte)));
        prop_assert_eq!(Report::parse(&line), Ok(report));
    }

    #[test]
    fn what_arrived_reads_back_unchanged_on_one_printable_line(
        device_id in any::<String>(),
        foreign in any::<u64>(),
        numbers in proptest::collection::vec(prop_oneof![1u64..50, any::<u64>()], 0..40),
    ) {
        let mut marks = Marks::default();
        numbers.iter().for_each(|number| marks.change(*number, |times| times.saturating_add(1)));
        let arrived = Arrived { marks, foreign };
        let report = Report::Arrived(Box::new(ArrivedLine { device_id, arrived }));
        let line = report.to_line();
        prop_assert!(line.trim_end_matches('\n').bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte)));
        prop_assert_eq!(Report::parse(&line), Ok(report));
    }

    #[test]
    fn no_line_makes_the_channel_panic(
        word in "(config|enroll|start|ledger|stop|ready|failed|stamp|arrived|complete|)",
        rest in any::<String>(),
        fields in "[\\\\x0-9a-f\t]{0,40}",
    ) {
        for line in [format!("{word} {rest}"), format!("{word} {fields}"), rest] {
            let _ = Command::parse(&line);
            let _ = Report::parse(&line);
        }
    }

    #[test]
    fn lines_come_out_as_they_went_in_however_they_are_cut(
        texts in proptest::collection::vec("[^\n]{0,50}", 0..10),
        size in 1usize..20,
    ) {
        let joined: String = texts.iter().map(|text| format!("{text}\n")).collect();
        let mut lines = Lines::new(std::io::BufReader::with_capacity(size, joined.as_bytes()));
        for text in &texts {
            prop_assert_eq!(lines.next_line().expect("a line"), Some(text.as_str()));
        }
        prop_assert_eq!(lines.next_line().expect("the end"), None);
    }
}
