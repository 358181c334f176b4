//! The order of measurements, and ratios over repetitions.

use echo_client::compare::Median;

/// The order of `count` servers in a repetition. Each repetition starts with the next server, so that neither the
/// position nor a machine that slows down favours one of them.
pub(super) fn order(repetition: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (repetition + turn) % count)
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
    fn each_server_is_in_each_position_once() {
        let orders: Vec<Vec<_>> = (0..4).map(|repetition| order(repetition, 3).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
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
