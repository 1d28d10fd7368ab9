//! The prompt: lines come in, what happens goes out.

mod shared;
mod status;
mod task_list;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crossbeam_channel::Select;

use crate::aids::timeline::Timeline;
use crate::background::{BackgroundExecutor, lock};
use crate::event::{Event, Events};
use crate::foreground::{Foreground, MoveKey};
use crate::keyboard::{self, Editor, Lines, Source, Typed, is_leaving, person_is_there};
use crate::model::Model;
use crate::options::Options;
use crate::permission::Gate;
use crate::screen::{Screen, Style};
use crate::terminal;
use crate::tool::Context;
pub(crate) use shared::Shared;
pub(crate) use status::{Helper, Status};

/// The prompt of a lesson.
pub struct Repl {
    options: Options,
    source: Source,
    screen: Arc<Screen>,
    context: Context,
    shared: Arc<Shared>,
    /// Lines that were typed before something else was asked.
    set_aside: Arc<Mutex<VecDeque<String>>>,
    /// Lines that are typed while the agent works, from s09 on.
    lines: Arc<OnceLock<Lines>>,
    failed: bool,
}

impl Repl {
    /// Opens the prompt: takes over signals and the terminal.
    pub fn new(options: &Options) -> Self {
        terminal::save();
        let interactive = terminal::is_interactive();
        let colour =
            interactive && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = Arc::new(Screen::new(colour));
        let reader = screen.clone();
        let timeline = Timeline::default();
        if let Some(path) = &options.trace
            && let Err(error) = timeline.trace_to(path, &options.title)
        {
            screen.say(&format!(
                "No trace will be written to {}: {error}.",
                path.display()
            ));
        }
        let recorder = timeline.clone();
        let status = Arc::new(Status::new(colour));
        let (counter, redrawn) = (status.clone(), screen.clone());
        let events = Events::new(vec![
            Box::new(move |event| reader.show(event)),
            Box::new(move |event| recorder.note(event)),
            Box::new(move |event| {
                if counter.note(event) {
                    redrawn.redraw();
                }
            }),
        ]);
        let context = Context {
            events,
            ..Context::default()
        };
        let shared = Shared::new(
            &screen,
            &timeline,
            &context.interrupt,
            &status,
            &options.scenario,
        );
        let shared = Arc::new(shared);
        let edit = || Editor::new(format!("{} >> ", options.name), &shared);
        let source = match &options.prompt {
            Some(prompt) => Source::Script([prompt.clone()].into()),
            None if options.demo => Source::Script(options.scenario.clone().into()),
            None if interactive => {
                edit().map_or(Source::Pipe, |editor| Source::Editor(Box::new(editor)))
            }
            None => Source::Pipe,
        };
        let echo = screen.clone();
        terminal::watch_signals(&context.interrupt, person_is_there(), move || {
            echo.note_echo()
        });
        terminal::restore_on_panic();
        Repl {
            options: options.clone(),
            source,
            screen,
            context,
            shared,
            set_aside: Arc::default(),
            lines: Arc::default(),
            failed: false,
        }
    }

    /// What agents need of the prompt: where to say what happens, and when to stop.
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// Adds a slash command: [`read`](Self::read) will return it.
    pub fn command(&mut self, name: &'static str, what: &'static str) {
        self.shared.add_command(name, what);
    }

    /// Says who answers, and how to get help.
    pub fn greet(&self, model: &dyn Model) {
        let text = format!("{}\n{}", self.options.title, model.describe());
        match self.options.prompt {
            Some(_) => self.screen.say_aside(&text),
            None => self
                .screen
                .say(&format!("{text}\nType /help for help, exit to leave.\n")),
        }
    }

    /// Prints sentences about something that could not be used as it is.
    pub fn warn(&self, problems: &[String]) {
        problems.iter().for_each(|problem| self.say(problem));
    }

    /// Prints what went wrong; the session goes on. With `-p`, the program will end with code 1.
    pub fn fail(&mut self, error: impl std::fmt::Display) {
        self.say(error);
        self.failed = true;
    }

