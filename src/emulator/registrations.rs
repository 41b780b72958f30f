//! What DPS remembers of each registration, and how an assignment comes about.
//!
//! ```text
//!   PUT ──> Operation { decided_at, polls } ── poll: too early, or polls left ──> assigning
//!                     │
//!                     └── poll or lookup after both ──> settled: hub identity made, result kept
//! ```
//!
//! A registration keeps one operation, the last: a device that registers again makes its earlier operation unknown, and
//! memory stays bounded per registration whatever a client does.

use std::time::Duration;

use super::allocation::Allocator;
use super::config::{Dps, Reprovision};
use super::enrollments::{Credential, Entry};
use super::hub::Hub;
use super::sharded::Sharded;
use super::throttle::PollWindow;
use crate::azure::dps::substatus;
use crate::rng::{self, Distribution, Purpose};
use crate::time::{Instant, UnixTime};

/// All registrations, by registration id in lower case.
pub(super) struct Registrations {
    records: Sharded<Record>,
    seed: u64,
    dps: Dps,
}

struct Record {
    /// As the device first spelled it; a group device's id at its hub.
    registration_id: Box<str>,
    created: UnixTime,
    /// How often it was registered: each attempt draws from a stream of its own.
    attempts: u64,
    operation: Operation,
    /// Result of the last operation that was settled.
    result: Option<Settled>,
    /// Where the device is, whatever became of later operations.
    home: Option<Home>,
    /// Its polls, if they are limited. Boxed, for most emulators limit nothing.
    polls: Option<Box<PollWindow>>,
}

struct Operation {
    id: OperationId,
    credential: Credential,
    hub: Option<usize>,
    decided_at: Instant,
    decided_wall: UnixTime,
    polls_left: u32,
    is_settled: bool,
}

#[derive(Clone)]
struct Home {
    hub: usize,
    device_id: Box<str>,
}

/// How an operation ended.
#[derive(Clone)]
pub(super) struct Settled {
    /// Hub and device id; `None` if there was no hub to assign.
    pub(super) assigned: Option<(usize, Box<str>)>,
    pub(super) substatus: &'static str,
    pub(super) credential: Credential,
    pub(super) updated: UnixTime,
    pub(super) etag: u128,
}

/// A registration's state, copied out of the lock.
pub(super) struct Snapshot {
    pub(super) registration_id: Box<str>,
    pub(super) created: UnixTime,
    pub(super) result: Option<Settled>,
    /// Whether this very question brought the assignment about.
    pub(super) is_news: bool,
}

/// Why a poll is not answered.
pub(super) enum NoAnswer {
    /// No such operation.
    Unknown,
    /// The device polls too often; the next one will be answered then.
    NotBefore(Instant),
}

/// Names one registration attempt: `5.` and 16 hexadecimal digits, a dot, and a GUID. Opaque to devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationId {
    prefix: u64,
    guid: u128,
}

impl std::fmt::Display for OperationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "5.{:016x}.{}", self.prefix, Guid(self.guid))
    }
}

/// Writes 128 bits as a GUID.
pub(super) struct Guid(pub(super) u128);

impl Guid {
    /// Reads what [`Self`] writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
        let mut groups = text.split('-');
        let digits: String =
            GROUPS.iter().map_while(|length| groups.next().filter(|g| g.len() == *length)).collect();
        let is_whole = groups.next().is_none() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_whole && digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(Self)
    }
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = self.0;
        let (a, b, c) = ((bits >> 96) as u32, (bits >> 80) as u16, (bits >> 64) as u16);
        let (d, e) = ((bits >> 48) as u16, bits as u64 & 0xffff_ffff_ffff);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

/// What decides about an assignment.
#[derive(Clone, Copy)]
pub(super) struct Linked<'a> {
    pub(super) allocator: &'a Allocator,
    pub(super) policy: super::allocation::Policy,
    pub(super) hubs: &'a [Hub],
    /// The device's id at the hub, where it is not the registration id.
    pub(super) device_id: Option<&'a str>,
    pub(super) entry: &'a Entry,
}

