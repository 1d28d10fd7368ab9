//! The next line in grey, as a person meets it at a pseudo-terminal: when it appears, what takes it,
//! what drops it, and that nothing of it is left.

mod support;

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::json;
use support::program::Lesson;
use support::prompt::{LEFT, at_prompt, served, until_on_the_bus};
use support::server::{Answer, Server, held, reply_blocks, reply_error, reply_text, reply_tool};
use support::terminal::{Seat, Terminal, eventually};

const S19: &str = "s19_suggestions";
const PAGE: &str = include_str!("../lessons/s19_suggestions/README.md");
const PROMPT: &str = "\ns19 >>";
const RIGHT: &str = "\x1b[C";
const TAB: &str = "\t";
const ENTER: &str = "\r";
const GREY: &str = "\ns19 >> run the tests [Tab]";
const TAKEN: &str = "\ns19 >> run the tests";
/// What the request ends with.
const ASKED: &str = "Which line will the user most probably type next";

/// The lesson with a model that gives these answers, after its first turn.
fn after_a_turn(answers: impl IntoIterator<Item = Answer>) -> (Server, Terminal) {
    let server = Server::start([reply_text("Hello.")].into_iter().chain(answers));
    let mut terminal = at_prompt(served(S19, &server), PROMPT);
    terminal.line("hello");
    terminal.until_shows("Hello.");
    (server, terminal)
}

/// Waits until it stands there, and then for as long as it has to before a key takes it. It was drawn
/// before it is seen here, so nothing depends on how fast anybody is.
#[track_caller]
fn until_it_stands(terminal: &Terminal) {
    terminal.until_ends(GREY);
    thread::sleep(Duration::from_millis(200));
}

#[track_caller]
fn until_asked(server: &Server, requests: usize) {
    eventually("the request comes", || server.requests().len() >= requests);
}

/// All that a request says.
fn said(server: &Server, request: usize) -> String {
    json!(server.requests()[request].messages()).to_string()
}

/// The next turn works, and its request holds no trace of what was suggested.
#[track_caller]
fn goes_on(server: &Server, terminal: &mut Terminal, request: usize) {
    server.push(reply_text("Done."));
    server.push(reply_text("-"));
    terminal.line("go on");
    terminal.until_shows("Done.");
    let said = said(server, request);
    assert!(said.contains("go on"), "{said}");
    assert!(!said.contains("run the tests"), "{said}");
    assert!(!said.contains(ASKED), "{said}");
    until_asked(server, request + 2);
}

/// The lines of the page.
fn to_try() -> Vec<&'static str> {
    let (_, rest) = PAGE.split_once("## Try it").expect("its heading");
    let lines = rest.lines();
    lines.filter_map(|it| it.strip_prefix("s19 >> ")).collect()
}

#[test]
fn it_appears_and_its_request_is_the_conversation_and_one_line_more() {
    let (server, mut terminal) = after_a_turn([reply_text("run the tests")]);
    until_it_stands(&terminal);
    let [turn, asked] = [0, 1].map(|request| server.requests()[request].body.clone());
    assert_eq!(turn["tools"], asked["tools"]);
    assert_eq!(turn["system"], asked["system"]);
    let text = said(&server, 1);
    assert!(text.contains("hello") && text.contains("Hello.") && text.contains(ASKED));
    // One key that takes nothing: it vanishes, though nothing is typed.
    terminal.send(LEFT);
    terminal.until_ends(PROMPT);
    // And now it cannot be taken any more.
    terminal.send(RIGHT);
    terminal.send(TAB);
    terminal.until_keys_are_read();
    goes_on(&server, &mut terminal, 2);
}

#[test]
fn tab_and_right_take_it_into_the_line_where_it_can_be_changed() {
    for key in [TAB, RIGHT] {
        let (server, mut terminal) = after_a_turn([reply_text("run the tests")]);
        until_it_stands(&terminal);
        terminal.send(key);
        terminal.until_ends(TAKEN);
        assert_eq!(server.requests().len(), 2, "nothing is sent");
        server.push(reply_text("They pass."));
        server.push(reply_text("-"));
        terminal.line(" twice");
        terminal.until_shows("They pass.");
        until_asked(&server, 4);
        assert!(said(&server, 2).contains("run the tests twice"));
        assert!(!said(&server, 2).contains(ASKED));
    }
}

#[test]
fn enter_takes_it_and_a_second_enter_sends_it() {
    let (server, mut terminal) = after_a_turn([reply_text("run the tests")]);
    until_it_stands(&terminal);
    terminal.send(ENTER);
    terminal.until_ends(TAKEN);
    assert_eq!(server.requests().len(), 2, "nothing is sent");
    server.push(reply_text("They pass."));
    server.push(reply_text("-"));
    terminal.send(ENTER);
    terminal.until_shows("They pass.");
    until_asked(&server, 4);
    assert!(said(&server, 2).contains("run the tests"));
}

