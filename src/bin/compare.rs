//! Synchronous beside background: one and the same list of instructions, given to the real lesson
//! programs at the same time, as bars that grow while they work, and as a table.
//!
//! The programs write a trace (`--trace`); this one reads it while it grows. It measures nothing
//! itself.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::{Arg, Parser, ValueExt};
use meanwhile::terminal;
use meanwhile::timeline::chart::{Chart, Kind};
use meanwhile::timeline::{MAIN, Record, THINKING, TURN, svg};
use rustyline::DefaultEditor;

/// The programs that differ in how results arrive.
const PROGRAMS: [(&str, &str); 2] =
    [("s07_task_system", "s07 synchronous"), ("s08_background_tasks", "s08 background")];
const FRAME: Duration = Duration::from_millis(100);
/// The practice model's thinking time in seconds at full scale: what a real one takes.
const THINKING_TIME: f64 = 2.0;

const HELP: &str = "\
compare: the same instructions given to s07 and s08, side by side

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
    let mut options = Options { scenario, scale: 20.0, chart: None, real: false };
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
    let options = match options(Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
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
    let folder = programs()?;
    let instructions = instructions(&options.scenario, options.scale);
    let work = std::env::temp_dir().join(format!("meanwhile-compare-{}", std::process::id()));
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        let _ = signal_hook::flag::register(signal, stop.clone());
    }
    let runs = PROGRAMS
        .map(|(program, title)| Run::start(&folder.join(program), title, &work, &instructions, options));
    let runs = runs.into_iter().collect::<Result<Vec<Run>, String>>();
    let shown = runs.and_then(|runs| watch(runs, &stop, options));
    let _ = std::fs::remove_dir_all(&work);
    shown
}

/// The folder of the lesson programs, which are built first if Cargo runs us: `cargo run` builds
/// only what it runs.
fn programs() -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let folder = me.parent().map(Path::to_path_buf).unwrap_or_default();
    if let Some(cargo) = std::env::var_os("CARGO") {
        eprintln!("Building {} …", PROGRAMS.map(|(program, _)| program).join(" and "));
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet"]);
        build.args(PROGRAMS.iter().flat_map(|(program, _)| ["--bin", program]));
        build.args(folder.ends_with("release").then_some("--release"));
        match build.status() {
            Ok(status) if status.success() => {}
            _ => return Err("The lesson programs could not be built; see above.".to_string()),
        }
    }
    match PROGRAMS.iter().find(|(program, _)| !folder.join(program).exists()) {
        Some((program, _)) => Err(format!("{program} is not there: run `cargo build`, then this again.")),
        None => Ok(folder),
    }
}

/// One prompt of all lines, with every `{30}` divided by the scale.
fn instructions(scenario: &str, scale: f64) -> String {
    let lines = scenario.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut text = String::new();
    for (index, part) in lines.collect::<Vec<_>>().join(", then ").split('{').enumerate() {
        match part.split_once('}').map(|(number, rest)| (number.parse::<f64>(), rest)) {
            Some((Ok(seconds), rest)) if index > 0 => {
                let _ = write!(text, "{}{rest}", seconds / scale);
            }
            _ if index > 0 => text += &format!("{{{part}"),
            _ => text += part,
        }
    }
    text
}

/// A program at work, seen through its trace.
struct Run {
    title: &'static str,
    child: Child,
    trace: PathBuf,
    records: Vec<Record>,
    tracks: Vec<String>,
    started: Instant,
    over: bool,
}

impl Run {
    fn start(
        program: &Path,
        title: &'static str,
        work: &Path,
        instructions: &str,
        options: &Options,
    ) -> Result<Run, String> {
        let failed = |error: std::io::Error| format!("{title} cannot be started: {error}");
        let name = program.file_name().unwrap_or_default();
        let folder = work.join(name);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let trace = folder.join("trace.json");
        let mut command = Command::new(program);
        command.arg("--yes").arg("-p").arg(instructions).arg("--trace").arg(&trace).current_dir(&folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !options.real {
            for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"] {
                command.env_remove(name);
            }
            let thinking = THINKING_TIME * 1000.0 / options.scale;
            command.env("MEANWHILE_THINKING_MS", format!("{thinking:.0}"));
        }
        let child = command.spawn().map_err(failed)?;
        Ok(Run {
            title,
            child,
            trace,
            records: Vec::new(),
            tracks: Vec::new(),
            started: Instant::now(),
            over: false,
        })
    }

    /// Reads what the trace holds by now.
    fn update(&mut self) {
        self.over = self.child.try_wait().is_ok_and(|status| status.is_some());
        let text = std::fs::read_to_string(&self.trace).unwrap_or_default();
        let records = text.lines().map(|line| line.trim_end_matches(','));
        self.records = records.filter_map(|line| serde_json::from_str(line).ok()).collect();
        let names = self.records.iter().filter(|record| record.ph == 'M');
        self.tracks = names.filter_map(|record| record.args["name"].as_str()).map(str::to_string).collect();
    }

    fn turn_end(&self) -> Option<u64> {
        self.records.iter().find(|record| record.ph == 'E' && record.name == TURN).map(|record| record.ts)
    }

    fn chart(&self) -> Chart {
        let until = self.turn_end().unwrap_or(self.started.elapsed().as_micros() as u64);
        let spans: Vec<Record> = self.records.iter().filter(|record| record.ph != 'M').cloned().collect();
        Chart::of(&spans, &self.tracks, until, 0)
    }

