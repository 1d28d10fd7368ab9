//! Three processes beside three threads, as a Markdown table: `cargo bench --bench team`.
//!
//! The mates of s20 against the background agents of s10, both in the program of s20, driven from
//! outside: a server of the Messages API on this machine gives every answer and stops every clock.
//! A figure over its limit makes it fail. The limits are for a machine that does nothing else.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_s20_parallel_teams");
const WORKERS: [&str; 3] = ["ann", "ben", "cid"];
const PATIENCE: Duration = Duration::from_secs(60);
const STARTS: usize = 21;
/// In turn to each mate, which may take 50 turns.
const QUESTIONS: usize = 120;
/// The first ones warm things up.
const WARM: usize = 9;

fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS; // `cargo test --all-targets`
    }
    let mut table = Table { good: true };
    println!("| What | Measured | Limit |\n|---|--:|--:|");
    starts(&mut table);
    // A session is on disk when its turn has ended. How long that takes is the disk's own matter.
    let [disk, memory] = [std::env::temp_dir(), "/dev/shm".into()];
    if memory.is_dir() {
        questions(&mut table, "files in memory", &memory, 5.0);
    }
    questions(&mut table, "files on this disk", &disk, 100.0);
    ExitCode::from(u8::from(!table.good))
}

struct Table {
    good: bool,
}

impl Table {
    fn figure(&self, what: &str, measured: f64, unit: &str) {
        println!("| {what} | {measured:.2}{unit} | |");
    }

    fn limit(&mut self, what: &str, measured: f64, limit: f64, unit: &str) {
        let over = if measured > limit { " **over**" } else { "" };
        self.good &= over.is_empty();
        println!("| {what} | {measured:.2}{unit}{over} | {limit}{unit} |");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Who works for the lead.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Threads,
    Processes,
}
use Kind::{Processes, Threads};

impl Kind {
    /// The calls that start three of them.
    fn calls(self) -> Vec<Value> {
        let mates = WORKERS.map(|name| json!({ "name": name, "prompt": "work" }));
        match self {
            Threads => WORKERS.map(|name| agent(name, "work")).to_vec(),
            Processes => vec![call("team", json!({ "name": "crew", "mates": mates }))],
        }
    }
}

fn agent(name: &str, prompt: &str) -> Value {
    let prompt = format!("worker {name}: {prompt}");
    call("task", json!({ "description": name, "prompt": prompt }))
}

fn call(name: &str, input: Value) -> Value {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let id = format!("toolu_{}", COUNT.fetch_add(1, Relaxed));
    json!({ "type": "tool_use", "id": id, "name": name, "input": input })
}

fn text(text: &str) -> Vec<Value> {
    vec![json!({ "type": "text", "text": text })]
}

/// A request that waits for its answer.
struct Asked {
    at: Instant,
    /// `lead`, or the worker's name.
    who: String,
    /// The last message.
    last: String,
    answer: Sender<Vec<Value>>,
}

impl Asked {
    fn answer(&self, blocks: Vec<Value>) -> Instant {
        let now = Instant::now();
        let _ = self.answer.send(blocks); // it may have gone
        now
    }
}

/// The program, and the requests of all its processes and threads.
struct House {
    child: Child,
    input: ChildStdin,
    asked: Receiver<Asked>,
    _folder: tempfile::TempDir,
}

impl House {
    fn start(place: &Path) -> Self {
        let folder = tempfile::tempdir_in(place).expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (asks, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let asks = asks.clone();
                thread::spawn(move || serve(&stream, &asks));
            }
        });
        let mut child = Command::new(PROGRAM)
            .args(["--yes", "--no-suggestions"])
            .current_dir(&folder)
            .env("HOME", folder.path())
            .env("XDG_STATE_HOME", folder.path())
            .env("ANTHROPIC_BASE_URL", url)
            .env("ANTHROPIC_API_KEY", "none")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take().expect("a pipe");
        House {
            child,
            input,
            asked,
            _folder: folder,
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("a request")
    }

