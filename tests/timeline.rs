//! The timeline through the real programs: trace files, pictures, `/timeline`; and its bounds.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use meanwhile::agent::Agent;
use meanwhile::aids::timeline::chart::{Bar, Chart, Lane};
use meanwhile::aids::timeline::{Kind, Timeline};
use meanwhile::event::{Event, Events, Stamped};
use meanwhile::message::{ContentBlock, Message, Reply, StopReason, ToolCall, Usage};
use meanwhile::model::{Model, ModelError, Request};
use meanwhile::options::Options;
use meanwhile::tool::{Access, Context, Tool};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};
use support::program::Lesson;
use support::server::{Server, reply_text, reply_tool};

const S08: &str = "s08_background_tasks";

/// A trace whose form was checked.
struct Trace {
    records: Vec<Value>,
    /// Names by track.
    tracks: BTreeMap<u64, String>,
    /// What was begun and not ended.
    open: Vec<String>,
}

impl Trace {
    /// Checks a trace against the Trace Event format: an array of objects with the fields that
    /// their phase asks for, every end that of the last begin of its track, time never going back.
    fn check(text: &str) -> Trace {
        let text = text.trim_end();
        // The closing bracket may be missing, and then a last line may have been cut.
        let closed = match text.strip_suffix(']') {
            Some(_) => text.to_string(),
            None => match text.rsplit_once("\n,") {
                Some((whole, last)) if serde_json::from_str::<Value>(last).is_err() => {
                    format!("{whole}]")
                }
                _ => format!("{text}]"),
            },
        };
        let records: Vec<Value> = serde_json::from_str(&closed).expect("a JSON array");
        let mut tracks = BTreeMap::new();
        let mut open: HashMap<u64, Vec<&str>> = HashMap::new();
        let mut last: HashMap<u64, u64> = HashMap::new();
        for record in &records {
            let name = record["name"].as_str().expect("a name");
            let (tid, ts) = (
                record["tid"].as_u64().expect("a track"),
                record["ts"].as_u64().expect("a time"),
            );
            assert_eq!(record["pid"], 1, "{record}");
            assert!(!name.is_empty() && tid > 0, "{record}");
            match record["ph"].as_str().expect("a phase") {
                "M" => {
                    let given = record["args"]["name"].as_str().expect("what it is called");
                    if name == "thread_name" {
                        let before = tracks.insert(tid, given.to_string());
                        assert_eq!(before, None, "track {tid} was named twice");
                    } else {
                        assert_eq!(name, "process_name");
                    }
                    continue;
                }
                "B" => open.entry(tid).or_default().push(name),
                "E" => assert_eq!(
                    open.get_mut(&tid).and_then(Vec::pop),
                    Some(name),
                    "{record}"
                ),
                phase => panic!("phase {phase} is not ours"),
            }
            assert!(
                tracks.contains_key(&tid),
                "track {tid} has no name yet: {record}"
            );
            let before = last.insert(tid, ts).unwrap_or(0);
            assert!(
                before <= ts,
                "time goes back on {:?}: {record}",
                tracks[&tid]
            );
        }
        let mut names: Vec<&String> = tracks.values().collect();
        names.sort();
        names.dedup();
        assert_eq!(
            names.len(),
            tracks.len(),
            "two tracks of one name: {names:?}"
        );
        let open = open.into_values().flatten().map(str::to_string).collect();
        Trace {
            tracks,
            open,
            records,
        }
    }

    fn of_file(path: &Path) -> Trace {
        Trace::check(&std::fs::read_to_string(path).expect("a trace file"))
    }

    fn names(&self) -> Vec<&str> {
        self.tracks.values().map(String::as_str).collect()
    }

    /// What begins on a track, in order.
    fn begun(&self, track: &str) -> Vec<&str> {
        let tid = self
            .tracks
            .iter()
            .find(|(_, name)| *name == track)
            .map(|(tid, _)| *tid);
        let begins = self
            .records
            .iter()
            .filter(|record| record["ph"] == "B" && record["tid"].as_u64() == tid);
        begins
            .map(|record| record["name"].as_str().unwrap())
            .collect()
    }
}

