//! Facts in pages: what a page says of the program is compared with the program. A transcript is
//! typed again, a quoted message must be one that the program has, and a number has a row here.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use super::transcript::{Times, fits, read, session_problems, shell_problem};
use super::{Block, NEW_TOOLS, Problems, lessons, none, root, short_name, text};

/// Where the truth about a number is.
#[derive(Clone, Copy)]
enum Truth {
    /// In a file of this repository, behind these words.
    Source(&'static str, &'static str),
    /// Nowhere here: an example, a sum that the reader can do, or a fact about the world. The words
    /// stand here, so that nobody changes them without a thought.
    Said,
}
use Truth::{Said, Source};

/// A page, what it says, and where the truth is. `{}` is the number; `{word}` is the same in words.
/// Every number of a page needs its row, except those in code and transcripts, and in code spans
/// that the program has word for word.
const FACTS: &[(&str, &str, Truth)] = &[];

/// Transcripts that cannot be typed into a pipe, by their first words.
const LEFT_OUT: &[(&str, &str)] = &[];

/// Code spans and blocks that are not ours: programs of others, and what the reader makes up.
const NOT_OURS: &[(&str, &str)] = &[];

/// Pages that are not checked here yet. To be emptied.
const NOT_YET: &[&str] = &[];

// ---- Pages ----

/// The pages by the name that rows use, such as `s01`, with their paths.
fn pages() -> Vec<(String, String)> {
    let path = |lesson: &String| format!("lessons/{lesson}/README.md");
    let lessons = lessons().into_iter();
    let pages = lessons.map(|lesson| (short_name(&lesson).to_string(), path(&lesson)));
    let all = pages.chain([("README".to_string(), "README.md".to_string())]);
    all.filter(|(name, _)| !NOT_YET.contains(&name.as_str()))
        .collect()
}

/// A page without its blocks, in one line.
pub fn prose(page: &str) -> String {
    let mut prose = Vec::new();
    let mut fence = None;
    for line in page.lines() {
        let ticks = line.chars().take_while(|c| *c == '`').count();
        match fence {
            Some(open) if ticks >= open => fence = None,
            None if ticks >= 3 => fence = Some(ticks),
            None => prose.extend(line.split_whitespace()),
            Some(_) => {}
        }
    }
    prose.join(" ")
}

/// What stands in backticks, with its place in the prose.
fn spans(prose: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let parts = prose.split('`').map(|part| {
        let start = at;
        at += part.len() + 1;
        (start, part)
    });
    parts.skip(1).step_by(2).collect()
}

// ---- What the program says ----

/// The sources, their string literals with `…` for what is filled in, and all paths.
struct Sources {
    text: String,
    literals: Vec<String>,
    paths: Vec<String>,
}

fn walk(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root()).expect("below the root");
        let name = name.to_str().expect("a name").to_string();
        if name.starts_with('.') || name == "target" || name == "mine" {
            continue;
        }
        if path.is_dir() {
            walk(&path, paths);
        }
        paths.push(name);
    }
}

/// The literals of a line, as they are printed.
fn literals(line: &str) -> Vec<String> {
    let line = line.replace("'\"'", "").replace("\\\"", "\u{1}");
    let quoted = line.split('"').skip(1).step_by(2);
    let printed = quoted.flat_map(|literal| {
        let literal = literal
            .replace('\u{1}', "\"")
            .replace("{{", "")
            .replace("}}", "");
        let mut pattern = String::new();
        for (index, part) in literal.split('{').enumerate() {
            let filled_in = part.split_once('}').filter(|_| index > 0);
            pattern += &filled_in.map_or(part.to_string(), |(_, rest)| format!("…{rest}"));
        }
        let lines = pattern.split("\\n").map(str::to_string);
        lines.collect::<Vec<_>>()
    });
    printed.collect()
}

