//! s17 · A server: its process, and what is said both ways, JSON-RPC, a message a line.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, after, bounded, select};
use serde_json::{Value, json};

use super::Config;
use crate::background::{Kind, Task};
use crate::caught::lock;
use crate::foreground::Foreground;
use crate::interrupt::Interrupt;
use crate::notification::TaskId;
use crate::outcome::End;
use crate::process::fed::{Feed, talk};
use crate::process::output::{last_line, readable};
use crate::process::{Handle, Progress, Watch};
use crate::terminal::short;
use crate::tool::Tool;

/// What is longer is no line that a server would send: it is ended.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// One server of the configuration, until that changes.
pub struct Server {
    pub name: String,
    pub config: Config,
    pub foreground: Foreground,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// How often it was started.
    pub starts: usize,
    /// The last one that was started.
    process: Option<Handle>,
    /// Its input. `None`: it does not run.
    pub to: Option<Feed>,
    last_id: u64,
    /// Who waits for which answer: a result, or what the server says went wrong.
    waiting: HashMap<u64, Sender<Result<Value, String>>>,
    /// How far a call is, in the server's words.
    pub progress: String,
    pub version: String,
    pub tools: Vec<Arc<Tool>>,
    pub list_changed: bool,
    /// What went wrong last.
    pub problem: String,
}

impl Server {
    pub fn new(name: &str, config: Config, foreground: &Foreground) -> Arc<Self> {
        Arc::new(Server {
            name: name.to_string(),
            config,
            foreground: foreground.clone(),
            state: Mutex::default(),
        })
    }

    /// Starts its process, with a thread that reads what it says.
    pub fn start(self: &Arc<Self>) -> Result<(), String> {
        let failed = |why: io::Error| format!("it could not be started: {why}");
        let task = TaskId::new(&format!("mcp {}", self.name))?;
        let task = Task::new(Kind::Other("server"), &task);
        let (server, started) = (self.clone(), task.started);
        task.control.attach(self.clone());
        let mut tasks = lock(&self.foreground.servers); // or it could end before it stands there
        let (process, printed, to) =
            talk(Path::new("env"), &self.config.words()).map_err(failed)?;
        let mut state = lock(&self.state);
        (state.process, state.to) = (Some(process), Some(to));
        state.problem.clear();
        let start = state.starts;
        drop(state);
        let read = move || {
            server.read(BufReader::new(printed), start);
            lock(&server.foreground.servers).retain(|task| task.started != started);
        };
        let thread = thread::Builder::new().name("server".to_string());
        thread.spawn(read).map_err(failed)?;
        tasks.push(task);
        Ok(())
    }

    /// Ends its process. Whoever waits for an answer hears that.
    fn end(&self, mut state: MutexGuard<'_, State>, why: &str) {
        if state.to.take().is_some() {
            state.problem = why.to_string();
        }
        state.waiting.clear(); // who waits hears that
        state.process.iter().for_each(Handle::stop);
    }

    /// Sends a request and waits for its answer, or until there is a reason not to.
    pub fn ask(
        &self,
        method: &str,
        mut params: Value,
        limit: Duration,
        stop: &Interrupt,
    ) -> Result<Value, End> {
        let ((tell, answer), mut state) = (bounded(1), lock(&self.state));
        state.last_id += 1;
        let id = state.last_id;
        state.waiting.insert(id, tell);
        state.progress.clear();
        drop(state);
        params["_meta"] = json!({ "progressToken": id });
        self.send(json!({ "id": id, "method": method, "params": params }));
        let (end, why) = select! {
            recv(answer) -> answer => return match answer {
                Ok(answer) => answer.map_err(End::Failed),
                Err(_) => Err(End::Failed(self.last_words())),
            },
            recv(stop.receiver()) -> _ => (End::Killed, "the user stopped it"),
            recv(after(limit)) -> _ => (End::TimedOut, "it took too long"),
        };
        lock(&self.state).waiting.remove(&id);
        self.tell("cancelled", json!({ "requestId": id, "reason": why }));
        Err(end)
    }

    /// Tells it something that is not answered.
    pub fn tell(&self, what: &str, params: Value) {
        self.send(json!({ "method": format!("notifications/{what}"), "params": params }));
    }

    fn send(&self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        let mut state = lock(&self.state);
        let said = state.to.as_mut().map(|to| to.say(&message.to_string()));
        if !matches!(said, Some(Ok(()))) {
            self.end(state, "it takes nothing in, so it was stopped");
        }
    }

    fn read(&self, mut from: BufReader<PipeReader>, start: usize) {
        let (mut line, mut why) = (Vec::new(), "it has ended");
        while let Ok(1..) = from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            if line.len() as u64 == MAX_LINE {
                why = "it sent a line of more than 4 MiB, so it was stopped";
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(message) => self.take(message),
                Err(_) => {
                    let line = short(readable(&line).trim(), 60);
                    self.note(&format!("it printed what is no JSON, passed over: {line}"));
                }
            }
            line.clear();
        }
        let state = lock(&self.state);
        if state.starts == start {
            self.end(state, why); // no newer process is in its place
        }
    }

    fn take(&self, mut message: Value) {
        let (id, params) = (message["id"].clone(), &message["params"]);
        match message["method"].as_str() {
            Some("ping") if !id.is_null() => self.send(json!({ "id": id, "result": {} })),
            Some(_) if !id.is_null() => {
                let error = json!({ "code": -32601, "message": "this client does not offer that" });
                self.send(json!({ "id": id, "error": error }));
            }
            Some("notifications/tools/list_changed") => lock(&self.state).list_changed = true,
            Some("notifications/progress") => {
                let of = ["progress", "total", "message"].map(|field| match &params[field] {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    number => number.to_string(),
                });
                lock(&self.state).progress = short(of.join(" ").trim_end(), 80);
            }
            Some(_) => {}
            None => {
                let id = id.as_u64().unwrap_or_default();
                let Some(tell) = lock(&self.state).waiting.remove(&id) else {
                    return self.note("it answered what nobody waits for; passed over");
                };
                let error = &message["error"];
                let answer = match error["message"].as_str().unwrap_or_default() {
                    _ if error.is_null() => Ok(message["result"].take()),
                    said => Err(format!("it refuses: {}", short(said, 500))),
                };
                let _ = tell.send(answer);
            }
        }
    }

    fn note(&self, problem: &str) {
        lock(&self.state).problem = problem.to_string();
    }

    /// Why it has ended.
    fn last_words(&self) -> String {
        let now = self.look();
        match last_line(&now.recent) {
            "" => now.line,
            line => format!("{}; its last words: {}", now.line, short(line, 200)),
        }
    }
}

impl Watch for Server {
    /// What it is, what went wrong last, and the end of its standard error.
    fn look(&self) -> Progress {
        let state = lock(&self.state);
        let process = state.process.as_ref().map(Watch::look);
        Progress {
            what: self.config.words(),
            line: state.problem.clone(),
            ..process.unwrap_or_default()
        }
    }

    fn stop(&self) {
        self.end(lock(&self.state), "it was stopped");
    }
}
