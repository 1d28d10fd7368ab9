//! Thin adapters: from a tool's JSON to a room of the house, and back to text.

pub mod background;
pub mod bash;
