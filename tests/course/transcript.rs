//! Transcripts in pages: what a page says is typed is typed again, into the same program, and what
//! the program prints is compared with what the page says it prints.
//!
//! In a page, a line that is only `…` stands for any number of lines, and a `…` in a line for any
//! text. Times (`3.0 s`) may be up to a second longer than the page says; from one second on, they
//! may not be shorter.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::support::program::{Lesson, PATIENCE, clean_environment, program};
use super::{Block, Problems, blocks, short_name};

/// When nothing more has been printed for so long, nothing more is expected.
pub const SILENCE: Duration = Duration::from_secs(60);
/// How often a transcript is typed again that differs in nothing but times: a busy machine is slow.
pub const TRIES: usize = 4;

/// What is typed, and what the page shows of the answer.
#[derive(Debug, PartialEq)]
pub struct Step {
    /// Where in the page, counted from 1.
    pub line: usize,
    pub typed: String,
    pub shown: Vec<String>,
}

/// The steps of one program, in the order of the page.
#[derive(Debug, PartialEq)]
pub struct Session {
    pub lesson: String,
    pub steps: Vec<Step>,
}

/// The last command of the prompt, such as `/messages`, that the paragraph above a block names.
fn slash_command(page: &str, block: &Block) -> Option<String> {
    let above: Vec<&str> = page.lines().take(block.line - 1).collect();
    let mut paragraphs = above.split(|line| line.trim().is_empty());
    let paragraph = paragraphs.rfind(|paragraph| !paragraph.is_empty())?;
    let paragraph = paragraph.join(" ");
    let spans = paragraph.split('`').skip(1).step_by(2);
    let is_command = |span: &&str| span.starts_with('/') && !span.ends_with('/');
    spans.filter(is_command).last().map(str::to_string)
}

/// Which of the lessons a line is typed into, and what is typed.
fn typed<'l, 't>(lessons: &'l [String], line: &'t str) -> Option<(&'l String, &'t str)> {
    let (name, text) = line.split_once(" >> ")?;
    let lesson = lessons.iter().find(|lesson| short_name(lesson) == name)?;
    Some((lesson, text))
}

/// What the ```text blocks of a page are.
pub struct Transcripts {
    pub sessions: Vec<Session>,
    /// What follows `$ cargo run --bin `.
    pub commands: Vec<Step>,
    /// Neither of these.
    pub others: Vec<Block>,
}

/// The transcripts of a page.
/// Blocks whose first line begins with one of `left_out` are passed over.
pub fn read(page: &str, lessons: &[String], left_out: &[&str]) -> Result<Transcripts, String> {
    let (mut sessions, mut commands, mut others) = (Vec::<Session>::new(), Vec::new(), Vec::new());
    for block in blocks(page, "text")? {
        let first = block.code.first().map_or("", String::as_str);
        if left_out.iter().any(|start| first.starts_with(start)) {
            continue;
        }
        let mut steps = Vec::new();
        for (index, line) in block.code.iter().enumerate() {
            let step = |typed: &str| Step {
                line: block.line + 1 + index,
                typed: typed.to_string(),
                shown: Vec::new(),
            };
            // Nothing else is ever run in a shell: a page may well show a `kill`.
            let command = line.strip_prefix("$ cargo run --bin ");
            // What a demonstration prints looks as if it was typed.
            let typed = typed(lessons, line).filter(|_| !first.starts_with("$ "));
            match (typed, command) {
                (Some((lesson, text)), _) => steps.push((Some(lesson), step(text))),
                (None, Some(command)) => steps.push((None, step(command))),
                (None, None) => {
                    if index == 0
                        && let Some(command) = slash_command(page, &block)
                        && let Some(session) = sessions.last()
                    {
                        let lesson = lessons.iter().find(|it| **it == session.lesson);
                        steps.push((lesson, step(&command)));
                    }
                    let Some((_, step)) = steps.last_mut() else {
                        break;
                    };
                    step.shown.push(line.trim_end().to_string());
                }
            }
        }
        if steps.is_empty() {
            others.push(block);
        }
        for (lesson, step) in steps {
            let Some(lesson) = lesson else {
                commands.push(step);
                continue;
            };
            match sessions.iter_mut().find(|it| it.lesson == *lesson) {
                Some(session) => session.steps.push(step),
                None => sessions.push(Session {
                    lesson: lesson.clone(),
                    steps: vec![step],
                }),
            }
        }
    }
    Ok(Transcripts {
        sessions,
        commands,
        others,
    })
}

