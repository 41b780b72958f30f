//! The words of `[thresholds]`, `"send[sensors].response.p99" = "< 250ms"`, and of `[gate]`, `"send.response.p99" = "+5 %"`.
//!
//! ```text
//! metric    = milestone [population] ".response." statistic
//!           | step      [population] "." view "." statistic
//!           | step      [population] "." ending "." ("share" | "count" | "rate")
//!           | ending    [population] "." ("share" | "count")
//! population = "[" name "]"
//! statistic = "min" | "max" | "mean" | "p" number
//! limit     = ("<" | "<=" | "=" | ">=" | ">") value
//! change    = "+" share
//! ```

use crate::document::diagnostics::quote;
use crate::document::node::Text;
use crate::document::values::{Refusal, listed, nearest, unit_refusal};
use crate::plan::threshold::{Comparison, Ending, MAX_LATENCY, Metric, Statistic};
use crate::step::{Milestone, StepKind, View};
use crate::units::{Rate, Share, parse_duration, spell_duration};

const ENDINGS: [(&str, Ending); 6] = [
    ("due", Ending::Due),
    ("acknowledged", Ending::Succeeded),
    ("failed", Ending::Unsuccessful),
    ("throttled", Ending::Throttled),
    ("unknown", Ending::Unknown),
    ("not_sent", Ending::NotSent),
];

/// Reads a metric; returns with it the name of the population that it is about, if it names one.
pub(super) fn metric(text: &str) -> Result<(Metric, Option<&str>), Refusal> {
    let (subject, population, rest) = split(text).ok_or_else(|| unknown(text))?;
    if let Some(milestone) = Milestone::from_name(subject) {
        let Some(name) = rest.strip_prefix("response.") else { return Err(unknown(text)) };
        return Ok((Metric::Milestone(milestone, statistic(name, text)?), population));
    }
    if let Some(kind) = StepKind::from_name(subject) {
        let (part, rest) = rest.split_once('.').ok_or_else(|| unknown(text))?;
        if let Some(view) = View::from_name(part) {
            return Ok((Metric::Latency(kind, view, statistic(rest, text)?), population));
        }
        let ending = ending(part).ok_or_else(|| unknown(text))?;
        let metric = match rest {
            "share" => Metric::Share(Some(kind), ending),
            "count" => Metric::Count(Some(kind), ending),
            "rate" => Metric::Rate(kind, ending),
            _ => return Err(unknown(text)),
        };
        return Ok((metric, population));
    }
    let ending = ending(subject).ok_or_else(|| unknown(text))?;
    let metric = match rest {
        "share" => Metric::Share(None, ending),
        "count" => Metric::Count(None, ending),
        "rate" => {
            return Err(Refusal::new(
                format!("{} mixes steps of all kinds in one rate", quote(text)),
                format!("name the step: `send.{subject}.rate`"),
            ));
        }
        _ => return Err(unknown(text)),
    };
    Ok((metric, population))
}

