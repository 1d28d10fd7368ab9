//! What a mate may be given and may not do: a worktree, an agent, a budget, no consent; and what a
//! lead that is killed finds in its mailbox.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::sent::shell;
use super::support::program::{Lesson, PATIENCE, eventually_or};
use super::support::prompt::{TRACE, at_prompt, served, until_traced};
use super::support::server::{Answer, Server, held, reply_blocks, reply_text};
use super::support::session::Chance;
use super::support::terminal::Seat;
use super::{Lead, S20, call, last, mates, sessions, texts, until_nobody_is_left, who};

/// A lead that starts this team when it is told `go`, and a mate Ann who does what `ann` says.
fn team(name: &str, mate: Value, mut ann: impl FnMut(&Value) -> Answer + Send + 'static) -> Server {
    let (input, mut count) = (json!({ "name": name, "mates": [mate] }), 0);
    Server::answering(move |body| match (who(body).as_str(), texts(body)) {
        ("lead", said) if said == "go" => {
            let call = call("lead", &mut count, "team", input.clone());
            reply_blocks(&[call], "tool_use")
        }
        ("lead", said) if said == "stop" => {
            let call = call("lead", &mut count, "team_stop", json!({}));
            reply_blocks(&[call], "tool_use")
        }
        ("lead", said) if said.starts_with("tell ") => {
            let input = json!({ "to": "ann", "text": said });
            reply_blocks(&[call("lead", &mut count, "send", input)], "tool_use")
        }
        ("lead", _) => reply_text("I wait."),
        _ => ann(body),
    })
}

pub fn seat(server: &Server) -> Lesson {
    Lesson::new(S20)
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .variable("ANTHROPIC_API_KEY", "sk-of-the-team")
}

pub fn requests_of(server: &Server, name: &str) -> Vec<Value> {
    let all = server.requests().into_iter().map(|it| it.body);
    all.filter(|body| who(body) == name).collect()
}

/// What the lead was told, as its longest request has it: the last one may be for a suggestion that
/// was asked for before.
fn heard(server: &Server) -> String {
    let requests = requests_of(server, "lead").into_iter();
    let messages = requests.map(|mut it| it["messages"].take());
    let longest = messages.max_by_key(|it| it.as_array().map_or(0, Vec::len));
    longest.unwrap_or_default().to_string()
}

fn told(server: &Server, text: &str) -> usize {
    heard(server).matches(text).count()
}

#[track_caller]
pub fn until_told(server: &Server, text: &str) {
    eventually_or(text, || heard(server), || told(server, text) > 0);
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let output = git.current_dir(folder).args(arguments).output();
    let output = output.expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn a_mate_with_a_worktree_leaves_the_tree_of_the_lead_as_it_is() {
    let mut count = 0;
    let ann = move |body: &Value| {
        if !last(body).iter().any(|it| it["type"] == "text") {
            return reply_text("It is written.");
        }
        let shell = json!({ "command": "pwd; echo changed > page.html; echo new > theme.css" });
        let file = json!({ "path": "notes.md", "content": "of ann\n" });
        let calls = [("bash", shell), ("write_file", file)];
        let calls = calls.map(|(name, input)| call("ann", &mut count, name, input));
        reply_blocks(&calls, "tool_use")
    };
    let mate = json!({ "name": "ann", "worktree": true, "prompt": "Write it." });
    let server = team("tree", mate, ann);
    let mut lesson = seat(&server).argument("--yes");
    let folder = lesson.folder.path().to_path_buf();
    git(&folder, &["init", "-q", "-b", "main"]);
    fs::write(folder.join("page.html"), "as it was\n").expect("a page");
    fs::write(folder.join(".gitignore"), "state/\n").expect("a file");
    git(&folder, &["add", "."]);
    let commit = "-c user.name=you -c user.email=you@example.org commit -qm page";
    git(&folder, &commit.split(' ').collect::<Vec<_>>());

    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "ann: It is written.");
    let tree = folder.join(".worktrees/ann");
    for (name, text) in [
        ("page.html", "changed\n"),
        ("theme.css", "new\n"),
        ("notes.md", "of ann\n"),
    ] {
        let read = fs::read_to_string(tree.join(name));
        assert_eq!(read.ok().as_deref(), Some(text), "{name}");
    }
    let requests = requests_of(&server, "ann");
    let results = last(requests.last().expect("a request"));
    let shown = results[0]["content"].as_str().expect("a result");
    assert_eq!(shown, tree.display().to_string());
    assert_eq!(git(&tree, &["branch", "--show-current"]), "ann\n");
    assert_eq!(git(&folder, &["status", "--porcelain"]), "");
    assert_eq!(git(&folder, &["branch", "--show-current"]), "main\n");
    lead.say("stop");
    let facts = "mail from ann: [worktree .worktrees/ann: branch ann, 0 ahead, files changed: nothing, not committed: page.html, notes.md, theme.css; it stays until it is removed]";
    until_told(&server, facts);
    lead.leave("tree");
    // Another lead, and ann goes on where she was.
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    let now = || {
        let requests = requests_of(&server, "ann");
        let results = last(requests.last().expect("a request"));
        results[0]["content"].to_string()
    };
    eventually_or("she is there again", now, || {
        requests_of(&server, "ann").len() == 4 && now().contains(".worktrees/ann")
    });
    lead.leave("tree");
    // What is not committed stays.
    assert!(tree.join("theme.css").is_file());
}

