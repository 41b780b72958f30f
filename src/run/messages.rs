//! Holding what became of each message, by the fleet's books, against what the emulator accepted.
//!
//! A message is known by its device and its number, which its id holds. For each there is one mark on either side, and the
//! two are laid beside each other:
//!
//! | the fleet says | did not arrive | arrived | arrived oftener than it went |
//! |---|---|---|---|
//! | confirmed | **lost** | as it should | **counted twice** |
//! | written (QoS 0) | may be: counted | as it should | **counted twice** |
//! | unknown | may be | may be: counted | **counted twice** |
//! | not sent, refused, or no such message | as it should | **phantom** | **phantom** |
//!
//! A message with two outcomes in the fleet's books is counted twice as well. What is bold is a fault of this program.

use std::collections::{BTreeSet, HashMap};

use crate::emulator::channel::{ArrivedLine, Report};
use crate::payload::IdForm;
use crate::plan::{Plan, Population};
use crate::record::marks::Span;
use crate::record::messages::{DeviceMessages, Fate, Sent};
use crate::record::{Marks, Messages};
use crate::result::file;
use crate::units::show_count;

/// Lays the two sides beside each other, device by device, as the emulator tells of them.
pub struct Reconciler<'a> {
    populations: &'a [Population],
    sent: HashMap<&'a str, Device<'a>>,
    /// Populations whose ids do not hold the numbers of their messages.
    unnumbered: BTreeSet<usize>,
    told: u64,
    is_complete: bool,
    found: Found,
}

struct Device<'a> {
    messages: &'a DeviceMessages,
    is_done: bool,
}

#[derive(Default)]
struct Found {
    devices: u64,
    messages: u64,
    lost: Listed,
    phantom: Listed,
    twice: Listed,
    arrived_again: u64,
    written_not_arrived: u64,
    unknown_arrived: u64,
    not_ours: u64,
    /// Devices whose marks were given up on one side.
    scattered: u64,
    /// Devices that share their id with another.
    shared: u64,
}

/// Messages of one kind: how many, and the first.
#[derive(Default)]
struct Listed {
    count: u64,
    /// In the order of the plan; devices that are not in it come last.
    first: BTreeSet<(usize, u64, String, u32)>,
}

