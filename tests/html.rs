//! The page of `--html`: that it is one file which no text can break, and, in a real browser, that
//! it plays.
//!
//! The browser is a Chromium: the program that `CHROMIUM` names, or one of the usual names on the
//! PATH. Where there is none, the tests that need it say so and pass:
//!
//! ```sh
//! CHROMIUM=/path/to/chromium cargo test --test html
//! ```

mod support;

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use meanwhile::aids::timeline::Timeline;
use meanwhile::event::{Event, Stamped};
use meanwhile::message::Usage;
use meanwhile::options::Options;
use serde_json::{Value, json};
use support::browser::{self, Browser};
use support::program::{Lesson, clean_environment, eventually, gate, program};
use tempfile::TempDir;

/// Text that would end the script, hide its end, run, or turn around what is read.
const ODD: &str = "</script><script>odd=1</script><!-- <img src=x onerror=odd=2> &lt; {DATA} $& \u{202e}back\u{2028}\u{200b}\u{1b}[2J\u{0}\u{9b}";

/// Events, each with its second.
fn page_of(events: &[(u64, Event)], folder: &Path) -> PathBuf {
    let (timeline, zero, path) = (
        Timeline::default(),
        Instant::now(),
        folder.join("page.html"),
    );
    for (second, event) in events {
        timeline.note(Stamped {
            at: zero + Duration::from_secs(*second),
            agent: None,
            in_background: false,
            event,
        });
    }
    let options = Options {
        title: format!("s09 {ODD}"),
        html: Some(path.clone()),
        ..Options::default()
    };
    assert_eq!(timeline.finish(&options), Vec::<String>::new());
    path
}

/// A session in which everything is odd: 2 turns, a task, a poll in vain, a delivery.
fn odd_session(folder: &Path) -> PathBuf {
    let odd = || ODD.to_string();
    let call = |name: &str, input| Event::ToolStarted {
        name: name.to_string(),
        input,
    };
    let answer = || Event::ToolFinished {
        output: odd(),
        is_error: false,
        elapsed: Duration::ZERO,
    };
    let reply = || Event::RequestFinished(Some(Usage::default()));
    let task = json!({ "id": ODD });
    page_of(
        &[
            (0, Event::TurnStarted(odd())),
            (0, Event::RequestStarted),
            (1, Event::Text(odd())),
            (1, reply()),
            (1, call("bg_bash", task.clone())),
            (
                1,
                Event::TaskStarted {
                    id: odd(),
                    what: odd(),
                },
            ),
            (1, answer()),
            (1, Event::RequestStarted),
            (2, reply()),
            (2, call("check_bg", task)),
            (2, answer()),
            (2, Event::TurnFinished),
            (
                4,
                Event::TaskFinished {
                    id: odd(),
                    result: format!("{ODD}\n{ODD}"),
                },
            ),
            (4, Event::TurnStarted(String::new())),
            (4, Event::Delivered(odd(), odd())),
            (4, Event::RequestStarted),
            (5, Event::Text(odd())),
            (5, reply()),
            (5, Event::TurnFinished),
        ],
        folder,
    )
}

