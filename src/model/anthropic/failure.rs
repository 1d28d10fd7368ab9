//! foundation · What can go wrong on the way to a reply, and what to do about it.

use std::time::Duration;

/// Why a try brought no reply.
pub(super) struct Failure {
    /// What happened, without a full stop.
    pub what: String,
    /// What the person can do.
    pub advice: &'static str,
    /// True if the next try may go better.
    pub may_pass: bool,
    /// When the server wants to be asked again.
    pub after: Option<Duration>,
}

impl Failure {
    fn new(what: String, advice: &'static str) -> Self {
        Failure {
            what,
            advice,
            may_pass: true,
            after: None,
        }
    }

    /// There was no connection, or it broke.
    pub fn connection(error: impl Into<ureq::Error>) -> Self {
        let why = match error.into() {
            ureq::Error::Timeout(ureq::Timeout::PerRead) => "the server has fallen silent".into(),
            error => error.to_string(),
        };
        Self::no_connection(&why)
    }

    /// The same, for another reason.
    pub fn no_connection(why: &str) -> Self {
        Failure::new(
            format!("No connection to the model: {why}"),
            "Check the network and ANTHROPIC_BASE_URL, then say it again.",
        )
    }

    /// What came was not the Messages API.
    pub fn protocol(why: &str) -> Self {
        Failure::new(
            format!("The server's reply cannot be read: {why}"),
            "Check that ANTHROPIC_BASE_URL names a server of the Messages API, then say it again.",
        )
    }

    /// The server answered with an error, in its own words. The status is 200 where the error came
    /// inside the stream.
    pub fn api(status: u16, message: &str) -> Self {
        let advice = match status {
            401 | 403 => "Check ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN).",
            404 => "Check ANTHROPIC_MODEL and ANTHROPIC_BASE_URL.",
            413 => "The conversation is too large: /clear begins a new one.",
            400 => "If it says the same again, /clear begins a new conversation.",
            _ => "Wait a little, then say it again.",
        };
        let what = format!("The model's server answered {status}: {message}");
        let may_pass = matches!(status, 408 | 409 | 429 | 500..);
        Failure {
            may_pass,
            ..Failure::new(what, advice)
        }
    }

    /// What the person reads.
    pub fn sentences(&self) -> String {
        format!("{}. {}", self.what.trim_end_matches('.'), self.advice)
    }
}
