//! foundation · What the main thread and the keyboard's thread share: what goes on, and who may
//! leave.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::offer::Grey;
use super::status::Status;
use crate::caught::lock;
use crate::inbox::{Inbox, Wake};
use crate::interrupt::Interrupt;
use crate::screen::{Screen, Style};

/// A second Ctrl+C leaves, so soon after one that interrupted a turn.
const SECOND: Duration = Duration::from_secs(1);

const HOW_TO_LEAVE: &str = "To leave: exit, Ctrl+D, or Ctrl+C once more.";

/// What runs beside the conversation, in the lessons where something does.
pub trait Beside: Send + Sync {
    /// What has ended, or has told something, and is to be delivered.
    fn news(&self) -> Vec<String>;
    /// What leaving would end.
    fn running(&self) -> Vec<String>;
    /// All that Tab can name, whether it runs or not.
    fn known(&self) -> Vec<String>;
}

/// What the main thread does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Doing {
    /// It waits for a line.
    Idle,
    /// A turn runs, or a line is there that begins one.
    #[default]
    Working,
    /// It waits for the answer to a question.
    Asking,
}

/// What a key does. It is told what the main thread does, and may have something to say.
pub type OnKey = Arc<dyn Fn(Doing) -> Option<&'static str> + Send + Sync>;

#[derive(Default)]
struct State {
    doing: Doing,
    /// The person was told what leaving would end, or how to leave.
    told: bool,
    /// When Ctrl+C last interrupted a turn.
    interrupted: Option<Instant>,
}

/// Behind an `Arc`; every method may be called on either thread.
pub struct Shared {
    pub screen: Screen,
    pub inbox: Inbox,
    pub interrupt: Interrupt,
    pub beside: OnceLock<Box<dyn Beside>>,
    pub status: Mutex<Status>,
    /// What lessons added, with Ctrl; in the status line there is room for the last hint.
    pub keys: Mutex<Vec<(char, String, OnKey)>>,
    pub grey: Mutex<Grey>,
    state: Mutex<State>,
}

impl Shared {
    pub fn new(screen: Screen, inbox: Inbox) -> Self {
        Shared {
            screen,
            inbox,
            interrupt: Interrupt::default(),
            beside: OnceLock::new(),
            status: Mutex::default(),
            keys: Mutex::default(),
            grey: Mutex::default(),
            state: Mutex::default(),
        }
    }

    pub fn doing(&self) -> Doing {
        lock(&self.state).doing
    }

    pub fn set(&self, doing: Doing) {
        lock(&self.state).doing = doing;
    }

    /// The main thread is about to wait, unless a line is there.
    pub fn rest(&self) {
        let mut state = lock(&self.state);
        if self.inbox.waiting() == 0 {
            state.doing = Doing::Idle;
        }
    }

    /// Enter was pressed: a Ctrl+C from now on is for the turn of that line.
    pub fn line_ends(&self) {
        self.screen.stands.reset();
        if lock(&self.state).doing == Doing::Idle {
            self.interrupt.reset();
        }
    }

    /// A line for the main thread, which is at work from now on: locked, so that the next line
    /// finds it so.
    pub fn put_typed(&self, text: String) {
        let mut state = lock(&self.state);
        let echo = state.doing != Doing::Idle;
        if state.doing == Doing::Working {
            let text = format!("(queued: {})", text.trim());
            self.screen.lines(&text, Style::Dim);
        }
        state.doing = Doing::Working;
        let mut grey = lock(&self.grey); // an offer finds it in one of both
        self.inbox.put(Wake::Line { text, echo });
        grey.typed = false;
    }

    /// Takes the line back that was queued last, if there is one. The bell is for a main thread that
    /// would have found it.
    pub fn take_back(&self) -> Option<String> {
        let state = lock(&self.state);
        let text = (state.doing == Doing::Working).then(|| self.inbox.take_back())??;
        self.inbox.ring();
        let note = format!("(no longer queued: {})", text.trim());
        self.screen.lines(&note, Style::Dim);
        Some(text)
    }

    /// Says what leaving ends, and which results nobody will read.
    pub fn say_what_is_lost(&self) {
        let say = |what, names: Vec<String>| match names.join(", ") {
            names if names.is_empty() => {}
            names => self.screen.say(&format!("{what}: {names}.")),
        };
        if let Some(beside) = self.beside.get() {
            say("Ended, as it was still running", beside.running());
            say("Not delivered any more", beside.news());
        }
    }

    /// A person wishes to leave, or has perhaps (not `sure`). True if they may: they stay the first
    /// time that something would end with it, and are told so.
    pub fn may_leave(&self, sure: bool) -> bool {
        let mut state = lock(&self.state);
        let told = std::mem::replace(&mut state.told, true);
        let twice = state.interrupted.is_some_and(|at| at.elapsed() < SECOND);
        drop(state);
        let running = self.beside.get().map(|beside| beside.running().join(", "));
        match running.as_deref().unwrap_or_default() {
            _ if told => return true,
            "" if sure || twice => return true,
            "" => self.screen.say(HOW_TO_LEAVE),
            running => self.screen.say(&format!(
                "Still running: {running}. Leaving ends that. Once more to leave."
            )),
        }
        false
    }

    /// Ctrl+C during a turn.
    pub fn interrupt_turn(&self) {
        self.interrupt.trigger();
        lock(&self.state).interrupted = Some(Instant::now());
    }

    /// Something else came in between: the next wish to leave is a first one.
    pub fn forget_warning(&self) {
        lock(&self.state).told = false;
    }

    /// Puts a question to the person; its last line is the prompt. What was typed before is no
    /// answer to it: it is set aside.
    ///
    /// # Errors
    /// When the interrupt is triggered, or with Ctrl+C.
    pub fn ask(&self, question: &str, interrupt: &Interrupt) -> Result<String, String> {
        let interrupted = Err("the user interrupted the question".to_string());
        if interrupt.is_triggered() {
            return interrupted;
        }
        let (text, prompt) = question.rsplit_once('\n').unwrap_or(("", question));
        self.set(Doing::Asking);
        self.screen.lines(text, Style::Bold);
        // The line editor may hold the question back: during a history search, say.
        let shown = self.screen.wait_until_shown(interrupt);
        self.inbox.set_aside();
        self.screen.prompt(prompt);
        let wait = || self.inbox.wait([interrupt, &self.interrupt]);
        let answer = loop {
            match if shown { wait() } else { Wake::Interrupted } {
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
