//! What runs in the foreground may stop being waited for at any moment. Whatever happens then:
//! each call is answered once, each outcome is told once, and whoever waits is woken.

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, never, select, unbounded};
use serde_json::{Value, json};

use meanwhile::background::{BackgroundExecutor, Kind};
use meanwhile::caught::lock;
use meanwhile::delivery::Deliveries;
use meanwhile::event::{Event, Events, Stamped};
use meanwhile::foreground::Foreground;
use meanwhile::message::{ContentBlock, Message, Reply, StopReason, ToolCall, push_user};
use meanwhile::model::{ModelError, Request};
use meanwhile::notification::NotificationBus;
use meanwhile::permission;
use meanwhile::repl::Beside;
use meanwhile::subagent::Definitions;
use meanwhile::tool::{Access, Context, Tool};
use meanwhile::tools::bash;
use support::program::{PATIENCE, eventually};
use support::session::*;

const MOVED: &str = ": [running] moved to the background";
const FOREGROUND: &str = "  in the foreground  ";

/// The main agent of s11, and its foreground.
fn s11(
    open: bool,
    context: Context,
    model: impl Fn(&Request<'_>) -> Result<Reply, ModelError> + Send + Sync + 'static,
) -> (Main, Foreground) {
    let schema = json!({ "type": "object" });
    let touched = |_: Value, _: &Context| Ok("touched".to_string());
    let touch = Tool::new("touch", "Needs consent", schema, Access::Ask, touched);
    let executor = executor(3);
    let foreground = Foreground::new(&executor, context.clone());
    let mut main = Main::s09(&executor, [bash::tool(), touch], context, model);
    main.agent.gate = permission::gate(open);
    let mut main = main.with_agents();
    let tools = foreground.tools(&main.agent, &Definitions::default());
    main.agent.toolbox.replace(tools);
    (main, foreground)
}

/// A context whose events go to this reader, once there is a foreground that it may act on.
fn watched(
    reader: impl Fn(&Foreground, &Event) + Send + Sync + 'static,
) -> (Context, Arc<OnceLock<Foreground>>) {
    let foreground = Arc::<OnceLock<Foreground>>::default();
    let its = foreground.clone();
    let read = move |stamped: Stamped<'_>| {
        if let Some(foreground) = its.get() {
            reader(foreground, stamped.event);
        }
    };
    let context = Context {
        events: Events::default().with(Box::new(read)),
        ..Context::default()
    };
    (context, foreground)
}

// Sessions at random.

/// How a job is told to end.
enum End {
    Well,
    Badly,
    WithPanic,
}

/// What happens around a session, and what is known of it.
struct World {
    /// Both are set once they are there.
    foreground: OnceLock<Foreground>,
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
    /// By prompt, which no two jobs share: what must stand in the one place where its outcome is
    /// told.
    marks: HashMap<String, String>,
    /// The prompt of the job that has a question open.
    asking: Option<String>,
    /// The prompts of jobs that were moved to the background, or started there.
    alone: HashSet<String>,
    /// Tasks that are in the background, as far as events tell: true once they have ended.
    told: HashMap<String, bool>,
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
        let (Some(foreground), Some(context)) = (self.foreground.get(), self.context.get()) else {
            return;
        };
        let what = self.known().chance.below(24);
        match what {
            0..=5 => {
                let mut known = self.known();
                let Known {
                    chance, waiting, ..
                } = &mut *known;
                if let Some(gate) = chance.take(waiting) {
                    let _ = gate.send(match chance.below(6) {
                        0 => End::Badly,
                        1 => End::WithPanic,
                        _ => End::Well,
                    }); // it may have been stopped
                }
            }
            6..=11 => drop(foreground.press()),
            12..=20 => {
                for id in listed(foreground) {
                    foreground.list(&id);
                }
            }
            21 => context.interrupt.trigger(),
            // Those that run stand first.
            _ => drop(foreground.stop(listed(foreground).first().map_or("", String::as_str))),
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
        if request.system.starts_with("main") {
            self.answer_main(request)
        } else {
            self.answer_worker(request)
        }
    }