fn sources() -> &'static Sources {
    static SOURCES: OnceLock<Sources> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut paths = Vec::new();
        walk(root(), &mut paths);
        let is_source = |path: &&String| {
            let in_src = path.starts_with("src/") && !path.ends_with("README.md");
            let file = path.ends_with(".rs") || path.ends_with(".md") && in_src;
            file && (in_src || path.starts_with("lessons/")) || *path == "Cargo.toml"
        };
        let files = paths
            .iter()
            .filter(is_source)
            .filter(|path| root().join(path).is_file());
        let mut all = String::new();
        for file in files {
            let mut lines = text(file)
                .lines()
                .map(str::to_string)
                .collect::<Vec<_>>()
                .into_iter();
            while let Some(mut line) = lines.next() {
                // A literal that goes on in the next line.
                while line.ends_with('\\') {
                    line.pop();
                    line += lines.next().unwrap_or_default().trim_start();
                }
                all += &(line + "\n");
            }
        }
        Sources {
            literals: all.lines().flat_map(literals).collect(),
            text: all,
            paths,
        }
    })
}

/// What the programs print when the transcripts of a page are typed, what is wrong with them, and
/// the blocks that are no transcripts.
struct Replay {
    page: String,
    path: String,
    problems: Problems,
    printed: String,
    others: Vec<Block>,
}

fn replay(page: &str, path: &str) -> Replay {
    let left_out = LEFT_OUT.iter().filter(|(where_, _)| *where_ == page);
    let left_out: Vec<&str> = left_out.map(|(_, start)| *start).collect();
    let (mut problems, mut printed, mut others) = (Problems::new(), Vec::new(), Vec::new());
    match read(&text(path), &lessons(), &left_out) {
        Err(why) => problems.push(format!("{path}: {why}")),
        Ok((sessions, shell, blocks)) => {
            others = blocks;
            let mut folder = None;
            for session in &sessions {
                let (wrong, lines, lesson) = session_problems(path, session);
                problems.extend(wrong);
                printed.extend(lines);
                folder = Some(lesson);
            }
            for step in &shell {
                let (wrong, lines, lesson) = shell_problem(path, step, folder.take());
                problems.extend(wrong);
                printed.extend(lines);
                folder = Some(lesson);
            }
        }
    }
    Replay {
        page: page.to_string(),
        path: path.to_string(),
        problems,
        printed: printed.join("\n"),
        others,
    }
}

/// Once for all tests: it takes a while.
fn replays() -> &'static Vec<Replay> {
    static REPLAYS: OnceLock<Vec<Replay>> = OnceLock::new();
    REPLAYS.get_or_init(|| {
        thread::scope(|scope| {
            let runs = pages().into_iter();
            let runs = runs.map(|(page, path)| scope.spawn(move || replay(&page, &path)));
            let runs: Vec<_> = runs.collect();
            runs.into_iter()
                .map(|run| run.join().expect("a page"))
                .collect()
        })
    })
}

// ---- 7. Transcripts ----

#[test]
fn the_transcripts_of_the_pages_are_what_the_programs_print() {
    none(
        replays()
            .iter()
            .flat_map(|it| it.problems.clone())
            .collect(),
    );
}

// ---- 8. Words that are quoted ----

/// Whether the program has these words: as they are, or, with its `…` and its numbers, as a part of
/// a message; or as a whole message, in which something is filled in.
fn is_message(words: &str, sources: &Sources) -> bool {
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
    let words = words.strip_prefix("ERROR: ").unwrap_or(words);
    let words = words
        .strip_prefix('(')
        .and_then(|it| it.strip_suffix(')'))
        .unwrap_or(words);
    let pieces = || {
        let pieces = words.split(|c: char| c == '…' || c.is_ascii_digit());
        pieces.filter(|piece| !piece.trim().is_empty())
    };
    let holds = |literal: &String| {
        let mut rest = literal.as_str();
        let mut pieces = pieces();
        pieces.all(|piece| {
            let found = rest.split_once(piece);
            rest = found.map_or("", |(_, after)| after);
            found.is_some()
        })
    };
    let fills = |literal: &String| {
        letters(literal) >= 8 && fits(&format!("…{literal}…"), words, Times::Ignored)
    };
    letters(words) >= 4
        && sources
            .literals
            .iter()
            .any(|literal| holds(literal) || fills(literal))
}

