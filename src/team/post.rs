//! s20 · The post: each member of a team has a mailbox, a folder with `tmp`, `new` and `cur`, and
//! each message is a file. It is written in `tmp`, and is there once it has been moved to `new`. The
//! files are the truth; the named pipe `bell` only wakes who reads them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bell;
use crate::held::Held;
use crate::journal::now;
use crate::tools::files::{EDIT_LIMIT, make_own_folder, read_text, replace};

/// So many messages may wait in a mailbox, and a text may have so many bytes.
const MOST: usize = 100;
const LONGEST: usize = 100_000;
/// The first member of each team.
pub const LEAD: &str = "lead";

/// A message as it stands in its file.
#[derive(Serialize, Deserialize)]
pub struct Mail {
    pub from: String,
    pub to: String,
    pub text: String,
}

/// What a member says of itself in its file `state.json`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub process: u32,
    pub doing: String,
    pub turns: u64,
    pub tokens: u64,
    /// Board tasks that it has completed.
    pub done: u64,
}

/// The mailboxes of one team, in a folder of its own.
#[derive(Clone)]
pub struct Post(pub PathBuf);

impl Post {
    fn place(&self, member: &str, file: &str) -> PathBuf {
        self.0.join(member).join(file)
    }

    /// Makes a mailbox, unless it is there.
    pub fn add(&self, member: &str) -> io::Result<()> {
        make_own_folder(self.0.parent().unwrap_or(Path::new("")))?;
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(self.place(member, folder))?;
        }
        bell::hang(&self.bell(member))
    }

    /// Becomes that member, for as long as the lock is held. Tries for a while: who looks whether it
    /// lives holds the lock for a moment.
    pub fn hold(&self, member: &str) -> io::Result<Held> {
        for _ in 0..50 {
            match Held::new(self.lock_file(member)?) {
                Ok(held) => {
                    held.set_len(0)?;
                    write!(&*held, "{}", std::process::id())?; // for `kill $(cat lock)`
                    return Ok(held);
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        let process = self.state(member).process;
        let why = format!("process {process} is {member} of this team already");
        Err(io::Error::other(why))
    }

    fn lock_file(&self, member: &str) -> io::Result<File> {
        let lock = self.place(member, "lock");
        File::options().create(true).append(true).open(lock)
    }

    /// True as long as its process runs.
    pub fn lives(&self, member: &str) -> bool {
        self.lock_file(member)
            .is_ok_and(|it| Held::new(it).is_err())
    }

    /// All that have a mailbox, by name.
    pub fn members(&self) -> Vec<String> {
        let mut names = names(&self.0);
        names.retain(|name| self.place(name, "new").is_dir());
        names
    }

    /// Delivers a message.
    ///
    /// # Errors
    /// When there is nobody of that name, it has ended, or too many messages wait there: nothing was
    /// delivered then.
    pub fn send(&self, mail: &Mail) -> Result<(), String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (to, members) = (&mail.to, self.members());
        if !members.contains(to) {
            let members = members.join(", ");
            return Err(format!("there is no {to} in this team: {members}"));
        }
        if mail.text.len() > LONGEST {
            return Err(format!(
                "the text is too long for {to}: write it to a file, and send its name"
            ));
        }
        let failed = |error: io::Error| format!("nothing was sent to {to}: {error}");
        let _turn = self.turn(to).map_err(failed)?;
        if !self.lives(to) {
            return Err(format!("{to} has ended, and would not read it"));
        }
        if self.waiting(to).len() >= MOST {
            return Err(format!(
                "the mailbox of {to} is full ({MOST} messages wait), so nothing was sent; try again when it has read some"
            ));
        }
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, SeqCst));
        let name = format!("{}-{count:06}-{process}-{}", now(), mail.from);
        let written = self.place(to, "tmp").join(&name);
        let text = serde_json::to_string(mail).unwrap_or_default();
        fs::write(&written, text).map_err(failed)?;
        fs::rename(written, self.place(to, "new").join(name)).map_err(failed)?;
        bell::ring(&self.bell(to));
        Ok(())
    }

    /// Only one may deliver there at a time, until the file is dropped.
    fn turn(&self, member: &str) -> io::Result<File> {
        let turn = File::open(self.place(member, "tmp"))?;
        turn.lock().map(|()| turn)
    }

    /// The messages that wait, oldest first.
    pub fn waiting(&self, member: &str) -> Vec<String> {
        names(&self.place(member, "new"))
    }

    /// Reads a message that waits. What is none is set aside: an `Err` says so.
    pub fn read(&self, member: &str, name: &str) -> Result<Mail, String> {
        let path = self.place(member, "new").join(name);
        let text = read_text(&path, EDIT_LIMIT);
        let mail = text.and_then(|(text, _)| Ok(serde_json::from_str(&text)?));
        mail.map_err(|why| {
            let aside = self.place(member, "bad");
            let moved = fs::create_dir_all(&aside);
            let moved = moved.and_then(|()| fs::rename(&path, aside.join(name)));
            let aside = moved.map_or_else(|why| why.to_string(), |()| aside.display().to_string());
            format!("{name} is no message and was set aside ({aside}): {why}")
        })
    }

    /// A message is in the conversation by now.
    pub fn keep(&self, member: &str, name: &str) {
        let [new, cur] = ["new", "cur"].map(|folder| self.place(member, folder).join(name));
        let _ = fs::rename(new, cur); // one that stays is not told twice: the conversation has it
    }

    /// What waits for a member that has ended goes to who sent it, or else to the lead.
    pub fn give_back(&self, member: &str) {
        let Ok(_turn) = self.turn(member) else { return };
        for name in self.waiting(member) {
            if let Ok(mail) = self.read(member, &name) {
                let lives = mail.from != member && self.lives(&mail.from);
                let to = if lives { &*mail.from } else { LEAD };
                let new = [member, to].map(|it| self.place(it, "new").join(&name));
                let _ = fs::rename(&new[0], &new[1]);
            }
        }
    }

    pub fn bell(&self, member: &str) -> PathBuf {
        self.place(member, "bell")
    }

    pub fn ring_all(&self) {
        let members = self.members().into_iter();
        members.for_each(|it| bell::ring(&self.bell(&it)));
    }

    pub fn state(&self, member: &str) -> State {
        let state = fs::read_to_string(self.place(member, "state.json"));
        let state = state.map(|text| serde_json::from_str(&text).unwrap_or_default());
        state.unwrap_or_default()
    }

    pub fn set_state(&self, member: &str, state: &State) {
        let text = serde_json::to_string(state).unwrap_or_default();
        let _ = replace(&self.place(member, "state.json"), &text); // only for who looks
    }

    /// A line for a member.
    pub fn line(&self, member: &str) -> String {
        let (it, waiting) = (self.state(member), self.waiting(member).len());
        let doing = if self.lives(member) {
            &it.doing
        } else {
            "ended"
        };
        format!(
            "{member}: process {}, {doing}; tasks done {}, mail waiting {waiting}, turns {}, tokens {}",
            it.process, it.done, it.turns, it.tokens
        )
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
