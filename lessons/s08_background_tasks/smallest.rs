//! s08 in its smallest form: start a command on a thread of its own, go on, ask later.
//! `cargo run --example s08_smallest`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

type Bus = Arc<Mutex<HashMap<String, String>>>;

fn submit(bus: &Bus, task_id: String, job: impl FnOnce() -> String + Send + 'static) {
    let bus = bus.clone();
    thread::spawn(move || notify(&bus, task_id, job()));
}

fn notify(bus: &Bus, task_id: String, result: String) {
    bus.lock().unwrap().insert(task_id, result);
}

fn check(bus: &Bus, task_id: &str) -> Option<String> {
    bus.lock().unwrap().get(task_id).cloned()
}

fn bg_bash(bus: &Bus, id: String, command: String) -> String {
    submit(bus, id, move || bash(&command));
    "started".to_string()
}

fn check_bg(bus: &Bus, id: &str) -> String {
    check(bus, id).unwrap_or("running".to_string())
}

/// `bash` as it was before: it waits for the command, and returns what that printed.
fn bash(command: &str) -> String {
    match Command::new("bash").args(["-c", command]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("ERROR: {error}"),
    }
}

fn main() -> io::Result<()> {
    let (bus, mut out) = (Bus::default(), io::stdout());
    let started = bg_bash(&bus, "build".to_string(), "sleep 1; echo built".to_string());
    writeln!(out, "bg_bash build: {started}")?;
    writeln!(out, "bash: {}", bash("echo meanwhile").trim_end())?;
    loop {
        let answer = check_bg(&bus, "build");
        writeln!(out, "check_bg build: {}", answer.trim_end())?;
        if answer != "running" {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(300));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    /// Asks until the task has ended.
    #[track_caller]
    fn end_of(bus: &Bus, id: &str) -> String {
        let started = Instant::now();
        loop {
            match check_bg(bus, id) {
                answer if answer != "running" => return answer,
                _ => assert!(started.elapsed() < Duration::from_secs(60), "{id} runs on"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_job_runs_while_others_go_on_and_its_result_stays() {
        let bus = Bus::default();
        let (open, gate) = channel();
        submit(&bus, "slow".to_string(), move || gate.recv().unwrap());
        submit(&bus, "quick".to_string(), || "first".to_string());
        assert_eq!(end_of(&bus, "quick"), "first");
        assert_eq!(check(&bus, "slow"), None);
        open.send("second".to_string()).unwrap();
        assert_eq!(end_of(&bus, "slow"), "second");
        assert_eq!(check(&bus, "slow").as_deref(), Some("second"));
    }

    #[test]
    fn a_command_runs_while_a_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        // It ends with the folder, so nothing is left if an assertion fails.
        let wait = format!("while test -d {path} && ! test -e {path}/gate; do sleep 0.05; done");
        let (bus, gate) = (Bus::default(), folder.path().join("gate"));
        let command = format!("{wait}; cat {path}/gate");
        assert_eq!(bg_bash(&bus, "build".to_string(), command), "started");
        assert_eq!(check_bg(&bus, "build"), "running");
        fs::write(folder.path().join("new"), "built\n").unwrap();
        fs::rename(folder.path().join("new"), gate).unwrap();
        assert_eq!(end_of(&bus, "build"), "built\n");
    }
}
