//! The points of a series.

use hdrhistogram::Histogram;

use super::Point;
use crate::compare::Median;
use crate::distribution::ns_to_us;
use crate::run::Interval;

/// Percentiles end at 99.99999 %.
const MAX_NINES: f64 = 7.0;
/// Points per decade of 1/(1-p): about one per pixel.
const POINTS_PER_NINE: f64 = 100.0;
/// Points over time. Closer intervals are averaged.
const MAX_POINTS_OVER_TIME: usize = 240;
/// Series with at most this many points have a marker at each.
const MARK_ALL_UP_TO: usize = 12;

/// Latency in microseconds by the logarithm of 1/(1-p), up to the last single echo.
pub(super) fn percentiles(histogram: &Histogram<u64>) -> Vec<Point> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let end = (histogram.len() as f64).log10().clamp(1.0, MAX_NINES);
    let steps = (end * POINTS_PER_NINE) as u32;
    let nines = (0..=steps).map(|step| f64::from(step) / POINTS_PER_NINE).chain([end]);
    let us = |nines: f64| ns_to_us(histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)));
    let mut curve: Vec<Point> = nines.map(|nines| (nines, us(nines))).collect();
    if end < MAX_NINES {
        curve.push((end, ns_to_us(histogram.max())));
    }
    curve
}

/// Echoes per second by the middle of each interval, in seconds.
pub(super) fn rates(intervals: &[Interval]) -> Vec<Point> {
    let per_point = intervals.len().div_ceil(MAX_POINTS_OVER_TIME).max(1);
    intervals
        .chunks(per_point)
        .map(|part| {
            let seconds: f64 = part.iter().map(|part| part.seconds).sum();
            let echoes: f64 = part.iter().map(|part| part.rate * part.seconds).sum();
            let rate = if seconds > 0.0 { echoes / seconds } else { 0.0 };
            (part[0].start_s + seconds / 2.0, rate)
        })
        .collect()
}

/// The median of several curves, point by point, as far as the shortest.
pub(super) fn median_curve(mut curves: Vec<Vec<Point>>) -> Vec<Point> {
    if curves.len() == 1 {
        return curves.remove(0);
    }
    let length = curves.iter().map(Vec::len).min().unwrap_or(0);
    let median = |index: usize, of: fn(&Point) -> f64| {
        let values: Vec<f64> = curves.iter().map(|curve| of(&curve[index])).collect();
        Some(Median::of(&values).ok()?.value)
    };
    let point = |index| Some((median(index, |point| point.0)?, median(index, |point| point.1)?));
    (0..length).filter_map(point).collect()
}

/// Where a series has markers: at the ticks, so that series can be compared there.
pub(super) fn marked(curve: &[Point], ticks: &[(f64, String)]) -> Vec<Point> {
    if curve.len() <= MARK_ALL_UP_TO {
        return curve.to_vec();
    }
    ticks.iter().filter_map(|&(tick, _)| Some((tick, height(curve, tick)?))).collect()
}

/// The interpolated value at `x`; `None` outside of the series.
fn height(curve: &[Point], x: f64) -> Option<f64> {
    let piece = curve.windows(2).find(|ends| ends[0].0 <= x && x <= ends[1].0)?;
    let [(left, low), (right, high)] = [piece[0], piece[1]];
    let share = if right > left { (x - left) / (right - left) } else { 0.0 };
    Some(low + share * (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::histogram;

    #[test]
    fn percentiles_run_from_the_minimum_to_the_maximum() {
        let mut times = histogram();
        (1..=1_000).for_each(|us| times.record(us * 1_000).unwrap());
        let curve = percentiles(&times);
        assert!(curve[0].1 < 1.01 && curve[0].0 == 0.0, "{:?}", curve[0]);
        assert_eq!(*curve.last().unwrap(), (3.0, ns_to_us(times.max())));
        let p90 = height(&curve, 1.0).unwrap();
        assert!((p90 / 900.0 - 1.0).abs() < 2e-3, "{p90}");
        assert!(percentiles(&histogram()).is_empty());
    }

    #[test]
    fn the_median_of_curves_ends_with_the_shortest() {
        let curves = [[1.0, 5.0], [3.0, 6.0], [2.0, 7.0]];
        let mut curves = curves.map(|ys| vec![(0.0, ys[0]), (1.0, ys[1])]).to_vec();
        curves[1].pop();
        assert_eq!(median_curve(curves), [(0.0, 2.0)]);
        assert_eq!(median_curve(Vec::new()), []);
    }

    #[test]
    fn many_intervals_are_averaged() {
        let interval = |index: u32| Interval {
            start_s: f64::from(index),
            seconds: 1.0,
            echoes: 0,
            rate: f64::from(index % 2) * 100.0,
            p50_us: None,
            p99_us: None,
            max_us: None,
        };
        let curve = rates(&(0..480).map(interval).collect::<Vec<_>>());
        assert_eq!((curve.len(), curve[0], curve[239]), (240, (1.0, 50.0), (479.0, 50.0)));
        assert_eq!(rates(&[interval(1)]), [(1.5, 100.0)]);
    }
}
