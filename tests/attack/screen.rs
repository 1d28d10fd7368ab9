//! The screen: what a model, a command or a file says cannot do anything to it, nor hide in it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustyline::ExternalPrinter;
use serde_json::{Value, json};

use meanwhile::agent::Agent;
use meanwhile::event::{Event, Look, Stamped};
use meanwhile::permission;
use meanwhile::screen::{Screen, describe};
use meanwhile::tool::{Access, Context, Tool};
use meanwhile::tools::object;

use crate::support::session::{By, Chance, calls, nobody};
use crate::{odd_text, times};

/// What invisible characters there are, and those that turn others around.
pub const UNSEEN: &str = "\u{ad}\u{61c}\u{115f}\u{1160}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{e0000}\u{e0041}\u{e007f}";

pub fn turns_around(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What an editor is given to print.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<String>>);

impl ExternalPrinter for Printed {
    fn print(&mut self, text: String) -> rustyline::Result<()> {
        if text != "\x1b[A\n" {
            self.0.lock().unwrap().push_str(&text);
        }
        Ok(())
    }
}

/// What the screen shows of it, without colours.
fn shown(events: &[(Option<String>, Event)]) -> String {
    let (screen, printed) = (Screen::new(false), Printed::default());
    screen.print_above(printed.clone());
    screen.stands.trigger();
    for (agent, event) in events {
        screen.show(Stamped {
            at: Instant::now(),
            agent: agent.as_deref(),
            in_background: false,
            event,
        });
    }
    screen.flush();
    let text = printed.0.lock().unwrap();
    text.clone()
}

/// One of every kind, with such text in each field.
fn event(chance: &mut Chance) -> Event {
    let mut text = || odd_text(chance, &[]);
    let (one, two, three) = (text(), text(), text());
    match chance.below(15) {
        0 => Event::TurnStarted(one),
        1 => Event::TurnFinished,
        2 => Event::RequestStarted,
        3 | 4 => Event::Text(one),
        5 => Event::RequestFinished(None),
        6 => Event::ToolStarted {
            name: one,
            input: json!({ two: three, "path": [odd_text(chance, &[])] }),
        },
        7 => Event::Waiting(Look(Arc::new(move || (one.clone(), two.clone())))),
        8 => Event::ToolFinished {
            output: one,
            is_error: chance.one_in(2),
            elapsed: Duration::ZERO,
        },
        9 => Event::TaskFinished {
            id: one,
            result: two,
        },
        10 => Event::Delivered(one, two),
        11 => Event::TaskStarted { id: one, what: two },
        12 => Event::Told(one, two),
        13 => Event::Tokens(chance.below(1_000) as u64),
        _ => Event::Notice(one),
    }
}

#[test]
fn nothing_reaches_the_screen_raw() {
    let mut chance = Chance::new(9);
    for _ in 0..times(2_000) / 100 {
        let events: Vec<_> = (0..100)
            .map(|_| {
                let agent = chance.one_in(2).then(|| odd_text(&mut chance, &[]));
                (agent, event(&mut chance))
            })
            .collect();
        let text = shown(&events);
        let raw = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n' && *c != '\t') || turns_around(*c));
        assert_eq!(raw, None, "{text:?}\n{events:?}");
        assert!(text.lines().count() > 20, "{text:?}");
    }
}

#[test]
fn names_and_tool_lines_hide_nothing_and_are_one_line() {
    for hidden in UNSEEN.chars() {
        let odd = format!("a{hidden}\x1b]0;PWN\x07\r\nb");
        let name = odd.clone();
        for (agent, event) in [
            (Some(odd.clone()), Event::Notice("text".into())),
            (Some(odd.clone()), Event::Text("text".into())),
            (None, Event::Delivered(odd.clone(), odd.clone())),
            (None, Event::Told(odd.clone(), odd.clone())),
            (
                None,
                Event::ToolStarted {
                    name: name.clone(),
                    input: json!({}),
                },
            ),
            (
                None,
                Event::ToolStarted {
                    name: "bash".into(),
                    input: json!({ "command": name }),
                },
            ),
        ] {
            let text = shown(&[(agent, event)]);
            assert_eq!(text.trim_end().lines().count(), 1, "{text}");
            assert!(!text.contains(hidden), "{text:?}");
        }
    }
    let text = shown(&[(Some("a\u{202e}b".into()), Event::Notice("said".into()))]);
    assert_eq!(text, "  a\\u{202e}b │ (said)\n");
}

