//! s13 · The sessions there are, newest first, each fork under what it comes from.

use std::fs;
use std::path::Path;

use super::kept::now;
use super::record::Past;
use crate::terminal::fit;

/// Columns of a name, and of a first line.
const NAME: usize = 20;
const FIRST: usize = 40;

/// A session, and how deep it stands under others.
pub struct Row {
    pub id: String,
    pub past: Past,
    pub depth: usize,
}

/// All that can be read, and why others cannot.
pub fn all(folder: &Path) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut left, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else {
            continue;
        };
        match Past::read(folder, id) {
            Ok(past) => {
                let messages = Vec::new(); // not all of them at once
                let (id, past, depth) = (id.to_string(), Past { messages, ..past }, 0);
                left.push(Row { id, past, depth });
            }
            Err(why) => problems.push(why),
        }
    }
    left.sort_by(|one, other| (other.past.time, &one.id).cmp(&(one.past.time, &other.id)));
    while let Some(mut top) = left.first() {
        while let Some(parent) = left.iter().find(|row| is_parent(row, top)) {
            top = parent;
        }
        let id = top.id.clone();
        place(&id, 0, &mut left, &mut rows);
    }
    (rows, problems)
}

fn is_parent(row: &Row, fork: &Row) -> bool {
    fork.past
        .parent
        .as_ref()
        .is_some_and(|(id, _)| *id == row.id)
}

/// Moves a session, and its forks after it.
fn place(id: &str, depth: usize, left: &mut Vec<Row>, rows: &mut Vec<Row>) {
    let Some(at) = left.iter().position(|row| row.id == id) else {
        return;
    };
    let row = Row {
        depth,
        ..left.remove(at)
    };
    let forks = left.iter().filter(|fork| is_parent(&row, fork));
    let forks: Vec<String> = forks.map(|fork| fork.id.clone()).collect();
    rows.push(row);
    for fork in forks {
        place(&fork, depth + 1, left, rows);
    }
}

impl Row {
    /// What people call it.
    pub fn name(&self) -> &str {
        self.past.name.as_deref().unwrap_or(&self.id)
    }

    /// Its name, age, turns and first line.
    pub fn line(&self) -> String {
        let indent = "  ".repeat(self.depth);
        let (name, _) = fit(&format!("{indent}{}", self.name()), NAME);
        let (first, _) = fit(&self.past.first, FIRST);
        let (age, turns) = (age(self.past.time), count(self.past.turns, "turn"));
        format!("{name:<NAME$}  {age:>8}  {turns:>8}  {first}")
    }
}

/// A number of things.
pub fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// How long ago that was.
pub fn age(time: u64) -> String {
    match now().saturating_sub(time) / 1000 {
        0..60 => "just now".to_string(),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A line for each session, with its number.
pub fn numbered(folder: &Path) -> String {
    let (rows, problems) = all(folder);
    let lines = rows.iter().enumerate();
    let lines = lines.map(|(at, row)| format!("{:>3}  {}", at + 1, row.line()));
    let lines: Vec<String> = lines.chain(problems).collect();
    match lines.is_empty() {
        true => "No sessions so far.".to_string(),
        false => lines.join("\n"),
    }
}

/// The id of a session, by its name, its id, its number in the list, or a beginning that no other has.
///
/// # Errors
/// When there is none, or more than one: in a sentence.
pub fn find(folder: &Path, word: &str) -> Result<String, String> {
    let (rows, _) = all(folder);
    let is_it = |row: &&Row| row.id == word || row.name() == word;
    if let Some(row) = rows.iter().find(is_it) {
        return Ok(row.id.clone());
    }
    let number = word.parse::<usize>().ok().and_then(|it| it.checked_sub(1));
    if let Some(row) = number.and_then(|at| rows.get(at)) {
        return Ok(row.id.clone());
    }
    let begins = |row: &&Row| row.id.starts_with(word) || row.name().starts_with(word);
    let found: Vec<&Row> = rows.iter().filter(begins).collect();
    match found[..] {
        [row] => Ok(row.id.clone()),
        [] => Err(format!("there is no session {word:?}. /resume lists them.")),
        _ => {
            let names: Vec<&str> = found.iter().map(|row| row.name()).collect();
            Err(format!(
                "several begin with {word:?}: {}.",
                names.join(", ")
            ))
        }
    }
}
