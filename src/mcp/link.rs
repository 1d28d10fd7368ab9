//! s17 · A link to a server that runs: messages are lines of JSON, each way through a named pipe.

use std::collections::HashMap;
use std::fs::{File, remove_file};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, after, bounded, select};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::caught::lock;
use crate::interrupt::Interrupt;
use crate::outcome::End;
use crate::process::output::{last_line, readable, scratch_path};
use crate::process::{self, Handle, News, Progress, Watch};
use crate::terminal::short;

/// What is longer is no line that a server would send: it is ended.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// How long a server may take nothing in, in milliseconds.
const STUCK: u16 = 10_000;

/// An answer, or what the server says went wrong.
type Answer = Result<Value, String>;

/// A process that answers. When it has ended, nobody waits for it any more.
pub struct Link {
    handle: Handle,
    to: Mutex<File>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    /// Who waits for which answer, and how far that is.
    waiting: HashMap<u64, (Sender<Answer>, String)>,
    ended: bool,
    list_changed: bool,
    problem: String,
}

impl Link {
    /// Starts the command, and calls `at_end` when nothing of it is left.
    pub fn start(
        command: &str,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Link>, String> {
        let failed = |error: &dyn ToString| format!("no pipes for it: {}", error.to_string());
        let paths = ["to", "from"].map(|name| scratch_path(name).0);
        for path in &paths {
            mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|it| failed(&it))?;
        }
        let open = |at: usize, read, write| {
            let mut options = File::options();
            let flags = if read { 0 } else { OFlag::O_NONBLOCK.bits() };
            let options = options.read(read).write(write).custom_flags(flags);
            options.open(&paths[at]).map_err(|it| failed(&it))
        };
        // Both ways, so that nobody has to wait until somebody opens the other end.
        let both = [open(0, true, true)?, open(1, true, true)?];
        let (to, from) = (open(0, false, true)?, open(1, true, false)?);
        let [input, output] = paths.each_ref().map(|path| path.display());
        let command = format!("{command} <'{input}' >'{output}'");
        let (handle, news) = process::start(&command, Path::new(""));
        let link = Arc::new(Link {
            handle,
            to: Mutex::new(to),
            state: Mutex::default(),
        });
        let (watched, read) = (link.clone(), link.clone());
        let watch = move || {
            for news in news {
                if let News::ShellExited(..) = news {
                    watched.handle.stop();
                }
            }
            drop(both); // from here on, the pipes have ends
            paths.map(remove_file).into_iter().for_each(drop);
            at_end();
        };
        let watch = thread::Builder::new().name("server".into()).spawn(watch);
        let reading = thread::Builder::new().name("server-out".into());
        let reading = reading.spawn(move || read.read(BufReader::new(from)));
        if watch.and(reading).is_err() {
            link.fail("no threads for it");
        }
        Ok(link)
    }

    /// Sends a request and waits for its answer, or until there is a reason not to.
    pub fn ask(
        &self,
        method: &str,
        mut params: Value,
        limit: Duration,
        stop: &Interrupt,
    ) -> Result<Value, End> {
        let (tell, answer) = bounded(1);
        let mut state = lock(&self.state);
        state.last_id += 1;
        let id = state.last_id;
        if !state.ended {
            state.waiting.insert(id, (tell, String::new()));
        }
        drop(state);
        if method == "tools/call" {
            params["_meta"] = json!({ "progressToken": id });
        }
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let (end, why) = select! {
            recv(answer) -> answer => return match answer {
                Ok(answer) => answer.map_err(End::Failed),
                Err(_) => Err(End::Failed(self.last_words())),
            },
            recv(stop.receiver()) -> _ => (End::Killed, "the user stopped it"),
            recv(after(limit)) -> _ => (End::TimedOut, "it took too long"),
        };
        lock(&self.state).waiting.remove(&id);
        self.notify(
            "notifications/cancelled",
            json!({ "requestId": id, "reason": why }),
        );
        Err(end)
    }

