//! foundation · The commands of the prompt: `/help`, `/clear` and what lessons add.

use std::sync::Arc;

use rustyline::completion::longest_common_prefix;

use super::Repl;
use crate::options::Options;
use crate::screen::{Screen, Style, visible};

/// What a command does, given the rest of its line. `Ok` is a line for the lesson; `Err` is shown.
pub type Action = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// Its name with what it takes, what `/help` says of it, and what it does.
type Command = (&'static str, &'static str, Option<Action>);

/// Commands with what `/help` says about them.
#[derive(Clone)]
pub struct Commands {
    list: Vec<Command>,
    /// Of the lesson, as the prompt has it.
    name: String,
    /// Lines to try.
    scenario: Vec<String>,
    /// How many of them Enter has played; with `--step` only.
    played: usize,
}

impl Commands {
    /// Those that every lesson has.
    pub fn new(options: &Options) -> Self {
        Commands {
            list: vec![
                ("/help", "this list", None),
                ("/clear", "begin a new conversation", None),
                ("/exit", "leave; also exit, q, Ctrl+D", None),
                (
                    "Ctrl+C",
                    "drop the line, interrupt the agent; twice: leave",
                    None,
                ),
                ("Tab", "complete a command or a name", None),
                ("Up", "the line before; first, a queued line back", None),
            ],
            name: options.name.clone(),
            scenario: options.scenario.clone(),
            played: if options.step { 0 } else { usize::MAX },
        }
    }

    /// Carries out what needs no agent. False if the line, as it is now, is for somebody else.
    pub fn carry_out(&mut self, typed: &mut String, screen: &Screen) -> bool {
        let next = self.scenario.get(self.played);
        let was_last = self.played == self.scenario.len();
        if let Some(next) = next.filter(|_| typed.trim().is_empty()) {
            screen.lines(&format!("{} >> {next}", self.name), Style::Bold);
            typed.clone_from(next);
            self.played += 1;
        }
        let line = typed.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let known = self.list.iter().find(|it| word(it) == name);
        match known.filter(|(command, ..)| rest.is_empty() || command.contains(' ')) {
            _ if line.is_empty() && was_last => {
                screen.say("That was the page's last line for this prompt; exit leaves.");
            }
            _ if line.is_empty() => screen.say("Nothing typed. /help shows what can be done here."),
            _ if line == "/help" => self.help(screen),
            _ if !line.starts_with('/') || is_leaving(line) => return false,
            Some((.., Some(action))) => match action(rest.trim()) {
                Ok(line) => {
                    *typed = line;
                    return false;
                }
                Err(text) => screen.say(&text),
            },
            Some((.., None)) => return false,
            None => screen.say(&format!(
                "There is no command {line:.40}. /help lists the commands."
            )),
        }
        true
    }

    /// What Tab adds to a line that is a command, and to the id that it takes. An `Err` says what
    /// there is to choose from.
    pub fn complete(&self, line: &str, ids: Vec<String>) -> Result<String, String> {
        let mut takes_id = self.list.iter().filter(|(name, ..)| name.contains("ID"));
        let words = self.list.iter().map(|it| word(it).to_string());
        let (typed, mut fits) = match line.split_once(' ') {
            Some((command, id)) if takes_id.any(|it| word(it) == command) => (id, ids),
            None if line.starts_with('/') => (line, words.collect()),
            _ => return Ok(String::new()),
        };
        // A name is drawn as it is: none that could do something to the terminal.
        fits.retain(|name| name.starts_with(typed) && visible(name) == *name);
        let common = longest_common_prefix(&fits).unwrap_or_default();
        match common.strip_prefix(typed) {
            Some("") if fits.len() > 1 => Err(fits.join("  ")),
            added => Ok(added.unwrap_or_default().to_string()),
        }
    }

    fn help(&self, screen: &Screen) {
        let mut list = self.list.clone();
        list.sort_by_key(|(name, ..)| !name.starts_with('/')); // keys last
        for (name, what, _) in list {
            screen.say(&format!("  {name:<17} {what}"));
        }
        let lines = self.scenario.join("\n  ");
        screen.say(&format!("Anything else goes to the agent. \"help\" asks the practice model for its phrases. Try:\n  {lines}"));
    }
}

fn word((name, ..): &Command) -> &'static str {
    name.split(' ').next().unwrap_or_default()
}

impl Repl {
    /// Adds a command to the list of `/help`: [`read`](Self::read) will return its line.
    pub fn command(&mut self, name: &'static str, what: &'static str) {
        self.commands.list.push((name, what, None));
    }

    /// Adds a command that is carried out at once, even while the agent works: it is given the rest
    /// of its line, and says what is to be shown.
    pub fn action(
        &mut self,
        name: &'static str,
        what: &'static str,
        action: impl Fn(&str) -> String + Send + Sync + 'static,
    ) {
        self.choice(name, what, Arc::new(move |rest| Err(action(rest))));
    }

    /// Adds a command that chooses what goes to the lesson: it is given the rest of its line. `Ok` is
    /// the line in its place; an `Err` is shown, and nothing goes there.
    pub fn choice(&mut self, name: &'static str, what: &'static str, choice: Action) {
        self.commands.list.push((name, what, Some(choice)));
    }

    /// Carries out a line as if it was typed. Returns what is for the lesson.
    pub fn carry_out(&self, mut line: String) -> Option<String> {
        let mut commands = self.commands.clone();
        let done = commands.carry_out(&mut line, &self.shared.screen);
        (!done).then_some(line)
    }
}

/// True for the words that leave.
pub fn is_leaving(line: &str) -> bool {
    ["q", "exit", "/exit", "/quit"].contains(&line.trim())
}
