//! s15 · Exercise: plan, then dispatch.
//!
//! Fill the two gaps: which tasks of a plan may begin, and a runner that keeps a few workers busy
//! until nothing more can be done. The runner sleeps until the next worker has ended, whichever it
//! is; nobody polls.
//!
//! This went wrong in two ways. In swt-labs/vibe-better-with-claude-code-vbw#3 agents were to start
//! when their blockers had ended, and sat there until somebody told each of them; in
//! anthropics/claude-code#22239 two workers saw the same task available, and both did it.

#![allow(unused, reason = "not everything is used before the gaps are filled")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use std::thread;

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Pending,
    Running,
    /// With its result.
    Completed(String),
    /// With the reason.
    Failed(String),
}

/// One task of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Those that must be completed before.
    pub blocked_by: BTreeSet<u64>,
    pub state: State,
}

/// A plan.
pub type Board = BTreeMap<u64, Task>;

/// Does a task: is given its number, and the results of what it was blocked by, in the order of
/// their numbers. It never panics.
pub type Work<'a> = &'a (dyn Fn(u64, Vec<String>) -> Result<String, String> + Sync);

/// The tasks that may begin now, by number: pending, and each blocker completed. A blocker that is
/// not on the board was deleted, and holds up nobody.
pub fn free(board: &Board) -> Vec<u64> {
    todo!("look at the state of each task, and at that of its blockers")
}

/// The results of what a task was blocked by.
pub fn results(board: &Board, id: u64) -> Vec<String> {
    let blockers = board.get(&id).map(|task| &task.blocked_by);
    let results =
        blockers
            .into_iter()
            .flatten()
            .filter_map(|blocker| match &board.get(blocker)?.state {
                State::Completed(result) => Some(result.clone()),
                _ => None,
            });
    results.collect()
}

/// Carries out a plan: does each task that is free on a thread of its own, at most `places` at a
/// time, and returns when nothing runs and nothing is free.
///
/// The end of each task stands on the board before the next one begins. What waits for a task that
/// failed is left as it is. No place stays empty while a task is free.
pub fn run(board: &mut Board, places: usize, work: Work<'_>) {
    todo!("start what is free, wait for the next end, note it, and look again")
}

/// Notes how far a task is.
pub fn set(board: &mut Board, id: u64, state: State) {
    if let Some(task) = board.get_mut(&id) {
        task.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    fn plan(tasks: &[(u64, &[u64])]) -> Board {
        let task = |(id, blockers): &(u64, &[u64])| {
            let blocked_by = blockers.iter().copied().collect();
            let state = State::Pending;
            (*id, Task { blocked_by, state })
        };
        tasks.iter().map(task).collect()
    }

    fn completed(result: &str) -> State {
        State::Completed(result.to_string())
    }

    /// What has begun so far, for workers who wait for each other.
    #[derive(Default)]
    struct Begun(Mutex<Vec<u64>>, Condvar);

    impl Begun {
        fn begin(&self, id: u64) {
            self.0.lock().unwrap().push(id);
            self.1.notify_all();
        }

        /// Waits until that is so; false if it does not come true within ten seconds.
        fn until(&self, is_so: impl Fn(&[u64]) -> bool) -> bool {
            let begun = self.0.lock().unwrap();
            let limit = Duration::from_secs(10);
            let waited = self
                .1
                .wait_timeout_while(begun, limit, |begun| !is_so(begun));
            !waited.unwrap().1.timed_out()
        }

        fn all(&self) -> Vec<u64> {
            self.0.lock().unwrap().clone()
        }
    }

    #[test]
    fn free_is_what_waits_for_nothing_that_is_open() {
        let mut board = plan(&[(1, &[]), (2, &[1]), (3, &[1, 2]), (4, &[9])]);
        assert_eq!(free(&board), [1, 4], "9 was deleted");
        set(&mut board, 1, State::Running);
        assert_eq!(free(&board), [4], "1 runs, and is not completed");
        set(&mut board, 1, completed("one"));
        assert_eq!(free(&board), [2, 4]);
        set(&mut board, 2, State::Failed("no".to_string()));
        assert_eq!(free(&board), [4], "2 has failed, so 3 waits for ever");
        set(&mut board, 2, completed("two"));
        assert_eq!(free(&board), [3, 4]);
    }

    #[test]
    fn each_is_done_once_after_its_blockers_and_with_their_results() {
        let mut board = plan(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[4])]);
        let begun = Begun::default();
        run(&mut board, 3, &|id, given| {
            begun.begin(id);
            Ok(format!("{id}({})", given.join(" ")))
        });
        let mut all = begun.all();
        assert_eq!((all[0], all[3], all[4]), (1, 4, 5), "{all:?}");
        all.sort();
        assert_eq!(all, [1, 2, 3, 4, 5], "each once");
        assert_eq!(board[&5].state, completed("5(4(2(1()) 3(1())))"));
    }

    #[test]
    fn as_many_run_at_once_as_there_are_places() {
        let mut board = plan(&[(1, &[]), (2, &[]), (3, &[]), (4, &[]), (5, &[]), (6, &[])]);
        let (begun, now) = (Begun::default(), Mutex::new((0, 0)));
        run(&mut board, 3, &|id, _| {
            let mut running = now.lock().unwrap();
            running.0 += 1;
            running.1 = running.0.max(running.1);
            drop(running);
            begun.begin(id);
            let full = begun.until(|begun| begun.len() >= 3);
            now.lock().unwrap().0 -= 1;
            full.then(String::new)
                .ok_or("a place stayed empty".to_string())
        });
        let most = now.lock().unwrap().1;
        assert_eq!(most, 3, "so many ran at once");
        assert!(
            board.values().all(|task| task.state == completed("")),
            "{board:?}"
        );
    }

    #[test]
    fn the_next_begins_when_any_has_ended() {
        // 1 ends only when 3 has begun, and 3 begins when 2 has ended.
        let mut board = plan(&[(1, &[]), (2, &[]), (3, &[2])]);
        let begun = Begun::default();
        run(&mut board, 2, &|id, _| {
            begun.begin(id);
            let went_on = id != 1 || begun.until(|begun| begun.contains(&3));
            went_on
                .then(String::new)
                .ok_or("2 had ended, and nobody looked".to_string())
        });
        assert_eq!(board[&1].state, completed(""));
    }

    #[test]
    fn what_fails_holds_up_what_waits_for_it_and_nothing_else() {
        let mut board = plan(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2]), (5, &[3])]);
        run(&mut board, 1, &|id, _| match id {
            2 => Err("no luck".to_string()),
            _ => Ok("done".to_string()),
        });
        assert_eq!(board[&2].state, State::Failed("no luck".to_string()));
        assert_eq!(board[&4].state, State::Pending, "it waits for 2");
        assert_eq!(board[&5].state, completed("done"), "it does not");
    }

    #[test]
    fn a_plan_that_cannot_begin_ends_at_once() {
        let mut board = plan(&[(1, &[2]), (2, &[1])]);
        let begun = Begun::default();
        let work = |id, _| {
            begun.begin(id);
            Ok(String::new())
        };
        run(&mut board, 3, &work);
        run(&mut Board::new(), 3, &work);
        assert!(begun.all().is_empty(), "1 and 2 wait for each other");
    }
}