#[test]
fn a_mate_that_is_an_agent_has_its_prompt_and_its_tools() {
    let mate = json!({ "name": "ann", "agent": "reader", "prompt": "Read it." });
    let server = team("agent", mate, |_| reply_text("I have read it."));
    let agent = "---\nname: reader\ndescription: Reads.\ntools: read_file, task_update\n---\nYou read, and say what you read.\n";
    let mut lesson = seat(&server).argument("--yes");
    lesson = lesson.file(".claude/agents/reader.md", agent);
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "ann: I have read it.");
    let request = requests_of(&server, "ann").pop().expect("a request");
    let system = request["system"].to_string();
    assert!(
        system.contains("You read, and say what you read."),
        "{system}"
    );
    let tools = request["tools"].as_array().expect("tools").iter();
    let mut names: Vec<&str> = tools.filter_map(|tool| tool["name"].as_str()).collect();
    names.retain(|name| !name.starts_with("mcp__"));
    names.sort();
    let its = [
        "read_file",
        "send",
        "task_claim",
        "task_update",
        "team_status",
    ];
    assert_eq!(names, its);
    lead.leave("agent");
}

#[test]
fn a_mate_that_has_used_up_its_turns_leaves_and_the_lead_is_told() {
    let mut turn = 0;
    let ann = move |_: &Value| {
        turn += 1;
        reply_text(&format!("This was turn {turn}."))
    };
    let mate = json!({ "name": "ann", "prompt": "Wait for mail.", "turns": 2 });
    let server = team("budget", mate, ann);
    let mut lesson = seat(&server).argument("--yes");
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "ann: This was turn 1.");
    lead.say("tell her once");
    until_told(&server, "ann: This was turn 2.");
    assert!(!mates("budget").is_empty(), "she waits for more");
    lead.say("tell her twice");
    let why = "It has used up what it may, and leaves";
    until_told(&server, why);
    until_told(&server, "came back, as ann has ended: tell her twice");
    until_told(&server, "ann: ERROR: exit code 1");
    until_nobody_is_left("budget");
    lead.say("once more, please");
    until_told(&server, "once more, please");
    assert_eq!(told(&server, why), 1);
    assert_eq!(requests_of(&server, "ann").len(), 2);
    lead.leave("budget");
}

