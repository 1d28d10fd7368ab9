//! s20 · The post: each member of a team has a folder with `tmp`, `new` and `cur`, and each message
//! is a file. It is written in `tmp`, and is there once it has been moved to `new`. The files are
//! the truth; the named pipe `bell` only wakes who reads them.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::bell;
use crate::held::Held;
use crate::journal::now;
use crate::tools::files::{EDIT_LIMIT, read_text};

/// So many messages may wait in a mailbox.
const MOST: usize = 100;
/// The first member of each team.
pub const LEAD: &str = "lead";

/// A member of a team, by its folder: `.team/TEAM/NAME`.
#[derive(Clone, Default, PartialEq)]
pub struct Member(pub PathBuf);

impl Member {
    pub fn name(&self) -> &str {
        let name = self.0.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    pub fn other(&self, name: &str) -> Self {
        Member(self.0.with_file_name(name))
    }

    /// All of its team that have a mailbox, by name.
    pub fn all(&self) -> impl Iterator<Item = Member> {
        let members = names(self.0.parent().unwrap_or(&self.0)).into_iter();
        let members = members.map(|name| self.other(&name));
        members.filter(|it| it.0.join("new").is_dir())
    }

    /// Becomes that member, for as long as the lock is held. Tries for a while: who looks whether it
    /// lives holds the lock for a moment.
    pub fn hold(&self) -> io::Result<Held> {
        let inside = ["tmp", "new", "cur", "lock", "bell"].map(|name| self.0.join(name));
        let above = self.0.ancestors().take(3); // up to `.team`
        let mut all = above.chain(inside.iter().map(PathBuf::as_path));
        if let Some(link) = all.find(|it| it.is_symlink()) {
            let why = format!("{} is a symbolic link; remove it", link.display());
            return Err(io::Error::other(why));
        }
        inside[..3].iter().try_for_each(fs::create_dir_all)?;
        let why = format!("another process is {} of this team already", self.name());
        hold(100, &why, || self.lock(true))
    }

    /// Opens its lock, which is a file of ours: no link to another one, and no pipe.
    fn lock(&self, own: bool) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(own).create(own).truncate(false);
        options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
        let lock = options.open(self.0.join("lock"))?;
        let lock = lock.metadata()?.is_file().then_some(lock);
        lock.ok_or_else(|| io::Error::other("the `lock` there is no file; remove it"))
    }

    /// Delivers a message to several, of which each gets it or is named.
    pub fn send(&self, to: &str, text: &str) -> Result<String, String> {
        let sent = to.split(',').map(|to| self.deliver(to.trim(), text));
        let problems: Vec<String> = sent.filter_map(Result::err).collect();
        match problems.is_empty() {
            true => Ok(format!("sent to {to}; an answer comes by itself.")),
            false => Err(problems.join("; ") + "."),
        }
    }

    fn deliver(&self, to: &str, text: &str) -> Result<(), String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let Some(it) = self.all().find(|it| it.name() == to) else {
            let all: Vec<_> = self.all().map(|it| it.name().to_string()).collect();
            return Err(format!("there is no {to} in this team: {}", all.join(", ")));
        };
        let failed = |error: io::Error| format!("nothing was sent to {to}: {error}");
        let _turn = it.turn().map_err(failed)?;
        if !it.lives() {
            return Err(format!("{to} has ended, and would not read it"));
        }
        if it.waiting().len() >= MOST {
            return Err(format!(
                "the mailbox of {to} is full ({MOST} messages wait), so nothing was sent; try again when it has read some"
            ));
        }
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, SeqCst));
        let name = format!("{}-{count:06}-{process}", now());
        let mail = serde_json::to_string(&(self.name(), to, text)).unwrap_or_default();
        let written = it.0.join("tmp").join(&name);
        fs::write(&written, mail).map_err(failed)?;
        fs::rename(written, it.0.join("new").join(name)).map_err(failed)?;
        bell::ring(&it.0.join("bell"));
        Ok(())
    }

    /// Only one may deliver there at a time, until this is dropped. Waits a while for the others.
    fn turn(&self) -> io::Result<Held> {
        let folder = self.0.join("tmp/."); // the end of `tmp`, if that is a pipe
        let why = "somebody else is delivering there; try again later";
        hold(500, why, || File::open(&folder))
    }

    /// True as long as its process runs. Those who look do not see each other.
    fn lives(&self) -> bool {
        let look = self.lock(false).map(|lock| lock.try_lock_shared());
        matches!(look, Ok(Err(TryLockError::WouldBlock)))
    }

    /// The messages that wait, oldest first.
    pub fn waiting(&self) -> Vec<String> {
        names(&self.0.join("new"))
    }

    /// What a message says that waits; of what is none, the text says so.
    pub fn read(&self, name: &str) -> String {
        match self.mail(name) {
            Ok((from, to, text)) if to == self.name() => format!("mail from {from}: {text}"),
            Ok((_, to, text)) => format!("came back, as {to} has ended: {text}"),
            Err(why) => format!("{name} is no message and is set aside: {why}"),
        }
    }

    /// From whom a message is, to whom, and its text: so it stands in its file.
    fn mail(&self, name: &str) -> io::Result<(String, String, String)> {
        let (text, _) = read_text(&self.0.join("new").join(name), EDIT_LIMIT)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A message is in the session by now.
    pub fn keep(&self, name: &str) {
        let [new, cur] = ["new", "cur"].map(|folder| self.0.join(folder).join(name));
        let _ = fs::rename(new, cur); // one that stays is not told twice: the conversation has it
    }

    /// It has ended: what waits for it goes to who sent it, or else to the lead.
    pub fn give_back(&self) {
        let _turn = self.turn(); // without it, what is there goes all the same
        for name in self.waiting() {
            if let Ok((from, ..)) = self.mail(&name) {
                let is_from = |it: &Member| it.name() == from && it.lives();
                let to = self.all().find(is_from);
                let to = to.unwrap_or_else(|| self.other(LEAD));
                let [old, new] = [self, &to].map(|it| it.0.join("new").join(&name));
                let _ = fs::rename(old, new);
            }
        }
    }

    /// Lets all look: at their mail, and at the board.
    pub fn ring_all(&self) {
        self.all().for_each(|it| bell::ring(&it.0.join("bell")));
    }

    /// A line for each member.
    pub fn lines(&self) -> String {
        let lines: Vec<String> = self.all().map(|it| it.line()).collect();
        lines.join("\n")
    }

    /// For who looks. In the lock stands its process first, then how that stands.
    pub fn line(&self) -> String {
        let said = self.lock(false).map(|lock| lock.take(1000));
        let said = said.and_then(io::read_to_string).unwrap_or_default();
        let ended = if self.lives() { "" } else { " (ended)" };
        let (name, mail) = (self.name(), self.waiting().len());
        format!("{name}{ended}: mail waiting {mail}, process {said}")
    }
}

/// Holds a file, and tries so many times.
fn hold(tries: u32, why: &str, open: impl Fn() -> io::Result<File>) -> io::Result<Held> {
    for _ in 0..tries {
        if let Ok(held) = Held::new(open()?) {
            return Ok(held);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(why))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