    fn figures(&self) -> Figures {
        let chart = self.chart();
        let main = chart.lanes.iter().find(|lane| lane.label == MAIN);
        let waits = main.iter().flat_map(|lane| &lane.bars).filter(|bar| bar.kind == Kind::Tool);
        let ends = |record: &&Record| record.ph == 'E' && record.args["result"].is_string();
        let says = |record: &Record, words: &str| {
            record.args["result"].as_str().is_some_and(|result| result.contains(words))
        };
        let polls =
            |record: &&Record| record.name == "check_bg" && record.ph == 'E' && says(record, "still running");
        let brings = |record: &&Record| match record.name.as_str() {
            "bash" => true,
            "check_bg" => says(record, "finished") || says(record, "ERROR"),
            _ => false,
        };
        let start = self.records.iter().find(|record| record.name == TURN).map_or(0, |record| record.ts);
        let first = self.records.iter().filter(ends).find(brings).map(|record| record.ts);
        let handed = first.and_then(|first| {
            self.records.iter().find(|it| it.ph == 'B' && it.name == THINKING && it.ts >= first)
        });
        Figures {
            wall: chart.seconds,
            blocked: waits.map(|bar| bar.end - bar.start).sum(),
            first: handed.map(|record| (record.ts - start) as f64 / 1e6),
            requests: self
                .records
                .iter()
                .filter(|record| record.ph == 'B' && record.name == THINKING)
                .count(),
            wasted: self.records.iter().filter(polls).count(),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Figures {
    wall: f64,
    blocked: f64,
    first: Option<f64>,
    requests: usize,
    wasted: usize,
}

fn watch(mut runs: Vec<Run>, stop: &AtomicBool, options: &Options) -> Result<(), String> {
    let mut editor = terminal::is_interactive().then(DefaultEditor::new).and_then(Result::ok);
    let live = editor.is_some();
    if live {
        print!("\x1b[?1049h\x1b[?25l"); // another page, no cursor
    }
    while !runs.iter().all(|run| run.over) && !stop.load(Ordering::Relaxed) {
        sleep(FRAME);
        runs.iter_mut().for_each(Run::update);
        if let Some((columns, rows)) = editor.as_mut().and_then(DefaultEditor::dimensions) {
            let (columns, rows) = (usize::from(columns), usize::from(rows));
            let lines = charts(&runs, columns.saturating_sub(1), round_up(longest(&runs)));
            let shown: Vec<&str> = lines.lines().take(rows.saturating_sub(1)).collect();
            print!("\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\n"));
            let _ = stdout().flush();
        }
    }
    if live {
        print!("\x1b[?25h\x1b[?1049l");
    }
    if stop.load(Ordering::Relaxed) {
        return Err("Stopped.".to_string());
    }
    runs.iter_mut().for_each(Run::update);
    if let Some(run) = runs.iter().find(|run| run.turn_end().is_none()) {
        return Err(format!("{} ended before its turn did. Run it by itself to see why.", run.title));
    }
    println!("{}\n{}", charts(&runs, 79, longest(&runs)), table(&runs));
    for (run, folder) in runs.iter().flat_map(|run| options.chart.iter().map(move |folder| (run, folder))) {
        let name = run.title.split(' ').next().unwrap_or_default();
        let path = folder.join(format!("{name}.svg"));
        let longest = longest(&runs);
        let chart = Chart { seconds: longest, ..run.chart() };
        std::fs::write(&path, svg::draw(&chart, run.title))
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(())
}

fn longest(runs: &[Run]) -> f64 {
    runs.iter().map(|run| run.chart().seconds).fold(0.1, f64::max)
}

/// While it grows, the scale changes now and then, not with every frame.
fn round_up(seconds: f64) -> f64 {
    let steps = [5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0];
    steps.into_iter().find(|step| *step >= seconds).unwrap_or(seconds)
}

/// All charts on one time scale.
fn charts(runs: &[Run], width: usize, seconds: f64) -> String {
    let mut text = String::new();
    for run in runs {
        let chart = run.chart();
        let _ = writeln!(
            text,
            "{}: {:.1} s{}",
            run.title,
            chart.seconds,
            if run.turn_end().is_some() { "" } else { " …" }
        );
        let _ = writeln!(text, "{}", chart.draw(width, seconds));
    }
    text + &Chart::default().legend() + "\n"
}

fn table(runs: &[Run]) -> String {
    let figures: Vec<Figures> = runs.iter().map(Run::figures).collect();
    let row = |what: &str, cell: &dyn Fn(&Figures) -> String| {
        let cells: String = figures.iter().map(|figures| format!(" {:>16} |", cell(figures))).collect();
        format!("| {what:<34} |{cells}\n")
    };
    let titles: String = runs.iter().map(|run| format!(" {:>16} |", run.title)).collect();
    let line: String = runs.iter().map(|_| format!("{}:|", "-".repeat(17))).collect();
    format!("| {:<34} |{titles}\n|{}|{line}\n", "", "-".repeat(36))
        + &row("wall time", &|it| format!("{:.1} s", it.wall))
        + &row("main thread blocked on tools", &|it| format!("{:.1} s", it.blocked))
        + &row("first result in the model's hands", &|it| {
            it.first.map_or("never".to_string(), |first| format!("{first:.1} s"))
        })
        + &row("requests to the model", &|it| it.requests.to_string())
        + &row("of those, polls that found nothing", &|it| it.wasted.to_string())
}
