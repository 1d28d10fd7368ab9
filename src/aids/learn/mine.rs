//! aids · The learner's folder, `mine/`: a package of its own. Nothing that is there is overwritten
//! or deleted unasked.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::course::{Lesson, read};

/// Lets Cargo build where the course is built, even when it is started in `mine/` by hand.
const CONFIG: &str = "[build]\ntarget-dir = \"../target\"\n";

/// What is remembered of an exercise, in a file of its own.
#[derive(Default, Serialize, Deserialize)]
pub struct Progress {
    /// Its check has passed, once at least.
    pub passed: bool,
    /// How many hints were shown.
    pub hints: usize,
}

/// The folder.
pub struct Mine(pub PathBuf);

/// Writes a new file. False if there is one already, which is left as it is.
fn write_new(path: &Path, text: &str) -> Result<bool, String> {
    let failed = |error| format!("{} cannot be written: {error}.", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    Ok(true)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}.", path.display()))
}

impl Mine {
    /// Makes the folder a package, if it is not one yet.
    fn make_package(&self) -> Result<(), String> {
        write_new(&self.0.join("Cargo.toml"), include_str!("mine.toml"))?;
        write_new(&self.0.join(".cargo/config.toml"), CONFIG)?;
        // The versions that the course was built with: Cargo need not ask for any.
        let versions = read(&self.0.join("../Cargo.lock"))?;
        write_new(&self.0.join("Cargo.lock"), &versions)?;
        Ok(())
    }

    /// What is remembered of an exercise.
    pub fn progress(&self, name: &str) -> Progress {
        let text = fs::read_to_string(self.0.join(".progress").join(name));
        serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
    }

    /// Remembers it.
    pub fn remember(&self, name: &str, progress: &Progress) -> Result<(), String> {
        let path = self.0.join(".progress").join(name);
        write_new(&path, "")?;
        write(&path, &serde_json::to_string(progress).unwrap_or_default())
    }

    /// Where the learner writes. Cargo finds it there by itself.
    pub fn exercise(&self, name: &str) -> PathBuf {
        self.0.join("tests").join(format!("{name}.rs"))
    }

    /// The exercises that are there, and when each was saved last.
    pub fn saved(&self) -> BTreeMap<PathBuf, SystemTime> {
        let entries = fs::read_dir(self.0.join("tests")).into_iter().flatten();
        let time = |entry: DirEntry| Some((entry.path(), entry.metadata().ok()?.modified().ok()?));
        let files = entries.flatten().filter_map(time);
        files
            .filter(|(path, _)| path.extension().is_some_and(|it| it == "rs"))
            .collect()
    }

    /// Copies the exercise there, if there is nothing yet. True if it was copied.
    pub fn prepare(&self, lesson: &Lesson) -> Result<bool, String> {
        let text = read(&lesson.file("exercise.rs"))?;
        self.make_package()?;
        write_new(&self.exercise(&lesson.name), &text)
    }

    /// Where the learner's text is kept when the exercise is reset: a name that is free, and that
    /// Cargo takes for no program.
    pub fn place_to_keep(&self, name: &str) -> PathBuf {
        let place = |number| self.exercise(name).with_extension(format!("rs.{number}"));
        let mut number = 1;
        while place(number).exists() {
            number += 1;
        }
        place(number)
    }

    /// The exercise as it was given. The learner's text goes to `kept`.
    pub fn reset(&self, lesson: &Lesson, kept: &Path) -> Result<(), String> {
        let path = self.exercise(&lesson.name);
        if !write_new(kept, &read(&path)?)? {
            return Err(format!("{} is there already.", kept.display()));
        }
        write(&path, &read(&lesson.file("exercise.rs"))?)?;
        self.remember(&lesson.name, &Progress::default())
    }

    /// The program of that name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join("examples").join(name).join("main.rs")
    }

    /// Copies a lesson's program, with the page that it reads its title from.
    pub fn copy_program(&self, lesson: &Lesson, name: &str) -> Result<PathBuf, String> {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_letter) {
            return Err(format!(
                "{name:?} is no name for a program. Begin with a letter, and use letters, digits, - and _."
            ));
        }
        let path = self.program(name);
        self.make_package()?;
        if !write_new(&path, &read(&lesson.file("main.rs"))?)? {
            let path = path.display();
            return Err(format!("{path} is there already. Choose another name."));
        }
        write_new(
            &path.with_file_name("README.md"),
            &read(&lesson.file("README.md"))?,
        )?;
        Ok(path)
    }
}
