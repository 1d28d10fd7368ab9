//! foundation · A command that is heard while it runs: what it prints, line by line as it comes, in
//! bounded memory. What is too much is counted.

use std::io::{PipeWriter, Write};
use std::mem::{replace, take};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::handle::{Handle, State};
use super::output::{newlines, readable};

/// Of what is printed between two looks, at most so many lines are kept,
const MOST_LINES: u64 = 20;
/// and so many bytes, of each stream.
const MOST_BYTES: usize = 4 * 1024;

/// How it is heard.
pub(super) enum Heard {
    /// What was not taken yet, and the bell for who takes it.
    Taken(Batch, Sender<()>),
    /// All of standard output goes there, and is not kept.
    Read(Arc<PipeWriter>),
}

/// A command of which what it prints can be taken as it comes, standard error apart. The bell rings
/// when there is something to take.
pub fn command(command: &str) -> (Handle, Receiver<()>) {
    let (handle, (ring, bell)) = (Handle::new(command), bounded(1));
    handle.state().heard = Some(Heard::Taken(Batch::default(), ring));
    (handle, bell)
}

impl Handle {
    /// What it has printed since the last call: see [`Batch::take`].
    pub fn take(&self, is_end: bool) -> Option<String> {
        match &mut self.state().heard {
            Some(Heard::Taken(batch, _)) => batch.take(is_end),
            _ => None,
        }
    }

    /// How many bytes it has printed.
    pub fn bytes(&self) -> u64 {
        self.state().output.bytes
    }

    /// Takes a piece of what it prints, on standard error or not.
    pub(super) fn push(&self, is_error: bool, bytes: &[u8]) {
        let mut state = self.state();
        match &mut state.heard {
            Some(Heard::Read(to)) if !is_error => {
                let to = to.clone();
                drop(state); // it may have to wait
                let _ = (&*to).write_all(bytes); // perhaps nobody reads any more
                return;
            }
            Some(Heard::Taken(batch, bell)) => {
                batch.push(is_error, bytes);
                let _ = bell.try_send(()); // one that is there already rings for this, too
            }
            _ => {}
        }
        state.output.push(bytes);
    }
}

impl State {
    /// Whoever reads what it prints comes to the end. False if nobody reads it.
    pub fn end_of_pipe(&mut self) -> bool {
        let is_read = |heard: &mut Heard| matches!(heard, Heard::Read(_));
        self.heard.take_if(is_read).is_some()
    }
}

/// What a command has printed since the last look: standard output, and standard error.
#[derive(Default)]
pub struct Batch([Stream; 2]);

#[derive(Default)]
struct Stream {
    kept: Vec<u8>,
    /// How many lines have ended, kept or not.
    lines: u64,
    /// How many bytes were not kept.
    more: usize,
    /// True if the last line has not ended.
    open: bool,
}

impl Batch {
    /// Takes a piece of standard output, or of standard error.
    pub fn push(&mut self, is_error: bool, bytes: &[u8]) {
        self.0[usize::from(is_error)].push(bytes);
    }

    /// What is there: how many lines, and below that the first of them as a model reads them.
    /// Standard error comes when there is no standard output. A line without its end waits for that,
    /// unless it is all there is, or nothing will follow.
    pub fn take(&mut self, is_end: bool) -> Option<String> {
        let [out, errors] = &mut self.0;
        let out = out.take(is_end, "");
        out.or_else(|| errors.take(is_end, " of standard error"))
    }
}

impl Stream {
    fn push(&mut self, mut bytes: &[u8]) {
        self.open = bytes.last().map_or(self.open, |last| *last != b'\n');
        while !bytes.is_empty() && self.lines < MOST_LINES && self.kept.len() < MOST_BYTES {
            let line = bytes.split_inclusive(|byte| *byte == b'\n').next();
            let end = line.map_or(0, <[u8]>::len);
            let (kept, rest) = bytes.split_at(end.min(MOST_BYTES - self.kept.len()));
            self.kept.extend_from_slice(kept);
            self.lines += newlines(kept);
            bytes = rest;
        }
        self.more += bytes.len();
        self.lines += newlines(bytes);
    }

    fn take(&mut self, is_end: bool, from: &str) -> Option<String> {
        let last_end = self.kept.iter().rposition(|byte| *byte == b'\n');
        let mut taken = take(self);
        if let (Some(at), false, 0) = (last_end, is_end, taken.more) {
            self.kept = taken.kept.split_off(at + 1);
            self.open = replace(&mut taken.open, false);
        }
        let count = taken.lines + u64::from(taken.open);
        let s = if count == 1 { "" } else { "s" };
        let text = readable(&taken.kept);
        let text = text.trim_end_matches(['\n', '\u{fffd}']);
        let more = match taken.more {
            0 => String::new(),
            more => format!("\n[… {more} bytes more]"),
        };
        (count > 0).then(|| format!("{count} line{s}{from}\n{text}{more}"))
    }
}