#[test]
fn a_mate_that_has_used_up_its_tokens_leaves_and_the_lead_is_told() {
    let ann = |_: &Value| match reply_text("This was dear.") {
        Answer::Stream(text) => {
            Answer::Stream(text.replace("\"input_tokens\":10", "\"input_tokens\":500000"))
        }
        other => other,
    };
    let mate = json!({ "name": "ann", "prompt": "Wait for mail." });
    let server = team("dear", mate, ann);
    let mut lesson = seat(&server).argument("--yes");
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "ann: This was dear.");
    lead.say("tell her once");
    until_told(&server, "It has used up what it may, and leaves");
    until_told(&server, "ann: ERROR: exit code 1");
    until_nobody_is_left("dear");
    assert_eq!(requests_of(&server, "ann").len(), 1);
    lead.say("stop");
    until_told(&server, "told to leave: nobody."); // she has left
    lead.leave("dear");
}

#[test]
fn what_a_mate_may_not_do_is_told_to_the_lead_and_not_done() {
    let mut count = 0;
    let ann = move |body: &Value| {
        if !last(body).iter().any(|it| it["type"] == "text") {
            return reply_text("I may not.");
        }
        let input = json!({ "command": "touch done" });
        reply_blocks(&[call("ann", &mut count, "bash", input)], "tool_use")
    };
    let mate = json!({ "name": "ann", "prompt": "Do it." });
    let server = team("denied", mate, ann);
    // Somebody is there, and allows the team: that is no consent for what its mates do.
    let mut terminal = at_prompt(served(S20, &server), "s20 >> ");
    terminal.line("go");
    terminal.until_shows("Allow it?");
    terminal.line("y");
    until_told(
        &server,
        "mail from ann: It asked for consent, which was denied: ",
    );
    until_told(&server, "ann: I may not.");
    assert_eq!(
        told(&server, "touch done"),
        1,
        "the lead is told what it was"
    );
    let request = requests_of(&server, "ann").pop().expect("a request");
    let result = last(&request)[0]["content"].as_str().expect("a result");
    assert!(
        result.starts_with("ERROR: bash was denied: it needs the user's consent"),
        "{result}"
    );
    assert!(!terminal.folder.path().join("done").exists());
    drop(terminal);
    until_nobody_is_left("denied");
}

#[test]
fn a_mate_that_has_used_up_its_turns_says_what_is_in_its_worktree() {
    let mut count = 0;
    let ann = move |body: &Value| {
        if !last(body).iter().any(|it| it["type"] == "text") {
            return reply_text("It is written.");
        }
        let shell = json!({ "command": "echo new > theme.css" });
        reply_blocks(&[call("ann", &mut count, "bash", shell)], "tool_use")
    };
    let mate = json!({ "name": "ann", "worktree": true, "prompt": "Write it.", "turns": 1 });
    let server = team("leaves", mate, ann);
    let mut lesson = seat(&server).argument("--yes");
    let folder = lesson.folder.path().to_path_buf();
    git(&folder, &["init", "-q", "-b", "main"]);
    let commit = "-c user.name=you -c user.email=you@example.org commit -q --allow-empty -m page";
    git(&folder, &commit.split(' ').collect::<Vec<_>>());
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "ann: It is written.");
    lead.say("tell her once");
    until_told(&server, "It has used up what it may, and leaves");
    until_told(&server, "ann: ERROR: exit code 1");
    let facts = "[worktree .worktrees/ann: branch ann, 0 ahead, files changed: nothing, not committed: theme.css; it stays until it is removed]";
    assert_eq!(told(&server, facts), 1, "{}", heard(&server));
    lead.leave("leaves");
}

#[test]
fn why_a_mate_does_not_come_up_is_told_to_the_lead() {
    let mate = json!({ "name": "ann", "agent": "nonesuch" });
    let server = team("why", mate, |_| reply_text("I am here."));
    let mut lesson = seat(&server).argument("--yes");
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "ann: ERROR: exit code 1");
    until_told(&server, "there is no agent");
    lead.leave("why");
}

#[test]
fn why_a_mate_has_no_worktree_is_told_to_the_lead() {
    let mate = json!({ "name": "ann", "worktree": true });
    let server = team("treeless", mate, |_| reply_text("I am here."));
    let mut lesson = seat(&server).argument("--yes");
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "ann: ERROR: exit code 1");
    until_told(&server, "there is no repository for a worktree");
    assert_eq!(requests_of(&server, "ann").len(), 0);
    lead.leave("treeless");
}

