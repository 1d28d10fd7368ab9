//! Sessions at random over the last lesson with everything wired: commands, agents, monitors, timers,
//! mail between a lead and a mate, a board and calls of an MCP server, in real programs. The server is
//! strict: it refuses a call without its one result, and whatever else the real one would.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::program::{Lesson, eventually_or};
use super::support::server::{Answer, Server, reply_blocks, reply_error, reply_text};
use super::support::session::{Chance, Seen};
use super::{Lead, S20, last, texts, who};

/// So many lines are typed, and so many calls made by each of both.
const LINES: usize = 5;
const CALLS: usize = 14;

/// What is known of a session.
struct World {
    chance: Chance,
    calls: usize,
    /// How many calls each may still make.
    left: HashMap<String, usize>,
    /// Calls whose result has not come, with what was asked for.
    open: HashMap<String, Asked>,
    /// Calls whose results may repeat what stands elsewhere.
    repeats: BTreeSet<String>,
    /// What must stand in one place of a conversation, and the task that it comes from.
    marks: BTreeMap<String, (String, Option<String>)>,
    /// Background tasks of the lead, and those that were told to stop.
    tasks: BTreeSet<String>,
    stopped: BTreeSet<String>,
    /// The last request of each, which holds all that it was told.
    requests: HashMap<String, Value>,
    /// Who has not ended its turn.
    works: HashMap<String, bool>,
    seen: Seen,
    faults: Vec<String>,
}

struct Asked {
    name: &'static str,
    mark: String,
    id: Option<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        World {
            chance: Chance::new(seed),
            calls: 0,
            left: ["lead", "ann"].map(|who| (who.to_string(), CALLS)).into(),
            open: HashMap::new(),
            repeats: BTreeSet::new(),
            marks: BTreeMap::new(),
            tasks: BTreeSet::new(),
            stopped: BTreeSet::new(),
            requests: HashMap::new(),
            works: HashMap::new(),
            seen: Seen::new(),
            faults: Vec::new(),
        }
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn answer(&mut self, team: &str, body: &Value) -> Answer {
        let system = body["system"].to_string();
        if !system.contains("You are a coding agent at work in the current directory") {
            return self.answer_worker(body);
        }
        let who = who(body);
        for block in last(body) {
            let asked = block["tool_use_id"].as_str();
            if let Some(asked) = asked.and_then(|id| self.open.remove(id)) {
                let result = block["content"].as_str().unwrap_or_default();
                self.result(&who, asked, result);
            }
        }
        self.requests.insert(who.clone(), body.clone());
        let said = texts(body);
        if said == "go" {
            let ann = json!({ "name": "ann", "turns": 1000 });
            let input = json!({ "name": team, "mates": [ann] });
            return reply_blocks(&[self.call("team", input, None)], "tool_use");
        }
        let mut calls = Vec::new();
        if who == "ann" {
            calls.extend(self.board(body, &said));
        }
        for _ in 0..self.chance.below(4) {
            let left = self.left.get_mut(&who).expect("one of both");
            if *left > 0 {
                *left -= 1;
                calls.push(self.any(&who));
            }
        }
        // (It goes on after its calls.)
        self.works.insert(who.clone(), !calls.is_empty());
        if !calls.is_empty() {
            return reply_blocks(&calls, "tool_use");
        }
        // What a mate says last goes to the lead.
        let mark = self.mark();
        if who == "ann" {
            self.expect("lead", &mark, None);
            self.see("last texts");
        }
        reply_text(&format!("I have said {mark}."))
    }

    /// A text that stands nowhere else, and is the beginning of no other.
    fn mark(&mut self) -> String {
        self.calls += 1;
        format!("mark{}k", self.calls)
    }

    fn expect(&mut self, who: &str, mark: &str, task: Option<&str>) {
        let place = (who.to_string(), task.map(str::to_string));
        self.marks.insert(mark.to_string(), place);
    }

