//! s07 · Exercise: a board on which nothing waits for ever.
//!
//! Fill the four gaps: what a task still waits for, a new blocker, a start, and a completion. Only
//! `blocked_by` is stored, so work everything else out from it whenever somebody asks. Refuse a
//! circle, through however many tasks it goes, and leave the board as it was when you refuse.
//!
//! This went wrong in agentscope-ai/agentscope#2710: a task could block itself, two tasks could
//! block each other, and a completed task could block a new one. Each of them then waited for ever.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Pending,
    InProgress,
    Completed,
}

#[derive(Debug)]
pub struct BoardTask {
    pub stage: Stage,
    /// The tasks that must be completed first. Those that are completed by now may still be in it.
    pub blocked_by: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub struct Board {
    pub tasks: BTreeMap<u64, BoardTask>,
}

impl Board {
    /// Adds a pending task that waits for nothing.
    pub fn create(&mut self, id: u64) {
        let (stage, blocked_by) = (Stage::Pending, BTreeSet::new());
        self.tasks.insert(id, BoardTask { stage, blocked_by });
    }

    /// The tasks that this one still waits for: its blockers without those that are completed.
    pub fn waits_for(&self, id: u64) -> BTreeSet<u64> {
        let open = |blocker: &u64| self.tasks[blocker].stage != Stage::Completed;
        let blockers = self.tasks[&id].blocked_by.iter().copied();
        blockers.filter(open).collect()
    }

    /// From now on `id` waits for `blocker`.
    ///
    /// Refused if there is no such task, or if `id` would wait for itself, directly or through
    /// others. A refusal changes nothing.
    pub fn block(&mut self, id: u64, blocker: u64) -> Result<(), String> {
        if let Some(unknown) = [id, blocker]
            .into_iter()
            .find(|id| !self.tasks.contains_key(id))
        {
            return Err(format!("there is no task {unknown}"));
        }
        // Does the new blocker wait for `id`? Follow what it waits for, each task once.
        let (mut seen, mut next) = (BTreeSet::new(), vec![blocker]);
        while let Some(waiting) = next.pop() {
            if waiting == id {
                return Err(format!("task {id} would wait for itself"));
            }
            if seen.insert(waiting) {
                next.extend(self.waits_for(waiting));
            }
        }
        self.tasks.entry(id).and_modify(|task| {
            task.blocked_by.insert(blocker);
        });
        Ok(())
    }

    /// Marks a task as in progress. Refused while it waits for another one.
    pub fn start(&mut self, id: u64) -> Result<(), String> {
        let open = self.waits_for(id);
        if !open.is_empty() {
            return Err(format!("task {id} is blocked by {open:?}"));
        }
        self.tasks.entry(id).and_modify(|task| {
            task.stage = Stage::InProgress;
        });
        Ok(())
    }

