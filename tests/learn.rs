//! `learn`, the learner's companion, driven as a learner would; and every exercise of the course:
//! as it is given it compiles and fails, and its solution passes.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::channel;
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::changed;
use support::program::{PATIENCE, clean_environment, eventually, program};
use support::server::{Server, reply_text, reply_tool};
use tempfile::TempDir;

/// A package that builds in no time, as a learner may have one.
const PACKAGE: &str = "[package]\nname = \"mine\"\nedition = \"2024\"\n[workspace]\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: impl AsRef<Path>, text: &str) {
    let folder = path.as_ref().parent().expect("a folder");
    fs::create_dir_all(folder).expect("folders for a file");
    fs::write(path, text).expect("a file");
}

/// The folders of the lessons that have an exercise.
/// The folders of the lessons: each has an exercise.
fn exercises() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("lessons")).expect("lessons/");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    folders
}

fn name(lesson: &Path) -> String {
    let name = lesson.file_name().expect("a name").to_string_lossy();
    name.split('_').next().expect("a short name").to_string()
}

/// What `learn` said.
#[derive(Debug)]
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Said {
    #[track_caller]
    fn has(&self, code: i32, texts: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let all = format!("{}{}", self.out, self.err);
        for text in texts {
            let shown = format!("not said: {text:?}\n--- it said:\n{all}");
            assert!(all.contains(text), "{shown}");
        }
        self
    }
}

/// A course in a folder of its own.
struct Course {
    folder: PathBuf,
    /// Goes with its folder.
    _temporary: Option<TempDir>,
}

impl Course {
    /// One exercise, `s01`, and a learner's package that needs nothing.
    fn small(exercise: &str) -> Self {
        let temporary = tempfile::tempdir().expect("a folder for the test");
        let folder = temporary.path().to_path_buf();
        write(folder.join("Cargo.toml"), "");
        write(folder.join("Cargo.lock"), "version = 4\n");
        write(folder.join("mine/Cargo.toml"), PACKAGE);
        let lesson = folder.join("lessons/s01_small");
        write(lesson.join("exercise.rs"), exercise);
        write(lesson.join("solution.rs"), "// the solution\n");
        write(
            lesson.join("hints.md"),
            "# Hints\n\n## Hint 1\n\nOne.\n\n## Hint 2\n\nTwo.\n\n## Hint 3\n\nThree.\n",
        );
        let page = "# s01 · Small\n\n## Three questions\n\n<details>\n<summary>Why one?</summary>\n\nFor one.\n\n</details>\n\n<details>\n<summary>Why <code>two</code>?</summary>\n\nFor two,\non two lines.\n\n```rust\na();\nb();\n```\n</details>\n";
        write(lesson.join("README.md"), page);
        Course {
            folder,
            _temporary: Some(temporary),
        }
    }

