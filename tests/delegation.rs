//! Sub-agents, skills and compaction, from outside: a scripted model, real files.

mod support;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use meanwhile::agent::Agent;
use meanwhile::compact::{Compactor, estimate};
use meanwhile::event::{Event, Events, Stamped};
use meanwhile::message::{
    ContentBlock, Message, Reply, Role, StopReason, ToolCall, push_note, push_user,
};
use meanwhile::model::{ModelError, Request};
use meanwhile::permission;
use meanwhile::skill::{self, Skills};
use meanwhile::subagent::{self, Definitions};
use meanwhile::tool::{Access, Context, Tool, ToolOutcome};
use support::session::{By, reply, tool_use};

type Seen = Arc<Mutex<Vec<(Option<String>, String)>>>;

/// An agent with that model and the tools `names`, each of which answers "did NAME"; and what its
/// event stream says: tool calls and notices, each with the agent they belong to.
fn agent(
    names: &[&'static str],
    model: impl Fn(&Request<'_>) -> Result<Reply, ModelError> + Send + Sync + 'static,
) -> (Agent, Seen) {
    let tools = names.iter().map(|&name| {
        let schema = json!({ "type": "object" });
        Tool::new(
            name,
            "",
            schema,
            Access::Ask,
            move |_: Value, _: &Context| Ok(format!("did {name}")),
        )
    });
    let seen = Seen::default();
    let sink = seen.clone();
    let reader = move |stamped: Stamped<'_>| {
        let what = match stamped.event {
            Event::ToolStarted { name, .. } => name.clone(),
            Event::Notice(text) => text.clone(),
            _ => return,
        };
        sink.lock()
            .unwrap()
            .push((stamped.agent.map(String::from), what));
    };
    let context = Context {
        events: Events::default().with(Box::new(reader)),
        ..Context::default()
    };
    let checked = move |request: &Request<'_>| {
        assert_valid(request.messages);
        let last = request.messages.last().map(|message| message.role);
        assert_eq!(last, Some(Role::User));
        model(request)
    };
    let mut agent = Agent::new(Arc::new(By(checked)), "You are the main agent.", context);
    agent.toolbox.add(tools);
    (agent, seen)
}

fn says(text: &str) -> Result<Reply, ModelError> {
    let content = if text.is_empty() {
        vec![]
    } else {
        vec![ContentBlock::text(text)]
    };
    Ok(reply(content, StopReason::EndTurn))
}

fn calls(text: &str, name: &str) -> Result<Reply, ModelError> {
    let mut reply = says(text)?;
    reply.content.push(tool_use("", name, json!({})));
    reply.stop_reason = StopReason::ToolUse;
    Ok(reply)
}

fn last_texts(messages: &[Message]) -> Vec<&str> {
    messages
        .last()
        .unwrap()
        .content
        .iter()
        .filter_map(ContentBlock::as_text)
        .collect()
}

fn tool_names<'a>(request: &Request<'a>) -> Vec<&'a str> {
    request.tools.iter().map(|tool| &*tool.name).collect()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What the API demands of a conversation.
#[track_caller]
fn assert_valid(messages: &[Message]) {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = if index % 2 == 0 {
            Role::User
        } else {
            Role::Assistant
        };
        assert_eq!(
            message.role, role,
            "the roles alternate: message {index} of {messages:#?}"
        );
        assert!(!message.content.is_empty(), "message {index} is empty");
        let mut next = Vec::new();
        let mut answered = Vec::new();
        let mut results_are_over = false;
        for block in &message.content {
            match block {
                ContentBlock::Text { .. } | ContentBlock::Note { .. } => {
                    assert!(
                        block.as_text().is_some(),
                        "message {index} has an empty text"
                    );
                    results_are_over = true;
                }
                ContentBlock::ToolUse(ToolCall { id, .. }) => {
                    assert_eq!(role, Role::Assistant);
                    next.push(id.as_str());
                }
                ContentBlock::ToolResult { tool_use_id, .. } => {
                    assert_eq!(role, Role::User);
                    assert!(!results_are_over, "message {index}: results come first");
                    answered.push(tool_use_id.as_str());
                }
                ContentBlock::Other(_) => {}
            }
        }
        assert_eq!(
            answered, open,
            "message {index} answers each call of the one before once"
        );
        open = next;
    }
    assert!(open.is_empty(), "calls without an answer: {open:?}");
}

