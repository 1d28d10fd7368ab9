//! foundation · The screen: the one door to it. Everything shown passes here and is made harmless
//! on the way: control bytes are shown, not sent.

mod text;

use std::io::{Write, stderr, stdout};
use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use rustyline::ExternalPrinter;

use crate::caught::{lock, spawn};
use crate::event::{Event, Stamped};
use crate::interrupt::Interrupt;
use crate::process::output::readable;
use crate::terminal::size;
pub use text::{count, describe, one_line, visible, wrap};
use text::{shorten, split_line};

/// Text above a typed line is broken here where no terminal says how wide it is.
const WRAP: usize = 78;

/// Prints lines, and text as it arrives.
pub struct Screen {
    colour: bool,
    out: Mutex<Out>,
    /// Triggered while the line editor's prompt stands, and when it will draw none any more; reset
    /// when the line has ended. What is printed in between, it would write into its next prompt.
    pub stands: Interrupt,
}

#[derive(Default)]
struct Out {
    /// Whose text stands on an unfinished line.
    open_line: Option<String>,
    /// Where a line is being typed: whole lines are printed above it, through a thread, because the
    /// line editor may keep its printer waiting (during a history search, say). Elsewhere
    /// everything goes straight to standard output.
    above: Option<Sender<Printed>>,
    /// Text that is not a whole line yet, and how much of it is shown.
    unfinished: String,
    shown: usize,
}

/// Whole lines, or none: then the editor is only to draw its prompt again. The sender is dropped
/// when all of this is on the screen.
type Printed = (String, Option<Sender<()>>);

