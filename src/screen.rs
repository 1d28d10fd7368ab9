//! The one door to the screen. Everything shown passes here and is made harmless on the way:
//! control bytes are shown, not sent.

use std::io::{Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustyline::ExternalPrinter;

use crate::event::{Event, Stamped};
use crate::permission::describe;
use crate::process::output::readable;
use crate::status_line;

/// Lines of a tool's output that are shown.
const SHOWN_LINES: usize = 8;
/// Characters of a line that are shown.
const SHOWN_WIDTH: usize = 160;

/// Prints lines, and text as it arrives.
#[derive(Default)]
pub struct Screen {
    colour: bool,
    /// Whose text stands on an unfinished line.
    open_line: Mutex<Option<String>>,
    out: Mutex<Out>,
    /// True if the terminal has shown a key behind the last of what stands there, such as `^C`.
    echoed: AtomicBool,
    /// True if the printer is about to have the prompt drawn again.
    redraws: Arc<AtomicBool>,
}

/// Where it goes.
#[derive(Default)]
enum Out {
    /// Straight to the terminal or pipe.
    #[default]
    Straight,
    /// Above a line that is being typed: whole lines only, through a thread, because the line
    /// editor may keep its printer waiting (during a history search, say).
    Above {
        lines: Sender<Printed>,
        unfinished: String,
    },
}

enum Printed {
    Lines(String),
    /// Nothing new: the editor is to draw its prompt again.
    Redraw,
    /// To be answered when all before it is printed.
    Flush(Sender<()>),
}

/// Text above a typed line is broken here, so that it still seems to stream.
const WRAP: usize = 78;

/// How a line looks where colours are wanted. Nothing depends on them.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Red,
}

impl Screen {
    /// With colours or without.
    pub fn new(colour: bool) -> Self {
        Screen {
            colour,
            ..Screen::default()
        }
    }

    /// Prints whole lines.
    pub fn say(&self, text: &str) {
        self.lines(text, Style::Plain);
    }

    /// Prints whole lines to standard error, where they are in nobody's way.
    pub fn say_aside(&self, text: &str) {
        let _ = writeln!(stderr(), "{}", readable(text.as_bytes()));
    }

    /// Prints without a newline, for a question or an echoed prompt.
    pub(crate) fn prompt(&self, text: &str) {
        self.close_line();
        let line_end = if matches!(*self.out(), Out::Straight) {
            ""
        } else {
            "\n"
        };
        self.write(&(readable(text.as_bytes()) + line_end));
    }

    /// Shows what happens.
    pub fn show(&self, stamped: Stamped<'_>) {
        if stamped.in_background {
            return; // several agents at once would talk at cross purposes
        }
        let lead = stamped
            .agent
            .map(|agent| format!("  {agent} │ "))
            .unwrap_or_default();
        match stamped.event {
            Event::Text(text) => self.text(&lead, text),
            Event::RequestFinished { .. } | Event::RequestFailed => self.close_line(),
            Event::RequestStarted
            | Event::TurnStarted { .. }
            | Event::TurnFinished
            | Event::TaskStarted { .. }
            | Event::TaskFinished { .. } => {}
            Event::Delivered(line) => self.lines(&format!("{lead}◆ {line}"), Style::Bold),
            Event::Notice(text) => self.lines(&format!("{lead}({})", text.trim()), Style::Dim),
            Event::ToolStarted { name, input, .. } => {
                let input = describe(input);
                let call: String = input
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(SHOWN_WIDTH)
                    .collect();
                let more = if call.len() < input.len() { " …" } else { "" };
                self.lines(&format!("{lead}● {name}: {call}{more}"), Style::Bold);
            }
            Event::Waiting {
                what,
                elapsed,
                progress,
            } => self.waiting(&lead, what, *elapsed, progress),
            Event::ToolFinished {
                output,
                is_error,
                elapsed,
                ..
            } => {
                let style = if *is_error { Style::Red } else { Style::Dim };
                let time = format!("{:.1} s", elapsed.as_secs_f64());
                let lines = shorten(output);
                self.lines(
                    &format!(
                        "{lead}  └ {time} · {}",
                        lines.join(&format!("\n{lead}    "))
                    ),
                    style,
                );
            }
        }
    }

    /// At a terminal, a line that goes when anything else is printed; otherwise nothing.
    fn waiting(&self, lead: &str, what: &str, elapsed: Duration, progress: &str) {
        let open = self
            .open_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Where there is a prompt all the time, the line above it says so.
        if open.is_none() && matches!(*self.out(), Out::Straight) {
            let what: String = what
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(30)
                .collect();
            let seconds = elapsed.as_secs_f64();
            status_line::draw(&format!("{lead}  … {seconds:.1} s · {what} · {progress}"));
        }
    }