// Sub-agents

fn delegate(agent: &Agent, definitions: Definitions, input: Value) -> ToolOutcome {
    subagent::tool(agent, &definitions).call(input, &agent.context)
}

#[test]
fn a_sub_agent_has_its_own_conversation_and_returns_only_its_last_text() {
    let (agent, seen) = agent(&["bash", "read_file", "write_file", "todo"], |request| {
        assert_eq!(last_texts(&request.messages[..1]), ["count the files"]);
        assert!(
            request.system.contains("nobody answers questions"),
            "{}",
            request.system
        );
        assert_eq!(tool_names(request), ["bash", "read_file", "write_file"]);
        if request.messages.len() == 1 {
            calls("looking", "bash")
        } else {
            says("seven")
        }
    });
    let input = json!({ "description": "count files", "prompt": "count the files" });
    assert_eq!(
        delegate(&agent, Definitions::load("nowhere"), input),
        Ok("seven".into())
    );
    assert_eq!(
        *seen.lock().unwrap(),
        [(Some("sub-agent".to_string()), "bash".to_string())]
    );
}

#[test]
fn a_named_sub_agent_has_its_prompt_and_its_tools() {
    let (agent, seen) = agent(&["bash", "read_file", "write_file"], |request| {
        assert!(
            request.system.starts_with("You explore"),
            "{}",
            request.system
        );
        assert_eq!(tool_names(request), ["bash", "read_file"]);
        // A tool it was not offered is not run.
        if request.messages.len() == 1 {
            calls("", "write_file")
        } else {
            says("found")
        }
    });
    let input = json!({ "description": "d", "prompt": "p", "agent": "explore" });
    assert_eq!(
        delegate(&agent, Definitions::load("nowhere"), input),
        Ok("found".into())
    );
    assert_eq!(seen.lock().unwrap()[0].0.as_deref(), Some("explore"));
}

#[test]
fn the_calls_of_a_sub_agent_pass_the_gate() {
    let (mut agent, _) = agent(&["bash"], |request| {
        match request.messages.last().unwrap().content.first() {
            Some(ContentBlock::ToolResult { content, .. }) => says(content),
            _ => calls("", "bash"),
        }
    });
    agent.gate = permission::gate(false);
    let tool = subagent::tool(&agent, &Definitions::default());
    assert_eq!(tool.access, Access::Free);
    let said = tool
        .call(json!({ "description": "d", "prompt": "p" }), &agent.context)
        .unwrap();
    assert!(
        said.contains("bash was denied: nobody is there to be asked."),
        "{said}"
    );
}

