//! Tools from somebody else, through the real program: with a server that is well, and with one
//! that goes wrong in each way that a server can.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::program::{Lesson, Transcript, eventually};
use support::prompt::{CTRL_B, CTRL_C, at_prompt, is_gone, last_message, served};
use support::server::{Server, reply_text, reply_tool};
use support::terminal::{Seat, Terminal};

const S17: &str = "s17_mcp";
const ODD: &str = include_str!("mcp/odd.sh");
const PROMPT: &str = "\n\ns17 >>";

/// The configuration, with an argument for the server.
fn config(argument: &str) -> String {
    format!(
        "{{\"mcpServers\": {{\"odd\": {{\"command\": \"bash\", \"args\": [\"odd.sh\", \"{argument}\"], \"env\": {{\"ITS_KEY\": \"it's one\"}}}}}}}}\n"
    )
}

fn lesson(argument: &str) -> Lesson {
    let lesson = Lesson::new(S17);
    let lesson = lesson.file(".mcp.json", &config(argument));
    lesson.file("odd.sh", ODD)
}

/// The same, where each server may be started.
fn odd(argument: &str) -> Lesson {
    lesson(argument).argument("--yes")
}

fn call(tool: &str) -> String {
    format!("call mcp__odd__{tool} {{}}")
}

/// The processes that the server was.
fn pids(folder: &Path) -> Vec<Pid> {
    let pids = fs::read_to_string(folder.join("pids")).unwrap_or_default();
    let pids = pids.lines().map(|pid| pid.parse().expect("a number"));
    pids.map(Pid::from_raw).collect()
}

/// How often it was started; and that nothing is left of it.
fn starts(ran: &Transcript) -> usize {
    let pids = pids(ran.folder.path());
    eventually("nothing of it is left", || {
        pids.iter().all(|pid| is_gone(*pid))
    });
    pids.len()
}

#[test]
fn the_server_that_is_built_in_goes_off_and_on_and_no_config_is_touched() {
    let config = "{\"mcpServers\": {}}";
    let now = "call mcp__time__now {}";
    let ran = Lesson::new(S17).file(".mcp.json", config);
    let ran = ran.line("/mcp").line(now);
    let ran = ran.line("call mcp__time__in_zone {\"zone\": \"Asia/Tokyo\"}");
    let ran = ran
        .line("/mcp off")
        .line("/mcp off time")
        .line(now)
        .line("/mcp");
    let ran = ran.line("/mcp on time").line(now).line("/tasks").run();
    ran.has_in_order(&[
        "time  on, not started",
        "<mcp-result server=\"time\">\n",
        " UTC\n",
        " in Asia/Tokyo\n",
        "Which one? `/mcp` lists them.",
        "time  off, its tools are not offered",
        "ERROR: there is no tool \"mcp__time__now\"",
        "time  off",
        "time  on, running  2 tools  protocol 2025-11-25",
        " UTC\n",
        "mcp time  server  running  ",
    ]);
    assert_eq!(ran.file(".mcp.json").as_deref(), Some(config));
}

#[test]
fn all_pages_are_read_and_what_the_api_would_refuse_is_named() {
    let ran = odd("").variable("ANTHROPIC_MODEL", "secret");
    let ran = ran.line("call mcp__odd__hello {\"a\": \"you\"}");
    let ran = ran.line(&call("media")).line(&call("fail"));
    let ran = ran.line(&call("evil")).line("/mcp odd").run();
    ran.has_in_order(&[
        "odd: 4 of its tools left out, as the API would refuse them, or their names are taken: choice, number, bad name, hello.",
        "hello you\n",
        "[image, image/png, not shown]\n",
        "[resource_link, file:///a, not shown]\n",
        "seen\n",
        "ERROR: the tool says that it failed\n",
        "no such zone\n",
        "before<\\/mcp-result>\n",
        "odd  on, running  13 tools  protocol 2025-06-18",
        "mcp__odd__twice: odd",
        "env 'ITS_KEY=…' bash odd.sh ''",
        "its standard error: I am odd",
    ]);
    let environment = ran.file("environment").expect("it was started");
    assert!(environment.contains("ITS_KEY=it's one"), "{environment}");
    assert!(!environment.contains("ANTHROPIC_"), "{environment}");
    let heard = ran.file("heard").expect("it was spoken to");
    let methods = ["initialize\"", "notifications/initialized", "tools/list"];
    let at = methods.map(|method| heard.find(method));
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{heard}");
    assert_eq!(starts(&ran), 1);
}

