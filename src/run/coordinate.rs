//! Watching over a fleet while it runs: intervals, progress, signals.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::fleet::{self, Command, Connections, FleetError, Setup};
use crate::record::{Interval, Record, Series};
use crate::result::files::Growing;
use crate::time::{Clock, Instant, UnixTime};
use crate::verdict::Early;

use super::machine;

/// What a watched fleet leaves.
pub struct Watched {
    /// The books of all threads.
    pub record: Record,
    /// What happened when.
    pub series: Series,
    /// Whether somebody ended the run before its time.
    pub interrupted: bool,
    /// The threshold that ended the run before its time.
    pub aborted: Option<String>,
    /// From zero of the run clock to the last device's end.
    pub elapsed: Duration,
    /// Most devices connected at the end of a second.
    pub peak_connected: u64,
    /// Most descriptors that were open at the end of a second; 0 if unknown.
    pub peak_descriptors: u64,
}

/// Is shown how a run goes.
pub trait Progress {
    /// Second `second` of the run clock has passed, on all threads; `total` is everything since the start, and `last` what
    /// happened in the last second.
    fn second(&mut self, second: u64, total: &Interval, last: &Interval);

    /// Everything is prepared, and so much time is left until zero of the run clock. Told about once a second.
    fn waiting(&mut self, _left: Duration) {}

    /// Everything is prepared, and somebody else says when it begins.
    fn ready(&mut self) {}

    /// Somebody asked the run to stop; `again` for the second time.
    fn interrupted(&mut self, again: bool);

    /// The run is over.
    fn done(&mut self);
}

/// Who is told of each second of a run when all threads have reported it.
pub struct Keeper<'a> {
    /// For people.
    pub progress: &'a mut dyn Progress,
    /// For later.
    pub files: &'a mut Growing,
    /// May end the run.
    pub early: Early,
}

/// Watches over a run. Hears interrupts (SIGINT, SIGTERM) from the moment it is made, so that one that comes while the run
/// is prepared ends it as any other does.
pub struct Watcher {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
    orders: Option<Orders>,
    /// Interrupts that came before there was a fleet to be told.
    interrupts: u32,
}

/// What whoever started this process tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The run clock's zero is at this instant of the monotonic clock.
    Start(Instant),
    /// As an interrupt.
    Interrupt,
    /// As a threshold that ends the run, with its text.
    Abort(String),
    /// As a second interrupt.
    Leave,
}

/// Where orders come from; their end means the same as [`Order::Leave`].
pub type Orders = mpsc::UnboundedReceiver<Order>;

/// When the run clock begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// As soon as everything is prepared.
    #[default]
    Now,
    /// At this wall time.
    At(UnixTime),
    /// When [`Order::Start`] says.
    Told,
}

/// The wall time of a run's zero has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "everything was prepared {} after {}, when the run was to begin; give --start-at more time",
    crate::units::show_duration(*.late), .at.to_rfc3339(0)
)]
pub struct TooLate {
    /// When it was to begin.
    pub at: UnixTime,
    /// For how long that has passed.
    pub late: Duration,
}

/// Time between the last preparation and zero of the run clock, in which threads start.
const RUN_UP: Duration = Duration::from_millis(100);

/// So long before a wall time the run clock is bound to it: until then somebody may set the clock.
const BOUND_BEFORE: Duration = Duration::from_secs(1);

impl Watcher {
    /// Listens for interrupts from here on.
    ///
    /// # Errors
    /// [`FleetError::Start`] when the operating system refuses.
    pub fn new() -> Result<Self, FleetError> {
        let failed = |source| FleetError::Start { thread: 0, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let signals = {
            let _inside = runtime.enter();
            Signals::new().map_err(failed)?
        };
        Ok(Self { runtime, signals, orders: None, interrupts: 0 })
    }

    /// The same, and obeys orders besides.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn obeying(orders: Orders) -> Result<Self, FleetError> {
        Ok(Self { orders: Some(orders), ..Self::new()? })
    }

    /// Waits for the beginning of the run, and gives zero of the run clock, a little ahead. An interrupt ends the wait: the run
    /// begins at once then, to be ended by [`Self::watch`].
    ///
    /// # Errors
    /// [`TooLate`] if the time has passed.
    pub fn wait(&mut self, start: Start, progress: &mut dyn Progress) -> Result<Instant, TooLate> {
        let clock = Clock::machine();
        let Self { runtime, signals, orders, interrupts } = self;
        runtime.block_on(async {
            match start {
                Start::Now => Ok(clock.now() + RUN_UP),
                Start::At(at) => loop {
                    let (wall, now) = (clock.wall(), clock.now());
                    if at < wall {
                        let late = Duration::from_nanos(wall.nanos() - at.nanos());
                        return Err(TooLate { at, late });
                    }
                    let left = Duration::from_nanos(at.nanos() - wall.nanos());
                    if left <= BOUND_BEFORE {
                        return Ok(now + left);
                    }
                    progress.waiting(left);
                    let next = now + (left - BOUND_BEFORE).min(Duration::from_secs(1));
                    tokio::select! {
                        () = signals.next() => *interrupts += 1,
                        () = clock.sleep_until(next) => continue,
                    }
                    progress.interrupted(false);
                    return Ok(clock.now() + RUN_UP);
                },
                Start::Told => {
                    progress.ready();
                    let order = tokio::select! {
                        () = signals.next() => Some(Order::Interrupt),
                        order = next_order(orders) => order,
                    };
                    match order {
                        Some(Order::Start(zero)) => return Ok(zero),
                        Some(Order::Interrupt | Order::Abort(_)) => *interrupts += 1,
                        Some(Order::Leave) | None => *interrupts += 2,
                    }
                    Ok(clock.now() + RUN_UP)
                }
            }
        })
    }

