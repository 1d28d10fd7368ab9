//! aids · A stand-in for Slack: four methods of the Web API over one channel, in memory. It is not
//! Slack. It is there to practise with, and for tests; it can be told to answer with failures.

mod http;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::caught::lock;
use crate::journal::now;
use crate::repl::Repl;
use crate::slack::{Config, Slack};
use http::serve;

/// The only token that it takes.
pub const TOKEN: &str = "xoxb-stand-in-token";
/// Its only channel.
pub const CHANNEL: &str = "C0PRACTICE";
/// Whom the token belongs to.
pub const AGENT: &str = "U0AGENT";
/// Somebody who may ask.
pub const ADA: &str = "U0ADA";

/// The fields of a call.
pub type Fields = HashMap<String, String>;

/// An answer instead of the true one: the method, status, headers, body.
pub type Planned = (&'static str, u16, String, String);

#[derive(Default)]
struct State {
    /// As Slack has them, oldest first.
    messages: Vec<Value>,
    planned: VecDeque<Planned>,
    calls: Vec<(String, Fields)>,
    connections: Vec<TcpStream>,
    closed: bool,
}

/// The running server. Dropping it ends it.
pub struct StandIn {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    /// Starts one on a free port of this machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let serve = move || {
            for stream in listener.incoming().flatten() {
                let mut state = lock(&shared);
                if state.closed {
                    return;
                }
                state.connections.extend(stream.try_clone());
                drop(state);
                let shared = shared.clone();
                let serve = move || {
                    let answer = |method: &str, token: &str, fields| {
                        lock(&shared).take_in(method, token, fields)
                    };
                    let _ = serve(&stream, answer);
                };
                let _ = thread::Builder::new().name("stand-in".into()).spawn(serve);
            }
        };
        let thread = thread::Builder::new().name("stand-in".into());
        thread.spawn(serve)?;
        Ok(StandIn { port, state })
    }

    /// For `SLACK_API_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api", self.port)
    }

    /// Somebody writes something, in a thread or in the channel. Returns its `ts`.
    pub fn say(&self, user: &str, text: &str, thread: Option<&str>) -> String {
        let mut message = json!({ "user": user, "text": text });
        if let Some(thread) = thread {
            message["thread_ts"] = thread.into();
        }
        self.put(message)
    }

    /// A message with any fields. Returns its `ts`.
    pub fn put(&self, message: Value) -> String {
        lock(&self.state).put(message)
    }

    /// All messages, oldest first.
    pub fn messages(&self) -> Vec<Value> {
        lock(&self.state).messages.clone()
    }

    /// What was called so far, with the fields.
    pub fn calls(&self) -> Vec<(String, Fields)> {
        lock(&self.state).calls.clone()
    }

    /// The next call of that method gets this answer.
    pub fn plan(&self, planned: Planned) {
        lock(&self.state).planned.push_back(planned);
    }

    /// The channel as people see it: threads below what they begin with.
    pub fn text(&self) -> String {
        let messages = self.messages();
        let line = |it: &Value| {
            let user = it["user"].as_str().unwrap_or_default();
            let user = user.trim_start_matches("U0").to_lowercase();
            let text = it["text"].as_str().unwrap_or_default();
            let text = text.replace(&format!("<@{AGENT}>"), "@agent");
            let text = text.replace("&lt;", "<").replace("&gt;", ">");
            format!(
                "{user}: {}",
                text.replace("&amp;", "&").replace('\n', "\n      ")
            )
        };
        let mut lines = Vec::new();
        for top in messages.iter().filter(|it| is_top(it)) {
            lines.push(line(top));
            let replies = messages.iter().filter(|it| !is_top(it));
            let replies = replies.filter(|it| it["thread_ts"] == top["ts"]);
            lines.extend(replies.map(|it| format!("  └ {}", line(it))));
        }
        lines.join("\n")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes `incoming`
    }
}

/// Adds `/channel`: it starts a stand-in, connects to it, and writes there as somebody else.
pub fn attach(slack: &Arc<Slack>, repl: &mut Repl) {
    let (slack, running) = (slack.clone(), Mutex::new(None));
    let what = "a stand-in for Slack: write or read there";
    repl.action("/channel [TEXT]", what, move |text| {
        let mut running = lock(&running);
        if running.is_none() {
            match connected(&slack) {
                Ok(stand_in) => *running = Some(stand_in),
                Err(why) => return why,
            }
        }
        let Some(stand_in) = running.as_ref() else {
            return String::new();
        };
        if text.is_empty() {
            return text_or_none(stand_in.text());
        }
        stand_in.say(ADA, &text.replace("@agent", &format!("<@{AGENT}>")), None);
        slack.round();
        "ada wrote that in the channel of the stand-in.".to_string()
    });
}

