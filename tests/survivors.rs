//! When the program is gone, is anything of what it started still running?
//!
//! `cargo test --test survivors` starts a command that forks in seven ways, ends the program in
//! every way it can end, and prints how many of the seven are left three seconds later. Exit code 1
//! if there is one.
//!
//! Each of the seven ignores SIGHUP, SIGINT and SIGTERM, so that only SIGKILL ends it. What is left
//! is killed when it has been counted.

mod support;

use std::fs;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use meanwhile::agent::Agent;
use meanwhile::background::BackgroundExecutor;
use meanwhile::delivery::Deliveries;
use meanwhile::foreground::Foreground;
use meanwhile::mcp::Servers;
use meanwhile::message::{Message, push_user};
use meanwhile::monitor::Monitors;
use meanwhile::notification::NotificationBus;
use meanwhile::pipeline;
use meanwhile::process::supervisor::become_supervisor_if_asked;
use meanwhile::repl::Repl;
use meanwhile::subagent::{self, Definitions};
use meanwhile::task_board::{self, TaskBoard};
use meanwhile::tools::{background, bash};
use meanwhile::worktree;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use support::program::{clean_environment, program};
use support::terminal::{Seat, Terminal, eventually};
use tempfile::TempDir;

const RUNS: [&str; 7] = [
    "foreground",
    "ampersand",
    "nohup",
    "setsid",
    "double_fork",
    "job_control",
    "empty_environment",
];

/// Each run writes its process ids into a file. The foreground child also notes that it was asked
/// to end.
const TREE: &str = r#"
mkdir -p pids
run='trap "" HUP INT TERM; echo $$ > "$1"; exec sleep 600'
bash -c "$run" - pids/ampersand &
nohup bash -c "$run" - pids/nohup &
setsid bash -c "$run" - pids/setsid &
(setsid bash -c '(bash -c "$1" - "$2" &)' - "$run" pids/double_fork &)
set -m
bash -c "$run" - pids/job_control &
set +m
env -i setsid bash -c "$run" - "$PWD/pids/empty_environment" &
bash -c '
    trap "" HUP INT
    trap "echo > asked" TERM
    (trap "" TERM; exec sleep 600) &
    echo $$ $! > pids/foreground
    wait; wait; wait'
"#;

/// Makes a repository in which the script is committed.
const REPOSITORY: &str = "git init -q && git add tree.sh && git -c maintenance.auto=false \
    -c user.name=you -c user.email=you@example.org commit -qm tree";

/// How long after the program's end nothing may be left.
const LIMIT: Duration = Duration::from_secs(3);

/// How the program ends.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Exit,
    CtrlD,
    EndOfPipe,
    CtrlCTwice,
    Signal(Signal),
    TerminalClosed,
    Panic,
    SupervisorKilled,
}

/// A server that answers, and has started seven runs.
const CONFIG: &str = r#"{"mcpServers": {"time": {"command": "bash", "args": ["-c", "bash tree.sh >&2 & exec bash time.sh"]}}}"#;
const TIME: &str = include_str!("../src/mcp/time.sh");

/// What it does at that moment.
#[derive(Clone, Copy, PartialEq)]
enum While {
    Idle,
    Running,
    /// The command is a task that the main thread waits for.
    Waited,
    /// The same as `Running`, and the terminal takes no more of what the program prints.
    Held,
    /// The command is that of an agent in a worktree, in the background.
    Worktree,
    /// The command is that of an agent of a pipeline.
    Pipeline,
    /// The command is watched by a monitor.
    Monitor,
    /// The command is a server that has started it.
    Server,
    /// The command is that of a mate, which is a process of its own.
    Mate,
}

impl While {
    /// Whether the prompt waits for a line.
    fn is_idle(self) -> bool {
        self == While::Idle || self == While::Server || self.is_told()
    }

    /// Whether the program says, before it ends, what would end with it.
    fn is_told(self) -> bool {
        matches!(
            self,
            While::Worktree | While::Pipeline | While::Monitor | While::Mate
        )
    }

    /// Whether another command of the program may run as well: git, or a server.
    fn is_not_alone(self) -> bool {
        matches!(self, While::Worktree | While::Mate)
    }
}

