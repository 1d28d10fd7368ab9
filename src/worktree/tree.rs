//! s12 · A worktree, from its beginning to its end, and what has happened in it.
//!
//! Who works there holds a file; so a worktree whose file is free is nobody's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::git::{STATUS, files, follow, git, lines, repository, some};
use crate::caught::lock;
use crate::held::Held;
use crate::interrupt::Interrupt;
use crate::tool::{Context, Folder};
use crate::tools::files::{failed, make_own_folder};

/// Who holds this adds or removes: at times git fails if two do so at once. (No branch is named so.)
const TURN: &str = "~turn";
/// In `.git/info/exclude`, which is only yours; `.gitignore` is the project's.
const EXCLUDED: &str = "/.worktrees/";
const INTERRUPTED: &str = "interrupted before it was this one's turn.";
const WAIT: &str = "Wait until it has ended.";
const REASON: &str = r#""the agent $1 works here""#;
/// Asks for the commit that is checked out.
const HEAD: &str = "rev-parse --verify HEAD";
const UNTOUCHED: &str = "nothing was changed, so it is removed";

/// A worktree: its folder, its branch and its agent have one name.
#[derive(Default)]
pub struct Tree {
    pub name: String,
    /// The commit that is checked out where the caller works.
    pub head: String,
    /// The folder of the repository's files.
    top: PathBuf,
    /// What git keeps for all worktrees: `.git`, as a rule.
    common: PathBuf,
    /// Where tools work: at the place in it at which the caller works in `top`.
    folder: PathBuf,
    /// The lock of an agent that works there, until it leaves.
    held: Mutex<Option<Held>>,
}

impl Tree {
    /// A name, in the repository in which the caller works; whether there is such a worktree or not.
    fn named(name: &str, context: &Context) -> Result<Self, String> {
        let place = repository(context.folder.path());
        let (top, common, inside) = place.ok_or_else(|| refused("", context))?;
        let (folder, mut tree) = (top.join(".worktrees").join(name), Tree::default());
        (tree.folder, tree.name) = (folder.join(inside), name.to_string());
        (tree.top, tree.common) = (top, common);
        Ok(tree)
    }

    /// Those that are there.
    pub fn all(context: &Context) -> Result<Vec<Self>, String> {
        let here = Self::named("", context)?;
        let mut all = Vec::new();
        let entries = fs::read_dir(here.top.join(".worktrees"));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().join(".git").is_file() {
                let mut tree = Self::named(&name, context)?;
                tree.head = tree.git(HEAD)?;
                all.push(tree);
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// One of them, in which nobody works as long as its lock is held.
    pub fn find(name: &str, context: &Context) -> Result<(Self, Held), String> {
        let mut all = Self::all(context)?;
        let names: Vec<String> = all.iter().map(|tree| tree.name.clone()).collect();
        let none = || format!("there is no worktree {name:?}. There is: {}.", some(&names));
        all.retain(|tree| tree.name == name);
        let tree = all.pop().ok_or_else(none)?;
        tree.own(name, None).map(|held| (tree, held))
    }

    /// Adds it on a new branch, from the commit that is checked out, for an agent that works there
    /// from now on.
    pub fn add(name: &str, context: &Context) -> Result<Self, String> {
        let mut tree = Self::named(name, context)?;
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!(
                "{name:?} is a path; use a plain name, such as ui-dark."
            ));
        }
        let _turn = tree.own(TURN, Some(&context.interrupt))?;
        let path = tree.top.join(".worktrees").join(name);
        make_own_folder(&tree.top.join(".worktrees")).map_err(failed("used", ".worktrees"))?;
        exclude(&tree.top, EXCLUDED).map_err(failed("changed", ".git/info/exclude"))?;
        clear_broken(&tree.common.join("worktrees").join(name), &path);
        if path.symlink_metadata().is_ok() {
            return Err(format!(
                "there is a .worktrees/{name} already; use another name."
            ));
        }
        let held = tree.own(name, None)?;
        let add = format!(
            r#"worktree add --quiet --lock --reason {REASON} -b "$1" ".worktrees/$1" HEAD"#
        );
        git(&tree.top, &add, name, &context.interrupt)
            .map_err(|said| refused(&format!("git makes no worktree {name}: {said}"), context))?;
        tree.held = Mutex::new(Some(held));
        let own = follow(&path.join(".git"), "gitdir: ").unwrap_or_default();
        let head = fs::read_to_string(own.join("ORIG_HEAD")).map(|it| it.trim_end().to_string());
        tree.head = head.or_else(|_| tree.git(HEAD))?;
        let _ = fs::create_dir_all(&tree.folder); // if nothing in it is committed
        Ok(tree)
    }

    /// Says where it is, and what is not there.
    pub fn remark(&self, stop: &Interrupt) -> String {
        let status = git(&self.top, STATUS, "", stop).map_or_else(|why| vec![why], lines);
        let status = status.into_iter();
        let status = status.filter(|line| !line.ends_with(" .worktrees/"));
        let (ignored, changed) = status.partition(|line| line.starts_with("!! "));
        let [changed, ignored] = [changed, ignored].map(|lines| some(&files(lines)));
        let (name, head) = (&self.name, &self.head);
        format!(
            "It works in .worktrees/{name}, a checkout of commit {head:.7}. Not in it: what is not committed here ({changed}), what is ignored ({ignored}), submodules."
        )
    }

