//! foundation · A bell between processes: a named pipe. Whoever listens is woken, and looks at what
//! there is: the bell itself says nothing, and may ring once for several.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::caught::spawn;

/// Rings. Where nobody listens, or it rings already, nothing is to be done. Never blocks.
pub fn ring(path: &Path) {
    let _ = open(path, false).and_then(|mut bell| bell.write_all(b"!"));
}

/// Hangs it up, and calls `woken` whenever it rings, on a thread of its own.
///
/// # Errors
/// When there is no bell but something else, or no thread.
pub fn listen(path: &Path, woken: impl Fn() + Send + 'static) -> io::Result<()> {
    let _ = mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR); // or it hangs there
    let mut bell = open(path, true)?;
    let listen = move || {
        while bell.read(&mut [0; 4096]).is_ok() {
            woken();
        }
    };
    spawn("bell", listen).map(drop)
}

/// Opens what is a bell, and nothing else: a file that is there may be somebody's. Who listens has
/// it also for writing, so that it never ends.
fn open(path: &Path, listens: bool) -> io::Result<File> {
    let wait = [OFlag::O_NONBLOCK, OFlag::empty()][usize::from(listens)];
    let mut options = File::options();
    options.read(listens).write(true);
    options.custom_flags((OFlag::O_NOFOLLOW | wait).bits());
    let bell = options.open(path);
    let is_bell = |bell: &File| bell.metadata().is_ok_and(|it| it.file_type().is_fifo());
    bell.ok().filter(is_bell).ok_or_else(|| {
        let why = format!("{} is no named pipe of ours; remove it", path.display());
        io::Error::other(why)
    })
}
