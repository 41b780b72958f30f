use super::*;

const START: Instant = Instant::from_nanos(1_000_000_000_000);
/// 2026-01-01, noon.
const NOON: UnixTime = UnixTime::from_nanos((1_767_225_600 + 43_200) * 1_000_000_000);
const S1: HubSize = HubSize { tier: Tier::S1, units: 1 };
const F1: HubSize = HubSize { tier: Tier::F1, units: 1 };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn send(hub: &HubThrottle, now: Instant) -> Verdict {
    hub.admit_messages(now, NOON, [100])
}

#[test]
fn dps_admits_its_burst_and_then_exactly_its_rate() {
    let dps = DpsThrottle::new("600/min".parse().expect("a rate"));
    // 1,000 a second for a minute, of which 10 fit.
    let admitted = (0..60_000).filter(|n| dps.admits(START + millis(*n))).count();
    assert_eq!(admitted, 100 + 599, "ten seconds' worth, and one each 100 ms");
    let second = (60_000..120_000).filter(|n| dps.admits(START + millis(*n))).count();
    assert_eq!(second, 600);
}

#[test]
fn a_fleet_below_the_rate_of_dps_is_never_refused() {
    let dps = DpsThrottle::new("600/min".parse().expect("a rate"));
    assert!((0..10_000).all(|n| dps.admits(START + millis(100 * n))));
}

#[test]
fn devices_that_return_together_after_three_seconds_find_the_whole_rate() {
    let dps = DpsThrottle::new("600/min".parse().expect("a rate"));
    let wave = |at: u64| (0..1_000).filter(|_| dps.admits(START + seconds(at))).count();
    assert_eq!(wave(0), 100);
    assert!((1..10).all(|n| wave(3 * n) == 30));
}

#[test]
fn however_low_the_rate_one_registration_gets_in() {
    let dps = DpsThrottle::new("1/day".parse().expect("a rate"));
    assert!(dps.admits(START));
    assert!(!dps.admits(START + seconds(86_399)));
    assert!(dps.admits(START + seconds(86_400)));
    assert!(DpsThrottle::new(Rate::new(Rate::MIN_PER_SECOND).expect("a rate")).admits(START));
}

#[test]
fn five_polls_of_a_device_fit_into_any_ten_seconds() {
    let mut window = PollWindow::default();
    for at in [0, 1, 2, 3, 9] {
        assert_eq!(window.admit(START + seconds(at)), Ok(()), "{at}");
    }
    // Refused ones take no room.
    for _ in 0..3 {
        assert_eq!(window.admit(START + millis(9_999)), Err(START + seconds(10)));
    }
    assert_eq!(window.admit(START + seconds(10)), Ok(()));
    assert_eq!(window.admit(START + seconds(10)), Err(START + seconds(11)));
    assert_eq!(window.admit(START + seconds(100)), Ok(()));
}

#[test]
fn a_burst_is_taken_at_once_then_sends_are_served_at_the_limit_then_refused() {
    let hub = HubThrottle::new(S1);
    let verdicts: Vec<Verdict> = (0..7_100).map(|_| send(&hub, START)).collect();
    assert!(verdicts[..6_000].iter().all(|verdict| *verdict == Verdict::Now));
    for (n, verdict) in verdicts[6_000..7_000].iter().enumerate() {
        assert_eq!(*verdict, Verdict::At(START + millis(10 * (n as u64 + 1))));
    }
    assert!(verdicts[7_000..].iter().all(|verdict| *verdict == Verdict::Refused(Excess::Rate)));
    let tally = hub.tally();
    assert_eq!((tally.messages_held, tally.messages_refused, tally.metered), (1_000, 100, 7_000));
    // As the queue moves on by one, one more gets in, at its end.
    assert_eq!(send(&hub, START + millis(10)), Verdict::At(START + millis(10_010)));
    assert_eq!(send(&hub, START + millis(10)), Verdict::Refused(Excess::Rate));
}

