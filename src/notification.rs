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

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

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
pub struct Notifier {
    sender: Sender<(TaskId, Ended)>,
    bell: Sender<()>,
}

impl Notifier {
    /// Reports the outcome of a task. Never blocks; without effect when the bus is gone.
    pub fn notify(&self, task_id: TaskId, result: Outcome) {
        let _ = self.sender.send((
            task_id,
            Ended {
                outcome: result,
                at: Instant::now(),
            },
        ));
        let _ = self.bell.try_send(()); // if it is full, it is about to ring anyway
    }
}

/// The reading end, and the memory of what was read.
pub struct NotificationBus {
    sender: Sender<(TaskId, Ended)>,
    receiver: Receiver<(TaskId, Ended)>,
    bell: (Sender<()>, Receiver<()>),
    ended: HashMap<TaskId, Ended>,
    /// Those of them that were not delivered yet, in the order in which they ended.
    news: Vec<TaskId>,
}

impl Default for NotificationBus {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        NotificationBus {
            sender,
            receiver,
            bell: bounded(1),
            ended: HashMap::new(),
            news: Vec::new(),
        }
    }
}

impl NotificationBus {
    /// A writing end.
    pub fn notifier(&self) -> Notifier {
        Notifier {
            sender: self.sender.clone(),
            bell: self.bell.0.clone(),
        }
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
        news.into_iter()
            .filter_map(|id| self.ended.get(&id).cloned().map(|ended| (id, ended)))
            .collect()
    }

    /// How the task ended, if it has, for somebody who has waited for just that: it is not
    /// delivered any more.
    pub fn claim(&mut self, task_id: &TaskId) -> Option<&Ended> {
        self.collect();
        self.news.retain(|id| id != task_id);
        self.ended.get(task_id)
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

    /// For `select!`: holds one `()` if something was notified since the last one was taken,
    /// whoever may have looked at the bus meanwhile. To be taken first; then ask what has ended.
    /// There is one bell, so one thread may wait.
    pub fn arrivals(&self) -> Receiver<()> {
        self.bell.1.clone()
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