#[test]
fn a_sub_agent_that_does_not_finish_is_an_error_with_its_last_words() {
    let input = || json!({ "description": "d", "prompt": "p" });
    let error = |agent: &Agent, input| delegate(agent, Definitions::default(), input).unwrap_err();

    let (endless, seen) = agent(&["bash"], |_| calls("still at it", "bash"));
    let why = error(&endless, input());
    assert!(
        why.contains("30 rounds") && why.contains("still at it"),
        "{why}"
    );
    assert_eq!(seen.lock().unwrap().len(), 30);

    let (cut, _) = agent(&[], |_| {
        Ok(Reply {
            stop_reason: StopReason::MaxTokens,
            ..says("half")?
        })
    });
    let half = delegate(&cut, Definitions::default(), input()).unwrap();
    assert_eq!(half, "half\n[cut off at the token limit]");

    let (silent, _) = agent(&[], |_| says(""));
    assert!(error(&silent, input()).contains("held no text"));

    let (broken, _) = agent(&[], |_| Err(ModelError::Failed("no route".into())));
    assert!(error(&broken, input()).contains("no route"));

    let (idle, _) = agent(&[], |_| panic!("must not be asked"));
    idle.context.interrupt.trigger();
    assert!(error(&idle, input()).contains("Interrupted"));
    idle.context.interrupt.reset();
    assert!(error(&idle, json!({ "description": "d", "prompt": " " })).contains("prompt is empty"));
    let unknown = json!({ "description": "d", "prompt": "p", "agent": "wizard" });
    let why = delegate(&idle, Definitions::load("nowhere"), unknown).unwrap_err();
    assert!(
        why.contains("\"wizard\"") && why.contains("explore, plan"),
        "{why}"
    );
}

#[test]
fn agents_come_from_files_and_what_cannot_be_used_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(&dir.path().join(name), text);
    file(
        "plan.md",
        "---\nname: plan\ndescription: \"ours: better\"\n---\nPlan well.\n",
    );
    file(
        "review.md",
        "---\r\nname: review\r\ndescription: >\r\n  reads\r\n  diffs\r\ntools: [Read, Bash, Grep]\r\n---\r\nReview.",
    );
    file(
        "list.md",
        "---\nname: list\ndescription: d\ntools:\n  - Edit\n  - write_file\n---\nx",
    );
    file("plain.md", "no head at all");
    file("nameless.md", "---\ndescription: d\n---\nx");
    file("ignored.txt", "not an agent");
    file("big.md", &"x".repeat(65 * 1024));
    fs::write(dir.path().join("bytes.md"), [b'-', 0xff, 0xfe]).unwrap();
    fs::create_dir(dir.path().join("folder.md")).unwrap();

    let definitions = Definitions::load(dir.path());
    let problems = definitions.problems.join("\n");
    assert_eq!(definitions.problems.len(), 5, "{problems}");
    for word in ["big.md", "bytes.md", "folder.md", "nameless.md", "plain.md"] {
        assert!(problems.contains(word), "{word} in {problems}");
    }
    assert!(problems.contains("name: …"), "says what to add: {problems}");

    let all = ["bash", "read_file", "write_file", "edit_file"];
    let (blank, _) = agent(&all, |_| says("x"));
    let description = subagent::tool(&blank, &definitions).description;
    assert!(
        description.contains("plan (all tools): ours: better"),
        "{description}"
    );
    assert!(
        description.contains("review (read_file, bash, Grep): reads diffs"),
        "{description}"
    );
    let became = |name: &str| {
        let mut agent = blank.clone();
        definitions.become_agent(Some(name), &mut agent)?;
        let names = agent.toolbox.names().join(" ");
        Ok::<_, String>((agent.system.clone(), names))
    };
    assert_eq!(became("plan"), Ok(("Plan well.".into(), all.join(" "))));
    assert_eq!(
        became("review"),
        Ok(("Review.".into(), "bash read_file".into()))
    );
    assert_eq!(
        became("list"),
        Ok(("x".into(), "write_file edit_file".into()))
    );
    let unknown = became("nobody").unwrap_err();
    assert!(
        unknown.contains("explore, plan") || unknown.contains("explore, list, plan"),
        "{unknown}"
    );
    assert!(
        !Definitions::load(dir.path().join("plain.md"))
            .problems
            .is_empty(),
        "a file is no folder"
    );
    assert!(
        Definitions::load(dir.path().join("nowhere"))
            .problems
            .is_empty()
    );
}

// Skills