    fn answer_main(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        assert_eq!(faults(request.messages, true), [""; 0]);
        let mut known = self.known();
        let mut content = vec![ContentBlock::text("said")];
        for _ in 0..known.chance.below(4) {
            let call = format!("t{}", known.calls);
            let any = |known: &mut Known| format!("job {}", known.chance.below(NAMES));
            let job = |name: String, wait: bool| json!({ "description": name, "prompt": format!("{name} of {call}"), "wait": wait });
            let (name, input) = match known.chance.below(12) {
                0..=6 if known.names < NAMES => {
                    known.names += 1;
                    let wait = !known.chance.one_in(4);
                    ("task", job(format!("job {}", known.names - 1), wait))
                }
                0..=3 if self.with_commands => {
                    let command = COMMANDS[known.chance.below(COMMANDS.len())];
                    let limit = known.chance.one_in(4).then_some(0);
                    let input = json!({ "command": command, "timeout_seconds": limit });
                    ("bash", input)
                }
                4 => ("task", job(any(&mut known), true)), // the name may be taken
                5 | 6 => ("check_bg", json!({})),
                7 => ("stop_bg", json!({ "id": any(&mut known) })),
                8 => ("touch", json!({})),
                9 => ("nothing_like_it", json!({})),
                _ => continue,
            };
            known.calls += 1;
            content.push(tool_use(call, name, input));
        }
        Ok(reply(content, StopReason::EndTurn))
    }

    /// A job: it wants something that needs consent, then waits at a gate.
    fn answer_worker(&self, request: &Request<'_>) -> Result<Reply, ModelError> {
        let job = request.messages[0].content[0].as_text();
        let job = job.expect("a prompt").to_string();
        let mut known = self.known();
        if request.messages.len() == 1 && !known.chance.one_in(4) {
            return Ok(calls("w1", "touch", json!({ "name": job })));
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
            End::Well => format!("{job} is done"),
            End::Badly => format!("{job} has no network"),
            End::WithPanic => format!("{job} broke down"),
        };
        self.known().marks.insert(job, mark.clone());
        self.moment();
        match end {
            End::Well => Ok(says(&mark)),
            End::Badly => Err(ModelError::Failed(mark)),
            End::WithPanic => panic!("{mark}"),
        }
    }

    /// What the person answers. The question names the job.
    fn ask(&self, question: &str) -> &'static str {
        let line = question.lines().next().unwrap_or_default();
        let job = line.split_once(" touch ").map_or("", |it| it.1).to_string();
        let mut known = self.known();
        if known.alone.contains(&job) {
            let wrong = format!("{job} asks, and nobody waits for it");
            known.wrong.push(wrong);
        }
        known.asking = Some(job);
        drop(known);
        (0..3).for_each(|_| self.moment());
        let mut known = self.known();
        known.asking = None;
        ["no", "yes", "y"][known.chance.below(3)]
    }

    fn note(&self, event: &Event) {
        let mut known = self.known();
        let wrong = match event {
            Event::TaskStarted { id, what } => {
                known.alone.insert(what.clone());
                if known.asking.as_ref() == Some(what) {
                    Some(format!("{id} was left alone with its question"))
                } else {
                    let twice = known.told.insert(id.clone(), false).is_some();
                    twice.then(|| format!("{id} starts twice"))
                }
            }
            Event::TaskFinished { id, .. } => {
                let before = known.told.insert(id.clone(), true);
                (before != Some(false)).then(|| format!("{id} ends without a start, or twice"))
            }
            _ => None,
        };
        known.wrong.extend(wrong);
        drop(known);
        self.moment();
    }
}

/// The names in the list of tasks, each of which stands there once.
fn listed(foreground: &Foreground) -> Vec<String> {
    let list = foreground.list("");
    if list.starts_with("No tasks") {
        return Vec::new();
    }
    let names = list.lines().filter_map(|row| row.split("  ").next());
    let names: Vec<String> = names.map(str::to_string).collect();
    let once: HashSet<&String> = names.iter().collect();
    assert_eq!(once.len(), names.len(), "{list}");
    names
}

