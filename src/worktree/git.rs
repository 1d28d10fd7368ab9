//! s12 · git: run as every command is, contained and interruptible, and asked what is where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tree::Tree;
use crate::event::Event;
use crate::outcome::End;
use crate::process;
use crate::tool::Context;

/// A git that takes longer is ended: a checkout of a large repository is slow.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs git with `$@`. Its errors are printed only if it fails, below the output.
const SCRIPT: &str = r#"unset ${!GIT_@}; exec 3>&1; said=$(git "$@" 2>&1 >&3) || { code=$?; echo "$said"; exit $code; }"#;

/// What git prints; its variables do not lead it elsewhere.
///
/// # Errors
/// When it fails: what it has said.
pub fn git(folder: &Path, arguments: &[&str], context: &Context) -> Result<String, String> {
    let quoted = arguments
        .iter()
        .map(|it| format!("'{}'", it.replace('\'', r"'\''")));
    let command = format!("set -- {}; {SCRIPT}", quoted.collect::<Vec<_>>().join(" "));
    let watch = |now: process::Snapshot| {
        context.events.emit(Event::Waiting {
            what: format!("git {}", arguments[0]),
            elapsed: now.elapsed,
            progress: now.last_line,
        });
    };
    let (outcome, _) = process::run_watched(&command, folder, LIMIT, &context.interrupt, watch);
    let said = outcome.output.trim_end();
    match outcome.end {
        End::Finished(Some(0)) => Ok(said.to_string()),
        End::Finished(Some(127)) => Err("git was not found; install it".to_string()),
        End::Finished(_) => Err(said.replace("fatal: ", "").replace("error: ", "")),
        _ => Err(outcome.error().unwrap_or_default()),
    }
}

/// The repository that the program is in.
#[derive(Clone)]
pub struct Repository {
    /// The folder of its files.
    pub top: PathBuf,
    /// The folder that git keeps for all worktrees, `.git` as a rule.
    pub common: PathBuf,
    /// Where the program is inside of `top`; empty at the top.
    pub inside: String,
    /// The commit that is checked out.
    pub head: String,
}

impl Repository {
    /// As it is now.
    ///
    /// # Errors
    /// When there is none from which a worktree could begin: a sentence.
    pub fn here(context: &Context) -> Result<Self, String> {
        let ask = [
            "rev-parse",
            "--path-format=absolute",
            "--is-bare-repository",
            "--show-toplevel",
        ];
        let ask = [
            &ask[..],
            &["--git-common-dir", "--show-prefix", "--verify", "HEAD"],
        ]
        .concat();
        let said = git(Path::new(""), &ask, context).unwrap_or_else(|said| said);
        match said.lines().collect::<Vec<_>>()[..] {
            ["false", top, common, inside, head] if is_id(head) => Ok(Repository {
                top: top.into(),
                common: common.into(),
                inside: inside.to_string(),
                head: head.to_string(),
            }),
            ["true", ..] => Err("this is a bare repository, without files to work on; clone it, and work in the clone.".into()),
            ["false", _, _, ..] => Err("the repository has no commit yet, and a worktree begins from one; commit something first.".into()),
            _ => Err(format!("there is no git repository to make a worktree of: {said}. `git init` and a first commit make one.")),
        }
    }

    /// Where the worktree of that name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.top.join(".worktrees").join(name)
    }

    /// The worktrees of agents, by name.
    ///
    /// # Errors
    /// When git cannot list them.
    pub fn trees(&self, context: &Context) -> Result<Vec<Tree>, String> {
        let said = git(&self.top, &["worktree", "list", "--porcelain"], context)?;
        let paths = said
            .lines()
            .filter_map(|line| line.strip_prefix("worktree "));
        let mut trees = Vec::new();
        for path in paths.map(Path::new) {
            if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && path == self.path(name)
            {
                trees.push(Tree::known(self, name));
            }
        }
        trees.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(trees)
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of that name: a sentence with those there are.
    pub fn tree(&self, name: &str, context: &Context) -> Result<Tree, String> {
        let trees = self.trees(context)?;
        let names: Vec<String> = trees.iter().map(|tree| tree.name.clone()).collect();
        let found = trees.into_iter().find(|tree| tree.name == name);
        found.ok_or_else(|| {
            format!(
                "there is no worktree {name:?}; there are: {}.",
                some(&names)
            )
        })
    }
}

/// True for the name of an object.
pub fn is_id(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The first few of a list, and how many more there are.
pub fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        0 => "nothing".to_string(),
        count if count > SHOWN => format!("{shown} and {} more", count - SHOWN),
        _ => shown,
    }
}