// ---- Lines that may leave something out ----

#[derive(Clone, Copy, PartialEq)]
pub enum Times {
    /// As the page says them, within the limits above.
    Compared,
    Ignored,
}

/// The `3.0` of a text that begins with `3.0 s`, and what follows.
fn time(text: &str) -> Option<(f64, &str)> {
    let (number, rest) = text.split_once(" s")?;
    let (whole, tenth) = number.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let ends = !rest.starts_with(char::is_alphanumeric);
    (digits(whole) && digits(tenth) && tenth.len() == 1 && ends)
        .then(|| Some((number.parse().ok()?, rest)))?
}

/// Whether a printed line is what a line of a page says.
pub fn fits(says: &str, prints: &str, times: Times) -> bool {
    if let Some(rest) = says.strip_prefix('…') {
        let mut ends = prints.char_indices().map(|(at, _)| at);
        return rest.is_empty() || ends.any(|at| fits(rest, prints.split_at(at).1, times));
    }
    if let (Some((stated, says)), Some((measured, prints))) = (time(says), time(prints)) {
        let holds = times == Times::Ignored
            || (measured < stated + 1.0 && (stated < 1.0 || measured > stated - 0.05));
        return holds && fits(says, prints, times);
    }
    let (mut says, mut prints) = (says.chars(), prints.chars());
    match (says.next(), prints.next()) {
        (None, None) => true,
        (Some(one), Some(other)) => one == other && fits(says.as_str(), prints.as_str(), times),
        _ => false,
    }
}

/// Where the page and the program differ; `None` where they agree.
pub fn difference(says: &[String], prints: &[String], times: Times) -> Option<String> {
    let fit = |(says, prints): (&String, &String)| fits(says, prints, times);
    let mut chunks = says.split(|line| line == "…").peekable();
    let first = chunks.next().unwrap_or_default();
    let begin = match chunks.peek() {
        None => first.len().max(prints.len()),
        Some(_) => first.len(),
    };
    let differs = |at: &usize| !first.get(*at).zip(prints.get(*at)).is_some_and(fit);
    if let Some(at) = (0..begin).find(differs) {
        let [says, prints] = [first, prints].map(|lines| lines.get(at).map_or("", |it| it));
        return Some(format!("the page says\n  {says}\nit prints\n  {prints}"));
    }
    let mut rest = &prints[begin..];
    while let Some(chunk) = chunks.next() {
        let mut places = 0..(rest.len() + 1).saturating_sub(chunk.len());
        let is_there = |at: &usize| chunk.iter().zip(&rest[*at..]).all(fit);
        let place = match chunks.peek() {
            None => places.last().filter(is_there),
            Some(_) => places.find(is_there),
        };
        let Some(place) = place else {
            let (chunk, rest) = (chunk.join("\n  "), rest.join("\n  "));
            return Some(format!(
                "the page says\n  {chunk}\nwhich is not in\n  {rest}"
            ));
        };
        rest = &rest[place + chunk.len()..];
    }
    None
}

// ---- The programs ----

/// A program that is typed into.
struct Running {
    child: Child,
    output: Receiver<Vec<u8>>,
    text: Vec<u8>,
    prompt: String,
}

impl Running {
    fn start(lesson: &mut Lesson, name: &str) -> Self {
        let mut child = lesson.start();
        let mut stdout = child.stdout.take().expect("a pipe");
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let _ = sender.send(buffer[..count].to_vec());
            }
        });
        Running {
            child,
            output,
            text: Vec::new(),
            prompt: format!("{} >> ", short_name(name)),
        }
    }

    /// What was printed after each line that was typed.
    fn answers(&self) -> Vec<Vec<String>> {
        let text = String::from_utf8_lossy(&self.text);
        let mut answers: Vec<Vec<String>> = Vec::new();
        for line in text.lines() {
            match answers.last_mut() {
                _ if line == self.prompt => {} // it waits
                _ if line.starts_with(&self.prompt) => answers.push(Vec::new()),
                Some(answer) => answer.push(line.trim_end().to_string()),
                None => {} // the greeting
            }
        }
        answers
    }

    /// Waits until something more has been printed. False after a long silence, or at the end.
    fn prints_more(&mut self, silence: Duration) -> bool {
        let more = self.output.recv_timeout(silence);
        more.map(|more| self.text.extend(more)).is_ok()
    }
}

