//! Worktrees, as a person and a model use them: real repositories, real processes, agents that are
//! held at gates.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use meanwhile::tool::{Access, Context, Folder, Tool, Toolbox};
use meanwhile::tools::{background, bash, files};
use meanwhile::worktree;
use support::program::{Lesson, PATIENCE, eventually, eventually_or, gate};
use support::prompt::{at_prompt, served};
use support::server::{Server, reply_text, reply_tool};
use support::session::{Chance, executor, prepare, toolbox, until_ended};
use tempfile::TempDir;

const S12: &str = "s12_worktrees";

/// What git prints in a folder; nothing of the person who runs the tests is asked.
#[track_caller]
fn git(folder: &Path, arguments: &[&str]) -> String {
    let (code, printed) = try_git(folder, arguments);
    assert_eq!(code, Some(0), "git {arguments:?}: {printed}");
    printed
}

fn try_git(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    git.current_dir(folder).args(arguments);
    let output = git.output().expect("git runs");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).trim_end().to_string();
    (output.status.code(), printed)
}

/// Makes a repository with a page in it.
fn repository(folder: &Path) {
    git(folder, &["init", "-q", "-b", "main"]);
    git(folder, &["config", "user.name", "you"]);
    // It would run on after a commit.
    git(folder, &["config", "maintenance.auto", "false"]);
    git(folder, &["config", "user.email", "you@example.org"]);
    fs::write(folder.join("index.html"), "<h1>A page</h1>\n").expect("a page");
    fs::write(folder.join(".gitignore"), "state/\n*.log\n").expect("a file");
    git(folder, &["add", "."]);
    git(folder, &["commit", "-qm", "page"]);
}

fn in_repository() -> Lesson {
    let lesson = Lesson::new(S12);
    repository(lesson.folder.path());
    lesson
}

/// A program that is typed into, at a pipe.
struct Talk {
    folder: PathBuf,
    _lesson: Lesson,
    child: Child,
    stdin: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
}

impl Talk {
    fn with(mut lesson: Lesson) -> Self {
        let mut child = lesson.start();
        let mut stdout = child.stdout.take().expect("a pipe");
        let shown = Arc::<Mutex<String>>::default();
        let sink = shown.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                sink.lock().expect("a text").push_str(&text);
            }
        });
        Talk {
            folder: lesson.folder.path().to_path_buf(),
            _lesson: lesson,
            stdin: child.stdin.take(),
            child,
            shown,
        }
    }

    fn line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("an open pipe");
        writeln!(stdin, "{line}").expect("the program reads");
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("a text").clone()
    }

    #[track_caller]
    fn until_shows(&self, text: &str) {
        eventually_or(text, || self.shown(), || self.shown().contains(text));
    }

    /// Closes the pipe and waits for the end.
    fn leave(&mut self) -> String {
        self.stdin = None;
        let _ = self.child.wait();
        self.shown()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent's errand: it writes, waits at a gate outside of its tree, and commits.
fn errand(name: &str, text: &str) -> String {
    let write = format!("write '{text}' to theme.css");
    let commit = format!("run 'cat ../../{name}.gate; git add theme.css; git commit -qm {name}'");
    format!("delegate \"{write}, then {commit}\" as {name} in a worktree")
}

fn open(folder: &Path, name: &str) {
    fs::write(folder.join(format!("{name}.gate")), "go\n").expect("an open gate");
}

#[test]
fn three_agents_write_one_file_and_none_of_them_writes_yours() {
    let lesson = in_repository();
    let folder = lesson.folder.path().to_path_buf();
    let names = ["ui-light", "ui-dark", "ui-sea"];
    for name in names {
        gate(&folder, &format!("{name}.gate"));
    }
    let head = git(&folder, &["rev-parse", "HEAD"]);
    let mut talk = Talk::with(lesson);
    let errands = names.map(|name| errand(name, name)).join("; ");
    talk.line(&format!("together: {errands}"));
    for name in names {
        let file = folder.join(".worktrees").join(name).join("theme.css");
        eventually(name, || {
            fs::read_to_string(&file).is_ok_and(|text| text == name)
        });
    }
    // All three are held.
    assert!(!folder.join("theme.css").exists());
    assert_eq!(git(&folder, &["status", "--porcelain"]), "");
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), head);
    talk.line("/worktrees");
    talk.until_shows("branch ui-sea, 0 ahead, files changed: nothing, not committed: theme.css; an agent works there\n");
    let listed = git(&folder, &["worktree", "list", "--porcelain"]);
    for name in names {
        assert!(
            listed.contains(&format!("locked the agent {name} works here")),
            "{listed}"
        );
    }
    names.iter().for_each(|name| open(&folder, name));
    for name in names {
        talk.until_shows(&format!("◆ {name}: finished after "));
    }
    for name in names {
        let file = format!("{name}:theme.css");
        assert_eq!(git(&folder, &["show", &file]), name);
    }
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), head);
    assert_eq!(git(&folder, &["status", "--porcelain"]), "");
    let listed = git(&folder, &["worktree", "list", "--porcelain"]);
    assert!(!listed.contains("locked"), "{listed}");
    assert_eq!(git(&folder, &["show", "HEAD:.gitignore"]), "state/\n*.log");
    let excluded = fs::read_to_string(folder.join(".git/info/exclude")).expect("a file");
    let ours = excluded.lines().filter(|line| *line == "/.worktrees/");
    assert_eq!(ours.count(), 1, "once, for three worktrees: {excluded}");
    talk.leave();
}

