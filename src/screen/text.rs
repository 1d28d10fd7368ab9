//! foundation · Texts in few words, for the screen: harmless, and with nothing hidden.

use serde_json::Value;
use unicode_width::UnicodeWidthChar;

use crate::process::output::readable;
use crate::terminal::{short, size};

/// Lines of a tool's output that are shown.
const SHOWN_LINES: usize = 8;
/// Columns of a line that are shown.
const SHOWN_WIDTH: usize = 160;

/// The beginning of the first line of a text, with everything visible.
pub fn one_line(text: &str) -> String {
    let text = visible(text);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let more = if rest.is_empty() { "" } else { " …" };
    short(&format!("{first}{more}"), SHOWN_WIDTH)
}

/// The first lines of a tool's output.
pub fn shorten(output: &str) -> Vec<String> {
    let mut lines = output.lines();
    let first = lines.by_ref().take(SHOWN_LINES);
    let mut shown: Vec<String> = first.map(|line| short(line, SHOWN_WIDTH)).collect();
    match lines.count() {
        0 => {}
        1 => shown.push("… 1 more line (the model has it)".to_string()),
        more => shown.push(format!("… {more} more lines (the model has them)")),
    }
    shown
}

/// So many of these, in words.
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// The input of a call in one line: what names something first, old before new, then the rest.
/// Nothing is left out or invisible, so that nobody agrees to what they did not see.
pub fn describe(input: &Value) -> String {
    visible(&words(input, "  "))
}

/// A value without the marks of JSON. Strings and lists of objects speak for themselves; anything
/// else has its name before it.
fn words(value: &Value, gap: &str) -> String {
    const FIRST: &str = "id path name agent subject content command description old_text";
    let rank = |key: &str| FIRST.split(' ').position(|first| first == key);
    let list: Vec<String> = match value {
        Value::String(text) => return text.clone(),
        Value::Array(items) if items.is_empty() => return value.to_string(),
        Value::Array(items) => items.iter().map(|item| words(item, ", ")).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| rank(key).unwrap_or(usize::MAX));
            let show = |(key, value): (&String, &Value)| match value {
                Value::Array(items) if items.iter().any(Value::is_object) => words(value, "; "),
                _ if value.is_string() || rank(key).is_some() => words(value, ", "),
                _ => format!("{key} {}", words(value, ", ")),
            };
            fields.into_iter().map(show).collect()
        }
        other => return other.to_string(),
    };
    list.join(gap)
}

/// Harmless text in which nothing hides: characters that nobody would see are shown as `\u{…}`.
pub fn visible(text: &str) -> String {
    let show = |c: char| match c as u32 {
        0xad | 0x115f..0x1161 | 0x200b..0x2010 | 0x2028..0x202a => c.escape_unicode().to_string(),
        0x2060..0x2070 | 0x3164 | 0xfe00..0xfe10 | 0xfeff | 0xffa0 => {
            c.escape_unicode().to_string()
        }
        0xe0000..0xe1000 => c.escape_unicode().to_string(),
        _ => c.to_string(),
    };
    readable(text.as_bytes()).chars().map(show).collect()
}

/// The text as a terminal shows it, if standard output is one: lines end between words.
pub fn wrap(text: &str) -> String {
    let columns = size().map_or(usize::MAX, |(columns, _)| columns);
    let (mut lines, mut rest) = (String::new(), text);
    while let Some((line, next)) = split_line(rest, columns) {
        lines += &format!("{line}\n");
        rest = next;
    }
    lines + rest
}

/// The first line and what follows, if it is complete or too wide. What is too wide is broken
/// between two words, if there are any. Colours take no room.
pub fn split_line(text: &str, columns: usize) -> Option<(&str, &str)> {
    let (mut used, mut begun, mut colour, mut blank) = (0, false, false, None);
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return text.split_once('\n'),
            '\x1b' => colour = true,
            _ if colour => colour = c != 'm',
            ' ' => (used, blank) = (used + 1, begun.then_some(at).or(blank)),
            _ => {
                let tab = (c == '\t').then_some(8 - used % 8);
                used += tab.or(c.width()).unwrap_or(0);
                if used > columns && at > 0 {
                    let (line, rest) = text.split_at(blank.unwrap_or(at));
                    return Some((line.trim_end(), rest.strip_prefix(' ').unwrap_or(rest)));
                }
                begun |= c.is_alphanumeric();
            }
        }
    }
    None
}
