//! The course tree: lessons, pages, Cargo.toml and README agree, what they quote is there, what
//! they count is true, and what they tell people to type works. A message here is meant for the
//! author of a page: it says which file, and what to do.

#[path = "course/facts.rs"]
mod facts;
#[path = "course/keys.rs"]
mod keys;
mod support;
#[path = "course/transcript.rs"]
mod transcript;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;
use support::changed;
use support::program::Lesson;
use support::server::{Server, reply_error};

/// The sections of a page; others may stand between them.
const SECTIONS: [&str; 7] = [
    "Problem",
    "Idea",
    "The code",
    "What changed",
    "Try it",
    "Deep dive",
    "Left out on purpose",
];

/// What each lesson adds to the tools that are offered. None is ever taken away.
const NEW_TOOLS: &[(&str, &[&str])] = &[
    ("s01_agent_loop", &["bash"]),
    ("s02_tool_use", &["read_file", "write_file", "edit_file"]),
    ("s03_todo_write", &["todo"]),
    ("s04_subagent", &["task"]),
    ("s05_skill_loading", &["load_skill"]),
    ("s06_context_compact", &[]),
    (
        "s07_task_system",
        &["task_create", "task_update", "task_list", "task_get"],
    ),
    ("s08_background_tasks", &["bg_bash", "check_bg"]),
    ("s09_notifications", &["stop_bg"]),
    ("s10_background_agents", &["todo_read"]),
    ("s11_foreground_background", &[]),
    ("s12_worktrees", &["worktree_merge", "worktree_remove"]),
    ("s13_sessions", &[]),
    ("s14_session_memory", &[]),
    ("s15_pipelines", &["dispatch"]),
    ("s16_monitors", &["monitor", "timer"]),
    ("s17_mcp", &["mcp__time__now", "mcp__time__in_zone"]),
    ("s18_slack", &[]),
    ("s19_suggestions", &[]),
    (
        "s20_parallel_teams",
        &["team", "team_stop", "team_status", "send", "task_claim"],
    ),
];

/// What the practice model says when it does nothing.
const NOT_UNDERSTOOD: [&str; 3] = [
    "I do not understand ",
    "I find no instruction in that.",
    "This quote never ends: ",
];

type Problems = Vec<String>;

#[track_caller]
fn none(problems: Problems) {
    let problems = problems.join("\n\n");
    assert!(problems.is_empty(), "\n\n{}{problems}\n", changed::note());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the folders in `lessons/`, in order.
fn lessons() -> Vec<String> {
    let entries = fs::read_dir(root().join("lessons")).expect("lessons/");
    let folders = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

fn page(lesson: &str) -> String {
    text(format!("lessons/{lesson}/README.md"))
}

/// The paths of all pages: the first one, those of the lessons, and those beside the sources.
fn pages() -> Vec<String> {
    fn walk(folder: &Path, pages: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, pages);
            } else if path.ends_with("README.md") {
                let path = path.strip_prefix(root()).expect("inside");
                pages.push(path.display().to_string());
            }
        }
    }
    let mut pages = vec!["README.md".to_string()];
    for folder in ["lessons", "src", "benches"] {
        walk(&root().join(folder), &mut pages);
    }
    pages.sort();
    pages
}

/// `s08` of `s08_background_tasks`.
fn short_name(lesson: &str) -> &str {
    lesson.split('_').next().unwrap_or_default()
}

// ---- 1. The tree ----

/// Name and path of each program in a Cargo.toml.
fn programs(manifest: &str) -> Vec<(String, String)> {
    let tables = manifest.split("\n[[bin]]\n").skip(1);
    let field = |table: &str, key: &str| {
        let lines = table.lines().take_while(|line| !line.starts_with('['));
        let mut values = lines.filter_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='));
        values
            .next()
            .unwrap_or_default()
            .trim()
            .trim_matches('"')
            .to_string()
    };
    tables
        .map(|table| (field(table, "name"), field(table, "path")))
        .collect()
}

fn tree_problems(lessons: &[String], manifest: &str, exists: impl Fn(&str) -> bool) -> Problems {
    let mut problems = Problems::new();
    let programs: Vec<_> = programs(manifest)
        .into_iter()
        .filter(|(_, path)| path.starts_with("lessons/"))
        .collect();
    for (index, lesson) in lessons.iter().enumerate() {
        let number = format!("s{:02}_", index + 1);
        if !lesson.starts_with(&number) {
            problems.push(format!(
                "lessons/{lesson}: expected {number}… here. Number the lessons without gaps."
            ));
        }
        for file in ["main.rs", "README.md"] {
            if !exists(&format!("lessons/{lesson}/{file}")) {
                problems.push(format!("lessons/{lesson} has no {file}. Add it."));
            }
        }
        let path = format!("lessons/{lesson}/main.rs");
        if !programs.contains(&(lesson.clone(), path.clone())) {
            problems.push(format!(
                "Cargo.toml has no [[bin]] with name = \"{lesson}\" and path = \"{path}\". Add it."
            ));
        }
    }
    for (name, path) in programs {
        if !lessons.contains(&name) {
            problems.push(format!(
                "Cargo.toml has a [[bin]] {name} ({path}), but there is no lessons/{name}."
            ));
        }
    }
    problems
}

