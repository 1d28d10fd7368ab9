//! s07 · The folder of the task board: locked, read and written as a whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use super::{BoardTask, Entries, Entry, TaskBoard, link};
use crate::held::Held;
use crate::interrupt::Interrupt;
use crate::tools::files::{EDIT_LIMIT, failed, make_own_folder, read_text, replace};

/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(5);
const LATER: &str = "somebody else is changing the tasks, so nothing was changed. Try again later.";

impl TaskBoard {
    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("task_{id}.json"))
    }

    pub(crate) fn failed(&self, what: &str) -> impl Fn(io::Error) -> String {
        let folder = format!("the task folder {}", self.dir.display());
        move |error| failed(what, &folder)(error)
    }

    /// Waits a while for others to finish their change; where there are no locks, goes on without.
    pub(crate) fn lock(&self, stop: &Interrupt) -> Result<Held, String> {
        let folder = make_own_folder(&self.dir).and_then(|()| File::open(&self.dir));
        let folder = folder.map_err(self.failed("used"))?;
        Held::wait(folder, PATIENCE, stop).map_err(|_| LATER.to_string())
    }

    pub(crate) fn load(&self) -> Result<Entries, String> {
        let mut entries = Entries::new();
        let files = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(entries),
            files => files.map_err(self.failed("read"))?,
        };
        for file in files {
            let name = file.map_err(self.failed("read"))?.file_name();
            if let Some(id) = name.to_str().and_then(task_id) {
                entries.insert(id, self.read(id));
            }
        }
        link(&mut entries);
        Ok(entries)
    }

    pub(crate) fn read(&self, id: u64) -> Entry {
        let task = read_text(&self.path(id), EDIT_LIMIT)
            .and_then(|(text, _)| Ok(serde_json::from_str::<BoardTask>(&text)?));
        let why = match task {
            Ok(task) if task.id == id => return Ok(task),
            Ok(task) => format!("it says that it is task {}", task.id),
            Err(error) => error.to_string(),
        };
        Err(format!(
            "task_{id}.json cannot be read: {why}. Mend or delete it."
        ))
    }

    /// Saves a new task whole or not at all: written beside, then linked, which replaces nothing.
    pub(super) fn save_new(&self, task: &BoardTask) -> Result<(), String> {
        let path = self.path(task.id);
        let beside = path.with_extension(format!("{}.new", process::id()));
        let text = serde_json::to_string_pretty(task).unwrap_or_default();
        let saved = replace(&beside, &text).and_then(|()| fs::hard_link(&beside, path));
        let _ = fs::remove_file(&beside);
        saved.map_err(self.failed("changed"))
    }

    /// Writes what changed, this task first: of the others only `blocks` and dead blockers change,
    /// so that the next change makes up for one that fails.
    pub(crate) fn save(&self, entries: &Entries, id: u64) -> Result<(), String> {
        let mut tasks: Vec<&BoardTask> = entries.values().flatten().collect();
        tasks.sort_by_key(|task| task.id != id);
        for task in tasks {
            if self.read(task.id).as_ref() != Ok(task) {
                let text = serde_json::to_string_pretty(task).unwrap_or_default();
                let written = replace(&self.path(task.id), &text);
                if task.id == id {
                    written.map_err(self.failed("changed"))?;
                }
            }
        }
        Ok(())
    }
}

/// The N in `task_N.json`.
fn task_id(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("task_")?.strip_suffix(".json")?;
    let id: u64 = digits.parse().ok()?;
    (digits == id.to_string()).then_some(id) // Not ours: task_007.json
}
