//! What the program and its embedded emulator, a child process, say to each other over the child's standard input and
//! output: lines of UTF-8, ended by a line feed, a word first.
//!
//! To the child, in this order:
//!
//! | line | meaning |
//! |---|---|
//! | `config JSON` | a [`Setup`]: services, hubs, behaviour; no enrollments |
//! | `enroll JSON` | one enrollment; as many lines as there are |
//! | `device ID⇥DEVICE⇥KEY⇥SECONDARY` | one row of the list that was enrolled last; empty for what it lacks |
//! | `start` | that was all: bind and serve |
//! | `ledger` | write a `ledger` line now |
//! | `stop` | stop serving, write what arrived if that was kept and a last `ledger` line, end |
//!
//! The end of the input means: end at once. That is what happens however the parent ends.
//!
//! From the child:
//!
//! | line | meaning |
//! |---|---|
//! | `ready JSON` | a [`Ready`]: serving from here on |
//! | `failed JSON` | a string: why there will be no `ready`; the last line |
//! | `stamp DEVICE⇥ID⇥ARRIVED⇥ANSWERED` | a [`Stamp`]: how long one telemetry message was with the service |
//! | `arrived DEVICE⇥FOREIGN⇥RUNS` | an [`ArrivedLine`]: which messages of one device arrived; only before the last ledger |
//! | `complete COUNT` | that many `arrived` lines stand before it, and they were all |
//! | `ledger JSON` | a [`Ledger`]; every stamp of what it counts stands before it |
//!
//! Keys travel in `enroll` lines: a pipe is private, arguments and environment are not. In a stamp and in a device's id, whatever
//! is not printable ASCII, and the backslash, is written as `\xNN` per byte. Runs are `LAST*TIMES`, a comma between two: every
//! message from the last of the run before (or from 1) to number LAST arrived so often, 255 times or more for 255; or `-` where
//! that changed too often to be kept. Instants are nanoseconds of the monotonic clock,
//! which both processes share. No line is longer than [`MAX_LINE`].

use std::fmt::Write as _;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::config::{
    Allocation, Attestation, Config, Dps, Enrollment, Hub, InitialTwin, Reprovision, ServiceKeys,
};
use super::drive::Drive;
use super::ledger::Ledger;
use super::listed::{Listed, Store};
use crate::list::{ListError, Row};
use crate::payload::IdForm;
use crate::text::Secret;
use crate::time::Instant;

pub use fields::ArrivedLine;
pub(super) use fields::write_arrived;
use fields::{escape, unescape};

/// Longest line in bytes, its line feed not counted.
pub const MAX_LINE: usize = 1024 * 1024;

/// A line that means nothing. It does not repeat the line, which may hold keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a line of the channel: {reason}")]
pub struct LineError {
    reason: String,
}

/// A line to the child.
#[derive(Debug, Clone)]
pub enum Command {
    /// Services, hubs, behaviour.
    Config(Box<Setup>),
    /// One enrollment.
    Enroll(Box<Enrollment>),
    /// One row of the list that was enrolled last.
    Device(Box<Row>),
    /// Bind and serve.
    Start,
    /// Write a `ledger` line now.
    Ledger,
    /// Stop serving, write a last `ledger` line, end.
    Stop,
}

/// A line from the child.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Serving from here on.
    Ready(Ready),
    /// Why there will be no [`Report::Ready`].
    Failed(String),
    /// How long one message was with the service.
    Stamp(Stamp),
    /// Which messages of one device arrived.
    Arrived(Box<ArrivedLine>),
    /// How many [`Report::Arrived`] there were.
    Complete(u64),
    /// The books at this moment.
    Ledger(Box<Ledger>),
}

/// A [`Config`] without its enrollments, and how the child is to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// See [`Config::seed`].
    pub seed: u64,
    /// See [`Config::id_scope`].
    pub id_scope: String,
    /// See [`Config::dps`].
    pub dps: Dps,
    /// See [`Config::hubs`].
    pub hubs: Vec<Hub>,
    /// See [`Config::allocation`].
    pub allocation: Allocation,
    /// See [`Config::stamps`].
    pub stamps: bool,
    /// See [`Config::message_ids`].
    #[serde(default)]
    pub message_ids: Vec<IdForm>,
    /// See [`Config::service_keys`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_keys: Option<WireServiceKeys>,
    /// See [`Config::drive`].
    #[serde(default)]
    pub drive: Drive,
    /// Worker threads, at least 1.
    pub threads: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct WireServiceKeys {
    hub: WireKey,
    dps: WireKey,
}