    /// The last line of every lesson's `main`: the program's exit code.
    pub fn leave(self) -> ExitCode {
        ExitCode::from(u8::from(self.failed && self.options.prompt.is_some()))
    }

    /// Prints a sentence.
    pub fn say(&self, text: impl std::fmt::Display) {
        self.screen.say(&text.to_string());
    }

    /// The gate for this session: open with `--yes`, and for the practice model, which does what
    /// was typed and nothing else; otherwise it asks the person, or refuses if nobody is there.
    pub fn gate(&self, model: &dyn Model) -> Gate {
        if self.options.yes || model.is_practice() {
            return Gate::open();
        }
        if !person_is_there() {
            return Gate::closed(
                "nobody is there to be asked. Say what you would do; the user can start the program again with --yes.",
            );
        }
        let (shared, set_aside, lines) = (
            self.shared.clone(),
            self.set_aside.clone(),
            self.lines.clone(),
        );
        Gate::ask(move |question, interrupt| {
            shared.asking.store(true, SeqCst);
            let answer =
                keyboard::ask(question, &shared.screen, interrupt, &set_aside, lines.get());
            shared.asking.store(false, SeqCst);
            answer
        })
    }

    /// From now on, what ends in the background wakes the prompt: [`read`](Self::read) returns an
    /// empty line then. Lines are read all the time, and everything is printed above them.
    pub fn wake_on(&mut self, executor: &Arc<Mutex<BackgroundExecutor>>) {
        let source = std::mem::replace(&mut self.source, Source::Pipe);
        self.source = source.into_thread(&self.shared);
        if let Source::Thread(lines) = &self.source {
            let _ = self.lines.set(lines.clone());
        }
        let _ = self.shared.executor.set(executor.clone());
    }

    /// From now on, commands and agents can be waited for and be sent to the background: with
    /// Ctrl+B, `/tasks` and `/stop`. Includes [`wake_on`](Self::wake_on).
    pub fn foreground(&mut self, executor: &Arc<Mutex<BackgroundExecutor>>) -> Foreground {
        let key = MoveKey::default();
        let _ = self.shared.key.set(key.clone());
        self.command(
            "/tasks [ID]",
            "all tasks, or one with the end of its output",
        );
        self.command("/stop ID", "stop a task");
        self.wake_on(executor);
        Foreground::new(executor, key, self.context())
    }

    /// The next line that is for the agent: a slash command only if it is `/clear` or was added,
    /// and empty only if something ended that wakes the agent. `None` when nothing more is to come.
    pub fn read(&mut self) -> Option<String> {
        self.context.events.emit(Event::TurnFinished);
        self.shared.busy.store(false, SeqCst);
        let line = self.wait_for_work();
        self.shared.busy.store(true, SeqCst);
        if let Some(line) = &line {
            self.context.events.emit(Event::TurnStarted {
                prompt: line.clone(),
            });
        }
        line
    }

    fn wait_for_work(&mut self) -> Option<String> {
        loop {
            if self.script_was_interrupted() {
                return None;
            }
            self.context.interrupt.reset();
            if let Source::Thread(Lines { edited: false, .. }) = self.source
                && person_is_there()
            {
                self.screen.prompt(&format!("{} >> ", self.options.name));
            }
            if self.wait_for_news() {
                return Some(String::new());
            }
            if self.script_was_interrupted() {
                return None;
            }
            let line = self.next_line();
            self.context.interrupt.reset(); // a Ctrl+C before this line was not for its turn
            let line = match line.as_deref().map(str::trim) {
                Some(line) if !is_leaving(line) => line,
                None if self.has_last_news() => return Some(String::new()),
                _ if self.may_leave() => return None,
                _ => continue,
            };
            self.shared.forget_warning();
            if !self.shared.carry_out(line) {
                return Some(line.to_string());
            }
        }
    }

