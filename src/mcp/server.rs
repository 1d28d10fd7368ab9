//! s17 · A server: off, or on with a link that is made when it is needed, and again when it is lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::Config;
use super::link::Link;
use super::offer::{intern, marked, misfit, outcome, text};
use crate::background::{Kind, Task};
use crate::caught::lock;
use crate::event::Events;
use crate::foreground::Foreground;
use crate::interrupt::Interrupt;
use crate::notification::TaskId;
use crate::outcome::Outcome;
use crate::process::output::text_or;
use crate::process::{Progress, Watch};
use crate::terminal::short;
use crate::tool::{Access, Context, Tool};

/// The revisions of the protocol that begin with `initialize`, newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// How often a server is started before somebody has to look.
const STARTS: usize = 4;
/// Of one server.
const MAX_TOOLS: usize = 200;

/// One server of the configuration.
pub struct Server {
    pub name: String,
    pub config: Config,
    foreground: Foreground,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    on: bool,
    link: Option<Arc<Link>>,
    /// How often it was started since somebody switched it on.
    starts: usize,
    version: String,
    tools: Vec<Arc<Tool>>,
    problem: String,
}

/// How long to wait, in milliseconds, or what this variable says.
fn limit(variable: &str, millis: u64) -> Duration {
    let said = std::env::var(variable).ok();
    let said = said.and_then(|said| said.parse().ok());
    Duration::from_millis(said.unwrap_or(millis))
}

impl Server {
    pub fn new(name: &str, config: Config, is_off: bool, foreground: &Foreground) -> Arc<Self> {
        let server = Server {
            name: name.to_string(),
            config,
            foreground: foreground.clone(),
            now: Mutex::default(),
        };
        lock(&server.now).on = !is_off;
        Arc::new(server)
    }

    pub fn is_on(&self) -> bool {
        lock(&self.now).on
    }

    /// From here on it may be started again.
    pub fn switch_on(&self) {
        let mut now = lock(&self.now);
        (now.on, now.starts) = (true, 0);
        now.problem.clear();
    }

    /// Ends it and takes its tools away.
    pub fn stop(&self) {
        let link = std::mem::take(&mut *lock(&self.now)).link;
        link.inspect(|link| link.stop());
    }

    pub fn tools(&self) -> Vec<Arc<Tool>> {
        lock(&self.now).tools.clone()
    }

    /// Says what went wrong, unless that was the last that was said.
    pub fn say_once(&self, why: &str, events: &Events) {
        let mut now = lock(&self.now);
        if now.problem != why {
            now.problem = why.to_string();
            events.notice(format!("{}: {why}.", self.name));
        }
    }

    /// Starts it if it has not been, and asks for its tools if they are not known.
    pub fn prepare(self: &Arc<Self>, stop: &Interrupt) -> Result<(), String> {
        let now = lock(&self.now);
        let (known, failed) = (now.link.clone(), now.starts > 0);
        drop(now);
        match known {
            None if !failed => self.link(stop).map(drop),
            Some(link) if link.is_alive() && link.list_changed() => self.list(&link, stop),
            _ => Ok(()),
        }
    }

    /// The link, a new one if the old one is lost.
    fn link(self: &Arc<Self>, stop: &Interrupt) -> Result<Arc<Link>, String> {
        let mut now = lock(&self.now);
        match &now.link {
            Some(link) if link.is_alive() => return Ok(link.clone()),
            _ if !now.on => return Err("it is off".to_string()),
            _ if now.starts == STARTS => {
                let again = format!("`/mcp restart {}` tries it again", self.name);
                return Err(format!(
                    "it was started {STARTS} times and has always ended; {again}"
                ));
            }
            _ => now.starts += 1,
        }
        drop(now);
        let id = TaskId::new(&format!("mcp {}", self.name))?;
        let task = Task::new(Kind::Other("server"), &id);
        let (servers, shown) = (self.foreground.servers.clone(), &self.foreground.servers);
        let (started, control) = (task.started, task.control.clone());
        let at_end = move || lock(&servers).retain(|task| task.started != started);
        let command = self.config.shell()?;
        lock(shown).push(task); // before it can end
        let link = Link::start(&command, at_end);
        let link = link.inspect_err(|_| drop(lock(shown).pop()))?;
        control.attach(link.clone());
        let begun = self.begin(&link, stop);
        begun.inspect_err(|_| link.stop())?;
        lock(&self.now).link = Some(link.clone());
        Ok(link)
    }

    /// The handshake, and the first list.
    fn begin(self: &Arc<Self>, link: &Link, stop: &Interrupt) -> Result<(), String> {
        let us = json!({ "name": "meanwhile", "version": env!("CARGO_PKG_VERSION") });
        let params =
            json!({ "protocolVersion": VERSIONS[0], "capabilities": {}, "clientInfo": us });
        let answer = self.ask(link, "initialize", params, stop)?;
        let version = answer["protocolVersion"].as_str().unwrap_or("none");
        if !VERSIONS.contains(&version) {
            let version = short(version, 20);
            return Err(format!(
                "it speaks a protocol that is not known here: {version}"
            ));
        }
        lock(&self.now).version = version.to_string();
        link.notify("notifications/initialized", json!({}));
        self.list(link, stop)
    }

