//! foundation · What every lesson's `main` begins with: the options, the prompt, the model. Here the
//! teaching aids are attached to the harness, which knows nothing of them.

use std::sync::Arc;

use crate::aids::messages::step;
use crate::aids::practice::Practice;
use crate::aids::replay::Replay;
use crate::aids::timeline::Timeline;
use crate::aids::{demo, sessions, stats};
use crate::model::Model;
use crate::model::anthropic::Anthropic;
use crate::options::{self, Options};
use crate::process::given;
use crate::repl::Repl;
use crate::screen::Screen;
use crate::terminal;

/// As [`options::start`]. What is to be replayed takes the place of the page's lines.
pub fn start(page: &str) -> Options {
    let mut options = options::start(page);
    if options.replay.is_some() {
        options.scenario = recorded(&options).map_or(Vec::new(), |it| it.prompts());
        options.demo = !options.step;
    }
    options
}

/// The session that `--replay` names; without one, the program ends.
fn recorded(options: &Options) -> Option<Replay> {
    let replay = Replay::open(options, options.replay.as_ref()?);
    Some(replay.unwrap_or_else(|why| {
        Screen::new(false).say_aside(&why);
        std::process::exit(2)
    }))
}

/// Opens the prompt, with the timeline as one more reader of what happens.
pub fn prompt(options: &Options) -> Repl {
    let mut repl = Repl::new(options);
    let timeline = Timeline::default();
    if let Err(problem) = timeline.trace_as_asked(options) {
        repl.say(problem);
    }
    demo::attach(options, &mut repl);
    let (noted, drawn, options) = (timeline.clone(), timeline.clone(), options.clone());
    repl.add_reader(Box::new(move |event| noted.note(event)));
    let what = "draw the last turn, or the session";
    repl.action("/timeline [all]", what, move |which| {
        let columns = terminal::size().map_or(80, |(columns, _)| columns.min(120));
        drawn.text(columns - 1, which)
    });
    if options.name.as_str() >= "s13" {
        sessions::attach(&mut repl);
        stats::attach(&mut repl);
    }
    repl.command("/messages [all|N]", "the conversation; N: one as JSON");
    repl.at_end(move |screen| {
        let problems = timeline.finish(&options);
        problems.iter().for_each(|problem| screen.say(problem));
    });
    repl
}

/// The model that the environment asks for, or what was given in its place: the Messages API if
/// there is a key, a token or a base URL (`ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`,
/// `ANTHROPIC_BASE_URL`), the practice model otherwise.
pub fn connect(options: &Options) -> Arc<dyn Model> {
    if let Some(recording) = recorded(options) {
        return step(options, Arc::new(recording));
    }
    let model: Arc<dyn Model> = match Anthropic::from_vars(given::variable) {
        Some(model) => Arc::new(model),
        None => Arc::new(Practice::from_env(&options.scenario)),
    };
    step(options, model)
}