/// A whole session; how many calls ended in which way.
fn session(seed: u64, with_commands: bool) -> Seen {
    let known = Known {
        chance: Chance::new(seed),
        waiting: Vec::new(),
        names: 0,
        calls: 0,
        marks: HashMap::new(),
        asking: None,
        alone: HashSet::new(),
        told: HashMap::new(),
        wrong: Vec::new(),
    };
    let world = Arc::new(World {
        foreground: OnceLock::new(),
        context: OnceLock::new(),
        with_commands,
        known: Mutex::new(known),
    });
    let [around, answers, person] = [(); 3].map(|()| world.clone());
    let context = Context {
        events: Events::default().with(Box::new(move |stamped| around.note(stamped.event))),
        ask: Arc::new(move |question, _| Ok(person.ask(question).to_string())),
        ..Context::default()
    };
    assert!(world.context.set(context.clone()).is_ok());
    let model = move |request: &Request<'_>| answers.answer(request);
    let (main, foreground) = s11(false, context, model);
    assert!(world.foreground.set(foreground).is_ok());

    let mut messages = Vec::new();
    thread::scope(|scope| {
        let (_session, over) = unbounded(); // dropped at the end, even if something panics
        let around = &world;
        thread::Builder::new()
            .spawn_scoped(scope, move || around.weather(&over))
            .expect("a thread");
        let mut lines = 0;
        loop {
            // The prompt: news wakes it.
            main.agent.context.interrupt.reset();
            let all_ended = main.deliveries.running().is_empty();
            if !main.deliveries.news().is_empty() {
                // It is delivered in the turn.
            } else if lines < LINES {
                lines += 1;
                push_user(&mut messages, format!("line {lines}"));
            } else if all_ended {
                break;
            } else {
                until_an_end_brings("news", || !main.deliveries.news().is_empty());
                continue;
            }
            let _ = main.turn(&mut messages);
        }
    });
    judge(&world, &main, &messages)
}

/// The name that a result tells of a command in the background; it is one of that command.
#[track_caller]
fn name_of(result: &str, command: &str) -> String {
    let mut told = result.lines().filter_map(|line| line.split_once(": ["));
    let told = told.rfind(|(_, mark)| mark.starts_with("running]") || mark.starts_with("shell "));
    let name = told.map_or("", |(name, _)| name);
    let words: Vec<&str> = command.split([' ', ';']).take(2).collect();
    let is_its = name.is_empty() || name.starts_with(&words.join("-"));
    assert!(is_its, "{name:?} is no name of {command:?}");
    name.to_string()
}

/// What the conversation says of each task.
fn judge(world: &World, main: &Main, messages: &[Message]) -> Seen {
    assert_eq!(faults(messages, true), [""; 0]);
    let known = world.known();
    assert_eq!(known.wrong, [""; 0]);
    let blocks = || messages.iter().flat_map(|message| &message.content);
    let results: HashMap<&str, &str> = blocks()
        .filter_map(|block| match block {
            ContentBlock::ToolResult {
                tool_use_id,
                content,
                ..
            } => Some((tool_use_id.as_str(), content.as_str())),
            _ => None,
        })
        .collect();
    let texts = delivered(messages);
    let mut deliveries = HashMap::new();
    for text in &texts {
        let before = deliveries.insert(task_of(text), text.as_str());
        assert_eq!(before, None, "delivered twice");
    }
    // Every place in which an outcome may be told.
    let mut places: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut outcomes = Vec::new();
    let (mut ways, mut tasks) = (Seen::new(), HashSet::new());
    for block in blocks() {
        let (id, input, is_command) = match block {
            ContentBlock::ToolUse(ToolCall { id, name, input }) if name == "task" => {
                (id, input, false)
            }
            ContentBlock::ToolUse(ToolCall { id, name, input }) if name == "bash" => {
                (id, input, true)
            }
            _ => continue,
        };
        let result = results[id.as_str()];
        places.push(result);
        let refused = [
            "ERROR: the id ",
            "ERROR: 3 background tasks run already",
            "ERROR: the user said no",
        ];
        let way = if result.starts_with(NOT_RUN) {
            "interrupted"
        } else if refused.iter().any(|start| result.starts_with(start)) {
            "refused"
        } else {
            let task = match is_command {
                true => name_of(result, input["command"].as_str().expect("a command")),
                false => input["description"].as_str().expect("a name").to_string(),
            };
            let way = if result.starts_with(&format!("{task}{MOVED}")) {
                "moved"
            } else if result.starts_with(&format!("{task}{STARTED}")) {
                "started"
            } else if result.contains(&format!("\n{task}: [shell exited] ")) {
                "left running"
            } else {
                "waited for"
            };
            let told = match way {
                "waited for" => result,
                _ => deliveries[task.as_str()],
            };
            outcomes.push((input["prompt"].as_str().unwrap_or_default(), told));
            assert!(
                way == "waited for" || tasks.insert(task.clone()),
                "{task} went twice into the background"
            );
            way
        };
        *ways.entry(way).or_default() += 1;
    }
    for (job, told) in outcomes {
        if let Some(mark) = known.marks.get(job) {
            assert!(told.contains(mark.as_str()), "{mark:?} is not in {told:?}");
            // A check may name an error, too; it takes nothing from the one place.
            let places = places.iter().filter(|text| text.contains(mark.as_str()));
            assert_eq!(places.count(), 1, "{mark:?} stands in several places");
        }
    }
    // What went into the background, and only that, is known, has ended, is delivered and is what
    // the events tell of.
    let ids = lock(&main.executor).ids();
    for id in &ids {
        let status = lock(&main.executor).check(id).expect("a task");
        assert!(status.outcome.is_some(), "{id} still runs");
        assert_eq!(known.told.get(&id.to_string()), Some(&true), "{id}");
    }
    let ids: HashSet<String> = names(&ids).into_iter().collect();
    assert_eq!(ids, tasks);
    assert_eq!(ids, deliveries.into_keys().collect());
    assert_eq!(known.told.len(), ids.len(), "{:?}", known.told);
    let list = world.foreground.get().expect("it").list("");
    assert!(!list.contains(FOREGROUND), "{list}");
    ways
}

