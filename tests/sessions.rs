//! Sessions, as a person and a model meet them: programs that are killed and started again, a server
//! that refuses what the real one would, and files that end anywhere.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use meanwhile::agent::Agent;
use meanwhile::background::{Kind, Task};
use meanwhile::caught::lock;
use meanwhile::delivery::note;
use meanwhile::event::Event;
use meanwhile::message::{Message, Role, push_note, push_user, take_back_prompt};
use meanwhile::session::{FOLDER, Session, To};
use meanwhile::tool::{Access, Context, Tool};
use support::program::{Lesson, clean_environment, eventually, eventually_or, gate, program};
use support::prompt::{at_prompt, leaves_everything_as_it_was};
use support::server::{Answer, Server, held, reply_text, reply_tool};
use support::session::{
    By, Chance, calls, delivered, executor, faults, finished, id as task, says, task_of, toolbox,
    unwatched,
};
use support::terminal::Seat;
use tempfile::TempDir;

const S13: &str = "s13_sessions";
const ENDED: &str = "ERROR: ended with the program";
const NO_RESULT: &str = "the program ended before this ran";

/// A program that is typed into, at a pipe.
struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
    _lesson: Lesson,
}

impl Talk {
    fn with(mut lesson: Lesson) -> Self {
        let mut child = lesson.start();
        let shown = Arc::<Mutex<String>>::default();
        let (mut stdout, sink) = (child.stdout.take().expect("a pipe"), shown.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                sink.lock().expect("a text").push_str(&text);
            }
        });
        Talk {
            stdin: child.stdin.take(),
            child,
            shown,
            _lesson: lesson,
        }
    }

    fn line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("an open pipe");
        writeln!(stdin, "{line}").expect("the program reads");
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("a text").clone()
    }

    #[track_caller]
    fn until_shows(&self, text: &str) {
        eventually_or(text, || self.shown(), || self.shown().contains(text));
    }

    fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }

    /// Closes the pipe and waits for the end; its exit code.
    fn leave(&mut self) -> Option<i32> {
        self.stdin = None;
        self.child.wait().expect("its end").code()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_folder(folder: &Path) -> Lesson {
    Lesson::new(S13).within(folder)
}

fn served(folder: &Path, server: &Server) -> Lesson {
    let lesson = in_folder(folder).variable("ANTHROPIC_BASE_URL", &server.url());
    lesson.variable("ANTHROPIC_API_KEY", "sk-ant-test")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(FOLDER)).into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// The one session there is.
#[track_caller]
fn the_file(folder: &Path) -> PathBuf {
    let files = files(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn id(path: &Path) -> String {
    path.file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("a file");
    file.write_all(text.as_bytes()).expect("a write");
}

/// How often a text stands in the conversation of a request.
fn times(messages: &[Value], text: &str) -> usize {
    json!(messages).to_string().matches(text).count()
}

// ---- Programs ----

#[test]
fn what_was_said_is_there_after_sigkill_and_a_task_that_ran_is_told_once() {
    let folder = folder();
    gate(folder.path(), "gate");
    let run = json!({ "id": "build", "command": "cat gate" });
    let server = Server::start([reply_tool("t1", "bg_bash", run), reply_text("It builds.")]);
    let mut talk = Talk::with(served(folder.path(), &server).argument("--yes"));
    talk.line("build it");
    talk.until_shows("It builds.");
    let file = the_file(folder.path());
    eventually("it is kept", || {
        fs::read_to_string(&file)
            .expect("a file")
            .contains("It builds.")
    });
    talk.kill();
    let name = id(&file);

    server.push(reply_text("I see."));
    let mut talk = Talk::with(
        served(folder.path(), &server)
            .argument("--resume")
            .argument(&name),
    );
    talk.until_shows(&format!("◆ build: {ENDED}"));
    talk.line("what now?");
    talk.until_shows("I see.");
    let requests = server.requests();
    let messages = requests.last().expect("a request").messages();
    assert_eq!(times(messages, "It builds."), 1);
    assert_eq!(times(messages, ENDED), 1, "{messages:?}");
    assert_eq!(times(messages, "<task-notification"), 1);
    talk.kill();

    server.push(reply_text("Nothing new."));
    let resume = served(folder.path(), &server)
        .argument("--resume")
        .argument(&name);
    let out = resume.line("and now?").run();
    out.has("Nothing new.").has_not("◆");
    let requests = server.requests();
    assert_eq!(
        times(requests.last().expect("a request").messages(), ENDED),
        1
    );
}

/// When SIGKILL ends a program in the middle of its work.
enum Death {
    After(Duration),
    /// When so many more records stand in its session.
    Records(usize),
}

/// The numbers of the lines that were typed, in the texts of a message.
fn typed(message: &Value) -> Vec<u64> {
    let texts = message["content"].as_array().into_iter().flatten();
    let lines = texts.filter_map(|block| block["text"].as_str()?.strip_prefix("line "));
    lines.filter_map(|number| number.parse().ok()).collect()
}

/// A model that uses tools in two turns of three, and names everything by the line.
fn answer_to_lines(body: &Value) -> Answer {
    let messages = body["messages"].as_array().expect("a conversation");
    let content = &messages.last().expect("a message")["content"];
    let blocks = content.as_array().expect("blocks");
    let is_result = |block: &Value| block["type"] == "tool_result";
    let result = blocks.iter().rposition(is_result);
    let new = json!({ "content": blocks[result.map_or(0, |at| at + 1)..] });
    let last = messages.iter().flat_map(typed).last().expect("a line");
    let (call, echo) = (format!("c{last}"), format!("echo out {last}"));
    match typed(&new).last().map(|number| number % 3) {
        Some(0) => {
            let input = json!({ "id": format!("task-{last}"), "command": echo });
            reply_tool(&call, "bg_bash", input)
        }
        Some(1) => reply_tool(&call, "bash", json!({ "command": echo })),
        None if result.is_none() => reply_text("noted"),
        _ => reply_text(&format!("reply {last}.")),
    }
}

/// The file of the session, if there is one.
fn kept(folder: &Path) -> Vec<u8> {
    let file = files(folder).pop();
    file.map_or(Vec::new(), |path| fs::read(path).expect("a file"))
}

/// Goes on with the session of the folder, or begins it.
fn again(folder: &Path, server: &Server) -> Lesson {
    let lesson = served(folder, server).argument("--yes");
    match files(folder).first() {
        Some(path) => lesson.argument("--resume").argument(&id(path)),
        None => lesson,
    }
}

/// Types lines until the program is killed. Those whose turns it showed to be over; how long the
/// session was then, as that has been synced; and all that it showed.
fn until_killed(
    folder: &Path,
    server: &Server,
    death: &Death,
    line: &mut u64,
) -> (Vec<u64>, usize, String) {
    let records = || kept(folder).iter().filter(|byte| **byte == b'\n').count();
    let (begun, before, mut synced) = (Instant::now(), records(), kept(folder).len());
    let mut talk = Talk::with(again(folder, server));
    let mut over = Vec::new();
    loop {
        *line += 1;
        talk.line(&format!("line {line}"));
        let reply = format!("reply {line}.");
        loop {
            let is_due = match death {
                Death::After(time) => begun.elapsed() >= *time,
                Death::Records(more) => records() >= before + more,
            };
            let shown = talk.shown();
            if is_due {
                talk.kill();
                return (over, synced, shown);
            }
            let rest = shown.split_once(&reply).map(|(_, rest)| rest);
            if rest.is_some_and(|rest| rest.contains("s13 >> ")) {
                over.push(*line);
                synced = kept(folder).len();
                break;
            }
            thread::yield_now();
        }
    }
}

/// The real program is killed 8 times, and goes on each time; then it is let be. Each second time the
/// end of its file is lost as well, at any byte behind what has been synced. A line that was sent and
/// a turn that was over are there all the same, and each task is told once.
fn killed_again_and_again(seed: u64) -> usize {
    let (folder, mut chance, mut torn) = (folder(), Chance::new(seed), 0);
    let folder = folder.path();
    let server = Server::answering(answer_to_lines);
    let (mut line, mut over) = (0, Vec::new());
    for _ in 0..8 {
        let death = match chance.one_in(2) {
            true => Death::After(Duration::from_micros(chance.below(200_000) as u64)),
            false => Death::Records(1 + chance.below(12)),
        };
        let (more, mut synced, shown) = until_killed(folder, &server, &death, &mut line);
        torn += shown.matches(" was torn").count();
        over.extend(more);
        let file = kept(folder);
        let mut end = 0;
        for record in file.split_inclusive(|byte| *byte == b'\n') {
            end += record.len();
            if String::from_utf8_lossy(record).contains("\"line ") {
                synced = synced.max(end);
            }
        }
        if chance.one_in(2) && file.len() > synced {
            let end = synced + chance.below(file.len() - synced);
            fs::write(&files(folder)[0], &file[..end]).expect("a file");
        }
    }
    line += 3 - line % 3 + 2; // a line of which nothing is started
    let last = again(folder, &server).line(&format!("line {line}"));
    torn += last.run().out.matches(" was torn").count();
    let requests = server.requests();
    let there = requests.last().expect("a request").messages();
    let sent = requests.iter().flat_map(|request| request.messages());
    let sent: BTreeSet<u64> = sent.flat_map(typed).collect();
    let lines: Vec<u64> = there.iter().flat_map(typed).collect();
    assert_eq!(lines, Vec::from_iter(sent), "seed {seed}: each line once");
    for number in over {
        let replies = times(there, &format!("\"reply {number}.\""));
        assert_eq!(
            replies, 1,
            "seed {seed}: the turn of line {number} was over"
        );
    }
    let (begun, told) = told(&fs::read_to_string(the_file(folder)).expect("a file"));
    assert!(told.iter().all(|(_, is_there)| *is_there), "seed {seed}");
    let mut ids: Vec<String> = told.into_iter().map(|(id, _)| id).collect();
    ids.sort();
    assert_eq!(ids, Vec::from_iter(begun), "seed {seed}: each is told once");
    for id in ids {
        let note = format!(r#"<task-notification task=\"{id}\">"#);
        assert_eq!(
            times(there, &note),
            1,
            "seed {seed}: {id} in the last request"
        );
    }
    torn
}

#[test]
fn killed_at_any_moment_it_has_what_it_acknowledged() {
    let kills = std::env::var("MEANWHILE_KILLS").ok();
    let kills: u64 = kills.and_then(|it| it.parse().ok()).unwrap_or(24);
    let torn: usize = (0..kills.div_ceil(8)).map(killed_again_and_again).sum();
    assert!(torn > 0, "no record was torn");
}

/// How often the program has asked for its file to be on disk, by what strace wrote.
fn syncs(trace: &Path) -> usize {
    let trace = fs::read_to_string(trace).unwrap_or_default();
    trace.matches("fdatasync(").count()
}

/// Only where there is a strace that works: nothing else sees a sync from outside.
#[test]
fn a_line_is_on_disk_before_it_is_sent_and_a_turn_when_it_is_over() {
    let mut strace = Command::new("strace");
    strace
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    if !strace.status().is_ok_and(|status| status.success()) {
        eprintln!("There is no strace here: not seen.");
        return;
    }
    let folder = folder();
    let trace = folder.path().join("trace");
    let (seen, path) = (Arc::<Mutex<Vec<usize>>>::default(), trace.clone());
    let counts = seen.clone();
    let server = Server::answering(move |body| {
        counts.lock().expect("numbers").push(syncs(&path));
        answer_to_lines(body)
    });
    let mut command = Command::new("strace");
    command
        .args(["-f", "-e", "trace=fdatasync", "-o"])
        .arg(&trace);
    command.arg(program(S13)).arg("--yes");
    clean_environment(&mut command, folder.path());
    command.env("ANTHROPIC_BASE_URL", server.url());
    command.env("ANTHROPIC_API_KEY", "sk-ant-test");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("strace");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"line 1\nline 2\n").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("reply 2."), "{shown}");
    // The first turn has two requests.
    assert_eq!(*seen.lock().expect("numbers"), [1, 1, 3]);
    assert_eq!(syncs(&trace), 4);
}

#[test]
fn a_result_that_came_and_was_not_delivered_is_told_at_resume() {
    let folder = folder();
    gate(folder.path(), "gate");
    let (held_open, answer) = held(reply_text("late"));
    let run = json!({ "id": "build", "command": "cat gate; exit 7" });
    let server = Server::start([reply_tool("t1", "bg_bash", run), answer]);
    let mut talk = Talk::with(served(folder.path(), &server).argument("--yes"));
    talk.line("build it");
    eventually("the second request", || server.requests().len() == 2);
    fs::write(folder.path().join("gate"), "compiled\n").expect("an open gate");
    let file = the_file(folder.path());
    eventually("its end is kept", || {
        fs::read_to_string(&file)
            .expect("a file")
            .contains("exit code 7")
    });
    talk.kill();
    drop(held_open);

    server.push(reply_text("I see."));
    let resume = served(folder.path(), &server)
        .argument("--resume")
        .argument(&id(&file));
    let out = resume.line("go on").run();
    out.has("◆ build: ERROR: exit code 7").has_not(ENDED);
    let requests = server.requests();
    let messages = requests.last().expect("a request").messages();
    assert_eq!(times(messages, "build: ERROR: exit code 7\\ncompiled"), 1);
}

#[test]
fn a_call_without_a_result_gets_one() {
    let folder = folder();
    gate(folder.path(), "gate");
    let run = json!({ "command": "echo here > started; cat gate" });
    let server = Server::start([reply_tool("t1", "bash", run)]);
    let mut talk = Talk::with(served(folder.path(), &server).argument("--yes"));
    talk.line("run it");
    eventually("it runs", || folder.path().join("started").exists());
    talk.kill();
    server.push(reply_text("I see."));
    let resume = served(folder.path(), &server)
        .argument("--resume")
        .argument(&id(&the_file(folder.path())));
    resume.line("go on").run().has("I see.");
    let requests = server.requests();
    let messages = requests.last().expect("a request").messages();
    assert_eq!(times(messages, NO_RESULT), 1, "{messages:?}");
}

#[test]
fn one_session_is_in_one_program_and_the_other_is_told_which() {
    let folder = folder();
    let mut talk = Talk::with(in_folder(folder.path()));
    talk.line("write \"a\" to a.txt");
    talk.until_shows("wrote 1 byte");
    let (pid, file) = (talk.child.id(), the_file(folder.path()));
    eventually("it is kept", || {
        fs::read_to_string(&file).expect("a file").lines().count() > 4
    });
    let before = fs::read(&file).expect("a file");
    let out = in_folder(folder.path())
        .argument("--resume")
        .argument(&id(&file))
        .run();
    out.has(&format!("process {pid} has it"));
    assert_eq!(out.code, Some(1));
    assert_eq!(fs::read(&file).expect("a file"), before);
    talk.kill(); // and the kernel lets go of it
    let out = in_folder(folder.path())
        .argument("--resume")
        .argument(&id(&file))
        .run();
    out.has("4 messages");
}

#[test]
fn a_torn_line_is_dropped_a_bad_one_is_skipped_and_a_newer_format_is_refused() {
    let folder = folder();
    let talk = in_folder(folder.path())
        .line("write \"a\" to a.txt")
        .line("run \"echo hi\"")
        .run();
    talk.has("To go on with this session");
    let file = the_file(folder.path());
    let whole = fs::read_to_string(&file).expect("a file");
    append(&file, "{\"said\":{\"at\":8,\"ti");
    let resume = || {
        in_folder(folder.path())
            .argument("--resume")
            .argument(&id(&file))
    };
    resume().run().has(" was torn").has("8 messages");
    assert!(
        fs::read_to_string(&file)
            .expect("a file")
            .starts_with(&whole)
    );
    resume().run().has_not(" was torn").has("8 messages");

    let mut lines: Vec<&str> = whole.lines().collect();
    lines[3] = "{\"said\": nonsense}";
    fs::write(&file, lines.join("\n") + "\n").expect("a file");
    let server = Server::start([reply_text("I see.")]);
    let resume_served = served(folder.path(), &server)
        .argument("--resume")
        .argument(&id(&file));
    resume_served
        .line("go on")
        .run()
        .has("Line 4 of .sessions/")
        .has("I see.");

    for first in [
        whole.replacen("\"format\":1", "\"format\":2", 1),
        whole.replacen("{\"opened\"", "nonsense", 1),
        "{}\n".to_string(),
    ] {
        fs::write(&file, &first).expect("a file");
        let out = resume().run();
        out.has("cannot be used: it is ");
        assert_eq!(out.code, Some(1));
        assert_eq!(
            fs::read_to_string(&file).expect("a file"),
            first,
            "nothing was changed"
        );
    }
}

#[test]
fn forks_that_go_in_a_circle_are_refused() {
    let folder = folder();
    in_folder(folder.path())
        .line("write \"a\" to a.txt")
        .line("/fork b")
        .line("run \"echo hi\"")
        .run();
    let files = files(folder.path());
    let text: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("a file"))
        .collect();
    let parent = usize::from(text[0].contains("\"parent\":[\""));
    let circle = format!("\"parent\":[\"{}\",2]", id(&files[1 - parent]));
    fs::write(
        &files[parent],
        text[parent].replacen("\"parent\":null", &circle, 1),
    )
    .expect("a file");
    let out = in_folder(folder.path())
        .argument("--resume")
        .argument(&id(&files[parent]))
        .run();
    out.has("cannot be used");
    assert_eq!(out.code, Some(1));
}

#[test]
fn a_fork_leaves_its_parent_byte_for_byte() {
    let folder = folder();
    let mut talk = Talk::with(in_folder(folder.path()));
    talk.line("write \"a\" to a.txt");
    talk.until_shows("wrote 1 byte");
    talk.line("/messages");
    talk.until_shows("4 assistant");
    let [parent] = &files(folder.path())[..] else {
        panic!("one session")
    };
    let before = fs::read(parent).expect("a file");
    talk.line("/fork risky");
    talk.until_shows("Session ");
    talk.line("write \"b\" to b.txt");
    talk.until_shows("b.txt\n");
    talk.line("/messages");
    talk.until_shows("8 assistant");
    assert_eq!(talk.leave(), Some(0));
    assert_eq!(fs::read(parent).expect("a file"), before);
    talk.until_shows("--resume risky");
    let out = in_folder(folder.path())
        .argument("--resume")
        .argument(&id(parent))
        .line("/messages")
        .run();
    out.has("4 messages").has_not("b.txt");
}

/// A session with these turns of one line and one reply, of so many bytes each; the conversation is
/// emptied again after each five.
#[cfg(target_os = "linux")]
fn long_session(folder: &Path, name: &str, turns: usize, bytes: usize) -> PathBuf {
    let opened = json!({ "format": 1, "time": 1, "process": 1, "lesson": "s13", "model": "m", "folder": "/", "parent": null });
    let message =
        |role, text: String| json!({ "role": role, "content": [{ "type": "text", "text": text }] });
    let said = |turn: usize| {
        let texts = ["line", "reply"].map(|what| format!("{what} {turn} {}", "x".repeat(bytes)));
        let [line, reply] = texts;
        let messages = [message("user", line), message("assistant", reply)];
        json!({ "said": { "at": 2 * (turn % 5), "time": turn, "messages": messages, "delivered": [], "usage": null } })
    };
    let records = [json!({ "opened": opened })].into_iter();
    let records = records.chain((0..turns).map(said));
    let text: String = records.map(|record| format!("{record}\n")).collect();
    let path = folder.join(FOLDER).join(format!("{name}.jsonl"));
    fs::create_dir_all(folder.join(FOLDER)).expect("a folder");
    fs::write(&path, text).expect("a file");
    path
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_resume_takes_is_bounded_by_what_is_sent_and_not_by_the_file() {
    let most = |turns: usize| {
        let folder = folder();
        let file = long_session(folder.path(), "kkkk", turns, 4_000);
        let length = fs::metadata(file).expect("a file").len();
        let resume = in_folder(folder.path()).argument("--resume");
        let mut talk = Talk::with(resume.argument("kkkk"));
        talk.until_shows("10 messages");
        talk.line("/messages");
        talk.until_shows(&format!("reply {}", turns - 1));
        let status = fs::read_to_string(format!("/proc/{}/status", talk.child.id()));
        let status = status.expect("a program that waits");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        let most: u64 = number.expect("a number");
        talk.kill();
        (length, most * 1024)
    };
    let (small, large) = (most(5), most(4_000));
    assert!(large.0 > 32_000_000, "{large:?}");
    let grown = large.1.saturating_sub(small.1);
    assert!(grown < 4_000_000, "{small:?} {large:?}");
}

#[test]
fn the_demonstration_forks_fails_in_the_fork_and_goes_back_to_the_original() {
    let folder = folder();
    let out = in_folder(folder.path()).argument("--demo").run();
    out.has_in_order(&[
        "This session is theme.",
        "Session risky, 4 messages.",
        "failed: ERROR: exit code 1",
        "Session theme, 4 messages. To go back: /resume risky",
        "0 messages. To go back: /resume theme",
        "● bash: kill -9",
        "Killed",
        "Session theme, 13 messages.",
        "◆ build: ERROR: ended with the program",
        "● read_file: notes.txt",
        "  1  theme",
        "  2    risky",
    ]);
    let files = files(folder.path());
    let texts = files.iter().map(fs::read_to_string);
    let texts: Vec<String> = texts.map(|text| text.expect("a file")).collect();
    let (forks, originals): (Vec<&String>, Vec<&String>) = texts
        .iter()
        .partition(|text| text.contains("\"parent\":[\""));
    assert_eq!((forks.len(), originals.len()), (1, 1));
    assert!(forks[0].contains("rm notes.txt") && !forks[0].contains("sleep 5"));
    assert!(originals[0].contains("sleep 5") && !originals[0].contains("rm notes.txt"));
}

#[test]
fn a_task_that_runs_goes_with_you_into_a_new_session_and_is_told_there_only() {
    let folder = folder();
    gate(folder.path(), "gate");
    let mut talk = Talk::with(in_folder(folder.path()));
    talk.line("run \"cat gate\" in the background as build");
    talk.until_shows("build: started in the background. Go on with other work; the result will come by itself.\nbuild: started");
    let old = the_file(folder.path());
    talk.line("/clear");
    talk.until_shows("0 messages");
    fs::write(folder.path().join("gate"), "compiled\n").expect("an open gate");
    talk.until_shows("◆ build: finished");
    talk.until_shows("compiled");
    assert_eq!(talk.leave(), Some(0));
    for file in files(folder.path()) {
        let out = in_folder(folder.path())
            .argument("--resume")
            .argument(&id(&file))
            .line("/messages all")
            .run();
        out.has_not("◆ build");
        assert_eq!(out.out.contains("compiled"), file != old, "{}", out.out);
    }
}

#[test]
fn what_a_line_without_the_model_added_is_kept_and_stays_a_note() {
    let folder = folder();
    in_folder(folder.path()).line("! echo forty-two").run();
    let resume = in_folder(folder.path())
        .argument("--resume")
        .argument(&id(&the_file(folder.path())));
    resume
        .line("/messages")
        .run()
        .has("text, from the harness: <user-command>")
        .has("forty-two");
}

#[test]
fn only_its_owner_may_read_it_git_does_not_see_it_and_the_key_is_in_no_file() {
    let folder = folder();
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(folder.path())
            .args(arguments)
            .output();
        String::from_utf8_lossy(&output.expect("git runs").stdout).into_owned()
    };
    git(&["init", "-q"]);
    let key = "sk-ant-very-secret";
    let server = Server::start([
        reply_tool("t1", "bash", json!({ "command": "env" })),
        reply_text("Done."),
        reply_text("Summed up."),
        reply_text("Forked."),
    ]);
    let lesson = served(folder.path(), &server)
        .variable("ANTHROPIC_API_KEY", key)
        .argument("--yes");
    lesson
        .line("show the environment")
        .line("/rename env")
        .run()
        .has("Done.");
    let file = the_file(folder.path());
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(git(&["status", "--porcelain"]), "", "git sees nothing");
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.contains("PATH=") && !text.contains(key), "{text}");

    // A transcript, a fork, and the statistics.
    let lesson = served(folder.path(), &server).argument("--resume");
    let lesson = lesson.argument("env").variable("ANTHROPIC_API_KEY", key);
    let lesson = lesson.line("/compact").line("/fork risky").line("go on");
    lesson.line("/stats").run().has("Forked.");
    let folder = Arc::new(folder);
    let seat = Seat::new(S13).folder(Some(folder.clone()));
    let seat = seat.variable("ANTHROPIC_BASE_URL", &server.url());
    let seat = seat.variable("ANTHROPIC_API_KEY", key);
    let mut terminal = at_prompt(seat, "s13 >>");
    terminal.send("\x13");
    terminal.until_shows("written to .sessions/stats.txt.");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
    let mut all = Vec::new();
    let mut folders = vec![folder.path().to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => all.push(path),
            }
        }
    }
    let is_there = |part: &str| all.iter().any(|it| it.to_string_lossy().contains(part));
    for part in ["stats.txt", "prices.txt", ".transcripts/"] {
        assert!(is_there(part), "{part} in {all:?}");
    }
    assert_eq!(
        files(folder.path())
            .iter()
            .filter(|it| it.extension().is_some_and(|it| it == "jsonl"))
            .count(),
        2
    );
    for path in all {
        let bytes = fs::read(&path).expect("a file");
        let found = bytes.windows(key.len()).any(|part| part == key.as_bytes());
        assert!(!found, "the key is in {}", path.display());
    }
}

