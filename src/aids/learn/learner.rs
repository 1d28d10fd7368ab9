//! aids · What a learner can ask for. An error is a sentence for them.

use std::ffi::OsString;
use std::fs;
use std::io::stdin;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::check::{self, build};
use crate::course::{Lesson, exercises, failed, read, shown};
use crate::mine::{Progress, mine, write_new};
use crate::say;

/// How long to pause between two looks at the files of `mine/`.
const LOOK: Duration = Duration::from_millis(200);

type Answer = Result<(), String>;

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

/// The exercise of that name, or else the first that has not passed.
fn exercise(name: Option<&str>) -> Result<Lesson, String> {
    if let Some(name) = name {
        return Lesson::find(name);
    }
    let next = exercises()?.into_iter().find(|it| !it.progress().passed);
    next.ok_or("All exercises have passed. Name the one that you mean.".to_string())
}

fn say_next() {
    let Ok(lesson) = exercise(None) else {
        return say("All exercises have passed.");
    };
    let (title, page) = (lesson.title(), shown(&lesson.file("README.md")));
    let check = typed("check", &lesson);
    say(&format!("Next: {title}\n  read {page}\n  then {check}"));
}

/// What is done, and what is next.
pub fn guide() -> Answer {
    let exercises = exercises()?;
    let passed = exercises.iter().filter(|it| it.progress().passed);
    let done: Vec<&str> = passed.map(|lesson| lesson.name.as_str()).collect();
    let (all, names) = (exercises.len(), done.join(", "));
    say(&match done.len() {
        0 => format!("{all} exercises, none of them done yet."),
        count => format!("{count} of {all} exercises done: {names}."),
    });
    say_next();
    say("`cargo run --bin learn help` says what else there is.");
    Ok(())
}

/// All exercises.
pub fn list() -> Answer {
    for lesson in exercises()? {
        let state = match lesson.progress().passed {
            true => "done",
            false if lesson.own().exists() => "begun",
            false => "-",
        };
        say(&format!("{state:<6} {}", lesson.title()));
    }
    Ok(())
}

/// Tests what is in `mine/`, and copies the exercise there first if nothing is.
pub fn check(name: Option<&str>) -> Answer {
    let lesson = exercise(name)?;
    let own = lesson.own();
    if lesson.copy("exercise.rs", &own)? {
        let copied = "Your copy, to be changed and checked again:";
        say(&format!("{}\n\n{copied}", lesson.task()?));
    }
    say(&shown(&own));
    if !check::passes(&lesson.name, &read(&own)?)? {
        return Err(format!("For a hint: {}", typed("hint", &lesson)));
    }
    lesson.remember(|progress| progress.passed = true)?;
    let [solution, quiz] = ["solution", "quiz"].map(|command| typed(command, &lesson));
    say(&format!("Done. Three questions: {quiz}"));
    say(&format!("Another solution: {solution}"));
    say_next();
    Ok(())
}

/// Checks whatever is saved, until the program is ended.
pub fn watch() -> Answer {
    say("Watching mine/: save a file there and it is checked. Ctrl+C ends this.");
    let check = |name: Option<&str>| {
        let why = check(name).err();
        say(&why.map_or(String::new(), |why| why + "\n"));
    };
    let saved = |lesson: Lesson| {
        let saved = fs::metadata(lesson.own()).and_then(|file| file.modified());
        (lesson.name, saved.ok())
    };
    let mut seen: Vec<_> = exercises()?.into_iter().map(saved).collect();
    check(None);
    loop {
        let now: Vec<_> = exercises()?.into_iter().map(saved).collect();
        for file @ (name, saved) in &now {
            // An editor may save in two steps, and in between there is no such file.
            if saved.is_some() && !seen.contains(file) {
                check(Some(name));
            }
        }
        seen = now;
        sleep(LOOK);
    }
}

