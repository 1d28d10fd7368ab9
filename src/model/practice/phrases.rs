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
    Plan { items: Rc<[(String, &'static str)]>, done: Option<usize> },
    /// Tells what was said and done so far.
    Summary,
    /// Lists the phrases.
    Help,
}

/// A phrase, its tool, its lesson. In upper case: a slot, named like the field of the tool's
/// input. It takes one word or a quoted text; with quotes around it, only that.
const PHRASES: &[(&str, &str, &str)] = &[
    (r#"run "COMMAND""#, "bash", "s01"),
    (r#"run "COMMAND" in the background as ID"#, "bg_bash", "s08"),
    ("check all", "check_bg", "s08"),
    ("check ID", "check_bg", "s08"),
    ("wait for all", "check_bg", "s08"),
    ("wait for ID", "check_bg", "s08"),
    ("stop ID", "stop_bg", "a later lesson"),
    ("read PATH", "read_file", "s02"),
    (r#"write "CONTENT" to PATH"#, "write_file", "s02"),
    (r#"replace "OLD_TEXT" with "NEW_TEXT" in PATH"#, "edit_file", "s02"),
    (r#"delegate "PROMPT""#, "task", "s04"),
    (r#"delegate "PROMPT" to AGENT"#, "task", "s04"),
    ("load skill NAME", "load_skill", "s05"),
    (r#"create task "SUBJECT""#, "task_create", "s07"),
    (r#"create task "SUBJECT" after NUMBERS"#, "task_create", "s07"),
    ("start task NUMBER", "task_update", "s07"),
    ("complete task NUMBER", "task_update", "s07"),
    ("list tasks", "task_list", "s07"),
    ("show task NUMBER", "task_get", "s07"),
    ("summarise this conversation", "", ""),
    ("help", "", ""),
];

/// Words that change nothing.
const FILLERS: [&str; 4] = ["and", "please", "the", "then"];
/// What opens a quoted text, and what closes it.
const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”')];
/// The first of the characters that stand for quoted texts. They are private: nobody types them.
const STAND_IN: u32 = 0xF_0000;

/// The phrases that can be carried out with the tools that are offered, one a line.
pub fn list(offered: impl Fn(&str) -> bool) -> String {
    let all = PHRASES.iter().chain([&("plan: A; B; C", "todo", "s03")]);
    let possible = all.filter(|(_, tool, _)| tool.is_empty() || offered(tool));
    possible.map(|(phrase, ..)| format!("\n  {phrase}")).collect()
}

/// All steps of a prompt, or a sentence on what is not understood.
pub fn parse(prompt: &str) -> Result<Vec<Step>, String> {
    let prompt = Prompt::new(prompt)?;
    let parts = prompt.split();
    let mut steps = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let found = match plan_items(part) {
            Some(items) => prompt.plan(items),
            None => prompt.step(part).map(|step| vec![step]),
        };
        let place = if parts.len() > 1 { format!("step {}, ", index + 1) } else { String::new() };
        let words = || short(&prompt.source(part), 60);
        steps.extend(found.ok_or_else(|| format!("I do not understand {place}{}. I did nothing.", words()))?);
    }
    if steps.is_empty() { Err("I find no instruction in that.".to_string()) } else { Ok(steps) }
}

/// A prompt in which each quoted text has become one character, so that nothing in it is taken
/// for an instruction, and each newline a `, then`.
struct Prompt {
    text: String,
    quoted: Vec<String>,
}

impl Prompt {
    /// A quote opens where no word goes on, and ends at its own kind. A backslash keeps it open,
    /// and is dropped then; all other backslashes stay.
    fn new(prompt: &str) -> Result<Self, String> {
        let (mut text, mut quoted, mut inner) = (String::new(), Vec::new(), String::new());
        let (mut open, mut before) = (None, ' ');
        for c in prompt.chars() {
            let opening = QUOTES.into_iter().find(|(quote, _)| *quote == c && !before.is_alphanumeric());
            match (open, opening) {
                (Some((_, close)), _) if c == close && before != '\\' => {
                    let number = u32::try_from(quoted.len()).unwrap_or(STAND_IN);
                    text.push(char::from_u32(STAND_IN + number).ok_or("There are too many quotes in that.")?);
                    quoted.push(std::mem::take(&mut inner));
                    open = None;
                }
                (Some((_, close)), _) => {
                    if c == close {
                        inner.pop();
                    }
                    inner.push(c);
                }
                (None, Some(_)) => open = opening,
                (None, None) if c == '\n' => text += " , then ",
                (None, None) => text.push(if u32::from(c) < STAND_IN { c } else { '?' }),
            }
            before = if (before, c) == ('\\', '\\') { ' ' } else { c };
        }
        let Some((quote, _)) = open else { return Ok(Prompt { text, quoted }) };
        Err(format!("This quote never ends: {quote}{}. I did nothing.", short(&inner, 60)))
    }

    fn quoted(&self, c: char) -> Option<&String> {
        self.quoted.get(usize::try_from(u32::from(c).checked_sub(STAND_IN)?).ok()?)
    }

    /// The person's words again.
    fn source(&self, part: &str) -> String {
        part.chars().map(|c| self.quoted(c).map_or(c.to_string(), |text| format!("\"{text}\""))).collect()
    }

    /// The steps: between them stands `then`. A plan only ends at `, then`.
    fn split(&self) -> Vec<String> {
        let (mut parts, mut part) = (Vec::new(), String::new());
        for word in self.text.split_whitespace() {
            let then = word.trim_end_matches(',').eq_ignore_ascii_case("then");
            if then && (part.ends_with(", ") || plan_items(&part).is_none()) {
                parts.push(std::mem::take(&mut part));
            } else if !part.is_empty() || !is_filler(word) {
                part.extend([word, " "]);
            }
        }
        parts.push(part);
        parts.iter().map(|part| tidy(part).to_string()).filter(|part| !part.is_empty()).collect()
    }

    /// Finds the phrase that fits.
    fn step(&self, part: &str) -> Option<Step> {
        let label = short(&self.source(part), 60);
        let first = part.split([' ', ',', '.']).next()?.to_lowercase();
        let is_summary = first == "summarise" || first == "summarize";
        let part = if is_summary { "summarise this conversation" } else { part };
        let (mut input, &(phrase, tool, lesson)) =
            PHRASES.iter().find_map(|row| Some((self.fits(row.0, part)?, row)))?;
        let text = |field: &str| input.get(field).and_then(Value::as_str).unwrap_or_default();
        let verb = phrase.split(' ').next()?;
        let extra = match verb {
            "write" => Some(("content", text("content").replace("\\n", "\n"))),
            "delegate" => Some(("description", short(text("prompt"), 40))),
            "start" => Some(("status", "in_progress".to_string())),
            "complete" => Some(("status", "completed".to_string())),
            _ => None,
        };
        input.extend(extra.map(|(field, value)| (field.to_string(), value.into())));
        let action = match verb {
            "help" => Action::Help,
            "summarise" => Action::Summary,
            "wait" => Action::Wait(input.into()),
            _ => Action::Call(input.into()),
        };
        Some(Step { label, tool, lesson, action })
    }

    /// What stands in the slots of the phrase, if it fits.
    fn fits(&self, phrase: &str, part: &str) -> Option<Map<String, Value>> {
        let number = |word: &str| word.trim_start_matches('#').parse::<u64>().ok();
        let words = part.split(' ').map(|word| word.trim_end_matches(','));
        let mut words = words.filter(|word| !word.is_empty() && !is_filler(word));
        let mut input = Map::new();
        for slot in phrase.split(' ').filter(|word| !is_filler(word)) {
            let word = words.next()?;
            if slot.starts_with(char::is_lowercase) {
                if slot.eq_ignore_ascii_case(word) { continue } else { return None }
            }
            let field = || slot.trim_matches('"').to_lowercase();
            let (field, value) = match (slot, word.parse().ok().and_then(|c| self.quoted(c))) {
                ("NUMBER", _) => ("id".to_string(), number(word)?.into()),
                ("NUMBERS", _) => {
                    let rest = std::iter::once(word).chain(words.by_ref());
                    let numbers: Option<Vec<u64>> =
                        rest.flat_map(|word| word.split(',')).map(number).collect();
                    ("blockedBy".to_string(), numbers?.into())
                }
                (_, Some(text)) => (field(), text.as_str().into()),
                (_, None) if slot.starts_with('"') => return None,
                (_, None) => (field(), word.into()),
            };
            input.insert(field, value);
        }
        words.next().is_none().then_some(input)
    }

    /// The steps of a plan. If every item is an instruction, each stands between two updates of
    /// the plan; if not, the plan is only kept. `None` if it has no items.
    fn plan(&self, items: &str) -> Option<Vec<Step>> {
        let (mut contents, mut work) = (Vec::new(), Vec::new());
        for item in items.split(';').map(tidy).filter(|item| !item.is_empty()) {
            let (head, rest) = item.split_once(':').unwrap_or_default();
            let named = ["high", "medium", "low"].into_iter().find(|word| head.eq_ignore_ascii_case(word));
            let item = if named.is_some() { tidy(rest) } else { item };
            contents.push((self.source(item), named.unwrap_or("medium")));
            work.push(self.step(item));
        }
        let items: Rc<[_]> = contents.into();
        let update = |done| {
            let action = Action::Plan { items: items.clone(), done };
            Step { label: "plan".to_string(), tool: "todo", lesson: "s03", action }
        };
        if items.is_empty() || work.iter().any(Option::is_none) {
            return (!items.is_empty()).then(|| vec![update(None)]);
        }
        let work = work.into_iter().flatten().enumerate();
        let mut steps: Vec<Step> = work.flat_map(|(done, step)| [update(Some(done)), step]).collect();
        steps.push(update(Some(items.len())));
        Some(steps)
    }
}

/// What stands after `plan:`, if the step begins with that.
fn plan_items(part: &str) -> Option<&str> {
    let (first, items) = part.split_at_checked(5)?;
    first.eq_ignore_ascii_case("plan:").then_some(items)
}

fn is_filler(word: &str) -> bool {
    FILLERS.into_iter().any(|filler| word.eq_ignore_ascii_case(filler))
}

/// Without what ends a step; the full stop of `..` and `a/.` belongs to a path.
fn tidy(part: &str) -> &str {
    let part = part.trim().trim_end_matches([',', ';', ' ']);
    part.strip_suffix('.').filter(|rest| !rest.ends_with(['.', '/', ' '])).unwrap_or(part)
}

/// In one line, at most so many characters.
pub fn short(text: &str, max: usize) -> String {
    let line: String = text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max).is_some() { line + "…" } else { line }
}
