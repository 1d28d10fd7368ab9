//! The practice model, asked as a lesson asks it: reply, fake result, reply, … to the end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meanwhile::agent::Agent;
use meanwhile::aids::practice::Practice;
use meanwhile::compact::Compactor;
use meanwhile::event::{Event, Events};
use meanwhile::interrupt::Interrupt;
use meanwhile::message::{
    ContentBlock, Message, Reply, Role, StopReason, ToolCall, push_note, push_user,
};
use meanwhile::model::anthropic::repair;
use meanwhile::model::{Model, ModelError, Request};
use meanwhile::tool::{Access, Context, Tool};
use serde_json::{Value, json};

const ALL: &[&str] = &[
    "bash",
    "read_file",
    "write_file",
    "edit_file",
    "todo",
    "task",
    "load_skill",
    "task_create",
    "task_update",
    "task_list",
    "task_get",
    "bg_bash",
    "check_bg",
    "dispatch",
    "monitor",
    "timer",
    "send",
];
const S07: &[&str] = &[
    "bash",
    "read_file",
    "write_file",
    "edit_file",
    "todo",
    "task",
    "load_skill",
    "task_create",
    "task_update",
    "task_list",
    "task_get",
];

const MODEL: Practice = Practice {
    thinking: Duration::ZERO,
    lines: Vec::new(),
};

fn ask_with(
    interrupt: &Interrupt,
    tools: &[&'static str],
    messages: &[Message],
) -> Result<Reply, ModelError> {
    let tool = |name: &&'static str| {
        let handler = |_: Value, _: &Context| Ok(String::new());
        Arc::new(Tool::new(*name, "", json!({}), Access::Free, handler))
    };
    let tools: Vec<_> = tools.iter().map(tool).collect();
    let streamed = Arc::new(Mutex::new(String::new()));
    let seen = streamed.clone();
    let events = Events::default().with(Box::new(move |stamped| match stamped.event {
        Event::Text(text) => seen.lock().unwrap().push_str(text),
        Event::Waiting { .. } => {}
        other => panic!("unexpected: {other:?}"),
    }));
    let request = Request {
        system: "",
        messages,
        tools: &tools,
        events: &events,
        interrupt,
    };
    let reply = MODEL.reply(&request)?;
    assert_eq!(*streamed.lock().unwrap(), reply.text());
    let mut repaired = reply.clone();
    repair(&mut repaired, messages);
    assert_eq!(repaired, reply, "the reply is fit for the history as it is");
    Ok(reply)
}

