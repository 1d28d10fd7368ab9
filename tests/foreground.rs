//! What runs in the foreground may stop being waited for at any moment. Whatever happens then:
//! each call is answered once, each outcome is told once, and whoever waits is woken.

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, never, select, unbounded};
use serde_json::{Value, json};

use meanwhile::agent::{Agent, TurnError};
use meanwhile::background::{BackgroundExecutor, Status, lock};
use meanwhile::background_agent;
use meanwhile::delivery;
use meanwhile::event::{Event, Events};
use meanwhile::foreground::{Foreground, MoveKey};
use meanwhile::message::{ContentBlock, Message, Reply, Role, StopReason, Usage, push_user};
use meanwhile::model::{Model, ModelError, Progress, Request};
use meanwhile::notification::NotificationBus;
use meanwhile::outcome::{Outcome, is_caught};
use meanwhile::permission::{Answer, Gate};
use meanwhile::process;
use meanwhile::subagent::Definitions;
use meanwhile::todo::TodoList;
use meanwhile::tool::{Access, Context, Tool, Toolbox};
use meanwhile::tools::background::{self, Results};
use support::program::program;
use support::server::body_faults;

/// Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

type Shared = Arc<Mutex<BackgroundExecutor>>;

/// These tests have a `main` that becomes no supervisor; and what is caught need not be printed.
fn executor() -> Shared {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        process::supervise_with(program("s01_agent_loop"));
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !is_caught() {
                print(panic);
            }
        }));
    });
    BackgroundExecutor::shared(NotificationBus::default(), 3)
}

/// A model that is a function.
struct By<F>(F);

