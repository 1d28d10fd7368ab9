//! A monitor: its command is contained as all others, and its standard error comes apart.

use std::path::Path;

use meanwhile::outcome::{End, Outcome};
use meanwhile::process;
use nix::unistd::getpid;

use super::program::{clean_environment, program};
use super::support::*;

const S16: &str = "s16_monitors";

fn monitor(command: &str) -> String {
    let input = serde_json::json!({ "id": "tree", "command": command });
    format!("call monitor {input}")
}

/// How many lines a command printed, apart, and the first of them; and how it ended.
fn heard(command: &str) -> ([(u64, String); 2], Outcome) {
    let (handle, bell) = process::heard::command(command);
    let outcome = process::until_ended(&process::start(&handle, Path::new("")));
    let mut printed = <[(u64, String); 2]>::default();
    while let Some(lines) = handle.take(true) {
        let (line, text) = lines.split_once('\n').expect("two parts");
        let stream = &mut printed[usize::from(line.ends_with(" of standard error"))];
        let number = line.split(' ').next().expect("a number");
        stream.0 += number.parse::<u64>().expect("a number");
        stream.1 += text;
    }
    assert_eq!(bell.try_recv().is_ok(), handle.bytes() > 0, "it rings");
    (printed, outcome)
}

#[test]
fn its_command_has_neither_key_nor_input() {
    let mut talk = Talk::through(S16, |folder| {
        let mut command = std::process::Command::new(program(S16));
        clean_environment(&mut command, folder);
        command.env("ANTHROPIC_AUTH_TOKEN", "").env("OTHER", "kept");
        command
    });
    let look = "read line || echo no input; tty; env | grep -c ANTHROPIC; echo $OTHER";
    let mut shown = talk.say(&monitor(look));
    while !shown.contains("◆ tree: finished") {
        shown += &talk.until_prompt();
    }
    assert!(
        shown.contains("\nno input\nnot a tty\n0\nkept\n"),
        "{shown}"
    );
    talk.leave();
}

#[test]
fn stopped_or_not_it_takes_its_processes_with_it() {
    let tree = "setsid bash -c 'trap \"\" TERM; echo $BASHPID >> {}/pids; sleep 1000' & echo begun; echo $BASHPID >> {}/pids; wait; sleep 1000";
    for stopped in [true, false] {
        let place = Place::new();
        let mut talk = Talk::with(S16);
        talk.say(&monitor(&place.command(tree)));
        let pids = place.pids(2);
        assert!(pids.iter().all(|pid| runs(*pid)), "they work");
        if stopped {
            talk.send("stop tree");
            let mut shown = String::new();
            while !shown.contains("◆ tree: ERROR: it was stopped") {
                shown += &talk.until_prompt();
            }
            assert!(shown.contains("begun"), "{shown}");
        }
        talk.leave();
        until_gone(&pids);
    }
}

#[test]
fn a_killed_supervisor_of_a_monitor_leaves_nothing_and_is_told() {
    let place = Place::new();
    let mut talk = Talk::with(S16);
    let tree = "setsid bash -c 'echo $BASHPID >> {}/pids; sleep 1000' & echo $PPID > {}/supervisor; echo begun; echo $BASHPID >> {}/pids; wait";
    talk.say(&monitor(&place.command(tree)));
    let pids = place.pids(2);
    let supervisor = || std::fs::read_to_string(place.path("supervisor")).unwrap_or_default();
    until("it knows its supervisor", || supervisor().ends_with('\n'));
    let supervisor = supervisor().trim().parse().expect("a process id");
    kill(nix::unistd::Pid::from_raw(supervisor));
    let mut shown = String::new();
    while !shown.contains("◆ tree: ERROR: what ran it was killed") {
        shown += &talk.until_prompt();
    }
    assert!(shown.contains("tree: 1 line, after "), "{shown}");
    until_gone(&pids);
    talk.leave();
}

#[test]
fn both_streams_are_heard_whole_and_apart() {
    prepare();
    let flood = "seq 200000 & seq 100000 >&2 & wait";
    let (printed, outcome) = heard(flood);
    assert_eq!(outcome.end, End::Finished(Some(0)));
    for ((count, text), all) in printed.into_iter().zip([200_000, 100_000]) {
        assert_eq!(count, all);
        let bytes = |to: u64| (1..=to).map(|it| it.to_string().len() + 1).sum::<usize>();
        let more = format!("\n20\n[… {} bytes more]", bytes(all) - bytes(20));
        assert!(
            text.starts_with("1\n2\n") && text.ends_with(&more),
            "{text}"
        );
    }
    // And what is written in the last moment.
    for _ in 0..50 {
        let ([out, errors], _) = heard("printf out; printf error >&2; exit 3");
        assert_eq!([out, errors], [(1, "out".into()), (1, "error".into())]);
    }
}

#[test]
fn who_does_not_listen_any_more_holds_up_nothing() {
    prepare();
    let place = Place::new();
    let command = place.command("yes | head -c 50M; echo > {}/over");
    let (handle, _) = process::heard::command(&command);
    process::start(&handle, Path::new(""));
    until("it has run to its end", || place.path("over").exists());
}

#[test]
fn monitors_leave_no_descriptors_behind() {
    alone("monitor::monitors_leave_no_descriptors_behind", &[], |_| {
        prepare();
        let round = || (0..20).for_each(|_| drop(heard("echo a; echo b >&2")));
        round();
        until_only_idle_ones_are_there(getpid());
        let before = descriptors(getpid());
        round();
        round();
        until("they are closed", || descriptors(getpid()) <= before);
    });
}
