//! Facts in pages: what a page says of the program is compared with the program. A transcript is
//! typed again, a quoted message must be one that the program has, and a number has a row here.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use super::keys::KEYED;
use super::transcript::{SILENCE, Times, command_problem, fits, read, session_problems};
use super::{Block, NEW_TOOLS, Problems, lessons, none, root, short_name, text};

/// Where the truth about a number is.
#[derive(Clone, Copy)]
enum Truth {
    /// In a file of this repository, behind these words.
    Source(&'static str, &'static str),
    /// Nowhere here: an example, a sum that the reader can do, or a fact about the world. The words
    /// stand here, so that nobody changes them without a thought.
    Said,
}
use Truth::{Said, Source};

const BASH_LIMIT: Truth = Source(
    "src/tools/bash.rs",
    "TIME_LIMIT: Duration = Duration::from_secs(",
);
const WAIT_LIMIT: Truth = Source(
    "src/foreground.rs",
    "LIMIT: Duration = Duration::from_secs(",
);
const STOP_GRACE: Truth = Source(
    "src/process/supervisor.rs",
    "GRACE: Duration = Duration::from_secs(",
);
const TODO_PATIENCE: Truth = Source("src/todo.rs", "PATIENCE: usize = ");
const AGENT_ROUNDS: Truth = Source("src/subagent.rs", "MAX_ROUNDS: usize = ");
const KEPT_RESULTS: Truth = Source("src/compact.rs", "KEEP_RESULTS: usize = ");
const CONTEXT: Truth = Source("lessons/s06_context_compact/main.rs", "Compactor::new(");
const PLACES: Truth = Source(
    "lessons/s08_background_tasks/main.rs",
    "NotificationBus::default(), ",
);
const LISTED_LINES: Truth = Source("src/foreground/task_list.rs", "SHOWN_LINES: usize = ");

