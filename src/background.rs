//! Runs jobs on threads of their own, a few at a time, and keeps track of them.
//!
//! What is promised: every job that was accepted ends in exactly one [`Outcome`] on the bus, also
//! if it panics (`Failed`) or its thread dies without a word (`Lost`). What is not: that a job
//! ends at all, or that it heeds [`stop`](BackgroundExecutor::stop).

mod control;
mod refusal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::notification::{Ended, NotificationBus, Notifier, TaskId};
use crate::outcome::{Outcome, catch};
pub use control::{Control, Watch};
pub use refusal::Refusal;

/// What a task is, for those who list tasks and deliver results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// In a word: `command`, `agent`.
    pub kind: &'static str,
    /// Of results that are there at the same time, those of the lowest rank are delivered first.
    pub rank: u8,
}

/// The kind of a task that is a shell command.
pub const COMMAND: &str = "command";

struct Task {
    label: Label,
    started: Instant,
    control: Control,
    /// Somebody waits for it: it takes up none of the places.
    in_foreground: bool,
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

    /// The same, for several: the tools that start and look, and whoever delivers.
    pub fn shared(bus: NotificationBus, max_concurrent: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self::new(bus, max_concurrent)))
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
        self.submit_as(
            Label {
                kind: COMMAND,
                rank: 1,
            },
            task_id,
            job,
        )
    }

    /// Like [`submit`](Self::submit), for what is no command.
    ///
    /// # Errors
    /// As there.
    pub fn submit_as(
        &mut self,
        label: Label,
        task_id: &str,
        job: impl FnOnce(&Control) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        self.begin(label, task_id, false, job)
    }

    /// The same, for a job that somebody is going to wait for: it always has a place, until
    /// [`to_background`](Self::to_background) is called. Whoever waits takes the outcome with
    /// [`claim`](Self::claim).
    ///
    /// # Errors
    /// As there.
    pub fn submit_in_foreground(
        &mut self,
        label: Label,
        task_id: &str,
        job: impl FnOnce(&Control) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        self.begin(label, task_id, true, job)
    }

    fn begin(
        &mut self,
        label: Label,
        task_id: &str,
        in_foreground: bool,
        job: impl FnOnce(&Control) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        let id = TaskId::new(task_id).ok_or(Refusal::EmptyId)?;
        if self.tasks.contains_key(&id) {
            return Err(Refusal::IdInUse {
                id,
                known: self.ids(),
            });
        }
        let mut running = self.running();
        running.retain(|id| !self.in_foreground(id));
        if !in_foreground && running.len() >= self.max_concurrent {
            return Err(Refusal::TooMany {
                running,
                max: self.max_concurrent,
            });
        }
        let (control, started) = (Control::default(), Instant::now());
        let (notifier, its_id, its_control) = (self.bus.notifier(), id.clone(), control.clone());
        // The report is made on the thread: where there is no thread, there is nothing to report.
        let work = move || {
            let report = Report {
                notifier,
                id: its_id,
                control: its_control.clone(),
                outcome: Outcome::Lost,
            };
            report.of(|| job(&its_control));
        };
        let thread = thread::Builder::new().name(id.to_string().replace('\0', ""));
        thread
            .spawn(work)
            .map_err(|error| Refusal::NoThread(error.to_string()))?;
        self.ids.push(id.clone());
        self.running.push(id.clone());
        self.tasks.insert(
            id,
            Task {
                label,
                started,
                control,
                in_foreground,
            },
        );
        Ok(())
    }

    /// Nobody waits for it any longer.
    pub fn to_background(&mut self, task_id: &TaskId) {
        self.tasks
            .get_mut(task_id)
            .into_iter()
            .for_each(|task| task.in_foreground = false);
    }

    /// True if somebody waits for it, or waited until it had ended.
    pub fn in_foreground(&self, task_id: &TaskId) -> bool {
        self.tasks
            .get(task_id)
            .is_some_and(|task| task.in_foreground)
    }

    /// The outcome of a task, if it has ended, for whoever waited for it: it is not delivered.
    pub fn claim(&mut self, task_id: &TaskId) -> Option<Outcome> {
        self.bus.claim(task_id).map(|ended| ended.outcome.clone())
    }

    /// True if a task has that id.
    pub fn is_taken(&self, task_id: &str) -> bool {
        self.find(task_id).is_ok()
    }

    /// Where a task stands. May be asked again and again, also after it has ended.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn check(&mut self, task_id: &str) -> Result<Status, Refusal> {
        let id = self.find(task_id)?;
        let task = &self.tasks[&id];
        Ok(match self.bus.check(&id) {
            Some(Ended { outcome, at }) => Status::Ended {
                elapsed: *at - task.started,
                outcome: outcome.clone(),
            },
            None => Status::Running {
                elapsed: task.started.elapsed(),
                progress: task.control.look(),
            },
        })
    }

    /// A task's own words on how it stands: its progress in the first line, what it has printed or
    /// done of late below. Of one that has ended, what it has left behind.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn details(&self, task_id: &str) -> Result<String, Refusal> {
        Ok(self.tasks[&self.find(task_id)?].control.details())
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

    /// What has ended since the last delivery, the lowest rank first: its id, how long it ran, its
    /// outcome. Each task once.
    pub fn deliver(&mut self) -> Vec<(TaskId, Duration, Outcome)> {
        let mut news = Vec::new();
        for (id, Ended { outcome, at }) in self.bus.deliver() {
            if let Some(task) = self.tasks.get(&id) {
                news.push((task.label.rank, (id, at - task.started, outcome)));
            }
        }
        news.sort_by_key(|(rank, _)| *rank);
        news.into_iter().map(|(_, news)| news).collect()
    }

    /// How a task has ended, in one line. Only commands have an exit code.
    pub fn tell(&self, task_id: &str, elapsed: Duration, outcome: &Outcome) -> String {
        let label = self.find(task_id).ok().and_then(|id| self.label(&id));
        let is_command = label.is_none_or(|label| label.kind == COMMAND);
        let how = match outcome {
            Outcome::Finished { exit_code: 0, .. } if !is_command => "finished".to_string(),
            outcome => outcome.to_string(),
        };
        format!("{how} after {:.1} s", elapsed.as_secs_f64())
    }

    /// What a task is.
    pub fn label(&self, task_id: &TaskId) -> Option<Label> {
        self.tasks.get(task_id).map(|task| task.label)
    }

    /// The bus, to wait for news.
    pub fn bus(&mut self) -> &mut NotificationBus {
        &mut self.bus
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
        known.ok_or_else(|| Refusal::UnknownId {
            id: task_id.to_string(),
            known: self.ids(),
        })
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
        let broken = |panic| Outcome::Failed {
            message: format!("the job broke down: {panic}"),
        };
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

/// The executor behind its lock, also after a thread panicked that held it.
pub fn lock(executor: &Mutex<BackgroundExecutor>) -> MutexGuard<'_, BackgroundExecutor> {
    executor.lock().unwrap_or_else(PoisonError::into_inner)
}
