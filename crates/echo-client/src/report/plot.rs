//! Plots of runs as SVG: latency by percentile with rate over time, or the curves of one metric.
//!
//! Percentiles are plotted on HdrHistogram's axis, 1/(1-p): each unit leaves a tenth of the slower
//! echoes, so that the tail gets as much room as the bulk.

mod axis;
mod series;

use std::fmt::Write;

use self::axis::Axis;
use self::series::{marked, median_curve, percentiles, rates};
use super::settings::{common_load, settings};
use super::{Curves, Error, LoadedRun, Side, XAxis, printable};
use crate::units::{Unit, wrap};

/// More series cannot be told apart by colour, dashes and markers.
pub const MAX_SERIES: usize = 12;

type Point = (f64, f64);

/// In pixels, as all lengths here.
const WIDTH: f64 = 960.0;
const TITLE_HEIGHT: f64 = 40.0;
const SUBTITLE_LINE: f64 = 18.0;
const LEGEND_LINE: f64 = 24.0;
/// Ends of the x axis, and the room above and below a plot's axes.
const LEFT: f64 = 100.0;
const RIGHT: f64 = WIDTH - 37.0;
const ABOVE: f64 = 16.0;
const BELOW: f64 = 62.0;
/// Characters in a line of the subtitle.
const SUBTITLE_COLUMNS: usize = 130;
/// Longer names get a line of their own, and names longer than that are compressed.
const LEGEND_COLUMN: usize = 28;
const LEGEND_COLUMNS: usize = 100;

const MIDDLE: &str = "text-anchor=\"middle\"";
const COMPRESSED: &str = "textLength=\"820\" lengthAdjust=\"spacingAndGlyphs\"";

/// The palette of Okabe and Ito, which is safe for colour-blind readers, without its yellow, which
/// is too pale on white. The first four also differ in lightness.
const COLOURS: [&str; 7] =
    ["#0072B2", "#D55E00", "#000000", "#56B4E9", "#009E73", "#CC79A7", "#E69F00"];
/// Lengths of dashes and gaps. With 5 of these, 7 colours and 4 markers, 140 series look different.
const DASHES: [&str; 5] = ["none", "12 5", "3 4", "14 4 3 4", "24 5"];
/// A circle, a square, a triangle and a cross.
const MARKS: [&str; 4] =
    ["M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z", "M-5-5H5V5H-5Z", "M-6 5L0-6L6 5Z", "M-5-5L5 5M-5 5L5-5"];

/// Plots sides: latency by percentile, and rate over time where there is one to show. Of repeated
/// runs, each point is the median. Text stays text.
///
/// # Errors
///
/// There are too many sides, or none has an echo.
pub fn plot(sides: &[Side], title: Option<&str>) -> Result<String, Error> {
    if sides.iter().flat_map(|side| &side.runs).all(|run| run.latency.is_empty()) {
        return Err(Error::NoSamples);
    }
    let names: Vec<String> = sides.iter().map(name_in_legend).collect();
    let names = names.iter().map(String::as_str).collect();
    let mut plots = vec![by_percentile(sides)];
    plots.extend(over_time(sides));
    let heading = ["Latency by percentile", "Latency by percentile, and rate over time"];
    let heading = title.unwrap_or(heading[plots.len() - 1]);
    let settings = settings(sides.iter().map(|side| &*side.runs));
    let subtitle = printable(&common_load(&settings).join(", "));
    Picture { heading, subtitle: &subtitle, names, plots }.svg()
}

/// A side without an echo has no curve, and the legend says why.
fn name_in_legend(side: &Side) -> String {
    let echoes = if side.runs.iter().all(|run| run.latency.is_empty()) { " (no echo)" } else { "" };
    let runs = match side.runs.len() {
        1 => String::new(),
        runs => format!(", median of {runs} runs"),
    };
    format!("{}{runs}{echoes}", side.name)
}

fn by_percentile(sides: &[Side]) -> Plot {
    let curves = series_of(sides, |run| percentiles(&run.latency));
    let [nines, times] = coordinates(&curves);
    let y = Axis::measured("latency", Unit::Microseconds, &times);
    Plot { height: 342.0, x: Axis::percentile(&nines), y, curves }
}

/// The rates over time, if any run has more than one interval.
fn over_time(sides: &[Side]) -> Option<Plot> {
    let curves = series_of(sides, |run| rates(&run.intervals));
    if curves.iter().all(|curve| curve.len() < 2) {
        return None;
    }
    let intervals = sides.iter().flat_map(|side| &side.runs).flat_map(|run| &run.intervals);
    let ends: Vec<f64> = intervals.map(|part| part.start_s + part.seconds).collect();
    let [_, rates] = coordinates(&curves);
    let y = Axis::measured("rate (echoes/s)", Unit::PerSecond, &rates);
    Some(Plot { height: 222.0, x: Axis::time(&ends), y, curves })
}

