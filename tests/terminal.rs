//! The prompt as a person meets it: at a real pseudo-terminal.

mod support;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::program::program;
use support::prompt::{self, CTRL_C, CTRL_D, LEFT, is_gone, leaves_everything_as_it_was};
use support::server::{Answer, Server, events, reply_text, reply_tool, sse};
use support::terminal::{Seat, Terminal, eventually};
use unicode_width::UnicodeWidthStr;

const S08: &str = "s08_background_tasks";
const HOW_TO_LEAVE: &str = "To leave: exit, Ctrl+D, or Ctrl+C once more.";

const CTRL_A: &str = "\x01";
const CTRL_W: &str = "\x17";
const CTRL_Z: &str = "\x1a";
const UP: &str = "\x1b[A";
const BACKSPACE: &str = "\x7f";

/// s08 at its first prompt.
fn s08() -> Terminal {
    at_prompt(Seat::new(S08))
}

fn at_prompt(seat: Seat) -> Terminal {
    let terminal = seat.start();
    terminal.until_ends("\ns08 >>");
    terminal
}

/// A command that says that it runs, then waits for [`open`].
fn gated(terminal: &Terminal) -> &'static str {
    prompt::gate(terminal, "gate");
    r#"run "echo $$ > pid; cat gate""#
}

/// Waits until the command waits, and lets it go on.
fn open(terminal: &Terminal) {
    prompt::open(terminal, "gate");
}

/// The process id that a command wrote.
#[track_caller]
fn pid(terminal: &Terminal) -> Pid {
    prompt::pid(terminal.folder.path(), "pid")
}