    /// The real course, by links, with a `mine/` of its own. It stands in one place, so that Cargo
    /// builds the library for it once; tests use different exercises and programs there.
    fn real() -> Self {
        static COURSE: LazyLock<PathBuf> = LazyLock::new(|| {
            let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let folder = target.join("learn");
            let _ = fs::remove_dir_all(&folder); // of an earlier run, if there was one
            fs::create_dir_all(folder.join("lessons")).expect("a course");
            let files = ["Cargo.toml", "Cargo.lock", "src", "tests", "benches"];
            for file in files {
                symlink(root().join(file), folder.join(file)).expect("a link");
            }
            let build = target.parent().expect("the build folder");
            symlink(build, folder.join("target")).expect("a link");
            for entry in fs::read_dir(root().join("lessons")).expect("lessons/") {
                let path = entry.unwrap().path();
                let link = folder.join("lessons").join(path.file_name().unwrap());
                symlink(&path, link).expect("a link");
            }
            // The solution of each as the exercise of one more lesson.
            for lesson in exercises() {
                let solved = folder.join(format!("lessons/solved-{}_x", name(&lesson)));
                let text = read(lesson.join("solution.rs"));
                write(solved.join("exercise.rs"), &text);
                write(solved.join("README.md"), "# Solved\n");
            }
            folder
        });
        Course {
            folder: COURSE.clone(),
            _temporary: None,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("learn"));
        clean_environment(&mut command, &self.folder);
        command.env("CARGO_MANIFEST_DIR", &self.folder);
        // The home of the person who runs the tests: Cargo and its registry are there.
        let home = std::env::var_os("HOME").unwrap_or_default();
        command.args(arguments).env("HOME", home);
        command.env("CARGO_NET_OFFLINE", "true");
        command.env_remove("CARGO_TARGET_DIR");
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Says these lines to it, and returns what it said.
    #[track_caller]
    fn learn_with(&self, mut command: Command, input: &str) -> Said {
        let mut child = command.spawn().expect("learn starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let _ = stdin.write_all(input.as_bytes()); // it need not read it
        drop(stdin);
        let output = child.wait_with_output().expect("learn ran");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Said {
            out: text(output.stdout),
            err: text(output.stderr),
            code: output.status.code(),
        }
    }

    #[track_caller]
    fn learn(&self, arguments: &[&str], input: &str) -> Said {
        self.learn_with(self.command(arguments), input)
    }

    fn mine(&self, path: &str) -> PathBuf {
        self.folder.join("mine").join(path)
    }
}

// ---- 1. The exercises of the course ----

/// What stands from the first test on.
fn tests_of(text: &str) -> Option<&str> {
    let start = text.find("#[cfg(test)]").or(text.find("#[test]"))?;
    Some(text.split_at(start).1)
}

/// The text without comments.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    lines.collect()
}

#[test]
fn lessons_have_what_a_learner_needs() {
    for lesson in exercises() {
        let page = read(lesson.join("README.md"));
        let (place, short) = (lesson.display(), name(&lesson));
        let questions = page.split("## Three questions\n").nth(1).unwrap_or("");
        let asked = questions.matches("<summary>Why ").count();
        assert_eq!(asked, 3, "{place}: \"Why\" questions of its page");
        let told = page.contains(&format!("learn check {short}"));
        assert!(told, "{place}: its page does not lead to its exercise");
        let [given, solution] = ["exercise.rs", "solution.rs"].map(|name| lesson.join(name));
        let mut rustfmt = Command::new("rustfmt");
        rustfmt.args(["--check", "--edition", "2024"]);
        let formatted = rustfmt.arg(&given).arg(&solution).status();
        assert!(
            formatted.unwrap().success(),
            "{}: cargo fmt",
            given.display()
        );
        let (given, solution) = (read(given), read(solution));
        assert!(given.starts_with("//! "), "{place}: what is to be done?");
        assert!(
            code(&given).contains("todo!("),
            "{place}: where are the gaps?"
        );
        assert!(
            !code(&solution).contains("todo!"),
            "{place}: a gap in a solution"
        );
        assert!(tests_of(&given).is_some(), "{place}: no tests");
        assert_eq!(
            tests_of(&given),
            tests_of(&solution),
            "{place}: the tests differ"
        );
        let hints = read(lesson.join("hints.md")).matches("\n## Hint ").count()
            + usize::from(read(lesson.join("hints.md")).starts_with("## Hint "));
        assert!((3..=5).contains(&hints), "{place}: {hints} hints");
    }
}

#[test]
fn each_exercise_fails_as_given_and_its_solution_passes() {
    let course = Course::real();
    let names: Vec<String> = exercises().iter().map(|folder| name(folder)).collect();
    let solved: Vec<String> = names.iter().map(|name| format!("solved-{name}")).collect();
    // `learn` copies them; all are built at once; then it finds them built.
    let mut build = Command::new(env!("CARGO"));
    clean_environment(&mut build, &course.folder);
    build.env("HOME", std::env::var_os("HOME").unwrap_or_default());
    build
        .current_dir(course.mine(""))
        .env("CARGO_NET_OFFLINE", "true");
    build.env_remove("CARGO_TARGET_DIR");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    build.args(["test", "--no-run", "--quiet"]);
    for name in names.iter().chain(&solved) {
        let copied = course.learn(&["reset", name], "");
        copied.has(0, &["is as it was given"]);
        build.args(["--test", name]);
    }
    let built = build.output().expect("cargo runs");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && said.is_empty(), "{said}");

    for (name, solved) in names.iter().zip(&solved) {
        let given = course.learn(&["check", name], "");
        given.has(1, &["FAILED", "a gap is left at line ", "hint"]);
        assert!(!given.out.contains("without a panic"), "{}", given.out);
        let solution = course.learn(&["check", solved], "");
        solution.has(0, &["passed", "Done."]);
        assert!(!solution.out.contains("FAILED"), "{}", solution.out);
    }
}

// ---- 2. The way through them ----

