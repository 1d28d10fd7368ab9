//! Rows 5 and 7: a shell that exits before its children, bytes of every kind; and what is odd
//! about a command without being wrong.

use std::fmt::Write;

use meanwhile::interrupt::Interrupt;
use meanwhile::outcome::{End, Outcome};
use serde_json::json;

use super::program::Lesson;
use super::support::*;

fn run(command: &str) -> (Outcome, usize) {
    prepare();
    run_blocking(command, NO_LIMIT, &Interrupt::default())
}

fn finished(exit_code: i32, output: &str) -> Outcome {
    Outcome::new(End::Finished(Some(exit_code)), output)
}

#[test]
fn a_foreground_command_returns_when_its_shell_does() {
    let place = Place::new();
    place.gate("gate");
    let late = "{ echo $BASHPID >> {}/pids; read line < {}/gate; echo late; } & ";
    let wait = "until [ -s {}/pids ]; do :; done; echo started; exit 3";
    let (outcome, left) = run(&place.command(&format!("{late} {wait}")));
    assert_eq!((outcome, left), (finished(3, "started\n"), 1));
    let pids = place.pids(1);
    assert!(pids.iter().all(|pid| runs(*pid)), "it goes on");
    drop(place.open("gate"));
    until_gone(&pids);
}

#[test]
fn the_model_is_told_what_a_foreground_command_left_running() {
    for (count, told) in [
        (1, "1 process that it started is still running"),
        (2, "2 processes that it started are"),
    ] {
        let place = Place::new();
        let mut talk = Talk::with("s01_agent_loop");
        let command = "sleep 1000 & echo $! >> {}/pids; ".repeat(count) + "echo started";
        let shown = talk.say(&format!("run '{}'", place.command(&command)));
        assert!(shown.contains("started") && shown.contains(told), "{shown}");
        let pids = place.pids(count);
        assert!(pids.iter().all(|pid| runs(*pid)), "they go on");
        talk.leave();
        until_gone(&pids);
    }
}

#[test]
fn a_background_task_has_ended_when_its_last_process_has() {
    let place = Place::new();
    let executor = executor(1);
    place.gate("first");
    place.gate("second");
    let child = |gate| format!("{{ read line < {{}}/{gate}; echo {gate} is through; }} & ");
    let both = format!(
        "{} {} echo started; exit 3",
        child("first"),
        child("second")
    );
    executor
        .submit_command("server", place.command(&both))
        .expect("it starts");
    let (first, second) = (place.open("first"), place.open("second"));
    let mut progress = String::new();
    for (gate, expected) in [(first, "2"), (second, "1")] {
        until(expected, || {
            progress = executor.progress("server");
            progress.starts_with(&format!("{expected} still running; "))
        });
        drop(gate);
    }
    assert!(
        progress.ends_with("is through") || progress.ends_with("started"),
        "{progress}"
    );
    let Outcome { end, output } = executor.until_ended("server");
    assert_eq!(end, End::Finished(Some(3)), "the exit code is the shell's");
    assert_eq!(output.lines().count(), 3, "{output}");
    assert!(output.contains("second is through"), "{output}");
}

#[test]
fn check_bg_says_that_the_shell_has_exited() {
    use meanwhile::{tool::Context, tools::background};
    let place = Place::new();
    place.gate("gate");
    let [bg_bash, check_bg] = background::tools(executor(4).shared());
    let context = Context::default();
    let command = place.command("read line < {}/gate & echo started");
    bg_bash
        .call(json!({ "id": "server", "command": command }), &context)
        .expect("it starts");
    let check = || {
        check_bg
            .call(json!({ "id": "server" }), &context)
            .expect("a known task")
    };
    until("the shell has exited", || {
        let now = check();
        now.starts_with("server: [shell exited] ") && now.contains(" s; 1 still running; 8 bytes")
    });
    drop(place.open("gate"));
    until("the end", || {
        check().starts_with("server: finished with exit code 0 after ")
    });
}