/// Types the lines of a session, each when the answer to the one before is there or nothing comes
/// any more, and returns the answers.
fn answers(session: &Session, lesson: &mut Lesson, silence: Duration) -> Vec<Vec<String>> {
    let mut running = Running::start(lesson, &session.lesson);
    let mut stdin = running.child.stdin.take().expect("a pipe");
    for (index, step) in session.steps.iter().enumerate() {
        if writeln!(stdin, "{}", step.typed).is_err() {
            break; // it has ended, and the answers show where
        }
        let is_there = |running: &Running| {
            let answers = running.answers();
            let answer = answers.get(index);
            answer.is_some_and(|it| difference(&step.shown, it, Times::Ignored).is_none())
        };
        while !is_there(&running) && running.prints_more(silence) {}
    }
    drop(stdin);
    while running.prints_more(PATIENCE) {}
    let _ = running.child.kill(); // it has ended, unless it hangs
    let _ = running.child.wait();
    let mut answers = running.answers();
    if let Some(last) = answers.last_mut() {
        // What the end of the pipe cut off is no answer to the last line.
        last.retain(|line| !line.starts_with("Ended, as it was still running: "));
    }
    answers
}

/// What a page says of one program and does not hold, and all that the program printed.
pub fn session_problems(
    page: &str,
    session: &Session,
    silence: Duration,
) -> (Problems, Vec<String>, Lesson) {
    let mut tries = 0;
    loop {
        let mut lesson = Lesson::new(&session.lesson).variable("MEANWHILE_THINKING_MS", "300");
        let answers = answers(session, &mut lesson, silence);
        let compare = |times| -> Problems {
            let steps = session.steps.iter().enumerate();
            let problems = steps.filter_map(|(index, step)| {
                let answer = answers.get(index).map_or(&[][..], Vec::as_slice);
                let why = difference(&step.shown, answer, times)?;
                let Step { line, typed, .. } = step;
                Some(format!("{page}, line {line}: {typed}\n{why}"))
            });
            problems.collect()
        };
        let problems = compare(Times::Compared);
        tries += 1;
        if problems.is_empty() || tries == TRIES || !compare(Times::Ignored).is_empty() {
            return (problems, answers.concat(), lesson);
        }
    }
}

/// The same for a `$ cargo run --bin …`, in the folder of the session before it.
pub fn command_problem(
    page: &str,
    step: &Step,
    folder: Option<Lesson>,
) -> (Problems, Vec<String>, Lesson) {
    let lesson = folder.unwrap_or_else(|| Lesson::new("s01_agent_loop"));
    let (name, arguments) = step.typed.split_once(" -- ").unwrap_or((&step.typed, ""));
    let command = format!("{} {arguments}", program(name.trim()).display());
    let mut bash = Command::new("bash");
    clean_environment(&mut bash, lesson.folder.path());
    let run = bash.arg("-c").arg(command).stdin(Stdio::null()).output();
    let printed = String::from_utf8_lossy(&run.expect("bash runs").stdout).into_owned();
    let printed: Vec<String> = printed
        .lines()
        .map(|line| line.trim_end().to_string())
        .collect();
    let why = difference(&step.shown, &printed, Times::Compared);
    let Step { line, typed, .. } = step;
    let problem = why.map(|why| format!("{page}, line {line}: cargo run --bin {typed}\n{why}"));
    (problem.into_iter().collect(), printed, lesson)
}