#[test]
fn consent_is_not_restored() {
    let folder = folder();
    let server = Server::start([reply_text("Hello.")]);
    served(folder.path(), &server)
        .argument("--yes")
        .line("hello")
        .run();
    server.push(reply_tool("t1", "bash", json!({ "command": "touch done" })));
    server.push(reply_text("I may not."));
    let resume = served(folder.path(), &server)
        .argument("--resume")
        .argument(&id(&the_file(folder.path())));
    resume
        .line("do it")
        .run()
        .has("nobody is there to be asked");
    assert!(!folder.path().join("done").exists());
}

#[test]
fn a_session_that_cannot_be_written_is_said_and_the_work_goes_on() {
    let folder = folder();
    fs::write(folder.path().join(FOLDER), "a file").expect("a file in the way");
    let out = in_folder(folder.path()).line("write \"a\" to a.txt").run();
    out.has("The session is not written: ").has("wrote 1 byte");
    assert_eq!(out.code, Some(0));
}

#[test]
fn what_cannot_be_done_is_said_in_a_sentence() {
    let folder = folder();
    let lines = ["/fork", "/rename", "/resume nobody", "/clear", "/clear now"];
    let lesson = lines
        .iter()
        .fold(in_folder(folder.path()), |lesson, line| lesson.line(line));
    let out = lesson.run();
    out.has_in_order(&[
        "Which name?",
        "There is no session \"nobody\"",
        "0 messages",
        "There is no command",
    ]);
    assert_eq!(
        files(folder.path()),
        Vec::<PathBuf>::new(),
        "nothing was said, so nothing is kept"
    );
    let out = in_folder(folder.path())
        .argument("--resume")
        .argument("nobody")
        .run();
    assert_eq!(out.code, Some(1));
}

