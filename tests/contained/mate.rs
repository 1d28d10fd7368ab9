//! A mate: a process of its own, whose commands are contained as all others, and which goes with the
//! program however either of them ends.

use std::fs;
use std::process::Command;

use nix::unistd::Pid;

use super::program::{clean_environment, program};
use super::support::*;

const S20: &str = "s20_parallel_teams";

/// A mate Ann, who is told to run this.
fn mate(command: &str) -> String {
    let ann = serde_json::json!({ "name": "ann", "prompt": format!("run '{command}'") });
    let team = serde_json::json!({ "name": "contained", "mates": [ann] });
    format!("call team {team}")
}

#[test]
fn its_command_runs_without_key_and_without_input() {
    let mut talk = Talk::through(S20, |folder| {
        let mut command = Command::new(program(S20));
        clean_environment(&mut command, folder);
        command.env("ANTHROPIC_AUTH_TOKEN", "").env("OTHER", "kept");
        command
    });
    let look = "read line || echo no input; tty; env | grep -c ANTHROPIC; echo $OTHER";
    talk.say(&mate(&format!("({look}) > looked; mv looked seen")));
    let seen = talk.folder.path().join("seen");
    until("she has looked", || seen.exists());
    let seen = fs::read_to_string(seen).expect("a file");
    assert_eq!(seen, "no input\nnot a tty\n0\nkept\n");
    talk.leave();
}

/// A child that moved into a session of its own, and who waits for it; and who is above them.
const TREE: &str = "setsid bash -c \"echo $BASHPID >> {}/pids; exec sleep 1000\" & echo $PPID > {}/above; echo $BASHPID >> {}/pids; wait";

fn parent(pid: Pid) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let mut lines = status.lines();
    let parent = lines.find_map(|line| line.strip_prefix("PPid:"));
    Pid::from_raw(parent.expect("a line").trim().parse().expect("a number"))
}

#[test]
fn it_goes_with_all_that_it_started() {
    for way in ["leave", "lead", "supervisor", "ann", "supervisor of hers"] {
        let place = Place::new();
        let mut talk = Talk::with(S20);
        talk.say(&mate(&place.command(TREE)));
        let mut pids = place.pids(2);
        let hers = fs::read_to_string(place.path("above")).expect("it was written before");
        let hers = Pid::from_raw(hers.trim().parse().expect("a process id"));
        let ann = parent(hers);
        let supervisor = parent(ann);
        assert_eq!(parent(supervisor), talk.pid());
        pids.extend([hers, ann, supervisor]);
        assert!(pids.iter().all(|pid| runs(*pid)), "they work");
        // Those above the one that is killed stay until the program goes.
        let (killed, gone) = match way {
            "lead" => (talk.pid(), 5),
            "supervisor" => (supervisor, 5),
            "ann" => (ann, 4),
            "supervisor of hers" => (hers, 3),
            _ => (Pid::from_raw(0), 0),
        };
        if gone > 0 {
            kill(killed);
            until_gone(&pids[..gone]);
        }
        if way != "lead" {
            talk.leave();
        }
        until_gone(&pids);
    }
}