/// Reads a limit of `metric`: seconds for a latency, a fraction for a share, else a number.
pub(super) fn limit(text: &Text, metric: Metric) -> Result<(Comparison, f64), Refusal> {
    let example = match metric {
        Metric::Latency(..) | Metric::Milestone(..) => "\"< 250ms\"",
        Metric::Share(..) => "\"= 0 %\" or \"< 0.5 %\"",
        Metric::Count(..) => "\"= 0\" or \"<= 10\"",
        Metric::Rate(..) => "\"> 100/s\"",
    };
    // The longer symbols first: `<=` begins with `<`.
    let symbols =
        [Comparison::AtMost, Comparison::AtLeast, Comparison::Below, Comparison::Above, Comparison::Equal];
    let trimmed = text.value.trim();
    let found = symbols
        .into_iter()
        .find_map(|comparison| Some((comparison, trimmed.strip_prefix(comparison.symbol())?.trim())));
    let Some((comparison, value)) = found else {
        return Err(Refusal::new(
            format!("{} does not begin with a comparison", quote(text.shown())),
            format!("use <, <=, =, >= or >: for example {example}"),
        ));
    };
    let part = Text { value: value.to_owned(), written: text.written.clone() };
    let in_example = |refusal: Refusal| Refusal::new(refusal.message, format!("for example {example}"));
    let unit = |error| in_example(unit_refusal(error, &part));
    let limit = match metric {
        Metric::Latency(..) | Metric::Milestone(..) => {
            let limit = parse_duration(value).map_err(unit)?;
            if limit > MAX_LATENCY {
                return Err(Refusal::new(
                    format!("{} is longer than any step may take", quote(text.shown())),
                    format!("use at most {}", spell_duration(MAX_LATENCY)),
                ));
            }
            limit.as_secs_f64()
        }
        Metric::Share(..) => value.parse::<Share>().map_err(unit)?.fraction(),
        Metric::Rate(..) => value.parse::<Rate>().map_err(unit)?.per_second(),
        Metric::Count(..) => {
            let digits = value.replace('_', "");
            let count = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok());
            match count.flatten() {
                // Counts above are not exact as a double, and not reachable either.
                Some(count) if count <= 1 << 53 => count as f64,
                _ => {
                    return Err(Refusal::new(
                        format!("{} does not compare with a whole number", quote(text.shown())),
                        format!("for example {example}"),
                    ));
                }
            }
        }
    };
    Ok((comparison, limit))
}

/// Why a metric has no place in `[gate]`, if it has none: only what users feel and what the service needs is compared.
pub(super) fn not_gated(text: &str, metric: Metric) -> Option<Refusal> {
    match metric {
        Metric::Milestone(..) | Metric::Latency(_, View::Response | View::Service, _) => None,
        _ => Some(Refusal::new(
            format!(
                "{} is not compared with a baseline: `[gate]` is about response and service times",
                quote(text)
            ),
            "write for example \"send.response.p99\" = \"+5 %\"; what holds for each run belongs into [thresholds]",
        )),
    }
}

/// Reads the change that `[gate]` allows: a fraction.
pub(super) fn allowed(text: &Text) -> Result<f64, Refusal> {
    const EXAMPLE: &str = "use \"+0 %\" to \"+100 %\"; \"+5 %\" is at most 5 % slower than the baseline";
    let Some(value) = text.value.trim().strip_prefix('+') else {
        let message = format!("{} does not begin with `+`", quote(text.shown()));
        return Err(Refusal::new(message, EXAMPLE));
    };
    let part = Text { value: value.trim().to_owned(), written: text.written.clone() };
    let share = part.value.parse::<Share>();
    share.map(Share::fraction).map_err(|error| Refusal::new(unit_refusal(error, &part).message, EXAMPLE))
}

/// Subject, population and the rest after the dot.
fn split(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let at = text.find(['[', '.'])?;
    let (subject, tail) = text.split_at(at);
    if let Some(tail) = tail.strip_prefix('[') {
        let (population, rest) = tail.split_once(']')?;
        return Some((subject, Some(population), rest.strip_prefix('.')?));
    }
    Some((subject, None, &tail[1..]))
}

fn ending(name: &str) -> Option<Ending> {
    ENDINGS.iter().find(|(known, _)| *known == name).map(|(_, ending)| *ending)
}

fn statistic(name: &str, metric: &str) -> Result<Statistic, Refusal> {
    match name {
        "min" => return Ok(Statistic::Min),
        "max" => return Ok(Statistic::Max),
        "mean" => return Ok(Statistic::Mean),
        _ => {}
    }
    let digits = name.strip_prefix('p').ok_or_else(|| unknown(metric))?;
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let legal = (1..=2).contains(&whole.len())
        && decimals.len() <= 4
        && plain(whole)
        && plain(decimals)
        && !digits.ends_with('.');
    // As a decimal fraction, because 99.9 / 100 is not the double nearest to 0.999.
    let fraction =
        format!("0.{whole:0>2}{decimals}").parse::<f64>().ok().filter(|value| legal && *value > 0.0);
    fraction.map(Statistic::Quantile).ok_or_else(|| {
        Refusal::new(
            format!("{} does not end in a statistic", quote(metric)),
            "use min, mean, max or a quantile above p0 and below p100, such as p50, p99 or p99.9",
        )
    })
}

