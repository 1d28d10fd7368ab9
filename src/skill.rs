//! s05 · Skills: knowledge that is loaded when it is needed. The system prompt names them; the
//! text is read from the file only when `load_skill` asks for it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::front_matter::{self, Document};
use crate::tool::{Access, Tool, ToolOutcome};
use crate::tools::object;

const BUILT_IN: [&str; 1] = [include_str!("skill/commit-message.md")];

/// Where to read a skill.
enum Source {
    BuiltIn(&'static str),
    File(PathBuf),
}

impl Source {
    fn read(&self) -> Result<Document, String> {
        match self {
            Source::BuiltIn(text) => front_matter::parse(text),
            Source::File(path) => front_matter::read(path),
        }
    }
}

/// The skills that can be loaded by name.
#[derive(Default)]
pub struct Skills {
    /// Each as it was at the start, and where to read it when it is asked for.
    list: Vec<(Document, Source)>,
    /// One sentence for each skill that cannot be used.
    pub problems: Vec<String>,
}

impl Skills {
    /// The built-in skills and those in `dir/*/SKILL.md`; one in the folder takes the place of
    /// one of the same name. Never fails: what cannot be used is in [`problems`](Self::problems).
    pub fn load(dir: impl AsRef<Path>) -> Self {
        let mut all = Skills::default();
        for text in BUILT_IN {
            all.add(Source::BuiltIn(text));
        }
        for path in front_matter::entries(dir.as_ref(), &mut all.problems) {
            if path.is_dir() {
                all.add(Source::File(path.join("SKILL.md")));
            }
        }
        all
    }

    fn add(&mut self, source: Source) {
        match source.read() {
            Ok(skill) => {
                self.list.retain(|(old, _)| old.name != skill.name);
                self.list.push((skill, source));
            }
            Err(why) => self.problems.push(why),
        }
    }

    /// What the system prompt says of them: a line each. Empty when there are none.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for (skill, _) in &self.list {
            if text.is_empty() {
                text += "\n\nSkills, to be loaded with load_skill before work that they are about:";
            }
            text += &format!("\n- {}: {}", skill.name, skill.description);
        }
        text
    }

    fn text(&self, name: &str) -> ToolOutcome {
        let Some((_, source)) = self.list.iter().find(|(skill, _)| skill.name == name) else {
            let names: Vec<&str> = self.list.iter().map(|(skill, _)| &*skill.name).collect();
            let names = names.join(", ");
            return Err(format!(
                "there is no skill {name:?}. The skills are: {names}."
            ));
        };
        let body = source.read()?.body;
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
