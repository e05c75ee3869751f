//! Plain SVG: panels of lines over one axis of time, without scripts or fonts of their own.

use std::fmt::Write;

/// One line of a panel; `values` stand at equal distances over the whole axis.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: &'static str,
    pub colour: &'static str,
    pub values: Vec<f64>,
    /// Down to the axis, for what has a size.
    pub filled: bool,
    /// As steps, for what holds over an interval.
    pub steps: bool,
}

#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 1_200.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 200.0;
const GAP: f64 = 60.0;
const TOP: f64 = 60.0;

/// `ticks` are places on the axis, from 0 to 1, with what is written there.
pub fn chart(title: &str, ticks: &[(f64, String)], panels: &[Panel]) -> String {
    let height = TOP + panels.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"26\" font-size=\"18\">{}</text>\n",
        escaped(title)
    );
    for (no, panel) in panels.iter().enumerate() {
        draw(&mut svg, panel, ticks, TOP + no as f64 * (PANEL + GAP));
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, panel: &Panel, ticks: &[(f64, String)], top: f64) {
    let bottom = top + PANEL;
    let values = panel.lines.iter().flat_map(|line| line.values.iter().copied());
    let step = round_step(values.filter(|value| value.is_finite()).fold(0.0, f64::max) / 4.0);
    let high = step * 4.0;
    let (x, y) = (|share: f64| LEFT + share * (WIDTH - LEFT - RIGHT), |value: f64| bottom - value.min(high) / high * PANEL);
    // A String takes everything that is written to it.
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>", top - 8.0, escaped(panel.title));
    for level in 0..=4 {
        let value = step * f64::from(level);
        let (at, right) = (y(value), WIDTH - RIGHT);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, at + 4.0, plain(value));
    }
    for (place, label) in ticks {
        let at = x(*place);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#eee\"/>");
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 17.0, escaped(label));
    }
    let mut legend = WIDTH - RIGHT;
    for line in panel.lines.iter().rev() {
        legend -= 30.0 + 8.0 * line.name.chars().count() as f64;
        let (name, colour, text) = (escaped(line.name), line.colour, top - 8.0);
        let _ = writeln!(svg, "<rect x=\"{legend}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>", text - 11.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{text}\">{name}</text>", legend + 16.0);
    }
    for line in &panel.lines {
        let path = path(line, x, y);
        if line.filled && !path.is_empty() {
            let _ = writeln!(
                svg,
                "<path d=\"{path}L{:.1} {bottom}L{LEFT} {bottom}Z\" fill=\"{}\" fill-opacity=\"0.25\"/>",
                x(1.0),
                line.colour
            );
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>", line.colour);
    }
}

fn path(line: &Line, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let count = line.values.len().max(1) as f64;
    let mut path = String::new();
    for (no, value) in line.values.iter().enumerate() {
        let (from, to, at) =
            (x(no as f64 / count), x((no as f64 + 1.0) / count), y(if value.is_finite() { *value } else { 0.0 }));
        let sign = if no == 0 { 'M' } else { 'L' };
        let _ = if line.steps || line.filled {
            write!(path, "{sign}{from:.1} {at:.1}L{to:.1} {at:.1}")
        } else {
            write!(path, "{sign}{:.1} {at:.1}", (from + to) / 2.0)
        };
    }
    path
}

/// The next of 1, 2, 5 × 10ⁿ.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(least)
}

fn plain(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}").trim_end_matches('0').replace('.', ",") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
