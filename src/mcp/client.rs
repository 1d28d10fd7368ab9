//! foundation · A client of the Model Context Protocol (MCP): JSON-RPC, a message a line, over the
//! standard input and output of a process.
//!
//! An answer reaches the one who asked, once; whoever waits hears when there will be none. A line has
//! a limit, and so has what a server does not take in. What it says is not made harmless.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::mem::{replace, take};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Sender, after, bounded, select};
use serde_json::{Value, json};

use crate::caught::lock;
use crate::interrupt::Interrupt;
use crate::outcome::{End, Outcome};
pub use crate::process::fed::Program;
use crate::process::fed::talk;
use crate::process::output::{Output, last_line, readable};
use crate::process::{Handle, Progress, Watch};
use crate::terminal::short;

/// The revisions of the protocol that begin with `initialize`, newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The revision that knows no beginning: each request says who asks, and in which revision.
const STATELESS: &str = "2026-07-28";
/// Pages of one list.
const MAX_PAGES: usize = 100;
/// What is longer is no line that a server would send: it is ended.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// How many milliseconds to wait for an answer, and for that of a call, unless a variable says else.
const LIMITS: [(&str, u64); 2] = [("MCP_TIMEOUT", 30_000), ("MCP_TOOL_TIMEOUT", 600_000)];

/// A server, and what is said both ways. It runs from its start until it has ended, and can then be
/// started again.
#[derive(Default)]
pub struct Client(Mutex<State>);

#[derive(Default)]
struct State {
    /// What was started last, and how often something was.
    what: String,
    starts: usize,
    process: Option<Handle>,
    /// Its input. `None`: it does not run.
    to: Option<File>,
    last_id: u64,
    /// Who waits for which answer: a result, or what the server says went wrong.
    waiting: HashMap<u64, Sender<Result<Value, String>>>,
    progress: String,
    version: String,
    /// What each request says; in the era of `initialize`, nothing.
    meta: Value,
    /// Its tools are not known, or have changed.
    list_due: bool,
    /// What went wrong last.
    problem: String,
}

impl Client {
    /// Starts it. What is returned takes in all that it says, and comes to its end with it: it is to
    /// be called on a thread of its own.
    pub fn start(self: &Arc<Self>, program: &Program) -> io::Result<impl FnOnce() + Send + use<>> {
        let (process, printed, to) = talk(program)?;
        let (client, mut state) = (self.clone(), lock(&self.0));
        let start = state.starts + 1;
        *state = State {
            what: program.line(false),
            starts: start,
            process: Some(process),
            to: Some(to),
            list_due: true,
            last_id: state.last_id, // or a late answer could pass for another
            ..State::default()
        };
        Ok(move || client.read(BufReader::new(printed), start))
    }

    /// Its tools, if it runs and they are not known yet, or have changed: all pages of its list, and of
    /// each what it says, as a rule `name`, `description` and `inputSchema`. After a start, this begins
    /// the conversation, and stops a server with which that fails. An `Err` is a sentence without its
    /// full stop.
    pub fn tools(&self, stop: &Interrupt) -> Result<Option<Vec<Value>>, String> {
        let mut state = lock(&self.0);
        let (due, begins) = (take(&mut state.list_due), state.version.is_empty());
        if !due || state.to.is_none() && !begins {
            return Ok(None);
        }
        drop(state);
        let again = |_: &String| lock(&self.0).list_due = true;
        let tools = match begins {
            true => self.begin(stop).inspect_err(|_| self.stop()),
            false => self.list(stop).inspect_err(again),
        };
        tools.map(Some)
    }

