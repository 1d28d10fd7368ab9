//! s02 · Exercise: dispatch, in which no call can end the program.
//!
//! Fill in `get`, which finds a tool by its name, and `answer`, which takes a call through name, gate
//! and handler and returns an answer whatever happens. Then add a tool of your own, `count_words`,
//! without touching the other two. A well-known framework crashed when the model called a tool
//! that does not exist: run-llama/llama_index#7170.

#![allow(dead_code, unused_variables, reason = "gaps leave things unused")]

/// What the model asks for.
struct Call {
    id: String,
    name: String,
    input: String,
}

/// What it gets back, in any case.
#[derive(Debug)]
struct Answer {
    /// The id of the call.
    id: String,
    content: String,
    is_error: bool,
}

/// Gets the input; returns text for the model, or what went wrong.
type Handler = Box<dyn Fn(&str) -> Result<String, String>>;

struct Tool {
    name: &'static str,
    handler: Handler,
}

/// Asks the person before a tool runs. An `Err` says why it may not.
type Gate<'a> = &'a dyn Fn(&Tool, &str) -> Result<(), String>;

struct Toolbox {
    tools: Vec<Tool>,
}

impl Toolbox {
    fn add(&mut self, tool: Tool) {
        self.tools.push(tool);
    }

    /// The tool of that name. If there is none, the error says which name was asked for and lists
    /// the names there are: a model that reads them calls the right one next.
    fn get(&self, name: &str) -> Result<&Tool, String> {
        let found = self.tools.iter().find(|tool| tool.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name).collect();
            let names = names.join(", ");
            format!("there is no tool {name:?}. The tools are: {names}.")
        })
    }

    /// Finds the tool, asks the gate, runs the handler; whichever of them says no, the rest is left
    /// out. An error becomes the content, after `ERROR: `, and `is_error` is true.
    fn answer(&self, call: &Call, gate: Gate) -> Answer {
        let outcome = self.get(&call.name).and_then(|tool| {
            gate(tool, &call.input)?;
            (tool.handler)(&call.input)
        });
        Answer {
            id: call.id.clone(),
            is_error: outcome.is_err(),
            content: outcome.unwrap_or_else(|why| format!("ERROR: {why}")),
        }
    }
}

/// Repeats its input.
fn echo() -> Tool {
    Tool {
        name: "echo",
        handler: Box::new(|input| Ok(input.to_string())),
    }
}

/// Adds two numbers, such as `2 3`.
fn sum() -> Tool {
    let handler = |input: &str| {
        let numbers: Result<Vec<i64>, _> = input.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok([a, b]) => Ok((a + b).to_string()),
            _ => Err(format!("{input:?} is not two numbers; call with `2 3`")),
        }
    };
    Tool {
        name: "sum",
        handler: Box::new(handler),
    }
}

/// `count_words`: how many words its input has. An input without a word is an error that says so.
fn count_words() -> Tool {
    let handler = |input: &str| match input.split_whitespace().count() {
        0 => Err("there is no word in the input".to_string()),
        count => Ok(count.to_string()),
    };
    Tool {
        name: "count_words",
        handler: Box::new(handler),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    fn toolbox() -> Toolbox {
        let mut toolbox = Toolbox { tools: Vec::new() };
        toolbox.add(echo());
        toolbox.add(sum());
        toolbox
    }

    fn call(name: &str, input: &str) -> Call {
        let [id, name, input] = ["toolu_7", name, input].map(str::to_string);
        Call { id, name, input }
    }

    fn open(_: &Tool, _: &str) -> Result<(), String> {
        Ok(())
    }

    #[track_caller]
    fn is_error(answer: &Answer) {
        assert!(
            answer.is_error,
            "`is_error` must tell the model that the call failed: {answer:?}"
        );
        let begins = answer.content.starts_with("ERROR: ");
        assert!(
            begins,
            "the content of a failed call begins with `ERROR: `: {answer:?}"
        );
    }

    #[test]
    fn a_call_reaches_the_handler_of_its_name() {
        for (name, input, output) in [("echo", "2 3", "2 3"), ("sum", "2 3", "5")] {
            let answer = toolbox().answer(&call(name, input), &open);
            assert_eq!(answer.content, output, "what `{name}` makes of {input:?}");
            assert!(!answer.is_error, "nothing went wrong in `{name}`");
            assert_eq!(
                answer.id, "toolu_7",
                "the answer has the id of its call, or nobody can pair them"
            );
        }
    }

    #[test]
    fn a_name_that_does_not_exist_is_answered_with_the_names_that_do() {
        let answer = catch_unwind(|| toolbox().answer(&call("grep", "x"), &open));
        let answer = answer.unwrap_or_else(|_| {
            panic!("a name that the model made up ended the program; answer it with an error")
        });
        is_error(&answer);
        assert_eq!(answer.id, "toolu_7", "an error has the id of its call, too");
        for name in ["grep", "echo", "sum"] {
            let told = answer.content.contains(name);
            assert!(
                told,
                "the error must name {name:?}, so that the model can help itself: {}",
                answer.content
            );
        }
    }

    #[test]
    fn what_a_handler_says_went_wrong_reaches_the_model() {
        let answer = toolbox().answer(&call("sum", "two three"), &open);
        is_error(&answer);
        let told = answer.content.contains("call with `2 3`");
        assert!(
            told,
            "the words of the handler are what helps: {}",
            answer.content
        );
    }

    #[test]
    fn a_call_that_is_not_allowed_never_runs() {
        let mut toolbox = toolbox();
        let runs = Rc::new(Cell::new(0));
        let counter = runs.clone();
        let handler = Box::new(move |_: &str| {
            counter.set(counter.get() + 1);
            Ok("deleted".to_string())
        });
        toolbox.add(Tool {
            name: "delete",
            handler,
        });
        let gate = |tool: &Tool, input: &str| match tool.name {
            "delete" => Err(format!("the user does not want {input} to be deleted")),
            _ => Ok(()),
        };
        let answer = toolbox.answer(&call("delete", "notes.txt"), &gate);
        assert_eq!(runs.get(), 0, "the gate said no, and the handler ran");
        is_error(&answer);
        let told = answer.content.contains("does not want notes.txt");
        assert!(told, "the model must learn why: {}", answer.content);
        let answer = toolbox.answer(&call("echo", "hi"), &gate);
        assert_eq!(answer.content, "hi", "the gate has nothing against `echo`");
        toolbox.answer(&call("delete", "notes.txt"), &open);
        assert_eq!(runs.get(), 1, "the gate said yes: the handler runs once");
    }

    #[test]
    fn a_tool_of_your_own_works_like_the_others() {
        let mut toolbox = toolbox();
        toolbox.add(count_words());
        let answer = toolbox.answer(&call("count_words", " to be\nor not "), &open);
        assert_eq!(
            answer.content, "4",
            "how many words ` to be\\nor not ` has; blanks and lines do not count"
        );
        is_error(&toolbox.answer(&call("count_words", "  "), &open));
        let unknown = catch_unwind(AssertUnwindSafe(|| {
            toolbox.answer(&call("grep", "x"), &open)
        }));
        let listed = unknown.is_ok_and(|answer| answer.content.contains("count_words"));
        assert!(
            listed,
            "a new tool stands in the list of names without further work"
        );
    }
}
