//! s01 · Events: the one stream of what happens. The screen reads it, and so do the timeline and
//! the status line; nobody measures or prints on the side.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::message::Usage;

/// Something that happened.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Event {
    /// The line that begins a turn; empty if something else than a line did.
    TurnStarted(String),
    /// The prompt is free again.
    TurnFinished,
    RequestStarted,
    /// What the running request has cost by now, as far as the server says: in tokens.
    Tokens(u64),
    /// A piece of the model's text, as it arrives. Not clean: it may hold control bytes.
    Text(String),
    /// `None` if it brought no reply.
    RequestFinished(Option<Usage>),
    ToolStarted {
        name: String,
        input: Value,
    },
    /// From now on a command or an agent is waited for, at most until the call has ended.
    Waiting(Look),
    ToolFinished {
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
    /// The result of a background task is put into the conversation: its id, and its first line.
    Delivered(String, String),
    /// What one that goes on has told.
    Told(String, String),
    /// A sentence for the person at the prompt.
    Notice(String),
}

/// Says what is waited for, and its progress in one line, whenever it is asked.
#[derive(Clone)]
pub struct Look(pub Arc<dyn Fn() -> (String, String) + Send + Sync>);

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Look").field(&(self.0)()).finish()
    }
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
}

impl Events {
    /// The same stream with one reader more, for this writing end and its later clones.
    pub fn with(mut self, reader: Reader) -> Self {
        self.readers.push(Arc::new(reader));
        self
    }

    /// Tells every reader that this happens now.
    pub fn emit(&self, event: Event) {
        self.tell(Stamped {
            at: Instant::now(),
            agent: None,
            in_background: false,
            event: &event,
        });
    }

    /// Tells every reader.
    pub fn tell(&self, stamped: Stamped<'_>) {
        self.readers.iter().for_each(|reader| reader(stamped));
    }

    /// Emits a [`Event::Waiting`].
    pub fn waiting(&self, look: impl Fn() -> (String, String) + Send + Sync + 'static) {
        self.emit(Event::Waiting(Look(Arc::new(look))));
    }

    /// Emits a [`Event::Notice`].
    pub fn notice(&self, text: impl Into<String>) {
        self.emit(Event::Notice(text.into()));
    }
}