#[test]
fn twice_the_limit_goes_well_for_a_minute_then_takes_longer_then_fails() {
    let hub = HubThrottle::new(S1);
    let at = |n: u64| START + millis(5 * n);
    let verdicts: Vec<Verdict> = (0..18_000).map(|n| send(&hub, at(n))).collect();
    let first = |is: fn(&Verdict) -> bool| verdicts.iter().position(is).map(|n| (n + 1) / 200);
    assert_eq!(first(|verdict| matches!(verdict, Verdict::At(_))), Some(60));
    assert_eq!(first(|verdict| matches!(verdict, Verdict::Refused(_))), Some(70));
    // Whatever is offered, the limit is what is served: in 90 s, and in the last 20 alone.
    let served = |from: u64, until: u64| {
        let (from, until) = (START + seconds(from), START + seconds(until));
        let slots = verdicts.iter().enumerate().filter_map(|(n, verdict)| match verdict {
            Verdict::Now => Some(at(n as u64)),
            Verdict::At(slot) => Some(*slot),
            Verdict::Refused(_) => None,
        });
        slots.filter(|slot| (from..until).contains(slot)).count()
    };
    assert_eq!((served(0, 90), served(70, 90)), (6_000 + 9_000 - 1, 2_000));
}

#[test]
fn a_hub_below_its_limit_delays_nothing() {
    let hub = HubThrottle::new(HubSize { tier: Tier::S2, units: 4 });
    assert!((0..48_000).all(|n| send(&hub, START + Duration::from_nanos(2_083_334 * n)) == Verdict::Now));
    assert_eq!(hub.tally(), Tally { metered: 48_000, ..Tally::default() });
}

#[test]
fn connections_have_a_limit_of_their_own() {
    let hub = HubThrottle::new(S1);
    let verdicts: Vec<Verdict> = (0..2_001).map(|_| hub.admit_connection(START)).collect();
    assert_eq!(verdicts[999], Verdict::Now);
    assert_eq!(verdicts[1_000], Verdict::At(START + millis(10)));
    assert_eq!(verdicts[1_999], Verdict::At(START + seconds(10)));
    assert_eq!(verdicts[2_000], Verdict::Refused(Excess::Rate));
    assert_eq!(send(&hub, START), Verdict::Now);
    assert_eq!((hub.tally().connections_held, hub.tally().connections_refused), (1_000, 1));
}

#[test]
fn a_batch_gets_in_as_a_whole_or_not_at_all() {
    let hub = HubThrottle::new(S1);
    let batch = |n: usize| hub.admit_messages(START, NOON, std::iter::repeat_n(5_000, n));
    assert_eq!(batch(5_999), Verdict::Now);
    assert_eq!(batch(2), Verdict::At(START + millis(10)));
    assert_eq!(batch(1_000), Verdict::Refused(Excess::Rate));
    assert_eq!(batch(999), Verdict::At(START + seconds(10)));
    assert_eq!(batch(0), Verdict::At(START + seconds(10)), "an empty one waits for those before it");
    // 5,000 bytes are two of the meter's 4 KB.
    assert_eq!(
        hub.tally(),
        Tally { messages_held: 1_001, messages_refused: 1_000, metered: 14_000, ..Tally::default() }
    );
}

#[test]
fn the_quota_of_a_day_is_counted_by_the_meter_and_begins_anew_at_midnight_utc() {
    let hub = HubThrottle::new(F1);
    // 8,000 a day, of half a kilobyte each; below the limit of the rate.
    for n in 0..7_999 {
        assert_eq!(hub.admit_messages(START + millis(20 * n), NOON, [1]), Verdict::Now);
    }
    let later = START + seconds(1_000);
    assert_eq!(hub.admit_messages(later, NOON, [513]), Verdict::Refused(Excess::Quota), "counts as two");
    assert_eq!(hub.admit_messages(later, NOON, [512]), Verdict::Now);
    assert_eq!(hub.admit_messages(later, NOON, [0]), Verdict::Refused(Excess::Quota));
    assert_eq!((hub.tally().metered, hub.tally().over_quota), (8_000, 2));
    let last_second = NOON + seconds(43_199);
    assert_eq!(hub.admit_messages(later, last_second, [1]), Verdict::Refused(Excess::Quota));
    assert_eq!(hub.admit_messages(later, last_second + seconds(1), [1]), Verdict::Now);
    // A clock that is set back stays in the day that has begun.
    let rest = std::iter::repeat_n(512, 5_000);
    assert_eq!(hub.admit_messages(later + seconds(60), NOON, rest), Verdict::Now);
    assert_eq!(
        hub.admit_messages(later + seconds(120), NOON, std::iter::repeat_n(1, 3_000)),
        Verdict::Refused(Excess::Quota)
    );
}

