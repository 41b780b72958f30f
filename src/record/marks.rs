//! A small mark for each message of one device, by its number.
//!
//! Messages are numbered from 1, and most of them share their neighbours' fate. So marks are kept as runs of equal ones:
//! a device whose messages all fared alike takes one run of 8 bytes, however many there are.

/// Marks of one device's messages. A message without one has mark 0.
///
/// Bounded: marks that change too often from one message to the next ([`Marks::MAX_RUNS`]) are given up, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks(Option<Vec<Run>>);

/// Neighbouring messages with one mark: from the end of the run before it, or from message 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Number of the last message.
    pub last: u32,
    /// Mark of each.
    pub mark: u8,
}

/// Neighbouring messages with one mark here and one mark there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Number of the first message.
    pub first: u32,
    /// Number of the last.
    pub last: u32,
    /// Mark here.
    pub ours: u8,
    /// Mark there.
    pub theirs: u8,
}

impl Default for Marks {
    fn default() -> Self {
        Self(Some(Vec::new()))
    }
}

impl Marks {
    /// Most runs that are kept: 4 KiB, less than what a connection takes.
    pub const MAX_RUNS: usize = 512;

    /// Marks that are not kept.
    pub const fn given_up() -> Self {
        Self(None)
    }

    /// Marks of those runs; `None` unless they are such as [`Self::runs`] gives.
    pub fn of_runs(runs: impl IntoIterator<Item = Run>) -> Option<Self> {
        let mut kept: Vec<Run> = Vec::new();
        for run in runs {
            let (last, mark) = kept.last().map_or((0, None), |before| (before.last, Some(before.mark)));
            if run.last <= last || mark == Some(run.mark) || kept.len() == Self::MAX_RUNS {
                return None;
            }
            kept.push(run);
        }
        kept.last().is_none_or(|run| run.mark != 0).then_some(Self(Some(kept)))
    }

    /// Changes the mark of message `number` (0 if it has none). A number that is 0 or above `u32::MAX` gives all marks up.
    ///
    /// Most calls are for the message after the last, and take a few nanoseconds.
    pub fn change(&mut self, number: u64, change: impl FnOnce(u8) -> u8) {
        let Some(runs) = &mut self.0 else { return };
        let Some(number) = u32::try_from(number).ok().filter(|number| *number > 0) else {
            self.0 = None;
            return;
        };
        match runs.last_mut() {
            Some(run) if number <= run.last => change_within(runs, number, change),
            last => {
                let mark = change(0);
                let end = last.as_ref().map_or(0, |run| run.last);
                match last {
                    _ if mark == 0 => {}
                    Some(run) if run.mark == mark && end + 1 == number => run.last = number,
                    _ => {
                        if end + 1 < number {
                            runs.push(Run { last: number - 1, mark: 0 });
                        }
                        runs.push(Run { last: number, mark });
                    }
                }
            }
        }
        if runs.len() > Self::MAX_RUNS {
            self.0 = None;
        }
    }

    /// The runs, without a gap; `None` if the marks were given up. Neighbours differ, and the last is not of mark 0.
    pub fn runs(&self) -> Option<&[Run]> {
        self.0.as_deref()
    }

    /// How many messages have a mark; `None` if the marks were given up.
    pub fn count(&self) -> Option<u64> {
        let mut first = 0;
        let lengths = self.runs()?.iter().map(|run| {
            let length = run.last - std::mem::replace(&mut first, run.last);
            if run.mark == 0 { 0 } else { u64::from(length) }
        });
        Some(lengths.sum())
    }

    /// Both marks of every message that has one here or there; `None` if one of the two was given up.
    pub fn beside<'a>(&'a self, there: &'a Self) -> Option<impl Iterator<Item = Span> + 'a> {
        let (mut ours, mut theirs) = (self.runs()?, there.runs()?);
        let mut done = 0;
        Some(std::iter::from_fn(move || {
            let ends = [ours.first(), theirs.first()];
            let last = ends.iter().flatten().map(|run| run.last).min()?;
            let mark = |run: Option<&Run>| run.map_or(0, |run| run.mark);
            let span = Span { first: done + 1, last, ours: mark(ends[0]), theirs: mark(ends[1]) };
            for side in [&mut ours, &mut theirs] {
                if let Some((_, rest)) = side.split_first().filter(|(run, _)| run.last == last) {
                    *side = rest;
                }
            }
            done = last;
            Some(span)
        }))
    }

    /// Gives back memory that is not needed.
    pub fn shrink(&mut self) {
        if let Some(runs) = &mut self.0 {
            runs.shrink_to_fit();
        }
    }
}

