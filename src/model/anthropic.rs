//! The Anthropic Messages API over ureq: one streamed request, tried again where that may help.
//!
//! A read that blocks cannot hear Ctrl+C. So the call runs on a thread of its own (`fetch`) that
//! sends each event over a channel, and the caller waits for channel and interrupt at once.

mod stream;

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{
    Receiver, RecvTimeoutError, Sender, TryRecvError, select_biased, unbounded,
};
use serde::Serialize;
use serde_json::{Value, json};
use ureq::{RequestBuilder, http::Uri, typestate::WithBody};

use crate::interrupt::Interrupt;
use crate::message::{ContentBlock, Message, Reply, Role};
use crate::model::{Model, ModelError, Progress, Request};

const DEFAULT_URL: &str = "https://api.anthropic.com";
const DEFAULT_MODEL: &str = "claude-sonnet-4-5";
/// The most that one reply may cost. What needs more is cut off.
const MAX_TOKENS: u32 = 8192;
/// More than any reply has: an endless one must not fill the memory.
const MAX_REPLY_BYTES: u64 = 64 * 1024 * 1024;
const MAX_RETRIES: u32 = 4;
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long the body may take to end after its last event. If it does, the connection is kept.
const GRACE: Duration = Duration::from_millis(100);

type OnProgress<'a> = &'a mut dyn FnMut(Progress<'_>);
/// What the worker sends: events as JSON, unread, and at last why there are no more.
type Line = Result<String, Failure>;
/// Why a try brought no reply, and when to come back if the server said so.
type Failure = (ModelError, Option<Duration>);

/// A model behind the Messages API. Uses no network before the first request.
pub struct Anthropic {
    /// The wait before the second try (500 ms), doubled for each one after it.
    pub backoff: Duration,
    /// How long the server may send nothing before a try has failed (300 s). Long, as some servers
    /// are silent while they read the conversation.
    pub idle_timeout: Duration,
    base_url: String,
    model: String,
    /// Headers with a secret in them. Why there is no `Debug`.
    auth: Vec<(&'static str, String)>,
    /// Open connections. A request takes an agent for itself: to end the request is to shut the
    /// agent down, and with it whatever else it does.
    idle: Mutex<Vec<ureq::Agent>>,
}

impl Anthropic {
    /// A client for the server at `base_url`. Nothing is checked before the first request.
    pub fn new(base_url: &str, key: Option<&str>, model: &str) -> Self {
        let base_url = base_url.trim().trim_end_matches('/');
        let key = key.map(str::trim).filter(|key| !key.is_empty());
        Anthropic {
            backoff: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(300),
            base_url: base_url.strip_suffix("/v1").unwrap_or(base_url).to_string(),
            model: model.to_string(),
            auth: key
                .map(|key| ("x-api-key", key.to_string()))
                .into_iter()
                .collect(),
            idle: Mutex::default(),
        }
    }

    /// The client that the environment asks for; `None` if it names neither a key nor a server.
    pub fn from_env() -> Option<Self> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Like [`from_env`](Self::from_env), with another source of variables. Empty counts as unset.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let var = |name| {
            var(name)
                .map(|value| value.trim().to_string())
                .filter(|value| !value.is_empty())
        };
        let (key, token) = (var("ANTHROPIC_API_KEY"), var("ANTHROPIC_AUTH_TOKEN"));
        let default_url = key
            .as_ref()
            .or(token.as_ref())
            .map(|_| DEFAULT_URL.to_string());
        let base_url = var("ANTHROPIC_BASE_URL").or(default_url)?;
        let model = var("ANTHROPIC_MODEL").or_else(|| var("MODEL_ID"));
        let mut client = Self::new(
            &base_url,
            key.as_deref(),
            model.as_deref().unwrap_or(DEFAULT_MODEL),
        );
        client
            .auth
            .extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
        Some(client)
    }

    /// Finds what no request can be made of.
    fn check(&self) -> Result<(), ModelError> {
        let printable =
            |(_, secret): &(_, String)| secret.chars().all(|c| (' '..='~').contains(&c));
        let url = self.base_url.parse().ok();
        Err(ModelError::Connection(
            match url.as_ref().and_then(Uri::scheme_str) {
                Some("http" | "https") if self.auth.iter().all(printable) => return Ok(()),
                Some("http" | "https") => {
                    "the key holds what no header can. Set it again".to_string()
                }
                _ => format!("{:?} is no address like {DEFAULT_URL}", self.base_url),
            },
        ))
    }

    fn new_agent(&self) -> ureq::Agent {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // the key goes to the server that was named, and no further
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_per_read(Some(self.idle_timeout))
            .timeout_per_write(Some(self.idle_timeout));
        if self.base_url.starts_with("http://localhost") || self.base_url.starts_with("http://127.")
        {
            config = config.proxy(None); // a proxy would look for it on its own machine
        }
        config.build().new_agent()
    }

    /// One try.
    fn attempt(
        &self,
        body: Arc<Vec<u8>>,
        stop: &Interrupt,
        report: OnProgress,
    ) -> Result<Reply, Failure> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let agent = idle().pop().unwrap_or_else(|| self.new_agent());
        let request = agent.post(format!("{}/v1/messages", self.base_url));
        let request = self.auth.iter().fold(request, |request, (name, secret)| {
            request.header(*name, secret)
        });
        let (sender, lines) = unbounded();
        let worker = move || {
            if let Err(failure) = fetch(request, &body, &sender) {
                let _ = sender.send(Err(failure)); // nobody listens once it is interrupted
            }
        };
        thread::Builder::new()
            .name("model request".to_string())
            .spawn(worker)
            .map_err(connection)?;
        let outcome = listen(&lines, stop, report);
        let deadline = Instant::now()
            + if stop.is_triggered() {
                Duration::ZERO
            } else {
                GRACE
            };
        while lines.recv_deadline(deadline).is_ok() {}
        match lines.try_recv() {
            Err(TryRecvError::Disconnected) => idle().push(agent),
            _ => agent.shutdown(), // wakes the worker from its read, and it ends
        }
        outcome
    }

    /// Shortens what a server said, and takes the key out should it have repeated it.
    fn presentable(&self, error: ModelError) -> ModelError {
        let ModelError::Api {
            status,
            mut message,
        } = error
        else {
            return error;
        };
        for (_, secret) in &self.auth {
            let secret = secret.strip_prefix("Bearer ").unwrap_or(secret);
            message = if secret.len() < 8 {
                message
            } else {
                message.replace(secret, "[key]")
            };
        }
        ModelError::Api {
            status,
            message: message.chars().take(500).collect(),
        }
    }
}

