//! s08 · The notification bus: the log on which tasks report that they have ended.
//!
//! Many write, one reads: each thread has a clone of the [`Notifier`], and there is one
//! [`NotificationBus`]. A report never leaves the log; if a task reports twice, the first counts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::outcome::Outcome;

/// The name of a task: chosen by whoever submits it, never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(String);

impl TaskId {
    /// A name as a model or a person wrote it, without the white space around it.
    pub fn new(name: &str) -> Result<Self, String> {
        match name.trim() {
            "" => Err("the id is empty; give the task a short name, such as \"build\".".into()),
            name => Ok(TaskId(name.to_string())),
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry of the log: which task ended, how, and when that was reported.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Ended {
    pub id: TaskId,
    pub outcome: Outcome,
    pub at: Instant,
}

/// The writing end.
#[derive(Clone)]
pub struct Notifier {
    sender: Sender<Ended>,
    pub(crate) hook: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl Notifier {
    /// Reports the outcome of a task, then calls the hook. Never blocks.
    pub fn notify(&self, id: TaskId, outcome: Outcome) {
        let at = Instant::now();
        let _ = self.sender.send(Ended { id, outcome, at });
        if let Some(hook) = self.hook.get() {
            hook();
        }
    }
}

/// The reading end. Each question first moves the reports that have arrived into the log.
pub struct NotificationBus {
    notifier: Notifier,
    receiver: Receiver<Ended>,
    log: Vec<Ended>,
    /// The index in the log of each task that has ended, so that a check need not search.
    places: HashMap<TaskId, usize>,
}

impl Default for NotificationBus {
    fn default() -> Self {
        let ((sender, receiver), hook) = (unbounded(), Arc::default());
        NotificationBus {
            notifier: Notifier { sender, hook },
            receiver,
            log: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl NotificationBus {
    /// A writing end.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Calls `hook` after each report, on the thread that reports. A second hook is ignored.
    pub fn on_end(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _ = self.notifier.hook.set(Box::new(hook));
    }

    /// How the task ended, if it has. Does not wait, and may be asked again and again.
    pub fn check(&mut self, task_id: &TaskId) -> Option<&Ended> {
        self.ended();
        self.places.get(task_id).map(|place| &self.log[*place])
    }

    /// All tasks that have ended, once each, in the order of their reports. An index stays valid.
    pub fn ended(&mut self) -> &[Ended] {
        for ended in self.receiver.try_iter() {
            if !self.places.contains_key(&ended.id) {
                self.places.insert(ended.id.clone(), self.log.len());
                self.log.push(ended);
            }
        }
        &self.log
    }
}