/// A page, what it says, and where the truth is. `{}` is the number; `{word}` is the same in words.
/// Every number of a lesson's page needs its row, except those in blocks, and in code spans that
/// the sources or a block of the page have word for word.
#[rustfmt::skip]
const FACTS: &[(&str, &str, Truth)] = &[
    ("s01", "After {} seconds it is ended", BASH_LIMIT),
    ("s01", "These four requests left eight messages behind", Said),
    ("s01", "Two requests, one tool use.", Said),
    ("s01", "`/messages 7` shows one of them", Said),
    ("s02", "Here are two of the three new ones", Said),
    ("s03", "Then {word} rounds go by without an update", TODO_PATIENCE),
    ("s03", "A reminder in every third round costs about a hundred tokens", Said),
    ("s03", "There are seven calls: four updates around three steps.", Said),
    ("s03", "the list ends with 2 of 3", Said),
    ("s03", "\"set item 3 to completed\"", Said),
    ("s03", "Because then item 3 must mean the same", Said),
    ("s04", "a limit of {} rounds", AGENT_ROUNDS),
    ("s04", "it knows neither the 42 nor you", Said),
    ("s04", "The model reads eleven files", Said),
    ("s05", "Twenty recipes of 300 tokens are 6,000 tokens", Said),
    ("s05", "19 of the 20 have nothing to do with it", Said),
    ("s05", "not UTF-8, longer than {} KiB", Source("src/front_matter.rs", "MAX_KIB: u64 = ")),
    ("s05", "go through the six steps", Said),
    ("s05", "With twenty skills, that is 500 tokens instead of 6,000.", Said),
    ("s06", "The last {word} stay whole", KEPT_RESULTS),
    ("s06", "The limit of {} tokens leaves room", CONTEXT),
    ("s06", "`keep` counts down from {word}", KEPT_RESULTS),
    ("s06", "`LONG` is {} bytes", Source("src/compact.rs", "LONG: usize = ")),
    ("s06", "The last one, of age 0, is left alone", Said),
    ("s06", "Five log files of 54 KB each are about 67,000 tokens", Said),
    ("s06", "above 50,000 tokens, so Monday's was cut", Said),
    ("s06", "[… shortened, 53893 bytes; run the tool again", Said),
    ("s06", "The last {word} are whole", KEPT_RESULTS),
    ("s06", "It comes by itself at {} tokens", CONTEXT),
    ("s06", "About 40,742 tokens: the three logs", Said),
    ("s06", "{} is a number in `main.rs`", CONTEXT),
    ("s07", "in the standard library since Rust 1.89", Said),
    ("s07", "for {} seconds at most", Source("src/task_board/folder.rs", "PATIENCE: Duration = Duration::from_secs(")),
    ("s07", "Open `.tasks/task_2.json` in an editor", Said),
    ("s07", "(`task_2.json cannot be read: …`)", Said),
    ("s07", "`rm .tasks/task_4.json` does it", Said),
    ("s08", "`npm install` takes 30 seconds, `pytest` two minutes, `docker build` five.", Said),
    ("s08", "until the command ends, at most {} s", BASH_LIMIT),
    ("s08", "N up to {}", PLACES),
    ("s08", "`npm install` (30 s), `pytest` (2 min), `docker build` (5 min) | one after the other, and `docker build` is ended at the limit | 5 minutes, side by side", Said),
    ("s08", "at most {word} |", PLACES),
    ("s08", "there are at most {word}.", PLACES),
    ("s08", "Three to five; here {word}.", PLACES),
    ("s08", "Jobs of 1.5, 3 and 6 seconds", Said),
    ("s08", "s07 takes 11.1 s and 6 requests; s08 takes 6.4 s and 64 requests, 55 of them polls in vain", Said),
    ("s08", "`ERROR: exit code 1`", Said),
    ("s08", "`exit code 1` with the output, `exit code 137` if signal 9 ended it (128 + 9)", Said),
    ("s09", "and SIGKILL {word} seconds later", STOP_GRACE),
    ("s09", "`run \"sleep 300\" in the background as server-2`", Said),
    ("s10", "| At once | one | {word}, commands included |", PLACES),
    ("s10", "Both ended during `sleep 3`.", Said),
    ("s10", "ends with `1 call was denied: bash`", Said),
    ("s10", "who gets the {word} places", PLACES),
    ("s10", "After {} rounds, or", AGENT_ROUNDS),
    ("s10", "or {} tokens, the agent is ended", Source("src/background_agent/at_work.rs", "MAX_TOKENS: u64 = ")),
    ("s11", "After {} seconds, the time limit makes the second choice", WAIT_LIMIT),
    ("s11", "`sleep-5: [running] moved to the background …`", Said),
    ("s11", "the last {} lines of its output", LISTED_LINES),
    ("s11", "without the limit of {word}", PLACES),
    ("s11", "is ended after {} s | goes on", BASH_LIMIT),
    ("s11", "in the background after {} s |", WAIT_LIMIT),
    ("s11", "The tool call took 1.0 s, the command 5.0 s", Said),
    ("s11", "with the last 8 KiB at most", Said),
    ("s11", "as in `sleep 4 & echo started`", Said),
    ("s11", "and SIGKILL {word} seconds later", STOP_GRACE),
    ("s11", "are ended after {} s.", BASH_LIMIT),
    ("s13", "has numbers, and `/resume 2` works", Said),
    ("s13", "(`--speed 4`, `--step`)", Said),
    ("s13", "the mode of the file is 0600", Source("src/journal.rs", "mode(0o")),
    ("s14", "The first is due at {} tokens", Source("lessons/s14_session_memory/main.rs", "&session, [")),
    ("s14", "then one after every {}.", Source("lessons/s14_session_memory/main.rs", "&session, [10_000, ")),
    ("s14", "FNV-1a mixes each byte", Said),
    ("s14", "of 16 messages, about 40,800 tokens, three", Said),
    ("s14", "(`MEANWHILE_THINKING_MS=2000`)", Said),
    ("s14", "| 2.0 s | 1 | 40,800 tokens | – |", Said),
    ("s14", "| 0.0 s | 0 | – | 3 updates, 41,000 tokens |", Said),
    ("s15", "claimed 200 tasks 316 times", Said),
    ("s15", "works in `.worktrees/task-3-1`: task 3, first attempt", Said),
    ("s15", "A task is begun {word} times", Source("src/pipeline.rs", "ATTEMPTS: u64 = ")),
    ("s16", "is known after | up to 30 s |", Said),
    // These two rows: tests/monitors.rs.
    ("s16", "| Requests | 23 | 3 | 5 | | Tokens read | 37,000 | 4,000 | 7,000 |", Said),
    ("s16", "(Asked every 30 seconds.", Said),
    ("s16", "lines within 0.2 s belong together", Said),
    ("s16", "the first {} lines or", Source("src/process/heard.rs", "MOST_LINES: u64 = ")),
    ("s16", "lines or {} KiB", Source("src/process/heard.rs", "MOST_BYTES: usize = ")),
    ("s17", "after {} s, and is given up after ten minutes", WAIT_LIMIT),
    ("s17", "is the whole server: 21 lines of bash", Said),
    ("s17", "more than 4 MiB ends the server: 100 MB of `x`", Said),
    ("s17", "| time | 2 tools | 2025-11-25 | yes | yes | yes | 0 |", Said),
    ("s17", "| git | 12 tools | 2025-11-25 | yes | yes | yes | 0 |", Said),
    ("s17", "| everything | 13 tools | 2025-11-25 | yes | yes | yes | 0 |", Said),
    ("s17", "| filesystem | 14 tools | 2025-11-25 | yes | yes | yes | 0 |", Said),
    ("s17", "| memory | 9 tools | 2025-11-25 | yes | yes | yes | 0 |", Said),
    ("s17", "Processes left after each of six ends |", Said),
    ("s17", "It has 30 seconds for the handshake", Said),
    ("s17", "wait for it in the pipe, up to 1 MiB", Said),
    ("s17", "The revision of 2026-07-28 drops it", Said),
    ("s18", "in the 17 checks of `tests/slack_client.py`", Said),
    ("s18", "A busy server (429, 5xx)", Said),
    ("s18", "at most {} s.", Source("src/slack/line.rs", "MAX_WAIT: Duration = Duration::from_secs(")),
    ("s18", "Every {} s.", Source("src/slack/line.rs", "INTERVAL: Duration = Duration::from_secs(")),
    ("s18", "ask about 50 times a minute", Said),
    ("s18", "once a minute, for 15 messages. If it answers 429 with `Retry-After: 60`", Said),
    ("s18", "only the newest {}.", Source("src/slack/line.rs", "MAX_THREADS: usize = ")),
    ("s18", "Messages longer than {} characters", Source("src/slack/api.rs", "MAX_ANSWER: usize = ")),
    ("s19", "so does `MEANWHILE_SUGGESTIONS=0`", Said),
    ("s19", "for less than {} ms is not taken", Source("src/repl/offer.rs", "from_millis(")),
    ("s20", "half of 3,000 messages were lost", Said),
    ("s20", "Each may take {} turns", Source("src/team/member.rs", "TURNS: u64 = ")),
    ("s20", "turns and {} tokens; then", Source("src/team/member.rs", "TOKENS: u64 = ")),
    ("s20", "A mailbox takes {} messages", Source("src/team/post.rs", "MOST: usize = ")),
    // Order and ratios of these: tests/compare.rs, `cargo bench --bench team`.
    ("s20", "| all done | 17.2 s | 9.5 s | 8.8 s | 9.3 s | | first result in the model's hands | 3.1 s | 3.5 s | 8.7 s | 4.7 s | | processes with a model, conversations | 1, 1 | 1, 4 | 1, 7 | 4, 4 | | requests, all conversations | 7 | 16 | 21 | 39 |", Said),
    ("s20", "| until the last has asked the model | 1.1 ms | 34.7 ms, or 32 × |", Said),
    ("s20", "| memory, what is shared divided | 1.2 MB | 8.8 MB, or 7 × |", Said),
    ("s20", "| a message, and back its answer | 1.5 ms | 1.6 ms |", Said),
    ("README", "You need Rust {},", Source("Cargo.toml", "rust-version = \"")),
    ("README", "The jobs stand for 30, 60 and 120 seconds, and each request for 2 seconds", Said),
];