/// How a line looks where colours are wanted. Nothing depends on them.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub enum Style {
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
            out: Mutex::default(),
            stands: Interrupt::default(),
        }
    }

    /// Prints whole lines.
    pub fn say(&self, text: &str) {
        self.lines(text, Style::Plain);
    }

    /// Prints whole lines to standard error, where they are in nobody's way.
    pub fn say_aside(&self, text: &str) {
        let _ = writeln!(stderr(), "{}", wrap(&readable(text.as_bytes())));
    }

    /// Prints whole lines.
    pub fn lines(&self, text: &str, style: Style) {
        let text = self.styled(&readable(text.as_bytes()), style);
        self.close_and_write(&(text + "\n"));
    }

    /// Adds the colour, if colours are wanted.
    pub fn styled(&self, text: &str, style: Style) -> String {
        let code = match style {
            Style::Bold if self.colour => "1",
            Style::Dim if self.colour => "2",
            Style::Red if self.colour => "31",
            _ => return text.to_string(),
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Prints a question or a prompt, behind which something will be typed.
    pub fn prompt(&self, text: &str) {
        if lock(&self.out).above.is_some() {
            return self.say(text);
        }
        self.close_and_write(&readable(text.as_bytes()));
        lock(&self.out).open_line = Some(String::new());
    }

    /// What was typed behind the prompt has ended the line.
    pub fn close_typed(&self) {
        let mut out = lock(&self.out);
        (out.open_line, out.unfinished, out.shown) = (None, String::new(), 0);
    }

    /// Shows what happens.
    pub fn show(&self, stamped: Stamped<'_>) {
        if stamped.in_background {
            return; // several agents at once would talk at cross purposes
        }
        let name = |it| format!("  {} │ ", one_line(it));
        let lead = stamped.agent.map_or(String::new(), name);
        let say = |text: String, style| self.lines(&(lead.clone() + &text), style);
        match stamped.event {
            Event::Text(text) => self.text(&lead, text),
            Event::RequestFinished(_) => self.close_and_write(""),
            Event::Delivered(_, it) => say(format!("◆ {}", one_line(it)), Style::Bold),
            // What it is, and the first line of what was told.
            Event::Told(_, it) => {
                let lines: Vec<String> = it.lines().take(2).map(one_line).collect();
                say(format!("◆ {}", lines.join(" · ")), Style::Bold);
            }
            Event::Notice(it) => say(format!("({})", visible(it.trim())), Style::Dim),
            Event::ToolStarted { name, input } => {
                let call = one_line(&format!("{name}: {}", describe(input)));
                say(format!("● {}", call.trim_end_matches(": ")), Style::Bold);
            }
            Event::ToolFinished {
                output,
                is_error,
                elapsed,
            } => {
                let style = if *is_error { Style::Red } else { Style::Dim };
                let time = format!("{:.1} s", elapsed.as_secs_f64());
                let lines = shorten(output).join(&format!("\n{lead}    "));
                say(format!("  └ {time} · {lines}"), style);
            }
            _ => {}
        }
    }

    fn text(&self, lead: &str, text: &str) {
        let mut out = lock(&self.out);
        let mut shown = readable(text.as_bytes());
        if out.open_line.as_deref() != Some(lead) {
            if shown.trim().is_empty() {
                return;
            }
            let line_end = if out.open_line.is_some() { "\n" } else { "" };
            shown = format!("{line_end}{lead}{}", shown.trim_start());
        }
        if !lead.is_empty() {
            shown = shown.replace('\n', &format!("\n{lead}"));
        }
        out.open_line = Some(lead.to_string());
        out.write(&shown);
    }

    fn close_and_write(&self, text: &str) {
        let mut out = lock(&self.out);
        let line_end = out.open_line.take().map_or("", |_| "\n");
        out.write(&format!("{line_end}{text}"));
    }

    /// From now on, prints above the line that is being typed.
    pub fn print_above(&self, mut printer: impl ExternalPrinter + Send + 'static) {
        let (lines, printed) = unbounded::<Printed>();
        // Shows nothing: up a line, down a line. One text may lie ready for the editor: once there is
        // room for a second of these, it took the first, and what was before it is shown.
        const NOTHING: &str = "\x1b[A\n";
        let stands = self.stands.clone();
        let print = move || {
            for (text, done) in &printed {
                while !stands.is_triggered() {
                    let _ = stands.receiver().recv();
                }
                let text = match text.is_empty() {
                    // What comes next has the prompt drawn as well.
                    true if done.is_none() && !printed.is_empty() => continue,
                    true => NOTHING.to_string(),
                    false => text,
                };
                let _ = printer.print(text);
                if done.is_some() {
                    let _ = printer.print(NOTHING.to_string());
                }
            }
        };
        if spawn("printer", print).is_ok() {
            lock(&self.out).above = Some(lines);
        }
    }

    /// Has the prompt drawn again, where there is one all the time.
    pub fn redraw(&self) {
        if let Some(lines) = &lock(&self.out).above {
            let _ = lines.send((String::new(), None));
        }
    }

    /// Waits until everything is on the screen, a second at most.
    pub fn flush(&self) {
        self.close_and_write("");
        let _ = self.shown().recv_timeout(Duration::from_secs(1));
    }

    /// Waits until everything is on the screen. False if the interrupt comes before.
    pub fn wait_until_shown(&self, interrupt: &Interrupt) -> bool {
        select! {
            recv(self.shown()) -> _ => true,
            recv(interrupt.receiver()) -> _ => false,
        }
    }

    /// Ready (disconnected) once all that was printed so far is on the screen.
    fn shown(&self) -> Receiver<()> {
        let (done, shown) = unbounded();
        if let Some(lines) = &lock(&self.out).above {
            let _ = lines.send((String::new(), Some(done)));
        }
        shown
    }
}

impl Out {
    /// Breaks lines between words where a terminal would break them anywhere.
    fn write(&mut self, text: &str) {
        let columns = match (size(), &self.above) {
            (Some((columns, _)), _) => columns,
            (None, Some(_)) => WRAP,
            (None, None) => return print(text),
        };
        self.unfinished.push_str(text);
        let (mut lines, mut rest) = (String::new(), &*self.unfinished);
        while let Some((line, next)) = split_line(rest, columns) {
            lines += line.get(self.shown..).unwrap_or_default();
            lines.push('\n');
            (rest, self.shown) = (next, 0);
        }
        if let Some(above) = &self.above {
            self.unfinished = rest.to_string();
            if !lines.is_empty() {
                let _ = above.send((lines, None));
            }
            return;
        }
        // A word is shown when it is known where it ends.
        let end = rest.rfind(' ').map_or(0, |at| at + 1).max(self.shown);
        lines += rest.get(self.shown..end).unwrap_or_default();
        (self.unfinished, self.shown) = (rest.to_string(), end);
        print(&lines);
    }
}

/// A screen that has gone is no reason to panic.
fn print(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
