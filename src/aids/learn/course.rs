//! aids · What the course has for a learner: exercises, hints and questions, found by looking.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the course.
pub struct Course {
    pub root: PathBuf,
}

/// A lesson, by its folder.
pub struct Lesson {
    /// The short name, such as `s08`.
    pub name: String,
    folder: PathBuf,
}

/// Reads a file; the error is a sentence.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}.", path.display()))
}

impl Course {
    /// The course around the current directory, or else the one that this program was built from.
    pub fn find() -> Self {
        let here = std::env::current_dir().unwrap_or_default();
        let is_course =
            |folder: &&Path| folder.join("Cargo.toml").is_file() && folder.join("lessons").is_dir();
        let root = here.ancestors().find(is_course);
        let root = root.unwrap_or(Path::new(env!("CARGO_MANIFEST_DIR")));
        Course { root: root.into() }
    }

    /// A path as it is shown: from the folder of the course on.
    pub fn shown(&self, path: &Path) -> String {
        let short = path.strip_prefix(&self.root).unwrap_or(path);
        short.display().to_string()
    }

    /// All lessons, in their order.
    pub fn lessons(&self) -> Result<Vec<Lesson>, String> {
        let folder = self.root.join("lessons");
        let failed = |error| format!("{} cannot be read: {error}.", folder.display());
        let mut lessons = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)?.flatten() {
            let full = entry.file_name().to_string_lossy().into_owned();
            let name = full.split('_').next().unwrap_or_default().to_string();
            let folder = entry.path();
            if folder.is_dir() {
                lessons.push(Lesson { name, folder });
            }
        }
        lessons.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(lessons)
    }

    /// The lessons that have an exercise.
    pub fn exercises(&self) -> Result<Vec<Lesson>, String> {
        let mut lessons = self.lessons()?;
        lessons.retain(|lesson| lesson.file("exercise.rs").is_file());
        Ok(lessons)
    }

    /// The lesson of that short name, or of that folder.
    pub fn lesson(&self, name: &str) -> Result<Lesson, String> {
        let mut lessons = self.lessons()?;
        let is_it = |lesson: &Lesson| lesson.name == name || lesson.folder.ends_with(name);
        match lessons.iter().position(is_it) {
            Some(at) => Ok(lessons.swap_remove(at)),
            None => {
                let names: Vec<_> = lessons.into_iter().map(|lesson| lesson.name).collect();
                let names = names.join(", ");
                Err(format!("There is no lesson {name:?}. There are: {names}."))
            }
        }
    }
}

impl Lesson {
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
        Ok(hints
            .map(|hint| hint.split_once('\n').unwrap_or_default().1.trim().into())
            .collect())
    }

    /// The questions at the end of its page, each with its answer.
    pub fn questions(&self) -> Result<Vec<(String, String)>, String> {
        let page = read(&self.file("README.md"))?;
        let section = page.split("\n## Three questions\n").nth(1);
        let section = section.and_then(|rest| rest.split("\n## ").next());
        let blocks = section.unwrap_or_default().split("<summary>").skip(1);
        let question = |block: &str| {
            let (question, rest) = block.split_once("</summary>")?;
            let answer = rest.split("</details>").next()?;
            Some((question.trim().to_string(), answer.trim().to_string()))
        };
        Ok(blocks.filter_map(question).collect())
    }
}
