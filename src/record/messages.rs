//! What became of each message, device by device: the fleet's half of a reconciliation.

use super::marks::Marks;
use crate::step::Outcome;

/// What became of one message, as a mark of [`Marks`]; never 0.
///
/// ```text
///   7 .. 4   times that it went again          3   an outcome was entered twice          2 .. 0   fate
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent(u8);

/// What an outcome says of where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// The service confirmed that it has the message.
    Confirmed = 1,
    /// It went where no confirmation exists.
    Written = 2,
    /// The service has it, or not.
    Unknown = 3,
    /// The service cannot have it.
    Never = 4,
}

impl Sent {
    const FATE: u8 = 0b111;
    const TWICE: u8 = 0b1000;
    const AGAIN_SHIFT: u32 = 4;

    /// The largest number of times that a message is known to have gone again; it stands for any number from there on.
    pub const MOST_AGAIN: u8 = 15;

    /// * `again`: how often the message went again, after a connection was lost
    pub fn of(outcome: Outcome, again: u8) -> Self {
        let fate = match outcome {
            Outcome::Acknowledged => Fate::Confirmed,
            Outcome::Written => Fate::Written,
            Outcome::Unknown(_) => Fate::Unknown,
            // Refused, but the hub may have what went before.
            Outcome::Failed(_) if again > 0 => Fate::Unknown,
            Outcome::Failed(_) | Outcome::NotSent(_) => Fate::Never,
        };
        Self(fate as u8 | (again.min(Self::MOST_AGAIN) << Self::AGAIN_SHIFT))
    }

    /// The mark, for a message that had mark `before`: one that had an outcome has two now.
    pub fn entered(self, before: u8) -> u8 {
        if before == 0 { self.0 } else { before | Self::TWICE }
    }

    /// What mark `mark` says; `None` of a message without an outcome.
    pub fn from_mark(mark: u8) -> Option<Self> {
        (mark != 0).then_some(Self(mark))
    }

    /// Where the message is.
    pub fn fate(self) -> Fate {
        match self.0 & Self::FATE {
            1 => Fate::Confirmed,
            2 => Fate::Written,
            4 => Fate::Never,
            _ => Fate::Unknown,
        }
    }

    /// Whether the books have two outcomes of it.
    pub fn is_entered_twice(self) -> bool {
        self.0 & Self::TWICE != 0
    }

    /// How often it may have arrived: once, and once more for each time that it went again.
    pub fn most_arrivals(self) -> u8 {
        match self.0 >> Self::AGAIN_SHIFT {
            Self::MOST_AGAIN => u8::MAX,
            again => again + 1,
        }
    }
}

/// The messages of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMessages {
    /// Index of its population in the plan.
    pub population: usize,
    /// Number of the device, from 0.
    pub n: u64,
    /// Its id at the hub.
    pub device_id: Box<str>,
    /// What became of each message: [`Sent`].
    pub marks: Marks,
}

/// The messages of all devices that were to send any, in the order of the plan. Takes some 100 bytes a device, however
/// many messages each sent, unless their outcomes alternate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Messages {
    devices: Vec<DeviceMessages>,
}

impl Messages {
    /// Adds a device that has nothing left to do; [`Self::sort`] puts it in its place.
    pub fn add(&mut self, mut device: DeviceMessages) {
        device.marks.shrink();
        self.devices.push(device);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.devices.extend_from_slice(&other.devices);
        self.sort();
    }

    /// Puts the devices in order.
    pub fn sort(&mut self) {
        self.devices.sort_unstable_by_key(|device| (device.population, device.n));
    }

    /// The devices.
    pub fn devices(&self) -> &[DeviceMessages] {
        &self.devices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Cause, Class, Reason};

    #[test]
    fn a_mark_says_where_the_message_is_and_how_often_it_may_have_arrived() {
        for (outcome, again, fate, most) in [
            (Outcome::Acknowledged, 0, Fate::Confirmed, 1),
            (Outcome::Acknowledged, 2, Fate::Confirmed, 3),
            (Outcome::Written, 0, Fate::Written, 1),
            (Outcome::Unknown(Cause::RunEnded), 1, Fate::Unknown, 2),
            (Outcome::Failed(Class::Throttled), 0, Fate::Never, 1),
            (Outcome::Failed(Class::Throttled), 1, Fate::Unknown, 2),
            (Outcome::NotSent(Reason::QueueFull), 0, Fate::Never, 1),
            (Outcome::Acknowledged, 14, Fate::Confirmed, 15),
            (Outcome::Acknowledged, 200, Fate::Confirmed, u8::MAX),
        ] {
            let mark = Sent::of(outcome, again).entered(0);
            let sent = Sent::from_mark(mark).expect("it has an outcome");
            assert_eq!((sent.fate(), sent.most_arrivals()), (fate, most), "{outcome:?} {again}");
            assert!(!sent.is_entered_twice());
            let twice = Sent::from_mark(Sent::of(Outcome::Acknowledged, 0).entered(mark));
            assert!(twice.is_some_and(|twice| twice.is_entered_twice() && twice.fate() == fate));
        }
        assert_eq!(Sent::from_mark(0), None);
    }

    #[test]
    fn parts_put_together_in_any_order_are_the_same() {
        let device = |population, n| DeviceMessages {
            population,
            n,
            device_id: format!("{population}-{n}").into(),
            marks: Marks::default(),
        };
        let part = |devices: &[(usize, u64)]| {
            let mut part = Messages::default();
            devices.iter().for_each(|(population, n)| part.add(device(*population, *n)));
            part.sort();
            part
        };
        let mut whole = part(&[(1, 0), (0, 2), (0, 0), (0, 1)]);
        let (mut one, other) = (part(&[(1, 0), (0, 1)]), part(&[(0, 2), (0, 0)]));
        one.merge(&other);
        assert_eq!(one, whole);
        whole.merge(&Messages::default());
        assert_eq!(one, whole);
    }
}