#[test]
fn every_lesson_has_its_own_prompt() {
    let lessons = [
        "s01_agent_loop",
        "s02_tool_use",
        "s03_todo_write",
        "s04_subagent",
        "s05_skill_loading",
        "s06_context_compact",
        "s07_task_system",
        S08,
    ];
    for lesson in lessons {
        let mut terminal = Seat::new(lesson).start();
        let name = lesson.split('_').next().expect("a name");
        terminal.until_ends(&format!("exit to leave.\n{name} >> "));
        terminal.line(r#"run "echo one; echo two >&2""#);
        terminal.until_ends(&format!("\none\ntwo\n{name} >> "));
        terminal.line("exit");
        leaves_everything_as_it_was(&mut terminal, 0);
    }
}

#[test]
fn a_line_is_carried_out_and_shown_with_its_time() {
    let mut terminal = s08();
    terminal.line(r#"run "seq 12""#);
    terminal.until("the call", |screen| {
        screen.contains("\n● bash: seq 12\n  └ ") && screen.contains(" s · 1\n    2\n")
    });
    terminal.until_shows("    8\n    … 4 more lines (the model has them)\n");
    terminal.line(r#"run "seq 9""#);
    terminal.until_shows("    8\n    … 1 more line (the model has it)\n");
}

#[test]
fn text_is_broken_between_words_at_the_width_of_the_terminal() {
    let words: Vec<String> = (10..70).map(|number| format!("word-{number}")).collect();
    // The server sends it in two pieces, the first of which ends inside a word.
    let text = words.join(" ") + " word-\u{65e5}\u{672c}";
    for (columns, with_editor) in [(100, true), (41, true), (100, false)] {
        let server = Server::start([reply_text(&text)]);
        let seat = prompt::served(S08, &server);
        let terminal = if with_editor {
            let mut terminal = at_prompt(seat);
            terminal.resize(50, columns);
            terminal.line("go on");
            terminal
        } else {
            seat.argument("-p").argument("go on").start()
        };
        terminal.until_shows("word-\u{65e5}\u{672c}");
        let screen = terminal.text();
        let lines = screen.lines().filter(|line| line.starts_with("word-"));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.join(" "), text, "nothing is lost");
        for pair in lines.windows(2) {
            let next = pair[1].split(' ').next().map_or(0, UnicodeWidthStr::width);
            let (used, most) = (pair[0].width(), usize::from(columns));
            assert!(
                used <= most && used + 1 + next > most,
                "{columns}: {pair:?}"
            );
        }
    }
}

#[test]
fn a_word_that_is_wider_than_the_terminal_is_broken() {
    let mut terminal = s08();
    let word = "x".repeat(130);
    terminal.line(&format!("run \"echo '    {word}'; echo ' a {word}'\""));
    let (most, rest) = word.split_at(100);
    terminal.until_shows(&format!("\n{most}\n{rest}\n a\n{most}\n{rest}\n"));
}

#[test]
fn history_reaches_across_runs() {
    let mut first = s08();
    first.line(r#"run "echo from the first run""#);
    first.until_ends("\nfrom the first run\ns08 >>");
    first.line("exit");
    first.wait();

    let mut second = at_prompt(Seat::new(S08).folder(Some(first.folder.clone())));
    second.send(UP);
    second.until_ends("\ns08 >> exit");
    second.send(UP);
    second.until_ends("\ns08 >> run \"echo from the first run\"");
    second.send("\r");
    second.until_ends("\nfrom the first run\ns08 >>");
}

#[test]
fn history_outlives_a_signal() {
    let mut first = s08();
    first.line(r#"run "echo before the signal""#);
    first.until_ends("\nbefore the signal\ns08 >>");
    first.signal(Signal::SIGTERM);
    first.wait();

    let mut second = at_prompt(Seat::new(S08).folder(Some(first.folder.clone())));
    second.send(UP);
    second.until_ends("\ns08 >> run \"echo before the signal\"");
}

#[test]
fn a_line_can_be_edited() {
    let mut terminal = s08();
    terminal.send("un \"echo edti\"");
    terminal.until_ends("\ns08 >> un \"echo edti\"");
    terminal.send(CTRL_A);
    terminal.send("r");
    terminal.until_ends("\ns08 >> run \"echo edti\"");
    terminal.send("\x05"); // to the end
    terminal.send(LEFT);
    terminal.send(BACKSPACE);
    terminal.send(BACKSPACE);
    terminal.send("ited");
    terminal.until_ends("\ns08 >> run \"echo edited\"");
    terminal.send("\r");
    terminal.until_ends("\nedited\ns08 >>");
    terminal.send("two words");
    terminal.send(CTRL_W);
    terminal.until_ends("\ns08 >> two");
}

#[test]
fn ctrl_c_drops_what_was_typed() {
    let mut terminal = s08();
    let hints = |terminal: &Terminal, count: usize| {
        terminal.until("the hint", |screen| {
            screen.matches(HOW_TO_LEAVE).count() == count
        });
        terminal.until_ends("\ns08 >>");
    };
    terminal.send("run \"touch dropped\"");
    terminal.until_ends("touch dropped\"");
    terminal.send(CTRL_C);
    terminal.until_ends("\ns08 >>");
    terminal.send(CTRL_C);
    hints(&terminal, 1);
    // A line in between: the next Ctrl+C is a first one again.
    terminal.send("typed");
    terminal.until_ends("s08 >> typed");
    terminal.send(CTRL_C);
    terminal.until_ends("\ns08 >>");
    terminal.send(CTRL_C);
    hints(&terminal, 2);
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 0);
    assert!(!terminal.folder.path().join("dropped").exists());
}

#[test]
fn every_word_and_key_that_leaves_leaves() {
    for keys in ["q\r", "exit\r", "/exit\r", "  exit  \r", CTRL_D] {
        let mut terminal = s08();
        terminal.send(keys);
        leaves_everything_as_it_was(&mut terminal, 0);
    }
}

#[test]
fn ctrl_d_on_a_typed_line_does_not_leave() {
    let mut terminal = s08();
    terminal.send("run \"echo stayed\"");
    terminal.send(CTRL_D);
    terminal.send("\r");
    terminal.until_ends("\nstayed\ns08 >>");
}

#[test]
fn signals_put_the_terminal_back() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut terminal = s08();
        assert!(
            !terminal.is_as_before() && terminal.marks_pastes(),
            "the prompt edits lines"
        );
        terminal.signal(signal);
        leaves_everything_as_it_was(&mut terminal, code);

        let mut terminal = s08();
        terminal.line(r#"run "echo $$ > pid; sleep 600""#);
        let command = pid(&terminal);
        terminal.signal(signal);
        leaves_everything_as_it_was(&mut terminal, code);
        eventually("the command is gone", || is_gone(command));
    }
}

#[test]
fn a_suspended_program_goes_on_or_is_ended() {
    let seat = Seat::at("bash")
        .argument("--norc")
        .argument("-i")
        .variable("PS1", "shell$ ");
    let mut shell = seat.variable("MEANWHILE_THINKING_MS", "600000").start();
    shell.until_ends("shell$");
    shell.line(&format!("clear; {}", program(S08).display()));
    shell.until_ends("\ns08 >>");
    let suspend = |shell: &mut Terminal| {
        shell.send(CTRL_Z);
        shell.until_ends("\nshell$");
        shell.line("clear; jobs");
        shell.until("a stopped job", |screen| {
            screen.starts_with("[1]+  Stopped") && screen.ends_with("\nshell$")
        });
    };
    suspend(&mut shell);
    shell.line("fg");
    shell.until_ends("s08 >>");
    shell.line("/help");
    shell.until("help", |screen| {
        screen.contains("begin a new conversation") && screen.ends_with("\ns08 >>")
    });
    shell.line("run \"echo never\"");
    shell.until("the editor is there again", |screen| {
        screen.contains("run \"echo never\"\n") && screen.ends_with("\ns08 >>")
    });
    suspend(&mut shell);
    shell.line("clear; echo $(jobs -p) > pid; kill %1");
    let lesson = pid(&shell);
    eventually("the program is gone", || is_gone(lesson));
}

#[test]
fn ctrl_c_interrupts_a_command_and_the_conversation_goes_on() {
    let mut terminal = s08();
    terminal.line(r#"run "echo so far; echo $$ > pid; sleep 600", then run "echo never""#);
    let command = pid(&terminal);
    terminal.send(CTRL_C);
    terminal.until_ends("\nInterrupted.\ns08 >>");
    terminal.until_shows(" s · ERROR: [interrupted] by the user\n    so far\n");
    assert!(is_gone(command), "the command still runs");
    terminal.line(r#"run "echo it goes on""#);
    terminal.until_ends("\nit goes on\ns08 >>");
    assert!(!terminal.text().contains("● bash: echo never"));
}

#[test]
fn ctrl_c_interrupts_thinking_at_once() {
    let mut terminal = at_prompt(Seat::new(S08).variable("MEANWHILE_THINKING_MS", "600000"));
    terminal.line(r#"run "echo never""#);
    terminal.send(CTRL_C);
    terminal.until_ends("\nInterrupted.\ns08 >>");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

/// Between Enter and the next prompt, Ctrl+C is a signal; whoever reads lines must not take it.
#[test]
fn ctrl_c_as_a_signal_interrupts_as_well() {
    let mut terminal = at_prompt(Seat::new(S08).variable("MEANWHILE_THINKING_MS", "600000"));
    terminal.line(r#"run "echo never""#);
    terminal.until_shows("\nthinking, ");
    terminal.signal(Signal::SIGINT);
    terminal.until_ends("\nInterrupted.\ns08 >>");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

#[test]
fn what_a_request_costs_is_shown_as_the_server_says_it() {
    let begun = sse(&events(&[], "end_turn")[..1]);
    let server = Server::start([Answer::Stall(begun)]);
    let mut terminal = at_prompt(prompt::served(S08, &server));
    terminal.line("hello");
    terminal.until("the tokens", |screen| {
        let status = screen.rsplit('\n').nth(1).unwrap_or_default();
        status.starts_with("thinking, ") && status.ends_with(" s · 11 tokens")
    });
    terminal.send(CTRL_C);
    terminal.until_ends("\nInterrupted.\ns08 >>");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

#[test]
fn a_second_ctrl_c_during_a_turn_leaves() {
    let mut terminal = s08();
    let asked = terminal.folder.path().join("asked");
    // It notes that it was asked to end, and goes on.
    terminal.line(
        r#"run "trap 'echo > asked' TERM; echo $$ > pid; while true; do sleep 600 & wait; done""#,
    );
    let command = pid(&terminal);
    terminal.send(CTRL_C);
    eventually("the command was asked to end", || asked.exists());
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 130);
    eventually("the command is gone", || is_gone(command));
}

#[test]
fn lines_typed_during_a_turn_are_carried_out_in_order() {
    let mut terminal = s08();
    let wait = gated(&terminal);
    terminal.line(wait);
    pid(&terminal);
    terminal.line(r#"run "echo first""#);
    terminal.line(r#"run "echo second""#);
    terminal.line(r#"run "echo third""#);
    terminal.until_shows("echo third");
    open(&terminal);
    terminal.until_ends("\nthird\ns08 >>");
    let text = terminal.text();
    let at = |line: &str| {
        text.find(line)
            .unwrap_or_else(|| panic!("no {line:?} in\n{text}"))
    };
    assert!(at("\nthrough gate\ns08 >>") < at("\nfirst\ns08 >>"));
    assert!(at("\nfirst\ns08 >>") < at("\nsecond\ns08 >>"));
}

#[test]
fn lines_that_come_all_at_once_are_all_carried_out() {
    let mut terminal = s08();
    let lines: String = (1..=5)
        .map(|number| format!("run \"echo line {number}\"\r"))
        .collect();
    terminal.send(&lines);
    for number in 1..=5 {
        terminal.until_shows(&format!("\nline {number}\n"));
    }
    // Marked as a paste, they are one prompt, and wait for Enter.
    terminal.send("\x1b[200~run \"echo upper\"\rrun \"echo lower\"\x1b[201~");
    terminal.until_ends("run \"echo upper\"\nrun \"echo lower\"");
    terminal.send("\r");
    terminal.until_shows("● bash: echo upper");
    terminal.until_shows("● bash: echo lower");
    terminal.until_ends("\ns08 >>");
}

#[test]
fn another_size_does_no_harm() {
    let mut terminal = s08();
    terminal.send("run \"echo narrow");
    terminal.until_ends("echo narrow");
    terminal.resize(50, 40);
    terminal.send(" and wide\"");
    terminal.until_ends("\ns08 >> run \"echo narrow and wide\"");
    terminal.send("\r");
    terminal.until_ends("\nnarrow and wide\ns08 >>");

    let wait = gated(&terminal);
    terminal.line(wait);
    pid(&terminal);
    terminal.resize(50, 120);
    terminal.resize(12, 90);
    open(&terminal);
    terminal.until_ends("\nthrough gate\ns08 >>");
    terminal.line("exit");
    leaves_everything_as_it_was(&mut terminal, 0);
}

#[test]
fn a_terminal_that_can_do_nothing_is_enough() {
    let mut terminal = at_prompt(Seat::new(S08).variable("TERM", "dumb"));
    assert!(terminal.is_as_before(), "nothing to edit with");
    terminal.line(r#"run "echo plain""#);
    terminal.until_shows(" >> run \"echo plain\"\n● bash: echo plain\n  └ ");
    terminal.until_ends(" s · plain\nplain\ns08 >>");
    terminal.send("dropped");
    terminal.until_ends("s08 >> dropped");
    terminal.send(CTRL_C);
    terminal.until_ends(&format!("\n{HOW_TO_LEAVE}\ns08 >>"));
    // That Ctrl+C was not for the next turn.
    terminal.line(r#"run "echo $$ > pid; echo so far; sleep 600""#);
    pid(&terminal);
    terminal.send(CTRL_C);
    terminal.until_ends("\nInterrupted.\ns08 >>");
    terminal.send(CTRL_C);
    terminal.until_ends(&format!(
        "\nInterrupted.\ns08 >> ^C\n{HOW_TO_LEAVE}\ns08 >>"
    ));
    terminal.send(CTRL_C);
    leaves_everything_as_it_was(&mut terminal, 0);
    assert!(
        !terminal.bytes().contains(&0x1b),
        "it was sent an escape sequence"
    );
}

#[test]
fn what_a_command_prints_cannot_touch_the_screen() {
    let mut terminal = s08();
    // Clear, home, another title, colour, the alternate screen, a bell, a lone carriage return.
    terminal.line(r#"run "printf 'a\033[2J\033[Hb\033]0;title\007\033[31mc\033[?1049hd\rover\n'""#);
    terminal.until_ends("\na^[[2J^[[Hb^[]0;title^G^[[31mc^[[?1049hd\nover\ns08 >>");
    terminal.until_shows("s08 · ");
    assert!(!terminal.bytes().contains(&0x07), "the bell rang");
    // Nor can its last words.
    terminal.line(
        r#"run "printf '\033[2J\033[1;1H'" in the background as painter, then wait for painter"#,
    );
    terminal.until_shows("    ^[[2J^[[1;1H\n");
    terminal.until_ends("\ns08 >>");
}

/// A lesson driven by a model that gives these answers, with a person there to be asked.
fn asked(answers: impl IntoIterator<Item = Answer>) -> (Server, Terminal) {
    let server = Server::start(answers);
    let seat = Seat::new(S08).variable("ANTHROPIC_BASE_URL", &server.url());
    let terminal = at_prompt(seat.variable("ANTHROPIC_API_KEY", "sk-ant-test"));
    (server, terminal)
}

fn bash(id: &str, command: &str) -> Answer {
    reply_tool(id, "bash", json!({ "command": command }))
}

const QUESTION: &str = "\nAllow it? [y]es, [n]o, [a]lways this tool in this session:\ns08 >>";

/// The content of the tool result that the model was given last.
fn last_result(server: &Server) -> String {
    let requests = server.requests();
    let results = requests
        .last()
        .expect("a request")
        .messages()
        .last()
        .expect("a message")["content"]
        .clone();
    let results = results.as_array().cloned().unwrap_or_default();
    let result = results
        .into_iter()
        .rfind(|block| block["type"] == "tool_result")
        .unwrap_or(Value::Null);
    result["content"].as_str().unwrap_or_default().to_string()
}

#[test]
fn yes_is_for_one_call_and_no_is_told_to_the_model() {
    let answers = [
        bash("t1", "touch yes"),
        bash("t2", "touch no"),
        reply_text("as you wish"),
    ];
    let (server, mut terminal) = asked(answers);
    terminal.line("go on");
    terminal.until_ends(&format!(
        "\nThe agent wants to call bash:\n│ touch yes{QUESTION}"
    ));
    assert!(
        !terminal.folder.path().join("yes").exists(),
        "it did not wait for the answer"
    );
    terminal.line("y");
    terminal.until_ends(&format!(
        "\nThe agent wants to call bash:\n│ touch no{QUESTION}"
    ));
    assert!(terminal.folder.path().join("yes").exists());
    terminal.line("n");
    terminal.until_ends("\nas you wish\ns08 >>");
    assert!(!terminal.folder.path().join("no").exists());
    assert!(last_result(&server).starts_with("ERROR: the user said no to this bash call."));
}

#[test]
fn always_is_for_one_tool_and_the_session() {
    let answers = [
        bash("t1", "touch one"),
        bash("t2", "touch two"),
        reply_text("two done"),
        bash("t3", "touch three"),
        reply_tool(
            "t4",
            "write_file",
            json!({ "path": "four", "content": "4" }),
        ),
        reply_text("four done"),
    ];
    let (_server, mut terminal) = asked(answers);
    terminal.line("go on");
    terminal.until_ends(&format!("touch one{QUESTION}"));
    terminal.line("a");
    terminal.until_ends("\ntwo done\ns08 >>");
    terminal.line("further");
    terminal.until_ends(&format!(
        "\nThe agent wants to call write_file:\n│ four  4{QUESTION}"
    ));
    terminal.line("yes");
    terminal.until_ends("\nfour done\ns08 >>");
    for name in ["one", "two", "three", "four"] {
        assert!(terminal.folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_background_command_is_asked_about_when_it_is_submitted() {
    let start = json!({ "id": "build", "command": "touch built" });
    let answers = [
        reply_tool("t1", "bg_bash", start),
        reply_tool("t2", "check_bg", json!({ "id": "build" })),
        reply_text("it runs"),
    ];
    let (server, mut terminal) = asked(answers);
    terminal.line("build it");
    terminal.until_ends(&format!(
        "\nThe agent wants to call bg_bash:\n│ build  touch built{QUESTION}"
    ));
    assert!(
        !terminal.folder.path().join("built").exists(),
        "it did not wait for the answer"
    );
    terminal.line("y");
    terminal.until_ends("\nit runs\ns08 >>");
    eventually("the command has run", || {
        terminal.folder.path().join("built").exists()
    });
    assert!(last_result(&server).starts_with("build: "));
}