/// What stands in backticks, or in a block, and is not ours: programs and words of others, and what
/// a reader puts in. `all` is every page.
#[rustfmt::skip]
const NOT_OURS: &[(&str, &str)] = &[
    ("all", "cargo test"),
    ("all", "…"),
    ("s01", "/messages 7"),
    ("s01", "end_turn"), // the API's
    ("s01", "run \"…\""),
    ("s02", "glob"),
    ("s02", "● bash: rm -r build"), // a real model's call
    ("s02", "│ rm -r build"),
    ("s04", ".claude/agents/*.md"),
    ("s05", "skills/NAME/SKILL.md"),
    ("s06", "jq"),
    ("s07", "File::try_lock"),
    ("s07", "\"owner\""),
    ("s07", "let _ = …"),
    ("s07", "rm .tasks/task_4.json"),
    ("s07", "rm -r .tasks"),
    ("s09", "run \"sleep 300\" in the background as server-2"),
    ("s12", "rm -rf .git .worktrees"),
    ("s15", "rm -r .tasks"),
    ("s08", "async"),
    ("s08", "docker build"),
    ("s08", "npm install"),
    ("s08", "pytest"),
    ("s08", "systemd"),
    ("s08", "std::panic::catch_unwind"),
    ("s10", "Arc<Mutex<Vec<Message>>>"),
    ("s10", "as NAME"),
    ("s10", "stop_bg NAME"),
    ("s11", "/tasks ID"),
    ("s11", "as again"),
    ("s11", "/tasks look"),
    ("s11", "sleep 4 & echo started"),
    ("s12", "--force"), // git's
    ("s12", "git worktree add"),
    ("s12", ".gitignore"),
    ("s12", "File::try_lock"),
    ("s12", "GIT_DIR"),
    ("s13", "/fork NAME"),
    ("s13", "/resume 2"),
    ("s13", "--speed 4"),
    ("s15", "/tasks ID"),
    ("s15", "/tasks rel"),
    ("s17", "/mcp NAME"),
    ("s17", "/mcp off NAME"),
    ("s17", "/mcp on NAME"),
    ("s17", "/mcp restart NAME"),
    ("s18", "chat:write"), // Slack's
    ("s18", "channels:history"),
    ("s18", "groups:history"),
    ("s18", "Retry-After: 60"),
    ("s18", "slack_sdk"),
    ("s18", "/slack off"),
    ("s18", "/channel TEXT"),
    ("s18", "!rm"),
    ("s20", "ssh"),
    ("s20", "rm -r .tasks .team"),
    ("s20", "cargo bench --bench team"),
    ("README", "--scale 1"),
    ("README", "--scale 5"),
    ("README", "compare --scene agents"),
    ("README", "compare --scene team"),
    ("README", "←"), // keys
    ("README", "→"),
    ("README", "Command::output"),
    ("README", "mine/"),
    ("README", "page.html#4.5"),
    ("README", "mkdir -p target/try && cd target/try"),
];

