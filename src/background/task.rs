//! s08 · Tasks: a piece of work with a name, which lets itself be looked at and stopped; and where it
//! stands, in one line.

use std::fmt;
use std::mem::replace;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Progress, Watch};
use crate::caught::lock;
use crate::event::{Event, Events};
use crate::notification::{Ended, TaskId};
use crate::outcome::{End, Outcome};
use crate::todo::Priority;

/// What kind of work a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A shell command.
    Command,
    /// A sub-agent, as urgent as its todo.
    Agent(Priority),
    /// Something else, of that name. It takes no place.
    Other(&'static str),
}

/// Work with a name, whether it has ended or not. Clones are the same work.
#[derive(Clone)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// What it is.
    pub kind: Kind,
    /// When its work began.
    pub started: Instant,
    /// Where its beginning and its end are told.
    events: Events,
    /// Once it has ended, how it stood last. (Its outcome comes over the bus.)
    watch: Arc<Mutex<Arc<dyn Watch>>>,
}

impl Task {
    /// Of work that begins now. The watch may be stopped before the work has begun.
    pub fn new(kind: Kind, id: &TaskId, watch: Arc<dyn Watch>, events: &Events) -> Self {
        Task {
            id: id.clone(),
            kind,
            started: Instant::now(),
            events: events.clone(),
            watch: Arc::new(Mutex::new(watch)),
        }
    }

    /// Where it stands, given its report if there is one.
    pub fn status(&self, ended: Option<Ended>) -> Status {
        let until = ended.as_ref().map_or_else(Instant::now, |ended| ended.at);
        Status {
            elapsed: until - self.started,
            progress: self.look(),
            outcome: ended.map(|ended| ended.outcome),
            task: self.clone(),
        }
    }

    /// Does its work, and emits `TaskStarted` before and `TaskFinished` after it, even if that panics.
    pub(super) fn run(&self, job: impl FnOnce(&Task) -> Outcome) -> Outcome {
        let (id, what) = (self.id.to_string(), self.look().what);
        self.events.emit(Event::TaskStarted { id, what });
        let outcome = Outcome::of(|| job(self));
        let result = format!("{outcome}\n{}", outcome.output);
        let (id, result) = (self.id.to_string(), result.trim_end().to_string());
        self.events.emit(Event::TaskFinished { id, result });
        outcome
    }

    /// Lets go of the watch and of what it holds: the buffers and the file of a command.
    pub(super) fn close(&self) {
        let last = Arc::new(self.look());
        let _dropped_unlocked = replace(&mut *lock(&self.watch), last);
    }
}

impl Watch for Task {
    fn look(&self) -> Progress {
        lock(&self.watch).look()
    }

    fn stop(&self) {
        lock(&self.watch).stop();
    }
}

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