    fn call(&mut self, name: &str, input: Value, asked: Option<Asked>) -> Value {
        self.calls += 1;
        let id = format!("toolu_{}", self.calls);
        match asked {
            Some(asked) => drop(self.open.insert(id.clone(), asked)),
            None => drop(self.repeats.insert(id.clone())),
        }
        json!({ "type": "tool_use", "id": id, "name": name, "input": input })
    }

    /// A mate takes a free task of which it is told, and completes what it took.
    fn board(&mut self, body: &Value, said: &str) -> Option<Value> {
        let results = last(body).iter().filter_map(|it| it["content"].as_str());
        let taken = results.filter_map(|it| it.strip_prefix("[>] ")).next();
        if let Some(taken) = taken {
            let id = taken
                .split(':')
                .next()
                .and_then(|id| id.parse::<u64>().ok());
            let input = json!({ "id": id, "status": "completed" });
            self.see("board tasks");
            return Some(self.call("task_update", input, None));
        }
        let completed = last(body).iter().any(|it| {
            it["content"]
                .as_str()
                .is_some_and(|it| it.starts_with("[x] "))
        });
        let free = completed || said.contains("task=\"board\"");
        free.then(|| self.call("task_claim", json!({}), None))
    }

    fn any(&mut self, who: &str) -> Value {
        let (mark, number) = (self.mark(), self.calls);
        let pause = format!("sleep 0.0{}", self.chance.below(10));
        let what = self.chance.below(if who == "lead" { 14 } else { 4 });
        // Sometimes a name that is taken.
        let reused = self.chance.one_in(8).then(|| self.any_task()).flatten();
        let id = reused.unwrap_or_else(|| format!("work-{number}"));
        let (name, input, task) = match what {
            0 => {
                let command = match self.chance.one_in(3) {
                    true => format!("echo {mark}; exit 3"),
                    false => format!("echo {mark}"),
                };
                ("bash", json!({ "command": command }), None)
            }
            1 | 2 => {
                let to = if who == "lead" { "ann" } else { "lead" };
                ("send", json!({ "to": to, "text": mark }), None)
            }
            3 => ("mcp__time__in_zone", json!({ "zone": mark }), None),
            4 => {
                let command = format!("{pause}; echo {mark}");
                let input = json!({ "command": command, "description": id, "timeout_seconds": 0 });
                ("bash", input, None)
            }
            5 | 6 => {
                let input = json!({ "id": id, "command": format!("{pause}; echo {mark}") });
                ("bg_bash", input, Some(id))
            }
            7 | 8 => {
                let wait = self.chance.one_in(2);
                let input =
                    json!({ "description": id, "prompt": format!("do {mark}"), "wait": wait });
                ("task", input, Some(id))
            }
            9 => {
                let command = format!("for it in a b c; do echo {mark}$it; {pause}; done");
                let input = json!({ "id": id, "command": command, "wake": self.chance.one_in(2) });
                ("monitor", input, Some(id))
            }
            10 if self.chance.one_in(3) => (
                "timer",
                json!({ "id": id, "seconds": 1, "note": mark }),
                Some(id),
            ),
            10 => return self.call("task_create", json!({ "subject": mark }), None),
            11 => {
                let Some(id) = self.any_task() else {
                    return self.call("check_bg", json!({}), None);
                };
                self.stopped.insert(id.clone());
                return self.call("stop_bg", json!({ "id": id }), None);
            }
            12 => return self.call("check_bg", json!({}), None),
            _ => {
                return self.call(
                    ["nothing_like_it", "team_status"][number % 2],
                    json!({}),
                    None,
                );
            }
        };
        self.see(name);
        let id = task;
        self.call(name, input, Some(Asked { name, mark, id }))
    }

    fn any_task(&mut self) -> Option<String> {
        let mut tasks: Vec<String> = self.tasks.iter().cloned().collect();
        self.chance.take(&mut tasks)
    }

