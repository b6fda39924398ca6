//! Plots as SVG: lines over a logarithmic axis, in colours that both light and dark pages bear.

use std::fmt::Write as _;

/// A line of a plot.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Points with growing `x`; all `y` are greater than zero.
    pub points: Vec<(f64, f64)>,
    /// Whether it is dashed.
    pub dashed: bool,
    /// The place of its colour, which lines of one server share.
    pub colour: usize,
}

/// A plot.
pub struct Plot {
    /// Above everything.
    pub title: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Beside the vertical axis, which is logarithmic.
    pub y_label: String,
    /// Marks of the horizontal axis: a place and its text.
    pub x_marks: Vec<(f64, String)>,
    /// The lines.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

const COLOURS: [&str; 8] = ["#4c78a8", "#e4572e", "#54a24b", "#b279a2", "#c09000", "#2aa1a1", "#9d755d", "#808080"];

impl Plot {
    /// The picture. It is the same for the same values.
    pub fn svg(&self) -> String {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#808080\">\n"
        );
        let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>", escape(&self.title));
        self.axes(&mut text);
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[line.colour % COLOURS.len()];
            let dash = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            let points: Vec<String> =
                line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y))).collect();
            let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}");
            let _ = writeln!(text, "<polyline points=\"{}\" {style}/>", points.join(" "));
            let (x, y) = (WIDTH - RIGHT + 15.0, TOP + 10.0 + index as f64 * 18.0);
            let _ = writeln!(text, "<path d=\"M{x:.0} {y:.0}h24\" {style}/>");
            let _ = writeln!(text, "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>", x + 30.0, y + 4.0, escape(&line.name));
        }
        text + "</svg>\n"
    }

    fn axes(&self, text: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let grid = "stroke=\"#808080\" stroke-opacity=\"0.3\"";
        let [low, high] = self.decades();
        for decade in low..=high {
            let y = self.y(10_f64.powi(decade));
            let _ = writeln!(text, "<path d=\"M{LEFT} {y:.1}H{right}\" {grid}/>");
            let value = 10_f64.powi(decade);
            let _ =
                writeln!(text, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", LEFT - 6.0, y + 4.0);
        }
        for (place, name) in &self.x_marks {
            let x = self.x(*place);
            let _ = writeln!(text, "<path d=\"M{x:.1} {TOP}V{bottom}\" {grid}/>");
            let _ = writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                escape(name)
            );
        }
        let middle = (LEFT + right) / 2.0;
        let label = escape(&self.x_label);
        let _ = writeln!(text, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", HEIGHT - 10.0);
        let (y, label) = ((TOP + bottom) / 2.0, escape(&self.y_label));
        let _ = writeln!(
            text,
            "<text x=\"16\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {y})\">{label}</text>"
        );
    }

    fn x(&self, value: f64) -> f64 {
        let places = self.x_marks.iter().map(|(place, _)| *place);
        let all = places.chain(self.lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x)));
        let (low, high) = bounds(all);
        LEFT + (value - low) / (high - low).max(f64::EPSILON) * (WIDTH - RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let [low, high] = self.decades().map(f64::from);
        let bottom = HEIGHT - BOTTOM;
        bottom - (value.log10() - low) / (high - low) * (bottom - TOP)
    }

    /// The powers of ten below and above all values.
    fn decades(&self) -> [i32; 2] {
        let (low, high) = bounds(self.lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y)));
        if !low.is_finite() {
            return [0, 1];
        }
        let low = low.log10().floor() as i32;
        [low, (high.log10().ceil() as i32).max(low + 1)]
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greater_value_is_higher_and_later() {
        let line =
            Line { name: "a < b".to_owned(), points: vec![(50.0, 100.0), (95.0, 1000.0)], dashed: true, colour: 0 };
        let plot = Plot {
            title: "t".to_owned(),
            x_label: String::new(),
            y_label: String::new(),
            x_marks: vec![(50.0, "50 %".to_owned()), (95.0, "95 %".to_owned())],
            lines: vec![line],
        };
        let svg = plot.svg();
        // From the lower left to the upper right corner of the area.
        assert!(svg.contains("points=\"70.0,350.0 540.0,40.0\""), "{svg}");
        assert!(svg.contains("a &lt; b"));
        assert_eq!(svg, plot.svg());
    }
}
