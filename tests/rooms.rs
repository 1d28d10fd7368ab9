//! The rooms a tool opens: files, the plan, the task board. Everything is called as a model would.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use support::program::copy_program;
use support::session::toolbox;

use meanwhile::message::{ContentBlock, Message, Role};
use meanwhile::task_board::{self, TaskBoard};
use meanwhile::todo::{self, TodoList};
use meanwhile::tool::{Access, Context, Tool, Toolbox};
use meanwhile::tools::files;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

// ---------------------------------------------------------------------------------------- helpers

/// Tools that are called by name. `Ok` and `Err` are what the model reads.
struct Bench(Toolbox);

impl Bench {
    fn files(dir: &Path) -> Self {
        Bench(toolbox(files::tools(dir)))
    }

    fn board(dir: &Path) -> Self {
        Bench(toolbox(task_board::tools(TaskBoard::open(dir))))
    }

    fn call(&self, name: &str, input: Value) -> Result<String, String> {
        let tool = self.0.get(name).expect("the tool is there");
        tool.call(input, &Context::default())
    }

    #[track_caller]
    fn ok(&self, name: &str, input: Value) -> String {
        self.call(name, input).expect("the call succeeds")
    }

    /// Calls what must fail, with a message that holds all of these words and one line only.
    #[track_caller]
    fn fails(&self, name: &str, input: Value, words: &[&str]) {
        let error = self.call(name, input).expect_err("the call fails");
        for word in words {
            assert!(error.contains(word), "{word:?} is missing in: {error}");
        }
        assert!(
            !error.contains('\n') && error.ends_with('.'),
            "no sentence: {error}"
        );
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Set where a test runs once more, in a process of its own: its folder.
const AGAIN: &str = "MEANWHILE_ROOMS_DIR";

/// Runs one test of this file once more, after this line of shell and with `AGAIN` set; not as
/// root, whom nothing is forbidden.
#[track_caller]
fn again(test: &str, shell: &str, dir: &Path) {
    let copy = tempdir().unwrap();
    mode(copy.path(), 0o755);
    let program = copy.path().join("rooms");
    copy_program(&env::current_exe().unwrap(), &program);
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{shell}\nexec \"$@\""), "bash"])
        .arg(&program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(AGAIN, dir)
        .current_dir("/");
    if copy.path().metadata().unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn is_again() -> Option<PathBuf> {
    env::var_os(AGAIN).map(PathBuf::from)
}

/// A folder that everybody may use.
fn open_dir() -> TempDir {
    let dir = tempdir().unwrap();
    mode(dir.path(), 0o777);
    dir
}

// ---------------------------------------------------------------------------------------- schemas

/// An input that fits the schema; with all properties or only those that are required.
fn sample(schema: &Value, all: bool) -> Value {
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!("x"),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([sample(&schema["items"], all)]),
        Some("object") => {
            let required = schema["required"].as_array().unwrap();
            let properties = schema["properties"].as_object().unwrap();
            let wanted = properties
                .iter()
                .filter(|(name, _)| all || required.contains(&json!(name)));
            wanted
                .map(|(name, schema)| (name.clone(), sample(schema, all)))
                .collect()
        }
        _ => panic!("no type: {schema}"),
    }
}

/// Inputs that do not fit, each wrong in one place.
fn misfits(schema: &Value) -> Vec<Value> {
    if schema.get("enum").is_some() {
        return vec![json!("no such word"), json!(7)];
    }
    let mut wrong = vec![];
    match schema["type"].as_str() {
        Some("string") => wrong.push(json!(7)),
        Some("integer") => wrong.extend([json!("x"), json!(1.5), json!(-1)]),
        Some("boolean") => wrong.push(json!("x")),
        Some("array") => {
            wrong.push(json!("x"));
            wrong.extend(
                misfits(&schema["items"])
                    .into_iter()
                    .map(|item| json!([item])),
            );
        }
        _ => {
            assert_eq!(
                schema["additionalProperties"], false,
                "open to anything: {schema}"
            );
            let whole = sample(schema, true);
            let put = |name: &str, value: Value| {
                let mut input = whole.clone();
                input[name] = value;
                input
            };
            wrong.push(json!("x"));
            wrong.push(put("no_such_property", json!(1)));
            for name in schema["required"].as_array().unwrap() {
                let mut input = whole.clone();
                let gone = input
                    .as_object_mut()
                    .unwrap()
                    .remove(name.as_str().unwrap());
                assert!(gone.is_some(), "{name} is required but not a property");
                wrong.push(input);
            }
            for (name, schema) in schema["properties"].as_object().unwrap() {
                wrong.extend(misfits(schema).into_iter().map(|value| put(name, value)));
            }
        }
    }
    wrong
}

/// What the schema admits is what the handler takes, no more and no less.
#[track_caller]
fn schema_matches(tool: &Tool) {
    let schema = &tool.input_schema;
    let fits = |input: &Value| match tool.call(input.clone(), &Context::default()) {
        Err(error) => !error.contains("does not fit the schema"),
        Ok(_) => true,
    };
    for all in [true, false] {
        let input = sample(schema, all);
        assert!(fits(&input), "{} does not take {input}", tool.name);
    }
    for input in misfits(schema) {
        assert!(!fits(&input), "{} takes {input}", tool.name);
    }
}