const WAYS: [(&str, Way); 10] = [
    ("exit", Way::Exit),
    ("Ctrl+D", Way::CtrlD),
    ("end of a pipe", Way::EndOfPipe),
    ("Ctrl+C twice", Way::CtrlCTwice),
    ("SIGTERM", Way::Signal(Signal::SIGTERM)),
    ("SIGHUP", Way::Signal(Signal::SIGHUP)),
    ("terminal closed", Way::TerminalClosed),
    ("panic", Way::Panic),
    ("SIGKILL", Way::Signal(Signal::SIGKILL)),
    ("(SIGKILL of the supervisor)", Way::SupervisorKilled),
];

fn main() -> ExitCode {
    become_supervisor_if_asked();
    if std::env::var_os("LESSON_THAT_PANICS").is_some() {
        return lesson_that_panics();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("survivors: test");
        return ExitCode::SUCCESS;
    }
    if arguments
        .iter()
        .any(|filter| !filter.starts_with('-') && !"survivors".contains(filter.as_str()))
    {
        return ExitCode::SUCCESS;
    }
    if !cfg!(target_os = "linux") {
        println!(
            "survivors: only Linux has subreapers; see src/process/supervisor.rs for what is promised here"
        );
        return ExitCode::SUCCESS;
    }
    print_table()
}

fn print_table() -> ExitCode {
    println!("\nA command starts seven runs: {}.", RUNS.join(", "));
    println!("How many of them are alive after the program's end?\n");
    row(
        "",
        [
            "background task,",
            "foreground call",
            "foreground call",
            "foreground call,",
            "agent in a",
            "agent of a",
            "monitor,",
            "server that",
            "mate at work,",
        ],
    );
    row(
        "the program ends by",
        [
            "prompt is idle",
            "that blocks (s08)",
            "that is a task (s11)",
            "the screen is held",
            "worktree (s12)",
            "pipeline (s15)",
            "prompt is idle (s16)",
            "answers (s17)",
            "prompt is idle (s20)",
        ],
    );
    let mut failed = false;
    for (name, way) in WAYS {
        let cells = [
            While::Idle,
            While::Running,
            While::Waited,
            While::Held,
            While::Worktree,
            While::Pipeline,
            While::Monitor,
            While::Server,
            While::Mate,
        ]
        .map(|state| {
            let attempt = || {
                catch_unwind(|| attempt(way, state)).unwrap_or(Err("BROKEN, see above".to_string()))
            };
            possible(way, state).then(attempt)
        });
        failed |= cells.iter().flatten().any(|result| result.is_err());
        let cells = cells
            .map(|cell| cell.map_or("-".to_string(), |result| result.unwrap_or_else(|bad| bad)));
        row(name, cells.each_ref().map(String::as_str));
    }
    println!(
        "\n-  cannot happen: while a call runs, typed lines and the end of input wait for its end, and keys for the screen. The program that panics here starts no mate."
    );
    println!("() does not end the program, only the small process between it and the command.\n");
    ExitCode::from(u8::from(failed))
}

fn row<const N: usize>(name: &str, cells: [&str; N]) {
    let cells = cells.map(|cell| format!("{cell:<20}")).join(" ");
    println!("{name:<28} {}", cells.trim_end());
}

fn possible(way: Way, state: While) -> bool {
    match way {
        Way::Exit | Way::CtrlD | Way::EndOfPipe => state.is_idle(),
        Way::CtrlCTwice | Way::SupervisorKilled => state != While::Held,
        Way::Panic => state != While::Mate, // the program that panics here is no lesson
        Way::Signal(_) | Way::TerminalClosed => true,
    }
}

