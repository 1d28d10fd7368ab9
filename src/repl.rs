//! foundation · The prompt: lines come in, what happens goes out.
//!
//! Lines are read on a thread of their own. The main thread waits in one place, [`Repl::wait`], for
//! whatever comes first: a line, the end of something in the background, Ctrl+C.

mod commands;
mod history;
mod keyboard;
mod offer;
mod shared;
mod status;

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

use crate::caught::lock;
use crate::event::{Event, Events, Reader};
use crate::inbox::{Inbox, Wake};
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::options::Options;
use crate::screen::{Screen, Style};
use crate::terminal::{self, person_is_there};
use crate::tool::Context;
pub use commands::Action;
use commands::{Commands, is_leaving};
pub use history::state_file;
use keyboard::Editor;
pub use offer::Offer;
use shared::Shared;
pub use shared::{Beside, Doing, OnKey};

/// What [`Repl::wait`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A line for the agent.
    Line(String),
    /// Nothing was typed, but something has ended that the agent is to hear of.
    Woken,
}

/// The prompt of a lesson.
pub struct Repl {
    options: Options,
    prompt: String,
    context: Context,
    shared: Arc<Shared>,
    commands: Commands,
    /// Who is to read lines: an editor, or nobody that edits. The keyboard's thread has it from the
    /// first line on; a script has none.
    reader: Option<Option<Editor>>,
    /// True if a person edits lines: then what is typed stands on the screen, and Ctrl+C is a key.
    edited: bool,
    failed: bool,
    /// What a turn was begun for. Should that turn fail before the delivery, it wakes no other.
    woken_for: Vec<String>,
    endings: Vec<Ending>,
}

type Ending = Box<dyn FnOnce(&Screen)>;

impl Repl {
    /// Opens the prompt: takes over signals and the terminal.
    pub fn new(options: &Options) -> Self {
        let script = match &options.prompt {
            Some(prompt) => vec![prompt.clone()],
            None if options.demo => options.scenario.clone(),
            None => Vec::new(),
        };
        let interactive = terminal::is_interactive() && !options.is_script();
        terminal::save(interactive);
        let echo = options.demo;
        let lines = script.into_iter().map(|text| Wake::Line { text, echo });
        let end = options.is_script().then_some(Wake::Leave);
        let inbox = Inbox::new(lines.chain(end), interactive);
        let shared = Arc::new(Shared::new(Screen::new(terminal::wants_colour()), inbox));
        let shown = shared.clone();
        let mut events = Events::default().with(Box::new(move |event| shown.screen.show(event)));
        if interactive {
            events = events.with(status::reader(&shared));
        }
        let mut context = Context {
            events,
            interrupt: shared.interrupt.clone(),
            ..Context::default()
        };
        let agent = options.agent.iter().map(|name| format!(" {name}"));
        let prompt = format!("{}{} >> ", options.name, agent.collect::<String>());
        let edit = || Editor::new(prompt.clone(), &shared).ok();
        let editor = interactive.then(edit).flatten();
        terminal::watch_signals(&context.interrupt);
        if person_is_there() {
            let asked = shared.clone();
            context.ask = Arc::new(move |question, interrupt| asked.ask(question, interrupt));
        }
        Repl {
            options: options.clone(),
            prompt,
            context,
            commands: Commands::new(options),
            edited: editor.is_some(),
            reader: (!options.is_script()).then_some(editor),
            shared,
            failed: false,
            woken_for: Vec::new(),
            endings: Vec::new(),
        }
    }

    /// What agents need of the prompt: where to say what happens, whom to ask, when to stop.
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// Adds a reader of what happens, for contexts that are taken from now on.
    pub fn add_reader(&mut self, reader: Reader) {
        self.context.events = self.context.events.clone().with(reader);
    }

    /// Adds what is done when the program leaves.
    pub fn at_end(&mut self, ending: impl FnOnce(&Screen) + 'static) {
        self.endings.push(Box::new(ending));
    }

    /// Adds a key that acts at once, with Ctrl, where a person edits lines. The hint is shown while
    /// something is waited for.
    pub fn on_key(&self, key: char, hint: &str, action: OnKey) {
        lock(&self.shared.keys).push((key, format!(" ({hint})"), action));
    }