    /// A turn of the lead without a tool.
    fn say_hello(&mut self) {
        self.say("hello");
        self.next().answer(text("hello"));
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.child.kill(); // all that it has started ends with it
        let _ = self.child.wait();
    }
}

/// From the call to the first request of the last worker; and what the memory is then.
fn starts(table: &mut Table) {
    let mut seconds = [Vec::new(), Vec::new()];
    let mut added = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        for (at, kind) in [Threads, Processes].into_iter().enumerate() {
            let mut house = House::start(&std::env::temp_dir());
            house.say_hello();
            house.say("start them");
            let before = memory(house.child.id());
            let started = house.next().answer(kind.calls());
            let mut workers = Vec::new();
            while workers.len() < WORKERS.len() {
                let asked = house.next();
                match &*asked.who {
                    "lead" => drop(asked.answer(text("I wait."))),
                    _ => workers.push(asked), // none has its answer: all of them work
                }
            }
            let names: BTreeSet<&str> = workers.iter().map(|it| &*it.who).collect();
            assert_eq!(names, BTreeSet::from(WORKERS));
            let last = workers.iter().map(|it| it.at).max().expect("three");
            seconds[at].push((last - started).as_secs_f64());
            let after = memory(house.child.id());
            added[at].push((after.0 - before.0, after.1 - before.1));
        }
    }
    let [threads, processes] = seconds.map(|it| median(it) * 1e3);
    let what = "from the call that starts three to the request of the last";
    table.figure(&format!("{what}, agents on threads"), threads, " ms");
    table.limit(&format!("{what}, mates"), processes, 250.0, " ms");
    type Of = fn(&(f64, f64)) -> f64;
    let kinds: [(_, _, Of); 2] = [
        ("resident", 80.0, |it| it.0),
        ("proportional", 15.0, |it| it.1),
    ];
    for (kind, limit, of) in kinds {
        let [threads, processes] = [0, 1].map(|at| median(added[at].iter().map(of).collect()));
        let what = format!("{kind} memory of three at work, beyond the idle lead");
        table.figure(&format!("{what}, agents on threads"), threads, " MB");
        table.limit(&format!("{what}, mates"), processes, limit, " MB");
    }
}

/// From the lead's call that asks something to its request that has the answer. A mate is there
/// already, and waits; an agent is started for it.
fn questions(table: &mut Table, files: &str, place: &Path, limit: f64) {
    let [threads, processes] = [Threads, Processes].map(|kind| {
        let mut house = House::start(place);
        if kind == Processes {
            house.say("start them");
            house.next().answer(kind.calls());
            // Until each has ended its turn, and the lead has been told so.
            let mut told = BTreeSet::new();
            while told.len() < WORKERS.len() {
                let asked = house.next();
                let is_told = |name: &&str| asked.last.contains(&format!("{name} is here"));
                told.extend(WORKERS.into_iter().filter(is_told));
                asked.answer(text(&format!("{} is here", asked.who)));
            }
        }
        let times = (0..WARM + QUESTIONS).map(|round| {
            let question = format!("question {round}.");
            let (line, reply) = (format!("ask {question}"), format!("reply {round}."));
            let (name, to) = (format!("q{round}"), WORKERS[round % WORKERS.len()]);
            let ask = match kind {
                Threads => agent(&name, &question),
                Processes => call("send", json!({ "to": to, "text": question })),
            };
            house.say(&line);
            let mut asked_at: Option<Instant> = None;
            loop {
                let asked = house.next();
                let answer = match (&*asked.who, asked_at) {
                    ("lead", Some(since)) if asked.last.contains(&reply) => {
                        asked.answer(text("I see."));
                        break (asked.at - since).as_secs_f64() * 1e3;
                    }
                    ("lead", None) if asked.last.contains(&line) => {
                        asked_at = Some(asked.answer(vec![ask.clone()]));
                        continue;
                    }
                    ("lead", _) => "I wait.",
                    _ => &reply,
                };
                asked.answer(text(answer));
            }
        });
        let times: Vec<f64> = times.collect();
        median(times.into_iter().skip(WARM).collect())
    });
    let what = format!("and back its answer, {files}");
    table.figure(
        &format!("a prompt to a new agent on a thread, {what}"),
        threads,
        " ms",
    );
    table.limit(
        &format!("a message to a mate that waits, {what}"),
        processes,
        limit,
        " ms",
    );
}

