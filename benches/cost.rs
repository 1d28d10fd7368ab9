//! What containment costs, as ratios within one run: `cargo bench --bench cost`.
//!
//! Only a part of it: `cargo bench --bench cost -- commands` (or outcome, tasks, claims, worktrees, idle, output).
//!
//! A plain program and no benchmark harness: what counts are interleaved pairs, so that both
//! halves of a ratio meet the same machine. A ratio over its limit makes the program fail.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Sender, unbounded};
use serde_json::json;

use meanwhile::agent::Agent;
use meanwhile::background::{BackgroundExecutor, Kind, Refusal, Task};
use meanwhile::caught::lock;
use meanwhile::event::Events;
use meanwhile::interrupt::Interrupt;
use meanwhile::message::{ContentBlock, Reply, StopReason, Usage};
use meanwhile::model::{Model, ModelError, Request};
use meanwhile::notification::{NotificationBus, TaskId};
use meanwhile::pipeline;
use meanwhile::process::supervisor::become_supervisor_if_asked;
use meanwhile::process::{Handle, run, start, until_ended};
use meanwhile::subagent::Definitions;
use meanwhile::task_board::{self, TaskBoard};
use meanwhile::tool::{Access, Context, Folder, Tool, Toolbox};
use meanwhile::worktree;

const FLOOD: &str = "yes | head -c 2G";
const NO_LIMIT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    become_supervisor_if_asked();
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS; // `cargo test --all-targets`
    }
    let mut table = Table { ok: true };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!("The limits are for a machine that does nothing else. Its load just now: {load}");
    println!("{:<58} {:>12} {:>10}", "", "measured", "limit");
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    if is_chosen("commands") {
        short_commands(&mut table);
    }
    if is_chosen("outcome") {
        exit_to_outcome(&mut table);
    }
    if is_chosen("tasks") {
        ten_thousand_tasks(&mut table);
    }
    if is_chosen("claims") {
        claims(&mut table);
    }
    if is_chosen("worktrees") {
        worktrees(&mut table);
    }
    if is_chosen("idle") {
        idle_supervisors(&mut table);
    }
    if is_chosen("output") {
        throughput(&mut table);
    }
    if table.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Table {
    ok: bool,
}

impl Table {
    fn note(&self, what: &str, measured: impl std::fmt::Display) {
        println!("{what:<58} {measured:>12}");
    }

    fn limit(&mut self, what: &str, measured: f64, limit: f64, unit: &str, within: bool) {
        self.ok &= within;
        let verdict = if within { "" } else { "  OVER ITS LIMIT" };
        println!(
            "{what:<58} {:>12} {:>10}{verdict}",
            format!("{measured:.2}{unit}"),
            format!("{limit}{unit}")
        );
    }

    fn at_most(&mut self, what: &str, measured: f64, limit: f64, unit: &str) {
        self.limit(what, measured, limit, unit, measured <= limit);
    }

