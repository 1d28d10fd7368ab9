//! The conversation on the screen: `/messages`, `--step`, and the phrases `call` and `together`,
//! with which a person sees what else only a real model brings about.

mod support;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meanwhile::agent::Agent;
use meanwhile::aids::practice::Practice;
use meanwhile::message::{ContentBlock, Message, push_user};
use meanwhile::tool::{Access, Context, Tool};
use serde_json::{Map, Value, json};
use support::program::{Lesson, Transcript};
use support::prompt::{at_prompt, gate, open, until_on_the_bus, until_traced};
use support::server::{Server, reply_text, reply_tool};
use support::terminal::Seat;

const S01: &str = "s01_agent_loop";
const S10: &str = "s10_background_agents";

/// What stands between a typed line and the next prompt.
#[track_caller]
fn answer<'a>(run: &'a Transcript, line: &str) -> &'a str {
    let start = format!(" >> {line}\n");
    let (_, rest) = run
        .out
        .split_once(&start)
        .unwrap_or_else(|| panic!("{line} was not typed:\n{}", run.out));
    let prompt = |at: &usize| rest.get(at + 4..at + 8) == Some(" >> ");
    let mut ends = rest.match_indices('\n').map(|(at, _)| at);
    let end = ends.find(prompt).expect("a prompt after it");
    rest.split_at(end).0
}

/// The lines of a lesson's page that are to be tried.
fn tries(lesson: &str) -> Vec<String> {
    let page = fs::read_to_string(format!("lessons/{lesson}/README.md")).expect("a page");
    let prompt = format!("{} >> ", lesson.split('_').next().expect("a name"));
    let (_, tries) = page.split_once("\n## Try it\n").expect("lines to try");
    let (tries, _) = tries.split_once("\n## ").expect("a section after it");
    let lines = tries.lines().filter_map(|line| line.strip_prefix(&prompt));
    lines.map(str::to_string).collect()
}

// ---- /messages ----

