//! aids · The learner's folder, `mine/`: a package of its own. Nothing that is there is overwritten
//! or deleted unasked.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::course::{Lesson, failed, read};

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
pub fn write_new(path: &Path, text: &str) -> Result<bool, String> {
    let failed = failed(path, "written");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(&failed)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    Ok(true)
}

impl Mine {
    /// Makes the folder a package, if it is not one yet, and copies one of the lesson's files there.
    /// False if the file is there already.
    pub fn copy(&self, lesson: &Lesson, name: &str, to: &Path) -> Result<bool, String> {
        let text = read(&lesson.file(name))?;
        write_new(&self.0.join("Cargo.toml"), include_str!("mine.toml"))?;
        write_new(&self.0.join(".cargo/config.toml"), CONFIG)?;
        // The versions that the course was built with: Cargo need not ask for any.
        let versions = read(&self.0.join("../Cargo.lock"))?;
        write_new(&self.0.join("Cargo.lock"), &versions)?;
        write_new(to, &text)
    }

    /// What is remembered of an exercise.
    pub fn progress(&self, lesson: &Lesson) -> Progress {
        let text = fs::read_to_string(self.0.join(".progress").join(&lesson.name));
        serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
    }

    /// Remembers it.
    pub fn remember(&self, lesson: &Lesson, progress: &Progress) -> Result<(), String> {
        let path = self.0.join(".progress").join(&lesson.name);
        write_new(&path, "")?;
        let text = serde_json::to_string(progress).unwrap_or_default();
        fs::write(&path, text).map_err(failed(&path, "written"))
    }

    /// Where the learner writes. Cargo finds it there by itself.
    pub fn exercise(&self, lesson: &Lesson) -> PathBuf {
        self.0.join("tests").join(format!("{}.rs", lesson.name))
    }

    /// The program of that name, likewise.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join("examples").join(name).join("main.rs")
    }
}
