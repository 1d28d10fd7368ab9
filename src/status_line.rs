//! One line at the bottom of a terminal that is drawn again and again in place, and then erased.
//!
//! Only the foreground program of a terminal draws it, since a job in the background (`&`) may not
//! touch the terminal's settings; and not while a line editor is at work, whose line it is. While the line stands, keys are not echoed: an Enter in the middle of
//! it would leave a rest of it on the screen. What was typed is there at the next prompt.

use std::io::{Write, stdin, stdout};
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use crate::terminal::{fit, is_interactive, size};

enum Line {
    Erased,
    /// With the terminal's settings from before.
    Drawn(Termios),
    /// The program is about to end.
    Closed,
}

static LINE: Mutex<Line> = Mutex::new(Line::Erased);

/// Draws the line, or draws it again. The cursor must stand at the beginning of an empty line, or
/// in this one. Without effect where standard output is no terminal.
pub fn draw(text: &str) {
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let here = is_interactive() && tcgetpgrp(stdin()) == Ok(getpgrp());
    let (true, Ok(settings), Some((columns, _))) = (here, tcgetattr(stdin()), size()) else {
        return;
    };
    match &*line {
        _ if !settings.local_flags.contains(LocalFlags::ICANON) => return,
        Line::Closed => return,
        Line::Drawn(_) => {}
        Line::Erased => {
            let mut silent = settings.clone();
            silent.local_flags.remove(LocalFlags::ECHO);
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &silent);
            *line = Line::Drawn(settings);
        }
    }
    // One column less: in the last one, the terminal would begin another line.
    write(&format!(
        "\r{}\x1b[K",
        fit(text, columns.saturating_sub(1)).0
    ));
}

/// Erases the line, if it is there.
pub fn erase() {
    set(Line::Erased);
}

/// Erases the line for good.
pub(crate) fn close() {
    set(Line::Closed);
}

fn set(new: Line) {
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Line::Drawn(settings) = &*line {
        write("\r\x1b[K");
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, settings);
    }
    if !matches!(*line, Line::Closed) {
        *line = new;
    }
}

fn write(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
