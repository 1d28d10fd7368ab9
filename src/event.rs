//! The one stream of what happens. The screen reads it; so may a timeline or a log. Nobody
//! measures or prints on the side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::message::{StopReason, Usage};

/// Something that happened.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Event {
    /// A line of the person's begins a turn.
    TurnStarted {
        prompt: String,
    },
    /// The prompt is free again.
    TurnFinished,
    RequestStarted,
    /// A piece of the model's text, as it arrives. Not clean: it may hold control bytes.
    Text(String),
    RequestFinished {
        stop_reason: StopReason,
        usage: Usage,
    },
    /// A request that brought no reply.
    RequestFailed,
    ToolStarted {
        id: String,
        name: String,
        input: Value,
    },
    /// A few times a second, while a command or an agent is waited for; its progress is one line.
    Waiting {
        what: String,
        elapsed: Duration,
        progress: String,
    },
    ToolFinished {
        id: String,
        name: String,
        output: String,
        is_error: bool,
        elapsed: Duration,
    },
    /// A background task begins. Emitted on its thread, like its end.
    TaskStarted {
        id: String,
        what: String,
    },
    /// The first line says how it ended.
    TaskFinished {
        id: String,
        result: String,
    },
    /// The result of a background task is put into the conversation; its first line.
    Delivered(String),
    /// A sentence for the person at the prompt.
    Notice(String),
}

/// An event with its circumstances.
#[derive(Debug, Clone, Copy)]
pub struct Stamped<'a> {
    /// When it was emitted.
    pub at: Instant,
    /// The sub-agent it belongs to; `None` for the main agent.
    pub agent: Option<&'a str>,
    /// True if nobody waits for that sub-agent.
    pub in_background: bool,
    /// What happened.
    pub event: &'a Event,
}

/// Whoever wants to know. Called on the thread that emits; must be quick.
pub type Reader = Box<dyn Fn(Stamped<'_>) + Send + Sync>;

/// The writing end of the stream. Clones write into the same stream.
#[derive(Clone, Default)]
pub struct Events {
    readers: Vec<Arc<Reader>>,
    agent: Option<Arc<str>>,
    in_background: Arc<AtomicBool>,
}

impl Events {
    /// A stream with these readers.
    pub fn new(readers: Vec<Reader>) -> Self {
        Events {
            readers: readers.into_iter().map(Arc::new).collect(),
            ..Events::default()
        }
    }

    /// The same stream, with every event marked as that sub-agent's.
    pub fn of_agent(&self, name: &str) -> Self {
        Events {
            agent: Some(name.into()),
            ..self.clone()
        }
    }

    /// The same stream, with every event marked as that of a sub-agent that nobody waits for as
    /// soon as that is so, and one more reader for them.
    pub fn of_task(&self, name: &str, in_background: Arc<AtomicBool>, reader: Reader) -> Self {
        let mut events = Events {
            in_background,
            ..self.of_agent(name)
        };
        events.readers.push(Arc::new(reader));
        events
    }

    /// Tells every reader.
    pub fn emit(&self, event: Event) {
        let Events {
            readers,
            agent,
            in_background,
        } = self;
        let (at, agent, in_background) =
            (Instant::now(), agent.as_deref(), in_background.load(SeqCst));
        readers.iter().for_each(|reader| {
            reader(Stamped {
                at,
                agent,
                in_background,
                event: &event,
            })
        });
    }

    /// Emits a [`Event::Notice`].
    pub fn notice(&self, text: impl Into<String>) {
        self.emit(Event::Notice(text.into()));
    }
}
