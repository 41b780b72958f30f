//! The one door to clocks and timers.
//!
//! A [`Clock`] is either the machine's or simulated. On the machine's, coarse waits (timeouts, keep-alives) use
//! tokio's timer, which is late by 1.1 ms at the median, and every *due* instant goes through the [`Agenda`], which is
//! woken by one absolute timerfd and is late by about 0.07 ms. In simulated time both are exact to the nanosecond: the
//! clock stands still while any task can run and jumps to the next deadline when none can ([`simulate`]).
//!
//! Latency is told by the monotonic clock alone. Wall time ([`UnixTime`]) serves tokens and file names; a step of it
//! changes no latency.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod blocking;
mod precise;
mod simulated;

pub use blocking::{block_until, sharpen_waits, thread_cpu_time};
pub use simulated::{Stalled, simulate};

/// A point on the monotonic clock of this machine, in nanoseconds; processes on one machine share it.
///
/// In a simulated run it counts from an arbitrary origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(u64);

impl Instant {
    /// The point `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock, which is 584 years away.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Wall time: nanoseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time `nanos` nanoseconds after 1970-01-01 UTC.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970-01-01 UTC.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 UTC, as tokens count.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// For people and JSON: `2026-01-31T12:00:00Z`, with as many fraction digits as asked for (0 to 9).
    pub fn to_rfc3339(self, fraction_digits: u8) -> String {
        let timestamp =
            jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{timestamp:.precision$}", precision = usize::from(fraction_digits))
    }

    /// Reads RFC 3339 as [`Self::to_rfc3339`] writes it, or with an offset: `2026-01-31T13:00:00+01:00`. `None` if that is not
    /// what the text is, or before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(timestamp.as_nanosecond()).ok().map(Self)
    }

    /// For file names: `20260131T120000Z`.
    pub fn to_basic(self) -> String {
        let text = self.to_rfc3339(0);
        text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Tells the time and waits. Cheap to clone; every clone of a simulated clock is the same clock.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    Machine,
    Simulated(Arc<simulated::World>),
}

impl Clock {
    /// The clock of this machine. Its waits need a tokio runtime.
    pub const fn machine() -> Self {
        Self(Kind::Machine)
    }

    /// The monotonic time now.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Kind::Machine => Instant(read_clock(rustix::time::ClockId::Monotonic)),
            Kind::Simulated(world) => world.now(),
        }
    }

    /// The wall time now.
    pub fn wall(&self) -> UnixTime {
        match &self.0 {
            Kind::Machine => UnixTime(read_clock(rustix::time::ClockId::Realtime)),
            Kind::Simulated(world) => world.wall(),
        }
    }

    /// Sets the wall time of a simulated clock forward by so many seconds, or back, as somebody may do with the machine's during a
    /// run. Monotonic time goes on as if nothing had happened. The machine's clock is left alone.
    pub fn step_wall(&self, by_s: i64) {
        if let Kind::Simulated(world) = &self.0 {
            world.step_wall(by_s);
        }
    }

    /// Whether this clock is simulated.
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Kind::Simulated(_))
    }

    /// Waits until `deadline`, coarsely: never early, 1 to 5 ms late. For timeouts; what is *due* goes through [`Agenda`].
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep(match &self.0 {
            Kind::Machine => {
                let wait = deadline.since(self.now());
                SleepKind::Tokio(Box::pin(tokio::time::sleep(wait)))
            }
            Kind::Simulated(world) => SleepKind::Simulated(world.sleep_until(deadline)),
        })
    }

    /// Waits for `duration`, coarsely.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Runs `future` until it is done or `deadline` has passed; `None` when time ran out first.
    pub async fn until<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        // Made only when the future is not ready at once, which saves the timer on the fast path.
        let mut sleep = None;
        std::future::poll_fn(move |context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let sleep = sleep.get_or_insert_with(|| self.sleep_until(deadline));
            Pin::new(sleep).poll(context).map(|()| None)
        })
        .await
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_simulated() { "Clock::Simulated" } else { "Clock::Machine" })
    }
}

/// CPU time this process has used so far, user and system, all threads.
pub fn process_cpu_time() -> Duration {
    Duration::from_nanos(read_clock(rustix::time::ClockId::ProcessCPUTime))
}

