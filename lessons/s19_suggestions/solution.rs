//! s19 · Exercise: a suggestion that is never in the way.
//!
//! Fill the four gaps: an offer, what it shows, what a key does with it, and a turn. Requests answer
//! on threads of their own, at any time: what comes after a key was pressed must never be seen, and
//! nothing is sent that did not stand in the line.
//!
//! This went wrong in anthropics/claude-code#56142: Enter sent the suggestion, a line that nobody had
//! typed, and the agent acted on it.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Tab,
    Right,
    Left,
    Enter,
}

/// The line that is being typed, and what stands in grey behind the prompt. Clones are the same.
#[derive(Clone, Default)]
pub struct Prompt(pub Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub typed: String,
    pub grey: Option<String>,
    /// Of the last offer: set when it is too late for it.
    pub over: Arc<AtomicBool>,
}

/// The right of one request to show one line. Its request looks at `over`, and ends when it is set.
pub struct Offer {
    pub prompt: Prompt,
    pub over: Arc<AtomicBool>,
}

impl Prompt {
    /// A new offer, which ends the one before. `None` while something is typed.
    pub fn offer(&self) -> Option<Offer> {
        let mut state = self.0.lock().unwrap();
        if !state.typed.is_empty() {
            return None;
        }
        end(&mut state);
        state.over = Arc::default();
        Some(Offer {
            prompt: self.clone(),
            over: state.over.clone(),
        })
    }

    /// What a key does. Any key ends the offer. Tab, Right and Enter take what stands in grey into
    /// the line; otherwise a character is typed, and Enter returns the line that is sent.
    pub fn press(&self, key: Key) -> Option<String> {
        let mut state = self.0.lock().unwrap();
        let grey = end(&mut state);
        match (key, grey) {
            (Key::Tab | Key::Right | Key::Enter, Some(line)) => state.typed = line,
            (Key::Enter, None) => return Some(std::mem::take(&mut state.typed)),
            (Key::Char(c), _) => state.typed.push(c),
            _ => {}
        }
        None
    }

    /// A turn begins: the offer is over.
    pub fn begin_turn(&self) {
        end(&mut self.0.lock().unwrap());
    }
}

impl Offer {
    /// Shows a line, unless it is too late, or it holds control characters.
    pub fn show(&self, line: &str) {
        // The flag is only set under this lock, so it cannot be set between the look and the line.
        let mut state = self.prompt.0.lock().unwrap();
        if !self.over.load(SeqCst) && !line.contains(char::is_control) {
            state.grey = Some(line.to_string());
        }
    }
}

/// Ends the last offer. Returns what stood in grey.
fn end(state: &mut State) -> Option<String> {
    state.over.store(true, SeqCst);
    state.grey.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    #[track_caller]
    fn offer(prompt: &Prompt) -> Offer {
        let offer = prompt.offer();
        offer.expect("nothing is typed, and `offer` must return an offer")
    }

    fn grey(prompt: &Prompt) -> Option<String> {
        prompt.0.lock().unwrap().grey.clone()
    }

    fn typed(prompt: &Prompt) -> String {
        prompt.0.lock().unwrap().typed.clone()
    }

    #[test]
    fn three_keys_take_it_and_only_enter_sends() {
        for key in [Key::Tab, Key::Right, Key::Enter] {
            let prompt = Prompt::default();
            offer(&prompt).show("run the tests");
            let message = "the offer was open, and nothing stands in grey";
            assert_eq!(grey(&prompt).as_deref(), Some("run the tests"), "{message}");
            let message = "nothing is sent by the key that takes it: nobody has confirmed the line";
            assert_eq!(prompt.press(key), None, "{message}");
            let message = "the line must hold what stood in grey";
            assert_eq!(typed(&prompt), "run the tests", "{message}");
            assert_eq!(
                grey(&prompt),
                None,
                "it stands in the line now, not in grey"
            );
            prompt.press(Key::Char('!'));
            let sent = prompt.press(Key::Enter);
            let message = "Enter sends the line as it stands there";
            assert_eq!(sent.as_deref(), Some("run the tests!"), "{message}");
            assert_eq!(typed(&prompt), "", "the line was sent, and is empty again");
        }
    }

    #[test]
    fn any_other_key_makes_it_vanish_for_good() {
        for key in [Key::Char('x'), Key::Left] {
            let prompt = Prompt::default();
            let first = offer(&prompt);
            first.show("run the tests");
            prompt.press(key);
            assert_eq!(
                grey(&prompt),
                None,
                "{key:?} was pressed, and it still stands there"
            );
            let message = "the request goes on, though nobody wants its answer: set `over`";
            assert!(first.over.load(SeqCst), "{message}");
            first.show("run the tests");
            assert_eq!(grey(&prompt), None, "it came after a key, and is shown");
        }
        let prompt = Prompt::default();
        prompt.press(Key::Char('x'));
        let message = "something is typed: nothing is to be suggested";
        assert!(prompt.offer().is_none(), "{message}");
        assert_eq!(typed(&prompt), "x", "what is typed stays as it is");
        assert_eq!(prompt.press(Key::Enter).as_deref(), Some("x"));
    }

    #[test]
    fn an_old_request_shows_nothing_in_a_later_offer() {
        let prompt = Prompt::default();
        let first = offer(&prompt);
        first.show("one");
        prompt.begin_turn();
        assert_eq!(
            grey(&prompt),
            None,
            "a turn has begun, and it still stands there"
        );
        assert!(first.over.load(SeqCst), "a turn has begun: set `over`");
        let second = offer(&prompt);
        first.show("one");
        let message =
            "the first request answered after the second had begun: one flag for each offer";
        assert_eq!(grey(&prompt), None, "{message}");
        second.show("two");
        assert_eq!(grey(&prompt).as_deref(), Some("two"));
        let third = offer(&prompt);
        let message = "a new offer ends the one before, and what it showed is gone";
        assert!(
            second.over.load(SeqCst) && grey(&prompt).is_none(),
            "{message}"
        );
        third.show("clear\u{1b}[2J\nand more");
        assert_eq!(
            grey(&prompt),
            None,
            "control characters must not reach the screen"
        );
    }

    #[test]
    fn a_key_and_an_answer_at_the_same_moment() {
        for round in 0..2_000 {
            let prompt = Prompt::default();
            let (late, start) = (offer(&prompt), Arc::new(Barrier::new(2)));
            let together = start.clone();
            let answer = thread::spawn(move || {
                together.wait();
                late.show("run the tests");
            });
            start.wait();
            prompt.press(Key::Char('x'));
            answer.join().unwrap();
            let message = "a key was pressed while the answer came, and it is shown behind what is \
                           typed: look and show under one lock";
            assert_eq!(grey(&prompt), None, "round {round}: {message}");
        }
    }
}
