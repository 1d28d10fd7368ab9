//! s11 · Adoption: work that runs already becomes a background task.

use std::time::Instant;

use super::{BackgroundExecutor, Control, Kind, Refusal};
use crate::notification::TaskId;
use crate::outcome::Outcome;

impl BackgroundExecutor {
    /// Like [`submit`](Self::submit), for a job that waits for work which runs already: it has its
    /// place, whatever the limit, and has run since `started`.
    ///
    /// # Errors
    /// When the id was used before, or no thread is to be had.
    pub fn adopt(
        &mut self,
        kind: Kind,
        started: Instant,
        task_id: &TaskId,
        job: impl FnOnce(&Control) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        self.start(kind, started, task_id, job)
    }
}
