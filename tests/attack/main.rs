//! What broke once, by the place where it was attacked; each test is named after what must hold.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod terminal;