impl<F: Fn(&Request<'_>) -> Result<Reply, ModelError> + Send + Sync> Model for By<F> {
    fn reply(
        &self,
        request: &Request<'_>,
        _: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Reply, ModelError> {
        (self.0)(request)
    }

    fn describe(&self) -> String {
        "a function".to_string()
    }
}

fn says(content: Vec<ContentBlock>) -> Reply {
    Reply {
        content,
        stop_reason: StopReason::EndTurn,
        usage: Usage::default(),
    }
}

fn calls(id: impl Into<String>, name: &str, input: Value) -> ContentBlock {
    ContentBlock::ToolUse {
        id: id.into(),
        name: name.to_string(),
        input,
    }
}

/// The main agent of s11.
fn agent(
    model: impl Model + 'static,
    gate: Gate,
    executor: &Shared,
    key: &MoveKey,
    context: &Context,
) -> Agent {
    let touch = Tool::new(
        "touch",
        "Needs consent",
        json!({ "type": "object" }),
        Access::Ask,
        |_: Value, _| Ok("touched".to_string()),
    );
    let mut agent = Agent::new(
        Arc::new(model),
        "main",
        Toolbox::new([touch]),
        context.clone(),
    );
    agent.gate = gate;
    agent
        .toolbox
        .add(background::tools(executor, Results::Delivered));
    agent.toolbox.add([background::stop_tool(executor)]);
    agent.toolbox.add(background_agent::tools(
        &agent,
        &Definitions::default(),
        executor,
        &TodoList::shared(),
    ));
    let foreground = Foreground::new(executor, key.clone(), context.clone());
    agent
        .toolbox
        .add(foreground.tools(&agent, &Definitions::default()));
    agent
}

/// A turn as the lessons have it.
fn turn(agent: &Agent, executor: &Shared, messages: &mut Vec<Message>) -> Result<(), TurnError> {
    loop {
        delivery::deliver(executor, &agent.context.events, messages);
        let reply = agent.ask(messages)?;
        if reply.tool_calls().is_empty() {
            return Ok(());
        }
        agent.run_tools(reply, messages);
    }
}

// Sessions at random.

/// xorshift: enough to be different each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// How a job is told to end.
enum End {
    Well,
    Badly,
    WithPanic,
}

/// What happens around a session, and what is known of it.
struct World {
    executor: Shared,
    key: MoveKey,
    context: OnceLock<Context>,
    with_commands: bool,
    known: Mutex<Known>,
}

struct Known {
    chance: Chance,
    /// Jobs that wait, and what opens their gates.
    waiting: Vec<Sender<End>>,
    names: usize,
    calls: usize,
    /// What must stand in the one place where an outcome is told.
    marks: HashMap<String, String>,
    /// Tasks that have a question open.
    asking: HashSet<String>,
    /// Tasks that are in the background, as far as events tell: true once they have ended.
    told: HashMap<String, bool>,
    /// Ctrl+B came while a question was open.
    held_back: usize,
    wrong: Vec<String>,
}

const LINES: usize = 5;
const NAMES: usize = 8;
const LEAVES_A_CHILD: &str = "sleep 600 & echo started";
const COMMANDS: [&str; 6] = [
    "true",
    "echo out; exit 3",
    "sleep 600",
    LEAVES_A_CHILD,
    LEAVES_A_CHILD,
    LEAVES_A_CHILD,
];

impl World {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment at which anything may happen outside. Waits for nothing.
    fn moment(&self) {
        while self.known().chance.one_in(4) {
            self.something();
        }
    }

    fn something(&self) {
        let what = self.known().chance.below(24);
        match what {
            0..=5 => {
                let mut known = self.known();
                if !known.waiting.is_empty() {
                    let count = known.waiting.len();
                    let which = known.chance.below(count);
                    let gate = known.waiting.swap_remove(which);
                    let end = match known.chance.below(6) {
                        0 => End::Badly,
                        1 => End::WithPanic,
                        _ => End::Well,
                    };
                    drop(known);
                    let _ = gate.send(end); // it may have been stopped
                }
            }
            6..=11 => drop(self.key.press()),
            // What /tasks does: it looks at all of them.
            12..=20 => {
                let mut executor = lock(&self.executor);
                for id in executor.ids() {
                    executor.check(&id.to_string()).expect("a task");
                    executor.details(&id.to_string()).expect("a task");
                }
                executor.running();
            }
            21 => {
                if let Some(context) = self.context.get() {
                    context.interrupt.trigger();
                }
            }
            _ => {
                let mut executor = lock(&self.executor);
                if let Some(id) = executor.running().last() {
                    executor.stop(&id.to_string()).expect("a task");
                }
            }
        }
    }

    /// Goes on as long as the session: rough in some of them, mild in others.
    fn weather(&self, over: &Receiver<()>) {
        let mild = if self.with_commands {
            [100, 1_000, 10_000]
        } else {
            [1, 50, 500]
        };
        let mild = mild[self.known().chance.below(3)];
        let mut pause = Duration::ZERO;
        while over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            self.something();
            pause = Duration::from_micros(self.known().chance.below(mild) as u64);
        }
    }

    /// What the models answer.
    fn answer(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        self.moment();
        if request.system == "main" {
            self.answer_main(request)
        } else {
            self.answer_worker(request)
        }
    }

    fn answer_main(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let faults = faults(request.messages);
        assert!(faults.is_empty(), "{faults:?}");
        let mut known = self.known();
        let mut content = vec![ContentBlock::text("said")];
        for _ in 0..known.chance.below(4) {
            let any = |known: &mut Known| format!("job {}", known.chance.below(NAMES));
            let job = |name: String, wait: bool| json!({ "description": name, "prompt": name, "wait": wait });
            let (name, input) = match known.chance.below(12) {
                0..=6 if known.names < NAMES => {
                    known.names += 1;
                    let wait = !known.chance.one_in(4);
                    ("task", job(format!("job {}", known.names - 1), wait))
                }
                0..=3 if self.with_commands => {
                    let command = COMMANDS[known.chance.below(COMMANDS.len())];
                    let limit = known.chance.one_in(4).then_some(0);
                    (
                        "bash",
                        json!({ "command": command, "timeout_seconds": limit }),
                    )
                }
                4 => ("task", job(any(&mut known), true)), // the name may be taken
                5 | 6 => ("check_bg", json!({})),
                7 => ("stop_bg", json!({ "id": any(&mut known) })),
                8 => ("touch", json!({})),
                9 => ("nothing_like_it", json!({})),
                _ => continue,
            };
            known.calls += 1;
            content.push(calls(format!("t{}", known.calls), name, input));
        }
        Ok(says(content))
    }

    /// A job: it wants something that needs consent, then waits at a gate.
    fn answer_worker(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let name = request.messages[0].content[0]
            .as_text()
            .expect("a prompt")
            .to_string();
        let mut known = self.known();
        if request.messages.len() == 1 && !known.chance.one_in(4) {
            let text = ContentBlock::text(format!("{name} has begun"));
            return Ok(says(vec![text, calls("w1", "touch", json!({}))]));
        }
        let (gate, opened) = unbounded();
        known.waiting.push(gate);
        let heeds = known.chance.one_in(2);
        drop(known);
        let interrupted = if heeds {
            request.interrupt.receiver()
        } else {
            never()
        };
        let end = select! {
            recv(opened) -> end => end.unwrap_or(End::Well),
            recv(interrupted) -> _ => return Err(ModelError::Interrupted),
        };
        let mark = match end {
            End::Well => format!("{name} is done"),
            End::Badly => format!("{name} has no network"),
            End::WithPanic => format!("{name} broke down"),
        };
        self.known().marks.insert(name, mark.clone());
        self.moment();
        match end {
            End::Well => Ok(says(vec![ContentBlock::text(mark)])),
            End::Badly => Err(ModelError::Connection(mark)),
            End::WithPanic => panic!("{mark}"),
        }
    }

    /// What the person answers. A task's thread has its name.
    fn ask(&self) -> Answer {
        let task = thread::current().name().unwrap_or_default().to_string();
        let mut known = self.known();
        if known.told.contains_key(&task) {
            known
                .wrong
                .push(format!("{task} asks, and nobody waits for it"));
        }
        known.asking.insert(task.clone());
        drop(known);
        (0..3).for_each(|_| self.moment());
        let mut known = self.known();
        known.asking.remove(&task);
        if known.chance.one_in(3) {
            Answer::No
        } else {
            Answer::Yes
        }
    }

    fn note(&self, event: &Event) {
        let mut known = self.known();
        match event {
            Event::TaskStarted { id, .. } => {
                if known.told.insert(id.clone(), false).is_some() {
                    known.wrong.push(format!("{id} starts twice"));
                }
                if known.asking.contains(id) {
                    known
                        .wrong
                        .push(format!("{id} was left alone with its question"));
                }
            }
            Event::TaskFinished { id, .. } => {
                let before = known.told.insert(id.clone(), true);
                if before != Some(false) {
                    known
                        .wrong
                        .push(format!("{id} ends without a start, or twice"));
                }
            }
            Event::Notice(text) if text.contains("Answer the question first") => {
                known.held_back += 1
            }
            _ => {}
        }
        drop(known);
        self.moment();
    }
}

