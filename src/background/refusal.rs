//! What is said instead of starting, finding or stopping a task.

use std::fmt;

use crate::notification::TaskId;

/// Why a job was not accepted, or is not known. Displayed as what is the case and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    EmptyId,
    IdInUse { id: TaskId, known: Vec<TaskId> },
    UnknownId { id: String, known: Vec<TaskId> },
    TooMany { running: Vec<TaskId>, max: usize },
    NoThread(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &[TaskId]| match ids {
            [] => "none so far".to_string(),
            ids => ids
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        match self {
            Refusal::EmptyId => {
                f.write_str("the id is empty; give the task a short name, such as \"build\"")
            }
            Refusal::IdInUse { id, known } => {
                write!(
                    f,
                    "the id {id:?} is taken; choose another one. Known ids: {}",
                    list(known),
                    id = id.to_string()
                )
            }
            Refusal::UnknownId { id, known } => {
                write!(f, "there is no task {id:?}. Known ids: {}", list(known))
            }
            Refusal::TooMany { running, max } => write!(
                f,
                "{max} background tasks run already ({}), and that is the limit. Go on with something else, or wait until one has ended, then start this one again",
                list(running)
            ),
            Refusal::NoThread(why) => {
                write!(
                    f,
                    "no thread could be started for it ({why}). Run it in the foreground, or try again later"
                )
            }
        }
    }
}