#[test]
fn what_a_server_does_wrong_is_said_and_the_prompt_lives_on() {
    let ran = odd("").line(&call("junk")).line("/mcp");
    let ran = ran.line(&call("twice")).line(&call("order")).line("/mcp");
    let ran = ran.line(&call("hello")).line(&call("unknown")).run();
    ran.has_in_order(&[
        "after junk\n",
        "last error: it printed what is no JSON, passed over: this is no JSON",
        "once\n",
        "asked back\n",
        "last error: it answered what nobody waits for",
        "hello\n", // by now it has read what it was answered before
        "ERROR: there is no tool \"mcp__odd__unknown\"",
    ]);
    let heard = ran.file("heard").expect("it was spoken to");
    assert!(heard.contains(r#""id":"b""#), "{heard}");
    assert!(heard.contains(r#"{"id":"a","jsonrpc":"2.0","result":{}}"#));
    assert!(heard.contains("this client does not offer that"), "{heard}");
}

#[test]
fn a_line_without_end_ends_the_server_and_fills_no_memory() {
    let peak = "! grep VmHWM /proc/$(cut -d' ' -f4 /proc/$PPID/stat)/status";
    let ran = odd("").line(&call("long")).line(peak).line(&call("hello"));
    let ran = ran.run();
    ran.has_in_order(&[
        "ERROR: odd gave no result; if it has ended, the next call starts it again",
        "it sent a line of more than 4 MiB, so it was stopped",
        "VmHWM:",
        "hello\n",
    ]);
    let peak = ran.out.split("VmHWM:").nth(1).expect("the peak");
    let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(peak < 60_000, "{peak} KiB");
    assert_eq!(starts(&ran), 2);
}

#[test]
fn one_that_asks_and_reads_no_answer_is_stopped() {
    let ran = odd("").line(&call("flood")).line(&call("hello")).run();
    ran.has_in_order(&[
        "ERROR: odd gave no result; if it has ended, the next call starts it again",
        "it takes nothing in, so it was stopped",
        "hello\n",
    ]);
    assert_eq!(starts(&ran), 2);
}

/// It is longer than what a pipe holds that nobody has enlarged.
#[test]
fn a_long_message_arrives_whole() {
    let long = "long ".repeat(60_000);
    let ran = odd("").line(&format!("call mcp__odd__hello {{\"a\": \"{long}\"}}"));
    let ran = ran.line(&call("hello")).run();
    ran.has_in_order(&["hello long long ", "lines, ", "hello\n"]);
    assert!(ran.file("heard").expect("it was spoken to").contains(&long));
    assert_eq!(starts(&ran), 1);
}

#[test]
fn one_that_dies_is_started_again_three_times() {
    let mut ran = odd("");
    for _ in 0..5 {
        ran = ran.line(&call("die"));
    }
    let ran = ran.line("/mcp restart odd").line(&call("hello")).run();
    let died = "ERROR: odd gave no result; if it has ended, the next call starts it again\n    <mcp-error server=\"odd\">\n    it has ended; its last words: out of luck\n";
    ran.has_in_order(&[
        died,
        died,
        died,
        died,
        "ended 4 times; try `/mcp restart odd`\n",
        "odd  on, running  13 tools",
        "hello\n",
    ]);
    assert_eq!(starts(&ran), 5);
}

/// What it leaves running has its output, too: that would never come to an end.
#[test]
fn one_that_leaves_something_running_has_ended_as_well() {
    let ran = odd("").line("call mcp__odd__die {\"a\": \"not alone\"}");
    let ran = ran.line(&call("hello")).run();
    ran.has_in_order(&["it has ended; its last words: out of luck\n", "hello\n"]);
    assert_eq!(starts(&ran), 3, "with what the first one left");
}

#[test]
fn one_that_does_not_begin_well_is_said_once_and_stopped() {
    for (argument, why) in [
        (
            "silent",
            "no answer to initialize: it passed its time limit",
        ),
        ("deaf", "no answer to initialize: it passed its time limit"),
        ("other", "it speaks no known protocol: 2999-01-01"),
        ("refuses", "no answer to initialize: it refuses: not today"),
    ] {
        let ran = odd(argument).variable("MCP_TIMEOUT", "500");
        let ran = ran.line("run \"echo one\"").line("run \"echo two\"");
        let ran = ran.line("/mcp").run();
        let now = "odd  on, did not start: `/mcp restart odd` tries again  last error: ";
        ran.has_in_order(&[&format!("odd: {why}"), "one", "two", now]);
        assert_eq!(ran.out.matches(&format!("odd: {why}")).count(), 1);
        assert_eq!(starts(&ran), 1);
    }
    let nowhere = "{\"mcpServers\": {\"odd\": {\"command\": \"no-such-program\"}, \"far\": {\"url\": \"https://example.com\"}}}";
    let ran = Lesson::new(S17).argument("--yes");
    let ran = ran.file(".mcp.json", nowhere).line("run \"echo on\"").run();
    ran.has_in_order(&[
        "far: it has no `command`: only servers over stdio are known here.",
        "odd: no answer to initialize: it has ended; its last words: env: ",
        "no-such-program",
        "on",
    ]);
    let ran = Lesson::new(S17).file(".mcp.json", "{").line("/mcp").run();
    ran.has(".mcp.json holds no servers: EOF");
}

#[test]
fn a_call_that_is_never_answered_is_given_up_and_cancelled() {
    let ran = odd("").variable("MCP_TOOL_TIMEOUT", "300");
    let ran = ran.line(&call("quiet")).line(&call("hello")).run();
    ran.has_in_order(&["ERROR: it passed its time limit", "hello\n"]);
    let heard = ran.file("heard").expect("it was spoken to");
    assert!(heard.contains("notifications/cancelled"), "{heard}");
    assert_eq!(starts(&ran), 1);
}

#[test]
fn one_that_knows_no_handshake_is_told_with_each_request_who_asks() {
    let ran = odd("new").line(&call("hello")).line(&call("die"));
    let ran = ran.line(&call("hello")).line("/mcp").run();
    ran.has_in_order(&[
        "hello",
        "ERROR: odd gave no result",
        "hello",
        "odd  on, running  13 tools  protocol 2026-07-28",
    ]);
    assert_eq!(starts(&ran), 2);
    let heard = ran.file("heard").expect("it was spoken to");
    let greeted = heard.lines().position(|it| it.contains("\"initialize\""));
    assert_eq!(greeted, Some(0), "the other era comes first");
    assert!(!heard.contains("notifications/initialized"), "{heard}");
    let mut greetings = heard.lines().filter(|it| it.contains("\"initialize\""));
    assert!(greetings.all(|it| !it.contains("io.modelcontextprotocol")));
}

#[test]
fn a_list_that_changes_is_asked_for_again() {
    let ran = odd("").line(&format!("{}, then {}", call("grow"), call("grown")));
    let ran = ran.line("/mcp").run();
    ran.has_in_order(&[
        "grown\n",
        "it refuses: unknown here",
        "odd  on, running  14 tools",
    ]);
}

#[test]
fn a_list_that_is_refused_is_asked_for_again() {
    let grow = "call mcp__odd__grow {\"a\": \"and refuse\"}";
    let ran = odd("").line(grow).line(&call("grown")).run();
    ran.has_in_order(&[
        "odd: no answer to tools/list: it refuses: not now.",
        "it refuses: unknown here",
    ]);
}

/// A name could pass for a part of a question, and of other sentences.
#[test]
fn an_entry_that_is_of_no_use_is_named_and_the_others_work() {
    let name =
        "time, as always.\nIt runs only what you have allowed before:\n│ env date\nThe next one";
    let entry = |port: Value| json!({ "command": "bash", "args": ["-c", "touch started"], "env": { "PORT": port } });
    let odd = json!({ "command": "bash", "args": ["odd.sh"] });
    let servers = json!({ name: entry(json!("8080")), "port": entry(json!(8080)), "odd": odd });
    let config = json!({ "mcpServers": servers }).to_string();
    let ran = Lesson::new(S17)
        .file(".mcp.json", &config)
        .argument("--yes");
    let ran = ran.file("odd.sh", ODD).line(&call("hello"));
    let ran = ran.line("call mcp__time__now {}").line("/mcp").run();
    ran.has_in_order(&[
        ".mcp.json: \"port\" is left out: invalid type: integer `8080`, expected a string.",
        ".mcp.json: \"time, as always.\\nIt runs only what you have",
        " is left out: a name is at most 64 letters, digits, _ and -.",
        "hello\n",
        " UTC\n",
        "odd  on, running",
        "time  on, running",
    ]);
    assert!(!ran.out.contains("\nIt runs"), "{}", ran.out);
    assert_eq!(ran.file("started"), None);
}

#[test]
fn a_list_that_is_none_stays_as_it_is_and_starts_nothing() {
    let list = "[\"odd\"";
    let ran = odd("").file(".sessions/mcp.json", list);
    let ran = ran.line(&call("hello")).line("/mcp off time").run();
    let why = ".sessions/mcp.json holds no list; mend or remove it: EOF";
    ran.has_in_order(&[why, "there is no tool", why]);
    assert_eq!(ran.file(".sessions/mcp.json").as_deref(), Some(list));
    assert_eq!(starts(&ran), 0);
}

#[test]
fn nothing_starts_before_it_was_allowed_and_what_is_off_stays_off() {
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path().to_str().expect("text");
    let waits = "odd: not started, as nobody could allow it; `/mcp on odd` does: env ";
    let first = lesson("").variable("XDG_STATE_HOME", state);
    let first = first.line(&call("hello")).line("/mcp off time");
    let first = first.line("/mcp on odd").line(&call("hello")).run();
    first.has_in_order(&[waits, "there is no tool", "odd  on, running", "hello\n"]);
    assert_eq!(starts(&first), 1);
    // What is off stays off in this folder, for the next program as well.
    let folder = first.folder.path();
    let off = fs::read_to_string(folder.join(".sessions/mcp.json"));
    assert_eq!(
        off.expect("a list").split_whitespace().collect::<String>(),
        "[\"time\"]"
    );
    let next = Lesson::new(S17).within(folder).line("/mcp").run();
    next.has("time  off");
}

/// Each of these got around consent, or out of the folder.
#[test]
fn no_file_of_a_project_starts_writes_or_waits_for_anything_unasked() {
    // The text of the server that is built in, as the last argument of something else.
    let ours = include_str!("../src/mcp/time.sh");
    let config = |name: &str| {
        let server =
            serde_json::json!({ "command": "bash", "args": ["-c", "touch started", ours] });
        serde_json::json!({ "mcpServers": { name: server } }).to_string()
    };
    for name in ["clock", "time"] {
        let ran = Lesson::new(S17).file(".mcp.json", &config(name));
        let ran = ran.line("run \"echo on\"").run();
        ran.has_in_order(&[
            &format!("{name}: not started, as nobody could allow it"),
            "on",
        ]);
        assert_eq!(ran.file("started"), None);
    }
    // A list that is a link, and its folder.
    for link in [".sessions/mcp.json", ".sessions"] {
        let lesson = Lesson::new(S17).file("elsewhere/mcp.json", "[]");
        let folder = lesson.folder.path().to_owned();
        if link != ".sessions" {
            fs::create_dir(folder.join(".sessions")).expect("a folder");
        }
        let to = folder.join(if link == ".sessions" {
            "elsewhere"
        } else {
            "elsewhere/mcp.json"
        });
        std::os::unix::fs::symlink(to, folder.join(link)).expect("a link");
        let ran = lesson.line("/mcp off time").run();
        assert_eq!(
            ran.file("elsewhere/mcp.json").as_deref(),
            Some("[]"),
            "{link}"
        );
        if link == ".sessions" {
            ran.has(".sessions/mcp.json cannot be written: it is a symbolic link");
        }
    }
    // A configuration that never ends.
    let lesson = Lesson::new(S17);
    let fifo = lesson.folder.path().join(".mcp.json");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let ran = lesson.line("run \"echo on\"").run();
    ran.has_in_order(&[
        ".mcp.json cannot be read: it is no regular file but a pipe",
        "on",
    ]);
}

#[test]
fn a_server_that_is_configured_no_more_is_offered_no_more() {
    let ran = odd("").line(&call("hello"));
    let ran = ran
        .line("run \"echo {} > .mcp.json\"")
        .line("/mcp")
        .line("run \"echo '{\\\"mcpServers\\\": {}}' > .mcp.json\"");
    let ran = ran.line("/mcp").line(&call("hello")).run();
    ran.has_in_order(&[
        "hello\n",
        "holds no servers",
        "time  on",
        "there is no tool \"mcp__odd__hello\"",
    ]);
}

/// At this seat, with the odd server.
fn at(seat: Seat) -> Terminal {
    at_with(seat, "")
}

fn at_with(seat: Seat, argument: &str) -> Terminal {
    fs::write(seat.folder.path().join(".mcp.json"), config(argument)).expect("a file");
    fs::write(seat.folder.path().join("odd.sh"), ODD).expect("a file");
    at_prompt(seat, PROMPT)
}

fn at_terminal() -> Terminal {
    at(Seat::new(S17))
}

#[test]
fn the_person_is_asked_once_and_ctrl_c_cancels_a_call() {
    let mut terminal = at_terminal();
    terminal.line(&call("quiet"));
    terminal.until_shows(".mcp.json wants to start the server odd, now and in later sessions:");
    terminal.until_shows("│ env 'ITS_KEY=it'\\''s one' bash odd.sh ''");
    terminal.until_shows("\nMay it? [y]es, [n]o:");
    assert_eq!(pids(terminal.folder.path()), []);
    terminal.line("y");
    terminal.until_shows("1 4 one of four");
    terminal.send(CTRL_C);
    terminal.until_shows("ERROR: [interrupted] by the user");
    terminal.until_ends(PROMPT);
    let heard = terminal.folder.path().join("heard");
    eventually("it was cancelled", || {
        let heard = fs::read_to_string(&heard).expect("what it heard");
        heard.contains("notifications/cancelled") && heard.contains("the user stopped it")
    });
    // Ctrl+B sends a call to the background, where it can be stopped.
    terminal.line(&call("quiet"));
    terminal.until_shows(" s (Ctrl+B: to the background) · 1 4 one of four");
    terminal.send(CTRL_B);
    terminal.until_shows("odd-quiet: [running] moved to the background by the user");
    terminal.until_ends("\n1 running\ns17 >>");
    terminal.line("/tasks");
    terminal.until_shows("odd-quiet  command  running");
    terminal.until_shows("mcp odd    server   running");
    terminal.line("/stop odd-quiet");
    terminal.until_shows("◆ odd-quiet: ERROR: it was stopped");
    let its = pids(terminal.folder.path());
    assert!(its.len() == 1 && !is_gone(its[0]), "{its:?}");
    kill(terminal.id(), Signal::SIGKILL).expect("the program");
    terminal.wait();
    eventually("nothing of it is left", || is_gone(its[0]));
    // Allowed for good in this folder: nobody is asked again. The values are for nobody else.
    let mut terminal = at_prompt(Seat::new(S17).folder(Some(terminal.folder.clone())), PROMPT);
    terminal.line(&call("hello"));
    terminal.until_shows("hello");
    assert!(!terminal.text().contains("May it?"));
    let list = terminal.folder.path().join("state/meanwhile/mcp.json");
    let list = fs::metadata(list).expect("a list").permissions();
    assert_eq!(list.mode() & 0o777, 0o600);
    // Another command is another question.
    let path = terminal.folder.path().join(".mcp.json");
    fs::write(path, config("other")).expect("a file");
    terminal.line("/mcp restart odd");
    terminal.until_shows("│ env 'ITS_KEY=it'\\''s one' bash odd.sh other");
    terminal.until_shows("\nMay it? [y]es, [n]o:");
    terminal.line("n");
    terminal.until_shows("odd: not started; `/mcp on odd` asks again.");
    terminal.until_ends(PROMPT);
    terminal.line("exit");
    terminal.wait();
    eventually("nothing of it is left", || {
        pids(terminal.folder.path()).into_iter().all(is_gone)
    });
}

#[test]
fn a_start_that_takes_long_is_seen_and_ctrl_c_ends_it() {
    let mut terminal = at_with(Seat::new(S17), "silent");
    terminal.line("run \"echo on\"");
    terminal.until_shows("\nMay it? [y]es, [n]o:");
    terminal.line("y");
    terminal.until_shows("\nmcp odd, 1 s (Ctrl+B: to the background) · it starts\ns17 >>");
    terminal.send(CTRL_C);
    terminal.until_shows("odd: no answer to initialize: it was stopped.");
    terminal.until_ends(PROMPT);
    eventually("nothing of it is left", || {
        pids(terminal.folder.path()).into_iter().all(is_gone)
    });
    terminal.line("exit");
    terminal.wait();
}

/// The first server hangs once. Those after it are not ended with it, and all start at the next turn.
#[test]
fn ctrl_c_during_a_start_ends_that_start_only_and_it_does_not_count() {
    let seat = Seat::new(S17).argument("--yes");
    let slow = json!({ "command": "bash", "args": ["-c", "mkdir slow && exec sleep 1000; exec bash odd.sh"] });
    let odd = json!({ "command": "bash", "args": ["odd.sh"] });
    let config = json!({ "mcpServers": { "a": slow, "b": odd, "c": odd } });
    fs::write(seat.folder.path().join(".mcp.json"), config.to_string()).expect("a file");
    fs::write(seat.folder.path().join("odd.sh"), ODD).expect("a file");
    let mut terminal = at_prompt(seat, PROMPT);
    terminal.line("run \"echo on\"");
    terminal.until_shows("\nmcp a, 1 s (Ctrl+B: to the background) · it starts\ns17 >>");
    terminal.send(CTRL_C);
    terminal.until_shows("a: no answer to initialize: it was stopped.");
    terminal.until_ends(PROMPT);
    assert_eq!(pids(terminal.folder.path()), []);
    terminal.line("call mcp__a__hello {}, then call mcp__c__hello {}");
    terminal.until_ends(PROMPT);
    terminal.line("/mcp");
    for name in [
        "a  on, running  13",
        "b  on, running  13",
        "c  on, running  13",
    ] {
        terminal.until_shows(name);
    }
    terminal.until_shows("time  on, running  2");
    assert_eq!(terminal.text().matches("it was stopped").count(), 1);
    assert_eq!(pids(terminal.folder.path()).len(), 3);
    terminal.line("exit");
    terminal.wait();
}

#[test]
fn who_says_no_is_not_asked_again() {
    let mut terminal = at_terminal();
    terminal.line("run \"echo on\"");
    terminal.until_shows("\nMay it? [y]es, [n]o:");
    terminal.line("n");
    terminal.until_shows("odd: not started; `/mcp on odd` asks again.");
    terminal.until_ends(PROMPT);
    terminal.line("run \"echo further\"");
    terminal.until_shows("further");
    terminal.until_ends(PROMPT);
    assert_eq!(terminal.text().matches("May it?").count(), 1);
    assert_eq!(pids(terminal.folder.path()), []);
    terminal.line("exit");
    terminal.wait();
}

#[test]
fn a_call_needs_consent_as_a_command_does() {
    let tokyo = |id| reply_tool(id, "mcp__time__in_zone", json!({ "zone": "Asia/Tokyo" }));
    let [no, yes] = ["I may not ask", "I have asked"];
    let server = Server::start([tokyo("t1"), reply_text(no), tokyo("t2"), reply_text(yes)]);
    let mut terminal = at_prompt(served(S17, &server), PROMPT);
    let question = "\nThe agent wants to call mcp__time__in_zone:\n│ Asia/Tokyo\nAllow it? [y]es, [n]o, [a]lways this tool in this session:";
    for (answer, reply) in [("n", no), ("y", yes)] {
        terminal.line("what time is it in Tokyo?");
        terminal.until_ends(&format!("{question}{PROMPT}"));
        terminal.line(answer);
        terminal.until_ends(&format!("\n{reply}{PROMPT}"));
    }
    let refused = "result: ERROR: the user said no to this mcp__time__in_zone call.";
    let told = last_message(&server, 1).concat();
    assert!(told.starts_with(refused), "{told}");
    let told = last_message(&server, 3).concat();
    assert!(
        told.starts_with("result: <mcp-result server=\"time\">\n"),
        "{told}"
    );
    assert!(told.contains(" in Asia/Tokyo"), "{told}");
    terminal.line("exit");
    terminal.wait();
}

/// The first call is in the background, the second one is answered, and then the first.
#[test]
fn answers_that_come_in_another_order_reach_their_own_calls() {
    let server = Server::answering(|body| {
        let last = body["messages"].as_array().expect("messages").last();
        match last.expect("a message").to_string() {
            said if said.contains("the first") => {
                reply_tool("t1", "mcp__odd__quiet", json!({ "a": "later" }))
            }
            said if said.contains("the second") => {
                reply_tool("t2", "mcp__odd__hello", json!({ "a": "at once" }))
            }
            _ => reply_text("I see."),
        }
    });
    let mut terminal = at(served(S17, &server).argument("--yes"));
    terminal.line("the first");
    terminal.until_shows(" s (Ctrl+B: to the background) · 1 4 one of four");
    terminal.send(CTRL_B);
    terminal.until_ends("\nI see.\n1 running\ns17 >>");
    terminal.line("the second");
    terminal.until_shows("◆ odd-quiet: finished");
    terminal.until_ends(&format!("\nI see.{PROMPT}"));
    let last = server.requests().pop().expect("a request");
    let blocks = last
        .messages()
        .iter()
        .filter_map(|it| it["content"].as_array());
    let blocks: Vec<&Value> = blocks.flatten().collect();
    let of = |key: &str, value: &str| {
        let is_it = |it: &&&Value| it[key].as_str().is_some_and(|it| it.starts_with(value));
        let found = blocks.iter().find(is_it);
        found.map_or(String::new(), |it| it.to_string())
    };
    let [first, second] = ["t1", "t2"].map(|id| of("tool_use_id", id));
    let note = of("text", "<task-notification task=\"odd-quiet\">");
    assert!(
        first.contains("[running] moved to the background"),
        "{first}"
    );
    assert!(
        second.contains("hello at once") && !second.contains("later"),
        "{second}"
    );
    assert!(
        note.contains("said later") && !note.contains("at once"),
        "{note}"
    );
    let heard = fs::read_to_string(terminal.folder.path().join("heard"));
    let heard = heard.expect("it was spoken to");
    assert_eq!(heard.matches("tools/call").count(), 2, "{heard}");
    terminal.line("exit");
    terminal.wait();
}
