//! A chart as a picture for slides: text that can be selected, no fonts from elsewhere, readable in
//! black and white and on a dark page.

use super::chart::{Chart, Kind, busy};
use crate::terminal::fit;

const WIDTH: f64 = 960.0;
const LABELS: f64 = 150.0;
const TIMES: f64 = 80.0;
const ROW: f64 = 34.0;
const TOP: f64 = 56.0;

/// Kinds differ in pattern, not only in colour; colours follow the reader's light or dark mode.
const STYLE: &str = "\
  text { font: 15px system-ui, sans-serif; fill: #1a1a1a }
  .title { font-weight: 600; font-size: 18px }
  .axis { stroke: #bbb; stroke-width: 1 }
  .tick { font-size: 12px }
  .ink { stroke: #1a1a1a; fill: none }
  .tool { fill: #1a1a1a }
  .thinking { fill: url(#dots); stroke: #d9480f; stroke-width: 0.4 }
  .task { fill: url(#stripes); stroke: #1a1a1a }
  .paper { fill: #ffffff }
  .accent { fill: #d9480f }
  .stripe { stroke: #1c7ed6; stroke-width: 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #eee } .paper { fill: #16181c } .axis { stroke: #555 }
    .tool { fill: #eee } .task { stroke: #eee } .stripe { stroke: #74c0fc }
    .accent { fill: #ffa94d }
  }";

/// The whole picture as the text of an SVG file.
pub fn draw(chart: &Chart, title: &str) -> String {
    let height = TOP + ROW * chart.lanes.len() as f64 + 66.0;
    let right = WIDTH - TIMES;
    let x = |time: f64| LABELS + (right - LABELS) * time / chart.seconds.max(1e-9);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>\n{STYLE}\n</style>\n<defs>\n\
         <pattern id=\"dots\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect class=\"paper\" width=\"6\" height=\"6\"/><circle class=\"accent\" cx=\"3\" cy=\"3\" r=\"1.4\"/></pattern>\n\
         <pattern id=\"stripes\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect class=\"paper\" width=\"8\" height=\"8\"/><line class=\"stripe\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"8\"/></pattern>\n\
         </defs>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"16\" y=\"28\">{title}</text>\n",
        title = escape(title)
    );
    let bottom = TOP + ROW * chart.lanes.len() as f64;
    let step = tick_step(chart.seconds);
    for time in (0..)
        .map(|tick| f64::from(tick) * step)
        .take_while(|time| *time <= chart.seconds)
    {
        let (at, time) = (x(time), (time * 10.0).round() / 10.0);
        svg += &format!(
            "<line class=\"axis\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{time} s</text>\n",
            TOP - 6.0
        );
    }
    for (index, lane) in chart.lanes.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        svg += &format!(
            "<text x=\"16\" y=\"{:.1}\">{}</text>\n",
            y + 22.0,
            escape(&label(&lane.label))
        );
        for bar in &lane.bars {
            let (start, end) = (x(bar.start), x(bar.end));
            svg += &format!(
                "<rect class=\"{}\" x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"20\"><title>{} {:.1} s</title></rect>\n",
                class(bar.kind),
                y + 7.0,
                (end - start).max(0.6),
                escape(&bar.name),
                bar.end - bar.start
            );
        }
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\">{:.1} s</text>\n",
            right + 12.0,
            y + 22.0,
            busy(lane)
        );
    }
    let mut at = LABELS;
    for (kind, _, meaning) in Kind::LEGEND {
        let y = bottom + 24.0;
        svg += &format!(
            "<rect class=\"{}\" x=\"{at:.1}\" y=\"{y:.1}\" width=\"28\" height=\"16\"/><text x=\"{:.1}\" y=\"{:.1}\">{meaning}</text>\n",
            class(kind),
            at + 36.0,
            y + 13.0
        );
        at += 70.0 + meaning.len() as f64 * 8.0;
    }
    if let Some(note) = chart.dropped_note() {
        svg += &format!(
            "<text class=\"tick\" x=\"{LABELS}\" y=\"{:.1}\">{note}</text>\n",
            bottom + 58.0
        );
    }
    svg + "</svg>\n"
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Thinking => "thinking",
        Kind::Tool | Kind::Turn | Kind::Delivered => "tool",
        Kind::Task => "task",
    }
}

fn label(text: &str) -> String {
    match fit(text, 16).0 {
        start if start.chars().count() < text.chars().count() => fit(text, 15).0 + "…",
        all => all,
    }
}

/// At most ten ticks, at round numbers.
fn tick_step(seconds: f64) -> f64 {
    let steps = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0,
    ];
    steps
        .into_iter()
        .find(|step| seconds / step <= 10.0)
        .unwrap_or(seconds / 5.0)
}

/// Text as it may stand in XML: control characters have no place there.
fn escape(text: &str) -> String {
    let allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let text: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { ' ' })
        .collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
