//! s15 · The runner: starts what is free, waits for an end, writes it to the board, looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, unbounded};

use super::{ATTEMPTS, Run, change, claim, is_free};
use crate::background::{Progress, Refusal, Watch};
use crate::background_agent::{ALONE, AtWork};
use crate::caught::{lock, spawn};
use crate::delivery::block;
use crate::interrupt::Interrupt;
use crate::notification::TaskId;
use crate::outcome::{End, Outcome};
use crate::screen::count;
use crate::subagent::{Delegation, Input};
use crate::task_board::{BoardTask, Entries, Ids, TaskBoard, join};
use crate::terminal::short;
use crate::todo::{Priority, Stage, one_line};
use crate::tool::Context;
use crate::worktree::Tree;

/// Agents of one pipeline at the same time.
const PLACES: usize = 3;
/// Columns of a line; `task_get` shows the whole result.
const SHOWN: usize = 300;

/// One pipeline.
pub struct Runner {
    pub name: TaskId,
    pub board: TaskBoard,
    pub delegation: Arc<Delegation>,
    /// What its agents get. Its interrupt ends the pipeline.
    pub context: Context,
    /// Only these; `None`: all, also those that are added meanwhile.
    pub tasks: Option<Ids>,
    /// What was completed before is not told again.
    pub done: Ids,
    /// What was begun here, each once, with its agent once there is one.
    pub begun: Mutex<BTreeMap<u64, Option<Arc<AtWork>>>>,
}

fn failed(why: String) -> Outcome {
    Outcome::new(End::Failed(why), "")
}

impl Runner {
    /// Runs to its end. Between two ends it does nothing.
    pub fn run(self: &Arc<Self>) -> Outcome {
        let (tell, ends) = unbounded();
        // Each held until the end of its task stands on the board.
        let mut leases = BTreeMap::new();
        let mut problems = BTreeSet::new();
        loop {
            // Read again: somebody may have changed the board.
            for (id, entry) in self.board.load().unwrap_or_default() {
                let is_new = self.has(id) && !lock(&self.begun).contains_key(&id);
                let is_free = is_new && entry.is_ok_and(|task| is_free(&task));
                if !is_free || leases.len() == PLACES || self.context.interrupt.is_triggered() {
                    continue;
                }
                match claim(&self.board, id, &self.context.interrupt) {
                    Ok(None) => {}
                    Ok(Some((lease, task))) => {
                        leases.insert(id, lease);
                        self.start(task, &tell);
                    }
                    Err(why) => problems.extend([why]),
                }
            }
            if leases.is_empty() {
                return self.report(problems).unwrap_or_else(failed);
            }
            if let Ok((id, outcome)) = ends.recv() {
                if let Err(why) = self.end(id, &outcome) {
                    let lost = format!("the result of {id} is not on the board: {why}\n");
                    problems.insert(lost + &outcome.output);
                }
                leases.remove(&id);
            }
        }
    }

    /// Sets an agent to a task, on a thread of its own.
    fn start(self: &Arc<Self>, task: BoardTask, tell: &Sender<(u64, Outcome)>) {
        let (it, id, tells) = (self.clone(), task.id, tell.clone());
        lock(&self.begun).insert(id, None);
        let work = move || {
            let work = || it.agent(&task).map_or_else(failed, |agent| agent.run());
            let _ = tells.send((id, Outcome::of(work)));
        };
        if let Err(error) = spawn(&format!("{} {id}", self.name), work) {
            let why = Refusal::NoThread(error.to_string()).into();
            let _ = tell.send((id, failed(why)));
        }
    }

    /// An agent for a task, which is told the results of what that was blocked by.
    fn agent(&self, task: &BoardTask) -> Result<Arc<AtWork>, String> {
        let (run, mut context) = (Run::of(task)?, self.context.clone());
        if run.worktree {
            // In that of an attempt which was stopped may be work.
            let all = Tree::all(&context)?;
            let names = (run.attempts..).map(|number| format!("task-{}-{number}", task.id));
            let mut free = names.filter(|name| all.iter().all(|tree| tree.name != *name));
            context.folder = Arc::new(Tree::add(&free.next().unwrap_or_default(), &context)?);
        }
        let worker = self.delegation.worker(run.agent.as_deref(), &context)?;
        let mut prompt = format!("{}\n\n{}", task.subject, task.description);
        prompt.truncate(prompt.trim_end().len());
        for id in &task.built_on {
            if let Ok(done) = self.board.read(*id) {
                let result = Run::of(&done).unwrap_or_default().result;
                let (result, task) = (format!("{done}\n{result}"), format!(" task=\"{id}\""));
                prompt += &("\n\n".to_string() + &block("task-result", &task, &result));
            }
        }
        let input = Input {
            description: format!("{} {}", self.name, task.id),
            prompt,
            priority: Priority::Medium,
            agent: run.agent,
        };
        let ask = Arc::new(|_: &str, _: &_| Err(ALONE.to_string()));
        let agent = AtWork::new(worker, input, || false, ask);
        let (agent, mut begun) = (Arc::new(agent), lock(&self.begun));
        begun.insert(task.id, Some(agent.clone()));
        if self.context.interrupt.is_triggered() {
            agent.stop();
        }
        Ok(agent)
    }

