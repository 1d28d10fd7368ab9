//! foundation · The Web API of Slack over ureq: one call, and what a refusal means.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Uri;

use crate::process::output::text_or;

const URL: &str = "https://slack.com/api";
const NAMES: [&str; 3] = ["SLACK_BOT_TOKEN", "SLACK_CHANNEL", "SLACK_USERS"];
/// Errors of Slack that pass by themselves. All others last until somebody does something.
const PASSING: [&str; 5] = [
    "ratelimited",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
];

/// Why a call brought nothing: a sentence without its full stop.
pub enum Failure {
    /// The next call may go better, after so long, if the server said so.
    Passing(String, Option<Duration>),
    /// Each further call would end the same way.
    Lasting(String),
    /// What was named is not there any more: a thread.
    Gone(String),
}

/// Where to listen, and to whom. No `Debug`, as it holds the token.
#[derive(Clone)]
pub struct Config {
    url: String,
    token: String,
    http: ureq::Agent,
    /// The id of the channel.
    pub channel: String,
    /// The ids of those who may ask.
    pub users: Vec<String>,
}

impl Config {
    /// What these variables of the environment ask for.
    ///
    /// # Errors
    /// When one is missing or is of no use: a sentence that says what to set.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let var = |name: &str| var(name).unwrap_or_default().trim().to_string();
        let mut missing = NAMES.to_vec();
        missing.retain(|name| var(name).is_empty());
        if !missing.is_empty() {
            return Err(format!(
                "Slack is not connected. To connect it, set {}: the bot's token, the id of a channel, the ids of those who may ask.",
                missing.join(", ")
            ));
        }
        let ([token, channel, users], url) = (NAMES.map(&var), var("SLACK_API_URL"));
        Self::new(&text_or(&url, URL), &token, &channel, &users)
    }

    /// The API at `url`. Nothing is asked of it yet. `users` are separated by commas.
    ///
    /// # Errors
    /// When one of these is of no use: a sentence.
    pub fn new(url: &str, token: &str, channel: &str, users: &str) -> Result<Self, String> {
        let users: Vec<String> = users.split(',').map(|it| it.trim().to_string()).collect();
        let is_id = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric());
        if !is_id(channel) || !users.iter().all(|user| is_id(user)) {
            return Err("Slack is not connected: SLACK_CHANNEL is an id such as C0123ABCD, SLACK_USERS are ids such as U0123ABCD with commas between.".to_string());
        }
        let uri = url.trim().parse::<Uri>().unwrap_or_default();
        let here = matches!(uri.host(), Some("localhost" | "127.0.0.1"));
        if uri.host().is_none() || uri.scheme_str() != Some("https") && !here {
            return Err(format!(
                "Slack is not connected: SLACK_API_URL must be an https address such as {URL}."
            ));
        }
        if !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(
                "Slack is not connected: SLACK_BOT_TOKEN holds what no header can. Set it again."
                    .to_string(),
            );
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // the token goes to the server that was named, and no further
            .timeout_global(Some(Duration::from_secs(30)));
        if here {
            config = config.proxy(None);
        }
        Ok(Config {
            url: url.trim().trim_end_matches('/').to_string(),
            token: token.to_string(),
            http: config.build().new_agent(),
            channel: channel.to_string(),
            users,
        })
    }

    /// Calls a method and waits for its answer, half a minute at most.
    ///
    /// # Errors
    /// When there is none, or it is not `ok`. The token is in no sentence, even if it was sent back.
    pub fn call(&self, method: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let request = self.http.post(format!("{}/{method}", self.url));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let broken = |why: ureq::Error| {
            let why = why.to_string().replace(&self.token, "[token]");
            Failure::Passing(format!("No connection to Slack ({method}): {why}"), None)
        };
        let fields = fields.iter().filter(|(_, value)| !value.is_empty());
        let sent = request.send_form(fields.copied());
        let mut response = sent.map_err(broken)?;
        let after = response.headers().get("retry-after");
        let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = after.map(Duration::from_secs);
        let status = response.status().as_u16();
        if status != 200 {
            let what = format!("Slack answered {status} to {method}");
            return Err(match status {
                408 | 429 | 500.. => Failure::Passing(what, after),
                _ => Failure::Lasting(what),
            });
        }
        let body: Value = response.body_mut().read_json().map_err(broken)?;
        if body["ok"] == true {
            return Ok(body);
        }
        let code = body["error"].as_str().unwrap_or("no reason given");
        let shown = code.replace(&self.token, "[token]");
        let shown: String = shown.chars().take(80).collect();
        let what = format!("Slack refused {method}: {shown}");
        Err(match code {
            "thread_not_found" => Failure::Gone(what),
            code if PASSING.contains(&code) => Failure::Passing(what, after),
            _ => Failure::Lasting(what),
        })
    }
}
