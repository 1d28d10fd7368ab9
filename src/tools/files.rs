//! s02 · Files: read, write and edit text inside one folder.
//!
//! Links are followed before a path is judged, so a link that leads out of the folder is refused.
//! What is not promised: if another process swaps a folder for a link between the judgement and
//! the use, the use follows the link. And a command of `bash` can go wherever it likes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use serde_json::json;

use super::object;
use crate::screen::count;
use crate::tool::{Access, Context, Tool, ToolOutcome};

/// How much of a file is shown, in bytes.
pub const READ_LIMIT: u64 = 256 * 1024;
/// How large a file may be to be edited, in bytes.
pub const EDIT_LIMIT: u64 = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct ReadFile {
    path: String,
}

#[derive(Deserialize)]
struct WriteFile {
    path: String,
    content: String,
}

#[derive(Deserialize)]
struct EditFile {
    path: String,
    old_text: String,
    new_text: String,
}

/// `read_file`, `write_file` and `edit_file` in a folder; `.` is the folder of the call's context.
pub fn tools(root: impl Into<PathBuf>) -> [Tool; 3] {
    let root = root.into();
    let (reads, writes, edits) = (root.clone(), root.clone(), root);
    let path = json!({ "type": "string", "description": "relative to the working directory" });
    let text = json!({ "type": "string" });
    let read = json!({ "path": path });
    let write = json!({ "path": path, "content": text });
    let edit = json!({ "path": path, "old_text": text, "new_text": text });
    [
        Tool::new(
            "read_file",
            "Reads a text file (its first 256 KiB).",
            object(read, &["path"]),
            Access::Free,
            move |input, context| read_file(&within(context, &reads), &input),
        ),
        Tool::new(
            "write_file",
            "Writes a text file: a new one, or the whole of an old one. Makes missing folders.",
            object(write, &["path", "content"]),
            Access::Ask,
            move |input, context| write_file(&within(context, &writes), &input),
        ),
        Tool::new(
            "edit_file",
            "Replaces old_text, which must occur exactly once in the file, by new_text.",
            object(edit, &["path", "old_text", "new_text"]),
            Access::Ask,
            move |input, context| edit_file(&within(context, &edits), &input),
        ),
    ]
}

/// A relative root lies in the folder in which the caller works.
fn within(context: &Context, root: &Path) -> PathBuf {
    context.folder.path().join(root)
}

fn read_file(root: &Path, ReadFile { path }: &ReadFile) -> ToolOutcome {
    let real = resolve(root, path)?;
    let (mut text, rest) = read_text(&real, READ_LIMIT).map_err(failed("read", path))?;
    if text.is_empty() {
        return Ok(format!("({path} is empty)"));
    }
    if rest > 0 {
        let line = text.matches('\n').count() + 1;
        let sed = format!("sed -n {line},{}p", line + 200);
        text += &format!("\n… {rest} more bytes; use bash with {sed} to read further.");
    }
    Ok(text)
}

fn write_file(root: &Path, WriteFile { path, content }: &WriteFile) -> ToolOutcome {
    let real = resolve(root, path)?;
    let folder = real.parent().unwrap_or(root);
    let written = fs::create_dir_all(folder).and_then(|()| replace(&real, content));
    written.map_err(failed("written", path))?;
    let bytes = count(content.len() as u64, "byte");
    Ok(format!("wrote {bytes} to {path}"))
}

/// In a file whose lines all end in CRLF, so do those of both texts, however the model wrote them.
fn edit_file(root: &Path, edit: &EditFile) -> ToolOutcome {
    let path = &edit.path;
    if edit.old_text.is_empty() || edit.old_text == edit.new_text {
        return Err("old_text is empty, or the same as new_text, so nothing was changed. Give the text to replace; write_file makes a new file.".into());
    }
    let real = resolve(root, path)?;
    let (text, rest) = read_text(&real, EDIT_LIMIT).map_err(failed("read", path))?;
    if rest > 0 {
        return Err(format!(
            "{path} is too large to edit here (over 16 MiB). Use bash with sed."
        ));
    }
    let line_ends = text.matches('\n').count();
    let crlf = line_ends > 0 && line_ends == text.matches("\r\n").count();
    let [old, new] = [&edit.old_text, &edit.new_text].map(|text| match crlf {
        true => text.replace("\r\n", "\n").replace('\n', "\r\n"),
        false => text.clone(),
    });
    match (text.find(&old), text.rfind(&old)) {
        (None, _) => Err(format!(
            "old_text was not found in {path}, so nothing was changed. Read the file and copy the text exactly, white space included."
        )),
        (first, last) if first != last => Err(format!(
            "old_text occurs more than once in {path}, so nothing was changed. Add text around it until it fits one place only."
        )),
        _ => {
            replace(&real, &text.replacen(&old, &new, 1)).map_err(failed("written", path))?;
            Ok(format!("edited {path}"))
        }
    }
}

