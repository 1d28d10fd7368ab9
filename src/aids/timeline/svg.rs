//! aids · A chart as a picture for slides: text that can be selected, no fonts from elsewhere,
//! readable in black and white and on a dark page.

use super::chart::{Chart, legend};
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
  .Tool { fill: #1a1a1a }
  .Thinking { fill: url(#dots); stroke: #d9480f; stroke-width: 0.4 }
  .Poll { fill: url(#lines); stroke: #d9480f; stroke-width: 0.4 }
  .Task { fill: url(#stripes); stroke: #1a1a1a }
  .Question { fill: none; stroke: #1a1a1a; stroke-dasharray: 4 3 }
  .paper { fill: #ffffff }
  .accent { fill: #d9480f }
  .stripe { stroke: #1c7ed6; stroke-width: 3 }
  .line { stroke: #d9480f; stroke-width: 2.4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #eee } .paper { fill: #16181c } .axis { stroke: #555 }
    .Tool { fill: #eee } .Task, .Question { stroke: #eee } .stripe { stroke: #74c0fc }
    .accent { fill: #ffa94d } .line { stroke: #ffa94d }
  }";

const PATTERNS: &str = r#"<defs>
<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse"><rect class="paper" width="6" height="6"/><circle class="accent" cx="3" cy="3" r="1.4"/></pattern>
<pattern id="lines" width="5" height="5" patternUnits="userSpaceOnUse"><rect class="paper" width="5" height="5"/><line class="line" x1="1" y1="0" x2="1" y2="5"/></pattern>
<pattern id="stripes" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="paper" width="8" height="8"/><line class="stripe" x1="0" y1="0" x2="0" y2="8"/></pattern>
</defs>"#;

impl Chart {
    /// The whole picture as the text of an SVG file.
    pub fn svg(&self, title: &str) -> String {
        let (right, bottom) = (WIDTH - TIMES, TOP + ROW * self.lanes.len() as f64);
        let x = |time: f64| LABELS + (right - LABELS) * time / self.seconds.max(1e-9);
        let (title, height) = (escape(title), bottom + 66.0);
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">
<title>{title}</title>
<style>
{STYLE}
</style>
{PATTERNS}
<rect class="paper" width="{WIDTH}" height="{height}"/>
<text class="title" x="16" y="28">{title}</text>
"#
        );
        // Up to fifteen ticks, at round numbers.
        let step = 10f64.powf((self.seconds / 1.5).max(0.1).log10().floor());
        let ticks = (0..).map(|tick| f64::from(tick) * step);
        for time in ticks.take_while(|time| *time <= self.seconds) {
            let (at, y, time) = (x(time), TOP - 6.0, (time * 10.0).round() / 10.0);
            svg += &format!(
                r#"<line class="axis" x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom}"/><text class="tick" x="{at:.1}" y="{y:.1}" text-anchor="middle">{time} s</text>
"#
            );
        }
        for (index, lane) in self.lanes.iter().enumerate() {
            let top = TOP + ROW * index as f64 + 7.0;
            let (y, label) = (top + 15.0, escape(&fit(&lane.label, 16).0));
            svg += &format!("<text x=\"16\" y=\"{y:.1}\">{label}</text>\n");
            for bar in &lane.bars {
                let (start, end) = (x(bar.start), x(bar.end));
                let (kind, width) = (bar.kind, (end - start).max(0.6));
                let (name, time) = (escape(&bar.name), bar.end - bar.start);
                svg += &format!(
                    r#"<rect class="{kind:?}" x="{start:.1}" y="{top:.1}" width="{width:.1}" height="20"><title>{name} {time:.1} s</title></rect>
"#
                );
            }
            let (x, busy) = (right + 12.0, lane.busy());
            svg += &format!("<text x=\"{x:.1}\" y=\"{y:.1}\">{busy:.1} s</text>\n");
        }
        let (mut at, top, y) = (LABELS, bottom + 24.0, bottom + 37.0);
        for (kind, _, meaning) in legend(&[self]) {
            let x = at + 36.0;
            svg += &format!(
                r#"<rect class="{kind:?}" x="{at:.1}" y="{top:.1}" width="28" height="16"/><text x="{x:.1}" y="{y:.1}">{meaning}</text>
"#
            );
            at += 70.0 + meaning.len() as f64 * 8.0;
        }
        let (y, note) = (bottom + 58.0, self.note);
        svg += &format!("<text class=\"tick\" x=\"{LABELS}\" y=\"{y:.1}\">{note}</text>\n");
        svg + "</svg>\n"
    }
}

/// Text as it may stand in XML: control characters have no place there.
fn escape(text: &str) -> String {
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let text = text.replace(forbidden, " ").replace('&', "&amp;");
    let text = text.replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}
