//! foundation · A mailbox: what a task tells while it runs, until it is put into the conversation.

use std::fmt::Display;
use std::mem::take;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::caught::lock;

/// With more events that wait, a task is muted until they are read,
const MOST_WAITING: usize = 10;
/// and with more within this time, until its end.
const FLOOD: Duration = Duration::from_secs(10);

/// Events in their order, each of which is taken once. Clones are the same mailbox.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    events: Vec<String>,
    /// When the last ones came.
    recent: Vec<Duration>,
    /// Muted for good.
    flooded: bool,
    /// True if what waits is worth a turn of its own.
    wakes: bool,
}

impl Mailbox {
    /// Adds an event of this task, so long after its start, unless that is muted. The first line says
    /// what it is.
    pub fn put(&self, task: &impl Display, after: Duration, event: &str) {
        let mut it = lock(&self.0);
        it.recent.retain(|at| after - *at < FLOOD);
        it.recent.push(after);
        let (is_flood, waiting) = (it.recent.len() > MOST_WAITING, it.events.len());
        if it.flooded || waiting > MOST_WAITING && !is_flood {
            return;
        }
        it.flooded = is_flood;
        let event = match waiting {
            _ if is_flood => {
                "muted, as it prints too much\nOnly its end will be told. To hear more, start it again with a filter."
            }
            MOST_WAITING => "muted, until this is read",
            _ => event,
        };
        let (line, rest) = event.split_once('\n').unwrap_or((event, ""));
        let event = format!("{task}: {line}, after {:.1} s\n{rest}", after.as_secs_f64());
        it.events.push(event.trim_end().to_string());
    }

    /// From now on, what waits is to wake an idle agent. False if nothing waits.
    pub fn wake(&self) -> bool {
        let mut it = lock(&self.0);
        it.wakes = !it.events.is_empty();
        it.wakes
    }

    /// The first line of what came last, if it is to wake an idle agent.
    pub fn wakes(&self) -> Option<String> {
        let it = lock(&self.0);
        let last = it.events.last().filter(|_| it.wakes)?;
        last.lines().next().map(str::to_string)
    }

    /// Takes all events.
    pub fn take(&self) -> Vec<String> {
        let mut it = lock(&self.0);
        it.wakes = false;
        take(&mut it.events)
    }
}