#[test]
fn without_worktrees_the_last_one_wins_and_nobody_is_told() {
    let write = |name: &str| {
        format!("delegate \"write '{name}' to theme.css\" as {name}, then wait for {name}")
    };
    let line = [write("light"), write("dark")].join(", then ");
    let run = Lesson::new(S12).argument("-p").argument(&line).run();
    run.has("◆ light: finished").has("◆ dark: finished");
    run.has_not("ERROR");
    assert_eq!(run.file("theme.css").as_deref(), Some("dark"));
}

/// The names that the folder `.worktrees` holds.
fn worktrees(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join(".worktrees"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect()
}

#[test]
fn the_result_ends_with_the_facts_and_an_untouched_worktree_goes() {
    let lesson = in_repository();
    let folder = lesson.folder.path();
    fs::write(folder.join("notes.txt"), "mine").expect("a file");
    fs::write(folder.join("build.log"), "built").expect("a file");
    let mut talk = Talk::with(lesson);
    talk.line("delegate \"run 'ls -A'\" as look in a worktree");
    talk.until_shows("[worktree .worktrees/look: nothing was changed, so it is removed]");
    let shown = talk.shown();
    assert!(
        shown.contains(
            "Not in it: what is not committed here (notes.txt), what is ignored (build.log"
        ),
        "{shown}"
    );
    assert!(shown.contains(".git\n.gitignore\nindex.html\n"), "{shown}");
    assert_eq!(worktrees(&talk.folder), [""; 0]);
    assert_eq!(git(&talk.folder, &["branch", "--list", "look"]), "");
    talk.line("delegate \"write 'x' to a.css, then run 'git add .; git commit -qm one', then write 'y' to b.css\" as work in a worktree");
    talk.until_shows("[worktree .worktrees/work: branch work, 1 ahead, files changed: a.css, not committed: b.css; it stays until it is removed]");
    assert_eq!(worktrees(&talk.folder), ["work"]);
    // An agent that fails, and one that is stopped, leave the facts as well.
    gate(&talk.folder, "never");
    talk.line(
        "delegate \"write 'x' to c.css, then run 'cat ../../never'\" as stopped in a worktree",
    );
    let file = talk.folder.join(".worktrees/stopped/c.css");
    eventually("it works", || file.exists());
    talk.line("stop stopped");
    talk.until_shows("[worktree .worktrees/stopped: branch stopped, 0 ahead, files changed: nothing, not committed: c.css; it stays");
    // And one that is waited for.
    talk.line("call task {\"description\": \"waited\", \"prompt\": \"write 'x' to d.css\", \"wait\": true, \"worktree\": true}");
    talk.until_shows("[worktree .worktrees/waited: branch waited, 0 ahead, files changed: nothing, not committed: d.css; it stays");
    talk.leave();
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() {
    let refused = |folder: &Path, name: &str, why: &str| {
        let line = json!({ "description": name, "prompt": "write 'x' to a", "worktree": true });
        let lesson = Lesson::new(S12)
            .variable("MEANWHILE_THINKING_MS", "0")
            .argument("-p")
            .argument(&format!("call task {line}"));
        let run = lesson.within(folder).run();
        let told = format!("ERROR: {why}");
        run.has(&told).has_not("started in the background");
        let (_, rest) = run.out.split_once(&told).expect("it is there");
        let sentence = rest.lines().next().unwrap_or_default();
        assert!(!sentence.contains("usage:"), "{sentence}");
    };
    let empty = tempfile::tempdir().expect("a folder");
    refused(empty.path(), "a", "there is no repository for a worktree: ");
    git(empty.path(), &["init", "-q"]);
    refused(empty.path(), "a", "the repository has no commit");
    let bare = tempfile::tempdir().expect("a folder");
    git(bare.path(), &["init", "-q", "--bare"]);
    refused(bare.path(), "a", "this repository is bare");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    repository(folder);
    git(folder, &["branch", "taken"]);
    fs::create_dir_all(folder.join(".worktrees/there")).expect("a folder");
    refused(
        folder,
        "taken",
        "git makes no worktree taken: a branch named 'taken' already exists",
    );
    refused(folder, "there", "there is a .worktrees/there already");
    for name in [
        "a b",
        "a..b",
        "x.lock",
        "-f",
        "@{-1}",
        "a~1",
        "a\u{7}",
        "'; touch hit; '",
    ] {
        refused(folder, name, "git makes no worktree ");
    }
    for name in ["../a", "/tmp/a", "a/b", "..", ".", ""] {
        refused(folder, name, &format!("{name:?} is a path"));
    }
    assert!(!folder.join("hit").exists());
    let before = git(folder, &["worktree", "list"]);
    assert_eq!(before.lines().count(), 1, "{before}");
    assert_eq!(worktrees(folder), ["there"]);
    // A link would lead out.
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::remove_dir_all(folder.join(".worktrees")).expect("a folder");
    std::os::unix::fs::symlink(elsewhere.path(), folder.join(".worktrees")).expect("a link");
    refused(
        folder,
        "a",
        ".worktrees cannot be used: it is a symbolic link",
    );
    // No git at all.
    fs::remove_file(folder.join(".worktrees")).expect("a link");
    let bin = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink("/bin/bash", bin.path().join("bash")).expect("a link");
    let line = "delegate \"write 'x' to a\" as a in a worktree";
    let lesson = Lesson::new(S12).variable("PATH", &bin.path().display().to_string());
    let run = lesson.argument("-p").argument(line).within(folder).run();
    run.has("ERROR: there is no repository for a worktree: git was not found; install it");
}

#[test]
fn a_merge_that_would_conflict_touches_nothing() {
    let lesson = in_repository();
    let folder = lesson.folder.path().to_path_buf();
    let mut talk = Talk::with(lesson);
    let errand = |name: &str| {
        format!(
            "delegate \"write '{name}' to theme.css, then run 'git add .; git commit -qm {name}'\" as {name} in a worktree"
        )
    };
    let both = [errand("light"), errand("dark")].join("; ");
    talk.line(&format!("together: {both}"));
    talk.until_shows("◆ light: ");
    talk.until_shows("◆ dark: ");
    talk.line("merge light");
    talk.until_shows("merged light: branch light, 1 ahead, files changed: theme.css");
    let parents = git(&folder, &["log", "-1", "--format=%P"]);
    assert_eq!(parents.split(' ').count(), 2, "--no-ff: a merge commit");
    let before = git(&folder, &["rev-parse", "HEAD"]);
    // What was committed elsewhere than on its branch is not merged, and is not said to be.
    talk.line("delegate \"run 'git checkout -qb elsewhere; git commit -qm aside --allow-empty'\" as aside in a worktree");
    talk.until_shows("◆ aside: ");
    talk.line("merge aside");
    talk.until_shows("ERROR: nothing of aside can be merged: branch aside, 1 ahead");
    talk.line("merge dark");
    talk.until_shows("ERROR: dark conflicts with what is here, so nothing was changed: theme.css.");
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), before);
    assert_eq!(git(&folder, &["status", "--porcelain"]), "");
    assert_eq!(
        fs::read_to_string(folder.join("theme.css")).expect("a file"),
        "light"
    );
    // Nor does one that a hook refuses.
    talk.line("delegate \"write 'x' to other.css, then run 'git add .; git commit -qm other'\" as other in a worktree, then wait for other");
    talk.until_shows("◆ other: ");
    let hook = folder.join(".git/hooks/pre-merge-commit");
    fs::create_dir_all(hook.parent().expect("a folder")).expect("a folder");
    fs::write(&hook, "#!/bin/sh\necho not on a Friday >&2\nexit 1\n").expect("a hook");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a hook");
    talk.line("merge other");
    talk.until_shows("ERROR: nothing was merged, as git says: not on a Friday");
    eventually("the merge is taken back", || {
        git(&folder, &["status", "--porcelain"]).is_empty() && !folder.join("other.css").exists()
    });
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), before);
    fs::remove_file(&hook).expect("a hook");
    // A change of yours that the merge would overwrite.
    fs::write(folder.join("other.css"), "mine").expect("a file");
    talk.line("merge other, then remove nobody, then merge light");
    talk.until_shows("other.css");
    talk.until_shows(
        "ERROR: there is no worktree \"nobody\". There is: aside, dark, light, other.",
    );
    talk.until_shows("ERROR: nothing of light can be merged: branch light, 0 ahead");
    assert_eq!(
        fs::read_to_string(folder.join("other.css")).expect("a file"),
        "mine"
    );
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), before);
    talk.leave();
}

