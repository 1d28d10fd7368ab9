//! Rows 1, 9, 10: every outcome arrives, once, and stays.

use std::panic::panic_any;
use std::sync::{Arc, Barrier};

use serde_json::json;

use meanwhile::notification::{NotificationBus, TaskId};
use meanwhile::outcome::{End, Outcome};
use meanwhile::tool::Context;
use meanwhile::tools::background;

use super::support::*;

fn said(text: &str) -> Outcome {
    Outcome::new(End::Finished(Some(0)), text.to_string())
}

/// 200 times over, because a race is lost only now and then.
#[test]
fn three_jobs_that_end_at_once_are_three_outcomes() {
    let executor = executor(3);
    for round in 0..200 {
        let together = Arc::new(Barrier::new(3));
        let ids = ["a", "b", "c"].map(|name| format!("{name}{round}"));
        for id in &ids {
            let (together, output) = (together.clone(), id.clone());
            let job = move |_: &_| {
                together.wait();
                Outcome::new(End::Finished(Some(0)), output)
            };
            executor.submit(id, job).expect("there is room for three");
        }
        for id in &ids {
            assert_eq!(executor.until_ended(id), said(id));
        }
        assert_eq!(executor.running(), []);
        for id in &ids {
            assert_eq!(executor.outcome(id), Some(said(id)), "asked again");
        }
    }
}

#[test]
fn three_commands_that_end_at_once_are_three_results_of_check_bg() {
    let place = Place::new();
    let [bg_bash, check_bg] = background::tools(executor(3).shared());
    let context = Context::default();
    for id in ["a", "b", "c"] {
        place.gate(id);
        let command = place.command(&format!("read line < {{}}/{id}; echo this is {id}; exit 7"));
        bg_bash
            .call(json!({ "id": id, "command": command }), &context)
            .expect("it starts");
    }
    let gates = ["a", "b", "c"].map(|id| place.open(id));
    let all = check_bg.call(json!({}), &context).expect("a list");
    assert_eq!(all.matches(": [running] ").count(), 3, "{all}");
    drop(gates);
    for id in ["a", "b", "c"] {
        let check = || {
            check_bg
                .call(json!({ "id": id }), &context)
                .expect("a known task")
        };
        until("its end", || !check().contains(": [running] "));
        for _ in 0..2 {
            let answer = check();
            assert!(
                answer.starts_with(&format!("{id}: ERROR: exit code 7 after ")),
                "{answer}"
            );
            assert!(answer.ends_with(&format!(" s\nthis is {id}")), "{answer}");
        }
    }
    let all = check_bg.call(json!({}), &context).expect("a list");
    assert_eq!(
        all.lines()
            .filter(|line| line.contains("ERROR: exit code 7"))
            .count(),
        3,
        "{all}"
    );
}

/// When such a panic is cleaned up, it panics once more: nothing in the job's thread is left to
/// say anything.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("no last words");
    }
}

#[test]
fn a_thread_that_dies_without_a_word_is_lost() {
    let executor = executor(4);
    executor
        .submit("quiet", |_| panic_any(Bomb))
        .expect("it starts");
    assert_eq!(executor.until_ended("quiet"), Outcome::new(End::Lost, ""));
    executor
        .submit("panics", |_| panic!("a word"))
        .expect("it starts");
    let why = "the job broke down: a word".to_string();
    assert_eq!(
        executor.until_ended("panics"),
        Outcome::new(End::Failed(why), "")
    );
    assert_eq!(executor.outcome("quiet"), Some(Outcome::new(End::Lost, "")));
    assert!(
        Outcome::new(End::Lost, "")
            .to_string()
            .starts_with("ERROR: ")
    );
}

#[test]
fn what_ended_before_a_thousand_others_still_answers() {
    let executor = executor(1);
    executor
        .submit("first", |_| said("I was here"))
        .expect("it starts");
    executor.until_ended("first");
    for number in 0..1000 {
        executor
            .submit(&number.to_string(), |_| Outcome::new(End::Lost, ""))
            .expect("the one before has ended");
        executor.until_ended(&number.to_string());
    }
    for _ in 0..2 {
        assert!(executor.outcome(" first ") == Some(said("I was here")));
    }
    assert_eq!(executor.ids().len(), 1001);
}

#[test]
fn the_first_outcome_counts() {
    let mut bus = NotificationBus::default();
    let (notifier, id) = (bus.notifier(), TaskId::new(" twice ").expect("a name"));
    assert!(bus.check(&id).is_none());
    notifier.notify(id.clone(), said("first"));
    notifier.notify(id.clone(), Outcome::new(End::Lost, ""));
    for _ in 0..2 {
        assert_eq!(
            bus.check(&id).map(|ended| ended.outcome.clone()),
            Some(said("first"))
        );
    }
    drop(bus);
    notifier.notify(id, Outcome::new(End::Lost, "")); // nobody is there, and nothing breaks
}

/// 200 tasks with 200 KB of output each: 40 MB, of which 32 KiB a task are kept.
#[test]
fn an_ended_task_holds_little_memory_and_no_descriptor() {
    alone(
        "outcomes::an_ended_task_holds_little_memory_and_no_descriptor",
        &[],
        |_| {
            let executor = executor(1);
            let me = nix::unistd::getpid();
            let mut run = |number: usize| {
                let id = number.to_string();
                executor
                    .submit_command(&id, "yes | head -c 200000")
                    .expect("the one before has ended");
                assert!(
                    executor
                        .until_ended(&id)
                        .output
                        .contains("the whole is in ")
                );
            };
            (0..10).for_each(&mut run);
            until_only_idle_ones_are_there(me);
            let (memory_before, descriptors_before) = (memory(me, "VmRSS"), descriptors(me));
            (10..210).for_each(&mut run);
            until("nothing is open that was not before", || {
                descriptors(me) <= descriptors_before
            });
            let grown = memory(me, "VmRSS").saturating_sub(memory_before);
            println!("measured: 200 ended tasks with 200 KB of output each hold {grown} KiB");
            assert!(
                grown < 200 * 40 + 4 * 1024,
                "200 ended tasks hold {grown} KiB"
            );
        },
    );
}