impl Registrations {
    pub(super) fn new(seed: u64, dps: &Dps) -> Self {
        Self { records: Sharded::new(), seed, dps: dps.clone() }
    }

    /// Begins an assignment; the reply has its result only if it takes neither time nor polls.
    pub(super) fn register(
        &self,
        now: Instant,
        wall: UnixTime,
        registration_id: &str,
        lower: &str,
        credential: &Credential,
        linked: Linked<'_>,
    ) -> (OperationId, Option<Snapshot>) {
        let mut records = self.records.lock(lower);
        let attempt = 1 + records.get(lower).map_or(0, |record| record.attempts);
        let home = records.get(lower).and_then(|record| record.home.as_ref());
        let mut names = rng::stream(self.seed, lower, attempt, Purpose::Identifier);
        let id = OperationId { prefix: names.bits(), guid: guid(&mut names) };
        let mut draws = rng::stream(self.seed, lower, attempt, Purpose::Assignment);
        let delay = self.dps.assign.draw_duration(&mut draws, Dps::MAX_ASSIGN);
        let polls_left = self.dps.polls.draw_count(&mut draws);
        let hub = match (linked.entry.reprovision, home) {
            (Reprovision::Never, Some(home)) => Some(home.hub),
            _ => linked.allocator.choose(linked.policy, lower, &mut draws),
        };
        let operation = Operation {
            id,
            credential: credential.clone(),
            hub,
            decided_at: now + delay,
            decided_wall: wall + delay,
            polls_left,
            is_settled: false,
        };
        // An earlier operation of this registration is forgotten here.
        let record = match records.get_mut(lower) {
            Some(record) => {
                record.operation = operation;
                record
            }
            None => records.entry(lower.into()).or_insert(Record {
                registration_id: registration_id.into(),
                created: wall,
                attempts: 0,
                operation,
                result: None,
                home: None,
                polls: self.dps.registrations.map(|_| Box::default()),
            }),
        };
        record.attempts = attempt;
        if !self.is_immediate() {
            return (id, None);
        }
        let is_news = record.settle(now, self.seed, lower, linked);
        (id, Some(record.snapshot(is_news)))
    }

    /// Answers a poll. A snapshot without result means `assigning`.
    ///
    /// # Errors
    /// [`NoAnswer`] for an unknown operation, and for a device that polls too often.
    pub(super) fn poll(
        &self,
        now: Instant,
        lower: &str,
        operation_id: &str,
        linked: Linked<'_>,
    ) -> Result<(OperationId, Snapshot), NoAnswer> {
        let mut records = self.records.lock(lower);
        let record = records.get_mut(lower).ok_or(NoAnswer::Unknown)?;
        if let Some(polls) = &mut record.polls {
            polls.admit(now).map_err(NoAnswer::NotBefore)?;
        }
        let id = record.operation.id;
        if id.to_string() != operation_id {
            return Err(NoAnswer::Unknown);
        }
        let is_news = record.settle(now, self.seed, lower, linked);
        let mut snapshot = record.snapshot(is_news);
        if !record.operation.is_settled {
            record.operation.polls_left = record.operation.polls_left.saturating_sub(1);
            // The result of an earlier operation is no answer to a question about this one.
            snapshot.result = None;
        }
        Ok((id, snapshot))
    }

    /// The last known state: `None` if the registration is unknown. Without result it is being assigned for the first time.
    pub(super) fn lookup(&self, now: Instant, lower: &str, linked: Linked<'_>) -> Option<Snapshot> {
        let mut records = self.records.lock(lower);
        let record = records.get_mut(lower)?;
        let is_news = record.settle(now, self.seed, lower, linked);
        Some(record.snapshot(is_news))
    }

    /// What the last attempt of a registration was signed with; `None` if it is unknown.
    pub(super) fn credential(&self, lower: &str) -> Option<Credential> {
        self.records.lock(lower).get(lower).map(|record| record.operation.credential.clone())
    }

