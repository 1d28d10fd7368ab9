//! The bus on which tasks report that they have ended.
//!
//! Many write, one reads: a [`Notifier`] is cloned into every thread, the [`NotificationBus`] is
//! not cloned at all. (Clones of a crossbeam receiver compete for messages; with two readers each
//! would see half of them.) What is promised: an outcome that was notified stays until the bus is
//! dropped, and a task has one outcome: the first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
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

/// How a task ended, and when.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What became of it.
    pub outcome: Outcome,
    /// When that was reported.
    pub at: Instant,
}

/// The writing end.
#[derive(Clone)]
pub struct Notifier(Sender<(TaskId, Ended)>);

impl Notifier {
    /// Reports the outcome of a task. Never blocks; without effect when the bus is gone.
    pub fn notify(&self, task_id: TaskId, result: Outcome) {
        let _ = self.0.send((task_id, Ended { outcome: result, at: Instant::now() }));
    }
}

/// The reading end, and the memory of what was read.
pub struct NotificationBus {
    sender: Sender<(TaskId, Ended)>,
    receiver: Receiver<(TaskId, Ended)>,
    ended: HashMap<TaskId, Ended>,
    /// Those of them that were not delivered yet, in the order in which they ended.
    news: Vec<TaskId>,
}

impl Default for NotificationBus {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        NotificationBus { sender, receiver, ended: HashMap::new(), news: Vec::new() }
    }
}

impl NotificationBus {
    /// A writing end.
    pub fn notifier(&self) -> Notifier {
        Notifier(self.sender.clone())
    }

    /// How the task ended, if it has. Does not wait. The answer may be asked for again and again,
    /// and asking takes nothing from a delivery.
    pub fn check(&mut self, task_id: &TaskId) -> Option<&Ended> {
        self.collect();
        self.ended.get(task_id)
    }

    /// What has ended since the last delivery, in that order: each task once.
    pub fn deliver(&mut self) -> Vec<(TaskId, Ended)> {
        self.collect();
        let news = std::mem::take(&mut self.news);
        news.into_iter().filter_map(|id| self.ended.get(&id).cloned().map(|ended| (id, ended))).collect()
    }

    /// True if the task has ended and its outcome was delivered.
    pub fn is_delivered(&mut self, task_id: &TaskId) -> bool {
        self.check(task_id).is_some() && !self.news.contains(task_id)
    }

    /// True if there is something to deliver.
    pub fn has_news(&mut self) -> bool {
        self.collect();
        !self.news.is_empty()
    }

    /// For `Select`: ready when something was notified. Not to be received from, since whoever
    /// receives takes it away from the bus.
    pub fn arrivals(&self) -> Receiver<impl Sized + use<>> {
        self.receiver.clone()
    }

    fn collect(&mut self) {
        for (id, ended) in self.receiver.try_iter() {
            if let Entry::Vacant(place) = self.ended.entry(id.clone()) {
                place.insert(ended);
                self.news.push(id);
            }
        }
    }
}
