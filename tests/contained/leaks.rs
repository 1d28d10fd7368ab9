//! Rows 6 and 12: floods of output, thousands of tasks: memory, files, descriptors, zombies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use meanwhile::interrupt::Interrupt;
use meanwhile::outcome::{End, Outcome};
use nix::unistd::getpid;

use super::program::{clean_environment, program};
use super::support::*;

/// More than the file takes.
const FLOOD: &str = "echo begin; yes | head -c 300M; echo end";
const MAX_FILE: u64 = 256 * 1024 * 1024;

fn look_at(outcome: &Outcome) {
    assert_eq!(outcome.error(), None);
    let output = &outcome.output;
    assert!(
        output.len() < 40 * 1024,
        "{} bytes are for the model",
        output.len()
    );
    assert!(output.starts_with("begin\ny\ny\n") && output.ends_with("\ny\ny\nend\n"));
    let cut = output
        .lines()
        .find(|line| line.starts_with("[… "))
        .expect("a line on what was cut");
    let numbers: Vec<u64> = cut
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let kept = output.len() - cut.len() - 1;
    let (lines, bytes) = (numbers[0], numbers[1]);
    assert_eq!(bytes + kept as u64, 300 * 1024 * 1024 + 10, "{cut}");
    assert_eq!(
        lines + output.lines().count() as u64 - 1,
        150 * 1024 * 1024 + 2,
        "{cut}"
    );
    let path = cut
        .split_once("its first 268435456 bytes are in ")
        .expect("where the rest is")
        .1;
    let path = PathBuf::from(path.trim_end_matches(" …]"));
    let file = fs::metadata(&path).expect("it is there");
    assert_eq!(
        (file.permissions().mode() & 0o777, file.len()),
        (0o600, MAX_FILE)
    );
    let folder = fs::metadata(path.parent().expect("a folder")).expect("it is there");
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    fs::remove_file(path).expect("it is ours");
}

#[test]
fn a_flood_takes_no_memory() {
    alone("leaks::a_flood_takes_no_memory", &[], |_| {
        let executor = executor(1);
        let foreground = |command: &str| run_blocking(command, NO_LIMIT, &Interrupt::default()).0;
        let background = |id: &str, text: &str| {
            executor
                .submit_command(id, text)
                .expect("the one before has ended");
            executor.until_ended(id)
        };
        // What a command takes anyhow, it has taken now.
        foreground("yes | head -c 1M");
        background("small", "yes | head -c 1M");
        let before = memory(getpid(), "VmHWM");
        look_at(&foreground(FLOOD));
        look_at(&background("flood", FLOOD));
        let grown = memory(getpid(), "VmHWM").saturating_sub(before); // it is an estimate
        println!("measured: two floods of 300 MB took {grown} KiB of memory");
        assert!(grown < 4 * 1024, "two floods took {grown} KiB");
    });
}

/// Lines of half a megabyte: head and tail are kept, although they hold no line end.
#[test]
fn long_lines_keep_head_and_tail() {
    let place = Place::new();
    let command = place.command(
        "head -c 500000 /dev/zero | tr '\\0' a; echo X; head -c 500000 /dev/zero | tr '\\0' z; echo",
    );
    let (outcome, _) = run_blocking(&command, NO_LIMIT, &Interrupt::default());
    let (head, rest) = outcome
        .output
        .split_once("\n[… ")
        .expect("a line on what was cut");
    let (cut, tail) = rest.split_once('\n').expect("a tail");
    assert_eq!((head.len(), tail.len()), (8 * 1024, 24 * 1024), "{cut}");
    assert!(head.ends_with("aaa") && tail.ends_with("zzz\n"));
    let path = cut
        .split_once("the whole is in ")
        .expect("where it is")
        .1
        .trim_end_matches(" …]");
    assert_eq!(fs::metadata(path).expect("it is there").len(), 1_000_003);
    fs::remove_file(path).expect("it is ours");
}

