//! How a piece of work ended: one word for commands and for whatever else runs in the background.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

/// The one outcome of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end, well or not.
    Finished {
        /// Of a command: its exit code, 128 + N if signal N ended it. Of anything else: 0.
        exit_code: i32,
        /// What it had to say, shortened if it was long.
        output: String,
    },
    /// It could not be run, or broke down.
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
    /// It vanished without a word.
    Lost,
}

impl Outcome {
    /// True if it did what it was to do.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Finished { exit_code: 0, .. })
    }

    /// The output, where there is one.
    pub fn output(&self) -> &str {
        match self {
            Outcome::Finished { output, .. }
            | Outcome::TimedOut { output }
            | Outcome::Killed { output } => output,
            Outcome::Failed { .. } | Outcome::Lost => "",
        }
    }
}

/// One line, without the output. What did not succeed begins with `ERROR: `.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Finished { exit_code: 0, .. } => f.write_str("finished with exit code 0"),
            Outcome::Finished { exit_code, .. } => write!(f, "ERROR: exit code {exit_code}"),
            Outcome::Failed { message } => write!(f, "ERROR: {message}"),
            Outcome::TimedOut { .. } => {
                f.write_str("ERROR: it passed its time limit and was ended")
            }
            Outcome::Killed { .. } => f.write_str("ERROR: it was stopped"),
            Outcome::Lost => {
                f.write_str("ERROR: it vanished without a word; start it again if you need it")
            }
        }
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs work that may panic; an `Err` is what the panic said. Such a panic is a result, so the
/// panic hook of a program need not print it: [`is_caught`] tells.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it gave no reason")
            .to_string()
    })
}

/// True while this thread runs inside [`catch`].
pub fn is_caught() -> bool {
    CATCHING.get()
}