#[test]
fn a_skill_is_listed_by_name_and_read_when_it_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("release/SKILL.md");
    write(
        &path,
        "---\nname: release\ndescription: how to release\n---\nStep one.",
    );
    write(&dir.path().join("bare/SKILL.md"), "Only text.");
    write(
        &dir.path().join("mine/SKILL.md"),
        "---\nname: commit-message\ndescription: ours\n---\nShort.",
    );
    write(&dir.path().join("README.md"), "not a skill");
    fs::create_dir(dir.path().join("empty")).unwrap();
    let skills = Skills::load(dir.path());
    assert_eq!(skills.problems.len(), 2, "{:?}", skills.problems);
    assert!(skills.problems[0].contains("bare") && skills.problems[0].contains("description: …"));
    assert!(skills.problems[1].contains("empty"));
    let tool = skill::tool(skills);
    let listing = &tool.description;
    assert!(
        listing.contains("- release: how to release") && !listing.contains("Step one"),
        "{listing}"
    );
    assert!(
        listing.contains("- commit-message: ours"),
        "the folder's own wins: {listing}"
    );
    assert_eq!(tool.access, Access::Free);
    let load = |name: &str| tool.call(json!({ "name": name }), &Context::default());
    assert_eq!(
        load("release"),
        Ok("<skill name=\"release\">\nStep one.\n</skill>".into())
    );
    write(&path, "---\nname: release\ndescription: d\n---\nStep two.");
    assert!(load("release").unwrap().contains("Step two."));
    write(
        &path,
        &format!(
            "---\nname: release\ndescription: d\n---\n{}",
            "x".repeat(64 * 1024)
        ),
    );
    assert!(load("release").unwrap_err().contains("64 KiB"));
    let why = load("../secrets").unwrap_err();
    assert!(
        why.contains("commit-message") && why.contains("release"),
        "{why}"
    );
}

#[test]
fn the_built_in_skill_can_be_loaded() {
    let skills = Skills::load("nowhere");
    assert!(skills.problems.is_empty(), "{:?}", skills.problems);
    let tool = skill::tool(skills);
    assert!(tool.description.contains("\n- commit-message: "));
    let text = tool.call(json!({ "name": "commit-message" }), &Context::default());
    assert!(text.unwrap().contains("git log --oneline"));
}

// Compaction

/// A conversation of finished turns, each with so many rounds of `calls` calls, and results of
/// `bytes` bytes. After `interrupted` turns, the next prompt joins the results. `open`: the last
/// turn has no last word yet.
fn conversation(
    turns: &[usize],
    calls: usize,
    bytes: usize,
    interrupted: bool,
    open: bool,
) -> Vec<Message> {
    let mut messages = Vec::new();
    for (turn, &rounds) in turns.iter().enumerate() {
        push_user(&mut messages, format!("prompt {turn}"));
        for round in 0..rounds {
            let id = |call| format!("toolu_{turn}_{round}_{call}");
            let uses = (0..calls).map(|call| {
                ContentBlock::ToolUse(ToolCall {
                    id: id(call),
                    name: "bash".into(),
                    input: json!({ "command": "ls", "more": [1, null, { "deep": "value" }] }),
                })
            });
            let thought = ContentBlock::Other(json!({ "type": "thinking", "thinking": "hm" }));
            messages.push(Message {
                role: Role::Assistant,
                content: [thought].into_iter().chain(uses).collect(),
            });
            let results = (0..calls).map(|call| ContentBlock::ToolResult {
                tool_use_id: id(call),
                content: "ü".repeat(bytes / 2),
                is_error: false,
            });
            messages.push(Message {
                role: Role::User,
                content: results.collect(),
            });
            if round == 1 {
                push_note(
                    &mut messages,
                    "<system-reminder>Think of the plan.</system-reminder>",
                );
            }
        }
        let last = turn + 1 == turns.len();
        if !(interrupted && rounds > 0 || open && last) {
            messages.push(Message {
                role: Role::Assistant,
                content: vec![ContentBlock::text("done")],
            });
        }
    }
    messages
}

