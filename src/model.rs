//! s01 · Models: one trait, and whatever answers behind it.

pub mod anthropic;

use std::fmt;

use crate::interrupt::Interrupt;
use crate::message::{Message, Reply};
use crate::tool::ToolSpec;

/// Everything a model is told. It remembers nothing between requests.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who it is and what it should do; may be empty.
    pub system: &'a str,
    /// The whole conversation, the last message being the user's.
    pub messages: &'a [Message],
    /// The tools it may ask for.
    pub tools: &'a [&'a ToolSpec],
    /// Ends the request early.
    pub interrupt: &'a Interrupt,
}

/// What a model says while it works on a reply.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// The next piece of text.
    Text(&'a str),
    /// A sentence for the person, such as "overloaded, trying again in 2 s". Text that came
    /// before it belongs to no reply.
    Notice(&'a str),
}

/// A language model, or what stands in for one.
pub trait Model: Send + Sync {
    /// Answers one request, blocking. Text is handed over as it arrives.
    ///
    /// # Errors
    /// When there is no complete reply: nothing of a broken one is to be kept.
    fn reply(
        &self,
        request: &Request<'_>,
        on_progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Reply, ModelError>;

    /// One line on who answers, for the start of a session.
    fn describe(&self) -> String;

    /// True if what it asks for was, word for word, the person's own instruction.
    fn is_practice(&self) -> bool {
        false
    }
}

/// Why there is no reply. Displayed as what happened and what to do now; never holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelError {
    /// The request's [`Interrupt`] was triggered.
    Interrupted,
    /// The model refused to answer.
    Refused,
    /// The server answered with an error.
    Api {
        /// The HTTP status; 200 where the error came inside the stream.
        status: u16,
        /// The server's own words.
        message: String,
    },
    /// There was no connection, or it broke.
    Connection(String),
    /// What came was not the Messages API.
    Protocol(String),
}

impl ModelError {
    /// What happened, without a full stop, and what to do now.
    pub fn parts(&self) -> (String, &'static str) {
        match self {
            ModelError::Interrupted => ("Interrupted".into(), ""),
            ModelError::Refused => (
                "The model will not answer this".into(),
                "Your last message was taken out of the conversation; say it differently, or go on with something else.",
            ),
            ModelError::Connection(why) => (
                format!("No connection to the model: {why}"),
                "Check the network and ANTHROPIC_BASE_URL, then say it again.",
            ),
            ModelError::Protocol(why) => (
                format!("The server's reply cannot be read: {why}"),
                "Check that ANTHROPIC_BASE_URL names a server of the Messages API, then say it again.",
            ),
            ModelError::Api { status, message } => (
                format!("The model's server answered {status}: {message}"),
                match status {
                    401 | 403 => "Check ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN).",
                    404 => "Check ANTHROPIC_MODEL and ANTHROPIC_BASE_URL.",
                    413 => "The conversation is too large: /clear begins a new one.",
                    400 => "If it says the same again, /clear begins a new conversation.",
                    _ => "Wait a little, then say it again.",
                },
            ),
        }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, advice) = self.parts();
        f.write_str(format!("{}. {advice}", what.trim_end_matches('.')).trim_end())
    }
}

impl std::error::Error for ModelError {}
