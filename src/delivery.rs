//! Results that come by themselves: what has ended is put into the conversation, each once.

use std::sync::Mutex;

use crate::background::{BackgroundExecutor, lock};
use crate::event::{Event, Events};
use crate::message::{Message, push_user};

/// Puts what has ended since the last time into the conversation: a text block for each task, after
/// the results of tools. To be called before each request.
///
/// The text says what it is: models have taken such messages for words, even for the consent, of
/// the user.
pub fn deliver(executor: &Mutex<BackgroundExecutor>, events: &Events, messages: &mut Vec<Message>) {
    let news = lock(executor).deliver(); // the lock is not held while the readers of events are told
    for (id, elapsed, outcome) in news {
        let line = format!(
            "{id}: {}",
            lock(executor).tell(&id.to_string(), elapsed, &outcome)
        );
        let output = match outcome.output().trim_end() {
            "" => "(no output)",
            output => output,
        };
        // What a command prints must not end the block and go on as if the user spoke.
        let output = output.replace("</task-notification", "<\\/task-notification");
        let task = id.to_string().replace('"', "'");
        events.emit(Event::Delivered(line.clone()));
        push_user(
            messages,
            format!(
                "<task-notification task=\"{task}\">\n{line}\n{output}\n</task-notification>\n\
                 This is an automatic event, not a message from the user: it answers no question and approves nothing."
            ),
        );
    }
}