#[test]
fn lessons_pages_and_programs_agree() {
    none(tree_problems(&lessons(), &text("Cargo.toml"), |path| {
        root().join(path).is_file()
    }));
}

#[test]
fn a_tree_that_does_not_agree_is_told() {
    let manifest = "[lib]\n\n[[bin]]\nname = \"s01_a\"\npath = \"lessons/s01_a/main.rs\"\n\n[[bin]]\nname = \"s02_gone\"\npath = \"lessons/s02_gone/main.rs\"\n\n[[bin]]\nname = \"tool\"\npath = \"src/bin/tool.rs\"\n";
    let lessons = ["s01_a".to_string(), "s03_c".to_string()];
    let problems =
        tree_problems(&lessons, manifest, |path| path != "lessons/s03_c/README.md").join("\n");
    for told in [
        "expected s02_",
        "lessons/s03_c has no README.md",
        "name = \"s03_c\"",
        "no lessons/s02_gone",
    ] {
        assert!(
            problems.contains(told),
            "{told:?} is missing in:\n{problems}"
        );
    }
    assert!(
        !problems.contains("tool") && !problems.contains("s01_a"),
        "{problems}"
    );
}

// ---- 2. The form of a page ----

/// The lines of the section with that title.
fn section<'a>(page: &'a str, title: &str) -> Vec<&'a str> {
    let lines = page
        .lines()
        .skip_while(|line| line.strip_prefix("## ") != Some(title))
        .skip(1);
    lines.take_while(|line| !line.starts_with("## ")).collect()
}

/// What the page tells people to type.
fn prompts(lesson: &str, page: &str) -> Vec<String> {
    let prompt = format!("{} >> ", short_name(lesson));
    let lines = section(page, "Try it")
        .into_iter()
        .filter_map(|line| line.strip_prefix(&prompt));
    lines.map(str::to_string).collect()
}

fn form_problems(lesson: &str, page: &str) -> Problems {
    let mut problems = Problems::new();
    let mut wrong = |what: String| problems.push(format!("lessons/{lesson}/README.md: {what}"));
    let title = format!("# {} · ", short_name(lesson));
    let first = page.lines().next().unwrap_or_default();
    if first
        .strip_prefix(&title)
        .is_none_or(|title| title.trim().is_empty())
    {
        wrong(format!(
            "the first line is {first:?}; it must be \"{title}Title\""
        ));
    }
    if !page
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .any(|line| line.starts_with("> "))
    {
        wrong(
            "no motto. Put it between the title and \"## Problem\", as a line that begins with \"> \"".into(),
        );
    }
    let found: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let mut rest = found.iter();
    for wanted in SECTIONS {
        if !rest.any(|title| *title == wanted) {
            wrong(format!(
                "the section \"## {wanted}\" is missing or in the wrong place. The order is {}; there is {}",
                SECTIONS.join(", "),
                found.join(", ")
            ));
            break;
        }
    }
    let prompts = prompts(lesson, page);
    let count = prompts.len();
    // Commands of the prompt may stand beside them.
    let for_the_model = prompts.iter().filter(|line| !line.starts_with('/'));
    if count != 3 && for_the_model.count() != 3 {
        let name = short_name(lesson);
        wrong(format!(
            "{count} lines in \"## Try it\" begin with \"{name} >> \"; there must be exactly three"
        ));
    }
    problems
}

/// Commands that end whatever has such a name: on a shared machine, somebody else's program.
fn kills_by_name(line: &str) -> bool {
    let commands = ["pkill", "killall", "$(pgrep", "`pgrep", "$(pidof", "`pidof"];
    commands.iter().any(|command| line.contains(command))
        || line.contains("xargs") && line.contains("kill")
}

#[test]
fn no_page_kills_by_name() {
    assert!(kills_by_name("$ kill -9 $(pgrep s08_background)"));
    assert!(!kills_by_name("$ pgrep -a s08_background"));
    for page in pages() {
        let text = text(&page);
        let line = text.lines().find(|line| kills_by_name(line));
        assert_eq!(line, None, "{page}: the reader looks up the number");
    }
}

#[test]
fn every_page_has_its_form() {
    none(
        lessons()
            .iter()
            .flat_map(|lesson| form_problems(lesson, &page(lesson)))
            .collect(),
    );
}

#[test]
fn a_page_without_its_form_is_told() {
    let sections: String = SECTIONS
        .map(|title| format!("## {title}\n\ntext\n\n"))
        .concat();
    let tries = "## Try it\n\ns01 >> a\ns01 >> b\n● bash: a\ns01 >> c\ns02 >> not ours\n";
    let good = format!("# s01 · A title\n\n> A motto.\n\n{sections}").replace("## Try it\n", tries);
    assert_eq!(form_problems("s01_a", &good), Problems::new());
    let more = good.replacen("s01 >> c", "s01 >> /fork d\ns01 >> c", 1);
    assert_eq!(form_problems("s01_a", &more), Problems::new());
    for (from, to, told) in [
        ("# s01 ·", "# s02 ·", "the first line"),
        ("· A title", "·", "the first line"),
        ("> A motto.", "A motto.", "no motto"),
        ("## Idea", "## Ideas", "\"## Idea\" is missing"),
        ("## Problem", "## Try it", "\"## Problem\" is missing"),
        ("s01 >> c", "c", "2 lines in"),
        ("s02 >> not", "s01 >> not", "4 lines in"),
        ("## Try it\n", "## Try it\n\n## Aside\n", "0 lines in"),
    ] {
        let problems = form_problems("s01_a", &good.replacen(from, to, 1)).join("\n");
        assert!(
            problems.contains(told),
            "{told:?} is missing in:\n{problems}"
        );
    }
}

