//! HdrHistogram interval logs: one line per interval, with its histogram.
//!
//! This is the format of `HistogramLogWriter` in HdrHistogram for Java, version 1.2, which its
//! ports and many viewers read: comments, a legend, then `[Tag=x,]start,length,max,histogram` with
//! start and length in seconds, the longest time, and the histogram (format V2, deflated, base64).

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, IntervalLogWriterBuilder, IntervalLogWriterError,
    LogEntry, LogIteratorError, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::distribution::{histogram, ns_to_us};
use crate::run::Interval;

/// Readers expect these two lines, which the crate leaves to its user.
const FORMAT: &str = "[Histogram log format version 1.2]";
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
                      \"Interval_Compressed_Histogram\"\n";
/// The maximum is written in milliseconds, as in Java. It is for people to read.
const NS_PER_MS: f64 = 1e6;

/// Larger numbers are damage: no time since 1970 comes near it, in whatever unit.
const MAX_SECONDS: f64 = 1e15;

/// Writes a log of histograms of nanoseconds.
pub struct LogWriter<W> {
    output: W,
    header: IntervalLogWriterBuilder,
    header_length: usize,
}

impl<W: Write> LogWriter<W> {
    /// Starts a log. Times count from `started`; `comment` describes the measurement.
    ///
    /// # Errors
    ///
    /// The header cannot be written.
    pub fn new(mut output: W, started: SystemTime, comment: &str) -> io::Result<Self> {
        let mut header = IntervalLogWriterBuilder::new();
        header
            .add_comment(FORMAT)
            .add_comment(comment)
            // Without a base time, readers guess from the size of a start time what it counts from.
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(NS_PER_MS);
        let mut text = Vec::new();
        header.begin_log_with(&mut text, &mut V2DeflateSerializer::new())?;
        let header_length = text.len();
        text.extend_from_slice(LEGEND.as_bytes());
        output.write_all(&text)?;
        output.flush()?;
        Ok(Self { output, header, header_length })
    }

    /// Adds an interval that starts `start` after the start of the log, and flushes the output: the
    /// log can be followed, and a run that is killed loses only its last interval.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    pub fn write(
        &mut self,
        histogram: &Histogram<u64>,
        start: Duration,
        length: Duration,
        tag: Option<Tag>,
    ) -> io::Result<()> {
        // The crate's writer borrows its output and its serializer, so it cannot be a field. Each
        // line gets its own writer, in memory, and the header it writes is skipped.
        let mut text = Vec::new();
        self.header
            .begin_log_with(&mut text, &mut V2DeflateSerializer::new())?
            .write_histogram(histogram, start, length, tag)
            .map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            })?;
        self.output.write_all(&text[self.header_length..])?;
        self.output.flush()
    }
}

/// The tag of the first of several runs.
const FIRST_RUN: &str = "run1";

/// The tag of the intervals of a repeated run, whose `number` counts from 1.
#[must_use]
pub fn run_tag(number: u32) -> String {
    format!("run{number}")
}

/// Unit of the values in a log, which the format does not record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogUnit {
    /// Nanoseconds, as [`LogWriter`] writes.
    #[default]
    #[value(name = "ns")]
    Nanoseconds,
    /// Microseconds.
    #[value(name = "us")]
    Microseconds,
    /// Milliseconds.
    #[value(name = "ms")]
    Milliseconds,
}

