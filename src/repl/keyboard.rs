//! foundation · The keyboard: lines come from a person at a terminal or from a pipe. They are read
//! on a thread of their own, all the time, whatever the main thread does.

use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, stdin, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::write;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, ColorMode, ConditionalEventHandler, Config, Event, EventContext as Typed, EventHandler,
    KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::commands::{Commands, is_leaving};
use super::history::{check_history, is_control, state_file};
use super::shared::{Doing, Shared};
use super::status::Helper;
use crate::caught::{catch, lock, spawn};
use crate::inbox::Wake;
use crate::terminal;

/// Wishes to leave in a row after which nobody is asked again: the terminal has gone.
const ENOUGH: usize = 4;

/// Reads lines into the inbox, on a thread of its own: with the editor, or else from a pipe or a
/// terminal that can only print.
pub fn start(editor: Option<Editor>, commands: Commands, shared: &Arc<Shared>) {
    let its = shared.clone();
    let read = move || {
        match editor {
            Some(editor) => {
                editor.read_on(commands);
                its.screen.stands.trigger();
            }
            None => read_pipe(&its),
        }
        its.inbox.put(Wake::Leave);
    };
    if spawn("keyboard", read).is_err() {
        shared.inbox.put_back(Wake::Leave); // nothing can be typed
    }
}

fn read_pipe(shared: &Shared) {
    let echo = !terminal::person_is_there();
    let bad = "A line was not valid UTF-8 and was left out; the next one follows.";
    for line in stdin().lines() {
        match line {
            Ok(text) => shared.inbox.put(Wake::Line { text, echo }),
            Err(error) if error.kind() == ErrorKind::InvalidData => shared.screen.say(bad),
            Err(_) => return,
        }
    }
}

/// The line editor of a person at a terminal.
pub struct Editor {
    editor: rustyline::Editor<Helper, FileHistory>,
    /// Where lines are kept; `None` where that cannot be.
    history: Option<PathBuf>,
    prompt: String,
    shared: Arc<Shared>,
}

impl Editor {
    /// An editor with the history of the programs before.
    pub fn new(prompt: String, shared: &Arc<Shared>) -> rustyline::Result<Self> {
        // Forced: the status line is drawn like a colour, and is wanted without colours, too.
        let config = Config::builder().color_mode(ColorMode::Forced);
        let config = config.keyseq_timeout(Some(100)); // or Esc would wait for another key
        let config = config.bracketed_paste(false).build(); // see `mark_pastes`
        let mut editor = rustyline::Editor::with_config(config)?;
        editor.set_helper(Some(Helper {
            shared: shared.clone(),
            is_drawn: Cell::new(false),
        }));
        let history = state_file("history").filter(|path| match check_history(path) {
            Ok(()) => editor.load_history(path).is_ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(why) => {
                let path = path.display();
                let text = format!("{path} is not used: {why}. Move it away.");
                shared.screen.say(&text);
                false
            }
        });
        Ok(Editor {
            editor,
            history,
            prompt,
            shared: shared.clone(),
        })
    }

    /// Until the person leaves. While the main thread works, a wish to leave waits for its turn.
    /// What is printed from now on appears above the line.
    fn read_on(mut self, mut commands: Commands) {
        terminal::mark_pastes();
        if let Ok(printer) = self.editor.create_external_printer() {
            self.shared.screen.print_above(printer);
        }
        let keys = Keys {
            shared: self.shared.clone(),
            commands: commands.clone(),
        };
        let keys = EventHandler::Conditional(Box::new(keys));
        self.editor.bind_sequence(Event::Any, keys);
        let (shared, mut ends) = (self.shared.clone(), 0); // in a row
        while ends < ENOUGH {
            let Ok(typed) = catch(|| self.next()) else {
                let text = "The line editor broke down, and the line is lost; type it again.";
                shared.screen.say(text);
                ends += 1;
                continue;
            };
            ends = if typed.is_none() { ends + 1 } else { 0 };
            let doing = shared.doing();
            let asks = doing == Doing::Asking;
            let end = if asks { "no" } else { "exit" };
            let mut line = typed.unwrap_or(end.to_string());
            match is_leaving(&line) {
                false => shared.forget_warning(),
                true if doing != Doing::Idle => {}
                true if shared.may_leave(true) => return,
                true => continue,
            }
            // An answer to an open question may be anything else.
            let is_command = !asks || line.starts_with('/');
            if !is_command || !commands.carry_out(&mut line, &shared.screen) {
                shared.put_typed(line);
            }
        }
    }

