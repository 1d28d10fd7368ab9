//! foundation · A held file: whoever holds its lock owns what it stands for. The kernel lets go of
//! it when that program ends, however it ends.

use std::fs::{File, TryLockError};
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;

/// A file that is held until this is dropped. It is never unlinked: somebody could hold one that has
/// no name any more.
pub struct Held(File);

impl Held {
    /// Holds the file; gives it back if somebody else does. Where there are no locks, all hold it.
    ///
    /// # Errors
    /// When somebody else holds it.
    pub fn new(file: File) -> Result<Self, File> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(file),
            _ => Ok(Held(file)),
        }
    }

    /// Holds it once nobody else does; gives it back if that takes too long, or is stopped.
    pub fn wait(mut file: File, patience: Duration, stop: &Interrupt) -> Result<Self, File> {
        let (begun, pause) = (Instant::now(), Duration::from_millis(10));
        loop {
            file = match Held::new(file) {
                Err(file) if begun.elapsed() < patience && stop.pause(pause) => file,
                done => return done,
            };
        }
    }
}

/// True if somebody holds the file. Those who look do not see each other.
pub fn is_held(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

/// To close it is not enough: a process that another thread has just started has the file, too, and
/// with it the lock, until it has become another program.
impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
