//! Watching over a fleet while it runs: intervals, progress, signals.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::fleet::{self, Command, Connections, FleetError, Setup};
use crate::record::{Interval, Record, Series};
use crate::result::files::Growing;
use crate::time::Clock;

use super::machine;

/// What a watched fleet leaves.
pub struct Watched {
    /// The books of all threads.
    pub record: Record,
    /// What happened when.
    pub series: Series,
    /// Whether somebody ended the run before its time.
    pub interrupted: bool,
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
}

/// Watches over a run. Hears interrupts (SIGINT, SIGTERM) from the moment it is made, so that one that comes while the run
/// is prepared ends it as any other does.
pub struct Watcher {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

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
        Ok(Self { runtime, signals })
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
        let Self { runtime, mut signals } = self;
        runtime.block_on(watch(setup, connections, keeper, &mut signals))
    }
}

async fn watch(
    setup: &Setup,
    connections: &Connections,
    mut keeper: Keeper<'_>,
    signals: &mut Signals,
) -> Result<Watched, FleetError> {
    let (command, commands) = watch::channel(Command::Run);
    let (sender, mut reports) = mpsc::unbounded_channel();
    let running = fleet::start(setup, connections, &commands, &sender)?;
    // The channel ends with the last thread.
    drop(sender);
    let mut book = Book::new(setup);
    let mut interrupts = 0;
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some(report) => book.take(report, &mut keeper),
                None => break,
            },
            () = signals.next() => {
                interrupts += 1;
                keeper.progress.interrupted(interrupts > 1);
                // Nobody listening means that the fleet has just ended.
                let _ = command.send(if interrupts > 1 { Command::Leave } else { Command::Interrupt });
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
        elapsed,
        peak_connected: book.peak_connected,
        peak_descriptors: book.peak_descriptors,
    })
}

/// Puts the threads' intervals together.
struct Book {
    series: Series,
    total: Interval,
    peak_connected: u64,
    peak_descriptors: u64,
    /// The last second that each thread has reported; the largest there is once the thread has ended.
    reported: Vec<u64>,
    /// Seconds that not all threads have reported yet.
    open: BTreeMap<u64, Interval>,
}

impl Book {
    fn new(setup: &Setup) -> Self {
        Self {
            series: Series::default(),
            total: Interval::new(setup.plan.populations.len()),
            peak_connected: 0,
            peak_descriptors: 0,
            reported: vec![0; setup.threads],
            open: BTreeMap::new(),
        }
    }

    fn take(&mut self, report: fleet::Report, keeper: &mut Keeper<'_>) {
        // Seconds count from 0 in a series: the interval that ends at second 1 is the first.
        self.series.add(report.second.saturating_sub(1), &report.interval);
        self.open.entry(report.second).or_default().merge(&report.interval);
        self.reported[report.thread] = if report.last { u64::MAX } else { report.second };
        let complete = self.reported.iter().copied().min().unwrap_or(u64::MAX);
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() <= complete) {
            let (second, interval) = entry.remove_entry();
            self.total.merge(&interval);
            let connected = self.total.total().connected_change;
            self.peak_connected = self.peak_connected.max(u64::try_from(connected).unwrap_or(0));
            self.peak_descriptors = self.peak_descriptors.max(machine::open_descriptors());
            keeper.files.second(second, &interval);
            keeper.progress.second(second, &self.total, &interval);
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
