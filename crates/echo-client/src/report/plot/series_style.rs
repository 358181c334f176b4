//! Colours, dashes and markers that distinguish series.

use plotters::prelude::*;

use super::{Area, PlotResult};

/// The palette of Okabe and Ito, which is safe for colour-blind readers, without its yellow, which
/// is too pale on white. The first four also differ in lightness.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
];
/// Lengths of dashes and gaps in pixels; empty for a solid line. With 5 of these, 7 colours and 4
/// markers, 140 series look different.
const DASHES: [&[f64]; 5] = [&[], &[12.0, 5.0], &[3.0, 4.0], &[14.0, 4.0, 3.0, 4.0], &[24.0, 5.0]];
/// Pixels from the centre of a marker to its edge.
const MARK: i32 = 5;
const STROKE: u32 = 2;

/// How a series is drawn.
pub(super) struct SeriesStyle {
    colour: RGBColor,
    dashes: &'static [f64],
    mark: Mark,
}

#[derive(Clone, Copy)]
enum Mark {
    Circle,
    Square,
    Triangle,
    Cross,
}

type Pixel = (i32, i32);

impl SeriesStyle {
    pub(super) fn number(index: usize) -> Self {
        const MARKS: [Mark; 4] = [Mark::Circle, Mark::Square, Mark::Triangle, Mark::Cross];
        Self {
            colour: COLOURS[index % COLOURS.len()],
            dashes: DASHES[index % DASHES.len()],
            mark: MARKS[index % MARKS.len()],
        }
    }

    pub(super) fn stroke(&self) -> ShapeStyle {
        self.colour.stroke_width(STROKE)
    }

    /// Splits a path into its dashes.
    pub(super) fn dashes(&self, path: &[Pixel]) -> Vec<Vec<Pixel>> {
        if self.dashes.is_empty() {
            return vec![path.to_vec()];
        }
        let mut lengths = self.dashes.iter().copied().cycle();
        let mut left = lengths.next().unwrap_or_default();
        let mut drawing = true;
        let mut dashes = Vec::new();
        let mut dash: Vec<Pixel> = path.first().copied().into_iter().collect();
        for ends in path.windows(2) {
            let [from, to] = [ends[0], ends[1]];
            let length = f64::from(to.0 - from.0).hypot(f64::from(to.1 - from.1));
            let mut gone = 0.0;
            while length - gone > left {
                gone += left;
                let turn = between(from, to, gone / length);
                if drawing {
                    dash.push(turn);
                    dashes.push(std::mem::take(&mut dash));
                } else {
                    dash = vec![turn];
                }
                drawing = !drawing;
                left = lengths.next().unwrap_or_default();
            }
            left -= length - gone;
            if drawing {
                dash.push(to);
            }
        }
        dashes.extend((dash.len() > 1).then_some(dash));
        dashes
    }

    /// Draws a marker, filled with white so that overlapping ones stay visible.
    pub(super) fn mark(&self, area: &Area, (x, y): Pixel) -> PlotResult {
        let corners = match self.mark {
            Mark::Circle => {
                area.draw(&Circle::new((x, y), MARK, WHITE.filled()))?;
                return area.draw(&Circle::new((x, y), MARK, self.stroke()));
            }
            Mark::Cross => return area.draw(&Cross::new((x, y), MARK, self.stroke())),
            Mark::Square => vec![
                (x - MARK, y - MARK),
                (x + MARK, y - MARK),
                (x + MARK, y + MARK),
                (x - MARK, y + MARK),
            ],
            Mark::Triangle => {
                vec![(x - MARK - 1, y + MARK), (x, y - MARK - 1), (x + MARK + 1, y + MARK)]
            }
        };
        area.draw(&Polygon::new(corners.clone(), WHITE.filled()))?;
        let outline = corners.iter().chain(&corners[..2]).copied().collect::<Vec<_>>();
        area.draw(&PathElement::new(outline, self.stroke()))
    }
}

fn between(from: Pixel, to: Pixel, share: f64) -> Pixel {
    let part = |from: i32, to: i32| from + (f64::from(to - from) * share).round() as i32;
    (part(from.0, to.0), part(from.1, to.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_continue_around_corners() {
        let style = SeriesStyle { dashes: &[10.0, 5.0], ..SeriesStyle::number(0) };
        let dashes = style.dashes(&[(0, 0), (4, 0), (4, 20)]);
        assert_eq!(dashes, [vec![(0, 0), (4, 0), (4, 6)], vec![(4, 11), (4, 20)]]);
    }

    #[test]
    fn a_solid_line_is_one_path() {
        let path = [(0, 0), (4, 0), (4, 20)];
        assert_eq!(SeriesStyle::number(0).dashes(&path), [path]);
    }

    #[test]
    fn an_empty_path_has_no_dashes() {
        assert!(SeriesStyle::number(1).dashes(&[]).is_empty());
        assert!(SeriesStyle::number(1).dashes(&[(1, 1)]).is_empty());
    }
}
