//! The foreground: a task that the main thread waits for.
//!
//! Every command and every sub-agent runs on a thread of its own, as in s08 and s10. To run one in
//! the foreground is to wait for it, and one can stop waiting: when the person presses Ctrl+B, when
//! the time limit passes, when a shell exits and leaves others running. The work does not notice.
//! From then on it is a background task like any other, and its result is delivered.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, never, select, tick, unbounded};
use serde::Deserialize;
use serde_json::json;

use crate::agent::Agent;
use crate::attendance::{Attendance, Stays};
use crate::background::{BackgroundExecutor, COMMAND, Label, Status, lock};
use crate::background_agent::{self, Input};
use crate::event::Event;
use crate::message::{Message, push_user};
use crate::notification::TaskId;
use crate::outcome::Outcome;
use crate::process;
use crate::subagent::{Definitions, Delegation};
use crate::todo::Priority;
use crate::tool::{Access, Context, Tool, ToolOutcome};
use crate::tools::{bash, object};

/// A command that takes longer goes on in the background.
const TIME_LIMIT: u64 = 120;
/// How often is shown how it stands.
const LOOK: Duration = Duration::from_millis(200);

/// Ctrl+B, as far as there is something to be sent to the background.
#[derive(Clone, Default)]
pub struct MoveKey(Arc<Mutex<Option<Sender<()>>>>);

impl MoveKey {
    /// The key was pressed. False if nothing runs in the foreground.
    pub fn press(&self) -> bool {
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listener
            .as_ref()
            .is_some_and(|listener| listener.send(()).is_ok())
    }

    /// For one wait: it ends with the receiver.
    fn listen(&self) -> Receiver<()> {
        let (pressed, key) = unbounded();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pressed);
        key
    }
}

/// Runs tasks and waits for them, on the main thread.
#[derive(Clone)]
pub struct Foreground {
    executor: Arc<Mutex<BackgroundExecutor>>,
    key: MoveKey,
    context: Context,
    count: Arc<AtomicUsize>,
}