    /// Marks a task as completed, and returns those that waited for it and wait for nothing now.
    pub fn complete(&mut self, id: u64) -> BTreeSet<u64> {
        let ids = self.tasks.keys().copied();
        let waiting: Vec<u64> = ids.filter(|it| self.waits_for(*it).contains(&id)).collect();
        self.tasks.entry(id).and_modify(|task| {
            task.stage = Stage::Completed;
        });
        let free = |it: &u64| self.waits_for(*it).is_empty();
        waiting.into_iter().filter(free).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::resume_unwind;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;
    use std::time::Duration;

    /// Tasks 1 to `count`, of which each pair `(id, blocker)` says who waits for whom.
    fn board(count: u64, pairs: &[(u64, u64)]) -> Board {
        let mut board = Board::default();
        (1..=count).for_each(|id| board.create(id));
        for (id, blocker) in pairs {
            let added = board.block(*id, *blocker);
            added.expect("nothing is wrong with this blocker, but `block` refused it");
        }
        board
    }

    #[test]
    fn a_task_starts_when_all_that_blocks_it_is_completed() {
        let mut board = board(3, &[(3, 1), (3, 2)]);
        let message = "3 waits for 1 and 2: `waits_for` must name both";
        assert_eq!(board.waits_for(3), BTreeSet::from([1, 2]), "{message}");
        board.complete(1);
        let message = "1 is completed, but 2 is not: 3 must not be started yet";
        assert!(board.start(3).is_err(), "{message}");
        let message = "a start was refused, and yet the task is in progress";
        assert_eq!(board.tasks[&3].stage, Stage::Pending, "{message}");
        board.complete(2);
        let message = "1 and 2 are completed, and yet 3 cannot be started";
        assert_eq!(board.start(3), Ok(()), "{message}");
        let message = "3 was started, and yet it is not in progress";
        assert_eq!(board.tasks[&3].stage, Stage::InProgress, "{message}");
    }

    #[test]
    fn completing_names_the_tasks_that_can_start_now() {
        // 3 waits for 1 and 2, 4 for 1 alone; 5 never waited for anything.
        let mut board = board(5, &[(3, 1), (3, 2), (4, 1)]);
        let message = "completing 1 frees 4 alone: 3 still waits for 2, and 5 was free before";
        assert_eq!(board.complete(1), BTreeSet::from([4]), "{message}");
        let message = "completing 2 frees 3: nothing else that it waits for is open";
        assert_eq!(board.complete(2), BTreeSet::from([3]), "{message}");
    }

    #[test]
    fn a_completed_task_blocks_nobody() {
        let mut board = board(2, &[]);
        board.complete(1);
        let _ = board.block(2, 1); // accepted or refused, both are fine
        let message = "2 waits for 1, which is completed: it will wait for ever";
        assert_eq!(board.waits_for(2), BTreeSet::new(), "{message}");
        assert_eq!(board.start(2), Ok(()), "{message}");
    }

    #[test]
    fn a_circle_is_refused_however_long_it_is() {
        // Each waits for the one before: 3 for 2, 2 for 1.
        let mut board = board(3, &[(2, 1), (3, 2)]);
        for (blocker, message) in [
            (1, "1 may now wait for itself, and will never start"),
            (2, "1 may now wait for 2, which waits for 1: neither starts"),
            (
                3,
                "1 now waits for 3, 3 for 2, and 2 for 1: follow the chain",
            ),
        ] {
            assert!(board.block(1, blocker).is_err(), "{message}");
        }
        let message = "a blocker was refused, and yet it stands in `blocked_by`";
        assert_eq!(board.tasks[&1].blocked_by, BTreeSet::new(), "{message}");
        assert_eq!(board.start(1), Ok(()), "{message}");
    }

    #[test]
    fn what_is_no_circle_is_accepted() {
        // Two ways from 4 to 1, and 3 waits for 1 twice: through 2, and directly.
        let mut board = board(4, &[(2, 1), (3, 2), (4, 2), (4, 3)]);
        let message = "3 may wait for 1: no way leads from 1 back to 3, so this is no circle";
        assert_eq!(board.block(3, 1), Ok(()), "{message}");
        let message = "there is no task 9, so nobody could ever complete it";
        assert!(board.block(1, 9).is_err(), "{message}");
    }

    #[test]
    fn many_ways_to_the_same_task_are_walked_once() {
        let (done, ended) = channel();
        let search = thread::spawn(move || {
            // 40 pairs, each waiting for both of the pair before: 2 to the 40th ways through.
            let mut board = Board::default();
            (1..=81).for_each(|id| board.create(id));
            for id in 3..=80 {
                let first = (id - 1) / 2 * 2 - 1;
                let pair = BTreeSet::from([first, first + 1]);
                board.tasks.get_mut(&id).expect("a task").blocked_by = pair;
            }
            let _ = done.send(board.block(81, 80));
        });
        let answer = match ended.recv_timeout(Duration::from_secs(5)) {
            Err(RecvTimeoutError::Timeout) => panic!(
                "`block` searches on and on, as it walks every way through the board: \
                 remember the tasks that you have seen, and look at each only once"
            ),
            Err(RecvTimeoutError::Disconnected) => resume_unwind(search.join().unwrap_err()),
            Ok(answer) => answer,
        };
        assert_eq!(answer, Ok(()), "81 is new, so nothing can wait for it");
    }
}