/// What the child serves, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Of the child's program.
    pub version: String,
    /// Process id of the child.
    pub pid: u32,
    /// Where DPS listens.
    pub dps: SocketAddr,
    /// The hubs, in the order of [`Config::hubs`].
    pub hubs: Vec<HubAddress>,
    /// The authority to trust.
    pub ca_pem: String,
}

/// A hub and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubAddress {
    /// Short name.
    pub name: String,
    /// What registrations are told as `assignedHub`.
    pub host: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// How long one telemetry message was with the service. Ends before the answer is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The sender.
    pub device_id: String,
    /// The message's id; empty if it had none.
    pub message_id: String,
    /// The head of its request was parsed.
    pub arrived: Instant,
    /// Its reply was about to be written.
    pub answered: Instant,
}

impl Setup {
    /// What of `config` is no enrollment.
    pub fn new(config: &Config, threads: usize) -> Self {
        Self {
            seed: config.seed,
            id_scope: config.id_scope.clone(),
            dps: config.dps.clone(),
            hubs: config.hubs.clone(),
            allocation: config.allocation.clone(),
            stamps: config.stamps,
            message_ids: config.message_ids.clone(),
            service_keys: config
                .service_keys
                .clone()
                .map(|keys| WireServiceKeys { hub: WireKey(keys.hub), dps: WireKey(keys.dps) }),
            drive: config.drive,
            threads,
        }
    }

    /// The configuration, with `enrollments` put back.
    pub fn into_config(self, enrollments: Vec<Enrollment>) -> Config {
        Config {
            seed: self.seed,
            id_scope: self.id_scope,
            dps: self.dps,
            hubs: self.hubs,
            allocation: self.allocation,
            enrollments,
            stamps: self.stamps,
            message_ids: self.message_ids,
            service_keys: self.service_keys.map(|keys| ServiceKeys { hub: keys.hub.0, dps: keys.dps.0 }),
            drive: self.drive,
        }
    }
}

/// Gives the lines that start a child with `config` to `write`, one after another; each is cleared from memory. Rows of
/// lists are read from their files as they go.
///
/// # Errors
/// [`ListError`] when a list cannot be read any more.
pub fn opening(config: &Config, threads: usize, mut write: impl FnMut(&str)) -> Result<(), ListError> {
    write(&Command::Config(Box::new(Setup::new(config, threads))).to_line());
    for enrollment in &config.enrollments {
        write(&Command::Enroll(Box::new(enrollment.clone())).to_line());
        if let Attestation::List(Listed::File { list, seed }) = &enrollment.attestation {
            for row in Listed::file_rows(list, *seed)? {
                write(&Command::Device(Box::new(row?)).to_line());
            }
        }
    }
    write(&Command::Start.to_line());
    Ok(())
}

impl Command {
    /// The line, with its line feed; cleared from memory when dropped, for it may hold keys.
    pub fn to_line(&self) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::Config(setup) => {
                let body = Zeroizing::new(json(setup));
                format!("config {}\n", *body)
            }
            Self::Enroll(enrollment) => {
                let body = Zeroizing::new(json(&WireEnrollment::from(&**enrollment)));
                format!("enroll {}\n", *body)
            }
            Self::Device(row) => {
                fn text(key: &Option<Secret>) -> &str {
                    key.as_ref().and_then(Secret::expose_text).unwrap_or_default().trim()
                }
                let (key, secondary) = (text(&row.key), text(&row.secondary_key));
                let device_id = row.device_id.as_deref().unwrap_or_default();
                let fields = [&row.registration_id, "\t", device_id, "\t", key, "\t", secondary, "\n"];
                // Long enough from the start: a text that grows leaves the keys behind.
                let mut line =
                    String::with_capacity(fields.iter().map(|field| field.len()).sum::<usize>() + 7);
                line.push_str("device ");
                fields.iter().for_each(|field| line.push_str(field));
                line
            }
            Self::Start => "start\n".to_owned(),
            Self::Ledger => "ledger\n".to_owned(),
            Self::Stop => "stop\n".to_owned(),
        })
    }

    /// Reads a line, with or without its line feed.
    ///
    /// # Errors
    /// [`LineError`] when it is none of the table above.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        let (word, rest) = split(line)?;
        match word {
            "config" => Ok(Self::Config(Box::new(from_json(word, rest)?))),
            "enroll" => Ok(Self::Enroll(Box::new(from_json::<WireEnrollment>(word, rest)?.into()))),
            "device" => {
                let mut fields = rest.split('\t');
                let mut next = || fields.next().ok_or(LineError::new("a device has four fields"));
                let (registration_id, device_id) = (next()?.to_owned(), next()?);
                let (key, secondary_key) = (next()?, next()?);
                if fields.next().is_some() {
                    return Err(LineError::new("a device has four fields"));
                }
                let secret = |text: &str| (!text.is_empty()).then(|| Secret::new(text.as_bytes().to_vec()));
                Ok(Self::Device(Box::new(Row {
                    registration_id,
                    device_id: (!device_id.is_empty()).then(|| device_id.to_owned()),
                    key: secret(key),
                    secondary_key: secret(secondary_key),
                })))
            }
            "start" if rest.is_empty() => Ok(Self::Start),
            "ledger" if rest.is_empty() => Ok(Self::Ledger),
            "stop" if rest.is_empty() => Ok(Self::Stop),
            _ => Err(LineError::new("unknown command")),
        }
    }
}