/// A lesson whose temporary files are to be found.
fn lesson_with(temporary: &Path) -> Talk {
    let mut talk = Talk::through("s01_agent_loop", |folder| {
        let mut command = std::process::Command::new(program("s01_agent_loop"));
        clean_environment(&mut command, folder);
        command.env("TMPDIR", temporary);
        command
    });
    assert_eq!(count(temporary), 0, "nothing is made that is not needed");
    talk.say("run 'yes | head -c 1M'");
    assert_eq!(count(temporary), 1);
    talk
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).expect("it is there").count()
}

#[test]
fn long_output_goes_with_the_program_however_that_goes() {
    let place = Place::new();
    let gone = || count(place.0.path()) == 0;

    lesson_with(place.0.path()).leave();
    until("the folder has gone after an exit", gone);

    let talk = lesson_with(place.0.path());
    kill(talk.pid());
    until("the folder has gone after SIGKILL", gone);

    // Nobody is there to remove it but the supervisor of a command that runs.
    let other = Place::new();
    let mut talk = lesson_with(place.0.path());
    talk.send(&format!(
        "run '{}'",
        other.command("echo $$ >> {}/pids; echo $PPID >> {}/pids; sleep 1000")
    ));
    let pids = other.pids(2);
    assert_eq!(
        children(talk.pid()),
        [pids[1]],
        "the one that served the command before"
    );
    kill(talk.pid());
    until_gone(&pids);
    until(
        "the folder has gone although no other supervisor was there",
        gone,
    );
}

/// The program ends in the moment in which its command has ended.
#[test]
fn long_output_goes_with_a_program_that_leaves_at_once() {
    let place = Place::new();
    for _ in 0..40 {
        let mut command = std::process::Command::new(program("s01_agent_loop"));
        clean_environment(&mut command, place.0.path());
        command
            .env("TMPDIR", place.0.path())
            .args(["-p", "run 'yes | head -c 1M'"]);
        assert!(command.output().expect("it runs").status.success());
    }
    until("the folders have gone", || count(place.0.path()) == 0);
}

/// Who asks for a folder to be removed that is no such folder asks in vain.
#[test]
fn a_supervisor_removes_nothing_else() {
    let place = Place::new();
    fs::create_dir(place.path("precious")).expect("a folder");
    let mut supervisor = std::process::Command::new(program("s01_agent_loop"))
        .arg("__supervisor")
        .arg(place.path("precious"))
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    assert!(supervisor.wait().expect("it ends").success());
    assert!(place.path("precious").is_dir());
}

/// As many as run in 15 seconds, up to 10,000.
#[test]
fn thousands_of_tasks_leave_no_zombie_and_no_descriptor() {
    alone(
        "leaks::thousands_of_tasks_leave_no_zombie_and_no_descriptor",
        &[],
        |_| {
            let executor = executor(4);
            let (me, begun, mut count) = (getpid(), Instant::now(), 0);
            let mut some = |executor: &Executor, how_many: usize| {
                for _ in 0..how_many {
                    until("one of four has ended", || executor.running().len() < 4);
                    count += 1;
                    // Some with orphans, some that fail, some that are ended by a signal.
                    let text = [
                        "true",
                        "(true &)",
                        "false",
                        "setsid true & true",
                        "kill -9 $$",
                    ][count % 5];
                    executor
                        .submit_command(&format!("task {count}"), text)
                        .expect("there is room");
                }
                until("all have ended", || executor.running().is_empty());
                until_only_idle_ones_are_there(me);
                count
            };
            some(&executor, 100);
            let (descriptors_before, threads_before) = (descriptors(me), thread_count());
            let mut total = 0;
            while total < 10_000 && begun.elapsed() < Duration::from_secs(15) {
                total = some(&executor, 100);
            }
            println!("measured: {total} tasks");
            until("nothing is open that was not before", || {
                descriptors(me) <= descriptors_before
            });
            until("no thread is left over", || {
                thread_count() <= threads_before
            });
            for number in 1..=total {
                let outcome = executor
                    .outcome(&format!("task {number}"))
                    .expect("it has ended");
                assert!(
                    matches!(outcome.end, End::Finished(Some(0 | 1 | 137))),
                    "{outcome:?}"
                );
            }
        },
    );
}

fn thread_count() -> usize {
    fs::read_dir("/proc/self/task")
        .expect("our threads")
        .count()
}