#[test]
fn schemas_say_what_the_tools_take() {
    let dir = tempdir().unwrap();
    let board = TaskBoard::open(dir.path().join(".tasks"));
    let todos = TodoList::shared();
    let mut tools = Vec::from(files::tools(dir.path()));
    tools.extend(task_board::tools(board));
    tools.push(todo::tool(&todos));
    tools.iter().for_each(schema_matches);
    let names: Vec<_> = tools
        .iter()
        .map(|tool| (&*tool.name, tool.access))
        .collect();
    let free = |name| (name, Access::Free);
    assert_eq!(
        names,
        [
            free("read_file"),
            ("write_file", Access::Ask),
            ("edit_file", Access::Ask),
            free("task_create"),
            free("task_update"),
            free("task_list"),
            free("task_get"),
            free("todo"),
        ]
    );
}

// ------------------------------------------------------------------------------------------ files

#[test]
fn a_file_is_written_read_and_edited() {
    let dir = tempdir().unwrap();
    let bench = Bench::files(dir.path());
    let content = "one\nzwei · drei\n";
    assert_eq!(
        bench.ok(
            "write_file",
            json!({ "path": "a/b/c.txt", "content": content })
        ),
        "wrote 17 bytes to a/b/c.txt"
    );
    assert_eq!(
        bench.ok("read_file", json!({ "path": "a/b/c.txt" })),
        content
    );
    let edit = json!({ "path": "a/b/c.txt", "old_text": "zwei", "new_text": "two" });
    assert_eq!(bench.ok("edit_file", edit), "edited a/b/c.txt");
    assert_eq!(
        fs::read_to_string(dir.path().join("a/b/c.txt")).unwrap(),
        "one\ntwo · drei\n"
    );
    assert_eq!(
        names(&dir.path().join("a/b")),
        ["c.txt"],
        "a temporary file was left"
    );
    // Absolute and roundabout paths are fine as long as they end inside.
    let absolute = dir.path().join("a/../a/b/c.txt");
    assert_eq!(
        bench.ok("read_file", json!({ "path": absolute })),
        "one\ntwo · drei\n"
    );
    bench.ok("write_file", json!({ "path": "empty.txt", "content": "" }));
    assert_eq!(
        bench.ok("read_file", json!({ "path": "empty.txt" })),
        "(empty.txt is empty)"
    );
}

#[test]
fn the_tools_of_a_lesson_use_the_working_directory() {
    // Tests run in the package's own folder.
    let bench = Bench(toolbox(files::tools(".")));
    assert!(
        bench
            .ok("read_file", json!({ "path": "Cargo.toml" }))
            .contains("name = \"meanwhile\"")
    );
    bench.fails(
        "read_file",
        json!({ "path": "/etc/passwd" }),
        &["/etc/passwd lies outside"],
    );
}

#[test]
fn nothing_outside_is_read_or_written() {
    let dir = tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("in2"));
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, inside.join("folder")).unwrap();
    symlink(outside.join("secret"), inside.join("file")).unwrap();
    symlink(outside.join("new"), inside.join("nowhere")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    let bench = Bench::files(&inside);
    let absolute = outside.join("secret").display().to_string();
    let paths = [
        "../in2/secret",
        "sub/../../in2/secret",
        "folder/secret",
        "file",
        "folder/../in2/x",
        &absolute,
    ];
    for path in paths {
        let outside = &[path, "lies outside the working directory"];
        bench.fails("read_file", json!({ "path": path }), outside);
        bench.fails(
            "write_file",
            json!({ "path": path, "content": "x" }),
            outside,
        );
        let edit = json!({ "path": path, "old_text": "secret", "new_text": "x" });
        bench.fails("edit_file", edit, outside);
    }
    let write = |path: &str| json!({ "path": path, "content": "x" });
    for path in ["folder/deep/new.txt", "../new.txt", "folder/new.txt"] {
        bench.fails("write_file", write(path), &["lies outside"]);
    }
    for path in ["nowhere", "nowhere/x", "sub/missing/../../../in2/x"] {
        bench.fails("write_file", write(path), &[path, "there is no such file"]);
    }
    bench.fails("write_file", write("loop"), &["loop cannot be used"]);
    bench.fails("write_file", write("nul\0"), &["cannot be used"]);
    assert_eq!(names(&outside), ["secret"]);
    assert_eq!(names(&inside), ["file", "folder", "loop", "nowhere", "sub"]);
    assert_eq!(
        fs::read_to_string(outside.join("secret")).unwrap(),
        "secret"
    );
}

