//! Percentiles of everything that was timed: the usual ones as they are stored, or others from the histograms.

use super::build::{figure_of, measured};
use super::decode::{Damage, restore};
use super::file::{Figure, Measured, RunResult, Timing};
use super::histogram::Budget;
use crate::record::durations::enough_for;
use crate::record::{Durations, PopulationRecord};
use crate::step::{self, Party, StepKind, View};

/// The percentiles that a result stores.
pub const USUAL: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// Percentiles of a run, over all that were due.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentiles {
    /// Which: above 0, below 100, ascending.
    pub percents: Vec<f64>,
    /// Each population by name, in the order of the plan.
    pub populations: Vec<(String, Vec<Row>)>,
    /// All populations together.
    pub total: Vec<Row>,
}

/// Percentiles of durations of one sort.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// A step (`send`), a milestone (`time_to_assigned`), an exchange (`dps.put`), a phase (`hub.tls`) or `poll_wait`.
    pub kind: String,
    /// Of steps `response`, `service`, `waiting` or `lateness`, of milestones `response`; of the rest `took`.
    pub view: &'static str,
    /// How many durations there are.
    pub count: u64,
    /// How many were due.
    pub of: u64,
    /// By [`Percentiles::percents`]; `None` where there are too few for the figure to mean something.
    pub figures: Vec<Option<Figure>>,
    /// The largest.
    pub max: Option<Figure>,
}

impl Percentiles {
    /// How the percentiles are called, in their order: `p50`, `p99.9`.
    pub fn names(&self) -> Vec<String> {
        self.percents.iter().map(|percent| format!("p{percent}")).collect()
    }

    /// The rows of a population, or of all together.
    pub fn rows(&self, population: Option<usize>) -> &[Row] {
        match population {
            Some(at) => self.populations.get(at).map_or(&[], |(_, rows)| rows.as_slice()),
            None => &self.total,
        }
    }
}

impl RunResult {
    /// The percentiles that are stored: [`USUAL`]. Takes no histogram apart.
    pub fn usual_percentiles(&self) -> Percentiles {
        let populations = self.populations.iter();
        Percentiles {
            percents: USUAL.to_vec(),
            populations: populations.map(|p| (p.name.clone(), stored_rows(&p.measured))).collect(),
            total: stored_rows(&self.total),
        }
    }

    /// Any percentiles, worked out from the histograms of one population after the other.
    ///
    /// * `percents`: above 0 and below 100, ascending
    ///
    /// # Errors
    /// [`Damage`] if the histograms cannot be read, which one that came from [`super::read`] can.
    pub fn percentiles(&self, percents: &[f64]) -> Result<Percentiles, Damage> {
        let budget = Budget::new(Budget::FILE);
        let mut total = PopulationRecord::default();
        let mut populations = Vec::new();
        for population in &self.populations {
            let restored = restore(&population.measured, &population.name, &budget)?;
            populations.push((population.name.clone(), rows(&population.measured, &restored, percents)));
            total.merge(&restored);
        }
        let measured = measured(&total, &self.facts, false);
        Ok(Percentiles { percents: percents.to_vec(), populations, total: rows(&measured, &total, percents) })
    }
}

impl Measured {
    /// Everything that was timed, with the names of [`Row::kind`] and [`Row::view`].
    pub fn timings(&self) -> impl Iterator<Item = (String, &'static str, &Timing)> {
        let steps = self.steps.iter().flat_map(|step| {
            [
                ("response", &step.response),
                ("service", &step.service),
                ("waiting", &step.waiting),
                ("lateness", &step.lateness),
            ]
            .map(|(view, timing)| (step.kind.clone(), view, timing))
        });
        let milestones = self.milestones.iter().map(|m| (m.name.clone(), "response", &m.took));
        let exchanges = self.exchanges.iter().map(|e| (e.name.clone(), "took", &e.took));
        let waits = self.poll_wait.iter().map(|took| ("poll_wait".to_owned(), "took", took));
        let phases = self.phases.iter().map(|p| (format!("{}.{}", p.party, p.phase), "took", &p.took));
        milestones.chain(steps).chain(exchanges).chain(waits).chain(phases)
    }
}

fn stored_rows(measured: &Measured) -> Vec<Row> {
    let row = |(kind, view, timing): (String, &'static str, &Timing)| {
        let quantiles = &timing.quantiles;
        Row {
            kind,
            view,
            count: timing.count,
            of: quantiles.of,
            figures: vec![quantiles.p50, quantiles.p90, quantiles.p99, quantiles.p999],
            max: quantiles.max,
        }
    };
    measured.timings().map(row).collect()
}

/// The rows of `measured`, which came of `record`.
fn rows(measured: &Measured, record: &PopulationRecord, percents: &[f64]) -> Vec<Row> {
    let row = |(kind, view, timing): (String, &'static str, &Timing)| {
        let of = timing.quantiles.of;
        let durations = durations(record, &kind, view);
        let figures = percents.iter().map(|percent| {
            let q = percent / 100.0;
            durations.filter(|_| enough_for(q, of)).and_then(|durations| figure_of(durations, q, of))
        });
        Row { figures: figures.collect(), count: timing.count, of, max: timing.quantiles.max, kind, view }
    };
    measured.timings().map(row).collect()
}

/// What [`Measured::timings`] calls so.
fn durations<'a>(record: &'a PopulationRecord, kind: &str, view: &str) -> Option<&'a Durations> {
    if let Some((step, view)) = StepKind::from_name(kind).zip(View::from_name(view)) {
        return Some(record.step(step).view(view));
    }
    if let Some(milestone) = step::Milestone::from_name(kind) {
        return Some(&record.milestones[milestone.index()].took);
    }
    if let Some(exchange) = step::Exchange::from_name(kind) {
        return Some(&record.exchanges[exchange.index()].took);
    }
    if kind == "poll_wait" {
        return Some(&record.poll_wait);
    }
    let (party, phase) = kind.split_once('.')?;
    let (party, phase) = Party::from_name(party).zip(step::Phase::from_name(phase))?;
    Some(&record.phases[party.index()][phase.index()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples::{Story, result};

    #[test]
    fn the_usual_percentiles_from_the_histograms_are_those_that_are_stored() {
        for story in [Story::Healthy, Story::Failing, Story::Few] {
            let result = result(story);
            assert_eq!(result.percentiles(&USUAL), Ok(result.usual_percentiles()));
        }
    }

    #[test]
    fn others_lie_between_their_neighbours_and_need_enough_samples() {
        let result = result(Story::Healthy);
        let found = result.percentiles(&[50.0, 75.0, 99.0, 99.999]).expect("it is whole");
        assert_eq!(found.names(), ["p50", "p75", "p99", "p99.999"]);
        let send = found.total.iter().find(|row| (row.kind.as_str(), row.view) == ("send", "response"));
        let send = send.expect("there were sends");
        assert_eq!((send.count, send.of), (5_100, 5_100));
        let nanos = |at: usize| match send.figures[at] {
            Some(Figure::Nanos(nanos)) => nanos,
            other => panic!("{other:?}"),
        };
        assert!(nanos(0) < nanos(1) && nanos(1) < nanos(2));
        assert_eq!(send.figures[3], None, "p99.999 needs 100,000");
    }

    #[test]
    fn failures_count_as_slower_than_any_limit() {
        let result = result(Story::Failing);
        let found = result.percentiles(&[99.9]).expect("it is whole");
        let register = found.rows(Some(0)).iter().find(|row| row.kind == "register").expect("a row");
        assert!(matches!(register.figures[0], Some(Figure::Beyond(_))), "{register:?}");
        assert!(register.count < register.of);
    }
}
