//! Who is measured when, and what the repetitions say together.

use echo_client::report::median;

/// The order of a repetition among `count`. Each starts with the next one, so that a machine that grows
/// slower, or whoever comes first, favours none of them.
pub(super) fn order(repetition: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (repetition + turn) % count)
}

/// How many times the other's figure ours is: the median over the repetitions, each compared within
/// itself, for what disturbs a repetition disturbs both. `None` where nothing can be compared.
pub(super) fn median_ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let pairs = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(((*ours)?, (*theirs)?)));
    median(pairs.filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_each_place_once_in_as_many_repetitions_as_there_are() {
        let orders: Vec<Vec<_>> = (0..4).map(|repetition| order(repetition, 3).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        assert_eq!(order(5, 1).collect::<Vec<_>>(), [0]);
        assert_eq!(order(5, 0).count(), 0);
    }

    #[test]
    fn ratios_are_taken_within_a_repetition() {
        // The second repetition found the machine ten times slower. The ratio of the medians would be 1.
        let ours = [Some(20.0), Some(2.0), Some(10.0)];
        let theirs = [Some(10.0), Some(1.0), Some(40.0)];
        assert_eq!(median_ratio(&ours, &theirs), Some(2.0));
    }

    #[test]
    fn what_was_not_measured_is_not_compared() {
        assert_eq!(median_ratio(&[None, Some(3.0)], &[Some(1.0), Some(2.0)]), Some(1.5));
        assert_eq!(median_ratio(&[Some(1.0)], &[Some(0.0)]), None);
        assert_eq!(median_ratio(&[None], &[None]), None);
    }
}
