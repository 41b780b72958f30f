//! Tables of a result for spreadsheets and scripts: the files `percentiles.csv` and `failures.csv` of a run.
//!
//! Text that came from elsewhere cannot become a formula; quotes are as in RFC 4180, lines end with a line feed.

use super::table::seconds;
use crate::result::file::{Figure, RunResult};
use crate::result::percentiles::{Percentiles, Row};
use crate::text::Untrusted;

/// The usual percentiles of a run: see [`percentiles_of`].
pub fn percentiles(result: &RunResult) -> String {
    percentiles_of(&result.usual_percentiles())
}

/// One row for each population (empty for all together), kind, view and percentile.
///
/// | column | |
/// |---|---|
/// | `population` | name of the fleet; empty for all together |
/// | `kind`, `view` | see [`Row`] |
/// | `quantile` | `p50` … `p99.9`, `max` |
/// | `value_ns`, `value_ms` | empty where there are too few samples, `beyond` where it falls among those that did not succeed |
/// | `count` | durations there are |
/// | `of` | how many were due |
pub fn percentiles_of(percentiles: &Percentiles) -> String {
    let mut table =
        Table::new(&["population", "kind", "view", "quantile", "value_ns", "value_ms", "count", "of"]);
    let names = percentiles.names();
    let groups = percentiles.populations.iter().map(|(name, rows)| (safe(name), rows));
    for (population, rows) in groups.chain([(String::new(), &percentiles.total)]) {
        for row in rows {
            let cells = names.iter().map(String::as_str).zip(row.figures.iter().copied());
            for (name, figure) in cells.chain([("max", row.max)]) {
                table.row(percentile(&population, row, name, figure));
            }
        }
    }
    table.into_text()
}

fn percentile(population: &str, row: &Row, name: &str, figure: Option<Figure>) -> [String; 8] {
    let (nanos, millis) = match figure {
        Some(Figure::Nanos(nanos)) => (nanos.to_string(), format!("{:.6}", nanos as f64 / 1e6)),
        Some(Figure::Beyond(_)) => ("beyond".to_owned(), "beyond".to_owned()),
        None => (String::new(), String::new()),
    };
    let (count, of) = (row.count.to_string(), row.of.to_string());
    let population = population.to_owned();
    [population, safe(&row.kind), row.view.to_owned(), name.to_owned(), nanos, millis, count, of]
}

/// One row for each class of failures, all populations together.
///
/// | column | |
/// |---|---|
/// | `class`, `owner` | what failed, and whose it is |
/// | `steps` | the kinds of steps it happened to, separated by blanks |
/// | `count` | steps that ended so |
/// | `retried` | attempts that failed so and were made again |
/// | `first_s`, `last_s` | when, on the run clock |
/// | `examples` | what a few of them looked like, separated by ` \| ` |
pub fn failures(result: &RunResult) -> String {
    let mut table =
        Table::new(&["class", "owner", "steps", "count", "retried", "first_s", "last_s", "examples"]);
    for group in &result.failures {
        let examples: Vec<_> = group.examples.iter().map(|example| safe(&example.detail)).collect();
        table.row([
            safe(&group.class),
            safe(&group.owner),
            safe(&group.steps.join(" ")),
            group.count.to_string(),
            group.retried.to_string(),
            seconds(group.first_ns),
            seconds(group.last_ns),
            examples.join(" | "),
        ]);
    }
    table.into_text()
}

fn safe(text: &str) -> String {
    Untrusted::new(text).csv()
}

struct Table(csv::Writer<Vec<u8>>);

impl Table {
    fn new(heads: &[&str; 8]) -> Self {
        let mut table = Self(csv::Writer::from_writer(Vec::new()));
        table.row(heads.map(str::to_owned));
        table
    }

    fn row(&mut self, cells: [String; 8]) {
        self.0.write_record(cells).expect("memory can be written to, and every row has as many cells");
    }

    fn into_text(self) -> String {
        let bytes = self.0.into_inner().expect("memory can be written to");
        String::from_utf8(bytes).expect("it was made of text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples::{self, Story};

    #[test]
    fn percentiles_of_a_run_with_failures() {
        insta::assert_snapshot!(percentiles(&samples::result(Story::Few)));
        let text = percentiles(&samples::result(Story::Failing));
        let expected = "sensors,register,response,max,beyond,beyond,996,1000";
        assert!(text.lines().any(|line| line == expected), "{text}");
    }

    #[test]
    fn percentiles_that_were_asked_for() {
        let result = samples::result(Story::Healthy);
        let text = percentiles_of(&result.percentiles(&[75.0, 99.95]).expect("it is whole"));
        let of_sends: Vec<_> = text.lines().filter(|line| line.starts_with(",send,response,")).collect();
        insta::assert_snapshot!(of_sends.join("\n"));
    }

    #[test]
    fn failures_of_a_run() {
        insta::assert_snapshot!(failures(&samples::result(Story::Failing)));
    }

    #[test]
    fn text_of_a_stranger_becomes_no_formula_and_no_cell_of_its_own() {
        let mut hostile = samples::result(Story::Failing);
        hostile.failures[0].class = "=1+1".to_owned();
        hostile.failures[0].examples[0].detail = "@SUM(A1)\",\"=2\r\n-3".to_owned();
        hostile.populations[0].name = "+x,y".to_owned();
        let text = failures(&hostile) + &percentiles(&hostile);
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text.as_bytes());
        for row in reader.records() {
            for cell in &row.expect("as many cells as the head has") {
                assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
                assert!(!cell.contains(char::is_control), "{cell}");
            }
        }
    }
}
