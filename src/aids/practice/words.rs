//! aids · The words of a prompt, and where one step ends and the next begins.

use std::mem::take;

use serde_json::{Map, Value, from_str};

/// Between the words that count.
pub const FILLERS: [&str; 7] = ["and", "please", "the", "then", ",", ";", "\n"];
/// What opens a quoted text, and what closes it.
const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”')];

/// A word or a mark; the input of a call; or a quoted text, which is never taken for an instruction.
pub struct Word {
    pub text: String,
    pub quoted: bool,
}

impl Word {
    pub fn is(&self, word: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(word)
    }

    pub fn is_filler(&self) -> bool {
        FILLERS.into_iter().any(|filler| self.is(filler))
    }

    pub fn number(&self) -> Option<u64> {
        self.text.trim_start_matches('#').parse().ok()
    }
}

/// A quote opens where no word goes on, and ends at its own kind. A backslash keeps it open, and
/// is dropped then; all other backslashes stay. What follows `call NAME` is JSON, to the brace that
/// makes it whole. The marks are `,`, `;` and a newline.
pub fn words(prompt: &str) -> Result<Vec<Word>, String> {
    let (mut words, mut text) = (Vec::<Word>::new(), String::new());
    let push = |words: &mut Vec<Word>, mut text: String, quoted: bool| {
        // A full stop ends a sentence, but that of `..` and `a/.` belongs to a path.
        if !quoted && !text.ends_with("..") && !text.ends_with("/.") {
            text.truncate(text.trim_end_matches('.').len());
        }
        if quoted || !text.is_empty() {
            words.push(Word { text, quoted });
        }
    };
    let (mut open, mut before) = (None, ' ');
    for c in prompt.chars().chain(['\n']) {
        let is_call = words.iter().nth_back(1).is_some_and(|word| word.is("call"));
        if is_call && open.is_none() && (text.starts_with('{') || text.is_empty() && c == '{') {
            text.push(c);
            if c == '}' && from_str::<Map<String, Value>>(&text).is_ok() {
                push(&mut words, take(&mut text), false);
            }
        } else if let Some((_, close)) = open {
            if c != close {
                text.push(c);
            } else if before == '\\' {
                text.pop();
                text.push(c);
            } else {
                push(&mut words, take(&mut text), true);
                open = None;
            }
        } else {
            let mut quotes = QUOTES.into_iter();
            open = quotes.find(|(quote, _)| *quote == c && !before.is_alphanumeric());
            let is_mark = matches!(c, ',' | ';' | '\n');
            if open.is_some() || is_mark || c.is_whitespace() {
                push(&mut words, take(&mut text), false);
            } else {
                text.push(c);
            }
            if is_mark {
                push(&mut words, c.to_string(), false);
            }
        }
        before = if (before, c) == ('\\', '\\') { ' ' } else { c };
    }
    let rest = short(text.trim_end(), 60);
    match open {
        Some((quote, _)) => Err(format!(
            "This quote never ends: {quote}{rest}. I did nothing."
        )),
        None if text.is_empty() => Ok(words),
        None => Err(format!("This is not a JSON object: {rest}. I did nothing.")),
    }
}

/// The steps: between them stands `then` or a newline. A plan does not end at a bare `then`.
pub fn split(words: Vec<Word>) -> Vec<Vec<Word>> {
    let (mut parts, mut part) = (Vec::new(), Vec::<Word>::new());
    for word in words {
        let in_plan = part.first().is_some_and(|first| first.is("plan:"));
        let then = word.is("then") && (!in_plan || part.last().is_some_and(|last| last.is(",")));
        if then || word.is("\n") {
            parts.push(take(&mut part));
        } else if !part.is_empty() || !word.is_filler() {
            part.push(word);
        }
    }
    parts.push(part);
    for part in &mut parts {
        while part.pop_if(|last| last.is_filler()).is_some() {}
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The person's words again.
pub fn source(part: &[Word]) -> String {
    let words = part.iter().map(|word| match word.quoted {
        true => format!("\"{}\"", word.text),
        false => word.text.clone(),
    });
    words.collect::<Vec<_>>().join(" ").replace(" ,", ",")
}

/// At most 20 lines and 2,000 characters, and not nothing.
pub fn shorten(text: &str) -> String {
    let text = text.trim_end();
    let lines = text.split_inclusive('\n').take(20);
    let start: String = lines.flat_map(str::chars).take(2000).collect();
    match start.len() {
        0 => "(no output)".to_string(),
        length if length < text.len() => start.trim_end().to_string() + "\n… (shortened)",
        _ => start,
    }
}

/// In one line, at most so many characters.
pub fn short(text: &str, max: usize) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let more = text.chars().nth(max).map(|_| '…');
    text.chars().take(max).map(visible).chain(more).collect()
}
