//! foundation · The commands of the prompt: `/help`, `/clear` and what lessons add.

use std::sync::Arc;

use crate::options::Options;
use crate::screen::{Screen, Style, visible};

/// What a command does, given the rest of its line; what it returns is shown.
type Action = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Commands with what `/help` says about them, in its order.
#[derive(Clone)]
pub struct Commands {
    list: Vec<(&'static str, &'static str, Option<Action>)>,
    /// Lines to try.
    scenario: Vec<String>,
    /// How many of them Enter has played; with `--step` only.
    played: usize,
}

impl Commands {
    /// Those that every lesson has.
    pub fn new(options: &Options) -> Self {
        let list = vec![
            ("/help", "this list", None),
            ("/clear", "begin a new conversation", None),
            (
                "Tab, Up",
                "complete a command or an id; take the last queued line back",
                None,
            ),
            ("/exit", "leave; also exit, q, Ctrl+D", None),
            (
                "Ctrl+C",
                "drop the line; while the agent works: interrupt it",
                None,
            ),
        ];
        Commands {
            list,
            scenario: options.scenario.clone(),
            played: if options.step { 0 } else { usize::MAX },
        }
    }

    /// Adds a command. Without an action, its line goes to the lesson.
    pub fn add(&mut self, name: &'static str, what: &'static str, action: Option<Action>) {
        let last = self.list.len() - 2;
        self.list.insert(last, (name, what, action));
    }

    /// Carries out what needs no agent. False if the line, as it is now, is for somebody else.
    pub fn carry_out(&mut self, typed: &mut String, screen: &Screen) -> bool {
        let next = self.scenario.get(self.played);
        if let Some(next) = next.filter(|_| typed.trim().is_empty()) {
            screen.lines(next, Style::Bold);
            typed.clone_from(next);
            self.played += 1;
        }
        let line = typed.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let mut commands = self.list.iter();
        let known = commands.find(|(command, ..)| command.split(' ').next() == Some(name));
        match known {
            _ if line.is_empty() => screen.say("Nothing typed. /help shows what can be done here."),
            _ if line == "/help" => self.help(screen),
            _ if !line.starts_with('/') || is_leaving(line) => return false,
            Some((command, _, Some(action))) if rest.is_empty() || command.contains(' ') => {
                screen.say(&action(rest.trim()));
            }
            Some((command, _, None)) if rest.is_empty() || command.contains(' ') => return false,
            _ => screen.say(&format!(
                "There is no command {line:.40}. /help lists the commands."
            )),
        }
        true
    }

    /// What Tab adds to a line that is a command, and to the id that it takes. An `Err` says what
    /// there is to choose from.
    pub fn complete(&self, line: &str, ids: Vec<String>) -> Result<String, String> {
        let names = self.list.iter().map(|(name, ..)| *name);
        let takes_id = |command: &str| {
            let mut names = names.clone().filter(|name| name.contains("ID"));
            names.any(|name| name.split(' ').next() == Some(command))
        };
        let (typed, mut fits) = match line.split_once(' ') {
            Some((command, id)) if takes_id(command) => (id, ids),
            None if line.starts_with('/') => {
                let words = names.clone().filter_map(|name| name.split(' ').next());
                (line, words.map(str::to_string).collect())
            }
            _ => return Ok(String::new()),
        };
        // A name is drawn as it is: none that could do something to the terminal.
        fits.retain(|name| name.starts_with(typed) && visible(name) == *name);
        let mut common = fits.first().cloned().unwrap_or_default();
        while !fits.iter().all(|name| name.starts_with(&common)) {
            common.pop();
        }
        match common.strip_prefix(typed) {
            Some("") if fits.len() > 1 => Err(fits.join("  ")),
            added => Ok(added.unwrap_or_default().to_string()),
        }
    }

    fn help(&self, screen: &Screen) {
        for (name, what, _) in &self.list {
            screen.say(&format!("  {name:<15} {what}"));
        }
        let lines = self.scenario.join("\n  ");
        screen.say(&format!("Anything else goes to the agent. \"help\" asks the practice model for its phrases. Try:\n  {lines}"));
    }
}

/// True for the words that leave.
pub fn is_leaving(line: &str) -> bool {
    ["q", "exit", "/exit", "/quit"].contains(&line.trim())
}
