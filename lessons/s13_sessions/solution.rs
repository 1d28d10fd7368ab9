//! s13 · Exercise: nothing said is lost.
//!
//! Fill the two gaps: keep a conversation in a file, and go on from there. What ended with the
//! program has to be told, once: a line that was torn, and each background task that ran.
//!
//! This went wrong in two ways. In anthropics/claude-code#53821 the last line of a session was torn
//! by a power cut, and the whole conversation came back empty; in anthropics/claude-code#67524
//! background agents had died, and after the resume everybody waited for their results for hours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A line of the file, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Cut the conversation to `at` messages, then append these. From now on it tells what became of
    /// the tasks in `delivered`.
    Said {
        at: usize,
        messages: Vec<String>,
        delivered: Vec<String>,
    },
    /// A background task began: its id.
    Started(String),
    /// It ended: its id, and its result.
    Ended(String, String),
}

/// What is told of a task that ran when the program ended.
pub const GONE: &str = "ERROR: ended with the program";

/// A session that is being kept.
#[derive(Debug, Default)]
pub struct Session {
    /// The file. It only ever grows.
    pub file: Vec<u8>,
    /// The conversation, as the file has it.
    pub written: Vec<String>,
    /// Tasks of which the conversation tells since the last record of it.
    pub delivered: Vec<String>,
}

impl Session {
    /// Appends one line.
    pub fn append(&mut self, record: &Record) {
        let line = serde_json::to_string(record).expect("a record is always JSON");
        self.file.extend(line.bytes());
        self.file.push(b'\n');
    }

    /// Appends one `Said` with what of the conversation the file does not have yet, and nothing if
    /// there is nothing new. `at` is how many messages at the beginning are the same in both.
    ///
    /// Tasks that were delivered stand in the same record as the message that tells of them, so that
    /// no end can come between the two.
    pub fn keep(&mut self, messages: &[String]) {
        let pairs = messages.iter().zip(&self.written);
        let at = pairs.take_while(|(new, old)| new == old).count();
        let same = at == messages.len() && at == self.written.len();
        if same && self.delivered.is_empty() {
            return;
        }
        let (new, delivered) = (messages[at..].to_vec(), std::mem::take(&mut self.delivered));
        self.append(&Record::Said {
            at,
            messages: new,
            delivered,
        });
        self.written = messages.to_vec();
    }
}

