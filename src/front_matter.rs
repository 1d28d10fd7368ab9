//! s04 · Markdown files with a head: `key: value` lines between two lines of `---`. Agents and
//! skills are such files. This reads the part of YAML that they use, not more.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::tools::files::read_text;

/// The longest file that is read. What is longer fills the context that it should save.
pub const MAX_KIB: u64 = 64;

/// Where a document is read.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Source {
    BuiltIn(&'static str),
    File(PathBuf),
}

/// One document, read.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Document {
    pub name: String,
    pub description: String,
    pub tools: Option<String>,
    pub body: String,
    /// Where to read it again.
    pub source: Source,
}

impl Source {
    /// Reads the document. The error is a sentence; that about a file begins with the path.
    pub fn read(&self) -> Result<Document, String> {
        let path = match self {
            Source::BuiltIn(text) => return parse(text, self),
            Source::File(path) => path,
        };
        let text = match read_text(path, MAX_KIB * 1024) {
            Ok((text, 0)) => Ok(text),
            Ok(_) => Err(format!("longer than {MAX_KIB} KiB; shorten it")),
            Err(why) => Err(format!("{why}; put a Markdown file in its place")),
        };
        text.and_then(|text| parse(&text, self))
            .map_err(|why| format!("{}: {why}.", path.display()))
    }
}

/// Reads the built-in documents and the files in a folder; `file` says which file of an entry. A file
/// takes the place of a document of the same name. Never fails: there is a sentence for each file
/// that cannot be used. A folder that is not there has none.
pub fn load(
    built_in: &[&'static str],
    dir: &Path,
    file: impl Fn(PathBuf) -> Option<PathBuf>,
) -> (Vec<Document>, Vec<String>) {
    let (mut list, mut problems, mut paths) = (Vec::<Document>::new(), Vec::new(), Vec::new());
    match fs::read_dir(dir) {
        Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => problems.push(format!(
            "{}: {error}; put a folder in its place that can be read.",
            dir.display()
        )),
    }
    paths.sort();
    let built_in = built_in.iter().map(|text| Source::BuiltIn(text));
    let files = paths.into_iter().filter_map(file).map(Source::File);
    for source in built_in.chain(files) {
        match source.read() {
            Ok(document) => {
                list.retain(|old| old.name != document.name);
                list.push(document);
            }
            Err(why) => problems.push(why),
        }
    }
    (list, problems)
}

/// Finds a document by its name; the error says what it would be, and lists the names.
pub fn find<'a>(list: &'a [Document], what: &str, name: &str) -> Result<&'a Document, String> {
    list.iter().find(|it| it.name == name).ok_or_else(|| {
        let names: Vec<&str> = list.iter().map(|it| &*it.name).collect();
        let all = names.join(", ");
        format!("there is no {what} {name:?}. The {what}s are: {all}.")
    })
}

/// Reads the text of a document. The error says what to add.
fn parse(text: &str, source: &Source) -> Result<Document, String> {
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
        source: source.clone(),
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
