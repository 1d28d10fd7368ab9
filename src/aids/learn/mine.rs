//! aids · The learner's folder, `mine/`: a package of its own. Nothing that is there is overwritten
//! or deleted unasked.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::course::{Lesson, failed, read, root};

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

/// A path in the folder.
pub fn mine(path: &str) -> PathBuf {
    root().join("mine").join(path)
}

/// Writes a new file. False if there is one already, which is left as it is.
pub fn write_new(path: &Path, text: &str) -> Result<bool, String> {
    let failed = failed(path, "written");
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(&failed)?;
    match File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    Ok(true)
}

impl Lesson {
    /// Copies one of its files there, and makes the folder a package, if it is not one yet. False if
    /// the file is there already.
    pub fn copy(&self, name: &str, to: &Path) -> Result<bool, String> {
        write_new(&mine("Cargo.toml"), include_str!("mine.toml"))?;
        write_new(&mine(".cargo/config.toml"), CONFIG)?;
        // The versions that the course was built with: Cargo need not ask for any.
        write_new(&mine("Cargo.lock"), &read(&root().join("Cargo.lock"))?)?;
        write_new(to, &read(&self.file(name))?)
    }

    /// Where the learner writes. Cargo finds it there by itself.
    pub fn own(&self) -> PathBuf {
        mine(&format!("tests/{}.rs", self.name))
    }

    /// What is remembered of the exercise.
    pub fn progress(&self) -> Progress {
        let text = fs::read_to_string(mine(".progress").join(&self.name));
        serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
    }

    /// Remembers something else.
    pub fn remember(&self, change: impl FnOnce(&mut Progress)) -> Result<(), String> {
        let (path, mut progress) = (mine(".progress").join(&self.name), self.progress());
        change(&mut progress);
        write_new(&path, "")?;
        let text = serde_json::to_string(&progress).unwrap_or_default();
        fs::write(&path, text).map_err(failed(&path, "written"))
    }
}
