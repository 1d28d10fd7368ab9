//! s20 · The mailboxes: each member of a team has a folder with `tmp`, `new` and `cur`, and each message is
//! a file. It is written in `tmp`, and is there once it has been moved to `new`. The files are the
//! truth; the named pipe `bell` only wakes who reads them.

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

/// Holds a folder for each team.
pub const FOLDER: &str = ".team";
/// The first member of each team.
pub const LEAD: &str = "lead";
/// So many messages may wait in a mailbox, and a text may have so many bytes.
const MOST: usize = 100;
const LONGEST: usize = 100_000;

/// A message as it stands in its file.
#[derive(Serialize, Deserialize)]
pub struct Mail {
    pub from: String,
    pub to: String,
    pub text: String,
}

/// The folder of one member, `.team/TEAM/MEMBER`.
#[derive(Clone, Default)]
pub struct Mailbox(pub PathBuf);

impl Mailbox {
    /// Makes it, unless it is there.
    pub fn make(&self) -> io::Result<()> {
        make_own_folder(Path::new(FOLDER))?;
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(self.0.join(folder))?;
        }
        bell::hang(&self.bell())
    }

    pub fn name(&self) -> &str {
        let name = self.0.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    pub fn bell(&self) -> PathBuf {
        self.0.join("bell")
    }

    /// That of another member of the team.
    pub fn of(&self, member: &str) -> Self {
        Mailbox(self.0.with_file_name(member))
    }

    /// Those of the whole team, by name.
    pub fn all(&self) -> Vec<Self> {
        let team = names(self.0.parent().unwrap_or(&self.0));
        let all = team.iter().map(|name| self.of(name));
        all.filter(|it| it.0.join("new").is_dir()).collect()
    }

    /// Becomes that member, for as long as the lock is held. Tries for a while: who looks whether it
    /// lives holds the lock for a moment.
    pub fn hold(&self) -> io::Result<Held> {
        let lock = self.0.join("lock");
        for _ in 0..50 {
            let file = File::options().create(true).append(true).open(&lock)?;
            if let Ok(held) = Held::new(file) {
                held.set_len(0)?;
                write!(&*held, "{}", std::process::id())?; // for `kill $(cat lock)`
                return Ok(held);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let (process, name) = (fs::read_to_string(lock)?, self.name());
        let why = format!("process {process} is {name} of this team already");
        Err(io::Error::other(why))
    }

    /// True as long as its process runs.
    pub fn lives(&self) -> bool {
        File::open(self.0.join("lock")).is_ok_and(|lock| Held::new(lock).is_err())
    }

    /// A line on it for a person, with what it says of itself.
    pub fn line(&self) -> String {
        let read = |file| fs::read_to_string(self.0.join(file)).unwrap_or_default();
        let (lives, waiting) = (self.lives(), self.waiting().len());
        format!(
            "{}: process {}, {}, mail waiting {waiting}, {}",
            self.name(),
            read("lock"),
            if lives { "runs" } else { "ended" },
            read("state")
        )
    }

    /// Says this of itself.
    pub fn say(&self, state: &str) {
        let _ = replace(&self.0.join("state"), state); // only for who looks
    }

    /// Delivers a message here.
    ///
    /// # Errors
    /// When there is nobody of that name, it has ended, or too many messages wait here: nothing was
    /// delivered then.
    pub fn deliver(&self, from: &str, text: &str) -> Result<(), String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (to, all) = (self.name(), self.all());
        if !all.iter().any(|it| it.0 == self.0) {
            let all: Vec<&str> = all.iter().map(Mailbox::name).collect();
            let all = all.join(", ");
            return Err(format!("there is no {to} in this team: {all}"));
        }
        let failed = |error: io::Error| format!("nothing was sent to {to}: {error}");
        let _turn = self.turn().map_err(failed)?;
        let why_not = match () {
            _ if text.len() > LONGEST => {
                "is not sent so much: write it to a file, and send its name"
            }
            _ if !self.lives() => "has ended, and would not read it",
            _ if self.waiting().len() >= MOST => {
                "has a full mailbox (100 messages wait), so nothing was sent; try again when it has read some"
            }
            _ => "",
        };
        if !why_not.is_empty() {
            return Err(format!("{to} {why_not}"));
        }
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, SeqCst));
        let name = format!("{}-{count:06}-{process}-{from}", now());
        let written = self.0.join("tmp").join(&name);
        let [from, to, text] = [from, to, text].map(str::to_string);
        let mail = serde_json::to_string(&Mail { from, to, text }).unwrap_or_default();
        fs::write(&written, mail).map_err(failed)?;
        fs::rename(written, self.place("new", &name)).map_err(failed)?;
        bell::ring(&self.bell());
        Ok(())
    }

    fn place(&self, folder: &str, name: &str) -> PathBuf {
        self.0.join(folder).join(name)
    }

    /// Only one may deliver here at a time, until the file is dropped.
    fn turn(&self) -> io::Result<File> {
        let turn = File::open(self.0.join("tmp"))?;
        turn.lock().map(|()| turn)
    }

    /// The messages that wait, oldest first.
    pub fn waiting(&self) -> Vec<String> {
        names(&self.0.join("new"))
    }

    /// Reads a message that waits. What is none is set aside: an `Err` says so.
    pub fn read(&self, name: &str) -> Result<Mail, String> {
        let path = self.place("new", name);
        let text = read_text(&path, EDIT_LIMIT);
        let mail = text.and_then(|(text, _)| Ok(serde_json::from_str(&text)?));
        mail.map_err(|why| {
            let aside = self.0.join("bad");
            let moved = fs::create_dir_all(&aside);
            let moved = moved.and_then(|()| fs::rename(&path, aside.join(name)));
            let aside = moved.map_or_else(|why| why.to_string(), |()| aside.display().to_string());
            format!("{name} is no message and was set aside ({aside}): {why}")
        })
    }

    /// A message is in the conversation by now.
    pub fn keep(&self, name: &str) {
        let _ = fs::rename(self.place("new", name), self.place("cur", name)); // or it stays, and is not told twice
    }

    /// Its member has ended: what waits goes to who sent it, or else to the lead. Then all look at
    /// what they have got, and at the tasks that are free again.
    pub fn give_back(&self) {
        let turn = self.turn();
        for name in self.waiting().into_iter().filter(|_| turn.is_ok()) {
            if let Ok(mail) = self.read(&name) {
                let from = self.of(&mail.from);
                let lives = from.0 != self.0 && from.lives();
                let to = if lives { from } else { self.of(LEAD) };
                let _ = fs::rename(self.place("new", &name), to.place("new", &name));
            }
        }
        self.ring_all();
    }

    pub fn ring_all(&self) {
        self.all().iter().for_each(|it| bell::ring(&it.bell()));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
