//! foundation · The terminal: its settings, put back on every way out, and its signals.
//!
//! Covered: return from `main`, `exit`, panic, SIGTERM, SIGHUP, Ctrl+C. Not covered: SIGKILL; then
//! `stty sane` helps.

use std::io::{IsTerminal, stdin, stdout};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use unicode_width::UnicodeWidthChar;

use crate::caught::is_caught;
use crate::interrupt::Interrupt;

/// The settings from before the program, for every thread that ends it.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// True if a person sits at a terminal that can do more than print lines.
pub fn is_interactive() -> bool {
    person_is_there()
        && stdout().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// True if a person may answer questions.
pub fn person_is_there() -> bool {
    stdin().is_terminal()
}

/// Remembers the settings as they are now, for [`restore`] and for a panic. To be called before
/// other threads are started.
pub fn save() {
    *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(stdin()).ok();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_caught() {
            restore();
            print(panic);
        }
    }));
}

/// From now on, threads that this one starts leave Ctrl+Z to the one that calls [`take_ctrl_z`]. The
/// line editor stops all threads by a signal; if another thread took it, the editor would run on
/// for a moment, and leave the terminal to the shell in the editor's state.
pub fn leave_ctrl_z() {
    let _ = SigSet::from_iter([Signal::SIGTSTP]).thread_block();
}

/// This thread takes Ctrl+Z.
pub fn take_ctrl_z() {
    let _ = SigSet::from_iter([Signal::SIGTSTP]).thread_unblock();
}

/// Puts the remembered settings back. Waits for nothing: no thread that prints, no screen held with
/// Ctrl+S.
pub fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(settings) = &*saved else { return };
    if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground != getpgrp()) {
        return; // suspended with Ctrl+Z: the terminal is the shell's, and whoever touches it is stopped
    }
    let editing = tcgetattr(stdin()).is_ok_and(|now| now.local_flags != settings.local_flags);
    let _ = tcsetattr(stdin(), SetArg::TCSANOW, settings);
    if editing {
        // Bracketed paste, which the prompt turns on; and the prompt itself is left behind.
        let _ = write(stdout(), b"\x1b[?2004l\r\n");
    }
}

/// Ends the program. What runs in the background is ended by its supervisors.
pub fn quit(code: i32) -> ! {
    restore();
    std::process::exit(code)
}

/// Where a person is, Ctrl+C triggers the interrupt; a second one before that is reset leaves, and
/// so does every other signal that ends programs. `on_echo` is told when the terminal has shown
/// `^C`.
pub fn watch_signals(interrupt: &Interrupt, on_echo: impl Fn() + Send + 'static) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return;
    };
    let interrupt = interrupt.clone();
    let watch = move || {
        for signal in &mut signals {
            if signal == SIGINT && person_is_there() && !interrupt.is_triggered() {
                on_echo();
                interrupt.trigger();
            } else {
                quit(128 + signal);
            }
        }
    };
    let _ = thread::Builder::new().name("signals".into()).spawn(watch);
}

/// Columns and rows, if standard output is a terminal. rustyline is asked: std has no word for it,
/// and the system call would need `unsafe`.
pub fn size() -> Option<(usize, usize)> {
    let (columns, rows) = rustyline::DefaultEditor::new().ok()?.dimensions()?;
    Some((columns.into(), rows.into()))
}

/// The beginning of a text as one harmless line, and how many columns it takes: at most `columns`.
pub fn fit(text: &str, columns: usize) -> (String, usize) {
    let (mut line, mut used) = (String::new(), 0);
    for character in text.chars() {
        let shown = if character.is_control() {
            ' '
        } else {
            character
        };
        let wide = shown.width().unwrap_or(0);
        if used + wide > columns {
            break;
        }
        line.push(shown);
        used += wide;
    }
    (line, used)
}