// ---- Pages ----

/// The pages by the name that rows use, such as `s01`, with their paths.
fn pages() -> Vec<(String, String)> {
    let path = |lesson: &String| format!("lessons/{lesson}/README.md");
    let lessons = lessons().into_iter();
    let pages = lessons.map(|lesson| (short_name(&lesson).to_string(), path(&lesson)));
    let all = pages.chain([("README".to_string(), "README.md".to_string())]);
    all.collect()
}

/// A page without its blocks, in one line.
pub fn prose(page: &str) -> String {
    let mut prose = Vec::new();
    let mut fence = None;
    for line in page.lines() {
        let ticks = line.chars().take_while(|c| *c == '`').count();
        match fence {
            Some(open) if ticks >= open => fence = None,
            None if ticks >= 3 => fence = Some(ticks),
            None => prose.extend(line.split_whitespace()),
            Some(_) => {}
        }
    }
    prose.join(" ")
}

/// What stands in backticks, with its place in the prose.
fn spans(prose: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let parts = prose.split('`').map(|part| {
        let start = at;
        at += part.len() + 1;
        (start, part)
    });
    parts.skip(1).step_by(2).collect()
}

// ---- What the program says ----

/// The sources without their comments, their string literals with `…` for what is filled in, and all paths.
struct Sources {
    text: String,
    literals: Vec<String>,
    paths: Vec<String>,
}

fn walk(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root()).expect("below the root");
        let name = name.to_str().expect("a name").to_string();
        if name.starts_with('.') || name == "target" || name == "mine" {
            continue;
        }
        if path.is_dir() {
            walk(&path, paths);
        }
        paths.push(name);
    }
}

/// The literals of a line, as they are printed.
fn literals(line: &str) -> Vec<String> {
    let line = line.replace("'\"'", "").replace("\\\"", "\u{1}");
    let quoted = line.split('"').skip(1).step_by(2);
    let printed = quoted.flat_map(|literal| {
        let literal = literal
            .replace('\u{1}', "\"")
            .replace("{{", "")
            .replace("}}", "");
        let mut pattern = String::new();
        for (index, part) in literal.split('{').enumerate() {
            let filled_in = part.split_once('}').filter(|_| index > 0);
            pattern += &filled_in.map_or(part.to_string(), |(_, rest)| format!("…{rest}"));
        }
        // A page may quote one sentence of a message.
        let lines = pattern
            .split("\\n")
            .flat_map(|line| line.split(". ").chain([line]));
        lines.map(str::to_string).collect::<Vec<_>>()
    });
    printed.collect()
}

