//! The foreground and the background, as a person meets them: at a real pseudo-terminal.

mod support;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::prompt::{
    CTRL_B, CTRL_C, CTRL_D, LEFT, at_prompt, gate, is_gone, last_message,
    leaves_everything_as_it_was, open, pid, served, until_traced,
};
use support::server::{Answer, Server, held, reply_blocks, reply_text, reply_tool};
use support::terminal::{Seat, Terminal, eventually};
use unicode_width::UnicodeWidthStr;

const S11: &str = "s11_foreground_background";
/// The line above the prompt has nothing to tell.
const PROMPT: &str = "\n\ns11 >>";
const ONE_RUNS: &str = "\n1 running\ns11 >>";
const NOTHING: &str = "\nNothing runs in the foreground that could be sent to the background.";
const STILL: &str = "\nStill running: echo-pid. Leaving ends that. Once more to leave.";

fn s11() -> Terminal {
    at_prompt(Seat::new(S11), PROMPT)
}

/// The lesson with a model that gives these answers. Every call is allowed.
fn with_answers(answers: impl IntoIterator<Item = Answer>) -> (Server, Terminal) {
    let server = Server::start(answers);
    let terminal = at_prompt(served(S11, &server).argument("--yes"), PROMPT);
    (server, terminal)
}

/// Waits until the line above the prompt says that this is waited for: Ctrl+B is for it now.
#[track_caller]
fn until_waits_for(terminal: &Terminal, what: &str) {
    terminal.until(&format!("it waits for {what}"), |screen| {
        let status = screen.rsplit('\n').nth(1).unwrap_or_default();
        let status = status.replace('…', ""); // of a command that is too long
        status.contains(" s (Ctrl+B: to the background) · ")
            && (status.starts_with(&format!("{what}, "))
                || status.contains(&format!(" · {what}, ")))
    });
}

/// Waits for these words, however they are broken into lines.
#[track_caller]
fn until_says(terminal: &Terminal, words: &str) {
    terminal.until(words, |screen| {
        let screen: Vec<&str> = screen.split_whitespace().collect();
        screen.join(" ").contains(words)
    });
}

/// What the tool call returns.
fn moved(id: &str, why: &str) -> String {
    format!(
        "{id}: [running] moved to the background{why}; its result will come by itself; the working directory is unchanged."
    )
}

fn count(terminal: &Terminal, text: &str) -> usize {
    terminal.text().matches(text).count()
}

/// The texts stand on the screen in this order.
#[track_caller]
fn in_order(terminal: &Terminal, texts: &[&str]) {
    let screen = terminal.text();
    let mut rest = screen.as_str();
    for text in texts {
        rest = match rest.split_once(text) {
            Some((_, rest)) => rest,
            None => panic!("not in this place: {text:?}\n--- it shows:\n{screen}"),
        };
    }
}

fn bash(id: &str, command: &str) -> Answer {
    reply_tool(id, "bash", json!({ "command": command }))
}

fn delegates(prompt: &str) -> Answer {
    reply_tool(
        "t_look",
        "task",
        json!({ "description": "look", "prompt": prompt, "wait": true }),
    )
}

fn bg_bash(id: &str) -> Value {
    let input = json!({ "id": id, "command": format!("cat {id}") });
    json!({ "type": "tool_use", "id": format!("t_{id}"), "name": "bg_bash", "input": input })
}

