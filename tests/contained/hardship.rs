//! Row 11: no processes, no descriptors, no folder, no bash. What cannot be run says so; the rest
//! and the prompt live on. And what a command is given of the program's environment.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use meanwhile::interrupt::Interrupt;

use super::program::{clean_environment, copy_program, is_root, program};
use super::support::*;

/// A user who runs nothing else: what is counted by user is then ours alone. Only root can become
/// one. Another run of these tests, at the same time, has another one.
fn nobody_else() -> u32 {
    20_000 + std::process::id() % 40_000
}

/// A lesson that a shell becomes after it has limited itself. `lesson` is a copy that every user
/// may run.
fn limited(lesson: &Path, folder: &Path, limit: &str) -> Command {
    let mut command = Command::new("bash");
    clean_environment(&mut command, folder);
    // What it was given by other tests that start something at the same time, it gives back.
    let alone = "for fd in {3..63}; do eval \"exec $fd>&-\"; done";
    command
        .arg("-c")
        .arg(format!("{alone}; {limit} && exec \"$0\""))
        .arg(lesson);
    command
}

fn copy_in(place: &Place) -> PathBuf {
    let copy = place.path("lesson");
    copy_program(&program("s08_background_tasks"), &copy);
    open_to_all(place.0.path());
    copy
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("ours");
}

/// What became of the lessons under the limits.
#[derive(Debug, Default)]
struct Seen {
    errors: usize,
    successes: usize,
}

/// Under the limit: three tasks that hold on to what there is, one more that wants its share, then
/// everything again when the first have let go.
fn live_through(talk: &mut Talk, limit: &str, why: &[&str], seen: &mut Seen) {
    let place = Place::new();
    place.gate("gate");
    open_to_all(place.0.path());
    open_to_all(&place.path("gate"));
    let hogs = ["hog1", "hog2", "hog3"];
    for hog in hogs {
        talk.say(&place.command(&format!(
            "run 'read line < {{}}/gate' in the background as {hog}"
        )));
    }
    let id = "build";
    let started = talk.say(&format!(
        "run 'echo it $((1 + 1)) ran' in the background as {id}"
    ));
    let shown = if started.contains("ERROR") {
        started
    } else {
        talk.say(&format!("wait for {id}"))
    };
    if shown.contains("ERROR: ") {
        assert!(
            why.iter().any(|why| shown.contains(why)),
            "under {limit}: {shown}"
        );
        seen.errors += 1;
    } else {
        assert!(shown.contains("it 2 ran"), "under {limit}: {shown}");
        seen.successes += 1;
    }
    // Some of the hogs may have failed themselves, and nobody may be at the gate.
    let gate = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(place.path("gate"))
        .expect("a gate");
    std::io::Write::write_all(&mut &gate, &b"go\n".repeat(10)).expect("the gate takes it");
    for hog in hogs {
        let shown = talk.say(&format!("wait for {hog}"));
        assert!(
            shown.contains(&format!("{hog}: ")) || shown.contains("there is no task"),
            "under {limit}: {shown}"
        );
    }
    recover(talk, limit, why, seen);
}

/// After want, with the same limit: an id that was refused for want of a thread is free, and means
/// the new task.
fn recover(talk: &mut Talk, limit: &str, why: &[&str], seen: &mut Seen) {
    for id in ["build", "test"] {
        let shown = talk.say(&format!(
            "run 'echo again $((1 + 1)) ran' in the background as {id}, then wait for {id}"
        ));
        if shown.contains("again 2 ran") {
            seen.successes += 1;
        } else {
            // Its predecessors may be about to go, and still be counted.
            let known = shown.contains("is taken") || why.iter().any(|why| shown.contains(why));
            assert!(known, "under {limit}: {shown}");
        }
    }
}

#[test]
fn no_more_descriptors() {
    let mut seen = Seen::default();
    let place = Place::new();
    let lesson = copy_in(&place);
    for count in 6..=24 {
        let limit = format!("ulimit -n {count}");
        let mut talk = Talk::through("s08_background_tasks", |folder| {
            limited(&lesson, folder, &limit)
        });
        let why = ["Too many open files", "No file descriptors available"];
        live_through(&mut talk, &limit, &why, &mut seen);
        talk.leave();
    }
    println!("measured: {seen:?}");
    assert!(
        seen.errors > 0 && seen.successes > 0,
        "both were to be seen: {seen:?}"
    );
}

