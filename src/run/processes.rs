//! A run in several processes: each carries out a shard, with an emulator of its own; their results become one.
//!
//! They are told over their standard input when the run clock begins, which is the same instant for all because processes on
//! one machine share its monotonic clock, and when to end. They tell what happened each second, which makes one progress
//! display and one set of files, and leave their results in folders of their own inside the run's. A process ends when its
//! standard input does, however this one ends.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::coordinate::{Book, Keeper, Progress, Signals, Start, Watcher};
use super::{Finished, Options, RunError, guard, keys, merge, preflight};
use crate::emulator::channel::Lines;
use crate::fleet::Report;
use crate::plan::{KeySource, Keys, Plan, Shard};
use crate::result::files::Growing;
use crate::result::{restored_interval, store};
use crate::text::Secret;
use crate::time::Clock;
use crate::verdict::Early;

mod line;
mod shard;

pub use line::Job;
use line::{FromShard, ToShard, to_line};
pub use shard::{Input, execute as execute_shard, read_job, tell_done, tell_failed};

/// Name of the hidden command by which the program becomes the process of a shard.
pub const SHARD_COMMAND: &str = "shard-process";

/// Why the processes of a run left no result.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No process.
    #[error(
        "cannot start the process of shard {shard}: {source}; use fewer --processes or raise the limits of this machine"
    )]
    Spawn {
        /// Whose.
        shard: Shard,
        /// Why.
        source: std::io::Error,
    },
    /// It said why, or ended without a word.
    #[error("shard {shard}: {text}")]
    Failed {
        /// Whose.
        shard: Shard,
        /// Why.
        text: String,
        /// The exit code that says so.
        code: u8,
    },
}

/// What else the processes of a run are told than its options.
pub struct Spread<'a> {
    /// How many processes; at least 2.
    pub processes: u32,
    /// The scenario's file.
    pub scenario: &'a Path,
    /// Texts of `--set path=value`.
    pub sets: &'a [String],
}

/// More time between the last preparation and zero of the run clock than in a run by itself: processes are to hear of it.
const RUN_UP: Duration = Duration::from_millis(200);

/// The longest line of a process: a second of 100 populations with every kind of step has less.
const MAX_LINE: usize = 16 << 20;

/// How long a process may take to end that has closed its output.
const ENDING: Duration = Duration::from_secs(2);

/// How long processes may take to end when they were told to leave: an emulator may take 20 s.
const LEAVING: Duration = Duration::from_secs(30);

/// Makes a run in several processes.
///
/// # Errors
/// [`RunError`] when it cannot start, when no shard comes to its end, or when the results cannot be kept. A shard that fails while
/// others come to their end is told by the result, which is a failure of the tool then.
pub fn execute(
    mut plan: Plan,
    options: &Options<'_>,
    spread: &Spread<'_>,
    progress: &mut dyn Progress,
) -> Result<Finished, RunError> {
    let mut watcher = Watcher::new()?;
    let endpoints = guard::endpoints(&plan)?;
    super::reconcilable(&plan, options, &endpoints)?;
    guard::confirm(&plan, &endpoints, options.yes)?;
    let count = u64::from(spread.processes);
    let all: Vec<Shard> = (0..count).filter_map(|index| Shard::new(index, count).ok()).collect();
    // The first has the most devices.
    plan.shard = all.first().copied().unwrap_or(Shard::WHOLE);
    preflight::check(&plan, &preflight::Room::now(), count)?;
    plan.shard = Shard::WHOLE;
    let key = key_of_stdin(&plan)?;
    let mut stdin = key.as_ref().map_or(&[][..], Secret::expose);
    let sources = keys::Sources { environment: options.environment, stdin: &mut stdin };
    // They read their keys themselves; what is wrong with one is told once.
    drop(keys::collect(&plan.enrollments, plan.seed, sources)?);
    let started = Clock::machine().wall();
    let folder = store::create_directory(&options.output, &plan.name, started)?;
    let job = |shard: Shard, folder: PathBuf| Job {
        scenario: spread.scenario.to_owned(),
        sets: spread.sets.to_vec(),
        seed: plan.seed,
        run_id: plan.run_id.clone(),
        index: shard.index(),
        count: shard.count(),
        threads: options.threads,
        yes: options.yes || guard::leaves_machine(&plan, &endpoints),
        reconcile: options.reconcile,
        folder,
        key: key.as_ref().and_then(Secret::expose_text).map(str::to_owned),
    };
    let mut shards = Shards::new();
    let made = all.iter().try_for_each(|shard| {
        let folder = shard_folder(&folder, *shard);
        std::fs::create_dir(&folder).map_err(|source| store::StoreError::cannot_make(&folder, source))?;
        shards.start(&options.program, *shard, &job(*shard, folder))
    });
    let run = made.and_then(|()| carry_out(&plan, options, &mut watcher, &mut shards, progress, &folder));
    shards.end();
    if run.is_err() {
        // Only what is empty: what a run left that broke in its middle may tell why.
        for shard in &all {
            let _ = std::fs::remove_dir(shard_folder(&folder, *shard));
        }
        let _ = std::fs::remove_dir(&folder);
    }
    run
}

