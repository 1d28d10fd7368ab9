//! s11 · The foreground: work that the main thread waits for.
//!
//! Every command and every sub-agent runs on a thread of its own, and its outcome arrives at one
//! receiver. To hold that receiver is to wait. One can stop waiting: when the person presses
//! Ctrl+B, when the time limit passes, when a shell exits and leaves others running. The receiver
//! is then moved into a job of the executor. The work does not notice; and because there is one
//! receiver, its outcome is told once.

mod task_list;
mod tools;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select_biased, tick, unbounded};

use crate::background::{BackgroundExecutor, Control, Kind, Refusal, Watch};
use crate::background_agent::{ALONE, AtWork, Input};
use crate::caught::lock;
use crate::delivery::block;
use crate::event::Event;
use crate::interrupt::Interrupt;
use crate::message::{Message, push_note};
use crate::notification::TaskId;
use crate::outcome::{End, Outcome};
use crate::process::{self, News};
use crate::repl::{Doing, Repl};
use crate::subagent::Delegation;
use crate::tool::{Context, ToolOutcome};
use crate::tools::background::announced;
use crate::tools::bash::{answer, left_running};

/// A command that takes longer goes on in the background, in seconds.
const TIME_LIMIT: u64 = 120;
/// How often is shown how it stands.
const LOOK: Duration = Duration::from_millis(200);

/// Runs work and waits for it, on the main thread. Clones are the same foreground.
#[derive(Clone)]
pub struct Foreground {
    executor: Arc<Mutex<BackgroundExecutor>>,
    context: Context,
    current: Arc<Mutex<Waiting>>,
}

/// What is waited for, for the keyboard's thread, which lists it and stops it; and the key that
/// moves it. One key for each wait, so that a late press does not move the next command.
type Waiting = Option<(Current, Sender<()>)>;

/// Work as it is seen from outside.
#[derive(Clone)]
struct Current {
    id: TaskId,
    kind: Kind,
    started: Instant,
    watch: Arc<dyn Watch>,
}

/// Work that goes on. Whoever owns it waits for it.
struct Work {
    current: Current,
    news: Receiver<News>,
    /// The questions of an agent. It is told that nobody is there once this end is dropped.
    questions: Receiver<Question>,
    /// The events of an agent are shown until this is dropped.
    waiter: Arc<()>,
}

/// What is asked, what makes it void, and where the answer goes.
type Question = (String, Interrupt, Sender<Result<String, String>>);

/// How waiting ended.
enum Waited {
    /// With its outcome.
    Ended(Outcome),
    /// It goes on in the background: why.
    Moved(&'static str),
    /// The shell has exited with this outcome, and so many processes go on in the background.
    LeftRunning(Outcome, usize),
}

impl Foreground {
    /// Over the executor of the background tasks.
    pub fn new(executor: &Arc<Mutex<BackgroundExecutor>>, context: Context) -> Self {
        Foreground {
            executor: executor.clone(),
            context,
            current: Arc::default(),
        }
    }

    /// The same, with Ctrl+B, `/tasks` and `/stop` at the prompt.
    pub fn attach(executor: &Arc<Mutex<BackgroundExecutor>>, repl: &mut Repl) -> Self {
        let foreground = Self::new(executor, repl.context());
        let [lists, stops, moves] = [(); 3].map(|()| foreground.clone());
        repl.action("/tasks [ID]", "all tasks, or one", move |id| lists.list(id));
        repl.action("/stop ID", "stop a task", move |id| stops.stop(id));
        repl.command("! COMMAND", "run a command yourself");
        repl.command("Ctrl+B", "send what runs to the background");
        repl.on_key('B', "Ctrl+B: to the background", move |doing| match doing {
            Doing::Asking => Some("(Answer the question first, then Ctrl+B.)"),
            _ if moves.press() => None,
            _ => Some("Nothing runs in the foreground that could be sent to the background."),
        });
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
        let outcome = self.run(command, None, TIME_LIMIT, &self.context);
        let output = outcome.unwrap_or_else(|error| format!("ERROR: {error}"));
        let text = format!("The user ran this: {command}\n{output}");
        push_note(messages, block("user-command", "", &text));
        output
    }

    fn run(
        &self,
        command: &str,
        description: Option<&str>,
        limit: u64,
        context: &Context,
    ) -> ToolOutcome {
        let id = self.free_name(command, description)?;
        let (handle, news) = process::start(command, context.folder.path());
        let current = Current::new(&id, Kind::Command, Arc::new(handle));
        let work = Work {
            current: current.clone(),
            news,
            questions: never(),
            waiter: Arc::default(),
        };
        match self.wait(work, after(Duration::from_secs(limit)), context)? {
            Waited::Ended(outcome) => answer(&outcome, ""),
            Waited::LeftRunning(outcome, left) => {
                let left = left_running(left).unwrap_or_default();
                let remark = format!("\n{id}: [shell exited] {left} in the background.");
                answer(&outcome, &remark)
            }
            Waited::Moved(why) => Ok(match current.watch.look().recent.trim_end() {
                "" => moved(&id, why),
                so_far => format!("{}\nOutput so far:\n{so_far}", moved(&id, why)),
            }),
        }
    }

