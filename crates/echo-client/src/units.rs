//! Durations, sizes and counts: how they are written and how they are shown.

use std::time::Duration;

pub use echo_proto::wrap;

/// Units of durations, in seconds.
const DURATIONS: [(&[&str], f64); 7] = [
    (&["ns"], 1e-9),
    (&["us", "µs"], 1e-6),
    (&["ms"], 1e-3),
    (&["s"], 1.0),
    (&["m", "min"], 60.0),
    (&["h"], 3600.0),
    (&["d"], 86400.0),
];
/// Longer durations are taken for mistakes, and some would overflow the clock.
const YEAR: Duration = Duration::from_secs(365 * 86400);

/// Parses a duration: `50us`, `1.5s`, `1h 30m`; a bare number is seconds.
///
/// # Errors
///
/// What is expected instead.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().or_else(|| seconds(text));
    let seconds = seconds.ok_or("expected a duration such as 50us, 200ms or 1.5s")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= YEAR => Ok(duration),
        _ => Err("expected a duration of at most a year"),
    }
}

fn seconds(text: &str) -> Option<f64> {
    let (mut sum, mut rest) = (0.0, text.trim());
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(char::is_alphabetic)?);
        let end = tail.find(|letter: char| !letter.is_alphabetic()).unwrap_or(tail.len());
        let (_, factor) = DURATIONS.iter().find(|(names, _)| names.contains(&&tail[..end]))?;
        sum += number.trim().parse::<f64>().ok()? * factor;
        rest = tail[end..].trim_start();
    }
    (!text.is_empty()).then_some(sum)
}

/// Parses a number of things, of which `k` is 1000: `20000`, `20k`, `1.5M`.
///
/// # Errors
///
/// What is expected instead.
pub fn count(text: &str) -> Result<f64, &'static str> {
    let factors = [("k", 1e3), ("M", 1e6), ("G", 1e9)];
    let suffix = factors.into_iter().find_map(|(k, factor)| Some((text.strip_suffix(k)?, factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    let count = number.trim().parse().ok().map(|number: f64| number * factor);
    let count = count.filter(|count| count.is_finite() && *count >= 0.0);
    count.ok_or("expected a number such as 20000, 20k or 1.5M")
}

/// Parses a number of bytes, of which `k` is 1024, as is usual for buffers: `64`, `4k`, `1MiB`.
///
/// # Errors
///
/// What is expected instead.
pub fn size(text: &str) -> Result<u64, &'static str> {
    let sizes = parse_size::Config::new().with_binary();
    sizes.parse_size(text).map_err(|_| "expected a size such as 64, 4k or 1MiB")
}

/// Unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A time, in microseconds.
    Microseconds,
    /// A rate.
    PerSecond,
    /// Anything else.
    Count,
}

impl Unit {
    /// Shows a value with its unit.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Microseconds => time(value),
            Self::PerSecond => format!("{}/s", digits(value)),
            Self::Count if value.fract() == 0.0 => format!("{value}"),
            Self::Count => digits(value),
        }
    }
}

/// Shows a number of microseconds with three digits in a suitable unit: `105 µs`, `1.20 ms`.
#[must_use]
pub fn time(us: f64) -> String {
    match us {
        us if us >= 999_500.0 => format!("{} s", digits(us / 1e6)),
        us if us >= 999.5 => format!("{} ms", digits(us / 1e3)),
        us => format!("{} µs", digits(us)),
    }
}

/// Shows a duration as [`time`] does, but exactly: `200 ms`, `1.5 s`.
#[must_use]
pub fn exact_time(duration: Duration) -> String {
    let text = format!("{duration:?}");
    let unit = text.find(char::is_alphabetic).unwrap_or(text.len());
    format!("{} {}", &text[..unit], &text[unit..])
}

/// Shows a number of bytes in the largest unit that divides it: `1536 B`, `64 KiB`.
#[must_use]
pub fn bytes(count: f64) -> String {
    let units = [("MiB", 1_048_576.0), ("KiB", 1024.0)];
    let unit = units.into_iter().find(|(_, unit)| count >= *unit && count % unit == 0.0);
    let (name, unit) = unit.unwrap_or(("B", 1.0));
    format!("{} {name}", count / unit)
}

/// Three significant digits, or all digits before the point.
fn digits(value: f64) -> String {
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bare_numbers_are_seconds() {
        for (text, us) in [
            ("50us", 50),
            ("50µs", 50),
            ("0.2", 200_000),
            ("1.5s", 1_500_000),
            ("1ms 5 us", 1_005),
            ("1h30m", 5_400_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_micros(us)), "{text}");
        }
        for wrong in ["", "abc", "5parsecs", "s", "1s 5", "-1s", "NaN", "-1"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for long in ["366d", "1e19", "inf"] {
            assert_eq!(duration(long), Err("expected a duration of at most a year"), "{long}");
        }
    }

    #[test]
    fn counts_are_decimal_and_sizes_binary() {
        assert_eq!([count("20k"), count("1.5M"), count("7")], [Ok(20e3), Ok(1.5e6), Ok(7.0)]);
        assert!(["", "-1", "k", "1ms", "NaN", "1e308k"].iter().all(|text| count(text).is_err()));
        assert_eq!([size("64"), size("4k"), size("1MiB")], [Ok(64), Ok(4096), Ok(1 << 20)]);
        assert!(size("-1").is_err());
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (us, shown) in [
            (0.0, "0.00 µs"),
            (9.994, "9.99 µs"),
            (9.996, "10.0 µs"),
            (99.96, "100 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (45_678.0, "45.7 ms"),
            (999_600.0, "1.00 s"),
            (12_345_678.0, "12.3 s"),
        ] {
            assert_eq!(time(us), shown, "{us}");
        }
        assert_eq!(exact_time(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(exact_time(Duration::from_micros(105)), "105 µs");
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
        let shown = [1.0, 1023.0, 1024.0, 1536.0, 65_536.0, 1_048_576.0].map(bytes);
        assert_eq!(shown, ["1 B", "1023 B", "1 KiB", "1536 B", "64 KiB", "1 MiB"]);
    }
}
