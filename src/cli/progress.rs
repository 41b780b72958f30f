//! How a run goes, on standard error: a bar on a terminal, a line now and then otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal;
use crate::plan::Plan;
use crate::record::Interval;
use crate::report::progress::Progress as Figures;
use crate::run::coordinate::Progress;
use crate::run::tell;

/// Seconds between two plain lines.
const PLAIN_EVERY: u64 = 5;

/// Seconds between two plain lines before the start.
const WAITING_EVERY: u64 = 10;

/// Columns of a plain line.
const PLAIN_WIDTH: usize = 100;

/// The progress that suits standard error.
pub(super) fn choose(plan: &Plan, silent: bool) -> Box<dyn Progress> {
    if silent {
        return Box::new(Silent);
    }
    let devices = plan.populations.iter().map(|population| population.count).sum();
    let registers = plan.populations.iter().any(|population| population.provision.is_some());
    let figures = Figures::new(devices, Some(expected(plan)), registers);
    if !std::io::stderr().is_terminal() {
        return Box::new(Plain { figures, second: 0, waited: 0 });
    }
    let bar = ProgressBar::with_draw_target(
        Some(expected(plan).as_secs().max(1)),
        ProgressDrawTarget::stderr_with_hz(4),
    );
    let template =
        if terminal::stderr_has_colour() { "{bar:12.cyan/dim} {wide_msg}" } else { "{bar:12} {wide_msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_message("starting");
    Box::new(Bar { figures, bar })
}

/// How long the run will take if the service answers at once: a guess for the bar, nothing else.
fn expected(plan: &Plan) -> Duration {
    plan.duration.unwrap_or_else(|| {
        plan.populations
            .iter()
            .map(|population| {
                let telemetry = population.telemetry.as_ref().map_or(Duration::ZERO, |telemetry| {
                    let messages = telemetry.messages.unwrap_or_default();
                    telemetry.rhythm.span(messages.saturating_add(1))
                });
                let registering = population.provision.map_or(Duration::ZERO, |_| Duration::from_secs(4));
                population.starts(plan).last().saturating_add(registering).saturating_add(telemetry)
            })
            .max()
            .unwrap_or_default()
    })
}

struct Silent;

impl Progress for Silent {
    fn second(&mut self, _: u64, _: &Interval, _: &Interval) {}

    fn interrupted(&mut self, again: bool) {
        tell(interrupt_text(again));
    }

    fn done(&mut self) {}
}

struct Plain {
    figures: Figures,
    second: u64,
    /// Seconds that it was told of before the start.
    waited: u64,
}

impl Progress for Plain {
    fn waiting(&mut self, left: Duration) {
        if self.waited.is_multiple_of(WAITING_EVERY) {
            tell(waiting_text(left));
        }
        self.waited += 1;
    }

    fn second(&mut self, second: u64, _: &Interval, last: &Interval) {
        self.figures.add(last, Duration::from_secs(1));
        self.second = second;
        if second.is_multiple_of(PLAIN_EVERY) {
            tell(self.figures.line(Duration::from_secs(second), PLAIN_WIDTH));
        }
    }

    fn interrupted(&mut self, again: bool) {
        tell(interrupt_text(again));
    }

    fn done(&mut self) {
        self.figures.over();
        if self.second > 0 && !self.second.is_multiple_of(PLAIN_EVERY) {
            tell(self.figures.line(Duration::from_secs(self.second), PLAIN_WIDTH));
        }
    }
}

struct Bar {
    figures: Figures,
    bar: ProgressBar,
}

impl Progress for Bar {
    fn waiting(&mut self, left: Duration) {
        self.bar.set_message(waiting_text(left));
    }

    fn second(&mut self, second: u64, _: &Interval, last: &Interval) {
        self.figures.add(last, Duration::from_secs(1));
        let width = terminal::stderr_columns().saturating_sub(14);
        self.bar.set_position(second.min(self.bar.length().unwrap_or(second)));
        self.bar.set_message(self.figures.line(Duration::from_secs(second), width));
    }

    fn interrupted(&mut self, again: bool) {
        self.bar.println(interrupt_text(again));
    }

    fn done(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn waiting_text(left: Duration) -> String {
    format!("prepared; starts in {} s", left.as_secs_f64().ceil())
}

fn interrupt_text(again: bool) -> &'static str {
    if again {
        "leaving now; what is open is given up"
    } else {
        "stopping: waiting for open answers (interrupt again to leave now)"
    }
}
