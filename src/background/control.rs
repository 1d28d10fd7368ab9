//! The handle between a job and those who look at it.

use std::sync::{Arc, Mutex, PoisonError};

/// How a job lets itself be looked at and stopped from outside, while it runs.
pub trait Watch: Send + Sync {
    /// One line on how it stands.
    fn look(&self) -> String;
    /// That line, and below it what it has printed or done of late.
    fn details(&self) -> String {
        self.look()
    }
    /// What of it is worth keeping when it has ended, besides its outcome; not long.
    fn remains(&self) -> String {
        self.look()
    }
    /// Asks it to end. Returns at once.
    fn stop(&self);
}

/// What a job is given: here it leaves its [`Watch`].
#[derive(Clone, Default)]
pub struct Control(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    watch: Option<Box<dyn Watch>>,
    stopped: bool,
    /// What is left of the watch.
    remains: String,
}

impl Control {
    /// From now on the job can be looked at and stopped. If it was to be stopped before this, it
    /// is told so now.
    pub fn attach(&self, watch: impl Watch + 'static) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.stopped {
            watch.stop();
        }
        watched.watch = Some(Box::new(watch));
    }

    pub(super) fn look(&self) -> String {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched
            .watch
            .as_ref()
            .map(|watch| watch.look())
            .unwrap_or_default()
    }

    pub(super) fn details(&self) -> String {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched
            .watch
            .as_ref()
            .map_or_else(|| watched.remains.clone(), |watch| watch.details())
    }

    pub(super) fn stop(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.stopped = true;
        watched.watch.iter().for_each(|watch| watch.stop());
    }

    /// Lets go of the watch, and of what it holds: the buffers and the file of a command.
    pub(super) fn detach(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = watched.watch.take();
        watched.remains = watch
            .as_ref()
            .map(|watch| watch.remains())
            .unwrap_or_default();
        drop(watched);
        drop(watch);
    }
}
