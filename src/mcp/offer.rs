//! s17 · What a server offers and answers, as the model may have it. It is started when that is needed,
//! and again when it has ended.

use std::mem::{replace, take};
use std::sync::Arc;

use serde_json::{Value, json};

use super::server::Server;
use crate::background::{Kind, Task};
use crate::caught::lock;
use crate::delivery::block;
use crate::foreground::{LIMIT, Work, free_name};
use crate::interrupt::Interrupt;
use crate::model::anthropic::fits;
use crate::outcome::{End, Outcome};
use crate::process::output::{Output, text_or};
use crate::process::{Progress, Watch, on_thread};
use crate::terminal::short;
use crate::tool::{Access, Context, Tool};

/// The revisions of the protocol that begin with `initialize`, newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The revision that knows no beginning: each request says who asks, and in which revision.
const STATELESS: &str = "2026-07-28";
/// Pages of one list.
const MAX_PAGES: usize = 100;
/// How often a server is started before somebody has to look.
const STARTS: usize = 4;

impl Server {
    /// Says what went wrong, unless that was the last that went wrong.
    pub fn say_once(&self, why: &str) {
        let last = replace(&mut lock(&self.state).problem, why.to_string());
        if last != why {
            let events = &self.foreground.context.events;
            events.notice(format!("{}: {why}.", self.name));
        }
    }

    /// Starts it if it never was, or if it has ended and a call is to be made. Asks for its tools if
    /// they have changed.
    pub fn ready(self: &Arc<Self>, is_call: bool) -> Result<(), String> {
        let (mut state, name) = (lock(&self.state), &self.name);
        let (runs, changed) = (state.to.is_some(), take(&mut state.list_changed));
        let starts = !runs && (is_call || state.tries == 0);
        if starts && state.tries == STARTS {
            return Err(format!("ended {STARTS} times; try `/mcp restart {name}`"));
        }
        drop(state);
        let done = match starts {
            true => self.begin().inspect_err(|_| self.stop()),
            false if runs && changed => self.list(),
            false => Ok(()),
        };
        let counts = starts && !self.foreground.context.interrupt.is_triggered();
        lock(&self.state).tries += usize::from(counts);
        done
    }

