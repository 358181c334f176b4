//! Faults on purpose, as typed, and how the program says that they are on.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use echo_server::{Delay, Faults, Probability};

use super::size;

/// Options of which any makes this a server to test clients with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults on purpose, to see what a client makes of them")]
pub(super) struct FaultOptions {
    /// Hold each piece of the echo back, for 20ms, or with 20ms~5ms for a random time from 15 to 25ms
    ///
    /// A piece is what has come together, or a slice of --slice. Nothing is read meanwhile.
    #[arg(long, env = "ECHO_DELAY", value_name = "TIME[~JITTER]", value_parser = delay)]
    delay: Option<Delay>,

    /// Send each connection at most this many bytes a second
    #[arg(long, env = "ECHO_RATE_LIMIT", value_name = "SIZE", value_parser = rate)]
    rate_limit: Option<NonZero<u64>>,

    /// Send the echo in slices of a random size in this range, each by itself: 1..7 is 1 to 7 bytes
    ///
    /// One number makes them all the same size.
    #[arg(long, env = "ECHO_SLICE", value_name = "SIZE[..SIZE]", value_parser = slice)]
    slice: Option<RangeInclusive<u64>>,

    /// Echo this many bytes, then neither take nor echo any more, but keep the connection
    #[arg(long, env = "ECHO_STALL_AFTER", value_name = "SIZE", value_parser = size)]
    stall_after: Option<u64>,

    /// Echo this many bytes, then reset the connection (RST)
    #[arg(long, env = "ECHO_RESET_AFTER", value_name = "SIZE", value_parser = size)]
    reset_after: Option<u64>,

    /// Echo this many bytes, then say goodbye (FIN)
    #[arg(long, env = "ECHO_CLOSE_AFTER", value_name = "SIZE", value_parser = size)]
    close_after: Option<u64>,

    /// Change each byte of the echo with this probability, such as 1e-6 or 0.1%
    #[arg(long, env = "ECHO_CORRUPT", value_name = "PROBABILITY", value_parser = probability)]
    corrupt: Option<Probability>,

    /// Reset this share of connections as soon as they are accepted, such as 5%
    #[arg(long, env = "ECHO_REFUSE", value_name = "SHARE", value_parser = probability)]
    refuse: Option<Probability>,

    /// Where the chances come from; the same number brings the same faults [default: a random one,
    /// which the server says when it starts]
    #[arg(long, env = "ECHO_SEED", value_name = "N")]
    seed: Option<u64>,
}

impl FaultOptions {
    /// What to do wrong, if anything.
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
        // One that is easy to type.
        let seed = self.seed.unwrap_or_else(|| fastrand::u32(..).into());
        (faults != Faults::default()).then_some(Faults { seed, ..faults })
    }
}

/// Says loudly that faults are on, with the options that bring the same ones again.
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
    format!("FAULTS ON PURPOSE: {}", options.join(" "))
}

/// In quotes if a shell would split it: `1m 30s`.
fn quoted(value: &str) -> String {
    if value.contains(' ') { format!("'{value}'") } else { value.to_owned() }
}

/// `20ms`, or `20ms~5ms`.
fn delay(text: &str) -> Result<Delay, String> {
    let (mean, jitter) = text.split_once('~').unwrap_or((text, "0s"));
    let duration = |text: &str| {
        let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        let fits = duration <= Delay::LONGEST;
        fits.then_some(duration).ok_or_else(|| "it must be a day at the most".to_owned())
    };
    let delay = Delay { mean: duration(mean)?, jitter: duration(jitter)? };
    if delay.jitter > delay.mean {
        return Err("the time behind ~ must not be longer than the one before it".to_owned());
    }
    Ok(delay)
}

/// Bytes a second.
fn rate(text: &str) -> Result<NonZero<u64>, String> {
    NonZero::new(size(text)?).ok_or_else(|| "it must be more than zero".to_owned())
}

/// `1..7`, both included, or `7`.
fn slice(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let (shortest, longest) = (size(shortest)?, size(longest)?);
    if shortest == 0 || shortest > longest {
        return Err("write the smallest size, which is 1 or more, and the largest: 1..7".to_owned());
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
    fn what_is_typed_and_what_is_said_mean_the_same() {
        for (typed, mean_ms, jitter_ms) in
            [("20ms", 20, 0), ("20ms~5ms", 20, 5), ("1m 30s", 90_000, 0)]
        {
            let parsed = delay(typed).unwrap();
            let ms = Duration::from_millis;
            assert_eq!(parsed, Delay { mean: ms(mean_ms), jitter: ms(jitter_ms) });
            let said = notice(&Faults { delay: Some(parsed), ..Faults::default() });
            assert_eq!(said, format!("FAULTS ON PURPOSE: --delay {} --seed 0", quoted(typed)));
        }
        assert_eq!(slice("1..4k"), Ok(1..=4096));
        assert_eq!(slice("7"), Ok(7..=7));
        assert_eq!(rate("1MiB").unwrap().get(), 1024 * 1024);
        assert_eq!(probability("5%"), Ok(Probability::new(0.05).unwrap()));
        assert_eq!(probability("1e-6"), Ok(Probability::new(0.000001).unwrap()));
    }

    #[test]
    fn nonsense_is_refused() {
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
