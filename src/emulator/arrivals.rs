//! Which messages of each device arrived, and how often: the emulator's half of a reconciliation.
//!
//! A message is known by the number in its id. Each device has its own marks, behind a lock that its connection takes when
//! the hub accepts a message; devices do not meet there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sharded::Sharded;
use crate::payload::IdForm;
use crate::record::Marks;

/// Which messages of each device arrived, at whatever hub.
pub struct Arrivals {
    forms: Vec<IdForm>,
    devices: Sharded<Arc<DeviceArrivals>>,
}

/// Which messages of one device arrived. Bounded, whatever a client sends.
#[derive(Debug, Default)]
pub(super) struct DeviceArrivals(Mutex<Arrived>);

/// What arrived of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrived {
    /// How often each message arrived; 255 stands for any number from there on.
    pub marks: Marks,
    /// Messages whose ids are of no form that was asked for.
    pub foreign: u64,
}

/// What the id of a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbered {
    /// The number of the message.
    As(u32),
    /// The id is of another form, or the message has none.
    Foreign,
    /// It may be one of several messages.
    Unclear,
}

impl Arrivals {
    /// Nothing has arrived; ids are of those forms. `None` if there are none: nothing is kept then.
    pub(super) fn new(forms: &[IdForm]) -> Option<Arc<Self>> {
        (!forms.is_empty()).then(|| Arc::new(Self { forms: forms.to_vec(), devices: Sharded::new() }))
    }

    /// What the id of a message of `device_id` says.
    pub(super) fn read(&self, device_id: &str, message_id: &str) -> Numbered {
        let mut numbers = self.forms.iter().filter_map(|form| form.sequence(device_id, message_id));
        match numbers.next() {
            None => Numbered::Foreign,
            Some(number) if numbers.all(|other| other == number) => Numbered::As(number),
            Some(_) => Numbered::Unclear,
        }
    }

    /// The messages of a device that has proved itself; a connection that lasts asks once.
    pub(super) fn of(&self, device_id: &str) -> Arc<DeviceArrivals> {
        let mut devices = self.devices.lock(device_id);
        match devices.get(device_id) {
            Some(device) => Arc::clone(device),
            None => Arc::clone(devices.entry(device_id.into()).or_default()),
        }
    }

    /// Shows `each` device what arrived of it, in no order.
    pub fn each(&self, mut each: impl FnMut(&str, &Arrived)) {
        self.devices.each(|device_id, device| each(device_id, &device.lock()));
    }
}

impl DeviceArrivals {
    /// A hub has accepted a message.
    pub(super) fn accept(&self, message: Numbered) {
        let mut arrived = self.lock();
        #[cfg(test)]
        let message = match planted::becomes(message) {
            None => return,
            Some((message, times)) => {
                (1..times).for_each(|_| arrived.accept(message));
                message
            }
        };
        arrived.accept(message);
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    fn accept(&mut self, message: Numbered) {
        match message {
            Numbered::As(number) => self.marks.change(number.into(), |times| times.saturating_add(1)),
            Numbered::Foreign => self.foreign += 1,
            Numbered::Unclear => self.marks = Marks::given_up(),
        }
    }
}

/// Faults for tests: a hub that confirms messages and does something else with them.
#[cfg(test)]
pub(crate) mod planted {
    use std::cell::RefCell;

    use super::Numbered;

    /// What a hub is to do with a message of that number, whatever the device: have it as which, and how often.
    pub(crate) type Rule = fn(u32) -> Option<(u32, u8)>;

    thread_local! {
        static RULE: RefCell<Option<Rule>> = const { RefCell::new(None) };
    }

    /// Plants a fault into the emulators of this thread.
    pub(crate) fn plant(rule: Option<Rule>) {
        RULE.set(rule);
    }

    pub(super) fn becomes(message: Numbered) -> Option<(Numbered, u8)> {
        match (message, RULE.with_borrow(|rule| *rule)) {
            (Numbered::As(number), Some(rule)) => {
                rule(number).map(|(number, times)| (Numbered::As(number), times))
            }
            _ => Some((message, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Longest, Payload, Payloads};

    fn form(id: &str) -> IdForm {
        let mut payload = Payload::default();
        let longest = Longest { device_id: 20, registration_id: 20, population: "x" };
        payload.set_message_id(id, longest).expect("an id");
        Payloads::from(payload).id_forms("0badcafe", "x").expect("it has a form").remove(0)
    }

    #[test]
    fn nothing_is_kept_unless_ids_have_a_form() {
        assert!(Arrivals::new(&[]).is_none());
    }

    #[test]
    fn messages_are_told_apart_by_device_and_number_and_what_is_not_ours_is_counted() {
        let arrivals = Arrivals::new(&[form("${run}-${seq}")]).expect("there is a form");
        for (device, id) in [
            ("a", "0badcafe-1"),
            ("a", "0badcafe-2"),
            ("a", "0badcafe-2"),
            ("b", "0badcafe-2"),
            ("a", "who knows"),
            ("a", ""),
        ] {
            arrivals.of(device).accept(arrivals.read(device, id));
        }
        let mut seen = Vec::new();
        arrivals.each(|device, arrived| {
            let runs = arrived.marks.runs().expect("they are kept");
            let runs: Vec<_> = runs.iter().map(|run| (run.last, run.mark)).collect();
            seen.push((device.to_owned(), runs, arrived.foreign));
        });
        seen.sort();
        assert_eq!(
            seen,
            [("a".to_owned(), vec![(1, 1), (2, 2)], 2), ("b".to_owned(), vec![(1, 0), (2, 1)], 0)]
        );
    }

    #[test]
    fn an_id_that_may_be_of_two_messages_leaves_none_of_the_device() {
        let arrivals = Arrivals::new(&[form("${seq}"), form("1${seq}")]).expect("there are forms");
        assert_eq!(arrivals.read("a", "2"), Numbered::As(2));
        assert_eq!(arrivals.read("a", "12"), Numbered::Unclear);
        let device = arrivals.of("a");
        for message in [Numbered::As(2), Numbered::Unclear, Numbered::As(3)] {
            device.accept(message);
        }
        arrivals.each(|_, arrived| assert_eq!(arrived.marks, Marks::given_up()));
    }

    #[test]
    fn a_client_that_sends_what_it_likes_does_not_fill_the_memory() {
        let arrivals = Arrivals::new(&[form("${run}-${seq}")]).expect("there is a form");
        let device = arrivals.of("a");
        for number in 0..100_000u64 {
            device.accept(arrivals.read("a", &format!("0badcafe-{}", number * 40_503 % (1 << 32))));
        }
        arrivals.each(|_, arrived| assert_eq!(arrived.marks.runs(), None));
    }
}
