//! foundation · The screen: the one door to it. Everything shown passes here and is made harmless
//! on the way: control bytes are shown, not sent.

mod text;

use std::io::{Write, stderr, stdout};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use rustyline::ExternalPrinter;

use crate::caught::lock;
use crate::event::{Event, Stamped};
use crate::interrupt::Interrupt;
use crate::process::output::readable;
use text::shorten;
pub use text::{count, describe, one_line, visible};

/// Text above a typed line is broken here, so that it still seems to stream.
const WRAP: usize = 78;

/// Prints lines, and text as it arrives.
pub struct Screen {
    colour: bool,
    out: Mutex<Out>,
    /// Triggered while a prompt of the line editor stands. What is printed in between, the editor
    /// would write into its next prompt.
    stands: Interrupt,
}

struct Out {
    /// Whose text stands on an unfinished line.
    open_line: Option<String>,
    /// Where a line is being typed: whole lines are printed above it, through a thread, because the
    /// line editor may keep its printer waiting (during a history search, say). Elsewhere
    /// everything goes straight to standard output.
    above: Option<Sender<Printed>>,
    /// Text for above that is not a whole line yet.
    unfinished: String,
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
            out: Mutex::new(Out {
                open_line: None,
                above: None,
                unfinished: String::new(),
            }),
            stands: Interrupt::default(),
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

    /// Prints whole lines.
    pub fn lines(&self, text: &str, style: Style) {
        let text = readable(text.as_bytes());
        let code = match style {
            Style::Bold if self.colour => "1",
            Style::Dim if self.colour => "2",
            Style::Red if self.colour => "31",
            _ => return self.close_and_write(&format!("{text}\n")),
        };
        self.close_and_write(&format!("\x1b[{code}m{text}\x1b[0m\n"));
    }

    /// Prints a question or a prompt, behind which something will be typed.
    pub fn prompt(&self, text: &str) {
        let text = readable(text.as_bytes());
        let line_end = lock(&self.out).above.as_ref().map_or("", |_| "\n");
        self.close_and_write(&format!("{text}{line_end}"));
        if line_end.is_empty() {
            lock(&self.out).open_line = Some(String::new());
        }
    }

    /// What was typed behind the prompt has ended the line.
    pub fn close_typed(&self) {
        lock(&self.out).open_line = None;
    }

    /// Shows what happens.
    pub fn show(&self, stamped: Stamped<'_>) {
        if stamped.in_background {
            return; // several agents at once would talk at cross purposes
        }
        let lead = stamped.agent.map(|it| format!("  {} │ ", one_line(it)));
        let lead = lead.unwrap_or_default();
        match stamped.event {
            Event::Text(text) => self.text(&lead, text),
            Event::RequestFinished(_) => self.close_and_write(""),
            Event::Delivered(_, it) | Event::Told(_, it) => {
                self.lines(&format!("{lead}◆ {}", one_line(it)), Style::Bold)
            }
            Event::Notice(it) => self.lines(&format!("{lead}({})", visible(it.trim())), Style::Dim),
            Event::ToolStarted { name, input } => {
                let call = one_line(&format!("{name}: {}", describe(input)));
                let call = call.trim_end_matches(": ");
                self.lines(&format!("{lead}● {call}"), Style::Bold);
            }
            Event::ToolFinished {
                output,
                is_error,
                elapsed,
            } => {
                let style = if *is_error { Style::Red } else { Style::Dim };
                let time = format!("{:.1} s", elapsed.as_secs_f64());
                let lines = shorten(output).join(&format!("\n{lead}    "));
                self.lines(&format!("{lead}  └ {time} · {lines}"), style);
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
        // Shows nothing: up a line, down a line. The editor takes one text at a time: once it takes
        // this one, those before it are shown.
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
            }
        };
        let thread = thread::Builder::new().name("printer".into());
        if thread.spawn(print).is_ok() {
            lock(&self.out).above = Some(lines);
        }
    }

    /// The line editor has drawn its prompt, or will draw no more.
    pub fn prompt_stands(&self) {
        self.stands.trigger();
    }

    /// The line has ended: what is printed from now on waits for the next prompt.
    pub fn prompt_ends(&self) {
        self.stands.reset();
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
    /// A screen that has gone is no reason to panic.
    fn write(&mut self, text: &str) {
        let Some(lines) = &self.above else {
            let mut out = stdout().lock();
            let _ = out.write_all(text.as_bytes());
            let _ = out.flush();
            return;
        };
        self.unfinished.push_str(text);
        while let Some((line, rest)) = split_line(&self.unfinished) {
            let _ = lines.send((line + "\n", None));
            self.unfinished = rest;
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
