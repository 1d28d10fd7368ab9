//! foundation · What a command prints, line by line as it comes, in bounded memory: what is too much
//! is counted.

use std::mem::{replace, take};

use super::output::readable;

/// A batch keeps at most so many lines,
const MOST_LINES: usize = 20;
/// and so many bytes of each stream.
const MOST_BYTES: usize = 4 * 1024;

/// The first lines of a stretch of output, and how much more there was.
#[derive(Default)]
pub struct Lines {
    text: Vec<u8>,
    lines: usize,
    more_lines: usize,
    more_bytes: usize,
    /// True if the last line has not ended.
    open: bool,
}

/// What a command has printed since the last look: standard output, and standard error.
#[derive(Default)]
pub struct Batch([Lines; 2]);

impl Batch {
    /// Takes a piece of standard output, or of standard error.
    pub fn push(&mut self, is_error: bool, bytes: &[u8]) {
        self.0[usize::from(is_error)].push(bytes);
    }

    /// How much there is, kept or counted.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|it| it.text.len() + it.more_bytes).sum()
    }

    /// What is there; `true` for standard error, which comes when there is no standard output. A line
    /// without its end waits for that, unless it is all there is, or nothing will follow.
    pub fn take(&mut self, is_end: bool) -> Option<(bool, Lines)> {
        let [out, errors] = &mut self.0;
        let out = out.take(is_end).map(|lines| (false, lines));
        out.or_else(|| Some((true, errors.take(is_end)?)))
    }
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8]) {
        self.open = bytes.last().map_or(self.open, |last| *last != b'\n');
        while !bytes.is_empty() && self.lines < MOST_LINES && self.text.len() < MOST_BYTES {
            let line = bytes.split_inclusive(|byte| *byte == b'\n').next();
            let end = line.map_or(0, <[u8]>::len);
            let (kept, rest) = bytes.split_at(end.min(MOST_BYTES - self.text.len()));
            self.text.extend_from_slice(kept);
            self.lines += usize::from(kept.ends_with(b"\n"));
            bytes = rest;
        }
        self.more_bytes += bytes.len();
        self.more_lines += bytes.iter().filter(|byte| **byte == b'\n').count();
    }

    fn take(&mut self, is_end: bool) -> Option<Lines> {
        let last_end = self.text.iter().rposition(|byte| *byte == b'\n');
        let mut taken = take(self);
        if let (Some(at), false, 0) = (last_end, is_end, taken.more_bytes) {
            self.text = taken.text.split_off(at + 1);
            self.open = replace(&mut taken.open, false);
        }
        (!taken.text.is_empty()).then_some(taken)
    }

    /// How many lines there were, kept or not.
    pub fn count(&self) -> usize {
        self.lines + self.more_lines + usize::from(self.open)
    }

    /// As a model reads them.
    pub fn render(&self) -> String {
        let text = readable(&self.text);
        let text = text.trim_end_matches(['\n', '\u{fffd}']);
        match self.more_bytes {
            0 => text.to_string(),
            bytes => format!("{text}\n[… {bytes} bytes more]"),
        }
    }
}
