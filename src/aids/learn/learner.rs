//! aids · What a learner can ask for. Each answer is `true` if it is a good one.

use std::ffi::OsString;
use std::io::stdin;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::check::{build, check};
use crate::course::{Course, Lesson, read};
use crate::mine::Mine;
use crate::{say, say_aside};

/// How long to pause between two looks at the files of `mine/`.
const LOOK: Duration = Duration::from_millis(200);

type Answer = Result<bool, String>;

/// The course, and the learner's part of it.
pub struct Learner {
    course: Course,
    mine: Mine,
}

/// How to type a command of this program.
fn typed(command: &str, lesson: &Lesson) -> String {
    format!("cargo run --bin learn {command} {}", lesson.name)
}

/// What was typed, if anything was.
fn line() -> Option<String> {
    let mut line = String::new();
    let count = stdin().read_line(&mut line).ok()?;
    (count > 0).then(|| line.trim().to_string())
}

impl Learner {
    /// Looks for the course.
    pub fn find() -> Self {
        let course = Course::find();
        let mine = Mine(course.root.join("mine"));
        Learner { course, mine }
    }

    /// The exercise of that name, or else the first that has not passed.
    fn exercise(&self, name: Option<&&str>) -> Result<Lesson, String> {
        if let Some(name) = name {
            return self.course.lesson(name);
        }
        let mut exercises = self.course.exercises()?.into_iter();
        let next = exercises.find(|it| !self.mine.progress(&it.name).passed);
        next.ok_or("All exercises have passed. Name the one that you mean.".to_string())
    }

    fn say_next(&self) {
        let Ok(lesson) = self.exercise(None) else {
            return say("All exercises have passed.");
        };
        say(&format!("Next: {}", lesson.title()));
        let page = self.course.shown(&lesson.file("README.md"));
        say(&format!("  read {page}"));
        say(&format!("  then {}", typed("check", &lesson)));
    }

    /// What is done, and what is next.
    pub fn guide(&self) -> Answer {
        let exercises = self.course.exercises()?;
        let names = exercises.iter().map(|lesson| lesson.name.as_str());
        let done: Vec<&str> = names
            .filter(|name| self.mine.progress(name).passed)
            .collect();
        say(&match done.len() {
            0 => format!("{} exercises, none of them done yet.", exercises.len()),
            count => format!(
                "{count} of {} exercises done: {}.",
                exercises.len(),
                done.join(", ")
            ),
        });
        self.say_next();
        say("`cargo run --bin learn help` says what else there is.");
        Ok(true)
    }

    /// All exercises.
    pub fn list(&self) -> Answer {
        for lesson in self.course.exercises()? {
            let begun = self.mine.exercise(&lesson.name).exists();
            let state = match self.mine.progress(&lesson.name).passed {
                true => "done",
                false if begun => "begun",
                false => "-",
            };
            say(&format!("{state:<6} {}", lesson.title()));
        }
        Ok(true)
    }

    /// Tests what is in `mine/`, and copies the exercise there first if nothing is.
    pub fn check(&self, name: Option<&&str>) -> Answer {
        let lesson = self.exercise(name)?;
        let path = self.mine.exercise(&lesson.name);
        if self.mine.prepare(&lesson)? {
            say(&format!("{}\n", lesson.task()?));
            say("Your copy, to be changed and checked again:");
        }
        say(&self.course.shown(&path));
        let passed = check(&self.mine.0, &lesson.name, &read(&path)?)?;
        if !passed {
            say(&format!("For a hint: {}", typed("hint", &lesson)));
            return Ok(false);
        }
        let mut progress = self.mine.progress(&lesson.name);
        progress.passed = true;
        self.mine.remember(&lesson.name, &progress)?;
        say(&format!(
            "Done. Another solution: {}",
            typed("solution", &lesson)
        ));
        self.say_next();
        Ok(true)
    }

    /// Checks whatever is saved, until the program is ended.
    pub fn watch(&self) -> Answer {
        say("Watching mine/: save a file there and it is checked. Ctrl+C ends this.");
        let mut seen = self.mine.saved();
        self.check_aloud(None);
        loop {
            let now = self.mine.saved();
            // An editor may save in two steps, and in between there is no such file.
            for (path, _) in now
                .iter()
                .filter(|(path, time)| seen.get(*path) != Some(time))
            {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                if self.course.lesson(&name).is_ok() {
                    self.check_aloud(Some(&&*name));
                }
            }
            seen = now;
            sleep(LOOK);
        }
    }

