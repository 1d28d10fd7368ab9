//! The memory of a session: updates that are held, fail or come too late, conversations at random,
//! and programs that compact, are killed and go on.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::mem::replace;
use std::path::Path;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use meanwhile::agent::Agent;
use meanwhile::compact::Compactor;
use meanwhile::memory::Memory;
use meanwhile::message::{ContentBlock, Message, Reply, StopReason, push_note, push_user};
use meanwhile::model::{ModelError, Request};
use meanwhile::session::{FOLDER, Session, To};
use meanwhile::tool::{Access, Context, Tool};
use support::program::{Lesson, PATIENCE, eventually_or};
use support::prompt::{CTRL_C, CTRL_D, at_prompt, gate, served};
use support::server::{Server, held, reply_error, reply_text, reply_tool};
use support::session::{By, Chance, Seen, calls, executor, faults, reply, says, sessions, toolbox};
use support::terminal::Terminal;

const S14: &str = "s14_session_memory";
const ASKED: &str = "Work log:";

// ---- In this process: a model that remembers everything that it was shown ----

/// The folder of the sessions in this process.
fn current() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        support::session::prepare();
        std::env::set_current_dir(folder.path()).expect("a folder");
        folder
    });
    folder.path()
}

/// Everything of a conversation is marked `<N>` with a number of its own. These are the numbers in a
/// text.
fn marks(text: &str) -> BTreeSet<usize> {
    let parts = text.split('<').filter_map(|part| part.split_once('>'));
    parts
        .filter_map(|(number, _)| number.parse().ok())
        .collect()
}

fn of_blocks<'a>(blocks: impl IntoIterator<Item = &'a ContentBlock>) -> BTreeSet<usize> {
    let texts = blocks.into_iter().map(|block| json!(block).to_string());
    texts.flat_map(|text| marks(&text)).collect()
}

fn of_messages(messages: &[Message]) -> BTreeSet<usize> {
    of_blocks(messages.iter().flat_map(|message| &message.content))
}

fn is_memory(block: &&ContentBlock) -> bool {
    matches!(block, ContentBlock::Note { text } if text.starts_with("<memory>"))
}

fn is_summary(block: &&ContentBlock) -> bool {
    matches!(block, ContentBlock::Note { text } if text.starts_with("<summary>"))
}

/// What the Messages API would refuse once the person has said something more.
fn faults_with_a_line(messages: &[Message]) -> Vec<String> {
    let mut messages = messages.to_vec();
    push_user(&mut messages, "go on");
    faults(&messages, true)
}

/// A program with a session and a memory.
struct Program {
    session: Session,
    agent: Agent,
    kept: Agent,
    memory: Arc<Memory>,
    messages: Vec<Message>,
    /// An update was begun; how it is to end.
    asked: Receiver<()>,
    answer: Sender<Result<Reply, ModelError>>,
    /// The next number.
    number: Arc<AtomicUsize>,
    /// What the model does in a turn.
    script: Arc<Mutex<Vec<Reply>>>,
    /// Requests that were not those of updates.
    requests: Arc<AtomicUsize>,
}

const DONE: fn() -> Result<Reply, ModelError> = || Ok(says("all"));

