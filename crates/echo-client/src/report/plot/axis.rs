//! The range, ticks and labels of an axis.

use std::time::Duration;

use crate::units::{Unit, bytes, exact_time};

/// Values that span more than this factor get a logarithmic axis.
const LOGARITHMIC: f64 = 20.0;
/// Up to this factor a logarithmic axis has ticks at 1, 2 and 5, beyond that only at 1.
const FINE: f64 = 1e3;
/// Approximate number of ticks on a linear axis, and for sizes.
const TICKS: f64 = 8.0;

/// An axis. A position on it is the value, or its logarithm.
pub(super) struct Axis {
    pub(super) title: String,
    /// Values and their labels.
    pub(super) ticks: Vec<(f64, String)>,
    /// Positions of the two ends.
    ends: (f64, f64),
    position: fn(f64) -> f64,
}

type Label = fn(f64) -> String;

impl Axis {
    /// What was measured: from zero, so that differences appear in proportion, or logarithmic if
    /// the values are far apart.
    pub(super) fn measured(title: &str, unit: Unit, values: &[f64]) -> Self {
        let is_time = unit == Unit::Microseconds;
        // For a count zero is a value like any other. Times of zero are below the resolution.
        let (least, most) = range(values, |value| value > 0.0 || !is_time);
        let label = if is_time { duration } else { number };
        if least > 0.0 && most > LOGARITHMIC * least {
            return Self::logarithmic(title, (least, most), &decimal(most / least), label);
        }
        let step = step(most);
        Self::linear(title, (most / step).ceil().max(1.0) * step, label)
    }

    /// Positive numbers, usually varied by a constant factor.
    pub(super) fn counts(title: &str, values: &[f64]) -> Self {
        let (least, most) = range(values, |_| true);
        Self::logarithmic(title, (least, most), &decimal(most / least), number)
    }

    /// Bytes per message, with ticks at powers of two or four.
    pub(super) fn sizes(title: &str, values: &[f64]) -> Self {
        let (least, most) = range(values, |_| true);
        let power = if most > least * TICKS.exp2() { 4_f64 } else { 2.0 };
        let ticks: Vec<f64> = (0..=32).map(|exponent| power.powi(exponent)).collect();
        Self::logarithmic(title, (least, most), &ticks, bytes)
    }

    /// Seconds from the start.
    pub(super) fn time(values: &[f64]) -> Self {
        let (_, most) = range(values, |_| true);
        Self::linear("time from the start (s)", most, |seconds| format!("{seconds}"))
    }

    /// Nines of the percentile: 3 for 99.9 %.
    pub(super) fn percentile(values: &[f64]) -> Self {
        let to = range(values, |_| true).1.max(1.0);
        let ticks = [0.0, 2_f64.log10()].into_iter().chain((1..=to as u32).map(f64::from));
        Self {
            title: "percentile of the echoes".to_owned(),
            ticks: ticks.map(|nines| (nines, percent(nines))).collect(),
            ends: (0.0, to),
            position: |nines| nines,
        }
    }

    fn linear(title: &str, to: f64, label: Label) -> Self {
        let to = if to > 0.0 { to } else { 1.0 };
        let step = step(to);
        // The small term keeps the last tick despite rounding errors.
        let ticks = (0..=(to / step + 1e-6) as u32).map(|tick| round(f64::from(tick) * step));
        let ticks = ticks.map(|value| (value, label(value))).collect();
        Self { title: title.to_owned(), ticks, ends: (0.0, to), position: |value| value }
    }

    /// From the last tick below the values to the first above them.
    fn logarithmic(title: &str, (least, most): (f64, f64), ticks: &[f64], label: Label) -> Self {
        let from =
            ticks.iter().copied().filter(|&it| it <= least).fold(f64::MIN_POSITIVE, f64::max);
        let to = ticks.iter().copied().filter(|&it| it >= most).fold(f64::MAX, f64::min);
        let ticks = ticks.iter().filter(|it| (from..=to).contains(it));
        Self {
            title: title.to_owned(),
            ticks: ticks.map(|&value| (value, label(value))).collect(),
            ends: (from.ln(), to.ln()),
            position: f64::ln,
        }
    }