// ---- The list, and the picker ----

/// Three sessions, of which the second is a fork of the first; the newest is the last.
fn three(folder: &Path) {
    let lines = [
        "write \"a\" to a.txt",
        "/rename theme",
        "/fork risky",
        "run \"echo hi\"",
    ];
    let lesson = lines
        .iter()
        .fold(in_folder(folder), |lesson, line| lesson.line(line));
    lesson.run().has("--resume risky");
    in_folder(folder)
        .line("run \"echo other\"")
        .line("/rename other")
        .run();
}

#[test]
fn in_a_pipe_the_list_has_numbers_and_a_word_may_be_short() {
    let folder = folder();
    three(folder.path());
    let out = in_folder(folder.path())
        .line("/resume")
        .line("/resume 3")
        .line("/resume th")
        .line("/resume abc")
        .run();
    let shown = [
        "  1  other ",
        "1 turn  run \"echo other\"",
        "  2  theme ",
        "1 turn  write \"a\" to a.txt",
        "  3    risky ",
        "1 turn  run \"echo hi\"",
        "Session risky, 8 messages.",
        "Session theme, 4 messages. To go back: /resume risky",
        "There is no session \"abc\".",
    ];
    out.has_in_order(&shown);
    let out = in_folder(folder.path()).argument("--resume").run();
    out.has("  2    risky ");
    assert_eq!(out.code, Some(1));
    in_folder(folder.path())
        .line("write \"a\" to a.txt")
        .line("write \"b\" to b.txt")
        .line("/rename theme")
        .run();
    let resume = |word| {
        let out = in_folder(folder.path()).argument("--resume");
        out.argument(word).run()
    };
    resume("theme").has("Session theme, 8 messages."); // the last one that was used
    let out = resume("the");
    out.has("Several sessions begin so: ");
    assert_eq!(out.code, Some(1));
}

