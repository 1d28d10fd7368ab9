//! Where lines come from: a person at a terminal, a pipe, a script. Read on the main thread up to
//! s08; from s09 on the same reading goes on, on a thread of its own, all the time.

use std::collections::VecDeque;
use std::io::{BufRead, ErrorKind, IsTerminal, stdin};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use nix::poll::{PollFd, PollFlags, poll};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, ColorMode, ConditionalEventHandler, Config, Event as Keys, EventContext, EventHandler,
    KeyEvent, RepeatCount,
};

use crate::interrupt::Interrupt;
use crate::outcome::catch;
use crate::permission::Answer;
use crate::repl::{Helper, Shared};
use crate::screen::{Screen, Style};
use crate::terminal;

const HOW_TO_LEAVE: &str = "To leave: exit, Ctrl+D, or Ctrl+C once more.";

/// What comes in: a line, or `None` when the person, or the pipe, wants to end.
pub(crate) type Typed = Option<String>;

/// A source of lines.
pub(crate) enum Source {
    /// A person at a terminal.
    Editor(Box<Editor>),
    /// A pipe or a file, or a terminal that can only print.
    Pipe,
    /// `--demo` or `-p`.
    Script(VecDeque<String>),
    /// One of the first two, on a thread of its own.
    Thread(Lines),
}

/// Lines as they are typed, whatever the main thread does.
#[derive(Clone)]
pub(crate) struct Lines {
    pub typed: Receiver<Typed>,
    /// After `None` the thread waits for this: the program may be about to end.
    pub go_on: Sender<()>,
    /// True if the person sees a prompt.
    pub edited: bool,
}

/// The line editor.
pub(crate) struct Editor {
    editor: rustyline::Editor<Helper, FileHistory>,
    prompt: String,
    shared: Arc<Shared>,
    pressed: Arc<Pressed>,
}

/// Of Ctrl+C.
#[derive(Default)]
struct Pressed {
    /// Whether the line was empty then.
    on_empty_line: AtomicBool,
    /// When it last interrupted a turn.
    last: Mutex<Option<Instant>>,
}

/// A second Ctrl+C leaves, so soon after the first.
const SECOND: Duration = Duration::from_secs(1);

impl Source {
    /// The next line. Blocking; not for [`Source::Thread`].
    pub fn next(&mut self, screen: &Screen) -> Typed {
        match self {
            Source::Editor(editor) => editor.next(screen),
            Source::Pipe => piped_line(screen),
            Source::Script(lines) => lines.pop_front(),
            Source::Thread(lines) => lines.typed.recv().ok().flatten(),
        }
    }

    /// Goes on reading on another thread. What is printed from now on appears above the line that
    /// is being typed.
    pub fn into_thread(mut self, shared: &Arc<Shared>) -> Source {
        if matches!(self, Source::Script(_)) {
            return self;
        }
        let edited = matches!(self, Source::Editor(_));
        if let Source::Editor(editor) = &mut self
            && let Ok(printer) = editor.editor.create_external_printer()
        {
            shared.screen.print_above(printer);
        }
        let ((send, typed), (go_on, resumed)) = (unbounded(), unbounded());
        let shared = shared.clone();
        let read = move || self.read_on(edited, &shared, &send, &resumed);
        // Without a thread nothing can be typed: the program then ends as if at end of file.
        let _ = thread::Builder::new().name("keyboard".into()).spawn(read);
        Source::Thread(Lines {
            typed,
            go_on,
            edited,
        })
    }