/// The contents of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// All intervals together, in nanoseconds.
    pub histogram: Histogram<u64>,
    /// The intervals in order. Their start counts from that of the first.
    pub intervals: Vec<Interval>,
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// This line is not part of a log.
    #[error("line {0} is not part of an HdrHistogram interval log")]
    Line(usize),
    /// This field of this line is not a number that it can have.
    #[error("line {line}: {field} is {value:?}, which is not a number of seconds")]
    Field {
        /// The line, counted from 1.
        line: usize,
        /// The field, as the legend names it.
        field: &'static str,
        /// What is there.
        value: String,
    },
    /// This line says again what an earlier one has said.
    #[error("line {line}: there is a second {field}")]
    Repeated {
        /// The line, counted from 1.
        line: usize,
        /// What it says.
        field: &'static str,
    },
    /// The histogram of this interval, counted from 1, is damaged or not in format V2.
    #[error("the histogram of interval {0} is cut off, damaged or not in format V2")]
    Histogram(usize),
    /// There are no intervals.
    #[error("the interval log has no interval")]
    Empty,
    /// It holds several runs, whose samples must not be pooled.
    #[error("the interval log holds several runs; compare what --format json saves of them")]
    SeveralRuns,
}

impl Log {
    /// Reads a log. If only some intervals have a tag, those without one count: tags mark
    /// additional measurements. If all have a tag, all count, unless they are those of
    /// [repeated runs](run_tag).
    ///
    /// # Errors
    ///
    /// A line cannot be read, or there is no interval.
    pub fn read(text: &[u8], unit: LogUnit) -> Result<Self, LogError> {
        // The iterator ignores a last line without a line break.
        let mut text = text.to_owned();
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        check(&String::from_utf8_lossy(&text))?;
        let mut lines = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            match entry {
                Ok(LogEntry::Interval(line)) => lines.push((lines.len() + 1, line)),
                // Only the times between intervals matter.
                Ok(LogEntry::StartTime(_) | LogEntry::BaseTime(_)) => {}
                Err(LogIteratorError::ParseError { offset }) => {
                    let before = text[..offset].iter().filter(|&&byte| byte == b'\n').count();
                    return Err(LogError::Line(before + 1));
                }
            }
        }
        if lines.iter().any(|(_, line)| line.tag().is_none()) {
            lines.retain(|(_, line)| line.tag().is_none());
        }
        if lines.iter().filter_map(|(_, line)| line.tag()).any(|tag| *tag == *FIRST_RUN)
            && lines.iter().any(|(_, line)| line.tag().is_some_and(|tag| *tag != *FIRST_RUN))
        {
            return Err(LogError::SeveralRuns);
        }
        lines.sort_by_key(|(_, line)| line.start_timestamp());
        Self::of(&lines, unit)
    }

    fn of(lines: &[(usize, IntervalLogHistogram)], unit: LogUnit) -> Result<Self, LogError> {
        let began = lines.first().ok_or(LogError::Empty)?.1.start_timestamp();
        let mut total = histogram();
        total.auto(true);
        let mut intervals = Vec::new();
        for same_start in
            lines.chunk_by(|(_, a), (_, b)| a.start_timestamp() == b.start_timestamp())
        {
            let mut histogram = total.clone();
            histogram.reset();
            for (number, line) in same_start {
                let part = decode(line, unit).ok_or(LogError::Histogram(*number))?;
                histogram.add(&part).map_err(|_| LogError::Histogram(*number))?;
            }
            let length = same_start.iter().map(|(_, line)| line.duration()).max();
            let start = same_start[0].1.start_timestamp() - began;
            intervals.push(interval(&histogram, start, length.unwrap_or_default()));
            total.add(&histogram).map_err(|_| LogError::Histogram(same_start[0].0))?;
        }
        Ok(Self { histogram: total, intervals })
    }
}

/// Checks what the iterator does not: it takes any maximum and any second start, and what it cannot
/// read of a start for a comment.
fn check(text: &str) -> Result<(), LogError> {
    let mut starts = [("StartTime", "#[StartTime: ", false), ("BaseTime", "#[BaseTime: ", false)];
    for (line, text) in (1..).zip(text.lines()) {
        for (field, prefix, is_known) in &mut starts {
            let Some(time) = text.strip_prefix(*prefix) else { continue };
            if std::mem::replace(is_known, true) {
                return Err(LogError::Repeated { line, field });
            }
            check_number(line, field, time.split([' ', ']']).next())?;
        }
        let fields = text.split_once(',').filter(|_| text.starts_with("Tag=")).map(|(_, it)| it);
        let fields = fields.unwrap_or(text);
        // Anything with fewer fields is no line of a log.
        if !fields.starts_with(['#', '"']) && fields.matches(',').count() >= 3 {
            let mut values = fields.split(',');
            for field in ["StartTimestamp", "Interval_Length", "Interval_Max"] {
                check_number(line, field, values.next())?;
            }
        }
    }
    Ok(())
}