/// What a person is asked about such a call.
fn question(input: Value) -> String {
    let asked = Arc::new(Mutex::new(String::new()));
    let to = asked.clone();
    let context = Context {
        ask: Arc::new(move |question, _| {
            *to.lock().unwrap() = question.to_string();
            Ok("no".to_string())
        }),
        ..Context::default()
    };
    let run = |_: Value, _: &Context| panic!("nobody allowed it");
    let tool = Tool::new(
        "bash",
        "",
        object(json!({ "command": {} }), &[]),
        Access::Ask,
        run,
    );
    let mut agent = Agent::new(Arc::new(By(nobody)), "", context);
    agent.toolbox.add([tool]);
    agent.gate = permission::gate(false);
    agent.run_tools(calls("t1", "bash", input), &mut Vec::new());
    let text = asked.lock().unwrap();
    text.clone()
}

const CHOICE: &str = "Allow it? [y]es, [n]o, [a]lways this tool in this session: ";

/// The rows of what is asked about.
fn rows(question: &str) -> Vec<&str> {
    let mut rows: Vec<&str> = question.lines().collect();
    assert_eq!(rows.remove(0), "The agent wants to call bash:");
    assert_eq!(rows.pop(), Some(CHOICE));
    rows
}

#[test]
fn a_question_cannot_be_forged() {
    for line_end in ["\n", "\r", "\r\n", "\u{2028}", "\u{85}", "\x0b"] {
        let forged = format!("touch PWNED #{line_end}{CHOICE}y{line_end}The agent wants to call x");
        let question = question(json!({ "command": forged }));
        assert!(
            rows(&question).iter().all(|row| row.starts_with("│ ")),
            "{question}"
        );
    }
    // Nor by what the terminal wraps.
    let question =
        question(json!({ "command": format!("touch PWNED #{}{CHOICE}", " ".repeat(200)) }));
    for row in rows(&question) {
        assert!(
            row.starts_with("│ ") && row.chars().count() < 80,
            "{question}"
        );
    }
}

#[test]
fn a_question_shows_the_beginning_and_the_end() {
    for filler in ["\n", " \n", "x\n", "日"] {
        let text = question(json!({ "command": format!("begin{}end", filler.repeat(5_000)) }));
        let rows = rows(&text);
        assert!(rows.len() <= 25, "{text}");
        assert!(
            rows[0].starts_with("│ begin") && rows[rows.len() - 1].ends_with("end"),
            "{text}"
        );
        let told = rows
            .iter()
            .filter(|row| row.contains(" more lines, not shown …"));
        assert_eq!(told.count(), usize::from(filler != "\n"), "{text}");
    }
}

#[test]
fn a_question_hides_nothing() {
    for hidden in UNSEEN.chars() {
        let text = question(json!({ "command": format!("rm {hidden}x") }));
        assert!(
            text.contains(&format!("│ rm {}x\n", hidden.escape_unicode())),
            "{text}"
        );
    }
}

#[test]
fn a_question_has_the_words_of_lists_and_objects_without_the_marks_of_json() {
    let inputs = [
        (json!({}), ""),
        (
            json!({ "a": {}, "b": [], "c": null, "d": "" }),
            "a   b []  c null  ",
        ),
        (
            json!({ "command": "rm x", "description": "tidies" }),
            "rm x  tidies",
        ),
        (
            json!({ "blockedBy": [1, 2], "subject": "ship" }),
            "ship  blockedBy 1, 2",
        ),
        (
            json!({ "todos": [{ "status": "pending", "content": "look" }, { "content": "go", "status": "completed", "priority": "low" }] }),
            "look, pending; go, low, completed",
        ),
        (
            json!({ "force": true, "to": { "deep": [["x"], [false]], "name": 7 } }),
            "force true  to 7, deep x, false",
        ),
        (
            json!({ "mixed": [{ "rm": true }, "-rf", 1] }),
            "rm true; -rf; 1",
        ),
        (json!(["a", { "b": 1 }]), "a  b 1"),
    ];
    for (input, words) in inputs {
        assert_eq!(describe(&input), words);
    }
}
