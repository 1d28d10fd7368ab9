//! s17 · MCP: tools of servers that somebody else wrote. A server is a process of its own, and speaks
//! JSON-RPC over its standard input and output.
//!
//! What a server says is text from outside: it reaches the model in marked blocks only.

mod link;
mod offer;
mod server;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::agent::Agent;
use crate::foreground::Foreground;
use crate::options::Options;
use crate::permission::behind_bars;
use crate::process::output::text_or;
use crate::repl::{Repl, state_file};
use crate::session::FOLDER;
use crate::terminal::person_is_there;
use crate::tool::Context;
use crate::tools::files::{failed, make_own_folder, read_text, replace};
use server::Server;

const CONFIG: &str = ".mcp.json";
/// Bytes of a configuration, and of a list of ours.
const MAX_FILE: u64 = 1 << 20;
/// The server that is built in.
const TIME: &str = include_str!("mcp/time.sh");
/// What is said of one that nobody has allowed.
const WAITS: &str = "not started yet: nobody was there to allow it";

/// What is configured: a command without a shell, and variables of its environment.
#[derive(Clone, PartialEq, Deserialize)]
struct Config {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Ours, so that nobody need be asked. No file can say that.
    #[serde(skip)]
    built_in: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    mcp_servers: BTreeMap<String, Config>,
}

impl Config {
    fn all() -> Result<BTreeMap<String, Config>, String> {
        let built_in = Config {
            command: Some("bash".to_string()),
            args: vec!["-c".to_string(), TIME.to_string()],
            env: BTreeMap::new(),
            built_in: true,
        };
        let mut all = BTreeMap::from([("time".to_string(), built_in)]);
        let text = match read_text(CONFIG.as_ref(), MAX_FILE) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(all),
            text => text.map_err(failed("read", CONFIG))?.0,
        };
        let file: File = serde_json::from_str(&text)
            .map_err(|why| format!("{CONFIG} holds no servers: {why}."))?;
        all.extend(file.mcp_servers);
        Ok(all)
    }

    /// For bash, which becomes the command.
    fn shell(&self) -> Result<String, String> {
        let command = self.command.as_ref();
        let command =
            command.ok_or("it has no `command`: only servers over stdio are known here")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
        let quote = |text: &String| match text.is_empty() || !text.chars().all(plain) {
            true => format!("'{}'", text.replace('\'', r"'\''")),
            false => text.clone(),
        };
        let set = self
            .env
            .iter()
            .map(|(name, value)| quote(&format!("{name}={value}")));
        let set = set.map(|it| format!("export {it}; ")).collect::<String>();
        let words = [command].into_iter().chain(&self.args).map(quote);
        Ok(format!("{set}exec {}", words.collect::<Vec<_>>().join(" ")))
    }
}

/// All servers of this folder. Those that are on start with the first request.
pub struct Servers {
    foreground: Foreground,
    context: Context,
    /// Whether all may be started, and whether somebody can be asked.
    open: bool,
    asks: bool,
    all: RefCell<BTreeMap<String, Arc<Server>>>,
}

impl Servers {
    /// Those of `.mcp.json`, and the one that is built in; with `/mcp` at the prompt.
    pub fn attach(options: &Options, foreground: &Foreground, repl: &mut Repl) -> Self {
        repl.command("/mcp [NAME]", "servers; off, on or restart NAME");
        let servers = Servers {
            foreground: foreground.clone(),
            context: repl.context(),
            open: options.yes,
            asks: person_is_there() && !options.is_script(),
            all: RefCell::default(),
        };
        servers.load().unwrap_or_else(|why| repl.say(why));
        servers
    }

    /// Reads the configuration again. One that has not changed stays as it is.
    fn load(&self) -> Result<(), String> {
        let (mut all, off, configs) = (self.all.borrow_mut(), list(&off_file()), Config::all()?);
        let gone = all.extract_if(.., |name, _| !configs.contains_key(name));
        gone.for_each(|(_, server)| server.stop());
        for (name, config) in configs {
            if all.get(&name).is_none_or(|old| old.config != config) {
                let is_off = off.contains(&name);
                let new = Server::new(&name, config, is_off, &self.foreground);
                all.insert(name, new).inspect(|old| old.stop());
            }
        }
        Ok(())
    }

    /// Starts the servers that are on and may be started, and asks what they have. What goes wrong is
    /// said.
    pub fn prepare(&self) {
        for server in self.all.borrow().values().filter(|server| server.is_on()) {
            let allowed = self.may_start(server, false);
            let ready = allowed.and_then(|()| server.prepare(&self.context.interrupt));
            ready.unwrap_or_else(|why| server.say_once(&why, &self.context.events));
        }
    }

