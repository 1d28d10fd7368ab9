//! `compare`: what it shows in a pipe and at a terminal, and what it leaves behind.

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use support::program::{clean_environment, eventually, program};
use support::server::{Server, reply_text};
use support::terminal::{Seat, Terminal};
use tempfile::TempDir;

/// The scenario's jobs in seconds, before they are scaled.
const JOBS: [f64; 3] = [30.0, 60.0, 120.0];
/// What the practice model takes for a request, likewise.
const THINKING: f64 = 2.0;

fn run(arguments: &[&str], variables: &[(&str, &str)], folder: &Path) -> Output {
    let mut command = Command::new(program("compare"));
    clean_environment(&mut command, folder);
    // Cargo has built the programs already.
    command
        .env_remove("CARGO")
        .env_remove("MEANWHILE_THINKING_MS")
        .env("TMPDIR", folder);
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("compare runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("valid text")
}

/// The figures of a row of the table: those of s07, of s08, and of what comes after.
fn row(shown: &str, label: &str) -> Vec<f64> {
    let line = shown.lines().find(|line| line.contains(label));
    let line = line.unwrap_or_else(|| panic!("no row {label:?} in:\n{shown}"));
    let cells = line
        .split('|')
        .skip(2)
        .map(|cell| cell.trim().trim_end_matches(" s"));
    cells
        .filter(|cell| !cell.is_empty())
        .map(|cell| cell.parse().expect("a figure"))
        .collect()
}

/// What the story says of its times, and these do not.
fn times_of_the_story(shown: &str, scale: f64, stopwatch: f64) -> Result<(), String> {
    let (sum, longest) = (JOBS.iter().sum::<f64>() / scale, JOBS[2] / scale);
    let labels = ["wall time", "blocked on tools", "first result"];
    let [wall, blocked, first] = labels.map(|label| row(shown, label));
    let labels = ["requests to the model", "polls that found nothing"];
    let [requests, in_vain] = labels.map(|label| row(shown, label));
    let own = requests.iter().zip(&in_vain);
    let own: Vec<f64> = own
        .map(|(all, vain)| (all - vain) * THINKING / scale)
        .collect();
    // s07 takes what all jobs take, one after the other; s08 at least what the longest takes.
    assert!(wall[0] >= 0.97 * sum && wall[1] >= longest, "{shown}");
    assert!(blocked[0] >= 0.9 * sum, "{shown}");
    assert!(in_vain[0] == 0.0 && in_vain[1] > 0.0, "{shown}");
    let first_job = JOBS[0] / scale;
    assert!(first[0] >= first_job && first[1] >= first_job, "{shown}");
    // What is printed is rounded.
    assert!(wall[0] <= stopwatch + 0.05, "{stopwatch} s\n{shown}");
    let upper = [
        (wall[0], 1.5 * (sum + own[0]), "s07"),
        (wall[1], 1.5 * (longest + own[1]), "s08"),
        (wall[1], 0.8 * wall[0], "s08 beside s07"),
        // In s07 the main thread waits, in s08 it asks.
        (blocked[1], 0.1 * wall[1], "s08, blocked"),
        // The longer of them is nearly all that compare does.
        (0.8 * stopwatch, wall[0], "all but s07"),
    ];
    let over = upper.iter().find(|(took, limit, _)| took > limit);
    over.map_or(Ok(()), |(took, limit, what)| {
        Err(format!("{what}: {took:.2} s, not {limit:.2}"))
    })
}

/// Runs `compare` until its times are as they should be: on a machine with other work, what it takes to
/// start and to answer counts less in longer tasks. Returns what it printed.
#[track_caller]
fn compared(
    arguments: &str,
    folder: &Path,
    times: impl Fn(&str, f64, f64) -> Result<(), String>,
) -> String {
    let mut last = None;
    for scale in [40.0, 20.0, 10.0] {
        let arguments = format!("--scale {scale} {arguments}");
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let started = Instant::now();
        let output = run(&arguments, &[], folder);
        let stopwatch = started.elapsed().as_secs_f64();
        let shown = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let is_narrow = |line: &str| !line.contains('\x1b') && line.chars().count() < 80;
        assert!(shown.lines().all(is_narrow), "{shown}");
        match times(&shown, scale, stopwatch) {
            Ok(()) => return shown,
            Err(why) => last = Some(format!("{why}\n{shown}")),
        }
    }
    panic!("{}", last.unwrap_or_default());
}

#[test]
fn the_default_scenario_tells_the_story() {
    let folder = tempfile::tempdir().unwrap();
    compared("--chart pictures", folder.path(), times_of_the_story);
    for (name, lanes) in [("s07", 1), ("s08", 4), ("s09", 4)] {
        let picture =
            std::fs::read_to_string(folder.path().join("pictures").join(format!("{name}.svg")))
                .unwrap();
        assert_eq!(
            picture.matches("<text x=\"16\"").count(),
            lanes,
            "{picture}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["pictures"], "files are left");
}

#[test]
fn odd_scenarios_are_taken_or_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("list.txt"), text).unwrap();
    let go = |arguments: &[&str]| {
        let output = run(arguments, &[], folder.path());
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    write("\n  \n# nothing\n");
    let (code, out, err) = go(&["--scenario", "list.txt"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("The scenario holds no instruction."), "{err}");
    let (code, _, err) = go(&["--scenario", "nowhere.txt"]);
    assert!(
        code == Some(2) && err.starts_with("nowhere.txt cannot be read: "),
        "{err}"
    );
    for scale in ["0", "-1", "inf", "NaN", "many"] {
        assert_eq!(go(&["--scale", scale]).0, Some(2), "{scale}");
    }
    // Braces that are no number of seconds are the command's own.
    write("run \"touch a{b,c} {inf} {1 {2}\"\nrun \"sleep {8}; echo {}\"");
    let (code, out, err) = go(&["--scenario", "list.txt", "--scale", "40"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(row(&out, "requests to the model"), [3.0, 3.0, 3.0], "{out}");
    assert!(
        row(&out, "blocked on tools")
            .iter()
            .all(|time| *time >= 0.2),
        "{out}"
    );
}

#[test]
fn a_poll_is_no_result_whatever_the_command_prints() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "run \"echo finished; sleep {40}\" in the background as a\nwait for a\n\
                    run \"echo ERROR; sleep {40}\" in the background as b\nwait for all";
    std::fs::write(folder.path().join("list.txt"), scenario).unwrap();
    let output = run(
        &["--scenario", "list.txt", "--scale", "40"],
        &[],
        folder.path(),
    );
    let shown = text(&output.stdout);
    let first = row(&shown, "first result");
    assert!(first.iter().all(|seconds| *seconds >= 1.0), "{shown}");
    assert!(row(&shown, "polls that found nothing")[1] > 2.0, "{shown}");
}

#[test]
fn help_ends_quietly_when_nobody_reads_it() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(program("compare"));
    let help = command.arg("--help").stdout(writer).stderr(Stdio::piped());
    let output = help.output().expect("compare runs");
    assert_eq!(
        (output.status.code(), text(&output.stderr).as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_real_model_is_named_and_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["--real"], &[], folder.path());
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("No model is connected: set ANTHROPIC_API_KEY"),
        "{said}"
    );
    let server = Server::start([reply_text("done"), reply_text("done"), reply_text("done")]);
    std::fs::write(folder.path().join("list.txt"), "say done").unwrap();
    let variables = [
        ("ANTHROPIC_BASE_URL", &*server.url()),
        ("ANTHROPIC_MODEL", "some-model"),
    ];
    let output = run(
        &["--real", "--scenario", "list.txt"],
        &variables,
        folder.path(),
    );
    assert!(
        text(&output.stderr).contains("some-model"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(
        row(&text(&output.stdout), "requests to the model"),
        [1.0, 1.0, 1.0]
    );
}

/// `compare` at a terminal, with a scenario in its folder.
fn at_a_terminal(folder: TempDir, scenario: &str) -> Terminal {
    std::fs::write(folder.path().join("list.txt"), scenario).unwrap();
    let temporary = folder.path().to_str().unwrap().to_string();
    let seat = Seat::new("compare")
        .folder(Some(Arc::new(folder)))
        .without("CARGO");
    let seat = ["--scenario", "list.txt", "--scale", "40"]
        .into_iter()
        .fold(seat, Seat::argument);
    seat.variable("TMPDIR", &temporary).start()
}

/// All programs wait in a command for somebody to open `FOLDER/PROGRAM`; then it goes on.
fn gates(folder: &Path) -> String {
    for name in [
        "s07_task_system",
        "s08_background_tasks",
        "s09_notifications",
    ] {
        mkfifo(&folder.join(name), Mode::S_IRWXU).expect("a FIFO");
    }
    format!(
        "run \"echo > {}/$(basename $PWD); sleep {{4000}}\"",
        folder.display()
    )
}

fn open(gates: &Path) {
    for name in [
        "s07_task_system",
        "s08_background_tasks",
        "s09_notifications",
    ] {
        // To the end: a command is ended by SIGPIPE if nobody reads what it writes.
        fs::read(gates.join(name)).expect("a command goes through");
    }
}

#[test]
fn a_terminal_shows_it_grow_and_survives_a_resize() {
    let folder = tempfile::tempdir().unwrap();
    let gates_of = tempfile::tempdir().unwrap();
    let scenario = gates(gates_of.path()).replace("{4000}", "{1}");
    let mut terminal = at_a_terminal(folder, &scenario);
    let lane = |screen: &str| {
        screen
            .lines()
            .filter(|line| line.starts_with("  main "))
            .count()
            == 3
    };
    terminal.until("all lanes", |screen| {
        lane(screen) && screen.contains(" s …")
    });
    assert!(terminal.is_taken_over());
    for (rows, columns) in [(30, 120), (12, 50), (3, 20), (24, 80)] {
        terminal.resize(rows, columns);
        let columns = usize::from(columns);
        terminal.until("the axis at the new width", |screen| {
            let first = screen.lines().next().unwrap_or_default();
            let axis = screen.lines().nth(1).unwrap_or_default();
            let sane = screen.lines().all(|line| line.chars().count() < columns);
            first.starts_with("s07 synchronous")
                && sane
                && (columns < 40 || axis.len() == columns - 10)
        });
    }
    open(gates_of.path());
    terminal.until("the table", |screen| {
        screen.contains("| wall time") && screen.contains("requests to")
    });
    assert_eq!(terminal.wait(), 0);
    assert!(!terminal.is_taken_over());
}

#[test]
fn the_bar_of_a_program_that_blocks_grows_with_the_clock() {
    let gates_of = tempfile::tempdir().unwrap();
    let scenario = gates(gates_of.path()).replace("{4000}", "{1}");
    let mut terminal = at_a_terminal(tempfile::tempdir().unwrap(), &scenario);
    // The command in s07 cannot go on: nobody opens its gate before this has been seen.
    for seconds in [1.0, 2.0, 3.0] {
        terminal.until("the bar of s07 to grow", |screen| {
            let mut lanes = screen.lines().filter(|line| line.starts_with("  main "));
            let lane = lanes.next().unwrap_or_default();
            let busy = lane.trim_end_matches(" s").rsplit(' ').next();
            let busy: Option<f64> = busy.and_then(|busy| busy.parse().ok());
            lane.contains('█') && busy.is_some_and(|busy| busy >= seconds)
        });
    }
    open(gates_of.path());
    assert_eq!(terminal.wait(), 0);
}

/// Waits until no process has this word in its environment or its arguments.
#[cfg(target_os = "linux")]
fn until_nobody_has(word: &str) {
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let has = |file: std::path::PathBuf| {
            std::fs::read(file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(word))
        };
        let processes = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.path()));
        let left: Vec<_> = processes
            .filter(|path| has(path.join("environ")) || has(path.join("cmdline")))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still running: {left:?}");
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_runs_on_after_ctrl_c_or_a_kill() {
    use nix::sys::signal::{Signal, kill};
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGKILL)] {
        let folder = tempfile::tempdir().unwrap();
        let gates_of = tempfile::tempdir().unwrap();
        let mark = folder.path().to_str().unwrap().to_string();
        let mut terminal = at_a_terminal(folder, &gates(gates_of.path()));
        open(gates_of.path());
        let id = terminal.id();
        match signal {
            None => terminal.send("\x03"),
            Some(signal) => kill(id, signal).unwrap(),
        }
        assert_ne!(terminal.wait(), 0);
        until_nobody_has(&mark);
        if signal != Some(Signal::SIGKILL) {
            terminal.until("a sentence", |screen| screen.contains("Stopped."));
            assert!(!terminal.is_taken_over());
        }
    }
}

/// The lanes of a page's run, by their labels: when the first bar starts and the last one ends.
fn lanes(page: &Value, run: usize) -> HashMap<String, (f64, f64)> {
    let lanes = page["runs"][run]["chart"]["lanes"]
        .as_array()
        .expect("lanes");
    let time =
        |bar: Option<&Value>, what: &str| bar.expect("a bar")[what].as_f64().expect("a time");
    let lane = |lane: &Value| {
        let bars = lane["bars"].as_array().expect("bars");
        let label = lane["label"].as_str().expect("a label").to_string();
        (
            label,
            (time(bars.first(), "start"), time(bars.last(), "end")),
        )
    };
    lanes.iter().map(lane).collect()
}

#[test]
fn in_s10_the_question_is_answered_while_all_agents_run() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["auth", "billing", "search"];
    for name in names {
        mkfifo(&folder.path().join(name), Mode::S_IRWXU).expect("a FIFO");
    }
    // In s10 every agent waits for its gate.
    let wait = |name: &str, seconds: &str| {
        let gate = folder.path().join(name);
        let gate = gate.display();
        format!("{name}: run \"case $PWD in *s10*) cat {gate};; *) sleep {seconds};; esac\"\n")
    };
    let scenario = wait("auth", "{8}")
        + &wait("billing", "{40}")
        + &wait("search", "{40}")
        + "after {4}: run \"echo 391\"";
    std::fs::write(folder.path().join("list.txt"), scenario).unwrap();

    let root = folder.path().to_path_buf();
    let opener = std::thread::spawn(move || {
        // A turn for the instructions, and one for the question.
        let answered = std::panic::catch_unwind(|| {
            eventually("the question is answered while no agent can end", || {
                turns_that_ended(&root) >= 2
            });
        });
        // In any case, so that this test ends; for reading as well, so as not to wait for `cat`.
        for name in names {
            let mut gate = fs::OpenOptions::new();
            let gate = gate.read(true).write(true).open(root.join(name));
            gate.expect("a gate")
                .write_all(b"open\n")
                .expect("it takes it");
        }
        assert!(answered.is_ok(), "the question was not answered meanwhile");
    });
    let arguments = [
        "--scene",
        "agents",
        "--scenario",
        "list.txt",
        "--scale",
        "40",
        "--html",
        "page.html",
    ];
    let output = run(&arguments, &[], folder.path());
    opener.join().expect("the gates were opened");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    let (_, data) = page.split_once("id=\"data\">").expect("data");
    let page: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).expect("JSON");

    let [one_by_one, all, background] = [0, 1, 2].map(|run| lanes(&page, run));
    let (_, answered) = background["you"];
    for name in names {
        let (started, ended) = background[name];
        assert!(started < answered && answered < ended, "{name}\n{shown}");
        assert!(all[name].1 <= all["you"].1, "{name}\n{shown}");
    }
    assert!(one_by_one["sub-agent"].1 <= one_by_one["you"].1, "{shown}");
    // Who waits for all has the first result, of 0.2 s, after the longest, of 1 s.
    let (first, done) = (row(&shown, "first result"), row(&shown, "all done"));
    assert!(
        first[1] >= 1.0 && first[0] < done[0] && done[0] >= 2.2,
        "{shown}"
    );
    assert!(row(&shown, "question answered")[2] < done[2], "{shown}");
    let blocked = row(&shown, "blocked on tools");
    assert!(blocked[2] < 0.5 * blocked[1], "{shown}");
}