/// Goes on from a file: returns the session, its conversation, and whether the last line was torn.
///
/// A line without an end is dropped, from the file as well. Then the conversation is told, in one
/// message for each task, `ID: RESULT` of those that ended and `ID: ` with [`GONE`] of those that
/// did not; but nothing of tasks that were delivered. What is told here is kept before this returns,
/// so that the next `resume` does not tell it again.
pub fn resume(file: &[u8]) -> (Session, Vec<String>, bool) {
    let whole = file.iter().rposition(|byte| *byte == b'\n');
    let whole = &file[..whole.map_or(0, |at| at + 1)];
    let (mut session, mut tasks) = (Session::default(), BTreeMap::new());
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Record::Said {
                at,
                messages,
                delivered,
            }) => {
                session.written.truncate(at);
                session.written.extend(messages);
                tasks.retain(|id, _| !delivered.contains(id));
            }
            Ok(Record::Started(id)) => drop(tasks.insert(id, GONE.to_string())),
            Ok(Record::Ended(id, result)) => drop(tasks.insert(id, result)),
            Err(_) => {} // no record: the others still are
        }
    }
    session.file = whole.to_vec();
    let mut messages = session.written.clone();
    for (id, result) in tasks {
        messages.push(format!("{id}: {result}"));
        session.delivered.push(id);
    }
    session.keep(&messages);
    (session, messages, whole.len() < file.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    fn said(at: usize, messages: &[&str], delivered: &[&str]) -> Record {
        let (messages, delivered) = (texts(messages), texts(delivered));
        Record::Said {
            at,
            messages,
            delivered,
        }
    }

    fn records(file: &[u8]) -> Vec<Record> {
        let lines = file.split_inclusive(|byte| *byte == b'\n');
        let record = |line| serde_json::from_slice(line).expect("each line is a record");
        lines.map(record).collect()
    }

    #[test]
    fn each_message_is_written_once() {
        let mut session = Session::default();
        session.keep(&texts(&["hello"]));
        session.keep(&texts(&["hello", "hi"]));
        session.keep(&texts(&["hello", "hi"]));
        let expected = [said(0, &["hello"], &[]), said(1, &["hi"], &[])];
        let message = "a record holds what is new, and nothing is written when nothing is";
        assert_eq!(records(&session.file), expected, "{message}");
    }

    #[test]
    fn what_was_changed_is_written_again_from_there() {
        let mut session = Session::default();
        session.keep(&texts(&["hello", "hi", "go on"]));
        session.keep(&texts(&["hello", "hi", "go on, and quickly"]));
        session.keep(&texts(&["hello", "hi"]));
        session.keep(&texts(&["summary"]));
        let expected = [
            said(0, &["hello", "hi", "go on"], &[]),
            said(2, &["go on, and quickly"], &[]),
            said(2, &[], &[]),
            said(0, &["summary"], &[]),
        ];
        let message = "`at` is where the old and the new conversation begin to differ";
        assert_eq!(records(&session.file), expected, "{message}");
    }

    #[test]
    fn a_delivery_stands_in_the_record_of_its_message() {
        let mut session = Session::default();
        session.keep(&texts(&["hello"]));
        session.delivered.push("build".to_string());
        session.keep(&texts(&["hello", "build: done"]));
        session.keep(&texts(&["hello", "build: done", "good"]));
        let expected = [
            said(0, &["hello"], &[]),
            said(1, &["build: done"], &["build"]),
            said(2, &["good"], &[]),
        ];
        let message = "it is delivered with the message that tells of it, and once";
        assert_eq!(records(&session.file), expected, "{message}");
    }

    /// A session in which `build` ended and was delivered, `tests` ended, and `lint` runs.
    fn sample() -> Session {
        let mut session = Session::default();
        session.keep(&texts(&["build, test and lint it"]));
        for task in ["build", "tests", "lint"] {
            session.append(&Record::Started(task.to_string()));
        }
        session.append(&Record::Ended("build".to_string(), "compiled".to_string()));
        session.delivered.push("build".to_string());
        session.keep(&texts(&["build, test and lint it", "build: compiled"]));
        session.append(&Record::Ended(
            "tests".to_string(),
            "100 passed".to_string(),
        ));
        session.keep(&texts(&[
            "build, test and lint it",
            "build: compiled",
            "good",
        ]));
        session
    }

    #[test]
    fn the_conversation_comes_back_and_each_task_is_told() {
        let file = sample().file;
        let (session, messages, torn) = resume(&file);
        assert!(!torn, "nothing is torn");
        let said = ["build, test and lint it", "build: compiled", "good"];
        let message = "the conversation is what the records say, one after the other";
        assert_eq!(messages.get(..3), Some(&texts(&said)[..]), "{message}");
        let mut told = messages[3..].to_vec();
        told.sort();
        let message = "`tests` ended and was not delivered, `lint` did not end, and of `build` the conversation tells already";
        assert_eq!(
            told,
            [format!("lint: {GONE}"), "tests: 100 passed".to_string()],
            "{message}"
        );
        assert!(session.file.starts_with(&file), "what stood there stays");
        let (_, again, _) = resume(&session.file);
        let message = "it was told, and kept, so the next resume has nothing to tell";
        assert_eq!(again, messages, "{message}");
    }

    #[test]
    fn a_torn_line_is_dropped_and_the_next_one_is_whole() {
        let mut file = sample().file;
        let whole = file.len();
        file.extend(b"{\"said\":{\"at\":3,\"mess");
        let (mut session, mut messages, torn) = resume(&file);
        assert!(torn, "the last line has no end");
        let message = "everything before the torn line is there";
        assert_eq!(
            messages.get(2).map(String::as_str),
            Some("good"),
            "{message}"
        );
        assert_eq!(
            session.file.get(..whole),
            file.get(..whole),
            "what stood there stays"
        );
        messages.push("go on".to_string());
        session.keep(&messages);
        records(&session.file); // and no half of a line is among them
    }

    #[test]
    fn wherever_it_ends_each_task_is_told_once() {
        let file = sample().file;
        for end in 0..=file.len() {
            let whole = file[..end].iter().rposition(|byte| *byte == b'\n');
            let whole = &file[..whole.map_or(0, |at| at + 1)];
            let (session, _, torn) = resume(&file[..end]);
            assert_eq!(torn, whole.len() < end, "cut at byte {end}: was it torn?");
            let (_, messages, _) = resume(&session.file);
            for record in records(whole) {
                let Record::Started(id) = record else {
                    continue;
                };
                let tells = |message: &&String| message.starts_with(&format!("{id}: "));
                let times = messages.iter().filter(tells).count();
                assert_eq!(
                    times, 1,
                    "cut at byte {end}, and resumed twice: how often is {id} told?\n{messages:#?}"
                );
            }
        }
    }
}