impl Report {
    /// The line, with its line feed.
    pub fn to_line(&self) -> String {
        match self {
            Self::Ready(ready) => format!("ready {}\n", json(ready)),
            Self::Failed(reason) => format!("failed {}\n", json(reason)),
            Self::Stamp(stamp) => {
                let mut line = String::new();
                stamp.write_line(&mut line);
                line
            }
            Self::Arrived(line) => {
                let mut text = String::new();
                write_arrived(&line.device_id, &line.arrived, &mut text);
                text
            }
            Self::Complete(count) => format!("complete {count}\n"),
            Self::Ledger(ledger) => format!("ledger {}\n", json(ledger)),
        }
    }

    /// Reads a line, with or without its line feed.
    ///
    /// # Errors
    /// [`LineError`] when it is none of the table above.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        let (word, rest) = split(line)?;
        match word {
            "ready" => Ok(Self::Ready(from_json(word, rest)?)),
            "failed" => Ok(Self::Failed(from_json(word, rest)?)),
            "stamp" => Ok(Self::Stamp(Stamp::parse(rest)?)),
            "arrived" => Ok(Self::Arrived(Box::new(ArrivedLine::parse(rest)?))),
            "complete" => {
                rest.parse().map(Self::Complete).map_err(|_| LineError::new("a count is a whole number"))
            }
            "ledger" => Ok(Self::Ledger(from_json(word, rest)?)),
            _ => Err(LineError::new("unknown report")),
        }
    }
}

impl Stamp {
    fn write_line(&self, out: &mut String) {
        out.push_str("stamp ");
        escape(&self.device_id, out);
        out.push('\t');
        escape(&self.message_id, out);
        let _ = writeln!(out, "\t{}\t{}", self.arrived.nanos(), self.answered.nanos());
    }

    fn parse(fields: &str) -> Result<Self, LineError> {
        let mut fields = fields.split('\t');
        let mut next = || fields.next().ok_or(LineError::new("a stamp has four fields"));
        let (device, message, arrived, answered) = (next()?, next()?, next()?, next()?);
        if fields.next().is_some() {
            return Err(LineError::new("a stamp has four fields"));
        }
        let instant = |field: &str| {
            let nanos = field.parse().map_err(|_| LineError::new("an instant is a whole number"));
            nanos.map(Instant::from_nanos)
        };
        Ok(Self {
            device_id: unescape(device)?,
            message_id: unescape(message)?,
            arrived: instant(arrived)?,
            answered: instant(answered)?,
        })
    }
}

/// Stamps of one worker thread on their way to the channel.
///
/// Bounded: when nobody reads, stamps are lost and counted, and the service goes on.
#[derive(Debug, Default)]
pub struct StampQueue(Mutex<Queued>);

#[derive(Debug, Default)]
struct Queued {
    lines: String,
    lost: u64,
}

impl StampQueue {
    /// Most bytes that wait in one queue.
    pub const MAX_BYTES: usize = 8 * 1024 * 1024;

    /// Adds a stamp, or counts it as lost.
    pub fn push(&self, stamp: &Stamp) {
        let mut queued = self.lock();
        // Every byte of the two texts may take four.
        let most = 4 * (stamp.device_id.len() + stamp.message_id.len()) + 64;
        if queued.lines.len() + most > Self::MAX_BYTES {
            queued.lost += 1;
        } else {
            stamp.write_line(&mut queued.lines);
        }
    }

    /// Takes the lines that wait. `lines` is cleared and takes its place, so that two buffers serve for ever.
    pub fn swap(&self, lines: &mut String) {
        lines.clear();
        std::mem::swap(&mut self.lock().lines, lines);
    }

