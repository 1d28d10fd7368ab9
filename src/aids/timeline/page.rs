//! aids · A page that plays what happened, in any browser: one file, which asks for no other.

use std::ops::Range;

use serde::Serialize;
use serde_json::{Value, json};

use super::chart::{Chart, legend};
use super::{Kind, MAIN, Trace};
use crate::screen::visible;

/// The page, with a place for the data.
const PAGE: &str = include_str!("page.html");

/// What one program did, as a part of a page.
#[derive(Serialize)]
pub struct Run {
    title: String,
    chart: Chart,
    talk: Vec<Said>,
}

/// An entry of the conversation.
#[derive(Serialize)]
struct Said {
    /// Seconds from the start.
    at: f64,
    /// `you`, `model`, `call`, `result`, `poll` (in vain) or `news`; it chooses how this looks.
    who: &'static str,
    /// The name of its track, if that is not the main thread's.
    lane: Option<String>,
    text: String,
}

impl Run {
    /// What a trace says about the time of the chart, in microseconds.
    pub fn of(title: &str, chart: Chart, trace: &Trace, time: Range<u64>) -> Run {
        let mut talk: Vec<(u64, Said)> = Vec::new();
        for span in &trace.spans {
            let (begin, input) = (&span.begin, &span.begin.args);
            let mut say = |at: u64, who, text: &str| {
                let lane = trace.tracks.get(&begin.tid).filter(|_| begin.tid != MAIN);
                let seconds = at.saturating_sub(time.start) as f64 / 1e6;
                let said = Said {
                    at: seconds,
                    who,
                    lane: lane.cloned(),
                    text: text.to_string(),
                };
                if (time.start..=time.end).contains(&at) && !text.is_empty() {
                    talk.push((at, said));
                }
            };
            let word = |args: &Value, name| args[name].as_str().unwrap_or_default().to_string();
            let (end, result) = (span.end.unwrap_or(u64::MAX), word(&span.result, "result"));
            let call = format!("{}: {}", begin.name, word(input, "input"));
            match begin.kind {
                Some(Kind::Turn) => say(begin.ts, "you", &word(input, "prompt")),
                Some(Kind::Thinking) => say(end, "model", &(word(&span.result, "text") + &result)),
                Some(Kind::Poll) => say(end, "poll", &call),
                Some(Kind::Tool) => {
                    say(begin.ts, "call", &call);
                    say(end, "result", &result);
                }
                Some(Kind::Delivered) => {
                    let task = trace.spans.iter().rfind(|task| task.is_asked_by(span));
                    let ended = task.map_or(String::new(), |it| word(&it.result, "result"));
                    let output = ended.split_once('\n').map_or("", |(_, output)| output);
                    say(end, "news", &format!("{result}\n{output}"));
                }
                _ => {}
            }
        }
        talk.sort_by_key(|(at, _)| *at);
        Run {
            title: title.to_string(),
            chart,
            talk: talk.into_iter().map(|(_, said)| said).collect(),
        }
    }
}

/// The text of the file. The table, row by row, stands below the runs.
pub fn html(title: &str, runs: &[Run], table: &[Vec<String>]) -> String {
    let charts: Vec<&Chart> = runs.iter().map(|run| &run.chart).collect();
    let legend: Vec<_> = legend(&charts)
        .into_iter()
        .map(|(kind, _, meaning)| (kind, meaning))
        .collect();
    let mut data = json!({ "title": title, "runs": runs, "table": table, "legend": legend });
    show(&mut data);
    // In a script element, only `<` can end it or hide its end.
    let data = data.to_string().replace('<', "\\u003c");
    PAGE.replacen("{DATA}", &data, 1)
}

/// Makes all text visible, and times short.
fn show(data: &mut Value) {
    match data {
        Value::String(text) => *text = visible(text.trim_end()),
        Value::Number(number) => {
            let thousandths = (number.as_f64().unwrap_or_default() * 1e3).round();
            *data = json!(thousandths / 1e3);
        }
        Value::Array(items) => items.iter_mut().for_each(show),
        Value::Object(fields) => fields.values_mut().for_each(show),
        _ => {}
    }
}
