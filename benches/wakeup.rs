//! How long it takes from what happens in the background to the request that tells it: from the end
//! of a command in s09, from a line of a monitor in s16. The program is idle at its prompt, and a
//! server of the Messages API is on the same machine.
//!
//! The command prints the time, so each request holds both ends of its own measurement: that time,
//! and the moment at which the server has read the request. The exit of the shell, the end of its
//! supervisor (or the 200 ms in which lines are gathered), the delivery and the way through the
//! socket lie in between.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

/// The first ones warm things up.
const WARM: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    program: &'static str,
    tool: &'static str,
    command: &'static str,
    /// Whether the command waits at a second gate once it has printed the time.
    goes_on: bool,
    rounds: usize,
    limit: Duration,
}

const END: Case = Case {
    what: "from a command's end to the request with its result",
    program: env!("CARGO_BIN_EXE_s09_notifications"),
    tool: "bg_bash",
    command: "read line < gate; echo \"ended at $EPOCHREALTIME\"",
    goes_on: false,
    rounds: 200,
    limit: Duration::from_millis(3),
};

const LINE: Case = Case {
    what: "from a line's newline to the request of an idle agent with its event",
    program: env!("CARGO_BIN_EXE_s16_monitors"),
    tool: "monitor",
    command: "read line < gate; echo \"ended at $EPOCHREALTIME\"; read line < end",
    goes_on: true,
    rounds: 50,
    limit: Duration::from_millis(250),
};

fn main() -> ExitCode {
    let failed = [END, LINE].map(measure).contains(&false);
    ExitCode::from(u8::from(failed))
}

/// False if it took too long.
fn measure(case: Case) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    for gate in ["gate", "end"] {
        mkfifo(&folder.path().join(gate), Mode::S_IRWXU).expect("a gate");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (measured, times) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let measured = measured.clone();
            thread::spawn(move || serve(stream, case, &measured));
        }
    });
    let mut program = Command::new(case.program)
        .arg("--yes")
        .current_dir(&folder)
        .env("HOME", folder.path())
        .env("ANTHROPIC_BASE_URL", url)
        .env("ANTHROPIC_API_KEY", "none")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut keys = program.stdin.take().expect("a pipe");
    let mut shown = BufReader::new(program.stdout.take().expect("a pipe")).lines();
    let mut wakeups = Vec::new();
    let mut until = |words: &str| {
        let mut lines = shown.by_ref().map_while(Result::ok);
        lines.find(|line| line == words).expect("it is shown");
    };
    for round in 0..WARM + case.rounds {
        write!(keys, "/clear\nround {round}\n").expect("the program reads");
        until("it runs");
        fs::write(folder.path().join("gate"), "\n").expect("an open gate");
        wakeups.push(
            times
                .recv_timeout(PATIENCE)
                .expect("a request with the result"),
        );
        if case.goes_on {
            fs::write(folder.path().join("end"), "\n").expect("an open gate");
            until("it is over");
        }
    }
    drop(keys);
    shown.for_each(drop);
    let status = program.wait().expect("the program ends");
    assert!(status.success(), "{status}");

    let mut wakeups = wakeups.split_off(WARM);
    wakeups.sort();
    let at = |percent: usize| wakeups[(wakeups.len() * percent / 100).min(wakeups.len() - 1)];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (median, ratio) = (at(50), at(50).as_secs_f64() / case.limit.as_secs_f64());
    println!("{}, {} times:", case.what, case.rounds);
    println!(
        "  median {:.2} ms, 10 % {:.2}, 90 % {:.2}, longest {:.2}",
        ms(median),
        ms(at(10)),
        ms(at(90)),
        ms(at(100))
    );
    println!(
        "  limit for the median: {:.2} ms; used: {:.0} %",
        ms(case.limit),
        ratio * 100.0
    );
    median <= case.limit
}

/// Answers what comes over one connection.
fn serve(stream: TcpStream, case: Case, measured: &Sender<Duration>) {
    stream.set_nodelay(true).expect("a socket");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_lowercase();
            if let Some(count) = line.strip_prefix("content-length:") {
                length = count.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let now = SystemTime::now();
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let last = body["messages"]
            .as_array()
            .and_then(|messages| messages.last())
            .expect("a message");
        let block = last["content"]
            .as_array()
            .and_then(|blocks| blocks.last())
            .expect("a block");
        let text = block["text"].as_str().unwrap_or_default();
        let answer = if let Some((_, rest)) = text.split_once("\nended at ") {
            let seconds: f64 = rest
                .lines()
                .next()
                .unwrap_or_default()
                .replace(',', ".")
                .parse()
                .expect("a time");
            let since = now
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("a clock")
                .as_secs_f64()
                - seconds;
            let _ = measured.send(Duration::from_secs_f64(since.max(0.0)));
            json!({ "type": "text", "text": "there it is" })
        } else if let Some(round) = text.strip_prefix("round ") {
            let mut input = json!({ "id": format!("task-{round}"), "command": case.command });
            if case.goes_on {
                input["wake"] = true.into();
            }
            json!({ "type": "tool_use", "id": format!("t{round}"), "name": case.tool, "input": input })
        } else if text.starts_with("<task-notification") {
            json!({ "type": "text", "text": "it is over" })
        } else {
            json!({ "type": "text", "text": "it runs" })
        };
        if (&stream).write_all(response(answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// A reply of one block, as a stream of events.
fn response(mut block: Value) -> String {
    let (delta, reason) = if block["type"] == "text" {
        (
            json!({ "type": "text_delta", "text": block["text"].take() }),
            "end_turn",
        )
    } else {
        let input = block["input"].take().to_string();
        (
            json!({ "type": "input_json_delta", "partial_json": input }),
            "tool_use",
        )
    };
    match delta["type"].as_str() {
        Some("text_delta") => block["text"] = json!(""),
        _ => block["input"] = json!({}),
    }
    let message = json!({ "id": "msg", "type": "message", "role": "assistant", "content": [], "model": "bench",
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 1 } });
    let events = [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null }, "usage": { "output_tokens": 1 } }),
        json!({ "type": "message_stop" }),
    ];
    let event = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        )
    };
    let body: String = events.iter().map(event).collect();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
