//! foundation · The line above the prompt: how many tasks run, how many have finished, what is
//! waited for.
//!
//! It is the first line of a prompt of two lines. The line editor believes that it is empty, and
//! asks for it each time it draws: so it may change while a line is being typed. It must not be
//! wider than the terminal.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};

use super::shared::Shared;
use crate::caught::{lock, spawn};
use crate::event::{Event, Look, Reader, Stamped};
use crate::screen::{Style, count, visible};
use crate::terminal::{fit, short, size};

/// What is shorter is not worth a line. Also how often is looked at what is waited for.
const AT_ONCE: Duration = Duration::from_millis(200);

/// What the line says, read off the stream of events.
#[derive(Clone, Default)]
pub struct Status {
    running: usize,
    /// Tasks that have ended and were not delivered yet.
    finished: usize,
    waiting: Option<Waiting>,
}

#[derive(Clone)]
struct Waiting {
    /// The sub-agent that waits, in the main agent's place.
    agent: Option<String>,
    since: Instant,
    /// What the request has cost by now.
    tokens: u64,
    /// `None`: for the model. No key helps there.
    look: Option<Look>,
}

/// Keeps the status up to date, and has the line drawn again when it changes. Looking at what is
/// waited for takes a thread of its own, because who waits does nothing else.
pub fn reader(shared: &Arc<Shared>) -> Reader {
    let (tell, told) = bounded(1);
    let (shared, its) = (shared.clone(), shared.clone());
    let draw = move || {
        let (mut drawn, mut pause) = (String::new(), Duration::MAX);
        while told.recv_timeout(pause) != Err(RecvTimeoutError::Disconnected) {
            let status = lock(&its.status).clone();
            let line = status.line("");
            if line != drawn {
                its.screen.redraw();
                drawn = line;
            }
            pause = status.waiting.map_or(Duration::MAX, |_| AT_ONCE);
        }
    };
    let _ = spawn("status", draw);
    Box::new(move |event| {
        if lock(&shared.status).note(event) {
            let _ = tell.try_send(()); // one that is there already will do
        }
    })
}

impl Status {
    /// Takes an event from the stream. False if it has nothing to do with the line.
    fn note(&mut self, stamped: Stamped<'_>) -> bool {
        let agent = stamped.agent;
        // What the main agent waits for counts more than what a sub-agent waits for.
        let shown = self.waiting.as_ref();
        let counts = !stamped.in_background
            && shown.is_none_or(|shown| agent.is_none() || shown.agent.is_some());
        let waiting = |look| Waiting {
            agent: agent.map(str::to_string),
            since: stamped.at,
            tokens: 0,
            look,
        };
        match stamped.event {
            Event::TaskStarted { .. } => self.running += 1,
            Event::TaskFinished { .. } => {
                self.running = self.running.saturating_sub(1);
                self.finished += 1;
            }
            // Where nothing is delivered, the agent may look now.
            Event::TurnStarted(_) if agent.is_none() => self.finished = 0,
            Event::Delivered(..) => self.finished = self.finished.saturating_sub(1),
            Event::RequestStarted if counts => self.waiting = Some(waiting(None)),
            Event::Tokens(tokens) if counts => {
                self.waiting.iter_mut().for_each(|it| it.tokens = *tokens);
            }
            Event::Waiting(look) if counts => self.waiting = Some(waiting(Some(look.clone()))),
            Event::ToolFinished { .. } | Event::RequestFinished(_) | Event::TurnFinished
                if counts =>
            {
                self.waiting = None;
            }
            _ => return false,
        }
        true
    }

    /// The hint says what can be done about what is waited for, such as a key.
    fn line(&self, hint: &str) -> String {
        let counts = [(self.running, "running"), (self.finished, "ended")].into_iter();
        let counts = counts.filter(|(count, _)| *count > 0);
        let mut parts: Vec<String> = counts.map(|(n, what)| format!("{n} {what}")).collect();
        let waiting = self.waiting.as_ref();
        if let Some(it) = waiting.filter(|it| it.since.elapsed() >= AT_ONCE) {
            let who = it.agent.iter().map(|agent| format!("{agent}: "));
            let (who, seconds) = (who.collect::<String>(), it.since.elapsed().as_secs());
            if let Some(Look(look)) = &it.look {
                let (what, progress) = look();
                let what = short(what.lines().next().unwrap_or_default(), 31);
                parts.extend([format!("{who}{what}, {seconds} s{hint}"), progress]);
            } else {
                let tokens = Some(it.tokens).filter(|tokens| *tokens > 0);
                let tokens = tokens.map_or(String::new(), |it| count(it, "token"));
                parts.extend([format!("{who}thinking, {seconds} s"), tokens]);
            }
        }
        parts.retain(|part| !part.is_empty());
        parts.join(" · ")
    }
}

/// What the line editor asks.
#[derive(rustyline::Completer, rustyline::Helper, rustyline::Hinter)]
pub struct Helper {
    pub shared: Arc<Shared>,
    /// False until the prompt of this line stands.
    pub is_drawn: Cell<bool>,
}

impl Highlighter for Helper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, main: bool) -> Cow<'b, str> {
        if !self.is_drawn.replace(true) {
            self.shared.screen.stands.trigger();
        }
        if !main || !prompt.starts_with('\n') {
            self.shared.end_offer(); // a history search, say
            return Cow::Borrowed(prompt);
        }
        let columns = size().map_or(80, |(columns, _)| columns);
        let status = lock(&self.shared.status).clone();
        let keys = lock(&self.shared.keys);
        let line = status.line(keys.last().map_or("", |(_, hint, _)| hint));
        let (line, _) = fit(&visible(&line), columns.saturating_sub(1));
        let grey = self.shared.grey(columns.saturating_sub(prompt.len()));
        let [line, grey] = [line, grey].map(|it| self.shared.screen.styled(&it, Style::Dim));
        (line + prompt + &grey).into()
    }

    fn highlight_char(&self, line: &str, _: usize, _: CmdKind) -> bool {
        lock(&self.shared.grey).typed = !line.is_empty();
        false
    }
}

/// Asked with Enter, before the terminal gets its own mode back.
impl Validator for Helper {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.shared.line_ends();
        Ok(ValidationResult::Valid(None))
    }
}
