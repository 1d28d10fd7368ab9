//! foundation · What can go wrong on the way to a reply, and what to do about it.

use std::time::Duration;

/// Why a try brought no reply: what happened, without a full stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There was no connection, or it broke.
    #[error("No connection to the model: {0}")]
    Connection(String),
    /// What came was not the Messages API.
    #[error("The server's reply cannot be read: {0}")]
    Protocol(String),
    /// The server answered with an error, in its own words, and perhaps when it wants to be asked
    /// again. The status is 200 where the error came inside the stream.
    #[error("The model's server answered {0}: {1}")]
    Api(u16, String, Option<Duration>),
}

impl Failure {
    /// A failure of the transport.
    pub fn connection(error: impl Into<ureq::Error>) -> Self {
        Failure::Connection(match error.into() {
            ureq::Error::Timeout(ureq::Timeout::PerRead) => "the server has fallen silent".into(),
            error => error.to_string(),
        })
    }

    /// What the person can do.
    pub fn advice(&self) -> &'static str {
        use Failure::{Api, Connection, Protocol};
        match self {
            Connection(_) => "Check the network and ANTHROPIC_BASE_URL, then say it again.",
            Protocol(_) => {
                "Check that ANTHROPIC_BASE_URL names a server of the Messages API, then say it again."
            }
            Api(401 | 403, ..) => "Check ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN).",
            Api(404, ..) => "Check ANTHROPIC_MODEL and ANTHROPIC_BASE_URL.",
            Api(413, ..) => "The conversation is too large: /clear begins a new one.",
            Api(400, ..) => "If it says the same again, /clear begins a new conversation.",
            Api(..) => "Wait a little, then say it again.",
        }
    }

    /// True if the next try may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            Failure::Api(status, ..) => matches!(status, 408 | 409 | 429 | 500..),
            Failure::Connection(_) | Failure::Protocol(_) => true,
        }
    }
}
