//! s17 · A server: it is started when that is needed, and again when it has ended. Its tools as the
//! model may have them, and a call of one as a job.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::client::{Client, Program};
use crate::background::{Kind, Task};
use crate::caught::lock;
use crate::delivery::block;
use crate::foreground::{Foreground, LIMIT, Work, free_name};
use crate::interrupt::Interrupt;
use crate::model::anthropic::fits;
use crate::notification::TaskId;
use crate::outcome::{End, Outcome};
use crate::process::output::text_or;
use crate::process::{Progress, Watch, on_thread};
use crate::terminal::short;
use crate::tool::{Access, Context, Tool, ToolOutcome};

/// How often a server is started before somebody has to look.
const STARTS: usize = 4;

/// One server of the configuration, until that changes.
pub struct Server {
    pub name: String,
    pub program: Program,
    pub on: bool,
    pub foreground: Foreground,
    pub client: Arc<Client>,
    /// How often a start has ended, well or not, unless that was interrupted.
    pub tries: Mutex<usize>,
    pub tools: Mutex<Vec<Arc<Tool>>>,
}

impl Server {
    /// Says what went wrong, unless that was the last that went wrong.
    pub fn say_once(&self, why: &str) {
        if self.client.note(why) {
            let events = &self.foreground.context.events;
            events.notice(format!("{}: {why}.", self.name));
        }
    }

    /// Starts it if it never was, or if it has ended and a call is to be made. Asks for its tools if
    /// they have changed.
    pub fn ready(self: &Arc<Self>, is_call: bool) -> Result<(), String> {
        let (tries, stop) = (*lock(&self.tries), &self.foreground.context.interrupt);
        let starts = self.client.version().is_none() && (is_call || tries == 0);
        if starts && tries == STARTS {
            let again = format!("try `/mcp restart {}`", self.name);
            return Err(format!("ended {STARTS} times; {again}"));
        }
        let started = if starts { self.start() } else { Ok(()) };
        let tools = started.and_then(|()| self.client.tools(stop));
        *lock(&self.tries) += usize::from(starts && !stop.is_triggered());
        tools.map(|tools| tools.into_iter().for_each(|tools| self.offer(&tools)))
    }

    /// Its process stands among the tasks until it has ended.
    fn start(&self) -> Result<(), String> {
        let what = format!("mcp {}", self.name);
        let events = &self.foreground.context.events;
        let id = TaskId::new(&what)?;
        events.waiting(move || (what.clone(), "it starts".to_string()));
        let listen = self.client.start(&self.program);
        let listen = listen.map_err(|why| format!("it could not be started: {why}"))?;
        let task = Task::new(Kind::Other("server"), &id, self.client.clone(), events);
        let (began, servers) = (task.started, self.foreground.servers.clone());
        lock(&servers).push(task);
        on_thread("server", move |_| {
            listen();
            lock(&servers).retain(|task| task.started != began);
            Outcome::new(End::Finished(None), "")
        });
        Ok(())
    }

    /// Its tools from now on: those that the API takes, each with a name of its own.
    fn offer(self: &Arc<Self>, specs: &[Value]) {
        let (mut tools, mut left_out) = (Vec::<Arc<Tool>>::new(), Vec::new());
        for spec in specs {
            let name = spec["name"].as_str().unwrap_or_default();
            let full = format!("mcp__{}__{name}", self.name);
            let is_taken = tools.iter().any(|it| *it.name == *full);
            match fits(&full, &spec["inputSchema"]) && !is_taken {
                true => tools.push(Arc::new(self.tool(name, full, spec))),
                false => left_out.push(short(name, 40)),
            }
        }
        *lock(&self.tools) = tools;
        if let more @ 1.. = left_out.len() {
            let why = "as the API would refuse them, or their names are taken";
            let names = short(&left_out.join(", "), 200);
            self.say_once(&format!("{more} of its tools left out, {why}: {names}"));
        }
    }

    fn tool(self: &Arc<Self>, name: &str, full: String, spec: &Value) -> Tool {
        let (server, tool) = (Arc::downgrade(self), name.to_string());
        let run = move |arguments: Value, context: &Context| {
            let server = server.upgrade().ok_or("its server is gone")?;
            server.call(tool.clone(), arguments, context)
        };
        let about = short(spec["description"].as_str().unwrap_or_default(), 2_000);
        let about = marked("mcp-description", &self.name, &about);
        let mut tool = Tool::new(full, about, Value::Null, Access::Ask, run);
        tool.input_schema = spec["inputSchema"].clone();
        tool
    }

    /// A call is a job: it has a thread and a name, as a command has.
    fn call(self: &Arc<Self>, tool: String, arguments: Value, context: &Context) -> ToolOutcome {
        let ready = self.ready(true);
        let (name, client, stop) = (self.name.clone(), self.client.clone(), Interrupt::default());
        let what = format!("{name} {tool}");
        let id = free_name(&self.foreground.executor, &what, usize::MAX)?;
        let call = Arc::new(Call(what, client.clone(), stop.clone()));
        let task = Task::new(Kind::Command, &id, call, &context.events);
        let news = on_thread("call", move |_| {
            let call = |()| client.call(&tool, arguments, &stop);
            outcome(&name, ready.map_err(End::Failed).and_then(call))
        });
        self.foreground
            .wait(Work::new(task, news), Some(LIMIT), context)
    }

    /// How it is.
    pub fn line(&self) -> String {
        let (count, problem) = (lock(&self.tools).len(), self.client.look().line);
        let again = format!("`/mcp restart {}` tries again", self.name);
        let now = match (self.client.version(), *lock(&self.tries)) {
            _ if !self.on => "off, its tools are not offered",
            (Some(version), _) => &format!("on, running  {count} tools  protocol {version}"),
            (None, 0) => "on, not started",
            (None, _) if count == 0 => &format!("on, did not start: {again}"),
            (None, _) => "on, ended: starts again at the next call",
        };
        let before = ["", "  last error: "][usize::from(!problem.is_empty())];
        format!("{}  {now}{before}{problem}", self.name)
    }

    /// How it is, and its tools; and the whole.
    pub fn told(&self, whole: bool) -> String {
        let mut told = self.line();
        for tool in &*lock(&self.tools) {
            let about = tool.description.lines().nth(1); // the first within its block
            told += &format!("\n  {}: {}", tool.name, about.unwrap_or_default());
        }
        if whole {
            let printed = text_or(&self.client.look().recent, "nothing");
            told += &format!("\n  its command: {}", short(&self.program.line(false), 200));
            told += &format!("\n  its standard error: {printed}");
        }
        told
    }
}

/// A call that is waited for: what it is, who makes it, and what stops it.
struct Call(String, Arc<Client>, Interrupt);

impl Watch for Call {
    fn look(&self) -> Progress {
        Progress {
            what: self.0.clone(),
            line: self.1.progress(),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.2.trigger();
    }
}

/// What a server says, in a block that it cannot end.
fn marked(what: &str, server: &str, text: &str) -> String {
    block(what, &format!(" server=\"{server}\""), text)
}

/// What the model is told of a call: what the server said, in a marked block.
fn outcome(server: &str, answer: Result<Outcome, End>) -> Outcome {
    match answer {
        Ok(it) => Outcome::new(it.end, marked("mcp-result", server, &it.output)),
        Err(End::Failed(why)) => {
            let again = "if it has ended, the next call starts it again";
            let end = End::Failed(format!("{server} gave no result; {again}"));
            Outcome::new(end, marked("mcp-error", server, &why))
        }
        Err(end) => Outcome::new(end, ""),
    }
}