    /// What a result says is what there is to be told.
    fn result(&mut self, who: &str, Asked { name, mark, id }: Asked, result: &str) {
        let is_refused = result.starts_with("ERROR: the id ")
            || result.contains(" background tasks run already ("); // more than 4, if some were moved
        let moved = result.split_once(": [running] moved to the background");
        match (name, id) {
            ("send", _) if result.starts_with("sent to") => {
                let to = if who == "lead" { "ann" } else { "lead" };
                self.expect(to, &mark, None);
            }
            (_, Some(_)) if is_refused => self.see("refused"),
            (_, Some(id)) if result.starts_with(&format!("{id}: ")) => {
                match name {
                    "monitor" => ["a", "b", "c"]
                        .iter()
                        .for_each(|it| self.expect(who, &format!("{mark}{it}"), Some(&id))),
                    _ => self.expect(who, &mark, Some(&id)),
                }
                self.tasks.insert(id);
            }
            ("bash", None) if moved.is_some() => {
                let id = moved.expect("as before").0;
                self.see("moved");
                self.tasks.insert(id.to_string());
                self.expect(who, &mark, Some(id));
            }
            (_, _) if result.contains(&mark) => self.expect(who, &mark, None),
            _ => self.faults.push(format!("{name} of {who}: {result}")),
        }
    }

    /// An agent in the background: it may run a command first, and fail.
    fn answer_worker(&mut self, body: &Value) -> Answer {
        let prompt = body["messages"][0]["content"].to_string();
        let mark = prompt.split("do ").nth(1).unwrap_or_default();
        let mark: String = mark
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let is_first = body["messages"].as_array().is_some_and(|it| it.len() == 1);
        match self.chance.below(6) {
            0..=2 if is_first => {
                let input = json!({ "command": "echo at work" });
                reply_blocks(&[self.call("bash", input, None)], "tool_use")
            }
            4 => reply_error(400, "invalid_request_error", &format!("{mark} broke down")),
            _ => reply_text(&format!("{mark} is done.")),
        }
    }

    /// In how many places of a conversation each mark stands, and how often each end is told.
    fn told(&self) -> (BTreeMap<&str, usize>, BTreeMap<&str, usize>) {
        let (mut marks, mut ends) = (BTreeMap::new(), BTreeMap::new());
        marks.extend(self.marks.keys().map(|mark| (mark.as_str(), 0)));
        ends.extend(self.tasks.iter().map(|id| (id.as_str(), 0)));
        for (who, body) in &self.requests {
            let messages = body["messages"].as_array().expect("messages").iter();
            let users = messages.filter(|it| it["role"] == "user");
            for block in users.flat_map(|it| it["content"].as_array().expect("blocks")) {
                let id = block["tool_use_id"].as_str().unwrap_or_default();
                let text = block["text"].as_str().or(block["content"].as_str());
                let text = text.unwrap_or_default();
                if self.repeats.contains(id) || text.contains(": [running] moved to the background")
                {
                    continue;
                }
                for (mark, (whose, _)) in &self.marks {
                    if whose == who && text.contains(mark.as_str()) {
                        *marks.get_mut(mark.as_str()).expect("as before") += 1;
                    }
                }
                for id in self.tasks.iter().filter(|_| who == "lead") {
                    let start = format!("<task-notification task=\"{id}\">\n{id}: ");
                    let end = text.strip_prefix(&start);
                    if end.is_some_and(|it| it.starts_with("finished") || it.starts_with("ERROR")) {
                        *ends.get_mut(id.as_str()).expect("as before") += 1;
                    }
                }
            }
        }
        (marks, ends)
    }

    /// What was not told as often as it must be, and calls that nobody has answered.
    fn wrong(&self) -> Vec<String> {
        let (marks, ends) = self.told();
        let is_stopped = |mark: &str| {
            let (_, task) = &self.marks[mark];
            task.as_ref().is_some_and(|id| self.stopped.contains(id))
        };
        let mut wrong = self.faults.clone();
        for (mark, times) in marks {
            if times > 1 || (times == 0 && !is_stopped(mark)) {
                wrong.push(format!("{mark} of {:?}: {times} times", self.marks[mark]));
            }
        }
        for (id, times) in ends {
            if times != 1 {
                wrong.push(format!("the end of {id}: {times} times"));
            }
        }
        let open = self.open.values();
        wrong.extend(open.map(|it| format!("no result of {}", it.name)));
        wrong
    }
}

