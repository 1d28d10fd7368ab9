//! aids · What a learner can ask for. An error is a sentence for them.

use std::ffi::OsString;
use std::fs;
use std::io::stdin;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::check::{build, check};
use crate::course::{Course, Lesson, failed, read};
use crate::mine::{Mine, Progress, write_new};
use crate::say;

/// How long to pause between two looks at the files of `mine/`.
const LOOK: Duration = Duration::from_millis(200);

type Answer = Result<(), String>;

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
    (count > 0).then(|| line.trim().to_lowercase())
}

impl Learner {
    /// Looks for the course.
    pub fn find() -> Self {
        let course = Course::find();
        let mine = Mine(course.root.join("mine"));
        Learner { course, mine }
    }

    /// The exercise of that name, or else the first that has not passed.
    fn exercise(&self, name: Option<&str>) -> Result<Lesson, String> {
        if let Some(name) = name {
            return self.course.lesson(name);
        }
        let mut exercises = self.course.exercises()?.into_iter();
        let next = exercises.find(|lesson| !self.mine.progress(lesson).passed);
        next.ok_or("All exercises have passed. Name the one that you mean.".to_string())
    }

    fn say_next(&self) {
        let Ok(lesson) = self.exercise(None) else {
            return say("All exercises have passed.");
        };
        let page = self.course.shown(&lesson.file("README.md"));
        let (title, check) = (lesson.title(), typed("check", &lesson));
        say(&format!("Next: {title}\n  read {page}\n  then {check}"));
    }

    /// What is done, and what is next.
    pub fn guide(&self) -> Answer {
        let exercises = self.course.exercises()?;
        let passed = exercises.iter().filter(|it| self.mine.progress(it).passed);
        let done: Vec<&str> = passed.map(|lesson| lesson.name.as_str()).collect();
        let (all, names) = (exercises.len(), done.join(", "));
        say(&match done.len() {
            0 => format!("{all} exercises, none of them done yet."),
            count => format!("{count} of {all} exercises done: {names}."),
        });
        self.say_next();
        say("`cargo run --bin learn help` says what else there is.");
        Ok(())
    }

    /// All exercises.
    pub fn list(&self) -> Answer {
        for lesson in self.course.exercises()? {
            let state = match self.mine.progress(&lesson).passed {
                true => "done",
                false if self.mine.exercise(&lesson).exists() => "begun",
                false => "-",
            };
            say(&format!("{state:<6} {}", lesson.title()));
        }
        Ok(())
    }

    /// Tests what is in `mine/`, and copies the exercise there first if nothing is.
    pub fn check(&self, name: Option<&str>) -> Answer {
        let lesson = self.exercise(name)?;
        let path = self.mine.exercise(&lesson);
        if self.mine.copy(&lesson, "exercise.rs", &path)? {
            let copied = "Your copy, to be changed and checked again:";
            say(&format!("{}\n\n{copied}", lesson.task()?));
        }
        say(&self.course.shown(&path));
        if !check(&self.mine.0, &lesson.name, &read(&path)?)? {
            return Err(format!("For a hint: {}", typed("hint", &lesson)));
        }
        let mut progress = self.mine.progress(&lesson);
        progress.passed = true;
        self.mine.remember(&lesson, &progress)?;
        let solution = typed("solution", &lesson);
        say(&format!("Done. Another solution: {solution}"));
        self.say_next();
        Ok(())
    }

    /// Checks whatever is saved, until the program is ended.
    pub fn watch(&self) -> Answer {
        say("Watching mine/: save a file there and it is checked. Ctrl+C ends this.");
        let saved = |lesson: Lesson| {
            let file = fs::metadata(self.mine.exercise(&lesson));
            (lesson.name, file.and_then(|file| file.modified()).ok())
        };
        let look = || -> Result<Vec<_>, String> {
            Ok(self.course.exercises()?.into_iter().map(saved).collect())
        };
        let mut seen = look()?;
        self.check_aloud(None);
        loop {
            let now = look()?;
            for file @ (name, time) in &now {
                // An editor may save in two steps, and in between there is no such file.
                if time.is_some() && !seen.contains(file) {
                    self.check_aloud(Some(name));
                }
            }
            seen = now;
            sleep(LOOK);
        }
    }

