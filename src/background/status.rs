//! s08 · Status: where a task stands, and the one line that says so.

use std::fmt;
use std::time::Duration;

use crate::outcome::Outcome;

/// How a running job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of a command whose shell has exited: how many processes it left running.
    pub left_running: Option<usize>,
    /// Its own words, in one line; empty if it has none.
    pub line: String,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Running {
        elapsed: Duration,
        progress: Progress,
    },
    Ended {
        elapsed: Duration,
        outcome: Outcome,
    },
}

/// One line. What has not ended begins with a mark in square brackets.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Running { elapsed, progress } => {
                let mark = match progress.left_running {
                    Some(1..) => "shell exited",
                    _ => "running",
                };
                write!(f, "[{mark}] {:.1} s", elapsed.as_secs_f64())?;
                match progress.line.as_str() {
                    "" => Ok(()),
                    line => write!(f, "; {line}"),
                }
            }
            Status::Ended { elapsed, outcome } => {
                write!(f, "{outcome} after {:.1} s", elapsed.as_secs_f64())
            }
        }
    }
}