/// How waiting ended.
enum Waited {
    /// The work has ended; its outcome is not delivered any more.
    Ended(Outcome),
    /// It goes on in the background: why.
    Moved(String),
    /// The shell has exited, and so many processes go on in the background; the outcome so far.
    LeftRunning(Outcome, usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    command: String,
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delegated {
    description: String,
    prompt: String,
    #[serde(default)]
    priority: Priority,
    agent: Option<String>,
    #[serde(default)]
    wait: bool,
}

impl Foreground {
    /// Over the executor of the background tasks. `key` moves what runs in the foreground.
    pub fn new(executor: &Arc<Mutex<BackgroundExecutor>>, key: MoveKey, context: Context) -> Self {
        Foreground {
            executor: executor.clone(),
            key,
            context,
            count: Arc::default(),
        }
    }

    /// `bash`, which can be sent to the background, and `task`, which can be waited for. They take
    /// the place of those that the agent has; its sub-agents keep theirs.
    pub fn tools(&self, agent: &Agent, definitions: &Definitions) -> [Tool; 2] {
        let command = json!({ "type": "string", "description": "Run by bash -c, without a terminal and without input." });
        let timeout =
            json!({ "type": "integer", "minimum": 0, "description": "How long to wait for it" });
        let schema = object(
            json!({ "command": command, "timeout_seconds": timeout }),
            &["command"],
        );
        let description = format!(
            "Run a shell command and wait until it has ended. Returns its output, standard error included. What takes longer \
             than timeout_seconds ({TIME_LIMIT} if not given) goes on in the background; its result comes by itself then."
        );
        let it = self.clone();
        let bash = Tool::new(
            "bash",
            description,
            schema,
            Access::Ask,
            move |input: Command, context| {
                it.run(
                    &input.command,
                    input.timeout_seconds.unwrap_or(TIME_LIMIT),
                    context,
                )
            },
        );

        let delegation = Delegation::new(agent, definitions);
        let mut properties = background_agent::properties();
        properties["wait"] = json!({ "type": "boolean", "description": "Wait for the result: it is returned then. The sub-agent can ask the user meanwhile." });
        let schema = object(properties, &["description", "prompt"]);
        let description = background_agent::description(&delegation);
        let it = self.clone();
        let task = Tool::new(
            "task",
            description,
            schema,
            Access::Free,
            move |input: Delegated, context| it.delegate(&delegation, input, context),
        );
        [bash, task]
    }

    /// `! COMMAND`: runs it without the model. What it prints joins the conversation, and is
    /// returned to be shown.
    pub fn run_line(&self, line: &str, messages: &mut Vec<Message>) -> String {
        let command = line.trim_start_matches('!').trim();
        if command.is_empty() {
            return "Nothing to run. `! ls` runs ls.".to_string();
        }
        let output = self
            .run(command, TIME_LIMIT, &self.context)
            .unwrap_or_else(|error| error.to_string());
        let quoted = output.replace("</user-command", "<\\/user-command");
        push_user(
            messages,
            format!("<user-command>\nThe user ran this: {command}\n{quoted}\n</user-command>"),
        );
        output
    }

    fn run(&self, command: &str, limit: u64, context: &Context) -> ToolOutcome {
        let label = Label {
            kind: COMMAND,
            rank: 1,
        };
        let (tell, exits) = unbounded();
        let (id, attendance) = {
            let mut executor = lock(&self.executor);
            let names = || format!("bash-{}", self.count.fetch_add(1, Relaxed) + 1);
            let Some(id) = std::iter::repeat_with(names).find(|id| !executor.is_taken(id)) else {
                return Err("no name is left".into());
            };
            let attendance = Attendance::new(&id, command, &context.events, true);
            let (command, attended) = (command.to_string(), attendance.clone());
            executor.submit_in_foreground(label, &id, move |control| {
                let exited = |so_far, left| drop(tell.send((so_far, left)));
                attended.during(|| {
                    process::run_telling(&command, |handle| control.attach(handle), exited)
                })
            })?;
            (id, attendance)
        };
        match self.wait(
            &id,
            &attendance,
            after(Duration::from_secs(limit)),
            exits,
            context,
        ) {
            Waited::Ended(outcome) => bash::answer(&outcome, 0, None),
            Waited::LeftRunning(outcome, left) => bash::answer(&outcome, left, Some(&id)),
            Waited::Moved(why) => {
                let details = lock(&self.executor).details(&id)?;
                let so_far = details
                    .split_once('\n')
                    .map_or("", |(_, output)| output.trim_end());
                let so_far = if so_far.is_empty() {
                    String::new()
                } else {
                    format!("\nOutput so far:\n{so_far}")
                };
                Ok(why + &so_far)
            }
        }
    }

    fn delegate(
        &self,
        delegation: &Delegation,
        input: Delegated,
        context: &Context,
    ) -> ToolOutcome {
        let Delegated {
            description,
            prompt,
            priority,
            agent,
            wait,
        } = input;
        let worker = delegation.worker(agent.as_deref())?;
        if !wait {
            let input = Input {
                description,
                prompt,
                priority,
                agent,
            };
            return background_agent::start(&self.executor, worker, input, &context.events);
        }
        let id = description.trim();
        let attendance = Attendance::new(id, &prompt, &context.events, true);
        let job = background_agent::job(worker, id, prompt, &context.events, attendance.clone());
        lock(&self.executor).submit_in_foreground(background_agent::label(priority), id, job)?;
        match self.wait(id, &attendance, never(), never(), context) {
            Waited::Ended(outcome) | Waited::LeftRunning(outcome, _) => {
                bash::answer(&outcome, 0, None)
            }
            Waited::Moved(why) => Ok(why),
        }
    }

    /// Waits for a task until it has ended, or better goes on without somebody who waits.
    fn wait(
        &self,
        id: &str,
        attendance: &Attendance,
        deadline: Receiver<Instant>,
        mut shell_exits: Receiver<(Outcome, usize)>,
        context: &Context,
    ) -> Waited {
        let Some(task_id) = TaskId::new(id) else {
            return Waited::Ended(Outcome::Lost);
        };
        let arrivals = lock(&self.executor).bus().arrivals();
        let key = self.key.listen();
        let mut interrupted = context.interrupt.receiver();
        let (look, mut what) = (tick(LOOK), attendance.what().to_string());
        loop {
            if let Some(outcome) = lock(&self.executor).claim(&task_id) {
                return Waited::Ended(outcome);
            }
            let next = select! {
                recv(arrivals) -> _ => continue,
                recv(key) -> _ => Waited::Moved(moved(id, " by the user")),
                recv(deadline) -> _ => Waited::Moved(moved(id, ", as it had not ended within its time limit")),
                recv(shell_exits) -> exit => {
                    shell_exits = never();
                    let Ok((so_far, left)) = exit else { continue };
                    Waited::LeftRunning(so_far, left)
                }
                recv(interrupted) -> _ => {
                    interrupted = never();
                    what.insert_str(0, "stopping ");
                    let _ = lock(&self.executor).stop(id);
                    continue;
                }
                recv(look) -> _ => {
                    self.show(id, &what, context);
                    continue;
                }
            };
            match attendance.leave() {
                Ok(()) => {
                    lock(&self.executor).to_background(&task_id);
                    return next;
                }
                Err(Stays::Over) => {} // its outcome is about to arrive
                Err(Stays::Asking) => context
                    .events
                    .notice("Answer the question first, then Ctrl+B."),
            }
        }
    }

    fn show(&self, id: &str, what: &str, context: &Context) {
        let status = lock(&self.executor).check(id); // not locked while the readers of events are told
        if let Ok(Status::Running { elapsed, progress }) = status {
            context.events.emit(Event::Waiting {
                what: what.to_string(),
                elapsed,
                progress,
            });
        }
    }
}

fn moved(id: &str, why: &str) -> String {
    format!(
        "{id}: [running] moved to the background{why}; you will get its result when it is done; the working directory is unchanged."
    )
}
