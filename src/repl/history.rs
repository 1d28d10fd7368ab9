//! foundation · The file in which typed lines are kept from one program to the next.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// In bytes; the editor keeps a hundred lines.
const MAX_HISTORY: u64 = 1 << 20;

/// A file that the program keeps for its user, whatever folder it runs in.
pub fn state_file(name: &str) -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let folder = state.or_else(home)?;
    Some(folder.join("meanwhile").join(name))
}

/// Finds what cannot be a history: it would be drawn raw, fill the memory, or never be read.
pub fn check_history(path: &Path) -> io::Result<()> {
    let file = fs::metadata(path)?;
    if !file.is_file() || file.len() > MAX_HISTORY {
        return Err(io::Error::other("it is no regular file of at most 1 MB"));
    }
    if fs::read_to_string(path)?.contains(is_control) {
        return Err(io::Error::other("it holds control characters"));
    }
    Ok(())
}

/// What would be drawn raw.
pub fn is_control(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}
