//! foundation · What a lesson program is told at its start: by its page, and by the command line.

use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::process::supervisor;
use crate::screen::Screen;

/// The options, which `--help` explains, and the lesson they are for.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The lesson's short name, such as `s08`; also its prompt.
    pub name: String,
    /// The first line of the lesson's page.
    pub title: String,
    /// The lesson's page.
    pub page: String,
    /// Its "Try it" lines, in order: what `--demo` plays.
    pub scenario: Vec<String>,
    pub yes: bool,
    pub demo: bool,
    pub step: bool,
    /// `-p TEXT`: one turn, then leave.
    pub prompt: Option<String>,
    pub agent: Option<String>,
    pub resume: Option<String>,
    pub replay: Option<String>,
    /// How much faster than recorded; 0 for at once.
    pub speed: Option<u64>,
    pub dry: bool,
    pub no_suggestions: bool,
    pub trace: Option<PathBuf>,
    pub chart: Option<PathBuf>,
    pub html: Option<PathBuf>,
    /// Its own place in a team, if it was started as a mate.
    pub mate: Option<PathBuf>,
}

impl Options {
    /// True if the lines are known beforehand, and the program leaves after the last one.
    pub fn is_script(&self) -> bool {
        self.demo || self.prompt.is_some()
    }
}

const HELP: &str = "\
Options:
  -p TEXT        one turn with this text, then leave
  --demo         play the \"Try it\" lines of the lesson's page, then leave
  --step         Enter plays the next of these lines, and what is new in a request is shown
  --yes          approve every tool call
  --agent NAME   run as that agent (from s04 on); without a name: list them
  --resume NAME  go on with that session (from s13 on); without a name: list them
  --replay NAME  play that session with its recorded replies (from s13 on)
  --speed N      with --replay: N times as fast; 0: at once
  --dry          with --replay: no tool runs, and what it said then is shown
  --no-suggestions  show no next line in grey (from s19 on)
  --trace FILE   write what happens when, for ui.perfetto.dev or chrome://tracing
  --chart FILE   at the end, draw the last turn as an SVG picture
  --html FILE    at the end, write a page that plays the session in a browser
  --help         this text

Lines from a pipe work as well: one line, one turn.
A real model: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or ANTHROPIC_BASE_URL for another
server of the Messages API; ANTHROPIC_MODEL chooses the model. Without them the practice model answers.";

/// The first line of every lesson's `main`: becomes a supervisor, if that is what this process was
/// started for; otherwise reads the command line. `page` is the lesson's README: its title names
/// the program, its "Try it" lines are the demonstration.
///
/// Leaves the program after `--help`, and with code 2 after options that it does not know.
pub fn start(page: &str) -> Options {
    supervisor::become_supervisor_if_asked();
    let mut options = of_page(page);
    match read(&mut options, Parser::from_env()) {
        Ok(false) => options,
        Ok(true) => {
            Screen::new(false).say(&format!("{}\n\n{HELP}", options.title));
            std::process::exit(0)
        }
        Err(error) => {
            Screen::new(false).say_aside(&format!("{error}\n\n{HELP}"));
            std::process::exit(2)
        }
    }
}

fn of_page(page: &str) -> Options {
    let title = page.lines().next().unwrap_or_default();
    let title = title.trim_start_matches('#').trim();
    let name = title.split_whitespace().next().unwrap_or_default();
    let prompt = format!("{name} >> ");
    let tries = page.lines().skip_while(|line| *line != "## Try it").skip(1);
    let tries = tries.take_while(|line| !line.starts_with("## "));
    let scenario = tries.filter_map(|line| line.strip_prefix(&prompt));
    Options {
        scenario: scenario.map(str::to_string).collect(),
        name: name.to_string(),
        title: title.to_string(),
        page: page.to_string(),
        ..Options::default()
    }
}

/// True if help is wanted.
fn read(options: &mut Options, mut parser: Parser) -> Result<bool, lexopt::Error> {
    // Without a name: they are listed.
    let name = |parser: &mut Parser| {
        let name = parser.optional_value().or_else(|| parser.value().ok());
        name.unwrap_or_default().string()
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("yes") => options.yes = true,
            Arg::Long("demo") => options.demo = true,
            Arg::Long("step") => options.step = true,
            Arg::Short('p') => options.prompt = Some(parser.value()?.string()?),
            Arg::Long("agent") => options.agent = Some(name(&mut parser)?),
            Arg::Long("resume") => options.resume = Some(name(&mut parser)?),
            Arg::Long("replay") => options.replay = Some(parser.value()?.string()?),
            Arg::Long("speed") => options.speed = Some(parser.value()?.parse()?),
            Arg::Long("dry") => options.dry = true,
            Arg::Long("no-suggestions") => options.no_suggestions = true,
            Arg::Long("trace") => options.trace = Some(parser.value()?.into()),
            Arg::Long("chart") => options.chart = Some(parser.value()?.into()),
            Arg::Long("html") => options.html = Some(parser.value()?.into()),
            Arg::Long("mate") => options.mate = Some(parser.value()?.into()),
            Arg::Long("help") | Arg::Short('h') => return Ok(true),
            other => return Err(other.unexpected()),
        }
    }
    if options.agent.is_some() && options.name.as_str() < "s04" {
        return Err("--agent: agents come with s04_subagent".into());
    }
    let session = options.resume.as_ref().or(options.replay.as_ref());
    if session.is_some() && options.name.as_str() < "s13" {
        return Err("--resume and --replay: sessions come with s13_sessions".into());
    }
    if options.replay.is_none() && (options.dry || options.speed.is_some()) {
        return Err("--dry and --speed are for --replay".into());
    }
    Ok(false)
}
