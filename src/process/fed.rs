//! foundation · A command that is given lines while it runs: a named pipe is its standard input, and
//! ours to write to. When that is dropped, the input ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
#[cfg(target_os = "linux")]
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::Deserialize;

use super::heard::Heard;
use super::output::scratch_path;
use super::{Handle, start};

/// A command without a shell, and variables of its environment.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Program {
    /// A name that is looked for in `PATH`, or a path.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What is added to its environment.
    pub env: BTreeMap<String, String>,
}

impl Program {
    /// For a shell, which becomes the command; or without the values, which may be secrets.
    pub fn line(&self, whole: bool) -> String {
        let value = |value| if whole { value } else { "…" };
        let env = self.env.iter();
        let set = env.map(|(name, it)| format!("{name}={}", value(it)));
        let words = set.chain([self.command.clone()]).chain(self.args.clone());
        words.fold("env".to_string(), |line, word| line + " " + &quote(&word))
    }
}

/// Starts a program that answers: what it prints has to be read, as it waits for that, and its
/// standard error is kept. When it has exited, all that it left running is stopped.
///
/// # Errors
/// When there is no pipe.
pub fn talk(program: &Program) -> io::Result<(Handle, PipeReader, File)> {
    let (input, command) = input(&program.line(true))?;
    let (handle, (printed, to)) = (Handle::new(&command), io::pipe()?);
    handle.state().heard = Some(Heard::Read(Arc::new(to)));
    start(&handle, Path::new(""));
    Ok((handle, printed, input))
}

/// An input, and the command with that. What it has not read yet, up to 1 MiB, waits there; a write
/// of more fails. The shell removes the pipe as soon as it has it.
pub(super) fn input(command: &str) -> io::Result<(File, String)> {
    let pipe = scratch_path("input").0;
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let mut options = File::options();
    options.custom_flags(OFlag::O_NONBLOCK.bits());
    // Also for reading: so nobody waits for the other end.
    let input = options.read(true).write(true).open(&pipe)?;
    #[cfg(target_os = "linux")] // elsewhere, less may wait until it is read
    let _ = fcntl(&input, FcntlArg::F_SETPIPE_SZ(super::PIPE_CAPACITY as i32));
    let pipe = quote(&pipe.to_string_lossy());
    let command = format!("exec <{pipe}; rm -f {pipe}; exec {command}");
    Ok((input, command))
}

/// A word for a shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
