//! s11 · The foreground: work that the main thread waits for.
//!
//! Every command and every sub-agent runs on a thread of its own, and its outcome arrives at one
//! receiver. To hold that receiver is to wait. One can stop waiting: when the person presses
//! Ctrl+B, when the time limit passes, when a shell exits and leaves others running. The receiver
//! is then moved into a job of the executor. The work does not notice; and because there is one
//! receiver, its outcome is told once.

mod task_list;
mod tools;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select_biased, unbounded};

use crate::background::{Executor, Kind, Task, Watch};
use crate::background_agent::{ALONE, AtWork};
use crate::caught::lock;
use crate::delivery::block;
use crate::interrupt::Interrupt;
use crate::message::{Message, push_note};
use crate::notification::TaskId;
use crate::outcome::{End, Outcome};
use crate::process::output::{last_line, text_or};
use crate::process::{self, Handle, News};
use crate::repl::{Doing, Repl};
use crate::subagent::{Delegation, Input};
use crate::tool::{Context, ToolOutcome};
use crate::tools::bash::{answer, left_running};
use tools::Command;
pub use tools::free_name;

/// A command that takes longer goes on in the background.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Runs work and waits for it, on the main thread. Clones are the same foreground.
#[derive(Clone)]
pub struct Foreground {
    pub(crate) executor: Executor,
    pub(crate) context: Context,
    current: Arc<Mutex<Waiting>>,
    /// Those that run: nobody waits for their end, and none is told.
    pub(crate) servers: Arc<Mutex<Vec<Task>>>,
}

/// What is waited for, for the keyboard's thread, which lists it and stops it; and the key that
/// moves it. One key for each wait, so that a late press does not move the next command.
type Waiting = Option<(Task, Sender<()>)>;

/// Work that goes on. Whoever owns it waits for it.
pub struct Work {
    task: Task,
    news: Receiver<News>,
    /// The questions of an agent. Once this end is dropped, it is told that nobody is there, and what
    /// it does is shown no more.
    questions: Arc<Receiver<Question>>,
}

/// What is asked, what makes it void, and where the answer goes.
type Question = (String, Interrupt, Sender<Result<String, String>>);

impl Work {
    /// Work that asks nothing.
    pub fn new(task: Task, news: Receiver<News>) -> Self {
        Work {
            task,
            news,
            questions: Arc::new(never()),
        }
    }
}

impl Foreground {
    /// Over the executor of the background tasks.
    pub fn new(executor: &Executor, context: Context) -> Self {
        Foreground {
            executor: executor.clone(),
            context,
            current: Arc::default(),
            servers: Arc::default(),
        }
    }

    /// The same, with Ctrl+B, `/tasks` and `/stop` at the prompt.
    pub fn attach(executor: &Executor, repl: &mut Repl) -> Self {
        let foreground = Self::new(executor, repl.context());
        let [lists, stops, moves] = [(); 3].map(|()| foreground.clone());
        repl.action("/tasks [ID]", "all tasks, or one", move |id| lists.list(id));
        repl.action("/stop ID", "stop a task", move |id| stops.stop(id));
        repl.command("! COMMAND", "run a command yourself");
        repl.command("Ctrl+B", "send what runs to the background");
        let to_background = move |doing| match doing {
            Doing::Asking => Some("(Answer the question first, then Ctrl+B.)"),
            _ if moves.press() => None,
            _ => Some("Nothing runs in the foreground that could be sent to the background."),
        };
        repl.on_key('B', "Ctrl+B: to the background", Arc::new(to_background));
        foreground
    }

    /// Ctrl+B. False if nothing runs in the foreground.
    pub fn press(&self) -> bool {
        matches!(&*lock(&self.current), Some((_, key)) if key.send(()).is_ok())
    }

    /// `! COMMAND`: runs it without the model. What it prints joins the conversation, and is
    /// returned to be shown.
    pub fn run_line(&self, line: &str, messages: &mut Vec<Message>) -> String {
        let command = line.trim_start_matches('!').trim();
        if command.is_empty() {
            return "Nothing to run. `! ls` runs ls.".to_string();
        }
        let typed = Command {
            command: command.to_string(),
            ..Command::default()
        };
        let outcome = self.run(&typed, &self.context);
        let output = outcome.unwrap_or_else(|error| format!("ERROR: {error}"));
        let text = format!("The user ran this: {command}\n{output}");
        push_note(messages, block("user-command", "", &text));
        output
    }

