//! s12 · Worktrees: an agent works in a checkout of its own, on a branch of its own, so that agents
//! that work at once do not overwrite each other's files, or yours.
//!
//! A worktree is not a sandbox: a command in it may go wherever it likes.

mod git;
mod owner;
mod tree;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::repl::Repl;
use crate::tool::{Access, Context, Tool, ToolOutcome, Toolbox};
use crate::tools::object;
use git::{Repository, git, some};
use tree::Tree;

/// What a model is told of `worktree`.
const FIELD: &str = "Work in a git worktree of its own: a checkout of HEAD in .worktrees/, on a new branch; \
    both are named like the description. Use it for agents that write files at the same time. Tell it to commit its work.";

#[derive(Deserialize)]
struct Task {
    description: String,
    #[serde(default)]
    worktree: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// The same `task` that the agent has, which now takes `worktree`.
///
/// # Panics
/// When it has none.
#[track_caller]
pub fn task(toolbox: &Toolbox) -> Tool {
    let toolbox = toolbox.clone();
    let task = toolbox.get("task").unwrap_or_else(|why| panic!("{why}"));
    let (mut schema, told) = (
        task.spec.input_schema.clone(),
        task.spec.description.clone(),
    );
    schema["properties"]["worktree"] = json!({ "type": "boolean", "description": FIELD });
    let start = move |task: Task, context: &Context| {
        let mut input = task.rest;
        input.insert("description".to_string(), task.description.clone().into());
        let start = |context: &Context| toolbox.get("task")?.call(input.into(), context);
        if !task.worktree {
            return start(context);
        }
        let (tree, missing) = Tree::add(task.description.trim(), context)?;
        // If it is not started, nobody holds the tree any more: it goes as it came.
        let folder = Arc::new(tree);
        let answer = start(&Context {
            folder,
            ..context.clone()
        })?;
        Ok(format!("{answer}\n{missing}"))
    };
    Tool::new("task", told, schema, Access::Free, start)
}

/// `worktree_merge` and `worktree_remove`.
pub fn tools() -> [Tool; 2] {
    let name =
        json!({ "type": "string", "description": "The name of the agent, as /worktrees lists it" });
    let schema = object(json!({ "name": name }), &["name"]);
    [
        Tool::new(
            "worktree_merge",
            "Merges the branch of a worktree into the branch that is checked out here. If there would be a conflict, the files are named and nothing is changed.",
            schema.clone(),
            Access::Ask,
            |Name { name }: Name, context| merge(name.trim(), context),
        ),
        Tool::new(
            "worktree_remove",
            "Removes a worktree and its branch, but not if anything would be lost: changes that are not committed, ignored files, commits that are on no other branch.",
            schema,
            Access::Ask,
            |Name { name }: Name, context| remove(name.trim(), context),
        ),
    ]
}

/// Adds `/worktrees` to the prompt.
pub fn attach(repl: &mut Repl) {
    repl.action("/worktrees", "who works in which worktree", |_| {
        list(&Context::default()).unwrap_or_else(|why| why)
    });
}

/// First a dry run, which touches no file. Then a merge commit, even where none is needed, so that
/// the history shows what an agent did.
fn merge(name: &str, context: &Context) -> ToolOutcome {
    let repository = Repository::here(context)?;
    let tree = repository.tree(name, context)?;
    let _held = repository.own(name)?;
    let facts = tree.facts(&[&repository.head], context)?;
    let left = match facts.left.len() {
        0 => String::new(),
        _ => format!(
            " Not committed there, so not merged: {}.",
            some(&facts.left)
        ),
    };
    if facts.commits.is_empty() {
        return Err(format!(
            "{name} has no commit that is not here, so there is nothing to merge.{left}"
        ));
    }
    let (here, branch) = (repository.top.as_path(), format!("refs/heads/{name}"));
    let trial = [
        "merge-tree",
        "--write-tree",
        "--name-only",
        "--no-messages",
        "HEAD",
        &branch,
    ];
    if let Err(said) = git(here, &trial, context) {
        // The files stand below the tree that the merge would make.
        let mut lines = said.lines();
        let is_tree = |line: &str| line.bytes().all(|byte| byte.is_ascii_hexdigit());
        return Err(match lines.next() {
            Some(first) if is_tree(first) => {
                let files = lines.map(str::to_string).collect::<Vec<_>>();
                format!(
                    "{name} conflicts with this branch in {}. Nothing was changed. Have the worktree's branch merge this one, and the conflicts resolved there.",
                    some(&files)
                )
            }
            _ => format!("git cannot try this merge: {said}. Nothing was changed."),
        });
    }
    let under_way = || {
        git(
            here,
            &["rev-parse", "--verify", "--quiet", "MERGE_HEAD"],
            context,
        )
        .is_ok()
    };
    if under_way() {
        return Err("a merge is under way here; end it first.".to_string());
    }
    let message = format!("Merge the worktree {name}");
    if let Err(said) = git(
        here,
        &["merge", "--no-ff", "--quiet", "-m", &message, &branch],
        context,
    ) {
        // A hook that refuses, or an unknown author, leaves a merge half done.
        if under_way() {
            git(here, &["merge", "--abort"], &Context::default())?;
        }
        return Err(format!(
            "git refuses to merge {name}: {said}. Nothing was changed."
        ));
    }
    let files = some(&facts.changed);
    Ok(format!(
        "merged {name}: {}, changed: {files}.{left}",
        facts.count()
    ))
}

/// Checks first whether anything would be lost. git checks again, as it is not forced.
fn remove(name: &str, context: &Context) -> ToolOutcome {
    let repository = Repository::here(context)?;
    let tree = repository.tree(name, context)?;
    let _held = repository.own(name)?;
    let exclude = format!("--exclude={name}");
    let elsewhere = [
        &repository.head,
        exclude.as_str(),
        "--branches",
        "--tags",
        "--remotes",
    ];
    let facts = tree.facts(&elsewhere, context)?;
    let mut lost = Vec::new();
    if !facts.left.is_empty() {
        lost.push(format!("not committed: {}", some(&facts.left)));
    }
    if !facts.commits.is_empty() {
        lost.push(format!("on no other branch: {}", some(&facts.commits)));
    }
    if !lost.is_empty() {
        let lost = lost.join("; ");
        return Err(format!(
            "{name} was not removed, as this would be lost: {lost}. Merge it, or ask the user: a tag or another branch keeps commits, and only they may throw work away."
        ));
    }
    tree.remove(context)?;
    Ok(format!(
        "removed the worktree and the branch {name}; nothing in it was lost."
    ))
}

/// A line for each worktree of an agent.
fn list(context: &Context) -> ToolOutcome {
    let repository = Repository::here(context)?;
    let mut lines = Vec::new();
    for tree in repository.trees(context)? {
        let facts = tree.facts(&[&repository.head], context);
        let facts = facts.map_or_else(|why| why, |facts| facts.to_string());
        let owner = repository.owner(&tree.name);
        let owner = owner.unwrap_or("nobody works there".to_string());
        lines.push(format!("{}  {facts}; {owner}", tree.name));
    }
    Ok(match lines.is_empty() {
        true => "No worktrees. An agent gets one with task, worktree true.".to_string(),
        false => lines.join("\n"),
    })
}