// ---- The top of a page, and its length ----

/// Words that are read in ten to fifteen minutes, the folded answers included, blocks not.
const MOST_WORDS: usize = 1500;
/// Words that are read in a minute, code beside them.
const PACE: usize = 100;
/// Minutes that an exercise takes.
const EXERCISE: usize = 15;

/// The way through the course as it stands under the title of a page: the page before and the page
/// after are links, `s01 › … › [s02](../s02_b/README.md) › [s03] › [s04](../s04_d/README.md) › … › s11`.
fn way(lessons: &[String], here: usize) -> String {
    let stop = |at: usize| match (at.abs_diff(here), short_name(&lessons[at])) {
        (0, name) => Some(format!("[{name}]")),
        (1, name) => Some(format!("[{name}](../{}/README.md)", lessons[at])),
        (_, name) if at == 0 || at == lessons.len() - 1 => Some(name.to_string()),
        (2, _) => Some("…".to_string()),
        _ => None,
    };
    let stops: Vec<String> = (0..lessons.len()).filter_map(stop).collect();
    stops.join(" › ")
}

/// The words of a page outside its blocks. The strokes of a table are no words, nor are tags.
fn words(page: &str) -> usize {
    let mut prose = facts::prose(page);
    for tag in ["<details>", "</details>", "<summary>", "</summary>"] {
        prose = prose.replace(tag, " ");
    }
    let is_word = |word: &&str| word.contains(char::is_alphanumeric);
    prose.split_whitespace().filter(is_word).count()
}

fn top_problems(lessons: &[String], here: usize, page: &str) -> Problems {
    let mut problems = Problems::new();
    let mut wrong =
        |what: String| problems.push(format!("lessons/{}/README.md: {what}", lessons[here]));
    let lines: Vec<&str> = page.lines().filter(|line| !line.is_empty()).collect();
    let way = way(lessons, here);
    if lines.get(1) != Some(&way.as_str()) {
        wrong(format!("below the title must stand\n  {way}"));
    }
    let layer = |line: &&str| line.starts_with("Harness layer: ") && line.ends_with('.');
    if !lines.get(3).is_some_and(layer) {
        wrong("below the motto must stand one line with the part of the harness that this lesson is about, such as\n  Harness layer: planning. The model writes the plan; the harness checks it.".into());
    }
    let count = words(page);
    if count > MOST_WORDS {
        wrong(format!(
            "{count} words, blocks not counted; at most {MOST_WORDS}, so that it is read in fifteen minutes"
        ));
    }
    problems
}

#[test]
fn every_page_says_where_it_stands_and_is_read_in_fifteen_minutes() {
    let lessons = lessons();
    let problems = |(here, lesson): (usize, &String)| top_problems(&lessons, here, &page(lesson));
    none(lessons.iter().enumerate().flat_map(problems).collect());
}

#[test]
fn the_readme_states_the_minutes_of_each_lesson() {
    let minutes = |lesson: &String| {
        let minutes = (words(&page(lesson)).div_ceil(PACE) + EXERCISE).next_multiple_of(5);
        format!("{} {minutes}", short_name(lesson))
    };
    let minutes: Vec<String> = lessons().iter().map(minutes).collect();
    let line = format!("Minutes, the exercise included: {}.", minutes.join(", "));
    let readme = facts::prose(&text("README.md"));
    assert!(
        readme.contains(&line),
        "README.md must say, at {PACE} words a minute and {EXERCISE} minutes for an exercise:\n{line}"
    );
}

#[test]
fn a_page_that_is_lost_or_long_is_told() {
    let lessons = ["s01_a", "s02_b", "s03_c", "s04_d", "s05_e"].map(str::to_string);
    assert_eq!(
        way(&lessons, 2),
        "s01 › [s02](../s02_b/README.md) › [s03] › [s04](../s04_d/README.md) › s05"
    );
    let way = way(&lessons, 0);
    assert_eq!(way, "[s01] › [s02](../s02_b/README.md) › … › s05");
    let good = format!(
        "# s01 · A\n\n{way}\n\n> motto\n\nHarness layer: the loop. It loops.\n\n```text\n{}\n```\n| a |\n|---|\n{}\n<details>\n<summary>why</summary>\nanswer</details>\n",
        "code ".repeat(MOST_WORDS),
        "| ".repeat(MOST_WORDS)
    );
    assert_eq!(top_problems(&lessons, 0, &good), Problems::new());
    for (from, to, told) in [
        (way.as_str(), "s01", "below the title"),
        ("s02_b", "s03_c", "below the title"),
        (
            "Harness layer: the loop. It loops.",
            "The loop.",
            "below the motto",
        ),
        ("<summary>why", &"why ".repeat(MOST_WORDS), "words, blocks"),
        ("answer", &"answer ".repeat(MOST_WORDS), "words, blocks"),
    ] {
        let problems = top_problems(&lessons, 0, &good.replacen(from, to, 1)).join("\n");
        assert!(
            problems.contains(told),
            "{told:?} is missing in:\n{problems}"
        );
    }
}

