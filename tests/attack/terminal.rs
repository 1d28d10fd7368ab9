//! The terminal: signals, jobs, keys, widths.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use serde_json::json;

use crate::screen::turns_around;
use crate::support::program::{eventually, program, threads};
use crate::support::prompt::{
    CTRL_C, gate, is_gone, leaves_everything_as_it_was, open, pid, served,
};
use crate::support::server::{Server, reply_text, reply_tool};
use crate::support::terminal::{Seat, Terminal};

const S08: &str = "s08_background_tasks";
const S09: &str = "s09_notifications";
const CTRL_U: &str = "\x15";
const CTRL_V: &str = "\x16";
const CTRL_Z: &str = "\x1a";
const ESCAPE: &str = "\x1b";
const LEFT: &str = "\x1b[D";

/// Those that are here; zsh is not everywhere.
fn shells() -> Vec<&'static str> {
    let zsh = Path::new("/usr/bin/zsh").exists().then_some("zsh");
    ["bash", "dash"].into_iter().chain(zsh).collect()
}

/// A shell with job control, at its prompt.
fn shell(name: &str) -> Terminal {
    let seat = match name {
        "bash" => Seat::at(name).argument("--norc"),
        "zsh" => Seat::at(name).argument("-f"),
        _ => Seat::at(name),
    };
    let shell = seat.argument("-i").variable("PS1", "shell$ ").start();
    shell.until_ends("shell$");
    shell
}

/// The number of the program, which the shell wrote down.
fn start_in(shell: &mut Terminal, lesson: &str) {
    let program = program(lesson);
    shell.line(&format!(
        "sh -c 'echo $$ > lesson; exec {}'",
        program.display()
    ));
    shell.until_ends(" >>");
}

#[test]
fn a_signal_ends_the_program_while_a_drawn_screen_is_held() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut terminal = Seat::new(S08).start();
        terminal.until_ends("s08 >>");
        terminal.line("run \"echo $$ > pid; sleep 600\"");
        let command = pid(terminal.folder.path(), "pid");
        terminal.until_shows("sleep 600, 1 s"); // the status line is drawn
        terminal.hold();
        terminal.send("typed, and not shown");
        terminal.signal(signal);
        assert_eq!(terminal.wait(), 128 + signal as u32);
        eventually("nothing is left", || is_gone(command));
    }
}

#[test]
fn after_ctrl_z_and_fg_everything_is_as_before() {
    for name in shells() {
        let mut shell = shell(name);
        start_in(&mut shell, S09);
        shell.send("abXc");
        shell.until_ends("s09 >> abXc");
        for _ in 0..3 {
            shell.send(CTRL_Z);
            shell.until_ends("\nshell$");
            shell.line("echo echoed; stty -a > settings");
            shell.until("the shell echoes", |screen| {
                screen.contains("shell$ echo echoed") && screen.ends_with("\nechoed\nshell$")
            });
            let settings = fs::read_to_string(shell.folder.path().join("settings"));
            let settings = settings.expect("what stty says");
            assert!(
                settings.contains(" icanon ") && settings.contains(" echo "),
                "{settings}"
            );
            shell.line("clear; fg");
            shell.until_ends("s09 >> abXc");
        }
        // The keys are those of the editor.
        shell.send(LEFT);
        shell.send("\x7f");
        shell.until_ends("s09 >> abc");
        shell.send(CTRL_U);
        shell.send("\x0b"); // Ctrl+K: the rest of the line
        shell.line("run \"echo 1\"");
        shell.until_ends("\n1\ns09 >>");
        shell.until_shows("s09 >> run \"echo 1\"\n● bash: echo 1\n");
    }
}

#[test]
fn the_shell_echoes_while_a_running_call_is_stopped() {
    for name in shells() {
        let mut shell = shell(name);
        start_in(&mut shell, S08);
        gate(&shell, "gate");
        shell.line("run \"cat gate\"");
        shell.until_shows("cat gate, 1 s");
        shell.send(CTRL_Z);
        shell.until_ends("\nshell$");
        shell.line("echo echoed; stty -a > settings");
        shell.until("the shell echoes", |screen| {
            screen.contains("shell$ echo echoed") && screen.ends_with("\nechoed\nshell$")
        });
        let settings = fs::read_to_string(shell.folder.path().join("settings"));
        let settings = settings.expect("what stty says");
        assert!(
            settings.contains(" icanon ") && settings.contains(" echo "),
            "{settings}"
        );
        shell.line("fg");
        open(&shell, "gate");
        shell.until_shows("\nthrough gate\n");
        shell.until_ends("s08 >>");
    }
}