    fn check_aloud(&self, name: Option<&str>) {
        let why = self.check(name).err();
        say(&why.map_or(String::new(), |why| why + "\n"));
    }

    /// The next hint; after the last one, that one again.
    pub fn hint(&self, name: Option<&str>) -> Answer {
        let lesson = self.exercise(name)?;
        let (hints, mut progress) = (lesson.hints()?, self.mine.progress(&lesson));
        let (name, all) = (&lesson.name, hints.len());
        let at = progress.hints.min(all.saturating_sub(1));
        let hint = hints.get(at).ok_or(format!("{name} has no hints."))?;
        progress.hints = at + 1;
        say(&format!("Hint {} of {all} for {name}\n\n{hint}", at + 1));
        if progress.hints == all {
            let solution = typed("solution", &lesson);
            let last = "This is the last one. After it there is";
            say(&format!("\n{last} {solution} --give-up"));
        }
        self.mine.remember(&lesson, &progress)
    }

    /// Asks the questions of the page: Enter shows the answer.
    pub fn quiz(&self, name: Option<&str>) -> Answer {
        let lesson = self.exercise(name)?;
        let (name, questions) = (&lesson.name, lesson.questions()?);
        if questions.is_empty() {
            return Err(format!("The page of {name} asks no questions yet."));
        }
        for (number, (question, answer)) in (1..).zip(&questions) {
            say(&format!("{number} of {}: {question}", questions.len()));
            say("Say your answer aloud, then press Enter.");
            if line().is_none() {
                break;
            }
            say(&format!("{answer}\n"));
        }
        Ok(())
    }

    /// A solution of the course.
    pub fn solution(&self, name: &str, gives_up: bool) -> Answer {
        let lesson = self.course.lesson(name)?;
        let solution = read(&lesson.file("solution.rs"))?;
        if !gives_up && !self.mine.progress(&lesson).passed {
            let (hint, show) = (typed("hint", &lesson), typed("solution", &lesson));
            let ways = format!("For a hint: {hint}. To see a solution now: {show} --give-up");
            return Err(format!("{name} has not passed yet. {ways}"));
        }
        say(&solution);
        Ok(())
    }

    /// The exercise as it was given, if the person says yes.
    pub fn reset(&self, name: &str) -> Answer {
        let lesson = self.course.lesson(name)?;
        let (path, given) = (self.mine.exercise(&lesson), lesson.file("exercise.rs"));
        let shown = self.course.shown(&path);
        if self.mine.copy(&lesson, "exercise.rs", &path)? || read(&path)? == read(&given)? {
            say(&format!("{shown} is as it was given."));
            return Ok(());
        }
        // A name that Cargo takes for no program.
        let mut places = (1..).map(|number| path.with_extension(format!("rs.{number}")));
        let kept = places.find(|place| !place.exists()).unwrap_or_default();
        let place = self.course.shown(&kept);
        say(&format!("{shown} will be as it was given."));
        say(&format!(
            "Your text will be kept in {place}. Type y for yes:"
        ));
        if !matches!(line().as_deref(), Some("y" | "yes")) {
            return Err("Nothing was changed.".to_string());
        }
        if !write_new(&kept, &read(&path)?)? {
            return Err(format!("{place} is there already."));
        }
        fs::write(&path, read(&given)?).map_err(failed(&path, "written"))?;
        self.mine.remember(&lesson, &Progress::default())?;
        say("Done.");
        Ok(())
    }

    /// Copies the program of a lesson, with the page that it reads its title from.
    pub fn lesson(&self, name: &str, own: &str) -> Answer {
        let lesson = self.course.lesson(name)?;
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !own.starts_with(|c: char| c.is_ascii_alphabetic()) || !own.chars().all(is_letter) {
            let rule = "Begin with a letter, and use letters, digits, - and _.";
            return Err(format!("{own:?} is no name for a program. {rule}"));
        }
        let path = self.mine.program(own);
        if !self.mine.copy(&lesson, "main.rs", &path)? {
            let path = path.display();
            return Err(format!("{path} is there already. Choose another name."));
        }
        let page = path.with_file_name("README.md");
        self.mine.copy(&lesson, "README.md", &page)?;
        say(&format!("{} is yours now.", self.course.shown(&path)));
        say(&format!("To start it: cargo run --bin learn run {own}"));
        Ok(())
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
        Err(failed(&program, "started")(error))
    }
}