impl Program {
    /// The limit of the compactor, and when the memory is made and brought up to date, in tokens.
    fn start(limit: usize, due: [usize; 2]) -> Self {
        current();
        let (begun, asked) = unbounded();
        let (answer, answers) = unbounded::<Result<Reply, ModelError>>();
        let script = Arc::<Mutex<Vec<Reply>>>::default();
        let (requests, replies) = (Arc::<AtomicUsize>::default(), script.clone());
        let counted = requests.clone();
        let model = By(move |request: &Request<'_>| {
            let last = request.messages.last().expect("a message");
            let last = last.content.last().and_then(ContentBlock::as_text);
            let last = last.unwrap_or_default();
            let all = of_messages(request.messages);
            let all: String = all.iter().map(|number| format!("<{number}> ")).collect();
            assert_eq!(faults(request.messages, true), Vec::<String>::new());
            if last.contains(ASKED) {
                begun.send(()).expect("the test");
                let answer = answers.recv().expect("the test");
                return answer.map(|_| says(&format!("Status:\n{all}")));
            }
            counted.fetch_add(1, SeqCst);
            if last.starts_with("Summarise this conversation") {
                return Ok(says(&format!("all {all}")));
            }
            let mut replies = replies.lock().expect("a script");
            replies
                .pop()
                .ok_or(ModelError::Failed("No network.".to_string()))
        });
        let mut agent = Agent::new(Arc::new(model), "", Context::default());
        let number = Arc::new(AtomicUsize::new(1));
        let next = number.clone();
        let echo = move |_: Value, _: &Context| {
            let number = next.fetch_add(1, SeqCst);
            Ok(format!("<{number}> {}", "result ".repeat(40)))
        };
        agent.toolbox = toolbox([Tool::new(
            "echo",
            "",
            json!({ "type": "object" }),
            Access::Free,
            echo,
        )]);
        let session = Session::begun();
        let compactor = Compactor::new(limit, "transcripts");
        Program {
            kept: session.keep(&agent, &executor(4)),
            memory: Memory::new(compactor, &session, due),
            messages: Vec::new(),
            session,
            agent,
            asked,
            answer,
            number,
            script,
            requests,
        }
    }

    /// A text that no other is like.
    fn said(&self) -> String {
        let number = self.number.fetch_add(1, SeqCst);
        format!("<{number}> {}", "word ".repeat(20))
    }

    /// A turn in which so many tools are called, one after the other. `Err` if the model failed.
    fn turn(&mut self, rounds: usize, ends: bool) -> Result<(), ModelError> {
        let mut script = Vec::new();
        for _ in 0..rounds {
            let number = self.number.fetch_add(1, SeqCst);
            script.push(calls(
                &format!("c{number}"),
                "echo",
                json!({ "text": format!("<{number}>") }),
            ));
        }
        if ends {
            script.push(says(&self.said()));
        }
        self.play(script)
    }

    fn play(&mut self, mut script: Vec<Reply>) -> Result<(), ModelError> {
        script.reverse();
        *self.script.lock().expect("a script") = script;
        let prompt = self.said();
        push_user(&mut self.messages, prompt);
        loop {
            self.memory.make_room(&self.agent, &mut self.messages)?;
            let reply = self.kept.ask(&mut self.messages)?;
            if reply.tool_calls().is_empty() {
                self.memory.update(&self.agent, &self.messages);
                return Ok(());
            }
            self.agent.run_tools(reply, &mut self.messages);
        }
    }

    /// Waits until an update asks the model.
    #[track_caller]
    fn until_asked(&self) {
        self.asked.recv_timeout(PATIENCE).expect("an update begins");
    }

    /// Lets the update that was begun end like this, and waits until that is known.
    #[track_caller]
    fn land(&self, answer: Result<Reply, ModelError>) {
        self.answer.send(answer).expect("an update");
        let ended = || !self.memory.text().contains("being brought up to date");
        eventually_or("the update ends", || self.memory.text(), ended);
    }

    /// True if an update is under way.
    fn is_updating(&self) -> bool {
        self.memory.text().contains("being brought up to date")
    }

    fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    fn compact(&mut self) {
        let done = self.memory.compact(&self.agent, &mut self.messages);
        done.expect("it is compacted");
    }

    /// What the memory that stands in the conversation covers, and what else is there.
    fn covered_and_present(&self) -> [BTreeSet<usize>; 2] {
        let blocks = || self.messages.iter().flat_map(|message| &message.content);
        let covered = of_blocks(blocks().filter(is_memory));
        [
            covered,
            of_blocks(blocks().filter(|block| !is_memory(block))),
        ]
    }

    /// A conversation of which everything is covered.
    fn with_memory() -> Self {
        let mut it = Self::start(100_000, [1, 1]);
        it.turn(2, true).expect("a turn");
        it.until_asked();
        it.land(DONE());
        it
    }
}