#[test]
fn nothing_is_removed_that_is_nowhere_else() {
    let lesson = in_repository();
    let folder = lesson.folder.path().to_path_buf();
    let mut talk = Talk::with(lesson);
    let agent = |name: &str, errand: &str| {
        format!("delegate \"{errand}\" as {name} in a worktree, then wait for {name}")
    };
    let cases = [
        ("new", "write 'x' to a.css", "a.css"),
        ("changed", "write 'x' to index.html", "index.html"),
        ("ignored", "write 'x' to it.log", "it.log"),
        (
            "commit",
            "run 'echo x > a.css; git add .; git commit -qm mine'",
            "(mine)",
        ),
        (
            "off",
            "run 'git checkout -q --detach; echo x > a.css; git add .; git commit -qm aside'",
            "(aside)",
        ),
        (
            "nested",
            "run 'git init -q sub; echo x > sub/a.css'",
            "sub/",
        ),
        (
            "inner",
            "run 'mkdir .worktrees; echo x > .worktrees/a.css'",
            ".worktrees/",
        ),
        ("named", "write 'x' to ä.css", "ä.css"),
    ];
    for (name, errand, what) in cases {
        talk.line(&agent(name, errand));
        talk.until_shows(&format!("◆ {name}: finished"));
        talk.line(&format!("remove {name}"));
        talk.until_shows(&format!(
            "ERROR: {name} was not removed, as this is nowhere else: "
        ));
        let shown = talk.shown();
        let (_, told) = shown
            .split_once(&format!("{name} was not removed"))
            .expect("shown");
        assert!(
            told.lines().next().unwrap_or_default().contains(what),
            "{name}: {told}"
        );
        assert!(worktrees(&folder).contains(&name.to_string()));
    }
    // A tag keeps the commits; then both may go.
    git(&folder, &["tag", "kept", "commit"]);
    talk.line("remove commit");
    talk.until_shows("removed commit and its branch; nothing was lost.");
    assert_eq!(git(&folder, &["show", "kept:a.css"]), "x");
    assert_eq!(git(&folder, &["branch", "--list", "commit"]), "");
    // So does a merge.
    git(
        &folder,
        &[
            "merge",
            "-q",
            "--ff-only",
            git(&folder.join(".worktrees/off"), &["rev-parse", "HEAD"]).as_str(),
        ],
    );
    talk.line("remove off");
    talk.until_shows("removed off and its branch; nothing was lost.");
    assert_eq!(
        fs::read_to_string(folder.join("a.css")).expect("a file"),
        "x\n"
    );
    let mut left = worktrees(&folder);
    left.sort();
    assert_eq!(
        left,
        ["changed", "ignored", "inner", "named", "nested", "new"]
    );
    talk.leave();
}

