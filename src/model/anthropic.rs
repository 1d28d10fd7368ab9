//! foundation · The Anthropic Messages API over ureq: one streamed request, tried again where that
//! may help.
//!
//! A read that blocks cannot hear Ctrl+C. So the call runs on a thread of its own (`fetch`) that
//! sends each event over a channel, and the caller waits for channel and interrupt at once.

mod failure;
mod wire;

use std::io::{BufRead, BufReader};
use std::mem::take;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select_biased, unbounded};
use ureq::http::{Response, Uri};
use ureq::{RequestBuilder, typestate::WithBody};

use crate::caught::{lock, spawn};
use crate::event::Event;
use crate::message::Reply;
use crate::model::{Model, ModelError, Request};
use failure::Failure;
pub use wire::{fits, repair};

const DEFAULT_URL: &str = "https://api.anthropic.com";
const DEFAULT_MODEL: &str = "claude-sonnet-4-5";
/// More than any reply has: an endless one must not fill the memory.
const MAX_REPLY_BYTES: u64 = 64 * 1024 * 1024;
const MAX_RETRIES: u32 = 4;
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long the body may take to end after its last event. If it does, the connection is kept.
const GRACE: Duration = Duration::from_millis(100);

/// What the worker sends: events as JSON, unread, and at last why there are no more.
type Line = Result<String, Failure>;

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
            auth: Vec::from_iter(key.map(|key| ("x-api-key", key.to_string()))),
            idle: Mutex::default(),
        }
    }

    /// The client that these variables of the environment ask for; `None` if they name neither a
    /// key nor a server. Empty counts as unset.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let var = |name| var(name).filter(|value| !value.trim().is_empty());
        let (key, token) = (var("ANTHROPIC_API_KEY"), var("ANTHROPIC_AUTH_TOKEN"));
        let base_url = match var("ANTHROPIC_BASE_URL") {
            None if key.is_none() && token.is_none() => return None,
            url => url.unwrap_or(DEFAULT_URL.to_string()),
        };
        let model = var("ANTHROPIC_MODEL").or_else(|| var("MODEL_ID"));
        let model = model.as_deref().map_or(DEFAULT_MODEL, str::trim);
        let mut client = Self::new(&base_url, key.as_deref(), model);
        let bearer = token.map(|token| ("authorization", format!("Bearer {}", token.trim())));
        client.auth.extend(bearer);
        Some(client)
    }

    /// Finds what no request can be made of.
    fn check(&self) -> Result<(), Failure> {
        let mut secrets = self.auth.iter().flat_map(|(_, secret)| secret.chars());
        let url = self.base_url.parse().ok();
        let problem = match url.as_ref().and_then(Uri::scheme_str) {
            Some("http" | "https") if secrets.all(|c| (' '..='~').contains(&c)) => return Ok(()),
            Some("http" | "https") => "the key holds what no header can. Set it again".to_string(),
            _ => format!("{:?} is no address like {DEFAULT_URL}", self.shown_url()),
        };
        Err(Failure::Connection(problem))
    }

    /// The address without a name and password in it.
    fn shown_url(&self) -> String {
        let (scheme, rest) = self.base_url.split_once("://").unwrap_or_default();
        match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://[…]@{host}"),
            None => self.base_url.clone(),
        }
    }

    fn new_agent(&self) -> ureq::Agent {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // the key goes to the server that was named, and no further
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_per_read(Some(self.idle_timeout))
            .timeout_per_write(Some(self.idle_timeout));
        let here = ["http://localhost", "http://127."];
        if here.iter().any(|start| self.base_url.starts_with(start)) {
            config = config.proxy(None); // a proxy would look for it on its own machine
        }
        config.build().new_agent()
    }

    /// One try.
    fn attempt(&self, body: Arc<Vec<u8>>, asked: &Request<'_>) -> Result<Reply, Failure> {
        let idle = || lock(&self.idle);
        let agent = idle().pop().unwrap_or_else(|| self.new_agent());
        let mut request = agent.post(format!("{}/v1/messages", self.base_url));
        request = request.header("content-type", "application/json");
        request = request.header("anthropic-version", "2023-06-01");
        for (name, secret) in &self.auth {
            request = request.header(*name, secret);
        }
        let (sender, lines) = unbounded();
        let worker = move || {
            if let Err(failure) = fetch(request, &body, &sender) {
                let _ = sender.send(Err(failure)); // nobody listens once it is interrupted
            }
        };
        spawn("model request", worker).map_err(Failure::connection)?;
        let outcome = listen(&lines, asked);
        let deadline = Instant::now() + GRACE;
        while !asked.interrupt.is_triggered() && lines.recv_deadline(deadline).is_ok() {}
        match lines.try_recv() {
            Err(TryRecvError::Disconnected) => idle().push(agent),
            _ => agent.shutdown(), // wakes the worker from its read, and it ends
        }
        outcome
    }

    /// What happened, for the person: without the key, should the server have repeated it, and
    /// shortened.
    fn presentable(&self, failure: &Failure) -> String {
        let secrets = self.auth.iter().map(|(_, secret)| secret);
        let secrets = secrets.map(|it| it.strip_prefix("Bearer ").unwrap_or(it));
        let long = secrets.filter(|it| it.len() >= 8);
        let text = long.fold(failure.to_string(), |text, it| text.replace(it, "[key]"));
        format!("{text:.500}").trim_end_matches('.').to_string()
    }
}

