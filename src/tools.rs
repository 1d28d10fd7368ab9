//! s01 · Thin adapters: from a tool's JSON to a room of the house, and back to text.

pub mod background;
pub mod bash;
pub mod files;

use serde_json::{Value, json};

/// The schema of an input: an object with these properties and no others.
pub fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