    /// Stamps lost so far.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads lines of at most [`MAX_LINE`] bytes, or as many as it is told; what was read is cleared from memory before the next.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    limit: usize,
    line: Zeroizing<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        Self::within(reader, MAX_LINE)
    }

    /// The same with lines of at most `limit` bytes.
    pub fn within(reader: R, limit: usize) -> Self {
        Self { reader, limit, line: Zeroizing::default() }
    }

    /// The next line without its line feed; `None` at the end of the input, where a line cut off in its middle is lost.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a line that is too long or no UTF-8, and what the reader says.
    pub fn next_line(&mut self) -> io::Result<Option<&str>> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        zeroize::Zeroize::zeroize(&mut *self.line);
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(available.len());
            if self.line.len() + taken > self.limit {
                return Err(invalid("a line of the channel is too long"));
            }
            self.line.extend_from_slice(&available[..taken]);
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                let line = std::str::from_utf8(&self.line);
                return line.map(Some).map_err(|_| invalid("a line of the channel is not UTF-8"));
            }
        }
    }
}

/// An [`Enrollment`] on the wire.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEnrollment {
    name: String,
    attestation: WireAttestation,
    enabled: bool,
    allocation: Option<Allocation>,
    reprovision: Reprovision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial_twin: Option<InitialTwin>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum WireAttestation {
    Group {
        primary: WireKey,
        secondary: Option<WireKey>,
    },
    Individual {
        registration_id: String,
        device_id: Option<String>,
        primary: WireKey,
        secondary: Option<WireKey>,
    },
    /// Its rows follow in lines of their own.
    List,
}

/// A key as text. Never copied except into the line, which is cleared.
#[derive(Debug, Clone, PartialEq)]
struct WireKey(Secret);

impl Serialize for WireKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Bytes that are no text are no key either, and are refused as such by the child.
        serializer.serialize_str(self.0.expose_text().unwrap_or(""))
    }
}

impl<'de> Deserialize<'de> for WireKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text.into_bytes())))
    }
}

impl From<&Enrollment> for WireEnrollment {
    fn from(enrollment: &Enrollment) -> Self {
        let optional = |key: &Option<Secret>| key.clone().map(WireKey);
        Self {
            name: enrollment.name.clone(),
            attestation: match &enrollment.attestation {
                Attestation::Group { primary, secondary } => WireAttestation::Group {
                    primary: WireKey(primary.clone()),
                    secondary: optional(secondary),
                },
                Attestation::Individual { registration_id, device_id, primary, secondary } => {
                    WireAttestation::Individual {
                        registration_id: registration_id.clone(),
                        device_id: device_id.clone(),
                        primary: WireKey(primary.clone()),
                        secondary: optional(secondary),
                    }
                }
                Attestation::List(_) => WireAttestation::List,
            },
            enabled: enrollment.enabled,
            allocation: enrollment.allocation.clone(),
            reprovision: enrollment.reprovision,
            initial_twin: enrollment.initial_twin.clone(),
        }
    }
}

impl From<WireEnrollment> for Enrollment {
    fn from(wire: WireEnrollment) -> Self {
        let optional = |key: Option<WireKey>| key.map(|key| key.0);
        Self {
            name: wire.name,
            attestation: match wire.attestation {
                WireAttestation::Group { primary, secondary } => {
                    Attestation::Group { primary: primary.0, secondary: optional(secondary) }
                }
                WireAttestation::Individual { registration_id, device_id, primary, secondary } => {
                    Attestation::Individual {
                        registration_id,
                        device_id,
                        primary: primary.0,
                        secondary: optional(secondary),
                    }
                }
                WireAttestation::List => Attestation::List(Listed::Store(Arc::new(Store::default()))),
            },
            enabled: wire.enabled,
            allocation: wire.allocation,
            reprovision: wire.reprovision,
            initial_twin: wire.initial_twin,
        }
    }
}

impl LineError {
    fn new(reason: &str) -> Self {
        Self { reason: reason.to_owned() }
    }
}

fn split(line: &str) -> Result<(&str, &str), LineError> {
    if line.len() > MAX_LINE + 1 {
        return Err(LineError::new("longer than any line may be"));
    }
    let line = line.strip_suffix('\n').unwrap_or(line);
    Ok(line.split_once(' ').unwrap_or((line, "")))
}

fn json(value: &impl Serialize) -> String {
    // Line feeds cannot occur: JSON escapes them in text, and none is written between values.
    serde_json::to_string(value).expect("what goes over the channel is plain structures of text and numbers")
}

fn from_json<'a, T: Deserialize<'a>>(word: &str, text: &'a str) -> Result<T, LineError> {
    // serde_json's message may quote a value; only where the fault is may be told.
    serde_json::from_str(text)
        .map_err(|error| LineError { reason: format!("JSON of `{word}` at column {}", error.column()) })
}

#[path = "channel_fields.rs"]
mod fields;

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
