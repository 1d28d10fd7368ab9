//! s17 · A server: its process, and the messages, lines of JSON, each way through a named pipe.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, after, bounded, select};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::Config;
use crate::background::Task;
use crate::caught::lock;
use crate::foreground::Foreground;
use crate::interrupt::Interrupt;
use crate::outcome::End;
use crate::process::output::{last_line, readable, scratch_path};
use crate::process::{self, Handle, News, Progress, Watch};
use crate::terminal::short;
use crate::tool::Tool;

/// What is longer is no line that a server would send: it is ended.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// Messages that may wait until the server takes them in.
const MAX_UNREAD: usize = 64;
/// So that each request of this program has a number of its own.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// One server of the configuration.
pub struct Server {
    pub name: String,
    pub config: Config,
    pub foreground: Foreground,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub on: bool,
    /// How often it was started since somebody switched it on.
    pub starts: usize,
    pub process: Option<Handle>,
    /// To its input. `None`: it does not run.
    pub to: Option<Sender<String>>,
    /// Who waits for which answer: a result, or what the server says went wrong.
    waiting: HashMap<u64, Sender<Result<Value, String>>>,
    /// How far a call is, in the server's words.
    pub progress: String,
    pub version: String,
    pub tools: Vec<Arc<Tool>>,
    pub list_changed: bool,
    /// What went wrong last with the process, and what the person was told last.
    pub problem: String,
    pub said: String,
}

impl Server {
    pub fn new(name: &str, config: Config, is_on: bool, foreground: &Foreground) -> Arc<Self> {
        let server = Server {
            name: name.to_string(),
            config,
            foreground: foreground.clone(),
            state: Mutex::default(),
        };
        server.switch(is_on);
        Arc::new(server)
    }

    /// On: from here on it may be started. Off: it is ended, and its tools are gone.
    pub fn switch(&self, on: bool) {
        let runs = lock(&self.state).to.is_some();
        if !on || !runs {
            self.end();
            *lock(&self.state) = State::default();
            lock(&self.state).on = on;
        }
    }

    pub fn is_on(&self) -> bool {
        lock(&self.state).on
    }

    pub fn tools(&self) -> Vec<Arc<Tool>> {
        lock(&self.state).tools.clone()
    }

    /// Starts its process, with a thread for each way, and one that waits until nothing of it is left.
    pub fn run(self: &Arc<Self>, command: &str, task: Task) -> io::Result<()> {
        let (input, output) = (pipe("to")?, pipe("from")?);
        let mut writer = File::options().write(true).open(&input.0)?;
        let reader = BufReader::new(File::open(&output.0)?);
        let (to, lines) = bounded::<String>(MAX_UNREAD);
        let (server, mine) = (self.clone(), to.clone());
        let spawn = |name: &str| thread::Builder::new().name(name.to_string());
        let mut write = move |line: String| writer.write_all(line.as_bytes());
        spawn("server-in").spawn(move || lines.iter().try_for_each(&mut write))?;
        spawn("server-out").spawn(move || server.read(reader, &mine))?;
        let pipes = [&input, &output].map(|(path, _)| path.display());
        let command = format!("{command} <'{}' >'{}'", pipes[0], pipes[1]);
        let (servers, started) = (self.foreground.servers.clone(), task.started);
        task.control.attach(self.clone());
        lock(&servers).push(task); // before it can end
        let (handle, news) = process::start(&command, Path::new(""));
        let mut state = lock(&self.state);
        state.problem.clear();
        (state.process, state.to) = (Some(handle.clone()), Some(to));
        drop(state);
        let watch = move || {
            for news in news {
                if let News::ShellExited(..) = news {
                    handle.stop();
                }
            }
            lock(&servers).retain(|task| task.started != started);
            drop((input, output)); // from here on, the pipes have ends
        };
        let watched = spawn("server").spawn(watch).map(drop);
        watched.inspect_err(|_| drop(lock(&self.foreground.servers).pop()))
    }

    /// Ends its process. Whoever waits for an answer hears that.
    pub fn end(&self) {
        let mut state = lock(&self.state);
        state.to = None;
        state.waiting.clear(); // who waits hears that
        state.process.iter().for_each(Handle::stop);
    }