fn read_clock(id: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(id);
    // Both fields are non-negative on these clocks after 1970.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// A coarse wait; see [`Clock::sleep_until`].
pub struct Sleep(SleepKind);

enum SleepKind {
    Tokio(Pin<Box<tokio::time::Sleep>>),
    Simulated(simulated::Sleep),
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            SleepKind::Tokio(sleep) => sleep.as_mut().poll(context),
            SleepKind::Simulated(sleep) => Pin::new(sleep).poll(context),
        }
    }
}

/// Wakes tasks at the instants they are due, on one thread, as precisely as the machine can.
///
/// All waits of a thread share one timer, armed for the earliest; one wake-up serves everything that is due by then.
/// Make one per thread, inside its runtime.
#[derive(Clone)]
pub struct Agenda {
    clock: Clock,
    /// `None` in simulated time, where the clock's own waits are exact.
    precise: Option<Rc<precise::Queue>>,
}

impl Agenda {
    /// An agenda for the runtime of this thread.
    ///
    /// # Errors
    /// When the operating system refuses a timer (no descriptor left).
    ///
    /// # Panics
    /// On the machine's clock, outside of a tokio runtime that runs local tasks.
    pub fn new(clock: &Clock) -> std::io::Result<Self> {
        let precise = match clock.0 {
            Kind::Machine => Some(precise::Queue::start(clock.clone())?),
            Kind::Simulated(_) => None,
        };
        Ok(Self { clock: clock.clone(), precise })
    }

    /// The clock this agenda goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The monotonic time now.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Waits until `due`; at once if that has passed.
    pub fn until(&self, due: Instant) -> Due {
        Due(match &self.precise {
            Some(queue) => DueKind::Precise(precise::Wait::new(Rc::clone(queue), due)),
            None => DueKind::Coarse(self.clock.sleep_until(due)),
        })
    }
}

/// A precise wait; see [`Agenda::until`]. Dropping it cancels the wait.
pub struct Due(DueKind);

enum DueKind {
    Precise(precise::Wait),
    Coarse(Sleep),
}

impl Future for Due {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            DueKind::Precise(wait) => Pin::new(wait).poll(context),
            DueKind::Coarse(sleep) => Pin::new(sleep).poll(context),
        }
    }
}

/// Wakers by deadline, in order of registration where deadlines are equal.
#[derive(Default)]
struct Waiters {
    by_deadline: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

impl Waiters {
    fn insert(&mut self, deadline: Instant, waker: Waker) -> (Instant, u64) {
        let key = (deadline, self.next);
        self.next += 1;
        self.by_deadline.insert(key, waker);
        key
    }

    fn earliest(&self) -> Option<Instant> {
        self.by_deadline.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes the first waiter whose deadline is not after `now`.
    fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let entry = self.by_deadline.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Renews the waker of a waiter; `false` if it has been woken already.
    fn refresh(&mut self, key: (Instant, u64), waker: &Waker) -> bool {
        match self.by_deadline.get_mut(&key) {
            Some(slot) => {
                slot.clone_from(waker);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, key: (Instant, u64)) {
        self.by_deadline.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_never_underflow() {
        let early = Instant::from_nanos(5);
        let late = Instant::from_nanos(9);
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!((early - Duration::from_secs(1)).nanos(), 0);
        assert_eq!((late + Duration::MAX).nanos(), u64::MAX);
    }

    #[test]
    fn wall_time_is_written_for_people_and_for_file_names() {
        let time = UnixTime::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(time.to_rfc3339(7), "2023-11-14T22:13:20.1234567Z");
        assert_eq!(time.to_basic(), "20231114T221320Z");
        assert_eq!(time.seconds(), 1_700_000_000);
    }

    #[test]
    fn the_agenda_of_the_machine_wakes_in_order_and_never_early() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .expect("a runtime");
        runtime.block_on(async {
            let clock = Clock::machine();
            let agenda = Agenda::new(&clock).expect("a timer");
            let start = agenda.now();
            let order = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = [30u64, 10, 20, 10]
                .into_iter()
                .map(|millis| {
                    let (agenda, order) = (agenda.clone(), Rc::clone(&order));
                    tokio::task::spawn_local(async move {
                        let due = start + Duration::from_millis(millis);
                        agenda.until(due).await;
                        assert!(agenda.now() >= due);
                        order.borrow_mut().push(millis);
                    })
                })
                .collect();
            // A cancelled wait must not disturb the others.
            drop(agenda.until(start + Duration::from_millis(5)));
            for task in tasks {
                task.await.expect("the task ends");
            }
            assert_eq!(*order.borrow(), [10, 10, 20, 30]);
        });
    }
}
