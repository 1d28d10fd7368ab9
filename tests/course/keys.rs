//! Transcripts for which somebody presses keys: typed again at a real pseudo-terminal. What is pressed
//! waits for what the screen shows.

use tempfile::TempDir;

use super::support::terminal::{Seat, Terminal};
use super::transcript::{TRIES, Times, fits};
use super::{blocks, none, page};

const S11: &str = "s11_foreground_background";
const CTRL_B: &str = "\u{2}";
const CTRL_C: &str = "\u{3}";
/// The prompt, and nothing runs.
const IDLE: &str = "\n\ns11 >>";
const ONE_RUNS: &str = "\n1 running\ns11 >>";

/// In one line, with one blank between two words, however the text is broken into lines.
fn flat(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// A block of the page of s11 by its first words.
fn block(page: &str, start: &str) -> Vec<String> {
    let blocks = blocks(page, "text").expect("a page");
    let mut blocks = blocks.into_iter().map(|block| block.code);
    let block = blocks.find(|code| code[0].starts_with(start));
    block.unwrap_or_else(|| panic!("the page of s11 has no block that begins with {start:?}"))
}

/// The lesson at its prompt, in an empty folder. The model takes its time, as on the page.
fn start(state: &TempDir) -> Terminal {
    let seat = Seat::new(S11).variable("MEANWHILE_THINKING_MS", "300");
    let state = state.path().to_str().expect("a path of letters");
    let terminal = seat.variable("XDG_STATE_HOME", state).start();
    terminal.until_ends(IDLE);
    terminal
}

/// Types a line; presses Ctrl+B when it has been waited for for a second. Then the turn ends, whose
/// report says again what the model was told.
fn typed_and_moved(terminal: &mut Terminal, line: &str) {
    let told = |screen: &str| screen.matches("unchanged.").count();
    let before = told(&terminal.text());
    terminal.line(line);
    terminal.until_shows(", 1 s (Ctrl+B: to the background) ");
    terminal.send(CTRL_B);
    terminal.until("the report", |screen| {
        told(screen) == before + 2 && screen.ends_with(ONE_RUNS)
    });
}

/// Waits until so many results have been delivered, the model has said something, and nothing runs.
fn until_delivered(terminal: &Terminal, count: usize) {
    terminal.until("a result", |screen| {
        // The model says the result again: its first line, then the output.
        let last = screen.rsplit("◆ ").next().unwrap_or_default();
        let said = last.lines().skip(1).take_while(|line| !line.is_empty());
        screen.matches("◆ ").count() == count && said.count() >= 2 && screen.ends_with(IDLE)
    });
}

/// Plays "Try it", and says for each block by its first words what the screen showed.
fn try_it(page: &str) -> Vec<(&'static str, String)> {
    let mut shown = Vec::new();
    let state = tempfile::tempdir().expect("a folder");
    let mut terminal = start(&state);
    let [command, agent] = [RUN, DELEGATE].map(|start| {
        let first = block(page, start).swap_remove(0);
        let line = first.strip_prefix("s11 >> ").expect("a line to type");
        line.to_string()
    });
    typed_and_moved(&mut terminal, &command);
    shown.push((RUN, terminal.text()));
    terminal.line("/tasks");
    terminal.until("the list", |screen| screen.contains("  command  "));
    shown.push((TASKS, terminal.text()));
    terminal.line("write \"hello\" to notes.txt");
    until_delivered(&terminal, 1);
    shown.push((WRITE, terminal.text()));
    typed_and_moved(&mut terminal, &agent);
    shown.push((DELEGATE, terminal.text()));
    terminal.line("/tasks look");
    until_delivered(&terminal, 2);
    shown.push((LOOK, terminal.text()));
    terminal.line(&agent.replacen(" as look ", " as again ", 1));
    terminal.until("the end of the agent", |screen| {
        let (_, last) = screen.split_once("● task: again").unwrap_or_default();
        last.contains("\n  └ ") && last.ends_with(&format!("\nnotes.txt{IDLE}"))
    });
    shown.push((AGAIN, terminal.text()));
    terminal.line("run \"sleep 4 & echo started\"");
    terminal.until("the report", |screen| {
        screen.matches("[shell exited]").count() == 2 && screen.ends_with(ONE_RUNS)
    });
    shown.push((EXITED, terminal.text()));
    until_delivered(&terminal, 3);
    shown
}

/// The line above the prompt, and the ids that need not be typed whole.
fn beside_a_task() -> Vec<(&'static str, String)> {
    let state = tempfile::tempdir().expect("a folder");
    let mut terminal = start(&state);
    terminal.line("run \"sleep 600\" in the background as other");
    terminal.until_ends(ONE_RUNS);
    terminal.line("run \"sleep 20\"");
    terminal.send("write \"hal");
    terminal.until("what is waited for", |screen| {
        screen.contains("(Ctrl+B") && screen.ends_with("hal")
    });
    let status = terminal.text();
    terminal.send(CTRL_C); // ends the command
    terminal.until_ends("\nInterrupted.\n1 running\ns11 >> write \"hal");
    terminal.send(CTRL_C); // and what was typed
    terminal.until_ends(ONE_RUNS);
    terminal.send("/stop ot\t");
    terminal.until_shows("s11 >> /stop other");
    terminal.send(CTRL_C);
    terminal.until_ends(ONE_RUNS);
    terminal.line("/stop ot");
    terminal.until_shows("◆ other: ");
    terminal.until_ends(IDLE);
    vec![(STATUS, status), (BEGINNING, terminal.text())]
}

const STATUS: &str = "1 running · sleep 20";
const RUN: &str = "s11 >> run \"sleep 5; echo built\"";
const TASKS: &str = "sleep-5  command";
const WRITE: &str = "● write_file: notes.txt  hello";
const DELEGATE: &str = "s11 >> delegate \"run 'sleep 3; ls'\" as look";
const LOOK: &str = "look  agent";
const AGAIN: &str = "● task: again";
const EXITED: &str = "started";
/// A sentence of the page, which `beside_a_task` relies on.
const BEGINNING: &str = "the beginning of an id is enough, and Tab completes it";

/// Blocks by their first words that are compared here, and not in a pipe.
pub const KEYED: &[(&str, &str)] = &[
    ("s11", STATUS),
    ("s11", RUN),
    ("s11", TASKS),
    ("s11", WRITE),
    ("s11", DELEGATE),
    ("s11", LOOK),
    ("s11", AGAIN),
    ("s11", EXITED),
];

/// What the page says and the screen did not show.
fn problems(page: &str, shown: &[(&str, String)], times: Times) -> Vec<String> {
    let differs = |(start, screen): &&(&str, String)| {
        // The seconds that are counted, and the cursor.
        let says = flat(&block(page, start).join("\n"));
        let says = says.replace(", 2 s (", ", … s (").replace('▏', "");
        !fits(&format!("…{says}…"), &flat(screen), times)
    };
    let blocks = shown.iter().filter(|(start, _)| *start != BEGINNING);
    let wrong = blocks.filter(differs).map(|(start, screen)| {
        let says = block(page, start).join("\n  ");
        format!("lessons/{S11}/README.md: the page says\n  {says}\nthe terminal shows\n{screen}")
    });
    wrong.collect()
}

#[test]
fn what_is_shown_after_a_key_is_what_the_page_says() {
    let page = page(S11);
    assert!(page.contains(BEGINNING), "it says no more: {BEGINNING}");
    let mut tries = 0;
    loop {
        let mut shown = try_it(&page);
        shown.extend(beside_a_task());
        let missing = KEYED.iter().find(|(_, start)| {
            let is_it = |(it, _): &(&str, String)| it == start;
            !shown.iter().any(is_it)
        });
        assert_eq!(missing, None, "a block that nothing is compared with");
        let found = problems(&page, &shown, Times::Compared);
        tries += 1;
        // A busy machine is slow; but it does not say anything else.
        let only_times = problems(&page, &shown, Times::Ignored).is_empty();
        if found.is_empty() || !only_times || tries == TRIES {
            return none(found);
        }
    }
}

#[test]
fn a_screen_that_shows_something_else_is_told() {
    let page = "```text\nsleep-5  command  running  1.2 s\n  0 bytes of output\n```\n";
    let told = |screen: &str, times| problems(page, &[(TASKS, screen.to_string())], times).len();
    let screen = "s11 >> /tasks\nsleep-5  command  running  1.5 s  0 bytes of\noutput\ns11 >>";
    assert_eq!(told(screen, Times::Compared), 0);
    let late = screen.replace("1.5 s", "9.5 s");
    assert_eq!(told(&late, Times::Compared), 1);
    assert_eq!(told(&late, Times::Ignored), 0);
    assert_eq!(told(&screen.replace("running", "ended"), Times::Ignored), 1);
}