    fn begin(&self, stop: &Interrupt) -> Result<Vec<Value>, String> {
        let us = json!({ "name": "meanwhile", "version": env!("CARGO_PKG_VERSION") });
        let hello = json!({ "protocolVersion": VERSIONS[0], "capabilities": {}, "clientInfo": us });
        // First, as a server that has had a request of the other era may refuse it.
        let answer = self.ask("initialize", hello, stop);
        let is_refused = matches!(answer, Err(End::Failed(_)));
        let answer = answer.map_err(|end| no_answer("initialize", end));
        if is_refused {
            lock(&self.0).version = STATELESS.to_string();
            lock(&self.0).meta = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": us,
            });
            return self.list(stop).or(answer.map(|_| Vec::new()));
        }
        let version = short(answer?["protocolVersion"].as_str().unwrap_or("none"), 20);
        if !VERSIONS.contains(&&*version) {
            return Err(format!("it speaks no known protocol: {version}"));
        }
        lock(&self.0).version = version;
        self.send(json!({ "method": "notifications/initialized" }));
        self.list(stop)
    }

    fn list(&self, stop: &Interrupt) -> Result<Vec<Value>, String> {
        let (mut tools, mut params) = (Vec::new(), json!({}));
        for _ in 0..MAX_PAGES {
            let page = self.ask("tools/list", params, stop);
            let page = page.map_err(|end| no_answer("tools/list", end))?;
            tools.extend(page["tools"].as_array().into_iter().flatten().cloned());
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => break,
            }
        }
        Ok(tools)
    }

    /// Calls a tool and waits for its result: text, with a word for what is no text. An `Err` is no
    /// result; `Failed` is why, in the server's words or in ours.
    pub fn call(&self, tool: &str, arguments: Value, stop: &Interrupt) -> Result<Outcome, End> {
        let params = json!({ "name": tool, "arguments": arguments });
        let answer = self.ask("tools/call", params, stop)?;
        let mut output = Output::default();
        for part in answer["content"].as_array().into_iter().flatten() {
            let field = |name| part[name].as_str().or(part["resource"][name].as_str());
            let named = field("uri").or(field("mimeType")).unwrap_or("?");
            let instead = format!("[{}, {named}, not shown]", field("type").unwrap_or("?"));
            let told = field("text").unwrap_or(&instead);
            output.push(format!("{told}\n").as_bytes());
        }
        let end = match answer["isError"] == true {
            true => End::Failed("the tool says that it failed".to_string()),
            false => End::Finished(None),
        };
        Ok(Outcome::new(end, output.render().trim_end()))
    }

    /// How far the last call is, in the server's words.
    pub fn progress(&self) -> String {
        lock(&self.0).progress.clone()
    }

    /// The revision in which it is spoken to; `None` if it does not run.
    pub fn version(&self) -> Option<String> {
        let state = lock(&self.0);
        state.to.as_ref().map(|_| state.version.clone())
    }

    /// Notes what went wrong, for [`look`](Watch::look). False if that was the last that went wrong.
    pub fn note(&self, why: &str) -> bool {
        replace(&mut lock(&self.0).problem, why.to_string()) != why
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
    fn ask(&self, method: &str, mut params: Value, stop: &Interrupt) -> Result<Value, End> {
        let ((tell, answer), mut state) = (bounded(1), lock(&self.0));
        state.last_id += 1;
        let id = state.last_id;
        state.waiting.insert(id, tell);
        state.progress.clear();
        params["_meta"] = state.meta.clone();
        drop(state);
        params["_meta"]["progressToken"] = json!(id);
        self.send(json!({ "id": id, "method": method, "params": params }));
        let (variable, millis) = LIMITS[usize::from(method == "tools/call")];
        let said = std::env::var(variable).ok();
        let limit = said.and_then(|said| said.parse().ok()).unwrap_or(millis);
        let (end, why) = select! {
            recv(answer) -> answer => {
                let gone = |_| Err(lock(&self.0).problem.clone());
                return answer.unwrap_or_else(gone).map_err(End::Failed);
            }
            recv(stop.receiver()) -> _ => (End::Killed, "the user stopped it"),
            recv(after(Duration::from_millis(limit))) -> _ => (End::TimedOut, "it took too long"),
        };
        lock(&self.0).waiting.remove(&id);
        let params = json!({ "requestId": id, "reason": why });
        self.send(json!({ "method": "notifications/cancelled", "params": params }));
        Err(end)
    }

    /// Sends a message. A server that takes nothing in is ended.
    fn send(&self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        let (line, mut state) = (message.to_string() + "\n", lock(&self.0));
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
                    self.note(&format!("it printed what is no JSON, passed over: {line}"));
                }
            }
            line.clear();
        }
        let state = lock(&self.0);
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
            Some("notifications/tools/list_changed") => lock(&self.0).list_due = true,
            Some("notifications/progress") => {
                let word = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_string);
                let fields = ["progress", "total", "message"].into_iter();
                let of: Vec<_> = fields.filter_map(|it| params.get(it)).map(word).collect();
                lock(&self.0).progress = short(&of.join(" "), 80);
            }
            Some(_) => {}
            None => {
                let (error, mut state) = (&message["error"], lock(&self.0));
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

impl Watch for Client {
    /// Its command without values, what went wrong last, and the end of its standard error.
    fn look(&self) -> Progress {
        let state = lock(&self.0);
        let process = state.process.as_ref().map(Watch::look);
        Progress {
            what: state.what.clone(),
            line: state.problem.clone(),
            ..process.unwrap_or_default()
        }
    }

    fn stop(&self) {
        self.end(lock(&self.0), "it was stopped");
    }
}

fn no_answer(method: &str, end: End) -> String {
    let why = Outcome::new(end, "").error().unwrap_or_default();
    format!("no answer to {method}: {why}")
}