#[test]
fn a_team_that_is_refused_uses_up_no_name() {
    let ran = Lesson::new(S20)
        .line("start team names with ann ann")
        .line("start team names with ben lead")
        .line("start team names with ann")
        .line("start team names with ben ann")
        .line("start team names with ben")
        .run();
    ran.has_in_order(&[
        "each mate needs a name of its own: none begins.",
        "each mate needs a name of its own: none begins.",
        "ann: started in the background.",
        "ann",
        "ben: started in the background.",
    ]);
    until_nobody_is_left("names");
}

/// The mate cannot begin: its shell waits where it removes its input. (The first is a server's.)
#[test]
fn ctrl_c_ends_the_start_of_a_team() {
    let seat = Seat::new(S20);
    let folder = seat.folder.path().to_path_buf();
    let rm = r#"if [ -e first ]; then touch waits; read it <gate; fi; touch first; /bin/rm "$@""#;
    let made = format!("mkdir bin; mkfifo gate; printf '#!/bin/sh\\n{rm}\\n' >bin/rm");
    shell(&folder, &format!("{made}; chmod +x bin/rm"));
    let path = std::env::var("PATH").expect("a path");
    let bin = folder.join("bin");
    let seat = seat.variable("PATH", &format!("{}:{path}", bin.display()));
    let mut terminal = seat.argument("--trace").argument(TRACE).start();
    terminal.until_shows("\n\ns20 >>");
    terminal.line("start team late with ann");
    eventually_or("the mate waits", String::new, || {
        folder.join("waits").exists()
    });
    terminal.send("\x03");
    until_traced(&terminal, &["interrupted: none begins."]);
    drop(terminal);
    until_nobody_is_left("late");
}

/// The files in a folder of a mailbox.
fn mail(folder: &Path, team: &str, place: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.join(format!(".team/{team}/lead/{place}")));
    let names = entries.into_iter().flatten().flatten();
    names
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What the lead was told stands in its session, and it is killed before the message has moved.
#[test]
fn a_lead_that_is_killed_before_the_message_moves_is_told_once() {
    let (gates, gate): (Sender<Sender<()>>, Receiver<_>) = channel();
    let (news, mut lead_is_held, mut count) = ("mail from ann: The news.", false, 0);
    let server = Server::answering(move |body| match (who(body).as_str(), texts(body)) {
        ("lead", said) if said.contains(news) && !lead_is_held => {
            lead_is_held = true;
            let (open, answer) = held(reply_text("I have it."));
            gates.send(open).expect("the test is there");
            answer
        }
        ("lead", said) if said.ends_with("go") => {
            let input = json!({ "name": "moved", "mates": [{ "name": "ann" }] });
            reply_blocks(&[call("lead", &mut count, "team", input)], "tool_use")
        }
        ("lead", _) => reply_text("I wait."),
        _ if lead_is_held => reply_text("I am here again."),
        _ => reply_text("The news."),
    });
    let mut lesson = seat(&server).argument("--yes");
    let folder = lesson.folder.path().to_path_buf();
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    let _gate = gate.recv_timeout(PATIENCE).expect("she is told");
    let is_told = || sessions(&folder).matches(news).count();
    assert_eq!(is_told(), 1, "it stands in the session");
    kill(lead.pid, Signal::SIGKILL).expect("it runs");
    drop(lead);
    until_nobody_is_left("moved");
    let waits = mail(&folder, "moved", "new");
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert_eq!(mail(&folder, "moved", "cur"), [""; 0]);

    let session = session_with(&folder, news);
    let mut lesson = lesson.argument("--resume").argument(&session);
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    until_told(&server, "mail from ann: I am here again.");
    let moved = || mail(&folder, "moved", "cur");
    let why = || format!("{:?}", moved());
    eventually_or("it is moved", why, || moved().contains(&waits[0]));
    lead.say("once more, please");
    until_told(&server, "once more, please");
    assert_eq!(told(&server, news), 1);
    lead.leave("moved");
}

