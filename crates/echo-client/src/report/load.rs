//! Reads saved runs.

use hdrhistogram::Histogram;
use serde::Deserialize;

use super::check::check;
use super::{Error, LoadedRun, RunDetails};
use crate::distribution::Distribution;
use crate::hdr_log::{Log, LogError, LogUnit};
use crate::run::{Run, SCHEMA_VERSION};

/// Reads a saved run or an interval log, recognised by its first character; `unit` is that of a
/// log's values.
///
/// # Errors
///
/// The text is neither, or damaged, or from a later version of this program.
pub fn load(name: &str, text: &[u8], unit: LogUnit) -> Result<LoadedRun, Error> {
    // Some editors and shells put a byte order mark before UTF-8.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    match text.trim_ascii_start().first() {
        None => Err(Error::Empty),
        Some(b'{') => run(name, text),
        Some(_) => log(name, text, unit),
    }
}

fn run(name: &str, text: &[u8]) -> Result<LoadedRun, Error> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u64,
    }
    // The version first: a later format may lack fields, which would give a misleading error.
    let Version { schema_version } = serde_json::from_slice(text).map_err(json_error)?;
    if schema_version > u64::from(SCHEMA_VERSION) {
        return Err(Error::Newer(schema_version));
    }
    let run: Run = serde_json::from_slice(text).map_err(json_error)?;
    check(&run)?;
    LoadedRun::of_run(name, run)
}

fn json_error(error: serde_json::Error) -> Error {
    match error {
        error if error.is_eof() => Error::TruncatedJson(error.line()),
        error if error.is_data() => Error::NotARun(error),
        error => Error::Json(error),
    }
}

fn log(name: &str, text: &[u8], unit: LogUnit) -> Result<LoadedRun, Error> {
    let log = Log::read(text, unit).map_err(|error| match error {
        LogError::Line(1) => Error::Unknown,
        error => Error::Log(error),
    })?;
    let end = log.intervals.iter().map(|part| part.start_s + part.seconds).fold(0.0, f64::max);
    Ok(LoadedRun {
        name: name.to_owned(),
        rate: (end > 0.0).then_some(log.histogram.len() as f64 / end),
        latency: log.histogram,
        intervals: log.intervals,
        run: None,
    })
}

impl LoadedRun {
    /// The label that the run was given.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        self.run.as_ref()?.run.label.as_deref().map(printable)
    }

    /// Prepares a run for a report.
    ///
    /// # Errors
    ///
    /// One of its histograms is damaged.
    pub fn of_run(name: &str, run: Run) -> Result<Self, Error> {
        let result = &run.result;
        Ok(Self {
            name: name.to_owned(),
            rate: Some(result.rate),
            latency: decode("latency", &result.latency)?,
            intervals: run.intervals.clone(),
            run: Some(Box::new(RunDetails {
                service: decode("service", &result.service)?,
                connect: decode("connect", &result.connect)?,
                run,
            })),
        })
    }
}

fn decode(field: &'static str, distribution: &Distribution) -> Result<Histogram<u64>, Error> {
    distribution.decode().ok_or(Error::Histogram(field))
}

/// Replaces characters that a terminal would execute or that XML cannot contain. File names and
/// labels may have such characters.
#[must_use]
pub fn printable(name: &str) -> String {
    let stand_in = |letter: char| letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}');
    name.replace(stand_in, "\u{fffd}")
}
