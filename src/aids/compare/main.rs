//! aids · Synchronous beside background: one and the same list of instructions, given to the real
//! lesson programs at the same time, as bars that grow while they work, as a table, and as a page.
//!
//! The programs write a trace (`--trace`); this one reads it while it grows, and measures nothing.

mod picture;
mod run;
mod scene;

use std::path::PathBuf;
use std::process::{Command, ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use lexopt::{Arg, Parser, ValueExt};
use meanwhile::aids::timeline::page;
use meanwhile::terminal;
use picture::{Screen, charts, longest, rows, show, table};
use run::Run;
use scene::{SCENES, Scene};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const FRAME: Duration = Duration::from_millis(100);

const HELP: &str = "\
compare: the same work given to several programs, side by side

  --scene NAME     commands (slow commands in s07, s08 and s09: what it does without this option)
                   agents (three sub-agents and a question: one after the other as in s04;
                   side by side, but the turn waits for all; in the background as in s10)
                   team (six tasks: done by one agent, by three agents on threads as in s10,
                   by a pipeline as in s15, by a team of three processes as in s20)
  --scenario FILE  other work, one a line; {30} stands for 30 s, scaled
  --scale N        divide times by N (20; 5 is a speed to talk over, 1 takes them as they are)
  --chart FOLDER   also write each chart there as an SVG picture
  --html FILE      also write a page that plays it all in a browser
  --real           use the model that the environment names, instead of the practice model
  --help           this text

To show one lesson in slow motion, let the practice model think longer:
  MEANWHILE_THINKING_MS=1500 cargo run --bin s08_background_tasks
";

struct Options {
    scene: &'static Scene,
    scenario: Option<String>,
    scale: f64,
    chart: Option<PathBuf>,
    html: Option<PathBuf>,
    real: bool,
}

/// Leaves the program after `--help`.
fn options(mut parser: Parser) -> Result<Options, lexopt::Error> {
    let mut options = Options {
        scene: &SCENES[0],
        scenario: None,
        scale: 20.0,
        chart: None,
        html: None,
        real: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("scene") => {
                let name = parser.value()?.string()?;
                let found = SCENES.iter().find(|scene| scene.name == name);
                options.scene = found.ok_or("--scene takes commands, agents or team")?;
            }
            Arg::Long("scenario") => {
                let path: PathBuf = parser.value()?.into();
                let failed = |error| format!("{} cannot be read: {error}", path.display());
                options.scenario = Some(std::fs::read_to_string(&path).map_err(failed)?);
            }
            Arg::Long("scale") => options.scale = parser.value()?.parse()?,
            Arg::Long("chart") => options.chart = Some(parser.value()?.into()),
            Arg::Long("html") => options.html = Some(parser.value()?.into()),
            Arg::Long("real") => options.real = true,
            Arg::Long("help") | Arg::Short('h') => {
                show(HELP);
                exit(0)
            }
            other => return Err(other.unexpected()),
        }
    }
    match options.scale.is_finite() && options.scale > 0.0 {
        true => Ok(options),
        false => Err("--scale takes a number above 0".into()),
    }
}

fn main() -> ExitCode {
    run::become_program_if_asked();
    let (why, code) = match options(Parser::from_env()) {
        Err(error) => (format!("{error}\n\n{HELP}"), 2),
        Ok(options) => match compare(&options) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(why) => (why, 1),
        },
    };
    eprintln!("{why}");
    ExitCode::from(code)
}

fn compare(options: &Options) -> Result<(), String> {
    let Options { scene, scale, .. } = options;
    let scenario = options.scenario.as_deref().unwrap_or(scene.scenario);
    let script = |&(program, title)| {
        let script = scene.script(program, scenario, *scale)?;
        Ok((program, title, script))
    };
    let scripts: Result<Vec<_>, String> = scene.programs.iter().map(script).collect();
    let scripts = scripts?;
    if let Some(folder) = &options.chart {
        let failed = |error| format!("{} cannot be made: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    if options.real {
        let model = meanwhile::connect(&Default::default());
        if model.is_practice() {
            return Err("No model is connected: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or ANTHROPIC_BASE_URL.".to_string());
        }
        eprintln!("{}", model.describe());
    }
    build(scene)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let _ = signal_hook::flag::register(signal, stop.clone());
    }
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let name = format!("meanwhile-compare-{}-{now:x}", std::process::id());
    let work = std::env::temp_dir().join(name);
    let scale = (!options.real).then_some(options.scale);
    let start = |(program, title, script)| {
        Run::start(program, title, &work, &script, scale)
            .map_err(|error| format!("{title} cannot be started: {error}"))
    };
    let runs: Result<Vec<Run>, String> = scripts.into_iter().map(start).collect();
    let shown = runs.and_then(|runs| watch(runs, &stop, options));
    let _ = std::fs::remove_dir_all(&work);
    shown
}

/// Builds the lesson programs if Cargo runs us: `cargo run` builds only what it runs.
fn build(scene: &Scene) -> Result<(), String> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        return Ok(());
    };
    let names: Vec<&str> = scene.programs.iter().map(|it| it.0).collect();
    eprintln!("Building {} …", names.join(", "));
    let mut build = Command::new(cargo);
    // Cargo's variables about this package would make it compile `ring`, and all that rests on
    // it, once more.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    build.args(["build", "--quiet"]);
    build.args(names.iter().flat_map(|program| ["--bin", program]));
    build.args((!cfg!(debug_assertions)).then_some("--release"));
    match build.status().is_ok_and(|status| status.success()) {
        true => Ok(()),
        false => Err("The lesson programs could not be built; see above.".to_string()),
    }
}

fn watch(mut runs: Vec<Run>, stop: &AtomicBool, options: &Options) -> Result<(), String> {
    let screen = terminal::is_interactive().then(Screen::open);
    while !runs.iter().all(|run| run.status.is_some()) && !stop.load(Relaxed) {
        sleep(FRAME);
        runs.iter_mut().for_each(Run::update);
        if let (Some(screen), Some(size)) = (&screen, terminal::size()) {
            screen.draw(&runs, size); // the size is asked for again each time: that is all a resize takes
        }
    }
    drop(screen);
    if stop.load(Relaxed) {
        return Err("Stopped.".to_string());
    }
    if let Some(Run { title, .. }) = runs.iter().find(|run| !run.is_good()) {
        return Err(format!(
            "{title} did not come to the end of its turn. Run it by itself to see why."
        ));
    }
    let width = terminal::size().map_or(80, |(columns, _)| columns.min(120));
    let seconds = longest(&runs);
    let charts = charts(&runs, width.saturating_sub(1), seconds);
    let rows = rows(&runs, options.scene);
    show(&format!("{charts}\n{}", table(&rows)));
    if let Some(path) = &options.html {
        let played = |run: &Run| page::Run::of(run.title, run.chart(), &run.trace, run.time());
        let played: Vec<page::Run> = runs.iter().map(played).collect();
        let html = page::html("The same work, side by side", &played, &rows);
        let failed = |error| format!("{} cannot be written: {error}", path.display());
        std::fs::write(path, html).map_err(failed)?;
    }
    for run in &runs {
        let Some(folder) = &options.chart else { break };
        let path = folder.join(format!("{}.svg", run.name()));
        let mut chart = run.chart();
        let title = format!("{}: {:.1} s", run.title, chart.seconds);
        chart.seconds = seconds;
        let failed = |error| format!("{} cannot be written: {error}", path.display());
        std::fs::write(&path, chart.svg(&title)).map_err(failed)?;
    }
    Ok(())
}
