//! The summary as it looks, in each of the situations that a reader meets.

use super::*;
use crate::plan::threshold::{Comparison, Ending, Metric, Statistic, Threshold};
use crate::result::samples::{self, Story};
use crate::step::{Milestone, StepKind, View};
use crate::verdict::judge;

/// The result of that story, with the judgement it deserves.
fn result(story: Story) -> RunResult {
    let (record, _) = samples::recorded(story);
    let mut result = samples::result(story);
    result.judgement = Some(judge(&record, &result.facts, &thresholds()));
    result
}

fn thresholds() -> Vec<Threshold> {
    let assigned = Metric::Milestone(Milestone::TimeToAssigned, Statistic::Quantile(0.99));
    vec![
        Threshold {
            text: "time_to_assigned.response.p99 < 10s".to_owned(),
            metric: assigned,
            population: None,
            comparison: Comparison::Below,
            limit: 10.0,
            abort_after: None,
        },
        Threshold {
            text: "failed.share = 0 %".to_owned(),
            metric: Metric::Share(None, Ending::Unsuccessful),
            population: None,
            comparison: Comparison::Equal,
            limit: 0.0,
            abort_after: None,
        },
        Threshold {
            text: "send[sensors].response.p99 < 250ms".to_owned(),
            metric: Metric::Latency(StepKind::Send, View::Response, Statistic::Quantile(0.99)),
            population: Some(0),
            comparison: Comparison::Below,
            limit: 0.25,
            abort_after: None,
        },
    ]
}

fn shown(story: Story, width: usize, colour: bool) -> String {
    let options = Options { width, colour, directory: Some("results/sample-20260131T120000Z") };
    let text = render(&result(story), &options);
    if !colour {
        for line in text.lines() {
            assert!(columns(line) <= width, "{} columns: {line}", columns(line));
        }
        assert!(!text.contains('\u{1b}'));
    }
    text
}

#[test]
fn a_healthy_run_on_a_wide_terminal() {
    insta::assert_snapshot!(shown(Story::Healthy, 100, false));
}

#[test]
fn a_healthy_run_on_a_narrow_terminal() {
    insta::assert_snapshot!(shown(Story::Healthy, 80, false));
}

#[test]
fn failures_name_their_owner_an_example_and_the_remedy() {
    insta::assert_snapshot!(shown(Story::Failing, 100, false));
}

#[test]
fn failures_on_a_narrow_terminal() {
    insta::assert_snapshot!(shown(Story::Failing, 80, false));
}

#[test]
fn colour_only_where_it_is_asked_for() {
    insta::assert_snapshot!(shown(Story::Failing, 80, true).replace('\u{1b}', "ESC"));
}

#[test]
fn a_void_run_says_why_before_anything_else() {
    insta::assert_snapshot!(shown(Story::Late, 80, false));
}

#[test]
fn few_samples_show_no_quantile_that_means_nothing() {
    insta::assert_snapshot!(shown(Story::Few, 80, false));
}

#[test]
fn colour_on_a_wide_terminal() {
    insta::assert_snapshot!(shown(Story::Healthy, 100, true).replace('\u{1b}', "ESC"));
}

#[test]
fn what_nothing_confirms_has_a_count_and_no_row_of_dashes() {
    for width in [80, 100] {
        insta::assert_snapshot!(format!("messages_{width}"), shown(Story::Messages, width, false));
    }
}

/// With percentiles that were asked for.
fn with_percentiles(percents: &[f64], width: usize) -> String {
    let result = result(Story::Failing);
    let percentiles = result.percentiles(percents).expect("it is whole");
    let options = Options { width, colour: false, directory: None };
    let text = render_percentiles(&result, &options, &percentiles);
    assert!(text.lines().all(|line| columns(line) <= width), "{text}");
    text
}

#[test]
fn two_percentiles_that_were_asked_for() {
    insta::assert_snapshot!(with_percentiles(&[50.0, 95.0], 100));
}

#[test]
fn more_percentiles_than_fit_are_continued_below() {
    insta::assert_snapshot!(with_percentiles(&[1.0, 5.0, 25.0, 75.0, 95.0, 99.95, 99.999], 80));
}

#[test]
fn a_result_from_a_stranger_cannot_move_the_cursor() {
    let mut hostile = result(Story::Failing);
    hostile.facts.scenario = "a\u{1b}[2J\u{202e}b".to_owned();
    hostile.facts.machine.cpu = "\u{9b}31m".to_owned();
    hostile.populations[0].name = "x\ny\u{1b}]0;".to_owned();
    hostile.failures[0].remedy = "\u{7}".to_owned();
    hostile.facts.notes = vec!["\u{1b}".to_owned()];
    let options = Options { width: 80, colour: false, directory: Some("\u{1b}") };
    let text = render(&hostile, &options);
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{7}', '\u{202e}']), "{text}");
}