#[test]
fn while_an_update_is_held_turns_go_on_and_compact_makes_no_request() {
    let mut it = Program::with_memory();
    let covered = of_messages(&it.messages);
    it.turn(1, true).expect("a turn");
    it.until_asked();
    for _ in 0..3 {
        it.turn(2, true).expect("a turn, while the update is held");
    }
    assert!(it.asked.is_empty(), "one update at a time");
    let word_for_word = it.messages[6..].to_vec();
    let before = it.requests();
    it.compact();
    assert_eq!(it.requests(), before, "no request");
    let [remembered, present] = it.covered_and_present();
    assert_eq!(remembered, covered);
    assert!(present.is_disjoint(&covered), "never both");
    // The first is joined by the memory; all that is said stands there unchanged.
    assert_eq!(it.messages.len(), word_for_word.len());
    assert!(it.messages[0].content.ends_with(&word_for_word[0].content));
    assert_eq!(it.messages[1..], word_for_word[1..]);
    assert_eq!(faults_with_a_line(&it.messages), Vec::<String>::new());
    it.compact();
    assert_eq!(it.requests(), before, "there is nothing more to compact");
    assert_eq!(it.messages.len(), word_for_word.len());

    // What was held comes too late: it covers messages that are not there any more.
    let memory = it.memory.text();
    it.land(DONE());
    let after = it.memory.text();
    let rest = |text: &str| text.split_once("Status:").map(|(_, rest)| rest.to_string());
    assert_eq!(rest(&memory), rest(&after));
    assert!(
        after.starts_with("The memory covers what was compacted"),
        "{after}"
    );
}

#[test]
fn an_update_that_lands_after_clear_is_void() {
    let mut it = Program::start(100_000, [1, 1]);
    it.turn(1, true).expect("a turn");
    it.until_asked();
    it.session
        .go_on(To::New, &mut it.messages)
        .expect("a new session");
    // The same is said once more, and the results might differ.
    it.number.store(1, SeqCst);
    it.turn(1, true).expect("a turn");
    it.land(DONE());
    let text = it.memory.text();
    assert!(text.starts_with("No memory yet: "), "{text}");
}

#[test]
fn an_update_that_lands_after_another_compaction_is_void() {
    let mut it = Program::start(100_000, [1, 1]);
    it.turn(1, true).expect("a turn");
    it.until_asked();
    it.turn(1, true).expect("a turn");
    let all = of_messages(&it.messages);
    let before = it.requests();
    it.compact(); // no memory yet: s06's way
    assert_eq!(it.requests(), before + 1);
    assert!(
        it.messages[0]
            .content
            .iter()
            .any(|block| is_summary(&block))
    );
    it.turn(0, true).expect("a turn");
    it.land(DONE());
    assert!(
        it.memory.text().starts_with("No memory yet: "),
        "{}",
        it.memory.text()
    );
    assert!(of_messages(&it.messages).is_superset(&all));
}

#[test]
fn an_update_begins_only_after_a_reply_without_calls() {
    let mut it = Program::start(100_000, [1, 1]);
    push_user(&mut it.messages, "go on");
    let call = calls("c1", "echo", json!({}));
    it.script.lock().expect("a script").push(call);
    let reply = it.kept.ask(&mut it.messages).expect("a call");
    it.memory.update(&it.agent, &it.messages);
    assert!(
        !it.is_updating(),
        "a cut here parts the call from its result"
    );
    it.agent.run_tools(reply, &mut it.messages);
    it.memory.update(&it.agent, &it.messages);
    assert!(
        !it.is_updating(),
        "the next line joins the message with the result"
    );
    it.turn(0, true).expect("a turn");
    it.until_asked();
    it.land(DONE());
    it.compact();
    assert_eq!(faults_with_a_line(&it.messages), Vec::<String>::new());
}

#[test]
fn a_failed_update_keeps_the_old_memory_and_says_so() {
    let mut it = Program::with_memory();
    let covered = of_messages(&it.messages);
    for failure in [
        Err(ModelError::Failed("No network.".into())),
        Err(ModelError::Refused),
    ] {
        it.turn(1, true).expect("a turn");
        it.until_asked();
        it.land(failure);
        let text = it.memory.text();
        assert!(text.starts_with("The memory covers 6 of "), "{text}");
        assert!(text.contains("The last update failed: No "), "{text}");
        assert_eq!(marks(&text), covered);
    }
    // The next turn tries again, and that one counts.
    it.turn(0, true).expect("a turn");
    it.until_asked();
    it.land(DONE());
    let (text, all) = (it.memory.text(), it.messages.len());
    assert!(
        text.starts_with(&format!("The memory covers {all} of {all} ")),
        "{text}"
    );
    assert_eq!(marks(&text), of_messages(&it.messages));
}

#[test]
fn it_begins_at_the_first_size_and_goes_on_at_the_second() {
    let mut it = Program::start(100_000, [300, 150]);
    let mut begun = Vec::new();
    for turn in 1..=20 {
        it.turn(0, true).expect("a turn"); // about 50 tokens
        if it.is_updating() {
            it.until_asked();
            it.land(DONE());
            begun.push(turn);
        }
    }
    let first = begun[0];
    let between: BTreeSet<usize> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!((first, between), (6, BTreeSet::from([3])), "{begun:?}");
}