    /// Where a value is, as a share of the axis.
    pub(super) fn share(&self, value: f64) -> f64 {
        let (from, to) = self.ends;
        (((self.position)(value) - from) / (to - from)).clamp(0.0, 1.0)
    }
}

fn range(values: &[f64], counts: impl Fn(f64) -> bool) -> (f64, f64) {
    let most = values.iter().copied().fold(0.0, f64::max);
    (values.iter().copied().filter(|&value| counts(value)).fold(most, f64::min), most)
}

/// Distance between ticks: 1, 2 or 5 times a power of ten.
fn step(to: f64) -> f64 {
    let least = if to > 0.0 { to / TICKS } else { 1.0 };
    let ten = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * ten >= least).unwrap_or(10.0) * ten
}

/// Ticks for a logarithmic axis over this factor.
fn decimal(factor: f64) -> Vec<f64> {
    let digits: &[f64] = if factor > FINE { &[1.0] } else { &[1.0, 2.0, 5.0] };
    (-3..=16)
        .flat_map(|ten| digits.iter().map(move |digit| round(digit * 10_f64.powi(ten))))
        .collect()
}

/// Removes rounding errors from the last digits.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn percent(nines: f64) -> String {
    // From 90 % on, one decimal per further nine.
    let decimals = (nines.ceil() as usize).saturating_sub(2);
    format!("{:.decimals$} %", 100.0 * (1.0 - 10_f64.powf(-nines)))
}

fn duration(us: f64) -> String {
    if us == 0.0 {
        return "0".to_owned();
    }
    exact_time(Duration::from_nanos((us * 1e3).round() as u64))
}

fn number(value: f64) -> String {
    match value {
        value if value < 1e3 => format!("{value}"),
        value if value < 1e6 => format!("{}k", round(value / 1e3)),
        value => format!("{}M", round(value / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    fn latency(values: &[f64]) -> Axis {
        Axis::measured("latency", Unit::Microseconds, values)
    }

    #[test]
    fn a_narrow_range_is_linear_and_a_wide_one_logarithmic() {
        assert_eq!(labels(&latency(&[10.0, 90.0]))[..3], ["0", "20 µs", "40 µs"]);
        let expected = ["10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"];
        assert_eq!(labels(&latency(&[15.0, 900.0])), expected);
        let wider = latency(&[0.5, 3e6]);
        assert_eq!((labels(&wider)[0], *labels(&wider).last().unwrap()), ("100 ns", "10 s"));
        assert_eq!(wider.ticks.len(), 9);
    }

    #[test]
    fn a_count_of_zero_has_its_place() {
        let axis = Axis::measured("loss", Unit::Count, &[0.0, 5.0, 1e6]);
        assert_eq!((axis.share(0.0), labels(&axis)[..2].to_vec()), (0.0, vec!["0", "200k"]));
    }

    #[test]
    fn percentiles_have_a_tick_per_nine() {
        let axis = Axis::percentile(&[4.2]);
        assert_eq!(labels(&axis), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn sizes_have_ticks_at_powers_of_two_or_four() {
        assert_eq!(labels(&Axis::sizes("", &[65.0, 500.0])), ["64 B", "128 B", "256 B", "512 B"]);
        let wide = Axis::sizes("", &[64.0, 1_048_576.0]);
        assert_eq!(labels(&wide)[..3], ["64 B", "256 B", "1 KiB"]);
        assert_eq!((wide.share(64.0), wide.share(1_048_576.0)), (0.0, 1.0));
    }

    #[test]
    fn every_value_has_a_position_on_the_axis() {
        for axis in [
            latency(&[0.0, 5.0, 1e9]),
            latency(&[0.0]),
            Axis::measured("rate", Unit::PerSecond, &[0.0]),
            Axis::time(&[0.5, 1e5]),
        ] {
            assert!((1..20).contains(&axis.ticks.len()), "{:?}", axis.ticks);
            for value in [0.0, 5.0, 1e9] {
                assert!((0.0..=1.0).contains(&axis.share(value)), "{}", axis.title);
            }
        }
    }

    #[test]
    fn rates_are_abbreviated() {
        assert_eq!([number(500.0), number(20_000.0), number(1.5e6)], ["500", "20k", "1.5M"]);
    }
}
