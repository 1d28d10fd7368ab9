//! s15 · Pipelines: a plan on the board is carried out. Each board task is the work of one agent,
//! which starts when the last of its blockers is completed.
//!
//! A board task is owned by whoever holds the lock of its lease file. The kernel lets go of it when
//! that process ends, however it ends; so a task in progress whose lease is free can be had.

mod runner;

use std::fs::File;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::json;

use crate::agent::Agent;
use crate::background::{Executor, Kind, Task};
use crate::background_agent;
use crate::caught::lock;
use crate::held::Held;
use crate::interrupt::Interrupt;
use crate::notification::TaskId;
use crate::subagent::Definitions;
use crate::task_board::{self, BoardTask, Ids, TaskBoard, find, link};
use crate::todo::Stage;
use crate::tool::{Access, Context, Tool};
use crate::tools::object;
use runner::Runner;

/// How often an agent is set to a board task before somebody has to look.
const ATTEMPTS: u64 = 3;
/// The plan belongs to the agent that dispatches it.
const WITHHELD: [&str; 2] = ["task_create", "task_update"];

/// What the file of a board task says of its run, in fields that the board itself does not know.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Run {
    agent: Option<String>,
    worktree: bool,
    /// How often it was begun.
    attempts: u64,
    result: String,
}

impl Run {
    fn of(task: &BoardTask) -> Result<Self, String> {
        let run = serde_json::from_value(task.other.clone().into());
        run.map_err(|misfit| format!("{misfit}: `agent` is a name, `worktree` true or false."))
    }
}

#[derive(Deserialize)]
struct Dispatch {
    name: String,
    tasks: Option<Ids>,
}

/// `task_create`, which now takes `agent` and `worktree`, and `dispatch`. Its agents are sub-agents
/// of this agent, as it is now.
pub fn tools(
    agent: &Agent,
    definitions: &Definitions,
    executor: &Executor,
    board: TaskBoard,
) -> [Tool; 2] {
    let mut general = agent.clone();
    let tools = &mut general.toolbox.tools;
    tools.retain(|tool| !WITHHELD.contains(&tool.name.as_ref()));
    let delegation = Arc::new(background_agent::delegation(&general, definitions));
    let [mut old, ..] = task_board::tools(board.clone());
    let schema = &mut old.input_schema["properties"];
    schema["agent"] = json!({ "type": "string", "description": "Who does it in a pipeline: the name of an agent" });
    schema["worktree"] = json!({ "type": "boolean", "description": "In a pipeline, work in a git worktree of its own" });
    let (plans, agents) = (board.clone(), delegation.clone());
    let create = move |task: BoardTask, context: &Context| {
        agents.worker(Run::of(&task)?.agent.as_deref(), context)?;
        plans.create(task, &context.interrupt)
    };
    let (about, schema) = (old.description, old.input_schema);
    let create = Tool::new(old.name, about, schema, old.access, create);
    let id = json!({ "type": "integer", "minimum": 1 });
    let properties = json!({
        "name": { "type": "string", "description": "A short name of your choice. It must not have been used before." },
        "tasks": { "type": "array", "items": id, "description": "only these board tasks; without it: all" },
    });
    let about = format!(
        "Starts a pipeline in the background and returns at once: it carries out the tasks of the board. Each is done by a \
         sub-agent, which sees its subject and description and the results of what blocked it. It starts when the last of these is \
         completed. Do not work on these tasks yourself, and leave their status alone. The result comes by itself, with a line for \
         each task; task_get shows all of it. What failed is tried again when you dispatch again, {ATTEMPTS} times in all. {}",
        delegation.listing()
    );
    let (executor, schema) = (executor.clone(), object(properties, &["name"]));
    let dispatch = move |Dispatch { name, tasks }: Dispatch, context: &Context| {
        let (id, mut its) = (TaskId::new(&name)?, context.clone());
        its.interrupt = Interrupt::default(); // Ctrl+C is for a turn, and not for this
        let mut runner = Runner {
            name: id.clone(),
            board: board.clone(),
            delegation: delegation.clone(),
            context: its,
            tasks,
            done: Ids::new(),
            begun: Mutex::default(),
        };
        let mut entries = board.load()?;
        for id in runner.tasks.iter().flatten() {
            find(&mut entries, *id)?;
        }
        let open = runner.open(&entries);
        if open.is_empty() {
            return Err("nothing is to be done: there are no such board tasks, or all are completed. task_create makes one.".to_string());
        }
        let completed = entries.into_keys().filter(|id| !open.contains(id));
        runner.done = completed.collect();
        let runner = Arc::new(runner);
        let kind = Kind::Other("pipeline");
        let task = Task::new(kind, &id, runner.clone(), &context.events);
        lock(&executor).submit(task, move |_| runner.run())?;
        Ok(format!(
            "{id}: started in the background. Go on with other work; the result will come by itself."
        ))
    };
    let dispatch = Tool::new("dispatch", about, schema, Access::Free, dispatch);
    [create, dispatch]
}

/// True if an agent may be set to it, as far as the board says. One that a person or a model has
/// begun is theirs.
pub(crate) fn is_free(task: &BoardTask) -> bool {
    let attempts = Run::of(task).unwrap_or_default().attempts;
    let can_begin = match task.status {
        Stage::Pending | Stage::Failed => true,
        Stage::InProgress => attempts > 0,
        Stage::Completed => false,
    };
    can_begin && task.blocked_by.is_empty() && attempts < ATTEMPTS
}

/// Becomes the owner of a board task, and stays it until the lease is dropped. `None` if it is not
/// to be had.
pub(crate) fn claim(
    board: &TaskBoard,
    id: u64,
    stop: &Interrupt,
) -> Result<Option<(Held, BoardTask)>, String> {
    let path = board.path(id).with_extension("lease");
    let lease = File::options().create(true).append(true).open(path);
    let Ok(lease) = Held::new(lease.map_err(board.failed("used"))?) else {
        return Ok(None);
    };
    // Somebody may have done it since the board was read.
    let claimed = change(board, id, stop, |task| {
        is_free(task).then(|| {
            task.status = Stage::InProgress;
            let attempts = Run::of(task).unwrap_or_default().attempts + 1;
            task.other.insert("attempts".into(), attempts.into());
            task.clone()
        })
    })?;
    Ok(claimed.map(|task| (lease, task)))
}

/// Changes one task while nobody else changes the board. What was blocked by it follows.
fn change<T>(
    board: &TaskBoard,
    id: u64,
    stop: &Interrupt,
    change: impl FnOnce(&mut BoardTask) -> T,
) -> Result<T, String> {
    let _lock = board.lock(stop)?;
    let mut entries = board.load()?;
    let changed = change(find(&mut entries, id)?);
    link(&mut entries);
    board.save(&entries, id)?;
    Ok(changed)
}
