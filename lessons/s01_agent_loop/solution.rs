//! s01 · Exercise: the loop, and a result for every tool use.
//!
//! Fill in `run_tools`: it runs every tool use of a reply, in order, and returns one user message with
//! one result for each, even for a command that failed. Then fill in `turn`: ask the model, append its
//! reply and, as long as the reply holds a tool use, append the results and ask again. A well-known
//! library answered only the last of several tool uses, and the API refused its next request:
//! 567-labs/instructor#2485.

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

/// A piece of a message. A tool use and its result have the same `id`.
#[derive(Debug, Clone, PartialEq)]
enum Block {
    Text(String),
    ToolUse {
        id: String,
        command: String,
    },
    ToolResult {
        id: String,
        output: String,
        is_error: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Message {
    role: Role,
    content: Vec<Block>,
}

/// Gets the whole conversation with every request, as it remembers nothing.
trait Model {
    /// The content of its reply, or why there is none.
    fn reply(&mut self, messages: &[Message]) -> Result<Vec<Block>, String>;
}

/// Runs a command: its output, or what went wrong.
type Bash<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Runs every tool use of a reply, in order. One user message comes back, with one result for each.
/// What went wrong is a result, too: its output begins with `ERROR: `, and `is_error` is true.
fn run_tools(reply: &[Block], bash: Bash) -> Message {
    let mut content = Vec::new();
    for block in reply {
        if let Block::ToolUse { id, command } = block {
            let outcome = bash(command);
            content.push(Block::ToolResult {
                id: id.clone(),
                is_error: outcome.is_err(),
                output: outcome.unwrap_or_else(|why| format!("ERROR: {why}")),
            });
        }
    }
    Message {
        role: Role::User,
        content,
    }
}

/// One turn: from the prompt, which is the last message, to a reply that asks for no tool. All that
/// is said on the way is appended. When the model gives no reply, that error ends the turn.
fn turn(model: &mut dyn Model, bash: Bash, messages: &mut Vec<Message>) -> Result<(), String> {
    loop {
        let reply = model.reply(messages)?;
        messages.push(Message {
            role: Role::Assistant,
            content: reply.clone(),
        });
        let results = run_tools(&reply, bash);
        if results.content.is_empty() {
            return Ok(());
        }
        messages.push(results);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model that says what stands in a script, and refuses what the API refuses.
    struct Script(Vec<Vec<Block>>);

    impl Model for Script {
        fn reply(&mut self, messages: &[Message]) -> Result<Vec<Block>, String> {
            check(messages)?;
            if self.0.is_empty() {
                return Err(
                    "the last reply asked for no tool, and the loop asked again.".to_string(),
                );
            }
            Ok(self.0.remove(0))
        }
    }

    fn check(messages: &[Message]) -> Result<(), String> {
        for pair in messages.windows(2) {
            for (index, block) in pair[0].content.iter().enumerate() {
                let Block::ToolUse { id: call, .. } = block else {
                    continue;
                };
                let answers =
                    |block: &&Block| matches!(block, Block::ToolResult { id, .. } if id == call);
                let count = pair[1].content.iter().filter(answers).count();
                if count != 1 {
                    return Err(format!(
                        "tool use {call:?} got {count} results in the very next message: the API refuses that conversation. Every tool use gets exactly one, and all of them stand in one message."
                    ));
                }
            }
            if pair[0].role == pair[1].role {
                return Err(format!(
                    "two messages of the {:?} in a row: the API refuses that conversation. Is the reply appended before its results?",
                    pair[0].role
                ));
            }
        }
        let last = messages.last().map(|message| message.role);
        if last != Some(Role::User) {
            return Err(
                "the model was asked although the last word was its own: the results are missing."
                    .to_string(),
            );
        }
        Ok(())
    }

    fn text(text: &str) -> Block {
        Block::Text(text.to_string())
    }

    fn tool_use(id: &str, command: &str) -> Block {
        let (id, command) = (id.to_string(), command.to_string());
        Block::ToolUse { id, command }
    }

    /// Knows two commands.
    fn bash(command: &str) -> Result<String, String> {
        match command {
            "date" => Ok("Monday".to_string()),
            "whoami" => Ok("ada".to_string()),
            _ => Err(format!("{command}: command not found")),
        }
    }

    /// Plays a turn, and returns the conversation.
    #[track_caller]
    fn play(replies: &[&[Block]]) -> Vec<Message> {
        let mut messages = vec![Message {
            role: Role::User,
            content: vec![text("go")],
        }];
        let mut script = Script(replies.iter().map(|reply| reply.to_vec()).collect());
        if let Err(why) = turn(&mut script, &bash, &mut messages) {
            panic!("{why} The conversation: {messages:#?}");
        }
        let unsaid = script.0.len();
        assert_eq!(
            unsaid, 0,
            "the loop ended too early, the model had more to say: only a reply without a tool use ends the turn"
        );
        messages
    }

    /// The output of each result, and whether it is an error.
    fn results(message: &Message) -> Vec<(&str, bool)> {
        let results = message.content.iter().filter_map(|block| match block {
            Block::ToolResult {
                output, is_error, ..
            } => Some((output.as_str(), *is_error)),
            _ => None,
        });
        results.collect()
    }

    #[test]
    fn a_reply_without_a_tool_use_ends_the_turn() {
        let messages = play(&[&[text("Hello.")]]);
        assert_eq!(
            messages.len(),
            2,
            "the prompt and the reply belong in the conversation"
        );
        let last = &messages[1];
        assert_eq!(
            last.role,
            Role::Assistant,
            "the reply was said by the assistant"
        );
        assert_eq!(
            last.content,
            [text("Hello.")],
            "the last reply belongs there, too"
        );
    }

    #[test]
    fn the_model_sees_each_result_and_goes_on() {
        let (first, second) = (tool_use("a", "date"), tool_use("b", "whoami"));
        let messages = play(&[&[first], &[second], &[text("It is Monday, Ada.")]]);
        assert_eq!(
            messages.len(),
            6,
            "expected: prompt, tool use, result, tool use, result, last text"
        );
        assert_eq!(
            results(&messages[2]),
            [("Monday", false)],
            "the output of `date`"
        );
        assert_eq!(
            results(&messages[4]),
            [("ada", false)],
            "the output of `whoami`"
        );
    }

    #[test]
    fn two_tool_uses_of_one_reply_get_two_results_in_one_message() {
        let both = [tool_use("a", "date"), tool_use("b", "whoami")];
        let messages = play(&[&both, &[text("Done.")]]);
        let expected = [("Monday", false), ("ada", false)];
        assert_eq!(
            results(&messages[2]),
            expected,
            "two results, in the order of the tool uses"
        );
    }

    #[test]
    fn a_failed_command_is_a_result_and_the_next_one_runs() {
        let both = [tool_use("a", "dote"), tool_use("b", "date")];
        let messages = play(&[&both, &[text("One of them failed.")]]);
        let expected = [("ERROR: dote: command not found", true), ("Monday", false)];
        assert_eq!(
            results(&messages[2]),
            expected,
            "the model must see what went wrong"
        );
    }

    #[test]
    fn text_beside_a_tool_use_does_not_end_the_turn() {
        let first = [text("I will look at the date."), tool_use("a", "date")];
        let messages = play(&[&first, &[text("It is Monday.")]]);
        assert_eq!(
            messages[1].content, first,
            "the whole reply belongs in the conversation"
        );
    }

    #[test]
    fn without_a_reply_the_turn_ends_with_the_reason() {
        struct Down;
        impl Model for Down {
            fn reply(&mut self, _: &[Message]) -> Result<Vec<Block>, String> {
                Err("no network".to_string())
            }
        }
        let mut messages = Vec::new();
        let ended = turn(&mut Down, &bash, &mut messages);
        assert_eq!(
            ended,
            Err("no network".to_string()),
            "the person must learn why"
        );
        assert_eq!(messages, [], "nothing was said, so nothing is appended");
    }
}