    /// Its start, the handshake, and the first list.
    fn begin(self: &Arc<Self>) -> Result<(), String> {
        let what = format!("mcp {}", self.name);
        let look = move || (what.clone(), "it starts".to_string());
        self.foreground.context.events.waiting(look);
        let started = self.start();
        started.map_err(|why| format!("it could not be started: {why}"))?;
        let us = json!({ "name": "meanwhile", "version": env!("CARGO_PKG_VERSION") });
        let hello = json!({ "protocolVersion": VERSIONS[0], "capabilities": {}, "clientInfo": us });
        // First, as a server that has had a request of the other era may refuse it.
        let answer = self.ask("initialize", hello, &self.foreground.context.interrupt);
        let is_refused = matches!(answer, Err(End::Failed(_)));
        let answer = answer.map_err(no_answer("initialize"));
        if is_refused {
            let mut state = lock(&self.state);
            state.version = STATELESS.to_string();
            state.meta = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": us,
            });
            drop(state);
            return self.list().or(answer.map(drop));
        }
        let version = short(answer?["protocolVersion"].as_str().unwrap_or("none"), 20);
        if !VERSIONS.contains(&&*version) {
            return Err(format!("it speaks no known protocol: {version}"));
        }
        lock(&self.state).version = version;
        self.send(json!({ "method": "notifications/initialized" }));
        self.list()
    }

    /// All pages of its list of tools.
    fn list(self: &Arc<Self>) -> Result<(), String> {
        let (mut tools, mut left_out, mut params) = (Vec::<Arc<Tool>>::new(), vec![], json!({}));
        for _ in 0..MAX_PAGES {
            let page = self.ask("tools/list", params, &self.foreground.context.interrupt);
            let page = page.inspect_err(|_| lock(&self.state).list_changed = true); // as before
            let page = page.map_err(no_answer("tools/list"))?;
            for spec in page["tools"].as_array().into_iter().flatten() {
                let name = spec["name"].as_str().unwrap_or_default();
                let full = format!("mcp__{}__{name}", self.name);
                let is_taken = tools.iter().any(|it| *it.name == *full);
                match fits(&full, &spec["inputSchema"]) && !is_taken {
                    true => tools.push(Arc::new(self.tool(name, full, spec))),
                    false => left_out.push(short(name, 40)),
                }
            }
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => break,
            }
        }
        lock(&self.state).tools = tools;
        if let more @ 1.. = left_out.len() {
            let why = "as the API would refuse them, or their names are taken";
            let names = short(&left_out.join(", "), 200);
            self.say_once(&format!("{more} of its tools left out, {why}: {names}"));
        }
        Ok(())
    }

    fn tool(self: &Arc<Self>, name: &str, full: String, spec: &Value) -> Tool {
        let (server, call) = (Arc::downgrade(self), name.to_string());
        let run = move |arguments: Value, context: &Context| {
            let server = server.upgrade().ok_or("its server is gone")?;
            let ready = server.ready(true);
            let (name, stop) = (format!("{} {call}", server.name), Interrupt::default());
            let watch = Call(name.clone(), stop.clone(), server.clone());
            let params = json!({ "name": call, "arguments": arguments });
            let foreground = server.foreground.clone();
            let id = free_name(&foreground.executor, &name, usize::MAX)?;
            let task = Task::new(Kind::Command, &id, Arc::new(watch), &context.events);
            let news = on_thread("call", move |_| {
                let ask = |()| server.ask("tools/call", params, &stop);
                outcome(&server.name, ready.map_err(End::Failed).and_then(ask))
            });
            foreground.wait(Work::new(task, news), Some(LIMIT), context)
        };
        let about = short(spec["description"].as_str().unwrap_or_default(), 2_000);
        let about = marked("mcp-description", &self.name, &about);
        let mut tool = Tool::new(full, about, Value::Null, Access::Ask, run);
        tool.input_schema = spec["inputSchema"].clone();
        tool
    }

    /// How it is.
    pub fn line(&self) -> String {
        let state = lock(&self.state);
        let (count, version) = (state.tools.len(), &state.version);
        let again = format!("`/mcp restart {}` tries again", self.name);
        let now = match (&state.to, state.tries) {
            _ if !self.config.on => "off, its tools are not offered",
            (Some(_), _) => &format!("on, running  {count} tools  protocol {version}"),
            (None, 0) => "on, not started",
            (None, _) if count == 0 => &format!("on, did not start: {again}"),
            (None, _) => "on, ended: starts again at the next call",
        };
        let before = ["", "  last error: "][usize::from(!state.problem.is_empty())];
        format!("{}  {now}{before}{}", self.name, state.problem)
    }

    /// How it is, and its tools; and the whole.
    pub fn told(&self, whole: bool) -> String {
        let (mut told, now) = (self.line(), self.look());
        for tool in &lock(&self.state).tools {
            let about = tool.description.lines().nth(1); // the first within its block
            told += &format!("\n  {}: {}", tool.name, about.unwrap_or_default());
        }
        if whole {
            let printed = text_or(&now.recent, "nothing");
            told = told + "\n  its command: " + &now.what + "\n  its standard error: " + &printed;
        }
        told
    }
}

fn no_answer(method: &str) -> impl Fn(End) -> String {
    move |end| {
        let why = Outcome::new(end, "").error().unwrap_or_default();
        format!("no answer to {method}: {why}")
    }
}

/// A call that is waited for: what it is, what stops it, and who works on it.
struct Call(String, Interrupt, Arc<Server>);

impl Watch for Call {
    fn look(&self) -> Progress {
        Progress {
            what: self.0.clone(),
            line: lock(&self.2.state).progress.clone(),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.1.trigger();
    }
}

/// What a server says, in a block that it cannot end.
fn marked(what: &str, server: &str, text: &str) -> String {
    block(what, &format!(" server=\"{server}\""), text)
}

/// What came of a call: text in a marked block, and a sentence for what is no text.
fn outcome(server: &str, answer: Result<Value, End>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(End::Failed(why)) => {
            let again = "if it has ended, the next call starts it again";
            let end = End::Failed(format!("{server} gave no result; {again}"));
            return Outcome::new(end, marked("mcp-error", server, &why));
        }
        Err(end) => return Outcome::new(end, ""),
    };
    let mut output = Output::default();
    for part in answer["content"].as_array().into_iter().flatten() {
        let field = |name| part[name].as_str().or(part["resource"][name].as_str());
        let named = field("uri").or(field("mimeType")).unwrap_or("?");
        let instead = format!("[{}, {named}, not shown]", field("type").unwrap_or("?"));
        let told = field("text").unwrap_or(&instead);
        output.push(format!("{told}\n").as_bytes());
    }
    let text = marked("mcp-result", server, output.render().trim_end());
    let end = match answer["isError"] == true {
        true => End::Failed("the tool says that it failed".to_string()),
        false => End::Finished(None),
    };
    Outcome::new(end, text)
}
