//! The process of one shard: obeys on standard input, tells on standard output.

use std::io::{self, BufReader, Stdin, Write as _};
use std::time::Duration;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::line::{FromShard, Job, ToShard, to_line};
use crate::emulator::channel::Lines;
use crate::plan::Plan;
use crate::record::Interval;
use crate::result::stored_interval;
use crate::run::coordinate::{Order, Progress, Watcher};
use crate::run::{Finished, Options, RunError, execute_watched};
use crate::time::Instant;

/// A process's standard input, of which the first line was read.
pub struct Input(Lines<BufReader<Stdin>>);

/// Reads what this process is to do.
///
/// # Errors
/// A text for people; nobody but a run starts such a process.
pub fn read_job() -> Result<(Job, Input), String> {
    let mut lines = Lines::new(BufReader::new(io::stdin()));
    let line = lines.next_line().map_err(|error| error.to_string())?;
    let line = line.ok_or("it ended before it said what to do")?;
    let job = serde_json::from_str(line).map_err(|error| error.to_string())?;
    Ok((job, Input(lines)))
}

/// Carries out a shard as its run says.
///
/// # Errors
/// As [`crate::run::execute`].
pub fn execute(
    plan: Plan,
    text: &str,
    options: &Options<'_>,
    job: &mut Job,
    input: Input,
) -> Result<Finished, RunError> {
    let (sender, orders) = mpsc::unbounded_channel();
    let watcher = Watcher::obeying(orders)?;
    let mut lines = input.0;
    // Not awaited: it ends with its input, which is open as long as the run is.
    std::thread::spawn(move || {
        while let Ok(Some(line)) = lines.next_line() {
            let order = match serde_json::from_str(line) {
                Ok(ToShard::Start(zero)) => Order::Start(Instant::from_nanos(zero)),
                Ok(ToShard::Interrupt) => Order::Interrupt,
                Ok(ToShard::Abort(text)) => Order::Abort(text),
                Ok(ToShard::Leave) | Err(_) => Order::Leave,
            };
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    let key = Zeroizing::new(job.key.take().unwrap_or_default());
    let folder = job.folder.clone();
    let mut stdin = key.as_bytes();
    execute_watched(plan, text, options, &mut Teller, watcher, &mut stdin, &|_| Ok(folder.clone()))
}

/// Tells that the result is written.
pub fn tell_done() {
    tell(&FromShard::Done);
}

/// Tells why there is no result.
pub fn tell_failed(text: String, code: u8) {
    tell(&FromShard::Failed { text, code });
}

fn tell(message: &FromShard) {
    let mut stdout = io::stdout().lock();
    // If nobody reads it, the end of the input will say so.
    let _ = stdout.write_all(to_line(message).as_bytes()).and_then(|()| stdout.flush());
}

/// Progress goes to the run.
struct Teller;

impl Progress for Teller {
    fn second(&mut self, second: u64, _: &Interval, last: &Interval) {
        tell(&FromShard::Second { second, interval: stored_interval(last) });
    }

    fn waiting(&mut self, _: Duration) {}

    fn ready(&mut self) {
        tell(&FromShard::Ready);
    }

    fn interrupted(&mut self, _: bool) {}

    fn done(&mut self) {}
}