/// * `number`: of a message in one of `runs`
fn change_within(runs: &mut Vec<Run>, number: u32, change: impl FnOnce(u8) -> u8) {
    let at = runs.partition_point(|run| run.last < number);
    let Run { last, mark: old } = runs[at];
    let mark = change(old);
    if mark == old {
        return;
    }
    let first = at.checked_sub(1).map_or(1, |before| runs[before].last + 1);
    let before = (first < number).then_some(Run { last: number - 1, mark: old });
    let after = (number < last).then_some(Run { last, mark: old });
    let changed = at + usize::from(before.is_some());
    runs.splice(at..=at, [before, Some(Run { last: number, mark }), after].into_iter().flatten());
    // Equal neighbours become one: a run begins where the one before it ends.
    if runs.get(changed + 1).is_some_and(|next| next.mark == mark) {
        runs.remove(changed);
    }
    if changed > 0 && runs[changed - 1].mark == mark {
        runs.remove(changed - 1);
    }
    while runs.last().is_some_and(|run| run.mark == 0) {
        runs.pop();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn marks(changes: &[(u64, u8)]) -> Marks {
        let mut marks = Marks::default();
        changes.iter().for_each(|(number, mark)| marks.change(*number, |_| *mark));
        marks
    }

    fn each(marks: &Marks) -> BTreeMap<u32, u8> {
        let mut first = 1;
        let runs = marks.runs().expect("they are kept").iter();
        runs.flat_map(|run| (std::mem::replace(&mut first, run.last + 1)..=run.last).map(|n| (n, run.mark)))
            .filter(|(_, mark)| *mark != 0)
            .collect()
    }

    #[test]
    fn a_million_messages_of_one_fate_are_one_run() {
        let mut marks = Marks::default();
        (1..=1_000_000).for_each(|number| marks.change(number, |_| 3));
        assert_eq!(marks.runs(), Some(&[Run { last: 1_000_000, mark: 3 }][..]));
        assert_eq!(marks.count(), Some(1_000_000));
    }

    #[test]
    fn messages_out_of_order_become_one_run_once_they_are_all_there() {
        let marks = marks(&[(3, 1), (1, 1), (2, 1), (6, 1), (5, 1), (4, 1)]);
        assert_eq!(marks.runs(), Some(&[Run { last: 6, mark: 1 }][..]));
    }

    #[test]
    fn marks_that_change_too_often_are_given_up_and_stay_so() {
        let mut scattered = Marks::default();
        (0..10_000).for_each(|number| scattered.change(2 * number + 1, |_| 1));
        assert_eq!(scattered, Marks::given_up());
        scattered.change(1, |_| 1);
        assert_eq!((scattered.runs(), scattered.count()), (None, None));
        for odd in [0, 1 << 32, u64::MAX] {
            assert_eq!(marks(&[(1, 1), (odd, 1)]), Marks::given_up(), "{odd}");
        }
        assert_eq!(marks(&[(u64::from(u32::MAX), 1)]).count(), Some(1));
    }

    proptest! {
        #[test]
        fn marks_are_what_a_map_would_hold(changes in proptest::collection::vec((1u64..60, 0u8..4), 0..200)) {
            let kept = marks(&changes);
            let mut map = BTreeMap::new();
            for (number, mark) in changes {
                map.insert(number as u32, mark);
            }
            map.retain(|_, mark| *mark != 0);
            prop_assert_eq!(kept.count(), Some(map.len() as u64));
            prop_assert_eq!(each(&kept), map);
            // Nothing is kept that need not be.
            let runs = kept.runs().expect("they are kept").to_vec();
            prop_assert_eq!(Marks::of_runs(runs), Some(kept));
        }

        #[test]
        fn both_marks_of_every_message_stand_beside_each_other(
            ours in proptest::collection::vec((1u64..40, 0u8..3), 0..60),
            theirs in proptest::collection::vec((1u64..40, 0u8..3), 0..60),
        ) {
            let (ours, theirs) = (marks(&ours), marks(&theirs));
            let (mut here, mut there, mut done) = (BTreeMap::new(), BTreeMap::new(), 0);
            for span in ours.beside(&theirs).expect("both are kept") {
                prop_assert!(span.first == done + 1 && span.last >= span.first);
                done = span.last;
                for number in span.first..=span.last {
                    here.insert(number, span.ours);
                    there.insert(number, span.theirs);
                }
            }
            here.retain(|_, mark| *mark != 0);
            there.retain(|_, mark| *mark != 0);
            prop_assert_eq!((here, there), (each(&ours), each(&theirs)));
        }

        #[test]
        fn only_runs_as_they_are_kept_are_taken(
            runs in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..6),
        ) {
            let runs: Vec<_> = runs.into_iter().map(|(last, mark)| Run { last, mark }).collect();
            if let Some(marks) = Marks::of_runs(runs.clone()) {
                prop_assert_eq!(marks.runs(), Some(&runs[..]));
            }
        }
    }
}