    /// Runs a sub-agent, which may ask the person as long as it is waited for.
    fn delegate(&self, delegation: &Delegation, input: Input, context: &Context) -> ToolOutcome {
        let worker = delegation.worker(input.agent.as_deref(), context)?;
        let (id, waiter) = (TaskId::new(&input.description)?, Arc::new(()));
        let kind = Kind::Agent(input.priority);
        lock(&self.executor).expect_new(&id)?;
        let ((asks, questions), (tell, news)) = (unbounded::<Question>(), unbounded());
        let ask = move |question: &str, interrupt: &Interrupt| {
            let (answer, answered) = bounded(1);
            let _ = asks.send((question.to_string(), interrupt.clone(), answer));
            answered.recv().unwrap_or_else(|_| Err(ALONE.to_string()))
        };
        let (waits, events) = (Arc::downgrade(&waiter), &context.events);
        let at_work = Arc::new(AtWork::new(worker, input, events, waits, Arc::new(ask)));
        let work = Work {
            current: Current::new(&id, kind, at_work.clone()),
            news,
            questions,
            waiter,
        };
        let run = move || {
            let _ = tell.send(News::Ended(Outcome::of(|| at_work.run())));
        };
        let thread = thread::Builder::new().name(id.to_string().replace('\0', ""));
        let spawned = thread.spawn(run);
        spawned.map_err(|error| Refusal::NoThread(error.to_string()))?;
        match self.wait(work, never(), context)? {
            Waited::Ended(outcome) | Waited::LeftRunning(outcome, _) => answer(&outcome, ""),
            Waited::Moved(why) => Ok(moved(&id, why)),
        }
    }

    /// Waits until the work has ended, or until there is a reason to go on without it.
    fn wait(
        &self,
        mut work: Work,
        limit: Receiver<Instant>,
        context: &Context,
    ) -> Result<Waited, String> {
        let (key, pressed) = unbounded();
        *lock(&self.current) = Some((work.current.clone(), key));
        let (watch, started) = (work.current.watch.clone(), work.current.started);
        let (mut interrupted, mut doing) = (context.interrupt.receiver(), "");
        let look = tick(LOOK);
        let waited = loop {
            select_biased! {
                recv(work.news) -> news => match news {
                    Ok(News::Ended(outcome)) => break Waited::Ended(outcome),
                    Ok(News::Printed(..)) => {}
                    Ok(News::ShellExited(so_far, left)) => break Waited::LeftRunning(so_far, left),
                    Err(_) => break Waited::Ended(Outcome::new(End::Lost, "")),
                },
                recv(work.questions) -> asked => match asked {
                    Ok((question, interrupt, answer)) => {
                        let _ = answer.send((context.ask)(&question, &interrupt));
                    }
                    Err(_) => work.questions = never(),
                },
                recv(pressed) -> _ => break Waited::Moved(" by the user"),
                recv(limit) -> _ => {
                    break Waited::Moved(", as it had not ended within its time limit");
                }
                recv(interrupted) -> _ => {
                    (interrupted, doing) = (never(), "stopping ");
                    watch.stop();
                }
                recv(look) -> _ => {
                    let now = watch.look();
                    context.events.emit(Event::Waiting {
                        what: format!("{doing}{}", now.what),
                        elapsed: started.elapsed(),
                        progress: now.line,
                    });
                }
            }
        };
        // Locked until it stands among the background tasks: a list shows it always, and once.
        let mut current = lock(&self.current);
        *current = None;
        if !matches!(waited, Waited::Ended(_)) {
            self.hand_over(work, context)?;
        }
        Ok(waited)
    }

    /// From now on a job waits for it: nobody answers its questions, and nothing of it is shown.
    fn hand_over(&self, work: Work, context: &Context) -> Result<(), String> {
        let Work {
            current,
            news,
            questions,
            waiter,
        } = work;
        drop((questions, waiter));
        let events = context.events.clone();
        let (name, its) = (current.id.clone(), current.watch.clone());
        let job = move |control: &Control| {
            control.attach(its.clone());
            announced(&events, &name, &its.look().what, || {
                process::until_ended(&news)
            })
        };
        let adopted = lock(&self.executor).start(current.kind, current.started, &current.id, job);
        adopted.map_err(|refusal| {
            current.watch.stop(); // nobody could tell its end
            format!("it could not go on in the background, so it was stopped: {refusal}.")
        })
    }
}

impl Current {
    fn new(id: &TaskId, kind: Kind, watch: Arc<dyn Watch>) -> Self {
        let (id, started) = (id.clone(), Instant::now());
        Current {
            id,
            kind,
            started,
            watch,
        }
    }
}

fn moved(id: &TaskId, why: &str) -> String {
    format!(
        "{id}: [running] moved to the background{why}; its result will come by itself; the working directory is unchanged."
    )
}
