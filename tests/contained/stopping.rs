//! Row 4: what is stopped or takes too long ends, all of it, politely first; and what happens when
//! the supervisor is the one that is killed.

use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use meanwhile::interrupt::Interrupt;
use meanwhile::outcome::{End, Outcome};

use nix::unistd::getpid;

use super::program::{clean_environment, copy_program, program};
use super::support::*;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Three processes: a shell, its child, and one in a session of its own. Each does `first`.
fn family(place: &Place, first: &str) -> String {
    place.command(&format!(
        "{first}; export -f wait_here; setsid bash -c 'wait_here' & bash -c 'wait_here' & wait_here"
    ))
}

/// They ignore SIGTERM, and wait in the shell itself.
fn deaf(place: &Place) -> String {
    let wait = "wait_here() { trap '' TERM; echo $BASHPID >> {}/pids; while :; do read -t 1000 line <> {}/never; done; }";
    place.gate("never");
    family(place, &format!("{wait}; echo before"))
}

/// They hear it, and say so.
fn polite(place: &Place) -> String {
    let wait = "wait_here() { trap 'echo bye; exit' TERM; echo $BASHPID >> {}/pids; read line <> {}/never; }";
    place.gate("never");
    family(place, &format!("{wait}; echo before"))
}

#[test]
fn a_time_limit_ends_what_ignores_sigterm_and_keeps_its_output() {
    let place = Place::new();
    let limit = Duration::from_secs(5);
    let started = Instant::now();
    let (outcome, left) = run_blocking(&deaf(&place), limit, &Interrupt::default());
    assert!(
        started.elapsed() >= limit + GRACE,
        "SIGKILL came before its time"
    );
    assert_eq!(
        (outcome, left),
        (Outcome::new(End::TimedOut, "before\n"), 0)
    );
    until_gone(&place.pids(3));
}

#[test]
fn a_limit_that_has_passed_before_the_start_counts() {
    prepare();
    let (outcome, left) = run_blocking("sleep 1000", Duration::ZERO, &Interrupt::default());
    assert_eq!(
        (outcome, left),
        (Outcome::new(End::TimedOut, String::new()), 0)
    );
}

#[test]
fn an_interrupt_ends_what_ignores_sigterm_and_keeps_its_output() {
    let place = Place::new();
    let interrupt = Interrupt::default();
    let (trigger, command) = (interrupt.clone(), deaf(&place));
    let runner = thread::spawn(move || run_blocking(&command, NO_LIMIT, &interrupt));
    let pids = place.pids(3);
    let asked = Instant::now();
    trigger.trigger();
    let (outcome, left) = runner.join().expect("it returns");
    assert!(asked.elapsed() >= GRACE, "SIGKILL came before its time");
    assert_eq!((outcome, left), (Outcome::new(End::Killed, "before\n"), 0));
    until_gone(&pids);
    // One that is there already ends the next command at once.
    let (outcome, _) = run_blocking("sleep 1000", NO_LIMIT, &trigger);
    assert_eq!(outcome, Outcome::new(End::Killed, String::new()));
}

#[test]
fn a_stopped_task_that_ignores_sigterm_is_running_until_it_is_gone() {
    let place = Place::new();
    let executor = executor(1);
    executor
        .submit_command("deaf", deaf(&place))
        .expect("it starts");
    let pids = place.pids(3);
    let asked = Instant::now();
    executor.stop("deaf");
    executor.stop("deaf");
    assert_eq!(
        executor.until_ended("deaf"),
        Outcome::new(End::Killed, "before\n")
    );
    assert!(asked.elapsed() >= GRACE, "SIGKILL came before its time");
    assert!(
        pids.iter().all(|pid| !runs(*pid)),
        "it was said to have ended"
    );
    executor.stop("deaf");
    assert_eq!(
        executor.until_ended("deaf"),
        Outcome::new(End::Killed, "before\n")
    );
}

#[test]
fn who_handles_sigterm_has_time_to_do_so() {
    let place = Place::new();
    let executor = executor(1);
    executor
        .submit_command("polite", polite(&place))
        .expect("it starts");
    let pids = place.pids(3);
    executor.stop("polite");
    assert_eq!(
        executor.until_ended("polite"),
        Outcome::new(End::Killed, "before\nbye\nbye\nbye\n")
    );
    assert!(
        pids.iter().all(|pid| !runs(*pid)),
        "it was said to have ended"
    );
}

