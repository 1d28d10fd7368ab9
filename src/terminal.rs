//! The terminal's settings, put back on every way out.
//!
//! Covered: return from `main`, `exit`, panic, SIGTERM, SIGHUP, Ctrl+C. Not covered: SIGKILL; then
//! `stty sane` helps.

use std::io::{IsTerminal, stdin, stdout};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::interrupt::Interrupt;
use crate::outcome::is_caught;

use crate::status_line;

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// True if a person sits at a terminal that can do more than print lines.
pub fn is_interactive() -> bool {
    stdin().is_terminal()
        && stdout().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Remembers the settings as they are now.
pub fn save() {
    *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(stdin()).ok();
}

/// Puts the remembered settings back. Waits for nothing: no thread that is printing, no screen held
/// with Ctrl+S (which cannot be while the prompt edits a line, and only then something is printed).
pub fn restore() {
    status_line::close();
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

/// Ctrl+C triggers the interrupt; a second one before that is reset leaves, and so does every other
/// signal that ends programs. `on_echo` is told when the terminal has shown `^C`.
pub fn watch_signals(interrupt: &Interrupt, person: bool, on_echo: impl Fn() + Send + 'static) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return;
    };
    let interrupt = interrupt.clone();
    let watch = move || {
        for signal in &mut signals {
            if signal == SIGINT && person && !interrupt.is_triggered() {
                on_echo();
                interrupt.trigger();
            } else {
                quit(128 + signal);
            }
        }
    };
    let _ = thread::Builder::new().name("signals".into()).spawn(watch);
}

/// A panic that becomes a result is not printed; any other puts the terminal right first.
pub fn restore_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_caught() {
            restore();
            print(panic);
        }
    }));
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
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        let wide = columns_of(character);
        if used + wide > columns {
            break;
        }
        line.push(character);
        used += wide;
    }
    (line, used)
}

/// Roughly, and rather too many than too few: the exact tables are those of the terminal.
fn columns_of(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0, // combined with the one before
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