#[test]
fn it_says_what_is_done_and_what_is_next() {
    let course = Course::small("//! Say seven.\n#[test]\nfn seven() {}\n");
    let says = |arguments: &[&str], code, texts: &[&str]| {
        course.learn(arguments, "").has(code, texts);
    };
    says(
        &[],
        0,
        &[
            "1 exercises, none",
            "read lessons/s01_small/README.md",
            "learn check s01",
        ],
    );
    says(&["list"], 0, &["-      s01 · Small"]);
    says(&["help"], 0, &["learn watch"]);
    says(
        &["check", "s99"],
        1,
        &["no lesson \"s99\". There are: s01."],
    );
    for nonsense in [
        &["chekc"][..],
        &["check", "s01", "s02"],
        &["lesson", "s01", "mine-01"],
    ] {
        says(nonsense, 2, &["learn check [s08]"]);
    }
    let told = course.learn(&["check"], "");
    told.has(
        0,
        &[
            "Say seven.",
            "mine/tests/s01.rs",
            "passed  seven",
            "All exercises have passed",
        ],
    );
    says(&[], 0, &["1 of 1 exercises done: s01."]);
    says(&["list"], 0, &["done   s01 · Small"]);
    says(&["check"], 1, &["All exercises have passed."]);
    assert_eq!(read(course.mine("Cargo.toml")), PACKAGE);
}

#[test]
fn hints_come_one_after_the_other_and_the_solution_when_it_is_due() {
    let course = Course::small("//! Pass.\n#[test]\nfn it_passes() {}\n");
    for (hint, not) in [("One.", "Two."), ("Two.", "Three."), ("Three.", "One.")] {
        let said = course.learn(&["hint"], "");
        assert!(!said.has(0, &[hint, " of 3"]).out.contains(not));
    }
    course
        .learn(&["hint", "s01"], "")
        .has(0, &["Hint 3 of 3", "Three.", "--give-up"]);
    let refused = course.learn(&["solution", "s01"], "");
    assert!(
        !refused
            .has(1, &["not passed yet"])
            .out
            .contains("// the solution")
    );
    course
        .learn(&["solution", "s01", "--give-up"], "")
        .has(0, &["// the solution"]);
    course
        .learn(&["check", "s01"], "")
        .has(0, &["1 of 1 tests passed."]);
    course
        .learn(&["solution", "s01"], "")
        .has(0, &["// the solution"]);
}

#[test]
fn questions_are_asked_before_they_are_answered() {
    let course = Course::small("");
    course
        .learn(&["quiz", "s01"], "\n\n")
        .has(0, &["1 of 2: Why one?", "For one."])
        .has(
            0,
            &["Why `two`?", "For two, on two lines.", "\na();\nb();\n"],
        );
    let first = course.learn(&["quiz", "s01"], "");
    assert!(!first.has(0, &["Why one?"]).out.contains("For one."));
    write(
        course.folder.join("lessons/s01_small/README.md"),
        "# s01 · Small\n",
    );
    course
        .learn(&["quiz", "s01"], "")
        .has(1, &["asks no questions yet"]);
}

#[test]
fn a_reset_asks_and_keeps_every_text() {
    let given = "//! Pass.\n";
    let course = Course::small(given);
    let path = course.mine("tests/s01.rs");
    let kept = |number: u32| course.mine(&format!("tests/s01.rs.{number}"));
    course
        .learn(&["reset", "s01"], "")
        .has(0, &["as it was given"]);
    for (number, text) in [(1, "// my first"), (2, "// my second")] {
        write(&path, text);
        for answer in ["", "n\n", "\n", "yesterday\n"] {
            course
                .learn(&["reset", "s01"], answer)
                .has(1, &["Type y", "Nothing was changed."]);
            assert_eq!(read(&path), text);
        }
        course.learn(&["reset", "s01"], "y\n").has(0, &["Done."]);
        assert_eq!(
            (read(&path), read(kept(number))),
            (given.to_string(), text.to_string())
        );
    }
    assert_eq!(read(kept(1)), "// my first");
}

// ---- 3. What a check says ----

#[test]
fn a_failed_test_is_told_in_its_own_words() {
    let course = Course::small(include_str!("support/failing_exercise.rs"));
    let said = course.learn(&["check"], "");
    said.has(
        1,
        &[
            "Fails in every way.",
            "passed  this one is good",
            "FAILED  a number\n          two and two are four\n            left: 5\n           right: 4\n          (mine/tests/s01.rs, line 8)\n          It printed:\n          looking",
            "FAILED  a gap\n          a gap is left at line 12 of mine/tests/s01.rs: say something",
            "FAILED  a gap in a thread\n          the same",
            "FAILED  another threads panic\n          the other thread did not answer\n          (mine/tests/s01.rs, line 25)",
            "FAILED  an error\n          exit code 101, without a panic\n          It printed:\n          Error: \"no such luck\"",
            "FAILED  a crash",
            "exit code 134, without a panic",
            "1 of 7 tests passed.",
            "learn hint s01",
        ],
    );
    // In the order of the file.
    let order = [
        "a number", "a gap\n", "a gap in", "another", "an error", "a crash", "this one",
    ];
    let places = order.map(|name| said.out.find(&format!("  {name}")));
    assert!(
        places.is_sorted() && places[0].is_some(),
        "{places:?}\n{}",
        said.out
    );
    assert!(!said.out.contains("stack backtrace"), "{}", said.out);
}