#[test]
fn what_was_paused_can_be_stopped() {
    let place = Place::new();
    place.gate("go");
    let executor = executor(2);
    // One shell pauses itself, the other the supervisor above it.
    let pauses = [
        ("shell", "trap 'echo bye; exit' TERM; kill -STOP $$"),
        (
            "supervisor",
            "echo ready; read line < {}/go; kill -STOP $PPID; sleep 1000",
        ),
    ];
    for (id, pause) in pauses {
        executor
            .submit_command(id, place.command(&format!("echo $$ >> {{}}/pids; {pause}")))
            .expect("it starts");
    }
    let pids = place.pids(2);
    // The order that began it wakes the supervisor: that is over once something was heard of it.
    until("the second one is ready", || {
        executor.progress("supervisor").ends_with("ready")
    });
    drop(place.open("go"));
    let paused = |pid| state(pid) == Some('T');
    let parent = |pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .expect("its parent");
        nix::unistd::Pid::from_raw(line.trim().parse().expect("a number"))
    };
    let all: Vec<_> = pids.iter().flat_map(|pid| [*pid, parent(*pid)]).collect();
    until("one shell and one supervisor are paused", || {
        all.iter().filter(|pid| paused(**pid)).count() == 2
    });
    for (id, output) in [("shell", "bye\n"), ("supervisor", "ready\n")] {
        executor.stop(id);
        assert_eq!(executor.until_ended(id), Outcome::new(End::Killed, output));
    }
    until_gone(&pids);
}

/// Who enters itself, and waits for ever: a child, one in its own session, one that forked twice.
const TREE: &str = "here() { echo $BASHPID >> {}/pids; exec sleep 1000; }; export -f here; \
    here & setsid bash -c here & (setsid bash -c '(here) & exit' &); echo begun; echo $$ >> {}/pids; ";

#[test]
fn a_killed_supervisor_leaves_nothing_behind() {
    let place = Place::new();
    let mut talk = Talk::with("s08_background_tasks");
    // As a background task, killed from outside; in the foreground, by its own command.
    let command = place.command(&format!(
        "{TREE} echo $PPID > {{}}/supervisor; wait; sleep 1000"
    ));
    talk.say(&format!(
        "run '{}' in the background as tree",
        command.replace('\'', "\"")
    ));
    let pids = place.pids(4);
    let supervisor = || std::fs::read_to_string(place.path("supervisor")).unwrap_or_default();
    until("it knows its supervisor", || supervisor().ends_with('\n'));
    kill(nix::unistd::Pid::from_raw(
        supervisor().trim().parse().expect("a process id"),
    ));
    let shown = talk.say("wait for tree");
    assert!(
        shown.contains("tree: ERROR: what ran it was killed"),
        "{shown}"
    );
    assert!(shown.contains("begun"), "the output until then: {shown}");
    assert!(
        pids.iter().all(|pid| !runs(*pid)),
        "it was said to have ended"
    );

    let place = Place::new();
    let command = place.command(&format!(
        "{TREE} until [ $(wc -l < {{}}/pids) = 4 ]; do :; done; kill -9 $PPID; wait; sleep 1000"
    ));
    let shown = talk.say(&format!("run '{}'", command.replace('\'', "\"")));
    assert!(shown.contains("ERROR: what ran it was killed"), "{shown}");
    assert!(
        place.pids(4).iter().all(|pid| !runs(*pid)),
        "it was said to have ended"
    );

    let shown = talk.say("run 'echo next: $((40 + 2))'");
    assert!(shown.contains("next: 42"), "{shown}");
    until("none of it is a zombie", || {
        children(talk.pid()).iter().all(|pid| runs(*pid))
    });
    talk.leave();
}

#[test]
fn a_killed_idle_supervisor_is_replaced() {
    let mut talk = Talk::with("s01_agent_loop");
    for number in 1..=3 {
        let shown = talk.say(&format!("run 'echo number $(({number} + 10))'"));
        assert!(
            shown.contains(&format!("number {}", number + 10)),
            "{shown}"
        );
        until_only_idle_ones_are_there(talk.pid());
        let idle = children(talk.pid())[0];
        kill(idle);
        until_gone(&[idle]);
    }
    talk.leave();
}