/// The next hint; after the last one, that one again.
pub fn hint(name: Option<&str>) -> Answer {
    let lesson = exercise(name)?;
    let (name, hints) = (&lesson.name, lesson.hints()?);
    let (shown, all) = (lesson.progress().hints, hints.len());
    let number = all.min(shown + 1);
    let hint = hints.get(number.wrapping_sub(1));
    let hint = hint.ok_or(format!("{name} has no hints."))?;
    say(&format!("Hint {number} of {all} for {name}\n\n{hint}"));
    if number == all {
        let solution = typed("solution", &lesson);
        let flag = if lesson.progress().passed {
            ""
        } else {
            " --give-up"
        };
        let last = "This is the last one. After it there is";
        say(&format!("\n{last} {solution}{flag}"));
    }
    lesson.remember(|progress| progress.hints = number)
}

/// Asks the questions of the page: Enter shows the answer.
pub fn quiz(name: Option<&str>) -> Answer {
    let lesson = exercise(name)?;
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
pub fn solution(name: &str, gives_up: bool) -> Answer {
    let lesson = Lesson::find(name)?;
    let solution = read(&lesson.file("solution.rs"))?;
    if !gives_up && !lesson.progress().passed {
        let (hint, show) = (typed("hint", &lesson), typed("solution", &lesson));
        let ways = format!("For a hint: {hint}. To see a solution now: {show} --give-up");
        return Err(format!("{name} has not passed yet. {ways}"));
    }
    say(&solution);
    Ok(())
}

/// The exercise as it was given, if the person says yes.
pub fn reset(name: &str) -> Answer {
    let lesson = Lesson::find(name)?;
    let (own, given) = (lesson.own(), lesson.file("exercise.rs"));
    let name = shown(&own);
    if lesson.copy("exercise.rs", &own)? || read(&own)? == read(&given)? {
        say(&format!("{name} is as it was given."));
        return Ok(());
    }
    // A name that is free, and that Cargo takes for no program.
    let mut places = (1..).map(|number| own.with_extension(format!("rs.{number}")));
    let kept = places.find(|place| !place.exists()).unwrap_or_default();
    let place = shown(&kept);
    say(&format!("{name} will be as it was given."));
    say(&format!(
        "Your text will be kept in {place}. Type y for yes:"
    ));
    if !matches!(line().as_deref(), Some("y" | "yes")) {
        return Err("Nothing was changed.".to_string());
    }
    if !write_new(&kept, &read(&own)?)? {
        return Err(format!("{place} is there already."));
    }
    fs::write(&own, read(&given)?).map_err(failed(&own, "written"))?;
    lesson.remember(|progress| *progress = Progress::default())?;
    say("Done.");
    Ok(())
}

/// Where Cargo finds a program of the learner's.
fn program(own: &str) -> PathBuf {
    mine(&format!("examples/{own}/main.rs"))
}

/// Copies the program of a lesson, with the page that it reads its title from.
pub fn lesson(name: &str, own: &str) -> Answer {
    let lesson = Lesson::find(name)?;
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !own.starts_with(|c: char| c.is_ascii_alphabetic()) || !own.chars().all(is_letter) {
        let rule = "Begin with a letter, and use letters, digits, - and _.";
        return Err(format!("{own:?} is no name for a program. {rule}"));
    }
    let path = program(own);
    let place = shown(&path);
    if !lesson.copy("main.rs", &path)? {
        return Err(format!("{place} is there already. Choose another name."));
    }
    lesson.copy("README.md", &path.with_file_name("README.md"))?;
    say(&format!("{place} is yours now."));
    say(&format!("To start it: cargo run --bin learn run {own}"));
    Ok(())
}

/// Becomes the learner's program, in the folder where it was called.
pub fn run(own: &str, options: &[OsString]) -> Answer {
    let path = program(own);
    if !path.is_file() {
        let make = "To make it: cargo run --bin learn lesson s08 as";
        return Err(format!("There is no {}. {make} {own}", shown(&path)));
    }
    let program = build(&["build", "--example", own])?;
    let error = Command::new(&program).args(options).exec();
    Err(failed(&program, "started")(error))
}
