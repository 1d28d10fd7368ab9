//! foundation · A command that is given lines while it runs, through a named pipe which is its
//! standard input and is removed as soon as it has that. When the [`Feed`] is dropped, the input ends.
//!
//! A secret can be given this way: nothing is written before the command has printed something, and
//! one of our programs prints only when nobody can look into it any more.

use std::fs::{File, remove_file};
use std::io::{self, PipeReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, never};
use nix::fcntl::OFlag;
#[cfg(target_os = "linux")]
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::output::scratch_path;
use super::{Handle, News, heard};

/// Our end of a command's standard input.
pub struct Feed {
    pipe: PathBuf,
    to: File,
    /// So that nobody waits for the other end; dropped when the command has it.
    both: Option<File>,
    bell: Receiver<()>,
}

/// Starts a program with these arguments, quoted for a shell, where this program is.
///
/// # Errors
/// When there is no pipe.
pub fn start(program: &Path, rest: &str) -> io::Result<(Handle, Receiver<News>, Feed)> {
    let program = quote(&program.to_string_lossy());
    let (mut feed, command) = Feed::new(&format!("{program} {rest}"))?;
    let (handle, news, bell) = heard::start(&command, Path::new(""));
    feed.bell = bell;
    Ok((handle, news, feed))
}

/// Starts a command for a shell that answers: what it prints can be read, and its standard error is
/// kept. When it has exited, all that it left running is stopped. It may be given lines at once.
///
/// # Errors
/// When there is no pipe.
pub fn talk(command: &str) -> io::Result<(Handle, PipeReader, Feed)> {
    let (feed, command) = Feed::new(command)?;
    let (handle, printed) = heard::through_pipe(&command)?;
    Ok((handle, printed, feed))
}

impl Feed {
    /// An input, and the command with that.
    fn new(command: &str) -> io::Result<(Self, String)> {
        let pipe = scratch_path("feed").0;
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut options = File::options();
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let both = Some(options.clone().read(true).open(&pipe)?);
        let to = options.open(&pipe)?;
        #[cfg(target_os = "linux")] // elsewhere, less may wait until it is read
        let _ = fcntl(&to, FcntlArg::F_SETPIPE_SZ(super::PIPE_CAPACITY as i32));
        let quoted = quote(&pipe.to_string_lossy());
        let command = format!("exec <{quoted}; rm -f {quoted}; exec {command}");
        let bell = never();
        let feed = Feed {
            pipe,
            to,
            both,
            bell,
        };
        Ok((feed, command))
    }

    /// Waits until the command has printed something; false if it does not in this time, or ends.
    pub fn is_ready(&mut self, limit: Duration) -> bool {
        let ready = self.bell.recv_timeout(limit).is_ok();
        self.both = None;
        ready
    }

    /// Gives it a line. What it has not read yet, up to 1 MiB, waits.
    ///
    /// # Errors
    /// When it has ended, or takes nothing in.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        self.to.write_all(format!("{line}\n").as_bytes())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = remove_file(&self.pipe); // it is gone, unless the shell did not come so far
    }
}

/// A word for a shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
