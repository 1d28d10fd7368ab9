//! aids · Synchronous beside background: one and the same list of instructions, given to the real lesson
//! programs at the same time, as bars that grow while they work, and as a table.
//!
//! The programs write a trace (`--trace`); this one reads it while it grows. It measures nothing
//! itself.

mod picture;
mod run;
mod scenario;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use meanwhile::aids::timeline::chart::Chart;
use meanwhile::{model, terminal};
use picture::{Page, charts, longest, show, table};
use run::Run;
use scenario::instructions;

/// The programs that differ in how results arrive.
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
  --help           this text";

struct Options {
    scenario: String,
    scale: f64,
    chart: Option<PathBuf>,
    real: bool,
}

fn options(mut parser: Parser) -> Result<Option<Options>, lexopt::Error> {
    let scenario = include_str!("scenario.txt").to_string();
    let mut options = Options {
        scenario,
        scale: 20.0,
        chart: None,
        real: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("scenario") => {
                let path: PathBuf = parser.value()?.into();
                options.scenario = std::fs::read_to_string(&path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            }
            Arg::Long("scale") => options.scale = parser.value()?.parse()?,
            Arg::Long("chart") => options.chart = Some(parser.value()?.into()),
            Arg::Long("real") => options.real = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if !(options.scale.is_finite() && options.scale > 0.0) {
        return Err("--scale takes a number above 0".into());
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    run::become_program_if_asked();
    let options = match options(Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            show(&format!("{HELP}\n"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match compare(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let instructions = instructions(&options.scenario, options.scale);
    if instructions.is_empty() {
        return Err("The scenario holds no instruction. Give it one a line.".to_string());
    }
    if let Some(folder) = &options.chart {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    }
    let real = options.real.then(model::connect);
    match real
        .as_ref()
        .map(|model| (model.is_practice(), model.describe()))
    {
        Some((true, _)) => {
            return Err("No model is connected: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or ANTHROPIC_BASE_URL.".to_string());
        }
        Some((false, name)) => eprintln!("{name}"),
        None => {}
    }
    let folder = programs()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        let _ = signal_hook::flag::register(signal, stop.clone());
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(
        "meanwhile-compare-{}-{:x}",
        std::process::id(),
        now.as_nanos()
    );
    let work = std::env::temp_dir().join(name);
    let runs = PROGRAMS.map(|(program, title)| {
        Run::start(
            &folder.join(program),
            title,
            &work,
            &instructions,
            (!options.real).then_some(options.scale),
        )
    });
    let runs = runs.into_iter().collect::<Result<Vec<Run>, String>>();
    let shown = runs.and_then(|runs| watch(runs, &stop, options));
    let _ = std::fs::remove_dir_all(&work);
    shown
}

/// The folder of the lesson programs, which are built first if Cargo runs us: `cargo run` builds
/// only what it runs.
fn programs() -> Result<PathBuf, String> {
    let me =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let folder = me.parent().map(Path::to_path_buf).unwrap_or_default();
    if let Some(cargo) = std::env::var_os("CARGO") {
        eprintln!(
            "Building {} …",
            PROGRAMS.map(|(program, _)| program).join(", ")
        );
        let mut build = Command::new(cargo);
        // What Cargo told us about this package is no news for the build of others: with it, the
        // build script of `ring` runs again, and all that rests on it is compiled again.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&*name);
            }
        }
        build.args(["build", "--quiet"]);
        build.args(PROGRAMS.iter().flat_map(|(program, _)| ["--bin", program]));
        build.args(folder.ends_with("release").then_some("--release"));
        match build.status() {
            Ok(status) if status.success() => {}
            _ => return Err("The lesson programs could not be built; see above.".to_string()),
        }
    }
    match PROGRAMS
        .iter()
        .find(|(program, _)| !folder.join(program).exists())
    {
        Some((program, _)) => Err(format!(
            "{program} is not there: run `cargo build`, then this again."
        )),
        None => Ok(folder),
    }
}

fn watch(mut runs: Vec<Run>, stop: &AtomicBool, options: &Options) -> Result<(), String> {
    let page = terminal::is_interactive().then(Page::open);
    while !runs.iter().all(Run::is_over) && !stop.load(Ordering::Relaxed) {
        sleep(FRAME);
        runs.iter_mut().for_each(Run::update);
        if let (Some(page), Some(size)) = (&page, terminal::size()) {
            page.draw(&runs, size); // the size is asked for again each time: that is all a resize takes
        }
    }
    drop(page);
    if stop.load(Ordering::Relaxed) {
        return Err("Stopped.".to_string());
    }
    runs.iter_mut().for_each(Run::update);
    if let Some(run) = runs.iter().find(|run| !run.is_good()) {
        return Err(format!(
            "{} did not come to the end of its turn. Run it by itself to see why.",
            run.title
        ));
    }
    let width = terminal::size()
        .map_or(80, |(columns, _)| columns.min(120))
        .saturating_sub(1);
    let charts = charts(&runs, width, longest(&runs));
    show(&format!("{charts}\n{}", table(&runs)));
    for (run, folder) in runs
        .iter()
        .flat_map(|run| options.chart.iter().map(move |folder| (run, folder)))
    {
        let path = folder.join(format!("{}.svg", run.name()));
        let chart = run.chart();
        let title = format!("{}: {:.1} s", run.title, chart.seconds);
        let chart = Chart {
            seconds: longest(&runs),
            ..chart
        };
        std::fs::write(&path, chart.svg(&title))
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(())
}