#[test]
fn a_link_inside_stays_a_link() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/target"), "old").unwrap();
    symlink("real/target", dir.path().join("link")).unwrap();
    let bench = Bench::files(dir.path());
    bench.ok("write_file", json!({ "path": "link", "content": "new" }));
    assert!(dir.path().join("link").is_symlink());
    assert_eq!(
        fs::read_to_string(dir.path().join("real/target")).unwrap(),
        "new"
    );
    bench.ok(
        "edit_file",
        json!({ "path": "link", "old_text": "new", "new_text": "newer" }),
    );
    assert!(dir.path().join("link").is_symlink());
    assert_eq!(
        bench.ok("read_file", json!({ "path": "real/target" })),
        "newer"
    );
}

#[test]
fn permissions_are_kept_and_the_file_is_replaced_not_overwritten() {
    let dir = tempdir().unwrap();
    let script = dir.path().join("run.sh");
    fs::write(&script, "echo old").unwrap();
    mode(&script, 0o750);
    let before = fs::metadata(&script).unwrap();
    Bench::files(dir.path()).ok(
        "write_file",
        json!({ "path": "run.sh", "content": "echo new" }),
    );
    let after = fs::metadata(&script).unwrap();
    assert_eq!(after.mode(), before.mode());
    assert_ne!(after.ino(), before.ino(), "written in place: not atomic");
}

#[test]
fn what_is_no_text_file_gets_a_sentence() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("binary"), b"ab\xff\xfe").unwrap();
    fs::write(dir.path().join("cut"), b"ab\xe2\x82").unwrap();
    let bench = Bench::files(dir.path());
    let read = |path: &str| json!({ "path": path });
    let write = |path: &str| json!({ "path": path, "content": "x" });
    bench.fails(
        "read_file",
        read("folder"),
        &["folder cannot be read", "a directory", "ls"],
    );
    bench.fails("read_file", read(""), &["a directory"]);
    bench.fails(
        "read_file",
        read("gone"),
        &["gone cannot be read", "there is no such file", "ls"],
    );
    bench.fails(
        "read_file",
        read("binary"),
        &["not text", "invalid UTF-8 after 2 bytes"],
    );
    bench.fails("read_file", read("cut"), &["not text"]);
    bench.fails(
        "read_file",
        read("binary/x"),
        &["part of its path is a file"],
    );
    bench.fails("write_file", write("folder"), &["a directory"]);
    bench.fails(
        "write_file",
        write("binary/x"),
        &["part of its path is a file"],
    );
    bench.fails("write_file", write(&"n".repeat(300)), &["cannot be"]);
    let edit = |path: &str| json!({ "path": path, "old_text": "a", "new_text": "b" });
    bench.fails("edit_file", edit("gone"), &["there is no such file"]);
    bench.fails("edit_file", edit("binary"), &["not text"]);
    assert_eq!(fs::read(dir.path().join("binary")).unwrap(), b"ab\xff\xfe");
}

#[test]
fn a_fifo_or_device_never_holds_anybody_up() {
    let dir = tempdir().unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&dir.path().join("fifo"), mode).unwrap();
    nix::unistd::mkfifo(&dir.path().join("task_1.json"), mode).unwrap();
    let (done, is_done) = mpsc::channel();
    let path = dir.path().to_path_buf();
    thread::spawn(move || {
        let bench = Bench::files(&path);
        let pipe = &["fifo cannot be", "no regular file"];
        bench.fails("read_file", json!({ "path": "fifo" }), pipe);
        bench.fails(
            "write_file",
            json!({ "path": "fifo", "content": "x" }),
            pipe,
        );
        bench.fails(
            "edit_file",
            json!({ "path": "fifo", "old_text": "a", "new_text": "b" }),
            pipe,
        );
        let device = &["is the system's"];
        Bench::files(Path::new("/dev")).fails("read_file", json!({ "path": "zero" }), device);
        let list = Bench::board(&path).ok("task_list", json!({}));
        assert!(
            list.starts_with("task_1.json cannot be read: it is no regular file"),
            "{list}"
        );
        done.send(()).unwrap();
    });
    is_done
        .recv_timeout(Duration::from_secs(60))
        .expect("no call hangs or panics");
}

