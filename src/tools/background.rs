//! s08 · `bg_bash {id, command}` and `check_bg {id?}`: run a command and do not wait for it; ask
//! later how it stands.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::background::{Executor, Kind, Refusal, Task};
use crate::caught::lock;
use crate::notification::TaskId;
use crate::outcome::Outcome;
use crate::process::output::text_or;
use crate::process::{Handle, start, until_ended};
use crate::tool::{Access, Context, Tool};
use crate::tools::{Id, object};

#[derive(Deserialize)]
struct Start {
    id: String,
    command: String,
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        format!("{refusal}.")
    }
}

/// When a command belongs in the background, in two sentences for the model.
const WHEN: &str = "Use it for what is slow and not needed for your next step: research, analysis of \
    a large tree, documentation, audits, profiling, builds, tests, servers. Keep in the foreground \
    what needs the user's input, edits that the user wants to review, and whatever your next step \
    depends on: if B needs A's output, run A, then B.";

/// `bg_bash` and `check_bg`, over one executor.
pub fn tools(executor: &Executor) -> [Tool; 2] {
    let with_output = |line, outcome: &Outcome| format!("{line}\n{}", outcome.output);
    let advice = "Go on with other work; ask with check_bg when it should be done, then rarely.";
    [bg_bash(executor, advice), check_bg(executor, with_output)]
}

/// `bg_bash`. The advice says how the model gets to the result.
pub fn bg_bash(executor: &Executor, advice: &'static str) -> Tool {
    let executor = executor.clone();
    let about =
        format!("Start a shell command in the background and return at once. {WHEN} {advice}");
    let id = json!({ "type": "string", "description": "A short name of your choice that says what it is, such as build. It must not have been used before." });
    let command = json!({ "type": "string", "description": "Run by bash -c, without a terminal and without input." });
    let schema = object(json!({ "id": id, "command": command }), &["id", "command"]);
    let submit = move |Start { id, command }: Start, context: &Context| {
        let (id, handle) = (TaskId::new(&id)?, Arc::new(Handle::new(&command)));
        let task = Task::new(Kind::Command, &id, handle.clone(), &context.events);
        let folder = context.folder.clone();
        let job = move |_: &_| until_ended(&start(&handle, folder.path()));
        lock(&executor).submit(task, job)?;
        Ok(format!("{id}: started in the background. {advice}"))
    };
    Tool::new("bg_bash", about, schema, Access::Ask, submit)
}

/// `check_bg`. `ended` makes the answer for a task that has ended, from its line and its outcome.
pub fn check_bg(
    executor: &Executor,
    ended: impl Fn(String, &Outcome) -> String + Send + Sync + 'static,
) -> Tool {
    let executor = executor.clone();
    let about = "Ask how a background task stands: [running] (for how long, its last line of output so far), \
        [shell exited] (what it started still runs), finished, or ERROR. Without an id: all tasks, one line each.";
    let id = json!({ "type": "string", "description": "The task's name; leave it out for all." });
    let check = move |Id { id }: Id<Option<String>>, _: &Context| {
        let mut executor = lock(&executor);
        let Some(id) = id else {
            let lines = executor.all();
            let lines = lines.iter().map(|status| format!("{status}\n"));
            return Ok(text_or(&lines.collect::<String>(), "No background tasks."));
        };
        let status = executor.check(&TaskId::new(&id)?)?;
        let line = status.to_string();
        Ok(match &status.outcome {
            Some(outcome) => ended(line, outcome).trim_end().to_string(),
            None => line,
        })
    };
    let schema = object(json!({ "id": id }), &[]);
    Tool::new("check_bg", about, schema, Access::Free, check)
}