    fn check_aloud(&self, name: Option<&&str>) {
        if let Err(why) = self.check(name) {
            say_aside(&why);
        }
        say("");
    }

    /// The next hint; after the last one, that one again.
    pub fn hint(&self, name: Option<&&str>) -> Answer {
        let lesson = self.exercise(name)?;
        let hints = lesson.hints()?;
        let mut progress = self.mine.progress(&lesson.name);
        progress.hints = hints.len().min(progress.hints + 1);
        let (number, all) = (progress.hints, hints.len());
        let hint = hints.get(number.saturating_sub(1));
        let hint = hint.ok_or(format!("{} has no hints.", lesson.name))?;
        say(&format!(
            "Hint {number} of {all} for {}\n\n{hint}",
            lesson.name
        ));
        if number == all {
            let give_up = typed("solution", &lesson);
            say(&format!(
                "\nThis is the last one. After it there is {give_up} --give-up"
            ));
        }
        self.mine.remember(&lesson.name, &progress)?;
        Ok(true)
    }

    /// Asks the questions of the page: Enter shows the answer.
    pub fn quiz(&self, name: Option<&&str>) -> Answer {
        let lesson = self.exercise(name)?;
        let questions = lesson.questions()?;
        for (number, (question, answer)) in (1..).zip(&questions) {
            say(&format!("{number} of {}: {question}", questions.len()));
            say("Say your answer aloud, then press Enter.");
            if line().is_none() {
                return Ok(true);
            }
            say(&format!("{answer}\n"));
        }
        match questions.is_empty() {
            true => Err(format!(
                "The page of {} asks no questions yet.",
                lesson.name
            )),
            false => Ok(true),
        }
    }

    /// A solution of the course.
    pub fn solution(&self, name: &str, gives_up: bool) -> Answer {
        let lesson = self.course.lesson(name)?;
        let solution = read(&lesson.file("solution.rs"))?;
        if !gives_up && !self.mine.progress(&lesson.name).passed {
            let (hint, show) = (typed("hint", &lesson), typed("solution", &lesson));
            return Err(format!(
                "{name} has not passed yet. For a hint: {hint}. To see a solution now: {show} --give-up"
            ));
        }
        say(&solution);
        Ok(true)
    }

    /// The exercise as it was given, if the person says yes.
    pub fn reset(&self, name: &str) -> Answer {
        let lesson = self.course.lesson(name)?;
        let path = self.mine.exercise(&lesson.name);
        if self.mine.prepare(&lesson)? || read(&path)? == read(&lesson.file("exercise.rs"))? {
            say(&format!("{} is as it was given.", self.course.shown(&path)));
            return Ok(true);
        }
        let kept = self.mine.place_to_keep(&lesson.name);
        let (path, place) = (self.course.shown(&path), self.course.shown(&kept));
        say(&format!("{path} will be as it was given."));
        say(&format!(
            "Your text will be kept in {place}. Type y for yes:"
        ));
        if !line().is_some_and(|line| ["y", "yes"].contains(&line.to_lowercase().as_str())) {
            say("Nothing was changed.");
            return Ok(false);
        }
        self.mine.reset(&lesson, &kept)?;
        say("Done.");
        Ok(true)
    }

    /// Copies the program of a lesson.
    pub fn copy(&self, name: &str, own: &str) -> Answer {
        let lesson = self.course.lesson(name)?;
        let path = self.mine.copy_program(&lesson, own)?;
        say(&format!("{} is yours now.", self.course.shown(&path)));
        say(&format!("To start it: cargo run --bin learn run {own}"));
        Ok(true)
    }

    /// Becomes the learner's program, in the folder where it was called.
    pub fn run(&self, own: &str, options: &[OsString]) -> Answer {
        let path = self.mine.program(own);
        if !path.is_file() {
            let path = self.course.shown(&path);
            let make = "To make it: cargo run --bin learn lesson s08 as";
            return Err(format!("There is no {path}. {make} {own}"));
        }
        let program = build(&self.mine.0, &["build", "--example", own])?;
        let error = Command::new(&program).args(options).exec();
        Err(format!("{} cannot be started: {error}.", program.display()))
    }
}
