//! Runs jobs on threads of their own, a few at a time, and keeps track of them.
//!
//! What is promised: every job that was accepted ends in exactly one [`Outcome`] on the bus, also
//! if it panics (`Failed`) or its thread dies without a word (`Lost`). What is not: that a job
//! ends at all, or that it heeds [`stop`](BackgroundExecutor::stop).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::notification::{Ended, NotificationBus, Notifier, TaskId};
use crate::outcome::{Outcome, catch};

/// How a job lets itself be looked at and stopped from outside, while it runs.
pub trait Watch: Send + Sync {
    /// One line on how it stands.
    fn look(&self) -> String;
    /// Asks it to end. Returns at once.
    fn stop(&self);
}

/// What a job is given: here it leaves its [`Watch`].
#[derive(Clone, Default)]
pub struct Control(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    watch: Option<Box<dyn Watch>>,
    stopped: bool,
}

impl Control {
    /// From now on the job can be looked at and stopped. If it was to be stopped before this, it
    /// is told so now.
    pub fn attach(&self, watch: impl Watch + 'static) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.stopped {
            watch.stop();
        }
        watched.watch = Some(Box::new(watch));
    }

    fn look(&self) -> String {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.watch.as_ref().map(|watch| watch.look()).unwrap_or_default()
    }

    fn stop(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.stopped = true;
        watched.watch.iter().for_each(|watch| watch.stop());
    }

    /// Lets go of the watch, and of what it holds: the buffers and the file of a command.
    fn detach(&self) {
        let watch = self.0.lock().unwrap_or_else(PoisonError::into_inner).watch.take();
        drop(watch);
    }
}

struct Task {
    started: Instant,
    control: Control,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running {
        /// Since when.
        elapsed: Duration,
        /// Its own word on how it stands; empty if it has none.
        progress: String,
    },
    /// It has ended.
    Ended {
        /// How long it ran.
        elapsed: Duration,
        /// What became of it.
        outcome: Outcome,
    },
}

/// Why a job was not accepted, or is not known. Displayed as what is the case and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    EmptyId,
    IdInUse { id: TaskId, known: Vec<TaskId> },
    UnknownId { id: String, known: Vec<TaskId> },
    TooMany { running: Vec<TaskId>, max: usize },
    NoThread(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &[TaskId]| match ids {
            [] => "none so far".to_string(),
            ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        match self {
            Refusal::EmptyId => f.write_str("the id is empty; give the task a short name, such as \"build\""),
            Refusal::IdInUse { id, known } => {
                write!(
                    f,
                    "the id {id:?} is taken; choose another one. Known ids: {}",
                    list(known),
                    id = id.to_string()
                )
            }
            Refusal::UnknownId { id, known } => {
                write!(f, "there is no task {id:?}. Known ids: {}", list(known))
            }
            Refusal::TooMany { running, max } => write!(
                f,
                "{max} background tasks run already ({}), and that is the limit. Go on with something else, or wait until one has ended, then start this one again",
                list(running)
            ),
            Refusal::NoThread(why) => {
                write!(
                    f,
                    "no thread could be started for it ({why}). Run it in the foreground, or try again later"
                )
            }
        }
    }
}

/// Runs jobs in the background. It owns the bus on which they report, and asks it alone who has
/// ended: so no task is ever running and ended at once.
pub struct BackgroundExecutor {
    bus: NotificationBus,
    max_concurrent: usize,
    tasks: HashMap<TaskId, Task>,
    /// Oldest first.
    ids: Vec<TaskId>,
    /// Not seen to have ended: what is asked about all the time is kept short.
    running: Vec<TaskId>,
}

impl BackgroundExecutor {
    /// At most `max_concurrent` jobs at once: 3 to 5 is what a model can keep in mind.
    pub fn new(bus: NotificationBus, max_concurrent: usize) -> Self {
        BackgroundExecutor {
            bus,
            max_concurrent,
            tasks: HashMap::new(),
            ids: Vec::new(),
            running: Vec::new(),
        }
    }

    /// Starts a job on a thread of its own and returns at once.
    ///
    /// # Errors
    /// When the id is empty or was used before, when too many jobs run, or no thread is to be had.
    /// The job has then not been started.
    pub fn submit(
        &mut self,
        task_id: &str,
        job: impl FnOnce(&Control) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        let id = TaskId::new(task_id).ok_or(Refusal::EmptyId)?;
        if self.tasks.contains_key(&id) {
            return Err(Refusal::IdInUse { id, known: self.ids() });
        }
        let running = self.running();
        if running.len() >= self.max_concurrent {
            return Err(Refusal::TooMany { running, max: self.max_concurrent });
        }
        let (control, started) = (Control::default(), Instant::now());
        let (notifier, its_id, its_control) = (self.bus.notifier(), id.clone(), control.clone());
        // The report is made on the thread: where there is no thread, there is nothing to report.
        let work = move || {
            let report =
                Report { notifier, id: its_id, control: its_control.clone(), outcome: Outcome::Lost };
            report.of(|| job(&its_control));
        };
        let thread = thread::Builder::new().name(id.to_string().replace('\0', ""));
        thread.spawn(work).map_err(|error| Refusal::NoThread(error.to_string()))?;
        self.ids.push(id.clone());
        self.running.push(id.clone());
        self.tasks.insert(id, Task { started, control });
        Ok(())
    }

    /// Where a task stands. May be asked again and again, also after it has ended.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn check(&mut self, task_id: &str) -> Result<Status, Refusal> {
        let id = self.find(task_id)?;
        let task = &self.tasks[&id];
        Ok(match self.bus.check(&id) {
            Some(Ended { outcome, at }) => {
                Status::Ended { elapsed: *at - task.started, outcome: outcome.clone() }
            }
            None => Status::Running { elapsed: task.started.elapsed(), progress: task.control.look() },
        })
    }

    /// Asks a task to end, and returns at once; its outcome comes over the bus. Without effect on
    /// one that has ended.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn stop(&mut self, task_id: &str) -> Result<(), Refusal> {
        let id = self.find(task_id)?;
        self.tasks[&id].control.stop();
        Ok(())
    }

    /// All tasks there were, oldest first.
    pub fn ids(&self) -> Vec<TaskId> {
        self.ids.clone()
    }

    /// The tasks that have not ended.
    pub fn running(&mut self) -> Vec<TaskId> {
        let bus = &mut self.bus;
        self.running.retain(|id| bus.check(id).is_none());
        self.running.clone()
    }

    fn find(&self, task_id: &str) -> Result<TaskId, Refusal> {
        let known = TaskId::new(task_id).filter(|id| self.tasks.contains_key(id));
        known.ok_or_else(|| Refusal::UnknownId { id: task_id.to_string(), known: self.ids() })
    }
}

/// Reports an outcome when it is dropped, whatever drops it: `Lost`, unless the job came to an end.
struct Report {
    notifier: Notifier,
    id: TaskId,
    control: Control,
    outcome: Outcome,
}

impl Report {
    fn of(mut self, job: impl FnOnce() -> Outcome) {
        let broken = |panic| Outcome::Failed { message: format!("the job broke down: {panic}") };
        self.outcome = catch(job).unwrap_or_else(broken);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Lost);
        self.notifier.notify(self.id.clone(), outcome);
        self.control.detach();
    }
}
