//! s05 · Skills: knowledge that is loaded when it is needed. The tool `load_skill` names them in
//! its description; a text is read from its file only when it is asked for.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::front_matter::{self, Document};
use crate::tool::{Access, Tool, ToolOutcome};
use crate::tools::{Name, object};

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

    /// What every request says of them: a line each.
    fn listing(&self) -> String {
        let line = |skill: &Document| format!("\n- {}: {}", skill.name, skill.description);
        self.list.iter().map(line).collect()
    }

    fn text(&self, name: &str) -> ToolOutcome {
        let skill = front_matter::find(&self.list, "skill", name)?;
        let body = skill.source.read()?.body;
        Ok(format!("<skill name=\"{name}\">\n{body}\n</skill>"))
    }
}

/// The tool `load_skill`.
pub fn tool(skills: Skills) -> Tool {
    let about = format!(
        "Loads the full text of a skill. Call it before work that a skill is about. The skills:{}",
        skills.listing()
    );
    let schema = object(json!({ "name": { "type": "string" } }), &["name"]);
    let load = move |Name { name }: Name, _: &_| skills.text(&name);
    Tool::new("load_skill", about, schema, Access::Free, load)
}
