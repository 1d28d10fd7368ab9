//! foundation · The terminal: its settings, put back on every way out, and its signals.
//!
//! Covered: return from `main`, `exit`, panic, SIGTERM, SIGHUP, Ctrl+C. Not covered: SIGKILL; then
//! `stty sane` helps.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, write};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use unicode_width::UnicodeWidthChar;

use crate::caught::{is_caught, lock, spawn};
use crate::interrupt::Interrupt;

/// The settings from before the program, for every thread that ends it, and whether there is an
/// editor.
static SAVED: Mutex<Option<(Termios, bool)>> = Mutex::new(None);

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

/// True if colours can be shown, and nobody has asked for none.
pub fn wants_colour() -> bool {
    is_interactive() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Remembers the settings as they are now, for [`restore`] and for a panic. To be called before
/// other threads are started. With the line editor, these leave Ctrl+Z to [`suspend`].
pub fn save(with_editor: bool) {
    if with_editor {
        let _ = SigSet::from_iter([Signal::SIGTSTP]).thread_block();
    }
    let settings = tcgetattr(stdin()).ok();
    *lock(&SAVED) = settings.map(|settings| (settings, with_editor));
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_caught() {
            restore();
            if takes_more(stderr()) {
                print(panic);
            }
        }
    }));
}

/// True while another job has the terminal: whoever changes its settings is stopped.
fn is_in_background() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|foreground| foreground != getpgrp())
}

/// Waits until this job has the terminal.
pub fn until_in_foreground() {
    while is_in_background() {
        thread::sleep(Duration::from_millis(50)); // nobody would tell
    }
}

/// Ctrl+Z, on the thread of the line editor: stops the job, with the settings from before it, until
/// it is in the foreground again.
pub fn suspend() {
    let editing = tcgetattr(stdin());
    restore();
    // No other thread takes the signal, so this one is stopped before `kill` returns.
    let stop = SigSet::from_iter([Signal::SIGTSTP]);
    let _ = stop.thread_unblock();
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    let _ = stop.thread_block();
    until_in_foreground();
    if let Ok(settings) = editing {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &settings);
        mark_pastes();
    }
}

/// Bracketed paste: what is pasted comes marked, until [`restore`]. The editor would turn it on for
/// each line, and could do so just after a way out has turned it off.
pub fn mark_pastes() {
    let _ = write(stdout(), b"\x1b[?2004h");
}

/// Puts the remembered settings back. Waits for no other thread, and not for a screen that is held.
pub fn restore() {
    let saved = lock(&SAVED);
    let Some((settings, with_editor)) = saved.as_ref().filter(|_| !is_in_background()) else {
        return; // or the settings are those of the shell
    };
    let editing = tcgetattr(stdin()).is_ok_and(|now| now.local_flags != settings.local_flags);
    let _ = tcsetattr(stdin(), SetArg::TCSANOW, settings);
    if *with_editor && takes_more(stdout()) {
        // The prompt, if there is one just now, is left behind.
        let line_end: &[u8] = if editing { b"\r\n" } else { b"" };
        let _ = write(stdout(), &[b"\x1b[?2004l", line_end].concat());
    }
}

/// False for a screen that is held: whoever writes there waits.
fn takes_more(output: impl AsFd) -> bool {
    let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    poll(&mut ready, PollTimeout::from(100u8)) == Ok(1)
}

/// Ends the program. What runs in the background is ended by its supervisors.
pub fn quit(code: i32) -> ! {
    restore();
    std::process::exit(code)
}

/// Where a person is, Ctrl+C triggers the interrupt; a second one before that is reset leaves, and
/// so does every other signal that ends programs.
pub fn watch_signals(interrupt: &Interrupt) {
    let interrupt = interrupt.clone();
    let (listens, listening) = bounded::<()>(0);
    let watch = move || {
        // Here, so that signals do what they always do where there is no thread to be had.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
        drop(listens);
        for signal in signals.iter_mut().flatten() {
            if signal == SIGINT && person_is_there() && !interrupt.is_triggered() {
                interrupt.trigger();
            } else {
                quit(128 + signal);
            }
        }
    };
    let _ = spawn("signals", watch);
    let _ = listening.recv(); // until the other end is dropped, one way or the other
}

/// Columns and rows, if standard output is a terminal.
pub fn size() -> Option<(usize, usize)> {
    let (columns, rows) = terminal_size::terminal_size_of(stdout())?;
    Some((columns.0.into(), rows.0.into()))
}

/// The beginning of a text as one harmless line of at most so many columns, and the rest of it.
pub fn fit(text: &str, columns: usize) -> (String, &str) {
    let (mut line, mut used) = (String::new(), 0);
    for (at, c) in text.char_indices() {
        let shown = if c.is_control() { ' ' } else { c };
        let wide = shown.width().unwrap_or(0);
        if used + wide > columns {
            return (line, text.split_at(at).1);
        }
        line.push(shown);
        used += wide;
    }
    (line, "")
}

/// A text as one harmless line of at most so many columns; `…` stands for what did not fit.
pub fn short(text: &str, columns: usize) -> String {
    match fit(text, columns) {
        (whole, "") => whole,
        _ => fit(text, columns.saturating_sub(1)).0 + "…",
    }
}
