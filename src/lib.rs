//! A harness for agents that do not stand still while slow things run: synchronous, built from
//! plain threads and channels, small enough to be read in an evening. The programs in `lessons/`
//! put it together one mechanism at a time.
//!
//! The rooms stand in reading order.

// What is said, and what happens.
pub mod message;

pub mod interrupt;

pub mod event;

// Who answers, what can be done, what may be done: s01 and s02.
pub mod tool;

pub mod model;

pub mod permission;

pub mod agent;

pub mod tools;

// One mechanism a lesson: s03 to s07.
pub mod todo;

pub mod front_matter;

pub mod subagent;

pub mod skill;

pub mod compact;

pub mod task_board;

// Commands, and what runs in the background: s08. These know nothing of agents or models.
pub mod outcome;

pub mod process;

pub mod notification;

pub mod background;

// Results that come by themselves: s09.
pub mod delivery;

// Sub-agents that nobody waits for: s10.
pub mod background_agent;

// What runs in the foreground is a task that somebody waits for: s11.
pub mod attendance;

pub mod foreground;

// The program around it.
pub mod options;

pub mod aids;

pub mod terminal;

pub mod status_line;

pub mod screen;

mod keyboard;

pub mod repl;

pub use options::start;