/// One cell of the table; an error if something was not as it should be.
fn attempt(way: Way, state: While) -> Result<String, String> {
    let line = match (state, way) {
        (While::Idle, _) => r#"run "bash tree.sh" in the background as tree"#,
        (While::Worktree, _) => r#"delegate "run 'bash tree.sh'" as tree in a worktree"#,
        (While::Monitor, _) => r#"monitor "bash tree.sh" as tree and wake me"#,
        (While::Pipeline, _) => r#"create task "run 'bash tree.sh'", then dispatch tree"#,
        (While::Server, _) => "/mcp on time",
        (While::Mate, _) => r#"create task "run 'bash tree.sh'", then start team crew with tree"#,
        (_, Way::Panic) => r#"panic during: run "bash tree.sh""#,
        _ => r#"run "bash tree.sh""#,
    };
    let mut program = Program::start(way, state);
    program.line(line);
    let mut tree = match state {
        While::Worktree => Tree::grown(&program.folder().join(".worktrees/tree")),
        _ => Tree::grown(program.folder()),
    };
    let mut supervisors = Vec::new();
    eventually("a supervisor for the command", || {
        supervisors = children(program.id());
        supervisors.retain(|pid| {
            fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"supervisor\n")
        });
        supervisors.len() == 1 || state.is_not_alone() && !supervisors.is_empty()
    });
    if way == Way::SupervisorKilled {
        let its = if state == While::Mate {
            "--mate"
        } else {
            "tree.sh"
        };
        let is_its = |pid: &Pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !state.is_not_alone() || line.contains(its)
        };
        let busy = supervisors
            .iter()
            .find(|pid| children(**pid).iter().any(is_its))
            .expect("the command's supervisor");
        tree.add("supervisor", *busy);
        kill(*busy, Signal::SIGKILL).expect("a supervisor");
    } else {
        supervisors
            .iter()
            .for_each(|pid| tree.add("supervisor", *pid));
        program.end(way, state);
    }
    let (left, after) = tree.wait_until_gone();
    if way == Way::SupervisorKilled {
        if state.is_told() {
            program.terminal().until_shows("◆ tree: ");
        }
        program.line(r#"run "echo it goes on" in the background as proof, then wait for proof"#);
        program.terminal().until_shows("· it goes on");
        program.line("exit");
        program.terminal().wait();
    }
    match left.is_empty() {
        true => Ok(format!("0 of 7   ({} ms)", after.as_millis())),
        false => Err(format!("LEFT: {}", left.join(", "))),
    }
}

/// The program, at a terminal or at a pipe.
enum Program {
    Terminal(Terminal),
    Pipe(Arc<TempDir>, Child, Option<ChildStdin>),
}