#[test]
fn a_large_file_is_read_in_part_and_says_so() {
    let dir = tempdir().unwrap();
    let bench = Bench::files(dir.path());
    let limit = files::READ_LIMIT as usize;
    fs::write(dir.path().join("exact"), "x".repeat(limit)).unwrap();
    assert_eq!(
        bench.ok("read_file", json!({ "path": "exact" })).len(),
        limit
    );
    // The limit falls into the middle of the last of these characters, in line 3.
    let text = format!("1\n2\n{}", "€".repeat(limit));
    fs::write(dir.path().join("large"), &text).unwrap();
    let shown = bench.ok("read_file", json!({ "path": "large" }));
    let (start, rest) = shown
        .split_once("\n… ")
        .expect("a last line about the rest");
    assert!(text.starts_with(start) && limit - start.len() < 3);
    let expected = format!(
        "{} more bytes; use bash with sed -n 3,203p to read further.",
        text.len() - start.len()
    );
    assert_eq!(rest, expected);
    // Binary is binary, however large.
    fs::write(dir.path().join("blob"), vec![0xff; limit + 1]).unwrap();
    bench.fails("read_file", json!({ "path": "blob" }), &["not text"]);
    // An edit reaches beyond what is shown.
    fs::write(dir.path().join("large"), text + "end").unwrap();
    bench.ok(
        "edit_file",
        json!({ "path": "large", "old_text": "end", "new_text": "END" }),
    );
    assert!(
        fs::read_to_string(dir.path().join("large"))
            .unwrap()
            .ends_with("€END")
    );
    fs::File::create(dir.path().join("huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let edit = json!({ "path": "huge", "old_text": "a", "new_text": "b" });
    bench.fails("edit_file", edit, &["too large", "sed"]);
}

#[test]
fn an_edit_needs_exactly_one_place() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("f");
    let original = "aaa\nb = 1\nb = 1\n";
    fs::write(&file, original).unwrap();
    let bench = Bench::files(dir.path());
    let edit = |old: &str, new: &str| json!({ "path": "f", "old_text": old, "new_text": new });
    bench.fails(
        "edit_file",
        edit("c", "d"),
        &["not found in f", "Read the file"],
    );
    bench.fails(
        "edit_file",
        edit("b = 1", "b = 2"),
        &["more than once", "Add text around it"],
    );
    bench.fails("edit_file", edit("aa", "x"), &["more than once"]); // The places overlap.
    bench.fails("edit_file", edit("", "x"), &["old_text is empty"]);
    bench.fails("edit_file", edit("aaa", "aaa"), &["the same"]);
    bench.fails("edit_file", edit(&"long".repeat(100), "x"), &["not found"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), original);
    bench.ok("edit_file", edit("\nb = 1\nb", "\nb = 1\n$1 \\1 b"));
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "aaa\nb = 1\n$1 \\1 b = 1\n"
    );
}

#[test]
fn line_ends_survive_an_edit() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("f");
    let bench = Bench::files(dir.path());
    let edit = |before: &str, old: &str, new: &str| {
        fs::write(&file, before).unwrap();
        bench.ok(
            "edit_file",
            json!({ "path": "f", "old_text": old, "new_text": new }),
        );
        fs::read_to_string(&file).unwrap()
    };
    assert_eq!(edit("a\r\nb\r\nc\r\n", "b", "B"), "a\r\nB\r\nc\r\n");
    assert_eq!(
        edit("a\r\nb\r\nc\r\n", "a\nb", "a\nX\nb"),
        "a\r\nX\r\nb\r\nc\r\n"
    );
    assert_eq!(
        edit("a\r\nb\r\nc\r\n", "a\r\nb", "x\r\ny"),
        "x\r\ny\r\nc\r\n"
    );
    // A mixed file is taken literally, and so is one without line ends.
    assert_eq!(edit("a\r\nb\nc\n", "b\nc", "x\ny"), "a\r\nx\ny\n");
    assert_eq!(edit("a b", "a", "x\ny"), "x\ny b");
}

#[test]
fn disk_full_leaves_the_old_content_and_nothing_else() {
    let Some(dir) = is_again() else {
        let dir = open_dir();
        for name in ["notes.txt", "task_1.json"] {
            fs::write(dir.path().join(name), "").unwrap();
            mode(&dir.path().join(name), 0o666);
        }
        fs::write(dir.path().join("notes.txt"), "precious").unwrap();
        let task = json!({ "id": 1, "subject": "Design", "status": "pending" });
        fs::write(dir.path().join("task_1.json"), task.to_string()).unwrap();
        // Files end at 8 KiB: a write beyond fails as on a full disk, in its middle.
        let limited = "trap '' XFSZ; ulimit -f 8";
        return again(
            "disk_full_leaves_the_old_content_and_nothing_else",
            limited,
            dir.path(),
        );
    };
    let bench = Bench::files(&dir);
    let large = "x".repeat(100_000);
    let room = &["no room", "free some space"];
    bench.fails(
        "write_file",
        json!({ "path": "notes.txt", "content": large }),
        room,
    );
    let edit = json!({ "path": "notes.txt", "old_text": "cious", "new_text": large });
    bench.fails("edit_file", edit, room);
    bench.fails(
        "write_file",
        json!({ "path": "new.txt", "content": large }),
        room,
    );
    assert_eq!(
        fs::read_to_string(dir.join("notes.txt")).unwrap(),
        "precious"
    );

    let board = Bench::board(&dir);
    let task = json!({ "subject": "Build", "description": large, "blockedBy": [1] });
    board.fails("task_create", task, room);
    assert_eq!(board.ok("task_list", json!({})), "[ ] 1: Design");
    assert_eq!(
        names(&dir),
        ["notes.txt", "task_1.json"],
        "something was left behind"
    );

    // What fits still works, and was not what failed above.
    bench.ok(
        "write_file",
        json!({ "path": "notes.txt", "content": "small" }),
    );
    board.ok("task_create", json!({ "subject": "Small" }));
}

