//! The range, ticks and labels of an axis.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Values that span more than this factor get a logarithmic axis.
const LOGARITHMIC: f64 = 20.0;
/// Up to this many decades a logarithmic axis has ticks at 1, 2 and 5, beyond that only at 1.
const FINE_DECADES: f64 = 3.0;
/// Approximate number of ticks on a linear axis.
const TICKS: f64 = 8.0;
const LOG_2: f64 = std::f64::consts::LOG10_2;

/// An axis. The built-in ones of plotters choose their own ticks. A position is the value, or its
/// decimal logarithm.
#[derive(Clone)]
pub(super) struct Axis {
    pub(super) title: String,
    /// Positions of the ticks.
    pub(super) ticks: Vec<f64>,
    from: f64,
    to: f64,
    logarithmic: bool,
    name: fn(f64) -> String,
}

impl Axis {
    /// Latency in microseconds.
    pub(super) fn latency(values: impl Iterator<Item = f64> + Clone) -> Self {
        Self::times("latency", values)
    }

    /// Time in microseconds.
    pub(super) fn times(title: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        // Zero has no logarithm. Histograms use it for values below their resolution.
        let least = values.filter(|&value| value > 0.0).fold(most, f64::min);
        if most > LOGARITHMIC * least {
            return Self::logarithmic(title, least, most, duration);
        }
        Self::linear(title, rounded_up(most), duration)
    }

    /// Any numbers.
    pub(super) fn numbers(title: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        let least = values.fold(most, f64::min);
        // For counts, zero is a value like any other.
        if least > 0.0 && most > LOGARITHMIC * least {
            return Self::logarithmic(title, least, most, number);
        }
        Self::linear(title, rounded_up(most), number)
    }

    /// Positive numbers, usually varied by a constant factor.
    pub(super) fn counts(title: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        Self::logarithmic(title, values.fold(most, f64::min), most, number)
    }

    /// Bytes per message, with ticks at powers of two.
    pub(super) fn sizes(title: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        let (from, to) = (values.fold(most, f64::min).log2().floor(), most.log2().ceil());
        let step = ((to - from) / TICKS).ceil().max(1.0);
        // From the largest down: it needs a tick more than the smallest.
        let ticks = (0..=((to - from) / step) as u32).map(|tick| to - f64::from(tick) * step);
        let ticks = ticks.map(|power| power * LOG_2).rev().collect();
        let (from, to) = (from * LOG_2, to * LOG_2);
        Self { title: title.to_owned(), ticks, from, to, logarithmic: true, name: bytes }
    }

    /// Echoes per second.
    pub(super) fn rate(values: impl Iterator<Item = f64>) -> Self {
        Self::linear("rate (echoes/s)", rounded_up(values.fold(0.0, f64::max)), number)
    }

    /// Seconds.
    pub(super) fn time(values: impl Iterator<Item = f64>) -> Self {
        Self::linear("time from the start (s)", values.fold(0.0, f64::max), |it| format!("{it}"))
    }

    /// Nines of the percentile: 3 for 99.9 %.
    pub(super) fn percentile(values: impl Iterator<Item = f64>) -> Self {
        let to = values.fold(1.0, f64::max);
        let median = 2_f64.log10();
        let nines = (1..=to as u32).map(f64::from);
        let ticks = [0.0, median].into_iter().chain(nines).collect();
        let (title, name) = ("percentile of the echoes".to_owned(), percent);
        Self { title, ticks, from: 0.0, to, logarithmic: false, name }
    }

    /// Starts at zero, so that differences appear in proportion.
    fn linear(title: &str, to: f64, name: fn(f64) -> String) -> Self {
        let to = if to > 0.0 { to } else { 1.0 };
        let step = step(to);
        // The small term keeps the last tick despite rounding errors.
        let ticks = (0..=(to / step + 1e-6) as u32).map(|tick| round(f64::from(tick) * step));
        let (title, ticks) = (title.to_owned(), ticks.collect());
        Self { title, ticks, from: 0.0, to, logarithmic: false, name }
    }

