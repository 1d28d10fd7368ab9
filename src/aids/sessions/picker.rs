//! aids · The picker: a session is chosen with keys. It is drawn below the last line, and gone
//! afterwards.

use std::collections::HashSet;
use std::io::{self, Write, stdin, stdout};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::read;

use super::{Row, count, path};
use crate::journal::{self, Journal};
use crate::message::{ContentBlock, Role};
use crate::process::output::readable;
use crate::session::{Past, Record};
use crate::terminal::{fit, size};

const KEYS: &str = "Enter: resume   P: preview   R: rename   B: its forks   Esc: leave";
/// Blocks of a conversation that a preview shows.
const PREVIEWED: usize = 6;
/// How long the rest of a key may take, in milliseconds: Esc is also how the arrows begin.
const REST: u8 = 50;

enum Key {
    Up,
    Down,
    Enter,
    Back,
    Leave,
    Char(char),
    Other,
}

/// A terminal that gives each key at once, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// The next key; at the end of input, the one that leaves.
fn key() -> Key {
    let next = || {
        let mut byte = [0];
        // Not through the standard library, which would take more than this one.
        matches!(read(stdin(), &mut byte), Ok(1)).then_some(byte[0])
    };
    let comes = || {
        let stdin = stdin();
        let mut more = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        poll(&mut more, PollTimeout::from(REST)) == Ok(1)
    };
    match next() {
        None | Some(3 | 4) => Key::Leave,
        Some(b'\r' | b'\n') => Key::Enter,
        Some(8 | 127) => Key::Back,
        Some(0x1b) if !comes() => Key::Leave,
        Some(0x1b) => match (next(), next()) {
            (Some(b'[' | b'O'), Some(b'A')) => Key::Up,
            (Some(b'[' | b'O'), Some(b'B')) => Key::Down,
            _ => Key::Other,
        },
        Some(byte @ ..=0x7e) => Key::Char(byte.into()),
        Some(first) => {
            let rest = (first.leading_ones() as usize).clamp(2, 4) - 1;
            let bytes = std::iter::once(first).chain((0..rest).map_while(|_| next()));
            let text = String::from_utf8(bytes.collect()).unwrap_or_default();
            text.chars().next().map_or(Key::Other, Key::Char)
        }
    }
}

struct Picker {
    rows: Vec<Row>,
    /// The id of the one that Enter takes.
    at: String,
    /// Those whose forks are shown.
    open: HashSet<String>,
    preview: bool,
    /// A new name, while it is typed.
    name: Option<String>,
    /// What went wrong.
    remark: String,
    /// Lines that stand on the screen.
    drawn: usize,
}

/// Lets the person choose. `Err` if none was chosen.
pub fn pick(rows: Vec<Row>) -> Result<String, String> {
    let Ok(_raw) = Raw::new() else {
        return Err("This terminal gives no single keys. /resume NAME works.".to_string());
    };
    let mut picker = Picker {
        at: rows[0].id.clone(),
        rows,
        open: HashSet::new(),
        preview: false,
        name: None,
        remark: String::new(),
        drawn: 0,
    };
    let chosen = loop {
        picker.draw();
        match (key(), picker.name.take()) {
            (Key::Enter, Some(name)) => picker.rename(name.trim()),
            (Key::Leave, Some(_)) => {}
            (key, Some(mut name)) => {
                match key {
                    Key::Back => drop(name.pop()),
                    Key::Char(c) if !c.is_control() => name.push(c),
                    _ => {}
                }
                picker.name = Some(name);
            }
            (Key::Enter, None) => break Ok(picker.at.clone()),
            (Key::Leave | Key::Char('q' | 'Q'), None) => break Err("Nothing chosen.".to_string()),
            (Key::Up | Key::Char('k'), None) => picker.step(-1),
            (Key::Down | Key::Char('j'), None) => picker.step(1),
            (Key::Char('p' | 'P'), None) => picker.preview = !picker.preview,
            (Key::Char('r' | 'R'), None) => picker.name = Some(String::new()),
            (Key::Char('b' | 'B'), None) => picker.browse(),
            _ => {}
        }
    };
    picker.clear();
    let _ = stdout().flush();
    chosen
}

impl Picker {
    /// The rows that are shown: a fork only below a session that was opened.
    fn shown(&self) -> Vec<&Row> {
        let is_shown = |row: &&Row| {
            let mut parents = self.parents(row);
            parents.all(|parent| self.open.contains(&parent.id))
        };
        self.rows.iter().filter(is_shown).collect()
    }

