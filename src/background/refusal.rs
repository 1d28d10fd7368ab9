//! s08 · Refusal: what is said instead of starting, finding or stopping a task.

use crate::notification::TaskId;

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