fn series_of(sides: &[Side], curve: impl Fn(&LoadedRun) -> Vec<Point>) -> Vec<Vec<Point>> {
    let runs = |side: &Side| side.runs.iter().map(&curve).filter(|it| !it.is_empty()).collect();
    sides.iter().map(|side| median_curve(runs(side))).collect()
}

/// Plots curves. Text stays text.
///
/// # Errors
///
/// There are too many curves.
pub fn plot_curves(curves: &Curves, title: Option<&str>) -> Result<String, Error> {
    let names = curves.curves.iter().map(|curve| curve.label.as_str()).collect();
    let points = curves.curves.iter().map(|curve| curve.points.iter());
    let points: Vec<Vec<Point>> =
        points.map(|points| points.map(|point| (point.at, point.value)).collect()).collect();
    let [x, y] = coordinates(&points);
    let x_title = curves.against.description();
    let x = match curves.against {
        XAxis::Size => Axis::sizes(x_title, &x),
        XAxis::Connections | XAxis::Rate => Axis::counts(x_title, &x),
    };
    let y = Axis::measured(&curves.metric_description(), curves.unit, &y);
    let plots = vec![Plot { height: 382.0, x, y, curves: points }];
    let heading = curves.heading();
    let heading = title.unwrap_or(&heading);
    Picture { heading, subtitle: &curves.conditions, names, plots }.svg()
}

/// The x values and the y values.
fn coordinates(curves: &[Vec<Point>]) -> [Vec<f64>; 2] {
    let (x, y) = curves.iter().flatten().copied().unzip();
    [x, y]
}

/// A page of plots with a title and a legend.
struct Picture<'a> {
    heading: &'a str,
    /// May be empty.
    subtitle: &'a str,
    /// Names of the series, in the order of each plot.
    names: Vec<&'a str>,
    plots: Vec<Plot>,
}

struct Plot {
    /// Length of the y axis.
    height: f64,
    x: Axis,
    y: Axis,
    /// In units of the axes.
    curves: Vec<Vec<Point>>,
}

impl Picture<'_> {
    fn svg(&self) -> Result<String, Error> {
        if self.names.len() > MAX_SERIES {
            return Err(Error::TooManyRuns(self.names.len()));
        }
        let mut svg = text((WIDTH / 2.0, 22.0), 18, MIDDLE, self.heading);
        let mut y = TITLE_HEIGHT;
        let subtitle = wrap(self.subtitle, SUBTITLE_COLUMNS, 0);
        for line in subtitle.lines() {
            svg += &text((WIDTH / 2.0, y + 6.0), 12, MIDDLE, line);
            y += SUBTITLE_LINE;
        }
        y += self.legend(&mut svg, y + 12.0);
        for plot in &self.plots {
            plot.draw(&mut svg, y + ABOVE);
            y += ABOVE + plot.height + BELOW;
        }
        Ok(format!(
            "<svg width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
             xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n{svg}</svg>\n"
        ))
    }

    /// A sample and a name for each series. Returns the height.
    fn legend(&self, svg: &mut String, top: f64) -> f64 {
        let longest = self.names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let columns = if longest > LEGEND_COLUMN { 1 } else { 3 };
        for (index, name) in self.names.iter().enumerate() {
            let x = 60.0 + (WIDTH - 90.0) / columns as f64 * (index % columns) as f64;
            let y = top + LEGEND_LINE * (index / columns) as f64;
            *svg += &series(index, &[(x, y), (x + 46.0, y)], &[(x + 23.0, y)]);
            let is_long = name.chars().count() > LEGEND_COLUMNS;
            *svg += &text((x + 54.0, y), 13, if is_long { COMPRESSED } else { "" }, name);
        }
        LEGEND_LINE * self.names.len().div_ceil(columns) as f64
    }
}

