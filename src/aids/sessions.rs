//! aids · The sessions there are: a list of them, and which one a word means.

mod picker;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::journal::{now, read};
use crate::message::ContentBlock;
use crate::repl::Repl;
use crate::session::{FOLDER, Record};
use crate::terminal::{fit, is_interactive};

/// Columns of a name, and of a first line.
const NAME: usize = 20;
const FIRST: usize = 50;

/// One session, as the list shows it.
struct Row {
    id: String,
    name: String,
    parent: Option<String>,
    /// When something was said last.
    time: u64,
    /// Turns that came to their end here.
    turns: usize,
    /// The first prompt.
    first: String,
    /// Under how many others it stands.
    depth: usize,
}

/// Adds `/resume`, with a picker where a person can press keys, and names for ids.
pub fn attach(repl: &mut Repl) {
    let what = "go on with another session; alone: choose one";
    let choose = |word: &str| {
        let (rows, problems) = all();
        let id = match word {
            "" if rows.is_empty() => Err("No sessions so far.".to_string()),
            "" if is_interactive() => picker::pick(rows),
            "" => Err(numbered(&rows, problems)),
            word => find(&rows, word),
        };
        id.map(|id| format!("/resume {id}"))
    };
    repl.choice("/resume [NAME]", what, Arc::new(choose));
}

/// Where a session is.
pub fn path(id: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(format!("{id}.jsonl"))
}

/// The id of the session that a word means.
///
/// # Errors
/// When there is none, or more than one: in a sentence.
pub fn named(word: &str) -> Result<String, String> {
    find(&all().0, word)
}

/// The ids of all sessions.
pub fn ids() -> Vec<String> {
    let files = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let ids = names.filter_map(|name| name.strip_suffix(".jsonl").map(str::to_string));
    ids.collect()
}

/// All that can be read, newest first, each fork under what it comes from; and why others cannot be
/// read.
fn all() -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut left, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for id in ids() {
        match Row::read(&id) {
            Ok(row) => left.push(row),
            Err(why) => problems.push(format!("{id} cannot be read: {why}.")),
        }
    }
    left.sort_by(|one, other| (other.time, &one.id).cmp(&(one.time, &other.id)));
    while let Some(newest) = left.first() {
        // Its group begins with the session that all of it comes from. In a circle, with any.
        let mut top = newest;
        for _ in 0..left.len() {
            let parent = left.iter().find(|row| Some(&row.id) == top.parent.as_ref());
            top = parent.unwrap_or(top);
        }
        let id = top.id.clone();
        place(&id, 0, &mut left, &mut rows);
    }
    (rows, problems)
}

/// Moves a session, and its forks after it.
fn place(id: &str, depth: usize, left: &mut Vec<Row>, rows: &mut Vec<Row>) {
    let Some(at) = left.iter().position(|row| row.id == id) else {
        return;
    };
    let row = left.remove(at);
    rows.push(Row { depth, ..row });
    let forks = left.iter().filter(|row| row.parent.as_deref() == Some(id));
    let forks: Vec<String> = forks.map(|fork| fork.id.clone()).collect();
    for fork in forks {
        place(&fork, depth + 1, left, rows);
    }
}

impl Row {
    fn read(id: &str) -> io::Result<Self> {
        let mut row = Row {
            id: id.to_string(),
            name: id.to_string(),
            parent: None,
            time: 0,
            turns: 0,
            first: String::new(),
            depth: 0,
        };
        read(&path(id), usize::MAX, |record| {
            match record {
                Record::Opened(opened) => {
                    row.time = row.time.max(opened.time);
                    row.parent = row.parent.take().or(opened.parent.map(|(id, _)| id));
                }
                Record::Name(name) => row.name = name,
                Record::Said(said) => {
                    row.time = said.time;
                    let blocks = said.messages.iter().flat_map(|message| &message.content);
                    let calls = |block| matches!(block, &ContentBlock::ToolUse(_));
                    let is_end = said.usage.is_some() && !blocks.clone().any(calls);
                    row.turns += usize::from(is_end);
                    let mut prompts = blocks.filter(|block| block.is_prompt());
                    if row.first.is_empty()
                        && let Some(text) = prompts.next().and_then(ContentBlock::as_text)
                    {
                        row.first = text.to_string();
                    }
                }
                Record::Agent(..) | Record::Task(..) | Record::Extra(..) => {}
            }
            Ok(())
        })?;
        Ok(row)
    }

    /// Its name, age, turns and first line.
    fn line(&self) -> String {
        let name = format!("{}{}", "  ".repeat(self.depth), self.name);
        let (first, _) = fit(&self.first, FIRST);
        let (name, turns) = (fit(&name, NAME).0, count(self.turns, "turn"));
        let age = age(self.time);
        format!("{name:<NAME$}  {age:>8}  {turns:>8}  {first}")
    }
}

fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// How long ago that was.
fn age(time: u64) -> String {
    match now().saturating_sub(time) / 1000 {
        0..60 => "just now".to_string(),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => count((seconds / 86_400) as usize, "day"),
    }
}

fn numbered(rows: &[Row], problems: Vec<String>) -> String {
    let lines = rows.iter().enumerate();
    let lines = lines.map(|(at, row)| format!("{:>3}  {}", at + 1, row.line()));
    let how = "To go on with one: its number, its name, or how that begins.";
    let lines = lines.chain(problems).chain([how.to_string()]);
    lines.collect::<Vec<_>>().join("\n")
}

/// The id of the session with this name (the last one that was used), id or number, or of the only
/// one that begins so.
fn find(rows: &[Row], word: &str) -> Result<String, String> {
    let is_it = |row: &&Row| row.id == word || row.name == word;
    let begins = |row: &&Row| row.id.starts_with(word) || row.name.starts_with(word);
    let number = word.parse::<usize>().ok().and_then(|it| it.checked_sub(1));
    let called_so = rows
        .iter()
        .filter(is_it)
        .max_by_key(|row| (row.id == word, row.time));
    let mut found: Vec<&Row> = called_so.into_iter().collect();
    if found.is_empty() {
        found.extend(number.and_then(|at| rows.get(at)));
    }
    if found.is_empty() {
        found.extend(rows.iter().filter(begins));
    }
    match found[..] {
        [row] => Ok(row.id.clone()),
        [] => Err(format!("There is no session {word:?}. /resume lists them.")),
        _ => {
            let ids: Vec<&str> = found.iter().map(|row| row.id.as_str()).collect();
            let ids = ids.join(", ");
            Err(format!("Several sessions begin so: {ids}."))
        }
    }
}