#[test]
fn what_does_not_compile_is_said_by_the_compiler() {
    let course = Course::small("//! Pass.\n#[test]\nfn it_passes() {}\n");
    write(course.mine("tests/s01.rs"), "fn broken( {}\n");
    let said = course.learn(&["check", "s01"], "");
    said.has(1, &["--> tests/s01.rs:1:", "does not compile"]);
    assert_eq!(read(course.mine("tests/s01.rs")), "fn broken( {}\n");
    // Another text that does not compile is not in the way.
    write(course.mine("tests/other.rs"), "fn broken( {}\n");
    write(course.mine("examples/mine-01/main.rs"), "fn broken( {}\n");
    write(course.mine("tests/s01.rs"), "#[test]\nfn it_passes() {}\n");
    course
        .learn(&["check", "s01"], "")
        .has(0, &["passed  it passes"]);
}

#[test]
fn an_older_text_that_is_put_back_is_what_is_checked() {
    let course = Course::small("//! Pass.\n#[test]\nfn it_passes() { todo!() }\n");
    let path = course.mine("tests/s01.rs");
    write(&path, "#[test]\nfn it_passes() {}\n");
    course.learn(&["reset", "s01"], "y\n").has(0, &["Done."]);
    course
        .learn(&["check", "s01"], "")
        .has(1, &["a gap is left at line 3"]);
    fs::rename(course.mine("tests/s01.rs.1"), &path).unwrap();
    course
        .learn(&["check", "s01"], "")
        .has(0, &["1 of 1 tests passed."]);
}

