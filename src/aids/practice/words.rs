//! aids · The words of a prompt, and where one step ends and the next begins.

use std::mem::take;

use super::short;

/// Between the words that count.
pub const FILLERS: [&str; 8] = ["and", "please", "the", "then", ",", ";", ".", "\n"];
/// What opens a quoted text, and what closes it.
const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”')];

/// A word or a mark; or a quoted text, which is never taken for an instruction.
pub enum Word {
    Plain(String),
    Quoted(String),
}

impl Word {
    pub fn text(&self) -> &str {
        let (Word::Plain(text) | Word::Quoted(text)) = self;
        text
    }

    pub fn is(&self, word: &str) -> bool {
        matches!(self, Word::Plain(text) if text.eq_ignore_ascii_case(word))
    }

    pub fn is_filler(&self) -> bool {
        FILLERS.into_iter().any(|filler| self.is(filler))
    }

    pub fn number(&self) -> Option<u64> {
        self.text().trim_start_matches('#').parse().ok()
    }
}

/// A quote opens where no word goes on, and ends at its own kind. A backslash keeps it open, and
/// is dropped then; all other backslashes stay. The marks are `,`, `;` and a newline.
pub fn words(prompt: &str) -> Result<Vec<Word>, String> {
    let (mut words, mut text) = (Vec::new(), String::new());
    let (mut open, mut before) = (None, ' ');
    for c in prompt.chars().chain(['\n']) {
        if let Some((_, close)) = open {
            if c == close && before != '\\' {
                words.push(Word::Quoted(take(&mut text)));
                open = None;
            } else {
                if c == close {
                    text.pop(); // the backslash
                }
                text.push(c);
            }
        } else {
            let mut quotes = QUOTES.into_iter();
            open = quotes.find(|(quote, _)| *quote == c && !before.is_alphanumeric());
            let mark = matches!(c, ',' | ';' | '\n');
            if open.is_none() && !mark && !c.is_whitespace() {
                text.push(c);
            } else {
                words.push(Word::Plain(take(&mut text)));
                words.extend(mark.then(|| Word::Plain(c.to_string())));
            }
        }
        before = if (before, c) == ('\\', '\\') { ' ' } else { c };
    }
    if let Some((quote, _)) = open {
        let text = short(text.trim_end(), 60);
        return Err(format!(
            "This quote never ends: {quote}{text}. I did nothing."
        ));
    }
    words.retain(|word| !word.is(""));
    Ok(words)
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
    parts.iter_mut().for_each(tidy);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Takes away what ends a step; but the full stop of `..` and `a/.` belongs to a path.
fn tidy(part: &mut Vec<Word>) {
    while part.pop_if(|last| last.is_filler()).is_some() {}
    let Some(Word::Plain(text)) = part.last_mut() else {
        return;
    };
    if text.ends_with('.') && !text.ends_with("..") && !text.ends_with("/.") {
        text.pop();
    }
}

/// The person's words again.
pub fn source(part: &[Word]) -> String {
    let words = part.iter().map(|word| match word {
        Word::Plain(text) => text.clone(),
        Word::Quoted(text) => format!("\"{text}\""),
    });
    words.collect::<Vec<_>>().join(" ").replace(" ,", ",")
}