    fn ask(
        &self,
        link: &Link,
        method: &str,
        params: Value,
        stop: &Interrupt,
    ) -> Result<Value, String> {
        let answer = link.ask(method, params, limit("MCP_TIMEOUT", 30_000), stop);
        answer.map_err(|end| {
            let why = Outcome::new(end, "").error().unwrap_or_default();
            format!("no answer to {method}: {why}")
        })
    }

    /// All pages of its list of tools.
    fn list(self: &Arc<Self>, link: &Link, stop: &Interrupt) -> Result<(), String> {
        let (mut tools, mut left_out) = (Vec::<Arc<Tool>>::new(), Vec::new());
        let mut params = json!({});
        for _ in 0..MAX_TOOLS {
            let page = self.ask(link, "tools/list", params, stop)?;
            for spec in page["tools"].as_array().into_iter().flatten() {
                let name = spec["name"].as_str().unwrap_or_default();
                let full = format!("mcp__{}__{name}", self.name);
                let why = match misfit(&full, &spec["inputSchema"]) {
                    _ if tools.iter().any(|it| it.name == full) => Some("its name is taken"),
                    _ if tools.len() == MAX_TOOLS => Some("there are too many"),
                    why => why,
                };
                match why {
                    Some(why) => left_out.push(format!("{} ({why})", short(name, 40))),
                    None => tools.push(Arc::new(self.tool(name, &full, spec))),
                }
            }
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => break,
            }
        }
        lock(&self.now).tools = tools;
        if let more @ 1.. = left_out.len() {
            left_out.truncate(5);
            let why = format!("{more} of its tools left out: {}", left_out.join(", "));
            self.say_once(&why, &self.foreground.context.events);
        }
        Ok(())
    }

    fn tool(self: &Arc<Self>, name: &str, full: &str, spec: &Value) -> Tool {
        let (server, call) = (Arc::downgrade(self), name.to_string());
        let run = move |arguments: Value, context: &Context| {
            let server = server.upgrade().ok_or("its server is gone")?;
            let link = server.link(&context.interrupt);
            let link = link.map_err(|why| marked("mcp-error", &server.name, &why))?;
            let (name, stop) = (format!("{} {call}", server.name), Interrupt::default());
            let watch = Call(name.clone(), stop.clone(), link.clone());
            let params = json!({ "name": call, "arguments": arguments });
            let from = server.name.clone();
            let work = move || {
                let limit = limit("MCP_TOOL_TIMEOUT", 600_000);
                let answer = link.ask("tools/call", params, limit, &stop);
                outcome(&from, answer, link.is_alive())
            };
            server
                .foreground
                .call(&name, Arc::new(watch), work, context)
        };
        let about = short(spec["description"].as_str().unwrap_or_default(), 2_000);
        let about = marked("mcp-description", &self.name, &about);
        let mut tool = Tool::new(intern(full), about, Value::Null, Access::Ask, run);
        tool.input_schema = spec["inputSchema"].clone();
        tool
    }

    /// How it is, and its tools.
    pub fn offered(&self) -> String {
        let tools = self.tools().into_iter();
        let tools = tools.map(|it| format!("\n  {}: {}", it.name, text(&it.description)));
        self.line() + &tools.collect::<String>()
    }

    /// All that is known of it.
    pub fn whole(&self) -> String {
        let command = self.config.shell().unwrap_or_else(|why| why);
        let told = format!("{}\n  its command: {command}", self.offered());
        let link = lock(&self.now).link.clone();
        let printed = link.map_or(String::new(), |link| link.look().recent);
        format!(
            "{told}\n  its standard error: {}",
            text_or(&printed, "nothing")
        )
    }

    /// How it is.
    pub fn line(&self) -> String {
        let now = lock(&self.now);
        let link = now.link.as_ref();
        let state = match link {
            _ if !now.on => "off",
            None => "on, not started",
            Some(link) if link.is_alive() => "on, running",
            Some(_) => "on, ended: starts again at the next call",
        };
        let (mut problem, mut told) = (now.problem.clone(), format!("{}  {state}", self.name));
        if let Some(link) = link {
            told += &format!("  {} tools  protocol {}", now.tools.len(), now.version);
            problem = text_or(&link.problem(), &problem);
        }
        match problem.as_str() {
            "" => told,
            problem => format!("{told}  last error: {problem}"),
        }
    }
}

/// A call that is waited for: what it is, what stops it, and who works on it.
struct Call(String, Interrupt, Arc<Link>);

impl Watch for Call {
    fn look(&self) -> Progress {
        Progress {
            what: self.0.clone(),
            line: self.2.progress(),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.1.trigger();
    }
}