/// Whether these words of a page are what they seem to be.
fn is_ours(words: &str, page: &str, own: &str, sources: &Sources) -> bool {
    let outside = NOT_OURS
        .iter()
        .any(|(where_, it)| *where_ == page && *it == words);
    let name = words.trim_end_matches('/');
    let is_path = |path: &String| path == name || path.ends_with(&format!("/{name}"));
    let program = words.strip_prefix("cargo run --").and_then(|it| {
        let (_, name) = it.split_once("bin ")?;
        Some(name.split(' ').next().unwrap_or_default())
    });
    match program {
        Some(program) => sources.text.contains(&format!("\nname = \"{program}\"\n")),
        None => {
            outside
                || own.contains(words)
                || sources.text.contains(words)
                || sources.paths.iter().any(is_path)
                || !super::stated(words).is_empty()
                || is_message(words, sources)
        }
    }
}

/// All blocks of a page: what is in them is checked elsewhere.
fn in_blocks(page: &str) -> String {
    let outside = |line: &&str| !line.starts_with("```");
    let mut inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(line);
        }
    }
    lines
        .into_iter()
        .filter(outside)
        .collect::<Vec<_>>()
        .join("\n")
}

fn quote_problems(replay: &Replay, page: &str) -> Problems {
    let (path, sources) = (&replay.path, sources());
    let own = format!("{}\n{}", in_blocks(page), replay.printed);
    let prose = prose(page);
    let strange = |(_, words): &(usize, &str)| !is_ours(words, &replay.page, &own, sources);
    let spans = spans(&prose).into_iter().filter(strange);
    let mut problems: Problems = spans
        .map(|(_, words)| format!("{path}: `{words}`: neither sources nor transcripts have this. If it is not ours to have, name it in NOT_OURS (tests/course/facts.rs)."))
        .collect();
    let is_drawing = |block: &&Block| {
        let marks = ["──", "▶", "◀", "▼", "▲", "|---"];
        block
            .code
            .iter()
            .any(|line| marks.iter().any(|mark| line.contains(mark)))
    };
    for block in replay.others.iter().filter(|block| !is_drawing(block)) {
        let strange = block.code.iter().find(|line| {
            let line = line.trim();
            let shown = replay
                .printed
                .lines()
                .any(|it| fits(line, it.trim(), Times::Compared));
            let outside = NOT_OURS
                .iter()
                .any(|(where_, it)| *where_ == replay.page && *it == line);
            !shown
                && !outside
                && !line.is_empty()
                && line != "…"
                && !sources.text.contains(line)
                && !is_message(line, sources)
        });
        problems.extend(strange.map(|line| format!("{path}: the block in line {}: neither sources nor transcripts have this line:\n  {line}\nPut the prompt that brings it before it, or its command in backticks at the end of the line above the block.", block.line)));
    }
    problems
}

#[test]
fn what_the_pages_quote_is_there() {
    let problems = |it: &Replay| quote_problems(it, &text(&it.path));
    none(replays().iter().flat_map(problems).collect());
}

// ---- 9. Numbers ----

/// The number behind these words in a file.
fn number(path: &str, before: &str) -> Result<u64, String> {
    let file = text(path);
    let (_, rest) = file
        .split_once(before)
        .ok_or(format!("tests/course/facts.rs: {path} has no {before:?}"))?;
    let digits: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '_')
        .filter(|c| *c != '_')
        .collect();
    let number = digits.parse();
    number.map_err(|_| format!("tests/course/facts.rs: no number follows {before:?} in {path}"))
}

/// `100,000`
fn in_digits(number: u64) -> String {
    let digits = number.to_string();
    let start = |index: usize| index > 0 && (digits.len() - index).is_multiple_of(3);
    let digit = |(index, digit)| {
        if start(index) {
            format!(",{digit}")
        } else {
            format!("{digit}")
        }
    };
    digits.chars().enumerate().map(digit).collect()
}

fn in_words(number: u64) -> String {
    const WORDS: [&str; 13] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    WORDS
        .get(number)
        .map_or_else(|| in_digits(number as u64), |it| it.to_string())
}

