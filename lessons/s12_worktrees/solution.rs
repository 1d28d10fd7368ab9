//! s12 · Exercise: whose is it, and may it go?
//!
//! Fill the two gaps: become the owner of a worktree, and remove one. Who works in a worktree holds
//! the lock of a file; the kernel lets go of it when that process ends, however it ends. And a
//! worktree may only go when nobody works there and nothing in it would be lost.
//!
//! This went wrong in two ways. In anthropics/claude-code#51643 the locks of processes that had
//! died stayed for ever, and every later session was refused; in flipbit03/forestui#27 a removal
//! that git had refused, as work would be lost, was tried again with `--force`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::PathBuf;

/// What is in a worktree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worktree {
    /// The commits of its branch.
    pub commits: BTreeSet<&'static str>,
    /// The files that are not committed.
    pub files: BTreeSet<&'static str>,
}

/// A repository with worktrees.
pub struct Repository {
    pub worktrees: BTreeMap<&'static str, Worktree>,
    /// The commits that are on other branches, or have a tag.
    pub elsewhere: BTreeSet<&'static str>,
    /// Where the lock files are: NAME.lock for the worktree NAME.
    pub locks: PathBuf,
}

impl Repository {
    /// Becomes the owner of a worktree, and stays it until the file is dropped. Does not wait.
    ///
    /// Refused, in a sentence with the name, if somebody else is the owner. The lock file is made
    /// when it is missing, and never removed: if it were, one could hold the lock of a file that has
    /// no name any more, and another one the lock of a new file with that name.
    pub fn own(&self, name: &str) -> Result<File, String> {
        fs::create_dir_all(&self.locks).map_err(|error| error.to_string())?;
        let path = self.locks.join(format!("{name}.lock"));
        let file = File::create(path).map_err(|error| error.to_string())?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(format!("an agent works in {name}")),
            Err(TryLockError::Error(error)) => Err(error.to_string()),
        }
    }

    /// Removes a worktree.
    ///
    /// Refused if there is none of that name, if somebody works there, or if anything would be
    /// lost: a file that is not committed, a commit that is nowhere else. That refusal names each of
    /// them. A refusal changes nothing; and nobody can become the owner while this looks and removes.
    pub fn remove(&mut self, name: &str) -> Result<(), String> {
        let worktree = self.worktrees.get(name);
        let worktree = worktree.ok_or_else(|| format!("there is no worktree {name}"))?;
        let _owned = self.own(name)?;
        let commits = worktree.commits.difference(&self.elsewhere);
        let lost: Vec<&str> = commits.chain(&worktree.files).copied().collect();
        if !lost.is_empty() {
            return Err(format!("{name} stays: {} would be lost", lost.join(", ")));
        }
        self.worktrees.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    /// A repository with one worktree, `ui`, and a folder of its own, which goes with it.
    struct Scene(Repository);

    fn scene(commits: &[&'static str], files: &[&'static str]) -> Scene {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = (std::process::id(), COUNT.fetch_add(1, SeqCst));
        let folder = format!("s12-{}-{}", number.0, number.1);
        let worktree = Worktree {
            commits: commits.iter().copied().collect(),
            files: files.iter().copied().collect(),
        };
        Scene(Repository {
            worktrees: BTreeMap::from([("ui", worktree)]),
            elsewhere: BTreeSet::from(["page"]),
            locks: std::env::temp_dir().join(folder).join("locks"),
        })
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let folder = self.0.locks.parent().expect("a folder");
            let _ = fs::remove_dir_all(folder);
        }
    }

    #[test]
    fn a_worktree_has_one_owner() {
        let scene = scene(&[], &[]);
        let first = scene.0.own("ui").expect("nobody else is there");
        let refused = scene.0.own("ui").expect_err("two owners at once");
        assert!(refused.contains("ui"), "say which one: {refused}");
        let _other = scene.0.own("api").expect("another worktree is free");
        drop(first);
        scene.0.own("ui").expect("its owner has let go");
    }

    #[test]
    fn of_many_at_once_one_becomes_the_owner() {
        for _ in 0..20 {
            let scene = scene(&[], &[]);
            let owners: Vec<_> = thread::scope(|scope| {
                let race = (0..8).map(|_| scope.spawn(|| scene.0.own("ui").ok()));
                let race: Vec<_> = race.collect();
                race.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert_eq!(owners.iter().flatten().count(), 1, "owners at once");
        }
    }

    #[test]
    fn a_lock_file_without_a_holder_keeps_nobody_out() {
        let scene = scene(&["page"], &[]);
        fs::create_dir_all(&scene.0.locks).expect("a folder");
        // As a process leaves it that was killed.
        fs::write(scene.0.locks.join("ui.lock"), "4194303").expect("a file");
        let message = "the file is there, but nobody holds its lock: a dead owner keeps nobody out";
        drop(scene.0.own("ui").expect(message));
        let left = scene.0.locks.join("ui.lock").exists();
        assert!(left, "the lock file must stay when its owner lets go");
    }

    #[test]
    fn what_is_nowhere_else_stays() {
        for (commits, files, lost) in [
            (vec!["page"], vec!["theme.css"], vec!["theme.css"]),
            (vec!["page", "dark"], vec![], vec!["dark"]),
            (vec!["dark"], vec!["a", "b"], vec!["dark", "a", "b"]),
        ] {
            let mut scene = scene(&commits, &files);
            let before = scene.0.worktrees.clone();
            let refused = scene.0.remove("ui").expect_err("work was lost");
            for it in lost {
                assert!(refused.contains(it), "{it} is not named: {refused}");
            }
            assert_eq!(scene.0.worktrees, before, "a refusal changes nothing");
            scene.0.own("ui").expect("it was looked at, and let go");
        }
    }

    #[test]
    fn what_is_elsewhere_may_go() {
        let mut scene = scene(&["page", "dark"], &[]);
        scene.0.elsewhere.insert("dark"); // merged, say
        scene.0.remove("ui").expect("nothing would be lost");
        assert!(scene.0.worktrees.is_empty(), "it is still there");
        let again = scene.0.remove("ui");
        assert!(again.is_err(), "there is none of that name any more");
    }

    #[test]
    fn where_somebody_works_nothing_is_removed() {
        let mut scene = scene(&["page"], &[]);
        let owner = scene.0.own("ui").expect("nobody else is there");
        let refused = scene.0.remove("ui");
        assert!(refused.is_err(), "an agent works there");
        assert!(scene.0.worktrees.contains_key("ui"), "it was removed");
        drop(owner);
        scene.0.remove("ui").expect("the agent has left");
    }
}