#[test]
fn messages_lists_number_role_kind_and_first_lines() {
    let long = r#"run "seq 5; printf '%0130d' 7""#;
    let run = Lesson::new(S01)
        .line(r#"run "echo hello""#)
        .line("/messages")
        .line(long)
        .line("  /messages   all ")
        .line("/messages ")
        .run();
    let first = r#"1 user
  text: run "echo hello"
2 assistant
  tool_use toolu_practice_1_0: bash {"command":"echo hello"}
3 user
  tool_result toolu_practice_1_0: hello
4 assistant
  text: hello"#;
    assert_eq!(answer(&run, "/messages"), first);
    let all = answer(&run, "  /messages   all ");
    assert!(all.starts_with(first), "{all}");
    let number = format!("{}7", "0".repeat(129));
    assert!(all.contains(&format!(
        "_5_0: 1\n    2\n    3\n    4\n    5\n    {number}\n8 "
    )));
    let short = answer(&run, "/messages ");
    let end = "_5_0: 1\n    2\n    3\n    … 3 more lines, 140 bytes in all\n8 assistant\n";
    assert!(short.contains(end), "{short}");
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
}

#[test]
fn long_lines_are_cut_in_the_list_alone() {
    let word = "é".repeat(150);
    let run = Lesson::new(S01)
        .line(&format!("run \"echo {word}\""))
        .line("/messages")
        .line("/messages all")
        .run();
    let cut = format!("tool_result toolu_practice_1_0: {} …\n", "é".repeat(100));
    assert!(answer(&run, "/messages").contains(&cut), "{}", run.out);
    let whole = format!("tool_result toolu_practice_1_0: {word}\n");
    assert!(answer(&run, "/messages all").contains(&whole));
}

#[test]
fn a_message_is_shown_as_the_server_gets_it() {
    let call = reply_tool(
        "toolu_1",
        "bash",
        json!({ "command": "echo 'a\\b'; exit 3" }),
    );
    let server = Server::start([call, reply_text("It failed."), reply_text("Yes.")]);
    let mut lesson = Lesson::new(S01)
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .variable("ANTHROPIC_API_KEY", "sk-ant-test")
        .line("try it")
        .line("really?");
    for number in 1..=5 {
        lesson = lesson.line(&format!("/messages {number}"));
    }
    let run = lesson.run();
    let mut sent = server.requests()[2].messages().to_vec();
    for block in sent.iter_mut().flat_map(|it| it["content"].as_array_mut()) {
        for field in block.iter_mut().filter_map(Value::as_object_mut) {
            field.remove("cache_control"); // belongs to the request, not to the message
        }
    }
    assert_eq!(sent.len(), 5);
    for (index, message) in sent.iter().enumerate() {
        let shown = answer(&run, &format!("/messages {}", index + 1));
        let shown: Value = serde_json::from_str(shown).expect("JSON");
        assert_eq!(shown, *message);
    }
    assert_eq!(sent[2]["content"][0]["is_error"], true);
}

#[test]
fn every_lesson_has_it_and_without_a_conversation_it_says_so() {
    let lessons = fs::read_dir("lessons").expect("the lessons");
    let mut count = 0;
    for lesson in lessons {
        let name = lesson.expect("a lesson").file_name();
        let name = name.to_str().expect("a name");
        let run = Lesson::new(name)
            .line("/messages")
            .line("/messages 1")
            .line("/help")
            .line(r#"run "echo hello""#)
            .line("/clear")
            .line("/messages all")
            .line("/messages1")
            .line("/clear all")
            .run();
        for line in ["/messages", "/messages 1", "/messages all"] {
            let empty = "The conversation is empty. Your next line begins it.";
            assert_eq!(answer(&run, line), empty, "{name}");
        }
        assert!(answer(&run, "/help").contains("\n  /messages [all|N] the conversation;"));
        // Other commands are refused as before.
        run.has("There is no command /messages1. /help")
            .has("There is no command /clear all. ");
        count += 1;
    }
    assert!(count >= 11, "{count} lessons");
}

#[test]
fn a_wrong_argument_is_answered_with_a_sentence() {
    let wrong = ["0", "5", "-1", "+", "1 2", "al", "99999999999999999999999"];
    let mut lesson = Lesson::new(S01).line(r#"run "echo hello""#);
    for argument in wrong {
        lesson = lesson.line(&format!("/messages {argument}"));
    }
    let run = lesson.line("/timeline").run();
    for argument in wrong {
        let sentence = answer(&run, &format!("/messages {argument}"));
        assert!(
            sentence.starts_with(&format!("There is no message {argument}. Type /messages"))
                && sentence.contains(" a number from 1 to 4 "),
            "{sentence}"
        );
    }
    assert!(
        answer(&run, "/timeline").contains("thinking"),
        "the last turn is still the last turn"
    );
}

#[test]
fn control_characters_are_shown_not_sent() {
    let run = Lesson::new(S01)
        .bytes(b"what \x1b[2J\x07 is \xe2\x80\xae this\n")
        .line("/messages")
        .line("/messages all")
        .line("/messages 1")
        .run();
    for line in ["/messages", "/messages all"] {
        assert!(answer(&run, line).starts_with("1 user\n  text: what ^[[2J^G is \\u{202e} this\n"));
    }
    run.has_not("\x1b").has_not("\x07").has_not("\u{202e}");
}

// ---- call and together ----

/// What an agent says with one more tool, which the practice model has never heard of.
fn with_tool(prompt: &str) -> (Vec<Message>, Vec<Value>) {
    let inputs = Arc::new(Mutex::new(Vec::new()));
    let seen = inputs.clone();
    let schema = json!({ "type": "object", "properties": { "zone": { "type": "string" } } });
    let now = Tool::new(
        "now",
        "The time.",
        schema,
        Access::Free,
        move |input: Map<String, Value>, _| {
            seen.lock()
                .expect("nobody panics")
                .push(Value::Object(input));
            Ok("it is noon".to_string())
        },
    );
    let thinking = Duration::ZERO;
    let lines = Vec::new();
    let model = Arc::new(Practice { thinking, lines });
    let mut agent = Agent::new(model, "", Context::default());
    agent.toolbox.add([now]);
    let mut messages = Vec::new();
    push_user(&mut messages, prompt);
    loop {
        let reply = agent.ask(&mut messages).expect("a reply");
        if reply.tool_calls().is_empty() {
            let inputs = inputs.lock().expect("nobody panics").clone();
            return (messages, inputs);
        }
        agent.run_tools(reply, &mut messages);
    }
}

fn last_text(messages: &[Message]) -> &str {
    let last = messages.last().and_then(|message| message.content.last());
    last.and_then(ContentBlock::as_text).expect("a text")
}

#[test]
fn a_tool_that_somebody_added_can_be_called() {
    let (messages, inputs) = with_tool("call now {}");
    assert_eq!(
        (inputs, last_text(&messages)),
        (vec![json!({})], "it is noon")
    );
    let zone = r#"{"zone": "a; b, then {\"c\"} \\"}"#;
    let (_, inputs) = with_tool(&format!("Call now {zone}, then call now {{}}."));
    let zone: Value = serde_json::from_str(zone).expect("JSON");
    assert_eq!(inputs, [zone, json!({})]);
}

#[test]
fn a_call_that_cannot_be_made_is_answered_with_a_sentence() {
    let (messages, inputs) = with_tool("call nwo {}");
    let sentence = "call nwo {} failed: ERROR: there is no tool \"nwo\". The tools are: now.";
    assert_eq!((last_text(&messages), inputs.len()), (sentence, 0));
    for (prompt, sentence) in [
        (
            "call now {zone}",
            "This is not a JSON object: {zone}. I did nothing. ",
        ),
        (
            r#"call now {"zone": "a""#,
            r#"This is not a JSON object: {"zone": "a". I did nothing. "#,
        ),
        (
            "call now",
            "I do not understand \"call now\". I did nothing. ",
        ),
        (
            "call now [1]",
            "I do not understand \"call now [1]\". I did nothing. ",
        ),
        (
            "call now {} {}",
            "I do not understand \"call now {} {}\". I did nothing. ",
        ),
    ] {
        let (messages, inputs) = with_tool(prompt);
        let text = last_text(&messages);
        assert!(text.starts_with(sentence) && inputs.is_empty(), "{text}");
        assert!(text.ends_with(":\n  call NAME {json}"), "{text}");
    }
    let (messages, _) = with_tool(r#"call now {"place": "here"}"#);
    assert!(last_text(&messages).contains("does not fit the schema of now: unknown field `place`"));
}

#[test]
fn together_makes_several_calls_in_one_reply() {
    let prompt =
        "together: call now {}; call now {\"zone\": \"b\"}, then call now {\"zone\": \"c\"}";
    let (messages, inputs) = with_tool(prompt);
    assert_eq!(
        inputs,
        [json!({}), json!({ "zone": "b" }), json!({ "zone": "c" })]
    );
    let sizes: Vec<usize> = messages.iter().map(|it| it.content.len()).collect();
    assert_eq!(sizes, [1, 2, 2, 1, 1, 1]);
    assert_eq!(last_text(&messages).lines().count(), 3);
    // What cannot be done takes nothing from the others.
    let (messages, inputs) = with_tool("together: read a.txt; call now {}; call nwo {}");
    assert_eq!((messages[1].content.len(), inputs.len()), (2, 1));
    let report = "1. read a.txt failed: it needs the tool read_file, which is not offered here (s02 brings it)\n2. call now {}: it is noon\n3. call nwo {} failed: ERROR: there is no tool \"nwo\". The tools are: now.";
    assert_eq!(last_text(&messages), report);
    for prompt in [
        "together: call now {}; what is this",
        "together: together: call now {}",
    ] {
        let (messages, inputs) = with_tool(prompt);
        assert!(
            last_text(&messages).starts_with("I do not understand \"together: ")
                && inputs.is_empty()
        );
    }
}

#[test]
fn together_shows_in_s10_what_is_resolved() {
    let mut terminal = at_prompt(Seat::new(S10), "\ns10 >>");
    gate(&terminal, "gate");
    terminal.line(
        r#"together: delegate "run 'echo 3 notes'" as count-notes; run "cat gate"; show todos"#,
    );
    until_traced(&terminal, &[r#""ph":"E""#, r#""name":"count-notes""#]);
    until_on_the_bus(&terminal, "count-notes");
    open(&terminal, "gate");
    terminal.until_shows(" s · [resolved] count-notes: 3 notes\n◆ count-notes: finished after ");
    terminal.until_ends("\n3. show todos: [resolved] count-notes: 3 notes\ns10 >>");
    terminal.line("show todos");
    terminal.until_ends("\n[completed] count-notes\ns10 >>");
}

// ---- --step ----

#[test]
fn with_step_enter_plays_the_page_and_each_request_is_shown() {
    let lines = tries(S01);
    let mut terminal = Seat::new(S01).argument("--step").start();
    terminal.until_ends("exit to leave.\ns01 >>");
    terminal.until_shows("\nWith --step, Enter plays the next line.\n");
    terminal.line("");
    let first = format!(
        "\ns01 >> {}\n(new in this request:\n1 user\n  text: run \"printf ",
        lines[0]
    );
    terminal.until_shows(&first);
    terminal.until("the second request has what is new", |screen| {
        screen
            .contains("\n(new in this request:\n2 assistant\n  tool_use toolu_practice_1_0: bash {")
            && screen.contains("\n3 user\n  tool_result toolu_practice_1_0:       2 GET /\n")
    });
    terminal.until_ends("\n      1 GET /about\ns01 >>");
    assert_eq!(terminal.text().matches("new in this request").count(), 2);
    // A line of one's own comes in between.
    terminal.line(r#"run "echo mine""#);
    terminal.until_shows("\n(new in this request:\n4 assistant\n  text: ");
    terminal.until_ends("\nmine\ns01 >>");
    terminal.line("");
    terminal.until_ends("\n3. run \"cat notes.txt\": call Ada\ns01 >>");
    terminal.line("");
    terminal.until_shows(&format!("\ns01 >> {}\n(new in this request:\n", lines[2]));
    terminal.until_shows("_0: bash {\"command\":\"sleep 60 & echo started\"}\n");
    // The turn has ended: what an empty line is told stands last on the screen.
    terminal.until_ends(" program ends.]\ns01 >>");
    terminal.line("");
    terminal.until_ends("\nThat was the page's last line for this prompt; exit leaves.\ns01 >>");
}

#[test]
fn step_shows_each_conversation_by_itself_and_what_was_shortened() {
    let run = Lesson::new("s04_subagent")
        .argument("--step")
        .line("")
        .run();
    run.has_in_order(&[
        "(new in this request:\n2 assistant\n",
        "● task: ",
        "  sub-agent │ (new in this request:\n1 user\n  text: summarise this conversation)\n",
        "(new in this request:\n4 assistant\n",
    ]);
    let run = Lesson::new("s06_context_compact").argument("--step");
    let run = run
        .line("")
        .line("")
        .line("")
        .line("/clear")
        .line("help")
        .line("help")
        .run();
    run.has_in_order(&[
        // Of what was sent before, the message that has changed.
        "(new in this request:\n5 user\n",
        "… 9 more lines, 264 bytes in all\n10 assistant\n",
        "(new in this request:\n7 user\n",
        "… 9 more lines, 264 bytes in all\n12 assistant\n",
        "\ns06 >> /compact\n",
        "  compact │ (new in this request:\n14 assistant\n",
        "(new in this request:\n1 user\n  text, from the harness: <summary>\n",
        "  text: summarise this conversation, then run",
        "(new in this request:\n1 user\n  text: help)\n",
        "(new in this request:\n2 assistant\n",
        "3 user\n  text: help)\n",
    ]);
}
