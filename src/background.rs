//! s08 · The background executor: runs jobs on threads of their own, a few at a time, and keeps
//! track of them.
//!
//! Promised: a job that ends reports exactly one [`Outcome`] on the bus, even if it panics. Not
//! promised: that a job ends at all, or that it heeds [`stop`](Watch::stop).

mod task;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::caught::{catch, spawn};
use crate::notification::{NotificationBus, TaskId};
use crate::outcome::{End, Outcome};
pub use crate::process::{Progress, Watch};
pub use task::{Kind, Status, Task};

/// How many ids a sentence lists.
const LISTED: usize = 10;

/// Why a job was not accepted, or is not known: what is the case and what to do. The lists are of
/// all ids there were, or of those that run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("the id \"{0}\" is taken; choose another one. Known ids: {known}", known = list(.1))]
    IdInUse(TaskId, Vec<TaskId>),
    #[error("there is no task \"{0}\". Known ids: {known}", known = list(.1))]
    UnknownId(TaskId, Vec<TaskId>),
    #[error("{count} background tasks run already ({ids}), and no more can be started now. Go on with something else, or wait until one has ended, then start this one again", count = .0.len(), ids = list(.0))]
    TooMany(Vec<TaskId>),
    #[error(
        "no thread could be started for it ({0}). Run it in the foreground, or try again later"
    )]
    NoThread(String),
}

/// Runs jobs in the background. It owns the bus on which they report, and asks only the bus who has
/// ended: so a task never counts as both running and ended.
pub struct BackgroundExecutor {
    bus: NotificationBus,
    max_concurrent: usize,
    tasks: HashMap<TaskId, Task>,
    /// Oldest first.
    ids: Vec<TaskId>,
    /// Tasks not yet seen to have ended: a short list, because it is asked for all the time.
    running: Vec<TaskId>,
}

/// Shared between the tools, which start and check tasks, and whoever delivers the results.
pub type Executor = Arc<Mutex<BackgroundExecutor>>;

impl BackgroundExecutor {
    /// Runs at most `max_concurrent` jobs at the same time.
    pub fn shared(bus: NotificationBus, max_concurrent: usize) -> Executor {
        Arc::new(Mutex::new(BackgroundExecutor {
            bus,
            max_concurrent,
            tasks: HashMap::new(),
            ids: Vec::new(),
            running: Vec::new(),
        }))
    }

    /// Starts a job on a thread of its own and returns at once.
    ///
    /// # Errors
    /// When the id was used before, too many jobs run, or no thread could be created. The job has
    /// then not been started.
    pub fn submit(
        &mut self,
        task: Task,
        job: impl FnOnce(&Task) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        let mut running = self.running();
        // Commands and agents have places. What only waits for others takes none.
        running.retain(|id| !matches!(self.tasks[id].kind, Kind::Other(_)));
        if running.len() >= self.max_concurrent {
            return Err(Refusal::TooMany(running));
        }
        self.start(task, job)
    }

    /// Like `submit`, but without the limit, for work that may have been running for a while.
    ///
    /// # Errors
    /// When the id was used before, or no thread could be created.
    pub fn start(
        &mut self,
        task: Task,
        job: impl FnOnce(&Task) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        self.expect_new(&task.id)?;
        let (its, notifier) = (task.clone(), self.bus.notifier());
        // The thread itself reports: if it cannot be created, nothing is reported.
        let work = move || {
            // To drop what a panic left may panic, too; then the end is `Lost`.
            let outcome = catch(|| its.run(job));
            let outcome = outcome.unwrap_or_else(|_| Outcome::new(End::Lost, ""));
            notifier.notify(its.id.clone(), outcome);
            its.close();
        };
        let spawned = spawn(&task.id.to_string(), work);
        spawned.map_err(|error| Refusal::NoThread(error.to_string()))?;
        self.ids.push(task.id.clone());
        self.running.push(task.id.clone());
        self.tasks.insert(task.id.clone(), task);
        Ok(())
    }

    /// Where a task stands. May be asked again and again, even after it has ended.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn check(&mut self, task_id: &TaskId) -> Result<Status, Refusal> {
        let ended = self.bus.check(task_id).cloned();
        let unknown = || Refusal::UnknownId(task_id.clone(), self.ids());
        let task = self.tasks.get(task_id).ok_or_else(unknown)?;
        Ok(task.status(ended))
    }

    /// Where all tasks stand that there were, oldest first.
    pub fn all(&mut self) -> Vec<Status> {
        let ids = self.ids();
        ids.iter().filter_map(|id| self.check(id).ok()).collect()
    }

    /// The bus on which the tasks report.
    pub fn bus(&mut self) -> &mut NotificationBus {
        &mut self.bus
    }

    /// The names of all tasks there were, oldest first.
    pub fn ids(&self) -> Vec<TaskId> {
        self.ids.clone()
    }

    /// The tasks that have not ended, oldest first.
    pub fn running(&mut self) -> Vec<TaskId> {
        let bus = &mut self.bus;
        self.running.retain(|id| bus.check(id).is_none());
        self.running.clone()
    }

    /// Looks whether a name is free.
    ///
    /// # Errors
    /// When there was a task of that name.
    pub fn expect_new(&self, task_id: &TaskId) -> Result<(), Refusal> {
        match self.tasks.contains_key(task_id) {
            true => Err(Refusal::IdInUse(task_id.clone(), self.ids())),
            false => Ok(()),
        }
    }
}

/// The latest ids, and how many more there are.
fn list(ids: &[TaskId]) -> String {
    let (more, latest) = ids.split_at(ids.len().saturating_sub(LISTED));
    let latest: Vec<_> = latest.iter().map(TaskId::to_string).collect();
    match more.len() {
        _ if ids.is_empty() => "none so far".to_string(),
        0 => latest.join(", "),
        more => format!("{} and {more} more", latest.join(", ")),
    }
}