    fn logarithmic(title: &str, least: f64, most: f64, name: fn(f64) -> String) -> Self {
        let powers = least.log10().floor() as i32..=most.log10().ceil() as i32;
        let steps = |digits: &'static [f64]| {
            let values = |ten| digits.iter().map(move |digit| digit * 10_f64.powi(ten));
            powers.clone().flat_map(values)
        };
        let fine = || steps(&[1.0, 2.0, 5.0]);
        let from = fine().filter(|&it| it <= least).fold(f64::MIN, f64::max);
        let to = fine().filter(|&it| it >= most).fold(f64::MAX, f64::min);
        let few = (most / least).log10() > FINE_DECADES;
        let ticks = if few { steps(&[1.0]).collect::<Vec<_>>() } else { fine().collect() };
        let ticks = ticks.into_iter().filter(|it| (from..=to).contains(it)).map(f64::log10);
        let (from, to) = (from.log10(), to.log10());
        let (title, ticks) = (title.to_owned(), ticks.collect());
        Self { title, ticks, from, to, logarithmic: true, name }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic { value.log10() } else { value };
        place.clamp(self.from, self.to)
    }

    fn label(&self, place: f64) -> String {
        (self.name)(if self.logarithmic { round(10_f64.powf(place)) } else { place })
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, &place: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (place - self.from) / (self.to - self.from);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Plotters asks once for major ticks and once for minor grid lines.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, &place: &f64) -> String {
        self.label(place)
    }
}

/// Distance between ticks: 1, 2 or 5 times a power of ten.
fn step(to: f64) -> f64 {
    let least = to / TICKS;
    let ten = 10_f64.powf(least.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * ten >= least);
    digit.unwrap_or(10.0) * ten
}

/// Rounds up to the next tick, so that the axis ends with one.
fn rounded_up(to: f64) -> f64 {
    if to > 0.0 { (to / step(to)).ceil() * step(to) } else { to }
}

/// Removes rounding errors from the last digits.
fn round(value: f64) -> f64 {
    format!("{value:.9e}").parse().expect("it was a number before")
}

fn percent(nines: f64) -> String {
    // From 90 % on, one decimal per further nine.
    let decimals = (nines.ceil() as usize).saturating_sub(2);
    format!("{:.decimals$} %", 100.0 * (1.0 - 10_f64.powf(-nines)))
}

fn duration(us: f64) -> String {
    match us {
        0.0 => "0".to_owned(),
        us if us < 1.0 => format!("{} ns", round(us * 1e3)),
        us if us < 1e3 => format!("{us} µs"),
        us if us < 1e6 => format!("{} ms", round(us / 1e3)),
        us => format!("{} s", round(us / 1e6)),
    }
}

fn number(value: f64) -> String {
    match value {
        value if value < 1e3 => format!("{value}"),
        value if value < 1e6 => format!("{}k", round(value / 1e3)),
        value => format!("{}M", round(value / 1e6)),
    }
}

fn bytes(count: f64) -> String {
    match count {
        count if count < 1024.0 => format!("{} B", round(count)),
        count if count < 1_048_576.0 => format!("{} KiB", round(count / 1024.0)),
        count => format!("{} MiB", round(count / 1_048_576.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&place| axis.label(place)).collect()
    }

    #[test]
    fn a_narrow_range_is_linear_and_a_wide_one_logarithmic() {
        let narrow = Axis::latency([10.0, 90.0].into_iter());
        assert_eq!(labels(&narrow)[..3], ["0", "20 µs", "40 µs"]);
        let wide = Axis::latency([15.0, 900.0].into_iter());
        let expected = ["10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"];
        assert_eq!(labels(&wide), expected);
        let wider = Axis::latency([0.5, 3e6].into_iter());
        assert_eq!(labels(&wider)[..2], ["1 µs", "10 µs"]);
        assert_eq!(labels(&wider).last().unwrap(), "1 s");
        assert_eq!((wider.from, wider.to), (0.5_f64.log10(), 5e6_f64.log10()));
    }

    #[test]
    fn percentiles_have_a_tick_per_nine() {
        let axis = Axis::percentile([4.2].into_iter());
        assert_eq!(labels(&axis), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn every_value_has_a_position_on_the_axis() {
        for axis in [
            Axis::latency([0.0, 5.0, 1e9].into_iter()),
            Axis::latency([0.0].into_iter()),
            Axis::rate([0.0].into_iter()),
            Axis::time([0.5, 1e5].into_iter()),
        ] {
            assert!(axis.from < axis.to && axis.ticks.len() < 20, "{:?}", axis.ticks);
            for value in [0.0, 5.0, 1e9] {
                assert!((axis.from..=axis.to).contains(&axis.place(value)), "{}", axis.title);
            }
        }
    }

    #[test]
    fn rates_are_abbreviated() {
        assert_eq!([number(500.0), number(20_000.0), number(1.5e6)], ["500", "20k", "1.5M"]);
    }
}
