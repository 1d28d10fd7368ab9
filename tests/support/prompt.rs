//! What the tests of the prompt that never stops reading share, from s09 on: keys, gates at which
//! commands wait, the trace that says what has happened, the requests that a server got.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::Value;

use super::program;
use super::server::Server;
use super::terminal::{Seat, Terminal, eventually};

pub const TRACE: &str = "trace.json";

pub const CTRL_B: &str = "\x02";
pub const CTRL_C: &str = "\x03";
pub const CTRL_D: &str = "\x04";
pub const CTRL_G: &str = "\x07";
pub const CTRL_R: &str = "\x12";
pub const LEFT: &str = "\x1b[D";

/// Starts a lesson that writes its trace, and waits until its screen ends like this.
#[track_caller]
pub fn at_prompt(seat: Seat, prompt: &str) -> Terminal {
    let terminal = seat.argument("--trace").argument(TRACE).start();
    terminal.until_ends(prompt);
    terminal
}

/// The seat of a lesson whose model is this server.
pub fn served(name: &str, server: &Server) -> Seat {
    let seat = Seat::new(name).variable("ANTHROPIC_BASE_URL", &server.url());
    seat.variable("ANTHROPIC_API_KEY", "sk-ant-test")
}

/// A place where a command waits (`cat NAME`) until [`open`].
pub fn gate(terminal: &Terminal, name: &str) {
    program::gate(terminal.folder.path(), name);
}

/// Waits until the command waits, and lets it go on.
pub fn open(terminal: &Terminal, name: &str) {
    fs::write(
        terminal.folder.path().join(name),
        format!("through {name}\n"),
    )
    .expect("an open gate");
}

/// Waits until a line of the trace holds all of these: that has happened.
#[track_caller]
pub fn until_traced(terminal: &Terminal, words: &[&str]) {
    eventually(&format!("{words:?} happens"), || {
        let trace = fs::read_to_string(terminal.folder.path().join(TRACE)).unwrap_or_default();
        trace
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    });
}

/// Waits until a task that has ended is on the bus: a moment after its end is traced, its thread is
/// gone.
#[track_caller]
pub fn until_on_the_bus(terminal: &Terminal, task: &str) {
    let threads = format!("/proc/{}/task", terminal.id());
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
    eventually("its thread has ended", || {
        let threads = fs::read_dir(&threads).into_iter().flatten().flatten();
        !threads.flat_map(name).any(|name| name.trim_end() == task)
    });
}

/// The process id that a command wrote.
#[track_caller]
pub fn pid(folder: &Path, name: &str) -> Pid {
    let mut text = String::new();
    eventually("the command runs", || {
        text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.ends_with('\n')
    });
    Pid::from_raw(text.trim().parse().expect("a process id"))
}

/// One that has died and only waits for its parent to notice is gone, too.
pub fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(pid, None) == Err(Errno::ESRCH) || stat.contains(") Z ")
}

#[track_caller]
pub fn leaves_everything_as_it_was(terminal: &mut Terminal, code: u32) {
    assert_eq!(terminal.wait(), code, "{}", terminal.text());
    assert!(
        terminal.is_as_before(),
        "the terminal's settings were not put back"
    );
    assert!(!terminal.marks_pastes(), "bracketed paste was left on");
}

/// The blocks of the last message of a request, as short words.
pub fn last_message(server: &Server, request: usize) -> Vec<String> {
    let requests = server.requests();
    let message = requests[request]
        .messages()
        .last()
        .expect("a message")
        .clone();
    let blocks = message["content"].as_array().cloned().unwrap_or_default();
    let text = |block: &Value, field: &str| block[field].as_str().unwrap_or_default().to_string();
    let word = |block: &Value| match (text(block, "type").as_str(), text(block, "text")) {
        ("tool_result", _) => format!("result: {}", text(block, "content")),
        (_, text) => match text.strip_prefix("<task-notification task=\"") {
            Some(rest) => format!("delivered: {}", rest.split('"').next().unwrap_or_default()),
            None => text,
        },
    };
    blocks.iter().map(word).collect()
}