#[test]
fn no_permission_gets_a_sentence() {
    let Some(dir) = is_again() else {
        let dir = open_dir();
        let at = |name: &str| dir.path().join(name);
        for (name, text) in [
            ("secret", "s"),
            ("fixed", "keep"),
            ("board/task_3.json", "{}"),
        ] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        }
        for folder in ["locked", "closed", "board/task_5.json"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(
            at("board/task_1.json"),
            r#"{"id":1,"subject":"A","status":"pending"}"#,
        )
        .unwrap();
        for name in [
            "secret",
            "locked",
            "closed",
            "board/task_3.json",
            "board/task_5.json",
        ] {
            mode(&at(name), 0o000);
        }
        mode(&at("fixed"), 0o444);
        mode(&at("board"), 0o555);
        again("no_permission_gets_a_sentence", "", dir.path());
        return ["board", "locked", "closed", "board/task_5.json"]
            .iter()
            .for_each(|name| mode(&at(name), 0o755));
    };
    let bench = Bench::files(&dir);
    let denied = &["permission denied", "ask the user"];
    bench.fails("read_file", json!({ "path": "secret" }), denied);
    bench.fails("read_file", json!({ "path": "locked/x" }), denied);
    bench.fails(
        "write_file",
        json!({ "path": "locked/x", "content": "x" }),
        denied,
    );
    // The folder would allow a replacement; the file does not.
    bench.fails(
        "write_file",
        json!({ "path": "fixed", "content": "x" }),
        denied,
    );
    bench.fails(
        "edit_file",
        json!({ "path": "fixed", "old_text": "keep", "new_text": "x" }),
        denied,
    );
    assert_eq!(fs::read_to_string(dir.join("fixed")).unwrap(), "keep");

    let board = Bench::board(&dir.join("board"));
    let list = board.ok("task_list", json!({}));
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "[ ] 1: A");
    assert!(
        lines[1].starts_with("task_3.json cannot be read: Permission denied"),
        "{list}"
    );
    assert!(
        lines[2].starts_with("task_5.json cannot be read: is a directory"),
        "{list}"
    );
    assert!(
        lines[1..]
            .iter()
            .all(|line| line.ends_with(". Mend or delete it.")),
        "{list}"
    );
    board.fails("task_create", json!({ "subject": "x" }), denied);
    let closed = Bench::board(&dir.join("closed"));
    closed.fails("task_list", json!({}), denied);
    closed.fails("task_create", json!({ "subject": "x" }), denied);
}

// ------------------------------------------------------------------------------------------- todo

fn item(content: &str, status: &str) -> Value {
    json!({ "content": content, "status": status })
}

#[test]
fn the_plan_is_shown_and_replaced_as_a_whole() {
    let todos = TodoList::shared();
    let bench = Bench(toolbox([todo::tool(&todos)]));
    let mut low = item("C", "completed");
    low["priority"] = json!("low");
    let mut high = item("  B \n two ", "in_progress");
    high["priority"] = json!("high");
    let plan = json!({ "todos": [item("A", "pending"), high, low] });
    assert_eq!(
        bench.ok("todo", plan),
        "[ ] A\n[>] B two (high)\n[x] C (low)\n(1/3 completed)"
    );
    assert_eq!(
        bench.ok("todo", json!({ "todos": [item("D", "pending")] })),
        "[ ] D\n(0/1 completed)"
    );
    assert_eq!(todos.lock().unwrap().to_string(), "[ ] D\n(0/1 completed)");
    assert_eq!(bench.ok("todo", json!({ "todos": [] })), "(0/0 completed)");
}

#[test]
fn a_bad_plan_is_refused_and_the_old_one_kept() {
    let todos = TodoList::shared();
    let bench = Bench(toolbox([todo::tool(&todos)]));
    bench.ok("todo", json!({ "todos": [item("keep", "pending")] }));
    let twenty_one: Vec<Value> = (0..21).map(|n| item(&n.to_string(), "pending")).collect();
    let two = [item("A", "in_progress"), item("B", "in_progress")];
    let empty = [item("A", "pending"), item(" \n", "pending")];
    bench.fails(
        "todo",
        json!({ "todos": twenty_one }),
        &["21 todos", "at most 20", "not changed"],
    );
    bench.fails(
        "todo",
        json!({ "todos": two }),
        &["2 todos are in_progress", "at most one", "not changed"],
    );
    bench.fails(
        "todo",
        json!({ "todos": empty }),
        &["todo 2 has no content", "not changed"],
    );
    bench.fails(
        "todo",
        json!({ "todos": [item("A", "resolved")] }),
        &["does not fit", "resolved"],
    );
    assert_eq!(
        todos.lock().unwrap().to_string(),
        "[ ] keep\n(0/1 completed)"
    );
    assert!(
        bench
            .ok("todo", json!({ "todos": twenty_one[..20] }))
            .ends_with("(0/20 completed)")
    );
}

