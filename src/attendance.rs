//! Whether somebody waits for a piece of work, and what follows from that: whether it may ask, and
//! whether it is told of as a task.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Event, Events};
use crate::outcome::Outcome;

/// Somebody waits, or nobody. Clones are about the same piece of work.
///
/// What is promised: `TaskStarted` and `TaskFinished` are emitted in pairs, for work that nobody
/// waited for at its end, also if it panics.
#[derive(Clone)]
pub struct Attendance {
    state: Arc<Mutex<State>>,
    /// Changed only while `state` is locked.
    in_background: Arc<AtomicBool>,
    events: Events,
    id: String,
    what: String,
}

#[derive(Default)]
struct State {
    /// Its thread has come to it: who left before that is found out there.
    begun: bool,
    asking: bool,
    over: bool,
}

/// Why work cannot be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// It has just ended.
    Over,
    /// It is asking a question.
    Asking,
}

impl Attendance {
    /// Of a task with that id, which does what `what` says: a command, a prompt.
    pub fn new(id: &str, what: &str, events: &Events, attended: bool) -> Self {
        let (state, in_background) = (Arc::default(), Arc::new(AtomicBool::new(!attended)));
        let (id, what) = (id.to_string(), what.to_string());
        Attendance {
            state,
            in_background,
            events: events.clone(),
            id,
            what,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// True as soon as nobody waits.
    pub fn in_background(&self) -> &Arc<AtomicBool> {
        &self.in_background
    }

    /// Does the work, on the thread of the task.
    pub fn during(&self, work: impl FnOnce() -> Outcome) -> Outcome {
        {
            let mut state = self.state();
            state.begun = true;
            if self.in_background.load(SeqCst) {
                self.emit_start();
            }
        }
        let mut end = End {
            attendance: self,
            result: "ERROR: the job broke down".to_string(),
        };
        let outcome = work();
        end.result = outcome.to_string();
        outcome
    }

    /// From now on nobody waits. The work does not notice.
    ///
    /// # Errors
    /// When it cannot be left alone: nothing has changed then.
    pub fn leave(&self) -> Result<(), Stays> {
        let state = self.state();
        match (state.over, state.asking) {
            (true, _) => Err(Stays::Over),
            (_, true) => Err(Stays::Asking),
            _ => {
                self.in_background.store(true, SeqCst);
                if state.begun {
                    self.emit_start(); // locked: its end must come after its start
                }
                Ok(())
            }
        }
    }

    /// Asks something, if there is somebody to be asked. Until the answer it cannot be left alone.
    pub fn ask<T>(&self, question: impl FnOnce() -> T) -> Option<T> {
        {
            let mut state = self.state();
            if self.in_background.load(SeqCst) {
                return None;
            }
            state.asking = true;
        }
        let answer = question();
        self.state().asking = false;
        Some(answer)
    }

    fn emit_start(&self) {
        self.events.emit(Event::TaskStarted {
            id: self.id.clone(),
            what: self.what.clone(),
        });
    }
}

/// Notes the end of the work, whatever ends it.
struct End<'a> {
    attendance: &'a Attendance,
    result: String,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = self.attendance.state();
        state.over = true;
        if self.attendance.in_background.load(SeqCst) {
            let (id, result) = (self.attendance.id.clone(), std::mem::take(&mut self.result));
            self.attendance
                .events
                .emit(Event::TaskFinished { id, result });
        }
    }
}