#[test]
fn who_works_in_a_worktree_is_known_everywhere_and_a_dead_one_does_not_count() {
    let lesson = in_repository();
    let folder = lesson.folder.path().to_path_buf();
    gate(&folder, "ui-dark.gate");
    let mut first = Talk::with(lesson);
    first.line(&errand("ui-dark", "dark"));
    eventually("it works", || {
        folder.join(".worktrees/ui-dark/theme.css").exists()
    });
    let second = || {
        let lesson = Lesson::new(S12);
        let lesson = lesson
            .line("/worktrees")
            .line("merge ui-dark, then remove ui-dark");
        lesson.within(&folder).run()
    };
    let run = second();
    run.has("not committed: theme.css; an agent works there");
    let busy = "ERROR: an agent works in ui-dark. Wait until it has ended.";
    assert_eq!(
        run.out.matches(&format!(" s · {busy}")).count(),
        2,
        "{}",
        run.out
    );
    first.child.kill().expect("SIGKILL");
    first.child.wait().expect("its end");
    let run = second();
    run.has("not committed: theme.css; nobody works there");
    run.has("ERROR: nothing of ui-dark can be merged")
        .has("ERROR: ui-dark was not removed");
    assert_eq!(
        fs::read_to_string(folder.join(".worktrees/ui-dark/theme.css")).expect("kept"),
        "dark"
    );
    fs::remove_file(folder.join(".worktrees/ui-dark/theme.css")).expect("a file");
    // A lock of yours is another matter.
    let lock = |arguments: &[&str]| {
        git(
            &folder,
            &[&["worktree"], arguments, &[".worktrees/ui-dark"]].concat(),
        )
    };
    lock(&["unlock"]);
    lock(&["lock", "--reason", "mine"]);
    second().has("cannot remove a locked working tree, lock reason: mine");
    lock(&["unlock"]);
    lock(&["lock", "--reason", "the agent ui-dark works here"]);
    // git has locked it for one who is dead.
    second().has("removed ui-dark and its branch; nothing was lost.");
    assert_eq!(worktrees(&folder), [""; 0]);
}

/// A `task` that does nothing but keep its folder.
type Kept = Arc<Mutex<Vec<Arc<dyn Folder>>>>;

fn fake_task(kept: &Kept) -> Toolbox {
    prepare();
    let kept = kept.clone();
    let schema = json!({ "type": "object", "properties": { "description": {}, "prompt": {} } });
    let task = move |_: Value, context: &Context| {
        kept.lock().expect("a list").push(context.folder.clone());
        Ok("started".to_string())
    };
    toolbox([Tool::new("task", "", schema, Access::Free, task)])
}

fn works_in(folder: &Path) -> Context {
    Context {
        folder: Arc::new(folder.to_path_buf()),
        ..Context::default()
    }
}

