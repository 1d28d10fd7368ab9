//! What the harness itself costs, as a Markdown table: `cargo bench --bench speed`.
//!
//! A plain program: what counts are ratios, of measurements that take turns on the same machine.
//! A figure over its limit makes it fail. (Commands and tasks: `cargo bench --bench cost`.)

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use meanwhile::agent::Agent;
use meanwhile::aids::timeline::Timeline;
use meanwhile::background::{BackgroundExecutor, Kind, Task};
use meanwhile::caught::lock;
use meanwhile::event::{Event, Events};
use meanwhile::message::{ContentBlock, Message, Reply, Role, StopReason, ToolCall, Usage};
use meanwhile::model::anthropic::Anthropic;
use meanwhile::model::{Model, ModelError, Request};
use meanwhile::notification::{NotificationBus, TaskId};
use meanwhile::process::supervisor::become_supervisor_if_asked;
use meanwhile::process::{Handle, start as start_command, until_ended};
use meanwhile::tool::{Access, Context, Tool};
use meanwhile::tools::bash;
use serde_json::{Value, json};

const S01: &str = env!("CARGO_BIN_EXE_s01_agent_loop");
const S08: &str = env!("CARGO_BIN_EXE_s08_background_tasks");
const S13: &str = env!("CARGO_BIN_EXE_s13_sessions");
const S20: &str = env!("CARGO_BIN_EXE_s20_parallel_teams");

/// A short reply as the API streams it, in one HTTP chunk.
const REPLY: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m\",\"stop_reason\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"done\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

/// The same, with a call of `bash`.
const CALL: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m\",\"stop_reason\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"bash\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"command\\\":\\\"true\\\"}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":2}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn main() -> ExitCode {
    become_supervisor_if_asked();
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS; // `cargo test --all-targets`
    }
    let mut table = Table { good: true };
    println!("| What | Measured | Limit |\n|---|--:|--:|");
    makespan(&mut table);
    history(&mut table);
    history_over_loopback(&mut table);
    a_command(&mut table);
    start(&mut table);
    resume(&mut table);
    memory(&mut table);
    recording(&mut table);
    if table.good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Table {
    good: bool,
}

impl Table {
    fn figure(&self, what: &str, measured: String) {
        println!("| {what} | {measured} | |");
    }

    fn limit(&mut self, what: &str, measured: f64, limit: f64, unit: &str) {
        let over = if measured <= limit { "" } else { " **over**" };
        self.good &= measured <= limit;
        println!("| {what} | {measured:.2}{unit}{over} | {limit}{unit} |");
    }
}

