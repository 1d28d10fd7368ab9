//! foundation · What a command prints, in bounded memory: the head, the tail, and the whole in a file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, OnceLock};

use crate::caught::lock;

/// Kept from the beginning.
const HEAD: usize = 8 * 1024;
/// Kept from the end.
const TAIL: usize = 24 * 1024;
/// The file grows no further than this.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// How many bytes more may go into files: 1 GiB in all, or what `MEANWHILE_OUTPUT_MIB` says.
static ROOM: LazyLock<Mutex<u64>> = LazyLock::new(|| {
    let said = std::env::var("MEANWHILE_OUTPUT_MIB").unwrap_or_default();
    Mutex::new(said.parse::<u32>().map_or(1024, u64::from) << 20)
});

/// The first part of the names of scratch folders.
pub(super) const SCRATCH: &str = "meanwhile-";

/// Collects output. At most 32 KiB stay in memory; when there is more, all of it goes to a file of
/// the user's own (mode 0600) of at most 256 MiB, in a folder that goes when the program goes.
#[derive(Default)]
pub struct Output {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// So far.
    pub bytes: u64,
    lines: u64,
    /// Made when head and tail are full.
    whole: Option<Whole>,
}

/// The file with the whole output.
struct Whole {
    path: PathBuf,
    /// `None` once writing has failed; the file then ends early.
    file: Option<File>,
    written: u64,
}

impl Output {
    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.lines += newlines(bytes);
        if self.whole.is_none() && self.bytes > (HEAD + TAIL) as u64 {
            let mut whole = Whole::create();
            whole.write(&self.head);
            whole.write(&self.tail);
            self.whole = Some(whole);
        }
        if let Some(whole) = &mut self.whole {
            whole.write(bytes);
        }
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = rest.get(rest.len().saturating_sub(TAIL)..).unwrap_or(rest);
        let excess = (self.tail.len() + rest.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend_from_slice(rest);
    }

    /// The last 8 KiB, so far.
    pub fn end(&self) -> String {
        let kept = [&self.tail, &self.head][usize::from(self.tail.is_empty())];
        readable(&kept[kept.len().saturating_sub(8 * 1024)..])
    }

    /// All of it as text; or, if it was too long, head and tail cut at line ends, with how much
    /// was left out and where the whole is.
    pub fn render(&self) -> String {
        let Some(whole) = &self.whole else {
            return readable(&[&self.head[..], &self.tail].concat());
        };
        // At line ends; but a line that is longer than half of it all is cut between characters.
        let is_newline = |byte: &u8| *byte == b'\n';
        let head_end = self.head.iter().rposition(is_newline);
        let head_end = head_end.filter(|at| *at >= HEAD / 2);
        let tail_start = self.tail.iter().position(is_newline);
        let tail_start = tail_start.filter(|at| *at <= TAIL / 2);
        let head = &self.head[..head_end.map_or(HEAD, |at| at + 1)];
        let tail = &self.tail[tail_start.map_or(0, |at| at + 1)..];
        format!(
            "{}\n[… {} lines, {} bytes left out; {} …]\n{}",
            readable(head).trim_end_matches(['\n', '\u{fffd}']),
            self.lines - newlines(head) - newlines(tail),
            self.bytes - (head.len() + tail.len()) as u64,
            whole.describe(self.bytes),
            readable(tail).trim_start_matches('\u{fffd}')
        )
    }
}

pub(super) fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl Whole {
    fn create() -> Self {
        let (path, made) = scratch_path("output");
        let path = path.with_extension("txt");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        Whole {
            file: made.then(|| options.open(&path).ok()).flatten(),
            path,
            written: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let mut left = lock(&ROOM);
        let room = (MAX_FILE - self.written).min(bytes.len() as u64).min(*left);
        *left -= room;
        drop(left);
        match file.write_all(&bytes[..room as usize]) {
            Ok(()) => self.written += room,
            Err(_) => self.file = None,
        }
    }

    fn describe(&self, bytes: u64) -> String {
        let path = self.path.display();
        let is_cut = self.file.is_some() && self.written < bytes.min(MAX_FILE);
        let why = ["", "; no room for such files is left in this session"][usize::from(is_cut)];
        match self.written {
            0 => format!("the whole could not be written to a file{why}"),
            written if written == bytes => format!("the whole is in {path}"),
            written => format!("its first {written} bytes are in {path}{why}"),
        }
    }
}

/// The folder for this program's long outputs. It is made when it is needed; the supervisors remove
/// it when the program has gone, however it went.
pub(super) fn scratch_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let name = format!("{SCRATCH}{}-{:x}", std::process::id(), now.as_nanos());
        std::env::temp_dir().join(name)
    })
}

/// A new path in that folder, and whether the folder is there: its name is not secret, and one that
/// was there before is somebody else's.
pub(super) fn scratch_path(name: &str) -> (PathBuf, bool) {
    static COUNT: Mutex<usize> = Mutex::new(0);
    let mut count = lock(&COUNT);
    let folder = scratch_folder();
    let made = *count > 0 || DirBuilder::new().mode(0o700).create(folder).is_ok();
    *count += usize::from(made);
    (folder.join(format!("{name}-{count}")), made)
}

/// A text without white space at its end, or what is said instead of an empty one.
pub fn text_or(text: &str, instead: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() { instead } else { text }.to_string()
}

/// The last line of a text that says something.
pub fn last_line(text: &str) -> &str {
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or_default()
}

/// Bytes from anywhere as harmless, valid text: what is not UTF-8 becomes `�`, a carriage return
/// begins a new line, and any other control byte is shown (`^[` for escape), not sent; so is what
/// would change the order of the characters around it.
pub fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' => shown.push('\n'),
            '\0'..='\x1f' => shown.extend(['^', (c as u8 + b'@') as char]),
            '\x7f' => shown.push_str("^?"),
            '\u{61c}' | '\u{200e}' | '\u{200f}' => shown.extend(c.escape_unicode()),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => shown.extend(c.escape_unicode()),
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}
