//! s17 · A server: its process, and what is said both ways, JSON-RPC, a message a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
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
use crate::process::fed::talk;
use crate::process::output::{last_line, readable};
use crate::process::{Handle, Progress, Watch};
use crate::terminal::short;
use crate::tool::Tool;

/// What is longer is no line that a server would send: it is ended.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// How many milliseconds to wait for an answer, unless these variables say something else.
const CALL: (&str, u64) = ("MCP_TOOL_TIMEOUT", 600_000);
const REQUEST: (&str, u64) = ("MCP_TIMEOUT", 30_000);

/// One server of the configuration, until that changes.
pub struct Server {
    pub name: String,
    pub config: Config,
    pub foreground: Foreground,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// How often a start has ended, well or not, unless that was interrupted.
    pub tries: usize,
    /// How often its process was.
    starts: usize,
    /// The last one that was started.
    process: Option<Handle>,
    /// Its input. `None`: it does not run.
    pub to: Option<File>,
    last_id: u64,
    /// Who waits for which answer: a result, or what the server says went wrong.
    waiting: HashMap<u64, Sender<Result<Value, String>>>,
    /// How far a call is, in the server's words.
    pub progress: String,
    pub version: String,
    /// What each request says; in the era of `initialize`, nothing.
    pub meta: Value,
    pub tools: Vec<Arc<Tool>>,
    pub list_changed: bool,
    /// What went wrong last.
    pub problem: String,
}

impl Server {
    /// Starts its process, with a thread that reads what it says.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let id = TaskId::new(&format!("mcp {}", self.name)).map_err(io::Error::other)?;
        let events = &self.foreground.context.events;
        let task = Task::new(Kind::Other("server"), &id, self.clone(), events);
        let (server, started) = (self.clone(), task.started);
        let mut tasks = lock(&self.foreground.servers); // or it could end before it stands there
        let (process, printed, to) = talk(&self.config.line(true))?;
        let mut state = lock(&self.state);
        (state.process, state.to) = (Some(process), Some(to));
        state.problem.clear();
        state.starts += 1;
        let start = state.starts;
        drop(state);
        let read = move || {
            server.read(BufReader::new(printed), start);
            lock(&server.foreground.servers).retain(|task| task.started != started);
        };
        thread::Builder::new().name("server".into()).spawn(read)?;
        tasks.push(task);
        Ok(())
    }

    /// Ends its process. Whoever waits for an answer hears that.
    fn end(&self, mut state: MutexGuard<'_, State>, why: &str) {
        if state.to.take().is_some() {
            let printed = state.process.as_ref().map(|it| it.look().recent);
            state.problem = match last_line(&printed.unwrap_or_default()) {
                "" => why.to_string(),
                line => format!("{why}; its last words: {}", short(line, 200)),
            };
        }
        state.waiting.clear(); // who waits hears that
        state.process.iter().for_each(Handle::stop);
    }

    /// Sends a request and waits for its answer, or until there is a reason not to.
    pub fn ask(&self, method: &str, mut params: Value, stop: &Interrupt) -> Result<Value, End> {
        let ((tell, answer), mut state) = (bounded(1), lock(&self.state));
        state.last_id += 1;
        let id = state.last_id;
        state.waiting.insert(id, tell);
        state.progress.clear();
        params["_meta"] = state.meta.clone();
        drop(state);
        params["_meta"]["progressToken"] = json!(id);
        self.send(json!({ "id": id, "method": method, "params": params }));
        let (variable, millis) = [REQUEST, CALL][usize::from(method == "tools/call")];
        let said = std::env::var(variable).ok();
        let limit = said.and_then(|said| said.parse().ok()).unwrap_or(millis);
        let (end, why) = select! {
            recv(answer) -> answer => {
                let gone = |_| Err(lock(&self.state).problem.clone());
                return answer.unwrap_or_else(gone).map_err(End::Failed);
            }
            recv(stop.receiver()) -> _ => (End::Killed, "the user stopped it"),
            recv(after(Duration::from_millis(limit))) -> _ => (End::TimedOut, "it took too long"),
        };
        lock(&self.state).waiting.remove(&id);
        let params = json!({ "requestId": id, "reason": why });
        self.send(json!({ "method": "notifications/cancelled", "params": params }));
        Err(end)
    }

    /// Sends a message. A server that takes nothing in is ended.
    pub fn send(&self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        let (line, mut state) = (message.to_string() + "\n", lock(&self.state));
        let said = state.to.as_mut().map(|to| to.write_all(line.as_bytes()));
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
                Ok(message) => self.take(&message),
                Err(_) => {
                    let line = short(readable(&line).trim(), 60);
                    let problem = format!("it printed what is no JSON, passed over: {line}");
                    lock(&self.state).problem = problem;
                }
            }
            line.clear();
        }
        let state = lock(&self.state);
        if state.starts == start {
            self.end(state, why); // no newer process is in its place
        }
    }

    fn take(&self, message: &Value) {
        let (id, params) = (&message["id"], &message["params"]);
        match message["method"].as_str() {
            Some("ping") if !id.is_null() => self.send(json!({ "id": id, "result": {} })),
            Some(_) if !id.is_null() => {
                let error = json!({ "code": -32601, "message": "this client does not offer that" });
                self.send(json!({ "id": id, "error": error }));
            }
            Some("notifications/tools/list_changed") => lock(&self.state).list_changed = true,
            Some("notifications/progress") => {
                let word = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_string);
                let fields = ["progress", "total", "message"].into_iter();
                let of: Vec<_> = fields.filter_map(|it| params.get(it)).map(word).collect();
                lock(&self.state).progress = short(&of.join(" "), 80);
            }
            Some(_) => {}
            None => {
                let (error, mut state) = (&message["error"], lock(&self.state));
                let answer = match error["message"].as_str().unwrap_or_default() {
                    _ if error.is_null() => Ok(message["result"].clone()),
                    said => Err(format!("it refuses: {}", short(said, 500))),
                };
                match state.waiting.remove(&id.as_u64().unwrap_or_default()) {
                    Some(tell) => drop(tell.send(answer)),
                    None => state.problem = "it answered what nobody waits for".to_string(),
                }
            }
        }
    }
}

impl Watch for Server {
    /// What it is, what went wrong last, and the end of its standard error.
    fn look(&self) -> Progress {
        let state = lock(&self.state);
        let process = state.process.as_ref().map(Watch::look);
        Progress {
            what: self.config.line(false),
            line: state.problem.clone(),
            ..process.unwrap_or_default()
        }
    }

    fn stop(&self) {
        self.end(lock(&self.state), "it was stopped");
    }
}