/// Where a shard of a run in `folder` keeps its result.
fn shard_folder(folder: &Path, shard: Shard) -> PathBuf {
    folder.join(format!("shard-{}", shard.index()))
}

/// What standard input has, if a key of the plan comes from there.
fn key_of_stdin(plan: &Plan) -> Result<Option<Secret>, RunError> {
    let is_stdin = |source: &KeySource| matches!(source, KeySource::Stdin);
    let takes = plan.enrollments.iter().find(|enrollment| match &enrollment.keys {
        Keys::Group { primary, secondary } | Keys::Individual { primary, secondary, .. } => {
            is_stdin(primary) || secondary.as_ref().is_some_and(is_stdin)
        }
        Keys::List(_) => false,
    });
    let Some(enrollment) = takes else { return Ok(None) };
    let read = keys::read_text(&mut std::io::stdin().by_ref());
    let unreadable = |source| keys::KeyTrouble::Unreadable {
        enrollment: enrollment.name.clone(),
        path: "standard input".into(),
        source,
    };
    Ok(Some(read.map_err(unreadable)?))
}

fn carry_out(
    plan: &Plan,
    options: &Options<'_>,
    watcher: &mut Watcher,
    shards: &mut Shards,
    progress: &mut dyn Progress,
    folder: &Path,
) -> Result<Finished, RunError> {
    watcher.watch_others(async |signals, interrupts| shards.prepare(signals, interrupts).await)?;
    let mut zero = watcher.wait(options.start, progress)?;
    if options.start == Start::Now {
        zero += RUN_UP;
    }
    let clock = Clock::machine();
    let started = clock.wall() + zero.since(clock.now());
    let mut files = Growing::create(folder, started)?;
    shards.tell(&ToShard::Start(zero.nanos()));
    let early = Early::new(&plan.thresholds, plan.sends_from);
    let mut keeper = Keeper { progress, files: &mut files, early };
    let populations = plan.populations.len();
    watcher.watch_others(async |signals, interrupts| {
        shards.watch(signals, interrupts, populations, &mut keeper).await;
    });
    keeper.progress.done();
    let results: Vec<PathBuf> = shards
        .all
        .iter()
        .filter(|one| one.state == State::Done)
        .map(|one| shard_folder(folder, one.shard))
        .collect();
    let failures = shards.failures();
    if results.is_empty()
        && let Some((shard, text, code)) = failures.first().cloned()
    {
        return Err(ProcessError::Failed { shard, text, code }.into());
    }
    let mut result = merge::merge(&results, !failures.is_empty())?;
    if let Some(judgement) = &mut result.judgement {
        for (shard, text, _) in failures.iter().rev() {
            judgement.spoil(format!("Shard {shard} failed: {text}"));
        }
        if let Err(error) = files.finish() {
            judgement.spoil(format!("The files of this run are incomplete: {error}."));
        }
    }
    super::keep(folder, &result)?;
    Ok(Finished { result, folder: folder.to_owned(), stamps: Vec::new() })
}

/// The processes of a run.
struct Shards {
    all: Vec<One>,
    events: UnboundedReceiver<(usize, Event)>,
    sender: UnboundedSender<(usize, Event)>,
}

/// One of them.
struct One {
    shard: Shard,
    child: Child,
    stdin: Option<ChildStdin>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Preparing,
    Ready,
    Done,
    Failed { text: String, code: u8 },
}

/// What is heard of a process.
enum Event {
    Told(Box<FromShard>),
    Gone,
}