// ---- 3. Quoted code ----

/// A block of a page.
#[derive(Debug)]
pub struct Block {
    /// Of its opening fence, counted from 1.
    line: usize,
    /// The last line before it that is not blank.
    lead: String,
    code: Vec<String>,
}

/// The blocks in that language, and a problem for a fence that is never closed.
fn blocks(page: &str, wanted: &str) -> Result<Vec<Block>, String> {
    let ticks = |line: &str| line.trim_start().chars().take_while(|c| *c == '`').count();
    let (mut blocks, mut lead) = (Vec::new(), "");
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let fence = ticks(line);
        if fence >= 3 {
            let mut code = Vec::new();
            loop {
                let Some((_, line)) = lines.next() else {
                    return Err(format!(
                        "the block that begins in line {} is never closed",
                        number + 1
                    ));
                };
                if ticks(line) >= fence && line.trim().chars().all(|c| c == '`') {
                    break;
                }
                code.push(line.to_string());
            }
            let language = line.trim().trim_start_matches('`');
            if language.split(',').next() == Some(wanted) {
                blocks.push(Block {
                    line: number + 1,
                    lead: lead.to_string(),
                    code,
                });
            }
        }
        if !line.trim().is_empty() {
            lead = line;
        }
    }
    Ok(blocks)
}

/// Without the indentation that all lines share, without blanks at line ends.
fn dedent<S: AsRef<str>>(lines: &[S]) -> Vec<String> {
    let lines = || lines.iter().map(|line| line.as_ref().trim_end());
    let indents = lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.len() - line.trim_start().len());
    let shared = indents.min().unwrap_or(0);
    lines()
        .map(|line| line.get(shared..).unwrap_or_default().to_string())
        .collect()
}

/// Why the code is no excerpt of the file; `None` if it is one.
fn excerpt_problem(code: &[String], file: &str) -> Option<String> {
    let blank = |line: &&String| line.trim().is_empty();
    let (skip, end) = (
        code.iter().take_while(blank).count(),
        code.iter().rev().take_while(blank).count(),
    );
    let code = match code.get(skip..code.len() - end) {
        Some(code) if !code.is_empty() => dedent(code),
        _ => return Some("it is empty".to_string()),
    };
    let file: Vec<&str> = file.lines().collect();
    if file
        .windows(code.len())
        .any(|window| dedent(window) == code)
    {
        return None;
    }
    // Where does it begin to differ? The place where most of it fits is the one that was meant.
    let fits = |start: usize| {
        let pairs = code.iter().zip(&file[start..]);
        pairs
            .take_while(|(ours, theirs)| ours.trim() == theirs.trim())
            .count()
    };
    let start = (0..file.len()).max_by_key(|start| (fits(*start), usize::MAX - start))?;
    let at = fits(start);
    let (ours, theirs) = (
        code.get(at).map_or("", String::as_str),
        file.get(start + at).copied(),
    );
    Some(match (at, theirs) {
        (0, _) => format!("its first line is nowhere in the file: {ours}"),
        (at, _) if at == code.len() => {
            "the lines are there, but not with this indentation".to_string()
        }
        (at, Some(theirs)) => format!(
            "line {} of the block is\n  {}\nline {} of the file is\n  {}",
            at + 1,
            ours.trim(),
            start + at + 1,
            theirs.trim()
        ),
        (_, None) => "it goes on after the end of the file".to_string(),
    })
}

/// The file that a line names in backticks: relative to the root, or to the page.
fn named_file(lead: &str, folder: &Path) -> Option<PathBuf> {
    let names = lead
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.ends_with(".rs"));
    let mut places = names.flat_map(|name| [root().join(name), root().join(folder).join(name)]);
    places.find(|path| path.is_file())
}

fn quote_problems(page_path: &str, page: &str) -> Problems {
    let blocks = match blocks(page, "rust") {
        Ok(blocks) => blocks,
        Err(why) => return vec![format!("{page_path}: {why}")],
    };
    let folder = Path::new(page_path).parent().expect("a folder");
    let problem = |Block { line, lead, code }: &Block| {
        let why = match named_file(lead, folder) {
            None => format!(
                "the line before it names no file of this repository in backticks, such as `src/agent.rs`: {lead}"
            ),
            Some(path) => {
                let name = path
                    .strip_prefix(root())
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                format!(
                    "it is no verbatim piece of {name}: {}",
                    excerpt_problem(code, &text(&path))?
                )
            }
        };
        Some(format!("{page_path}: the rust block in line {line}: {why}"))
    };
    blocks.iter().filter_map(problem).collect()
}

#[test]
fn quoted_code_stands_in_the_source() {
    let pages = pages().into_iter();
    none(
        pages
            .flat_map(|path| quote_problems(&path, &text(&path)))
            .collect(),
    );
}