#[test]
fn when_room_is_short_in_a_turn_the_memory_takes_the_place_of_what_it_covers() {
    let mut it = Program::start(2_000, [100, 100]);
    it.turn(2, true).expect("a turn");
    it.until_asked();
    it.land(DONE());
    let before = it.requests();
    it.turn(12, true)
        .expect("a turn that is longer than half of the limit");
    assert_eq!(it.requests(), before + 13, "no further request");
    let [covered, present] = it.covered_and_present();
    assert!(!covered.is_empty() && covered.is_disjoint(&present));
    let all: BTreeSet<usize> = (1..it.number.load(SeqCst)).collect();
    assert_eq!(&covered | &present, all);
    it.until_asked();
    it.land(DONE());
}

/// What happens in a session at random.
fn at_random(seed: u64) -> Seen {
    let (mut chance, mut seen) = (Chance::new(seed), Seen::new());
    let mut it = Program::start(4_000, [400, 200]);
    let mut first = 1; // what was said before that is in other sessions
    let mut gone = BTreeSet::new(); // what was refused
    let (mut held, mut sent) = (false, false);
    for _ in 0..40 {
        let number = it.number.load(SeqCst);
        let was_sent = replace(&mut sent, false);
        match chance.below(20) {
            0..8 => {
                let (rounds, ends) = (chance.below(5), !chance.one_in(8));
                let done = it.turn(rounds, ends);
                assert_eq!(done.is_ok(), ends);
                sent = ends;
                // Where a turn broke off is no place for a cut, and none is made there.
                it.memory.update(&it.agent, &it.messages);
            }
            8 => {
                let refusal = reply(vec![ContentBlock::text("no")], StopReason::Refusal);
                // A prompt that was not answered is taken back with it.
                let last = of_messages(it.messages.last().map_or(&[], slice::from_ref));
                let done = it.play(vec![refusal]);
                assert!(matches!(done, Err(ModelError::Refused)));
                // Unless a summary was asked for in that turn, which tells of it.
                let left = of_messages(&it.messages);
                let taken = last.into_iter().chain(number..it.number.load(SeqCst));
                gone.extend(taken.filter(|number| !left.contains(number)));
                *seen.entry("refused").or_default() += 1;
            }
            9 => {
                let note = format!("<user-command> {}", it.said());
                push_note(&mut it.messages, note);
            }
            10..13 if held => {
                it.land(DONE());
                held = false;
                *seen.entry("updates").or_default() += 1;
            }
            13 if held => {
                it.land(Err(ModelError::Failed("No network.".into())));
                held = false;
                *seen.entry("failed").or_default() += 1;
            }
            14..17 => {
                let (has, requests) = (!it.memory.text().starts_with("Nothing"), it.requests());
                it.compact();
                if has && it.requests() == requests {
                    *seen.entry("compacted without a request").or_default() += 1;
                }
            }
            17 if chance.one_in(4) => {
                it.session
                    .go_on(To::New, &mut it.messages)
                    .expect("a session");
                first = it.number.load(SeqCst);
                *seen.entry("cleared").or_default() += 1;
            }
            // Elsewhere, a program would keep first what was not sent.
            18 if was_sent => {
                let to = To::Fork("");
                it.session.go_on(to, &mut it.messages).expect("a fork");
                *seen.entry("forked").or_default() += 1;
            }
            _ => {}
        }
        if !held && it.is_updating() {
            it.until_asked();
            held = true;
        }
        let after = of_messages(&it.messages);
        let all = (first..it.number.load(SeqCst)).filter(|number| !gone.contains(number));
        let all: BTreeSet<usize> = all.collect();
        let [covered, present] = it.covered_and_present();
        let lost: Vec<_> = all.difference(&after).collect();
        assert!(lost.is_empty(), "lost: {lost:?}\n{:#?}", it.messages);
        let foreign: Vec<_> = after.difference(&all).collect();
        assert!(foreign.is_empty(), "of another session: {foreign:?}");
        let both: Vec<_> = covered.intersection(&present).collect();
        assert!(
            both.is_empty(),
            "covered and present: {both:?}\n{:#?}",
            it.messages
        );
        assert_eq!(faults_with_a_line(&it.messages), Vec::<String>::new());
        let memories = it.messages.iter().flat_map(|message| &message.content);
        assert!(memories.filter(is_memory).count() <= 1, "one memory");
    }
    if held {
        it.land(DONE());
    }
    seen
}

