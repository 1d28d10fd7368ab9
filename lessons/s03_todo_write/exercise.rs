//! s03 · Exercise: a reminder that comes in time, and does not nag.
//!
//! Fill in `replace`, which takes the model's new list or refuses it as a whole. Then fill in `remind`,
//! which is called after each round of tools: the third round in a row without an update gets a reminder,
//! behind the results in their message. A well-known harness reminded its model some fifteen times in
//! three hours, even right after it had written the list: anthropics/claude-code#56415.

#![allow(dead_code, unused_variables, reason = "gaps leave things unused")]

use std::fmt;

/// How many rounds of tools in a row may go by without an update; the last of them brings the reminder.
const PATIENCE: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Pending,
    InProgress,
    Completed,
}

#[derive(Debug, Clone, PartialEq)]
struct Todo {
    content: String,
    stage: Stage,
}

/// The plan.
#[derive(Default)]
struct TodoList {
    items: Vec<Todo>,
    /// Rounds since the last update or reminder; the round that brought it is the first of them.
    rounds: usize,
}

/// What a user message of the conversation is made of.
#[derive(Debug, Clone, PartialEq)]
enum Block {
    /// What a tool answered.
    ToolResult(String),
    /// What the harness adds.
    Note(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Message {
    Assistant(String),
    User(Vec<Block>),
}

impl TodoList {
    /// Replaces the whole list and returns it as text. With more than one todo in progress it is
    /// refused: nothing changes, and the error says what to mend.
    fn replace(&mut self, items: Vec<Todo>) -> Result<String, String> {
        todo!("replace: check the list, then take it as a whole")
    }

    /// Called after each round of tools, when the last message holds its results. Once PATIENCE rounds
    /// in a row had no update, and if a todo is still open, a note with the list joins that message.
    /// From there, counting begins anew.
    fn remind(&mut self, messages: &mut [Message]) {
        todo!("remind: count the round, and add a note when it is time")
    }
}

/// One line for each todo.
impl fmt::Display for TodoList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Todo { content, stage } in &self.items {
            let mark = match stage {
                Stage::Pending => "[ ]",
                Stage::InProgress => "[>]",
                Stage::Completed => "[x]",
            };
            writeln!(f, "{mark} {content}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn todo(content: &str, stage: Stage) -> Todo {
        let content = content.to_string();
        Todo { content, stage }
    }

    fn plan() -> Vec<Todo> {
        vec![
            todo("read the config", Stage::Completed),
            todo("change the port", Stage::InProgress),
        ]
    }

    /// A harness with a plan, and the conversation with its model.
    #[derive(Default)]
    struct Harness {
        list: TodoList,
        messages: Vec<Message>,
    }

    impl Harness {
        /// One round of tools, in which the model calls `bash` or sends a new list. Returns the reminder
        /// that came with its results.
        #[track_caller]
        fn round(&mut self, update: Option<Vec<Todo>>) -> Option<String> {
            let before = self.messages.clone();
            self.messages
                .push(Message::Assistant("I call a tool.".to_string()));
            let result = match update {
                Some(items) => self.list.replace(items).unwrap_or_else(|why| why),
                None => "the output of bash".to_string(),
            };
            let result = Block::ToolResult(result);
            self.messages.push(Message::User(vec![result.clone()]));
            self.list.remind(&mut self.messages);
            let (last, rest) = self
                .messages
                .split_last()
                .expect("two messages were pushed");
            assert!(
                rest.starts_with(&before),
                "a reminder must not change what was said before"
            );
            match last {
                Message::User(blocks) if *blocks == [result.clone()] => None,
                Message::User(blocks) if blocks.len() > 2 => {
                    panic!("one note is enough: {blocks:?}")
                }
                Message::User(blocks) => match blocks.as_slice() {
                    [first, Block::Note(note)] if *first == result => Some(note.clone()),
                    _ => {
                        panic!("the results come first, or the API refuses the message: {blocks:?}")
                    }
                },
                Message::Assistant(_) => panic!("only the model speaks as the assistant: {last:?}"),
            }
        }

        /// In which of so many rounds without an update there was a reminder.
        #[track_caller]
        fn reminded(&mut self, rounds: usize) -> Vec<usize> {
            (1..=rounds)
                .filter(|_| self.round(None).is_some())
                .collect()
        }
    }

    #[test]
    fn a_new_list_takes_the_place_of_the_old_one() {
        let mut list = TodoList::default();
        list.replace(plan())
            .expect("a list with one todo in progress is fine");
        let shown = list.replace(vec![todo("rest", Stage::Pending)]);
        assert_eq!(
            shown,
            Ok("[ ] rest\n".to_string()),
            "the result shows the new list, and only that"
        );
        assert_eq!(list.items.len(), 1, "the old todos are gone");
    }

    #[test]
    fn the_third_round_without_an_update_brings_the_reminder() {
        let mut harness = Harness::default();
        let early = harness.round(Some(plan()));
        assert_eq!(
            early, None,
            "the model has just written its list: no reminder"
        );
        for round in ["first", "second"] {
            let early = harness.round(None);
            assert_eq!(
                early, None,
                "the {round} round without an update is too early. (The round with the update is none of the three.)"
            );
        }
        let reminder = harness
            .round(None)
            .expect("the third round without an update brings a reminder");
        let shown = reminder.contains("[>] change the port");
        assert!(
            shown,
            "the reminder shows the list, so that it is close to the end again: {reminder}"
        );
        let tagged = reminder.contains("<system-reminder>");
        assert!(
            tagged,
            "a <system-reminder> tag keeps the model from taking it for the user's wish: {reminder}"
        );
    }

    #[test]
    fn an_update_begins_the_count_anew() {
        let mut harness = Harness::default();
        harness.round(Some(plan()));
        assert_eq!(harness.reminded(2), [], "two rounds are not three");
        let nagging = harness.round(Some(plan()));
        assert_eq!(
            nagging, None,
            "the list was updated in this very round: no reminder"
        );
        assert_eq!(
            harness.reminded(3),
            [3],
            "after an update, the third round brings the reminder"
        );
    }

    #[test]
    fn who_was_reminded_is_left_in_peace_for_three_rounds() {
        let mut harness = Harness::default();
        harness.round(Some(plan()));
        assert_eq!(
            harness.reminded(9),
            [3, 6, 9],
            "the rounds with a reminder, of nine without an update"
        );
    }

    #[test]
    fn with_nothing_left_to_do_there_is_no_reminder() {
        let mut harness = Harness::default();
        assert_eq!(
            harness.reminded(6),
            [],
            "there is no plan: small work needs none"
        );
        harness.round(Some(vec![todo("read the config", Stage::Completed)]));
        assert_eq!(
            harness.reminded(6),
            [],
            "everything on the plan is completed"
        );
    }

    #[test]
    fn a_refused_list_changes_nothing_and_is_no_update() {
        let mut harness = Harness::default();
        harness.round(Some(plan()));
        let two = vec![todo("a", Stage::InProgress), todo("b", Stage::InProgress)];
        let refused = harness.list.replace(two.clone());
        assert!(
            refused.is_err(),
            "two todos are in progress at once: refuse the list"
        );
        assert_eq!(
            harness.list.items,
            plan(),
            "a list that was refused leaves the old one as it was"
        );
        assert_eq!(harness.reminded(2), [], "two rounds are not three");
        let reminder = harness.round(Some(two));
        assert!(
            reminder.is_some(),
            "an update that was refused is no update: the third round brings the reminder"
        );
    }
}
