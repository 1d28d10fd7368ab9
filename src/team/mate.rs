//! s20 · A mate, from both sides: how the lead starts it, and what its own process does.

use std::collections::BTreeMap;
use std::env::current_exe;
use std::io::{Write, stdin, stdout};
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, after, bounded, never, select};
use serde::{Deserialize, Serialize};

use super::Team;
use super::post::{LEAD, Mail, Post, State};
use crate::background::{BackgroundExecutor, Control, Kind, Task};
use crate::caught::lock;
use crate::event::Events;
use crate::message::Reply;
use crate::model::{Model, ModelError, Request};
use crate::notification::TaskId;
use crate::options::GIVEN;
use crate::outcome::{End, Outcome};
use crate::process::fed::{self, Feed, quote};
use crate::process::{Handle, News, Progress, Watch};
use crate::terminal::quit;
use crate::tools::background::announced;

/// How long a mate may take to come up, and to end its turn when it is to leave.
pub const START: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(60);

/// The first line that a mate reads.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Brief {
    /// The key, among others. They are in no file, and in no environment.
    pub variables: BTreeMap<String, String>,
    pub worktree: bool,
    pub turns: u64,
    pub tokens: u64,
}

impl Brief {
    /// Says that this process can no longer be looked into, then reads the line.
    pub fn read() -> Option<Self> {
        let mut line = String::new();
        writeln!(stdout(), "ready").ok()?;
        stdin().read_line(&mut line).ok()?;
        let brief: Brief = serde_json::from_str(&line).ok()?;
        GIVEN.set(brief.variables.clone()).ok()?;
        Some(brief)
    }
}

/// A mate that was started: dropped, it is asked to leave. It has no key yet, and waits for a line.
pub struct Started {
    pub feed: Feed,
    _leave: Sender<()>,
}

/// Starts a mate, as a background task that takes no place.
pub fn start(
    executor: &mut BackgroundExecutor,
    events: Events,
    (post, name): (Post, &str),
    options: &str,
) -> Result<Started, String> {
    let id = TaskId::new(name)?;
    executor.expect_new(&id)?;
    let failed = |error| format!("{name} cannot be started: {error}.");
    let (program, place) = (current_exe().map_err(failed)?, post.0.join(name));
    let place = quote(&place.to_string_lossy());
    let started = fed::start(&program, &format!("--mate {place}{options}"));
    let (handle, news, feed) = started.map_err(failed)?;
    let ((_leave, mut left), mut grace) = (bounded(0), never());
    let (mate, task) = (Mate(handle, post, name.to_string()), Kind::Other("mate"));
    let task = Task::new(task, &id);
    let job = move |control: &Control| {
        let mate = Arc::new(mate);
        control.attach(mate.clone());
        let mut wait = || loop {
            select! {
                recv(left) -> _ => (left, grace) = (never(), after(GRACE)),
                recv(grace) -> _ => mate.stop(),
                recv(news) -> news => match news {
                    Ok(News::ShellExited(..)) => {} // its own supervisors end what it left
                    Ok(News::Ended(outcome)) => break outcome,
                    Err(_) => break Outcome::new(End::Lost, ""),
                },
            }
        };
        announced(&events, &id, "mate", || {
            let end = wait().end;
            let outcome = Outcome::new(end, mate.1.line(&mate.2));
            mate.1.give_back(&mate.2);
            mate.1.ring_all(); // its tasks are free again
            outcome
        })
    };
    executor.start(task, job)?;
    Ok(Started { feed, _leave })
}

struct Mate(Handle, Post, String);

impl Watch for Mate {
    fn look(&self) -> Progress {
        Progress {
            what: format!("a mate in {}", self.1.0.display()),
            line: self.1.line(&self.2),
            ..self.0.look()
        }
    }

    fn stop(&self) {
        self.0.stop();
    }
}

/// A model whose conversation is that of a member: what it has been told is moved, what it costs is
/// counted, and of a mate the last text of each turn goes to the lead.
pub struct Member {
    pub model: Arc<dyn Model>,
    pub team: Team,
}

impl Model for Member {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        if let Some(why) = self.team.used_up() {
            self.team.report(&why);
            quit(1);
        }
        self.team.note(|state| state.doing = "thinks".to_string());
        let reply = self.model.reply(request);
        self.team.kept(); // the session has it by now
        let (tokens, call, text) = match &reply {
            Ok(reply) => {
                let (it, calls) = (reply.usage, reply.tool_calls());
                let tokens = it.input_tokens + it.output_tokens;
                let cached = it.cache_creation_input_tokens + it.cache_read_input_tokens;
                let call = calls.last().map(|call| call.name.to_string());
                (tokens + cached, call, reply.text())
            }
            Err(why) => (0, None, format!("ERROR: {why}")),
        };
        let is_last = call.is_none();
        self.team.note(|state| {
            state.tokens += tokens;
            state.turns += u64::from(is_last);
            state.doing = call.map_or("waits".to_string(), |tool| format!("runs {tool}"));
        });
        if is_last && !text.is_empty() {
            self.team.report(&text);
        }
        reply
    }

    fn describe(&self) -> String {
        self.model.describe()
    }
}

/// A message to several, of which each gets it or is named.
pub fn send(post: &Post, from: &str, to: &str, text: &str) -> Result<String, String> {
    let mut problems = Vec::new();
    for to in to.split(',').map(str::trim) {
        let (from, to, text) = (from.to_string(), to.to_string(), text.to_string());
        problems.extend(post.send(&Mail { from, to, text }).err());
    }
    match problems.is_empty() {
        true => Ok(format!("sent to {to}; an answer comes by itself.")),
        false => Err(format!("{}.", problems.join("; "))),
    }
}

impl Team {
    /// Changes what this member says of itself.
    pub(super) fn note(&self, change: impl FnOnce(&mut State)) {
        if let Some(own) = &mut *lock(&self.0) {
            change(&mut own.state);
            own.post.set_state(&own.name, &own.state);
        }
    }

    /// Of a mate: tells the lead.
    fn report(&self, text: &str) {
        if let Some(own) = lock(&self.0).as_ref().filter(|own| own.name != LEAD) {
            let _ = send(&own.post, &own.name, LEAD, text); // the lead may have ended
        }
    }

    /// Of a mate that may not go on: why.
    fn used_up(&self) -> Option<String> {
        let own = lock(&self.0);
        let own = own.as_ref().filter(|own| own.name != LEAD)?;
        let (it, most) = (&own.state, &own.brief);
        let is_over = it.turns >= most.turns || it.tokens >= most.tokens;
        is_over.then(|| {
            let (turns, tokens) = (it.turns, it.tokens);
            format!("It has used up what it may: {turns} turns, {tokens} tokens. It leaves.")
        })
    }

    /// What was taken stands in the session.
    fn kept(&self) {
        if let Some(own) = &mut *lock(&self.0) {
            let taken = take(&mut own.taken).into_iter();
            taken.for_each(|name| own.post.keep(&own.name, &name));
        }
    }
}
