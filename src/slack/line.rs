//! s18 · The connection to one channel, and the file beside it: what was begun, what was answered.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::{Config, Failure, POST, Source, escaped, is_later};
use crate::journal::{self, Journal};

/// How often the channel is asked, unless Slack wants it less often.
const INTERVAL: Duration = Duration::from_secs(3);
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Threads of ours that are still read, the newest.
const MAX_THREADS: usize = 20;
const CUT_OFF: &str =
    "I was ended before I had an answer to this. Mention me again, and I begin anew.";

/// A line of the file.
#[derive(Serialize, Deserialize)]
pub enum Record {
    /// What is older than this was there before us.
    Since(String),
    /// A mention, and its thread.
    Begun(String, String),
    /// The mention that was answered.
    Answered(String),
}

/// What is to be posted: the mention, its thread, the text.
pub type Answer = (String, String, String);

/// The connection.
pub struct Line {
    pub config: Config,
    journal: Journal,
    /// Our own id; empty before the first answer of Slack.
    pub me: String,
    pub begun: BTreeSet<String>,
    /// The channel, and behind it our threads.
    pub sources: Vec<Source>,
    /// Which thread is read next: one each time.
    turn: usize,
    pub interval: Duration,
    /// How many calls have failed in a row.
    pub failures: u32,
}

impl Line {
    /// Nothing is asked of Slack yet. The second part is what a former program left unanswered.
    pub fn new(config: Config, folder: &Path) -> Result<(Self, Vec<Answer>), String> {
        let path = folder.join(&config.channel).with_extension("jsonl");
        let failed = |why| format!("{}: {why}.", path.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
        let Some(journal) = Journal::hold(&path).map_err(failed)? else {
            let channel = config.channel;
            return Err(format!("Another program here listens to {channel}."));
        };
        let (mut begun, mut open) = (BTreeSet::new(), Vec::new());
        let mut sources = vec![Source::default()];
        let read = journal::read(&path, usize::MAX, |record| {
            match record {
                Record::Since(ts) => sources[0].oldest = ts,
                Record::Begun(ts, thread) => {
                    if ts == thread && is_later(&ts, &sources[0].oldest) {
                        sources[0].oldest.clone_from(&ts);
                    }
                    begun.insert(ts.clone());
                    add(&mut sources, &thread);
                    open.push((ts, thread, CUT_OFF.to_string()));
                }
                Record::Answered(answered) => open.retain(|(ts, ..)| *ts != answered),
            }
            Ok(())
        });
        journal.cut(read.map_err(failed)?.end).map_err(failed)?;
        let line = Line {
            config,
            journal,
            me: String::new(),
            begun,
            sources,
            turn: 0,
            interval: INTERVAL,
            failures: 0,
        };
        Ok((line, open))
    }

    /// Asks who we are. What was said in the channel before the first time is not for us.
    pub fn begin(&mut self) -> Result<(), Failure> {
        let us = self.config.call("auth.test", &[])?;
        if self.sources[0].oldest.is_empty() {
            let newest = self.sources[0].newest(&self.config)?;
            self.keep(&Record::Since(newest.clone()))?;
            self.sources[0].oldest = newest;
        }
        self.failures = 0;
        self.me = us["user_id"].as_str().unwrap_or_default().to_string();
        Ok(())
    }

    /// What is read this time: the channel, and one of our threads.
    pub fn places(&mut self) -> impl Iterator<Item = usize> + use<> {
        let threads = self.sources.len() - 1;
        self.turn = (self.turn + 1) % threads.max(1);
        [0, 1 + self.turn].into_iter().take(1 + threads.min(1))
    }

    /// A mention is begun, at most once: it is on disk when this returns. Then its thread is ours.
    pub fn note(&mut self, ts: &str, thread: &str) -> Result<(), Failure> {
        self.keep(&Record::Begun(ts.to_string(), thread.to_string()))?;
        self.begun.insert(ts.to_string());
        add(&mut self.sources, thread);
        Ok(())
    }

    /// Posts an answer.
    pub fn post(&mut self, (ts, thread, text): &Answer) -> Result<(), Failure> {
        let (channel, text) = (("channel", &*self.config.channel), escaped(text));
        let fields = [channel, ("thread_ts", thread), ("text", &text)];
        let posted = self.config.call(POST, &fields);
        if matches!(posted, Ok(_) | Err(Failure::Gone(_))) {
            self.keep(&Record::Answered(ts.clone()))?;
        }
        posted.map(drop)
    }

    fn keep(&mut self, record: &Record) -> Result<(), Failure> {
        let kept = self.journal.append(record);
        let kept = kept.and_then(|()| self.journal.sync());
        kept.map_err(|why| Failure::Lasting(format!("The file in .slack cannot be written: {why}")))
    }

    /// How long to wait after a failure that passes, longer each time.
    pub fn wait(&mut self, after: Option<Duration>) -> Duration {
        let doubled = self.interval.saturating_mul(2 << self.failures.min(8));
        self.failures += 1;
        self.interval = self.interval.max(after.unwrap_or_default());
        after.unwrap_or(doubled.min(MAX_WAIT))
    }

    /// Says where it listens.
    pub fn greeting(&self) -> String {
        let (channel, users) = (&self.config.channel, self.config.users.join(", "));
        let (me, seconds) = (&self.me, self.interval.as_secs());
        format!("Slack: listening as {me} in {channel} to {users}, every {seconds} s.")
    }
}

/// A thread of ours is read from now on.
fn add(sources: &mut Vec<Source>, thread: &str) {
    if sources.iter().all(|source| source.thread != thread) {
        sources.push(Source::of(thread));
        if sources.len() > 1 + MAX_THREADS {
            sources.remove(1);
        }
    }
}
