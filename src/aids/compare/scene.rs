//! aids · What is compared: some programs, and what they are told.

use crate::picture::{agents, commands, team};
use crate::run::Run;

/// A comparison. The programs differ in how results arrive.
pub struct Scene {
    pub name: &'static str,
    /// Files and titles.
    pub programs: &'static [(&'static str, &'static str)],
    /// What they are told, if no `--scenario` says otherwise.
    pub scenario: &'static str,
    /// A program's column of the table, with the labels of its rows.
    pub figures: fn(&Run) -> Vec<(&'static str, String)>,
}

pub const SCENES: [Scene; 3] = [
    Scene {
        name: "commands",
        programs: &[
            ("s07_task_system", "s07 synchronous"),
            ("s08_background_tasks", "s08 background"),
            ("s09_notifications", "s09 notified"),
        ],
        scenario: include_str!("scenario.txt"),
        figures: commands,
    },
    Scene {
        name: "agents",
        programs: &[
            ("s04_subagent", "s04 one after the other"),
            (WAIT_FOR_ALL, "all side by side, but the turn waits for all"),
            ("s10_background_agents", "s10 in the background"),
        ],
        scenario: include_str!("agents.txt"),
        figures: agents,
    },
    Scene {
        name: "team",
        programs: &[
            ("s07_task_system", "s07 one agent"),
            (
                "s10_background_agents",
                "s10 agents on threads, two tasks each",
            ),
            ("s15_pipelines", "s15 a pipeline, an agent for each task"),
            ("s20_parallel_teams", "s20 a team: each takes the next task"),
        ],
        scenario: include_str!("team.txt"),
        figures: team,
    },
];

/// Who works in the scene `team`. A pipeline has as many places.
const WORKERS: [&str; 3] = ["ann", "ben", "cid"];

/// The program whose `task` takes all sub-agents in one call.
const WAIT_FOR_ALL: &str = "wait_for_all";

/// What a program is told.
#[derive(Clone)]
pub struct Script {
    pub prompt: String,
    /// What is typed so many seconds after the start.
    pub question: Option<(f64, String)>,
}

impl Scene {
    /// What this program is told, with every `{30}` divided by the scale.
    ///
    /// # Errors
    /// When the scenario does not fit the scene.
    pub fn script(&self, program: &str, scenario: &str, scale: f64) -> Result<Script, String> {
        let scenario = scaled(scenario, scale);
        let mut lines: Vec<&str> = scenario.lines().map(str::trim).collect();
        lines.retain(|line| !line.is_empty() && !line.starts_with('#'));
        if lines.is_empty() {
            return Err("The scenario holds no instruction. Give it one a line.".to_string());
        }
        if self.name == "commands" {
            let (prompt, question) = (lines.join(", then "), None);
            return Ok(Script { prompt, question });
        }
        if self.name == "team" {
            let (prompt, question) = (shared(program, &lines), None);
            return Ok(Script { prompt, question });
        }
        let (mut delegations, mut question) = (Vec::new(), None);
        for line in lines {
            let Some((name, text)) = line.split_once(": ") else {
                return Err(format!("Not `NAME: what to do`: {line}"));
            };
            match name.strip_prefix("after ").map(str::parse) {
                Some(Ok(seconds)) => question = Some((seconds, text.to_string())),
                _ if program == WAIT_FOR_ALL => delegations.push(line.to_string()),
                _ => delegations.push(format!("delegate {} as {name}", quoted(text))),
            }
        }
        if question.is_none() || delegations.is_empty() {
            return Err("This scene takes sub-agents, `NAME: what to do`, and a question, `after {10}: what to do`, one a line.".to_string());
        }
        let prompt = match program {
            WAIT_FOR_ALL => format!("delegate {} as agents", quoted(&delegations.join(" ‖ "))),
            _ => delegations.join(", then "),
        };
        Ok(Script { prompt, question })
    }
}

/// The same tasks, as this program shares them out.
fn shared(program: &str, tasks: &[&str]) -> String {
    let create = |task: &&str| format!("create task {}", quoted(task));
    let plan = tasks.iter().map(create);
    let end = match program {
        "s15_pipelines" => "dispatch tasks".to_string(),
        "s20_parallel_teams" => {
            let mates = WORKERS.join(" ");
            format!("start team crew with {mates}, then stop the team")
        }
        "s10_background_agents" => {
            let deal = |(at, name): (usize, &&str)| {
                let own = tasks.iter().skip(at).step_by(WORKERS.len());
                let own: Vec<&str> = own.copied().collect();
                (!own.is_empty())
                    .then(|| format!("delegate {} as {name}", quoted(&own.join(", then "))))
            };
            let dealt = WORKERS.iter().enumerate().filter_map(deal);
            return dealt.collect::<Vec<_>>().join(", then ");
        }
        _ => return tasks.join(", then "),
    };
    plan.chain([end]).collect::<Vec<_>>().join(", then ")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "\\'"))
}

/// Every `{30}` divided by the scale. Other braces stay as they are.
fn scaled(scenario: &str, scale: f64) -> String {
    let mut parts = scenario.split('{');
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (time, rest) = part.split_once('}').unwrap_or_default();
        text += &match time.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() => format!("{}{rest}", seconds / scale),
            _ => format!("{{{part}"),
        };
    }
    text
}
