//! The emulator as a child process: started before the fleet, asked for its ledger at the end.

use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::emulator::channel::{self, Command, Lines, Ready, Report, Stamp};
use crate::emulator::config::Config;
use crate::emulator::ledger::Ledger;
use crate::list::ListError;

/// Name of the hidden command by which the program becomes the emulator's process.
pub const CHILD_COMMAND: &str = "emulator-process";

/// Why there is no emulator, or no word from it.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No process.
    #[error("cannot start the emulator's process: {0}")]
    Spawn(std::io::Error),
    /// It said why.
    #[error("the emulator did not start: {0}")]
    Failed(String),
    /// A list of devices cannot be read any more.
    #[error(transparent)]
    List(ListError),
    /// It is gone.
    #[error("the emulator's process ended unexpectedly; its last words, if any, are above")]
    Gone,
    /// It does not answer.
    #[error("the emulator's process did not answer within {0:?}")]
    Silent(Duration),
}

/// How long the child may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much longer it may take to start for each line that it is told: it reads as we write, but sorts a list at the end, at
/// some 0.1 µs a row on an idle machine.
const PATIENCE_PER_LINE: Duration = Duration::from_micros(1);

/// A running emulator.
pub struct Embedded {
    child: Child,
    stdin: Option<ChildStdin>,
    reports: Receiver<Report>,
    /// What it serves, and where.
    pub ready: Ready,
}

impl Embedded {
    /// Starts `program` as an emulator with `threads` worker threads.
    ///
    /// The child gets its configuration and keys through its standard input, and an empty environment: what is secret in
    /// ours is not passed on. It has a process group of its own, so that an interrupt typed at the terminal reaches only
    /// this process, and it ends when its input does, however this process ends.
    ///
    /// # Errors
    /// [`EmbeddedError`] when there is no process, or it says why it cannot serve.
    pub fn start(program: &Path, config: &Config, threads: usize) -> Result<Self, EmbeddedError> {
        let mut command = Process::new(program);
        command
            .arg(CHILD_COMMAND)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        if let Some(trace) = std::env::var_os("RUST_BACKTRACE") {
            command.env("RUST_BACKTRACE", trace);
        }
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(EmbeddedError::Spawn)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(EmbeddedError::Gone);
        };
        let (sender, reports) = mpsc::channel();
        let reader = move || {
            let mut lines = Lines::new(BufReader::with_capacity(64 * 1024, stdout));
            while let Ok(Some(line)) = lines.next_line() {
                // A line that means nothing is the child's fault; what matters will be missed and told.
                let Ok(report) = Report::parse(line) else { continue };
                if sender.send(report).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("emulator-reports".into())
            .spawn(reader)
            .map_err(EmbeddedError::Spawn)?;
        // In large pieces: a list has a line for each of its devices. What fails is told by the child's end.
        let mut writer = BufWriter::with_capacity(64 * 1024, &mut stdin);
        let mut lines = 0u32;
        let opened = channel::opening(config, threads, |line| {
            lines = lines.saturating_add(1);
            let _ = writer.write_all(line.as_bytes());
        });
        let _ = writer.flush();
        drop(writer);
        if let Err(error) = opened {
            let _ = child.kill();
            let _ = child.wait();
            return Err(EmbeddedError::List(error));
        }
        let patience = PATIENCE + PATIENCE_PER_LINE * lines;
        let ready = match reports.recv_timeout(patience) {
            Ok(Report::Ready(ready)) => Ok(ready),
            Ok(Report::Failed(reason)) => Err(EmbeddedError::Failed(reason)),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Err(EmbeddedError::Gone),
            Err(RecvTimeoutError::Timeout) => Err(EmbeddedError::Silent(patience)),
        };
        match ready {
            Ok(ready) => Ok(Self { child, stdin: Some(stdin), reports, ready }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Stops it. Gives its books and, if it was asked to keep any, its stamps.
    ///
    /// * `told`: is told which messages of each device arrived, if it was asked to keep that: [`Report::Arrived`] and
    ///   [`Report::Complete`]
    ///
    /// # Errors
    /// [`EmbeddedError::Gone`] if it ended before, [`EmbeddedError::Silent`] if it does not end.
    pub fn stop(mut self, mut told: impl FnMut(Report)) -> Result<(Ledger, Vec<Stamp>), EmbeddedError> {
        if let Some(stdin) = &mut self.stdin {
            let sent = stdin.write_all(Command::Stop.to_line().as_bytes()).and_then(|()| stdin.flush());
            sent.map_err(|_| EmbeddedError::Gone)?;
        }
        let mut stamps = Vec::new();
        loop {
            match self.reports.recv_timeout(PATIENCE) {
                Ok(Report::Stamp(stamp)) => stamps.push(stamp),
                Ok(Report::Ledger(ledger)) => return Ok((*ledger, stamps)),
                Ok(report @ (Report::Arrived(_) | Report::Complete(_))) => told(report),
                Ok(Report::Ready(_) | Report::Failed(_)) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(EmbeddedError::Gone),
                Err(RecvTimeoutError::Timeout) => return Err(EmbeddedError::Silent(PATIENCE)),
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The end of its input ends the child; killing is for one that hangs.
        drop(self.stdin.take());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