fn sources() -> &'static Sources {
    static SOURCES: OnceLock<Sources> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut paths = Vec::new();
        walk(root(), &mut paths);
        let is_source = |path: &&String| {
            let in_src = path.starts_with("src/") && !path.ends_with("README.md");
            let file = path.ends_with(".rs") || path.ends_with(".md") && in_src;
            file && (in_src || path.starts_with("lessons/")) || *path == "Cargo.toml"
        };
        let files = paths
            .iter()
            .filter(is_source)
            .filter(|path| root().join(path).is_file());
        let mut all = String::new();
        for file in files {
            let code = text(file);
            // Words of a comment are no words of the program.
            let mut lines = code.lines().filter(|it| !it.trim_start().starts_with("//"));
            while let Some(line) = lines.next() {
                all += line;
                // A literal that goes on in the next line.
                while all.ends_with('\\') {
                    all.pop();
                    all += lines.next().unwrap_or_default().trim_start();
                }
                all += "\n";
            }
        }
        Sources {
            literals: all.lines().flat_map(literals).collect(),
            text: all,
            paths,
        }
    })
}

/// What the programs print when the transcripts of a page are typed, what is wrong with them, and
/// the blocks that are no transcripts.
struct Replay {
    page: String,
    path: String,
    problems: Problems,
    printed: String,
    others: Vec<Block>,
}

/// Writes the files that a page tells people to write with `cat > FILE <<'END'`.
fn write_shown(page: &str, folder: &Path) {
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("cat > ") else {
            continue;
        };
        let (path, end) = rest.split_once(" <<'").expect("a file and its end");
        let end = end.trim_end_matches('\'');
        let file: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        let path = folder.join(path);
        assert!(path.starts_with(folder) && !rest.contains(".."), "{line}");
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, file.join("\n") + "\n").expect("a file");
    }
}

fn replay(page: &str, path: &str) -> Replay {
    let left_out = KEYED.iter().filter(|(where_, _)| *where_ == page);
    let left_out: Vec<&str> = left_out.map(|(_, start)| *start).collect();
    let (mut problems, mut printed, mut others) = (Problems::new(), Vec::new(), Vec::new());
    match read(&text(path), &lessons(), &left_out) {
        Err(why) => problems.push(format!("{path}: {why}")),
        Ok(found) => {
            others = found.others;
            let mut folder = None;
            for session in &found.sessions {
                let (wrong, lines, lesson) = session_problems(path, session, SILENCE);
                problems.extend(wrong);
                printed.extend(lines);
                folder = Some(lesson);
            }
            if let Some(lesson) = &folder {
                write_shown(&text(path), lesson.folder.path());
            }
            for step in &found.commands {
                let (wrong, lines, lesson) = command_problem(path, step, folder.take());
                problems.extend(wrong);
                printed.extend(lines);
                folder = Some(lesson);
            }
        }
    }
    Replay {
        page: page.to_string(),
        path: path.to_string(),
        problems,
        printed: printed.join("\n"),
        others,
    }
}

/// Once for all tests: it takes a while.
fn replays() -> &'static Vec<Replay> {
    static REPLAYS: OnceLock<Vec<Replay>> = OnceLock::new();
    REPLAYS.get_or_init(|| {
        thread::scope(|scope| {
            let runs = pages().into_iter();
            let runs = runs.map(|(page, path)| scope.spawn(move || replay(&page, &path)));
            let runs: Vec<_> = runs.collect();
            runs.into_iter()
                .map(|run| run.join().expect("a page"))
                .collect()
        })
    })
}

// ---- 7. Transcripts ----

#[test]
fn the_transcripts_of_the_pages_are_what_the_programs_print() {
    none(
        replays()
            .iter()
            .flat_map(|it| it.problems.clone())
            .collect(),
    );
}

// ---- 8. Words that are quoted ----

