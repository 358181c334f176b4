//! The options for injected faults, and the notice that faults are on.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use echo_server::{Delay, Faults, Probability};

use super::size;

/// Options that inject faults, to test clients with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Injected faults, to test clients")]
pub(super) struct FaultOptions {
    /// Delay each piece of the echo; 20ms~5ms is a random time from 15 to 25ms
    ///
    /// A piece is what one read returned, or a slice with --slice. Nothing is read meanwhile.
    #[arg(long, env = "ECHO_DELAY", value_name = "TIME[~JITTER]", value_parser = delay)]
    delay: Option<Delay>,

    /// Limit the echo of each connection to this many bytes per second
    #[arg(long, env = "ECHO_RATE_LIMIT", value_name = "SIZE", value_parser = rate)]
    rate_limit: Option<NonZero<u64>>,

    /// Send the echo in slices of a random size; 1..7 is 1 to 7 bytes
    ///
    /// A single number is the size of all slices.
    #[arg(long, env = "ECHO_SLICE", value_name = "SIZE[..SIZE]", value_parser = slice)]
    slice: Option<RangeInclusive<u64>>,

    /// Echo this many bytes, then neither read nor write, but keep the connection open
    #[arg(long, env = "ECHO_STALL_AFTER", value_name = "SIZE", value_parser = size)]
    stall_after: Option<u64>,

    /// Echo this many bytes, then reset the connection (RST)
    #[arg(long, env = "ECHO_RESET_AFTER", value_name = "SIZE", value_parser = size)]
    reset_after: Option<u64>,

    /// Echo this many bytes, then close the connection (FIN)
    #[arg(long, env = "ECHO_CLOSE_AFTER", value_name = "SIZE", value_parser = size)]
    close_after: Option<u64>,

    /// Change each byte of the echo with this probability, such as 1e-6 or 0.1%
    #[arg(long, env = "ECHO_CORRUPT", value_name = "PROBABILITY", value_parser = probability)]
    corrupt: Option<Probability>,

    /// Reset this share of connections as soon as they are accepted, such as 5%
    #[arg(long, env = "ECHO_REFUSE", value_name = "SHARE", value_parser = probability)]
    refuse: Option<Probability>,

    /// Seed of all random decisions; the same seed repeats the faults [default: random,
    /// printed at startup]
    #[arg(long, env = "ECHO_SEED", value_name = "N")]
    seed: Option<u64>,
}

impl FaultOptions {
    /// The requested faults, if any.
    pub(super) fn faults(&self) -> Option<Faults> {
        let faults = Faults {
            delay: self.delay,
            rate_limit: self.rate_limit,
            slice: self.slice.clone(),
            stall_after: self.stall_after,
            reset_after: self.reset_after,
            close_after: self.close_after,
            corrupt: self.corrupt.unwrap_or_default(),
            refuse: self.refuse.unwrap_or_default(),
            seed: 0,
        };
        // 32 bits, so that the seed is easy to type.
        let seed = self.seed.unwrap_or_else(|| fastrand::u32(..).into());
        (faults != Faults::default()).then_some(Faults { seed, ..faults })
    }
}

/// The notice that faults are on, with the options that repeat them.
pub(crate) fn notice(faults: &Faults) -> String {
    let duration = humantime::format_duration;
    let mut options = Vec::new();
    let mut add = |option: &str, value: Option<String>| {
        options.extend(value.map(|value| format!("{option} {value}")));
    };
    add(
        "--delay",
        faults.delay.map(|Delay { mean, jitter }| match jitter {
            Duration::ZERO => quoted(&duration(mean).to_string()),
            _ => quoted(&format!("{}~{}", duration(mean), duration(jitter))),
        }),
    );
    add("--rate-limit", faults.rate_limit.map(|rate| rate.to_string()));
    let slice = faults.slice.as_ref();
    add("--slice", slice.map(|sizes| format!("{}..{}", sizes.start(), sizes.end())));
    add("--stall-after", faults.stall_after.map(|size| size.to_string()));
    add("--reset-after", faults.reset_after.map(|size| size.to_string()));
    add("--close-after", faults.close_after.map(|size| size.to_string()));
    let share = |share: Probability| (share.get() > 0.0).then(|| format!("{:?}", share.get()));
    add("--corrupt", share(faults.corrupt));
    add("--refuse", share(faults.refuse));
    add("--seed", Some(faults.seed.to_string()));
    format!("INJECTED FAULTS: {}", options.join(" "))
}

/// Quotes a value that a shell would split: `1m 30s`.
fn quoted(value: &str) -> String {
    if value.contains(' ') { format!("'{value}'") } else { value.to_owned() }
}

/// `20ms`, or `20ms~5ms`.
fn delay(text: &str) -> Result<Delay, String> {
    let (mean, jitter) = text.split_once('~').unwrap_or((text, "0s"));
    let duration = |text: &str| {
        let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        let fits = duration <= Delay::LONGEST;
        fits.then_some(duration).ok_or_else(|| "at most 24h is possible".to_owned())
    };
    let delay = Delay { mean: duration(mean)?, jitter: duration(jitter)? };
    if delay.jitter > delay.mean {
        return Err("the jitter after ~ must not exceed the delay before it".to_owned());
    }
    Ok(delay)
}

/// Bytes per second.
fn rate(text: &str) -> Result<NonZero<u64>, String> {
    NonZero::new(size(text)?).ok_or_else(|| "it must be at least 1".to_owned())
}

/// `1..7`, both included, or `7`.
fn slice(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let (shortest, longest) = (size(shortest)?, size(longest)?);
    if shortest == 0 || shortest > longest {
        return Err("write the smallest size, at least 1, and the largest: 1..7".to_owned());
    }
    Ok(shortest..=longest)
}

/// `1e-6`, or `5%`.
fn probability(text: &str) -> Result<Probability, String> {
    let (number, factor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let share = number.parse::<f64>().ok().and_then(|number| Probability::new(number * factor));
    share.ok_or_else(|| "write 0 to 1, such as 1e-6, or a percentage, such as 5%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_repeats_what_was_typed() {
        for (typed, mean_ms, jitter_ms) in
            [("20ms", 20, 0), ("20ms~5ms", 20, 5), ("1m 30s", 90_000, 0)]
        {
            let parsed = delay(typed).unwrap();
            let ms = Duration::from_millis;
            assert_eq!(parsed, Delay { mean: ms(mean_ms), jitter: ms(jitter_ms) });
            let printed = notice(&Faults { delay: Some(parsed), ..Faults::default() });
            assert_eq!(printed, format!("INJECTED FAULTS: --delay {} --seed 0", quoted(typed)));
        }
        assert_eq!(slice("1..4k"), Ok(1..=4096));
        assert_eq!(slice("7"), Ok(7..=7));
        assert_eq!(rate("1MiB").unwrap().get(), 1024 * 1024);
        assert_eq!(probability("5%"), Ok(Probability::new(0.05).unwrap()));
        assert_eq!(probability("1e-6"), Ok(Probability::new(0.000001).unwrap()));
    }

    #[test]
    fn invalid_values_are_rejected() {
        for text in ["", "~", "5ms~", "5ms~6ms", "20", "25h", "-1s"] {
            assert!(delay(text).is_err(), "{text:?}");
        }
        for text in ["", "..", "0..7", "7..1", "1..", "x"] {
            assert!(slice(text).is_err(), "{text:?}");
        }
        for text in ["", "%", "-1", "1.1", "101%", "nan", "x"] {
            assert!(probability(text).is_err(), "{text:?}");
        }
        assert!(rate("0").is_err());
    }
}
