use super::*;
use crate::rng::{Purpose, stream};

const START: Instant = Instant::from_nanos(1_000_000_000_000);

fn after(seconds: f64) -> Instant {
    START + Duration::from_secs_f64(seconds)
}

fn life() -> Life {
    let limits = Limits {
        register: Duration::from_secs(60),
        connect: Duration::from_secs(30),
        waits: Waits::MUSTER,
        is_refused_for_good: false,
    };
    Life::with_registration(START, Rc::new(limits), stream(7, "sensors", 0, Purpose::Retry))
}

/// One of Node's over HTTPS, whose registration ends with the first refusal.
fn easily_discouraged() -> Life {
    let limits = Limits {
        register: Duration::from_secs(3_600),
        connect: Duration::from_secs(60),
        waits: Waits::NODE,
        is_refused_for_good: true,
    };
    Life::with_registration(START, Rc::new(limits), stream(7, "sensors", 0, Purpose::Retry))
}

fn assigning(seconds: Option<u64>) -> Happened {
    Happened::Assigning { retry_after: seconds.map(Duration::from_secs) }
}

fn failed(class: Class) -> Happened {
    Happened::Failed(Failure::new(class, "test"))
}

fn at(life: &Life) -> (Instant, Call) {
    match life.next() {
        Next::At(at, call) => (at, call),
        other => panic!("no call but {other:?}"),
    }
}

#[test]
fn a_device_registers_polls_as_asked_connects_and_serves() {
    let mut life = life();
    assert_eq!(life.next(), Next::At(START, Call::Register));
    life.ready(after(0.001));
    life.started(after(0.002));
    assert_eq!(life.happened(after(0.1), assigning(Some(3))), None);
    assert_eq!(life.next(), Next::At(after(3.1), Call::Poll));
    assert_eq!(life.happened(after(3.2), assigning(None)), None);
    assert_eq!(life.next(), Next::At(after(5.2), Call::Poll));
    let registered = life.happened(after(5.3), Happened::Assigned).expect("the step ends");
    assert_eq!(
        registered.observation,
        Observation {
            kind: StepKind::Register,
            due: START,
            ready: after(0.001),
            started: after(0.002),
            finished: after(5.3),
            outcome: Outcome::Acknowledged,
        }
    );
    assert_eq!(life.next(), Next::At(after(5.3), Call::Connect));
    life.ready(after(5.3));
    let connected = life.happened(after(5.4), Happened::Connected).expect("the step ends");
    assert_eq!(connected.observation.due, after(5.3));
    assert_eq!(life.next(), Next::Serve);
    life.finish();
    assert_eq!(life.next(), Next::Ended(End::Finished));
}

#[test]
fn a_throttled_registration_returns_when_the_service_says_and_stays_one_step() {
    let mut life = life();
    let mut failure = Failure::new(Class::Throttled, "429001");
    failure.retry_after = Some(Duration::from_secs(7));
    assert_eq!(life.happened(after(0.5), Happened::Failed(failure)), None);
    assert_eq!(life.next(), Next::At(after(7.5), Call::Register));
    let ended = life.happened(after(7.6), Happened::Assigned).expect("the step ends");
    assert_eq!(ended.observation.span(crate::step::View::Response), Duration::from_secs_f64(7.6));
}

#[test]
fn a_hint_beyond_the_deadline_fails_the_step_at_once() {
    let mut life = life();
    let mut failure = Failure::new(Class::Throttled, "429001");
    failure.retry_after = Some(Duration::from_secs(1_000_000_000));
    let ended = life.happened(after(0.5), Happened::Failed(failure)).expect("the step ends");
    assert_eq!(ended.observation.outcome, Outcome::Failed(Class::Throttled));
    assert_eq!(life.next(), Next::Ended(End::GaveUp(Class::Throttled)));
}