/// A whole session; what was seen in it.
fn session(seed: u64) -> Seen {
    let (world, team) = (
        Arc::new(Mutex::new(World::new(seed))),
        format!("wired-{seed}"),
    );
    let (shared, name) = (world.clone(), team.clone());
    let server = Server::answering(move |body| locked(&shared).answer(&name, body));
    let mut lesson = Lesson::new(S20)
        .argument("--yes")
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .variable("ANTHROPIC_API_KEY", "sk-of-the-team");
    let folder = lesson.folder.path().to_path_buf();
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    let mut weather = Chance::new(seed + 1);
    for line in 0..LINES {
        thread::sleep(Duration::from_millis(weather.below(80) as u64));
        lead.say(&format!("line {line}"));
    }
    let lines = format!("line {}", LINES - 1);
    let missing = || {
        let it = locked(&world);
        let heard = it.requests.get("lead").map(ToString::to_string);
        let heard = heard.is_some_and(|it| it.contains(&lines));
        let unheard = (!heard).then(|| "the last line".to_string());
        let works = it.works.iter().filter(|it| *it.1);
        let works = works.map(|(who, _)| format!("{who} works"));
        let unfinished = (!is_done(&folder)).then(|| "a board task".to_string());
        let more = it.wrong().into_iter().chain(unheard);
        more.chain(works).chain(unfinished).collect::<Vec<_>>()
    };
    let why = || format!("seed {seed}: {:?}", missing());
    eventually_or("all is told", why, || missing().is_empty());
    // No more is begun, and what was begun meanwhile ends.
    locked(&world).left.values_mut().for_each(|left| *left = 0);
    eventually_or("the rest is told", why, || missing().is_empty());
    // Whatever would be told twice is told now.
    lead.say("the end");
    let is_told = || {
        let it = locked(&world);
        let request = it.requests.get("lead").map(ToString::to_string);
        request.is_some_and(|it| it.contains("the end"))
    };
    eventually_or("the end", || format!("seed {seed}"), is_told);
    lead.leave(&team);
    let it = locked(&world);
    assert_eq!(it.wrong(), [""; 0], "seed {seed}");
    it.seen.clone()
}

fn locked(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if no task of the board is left.
fn is_done(folder: &std::path::Path) -> bool {
    let entries = fs::read_dir(folder.join(".tasks")).into_iter().flatten();
    let paths = entries.flatten().map(|it| it.path());
    let mut tasks = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    tasks.all(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let task: Value = serde_json::from_str(&text).unwrap_or_default();
        task["status"] == "completed"
    })
}

/// As many as `MEANWHILE_SESSIONS` says: 1,000 take a while.
#[test]
fn sessions_with_everything_wired() {
    let count = std::env::var("MEANWHILE_SESSIONS")
        .ok()
        .and_then(|it| it.parse().ok());
    let (count, next) = (count.unwrap_or(8), Arc::new(Mutex::new(1..)));
    let workers = [(); 3].map(|()| {
        let next = next.clone();
        thread::spawn(move || {
            let mut all = Seen::new();
            loop {
                let seed: u64 = next.lock().expect("a number").next().expect("a number");
                if seed > count {
                    return all;
                }
                for (what, times) in session(seed) {
                    *all.entry(what).or_default() += times;
                }
            }
        })
    });
    let mut all = Seen::new();
    for (what, times) in workers
        .into_iter()
        .flat_map(|it| it.join().expect("all is well"))
    {
        *all.entry(what).or_default() += times;
    }
    println!("{count} sessions: {all:?}");
    let often = [
        "send",
        "task",
        "mcp__time__in_zone",
        "bg_bash",
        "last texts",
    ];
    let seldom = ["monitor", "timer", "moved", "board tasks"];
    let seldom = seldom.iter().filter(|_| count >= 100); // in a few, one may be missing by chance
    for what in often.iter().chain(seldom) {
        assert!(all.contains_key(what), "{what}: {all:?}");
    }
}
