//! aids · The phrases of the practice model: from a prompt to steps.

use std::iter::once;
use std::rc::Rc;

use serde_json::{Value, json};

use super::short;
use super::words::{FILLERS, Word, source, split, words};

/// One instruction: the person's own words, shortened; the tool that it needs and the lesson that
/// brings it, both `-` if it needs none; what to do.
pub struct Step {
    pub label: String,
    pub tool: &'static str,
    pub lesson: &'static str,
    pub action: Action,
}

/// What a step does.
pub enum Action {
    /// Calls the tool once, with this input.
    Call(Value),
    /// Calls it until it no longer says that something runs.
    Wait(Value),
    /// Updates a plan: its items, and how many of them are over.
    Plan(Rc<[Value]>, usize),
    /// Tells what was said and done so far.
    Summary,
    /// Lists the phrases.
    Help,
}

/// Lesson, tool and phrase. A word in capitals is a slot, named like the field of the tool's
/// input: it takes one word or a quoted text, and with quotes around it only a quoted text.
/// `…` takes all that follows.
const PHRASES: &str = r#"
s01 bash run "COMMAND"
s08 bg_bash run "COMMAND" in the background as ID
s11 bash run "COMMAND" with timeout TIMEOUT_SECONDS
s08 check_bg check all
s08 check_bg check ID
s08 check_bg wait for all
s08 check_bg wait for ID
s09 stop_bg stop ID
s02 read_file read PATH
s02 write_file write "CONTENT" to PATH
s02 edit_file replace "OLD_TEXT" with "NEW_TEXT" in PATH
s04 task delegate "PROMPT"
s04 task delegate "PROMPT" to AGENT
s04 task delegate "PROMPT" as DESCRIPTION
s04 task delegate "PROMPT" to AGENT as DESCRIPTION
s10 task delegate "PROMPT" as DESCRIPTION with PRIORITY priority
s10 task delegate "PROMPT" to AGENT as DESCRIPTION with PRIORITY priority
s11 task delegate "PROMPT" as DESCRIPTION in the foreground
s11 task delegate "PROMPT" to AGENT as DESCRIPTION in the foreground
s10 todo_read show todos
s05 load_skill load skill NAME
s07 task_create create task "SUBJECT"
s07 task_create create task "SUBJECT" after NUMBERS
s07 task_update start task NUMBER
s07 task_update complete task NUMBER
s07 task_list list tasks
s07 task_get show task NUMBER
- - summarise …
- - summarize …
- - help
"#;

/// Phrase, tool and lesson of each row.
fn phrases() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    PHRASES.lines().filter_map(|row| {
        let (lesson, row) = row.split_once(' ')?;
        let (tool, phrase) = row.split_once(' ')?;
        Some((phrase, tool, lesson))
    })
}

/// The phrases whose tools are offered, with the fields they need, one a line.
pub fn list(offered: impl Fn(&str, Option<&str>) -> bool) -> String {
    let possible = phrases().filter(|(phrase, tool, _)| {
        let mut fields = phrase.split(' ').filter_map(field);
        *tool == "-" || offered(tool, None) && fields.all(|field| offered(tool, Some(&field)))
    });
    let plan = offered("todo", None).then_some("plan: A; B; C");
    let all = plan.into_iter().chain(possible.map(|(phrase, ..)| phrase));
    all.map(|phrase| format!("\n  {phrase}")).collect()
}

/// The field of the tool's input that stands behind a word of a phrase.
fn field(slot: &str) -> Option<String> {
    let name = match slot.trim_matches('"') {
        "NUMBER" => "id".to_string(),
        "NUMBERS" => "blockedBy".to_string(),
        "foreground" => "wait".to_string(),
        name if name.starts_with(char::is_uppercase) => name.to_lowercase(),
        _ => return None,
    };
    Some(name)
}