#[test]
fn a_trace_has_a_named_track_for_the_main_thread_each_agent_and_each_task() {
    let lesson = Lesson::new(S08).argument("--trace").argument("trace.json");
    let told = lesson
        .line(r#"run "true" in the background as main, then run "true" in the background as bash, then wait for all"#)
        .line(r#"run "true" in the background as ｂｕｉｌｄ-🦀<&>, then delegate "read notes" to explore, then wait for all"#)
        .line("/clear")
        .line("help")
        .run();
    let trace = Trace::of_file(&told.folder.path().join("trace.json"));
    assert_eq!(trace.open, Vec::<String>::new());
    let mut names = trace.names();
    names.sort_unstable();
    assert_eq!(
        names,
        ["bash", "explore", "main", "main (task)", "ｂｕｉｌｄ-🦀<&>"]
    );
    assert_eq!(trace.begun("main (task)"), ["main"]);
    assert_eq!(trace.begun("explore").first(), Some(&"thinking"));
    let main = trace.begun("main");
    assert_eq!(main[..3], ["turn", "thinking", "bg_bash"]);
    assert_eq!(main.iter().filter(|name| **name == "turn").count(), 4);
    assert!(
        main.contains(&"task") && main.contains(&"check_bg"),
        "{main:?}"
    );
    assert!(
        trace.records[0]["args"]["name"]
            .as_str()
            .unwrap()
            .starts_with("s08"),
        "{}",
        trace.records[0]
    );
}

#[test]
fn requests_carry_their_usage() {
    let server = Server::start([
        reply_tool("toolu_1", "bash", json!({ "command": "true" })),
        reply_text("done"),
    ]);
    let lesson = Lesson::new("s02_tool_use")
        .argument("--trace")
        .argument("trace.json")
        .argument("--yes");
    let lesson = lesson.variable("ANTHROPIC_BASE_URL", &server.url());
    let told = lesson.line("go on").run();
    let trace = Trace::of_file(&told.folder.path().join("trace.json"));
    let ends = trace
        .records
        .iter()
        .filter(|it| it["ph"] == "E" && it["name"] == "thinking");
    let usage: Vec<_> = ends
        .map(|end| (&end["args"]["input_tokens"], &end["args"]["output_tokens"]))
        .collect();
    assert_eq!(usage, [(&json!(10), &json!(5)), (&json!(10), &json!(5))]);
}

/// What to type so that a task runs for sure: the foreground waits for its word.
const SERVER: &str =
    r#"run "echo up > began; sleep 1000" in the background as server, then run "cat began""#;

fn fifo(lesson: &Lesson, name: &str) -> PathBuf {
    let path = lesson.folder.path().join(name);
    mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
    path
}

/// Ends the program while a task and a foreground command run; its trace.
fn ended_by(signal: Signal) -> Trace {
    let lesson = Lesson::new(S08)
        .argument("--trace")
        .argument("trace.json")
        .argument("-p");
    let mut lesson = lesson.argument(&format!(r#"{SERVER}, then run "echo > gate; sleep 1000""#));
    let (_began, gate) = (fifo(&lesson, "began"), fifo(&lesson, "gate"));
    let mut child = lesson.start();
    // To the end: the command would be ended by SIGPIPE if nobody read what it writes.
    std::fs::read(&gate).expect("the command has gone through");
    kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
    child.wait().expect("it ends");
    Trace::of_file(&lesson.folder.path().join("trace.json"))
}

#[test]
fn a_trace_is_of_use_when_the_program_was_ended() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut trace = ended_by(signal);
        trace.open.sort();
        assert_eq!(trace.open, ["bash", "server", "turn"], "{signal}");
    }
}

#[test]
fn a_task_that_outlives_the_program_has_its_end_there() {
    let lesson = Lesson::new(S08).argument("--trace").argument("trace.json");
    fifo(&lesson, "began");
    let told = lesson.line(SERVER).run();
    let trace = Trace::of_file(&told.folder.path().join("trace.json"));
    assert_eq!(trace.open, Vec::<String>::new());
    let end = trace
        .records
        .iter()
        .rfind(|record| record["name"] == "server")
        .expect("the task");
    assert_eq!(
        end["args"]["result"],
        "still going on when the program ended"
    );
}

#[test]
fn what_cannot_be_written_is_said_and_stops_nothing() {
    let lesson = Lesson::new(S08)
        .argument("--trace")
        .argument("no/trace.json");
    let told = lesson
        .argument("--chart")
        .argument("no/chart.svg")
        .line(r#"run "echo worked""#)
        .run();
    told.has("No trace will be written to no/trace.json: ")
        .has("worked");
    told.has("The chart could not be written to no/chart.svg: ");
    assert_eq!(told.code, Some(0));
}

#[test]
fn timeline_draws_the_last_turn_in_a_pipe() {
    let lesson = Lesson::new(S08);
    fifo(&lesson, "began");
    let told = lesson
        .line("/timeline")
        .line(SERVER)
        .line(r#"run "sleep 0.1""#)
        .line("/timeline")
        .line("/clear")
        .line("/timeline")
        .run();
    told.has_in_order(&[
        "/timeline\nNothing to draw: ",
        "> /timeline\n",
        "  main ",
        "  server ",
        "█ waiting for a tool",
    ]);
    // `/clear` is no turn: the picture is the same.
    let pictures: Vec<&str> = told.out.split("/timeline\n").skip(2).collect();
    let picture = |text: &str| text.lines().take(4).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(picture(pictures[0]), picture(pictures[1]));
    let main = pictures[0]
        .lines()
        .find(|line| line.starts_with("  main "))
        .expect("a lane");
    assert!(main.contains('█'), "{main}");
    assert!(
        pictures[0]
            .lines()
            .take(4)
            .all(|line| line.chars().count() < 80),
        "{}",
        pictures[0]
    );
}

/// Calls a tool `calls` times, then stops.
struct Scripted {
    calls: usize,
    made: AtomicUsize,
}

impl Model for Scripted {
    fn reply(&self, _: &Request<'_>) -> Result<Reply, ModelError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (content, stop_reason) = if number < self.calls {
            let (id, name) = (format!("toolu_{number}"), "nothing".to_string());
            (
                ContentBlock::ToolUse(ToolCall {
                    id,
                    name,
                    input: json!({}),
                }),
                StopReason::ToolUse,
            )
        } else {
            (
                ContentBlock::Text {
                    text: "done".to_string(),
                },
                StopReason::EndTurn,
            )
        };
        Ok(Reply {
            content: vec![content],
            stop_reason,
            usage: Usage::default(),
        })
    }

    fn describe(&self) -> String {
        "scripted".to_string()
    }
}

/// A turn of that many tool calls, noted by the timeline.
fn turn(timeline: &Timeline, calls: usize) {
    let recorder = timeline.clone();
    let events = Events::default().with(Box::new(move |event| recorder.note(event)));
    let context = Context {
        events,
        ..Context::default()
    };
    let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let tool = Tool::new(
        "nothing",
        "Does nothing.",
        schema,
        Access::Free,
        |_: Value, _| Ok("done".to_string()),
    );
    let model = Arc::new(Scripted {
        calls,
        made: AtomicUsize::new(0),
    });
    let mut agent = Agent::new(model, "", context.clone());
    agent.toolbox.add([tool]);
    context
        .events
        .emit(Event::TurnStarted("call it".to_string()));
    let mut messages = vec![Message::user("call it")];
    loop {
        let reply = agent.ask(&mut messages).expect("a reply");
        if reply.tool_calls().is_empty() {
            break;
        }
        agent.run_tools(reply, &mut messages);
        // The conversation is not what is tried here, and its growth is the caller's affair.
        messages.truncate(1);
    }
    context.events.emit(Event::TurnFinished);
}

#[test]
fn ten_thousand_tool_calls_stay_within_the_bound_and_what_is_left_out_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let timeline = Timeline::default();
    timeline.trace_to(&path, "test").unwrap();
    turn(&timeline, 10_000);
    let chart = timeline.chart();
    let kept: usize = chart.lanes.iter().map(|lane| lane.bars.len()).sum();
    assert!(kept <= 5_000, "{kept} spans are kept");
    assert!(
        chart.lanes[0]
            .bars
            .iter()
            .all(|bar| bar.end < chart.seconds),
        "what ended has its end"
    );
    let note = "Earlier spans are left out; --trace FILE keeps them all.";
    assert!(
        timeline.text(79, "").contains(note),
        "{}",
        timeline.text(79, "")
    );
    assert!(chart.svg("many").contains(note));
    // A turn later, the room is free again.
    turn(&timeline, 3);
    let chart = timeline.chart();
    assert_eq!((chart.lanes[0].bars.len(), chart.note), (7, ""));
    assert!(timeline.finish(&Options::default()).is_empty());
    let trace = Trace::of_file(&path);
    assert_eq!(
        trace.begun("main").len(),
        20_001 + 7 + 2,
        "the file has them all"
    );
}

#[test]
fn time_does_not_go_back_on_a_track_whoever_gets_the_lock_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let timeline = Timeline::default();
    timeline.trace_to(&path, "test").unwrap();
    let recorder = timeline.clone();
    let events = Events::default().with(Box::new(move |event| recorder.note(event)));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let events = events.clone();
            scope.spawn(move || {
                for count in 0..200 {
                    let id = format!("{thread}-{count}");
                    events.emit(Event::TaskStarted {
                        id: id.clone(),
                        what: "true".to_string(),
                    });
                    events.emit(Event::RequestStarted); // all of them on the main track
                    events.emit(Event::TaskFinished {
                        id,
                        result: "finished".to_string(),
                    });
                    events.emit(Event::RequestFinished(None));
                }
            });
        }
    });
    assert!(timeline.finish(&Options::default()).is_empty());
    let trace = Trace::of_file(&path);
    assert_eq!((trace.open.len(), trace.tracks.len()), (0, 8 * 200 + 1));
}