/// Turns of s10 that a line began, and that have ended.
fn turns_that_ended(root: &Path) -> usize {
    let entries = std::fs::read_dir(root).expect("the folder");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut traces = paths.map(|path| path.join("s10_background_agents/trace.json"));
    let trace = traces.find_map(|path| std::fs::read_to_string(path).ok());
    let trace = trace.unwrap_or_default();
    let turn_ends =
        |line: &&str| line.contains("\"ph\":\"E\"") && line.contains("\"cat\":\"turn\"");
    trace.lines().filter(turn_ends).count()
}

/// What the page says of the times of this scene, and these do not.
fn times_of_a_team(shown: &str, scale: f64, _: f64) -> Result<(), String> {
    let labels = ["all done", "first result", "blocked on tools"];
    let [done, first, blocked] = labels.map(|label| row(shown, label));
    // One agent takes what all tasks take; the others take about half of that.
    let sum: f64 = [60.0, 30.0, 30.0, 120.0, 30.0, 60.0].iter().sum::<f64>() / scale;
    assert!(done[0] >= sum && blocked[0] >= 0.9 * sum, "{shown}");
    let is_so = |it: bool, what: &str| it.then_some(()).ok_or(what.to_string());
    let quick = done[1..].iter().all(|it| *it < 0.8 * done[0]);
    is_so(quick, "the others are quicker")?;
    let free = blocked[1..].iter().all(|it| *it < 0.2 * sum);
    is_so(free, "the others are free")?;
    // A pipeline tells all at its end; from agents and mates something comes before.
    is_so(first[2] > 0.8 * done[2], "a pipeline tells all at its end")?;
    let soon = first[1] < 0.7 * done[1] && first[3] < 0.8 * done[3];
    is_so(soon, "something comes before the end")
}