fn text_or_none(text: String) -> String {
    match text.is_empty() {
        true => "Nothing was said there.".to_string(),
        false => text,
    }
}

/// A new stand-in, to which the program listens.
fn connected(slack: &Arc<Slack>) -> Result<StandIn, String> {
    let stand_in = StandIn::start().map_err(|why| format!("No stand-in: {why}."))?;
    let config = Config::from_vars(|name| match name {
        "SLACK_API_URL" => Some(stand_in.url()),
        "SLACK_BOT_TOKEN" => Some(TOKEN.to_string()),
        "SLACK_CHANNEL" => Some(CHANNEL.to_string()),
        _ => Some(ADA.to_string()),
    })?;
    // What it knows is gone with it, so nothing is to be kept.
    let folder = std::env::temp_dir().join(format!("meanwhile-stand-in-{}", std::process::id()));
    let connected = slack.connect(config, &folder);
    let _ = std::fs::remove_dir_all(folder);
    connected?;
    slack.listen();
    slack.round(); // what is said from now on is new
    Ok(stand_in)
}

fn is_top(message: &Value) -> bool {
    message["thread_ts"].is_null() || message["thread_ts"] == message["ts"]
}

impl State {
    fn put(&mut self, mut message: Value) -> String {
        let (millis, count) = (now(), self.messages.len() + 1);
        let ts = format!("{}.{count:06}", millis / 1000);
        message["type"] = "message".into();
        message["ts"] = ts.as_str().into();
        self.messages.push(message);
        ts
    }

    /// Notes a call and answers it, as planned or truly: status, headers, body.
    fn take_in(&mut self, method: &str, token: &str, fields: Fields) -> (u16, String, String) {
        let planned = self.planned.iter().position(|it| it.0 == method);
        let planned = planned.and_then(|at| self.planned.remove(at));
        let mut body = || self.answer(method, token, &fields).to_string();
        let answer = match planned {
            Some((_, status, headers, body)) => (status, headers, body),
            None => (200, String::new(), body()),
        };
        self.calls.push((method.to_string(), fields));
        answer
    }

    /// The true answer.
    fn answer(&mut self, method: &str, token: &str, fields: &Fields) -> Value {
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let error = |code: &str| json!({ "ok": false, "error": code });
        if token != TOKEN {
            return error("invalid_auth");
        }
        if method != "auth.test" && field("channel") != CHANNEL {
            return error("channel_not_found");
        }
        match method {
            "auth.test" => {
                json!({ "ok": true, "url": "https://stand-in.invalid/", "team": "stand-in",
                "user": "agent", "team_id": "T0PRACTICE", "user_id": AGENT, "bot_id": "B0AGENT" })
            }
            "conversations.history" => {
                let all = self.messages.iter().rev().filter(|it| is_top(it));
                page(all.cloned().collect(), fields)
            }
            "conversations.replies" => {
                let thread = field("ts");
                let mut all = self.messages.clone();
                all.retain(|it| it["ts"] == thread || it["thread_ts"] == thread);
                match all.is_empty() {
                    true => error("thread_not_found"),
                    false => page(all, fields),
                }
            }
            "chat.postMessage" if field("text").is_empty() => error("no_text"),
            "chat.postMessage" => {
                let mut message =
                    json!({ "user": AGENT, "bot_id": "B0AGENT", "text": field("text") });
                if !field("thread_ts").is_empty() {
                    message["thread_ts"] = field("thread_ts").into();
                }
                let ts = self.put(message);
                json!({ "ok": true, "channel": CHANNEL, "ts": ts, "message": self.messages.last() })
            }
            _ => error("unknown_method"),
        }
    }
}

/// A part of the messages between `oldest` and `latest`; the cursor is how many came before it.
fn page(mut all: Vec<Value>, fields: &Fields) -> Value {
    let number = |name: &str| fields.get(name).and_then(|it| it.parse::<f64>().ok());
    let ts = |it: &Value| it["ts"].as_str().and_then(|ts| ts.parse::<f64>().ok());
    all.retain(|it| {
        let (ts, oldest, latest) = (ts(it), number("oldest"), number("latest"));
        ts > oldest && (latest.is_none() || ts < latest)
    });
    let limit = number("limit").map_or(100, |it| it as usize).clamp(1, 999);
    let cursor = fields
        .get("cursor")
        .and_then(|it| it.strip_prefix("after:"));
    let from = cursor
        .and_then(|it| it.parse().ok())
        .unwrap_or(0)
        .min(all.len());
    let rest = all.split_off(from);
    let more = rest.len() > limit;
    let next = if more {
        format!("after:{}", from + limit)
    } else {
        String::new()
    };
    let messages: Vec<Value> = rest.into_iter().take(limit).collect();
    json!({ "ok": true, "messages": messages, "has_more": more, "response_metadata": { "next_cursor": next } })
}
