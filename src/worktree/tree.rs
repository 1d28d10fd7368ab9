//! s12 · Tree: one worktree, from its beginning to its end, and the facts about it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};

use super::git::{Repository, git, some};
use crate::tool::{Context, Folder};
use crate::tools::files::{failed, make_own_folder};

/// In `.git/info/exclude`, which is yours alone; `.gitignore` belongs to the project.
const EXCLUDED: &str = "/.worktrees/";

/// A worktree.
pub struct Tree {
    /// The agent's name, which is the branch's and the folder's as well.
    pub name: String,
    repository: Repository,
    /// Where tools work: at the same place inside of it as the program in its own tree.
    folder: PathBuf,
    /// The lock of the agent that works here, until it leaves.
    held: Mutex<Option<File>>,
}

/// What has happened in a worktree.
pub struct Facts {
    /// The branch that is checked out there, in git's words.
    branch: String,
    /// The commits that are not elsewhere, newest first, with their titles.
    pub commits: Vec<String>,
    /// The files that these commits change.
    pub changed: Vec<String>,
    /// The files that are not committed, ignored ones included.
    pub left: Vec<String>,
}

impl Tree {
    /// One that is there.
    pub fn known(repository: &Repository, name: &str) -> Self {
        Tree {
            name: name.to_string(),
            repository: repository.clone(),
            folder: repository.path(name).join(&repository.inside),
            held: Mutex::default(),
        }
    }

    /// Adds one, on a new branch from the commit that is checked out, for an agent that works there
    /// from now on. Also says what is not there.
    ///
    /// # Errors
    /// When there can be none of that name: a sentence.
    pub fn add(name: &str, context: &Context) -> Result<(Self, String), String> {
        let repository = Repository::here(context)?;
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!(
                "{name:?} is no name for a worktree but a path, which could lead out of .worktrees/; use one word, such as ui-dark."
            ));
        }
        let (path, shown) = (repository.path(name), format!(".worktrees/{name}"));
        let _turn = repository.turn(&context.interrupt)?;
        make_own_folder(&repository.top.join(".worktrees"))
            .map_err(failed("used", ".worktrees"))?;
        exclude(&repository.common).map_err(failed("changed", ".git/info/exclude"))?;
        clear_broken(&repository.common.join("worktrees").join(name), &path);
        if path.symlink_metadata().is_ok() {
            return Err(format!(
                "there is a folder {shown} already; use another name, or look at it and remove it."
            ));
        }
        let held = repository.own(name)?;
        let reason = format!(
            "the agent {name} works here (meanwhile, process {})",
            process::id()
        );
        let (place, head) = (path.display().to_string(), &repository.head);
        let add = [
            "worktree", "add", "--quiet", "--lock", "--reason", &reason, "-b", name, &place, head,
        ];
        git(&repository.top, &add, context)
            .map_err(|said| format!("git makes no worktree {name}: {said}. Use another name."))?;
        let tree = Tree {
            held: Mutex::new(Some(held)),
            ..Self::known(&repository, name)
        };
        let _ = fs::create_dir_all(&tree.folder); // where nothing is committed in it
        let (mut missing, status) = (Vec::new(), status(&repository.top, context)?);
        let is_ignored = |line: &&String| line.starts_with("!! ");
        let (ignored, changed): (Vec<_>, Vec<_>) = status.iter().skip(1).partition(is_ignored);
        for (what, lines) in [
            ("uncommitted changes of the user's", changed),
            ("ignored files", ignored),
        ] {
            let files = lines.into_iter().map(|line| line.chars().skip(3).collect());
            let files: Vec<String> = files.filter(|file| file != ".worktrees/").collect();
            if !files.is_empty() {
                missing.push(format!("{what} ({})", some(&files)));
            }
        }
        if repository.top.join(".gitmodules").exists() {
            missing.push("submodules".to_string());
        }
        let short: String = repository.head.chars().take(7).collect();
        let missing = match missing.is_empty() {
            true => "all that is here is there".to_string(),
            false => format!("not there: {}", missing.join(", ")),
        };
        Ok((
            tree,
            format!(
                "It works in {shown}, on the new branch {name}, from commit {short}; {missing}."
            ),
        ))
    }

    /// What has happened in it, without what these revisions have.
    ///
    /// # Errors
    /// When git cannot say.
    pub fn facts(&self, elsewhere: &[&str], context: &Context) -> Result<Facts, String> {
        let (path, branch) = (
            self.repository.path(&self.name),
            format!("refs/heads/{}", self.name),
        );
        let lines = |said: String| said.lines().map(str::to_string).collect::<Vec<_>>();
        let mut status = status(&path, context)?.into_iter();
        let first = status.next().unwrap_or_default();
        let first = first.trim_start_matches("## ").split("...").next();
        // HEAD as well: the agent may have left its branch.
        let log = [
            "log",
            "--format=%h %s",
            "--ignore-missing",
            "HEAD",
            &branch,
            "--not",
        ];
        let commits = lines(git(&path, &[&log[..], elsewhere].concat(), context)?);
        let range = format!("{}...HEAD", self.repository.head);
        Ok(Facts {
            branch: first.unwrap_or_default().to_string(),
            commits,
            changed: lines(git(&path, &["diff", "--name-only", &range], context)?),
            left: status.map(|line| line.chars().skip(3).collect()).collect(),
        })
    }

    /// Removes tree and branch. git refuses where files would be lost, and the branch goes only if
    /// nobody has moved it.
    ///
    /// # Errors
    /// When git refuses.
    pub fn remove(&self, context: &Context) -> Result<(), String> {
        let (repository, name) = (&self.repository, &self.name);
        let run = |arguments: &[&str]| git(&repository.top, arguments, context);
        let (place, branch) = (
            repository.path(name).display().to_string(),
            format!("refs/heads/{name}"),
        );
        let _turn = repository.turn(&context.interrupt)?;
        let tip = run(&["rev-parse", "--verify", "--quiet", &branch]);
        let _ = run(&["worktree", "unlock", &place]); // of an owner who died, as we own it now
        run(&["worktree", "remove", &place])?;
        match tip {
            Ok(tip) => run(&["update-ref", "-d", &branch, &tip]).map(drop),
            Err(_) => Ok(()), // the agent has renamed it
        }
    }
}