#[test]
fn a_key_that_comes_with_it_was_not_meant_for_it() {
    // On a slow machine the key may come so late that it takes the line: then once more.
    for _ in 0..20 {
        let (_server, mut terminal) = after_a_turn([reply_text("run the tests")]);
        terminal.until_ends(GREY);
        terminal.send(RIGHT);
        terminal.send("!");
        terminal.until("both keys have their effect", |it| it.ends_with('!'));
        if terminal.text().ends_with("\ns19 >> !") {
            return;
        }
        terminal.until_ends("\ns19 >> run the tests!");
    }
    panic!("each time the key took a line that had only just been drawn");
}

#[test]
fn typing_hides_it() {
    let (server, mut terminal) = after_a_turn([reply_text("run the tests")]);
    until_it_stands(&terminal);
    terminal.send("x");
    terminal.until_ends("\ns19 >> x");
    terminal.send("\x7f"); // nothing is typed again, and it does not come back
    terminal.until_ends(PROMPT);
    terminal.send(TAB);
    terminal.until_keys_are_read();
    goes_on(&server, &mut terminal, 2);
}

#[test]
fn escape_hides_it_and_takes_no_key_with_it() {
    let (_server, mut terminal) = after_a_turn([reply_text("run the tests")]);
    until_it_stands(&terminal);
    terminal.send("\x1b");
    terminal.until_ends(PROMPT);
    terminal.send("abc");
    terminal.until_ends("\ns19 >> abc");
}

#[test]
fn a_key_ends_the_request_and_what_comes_late_is_dropped() {
    let (server, mut terminal) = after_a_turn([Answer::Stall(String::new())]);
    server.wait_until_stalled();
    terminal.send("x");
    server.wait_until_abandoned();
    terminal.send("\x7f");
    terminal.until_ends(PROMPT);
    goes_on(&server, &mut terminal, 2);
}

#[test]
fn one_that_was_complete_when_a_key_came_is_dropped_or_vanishes() {
    let (open, answer) = held(reply_text("run the tests"));
    let (server, mut terminal) = after_a_turn([answer]);
    until_asked(&server, 2);
    terminal.send("x");
    terminal.until_ends("\ns19 >> x");
    let _ = open.send(());
    terminal.send("\x7f");
    terminal.until_ends(PROMPT);
    goes_on(&server, &mut terminal, 2);
    assert!(!terminal.text().contains("run the tests"));
}

#[test]
fn a_request_that_fails_is_silent() {
    let refused = reply_error(400, "invalid_request_error", "no suggestions today");
    let call = json!({ "type": "tool_use", "id": "t_1", "name": "bash", "input": { "command": "touch ran" } });
    let text = json!({ "type": "text", "text": "run the tests" });
    let tool = reply_blocks(&[text, call], "tool_use");
    let control = reply_text("run \u{1b}[2J the tests");
    let two = reply_text("run the tests\nor not");
    for answer in [refused, tool, control, two] {
        let (server, mut terminal) = after_a_turn([answer]);
        until_asked(&server, 2);
        until_on_the_bus(&terminal, "suggestion"); // its thread is gone
        thread::sleep(Duration::from_millis(200));
        terminal.send(TAB);
        terminal.until_keys_are_read();
        goes_on(&server, &mut terminal, 2);
        assert!(!said(&server, 2).contains("the tests"));
        let screen = terminal.text();
        let words = [
            "suggestion",
            "tests",
            "went wrong",
            "ran",
            "or not",
            "invalid",
        ];
        assert!(!words.iter().any(|it| screen.contains(it)), "{screen}");
        assert!(!terminal.folder.path().join("ran").exists());
    }
}

#[test]
fn a_turn_that_begins_drops_it() {
    let task = reply_tool(
        "t_1",
        "bg_bash",
        json!({ "id": "slow", "command": "cat gate" }),
    );
    let server = Server::start([task, reply_text("Begun."), reply_text("run the tests")]);
    let mut terminal = at_prompt(served(S19, &server).argument("--yes"), PROMPT);
    support::prompt::gate(&terminal, "gate");
    terminal.line("begin");
    until_it_stands(&terminal);
    let (open, answer) = held(reply_text("It has ended."));
    server.push(answer);
    support::prompt::open(&terminal, "gate");
    // The delivery begins a turn: the line is gone, and no key takes it.
    until_asked(&server, 4);
    terminal.until("it is gone", |screen| !screen.contains("[Tab]"));
    terminal.send(TAB);
    terminal.until_keys_are_read();
    server.push(reply_text("-"));
    let _ = open.send(());
    terminal.until_shows("It has ended.");
    until_asked(&server, 5);
    assert!(!said(&server, 3).contains("run the tests"));
}

#[test]
fn a_question_of_consent_is_never_answered_by_it() {
    let (server, mut terminal) = after_a_turn([reply_text("yes")]);
    terminal.until_ends("\ns19 >> yes [Tab]");
    let call = reply_tool("t_1", "bash", json!({ "command": "touch ran" }));
    server.push(call);
    terminal.line("touch it");
    terminal.until("the question", |screen| {
        screen.contains("touch ran") && screen.contains('?')
    });
    terminal.send(TAB);
    terminal.send(RIGHT);
    terminal.until_keys_are_read();
    server.push(reply_text("Not done."));
    server.push(reply_text("-"));
    terminal.line("no");
    terminal.until_shows("Not done.");
    until_asked(&server, 5);
    assert!(!terminal.folder.path().join("ran").exists());
}

