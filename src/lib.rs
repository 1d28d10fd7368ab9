//! A harness for agents that do not stand still while slow things run: synchronous, built from
//! plain threads and channels, small enough to be read in an evening. The programs in `lessons/`
//! put it together one mechanism at a time.
//!
//! The rooms stand in reading order: a room uses only rooms before it.

// s01: what is said and what happens, what can be done, who answers, and the agent.
pub mod message;

pub mod event;

pub mod caught;
pub mod interrupt;
pub mod outcome;

pub mod tool;

pub mod model;

pub mod agent;

// Foundation, which a learner may take as given: the contained command, and the prompt.
pub mod process;

pub mod bell;
pub mod held;
pub mod journal;

pub mod tools;

pub mod inbox;
pub mod mailbox;
pub mod screen;

pub mod options;
pub mod terminal;

pub mod repl;

// s02 to s07: one mechanism a lesson.
pub mod permission;

pub mod todo;

pub mod front_matter;
pub mod subagent;

pub mod skill;

pub mod compact;

pub mod task_board;

// s08 to s11: an agent that does not stand still.
pub mod notification;

pub mod background;

pub mod delivery;

pub mod background_agent;

pub mod foreground;

// s12: agents that do not stand in each other's way.
pub mod worktree;

// s13: nothing said is lost.
pub mod session;

// s14: a conversation that is summarised already.
pub mod memory;
// s15: a plan that is carried out.
pub mod pipeline;
// s16: told while it runs, and told later.
pub mod monitor;
// s17: tools of somebody else.
pub mod mcp;
// s18: another keyboard, whose lines become tasks.
pub mod slack;
// s19: what you will probably type next.
pub mod suggestion;
// s20: several processes, each with its own context.
pub mod team;

// What helps to teach, and where it is attached.
pub mod aids;

mod program;

pub use aids::messages::show;
pub use program::{connect, prompt, start};