impl Folder for Tree {
    fn path(&self) -> &Path {
        &self.folder
    }

    /// The facts. If nothing has happened, the tree goes.
    fn leave(&self) -> String {
        let held = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if held.is_none() {
            return String::new();
        }
        let (name, context) = (&self.name, Context::default());
        let shown = match self.facts(&[&self.repository.head], &context) {
            Ok(facts) if facts.commits.is_empty() && facts.left.is_empty() => {
                match self.remove(&context) {
                    Ok(()) => "nothing was changed, so it is removed".to_string(),
                    Err(why) => format!("nothing was changed, but it stays: {why}"),
                }
            }
            Ok(facts) => format!("{facts}; it stays until it is merged or removed"),
            Err(why) => format!("git cannot look at it: {why}"),
        };
        let place = self.repository.path(name).display().to_string();
        let _ = git(
            &self.repository.top,
            &["worktree", "unlock", &place],
            &context,
        );
        format!("\n[worktree .worktrees/{name}: {shown}]")
    }
}

/// The agent could not be started, or broke down.
impl Drop for Tree {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Facts {
    /// How many commits there are.
    pub fn count(&self) -> String {
        match self.commits.len() {
            1 => "1 commit".to_string(),
            count => format!("{count} commits"),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (changed, left) = (some(&self.changed), some(&self.left));
        let (branch, commits) = (&self.branch, self.count());
        write!(
            f,
            "branch {branch}, {commits} ahead, changed: {changed}; not committed: {left}"
        )
    }
}

/// The branch, then a line for each file that is not committed.
fn status(folder: &Path, context: &Context) -> Result<Vec<String>, String> {
    let ask = [
        "status",
        "--porcelain",
        "--branch",
        "--ignored",
        "--untracked-files=normal",
        "--ignore-submodules=none",
    ];
    let said = git(folder, &ask, context)?;
    Ok(said.lines().map(str::to_string).collect())
}

fn exclude(common: &Path) -> io::Result<()> {
    let path = common.join("info/exclude");
    let text = fs::read(&path).unwrap_or_default();
    if text
        .split(|byte| *byte == b'\n')
        .any(|line| line == EXCLUDED.as_bytes())
    {
        return Ok(());
    }
    fs::create_dir_all(common.join("info"))?;
    let gap = if text.is_empty() || text.ends_with(b"\n") {
        ""
    } else {
        "\n"
    };
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{gap}{EXCLUDED}\n").as_bytes())
}

/// What is left of a `worktree add` that was killed before there was a HEAD, which no git can use:
/// nobody has worked there, and there is nothing in the folder but a pointer.
fn clear_broken(entry: &Path, path: &Path) {
    if entry.is_dir() && !entry.join("HEAD").exists() && fs::remove_dir_all(entry).is_ok() {
        let _ = fs::remove_file(path.join(".git"));
        let _ = fs::remove_dir(path);
    }
}