/// The middle one of several measurements, in microseconds.
fn median(count: usize, mut measure: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<f64> = (0..count).map(|_| measure().as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    times[count / 2]
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Four jobs at once take as long as the longest of them.
fn makespan(table: &mut Table) {
    let longest = 2.0;
    let ratio = median(3, || {
        let executor = BackgroundExecutor::shared(NotificationBus::default(), 4);
        timed(|| {
            for (name, seconds) in [("a", 0.5), ("b", 1.0), ("c", 1.5), ("d", longest)] {
                let sleep = Arc::new(Handle::new(&format!("sleep {seconds}")));
                let id = TaskId::new(name).expect("a name");
                let task = Task::new(Kind::Command, &id, sleep.clone(), &Events::default());
                let job = move |_: &_| until_ended(&start_command(&sleep, "".as_ref()));
                let submitted = lock(&executor).submit(task, job);
                submitted.expect("there is room");
            }
            while !lock(&executor).running().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }) / 1e6
        / longest;
    table.limit(
        "4 jobs in the background, against the longest of them",
        ratio,
        1.05,
        " ×",
    );
}

/// Calls a tool once a turn, at once.
#[derive(Default)]
struct Instantly {
    called: AtomicBool,
}

impl Model for Instantly {
    fn reply(&self, _: &Request<'_>) -> Result<Reply, ModelError> {
        let (block, stop_reason) = if self.called.fetch_xor(true, Ordering::Relaxed) {
            (
                ContentBlock::Text {
                    text: "done".to_string(),
                },
                StopReason::EndTurn,
            )
        } else {
            let (id, name) = ("toolu_1".to_string(), "nothing".to_string());
            (
                ContentBlock::ToolUse(ToolCall {
                    id,
                    name,
                    input: json!({}),
                }),
                StopReason::ToolUse,
            )
        };
        Ok(Reply {
            content: vec![block],
            stop_reason,
            usage: Usage::default(),
        })
    }

    fn describe(&self) -> String {
        "instantly".to_string()
    }
}

fn agent(model: impl Model + 'static, context: Context) -> Agent {
    let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let tool = Tool::new(
        "nothing",
        "Does nothing.",
        schema,
        Access::Free,
        |_: Value, _| Ok("done".to_string()),
    );
    let mut agent = Agent::new(Arc::new(model), "You are being measured.", context);
    agent.toolbox.add([tool]);
    agent
}

/// A conversation of `count` messages: tool calls, their results, and at last a prompt.
fn conversation(count: usize) -> Vec<Message> {
    let text =
        "a line of some eighty characters, as they come in tool results and in replies. ".repeat(6);
    let message = |index: usize| {
        let id = |index: usize| format!("toolu_01A09q90qw90lq91{index:08}");
        let (role, block) = match (count - index) % 2 {
            1 if index == 0 || index + 1 == count => return Message::user(text.clone()),
            1 => {
                let (tool_use_id, content) = (id(index - 1), text.clone());
                (
                    Role::User,
                    ContentBlock::ToolResult {
                        tool_use_id,
                        content,
                        is_error: false,
                    },
                )
            }
            _ if index + 2 == count => (Role::Assistant, ContentBlock::Text { text: text.clone() }),
            _ => {
                let (id, name) = (id(index), "nothing".to_string());
                (
                    Role::Assistant,
                    ContentBlock::ToolUse(ToolCall {
                        id,
                        name,
                        input: json!({}),
                    }),
                )
            }
        };
        Message {
            role,
            content: vec![block],
        }
    };
    (0..count).map(message).collect()
}

/// A turn, and then the conversation as it was.
fn turn(agent: &Agent, messages: &mut Vec<Message>) -> Duration {
    let count = messages.len();
    let time = timed(|| {
        loop {
            let reply = agent.ask(messages).expect("a reply");
            if reply.tool_calls().is_empty() {
                break;
            }
            agent.run_tools(reply, messages);
        }
    });
    messages.truncate(count);
    time
}

fn history(table: &mut Table) {
    let agent = agent(Instantly::default(), Context::default());
    let cost = |count| {
        let mut messages = conversation(count);
        median(2001, || turn(&agent, &mut messages))
    };
    for count in [10, 200, 2000] {
        let time = cost(count);
        let what = format!("harness in a turn of 2 requests and a tool call, at {count} messages");
        table.figure(&what, format!("{time:.1} µs"));
        if count == 2000 {
            let share = time / (time + 2e6) * 100.0;
            table.limit(
                "the same, as a share of a turn whose requests take 1 s",
                share,
                0.1,
                " %",
            );
        }
    }
}

/// A server that reads requests and answers them in turn, each connection from the first answer on.
/// Says when one has come.
fn server(answers: &'static [&'static str]) -> (String, Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let (came, arrivals) = unbounded();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let came = came.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                for reply in answers.iter().cycle() {
                    let Some(length) = read_request(&mut reader) else {
                        break;
                    };
                    let _ = came.send(length);
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{reply}",
                        reply.len()
                    );
                    if (&stream).write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, arrivals)
}

/// The length of its body.
fn read_request(reader: &mut impl BufRead) -> Option<usize> {
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
    std::io::copy(&mut reader.take(length as u64), &mut std::io::sink()).ok()?;
    Some(length)
}

/// A turn with one command, contained, against the same turn with a tool that only runs a shell.
fn a_command(table: &mut Table) {
    let (address, _arrivals) = server(&[CALL, REPLY]);
    let plain = Tool::new(
        "bash",
        "",
        json!({ "type": "object" }),
        Access::Free,
        |input: Value, _: &Context| {
            let command = input["command"].as_str().unwrap_or_default();
            let output = Command::new("bash").args(["-c", command]).output();
            Ok(String::from_utf8_lossy(&output.expect("bash").stdout).to_string())
        },
    );
    let [contained, plain] = [bash::tool(), plain].map(|tool| {
        let model = Anthropic::new(&format!("http://{address}"), None, "m");
        let mut agent = Agent::new(Arc::new(model), "", Context::default());
        agent.toolbox.add([tool]);
        agent
    });
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let mut messages = conversation(10);
        let with = turn(&contained, &mut messages).as_secs_f64();
        let without = turn(&plain, &mut messages).as_secs_f64();
        ratios.push(with / without);
        times.push(with * 1e6);
    }
    ratios.sort_by(f64::total_cmp);
    times.sort_by(f64::total_cmp);
    table.figure(
        "a turn with `bash true`, server on this machine",
        format!("{:.0} µs", times[150]),
    );
    table.limit(
        "the same, against a tool that runs `bash -c` with Command::output",
        ratios[150],
        1.2,
        " ×",
    );
}

fn history_over_loopback(table: &mut Table) {
    let (address, arrivals) = server(&[REPLY]);
    let agent = agent(
        Anthropic::new(&format!("http://{address}"), None, "m"),
        Context::default(),
    );
    // The same bytes, made and sent by hand: what no harness can do without.
    let mut bare = TcpStream::connect(&address).expect("the server");
    bare.set_nodelay(true).expect("a socket");
    let mut by_hand = |messages: &[Message]| {
        timed(|| {
            let body = serde_json::to_vec(messages).expect("JSON");
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
            bare.write_all(&[head.as_bytes(), &body].concat())
                .expect("sent");
            let mut answer = Vec::new();
            while !answer.ends_with(b"message_stop\"}\n\n") {
                let mut piece = [0; 4096];
                let count = bare.read(&mut piece).expect("an answer");
                answer.extend_from_slice(&piece[..count]);
            }
        })
    };
    let mut added = Vec::new();
    for count in [20, 10, 200, 2000] {
        let mut messages = conversation(count);
        let (mut whole, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..301 {
            whole.push(turn(&agent, &mut messages).as_secs_f64() * 1e6);
            bytes.push(by_hand(&messages).as_secs_f64() * 1e6);
        }
        whole.sort_by(f64::total_cmp);
        bytes.sort_by(f64::total_cmp);
        let (whole, bytes, size) = (
            whole[150],
            bytes[150],
            arrivals.try_iter().max().unwrap_or(0),
        );
        added.push(whole - bytes);
        if count != 20 {
            table.figure(
                &format!(
                    "a request over loopback at {count} messages, {:.0} KB; the bytes alone",
                    size as f64 / 1e3
                ),
                format!("{whole:.0} µs; {bytes:.0} µs"),
            );
        }
    }
    let ratio = added[3] / added[0];
    table.limit(
        "a request without its bytes, at 2,000 messages against 20",
        ratio,
        3.0,
        " ×",
    );
}

fn lesson(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANTHROPIC_"))
    {
        command.env_remove(name);
    }
    command
        .env("MEANWHILE_THINKING_MS", "0")
        .current_dir(folder);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Reads until that is there.
fn read_until(child: &mut Child, wanted: &str) {
    let output = child.stdout.as_mut().expect("a pipe");
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(wanted) {
        let mut piece = [0; 4096];
        let count = output.read(&mut piece).expect("output");
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&piece[..count]);
    }
}

/// How long a lesson takes to its first prompt, and the most memory that this took, in MB.
fn to_prompt(program: &str, folder: &Path, arguments: &[&str]) -> (Duration, f64) {
    let mut command = lesson(program, folder);
    let started = Instant::now();
    let mut child = command.args(arguments).spawn().expect("it starts");
    read_until(&mut child, " >> ");
    let time = started.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    end(child);
    (time, kilobytes.unwrap_or(0.0) / 1e3)
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn start(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, arrivals) = server(&[REPLY]);
    let nothing = || {
        let (piped, mut command) = (Stdio::piped, Command::new("/bin/true"));
        timed(|| {
            drop(
                command
                    .stdin(piped())
                    .stdout(piped())
                    .spawn()
                    .and_then(Child::wait_with_output),
            )
        })
    };
    let prompt = |program| to_prompt(program, folder.path(), &[]).0;
    let request = || {
        let mut command = lesson(S08, folder.path());
        command
            .env("ANTHROPIC_BASE_URL", format!("http://{address}"))
            .args(["-p", "go on"]);
        let started = Instant::now();
        let child = command.spawn().expect("it starts");
        arrivals
            .recv_timeout(Duration::from_secs(30))
            .expect("a request");
        let time = started.elapsed();
        end(child);
        time
    };
    // In turns; and of each the fastest, since all that can happen on the way only adds.
    let mut fastest = [f64::MAX; 5];
    for _ in 0..51 {
        let times = [nothing(), prompt(S01), prompt(S08), prompt(S20), request()];
        let times = times.map(|time| time.as_secs_f64() * 1e6);
        fastest = [0, 1, 2, 3, 4].map(|index| fastest[index].min(times[index]));
    }
    let [nothing, first, prompt, last, request] = fastest;
    table.figure(
        "`/bin/true`, from start to end",
        format!("{:.2} ms", nothing / 1e3),
    );
    table.limit(
        "s08 from start to prompt, against that",
        prompt / nothing,
        4.0,
        " ×",
    );
    let what = "s20 from start to prompt, against s01";
    table.limit(what, last / first, 2.0, " ×");
    table.limit(
        "s08 from start to its first request, against that",
        request / nothing,
        5.0,
        " ×",
    );
}

/// What it adds to the start of s13 to go on with 1,000 turns, of 1 KB each way.
fn resume(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = json!({ "format": 1, "time": 1, "process": 1, "lesson": "s13", "model": "m", "folder": "/", "parent": null });
    let message = |role, length: usize| json!({ "role": role, "content": [{ "type": "text", "text": "word ".repeat(length / 5) }] });
    let said = |at: usize, length: usize| json!({ "said": { "at": at, "time": at, "messages": [message("user", length), message("assistant", length)], "delivered": [], "usage": Usage::default() } });
    let sessions = folder.path().join(".sessions");
    std::fs::create_dir_all(&sessions).expect("a folder");
    let write = |id: &str, turns: &mut dyn Iterator<Item = Value>| {
        let records = [json!({ "opened": opened })].into_iter().chain(turns);
        let text: String = records.map(|record| format!("{record}\n")).collect();
        std::fs::write(sessions.join(format!("{id}.jsonl")), &text).expect("a file");
        text.len() as f64 / 1e6
    };
    write("kkkk", &mut (0..1_000).map(|turn| said(2 * turn, 1_000)));
    let to_prompt = |arguments: &[&str]| {
        let (time, peak) = to_prompt(S13, folder.path(), arguments);
        (time.as_secs_f64() * 1e3, peak)
    };
    let mut fastest = [f64::MAX; 2];
    for _ in 0..21 {
        let times = [to_prompt(&[]), to_prompt(&["--resume", "kkkk"])].map(|it| it.0);
        fastest = [0, 1].map(|index| fastest[index].min(times[index]));
    }
    let [new, resumed] = fastest;
    // Again and again a conversation of ten messages, as after many times /compact.
    let size = write(
        "llll",
        &mut (0..10_000).map(|turn| said(2 * (turn % 5), 5_000)),
    );
    assert!(size > 100.0, "{size} MB");
    let (large, peak) = to_prompt(&["--resume", "llll"]);
    table.limit(
        "to go on with a session of 1,000 turns, beyond a start of s13",
        resumed - new,
        100.0,
        " ms",
    );
    let what = "to go on with a session of 100 MB, of which ten messages are sent";
    table.limit(what, large / 1e3, 1.0, " s");
    table.limit("the most memory that this took", peak, 16.0, " MB");
}

/// Resident memory of a process and all below it, in MB. The pages of the program file count each time.
fn resident(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let children =
        std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    // Children are listed by the thread that started them.
    let threads = std::fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let mut ids: Vec<u32> = lists
        .chain([children])
        .flat_map(|list| numbers(&list))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    kilobytes.unwrap_or(0.0) / 1e3 + ids.into_iter().map(resident).sum::<f64>()
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn memory(table: &mut Table) {
    if !cfg!(target_os = "linux") {
        return table.figure("resident memory", "Linux only".to_string());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = lesson(S08, folder.path()).spawn().expect("it starts");
    read_until(&mut child, "s08 >> ");
    table.limit(
        "resident memory of s08 at its prompt",
        resident(child.id()),
        8.0,
        " MB",
    );
    let tasks =
        ["a", "b", "c", "d"].map(|name| format!("run \"sleep 1000\" in the background as {name}"));
    let line = format!("{}, then run \"echo all started\"\n", tasks.join(", then "));
    child
        .stdin
        .as_mut()
        .expect("a pipe")
        .write_all(line.as_bytes())
        .expect("it reads");
    read_until(&mut child, "5. run");
    table.limit(
        "the same with 4 tasks: with 5 supervisors, 4 shells and 4 × `sleep`",
        resident(child.id()),
        40.0,
        " MB",
    );
    drop(child.stdin.take());
    let _ = child.wait();
}

/// What it takes to record a turn of one request, as a share of such a turn against a server that
/// answers at once.
fn recording(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, _arrivals) = server(&[REPLY]);
    let agent = agent(
        Anthropic::new(&format!("http://{address}"), None, "m"),
        Context::default(),
    );
    let mut messages = conversation(20);
    let turn = median(301, || turn(&agent, &mut messages));
    let timeline = Timeline::default();
    timeline
        .trace_to(&folder.path().join("trace.json"), "speed")
        .expect("a file");
    let recorder = timeline.clone();
    let recorded = Events::default().with(Box::new(move |event| recorder.note(event)));
    let [on, off] = [recorded, Events::default()].map(|events| {
        median(2001, || {
            timed(|| {
                events.emit(Event::TurnStarted("go on".to_string()));
                events.emit(Event::RequestStarted);
                events.emit(Event::RequestFinished(Some(Usage::default())));
                events.emit(Event::TurnFinished);
            })
        })
    });
    let added = on - off;
    table.figure(
        "recording a turn of 1 request, with a trace file",
        format!("{added:.1} µs"),
    );
    table.figure(
        "the same, as a share of that turn if the server is on this machine and answers at once",
        format!("{:.1} %", added / turn * 100.0),
    );
    table.limit(
        "the same, if the model takes 0.1 s",
        added / (turn + 1e5) * 100.0,
        1.0,
        " %",
    );
}
