//! s01 · Thin adapters: from a tool's JSON to a room of the house, and back to text.

pub mod background;
pub mod bash;
pub mod files;

use serde::Deserialize;
use serde_json::{Value, json};

/// An input that is nothing but the name or the number of a task.
#[derive(Deserialize)]
#[allow(missing_docs)]
pub struct Id<T> {
    pub id: T,
}

/// An input that is nothing but a name.
#[derive(Deserialize)]
#[allow(missing_docs)]
pub struct Name {
    pub name: String,
}

/// The schema of an input: an object with these properties and no others.
pub fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
