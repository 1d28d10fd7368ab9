//! s17 · What a server offers and answers, as the model may have it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::server::Server;
use crate::caught::lock;
use crate::delivery::block;
use crate::interrupt::Interrupt;
use crate::outcome::{End, Outcome};
use crate::process::output::Output;
use crate::process::{Progress, Watch};
use crate::terminal::short;
use crate::tool::{Access, Context, Tool};

/// The revisions of the protocol that begin with `initialize`, newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Pages of one list.
const MAX_PAGES: usize = 100;

impl Server {
    /// The handshake, and the first list.
    pub fn begin(self: &Arc<Self>, stop: &Interrupt) -> Result<(), String> {
        let us = json!({ "name": "meanwhile", "version": env!("CARGO_PKG_VERSION") });
        let hello = json!({ "protocolVersion": VERSIONS[0], "capabilities": {}, "clientInfo": us });
        let answer = self.request("initialize", hello, stop)?;
        let version = answer["protocolVersion"].as_str().unwrap_or("none");
        if !VERSIONS.contains(&version) {
            let version = short(version, 20);
            return Err(format!(
                "it speaks a protocol that is not known here: {version}"
            ));
        }
        lock(&self.state).version = version.to_string();
        self.send(json!({ "method": "notifications/initialized" }));
        self.list(stop)
    }

    /// All pages of its list of tools.
    pub fn list(self: &Arc<Self>, stop: &Interrupt) -> Result<(), String> {
        let (mut tools, mut left_out) = (Vec::<Arc<Tool>>::new(), Vec::new());
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let page = self.request("tools/list", params, stop)?;
            for spec in page["tools"].as_array().into_iter().flatten() {
                let name = spec["name"].as_str().unwrap_or_default();
                let full = format!("mcp__{}__{name}", self.name);
                let why = match tools.iter().any(|it| it.name == full) {
                    true => Some("its name is taken"),
                    false => misfit(&full, &spec["inputSchema"]),
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
        lock(&self.state).tools = tools;
        if let more @ 1.. = left_out.len() {
            let names = short(&left_out.join(", "), 400);
            self.say_once(&format!("{more} of its tools left out: {names}"));
        }
        Ok(())
    }

    fn request(&self, method: &str, params: Value, stop: &Interrupt) -> Result<Value, String> {
        let answer = self.ask(method, params, limit("MCP_TIMEOUT", 30_000), stop);
        answer.map_err(|end| {
            let why = Outcome::new(end, "").error().unwrap_or_default();
            format!("no answer to {method}: {why}")
        })
    }

    fn tool(self: &Arc<Self>, name: &str, full: &str, spec: &Value) -> Tool {
        let (server, call) = (Arc::downgrade(self), name.to_string());
        let run = move |arguments: Value, context: &Context| {
            let server = server.upgrade().ok_or("its server is gone")?;
            let ready = server.connect(&context.interrupt);
            ready.map_err(|why| marked("mcp-error", &server.name, &why))?;
            let (name, stop) = (format!("{} {call}", server.name), Interrupt::default());
            let watch = Call(name.clone(), stop.clone(), server.clone());
            let params = json!({ "name": call, "arguments": arguments });
            let asked = server.clone();
            let work = move || {
                let limit = limit("MCP_TOOL_TIMEOUT", 600_000);
                outcome(&asked, asked.ask("tools/call", params, limit, &stop))
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
        let mut told = self.line();
        for tool in self.tools() {
            let about = tool.description.lines().nth(1); // the first within its block
            told += &format!("\n  {}: {}", tool.name, about.unwrap_or_default());
        }
        told
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

/// How long to wait, in milliseconds, or what this variable says.
fn limit(variable: &str, millis: u64) -> Duration {
    let said = std::env::var(variable).ok();
    let said = said.and_then(|said| said.parse().ok());
    Duration::from_millis(said.unwrap_or(millis))
}

/// Why the API would refuse this tool, and with it every request.
fn misfit(name: &str, schema: &Value) -> Option<&'static str> {
    let fits = |name: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        (1..=64).contains(&name.len()) && name.chars().all(good)
    };
    let fields = schema["properties"].as_object();
    let is_choice = ["oneOf", "anyOf", "allOf"]
        .iter()
        .any(|it| !schema[it].is_null());
    match schema["type"].as_str() {
        _ if !fits(name) || name.contains('.') => Some("its name is too long, or no name"),
        _ if is_choice => Some("its schema is a choice"),
        Some("object") => {
            let misfit = fields.into_iter().flatten().any(|(name, _)| !fits(name));
            misfit.then_some("a field has a name that is none")
        }
        _ => Some("its schema is none of an object"),
    }
}

/// A name that lives as long as the program. Each is kept once.
fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = lock(&NAMES);
    let known = names.get(name).copied();
    let name = known.unwrap_or_else(|| Box::leak(name.into()));
    names.insert(name);
    name
}

/// What a server says, in a block that it cannot end.
fn marked(what: &str, server: &str, text: &str) -> String {
    block(what, &format!(" server=\"{server}\""), text)
}

/// What came of a call: text in a marked block, and a sentence for what is no text.
fn outcome(server: &Server, answer: Result<Value, End>) -> Outcome {
    let name = &server.name;
    let answer = match answer {
        Ok(answer) => answer,
        Err(End::Failed(why)) => {
            let again = ["; it is started again with the next call", ""];
            let again = again[usize::from(server.is_alive())];
            let end = End::Failed(format!("{name} did not answer{again}"));
            return Outcome::new(end, marked("mcp-error", name, &why));
        }
        Err(end) => return Outcome::new(end, ""),
    };
    let mut output = Output::default();
    for part in answer["content"].as_array().into_iter().flatten() {
        let field = |name| part[name].as_str().or(part["resource"][name].as_str());
        let told = match field("text") {
            Some(text) => format!("{text}\n"),
            None => {
                let named = field("uri").or(field("mimeType")).unwrap_or("?");
                format!("[{}, {named}, not shown]\n", field("type").unwrap_or("?"))
            }
        };
        output.push(told.as_bytes());
    }
    let text = marked("mcp-result", name, output.render().trim_end());
    match answer["isError"] == true {
        true => Outcome::new(
            End::Failed("the tool says that it failed".to_string()),
            text,
        ),
        false => Outcome::new(End::Finished(None), text),
    }
}
