//! s08 · Control: what stands between a job and those who look at it from outside.

use std::sync::{Arc, Mutex};

use super::{Progress, Watch};
use crate::caught::lock;
use crate::mailbox::Mailbox;

/// What a job is given: here it leaves its [`Watch`], and what it tells while it runs.
#[derive(Clone, Default)]
pub struct Control(Arc<Mutex<Watched>>, pub Mailbox);

#[derive(Default)]
struct Watched {
    watch: Option<Arc<dyn Watch>>,
    stopped: bool,
    /// What the watch said last.
    last: Progress,
}

impl Control {
    /// From now on the job can be looked at and stopped. If `stop` was called before this, the watch
    /// is stopped now.
    pub fn attach(&self, watch: Arc<dyn Watch>) {
        let mut watched = lock(&self.0);
        if watched.stopped {
            watch.stop();
        }
        watched.watch = Some(watch);
    }

    /// How the job stands; when it has ended, how it stood last.
    pub fn look(&self) -> Progress {
        let watched = lock(&self.0);
        let watch = watched.watch.as_ref();
        watch.map_or_else(|| watched.last.clone(), |watch| watch.look())
    }

    /// Asks the job to end, and returns at once. Without effect on one that has ended.
    pub fn stop(&self) {
        let mut watched = lock(&self.0);
        watched.stopped = true;
        watched.watch.iter().for_each(|watch| watch.stop());
    }

    /// Lets go of the watch and of what it holds: the buffers and the file of a command.
    pub(super) fn detach(&self) {
        let mut watched = lock(&self.0);
        if let Some(watch) = watched.watch.take() {
            watched.last = watch.look();
            drop(watched); // what the watch holds is dropped without the lock
        }
    }
}
