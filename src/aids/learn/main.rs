//! aids · The learner's companion: copies exercises to `mine/`, checks them there, and gives hints.

mod check;
mod course;
mod learner;
mod mine;

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use meanwhile::process::supervisor;
use meanwhile::screen::wrap;

const HELP: &str = "\
learn: exercises for the lessons, in a folder of your own, mine/

  learn                        what is done, and what is next
  learn list                   all exercises
  learn check [s08]            test your solution; the first time, copy the exercise to mine/
  learn watch                  check again whenever a file in mine/ is saved
  learn hint [s08]             the next hint
  learn quiz [s08]             three questions about the lesson
  learn solution s08           a solution, once yours has passed; before that with --give-up
  learn reset s08              the exercise as it was given; your text is kept beside it
  learn lesson s08 as mine-08  copy the program of a lesson to mine/, to be changed freely
  learn run mine-08 [-- …]     start it, with the options of the lesson

Without a name, the next exercise is meant. For `learn` type `cargo run --bin learn`, as in
`cargo run --bin learn check s08`.";

/// Prints lines. Standard output may be closed: then nobody reads them.
fn say(text: &str) {
    let mut out = stdout();
    let _ = writeln!(out, "{}", wrap(text)).and_then(|()| out.flush());
}

/// The same, on standard error.
fn say_aside(text: &str) {
    let _ = writeln!(stderr(), "{}", wrap(text));
}

fn main() -> ExitCode {
    supervisor::become_supervisor_if_asked();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words = arguments.iter().map(|word| word.to_str().unwrap_or("?"));
    let words: Vec<&str> = words.collect();
    let done = match &words[..] {
        [] => learner::guide(),
        ["list"] => learner::list(),
        ["watch"] => learner::watch(),
        ["check", name @ ..] if name.len() < 2 => learner::check(name.first().copied()),
        ["hint", name @ ..] if name.len() < 2 => learner::hint(name.first().copied()),
        ["quiz", name @ ..] if name.len() < 2 => learner::quiz(name.first().copied()),
        ["solution", name] => learner::solution(name, false),
        ["solution", name, "--give-up"] => learner::solution(name, true),
        ["reset", name] => learner::reset(name),
        ["lesson", name, "as", own] => learner::lesson(name, own),
        ["run", own, "--", ..] => learner::run(own, &arguments[3..]),
        ["run", own, ..] => learner::run(own, &arguments[2..]),
        ["help" | "--help" | "-h"] => {
            say(HELP);
            Ok(())
        }
        _ => {
            say_aside(HELP);
            return ExitCode::from(2);
        }
    };
    let Err(why) = done else {
        return ExitCode::SUCCESS;
    };
    say_aside(&why);
    ExitCode::FAILURE
}
