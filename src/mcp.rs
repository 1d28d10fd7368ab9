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

/// What starts a server.
#[derive(PartialEq)]
struct Start {
    /// For bash, which becomes the server; or why there is nothing to start.
    line: Result<String, String>,
    /// Ours, so that nobody need be asked. No file can say that.
    built_in: bool,
}

/// What a file says of one: a command without a shell, and variables of its environment.
#[derive(Deserialize)]
struct Config {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Config {
    fn line(self) -> Result<String, String> {
        let command = self
            .command
            .ok_or("it has no `command`: only servers over stdio are known here")?;
        let words = [command].into_iter().chain(self.args);
        let words = words.map(|word| quoted(&word)).collect::<Vec<_>>();
        let set = self
            .env
            .iter()
            .map(|(name, value)| quoted(&format!("{name}={value}")));
        let set = set.map(|it| format!("export {it}; ")).collect::<String>();
        Ok(format!("{set}exec {}", words.join(" ")))
    }
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn configured() -> Result<BTreeMap<String, Start>, String> {
    let built_in = Start {
        line: Ok(format!("exec bash -c {}", quoted(TIME))),
        built_in: true,
    };
    let mut all = BTreeMap::from([("time".to_string(), built_in)]);
    let text = match read_text(CONFIG.as_ref(), MAX_FILE) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(all),
        text => text.map_err(failed("read", CONFIG))?.0,
    };
    let servers = serde_json::from_str(&text)
        .and_then(|file: Value| BTreeMap::<String, Config>::deserialize(&file["mcpServers"]))
        .map_err(|why| format!("{CONFIG} holds no servers: {why}."))?;
    all.extend(servers.into_iter().map(|(name, config)| {
        (
            name,
            Start {
                line: config.line(),
                built_in: false,
            },
        )
    }));
    Ok(all)
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
        let (mut all, off, starts) = (self.all.borrow_mut(), list(&off_file()), configured()?);
        let old = all.extract_if(.., |name, server| starts.get(name) != Some(&server.start));
        old.for_each(|(_, server)| server.switch(false));
        for (name, start) in starts {
            let is_on = !off.contains(&name);
            let new = |name: &String| Server::new(name, start, is_on, &self.foreground);
            all.entry(name).or_insert_with_key(new);
        }
        Ok(())
    }

    /// The agent with the tools of all servers that are on, as they are now.
    pub fn offer(&self, agent: &Agent) -> Agent {
        let mut agent = agent.clone();
        for server in self.all.borrow().values().filter(|server| server.is_on()) {
            let ready = self
                .may_start(server, false)
                .and_then(|()| server.prepare());
            ready.unwrap_or_else(|why| server.say_once(&why));
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
        let (name, command) = (&server.name, server.start.line.clone()?);
        let here = std::env::current_dir().map_err(|why| why.to_string())?;
        let line = format!("{}: {command}", here.display());
        let file = state_file("mcp.json").unwrap_or_default();
        let mut allowed = list(&file);
        if self.open || server.start.built_in || allowed.contains(&line) {
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
        let answer = (context.ask)(&question, &context.interrupt)?
            .trim()
            .to_lowercase();
        if ["y", "yes"].contains(&answer.as_str()) {
            allowed.insert(line);
            return keep(&file, &allowed);
        }
        self.set_off(name, true)?;
        server.switch(false);
        Err(format!(
            "not started, as you said; `/mcp on {name}` asks again"
        ))
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
                self.set_off(last, true)?;
                Ok(format!(
                    "{last} is off: its tools are not offered any more."
                ))
            }
            Some(on @ ("on" | "restart")) => {
                if on == "restart" {
                    server.switch(false);
                }
                self.may_start(server, true)?;
                self.set_off(last, false)?;
                server.switch(true);
                let ready = server.prepare();
                ready.map_err(|why| format!("{last}: {why}."))?;
                Ok(server.offered())
            }
            _ => {
                let (told, now) = (server.offered(), server.look());
                let printed = text_or(&now.recent, "nothing");
                let command = now.what;
                Ok(format!(
                    "{told}\n  its command: {command}\n  its standard error: {printed}"
                ))
            }
        }
    }

    fn set_off(&self, name: &str, is_off: bool) -> Result<(), String> {
        let mut off = list(&off_file());
        let changed = match is_off {
            true => off.insert(name.to_string()),
            false => off.remove(name),
        };
        changed.then(|| keep(&off_file(), &off)).unwrap_or(Ok(()))
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