#[test]
fn nobody_is_asked_where_it_is_not_wanted() {
    let off = [("--no-suggestions", "1"), ("", "0")];
    for (option, variable) in off {
        let server = Server::start([reply_text("Hello."), reply_text("Again.")]);
        let mut seat = served(S19, &server).variable("MEANWHILE_SUGGESTIONS", variable);
        if !option.is_empty() {
            seat = seat.argument(option);
        }
        let mut terminal = at_prompt(seat, PROMPT);
        terminal.line("hello");
        terminal.until_shows("Hello.");
        terminal.line("hello");
        terminal.until_shows("Again.");
        terminal.line("exit");
        terminal.wait();
        assert_eq!(server.requests().len(), 2);
    }
}

#[test]
fn no_server_is_started_for_it() {
    let seat = Seat::new(S19);
    let config = r#"{"mcpServers": {"odd": {"command": "true"}}}"#;
    fs::write(seat.folder.path().join(".mcp.json"), config).expect("a file");
    let mut terminal = seat.start();
    terminal.until("a line in grey", |screen| screen.ends_with("[Tab]"));
    assert!(!terminal.text().contains("wants to start"));
    terminal.line("/mcp");
    terminal.until_shows("odd  on, not started");
    terminal.until_shows("time  on, not started");
    terminal.until_ends(PROMPT);
    terminal.line("run \"echo begun\"");
    terminal.until_shows(".mcp.json wants to start the server odd");
}

#[test]
fn its_tokens_are_in_the_statistics() {
    let (server, mut terminal) = after_a_turn([reply_text("run the tests")]);
    until_it_stands(&terminal);
    terminal.line("/stats");
    terminal.until("its line", |screen| {
        // One request, with ten tokens read.
        let mut lines = screen.lines().map(|line| line.split_whitespace());
        lines.any(|words| words.take(3).eq(["suggestion", "1", "10"]))
    });
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn enter_twice_at_each_prompt_walks_through_the_page() {
    let lines = to_try();
    assert!(lines.len() > 1);
    let mut terminal = Seat::new(S19).start();
    for line in lines {
        terminal.until_ends(&format!("\ns19 >> {line} [Tab]"));
        thread::sleep(Duration::from_millis(200));
        terminal.send(ENTER);
        terminal.until_ends(&format!("\ns19 >> {line}"));
        terminal.send(ENTER);
    }
    terminal.until_ends(PROMPT);
    assert!(!terminal.text().contains("I did nothing"));
}

#[test]
fn a_demonstration_shows_each_line_in_grey_before_it_is_sent() {
    let said = Lesson::new(S19).argument("--demo").run();
    for line in to_try() {
        said.has(&format!("s19 >> {line} [Tab]\ns19 >> {line}\n"));
    }
}

#[test]
fn nobody_is_asked_where_lines_come_from_a_pipe() {
    let server = Server::start([reply_text("Hello."), reply_text("Again.")]);
    let lesson = Lesson::new(S19).variable("ANTHROPIC_BASE_URL", &server.url());
    let said = lesson.line("hello").line("hello").run();
    said.has_in_order(&["Hello.", "Again."]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn of_a_line_that_is_too_long_the_beginning_is_shown_and_all_of_it_is_taken() {
    let long = format!("run the tests {}once more", "and then ".repeat(12));
    let (server, mut terminal) = after_a_turn([reply_text(&long)]);
    terminal.until("its beginning, in one row", |screen| {
        let row = screen.lines().last().unwrap_or_default();
        row.starts_with("s19 >> run the tests and then") && row.ends_with("… [Tab]")
    });
    thread::sleep(Duration::from_millis(200));
    terminal.send(TAB);
    terminal.until("all of it", |screen| {
        let screen = screen.replace('\n', "");
        screen.ends_with(&format!("s19 >> {long}"))
    });
    assert_eq!(server.requests().len(), 2, "nothing is sent");
}

#[test]
fn what_was_typed_before_the_reply_came_is_no_idle_prompt() {
    let (open, answer) = held(reply_text("Hello."));
    let server = Server::start([answer]);
    let mut terminal = at_prompt(served(S19, &server), PROMPT);
    terminal.line("hello");
    until_asked(&server, 1);
    terminal.send("half a li");
    terminal.until_ends("\ns19 >> half a li");
    let _ = open.send(());
    terminal.until_shows("Hello.");
    server.push(reply_text("Done."));
    server.push(reply_text("-"));
    terminal.line("ne");
    terminal.until_shows("Done.");
    until_asked(&server, 3);
    assert!(said(&server, 1).contains("half a line"));
    assert!(!said(&server, 1).contains(ASKED), "nobody was asked before");
}