/// It writes down who it is, and what it started.
const ENDLESS: &str = "//! Loop.
#[test]
fn first() {
    let me = std::process::id();
    let child = std::process::Command::new(\"sleep\").arg(\"1000\").spawn().unwrap();
    std::fs::write(\"writing\", format!(\"{me} {}\", child.id())).unwrap();
    std::fs::rename(\"writing\", \"pids\").unwrap();
    loop {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
#[test]
fn second() {}
";

#[track_caller]
fn nothing_is_left(course: &Course) {
    for pid in read(course.mine("pids")).split(' ') {
        let pid = Pid::from_raw(pid.parse().expect("a number"));
        eventually("it is gone", || kill(pid, None) == Err(Errno::ESRCH));
    }
}

#[test]
fn a_test_that_never_ends_is_ended() {
    let course = Course::small(ENDLESS);
    let said = course.learn(&["check"], "");
    said.has(
        1,
        &[
            "FAILED  first\n          still running after 20 s",
            "passed  second",
            "1 of 2",
        ],
    );
    nothing_is_left(&course);
}

#[test]
fn a_test_ends_with_the_program_that_runs_it() {
    let course = Course::small(ENDLESS);
    let mut child = course.command(&["check"]).spawn().expect("learn starts");
    let pids = course.mine("pids");
    eventually("the test runs", || pids.exists());
    child.kill().expect("it still waits");
    child.wait().expect("it ended");
    nothing_is_left(&course);
}

#[test]
fn a_file_that_is_saved_is_checked() {
    let course = Course::small("//! Pass.\n#[test]\nfn it_passes() { todo!() }\n");
    let mut child = course.command(&["watch"]).spawn().expect("learn starts");
    let shown = BufReader::new(child.stdout.take().expect("a pipe"));
    let (tell, lines) = channel();
    thread::spawn(move || {
        shown
            .lines()
            .map_while(Result::ok)
            .try_for_each(|it| tell.send(it))
    });
    let until = |text: &str| {
        while !lines.recv_timeout(PATIENCE).expect(text).contains(text) {}
    };
    until("a gap is left at line 3");
    until("learn hint s01");
    let path = course.mine("tests/s01.rs");
    write(&path, "fn broken( {}\n");
    until("mine/tests/s01.rs");
    write(&path, "#[test]\nfn it_passes() {}\n");
    until("passed  it passes");
    until("All exercises have passed.");
    child.kill().expect("it still watches");
    child.wait().expect("it ended");
}

// ---- 4. Programs of one's own ----

const TOOL: &str = "    agent.toolbox.add([meanwhile::tool::Tool::new(
        \"clock\",
        \"Say what time it is.\",
        meanwhile::tools::object(serde_json::json!({}), &[]),
        meanwhile::tool::Access::Free,
        |_: serde_json::Value, _| Ok(\"a quarter past nine\".to_string()),
    )]);
";

#[test]
fn a_copy_of_a_lesson_is_a_program_of_ones_own() {
    let course = Course::real();
    let main = course.mine("examples/mine-02/main.rs");
    course
        .learn(&["run", "mine-02"], "")
        .has(1, &["There is no ", "lesson s08 as mine-02"]);
    course
        .learn(&["lesson", "s02", "as", "../mine"], "")
        .has(1, &["no name for a program"]);
    course
        .learn(&["lesson", "s02", "as", "mine-02"], "")
        .has(0, &["run mine-02"]);
    let text = read(&main);
    assert_eq!(text, read(root().join("lessons/s02_tool_use/main.rs")));
    let changed = text.replacen("    let turn = ", &format!("{TOOL}\n    let turn = "), 1);
    write(&main, &changed);
    course
        .learn(&["lesson", "s02", "as", "mine-02"], "")
        .has(1, &["is there already"]);
    assert_eq!(read(&main), changed);

    let server = Server::start([
        reply_tool("t1", "clock", json!({})),
        reply_text("That late?"),
    ]);
    let mut run = course.command(&["run", "mine-02", "--", "--yes"]);
    run.env("ANTHROPIC_BASE_URL", server.url());
    let said = course.learn_with(run, "what time is it?\n");
    said.has(
        0,
        &["s02 >> ", "● clock", "a quarter past nine", "That late?"],
    );

    let practice = course.learn(&["run", "mine-02", "-p", "run \"echo built\""], "");
    practice.has(0, &["● bash: echo built"]);
}

// ---- 5. What a learner writes is nobody else's business ----

#[test]
fn nothing_in_mine_turns_a_test_of_the_course_red() {
    let ignored = read(root().join(".gitignore"));
    assert!(
        ignored.lines().any(|line| line == "/mine/"),
        "git must ignore mine/"
    );

    // A course whose learner left nothing but rubbish, of all kinds.
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name();
        if !["target", "mine", ".git"]
            .iter()
            .any(|other| name == *other)
        {
            symlink(root().join(&name), folder.join(&name)).unwrap();
        }
    }
    for path in [
        "Cargo.toml",
        "src/lib.rs",
        "tests/s08.rs",
        "examples/mine-08/main.rs",
        "main.rs",
    ] {
        write(folder.join("mine").join(path), "fn broken(  {\n\n\n");
    }
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder);
        let output = command
            .env("CARGO_MANIFEST_DIR", folder)
            .output()
            .expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    // Building, linting and testing are about these targets, and no others.
    let (good, said) = run(
        env!("CARGO"),
        &["metadata", "--no-deps", "--offline", "--format-version=1"],
    );
    assert!(good, "{said}");
    let start = said.find('{').expect("an object");
    let metadata: Value = serde_json::from_str(said.split_at(start).1.trim()).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    assert_eq!(packages.len(), 1, "{said}");
    for target in packages[0]["targets"].as_array().expect("a list") {
        let path = target["src_path"].as_str().expect("a path");
        assert!(!path.contains("/mine/"), "{path}");
    }
    let (good, said) = run(env!("CARGO"), &["fmt", "--check"]);
    assert!(good, "{said}");
    // The plan of the house, checked there. (The checks of the pages read what Cargo.toml names, and
    // `lessons/`.)
    let checks = folder.join("checks").display().to_string();
    let (good, said) = run(
        "rustc",
        &["--edition=2024", "--test", "tests/house.rs", "-o", &checks],
    );
    assert!(good, "{said}");
    let (good, said) = run(&checks, &[]);
    assert!(good, "{said}");
}

#[test]
fn who_changes_a_lesson_is_told_that_this_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        clean_environment(&mut git, folder.path());
        git.args(["-c", "user.name=a", "-c", "user.email=a@b.c"]);
        let output = git.args(arguments).output().expect("git runs");
        assert!(output.status.success(), "{output:?}");
    };
    let lesson = folder.path().join("lessons/s01_a/main.rs");
    write(&lesson, "fn main() {}\n");
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=a"]);
    write(folder.path().join("mine/a.rs"), "");
    assert_eq!(changed::note_in(folder.path()), "");
    write(&lesson, "fn main() { }\n");
    assert!(changed::note_in(folder.path()).starts_with("You changed a lesson, which is fine"));
}