#[test]
fn a_changed_quote_is_told() {
    let file = "fn a() {\n    if b {\n        c();\n\n        d();\n    }\n}\n";
    let told = |code: &str| {
        let code: Vec<String> = code.lines().map(str::to_string).collect();
        excerpt_problem(&code, file)
    };
    for good in [
        "    if b {\n        c();",
        "if b {\n    c();\n\n    d();  \n}\n",
        "\nd();\n\n",
        file,
    ] {
        assert_eq!(told(good), None, "{good}");
    }
    for (bad, why) in [
        ("if b {\n    e();", "line 3 of the file is\n  c();"),
        (
            "if b {\n    c();\n    d();",
            "line 3 of the block is\n  d();\nline 4 of the file is\n  ",
        ),
        ("if b {\nc();", "not with this indentation"),
        ("}\n}\n}", "after the end of the file"),
        ("// …", "nowhere in the file: // …"),
        ("", "it is empty"),
    ] {
        let problem = told(bad).unwrap_or_else(|| panic!("accepted: {bad}"));
        assert!(problem.contains(why), "{why:?} is missing in: {problem}");
    }
}

#[test]
fn blocks_are_found_and_their_files_named() {
    let good = "Look at `x` in `src/lib.rs`:\n\n```rust\npub mod message;\n```\n\n```text\nfn free() {}\n```\n";
    assert_eq!(quote_problems("README.md", good), Problems::new());
    for (page, told) in [
        (
            good.replace("mod message", "mod messages"),
            "line 3: it is no verbatim piece of src/lib.rs",
        ),
        (
            good.replace("src/lib.rs", "src/nowhere.rs"),
            "names no file of this repository",
        ),
        (
            good.replace("`src/lib.rs`", "src/lib.rs"),
            "names no file of this repository",
        ),
        (
            good.replace("```text", "```rust"),
            "line 7: the line before it names no file",
        ),
        (
            good.replace("```text", "````text"),
            "begins in line 7 is never closed",
        ),
    ] {
        let problems = quote_problems("README.md", &page).join("\n");
        assert!(
            problems.contains(told),
            "{told:?} is missing in:\n{problems}"
        );
    }
    let program = "In `main.rs`:\n\n```rust\nuse std::process::ExitCode;\n```\n";
    assert_eq!(
        quote_problems("lessons/s01_agent_loop/README.md", program),
        Problems::new()
    );
}

// ---- 4. The difference of two lessons ----

