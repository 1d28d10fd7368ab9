//! foundation · What the main thread and the keyboard's thread share: what goes on, and who may
//! leave.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::inbox::{Inbox, Wake};
use crate::interrupt::Interrupt;
use crate::screen::{Screen, Style};

/// A second Ctrl+C leaves, so soon after one that interrupted a turn.
const SECOND: Duration = Duration::from_secs(1);

const HOW_TO_LEAVE: &str = "To leave: exit, Ctrl+D, or Ctrl+C once more.";

/// What runs beside the conversation, in the lessons where something does.
pub trait Beside: Send + Sync {
    /// True if something has ended, and is to be delivered.
    fn has_news(&self) -> bool;
    /// What leaving would end.
    fn running(&self) -> Vec<String>;
}

/// What the main thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It waits for a line.
    Idle,
    /// A turn runs, or a line is there that begins one.
    Working,
    /// It waits for the answer to a question.
    Asking,
}

struct State {
    doing: Doing,
    /// The person was told what leaving would end.
    warned: bool,
    /// The person was told how to leave.
    told: bool,
    /// When Ctrl+C last interrupted a turn.
    interrupted: Option<Instant>,
}

/// Behind an `Arc`; every method may be called on either thread.
pub struct Shared {
    pub screen: Arc<Screen>,
    pub inbox: Inbox,
    pub interrupt: Interrupt,
    pub beside: OnceLock<Box<dyn Beside>>,
    state: Mutex<State>,
}

impl Shared {
    pub fn new(screen: Arc<Screen>, inbox: Inbox, interrupt: Interrupt) -> Self {
        Shared {
            screen,
            inbox,
            interrupt,
            beside: OnceLock::new(),
            state: Mutex::new(State {
                doing: Doing::Working,
                warned: false,
                told: false,
                interrupted: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn doing(&self) -> Doing {
        self.state().doing
    }

    pub fn set(&self, doing: Doing) {
        self.state().doing = doing;
    }

    /// The main thread is about to wait, unless a line is there.
    pub fn rest(&self) {
        let mut state = self.state();
        if self.inbox.is_empty() {
            state.doing = Doing::Idle;
        }
    }

    /// A line for the main thread, which is at work from now on: locked, so that the next line
    /// finds it so.
    pub fn put_typed(&self, text: String) {
        let mut state = self.state();
        let echo = state.doing != Doing::Idle;
        match state.doing {
            Doing::Working => {
                let (count, line) = (self.inbox.len() + 1, text.trim());
                self.screen
                    .lines(&format!("(queued, {count}: {line})"), Style::Dim);
            }
            Doing::Idle => {
                state.doing = Doing::Working;
                self.interrupt.reset(); // a Ctrl+C from now on is for the turn of this line
            }
            Doing::Asking => {}
        }
        self.inbox.put(Wake::Line { text, echo });
    }

    /// Leaving ends what runs beside. A person is told so once, and asked to say it again: false
    /// then. Where nobody is there, it is said, and done.
    pub fn may_leave(&self, person: bool) -> bool {
        let beside = self.beside.get();
        let running = beside.map_or(Vec::new(), |beside| beside.running());
        if running.is_empty() {
            return true;
        }
        let running = running.join(", ");
        if person && !std::mem::replace(&mut self.state().warned, true) {
            let text = "Leaving ends that. Once more to leave.";
            self.screen
                .say(&format!("Still running: {running}. {text}"));
            return false;
        }
        self.screen
            .say(&format!("Ended, as it was still running: {running}."));
        true
    }

    /// Something else came in between: the next wish to leave is a first one.
    pub fn forget_warning(&self) {
        let mut state = self.state();
        (state.warned, state.told) = (false, false);
    }

    /// Ctrl+C during a turn interrupts it. False if that had happened before: so it is the second.
    pub fn interrupt_turn(&self) -> bool {
        let first = !self.interrupt.is_triggered();
        if first {
            self.interrupt.trigger();
            self.state().interrupted = Some(Instant::now());
        }
        first
    }

    /// Ctrl+C at an empty prompt. True if it leaves: the second one does.
    pub fn leaves_at_prompt(&self) -> bool {
        let mut state = self.state();
        let just_now = state.interrupted.is_some_and(|at| at.elapsed() < SECOND);
        let leaves = state.told || state.warned || just_now;
        if !leaves {
            state.told = true;
            self.screen.say(HOW_TO_LEAVE);
        }
        leaves
    }

    /// Puts a question to the person; its last line is the prompt. What was typed before is no
    /// answer to it: it is set aside.
    ///
    /// # Errors
    /// When the interrupt is triggered.
    pub fn ask(&self, question: &str, interrupt: &Interrupt) -> Result<String, String> {
        let interrupted = Err("the user interrupted the question".to_string());
        let (text, prompt) = question.rsplit_once('\n').unwrap_or(("", question));
        self.set(Doing::Asking);
        self.screen.lines(text, Style::Bold);
        // The line editor may hold the question back: during a history search, say.
        let shown = self.screen.wait_until_shown(interrupt);
        self.inbox.set_aside(|_| true);
        self.screen.prompt(prompt);
        let answer = loop {
            if !shown {
                break interrupted;
            }
            match self.inbox.wait(interrupt) {
                Wake::Line { text, .. } => break Ok(text),
                Wake::News => {}
                Wake::Leave => {
                    self.inbox.put_back(Wake::Leave);
                    break Ok("no".to_string());
                }
                Wake::Interrupted => break interrupted,
            }
        };
        self.screen.close_typed();
        self.set(Doing::Working);
        answer
    }
}
