//! What several test crates share.
#![allow(dead_code)] // each of them uses a part

pub mod browser;
pub mod changed;
pub mod program;
pub mod prompt;
pub mod server;
pub mod session;
pub mod terminal;
