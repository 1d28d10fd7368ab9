//! s08 · Status: where a task stands, and the one line that says so.

use std::fmt;
use std::time::Duration;

use super::{Progress, Task};
use crate::outcome::{End, Outcome};

/// Where a task stands.
#[derive(Clone)]
pub struct Status {
    /// The task.
    pub task: Task,
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
        write!(f, "{}: ", self.task.id)?;
        let seconds = self.elapsed.as_secs_f64();
        match (&self.outcome, self.progress.left_running) {
            (Some(outcome), _) if matches!(outcome.end, End::Failed(_)) => {
                write!(f, "{outcome} (after {seconds:.1} s)")?; // a sentence
            }
            (Some(outcome), _) => write!(f, "{outcome} after {seconds:.1} s")?,
            (None, Some(_)) => write!(f, "[shell exited] {seconds:.1} s")?,
            (None, None) => write!(f, "[running] {seconds:.1} s")?,
        }
        let line = Some(&self.progress.line).filter(|_| self.outcome.is_none());
        let parts = line.into_iter().chain([&self.progress.remark]);
        let mut parts = parts.filter(|part| !part.is_empty());
        parts.try_for_each(|part| write!(f, "; {part}"))
    }
}
