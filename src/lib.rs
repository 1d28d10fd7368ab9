//! A harness for agents that do not stand still while slow things run: synchronous, built from
//! plain threads and channels, small enough to be read in an evening. The programs in `lessons/`
//! put it together one mechanism at a time.
//!
//! The rooms, in reading order; each knows only rooms further up, or nothing.

pub mod agent;
pub mod compact;
pub mod event;
pub mod front_matter;
pub mod interrupt;
pub mod message;
pub mod model;
pub mod permission;
pub mod skill;
pub mod subagent;
pub mod tool;
