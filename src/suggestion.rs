//! s19 · Suggestions: the line that the person will probably type next, asked for while the prompt
//! is idle.
//!
//! The request is the conversation and one line more, so that a cache can serve it. It is worth
//! nothing once a key is pressed: then it ends.

use std::env::var_os;
use std::thread::JoinHandle;

use crate::agent::Agent;
use crate::caught::{catch, lock, spawn};
use crate::delivery::Input;
use crate::message::{Message, Role, StopReason, push_user};
use crate::options::Options;
use crate::repl::{Offer, Repl};
use crate::session::{Record, Session};
use crate::tool::Context;

/// The thread, and the agent in `/stats`.
const NAME: &str = "suggestion";
/// In characters.
const LONGEST: usize = 1_000;
/// What is asked for.
pub const ASK: &str = "Do not go on with the work. Which line will the user most probably type next at this \
    prompt? Reply with that one line only, as the user would type it, in their language and at most twenty words. \
    Call no tool. If nothing is likely, reply with a single dash.";

/// Suggests the next line.
pub struct Suggestions {
    is_on: bool,
    /// In a demonstration, which goes on by itself, the next line waits for it.
    is_demo: bool,
    session: Session,
    /// The conversation that was asked about last: what was dropped is not asked for again.
    asked: Option<Vec<Message>>,
}

impl Suggestions {
    /// None are asked for where nobody wants any. Their tokens are kept in the session.
    pub fn new(options: &Options, session: &Session) -> Self {
        let is_off = var_os("MEANWHILE_SUGGESTIONS").is_some_and(|it| it == "0");
        // With `--step`, Enter on the empty line is for the page; and what is replayed is no model.
        let is_taken = options.step || options.replay.is_some();
        Suggestions {
            is_on: !is_off && !options.no_suggestions && !is_taken,
            is_demo: options.demo,
            session: session.clone(),
            asked: None,
        }
    }

    /// As [`Repl::wait`], with a suggestion beside, if the prompt is idle. The agent is that of the
    /// conversation: the same prefix needs the same tools.
    pub fn wait(&mut self, repl: &mut Repl, agent: &Agent, messages: &[Message]) -> Option<Input> {
        // After a turn that ended well. The practice model knows how its page begins.
        let (last, knows) = (messages.last(), agent.model.is_practice());
        let may_follow = last.map_or(knows, |last| last.role == Role::Assistant);
        if self.is_on
            && self.asked.as_deref() != Some(messages)
            && may_follow
            && let Some(offer) = repl.offer()
        {
            self.asked = Some(messages.to_vec());
            let (agent, session) = (agent.clone(), self.session.clone());
            let mut copy = messages.to_vec();
            let work = move || drop(catch(|| suggest(agent, &session, &mut copy, &offer)));
            let thread = spawn(NAME, work);
            if self.is_demo {
                let _ = thread.map(JoinHandle::join);
            }
        }
        repl.wait()
    }
}

/// Asks, and shows what comes. Whatever goes wrong, nobody hears of it.
fn suggest(mut agent: Agent, session: &Session, copy: &mut Vec<Message>, offer: &Offer) {
    let is_new = copy.is_empty();
    push_user(copy, ASK);
    agent.context = Context {
        interrupt: offer.over.clone(), // a key that is pressed is its Ctrl+C
        ..Context::default()
    };
    let Ok(reply) = agent.ask(copy) else {
        return;
    };
    if !is_new {
        let _ = lock(&session.0).put(Record::Agent(NAME.to_string(), reply.usage));
    }
    let (text, ended) = (reply.text(), reply.stop_reason == StopReason::EndTurn);
    let line = text.trim();
    if ended && !["", "-"].contains(&line) && line.chars().count() <= LONGEST {
        offer.show(line);
    }
}