/// All steps of a prompt, or a sentence on what is not understood.
pub fn parse(prompt: &str) -> Result<Vec<Step>, String> {
    let parts = split(words(prompt)?);
    let mut steps = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let found = match &part[0] {
            first if first.is("plan:") => plan(&part[1..]),
            _ => step(part).map(|step| vec![step]),
        };
        let Some(found) = found else {
            let (number, part) = (index + 1, short(&source(part), 60));
            return Err(match parts.len() {
                1 => format!("I do not understand {part}. I did nothing."),
                _ => format!("I do not understand step {number}, {part}. I did nothing."),
            });
        };
        steps.extend(found);
    }
    let none = || "I find no instruction in that.".to_string();
    (!steps.is_empty()).then_some(steps).ok_or_else(none)
}

/// The step of the first phrase that fits.
fn step(part: &[Word]) -> Option<Step> {
    let fitting = |(phrase, tool, lesson)| Some((fits(phrase, part)?, phrase, tool, lesson));
    let (mut input, phrase, tool, lesson) = phrases().find_map(fitting)?;
    let text = |field| input[field].as_str().unwrap_or_default();
    let verb = phrase.split(' ').next()?;
    match verb {
        "write" => input["content"] = text("content").replace("\\n", "\n").into(),
        "delegate" if text("description").is_empty() => {
            input["description"] = short(text("prompt"), 40).into();
        }
        "start" => input["status"] = "in_progress".into(),
        "complete" => input["status"] = "completed".into(),
        _ => {}
    }
    let action = match verb {
        "help" => Action::Help,
        "summarise" | "summarize" => Action::Summary,
        "wait" => Action::Wait(input),
        _ => Action::Call(input),
    };
    let label = short(&source(part), 60);
    Some(Step {
        label,
        tool,
        lesson,
        action,
    })
}

/// The tool's input, if the phrase fits: what stands in its slots.
fn fits(phrase: &str, part: &[Word]) -> Option<Value> {
    let mut words = part.iter().filter(|word| !word.is_filler());
    let mut input = json!({});
    for slot in phrase.split(' ').filter(|slot| !FILLERS.contains(slot)) {
        if slot == "…" {
            return Some(input);
        }
        let word = words.next()?;
        let is_plain = slot.starts_with(char::is_lowercase);
        if is_plain && !word.is(slot) {
            return None;
        }
        let Some(field) = field(slot) else { continue };
        input[field] = match slot {
            "foreground" => true.into(),
            "NUMBER" | "TIMEOUT_SECONDS" => word.number()?.into(),
            "NUMBERS" => {
                let numbers = once(word).chain(words.by_ref()).map(Word::number);
                numbers.collect::<Option<Value>>()?
            }
            _ if slot.starts_with('"') && matches!(word, Word::Plain(_)) => return None,
            _ => word.text().into(),
        };
    }
    words.next().is_none().then_some(input)
}

/// The steps of a plan. If every item is an instruction, each stands between two updates of
/// the plan; if not, the plan is only kept. `None` if it has no items.
fn plan(part: &[Word]) -> Option<Vec<Step>> {
    let (mut items, mut work) = (Vec::new(), Vec::new());
    let parts = part.split(|word| word.is(";"));
    for item in parts.filter(|item| !item.is_empty()) {
        let mut priorities = ["high", "medium", "low"].into_iter();
        let priority = priorities.find(|priority| item[0].is(&format!("{priority}:")));
        let item = &item[usize::from(priority.is_some())..];
        let priority = priority.unwrap_or("medium");
        let content = source(item);
        items.push(json!({ "content": content, "priority": priority, "status": "pending" }));
        work.push(step(item));
    }
    let (items, count): (Rc<[Value]>, _) = (items.into(), work.len());
    let update = |action| Step {
        label: "plan".to_string(),
        tool: "todo",
        lesson: "s03",
        action,
    };
    let Some(work) = work.into_iter().collect::<Option<Vec<Step>>>() else {
        return Some(vec![update(Action::Call(json!({ "todos": *items })))]);
    };
    let updates = (0..=count).map(|done| update(Action::Plan(items.clone(), done)));
    let mut work = work.into_iter();
    let steps = updates.flat_map(|update| [Some(update), work.next()]);
    (count > 0).then(|| steps.flatten().collect())
}
