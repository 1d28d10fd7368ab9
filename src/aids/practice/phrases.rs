//! aids · The phrases of the practice model: from a prompt to steps.

use std::iter::once;

use serde_json::{Map, Value, from_str, json};

use super::conversation::Call;
use super::short;
use super::words::{FILLERS, Word, source, split, words};

/// One instruction.
pub struct Step {
    /// The person's own words, shortened.
    pub label: String,
    /// The first word of its phrase; `plan` for an update of a plan, `keep` for a plan of
    /// anything else than instructions.
    pub verb: &'static str,
    /// The tool that it needs, or `-`.
    pub tool: String,
    /// The lesson that brings the tool, or `-`.
    pub lesson: &'static str,
    /// The tool's input; of an update, it is made when its time comes.
    pub input: Value,
    /// The item of a plan that it carries out.
    pub item: Option<Value>,
    /// True if it joins the reply of the step before.
    pub together: bool,
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
s20 team_stop stop the team
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
s12 task delegate "PROMPT" as DESCRIPTION in a worktree
s12 task delegate "PROMPT" to AGENT as DESCRIPTION in a worktree
s12 worktree_merge merge NAME
s12 worktree_remove remove NAME
s10 todo_read show todos
s05 load_skill load skill NAME
s07 task_create create task "SUBJECT"
s07 task_create create task "SUBJECT" after NUMBERS
s15 task_create create task "SUBJECT" for AGENT
s15 task_create create task "SUBJECT" for AGENT after NUMBERS
s15 task_create create task "SUBJECT" for AGENT in a worktree
s15 task_create create task "SUBJECT" for AGENT in a worktree after NUMBERS
s15 dispatch dispatch NAME
s15 dispatch dispatch NAME with TASKS
s16 monitor monitor "COMMAND" as ID
s16 monitor monitor "COMMAND" as ID and wake me
s16 timer remind me in SECONDS seconds "NOTE" as ID
s16 timer remind me every SECONDS seconds "NOTE" as ID
s20 team start team NAME with MATES
s20 team_status show the team
s20 send tell TO "TEXT"
s20 task_claim take tasks from the board …
s20 task_claim take a task
s07 task_update start task NUMBER
s07 task_update complete task NUMBER
s07 task_list list tasks
s07 task_get show task NUMBER
- - call NAME {json}
- - summarise …
- - summarize …
- - report results
- - help
"#;

/// Lesson, tool and phrase of each row.
fn phrases() -> impl Iterator<Item = [&'static str; 3]> {
    let rows = PHRASES.lines().map(|row| row.splitn(3, ' ').collect());
    rows.filter_map(|row: Vec<_>| row.try_into().ok())
}

/// The phrases whose tools are offered, with the fields they need, one a line.
pub fn list(offered: impl Fn(&str, Option<&str>) -> bool) -> String {
    let mut list = "\n  together: A; B".to_string();
    if offered("todo", None) {
        list += "\n  plan: A; B; C";
    }
    for [_, tool, phrase] in phrases() {
        let mut fields = phrase.split(' ').filter_map(field);
        if tool == "-" || offered(tool, None) && fields.all(|field| offered(tool, Some(&field))) {
            list += &format!("\n  {phrase}");
        }
    }
    list
}

/// The field of the tool's input that stands behind a word of a phrase.
fn field(slot: &str) -> Option<String> {
    let name = match slot.trim_matches('"') {
        "NUMBER" => "id".to_string(),
        "NUMBERS" => "blockedBy".to_string(),
        "foreground" => "wait".to_string(),
        "worktree" | "wake" => slot.to_string(),
        "every" => "repeat".to_string(),
        "{json}" => "input".to_string(),
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
        let items = part[1..].split(|word| word.is(";"));
        let items = items.filter(|item| !item.is_empty());
        let together = part[0].is("together:");
        let found = match &part[0] {
            first if first.is("plan:") => plan(items),
            _ if together => items.map(step).collect(),
            _ => step(part).map(|step| vec![step]),
        };
        let Some(mut found) = found else {
            let number = match parts.len() {
                1 => String::new(),
                _ => format!("step {}, ", index + 1),
            };
            // What it is about may stand before it: `login fails: run "date"`.
            let about = prompt.split_once(": ").filter(|it| it.0 != "together");
            if let Some(Ok(steps)) = about.map(|(_, rest)| parse(rest)) {
                return Ok(steps);
            }
            let part = short(&source(part), 60);
            return Err(format!(
                "I do not understand {number}\"{part}\". I did nothing."
            ));
        };
        let joined = found.iter_mut().skip(1);
        joined.for_each(|step| step.together = together);
        steps.append(&mut found);
    }
    let none = || "I find no instruction in that.".to_string();
    (!steps.is_empty()).then_some(steps).ok_or_else(none)
}

/// The step of the first phrase that fits.
fn step(part: &[Word]) -> Option<Step> {
    let (row, mut input) = phrases().find_map(|row| Some((row, fits(row[2], part)?)))?;
    let [lesson, tool, phrase] = row;
    let mut tool = tool.to_string();
    let verb = phrase.split(' ').next()?;
    match verb {
        "delegate" if input["description"].is_null() => {
            let prompt = input["prompt"].as_str().unwrap_or_default();
            input["description"] = short(prompt, 40).into();
        }
        "call" => {
            tool = input["name"].as_str()?.to_string();
            input = input["input"].take();
        }
        "start" if tool == "task_update" => input["status"] = "in_progress".into(),
        "complete" => input["status"] = "completed".into(),
        _ => {}
    }
    let (label, item, together) = (short(&source(part), 60), None, false);
    Some(Step {
        label,
        verb,
        tool,
        lesson,
        input,
        item,
        together,
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
        if is_plain && !word.is(slot) || slot.starts_with('"') && !word.quoted {
            return None;
        }
        let Some(field) = field(slot) else { continue };
        input[field] = match slot {
            "foreground" | "worktree" | "wake" | "every" => true.into(),
            "{json}" => from_str::<Map<_, _>>(&word.text).ok()?.into(),
            "NUMBER" | "SECONDS" | "TIMEOUT_SECONDS" => word.number()?.into(),
            "NUMBERS" | "TASKS" => {
                let numbers = once(word).chain(words.by_ref());
                numbers.map(Word::number).collect::<Option<Value>>()?
            }
            "MATES" => {
                let mates = once(word).chain(words.by_ref());
                mates.map(|mate| json!({ "name": mate.text })).collect()
            }
            "TO" => {
                let names = words.clone().take_while(|word| !word.quoted).count();
                let names = once(word).chain(words.by_ref().take(names));
                let names: Vec<&str> = names.map(|name| name.text.as_str()).collect();
                names.join(",").into()
            }
            "\"CONTENT\"" => word.text.replace("\\n", "\n").into(),
            _ => word.text.as_str().into(),
        };
    }
    words.next().is_none().then_some(input)
}

/// The steps of a plan. If every item is an instruction, each stands between two updates of
/// the plan; if not, the plan is only kept. `None` if it has no items.
fn plan<'a>(parts: impl Iterator<Item = &'a [Word]>) -> Option<Vec<Step>> {
    let todo = |label: &str, verb, input| Step {
        label: label.to_string(),
        verb,
        tool: "todo".to_string(),
        lesson: "s03",
        input,
        item: None,
        together: false,
    };
    let (mut items, mut steps) = (Vec::new(), vec![todo("plan", "plan", Value::Null)]);
    for item in parts {
        let mut priorities = ["high", "medium", "low"].into_iter();
        let priority = priorities.find(|priority| item[0].is(&format!("{priority}:")));
        let item = &item[usize::from(priority.is_some())..];
        let (content, priority) = (source(item), priority.unwrap_or("medium"));
        items.push(json!({ "content": content, "priority": priority, "status": "pending" }));
        if let Some(step) = step(item) {
            let item = items.last().cloned();
            steps.extend([Step { item, ..step }, todo("", "plan", Value::Null)]);
        }
    }
    match items.len() {
        0 => None,
        count if steps.len() == 2 * count + 1 => Some(steps),
        _ => Some(vec![todo("plan", "keep", json!({ "todos": items }))]),
    }
}

/// The number and the subject of a board task, in a line that tells of it.
fn claimed(line: &str) -> Option<(u64, &str)> {
    let (id, subject) = line
        .strip_prefix('[')?
        .split_once("] ")?
        .1
        .split_once(": ")?;
    Some((id.parse().ok()?, subject))
}

/// The steps of a mate that takes tasks: each task says what is to be done for it. It takes the next
/// one until none is free, and again when the board is news.
pub fn work(mut steps: Vec<Step>, calls: &[Call], woken: bool) -> Vec<Step> {
    let again = steps
        .iter()
        .position(|step| step.verb == "take" && step.label.len() > 11);
    let Some(again) = again else { return steps };
    let claims: Vec<_> = calls.iter().filter(|it| it.name == "task_claim").collect();
    for (at, claim) in claims.iter().enumerate() {
        let task = claim.result.lines().next().and_then(claimed);
        let more = task.is_some() || woken || at + 1 < claims.len();
        if let Some((id, subject)) = task {
            steps.extend(parse(subject).unwrap_or_default());
            steps.extend(parse(&format!("complete task {id}")).unwrap_or_default());
        }
        if more {
            steps.push(Step {
                label: steps[again].label.clone(),
                tool: steps[again].tool.clone(),
                input: json!({}),
                item: None,
                ..steps[again]
            });
        }
    }
    steps
}