fn seat(folder: TempDir) -> Seat {
    Seat::new(S13).folder(Some(Arc::new(folder)))
}

#[test]
fn a_session_is_picked_with_keys() {
    let folder = folder();
    three(folder.path());
    let mut terminal = at_prompt(seat(folder), "s13 >>");
    terminal.line("/resume");
    terminal.until_ends("Enter: resume   P: preview   R: rename   B: its forks   Esc: leave");
    terminal.until("two rows, and no fork", |screen| {
        screen.contains("▸ other")
            && screen.contains("  theme")
            && screen.contains("(1 fork)")
            && !screen.contains("risky")
    });
    terminal.send("\x1b[B");
    terminal.until_shows("▸ theme");
    terminal.send("b");
    terminal.until_shows("    risky");
    terminal.send("\x1b[B");
    terminal.until_shows("▸   risky");
    terminal.send("p");
    terminal.until_shows("> run \"echo hi\"");
    terminal.until_shows("● bash {\"command\":\"echo hi\"}");
    terminal.send("rbold \u{fc}\x7f\u{fc}ber\r");
    terminal.until_shows("▸   bold über");
    terminal.send("\x1b[A\x1b[A\x1b[A");
    terminal.until_shows("▸ other");
    terminal.send("\x1b[B\x1b[B\x1b[B\x1b[B");
    terminal.until_shows("▸   bold über");
    terminal.send("\r");
    terminal.until_shows("Session bold über, 8 messages.");
    terminal.until("the picker is gone", |screen| {
        !screen.contains("Esc: leave") && !screen.contains('▸')
    });
    terminal.line("/resume");
    terminal.until_shows("▸ theme");
    terminal.send("B\x1b[B");
    terminal.until_shows("▸   bold über");
    terminal.send("rmine\r");
    terminal.until_shows("It is in use. There, /rename names it.");
    terminal.send("\x1b");
    terminal.until_shows("Nothing chosen.");
    terminal.until_ends("s13 >>");
    terminal.line("/messages");
    terminal.until_shows("8 assistant");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

#[test]
fn the_picker_comes_first_with_resume_alone() {
    let folder = folder();
    three(folder.path());
    let mut terminal = seat(folder).argument("--resume").start();
    terminal.until_ends("Esc: leave");
    terminal.send("\x1b[B\r");
    terminal.until_shows("Session theme, 4 messages.");
    terminal.until_ends("s13 >>");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
    let folder = terminal.folder.clone();
    let mut terminal = Seat::new(S13)
        .folder(Some(folder))
        .argument("--resume")
        .start();
    terminal.until_ends("Esc: leave");
    terminal.send("q");
    leaves_everything_as_it_was(&mut terminal, 1);
}

// ---- A session is a recording ----

/// A session of a turn with two tools, and of one with a background task.
fn recorded(folder: &Path) {
    let lines = [
        "write \"hello\" to notes.txt, then run \"echo > ran; cat number\"",
        "/rename theme",
    ];
    fs::write(folder.join("number"), "forty-two\n").expect("a file");
    lines
        .iter()
        .fold(in_folder(folder), |lesson, line| lesson.line(line))
        .run();
    let task = "run \"echo built\" in the background as build, then wait for build";
    let lesson = in_folder(folder).argument("--resume").argument("theme");
    lesson
        .argument("-p")
        .argument(task)
        .run()
        .has("◆ build: finished");
    fs::remove_file(folder.join("ran")).expect("a file");
    fs::write(folder.join("number"), "forty-three\n").expect("a file");
}

fn replay(folder: &Path, option: &str) -> support::program::Transcript {
    let lesson = in_folder(folder).argument("--replay").argument("theme");
    lesson
        .argument("--speed")
        .argument("0")
        .argument(option)
        .run()
}

#[test]
fn a_session_is_replayed_and_its_tools_run() {
    let folder = folder();
    recorded(folder.path());
    let out = replay(folder.path(), "--yes");
    out.has_in_order(&[
        "Recording: the session theme. Its tools really run.",
        "s13 >> write",
        "● write_file: notes.txt  hello",
        "● bash: echo > ran",
        "· forty-three",
        "(This is not what was recorded: the tools said something else.)",
        "cat number\": forty-two",
        "s13 >> run \"echo built\"",
        "● bg_bash: build",
        "◆ build: finished",
        "2. wait for build: build: finished",
    ]);
    assert!(folder.path().join("ran").exists());
    assert_eq!(out.code, Some(0));
}

#[test]
fn with_step_enter_plays_the_recorded_lines() {
    let folder = folder();
    recorded(folder.path());
    let lesson = in_folder(folder.path())
        .argument("--replay")
        .argument("theme");
    let lesson = ["--step", "--dry", "--speed", "0"]
        .into_iter()
        .fold(lesson, Lesson::argument);
    let out = lesson.line("").run();
    out.has_in_order(&[
        "With --step, Enter plays the next line.",
        "write \"hello\" to notes.txt",
        "(new in this request:",
        "● write_file: notes.txt  hello",
    ]);
    out.has_not("● bg_bash");
}

/// Only that it takes that long: how much longer is up to the machine.
#[test]
fn a_reply_takes_its_recorded_time_divided_by_the_speed() {
    let folder = folder();
    let lesson = in_folder(folder.path()).variable("MEANWHILE_THINKING_MS", "1000");
    lesson.line("run \"true\"").line("/rename theme").run();
    let start = Instant::now();
    let lesson = in_folder(folder.path())
        .argument("--replay")
        .argument("theme");
    let out = lesson.argument("--speed").argument("4").run();
    out.has("● bash: true");
    let two = Duration::from_secs(2) / 4;
    assert!(start.elapsed() >= two, "{:?}", start.elapsed());
}

#[test]
fn a_reply_that_was_to_other_calls_is_said_to_be_one() {
    let folder = folder();
    // The call of the first reply gets another id than its result has.
    let lesson = in_folder(folder.path()).line("write \"hello\" to notes.txt");
    lesson.line("/rename theme").run();
    let file = the_file(folder.path());
    let text = fs::read_to_string(&file).expect("a file");
    let lines: Vec<String> = text.lines().map(str::to_string).collect();
    let call = |line: &String| line.contains("\"tool_use\"");
    let at = lines.iter().position(call).expect("a call");
    let (_, after) = lines[at].split_once("\"id\":\"").expect("an id");
    let (id, _) = after.split_once('"').expect("its end");
    let other = lines[at].replace(id, "toolu_other");
    fs::write(&file, text.replace(&lines[at], &other)).expect("a file");
    let out = replay(folder.path(), "--yes");
    out.has("(This is not what was recorded: the next reply was to other calls.)");
    out.has("● write_file")
        .has_not("the tools said something else");
}

#[test]
fn a_session_is_replayed_dry_and_nothing_runs() {
    let folder = folder();
    recorded(folder.path());
    let out = replay(folder.path(), "--dry");
    out.has_in_order(&[
        "Its tools are shown, and do not run.",
        "● write_file: notes.txt  hello",
        "● bash: echo > ran",
        "· forty-two",
        "cat number\": forty-two",
        "● bg_bash: build",
        "◆ build: finished",
        "2. wait for build: build: finished",
    ]);
    out.has_not("forty-three").has_not("not what was recorded");
    assert!(!folder.path().join("ran").exists());
}

#[test]
fn a_fork_is_replayed_from_its_beginning_and_what_is_not_there_is_said() {
    let folder = folder();
    recorded(folder.path());
    let lesson = in_folder(folder.path())
        .argument("--resume")
        .argument("theme");
    lesson.line("/fork risky").line("run \"echo risky\"").run();
    let lesson = in_folder(folder.path())
        .argument("--replay")
        .argument("risky");
    let out = lesson
        .argument("--dry")
        .argument("--speed")
        .argument("0")
        .run();
    out.has_in_order(&[
        "s13 >> write",
        "s13 >> run \"echo built\"",
        "s13 >> run \"echo risky\"",
        "· risky",
    ]);
    let out = in_folder(folder.path())
        .argument("--replay")
        .argument("nobody")
        .run();
    assert!(out.err.contains("There is no session"), "{}", out.err);
    assert_eq!(out.code, Some(2));
}

#[test]
fn sub_agents_are_not_in_the_recording_and_take_none_of_its_replies() {
    let folder = folder();
    let delegate = "delegate \"run 'echo hi'\" as look, then wait for look";
    in_folder(folder.path())
        .argument("-p")
        .argument(delegate)
        .run()
        .has("◆ look: finished");
    let name = id(&the_file(folder.path()));
    let lesson = in_folder(folder.path())
        .argument("--replay")
        .argument(&name);
    let out = lesson
        .argument("--yes")
        .argument("--speed")
        .argument("0")
        .run();
    out.has("● task: look")
        .has("◆ look: finished")
        .has("I wait for look")
        .has_not("The recording ends here");
}

// ---- Statistics ----

/// A session of turns that ended at these times, in seconds, and cost 1,000 tokens to read each.
fn turns_at(folder: &Path, id: &str, model: &str, times: &[u64]) {
    fs::create_dir_all(folder.join(FOLDER)).expect("a folder");
    let opened = json!({ "format": 1, "time": 1, "process": 1, "lesson": "s13", "model": model, "folder": "/", "parent": null });
    let mut text = json!({ "opened": opened }).to_string() + "\n";
    let usage = json!({ "input_tokens": 1000, "output_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0 });
    for (at, time) in times.iter().enumerate() {
        let message = |role| json!({ "role": role, "content": [{ "type": "text", "text": "so" }] });
        let said = json!({ "at": 2 * at, "time": time * 1000, "messages": [message("user"), message("assistant")], "delivered": [], "usage": usage });
        text += &(json!({ "said": said }).to_string() + "\n");
    }
    text += &(json!({ "agent": ["look", usage] }).to_string() + "\n");
    fs::write(folder.join(FOLDER).join(format!("{id}.jsonl")), text).expect("a file");
}

fn in_seconds() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("a time").as_secs()
}

#[test]
fn tokens_add_up_by_model_and_by_agent_and_only_known_ones_have_a_price() {
    let folder = folder();
    turns_at(
        folder.path(),
        "kkkk",
        "claude-sonnet-4-5",
        &[in_seconds(); 4],
    );
    turns_at(folder.path(), "llll", "some-model", &[in_seconds(); 2]);
    let out = in_folder(folder.path())
        .line("write \"a\" to a.txt")
        .line("/rename mine")
        .line("/stats")
        .run();
    out.has_in_order(&[
        "This session, mine ",
        "    1        2           0         0",
        "All 3 sessions ",
        "    7       10       8,000        80",
    ]);
    out.has_in_order(&[
        "By model:",
        "  claude-sonnet-4-5 ",
        "        5       5,000        50 ",
        "  $0.02\n",
        "  practice model ",
        "  no price\n",
        "  some-model ",
        "no price\n",
        "Most used: claude-sonnet-4-5. Prices are in .sessions/prices.txt.",
    ]);
    out.has_in_order(&[
        "By agent:",
        "  look ",
        "        2       2,000 ",
        "  main agent ",
        "        8       6,000 ",
    ]);
    let table = folder.path().join(FOLDER).join("prices.txt");
    append(&table, "some-model 1000 0 0 0\nnonsense 1 2\n");
    in_folder(folder.path())
        .line("/stats")
        .run()
        .has("  $3.00\n");
    assert!(
        fs::read_to_string(table)
            .expect("the table")
            .ends_with("nonsense 1 2\n"),
        "it is the person's"
    );
}

#[test]
fn a_turn_in_which_several_agents_worked_ends_with_a_bill() {
    let folder = folder();
    let task = json!({ "description": "look", "prompt": "look around", "wait": true });
    let server = Server::start([
        reply_tool("t1", "task", task),
        reply_text("Nothing here."),
        reply_text("It saw nothing."),
        reply_text("Alone."),
    ]);
    let program = served(folder.path(), &server);
    let out = program.line("have a look").line("and you?").run();
    out.has_in_order(&[
        "It saw nothing.",
        "(tokens: main agent 30, look 15; in all 45)",
        "Alone.",
    ]);
    let bills = out.out.matches("(tokens: ").count();
    assert_eq!(bills, 1, "a turn of the main agent alone has none");
}

#[test]
fn days_in_a_row_are_days_where_the_person_is() {
    let day = 86_400;
    let midnight = in_seconds() / day * day; // of today, in UTC
    // A minute before and after two midnights; and two hours before the second of them.
    let times = [midnight - day - 60, midnight - 60, midnight + 60 - day];
    let streak = |times: &[u64], zone: &str| {
        let folder = folder();
        turns_at(folder.path(), "kkkk", "m", times);
        let out = in_folder(folder.path())
            .variable("TZ", zone)
            .line("/stats")
            .run();
        let (_, streak) = out.out.split_once("Days in a row: ").expect("a streak");
        let (streak, _) = streak.split_once('.').expect("a sentence");
        streak.to_string()
    };
    assert_eq!(
        streak(&times, "UTC"),
        "2",
        "the day before yesterday, and yesterday"
    );
    assert_eq!(
        streak(&[midnight - day - 60, midnight], "UTC"),
        "1",
        "a gap"
    );
    assert_eq!(streak(&[], "UTC"), "0");
    // Half an hour east, the minute before midnight is on the next day.
    let east = in_seconds() + 1800 < midnight + day;
    if east {
        assert_eq!(streak(&[midnight - 60], "<+0030>-0:30"), "1");
        assert_eq!(
            streak(&[midnight - 60 - day, midnight - 60], "<+0030>-0:30"),
            "2"
        );
        assert_eq!(
            streak(&[midnight - 3600 - day, midnight - 60], "<+0030>-0:30"),
            "1",
            "two days ago, and today"
        );
    }
}

#[test]
fn ctrl_s_copies_the_statistics_and_writes_them() {
    let folder = folder();
    turns_at(folder.path(), "kkkk", "some-model", &[in_seconds(); 2]);
    let mut terminal = at_prompt(seat(folder), "s13 >>");
    terminal.send("\x13");
    terminal.until_shows("written to .sessions/stats.txt.");
    let text =
        fs::read_to_string(terminal.folder.path().join(".sessions/stats.txt")).expect("the copy");
    assert!(
        text.contains("\nAll 1 session ") && text.contains("some-model"),
        "{text}"
    );
    let bytes = String::from_utf8_lossy(&terminal.bytes()).into_owned();
    let (_, copied) = bytes.split_once("\x1b]52;c;").expect("OSC 52");
    let (copied, _) = copied.split_once('\x07').expect("its end");
    let mut decode = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("base64");
    decode
        .stdin
        .take()
        .expect("a pipe")
        .write_all(copied.as_bytes())
        .expect("a write");
    let decoded = decode.wait_with_output().expect("base64 ends");
    assert_eq!(String::from_utf8_lossy(&decoded.stdout), text);
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

// ---- Ends at random ----

/// A folder for all of them, as sessions are in the current one; for one test at a time.
fn current() -> (&'static Path, MutexGuard<'static, ()>) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = FOLDER.get_or_init(|| {
        let folder = folder();
        support::session::prepare();
        std::env::set_current_dir(folder.path()).expect("a folder");
        folder
    });
    (folder.path(), turn)
}

/// A program with a session: an agent, its conversation, and tasks that are only events.
struct Program {
    session: Session,
    agent: Agent,
    messages: Vec<Message>,
    running: Vec<String>,
    ended: Vec<String>,
}

impl Program {
    fn start(number: Arc<Mutex<usize>>) -> Self {
        let session = Session::begun();
        let (reader, mut context) = (session.clone(), Context::default());
        context.events = context
            .events
            .with(Box::new(move |event| reader.note(event)));
        let model = By(move |request: &meanwhile::model::Request<'_>| {
            let mut number = number.lock().expect("a number");
            *number += 1;
            let odd = request.messages.len() % 3 == 1;
            Ok(match odd {
                true => calls(&format!("c{number}"), "look", json!({})),
                false => says(&format!("reply {number}")),
            })
        });
        let mut agent = Agent::new(Arc::new(model), "main", context);
        let look = json!({ "type": "object", "properties": {} });
        agent.toolbox = toolbox([Tool::new(
            "look",
            "Looks.",
            look,
            Access::Free,
            |_: Value, _| Ok("seen".to_string()),
        )]);
        let agent = session.keep(&agent, &executor(4));
        Program {
            session,
            agent,
            messages: Vec::new(),
            running: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// One thing of all that may happen.
    fn step(&mut self, chance: &mut Chance, names: &mut usize) {
        let events = self.agent.context.events.clone();
        match chance.below(9) {
            0 => {
                *names += 1;
                let id = format!("task-{names}");
                events.emit(Event::TaskStarted {
                    id: id.clone(),
                    what: "work".to_string(),
                });
                self.running.push(id);
            }
            1 => {
                if let Some(id) = chance.take(&mut self.running) {
                    let result = format!("finished\noutput of {id} € \u{1f600}");
                    events.emit(Event::TaskFinished {
                        id: id.clone(),
                        result,
                    });
                    self.ended.push(id);
                }
            }
            2 if self.messages.len() > 4 => {
                self.messages = Vec::new(); // compacted
                push_note(&mut self.messages, "<summary>\nwhat was said\n</summary>");
            }
            3 => take_back_prompt(&mut self.messages),
            _ => {
                if chance.one_in(8) {
                    events.emit(Event::TurnStarted("go on".to_string())); // which syncs
                }
                push_user(&mut self.messages, "go on");
                loop {
                    for id in std::mem::take(&mut self.ended) {
                        push_note(&mut self.messages, note(&id, &format!("{id}: finished")));
                        events.emit(Event::Delivered(id, "finished".to_string()));
                    }
                    let reply = self.agent.ask(&mut self.messages).expect("a reply");
                    if reply.tool_calls().is_empty() {
                        break;
                    }
                    self.agent.run_tools(reply, &mut self.messages);
                }
            }
        }
    }
}

/// What a file says of tasks: those that began, and each time that one was delivered, with whether
/// the message tells it.
fn told(text: &str) -> (BTreeSet<String>, Vec<(String, bool)>) {
    let (mut begun, mut told) = (BTreeSet::new(), Vec::new());
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).expect("whole lines only");
        if let Some(id) = record["task"][0].as_str() {
            begun.insert(id.to_string());
        }
        for id in record["said"]["delivered"].as_array().into_iter().flatten() {
            let id = id.as_str().expect("an id").to_string();
            let block = format!("<task-notification task=\\\"{id}\\\">");
            told.push((id, record["said"]["messages"].to_string().contains(&block)));
        }
    }
    (begun, told)
}

/// Ends the file of a session at a byte, as the end of its program would have, and goes on with it.
/// The next request is valid, and each task has been told once.
fn goes_on(path: &Path, whole: &[u8], at: usize, number: &Arc<Mutex<usize>>, seed: u64) -> Program {
    fs::write(path, &whole[..at]).expect("a cut file");
    let mut program = Program::start(number.clone());
    let said = program
        .session
        .go_on(To::There(&id(path)), &mut program.messages);
    let said = said.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    let is_torn = whole[at - 1] != b'\n';
    assert_eq!(said.contains(" was torn"), is_torn, "seed {seed}: {said}");
    let mut messages = program.messages.clone();
    push_user(&mut messages, "and now?");
    let problems = faults(&messages, false);
    assert!(problems.is_empty(), "seed {seed}: {problems:?}");
    let notes: Vec<String> = delivered(&messages).iter().map(|it| task_of(it)).collect();
    let once: BTreeSet<&String> = notes.iter().collect();
    assert_eq!(
        notes.len(),
        once.len(),
        "seed {seed}: told twice: {notes:?}"
    );
    let (begun, told) = told(&fs::read_to_string(path).expect("a file"));
    assert!(
        told.iter().all(|(_, is_there)| *is_there),
        "seed {seed}: {told:?}"
    );
    let mut ids: Vec<String> = told.into_iter().map(|(id, _)| id).collect();
    ids.sort();
    assert_eq!(ids, Vec::from_iter(begun), "seed {seed}: each is told once");
    program
}

/// Begins a session, ends it at any byte, goes on, and again; each time what is there is checked.
fn random_ends(folder: &Path, seed: u64, ends: usize) -> usize {
    let (mut chance, mut names) = (Chance::new(seed), 0);
    let number = Arc::<Mutex<usize>>::default();
    let mut program = Program::start(number.clone());
    let mut cuts = 0;
    let path = loop {
        program.step(&mut chance, &mut names);
        if let [path] = &files(folder)[..] {
            break path.clone();
        }
    };
    for _ in 0..ends {
        (0..chance.below(12)).for_each(|_| program.step(&mut chance, &mut names));
        let synced = program.messages.clone();
        drop(program); // and its lock
        let whole = fs::read(&path).expect("a file");
        let first = whole
            .iter()
            .position(|byte| *byte == b'\n')
            .expect("a line")
            + 1;
        let at = first + chance.below(whole.len() - first + 1);
        cuts += 1;
        program = goes_on(&path, &whole, at, &number, seed);
        if at == whole.len() {
            let count = synced.len().saturating_sub(1);
            assert_eq!(
                program.messages.get(..count),
                synced.get(..count),
                "seed {seed}: all is there"
            );
        }
    }
    drop(program);
    fs::remove_file(path).expect("a file");
    cuts
}

#[test]
fn wherever_it_ends_the_next_request_is_valid_and_each_task_is_told_once() {
    let (folder, _turn) = current();
    let cuts = (1..=400).map(|seed| random_ends(folder, seed, 25));
    let cuts: usize = cuts.sum();
    assert_eq!(cuts, 10_000);
}

#[test]
fn wherever_a_record_ends_what_was_said_before_it_is_there() {
    let (folder, _turn) = current();
    let (mut boundaries, mut compared) = (0, 0);
    for seed in 1..=40 {
        let (mut chance, mut names) = (Chance::new(seed), 0);
        let number = Arc::<Mutex<usize>>::default();
        let mut program = Program::start(number.clone());
        // Where the file ended after a turn, and the conversation that it then held.
        let mut turns: Vec<(usize, Vec<Message>)> = Vec::new();
        for _ in 0..30 {
            program.step(&mut chance, &mut names);
            let last = program.messages.last();
            if let ([path], true) = (
                &files(folder)[..],
                last.is_some_and(|it| it.role == Role::Assistant),
            ) {
                program.agent.context.events.emit(Event::TurnFinished); // which syncs
                let length = fs::metadata(path).expect("a file").len();
                turns.push((length as usize, program.messages.clone()));
            }
        }
        drop(program);
        let path = files(folder).pop().expect("a file");
        let whole = fs::read(&path).expect("a file");
        let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for at in ends.map(|(at, _)| at + 1) {
            let program = goes_on(&path, &whole, at, &number, seed);
            boundaries += 1;
            let next = turns.partition_point(|(length, _)| *length <= at);
            let Some((length, said)) = turns[..next].last() else {
                continue;
            };
            // Unless it was compacted, or a prompt was taken back, meanwhile.
            let is_kept = |(_, later): &(usize, Vec<Message>)| later.starts_with(said);
            if *length == at || turns.get(next).is_some_and(is_kept) {
                let there = program.messages.get(..said.len() - 1);
                assert_eq!(there, said.get(..said.len() - 1), "seed {seed}, byte {at}");
                let there = &program.messages[said.len() - 1].content;
                let last = &said[said.len() - 1].content;
                assert!(there.starts_with(last), "seed {seed}, byte {at}");
                compared += 1;
            }
        }
        fs::remove_file(path).expect("a file");
    }
    assert!(
        boundaries > 1_000 && compared > boundaries / 2,
        "{boundaries} {compared}"
    );
}

#[test]
fn a_task_that_was_started_is_known_before_its_thread_says_so() {
    let (folder, _turn) = current();
    let executor = executor(4);
    let mut program = Program::start(Arc::default());
    program.agent = program.session.keep(&program.agent, &executor);
    let (go, gone) = channel::<()>();
    let job = move |_: &Task| {
        let _ = gone.recv(); // it never says that it began
        finished("")
    };
    let started = lock(&executor).submit(unwatched(Kind::Command, &task("build")), job);
    started.expect("a free place");
    push_user(&mut program.messages, "go on");
    program.agent.ask(&mut program.messages).expect("a reply");
    let path = files(folder).pop().expect("a file");
    drop(program);
    let mut program = Program::start(Arc::default());
    let said = program
        .session
        .go_on(To::There(&id(&path)), &mut program.messages);
    assert!(
        said.expect("a session")
            .contains("◆ build: ERROR: ended with the program")
    );
    drop((go, program));
    fs::remove_file(path).expect("a file");
}

/// To open a named pipe would take for ever; and what is no session is not written to.
#[test]
fn what_is_no_session_is_left_as_it_is() {
    let folder = folder();
    fs::create_dir(folder.path().join(FOLDER)).expect("a folder");
    let pipe = folder.path().join(FOLDER).join("pipe.jsonl");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    let notes = folder.path().join(FOLDER).join("notes.jsonl");
    let text = "{\"my\":\"only copy\"}";
    fs::write(&notes, text).expect("a file");
    let ran = in_folder(folder.path())
        .line("/resume")
        .line("/resume notes");
    let ran = ran.run();
    ran.has("it is no regular file").has("it is no session");
    assert_eq!(fs::read_to_string(notes).expect("a file"), text);
}
