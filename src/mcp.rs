//! s17 · MCP: tools of servers that somebody else wrote. A server is a process of its own, and speaks
//! JSON-RPC over its standard input and output.
//!
//! What a server says is text from outside: it reaches the model in marked blocks only.

mod offer;
mod server;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::caught::lock;
use crate::foreground::Foreground;
use crate::model::anthropic::fits;
use crate::options::Options;
use crate::permission::behind_bars;
use crate::process::Watch;
use crate::process::fed::quote;
use crate::repl::{Repl, state_file};
use crate::session::FOLDER;
use crate::terminal::person_is_there;
use crate::tools::files::{failed, make_own_folder, read_text, replace};
use server::Server;

const CONFIG: &str = ".mcp.json";
/// Bytes of a configuration, and of a list of ours.
const MAX_FILE: u64 = 1 << 20;
const NAME: &str = "a name is at most 64 letters, digits, _ and -";
/// The server that is built in.
const TIME: &str = include_str!("mcp/time.sh");

/// What is configured: a command without a shell, and variables of its environment.
#[derive(Default, PartialEq, Deserialize)]
#[serde(default)]
struct Config {
    command: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// Ours, so that nobody need be asked. No file can say that, nor that it is on.
    #[serde(skip)]
    built_in: bool,
    #[serde(skip)]
    on: bool,
}

impl Config {
    /// Those of the file, and the one that is built in. Which are of no use is said.
    fn all(say: impl Fn(String)) -> Result<BTreeMap<String, Config>, String> {
        let text = text(CONFIG.as_ref(), r#"{"mcpServers": {}}"#)?;
        let servers = serde_json::from_str(&text)
            .and_then(|file: Value| BTreeMap::<String, Value>::deserialize(&file["mcpServers"]));
        let servers = servers.map_err(|why| format!("{CONFIG} holds no servers: {why}."))?;
        let built_in = Config {
            command: "bash".to_string(),
            args: vec!["-c".to_string(), TIME.to_string()],
            built_in: true,
            ..Config::default()
        };
        let mut all = BTreeMap::from([("time".to_string(), built_in)]);
        for (name, entry) in servers {
            let named = fits(&name, &json!({ "type": "object" })); // or none of its tools would
            match Config::deserialize(&entry).map_err(|why| why.to_string()) {
                Ok(config) if named => drop(all.insert(name, config)),
                read => {
                    let (name, why) = (format!("{name:?}"), read.err().unwrap_or(NAME.into()));
                    say(format!("{CONFIG}: {name:.60} is left out: {why:.200}."));
                }
            }
        }
        let off = list(&off_file())?;
        all.iter_mut()
            .for_each(|(name, config)| config.on = !off.contains(name));
        Ok(all)
    }

    /// For a shell, which becomes the command; or without the values, which may be secrets.
    fn line(&self, whole: bool) -> String {
        let set = |(name, value): (_, _)| match whole {
            true => format!("{name}={value}"),
            false => format!("{name}=…"),
        };
        let words = self.env.iter().map(set).chain([self.command.clone()]);
        let words = words.chain(self.args.clone()).map(|word| quote(&word));
        words.fold("env".to_string(), |line, word| line + " " + &word)
    }
}

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
        servers.load().unwrap_or_else(|why| repl.say(why));
        servers
    }

    /// Reads the configuration again. A server for which nothing has changed stays as it is.
    fn load(&self) -> Result<(), String> {
        let configs = Config::all(|what| self.foreground.context.events.notice(what))?;
        let mut all = self.all.borrow_mut();
        let old = all.extract_if(.., |name, server| configs.get(name) != Some(&server.config));
        old.for_each(|(_, server)| server.stop());
        for (name, config) in configs {
            let server = Server {
                name: name.clone(),
                config,
                foreground: self.foreground.clone(),
                state: Mutex::default(),
            };
            all.entry(name).or_insert(Arc::new(server));
        }
        Ok(())
    }

    /// The agent with the tools of all servers that are on. Those that were never started are
    /// started, if they may be.
    pub fn offer(&self, agent: &Agent) -> Agent {
        let all = self.all.borrow().clone(); // a question can change it
        let stop = &self.foreground.context.interrupt; // what is left waits for the next turn
        let is_due = |it: &&Arc<Server>| it.config.on && !stop.is_triggered();
        for server in all.values().filter(is_due) {
            self.ready(server, false);
        }
        self.offered(agent)
    }

    /// The same as of the last request: nothing is started for it, and nobody is asked.
    pub fn offered(&self, agent: &Agent) -> Agent {
        let mut agent = agent.clone();
        for server in self.all.borrow().values() {
            let tools = lock(&server.state).tools.clone();
            for tool in tools {
                match agent.toolbox.get(&tool.name) {
                    Ok(_) => server.say_once("two tools have one name"),
                    Err(_) => agent.toolbox.tools.push(tool),
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
        let (name, config, command) = (&server.name, &server.config, server.config.line(true));
        if config.command.is_empty() {
            return Err("it has no `command`: only servers over stdio are known here".to_string());
        }
        let here = std::env::current_dir().map_err(|why| why.to_string())?;
        let line = format!("{}: {command}", here.display());
        let file = state_file("mcp.json").unwrap_or_default();
        let known = self.options.yes || config.built_in || list(&file)?.contains(&line);
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
        keep(&off_file(), name, true)?;
        self.load()?;
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
        self.load()?;
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
        let server = find(name)?;
        if what == "restart" {
            server.stop();
            self.all.borrow_mut().remove(name);
        }
        keep(&off_file(), name, what == "off")?;
        self.load()?;
        let server = find(name)?;
        if what != "off" {
            self.ready(&server, true);
        }
        Ok(server.told(false))
    }
}

/// The servers of this folder that are off.
fn off_file() -> PathBuf {
    Path::new(FOLDER).join("mcp.json")
}

/// What stands in a file; for one that is empty or is not there, this.
fn text(path: &Path, none: &str) -> Result<String, String> {
    match read_text(path, MAX_FILE) {
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(none.to_string()),
        Ok((text, _)) if text.is_empty() => Ok(none.to_string()),
        text => Ok(text.map_err(failed("read", &path.to_string_lossy()))?.0),
    }
}

fn list(path: &Path) -> Result<BTreeSet<String>, String> {
    let (name, text) = (path.display(), text(path, "[]")?);
    let failed = |why| format!("{name} holds no list; mend or remove it: {why}.");
    serde_json::from_str(&text).map_err(failed)
}

/// Keeps a list with an entry, or without it: whole or not at all, and never where a link leads.
fn keep(path: &Path, entry: &str, is_in: bool) -> Result<(), String> {
    let mut list = list(path)?;
    if list.contains(entry) == is_in {
        return Ok(());
    }
    list.retain(|it| it != entry);
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
