//! Every message on both sides, once.

use std::collections::HashSet;

use super::trial::Trial;
use crate::report::verification::{Check, Claim, Relation, Unit};
use crate::step::Outcome;
use crate::units::show_count;

/// What does not match between the fleet's messages and the emulator's stamps.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mismatch {
    acknowledged: u64,
    lost: u64,
    phantom: u64,
    doubled: u64,
    /// Sentences of the run's own reconciliation.
    differences: Vec<String>,
}

pub(super) fn claims(trials: &[Trial]) -> Vec<Claim> {
    let mut all = Mismatch::default();
    for trial in trials {
        all.add(trial);
    }
    let zero = |what: &str, count: u64| {
        Claim::new(Check::Books, what, Unit::Count, count as f64, (Relation::Equals, 0.0))
    };
    let differences = zero("totals that contradict the emulator's ledger", all.differences.len() as u64);
    let said = all.differences.join(" ");
    vec![
        zero("lost: acknowledged, and not with the emulator", all.lost).noting(format!(
            "{} messages acknowledged in {} runs",
            show_count(all.acknowledged),
            trials.len()
        )),
        zero("phantom: with the emulator, and never sent", all.phantom),
        zero("double: with the emulator twice, or in our books twice", all.doubled),
        if said.is_empty() { differences } else { differences.noting(said) },
    ]
}

impl Mismatch {
    fn add(&mut self, trial: &Trial) {
        let mut seen = HashSet::with_capacity(trial.fates.len());
        let mut matched = 0;
        for fate in &trial.fates {
            let stamps = trial.stamps_of(fate).len() as u64;
            let is_first = seen.insert((fate.population, fate.device, fate.sequence));
            self.doubled += u64::from(!is_first) + stamps.saturating_sub(1);
            if is_first {
                matched += stamps;
            }
            match fate.observation.outcome {
                Outcome::Acknowledged => {
                    self.acknowledged += 1;
                    self.lost += u64::from(stamps == 0);
                }
                Outcome::NotSent(_) => self.phantom += stamps,
                // It may have come or not.
                Outcome::Written | Outcome::Failed(_) | Outcome::Unknown(_) => {}
            }
        }
        let stamped: usize = trial.stamps.values().map(Vec::len).sum();
        self.phantom += (stamped as u64).saturating_sub(matched) + trial.strangers;
        match &trial.result.facts.ledger {
            Some(ledger) => self.differences.extend(ledger.differences.iter().cloned()),
            None => self.differences.push(format!("the run `{}` has no ledger.", trial.name)),
        }
    }
}
