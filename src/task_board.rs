//! s07 · The task board: tasks as files, `.tasks/task_N.json`, which outlive the conversation.
//!
//! Nothing is kept in memory, the folder is the truth: another program, or a person with an
//! editor, may change it at any time. Only `blockedBy` counts; `blocks` is derived from it.

mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::interrupt::Interrupt;
use crate::process::output::text_or;
use crate::todo::{Stage, one_line};
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::{Id, object};

pub(crate) type Ids = BTreeSet<u64>;

const CREATE: &str = "Puts a task on the board, which outlives this conversation.";
const UPDATE: &str = "Changes the status of a task, or what it waits for.";
const LIST: &str = "Lists all tasks with their status and what blocks them.";
const GET: &str = "Shows all of one task, its description included.";

/// A task as it stands in its file, or as the model asks for it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BoardTask {
    #[serde(default)]
    pub id: u64,
    pub subject: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub status: Stage,
    #[serde(default)]
    pub blocked_by: Ids,
    #[serde(default)]
    blocks: Ids,
    /// Blockers that are completed by now.
    #[serde(default, skip_serializing_if = "Ids::is_empty")]
    pub built_on: Ids,
    /// What somebody else wrote into the file stays in it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl fmt::Display for BoardTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.mark(), self.id, self.subject)?;
        if self.blocked_by.is_empty() {
            return Ok(());
        }
        write!(f, " (blocked by {})", join(&self.blocked_by))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    id: u64,
    status: Option<Stage>,
    #[serde(default)]
    add_blocked_by: Ids,
}

/// A folder of tasks.
///
/// Changes take turns through a lock on the folder; where the file system has no locks, the last
/// writer of a task wins, but a new task never overwrites another.
#[derive(Debug, Clone)]
pub struct TaskBoard {
    dir: PathBuf,
}

/// A task, or a sentence that says why its file is none.
type Entry = Result<BoardTask, String>;
/// What the folder holds.
pub(crate) type Entries = BTreeMap<u64, Entry>;

/// `task_create`, `task_update`, `task_list` and `task_get`.
pub fn tools(board: TaskBoard) -> [Tool; 4] {
    let [create, update, list, get] = [(); 4].map(|()| board.clone());
    let text = json!({ "type": "string" });
    let id = json!({ "type": "integer", "minimum": 1 });
    let ids = json!({ "type": "array", "items": id, "description": "tasks that must be completed first" });
    let status = json!({ "type": "string", "enum": ["pending", "in_progress", "completed"] });
    let created = json!({ "subject": text, "description": text, "blockedBy": ids });
    let updated = json!({ "id": id, "status": status, "addBlockedBy": ids });
    let (created, updated) = (object(created, &["subject"]), object(updated, &["id"]));
    let (none, one) = (object(json!({}), &[]), object(json!({ "id": id }), &["id"]));
    let create = move |task, its: &Context| create.create(task, &its.interrupt);
    let update = move |change, its: &Context| update.update(change, &its.interrupt);
    let list = move |_: Map<String, Value>, _: &Context| list.list();
    let get = move |Id { id }, _: &Context| get.get(id);
    [
        Tool::new("task_create", CREATE, created, Access::Free, create),
        Tool::new("task_update", UPDATE, updated, Access::Free, update),
        Tool::new("task_list", LIST, none, Access::Free, list),
        Tool::new("task_get", GET, one, Access::Free, get),
    ]
}

