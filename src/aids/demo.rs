//! aids · The end of `--demo`: what the page tells to type into a shell, this program once more, is
//! played after what it tells to type at the prompt.

use std::env::current_exe;
use std::path::Path;
use std::time::Duration;

use crate::options::Options;
use crate::process::fed::quote;
use crate::process::{Handle, run};
use crate::repl::Repl;
use crate::screen::Style;

/// Longer than any of them takes.
const LIMIT: Duration = Duration::from_secs(120);

/// Where it is played, the lines for a shell come last. One for an agent needs files that the page
/// tells to write, and is left out.
pub fn attach(options: &Options, repl: &mut Repl) {
    if !options.demo || options.replay.is_some() {
        return;
    }
    let tries = options.page.split("\n## Try it\n").nth(1);
    let lines = tries
        .and_then(|it| it.split("\n## ").next())
        .map(str::lines);
    let lines = lines
        .into_iter()
        .flatten()
        .filter_map(|line| line.strip_prefix("$ "));
    let lines = lines.filter(|it| it.starts_with("cargo run ") && !it.contains(" --agent "));
    let lines: Vec<String> = lines.map(str::to_string).collect();
    let stop = repl.context().interrupt;
    repl.at_end(move |screen| {
        let program = current_exe().unwrap_or_default();
        // In place of `cargo run --bin NAME --`.
        let cargo = format!(
            "cargo() {{ shift 4; {} \"$@\"; }}",
            quote(&program.to_string_lossy())
        );
        for line in lines {
            screen.lines(&format!("$ {line}"), Style::Bold);
            let handle = Handle::new(&format!("{cargo}; {line}"));
            let (outcome, _) = run(&handle, Path::new(""), LIMIT, &stop);
            screen.say(outcome.output.trim_end());
        }
    });
}
