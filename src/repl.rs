//! The prompt: lines come in, what happens goes out.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, stdin};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::poll::{PollFd, PollFlags, poll};
use rustyline::error::ReadlineError;
use rustyline::{
    Cmd, ConditionalEventHandler, DefaultEditor, Event as Keys, EventContext, EventHandler, KeyEvent,
    RepeatCount,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::event::{Event, Events};
use crate::model::Model;
use crate::options::Options;
use crate::outcome::is_caught;
use crate::permission::{Answer, Gate};
use crate::screen::{Screen, Style};
use crate::terminal;
use crate::timeline::{Timeline, svg};
use crate::tool::Context;

/// Where lines come from.
enum Source {
    /// A person at a terminal.
    Editor(Box<DefaultEditor>),
    /// A pipe or a file.
    Pipe,
    /// `--demo` or `-p`.
    Script(VecDeque<String>),
}

/// The prompt of a lesson.
pub struct Repl {
    options: Options,
    source: Source,
    screen: Arc<Screen>,
    context: Context,
    timeline: Timeline,
    commands: Vec<(&'static str, &'static str)>,
    /// Lines that were typed while something else was asked.
    set_aside: Arc<Mutex<VecDeque<String>>>,
    /// Whether the line was empty when Ctrl+C was pressed.
    empty: Arc<AtomicBool>,
    failed: bool,
}

impl Repl {
    /// Opens the prompt: takes over signals and the terminal.
    pub fn new(options: &Options) -> Self {
        terminal::save();
        let interactive = terminal::is_interactive();
        let empty = Arc::new(AtomicBool::new(true));
        let source = match &options.prompt {
            Some(prompt) => Source::Script([prompt.clone()].into()),
            None if options.demo => Source::Script(options.scenario.clone().into()),
            None if interactive => {
                editor(&empty).map_or(Source::Pipe, |editor| Source::Editor(Box::new(editor)))
            }
            None => Source::Pipe,
        };
        let colour = interactive && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = Arc::new(Screen::new(colour));
        let reader = screen.clone();
        let timeline = Timeline::default();
        if let Some(path) = &options.trace
            && let Err(error) = timeline.trace_to(path, &options.title)
        {
            screen.say(&format!("No trace will be written to {}: {error}.", path.display()));
        }
        let recorder = timeline.clone();
        let events = Events::new(vec![
            Box::new(move |event| reader.show(event)),
            Box::new(move |event| recorder.note(event)),
        ]);
        let context = Context { events, ..Context::default() };
        watch_signals(&context, stdin().is_terminal());
        silence_caught_panics();
        let commands = vec![
            ("/help", "this list"),
            ("/clear", "begin a new conversation"),
            ("/timeline", "draw the last turn"),
            ("/exit", "leave; also exit, q, Ctrl+D"),
        ];
        Repl {
            options: options.clone(),
            source,
            screen,
            context,
            timeline,
            commands,
            set_aside: Arc::default(),
            empty,
            failed: false,
        }
    }

    /// What agents need of the prompt: where to say what happens, and when to stop.
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// Adds a slash command: [`read`](Self::read) will return it.
    pub fn command(&mut self, name: &'static str, what: &'static str) {
        self.commands.push((name, what));
    }

    /// Says who answers, and how to get help.
    pub fn greet(&self, model: &dyn Model) {
        let text = format!("{}\n{}", self.options.title, model.describe());
        match self.options.prompt {
            Some(_) => self.screen.say_aside(&text),
            None => self.screen.say(&format!("{text}\nType /help for help, exit to leave.\n")),
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
        if !stdin().is_terminal() {
            return Gate::closed(
                "nobody is there to be asked. Say what you would do; the user can start the program again with --yes.",
            );
        }
        let (screen, context, set_aside) = (self.screen.clone(), self.context(), self.set_aside.clone());
        Gate::ask(move |question| ask(question, &screen, &context, &set_aside))
    }

    /// The next line that is for the agent: not empty, and a slash command only if it is
    /// `/clear` or was added. `None` when there is nothing more to come.
    pub fn read(&mut self) -> Option<String> {
        self.context.events.emit(Event::TurnFinished);
        loop {
            if self.context.interrupt.is_triggered() && matches!(self.source, Source::Script(_)) {
                return None;
            }
            self.context.interrupt.reset();
            let line = self.next_line()?;
            let line = line.trim();
            let known = |command: &str| self.commands.iter().any(|(name, _)| *name == command);
            match line {
                "" => self.say("Nothing typed. /help shows what can be done here."),
                "q" | "exit" | "/exit" | "/quit" => return None,
                "/help" => self.help(),
                "/timeline" => self.say(self.timeline.text()),
                command if command.starts_with('/') && !known(command) => {
                    let command: String = command.chars().take(40).collect();
                    self.say(format!("There is no command {command}. /help lists the commands."));
                }
                line => {
                    self.context.events.emit(Event::TurnStarted { prompt: line.to_string() });
                    return Some(line.to_string());
                }
            }
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let prompt = format!("{} >> ", self.options.name);
        let set_aside = self.set_aside.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(line) = set_aside {
            self.screen.say(&format!("{prompt}{line}"));
            return Some(line);
        }
        match &mut self.source {
            Source::Editor(editor) => edit(editor, &prompt, &self.screen, &self.empty),
            Source::Pipe => {
                self.screen.prompt(&prompt);
                let line = piped_line(&self.screen);
                self.screen.say(line.as_deref().filter(|_| !stdin().is_terminal()).unwrap_or_default());
                line
            }
            Source::Script(lines) => {
                let line = lines.pop_front()?;
                if self.options.demo {
                    self.screen.lines(&format!("{prompt}{line}"), Style::Bold);
                }
                Some(line)
            }
        }
    }

    fn help(&self) {
        for (name, what) in &self.commands {
            self.say(format!("  {name:<10} {what}"));
        }
        self.say("  Ctrl+C     drop the line; while the agent works: interrupt it\nAnything else goes to the agent. \"help\" asks the practice model for its phrases. Try:");
        self.options.scenario.iter().for_each(|line| self.say(format!("  {line}")));
    }
}

impl Drop for Repl {
    fn drop(&mut self) {
        if let (Source::Editor(editor), Some(path)) = (&mut self.source, history_file()) {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = editor.append_history(&path);
        }
        if let (Err(error), Some(path)) = (self.timeline.finish(), &self.options.trace) {
            self.screen.say(&format!("The trace in {} is not complete: {error}.", path.display()));
        }
        if let Some(path) = &self.options.chart
            && let Err(error) = std::fs::write(path, svg::draw(&self.timeline.chart(), &self.options.title))
        {
            self.screen.say(&format!("The chart could not be written to {}: {error}.", path.display()));
        }
        terminal::restore();
    }
}

fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).map(|folder| folder.join("meanwhile/history"))
}

/// Notes whether the line is empty, and leaves Ctrl+C its own meaning.
struct OnInterrupt(Arc<AtomicBool>);

impl ConditionalEventHandler for OnInterrupt {
    fn handle(&self, _: &Keys, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        self.0.store(context.line().is_empty(), SeqCst);
        None
    }
}

fn editor(empty: &Arc<AtomicBool>) -> rustyline::Result<DefaultEditor> {
    let mut editor = DefaultEditor::new()?;
    let handler = EventHandler::Conditional(Box::new(OnInterrupt(empty.clone())));
    editor.bind_sequence(KeyEvent::ctrl('C'), handler);
    if let Some(path) = history_file() {
        let _ = editor.load_history(&path);
    }
    Ok(editor)
}

fn edit(editor: &mut DefaultEditor, prompt: &str, screen: &Screen, empty: &AtomicBool) -> Option<String> {
    let mut warned = false;
    loop {
        match editor.readline(prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                return Some(line);
            }
            Err(ReadlineError::Interrupted) if !empty.load(SeqCst) => warned = false,
            Err(ReadlineError::Interrupted) if warned => return None,
            Err(ReadlineError::Interrupted) => {
                screen.say("To leave: exit, Ctrl+D, or Ctrl+C once more.");
                warned = true;
            }
            Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                screen.say("That line was not valid UTF-8 and was dropped; type it again.");
            }
            Err(_) => return None,
        }
    }
}

