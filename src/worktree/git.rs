//! foundation · git, which runs as every command does: contained, with an end to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::outcome::End;
use crate::process::{Handle, run};

/// A git that takes longer is ended: to check out a large repository takes a while.
const LIMIT: Duration = Duration::from_secs(600);
/// Asks what is not committed, also of what is ignored.
pub const STATUS: &str = "status --porcelain --ignored --untracked-files=normal";

/// What git prints or, if it fails, what it printed and its errors; `$1` in the command is the name.
/// `GIT_` variables do not lead it elsewhere; and to look takes no lock that a commit of yours needs.
pub fn git(top: &Path, command: &str, name: &str, stop: &Interrupt) -> Result<String, String> {
    let name = name.replace('\'', r"'\''");
    let script = format!(
        "set -- '{name}'; unset ${{!GIT_@}}; export GIT_OPTIONAL_LOCKS=0; exec 3>&1; said=$({{ git -c core.quotePath=false {command}; }} 2>&1 >&3) || {{ code=$?; echo \"$said\"; exit $code; }}"
    );
    let (outcome, _) = run(&Handle::new(&script), top, LIMIT, stop);
    let said = outcome.output.trim_end();
    match outcome.end {
        End::Finished(Some(0)) => Ok(said.to_string()),
        End::Finished(Some(127)) => Err("git was not found; install it".to_string()),
        End::Finished(_) => Err(said.replace("fatal: ", "")),
        _ => Err(outcome.error().unwrap_or_default()),
    }
}

/// The repository in which a folder is: where its files begin, what its worktrees share (`.git`, as a
/// rule), and the folder's place in it. As gitrepository-layout(5) has it: to ask git costs a third of
/// what it costs to add a worktree.
pub fn repository(folder: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let folder = Path::new(".").join(folder).canonicalize().ok()?;
    folder.ancestors().find_map(|top| {
        let git = follow(&top.join(".git"), "gitdir: ").unwrap_or(top.join(".git"));
        let common = follow(&git.join("commondir"), "").unwrap_or(git);
        let inside = folder.strip_prefix(top).unwrap_or(top).to_path_buf();
        let is_one = common.join("HEAD").exists();
        is_one.then(|| (top.to_path_buf(), common, inside))
    })
}

/// Where a file of git leads, if it is one.
pub fn follow(file: &Path, before: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    let folder = text.strip_prefix(before)?.trim_end();
    Some(file.with_file_name(folder))
}

/// One by one.
pub fn lines(said: String) -> Vec<String> {
    said.lines().map(str::to_string).collect()
}

/// The files of a status.
pub fn files(status: Vec<String>) -> Vec<String> {
    let files = status.iter().map(|line| line.chars().skip(3).collect());
    files.collect()
}

/// The first few of a list, and how many more there are.
pub fn some(list: &[String]) -> String {
    let (shown, more) = list.split_at(list.len().min(5));
    match (shown.join(", "), more.len()) {
        _ if list.is_empty() => "nothing".to_string(),
        (shown, 0) => shown,
        (shown, more) => format!("{shown} and {more} more"),
    }
}
