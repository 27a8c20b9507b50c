//! One figure by round, a line a run, drawn by `plotters` as SVG.

use plotters::prelude::*;
use prism_nn::{Error, Result};

use crate::units::figure;

/// Width and height of a curve in pixels; the page scales it.
const SIZE: (u32, u32) = (560, 250);

/// Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

const GRID: RGBColor = RGBColor(226, 229, 234);
const INK: RGBColor = RGBColor(75, 85, 99);

/// One line.
pub struct Line {
    /// Number of the run, which decides the colour.
    pub run: usize,
    /// Whether it is a bound, drawn dashed.
    pub bound: bool,
    /// Round and value.
    pub points: Vec<(f64, f64)>,
}

/// The colour of run number `run`, as CSS has it.
pub fn colour(run: usize) -> String {
    let RGBColor(red, green, blue) = PALETTE[run % PALETTE.len()];
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The lines as SVG text; values on a logarithmic axis if `logarithmic`. `None` where there is nothing to draw.
///
/// # Errors
/// If the drawing fails.
pub fn svg(lines: &[Line], logarithmic: bool) -> Result<Option<String>> {
    let scaled: Vec<(&Line, Vec<(f64, f64)>)> = lines.iter().map(|line| (line, scale(line, logarithmic))).collect();
    let points = || scaled.iter().flat_map(|(_, points)| points);
    if points().count() == 0 {
        return Ok(None);
    }
    let rounds = range(points().map(|p| p.0), 0.0);
    let values = range(points().map(|p| p.1), 0.05);
    let mut text = String::new();
    draw(&scaled, rounds, values, logarithmic, &mut text)
        .map_err(|why| Error::usage(format!("a curve cannot be drawn ({why})")))?;
    Ok(Some(text))
}

/// The line's points, values as decimal logarithms if `logarithmic`.
fn scale(line: &Line, logarithmic: bool) -> Vec<(f64, f64)> {
    let drawn = line.points.iter().filter(|(_, y)| !logarithmic || *y > 0.0);
    drawn.map(|&(x, y)| (x, if logarithmic { libm::log10(y) } else { y })).collect()
}

/// From the least to the most, with a margin, and never empty.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    let width = high - low;
    if width < 1e-12 * high.abs().max(1e-300) {
        // A pad that is rounded to nothing would leave the range empty.
        let pad = if high.abs() < 1e-100 { 1.0 } else { 0.1 * high.abs() };
        return low - pad..high + pad;
    }
    low - margin * width..high + margin * width
}

type Scaled<'a> = (&'a Line, Vec<(f64, f64)>);

fn draw(
    lines: &[Scaled<'_>],
    rounds: std::ops::Range<f64>,
    values: std::ops::Range<f64>,
    logarithmic: bool,
    text: &mut String,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .margin_right(16)
        .x_label_area_size(34)
        .y_label_area_size(62)
        .build_cartesian_2d(rounds, values)?;
    let label = ("sans-serif", 13).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_labels(7)
        .y_labels(5)
        .x_desc("round")
        .label_style(label)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| figure(if logarithmic { libm::pow(10.0, *y) } else { *y }))
        .draw()?;
    for (line, points) in lines {
        let colour = PALETTE[line.run % PALETTE.len()];
        if line.bound {
            chart.draw_series(DashedLineSeries::new(points.iter().copied(), 5, 4, colour.stroke_width(2)))?;
        } else if let [only] = points.as_slice() {
            chart.draw_series([Circle::new(*only, 3, colour.filled())])?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        }
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line { run: 0, bound: false, points: points.to_vec() }
    }

    #[test]
    fn a_curve_is_svg_with_a_line_and_axis_labels() {
        let drawn = svg(&[line(&[(1.0, 3.0), (2.0, 1.0), (3.0, 0.5)])], false).unwrap().unwrap();
        assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
        assert!(drawn.contains("<polyline") && drawn.contains("round"), "{drawn}");
        assert!(drawn.to_lowercase().contains(&colour(0)));
    }

    #[test]
    fn nothing_one_point_and_equal_values_are_no_obstacle() {
        assert!(svg(&[line(&[])], false).unwrap().is_none());
        assert!(svg(&[line(&[(1.0, 0.0)])], true).unwrap().is_none());
        assert!(svg(&[line(&[(1.0, 7.0)])], false).unwrap().unwrap().contains("<circle"));
        assert!(svg(&[line(&[(1.0, 7.0), (2.0, 7.0)])], true).unwrap().is_some());
        for extremes in [(0.0, 5e-324), (-1e100, 1e100), (1e100, 1e100)] {
            for logarithmic in [false, true] {
                svg(&[line(&[(1.0, extremes.0), (1e100, extremes.1)])], logarithmic).unwrap();
            }
        }
    }
}