fn check_number(line: usize, field: &'static str, text: Option<&str>) -> Result<(), LogError> {
    let text = text.unwrap_or_default();
    let number = text.parse().ok().filter(|number| (0.0..=MAX_SECONDS).contains(number));
    // It may be a whole histogram.
    let value = || text.chars().take(20).collect();
    number.map(|_: f64| ()).ok_or_else(|| LogError::Field { line, field, value: value() })
}

/// The histogram of a line, in nanoseconds.
fn decode(line: &IntervalLogHistogram, unit: LogUnit) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(line.encoded_histogram()).ok()?;
    let found: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
    let ns = match unit {
        LogUnit::Nanoseconds => return Some(found),
        LogUnit::Microseconds => 1_000,
        LogUnit::Milliseconds => 1_000_000,
    };
    let mut scaled = histogram();
    scaled.auto(true);
    for value in found.iter_recorded() {
        let time = value.value_iterated_to().saturating_mul(ns);
        scaled.record_n(time, value.count_at_value()).ok()?;
    }
    Some(scaled)
}

fn interval(histogram: &Histogram<u64>, start: Duration, length: Duration) -> Interval {
    let seconds = length.as_secs_f64();
    let some = |ns| (!histogram.is_empty()).then_some(ns_to_us(ns));
    Interval {
        start_s: start.as_secs_f64(),
        seconds,
        echoes: histogram.len(),
        rate: if seconds > 0.0 { histogram.len() as f64 / seconds } else { 0.0 },
        p50_us: some(histogram.value_at_quantile(0.5)),
        p99_us: some(histogram.value_at_quantile(0.99)),
        max_us: some(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ns: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = histogram();
        ns.into_iter().for_each(|ns| histogram.record(ns).unwrap());
        histogram
    }

    /// A log with these times, in intervals of one second.
    fn log(intervals: &[(u64, Option<&str>, u64)]) -> String {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut text = Vec::new();
        let mut log = LogWriter::new(&mut text, started, "echo-client\nexample:7").unwrap();
        for &(start, tag, ns) in intervals {
            let (start, length) = (Duration::from_secs(start), Duration::from_secs(1));
            log.write(&times([ns, 2 * ns]), start, length, tag.and_then(Tag::new)).unwrap();
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_log_has_the_format_of_the_java_writer() {
        let text = log(&[(0, None, 1_500_000), (1, Some("a"), 1_000)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            ["#[Histogram log format version 1.2]", "#echo-client", "#example:7"]
        );
        assert_eq!(lines[3], "#[StartTime: 1700000000.000 (seconds since epoch)]");
        assert_eq!(lines[4], "#[BaseTime: 1700000000.000 (seconds since epoch)]");
        assert!(lines[6].starts_with("\"StartTimestamp\",\"Interval_Length\","), "{text}");
        // 3 ms, at the histogram's resolution.
        assert!(lines[7].starts_with("0.000,1.000,3.000,HISTF"), "{text}");
        assert!(lines[8].starts_with("Tag=a,1.000,1.000,0.002,HISTF"), "{text}");
        assert_eq!(lines.len(), 9);
    }

    #[test]
    fn a_written_log_is_read_back() {
        let read =
            Log::read(log(&[(5, None, 1_000), (6, None, 3_000)]).as_bytes(), LogUnit::default());
        let read = read.unwrap();
        assert_eq!(read.histogram, times([1_000, 2_000, 3_000, 6_000]));
        let starts: Vec<_> = read.intervals.iter().map(|part| (part.start_s, part.rate)).collect();
        assert_eq!(starts, [(0.0, 2.0), (1.0, 2.0)]);
        assert_eq!(read.intervals[1].p50_us, Some(3.001));
    }

    #[test]
    fn tagged_intervals_count_only_if_all_are_tagged() {
        let read = |intervals| Log::read(log(intervals).as_bytes(), LogUnit::default()).unwrap();
        let mixed = read(&[(0, None, 1_000), (0, Some("a"), 5_000)]);
        assert_eq!(mixed.histogram, times([1_000, 2_000]));
        let tagged = read(&[(0, Some("b"), 1_000), (0, Some("a"), 5_000)]);
        assert_eq!(tagged.histogram.len(), 4);
        assert_eq!((tagged.intervals.len(), tagged.intervals[0].rate), (1, 4.0));
    }

    #[test]
    fn repeated_runs_are_not_pooled() {
        let runs = log(&[(0, Some(&run_tag(1)), 1_000), (5, Some(&run_tag(2)), 5_000)]);
        assert_eq!(Log::read(runs.as_bytes(), LogUnit::default()), Err(LogError::SeveralRuns));
        let one = log(&[(0, Some(&run_tag(1)), 1_000), (1, Some(&run_tag(1)), 5_000)]);
        assert_eq!(Log::read(one.as_bytes(), LogUnit::default()).unwrap().intervals.len(), 2);
    }

    #[test]
    fn other_units_become_nanoseconds() {
        let text = log(&[(0, None, 1_000)]);
        for (unit, ns) in [(LogUnit::Microseconds, 1e6), (LogUnit::Milliseconds, 1e9)] {
            let min = Log::read(text.as_bytes(), unit).unwrap().histogram.min() as f64;
            assert!((min / ns - 1.0).abs() < 2e-3, "{min}");
        }
    }

    #[test]
    fn damaged_fields_are_named_with_their_line() {
        let text = log(&[(0, None, 1_000), (1, Some("a"), 1_000)]);
        for (good, bad, error) in [
            ("\n0.000,", "\nnan,", "line 8: StartTimestamp is \"nan\""),
            ("\n0.000,", "\n-1.000,", "line 8: StartTimestamp is \"-1.000\""),
            ("0.000,1.000,", "0.000,inf,", "line 8: Interval_Length is \"inf\""),
            ("=a,1.000,1.000,", "=a,1.000,-5,", "line 9: Interval_Length is \"-5\""),
            ("=a,1.000,", "=a,1e300,", "line 9: StartTimestamp is \"1e300\""),
            (",0.002,HIST", ",NaN,HIST", "line 8: Interval_Max is \"NaN\""),
            (",0.002,HIST", ",HIST", "line 8 is not part of an HdrHistogram interval log"),
            ("[StartTime: 17", "[StartTime: x", "line 4: StartTime is \"x00000000.000\""),
            ("#example:7", "#[BaseTime: 5.000 (seconds since epoch)]", "line 5: there is a second"),
            ("#echo-client", "#[StartTime: 1 ", "line 4: there is a second StartTime"),
        ] {
            let text = text.replacen(good, bad, 1);
            let found = Log::read(text.as_bytes(), LogUnit::default()).unwrap_err().to_string();
            assert!(found.starts_with(error), "{bad}: {found}\n{text}");
        }
    }

    #[test]
    fn read_errors_have_their_position() {
        let text = log(&[(0, None, 1_000), (1, None, 1_000)]);
        let read = |text: &str| Log::read(text.as_bytes(), LogUnit::default()).err();
        assert_eq!(read("#comment\nwhat?\n"), Some(LogError::Line(2)));
        assert_eq!(read("#comment"), Some(LogError::Empty));
        assert_eq!(read(""), Some(LogError::Empty));
        assert_eq!(read(&text[..text.len() - 20]), Some(LogError::Histogram(2)));
    }
}
