//! State that outlives the conversation: tasks as files, `.tasks/task_N.json`.
//!
//! Nothing is kept in memory, the folder is the truth: another program, or a person with an
//! editor, may change it at any time. Of a dependency, `blockedBy` is what counts; `blocks` is
//! its other side, and derived whenever the folder is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::todo::Status;
use crate::tool::{Access, Tool, ToolError, ToolOutcome};
use crate::tools::files::{EDIT_LIMIT, explain, read_text, replace};
use crate::tools::object;

type Ids = BTreeSet<u64>;

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    id: u64,
    subject: String,
    #[serde(default)]
    description: String,
    status: Status,
    #[serde(default)]
    blocked_by: Ids,
    #[serde(default)]
    blocks: Ids,
    /// What somebody else wrote into the file stays in it.
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Create {
    subject: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    blocked_by: Ids,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Update {
    id: u64,
    status: Option<Status>,
    #[serde(default)]
    add_blocked_by: Ids,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {}

/// A folder of tasks.
///
/// Changes take turns through a lock on the folder; where the file system has no locks, the last
/// writer of a task wins, but a new task never overwrites another.
#[derive(Debug, Clone)]
pub struct TaskBoard {
    dir: PathBuf,
}

/// `task_create`, `task_update`, `task_list` and `task_get`.
pub fn tools(board: TaskBoard) -> [Tool; 4] {
    let [create, update, list, get] = [(); 4].map(|()| board.clone());
    let text = json!({ "type": "string" });
    let id = json!({ "type": "integer", "minimum": 1 });
    let ids = json!({ "type": "array", "items": id, "description": "tasks that must be completed first" });
    let status = json!({ "type": "string", "enum": ["pending", "in_progress", "completed"] });
    let created = object(
        json!({ "subject": text, "description": text, "blockedBy": ids }),
        &["subject"],
    );
    let updated = object(
        json!({ "id": id, "status": status, "addBlockedBy": ids }),
        &["id"],
    );
    let one = object(json!({ "id": id }), &["id"]);
    let none = object(json!({}), &[]);
    let about = [
        "Puts a task on the board, which outlives this conversation.",
        "Changes the status of a task, or what it waits for.",
        "Lists all tasks with their status and what blocks them.",
        "Shows all of one task, its description included.",
    ];
    [
        Tool::new(
            "task_create",
            about[0],
            created,
            Access::Free,
            move |input, _| create.create(input),
        ),
        Tool::new(
            "task_update",
            about[1],
            updated,
            Access::Free,
            move |input, _| update.update(input),
        ),
        Tool::new(
            "task_list",
            about[2],
            none,
            Access::Free,
            move |List {}, _| list.list(),
        ),
        Tool::new("task_get", about[3], one, Access::Free, move |input, _| {
            get.get(input)
        }),
    ]
}

impl TaskBoard {
    /// The board in that folder, which need not exist: the first change makes it.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        TaskBoard { dir: dir.into() }
    }

    fn create(
        &self,
        Create {
            subject,
            description,
            blocked_by,
        }: Create,
    ) -> ToolOutcome {
        let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        if subject.is_empty() {
            return Err("the subject is empty. Say in a few words what is to be done.".into());
        }
        let _lock = self.lock()?;
        let mut folder = self.load()?;
        for blocker in &blocked_by {
            folder.find(*blocker)?;
        }
        let id = folder
            .tasks
            .keys()
            .chain(folder.broken.keys())
            .max()
            .map_or(1, |id| id.saturating_add(1));
        File::create_new(self.path(id)).map_err(|error| self.failed("changed", &error))?;
        folder.tasks.insert(
            id,
            Task {
                id,
                subject,
                description,
                blocked_by,
                ..Task::default()
            },
        );
        folder.link();
        if let Err(error) = self.save(&folder, id) {
            let _ = fs::remove_file(self.path(id));
            return Err(error);
        }
        Ok(format!("created {}", folder.find(id)?))
    }

    fn update(
        &self,
        Update {
            id,
            status,
            add_blocked_by,
        }: Update,
    ) -> ToolOutcome {
        if status.is_none() && add_blocked_by.is_empty() {
            return Err("nothing to change: give a status, or ids in addBlockedBy.".into());
        }
        let _lock = self.lock()?;
        let mut folder = self.load()?;
        for blocker in add_blocked_by {
            folder.find(blocker)?;
            folder.find(id)?.blocked_by.insert(blocker);
        }
        folder.refuse_circle(id)?;
        let task = folder.find(id)?;
        let waiting = task.blocks.clone();
        task.status = status.unwrap_or(task.status);
        folder.link();
        let task = folder.find(id)?;
        if task.status != Status::Pending && !task.blocked_by.is_empty() {
            return Err(format!("task {id} is blocked by {} and can only be pending, so nothing was changed. Complete what blocks it first.", join(&task.blocked_by)).into());
        }
        self.save(&folder, id)?;
        let free = |task: &&Task| waiting.contains(&task.id) && task.blocked_by.is_empty();
        let free: Ids = folder
            .tasks
            .values()
            .filter(free)
            .map(|task| task.id)
            .collect();
        let line = folder.find(id)?.to_string();
        Ok(if free.is_empty() {
            line
        } else {
            format!("{line}\nNo longer blocked: {}", join(&free))
        })
    }

    fn list(&self) -> ToolOutcome {
        let folder = self.load()?;
        let tasks = folder.tasks.values().map(Task::to_string);
        let lines: Vec<String> = tasks.chain(folder.broken.into_values()).collect();
        Ok(if lines.is_empty() {
            "No tasks.".to_string()
        } else {
            lines.join("\n")
        })
    }

    fn get(&self, Get { id }: Get) -> ToolOutcome {
        Ok(serde_json::to_string_pretty(self.load()?.find(id)?).unwrap_or_default())
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("task_{id}.json"))
    }

    fn failed(&self, what: &str, error: &io::Error) -> ToolError {
        format!(
            "the task folder {} cannot be {what}: {}.",
            self.dir.display(),
            explain(error)
        )
        .into()
    }

    /// Waits for others to finish their change; the lock is gone when the file is dropped.
    fn lock(&self) -> Result<File, ToolError> {
        let folder = fs::create_dir_all(&self.dir).and_then(|()| File::open(&self.dir));
        let folder = folder.map_err(|error| self.failed("used", &error))?;
        let _ = folder.lock(); // Where there are no locks, go on without.
        Ok(folder)
    }

    fn load(&self) -> Result<Folder, ToolError> {
        let mut folder = Folder::default();
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(folder),
            entries => entries.map_err(|error| self.failed("read", &error))?,
        };
        for entry in entries {
            let name = entry
                .map_err(|error| self.failed("read", &error))?
                .file_name();
            let Some(id) = name.to_str().and_then(task_id) else {
                continue;
            };
            match self.read(id) {
                Ok(task) => {
                    folder.saved.insert(id, task);
                }
                Err(why) => {
                    let why = format!("task_{id}.json cannot be read: {why}. Mend or delete it.");
                    folder.broken.insert(id, why);
                }
            }
        }
        folder.tasks = folder.saved.clone();
        folder.link();
        Ok(folder)
    }

    fn read(&self, id: u64) -> Result<Task, String> {
        let (text, _) = read_text(&self.path(id), EDIT_LIMIT).map_err(|error| error.to_string())?;
        let task: Task = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if task.id == id {
            Ok(task)
        } else {
            Err(format!("it says that it is task {}", task.id))
        }
    }

    /// Writes what changed, this task first: of the others only `blocks` and dead blockers change,
    /// so that the next change makes up for one that fails.
    fn save(&self, folder: &Folder, id: u64) -> Result<(), ToolError> {
        let text = |task: &Task| serde_json::to_string_pretty(task).unwrap_or_default();
        let write = |task: &Task| replace(&self.path(task.id), &text(task));
        write(&folder.tasks[&id]).map_err(|error| self.failed("changed", &error))?;
        let changed = |task: &&Task| task.id != id && folder.saved.get(&task.id) != Some(task);
        folder
            .tasks
            .values()
            .filter(changed)
            .for_each(|task| drop(write(task)));
        Ok(())
    }
}