/// Checks that this is well-formed XML of elements, attributes in double quotes, text and the five
/// named entities; the names of its elements, and all of its text.
fn check_xml(text: &str) -> (Vec<String>, String) {
    let fine = |text: &str| {
        assert!(!text.contains('<') && !text.contains('"'), "{text}");
        for (at, _) in text.match_indices('&') {
            let rest = text.get(at..).unwrap();
            let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"];
            assert!(
                entities.iter().any(|entity| rest.starts_with(entity)),
                "{rest}"
            );
        }
    };
    assert!(
        text.chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{fffe}' && c != '\u{ffff}')
    );
    let (mut rest, mut open, mut elements, mut said) =
        (text, Vec::new(), Vec::new(), String::new());
    while let Some((before, tail)) = rest.split_once('<') {
        assert!(
            !open.is_empty() || before.trim().is_empty(),
            "text outside: {before}"
        );
        if open.last() != Some(&"style") {
            fine(before);
            said += before;
        }
        let (tag, after) = tail.split_once('>').expect("a tag has its end");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let alone = tag.ends_with('/');
        let (name, attributes) = tag
            .trim_end_matches('/')
            .split_once(' ')
            .unwrap_or((tag, ""));
        let mut parts = attributes.split('"');
        while let Some(name) = parts.next().map(str::trim).filter(|name| !name.is_empty()) {
            assert!(name.ends_with('='), "{tag}");
            fine(parts.next().expect("a value"));
        }
        elements.push(name.to_string());
        if !alone {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    (elements, said)
}

#[test]
fn a_picture_is_well_formed_and_leans_on_nothing_outside() {
    let lesson = Lesson::new(S08).argument("--chart").argument("chart.svg");
    let told = lesson
        .line(r#"run "true" in the background as a<b&c, then run "sleep 0.1""#)
        .run();
    let picture = told.file("chart.svg").expect("a picture");
    let (elements, said) = check_xml(&picture);
    assert!(
        elements.iter().filter(|name| *name == "text").count() > 5,
        "{elements:?}"
    );
    assert!(
        said.contains("s08 · Background tasks") && said.contains("a&lt;b&amp;c"),
        "{said}"
    );
    let outside = picture.replace("http://www.w3.org/2000/svg", "");
    for word in [
        "http",
        "href",
        "@import",
        "@font-face",
        "<image",
        "<script",
        "url(\"",
        "url('",
    ] {
        assert!(!outside.contains(word), "{word}");
    }
    assert!(picture.contains("prefers-color-scheme: dark"));
}

/// The lines of a trace whose zero is that time of day, with one span or the begin of one a line:
/// its track, kind, name and microseconds.
fn lines_of(clock: u64, spans: &[(u64, &str, &str, u64, Option<u64>)]) -> String {
    let name = |(tid, name): (u64, &str)| json!({ "ph": "M", "ts": 0, "pid": 1, "tid": tid, "name": "thread_name", "args": { "name": name, "clock": clock } });
    let names = ["main", "build", "ann", "cid", "odd", "eve"];
    let mut lines: Vec<Value> = (1..).zip(names).map(name).collect();
    for (tid, kind, name, start, end) in spans {
        let mut record = json!({ "ph": "B", "ts": start, "pid": 1, "tid": tid, "cat": kind, "name": name, "args": { "id": name } });
        if *name == "team" {
            record["args"]["id"] = json!("crew");
        }
        lines.push(record.clone());
        if let Some(end) = end {
            (record["ph"], record["ts"]) = (json!("E"), json!(end));
            lines.push(record);
        }
    }
    let lines = lines.iter().map(|line| format!(",{line}\n"));
    format!("[\n{}", lines.collect::<String>())
}

#[test]
fn mates_are_put_beside_their_lead_by_the_time_of_day() {
    let folder = tempfile::tempdir().unwrap();
    let second = 1_000_000;
    let write = |name: &str, text: &str| {
        let place = folder.path().join(".team/crew").join(name);
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::write(place.join("trace.json"), text).expect("a file");
    };
    let work = (1, "tool", "bash", second, Some(2 * second));
    let cut = (1, "thinking", "thinking", 3 * second, None);
    let own = (2, "task", "build", second, Some(2 * second));
    write("ann", &lines_of(12 * second, &[own, work, cut]));
    write("build", &lines_of(9 * second, &[work])); // left there before the lead began
    let far = (u64::MAX, "tool", "far", u64::MAX, Some(u64::MAX));
    let no_trace = "no trace at all\n".to_string();
    write("cid", &(no_trace + &lines_of(12 * second, &[far])));
    write("dan", &lines_of(12 * second, &[work]));
    let odd = folder.path().join(".team/crew/odd");
    std::fs::create_dir(&odd).expect("a folder");
    mkfifo(&odd.join("trace.json"), Mode::S_IRWXU).expect("a FIFO"); // nobody writes there
    let task = |tid, name| (tid, "task", name, second, Some(8 * second));
    let mut spans = vec![task(2, "build"), task(3, "ann"), task(4, "cid")];
    spans.extend([task(5, "odd"), task(6, "eve")]);
    let read = |spans: &[(u64, &str, &str, u64, Option<u64>)]| {
        let mut trace = meanwhile::aids::timeline::Trace::default();
        let lines = lines_of(10 * second, spans);
        lines
            .lines()
            .for_each(|line| trace.add_line(line.as_bytes()));
        trace.with_mates(folder.path())
    };
    let without = read(&spans);
    assert_eq!(without.spans.len(), 5, "nobody started a team");
    spans.push((1, "tool", "team", second / 2, Some(second)));
    let trace = read(&spans);
    let added = trace.spans.iter().filter(|it| {
        let name = &*it.begin.name;
        !spans.iter().any(|span| span.2 == name)
    });
    let added: Vec<_> = added
        .map(|it| {
            let begin = &it.begin;
            (begin.tid, &*begin.name, begin.ts / second, it.end)
        })
        .collect();
    // Its zero is two seconds later; it was killed, and its task has ended at 8.
    let expected = [
        (8, "ann: build", 3, Some(4 * second)),
        (3, "bash", 3, Some(4 * second)),
        (3, "thinking", 5, Some(8 * second)),
        (usize::MAX, "far", u64::MAX / second, Some(u64::MAX)),
    ];
    assert_eq!(added, expected);
    assert_eq!(trace.tracks[&8], "ann: build");
    let starts: Vec<u64> = trace.spans.iter().map(|it| it.begin.ts).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    let chart = Chart::of(&trace, trace.session(9 * second));
    assert!(chart.draw(60, chart.seconds).contains("  ann: build"));
    check_xml(&chart.svg("far"));
}

#[test]
fn a_picture_takes_any_name() {
    let name = "<&\"'>\u{1b}[2J\0\u{ffff}日本語 and a name that is far too long";
    let bar = Bar {
        kind: Kind::Task,
        name: name.to_string(),
        start: 0.0,
        end: 1.0,
    };
    let lane = Lane {
        label: name.to_string(),
        bars: vec![bar],
    };
    for seconds in [0.0, 0.31, 1.0, 7_200.0] {
        let chart = Chart {
            lanes: vec![lane.clone()],
            seconds,
            note: "Some are left out.",
        };
        let (_, said) = check_xml(&chart.svg(name));
        assert!(
            said.contains("&lt;&amp;&quot;") && said.contains("Some are left out."),
            "{said}"
        );
        assert!(!said.contains("00000"), "a time as it is written: {said}");
        chart.draw(80, seconds);
    }
}

/// A session of three turns: the task `build` is started in the first, runs through the second, and
/// wakes the third. The number is the second in which it happens.
fn three_turns() -> Timeline {
    let task = || "build".to_string();
    let call = |name: &str| Event::ToolStarted {
        name: name.to_string(),
        input: json!({ "id": "build" }),
    };
    let answer = || Event::ToolFinished {
        output: "so".to_string(),
        is_error: false,
        elapsed: Duration::ZERO,
    };
    let reply = || Event::RequestFinished(Some(Usage::default()));
    let events = [
        (0, Event::TurnStarted("start it".to_string())),
        (0, Event::RequestStarted),
        (2, reply()),
        (2, call("bg_bash")),
        (
            3,
            Event::TaskStarted {
                id: task(),
                what: "make".to_string(),
            },
        ),
        (3, answer()),
        (3, Event::TurnFinished),
        (4, Event::TurnStarted("look".to_string())),
        (4, Event::RequestStarted),
        (5, reply()),
        (5, call("check_bg")),
        (5, answer()),
        (5, Event::RequestStarted),
        (6, reply()),
        (6, Event::TurnFinished),
        (
            9,
            Event::TaskFinished {
                id: task(),
                result: "finished".to_string(),
            },
        ),
        (9, Event::TurnStarted(String::new())),
        (9, Event::Delivered(task(), "build: finished".to_string())),
        (9, Event::RequestStarted),
        (10, reply()),
        (10, Event::TurnFinished),
        // `/clear`, say: no turn to look at.
        (11, Event::TurnStarted("/clear".to_string())),
        (11, Event::TurnFinished),
    ];
    let (timeline, zero) = (Timeline::default(), Instant::now());
    for (second, event) in &events {
        timeline.note(Stamped {
            at: zero + Duration::from_secs(*second),
            agent: None,
            in_background: false,
            event,
        });
    }
    timeline
}

#[test]
fn the_last_turn_is_shown_with_what_led_to_it() {
    let timeline = three_turns();
    let chart = timeline.chart();
    assert_eq!(
        chart.seconds, 7.0,
        "from the start of what was delivered in it"
    );
    let bars = |lane: &Lane| -> Vec<(Kind, f64, f64)> {
        let bars = lane.bars.iter();
        bars.map(|bar| (bar.kind, bar.start, bar.end)).collect()
    };
    let labels: Vec<&str> = chart.lanes.iter().map(|lane| &*lane.label).collect();
    assert_eq!(labels, ["main", "build"]);
    assert_eq!(bars(&chart.lanes[1]), [(Kind::Task, 0.0, 6.0)]);
    let main = [
        (Kind::Poll, 1.0, 2.0), // the request that only asked
        (Kind::Poll, 2.0, 2.0),
        (Kind::Thinking, 2.0, 3.0),
        (Kind::Thinking, 6.0, 7.0),
    ];
    assert_eq!(bars(&chart.lanes[0]), main);

    let all = timeline.text(60, "all");
    assert!(
        all.starts_with("               0 s") && all.contains(" 11.0 s\n"),
        "{all}"
    );
    let last = timeline.text(60, "");
    assert!(last.contains(" 7.0 s\n"), "{last}");
    for text in [all, last] {
        assert!(
            text.contains('?') && text.contains("? asking in vain"),
            "{text}"
        );
    }
    let other = timeline.text(60, "yesterday");
    assert_eq!(
        other,
        "/timeline draws the last turn, /timeline all the session."
    );
    let picture = chart.svg("a");
    assert!(picture.contains("class=\"Poll\"") && picture.contains("asking in vain"));
}

#[test]
fn a_reply_that_also_did_something_was_not_in_vain() {
    let timeline = Timeline::default();
    let tell = |event: Event| {
        timeline.note(Stamped {
            at: Instant::now(),
            agent: None,
            in_background: false,
            event: &event,
        })
    };
    tell(Event::TurnStarted("go".to_string()));
    tell(Event::TaskStarted {
        id: "build".to_string(),
        what: String::new(),
    });
    tell(Event::RequestStarted);
    tell(Event::RequestFinished(None));
    for name in ["check_bg", "bash"] {
        tell(Event::ToolStarted {
            name: name.to_string(),
            input: json!({ "id": "build" }),
        });
        tell(Event::ToolFinished {
            output: String::new(),
            is_error: false,
            elapsed: Duration::ZERO,
        });
    }
    let kinds: Vec<Kind> = timeline.chart().lanes[0]
        .bars
        .iter()
        .map(|bar| bar.kind)
        .collect();
    assert!(
        kinds.contains(&Kind::Thinking) && kinds.contains(&Kind::Poll),
        "{kinds:?}"
    );
}

#[test]
fn a_picture_of_a_woken_turn_shows_the_task_that_woke_it() {
    let lesson = Lesson::new("s09_notifications")
        .argument("--chart")
        .argument("chart.svg");
    let gate = support::program::gate(lesson.folder.path(), "gate");
    let opener = std::thread::spawn(move || std::fs::write(gate, "through\n"));
    let line = r#"run "cat gate" in the background as build"#;
    let told = lesson.argument("-p").argument(line).run();
    opener.join().unwrap().expect("the gate");
    told.has("◆ build: finished with exit code 0");
    let picture = told.file("chart.svg").expect("a picture");
    assert!(
        picture.contains(">build</text>") && picture.contains("class=\"Task\""),
        "{picture}"
    );
}

#[test]
fn a_poll_in_vain_is_seen_in_the_picture() {
    let lesson = Lesson::new(S08);
    fifo(&lesson, "gate");
    let line = r#"run "cat gate" in the background as build, then check build, then run "echo > gate", then wait for build"#;
    let told = lesson
        .line(line)
        .line("/timeline")
        .line("/timeline all")
        .run();
    let pictures: Vec<&str> = told.out.split("/timeline").skip(1).collect();
    assert_eq!(pictures.len(), 2, "{}", told.out);
    for picture in pictures {
        let main = picture
            .lines()
            .find(|line| line.starts_with("  main "))
            .expect("a lane");
        assert!(
            main.contains('?') && picture.contains("? asking in vain"),
            "{picture}"
        );
    }
}
