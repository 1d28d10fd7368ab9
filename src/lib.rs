//! A harness for agents that do not stand still while slow things run: synchronous, built from
//! plain threads and channels, small enough to be read in an evening. The programs in `lessons/`
//! put it together one mechanism at a time.
//!
//! The rooms stand in reading order: a room uses only rooms before it.

// s01: what is said and what happens, who answers, what can be done. The foundation below it is
// what a learner may take as given: the contained command, the prompt, the HTTP client.
pub mod agent;
pub mod caught;
pub mod event;
pub mod inbox;
pub mod interrupt;
pub mod message;
pub mod model;
pub mod options;
pub mod outcome;
pub mod process;
pub mod repl;
pub mod screen;
pub mod terminal;
pub mod tool;
pub mod tools;

// s02 to s07: one mechanism a lesson.
pub mod compact;
pub mod front_matter;
pub mod permission;
pub mod skill;
pub mod subagent;
pub mod task_board;
pub mod todo;

// s08 to s11: an agent that does not stand still.
pub mod background;
pub mod background_agent;
pub mod delivery;
pub mod foreground;
pub mod notification;

// What helps to teach, and where it is attached.
pub mod aids;
mod program;

pub use program::{connect, prompt, start};
