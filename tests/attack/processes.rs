//! Processes: what a command is started with, and what it may do to those above it.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::program::{
    Lesson, PATIENCE, clean_environment, eventually, gate, is_root, program,
};
use crate::support::server::{Server, reply_blocks, reply_text, reply_tool};
use crate::times;

const S01: &str = "s01_agent_loop";
const S08: &str = "s08_background_tasks";

/// A program that bash starts after this.
fn after(setting: &str, arguments: &str) -> String {
    let lesson = Lesson::new(S08);
    let script = format!("{setting}; exec {} {arguments}", program(S08).display());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(lesson.folder.path());
    clean_environment(&mut bash, lesson.folder.path());
    let output = bash.output().expect("bash");
    String::from_utf8_lossy(&output.stdout).to_string()
}

#[test]
fn commands_end_where_sigchld_is_ignored() {
    let shown = after("trap '' CHLD", r#"-p 'run "echo hi"'"#);
    assert!(shown.contains(" · hi\n"), "{shown}");
}

#[test]
fn what_the_loader_says_is_no_part_of_the_protocol() {
    let shown = after("export LD_PRELOAD=/nonexistent.so", r#"-p 'run "echo hi"'"#);
    assert!(
        shown.contains("hi\n") && !shown.contains("supervisor"),
        "{shown}"
    );
}

#[test]
fn a_file_that_may_not_grow_is_a_sentence() {
    let shown = after("ulimit -f 0", r#"--trace t.json -p 'run "true"'"#);
    assert!(shown.contains("t.json"), "{shown}");
    assert!(shown.contains("(no output)"), "{shown}");
    // What it starts is ended as usual (25 is SIGXFSZ).
    let shown = after(
        "ulimit -f 0",
        r#"-p 'run "(echo > f); echo ended by $(($? - 128))"'"#,
    );
    assert!(shown.contains("\nended by 25\n"), "{shown}");
}

/// One command, and what came of it.
pub fn told(lesson: Lesson, command: &str) -> String {
    let call = reply_tool("t1", "bash", json!({ "command": command }));
    let server = Server::start([call, reply_text("done")]);
    lesson
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .variable("ANTHROPIC_API_KEY", "sk-ant-a-secret")
        .argument("--yes")
        .line("go on")
        .run();
    let requests = server.requests();
    let last = requests[1].messages().last().expect("a message").clone();
    last["content"][0]["content"]
        .as_str()
        .expect("text")
        .to_string()
}

/// What an ordinary user's command is told.
fn told_to_user(command: &str) -> String {
    told(Lesson::new(S01).unprivileged(), command)
}

#[test]
fn a_command_does_not_read_the_key() {
    for place in ["$(ps -o ppid= -p $PPID | tr -d ' ')", "$PPID"] {
        let answer = told_to_user(&format!("tr '\\0' '\\n' < /proc/{place}/environ"));
        assert!(!answer.contains("a-secret"), "{answer}");
        assert!(answer.contains("Permission denied"), "{answer}");
    }
}

/// Nor for the program: through no descriptor, and not through its memory.
#[test]
fn a_command_cannot_speak_for_its_supervisor() {
    let answer = told_to_user(
        "program=$(ps -o ppid= -p $PPID | tr -d ' '); for pid in $PPID $program; do
            for file in fd/0 fd/1 fd/2 mem; do
                exec 7> /proc/$pid/$file && echo opened || echo refused
                echo '{\"Exited\":[0,0]}' > /proc/$pid/$file && echo written
            done
        done 2> errors; grep -c 'Permission denied' errors",
    );
    assert_eq!(answer, "refused\n".repeat(8) + "16", "{answer}");
}

/// What each look for what is below may miss: it forks, and exits, all the time.
#[test]
fn no_supervisor_leaves_while_anybody_is_below_it() {
    for _ in 0..times(20) {
        let lesson = Lesson::new(S08).file("hop", "sh hop &\n");
        let path = gate(lesson.folder.path(), "held");
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let mut held = options.open(path).expect("a gate");
        let told = lesson
            .line("run \"exec 9> held; for _ in 1 2 3 4; do sh hop & done; echo >&9\"")
            .run();
        told.has("that it started");
        let mut told = Vec::new();
        eventually("nobody holds it", || held.read_to_end(&mut told).is_ok());
        assert_eq!(told, b"\n");
    }
}

/// Each result says where its whole is, and the files together take no more than was said.
#[test]
fn long_outputs_have_a_total() {
    let tools: Vec<_> = ["700K", "700K", "700K", "1K"]
        .iter()
        .enumerate()
        .map(|(number, size)| {
            let command = format!("yes | head -c {size}; cat $TMPDIR/*/output-* | wc -c");
            json!({ "type": "tool_use", "id": format!("t{number}"), "name": "bash", "input": { "command": command } })
        })
        .collect();
    let server = Server::start([reply_blocks(&tools, "tool_use"), reply_text("done")]);
    let lesson = Lesson::new(S01);
    let temporary = lesson.folder.path().display().to_string();
    lesson
        .variable("TMPDIR", &temporary)
        .variable("MEANWHILE_OUTPUT_MIB", "1")
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .argument("--yes")
        .line("go on")
        .run();
    let last = server.requests()[1]
        .messages()
        .last()
        .expect("a message")
        .clone();
    let result = |number: usize| {
        last["content"][number]["content"]
            .as_str()
            .expect("text")
            .to_string()
    };
    let full = "; no room for such files is left in this session …]";
    assert!(result(0).contains("; the whole is in "), "{}", result(0));
    let cut = result(1);
    assert!(
        cut.contains("; its first 3317") && cut.contains(full),
        "{cut}"
    );
    let none = "; the whole could not be written to a file";
    assert!(
        result(2).contains(&format!("{none}{full}")),
        "{}",
        result(2)
    );
    assert!(result(3).ends_with("\n1048576"), "{}", result(3));
}

#[test]
fn too_many_that_are_left_running_are_refused() {
    let mut lesson = Lesson::new(S01);
    for _ in 0..205 {
        lesson = lesson.line("run \"sleep 600 &\"");
    }
    let told = lesson.run();
    let refused = "200 commands run, or have left something running; stop some first, such as `sleep 600 &`, `";
    let refused = format!(" s · ERROR: the command could not be started: {refused}");
    assert_eq!(told.out.matches(&refused).count(), 5);
}

/// Where there can be no thread, nobody could listen: the program says so and ends.
#[test]
fn without_a_thread_to_be_had_the_program_ends() {
    let lesson = Lesson::new(S08).unprivileged();
    let folder = lesson.folder.path();
    let user = fs::metadata(folder).expect("the folder").uid();
    let mut bash = Command::new("bash");
    clean_environment(&mut bash, folder);
    let script = "ulimit -u 1; exec ./program";
    bash.args(["-c", script]).current_dir(folder).uid(user);
    let mut child = bash.stdin(Stdio::piped()).spawn().expect("bash");
    eventually("the program ends", || {
        child.try_wait().expect("a child").is_some()
    });
}

/// Whether this process ignores a signal, and so does all that it starts: under `nohup`, say.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|it| it.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    mask.unwrap_or(0) >> (signal as u32 - 1) & 1 == 1
}

/// Where there can be no thread that listens to them, signals do what they always do.
#[test]
fn without_a_thread_to_be_had_signals_end_the_program() {
    let signals = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT];
    for signal in signals.into_iter().filter(|it| !is_ignored(*it)) {
        let lesson = Lesson::new(S08).unprivileged();
        let folder = lesson.folder.path();
        let mut bash = Command::new("bash");
        clean_environment(&mut bash, folder);
        let user = fs::metadata(folder).expect("the folder").uid();
        let program = match is_root() {
            true => folder.join("program"),
            false => program(S08),
        };
        let script = format!("ulimit -u 1; exec {} -p 'run \"true\"'", program.display());
        bash.args(["-c", &script]).current_dir(folder).uid(user);
        // The practice model thinks on the main thread.
        bash.env("MEANWHILE_THINKING_MS", "600000");
        let mut child = bash.stderr(Stdio::piped()).spawn().expect("bash");
        let says = child.stderr.take().expect("a pipe");
        let title = BufReader::new(says).lines().next();
        let id = Pid::from_raw(child.id() as i32);
        kill(id, signal).expect("it runs");
        let since = Instant::now();
        while child.try_wait().expect("a child").is_none() && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill(); // if it goes on
        let status = child.wait().expect("a child");
        assert_eq!(status.signal(), Some(signal as i32), "{title:?}");
    }
}
