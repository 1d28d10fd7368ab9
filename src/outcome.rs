//! s01 · Outcomes: how a piece of work ended, a command or whatever else runs.

use std::fmt;

use crate::caught::catch;

/// The one outcome of a task. Text is made from it where it is shown, and never read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What it had to say until then, shortened if that was long.
    pub output: String,
}

/// How a piece of work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It ran to its end, well or not: a command with its exit code, 128 + N if signal N ended it.
    Finished(Option<i32>),
    /// It could not be run, or broke down: what happened, and what to do.
    Failed(String),
    /// It passed its time limit and was ended.
    TimedOut,
    /// Somebody stopped it.
    Killed,
    /// Its thread died, or its supervisor was killed, without a report. Nothing of it runs.
    Lost,
}

impl Outcome {
    /// An end and an output.
    pub fn new(end: End, output: impl Into<String>) -> Self {
        let output = output.into();
        Outcome { end, output }
    }

    /// Does the work; a panic is a failure.
    pub fn of(work: impl FnOnce() -> Outcome) -> Outcome {
        let broken = |panic| End::Failed(format!("the job broke down: {panic}"));
        catch(work).unwrap_or_else(|panic| Outcome::new(broken(panic), ""))
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<String> {
        Some(match &self.end {
            End::Finished(None | Some(0)) => return None,
            End::Finished(Some(code)) => format!("exit code {code}"),
            End::Failed(message) => message.clone(),
            End::TimedOut => "it passed its time limit and was ended".to_string(),
            End::Killed => "it was stopped".to_string(),
            End::Lost => "what ran it was killed; start it again if you need it".to_string(),
        })
    }
}

/// One line, without the output. What did not succeed begins with `ERROR: `.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.error(), &self.end) {
            (Some(error), _) => write!(f, "ERROR: {error}"),
            (None, End::Finished(Some(_))) => f.write_str("finished with exit code 0"),
            (None, _) => f.write_str("finished"),
        }
    }
}