#[test]
fn no_more_processes() {
    let mut seen = Seen::default();
    // Of anybody but a user of our own we do not know how many run already, and others come and go.
    if !is_root() {
        return println!("not looked at: only root can become a user who runs nothing else");
    }
    let place = Place::new();
    let lesson = copy_in(&place);
    for count in 3..=24 {
        let limit = format!("ulimit -u {count}");
        let mut talk = Talk::through("s08_background_tasks", |folder| {
            let mut command = limited(&lesson, folder, &limit);
            open_to_all(folder);
            command.uid(nobody_else());
            command
        });
        let why = ["Resource temporarily unavailable"];
        live_through(&mut talk, &limit, &why, &mut seen);
        talk.leave();
    }
    println!("measured: {seen:?}");
    assert!(
        seen.errors > 0 && seen.successes > 0,
        "both were to be seen: {seen:?}"
    );
}

#[test]
fn a_working_directory_that_is_gone() {
    let place = Place::new();
    place.gate("gate");
    std::fs::create_dir(place.path("here")).expect("a folder");
    let mut talk = Talk::through("s08_background_tasks", |folder| {
        let mut command = Command::new(program("s08_background_tasks"));
        clean_environment(&mut command, folder);
        command.current_dir(place.path("here"));
        command
    });
    talk.say(
        &place.command(
            "run 'read line < {}/gate; echo it $((1 + 1)) ran' in the background as before",
        ),
    );
    let gate = place.open("gate");
    std::fs::remove_dir(place.path("here")).expect("it is there");
    let shown = talk.say("run 'echo here'");
    assert!(
        shown.contains("ERROR: the command could not be started: the working directory is gone"),
        "{shown}"
    );
    talk.say("run 'echo here' in the background as after");
    let shown = talk.say("wait for after");
    assert!(
        shown.contains("ERROR: the command could not be started: the working directory is gone"),
        "{shown}"
    );
    drop(gate);
    let shown = talk.say("wait for before");
    assert!(shown.contains("it 2 ran"), "{shown}");
    talk.leave();
}

#[test]
fn no_bash() {
    let mut talk = Talk::through("s08_background_tasks", |folder| {
        let mut command = Command::new(program("s08_background_tasks"));
        clean_environment(&mut command, folder);
        command.env("PATH", folder);
        std::fs::write(folder.join("note"), "a note").expect("ours");
        command
    });
    for _ in 0..2 {
        let shown = talk.say("run 'echo here'");
        assert!(
            shown.contains("ERROR: bash was not found; install it, or put it into PATH"),
            "{shown}"
        );
    }
    talk.say("run 'echo here' in the background as task");
    let shown = talk.say("wait for task");
    assert!(shown.contains("task: ERROR: bash was not found"), "{shown}");
    let shown = talk.say("read note");
    assert!(shown.contains("a note"), "{shown}");
    until_only_idle_ones_are_there(talk.pid());
    talk.leave();
}

#[test]
fn a_command_sees_no_key_and_runs_where_the_program_is() {
    let key = [
        ("ANTHROPIC_API_KEY", "sk-secret"),
        ("ANTHROPIC_AUTH_TOKEN", "secret"),
        ("OTHER", "kept"),
    ];
    alone(
        "hardship::a_command_sees_no_key_and_runs_where_the_program_is",
        &key,
        |place| {
            let run = |command| run_blocking(command, NO_LIMIT, &Interrupt::default()).0;
            for _ in 0..2 {
                // The environment of the command, and of the supervisor above it, which only root sees.
                let all = run("env; tr '\\0' '\\n' < /proc/$PPID/environ || env");
                assert!(
                    all.error().is_none() && !all.output.contains("ANTHROPIC"),
                    "{all:?}"
                );
                assert_eq!(all.output.matches("OTHER=kept").count(), 2, "{all:?}");
            }
            // The supervisor stays in the old folder.
            std::env::set_current_dir(place.0.path()).expect("it is there");
            let here = std::env::current_dir().expect("it is there");
            assert_eq!(run("pwd").output.trim_end(), here.display().to_string());
        },
    );
}

/// The loader complains on standard error before `main` begins.
#[test]
fn what_the_loader_prints_is_no_message_of_a_supervisor() {
    let mut talk = Talk::through("s01_agent_loop", |folder| {
        let mut command = Command::new(program("s01_agent_loop"));
        clean_environment(&mut command, folder);
        command.env("LD_PRELOAD", "/nonexistent.so");
        command
    });
    let shown = talk.say("run 'echo number $((40 + 2))'");
    assert!(shown.contains("number 42"), "{shown}");
    talk.leave();
}
