//! s04 · Markdown files with a head: `key: value` lines between two lines of `---`. Agents and
//! skills are such files. This reads the part of YAML that they use, not more.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The longest file that is read. What is longer fills the context that it should save.
pub const MAX_KIB: u64 = 64;

/// One file, read.
#[allow(missing_docs)]
pub struct Document {
    pub name: String,
    pub description: String,
    pub tools: Option<String>,
    pub body: String,
}

/// Reads one file. The error is a sentence that begins with the path.
pub fn read(path: &Path) -> Result<Document, String> {
    let text = match fs::metadata(path) {
        Ok(file) if !file.is_file() => Err("not a file; put a Markdown file in its place".into()),
        Ok(file) if file.len() > MAX_KIB * 1024 => {
            Err(format!("longer than {MAX_KIB} KiB; shorten it"))
        }
        _ => fs::read_to_string(path)
            .map_err(|error| format!("{error}; put a Markdown file in its place that can be read")),
    };
    text.and_then(|text| parse(&text))
        .map_err(|why| format!("{}: {why}.", path.display()))
}

/// Reads the text of a file. The error says what to add.
pub fn parse(text: &str) -> Result<Document, String> {
    let text = text.trim_start_matches('\u{feff}').replace('\r', "") + "\n";
    let rest = text.strip_prefix("---\n");
    let parts = rest.and_then(|rest| rest.split_once("\n---\n"));
    let (head, body) = parts.unwrap_or_default();
    let need = |key: &str| {
        let begin = "begin it with the lines ---, name: …, description: …, ---";
        value(head, key).ok_or_else(|| format!("no `{key}` in front; {begin}"))
    };
    Ok(Document {
        name: need("name")?,
        description: need("description")?,
        tools: value(head, "tools"),
        body: body.trim().to_string(),
    })
}

/// The value of a key, unless it is empty. It may be quoted, and may go on in indented lines, as
/// text or as a list.
fn value(head: &str, key: &str) -> Option<String> {
    const AROUND: [char; 6] = [' ', '"', '\'', '>', '|', '-'];
    let is_other = |line: &&str| line.split(':').next() != Some(key);
    let mut lines = head.lines().skip_while(is_other);
    let (_, first) = lines.next()?.split_once(':')?;
    let mut value = first.trim_matches(AROUND).to_string();
    for line in lines.take_while(|line| line.starts_with([' ', '-'])) {
        value = value + " " + line.trim_matches(AROUND);
    }
    Some(value.trim_matches(AROUND).to_string()).filter(|value| !value.is_empty())
}

/// The entries of a folder, sorted. A folder that is not there has none.
pub fn entries(dir: &Path, problems: &mut Vec<String>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    match fs::read_dir(dir) {
        Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => problems.push(format!(
            "{}: {error}; put a folder in its place that can be read.",
            dir.display()
        )),
    }
    paths.sort();
    paths
}