#[test]
fn a_paused_supervisor_does_not_outlive_the_program() {
    let place = Place::new();
    let mut talk = Talk::with("s08_background_tasks");
    let command =
        place.command("echo $$ >> {}/pids; echo $PPID >> {}/pids; kill -STOP $PPID; sleep 1000");
    talk.say(&format!("run '{command}' in the background as paused"));
    let pids = place.pids(2);
    // Again and again: it is woken after each order, which may have been the first one's.
    until("the supervisor is paused", || {
        let stop = nix::sys::signal::Signal::SIGSTOP;
        let _ = nix::sys::signal::kill(pids[1], stop);
        state(pids[1]) == Some('T')
    });
    kill(talk.pid());
    until_gone(&pids);
}

#[test]
fn commands_hear_sigterm_whatever_the_threads_of_the_program_block() {
    alone(
        "stopping::commands_hear_sigterm_whatever_the_threads_of_the_program_block",
        &[],
        |_| {
            nix::sys::signal::SigSet::all()
                .thread_block()
                .expect("signals can be blocked");
            for _ in 0..2 {
                let (outcome, _) =
                    run_blocking("kill -TERM $$; echo deaf", NO_LIMIT, &Interrupt::default());
                assert_eq!(
                    outcome,
                    Outcome::new(End::Finished(Some(128 + 15)), String::new())
                );
            }
        },
    );
}

#[test]
fn commands_run_when_the_programs_own_file_is_gone() {
    let mut talk = Talk::through("s01_agent_loop", |folder| {
        let copy = folder.join("copy");
        copy_program(&program("s01_agent_loop"), &copy);
        let mut command = std::process::Command::new(copy);
        clean_environment(&mut command, folder);
        command
    });
    std::fs::remove_file(talk.folder.path().join("copy")).expect("it is there");
    for number in 1..=3 {
        let shown = talk.say(&format!("run 'echo number $(({number} + 10))'"));
        assert!(
            shown.contains(&format!("number {}", number + 10)),
            "{shown}"
        );
    }
    talk.leave();
}

/// It pauses as it comes up, and later while it is idle.
#[test]
fn a_supervisor_that_is_paused_before_its_command_holds_up_nobody() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let script = folder.path().join("supervisor");
    let text = format!(
        "#!/bin/sh\nwhile [ -e $0.pauses ]; do kill -STOP $$; done\nexec {} \"$@\"\n",
        program("s01_agent_loop").display()
    );
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("it is ours");
    alone(
        "stopping::a_supervisor_that_is_paused_before_its_command_holds_up_nobody",
        &[(SUPERVISOR, script.to_str().expect("valid text"))],
        |_| {
            let run = |limit, interrupt: &Interrupt| {
                let interrupt = interrupt.clone();
                thread::spawn(move || run_blocking("sleep 1000", limit, &interrupt).0)
            };
            let ended = |runner: thread::JoinHandle<Outcome>| {
                until("the end of the wait", || runner.is_finished());
                runner.join().expect("it returns")
            };
            let until_paused = || {
                until("a supervisor is paused", || {
                    let children = children(getpid());
                    children.iter().any(|pid| state(*pid) == Some('T'))
                });
            };
            let output = String::new();
            let pauses = std::env::var(SUPERVISOR).expect("its name") + ".pauses";
            std::fs::write(&pauses, "").expect("a file");
            let interrupt = Interrupt::default();
            let runner = run(NO_LIMIT, &interrupt);
            until_paused();
            std::fs::remove_file(&pauses).expect("it is there");
            interrupt.trigger();
            assert_eq!(ended(runner), Outcome::new(End::Killed, output));

            let output = String::new();
            let stop = nix::sys::signal::Signal::SIGSTOP;
            for pid in children(getpid()) {
                let _ = nix::sys::signal::kill(pid, stop);
            }
            until_paused();
            let runner = run(Duration::from_millis(100), &Interrupt::default());
            assert_eq!(ended(runner), Outcome::new(End::TimedOut, output));
        },
    );
}
