//! s17 · MCP: tools of servers that somebody else wrote; which of them may start, and `/mcp`. What is
//! said to a server and heard of it is the work of `client`, which is foundation.
//!
//! What a server says is text from outside: it reaches the model in marked blocks only.

mod client;
mod server;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::caught::lock;
use crate::foreground::Foreground;
use crate::model::anthropic::fits;
use crate::options::Options;
use crate::permission::behind_bars;
use crate::process::Watch;
use crate::process::output::text_or;
use crate::repl::{Repl, state_file};
use crate::terminal::person_is_there;
use crate::tools::files::{failed, make_own_folder, read_text, replace};
use client::Program;
use server::Server;

const CONFIG: &str = ".mcp.json";
/// The list of those that are off.
const OFF: &str = ".sessions/mcp.json";
/// Bytes of a configuration, and of a list of ours.
const MAX_FILE: u64 = 1 << 20;
const NAME: &str = "a name is at most 64 letters, digits, _ and -";
/// The server that is built in.
const TIME: &str = include_str!("mcp/time.sh");

/// All servers of this folder. Those that are on start with the first request.
pub struct Servers {
    options: Options,
    foreground: Foreground,
    all: RefCell<BTreeMap<String, Arc<Server>>>,
}

impl Servers {
    /// Those of `.mcp.json`, and the one that is built in; with `/mcp` at the prompt.
    pub fn attach(options: &Options, foreground: &Foreground, repl: &mut Repl) -> Self {
        repl.command("/mcp [NAME]", "servers; off, on or restart NAME");
        let servers = Servers {
            options: options.clone(),
            foreground: foreground.clone(),
            all: RefCell::default(),
        };
        servers.load("").unwrap_or_else(|why| repl.say(why));
        servers
    }

    /// Reads the configuration again. What has not changed stays as it is, but for one to begin anew.
    fn load(&self, anew: &str) -> Result<(), String> {
        let (programs, off) = (self.programs()?, list(OFF.as_ref())?);
        let mut all = self.all.borrow_mut();
        let changed = |name: &String, it: &mut Arc<Server>| {
            it.on == off.contains(name) || programs.get(name) != Some(&it.program) || name == anew
        };
        let old = all.extract_if(.., changed);
        old.for_each(|(_, server)| server.client.stop());
        for (name, program) in programs {
            let server = Server {
                name: name.clone(),
                program,
                on: !off.contains(&name),
                foreground: self.foreground.clone(),
                client: Arc::default(),
                tries: Mutex::default(),
                tools: Mutex::default(),
            };
            all.entry(name).or_insert(Arc::new(server));
        }
        Ok(())
    }

    /// Those of the file, and the one that is built in. Which are of no use is said.
    fn programs(&self) -> Result<BTreeMap<String, Program>, String> {
        let file: Value = read(CONFIG.as_ref(), r#"{"mcpServers": {}}"#, "servers")?;
        let servers = file["mcpServers"].as_object();
        let servers = servers.ok_or_else(|| format!("{CONFIG} holds no servers."))?;
        let mut all = BTreeMap::from([("time".to_string(), built_in())]);
        for (name, entry) in servers {
            let named = fits(name, &json!({ "type": "object" })); // or none of its tools would
            match Program::deserialize(entry).map_err(|why| why.to_string()) {
                Ok(program) if named => drop(all.insert(name.clone(), program)),
                read => {
                    let (name, why) = (format!("{name:?}"), read.err().unwrap_or(NAME.into()));
                    let said = format!("{CONFIG}: {name:.60} is left out: {why:.200}.");
                    self.foreground.context.events.notice(said);
                }
            }
        }
        Ok(all)
    }

    /// The agent with the tools of all servers that are on. Those that were never started are
    /// started, if they may be.
    pub fn offer(&self, agent: &Agent) -> Agent {
        let all = self.all.borrow().clone(); // a question can change it
        let stop = &self.foreground.context.interrupt; // what is left waits for the next turn
        let is_due = |it: &&Arc<Server>| it.on && !stop.is_triggered();
        all.values()
            .filter(is_due)
            .for_each(|it| self.ready(it, false));
        self.offered(agent)
    }

    /// The same as of the last request: nothing is started for it, and nobody is asked.
    pub fn offered(&self, agent: &Agent) -> Agent {
        let mut agent = agent.clone();
        for server in self.all.borrow().values() {
            for tool in &*lock(&server.tools) {
                match agent.toolbox.get(&tool.name) {
                    Ok(_) => server.say_once("two tools have one name"),
                    Err(_) => agent.toolbox.tools.push(tool.clone()),
                }
            }
        }
        agent
    }

    /// What goes wrong is said.
    fn ready(&self, server: &Arc<Server>, typed: bool) {
        let may_start = self.may_start(server, typed);
        let ready = may_start.and_then(|()| server.ready(typed));
        ready.unwrap_or_else(|why| server.say_once(&why));
    }

    /// Asks the person, once for each folder and command. Where nobody can be asked, a line that was
    /// typed is the answer.
    fn may_start(&self, server: &Server, typed: bool) -> Result<(), String> {
        let (name, program) = (&server.name, &server.program);
        if program.command.is_empty() {
            return Err("it has no `command`: only servers over stdio are known here".to_string());
        }
        let here = std::env::current_dir().map_err(|why| why.to_string())?;
        let command = program.line(true);
        let line = format!("{}: {command}", here.display());
        let file = state_file("mcp.json").unwrap_or_default();
        let known = self.options.yes || *program == built_in() || list(&file)?.contains(&line);
        let asks = person_is_there() && !self.options.is_script();
        if known || typed && !asks {
            return Ok(());
        }
        if !asks {
            let why = "not started, as nobody could allow it";
            return Err(format!("{why}; `/mcp on {name}` does: {command}"));
        }
        let question = format!(
            "{CONFIG} wants to start the server {name}, now and in later sessions:\n{}\nMay it? [y]es, [n]o: ",
            behind_bars(&command)
        );
        let context = &self.foreground.context;
        let answer = (context.ask)(&question, &context.interrupt)?;
        if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return keep(&file, &line, true);
        }
        keep(OFF.as_ref(), name, true)?;
        self.load("")?;
        Err(format!("not started; `/mcp on {name}` asks again"))
    }

