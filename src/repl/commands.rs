//! foundation · The commands of the prompt: `/help`, `/clear` and what lessons add.

use std::sync::Arc;

use crate::screen::Screen;

/// What a command does, given the rest of its line; what it returns is shown.
type Action = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Commands with what `/help` says about them, in its order.
#[derive(Clone)]
pub struct Commands {
    list: Vec<(&'static str, &'static str, Option<Action>)>,
    /// Lines to try.
    scenario: Vec<String>,
}

impl Commands {
    /// Those that every lesson has.
    pub fn new(scenario: &[String]) -> Self {
        let list = vec![
            ("/help", "this list", None),
            ("/clear", "begin a new conversation", None),
            ("/exit", "leave; also exit, q, Ctrl+D", None),
            (
                "Ctrl+C",
                "drop the line; while the agent works: interrupt it",
                None,
            ),
        ];
        Commands {
            list,
            scenario: scenario.to_vec(),
        }
    }

    /// Adds a command. Without an action, its line goes to the lesson.
    pub fn add(&mut self, name: &'static str, what: &'static str, action: Option<Action>) {
        let last = self.list.len() - 2;
        self.list.insert(last, (name, what, action));
    }

    /// Carries out what needs no agent. False if the line is for somebody else.
    pub fn carry_out(&self, line: &str, screen: &Screen) -> bool {
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
            Some((_, _, None)) if rest.is_empty() => return false,
            _ => {
                let command: String = line.chars().take(40).collect();
                screen.say(&format!(
                    "There is no command {command}. /help lists the commands."
                ));
            }
        }
        true
    }

    fn help(&self, screen: &Screen) {
        for (name, what, _) in &self.list {
            screen.say(&format!("  {name:<11} {what}"));
        }
        screen.say("Anything else goes to the agent. \"help\" asks the practice model for its phrases. Try:");
        self.scenario
            .iter()
            .for_each(|line| screen.say(&format!("  {line}")));
    }
}

/// True for the words that leave.
pub fn is_leaving(line: &str) -> bool {
    ["q", "exit", "/exit", "/quit"].contains(&line.trim())
}