    fn at_least(&mut self, what: &str, measured: f64, limit: f64, unit: &str) {
        self.limit(what, measured, limit, unit, measured >= limit);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1000.0
}

fn contained(command: &str) {
    let (command, never) = (Handle::new(command), Interrupt::default());
    let (outcome, left) = run(&command, "".as_ref(), NO_LIMIT, &never);
    assert!(outcome.error().is_none() && left == 0, "{outcome}");
}

/// A shell, and nothing around it.
fn plain(command: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-c", command]).stdin(Stdio::null());
    bash
}

/// One after the other without a pause, which no agent does; and with one, as between two tool
/// calls, in which the next supervisor has come up.
fn short_commands(table: &mut Table) {
    for (how, pause) in [("without a pause", 0), ("5 ms between them", 5)] {
        let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..500 {
            std::thread::sleep(Duration::from_millis(pause));
            let contained = milliseconds(|| contained("true"));
            std::thread::sleep(Duration::from_millis(pause));
            let plain = milliseconds(|| drop(plain("true").output().expect("bash")));
            ratios.push(contained / plain);
            ours.push(contained);
            theirs.push(plain);
        }
        table.note(
            &format!("`true`, contained, {how}: median"),
            format!("{:.2} ms", median(ours)),
        );
        table.note(
            &format!("`true`, Command::output, {how}: median"),
            format!("{:.2} ms", median(theirs)),
        );
        table.at_most(
            &format!("`true`, {how}: median ratio of 500 pairs"),
            median(ratios),
            1.15,
            "",
        );
    }
}

fn submit(executor: &Mutex<BackgroundExecutor>, id: &TaskId, command: &str) -> Result<(), Refusal> {
    let handle = Arc::new(Handle::new(command));
    let task = Task::new(Kind::Command, id, handle.clone(), &Events::default());
    let job = move |_: &_| until_ended(&start(&handle, "".as_ref()));
    lock(executor).submit(task, job)
}

/// The last thing the shell does is to say what time it is.
fn exit_to_outcome(table: &mut Table) {
    const LAST_WORDS: &str = "printf %s $EPOCHREALTIME";
    let since = |said: &str| {
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock")
            .as_secs_f64();
        (now - said.replace(',', ".").parse::<f64>().expect("a time")) * 1000.0
    };
    let executor = BackgroundExecutor::shared(NotificationBus::default(), 1);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..500 {
        let id = TaskId::new(&number.to_string()).expect("a name");
        let submitted = submit(&executor, &id, LAST_WORDS);
        submitted.expect("the one before has ended");
        let outcome = loop {
            if let Some(outcome) = lock(&executor).check(&id).expect("a known task").outcome {
                break outcome;
            }
            std::hint::spin_loop();
        };
        ours.push(since(&outcome.output));
        let output = plain(LAST_WORDS).output().expect("bash").stdout;
        theirs.push(since(&String::from_utf8_lossy(&output)));
    }
    table.note(
        "a shell's last words to Command::output: median",
        format!("{:.2} ms", median(theirs)),
    );
    table.at_most(
        "a shell's last words to its outcome on the bus: median",
        median(ours),
        0.4,
        " ms",
    );
}

fn ten_thousand_tasks(table: &mut Table) {
    let executor = BackgroundExecutor::shared(NotificationBus::default(), 4);
    let mut submitted = Vec::new();
    let mut run = |from: usize, to: usize| {
        let started = Instant::now();
        for number in from..to {
            while lock(&executor).running().len() == 4 {
                std::thread::yield_now();
            }
            let id = TaskId::new(&number.to_string()).expect("a name");
            submitted.push(milliseconds(|| {
                submit(&executor, &id, "true").expect("there is room")
            }));
        }
        while !lock(&executor).running().is_empty() {
            std::thread::yield_now();
        }
        started.elapsed()
    };
    run(0, 200);
    std::thread::sleep(Duration::from_millis(100)); // as below: what is compared has come to rest
    let before = [status("VmRSS"), descriptors(), threads()];
    let took = run(200, 10_200);
    std::thread::sleep(Duration::from_millis(100)); // the last supervisors are buried
    let after = [status("VmRSS"), descriptors(), threads()];
    table.note(
        "10,000 short tasks, four at a time",
        format!("{:.1} s", took.as_secs_f64()),
    );
    for (what, index) in [
        ("resident memory, KiB", 0),
        ("descriptors", 1),
        ("threads", 2),
    ] {
        table.note(
            &format!("  {what}"),
            format!("{} → {}", before[index], after[index]),
        );
    }
    let grown = after[0] as f64 - before[0] as f64;
    table.at_most(
        "  what remembering an ended task takes",
        grown * 1024.0 / 10_000.0,
        1024.0,
        " B",
    );
    table.at_most(
        "  descriptors that are left over",
        after[1] as f64 - before[1] as f64,
        0.0,
        "",
    );
    table.at_most("submit: median", median(submitted) * 1000.0, 100.0, " µs");
}

/// Says when it was asked.
struct Clock(Sender<Instant>);

impl Model for Clock {
    fn reply(&self, _: &Request<'_>) -> Result<Reply, ModelError> {
        let _ = self.0.send(Instant::now());
        Ok(Reply {
            content: vec![ContentBlock::text("done")],
            stop_reason: StopReason::EndTurn,
            usage: Usage::default(),
        })
    }

    fn describe(&self) -> String {
        "a clock".to_string()
    }
}

/// A claim with all that is around it: the call of `dispatch`, the board read, a lease, the new
/// status written, a thread, an agent.
fn claims(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let executor = BackgroundExecutor::shared(NotificationBus::default(), 4);
    let (tell, asked) = unbounded();
    let context = Context::default();
    let mut agent = Agent::new(Arc::new(Clock(tell)), "", context.clone());
    let board = TaskBoard::open(folder.path());
    let agents = Definitions::default();
    agent.toolbox.add(task_board::tools(board.clone()));
    let [_, dispatch] = pipeline::tools(&agent, &agents, &executor, board);
    let create = agent.toolbox.get("task_create").expect("a tool");
    let mut times = Vec::new();
    for round in 0..50 {
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("a file");
        }
        for number in 0..6 {
            let task = json!({ "subject": format!("task {number}") });
            create.call(task, &context).expect("a task");
        }
        for task in 1..=6 {
            let name = format!("{round}-{task}");
            let started = Instant::now();
            let input = json!({ "name": name, "tasks": [task] });
            dispatch.call(input, &context).expect("a pipeline");
            let asked = asked.recv().expect("an agent");
            times.push((asked - started).as_secs_f64() * 1000.0);
            while !lock(&executor).running().is_empty() {
                std::thread::yield_now();
            }
        }
    }
    let what = "a board task of 6, from `dispatch` to its agent's request, median";
    table.at_most(what, median(times), 1.0, " ms");
}