    /// The next line; `None` if the person wants to leave.
    fn next(&mut self) -> Option<String> {
        loop {
            terminal::until_in_foreground();
            if let Some(helper) = self.editor.helper_mut() {
                helper.is_drawn.set(false);
            }
            lock(&self.shared.grey).typed = false; // the line before this one is in the inbox
            let typed = self.editor.readline(&format!("\n{}", self.prompt));
            self.shared.screen.stands.reset();
            match typed {
                Ok(line) => {
                    self.remember(&line);
                    return Some(line);
                }
                Err(ReadlineError::Interrupted) => self.shared.forget_warning(),
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    let text = "That line was not valid UTF-8 and was dropped; type it again.";
                    self.shared.screen.say(text);
                }
                // A window that changes its size after Ctrl+V.
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(ReadlineError::Signal(_)) => {}
                Err(_) => return None,
            }
        }
    }

    /// Appends the line to the history; on disk at once, because a signal leaves no time for it.
    fn remember(&mut self, line: &str) {
        let line = line.replace(is_control, "\u{fffd}");
        let new = self.editor.add_history_entry(line).unwrap_or(false);
        if let Some(path) = self.history.as_ref().filter(|_| new) {
            let _ = path.parent().map(fs::create_dir_all);
            let _ = self.editor.append_history(path);
        }
    }
}

/// The keys that act at once, whatever the main thread does. Where they have nothing to do, they are
/// the editor's.
struct Keys {
    shared: Arc<Shared>,
    commands: Commands,
}

impl ConditionalEventHandler for Keys {
    /// Any key ends the offer, and wipes it off the screen: the cursor stands before it.
    fn handle(&self, key: &Event, _: RepeatCount, _: bool, typed: &Typed<'_>) -> Option<Cmd> {
        let shown = self.shared.end_offer();
        if shown.is_some() {
            let _ = write(stdout(), b"\x1b[K");
        }
        let offered = shown.and_then(|(line, stood)| stood.then_some(line));
        let KeyEvent(key, modifiers) = *key.get(0)?;
        // Also after an Esc that was pressed by mistake.
        match (key, modifiers - Modifiers::ALT) {
            (KeyCode::Tab, Modifiers::NONE) if offered.is_none() => self.complete(typed),
            (KeyCode::Tab | KeyCode::Right | KeyCode::Enter, Modifiers::NONE) => {
                Some(Cmd::Insert(1, offered?))
            }
            (KeyCode::Up, Modifiers::NONE) if typed.line().is_empty() => {
                Some(Cmd::Insert(1, self.shared.take_back()?))
            }
            (KeyCode::Char('C'), Modifiers::CTRL) => on_interrupt(&self.shared, typed),
            (KeyCode::Char('Z'), Modifiers::CTRL) => {
                terminal::suspend();
                Some(Cmd::Repaint)
            }
            (KeyCode::Char(key), Modifiers::CTRL) => self.on_key(key, typed),
            _ => None,
        }
    }
}

impl Keys {
    fn complete(&self, typed: &Typed<'_>) -> Option<Cmd> {
        let line = typed.line().get(..typed.pos())?;
        let ids = self.shared.beside.get().map(|beside| beside.known());
        match self.commands.complete(line, ids.unwrap_or_default()) {
            Ok(added) => return (!added.is_empty()).then_some(Cmd::Insert(1, added)),
            Err(choice) => self.shared.screen.say(&choice),
        }
        Some(Cmd::Repaint)
    }

    /// The key of a lesson. On a line with text, at rest, it is the editor's.
    fn on_key(&self, key: char, typed: &Typed<'_>) -> Option<Cmd> {
        let (doing, keys) = (self.shared.doing(), lock(&self.shared.keys));
        let is_free = doing != Doing::Idle || typed.line().is_empty();
        let (.., act) = keys.iter().find(|(its, ..)| is_free && *its == key)?;
        act(doing).inspect(|text| self.shared.screen.say(text));
        Some(Cmd::Repaint)
    }
}

/// Ctrl+C: while the agent works, it interrupts it and leaves the line alone.
fn on_interrupt(shared: &Shared, typed: &Typed<'_>) -> Option<Cmd> {
    match shared.doing() {
        Doing::Idle if !typed.line().is_empty() => return None, // drops the line
        Doing::Idle if shared.may_leave(false) => return Some(Cmd::EndOfFile),
        Doing::Idle => {}
        _ if !shared.interrupt.is_triggered() => shared.interrupt_turn(),
        // The second one, before the turn has ended.
        _ if shared.may_leave(true) => terminal::quit(130),
        _ => {}
    }
    // Not `Noop`: that would end a history search and leave it on the screen.
    Some(Cmd::Repaint)
}
