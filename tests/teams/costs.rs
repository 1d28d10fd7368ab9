//! What a team does not take: one of the four places, and a moment of the processor while it waits.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::support::program::{Lesson, eventually, program};
use super::support::terminal::Seat;
use super::{S20, until_nobody_is_left};

#[test]
fn servers_and_mates_take_none_of_the_four_places() {
    let mut lesson = Lesson::new(S20)
        .line("call mcp__time__now {}")
        .line("start team places with ann ben cid");
    for id in ["one", "two", "three", "four", "five"] {
        lesson = lesson.line(&format!("run \"sleep 600\" in the background as {id}"));
    }
    let ran = lesson.line("/tasks").run();
    ran.has_in_order(&[
        "<mcp-result server=\"time\">",
        "cid: started in the background.",
        "four: started in the background.",
        "ERROR: 4 background tasks run already (one, two, three, four)",
        "ann       mate     running",
        "ben       mate     running",
        "cid       mate     running",
        "one       command  running",
        "four      command  running",
        "mcp time  server   running",
    ]);
    until_nobody_is_left("places");
}

/// Only where there is a strace that works: nothing else sees every call.
#[test]
fn who_waits_is_not_woken() {
    let mut strace = Command::new("strace");
    let quiet = strace
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    if !quiet.status().is_ok_and(|status| status.success()) {
        eprintln!("There is no strace here: not seen.");
        return;
    }
    // A lead at its prompt with a server, and a mate that waits: all their threads and processes.
    let mut seat = Seat::at("strace")
        .argument("-f")
        .argument("-o")
        .argument("trace");
    seat = seat.argument(program(S20).to_str().expect("a path"));
    let mut terminal = seat.start();
    terminal.until_shows("\n\ns20 >>");
    terminal.line("call mcp__time__now {}, then start team idle with ann");
    terminal.until_shows("◆ mail from ann: No task is free.");
    terminal.until_shows("\n1 running\ns20 >>"); // and what is suggested
    let trace = terminal.folder.path().join("trace");
    let calls = || fs::read_to_string(&trace).expect("what was called");
    let mut before = String::new();
    eventually("all wait", || {
        before = calls();
        thread::sleep(Duration::from_secs(2));
        calls() == before
    });
    thread::sleep(Duration::from_secs(10));
    let after = calls();
    let woken = after.strip_prefix(&before).unwrap_or(&after).lines();
    let woken: Vec<_> = woken.take(20).collect();
    assert!(woken.is_empty(), "somebody was woken: {woken:#?}");
    terminal.line("stop the team");
    terminal.until_shows("◆ ann: finished with exit code 0");
    terminal.line("exit");
    terminal.wait();
    until_nobody_is_left("idle");
}

/// One that does not end its turn when it is asked to leave.
#[test]
#[ignore = "takes a minute"]
fn a_mate_that_does_not_leave_is_ended() {
    let works = "until grep -q bash .team/stays/ann/lock; do sleep .1; done";
    let stop = format!("start team stays with ann, then run {works:?}, then stop the team");
    let ran = Lesson::new(S20)
        .argument("--yes")
        .argument("-p")
        .argument(&format!("create task 'run \"sleep 600\"', then {stop}"))
        .run();
    ran.has_in_order(&[
        "told to leave: ann.",
        "◆ ann: ERROR: it was stopped after 6",
    ]);
    until_nobody_is_left("stays");
}