    /// Carries out `/mcp`. False for any other line.
    pub fn command(&self, repl: &Repl, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["/mcp", words @ ..] = &*words else {
            return false;
        };
        repl.say(self.carry_out(words).unwrap_or_else(|why| why));
        true
    }

    fn carry_out(&self, words: &[&str]) -> Result<String, String> {
        self.load("")?;
        let find = |name: &str| {
            let server = self.all.borrow().get(name).cloned();
            server.ok_or_else(|| format!("There is no server {name:?}; `/mcp` lists them."))
        };
        let (what, name) = match *words {
            [what @ ("off" | "on" | "restart"), name] => (what, name),
            ["off" | "on" | "restart"] => return Err("Which one? `/mcp` lists them.".into()),
            [name] => return Ok(find(name)?.told(true)),
            _ => {
                let lines: Vec<_> = self.all.borrow().values().map(|it| it.line()).collect();
                return Ok(lines.join("\n"));
            }
        };
        find(name)?;
        keep(OFF.as_ref(), name, what == "off")?;
        self.load(if what == "restart" { name } else { "" })?;
        let server = find(name)?;
        if what != "off" {
            self.ready(&server, true);
        }
        Ok(server.told(false))
    }
}

/// The one that comes with us. Nobody need be asked for that command, whoever wants it.
fn built_in() -> Program {
    Program {
        command: "bash".to_string(),
        args: vec!["-c".to_string(), TIME.to_string()],
        ..Program::default()
    }
}

/// What a file of JSON holds; for one that is empty or is not there, this.
fn read<T: DeserializeOwned>(path: &Path, none: &str, what: &str) -> Result<T, String> {
    let name = path.to_string_lossy();
    let text = match read_text(path, MAX_FILE) {
        Err(why) if why.kind() == ErrorKind::NotFound => String::new(),
        text => text.map_err(failed("read", &name))?.0,
    };
    let held = serde_json::from_str(&text_or(&text, none));
    held.map_err(|why| format!("{name} holds no {what}: {why}."))
}

fn list(path: &Path) -> Result<BTreeSet<String>, String> {
    read(path, "[]", "list; mend or remove it")
}

/// Keeps a list with an entry, or without it: whole or not at all, and never where a link leads.
fn keep(path: &Path, entry: &str, is_in: bool) -> Result<(), String> {
    let mut list = list(path)?;
    if list.remove(entry) == is_in {
        return Ok(());
    }
    list.extend(is_in.then(|| entry.to_string()));
    let text = serde_json::to_string_pretty(&list).unwrap_or_default();
    let folder = make_own_folder(path.parent().unwrap_or(path));
    let written = folder.and_then(|()| {
        // A new one is for us alone, as commands can hold secrets; `replace` keeps that.
        let mut new = std::fs::File::options();
        let _ = new.write(true).create_new(true).mode(0o600).open(path);
        replace(path, &text)
    });
    written.map_err(failed("written", &path.to_string_lossy()))
}
