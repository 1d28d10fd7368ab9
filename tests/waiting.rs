//! The line that says what is waited for: drawn in place at a terminal, never left there, and not
//! known in a pipe.

mod support;

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use portable_pty::PtySize;
use support::program::{Lesson, program};
use support::terminal::{Seat, Terminal};

fn gate(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
    path
}

/// Lets the command go on that reads this FIFO.
fn open(gate: &Path, word: &str) {
    std::fs::write(gate, format!("{word}\n")).expect("the command opens it, too");
}

/// The lines on the screen that are of the kind in question.
fn waiting(screen: &str) -> Vec<&str> {
    screen
        .lines()
        .filter(|line| line.contains('…') && line.contains(" s · "))
        .collect()
}

/// Tells the program of another width. The screen that we look at stays as wide as it was: a line
/// that is on its way at this moment is still one line.
fn window(terminal: &Terminal, cols: u16) {
    let size = PtySize {
        rows: 24,
        cols,
        ..PtySize::default()
    };
    terminal
        .master
        .as_ref()
        .expect("it is there")
        .resize(size)
        .expect("another size");
}

#[test]
fn a_line_says_what_runs_for_how_long_and_what_it_said_last_and_then_goes() {
    let mut terminal = Seat::new("s07_task_system").start();
    let gates = ["one", "two", "three"].map(|name| gate(terminal.folder.path(), name));
    terminal.until_ends("s07 >>");
    terminal.send("run \"echo compiling; cat one two; cat three\"\r");
    terminal.until("the line", |screen| match waiting(screen)[..] {
        [line] => {
            line.starts_with("  … ")
                && line.ends_with(" s · echo compiling; cat one two; c · compiling")
        }
        _ => false,
    });
    open(&gates[0], "linking");
    terminal.until(
        "the next word",
        |screen| matches!(waiting(screen)[..], [line] if line.ends_with(" · linking")),
    );
    // It is cut to the width of the terminal, and stays one line when that changes.
    open(&gates[1], &"wide日本 ".repeat(40));
    terminal.until("a long line", |screen| match waiting(screen)[..] {
        [line] => line.contains(" · wide日本 wide日本") && screen.lines().next_back() == Some(line),
        _ => false,
    });
    window(&terminal, 40);
    terminal.until("a shorter line", |screen| match waiting(screen)[..] {
        [line] => line.chars().count() < 40 && screen.lines().next_back() == Some(line),
        _ => false,
    });
    window(&terminal, 100);
    // What is typed meanwhile does not tear it apart, and is not lost.
    terminal.send("run \"echo typed ahead\"\r");
    terminal.until("another line", |screen| {
        screen
            .lines()
            .next_back()
            .is_some_and(|it| it.chars().count() > 70)
    });
    open(&gates[2], "done");
    terminal.until_shows("  └ 0.0 s · typed ahead");
    terminal.until_ends("s07 >>");
    terminal.until("no rest of it", |screen| {
        waiting(screen).is_empty() && screen.matches("typed ahead\"").count() == 1
    });
}

#[test]
fn an_interrupt_or_an_end_leaves_no_rest_of_it_and_the_terminal_as_it_was() {
    let program = program("s07_task_system");
    let script = format!(
        "sh -c 'echo $$ > id; exec {}'; echo left with $?; stty -a",
        program.display()
    );
    let mut terminal = Seat::at("bash").argument("-c").argument(&script).start();
    terminal.until_ends("s07 >>");
    terminal.send("run \"sleep 1000\"\r");
    terminal.until("the line", |screen| waiting(screen).len() == 1);
    terminal.send("\x03");
    terminal.until_shows("[interrupted] by the user");
    terminal.until_ends("s07 >>");
    terminal.until("no rest of it", |screen| waiting(screen).is_empty());
    // And so does a signal that ends the program.
    terminal.send("run \"sleep 1000\"\r");
    terminal.until("the line", |screen| waiting(screen).len() == 1);
    let id = std::fs::read_to_string(terminal.folder.path().join("id")).unwrap();
    kill(Pid::from_raw(id.trim().parse().unwrap()), Signal::SIGTERM).unwrap();
    terminal.until_shows("left with 143");
    terminal.until("keys are shown", |screen| {
        screen.contains(" echo ") && waiting(screen).is_empty()
    });
}

#[test]
fn a_pipe_knows_nothing_of_it() {
    let lesson = Lesson::new("s07_task_system");
    let told = lesson
        .line(r#"run "echo compiling; sleep 0.7; echo built""#)
        .run();
    told.has("built").has_not("…").has_not("\r").has_not("\x1b");
    assert_eq!(
        told.out.matches("compiling").count(),
        4,
        "typed, called, returned, said:\n{}",
        told.out
    );
}
