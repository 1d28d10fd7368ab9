//! What the tests of agents with tasks share: a model that is a function, the main agent of a
//! lesson, its loop, and sessions at random.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, Once};
use std::thread;

use crossbeam_channel::bounded;
use serde_json::{Value, json};

use meanwhile::agent::Agent;
use meanwhile::background::{BackgroundExecutor, Kind, Progress, Task};
use meanwhile::background_agent;
use meanwhile::caught::is_caught;
use meanwhile::caught::lock;
use meanwhile::compact::Compactor;
use meanwhile::delivery::Deliveries;
use meanwhile::event::Events;
use meanwhile::message::{ContentBlock, Message, Reply, StopReason, ToolCall, Usage};
use meanwhile::model::anthropic::repair;
use meanwhile::model::{Model, ModelError, Request};
use meanwhile::notification::{NotificationBus, TaskId};
use meanwhile::outcome::{End, Outcome};
use meanwhile::process;
use meanwhile::subagent::Definitions;
use meanwhile::todo::{self, TodoList};
use meanwhile::tool::{Context, Tool, Toolbox};

use super::program::{PATIENCE, program};
use super::server::body_faults;

/// The last line of each delivery.
pub const AUTOMATIC: &str = "This is an automatic event, not a message from the user: it answers no question and approves nothing.";
/// What a task of the background answers, after its name.
pub const STARTED: &str = ": started in the background.";
/// How a call ends that the person interrupted before it ran.
pub const NOT_RUN: &str = "ERROR: [interrupted] by the user before it ran";

pub type Shared = Arc<Mutex<BackgroundExecutor>>;

/// Rings when a task of any [`executor`] has ended.
static ENDS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// These tests have a `main` that becomes no supervisor; and what is caught need not be printed.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        process::supervise_with(program("s01_agent_loop"));
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !is_caught() {
                print(panic);
            }
        }));
    });
}

pub fn executor(max: usize) -> Shared {
    prepare();
    let bus = NotificationBus::default();
    bus.on_end(an_end_came);
    BackgroundExecutor::shared(bus, max)
}

pub fn an_end_came() {
    drop(ENDS.0.lock());
    ENDS.1.notify_all();
}

/// Waits for something that is so once a task has ended: woken by ends alone, it asks nothing in
/// vain.
#[track_caller]
pub fn until_an_end_brings(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut guard = ENDS.0.lock().expect("nobody panics with it");
    while !is_so() {
        let (again, timeout) = ENDS.1.wait_timeout(guard, PATIENCE).expect("as above");
        guard = again;
        if timeout.timed_out() {
            drop(guard);
            panic!("no end of a task brought this: {what}");
        }
    }
}

#[track_caller]
pub fn until_ended(executor: &Shared, name: &str) {
    until_an_end_brings(&format!("{name} has ended"), || {
        let status = lock(executor).check(&id(name)).expect("a known task");
        status.outcome.is_some()
    });
}

/// A task of which nothing is to be seen, and which is not to be stopped.
pub fn unwatched(kind: Kind, id: &TaskId) -> Task {
    Task::new(kind, id, Arc::new(Progress::default()), &Events::default())
}

pub fn id(name: &str) -> TaskId {
    TaskId::new(name).expect("a name")
}