impl Model for Anthropic {
    fn reply(&self, request: &Request<'_>, on_progress: OnProgress) -> Result<Reply, ModelError> {
        self.check()?;
        let body = Arc::new(body(&self.model, request)?);
        for attempt in 0.. {
            let (error, after) = match self.attempt(body.clone(), request.interrupt, on_progress) {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let error = self.presentable(error);
            let may_pass = match &error {
                ModelError::Interrupted => false,
                ModelError::Api { status, .. } => matches!(status, 408 | 409 | 429 | 500..),
                ModelError::Connection(_) | ModelError::Protocol(_) => true,
            };
            if !may_pass || attempt == MAX_RETRIES {
                return Err(error);
            }
            // Up to a quarter less, so that many clients do not come back at the same moment.
            let share = 1.0 - (RandomState::new().build_hasher().finish() % 1000) as f64 / 4000.0;
            let wait = self.backoff.min(MAX_WAIT).mul_f64(share) * 2_u32.pow(attempt);
            let wait = after.unwrap_or(wait).min(MAX_WAIT);
            let seconds = (wait.as_secs_f32() * 10.0).round() / 10.0;
            let what = error.to_string();
            let (what, _advice) = what.split_once(". ").unwrap_or((&what, ""));
            on_progress(Progress::Notice(&format!(
                "{what}; trying again in {seconds} s."
            )));
            if let Err(RecvTimeoutError::Disconnected) =
                request.interrupt.receiver().recv_timeout(wait)
            {
                break;
            }
        }
        Err(ModelError::Interrupted)
    }

    fn describe(&self) -> String {
        format!("Model: {} at {}", self.model, self.base_url)
    }
}

fn connection(error: impl Into<ureq::Error>) -> Failure {
    let why = match error.into() {
        ureq::Error::Timeout(ureq::Timeout::PerRead) => "the server has fallen silent".to_string(),
        error => error.to_string(),
    };
    (ModelError::Connection(why), None)
}

/// On the worker: makes the call and sends what comes, line by line.
fn fetch(
    request: RequestBuilder<WithBody>,
    body: &[u8],
    lines: &Sender<Line>,
) -> Result<(), Failure> {
    let request = request
        .header("content-type", "application/json")
        .header("anthropic-version", "2023-06-01");
    let mut response = request.send(body).map_err(connection)?;
    let status = response.status().as_u16();
    if status != 200 {
        let text = response.body_mut().read_to_string().unwrap_or_default();
        let message = serde_json::from_str(&text)
            .ok()
            .and_then(|body| stream::error_message(&body));
        let message = message.unwrap_or(if text.trim().is_empty() {
            "no reason given".to_string()
        } else {
            text
        });
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        return Err((ModelError::Api { status, message }, after));
    }
    let whole = response.body().mime_type() == Some("application/json");
    let body = response
        .into_body()
        .into_with_config()
        .limit(MAX_REPLY_BYTES);
    if whole {
        // The server does not stream. A message in one piece is one more kind of event.
        let _ = lines.send(Ok(body.read_to_string().map_err(connection)?));
        return Ok(());
    }
    for line in BufReader::new(body.reader()).lines() {
        let line = line.map_err(connection)?;
        let event = match line.split_once(':') {
            Some(("data", event)) => event.to_string(),
            Some(("error", error)) => format!(r#"{{"error":{error}}}"#), // llama.cpp
            _ => continue,
        };
        if lines.send(Ok(event)).is_err() {
            break;
        }
    }
    Ok(())
}

/// On the calling thread: puts the events together until the reply is complete.
fn listen(lines: &Receiver<Line>, stop: &Interrupt, report: OnProgress) -> Result<Reply, Failure> {
    let plain = |error| (error, None);
    let interrupted = stop.receiver();
    let mut assembly = stream::Assembly::default();
    while !assembly.stopped {
        let line = select_biased! {
            recv(interrupted) -> _ => return Err(plain(ModelError::Interrupted)),
            recv(lines) -> line => line,
        };
        match line {
            Ok(Ok(event)) => assembly
                .apply(&event, &mut |text| report(Progress::Text(text)))
                .map_err(plain)?,
            Ok(Err(failure)) if assembly.stop_reason.is_none() => return Err(failure),
            _ => break,
        }
    }
    assembly.finish().map_err(plain)
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    head: Value,
    messages: Vec<Cow<'a, Message>>,
}

/// The request as JSON. What stands before a marker can come from the server's cache next time:
/// tools, system prompt, the conversation as it is and as it was one request ago.
fn body(model: &str, request: &Request<'_>) -> Result<Vec<u8>, ModelError> {
    let mut head = json!({ "model": model, "max_tokens": MAX_TOKENS, "stream": true });
    if !request.system.trim().is_empty() {
        head["system"] = json!([marked(json!({ "type": "text", "text": request.system }))]);
    }
    if let Some((last, tools)) = request.tools.split_last() {
        let tools = tools.iter().map(|tool| json!(tool));
        head["tools"] = tools.chain([marked(json!(last))]).collect();
    }
    let mut messages: Vec<_> = request.messages.iter().map(Cow::Borrowed).collect();
    for message in messages
        .iter_mut()
        .rev()
        .filter(|message| message.role == Role::User)
        .take(2)
    {
        if let Some(block) = message.to_mut().content.last_mut() {
            *block = ContentBlock::Other(marked(json!(block)));
        }
    }
    serde_json::to_vec(&Body { head, messages })
        .map_err(|error| ModelError::Protocol(error.to_string()))
}

fn marked(mut block: Value) -> Value {
    if let Some(block) = block.as_object_mut() {
        block.insert("cache_control".to_string(), json!({ "type": "ephemeral" }));
    }
    block
}