/// The session whose file holds a text.
fn session_with(folder: &Path, text: &str) -> String {
    let files = fs::read_dir(folder.join(".sessions")).expect("sessions");
    let mut files = files.flatten().map(|it| it.path());
    let is_it = |path: &PathBuf| {
        path.extension().is_some_and(|it| it == "jsonl")
            && fs::read_to_string(path).is_ok_and(|it| it.contains(text))
    };
    let file = files.find(is_it).expect("a session");
    let name = file.file_stem().expect("a name");
    name.to_string_lossy().into_owned()
}

/// As many kills as `MEANWHILE_ROUNDS` says, each followed by a lead that goes on with the session.
#[test]
fn a_lead_that_is_killed_at_random_is_told_each_message_once() {
    let rounds = std::env::var("MEANWHILE_ROUNDS").ok();
    let rounds: usize = rounds.and_then(|it| it.parse().ok()).unwrap_or(4);
    const EACH: usize = 12;
    let known = Arc::<Mutex<BTreeSet<String>>>::default();
    let (known_there, mut left, mut count) = (known.clone(), 0, 0);
    let server = Server::answering(move |body| match (who(body).as_str(), texts(body)) {
        ("lead", said) if said.ends_with("go") => {
            let ann = json!({ "name": "ann", "prompt": "Begin.", "turns": 1000 });
            let input = json!({ "name": "random", "mates": [ann] });
            reply_blocks(&[call("lead", &mut count, "team", input)], "tool_use")
        }
        ("lead", _) => reply_text("I wait."),
        (_, said) => {
            for block in last(body) {
                let id = block["tool_use_id"].as_str().unwrap_or_default();
                if block["content"]
                    .as_str()
                    .is_some_and(|it| it.starts_with("sent to"))
                {
                    let mark = id.rsplit('_').next().expect("a number");
                    known_there.lock().unwrap().insert(format!("<{mark}>"));
                }
            }
            left = if said.contains("Begin.") { EACH } else { left };
            if left == 0 {
                return reply_blocks(&[], "end_turn"); // an empty text goes to nobody
            }
            left -= 1;
            let text = format!("<{}>", count + 1);
            let input = json!({ "to": "lead", "text": text });
            reply_blocks(&[call("ann", &mut count, "send", input)], "tool_use")
        }
    });
    let mut lesson = seat(&server).argument("--yes");
    let folder = lesson.folder.path().to_path_buf();
    let mut chance = Chance::new(rounds as u64);
    let sent = || known.lock().unwrap().len();
    for round in 0..=rounds {
        let before = sent();
        let mut lead = Lead::start(&mut lesson);
        lead.say("go");
        if round == rounds {
            let why = || format!("{} of {}", sent() - before, EACH);
            eventually_or("all is sent", why, || sent() == before + EACH);
            let untold = || {
                let (sent, heard) = (known.lock().unwrap().clone(), heard(&server));
                let untold = sent.into_iter().filter(|it| !heard.contains(it));
                untold.collect::<Vec<_>>()
            };
            let why = || format!("{:?}", untold());
            eventually_or("all is told", why, || untold().is_empty());
            lead.say("once more, please");
            until_told(&server, "once more, please");
            lead.leave("random");
            break;
        }
        let some = before + 1 + chance.below(EACH - 1);
        eventually_or("some are sent", String::new, || sent() >= some);
        thread::sleep(Duration::from_micros(chance.below(20_000) as u64));
        kill(lead.pid, Signal::SIGKILL).expect("it runs");
        drop(lead);
        until_nobody_is_left("random");
        if round == 0 {
            let session = session_with(&folder, "\"team\"");
            lesson = lesson.argument("--resume").argument(&session);
        }
    }
    // Of one that was not answered before the kill, nobody knows whether it went out.
    let (known, heard) = (known.lock().unwrap(), heard(&server));
    for mark in 1..=server.requests().len() {
        let mark = format!("<{mark}>");
        let times = heard.matches(&mark).count();
        assert!(
            times == 1 || (times == 0 && !known.contains(&mark)),
            "{mark}: {times}"
        );
    }
}
