//! What broke once, by the place where it was attacked; each test is named after what must hold.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod limits;
mod model;
mod processes;
mod screen;
mod terminal;

use support::session::Chance;

/// How often something is tried: so often, or as often as `ATTACKS` says.
fn times(few: usize) -> usize {
    let said = std::env::var("ATTACKS").ok();
    said.and_then(|number| number.parse().ok()).unwrap_or(few)
}

/// Random text with characters that do harm, and with these words.
fn odd_text(chance: &mut Chance, words: &[&str]) -> String {
    let odd: Vec<char> = screen::UNSEEN.chars().collect();
    let mut text = String::new();
    for _ in 0..chance.below(24) {
        match chance.below(6) {
            0 => text.push(chance.below(32) as u8 as char),
            1 => text.push(odd[chance.below(odd.len())]),
            2 => text.extend(char::from_u32(0x7f + chance.below(34) as u32)),
            3 => text.push_str(["日", "e\u{301}", "\x1b[2J", " "][chance.below(4)]),
            4 if !words.is_empty() => text.push_str(words[chance.below(words.len())]),
            _ => text.push(char::from(b'a' + chance.below(26) as u8)),
        }
    }
    text
}