impl Shards {
    fn new() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        Self { all: Vec::new(), events, sender }
    }

    /// Starts the process of `shard`. It has the environment of this one, for variables of the scenario and keys, and a process
    /// group of its own, so that an interrupt typed at the terminal reaches it by way of this one.
    fn start(&mut self, program: &Path, shard: Shard, job: &Job) -> Result<(), RunError> {
        let failed = |source| ProcessError::Spawn { shard, source };
        let mut command = Process::new(program);
        command.arg(SHARD_COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let at = self.all.len();
        self.all.push(One { shard, child, stdin, state: State::Preparing });
        let sender = self.sender.clone();
        let reader = move || {
            if let Some(stdout) = stdout {
                let mut lines = Lines::within(BufReader::with_capacity(64 * 1024, stdout), MAX_LINE);
                while let Ok(Some(line)) = lines.next_line() {
                    // A line that means nothing is the process's fault; what matters will be missed and told.
                    let Ok(told) = serde_json::from_str(line) else { continue };
                    if sender.send((at, Event::Told(Box::new(told)))).is_err() {
                        return;
                    }
                }
            }
            let _ = sender.send((at, Event::Gone));
        };
        let name = format!("shard-{}", shard.index());
        std::thread::Builder::new().name(name).spawn(reader).map_err(failed)?;
        let line = zeroize::Zeroizing::new(to_line(job));
        self.all[at].write(&line);
        Ok(())
    }

    fn tell(&mut self, order: &ToShard) {
        let line = to_line(order);
        self.all.iter_mut().for_each(|one| one.write(&line));
    }

    fn failures(&self) -> Vec<(Shard, String, u8)> {
        let failed = self.all.iter().filter_map(|one| match &one.state {
            State::Failed { text, code } => Some((one.shard, text.clone(), *code)),
            _ => None,
        });
        failed.collect()
    }

    /// Waits until all are ready.
    ///
    /// # Errors
    /// [`ProcessError::Failed`] of the first that will not be, or when the user leaves.
    async fn prepare(&mut self, signals: &mut Signals, interrupts: &mut u32) -> Result<(), ProcessError> {
        while self.all.iter().any(|one| one.state == State::Preparing) {
            tokio::select! {
                // The first is heeded when they can be told to start.
                () = signals.next() => *interrupts += 1,
                event = self.events.recv() => {
                    let Some((at, event)) = event else { break };
                    self.take(at, event);
                }
            }
            if let Some((shard, text, code)) = self.failures().into_iter().next() {
                return Err(ProcessError::Failed { shard, text, code });
            }
        }
        Ok(())
    }

    /// Watches them until all have ended.
    async fn watch(
        &mut self,
        signals: &mut Signals,
        interrupts: &mut u32,
        populations: usize,
        keeper: &mut Keeper<'_>,
    ) {
        let clock = Clock::machine();
        let mut book = Book::new(populations, self.all.len());
        let mut is_aborted = false;
        // When those that are still there are not waited for any longer.
        let mut patience = None;
        if *interrupts > 0 {
            self.interrupt(*interrupts);
        }
        while self.all.iter().any(|one| one.state == State::Ready) {
            if *interrupts > 1 && patience.is_none() {
                patience = Some(clock.now() + LEAVING);
            }
            let aborted = tokio::select! {
                () = signals.next() => {
                    *interrupts += 1;
                    keeper.progress.interrupted(*interrupts > 1);
                    self.interrupt(*interrupts);
                    None
                }
                () = async { clock.sleep_until(patience.expect("is some")).await }, if patience.is_some() => {
                    for one in self.all.iter_mut().filter(|one| one.state == State::Ready) {
                        let _ = one.child.kill();
                    }
                    None
                }
                event = self.events.recv() => match event {
                    None => return,
                    Some((at, Event::Told(told))) => match *told {
                        FromShard::Second { second, interval } => match restored_interval(&interval) {
                            Ok(interval) => {
                                let report = Report { thread: at, second, interval, last: false };
                                book.take(report, keeper)
                            }
                            Err(_) => None,
                        },
                        other => {
                            self.take(at, Event::Told(Box::new(other)));
                            self.ended(at, &mut book, keeper)
                        }
                    },
                    Some((at, gone)) => {
                        self.take(at, gone);
                        self.ended(at, &mut book, keeper)
                    }
                },
            };
            if let Some(text) = aborted
                && !is_aborted
            {
                is_aborted = true;
                self.tell(&ToShard::Abort(text));
            }
        }
    }

    /// Lets the seconds pass that waited for a process which has ended.
    fn ended(&self, at: usize, book: &mut Book, keeper: &mut Keeper<'_>) -> Option<String> {
        if self.all[at].state == State::Ready { None } else { book.ended(at, keeper) }
    }

    fn interrupt(&mut self, interrupts: u32) {
        self.tell(if interrupts > 1 { &ToShard::Leave } else { &ToShard::Interrupt });
    }

    fn take(&mut self, at: usize, event: Event) {
        let one = &mut self.all[at];
        let is_over = matches!(one.state, State::Done | State::Failed { .. });
        match event {
            Event::Told(told) => match *told {
                FromShard::Ready => one.state = State::Ready,
                FromShard::Done => one.state = State::Done,
                FromShard::Failed { text, code } => one.state = State::Failed { text, code },
                FromShard::Second { .. } => {}
            },
            Event::Gone if !is_over => {
                let how = one.bury();
                let text =
                    format!("its process ended unexpectedly ({how}); its last words, if any, are above");
                one.state = State::Failed { text, code: crate::verdict::EXIT_FAILED };
            }
            Event::Gone => {}
        }
    }

    /// Ends what is left, and buries all.
    fn end(&mut self) {
        self.all.iter_mut().for_each(|one| drop(one.stdin.take()));
        let clock = Clock::machine();
        let until = clock.now() + LEAVING;
        let mut left: BTreeMap<usize, &mut One> = self.all.iter_mut().enumerate().collect();
        while !left.is_empty() {
            left.retain(|_, one| matches!(one.child.try_wait(), Ok(None)));
            if clock.now() > until {
                for one in left.values_mut() {
                    let _ = one.child.kill();
                    let _ = one.child.wait();
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl One {
    /// How it ended; one that does not is ended.
    fn bury(&mut self) -> String {
        let clock = Clock::machine();
        let until = clock.now() + ENDING;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) if clock.now() < until => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let _ = self.child.kill();
                    return self
                        .child
                        .wait()
                        .map_or_else(|error| error.to_string(), |status| status.to_string());
                }
                Err(error) => return error.to_string(),
            }
        }
    }

    fn write(&mut self, line: &str) {
        // One that is gone is told by the end of its output.
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.end();
    }
}
