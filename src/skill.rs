//! s05 · Skills: knowledge that is loaded when it is needed. The system prompt names them; the
//! text is read from the file only when `load_skill` asks for it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::front_matter::{self, Document};
use crate::tool::{Access, Tool, ToolOutcome};
use crate::tools::object;

const BUILT_IN: [&str; 1] = [include_str!("skill/commit-message.md")];

/// The skills that can be loaded by name.
#[derive(Default)]
pub struct Skills {
    list: Vec<Document>,
    /// One sentence for each skill that cannot be used.
    pub problems: Vec<String>,
}

impl Skills {
    /// The built-in skills and those in `dir/*/SKILL.md`, as [`front_matter::load`] reads them.
    pub fn load(dir: impl AsRef<Path>) -> Self {
        let file = |path: PathBuf| path.is_dir().then(|| path.join("SKILL.md"));
        let (list, problems) = front_matter::load(&BUILT_IN, dir.as_ref(), file);
        Skills { list, problems }
    }

    /// What the system prompt says of them: a line each. Empty when there are none.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for skill in &self.list {
            if text.is_empty() {
                text += "\n\nSkills, to be loaded with load_skill before work that they are about:";
            }
            text += &format!("\n- {}: {}", skill.name, skill.description);
        }
        text
    }

    fn text(&self, name: &str) -> ToolOutcome {
        let skill = front_matter::find(&self.list, name)
            .map_err(|all| format!("there is no skill {name:?}. The skills are: {all}."))?;
        let body = skill.source.read()?.body;
        Ok(format!("<skill name=\"{name}\">\n{body}\n</skill>"))
    }
}

#[derive(Deserialize)]
struct LoadSkill {
    name: String,
}

/// The tool `load_skill`.
pub fn tool(skills: Skills) -> Tool {
    let about = "Loads the full text of a skill. The system prompt lists the skills.";
    let schema = object(json!({ "name": { "type": "string" } }), &["name"]);
    let load = move |input: LoadSkill, _: &_| skills.text(&input.name);
    Tool::new("load_skill", about, schema, Access::Free, load)
}