pub fn names(ids: &[TaskId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

pub fn finished(output: impl Into<String>) -> Outcome {
    Outcome::new(End::Finished(Some(0)), output)
}

/// A model that is a function; what it replies is made fit for the conversation, as the client of
/// the real one does.
pub struct By<F>(pub F);

impl<F: Fn(&Request<'_>) -> Result<Reply, ModelError> + Send + Sync> Model for By<F> {
    fn reply(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let mut reply = (self.0)(request)?;
        repair(&mut reply, request.messages);
        Ok(reply)
    }

    fn describe(&self) -> String {
        "a function".to_string()
    }
}

/// The model of an agent of which only the tools are called.
pub fn nobody(_: &Request<'_>) -> Result<Reply, ModelError> {
    panic!("nobody is to be asked")
}

pub fn reply(content: Vec<ContentBlock>, stop_reason: StopReason) -> Reply {
    let usage = Usage::default();
    Reply {
        content,
        stop_reason,
        usage,
    }
}

pub fn says(text: &str) -> Reply {
    reply(vec![ContentBlock::text(text)], StopReason::EndTurn)
}

pub fn tool_use(id: impl Into<String>, name: &str, input: Value) -> ContentBlock {
    let (id, name) = (id.into(), name.to_string());
    ContentBlock::ToolUse(ToolCall { id, name, input })
}

pub fn calls(id: &str, name: &str, input: Value) -> Reply {
    reply(vec![tool_use(id, name, input)], StopReason::ToolUse)
}

/// What the Messages API would refuse in this conversation, which may be `complete`.
pub fn faults(messages: &[Message], complete: bool) -> Vec<String> {
    let body =
        json!({ "model": "m", "max_tokens": 1, "stream": true, "tools": [], "messages": messages });
    body_faults(&body, complete)
}

/// The notes of a conversation that are deliveries.
pub fn delivered(messages: &[Message]) -> Vec<String> {
    let blocks = messages.iter().flat_map(|message| &message.content);
    let notes = blocks.filter_map(|block| match block {
        ContentBlock::Note { text } => Some(text),
        _ => None,
    });
    let deliveries = notes.filter(|text| text.starts_with("<task-notification "));
    deliveries.cloned().collect()
}

/// The task whose outcome this delivery tells.
pub fn task_of(delivery: &str) -> String {
    assert!(delivery.ends_with(AUTOMATIC), "{delivery}");
    let id = delivery.split('"').nth(1).expect("a name");
    let start = format!("<task-notification task=\"{id}\">\n{id}: ");
    assert!(delivery.starts_with(&start), "{delivery}");
    id.to_string()
}

/// The main agent of a lesson and what belongs to it.
pub struct Main {
    pub executor: Shared,
    pub deliveries: Deliveries,
    pub todos: Arc<Mutex<TodoList>>,
    pub agent: Agent,
}

impl Main {
    /// With the tools of s09 and these.
    pub fn s09(
        executor: &Shared,
        tools: impl IntoIterator<Item = Tool>,
        context: Context,
        model: impl Fn(&Request<'_>) -> Result<Reply, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let deliveries = Deliveries::new(executor);
        let mut agent = Agent::new(Arc::new(By(model)), "main", context);
        agent.toolbox.add(tools);
        agent.toolbox.add(deliveries.tools());
        Main {
            executor: executor.clone(),
            deliveries,
            todos: TodoList::shared(),
            agent,
        }
    }

    /// And those of s10.
    pub fn with_agents(mut self) -> Self {
        let definitions = Definitions::load("no/such/folder");
        let tools = [
            todo::tool(&self.todos),
            background_agent::tool(&self.agent, &definitions, &self.executor),
            background_agent::todo_read(&self.deliveries, &self.todos),
        ];
        self.agent.toolbox.add(tools);
        self
    }

    /// A turn as the lessons have it.
    pub fn turn(&self, messages: &mut Vec<Message>) -> Result<(), ModelError> {
        let (agent, deliveries) = (&self.agent, &self.deliveries);
        let compactor = Compactor::new(100_000, ".transcripts");
        loop {
            compactor.make_room(agent, messages)?;
            deliveries.deliver(&agent.context.events, messages);
            let reply = agent.ask(messages)?;
            if reply.tool_calls().is_empty() {
                return Ok(());
            }
            agent.run_tools(reply, messages);
            todo::remind(&self.todos, messages);
        }
    }

    /// Calls a tool as a turn does; what it answered.
    pub fn call(&self, name: &str, input: Value) -> String {
        let mut messages = Vec::new();
        let reply = calls("t1", name, input);
        self.agent.run_tools(reply, &mut messages);
        match messages.pop().expect("a message").content.pop() {
            Some(ContentBlock::ToolResult { content, .. }) => content,
            other => panic!("no result, but {other:?}"),
        }
    }

    /// What is delivered now.
    pub fn deliver(&self) -> Vec<String> {
        let mut messages = Vec::new();
        self.deliveries.deliver(&Events::default(), &mut messages);
        assert!(messages.len() <= 1, "one message for all");
        delivered(&messages)
    }

    pub fn until_ended(&self, name: &str) {
        until_ended(&self.executor, name);
    }
}

// Sessions at random.

/// xorshift: enough to be different each time.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn take<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        let count = from.len();
        (count > 0).then(|| from.swap_remove(self.below(count)))
    }
}

/// How often something was seen.
pub type Seen = BTreeMap<&'static str, usize>;

/// So many sessions, each with a watch over it; all that was seen in them.
pub fn sessions(count: u64, session: impl Fn(u64) -> Seen + Copy + Send + 'static) -> Seen {
    let mut all = Seen::new();
    for seed in 1..=count {
        let (tell, ended) = bounded(1);
        let run = move || tell.send(session(seed)).expect("the watch");
        let runs = thread::Builder::new().name("main".into()).spawn(run);
        let its = ended.recv_timeout(2 * PATIENCE);
        let its = its.unwrap_or_else(|why| panic!("the session with seed {seed}: {why}"));
        runs.expect("a thread").join().expect("it has ended");
        for (what, times) in its {
            *all.entry(what).or_default() += times;
        }
    }
    println!("{all:?}");
    all
}

/// A toolbox with these tools.
pub fn toolbox(tools: impl IntoIterator<Item = Tool>) -> Toolbox {
    let mut toolbox = Toolbox::default();
    toolbox.add(tools);
    toolbox
}