    fn run(&self, it: &Command, context: &Context) -> ToolOutcome {
        // Its name is its description or, as in `npm-install`, its first two words.
        let description = it.description.as_deref();
        let description = description.filter(|it| it.contains(char::is_alphanumeric));
        let (text, count) = description.map_or((&*it.command, 2), |it| (it, usize::MAX));
        let id = free_name(&self.executor, text, count)?;
        let handle = Arc::new(Handle::new(&it.command));
        let task = Task::new(Kind::Command, &id, handle.clone(), &context.events);
        let news = process::start(&handle, context.folder.path());
        let limit = it.timeout_seconds.map_or(LIMIT, Duration::from_secs);
        self.wait(Work::new(task, news), Some(limit), context)
    }

    /// Runs a sub-agent, which may ask the person as long as it is waited for.
    fn delegate(&self, delegation: &Delegation, input: Input, context: &Context) -> ToolOutcome {
        let worker = delegation.worker(input.agent.as_deref(), context)?;
        let kind = Kind::Agent(input.priority);
        let id = TaskId::new(&input.description)?;
        lock(&self.executor).expect_new(&id)?;
        let (asks, questions) = unbounded::<Question>();
        let ask = move |question: &str, interrupt: &Interrupt| {
            let (answer, answered) = bounded(1);
            let _ = asks.send((question.to_string(), interrupt.clone(), answer));
            answered.recv().unwrap_or_else(|_| Err(ALONE.to_string()))
        };
        let questions = Arc::new(questions);
        let waits = Arc::downgrade(&questions);
        let is_waited_for = move || Weak::strong_count(&waits) > 0;
        let at_work = AtWork::new(worker, input, is_waited_for, Arc::new(ask));
        let at_work = Arc::new(at_work);
        let task = Task::new(kind, &id, at_work.clone(), &context.events);
        let news = process::on_thread(&id.to_string(), move |_| at_work.run());
        let mut work = Work::new(task, news);
        work.questions = questions;
        self.wait(work, None, context)
    }

    /// Waits until the work has ended, or until there is a reason to go on without it.
    pub fn wait(&self, work: Work, limit: Option<Duration>, context: &Context) -> ToolOutcome {
        let (task, (key, pressed)) = (work.task.clone(), unbounded());
        *lock(&self.current) = Some((task.clone(), key));
        let (its, interrupt) = (task.clone(), context.interrupt.clone());
        context.events.waiting(move || {
            let doing = ["", "stopping "][usize::from(interrupt.is_triggered())];
            let now = its.look();
            let progress = match its.kind {
                Kind::Command => text_or(last_line(&now.recent), &now.line),
                _ => now.line,
            };
            (format!("{doing}{}", now.what), progress)
        });
        let limit = limit.map_or(never(), after);
        let mut interrupted = context.interrupt.receiver();
        let waited = loop {
            select_biased! {
                recv(work.news) -> news => break Ok(news),
                // (The other end is the agent's, and the task holds the agent.)
                recv(work.questions) -> asked => if let Ok((question, interrupt, answer)) = asked {
                    let _ = answer.send((context.ask)(&question, &interrupt));
                },
                recv(pressed) -> _ => break Err(" by the user"),
                recv(limit) -> _ => break Err(", as it had not ended within its time limit"),
                recv(interrupted) -> _ => {
                    interrupted = never();
                    task.stop();
                }
            }
        };
        // Locked until it stands among the background tasks: a list shows it always, and once.
        let mut current = lock(&self.current);
        *current = None;
        let id = task.id.to_string();
        match waited {
            Ok(Ok(News::Ended(outcome))) => answer(&outcome, ""),
            Ok(Err(_)) => answer(&Outcome::new(End::Lost, ""), ""),
            Ok(Ok(News::ShellExited(so_far, left))) => {
                self.hand_over(work)?;
                let left = left_running(left);
                let remark = format!("\n{id}: [shell exited] {left} in the background.");
                answer(&so_far, &remark)
            }
            Err(why) => {
                self.hand_over(work)?;
                let moved = format!(
                    "{id}: [running] moved to the background{why}; its result will come by itself; the working directory is unchanged."
                );
                match (task.kind, task.look().recent.trim_end()) {
                    (Kind::Agent(_), _) | (_, "") => Ok(moved),
                    (_, so_far) => Ok(format!("{moved}\nOutput so far:\n{so_far}")),
                }
            }
        }
    }

    /// From now on a job waits for it: nobody answers its questions, and nothing of it is shown.
    fn hand_over(&self, work: Work) -> Result<(), String> {
        let (task, news) = (work.task, work.news);
        drop(work.questions);
        let job = move |_: &_| process::until_ended(&news);
        let adopted = lock(&self.executor).start(task.clone(), job);
        adopted.map_err(|refusal| {
            task.stop(); // nobody could tell its end
            format!("it could not go on in the background, so it was stopped: {refusal}.")
        })
    }
}