#[test]
fn a_wrong_key_is_not_tried_twice() {
    let mut life = life();
    let ended = life.happened(after(0.5), failed(Class::Unauthorized)).expect("the step ends");
    assert_eq!(ended.observation.outcome, Outcome::Failed(Class::Unauthorized));
    assert_eq!(life.next(), Next::Ended(End::GaveUp(Class::Unauthorized)));
}

#[test]
fn a_key_that_is_refused_at_the_third_poll_ends_the_life() {
    let mut life = life();
    life.happened(after(0.1), assigning(Some(1)));
    life.happened(after(1.1), assigning(Some(1)));
    let ended = life.happened(after(2.1), failed(Class::Unauthorized)).expect("the step ends");
    assert_eq!(ended.observation.outcome, Outcome::Failed(Class::Unauthorized));
}

#[test]
fn an_operation_that_the_service_forgot_is_registered_anew_once() {
    let mut life = life();
    life.happened(after(0.1), assigning(Some(1)));
    assert_eq!(life.happened(after(1.1), failed(Class::NotFound)), None);
    assert_eq!(at(&life).1, Call::Register);
    let ended =
        life.happened(after(1.5), failed(Class::NotFound)).expect("an unknown registration is for good");
    assert_eq!(ended.observation.outcome, Outcome::Failed(Class::NotFound));
}

#[test]
fn an_operation_forgotten_by_a_restarting_service_is_registered_anew_too() {
    let mut life = life();
    life.happened(after(0.1), assigning(Some(1)));
    assert_eq!(life.happened(after(1.1), failed(Class::Reset)), None);
    assert_eq!(at(&life).1, Call::Poll);
    assert_eq!(life.happened(after(1.3), failed(Class::NotFound)), None);
    assert_eq!(at(&life).1, Call::Register);
    assert_eq!(life.happened(after(1.5), assigning(Some(1))), None);
    let ended = life.happened(after(2.5), failed(Class::NotFound)).expect("once is enough");
    assert_eq!(ended.observation.outcome, Outcome::Failed(Class::NotFound));
}

#[test]
fn an_attempt_that_the_deadline_cuts_short_does_not_hide_why_those_before_it_failed() {
    let mut life = life();
    assert_eq!(life.happened(after(59.0), failed(Class::ServerError)), None);
    let ended = life.happened(after(60.0), failed(Class::ConnectTimeout)).expect("the step ends");
    assert_eq!(ended.observation.outcome, Outcome::Failed(Class::ServerError));
    assert_eq!(ended.failure.map(|failure| failure.class), Some(Class::ServerError));
}

#[test]
fn a_service_that_never_decides_fails_the_step_by_its_deadline() {
    let mut life = life();
    let mut now = after(0.1);
    loop {
        if let Some(ended) = life.happened(now, assigning(Some(3))) {
            assert_eq!(ended.observation.outcome, Outcome::Failed(Class::NeverAssigned));
            assert!(ended.observation.finished <= after(60.0));
            break;
        }
        now = at(&life).0 + Duration::from_millis(50);
    }
    assert_eq!(life.next(), Next::Ended(End::GaveUp(Class::NeverAssigned)));
}

#[test]
fn a_refused_port_is_tried_until_the_deadline_and_no_longer() {
    let mut life = life();
    let mut attempts = 0;
    let ended = loop {
        let (now, call) = at(&life);
        assert_eq!(call, Call::Register);
        assert!(now < after(60.0));
        attempts += 1;
        if let Some(ended) = life.happened(now + Duration::from_millis(1), failed(Class::Refused)) {
            break ended;
        }
    };
    assert_eq!(ended.observation.outcome, Outcome::Failed(Class::Refused));
    assert!((5..60).contains(&attempts), "{attempts} attempts");
}

#[test]
fn a_poll_that_asks_for_no_wait_is_not_a_busy_loop() {
    let mut life = life();
    life.happened(after(0.0), assigning(Some(0)));
    assert_eq!(life.next(), Next::At(after(0.1), Call::Poll));
}

