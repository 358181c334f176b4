//! The order of measurements, and ratios over repetitions.

use echo_client::compare::Median;

/// The order of `count` servers in a repetition: a Williams design (E. J. Williams, 1949). In `count` repetitions,
/// or twice as many if `count` is odd, each server is equally often in each position, so that a machine that slows
/// down favours none of them, and equally often directly after each other one, so that none profits from what
/// another leaves behind.
pub(super) fn order(repetition: usize, count: usize) -> impl Iterator<Item = usize> {
    // 0, 1, -1, 2, -2, ...: between neighbours, each difference occurs once, or with its opposite if `count` is
    // odd. Then every second round is reversed.
    let is_reversed = count % 2 == 1 && repetition / count % 2 == 1;
    (0..count).map(move |turn| {
        let turn = if is_reversed { count - 1 - turn } else { turn };
        let offset = if turn % 2 == 1 { turn.div_ceil(2) } else { count - turn / 2 };
        (repetition + offset) % count
    })
}

/// The middle value, or the mean of the two middle ones; `None` without a value.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    Some(Median::of(&values.into_iter().collect::<Vec<_>>()).ok()?.value)
}

/// The ratio of our metric to theirs: the median of the ratios within each repetition, because a disturbance
/// affects both. `None` if nothing can be compared.
pub(super) fn median_ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let pairs = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(((*ours)?, (*theirs)?)));
    median(pairs.filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_predecessors_are_balanced() {
        for count in 2..9 {
            let rounds = 1 + count % 2;
            let (mut at, mut after) = (vec![vec![0; count]; count], vec![vec![0; count]; count]);
            for repetition in 0..rounds * count {
                let order: Vec<_> = order(repetition, count).collect();
                order.iter().enumerate().for_each(|(position, &server)| at[server][position] += 1);
                order.windows(2).for_each(|pair| after[pair[1]][pair[0]] += 1);
            }
            for server in 0..count {
                assert_eq!(at[server], vec![rounds; count], "positions of {server} of {count}");
                after[server][server] = rounds;
                assert_eq!(after[server], vec![rounds; count], "before {server} of {count}");
            }
        }
        assert_eq!(order(5, 1).collect::<Vec<_>>(), [0]);
        assert_eq!(order(5, 0).count(), 0);
    }

    #[test]
    fn ratios_are_taken_within_a_repetition() {
        // The machine was ten times slower in the second repetition. The ratio of the medians would be 1.
        let ours = [Some(20.0), Some(2.0), Some(10.0)];
        let theirs = [Some(10.0), Some(1.0), Some(40.0)];
        assert_eq!(median_ratio(&ours, &theirs), Some(2.0));
    }

    #[test]
    fn missing_values_are_not_compared() {
        assert_eq!(median_ratio(&[None, Some(3.0)], &[Some(1.0), Some(2.0)]), Some(1.5));
        assert_eq!(median_ratio(&[Some(1.0)], &[Some(0.0)]), None);
        assert_eq!(median_ratio(&[None], &[None]), None);
    }
}
