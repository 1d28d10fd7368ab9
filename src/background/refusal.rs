//! s08 · Refusal: what is said instead of starting, finding or stopping a task.

use std::fmt;

use crate::notification::TaskId;

/// How many ids a sentence lists.
const LISTED: usize = 10;

/// Why a job was not accepted, or is not known. Displayed as what is the case and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    EmptyId,
    IdInUse { id: TaskId, known: Vec<TaskId> },
    UnknownId { id: TaskId, known: Vec<TaskId> },
    TooMany { running: Vec<TaskId> },
    NoThread(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::EmptyId => {
                f.write_str("the id is empty; give the task a short name, such as \"build\"")
            }
            Refusal::IdInUse { id, known } => {
                let (id, known) = (id.to_string(), list(known));
                write!(
                    f,
                    "the id {id:?} is taken; choose another one. Known ids: {known}"
                )
            }
            Refusal::UnknownId { id, known } => {
                let (id, known) = (id.to_string(), list(known));
                write!(f, "there is no task {id:?}. Known ids: {known}")
            }
            Refusal::TooMany { running } => write!(
                f,
                "{} background tasks run already ({}), and that is the limit. Go on with something else, or wait until one has ended, then start this one again",
                running.len(),
                list(running)
            ),
            Refusal::NoThread(why) => write!(
                f,
                "no thread could be started for it ({why}). Run it in the foreground, or try again later"
            ),
        }
    }
}

/// The latest ids, and how many more there are.
fn list(ids: &[TaskId]) -> String {
    let (more, latest) = ids.split_at(ids.len().saturating_sub(LISTED));
    let latest = latest
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    match more.len() {
        _ if ids.is_empty() => "none so far".to_string(),
        0 => latest,
        more => format!("{latest} and {more} more"),
    }
}