    /// Runs a fleet to its end.
    ///
    /// # Errors
    /// [`FleetError`] when a thread could not do its work.
    pub fn watch(
        self,
        setup: &Setup,
        connections: &Connections,
        keeper: Keeper<'_>,
    ) -> Result<Watched, FleetError> {
        let Self { runtime, mut signals, mut orders, interrupts } = self;
        runtime.block_on(watch(setup, connections, keeper, (&mut signals, &mut orders), interrupts))
    }

    /// The same for a run that other processes carry out: gives `others` the signals and the interrupts so far.
    pub(super) fn watch_others<R>(&mut self, others: impl AsyncFnOnce(&mut Signals, &mut u32) -> R) -> R {
        let Self { runtime, signals, interrupts, .. } = self;
        runtime.block_on(others(signals, interrupts))
    }
}

/// The next order; never one where nobody gives any.
async fn next_order(orders: &mut Option<Orders>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

async fn watch(
    setup: &Setup,
    connections: &Connections,
    mut keeper: Keeper<'_>,
    (signals, orders): (&mut Signals, &mut Option<Orders>),
    mut interrupts: u32,
) -> Result<Watched, FleetError> {
    let told = |interrupts| if interrupts > 1 { Command::Leave } else { Command::Interrupt };
    let (command, commands) = watch::channel(Command::Run);
    let (sender, mut reports) = mpsc::unbounded_channel();
    let running = fleet::start(setup, connections, &commands, &sender)?;
    // The channel ends with the last thread.
    drop(sender);
    if interrupts > 0 {
        let _ = command.send(told(interrupts));
    }
    let mut book = Book::new(setup.plan.populations.len(), setup.threads);
    let mut aborted = None;
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some(report) => {
                    if let Some(text) = book.take(report, &mut keeper)
                        && aborted.is_none()
                    {
                        aborted = Some(text);
                        let _ = command.send(Command::Interrupt);
                    }
                }
                None => break,
            },
            () = signals.next() => {
                interrupts += 1;
                keeper.progress.interrupted(interrupts > 1);
                // Nobody listening means that the fleet has just ended.
                let _ = command.send(told(interrupts));
            }
            order = next_order(orders) => {
                match order {
                    Some(Order::Start(_)) => continue,
                    Some(Order::Interrupt) => interrupts += 1,
                    Some(Order::Abort(text)) => {
                        aborted.get_or_insert(text);
                    }
                    Some(Order::Leave) => interrupts += 2,
                    None => {
                        *orders = None;
                        interrupts += 2;
                    }
                }
                let _ = command.send(told(interrupts));
            }
        }
    }
    keeper.progress.done();
    let elapsed = Clock::machine().now().since(setup.epoch);
    let record = running.join()?;
    Ok(Watched {
        record,
        series: book.series,
        interrupted: interrupts > 0,
        aborted,
        elapsed,
        peak_connected: book.peak_connected,
        peak_descriptors: book.peak_descriptors,
    })
}

/// Puts the intervals of threads together, or of processes.
pub(super) struct Book {
    pub(super) series: Series,
    total: Interval,
    peak_connected: u64,
    peak_descriptors: u64,
    /// The last second that each thread has reported; the largest there is once the thread has ended.
    reported: Vec<u64>,
    /// Seconds that not all threads have reported yet.
    open: BTreeMap<u64, Interval>,
}

impl Book {
    /// * `sources`: how many threads or processes report
    pub(super) fn new(populations: usize, sources: usize) -> Self {
        Self {
            series: Series::default(),
            total: Interval::new(populations),
            peak_connected: 0,
            peak_descriptors: 0,
            reported: vec![0; sources],
            open: BTreeMap::new(),
        }
    }

    /// Gives the text of a threshold that ends the run.
    pub(super) fn take(&mut self, report: fleet::Report, keeper: &mut Keeper<'_>) -> Option<String> {
        // Seconds count from 0 in a series: the interval that ends at second 1 is the first.
        self.series.add(report.second.saturating_sub(1), &report.interval);
        self.open.entry(report.second).or_default().merge(&report.interval);
        self.reported[report.thread] = if report.last { u64::MAX } else { report.second };
        self.complete(keeper)
    }

    /// Nothing more comes from that thread or process. As [`Self::take`].
    pub(super) fn ended(&mut self, source: usize, keeper: &mut Keeper<'_>) -> Option<String> {
        self.reported[source] = u64::MAX;
        self.complete(keeper)
    }

    /// Passes on the seconds that all have reported.
    fn complete(&mut self, keeper: &mut Keeper<'_>) -> Option<String> {
        let mut aborted = None;
        let complete = self.reported.iter().copied().min().unwrap_or(u64::MAX);
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() <= complete) {
            let (second, interval) = entry.remove_entry();
            self.total.merge(&interval);
            let connected = self.total.total().connected_change;
            self.peak_connected = self.peak_connected.max(u64::try_from(connected).unwrap_or(0));
            self.peak_descriptors = self.peak_descriptors.max(machine::open_descriptors());
            keeper.files.second(second, &interval);
            keeper.progress.second(second, &self.total, &interval);
            aborted = aborted.or(keeper.early.second(second, &interval));
        }
        aborted
    }
}

#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
