//! What a command prints, in bounded memory: the head, the tail, and the whole in a file.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::lock;

/// Kept from the beginning.
const HEAD: usize = 8 * 1024;
/// Kept from the end.
const TAIL: usize = 24 * 1024;
/// The file grows no further than this.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// How the names of such folders begin.
pub(super) const SCRATCH: &str = "meanwhile-";

/// Collects output. At most 32 KiB stay in memory; when there is more, all of it goes to a file of
/// the user's own (mode 0600) of at most 256 MiB, in a folder that goes when the program goes.
#[derive(Default)]
pub struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    bytes: u64,
    lines: u64,
    file: Option<Whole>,
}

struct Whole {
    path: PathBuf,
    /// `None` once writing failed; the file then ends early.
    file: Option<File>,
    written: u64,
}

impl Output {
    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        if self.file.is_none() && self.bytes > (HEAD + TAIL) as u64 {
            let mut whole = Whole::create();
            whole.write(&self.head);
            let (first, second) = self.tail.as_slices();
            whole.write(first);
            whole.write(second);
            self.file = Some(whole);
        }
        if let Some(whole) = &mut self.file {
            whole.write(bytes);
        }
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = rest.get(rest.len().saturating_sub(TAIL)..).unwrap_or(rest);
        let excess = (self.tail.len() + rest.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// How many bytes came so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last line that says something, so far; at most `width` characters of it.
    pub fn last_line(&self, width: usize) -> String {
        let text = self.end();
        let line = text
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        line.chars().take(width).collect()
    }

    /// The last 4 KiB, so far.
    pub fn end(&self) -> String {
        let tail = if self.tail.is_empty() {
            self.head.clone()
        } else {
            self.tail.iter().copied().collect()
        };
        readable(&tail[tail.len().saturating_sub(4 * 1024)..])
    }

    /// All of it as text; or, if it was too long, head and tail cut at line ends, with how much
    /// was left out and where the whole is.
    pub fn render(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let kept = (self.head.len() + tail.len()) as u64;
        let Some(whole) = self.file.as_ref().filter(|_| kept < self.bytes) else {
            return readable(&[&self.head[..], &tail].concat());
        };
        // At line ends; but a line that is longer than half of it all is not given up for that.
        let newline = |byte: &u8| *byte == b'\n';
        let head_end = self
            .head
            .iter()
            .rposition(newline)
            .filter(|at| *at >= HEAD / 2);
        let tail_start = tail.iter().position(newline).filter(|at| *at <= TAIL / 2);
        let (head_end, tail_start) = (
            head_end.map_or(HEAD, |at| at + 1),
            tail_start.map_or(0, |at| at + 1),
        );
        let (head, tail) = (&self.head[..head_end], &tail[tail_start..]);
        let newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        format!(
            "{}\n[… {} lines, {} bytes left out; {} …]\n{}",
            readable(head).trim_end_matches('\n'),
            self.lines - newlines(head) - newlines(tail),
            self.bytes - (head.len() + tail.len()) as u64,
            whole.describe(),
            readable(tail)
        )
    }
}

impl Whole {
    fn create() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let path = scratch_folder().join(format!(
            "output-{}.txt",
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let open = || -> io::Result<File> {
            make_scratch_folder()?;
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
        };
        let file = open().ok();
        Whole {
            path,
            file,
            written: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = (MAX_FILE - self.written).min(bytes.len() as u64);
        let Some(file) = &mut self.file else { return };
        match file.write_all(&bytes[..room as usize]) {
            Ok(()) => self.written += room,
            Err(_) => self.file = None,
        }
    }

    fn describe(&self) -> String {
        let path = self.path.display();
        match &self.file {
            Some(_) if self.written < MAX_FILE => format!("the whole is in {path}"),
            Some(_) => format!("its first {} MiB are in {path}", MAX_FILE / 1024 / 1024),
            None if self.written > 0 => {
                format!(
                    "its first {} bytes are in {path}; the disk took no more",
                    self.written
                )
            }
            None => "the whole could not be written to a file".to_string(),
        }
    }
}

/// Where this program's long outputs go. The folder is made when it is needed; the supervisors
/// remove it when the program has gone, however it went.
pub(super) fn scratch_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("{SCRATCH}{}-{:x}", std::process::id(), now.as_nanos());
        std::env::temp_dir().join(name)
    })
}

/// Its name is no secret: one that is there without our doing is somebody else's.
fn make_scratch_folder() -> io::Result<()> {
    static MADE: Mutex<bool> = Mutex::new(false);
    let mut made = lock(&MADE);
    match DirBuilder::new().mode(0o700).create(scratch_folder()) {
        Err(error) if !(*made && error.kind() == ErrorKind::AlreadyExists) => return Err(error),
        _ => *made = true,
    }
    Ok(())
}

/// Bytes from anywhere as harmless, valid text: what is not UTF-8 becomes `�`, a carriage return
/// begins a new line, and any other control byte is shown (`^[` for escape), not sent.
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
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}
