//! Plots of runs: latency by percentile with rate over time, or the curves of one metric.
//!
//! Percentiles are plotted on HdrHistogram's axis, 1/(1-p): each unit leaves a tenth of the slower
//! echoes, so that the tail gets as much room as the bulk.

mod axis;
mod series;
mod series_style;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use self::axis::Axis;
use self::series::{marked, percentiles, rates};
use self::series_style::SeriesStyle;
use super::{Curves, Error, LoadedRun, XAxis};
use crate::units::Unit;

/// More series cannot be told apart by colour, dashes and markers.
pub const MAX_SERIES: usize = 12;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type PlotResult = Result<(), DrawingAreaErrorKind<std::io::Error>>;
type Point = (f64, f64);

/// Width of the plot in pixels, and the heights of its parts.
const WIDTH: u32 = 960;
const TITLE_HEIGHT: u32 = 40;
const CONDITIONS_HEIGHT: u32 = 24;
const LEGEND_LINE: u32 = 24;
const PERCENTILES_HEIGHT: u32 = 420;
const RATES_HEIGHT: u32 = 300;
const CURVES_HEIGHT: u32 = 460;
/// Columns of the legend and characters per name. If one name is longer, each gets its own line:
/// shortened names often look the same.
const LEGENDS: [(usize, usize); 2] = [(3, 28), (1, 100)];

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// Plots the runs as SVG. Its text stays text.
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
    Ok(Picture { heading, conditions: "", names, plots }.svg())
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
    let x = Axis::percentile(curves.iter().flatten().map(|&(nines, _)| nines));
    let y = Axis::latency(curves.iter().flatten().map(|&(_, us)| us));
    Plot { height: PERCENTILES_HEIGHT, axes: [x, y], curves }
}

/// The rates over time, if any run has intervals.
fn over_time(saved: &[LoadedRun]) -> Option<Plot> {
    let curves: Vec<Vec<Point>> = saved.iter().map(|saved| rates(&saved.intervals)).collect();
    if curves.iter().all(Vec::is_empty) {
        return None;
    }
    let intervals = saved.iter().flat_map(|saved| &saved.intervals);
    let x = Axis::time(intervals.map(|part| part.start_s + part.seconds));
    let y = Axis::rate(curves.iter().flatten().map(|&(_, rate)| rate));
    Some(Plot { height: RATES_HEIGHT, axes: [x, y], curves })
}

/// Plots curves as SVG. Its text stays text.
///
/// # Errors
///
/// There are too many curves.
pub fn plot_curves(curves: &Curves) -> Result<String, Error> {
    if curves.curves.len() > MAX_SERIES {
        return Err(Error::TooManyRuns(curves.curves.len()));
    }
    let names = curves.curves.iter().map(|curve| curve.label.as_str()).collect();
    let points = curves.curves.iter().map(|curve| {
        curve.points.iter().map(|point| (point.at, point.value)).collect::<Vec<Point>>()
    });
    let points: Vec<_> = points.collect();
    let (x_values, values) = (
        points.iter().flatten().map(|&(place, _)| place),
        points.iter().flatten().map(|&(_, value)| value),
    );
    let x = match curves.against {
        XAxis::Size => Axis::sizes(curves.against.description(), x_values),
        XAxis::Connections | XAxis::Rate => Axis::counts(curves.against.description(), x_values),
    };
    let title = curves.metric_description();
    let y = if curves.unit == Unit::Microseconds {
        Axis::times(&title, values)
    } else {
        Axis::numbers(&title, values)
    };
    let plots = vec![Plot { height: CURVES_HEIGHT, axes: [x, y], curves: points }];
    let (heading, conditions) = (&curves.heading(), curves.conditions.as_str());
    Ok(Picture { heading, conditions, names, plots }.svg())
}

/// A page of plots with a title and a legend.
struct Picture<'a> {
    heading: &'a str,
    /// Subtitle; may be empty.
    conditions: &'a str,
    /// Names of the series, in the order of each plot.
    names: Vec<&'a str>,
    plots: Vec<Plot>,
}

struct Plot {
    height: u32,
    axes: [Axis; 2],
    /// In units of the axes.
    curves: Vec<Vec<Point>>,
}

