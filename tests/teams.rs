//! Teams: real programs, that share a board and mailboxes, ask one strict server, and are killed.

mod support;

#[path = "teams/costs.rs"]
mod costs;
#[path = "teams/given.rs"]
mod given;
#[path = "teams/sent.rs"]
mod sent;
#[path = "teams/wired.rs"]
mod wired;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use support::program::{Lesson, eventually_or};
use support::server::{Answer, Server, reply_blocks, reply_text};
use support::session::Chance;

const S20: &str = "s20_parallel_teams";
const MATES: [&str; 3] = ["ann", "ben", "cid"];
const TASKS: u64 = 12;

/// Who asks: a mate says its name in its system prompt.
fn who(body: &Value) -> String {
    let system = body["system"].to_string();
    let name = system.split("Your name is ").nth(1);
    let name = name.and_then(|rest| rest.split('.').next());
    name.unwrap_or("lead").to_string()
}

/// The blocks of the last message.
fn last(body: &Value) -> &[Value] {
    let messages = body["messages"].as_array().expect("messages");
    let last = messages.last().expect("a message");
    last["content"].as_array().expect("blocks")
}

fn texts(body: &Value) -> String {
    let texts = last(body).iter().filter_map(|block| block["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// A call whose id says whose it is.
fn call(who: &str, count: &mut u64, name: &str, input: Value) -> Value {
    *count += 1;
    json!({ "type": "tool_use", "id": format!("toolu_{who}_{count}"), "name": name, "input": input })
}

/// A lead that starts a team when it is told `go NAME`, and mates that take tasks: of each the number
/// goes to the file `begun`, and then `work` is run for it.
fn workers(
    work: impl Fn(&str, u64) -> String + Send + 'static,
) -> impl FnMut(&Value) -> Answer + Send {
    let mut count = 0;
    let mut tasks = BTreeMap::new();
    move |body| {
        let (who, said) = (who(body), texts(body));
        let mut results = last(body)
            .iter()
            .filter_map(|block| block["content"].as_str());
        let result = results.next_back().unwrap_or_default().to_string();
        let mut calls =
            |name: &str, input| reply_blocks(&[call(&who, &mut count, name, input)], "tool_use");
        if who == "lead" {
            return match said.strip_prefix("go ") {
                Some(name) => {
                    let mates = MATES.map(|name| json!({ "name": name }));
                    calls("team", json!({ "name": name, "mates": mates }))
                }
                None => reply_text("I wait."),
            };
        }
        if let Some(task) = result.strip_prefix("[>] ") {
            let id: u64 = task
                .split(':')
                .next()
                .and_then(|id| id.parse().ok())
                .expect("an id");
            tasks.insert(who.clone(), id);
            let command = format!("echo {who} {id} >> begun; {}", work(&who, id));
            return calls("bash", json!({ "command": command }));
        }
        match tasks.remove(&who) {
            Some(id) => calls("task_update", json!({ "id": id, "status": "completed" })),
            None if result.starts_with("No task") => reply_text("Nothing is left for me."),
            None if said.contains("task=\"board\"") || said.contains("Take tasks") => {
                calls("task_claim", json!({}))
            }
            None if result.starts_with("[x] ") => calls("task_claim", json!({})),
            None => reply_text("I have read it."),
        }
    }
}

/// A running lead.
struct Lead {
    child: Child,
    input: Option<ChildStdin>,
    pid: Pid,
}

impl Lead {
    fn start(lesson: &mut Lesson) -> Self {
        let mut child = lesson.start();
        let input = child.stdin.take();
        let pid = Pid::from_raw(child.id() as i32);
        // Nobody reads what it shows.
        for mut pipe in [
            child
                .stdout
                .take()
                .map(|it| Box::new(it) as Box<dyn std::io::Read + Send>),
            child
                .stderr
                .take()
                .map(|it| Box::new(it) as Box<dyn std::io::Read + Send>),
        ]
        .into_iter()
        .flatten()
        {
            thread::spawn(move || std::io::copy(&mut pipe, &mut std::io::sink()));
        }
        Lead { child, input, pid }
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it has not been closed");
        writeln!(input, "{line}").expect("it listens");
    }

    /// Lets it leave, and waits until it has, and its mates.
    fn leave(mut self, team: &str) {
        drop(self.input.take());
        self.child.wait().expect("it ended");
        until_nobody_is_left(team);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The mates of a team that run, wherever they are; so each test has a name of its own.
fn mates(team: &str) -> Vec<i32> {
    let place = format!(".team/{team}/");
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_mate = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line.contains(&place))
    };
    pids.filter(is_mate).collect()
}

fn until_nobody_is_left(team: &str) {
    let left = || format!("{:?}", mates(team));
    eventually_or("no mate is left", left, || mates(team).is_empty());
}

fn lesson(server: &Server) -> Lesson {
    let mut lesson = Lesson::new(S20)
        .argument("--yes")
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .variable("ANTHROPIC_API_KEY", "sk-of-the-team");
    for id in 1..=TASKS {
        let task = json!({ "id": id, "subject": format!("part {id}"), "status": "pending" });
        lesson = lesson.file(&format!(".tasks/task_{id}.json"), &task.to_string());
    }
    lesson
}

fn board(folder: &Path) -> Vec<String> {
    let read = |id| {
        let text = fs::read_to_string(folder.join(format!(".tasks/task_{id}.json")));
        let task: Value = serde_json::from_str(&text.expect("a task")).expect("whole");
        task["status"].as_str().expect("a status").to_string()
    };
    (1..=TASKS).map(read).collect()
}

fn until_all_is_done(folder: &Path) {
    let why = || format!("{:?}\n{}", board(folder), begun(folder).join("\n"));
    eventually_or("all is done", why, || {
        board(folder).iter().all(|it| it == "completed")
    });
}

/// Who began which task, in order.
fn begun(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("begun")).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

/// Its process, which stands first in its lock.
fn process(folder: &Path, team: &str, member: &str) -> Pid {
    let text = fs::read_to_string(folder.join(format!(".team/{team}/{member}/lock")));
    let text = text.expect("a member");
    let pid = text.split(',').next().and_then(|it| it.parse().ok());
    Pid::from_raw(pid.expect("a process"))
}

#[test]
fn three_mates_do_twelve_tasks_each_once_and_share_no_message() {
    let work = |who: &str, id| {
        format!("env > env-{id}; tr '\\0' ' ' </proc/$PPID/cmdline >line-{who}; sleep 0.05")
    };
    let server = Server::answering(workers(work));
    server.expect_header("x-api-key", "sk-of-the-team");
    let mut lesson = lesson(&server);
    let folder = lesson.folder.path().to_path_buf();
    let mut lead = Lead::start(&mut lesson);
    lead.say("go once");
    until_all_is_done(&folder);
    let mut numbers: Vec<u64> = begun(&folder)
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    numbers.sort();
    assert_eq!(numbers, (1..=TASKS).collect::<Vec<_>>());
    let told = || {
        server
            .requests()
            .iter()
            .filter(|it| who(&it.body) == "lead")
            .map(|it| it.body.to_string())
            .next_back()
            .unwrap_or_default()
    };
    eventually_or("the lead is told the last text of each", told, || {
        MATES
            .iter()
            .all(|name| told().contains(&format!("{name}: Nothing is left for me.")))
    });
    let names: BTreeSet<String> = server.requests().iter().map(|it| who(&it.body)).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for request in server.requests() {
        let who = who(&request.body);
        for block in request
            .messages()
            .iter()
            .flat_map(|it| it["content"].as_array().unwrap())
        {
            let id = block["id"].as_str().or(block["tool_use_id"].as_str());
            assert!(
                id.is_none_or(|id| id.starts_with(&format!("toolu_{who}_"))),
                "{who} has {id:?}"
            );
        }
    }
    for name in MATES {
        let line = format!("/proc/{}/cmdline", process(&folder, "once", name));
        let line = fs::read_to_string(line).expect("a mate that waits");
        assert!(line.contains("--mate") && !line.contains("sk-"), "{line}");
    }
    lead.leave("once");
    // The key is in no file, and in the environment of no command.
    let mut grep = std::process::Command::new("grep");
    let found = grep
        .args(["-r", "-l", "-D", "skip", "sk-of-the-team"])
        .arg(&folder);
    let found = String::from_utf8(found.output().expect("grep").stdout).expect("names");
    assert_eq!(found, "");
    assert!(folder.join("env-1").is_file());
}

#[test]
fn the_task_of_a_mate_that_is_killed_is_taken_by_another() {
    // Ann is held at her first task until she is killed.
    let work = |who: &str, _| {
        if who == "ann" {
            "exec sleep 600"
        } else {
            "sleep 0.05"
        }
        .to_string()
    };
    let server = Server::answering(workers(work));
    let mut lesson = lesson(&server);
    let folder = lesson.folder.path().to_path_buf();
    let mut lead = Lead::start(&mut lesson);
    lead.say("go killed");
    let hers = || {
        begun(&folder)
            .into_iter()
            .find(|line| line.starts_with("ann "))
    };
    eventually_or(
        "ann begins",
        || begun(&folder).join("\n"),
        || hers().is_some(),
    );
    // The others have done all the rest, and wait.
    eventually_or(
        "the rest is done",
        || format!("{:?}", board(&folder)),
        || {
            board(&folder)
                .iter()
                .filter(|it| *it == "completed")
                .count() as u64
                == TASKS - 1
        },
    );
    kill(process(&folder, "killed", "ann"), Signal::SIGKILL).expect("she runs");
    until_all_is_done(&folder);
    let hers = hers().expect("as before");
    let number = hers.split(' ').nth(1).unwrap();
    let times = begun(&folder)
        .iter()
        .filter(|line| line.split(' ').nth(1) == Some(number))
        .count();
    assert_eq!(times, 2, "begun by ann, and by who took it");
    let told = || {
        server
            .requests()
            .iter()
            .filter(|it| who(&it.body) == "lead")
            .map(|it| it.body.to_string())
            .next_back()
            .unwrap_or_default()
    };
    eventually_or("the lead is told", told, || {
        told().contains("ann: ERROR: exit code 137")
    });
    lead.leave("killed");
}

/// As many mates as `MEANWHILE_ROUNDS` says, each out of another team.
#[test]
fn a_mate_that_is_killed_at_random_leaves_its_task_to_another_and_all_is_done() {
    let rounds = std::env::var("MEANWHILE_ROUNDS")
        .ok()
        .and_then(|it| it.parse().ok());
    let (rounds, mut begun_twice) = (rounds.unwrap_or(3), 0);
    for round in 0..rounds {
        let (mut chance, team) = (Chance::new(70 + round), format!("chance-{round}"));
        let server = Server::answering(workers(|_, _| "sleep 0.1".to_string()));
        let mut lesson = lesson(&server);
        let folder = lesson.folder.path().to_path_buf();
        let mut lead = Lead::start(&mut lesson);
        lead.say(&format!("go {team}"));
        let victim = MATES[chance.below(MATES.len())];
        let some = 1 + chance.below(TASKS as usize - 1);
        let so_far = || begun(&folder).join("\n");
        eventually_or("some are begun", so_far, || begun(&folder).len() >= some);
        thread::sleep(Duration::from_micros(chance.below(100_000) as u64));
        kill(process(&folder, &team, victim), Signal::SIGKILL).expect("it runs");
        until_all_is_done(&folder);
        let mut who_began: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in begun(&folder) {
            let (who, task) = line.split_once(' ').expect("who, and what");
            let of_task = who_began.entry(task.to_string()).or_default();
            of_task.push(who.to_string());
        }
        let again = who_began.values().filter(|who| who.len() > 1);
        let again: Vec<_> = again.collect();
        assert!(again.len() <= 1, "round {round}: {victim} {who_began:?}");
        for who in again {
            assert!(who.len() == 2 && who[0] == victim, "round {round}: {who:?}");
            begun_twice += 1;
        }
        lead.leave(&team);
    }
    println!("{rounds} mates were killed, {begun_twice} of them at a task");
}

#[test]
fn when_the_lead_is_killed_no_mate_is_left_and_a_new_lead_goes_on() {
    let rounds = std::env::var("MEANWHILE_ROUNDS")
        .ok()
        .and_then(|it| it.parse().ok());
    for round in 0..rounds.unwrap_or(3) {
        let team = format!("lead-{round}");
        let server = Server::answering(workers(|_, _| "sleep 0.05".to_string()));
        let mut lesson = lesson(&server);
        let folder = lesson.folder.path().to_path_buf();
        let mut lead = Lead::start(&mut lesson);
        lead.say(&format!("go {team}"));
        // At a random instant from its first moment to the last task.
        let mut chance = Chance::new(round);
        let done = chance.below(TASKS as usize);
        let is_there = || {
            board(&folder)
                .iter()
                .filter(|it| *it == "completed")
                .count()
                >= done
        };
        eventually_or("so far", || format!("{:?}", board(&folder)), is_there);
        thread::sleep(Duration::from_micros(chance.below(100_000) as u64));
        kill(lead.pid, Signal::SIGKILL).expect("it runs");
        drop(lead);
        until_nobody_is_left(&team);
        board(&folder); // each file is whole
        for name in MATES.iter().chain(&["lead"]) {
            for file in fs::read_dir(folder.join(format!(".team/{team}/{name}/new")))
                .into_iter()
                .flatten()
                .flatten()
            {
                let text = fs::read_to_string(file.path()).expect("a message");
                serde_json::from_str::<Value>(&text).expect("whole");
            }
        }
        let mut new = Lead::start(&mut lesson);
        new.say(&format!("go {team}"));
        until_all_is_done(&folder);
        new.leave(&team);
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for line in begun(&folder) {
            *times
                .entry(line.split(' ').nth(1).unwrap().to_string())
                .or_default() += 1;
        }
        // With the lead, its mates die one after the other: each may have taken it from the last.
        let most = 1 + MATES.len();
        assert!(times.values().all(|times| *times <= most), "{times:?}");
    }
}

/// All that stands in the sessions of a folder.
fn sessions(folder: &Path) -> String {
    let files = fs::read_dir(folder.join(".sessions"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .map(|file| fs::read_to_string(file.path()).unwrap_or_default())
        .collect()
}

#[track_caller]
fn until_said(folder: &Path, text: &str) {
    let why = || sessions(folder);
    eventually_or(text, why, || sessions(folder).contains(text));
}

#[test]
fn a_mailbox_refuses_what_is_too_much_and_sets_aside_what_is_no_message() {
    let mut lesson = Lesson::new(S20);
    let folder = lesson.folder.path().to_path_buf();
    let mut lead = Lead::start(&mut lesson);
    lead.say("start team boxes with ann");
    until_said(&folder, "ann: No task is free"); // she waits
    lead.say(r#"tell zed "are you there?""#);
    until_said(&folder, "there is no zed in this team: ann, lead");

    // A second lead cannot take the team over.
    let mut other = lesson.start();
    let mut input = other.stdin.take().expect("a pipe");
    input
        .write_all(b"start team boxes with ben\n")
        .expect("it listens");
    drop(input);
    let said = other.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&said.stdout).to_string();
    assert!(said.contains("is lead of this team already"), "{said}");

    // What is no message is named, and does not stop the mail behind it.
    let new = folder.join(".team/boxes/lead/new");
    fs::write(new.join("0-poison"), b"\xff{").expect("a file");
    fs::write(new.join("1-poison"), b"{}").expect("a file");
    std::os::unix::fs::symlink("/dev/zero", new.join("2-poison")).expect("a link");
    lead.say(r#"tell ann "hello""#);
    for name in ["0-poison", "1-poison", "2-poison"] {
        until_said(&folder, &format!("{name} is no message and is set aside"));
        let aside = folder.join(".team/boxes/lead/cur").join(name);
        let is_aside = || aside.symlink_metadata().is_ok() && !new.join(name).exists();
        eventually_or("it is set aside", || sessions(&folder), is_aside);
    }
    until_said(&folder, "lead: hello");

    // One that does not read.
    let waiting = || {
        fs::read_dir(folder.join(".team/boxes/ann/new"))
            .expect("a mailbox")
            .count()
    };
    eventually_or("hello is read", String::new, || waiting() == 0);
    let ann = process(&folder, "boxes", "ann");
    kill(ann, Signal::SIGSTOP).expect("she runs");
    let all: Vec<String> = (0..101)
        .map(|at| format!(r#"tell ann "number {at}""#))
        .collect();
    lead.say(&all.join(", then "));
    until_said(
        &folder,
        "the mailbox of ann is full (100 messages wait), so nothing was sent",
    );
    assert_eq!(waiting(), 100);

    // It comes back when she has ended.
    kill(ann, Signal::SIGKILL).expect("she runs");
    until_said(&folder, "came back, as ann has ended: number 99");
    assert_eq!(waiting(), 0);
    lead.say(r#"tell ann "once more""#);
    until_said(&folder, "ann has ended, and would not read it");
    lead.leave("boxes");
}

/// The test is the lead: it holds the lock, and reads its mailbox.
#[test]
fn a_mate_is_unattended_works_in_its_worktree_and_leaves_when_its_turns_are_used_up() {
    let mut count = 0;
    let server = Server::answering(move |body| match last(body)[0]["type"] == "tool_result" {
        true => reply_text(&format!("It said: {}", last(body)[0]["content"])),
        false => {
            let input = json!({ "command": "basename $PWD" });
            reply_blocks(&[call(&who(body), &mut count, "bash", input)], "tool_use")
        }
    });
    server.expect_header("x-api-key", "sk-of-the-team");
    for (name, yes, said) in [
        ("ann", false, "It asked for consent, which was denied"),
        ("ben", true, "It said: \"ben"),
    ] {
        let place = format!(".team/by-hand/{name}");
        let mut lesson = Lesson::new(S20).argument("--mate").argument(&place);
        if yes {
            lesson = lesson.argument("--yes");
        }
        let folder = lesson.folder.path().to_path_buf();
        let git = "git init -q && git -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m a";
        let mut git = std::process::Command::new("sh")
            .args(["-c", git])
            .current_dir(&folder)
            .spawn()
            .expect("git");
        assert!(git.wait().expect("git").success());
        let lead = folder.join(".team/by-hand/lead");
        for part in ["tmp", "new"] {
            fs::create_dir_all(lead.join(part)).expect("a folder");
        }
        let lock = fs::File::create(lead.join("lock")).expect("a file");
        lock.lock().expect("nobody else has it");
        let mail = || {
            let files = fs::read_dir(lead.join("new")).expect("a mailbox").flatten();
            let texts = files.map(|file| fs::read_to_string(file.path()).expect("a message"));
            let mail = texts.map(|text| serde_json::from_str::<Value>(&text).expect("a message"));
            mail.map(|mail| mail[2].as_str().expect("a text").to_string() + "\n")
                .collect::<String>()
        };
        let mut mate = Lead::start(&mut lesson);
        let variables =
            json!({ "ANTHROPIC_BASE_URL": server.url(), "ANTHROPIC_API_KEY": "sk-of-the-team" });
        let wanted = json!({ "name": name, "worktree": yes, "turns": 1 });
        mate.say(&json!([variables, wanted]).to_string());
        mate.say(&format!("{name}: where are you?"));
        eventually_or("the lead is told", mail, || {
            mail().contains(said) && mail().contains("It said: ")
        });
        assert_eq!(mail().contains("denied"), !yes, "{}", mail());
        let tree = folder.join(".worktrees").join(name);
        assert_eq!(tree.is_dir(), yes);
        mate.say(&format!("{name}: and now?"));
        assert_eq!(mate.child.wait().expect("it leaves").code(), Some(1));
        assert!(mail().contains("It has used up what it may"), "{}", mail());
    }
}

/// What was sent and told in a team.
#[derive(Default)]
struct Traffic {
    /// To whom each still has to write what.
    queues: BTreeMap<String, Vec<(String, String)>>,
    calls: BTreeMap<String, (String, String)>,
    sent: BTreeSet<String>,
    /// Who was told a text, in which file.
    told: BTreeMap<String, BTreeSet<(String, String)>>,
    faults: Vec<String>,
    count: u64,
}

impl Traffic {
    fn answer(&mut self, team: &str, body: &Value) -> Answer {
        let who = who(body);
        for block in last(body) {
            let text = block["text"].as_str().unwrap_or_default();
            if let Some((_, rest)) = text.split_once("<task-notification task=\"")
                && let Some((id, rest)) = rest.split_once("\">\n")
                && let Some((_, mail)) = rest.lines().next().unwrap_or_default().split_once(": m-")
            {
                let told = self.told.entry(mail.to_string()).or_default();
                told.insert((who.clone(), id.to_string()));
                if body.to_string().matches(id).count() != 1 {
                    self.faults
                        .push(format!("{who} is told {id} more than once"));
                }
            }
            let result = block["tool_use_id"]
                .as_str()
                .and_then(|id| self.calls.remove(id));
            if let Some((to, text)) = result {
                match block["content"].as_str().unwrap_or_default() {
                    said if said.starts_with("sent to") => drop(self.sent.insert(text)),
                    said if said.contains("is full") => {
                        self.queues.entry(who.clone()).or_default().push((to, text));
                    }
                    said if said.contains("has ended") => {}
                    said => self.faults.push(said.to_string()),
                }
            }
        }
        if texts(body) == "go" {
            let mates = MATES.map(|name| json!({ "name": name, "turns": 1_000_000 }));
            let input = json!({ "name": team, "mates": mates });
            return reply_blocks(&[call(&who, &mut self.count, "team", input)], "tool_use");
        }
        let queue = self.queues.entry(who.clone()).or_default();
        let next = queue.split_off(queue.len().saturating_sub(10));
        let (mut blocks, is_last) = (Vec::new(), next.is_empty());
        for (to, text) in next {
            let input = json!({ "to": to, "text": format!("m-{text}") });
            let block = call(&who, &mut self.count, "send", input);
            let id = block["id"].as_str().expect("an id").to_string();
            self.calls.insert(id, (to, text));
            blocks.push(block);
        }
        match is_last {
            true => reply_blocks(&[], "end_turn"), // an empty text goes to nobody
            false => reply_blocks(&blocks, "tool_use"),
        }
    }
}

/// As many messages as `MEANWHILE_MESSAGES` says, in teams of 400 each. A run of 10,000 took 83 s:
/// the senders knew of 7,921 that they went out, and 7,928 were told, each once.
#[test]
fn each_of_many_messages_is_told_once_even_if_mates_are_killed() {
    let count = std::env::var("MEANWHILE_MESSAGES")
        .ok()
        .and_then(|it| it.parse().ok());
    let count: usize = count.unwrap_or(400);
    let rounds = (0..count.div_ceil(400)).map(|at| traffic(at as u64, 400.min(count - at * 400)));
    let (sent, told) = rounds.fold((0, 0), |(sent, told), it| (sent + it.0, told + it.1));
    println!(
        "{count} messages: {sent} senders know that theirs went out, {told} were told, each once"
    );
}

/// So many messages among four, of whom one or two are killed; how many were sent, and told.
fn traffic(seed: u64, count: usize) -> (usize, usize) {
    let (mut chance, team) = (Chance::new(7 + seed), format!("mail-{seed}"));
    let members = ["lead", "ann", "ben", "cid"];
    let mut traffic = Traffic::default();
    for at in 0..count {
        let from = at % 4;
        let to = members[(from + 1 + chance.below(3)) % 4].to_string();
        let queue = traffic.queues.entry(members[from].to_string()).or_default();
        queue.push((to, format!("{}-{at}", members[from])));
    }
    let traffic = Arc::new(Mutex::new(traffic));
    let (shared, name) = (traffic.clone(), team.clone());
    let server = Server::answering(move |body| shared.lock().unwrap().answer(&name, body));
    let mut lesson = lesson(&server);
    let folder = lesson.folder.path().to_path_buf();
    fs::remove_dir_all(folder.join(".tasks")).expect("no tasks");
    let mut lead = Lead::start(&mut lesson);
    lead.say("go");
    let (mut living, mut killed) = (MATES.to_vec(), Vec::new());
    for _ in 0..=chance.below(2) {
        let victim = chance.take(&mut living).expect("a mate");
        let left = 1 + chance.below(count / 5);
        let has_sent = || traffic.lock().unwrap().queues[victim].len() <= left;
        eventually_or(
            "the mate has sent some of its messages",
            String::new,
            has_sent,
        );
        kill(process(&folder, &team, victim), Signal::SIGKILL).expect("it runs");
        killed.push(victim);
    }
    let missing = || {
        let it = traffic.lock().unwrap();
        let queues = it.queues.iter();
        let left = queues.filter(|(who, _)| !killed.contains(&who.as_str()));
        let left = left.flat_map(|(_, queue)| queue.iter().map(|(_, text)| text));
        let untold = it.sent.iter().filter(|text| !it.told.contains_key(*text));
        left.chain(untold).cloned().collect::<Vec<_>>()
    };
    let why = || format!("round {seed}: {:?}", missing());
    eventually_or("all is told", why, || missing().is_empty());
    lead.leave(&team);
    let it = traffic.lock().unwrap();
    assert!(it.faults.is_empty(), "round {seed}: {:?}", it.faults);
    assert!(it.sent.len() >= count / 4, "{}", it.sent.len());
    for (text, told) in &it.told {
        // A mate may have been told just before it was killed, and then the message came back.
        let living = told
            .iter()
            .filter(|(who, _)| !killed.contains(&who.as_str()));
        let files: BTreeSet<_> = told.iter().map(|(_, file)| file).collect();
        assert!(
            living.count() <= 1 && files.len() == 1,
            "round {seed}: {text} was told to {told:?}"
        );
    }
    (it.sent.len(), it.told.len())
}
