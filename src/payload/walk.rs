//! A random walk that knows where it is at any step without having walked there.

use crate::rng;

/// A random walk between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Walk {
    /// Where it is at the first message.
    pub(super) start: f64,
    /// Standard deviation of what it moves by from one message to the next.
    pub(super) step: f64,
    /// Lower bound.
    pub(super) low: f64,
    /// Upper bound, at least `low`.
    pub(super) high: f64,
}

impl Walk {
    /// Where the walk of `key` is after `moves` moves; between `low` and `high`.
    ///
    /// Takes two draws for each binary digit of `moves`.
    pub(super) fn at(&self, key: u64, moves: u64) -> f64 {
        reflected(self.start + self.step * position(key, moves), self.low, self.high)
    }
}

/// Position of an unbounded walk with moves of mean 0 and standard deviation 1, after `moves` of them.
///
/// This is Lévy's construction of Brownian motion, at whole numbers. The positions at powers of two are sums of independent
/// draws of the variance of the way between them; the position in the middle of two known ones is their mean and a draw of a
/// quarter of that variance. Each point has its own draw, named by the point, so the walk is the same in whatever order it
/// is asked for, and points that are close share all but the last of their draws.
fn position(key: u64, moves: u64) -> f64 {
    if moves == 0 {
        return 0.0;
    }
    let top = moves.ilog2();
    // From 0 to 1, then on from each power of two to the next.
    let mut left = normal(key, 1);
    for level in 0..top {
        left += ((1u64 << level) as f64).sqrt() * normal(key, 1 << (level + 1));
    }
    let mut at = 1u64 << top;
    if at == moves {
        return left;
    }
    // 2^64 has no number of its own; 0 is free, for the walk starts there without a draw.
    let beyond = at.checked_mul(2).unwrap_or(0);
    let mut right = left + (at as f64).sqrt() * normal(key, beyond);
    let mut length = at;
    loop {
        let half = length / 2;
        let middle = at + half;
        let height = (left + right) / 2.0 + (length as f64).sqrt() / 2.0 * normal(key, middle);
        if moves == middle {
            return height;
        }
        if moves < middle {
            right = height;
        } else {
            (at, left) = (middle, height);
        }
        length = half;
    }
}

/// The draw of one point: mean 0, standard deviation 1, nearly normal.
///
/// The number of ones among 64 random bits is binomial with variance 16. A fraction from other digits of the same draw
/// fills the gaps between whole numbers, and adds a twelfth.
fn normal(key: u64, point: u64) -> f64 {
    let bits = rng::scattered(key, point);
    let fraction = (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1u64 << 53) as f64;
    (f64::from(bits.count_ones()) - 32.5 + fraction) * SCALE
}

/// 1 / √(16 + 1/12).
const SCALE: f64 = 0.249_351_490_477_014_83;

/// `value` thrown back at the bounds as often as it takes.
fn reflected(value: f64, low: f64, high: f64) -> f64 {
    let width = high - low;
    if width <= 0.0 {
        return low;
    }
    let way = (value - low).rem_euclid(2.0 * width);
    let inside = if way > width { 2.0 * width - way } else { way };
    (low + inside).clamp(low, high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FREE: Walk = Walk { start: 0.0, step: 1.0, low: -1e9, high: 1e9 };

    #[test]
    fn moves_have_the_deviation_that_was_asked_for_and_do_not_depend_on_each_other() {
        let walk = Walk { step: 0.25, ..FREE };
        let places: Vec<f64> = (0..100_000).map(|moves| walk.at(7, moves)).collect();
        let moves: Vec<f64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let count = moves.len() as f64;
        let mean = moves.iter().sum::<f64>() / count;
        let variance = moves.iter().map(|by| by * by).sum::<f64>() / count;
        assert!(mean.abs() < 0.005, "mean {mean}");
        assert!((variance.sqrt() - 0.25).abs() < 0.003, "deviation {}", variance.sqrt());
        for lag in 1..=8 {
            let products = moves.iter().zip(&moves[lag..]).map(|(a, b)| a * b).sum::<f64>();
            let correlation = products / count / variance;
            assert!(correlation.abs() < 0.015, "lag {lag}: {correlation}");
        }
    }

    #[test]
    fn the_way_over_many_moves_grows_with_their_square_root() {
        for moves in [1u64, 2, 3, 100, 1_000, 65_536, 100_000] {
            let devices = 4_000;
            let squares: f64 = (0..devices).map(|key| FREE.at(key, moves).powi(2)).sum();
            let ratio = squares / devices as f64 / moves as f64;
            assert!((ratio - 1.0).abs() < 0.1, "{moves} moves: {ratio}");
        }
    }

    #[test]
    fn nothing_happens_at_powers_of_two() {
        for power in 0..24 {
            let at = 1u64 << power;
            let devices = 2_000;
            let (mut before, mut after) = (0.0, 0.0);
            for key in 0..devices {
                before += (FREE.at(key, at) - FREE.at(key, at - 1)).powi(2);
                after += (FREE.at(key, at + 1) - FREE.at(key, at)).powi(2);
            }
            for mean in [before / devices as f64, after / devices as f64] {
                assert!((mean - 1.0).abs() < 0.15, "moves around {at} have variance {mean}");
            }
        }
    }

    #[test]
    fn draws_are_nearly_normal() {
        let count = 200_000;
        let mut within = [0u32; 3];
        let (mut sum, mut squares) = (0.0, 0.0);
        for point in 0..count {
            let draw = normal(3, point);
            sum += draw;
            squares += draw * draw;
            for (slot, limit) in within.iter_mut().zip([1.0, 2.0, 3.0]) {
                *slot += u32::from(draw.abs() < limit);
            }
        }
        let count = count as f64;
        assert!((sum / count).abs() < 0.01 && (squares / count - 1.0).abs() < 0.02);
        for (share, expected) in within.map(f64::from).into_iter().zip([0.6827, 0.9545, 0.9973]) {
            assert!((share / count - expected).abs() < 0.005, "{} instead of {expected}", share / count);
        }
    }

    proptest! {
        #[test]
        fn a_walk_stays_within_its_bounds_for_ever(key: u64, moves: u64, start in -1e15f64..1e15, step in 0f64..1e15, low in -1e15f64..1e15, width in 0f64..1e15) {
            let walk = Walk { start, step, low, high: low + width };
            let place = walk.at(key, moves);
            prop_assert!((walk.low..=walk.high).contains(&place), "{place}");
            prop_assert_eq!(place.to_bits(), walk.at(key, moves).to_bits());
        }
    }
}