impl Program {
    fn start(way: Way, state: While) -> Self {
        let lesson = match state {
            While::Waited => "s11_foreground_background",
            While::Worktree => "s12_worktrees",
            While::Pipeline => "s15_pipelines",
            While::Monitor => "s16_monitors",
            While::Server => "s17_mcp",
            While::Mate => "s20_parallel_teams",
            _ => "s08_background_tasks",
        };
        let seat = match way {
            Way::Panic => Seat::at(std::env::current_exe().expect("this program"))
                .variable("LESSON_THAT_PANICS", lesson),
            _ => Seat::new(lesson),
        };
        fs::write(seat.folder.path().join("tree.sh"), TREE).expect("a script");
        fs::write(seat.folder.path().join("time.sh"), TIME).expect("a script");
        let config = match state {
            While::Mate => r#"{"mcpServers": {}}"#,
            _ => CONFIG,
        };
        fs::write(seat.folder.path().join(".mcp.json"), config).expect("a file");
        if state == While::Worktree {
            let mut bash = Command::new("bash");
            bash.args(["-c", REPOSITORY])
                .current_dir(seat.folder.path());
            let made = bash.status().expect("bash runs");
            assert!(made.success(), "a repository");
        }
        mkfifo(&seat.folder.path().join("panic"), Mode::S_IRWXU).expect("a gate");
        if way != Way::EndOfPipe {
            let terminal = seat.argument("--yes").argument("--no-suggestions").start();
            terminal.until_ends(" >>");
            return Program::Terminal(terminal);
        }
        let mut command = Command::new(program(lesson));
        clean_environment(&mut command, seat.folder.path());
        let mut child = command
            .arg("--yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take();
        Program::Pipe(seat.folder, child, stdin)
    }

    fn id(&self) -> Pid {
        match self {
            Program::Terminal(terminal) => terminal.id(),
            Program::Pipe(_, child, _) => Pid::from_raw(child.id() as i32),
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Program::Terminal(terminal) => terminal.folder.path(),
            Program::Pipe(folder, ..) => folder.path(),
        }
    }

    fn terminal(&mut self) -> &mut Terminal {
        match self {
            Program::Terminal(terminal) => terminal,
            Program::Pipe(..) => unreachable!("this way needs a terminal"),
        }
    }

    fn line(&mut self, line: &str) {
        match self {
            Program::Terminal(terminal) => terminal.line(line),
            Program::Pipe(_, _, stdin) => writeln!(stdin.as_mut().expect("an open pipe"), "{line}")
                .expect("the program reads"),
        }
    }

    /// Ends the program, and makes sure that it ended this way.
    fn end(&mut self, way: Way, state: While) {
        if let Program::Pipe(_, child, stdin) = self {
            *stdin = None;
            assert_eq!(child.wait().expect("a child").code(), Some(0));
            return;
        }
        let gate = self.folder().join("panic");
        let asked = self.folder().join("asked");
        let terminal = self.terminal();
        match state {
            While::Idle | While::Worktree | While::Pipeline | While::Monitor | While::Mate => {
                terminal.until_ends(" >>")
            }
            While::Server => {
                terminal.until_shows("time  on, running");
                terminal.until_ends(" >>");
            }
            While::Running | While::Waited => {} // the command has grown, so it is waited for
            While::Held => {
                // All threads that draw wait for the terminal: for the keys, and for the time.
                terminal.until_shows("tree.sh, 1 s");
                terminal.hold();
                terminal.send("typed, and not shown");
            }
        }
        match way {
            Way::Exit | Way::CtrlD => {
                let keys = if way == Way::Exit { "exit\r" } else { "\x04" };
                if state.is_told() {
                    // It says first what would end.
                    terminal.send(keys);
                    terminal.until_shows("Still running: tree.");
                    terminal.until_ends(" >>");
                }
                terminal.send(keys);
            }
            Way::CtrlCTwice => {
                terminal.send("\x03");
                match state {
                    While::Idle | While::Server => terminal.until_shows("To leave"),
                    state if state.is_told() => terminal.until_shows("Still running: tree."),
                    _ => eventually("the command was asked to end", || asked.exists()),
                }
                terminal.send("\x03");
            }
            Way::Signal(signal) => terminal.signal(signal),
            Way::TerminalClosed => terminal.close(),
            Way::Panic if state.is_idle() => terminal.line("panic"),
            Way::Panic => fs::write(gate, "").expect("the gate opens"),
            Way::EndOfPipe | Way::SupervisorKilled => {
                unreachable!("no way for a program at a terminal to end")
            }
        }
        let code = terminal.wait();
        let expected: &[u32] = match (way, state) {
            (Way::CtrlCTwice, While::Running | While::Waited) => &[130],
            (Way::Signal(Signal::SIGKILL), _) => &[1], // no code at all
            (Way::Signal(signal), _) => &[128 + signal as u32],
            (Way::TerminalClosed, _) => &[129, 0], // the signal or the end of input, whichever comes first
            (Way::Panic, _) => &[101],
            _ => &[0],
        };
        assert!(
            expected.contains(&code),
            "exit code {code}, not {expected:?}\n{}",
            terminal.text()
        );
        if !matches!(way, Way::TerminalClosed | Way::Signal(Signal::SIGKILL)) {
            assert!(
                terminal.is_as_before() && (state == While::Held || !terminal.marks_pastes()),
                "the terminal was not put back"
            );
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Program::Pipe(_, child, _) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process, also when another one gets its number.
struct Process {
    name: String,
    pid: Pid,
    start: String,
}

/// All that must not survive.
struct Tree(Vec<Process>);

impl Tree {
    /// Waits until all seven runs are there.
    fn grown(folder: &Path) -> Self {
        let mut tree = Tree(Vec::new());
        for name in RUNS {
            let file = folder.join("pids").join(name);
            let mut pids = String::new();
            eventually(name, || {
                pids = fs::read_to_string(&file).unwrap_or_default();
                pids.ends_with('\n')
            });
            for pid in pids.split_whitespace() {
                tree.add(name, Pid::from_raw(pid.parse().expect("a process id")));
            }
        }
        tree
    }

    fn add(&mut self, name: &str, pid: Pid) {
        let (_, start) =
            state_and_start(pid).unwrap_or_else(|| panic!("{name} has gone too early"));
        self.0.push(Process {
            name: name.to_string(),
            pid,
            start,
        });
    }

    /// The names of those that are alive when the time is up, and how long it took.
    fn wait_until_gone(&self) -> (Vec<String>, Duration) {
        let since = Instant::now();
        loop {
            let alive = || self.0.iter().filter(|process| process.is_alive());
            if alive().next().is_none() || since.elapsed() > LIMIT {
                return (
                    alive().map(|process| process.name.clone()).collect(),
                    since.elapsed(),
                );
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for process in self.0.iter().filter(|process| process.is_alive()) {
            let _ = kill(process.pid, Signal::SIGKILL);
        }
    }
}

impl Process {
    /// One that has died and only waits to be reaped is not alive.
    fn is_alive(&self) -> bool {
        state_and_start(self.pid)
            .is_some_and(|(state, start)| start == self.start && !"ZX".contains(&state))
    }
}

/// From /proc/PID/stat: "PID (name, which may hold anything) STATE …", the 22nd being the time of its start.
fn state_and_start(pid: Pid) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit_once(") ")?.1.split(' ').map(String::from);
    Some((words.next()?, words.nth(18)?))
}

fn children(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        list.split_whitespace()
            .map(str::to_string)
            .collect::<Vec<_>>()
    });
    pids.filter_map(|pid| pid.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

/// What a lesson is, with a line that makes its main thread panic. (No line of a real lesson does.)
fn lesson_that_panics() -> ExitCode {
    let options = meanwhile::start("# panic · A lesson whose main thread panics");
    let mut repl = Repl::new(&options);
    let model = meanwhile::connect(&Default::default());
    repl.greet(&*model);
    let mut agent = Agent::new(model, "", repl.context());
    agent.toolbox.add([bash::tool()]);
    let executor = BackgroundExecutor::shared(NotificationBus::default(), 4);
    agent.toolbox.add(background::tools(&executor));
    let lesson = std::env::var("LESSON_THAT_PANICS").unwrap_or_default();
    if lesson.as_str() >= "s11" {
        let foreground = Foreground::attach(&executor, &mut repl);
        let definitions = Definitions::default();
        agent.toolbox.add([subagent::tool(&agent, &definitions)]);
        let board = TaskBoard::open(".tasks");
        agent.toolbox.add(task_board::tools(board.clone()));
        let [_, dispatch] = pipeline::tools(&agent, &definitions, &executor, board);
        agent.toolbox.add([dispatch]);
        agent
            .toolbox
            .replace(foreground.tools(&agent, &definitions));
        let task = worktree::task(&agent.toolbox);
        agent.toolbox.replace([task]);
        agent
            .toolbox
            .add(Monitors::attach(&Deliveries::new(&executor)).tools());
    }
    let foreground = Foreground::new(&executor, repl.context());
    let servers = Servers::attach(&options, &foreground, &mut repl);
    let turn = |agent: &Agent, prompt: &str| {
        let mut messages = Vec::<Message>::new();
        push_user(&mut messages, prompt);
        while let Ok(reply) = agent.ask(&mut messages)
            && !reply.tool_calls().is_empty()
        {
            agent.run_tools(reply, &mut messages);
        }
    };
    while let Some(line) = repl.read() {
        match line.strip_prefix("panic during: ") {
            // In a lesson the main thread is inside the call, and has no chance to panic. Here the
            // turn runs on another thread.
            Some(prompt) => {
                let (agent, prompt) = (agent.clone(), prompt.to_string());
                thread::spawn(move || turn(&agent, &prompt));
                let _ = fs::read("panic"); // until somebody opens this gate
                panic!("as the line said");
            }
            None if servers.command(&repl, &line) => {}
            None if line == "panic" => panic!("as the line said"),
            None => turn(&agent, &line),
        }
    }
    repl.leave()
}