/// Resident and proportional memory of a process and all below it, in MB. Resident counts a page of
/// the program file for each process that has it; proportional shares it out, and can be seen of a
/// mate only by root: for others it is no number. (Linux only.)
fn memory(id: u32) -> (f64, f64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}"));
    let field = |file: &str, name: &str| {
        let text = read(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1e3)
    };
    let own = (
        field("status", "VmRSS:").unwrap_or_default(),
        field("smaps_rollup", "Pss:").unwrap_or(f64::NAN),
    );
    // Children are listed by the thread that started them.
    let threads = std::fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.filter_map(|it| std::fs::read_to_string(it.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let children = lists.iter().flat_map(|list| list.split_whitespace());
    let children: BTreeSet<u32> = children.filter_map(|it| it.parse().ok()).collect();
    children
        .into_iter()
        .map(memory)
        .fold(own, |sum, it| (sum.0 + it.0, sum.1 + it.1))
}

/// Hands over what comes over one connection, and sends the answers.
fn serve(stream: &TcpStream, asks: &Sender<Asked>) {
    stream.set_nodelay(true).expect("a socket");
    let mut reader = BufReader::new(stream);
    while let Some((at, body)) = read_request(&mut reader) {
        let (answer, answers) = channel();
        let asked = Asked {
            at,
            who: who(&body),
            last: body["messages"]
                .as_array()
                .and_then(|it| it.last())
                .expect("a message")
                .to_string(),
            answer,
        };
        if asks.send(asked).is_err() {
            return;
        }
        let Ok(blocks) = answers.recv() else { return };
        if (&*stream).write_all(response(&blocks).as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(Instant, Value)> {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|count| *count > 0)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((Instant::now(), serde_json::from_slice(&body).ok()?))
}

/// A mate's name stands in its system prompt, an agent's in its own first prompt.
fn who(body: &Value) -> String {
    let (system, first) = (body["system"].to_string(), body["messages"][0].to_string());
    let name = |text: &str, before: &str, after: char| {
        let (_, rest) = text.split_once(before)?;
        Some(rest.split(after).next()?.to_string())
    };
    name(&system, "Your name is ", '.')
        .or_else(|| name(&first, "\"worker ", ':'))
        .unwrap_or_else(|| "lead".to_string())
}

/// The blocks as the API streams them, in one piece.
fn response(blocks: &[Value]) -> String {
    let calls = blocks.iter().any(|block| block["type"] == "tool_use");
    let stop_reason = if calls { "tool_use" } else { "end_turn" };
    let mut events = vec![
        json!({ "type": "message_start", "message": { "id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": null, "usage": { "input_tokens": 1, "output_tokens": 1 } } }),
    ];
    for (index, block) in blocks.iter().enumerate() {
        let mut start = block.clone();
        let delta = match block["type"] == "text" {
            true => {
                start["text"] = "".into();
                json!({ "type": "text_delta", "text": block["text"] })
            }
            false => {
                start["input"] = json!({});
                json!({ "type": "input_json_delta", "partial_json": block["input"].to_string() })
            }
        };
        events
            .push(json!({ "type": "content_block_start", "index": index, "content_block": start }));
        events.push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    events.push(json!({ "type": "message_delta", "delta": { "stop_reason": stop_reason }, "usage": { "output_tokens": 2 } }));
    events.push(json!({ "type": "message_stop" }));
    let line = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        )
    };
    let body: String = events.iter().map(line).collect();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
