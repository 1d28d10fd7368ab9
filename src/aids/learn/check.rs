//! aids · Checks an exercise: builds its tests, runs each as a process of its own, and says in
//! words what came of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use meanwhile::interrupt::Interrupt;
use meanwhile::outcome::{End, Outcome};
use meanwhile::process::{self, Handle};
use serde_json::Value;

use crate::course::failed;
use crate::mine::mine;
use crate::say;

/// A test that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(20);
/// Lines that are shown of what a failed test printed.
const SHOWN: usize = 12;

/// Builds one program of the learner's package and returns its path. What the compiler has to say goes to
/// standard error, from itself.
pub fn build(arguments: &[&str]) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut build = Command::new(cargo);
    // Cargo's variables about the course would make it compile `ring`, and all that rests on it,
    // once more.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    build.args(arguments);
    build.args(["--quiet", "--message-format=json-render-diagnostics"]);
    build.current_dir(mine(""));
    build.stdin(Stdio::null()).stderr(Stdio::inherit());
    let failed = |error| format!("Cargo cannot be started: {error}.");
    let output = build.output().map_err(failed)?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    match messages.lines().filter_map(executable).next_back() {
        Some(path) if output.status.success() => Ok(path),
        _ => Err("It does not compile: see above.".to_string()),
    }
}

/// Runs a test program with these arguments, and ends it with all that it started.
fn run(program: &Path, arguments: &str) -> Outcome {
    let program = program.display().to_string().replace('\'', r"'\''");
    let command = format!("RUST_BACKTRACE=0 exec '{program}' {arguments}");
    let (command, never) = (Handle::new(&command), Interrupt::default());
    process::run(&command, "".as_ref(), LIMIT, &never).0
}

/// A panic in the words of the standard library, `thread 'NAME' (1234) panicked at FILE:LINE:COLUMN:`
/// and the message in the lines below, after the first quote: its thread, whether it is a gap that
/// was left, and what a learner reads of it.
fn panic(text: &str) -> Option<(&str, bool, String)> {
    let (head, message) = text.split_once('\n')?;
    let (thread, place) = head.split_once("' ")?;
    let mut place = place.split_once("panicked at ")?.1.split(':');
    let (file, line) = (place.next()?, place.next()?);
    let message = message.split("\nnote: ").next()?.trim();
    let what = message.trim_start_matches("assertion `left == right` failed: ");
    let gap = message.strip_prefix("not yet implemented");
    let told = match gap {
        Some(what) => format!("a gap is left at line {line} of mine/{file}{what}"),
        None => format!("{what}\n(mine/{file}, line {line})"),
    };
    Some((thread, gap.is_some(), told))
}

/// What a learner reads of a test that failed.
fn explain(test: &str, outcome: &Outcome) -> String {
    let output = outcome.output.as_str();
    let start = output.split_once("running 1 test\n");
    let body = start.map_or(output, |(_, body)| body);
    let end = body.rsplit_once(&format!("test {test} ... "));
    let mut parts = end.map_or(body, |(body, _)| body).split("\nthread '");
    let printed = parts.next().unwrap_or_default().trim();
    let panics: Vec<_> = parts.filter_map(panic).collect();
    let gap = panics.iter().find(|(_, is_gap, _)| *is_gap);
    let own = panics.iter().rfind(|(thread, ..)| *thread == test);
    let why = match gap.or(own).or(panics.last()) {
        _ if outcome.end == End::TimedOut => format!(
            "still running after {} s, so it was ended. Does a loop never end, or does something wait for what nobody sends?",
            LIMIT.as_secs()
        ),
        Some((.., told)) => told.clone(),
        None => format!("{}, without a panic", outcome.error().unwrap_or_default()),
    };
    let lines: Vec<&str> = printed.lines().collect();
    match &lines[lines.len().saturating_sub(SHOWN)..] {
        [] => why,
        last => format!("{why}\nIt printed:\n{}", last.join("\n")),
    }
}

/// Builds and runs the tests of an exercise, and says what came of each. True if all passed.
pub fn passes(exercise: &str, source: &str) -> Result<bool, String> {
    let built = build(&["test", "--no-run", "--test", exercise])?;
    // Cargo builds only what is younger than its program. With none there, it also builds an older
    // text, such as one that was kept and put back.
    let program = built.with_extension("checked");
    fs::rename(&built, &program).map_err(failed(&built, "renamed"))?;
    // Tests run in the folder of their package.
    let folder = mine("");
    std::env::set_current_dir(&folder).map_err(failed(&folder, "entered"))?;
    let list = run(&program, "--list --format terse").output;
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let mut tests: Vec<&str> = tests.collect();
    // In the order of the file, in which they are to be read.
    let name = |test: &str| test.rsplit("::").next().unwrap_or(test).to_string();
    tests.sort_by_key(|test| source.find(&format!("fn {}(", name(test))));
    let (mut passed, mut last) = (0, String::new());
    let run = &|test: &str| run(&program, &format!("--exact '{test}' --nocapture"));
    // At the same time: what fails may wait for seconds.
    thread::scope(|scope| {
        let start = |test| scope.spawn(move || run(test));
        let runs: Vec<_> = tests.iter().copied().map(start).collect();
        for (test, run) in tests.iter().zip(runs) {
            let outcome = run.join().unwrap_or_else(|_| Outcome::new(End::Lost, ""));
            let name = name(test).replace('_', " ");
            if outcome.error().is_none() {
                passed += 1;
                say(&format!("  passed  {name}"));
                continue;
            }
            let why = explain(test, &outcome).replace('\n', "\n          ");
            let said = if why == last { "the same" } else { &why };
            say(&format!("  FAILED  {name}\n          {said}"));
            last = why;
        }
    });
    say(&format!("{passed} of {} tests passed.", tests.len()));
    Ok(passed == tests.len() && passed > 0)
}