#[test]
fn a_line_may_leave_something_out() {
    for (says, prints) in [
        ("a b", "a b"),
        ("…", ""),
        ("a … c", "a b b c"),
        ("a…", "a"),
        ("  └ 0.0 s · … more lines", "  └ 0.3 s · … 9 more lines"),
        ("after 3.0 s · built", "after 3.4 s · built"),
        ("1.2.3 seconds", "1.2.3 seconds"),
    ] {
        assert!(fits(says, prints, Times::Compared), "{says} / {prints}");
    }
    for (says, prints) in [
        ("a b", "a c"),
        ("a", "a b"),
        ("a … d", "a b c"),
        ("wrote 5 bytes", "wrote 6 bytes"),
        ("after 3.0 s", "after 2.0 s"),
        ("after 3.0 s", "after 4.1 s"),
        ("after 0.0 s", "after 3.0 s"),
        ("3.0 seconds", "3.1 seconds"),
    ] {
        assert!(!fits(says, prints, Times::Compared), "{says} / {prints}");
    }
    assert!(fits("after 3.0 s", "after 9.0 s", Times::Ignored));
}

#[test]
fn what_differs_is_told() {
    let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
    let printed = lines("a\nb\nc\nb\nd");
    let told = |says: &str| difference(&lines(says), &printed, Times::Compared);
    for says in [
        "a\nb\nc\nb\nd",
        "…",
        "a\n…",
        "…\nd",
        "a\n…\nb\n…\nb\nd",
        "a\n…\nb\nc\nb\nd",
    ] {
        assert_eq!(told(says), None, "{says}");
    }
    for (says, why) in [
        ("a\nb\nx\nb\nd", "the page says\n  x\nit prints\n  c"),
        ("a\nb", "the page says\n  \nit prints\n  c"),
        ("a\nb\nc\nb\nd\ne", "the page says\n  e\nit prints\n  "),
        ("b\n…", "the page says\n  b\nit prints\n  a"),
        ("…\nc", "which is not in"),
        ("a\n…\nd\n…\nb\n…", "the page says\n  b\nwhich is not in"),
        ("", "it prints\n  a"),
    ] {
        let told = told(says).unwrap_or_else(|| panic!("not told: {says}"));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn sessions_are_read_from_a_page() {
    let page = "# s01\n\n```text\ns01 >> one\n● bash: one\n```\n\nLook with `/messages`,\nand see:\n\n```text\n1 user\n```\n\n```text\ns02 >> two\ns01 >> three\n…\n```\n\n```text\n$ cargo run --bin s01_a -- -p x\nout\n$ kill -9 1\n```\n\n```text\ndrawing\n```\n\n```text\nkey\n```\n";
    let lessons = ["s01_a", "s02_b"].map(str::to_string);
    let page = read(page, &lessons, &["key"]).expect("a page");
    let (sessions, commands, others) = (page.sessions, page.commands, page.others);
    let typed = |session: &Session| {
        let steps = session.steps.iter();
        let steps = steps.map(|step| format!("{}: {}", step.typed, step.shown.join("|")));
        steps.collect::<Vec<_>>()
    };
    assert_eq!(
        typed(&sessions[0]),
        ["one: ● bash: one", "/messages: 1 user", "three: …"]
    );
    assert_eq!(typed(&sessions[1]), ["two: "]);
    assert_eq!((sessions[0].steps[0].line, sessions.len()), (4, 2));
    // Only programs of the course are started.
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].typed, "s01_a -- -p x");
    assert_eq!(commands[0].shown, ["out", "$ kill -9 1"]);
    assert_eq!(others.len(), 1);
}

#[test]
fn a_transcript_that_is_not_true_is_told() {
    let told = |shown: &str| {
        let page = format!("```text\ns01 >> run \"echo a; sleep 1\"\n{shown}\n```\n");
        let sessions = read(&page, &super::lessons(), &[])
            .expect("a page")
            .sessions;
        session_problems("here", &sessions[0], Duration::from_secs(3))
            .0
            .join("\n")
    };
    let good = "● bash: echo a; sleep 1\n  └ 1.0 s · a\na";
    assert_eq!(told(good), "");
    for (from, to) in [
        ("· a", "· b"),
        ("1.0 s", "3.0 s"),
        ("\na", ""),
        ("a; sleep", "b; sleep"),
    ] {
        let told = told(&good.replacen(from, to, 1));
        assert!(told.contains("here, line 2: run"), "{from} → {to}: {told}");
    }
}
