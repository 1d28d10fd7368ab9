//! aids · Synchronous beside background: one and the same list of instructions, given to the real
//! lesson programs at the same time, as bars that grow while they work, and as a table.
//!
//! The programs write a trace (`--trace`); this one reads it while it grows, and measures nothing.

mod picture;
mod run;
mod scenario;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use lexopt::{Arg, Parser, ValueExt};
use meanwhile::terminal;
use picture::{Page, charts, longest, show, table};
use run::Run;
use scenario::instructions;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The programs that differ in how results arrive, and their titles.
const PROGRAMS: [(&str, &str); 3] = [
    ("s07_task_system", "s07 synchronous"),
    ("s08_background_tasks", "s08 background"),
    ("s09_notifications", "s09 notified"),
];
const FRAME: Duration = Duration::from_millis(100);

const HELP: &str = "\
compare: the same instructions given to s07, s08 and s09, side by side

  --scenario FILE  instructions, one a line; {30} stands for 30 s, scaled
  --scale N        divide times by N (20)
  --chart FOLDER   also write each chart there as an SVG picture
  --real           use the model that the environment names, instead of the practice model
  --help           this text
";

struct Options {
    scenario: String,
    scale: f64,
    chart: Option<PathBuf>,
    real: bool,
}

/// `None` if help is wanted.
fn options(mut parser: Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        scenario: include_str!("scenario.txt").to_string(),
        scale: 20.0,
        chart: None,
        real: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("scenario") => {
                let path: PathBuf = parser.value()?.into();
                let failed = |error| format!("{} cannot be read: {error}", path.display());
                options.scenario = std::fs::read_to_string(&path).map_err(failed)?;
            }
            Arg::Long("scale") => options.scale = parser.value()?.parse()?,
            Arg::Long("chart") => options.chart = Some(parser.value()?.into()),
            Arg::Long("real") => options.real = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    match options.scale.is_finite() && options.scale > 0.0 {
        true => Ok(Some(options)),
        false => Err("--scale takes a number above 0".into()),
    }
}

fn main() -> ExitCode {
    run::become_program_if_asked();
    match options(Parser::from_env()) {
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
        Ok(None) => show(HELP),
        Ok(Some(options)) => {
            if let Err(why) = compare(&options) {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn compare(options: &Options) -> Result<(), String> {
    let instructions = instructions(&options.scenario, options.scale);
    if instructions.is_empty() {
        return Err("The scenario holds no instruction. Give it one a line.".to_string());
    }
    if let Some(folder) = &options.chart {
        let failed = |error| format!("{} cannot be made: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    if options.real {
        let model = meanwhile::connect();
        if model.is_practice() {
            return Err("No model is connected: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or ANTHROPIC_BASE_URL.".to_string());
        }
        eprintln!("{}", model.describe());
    }
    let programs = programs()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let _ = signal_hook::flag::register(signal, stop.clone());
    }
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let name = format!("meanwhile-compare-{}-{now:x}", std::process::id());
    let work = std::env::temp_dir().join(name);
    let scale = (!options.real).then_some(options.scale);
    let start = |(program, title): (&str, _)| {
        Run::start(&programs.join(program), title, &work, &instructions, scale)
    };
    let runs: Result<Vec<Run>, String> = PROGRAMS.into_iter().map(start).collect();
    let shown = runs.and_then(|runs| watch(runs, &stop, options));
    let _ = std::fs::remove_dir_all(&work);
    shown
}

/// The folder of the lesson programs, which are built first if Cargo runs us: `cargo run` builds
/// only what it runs.
fn programs() -> Result<PathBuf, String> {
    let failed = |error| format!("cannot find this program: {error}");
    let me = std::env::current_exe().map_err(failed)?;
    let folder = me.parent().map(Path::to_path_buf).unwrap_or_default();
    let names = PROGRAMS.map(|(program, _)| program);
    if let Some(cargo) = std::env::var_os("CARGO") {
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
        build.args(folder.ends_with("release").then_some("--release"));
        if !build.status().is_ok_and(|status| status.success()) {
            return Err("The lesson programs could not be built; see above.".to_string());
        }
    }
    let missing = names.iter().find(|program| !folder.join(program).exists());
    let advice = |name| format!("{name} is not there: run `cargo build`, then this again.");
    missing.map_or(Ok(folder.clone()), |name| Err(advice(name)))
}

fn watch(mut runs: Vec<Run>, stop: &AtomicBool, options: &Options) -> Result<(), String> {
    let page = terminal::is_interactive().then(Page::open);
    while !runs.iter().all(Run::is_over) && !stop.load(Relaxed) {
        sleep(FRAME);
        runs.iter_mut().for_each(Run::update);
        if let (Some(page), Some(size)) = (&page, terminal::size()) {
            page.draw(&runs, size); // the size is asked for again each time: that is all a resize takes
        }
    }
    drop(page);
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
    show(&format!("{charts}\n{}", table(&runs)));
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