#[test]
fn every_message_is_covered_or_present_and_never_both() {
    let seen = sessions(150, at_random);
    for (what, least) in [
        ("updates", 300),
        ("failed", 80),
        ("compacted without a request", 150),
        ("cleared", 50),
        ("forked", 50),
        ("refused", 100),
    ] {
        assert!(
            seen.get(what).is_some_and(|times| *times >= least),
            "{what}: {seen:?}"
        );
    }
}

// ---- Programs ----

/// A program in whose folder a log of some 13,000 tokens is, and a model that reads it in one turn.
fn reads_a_log(server: &Server) -> Terminal {
    let seat = served(S14, server);
    let log = "a line of the log\n".repeat(3_000);
    fs::write(seat.folder.path().join("log"), log).expect("a log");
    let terminal = at_prompt(seat, "s14 >>");
    server.push(reply_tool("t1", "read_file", json!({ "path": "log" })));
    server.push(reply_text("I have read the log."));
    terminal
}

/// Types `/memory`, again after each answer, until one says this.
#[track_caller]
fn until_remembered(terminal: &mut Terminal, text: &str) {
    let printed = |terminal: &Terminal| String::from_utf8_lossy(&terminal.bytes()).into_owned();
    let answers = |terminal: &Terminal| {
        let printed = printed(terminal);
        let starts = ["No memory yet: ", "The memory covers"];
        starts
            .map(|start| printed.matches(start).count())
            .iter()
            .sum::<usize>()
    };
    let mut answer = String::new();
    let deadline = Instant::now() + PATIENCE;
    while !answer.contains(text) {
        assert!(Instant::now() < deadline, "never so: {text}\n{answer}");
        let before = answers(terminal);
        terminal.line("/memory");
        eventually_or(
            "an answer",
            || terminal.text(),
            || answers(terminal) > before,
        );
        let printed = printed(terminal);
        let words = printed.rsplit("/memory").next().unwrap_or_default();
        answer = words.split_whitespace().collect::<Vec<_>>().join(" "); // lines are wrapped
    }
}

