//! s08 · Refusal: what is said instead of starting, finding or stopping a task.

use std::fmt;

use crate::notification::TaskId;

/// How many ids a sentence lists.
const LISTED: usize = 10;

/// Why a job was not accepted, or is not known. Displayed as what is the case and what to do. The
/// lists are of all ids there were, or of those that run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    IdInUse(TaskId, Vec<TaskId>),
    UnknownId(TaskId, Vec<TaskId>),
    TooMany(Vec<TaskId>),
    NoThread(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Refusal::IdInUse(id, known) => format!("the id \"{id}\" is taken; choose another one. Known ids: {}", list(known)),
            Refusal::UnknownId(id, known) => format!("there is no task \"{id}\". Known ids: {}", list(known)),
            Refusal::TooMany(running) => format!(
                "{} background tasks run already ({}), and that is the limit. Go on with something else, or wait until one has ended, then start this one again",
                running.len(),
                list(running)
            ),
            Refusal::NoThread(why) => format!("no thread could be started for it ({why}). Run it in the foreground, or try again later"),
        })
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