/// The folder of a repository, in which a caller works.
struct Repository(PathBuf);

impl Folder for Repository {
    fn path(&self) -> &Path {
        &self.0
    }
}

/// A worktree as `task` makes it, until its agent could begin; the same by hand, and as a command.
fn worktrees(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let git = |command: &str| {
        let mut bash = plain(&format!("git {command}"));
        let status = bash.current_dir(folder.path()).status().expect("bash");
        assert!(status.success(), "git {command}");
    };
    let author = "-c user.name=a -c user.email=a@b";
    git("init -q");
    std::fs::write(folder.path().join("notes.txt"), "hello\n").expect("a file");
    git("add .");
    git(&format!("{author} commit -qm first"));
    let (tell, begun) = unbounded();
    let begin = move |_: serde_json::Value, _: &Context| {
        let _ = tell.send(Instant::now());
        Ok(String::new())
    };
    let mut toolbox = Toolbox::default();
    let schema = json!({ "properties": { "description": { "type": "string" } } });
    let agent = Tool::new("task", "", schema, Access::Free, begin);
    toolbox.add([agent]);
    let task = worktree::task(&toolbox);
    let folder = Arc::new(Repository(folder.path().to_path_buf()));
    let context = Context {
        folder,
        ..Context::default()
    };
    let [mut ours, mut hand, mut command] = [const { Vec::new() }; 3];
    for _ in 0..101 {
        hand.push(milliseconds(|| {
            git("worktree add --quiet -b hand .worktrees/hand")
        }));
        git("worktree remove .worktrees/hand; git branch -q -D hand");
        command.push(milliseconds(|| contained("true")));
        let input = json!({ "description": "tool", "worktree": true });
        let started = Instant::now();
        task.call(input, &context).expect("a worktree");
        let begun = begun.recv().expect("an agent");
        ours.push((begun - started).as_secs_f64() * 1000.0);
    }
    let (ours, hand, command) = (median(ours), median(hand), median(command));
    let what = "`git worktree add` by hand, and a contained `true`, medians";
    table.note(what, format!("{hand:.1} + {command:.1} ms"));
    let what = "a worktree by `task`, until its agent could begin, median";
    table.note(what, format!("{ours:.1} ms"));
    let what = "the same, against these two together";
    table.at_most(what, ours / (hand + command), 1.0, " ×");
}

/// What ten thousand commands leave, one after the other.
fn idle_supervisors(table: &mut Table) {
    (0..10_000).for_each(|_| contained("true"));
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let list = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children"));
    let lists: String = threads.flatten().flat_map(list).collect();
    // By name: a child may as well be what a git of another measurement left to us.
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let names: Vec<String> = lists.split_whitespace().filter_map(name).collect();
    let (supervisors, others): (Vec<&String>, _) = names
        .iter()
        .partition(|name| name.contains("(supervisor)") && !name.contains(") Z "));
    let others = others.iter().filter_map(|it| it.split(['(', ')']).nth(1));
    let others: Vec<&str> = others.collect();
    if !others.is_empty() {
        table.note("and children that are none", others.join(", "));
    }
    table.at_most(
        "10,000 commands one after the other: idle supervisors",
        supervisors.len() as f64,
        2.0,
        "",
    );
}

fn throughput(table: &mut Table) {
    let before = status("VmHWM");
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let contained = milliseconds(|| contained(FLOOD));
        let piped = format!("{FLOOD} | cat > /dev/null");
        let plain = milliseconds(|| assert!(plain(&piped).status().expect("bash").success()));
        ratios.push(plain / contained);
        ours.push(2048.0 / contained);
        theirs.push(2048.0 / plain);
    }
    table.note(
        "2 GiB of output, contained: median",
        format!("{:.2} GiB/s", median(ours) * 1000.0 / 1024.0),
    );
    table.note(
        "2 GiB through `| cat > /dev/null`: median",
        format!("{:.2} GiB/s", median(theirs) * 1000.0 / 1024.0),
    );
    table.at_least(
        "2 GiB: median ratio of throughputs",
        median(ratios),
        0.5,
        "",
    );
    let grown = status("VmHWM") as f64 - before as f64;
    table.at_most(
        "2 GiB, three times: growth of the most memory",
        grown / 1024.0,
        4.0,
        " MiB",
    );
}

/// A line of /proc/self/status, in KiB; 0 where there is no /proc.
fn status(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    value
        .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

fn threads() -> u64 {
    status("Threads")
}