#[test]
fn a_job_in_the_background_can_be_killed() {
    for name in shells() {
        for stopped in [false, true] {
            let mut shell = shell(name);
            let path = program(S08);
            if stopped {
                start_in(&mut shell, S08);
                shell.send(CTRL_Z);
                shell.until_ends("\nshell$");
            } else {
                let path = path.display();
                shell.line(&format!("sh -c 'echo $$ > lesson; exec {path}' &"));
            }
            let lesson = pid(shell.folder.path(), "lesson");
            if !stopped {
                let mut is_stopped = false;
                eventually("it waits for the terminal", || {
                    is_stopped = threads(lesson).contains(" T ");
                    is_stopped || keyboard_waits(lesson)
                });
                assert!(!is_stopped, "it touched the terminal's settings");
            }
            // dash leaves it to us to wake what is stopped.
            let wake = if name == "dash" && stopped {
                "; kill -CONT %1"
            } else {
                ""
            };
            shell.line(&format!("kill %1{wake}"));
            eventually("the program is gone", || is_gone(lesson));
            shell.line("stty -a > settings; echo done > written");
            pid_of_end(&shell);
            let settings = fs::read_to_string(shell.folder.path().join("settings"));
            assert!(settings.is_ok_and(|it| it.contains(" icanon ")), "touched");
        }
    }
}

/// True once the thread of the keyboard has looked several times who has the terminal.
fn keyboard_waits(process: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let mut tasks = tasks.into_iter().flatten().flatten();
    tasks.any(|task| {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let status = read("status");
        let line = status.lines().find(|it| it.starts_with("voluntary_ctxt"));
        let waits = line.and_then(|it| it.rsplit('\t').next()?.parse::<u32>().ok());
        read("comm") == "keyboard\n" && waits.is_some_and(|waits| waits >= 5)
    })
}

/// Waits until the shell has come so far.
fn pid_of_end(shell: &Terminal) {
    let written = shell.folder.path().join("written");
    eventually("the shell goes on", || {
        fs::read(&written).is_ok_and(|text| text == b"done\n")
    });
}

/// It did not always end the program, so it is tried several times. The line may be lost.
#[test]
fn a_resize_after_ctrl_v_does_not_end_the_program() {
    for lesson in ["s02_tool_use", S08] {
        let mut terminal = Seat::new(lesson).start();
        terminal.until_ends(" >>");
        // A letter of its own each time, as what was heard of the resizes is read before it is shown: the
        // editor is told through a pipe that must not fill up.
        for letter in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            terminal.send(CTRL_V);
            for columns in 50..100 {
                terminal.until_keys_are_read();
                terminal.resize(40, columns);
            }
            terminal.send(letter);
            terminal.until_ends(letter);
        }
        terminal.send("\r");
        terminal.line("run \"echo up\"");
        terminal.until_shows("\nup\n");
        terminal.until_ends(" >>");
        terminal.line("exit");
        leaves_everything_as_it_was(&mut terminal, 0);
    }
}

#[test]
fn the_status_is_one_line_whatever_its_characters() {
    let mut terminal = Seat::new("s07_task_system").start();
    terminal.until_ends("s07 >>");
    gate(&terminal, "gate");
    let wide = "⚡⌚⭐🈶🀄𗀀𛄟".repeat(20);
    terminal.line(&format!("run \"echo {wide}; cat gate\""));
    terminal.until_shows(", 1 s · ⚡⌚⭐");
    terminal.until_shows(", 2 s · ⚡⌚⭐");
    terminal.until("one line", |screen| screen.matches(" s · ").count() == 1);
    open(&terminal, "gate");
    terminal.until_shows("\nthrough gate\n");
    terminal.until_ends("s07 >>");
}

#[test]
fn the_status_is_one_line_in_a_window_that_gets_narrower() {
    let mut terminal = Seat::new("s07_task_system").start();
    terminal.until_ends("s07 >>");
    gate(&terminal, "gate");
    terminal.line(&format!("run \"echo {}; cat gate\"", "long ".repeat(40)));
    terminal.until_shows(", 1 s · long long long long long");
    terminal.resize(50, 60);
    terminal.until_shows(", 3 s · long");
    terminal.until_shows(", 4 s · long");
    terminal.until("one line", |screen| screen.matches(" s · ").count() == 1);
    open(&terminal, "gate");
    terminal.until_shows("\nthrough gate\n");
    terminal.until_ends("s07 >>");
}

#[test]
fn the_status_turns_nothing_around() {
    let command = json!({ "command": "cat gate # \u{202e}a\u{2066}b\u{200f}c" });
    let server = Server::start([reply_tool("t1", "bash", command), reply_text("done")]);
    let seat = served("s07_task_system", &server).argument("--yes");
    let mut terminal = seat.start();
    terminal.until_ends("s07 >>");
    gate(&terminal, "gate");
    terminal.line("go on");
    terminal.until_shows(", 1 s");
    open(&terminal, "gate");
    terminal.until_ends("\ndone\ns07 >>");
    let bytes = terminal.bytes();
    let shown = String::from_utf8_lossy(&bytes);
    assert_eq!(shown.chars().find(|c| turns_around(*c)), None, "{shown:?}");
}

#[test]
fn ctrl_c_counts_after_escape() {
    let mut terminal = Seat::new(S09).start();
    terminal.until_ends("s09 >>");
    terminal.send(ESCAPE);
    terminal.send(CTRL_C);
    terminal.until_shows("To leave: exit, Ctrl+D, or Ctrl+C once more.");
    terminal.send(ESCAPE);
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 0);
}