#[test]
fn of_twenty_adds_at_once_none_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    repository(folder.path());
    let kept = Kept::default();
    let task = worktree::task(&fake_task(&kept));
    thread::scope(|scope| {
        for number in 0..20 {
            let (task, context) = (&task, works_in(folder.path()));
            scope.spawn(move || {
                let input =
                    json!({ "description": format!("t{number}"), "prompt": "", "worktree": true });
                task.call(input, &context).expect("a worktree");
            });
        }
    });
    assert_eq!(worktrees(folder.path()).len(), 20);
    let paths = |kept: &Kept| -> Vec<PathBuf> {
        let kept = kept.lock().expect("a list");
        kept.iter()
            .map(|folder| folder.path().to_path_buf())
            .collect()
    };
    for path in paths(&kept) {
        assert!(path.join("index.html").exists(), "{}", path.display());
    }
    // Nobody works there any more: all twenty go at once.
    let folders = std::mem::take(&mut *kept.lock().expect("a list"));
    thread::scope(|scope| {
        folders
            .into_iter()
            .for_each(|folder| drop(scope.spawn(move || drop(folder))));
    });
    assert_eq!(worktrees(folder.path()), [""; 0]);
    assert_eq!(
        git(folder.path(), &["branch", "--format=%(refname:short)"]),
        "main"
    );
    assert_eq!(git(folder.path(), &["fsck"]), "");
}

#[test]
fn who_waits_for_its_turn_can_be_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    repository(folder.path());
    let turn = folder.path().join(".git/meanwhile/~turn.lock");
    fs::create_dir(turn.parent().expect("a folder")).expect("a new folder");
    let turn = fs::File::create(turn).expect("a file");
    turn.lock().expect("nobody else has it");
    let add = "worktree add -q -b there .worktrees/there";
    git(folder.path(), &add.split(' ').collect::<Vec<_>>());
    let task = worktree::task(&fake_task(&Kept::default()));
    let [_, remove] = worktree::tools();
    let late = json!({ "description": "late", "prompt": "", "worktree": true });
    for (tool, input) in [(task, late), (remove, json!({ "name": "there" }))] {
        let context = works_in(folder.path());
        let (interrupt, (tell, told)) = (context.interrupt.clone(), channel());
        thread::spawn(move || tell.send(tool.call(input, &context)));
        thread::sleep(Duration::from_millis(200)); // it waits by now, or will
        interrupt.trigger();
        let end = told.recv_timeout(PATIENCE).expect("an end");
        end.expect_err("no turn, no worktree");
    }
    drop(turn);
    assert_eq!(worktrees(folder.path()), ["there"]);
}

/// git would write down what it has seen, under a lock that a commit of yours may need just then.
#[test]
fn to_ask_what_is_not_committed_leaves_the_index_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    repository(folder.path());
    let page = folder.path().join("index.html");
    let text = fs::read(&page).expect("a page");
    fs::remove_file(&page).expect("no page");
    fs::write(&page, text).expect("the same again, as another file");
    let index = || fs::read(folder.path().join(".git/index")).expect("an index");
    let before = index();
    let task = worktree::task(&fake_task(&Kept::default()));
    let input = json!({ "description": "look", "prompt": "", "worktree": true });
    task.call(input, &works_in(folder.path()))
        .expect("a worktree");
    assert!(index() == before);
}

#[test]
fn adds_of_several_programs_take_turns_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    repository(folder.path());
    thread::scope(|scope| {
        for program in 0..5 {
            let folder = folder.path();
            scope.spawn(move || {
                let add = |agent: usize| {
                    format!("delegate \"write 'x' to a\" as p{program}-{agent} in a worktree")
                };
                let line = format!(
                    "together: {}",
                    (0..4).map(add).collect::<Vec<_>>().join("; ")
                );
                let run = Lesson::new(S12)
                    .argument("-p")
                    .argument(&line)
                    .within(folder)
                    .run();
                run.has_not("ERROR");
            });
        }
    });
    assert_eq!(worktrees(folder.path()).len(), 20);
    assert_eq!(
        git(folder.path(), &["branch", "--list", "p*"])
            .lines()
            .count(),
        20
    );
}

#[test]
fn tools_work_in_the_folder_of_the_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("a folder");
    let context = works_in(&folder);
    let executor = executor(4);
    let mut tools = toolbox(files::tools("."));
    tools.add([bash::tool()]);
    tools.add(background::tools(&executor));
    let call = |name: &str, input: Value| tools.get(name).expect("a tool").call(input, &context);
    call(
        "write_file",
        json!({ "path": "sub/a.txt", "content": "one" }),
    )
    .expect("written");
    call(
        "edit_file",
        json!({ "path": "sub/a.txt", "old_text": "one", "new_text": "two" }),
    )
    .expect("edited");
    assert_eq!(
        call("read_file", json!({ "path": "sub/a.txt" })),
        Ok("two".to_string())
    );
    assert!(call("read_file", json!({ "path": "/etc/hostname" })).is_err());
    assert_eq!(
        call("bash", json!({ "command": "pwd" })),
        Ok(folder.display().to_string())
    );
    call("bg_bash", json!({ "id": "b", "command": "pwd > here" })).expect("started");
    until_ended(&executor, "b");
    assert_eq!(
        fs::read_to_string(folder.join("here")).expect("a file"),
        format!("{}\n", folder.display())
    );
    assert_ne!(
        std::env::current_dir().expect("a folder"),
        folder,
        "nobody has moved the program"
    );
    fs::remove_dir_all(&folder).expect("a folder");
    let gone = call("bash", json!({ "command": "pwd" })).expect_err("no folder");
    assert!(gone.contains("its folder is gone"), "{gone}");
}

