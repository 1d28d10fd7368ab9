//! The line that says what is waited for: drawn in place at a terminal, never left there, and not
//! known in a pipe.

mod support;

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::PtySize;
use support::program::{Lesson, gate, program};
use support::terminal::{Seat, Terminal};

/// Lets the command go on that reads this FIFO.
fn open(gate: &Path, word: &str) {
    std::fs::write(gate, format!("{word}\n")).expect("the command opens it, too");
}

/// The line above the prompt, which says what is waited for.
fn waiting(screen: &str) -> &str {
    let mut lines = screen.lines().rev();
    lines.find(|line| line.starts_with("s07 >>"));
    lines.next().unwrap_or_default()
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
    terminal.until("the line", |screen| {
        let line = waiting(screen);
        line.starts_with("echo compiling; cat one two; c…, ") && line.ends_with(" s · compiling")
    });
    open(&gates[0], "linking");
    terminal.until("the next word", |screen| {
        waiting(screen).ends_with(" · linking")
    });
    // It is cut to the width of the terminal, and stays one line when that changes.
    open(&gates[1], &"wide日本 ".repeat(40));
    terminal.until("a long line", |screen| {
        waiting(screen).contains(" · wide日本 wide日本")
    });
    window(&terminal, 40);
    terminal.until("a shorter line", |screen| {
        let line = waiting(screen);
        line.starts_with("echo compiling") && line.chars().count() < 40
    });
    window(&terminal, 100);
    // What is typed meanwhile does not tear it apart, and is not lost.
    terminal.send("run \"echo typed ahead\"\r");
    terminal.until("another line", |screen| {
        waiting(screen).chars().count() > 60
    });
    open(&gates[2], "done");
    terminal.until_shows(" s · typed ahead");
    terminal.until_ends("s07 >>");
    terminal.until("no rest of it", |screen| waiting(screen).is_empty());
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
    terminal.until("the line", |screen| {
        waiting(screen).starts_with("sleep 1000, ")
    });
    terminal.send("\x03");
    terminal.until_shows("[interrupted] by the user");
    terminal.until_ends("s07 >>");
    terminal.until("no rest of it", |screen| waiting(screen).is_empty());
    // And so does a signal that ends the program.
    terminal.send("run \"sleep 1000\"\r");
    terminal.until("the line", |screen| {
        waiting(screen).starts_with("sleep 1000, ")
    });
    let id = std::fs::read_to_string(terminal.folder.path().join("id")).unwrap();
    kill(Pid::from_raw(id.trim().parse().unwrap()), Signal::SIGTERM).unwrap();
    terminal.until_shows("left with 143");
    terminal.until("keys are shown", |screen| screen.contains(" echo "));
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
