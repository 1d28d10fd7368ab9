//! A server of somebody else: contained as a command is, and ended with the program.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::program::{clean_environment, program};
use super::support::*;

/// A program whose server this is: it starts, and answers nothing.
fn with_server(script: &str) -> Talk {
    let talk = Talk::through("s17_mcp", |folder| {
        let mut command = Command::new(program("s17_mcp"));
        clean_environment(&mut command, folder);
        command.env("ANTHROPIC_MODEL", "secret");
        command
    });
    let config = json!({ "mcpServers": { "it": { "command": "bash", "args": ["-c", script] } } });
    let path = talk.folder.path().join(".mcp.json");
    fs::write(path, config.to_string()).expect("a file");
    talk
}

#[test]
fn it_runs_without_key_and_without_terminal() {
    let mut talk = with_server("tty >&2; env | grep -c ANTHROPIC >&2; exit 1");
    let shown = talk.say("/mcp on it");
    assert!(shown.contains("it has ended; its last words: 0"), "{shown}");
    talk.leave();
}

#[test]
fn it_goes_with_all_that_it_started() {
    for ways in 0..2 {
        let place = Place::new();
        let tree = "setsid bash -c 'echo $BASHPID >> {}/pids; exec sleep 1000' & echo $BASHPID >> {}/pids; wait";
        let mut talk = with_server(&place.command(tree));
        talk.send("/mcp on it");
        let pids = place.pids(2);
        assert!(pids.iter().all(|pid| runs(*pid)), "it is started");
        match ways {
            0 => kill(talk.pid()),
            _ => children(talk.pid()).into_iter().for_each(kill), // its supervisor
        }
        until_gone(&pids);
    }
}