    fn text(&self, lead: &str, text: &str) {
        let mut open = self
            .open_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut shown = readable(text.as_bytes());
        if open.as_deref() != Some(lead) {
            let line_end = if open.is_some() { "\n" } else { "" };
            shown = format!("{line_end}{lead}{}", shown.trim_start());
        }
        if !lead.is_empty() {
            shown = shown.replace('\n', &format!("\n{lead}"));
        }
        *open = Some(lead.to_string());
        self.write(&shown);
    }

    /// What comes next begins on a new line. Waits for nothing.
    pub(crate) fn note_echo(&self) {
        self.echoed.store(true, SeqCst);
    }

    fn close_line(&self) {
        let open = self
            .open_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .is_some();
        if self.echoed.swap(false, SeqCst) || open {
            self.write("\n");
        }
    }

    pub(crate) fn lines(&self, text: &str, style: Style) {
        self.close_line();
        let text = readable(text.as_bytes());
        let code = match style {
            Style::Plain => "",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Red => "31",
        };
        if self.colour && !code.is_empty() {
            self.write(&format!("\x1b[{code}m{text}\x1b[0m\n"));
        } else {
            self.write(&format!("{text}\n"));
        }
    }

    /// From now on, prints above the line that is being typed.
    pub(crate) fn print_above(&self, mut printer: impl ExternalPrinter + Send + 'static) {
        let (lines, printed) = unbounded();
        // Shows nothing: up a line, down a line. The editor takes one text at a time: once it takes
        // this one, those before it are shown.
        const NOTHING: &str = "\x1b[A\n";
        let redraws = self.redraws.clone();
        let print = move || {
            for message in printed {
                match message {
                    Printed::Lines(text) => drop(printer.print(text)),
                    Printed::Redraw => {
                        redraws.store(false, SeqCst);
                        let _ = printer.print(NOTHING.to_string());
                    }
                    Printed::Flush(done) => {
                        let _ = printer.print(NOTHING.to_string());
                        let _ = done.send(());
                    }
                }
            }
        };
        if thread::Builder::new()
            .name("printer".into())
            .spawn(print)
            .is_ok()
        {
            *self.out() = Out::Above {
                lines,
                unfinished: String::new(),
            };
        }
    }

    /// Waits until everything is on the screen, a second at most.
    pub(crate) fn flush(&self) {
        self.close_line();
        let _ = self.shown().recv_timeout(Duration::from_secs(1));
    }

    /// Has the prompt drawn again, where there is one all the time.
    pub(crate) fn redraw(&self) {
        if let Out::Above { lines, .. } = &*self.out()
            && !self.redraws.swap(true, SeqCst)
        {
            let _ = lines.send(Printed::Redraw);
        }
    }

    /// For `select!`: ready once all that was printed so far is on the screen.
    pub(crate) fn shown(&self) -> Receiver<()> {
        let (done, shown) = unbounded();
        if let Out::Above { lines, .. } = &*self.out() {
            let _ = lines.send(Printed::Flush(done));
        }
        shown
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A screen that has gone is no reason to panic.
    fn write(&self, text: &str) {
        match &mut *self.out() {
            Out::Straight => {
                status_line::erase();
                let mut out = stdout().lock();
                let _ = out.write_all(text.as_bytes());
                let _ = out.flush();
            }
            Out::Above { lines, unfinished } => {
                unfinished.push_str(text);
                while let Some((line, rest)) = split_line(unfinished) {
                    let _ = lines.send(Printed::Lines(line + "\n"));
                    *unfinished = rest;
                }
            }
        }
    }
}

/// The first line and what follows, if it is complete or too long.
fn split_line(text: &str) -> Option<(String, String)> {
    if let Some((line, rest)) = text.split_once('\n') {
        return Some((line.to_string(), rest.to_string()));
    }
    let (end, _) = text.char_indices().nth(WRAP)?;
    let (start, rest) = text.split_at(end);
    let (line, word) = start.rsplit_once(' ').unwrap_or((start, ""));
    Some((line.to_string(), format!("{word}{rest}")))
}

fn shorten(output: &str) -> Vec<String> {
    let count = output.lines().count();
    let line = |line: &str| match line.chars().count() {
        0..=SHOWN_WIDTH => line.to_string(),
        _ => line.chars().take(SHOWN_WIDTH).chain(" …".chars()).collect(),
    };
    let mut lines: Vec<String> = output.lines().take(SHOWN_LINES).map(line).collect();
    if count > SHOWN_LINES {
        lines.push(format!(
            "… {} more lines (the model has them)",
            count - SHOWN_LINES
        ));
    }
    lines
}