/// The forms of message ids from which the emulator can tell the messages of `plan` apart; none if it can in no population.
pub fn id_forms(plan: &Plan) -> Vec<IdForm> {
    let mut forms = Vec::new();
    for population in &plan.populations {
        for form in forms_of(population, &plan.run_id).into_iter().flatten() {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    forms
}

fn forms_of(population: &Population, run_id: &str) -> Option<Vec<IdForm>> {
    population.telemetry.as_ref()?.payload.id_forms(run_id, &population.name)
}

impl<'a> Reconciler<'a> {
    /// * `messages`: what the fleet says
    pub fn new(messages: &'a Messages, plan: &'a Plan) -> Self {
        let (mut sent, mut found) = (HashMap::new(), Found::default());
        for messages in messages.devices() {
            let device = Device { messages, is_done: false };
            if let Some(other) = sent.insert(&*messages.device_id, device) {
                found.shared += if other.is_done { 1 } else { 2 };
                if let Some(device) = sent.get_mut(&*messages.device_id) {
                    // What arrives may be of either: neither is judged.
                    device.is_done = true;
                }
            }
        }
        // Without a form that it could read, the emulator keeps nothing.
        let is_complete = id_forms(plan).is_empty();
        let populations = plan.populations.iter().enumerate();
        let unnumbered = populations
            .filter(|(_, population)| population.telemetry.is_some())
            .filter(|(_, population)| forms_of(population, &plan.run_id).is_none())
            .map(|(index, _)| index)
            .collect();
        Self { populations: &plan.populations, sent, unnumbered, told: 0, is_complete, found }
    }

    /// What the emulator tells.
    pub fn take(&mut self, report: Report) {
        match report {
            Report::Arrived(line) => self.arrived(&line),
            Report::Complete(count) => self.is_complete = count == self.told,
            Report::Ready(_) | Report::Failed(_) | Report::Stamp(_) | Report::Ledger(_) => {}
        }
    }

    fn arrived(&mut self, line: &ArrivedLine) {
        self.told += 1;
        let ArrivedLine { device_id, arrived } = line;
        match self.sent.get_mut(device_id.as_str()) {
            Some(device) if device.is_done => {}
            Some(device) => {
                device.is_done = true;
                if !self.unnumbered.contains(&device.messages.population) {
                    self.found.not_ours += arrived.foreign;
                    self.found.device(device.messages, &arrived.marks);
                }
            }
            // The fleet has no such device, or none that ever had a message due.
            None => {
                self.found.not_ours += arrived.foreign;
                let nobody = DeviceMessages {
                    population: usize::MAX,
                    n: u64::MAX,
                    device_id: device_id.as_str().into(),
                    marks: Marks::default(),
                };
                self.found.device(&nobody, &arrived.marks);
            }
        }
    }

    /// Enters what was found into the emulator's half of a result.
    pub fn finish(mut self, ledger: &mut file::Ledger) {
        if !self.is_complete {
            let what = "the emulator did not tell all messages that it accepted; they cannot be reconciled one by one";
            return ledger.differences.push(what.to_owned());
        }
        let nothing = Marks::default();
        for device in self.sent.values().filter(|device| !device.is_done) {
            if !self.unnumbered.contains(&device.messages.population) {
                self.found.device(device.messages, &nothing);
            }
        }
        let mut by_totals: Vec<String> = Vec::new();
        for population in self.unnumbered.iter().filter_map(|index| self.populations.get(*index)) {
            by_totals.push(format!(
                "fleet `{}`: its `message_id` does not hold the number of the message where it can be found again; leave the key out, \
                 or make it of one ${{seq}}, text, ${{run}}, ${{population}} and ${{device_id}}",
                population.name
            ));
        }
        let (few, shared) = (self.found.scattered, self.found.shared);
        if few > 0 {
            by_totals.push(format!(
                "{}: what became of their messages changed more than {} times from one to the next; send fewer, or less than the hub \
                 refuses",
                devices(few),
                Marks::MAX_RUNS
            ));
        }
        if shared > 0 {
            by_totals.push(format!("{}: others have the same id; give each its own", devices(shared)));
        }
        let found = self.found;
        let differences = [
            (&found.lost, "lost: confirmed, and not among what the emulator accepted"),
            (&found.phantom, "phantom: accepted by the emulator, and never sent"),
            (&found.twice, "counted twice: accepted more often than sent, or entered twice into the books"),
        ];
        ledger.differences.extend(differences.iter().filter_map(|(listed, what)| listed.sentence(what)));
        ledger.messages = Some(file::Messages {
            devices: found.devices,
            messages: found.messages,
            lost: found.lost.kept(),
            phantom: found.phantom.kept(),
            counted_twice: found.twice.kept(),
            arrived_again: found.arrived_again,
            written_not_arrived: found.written_not_arrived,
            unknown_arrived: found.unknown_arrived,
            not_ours: found.not_ours,
            by_totals,
        });
    }
}

fn devices(count: u64) -> String {
    format!("{} {}", show_count(count), if count == 1 { "device" } else { "devices" })
}

impl Found {
    fn device(&mut self, device: &DeviceMessages, arrived: &Marks) {
        let Some(spans) = device.marks.beside(arrived) else {
            self.scattered += 1;
            return;
        };
        self.devices += 1;
        self.messages += device.marks.count().unwrap_or(0);
        for span in spans {
            self.span(device, span);
        }
    }

    /// Neighbouring messages of `device` that fared alike.
    fn span(&mut self, device: &DeviceMessages, span: Span) {
        let (count, times) = (u64::from(span.last - span.first) + 1, span.theirs);
        let sent = Sent::from_mark(span.ours);
        let fate = sent.map_or(Fate::Never, Sent::fate);
        let most = sent.map_or(1, Sent::most_arrivals);
        match (fate, times) {
            (Fate::Confirmed, 0) => self.lost.add(device, span),
            (Fate::Written, 0) => self.written_not_arrived += count,
            (Fate::Never, 1..) => self.phantom.add(device, span),
            (Fate::Unknown, 1..) => self.unknown_arrived += count,
            _ => {}
        }
        if sent.is_some_and(Sent::is_entered_twice) || (fate != Fate::Never && times > most) {
            self.twice.add(device, span);
        } else if fate != Fate::Never && times > 1 {
            self.arrived_again += count;
        }
    }
}

impl Listed {
    fn add(&mut self, device: &DeviceMessages, span: Span) {
        self.count += u64::from(span.last - span.first) + 1;
        for number in (span.first..=span.last).take(file::Unreconciled::EXAMPLES) {
            self.first.insert((device.population, device.n, device.device_id.to_string(), number));
            if self.first.len() > file::Unreconciled::EXAMPLES {
                self.first.pop_last();
            }
        }
    }

    fn kept(&self) -> file::Unreconciled {
        let example = |(_, _, device_id, number): &(usize, u64, String, u32)| file::MessageExample {
            device_id: device_id.clone(),
            sequence: (*number).into(),
        };
        file::Unreconciled { count: self.count, examples: self.first.iter().map(example).collect() }
    }

    /// `None` if there is nothing to tell.
    fn sentence(&self, what: &str) -> Option<String> {
        /// Messages that a sentence names; the result has more of them.
        const NAMED: usize = 3;
        let messages = if self.count == 1 { "message is" } else { "messages are" };
        let named: Vec<_> =
            self.first.iter().take(NAMED).map(|(_, _, id, number)| format!("no. {number} of {id}")).collect();
        let more = if self.count > named.len() as u64 { " …" } else { "" };
        let listed = format!("({}{more})", named.join(", "));
        (self.count > 0).then(|| format!("{} {messages} {what} {listed}", show_count(self.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::arrivals::Arrived;
    use crate::step::{Cause, Class, Outcome, Reason};

    const CONFIRMED: Outcome = Outcome::Acknowledged;
    const UNKNOWN: Outcome = Outcome::Unknown(Cause::ConnectionLost);
    const REFUSED: Outcome = Outcome::Failed(Class::Throttled);
    const UNSENT: Outcome = Outcome::NotSent(Reason::QueueFull);

    /// One device's messages: outcome and how often it went again; and how often each arrived.
    fn found(messages: &[(Outcome, u8, u8)]) -> Found {
        let (mut marks, mut arrived) = (Marks::default(), Marks::default());
        for (number, (outcome, again, times)) in (1..).zip(messages) {
            marks.change(number, |before| Sent::of(*outcome, *again).entered(before));
            arrived.change(number, |_| *times);
        }
        let mut found = Found::default();
        found.device(&DeviceMessages { population: 0, n: 0, device_id: "d".into(), marks }, &arrived);
        found
    }

    #[test]
    fn every_pair_of_what_the_fleet_says_and_what_arrived_is_judged() {
        let nothing = [0; 6];
        for (message, expected) in [
            ((CONFIRMED, 0, 1), nothing),
            ((CONFIRMED, 0, 0), [1, 0, 0, 0, 0, 0]),
            ((CONFIRMED, 0, 2), [0, 0, 1, 0, 0, 0]),
            ((CONFIRMED, 1, 2), [0, 0, 0, 1, 0, 0]),
            ((CONFIRMED, 1, 3), [0, 0, 1, 0, 0, 0]),
            ((CONFIRMED, 1, 0), [1, 0, 0, 0, 0, 0]),
            ((Outcome::Written, 0, 0), [0, 0, 0, 0, 1, 0]),
            ((Outcome::Written, 0, 2), [0, 0, 1, 0, 0, 0]),
            ((UNKNOWN, 0, 0), nothing),
            ((UNKNOWN, 0, 1), [0, 0, 0, 0, 0, 1]),
            ((UNKNOWN, 0, 2), [0, 0, 1, 0, 0, 1]),
            ((UNKNOWN, 1, 2), [0, 0, 0, 1, 0, 1]),
            ((REFUSED, 0, 0), nothing),
            ((REFUSED, 0, 1), [0, 1, 0, 0, 0, 0]),
            ((REFUSED, 1, 1), [0, 0, 0, 0, 0, 1]),
            ((UNSENT, 0, 0), nothing),
            ((UNSENT, 0, 1), [0, 1, 0, 0, 0, 0]),
            ((UNSENT, 0, 2), [0, 1, 0, 0, 0, 0]),
        ] {
            let found = found(&[(CONFIRMED, 0, 1), message, (CONFIRMED, 0, 1)]);
            let counts = [
                found.lost.count,
                found.phantom.count,
                found.twice.count,
                found.arrived_again,
                found.written_not_arrived,
                found.unknown_arrived,
            ];
            assert_eq!(counts, expected, "{message:?}");
            assert_eq!((found.devices, found.messages), (1, 3));
        }
    }

    #[test]
    fn a_message_with_two_outcomes_is_counted_twice() {
        let mut marks = Marks::default();
        for number in [1, 2, 2] {
            marks.change(number, |before| Sent::of(CONFIRMED, 0).entered(before));
        }
        let mut arrived = Marks::default();
        (1..=2).for_each(|number| arrived.change(number, |_| 1));
        let mut found = Found::default();
        found.device(&DeviceMessages { population: 0, n: 0, device_id: "d".into(), marks }, &arrived);
        assert_eq!((found.lost.count, found.twice.count), (0, 1));
        let sentence = found.twice.sentence("counted twice").expect("there is one");
        assert_eq!(sentence, "1 message is counted twice (no. 2 of d)");
    }

    #[test]
    fn the_first_twenty_in_the_order_of_the_plan_are_listed_and_all_are_counted() {
        let mut listed = Listed::default();
        for n in [3, 1, 2, 0] {
            let device_id = format!("d{n}").into();
            let device = DeviceMessages { population: 0, n, device_id, marks: Marks::default() };
            listed.add(&device, Span { first: 5, last: 1_000_004, ours: 1, theirs: 0 });
            listed.add(&device, Span { first: 1, last: 2, ours: 1, theirs: 0 });
        }
        let kept = listed.kept();
        assert_eq!(kept.count, 4_000_008);
        assert_eq!(kept.examples.len(), 20);
        let ids: BTreeSet<_> = kept.examples.iter().map(|example| example.device_id.as_str()).collect();
        assert_eq!(ids, BTreeSet::from(["d0"]));
        assert_eq!(kept.examples[..3].iter().map(|e| e.sequence).collect::<Vec<_>>(), [1, 2, 5]);
        let sentence = listed.sentence("lost").expect("there are some");
        assert_eq!(sentence, "4,000,008 messages are lost (no. 1 of d0, no. 2 of d0, no. 5 of d0 …)");
    }

    fn plan(text: &str) -> Plan {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.toml");
        std::fs::write(&path, text).expect("a file");
        let options = crate::scenario::Options { run_id: Some("0badcafe".into()), ..Default::default() };
        match crate::scenario::load(&path, &options, &|_| None) {
            Ok(loaded) => loaded.plan,
            Err(diagnostics) => panic!("{}", diagnostics.render(false, None)),
        }
    }

    fn messages(devices: &[(usize, u64, &str, Marks)]) -> Messages {
        let mut messages = Messages::default();
        for (population, n, device_id, marks) in devices.iter().cloned() {
            messages.add(DeviceMessages { population, n, device_id: device_id.into(), marks });
        }
        messages.sort();
        messages
    }

    fn marks(mark: u8, count: u64) -> Marks {
        let mut marks = Marks::default();
        (1..=count).for_each(|number| marks.change(number, |_| mark));
        marks
    }

    fn line(device_id: &str, marks: Marks, foreign: u64) -> Report {
        let arrived = Arrived { marks, foreign };
        Report::Arrived(Box::new(ArrivedLine { device_id: device_id.to_owned(), arrived }))
    }

    #[test]
    fn what_cannot_be_told_message_by_message_is_said_and_is_no_fault() {
        let plan = plan(
            "version = 1\nduration = '1m'\n[fleet.a]\ncount = 9\nstart.burst = {}\ntelemetry = { every = '1s' }\n[fleet.b]\ncount = 9\nstart.burst = {}\n\
             telemetry = { every = '1s', message_id = '${uuid}' }\n",
        );
        assert_eq!(id_forms(&plan).len(), 1);
        let confirmed = Sent::of(CONFIRMED, 0).entered(0);
        let messages = messages(&[
            (0, 0, "a-0", marks(confirmed, 5)),
            (0, 1, "a-1", Marks::given_up()),
            (0, 2, "same", marks(confirmed, 5)),
            (0, 3, "same", marks(confirmed, 5)),
            (1, 0, "b-0", Marks::given_up()),
        ]);
        let mut reconciler = Reconciler::new(&messages, &plan);
        // An id of `b` may look like one of `a`.
        for report in [
            line("b-0", marks(1, 1), 7),
            line("a-0", marks(1, 5), 2),
            line("a-1", marks(1, 5), 0),
            line("same", marks(2, 5), 0),
            Report::Complete(4),
        ] {
            reconciler.take(report);
        }
        let mut ledger = file::Ledger::default();
        reconciler.finish(&mut ledger);
        assert_eq!(ledger.differences, Vec::<String>::new());
        let found = ledger.messages.expect("they were reconciled");
        assert_eq!((found.devices, found.messages, found.not_ours), (1, 5, 2));
        assert_eq!(found.by_totals.len(), 3, "{:?}", found.by_totals);
        for (sentence, part) in found.by_totals.iter().zip(["fleet `b`: ", "1 device: ", "2 devices: "]) {
            assert!(sentence.starts_with(part), "{sentence}");
        }
    }

    #[test]
    fn messages_of_a_device_that_the_fleet_does_not_have_are_phantoms_and_those_it_alone_has_are_lost() {
        let plan = plan(
            "version = 1\nduration = '1m'\n[fleet.a]\ncount = 9\nstart.burst = {}\ntelemetry = { every = '1s' }\n",
        );
        let messages = messages(&[(0, 0, "a-0", marks(Sent::of(CONFIRMED, 0).entered(0), 2))]);
        let mut reconciler = Reconciler::new(&messages, &plan);
        reconciler.take(line("z", marks(1, 3), 0));
        reconciler.take(Report::Complete(1));
        let mut ledger = file::Ledger::default();
        reconciler.finish(&mut ledger);
        let found = ledger.messages.expect("they were reconciled");
        assert_eq!((found.lost.count, found.phantom.count, found.counted_twice.count), (2, 3, 0));
        assert_eq!(found.phantom.examples[2], file::MessageExample { device_id: "z".into(), sequence: 3 });
        assert_eq!(ledger.differences.len(), 2);
    }

    #[test]
    fn an_emulator_that_does_not_tell_all_is_not_believed() {
        let plan = plan(
            "version = 1\nduration = '1m'\n[fleet.a]\ncount = 9\nstart.burst = {}\ntelemetry = { every = '1s' }\n",
        );
        for reports in [vec![], vec![line("a", Marks::default(), 0)], vec![Report::Complete(1)]] {
            let messages = Messages::default();
            let mut reconciler = Reconciler::new(&messages, &plan);
            reports.into_iter().for_each(|report| reconciler.take(report));
            let mut ledger = file::Ledger::default();
            reconciler.finish(&mut ledger);
            assert_eq!((ledger.differences.len(), ledger.messages), (1, None));
        }
    }
}
