//! What a verification found, and how it is shown: each claim beside what was measured, its limit, and a verdict.

use std::time::Duration;

use serde::Serialize;

use super::table::{Look, Page, columns, left, right};
use crate::units::{show_count, show_duration};

/// Everything that was claimed and measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Always `muster-verification`.
    pub format: &'static str,
    /// Version of the format.
    pub version: u32,
    /// Version of the program.
    pub muster_version: &'static str,
    /// The seed of all runs.
    pub seed: u64,
    /// How all claims together came out.
    pub verdict: Verdict,
    /// Each claim, in the order of the checks.
    pub claims: Vec<Claim>,
    /// Each run that was made for them.
    pub runs: Vec<Trial>,
}

/// A run that was made for a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// Its scenario's name.
    pub name: String,
    /// How long it took.
    pub duration_ns: u64,
    /// Messages that were due.
    pub messages: u64,
    /// Median of the machine's noise floor while it went on; absent if not measured.
    pub noise_p50_ns: Option<u64>,
    /// Its 99th percentile; absent if not measured.
    pub noise_p99_ns: Option<u64>,
    /// Why its figures mean nothing; empty if they do.
    pub void: Vec<String>,
}

/// Something that this program claims, held against a measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// What it belongs to.
    pub check: Check,
    /// What was measured, in words.
    pub what: String,
    /// What came out.
    pub measured: f64,
    /// What it may be.
    pub relation: Relation,
    /// See [`Self::relation`].
    pub limit: f64,
    /// Of both.
    pub unit: Unit,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What else to know.
    pub note: Option<String>,
}

/// What is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Latencies hold what happened at the service, and next to nothing of ours.
    Paired,
    /// A service that stands still shows in everything that was due meanwhile.
    Freeze,
    /// A generator that stands still makes its run void, and blames nobody else.
    Stopped,
    /// Messages come when the scenario says.
    Schedule,
    /// Delays come out as they were.
    Delays,
    /// Quantiles are those of the measurements.
    Quantiles,
    /// Every message is accounted for.
    Books,
}

impl Check {
    /// All, in their order.
    pub const ALL: [Self; 7] = [
        Self::Paired,
        Self::Freeze,
        Self::Stopped,
        Self::Schedule,
        Self::Delays,
        Self::Quantiles,
        Self::Books,
    ];

    /// Short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Freeze => "freeze",
            Self::Stopped => "stopped",
            Self::Schedule => "schedule",
            Self::Delays => "delays",
            Self::Quantiles => "quantiles",
            Self::Books => "books",
        }
    }

    /// What is claimed, as a sentence.
    pub const fn claim(self) -> &'static str {
        match self {
            Self::Paired => "A service time is the service's, to within what the wire takes",
            Self::Freeze => "While the service stands still, everything due waits and is counted",
            Self::Stopped => "While the generator stands still, nothing is blamed on the service",
            Self::Schedule => "Messages reach the service when the scenario says",
            Self::Delays => "Known delays are found again",
            Self::Quantiles => "Reported quantiles are those of the single measurements",
            Self::Books => "Every message is in the books of both sides, once",
        }
    }

    /// How it was measured, as a half-sentence.
    pub const fn how(self) -> &'static str {
        match self {
            Self::Paired => "service time less the time that the emulator stamped, message by message",
            Self::Freeze => {
                "the emulator's process is stopped at 200 messages/s: rate × (stop − x) answers take x or longer"
            }
            Self::Stopped => "a run of its own, whose process is stopped for a second at 200 messages/s",
            Self::Schedule => "arrivals as the emulator stamped them, against the instants of the plan",
            Self::Delays => "quantiles of service times against those of the emulator's stamps",
            Self::Quantiles => "histograms of the result against the sorted measurements",
            Self::Books => "what was sent, joined with the emulator's stamps, message by message",
        }
    }
}

/// How a measurement has to lie to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Not above.
    AtMost,
    /// Not below.
    AtLeast,
    /// Exactly.
    Equals,
}

/// What a measurement is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time.
    Seconds,
    /// Of 1.
    Share,
    /// How many, or a plain number.
    Count,
}

/// How a claim came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It does not, in a run that is void: the machine was too busy or too noisy to say.
    Void,
}

