//! foundation · A journal: a file of records, one a line, appended and never rewritten.
//!
//! Whoever writes it holds a lock on it. It is never unlinked: the kernel lets go of the lock when
//! that program ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A journal that is being written.
pub struct Journal {
    file: File,
    /// Where its last line ends.
    end: u64,
}

impl Journal {
    /// Holds a journal, and makes it if it is not there; only its owner may read it.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if another program holds it, or why it cannot be written.
    pub fn hold(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(Journal { file, end: 0 }), // where there are no locks, go on without
        }
    }

    /// Cuts off what follows the last whole line, which ends there. To be called before `append`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn cut(&mut self, end: u64) -> io::Result<()> {
        self.end = end;
        self.file.set_len(end)
    }

    /// Appends a record, in one write.
    ///
    /// # Errors
    /// When it cannot be written. Nothing of it stands there then.
    pub fn append(&mut self, record: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(record)? + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.inspect_err(|_| drop(self.file.set_len(self.end)))?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// Everything that was appended is on disk when this returns.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Shows each whole line to `each`, as a record or why it is none, until that says `false`. Returns
/// where the last of them ends, and if a line without an end follows.
///
/// # Errors
/// When the file cannot be read, or `each` fails.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(serde_json::Result<T>) -> io::Result<bool>,
) -> io::Result<(u64, bool)> {
    let (mut file, mut line, mut end) = (BufReader::new(File::open(path)?), Vec::new(), 0);
    while file.read_until(b'\n', &mut line)? > 0 {
        if !line.ends_with(b"\n") {
            return Ok((end, true));
        }
        end += line.len() as u64;
        if !each(serde_json::from_slice(&line))? {
            break;
        }
        line.clear();
    }
    Ok((end, false))
}
