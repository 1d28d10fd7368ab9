//! From a prompt to steps.

use std::rc::Rc;

use serde_json::{Map, Value};

/// One instruction: the person's own words, shortened; the tool it needs and the lesson that
/// brings it, both empty if it needs none; what to do.
#[allow(missing_docs)]
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
    /// Calls it until it no longer says that something is still running.
    Wait(Value),
    /// Writes a plan down. Each item is content and priority; `done` of them are over. `None`:
    /// they are no instructions, and none is carried out.
    Plan {
        items: Rc<[(String, &'static str)]>,
        done: Option<usize>,
    },
    /// Tells what was said and done so far.
    Summary,
    /// Lists the phrases.
    Help,
}

/// A phrase, its tool, its lesson. In upper case: a slot, named like the field of the tool's
/// input. It takes one word or a quoted text; with quotes around it, only that. `…` takes all.
const PHRASES: &[(&str, &str, &str)] = &[
    (r#"run "COMMAND""#, "bash", "s01"),
    (r#"run "COMMAND" in the background as ID"#, "bg_bash", "s08"),
    (
        r#"run "COMMAND" with timeout TIMEOUT_SECONDS"#,
        "bash",
        "s11",
    ),
    ("check all", "check_bg", "s08"),
    ("check ID", "check_bg", "s08"),
    ("wait for all", "check_bg", "s08"),
    ("wait for ID", "check_bg", "s08"),
    ("stop ID", "stop_bg", "s09"),
    ("read PATH", "read_file", "s02"),
    (r#"write "CONTENT" to PATH"#, "write_file", "s02"),
    (
        r#"replace "OLD_TEXT" with "NEW_TEXT" in PATH"#,
        "edit_file",
        "s02",
    ),
    (r#"delegate "PROMPT""#, "task", "s04"),
    (r#"delegate "PROMPT" to AGENT"#, "task", "s04"),
    (r#"delegate "PROMPT" as DESCRIPTION"#, "task", "s04"),
    (
        r#"delegate "PROMPT" to AGENT as DESCRIPTION"#,
        "task",
        "s04",
    ),
    (
        r#"delegate "PROMPT" as DESCRIPTION with PRIORITY priority"#,
        "task",
        "s10",
    ),
    (
        r#"delegate "PROMPT" to AGENT as DESCRIPTION with PRIORITY priority"#,
        "task",
        "s10",
    ),
    (
        r#"delegate "PROMPT" as DESCRIPTION in the foreground"#,
        "task",
        "s11",
    ),
    (
        r#"delegate "PROMPT" to AGENT as DESCRIPTION in the foreground"#,
        "task",
        "s11",
    ),
    ("show todos", "todo_read", "s10"),
    ("load skill NAME", "load_skill", "s05"),
    (r#"create task "SUBJECT""#, "task_create", "s07"),
    (
        r#"create task "SUBJECT" after NUMBERS"#,
        "task_create",
        "s07",
    ),
    ("start task NUMBER", "task_update", "s07"),
    ("complete task NUMBER", "task_update", "s07"),
    ("list tasks", "task_list", "s07"),
    ("show task NUMBER", "task_get", "s07"),
    ("summarise …", "", ""),
    ("summarize …", "", ""),
    ("help", "", ""),
];

/// Between the words that count.
const FILLERS: [&str; 8] = ["and", "please", "the", "then", ",", ";", ".", "\n"];
/// What opens a quoted text, and what closes it.
const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”')];

/// The phrases whose tools are offered, with the fields they need, one a line.
pub fn list(offered: impl Fn(&str, &str) -> bool) -> String {
    let possible = PHRASES.iter().filter(|(phrase, tool, _)| {
        let mut fields = phrase.split(' ').filter_map(field);
        tool.is_empty() || offered(tool, "") && fields.all(|field| offered(tool, &field))
    });
    let plan = offered("todo", "").then_some("plan: A; B; C");
    let phrases = plan.into_iter().chain(possible.map(|(phrase, ..)| *phrase));
    phrases.map(|phrase| format!("\n  {phrase}")).collect()
}

/// The field of the tool's input that stands behind a word of a phrase.
fn field(slot: &str) -> Option<String> {
    match slot {
        "NUMBER" => Some("id".to_string()),
        "NUMBERS" => Some("blockedBy".to_string()),
        "foreground" => Some("wait".to_string()),
        slot if slot.starts_with(|c: char| c.is_uppercase() || c == '"') => {
            Some(slot.trim_matches('"').to_lowercase())
        }
        _ => None,
    }
}

/// All steps of a prompt, or a sentence on what is not understood.
pub fn parse(prompt: &str) -> Result<Vec<Step>, String> {
    let parts = split(words(prompt)?);
    let mut steps = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let found = if part[0].is("plan:") {
            plan(&part[1..])
        } else {
            step(part).map(|step| vec![step])
        };
        let place = if parts.len() > 1 {
            format!("step {}, ", index + 1)
        } else {
            String::new()
        };
        let unknown = || {
            format!(
                "I do not understand {place}{}. I did nothing.",
                short(&source(part), 60)
            )
        };
        steps.extend(found.ok_or_else(unknown)?);
    }
    if steps.is_empty() {
        Err("I find no instruction in that.".to_string())
    } else {
        Ok(steps)
    }
}

/// A word, a mark, or a quoted text, which is never taken for an instruction.
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn is(&self, word: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(word)
    }

    fn is_filler(&self) -> bool {
        FILLERS.into_iter().any(|filler| self.is(filler))
    }
}

/// A quote opens where no word goes on, and ends at its own kind. A backslash keeps it open, and
/// is dropped then; all other backslashes stay. The marks are `,`, `;` and a newline.
fn words(prompt: &str) -> Result<Vec<Word>, String> {
    let (mut words, mut text) = (Vec::new(), String::new());
    let (mut open, mut before) = (None, ' ');
    for c in prompt.chars().chain(['\n']) {
        let opening = QUOTES
            .into_iter()
            .find(|(quote, _)| *quote == c && !before.is_alphanumeric());
        let closing = open.is_some_and(|(_, close)| c == close);
        if closing && before != '\\' {
            words.push(Word {
                text: std::mem::take(&mut text),
                quoted: true,
            });
            open = None;
        } else if open.is_some() {
            if closing {
                text.pop();
            }
            text.push(c);
        } else if opening.is_some() || c.is_whitespace() || c == ',' || c == ';' {
            let mark = if ",;\n".contains(c) {
                c.to_string()
            } else {
                String::new()
            };
            let plain = [std::mem::take(&mut text), mark]
                .into_iter()
                .filter(|text| !text.is_empty());
            words.extend(plain.map(|text| Word {
                text,
                quoted: false,
            }));
            open = opening;
        } else {
            text.push(c);
        }
        before = if (before, c) == ('\\', '\\') { ' ' } else { c };
    }
    let Some((quote, _)) = open else {
        return Ok(words);
    };
    Err(format!(
        "This quote never ends: {quote}{}. I did nothing.",
        short(text.trim_end(), 60)
    ))
}

/// The steps: between them stands `then` or a newline. A plan does not end at a bare `then`.
fn split(words: Vec<Word>) -> Vec<Vec<Word>> {
    let (mut parts, mut part) = (Vec::new(), Vec::<Word>::new());
    for word in words {
        let in_plan = part.first().is_some_and(|first| first.is("plan:"));
        let then = word.is("then") && (!in_plan || part.last().is_some_and(|last| last.is(",")));
        if then || word.is("\n") {
            parts.push(std::mem::take(&mut part));
        } else if !part.is_empty() || !word.is_filler() {
            part.push(word);
        }
    }
    parts.push(part);
    parts.iter_mut().for_each(tidy);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Takes away what ends a step; but the full stop of `..` and `a/.` belongs to a path.
fn tidy(part: &mut Vec<Word>) {
    while part.pop_if(|last| last.is_filler()).is_some() {}
    let Some(Word {
        text,
        quoted: false,
    }) = part.last_mut()
    else {
        return;
    };
    if text
        .strip_suffix('.')
        .is_some_and(|rest| !rest.ends_with(['.', '/']))
    {
        text.pop();
    }
}

/// The person's words again.
fn source(part: &[Word]) -> String {
    let words = part.iter().map(|Word { text, quoted }| {
        if *quoted {
            format!("\"{text}\"")
        } else {
            text.clone()
        }
    });
    words.collect::<Vec<_>>().join(" ").replace(" ,", ",")
}

/// Finds the phrase that fits.
fn step(part: &[Word]) -> Option<Step> {
    let label = short(&source(part), 60);
    let (mut input, &(phrase, tool, lesson)) = PHRASES
        .iter()
        .find_map(|row| Some((fits(row.0, part)?, row)))?;
    let text = |field: &str| input.get(field).and_then(Value::as_str).unwrap_or_default();
    let verb = phrase.split(' ').next()?;
    let extra = match verb {
        "write" => Some(("content", text("content").replace("\\n", "\n"))),
        "delegate" if text("description").is_empty() => {
            Some(("description", short(text("prompt"), 40)))
        }
        "start" => Some(("status", "in_progress".to_string())),
        "complete" => Some(("status", "completed".to_string())),
        _ => None,
    };
    if phrase.ends_with("in the foreground") {
        input.insert("wait".to_string(), true.into());
    }
    input.extend(extra.map(|(field, value)| (field.to_string(), value.into())));
    let action = match verb {
        "help" => Action::Help,
        "summarise" | "summarize" => Action::Summary,
        "wait" => Action::Wait(input.into()),
        _ => Action::Call(input.into()),
    };
    Some(Step {
        label,
        tool,
        lesson,
        action,
    })
}

/// What stands in the slots of the phrase, if it fits.
fn fits(phrase: &str, part: &[Word]) -> Option<Map<String, Value>> {
    let number = |word: &Word| word.text.trim_start_matches('#').parse::<u64>().ok();
    let mut words = part.iter().filter(|word| !word.is_filler());
    let mut input = Map::new();
    for slot in phrase.split(' ').filter(|slot| !FILLERS.contains(slot)) {
        if slot == "…" {
            return Some(input);
        }
        let word = words.next()?;
        let (field, value) = match slot {
            "NUMBER" => ("id".to_string(), number(word)?.into()),
            "TIMEOUT_SECONDS" => ("timeout_seconds".to_string(), number(word)?.into()),
            "NUMBERS" => {
                let numbers = std::iter::once(word).chain(words.by_ref()).map(number);
                (
                    "blockedBy".to_string(),
                    numbers.collect::<Option<Vec<u64>>>()?.into(),
                )
            }
            slot if slot.starts_with(char::is_lowercase) && word.is(slot) => continue,
            slot if slot.starts_with(char::is_uppercase)
                || slot.starts_with('"') && word.quoted =>
            {
                (
                    slot.trim_matches('"').to_lowercase(),
                    word.text.as_str().into(),
                )
            }
            _ => return None,
        };
        input.insert(field, value);
    }
    words.next().is_none().then_some(input)
}

/// The steps of a plan. If every item is an instruction, each stands between two updates of
/// the plan; if not, the plan is only kept. `None` if it has no items.
fn plan(part: &[Word]) -> Option<Vec<Step>> {
    let (mut contents, mut work) = (Vec::new(), Vec::new());
    for item in part
        .split(|word| word.is(";"))
        .filter(|item| !item.is_empty())
    {
        let prefix = ["high:", "medium:", "low:"]
            .into_iter()
            .find(|word| item[0].is(word));
        let item = if prefix.is_some() { &item[1..] } else { item };
        contents.push((
            source(item),
            prefix.unwrap_or("medium").trim_end_matches(':'),
        ));
        work.push(step(item));
    }
    let items: Rc<[_]> = contents.into();
    let update = |done| {
        let action = Action::Plan {
            items: items.clone(),
            done,
        };
        Step {
            label: "plan".to_string(),
            tool: "todo",
            lesson: "s03",
            action,
        }
    };
    let Some(work) = work.into_iter().collect::<Option<Vec<Step>>>() else {
        return Some(vec![update(None)]);
    };
    let between = work
        .into_iter()
        .enumerate()
        .flat_map(|(done, step)| [update(Some(done)), step]);
    let steps: Vec<Step> = between.chain([update(Some(items.len()))]).collect();
    (!items.is_empty()).then_some(steps)
}

/// In one line, at most so many characters.
pub fn short(text: &str, max: usize) -> String {
    let line: String = text
        .chars()
        .take(max)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(max).is_some() {
        line + "…"
    } else {
        line
    }
}
