//! foundation · A journal: a file of records, one a line, appended and never rewritten.
//!
//! Whoever writes it holds it.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::held::Held;

/// A journal that is being written.
pub struct Journal(Held);

/// How much of a journal was read.
#[derive(Default)]
pub struct Extent {
    /// How many whole lines, those that are no record included.
    pub lines: usize,
    /// Where the last of them ends.
    pub end: u64,
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
}

impl Journal {
    /// Holds a journal, and makes it if it is not there, in a folder that is; only its owner may
    /// read it. `None` if another program holds it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn hold(path: &Path) -> io::Result<Option<Self>> {
        let (mut options, is_new) = (OpenOptions::new(), !path.exists());
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        if let Some(folder) = path.parent().filter(|_| is_new) {
            File::open(folder)?.sync_all()?; // or its name could be lost
        }
        Ok(Held::new(file).ok().map(Journal))
    }

    /// Cuts off what follows the last whole line, which ends there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn cut(&self, end: u64) -> io::Result<()> {
        self.0.set_len(end)
    }

    /// Appends a record, in one write.
    ///
    /// # Errors
    /// When it cannot be written. Nothing of it stands there then.
    pub fn append(&self, record: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(record)? + "\n";
        let end = self.0.metadata()?.len();
        let written = (&*self.0).write_all(line.as_bytes());
        written.inspect_err(|_| drop(self.cut(end)))
    }

    /// Everything that was appended is on disk when this returns.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Gives so many lines to `each`. A line that is no record is skipped.
///
/// # Errors
/// When the file cannot be read, or `each` fails.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    most: usize,
    mut each: impl FnMut(T) -> io::Result<()>,
) -> io::Result<Extent> {
    if path.exists() && !path.is_file() {
        return Err(io::Error::other("it is no regular file")); // to open a pipe may take for ever
    }
    let (mut file, mut line) = (BufReader::new(File::open(path)?), Vec::new());
    let mut read = Extent::default();
    while read.lines < most && file.read_until(b'\n', &mut line)? > 0 {
        let name = path.display();
        if !line.ends_with(b"\n") {
            let torn = format!("The last line of {name} was torn, and is dropped.");
            read.problems.push(torn);
            break;
        }
        read.lines += 1;
        read.end += line.len() as u64;
        match serde_json::from_slice(&line) {
            Ok(record) => each(record)?,
            Err(why) => {
                let skipped = format!("Line {} of {name} is skipped: {why}.", read.lines);
                read.problems.push(skipped);
            }
        }
        line.clear();
    }
    Ok(read)
}

/// A name of eight letters that no other has. From k on, so that it is never taken for a number.
pub fn new_name() -> String {
    let mut random = RandomState::new().build_hasher().finish();
    let letter = |_| {
        random /= 16;
        char::from(b'k' + (random % 16) as u8)
    };
    (0..8).map(letter).collect()
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}
