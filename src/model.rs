//! s01 · Models: one trait, and whatever answers behind it.

pub mod anthropic;

use std::sync::Arc;

use crate::event::Events;
use crate::interrupt::Interrupt;
use crate::message::{Message, Reply};
use crate::tool::Tool;

/// Everything a model is told. It remembers nothing between requests.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who it is and what it should do; may be empty.
    pub system: &'a str,
    /// The whole conversation, the last message being the user's.
    pub messages: &'a [Message],
    /// The tools it may ask for.
    pub tools: &'a [Arc<Tool>],
    /// Where to say what comes.
    pub events: &'a Events,
    /// Ends the request early.
    pub interrupt: &'a Interrupt,
}

/// A language model, or what stands in for one.
pub trait Model: Send + Sync {
    /// Answers one request, blocking. Text is emitted as it arrives.
    ///
    /// # Errors
    /// When there is no complete reply: a broken one must be dropped whole.
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError>;

    /// One line on who answers, for the start of a session.
    fn describe(&self) -> String;

    /// Its name, as prices go by.
    fn name(&self) -> String {
        self.describe()
    }

    /// True if what it asks for was, word for word, the person's own instruction.
    fn is_practice(&self) -> bool {
        false
    }
}

/// Why there is no reply: what happened, and what to do now. Never holds the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The request's [`Interrupt`] was triggered.
    #[error("Interrupted.")]
    Interrupted,
    /// The model refused to answer.
    #[error(
        "The model will not answer this. Your last message was taken out of the conversation; say it differently, or go on with something else."
    )]
    Refused,
    /// Anything else, in sentences for the person.
    #[error("{0}")]
    Failed(String),
}
