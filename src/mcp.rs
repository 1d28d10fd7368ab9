//! s17 · MCP: tools of servers that somebody else wrote. A server is a process of its own, and speaks
//! JSON-RPC over its standard input and output.
//!
//! What a server says is text from outside: it reaches the model in marked blocks only.

mod offer;
mod server;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::agent::Agent;
use crate::foreground::Foreground;
use crate::options::Options;
use crate::permission::behind_bars;
use crate::process::Watch;
use crate::process::output::text_or;
use crate::repl::{Repl, state_file};
use crate::session::FOLDER;
use crate::terminal::person_is_there;
use crate::tools::files::{failed, make_own_folder, read_text, replace};
use server::Server;

const CONFIG: &str = ".mcp.json";
/// Bytes of a configuration, and of a list of ours.
const MAX_FILE: u64 = 1 << 20;
/// The server that is built in.
const TIME: &str = include_str!("mcp/time.sh");

/// What is configured: a command without a shell, and variables of its environment.
#[derive(Default, PartialEq, Deserialize)]
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

impl Config {
    fn all() -> Result<BTreeMap<String, Config>, String> {
        let built_in = Config {
            command: Some("bash".to_string()),
            args: vec!["-c".to_string(), TIME.to_string()],
            built_in: true,
            ..Config::default()
        };
        let mut all = BTreeMap::from([("time".to_string(), built_in)]);
        let text = match read_text(CONFIG.as_ref(), MAX_FILE) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(all),
            text => text.map_err(failed("read", CONFIG))?.0,
        };
        let servers = serde_json::from_str(&text)
            .and_then(|file: Value| BTreeMap::deserialize(&file["mcpServers"]));
        all.append(&mut servers.map_err(|why| format!("{CONFIG} holds no servers: {why}."))?);
        Ok(all)
    }

    /// For bash, which becomes the command.
    fn line(&self) -> Result<String, String> {
        let command = self.command.clone();
        let command =
            command.ok_or("it has no `command`: only servers over stdio are known here")?;
        let set = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let words = set.chain([command]).chain(self.args.clone());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
        let quoted = words.map(|word| match !word.is_empty() && word.chars().all(plain) {
            true => format!(" {word}"),
            false => format!(" '{}'", word.replace('\'', r"'\''")),
        });
        Ok(format!("exec env{}", quoted.collect::<String>()))
    }
}

/// All servers of this folder. Those that are on start with the first request.
pub struct Servers {
    foreground: Foreground,
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
        let old = all.extract_if(.., |name, server| configs.get(name) != Some(&server.config));
        old.for_each(|(_, server)| server.switch(false));
        for (name, config) in configs {
            let is_on = !off.contains(&name);
            let new = |name: &String| Server::new(name, config, is_on, &self.foreground);
            all.entry(name).or_insert_with_key(new);
        }
        Ok(())
    }

    /// Starts the servers that are on and may be started, and asks what they have. What goes wrong is
    /// said.
    pub fn prepare(&self) {
        for server in self.all.borrow().values().filter(|server| server.is_on()) {
            let allowed = self.may_start(server, false);
            let ready = allowed.and_then(|()| server.prepare());
            ready.unwrap_or_else(|why| server.say_once(&why));
        }
    }

    /// The agent with the tools of all servers that are on, as they are now.
    pub fn offer(&self, agent: &Agent) -> Agent {
        let mut agent = agent.clone();
        for server in self.all.borrow().values().filter(|server| server.is_on()) {
            for tool in server.tools() {
                match agent.toolbox.get(tool.name) {
                    Ok(_) => server.say_once("two tools have one name"),
                    Err(_) => agent.toolbox.tools.push(tool),
                }
            }
        }
        agent
    }

    /// Asks the person, once for each folder and command. Where nobody can be asked, a line that was
    /// typed is the answer.
    fn may_start(&self, server: &Server, typed: bool) -> Result<(), String> {
        let (name, command) = (&server.name, server.config.line()?);
        let here = std::env::current_dir().map_err(|why| why.to_string())?;
        let line = format!("{}: {command}", here.display());
        let file = state_file("mcp.json").unwrap_or_default();
        if self.open || server.config.built_in || list(&file).contains(&line) {
            return Ok(());
        }
        if !self.asks {
            let why = "not started yet: nobody was there to allow it";
            let why = format!("{why}; `/mcp on {name}` does: {command}");
            return typed.then_some(()).ok_or(why);
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
        server.switch(false);
        keep(&off_file(), name, true)?;
        let again = format!("`/mcp on {name}` asks again");
        Err(format!("not started, as you said; {again}"))
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
        let Some(last) = name.or(what) else {
            let lines = all.values().map(|server| server.line());
            return Ok(lines.collect::<Vec<_>>().join("\n"));
        };
        let server = all.get(last).ok_or_else(|| {
            let names = all.keys().cloned().collect::<Vec<_>>().join(", ");
            format!("There is no server {last:?}. Known: {names}.")
        })?;
        match what.filter(|_| name.is_some()) {
            Some("off") => {
                server.switch(false);
                keep(&off_file(), last, true)?;
                let told = "its tools are not offered any more";
                Ok(format!("{last} is off: {told}."))
            }
            Some(on @ ("on" | "restart")) => {
                if on == "restart" {
                    server.switch(false);
                }
                self.may_start(server, true)?;
                keep(&off_file(), last, false)?;
                server.switch(true);
                let ready = server.prepare();
                ready.map_err(|why| format!("{last}: {why}."))?;
                Ok(server.offered())
            }
            _ => {
                let (told, now) = (server.offered(), server.look());
                let printed = text_or(&now.recent, "nothing");
                let told = format!("{told}\n  its command: {}", now.what);
                Ok(format!("{told}\n  its standard error: {printed}"))
            }
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

/// Keeps a list with an entry, or without it: whole or not at all, and never where a link leads.
fn keep(path: &Path, entry: &str, is_in: bool) -> Result<(), String> {
    let mut list = list(path);
    let changed = match is_in {
        true => list.insert(entry.to_string()),
        false => list.remove(entry),
    };
    if !changed {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(&list).unwrap_or_default();
    let folder = make_own_folder(path.parent().unwrap_or(path));
    let written = folder.and_then(|()| replace(path, &text));
    written.map_err(failed("written", &path.to_string_lossy()))
}
