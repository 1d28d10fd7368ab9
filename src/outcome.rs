//! s01 · Outcomes: how a piece of work ended, a command or whatever else runs.

use std::fmt;

use crate::caught::catch;

/// The one outcome of a task. Text is made from it where it is shown, and never read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end, well or not.
    Finished {
        /// Of a command: its exit code, 128 + N if signal N ended it. Other work has none.
        exit_code: Option<i32>,
        /// What it had to say, shortened if it was long.
        output: String,
    },
    /// It could not be run, or panicked.
    Failed {
        /// What happened, and what to do.
        message: String,
    },
    /// It passed its time limit and was ended.
    TimedOut {
        /// The output until then.
        output: String,
    },
    /// Somebody stopped it.
    Killed {
        /// The output until then.
        output: String,
    },
    /// Its thread died without a report.
    Lost,
}

impl Outcome {
    /// Does the work; a panic is a failure.
    pub fn of(work: impl FnOnce() -> Outcome) -> Outcome {
        catch(work).unwrap_or_else(|panic| Outcome::Failed {
            message: format!("the job broke down: {panic}"),
        })
    }

    /// The output; empty where there is none.
    pub fn output(&self) -> &str {
        match self {
            Outcome::Finished { output, .. }
            | Outcome::TimedOut { output }
            | Outcome::Killed { output } => output,
            Outcome::Failed { .. } | Outcome::Lost => "",
        }
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<String> {
        match self {
            Outcome::Finished {
                exit_code: None | Some(0),
                ..
            } => None,
            Outcome::Finished {
                exit_code: Some(code),
                ..
            } => Some(format!("exit code {code}")),
            Outcome::Failed { message } => Some(message.clone()),
            Outcome::TimedOut { .. } => Some("it passed its time limit and was ended".into()),
            Outcome::Killed { .. } => Some("it was stopped".into()),
            Outcome::Lost => {
                Some("it vanished without a word; start it again if you need it".into())
            }
        }
    }
}

/// One line, without the output. What did not succeed begins with `ERROR: `.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.error(), self) {
            (Some(error), _) => write!(f, "ERROR: {error}"),
            (
                None,
                Outcome::Finished {
                    exit_code: Some(0), ..
                },
            ) => f.write_str("finished with exit code 0"),
            (None, _) => f.write_str("finished"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_have_an_exit_code() {
        let finished = |exit_code| Outcome::Finished {
            exit_code,
            output: String::new(),
        };
        assert_eq!(finished(None).to_string(), "finished");
        assert_eq!(finished(Some(0)).to_string(), "finished with exit code 0");
        assert_eq!(finished(Some(7)).to_string(), "ERROR: exit code 7");
        assert_eq!(finished(Some(0)).error(), None);
    }
}
