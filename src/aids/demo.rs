//! aids · The end of `--demo`: what the page tells to type into a shell, this program once more, is
//! played after what it tells to type at the prompt.

use std::env::current_exe;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::time::Duration;

use crate::options::Options;
use crate::process::fed::quote;
use crate::process::{Handle, run};
use crate::repl::Repl;
use crate::screen::Style;

/// Until somebody has read a line.
const PAUSE: Duration = Duration::from_secs(1);
/// Longer than any of them takes.
const LIMIT: Duration = Duration::from_secs(120);

/// Where it is played, the lines for a shell come last.
pub fn attach(options: &Options, repl: &mut Repl) {
    if !options.demo || options.replay.is_some() {
        return;
    }
    let tries = options.page.split("\n## Try it\n").nth(1);
    let lines = tries.and_then(|it| it.split("\n## ").next());
    let lines = lines.unwrap_or_default().lines().map(str::to_string);
    let lines: Vec<String> = lines.filter(|it| it.starts_with("$ cargo run ")).collect();
    let stop = repl.context().interrupt;
    repl.at_end(move |screen| {
        let program = current_exe().unwrap_or_default();
        let program = quote(&program.to_string_lossy());
        for line in lines {
            screen.lines(&format!("\n{line}"), Style::Bold);
            if line.contains(" --agent ") {
                screen.say("(Left out here: it needs files that the page tells to write.)");
                continue;
            }
            if stdout().is_terminal() && !stop.pause(PAUSE) {
                return;
            }
            // This program in place of `cargo run --bin NAME --`; of one that was killed, a terminal
            // says so.
            let cargo = format!(
                "cargo() {{ shift 4; {program} \"$@\" || {{ [ $? != 137 ] || echo Killed; }}; }} 2>/dev/null"
            );
            let command = format!("{cargo}\n{}", line.trim_start_matches("$ "));
            let (outcome, _) = run(&Handle::new(&command), Path::new(""), LIMIT, &stop);
            screen.say(outcome.output.trim_end());
        }
    });
}
