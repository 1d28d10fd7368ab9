//! s08 · Status: where a task stands, and the one line that says so.

use std::fmt;
use std::time::Duration;

use crate::outcome::Outcome;

/// How a running job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it does: the command, or the prompt of an agent.
    pub what: String,
    /// If a command's shell has exited but what it started still runs: how many processes.
    pub left_running: Option<usize>,
    /// Its own words, in one line; empty if it has none.
    pub line: String,
    /// What it has printed or done of late.
    pub recent: String,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// From its start until now, or until it reported its end.
    pub elapsed: Duration,
    /// As it is now or, once it has ended, as it was last seen.
    pub progress: Progress,
    /// How it ended; `None` as long as it runs.
    pub outcome: Option<Outcome>,
}

/// One line. What has not ended begins with a mark in square brackets.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let mark = match (&self.outcome, self.progress.left_running) {
            (Some(outcome), _) => return write!(f, "{outcome} after {seconds:.1} s"),
            (None, Some(_)) => "shell exited",
            (None, None) => "running",
        };
        let line = &self.progress.line;
        let gap = if line.is_empty() { "" } else { "; " };
        write!(f, "[{mark}] {seconds:.1} s{gap}{line}")
    }
}