#[test]
fn compact_makes_no_request_and_a_resume_begins_with_the_memory() {
    let server = Server::start([]);
    let mut terminal = reads_a_log(&server);
    server.push(reply_text("Status:\nThe log was read: it is blue."));
    terminal.line("read the log");
    terminal.until_shows("I have read the log.");
    until_remembered(&mut terminal, "it is blue");
    let folder = terminal.folder.clone();
    terminal.signal(Signal::SIGKILL);
    let _ = terminal.wait();

    let file = fs::read_dir(folder.path().join(FOLDER))
        .expect("sessions")
        .next();
    let file = file.expect("a session").expect("an entry").path();
    let id = file
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    server.push(reply_text("What you said last stays."));
    let seat = served(S14, &server)
        .folder(Some(folder))
        .argument("--resume")
        .argument(&id);
    let mut terminal = at_prompt(seat, "s14 >>");
    terminal.line("and word for word?");
    terminal.until_shows("What you said last stays.");
    let before = server.requests().len();
    terminal.line("/compact");
    terminal.until_shows("Compacted without a request");
    assert_eq!(server.requests().len(), before, "no request");
    server.push(reply_text("Good."));
    terminal.line("go on");
    terminal.until_shows("Good.");
    let requests = server.requests();
    let sent = json!(requests.last().expect("a request").messages()).to_string();
    for stays in [
        "it is blue",
        "and word for word?",
        "What you said last stays.",
        "go on",
    ] {
        assert_eq!(sent.matches(stays).count(), 1, "{stays} in {sent}");
    }
    assert!(!sent.contains("line of the log"), "{sent}");
    terminal.send(CTRL_D);
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn ctrl_c_clear_and_leaving_do_not_wait_for_an_update() {
    let server = Server::start([]);
    let mut terminal = reads_a_log(&server);
    let (_never, update) = held(reply_text("Status:\nToo late."));
    server.push(update);
    terminal.line("read the log");
    terminal.until_shows("I have read the log.");
    until_remembered(&mut terminal, "being brought up to date");
    let (_nor, reply) = held(reply_text("Nor this."));
    server.push(reply);
    terminal.line("think");
    eventually_or("it thinks", String::new, || server.requests().len() == 4);
    terminal.send(CTRL_C);
    terminal.until_shows("Interrupted.");
    // Ctrl+C was for the turn, and not for the update.
    terminal.line("/tasks");
    terminal.until_shows("No tasks so far");
    until_remembered(&mut terminal, "being brought up to date");
    terminal.line("/clear");
    terminal.until_shows("0 messages");
    terminal.send(CTRL_D);
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn a_failed_update_is_told_by_memory_only_and_compact_asks_for_a_summary() {
    let server = Server::start([]);
    let mut terminal = reads_a_log(&server);
    server.push(reply_error(400, "invalid_request_error", "not today"));
    terminal.line("read the log");
    terminal.until_shows("I have read the log.");
    eventually_or("the update asks", String::new, || {
        server.requests().len() == 3
    });
    assert!(!terminal.text().contains("not today"));
    until_remembered(&mut terminal, "not today");
    server.push(reply_text("A summary."));
    terminal.line("/compact");
    terminal.until_shows("There is no memory of this conversation yet.");
    terminal.until_shows("Compacted: ");
    terminal.send(CTRL_D);
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn what_runs_and_what_is_planned_is_read_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("log"), "a line\n".repeat(8_000)).expect("a log");
    let mut terminal = at_prompt(
        support::terminal::Seat::new(S14).folder(Some(Arc::new(folder))),
        "s14 >>",
    );
    gate(&terminal, "gate");
    terminal.line("read log");
    terminal.until_ends("s14 >>");
    until_remembered(&mut terminal, "Work log:");
    for (line, shows) in [
        (
            "run \"cat gate\" in the background as build",
            "build: started",
        ),
        ("plan: paint it; hang it up", "(0/2 completed)"),
        ("create task \"sell it\"", "created "),
        ("/compact", "Compacted without a request"),
        ("/messages all", "task_list:"),
    ] {
        terminal.line(line);
        terminal.until_shows(shows);
    }
    terminal.until_shows("</state>");
    let text = terminal.text();
    let state = text.rsplit("<state>").next().unwrap_or_default();
    for what in [
        "build: [running]",
        "[ ] paint it",
        "[ ] hang it up",
        "[ ] 1: sell it",
    ] {
        assert!(state.contains(what), "{what} in {state}");
    }
    support::prompt::open(&terminal, "gate");
    terminal.until_shows("◆ build: finished");
    terminal.send(CTRL_D);
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn an_update_takes_no_reply_of_a_recording_that_is_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("log"), "a line\n".repeat(8_000)).expect("a log");
    let lines = ["read log", "run \"echo one\"", "run \"echo two\""];
    let lesson = lines
        .iter()
        .fold(Lesson::new(S14), |it, line| it.line(line));
    let recorded = lesson.line("/rename class").within(folder.path()).run();
    recorded.has_in_order(&["one", "two", "This session is class."]);
    let replay = ["--replay", "class", "--speed", "100", "--yes"];
    let lesson = Lesson::new(S14).within(folder.path());
    let played = replay
        .iter()
        .fold(lesson, |it, argument| it.argument(argument))
        .run();
    played.has_in_order(&["read_file: log", "echo one", "echo two"]);
    played
        .has_not("This is not what was recorded")
        .has_not("not in the recording");
    assert_eq!(played.code, Some(0));
}

/// What somebody has written into the file does no harm.
#[test]
fn a_memory_that_covers_more_than_there_is_counts_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let lesson = || Lesson::new(S14).within(folder.path());
    lesson().line("run \"echo one\"").line("/rename it").run();
    let mut files = fs::read_dir(folder.path().join(FOLDER)).expect("sessions");
    let file = files.next().expect("a session").expect("a file").path();
    let odd = json!({ "text": "x", "covers": 99, "mark": null, "cost": [0, 0] });
    let record = json!({ "extra": ["memory", odd] });
    let text = fs::read_to_string(&file).expect("a session");
    fs::write(&file, format!("{text}{record}\n")).expect("a file");
    let resumed = lesson().argument("--resume").argument("it");
    let ran = resumed.line("run \"echo two\"").line("/memory").run();
    ran.has_in_order(&["· two", "No memory yet: "]);
    assert_eq!(ran.code, Some(0));
}