#[test]
fn variables_of_git_lead_nobody_elsewhere() {
    let other = tempfile::tempdir().expect("a folder");
    repository(other.path());
    let lesson = in_repository();
    let folder = lesson.folder.path().to_path_buf();
    let elsewhere = other.path().join(".git").display().to_string();
    let lesson = lesson
        .variable("GIT_DIR", &elsewhere)
        .variable("GIT_WORK_TREE", &other.path().display().to_string())
        .variable("GIT_INDEX_FILE", &format!("{elsewhere}/index"));
    let mut talk = Talk::with(lesson);
    talk.line("delegate \"write 'x' to a.css, then run 'git add .; git commit -qm mine'\" as ui in a worktree, then wait for ui");
    talk.until_shows("branch ui, 1 ahead, files changed: a.css");
    talk.leave();
    assert_eq!(git(&folder, &["show", "ui:a.css"]), "x");
    assert_eq!(
        git(other.path(), &["branch", "--format=%(refname:short)"]),
        "main"
    );
    assert_eq!(git(other.path(), &["status", "--porcelain"]), "");
}

#[test]
fn an_agent_works_at_the_place_where_the_program_is() {
    let folder = tempfile::tempdir().expect("a folder");
    repository(folder.path());
    let sub = folder.path().join("site");
    fs::create_dir(&sub).expect("a folder");
    let line = "delegate \"write 'x' to a.css\" as ui in a worktree";
    let run = Lesson::new(S12)
        .argument("-p")
        .argument(line)
        .within(&sub)
        .run();
    run.has("◆ ui: finished");
    let file = folder.path().join(".worktrees/ui/site/a.css");
    assert_eq!(fs::read_to_string(file).expect("a file"), "x");
}

/// A worktree is where git itself would put it, and is excluded there, however git is laid out.
#[test]
fn a_repository_is_where_git_finds_it() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    repository(root);
    git(root, &["worktree", "add", "-q", "linked"]);
    git(root, &["init", "-q", "--separate-git-dir=apart", "away"]);
    let author = ["-c", "user.name=a", "-c", "user.email=a@b"];
    let first = ["commit", "-q", "--allow-empty", "-m", "first"];
    git(&root.join("away"), &[&author[..], &first[..]].concat());
    fs::create_dir_all(root.join("site/deep")).expect("a folder");
    std::os::unix::fs::symlink("site/deep", root.join("link")).expect("a link");
    for (number, place) in ["", "linked", "away", "site/deep", "link"]
        .iter()
        .enumerate()
    {
        let (kept, name) = (Kept::default(), format!("t{number}"));
        let input = json!({ "description": name, "prompt": "", "worktree": true });
        let (task, here) = (worktree::task(&fake_task(&kept)), root.join(place));
        task.call(input, &works_in(&here)).expect("a worktree");
        let ask = |what: &str| git(&here, &["rev-parse", "--path-format=absolute", what]);
        let inside = git(&here, &["rev-parse", "--show-prefix"]);
        let folder = Path::new(&ask("--show-toplevel"))
            .join(".worktrees")
            .join(name)
            .join(inside);
        let kept = kept.lock().expect("a list");
        assert_eq!(
            kept[0].path().canonicalize().expect("it is there"),
            folder,
            "{place}"
        );
        let exclude = Path::new(&ask("--git-common-dir")).join("info/exclude");
        let exclude = fs::read_to_string(exclude).expect("a list");
        assert!(
            exclude.lines().any(|line| line == "/.worktrees/"),
            "{place}"
        );
    }
}

