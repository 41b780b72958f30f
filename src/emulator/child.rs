//! The embedded emulator as a child process: obeys the [`channel`] on standard input, reports on
//! standard output.

use std::io::{self, BufReader, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::channel::{self, Command, Lines, Report, Setup, StampQueue};
use super::config::{Attestation, Config, Enrollment};
use super::listed::{Listed, Store};
use super::serve::{self, Options, Running};
use crate::time::Clock;

/// Texts that may wait to be written before who has more waits as well.
const MAX_WAITING: usize = 16;

/// Bytes from which on what arrived is written.
const PIECE: usize = 64 * 1024;

/// How often stamps are written out, at least.
const FLUSH: Duration = Duration::from_millis(50);

/// Runs the child until its input ends or it is told to stop: what the hidden command of the program calls.
///
/// Interrupts and requests to end are ignored: a terminal sends them to parent and child alike, and the parent still
/// drains and asks for the ledger. The child's life hangs on its standard input alone.
pub fn child_main() -> ExitCode {
    raise_descriptor_limit();
    let _signals = ignore_signals();
    match obey(io::stdin(), io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "embedded emulator: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Obeys `input` and reports to `output`, until `stop` or the end of the input.
///
/// # Errors
/// A text for people: lines that mean nothing or come in the wrong order, or why the emulator cannot run (which has been
/// reported as well).
pub fn obey(input: impl Read, output: impl Write + Send + 'static) -> Result<(), String> {
    // A list comes as a line for each of its devices.
    let mut lines = Lines::new(BufReader::with_capacity(64 * 1024, input));
    let Some((config, threads)) = read_config(&mut lines)? else {
        return Ok(());
    };
    let options = Options { threads, ..Options::default() };
    let mut running = match serve::start(&config, &options, Clock::machine()) {
        Ok(running) => running,
        Err(error) => {
            let mut output = output;
            let _ = output.write_all(Report::Failed(error.to_string()).to_line().as_bytes());
            let _ = output.flush();
            return Err(error.to_string());
        }
    };
    // Keys are in the service now, prepared; the text of them goes.
    drop(config);
    let writer = Writer::start(output, running.stamps().to_vec()).map_err(|error| error.to_string())?;
    writer.report(&Report::Ready(running.ready()));
    loop {
        match next(&mut lines)? {
            Some(Command::Ledger) => writer.report(&Report::Ledger(Box::new(running.ledger()))),
            Some(Command::Stop) => return finish(running, writer),
            Some(_) => return Err("a command came in the wrong order".to_owned()),
            // However the parent ended: nothing is left to be told to anybody.
            None => {
                running.stop();
                return Ok(());
            }
        }
    }
}

fn finish(mut running: Running, writer: Writer) -> Result<(), String> {
    let ledger = running.stop();
    if let Some(arrivals) = running.arrivals() {
        writer.arrivals(arrivals);
    }
    writer.report(&Report::Ledger(Box::new(ledger)));
    writer.end();
    Ok(())
}

/// The opening lines; `None` if the input ends before they are complete.
fn read_config<R: io::BufRead>(lines: &mut Lines<R>) -> Result<Option<(Config, usize)>, String> {
    let mut setup: Option<Box<Setup>> = None;
    let mut enrollments: Vec<Enrollment> = Vec::new();
    let mut rows = Store::default();
    while let Some(command) = next(lines)? {
        match (command, setup.take()) {
            (Command::Config(first), None) => setup = Some(first),
            (Command::Enroll(enrollment), Some(known)) => {
                finish_list(&mut enrollments, &mut rows);
                enrollments.push(*enrollment);
                setup = Some(known);
            }
            (Command::Device(row), Some(known)) => {
                rows.push(&row).map_err(|error| error.to_string())?;
                setup = Some(known);
            }
            (Command::Start, Some(known)) => {
                finish_list(&mut enrollments, &mut rows);
                let threads = known.threads;
                return Ok(Some((known.into_config(enrollments), threads)));
            }
            _ => return Err("a command came in the wrong order".to_owned()),
        }
    }
    Ok(None)
}

/// The rows that came are all of the list that was enrolled last.
fn finish_list(enrollments: &mut [Enrollment], rows: &mut Store) {
    if let Some(Enrollment { attestation: Attestation::List(listed), .. }) = enrollments.last_mut() {
        let mut rows = std::mem::take(rows);
        rows.sort();
        *listed = Listed::Store(Arc::new(rows));
    }
}

fn next<R: io::BufRead>(lines: &mut Lines<R>) -> Result<Option<Command>, String> {
    let line = lines.next_line().map_err(|error| error.to_string())?;
    line.map(Command::parse).transpose().map_err(|error| error.to_string())
}

/// Writes reports and stamps from a thread of its own, so that a slow reader stops no worker.
struct Writer {
    lines: mpsc::SyncSender<String>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(output: impl Write + Send + 'static, stamps: Vec<Arc<StampQueue>>) -> io::Result<Self> {
        let (lines, reports) = mpsc::sync_channel::<String>(MAX_WAITING);
        let thread = std::thread::Builder::new().name("emulator-report".to_owned()).spawn(move || {
            // The output has no reader any more when writing fails; the end of the input will follow.
            let _ = write_all(output, &reports, &stamps);
        })?;
        Ok(Self { lines, thread })
    }

    fn report(&self, report: &Report) {
        // Fails only when the output is gone.
        let _ = self.lines.send(report.to_line());
    }

    /// Writes which messages of each device arrived, in pieces: a million devices are no reason for one large text.
    fn arrivals(&self, arrivals: &Arrivals) {
        let (mut lines, mut count) = (String::new(), 0);
        arrivals.each(|device_id, arrived| {
            channel::write_arrived(device_id, arrived, &mut lines);
            count += 1;
            if lines.len() >= PIECE {
                let _ = self.lines.send(std::mem::take(&mut lines));
            }
        });
        let _ = self.lines.send(lines);
        self.report(&Report::Complete(count));
    }

    /// Writes what is left and ends.
    fn end(self) {
        drop(self.lines);
        let _ = self.thread.join();
    }
}

fn write_all(
    mut output: impl Write,
    reports: &mpsc::Receiver<String>,
    stamps: &[Arc<StampQueue>],
) -> io::Result<()> {
    let mut lines = vec![String::new(); stamps.len()];
    loop {
        let report = reports.recv_timeout(FLUSH);
        // Before the report: a ledger's stamps stand before it.
        for (queue, lines) in stamps.iter().zip(&mut lines) {
            queue.swap(lines);
            output.write_all(lines.as_bytes())?;
        }
        if let Ok(line) = &report {
            output.write_all(line.as_bytes())?;
        }
        output.flush()?;
        if report == Err(RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

/// Lets the process open as many descriptors as it may: one for each device that is connected.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it is refused, the old limit holds, and accepting pauses when it is reached.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Takes over the signals that a terminal sends to the whole group. They stay taken over after the runtime is gone.
fn ignore_signals() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // The stream can go: the handler that stands behind it is never taken back.
        drop(signal(kind)?);
    }
    Ok(())
}