/// A command that says who it is, then waits at a gate; moved while it waits.
fn move_one(terminal: &mut Terminal) -> Pid {
    gate(terminal, "gate");
    terminal.line(r#"run "echo $$ > pid; cat gate; echo $$""#);
    until_waits_for(terminal, "echo $$ > pid; cat gate; echo "); // as much as there is room for
    let command = pid(terminal.folder.path(), "pid");
    terminal.send(CTRL_B);
    // Said twice, the second time in the report: the turn is over.
    terminal.until("the report", |screen| {
        screen.matches(" unchanged.").count() == 2
            && screen.ends_with(&format!(" unchanged.{ONE_RUNS}"))
    });
    command
}

// Ctrl+B.

#[test]
fn a_command_is_moved_and_goes_on() {
    let mut terminal = s11();
    let command = move_one(&mut terminal);
    until_says(
        &terminal,
        &format!(" s · {}", moved("echo-pid", " by the user")),
    );
    assert!(!is_gone(command), "it was ended");
    // The prompt is free.
    terminal.line(r#"run "echo meanwhile""#);
    terminal.until_ends(&format!("\nmeanwhile{ONE_RUNS}"));
    open(&terminal, "gate");
    // The same process, and it has lost nothing.
    terminal.until_ends(&format!("s\nthrough gate\n{command}{PROMPT}"));
    terminal.until_shows("\n◆ echo-pid: finished with exit code 0 after ");
    terminal.line(r#"run "echo afterwards""#);
    terminal.until_ends(&format!("\nafterwards{PROMPT}"));
    assert_eq!(count(&terminal, "◆"), 1);
    assert_eq!(count(&terminal, "\nthrough gate\n"), 1);
}

#[test]
fn an_agent_is_moved_and_goes_on_in_silence() {
    let mut terminal = s11();
    ["gate", "more"]
        .iter()
        .for_each(|name| gate(&terminal, name));
    let prompt = "run 'cat gate', then run 'cat more'";
    terminal.line(&format!("delegate \"{prompt}\" as look in the foreground"));
    terminal.until_shows("\n  look │ ● bash: cat gate\n");
    until_waits_for(&terminal, "run 'cat gate', then run 'cat ");
    terminal.send(CTRL_B);
    terminal.until_ends(ONE_RUNS);
    until_says(
        &terminal,
        &format!(" s · {}", moved("look", " by the user")),
    );
    let lines = count(&terminal, " look │ ");
    open(&terminal, "gate");
    open(&terminal, "more"); // its second command reads it: the first has ended
    terminal.until_shows("\n◆ look: finished after ");
    terminal.until_ends(&format!("\n2. run \"cat more\": through more{PROMPT}"));
    terminal.line(r#"run "echo afterwards""#);
    terminal.until_ends(&format!("\nafterwards{PROMPT}"));
    assert_eq!(count(&terminal, "◆"), 1);
    assert_eq!(count(&terminal, " look │ "), lines, "it goes on talking");
}

#[test]
fn the_model_is_told_once_of_each_thing() {
    let answers = [
        bash("t1", "cat gate"),
        reply_text("I go on"),
        reply_text("there it is"),
        reply_text("yes"),
    ];
    let (server, mut terminal) = with_answers(answers);
    gate(&terminal, "gate");
    terminal.line("go on");
    until_waits_for(&terminal, "cat gate");
    terminal.send(CTRL_B);
    terminal.until_ends(&format!("\nI go on{ONE_RUNS}"));
    open(&terminal, "gate");
    terminal.until_ends(&format!("\nthere it is{PROMPT}"));
    terminal.line("is it?");
    terminal.until_ends(&format!("\nyes{PROMPT}"));
    assert_eq!(
        last_message(&server, 1),
        [format!("result: {}", moved("cat-gate", " by the user"))]
    );
    assert_eq!(last_message(&server, 2), ["delivered: cat-gate"]);
    let whole = server.requests()[3].body.to_string();
    assert_eq!(whole.matches("<task-notification ").count(), 1);
    assert_eq!(whole.matches("through gate").count(), 1);
}

#[test]
fn a_half_typed_line_stays_as_it_is() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    terminal.line(r#"run "cat gate""#);
    until_waits_for(&terminal, "cat gate");
    terminal.send(r#"run "echo typed""#);
    terminal.send(&LEFT.repeat(3));
    terminal.send(CTRL_B);
    terminal.until_ends(&format!("{ONE_RUNS} run \"echo typed\""));
    terminal.send("X");
    terminal.until_ends(&format!("{ONE_RUNS} run \"echo typXed\""));
    open(&terminal, "gate");
    terminal.until_ends(&format!("\nthrough gate{PROMPT} run \"echo typXed\""));
    terminal.line("");
    terminal.until_ends(&format!("\ntypXed{PROMPT}"));
}

#[test]
fn a_press_during_a_history_search_moves_and_breaks_nothing() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    terminal.line("run \"cat gate\"");
    until_waits_for(&terminal, "cat gate");
    terminal.send("\x12cat"); // Ctrl+R
    terminal.until_ends("(reverse-i-search)`cat': run \"cat gate\"");
    terminal.send(CTRL_B);
    terminal.until_shows("cat-gate: [running] moved to the background by the user; ");
    // To the end, to the left, and all of it away.
    terminal.send("\x05\x1b[D\x05\x15");
    terminal.line("run \"echo the keyboard lives\"");
    terminal.until_ends(&format!("\nthe keyboard lives{ONE_RUNS}"));
    open(&terminal, "gate");
    terminal.until_ends(&format!("s\nthrough gate{PROMPT}"));
    assert_eq!(count(&terminal, "broke down"), 0);
}

#[test]
fn with_nothing_to_move_it_says_so() {
    let mut terminal = at_prompt(
        Seat::new(S11).variable("MEANWHILE_THINKING_MS", "600000"),
        PROMPT,
    );
    terminal.send(CTRL_B);
    terminal.until_ends(&format!("{NOTHING}{PROMPT}"));
    // On a line, at the prompt, it is one to the left.
    terminal.send("/hel");
    terminal.send(CTRL_B);
    terminal.send("X");
    terminal.until_ends("s11 >> /heXl");
    assert_eq!(count(&terminal, NOTHING), 1);
    terminal.send(CTRL_C);
    terminal.until_ends(PROMPT);
    // While it thinks. The line above the prompt does not offer it.
    terminal.line("help");
    terminal.until_shows("\nthinking, ");
    terminal.send(CTRL_B);
    terminal.until("said again", |screen| screen.matches(NOTHING).count() == 2);
    terminal.send("typed");
    terminal.send(CTRL_B);
    terminal.send("X");
    terminal.until("said again, and the line as it was", |screen| {
        screen.matches(NOTHING).count() == 3 && screen.ends_with(" s\ns11 >> typedX")
    });
    assert_eq!(count(&terminal, "(Ctrl+B"), 0);
    terminal.send(CTRL_C);
    terminal.until_shows("\nInterrupted.\n");
}

#[test]
fn many_presses_move_one_command() {
    let (go_on, then) = held(bash("t2", "cat two"));
    let (server, mut terminal) = with_answers([
        bash("t1", "cat one"),
        then,
        reply_text("done"),
        reply_text("both"),
    ]);
    ["one", "two"].iter().for_each(|name| gate(&terminal, name));
    terminal.line("go on");
    until_waits_for(&terminal, "cat one");
    terminal.send(&CTRL_B.repeat(9));
    terminal.send("X");
    // All of them are over when this is shown, and the model still thinks.
    terminal.until_ends(&format!("{ONE_RUNS} X"));
    go_on.send(()).expect("a server that waits");
    until_waits_for(&terminal, "cat two");
    open(&terminal, "two");
    terminal.until_ends(&format!("\ndone{ONE_RUNS} X"));
    assert_eq!(last_message(&server, 2), ["result: through two"]);
    open(&terminal, "one");
    terminal.until_ends(&format!("\nboth{PROMPT} X"));
    assert_eq!(last_message(&server, 3), ["delivered: cat-one"]);
}

#[test]
fn a_press_after_the_end_does_not_move_the_next_command() {
    let (go_on, then) = held(bash("t2", "cat two"));
    let (server, mut terminal) = with_answers([bash("t1", "cat one"), then, reply_text("done")]);
    ["one", "two"].iter().for_each(|name| gate(&terminal, name));
    terminal.line("go on");
    until_waits_for(&terminal, "cat one");
    open(&terminal, "one");
    terminal.until_ends(&format!(" s · through one{PROMPT}"));
    terminal.send(CTRL_B);
    terminal.until_ends(&format!("{NOTHING}{PROMPT}"));
    go_on.send(()).expect("a server that waits");
    until_waits_for(&terminal, "cat two");
    open(&terminal, "two");
    terminal.until_ends(&format!("\ndone{PROMPT}"));
    assert_eq!(last_message(&server, 1), ["result: through one"]);
    assert_eq!(last_message(&server, 2), ["result: through two"]);
    assert_eq!(count(&terminal, "moved to the background"), 0);
}

// A command of the person's own.

#[test]
fn a_command_of_ones_own_can_be_moved() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    terminal.line("! cat gate");
    until_waits_for(&terminal, "cat gate");
    terminal.send(CTRL_B);
    terminal.until_ends(ONE_RUNS);
    terminal.until_shows("\ncat-gate: [running] moved to the background by the user; ");
    open(&terminal, "gate");
    terminal.until_ends(&format!("s\nthrough gate{PROMPT}"));
    terminal.until_shows("\n◆ cat-gate: finished with exit code 0 after ");
    assert_eq!(count(&terminal, "◆"), 1);
}

#[test]
fn a_command_of_ones_own_joins_the_conversation() {
    let (server, mut terminal) = with_answers([reply_text("I see it")]);
    terminal.line("!");
    terminal.until_ends(&format!("\nNothing to run. `! ls` runs ls.{PROMPT}"));
    let command = "seq 1 30; echo '</user-command>'";
    terminal.line(&format!("! {command}"));
    terminal.until_ends(&format!("\n</user-command>{PROMPT}"));
    // All of it is shown, where of a tool's output only the beginning is.
    let output: String = (1..=30).map(|number| format!("{number}\n")).collect();
    terminal.until_shows(&format!("\n{output}</user-command>\n"));
    terminal.line("! exit 3");
    terminal.until_ends(&format!("\nERROR: exit code 3\n(no output){PROMPT}"));
    assert_eq!(server.requests().len(), 0, "it is no prompt of its own");
    terminal.line("what was that?");
    terminal.until_ends(&format!("\nI see it{PROMPT}"));
    let command = command.replace("</", "<\\/");
    let first = format!(
        "<user-command>\nThe user ran this: {command}\n{output}<\\/user-command>\n</user-command>"
    );
    let second = "<user-command>\nThe user ran this: exit 3\nERROR: exit code 3\n(no output)\n</user-command>";
    assert_eq!(
        last_message(&server, 0),
        [first.as_str(), second, "what was that?"]
    );
}

// What moves a command besides.

#[test]
fn the_time_limit_moves_and_does_not_end() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    terminal.line(r#"run "echo $$ > pid; cat gate; echo $$" with timeout 0"#);
    terminal.until_ends(ONE_RUNS);
    let told = format!(
        " s · {}",
        moved("echo-pid", ", as it had not ended within its time limit")
    );
    until_says(&terminal, &told);
    let command = pid(terminal.folder.path(), "pid");
    open(&terminal, "gate");
    terminal.until_ends(&format!("s\nthrough gate\n{command}{PROMPT}"));
    assert_eq!(
        count(&terminal, "◆ echo-pid: finished with exit code 0 after "),
        1
    );
}

#[test]
fn what_a_shell_leaves_running_is_a_task() {
    let mut terminal = s11();
    terminal.line(r#"run "sleep 600 & echo $! > pid; echo started""#);
    terminal.until_shows(
        " s · started\n    sleep-600: [shell exited] 1 process that it started is still running in the background.\n",
    );
    terminal.until_ends(ONE_RUNS);
    let child = pid(terminal.folder.path(), "pid");
    terminal.line("/tasks");
    terminal.until_shows("\nsleep-600  command  shell exited  ");
    terminal.until_shows(" s  sleep 600 & echo $! > pid; ec…  1 still running; 8 bytes");
    terminal.line("/tasks sleep-600");
    terminal.until_shows(" s  1 still running; 8 bytes of output; last line: started\n  > sleep 600 & echo $! > pid; echo started\n  started\n");
    assert!(!is_gone(child));
    terminal.line("/stop sleep-600");
    terminal.until_shows("\nsleep-600: told to stop.\n");
    terminal.until_shows("\n◆ sleep-600: ERROR: it was stopped after ");
    terminal.until_shows("\nstarted\n");
    terminal.until_ends(PROMPT);
    eventually("nothing is left", || is_gone(child));
    assert_eq!(count(&terminal, "◆"), 1);
}

// While something is waited for.

#[test]
fn tasks_are_listed_and_stopped_at_once() {
    let mut terminal = s11();
    terminal.line("/tasks");
    terminal.until_ends(&format!("\nNo tasks so far.{PROMPT}"));
    terminal.line(r#"run "echo one""#);
    terminal.until_ends(&format!("\none{PROMPT}"));
    gate(&terminal, "two");
    terminal.line(r#"run "cat two" in the background as two"#);
    terminal.until_ends(ONE_RUNS);
    terminal.line(r#"run "echo so far; echo $$ > pid; sleep 600""#);
    let command = pid(terminal.folder.path(), "pid");
    until_waits_for(&terminal, "echo so far; echo $$ > pid; sl");

    terminal.line("/tasks");
    terminal.until("the list, with those that run first", |screen| {
        let lines: Vec<&str> = screen.lines().collect();
        lines.windows(2).any(|lines| {
            lines[0].starts_with("two      command  running            ")
                && lines[0].ends_with(" s  cat two                         0 bytes of output")
                && lines[1].starts_with("echo-so  command  in the foreground  ")
                && lines[1].contains(" s  echo so far; echo $$ > pid; s…  7 bytes of outpu")
        })
    });
    terminal.line("/tasks echo-so");
    terminal.until_shows("\necho-so  command  in the foreground  ");
    terminal.until_shows(" s  7 bytes of output; last line: so far\n  > echo so far; echo $$ > pid; sleep 600\n  so far\n");
    // One that has ended in the foreground is forgotten.
    terminal.line("/tasks echo-one");
    terminal.until_shows("\nThere is no task \"echo-one\". Known ids: two, echo-so.\n");
    terminal.line("/timeline");
    terminal.until_shows("  ░ thinking  █ waiting for a tool  ═ in the background\n");
    terminal.line("/tasks nope");
    terminal.until_shows("\nThere is no task \"nope\". Known ids: two, echo-so.\n");
    terminal.line("/stop");
    terminal.until_shows("\nWhich one? /stop ID; /tasks lists them.\n");
    terminal.line("/stop nope");
    terminal.until("said again", |screen| {
        screen.matches("\nThere is no task \"nope\". ").count() == 2
    });
    assert!(!is_gone(command), "all of this was answered while it ran");
    assert_eq!(count(&terminal, ": /"), 0, "none of it was queued");

    // The turn goes on with what there is.
    terminal.line("/stop echo-so");
    terminal.until_shows("\necho-so: told to stop.\n");
    terminal.until_shows(" s · ERROR: [interrupted] by the user\n    so far\n");
    terminal.until_ends(ONE_RUNS);
    assert!(is_gone(command), "it still runs");
    open(&terminal, "two");
    terminal.until_ends(&format!("s\nthrough two{PROMPT}"));
    terminal.line("/tasks");
    terminal.until("ended ones stay", |screen| {
        let list = screen.rsplit("/tasks\n").next().unwrap_or_default();
        let lines: Vec<&str> = list.lines().collect();
        lines.len() == 3 && lines[0].starts_with("two  command  finished  ")
    });
    terminal.line("/stop two");
    terminal.until_shows("\ntwo has ended already.\n");
    assert_eq!(
        count(&terminal, "◆"),
        1,
        "what was waited for is not delivered"
    );
}

#[test]
fn an_agent_that_is_waited_for_is_listed_with_what_it_did() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    terminal.line(r#"delegate "run 'echo one', then run 'cat gate'" as look in the foreground"#);
    terminal.until_shows("\n  look │ ● bash: cat gate\n");
    terminal.line("/tasks");
    terminal.until_shows("\nlook  agent  in the foreground  ");
    terminal.until_shows(" s  run 'echo one', then run 'cat…  2 requests, 0 tokens, 2");
    terminal.line("/tasks look");
    terminal.until_shows(
        " s  2 requests, 0 tokens, 2 tool calls; last: bash cat gate\n  > run 'echo one', then run 'cat gate'\n  ● bash: echo one\n    └ one\n  ● bash: cat gate\n",
    );
    terminal.line("/stop look");
    terminal.until_shows("\nlook: told to stop.\n");
    terminal.until_shows(" s · ERROR: [interrupted] by the user\n");
    terminal.until_ends(PROMPT);
    assert_eq!(count(&terminal, "◆"), 0);
}

#[test]
fn lines_typed_meanwhile_are_queued_and_sent_in_order() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    terminal.line(r#"run "cat gate""#);
    until_waits_for(&terminal, "cat gate");
    for word in ["first", "second", "third"] {
        terminal.line(&format!("run \"echo {word}\""));
        terminal.until_shows(&format!("\n(queued: run \"echo {word}\")\n"));
    }
    open(&terminal, "gate");
    terminal.until_ends(&format!("\nthird{PROMPT}"));
    in_order(
        &terminal,
        &[
            "\nthrough gate",
            "\ns11 >> run \"echo first\"\n● bash: echo first",
            "\nfirst\ns11 >> run \"echo second\"\n● bash: echo second",
            "\nsecond\ns11 >> run \"echo third\"\n● bash: echo third",
        ],
    );
}

#[test]
fn up_takes_back_what_was_queued_last() {
    const UP: &str = "\x1b[A";
    let mut terminal = s11();
    gate(&terminal, "gate");
    terminal.line(r#"run "cat gate""#);
    until_waits_for(&terminal, "cat gate");
    terminal.send(UP); // nothing is queued: the line before
    terminal.until_ends("s11 >> run \"cat gate\"");
    terminal.send("\x15"); // Ctrl+U
    for word in ["first", "second", "third"] {
        terminal.line(&format!("run \"echo {word}\""));
        terminal.until_shows(&format!("\n(queued: run \"echo {word}\")\n"));
    }
    terminal.send(UP);
    terminal.until_shows("\n(no longer queued: run \"echo third\")\n");
    terminal.until_ends("s11 >> run \"echo third\"");
    terminal.send(LEFT);
    terminal.line("X");
    terminal.until_shows("\n(queued: run \"echo thirdX\")\n");
    for word in ["thirdX", "second"] {
        terminal.send(UP);
        terminal.until_ends(&format!("s11 >> run \"echo {word}\""));
        terminal.send("\x15");
    }
    terminal.until_ends("s11 >>");
    open(&terminal, "gate");
    terminal.until_ends(&format!("\nfirst{PROMPT}"));
    assert_eq!(
        count(&terminal, "● bash: echo"),
        1,
        "only the first was left"
    );
    // At rest, it is the history again, and the prompt is free.
    terminal.send(UP);
    terminal.until_ends(&format!("{PROMPT} run \"echo thirdX\""));
    terminal.line("");
    terminal.until_ends(&format!("\nthirdX{PROMPT}"));
}

#[test]
fn tab_completes_commands_and_the_ids_of_tasks() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    for id in ["build the docs", "build-all", "grün"] {
        terminal.line(&format!("run \"cat gate\" in the background as \"{id}\""));
        terminal.until_shows(&format!("\n{id}: started in the background."));
    }
    terminal.until_ends("\n3 running\ns11 >>");
    terminal.send("/ta\t");
    terminal.until_ends("s11 >> /tasks");
    terminal.send(" b\t");
    terminal.until_ends("s11 >> /tasks build");
    terminal.send("\t");
    terminal.until_shows("\nbuild the docs  build-all\n");
    terminal.until_ends("s11 >> /tasks build");
    terminal.send(" \t");
    terminal.until_ends("s11 >> /tasks build the docs");
    terminal.line("");
    terminal.until_shows("\nbuild the docs  command  running  ");
    terminal.send("/stop g\t");
    terminal.until_ends("s11 >> /stop grün");
    terminal.send("\x15/\t");
    terminal.until_shows("  /tasks  /stop  ");
    terminal.send("\x15no\tthing"); // not for us
    terminal.until_ends("s11 >> nothing");
    terminal.send("\x15");

    // A beginning is enough, if there is one task that begins like this.
    terminal.line("/tasks g");
    terminal.until_shows("\ngrün  command  running  ");
    terminal.line("/stop build");
    terminal.until_shows("\nbuild: one of build the docs, build-all? Type more of it.\n");
    terminal.line("/stop build-");
    terminal.until_shows("\nbuild-all: told to stop.\n");
    terminal.until_shows("\n◆ build-all: ERROR: it was stopped after ");
    terminal.line("/stop build-");
    terminal.until_shows("\nbuild-all has ended already.\n");
}

#[test]
fn several_agents_are_several_bills_in_the_list() {
    let task = |name: &str| {
        let input = json!({ "description": name, "prompt": "look" });
        json!({ "type": "tool_use", "id": name, "name": "task", "input": input })
    };
    let (mut asked, both) = (0, [task("one"), task("two")]);
    let server = Server::answering(move |_| {
        asked += 1;
        match asked {
            1 => reply_blocks(&both, "tool_use"),
            _ => reply_text("done"),
        }
    });
    let mut terminal = at_prompt(served(S11, &server), PROMPT);
    terminal.line("go on");
    terminal.until("both are told", |screen| {
        screen.matches("◆ ").count() == 2 && screen.ends_with(PROMPT)
    });
    terminal.line("/tasks");
    // The server says 10 read and 5 written for each request.
    terminal.until_shows("\n2 agents, 30 tokens in all\n");
}

#[test]
fn a_list_of_sentences_fits_the_terminal() {
    let mut terminal = s11();
    gate(&terminal, "gate");
    let ids = [
        "審査する docs",
        "look through all of the documentation for dead links",
        "x",
    ];
    for (index, id) in ids.iter().enumerate() {
        terminal.line(&format!(
            "run \"cat gate; echo this is a command longer than its cell\" in the background as \"{id}\""
        ));
        terminal.until_ends(&format!("\n{} running\ns11 >>", index + 1));
    }
    // In the first moment, of a task little more than its name is known.
    let mut asked = 0;
    eventually("a list that knows all of them", || {
        asked += 1;
        terminal.line("/tasks");
        let row = format!("\nx{}command  running  ", " ".repeat(31));
        terminal.until("an answer", |screen| screen.matches(&row).count() == asked);
        let screen = terminal.text();
        let lines: Vec<&str> = screen.lines().collect();
        let begins = [
            "審査する docs                   command  running  ",
            "look through all of the docum…  command  running  ",
            "x                               command  running  ",
        ];
        let is_row = |(line, begin): (&&str, &&str)| {
            line.starts_with(begin)
                && line.contains(" s  cat gate; echo this is a comm…  0 ")
                && line.width() <= 100
                && line.ends_with('…')
        };
        let mut triples = lines.windows(3);
        triples.any(|lines| lines.iter().zip(&begins).all(is_row))
    });
}

#[test]
fn a_result_comes_with_that_of_the_command_that_is_waited_for() {
    for by_key in [false, true] {
        let start = reply_blocks(&[bg_bash("build")], "tool_use");
        let mut answers = vec![start, bash("t2", "cat work"), reply_text("both are there")];
        answers.extend(by_key.then(|| reply_text("and that")));
        let (server, mut terminal) = with_answers(answers);
        ["build", "work"]
            .iter()
            .for_each(|name| gate(&terminal, name));
        terminal.line("go on");
        until_waits_for(&terminal, "cat work");
        open(&terminal, "build");
        until_traced(&terminal, &[r#""ph":"E""#, "finished with exit code 0"]);
        assert_eq!(server.requests().len(), 2, "the model was asked meanwhile");
        let result = if by_key {
            terminal.send(CTRL_B); // gets it there at once
            moved("cat-work", " by the user")
        } else {
            open(&terminal, "work");
            "through work".to_string()
        };
        terminal.until_shows("\nboth are there\n");
        assert_eq!(
            last_message(&server, 2),
            [format!("result: {result}"), "delivered: build".to_string()]
        );
        if by_key {
            open(&terminal, "work");
            terminal.until_ends(&format!("\nand that{PROMPT}"));
        }
    }
}

// Ctrl+C.

#[test]
fn ctrl_c_is_for_the_foreground_alone() {
    let mut terminal = s11();
    let background = move_one(&mut terminal);
    terminal.line(r#"run "echo so far; echo $$ > work; sleep 600""#);
    let work = pid(terminal.folder.path(), "work");
    terminal.send("kept");
    terminal.until_ends("s11 >> kept");
    terminal.send(CTRL_C);
    terminal.until_shows("\nInterrupted.\n");
    terminal.until_ends(&format!("{ONE_RUNS} kept"));
    assert!(is_gone(work), "the command still runs");
    assert!(
        !is_gone(background),
        "what runs in the background was not meant"
    );
    open(&terminal, "gate");
    terminal.until_shows("\n◆ echo-pid: finished with exit code 0 after ");
    terminal.until_ends(&format!("{PROMPT} kept"));
}

#[test]
fn ctrl_c_ends_an_agent_that_is_waited_for() {
    let mut terminal = s11();
    terminal.line(r#"delegate "run 'echo $$ > work; sleep 600'" as look in the foreground"#);
    let work = pid(terminal.folder.path(), "work");
    terminal.send(CTRL_C);
    terminal.until_shows("\nInterrupted.\n");
    terminal.until_ends(PROMPT);
    assert!(is_gone(work), "its command still runs");
    assert_eq!(count(&terminal, "◆"), 0);
}

/// A command that does not heed the first Ctrl+C, as long as it may; interrupted once.
fn interrupt_stubborn(terminal: &mut Terminal) -> Pid {
    let asked = terminal.folder.path().join("asked");
    terminal.line(
        r#"run "trap 'echo > asked' TERM; echo $$ > work; while true; do sleep 600 & wait; done""#,
    );
    let work = pid(terminal.folder.path(), "work");
    terminal.send(CTRL_C);
    eventually("the command was asked to end", || asked.exists());
    work
}

#[test]
fn a_second_ctrl_c_leaves() {
    let mut terminal = s11();
    let work = interrupt_stubborn(&mut terminal);
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 130);
    eventually("nothing is left", || is_gone(work));
    assert_eq!(
        count(&terminal, "Still running"),
        0,
        "what is in the foreground is no task"
    );
}

#[test]
fn a_second_ctrl_c_asks_if_tasks_run() {
    let mut terminal = s11();
    let background = move_one(&mut terminal);
    let work = interrupt_stubborn(&mut terminal);
    terminal.send(CTRL_C);
    terminal.until_ends(&format!("{STILL}{ONE_RUNS}"));
    assert!(!is_gone(background), "it was ended before the third time");
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 130);
    eventually("nothing is left", || is_gone(work) && is_gone(background));
}

/// How fast a machine is, is no business of this test: it tries again if a second has passed.
#[test]
fn a_second_ctrl_c_at_the_prompt_leaves() {
    for with_task in [false, true] {
        let left = (0..10).any(|_| {
            let mut terminal = s11();
            let background = with_task.then(|| move_one(&mut terminal));
            terminal.line(r#"run "echo $$ > work; sleep 600""#);
            let work = pid(terminal.folder.path(), "work");
            terminal.send(CTRL_C);
            terminal.until_shows("\nInterrupted.\n");
            terminal.until_ends(if with_task { ONE_RUNS } else { PROMPT });
            terminal.send(CTRL_C);
            let too_late = "\nTo leave: exit, Ctrl+D, or Ctrl+C once more.";
            if with_task {
                terminal.until("an answer", |screen| {
                    screen.contains(STILL) || screen.contains(too_late)
                });
                if count(&terminal, too_late) > 0 {
                    return false;
                }
                terminal.until_ends(ONE_RUNS);
                assert!(background.is_some_and(|background| !is_gone(background)));
                terminal.line("exit");
            } else {
                eventually("an answer", || {
                    count(&terminal, too_late) > 0 || terminal.is_as_before()
                });
                if count(&terminal, too_late) > 0 {
                    return false;
                }
            }
            leaves_everything_as_it_was(&mut terminal, 0);
            eventually("nothing is left", || {
                is_gone(work) && background.is_none_or(is_gone)
            });
            true
        });
        assert!(left, "a second Ctrl+C never left");
    }
}

// Questions.

const QUESTION: &str = "\nAllow it? [y]es, [n]o, [a]lways this tool in this session:";

#[test]
fn an_agent_that_is_waited_for_may_ask_and_afterwards_not() {
    let answers = [
        delegates("look at it"),
        bash("t1", "echo > begun; cat gate"),
        reply_text("I go on"),
        bash("t2", "touch it"),
        reply_text("I could not"),
        reply_text("so it is"),
    ];
    let server = Server::start(answers);
    let mut terminal = at_prompt(served(S11, &server), PROMPT);
    gate(&terminal, "gate");
    terminal.line("go on");
    terminal.until_ends(&format!(
        "\nThe agent wants to call bash:\n│ echo > begun; cat gate{QUESTION}{PROMPT}"
    ));
    // A list is no answer.
    terminal.line("/tasks");
    terminal.until_shows("\nlook  agent  in the foreground  ");
    assert_eq!(count(&terminal, "Please type y, n or a."), 0);
    terminal.send(CTRL_B);
    terminal.until_shows("\n(Answer the question first, then Ctrl+B.)\n");
    assert_eq!(count(&terminal, "moved to the background"), 0);
    assert_eq!(server.requests().len(), 2);
    terminal.line("y");
    let begun = terminal.folder.path().join("begun");
    eventually("the answer has arrived", || begun.exists());
    terminal.send(CTRL_B);
    terminal.until_ends(&format!("\nI go on{ONE_RUNS}"));
    open(&terminal, "gate");
    terminal.until_ends(&format!("\nso it is{PROMPT}"));
    terminal.until("the denied call", |screen| {
        let line = screen.lines().find(|line| line.starts_with("◆ look: "));
        line.is_some_and(|line| line.ends_with(" s; 1 call was denied: bash"))
    });
    assert!(
        !terminal.folder.path().join("it").exists(),
        "it was done unasked"
    );
    assert_eq!(
        count(&terminal, "The agent wants to call"),
        1,
        "asked although nobody waits"
    );
    assert_eq!(last_message(&server, 3), ["result: through gate"]);
    let denied = "result: ERROR: bash was denied: it needs the user's consent, and a background agent cannot ask.";
    assert!(
        last_message(&server, 4)[0].starts_with(denied),
        "{:?}",
        last_message(&server, 4)
    );
    assert_eq!(last_message(&server, 5), ["delivered: look"]);
}

#[test]
fn a_stopped_agent_takes_its_question_back() {
    let answers = [
        delegates("look at it"),
        bash("t1", "touch it"),
        reply_text("I go on without it"),
    ];
    let server = Server::start(answers);
    let mut terminal = at_prompt(served(S11, &server), PROMPT);
    terminal.line("go on");
    terminal.until_ends(&format!("{QUESTION}{PROMPT}"));
    terminal.line("/stop look");
    // Two threads say these, in either order.
    terminal.until_shows("\nlook: told to stop.\n");
    terminal.until_shows("\nI go on without it\n");
    terminal.until_ends(PROMPT);
    assert!(!terminal.folder.path().join("it").exists());
    let told = last_message(&server, 2);
    assert!(
        told[0].starts_with("result: ERROR: [interrupted]"),
        "{told:?}"
    );
}

// Ways out.

#[test]
fn every_way_out_leaves_nothing_behind() {
    for keys in ["exit\r", CTRL_D] {
        let mut terminal = s11();
        let background = move_one(&mut terminal);
        terminal.send(keys);
        terminal.until_ends(&format!("{STILL}{ONE_RUNS}"));
        assert!(!is_gone(background), "it was ended before the second time");
        terminal.send(keys);
        leaves_everything_as_it_was(&mut terminal, 0);
        terminal.until_shows("\nEnded, as it was still running: echo-pid.");
        eventually("nothing is left", || is_gone(background));
    }
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut terminal = s11();
        let background = move_one(&mut terminal);
        terminal.line(r#"run "echo $$ > work; sleep 600""#);
        let work = pid(terminal.folder.path(), "work");
        terminal.send("half a line");
        terminal.until_ends("s11 >> half a line");
        assert!(
            !terminal.is_as_before() && terminal.marks_pastes(),
            "lines are edited all the time"
        );
        terminal.signal(signal);
        leaves_everything_as_it_was(&mut terminal, code);
        eventually("nothing is left", || is_gone(background) && is_gone(work));
    }
}

#[test]
fn leaving_with_one_in_the_foreground_ends_it() {
    let mut terminal = s11();
    terminal.line(r#"run "echo $$ > work; sleep 600""#);
    let work = pid(terminal.folder.path(), "work");
    terminal.line("exit"); // comes next
    terminal.until_shows("\n(queued: exit)\n");
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 0);
    eventually("nothing is left", || is_gone(work));
}
