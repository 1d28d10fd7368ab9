//! foundation · A bell between processes: a named pipe. Whoever listens is woken, and looks at what
//! there is: the bell itself says nothing, and may ring once for several.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// Rings. Where nobody listens, or it rings already, nothing is to be done. Never blocks.
pub fn ring(path: &Path) {
    let mut options = File::options();
    options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let _ = options.open(path).and_then(|mut bell| bell.write_all(b"!"));
}

/// Hangs it up, and calls `woken` whenever it rings, on a thread of its own.
///
/// # Errors
/// When there is no bell, or no thread.
pub fn listen(path: &Path, woken: impl Fn() + Send + 'static) -> io::Result<()> {
    let _ = mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR); // or it hangs there
    // Also for writing, so that it never ends.
    let mut bell = File::options().read(true).write(true).open(path)?;
    let listen = move || {
        while bell.read(&mut [0; 4096]).is_ok() {
            woken();
        }
    };
    let thread = thread::Builder::new().name("bell".into());
    thread.spawn(listen).map(drop)
}
