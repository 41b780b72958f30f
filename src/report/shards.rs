//! What a merged result says of its shards.

use super::table::{Look, Page, columns, figure, left, nanos, right, safe};
use crate::result::file::{Estimate, Figure, Merged, OffsetBy, ShardFigure, Spread, SpreadFigure};
use crate::result::merge;

/// The merged figures with the smallest and the largest of a shard, and the shards that differ.
pub(super) fn table(page: &mut Page, merged: &Merged) {
    let width = if page.width() >= 96 { 11 } else { 10 };
    let label_width = page.width() - 6 * width;
    let heads: String =
        ["p50", "least", "most", "p99", "least", "most"].iter().map(|head| right(head, width)).collect();
    let title = page.paint(Look::Heading, &left("Over shards", label_width));
    let head = format!("{title}{}", page.paint(Look::Dim, &heads));
    page.line("");
    page.line(&head);
    for spread in &merged.spread {
        let cells: String =
            [&spread.p50, &spread.p99].into_iter().flat_map(cells).map(|cell| right(&cell, width)).collect();
        let label = format!("  {}", safe(&spread.kind).replace('_', " "));
        if columns(&label) < label_width {
            page.line(&format!("{}{cells}", left(&label, label_width)));
        } else {
            page.line(&label);
            page.line(&format!("{}{cells}", left("", label_width)));
        }
    }
    for text in different(merged) {
        page.wrapped("  ! ", &text, Look::Warning);
    }
    page.wrapped("  ", &began(merged), Look::Plain);
}

fn cells(figures: &SpreadFigure) -> [String; 3] {
    [figures.merged, figures.least, figures.most].map(figure)
}

/// A sentence for each figure in which a shard differs from all together.
pub(super) fn different(merged: &Merged) -> Vec<String> {
    let of =
        |spread: &Spread, name: &str, figures: &SpreadFigure, which: fn(&ShardFigure) -> Option<Estimate>| {
            let one = |index: &u32| {
                let shard = merged.shards.iter().find(|shard| shard.index == *index);
                let own = shard.and_then(|shard| shard.figures.iter().find(|own| own.kind == spread.kind));
                let value: Option<Figure> = own.and_then(which).map(|estimate| estimate.value);
                format!(
                    "shard {index} differs: {} {name} {}, of all {}; more than chance makes",
                    safe(&spread.kind).replace('_', " "),
                    figure(value),
                    figure(figures.merged)
                )
            };
            figures.differ.iter().map(one).collect::<Vec<_>>()
        };
    let each = merged.spread.iter().flat_map(|spread| {
        let mut texts = of(spread, "p50", &spread.p50, |figure| figure.p50);
        texts.extend(of(spread, "p99", &spread.p99, |figure| figure.p99));
        texts
    });
    each.collect()
}

/// How many shards there are, and how far apart they began.
pub(super) fn began(merged: &Merged) -> String {
    let there = merged.shards.len();
    let missing = match merged.missing.as_slice() {
        [] => String::new(),
        missing => format!(" ({} missing)", merge::shards(missing)),
    };
    let clock = match merged.offset_by {
        OffsetBy::MonotonicClock => "by the clock of the machine that they share",
        OffsetBy::WallClocks => "by their machines' wall clocks, which are as good as they were set",
    };
    let apart = match merged.offset_ns {
        0 => "at the same instant".to_owned(),
        apart => format!("within {} of each other", nanos(apart)),
    };
    format!("{there} of {} shards{missing}; they began {apart}, {clock}", merged.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Options, json, markdown, render};
    use crate::result::file::{ShardPart, Verdict};
    use crate::result::samples::{Story, result};

    fn merged() -> Merged {
        let nanos = |micros: u64| Figure::Nanos(micros * 1_000);
        let shard = |index, p99| ShardPart {
            index,
            verdict: Some(Verdict::Part),
            started: "2026-01-31T12:00:00Z".to_owned(),
            offset_ns: 0,
            duration_ns: 10_000_000_000,
            devices: 340,
            messages: 1_700,
            lateness_p99: None,
            figures: vec![ShardFigure {
                kind: "send".to_owned(),
                of: 1_700,
                p50: None,
                p99: Some(Estimate { value: nanos(p99), low: nanos(p99 - 100), high: nanos(p99 + 100) }),
            }],
        };
        Merged {
            count: 4,
            missing: vec![2],
            offset_ns: 1_500_000,
            offset_by: OffsetBy::WallClocks,
            shards: vec![shard(0, 4_800), shard(1, 9_000), shard(3, 4_900)],
            spread: Vec::new(),
        }
    }

    #[test]
    fn the_spread_over_shards_and_who_differs_is_in_every_report() {
        let mut result = result(Story::Healthy);
        result.set_merged(merged());
        for width in [80, 100] {
            let text = render(&result, &Options { width, colour: false, directory: None });
            assert!(text.lines().all(|line| columns(line) <= width), "{text}");
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for told in [
                "Over shards p50 least most p99 least most",
                "4.80 ms 9.00 ms",
                "! shard 1 differs: send p99 9.00 ms, of all",
                "3 of 4 shards (shard 2 missing); they began within 1.50 ms of each other, by their machines' wall clocks",
            ] {
                assert!(flat.contains(told), "`{told}` is missing:\n{text}");
            }
            assert!(!flat.contains("shard 0 differs") && !flat.contains("shard 3 differs"), "{text}");
        }
        let table = markdown::render(&result, &result.usual_percentiles());
        assert!(
            table.contains("| what | p50 | least | most | p99 | least | most |")
                && table.contains("shard 1 differs")
        );
        let figures = json::render(&result, &result.usual_percentiles());
        let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
        assert_eq!(figures["shards"]["missing"][0], 2);
    }
}
