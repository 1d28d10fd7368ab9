//! foundation · A bell between processes: a named pipe. Whoever listens is woken, and looks at what
//! there is: the bell itself says nothing, and may ring once for several.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// Hangs it up, unless it hangs there.
///
/// # Errors
/// When it cannot be made.
pub fn hang(path: &Path) -> io::Result<()> {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Rings. Where nobody listens, or it rings already, nothing is to be done. Never blocks.
pub fn ring(path: &Path) {
    let mut options = File::options();
    options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let _ = options.open(path).and_then(|mut bell| bell.write_all(b"!"));
}

/// Calls `woken` whenever it rings, on a thread of its own.
///
/// # Errors
/// When there is no bell, or no thread.
pub fn listen(path: &Path, woken: impl Fn() + Send + 'static) -> io::Result<()> {
    // Also for writing, so that it never ends.
    let mut bell = File::options().read(true).write(true).open(path)?;
    let listen = move || {
        while bell.read(&mut [0; 4096]).is_ok() {
            woken();
        }
    };
    let thread = thread::Builder::new().name("bell".to_string());
    thread.spawn(listen).map(drop)
}