    /// Reads as long as anybody takes what is read. After a wish to leave it waits, as the program
    /// may be about to end, unless that wish is queued.
    fn read_on(
        mut self,
        edited: bool,
        shared: &Shared,
        send: &Sender<Typed>,
        resumed: &Receiver<()>,
    ) {
        let (mut ends, mut panics) = (0, 0); // in a row
        loop {
            let mut typed = match catch(|| self.next(&shared.screen)) {
                Err(_) if panics == 0 => {
                    shared
                        .screen
                        .say("The line editor broke down, and the line is lost; type it again.");
                    panics += 1;
                    continue;
                }
                typed => typed.unwrap_or(None),
            };
            panics = 0;
            ends = if typed.is_none() { ends + 1 } else { 0 };
            if edited && ends == 1 && shared.is_queueing() {
                typed = Some("exit".to_string()); // Ctrl+D comes in its turn, too
            }
            let mut waits = typed.as_deref().is_none_or(is_leaving);
            if let (true, Some(line)) = (edited, typed.as_deref().map(str::trim)) {
                // An answer to an open question may be anything else.
                let is_free = line.starts_with('/') || !shared.asking.load(SeqCst);
                if is_free && shared.carry_out(line) {
                    continue;
                }
                waits &= !shared.note_queued(line);
            }
            resumed.try_iter().for_each(drop); // it does not wait, so these are not meant for it
            if send.send(typed).is_err() || (waits && resumed.recv().is_err()) {
                return;
            }
        }
    }
}

impl Lines {
    /// A line that is not for the prompt. Was it a wish to leave, the thread is told to go on.
    fn take(&self, typed: Typed) -> Typed {
        if typed.as_deref().is_none_or(is_leaving) {
            let _ = self.go_on.send(());
        }
        typed
    }
}

/// Words that leave.
pub(crate) fn is_leaving(line: &str) -> bool {
    ["q", "exit", "/exit", "/quit"].contains(&line.trim())
}

impl Editor {
    /// Its keys act at once, whatever the main thread does.
    pub fn new(prompt: String, shared: &Arc<Shared>) -> rustyline::Result<Self> {
        // Forced: the status line is drawn like a colour, and is wanted without colours, too.
        let config = Config::builder().color_mode(ColorMode::Forced).build();
        let mut editor = rustyline::Editor::with_config(config)?;
        editor.set_helper(Some(Helper(shared.status.clone())));
        let pressed = Arc::new(Pressed::default());
        let interrupt = OnInterrupt {
            shared: shared.clone(),
            pressed: pressed.clone(),
        };
        editor.bind_sequence(
            KeyEvent::ctrl('C'),
            EventHandler::Conditional(Box::new(interrupt)),
        );
        let to_background = OnMove(shared.clone());
        editor.bind_sequence(
            KeyEvent::ctrl('B'),
            EventHandler::Conditional(Box::new(to_background)),
        );
        if let Some(path) = history_file() {
            let _ = editor.load_history(&path);
        }
        Ok(Editor {
            editor,
            prompt,
            shared: shared.clone(),
            pressed,
        })
    }

    fn next(&mut self, screen: &Screen) -> Typed {
        let mut warned = false;
        loop {
            self.shared.status.set_columns(
                self.editor
                    .dimensions()
                    .map_or(80, |(columns, _)| columns.into()),
            );
            let status = if self.shared.key.get().is_some() {
                "\n"
            } else {
                ""
            };
            match self.editor.readline(&format!("{status}{}", self.prompt)) {
                Ok(line) => {
                    self.remember(&line);
                    return Some(line);
                }
                Err(ReadlineError::Interrupted) if !self.pressed.on_empty_line.load(SeqCst) => {
                    warned = false
                }
                Err(ReadlineError::Interrupted)
                    if warned || self.pressed.just_now() || self.shared.has_warned() =>
                {
                    return None;
                }
                Err(ReadlineError::Interrupted) => {
                    screen.say(HOW_TO_LEAVE);
                    warned = true;
                }
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    screen.say("That line was not valid UTF-8 and was dropped; type it again.");
                }
                Err(_) => return None,
            }
        }
    }

    /// Appends the line to the history; on disk at once, as a signal leaves no time for it.
    fn remember(&mut self, line: &str) {
        let new = self.editor.add_history_entry(line).unwrap_or(false);
        if let Some(path) = history_file().filter(|_| new) {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = self.editor.append_history(&path);
        }
    }
}

fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state
        .or_else(home)
        .map(|folder| folder.join("meanwhile/history"))
}

impl Pressed {
    fn just_now(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < SECOND)
    }
}

/// Ctrl+C: while the agent works, it interrupts it and leaves the line alone.
struct OnInterrupt {
    shared: Arc<Shared>,
    pressed: Arc<Pressed>,
}

impl ConditionalEventHandler for OnInterrupt {
    fn handle(&self, _: &Keys, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let Shared {
            busy, interrupt, ..
        } = &*self.shared;
        self.pressed
            .on_empty_line
            .store(context.line().is_empty(), SeqCst);
        if !busy.load(SeqCst) {
            return None; // the editor's own meaning
        }
        if !interrupt.is_triggered() {
            interrupt.trigger();
            *self
                .pressed
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        } else if self.shared.key.get().is_none() || self.shared.may_leave(true) {
            terminal::quit(130); // the second one, before the turn has ended
        }
        Some(Cmd::Repaint) // not `Noop`: that would end a history search and leave it on the screen
    }
}

/// Ctrl+B.
struct OnMove(Arc<Shared>);

impl ConditionalEventHandler for OnMove {
    fn handle(&self, _: &Keys, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        self.0
            .move_to_background(context.line().is_empty())
            .then_some(Cmd::Repaint)
    }
}

/// The next line of standard input that is text; `None` at its end.
pub(crate) fn piped_line(screen: &Screen) -> Typed {
    loop {
        let mut bytes = Vec::new();
        match stdin().lock().read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(_) => match String::from_utf8(bytes) {
                Ok(line) => return Some(line.trim_end_matches(['\n', '\r']).to_string()),
                Err(_) => {
                    screen.say("A line was not valid UTF-8 and was left out; the next one follows.")
                }
            },
        }
    }
}

/// True if a person may answer questions.
pub(crate) fn person_is_there() -> bool {
    stdin().is_terminal()
}

/// Waits at a terminal without the editor, where Ctrl+C is a signal and drops what was typed. A
/// second one leaves.
pub(crate) fn wait_for_line(prompt: &str, screen: &Screen, interrupt: &Interrupt) {
    let mut warned = false;
    while !is_readable(100) {
        if interrupt.is_triggered() && !warned {
            screen.say(HOW_TO_LEAVE);
            screen.prompt(prompt);
            warned = true;
        }
    }
}

/// Puts a question to the person. What was typed before it was asked is no answer to it: it is set
/// aside for the prompt.
pub(crate) fn ask(
    question: &str,
    screen: &Screen,
    interrupt: &Interrupt,
    set_aside: &Mutex<VecDeque<String>>,
    lines: Option<&Lines>,
) -> Answer {
    let keep = |line| {
        set_aside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(line)
    };
    let choice = "Allow it? [y]es, [n]o, [a]lways this tool in this session: ";
    while lines.is_none() && is_readable(0) {
        let Some(line) = piped_line(screen) else {
            return Answer::No;
        };
        keep(line);
    }
    screen.lines(&format!("The agent wants to call {question}"), Style::Bold);
    if let Some(lines) = lines {
        // The line editor may hold the question back: during a history search, say.
        select! {
            recv(screen.shown()) -> _ => {}
            recv(interrupt.receiver()) -> _ => return Answer::No,
        }
        // Ctrl+D, which is no line, is set aside as the word for it.
        for typed in lines.typed.try_iter() {
            keep(lines.take(typed).unwrap_or_else(|| "exit".to_string()));
        }
    }
    loop {
        screen.prompt(choice);
        let answer = match lines {
            Some(lines) => select! {
                recv(lines.typed) -> line => lines.take(line.ok().flatten()),
                recv(interrupt.receiver()) -> _ => return Answer::No,
            },
            None => {
                while !is_readable(100) {
                    if interrupt.is_triggered() {
                        return Answer::No;
                    }
                }
                piped_line(screen)
            }
        };
        let Some(line) = answer else {
            return Answer::No;
        };
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