impl Plot {
    fn draw(&self, svg: &mut String, top: f64) {
        let bottom = top + self.height;
        let place = |&(x, y): &Point| {
            let (x, y) = (self.x.share(x), self.y.share(y));
            (LEFT + x * (RIGHT - LEFT), bottom - y * self.height)
        };
        for (value, label) in &self.x.ticks {
            let (x, _) = place(&(*value, 0.0));
            *svg += &line("#DDDDDD", (x, top), (x, bottom + 5.0));
            *svg += &text((x, bottom + 15.0), 12, MIDDLE, label);
        }
        for (value, label) in &self.y.ticks {
            let (_, y) = place(&(0.0, *value));
            *svg += &line("#DDDDDD", (LEFT - 5.0, y), (RIGHT, y));
            *svg += &text((LEFT - 10.0, y), 12, "text-anchor=\"end\"", label);
        }
        *svg += &line("#222222", (LEFT, top), (LEFT, bottom));
        *svg += &line("#222222", (LEFT, bottom), (RIGHT, bottom));
        *svg += &text((f64::midpoint(LEFT, RIGHT), bottom + 46.0), 14, MIDDLE, &self.x.title);
        let middle = f64::midpoint(top, bottom);
        let turned = format!("{MIDDLE} transform=\"rotate(270 22 {middle})\"");
        *svg += &text((22.0, middle), 14, &turned, &self.y.title);
        for (index, curve) in self.curves.iter().enumerate() {
            let marks: Vec<Point> = marked(curve, &self.x.ticks).iter().map(place).collect();
            *svg += &series(index, &curve.iter().map(place).collect::<Vec<_>>(), &marks);
        }
    }
}

/// A line with markers, filled with white so that overlapping ones stay visible.
fn series(index: usize, line: &[Point], marks: &[Point]) -> String {
    let (colour, dashes) = (COLOURS[index % COLOURS.len()], DASHES[index % DASHES.len()]);
    let stroke = format!("stroke=\"{colour}\" stroke-width=\"2\"");
    let points: Vec<String> = line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut svg = format!(
        "<polyline fill=\"none\" {stroke} stroke-dasharray=\"{dashes}\" points=\"{}\"/>\n",
        points.join(" ")
    );
    for (x, y) in marks {
        let mark = MARKS[index % MARKS.len()];
        let place = format!("transform=\"translate({x:.1} {y:.1})\"");
        let _ = writeln!(svg, "<path fill=\"#FFFFFF\" {stroke} d=\"{mark}\" {place}/>");
    }
    svg
}

fn line(colour: &str, (x1, y1): Point, (x2, y2): Point) -> String {
    format!("<path stroke=\"{colour}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>\n")
}

fn text((x, y): Point, size: u32, attributes: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\" font-size=\"{size}\" \
         {attributes} fill=\"#222222\">{text}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};

    fn svg(runs: Vec<LoadedRun>) -> Result<String, Error> {
        plot(&Side::group(runs).unwrap(), None)
    }

    #[test]
    fn an_empty_run_is_in_the_legend_and_only_empty_runs_are_an_error() {
        let both = vec![saved("full", run(1, 1_000..=2_000)), saved("empty", run(1, []))];
        assert!(svg(both).unwrap().contains(">empty (no echo)<"));
        assert!(matches!(svg(vec![saved("empty", run(1, []))]), Err(Error::NoSamples)));
    }

    #[test]
    fn more_sides_than_can_be_told_apart_are_refused() {
        let many = |count: u64| {
            (1..=count).map(|it| saved(&it.to_string(), run(1, [it * 1_000]))).collect()
        };
        assert!(svg(many(MAX_SERIES as u64)).is_ok());
        assert!(matches!(svg(many(13)), Err(Error::TooManyRuns(13))));
    }

    #[test]
    fn a_panel_that_would_be_empty_is_left_out() {
        let whole = saved("a", run(1, 1_000..=2_000));
        let part = |intervals: usize| LoadedRun {
            intervals: whole.intervals[..intervals].to_vec(),
            ..whole.clone()
        };
        for (intervals, heading) in [
            (2, "Latency by percentile, and rate over time"),
            (1, "Latency by percentile"),
            (0, "Latency by percentile"),
        ] {
            let svg = svg(vec![part(intervals)]).unwrap();
            assert!(svg.contains(&format!(">{heading}<")), "{intervals}");
            assert_eq!(svg.contains("time from the start (s)"), intervals > 1);
        }
    }

    #[test]
    fn a_side_of_repeated_runs_is_one_series_with_their_load_as_the_subtitle() {
        let runs = [1_000, 3_000, 2_000].map(|ns| saved("a&b", run(1, vec![ns; 100])));
        let svg = plot(&Side::group(runs.into()).unwrap(), Some("<title>")).unwrap();
        assert!(svg.contains(">&lt;title&gt;<") && svg.contains(">a&amp;b, median of 3 runs<"));
        assert!(
            svg.contains(">connections 1, size 64, depth 1, framing raw, loop closed<"),
            "{svg}"
        );
        assert_eq!(svg.matches("<polyline").count(), 3, "the legend and two plots");
    }

    #[test]
    fn a_name_that_is_too_long_is_compressed() {
        let long = "x".repeat(LEGEND_COLUMNS + 1);
        let svg = svg(vec![saved(&long, run(1, 1_000..=2_000))]).unwrap();
        assert_eq!(svg.matches("textLength=").count(), 1);
        assert!(svg.contains(&format!(">{long}<")));
    }
}
