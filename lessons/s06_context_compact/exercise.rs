//! s06 · Exercise: a cut that keeps pairs.
//!
//! Fill in `cut`, which says where a conversation may be cut so that its last messages stay and no tool
//! result loses its call. Then fill in `compact`, which puts a summary in place of what comes before the
//! cut, without two user messages in a row, and which changes nothing when there is no summary. A well-known
//! harness summarised a call away and kept its result, and the API refused every request after that:
//! openclaw/openclaw#7527.

#![allow(
    dead_code,
    unused_variables,
    clippy::ptr_arg,
    reason = "gaps leave things unused"
)]

#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    User,
    Assistant,
}

#[derive(Debug, Clone, PartialEq)]
enum Block {
    Text(String),
    /// The id of a call, by the assistant.
    ToolUse(String),
    /// The id of the call, and the output. Stands in the user message right after the call.
    ToolResult(String, String),
}

#[derive(Debug, Clone, PartialEq)]
struct Message {
    role: Role,
    content: Vec<Block>,
}

/// Asks the model for a summary of these messages. It costs a request, and it can fail.
type Summarise<'a> = &'a mut dyn FnMut(&[Message]) -> Result<String, String>;

/// The index of the first message that stays. The last `keep` messages stay (all, if there are no more),
/// and the one before them as well if they would begin with a result whose call is in it.
fn cut(messages: &[Message], keep: usize) -> usize {
    todo!("cut: count from the end, then mind the pairs")
}

/// Replaces what comes before the cut by a summary, said by the user as `<summary>…</summary>`. The roles
/// go on alternating: if a user message comes next, the summary is put in front of its content. With
/// nothing before the cut, nothing is asked or changed. Without a summary, nothing is changed either.
fn compact(messages: &mut Vec<Message>, keep: usize, summarise: Summarise) -> Result<(), String> {
    todo!("compact: a summary in place of what comes before the cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(content: Vec<Block>) -> Message {
        let role = Role::User;
        Message { role, content }
    }

    fn assistant(content: Vec<Block>) -> Message {
        let role = Role::Assistant;
        Message { role, content }
    }

    fn text(text: &str) -> Block {
        Block::Text(text.to_string())
    }

    fn call(id: &str) -> Block {
        Block::ToolUse(id.to_string())
    }

    fn result(id: &str) -> Block {
        Block::ToolResult(id.to_string(), "output".to_string())
    }

    /// Two turns: two calls at once, then one call whose result comes with a reminder (s03).
    fn conversation() -> Vec<Message> {
        vec![
            user(vec![text("compare the logs")]),
            assistant(vec![text("I will read both."), call("a"), call("b")]),
            user(vec![result("a"), result("b")]),
            assistant(vec![text("They differ in line 7.")]),
            user(vec![text("mend it")]),
            assistant(vec![call("c")]),
            user(vec![
                result("c"),
                text("<system-reminder>…</system-reminder>"),
            ]),
            assistant(vec![text("Done.")]),
        ]
    }

    /// What the API has against a conversation.
    fn refusal(messages: &[Message]) -> Option<String> {
        let mut open: Vec<&String> = Vec::new();
        for message in messages {
            let mut calls = Vec::new();
            for block in &message.content {
                match block {
                    Block::ToolResult(id, _) if !open.contains(&id) => {
                        return Some(format!(
                            "the result of call {id:?} is there, and the call is gone"
                        ));
                    }
                    Block::ToolResult(id, _) => open.retain(|call| *call != id),
                    Block::ToolUse(id) => calls.push(id),
                    Block::Text(_) => {}
                }
            }
            if let Some(id) = open.first() {
                return Some(format!("call {id:?} is there, and its result is gone"));
            }
            open = calls;
        }
        let twice = messages
            .windows(2)
            .find(|pair| pair[0].role == pair[1].role);
        match (messages.first().map(|first| first.role), twice) {
            (_, Some(pair)) => Some(format!("two messages of the {:?} in a row", pair[0].role)),
            (Some(Role::Assistant), _) => {
                Some("it begins with the assistant; the user comes first".to_string())
            }
            _ => None,
        }
    }

    /// Compacts the conversation, and returns it with what was to be summarised.
    #[track_caller]
    fn compacted(keep: usize) -> (Vec<Message>, Vec<Message>) {
        let (mut messages, mut asked) = (conversation(), Vec::new());
        let mut summarise = |earlier: &[Message]| {
            asked = earlier.to_vec();
            Ok("two logs".to_string())
        };
        let done = compact(&mut messages, keep, &mut summarise);
        assert_eq!(done, Ok(()), "there was a summary");
        (messages, asked)
    }

    #[test]
    fn a_cut_never_comes_between_a_call_and_its_result() {
        let messages = conversation();
        for (keep, expected) in [
            (0, 8),
            (1, 7),
            (2, 5),
            (3, 5),
            (4, 4),
            (5, 3),
            (6, 1),
            (7, 1),
            (8, 0),
            (99, 0),
        ] {
            let cut = cut(&messages, keep);
            assert_eq!(
                cut, expected,
                "where to cut so that the last {keep} of 8 messages stay. Results stand in messages 2 and 6 (counted from 0), their calls in 1 and 5"
            );
        }
    }

    #[test]
    fn the_api_accepts_what_is_left() {
        for keep in 0..=9 {
            let (messages, _) = compacted(keep);
            if let Some(why) = refusal(&messages) {
                panic!(
                    "the API refuses the conversation when the last {keep} messages are kept: {why}. It is {messages:#?}"
                );
            }
        }
    }

    #[test]
    fn what_is_cut_is_summarised_and_the_rest_stays_word_for_word() {
        let before = conversation();
        let (messages, asked) = compacted(3);
        assert_eq!(
            asked,
            before[..5],
            "all that is cut off must be in the summary, and nothing else"
        );
        assert_eq!(
            messages[0],
            user(vec![text("<summary>two logs</summary>")]),
            "the summary comes first"
        );
        assert_eq!(messages[1..], before[5..], "what is kept is not touched");
    }

    #[test]
    fn before_a_prompt_the_summary_joins_its_message() {
        let (messages, _) = compacted(4);
        let first = user(vec![text("<summary>two logs</summary>"), text("mend it")]);
        assert_eq!(
            messages.first(),
            Some(&first),
            "one user message: the summary, then the prompt"
        );
        assert_eq!(messages.len(), 4, "nothing else is added");
    }

    #[test]
    fn with_nothing_to_cut_no_summary_is_asked_for() {
        for keep in [8, 9] {
            let (messages, asked) = compacted(keep);
            assert_eq!(
                asked,
                [],
                "a summary costs a request, and there is nothing to summarise"
            );
            assert_eq!(
                messages,
                conversation(),
                "nothing was cut, so nothing changes"
            );
        }
    }

    #[test]
    fn without_a_summary_nothing_is_lost() {
        let mut messages = conversation();
        let done = compact(&mut messages, 2, &mut |_| Err("no network".to_string()));
        assert_eq!(
            done,
            Err("no network".to_string()),
            "the person must learn why"
        );
        assert_eq!(
            messages,
            conversation(),
            "there is no summary, so the old messages are all there is"
        );
    }
}
