//! foundation · The inbox: where the main thread waits. Everything that it may have to do comes in
//! here.

use std::collections::VecDeque;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};

use crate::caught::lock;
use crate::interrupt::Interrupt;

/// Lines that are read from a pipe before they are wanted.
const READ_AHEAD: usize = 16;

/// What wakes the main thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// A line came in.
    Line {
        /// Without its end.
        text: String,
        /// True if it is to be shown when its turn comes, because it does not stand at the prompt.
        echo: bool,
    },
    /// No more lines will come.
    Leave,
    /// Something ended. What ended stands in a log, so one bell may stand for several.
    News,
    /// Ctrl+C.
    Interrupted,
}

/// Many put into it, one thread takes out.
pub struct Inbox {
    lines: (Sender<Wake>, Receiver<Wake>),
    bell: (Sender<()>, Receiver<()>),
    /// What was there before it was wanted.
    later: Mutex<VecDeque<Wake>>,
}

impl Inbox {
    /// With what is there from the beginning. A pipe is read only a few lines ahead; a person who
    /// types is not kept waiting.
    pub fn new(first: impl IntoIterator<Item = Wake>, person: bool) -> Self {
        let ahead = || bounded(READ_AHEAD);
        Inbox {
            lines: (person.then(unbounded)).unwrap_or_else(ahead),
            bell: bounded(1),
            later: Mutex::new(first.into_iter().collect()),
        }
    }

    /// Something ended. Never blocks: a bell that is there already rings for this, too.
    pub fn ring(&self) {
        let _ = self.bell.0.try_send(());
    }

    /// A line, or the end of them. Blocks while a pipe is too far ahead.
    pub fn put(&self, wake: Wake) {
        let _ = self.lines.0.send(wake);
    }

    /// Put back, to come next.
    pub fn put_back(&self, wake: Wake) {
        lock(&self.later).push_front(wake);
    }

    /// How many lines are there.
    pub fn waiting(&self) -> usize {
        lock(&self.later).len() + self.lines.1.len()
    }

    /// The next line that is there already.
    pub fn try_next(&self) -> Option<Wake> {
        let kept = lock(&self.later).pop_front();
        kept.or_else(|| self.lines.1.try_recv().ok())
    }

    /// Waits for what comes next, or for one of two interrupts: a line goes first, as the interrupt
    /// may be for its turn. Does not look at what was set aside.
    pub fn wait(&self, interrupts: [&Interrupt; 2]) -> Wake {
        select_biased! {
            recv(self.lines.1) -> wake => wake.unwrap_or(Wake::Leave),
            recv(self.bell.1) -> _ => Wake::News,
            recv(interrupts[0].receiver()) -> _ => Wake::Interrupted,
            recv(interrupts[1].receiver()) -> _ => Wake::Interrupted,
        }
    }

    /// Takes the last line out again, if it is one that was typed while there was no prompt for it.
    pub fn take_back(&self) -> Option<String> {
        let mut lines: Vec<Wake> = self.lines.1.try_iter().collect();
        let last = lines.pop().or_else(|| lock(&self.later).pop_back());
        lines.into_iter().for_each(|line| self.put(line));
        match last {
            Some(Wake::Line { text, echo: true }) => return Some(text),
            Some(other) => self.put(other),
            None => {}
        }
        None
    }

    /// Leaves the lines that are there now for later.
    pub fn set_aside(&self) {
        let there = self.lines.1.len();
        lock(&self.later).extend(self.lines.1.try_iter().take(there));
    }
}