    /// Sends what has no answer.
    pub fn notify(&self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// A server that takes nothing in is ended: what was sent of a message cannot be taken back.
    fn send(&self, message: &Value) {
        let line = format!("{message}\n");
        let (mut left, mut to) = (line.as_bytes(), lock(&self.to));
        while !left.is_empty() {
            match to.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut room = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
                    if poll(&mut room, STUCK) == Ok(0) {
                        return self.fail("it takes nothing in, so it was stopped");
                    }
                }
                Err(_) => return, // it has ended, which is heard elsewhere
            }
        }
    }

    fn read(&self, mut from: BufReader<File>) {
        let mut line = Vec::new();
        while let Ok(1..) = from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            if line.len() as u64 == MAX_LINE {
                self.fail("it sent a line of more than 4 MiB, so it was stopped");
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(message) => self.take(message),
                Err(_) => {
                    let line = readable(&line);
                    let line = short(line.trim(), 60);
                    self.note(format!("it printed what is no JSON, passed over: {line}"));
                }
            }
            line.clear();
        }
        let mut state = lock(&self.state);
        state.ended = true;
        state.waiting.clear(); // who waits hears that
    }

    fn take(&self, mut message: Value) {
        let (id, params) = (message["id"].clone(), &message["params"]);
        match message["method"].as_str() {
            Some("ping") if !id.is_null() => {
                self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
            }
            Some(_) if !id.is_null() => {
                let error = json!({ "code": -32601, "message": "this client does not offer that" });
                self.send(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
            }
            Some("notifications/tools/list_changed") => lock(&self.state).list_changed = true,
            Some("notifications/progress") => {
                let id = params["progressToken"].as_u64().unwrap_or_default();
                if let Some((_, progress)) = lock(&self.state).waiting.get_mut(&id) {
                    let of = ["progress", "total", "message"].map(|field| match &params[field] {
                        Value::String(text) => short(text, 60),
                        number => number.as_f64().map_or(String::new(), |it| it.to_string()),
                    });
                    *progress = of.join(" ").trim_end().to_string();
                }
            }
            Some(_) => {}
            None => {
                let waits = id
                    .as_u64()
                    .and_then(|id| lock(&self.state).waiting.remove(&id));
                let Some((tell, _)) = waits else {
                    return self.note("it answered what nobody waits for; passed over".to_string());
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

    fn note(&self, problem: String) {
        lock(&self.state).problem = problem;
    }

    fn fail(&self, why: &str) {
        self.note(why.to_string());
        self.handle.stop();
    }

    /// Why it has ended.
    fn last_words(&self) -> String {
        let (problem, printed) = (self.problem(), self.handle.look().recent);
        match (problem.as_str(), last_line(&printed)) {
            ("", "") => "it has ended".to_string(),
            ("", line) => format!("it has ended; its last words: {}", short(line, 200)),
            _ => problem,
        }
    }

    /// What went wrong last; empty if nothing did.
    pub fn problem(&self) -> String {
        lock(&self.state).problem.clone()
    }

    /// False once it has ended.
    pub fn is_alive(&self) -> bool {
        !lock(&self.state).ended
    }

    /// True once after each message that its list of tools is another one.
    pub fn list_changed(&self) -> bool {
        std::mem::take(&mut lock(&self.state).list_changed)
    }

    /// How far the calls are that tell.
    pub fn progress(&self) -> String {
        let state = lock(&self.state);
        let told = state.waiting.values().map(|(_, told)| told.as_str());
        told.collect::<String>()
    }
}

impl Watch for Link {
    /// What it is, and the end of its standard error.
    fn look(&self) -> Progress {
        let now = self.handle.look();
        let what = now.what.rsplit_once(" <").map_or("", |(what, _)| what);
        Progress {
            what: what.to_string(),
            line: self.problem(),
            recent: now.recent,
            ..Progress::default()
        }
    }

    fn stop(&self) {
        self.handle.stop();
    }
}
