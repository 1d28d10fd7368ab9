//! s12 · Owner: who works in a worktree, and whose turn it is. Both are held file locks, which the
//! kernel lets go of when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

use super::git::Repository;
use crate::interrupt::Interrupt;
use crate::tools::files::{failed, make_own_folder};

/// How long to wait for a turn: as long as others need to check out their trees.
const TURN: Duration = Duration::from_secs(120);
/// How long to wait for an owner, who may be about to let go; and the pause between two tries.
const OWNER: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

impl Repository {
    fn folder(&self) -> Result<std::path::PathBuf, String> {
        let folder = self.common.join("meanwhile");
        make_own_folder(&folder).map_err(failed("used", "the folder .git/meanwhile"))?;
        Ok(folder)
    }

    /// Waits until nobody else adds or removes a worktree: two at once disturb each other in git.
    /// The turn ends when the file is dropped.
    ///
    /// # Errors
    /// When it takes too long, or the person interrupts.
    pub fn turn(&self, stop: &Interrupt) -> Result<File, String> {
        let folder =
            File::open(self.folder()?).map_err(failed("used", "the folder .git/meanwhile"))?;
        match lock(&folder, TURN, stop) {
            true => Ok(folder),
            false => Err("somebody else is adding or removing a worktree; try again later.".into()),
        }
    }

    /// Becomes the owner of the worktree of that name, until the file is dropped. The file is never
    /// unlinked: of two files with one name, each could be locked by somebody.
    ///
    /// # Errors
    /// When somebody works there.
    pub fn own(&self, name: &str) -> Result<File, String> {
        let path = self.folder()?.join(format!("{name}.lock"));
        let mut file = open(&path).map_err(failed("used", &path.display().to_string()))?;
        if !lock(&file, OWNER, &Interrupt::default()) {
            let owner = read(&mut file);
            return Err(format!("{owner} in {name} still. Wait until it has ended."));
        }
        let _ = file.set_len(0);
        let _ = write!(file, "{}", process::id()); // for people: the lock is what counts
        Ok(file)
    }

    /// Who works in the worktree of that name, if anybody does.
    pub fn owner(&self, name: &str) -> Option<String> {
        let mut file = File::open(self.common.join(format!("meanwhile/{name}.lock"))).ok()?;
        let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        held.then(|| read(&mut file) + " there")
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

fn read(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    match text.parse() {
        Ok(id) if process::id() == id => "an agent works".to_string(),
        _ => format!("an agent of another program (process {text}) works"),
    }
}

/// Where there are no locks, go on without.
fn lock(file: &File, patience: Duration, stop: &Interrupt) -> bool {
    let deadline = Instant::now() + patience;
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        let _ = stop.receiver().recv_timeout(PAUSE);
        if stop.is_triggered() || Instant::now() > deadline {
            return false;
        }
    }
    true
}