    /// The agent with the tools of all servers that are on, as they are now.
    pub fn offer(&self, agent: &Agent) -> Agent {
        let mut agent = agent.clone();
        for server in self.all.borrow().values().filter(|server| server.is_on()) {
            for tool in server.tools() {
                match agent.toolbox.get(tool.name) {
                    Ok(_) => server.say_once("two tools have one name", &self.context.events),
                    Err(_) => agent.toolbox.tools.push(tool),
                }
            }
        }
        agent
    }

    /// Asks the person, once for each folder and command. Where nobody can be asked, a line that was
    /// typed is the answer.
    fn may_start(&self, server: &Server, typed: bool) -> Result<(), String> {
        let (command, here) = (server.config.shell()?, std::env::current_dir());
        let here = here.map_err(|why| why.to_string())?;
        let line = format!("{}: {command}", here.display());
        let file = state_file("mcp.json").unwrap_or_default();
        let mut allowed = list(&file);
        if self.open || server.config.built_in || allowed.contains(&line) {
            return Ok(());
        }
        let name = &server.name;
        let mut question = format!(
            "{CONFIG} wants to start the server {name}, now and in later sessions:\n{}\nMay it? [y]es, [n]o: ",
            behind_bars(&command)
        );
        if !self.asks {
            let why = format!("{WAITS}; `/mcp on {name}` does: {command}");
            return typed.then_some(()).ok_or(why);
        }
        loop {
            let answer = (self.context.ask)(&question, &self.context.interrupt)?;
            match answer.trim().to_lowercase().as_str() {
                "y" | "yes" => {
                    allowed.insert(line);
                    return keep(&file, &allowed);
                }
                "n" | "no" => {
                    self.set_off(name, true)?;
                    server.stop();
                    return Err(format!(
                        "not started, as you said; `/mcp on {name}` asks again"
                    ));
                }
                _ => question = "Please type y or n.\nMay it? [y]es, [n]o: ".to_string(),
            }
        }
    }

    /// Carries out `/mcp`. False for any other line.
    pub fn command(&self, repl: &Repl, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let is_ours = words.next() == Some("/mcp");
        if is_ours {
            let said = self.carry_out(words.next(), words.next());
            repl.say(said.unwrap_or_else(|why| why));
        }
        is_ours
    }

    fn carry_out(&self, what: Option<&str>, name: Option<&str>) -> Result<String, String> {
        self.load()?;
        let all = self.all.borrow();
        let find = |name: &str| {
            let names = all.keys().cloned().collect::<Vec<_>>().join(", ");
            all.get(name)
                .ok_or(format!("There is no server {name:?}. Known: {names}."))
        };
        let mut told = String::new();
        match (what, name) {
            (None, _) => all.values().for_each(|it| told += &(it.line() + "\n")),
            (Some("off"), Some(name)) => {
                find(name)?.stop();
                self.set_off(name, true)?;
                told = format!("{name} is off: its tools are not offered any more.");
            }
            (Some(on @ ("on" | "restart")), Some(name)) => {
                let server = find(name)?;
                if on == "restart" {
                    server.stop();
                }
                self.may_start(server, true)?;
                self.set_off(name, false)?;
                server.switch_on();
                server
                    .prepare(&self.context.interrupt)
                    .map_err(|why| format!("{name}: {why}."))?;
                told = server.offered();
            }
            (Some(name), _) => told = find(name)?.whole(),
        }
        Ok(text_or(&told, "No servers."))
    }

    fn set_off(&self, name: &str, is_off: bool) -> Result<(), String> {
        let mut off = list(&off_file());
        match is_off {
            true if off.insert(name.to_string()) => keep(&off_file(), &off),
            false if off.remove(name) => keep(&off_file(), &off),
            _ => Ok(()),
        }
    }
}

/// The servers of this folder that are off.
fn off_file() -> PathBuf {
    Path::new(FOLDER).join("mcp.json")
}

fn list(path: &Path) -> BTreeSet<String> {
    let text = read_text(path, MAX_FILE).unwrap_or_default().0;
    serde_json::from_str(&text).unwrap_or_default()
}

/// Whole or not at all, and never where a link leads.
fn keep(path: &Path, list: &BTreeSet<String>) -> Result<(), String> {
    let text = serde_json::to_string_pretty(list).unwrap_or_default();
    let folder = make_own_folder(path.parent().unwrap_or(path));
    let written = folder.and_then(|()| replace(path, &text));
    written.map_err(failed("written", &path.to_string_lossy()))
}
