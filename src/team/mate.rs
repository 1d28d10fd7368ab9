//! s20 · A mate, from both sides: how the lead starts it, and what its own process does.

use std::collections::BTreeMap;
use std::fs::{File, remove_file};
use std::io::{Write, stdin, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::{Deserialize, Serialize};

use super::Team;
use super::post::{Mail, Post};
use crate::background::{BackgroundExecutor, Control, Kind, Task};
use crate::event::Events;
use crate::message::Reply;
use crate::model::{Model, ModelError, Request};
use crate::notification::TaskId;
use crate::options::GIVEN;
use crate::outcome::{End, Outcome};
use crate::process::output::scratch_path;
use crate::process::{Handle, News, Progress, Watch, heard};
use crate::terminal::quit;
use crate::tools::background::announced;

/// How long a mate may take to come up, and to end its turn when it is to leave.
pub const START: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(60);

/// The first line that a mate reads.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Brief {
    /// The key, among others. They are in no file, and in no environment.
    pub variables: BTreeMap<String, String>,
    pub worktree: bool,
    pub turns: u64,
    pub tokens: u64,
}

impl Brief {
    /// Says that this process can no longer be looked into, then reads the line.
    pub fn read() -> Option<Self> {
        let mut line = String::new();
        writeln!(stdout(), "ready").ok()?;
        stdin().read_line(&mut line).ok()?;
        let brief: Brief = serde_json::from_str(&line).ok()?;
        GIVEN.set(brief.variables.clone()).ok()?;
        Some(brief)
    }
}

/// Our end of the pipe that is a mate's standard input. When this is dropped, the mate leaves.
pub struct Line {
    to: File,
    /// Dropped when the mate holds its own end.
    both: Option<File>,
    ready: Receiver<()>,
    _leave: Sender<()>,
}

impl Line {
    /// Starts a mate, as a background task. It has no key, and waits for a line.
    pub fn start(
        executor: &mut BackgroundExecutor,
        events: Events,
        (post, name): (Post, &str),
        options: &str,
    ) -> Result<Self, String> {
        let id = TaskId::new(name)?;
        executor.expect_new(&id)?;
        let failed = |error: &dyn ToString| format!("no pipe for {name}: {}", error.to_string());
        let pipe = scratch_path("mate").0;
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|it| failed(&it))?;
        let open = |read| {
            let mut options = File::options();
            options.read(read).write(true);
            options.custom_flags(OFlag::O_NONBLOCK.bits());
            options.open(&pipe).map_err(|it| failed(&it))
        };
        let (both, to) = (open(true)?, open(false)?); // so that nobody waits for the other end
        let program = std::env::current_exe().map_err(|it| failed(&it))?;
        let [program, place, quoted] = [&program, &post.0.join(name), &pipe].map(|it| quote(it));
        let command =
            format!("exec <{quoted}; rm -f {quoted}; exec {program} --mate {place}{options}");
        let ((tell, ready), (_leave, left)) = (bounded(1), bounded(0));
        let member = name.to_string();
        let job = move |control: &Control| {
            announced(&events, &id, "mate", || {
                let (handle, news, bell) = heard::start(&command, Path::new(""));
                let watch = Mate(handle.clone(), post.clone(), member.clone());
                control.attach(Arc::new(watch));
                let mut outcome = until_ended(&handle, &news, bell, tell, left);
                let _ = remove_file(pipe); // it is gone, unless the shell did not come so far
                outcome.output = post.line(&member);
                post.give_back(&member);
                post.ring_all(); // its tasks are free again
                outcome
            })
        };
        executor.start(Task::new(Kind::Other("mate"), &TaskId::new(name)?), job)?;
        let both = Some(both);
        Ok(Line {
            to,
            both,
            ready,
            _leave,
        })
    }

    /// True once the mate waits for its line.
    pub fn is_ready(&mut self) -> bool {
        let ready = self.ready.recv_timeout(START).is_ok();
        self.both = None;
        ready
    }

    pub fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.to.write_all(format!("{line}\n").as_bytes())
    }
}

fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn until_ended(
    handle: &Handle,
    news: &Receiver<News>,
    bell: Receiver<()>,
    ready: Sender<()>,
    left: Receiver<()>,
) -> Outcome {
    let (mut bell, mut left, mut grace, mut ready) = (bell, left, never(), Some(ready));
    loop {
        select! {
            recv(bell) -> _ => {
                ready.take().map(|ready| ready.send(()));
                bell = never();
            }
            recv(left) -> _ => (left, grace) = (never(), after(GRACE)),
            recv(grace) -> _ => handle.stop(),
            recv(news) -> news => match news {
                Ok(News::Ended(outcome)) => return outcome,
                Ok(News::ShellExited(..)) => {} // its own supervisors end what it left
                Err(_) => return Outcome::new(End::Lost, ""),
            },
        }
    }
}

struct Mate(Handle, Post, String);

impl Watch for Mate {
    fn look(&self) -> Progress {
        let line = self.1.line(&self.2);
        Progress {
            what: format!("a mate in {}", self.1.0.display()),
            line,
            ..self.0.look()
        }
    }

    fn stop(&self) {
        self.0.stop();
    }
}

/// A model whose conversation is that of a member: what it has been told is moved, what it costs is
/// counted, and of a mate the last text of each turn goes to the lead.
pub struct Member {
    pub model: Arc<dyn Model>,
    pub team: Team,
}

impl Model for Member {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        if let Some(why) = self.team.used_up() {
            self.team.report(&why);
            quit(1);
        }
        self.team.note(|state| state.doing = "thinks".to_string());
        let reply = self.model.reply(request);
        self.team.kept(); // the session has it by now
        let (tokens, call, text) = match &reply {
            Ok(reply) => {
                let (it, calls) = (reply.usage, reply.tool_calls());
                let tokens = it.input_tokens + it.output_tokens;
                let cached = it.cache_creation_input_tokens + it.cache_read_input_tokens;
                let call = calls.last().map(|call| call.name.to_string());
                (tokens + cached, call, reply.text())
            }
            Err(why) => (0, None, format!("ERROR: {why}")),
        };
        let is_last = call.is_none();
        self.team.note(|state| {
            state.tokens += tokens;
            state.turns += u64::from(is_last);
            state.doing = call.map_or("waits".to_string(), |tool| format!("runs {tool}"));
        });
        if is_last && !text.is_empty() {
            self.team.report(&text);
        }
        reply
    }

    fn describe(&self) -> String {
        self.model.describe()
    }
}

/// A message to several, of which each gets it or is named.
pub fn send(post: &Post, from: &str, to: &str, text: &str) -> Result<String, String> {
    let mut problems = Vec::new();
    for to in to.split(',').map(str::trim) {
        let (from, to, text) = (from.to_string(), to.to_string(), text.to_string());
        problems.extend(post.send(&Mail { from, to, text }).err());
    }
    match problems.is_empty() {
        true => Ok(format!("sent to {to}; an answer comes by itself.")),
        false => Err(format!("{}.", problems.join("; "))),
    }
}