/// Lines added and removed between two files; without git, nothing of this project works.
fn difference(old: &Path, new: &Path) -> (usize, usize) {
    let mut git = Command::new("git");
    // The configuration of whoever runs the tests must not change what is counted.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir("/");
    git.args([
        "diff",
        "--no-index",
        "--no-ext-diff",
        "--diff-algorithm=myers",
        "--numstat",
    ]);
    let output = git.arg(old).arg(new).output().expect("git runs");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
    match (output.status.code(), numbers.next(), numbers.next()) {
        (Some(0), None, _) => (0, 0),
        (Some(1), Some(added), Some(removed)) => (added, removed),
        _ => panic!(
            "git diff: {}{line}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

fn main_rs(lesson: &str) -> PathBuf {
    root().join("lessons").join(lesson).join("main.rs")
}

/// For each lesson, what its `main.rs` adds to that of the one before; to nothing for the first.
fn differences() -> Vec<(String, (usize, usize))> {
    let lessons = lessons();
    let before = [PathBuf::from("/dev/null")]
        .into_iter()
        .chain(lessons.iter().map(|name| main_rs(name)));
    let pairs = before.zip(&lessons);
    pairs
        .map(|(old, lesson)| (lesson.clone(), difference(&old, &main_rs(lesson))))
        .collect()
}

/// Every `+N −M` in a text.
fn stated(text: &str) -> Vec<(usize, usize)> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || "`|()*,.;".contains(c))
        .collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let number = |word: &str, sign| word.strip_prefix(sign)?.parse().ok();
    words
        .windows(2)
        .filter_map(|pair| Some((number(pair[0], '+')?, number(pair[1], '−')?)))
        .collect()
}

fn count_problem(place: &str, text: &str, (added, removed): (usize, usize)) -> Option<String> {
    let truth = format!("+{added} −{removed}");
    match stated(text) {
        none if none.is_empty() => Some(format!(
            "{place} does not say how main.rs changes: {truth} (with U+2212, not a hyphen)"
        )),
        all if all.iter().all(|counts| *counts == (added, removed)) => None,
        _ => Some(format!(
            "{place} states another difference of main.rs than the true one, {truth}"
        )),
    }
}

#[test]
fn stated_differences_are_true() {
    let readme = text("README.md");
    let mut problems = Problems::new();
    for (lesson, counts) in differences() {
        let place = format!("lessons/{lesson}/README.md, \"## What changed\",");
        problems.extend(count_problem(
            &place,
            &section(&page(&lesson), "What changed").join("\n"),
            counts,
        ));
        let row: Vec<&str> = readme
            .lines()
            .filter(|line| line.starts_with('|') && line.contains(&lesson))
            .collect();
        problems.extend(count_problem(
            &format!("README.md, the table row of {lesson},"),
            &row.join("\n"),
            counts,
        ));
    }
    none(problems);
}

#[test]
fn a_wrong_difference_is_told() {
    assert_eq!(
        stated("| `main.rs` | 77 | 81 lines (`+6 −2`) | +a −2 | **+10 −0**"),
        [(6, 2), (10, 0)]
    );
    assert_eq!(count_problem("here", "| +6 −2 |", (6, 2)), None);
    for (row, told) in [
        ("+6 −3", "another"),
        ("+6 −2, +5 −2", "another"),
        ("+6 -2", "U+2212"),
        ("", "U+2212"),
    ] {
        assert!(
            count_problem("here", row, (6, 2)).is_some_and(|why| why.contains(told)),
            "{row}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    fs::write(&old, "a\nb\nc\n").expect("a file");
    fs::write(&new, "a\nB\nc\nd\n").expect("a file");
    assert_eq!(difference(&old, &new), (2, 1));
    assert_eq!(difference(&old, &old), (0, 0));
}

// ---- 5. The tools ----

/// What a lesson offers to a model: its first request, seen by the server.
fn offered(lesson: &str) -> Vec<Value> {
    let server = Server::start([reply_error(400, "invalid_request_error", "enough")]);
    let run = Lesson::new(lesson)
        .variable("ANTHROPIC_BASE_URL", &server.url())
        .argument("-p")
        .argument("hi");
    let run = run.run();
    run.has("The model's server answered 400: enough.");
    assert_eq!(run.code, Some(1), "{lesson}: a turn that failed with -p");
    server.requests()[0].body["tools"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// Objects in a schema that accept what they do not name.
fn open_objects(schema: &Value, path: &str, found: &mut Vec<String>) {
    if schema["type"] == "object" && schema["additionalProperties"] != false {
        found.push(path.to_string());
    }
    let parts: Vec<(String, &Value)> = match schema {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (format!("{path}.{key}"), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|value| (format!("{path}[]"), value))
            .collect(),
        _ => Vec::new(),
    };
    parts
        .into_iter()
        .for_each(|(path, part)| open_objects(part, &path, found));
}

#[test]
fn tools_grow_and_never_shrink() {
    let mut expected = BTreeSet::new();
    let rows: Vec<&str> = NEW_TOOLS.iter().map(|(lesson, _)| *lesson).collect();
    assert_eq!(lessons(), rows, "each lesson needs its row in NEW_TOOLS");
    for &(lesson, new) in NEW_TOOLS {
        expected.extend(new.iter().map(ToString::to_string));
        let tools = offered(lesson);
        let name = |tool: &Value| tool["name"].as_str().expect("a name").to_string();
        assert_eq!(
            tools.iter().map(name).collect::<BTreeSet<String>>(),
            expected,
            "{}{lesson}",
            changed::note()
        );
        assert_eq!(tools.len(), expected.len(), "{lesson} offers a tool twice");
        for tool in &tools {
            assert_eq!(
                tool["input_schema"]["type"], "object",
                "{lesson}: the schema of {}",
                tool["name"]
            );
            let mut open = Vec::new();
            open_objects(&tool["input_schema"], &name(tool), &mut open);
            assert!(
                open.is_empty(),
                "{lesson}: without additionalProperties false: {}",
                open.join(", ")
            );
        }
    }
}

// ---- 6. What the pages tell people to type ----

/// What is wrong with the transcript of these prompts.
fn transcript_problems(lesson: &str, prompts: &[String], out: &str, code: Option<i32>) -> Problems {
    let short = short_name(lesson);
    let mut problems = Problems::new();
    let mut wrong = |what: &str| {
        let typed = prompts.join(&format!("\n  {short} >> "));
        problems.push(format!(
            "lessons/{lesson}: {what}\n  {short} >> {typed}\n--- it showed:\n{out}"
        ));
    };
    if code != Some(0) {
        wrong(&format!("the program ended with {code:?}, not 0, after"));
    }
    if out
        .lines()
        .any(|line| NOT_UNDERSTOOD.iter().any(|words| line.contains(words)))
    {
        wrong("the practice model does not understand all of this; use its phrases (`help`):");
    }
    // A lesson may show what a sub-agent has not got, but not what a later lesson brings.
    let brings = out
        .lines()
        .filter_map(|line| line.split_once("which is not offered here (")?.1.get(..3));
    if brings
        .into_iter()
        .any(|lesson| lesson > short || !lesson.starts_with('s'))
    {
        wrong("this needs a tool that a later lesson brings:");
    }
    let calls = out
        .lines()
        .filter(|line| line.trim_start().starts_with("● "))
        .count();
    if calls == 0 && prompts.iter().any(|prompt| !prompt.starts_with('/')) {
        wrong("no tool is called by this:");
    }
    problems
}

/// What was typed, as a transcript shows it.
fn echoed(lesson: &str, out: &str) -> Vec<String> {
    let prompt = format!("{} >> ", short_name(lesson));
    let lines = out
        .lines()
        .filter_map(|line| line.strip_prefix(&prompt))
        .filter(|line| !line.is_empty() && !line.ends_with(" [Tab]")); // suggested, not typed
    lines.map(str::to_string).collect()
}

/// What was begun in the background, or went there, and was not delivered exactly once. `all_waited`:
/// there may be nothing of the kind.
fn delivery_problems(lesson: &str, out: &str, all_waited: bool) -> Problems {
    let begun = |line: &str| {
        let result = line.strip_prefix("  └ ")?.split_once(" · ")?.1;
        let marks = [
            ": started in the background.",
            ": [running] moved to the background",
        ];
        let marked = |mark| Some(result.split_once(mark)?.0.to_string());
        marks.into_iter().find_map(marked)
    };
    let begun: Vec<String> = out.lines().filter_map(begun).collect();
    let mut problems = Problems::new();
    if begun.is_empty() && !all_waited {
        problems.push(format!(
            "lessons/{lesson}: nothing runs in the background here:\n{out}"
        ));
    }
    for task in begun {
        let news = format!("◆ {task}: ");
        // What a monitor told before is no end.
        let is_end = |line: &&str| line.starts_with(&news) && !line.contains(", after ");
        let times = out.lines().filter(is_end).count();
        if times != 1 {
            problems.push(format!(
                "lessons/{lesson}: delivered {times} times, not once: {task}\n{out}"
            ));
        }
    }
    problems
}

/// Whether results come by themselves; the end of a pipe would cut them off, so `-p` and `--demo`,
/// which wait for them, must show each.
fn delivers(lesson: &str) -> bool {
    short_name(lesson) >= "s09"
}

/// Whether a line may run in the foreground until somebody presses Ctrl+B, which nobody does here.
fn waits_for_a_key(lesson: &str) -> bool {
    short_name(lesson) >= "s11"
}

fn try_it_problems(lesson: &str, prompts: &[String]) -> Problems {
    let typed = |prompts: &[String]| {
        let run = prompts
            .iter()
            .fold(Lesson::new(lesson), |run, prompt| run.line(prompt))
            .run();
        let mut problems = transcript_problems(lesson, prompts, &run.out, run.code);
        if echoed(lesson, &run.out) != prompts {
            problems.push(format!(
                "lessons/{lesson}: not shown as typed: {prompts:?}\n{}",
                run.out
            ));
        }
        problems
    };
    let waited_for = |prompt: &String| {
        let run = Lesson::new(lesson).argument("-p").argument(prompt).run();
        let mut problems =
            transcript_problems(lesson, std::slice::from_ref(prompt), &run.out, run.code);
        problems.extend(delivery_problems(lesson, &run.out, waits_for_a_key(lesson)));
        problems
    };
    let demo = || {
        let run = Lesson::new(lesson).argument("--demo").run();
        let mut problems = transcript_problems(lesson, prompts, &run.out, run.code);
        if delivers(lesson) {
            problems.extend(delivery_problems(lesson, &run.out, false));
        }
        if echoed(lesson, &run.out) != prompts {
            problems.push(format!(
                "lessons/{lesson}: --demo does not play the lines of the page in their order:\n{}",
                run.out
            ));
        }
        let page = page(lesson);
        let lines = section(&page, "Try it").into_iter();
        let shell = lines.filter(|it| it.starts_with("$ cargo run ") && !it.contains(" --agent "));
        let ends = [
            ("s13", "◆ build: ERROR: ended with the program"),
            ("s20", "\nnone is left\n"),
        ];
        let ends = ends.iter().filter(|(name, _)| *name == short_name(lesson));
        let told = shell.chain(ends.map(|(_, end)| *end));
        problems.extend(told.filter(|told| !run.out.contains(told)).map(|told| {
            format!(
                "lessons/{lesson}: --demo does not show {told:?}:\n{}",
                run.out
            )
        }));
        problems
    };
    thread::scope(|scope| {
        let alone = prompts
            .iter()
            .map(|prompt| scope.spawn(|| typed(std::slice::from_ref(prompt))));
        let mut runs: Vec<_> = alone.collect();
        let waits = prompts.iter().filter(|_| delivers(lesson));
        runs.extend(waits.map(|prompt| scope.spawn(move || waited_for(prompt))));
        runs.push(scope.spawn(demo));
        runs.into_iter()
            .flat_map(|run| run.join().expect("a run"))
            .collect()
    })
}

#[test]
fn what_the_pages_tell_to_type_works() {
    let lessons: Vec<(String, Vec<String>)> = lessons()
        .into_iter()
        .map(|lesson| (lesson.clone(), prompts(&lesson, &page(&lesson))))
        .collect();
    let problems = thread::scope(|scope| {
        let runs = lessons
            .iter()
            .map(|(lesson, prompts)| scope.spawn(|| try_it_problems(lesson, prompts)));
        let runs: Vec<_> = runs.collect();
        runs.into_iter()
            .flat_map(|run| run.join().expect("a lesson"))
            .collect()
    });
    none(problems);
}

#[test]
fn a_line_that_does_not_work_is_told() {
    let told = |prompt: &str| {
        let run = Lesson::new("s01_agent_loop").line(prompt).run();
        transcript_problems("s01_agent_loop", &[prompt.to_string()], &run.out, run.code).join("\n")
    };
    assert_eq!(told("run \"echo a\""), "");
    assert_eq!(told("/clear"), "");
    assert!(told("make me a sandwich").contains("does not understand"));
    assert!(told("run \"echo a").contains("does not understand"));
    assert!(told("run \"echo a\", then read notes.txt").contains("a later lesson brings"));
    assert!(told("run \"echo a\", then stop build").contains("a later lesson brings"));
    assert!(told("help").contains("no tool is called"));
    assert!(
        transcript_problems("s01_agent_loop", &[], "● bash: a", Some(101))
            .concat()
            .contains("Some(101)")
    );
}

#[test]
fn a_result_that_does_not_come_is_told() {
    let begun = "  └ 0.0 s · build: started in the background. Go on.\n";
    let told = |out: &str| delivery_problems("s09_notifications", out, false).concat();
    assert_eq!(
        told(&format!(
            "{begun}◆ build: finished\n1. build: started in the background.\n"
        )),
        ""
    );
    assert!(told("● bash: ls\n  └ 0.0 s · a\n").contains("nothing runs in the background"));
    assert!(told(begun).contains("delivered 0 times, not once: build"));
    assert!(told(&format!("{begun}◆ builder: finished\n")).contains("delivered 0 times"));
    assert!(
        told(&format!("{begun}◆ build: finished\n◆ build: finished\n"))
            .contains("delivered 2 times")
    );
    for why in [
        " by the user",
        ", as it had not ended within its time limit",
    ] {
        let moved = format!(
            "  └ 1.0 s · bash-1: [running] moved to the background{why}; you will get its result\n"
        );
        assert_eq!(told(&format!("{moved}◆ bash-1: finished\n")), "");
        assert!(told(&moved).contains("delivered 0 times, not once: bash-1"));
    }
    let waited = |out: &str| delivery_problems("s11_foreground_background", out, true).concat();
    assert_eq!(waited("● bash: ls\n  └ 0.0 s · a\n"), "");
    assert!(waited(begun).contains("delivered 0 times, not once: build"));
}

#[test]
fn the_page_of_s08_quotes_what_the_model_is_told() {
    let s08 = "s08_background_tasks";
    let page = page(s08);
    let tools = offered(s08);
    let tool = tools.iter().find(|tool| tool["name"] == "bg_bash");
    let told = tool.expect("bg_bash")["description"]
        .as_str()
        .expect("text");
    let quoted = section(&page, "When does a task belong in the background?").into_iter();
    let when: Vec<&str> = quoted.filter_map(|line| line.strip_prefix("> ")).collect();
    let when = when.join(" ");
    assert!(
        when.ends_with("if B needs A's output, run A, then B."),
        "{when}"
    );
    assert!(
        told.contains(&when),
        "the page says\n{when}\nthe model is told\n{told}"
    );
    let often = "ask with check_bg when it should be done, then rarely";
    assert!(
        told.contains(often) && page.contains(&format!("`{often}`")),
        "{told}"
    );
}

// ---- 7. README, and the pages beside the sources ----

/// The targets of the links in a page that lead to a file, without what follows a `#`.
fn linked(page: &str) -> Vec<&str> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let files = targets.filter_map(|(target, _)| target.split('#').next());
    files
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

#[test]
fn links_lead_to_files() {
    let mut problems = Problems::new();
    for path in pages() {
        let page = text(&path);
        let folder = root().join(&path).parent().expect("a folder").to_path_buf();
        let broken = linked(&page)
            .into_iter()
            .filter(|target| !folder.join(target).exists());
        problems.extend(broken.map(|target| format!("{path}: there is no {target}")));
    }
    none(problems);
    assert_eq!(
        linked("[a](b.md#c) ![d](../e.svg) [f](https://g) [h](#i)"),
        ["b.md", "../e.svg"]
    );
}

/// The rows with figures of a table with limits.
fn figures<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let rows = lines
        .iter()
        .filter(|line| line.starts_with("| ") && !line.ends_with("| Limit |"));
    rows.copied().collect()
}

#[test]
fn the_main_figures_are_those_of_the_page_of_the_benches() {
    let (readme, all) = (text("README.md"), text("benches/README.md"));
    let all = figures(&all.lines().collect::<Vec<_>>());
    let main = figures(&section(&readme, "What the harness costs"));
    assert!((3..10).contains(&main.len()), "{main:#?}");
    let differs = main.into_iter().filter(|row| !all.contains(row));
    none(
        differs
            .map(|row| format!("README.md: not in benches/README.md: {row}"))
            .collect(),
    );
}

#[test]
fn the_page_of_the_benches_names_each_of_them() {
    let (page, manifest) = (text("benches/README.md"), text("Cargo.toml"));
    let tables = manifest.split("\n[[bench]]\n").skip(1);
    let names = tables.filter_map(|table| table.split("name = \"").nth(1)?.split('"').next());
    let missing = names.filter(|name| !page.contains(&format!("--bench {name}")));
    none(
        missing
            .map(|name| format!("benches/README.md: `--bench {name}` is missing"))
            .collect(),
    );
}

#[test]
fn the_readme_has_the_options_that_help_has() {
    let (readme, source) = (text("README.md"), text("src/options.rs"));
    let options = source.lines().filter(|line| line.starts_with("  -"));
    let options: Vec<String> = options
        .map(|line| line.trim().replace("\\\"", "\""))
        .collect();
    assert!(options.len() > 10, "{options:#?}");
    let known: Vec<&str> = readme.lines().collect();
    let missing = options.iter().filter(|it| !known.contains(&it.as_str()));
    none(
        missing
            .map(|line| format!("README.md: not there: {line}"))
            .collect(),
    );
}

#[test]
fn the_readme_begins_with_what_to_do() {
    let readme = text("README.md");
    for command in ["cargo run --bin s08_background_tasks", "cargo test"] {
        assert!(
            readme.lines().take(20).any(|line| line.trim() == command),
            "README.md: `{command}` must stand on a line of its own within the first 20 lines"
        );
    }
}
