//! Files: of the file tools, the task board and the transcripts, and what is cut to fit.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use meanwhile::process::output::Output;
use meanwhile::task_board::{self, TaskBoard};
use meanwhile::tool::{Context, Toolbox};
use meanwhile::tools::files;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::session::toolbox;
use crate::support::terminal::Seat;

fn call(tools: &Toolbox, name: &str, input: Value) -> Result<String, String> {
    let tool = tools.get(name).expect("the tool is there");
    tool.call(input, &Context::default())
}

fn board(folder: &Path) -> Toolbox {
    toolbox(task_board::tools(TaskBoard::open(folder)))
}

#[test]
fn an_edit_takes_linear_time() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("f");
    fs::write(&file, "a".repeat(2 << 20) + "end").expect("written");
    let tools = toolbox(files::tools(folder.path()));
    let started = Instant::now();
    let texts = [
        ("a".repeat(1 << 19) + "b", Err("not found")),
        ("a".repeat(1 << 19), Err("more than once")),
        ("a".repeat(1 << 19) + "end", Ok("edited f")),
    ];
    for (old, expected) in texts {
        let edit = json!({ "path": "f", "old_text": old, "new_text": "b" });
        match (call(&tools, "edit_file", edit), expected) {
            (Ok(text), Ok(words)) => assert_eq!(text, words),
            (Err(text), Err(words)) => assert!(text.contains(words), "{text}"),
            (other, _) => panic!("{other:?}"),
        }
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let text = fs::read_to_string(&file).expect("text");
    assert_eq!(text, "a".repeat((2 << 20) - (1 << 19)) + "b");
}

#[test]
fn a_folder_of_ours_that_is_a_link_is_refused() {
    let (inside, outside) = (tempdir().expect("one"), tempdir().expect("two"));
    let link = inside.path().join(".tasks");
    for target in [outside.path().to_path_buf(), outside.path().join("new")] {
        symlink(&target, &link).expect("a link");
        let created = call(&board(&link), "task_create", json!({ "subject": "s" }));
        let error = created.expect_err("refused");
        assert!(
            error.contains(".tasks cannot be used: it is a symbolic link"),
            "{error}"
        );
        assert!(
            fs::read_dir(outside.path())
                .expect("a folder")
                .next()
                .is_none()
        );
        fs::remove_file(&link).expect("removed");
    }
}

#[test]
fn a_new_task_is_there_as_a_whole_or_not_at_all() {
    let folder = tempdir().expect("a folder");
    let (tools, over) = (board(folder.path()), AtomicBool::new(false));
    thread::scope(|scope| {
        // Whatever stands in the folder at any moment is what a SIGKILL would leave.
        let reader = scope.spawn(|| {
            let mut torn = Vec::new();
            while !over.load(SeqCst) {
                let text = call(&tools, "task_list", json!({})).expect("a list");
                torn.extend(
                    text.lines()
                        .find(|line| line.contains("cannot be read"))
                        .map(String::from),
                );
            }
            torn
        });
        for _ in 0..100 {
            call(&tools, "task_create", json!({ "subject": "s" })).expect("created");
        }
        over.store(true, SeqCst);
        assert_eq!(reader.join().expect("no panic"), Vec::<String>::new());
    });
    let names = fs::read_dir(folder.path()).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let left = names.filter(|name| !name.to_string_lossy().ends_with(".json"));
    assert_eq!(left.count(), 0, "something was left beside the tasks");
}

#[test]
fn a_long_output_is_cut_at_a_character() {
    let mut output = Output::default();
    output.push(format!("x{}y", "日".repeat(20_000)).as_bytes());
    let text = output.render();
    assert!(
        text.contains("left out") && !text.contains('\u{fffd}'),
        "{text}"
    );
}

#[test]
fn a_board_that_somebody_holds_is_waited_for_but_not_for_ever() {
    let folder = tempdir().expect("a folder");
    let lock = fs::File::open(folder.path()).expect("opened");
    lock.lock().expect("locked");
    let tools = board(folder.path());
    let started = Instant::now();
    let created = call(&tools, "task_create", json!({ "subject": "s" }));
    assert!(created.is_err_and(|why| why.contains("somebody else is changing the tasks")));
    assert!(started.elapsed() >= Duration::from_secs(5));
    // Ctrl+C ends it.
    let context = Context::default();
    context.interrupt.trigger();
    let update = tools.get("task_update").expect("the tool");
    let started = Instant::now();
    let updated = update.call(json!({ "id": 1, "status": "pending" }), &context);
    assert!(updated.is_err() && started.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_history_that_is_none_is_left_alone_with_a_notice() {
    type Make = fn(&Path);
    let makes: [Make; 4] = [
        |path| mkfifo(path, Mode::S_IRWXU).expect("a FIFO"),
        |path| symlink("/dev/zero", path).expect("a link"),
        |path| fs::write(path, "#V2\nrun \x1b[2Jx\n").expect("written"),
        |path| fs::write(path, "run\n".repeat((1 << 18) + 1)).expect("written"),
    ];
    for make in makes {
        let seat = Seat::new("s01_agent_loop");
        let state = seat.folder.path().join("state/meanwhile");
        fs::create_dir_all(&state).expect("a folder");
        make(&state.join("history"));
        let mut terminal = seat.start();
        terminal.until_shows("meanwhile/history is not used");
        terminal.until_ends("s01 >>");
        terminal.line("run \"echo up\"");
        terminal.until_ends("\nup\ns01 >>");
    }
}

#[test]
fn a_control_character_that_was_typed_is_not_in_the_history() {
    let seat = Seat::new("s01_agent_loop");
    let folder = seat.folder.clone();
    let mut terminal = seat.start();
    terminal.until_ends("s01 >>");
    terminal.send("run \"echo \x16\x1b"); // Ctrl+V, Esc
    terminal.line("x\"");
    terminal.until_ends("x\ns01 >>");
    terminal.line("exit");
    assert_eq!(terminal.wait(), 0);
    let history = folder.path().join("state/meanwhile/history");
    let history = fs::read_to_string(history).expect("a history");
    assert!(
        history.contains("run \"echo \u{fffd}x\"") && !history.contains('\x1b'),
        "{history:?}"
    );
}

#[test]
fn what_is_the_systems_is_no_file() {
    let tools = toolbox(files::tools("/"));
    for path in ["proc/self/environ", "sys/kernel/notes", "dev/null"] {
        let read = call(&tools, "read_file", json!({ "path": path }));
        assert!(
            read.is_err_and(|why| why.contains("is the system's")),
            "{path}"
        );
    }
}