impl Picture<'_> {
    fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("memory takes what is drawn in it");
        svg
    }

    fn draw(&self, svg: &mut String) -> PlotResult {
        let (columns, _) = legend_of(&self.names);
        let legend_height = LEGEND_LINE * self.names.len().div_ceil(columns) as u32;
        let plots_height: u32 = self.plots.iter().map(|plot| plot.height).sum();
        let conditions_height = if self.conditions.is_empty() { 0 } else { CONDITIONS_HEIGHT };
        let title_height = TITLE_HEIGHT + conditions_height;
        let height = title_height + legend_height + plots_height;
        let whole = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        whole.fill(&WHITE)?;
        let (title, rest) = whole.split_vertically(title_height);
        let (legend, mut rest) = rest.split_vertically(legend_height);
        let centre = Pos::new(HPos::Center, VPos::Center);
        title.draw_text(self.heading, &font(22).pos(centre), (WIDTH as i32 / 2, 22))?;
        let below = (WIDTH as i32 / 2, TITLE_HEIGHT as i32 + 6);
        title.draw_text(self.conditions, &font(15).pos(centre), below)?;
        draw_legend(&legend, &self.names)?;
        for plot in &self.plots {
            let (area, below) = rest.split_vertically(plot.height);
            plot.draw(&area)?;
            rest = below;
        }
        whole.present()
    }
}

impl Plot {
    fn draw(&self, area: &Area) -> PlotResult {
        let [x_axis, y_axis] = &self.axes;
        let mut chart = ChartBuilder::on(area)
            .margin_top(16)
            .margin_left(12)
            .margin_right(36)
            .margin_bottom(8)
            .x_label_area_size(54)
            .y_label_area_size(88)
            .build_cartesian_2d(x_axis.clone(), y_axis.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(font(15))
            .axis_desc_style(font(17))
            .x_desc(x_axis.title.as_str())
            .y_desc(y_axis.title.as_str())
            .draw()?;
        // Plotters supports only one kind of dashed line, so dashes are computed in pixels.
        let pixels = area.use_screen_coord();
        for (index, curve) in self.curves.iter().enumerate() {
            let style = SeriesStyle::number(index);
            let curve: Vec<Point> =
                curve.iter().map(|&(x, y)| (x_axis.place(x), y_axis.place(y))).collect();
            let pixel = |place: &Point| chart.plotting_area().map_coordinate(place);
            for dash in style.dashes(&curve.iter().map(pixel).collect::<Vec<_>>()) {
                pixels.draw(&PathElement::new(dash, style.stroke()))?;
            }
            for place in marked(&curve, &x_axis.ticks) {
                style.mark(&pixels, pixel(&place))?;
            }
        }
        Ok(())
    }
}

fn font(size: u32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font()).color(&INK)
}

fn legend_of(names: &[&str]) -> (usize, usize) {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    LEGENDS[usize::from(longest > LEGENDS[0].1)]
}

/// A line sample and a name for each series.
fn draw_legend(area: &Area, names: &[&str]) -> PlotResult {
    let left = Pos::new(HPos::Left, VPos::Center);
    let (columns, room) = legend_of(names);
    for (index, name) in names.iter().enumerate() {
        let column = (WIDTH as usize - 90) / columns * (index % columns);
        let line = LEGEND_LINE as usize * (index / columns);
        let (x, y) = (60 + column as i32, 12 + line as i32);
        let style = SeriesStyle::number(index);
        for dash in style.dashes(&[(x, y), (x + 46, y)]) {
            area.draw(&PathElement::new(dash, style.stroke()))?;
        }
        style.mark(area, (x + 23, y))?;
        area.draw_text(&shortened(name, room), &font(16).pos(left), (x + 54, y))?;
    }
    Ok(())
}

/// Shortens a name to fit the legend. Its end is kept: it may be what distinguishes it.
fn shortened(name: &str, room: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= room {
        return name.to_owned();
    }
    let half = room / 2;
    letters[..half].iter().chain(&['…']).chain(&letters[letters.len() - half + 1..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};

    #[test]
    fn a_long_name_keeps_its_start_and_end() {
        assert_eq!(shortened("short", 28), "short");
        let long = shortened(&format!("first-{}-last", "x".repeat(40)), 28);
        assert_eq!(long.chars().count(), 28);
        assert!(long.starts_with("first-") && long.ends_with("-last"), "{long}");
    }

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
