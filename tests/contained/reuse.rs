//! One supervisor serves one command after the other: what one leaves must not reach the next.

use std::fs;
use std::time::Duration;

use meanwhile::interrupt::Interrupt;
use meanwhile::outcome::End;
use meanwhile::process::{self, Handle, News};
use nix::unistd::getpid;

use super::program::is_root;
use super::support::*;

/// Until nothing of it is left.
fn run(command: &str) -> String {
    match process::start(&Handle::new(command), "".as_ref())
        .iter()
        .last()
    {
        Some(News::Ended(outcome)) if outcome.error().is_none() => outcome.output.trim().into(),
        Some(News::Ended(other) | News::ShellExited(other, _)) => panic!("{other:?}"),
        None => panic!("nothing is heard of it"),
    }
}

#[test]
fn commands_share_a_supervisor_unless_it_was_disturbed() {
    alone(
        "reuse::commands_share_a_supervisor_unless_it_was_disturbed",
        &[],
        |_| {
            let first = run("echo $PPID");
            assert_eq!(run("false; echo $PPID"), first);
            assert_eq!(
                run("(true &) ; echo $PPID"),
                first,
                "after one that left somebody behind"
            );
            let limit = Duration::from_millis(50);
            let (outcome, _) = run_blocking("sleep 1000", limit, &Interrupt::default());
            assert_eq!(outcome.end, End::TimedOut);
            assert_ne!(run("echo $PPID"), first);
            until_only_idle_ones_are_there(getpid());
        },
    );
}

/// Flags of an open file belong to all who hold it.
#[test]
fn the_next_command_finds_its_output_as_the_first_one_did() {
    alone(
        "reuse::the_next_command_finds_its_output_as_the_first_one_did",
        &[],
        |_| {
            let flags = "echo $PPID; grep flags /proc/self/fdinfo/1";
            let first = run(flags);
            // `perl` is part of git.
            run("perl -MFcntl -e 'fcntl(STDOUT, F_SETFL, O_NONBLOCK | O_APPEND) or die'");
            assert_eq!(run(flags), first);
        },
    );
}

/// Orders and status go through a socket, which nobody can open by its name.
#[test]
fn a_command_can_neither_fake_a_status_nor_hold_the_control_socket() {
    alone(
        "reuse::a_command_can_neither_fake_a_status_nor_hold_the_control_socket",
        &[],
        |place| {
            let fake = "for fd in /proc/$PPID/fd/*; do \
            [ -S $fd ] && for line in '{\"Exited\":[0,0]}' '{\"Started\":1}' x; do echo \"$line\" > $fd; done; done; \
            for fd in 0 2; do echo '{\"Exited\":[0,0]}' > /proc/$PPID/fd/$fd; done; echo through";
            let all = place.command(&format!(
                "echo $$ >> {{}}/pids; {{ {fake}; }} 2> {{}}/errors"
            ));
            // What reaches the pipe for standard error is output, and no status.
            assert!(run(&all).contains("through"));
            let errors = std::fs::read_to_string(place.path("errors")).expect("it was written");
            let why = match is_root() {
                true => "No such device or address",
                false => "Permission denied",
            };
            assert!(errors.matches(why).count() >= 2, "{errors}");
        },
    );
}

/// A process outside holds the pipe: what it writes reaches no other command. (It may have been
/// handed the pipe; here it opens that by its name, as root can.)
#[test]
fn output_of_one_that_got_away_reaches_no_other_command() {
    if !is_root() {
        return println!("not looked at: only root can open the pipe");
    }
    alone(
        "reuse::output_of_one_that_got_away_reaches_no_other_command",
        &[],
        |place| {
            let first = run(&place.command("readlink /proc/$PPID/fd/1 > {}/pipe; echo $PPID"));
            let held = std::fs::OpenOptions::new()
                .write(true)
                .open(format!("/proc/{first}/fd/1"));
            let mut held = held.expect("a pipe opens by its name");
            std::io::Write::write_all(&mut held, b"late\n").expect("the pipe takes it");
            let second = run("echo $PPID");
            assert_ne!(second, first);
            assert!(!second.contains("late"));
        },
    );
}

#[test]
fn one_that_got_away_can_write_into_what_the_next_command_prints() {
    if !is_root() {
        return println!("not looked at: only root can open the pipe");
    }
    alone(
        "reuse::one_that_got_away_can_write_into_what_the_next_command_prints",
        &[],
        |place| {
            place.gate("began");
            place.gate("gate");
            let first = run("echo $PPID");
            let next = place.command("echo > {}/began; read line < {}/gate; echo $PPID");
            let news = process::start(&Handle::new(&next), "".as_ref());
            fs::read(place.path("began")).expect("it has begun");
            fs::write(format!("/proc/{first}/fd/1"), b"late\n").expect("a pipe opens by its name");
            fs::write(place.path("gate"), b"go\n").expect("an open gate");
            let outcome = process::until_ended(&news);
            assert_eq!(outcome.output, format!("late\n{first}\n"));
        },
    );
}
