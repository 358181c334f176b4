//! Reads saved runs.

use hdrhistogram::Histogram;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::check::check;
use super::{Error, LoadedRun, RunDetails};
use crate::distribution::Distribution;
use crate::hdr_log::{Log, LogError, LogUnit};
use crate::run::Run;
use crate::run_file::RunFile;

/// Reads saved runs or an interval log, recognised by its first character; `unit` is that of a
/// log's values. All runs of a file have the same name.
///
/// # Errors
///
/// The text is neither, or damaged, or from a later version of this program.
pub fn load(name: &str, text: &[u8], unit: LogUnit) -> Result<Vec<LoadedRun>, Error> {
    // Some editors and shells put a byte order mark before UTF-8.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    match text.trim_ascii_start().first() {
        None => Err(Error::Empty),
        Some(b'{') => runs(name, text),
        Some(_) => Ok(vec![log(name, text, unit)?]),
    }
}

fn runs(name: &str, text: &[u8]) -> Result<Vec<LoadedRun>, Error> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u64,
    }
    // The version first: another format may lack fields, which would give a misleading error.
    let Version { schema_version } = parse(text)?;
    match schema_version {
        1 => Ok(vec![LoadedRun::of_run(name, parse(text)?)?]),
        2 => {
            let file: RunFile = parse(text)?;
            if file.runs.is_empty() {
                return Err(Error::NoRuns);
            }
            let load = |(index, run)| {
                LoadedRun::of_run(name, run)
                    .map_err(|error| error.within(&format!("runs[{index}]")))
            };
            file.into_runs().into_iter().enumerate().map(load).collect()
        }
        other => Err(Error::Version(other)),
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        match error.into_inner() {
            source if source.is_eof() => Error::TruncatedJson(source.line()),
            // `.` is the whole object, one of whose fields is missing.
            source if source.is_data() && field != "." => Error::Field { field, source },
            source if source.is_data() => Error::NotARun(source),
            source => Error::Json(source),
        }
    });
    let parsed = parsed?;
    json.end().map_err(Error::Json)?;
    Ok(parsed)
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
    /// One of its numbers or histograms is damaged.
    pub fn of_run(name: &str, run: Run) -> Result<Self, Error> {
        check(&run)?;
        let result = &run.result;
        Ok(Self {
            name: name.to_owned(),
            rate: Some(result.rate),
            latency: decode("latency", &result.latency)?,
            intervals: run.intervals.clone(),
            run: Some(Box::new(RunDetails {
                service: decode("service", &result.service)?,
                send_lag: decode("send_lag", &result.send_lag)?,
                connect: decode("connect", &result.connect)?,
                run,
            })),
        })
    }
}

fn decode(field: &str, distribution: &Distribution) -> Result<Histogram<u64>, Error> {
    distribution.decode().ok_or_else(|| Error::Histogram(format!("result.{field}")))
}

/// Replaces characters that a terminal would execute or that XML cannot contain. File names and
/// labels may have such characters.
#[must_use]
pub fn printable(name: &str) -> String {
    let stand_in = |letter: char| letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}');
    name.replace(stand_in, "\u{fffd}")
}