#[test]
fn a_lost_hub_connection_is_due_again_and_backs_off_only_from_the_second_loss_on() {
    let mut life = life();
    life.happened(after(0.1), Happened::Assigned);
    life.happened(after(0.2), Happened::Connected);
    let reset = Failure::new(Class::Reset, "");
    life.lost(after(9.0), after(9.0), &reset);
    assert_eq!(life.next(), Next::At(after(9.0), Call::Connect));
    life.happened(after(9.1), Happened::Connected);
    life.lost(after(9.2), after(9.2), &reset);
    let again = at(&life).0;
    assert!(again > after(9.2));
    life.ready(again);
    let ended = life.happened(again, Happened::Connected).expect("the step ends");
    assert_eq!(ended.observation.due, again, "the wait is the device's policy and not our lateness");
    life.works();
    life.lost(after(20.0), after(20.0), &reset);
    assert_eq!(at(&life).0, after(20.0));
}

#[test]
fn a_connection_closed_for_want_of_messages_is_due_with_the_next_one() {
    let mut life = life();
    life.happened(after(0.1), Happened::Assigned);
    life.happened(after(0.2), Happened::Connected);
    life.left(after(600.0));
    assert_eq!(life.next(), Next::At(after(600.0), Call::Connect));
}

#[test]
fn a_hub_that_stays_away_fails_one_step_after_another() {
    let mut life = life();
    life.happened(after(0.1), Happened::Assigned);
    let mut ended = 0;
    while ended < 2 {
        let (now, call) = at(&life);
        assert_eq!(call, Call::Connect);
        if let Some(step) = life.happened(now, failed(Class::Refused)) {
            assert_eq!(step.observation.outcome, Outcome::Failed(Class::Refused));
            ended += 1;
        }
    }
    assert_eq!(at(&life).1, Call::Connect);
}

#[test]
fn what_is_under_way_when_the_run_ends_is_unknown_or_not_sent_but_never_failed() {
    let mut waiting = life();
    let ended = waiting.abandon(after(1.0), false).expect("the step was due");
    assert_eq!(ended.observation.outcome, Outcome::NotSent(Reason::RunEnded));
    let mut sent = life();
    sent.started(after(0.5));
    let ended = sent.abandon(after(1.0), true).expect("the step was due");
    assert_eq!(ended.observation.outcome, Outcome::Unknown(Cause::Interrupted));
    assert_eq!(sent.next(), Next::Ended(End::Abandoned));
    assert_eq!(sent.abandon(after(2.0), true), None);
}

#[test]
fn a_step_that_was_not_due_when_the_run_ended_is_not_in_the_books() {
    let mut life = life();
    life.happened(after(0.1), Happened::Assigned);
    life.happened(after(0.2), Happened::Connected);
    life.left(after(600.0));
    assert_eq!(life.abandon(after(10.0), false), None);
}

#[test]
fn nodes_registration_over_https_ends_with_the_first_refusal_and_not_with_a_lost_connection() {
    for class in [Class::Throttled, Class::ServerError] {
        let mut life = easily_discouraged();
        let ended = life.happened(after(1.0), failed(class)).expect("the step ends");
        assert_eq!(ended.observation.outcome, Outcome::Failed(class));
        assert_eq!(life.next(), Next::Ended(End::GaveUp(class)));
        // The same where it asks how the operation stands.
        let mut life = easily_discouraged();
        assert_eq!(life.happened(after(1.0), assigning(Some(3))), None);
        assert!(life.happened(after(4.0), failed(class)).is_some());
    }
    let mut life = easily_discouraged();
    assert_eq!(life.happened(after(1.0), failed(Class::Refused)), None);
    // At its hub it is as any other.
    life.happened(after(3.0), Happened::Assigned).expect("the step ends");
    assert_eq!(life.happened(after(3.1), failed(Class::Throttled)), None);
}