#[test]
fn a_team_is_as_quick_as_threads_and_asks_more() {
    let folder = tempfile::tempdir().unwrap();
    let scene = "--scene team --html page.html --chart pictures";
    let shown = compared(scene, folder.path(), times_of_a_team);
    let requests = row(&shown, "requests, all");
    assert_eq!(row(&shown, "processes with a model"), [1.0, 1.0, 1.0, 4.0]);
    assert_eq!(row(&shown, "| conversations "), [1.0, 4.0, 7.0, 4.0]);
    assert_eq!(requests[0], 7.0, "{shown}");
    assert!(requests.is_sorted_by(|a, b| a < b), "{shown}");

    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    let (_, data) = page.split_once("id=\"data\">").expect("data");
    let page: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).expect("JSON");
    let mut team: Vec<String> = lanes(&page, 3).into_keys().collect();
    team.sort();
    assert_eq!(team, ["ann", "ben", "cid", "main"]);
    let left = std::fs::read_dir(folder.path()).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["page.html", "pictures"], "files are left");
    let mut pictures: Vec<_> = std::fs::read_dir(folder.path().join("pictures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    pictures.sort();
    assert_eq!(pictures, ["s07.svg", "s10.svg", "s15.svg", "s20.svg"]);
    #[cfg(target_os = "linux")]
    until_nobody_has(folder.path().to_str().unwrap());
}

#[test]
fn no_task_waits_behind_a_long_one_unless_it_was_dealt_to_the_same_agent() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    // Each program writes to a file of its own. The first task goes on when all others have ended
    // that can end before it, and says how many these are.
    let own = format!("own={here}/$(basename $PWD); touch $own");
    let first = format!(
        "{own}; case $own in *s07*) all=0;; *s10*) all=4;; *) all=5;; esac\n\
         for turn in $(seq 2000); do ended=$(wc -l < $own); [ $ended = $all ] && break; sleep 0.02; done\n\
         echo $ended > $own.seen"
    );
    std::fs::write(folder.path().join("first"), first).unwrap();
    let other = format!("{own}; echo ended >> $own");
    std::fs::write(folder.path().join("other"), other).unwrap();
    let scenario =
        format!("run \"bash {here}/first\"\n") + &format!("run \"bash {here}/other\"\n").repeat(5);
    std::fs::write(folder.path().join("list.txt"), scenario).unwrap();
    let arguments = ["--scene", "team", "--scenario", "list.txt", "--scale", "40"];
    let output = run(&arguments, &[], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen = |program: &str| {
        let seen = std::fs::read_to_string(folder.path().join(format!("{program}.seen")));
        seen.expect("the first task ended").trim().to_string()
    };
    assert_eq!(seen("s07_task_system"), "0");
    // The fourth is the second one of the agent that has the first.
    assert_eq!(seen("s10_background_agents"), "4");
    assert_eq!(seen("s15_pipelines"), "5");
    assert_eq!(seen("s20_parallel_teams"), "5");
}

#[test]
fn what_the_scene_with_agents_needs_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let told = |list: &str| {
        std::fs::write(folder.path().join("list.txt"), list).unwrap();
        let output = run(
            &["--scene", "agents", "--scenario", "list.txt"],
            &[],
            folder.path(),
        );
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = told("auth: run \"true\"");
    assert!(
        code == Some(1) && said.contains("a question, `after {10}: what to do`"),
        "{said}"
    );
    let (code, said) = told("run \"true\"");
    assert!(
        code == Some(1) && said.contains("Not `NAME: what to do`: run \"true\""),
        "{said}"
    );
    let output = run(&["--scene", "teams"], &[], folder.path());
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("--scene takes commands, agents or team"),
        "{said}"
    );
    let output = run(&["--help"], &[], folder.path());
    assert!(text(&output.stdout).contains("MEANWHILE_THINKING_MS=1500"));
}
