//! foundation · What every lesson's `main` begins with: the options, the prompt, the model. Here the
//! teaching aids are attached to the harness, which knows nothing of them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::aids::practice::Practice;
use crate::aids::timeline::Timeline;
use crate::model::Model;
use crate::model::anthropic::Anthropic;
use crate::options::Options;
use crate::repl::Repl;
use crate::terminal;

pub use crate::options::start;

/// Opens the prompt, with the timeline as one more reader of what happens.
pub fn prompt(options: &Options) -> Repl {
    let mut repl = Repl::new(options);
    let timeline = Timeline::default();
    if let Some(path) = &options.trace
        && let Err(error) = timeline.trace_to(path, &options.title)
    {
        let path = path.display();
        repl.say(format!("No trace will be written to {path}: {error}."));
    }
    let (noted, drawn, ended) = (timeline.clone(), timeline.clone(), options.clone());
    repl.add_reader(Box::new(move |event| noted.note(event)));
    repl.action("/timeline", "draw the last turn", move |_| {
        drawn.text(terminal::size().map_or(80, |(columns, _)| columns.min(120)) - 1)
    });
    repl.at_end(move || {
        let path =
            |path: &Option<PathBuf>| path.as_deref().unwrap_or("".as_ref()).display().to_string();
        let trace = timeline.finish().err().map(|error| {
            format!(
                "The trace in {} is not complete: {error}.",
                path(&ended.trace)
            )
        });
        let chart = ended.chart.as_ref().and_then(|file| {
            let error = std::fs::write(file, timeline.chart().svg(&ended.title)).err()?;
            Some(format!(
                "The chart could not be written to {}: {error}.",
                path(&ended.chart)
            ))
        });
        [trace, chart]
            .into_iter()
            .flatten()
            .reduce(|one, other| format!("{one}\n{other}"))
    });
    repl
}

/// The model that the environment asks for: the Messages API if there is a key, a token or a base
/// URL (`ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`, `ANTHROPIC_BASE_URL`), the practice model
/// otherwise.
pub fn connect() -> Arc<dyn Model> {
    match Anthropic::from_env() {
        Some(model) => Arc::new(model),
        None => Arc::new(Practice::from_env()),
    }
}