/// The real place of a path: links followed as far as it exists, and inside the root.
fn resolve(root: &Path, path: &str) -> Result<PathBuf, String> {
    let root = root.canonicalize();
    let root = root.map_err(failed("used", "the working directory"))?;
    let (mut existing, mut missing) = (root.join(path), Vec::new());
    // A link to nowhere is not missing: writing "through" it could land anywhere.
    while matches!(existing.try_exists(), Ok(false)) && !existing.is_symlink() {
        let Some(name) = existing.file_name() else {
            break;
        };
        missing.push(name.to_os_string());
        existing.pop();
    }
    let mut real = existing.canonicalize().map_err(failed("used", path))?;
    if !real.starts_with(&root) {
        return Err(format!(
            "{path} lies outside the working directory, and the file tools stay inside. Use a path relative to it."
        ));
    }
    let of_system = ["/proc", "/sys", "/dev"];
    if of_system.iter().any(|system| real.starts_with(system)) {
        return Err(format!(
            "{path} is the system's, and no file. Use bash if you need it."
        ));
    }
    real.extend(missing.into_iter().rev());
    Ok(real)
}

/// Makes an error into a sentence for the model: what could not be done, why, and what to do.
pub fn failed(what: &str, path: &str) -> impl Fn(io::Error) -> String {
    move |error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such file; `ls` with bash shows what there is",
            ErrorKind::IsADirectory => "it is a directory; list it with bash: ls",
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                "a part of its path is a file, not a folder; use another path, or move that file away"
            }
            ErrorKind::PermissionDenied => {
                "permission denied; use another file, or ask the user to allow it"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                "there is no room for it; what was there is unchanged; ask the user to free some space"
            }
            ErrorKind::InvalidData => &format!("{error}; try bash: file, xxd"),
            ErrorKind::Unsupported => &format!("{error}; use bash"),
            _ => &error.to_string(),
        };
        format!("{path} cannot be {what}: {why}.")
    }
}

/// Reads a text file, at most `limit` bytes of it; also says how many bytes it left out.
///
/// # Errors
/// When it cannot be read, is no regular file, or is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<(String, u64)> {
    let file = open_regular(path, OpenOptions::new().read(true))?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(size.min(limit) as usize + 64); // or it reads in bits
    file.take(limit).read_to_end(&mut bytes)?;
    let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let cut = if size > limit { 3 } else { 0 }; // The limit may fall inside a character.
    if text.len() + cut < bytes.len() {
        let at = text.len();
        let why = format!("it is not text (invalid UTF-8 after {at} bytes)");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let rest = size.saturating_sub(text.len() as u64);
    Ok((text.to_string(), rest))
}

/// Replaces a file as a whole or not at all: on every error the old content is intact, and the
/// temporary file beside it is gone. Permissions are kept, and a file that may not be written is
/// not replaced. A link is replaced itself, not its target.
///
/// What is not promised: owner, hard links, and that the new content survives a power cut.
///
/// # Errors
/// When the file cannot be written, or is no regular file.
pub fn replace(path: &Path, content: &str) -> io::Result<()> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let permissions = match open_regular(path, OpenOptions::new().write(true)) {
        Ok(old) => Some(old.metadata()?.permissions()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let (temp, mut file) = loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temp = path.with_file_name(format!(".{}-{count}.tmp", process::id()));
        match File::create_new(&temp) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // Left by a crash.
            file => break (temp, file?),
        }
    };
    let replaced = permissions
        .map_or(Ok(()), |permissions| file.set_permissions(permissions))
        .and_then(|()| file.write_all(content.as_bytes()))
        .and_then(|()| fs::rename(&temp, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&temp);
    }
    replaced
}

/// Makes a folder for files of ours, which are written unasked: not where a link leads.
///
/// # Errors
/// When it cannot be made, or is a symbolic link.
pub fn make_own_folder(path: &Path) -> io::Result<()> {
    if path.is_symlink() {
        return Err(io::Error::other("it is a symbolic link; remove the link"));
    }
    fs::create_dir_all(path)
}

/// Opens only what is a regular file: opening a FIFO may wait for ever.
fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        let why = "it is no regular file but a pipe, socket or device";
        return Err(io::Error::new(ErrorKind::Unsupported, why));
    }
    options.open(path)
}
