//! The terminal's settings, put back on every way out.
//!
//! Covered: return from `main`, `exit`, panic, SIGTERM, SIGHUP, Ctrl+C. Not covered: SIGKILL; then
//! `stty sane` helps.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

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

/// Puts the remembered settings back.
pub fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(settings) = &*saved {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, settings);
        if stdout().is_terminal() {
            let _ = stdout().write_all(b"\x1b[?2004l"); // bracketed paste, which the prompt turns on
            let _ = stdout().flush();
        }
    }
}

/// Ends the program. What runs in the background is ended by its supervisors.
pub fn quit(code: i32) -> ! {
    restore();
    std::process::exit(code)
}
