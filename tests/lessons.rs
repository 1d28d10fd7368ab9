//! What a learner sees, through a pipe: lines in, a transcript out.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use support::program::{Lesson, PATIENCE, Transcript, clean_environment, gate, program};
use support::server::{Server, reply_error, reply_text, reply_tool};

const S01: &str = "s01_agent_loop";
const S02: &str = "s02_tool_use";
const S04: &str = "s04_subagent";
const S05: &str = "s05_skill_loading";
const S06: &str = "s06_context_compact";
const S07: &str = "s07_task_system";
const S08: &str = "s08_background_tasks";

const CLASSIC: &str = r#"run "sleep 3; echo built" in the background as build, then write "hello" to notes.txt, then check build, then wait for build"#;
/// Runs until a file `gate` is there.
const UNTIL_GATE: &str = "until test -e gate; do sleep 0.05; done";

/// Types one more line, which must work as if nothing had happened before.
#[track_caller]
fn goes_on(lesson: Lesson, sentences: &[&str]) -> Transcript {
    let run = lesson.line(r#"run "echo still here""#).run();
    let end = ["● bash: echo still here\n", " · still here\n"];
    run.has_in_order(&sentences.iter().copied().chain(end).collect::<Vec<_>>());
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    run
}

// ---- The course's own line ----

#[test]
fn in_s08_the_file_is_written_while_the_build_runs() {
    let run = Lesson::new(S08).line(CLASSIC).run();
    run.has_in_order(&[
        "● bg_bash: build  sleep 3; echo built\n",
        "build: started in the background",
        "● write_file: notes.txt  hello\n",
        "wrote 5 bytes to notes.txt",
        "● check_bg: build\n",
        "build: [running]",
        "● check_bg: build\n",
        "build: finished with exit code 0",
        "built\n",
        "4. wait for build: ",
    ]);
    assert_eq!(run.file("notes.txt").as_deref(), Some("hello"));
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
}

#[test]
fn in_s08_the_build_sees_what_was_written_meanwhile() {
    let build = format!("{UNTIL_GATE}; cat notes.txt; echo; echo built");
    let run = Lesson::new(S08)
        .line(&format!(
            r#"run "{build}" in the background as build, then write "hello" to notes.txt, then check build, then write "" to gate, then wait for build"#
        ))
        .run();
    run.has_in_order(&[
        "● write_file: notes.txt",
        "build: [running]",
        "● write_file: gate",
    ]);
    run.has_in_order(&["build: finished with exit code 0", "hello\n", "built\n"]);
}

#[test]
fn in_s07_the_same_line_runs_in_order_and_says_that_it_waits() {
    let run = Lesson::new(S07).line(CLASSIC).run();
    run.has_in_order(&[
        "There is no bg_bash here: this runs in the foreground, and I wait for it.\n",
        "● bash: sleep 3; echo built\n",
        " · built\n",
        "● write_file: notes.txt  hello\n",
        "wrote 5 bytes to notes.txt",
        "3. check build: nothing to check: it ran in the foreground and has ended\n",
    ]);
    run.has_not("check_bg:").has_not("● bg_bash");
    assert_eq!(run.file("notes.txt").as_deref(), Some("hello"));
}

// ---- Background tasks ----

#[test]
fn a_fifth_background_task_is_refused_until_one_has_ended() {
    let start = ["a", "b", "c", "d", "e"]
        .map(|id| format!(r#"run "{UNTIL_GATE}" in the background as {id}"#));
    let run = Lesson::new(S08)
        .line(&start.join(", then "))
        .line("check all")
        .line(r#"write "" to gate, then wait for all"#)
        .line(r#"run "echo room" in the background as e, then wait for e"#)
        .run();
    run.has_in_order(&[
        "ERROR: 4 background tasks run already (a, b, c, d), and no more can be started now. Go on with something else, or wait",
        "s08 >> check all\n",
        "a: [running]",
        "b: [running]",
        "c: [running]",
        "d: [running]",
        "s08 >> write",
        "d: finished with exit code 0",
        "● bg_bash: e  echo room\n",
        "e: started in the background",
        "e: finished with exit code 0",
        "room\n",
    ]);
}

#[test]
fn ids_that_do_not_fit_are_told_with_those_that_are_known() {
    let run = Lesson::new(S08)
        .line("check nothing")
        .line("check all")
        .line(r#"run "true" in the background as """#)
        .line(r#"run "echo first" in the background as build, then wait for build"#)
        .line(r#"run "echo second" in the background as build"#)
        .line("check biuld")
        .line("check build, then check build")
        .run();
    run.has_in_order(&[
        r#"ERROR: there is no task "nothing". Known ids: none so far."#,
        "No background tasks.",
        r#"ERROR: the id is empty; give the task a short name, such as "build"."#,
        "build: started in the background",
        r#"ERROR: the id "build" is taken; choose another one. Known ids: build."#,
        r#"ERROR: there is no task "biuld". Known ids: build."#,
        "build: finished with exit code 0",
        "first\n",
        "build: finished with exit code 0",
        "first\n",
    ]);
    run.has_not("\n    second\n");
}

#[test]
fn a_background_command_that_fails_says_so() {
    let run = Lesson::new(S08)
        .line(r#"run "echo before; exit 3" in the background as bad, then wait for bad"#)
        .line(r#"run "kill -9 $$" in the background as shot, then wait for shot"#)
        .line("check all")
        .run();
    run.has_in_order(&[
        "bad: ERROR: exit code 3",
        "before\n",
        "shot: ERROR: exit code 137",
        "s08 >> check all\n",
        "bad: ERROR: exit code 3",
        "shot: ERROR: exit code 137",
    ]);
    assert_eq!(run.code, Some(0));
}

#[test]
fn what_runs_in_the_background_ends_with_the_program() {
    let lesson = Lesson::new(S08);
    let held = lesson.folder.path().join("held");
    mkfifo(&held, Mode::S_IRWXU).expect("a FIFO");
    let (tell, told) = channel();
    let reader = thread::spawn(move || {
        // Opened when somebody writes; at its end when all who hold it for writing are gone.
        let read = fs::read_to_string(held);
        let _ = tell.send(());
        read
    });
    let run = lesson
        .line(r#"run "exec 3> held; sleep 1000 & echo > ready; sleep 1000" in the background as server"#)
        .line(r#"run "until test -e ready; do sleep 0.05; done""#)
        .line("check server")
        .run();
    run.has_in_order(&["s08 >> check server\n", "server: [running]"]);
    assert!(
        told.recv_timeout(PATIENCE).is_ok(),
        "it still runs after the program has ended"
    );
    assert_eq!(
        reader
            .join()
            .expect("the reader")
            .expect("nothing was written"),
        ""
    );
}

// ---- What a command must not see ----

#[test]
fn no_command_sees_a_variable_of_the_model() {
    let run = Lesson::new(S08)
        .variable("ANTHROPIC_MODEL", "some-model")
        .variable("ANTHROPIC_CUSTOM_HEADERS", "x-secret: abc")
        .variable("PASSED_ON", "yes")
        .line(r#"run "env > seen""#)
        .line(r#"run "env > seen_too" in the background as env, then wait for env"#)
        .run();
    for seen in ["seen", "seen_too"] {
        let seen = run.file(seen).expect("the command wrote it");
        assert!(
            seen.contains("\nPASSED_ON=yes\n") || seen.starts_with("PASSED_ON=yes\n"),
            "{seen}"
        );
        assert!(!seen.contains("ANTHROPIC_"), "{seen}");
    }
}

#[test]
fn no_command_sees_the_key() {
    const KEY: &str = "sk-a-key-for-this-test";
    // The parent is the supervisor, which only root can ask.
    let command = "env; cat /proc/$PPID/environ 2>&1 | tr '\\0' '\\n'";
    let server = Server::start([
        reply_tool("toolu_1", "bash", json!({ "command": command })),
        reply_tool(
            "toolu_2",
            "bg_bash",
            json!({ "id": "env", "command": format!("{{ {command}; }} > seen; echo > done") }),
        ),
        reply_tool(
            "toolu_3",
            "bash",
            json!({ "command": "until test -e done; do sleep 0.05; done; cat seen" }),
        ),
        reply_text("Seen."),
    ]);
    server.expect_header("x-api-key", KEY);
    let run = Lesson::new(S08)
        .variable("ANTHROPIC_API_KEY", KEY)
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .variable("PASSED_ON", "yes")
        .argument("--yes")
        .line("Look at your environment.")
        .run();
    run.has_in_order(&["● bash: env", "● bg_bash: env", "● bash: until", "Seen."]);
    run.has_not(KEY);
    assert!(!run.err.contains(KEY));
    let requests = server.requests();
    for request in [1, 3] {
        let result =
            requests[request].messages().last().expect("a message")["content"][0].to_string();
        assert!(result.contains("PASSED_ON=yes"), "{result}");
        assert!(
            !result.contains("ANTHROPIC_") && !result.contains(KEY),
            "{result}"
        );
    }
}

// ---- Bad input ----

#[test]
fn lines_that_are_no_prompts_get_a_sentence() {
    for lesson in [S01, S08] {
        goes_on(
            Lesson::new(lesson).line(""),
            &["Nothing typed. /help shows what can be done here."],
        );
        goes_on(
            Lesson::new(lesson).line(" \t "),
            &["Nothing typed. /help shows what can be done here."],
        );
        goes_on(
            Lesson::new(lesson).bytes(b"run \"echo \xff\xfe\"\n"),
            &["A line was not valid UTF-8 and was left out; the next one follows."],
        );
        goes_on(
            Lesson::new(lesson).line("/nonsense 1 2"),
            &["There is no command /nonsense 1 2. /help lists the commands."],
        );
        goes_on(
            Lesson::new(lesson).line("make me a sandwich"),
            &[
                "I do not understand \"make me a sandwich\". I did nothing.",
                "`help` lists the phrases",
            ],
        );
        goes_on(
            Lesson::new(lesson).line("run \"echo"),
            &["This quote never ends: \"echo. I did nothing."],
        );
        goes_on(
            Lesson::new(lesson).line("run \"echo a\0b\""),
            &["ERROR: the command could not be started: it holds a NUL character; leave that out"],
        );
    }
}

#[test]
fn a_line_of_a_megabyte_gets_a_sentence() {
    let long = "x".repeat(1024 * 1024);
    goes_on(
        Lesson::new(S01).line(&long),
        &["I do not understand \"xxxx", "…\". I did nothing."],
    );
    goes_on(
        Lesson::new(S08).line(&long),
        &["I do not understand \"xxxx", "…\". I did nothing."],
    );
    let too_long =
        "ERROR: the command could not be started: it is too long; write it to a file and run that";
    goes_on(
        Lesson::new(S01).line(&format!("run \"echo {long}\"")),
        &[too_long],
    );
    // From s06 on, it is also more than the conversation may hold.
    let run = goes_on(
        Lesson::new(S08).line(&format!("run \"echo {long}\"")),
        &[too_long, "(Compacted: ", "This turn was compacted halfway"],
    );
    assert_eq!(
        run.out.matches("● bash: echo xxx").count(),
        1,
        "it was not tried again and again"
    );
    let run = goes_on(
        Lesson::new(S08).line(&format!("write \"{long}\" to long.txt")),
        &["wrote 1048576 bytes"],
    );
    assert_eq!(
        run.file("long.txt").map(|text| text.len()),
        Some(1024 * 1024)
    );
    goes_on(
        Lesson::new(S08).line(&format!("/{long}")),
        &["There is no command /xxx", "x. /help lists"],
    );
}

#[test]
fn a_last_line_without_its_end_counts() {
    let run = Lesson::new(S01).bytes(b"run \"echo last\"").run();
    run.has(" · last\n");
    let run = Lesson::new(S01).bytes(b"run \"echo windows\"\r\n").run();
    run.has("● bash: echo windows\n").has(" · windows\n");
}

#[test]
fn broken_task_files_get_a_sentence() {
    let run = goes_on(
        Lesson::new(S07)
            .file(".tasks/task_1.json", "{")
            .file(".tasks/task_2.json", "\u{0}\u{1}")
            .file(".tasks/task_3.json/inside", "")
            .file(
                ".tasks/task_4.json",
                r#"{"id": 9, "subject": "moved", "status": "pending"}"#,
            )
            .file(
                ".tasks/task_5.json",
                r#"{"id": 5, "subject": "Still good", "status": "pending"}"#,
            )
            .line("list tasks")
            .line("show task 1")
            .line("create task \"Another\""),
        &[
            "● task_list",
            "[ ] 5: Still good",
            "task_1.json cannot be read: ",
            "Mend or delete it.",
            "task_2.json cannot be read: ",
            "task_3.json cannot be read: ",
            "task_4.json cannot be read: it says that it is task 9. Mend or delete it.",
            "ERROR: task_1.json cannot be read: ",
            "created [ ] 6: Another",
        ],
    );
    assert_eq!(
        run.file(".tasks/task_1.json").as_deref(),
        Some("{"),
        "it is for the person to mend"
    );
    let no_folder =
        "a part of its path is a file, not a folder; use another path, or move that file away.";
    goes_on(
        Lesson::new(S07)
            .file(".tasks", "")
            .line("list tasks")
            .line("create task \"One\""),
        &[
            &format!("ERROR: the task folder .tasks cannot be read: {no_folder}"),
            "● task_create",
            no_folder,
        ],
    );
}

#[test]
fn skills_and_agents_that_cannot_be_used_get_a_sentence() {
    let begin = "begin it with the lines ---, name: …, description: …, ---.";
    let skill = format!("skills/plain/SKILL.md: no `name` in front; {begin}");
    let agent = format!(".claude/agents/plain.md: no `name` in front; {begin}");
    let not_utf8 = "put a Markdown file in its place.";
    let lesson = Lesson::new(S08)
        .file("skills/plain/SKILL.md", "Only text.")
        .file("skills/folder/SKILL.md/inside", "")
        .file("skills/empty/other.md", "")
        .file(".claude/agents/plain.md", "Only text.")
        .file(
            ".claude/agents/nameless.md",
            "---\nname:\ndescription: x\n---\n",
        )
        .file(".claude/agents/folder.md/inside", "");
    fs::write(
        lesson.folder.path().join(".claude/agents/bytes.md"),
        b"---\nname: \xff\n---\n",
    )
    .expect("a file");
    let run = goes_on(
        lesson
            .line("load skill plain")
            .line(r#"delegate "help" to plain"#),
        &[
            r#"ERROR: there is no skill "plain". The skills are: commit-message."#,
            r#"ERROR: there is no agent "plain". The agents are: explore, plan."#,
        ],
    );
    run.has(&skill).has(&agent);
    run.has("skills/folder/SKILL.md: is a directory; put a Markdown file in its place.");
    run.has("skills/empty/SKILL.md: ")
        .has(".claude/agents/bytes.md: ")
        .has(not_utf8);
    run.has(".claude/agents/nameless.md: no `name` in front");
    run.has(".claude/agents/folder.md: is a directory; put a Markdown file in its place.");
    let no_folder = "put a folder in its place that can be read.";
    goes_on(
        Lesson::new(S05)
            .file("skills", "")
            .file(".claude/agents", ""),
        &["skills: ", no_folder, ".claude/agents: ", no_folder],
    );
}

#[test]
fn paths_that_are_no_files_get_a_sentence() {
    let folder = "it is a directory; list it with bash: ls.";
    let no_file = "it is no regular file but a pipe, socket or device; use bash.";
    let lesson = Lesson::new(S08)
        .file("folder/skills.txt", "")
        .file("old.txt", "old");
    for fifo in [
        "pipe",
        "skills/pipe/SKILL.md",
        ".claude/agents/pipe.md",
        ".tasks/task_1.json",
    ] {
        let path = lesson.folder.path().join(fifo);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
    }
    let run = goes_on(
        lesson
            .line("read folder")
            .line(r#"write "x" to folder"#)
            .line(r#"replace "a" with "b" in folder"#)
            .line("read pipe")
            .line(r#"write "x" to pipe"#)
            .line(r#"replace "a" with "b" in pipe"#)
            .line("list tasks")
            .line("read old.txt/inside")
            .line(r#"write "x" to old.txt/inside"#)
            .line("read nowhere.txt")
            .line("read /etc/passwd"),
        &[
            &format!("ERROR: folder cannot be read: {folder}"),
            &format!("ERROR: folder cannot be written: {folder}"),
            &format!("ERROR: folder cannot be read: {folder}"),
            &format!("ERROR: pipe cannot be read: {no_file}"),
            &format!("ERROR: pipe cannot be written: {no_file}"),
            &format!("ERROR: pipe cannot be read: {no_file}"),
            "task_1.json cannot be read: it is no regular file",
            "old.txt/inside cannot be ",
            "a part of its path is a file, not a folder",
            "old.txt/inside cannot be ",
            "a part of its path is a file, not a folder",
            "ERROR: nowhere.txt cannot be read: there is no such file; `ls` with bash shows what there is.",
            "ERROR: /etc/passwd lies outside the working directory",
        ],
    );
    run.has("skills/pipe/SKILL.md: it is no regular file but a pipe, socket or device; put a")
        .has(".claude/agents/pipe.md: it is no regular file but a pipe, socket or device; put a");
}

#[test]
fn what_is_forbidden_gets_a_sentence() {
    let lesson = Lesson::new(S08)
        .file("secret.txt", "old")
        .file("locked/inside.txt", "old")
        .file(".tasks/task_1.json", "{}")
        .file("skills/secret/SKILL.md", "")
        .file(".claude/agents/secret.md", "");
    let closed = [
        "secret.txt",
        "locked",
        ".tasks/task_1.json",
        "skills/secret/SKILL.md",
        ".claude/agents/secret.md",
    ]
    .map(|path| lesson.folder.path().join(path));
    let close = |mode| {
        for path in &closed {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .expect("its owner may do that");
        }
    };
    close(0o000);
    let denied = "permission denied; use another file, or ask the user to allow it.";
    let run = goes_on(
        lesson
            .unprivileged()
            .line("read secret.txt")
            .line(r#"write "new" to secret.txt"#)
            .line(r#"replace "old" with "new" in secret.txt"#)
            .line("read locked/inside.txt")
            .line(r#"write "new" to locked/other.txt"#)
            .line("list tasks"),
        &[
            &format!("ERROR: secret.txt cannot be read: {denied}"),
            &format!("ERROR: secret.txt cannot be written: {denied}"),
            &format!("ERROR: secret.txt cannot be read: {denied}"),
            "ERROR: locked/inside.txt cannot be ",
            denied,
            "ERROR: locked/other.txt cannot be ",
            denied,
            "task_1.json cannot be read: ",
            "Mend or delete it.",
        ],
    );
    close(0o700); // so that the folder can be taken away
    run.has("skills/secret/SKILL.md: ")
        .has(".claude/agents/secret.md: ");
    assert_eq!(run.file("secret.txt").as_deref(), Some("old"));
}

// ---- Options ----

#[test]
fn help_names_the_lesson_and_its_options() {
    let run = Lesson::new(S04).argument("--help").run();
    assert!(run.out.starts_with("s04 · "), "{}", run.out);
    for option in [
        "-p TEXT",
        "--demo",
        "--yes",
        "--agent NAME",
        "--help",
        "ANTHROPIC_API_KEY",
    ] {
        run.has(option);
    }
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
}

#[test]
fn options_that_do_not_fit_say_what_there_is() {
    let wrong = |lesson: &str, arguments: &[&str], why: &str| {
        let run = arguments
            .iter()
            .fold(Lesson::new(lesson), |run, argument| run.argument(argument))
            .run();
        assert!(run.err.starts_with(why), "{arguments:?}: {}", run.err);
        assert!(
            run.err
                .contains("--agent NAME   run as that agent (from s04 on)"),
            "{}",
            run.err
        );
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{arguments:?}");
    };
    wrong(S08, &["--nonsense"], "invalid option '--nonsense'\n");
    wrong(S08, &["\u{1b}[2J"], "unexpected argument ");
    wrong(S08, &["--\u{1b}[2J"], "invalid option '--^[[2J'\n");
    wrong(S08, &["-p"], "missing argument for option '-p'\n");
    wrong(
        S01,
        &["--agent", "explore"],
        "--agent: agents come with s04_subagent\n",
    );
    for of_replay in [&["--dry"][..], &["--speed", "4"]] {
        wrong(
            "s13_sessions",
            of_replay,
            "--dry and --speed are for --replay\n",
        );
    }
}

#[test]
fn one_turn_with_p() {
    let run = Lesson::new(S01)
        .argument("-p")
        .argument(r#"run "echo one""#)
        .line(r#"run "echo two""#)
        .run();
    // What is asked for is on standard output; who answers, beside it.
    assert!(
        run.out.starts_with("● bash: echo one\n") && run.out.ends_with("one\n"),
        "{}",
        run.out
    );
    assert!(run.err.contains("practice model"), "{}", run.err);
    run.has_not("two").has_not(" >> ");
    assert_eq!(run.code, Some(0));
}

#[test]
fn a_turn_that_fails_with_p_ends_the_program_with_1() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener); // Nobody listens there now.
    let run = Lesson::new(S08)
        .variable("ANTHROPIC_BASE_URL", &url)
        .argument("-p")
        .argument("hello")
        .run();
    run.has_in_order(&[
        "No connection to the model",
        "trying again in",
        "Check the network and ANTHROPIC_BASE_URL",
    ]);
    assert_eq!(run.code, Some(1));

    let server = Server::start([
        reply_error(400, "invalid_request_error", "no"),
        reply_text("Better."),
    ]);
    let run = Lesson::new(S08)
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .line("one")
        .line("two")
        .run();
    run.has_in_order(&[
        "The model's server answered 400: no.",
        "s08 >> two\n",
        "Better.",
    ]);
    assert_eq!(run.code, Some(0), "without -p the session goes on");
}

#[test]
fn a_lesson_can_run_as_an_agent() {
    let run = Lesson::new(S04)
        .argument("--agent")
        .argument("explore")
        .line(r#"write "x" to notes.txt"#)
        .line(r#"delegate "help""#)
        .line(r#"run "echo looked""#)
        .run();
    run.has("\nAgent: explore\n")
        .has("it needs the tool write_file, which is not offered here")
        .has(" · looked\n");
    run.has("it needs the tool task, which is not offered here");
    assert_eq!((run.file("notes.txt"), run.code), (None, Some(0)));

    let server = Server::start([reply_error(400, "invalid_request_error", "enough")]);
    let run = Lesson::new(S04)
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .argument("--agent");
    run.argument("mine")
        .argument("-p")
        .argument("hi")
        .file(
            ".claude/agents/mine.md",
            "---\nname: mine\ndescription: Reads.\ntools: Read, load_skill\n---\nYou only read.\n",
        )
        .run();
    let body = &server.requests()[0].body;
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(body["tools"][0]["name"], "read_file");
    assert_eq!(body["system"][0]["text"], "You only read.");

    // From s05 on it has that tool, and with it the list of the skills.
    let server = Server::start([reply_error(400, "invalid_request_error", "enough")]);
    let run = Lesson::new("s05_skill_loading")
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .argument("--agent");
    run.argument("mine")
        .argument("-p")
        .argument("hi")
        .file(
            ".claude/agents/mine.md",
            "---\nname: mine\ndescription: Reads.\ntools: Read, load_skill\n---\nYou only read.\n",
        )
        .file(
            "skills/style/SKILL.md",
            "---\nname: style\ndescription: How Rust is written.\n---\nNo unwrap.\n",
        )
        .run();
    let body = &server.requests()[0].body;
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(2), "{body}");
    let told = body["tools"][1]["description"].as_str().unwrap_or_default();
    assert!(told.contains("\n- commit-message: "), "{told}");
    assert!(told.ends_with("\n- style: How Rust is written."), "{told}");
    assert_eq!(body["system"][0]["text"], "You only read.");

    let run = Lesson::new(S04)
        .argument("--agent")
        .argument("nobody")
        .line(r#"run "echo no""#)
        .run();
    run.has(r#"there is no agent "nobody". The agents are: explore, plan."#)
        .has_not("● bash");
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_demonstration_plays_the_lines_of_the_page() {
    let run = Lesson::new(S02).argument("--demo").line("not read").run();
    run.has_in_order(&["s02 >> ", "● ", "s02 >> ", "● ", "s02 >> ", "● "])
        .has_not("not read");
    assert_eq!((run.code, run.out.matches("s02 >> ").count()), (Some(0), 3));
}

#[test]
fn output_that_nobody_reads_is_no_reason_to_panic() {
    let start = |arguments: &[&str], stdout: Stdio, stderr: Stdio| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program(S08));
        clean_environment(&mut command, folder.path());
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr);
        (folder, command.spawn().expect("the lesson starts"))
    };
    // As in `| head -1`: the first line is read, the rest is not.
    let (_folder, mut child) = start(&[], Stdio::piped(), Stdio::piped());
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("a line");
    assert!(first.starts_with("s08 · "), "{first}");
    drop(stdout);
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(
        b"run \"echo unheard\"\nhelp\n/help\n\nrun \"echo again\" in the background as b\n",
    );
    drop(stdin);
    let end = child.wait_with_output().expect("it ends");
    assert_eq!(
        (
            end.status.code(),
            String::from_utf8_lossy(&end.stderr).as_ref()
        ),
        (Some(0), "")
    );
    // From the beginning, and with every way to say something.
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--nonsense"], 2),
        (&["-p", "help"], 0),
        (&["--agent", "nobody"], 1),
        (&[], 0),
    ] {
        let (unread, stdout) = pipe().expect("a pipe");
        drop(unread);
        let stderr = stdout.try_clone().expect("a pipe");
        let (_folder, mut child) = start(arguments, stdout.into(), stderr.into());
        drop(child.stdin.take());
        assert_eq!(
            child.wait().expect("it ends").code(),
            Some(code),
            "{arguments:?}; a panic is 101"
        );
    }
}

// ---- Slash commands ----

#[test]
fn slash_commands_are_listed() {
    let run = Lesson::new(S01).line("/help").run();
    run.has_in_order(&["  /help ", "  /clear ", "  /exit ", "Try:\n", "  run \""])
        .has_not("/compact");
    run.has_not("●");
    Lesson::new(S06)
        .line("/help")
        .run()
        .has_in_order(&["  /clear ", "  /compact "]);
    // What is listed can be typed.
    for line in ["exit", "q", "/exit", " exit "] {
        let run = Lesson::new(S01)
            .line(line)
            .line(r#"run "echo after""#)
            .run();
        run.has_not("● bash");
        assert_eq!(run.code, Some(0), "{line}");
    }
}

#[test]
fn clear_forgets() {
    for lesson in [S01, S06] {
        let run = Lesson::new(lesson)
            .line(r#"run "echo blue""#)
            .line("summarise this conversation")
            .line("/clear")
            .line("summarise this conversation")
            .run();
        run.has_in_order(&[r#"- The user said: run "echo blue""#, ">> /clear\n"]);
        let after = run.out.split_once(">> /clear\n").expect("it was typed").1;
        assert!(
            after.contains("Nothing has been said or done yet.") && !after.contains("blue"),
            "{after}"
        );
    }
}

#[test]
fn compact_keeps_what_matters() {
    let run = Lesson::new(S06)
        .line("/compact")
        .line(r#"run "echo blue""#)
        .line("/compact")
        .line("summarise this conversation")
        .run();
    run.has_in_order(&[
        "(Nothing to compact yet.)",
        " · blue\n",
        "(Compacted: about ",
        "What was said before is in .transcripts/transcript-",
        ">> summarise this conversation\n",
        r#"- The user said: run "echo blue""#,
    ]);
    let kept = fs::read_dir(run.folder.path().join(".transcripts"))
        .expect("the folder")
        .count();
    assert_eq!(kept, 1);
}

// ---- Control bytes ----

#[test]
fn control_bytes_are_shown_not_sent() {
    let nasty = "A\u{1b}[2J\u{7}\u{0}\u{8}B\rC\u{7f}\u{9b}31mD\u{1b}]0;title\u{7}E";
    let printf = r"printf 'A\033[2J\007\000\010B\rC\177\302\23331mD\233E\033]0;title\007F\n'";
    let run = Lesson::new(S08)
        .file("nasty.txt", nasty)
        .file(&format!("skills/{}/SKILL.md", "a\u{1b}[2J"), nasty)
        .file(
            ".tasks/task_1.json",
            r#"{"id": 1, "subject": "a\u001b[2J", "status": "pending"}"#,
        )
        .line(&format!("run \"{printf}\""))
        .line(&format!(
            "run \"{printf}; until test -e gate; do sleep 0.05; done\" in the background as nasty"
        ))
        .line("check nasty")
        .line(r#"write "" to gate, then wait for nasty"#)
        .line("read nasty.txt")
        .line("list tasks")
        .line(&format!("run \"echo {}\"", nasty.replace('\0', "")))
        .line(&format!(
            "run \"true\" in the background as \"{}\"",
            nasty.replace('\0', "")
        ))
        .line("check all")
        .line(nasty)
        .line(&format!("/{nasty}"))
        .run();
    let harmless = |out: &str| {
        out.chars()
            .all(|c| !c.is_control() || c == '\n' || c == '\t')
    };
    assert!(harmless(&run.out) && harmless(&run.err), "{:?}", run.out);
    run.has("A^[[2J^G^@^HB\nC^?")
        .has("● read_file: nasty.txt")
        .has("^[]0;title^G");
    assert_eq!(run.code, Some(0));

    // And what a server says.
    let server = Server::start([
        reply_tool(
            "toolu_1",
            "bash",
            json!({ "command": format!("echo '{}'", nasty.replace('\0', "")) }),
        ),
        reply_tool("toolu_2", "no\u{1b}[2Jtool", json!({ "\u{1b}[2J": nasty })),
        reply_text(nasty),
        reply_error(400, "invalid_request_error", nasty),
    ]);
    let run = Lesson::new(S08)
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .variable("ANTHROPIC_MODEL", "m\u{1b}[2J")
        .argument("--yes")
        .line("one")
        .line("two")
        .run();
    assert!(harmless(&run.out) && harmless(&run.err), "{:?}", run.out);
    run.has("Model: m^[[2J at ")
        .has("The model's server answered 400: A^[[2J");
}

#[test]
fn half_of_a_line_at_a_time_is_one_line() {
    let mut lesson = Lesson::new(S01);
    let mut child = lesson.start();
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdin
        .write_all("run \"echo gr".as_bytes())
        .expect("half a line");
    // The program waits for the other half.
    let mut shown = Vec::new();
    while !shown.ends_with(b"exit to leave.\n") {
        let mut byte = [0];
        assert_eq!(
            stdout.read(&mut byte).expect("readable"),
            1,
            "{:?}",
            String::from_utf8_lossy(&shown)
        );
        shown.push(byte[0]);
    }
    stdin
        .write_all("ün\"\n".as_bytes())
        .expect("the other half");
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert!(
        rest.contains("● bash: echo grün\n") && rest.contains(" · grün\n"),
        "{rest}"
    );
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// What can be put into a pipe: its buffer, the reader's, and a few lines.
#[test]
fn a_pipe_is_read_a_few_lines_ahead() {
    let mut lesson = Lesson::new("s09_notifications");
    gate(lesson.folder.path(), "gate");
    let mut child = lesson.start();
    let mut stdin = child.stdin.take().expect("a pipe");
    fcntl(&stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe that never blocks");
    stdin.write_all(b"run \"cat gate\"\n").expect("a line");
    let line = format!("run \"echo {}\"\n", "x".repeat(1000));
    let (mut taken, mut tries) = (0, 0);
    while taken < 4 * 1024 * 1024 && tries < 50 {
        match stdin.write(line.as_bytes()) {
            Ok(count) => (taken, tries) = (taken + count, 0),
            Err(_) => {
                tries += 1;
                thread::sleep(Duration::from_millis(10)); // time for the reader
            }
        }
    }
    assert!(taken < 256 * 1024, "{taken} bytes were read ahead");
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
}