/// Every shape: finished, interrupted, in the middle of a turn; short and long; one call and three.
fn shapes() -> Vec<Vec<Message>> {
    let mut shapes = Vec::new();
    for turns in [
        &[0][..],
        &[3],
        &[0, 0],
        &[2, 0],
        &[0, 4],
        &[5, 5],
        &[1, 2, 3, 4, 5],
        &[5, 1, 0, 1],
    ] {
        for calls in [1, 3] {
            for bytes in [10, 900, 6_000] {
                for (interrupted, open) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    shapes.push(conversation(turns, calls, bytes, interrupted, open));
                }
            }
        }
    }
    shapes
}

fn summariser() -> (Agent, Seen) {
    agent(&["bash"], |request| {
        assert!(
            request.tools.is_empty(),
            "a summary is asked for without tools"
        );
        assert!(
            last_texts(request.messages)
                .last()
                .unwrap()
                .starts_with("Summarise this conversation")
        );
        says("They want things done.")
    })
}

fn prompts(message: &Message) -> Vec<&str> {
    let texts = message.content.iter().filter_map(ContentBlock::as_text);
    texts.filter(|text| text.starts_with("prompt")).collect()
}

#[test]
fn whatever_the_shape_and_the_limit_the_conversation_stays_valid_and_gets_no_larger() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, _) = summariser();
    for shape in shapes() {
        assert_valid(&shape);
        for limit in [0, 100, 500, 2_000, 10_000, 1_000_000] {
            for ask in [true, false] {
                let compactor = Compactor::new(limit, dir.path());
                let mut messages = shape.clone();
                if ask {
                    compactor.compact(&agent, &mut messages)
                } else {
                    compactor.make_room(&agent, &mut messages)
                }
                .unwrap();
                assert_valid(&messages);
                let (before, after) = (estimate(&shape), estimate(&messages));
                assert!(
                    after <= before + 30,
                    "{before} to {after} at {limit}: {messages:#?}"
                );
                assert!(
                    after <= limit.max(100),
                    "{after} tokens are left at {limit}: {messages:#?}"
                );
                if !ask && before <= limit / 2 {
                    assert_eq!(
                        messages, shape,
                        "below half of the limit nothing is touched"
                    );
                }
                let last_prompts = prompts(shape.iter().rfind(|m| !prompts(m).is_empty()).unwrap());
                if shape.last().unwrap().role == Role::User {
                    let kept: Vec<&str> = messages.iter().flat_map(prompts).collect();
                    assert!(
                        kept.ends_with(&last_prompts),
                        "{last_prompts:?} in {kept:?}"
                    );
                }
                // It can go on from there, and again.
                push_user(&mut messages, "prompt: more");
                compactor.compact(&agent, &mut messages).unwrap();
                assert_valid(&messages);
                assert_eq!(
                    prompts(messages.last().unwrap()).last(),
                    Some(&"prompt: more")
                );
            }
        }
    }
}

#[test]
fn old_results_are_shortened_and_not_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, seen) = summariser();
    let shape = conversation(&[5, 1], 1, 900, false, true);
    let compactor = Compactor::new(estimate(&shape), dir.path());
    let mut messages = shape.clone();
    compactor.make_room(&agent, &mut messages).unwrap();
    let results = |messages: &[Message]| -> Vec<String> {
        let blocks = messages.iter().flat_map(|message| message.content.clone());
        blocks
            .filter_map(|block| match block {
                ContentBlock::ToolResult { content, .. } => Some(content),
                _ => None,
            })
            .collect()
    };
    let (before, after) = (results(&shape), results(&messages));
    assert_eq!(before[3..], after[3..], "the last three stay whole");
    for short in &after[..3] {
        assert!(short.starts_with("üüü") && short.len() < 400, "{short}");
        assert!(
            short.ends_with("[… shortened, 900 bytes; run the tool again if you need it]"),
            "{short}"
        );
    }
    let once = messages.clone();
    let tight = Compactor::new(estimate(&messages), dir.path());
    tight.make_room(&agent, &mut messages).unwrap();
    assert_eq!(messages, once);
    assert!(seen.lock().unwrap().is_empty(), "no summary was needed");
}