    /// Sends a request and waits for its answer, or until there is a reason not to.
    pub fn ask(&self, mut it: Value, limit: Duration, stop: &Interrupt) -> Result<Value, End> {
        let ((tell, answer), mut state) = (bounded(1), lock(&self.state));
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        state.waiting.insert(id, tell);
        state.progress.clear();
        drop(state);
        it["id"] = json!(id);
        it["params"]["_meta"] = json!({ "progressToken": id });
        self.send(it);
        let (end, why) = select! {
            recv(answer) -> answer => return match answer {
                Ok(answer) => answer.map_err(End::Failed),
                Err(_) => Err(End::Failed(self.last_words())),
            },
            recv(stop.receiver()) -> _ => (End::Killed, "the user stopped it"),
            recv(after(limit)) -> _ => (End::TimedOut, "it took too long"),
        };
        lock(&self.state).waiting.remove(&id);
        let params = json!({ "requestId": id, "reason": why });
        self.send(json!({ "method": "notifications/cancelled", "params": params }));
        Err(end)
    }

    /// Sends a message. A server that takes nothing in is ended.
    pub fn send(&self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        let to = lock(&self.state).to.clone();
        match to.map(|to| to.try_send(format!("{message}\n"))) {
            Some(Err(TrySendError::Full(_))) => {
                self.note("it takes nothing in, so it was stopped");
                self.end();
            }
            None => self.end(),
            _ => {} // if it has ended, that is heard elsewhere
        }
    }

    fn read(&self, mut from: BufReader<File>, to: &Sender<String>) {
        let mut line = Vec::new();
        while let Ok(1..) = from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            if line.len() as u64 == MAX_LINE {
                self.note("it sent a line of more than 4 MiB, so it was stopped");
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(message) => self.take(message),
                Err(_) => {
                    let line = readable(&line);
                    let line = short(line.trim(), 60);
                    self.note(&format!("it printed what is no JSON, passed over: {line}"));
                }
            }
            line.clear();
        }
        // A newer process may be in its place.
        let now = lock(&self.state).to.clone();
        if now.is_some_and(|now| now.same_channel(to)) {
            self.end();
        }
    }

    fn take(&self, mut message: Value) {
        let (id, params) = (message["id"].clone(), &message["params"]);
        match message["method"].as_str() {
            Some("ping") if !id.is_null() => self.send(json!({ "id": id, "result": {} })),
            Some(_) if !id.is_null() => {
                let error = json!({ "code": -32601, "message": "this client does not offer that" });
                self.send(json!({ "id": id, "error": error }));
            }
            Some("notifications/tools/list_changed") => lock(&self.state).list_changed = true,
            Some("notifications/progress") => {
                let of = ["progress", "total", "message"].map(|field| match &params[field] {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    number => number.to_string(),
                });
                lock(&self.state).progress = short(of.join(" ").trim_end(), 80);
            }
            Some(_) => {}
            None => {
                let id = id.as_u64().unwrap_or_default();
                let Some(tell) = lock(&self.state).waiting.remove(&id) else {
                    return self.note("it answered what nobody waits for; passed over");
                };
                let error = &message["error"];
                let answer = match error["message"].as_str().unwrap_or_default() {
                    _ if error.is_null() => Ok(message["result"].take()),
                    said => Err(format!("it refuses: {}", short(said, 500))),
                };
                let _ = tell.send(answer);
            }
        }
    }

    fn note(&self, problem: &str) {
        lock(&self.state).problem = problem.to_string();
    }

    /// Why it has ended.
    fn last_words(&self) -> String {
        let now = self.look();
        match (now.line.as_str(), last_line(&now.recent)) {
            ("", "") => "it has ended".to_string(),
            ("", line) => format!("it has ended; its last words: {}", short(line, 200)),
            _ => now.line,
        }
    }
}

impl Watch for Server {
    /// What it is, what went wrong, and the end of its standard error.
    fn look(&self) -> Progress {
        let state = lock(&self.state);
        let printed = state.process.as_ref().map(|it| it.look().recent);
        let (Ok(what) | Err(what)) = self.config.line();
        Progress {
            what,
            line: state.problem.clone(),
            recent: printed.unwrap_or_default(),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.end();
    }
}

/// A named pipe. It is open both ways, so that nobody has to wait until somebody opens the other end.
fn pipe(name: &str) -> io::Result<(PathBuf, File)> {
    let (path, _) = scratch_path(name);
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let both = File::options().read(true).write(true).open(&path)?;
    Ok((path, both))
}
