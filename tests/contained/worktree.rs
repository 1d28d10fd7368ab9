//! An agent in a worktree: its commands are contained as all others, at another place.

use std::fs;
use std::process::Command;

use super::program::{clean_environment, program};
use super::support::*;

/// A command that makes a repository with one commit.
const REPOSITORY: &str = "unset ${!GIT_@}; git init -q; git config user.name you; git config user.email you@example.org; \
    git config maintenance.auto false; git commit -q --allow-empty -m begin; echo made";

/// The lesson, in a repository.
fn talk(variables: &[(&str, &str)]) -> Talk {
    let mut talk = Talk::through("s12_worktrees", |folder| {
        let mut command = Command::new(program("s12_worktrees"));
        clean_environment(&mut command, folder);
        command.envs(variables.iter().copied());
        command
    });
    let shown = talk.say(&format!("run '{REPOSITORY}'"));
    assert!(shown.contains("made"), "{shown}");
    talk
}

fn delegate(command: &str, wait: bool) -> String {
    let task = serde_json::json!({
        "description": "ui", "prompt": format!("run '{command}'"), "worktree": true, "wait": wait,
    });
    format!("call task {task}")
}

#[test]
fn its_command_runs_there_without_key_and_without_input() {
    let mut talk = talk(&[
        ("ANTHROPIC_AUTH_TOKEN", ""),
        ("GIT_WORK_TREE", "/nonexistent"),
        ("GIT_INDEX_FILE", "/nonexistent/index"),
        ("OTHER", "kept"),
    ]);
    let look = "pwd; read line || echo no input; tty; env | grep -c ANTHROPIC; env | grep -c ^GIT_; echo $OTHER; git status --porcelain --branch";
    let shown = talk.say(&delegate(look, true));
    let tree = talk.folder.path().join(".worktrees/ui");
    let (_, shown) = shown
        .split_once(&format!("{}\n", tree.display()))
        .unwrap_or_else(|| panic!("not in its worktree: {shown}"));
    let said: Vec<&str> = shown
        .lines()
        .take(6)
        .map(|line| line.trim_start_matches("  ui │     "))
        .collect();
    assert_eq!(
        said,
        ["no input", "not a tty", "0", "0", "kept", "## ui"],
        "{shown}"
    );
    talk.leave();
}

#[test]
fn stopped_it_takes_its_processes_with_it_and_leaves_its_files() {
    let place = Place::new();
    let mut talk = talk(&[]);
    let tree = "setsid bash -c \\\"echo \\\\$BASHPID >> {}/pids; exec sleep 1000\\\" & echo $BASHPID >> {}/pids; echo precious > theme.css; wait";
    let tree = place.command(&tree.replace("\\\\$", "$").replace("\\\"", "\""));
    talk.say(&delegate(&tree, false));
    let pids = place.pids(2);
    assert!(pids.iter().all(|pid| runs(*pid)), "they work");
    talk.send("stop ui");
    until_gone(&pids);
    let mut shown = String::new();
    while !shown.contains("not committed: theme.css; it stays") {
        shown += &talk.until_prompt();
    }
    let file = talk.folder.path().join(".worktrees/ui/theme.css");
    assert_eq!(fs::read_to_string(file).expect("kept"), "precious\n");
    let free = talk.say("/worktrees");
    assert!(free.contains("nobody works there"), "{free}");
    talk.leave();
}

#[test]
fn it_goes_with_the_program_and_its_files_stay() {
    let place = Place::new();
    let mut talk = talk(&[]);
    let tree =
        place.command("echo $BASHPID >> {}/pids; echo precious > theme.css; exec sleep 1000");
    talk.say(&delegate(&tree, false));
    let pids = place.pids(1);
    let file = talk.folder.path().join(".worktrees/ui/theme.css");
    until("it has written", || {
        fs::read_to_string(&file).is_ok_and(|text| text == "precious\n")
    });
    talk.leave();
    until_gone(&pids);
    assert_eq!(fs::read_to_string(file).expect("kept"), "precious\n");
}