#[test]
fn results_that_the_model_has_not_seen_are_not_shortened() {
    let (agent, _) = summariser();
    let mut messages = conversation(&[2], 5, 900, false, true);
    let whole = messages.last().cloned();
    Compactor::new(estimate(&messages), "unused")
        .make_room(&agent, &mut messages)
        .unwrap();
    assert_eq!(messages.last(), whole.as_ref());
    assert!(
        estimate(&messages) < 1_700,
        "the round before was shortened"
    );
}

#[test]
fn the_current_turn_is_kept_word_for_word_behind_the_summary() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, seen) = summariser();
    // The turn before was interrupted: its results stand in front of the prompt.
    let shape = conversation(&[4, 2], 2, 2_000, true, true);
    let start = shape.len() - 5;
    assert!(
        shape[start]
            .content
            .iter()
            .any(|block| matches!(block, ContentBlock::ToolResult { .. }))
    );
    let mut messages = shape.clone();
    Compactor::new(10_000, dir.path())
        .compact(&agent, &mut messages)
        .unwrap();
    assert_eq!(messages[1..], shape[start + 1..]);
    let texts: Vec<_> = messages[0]
        .content
        .iter()
        .filter_map(ContentBlock::as_text)
        .collect();
    assert_eq!(
        texts,
        ["<summary>\nThey want things done.\n</summary>", "prompt 1"]
    );
    assert_eq!(messages[0].content.len(), 2);

    let notice = &seen.lock().unwrap().pop().expect("a notice").1;
    let file = fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let name = file.file_name().unwrap().to_str().unwrap().to_string();
    assert!(
        name.starts_with("transcript-") && notice.contains(&name),
        "{notice}"
    );
    let lines = fs::read_to_string(&file).unwrap();
    let kept: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let whole = serde_json::to_value(&shape).unwrap();
    assert_eq!(whole, Value::Array(kept), "the transcript holds everything");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn between_turns_everything_is_summarised() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, seen) = summariser();
    let compactor = Compactor::new(10_000, dir.path());
    let mut messages = conversation(&[1, 1], 1, 10, false, false);
    compactor.compact(&agent, &mut messages).unwrap();
    let mut expected = Vec::new();
    push_note(
        &mut expected,
        "<summary>\nThey want things done.\n</summary>",
    );
    assert_eq!(messages, expected);
    for mut nothing in [messages, Vec::new(), vec![Message::user("prompt 0")]] {
        let before = nothing.clone();
        compactor.compact(&agent, &mut nothing).unwrap();
        assert_eq!(nothing, before);
        assert_eq!(
            seen.lock().unwrap().pop().unwrap().1,
            "Nothing to compact yet."
        );
    }
}

#[test]
fn a_turn_that_is_too_long_goes_on_from_a_summary_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, _) = summariser();
    let compactor = Compactor::new(4_000, dir.path());
    let mut messages = conversation(&[0, 3], 1, 20_000, false, true);
    for _ in 0..2 {
        compactor.make_room(&agent, &mut messages).unwrap();
        let texts = last_texts(&messages);
        assert_eq!((messages.len(), texts.len(), texts[1]), (1, 3, "prompt 1"));
        assert!(
            texts[0].starts_with("<summary>") && texts[2].contains("Go on."),
            "{texts:?}"
        );
        // The turn goes on, and is too long again: one summary takes the place of the other.
        messages.extend(conversation(&[1], 1, 20_000, false, true).split_off(1));
    }
}

