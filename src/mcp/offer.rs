//! s17 · What a server offers and answers, as the model may have it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

use crate::caught::lock;
use crate::delivery::block;
use crate::outcome::{End, Outcome};
use crate::process::output::Output;

/// The API takes no longer name of a tool, or of a field.
const MAX_NAME: usize = 64;

/// Why the API would refuse this tool, and with it every request.
pub fn misfit(name: &str, schema: &Value) -> Option<&'static str> {
    let fits = |name: &str, more: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good)
    };
    let fields = schema["properties"].as_object();
    if !fits(name, "_-") {
        return Some("the name is too long, or holds what no name may hold");
    }
    if schema["type"] != "object" || fields.is_none() && !schema["properties"].is_null() {
        return Some("its schema is none of an object");
    }
    if ["oneOf", "anyOf", "allOf"]
        .iter()
        .any(|it| schema.get(it).is_some())
    {
        return Some("its schema is a choice");
    }
    let names = fields.into_iter().flatten().map(|(name, _)| name);
    let misfit = names.into_iter().any(|name| !fits(name, "_.-"));
    misfit.then_some("the name of a field holds what no name may hold")
}

/// A name that lives as long as the program. Each is kept once.
pub fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = lock(&NAMES);
    let known = names.get(name).copied();
    let name = known.unwrap_or_else(|| Box::leak(name.into()));
    names.insert(name);
    name
}

/// What a server says, in a block that it cannot end.
pub fn marked(what: &str, server: &str, text: &str) -> String {
    block(what, &format!(" server=\"{server}\""), text)
}

/// The first line of a marked block's text.
pub fn text(block: &str) -> &str {
    block.lines().nth(1).unwrap_or_default()
}

/// What came of a call: text in a marked block, and a sentence for what is no text. `lives` is false if
/// the server has ended.
pub fn outcome(server: &str, answer: Result<Value, End>, lives: bool) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(End::Failed(why)) => {
            let again = if lives {
                ""
            } else {
                "; it is started again with the next call"
            };
            let what = End::Failed(format!("{server} did not answer{again}"));
            return Outcome::new(what, marked("mcp-error", server, &why));
        }
        Err(end) => return Outcome::new(end, ""),
    };
    let mut output = Output::default();
    for part in answer["content"].as_array().into_iter().flatten() {
        let field = |name: &str| part[name].as_str().unwrap_or("?").to_string();
        let uri = part["resource"]["uri"].as_str();
        let told = match (field("type").as_str(), part["resource"]["text"].as_str()) {
            ("text", _) => field("text"),
            ("resource", Some(text)) => text.to_string(),
            ("resource", None) => format!("[a resource, not shown: {}]", uri.unwrap_or("?")),
            ("resource_link", _) => format!("[a resource: {}]", field("uri")),
            (kind, _) => format!("[{kind}, {}, not shown]", field("mimeType")),
        };
        output.push(format!("{told}\n").as_bytes());
    }
    let text = output.render();
    let text = marked("mcp-result", server, text.trim_end());
    match answer["isError"] == true {
        true => Outcome::new(
            End::Failed("the tool says that it failed".to_string()),
            text,
        ),
        false => Outcome::new(End::Finished(None), text),
    }
}