/// One round of tools, as the loop of a lesson sees it; true if a reminder came with it.
fn round(todos: &std::sync::Mutex<TodoList>, messages: &mut Vec<Message>) -> bool {
    let result = ContentBlock::ToolResult {
        tool_use_id: format!("toolu_{}", messages.len()),
        content: "done".to_string(),
        is_error: false,
    };
    let call = Message {
        role: Role::Assistant,
        content: vec![ContentBlock::text("working")],
    };
    messages.extend([
        call,
        Message {
            role: Role::User,
            content: vec![result.clone()],
        },
    ]);
    let before = messages.len();
    todo::remind(todos, messages);
    assert_eq!(
        messages.len(),
        before,
        "a reminder is no message of its own"
    );
    let last = &messages.last().unwrap().content;
    assert_eq!(last[0], result, "results come first");
    last.len() == 2
}

#[test]
fn a_reminder_comes_after_three_rounds_without_an_update() {
    let todos = TodoList::shared();
    let bench = Bench(toolbox([todo::tool(&todos)]));
    let plan = json!({ "todos": [item("A", "completed"), item("B", "pending")] });
    let mut messages = vec![Message::user("go")];
    let mut rounds =
        |count: usize| -> Vec<bool> { (0..count).map(|_| round(&todos, &mut messages)).collect() };
    assert_eq!(rounds(5), [false; 5], "no list, no reminder");
    bench.ok("todo", plan.clone());
    // The round of the update itself, three without, and from there on every third.
    assert_eq!(rounds(7), [false, false, false, true, false, false, true]);
    rounds(2);
    bench.ok("todo", plan.clone());
    assert_eq!(
        rounds(4),
        [false, false, false, true],
        "an update starts the count again"
    );
    rounds(2);
    let bad = json!({ "todos": [item("", "pending")] });
    bench.call("todo", bad).expect_err("no content");
    assert_eq!(rounds(1), [true], "a refused update is none");
    bench.ok(
        "todo",
        json!({ "todos": [item("A", "completed"), item("B", "completed")] }),
    );
    assert_eq!(rounds(5), [false; 5], "nothing left to do");

    bench.ok("todo", plan);
    let mut messages = vec![];
    while !round(&todos, &mut messages) {}
    let text = messages.last().unwrap().content[1].as_text().unwrap();
    assert!(
        text.starts_with("<system-reminder>Update your todos"),
        "{text}"
    );
    assert!(
        text.ends_with("[x] A\n[ ] B\n(1/2 completed)</system-reminder>"),
        "{text}"
    );
    assert!(text.contains("automatic, not from the user"), "{text}");
}

// ------------------------------------------------------------------------------------- task board

/// A board with tasks of these names, numbered from 1.
fn board_with(subjects: &[&str]) -> (TempDir, Bench) {
    let dir = tempdir().unwrap();
    let bench = Bench::board(&dir.path().join(".tasks"));
    for subject in subjects {
        bench.ok("task_create", json!({ "subject": subject }));
    }
    (dir, bench)
}