/// A sentence of a page as it must be.
fn true_words(says: &str, truth: Truth) -> Result<String, String> {
    let Source(path, before) = truth else {
        return Ok(says.to_string());
    };
    let number = number(path, before)?;
    Ok(says
        .replace("{}", &in_digits(number))
        .replace("{word}", &in_words(number)))
}

/// How many tools a lesson offers: the test of the tools asks the program.
fn tools(lesson: &str) -> usize {
    let until = NEW_TOOLS
        .iter()
        .take_while(|(name, _)| short_name(name) <= lesson);
    until.map(|(_, new)| new.len()).sum()
}

/// The rows of a page: those above, and those that every page of a lesson has.
fn rows(page: &str) -> Vec<(String, Truth)> {
    let rows = FACTS.iter().filter(|(where_, ..)| *where_ == page);
    let mut rows: Vec<(String, Truth)> = rows
        .map(|(_, says, truth)| (says.to_string(), *truth))
        .collect();
    let lessons = lessons();
    let lines = |lesson: &String| text(format!("lessons/{lesson}/main.rs")).lines().count();
    if let Some(index) = lessons.iter().position(|it| short_name(it) == page) {
        let now = lines(&lessons[index]);
        let before = index.checked_sub(1).map(|before| lines(&lessons[before]));
        let before = before.map_or("–".to_string(), |before| format!("{before} lines"));
        rows.push((format!("| `main.rs` | {before} | {now} lines ("), Said));
        let before = index
            .checked_sub(1)
            .map_or("s00", |before| short_name(&lessons[before]));
        if page >= "s05" {
            let (before, now) = (tools(before), tools(page));
            rows.push((format!("| Tools | {before}"), Said));
            rows.push((
                format!(" | {}{now}", if now == before { "the same " } else { "" }),
                Said,
            ));
        }
    }
    rows
}

fn number_problems(page: &str, path: &str, content: &str) -> Problems {
    let prose = prose(content);
    let (mut problems, mut covered) = (Problems::new(), Vec::new());
    for (says, truth) in rows(page) {
        match true_words(&says, truth) {
            Err(why) => problems.push(why),
            Ok(words) if !prose.contains(&words) => problems.push(match truth {
                Source(file, _) => format!("{path} does not say \"{words}\", and that is what {file} says"),
                Said => format!("{path} does not say \"{words}\" any more. If it is right as it is now, change it in tests/course/facts.rs, too."),
            }),
            Ok(words) => {
                covered.extend(prose.match_indices(&words).map(|(at, it)| at..at + it.len()));
            }
        }
    }
    let verbatim = |words: &str| sources().text.contains(words) || !super::stated(words).is_empty();
    let spans = spans(&prose);
    let known = spans
        .iter()
        .filter(|(_, words)| verbatim(words) || words.starts_with("cargo run"));
    covered.extend(known.map(|(at, words)| *at..at + words.len()));
    let mut at = 0;
    for word in prose.split(' ') {
        let place = at;
        at += word.len() + 1;
        let digit = word.find(|c: char| c.is_ascii_digit());
        let Some(digit) = digit.filter(|_| page != "README") else {
            continue;
        };
        let is_covered = covered.iter().any(|range| range.contains(&(place + digit)));
        if !is_covered && !is_lesson(word) {
            let around: Vec<&str> = prose
                .split_at(prose.floor_char_boundary(place.saturating_sub(30)))
                .1
                .splitn(12, ' ')
                .collect();
            let around = around[..around.len() - 1].join(" ");
            problems.push(format!("{path}: no row of FACTS (tests/course/facts.rs) is about the number in \"… {around} …\""));
        }
    }
    problems
}

/// `s06`, `[s06](../s06_context_compact/README.md)`, `(s06)`
fn is_lesson(word: &str) -> bool {
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let mut chars = word.chars();
    chars.next() == Some('s') && chars.by_ref().take(2).all(|c| c.is_ascii_digit())
}

#[test]
fn the_numbers_of_the_pages_are_true() {
    let problems = |(page, path): (String, String)| number_problems(&page, &path, &text(&path));
    none(pages().into_iter().flat_map(problems).collect());
}