#[test]
fn the_protocol_holds_with_an_agent_in_a_worktree() {
    let task =
        json!({ "description": "ui", "prompt": "make it dark", "wait": true, "worktree": true });
    let server = Server::start([
        reply_tool("t1", "task", task),
        reply_tool(
            "w1",
            "write_file",
            json!({ "path": "theme.css", "content": "dark" }),
        ),
        reply_tool(
            "w2",
            "bash",
            json!({ "command": "git add .; git commit -qm dark" }),
        ),
        reply_text("It is dark."),
        reply_tool("t2", "worktree_merge", json!({ "name": "ui" })),
        reply_tool("t3", "worktree_remove", json!({ "name": "ui" })),
        reply_text("All is merged."),
    ]);
    let seat = served(S12, &server);
    repository(seat.folder.path());
    let mut terminal = at_prompt(seat, "s12 >>");
    terminal.line("make a dark theme, and merge it");
    for name in ["write_file", "bash", "worktree_merge", "worktree_remove"] {
        terminal.until_shows(&format!("The agent wants to call {name}:"));
        terminal.until("the question", |screen| {
            screen.ends_with("session:\n\ns12 >>")
        });
        terminal.line("y");
    }
    terminal.until_shows("All is merged.");
    terminal.until_ends("s12 >>");
    terminal.line("/worktrees");
    terminal.until_shows("No worktrees.");
    let requests = server.requests();
    let results = requests
        .last()
        .expect("a request")
        .messages()
        .iter()
        .flat_map(|message| {
            let blocks = message["content"].as_array().cloned().unwrap_or_default();
            blocks
                .into_iter()
                .filter_map(|block| block["content"].as_str().map(str::to_string))
        });
    let results: Vec<String> = results.collect();
    assert!(
        results[0].starts_with("It is dark.\n[worktree .worktrees/ui: branch ui, 1 ahead, files changed: theme.css, not committed: nothing; it stays until it is removed]\nIt works in .worktrees/ui, a checkout of commit "),
        "{results:#?}"
    );
    assert!(results[1].starts_with("merged ui: "), "{results:#?}");
    assert!(
        results[2].starts_with("removed ui and its branch"),
        "{results:#?}"
    );
    let theme = terminal.folder.path().join("theme.css");
    assert_eq!(fs::read_to_string(theme).expect("a file"), "dark");
    // Its agents have neither of the two tools.
    let offered = |request: usize| requests[request].body["tools"].to_string();
    assert!(offered(0).contains("worktree_remove") && !offered(1).contains("worktree_"));
    terminal.line("exit");
    terminal.wait();
}

// ---- Random ends ----

/// A `git` that is counted, and ends the program before or after the call that is named.
const COUNTING: &str = r#"#!/bin/bash
echo $$ >> "$KILLED/pids"
echo x >> "$KILLED/calls"
count=$(wc -l < "$KILLED/calls")
[ "$KILL_BEFORE" = "$count" ] && kill -9 "$(cat "$KILLED/program")" && sleep 60
[ "$KILL_AFTER" = "$count" ] || exec "$REAL_GIT" "$@"
"$REAL_GIT" "$@"
kill -9 "$(cat "$KILLED/program")" && sleep 60
"#;

/// A story of one agent in a worktree: it begins, writes, commits, ends, is merged, is removed.
const STORY: &str = r#"call task {"description": "ui", "wait": true, "worktree": true, "prompt": "write 'precious' to theme.css, then run 'git add .', then run 'git commit -qm dark', then write 'precious too' to later.css"}, then merge ui, then remove ui"#;

/// The lesson in a repository, with this script for a `git`.
fn with_git(notes: &Path, script: &str) -> Lesson {
    let [shim, text] = ["git", "script"].map(|name| notes.join(name));
    // Written by another process: see `copy_program`.
    fs::write(&text, script).expect("a script");
    let made = Command::new("install")
        .arg("-m755")
        .args([&text, &shim])
        .status();
    assert!(made.expect("install runs").success());
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", notes.display());
    in_repository()
        .variable("PATH", &path)
        .variable("REAL_GIT", &real_git().display().to_string())
}

/// To look through your files takes as long as the agent takes to write one.
const SLOW: &str = r#"#!/bin/bash
case "$*" in *-C*) ;; *status*)
    for _ in {1..300}; do [ -e .worktrees/ui/a ] && break; sleep 0.1; done
    [ -e .worktrees/ui/a ] || { echo "it gave up"; exit 1; }
esac
exec "$REAL_GIT" "$@"
"#;

#[test]
fn an_agent_begins_before_git_has_looked_through_your_files() {
    let notes = tempfile::tempdir().expect("a folder");
    let lesson = with_git(notes.path(), SLOW);
    let line = "delegate \"write 'x' to a\" as ui in a worktree";
    let run = lesson.argument("-p").argument(line).run();
    run.has("It works in .worktrees/ui").has_not("gave up");
}

/// The program at its story, in a repository, with that `git`.
struct Killed {
    talk: Talk,
    notes: TempDir,
}

impl Killed {
    fn start(variable: &str, call: usize) -> Self {
        let notes = tempfile::tempdir().expect("a folder");
        let lesson = with_git(notes.path(), COUNTING)
            .variable("KILLED", &notes.path().display().to_string())
            .variable(variable, &call.to_string());
        let mut talk = Talk::with(lesson);
        fs::write(notes.path().join("program"), talk.child.id().to_string()).expect("a note");
        talk.line(STORY);
        Killed { talk, notes }
    }

    /// Waits until the program is dead, and every git that it began. False if it came to its end.
    fn is_dead(&mut self) -> bool {
        let mut over = false;
        eventually("it dies, or has told its story", || {
            over = self.talk.child.try_wait().expect("a child").is_some();
            over || self.talk.shown().contains("3. remove ui")
        });
        let pids = fs::read_to_string(self.notes.path().join("pids")).unwrap_or_default();
        eventually("no git of it runs", || {
            !over
                || pids
                    .lines()
                    .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        });
        over
    }