fn task_file(dir: &TempDir, id: u64) -> Value {
    let text = fs::read_to_string(dir.path().join(format!(".tasks/task_{id}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn tasks_live_in_files_and_survive_a_restart() {
    let dir = tempdir().unwrap();
    let tasks = dir.path().join(".tasks");
    let bench = Bench::board(&tasks);
    assert_eq!(bench.ok("task_list", json!({})), "No tasks.");
    bench.fails("task_get", json!({ "id": 1 }), &["no task 1", "none"]);
    assert!(!tasks.exists(), "looking made a folder");
    assert_eq!(
        bench.ok("task_create", json!({ "subject": " Write\ncode " })),
        "created [ ] 1: Write code"
    );
    let tests =
        json!({ "subject": "Write tests", "description": "all\nof them", "blockedBy": [1] });
    assert_eq!(
        bench.ok("task_create", tests),
        "created [ ] 2: Write tests (blocked by 1)"
    );
    assert_eq!(
        bench.ok("task_update", json!({ "id": 1, "status": "in_progress" })),
        "[>] 1: Write code"
    );
    let list = "[>] 1: Write code\n[ ] 2: Write tests (blocked by 1)";
    assert_eq!(bench.ok("task_list", json!({})), list);
    assert_eq!(
        task_file(&dir, 1),
        json!({ "id": 1, "subject": "Write code", "description": "", "status": "in_progress", "blockedBy": [], "blocks": [2] })
    );
    assert_eq!(
        task_file(&dir, 2),
        json!({ "id": 2, "subject": "Write tests", "description": "all\nof them", "status": "pending", "blockedBy": [1], "blocks": [] })
    );

    let later = Bench::board(&tasks);
    assert_eq!(later.ok("task_list", json!({})), list);
    let got: Value = serde_json::from_str(&later.ok("task_get", json!({ "id": 2 }))).unwrap();
    assert_eq!(got, task_file(&dir, 2));
    later.ok("task_update", json!({ "id": 1, "status": "completed" }));
    assert_eq!(
        bench.ok("task_list", json!({})),
        "[x] 1: Write code\n[ ] 2: Write tests",
        "one truth"
    );
    assert_eq!(names(&tasks), ["task_1.json", "task_2.json"]);
    // What was written can be read, however long.
    let long = json!({ "subject": "long", "description": "x".repeat(files::READ_LIMIT as usize) });
    bench.ok("task_create", long);
    bench.ok("task_get", json!({ "id": 3 }));
}

#[test]
fn completing_a_task_frees_those_that_waited_for_it() {
    let (dir, bench) = board_with(&["A", "B", "C", "D"]);
    bench.ok("task_update", json!({ "id": 3, "addBlockedBy": [1] }));
    bench.ok("task_update", json!({ "id": 4, "addBlockedBy": [1, 2] }));
    assert_eq!(task_file(&dir, 1)["blocks"], json!([3, 4]));
    let completed = bench.ok("task_update", json!({ "id": 1, "status": "completed" }));
    assert_eq!(completed, "[x] 1: A\nNo longer blocked: 3");
    assert_eq!(task_file(&dir, 3)["blockedBy"], json!([]));
    assert_eq!(task_file(&dir, 4)["blockedBy"], json!([2]));
    assert_eq!(task_file(&dir, 1)["blocks"], json!([]));
    assert_eq!(
        bench.ok("task_update", json!({ "id": 2, "status": "in_progress" })),
        "[>] 2: B"
    );
    bench.ok("task_update", json!({ "id": 2, "status": "completed" }));
    assert_eq!(
        bench.ok("task_list", json!({})),
        "[x] 1: A\n[x] 2: B\n[ ] 3: C\n[ ] 4: D"
    );
    assert_eq!(
        bench.ok("task_update", json!({ "id": 2, "status": "pending" })),
        "[ ] 2: B"
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (dir, bench) = board_with(&["A", "B", "C"]);
    bench.ok("task_update", json!({ "id": 2, "addBlockedBy": [1] }));
    bench.ok("task_update", json!({ "id": 3, "addBlockedBy": [2] }));
    let before = [1, 2, 3].map(|id| task_file(&dir, id));
    let update = |input: Value, words: &[&str]| bench.fails("task_update", input, words);
    let known = "The tasks are: 1, 2, 3.";
    update(
        json!({ "id": 9, "status": "completed" }),
        &["no task 9", known],
    );
    update(
        json!({ "id": 1, "addBlockedBy": [8] }),
        &["no task 8", known],
    );
    update(
        json!({ "id": 9, "addBlockedBy": [1] }),
        &["no task 9", known],
    );
    update(
        json!({ "id": 1, "addBlockedBy": [1] }),
        &["task 1 would wait for itself", known],
    );
    update(
        json!({ "id": 1, "addBlockedBy": [2] }),
        &["task 2 waits for it", known],
    );
    update(
        json!({ "id": 1, "addBlockedBy": [3] }),
        &["would wait for itself", known],
    );
    update(
        json!({ "id": 2, "status": "in_progress" }),
        &["task 2 is blocked by 1", "Complete"],
    );
    update(
        json!({ "id": 3, "status": "completed" }),
        &["task 3 is blocked by 2"],
    );
    update(json!({ "id": 1 }), &["nothing to change", "status"]);
    bench.fails("task_get", json!({ "id": 7 }), &["no task 7", known]);
    bench.fails(
        "task_create",
        json!({ "subject": "D", "blockedBy": [1, 4] }),
        &["no task 4", known],
    );
    bench.fails(
        "task_create",
        json!({ "subject": " " }),
        &["subject is empty"],
    );
    assert_eq!([1, 2, 3].map(|id| task_file(&dir, id)), before);
    assert_eq!(names(&dir.path().join(".tasks")).len(), 3);
    // What runs already cannot be made to wait.
    bench.ok("task_update", json!({ "id": 1, "status": "in_progress" }));
    bench.ok("task_create", json!({ "subject": "D" }));
    update(
        json!({ "id": 1, "addBlockedBy": [4] }),
        &["task 1 is blocked by 4", "only be pending"],
    );
}

#[test]
fn a_bad_file_spoils_only_itself() {
    let (dir, bench) = board_with(&["A"]);
    let at = |name: &str| dir.path().join(".tasks").join(name);
    fs::write(at("task_3.json"), "{ not json").unwrap();
    fs::write(
        at("task_4.json"),
        r#"{"id":9,"subject":"x","status":"pending"}"#,
    )
    .unwrap();
    fs::create_dir(at("task_5.json")).unwrap();
    fs::write(at("task_6.json"), b"\xff").unwrap();
    fs::write(
        at("task_7.json"),
        r#"{"id":7,"subject":"x","status":"paused"}"#,
    )
    .unwrap();
    for name in [
        "task_007.json",
        "task_x.json",
        "notes.md",
        "task_8.json.bak",
    ] {
        fs::write(at(name), "not ours").unwrap();
    }
    let list = bench.ok("task_list", json!({}));
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "[ ] 1: A");
    let why = [
        "key must be a string",
        "it says that it is task 9",
        "is a directory",
        "not text",
        "paused",
    ];
    assert_eq!(lines.len(), 1 + why.len(), "{list}");
    for ((line, id), why) in lines[1..].iter().zip(3..).zip(why) {
        assert!(
            line.starts_with(&format!("task_{id}.json cannot be read: ")),
            "{line}"
        );
        assert!(
            line.contains(why) && line.ends_with(". Mend or delete it."),
            "{line}"
        );
    }
    bench.fails(
        "task_get",
        json!({ "id": 3 }),
        &["task_3.json cannot be read", "Mend or delete it"],
    );
    bench.fails(
        "task_update",
        json!({ "id": 5, "status": "completed" }),
        &["task_5.json cannot be read"],
    );
    bench.fails(
        "task_update",
        json!({ "id": 1, "addBlockedBy": [3] }),
        &["task_3.json cannot be read"],
    );
    assert_eq!(
        bench.ok("task_create", json!({ "subject": "next" })),
        "created [ ] 8: next"
    );
    assert_eq!(fs::read_to_string(at("task_3.json")).unwrap(), "{ not json");

    // At the end of the numbers there is a sentence, no overflow.
    fs::write(at(&format!("task_{}.json", u64::MAX)), "").unwrap();
    bench.fails(
        "task_create",
        json!({ "subject": "one too many" }),
        &["cannot be changed"],
    );
    // A file where the folder should be.
    let file = Bench::board(&at("notes.md"));
    file.fails("task_list", json!({}), &["notes.md cannot be read"]);
    file.fails(
        "task_create",
        json!({ "subject": "x" }),
        &["notes.md cannot be used"],
    );
}

#[test]
fn what_a_person_did_to_the_files_is_taken_as_it_is() {
    let (dir, bench) = board_with(&["A", "B", "C"]);
    let at = |id: u64| dir.path().join(format!(".tasks/task_{id}.json"));
    bench.ok("task_update", json!({ "id": 2, "addBlockedBy": [1] }));
    bench.ok("task_update", json!({ "id": 3, "addBlockedBy": [1, 2] }));
    // Deleted: nobody waits for it any more.
    fs::remove_file(at(1)).unwrap();
    assert_eq!(
        bench.ok("task_list", json!({})),
        "[ ] 2: B\n[ ] 3: C (blocked by 2)"
    );
    // Unreadable: it may well not be done.
    let two = fs::read_to_string(at(2)).unwrap();
    fs::write(at(2), "{").unwrap();
    assert!(
        bench
            .ok("task_list", json!({}))
            .starts_with("[ ] 3: C (blocked by 2)\ntask_2.json cannot")
    );
    // Completed by hand, with a field of somebody else's, one side of a dependency and no other.
    let mut task: Value = serde_json::from_str(&two).unwrap();
    task["status"] = json!("completed");
    task["owner"] = json!("Ada");
    task["blocks"] = json!([3, 77]);
    fs::write(at(2), task.to_string()).unwrap();
    assert_eq!(
        bench.ok("task_update", json!({ "id": 3, "status": "in_progress" })),
        "[>] 3: C"
    );
    assert_eq!(task_file(&dir, 2)["owner"], "Ada");
    assert_eq!(task_file(&dir, 2)["blocks"], json!([]));
    // A circle made by hand ends in no endless loop.
    fs::write(
        at(2),
        r#"{"id":2,"subject":"B","status":"pending","blockedBy":[4]}"#,
    )
    .unwrap();
    fs::write(
        at(4),
        r#"{"id":4,"subject":"D","status":"pending","blockedBy":[2]}"#,
    )
    .unwrap();
    bench.ok("task_create", json!({ "subject": "E", "blockedBy": [2] }));
    let circle = json!({ "id": 4, "addBlockedBy": [5] });
    bench.fails("task_update", circle, &["would wait for itself"]);
}

/// What a tool says when it is its turn: on a busy machine, the others may take longer than it waits.
fn in_turn(bench: &Bench, tool: &str, input: Value) -> String {
    let busy = |why: &String| why.contains("somebody else is changing the tasks");
    let mut said = (0..20).map(|_| bench.call(tool, input.clone()));
    said.find(|said| !said.as_ref().is_err_and(busy))
        .expect("its turn comes")
        .expect("the call succeeds")
}

#[test]
fn programs_that_share_a_board_take_turns() {
    let dir = tempdir().unwrap();
    let tasks = dir.path().join(".tasks");
    Bench::board(&tasks).ok("task_create", json!({ "subject": "all" }));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let bench = Bench::board(&tasks);
                for _ in 0..10 {
                    let created = in_turn(&bench, "task_create", json!({ "subject": "one" }));
                    let id = created
                        .split([' ', ':'])
                        .find_map(|word| word.parse::<u64>().ok())
                        .unwrap();
                    in_turn(
                        &bench,
                        "task_update",
                        json!({ "id": 1, "addBlockedBy": [id] }),
                    );
                }
            });
        }
    });
    assert_eq!(
        task_file(&dir, 1)["blockedBy"],
        json!((2..=41).collect::<Vec<u64>>())
    );
    assert_eq!(names(&tasks).len(), 41);
}
