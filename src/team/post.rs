//! foundation · The post: messages between processes that share a folder, as in a maildir
//! (<https://cr.yp.to/proto/maildir.html>). A group is a folder, and each of its members is one in it:
//!
//! ```text
//! GROUP/NAME/tmp/   in which a message is written
//!            new/   to which it is moved then: it is there as a whole, or not at all
//!            cur/   to which it is moved when its reader has confirmed it
//!            lock   held by the process that is this member; in it stands its id, and what it does
//!            bell   a named pipe that wakes it, and says nothing: the files are the truth
//! ```
//!
//! A message is JSON, `["from", "to", "text"]`; its name begins with the time. Promised: what was
//! sent waits in one mailbox, however its sender and its reader end, until it is confirmed. A reader
//! that is killed before that finds it again, under the same name: who keeps the names of what it was
//! told is told each message once. Not promised: the order of what several send at the same time, and
//! that a message survives a power cut. Where there are no locks, nobody seems to live.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::bell;
use crate::caught::lock;
use crate::held::{Held, is_held};
use crate::interrupt::Interrupt;
use crate::journal::now;

/// So many messages may wait in a mailbox.
const MOST: usize = 100;
const SECOND: Duration = Duration::from_secs(1);
/// No message has more bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A member of a group, by its folder; whether it lives or not.
#[derive(Clone, PartialEq)]
pub struct Member(pub PathBuf);

impl Member {
    /// A member of a group in a folder. Refuses a name that is none, but a path.
    pub fn of(folder: &str, group: &str, name: &str) -> Result<Self, String> {
        for name in [group, name] {
            let is_odd = |c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c);
            if name.is_empty() || name.contains(is_odd) {
                return Err(format!("{name:?} is no name: letters, digits, - and _."));
            }
        }
        Ok(Member(Path::new(folder).join(group).join(name)))
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        let name = self.0.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// Another one of its group.
    pub fn other(&self, name: &str) -> Self {
        Member(self.0.with_file_name(name))
    }

    /// All of its group that have a mailbox, by name.
    fn all(&self) -> impl Iterator<Item = Member> {
        let members = names(self.0.parent().unwrap_or(&self.0)).into_iter();
        let members = members.map(|name| self.other(&name));
        members.filter(|it| it.0.join("new").is_dir())
    }

    /// Becomes that member, unless another process is it, or one of its files or of the folders above
    /// is a link. Tries for a while: who looks whether it lives holds the lock for a moment.
    pub fn hold(self) -> io::Result<Me> {
        let inside = ["tmp", "new", "cur", "lock", "bell"].map(|name| self.0.join(name));
        let above = self.0.ancestors().take(3); // up to the folder of all groups
        let mut all = above.chain(inside.iter().map(PathBuf::as_path));
        if let Some(link) = all.find(|it| it.is_symlink()) {
            let why = format!("{} is a symbolic link; remove it", link.display());
            return Err(io::Error::other(why));
        }
        inside[..3].iter().try_for_each(fs::create_dir_all)?;
        let why = format!("another process is {} of this team already", self.name());
        let held = Held::wait(open(&inside[3], true)?, SECOND, &Interrupt::default());
        let me = Me {
            held: held.map_err(|_| io::Error::other(why))?,
            member: self,
            taken: Mutex::default(),
        };
        me.show("starts");
        Ok(me)
    }