    /// Writes to the board how a task ended.
    fn end(&self, id: u64, outcome: &Outcome) -> Result<(), String> {
        let (mut status, mut result) = (Stage::Completed, outcome.output.clone());
        if let Some(error) = outcome.error() {
            let stops = self.context.interrupt.is_triggered(); // it has not failed
            status = if stops { Stage::Pending } else { Stage::Failed };
            result = format!("ERROR: {error}\n{result}");
        }
        change(&self.board, id, &Interrupt::default(), |task| {
            task.status = status;
            let attempts = Run::of(task).unwrap_or_default().attempts;
            let attempts = attempts.saturating_sub((status == Stage::Pending).into());
            task.other.insert("attempts".into(), attempts.into());
            task.other.insert("result".into(), result.trim_end().into());
        })
    }

    /// What is delivered: why not all is completed, and a line for each task.
    fn report(&self, mut problems: BTreeSet<String>) -> Result<Outcome, String> {
        let entries = self.board.load()?;
        let (lines, mut open) = (self.lines(&entries, false), self.open(&entries));
        problems.extend(open.iter().map(|id| self.cause(&entries, *id)));
        open.retain(|id| !lock(&self.begun).contains_key(id));
        if !open.is_empty() {
            problems.insert(format!("not started: {}", join(&open)));
        }
        let why: Vec<String> = problems.into_iter().collect();
        let end = match why.is_empty() {
            _ if self.context.interrupt.is_triggered() => End::Killed,
            true => End::Finished(None),
            false => End::Failed(why.join("; ")),
        };
        Ok(Outcome::new(end, lines.join("\n")))
    }

    /// Why a task is not completed: from blocker to blocker, to where it begins.
    fn cause(&self, entries: &Entries, id: u64) -> String {
        let mut path = vec![id];
        loop {
            let id = path[path.len() - 1];
            let task = match &entries[&id] {
                Ok(task) => task,
                Err(why) => return why.trim_end_matches('.').to_string(),
            };
            let attempts = Run::of(task).unwrap_or_default().attempts;
            let Some(next) = task.blocked_by.first() else {
                return match task.status {
                    _ if attempts >= ATTEMPTS => format!(
                        "{id} was begun {attempts} times; mend its cause, then delete `attempts` in task_{id}.json, and set it to pending"
                    ),
                    Stage::Failed => format!("{id} has failed"),
                    Stage::InProgress if attempts == 0 => format!("{id} is in somebody's hands"),
                    _ if !self.has(id) => format!("{id} is not in this pipeline"),
                    _ => format!("{id} is in the hands of another pipeline"),
                };
            };
            if let Some(at) = path.iter().position(|id| id == next) {
                let circle = Ids::from_iter(path.split_off(at));
                return format!("{} wait for each other", join(&circle));
            }
            path.push(*next);
        }
    }

    fn has(&self, id: u64) -> bool {
        let is_chosen = |tasks: &Ids| tasks.contains(&id);
        !self.done.contains(&id) && self.tasks.as_ref().is_none_or(is_chosen)
    }

    /// Its tasks that are not completed.
    pub fn open(&self, entries: &Entries) -> Ids {
        let mut open: Ids = entries.keys().copied().filter(|id| self.has(*id)).collect();
        open.retain(|id| !matches!(&entries[id], Ok(task) if task.status == Stage::Completed));
        open
    }

    /// A line for each task, with its agent and its result; in a graph also what it was built on.
    fn lines(&self, entries: &Entries, is_graph: bool) -> Vec<String> {
        let begun = lock(&self.begun);
        let line = |(id, entry): (&u64, &Result<BoardTask, String>)| {
            let Ok(task) = entry else {
                return entry.clone().err().unwrap_or_default();
            };
            let run = Run::of(task).unwrap_or_default();
            let mut line = task.to_string();
            if is_graph && !task.built_on.is_empty() {
                line += &format!(" (built on {})", join(&task.built_on));
            }
            if let Some(agent) = begun.get(id) {
                let now = agent.as_ref().map(|agent| agent.look()).unwrap_or_default();
                let runs = task.status == Stage::InProgress;
                let more = if runs { now.line } else { now.remark };
                let who = run.agent.as_deref().unwrap_or("an agent");
                line += &format!(" ({})", [who, &more].join("; ").trim_end_matches("; "));
            }
            if matches!(task.status, Stage::Completed | Stage::Failed) {
                line += &format!(": {}", one_line(&run.result));
            }
            short(&line, SHOWN)
        };
        let mine = entries.iter().filter(|(id, _)| self.has(**id));
        mine.map(line).collect()
    }
}

impl Watch for Runner {
    fn look(&self) -> Progress {
        let entries = self.board.load().unwrap_or_default();
        let lines = self.lines(&entries, true);
        let completed = lines.len() - self.open(&entries).len();
        Progress {
            what: count(lines.len() as u64, "board task"),
            line: format!("{completed} of {} completed", lines.len()),
            recent: lines.join("\n"),
            ..Progress::default()
        }
    }

    /// Its agents are stopped, and no other one starts.
    fn stop(&self) {
        self.context.interrupt.trigger();
        let begun = lock(&self.begun);
        begun.values().flatten().for_each(|agent| agent.stop());
    }
}
