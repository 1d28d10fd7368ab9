//! Row 2: 10,000 random schedules over bus and executor, against a model of what must hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};
use std::panic::panic_any;

use meanwhile::background::{Progress, Refusal, Watch};
use meanwhile::notification::{NotificationBus, Notifier, TaskId};
use meanwhile::outcome::{End, Outcome};

use super::support::{Executor, PATIENCE, executor_over, prepare};

/// xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Finish(i32),
    Fail,
    Panic,
    DieWithoutAWord,
    Stop,
}

impl Order {
    fn outcome(self) -> Outcome {
        match self {
            Order::Finish(exit_code) => Outcome::new(End::Finished(Some(exit_code)), ""),
            Order::Fail => Outcome::new(End::Failed("failed".into()), ""),
            Order::Panic => Outcome::new(End::Failed("the job broke down: panicked".into()), ""),
            Order::DieWithoutAWord => Outcome::new(End::Lost, ""),
            Order::Stop => Outcome::new(End::Killed, String::new()),
        }
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("without a word");
    }
}

/// Counts the jobs at work, and the most there ever were.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct AtWork(Arc<Gauge>);

impl AtWork {
    fn begin(gauge: Arc<Gauge>) -> Self {
        let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
        gauge.most.fetch_max(now, Ordering::SeqCst);
        AtWork(gauge)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Stopper(Sender<Order>);

impl Watch for Stopper {
    fn look(&self) -> Progress {
        Progress {
            line: "at the gate".into(),
            ..Progress::default()
        }
    }

    fn stop(&self) {
        let _ = self.0.send(Order::Stop);
    }
}

/// What the schedule knows of a task.
struct Known {
    id: String,
    release: Sender<Order>,
    /// The first order it got: nobody may see it ended before that.
    order: Option<Order>,
    seen_ended: bool,
}

struct Schedule {
    executor: Executor,
    notifier: Notifier,
    max: usize,
    gauge: Arc<Gauge>,
    tasks: Vec<Known>,
}

impl Schedule {
    fn submit(&mut self, id: &str) {
        let (release, orders) = unbounded();
        let (gauge, stopper) = (self.gauge.clone(), Stopper(release.clone()));
        let job = move |_: &_| {
            let _at_work = AtWork::begin(gauge);
            match orders.recv().expect("an order") {
                Order::Panic => panic!("panicked"),
                Order::DieWithoutAWord => panic_any(Bomb),
                order => order.outcome(),
            }
        };
        let name = id.trim().to_string();
        let known = self.tasks.iter().any(|task| task.id == name);
        let gated = self
            .tasks
            .iter()
            .filter(|task| task.order.is_none())
            .count();
        let not_seen_ended = self.tasks.iter().filter(|task| !task.seen_ended).count();
        if name.is_empty() {
            assert!(TaskId::new(id).is_err());
            return;
        }
        match self.executor.submit_watched(id, Arc::new(stopper), job) {
            Err(Refusal::IdInUse(..)) => assert!(known),
            Err(Refusal::TooMany(running)) => {
                let max = self.max;
                assert!(running.len() >= max && not_seen_ended >= max, "{running:?}");
                self.are_running(&running);
            }
            Ok(()) => {
                assert!(!known && gated < self.max, "{gated} stand at their gates");
                self.tasks.push(Known {
                    id: name,
                    release,
                    order: None,
                    seen_ended: false,
                });
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Everyone who was not released must be among them; no one who was seen to have ended.
    fn are_running(&self, running: &[TaskId]) {
        for task in &self.tasks {
            let listed = running.iter().any(|id| id.to_string() == task.id);
            assert!(
                listed || task.order.is_some(),
                "{} stands at its gate",
                task.id
            );
            assert!(!listed || !task.seen_ended, "{} had ended", task.id);
        }
    }

    fn check(&mut self, id: &str) {
        let status = self.executor.check(id);
        let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) else {
            assert!(
                matches!(status, Err(Refusal::UnknownId(..))),
                "{:?}",
                status.err()
            );
            return;
        };
        match (status.expect("a known task").outcome, task.order) {
            (None, _) => assert!(!task.seen_ended, "ended, then running"),
            (Some(_), None) => panic!("it stands at its gate"),
            (Some(outcome), Some(order)) => {
                assert_eq!(outcome, order.outcome());
                task.seen_ended = true;
            }
        }
    }

    fn order(&mut self, index: usize, order: Order) {
        let task = &mut self.tasks[index];
        match order {
            Order::Stop => self.executor.stop(&task.id),
            // One that was to be stopped before it came to its gate may take either for the first.
            _ if matches!(task.order, Some(Order::Stop)) => return,
            _ => drop(task.release.send(order)),
        }
        task.order.get_or_insert(order);
    }

    fn step(&mut self, random: &mut Random) {
        let id = ["a", "b", "c", "d", "e", "f"][random.below(6)];
        let some = (!self.tasks.is_empty()).then(|| random.below(self.tasks.len()));
        match (random.below(10), some) {
            (0..=2, _) => self.submit(&format!("quiet-{id}")),
            (3, _) => self.submit([" ", " quiet-a "][random.below(2)]),
            (4, Some(index)) => self.order(index, Order::Stop),
            (5 | 6, Some(index)) => {
                let orders = [
                    Order::Finish(0),
                    Order::Finish(3),
                    Order::Fail,
                    Order::Panic,
                    Order::DieWithoutAWord,
                ];
                self.order(index, orders[random.below(orders.len())]);
            }
            (7, _) => {
                let running = self.executor.running();
                self.are_running(&running);
            }
            // Somebody reports a second time.
            (8, Some(index)) if self.tasks[index].seen_ended => {
                let id = TaskId::new(&self.tasks[index].id).expect("a name");
                self.notifier.notify(id, Outcome::new(End::Lost, ""));
            }
            _ => self.check(&format!("quiet-{id}")),
        }
    }

    /// Releases whoever is left, and sees all of them end.
    fn end(&mut self) {
        for index in 0..self.tasks.len() {
            if self.tasks[index].order.is_none() {
                self.order(index, Order::Finish(0));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.executor.running().is_empty() {
            assert!(
                Instant::now() < deadline,
                "these never end: {:?}",
                self.executor.running()
            );
            thread::yield_now();
        }
        for id in self
            .tasks
            .iter()
            .map(|task| task.id.clone())
            .collect::<Vec<_>>()
        {
            self.check(&id);
        }
        assert!(
            self.tasks.iter().all(|task| task.seen_ended),
            "every task has its outcome"
        );
        assert_eq!(self.executor.ids().len(), self.tasks.len());
        assert!(self.gauge.most.load(Ordering::SeqCst) <= self.max);
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let bus = NotificationBus::default();
    let (notifier, max) = (bus.notifier(), 1 + random.below(4));
    let executor = executor_over(bus, max);
    let mut schedule = Schedule {
        executor,
        notifier,
        max,
        gauge: Arc::default(),
        tasks: Vec::new(),
    };
    for _ in 0..4 + random.below(20) {
        schedule.step(&mut random);
    }
    schedule.end();
}

/// Says with which seed it failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "to see it again: MEANWHILE_TEST_SEED={:#x} (one schedule)",
                self.0
            );
        }
    }
}

#[test]
fn ten_thousand_random_schedules() {
    prepare();
    if let Ok(seed) = std::env::var("MEANWHILE_TEST_SEED") {
        let seed = u64::from_str_radix(seed.trim_start_matches("0x"), 16).expect("a seed");
        return run(seed);
    }
    // Another seed every time: what one run misses, another finds.
    let start = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        .as_nanos() as u64;
    let mut seeds = Random(start | 1);
    for _ in 0..10_000 {
        let seed = Seed(seeds.below(usize::MAX) as u64 | 1);
        run(seed.0);
    }
}