    /// Sends a text to one, or to several with commas between. Who does not get it is named, and why:
    /// there is nobody of that name, it has ended, or too much waits there.
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
        let count = COUNT.fetch_add(1, SeqCst);
        let name = format!("{}-{count:06}-{}", now(), process::id());
        let mail = serde_json::to_string(&(self.name(), to, text)).unwrap_or_default();
        let written = it.0.join("tmp").join(&name);
        fs::write(&written, mail).map_err(failed)?;
        fs::rename(written, it.0.join("new").join(name)).map_err(failed)?;
        bell::ring(&it.0.join("bell"));
        Ok(())
    }

    /// Only one may deliver there at a time, until this is dropped. Waits a while for the others.
    fn turn(&self) -> io::Result<Held> {
        let folder = File::open(self.0.join("tmp/."))?; // the end of `tmp`, if that is a pipe
        let why = "somebody else is delivering there; try again later";
        let held = Held::wait(folder, 5 * SECOND, &Interrupt::default());
        held.map_err(|_| io::Error::other(why))
    }

    /// True as long as its process runs.
    fn lives(&self) -> bool {
        open(&self.0.join("lock"), false).is_ok_and(|lock| is_held(&lock))
    }

    /// The messages that nobody has confirmed, oldest first.
    fn waiting(&self) -> Vec<String> {
        names(&self.0.join("new"))
    }

    /// From whom a message is, to whom, and its text.
    fn mail(&self, name: &str) -> io::Result<(String, String, String)> {
        let text = read(&self.0.join("new").join(name), LONGEST)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// It has ended: what waits for it goes back to who sent it or, where that has ended, to `heir`.
    pub fn give_back(&self, heir: &str) {
        let _turn = self.turn(); // without it, what is there goes all the same
        for name in self.waiting() {
            if let Ok((from, ..)) = self.mail(&name) {
                let is_from = |it: &Member| it.name() == from && it.lives();
                let to = self.all().find(is_from);
                let to = to.unwrap_or_else(|| self.other(heir));
                let [old, new] = [self, &to].map(|it| it.0.join("new").join(&name));
                let _ = fs::rename(old, new);
            }
        }
    }

    /// Lets all of its group look at what there is.
    pub fn ring_all(&self) {
        self.all().for_each(|it| bell::ring(&it.0.join("bell")));
    }

    /// A line for each of its group.
    pub fn lines(&self) -> String {
        let lines: Vec<String> = self.all().map(|it| it.line()).collect();
        lines.join("\n")
    }

    /// Whether it lives, what waits for it, and what it says of itself.
    pub fn line(&self) -> String {
        let said = read(&self.0.join("lock"), 1000).unwrap_or_default();
        let (name, mail) = (self.name(), self.waiting().len());
        let words = [[" (ended)", "at the end "], ["", ""]];
        let [ended, last] = words[usize::from(self.lives())];
        format!("{name}{ended}: mail waiting {mail}, {last}process {said}")
    }
}

/// The member that this process is, until this is dropped.
pub struct Me {
    pub member: Member,
    held: Held,
    /// The messages that were taken, and are not confirmed.
    taken: Mutex<Vec<String>>,
}

impl Me {
    /// From now on the bell calls `woken`, on a thread of its own.
    pub fn listen(&self, woken: impl Fn() + Send + 'static) -> io::Result<()> {
        bell::listen(&self.member.0.join("bell"), woken)
    }

    /// Writes what it does, for who looks.
    pub fn show(&self, does: &str) {
        let text = format!("{}, {}", process::id(), does.trim_end());
        let written = self.held.write_at(text.as_bytes(), 0);
        let _ = written.and_then(|length| self.held.set_len(length as u64));
    }

    /// The names of the messages that can be taken, oldest first.
    pub fn news(&self) -> Vec<String> {
        let (mut news, taken) = (self.member.waiting(), lock(&self.taken));
        news.retain(|name| !taken.contains(name));
        news
    }

    /// Takes all that can be taken: its name, and what it says; of what is no message, why it is none.
    pub fn take(&self) -> Vec<(String, String)> {
        let news = self.news();
        lock(&self.taken).extend_from_slice(&news);
        let read = |name: String| {
            let text = match self.member.mail(&name) {
                Ok((from, to, text)) if to == self.member.name() => {
                    format!("mail from {from}: {text}")
                }
                Ok((_, to, text)) => format!("came back, as {to} has ended: {text}"),
                Err(why) => format!("{name} is no message and is set aside: {why}"),
            };
            (name, text)
        };
        news.into_iter().map(read).collect()
    }

    /// What was taken is safe elsewhere: it does not wait any more.
    pub fn confirm(&self) {
        for name in lock(&self.taken).drain(..) {
            let [new, cur] = ["new", "cur"].map(|it| self.member.0.join(it).join(&name));
            let _ = fs::rename(new, cur);
        }
    }
}

/// Opens a file of ours: no link to another one, and nothing that is waited for. The lock is made,
/// and written by who holds it.
fn open(path: &Path, own: bool) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(own).create(own).truncate(false);
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    let file = options.open(path)?;
    let file = file.metadata()?.is_file().then_some(file);
    let name = path.file_name().unwrap_or_default().display();
    file.ok_or_else(|| io::Error::other(format!("the `{name}` there is no file; remove it")))
}

fn read(path: &Path, most: u64) -> io::Result<String> {
    io::read_to_string(open(path, false)?.take(most))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
