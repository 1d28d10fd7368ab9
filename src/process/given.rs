//! foundation · This program, started once more and given what no command may see: the variables in
//! which the key of the model is. They are on no command line, in no environment and in no file: they
//! go through the pipe that is its input, when it has said that nobody can look into it any more.
//! What is written to it after that is its input like any other.

use std::collections::BTreeMap;
use std::env::{current_exe, var, vars_os};
use std::fs::File;
use std::io::{self, Write, stdin, stdout};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crossbeam_channel::{Receiver, select};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Handle, News, fed, heard};
use crate::interrupt::Interrupt;

/// How long it may take to come up.
const START: Duration = Duration::from_secs(30);
/// What this program was given in place of those variables.
static GIVEN: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// The way to a program that was started. Its input ends when this is dropped.
pub struct Given {
    printed: Receiver<()>,
    input: File,
}

/// Starts this program once more, with these options, as which it is shown. It waits for what it is
/// given.
///
/// # Errors
/// When there is no pipe.
pub fn start(options: &[String]) -> io::Result<(Handle, Receiver<News>, Given)> {
    let mut command = fed::quote(&current_exe()?.to_string_lossy());
    for option in options {
        command += &format!(" {}", fed::quote(option));
    }
    let (input, command) = fed::input(&command)?;
    let (mut handle, printed) = heard::command(&command);
    let news = super::start(&handle, Path::new(""));
    handle.command = options.join(" ").into();
    Ok((handle, news, Given { printed, input }))
}

impl Given {
    /// Waits until it is ready to be given something.
    ///
    /// # Errors
    /// When it is not for half a minute, or nobody wants to wait any more.
    pub fn until_ready(&self, name: &str, interrupt: &Interrupt) -> Result<(), String> {
        let (late, stop) = (format!("{name} did not come up"), interrupt.receiver());
        select! {
            recv(self.printed) -> it => it.map_err(|_| late),
            recv(stop) -> _ => Err("interrupted".to_string()),
            default(START) => Err(late),
        }
    }

    /// Gives it the variables and what it is to know, and its first line of input.
    ///
    /// # Errors
    /// When the pipe does not take it.
    pub fn give(&mut self, known: &impl Serialize, line: &str) -> io::Result<()> {
        let names = vars_os().filter_map(|(name, _)| name.into_string().ok());
        let ours = names.filter(|name| name.starts_with("ANTHROPIC_") || name == "MODEL_ID");
        let both = ours.filter_map(|name| var(&name).ok().map(|value| (name, value)));
        let variables: BTreeMap<_, _> = both.collect();
        let given = serde_json::to_string(&(variables, known))?;
        self.input
            .write_all(format!("{given}\n{line}\n").as_bytes())
    }
}

/// Waits for what this program is given, after `ready`: that it can no longer be looked into.
///
/// # Errors
/// When it is given nothing, or something else.
pub fn wait<T: DeserializeOwned>() -> io::Result<T> {
    let mut line = String::new();
    writeln!(stdout(), "ready")?;
    stdin().read_line(&mut line)?;
    let (variables, known) = serde_json::from_str(&line)?;
    GIVEN.get_or_init(|| variables);
    Ok(known)
}

/// One of those variables: as it was given or, where nothing was given, of the environment.
pub fn variable(name: &str) -> Option<String> {
    match GIVEN.get() {
        Some(given) => given.get(name).cloned(),
        None => var(name).ok(),
    }
}
