//! aids · Checks an exercise: builds its tests, runs each as a process of its own, and says in
//! words what came of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use meanwhile::interrupt::Interrupt;
use meanwhile::outcome::{End, Outcome};
use meanwhile::process;
use serde_json::Value;

use crate::say;

/// A test that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(20);
/// Lines that are shown of what a failed test printed.
const SHOWN: usize = 12;

/// Builds one program of a package and returns its path. What the compiler has to say goes to
/// standard error, from itself.
pub fn build(package: &Path, arguments: &[&str]) -> Result<PathBuf, String> {
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
    build.current_dir(package);
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
    process::run_watched(&command, LIMIT, &Interrupt::default(), |_| {}).0
}

/// A panic, as the standard library prints it.
struct Panic<'a> {
    thread: &'a str,
    file: &'a str,
    line: &'a str,
    message: &'a str,
}

/// The panics in an output: `thread 'NAME' (1234) panicked at FILE:LINE:COLUMN:`, and the message
/// in the lines below.
fn panics(output: &str) -> Vec<Panic<'_>> {
    let parts = output.split("\nthread '").skip(1);
    fn panic(part: &str) -> Option<Panic<'_>> {
        let (head, message) = part.split_once('\n')?;
        let (thread, place) = head.split_once("' ")?;
        let place = place.split_once("panicked at ")?.1.trim_end_matches(':');
        let (place, _column) = place.rsplit_once(':')?;
        let (file, line) = place.rsplit_once(':')?;
        let message = message.split("\nnote: ").next()?;
        let message = message.split("\nstack backtrace:").next()?.trim();
        Some(Panic {
            thread,
            file,
            line,
            message,
        })
    }
    parts.filter_map(panic).collect()
}

/// What a learner reads of a test that failed.
fn explain(test: &str, outcome: &Outcome) -> String {
    let output = outcome.output.as_str();
    let body = output
        .split_once("running 1 test\n")
        .map_or(output, |(_, body)| body);
    let verdict = format!("test {test} ... ");
    let body = body.rsplit_once(&verdict).map_or(body, |(body, _)| body);
    let (panics, printed) = (panics(body), body.split("\nthread '").next());
    let gap = panics
        .iter()
        .find(|it| it.message.starts_with("not yet implemented"));
    let own = panics
        .iter()
        .rfind(|it| it.thread == test)
        .or(panics.last());
    let lines: Vec<&str> = printed.unwrap_or_default().lines().collect();
    let printed = lines
        .split_at(lines.len().saturating_sub(SHOWN))
        .1
        .join("\n");
    let why = match (gap, own) {
        _ if outcome.end == End::TimedOut => format!(
            "still running after {} s, so it was ended. Does a loop never end, or does something wait for what nobody sends?",
            LIMIT.as_secs()
        ),
        (Some(gap), _) => {
            let what = gap.message.trim_start_matches("not yet implemented");
            format!(
                "a gap is left at line {} of mine/{}{what}",
                gap.line, gap.file
            )
        }
        (
            None,
            Some(Panic {
                file,
                line,
                message,
                ..
            }),
        ) => {
            let words = message.strip_prefix("assertion `left == right` failed: ");
            format!("{}\n(mine/{file}, line {line})", words.unwrap_or(message))
        }
        (None, None) => format!("{}, without a panic", outcome.error().unwrap_or_default()),
    };
    match printed.trim() {
        "" => why,
        printed => format!("{why}\nIt printed:\n{printed}"),
    }
}

/// Builds and runs the tests of an exercise, and says what came of each. True if all passed.
pub fn check(package: &Path, exercise: &str, source: &str) -> Result<bool, String> {
    let built = build(package, &["test", "--no-run", "--test", exercise])?;
    // Cargo builds only what is younger than its program. With none there, it also builds an older
    // text, such as one that was kept and put back.
    let program = built.with_extension("checked");
    fs::rename(&built, &program).map_err(|error| error.to_string())?;
    // Tests run in the folder of their package.
    std::env::set_current_dir(package).map_err(|error| error.to_string())?;
    let list = run(&program, "--list --format terse").output;
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let mut tests: Vec<&str> = tests.collect();
    // In the order of the file, in which they are to be read.
    let words = |test: &str| test.rsplit("::").next().unwrap_or(test).to_string();
    tests.sort_by_key(|test| source.find(&format!("fn {}(", words(test))));
    let run = &|test: &str| run(&program, &format!("--exact '{test}' --nocapture"));
    // At the same time: what fails may wait for seconds.
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let runs: Vec<_> = tests
            .iter()
            .map(|test| scope.spawn(move || run(test)))
            .collect();
        let lost = |_| Outcome::new(End::Lost, "");
        let ended = runs.into_iter().map(|run| run.join());
        ended.map(|outcome| outcome.unwrap_or_else(lost)).collect()
    });
    let (mut passed, mut last) = (0, String::new());
    for (test, outcome) in tests.iter().zip(&outcomes) {
        let name = words(test).replace('_', " ");
        if outcome.error().is_none() {
            passed += 1;
            say(&format!("  passed  {name}"));
            continue;
        }
        let why = explain(test, outcome).replace('\n', "\n          ");
        let said = if why == last { "the same" } else { &why };
        say(&format!("  FAILED  {name}\n          {said}"));
        last = why;
    }
    say(&format!("{passed} of {} tests passed.", tests.len()));
    Ok(passed == tests.len() && passed > 0)
}