/// Whether a line has these words, in which some characters stand for what is left out.
fn holds(line: &str, words: &str, is_gap: impl Fn(char) -> bool) -> bool {
    let mut rest = line;
    let mut pieces = words.split(is_gap).filter(|piece| !piece.trim().is_empty());
    pieces.all(|piece| {
        let found = rest.split_once(piece);
        rest = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

/// The parts of a message between which something is filled in, or another sentence begins.
fn parts(message: &str) -> impl Iterator<Item = &str> {
    let parts = message.split(". ").flat_map(|it| it.split(": "));
    let parts = parts.flat_map(|it| it.split(" · "));
    parts.map(|it| it.trim().trim_end_matches(['.', ':', ';', ',']))
}

/// Whether these words are a part of a message, or whole messages, filled in: each of their parts
/// is one of a message from its beginning to its end, or a single word such as an id.
fn is_message(words: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
    let words = words.strip_prefix("└ ").unwrap_or(words);
    let words = words.strip_prefix("ERROR: ").unwrap_or(words);
    let inner = words.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    let words = inner.unwrap_or(words);
    let literals = &sources().literals;
    let is_part = |words: &str| {
        let is_filled_in = |literal: &str| {
            // More than half of it is the message, and not what was filled in.
            2 * letters(literal) > letters(words) && fits(literal, words, Times::Ignored)
        };
        let is_it = |literal: &String| {
            holds(literal, words, |c| c == '…') || parts(literal).any(is_filled_in)
        };
        letters(words) >= 4 && literals.iter().any(is_it)
    };
    let is_word = |words: &str| !words.contains(' ') || fits("… s", words, Times::Ignored);
    let mut all = parts(words);
    letters(words) >= 4 && all.all(|it| is_word(it) || is_part(it)) && parts(words).any(is_part)
}

/// Whether these words are a tool and its fields, `check_bg {id?}`, and the sources have each of them.
fn is_tool(words: &str, text: &str) -> bool {
    let parts = words.strip_suffix('}').and_then(|it| it.split_once(" {"));
    parts.is_some_and(|(name, fields)| {
        let fields = fields.split(", ").map(|field| field.trim_end_matches('?'));
        let has = |word: &str| text.contains(&format!("\"{word}\""));
        has(name) && fields.into_iter().all(has)
    })
}

/// Whether a page may have these words: `own` is what it shows or makes the programs print.
fn is_known(words: &str, page: &str, own: &str) -> bool {
    let Sources { text, paths, .. } = sources();
    let is_named =
        |(where_, it): &(&str, &str)| (*where_ == page || *where_ == "all") && *it == words;
    let cargo = words.split_once("cargo run ").map(|(_, it)| it);
    let program = cargo.and_then(|it| it.split_once("--bin ").or(it.split_once("--example ")));
    if let Some((_, program)) = program {
        let program = program.split(' ').next().unwrap_or_default();
        return text.contains(&format!("\nname = \"{program}\"\n"));
    }
    // A variable with a value, a path below a folder of ours.
    let name = words.split_once('=').map_or(words, |(name, _)| name);
    let name = name.trim_end_matches('/');
    let is_file = |name: &str| {
        let is_it = |literal: &String| literal.len() > 4 && fits(literal, name, Times::Ignored);
        sources().literals.iter().any(is_it)
    };
    let is_below = |(folder, name): (&str, &str)| text.contains(folder) && is_file(name);
    let is_path = |path: &String| path == name || path.ends_with(&format!("/{name}"));
    let mut lines = own.lines().chain(text.lines());
    own.contains(words)
        || text.contains(name)
        || is_tool(words, text)
        || words.starts_with('.') && words.rsplit_once('/').is_some_and(is_below)
        || text.contains(&words.replace('"', "\\\""))
        || NOT_OURS.iter().any(is_named)
        || paths.iter().any(is_path)
        || !super::stated(words).is_empty()
        || words.contains('…') && lines.any(|line| holds(line, words, |c| c == '…'))
        || is_message(words)
}

/// All blocks of a page: what is in them is checked elsewhere.
fn in_blocks(page: &str) -> String {
    let (mut inside, mut lines) = (false, Vec::new());
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn quote_problems(replay: &Replay, page: &str) -> Problems {
    let Replay {
        page: name,
        path,
        printed,
        ..
    } = replay;
    let prose = prose(page);
    let own = in_blocks(page) + "\n" + printed;
    let spans = spans(&prose).into_iter();
    let strange = spans.filter(|(_, words)| !is_known(words, name, &own));
    let mut problems: Problems = strange
        .map(|(_, words)| format!("{path}: `{words}`: neither the sources nor the programs have these words. If they are not ours, name them in NOT_OURS (tests/course/facts.rs)."))
        .collect();
    let is_drawing = |block: &&Block| {
        let mut lines = block.code.iter();
        lines.any(|line| {
            ["──", "▶", "◀", "▼", "▲", "|---"]
                .iter()
                .any(|mark| line.contains(mark))
        })
    };
    for block in replay.others.iter().filter(|block| !is_drawing(block)) {
        let strange = block.code.iter().find(|line| {
            let line = line.trim();
            let is_it = |printed: &str| fits(line, printed.trim(), Times::Compared);
            !line.is_empty() && !printed.lines().any(is_it) && !is_known(line, name, "")
        });
        problems.extend(strange.map(|line| format!("{path}: the block in line {}: neither the sources nor the programs have this line:\n  {line}\nPut the prompt that brings it above it, or name a command such as `/messages` in the paragraph above the block.", block.line)));
    }
    problems
}

#[test]
fn what_the_pages_quote_is_there() {
    let problems = |it: &Replay| quote_problems(it, &text(&it.path));
    none(replays().iter().flat_map(problems).collect());
}

// ---- 9. Numbers ----

/// The number behind these words in a file.
fn number(path: &str, before: &str) -> Result<String, String> {
    let file = text(path);
    let rest = file.split_once(before).map_or("", |(_, rest)| rest);
    let is_number = |c: &char| c.is_ascii_digit() || matches!(c, '_' | '.');
    let number: String = rest
        .chars()
        .take_while(is_number)
        .filter(|c| *c != '_')
        .collect();
    match number.as_str() {
        "" => Err(format!(
            "tests/course/facts.rs: no number follows {before:?} in {path}"
        )),
        _ => Ok(number),
    }
}

/// `100,000`
fn in_digits(number: &str) -> String {
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return number.to_string();
    }
    let mut digits = String::new();
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            digits.push(',');
        }
        digits.push(digit);
    }
    digits
}

fn in_words(number: &str) -> String {
    const WORDS: [&str; 13] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    let word = number
        .parse()
        .ok()
        .and_then(|number: usize| WORDS.get(number));
    word.map_or_else(|| in_digits(number), |word| word.to_string())
}

/// A sentence of a page as it must be.
fn true_words(says: &str, truth: Truth) -> Result<String, String> {
    let Source(path, before) = truth else {
        return Ok(says.to_string());
    };
    let number = number(path, before)?;
    Ok(says
        .replace("{}", &in_digits(&number))
        .replace("{word}", &in_words(&number)))
}

/// How many tools a lesson offers: the test of the tools asks the program.
fn tools(lesson: &str) -> usize {
    let until = NEW_TOOLS
        .iter()
        .take_while(|(name, _)| short_name(name) <= lesson);
    until.map(|(_, new)| new.len()).sum()
}

/// The rows of a page: those above, and those that every page of a lesson has.
fn rows(page: &str) -> Vec<(String, Truth)> {
    let rows = FACTS.iter().filter(|(where_, ..)| *where_ == page);
    let mut rows: Vec<(String, Truth)> = rows
        .map(|(_, says, truth)| (says.to_string(), *truth))
        .collect();
    let lessons = lessons();
    let lines = |lesson: &String| text(format!("lessons/{lesson}/main.rs")).lines().count();
    if let Some(index) = lessons.iter().position(|it| short_name(it) == page) {
        let now = lines(&lessons[index]);
        let before = index.checked_sub(1).map(|before| lines(&lessons[before]));
        let before = before.map_or("–".to_string(), |before| format!("{before} lines"));
        rows.push((format!("| `main.rs` | {before} | {now} lines ("), Said));
        let before = index
            .checked_sub(1)
            .map_or("s00", |before| short_name(&lessons[before]));
        if page >= "s05" {
            let (before, now) = (tools(before), tools(page));
            rows.push((format!("| Tools | {before}"), Said));
            rows.push((
                format!(" | {}{now}", if now == before { "the same " } else { "" }),
                Said,
            ));
        }
    }
    rows
}

fn number_problems(page: &str, path: &str, content: &str) -> Problems {
    let prose = prose(content);
    let (mut problems, mut covered) = (Problems::new(), Vec::new());
    for (says, truth) in rows(page) {
        match (true_words(&says, truth), truth) {
            (Err(why), _) => problems.push(why),
            (Ok(words), _) if prose.contains(&words) => {
                let places = prose.match_indices(&words);
                covered.extend(places.map(|(at, it)| at..at + it.len()));
            }
            (Ok(words), Source(file, _)) => problems.push(format!("{path} must say \"{words}\", as {file} has that number.")),
            (Ok(words), Said) => problems.push(format!("{path} does not say \"{words}\" any more. If it is right as it is now, change it in tests/course/facts.rs, too.")),
        }
    }
    if page == "README" {
        return problems; // it is full of figures, which the benches and `compare` measure
    }
    let (own, spans) = (in_blocks(content), spans(&prose));
    let is_verbatim = |words: &str| {
        own.contains(words) || sources().text.contains(words) || !super::stated(words).is_empty()
    };
    let verbatim = spans
        .iter()
        .filter(|(_, words)| is_verbatim(words) || words.starts_with("cargo run"));
    covered.extend(verbatim.map(|(at, words)| *at..at + words.len()));
    let mut at = 0;
    for word in prose.split(' ') {
        let place = at;
        at += word.len() + 1;
        let Some(digit) = word.find(|c: char| c.is_ascii_digit()) else {
            continue;
        };
        if !covered.iter().any(|range| range.contains(&(place + digit))) && !is_lesson(word) {
            let start = prose.floor_char_boundary(place.saturating_sub(30));
            let (around, _) = prose
                .split_at(start)
                .1
                .split_at_checked(70)
                .unwrap_or((word, ""));
            problems.push(format!("{path}: no row of FACTS (tests/course/facts.rs) is about the number in \"…{around}…\""));
        }
    }
    problems
}

/// Whether its first digits name a lesson: `(s06)`, `[s06](../s06_context_compact/README.md)`.
fn is_lesson(word: &str) -> bool {
    let before = word.split(|c: char| c.is_ascii_digit()).next();
    let mut before = before.unwrap_or_default().chars().rev();
    before.next() == Some('s') && !before.next().is_some_and(char::is_alphanumeric)
}

#[test]
fn each_exception_is_of_use() {
    let page = |name: &str| {
        let all = pages()
            .into_iter()
            .filter(|(page, _)| page == name || name == "all");
        all.map(|(_, path)| text(path)).collect::<String>()
    };
    let exceptions = NOT_OURS.iter().chain(KEYED);
    let idle = exceptions.filter(|(name, words)| !page(name).contains(words));
    none(
        idle.map(|(name, words)| {
            format!("tests/course/facts.rs: {name} has no {words:?} any more. Take the row away.")
        })
        .collect(),
    );
}

#[test]
fn the_numbers_of_the_pages_are_true() {
    let problems = |(page, path): (String, String)| number_problems(&page, &path, &text(&path));
    none(pages().into_iter().flat_map(problems).collect());
}

#[test]
fn a_number_that_is_not_true_is_told() {
    let path = "here";
    let rows = rows("s07").into_iter();
    let says = rows.map(|(says, truth)| true_words(&says, truth).expect("a number"));
    let page = says.collect::<Vec<_>>().join("\n") + "\nIdea";
    assert_eq!(number_problems("s07", path, &page), Problems::new());
    for (from, to, told) in [
        ("for 5 seconds", "for 6 seconds", "must say \"for 5 seconds"),
        (" | 11", " | 12", "does not say \" | 11\""),
        ("Rust 1.89", "Rust 1.90", "does not say"),
        ("Idea", "At most 77 tasks.", "no row of FACTS"),
    ] {
        let told_of = number_problems("s07", path, &page.replacen(from, to, 1)).join("\n");
        assert!(told_of.contains(told), "{from}: {told_of}");
    }
    assert_eq!(in_digits("1234567"), "1,234,567");
    assert_eq!(
        (in_digits("1.95"), in_digits("100")),
        ("1.95".into(), "100".into())
    );
    assert_eq!(
        (in_words("5"), in_words("30")),
        ("five".into(), "30".into())
    );
    assert!(number("src/lib.rs", "no such words").is_err());
    for (word, is) in [
        ("(s06)", true),
        ("](s07.svg)", true),
        ("bytes5", false),
        ("64", false),
    ] {
        assert_eq!(is_lesson(word), is, "{word}");
    }
}

#[test]
fn words_that_are_not_there_are_told() {
    let told = |page: &str| {
        let replay = Replay {
            page: "s01".into(),
            path: "here".into(),
            problems: Problems::new(),
            printed: "  └ 0.0 s · exit code 7".into(),
            others: super::blocks(page, "text").expect("a page"),
        };
        quote_problems(&replay, page).join("\n")
    };
    for known in [
        "`src/agent.rs`, `agent.rs`, `src/process/`",
        "`cargo run --bin s01_agent_loop -- --demo`",
        "`check_bg {id?}` and `bash {command}`",
        "`ERROR: there is no tool \"x\". The tools are: a.`",
        "`(Nothing to compact yet.)` and `Still about … tokens`",
        "`Nothing runs in the foreground that could be sent to the background.`",
        "`ERROR: 4 background tasks run already (a, b), and no more can be started now.`",
        "`+42 −0`, `run_tools` and `exit code 7`",
        "```text\nexit code …\n```",
        "```text\n a ──▶ b\n```",
    ] {
        assert_eq!(told(known), "", "{known}");
    }
    for strange in [
        "`src/agents.rs`",
        "`cargo run --bin s01_agent_loops`",
        "`ERROR: there is no such tool \"x\"`",
        "`(Nothing to compact, yet.)`",
        "`Nothing runs in the foreground that could be moved to the background.`",
        "`ERROR: 4 background tasks run already (a, b), and no more can be begun now.`",
        "`ran_tools`",
        "`bg_check {id}`",
        "`bash {order}`",
        "```text\nexit with code 7\n```",
    ] {
        assert!(told(strange).contains("have th"), "{strange}");
    }
}
