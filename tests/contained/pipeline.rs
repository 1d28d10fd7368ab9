//! Agents of a pipeline: their commands are contained as all others, and end with the pipeline.

use std::fs;

use serde_json::{Value, json};

use super::support::*;

/// Puts a board task for each command into the lesson's folder.
fn plan(talk: &Talk, commands: &[String]) {
    let board = talk.folder.path().join(".tasks");
    fs::create_dir_all(&board).expect("a folder");
    for (at, command) in commands.iter().enumerate() {
        let task = json!({ "id": at + 1, "subject": format!("run '{command}'") });
        let path = board.join(format!("task_{}.json", at + 1));
        fs::write(path, task.to_string()).expect("a task");
    }
}

fn task(talk: &Talk, id: u64) -> Value {
    let path = talk.folder.path().join(format!(".tasks/task_{id}.json"));
    serde_json::from_str(&fs::read_to_string(path).expect("a task")).expect("JSON")
}

/// A command with a child that moved into a session of its own.
fn tree(place: &Place) -> String {
    place.command("setsid bash -c \"echo \\$BASHPID >> {}/pids; exec sleep 1000\" & echo $BASHPID >> {}/pids; wait").replace("\\$", "$")
}

#[test]
fn its_command_runs_without_key_and_without_input() {
    let mut talk = Talk::with("s15_pipelines");
    let look = "read line || echo no input; tty; env | grep -c ANTHROPIC; true";
    plan(&talk, &[look.to_string()]);
    let mut shown = talk.say("dispatch look");
    while !shown.contains("[x] 1: ") {
        shown += &talk.until_prompt();
    }
    let result = &task(&talk, 1)["result"];
    let result = result.as_str().expect("a text");
    assert!(result.starts_with("no input\nnot a tty\n0"), "{result}");
    talk.leave();
}

#[test]
fn stopped_it_takes_the_processes_of_all_its_agents_with_it() {
    let place = Place::new();
    let mut talk = Talk::with("s15_pipelines");
    plan(&talk, &[(); 4].map(|()| tree(&place)));
    talk.say("dispatch work");
    let pids = place.pids(6);
    assert!(pids.iter().all(|pid| runs(*pid)), "three agents work");
    talk.send("stop work");
    until_gone(&pids);
    let mut shown = String::new();
    while !shown.contains("work: ERROR: it was stopped") {
        shown += &talk.until_prompt();
    }
    for id in 1..=3 {
        assert_eq!(task(&talk, id)["status"], "pending", "{shown}");
    }
    assert_eq!(task(&talk, 4)["attempts"], Value::Null, "{shown}");
    assert_eq!(place.pids(6).len(), 6, "no other one was begun");
    talk.leave();
}

#[test]
fn it_goes_with_the_program_and_its_tasks_can_be_had() {
    let place = Place::new();
    let mut talk = Talk::with("s15_pipelines");
    plan(&talk, &[tree(&place)]);
    talk.say("dispatch work");
    let pids = place.pids(2);
    talk.leave();
    until_gone(&pids);
    assert_eq!(task(&talk, 1)["status"], "in_progress");
    let lease = talk.folder.path().join(".tasks/task_1.lease");
    let lease = fs::File::open(lease).expect("it stays");
    lease.try_lock().expect("nobody holds it");
}