#[track_caller]
fn ask(tools: &[&'static str], messages: &[Message]) -> Reply {
    let reply = ask_with(&Interrupt::default(), tools, messages).expect("a reply");
    assert!(!reply.content.is_empty() && reply.tool_calls().len() <= 1);
    let stop_reason = if reply.tool_calls().is_empty() {
        StopReason::EndTurn
    } else {
        StopReason::ToolUse
    };
    assert_eq!(reply.stop_reason, stop_reason);
    reply
}

/// One turn: the calls that were made, and the text of the last reply.
struct Turn {
    calls: Vec<(String, Value)>,
    remarks: String,
    text: String,
}

/// Goes on with the conversation until no call comes; `answer` plays the tools.
fn walk(
    tools: &[&'static str],
    messages: &mut Vec<Message>,
    mut answer: impl FnMut(&str, &Value) -> (String, bool),
) -> Turn {
    let (mut calls, mut remarks) = (Vec::new(), String::new());
    loop {
        let reply = ask(tools, messages);
        assert_eq!(
            ask(tools, messages),
            reply,
            "the same request, the same reply"
        );
        messages.push(Message {
            role: Role::Assistant,
            content: reply.content.clone(),
        });
        let Some(call) = reply.tool_calls().pop() else {
            return Turn {
                calls,
                remarks,
                text: reply.text(),
            };
        };
        remarks += &reply.text();
        assert!(
            tools.contains(&call.name.as_str()),
            "{} was not offered",
            call.name
        );
        let (content, is_error) = answer(&call.name, &call.input);
        let tool_use_id = call.id.to_string();
        calls.push((call.name.to_string(), call.input.clone()));
        let content = vec![ContentBlock::ToolResult {
            tool_use_id,
            content,
            is_error,
        }];
        messages.push(Message {
            role: Role::User,
            content,
        });
        let mut ids: Vec<String> = messages
            .iter()
            .flat_map(|m| &m.content)
            .filter_map(use_id)
            .collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "every call has an id of its own");
    }
}

/// A message of the harness.
fn note(text: &str) -> Message {
    let mut messages = Vec::new();
    push_note(&mut messages, text);
    messages.remove(0)
}

fn use_id(block: &ContentBlock) -> Option<String> {
    if let ContentBlock::ToolUse(ToolCall { id, .. }) = block {
        Some(id.clone())
    } else {
        None
    }
}

fn turn(tools: &[&'static str], prompt: &str) -> Turn {
    walk(tools, &mut vec![Message::user(prompt)], |name, _| {
        (format!("{name} is done\nmore"), false)
    })
}

fn call(name: &str, input: Value) -> (String, Value) {
    (name.to_string(), input)
}

#[test]
fn every_phrase_becomes_its_call() {
    let table = [
        (r#"run "ls -l""#, "bash", json!({"command": "ls -l"})),
        ("RUN 'ls'.", "bash", json!({"command": "ls"})),
        (
            "please run `echo \"it's\"`",
            "bash",
            json!({"command": "echo \"it's\""}),
        ),
        (
            "run “echo \"a, then b\"”",
            "bash",
            json!({"command": "echo \"a, then b\""}),
        ),
        (
            r#"run "echo \"x\" \\n""#,
            "bash",
            json!({"command": r#"echo "x" \\n"#}),
        ),
        ("run \"a\nb\"", "bash", json!({"command": "a\nb"})),
        (
            r#"run "make; x" in the background as build"#,
            "bg_bash",
            json!({"id": "build", "command": "make; x"}),
        ),
        (
            r#"run "a" in background as 'my build'."#,
            "bg_bash",
            json!({"id": "my build", "command": "a"}),
        ),
        ("check build", "check_bg", json!({"id": "build"})),
        ("Check ALL.", "check_bg", json!({})),
        ("wait for build", "check_bg", json!({"id": "build"})),
        ("and wait for all", "check_bg", json!({})),
        (
            "read src/don't.rs",
            "read_file",
            json!({"path": "src/don't.rs"}),
        ),
        ("read ../..", "read_file", json!({"path": "../.."})),
        ("read \"my file\".", "read_file", json!({"path": "my file"})),
        (
            r#"write "a\nb" to n.txt"#,
            "write_file",
            json!({"path": "n.txt", "content": "a\nb"}),
        ),
        (
            r#"write "" to n.txt."#,
            "write_file",
            json!({"path": "n.txt", "content": ""}),
        ),
        (
            r#"replace "a\nb" with "c" in n.txt"#,
            "edit_file",
            json!({"path": "n.txt", "old_text": "a\\nb", "new_text": "c"}),
        ),
        ("create task \"A\"", "task_create", json!({"subject": "A"})),
        (
            "create task \"B\" after 1",
            "task_create",
            json!({"subject": "B", "blockedBy": [1]}),
        ),
        (
            "create task \"B\" after 1 and 2",
            "task_create",
            json!({"subject": "B", "blockedBy": [1, 2]}),
        ),
        (
            "create task \"B\" after #1, 2,3",
            "task_create",
            json!({"subject": "B", "blockedBy": [1, 2, 3]}),
        ),
        (
            "create task \"A\" for explore",
            "task_create",
            json!({"subject": "A", "agent": "explore"}),
        ),
        (
            "create task \"A\" for explore after 1 2",
            "task_create",
            json!({"subject": "A", "agent": "explore", "blockedBy": [1, 2]}),
        ),
        (
            "create task \"A\" for tester in a worktree",
            "task_create",
            json!({"subject": "A", "agent": "tester", "worktree": true}),
        ),
        (
            "create task \"A\" for tester in a worktree after 3",
            "task_create",
            json!({"subject": "A", "agent": "tester", "worktree": true, "blockedBy": [3]}),
        ),
        ("dispatch release", "dispatch", json!({"name": "release"})),
        (
            "dispatch release with 1, 2",
            "dispatch",
            json!({"name": "release", "tasks": [1, 2]}),
        ),
        (
            "monitor \"cargo watch\" as suite",
            "monitor",
            json!({"id": "suite", "command": "cargo watch"}),
        ),
        (
            "monitor \"cargo watch\" as suite and wake me",
            "monitor",
            json!({"id": "suite", "command": "cargo watch", "wake": true}),
        ),
        (
            "tell ann \"look again\"",
            "send",
            json!({"to": "ann", "text": "look again"}),
        ),
        (
            "tell ann, ben and cid \"look again\"",
            "send",
            json!({"to": "ann,ben,cid", "text": "look again"}),
        ),
        (
            "tell \"ann,ben\" \"look again\"",
            "send",
            json!({"to": "ann,ben", "text": "look again"}),
        ),
        (
            "remind me in 600 seconds \"look again\" as tea",
            "timer",
            json!({"id": "tea", "seconds": 600, "note": "look again"}),
        ),
        (
            "remind me every 60 seconds \"look again\" as tea",
            "timer",
            json!({"id": "tea", "seconds": 60, "note": "look again", "repeat": true}),
        ),
        (
            "start task 1",
            "task_update",
            json!({"id": 1, "status": "in_progress"}),
        ),
        (
            "complete task 12",
            "task_update",
            json!({"id": 12, "status": "completed"}),
        ),
        ("list tasks", "task_list", json!({})),
        ("list the tasks", "task_list", json!({})),
        ("show task 1", "task_get", json!({"id": 1})),
        (
            r#"delegate "run \"ls\", then read a.txt""#,
            "task",
            json!({"description": "run \"ls\", then read a.txt", "prompt": "run \"ls\", then read a.txt"}),
        ),
        (
            "delegate 'run \"ls\"' to the explore",
            "task",
            json!({"description": "run \"ls\"", "prompt": "run \"ls\"", "agent": "explore"}),
        ),
        (
            "delegate 'help' as look in the foreground",
            "task",
            json!({"description": "look", "prompt": "help", "wait": true}),
        ),
        (
            "run \"ls\" with timeout 2",
            "bash",
            json!({"command": "ls", "timeout_seconds": 2}),
        ),
        ("load skill git", "load_skill", json!({"name": "git"})),
        (
            r#"please call load_skill {"name": "a, then b"}."#,
            "load_skill",
            json!({"name": "a, then b"}),
        ),
        ("together: list tasks;", "task_list", json!({})),
        ("read a.txt,\n", "read_file", json!({"path": "a.txt"})),
        ("load the skill git", "load_skill", json!({"name": "git"})),
    ];
    for (prompt, tool, input) in table {
        let turn = turn(ALL, prompt);
        assert_eq!(turn.calls, [call(tool, input)], "{prompt}");
        assert_eq!(turn.text, format!("{tool} is done\nmore"), "{prompt}");
    }
}

#[test]
fn steps_run_in_order_however_they_are_joined() {
    let bash = |command: &str| call("bash", json!({"command": command}));
    for joint in [
        ", then ",
        " then ",
        "; then ",
        ". Then ",
        "\n",
        ",\r\nthen ",
        ", then please ",
    ] {
        let turn = turn(
            ALL,
            &format!("run \"a, then b\"{joint}run \"c\"{joint}read x.txt"),
        );
        let read = call("read_file", json!({"path": "x.txt"}));
        assert_eq!(
            turn.calls,
            [bash("a, then b"), bash("c"), read],
            "{joint:?}"
        );
        assert_eq!(
            turn.text,
            "1. run \"a, then b\": bash is done\n2. run \"c\": bash is done\n3. read x.txt: read_file is done"
        );
    }
}

/// The scenario of the s08 page.
const SCENARIO: &str = r#"run "sleep 3; echo built" in the background as build, then write "hello" to notes.txt, then check build, then wait for build"#;

#[test]
fn waiting_asks_until_nothing_runs() {
    let mut polls = [
        "[running] 1.2 s; 0 bytes of output",
        "[running] 2.0 s",
        "[shell exited] 2.4 s; 2 processes still running; 0 bytes of output",
        "finished with exit code 0 after 3.0 s\nbuild: [running] 1.2 s",
    ]
    .into_iter();
    let turn = walk(ALL, &mut vec![Message::user(SCENARIO)], |name, _| {
        let text = if name == "check_bg" {
            polls.next().expect("no more polls")
        } else {
            "started."
        };
        (format!("build: {text}"), false)
    });
    let names: Vec<&str> = turn.calls.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "bg_bash",
            "write_file",
            "check_bg",
            "check_bg",
            "check_bg",
            "check_bg"
        ]
    );
    assert!(polls.next().is_none());
    let last = turn.text.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "4. wait for build: build: finished with exit code 0 after 3.0 s · build: [running] 1.2 s"
    );
}

#[test]
fn waiting_for_all_looks_at_every_line_and_an_error_ends_it() {
    let mut polls = [
        "a: finished\nb: [running] 1.0 s",
        "a: finished\nb: finished",
    ]
    .into_iter();
    let mut next = |_: &str, _: &Value| (polls.next().expect("no more polls").to_string(), false);
    let turn = walk(ALL, &mut vec![Message::user("wait for all")], &mut next);
    assert_eq!(
        (turn.calls.len(), turn.text.as_str()),
        (2, "a: finished\nb: finished")
    );

    let unknown = |_: &str, _: &Value| ("x: [running] 1.0 s".to_string(), true);
    let turn = walk(ALL, &mut vec![Message::user("wait for x")], unknown);
    assert_eq!(turn.calls.len(), 1);
    assert!(
        turn.text.starts_with("wait for x failed: "),
        "{}",
        turn.text
    );
}

/// What `check_bg` says of tasks that have all ended.
fn all_ended(id: &Value, ids: &[&str]) -> String {
    let line = |id: &&str| format!("{id}: finished with exit code 0 after 3.0 s");
    match id.as_str() {
        Some(id) => line(&id) + "\n[running] 1.0 s; x: [running] 1.0 s",
        None => ids.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn an_id_that_looks_like_a_mark_does_not_make_it_poll_for_ever() {
    let ids = ["still running", "[running]", "a: [running] 1.0 s", "a"];
    let start = ids.map(|id| format!("run \"x\" in the background as \"{id}\""));
    for (wait, checks) in [
        ("all", 1),
        ("\"[running]\"", 1),
        ("\"a: [running] 1.0 s\"", 1),
    ] {
        let prompt = format!("{}, then wait for {wait}", start.join(", then "));
        let turn = walk(ALL, &mut vec![Message::user(prompt)], |name, input| {
            let text = match name {
                "check_bg" => all_ended(&input["id"], &ids),
                _ => format!("{}: started.", input["id"].as_str().unwrap_or_default()),
            };
            (text, false)
        });
        assert_eq!(
            turn.calls.len(),
            ids.len() + checks,
            "{wait}: {}",
            turn.text
        );
    }
}

#[test]
fn output_that_looks_like_a_mark_is_only_output() {
    // In s08 the wait asks once; from s09 on it ends the turn, as the result comes by itself.
    let delivers: Vec<&str> = ALL.iter().copied().chain(["stop_bg"]).collect();
    for tools in [ALL, &delivers] {
        let prompt = "run \"x\", then read y, then wait for build, then wait for all";
        let turn = walk(tools, &mut vec![Message::user(prompt)], |name, input| {
            let imitated = "build: [running] moved to the background by the user; …";
            let text = match name {
                "bash" => format!("first\n{imitated}\nlast"),
                "check_bg" => all_ended(&input["id"], &["build"]),
                _ => imitated.to_string(),
            };
            (text, false)
        });
        assert_eq!(turn.calls.len(), 4, "{}", turn.text);
    }
}

#[test]
fn what_was_moved_to_the_background_is_awaited() {
    let tools: Vec<&str> = ALL.iter().copied().chain(["stop_bg"]).collect();
    let prompt = "run \"x\", then run \"y\", then delegate \"z\" as look in the foreground, then delegate \"z\" as deep, then wait for all";
    let mut messages = vec![Message::user(prompt)];
    let turn = walk(&tools, &mut messages, |name, input| {
        let text = match name {
            "bash" if input["command"] == "x" => {
                "bash-1: [running] moved to the background by the user; you will …"
            }
            "bash" => {
                "out\nbash-2: [shell exited] 1 process that it started is still running in the background."
            }
            _ if input["wait"] == true => {
                "look: [running] moved to the background by the user; you will …"
            }
            _ => "deep: started in the background.",
        };
        (text.to_string(), false)
    });
    let awaited = "I wait for bash-1, bash-2, look, deep: the result comes by itself.";
    assert_eq!(turn.text, awaited);
    for task in ["bash-1", "bash-2", "look", "deep"] {
        let news = format!(
            "<task-notification task=\"{task}\">\n{task}: finished\n</task-notification>\nAutomatic."
        );
        push_note(&mut messages, news);
    }
    let turn = walk(&tools, &mut messages, |_, _| {
        panic!("nothing is to be asked")
    });
    let told =
        "5. wait for all: bash-1: finished · bash-2: finished · look: finished · deep: finished";
    assert_eq!(turn.text.lines().last(), Some(told));
}

#[test]
fn without_bg_bash_it_runs_in_the_foreground_and_says_so() {
    let turn = turn(S07, SCENARIO);
    let write = call(
        "write_file",
        json!({"path": "notes.txt", "content": "hello"}),
    );
    assert_eq!(
        turn.calls,
        [
            call("bash", json!({"command": "sleep 3; echo built"})),
            write
        ]
    );
    assert!(
        turn.remarks.contains("no bg_bash") && turn.remarks.contains("I wait"),
        "{}",
        turn.remarks
    );
    assert!(
        turn.text
            .contains("4. wait for build: nothing to check: it ran in the foreground"),
        "{}",
        turn.text
    );
}

#[test]
fn a_missing_tool_is_named_with_its_lesson_and_the_rest_is_done() {
    let prompt = "read a, then plan: run \"x\", then delegate \"y\", then load skill z, then list tasks, then stop b";
    let turn = turn(&["bash"], prompt);
    assert_eq!(turn.calls, [call("bash", json!({"command": "x"}))]);
    for (step, lesson) in [
        ("1. read", "s02"),
        ("2. plan", "s03"),
        ("4. del", "s04"),
        ("5. load", "s05"),
        ("6. list", "s07"),
        ("7. stop", "s09"),
    ] {
        let line = turn
            .text
            .lines()
            .find(|line| line.starts_with(step))
            .unwrap_or_default();
        assert!(
            line.contains(lesson) && line.contains("failed"),
            "{step} {lesson}: {}",
            turn.text
        );
    }
    assert_eq!(turn.text.lines().count(), 7);
}

#[test]
fn a_failed_step_stops_nothing() {
    let fail = |name: &str, _: &Value| (format!("{name}: oh no\nexit code 3"), name == "bash");
    let turn = walk(
        ALL,
        &mut vec![Message::user("run \"false\", then read a")],
        fail,
    );
    assert_eq!(
        turn.text,
        "1. run \"false\" failed: bash: oh no · exit code 3\n2. read a: read_file: oh no"
    );
    let turn = walk(ALL, &mut vec![Message::user("run \"false\"")], fail);
    assert_eq!(turn.text, "run \"false\" failed: bash: oh no\nexit code 3");
}

fn statuses(input: &Value) -> String {
    let todos = input["todos"].as_array().expect("todos");
    let marks = todos.iter().map(|todo| match todo["status"].as_str() {
        Some("pending") => '.',
        Some("in_progress") => '>',
        Some("completed") => 'x',
        _ => '?',
    });
    marks.collect()
}

#[test]
fn a_plan_of_instructions_is_worked_through() {
    let prompt = "plan: high: run \"a; b\"; read x; low: run \"c\"., then list tasks";
    let fail = |name: &str, _: &Value| ("ok".to_string(), name == "read_file");
    let turn = walk(ALL, &mut vec![Message::user(prompt)], fail);
    let seen: Vec<String> = turn
        .calls
        .iter()
        .map(|(name, input)| {
            if name == "todo" {
                statuses(input)
            } else {
                name.clone()
            }
        })
        .collect();
    // What failed does not become completed.
    assert_eq!(
        seen,
        [
            ">..",
            "bash",
            "x>.",
            "read_file",
            "x.>",
            "bash",
            "x.x",
            "task_list"
        ]
    );
    let todo = &turn.calls[0].1["todos"];
    assert_eq!(
        todo[0],
        json!({"content": "run \"a; b\"", "status": "in_progress", "priority": "high"})
    );
    assert_eq!(
        (&todo[1]["priority"], &todo[2]["priority"]),
        (&json!("medium"), &json!("low"))
    );
    assert_eq!(
        turn.text,
        "1. run \"a; b\": ok\n2. read x failed: ok\n3. run \"c\": ok\n4. list tasks: ok"
    );
}

#[test]
fn a_plan_of_anything_else_is_kept() {
    let turn = turn(
        ALL,
        "plan: design it then build it; low: run \"make\"; celebrate",
    );
    assert_eq!(turn.calls.len(), 1);
    assert_eq!(statuses(&turn.calls[0].1), "...");
    assert_eq!(
        turn.calls[0].1["todos"][0]["content"],
        "design it then build it"
    );
    assert!(turn.remarks.contains("my own phrases"), "{}", turn.remarks);
}

#[test]
fn what_is_not_understood_is_said_and_nothing_is_run() {
    let text = turn(ALL, "run \"rm x\", then make coffee, then read y").text;
    assert!(
        text.starts_with("I do not understand step 2, \"make coffee\". I did nothing."),
        "{text}"
    );
    assert!(text.contains("\n  run \"COMMAND\" with timeout"), "{text}");
    assert!(!text.contains("\n  stop ID"), "only what is near: {text}");
    let text = turn(&["bash"], "make coffee").text;
    assert!(
        text.starts_with("I do not understand \"make coffee\".") && text.contains("`help` lists"),
        "{text}"
    );
    let text = turn(&["bash"], "run coffee now").text;
    assert!(
        !text.contains("\n  read PATH") && !text.contains("background"),
        "only what is offered: {text}"
    );
    assert!(
        turn(ALL, "run \"ls")
            .text
            .starts_with("This quote never ends: \"ls. I did nothing.")
    );
    for prompt in [
        "run ls",
        "check",
        "wait for",
        "show task one",
        "plan:",
        "create task \"x\" after",
        "\"\"",
        "`",
        "...",
    ] {
        let turn = turn(ALL, prompt);
        assert!(
            turn.calls.is_empty() && turn.text.contains("`help` lists "),
            "{prompt}"
        );
    }
    assert!(turn(ALL, "help").text.contains("plan: A; B; C"));
}

#[test]
fn only_the_current_prompt_counts() {
    let mut messages = vec![Message::user("run \"a\"")];
    walk(ALL, &mut messages, |_, _| ("one".to_string(), false));
    push_user(&mut messages, "run \"b\", then run \"c\"");
    // The first call is interrupted, the next prompt joins the message of its result.
    let reply = ask(ALL, &messages);
    let id = reply.tool_calls()[0].id.to_string();
    messages.push(Message {
        role: Role::Assistant,
        content: reply.content,
    });
    let content = "ERROR: [interrupted] by the user".to_string();
    let result = ContentBlock::ToolResult {
        tool_use_id: id,
        content,
        is_error: true,
    };
    messages.push(Message {
        role: Role::User,
        content: vec![result],
    });
    push_user(&mut messages, "run \"d\", then run \"e\"");
    // Reminders are no prompts, wherever they stand.
    push_note(
        &mut messages,
        "<system-reminder>run \"x\"</system-reminder>",
    );
    let turn = walk(ALL, &mut messages, |_, _| ("two".to_string(), false));
    let bash = |command: &str| call("bash", json!({"command": command}));
    assert_eq!(turn.calls, [bash("d"), bash("e")]);

    let compacted = || note("<summary>\nrun \"y\"\n</summary>");
    let mut messages = vec![compacted()];
    assert!(
        walk(ALL, &mut messages, |_, _| panic!("nothing to run"))
            .text
            .contains("no instruction")
    );
    let mut messages = vec![compacted()];
    push_user(&mut messages, "run \"z\"");
    let remind = |_: &str, _: &Value| ("ok".to_string(), false);
    assert_eq!(walk(ALL, &mut messages, remind).calls, [bash("z")]);
}

#[test]
fn a_prompt_that_was_stopped_is_not_taken_up_when_a_result_wakes() {
    let mut messages = vec![Message::user("run \"a\", then run \"b\"")];
    let reply = ask(ALL, &messages);
    let id = reply.tool_calls()[0].id.to_string();
    messages.push(Message {
        role: Role::Assistant,
        content: reply.content,
    });
    let content = "ERROR: [interrupted] by the user\n(no output)".to_string();
    let result = ContentBlock::ToolResult {
        tool_use_id: id,
        content,
        is_error: true,
    };
    messages.push(Message {
        role: Role::User,
        content: vec![result],
    });
    push_note(
        &mut messages,
        "<task-notification task=\"x\">\nx: finished\n</task-notification>\nAutomatic.",
    );
    let turn = walk(ALL, &mut messages, |_, _| panic!("it went on"));
    assert_eq!(turn.text, "x: finished");
}

#[test]
fn a_step_that_was_stopped_alone_does_not_end_the_turn() {
    let stopped = |name: &str, _: &Value| match name {
        "bash" => ("ERROR: [interrupted] by the user".to_string(), true),
        _ => ("ok".to_string(), false),
    };
    let mut messages = vec![Message::user("run \"a\", then read b")];
    let turn = walk(ALL, &mut messages, stopped);
    assert_eq!(turn.calls.len(), 2);
    assert!(turn.text.ends_with("2. read b: ok"), "{}", turn.text);
}

#[test]
fn ids_stay_unique_when_the_conversation_gets_shorter() {
    // What compaction may leave: a call with the number that the next one would have.
    let id = || "toolu_practice_3_0".to_string();
    let (name, input) = call("bash", json!({"command": "a"}));
    let call = ContentBlock::ToolUse(ToolCall {
        id: id(),
        name,
        input,
    });
    let result = ContentBlock::ToolResult {
        tool_use_id: id(),
        content: "one".to_string(),
        is_error: false,
    };
    let mut messages = vec![
        note("<summary>\nx\n</summary>"),
        Message {
            role: Role::Assistant,
            content: vec![call],
        },
        Message {
            role: Role::User,
            content: vec![result],
        },
    ];
    push_user(&mut messages, "run \"d\"");
    let turn = walk(ALL, &mut messages, |_, _| ("two".to_string(), false));
    assert_eq!(turn.text, "two");
}

#[test]
fn a_summary_lists_prompts_calls_and_results() {
    let mut messages = vec![note("<summary>\n- The user said: old\n</summary>")];
    push_user(&mut messages, "run \"a\", then wait for b");
    let mut polls = [
        "b: [running] 0.1 s",
        "b: [running] 0.2 s",
        "b: finished\nout",
    ]
    .into_iter();
    walk(ALL, &mut messages, |name, _| match name {
        "check_bg" => (polls.next().expect("no more polls").to_string(), false),
        _ => ("started".to_string(), false),
    });
    push_user(&mut messages, "help");
    walk(ALL, &mut messages, |_, _| panic!("nothing to run"));
    let expected = "- The user said: old
- The user said: run \"a\", then wait for b
  called bash {\"command\":\"a\"}
  called check_bg {\"id\":\"b\"}
  last result: b: finished
- The user said: help";
    for prompt in ["summarise this conversation", "Please summarize"] {
        let mut messages = messages.clone();
        push_user(&mut messages, prompt);
        assert_eq!(ask(&[], &messages).text(), expected, "{prompt}");
    }
    assert_eq!(
        ask(&[], &[Message::user("summarise")]).text(),
        "Nothing has been said or done yet."
    );
    // What compaction asks for is one of the phrases.
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(MODEL);
    let agent = Agent::new(model, "", Context::default());
    let compactor = Compactor::new(10_000, folder.path());
    compactor.compact(&agent, &mut messages).expect("a summary");
    assert_eq!(
        messages,
        [note(&format!("<summary>\n{expected}\n</summary>"))]
    );
}

#[test]
fn a_trigger_ends_the_thinking() {
    let interrupt = Interrupt::default();
    interrupt.trigger();
    let messages = [Message::user("run \"ls\"")];
    assert_eq!(
        ask_with(&interrupt, ALL, &messages),
        Err(ModelError::Interrupted)
    );
    interrupt.reset();
    assert!(ask_with(&interrupt, ALL, &messages).is_ok());
}

#[test]
fn long_results_are_shortened() {
    let long = |_: &str, _: &Value| ("é\n".repeat(50), false);
    let text = walk(ALL, &mut vec![Message::user("run \"x\"")], long).text;
    assert_eq!(text.lines().count(), 21);
    let wide = |_: &str, _: &Value| ("é".repeat(5000), false);
    let text = walk(ALL, &mut vec![Message::user("run \"x\"")], wide).text;
    assert_eq!(text.chars().filter(|c| *c == 'é').count(), 2000);
    let blank = |_: &str, _: &Value| (" \n".to_string(), false);
    assert_eq!(
        walk(ALL, &mut vec![Message::user("run \"x\"")], blank).text,
        "(no output)"
    );
}

#[test]
fn any_text_gets_an_answer() {
    let nasty = [
        "",
        " ",
        "\n",
        "\0",
        "\"",
        "\"\"",
        "''\"",
        "\\",
        "\"\\",
        "\"\\\"",
        "“",
        "”",
        "“”",
        "‘’",
        "then",
        ", then ,",
        "plan:",
        "plan:;",
        "plan: plan: plan: x",
        "plan: high:",
        "é: ü",
        "plané: x",
        "\u{F0000}",
        "run \u{F0000}",
        "read \u{10FFFF}",
        "\u{202E}run \"x\"",
        "run \"\u{F0000}\"",
        ";;;",
        "..",
        "...",
        "、then",
        "wait for \"\"",
        "create task \"x\" after , ,",
        "start task 99999999999999999999",
        "delegate \"\"",
        "summarise;",
    ];
    let long = format!(
        "{SCENARIO}, then plan: high: run “a”; low: read 'b c'; x, then delegate 'y \\' z' to me\nhelp. é"
    );
    let prefixes = long.char_indices().map(|(at, _)| long.split_at(at).0);
    for prompt in nasty.into_iter().chain(prefixes) {
        turn(ALL, prompt);
        turn(&[], prompt);
    }
    assert!(!ask(&[], &[]).content.is_empty());
}

#[test]
fn a_megabyte_is_no_problem() {
    let size = 1 << 20;
    let prompts = [
        "x".repeat(size),
        "é ".repeat(size / 3),
        "\"".repeat(size),
        ", ".repeat(size / 2),
        "then ".repeat(size / 5),
        "\n".repeat(size),
        "plan: ".repeat(size / 6),
        format!("plan: {}", "a;".repeat(size / 20)),
        format!("run \"{}\"", "x".repeat(size)),
        format!("plan: {}", "check x;".repeat(size / 80)),
    ];
    for prompt in prompts {
        ask(&["bash"], &[Message::user(prompt)]);
    }
}

#[test]
fn it_says_who_it_is() {
    let line = MODEL.describe();
    assert!(
        line.contains("practice model")
            && line.contains("help")
            && line.contains("ANTHROPIC_API_KEY")
    );
    assert!(
        line.contains("ANTHROPIC_BASE_URL") && line.lines().count() == 1 && MODEL.is_practice()
    );
}