    /// Forgets a registration; `None` if there is none, `false` if it is not the one that is meant.
    ///
    /// * `etag`: of its result, without quotes; `None` for any
    pub(super) fn remove(&self, lower: &str, etag: Option<&str>) -> Option<bool> {
        let mut records = self.records.lock(lower);
        let record = records.get(lower)?;
        let known = record.result.as_ref().map(|result| Guid(result.etag).to_string());
        let is_it = etag.is_none() || etag == known.as_deref();
        if is_it {
            records.remove(lower);
        }
        Some(is_it)
    }

    /// Registrations whose last was with the enrollment group of that name, in order, those after `after`.
    pub(super) fn ids_of(&self, group: &str, after: Option<&str>) -> Vec<Box<str>> {
        let ids = self.records.collect(usize::MAX, |id, record| {
            let entry = record.operation.credential.entry();
            let is_meant = entry.is_group() && *entry.name == *group && after.is_none_or(|after| id > after);
            is_meant.then(|| Box::<str>::from(id))
        });
        let mut ids: Vec<_> = ids.into_iter().flatten().collect();
        ids.sort_unstable();
        ids
    }

    /// Whether assignments take neither time nor polls. Then the reply to PUT carries the result.
    fn is_immediate(&self) -> bool {
        let zero = Distribution::Constant(0.0);
        self.dps.assign == zero && self.dps.polls == zero
    }

    /// `Retry-After` of replies that say `assigning`.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.dps.retry_after.map(Duration::from_secs)
    }
}

impl Record {
    /// Carries the operation out if its time has come. Hub locks are taken inside the registration's, never the other
    /// way round.
    fn settle(&mut self, now: Instant, seed: u64, lower: &str, linked: Linked<'_>) -> bool {
        let operation = &mut self.operation;
        if operation.is_settled || operation.polls_left > 0 || now < operation.decided_at {
            return false;
        }
        operation.is_settled = true;
        let device_id: Box<str> = linked.device_id.unwrap_or(&self.registration_id).into();
        // By the words of the API's specification: the two "data" values speak of a *different* hub.
        let substatus = match (&self.home, operation.hub, linked.entry.reprovision) {
            (None, ..) | (.., Reprovision::Never) => substatus::INITIAL_ASSIGNMENT,
            (Some(home), Some(hub), _) if home.hub == hub => substatus::REPROVISIONED,
            (.., Reprovision::Migrate) => substatus::DEVICE_DATA_MIGRATED,
            (.., Reprovision::Reset) => substatus::DEVICE_DATA_RESET,
        };
        if let Some(hub) = operation.hub {
            let home = Home { hub, device_id: device_id.clone() };
            let moved = match self.home.replace(home) {
                Some(old) if old.hub != hub || old.device_id != device_id => {
                    linked.hubs[old.hub].remove(&old.device_id)
                }
                _ => None,
            };
            let is_reset = linked.entry.reprovision == Reprovision::Reset;
            let twin = match moved {
                Some(twin) if !is_reset => twin,
                // Checked when the enrollment was made.
                _ => linked.entry.initial_twin(operation.decided_wall),
            };
            let credential = operation.credential.clone().for_device(&device_id);
            linked.hubs[hub].put(&device_id, credential, twin, is_reset);
        }
        let mut names = rng::stream(seed, lower, u64::MAX - self.attempts, Purpose::Identifier);
        self.result = Some(Settled {
            assigned: operation.hub.map(|hub| (hub, device_id)),
            substatus,
            credential: operation.credential.clone(),
            updated: operation.decided_wall,
            etag: guid(&mut names),
        });
        true
    }

    fn snapshot(&self, is_news: bool) -> Snapshot {
        Snapshot {
            registration_id: self.registration_id.clone(),
            created: self.created,
            result: self.result.clone(),
            is_news,
        }
    }
}

fn guid(stream: &mut rng::Stream) -> u128 {
    // Version 4, variant 1, as the real service's look.
    let bits = u128::from(stream.bits()) << 64 | u128::from(stream.bits());
    bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
}