impl TaskBoard {
    /// The board in that folder, which need not exist: the first change makes it.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        TaskBoard { dir: dir.into() }
    }

    pub(crate) fn create(&self, mut task: BoardTask, stop: &Interrupt) -> ToolOutcome {
        task.subject = one_line(&task.subject);
        if task.subject.is_empty() {
            return Err("the subject is empty. Say in a few words what is to be done.".into());
        }
        let _lock = self.lock(stop)?;
        let mut entries = self.load()?;
        for blocker in &task.blocked_by {
            find(&mut entries, *blocker)?;
        }
        let last = entries.keys().next_back();
        let id = last.map_or(1, |id| id.saturating_add(1));
        task.id = id;
        self.save_new(&task)?;
        entries.insert(id, Ok(task));
        link(&mut entries);
        self.save(&entries, id)?;
        Ok(format!("created {}", find(&mut entries, id)?))
    }

    fn update(&self, change: Update, stop: &Interrupt) -> ToolOutcome {
        if change.status.is_none() && change.add_blocked_by.is_empty() {
            return Err("nothing to change: give a status, or ids in addBlockedBy.".into());
        }
        let id = change.id;
        let _lock = self.lock(stop)?;
        let mut entries = self.load()?;
        for blocker in change.add_blocked_by {
            find(&mut entries, blocker)?;
            find(&mut entries, id)?.blocked_by.insert(blocker);
        }
        refuse_circle(&entries, id)?;
        let task = find(&mut entries, id)?;
        let mut waiting = task.blocks.clone();
        task.status = change.status.unwrap_or(task.status);
        link(&mut entries);
        let task = find(&mut entries, id)?;
        if task.status != Stage::Pending && !task.blocked_by.is_empty() {
            let blockers = join(&task.blocked_by);
            return Err(format!(
                "task {id} is blocked by {blockers} and can only be pending, so nothing was changed. Complete what blocks it first."
            ));
        }
        let answer = task.to_string();
        self.save(&entries, id)?;
        waiting.retain(|id| matches!(&entries[id], Ok(task) if task.blocked_by.is_empty()));
        if waiting.is_empty() {
            return Ok(answer);
        }
        Ok(format!("{answer}\nNo longer blocked: {}", join(&waiting)))
    }

    fn list(&self) -> ToolOutcome {
        let entries = self.load()?;
        let tasks = entries.values().flatten();
        let mut lines: Vec<String> = tasks.map(BoardTask::to_string).collect();
        lines.extend(entries.into_values().filter_map(Result::err));
        Ok(text_or(&lines.join("\n"), "No tasks."))
    }

    fn get(&self, id: u64) -> ToolOutcome {
        Ok(serde_json::to_string_pretty(find(&mut self.load()?, id)?).unwrap_or_default())
    }
}

pub(crate) fn find(entries: &mut Entries, id: u64) -> Result<&mut BoardTask, String> {
    let unknown = format!("there is no task {id}. {}", known(entries));
    let entry = entries.get_mut(&id).ok_or(unknown)?;
    entry.as_mut().map_err(|why| why.as_str().into())
}

fn known(entries: &Entries) -> String {
    let ids = entries.values().flatten().map(|task| &task.id);
    format!("The tasks are: {}.", join(ids))
}

/// Forgets blockers that are completed or deleted, then derives `blocks` from `blocked_by`.
pub(crate) fn link(entries: &mut Entries) {
    let done = |entry: &Entry| matches!(entry, Ok(task) if task.status == Stage::Completed);
    let (done, open): (Ids, Ids) = entries.keys().copied().partition(|id| done(&entries[id]));
    let mut blocks: BTreeMap<u64, Ids> = BTreeMap::new();
    for task in entries.values_mut().flatten() {
        task.built_on.extend(task.blocked_by.intersection(&done));
        task.blocked_by.retain(|id| open.contains(id));
        for blocker in &task.blocked_by {
            blocks.entry(*blocker).or_default().insert(task.id);
        }
    }
    for task in entries.values_mut().flatten() {
        task.blocks = blocks.remove(&task.id).unwrap_or_default();
    }
}

/// Refuses a task that would wait for itself, directly or through others.
fn refuse_circle(entries: &Entries, id: u64) -> Result<(), String> {
    let (mut seen, mut next) = (Ids::new(), vec![id]);
    while let Some(waiting) = next.pop() {
        let Some(Ok(task)) = entries.get(&waiting) else {
            continue;
        };
        if task.blocked_by.contains(&id) {
            return Err(format!(
                "task {id} would wait for itself, as task {waiting} waits for it; nothing was changed. {}",
                known(entries)
            ));
        }
        next.extend(task.blocked_by.iter().filter(|id| seen.insert(**id)));
    }
    Ok(())
}

/// `1, 2, 3`
pub(crate) fn join<'a>(ids: impl IntoIterator<Item = &'a u64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(u64::to_string).collect();
    text_or(&ids.join(", "), "none")
}
