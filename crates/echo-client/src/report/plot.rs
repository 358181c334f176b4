//! Plots of runs as SVG: latency by percentile with rate over time, or the curves of one metric.
//!
//! Percentiles are plotted on HdrHistogram's axis, 1/(1-p): each unit leaves a tenth of the slower
//! echoes, so that the tail gets as much room as the bulk.

mod axis;
mod series;

use std::fmt::Write;

use self::axis::Axis;
use self::series::{marked, percentiles, rates};
use super::{Curves, Error, LoadedRun, XAxis};
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

/// Plots the runs. Text stays text.
///
/// # Errors
///
/// There are too many runs, or none has an echo.
pub fn plot(saved: &[LoadedRun]) -> Result<String, Error> {
    if saved.len() > MAX_SERIES {
        return Err(Error::TooManyRuns(saved.len()));
    }
    if saved.iter().all(|saved| saved.latency.is_empty()) {
        return Err(Error::NoSamples);
    }
    let names: Vec<String> = saved.iter().map(name_in_legend).collect();
    let names = names.iter().map(String::as_str).collect();
    let mut plots = vec![by_percentile(saved)];
    plots.extend(over_time(saved));
    let heading = "Latency by percentile, and rate over time";
    Ok(Picture { heading, subtitle: "", names, plots }.svg())
}

/// A run without an echo has no curve, and the legend says why.
fn name_in_legend(saved: &LoadedRun) -> String {
    if saved.latency.is_empty() {
        return format!("{} (no echo)", saved.name);
    }
    saved.name.clone()
}

fn by_percentile(saved: &[LoadedRun]) -> Plot {
    let curves: Vec<Vec<Point>> = saved.iter().map(|saved| percentiles(&saved.latency)).collect();
    let [nines, times] = coordinates(&curves);
    let y = Axis::measured("latency", Unit::Microseconds, &times);
    Plot { height: 342.0, x: Axis::percentile(&nines), y, curves }
}

/// The rates over time, if any run has intervals.
fn over_time(saved: &[LoadedRun]) -> Option<Plot> {
    let curves: Vec<Vec<Point>> = saved.iter().map(|saved| rates(&saved.intervals)).collect();
    if curves.iter().all(Vec::is_empty) {
        return None;
    }
    let intervals = saved.iter().flat_map(|saved| &saved.intervals);
    let ends: Vec<f64> = intervals.map(|part| part.start_s + part.seconds).collect();
    let [_, rates] = coordinates(&curves);
    let y = Axis::measured("rate (echoes/s)", Unit::PerSecond, &rates);
    Some(Plot { height: 222.0, x: Axis::time(&ends), y, curves })
}

/// Plots curves. Text stays text.
///
/// # Errors
///
/// There are too many curves.
pub fn plot_curves(curves: &Curves) -> Result<String, Error> {
    if curves.curves.len() > MAX_SERIES {
        return Err(Error::TooManyRuns(curves.curves.len()));
    }
    let names = curves.curves.iter().map(|curve| curve.label.as_str()).collect();
    let points = curves.curves.iter().map(|curve| curve.points.iter());
    let points: Vec<Vec<Point>> =
        points.map(|points| points.map(|point| (point.at, point.value)).collect()).collect();
    let [x, y] = coordinates(&points);
    let title = curves.against.description();
    let x = match curves.against {
        XAxis::Size => Axis::sizes(title, &x),
        XAxis::Connections | XAxis::Rate => Axis::counts(title, &x),
    };
    let y = Axis::measured(&curves.metric_description(), curves.unit, &y);
    let plots = vec![Plot { height: 382.0, x, y, curves: points }];
    let (heading, subtitle) = (&curves.heading(), curves.conditions.as_str());
    Ok(Picture { heading, subtitle, names, plots }.svg())
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
    fn svg(&self) -> String {
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
        format!(
            "<svg width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
             xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n{svg}</svg>\n"
        )
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

    #[test]
    fn names_that_differ_in_the_middle_stay_distinct() {
        let name = |middle| format!("a-rather-long-{middle}-name-of-a-run");
        let both = ["one", "two"].map(|middle| saved(&name(middle), run(1, 1_000..=2_000)));
        let svg = plot(&both).unwrap();
        assert!(svg.contains(&name("one")) && svg.contains(&name("two")));
    }

    #[test]
    fn an_empty_run_is_in_the_legend_and_only_empty_runs_are_an_error() {
        let svg = plot(&[saved("full", run(1, 1_000..=2_000)), saved("empty", run(1, []))]);
        assert!(svg.unwrap().contains("empty (no echo)"));
        assert!(matches!(plot(&[saved("empty", run(1, []))]), Err(Error::NoSamples)));
    }

    #[test]
    fn more_runs_than_can_be_told_apart_are_refused() {
        let many = vec![saved("one", run(1, [1_000])); MAX_SERIES + 1];
        assert!(plot(&many[1..]).is_ok());
        assert!(matches!(plot(&many), Err(Error::TooManyRuns(13))));
    }

    #[test]
    fn without_intervals_there_is_one_plot() {
        let whole = saved("a", run(1, 1_000..=2_000));
        let bare = LoadedRun { intervals: Vec::new(), ..whole.clone() };
        for (saved, plots) in [(whole, 2), (bare, 1)] {
            let svg = plot(&[saved]).unwrap();
            let titles = ["percentile of the echoes", "time from the start (s)"];
            assert_eq!(titles.iter().filter(|title| svg.contains(*title)).count(), plots);
        }
    }
}