/// What the page is about.
fn data(page: &str) -> Value {
    let (_, data) = page.split_once("id=\"data\">").expect("data");
    let (data, _) = data.split_once("</script>").expect("an end");
    serde_json::from_str(data).expect("valid JSON")
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn no_text_breaks_the_page_or_hides_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let page = std::fs::read_to_string(odd_session(folder.path())).unwrap();
    assert_eq!(page.matches("<script").count(), 2, "the data and the code");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
    for word in ["http:", "https:", "src=", "href", "@import", "url("] {
        let alone = page.replace(&ODD.replace('<', "\\u003c"), "");
        assert!(!alone.replace("src=x", "").contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
    let data = data(&page);
    let texts = texts(&data);
    let hidden = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2028}\u{200b}".contains(c);
    for text in &texts {
        assert!(!text.contains(hidden), "{text:?}");
    }
    let odd =
        |text: &&String| text.contains("</script><script>odd=1") && text.contains("\\u{202e}back");
    assert!(texts.iter().filter(odd).count() > 6, "{texts:#?}");
    let said = data["runs"][0]["talk"].as_array().unwrap();
    let said: Vec<_> = said
        .iter()
        .map(|said| (said["at"].as_f64(), said["who"].as_str()))
        .collect();
    let expected = [
        (0.0, "you"),
        (1.0, "model"),
        (1.0, "call"),
        (1.0, "result"),
        (2.0, "poll"),
        (4.0, "news"),
        (5.0, "model"),
    ];
    assert_eq!(said, expected.map(|(at, who)| (Some(at), Some(who))));
}

#[test]
fn a_lesson_writes_its_session_and_says_when_it_cannot() {
    let lesson = Lesson::new("s09_notifications")
        .argument("--html")
        .argument("page.html");
    let line = r#"run "echo built" in the background as build, then wait for build"#;
    let told = lesson.argument("-p").argument(line).run();
    let data = data(&told.file("page.html").expect("a page"));
    let run = &data["runs"][0];
    let lanes: Vec<_> = run["chart"]["lanes"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&lanes[0]["label"], &lanes[1]["label"]),
        (&json!("main"), &json!("build"))
    );
    let said = run["talk"].to_string();
    assert!(said.contains(&json!(line).to_string()), "{said}");
    let news = run["talk"]
        .as_array()
        .unwrap()
        .iter()
        .find(|said| said["who"] == "news");
    let news = news.expect("it was delivered")["text"].as_str().unwrap();
    assert!(
        news.starts_with("build: finished with exit code 0") && news.ends_with("\nbuilt"),
        "{news}"
    );

    let lesson = Lesson::new("s01_agent_loop")
        .argument("--html")
        .argument("no/page.html");
    let told = lesson.line(r#"run "true""#).run();
    told.has("The page could not be written to no/page.html: ");
    assert_eq!(told.code, Some(0));
}

#[test]
fn each_mate_of_a_team_has_a_lane_with_what_it_did() {
    let lesson = Lesson::new("s20_parallel_teams")
        .argument("--html")
        .argument("page.html");
    // One task waits for the other: each mate has one. Then the lead waits until both are completed.
    let _meet = gate(lesson.folder.path(), "meet");
    let told = lesson
        .line(r#"create task 'run "cat meet" in the background as build, then wait for build', then create task 'run "echo > meet"'"#)
        .line(r#"run "true" in the background as build, then start team crew with ann ben, then run "until [ $(grep -l completed .tasks/task_*.json | wc -l) = 2 ]; do sleep 0.05; done", then list tasks"#)
        .line("/timeline all")
        .run();
    told.has("[x] 1: ").has("[x] 2: ");
    let data = data(&told.file("page.html").expect("a page"));
    let run = &data["runs"][0];
    let lanes = run["chart"]["lanes"].as_array().expect("lanes");
    let bars = |label: &str| -> Vec<&str> {
        let own = lanes.iter().filter(|it| it["label"] == label);
        own.flat_map(|lane| lane["bars"].as_array().expect("bars"))
            .map(|bar| bar["name"].as_str().expect("a name"))
            .collect()
    };
    for mate in ["ann", "ben"] {
        let bars = bars(mate);
        let count = |name: &str| bars.iter().filter(|bar| **bar == name).count();
        assert_eq!((bars[0], count("task_update")), (mate, 1), "{bars:?}");
        assert!(count("thinking") > count("task_claim"), "{bars:?}");
        assert!(count("task_claim") > 0, "{bars:?}");
        let mut said = run["talk"].as_array().expect("a conversation").iter();
        let claims = |it: &Value| it["lane"] == mate && it["text"] == "task_claim:";
        assert!(said.any(claims), "{mate}");
    }
    // What a mate runs in the background has a lane of its own, whatever the lead calls its tasks.
    let owners = ["ann: build", "ben: build"].map(&bars);
    assert_eq!(owners.iter().flatten().count(), 1, "{owners:?}");
    assert_eq!(bars("build"), ["build"]);
    let drawn = told.out.split("/timeline all").nth(1).expect("a picture");
    for mate in ["ann", "ben"] {
        let lane = format!("\n  {mate} ");
        assert!(drawn.contains(&lane), "{mate}\n{drawn}");
    }
}

/// The browser, if there is one; otherwise a word about it, past the harness, which would keep it.
fn a_browser() -> Option<PathBuf> {
    let found = browser::find();
    if found.is_none() {
        let _ = writeln!(
            stderr(),
            "SKIPPED: no browser. Set CHROMIUM to a Chromium to test the page in it."
        );
    }
    found
}

/// A comparison of three programs, played for real.
fn comparison(folder: &TempDir) -> PathBuf {
    let mut command = Command::new(program("compare"));
    clean_environment(&mut command, folder.path());
    let list =
        "run \"sleep {8}; echo built\" in the background as build\nread notes.txt\nwait for build";
    std::fs::write(folder.path().join("list.txt"), list).unwrap();
    command
        .env_remove("CARGO")
        .env_remove("MEANWHILE_THINKING_MS")
        .env("TMPDIR", folder.path());
    command.args([
        "--scale",
        "20",
        "--scenario",
        "list.txt",
        "--html",
        "page.html",
    ]);
    let output = command.output().expect("compare runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.path().join("page.html")
}

fn number(value: Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn a_browser_plays_it_and_keys_are_enough() {
    let Some(program) = a_browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut page = Browser::open(&program, &comparison(&folder));
    let visible = "[...document.querySelectorAll('.talk li')].filter(it => !it.hidden).length";
    assert_eq!(page.evaluate("document.querySelectorAll('.run').length"), 3);
    assert_eq!(page.evaluate("document.querySelectorAll('tr').length"), 6);
    assert_eq!(page.evaluate("now"), 0);
    let first = number(page.evaluate(visible));
    let end = number(page.evaluate("end"));

    page.press("ArrowRight");
    let stepped = number(page.evaluate("now"));
    assert!(stepped > 0.0 && stepped < end && number(page.evaluate(visible)) > first);
    page.press("ArrowLeft");
    assert_eq!(page.evaluate("now"), 0);
    page.press("End");
    assert_eq!(number(page.evaluate("now")), end);
    let all = number(page.evaluate("document.querySelectorAll('.talk li').length"));
    assert_eq!(number(page.evaluate(visible)), all);
    let at_the_end = "[...document.querySelectorAll('.talk')].every(it => it.scrollHeight - it.scrollTop - it.clientHeight < 2)";
    assert_eq!(page.evaluate(at_the_end), true);
    page.press("Home");
    assert_eq!(page.evaluate("now"), 0);
    assert_eq!(number(page.evaluate(visible)), first);

    // Space plays, and plays no further when it is pressed again.
    page.press(" ");
    assert_eq!(page.evaluate("$('play').textContent"), "Pause");
    eventually("it plays", || number(page.evaluate("now")) > 0.0);
    page.press(" ");
    let stopped = page.evaluate("now");
    assert_eq!(
        page.evaluate("[playing, $('play').textContent].join()"),
        "false,Play"
    );
    assert_eq!(page.evaluate("now"), stopped);

    // To the end by itself, and from there again from the beginning.
    page.evaluate("$('speed').value = 16");
    page.press(" ");
    eventually("it ends", || page.evaluate("playing") == false);
    assert_eq!(number(page.evaluate("now")), end);
    page.evaluate("$('speed').value = .25");
    page.press(" ");
    assert!(number(page.evaluate("now")) < end);
    page.press("Home");

    // A button that has the focus, which can be seen, does what it says.
    page.evaluate("$('step').focus()");
    page.press("Tab");
    page.press("ArrowRight"); // on the slider: a step all the same
    assert_eq!(number(page.evaluate("now")), stepped);
    assert_eq!(
        page.evaluate(
            "document.activeElement.id + getComputedStyle(document.activeElement).outlineStyle"
        ),
        "timesolid"
    );
    page.press("Home");
    page.evaluate("$('step').focus()");
    page.press(" ");
    assert_eq!(
        (number(page.evaluate("now")), page.evaluate("playing")),
        (stepped, json!(false))
    );
    // The slider with a mouse.
    page.evaluate("time.value = end / 2; time.dispatchEvent(new Event('input'))");
    assert!((number(page.evaluate("now")) - end / 2.0).abs() < 0.01);
    assert_eq!(page.problems, Vec::<String>::new());
}

#[test]
fn a_browser_shows_it_large_light_and_dark() {
    let Some(program) = a_browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut page = Browser::open(&program, &comparison(&folder));
    page.press("End");
    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        page.prefer(scheme);
        for (width, height, type_size) in [(1200, 700, 18.0), (1920, 1080, 28.0), (600, 900, 16.0)]
        {
            page.resize(width, height);
            let size =
                page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)");
            assert!(number(size) >= type_size, "at {width}");
            let across = number(page.evaluate("document.documentElement.scrollWidth"));
            assert!(across <= f64::from(width), "{across} at {width}");
            if width > 800 {
                let below =
                    number(page.evaluate(
                        "document.querySelector('footer').getBoundingClientRect().bottom",
                    ));
                assert!(
                    below <= f64::from(height),
                    "the controls end at {below} of {height}"
                );
            }
        }
        papers.push(page.evaluate("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(papers[0], papers[1]);
    assert_eq!(page.problems, Vec::<String>::new());
}

#[test]
fn a_browser_shows_odd_text_as_text() {
    let Some(program) = a_browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut page = Browser::open(&program, &odd_session(folder.path()));
    page.press("End");
    assert_eq!(page.evaluate("typeof odd"), "undefined");
    assert_eq!(
        page.evaluate("document.images.length + document.scripts.length"),
        2
    );
    let said = page.evaluate("document.querySelector('.you').textContent");
    let said = said.as_str().unwrap();
    assert!(
        said.starts_with("</script><script>odd=1</script><!-- <img")
            && said.contains("&lt; {DATA} $&"),
        "{said}"
    );
    assert_eq!(page.problems, Vec::<String>::new());
}

#[test]
fn pages_of_the_repository_are_as_they_are_written_now() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let template = read("src/aids/timeline/page.html");
    let (before, after) = template.split_once("{DATA}").expect("a place for the data");
    let pages = [
        (
            "lessons/s08_background_tasks/compare.html",
            "s08 background",
        ),
        (
            "lessons/s10_background_agents/compare.html",
            "s10 in the background",
        ),
        (
            "lessons/s20_parallel_teams/compare.html",
            "s20 a team: each takes the next task",
        ),
    ];
    for (path, title) in pages {
        let page = read(path);
        assert!(
            page.starts_with(before) && page.ends_with(after),
            "{path} is not of the present template: README.md has the command that writes it"
        );
        assert!(
            texts(&data(&page)).iter().any(|text| text == title),
            "{path}"
        );
        assert!(read("README.md").contains(&format!("({path})")), "{path}");
    }
    // The pictures link to it.
    for readme in ["README.md", "lessons/s08_background_tasks/README.md"] {
        let text = read(readme);
        let mut pictures = text.lines().filter(|line| line.contains(".svg)"));
        assert!(
            pictures.all(|line| line.starts_with("[![") && line.ends_with("compare.html)")),
            "{readme}"
        );
    }
}
