//! The prompt that never stops reading, as a person meets it: at a real pseudo-terminal.

mod support;

use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::prompt::{
    CTRL_C, CTRL_D, CTRL_G, CTRL_R, LEFT, TRACE, at_prompt, gate, is_gone, last_message,
    leaves_everything_as_it_was, open, pid, served, until_on_the_bus, until_traced,
};
use support::server::{Answer, Server, reply_blocks, reply_text, reply_tool};
use support::terminal::{Seat, Terminal, eventually};

const S09: &str = "s09_notifications";
const PROMPT: &str = "\ns09 >>";

fn s09() -> Terminal {
    at_prompt(Seat::new(S09), PROMPT)
}

/// Starts a command in the background that says that it runs and waits at a gate.
fn start(terminal: &mut Terminal, name: &str) {
    gate(terminal, name);
    terminal.line(&format!("run \"cat {name}\" in the background as {name}"));
    until_started(terminal, name);
}

/// Waits until the turn is over that has started this task.
#[track_caller]
fn until_started(terminal: &Terminal, name: &str) {
    let started = format!("\n{name}: started in the background.");
    terminal.until(&started, |screen| {
        screen.contains(&started) && screen.ends_with("\ns09 >>")
    });
}

/// One that would run for ever.
fn start_long(terminal: &mut Terminal) -> Pid {
    terminal.line(r#"run "echo $$ > pid; sleep 600" in the background as long"#);
    until_started(terminal, "long");
    pid(terminal.folder.path(), "pid")
}

#[test]
fn a_result_wakes_the_prompt() {
    let mut terminal = s09();
    start(&mut terminal, "build");
    open(&terminal, "build");
    terminal.until_shows("\n◆ build: finished with exit code 0 after ");
    terminal.until_ends("s\nthrough build\ns09 >>");
    assert_eq!(terminal.text().matches('◆').count(), 1);
}

#[test]
fn a_half_typed_line_stays_as_it_is() {
    let mut terminal = s09();
    start(&mut terminal, "build");
    terminal.send("run \"echo typed\"");
    terminal.send(&LEFT.repeat(3));
    terminal.until_ends("s09 >> run \"echo typed\"");
    open(&terminal, "build");
    terminal.until("the news above the line", |screen| {
        let news = screen
            .find("\n◆ build: finished")
            .zip(screen.find("\nthrough build\n"));
        news.is_some_and(|(start, end)| start < end)
            && screen.ends_with("\ns09 >> run \"echo typed\"")
    });
    // The cursor stands where it stood.
    terminal.send("X");
    terminal.until_ends("\ns09 >> run \"echo typXed\"");
    terminal.send("\r");
    terminal.until_ends("\ntypXed\ns09 >>");
}

#[test]
fn lines_typed_while_the_agent_works_come_next_in_order() {
    let mut terminal = s09();
    start(&mut terminal, "build");
    gate(&terminal, "work");
    terminal.line("run \"cat work\"");
    terminal.until_shows("\n● bash: cat work\n");
    for word in ["first", "second", "third"] {
        terminal.line(&format!("run \"echo {word}\""));
    }
    terminal.until_shows("\n(queued: run \"echo third\")\n");
    open(&terminal, "build");
    until_traced(&terminal, &[r#""ph":"E""#, "finished with exit code 0"]);
    until_on_the_bus(&terminal, "build");
    open(&terminal, "work");
    terminal.until_ends("\nthird\ns09 >>");
    let text = terminal.text();
    let at = |line: &str| {
        text.find(line)
            .unwrap_or_else(|| panic!("no {line:?} in\n{text}"))
    };
    assert!(
        at("\nthrough work\n") < at("\n● bash: echo first\n"),
        "{text}"
    );
    assert!(
        at("\n● bash: echo first\n") < at("\n● bash: echo second\n"),
        "{text}"
    );
    assert!(
        at("\n● bash: echo second\n") < at("\n● bash: echo third\n"),
        "{text}"
    );
    assert!(
        at("\n◆ build: finished") < at("\n● bash: echo first\n"),
        "{text}"
    );
    assert_eq!(text.matches('◆').count(), 1);
}

#[test]
fn a_line_typed_while_it_thinks_is_not_lost() {
    let mut terminal = at_prompt(
        Seat::new(S09).variable("MEANWHILE_THINKING_MS", "600000"),
        PROMPT,
    );
    terminal.line("run \"echo first\"");
    until_traced(&terminal, &[r#""ph":"B""#, "thinking"]);
    terminal.line("run \"echo second\"");
    terminal.until_shows("\n(queued: run \"echo second\")\n");
    terminal.send(CTRL_C);
    // Interrupted is the first; the second begins.
    terminal.until_shows("\nInterrupted.\n");
    until_traced(&terminal, &[r#""ph":"B""#, "turn", "echo second"]);
    terminal.send(CTRL_C);
    terminal.until("two interrupted turns", |screen| {
        screen.matches("\nInterrupted.").count() == 2
    });
}

#[test]
fn ctrl_c_interrupts_and_leaves_the_line_alone() {
    let mut terminal = s09();
    let long = start_long(&mut terminal);
    terminal.line(r#"run "echo so far; echo $$ > work; sleep 600""#);
    let work = pid(terminal.folder.path(), "work");
    terminal.send("run \"echo kept\"");
    terminal.until_ends("s09 >> run \"echo kept\"");
    terminal.send(CTRL_C);
    terminal.until_shows("\nInterrupted.\n");
    terminal.until_ends("\ns09 >> run \"echo kept\"");
    assert!(is_gone(work), "the command still runs");
    assert!(!is_gone(long), "what runs in the background was not meant");
    terminal.send("\r");
    terminal.until_ends("\nkept\ns09 >>");
}

#[test]
fn a_second_ctrl_c_during_a_turn_leaves() {
    let mut terminal = s09();
    let long = start_long(&mut terminal);
    let asked = terminal.folder.path().join("asked");
    terminal.line(
        r#"run "trap 'echo > asked' TERM; echo $$ > work; while true; do sleep 600 & wait; done""#,
    );
    let work = pid(terminal.folder.path(), "work");
    terminal.send(CTRL_C);
    eventually("the command was asked to end", || asked.exists());
    terminal.send(CTRL_C);
    terminal.until_shows(STILL);
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 130);
    eventually("nothing is left", || is_gone(work) && is_gone(long));
}

const STILL: &str = "\nStill running: long. Leaving ends that. Once more to leave.\n";

#[test]
fn leaving_with_tasks_running_is_said_once() {
    for keys in ["exit\r", "q\r", CTRL_D] {
        let mut terminal = s09();
        let long = start_long(&mut terminal);
        terminal.send(keys);
        terminal.until_shows(STILL);
        // Something else in between: it is said again.
        terminal.line("run \"echo between\"");
        terminal.until_ends("\nbetween\ns09 >>");
        terminal.send(keys);
        terminal.until("said again", |screen| screen.matches(STILL).count() == 2);
        assert!(!is_gone(long), "it was ended before the second time");
        terminal.send(keys);
        leaves_everything_as_it_was(&mut terminal, 0);
        terminal.until_shows("\nEnded, as it was still running: long.");
        eventually("nothing is left", || is_gone(long));
    }
}

#[test]
fn with_nothing_running_leaving_is_leaving() {
    for keys in ["exit\r", "/exit\r", CTRL_D, CTRL_C] {
        let mut terminal = s09();
        terminal.send(keys);
        if keys == CTRL_C {
            terminal.until_ends("\nTo leave: exit, Ctrl+D, or Ctrl+C once more.\ns09 >>");
            terminal.send(keys);
        }
        leaves_everything_as_it_was(&mut terminal, 0);
        assert!(!terminal.text().contains("Still running"));
    }
}

#[test]
fn signals_put_the_terminal_back() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut terminal = s09();
        let long = start_long(&mut terminal);
        terminal.line(r#"run "echo $$ > work; sleep 600""#);
        let work = pid(terminal.folder.path(), "work");
        terminal.send("half a line");
        terminal.until_ends("s09 >> half a line");
        assert!(
            !terminal.is_as_before() && terminal.marks_pastes(),
            "lines are edited all the time"
        );
        terminal.signal(signal);
        leaves_everything_as_it_was(&mut terminal, code);
        eventually("nothing is left", || is_gone(work) && is_gone(long));
    }
}

#[test]
fn a_history_search_holds_nothing_up() {
    let mut terminal = s09();
    start(&mut terminal, "one");
    start(&mut terminal, "two");
    terminal.send(CTRL_R);
    terminal.send("run");
    terminal.until_ends("(reverse-i-search)`run': run \"cat two\" in the background as two");
    for name in ["one", "two"] {
        open(&terminal, name);
        until_traced(&terminal, &["\"delivered\"", name]);
    }
    terminal.send(CTRL_G);
    for name in ["one", "two"] {
        terminal.until_shows(&format!("\n◆ {name}: finished with exit code 0 after "));
        terminal.until_shows(&format!("\nthrough {name}\n"));
    }
    assert_eq!(terminal.text().matches('◆').count(), 2);
    terminal.line("run \"echo it goes on\"");
    terminal.until_ends("\nit goes on\ns09 >>");
}

#[test]
fn floods_of_output_leave_the_keyboard_free() {
    let mut terminal = s09();
    for name in ["a", "b", "c", "d"] {
        terminal.line(&format!("run \"yes {name}\" in the background as {name}"));
        until_started(&terminal, name);
    }
    terminal.send("run \"echo typed meanwhile\"");
    terminal.until_ends("s09 >> run \"echo typed meanwhile\"");
    terminal.send("\r");
    terminal.until_ends("\ntyped meanwhile\ns09 >>");
    // On a machine that is busy, one of them may not have begun to print.
    let all_print = (1..=50).any(|times| {
        terminal.line("check all");
        let mut answer = String::new();
        eventually("an answer", || {
            let asked = String::from_utf8_lossy(&terminal.bytes())
                .matches("● check_bg")
                .count();
            let shown = terminal.text();
            answer = shown
                .rsplit("\n● check_bg")
                .next()
                .unwrap_or_default()
                .to_string();
            asked == times && answer.contains("\nd: ") && answer.ends_with("\ns09 >>")
        });
        answer.matches("bytes of output; last line: ").count() >= 4
    });
    assert!(all_print, "not all of them run");
    terminal.line("exit");
    terminal.until_shows("Still running: a, b, c, d.");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

/// A lesson driven by a model that gives these answers, with a person there to be asked.
fn asked(answers: impl IntoIterator<Item = Answer>) -> (Server, Terminal) {
    let server = Server::start(answers);
    let terminal = at_prompt(served(S09, &server), PROMPT);
    (server, terminal)
}

fn bash(id: &str, command: &str) -> Answer {
    reply_tool(id, "bash", json!({ "command": command }))
}

fn bg_bash(id: &str) -> Value {
    let input = json!({ "id": id, "command": format!("cat {id}") });
    json!({ "type": "tool_use", "id": format!("t_{id}"), "name": "bg_bash", "input": input })
}

const QUESTION: &str = "\nAllow it? [y]es, [n]o, [a]lways this tool in this session:\ns09 >>";

#[test]
fn results_that_are_there_together_make_one_turn() {
    let answers = [
        reply_blocks(&[bg_bash("one"), bg_bash("two")], "tool_use"),
        reply_text("both run"),
        Answer::Stall(String::new()),
        reply_text("both are there"),
    ];
    let (server, mut terminal) = asked(answers);
    gate(&terminal, "one");
    gate(&terminal, "two");
    terminal.line("start them");
    terminal.until_ends(QUESTION);
    terminal.line("a");
    terminal.until_ends("\nboth run\ns09 >>");
    terminal.line("go on");
    server.wait_until_stalled();
    for name in ["one", "two"] {
        open(&terminal, name);
    }
    eventually("both have ended", || {
        let trace = fs::read_to_string(terminal.folder.path().join(TRACE)).unwrap_or_default();
        trace.matches("finished with exit code 0").count() == 2
    });
    terminal.send(CTRL_C);
    terminal.until_shows("\nInterrupted.\n");
    terminal.until_ends("\nboth are there\ns09 >>");
    assert_eq!(server.requests().len(), 4, "one turn for both");
    let mut last = last_message(&server, 3);
    last.sort();
    assert_eq!(last, ["delivered: one", "delivered: two", "go on"]);
}

#[test]
fn what_was_typed_before_the_question_is_no_answer() {
    let replies = ["denied", "so it is", "tea then"].map(reply_text);
    let calls = [bash("t1", "cat work"), bash("t2", "touch it")];
    let (server, mut terminal) = asked(calls.into_iter().chain(replies));
    gate(&terminal, "work");
    terminal.line("go on");
    terminal.until_ends(QUESTION);
    terminal.line("y");
    terminal.until_ends("s09 >>");
    terminal.line("y");
    terminal.line("make tea");
    terminal.until_shows("\n(queued: make tea)\n");
    open(&terminal, "work");
    terminal.until_ends(&format!(
        "\nThe agent wants to call bash:\n│ touch it{QUESTION}"
    ));
    assert_eq!(server.requests().len(), 2);
    terminal.line("n");
    terminal.until_ends("\ntea then\ns09 >>");
    assert!(!terminal.folder.path().join("it").exists());
    assert_eq!(
        (last_message(&server, 3), last_message(&server, 4)),
        (vec!["y".into()], vec!["make tea".into()])
    );
}

#[test]
fn a_search_that_hides_the_question_does_not_answer_it() {
    let replies = ["denied", "what?"].map(reply_text);
    let calls = [bash("t1", "cat work"), bash("t2", "touch it")];
    let (server, mut terminal) = asked(calls.into_iter().chain(replies));
    gate(&terminal, "work");
    terminal.line("go on");
    terminal.until_ends(QUESTION);
    terminal.line("y");
    until_traced(&terminal, &[r#""ph":"B""#, "cat work"]);
    terminal.until_ends("s09 >> y\ns09 >>");
    terminal.send(CTRL_R);
    terminal.send("y");
    terminal.until_ends("(reverse-i-search)`y': y");
    open(&terminal, "work");
    until_traced(&terminal, &[r#""ph":"B""#, "touch it"]);
    terminal.send("\r");
    terminal.until_ends(&format!(
        "\nThe agent wants to call bash:\n│ touch it{QUESTION}"
    ));
    terminal.line("n");
    terminal.until_ends("\nwhat?\ns09 >>");
    assert!(
        !terminal.folder.path().join("it").exists(),
        "allowed unseen"
    );
    assert_eq!(last_message(&server, 3), ["y"]);
}

#[test]
fn a_result_that_arrives_during_the_question_is_delivered_afterwards() {
    let answers = [
        reply_blocks(&[bg_bash("build")], "tool_use"),
        bash("t2", "touch it"),
        reply_text("as you wish"),
    ];
    let (server, mut terminal) = asked(answers);
    gate(&terminal, "build");
    terminal.line("go on");
    terminal.until_ends(QUESTION);
    terminal.line("y");
    terminal.until_ends(&format!("touch it{QUESTION}"));
    open(&terminal, "build");
    until_traced(&terminal, &[r#""ph":"E""#, "finished with exit code 0"]);
    until_on_the_bus(&terminal, "build");
    assert!(!terminal.text().contains('◆'), "it cut in on the question");
    terminal.line("n");
    terminal.until_ends("\nas you wish\ns09 >>");
    let last = last_message(&server, 2);
    assert!(
        last[0].starts_with("result: ERROR: the user said no"),
        "{last:?}"
    );
    assert_eq!(last[1..], ["delivered: build"]);
    assert_eq!(terminal.text().matches('◆').count(), 1);
}

#[test]
fn no_more_input_is_a_no_and_the_keyboard_goes_on() {
    let answers = [
        bash("t1", "touch it"),
        reply_text("as you wish"),
        reply_text("here I am"),
    ];
    let (_server, mut terminal) = asked(answers);
    terminal.line("go on");
    terminal.until_ends(QUESTION);
    terminal.send(CTRL_D);
    terminal.until_ends("\nas you wish\ns09 >>");
    assert!(!terminal.folder.path().join("it").exists());
    terminal.line("are you there?");
    terminal.until_ends("\nhere I am\ns09 >>");
    terminal.send(CTRL_D);
    leaves_everything_as_it_was(&mut terminal, 0);
}

#[test]
fn a_word_that_leaves_is_no_answer() {
    let (_server, mut terminal) = asked([bash("t1", "touch it"), reply_text("done")]);
    terminal.line("go on");
    terminal.until_ends(QUESTION);
    for (times, word) in [(1, "exit"), (2, "q"), (3, ""), (4, "maybe"), (5, "yy")] {
        terminal.line(word);
        // In this order: the screen ends like this before the word, too.
        terminal.until("told again", |screen| {
            screen.matches("\nPlease type y, n or a.").count() == times
        });
        terminal.until_ends(&format!("\nPlease type y, n or a.{QUESTION}"));
    }
    terminal.line("y");
    terminal.until_ends("\ndone\ns09 >>");
    assert!(terminal.folder.path().join("it").exists());
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

#[test]
fn a_wish_to_leave_from_before_the_question_comes_after_it() {
    for keys in ["exit\r", CTRL_D] {
        let calls = [
            bash("t1", "cat work"),
            bash("t2", "touch it"),
            reply_text("done"),
        ];
        let (_server, mut terminal) = asked(calls);
        gate(&terminal, "work");
        terminal.line("go on");
        terminal.until_ends(QUESTION);
        terminal.line("y");
        until_traced(&terminal, &[r#""ph":"B""#, "cat work"]);
        terminal.until("the editor is there again", |screen| {
            screen.contains("s09 >> y\n") && screen.ends_with("\ns09 >>")
        });
        terminal.send(keys);
        terminal.until_shows("\n(queued: exit)\n");
        open(&terminal, "work");
        terminal.until_ends(&format!("touch it{QUESTION}"));
        terminal.line("y");
        leaves_everything_as_it_was(&mut terminal, 0);
        terminal.until_shows("\ndone\n");
        assert!(terminal.folder.path().join("it").exists());
    }
}

#[test]
fn ctrl_c_at_the_question_interrupts_the_turn() {
    let (_server, mut terminal) = asked([bash("t1", "touch it"), reply_text("something else")]);
    terminal.line("go on");
    terminal.until_ends(QUESTION);
    terminal.send("do something else");
    terminal.until_ends("s09 >> do something else");
    terminal.send(CTRL_C);
    terminal.until_shows("\nInterrupted.\n");
    terminal.until_ends("\ns09 >> do something else");
    assert!(!terminal.folder.path().join("it").exists());
    terminal.send("\r");
    terminal.until_ends("\nsomething else\ns09 >>");
}