#[test]
fn what_the_rate_refuses_is_not_charged_and_what_the_quota_refuses_takes_no_slot() {
    let hub = HubThrottle::new(F1);
    while send(&hub, START) != Verdict::Refused(Excess::Rate) {}
    assert_eq!(hub.tally().metered, 7_000);
    for _ in 0..5_000 {
        assert_eq!(send(&hub, START), Verdict::Refused(Excess::Rate));
    }
    assert_eq!(hub.tally().metered, 7_000);
    let later = START + seconds(100);
    while send(&hub, later) != Verdict::Refused(Excess::Quota) {}
    assert_eq!(hub.tally().metered, 8_000);
    for _ in 0..10_000 {
        assert_eq!(send(&hub, later), Verdict::Refused(Excess::Quota));
    }
    assert_eq!(
        hub.admit_messages(later, NOON + seconds(43_200), [1]),
        Verdict::Now,
        "the burst is still there"
    );
}

#[test]
fn threads_that_share_a_hub_get_no_more_than_one_would() {
    let hub = HubThrottle::new(F1);
    let slots: Vec<Instant> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let verdicts = (0..2_000).map(|_| send(&hub, START));
                    verdicts
                        .filter_map(|verdict| match verdict {
                            Verdict::Now => Some(START),
                            Verdict::At(slot) => Some(slot),
                            Verdict::Refused(_) => None,
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(slots.len(), 7_000);
    let mut late: Vec<Instant> = slots.into_iter().filter(|slot| *slot > START).collect();
    late.sort();
    let expected: Vec<Instant> = (1..=1_000).map(|n| START + millis(10 * n)).collect();
    assert_eq!(late, expected, "every slot once");
    assert_eq!((hub.tally().metered, hub.tally().messages_refused), (7_000, 9_000));
}

#[test]
fn each_kind_of_request_has_its_limit_and_none_takes_from_another() {
    let hub = HubThrottle::new(HubSize { tier: Tier::S1, units: 2 });
    let (now, wall) = (Instant::from_nanos(0), UnixTime::from_nanos(0));
    // Ten seconds of each; methods in pieces of 4 KB, of which this one has four.
    for (traffic, size, admitted) in [
        (Traffic::TwinRead, 100, 1_000),
        (Traffic::TwinUpdate, 100, 500),
        (Traffic::Method, 16 * 1024, 200),
        (Traffic::SendDeviceBound, 100, 33),
        (Traffic::ReceiveDeviceBound, 0, 333),
        (Traffic::Registry, 0, 33),
    ] {
        let verdicts = (0..2_000).take_while(|_| hub.admit(traffic, now, wall, size).is_ok()).count();
        assert_eq!(verdicts, admitted, "{traffic:?}");
        assert_eq!(hub.admit(traffic, now, wall, size), Err(Refused::Excess(Excess::Rate)));
    }
    assert_eq!(hub.admit_messages(now, wall, [1]), Verdict::Now);
    let tally = hub.tally();
    assert_eq!((tally.twin_reads_refused, tally.methods_refused, tally.c2d_refused), (2, 2, 4));
    // Of the registry nothing is metered; a method of 16 KB counts as four.
    assert_eq!(tally.metered, 1_000 + 500 + 4 * 200 + 33 + 333 + 1);
    let basic = HubThrottle::new(HubSize { tier: Tier::B2, units: 1 });
    assert_eq!(basic.admit(Traffic::Method, now, wall, 1), Err(Refused::Tier));
    assert_eq!(basic.admit(Traffic::Registry, now, wall, 0), Ok(()));
}

#[test]
fn what_goes_both_ways_is_charged_to_the_days_quota() {
    let hub = HubThrottle::new(HubSize { tier: Tier::F1, units: 1 });
    let (now, wall) = (Instant::from_nanos(0), UnixTime::from_nanos(0));
    assert_eq!(hub.admit_messages(now, wall, [7_999 * 512]), Verdict::Now);
    assert_eq!(hub.admit(Traffic::TwinUpdate, now, wall, 513), Err(Refused::Excess(Excess::Quota)));
    assert_eq!(hub.admit(Traffic::TwinUpdate, now, wall, 512), Ok(()));
    assert_eq!(hub.admit(Traffic::TwinRead, now, wall, 1), Err(Refused::Excess(Excess::Quota)));
    assert_eq!(hub.admit(Traffic::Registry, now, wall, 1), Ok(()), "the registry is free");
}
