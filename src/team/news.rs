//! s20 · What a member is to be told: its mail, and of a mate the free tasks of the board.

use std::collections::BTreeMap;
use std::fs::File;
use std::mem::take;

use super::post::LEAD;
use super::{Own, Team};
use crate::caught::lock;
use crate::delivery::{Source, note};
use crate::event::{Event, Events};
use crate::message::{ContentBlock, Message, push_note};
use crate::pipeline::is_free;
use crate::task_board::{BoardTask, TaskBoard, join};
use crate::todo::Stage;

impl Own {
    /// Free tasks of the board that a mate has not been told of. One in progress is free when nobody
    /// holds its lease.
    fn free_tasks(&self, board: &TaskBoard) -> BTreeMap<String, u64> {
        let is_free = |task: &BoardTask| {
            let lease = File::open(board.path(task.id).with_extension("lease"));
            let left = || lease.is_ok_and(|lease| lease.try_lock_shared().is_ok());
            is_free(task) && (task.status != Stage::InProgress || left())
        };
        let entries = board.load().unwrap_or_default().into_values().flatten();
        let free =
            entries.filter(|task| self.state.turns > 0 && self.name != LEAD && is_free(task));
        let begun = |task: &BoardTask| task.other.get("attempts").map(ToString::to_string);
        let mut free: BTreeMap<_, _> = free
            .map(|task| (format!("board {} {:?}", task.id, begun(&task)), task.id))
            .collect();
        free.retain(|key, _| !self.told.contains(key));
        free
    }
}

impl Source for Team {
    fn news(&self) -> Vec<String> {
        let mut own = lock(&self.0);
        let Some(own) = &mut *own else {
            return Vec::new();
        };
        own.free.extend(own.free_tasks(&self.1));
        let mut news = own.post.waiting(&own.name);
        news.retain(|name| !own.taken.contains(name));
        news.extend(own.free.keys().cloned());
        news
    }

    /// A message is moved when the session has it. If the process ends between the two, the message
    /// stands in the session that goes on, and is not told again.
    fn deliver(&self, events: &Events, messages: &mut Vec<Message>) {
        let mut own = lock(&self.0);
        let Some(own) = &mut *own else { return };
        let mut told = Vec::new();
        for name in own.post.waiting(&own.name) {
            let block = note(&name, "");
            let start = block.lines().next().unwrap_or_default();
            let mut blocks = messages.iter().flat_map(|message| &message.content);
            let has =
                |block: &ContentBlock| block.as_text().is_some_and(|it| it.starts_with(start));
            if own.taken.contains(&name) {
                continue;
            }
            let text = match own.post.read(&own.name, &name) {
                _ if blocks.any(has) => "this was told before".to_string(),
                Ok(mail) if mail.to == own.name => {
                    format!("mail from {}: {}", mail.from, mail.text)
                }
                Ok(mail) => format!("came back, as {} has ended: {}", mail.to, mail.text),
                Err(why) => why,
            };
            told.push((name.clone(), text));
            own.taken.insert(name);
        }
        let free = take(&mut own.free);
        if !free.is_empty() {
            let text = format!("Free tasks on the board: {}", join(free.values()));
            told.push(("board".to_string(), text));
            own.told.extend(free.into_keys());
        }
        for (name, text) in told {
            push_note(messages, note(&name, &text));
            events.emit(Event::Told(name, text));
        }
    }
}
