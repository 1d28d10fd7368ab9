//! foundation · A client of Slack's Web API over ureq: one call, what a refusal means, and what is
//! said in a channel or in a thread, read page by page.

use std::mem::take;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use ureq::http::Uri;

use crate::process::output::text_or;

const URL: &str = "https://slack.com/api";
const NAMES: [&str; 3] = ["SLACK_BOT_TOKEN", "SLACK_CHANNEL", "SLACK_USERS"];
/// Errors of Slack that pass by themselves. All others last until somebody does something.
const PASSING: &str = "ratelimited, rate_limited, internal_error, fatal_error, \
    service_unavailable, request_timeout";
pub const POST: &str = "chat.postMessage";
/// Of those, the ones that all answers meet: what else is refused to one, is not of all of them.
const LASTING: &str = "invalid_auth, not_authed, account_inactive, token_revoked, token_expired, \
    no_permission, missing_scope, not_allowed_token_type, access_denied, ekm_access_denied, \
    org_login_required, two_factor_setup_required, team_access_not_granted, not_in_channel, \
    channel_not_found, is_archived, restricted_action, restricted_action_read_only_channel, \
    restricted_action_non_threadable_channel, message_limit_exceeded, no reason given";

/// Messages in one answer: what Slack gives to every app.
const PAGE: &str = "15";
/// Messages of a thread that are context, the newest, and characters of each.
const MAX_SAID: usize = 50;
const MAX_CHARS: usize = 1000;
/// Characters of an answer.
const MAX_ANSWER: usize = 3_500;

/// Why a call brought nothing: a sentence without its full stop.
pub enum Failure {
    /// The next call may go better, after so long, if the server said so.
    Passing(String, Option<Duration>),
    /// Each further call would end the same way.
    Lasting(String),
    /// What was named is not there any more: a thread. Or it does not take this answer.
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
                "To connect it, set {}: the bot's token, the id of a channel, the ids of those who may ask.",
                missing.join(", ")
            ));
        }
        let ([token, channel, users], url) = (NAMES.map(&var), var("SLACK_API_URL"));
        let url = text_or(&url, URL);
        let users: Vec<String> = users.split(',').map(|it| it.trim().to_string()).collect();
        let is_id = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric());
        if !is_id(&channel) || !users.iter().all(|user| is_id(user)) {
            return Err("SLACK_CHANNEL is an id such as C0123ABCD, SLACK_USERS are ids such as U0123ABCD with commas between.".to_string());
        }
        let uri = url.parse::<Uri>().unwrap_or_default();
        let here = matches!(uri.host(), Some("localhost" | "127.0.0.1"));
        if uri.host().is_none() || uri.scheme_str() != Some("https") && !here {
            return Err(format!("SLACK_API_URL is an https address like {URL}."));
        }
        if !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err("SLACK_BOT_TOKEN holds what no header can. Set it again.".to_string());
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // the token goes to the server that was named, and no further
            .timeout_global(Some(Duration::from_secs(30)));
        if here {
            config = config.proxy(None);
        }
        Ok(Config {
            url: url.trim_end_matches('/').to_string(),
            token,
            http: config.build().new_agent(),
            channel,
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
        let after = after.and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds.into()));
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
        let what = format!("Slack refused {method}: {shown:.80}");
        let is_one_of = |list: &str| list.split(", ").any(|it| it == code);
        Err(match code {
            _ if is_one_of(PASSING) => Failure::Passing(what, after),
            _ if method == POST && !is_one_of(LASTING) => {
                Failure::Gone(what + "; that answer is dropped")
            }
            "thread_not_found" => Failure::Gone(what),
            _ => Failure::Lasting(what),
        })
    }
}

/// A message as Slack tells it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Message {
    pub ts: String,
    pub user: String,
    pub text: String,
    subtype: Option<String>,
    bot_id: Option<String>,
    edited: Option<Value>,
}

impl Message {
    /// True if a person wrote it, and it stands as it was written first.
    pub fn is_plain(&self) -> bool {
        self.subtype.is_none() && self.bot_id.is_none() && self.edited.is_none()
    }
}

/// Where messages are read: the channel, or a thread.
#[derive(Default)]
pub struct Source {
    /// Empty for the channel.
    pub thread: String,
    /// The last message that was heard.
    pub oldest: String,
    /// What was said in this thread.
    pub said: Vec<String>,
    /// The page that comes next, if there is one, and what stood on those before it.
    page: String,
    gathered: Vec<Message>,
}

impl Source {
    /// A thread, or the channel.
    pub fn of(thread: &str) -> Self {
        let thread = thread.to_string();
        Source {
            thread,
            ..Source::default()
        }
    }

    /// Reads a page. With the last one, all that is new is returned, oldest first.
    pub fn read(&mut self, config: &Config) -> Result<Vec<Message>, Failure> {
        let page = take(&mut self.page);
        if page.is_empty() {
            self.gathered.clear(); // it begins anew
        }
        let fields = [("limit", PAGE), ("oldest", &self.oldest), ("cursor", &page)];
        let page = self.ask(config, &fields)?;
        let messages = page["messages"].as_array().into_iter().flatten();
        let messages = messages.filter_map(|it| Message::deserialize(it).ok());
        let is_new = |it: &Message| is_later(&it.ts, &self.oldest);
        self.gathered.extend(messages.filter(is_new));
        let next = page["response_metadata"]["next_cursor"].as_str();
        self.page = next.unwrap_or_default().to_string();
        if !self.page.is_empty() {
            return Ok(Vec::new());
        }
        let mut messages = take(&mut self.gathered);
        messages.sort_by(|a, b| (a.ts.len(), &a.ts).cmp(&(b.ts.len(), &b.ts)));
        Ok(messages)
    }

    /// The newest message there is; `0` if there is none.
    pub fn newest(&self, config: &Config) -> Result<String, Failure> {
        let page = self.ask(config, &[("limit", "1")])?;
        let ts = page["messages"][0]["ts"].as_str();
        Ok(ts.unwrap_or("0").to_string())
    }

    fn ask(&self, config: &Config, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let methods = ["conversations.replies", "conversations.history"];
        let method = methods[usize::from(self.thread.is_empty())];
        let place = [("channel", &*config.channel), ("ts", &self.thread)];
        config.call(method, &[fields, &place].concat())
    }

    /// This message has been dealt with.
    pub fn heard(&mut self, it: &Message) {
        self.oldest.clone_from(&it.ts);
        if !self.thread.is_empty() {
            let text: String = unescaped(&it.text).chars().take(MAX_CHARS).collect();
            self.said.push(format!("{}: {text}", it.user));
            let excess = self.said.len().saturating_sub(MAX_SAID);
            self.said.drain(..excess);
        }
    }
}

/// True if the message of that `ts` came after the other.
pub fn is_later(ts: &str, other: &str) -> bool {
    (ts.len(), ts) > (other.len(), other)
}

/// As Slack wants text: what is not a mention cannot become one. What is too long is cut.
pub fn escaped(text: &str) -> String {
    let more = text.chars().nth(MAX_ANSWER).map(|_| "\n… (shortened)");
    let text: String = text.chars().take(MAX_ANSWER).collect();
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;") + more.unwrap_or_default()
}

/// As it was typed.
pub fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}
