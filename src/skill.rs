//! Skills: knowledge that is loaded when it is needed. The system prompt names them; the text is
//! read from the file only when `load_skill` asks for it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::front_matter::{self, Document};
use crate::tool::{Access, Tool};
use crate::tools::object;

const BUILT_IN: [&str; 1] = [include_str!("skill/commit-message.md")];

#[derive(Debug, Clone)]
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

#[derive(Debug, Clone)]
struct Skill {
    name: String,
    description: String,
    source: Source,
}

/// The skills that can be loaded by name.
#[derive(Debug, Clone, Default)]
pub struct Skills {
    list: Vec<Skill>,
    /// One sentence for each skill that cannot be used.
    pub problems: Vec<String>,
}

impl Skills {
    /// The built-in skills and those in `dir/*/SKILL.md`; one in the folder takes the place of
    /// one of the same name. Never fails: what cannot be used is in [`problems`](Self::problems).
    pub fn load(dir: impl AsRef<Path>) -> Self {
        let mut all = Skills::default();
        let folders = front_matter::entries(dir.as_ref(), &mut all.problems);
        let files = folders
            .iter()
            .filter(|path| path.is_dir())
            .map(|path| path.join("SKILL.md"));
        for source in BUILT_IN
            .map(Source::BuiltIn)
            .into_iter()
            .chain(files.map(Source::File))
        {
            match source.read() {
                Ok(Document {
                    name, description, ..
                }) => {
                    all.list.retain(|old| old.name != name);
                    all.list.push(Skill {
                        name,
                        description,
                        source,
                    });
                }
                Err(why) => all.problems.push(why),
            }
        }
        all
    }

    /// What the system prompt says of them: a line each. Empty when there are none.
    pub fn listing(&self) -> String {
        if self.list.is_empty() {
            return String::new();
        }
        let mut text =
            "\n\nSkills, to be loaded with load_skill before work that they are about:".to_string();
        for Skill {
            name, description, ..
        } in &self.list
        {
            text += &format!("\n- {name}: {description}");
        }
        text
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
}

/// The tool `load_skill`.
pub fn tool(skills: Skills) -> Tool {
    let description = "Loads the full text of a skill. The system prompt lists the skills.";
    let schema = object(json!({ "name": { "type": "string" } }), &["name"]);
    Tool::new(
        "load_skill",
        description,
        schema,
        Access::Free,
        move |Input { name }, _| {
            let Some(skill) = skills.list.iter().find(|skill| skill.name == name) else {
                let names: Vec<&str> = skills
                    .list
                    .iter()
                    .map(|skill| skill.name.as_str())
                    .collect();
                return Err(format!(
                    "there is no skill {name:?}. The skills are: {}.",
                    names.join(", ")
                )
                .into());
            };
            let body = skill.source.read()?.body;
            Ok(format!("<skill name=\"{name}\">\n{body}\n</skill>"))
        },
    )
}
