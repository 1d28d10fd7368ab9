//! s20 · Exercise: a mailbox that loses nothing.
//!
//! `Lines` is how it is often begun: one file, to which all append, and which the reader empties. It
//! loses what is appended between the two. Fill the gaps of `Mailbox`, a file for each message.
//!
//! This went wrong in two ways. In anthropics/claude-code#53896 an inbox was one file that each sender
//! wrote anew, and of two messages at once one was lost; in anthropics/claude-code#25383 a message was
//! marked as read before it was delivered, and never was.

#![allow(unused, reason = "not everything is used before the gaps are filled")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// One file of lines. It loses mail.
pub struct Lines(pub PathBuf);

impl Lines {
    pub fn send(&self, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0)?;
        file.write_all(format!("{text}\n").as_bytes())
    }

    pub fn take(&self, between: impl FnOnce()) -> io::Result<Vec<String>> {
        let text = fs::read_to_string(&self.0)?;
        between(); // whatever another process does now
        File::create(&self.0)?; // empties it
        Ok(text.lines().map(str::to_string).collect())
    }
}

/// A folder with `tmp`, `new` and `cur`.
pub struct Mailbox(pub PathBuf);

impl Mailbox {
    /// Makes the three folders, unless they are there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        for name in ["tmp", "new", "cur"] {
            fs::create_dir_all(folder.join(name))?;
        }
        Ok(Mailbox(folder.to_path_buf()))
    }

    /// Delivers a message: a reader finds the whole of it in `new`, or nothing. Those of one process
    /// stand there in their order.
    pub fn send(&self, text: &str) -> io::Result<()> {
        todo!("a name of its own, written in `tmp`, moved to `new`")
    }

    /// Gives what waits to `keep`, oldest first. A message moves to `cur` only when it is kept; if that
    /// fails, it still waits, and so do those behind it.
    pub fn take(&self, mut keep: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        todo!("first keep, then move")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::thread;

    fn folder(name: &str) -> PathBuf {
        let name = format!("meanwhile-mailbox-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn waiting(folder: &Path) -> usize {
        fs::read_dir(folder.join("new")).expect("a mailbox").count()
    }

    #[test]
    fn one_file_of_lines_loses_what_comes_at_the_wrong_moment() {
        let folder = folder("lines");
        let lines = Lines(folder.join("inbox.jsonl"));
        lines.send("first").unwrap();
        let told = lines.take(|| lines.send("second").unwrap()).unwrap();
        assert_eq!(told, ["first"]);
        assert!(lines.take(|| ()).unwrap().is_empty(), "the second is lost");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_sent_while_mail_is_read_is_there_next_time() {
        let folder = folder("while");
        let mailbox = Mailbox::open(&folder).unwrap();
        for at in 0..12 {
            mailbox.send(&format!("message {at}")).unwrap();
        }
        let mut told = Vec::new();
        for _ in 0..2 {
            let keep = |text: &str| {
                if text == "message 3" {
                    mailbox.send("late").unwrap();
                }
                told.push(text.to_string());
                Ok(())
            };
            mailbox.take(keep).unwrap();
        }
        let mut all: Vec<String> = (0..12).map(|at| format!("message {at}")).collect();
        all.push("late".to_string());
        assert_eq!(told, all, "each once, in order");
        assert_eq!(waiting(&folder), 0);
        assert_eq!(fs::read_dir(folder.join("cur")).unwrap().count(), 13);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_could_not_be_kept_still_waits() {
        let folder = folder("keep");
        let mailbox = Mailbox::open(&folder).unwrap();
        for text in ["one", "two", "three"] {
            mailbox.send(text).unwrap();
        }
        let full = |text: &str| match text {
            "one" => Ok(()),
            _ => Err(io::Error::other("the disk is full")),
        };
        assert!(mailbox.take(full).is_err());
        assert_eq!(waiting(&folder), 2, "two and three");
        let mut told = Vec::new();
        let keep = |text: &str| {
            told.push(text.to_string());
            Ok(())
        };
        mailbox.take(keep).unwrap();
        assert_eq!(told, ["two", "three"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn many_write_while_one_reads() {
        let folder = folder("many");
        let mailbox = Mailbox::open(&folder).unwrap();
        let mut told = BTreeSet::new();
        let mut keep = |text: &str| {
            assert!(told.insert(text.to_string()), "{text} was told twice");
            Ok(())
        };
        thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|who| {
                    let mailbox = &mailbox;
                    scope.spawn(move || {
                        for at in 0..200 {
                            mailbox
                                .send(&format!("{who} {at} {}", "x".repeat(5_000)))
                                .unwrap();
                        }
                    })
                })
                .collect();
            while writers.iter().any(|writer| !writer.is_finished()) {
                mailbox.take(&mut keep).unwrap();
            }
        });
        mailbox.take(&mut keep).unwrap();
        assert_eq!(told.len(), 800, "none was lost");
        assert!(told.iter().all(|text| text.ends_with(&"x".repeat(5_000))));
        fs::remove_dir_all(folder).unwrap();
    }
}
