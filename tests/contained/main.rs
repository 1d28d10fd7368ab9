//! Any command, contained: nothing lost, nothing leaked, nothing left behind. Real processes, real
//! signals; what happens after the program's own end has tests of its own.
//!
//! What these tests look at (/proc, adopted orphans) is there on Linux only.
#![cfg(target_os = "linux")]

#[path = "../support/program.rs"]
#[allow(dead_code)]
mod program;
#[path = "../support/terminal.rs"]
#[allow(dead_code)]
mod terminal;

mod support;

mod commands;
mod hardship;
mod input;
mod leaks;
mod mate;
mod monitor;
mod outcomes;
mod pipeline;
mod reuse;
mod schedules;
mod server;
mod stopping;
mod worktree;