    /// What a row stands under.
    fn parents<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a Row> {
        let parent = |row: &&Row| {
            let above = self.rows.iter().filter(|it| it.depth + 1 == row.depth);
            above
                .into_iter()
                .find(|it| Some(&it.id) == row.parent.as_ref())
        };
        std::iter::successors(parent(&row), parent)
    }

    fn step(&mut self, by: isize) {
        let shown = self.shown();
        let at = shown.iter().position(|row| row.id == self.at);
        let next = at.unwrap_or(0).saturating_add_signed(by);
        self.at = shown[next.min(shown.len() - 1)].id.clone();
    }

    /// Shows the forks of the one that is chosen, or no longer.
    fn browse(&mut self) {
        let forks = self
            .rows
            .iter()
            .any(|row| row.parent.as_ref() == Some(&self.at));
        if !self.open.remove(&self.at) && forks {
            self.open.insert(self.at.clone());
        }
    }

    fn rename(&mut self, name: &str) {
        let renamed = || -> io::Result<bool> {
            let path = path(&self.at);
            let Some(journal) = Journal::hold(&path)? else {
                return Ok(false);
            };
            let extent = journal::read(&path, usize::MAX, |_: Record| Ok(()))?;
            journal.cut(extent.end)?;
            journal.append(&Record::Name(name.to_string()))?;
            Ok(true)
        };
        self.remark = match renamed() {
            _ if name.is_empty() => String::new(),
            Ok(true) => {
                let row = self.rows.iter_mut().find(|row| row.id == self.at);
                row.into_iter().for_each(|row| row.name = name.to_string());
                String::new()
            }
            Ok(false) => "It is in use. There, /rename names it.".to_string(),
            Err(why) => format!("It cannot be renamed: {why}."),
        };
    }

    /// The last blocks of the conversation.
    fn previewed(&self) -> Vec<String> {
        let past = match Past::read(&self.at, usize::MAX, 0) {
            Ok(past) => past,
            Err(why) => return vec![format!("  {why}")],
        };
        let blocks = past.messages.iter().flat_map(|message| {
            let lead = if message.role == Role::User { "> " } else { "" };
            message.content.iter().filter_map(move |block| match block {
                ContentBlock::ToolUse(call) => Some(format!("  ● {} {}", call.name, call.input)),
                block => block.as_text().map(|text| format!("  {lead}{text}")),
            })
        });
        let mut lines: Vec<String> = blocks.collect();
        lines.split_off(lines.len().saturating_sub(PREVIEWED))
    }

    fn draw(&mut self) {
        let (columns, height) = size().unwrap_or((80, 24));
        let shown = self.shown();
        let room = height.saturating_sub(PREVIEWED + 4).max(3);
        let at = shown.iter().position(|row| row.id == self.at).unwrap_or(0);
        let mut lines = Vec::new();
        let first = at.saturating_sub(room - 1);
        for row in shown.iter().skip(first).take(room) {
            let mark = if row.id == self.at { "▸" } else { " " };
            let forks = self
                .rows
                .iter()
                .filter(|it| it.parent.as_ref() == Some(&row.id));
            let forks = match forks.count() {
                0 => String::new(),
                _ if self.open.contains(&row.id) => String::new(),
                forks => format!("  ({})", count(forks, "fork")),
            };
            lines.push(format!("{mark} {}{forks}", row.line()));
        }
        if self.preview {
            lines.extend(self.previewed());
        }
        lines.push(match &self.name {
            Some(name) => format!("New name: {name}▏"),
            None if self.remark.is_empty() => KEYS.to_string(),
            None => self.remark.clone(),
        });
        self.clear();
        let fitted = |line: &String| fit(&readable(line.as_bytes()), columns - 1).0;
        let text: String = lines.iter().map(|line| fitted(line) + "\r\n").collect();
        self.drawn = lines.len();
        let _ = stdout().write_all(text.as_bytes());
        let _ = stdout().flush();
    }

    /// Takes what was drawn off the screen.
    fn clear(&mut self) {
        if self.drawn > 0 {
            let up = format!("\x1b[{}A\r\x1b[J", self.drawn);
            let _ = stdout().write_all(up.as_bytes());
        }
        self.drawn = 0;
    }
}