    /// What must hold, however it ended: the repository is sound, no byte is lost, and the name is
    /// free, or is refused in a sentence.
    #[track_caller]
    fn is_sound(&self, when: &str) {
        let folder = &self.talk.folder;
        let text = |path: &str| fs::read_to_string(folder.join(".worktrees/ui").join(path)).ok();
        let written = [text("theme.css").is_some(), text("later.css").is_some()];
        let lesson = Lesson::new(S12).within(folder);
        let again = "together: delegate \"write 'again' to again.css\" as ui in a worktree; delegate \"write 'other' to other.css\" as other in a worktree";
        let run = lesson
            .line("remove ui")
            .line("/worktrees")
            .line(again)
            .line("wait for all");
        let run = run.argument("--yes").run();
        let began = run.out.contains("ui: started in the background");
        let refused = run.out.contains("ERROR: git makes no worktree ui: ")
            || run.out.contains("ERROR: there is a .worktrees/ui already");
        assert!(began || refused, "{when}\n{}", run.out);
        assert!(
            run.out.contains("other: started in the background"),
            "{when}\n{}",
            run.out
        );
        let (code, said) = try_git(folder, &["fsck", "--no-dangling"]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{when}");
        for (was, (path, content)) in written
            .into_iter()
            .zip([("theme.css", "precious"), ("later.css", "precious too")])
        {
            assert!(
                !was || is_kept(folder, path, content),
                "{when}: {path} is lost\n{}",
                run.out
            );
        }
    }
}

fn real_git() -> PathBuf {
    let path = std::env::var_os("PATH").expect("a path");
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("git"));
    places.find(|git| git.is_file()).expect("git")
}

/// Whether a content is in a worktree, in yours, or in a commit that has a name.
fn is_kept(folder: &Path, path: &str, content: &str) -> bool {
    let places = [folder.join(path), folder.join(".worktrees/ui").join(path)];
    let names = git(folder, &["for-each-ref", "--format=%(refname)"]);
    let mut committed = names
        .lines()
        .map(|name| try_git(folder, &["show", &format!("{name}:{path}")]).1);
    places
        .iter()
        .any(|place| fs::read_to_string(place).is_ok_and(|text| text == content))
        || committed.any(|text| text == content)
}

#[test]
fn killed_at_every_step_it_loses_nothing() {
    for variable in ["KILL_BEFORE", "KILL_AFTER"] {
        let steps = (1..100).find(|call| {
            let mut story = Killed::start(variable, *call);
            let over = !story.is_dead();
            if !over {
                story.is_sound(&format!("{variable}={call}"));
            }
            over
        });
        let steps = steps.expect("the story ends");
        assert!(
            steps > 15,
            "only {steps} calls of git: is it this git that is called?"
        );
    }
}

#[test]
fn killed_at_any_moment_it_loses_nothing() {
    let mut chance = Chance::new(12);
    let mut midway = 0;
    for round in 0..20 {
        let mut story = Killed::start("KILL_BEFORE", 1000);
        let calls = chance.below(20);
        let told = |story: &Killed| story.talk.shown().contains("3. remove ui");
        let seen = fs::read_to_string;
        let count = story.notes.path().join("calls");
        eventually("so many calls", || {
            let seen = seen(&count).unwrap_or_default().lines().count();
            seen >= calls || told(&story)
        });
        thread::sleep(Duration::from_micros(chance.below(4000) as u64));
        let _ = story.talk.child.kill();
        let _ = story.talk.child.wait();
        assert!(story.is_dead());
        midway += usize::from(!told(&story));
        story.is_sound(&format!("round {round}, {calls} calls"));
    }
    assert!(
        midway > 10,
        "only {midway} of 20 were killed before the end"
    );
}

#[test]
fn what_an_add_leaves_that_was_killed_early_is_cleared() {
    let lesson = in_repository();
    let folder = lesson.folder.path();
    git(
        folder,
        &[
            "worktree",
            "add",
            "-q",
            "--lock",
            "-b",
            "ui",
            ".worktrees/ui",
        ],
    );
    // So it is before git has written the worktree's HEAD: no branch is checked out, and no file.
    for path in [
        ".git/worktrees/ui/HEAD",
        ".worktrees/ui/index.html",
        ".worktrees/ui/.gitignore",
    ] {
        fs::remove_file(folder.join(path)).expect("a file");
    }
    git(folder, &["update-ref", "-d", "refs/heads/ui"]);
    assert_ne!(try_git(folder, &["fsck"]).0, Some(0), "git cannot use it");
    let run = lesson
        .argument("-p")
        .argument("delegate \"write 'x' to a.css\" as ui in a worktree")
        .run();
    run.has("ui: started in the background")
        .has("not committed: a.css");
    assert_eq!(git(run.folder.path(), &["fsck"]), "");
}