impl Claim {
    /// A claim that holds if `measured` lies as `relation` says.
    pub fn new(
        check: Check,
        what: impl Into<String>,
        unit: Unit,
        measured: f64,
        (relation, limit): (Relation, f64),
    ) -> Self {
        let holds = match relation {
            Relation::AtMost => measured <= limit,
            Relation::AtLeast => measured >= limit,
            Relation::Equals => measured == limit,
        };
        let verdict = if holds { Verdict::Holds } else { Verdict::Fails };
        Self { check, what: what.into(), measured, relation, limit, unit, verdict, note: None }
    }

    /// The same with something to know besides.
    #[must_use]
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// The same of a run that is void if `is_void`: then it is no proof that the claim does not hold.
    #[must_use]
    pub fn unless(self, is_void: bool) -> Self {
        let verdict = if is_void && self.verdict == Verdict::Fails { Verdict::Void } else { self.verdict };
        Self { verdict, ..self }
    }
}

impl Verification {
    /// A verification of these claims, by check.
    pub fn new(seed: u64, mut claims: Vec<Claim>, runs: Vec<Trial>) -> Self {
        claims.sort_by_key(|claim| claim.check);
        let any = |verdict| claims.iter().any(|claim| claim.verdict == verdict);
        let verdict = match (any(Verdict::Fails), any(Verdict::Void)) {
            (true, _) => Verdict::Fails,
            (false, true) => Verdict::Void,
            (false, false) => Verdict::Holds,
        };
        Self {
            format: "muster-verification",
            version: 1,
            muster_version: env!("CARGO_PKG_VERSION"),
            seed,
            verdict,
            claims,
            runs,
        }
    }

    /// With what the program ends: 0 if every claim holds, 99 if one does not, 97 if one could not be judged.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Holds => 0,
            Verdict::Fails => 99,
            Verdict::Void => 97,
        }
    }

    /// The verdict, in a line.
    pub fn render_verdict(&self, width: usize, colour: bool) -> String {
        let mut page = Page::new(width.clamp(80, 100), colour);
        self.head(&mut page);
        page.into_text()
    }

    /// Verdict, claims by check, and what the machine was like.
    ///
    /// * `width`: columns to keep within: 80 to 100; anything else is taken as the nearer of the two
    pub fn render(&self, width: usize, colour: bool) -> String {
        let mut page = Page::new(width.clamp(80, 100), colour);
        self.head(&mut page);
        for check in Check::ALL {
            let claims: Vec<_> = self.claims.iter().filter(|claim| claim.check == check).collect();
            if claims.is_empty() {
                continue;
            }
            page.heading(&format!("{}  {}", check as usize + 1, check.claim()));
            page.wrapped("   ", check.how(), Look::Dim);
            for claim in claims {
                row(&mut page, claim);
            }
        }
        self.machine(&mut page);
        page.into_text()
    }

    fn head(&self, page: &mut Page) {
        let (look, word) = look_of(self.verdict);
        let count = |verdict| self.claims.iter().filter(|claim| claim.verdict == verdict).count();
        let total = self.claims.len();
        let text = match self.verdict {
            Verdict::Holds => format!("all {total} claims hold on this machine"),
            Verdict::Fails => format!("{} of {total} claims do not hold", count(Verdict::Fails)),
            Verdict::Void => {
                format!("{} of {total} claims cannot be judged, the others hold", count(Verdict::Void))
            }
        };
        let word = page.paint(look, word);
        page.line(&format!("{word}  {text}"));
        let mut said: Vec<&str> = Vec::new();
        if self.verdict == Verdict::Holds {
            return;
        }
        for reason in self.runs.iter().flat_map(|run| &run.void) {
            if !said.contains(&reason.as_str()) {
                said.push(reason);
                page.wrapped("      ", reason, Look::Warning);
            }
        }
    }

    fn machine(&self, page: &mut Page) {
        page.heading("Runs                     length   messages   noise floor p50        p99");
        for run in &self.runs {
            let noise = |nanos: Option<u64>| {
                nanos.map_or("–".to_owned(), |n| show_duration(Duration::from_nanos(n)))
            };
            page.line(&format!(
                "   {} {} {} {} {}{}",
                left(&run.name, 18),
                right(&show_duration(Duration::from_nanos(run.duration_ns)), 9),
                right(&show_count(run.messages), 10),
                right(&noise(run.noise_p50_ns), 17),
                right(&noise(run.noise_p99_ns), 10),
                if run.void.is_empty() { "" } else { "  void" },
            ));
        }
        let text = "Limits of times are above the noise floor of their run: what the machine itself takes away, \
                    measured in the same process.";
        page.wrapped("   ", text, Look::Dim);
    }
}

