//! s12 · Worktrees: an agent works in a checkout of its own, on a branch of its own, so that agents
//! that work at once do not overwrite each other's files, or yours.
//!
//! A worktree is not a sandbox: a command in it may go wherever it likes.

mod git;
mod tree;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::process::output::text_or;
use crate::repl::Repl;
use crate::tool::{Access, Context, Tool, ToolOutcome, Toolbox};
use crate::tools::{Name, object};
use git::some;
pub(crate) use tree::{Tree, exclude};

const MERGE: &str = "Merges a worktree's branch into the one that is checked out here. If they conflict, nothing is changed.";
const REMOVE: &str = "Removes a worktree and its branch, unless anything in it would be lost.";

/// The `task` of this toolbox, which now takes `worktree`.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn task(toolbox: &Toolbox) -> Tool {
    let toolbox = toolbox.clone();
    let old = toolbox.get("task").unwrap_or_else(|why| panic!("{why}"));
    let mut schema = old.input_schema.clone();
    schema["properties"]["worktree"] = json!({ "type": "boolean", "description": "Work in a git worktree of its own, \
        .worktrees/DESCRIPTION: a checkout of HEAD on a new branch of the same name. For agents that change files at the same time; tell them to commit." });
    let told = old.description.clone();
    let start = move |mut input: Map<String, Value>, context: &Context| {
        let worktree = input.remove("worktree").unwrap_or_default();
        let name = input.get("description").cloned().unwrap_or_default();
        let start = |context: &_| toolbox.get("task")?.call(input.into(), context);
        match worktree {
            Value::Bool(true) => {}
            Value::Bool(false) | Value::Null => return start(context),
            _ => return Err("`worktree` is true or false; nothing was done.".to_string()),
        }
        let name = name.as_str().unwrap_or_default().trim();
        let tree = Arc::new(Tree::add(name, context)?);
        // If the agent does not start, nobody holds the tree, and it goes as it came.
        let (folder, there) = (tree.clone(), context.clone());
        let answer = start(&Context { folder, ..there })?;
        let remark = tree.remark(&context.interrupt); // while the agent works
        Ok(format!("{answer}\n{remark}"))
    };
    Tool::new("task", told, schema, Access::Free, start)
}

/// `worktree_merge` and `worktree_remove`.
pub fn tools() -> [Tool; 2] {
    let tool = |name, about: &str, act: fn(&str, &Context) -> ToolOutcome| {
        let schema = object(json!({ "name": { "type": "string" } }), &["name"]);
        let act = move |Name { name }: Name, context: &Context| act(name.trim(), context);
        Tool::new(name, about, schema, Access::Ask, act)
    };
    [
        tool("worktree_merge", MERGE, merge),
        tool("worktree_remove", REMOVE, remove),
    ]
}

/// Adds `/worktrees` to the prompt.
pub fn attach(repl: &mut Repl) {
    let list = |_: &str| list().unwrap_or_else(|why| why);
    repl.action("/worktrees", "who works in which worktree", list);
}

/// First a dry run, which touches no file. Then a merge commit, even where none is needed, so that
/// the history shows what an agent did.
fn merge(name: &str, context: &Context) -> ToolOutcome {
    let (tree, _held) = Tree::find(name, context)?;
    let (_, told) = tree.facts(&tree.head)?;
    let news = tree.git(r#"rev-list -1 HEAD.."refs/heads/$1" --"#)?; // of its branch, not elsewhere
    if news.is_empty() {
        return Err(format!("nothing of {name} can be merged: {told}."));
    }
    let trial = r#"merge-tree --write-tree --name-only --no-messages HEAD "refs/heads/$1""#;
    if let Err(said) = tree.git(trial) {
        let why = text_or(&said.lines().skip(1).collect::<Vec<_>>().join(", "), &said);
        return Err(format!(
            "{name} conflicts with what is here, so nothing was changed: {why}. Have it solved in the worktree: merge this branch there."
        ));
    }
    let under_way = || tree.git("rev-parse --verify --quiet MERGE_HEAD").is_ok();
    if under_way() {
        return Err("another merge is under way here; end it first.".to_string());
    }
    let merge = r#"merge --no-ff --quiet -m "Merge the worktree $1" "refs/heads/$1""#;
    if let Err(said) = tree.git(merge) {
        if under_way() {
            tree.git("merge --abort")?; // a hook refused, or git knows no author
        }
        return Err(format!("nothing was merged, as git says: {said}"));
    }
    Ok(format!("merged {name}: {told}."))
}

/// Looks first whether anything would be lost. git looks again, as it is not forced.
fn remove(name: &str, context: &Context) -> ToolOutcome {
    let (tree, _held) = Tree::find(name, context)?;
    let others = r#"--exclude="$1" --branches --tags --remotes"#;
    let (lost, _) = tree.facts(&format!("{} {others}", tree.head))?;
    if !lost.is_empty() {
        let lost = some(&lost);
        return Err(format!(
            "{name} was not removed, as this is nowhere else: {lost}. Commit and merge it, or ask the user; a tag keeps commits."
        ));
    }
    tree.remove(&context.interrupt)?;
    Ok(format!("removed {name} and its branch; nothing was lost."))
}

/// A line for each worktree of an agent.
fn list() -> ToolOutcome {
    let mut list = String::new();
    for tree in Tree::all(&Context::default())? {
        let facts = tree.facts(&tree.head).map(|(_, told)| told);
        let at_work = ["an agent", "nobody"][usize::from(tree.own(&tree.name, None).is_ok())];
        let facts = facts.unwrap_or_else(|why| format!("{}: {why}", tree.name));
        list += &format!("{facts}; {at_work} works there\n");
    }
    let none = "No worktrees. `task` makes one for an agent.";
    Ok(text_or(&list, none))
}
