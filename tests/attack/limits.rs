//! What is not promised of commands, as the top of `src/process/supervisor.rs` has it: where that
//! can be shown, it is shown here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill, killpg};

use crate::processes::told;
use crate::support::program::{Lesson, copy_program, eventually, is_root};
use crate::support::prompt::{is_gone, pid};

const S01: &str = "s01_agent_loop";
const S08: &str = "s08_background_tasks";

#[test]
fn what_became_another_users_is_given_up() {
    if !is_root() {
        return println!("not looked at: only root can become another user");
    }
    let lesson = Lesson::new(S08).unprivileged();
    let folder = lesson.folder.path().to_path_buf();
    // For want of `sudo`, a program that may do the same.
    copy_program(Path::new("/usr/bin/setpriv"), &folder.join("as_root"));
    let mode = PermissionsExt::from_mode(0o4755);
    fs::set_permissions(folder.join("as_root"), mode).expect("it is root's");
    let root = "./as_root --reuid=0 --regid=0 --clear-groups";
    let told = lesson
        .line(&format!(
            "run \"echo $PPID > supervisor; {root} sh -c 'echo $$ > other; exec sleep 600' & until [ -s other ]; do :; done\""
        ))
        .run();
    let (supervisor, other) = (pid(&folder, "supervisor"), pid(&folder, "other"));
    told.has("The shell has exited; 1 process that it started is still running");
    eventually("the supervisor gives up", || is_gone(supervisor));
    let goes_on = !is_gone(other);
    let _ = kill(other, Signal::SIGKILL);
    assert!(goes_on, "then it could be promised");
}

#[test]
fn from_root_nothing_is_hidden() {
    if !is_root() {
        return println!("not looked at: only root sees everything");
    }
    let command = "tr '\\0' '\\n' < /proc/$(ps -o ppid= -p $PPID | tr -d ' ')/environ";
    let answer = told(Lesson::new(S01), command);
    assert!(answer.contains("sk-ant-a-secret"), "{answer}");
}

#[test]
fn who_kills_program_and_supervisor_at_once_survives() {
    let lesson = Lesson::new(S01);
    // Once it has stopped, which takes a moment, the program cannot see that the supervisor has gone.
    let stops =
        "P=$(ps -o ppid= -p $PPID); kill -STOP $P; until ps -o stat= -p $P | grep -q T; do :; done";
    let kills = format!("{stops}; kill -KILL $PPID; kill -KILL $P");
    let told = lesson
        .line(&format!(
            "run \"echo $$ > pid; {kills}; echo > done; sleep 600\""
        ))
        .run();
    assert_eq!(told.code, None, "{}", told.out);
    eventually("it goes on", || told.file("done").is_some());
    killpg(pid(told.folder.path(), "pid"), Signal::SIGKILL).expect("it runs");
}

/// What that leaves is not promised; the program itself is not held up.
#[test]
fn who_keeps_stopping_the_supervisor_does_not_hold_up_the_program() {
    let mut lesson = Lesson::new(S08);
    let folder = lesson.folder.path().to_path_buf();
    let mut program = lesson.start();
    let stops = "while :; do kill -STOP $PPID; done";
    let line = format!(
        "run \"echo $PPID > supervisor; echo $$ > pid; {stops}\" in the background as it\n"
    );
    let mut lines = program.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut lines, line.as_bytes()).expect("it reads");
    let (supervisor, command) = (pid(&folder, "supervisor"), pid(&folder, "pid"));
    drop(lines);
    let mut status = None;
    eventually("the program ends", || {
        status = program.try_wait().expect("a child");
        status.is_some()
    });
    let _ = killpg(command, Signal::SIGKILL); // it may have been reached
    let _ = kill(supervisor, Signal::SIGKILL);
    assert!(status.is_some_and(|status| status.success()));
    eventually("nothing is left", || {
        is_gone(supervisor) && is_gone(command)
    });
}

#[test]
fn a_supervisor_stays_as_a_command_has_left_it() {
    let told = Lesson::new(S01)
        .line("run \"nice\"")
        .line("run \"renice -n 15 -p $PPID\"")
        .line("run \"nice\"")
        .run();
    told.has_in_order(&["bash: nice\n", "renice", " · 15\n"]);
}