/// What the folder holds.
#[derive(Default)]
struct Folder {
    tasks: BTreeMap<u64, Task>,
    /// The tasks as they are in the files.
    saved: BTreeMap<u64, Task>,
    /// A sentence for every file that is no task.
    broken: BTreeMap<u64, String>,
}

impl Folder {
    fn find(&mut self, id: u64) -> Result<&mut Task, ToolError> {
        let known = join(self.tasks.keys());
        let unknown = || format!("there is no task {id}. The tasks are: {known}.");
        let why = self.broken.get(&id).cloned().unwrap_or_else(unknown);
        self.tasks.get_mut(&id).ok_or(ToolError(why))
    }

    /// Forgets blockers that are completed or deleted, then derives `blocks` from `blocked_by`.
    fn link(&mut self) {
        let open = self
            .tasks
            .values()
            .filter(|task| task.status != Status::Completed)
            .map(|task| task.id);
        let open: Ids = open.chain(self.broken.keys().copied()).collect();
        let mut blocks: BTreeMap<u64, Ids> = BTreeMap::new();
        for task in self.tasks.values_mut() {
            task.blocked_by.retain(|id| open.contains(id));
            for blocker in &task.blocked_by {
                blocks.entry(*blocker).or_default().insert(task.id);
            }
        }
        for task in self.tasks.values_mut() {
            task.blocks = blocks.remove(&task.id).unwrap_or_default();
        }
    }

    /// Refuses a task that would wait for itself, directly or through others.
    fn refuse_circle(&self, id: u64) -> Result<(), ToolError> {
        let (mut seen, mut next) = (Ids::new(), vec![id]);
        while let Some(waiting) = next.pop() {
            let Some(task) = self.tasks.get(&waiting) else {
                continue;
            };
            if task.blocked_by.contains(&id) {
                let known = join(self.tasks.keys());
                return Err(format!("task {id} would wait for itself, as task {waiting} waits for it; nothing was changed. The tasks are: {known}.").into());
            }
            next.extend(task.blocked_by.iter().filter(|id| seen.insert(**id)));
        }
        Ok(())
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.mark(), self.id, self.subject)?;
        let blocked = !self.blocked_by.is_empty();
        if blocked {
            write!(f, " (blocked by {})", join(&self.blocked_by))
        } else {
            Ok(())
        }
    }
}

/// The N in `task_N.json`.
fn task_id(name: &str) -> Option<u64> {
    let id = name
        .strip_prefix("task_")?
        .strip_suffix(".json")?
        .parse()
        .ok()?;
    (name == format!("task_{id}.json")).then_some(id) // Not ours: task_007.json
}

/// `1, 2, 3`
fn join<'a>(ids: impl IntoIterator<Item = &'a u64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(u64::to_string).collect();
    if ids.is_empty() {
        "none".to_string()
    } else {
        ids.join(", ")
    }
}
