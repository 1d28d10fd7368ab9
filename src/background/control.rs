//! s08 · Control: the handle between a job and those who look at it from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Progress;

/// How a job lets itself be looked at and stopped from outside, while it runs.
pub trait Watch: Send + Sync {
    /// How it stands.
    fn look(&self) -> Progress;
    /// What it has printed or done of late.
    fn recent(&self) -> String;
    /// What of that is worth keeping when it has ended: an outcome holds a command's output.
    fn remains(&self) -> String {
        String::new()
    }
    /// Asks it to end. Returns at once.
    fn stop(&self);
}

/// What a job is given: here it leaves its [`Watch`].
#[derive(Clone, Default)]
pub struct Control(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    watch: Option<Arc<dyn Watch>>,
    stopped: bool,
    /// What the watch said last, and what is left of it.
    last: (Progress, String),
}

impl Control {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the job can be looked at and stopped. If it was to be stopped before this, it
    /// is told so now.
    pub fn attach(&self, watch: Arc<dyn Watch>) {
        let mut watched = self.watched();
        if watched.stopped {
            watch.stop();
        }
        watched.watch = Some(watch);
    }

    /// How the job stands, and what it has printed or done of late. When it has ended: what was
    /// said last, and what is left.
    pub fn look(&self) -> (Progress, String) {
        let watched = self.watched();
        let look = |watch: &Arc<dyn Watch>| (watch.look(), watch.recent());
        watched
            .watch
            .as_ref()
            .map_or_else(|| watched.last.clone(), look)
    }

    /// Asks the job to end, and returns at once. Without effect on one that has ended.
    pub fn stop(&self) {
        let mut watched = self.watched();
        watched.stopped = true;
        watched.watch.iter().for_each(|watch| watch.stop());
    }

    /// Lets go of the watch and of what it holds: the buffers and the file of a command.
    pub(super) fn detach(&self) {
        let watch = self.watched().watch.take();
        if let Some(watch) = watch {
            self.watched().last = (watch.look(), watch.remains());
        }
    }
}
