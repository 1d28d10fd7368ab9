//! aids · What the course has for a learner: exercises, hints and questions, found by looking.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

/// A lesson, by its folder.
pub struct Lesson {
    /// The short name, such as `s08`.
    pub name: String,
    folder: PathBuf,
}

/// The folder of the course that Cargo runs this program for, or else that it was built from.
pub fn root() -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR");
    root.unwrap_or(env!("CARGO_MANIFEST_DIR").into()).into()
}

/// A path as it is shown: from the folder of the course on.
pub fn shown(path: &Path) -> String {
    let short = path.strip_prefix(root()).unwrap_or(path);
    short.display().to_string()
}

/// Makes a sentence of an error: what cannot be done with a file.
pub fn failed(path: &Path, what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("{} cannot be {what}: {error}.", path.display())
}

/// Reads a file; the error is a sentence.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(failed(path, "read"))
}

/// All lessons, in their order.
fn lessons() -> Result<Vec<Lesson>, String> {
    let folder = root().join("lessons");
    let entries = fs::read_dir(&folder).map_err(failed(&folder, "read"))?;
    let lesson = |entry: DirEntry| {
        let (full, folder) = (entry.file_name(), entry.path());
        let name = full.to_string_lossy().split('_').next()?.to_string();
        folder.is_dir().then_some(Lesson { name, folder })
    };
    let mut lessons: Vec<Lesson> = entries.flatten().filter_map(lesson).collect();
    lessons.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(lessons)
}

/// The lessons that have an exercise.
pub fn exercises() -> Result<Vec<Lesson>, String> {
    let mut lessons = lessons()?;
    lessons.retain(|lesson| lesson.file("exercise.rs").is_file());
    Ok(lessons)
}

impl Lesson {
    /// The lesson of that short name, or of that folder.
    pub fn find(name: &str) -> Result<Self, String> {
        let lessons = lessons()?;
        let names: Vec<_> = lessons.iter().map(|lesson| lesson.name.clone()).collect();
        let names = names.join(", ");
        let is_it = |lesson: &Lesson| lesson.name == name || lesson.folder.ends_with(name);
        let lesson = lessons.into_iter().find(is_it);
        lesson.ok_or(format!("There is no lesson {name:?}. There are: {names}."))
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The first line of its page, without the mark of a heading.
    pub fn title(&self) -> String {
        let page = read(&self.file("README.md")).unwrap_or_default();
        let title = page.lines().next().unwrap_or(&self.name);
        title.trim_start_matches('#').trim().to_string()
    }

    /// The sentences at the top of the exercise, which say what is to be done.
    pub fn task(&self) -> Result<String, String> {
        let exercise = read(&self.file("exercise.rs"))?;
        let lines = exercise.lines().map_while(|line| line.strip_prefix("//!"));
        Ok(lines.map(str::trim).collect::<Vec<_>>().join("\n"))
    }

    /// The hints, from a nudge to nearly the answer.
    pub fn hints(&self) -> Result<Vec<String>, String> {
        let text = read(&self.file("hints.md"))?;
        let hints = text.split("## Hint ").skip(1);
        let hints = hints.filter_map(|hint| hint.split_once('\n'));
        Ok(hints.map(|(_, hint)| paragraphs(hint)).collect())
    }

    /// The questions at the end of its page, each with its answer.
    pub fn questions(&self) -> Result<Vec<(String, String)>, String> {
        let page = read(&self.file("README.md"))?;
        let section = page.split("\n## Three questions\n").nth(1);
        let blocks = section.unwrap_or_default().split("<summary>").skip(1);
        let question = |block: &str| {
            let (question, rest) = block.split_once("</summary>")?;
            let answer = rest.split("</details>").next()?;
            let question = question.replace("<code>", "`").replace("</code>", "`");
            Some((question.trim().to_string(), paragraphs(answer)))
        };
        Ok(blocks.filter_map(question).collect())
    }
}

/// A piece of a page with one line for each paragraph; code stays as it is.
fn paragraphs(text: &str) -> String {
    let join = |part: &str| match part.starts_with("```") {
        true => part.to_string(),
        false => part.replace('\n', " "),
    };
    let parts: Vec<String> = text.trim().split("\n\n").map(join).collect();
    parts.join("\n\n")
}