    /// Waits until a line is there to be taken (false), or news of a task (true). A line goes
    /// first: the news is delivered with it. A script waits for what it began.
    fn wait_for_news(&self) -> bool {
        let Some(executor) = self.shared.executor.get() else {
            return false;
        };
        if !self
            .set_aside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
        {
            return false;
        }
        let arrivals = lock(executor).bus().arrivals();
        let interrupted = self.context.interrupt.receiver();
        let mut select = Select::new();
        select.recv(&arrivals);
        let typed = match &self.source {
            Source::Thread(lines) => select.recv(&lines.typed),
            _ => select.recv(&interrupted),
        };
        loop {
            let line_waits =
                matches!(&self.source, Source::Thread(lines) if !lines.typed.is_empty());
            if line_waits {
                return false;
            }
            // In this order: what ends in between is news.
            let all_ended = lock(executor).running().is_empty();
            if lock(executor).bus().has_news() {
                return true;
            }
            if all_ended && !matches!(self.source, Source::Thread(_)) {
                return false;
            }
            if select.ready() == typed {
                return false;
            }
            let _ = arrivals.try_recv();
        }
    }

    /// `--demo` and `-p` end then.
    fn script_was_interrupted(&self) -> bool {
        let interrupted =
            self.context.interrupt.is_triggered() && matches!(self.source, Source::Script(_));
        interrupted && self.may_leave()
    }

    /// At the end of a pipe: what has ended meanwhile still gets its turn.
    fn has_last_news(&self) -> bool {
        let (Source::Thread(lines), Some(executor)) = (&self.source, self.shared.executor.get())
        else {
            return false;
        };
        let news = !lines.edited && lock(executor).bus().has_news();
        if news {
            let _ = lines.go_on.send(()); // the end comes a second time
        }
        news
    }

    fn may_leave(&self) -> bool {
        let person = matches!(&self.source, Source::Thread(lines) if lines.edited);
        let leaves = self.shared.may_leave(person);
        if let (false, Source::Thread(lines)) = (leaves, &self.source) {
            let mut set_aside = self
                .set_aside
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Who wished to leave before the warning has not heard it.
            set_aside.extend(
                lines
                    .typed
                    .try_iter()
                    .flatten()
                    .filter(|line| !is_leaving(line)),
            );
            let _ = lines.go_on.send(());
        }
        leaves
    }

    fn next_line(&mut self) -> Typed {
        let prompt = format!("{} >> ", self.options.name);
        let set_aside = self
            .set_aside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        if let Some(line) = set_aside {
            self.shared.take_queued();
            self.screen.say(&format!("{prompt}{line}"));
            return Some(line);
        }
        let piped = matches!(self.source, Source::Pipe);
        // At a terminal without the editor, a typed line is on the screen already, with its end.
        let typed_here = piped && person_is_there();
        if piped {
            self.screen.prompt(&prompt);
        }
        if typed_here {
            keyboard::wait_for_line(&prompt, &self.screen, &self.context.interrupt);
        }
        let line = self.source.next(&self.screen);
        match (&self.source, &line) {
            (Source::Thread(_), Some(line)) if self.shared.take_queued() => {
                self.screen.lines(&format!("{prompt}{line}"), Style::Bold);
            }
            (Source::Pipe, line) if !typed_here || line.is_none() => {
                self.say(line.as_deref().unwrap_or_default());
            }
            (Source::Thread(Lines { edited: false, .. }), Some(line)) => {
                self.screen.lines(&format!("{prompt}{line}"), Style::Bold);
            }
            (Source::Script(_), Some(line)) if self.options.demo => {
                self.screen.lines(&format!("{prompt}{line}"), Style::Bold);
            }
            _ => {}
        }
        line
    }
}

impl Drop for Repl {
    fn drop(&mut self) {
        if let (Err(error), Some(path)) = (self.shared.timeline.finish(), &self.options.trace) {
            self.screen.say(&format!(
                "The trace in {} is not complete: {error}.",
                path.display()
            ));
        }
        if let Some(path) = &self.options.chart
            && let Err(error) = std::fs::write(path, self.shared.timeline.svg(&self.options.title))
        {
            self.screen.say(&format!(
                "The chart could not be written to {}: {error}.",
                path.display()
            ));
        }
        self.screen.flush();
        terminal::restore();
    }
}
