//! s01 · Tools: a [`Tool`] is a name, a schema and a handler; a [`Toolbox`] finds the handler by
//! its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::event::Events;
use crate::interrupt::Interrupt;

/// Whether a call needs the person's consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads, or touches only the harness's own notes.
    Free,
    /// Changes something, or runs something.
    Ask,
}

/// Puts a question to the person and returns the line that was typed; the last line of the question
/// is the prompt. An `Err` says why nobody answers. The interrupt makes the question void.
pub type Ask = Arc<dyn Fn(&str, &Interrupt) -> Result<String, String> + Send + Sync>;

/// What a handler gets besides its input.
#[derive(Clone)]
pub struct Context {
    /// Where to say what happens.
    pub events: Events,
    /// Triggered when the person no longer wants to wait.
    pub interrupt: Interrupt,
    /// Whom to ask.
    pub ask: Ask,
    /// Where to work.
    pub folder: Arc<dyn Folder>,
}

/// A folder in which tools work, and which may want to hear when nobody works there any more.
pub trait Folder: Send + Sync {
    /// Its path; empty: where the program is.
    fn path(&self) -> &Path;
    /// An agent that worked there has ended. The answer goes to the end of its result.
    fn leave(&self) -> String {
        String::new()
    }
}

impl Folder for PathBuf {
    fn path(&self) -> &Path {
        self
    }
}

/// Nobody listens, nobody is there to be asked, and the work is done where the program is.
impl Default for Context {
    fn default() -> Self {
        let nobody = "nobody is there to be asked. Say what you would do; the user can start the program again with --yes.";
        Context {
            events: Events::default(),
            interrupt: Interrupt::default(),
            ask: Arc::new(|_, _| Err(nobody.to_string())),
            folder: Arc::new(PathBuf::new()),
        }
    }
}

/// Decides on a call before it runs; an `Err` is told to the model.
pub type Gate = Arc<dyn Fn(&Tool, &Value, &Context) -> Result<(), String> + Send + Sync>;

/// What a handler returns: text for the model. An `Err` says what happened, and what to do instead.
pub type ToolOutcome = Result<String, String>;

type Handler = Box<dyn Fn(Value, &Context) -> ToolOutcome + Send + Sync>;

/// One tool. As JSON it is what the model is told.
#[derive(Serialize)]
pub struct Tool {
    /// Letters, digits, `_` and `-`.
    pub name: Arc<str>,
    /// When to use it, and what comes back.
    pub description: String,
    /// A JSON Schema of type `object`, with `additionalProperties: false`.
    pub input_schema: Value,
    /// Whether it may be called without asking.
    #[serde(skip)]
    pub access: Access,
    #[serde(skip)]
    handler: Handler,
}

impl Tool {
    /// A tool from its parts. What fits is decided by the handler's input type, and by the schema's
    /// properties: other fields are refused. A call that does not fit never reaches the handler.
    pub fn new<I: DeserializeOwned>(
        name: impl Into<Arc<str>>,
        description: impl Into<String>,
        input_schema: Value,
        access: Access,
        handler: impl Fn(I, &Context) -> ToolOutcome + Send + Sync + 'static,
    ) -> Self {
        let (name, known) = (name.into(), input_schema.get("properties").cloned());
        let called = name.clone();
        let handler = move |input: Value, context: &Context| {
            let mut fields = input.as_object().into_iter().flat_map(Map::keys);
            let is_new = |field: &&_| known.as_ref().is_some_and(|it| it.get(field).is_none());
            let input = match fields.find(is_new) {
                Some(field) => Err(format!("unknown field `{field}`")),
                None => serde_json::from_value(input).map_err(|misfit| misfit.to_string()),
            };
            let input = input.map_err(|misfit| format!(
                "the input does not fit the schema of {called}: {misfit}. Nothing was done; correct the input and call again."
            ))?;
            handler(input, context)
        };
        Tool {
            name,
            description: description.into(),
            input_schema,
            access,
            handler: Box::new(handler),
        }
    }

    /// Runs the handler.
    ///
    /// # Errors
    /// When the input does not fit, or the handler says so.
    pub fn call(&self, input: Value, context: &Context) -> ToolOutcome {
        (self.handler)(input, context)
    }
}

/// The dispatch table. Clones share the tools but not the list.
#[derive(Clone, Default)]
pub struct Toolbox {
    /// In the order in which the model is told of them.
    pub tools: Vec<Arc<Tool>>,
}

impl Toolbox {
    /// Adds tools.
    ///
    /// # Panics
    /// When a name is taken.
    #[track_caller]
    pub fn add(&mut self, tools: impl IntoIterator<Item = Tool>) {
        for tool in tools {
            if let Ok(Tool { name, .. }) = self.get(&tool.name) {
                panic!("there is a tool {name} already: give the new one another name");
            }
            self.tools.push(Arc::new(tool));
        }
    }

    /// Finds a tool by its name.
    ///
    /// # Errors
    /// When there is none: the message names those there are.
    pub fn get(&self, name: &str) -> Result<&Tool, String> {
        let found = self.tools.iter().find(|tool| *tool.name == *name);
        found.map(AsRef::as_ref).ok_or_else(|| {
            let names = self.names().join(", ");
            format!("there is no tool {name:?}. The tools are: {names}.")
        })
    }

    /// The names, in the same order.
    pub fn names(&self) -> Vec<&str> {
        self.tools.iter().map(|tool| &*tool.name).collect()
    }
}