    /// For work that goes on: the one of that name or, if there is none, a new one.
    pub fn go_on(name: &str, context: &Context) -> Result<Self, String> {
        let Ok((tree, held)) = Self::find(name, context) else {
            return Self::add(name, context);
        };
        let again = format!(r#"worktree lock --reason {REASON} ".worktrees/$1""#);
        let _ = tree.git(&again);
        *lock(&tree.held) = Some(held);
        Ok(tree)
    }

    /// What git prints at the top of the repository; `$1` is the name.
    pub fn git(&self, command: &str) -> Result<String, String> {
        git(&self.top, command, &self.name, &Interrupt::default())
    }

    /// What is in it and not in these revisions: the commits, and the files that are not committed;
    /// and all in one line.
    pub fn facts(&self, elsewhere: &str) -> Result<(Vec<String>, String), String> {
        let ask = |command: &str| {
            let command = format!(r#"-C ".worktrees/$1" {command}"#);
            self.git(&command).map(lines)
        };
        // HEAD and the branch, as the agent may have left it.
        let log = r#"log --format="commit %h (%s)" --ignore-missing HEAD "refs/heads/$1" --not"#;
        let mut lost = ask(&format!("{log} {elsewhere}"))?;
        let changed = some(&ask(&format!("diff --name-only {}...HEAD", self.head))?);
        let (name, ahead, left) = (&self.name, lost.len(), files(ask(STATUS)?));
        let uncommitted = some(&left);
        lost.extend(left);
        let told = format!(
            "branch {name}, {ahead} ahead, files changed: {changed}, not committed: {uncommitted}"
        );
        Ok((lost, told))
    }

    /// Removes folder and branch. git refuses where files would be lost; and the branch goes only if
    /// nobody moves it meanwhile.
    pub fn remove(&self, stop: &Interrupt) -> Result<(), String> {
        let _turn = self.own(TURN, Some(stop))?;
        let tip = self.git(r#"for-each-ref --format="%(objectname)" "refs/heads/$1""#)?;
        let lock = self.common.join(format!("worktrees/{}/locked", self.name));
        if fs::read_to_string(lock).is_ok_and(|why| why.starts_with("the agent ")) {
            self.git(r#"worktree unlock ".worktrees/$1""#)?; // its owner is dead
        }
        self.git(r#"worktree remove ".worktrees/$1""#)?;
        if tip.is_empty() {
            return Ok(()); // the agent has renamed it
        }
        let delete = format!(r#"update-ref -d "refs/heads/$1" {tip}"#);
        self.git(&delete).map(drop)
    }

    /// Becomes the owner of a name, until the file is dropped; waits for that, if it is given what
    /// ends the wait.
    pub fn own(&self, name: &str, wait: Option<&Interrupt>) -> Result<Held, String> {
        let folder = self.common.join("meanwhile");
        let create = |()| File::create(folder.join(format!("{name}.lock")));
        let file = make_own_folder(&folder).and_then(create);
        let file = file.map_err(failed("used", "a lock in .git/meanwhile"))?;
        match wait {
            Some(stop) => Held::wait(file, Duration::MAX, stop).map_err(|_| INTERRUPTED.into()),
            None => Held::new(file).map_err(|_| format!("an agent works in {name}. {WAIT}")),
        }
    }
}

impl Folder for Tree {
    fn path(&self) -> &Path {
        &self.folder
    }

    /// The facts. If nothing has happened there, the worktree goes.
    fn leave(&self) -> String {
        let Some(_held) = lock(&self.held).take() else {
            return String::new();
        };
        let _ = self.git(r#"worktree unlock ".worktrees/$1""#);
        let anew = Interrupt::default();
        let told = match self.facts(&self.head) {
            Ok((lost, told)) if !lost.is_empty() => format!("{told}; it stays until it is removed"),
            Ok(_) => self.remove(&anew).err().unwrap_or(UNTOUCHED.into()),
            Err(why) => why,
        };
        format!("\n[worktree .worktrees/{}: {told}]", self.name)
    }
}

/// The agent could not be started, or broke down.
impl Drop for Tree {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Why there is none, for which git is asked only now.
fn refused(said: &str, context: &Context) -> String {
    let ask = "rev-parse --is-bare-repository --verify HEAD";
    let here = git(context.folder.path(), ask, "", &Interrupt::default());
    let told = match here.as_ref().unwrap_or_else(|why| why) {
        it if it.starts_with("true") => "this repository is bare, without files. Work in a clone.",
        _ if here.is_ok() => return format!("{said}. Use another name."),
        it if it.starts_with("false") => "the repository has no commit. Make a first one.",
        it => return format!("there is no repository for a worktree: {it}. `git init` makes one."),
    };
    told.to_string()
}

/// Adds a line to `.git/info/exclude`, unless it is there, or the folder is in no repository.
pub fn exclude(folder: &Path, line: &str) -> io::Result<()> {
    let info = repository(folder).map(|(_, common, _)| common.join("info"));
    let Some(info) = info else { return Ok(()) };
    let path = info.join("exclude");
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
    if text.lines().any(|known| known == line) {
        return Ok(());
    }
    fs::create_dir_all(info)?;
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "\n{line}")
}

/// What a `worktree add` leaves that was killed before there was a HEAD: no git can use it, nobody
/// has worked there, and in the folder is no more than a pointer.
fn clear_broken(entry: &Path, path: &Path) {
    if entry.is_dir() && !entry.join("HEAD").exists() && fs::remove_dir_all(entry).is_ok() {
        let _ = fs::remove_file(path.join(".git"));
        let _ = fs::remove_dir(path);
    }
}