#[test]
fn a_stopped_task_takes_with_it_what_its_shell_left() {
    let place = Place::new();
    let executor = executor(1);
    let tree = "setsid bash -c 'echo $BASHPID >> {}/pids; exec sleep 1000' & echo started";
    executor
        .submit_command("server", place.command(tree))
        .expect("it starts");
    let pids = place.pids(1);
    until("the shell has exited", || {
        executor.progress("server").starts_with("1 still running; ")
    });
    executor.stop("server");
    assert_eq!(
        executor.until_ended("server"),
        Outcome::new(End::Killed, "started\n")
    );
    assert!(
        pids.iter().all(|pid| !runs(*pid)),
        "it was said to have ended"
    );
}

/// Every byte there is; a title change, a hyperlink, cursor moves, a bell.
#[test]
fn bytes_of_every_kind_are_valid_and_harmless_text() {
    let mut escaped = String::new();
    (0..=255).for_each(|byte| write!(escaped, "\\x{byte:02x}").expect("a string takes it"));
    escaped += r"\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1b[2J\x1b[H\x1b[31m\xc2\x9b5A\xe2\x80";
    let text = format!("printf '{escaped}'; printf 'one\\r\\ntwo\\rthree\\n'");
    let (outcome, _) = run(&text);
    assert!(outcome.error().is_none());
    let output = outcome.output;
    assert_eq!(
        output
            .chars()
            .find(|c| c.is_control() && !matches!(c, '\n' | '\t')),
        None,
        "{output:?}"
    );
    for shown in [
        "^@^A^B",
        "^[]0;title^G",
        "^[[2J^[[H^[[31m",
        "^?",
        "\u{fffd}",
        " !\"#$%&'()*+",
        "one\ntwo\nthree\n",
    ] {
        assert!(output.contains(shown), "{shown:?} is not in {output:?}");
    }
    // The same on the learner's screen.
    let lesson = Lesson::new("s01_agent_loop").file("bytes.sh", &format!("{text}\n"));
    let transcript = lesson.line("run \"bash bytes.sh\"").run();
    transcript.has("^[]0;title^G");
    assert_eq!(
        transcript
            .out
            .chars()
            .find(|c| c.is_control() && !matches!(c, '\n' | '\t')),
        None
    );
}

/// The last line of a background task is looked at while it runs, wherever it was cut.
#[test]
fn a_running_task_can_be_looked_at() {
    let place = Place::new();
    place.gate("gate");
    let executor = executor(1);
    let talkative = r"for i in {1..5000}; do echo ééééééééééé; done; printf '\xc3\n\n  \n'; printf 'half \x1b[2J\xe2'; read line < {}/gate";
    executor
        .submit_command("talks", place.command(talkative))
        .expect("it starts");
    let gate = place.open("gate");
    until("all of it has arrived", || {
        executor
            .progress("talks")
            .starts_with("115016 bytes of output; ")
    });
    assert!(
        executor
            .progress("talks")
            .ends_with("last line: half ^[[2J\u{fffd}"),
        "{}",
        executor.progress("talks")
    );
    drop(gate);
    executor.until_ended("talks");
}

#[test]
fn odd_commands_are_run_as_they_are() {
    assert_eq!(
        run("--version").0,
        finished(127, "bash: line 1: --version: command not found\n")
    );
    assert_eq!(run("").0, finished(0, ""));
    assert_eq!(run("exit 300").0, finished(300 % 256, ""));
    assert_eq!(run("kill -9 $$").0, finished(128 + 9, ""));
    // A real-time signal: the number is not known here, but it is no supervisor's death.
    assert_eq!(run("kill -40 $$").0, finished(128, ""));
    // Silent from the beginning, and alive.
    assert_eq!(run("exec >&- 2>&-; true; exit 5").0, finished(5, ""));
    let (nul, _) = run("echo \0");
    assert!(
        nul.to_string()
            .starts_with("ERROR: the command could not be started: it holds a NUL"),
        "{nul}"
    );
    let (long, _) = run(&format!("echo {}", "x".repeat(200_000)));
    assert_eq!(
        long.to_string(),
        "ERROR: the command could not be started: it is too long; write it to a file and run that"
    );
}
