//! foundation · What is said in a channel of Slack or in a thread, read page by page.

use std::mem::take;

use serde::Deserialize;
use serde_json::Value;

use super::api::{Config, Failure};

/// Messages in one answer: what Slack gives to every app.
const PAGE: &str = "15";
/// Messages of a thread that are context, the newest, and characters of each.
const MAX_SAID: usize = 50;
const MAX_CHARS: usize = 1000;
/// Characters of an answer.
const MAX_ANSWER: usize = 3_500;

/// A message as Slack tells it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Message {
    pub ts: String,
    pub user: String,
    pub text: String,
    subtype: Option<String>,
    bot_id: Option<String>,
    edited: Option<Value>,
}

impl Message {
    /// True for a mention by a person, as it was written first.
    pub fn asks(&self, me: &str) -> bool {
        let plain = self.subtype.is_none() && self.bot_id.is_none() && self.edited.is_none();
        plain && !me.is_empty() && self.user != me && self.text.contains(&format!("<@{me}>"))
    }

    /// What is asked, without the mention.
    pub fn asked(&self, me: &str) -> String {
        let text = self.text.replace(&format!("<@{me}>"), " ");
        unescaped(text.trim())
    }
}

/// Where messages are read: the channel, or a thread.
#[derive(Default)]
pub struct Source {
    /// Empty for the channel.
    pub thread: String,
    /// The last message that was heard.
    pub oldest: String,
    /// What was said in this thread.
    pub said: Vec<String>,
    /// The page that comes next, if there is one, and what stood on those before it.
    page: String,
    gathered: Vec<Message>,
}

impl Source {
    /// A thread, or the channel.
    pub fn of(thread: &str) -> Self {
        let thread = thread.to_string();
        Source {
            thread,
            ..Source::default()
        }
    }

    /// Reads a page. With the last one, all that is new is returned, oldest first.
    pub fn read(&mut self, config: &Config) -> Result<Vec<Message>, Failure> {
        let page = take(&mut self.page);
        if page.is_empty() {
            self.gathered.clear(); // it begins anew
        }
        let fields = [("limit", PAGE), ("oldest", &self.oldest), ("cursor", &page)];
        let page = self.ask(config, &fields)?;
        let messages = page["messages"].as_array().into_iter().flatten();
        let messages = messages.filter_map(|it| Message::deserialize(it).ok());
        let is_new = |it: &Message| is_later(&it.ts, &self.oldest);
        self.gathered.extend(messages.filter(is_new));
        let next = page["response_metadata"]["next_cursor"].as_str();
        self.page = next.unwrap_or_default().to_string();
        if !self.page.is_empty() {
            return Ok(Vec::new());
        }
        let mut messages = take(&mut self.gathered);
        messages.sort_by(|a, b| (a.ts.len(), &a.ts).cmp(&(b.ts.len(), &b.ts)));
        Ok(messages)
    }

    /// The newest message there is; `0` if there is none.
    pub fn newest(&self, config: &Config) -> Result<String, Failure> {
        let page = self.ask(config, &[("limit", "1")])?;
        let ts = page["messages"][0]["ts"].as_str();
        Ok(ts.unwrap_or("0").to_string())
    }

    fn ask(&self, config: &Config, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let method = match self.thread.is_empty() {
            true => "conversations.history",
            false => "conversations.replies",
        };
        let place = [("channel", &*config.channel), ("ts", &self.thread)];
        config.call(method, &[fields, &place].concat())
    }

    /// This message has been dealt with.
    pub fn heard(&mut self, it: &Message) {
        self.oldest.clone_from(&it.ts);
        if !self.thread.is_empty() {
            let text: String = unescaped(&it.text).chars().take(MAX_CHARS).collect();
            self.said.push(format!("{}: {text}", it.user));
            let excess = self.said.len().saturating_sub(MAX_SAID);
            self.said.drain(..excess);
        }
    }
}

/// True if the message of that `ts` came after the other.
pub fn is_later(ts: &str, other: &str) -> bool {
    (ts.len(), ts) > (other.len(), other)
}

/// The name of a task: the first words of what is asked, to the first mark.
pub fn name(asked: &str, number: u32) -> String {
    let text = asked.to_lowercase();
    let title = text.split([':', '.', ',', ';', '!', '?', '\n']).next();
    let words = title
        .unwrap_or_default()
        .split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty()).take(4);
    let name = words.map(|word| format!("-{word}")).collect::<String>();
    let name: String = name.chars().take(40).collect();
    match number {
        1 if !name.is_empty() => format!("slack{name}"),
        _ => format!("slack{name}-{number}"),
    }
}

/// As Slack wants text: what is not a mention cannot become one. What is too long is cut.
pub fn escaped(text: &str) -> String {
    let more = text.chars().nth(MAX_ANSWER).map(|_| "\n… (shortened)");
    let text: String = text.chars().take(MAX_ANSWER).collect();
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;") + more.unwrap_or_default()
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}
