//! s08 · The notification bus: the log on which tasks report that they have ended.
//!
//! Many write, one reads: a [`Notifier`] is cloned into every thread, the [`NotificationBus`] is
//! not cloned at all. (Clones of a crossbeam receiver compete for messages; with two readers each
//! would see half of them.) What is promised: an outcome that was notified stays in the log until
//! the bus is dropped, and a task has one outcome: the first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::outcome::Outcome;

/// The name of a task: chosen by whoever submits it, never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(String);

impl TaskId {
    /// A name without the white space around it; `None` if nothing is left.
    pub fn new(name: &str) -> Option<Self> {
        let name = name.trim();
        (!name.is_empty()).then(|| TaskId(name.to_string()))
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
    hook: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl Notifier {
    /// Reports the outcome of a task. Never blocks; without effect when the bus is gone.
    pub fn notify(&self, id: TaskId, outcome: Outcome) {
        let at = Instant::now();
        let _ = self.sender.send(Ended { id, outcome, at });
        self.hook.get().inspect(|hook| hook());
    }
}

/// The reading end, which keeps the log.
pub struct NotificationBus {
    /// The bus holds a writing end itself, so the channel is never disconnected.
    notifier: Notifier,
    receiver: Receiver<Ended>,
    log: Vec<Ended>,
    /// Where in the log a task stands, so that a check need not search.
    places: HashMap<TaskId, usize>,
}

impl Default for NotificationBus {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        let hook = Arc::default();
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

    /// Calls `hook` after each report, on the thread that reports. The first hook stays.
    pub fn on_end(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _ = self.notifier.hook.set(Box::new(hook));
    }

    /// How the task ended, if it has. Does not wait, and may be asked again and again.
    pub fn check(&mut self, task_id: &TaskId) -> Option<&Ended> {
        self.ended();
        self.places.get(task_id).map(|place| &self.log[*place])
    }

    /// All that have ended, in that order, each task once. Entries never change or move.
    pub fn ended(&mut self) -> &[Ended] {
        for ended in self.receiver.try_iter() {
            if let Entry::Vacant(place) = self.places.entry(ended.id.clone()) {
                place.insert(self.log.len());
                self.log.push(ended);
            }
        }
        &self.log
    }
}