fn look_of(verdict: Verdict) -> (Look, &'static str) {
    match verdict {
        Verdict::Holds => (Look::Good, "HOLDS"),
        Verdict::Fails => (Look::Bad, "FAILS"),
        Verdict::Void => (Look::Warning, "VOID"),
    }
}

fn row(page: &mut Page, claim: &Claim) {
    let (look, _) = look_of(claim.verdict);
    let mark = match claim.verdict {
        Verdict::Holds => "✓",
        Verdict::Fails => "✗",
        Verdict::Void => "?",
    };
    let relation = match claim.relation {
        Relation::AtMost => "≤",
        Relation::AtLeast => "≥",
        Relation::Equals => "=",
    };
    let width = page.width() - 31;
    let mark = page.paint(look, mark);
    let figures = format!(
        "{} {relation} {}",
        right(&show(claim.measured, claim.unit), 12),
        left(&show(claim.limit, claim.unit), 10)
    );
    if columns(&claim.what) > width {
        page.wrapped(&format!("   {mark} "), &claim.what, Look::Plain);
        page.line(&format!("     {} {figures}", left("", width)));
    } else {
        page.line(&format!("   {mark} {} {figures}", left(&claim.what, width)));
    }
    if let Some(note) = &claim.note {
        page.wrapped("       ", note, Look::Dim);
    }
}

fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => {
            let duration = show_duration(Duration::from_secs_f64(value.abs().min(1e9)));
            if value < 0.0 { format!("−{duration}") } else { duration }
        }
        Unit::Share => {
            let percent = value * 100.0;
            let digits = if percent == 0.0 || percent >= 10.0 { 0 } else { 2 };
            format!("{percent:.digits$} %")
        }
        Unit::Count if value.fract() == 0.0 && (0.0..1e15).contains(&value) => show_count(value as u64),
        Unit::Count => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Vec<Claim> {
        let at_most = |check, what: &str, unit, measured, limit| {
            Claim::new(check, what, unit, measured, (Relation::AtMost, limit))
        };
        vec![
            Claim::new(
                Check::Books,
                "lost: acknowledged, and not with the emulator",
                Unit::Count,
                0.0,
                (Relation::Equals, 0.0),
            )
            .noting("30,999 messages acknowledged in 5 runs"),
            at_most(
                Check::Paired,
                "MQTT: median of what is not the service's",
                Unit::Seconds,
                62.4e-6,
                142e-6,
            ),
            Claim::new(Check::Paired, "MQTT: the least", Unit::Seconds, -3e-6, (Relation::AtLeast, 0.0)),
            at_most(
                Check::Freeze,
                "answers that took 250 ms or longer are off by",
                Unit::Share,
                0.0086,
                0.05,
            )
            .noting("347 did, 350 had to"),
            at_most(
                Check::Schedule,
                "random arrivals: distance from exponential gaps × √n",
                Unit::Count,
                1.7,
                1.63,
            )
            .unless(true),
        ]
    }

    fn runs() -> Vec<Trial> {
        let trial = |name: &str, void: &[&str]| Trial {
            name: name.to_owned(),
            duration_ns: 13_002_000_000,
            messages: 13_724,
            noise_p50_ns: Some(42_000),
            noise_p99_ns: None,
            void: void.iter().map(|reason| (*reason).to_owned()).collect(),
        };
        vec![trial("mqtt", &["This machine took the time away."]), trial("freeze", &[])]
    }

    #[test]
    fn a_verification_reads_well_on_a_narrow_terminal() {
        let verification = Verification::new(7, claims(), runs());
        assert_eq!((verification.verdict, verification.exit_code()), (Verdict::Fails, 99));
        let text = verification.render(80, false);
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_fails_in_a_void_run_alone_cannot_be_judged() {
        let mut claims = claims();
        claims.retain(|claim| claim.verdict != Verdict::Fails);
        let verification = Verification::new(7, claims.clone(), runs());
        assert_eq!((verification.verdict, verification.exit_code()), (Verdict::Void, 97));
        assert!(verification.render_verdict(80, false).contains("took the time away"));
        claims.retain(|claim| claim.verdict == Verdict::Holds);
        let verification = Verification::new(7, claims, runs());
        assert_eq!((verification.verdict, verification.exit_code()), (Verdict::Holds, 0));
        assert!(
            !verification.render_verdict(80, false).contains("took the time away"),
            "it holds all the same"
        );
        assert!(verification.render_verdict(80, true).contains('\x1b'));
    }
}