    /// From now on, news of what runs beside the conversation wakes the prompt, and leaving says
    /// what it ends. What is returned is to be called, on any thread, when something has ended.
    pub fn run_beside(&self, beside: impl Beside + 'static) -> impl Fn() + Send + Sync + 'static {
        let _ = self.shared.beside.set(Box::new(beside));
        let shared = self.shared.clone();
        move || shared.inbox.ring()
    }

    /// Says who answers, and how to get help.
    pub fn greet(&self, model: &dyn Model) {
        let mut text = format!("{}\n{}", self.options.title, model.describe());
        if let Some(agent) = self.options.agent.as_deref().filter(|it| !it.is_empty()) {
            text += &format!("\nAgent: {agent}");
        }
        match self.options.prompt {
            Some(_) => self.shared.screen.say_aside(&text),
            None => self.say(text + "\nType /help for help, exit to leave."),
        }
    }

    /// Prints what went wrong, if anything did; the session goes on. With `-p`, the program will
    /// end with code 1.
    pub fn report(&mut self, result: Result<(), impl Display>) {
        if let Err(error) = result {
            self.say(error);
            self.failed = true;
        }
    }

    /// The last line of every lesson's `main`: the program's exit code.
    pub fn leave(self) -> ExitCode {
        ExitCode::from(u8::from(self.failed && self.options.prompt.is_some()))
    }

    /// Prints a sentence.
    pub fn say(&self, text: impl Display) {
        self.shared.screen.say(&text.to_string());
    }

    /// The next line that is for the agent: a slash command only if it was added without an action.
    /// `None` when nothing more is to come.
    pub fn read(&mut self) -> Option<String> {
        loop {
            if let Input::Line(line) = self.wait()? {
                return Some(line);
            }
        }
    }

    /// Like [`read`](Self::read), but ends as well when something has ended that wakes the agent.
    pub fn wait(&mut self) -> Option<Input> {
        self.context.events.emit(Event::TurnFinished);
        let input = self.next();
        self.shared.set(Doing::Working);
        if self.shared.end_offer().is_some() {
            self.shared.screen.redraw();
        }
        let events = &self.context.events;
        match &input {
            Some(Input::Line(line)) => events.emit(Event::TurnStarted(line.clone())),
            Some(Input::Woken) => events.emit(Event::TurnStarted(String::new())),
            None => self.shared.say_what_is_lost(),
        }
        input
    }

    /// `None` if the program is to leave.
    fn next(&mut self) -> Option<Input> {
        let (shared, interrupt) = (self.shared.clone(), self.context.interrupt.clone());
        let script = self.options.is_script();
        if script && interrupt.is_triggered() {
            return None;
        }
        interrupt.reset();
        // Only now: a Ctrl+C that comes with the first line is for its turn.
        if let Some(editor) = self.reader.take() {
            self.shared.rest();
            keyboard::start(editor, self.commands.clone(), &self.shared);
        }
        self.show_prompt();
        loop {
            shared.rest();
            match self.next_wake() {
                None => return Some(Input::Woken),
                Some(Wake::News) => continue,
                Some(Wake::Leave) => return None,
                Some(Wake::Interrupted) if script || shared.may_leave(false) => return None,
                Some(Wake::Interrupted) => interrupt.reset(),
                Some(Wake::Line { text, echo }) => {
                    if !self.edited {
                        interrupt.reset(); // a Ctrl+C before this line was not for its turn
                        shared.screen.close_typed();
                    }
                    if echo {
                        let shown = self.edited || script; // elsewhere the prompt stands there
                        let prompt = if shown { &self.prompt } else { "" };
                        let grey = shared.grey(usize::MAX);
                        if !grey.is_empty() {
                            shared.screen.lines(&format!("{prompt}{grey}"), Style::Dim);
                        }
                        shared.screen.lines(&format!("{prompt}{text}"), Style::Bold);
                    }
                    let mut line = text.trim().to_string();
                    if !is_leaving(&line) {
                        shared.forget_warning();
                        // Where lines are edited, the keyboard has carried it out.
                        if self.edited || !self.commands.carry_out(&mut line, &shared.screen) {
                            return Some(Input::Line(line.trim().to_string()));
                        }
                    } else if !self.edited || shared.may_leave(true) {
                        return None;
                    }
                }
            }
            self.show_prompt();
        }
    }

    /// What the main thread has to do next; `None` if it is to hear of news. A line goes first, as
    /// the news is delivered with it; but a script waits for what it began, and at the end of a
    /// pipe what has ended still gets its turn.
    fn next_wake(&mut self) -> Option<Wake> {
        let (shared, beside) = (&self.shared, self.shared.beside.get());
        // In this order: what ends in between is news.
        let runs = beside.is_some_and(|beside| !beside.running().is_empty());
        let ended = beside.map_or(Vec::new(), |beside| beside.news());
        let news = ended.iter().any(|name| !self.woken_for.contains(name));
        let waits = self.options.is_script() && (runs || news);
        match (!waits).then(|| shared.inbox.try_next()).flatten() {
            Some(Wake::Leave) if news && !self.edited => shared.inbox.put_back(Wake::Leave),
            None if news => {}
            Some(wake) => return Some(wake),
            // The editor has Ctrl+C as a key; as a signal it is for the line that is about to come.
            None if self.edited => return Some(shared.inbox.wait([&Interrupt::default(); 2])),
            None => return Some(shared.inbox.wait([&shared.interrupt; 2])),
        }
        self.woken_for = ended;
        None
    }

    /// Where the editor does not do it.
    fn show_prompt(&self) {
        if !self.edited && !self.options.is_script() {
            self.shared.screen.prompt(&self.prompt);
        }
    }
}

impl Drop for Repl {
    fn drop(&mut self) {
        let endings = std::mem::take(&mut self.endings).into_iter();
        endings.for_each(|ending| ending(&self.shared.screen));
        self.shared.screen.flush();
        terminal::restore();
    }
}