#[track_caller]
fn expect_more_than(least: usize, ways: &[&str], seen: &Seen) {
    for way in ways {
        let times = seen.get(way).copied().unwrap_or_default();
        assert!(times > least, "{way}: {seen:?}");
    }
}

#[test]
fn a_thousand_sessions_with_agents() {
    let seen = sessions(1000, |seed| session(seed, false));
    let ways = ["waited for", "moved", "started", "interrupted", "refused"];
    expect_more_than(20, &ways, &seen);
}

#[test]
fn sessions_with_commands() {
    let seen = sessions(200, |seed| session(seed, true));
    expect_more_than(10, &["waited for", "moved", "left running"], &seen);
}

// One property at a time.

/// What waits for the end of a task is woken by it, whoever may have looked at the tasks meanwhile.
#[test]
fn a_look_takes_no_wake_up_away() {
    let executor = BackgroundExecutor::shared(NotificationBus::default(), 3);
    let deliveries = Deliveries::new(&executor);
    let (ring, bell) = unbounded();
    lock(&executor)
        .bus()
        .on_end(move || ring.send(()).unwrap_or_default());
    for number in 0..100 {
        let id = id(&format!("job {number}"));
        let submitted = lock(&executor).submit(unwatched(Kind::Command, &id), |_| finished(""));
        submitted.expect("a free place");
        // Another thread, whose look is the first to see the end.
        let looks = executor.clone();
        let look = thread::spawn(move || {
            while lock(&looks)
                .check(&id)
                .is_ok_and(|now| now.outcome.is_none())
            {
                thread::yield_now();
            }
        });
        look.join().expect("it has ended");
        bell.recv_timeout(PATIENCE).expect("the bell");
        let mut messages = Vec::new();
        assert!(!deliveries.news().is_empty());
        deliveries.deliver(&Events::default(), &mut messages);
        assert_eq!(delivered(&messages).len(), 1);
    }
}

/// Whoever is told of anything may look at the tasks: nothing holds them locked meanwhile.
#[test]
fn readers_may_look_at_the_tasks() {
    let (tell, told) = unbounded();
    let (context, watch) = watched(move |foreground, event| {
        let name = match event {
            Event::Waiting { .. } => "Waiting",
            Event::TaskStarted { .. } => "TaskStarted",
            _ => return,
        };
        tell.send((name, listed(foreground)))
            .expect("the test is there");
        foreground.press();
    });
    let (main, foreground) = s11(true, context, nobody);
    assert!(watch.set(foreground.clone()).is_ok());
    let result = main.call("bash", json!({ "command": "sleep 600" }));
    assert!(
        result.starts_with(&format!("sleep-600{MOVED} by the user; ")),
        "{result}"
    );
    let its = || vec!["sleep-600".to_string()];
    for name in ["Waiting", "TaskStarted"] {
        assert_eq!(told.recv_timeout(PATIENCE), Ok((name, its())));
    }
    foreground.stop("sleep-600");
    main.until_ended("sleep-600");
}

