//! The terminal's settings, put back on every way out.
//!
//! Covered: return from `main`, `exit`, panic, SIGTERM, SIGHUP, Ctrl+C. Not covered: SIGKILL; then
//! `stty sane` helps.

use std::io::{IsTerminal, stdin, stdout};
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};

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
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(settings) = &*saved else { return };
    if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground != getpgrp()) {
        return; // suspended with Ctrl+Z: the terminal is the shell's, and whoever touches it is stopped
    }
    let editing = tcgetattr(stdin()).is_ok_and(|now| now.local_flags != settings.local_flags);
    let _ = tcsetattr(stdin(), SetArg::TCSANOW, settings);
    if editing {
        let _ = write(stdout(), b"\x1b[?2004l"); // bracketed paste, which the prompt turns on
    }
}

/// Ends the program. What runs in the background is ended by its supervisors.
pub fn quit(code: i32) -> ! {
    restore();
    std::process::exit(code)
}
