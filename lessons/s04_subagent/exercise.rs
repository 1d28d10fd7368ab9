//! s04 · Exercise: a sub-agent with a fresh conversation.
//!
//! Fill in `sub_agent`, which makes an agent for one piece of work: the parent's tools without `task` and
//! `todo`, a system prompt of its own, and a conversation that holds the prompt and nothing else. Then
//! fill in `run`, the loop of s01 with a limit, of which only the last text comes back. In a well-known
//! harness a sub-agent took itself for its parent and showed the parent's conversation:
//! anthropics/claude-code#55488.

#![allow(dead_code, unused_variables, reason = "gaps leave things unused")]

use std::rc::Rc;

/// Requests after which a sub-agent is stopped: nobody watches it.
const MAX_ROUNDS: usize = 10;

const SYSTEM: &str = "You are a sub-agent. Your last text is all that is returned.";

#[derive(Debug, Clone, PartialEq)]
enum Message {
    User(String),
    Assistant(Reply),
    /// One for each call of the reply before it.
    ToolResults(Vec<String>),
}

/// What the model says, and which tools it calls, with their inputs.
#[derive(Debug, Clone, PartialEq)]
struct Reply {
    text: String,
    calls: Vec<(String, String)>,
}

#[derive(Clone)]
struct Tool {
    name: &'static str,
    handler: Rc<dyn Fn(&str) -> String>,
}

/// Here an agent has its conversation with it, so a clone has it, too.
#[derive(Clone)]
struct Agent {
    system: String,
    tools: Vec<Tool>,
    messages: Vec<Message>,
}

/// One request: the model sees what the agent has, and replies.
type Model<'a> = &'a mut dyn FnMut(&Agent) -> Reply;

impl Agent {
    /// Runs one call.
    fn call(&self, name: &str, input: &str) -> String {
        match self.tools.iter().find(|tool| tool.name == name) {
            Some(tool) => (tool.handler)(input),
            None => format!("ERROR: there is no tool {name:?}"),
        }
    }
}

/// An agent for one piece of work. Without `task` it cannot delegate further; without `todo` it
/// cannot write into the parent's plan.
fn sub_agent(parent: &Agent, prompt: &str) -> Agent {
    todo!("sub_agent: its own system prompt, tools and conversation")
}

/// Works until a reply calls no tool, and returns the text of that reply. After `MAX_ROUNDS` requests
/// it gives up: the error holds the last text that was said until then.
fn run(agent: Agent, model: Model) -> Result<String, String> {
    todo!("run: the loop of s01, with a limit; only the last text comes back")
}

/// The handler of the tool `task`. The answer is all that the parent learns.
fn task(parent: &Agent, prompt: &str, model: Model) -> Result<String, String> {
    run(sub_agent(parent, prompt), model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &'static str) -> Tool {
        let handler = Rc::new(move |input: &str| format!("{name} did {input}"));
        Tool { name, handler }
    }

    /// An agent in the middle of its own work.
    fn parent() -> Agent {
        Agent {
            system: "You are the main agent.".to_string(),
            tools: ["bash", "todo", "read_file", "task"].map(tool).to_vec(),
            messages: vec![
                Message::User("the password is 1234".to_string()),
                Message::Assistant(says("I will keep it to myself.")),
                Message::User("where is the port set?".to_string()),
            ],
        }
    }

    fn says(text: &str) -> Reply {
        let text = text.to_string();
        Reply {
            text,
            calls: Vec::new(),
        }
    }

    fn calls(text: &str, calls: &[(&str, &str)]) -> Reply {
        let pair = |(name, input): &(&str, &str)| (name.to_string(), input.to_string());
        let calls = calls.iter().map(pair).collect();
        Reply {
            calls,
            ..says(text)
        }
    }

    /// Runs a task with these replies; the answer, and what the model saw at each request.
    #[track_caller]
    fn delegate(replies: &[Reply]) -> (Result<String, String>, Vec<Agent>) {
        let mut seen = Vec::new();
        let mut replies = replies.iter().cloned();
        let mut model = |agent: &Agent| {
            seen.push(agent.clone());
            let reply = replies.next();
            reply.expect("a reply without a call is the end, and the loop asked again")
        };
        let answer = task(&parent(), "find the port", &mut model);
        (answer, seen)
    }

    #[test]
    fn it_has_the_tools_of_its_parent_but_not_task_and_todo() {
        let agent = sub_agent(&parent(), "find the port");
        let names: Vec<&str> = agent.tools.iter().map(|tool| tool.name).collect();
        assert_eq!(
            names,
            ["bash", "read_file"],
            "the tools of a sub-agent whose parent has bash, todo, read_file and task"
        );
    }

    #[test]
    fn it_knows_its_prompt_and_nothing_else() {
        let (_, seen) = delegate(&[says("8080")]);
        let first = &seen[0];
        assert_eq!(
            first.messages,
            [Message::User("find the port".to_string())],
            "its first request holds the prompt alone. What the parent and its user said is none of its business, and would be paid for again"
        );
        assert_eq!(
            first.system, SYSTEM,
            "with the parent's system prompt it takes itself for the parent"
        );
    }

    #[test]
    fn its_results_stay_in_its_own_conversation() {
        let first = calls("", &[("bash", "grep"), ("read_file", "main.rs")]);
        let (_, seen) = delegate(&[first.clone(), says("8080")]);
        let last = seen.last().expect("it was asked");
        assert_eq!(
            last.messages.len(),
            3,
            "its second request holds prompt, reply and results: {:?}",
            last.messages
        );
        assert_eq!(
            last.messages[1],
            Message::Assistant(first),
            "the reply comes before its results"
        );
        let results = ["bash did grep", "read_file did main.rs"].map(str::to_string);
        assert_eq!(
            last.messages[2],
            Message::ToolResults(results.to_vec()),
            "one result for each call"
        );
    }

    #[test]
    fn only_the_last_text_comes_back() {
        let first = calls("I will search for it.", &[("bash", "grep")]);
        let (answer, _) = delegate(&[first, says("src/main.rs:14")]);
        assert_eq!(
            answer,
            Ok("src/main.rs:14".to_string()),
            "the parent wants the answer, not the way to it"
        );
    }

    #[test]
    fn one_that_never_ends_is_stopped() {
        let mut requests = 0;
        let mut model = |_: &Agent| {
            requests += 1;
            assert!(
                requests <= 100,
                "a hundred requests, and still running: nobody watches a sub-agent, so it needs a limit"
            );
            let text = if requests == 2 {
                "I found main.rs."
            } else {
                ""
            };
            calls(text, &[("bash", "sleep")])
        };
        let answer = task(&parent(), "find the port", &mut model);
        assert_eq!(requests, MAX_ROUNDS, "how many requests it may send");
        let why = answer.expect_err("it did not finish, so this is an error");
        let told = why.contains("I found main.rs.");
        assert!(
            told,
            "the error holds the last text that was said (many replies say nothing): {why}"
        );
    }
}