/// A task that runs stands in the list, and once, also while it is moved to the background.
#[test]
fn what_is_moved_is_listed_all_the_time() {
    let (main, foreground) = s11(true, Context::default(), nobody);
    for number in 1..=50 {
        let id = match number {
            1 => "sleep-600".to_string(),
            number => format!("sleep-600-{number}"),
        };
        thread::scope(|scope| {
            let call = scope.spawn(|| main.call("bash", json!({ "command": "sleep 600" })));
            eventually("it is listed", || listed(&foreground).contains(&id));
            foreground.press();
            while !call.is_finished() {
                assert!(listed(&foreground).contains(&id), "{id} is not listed");
            }
        });
        foreground.stop(&id);
        main.until_ended(&id);
    }
}

#[test]
fn what_is_waited_for_is_listed_and_can_be_stopped() {
    let (tell, told) = unbounded();
    let (context, watch) = watched(move |foreground, event| {
        if let Event::Waiting { .. } = event {
            let list = foreground.list("");
            let id = listed(foreground).remove(0);
            tell.send((list, foreground.stop(&id)))
                .expect("the test is there");
        }
    });
    let (main, foreground) = s11(true, context, |request| {
        let _ = request.interrupt.receiver().recv(); // hangs until it is interrupted
        Err(ModelError::Interrupted)
    });
    assert!(watch.set(foreground.clone()).is_ok());
    let input = json!({ "description": "scout", "prompt": "look", "wait": true });
    let calls = [
        (
            "bash",
            json!({ "command": "sleep 600" }),
            "sleep-600  command",
        ),
        ("task", input, "scout  agent"),
    ];
    for (name, input, row) in calls {
        let result = main.call(name, input);
        assert!(result.starts_with("ERROR: [interrupted]"), "{result}");
        let (list, stopped) = told.recv().expect("it was waited for");
        assert!(list.starts_with(&format!("{row}{FOREGROUND}")), "{list}");
        assert!(stopped.ends_with(": told to stop."), "{stopped}");
        assert_eq!(listed(&foreground), [""; 0]);
    }
}

/// Ctrl+B is never refused, so there may be more than the limit.
#[test]
fn those_that_leave_no_place_are_all_counted() {
    let (main, foreground) = s11(true, Context::default(), nobody);
    let start = |id: &str| main.call("bg_bash", json!({ "id": id, "command": "sleep 600" }));
    ["a", "b", "c"].iter().for_each(|id| drop(start(id)));
    main.call(
        "bash",
        json!({ "command": "sleep 600", "timeout_seconds": 0 }),
    );
    let refused = "ERROR: 4 background tasks run already (a, b, c, sleep-600), and no more can be started now. ";
    let answer = start("d");
    assert!(answer.starts_with(refused), "{answer}");
    for id in ["a", "b", "c", "sleep-600"] {
        foreground.stop(id);
        main.until_ended(id);
    }
}

#[test]
fn commands_that_have_ended_are_forgotten() {
    let (main, foreground) = s11(true, Context::default(), nobody);
    for _ in 0..1000 {
        assert_eq!(main.call("bash", json!({ "command": "echo a" })), "a");
    }
    assert_eq!(lock(&main.executor).ids(), []);
    assert_eq!(listed(&foreground), [""; 0]);
    let unknown = "There is no task \"echo-a\". Known ids: none so far.";
    assert_eq!(foreground.list("echo-a"), unknown);
}

#[test]
fn a_command_is_named_after_itself_or_its_description() {
    let (main, foreground) = s11(true, Context::default(), nobody);
    let cases = [
        (": ; sleep 600", None, "sleep-600"),
        ("sleep 600", None, "sleep-600-2"),
        ("sleep 600", Some("…"), "sleep-600-3"),
        (
            ": ; (: && sleep 600)",
            Some("Wait for it (long)"),
            "Wait-for-it-long",
        ),
        (
            "sleep 600",
            Some("a_word of 1,000 and 20 bytes"),
            "a-word-of-1-000-and-20-b",
        ),
        (
            "sleep 600",
            Some("dddd-dddd-dddd-dddd-ddd-and"),
            "dddd-dddd-dddd-dddd-ddd",
        ),
        ("sleep 600", Some("等一下"), "等一下"),
        ("(: ; :); ! : || sleep `echo 600`", None, "sleep-echo"),
        (
            ": ; : && { [ . ] && ! : ; } || \"sleep\" $((600))",
            None,
            "sleep-600-4",
        ),
    ];
    for (command, description, name) in cases {
        let input = json!({ "command": command, "description": description, "timeout_seconds": 0 });
        let result = main.call("bash", input);
        assert!(result.starts_with(&format!("{name}{MOVED}")), "{result}");
        foreground.stop(name);
        main.until_ended(name);
    }
}
