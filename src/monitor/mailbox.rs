//! s16 · Mailboxes: what tasks report while they run, until it is put into the conversation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::caught::lock;
use crate::notification::TaskId;
use crate::process::lines::Lines;
use crate::repl::Beside;
use crate::screen::count;

/// With more reports that wait, a task is muted until they are read,
const MOST_WAITING: usize = 10;
/// and with more within this time, until its end.
const FLOOD: Duration = Duration::from_secs(10);

/// What is reported.
pub enum What {
    /// It printed lines; `true`: on standard error.
    Lines(bool, Lines),
    /// It has printed nothing for so long.
    Silent(Duration),
    /// Its time has come again, and this is its note.
    Due(String),
    /// It reports too much: nothing is told until this was read, or (`true`) until its end.
    Muted(bool),
}

/// How long after a task's start, and what.
pub type Report = (Duration, What);

/// The mailboxes of all tasks. Clones are the same.
#[derive(Clone, Default)]
pub struct Mailboxes(Arc<Mutex<BTreeMap<TaskId, Mailbox>>>);

#[derive(Default)]
struct Mailbox {
    waiting: Vec<Report>,
    /// When the last reports came.
    recent: Vec<Duration>,
    muted: bool,
    /// True if what waits is worth a turn of its own.
    wakes: bool,
}

impl Mailboxes {
    /// Appends a report, unless the task is muted. False if it is muted for good.
    pub fn put(&self, id: &TaskId, (after, what): Report) -> bool {
        let mut all = lock(&self.0);
        let it = all.entry(id.clone()).or_default();
        it.recent.retain(|at| after - *at < FLOOD);
        it.recent.push(after);
        let is_flood = it.recent.len() > MOST_WAITING;
        if is_flood || it.waiting.len() >= MOST_WAITING {
            match it.waiting.last_mut() {
                Some((_, What::Muted(for_good))) => *for_good |= is_flood,
                _ if it.muted => {}
                _ => it.waiting.push((after, What::Muted(is_flood))),
            }
            it.muted = true;
        }
        if !it.muted {
            it.waiting.push((after, what));
        }
        !is_flood
    }

    /// What waits for this task is to wake an idle agent. False if nothing does.
    pub fn wake(&self, id: &TaskId) -> bool {
        let mut all = lock(&self.0);
        let mailbox = all.get_mut(id).filter(|it| !it.waiting.is_empty());
        mailbox.map(|it| it.wakes = true).is_some()
    }

    /// Takes all reports, those of a task in their order.
    pub fn fetch(&self) -> Vec<(TaskId, Report)> {
        let mut fetched = Vec::new();
        for (id, mailbox) in lock(&self.0).iter_mut() {
            if !matches!(mailbox.waiting.last(), Some((_, What::Muted(true)))) {
                mailbox.muted &= mailbox.waiting.is_empty();
            }
            mailbox.wakes = false;
            fetched.extend(mailbox.waiting.drain(..).map(|it| (id.clone(), it)));
        }
        fetched
    }
}

/// One line and, if there is more to tell, others below.
pub fn text((after, what): &Report) -> String {
    let what = match what {
        What::Lines(is_error, lines) => {
            let count = count(lines.count() as u64, "line");
            let error = if *is_error { " of standard error" } else { "" };
            format!("{count}{error}\n{}", lines.render())
        }
        What::Silent(time) => format!("silent for {} s, and still running", time.as_secs()),
        What::Due(note) => format!("due\n{note}"),
        What::Muted(false) => "muted, until this is read".to_string(),
        What::Muted(true) => {
            "muted, as it prints too much\nOnly its end will be told. To hear more, start it again with a filter.".to_string()
        }
    };
    let (line, rest) = what.split_once('\n').unwrap_or((&what, ""));
    let text = format!("{line}, after {:.1} s\n{rest}", after.as_secs_f64());
    text.trim_end().to_string()
}

impl Beside for Mailboxes {
    fn news(&self) -> Vec<String> {
        let all = lock(&self.0);
        let wakes = all.iter().filter(|(_, mailbox)| mailbox.wakes);
        let last = |it: &Mailbox| it.waiting.last().map_or(0.0, |(at, _)| at.as_secs_f64());
        let name = |(id, it): (&TaskId, &Mailbox)| format!("{id} after {:.3} s", last(it));
        wakes.map(name).collect()
    }
}