fn unknown(text: &str) -> Refusal {
    let message = format!("{} is not a metric", quote(text));
    let plain = match split(text) {
        Some((subject, Some(_), rest)) => format!("{subject}.{rest}"),
        _ => text.to_owned(),
    };
    let spellings = spellings();
    if let Some(near) = nearest(&plain, spellings.iter().map(String::as_str)) {
        return Refusal::new(message, format!("did you mean `{near}`?"));
    }
    let names = |all: Vec<&'static str>| listed(&all, "or");
    let kinds = names(StepKind::ALL.iter().map(|kind| kind.name()).collect());
    let milestones = names(Milestone::ALL.iter().map(|milestone| milestone.name()).collect());
    let endings = names(ENDINGS.iter().map(|(name, _)| *name).collect());
    Refusal::new(
        message,
        format!(
            "write for example `send.response.p99`, `time_to_assigned.response.p99` or `failed.share`; \
             steps: {kinds}; milestones: {milestones}; endings: {endings}"
        ),
    )
}

/// Metrics as people mostly write them, to guess what was meant.
fn spellings() -> Vec<String> {
    const STATISTICS: [&str; 8] = ["p50", "p90", "p95", "p99", "p99.9", "min", "mean", "max"];
    let mut all = Vec::new();
    for milestone in Milestone::ALL {
        all.extend(STATISTICS.map(|statistic| format!("{}.response.{statistic}", milestone.name())));
    }
    for (ending, _) in ENDINGS {
        all.extend(["share", "count"].map(|measure| format!("{ending}.{measure}")));
    }
    for kind in StepKind::ALL {
        for view in View::ALL {
            all.extend(STATISTICS.map(|statistic| format!("{}.{}.{statistic}", kind.name(), view.name())));
        }
        for (ending, _) in ENDINGS {
            all.extend(
                ["share", "count", "rate"].map(|measure| format!("{}.{ending}.{measure}", kind.name())),
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Text {
        Text { value: value.to_owned(), written: None }
    }

    #[test]
    fn every_form_of_a_metric_is_read() {
        use Ending::{Due, NotSent, Succeeded, Throttled, Unsuccessful};
        let p99 = Statistic::Quantile(0.99);
        for (text, expected) in [
            ("time_to_assigned.response.p99", Metric::Milestone(Milestone::TimeToAssigned, p99)),
            ("send.response.p99", Metric::Latency(StepKind::Send, View::Response, p99)),
            ("send.service.mean", Metric::Latency(StepKind::Send, View::Service, Statistic::Mean)),
            (
                "register.lateness.p50",
                Metric::Latency(StepKind::Register, View::Lateness, Statistic::Quantile(0.5)),
            ),
            (
                "connect.response.p99.9",
                Metric::Latency(StepKind::Connect, View::Response, Statistic::Quantile(0.999)),
            ),
            ("send.waiting.p5", Metric::Latency(StepKind::Send, View::Waiting, Statistic::Quantile(0.05))),
            ("failed.share", Metric::Share(None, Unsuccessful)),
            ("send.failed.share", Metric::Share(Some(StepKind::Send), Unsuccessful)),
            ("throttled.count", Metric::Count(None, Throttled)),
            ("send.not_sent.count", Metric::Count(Some(StepKind::Send), NotSent)),
            ("send.acknowledged.rate", Metric::Rate(StepKind::Send, Succeeded)),
            ("send.due.rate", Metric::Rate(StepKind::Send, Due)),
        ] {
            assert_eq!(metric(text), Ok((expected, None)), "{text}");
            let at = text.find('.').unwrap();
            let with_population = format!("{}[sensors]{}", &text[..at], &text[at..]);
            assert_eq!(metric(&with_population), Ok((expected, Some("sensors"))), "{with_population}");
        }
    }

    #[test]
    fn changes_are_fractions_of_what_users_feel() {
        for (value, expected) in [("+5 %", 0.05), (" + 12.5% ", 0.125), ("+0 %", 0.0), ("+100 %", 1.0)] {
            assert_eq!(allowed(&text(value)), Ok(expected), "{value}");
        }
        for value in ["5 %", "-5 %", "+5", "+5ms", "+", "", "+101 %", "+-5 %", "++5 %", "+nan %", "< 5 %"] {
            let told = allowed(&text(value)).expect_err(value);
            assert!(told.help.is_some_and(|help| help.contains("\"+5 %\"")), "{value}");
        }
        let secret = Text { value: "hunter2".to_owned(), written: Some("${env:SECRET}".to_owned()) };
        assert!(!format!("{:?}", allowed(&secret)).contains("hunter2"));
        for (name, gated) in [
            ("send.response.p99", true),
            ("connect.service.mean", true),
            ("time_to_assigned.response.max", true),
            ("send.waiting.p99", false),
            ("send.lateness.p99", false),
            ("failed.share", false),
            ("throttled.count", false),
            ("send.acknowledged.rate", false),
        ] {
            assert_eq!(not_gated(name, metric(name).unwrap().0).is_none(), gated, "{name}");
        }
    }

    #[test]
    fn what_is_no_metric_is_refused_with_a_suggestion() {
        for (text, expected) in [
            ("send.respnse.p99", "did you mean `send.response.p99`"),
            ("failed.shar", "did you mean `failed.share`"),
            ("time_to_asigned[x].response.p99", "did you mean `time_to_assigned.response.p99`"),
            ("acknowledged.rate", "name the step: `send.acknowledged.rate`"),
            ("send.response.p100", "below p100"),
            ("send.response.p0", "above p0"),
            ("send.response.p99.", "such as p50"),
            ("latency", "steps: `register`, `connect`, `send`, `renew`, `twin_get`"),
            ("", "write for example"),
            ("[x].share", "did you mean"),
            ("send[x", "write for example"),
        ] {
            let refusal = metric(text).expect_err(text);
            let told = refusal.help.unwrap();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn limits_have_the_unit_of_their_metric() {
        let latency = metric("send.response.p99").unwrap().0;
        let share = metric("failed.share").unwrap().0;
        let count = metric("throttled.count").unwrap().0;
        let rate = metric("send.acknowledged.rate").unwrap().0;
        for (value, metric, expected) in [
            ("< 10s", latency, (Comparison::Below, 10.0)),
            ("<=250ms", latency, (Comparison::AtMost, 0.25)),
            ("= 0 %", share, (Comparison::Equal, 0.0)),
            ("< 0.5%", share, (Comparison::Below, 0.005)),
            ("= 0", count, (Comparison::Equal, 0.0)),
            (">= 1_000", count, (Comparison::AtLeast, 1_000.0)),
            ("> 100/s", rate, (Comparison::Above, 100.0)),
        ] {
            assert_eq!(limit(&text(value), metric), Ok(expected), "{value}");
        }
        for (value, metric) in [
            ("10s", latency),
            ("< 10", latency),
            ("< 10/s", latency),
            ("< 2h", latency),
            ("<", latency),
            ("== 0 %", share),
            ("< 5", share),
            ("< 101 %", share),
            ("< 1.5", count),
            ("< -1", count),
            ("<", count),
            ("< 99999999999999999999", count),
            ("> 100", rate),
            ("", rate),
        ] {
            assert!(limit(&text(value), metric).is_err(), "{value}");
        }
    }
}
