//! aids · A stand-in for Slack: four methods of the Web API over one channel, in memory. It is not
//! Slack. It is there to practise with, and for tests; it can be told to answer with failures.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Map, Value, json};

use crate::caught::lock;
use crate::journal::now;
use crate::repl::Repl;
use crate::slack::{Config, Slack};

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
                let serve = move || drop(serve(&stream, &shared));
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
    let config = Config::new(&stand_in.url(), TOKEN, CHANNEL, ADA)?;
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

/// Answers calls until the connection ends.
fn serve(mut stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut lines = reader.by_ref().lines().map_while(Result::ok);
        let Some(start) = lines.next() else {
            return Ok(());
        };
        let headers = lines.take_while(|line| !line.is_empty());
        let headers: HashMap<String, String> = headers
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_lowercase(), value.trim().to_string()))
            })
            .collect();
        let header = |name: &str| headers.get(name).map_or("", String::as_str);
        let mut body = String::new();
        match header("content-length").parse() {
            Ok(length) => drop(reader.by_ref().take(length).read_to_string(&mut body)?),
            Err(_) if header("transfer-encoding") == "chunked" => body = chunks(&mut reader)?,
            Err(_) => {}
        }
        let target = start.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = path.rsplit('/').next().unwrap_or_default();
        let mut fields = form(query);
        match serde_json::from_str::<Map<String, Value>>(&body) {
            Ok(sent) => fields.extend(sent.into_iter().map(|(name, value)| {
                let text = value.as_str().map(str::to_string);
                (name, text.unwrap_or_else(|| value.to_string()))
            })),
            Err(_) => fields.extend(form(&body)),
        }
        let token = header("authorization").trim_start_matches("Bearer ");
        let mut state = lock(state);
        state.calls.push((method.to_string(), fields.clone()));
        let planned = state.planned.iter().position(|it| it.0 == method);
        let (_, status, more, body) = match planned.and_then(|at| state.planned.remove(at)) {
            Some(planned) => planned,
            None => (
                "",
                200,
                String::new(),
                state.answer(method, token, &fields).to_string(),
            ),
        };
        drop(state);
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {length}\r\n{more}\r\n{body}"
        );
        stream.write_all(answer.as_bytes())?;
    }
}

/// A body that comes in chunks.
fn chunks(reader: &mut impl BufRead) -> io::Result<String> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.by_ref().take(length).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
    }
}

/// The fields of a form or a query.
fn form(text: &str) -> Fields {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let plain = |text: &str| {
        let (mut bytes, mut plain) = (text.bytes(), Vec::new());
        while let Some(byte) = bytes.next() {
            plain.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [bytes.next(), bytes.next()].map(|it| it.unwrap_or(b'0'));
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    u8::from_str_radix(&digits, 16).unwrap_or(b'?')
                }
                byte => byte,
            });
        }
        String::from_utf8_lossy(&plain).into_owned()
    };
    pairs
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}