impl Model for Anthropic {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let failed = |failure: Failure| {
            let (what, advice) = (self.presentable(&failure), failure.advice());
            ModelError::Failed(format!("{what}. {advice}"))
        };
        self.check().map_err(failed)?;
        let body = Arc::new(wire::body(&self.model, request));
        let mut backoff = self.backoff;
        for attempt in 0.. {
            let failure = match self.attempt(body.clone(), request) {
                Ok(mut reply) => {
                    repair(&mut reply, request.messages);
                    return Ok(reply);
                }
                Err(_) if request.interrupt.is_triggered() => break,
                Err(failure) => failure,
            };
            if !failure.may_pass() || attempt == MAX_RETRIES {
                return Err(failed(failure));
            }
            let wait = match failure {
                Failure::Api(_, _, Some(after)) => after,
                _ => backoff,
            }
            .min(MAX_WAIT);
            backoff = backoff.saturating_mul(2);
            let seconds = (wait.as_secs_f32() * 10.0).round() / 10.0;
            let what = self.presentable(&failure);
            let events = request.events;
            events.notice(format!("{what}; trying again in {seconds} s."));
            if !request.interrupt.pause(wait) {
                break;
            }
        }
        Err(ModelError::Interrupted)
    }

    fn describe(&self) -> String {
        format!("Model: {} at {}", self.model, self.shown_url())
    }

    fn name(&self) -> String {
        self.model.clone()
    }
}

/// On the worker: makes the call and sends what comes, line by line.
fn fetch(request: RequestBuilder<WithBody>, body: &[u8], to: &Sender<Line>) -> Result<(), Failure> {
    let response = request.send(body).map_err(Failure::connection)?;
    if response.status() != 200 {
        return Err(refusal(response));
    }
    let whole = response.body().mime_type() == Some("application/json");
    let body = response.into_body().into_with_config();
    let body = body.limit(MAX_REPLY_BYTES);
    if whole {
        // The server does not stream. A message in one piece is one more kind of event.
        let _ = to.send(Ok(body.read_to_string().map_err(Failure::connection)?));
        return Ok(());
    }
    // An event may have its data on several lines, and ends with an empty one.
    let mut event = String::new();
    for lines in BufReader::new(body.reader()).lines() {
        for line in lines.map_err(Failure::connection)?.split('\r') {
            match line.split_once(':') {
                Some(("data", data)) => event += &format!("{data}\n"),
                Some(("error", error)) => event = format!(r#"{{"error":{error}}}"#), // llama.cpp
                _ if line.is_empty() && !event.is_empty() => {
                    let _ = to.send(Ok(take(&mut event))); // once interrupted, nobody listens
                }
                _ => {}
            }
        }
    }
    if !event.is_empty() {
        let _ = to.send(Ok(event));
    }
    Ok(())
}

/// What a server said instead of a reply, and when it wants to be asked again.
fn refusal(mut response: Response<ureq::Body>) -> Failure {
    let status = response.status().as_u16();
    let after = response.headers().get("retry-after");
    let seconds = after.and_then(|value| value.to_str().ok()?.parse().ok());
    let after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let body = serde_json::from_str(&text).ok();
    let message = match body.and_then(|body| wire::error_message(&body)) {
        Some(message) => message,
        None if text.trim().is_empty() => "no reason given".to_string(),
        None => text,
    };
    Failure::Api(status, message, after)
}

/// On the calling thread: puts the events together until the reply is complete.
fn listen(lines: &Receiver<Line>, request: &Request<'_>) -> Result<Reply, Failure> {
    let interrupted = request.interrupt.receiver();
    let mut assembly = wire::Assembly::default();
    while !assembly.stopped {
        let line = select_biased! {
            recv(interrupted) -> _ => return Err(Failure::Connection("interrupted".into())),
            recv(lines) -> line => line,
        };
        match line {
            Ok(Ok(event)) => {
                let (before, text) = (assembly.usage(), assembly.apply(&event)?);
                if assembly.usage() != before {
                    request.events.emit(Event::Tokens(assembly.usage().total()));
                }
                if !text.is_empty() {
                    request.events.emit(Event::Text(text));
                }
            }
            Ok(Err(failure)) if assembly.stop_reason.is_none() => return Err(failure),
            _ => break,
        }
    }
    assembly.finish()
}
