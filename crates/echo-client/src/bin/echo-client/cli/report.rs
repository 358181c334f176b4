//! Command line of `echo-client report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use echo_client::compare::RatioGate;
use echo_client::hdr_log::LogUnit;
use echo_client::metric::{Metric, PERCENTILES};
use echo_client::percentile::Percentile;
use echo_client::report::XAxis;

#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// Runs saved by bench --format json, or HdrHistogram logs; - is stdin
    ///
    /// The first is the baseline. Files of the same label are one side, measured several times.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Merge the runs into one, as simultaneous loads from several machines
    ///
    /// Rates, counts and histograms are added; percentiles come from the merged histogram. Runs
    /// that differ in size, depth, framing or loop are refused, and runs that do not overlap.
    #[arg(long, env = "ECHO_MERGE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) merge: bool,

    /// Format: text, a table with ratios to the first run; json, the same as data; markdown; csv
    ///
    /// With --merge, json is a run that report can read again. In csv there is one line per metric
    /// and side, and times are in microseconds.
    #[arg(
        long,
        env = "ECHO_REPORT_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_enum
    )]
    #[arg(hide_possible_values = true)]
    pub(crate) format: ReportFormat,

    /// Percentiles of latency that the table shows
    #[arg(long, env = "ECHO_PERCENTILES", value_name = "LIST", value_delimiter = ',')]
    #[arg(default_values = PERCENTILES, conflicts_with = "against")]
    pub(crate) percentiles: Vec<Percentile>,

    /// Plot one metric against a varied setting: connections, size or rate
    ///
    /// Rate is the one requested with --rate. Runs with the same label form a curve; without
    /// labels, runs to the same address. If several runs have the same setting, their median
    /// counts. The runs of a curve must agree in all other settings that affect the metric.
    #[arg(long, env = "ECHO_AGAINST", value_name = "SETTING", value_enum)]
    #[arg(conflicts_with = "merge", hide_possible_values = true)]
    pub(crate) against: Option<XAxis>,

    /// Metric for --against, by its JSON name, such as rate, p99 or server_cpu_us_per_echo
    /// [default: the last if all runs have it; otherwise rate, or p99 for runs made with --rate]
    #[arg(long, env = "ECHO_FIGURE", value_name = "NAME", requires = "against")]
    pub(crate) figure: Option<Metric>,

    /// Plot latency by percentile and rate over time, or the curves of --against, to this SVG file
    #[arg(long, env = "ECHO_SVG", value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Title of the plot, and of the report as text or Markdown
    #[arg(long, env = "ECHO_TITLE", value_name = "TEXT")]
    pub(crate) title: Option<String>,

    /// Exit with code 3 if this holds for a side: 'p99>1.10x', 'rate<0.95x'; repeatable
    ///
    /// The first side is the baseline. A condition holds if the whole 95 % interval of the ratio
    /// lies beyond the bound, which takes repeated runs on both sides: bench --repeat 6. If it
    /// cannot be judged, the exit code is 1.
    #[arg(long, env = "ECHO_REPORT_FAIL_IF", value_name = "CONDITION", value_delimiter = ',')]
    #[arg(conflicts_with_all = ["merge", "against"])]
    pub(crate) fail_if: Vec<RatioGate>,

    /// Unit of the values in interval logs; bench writes nanoseconds
    #[arg(long, env = "ECHO_UNIT", value_name = "UNIT", default_value = "ns", value_enum)]
    #[arg(hide_possible_values = true)]
    pub(crate) unit: LogUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Json,
    Markdown,
    Csv,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  echo-client bench --format json > a.json       save a run
  echo-client report a.json b.json               is b better than a?
  echo-client report a.json b.json --fail-if 'p99>1.10x'
                                                 fail if b is 10 % slower
  echo-client report a.json b.json --svg ab.svg  the same as a plot
  echo-client report *.json --against connections --svg load.svg
                                                 the cost of more connections
  echo-client report --merge host1.json host2.json --format json > both.json
                                                 two machines as one load
  echo-client report wrk.hlog --unit us          a log of another program

Exit code:
  0  there is a report
  1  a file is missing, damaged or does not fit, or a condition cannot be judged
  2  wrong usage
  3  a --fail-if condition holds";
