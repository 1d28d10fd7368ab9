//! What the main thread and the keyboard's thread share: what is going on, and the commands that
//! need no agent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::status::Status;
use super::task_list;
use crate::aids::timeline::Timeline;
use crate::background::{BackgroundExecutor, lock};
use crate::foreground::MoveKey;
use crate::interrupt::Interrupt;
use crate::keyboard::is_leaving;
use crate::screen::{Screen, Style};
use crate::terminal;

/// Behind an `Arc`; every method may be called on either thread.
pub(crate) struct Shared {
    pub screen: Arc<Screen>,
    pub timeline: Timeline,
    pub interrupt: Interrupt,
    pub status: Arc<Status>,
    /// True from one `read` to the next.
    pub busy: AtomicBool,
    /// True while a question is open.
    pub asking: AtomicBool,
    /// Lines that were shown as queued.
    queued: AtomicUsize,
    /// True once the person was told what leaving would end.
    warned: AtomicBool,
    commands: Mutex<Vec<(&'static str, &'static str)>>,
    scenario: Vec<String>,
    /// Whose results wake the prompt, from s09 on.
    pub executor: OnceLock<Arc<Mutex<BackgroundExecutor>>>,
    /// Ctrl+B, from s11 on.
    pub key: OnceLock<MoveKey>,
}

impl Shared {
    pub fn new(
        screen: &Arc<Screen>,
        timeline: &Timeline,
        interrupt: &Interrupt,
        status: &Arc<Status>,
        scenario: &[String],
    ) -> Self {
        let commands = vec![
            ("/help", "this list"),
            ("/clear", "begin a new conversation"),
            ("/timeline", "draw the last turn"),
            ("/exit", "leave; also exit, q, Ctrl+D"),
        ];
        Shared {
            screen: screen.clone(),
            timeline: timeline.clone(),
            interrupt: interrupt.clone(),
            status: status.clone(),
            busy: AtomicBool::new(false),
            asking: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            warned: AtomicBool::new(false),
            commands: Mutex::new(commands),
            scenario: scenario.to_vec(),
            executor: OnceLock::new(),
            key: OnceLock::new(),
        }
    }

    fn commands(&self) -> Vec<(&'static str, &'static str)> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A slash command that is somebody else's to carry out.
    pub fn add_command(&self, name: &'static str, what: &'static str) {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, what));
    }

    /// Carries out what needs no agent. False if the line is for somebody else.
    pub fn carry_out(&self, line: &str) -> bool {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let say = |text: &str| self.screen.say(text);
        let tasks = self.executor.get().filter(|_| self.key.get().is_some());
        match (command, rest.trim(), tasks) {
            ("", ..) => say("Nothing typed. /help shows what can be done here."),
            ("/help", "", _) => self.help(),
            ("/timeline", "", _) => {
                let width = terminal::size().map_or(80, |(columns, _)| columns.min(120));
                say(&self.timeline.text(width - 1));
            }
            ("/tasks", "", Some(executor)) => say(&task_list::all(&mut lock(executor))),
            ("/tasks", id, Some(executor)) => say(&task_list::one(&mut lock(executor), id)),
            ("/stop", id, Some(executor)) => say(&task_list::stop(&mut lock(executor), id)),
            _ if line.starts_with('/')
                && !is_leaving(line)
                && !self.commands().iter().any(|(name, _)| *name == line) =>
            {
                let command: String = line.chars().take(40).collect();
                say(&format!(
                    "There is no command {command}. /help lists the commands."
                ));
            }
            _ => return false,
        }
        true
    }

    fn help(&self) {
        for (name, what) in self.commands() {
            self.screen.say(&format!("  {name:<11} {what}"));
        }
        if self.key.get().is_some() {
            self.screen.say("  ! COMMAND   run a command yourself\n  Ctrl+B      what runs in the foreground goes on in the background");
        }
        self.screen.say("  Ctrl+C      drop the line; while the agent works: interrupt it\nAnything else goes to the agent. \"help\" asks the practice model for its phrases. Try:");
        self.scenario
            .iter()
            .for_each(|line| self.screen.say(&format!("  {line}")));
    }

    /// True if a line that is typed now must wait for the end of the turn, and that is shown.
    pub fn is_queueing(&self) -> bool {
        self.key.get().is_some() && self.busy.load(SeqCst) && !self.asking.load(SeqCst)
    }

    /// A line was typed. True if it must wait for the end of the turn, and that was shown.
    pub fn note_queued(&self, line: &str) -> bool {
        let waits = self.is_queueing();
        if waits {
            let count = self.queued.fetch_add(1, SeqCst) + 1;
            self.screen
                .lines(&format!("(queued, {count}: {line})"), Style::Dim);
        }
        waits
    }

    /// The next line is about to be carried out. True if it was shown as queued.
    pub fn take_queued(&self) -> bool {
        self.queued
            .fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1))
            .is_ok()
    }

    /// Ctrl+B. True if the key was used up.
    pub fn move_to_background(&self, line_is_empty: bool) -> bool {
        let Some(key) = self.key.get() else {
            return false;
        };
        if !self.busy.load(SeqCst) && !line_is_empty {
            return false; // one to the left, as ever
        }
        if !key.press() {
            self.screen
                .say("Nothing runs in the foreground that could be sent to the background.");
        }
        true
    }

    /// Leaving ends what runs in the background. A person is told so once, and asked to say it
    /// again: false then. Where nobody is there, it is said, and done.
    pub fn may_leave(&self, person: bool) -> bool {
        let running = self.executor.get().map(|executor| {
            let mut executor = lock(executor);
            let mut running = executor.running();
            running.retain(|id| !executor.in_foreground(id));
            running
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        });
        match running.as_deref().unwrap_or_default() {
            "" => true,
            running if person && !self.warned.swap(true, SeqCst) => {
                self.screen.say(&format!(
                    "Still running: {running}. Leaving ends that. Once more to leave."
                ));
                false
            }
            running => {
                self.screen
                    .say(&format!("Ended, as it was still running: {running}."));
                true
            }
        }
    }

    /// True if the next wish to leave is the second one.
    pub fn has_warned(&self) -> bool {
        self.warned.load(SeqCst)
    }

    /// Something else came in between.
    pub fn forget_warning(&self) {
        self.warned.store(false, SeqCst);
    }
}