fn piped_line(screen: &Screen) -> Option<String> {
    loop {
        let mut bytes = Vec::new();
        match stdin().lock().read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(_) => match String::from_utf8(bytes) {
                Ok(line) => return Some(line.trim_end_matches(['\n', '\r']).to_string()),
                Err(_) => screen.say("A line was not valid UTF-8 and was left out; the next one follows."),
            },
        }
    }
}

/// Puts a question to the person. What was typed before it was asked is no answer to it: it is set
/// aside for the prompt.
fn ask(question: &str, screen: &Screen, context: &Context, set_aside: &Mutex<VecDeque<String>>) -> Answer {
    while is_readable(0) {
        let Some(line) = piped_line(screen) else { return Answer::No };
        set_aside.lock().unwrap_or_else(PoisonError::into_inner).push_back(line);
    }
    screen.lines(&format!("The agent wants to call {question}"), Style::Bold);
    loop {
        screen.prompt("Allow it? [y]es, [n]o, [a]lways this tool in this session: ");
        while !is_readable(100) {
            if context.interrupt.is_triggered() {
                screen.say("");
                return Answer::No;
            }
        }
        let Some(line) = piped_line(screen) else { return Answer::No };
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => return Answer::Yes,
            "n" | "no" => return Answer::No,
            "a" | "always" => return Answer::Always,
            _ => screen.say("Please type y, n or a."),
        }
    }
}

fn is_readable(timeout_ms: u16) -> bool {
    let input = stdin();
    let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, timeout_ms).is_ok_and(|ready| ready > 0)
}

/// Ctrl+C interrupts the turn; a second one before the turn has ended leaves, and so does every
/// other signal that ends programs.
fn watch_signals(context: &Context, person: bool) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    let interrupt = context.interrupt.clone();
    let watch = move || {
        for signal in &mut signals {
            if signal == SIGINT && person && !interrupt.is_triggered() {
                interrupt.trigger();
            } else {
                terminal::quit(128 + signal);
            }
        }
    };
    let _ = thread::Builder::new().name("signals".into()).spawn(watch);
}

/// A panic that becomes a result is not printed; any other puts the terminal right first.
fn silence_caught_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_caught() {
            terminal::restore();
            print(panic);
        }
    }));
}
