//! The bus and the executor: what has ended is a log, and a job leaves its mark there whatever
//! becomes of it.

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde_json::json;

use meanwhile::background::{Kind, Progress, Task, Watch};
use meanwhile::caught::lock;
use meanwhile::event::{Event, Events};
use meanwhile::notification::NotificationBus;
use meanwhile::outcome::{End, Outcome};
use meanwhile::todo::Priority;
use meanwhile::tool::Context;
use support::program::PATIENCE;
use support::session::*;

#[test]
fn only_commands_have_an_exit_code() {
    let shown = |code| Outcome::new(End::Finished(code), "").to_string();
    let expected = [
        "finished",
        "finished with exit code 0",
        "ERROR: exit code 7",
    ];
    assert_eq!([None, Some(0), Some(7)].map(shown), expected);
}

#[test]
fn the_first_outcome_counts() {
    let mut bus = NotificationBus::default();
    let (notifier, id) = (bus.notifier(), id("build"));
    assert!(bus.check(&id).is_none());
    notifier.notify(id.clone(), finished("first"));
    notifier.notify(id.clone(), Outcome::new(End::Lost, ""));
    for _ in 0..2 {
        let ended = bus.check(&id).expect("it has ended");
        assert_eq!(ended.outcome, finished("first"));
    }
    assert_eq!(bus.ended().len(), 1);
}

#[test]
fn entries_never_move() {
    let mut bus = NotificationBus::default();
    let notifier = bus.notifier();
    let mut before: Vec<String> = Vec::new();
    for number in 0..100 {
        let name = format!("job {}", number % 60);
        notifier.notify(id(&name), finished(""));
        let now: Vec<String> = bus.ended().iter().map(|it| it.id.to_string()).collect();
        assert!(now.starts_with(&before), "{before:?} to {now:?}");
        before = now;
    }
    assert_eq!(before.len(), 60);
}

#[test]
fn the_hook_is_called_when_the_report_can_be_seen() {
    let bus = Arc::new(Mutex::new(NotificationBus::default()));
    let (tell, told) = unbounded();
    let looks = bus.clone();
    let hook = move || {
        let ended = looks.lock().unwrap().ended().len();
        tell.send((ended, thread::current().id())).unwrap();
    };
    bus.lock().unwrap().on_end(hook);
    bus.lock()
        .unwrap()
        .on_end(|| panic!("the first hook stays"));
    let notifier = bus.lock().unwrap().notifier();
    for number in 1..=3 {
        notifier.notify(id(&format!("job {number}")), Outcome::new(End::Lost, ""));
        assert_eq!(told.try_recv(), Ok((number, thread::current().id())));
    }
}

#[test]
fn two_that_end_at_once_both_stand_there() {
    for _ in 0..100 {
        let mut bus = NotificationBus::default();
        let start = Barrier::new(2);
        thread::scope(|scope| {
            for name in ["one", "two"] {
                let (notifier, start) = (bus.notifier(), &start);
                scope.spawn(move || {
                    start.wait();
                    notifier.notify(id(name), finished(name));
                });
            }
        });
        assert_eq!(bus.ended().len(), 2);
        for name in ["one", "two"] {
            let ended = bus.check(&id(name)).expect("it has ended");
            assert_eq!(ended.outcome, finished(name));
        }
    }
}

#[test]
fn an_error_lists_ten_ids_and_how_many_more() {
    let main = Main::s09(&executor(1000), [], Context::default(), nobody);
    let (open, gate) = bounded::<()>(0);
    for number in 1..=1000 {
        let gate = gate.clone();
        let job = move |_: &_| {
            let _ = gate.recv();
            finished("")
        };
        let submitted = lock(&main.executor)
            .submit(unwatched(Kind::Command, &id(&format!("job-{number}"))), job);
        submitted.expect("a free place");
    }
    let list: Vec<String> = (991..=1000).map(|number| format!("job-{number}")).collect();
    let list = format!("{} and 990 more", list.join(", "));
    let calls = [
        ("check_bg", json!({ "id": "other" })),
        ("stop_bg", json!({ "id": "other" })),
        ("bg_bash", json!({ "id": "job-1", "command": "true" })),
        ("bg_bash", json!({ "id": "other", "command": "true" })),
    ];
    for (name, input) in calls {
        let error = main.call(name, input);
        assert!(
            error.starts_with("ERROR: ") && error.contains(&list),
            "{error}"
        );
        assert!(error.len() < 300, "{error}");
    }
    drop(open);
    until_an_end_brings("all have ended", || {
        lock(&main.executor).running().is_empty()
    });
}

#[test]
fn a_job_that_panics_ends_with_the_event_that_belongs_to_its_begin() {
    let (tell, told) = unbounded();
    let reader = move |stamped: meanwhile::event::Stamped<'_>| {
        tell.send(match stamped.event {
            Event::TaskStarted { id, what } => format!("{id} starts: {what}"),
            Event::TaskFinished { id, result } => format!("{id} ends: {result}"),
            other => panic!("{other:?}"),
        })
        .expect("the test is there");
    };
    let events = Events::default().with(Box::new(reader));
    let (executor, its) = (executor(1), id("build"));
    let watch = Progress {
        what: "make".to_string(),
        ..Progress::default()
    };
    let task = Task::new(Kind::Command, &its, Arc::new(watch), &events);
    let submitted = lock(&executor).submit(task, |_| panic!("no such thing"));
    submitted.expect("a free place");
    until_ended(&executor, "build");
    let result = "ERROR: the job broke down: no such thing";
    for expected in ["build starts: make", &format!("build ends: {result}")] {
        assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok(expected));
    }
    let ended = lock(&executor).bus().check(&its).cloned();
    assert_eq!(ended.expect("it has ended").outcome.to_string(), result);
    assert!(told.is_empty());
}

/// What is watched: once it has ended, says that it is looked at, and answers when the gate is open.
struct AtGate {
    ended: AtomicBool,
    looks: Sender<()>,
    gate: Receiver<()>,
}

impl Watch for AtGate {
    fn look(&self) -> Progress {
        if self.ended.load(SeqCst) {
            let _ = self.looks.send(());
            let _ = self.gate.recv();
        }
        Progress {
            remark: "1 call was denied".to_string(),
            ..Progress::default()
        }
    }

    fn stop(&self) {}
}

#[test]
fn how_an_ended_task_stood_last_is_known_at_every_moment() {
    let (executor, its) = (executor(1), id("look"));
    let ((looks, looked), (open, gate)) = (unbounded(), bounded::<()>(0));
    let ended = AtomicBool::new(false);
    let watch = Arc::new(AtGate { ended, looks, gate });
    let kind = Kind::Agent(Priority::Low);
    let task = Task::new(kind, &its, watch.clone(), &Events::default());
    let job = move |_: &_| {
        watch.ended.store(true, SeqCst);
        finished("")
    };
    let submitted = lock(&executor).submit(task, job);
    submitted.expect("a free place");
    // The report stands; how it stood last is being asked.
    assert_eq!(looked.recv_timeout(PATIENCE), Ok(()));
    let (tell, told) = unbounded();
    let asks = thread::spawn(move || {
        let status = lock(&executor).check(&its);
        let _ = tell.send(status.expect("it is known").progress.remark);
    });
    let at_once = told.recv_timeout(Duration::from_millis(100));
    drop(open);
    let remark = at_once.or_else(|_| told.recv_timeout(PATIENCE));
    assert_eq!(remark.as_deref(), Ok("1 call was denied"));
    asks.join().expect("it asked");
}