#[test]
fn a_failed_summary_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lost = ModelError::Failed("no route".into());
    let (unreachable, _) = agent(&[], {
        let lost = lost.clone();
        move |_| Err(lost.clone())
    });
    let (silent, _) = agent(&[], |_| says(""));
    let (refusing, _) = agent(&[], |_| {
        Ok(Reply {
            stop_reason: StopReason::Refusal,
            ..says("no")?
        })
    });
    let shape = conversation(&[3, 3], 1, 2_000, false, true);
    for limit in [100, 2_000, 4_000] {
        let compactor = Compactor::new(limit, dir.path());
        let mut messages = shape.clone();
        assert_eq!(
            compactor.compact(&unreachable, &mut messages),
            Err(lost.clone())
        );
        assert_eq!(messages, shape);
        for agent in [&silent, &refusing] {
            let why = compactor
                .compact(agent, &mut messages)
                .unwrap_err()
                .to_string();
            assert!(why.contains("No summary"), "{why}");
            assert_eq!(messages, shape);
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_summary_that_is_too_long_is_cut_and_a_transcript_that_cannot_be_kept_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let (agent, seen) = agent(&[], |_| says(&"é".repeat(100_000)));
    let mut messages = conversation(&[3, 1], 1, 900, false, true);
    Compactor::new(1_000, &file)
        .compact(&agent, &mut messages)
        .unwrap();
    assert_valid(&messages);
    assert!(estimate(&messages) <= 1_000, "{}", estimate(&messages));
    let notice = &seen.lock().unwrap().pop().expect("a notice").1;
    assert!(
        notice.contains("No transcript could be kept") && notice.contains("file"),
        "{notice}"
    );
}

#[test]
fn no_transcript_is_written_where_a_link_leads() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let link = inside.path().join(".transcripts");
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    let (agent, seen) = agent(&[], |_| says("short"));
    let mut messages = conversation(&[1], 1, 10, false, false);
    let compactor = Compactor::new(1_000, &link);
    compactor.compact(&agent, &mut messages).unwrap();
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .any(|(_, text)| text.contains("it is a symbolic link"))
    );
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_fit_is_tried_once_and_again_only_when_it_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let (agent, seen) = agent(&[], move |_| {
        *count.lock().unwrap() += 1;
        says("short")
    });
    let compactor = Compactor::new(1_000, dir.path());
    let mut messages = conversation(&[1], 1, 10, false, false);
    push_user(&mut messages, "prompt ".repeat(1_000));
    let rounds = |messages: &mut Vec<Message>, count, bytes| {
        for round in 0..count {
            compactor.make_room(&agent, messages).unwrap();
            messages.extend(conversation(&[1], 1, bytes, false, true).split_off(1));
            messages.dedup_by_key(|message| message.role);
            assert_valid(messages);
            assert_eq!(messages.len() % 2, 1, "round {round}");
        }
    };
    rounds(&mut messages, 1, 10);
    assert_eq!(*asked.lock().unwrap(), 1);
    let still = || {
        seen.lock()
            .unwrap()
            .iter()
            .filter(|(_, notice)| notice.starts_with("Still about"))
            .count()
    };
    assert_eq!(still(), 1);
    rounds(&mut messages, 10, 10);
    assert_eq!(
        (*asked.lock().unwrap(), still()),
        (1, 1),
        "not in every round"
    );
    rounds(&mut messages, 5, 380);
    assert_eq!(
        *asked.lock().unwrap(),
        2,
        "but again when there is something to gain"
    );
}

#[test]
fn the_estimate_is_a_quarter_of_the_bytes() {
    let shape = conversation(&[4, 4], 3, 900, false, false);
    let json = serde_json::to_string(&shape).unwrap().len();
    let tokens = estimate(&shape);
    assert!(
        tokens * 4 < json && tokens * 4 > json / 2,
        "{tokens} tokens, {json} bytes of JSON"
    );
    assert_eq!(estimate(&[]), 0);
    assert_eq!(estimate(&[Message::user("12345678")]), 2);
}