/// What the Messages API would refuse in this conversation: a call without its one result, say.
fn faults(messages: &[Message]) -> Vec<String> {
    let body =
        json!({ "model": "m", "max_tokens": 1, "stream": true, "tools": [], "messages": messages });
    body_faults(&body, true)
}

/// How many calls ended in which way.
#[derive(Default, Debug)]
struct Ways {
    waited_for: usize,
    moved: usize,
    started: usize,
    left_running: usize,
    interrupted: usize,
    refused: usize,
    held_back: usize,
}

/// A whole session.
fn session(seed: u64, with_commands: bool) -> Ways {
    let known = Known {
        chance: Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
        waiting: Vec::new(),
        names: 0,
        calls: 0,
        marks: HashMap::new(),
        asking: HashSet::new(),
        told: HashMap::new(),
        held_back: 0,
        wrong: Vec::new(),
    };
    let world = Arc::new(World {
        executor: executor(),
        key: MoveKey::default(),
        context: OnceLock::new(),
        with_commands,
        known: Mutex::new(known),
    });
    let executor = world.executor.clone();
    let [around, answers, person] = [world.clone(), world.clone(), world.clone()];
    let events = Events::new(vec![Box::new(move |stamped| around.note(stamped.event))]);
    let context = Context {
        events,
        ..Context::default()
    };
    assert!(world.context.set(context.clone()).is_ok());
    let model = By(move |request: &Request<'_>| answers.answer(request));
    let gate = Gate::ask(move |_, _| person.ask());
    let agent = agent(model, gate, &executor, &world.key, &context);

    let mut messages = Vec::new();
    thread::scope(|scope| {
        let (_session, over) = unbounded(); // dropped at the end, also if something panics
        let around = &world;
        thread::Builder::new()
            .spawn_scoped(scope, move || around.weather(&over))
            .expect("a thread");
        let mut lines = 0;
        loop {
            // The prompt: news wakes it.
            context.interrupt.reset();
            let arrivals = lock(&executor).bus().arrivals();
            let all_ended = lock(&executor).running().is_empty();
            if lock(&executor).bus().has_news() {
                // It is delivered in the turn.
            } else if lines < LINES {
                lines += 1;
                push_user(&mut messages, format!("line {lines}"));
            } else if all_ended {
                break;
            } else {
                arrivals
                    .recv_timeout(PATIENCE)
                    .expect("the end of a task wakes the prompt");
                continue;
            }
            let _ = turn(&agent, &executor, &mut messages);
        }
    });
    judge(&world, &messages)
}

/// What the conversation says of each task.
fn judge(world: &World, messages: &[Message]) -> Ways {
    let faults = faults(messages);
    assert!(faults.is_empty(), "{faults:#?}");
    let known = world.known();
    assert!(known.wrong.is_empty(), "{:#?}", known.wrong);
    let blocks = || messages.iter().flat_map(|message| &message.content);
    let mut results: HashMap<&str, &str> = HashMap::new();
    for block in blocks() {
        if let ContentBlock::ToolResult {
            tool_use_id,
            content,
            ..
        } = block
        {
            results.insert(tool_use_id, content);
        }
    }
    let user = messages.iter().filter(|message| message.role == Role::User);
    let texts = user
        .flat_map(|message| &message.content)
        .filter_map(ContentBlock::as_text);
    // By task: the texts in which its outcome is told.
    let mut told: HashMap<String, Vec<&str>> = HashMap::new();
    let mut told_in = Vec::new();
    let mut delivered = HashSet::new();
    for text in texts {
        if let Some((id, _)) = text
            .strip_prefix("<task-notification task=\"")
            .and_then(|rest| rest.split_once('"'))
        {
            assert!(delivered.insert(id.to_string()), "{id} was delivered twice");
            told.entry(id.to_string()).or_default().push(text);
            told_in.push(text);
        }
    }
    let mut ways = Ways {
        held_back: known.held_back,
        ..Ways::default()
    };
    // In the order of the calls, as the executor named them.
    let ids: Vec<String> = lock(&world.executor)
        .ids()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut commands = ids.iter().filter(|id| id.starts_with("bash-"));
    for block in blocks() {
        let ContentBlock::ToolUse { id, name, input } = block else {
            continue;
        };
        let result = results[id.as_str()];
        let refused = [
            "ERROR: the id ",
            "ERROR: 3 background tasks run already",
            "ERROR: the user said no",
        ];
        if name != "task" && name != "bash" {
            continue;
        }
        told_in.push(result);
        if result.starts_with("ERROR: [interrupted] by the user before it ran") {
            ways.interrupted += 1;
            continue;
        }
        if refused.iter().any(|start| result.starts_with(start)) {
            ways.refused += 1;
            continue;
        }
        let task = match name.as_str() {
            "bash" => commands.next().expect("a task for each command").clone(),
            _ => input["description"].as_str().expect("a name").to_string(),
        };
        let way = if result.starts_with(&format!("{task}: [running] moved to the background")) {
            &mut ways.moved
        } else if result.starts_with(&format!("{task}: started in the background")) {
            &mut ways.started
        } else if result.contains(&format!("\n{task}: [shell exited] ")) {
            &mut ways.left_running
        } else {
            told.entry(task).or_default().push(result);
            &mut ways.waited_for
        };
        *way += 1;
    }
    assert_eq!(commands.next(), None, "a command that nobody called");
    assert_eq!(told.len(), ids.len(), "{told:#?}\n{ids:?}");
    for id in &ids {
        let told = told
            .get(id)
            .unwrap_or_else(|| panic!("the outcome of {id} is lost"));
        let [text] = told[..] else {
            panic!("{id} is told more than once: {told:#?}")
        };
        if let Some(mark) = known.marks.get(id) {
            assert!(text.contains(mark.as_str()), "{mark:?} is not in {text:?}");
            // A check may name an error, too; it takes nothing from the one place.
            let places = told_in.iter().filter(|text| text.contains(mark.as_str()));
            assert_eq!(places.count(), 1, "{mark:?} stands in several places");
        }
        // The events tell of those that are delivered, and only of those.
        assert_eq!(
            known.told.get(id),
            delivered.contains(id).then_some(&true),
            "the events about {id}"
        );
        let status = lock(&world.executor).check(id).expect("a task");
        assert!(matches!(status, Status::Ended { .. }), "{id} still runs");
    }
    ways
}

/// So many sessions, each with a watch over it.
fn sessions(count: u64, with_commands: bool) -> Ways {
    let mut all = Ways::default();
    for seed in 1..=count {
        let (tell, ended) = unbounded();
        let run = move || drop(tell.send(session(seed, with_commands)));
        let runs = thread::Builder::new()
            .name("main".into())
            .spawn(run)
            .expect("a thread");
        let its = ended.recv_timeout(2 * PATIENCE);
        let its =
            its.unwrap_or_else(|why| panic!("the session with seed {seed} went wrong: {why}"));
        runs.join().expect("it has ended");
        let add = |all: &mut usize, its| *all += its;
        add(&mut all.waited_for, its.waited_for);
        add(&mut all.moved, its.moved);
        add(&mut all.started, its.started);
        add(&mut all.left_running, its.left_running);
        add(&mut all.interrupted, its.interrupted);
        add(&mut all.refused, its.refused);
        add(&mut all.held_back, its.held_back);
    }
    println!("{all:?}");
    all
}

/// What waits for the end of a task is woken by it, whoever may have looked at the tasks meanwhile.
#[test]
fn a_look_takes_no_wake_up_away() {
    let executor = executor();
    let arrivals = lock(&executor).bus().arrivals();
    for number in 0..100 {
        let id = format!("job {number}");
        let outcome = Outcome::Finished {
            exit_code: 0,
            output: String::new(),
        };
        lock(&executor)
            .submit(&id, |_| outcome)
            .expect("a free place");
        // Another thread, whose look is the first to see the end.
        let looks = executor.clone();
        let look = thread::spawn(move || {
            while let Ok(Status::Running { .. }) = lock(&looks).check(&id) {
                thread::yield_now();
            }
        });
        look.join().expect("it has ended");
        arrivals.recv_timeout(PATIENCE).expect("the bell");
        assert_eq!(lock(&executor).deliver().len(), 1);
    }
}

/// Whoever is told of anything may look at the tasks: nothing holds them locked meanwhile.
#[test]
fn readers_may_look_at_the_tasks() {
    let (executor, key) = (executor(), MoveKey::default());
    let (tell, told) = unbounded();
    let (looks, presses) = (executor.clone(), key.clone());
    let reader = move |stamped: meanwhile::event::Stamped<'_>| {
        let is_free = looks.try_lock().is_ok();
        let (name, press) = match stamped.event {
            Event::Waiting { .. } => ("Waiting", true),
            Event::TaskStarted { .. } => ("TaskStarted", false),
            _ => return,
        };
        tell.send((name, is_free)).expect("the test is there");
        if press {
            presses.press();
        }
    };
    let events = Events::new(vec![Box::new(reader)]);
    let context = Context {
        events,
        ..Context::default()
    };
    let model = By(|_: &Request<'_>| panic!("nobody is to be asked"));
    let agent = agent(model, Gate::open(), &executor, &key, &context);
    let bash = agent.toolbox.get("bash").expect("bash");
    let result = bash
        .call(json!({ "command": "sleep 600" }), &context)
        .expect("it is moved");
    assert!(
        result.starts_with("bash-1: [running] moved to the background by the user; "),
        "{result}"
    );
    assert_eq!(
        told.try_iter().collect::<Vec<_>>(),
        [("Waiting", true), ("TaskStarted", true)]
    );
    lock(&executor).stop("bash-1").expect("a task");
    let arrivals = lock(&executor).bus().arrivals();
    while !lock(&executor).running().is_empty() {
        arrivals.recv_timeout(PATIENCE).expect("its end");
    }
}

#[test]
fn a_thousand_sessions_with_agents() {
    let Ways {
        waited_for,
        moved,
        started,
        interrupted,
        refused,
        held_back,
        ..
    } = sessions(1000, false);
    let seen = [waited_for, moved, started, interrupted, refused, held_back];
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn sessions_with_commands() {
    let Ways {
        waited_for,
        moved,
        left_running,
        ..
    } = sessions(200, true);
    let seen = [waited_for, moved, left_running];
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}
