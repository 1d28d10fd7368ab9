//! Drives a program the way a person does: through a real pseudo-terminal, with a screen to look at.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{FlowArg, SetArg, SpecialCharacterIndices, tcflow, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use tempfile::TempDir;

pub use super::program::{PATIENCE, eventually};
use super::program::{eventually_or, program, threads};

const SIZE: PtySize = PtySize {
    rows: 50,
    cols: 100,
    pixel_width: 0,
    pixel_height: 0,
};

/// A program about to be started at a terminal of its own, in a folder of its own.
pub struct Seat {
    pub folder: Arc<TempDir>,
    command: CommandBuilder,
}

impl Seat {
    /// A lesson.
    pub fn new(name: &str) -> Self {
        Self::at(program(name))
    }

    /// Any program.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder for the test"));
        let mut command = CommandBuilder::new(program.into());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ANTHROPIC_") {
                command.env_remove(name);
            }
        }
        command.env_remove("MODEL_ID");
        command.env("TERM", "xterm");
        command.env("NO_COLOR", "1");
        command.env("MEANWHILE_THINKING_MS", "0");
        Seat { folder, command }.folder(None)
    }

    /// The folder of another seat: its files, its history.
    pub fn folder(mut self, folder: Option<Arc<TempDir>>) -> Self {
        self.folder = folder.unwrap_or(self.folder);
        self.command.env("HOME", self.folder.path());
        self.command
            .env("XDG_STATE_HOME", self.folder.path().join("state"));
        self.command.cwd(self.folder.path());
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn start(self) -> Terminal {
        let pair = native_pty_system()
            .openpty(SIZE)
            .expect("a pseudo-terminal");
        let before = settings(&*pair.master);
        let child = pair
            .slave
            .spawn_command(self.command)
            .expect("the program starts");
        drop(pair.slave);
        let parser = vt100::Parser::new(SIZE.rows, SIZE.cols, 1000);
        let shown = Arc::new(Shown {
            screen: Mutex::new(Screen {
                parser,
                bytes: Vec::new(),
                over: false,
            }),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
        });
        let (mut output, to) = (
            pair.master.try_clone_reader().expect("a reader"),
            shown.clone(),
        );
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut screen = to.lock();
                screen.parser.process(&buffer[..count]);
                screen.bytes.extend(&buffer[..count]);
                drop(screen);
                to.changed.notify_all();
                if to.closing.load(SeqCst) {
                    break;
                }
            }
            to.lock().over = true;
            to.changed.notify_all();
        });
        let keys = pair.master.take_writer().expect("a writer");
        Terminal {
            folder: self.folder,
            child,
            before,
            keys,
            master: Some(pair.master),
            shown,
            reader: Some(reader),
        }
    }
}

struct Screen {
    parser: vt100::Parser,
    /// All that came.
    bytes: Vec<u8>,
    /// Nothing more will come.
    over: bool,
}

struct Shown {
    screen: Mutex<Screen>,
    changed: Condvar,
    closing: AtomicBool,
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program at a terminal of 50 rows and 100 columns.
pub struct Terminal {
    pub folder: Arc<TempDir>,
    child: Box<dyn Child + Send + Sync>,
    /// The terminal's settings before the program started.
    before: String,
    keys: Box<dyn Write + Send>,
    pub master: Option<Box<dyn MasterPty + Send>>,
    shown: Arc<Shown>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    pub fn id(&self) -> Pid {
        Pid::from_raw(self.child.process_id().expect("a process id") as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.id(), signal).expect("the program is there");
    }

    /// Presses keys.
    pub fn send(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
        self.keys.flush().expect("the terminal takes keys");
    }

    /// Types a line.
    pub fn line(&mut self, line: &str) {
        self.send(&format!("{line}\r"));
    }

    /// What the screen shows, without white space at line ends.
    pub fn text(&self) -> String {
        tidy(&self.shown.lock().parser.screen().contents())
    }

    /// All that the program sent.
    pub fn bytes(&self) -> Vec<u8> {
        self.shown.lock().bytes.clone()
    }

    /// Waits until the screen is as wanted; its text has no white space at its line ends.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        self.wait_for(what, |screen| {
            wanted(&tidy(&screen.parser.screen().contents()))
        });
    }

    #[track_caller]
    fn wait_for(&self, what: &str, wanted: impl Fn(&Screen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut screen = self.shown.lock();
        while !wanted(&screen) {
            let left = deadline.saturating_duration_since(Instant::now());
            let over = screen.over || left.is_zero();
            let text = || tidy(&screen.parser.screen().contents());
            assert!(
                !over,
                "the screen never came to: {what}\n--- it shows:\n{}",
                text()
            );
            (screen, _) = self
                .shown
                .changed
                .wait_timeout(screen, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// True while a program draws on another page, or hides the cursor.
    pub fn is_taken_over(&self) -> bool {
        let screen = self.shown.lock();
        screen.parser.screen().alternate_screen() || screen.parser.screen().hide_cursor()
    }

    #[track_caller]
    pub fn until_shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Waits until the screen ends like this; whatever the status line above the prompt says, if
    /// the text leaves that out.
    #[track_caller]
    pub fn until_ends(&self, text: &str) {
        let text = text.trim_end();
        self.until(text, |screen| {
            screen.ends_with(text) || without_status(screen).ends_with(text)
        });
    }

    /// Waits until the prompt has given the keyboard back: a turn runs, and Ctrl+C is a signal.
    #[track_caller]
    pub fn until_busy(&self) {
        eventually("the terminal takes whole lines again", || {
            self.master
                .as_deref()
                .is_some_and(|master| settings(master).contains("ICANON"))
        });
    }

    /// True if the terminal's settings are those from before the program.
    pub fn is_as_before(&self) -> bool {
        self.master
            .as_deref()
            .is_some_and(|master| settings(master) == self.before)
    }

    /// True while a paste would be marked as one.
    pub fn marks_pastes(&self) -> bool {
        self.shown.lock().parser.screen().bracketed_paste()
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, cols: u16) {
        self.shown.lock().parser.screen_mut().set_size(rows, cols);
        let size = PtySize { rows, cols, ..SIZE };
        self.master
            .as_ref()
            .expect("an open terminal")
            .resize(size)
            .expect("another size");
    }

    /// Waits for the program's end, and for the last of what it printed, unless the screen is held;
    /// its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> u32 {
        let (id, child) = (self.id(), &mut self.child);
        let mut status: Option<ExitStatus> = None;
        eventually_or(
            "the program ends",
            || threads(id),
            || {
                status = child.try_wait().expect("a child");
                status.is_some()
            },
        );
        self.wait_for("its end", |screen| screen.over);
        status.map_or(0, |status| status.exit_code())
    }

    /// Takes no more of what the program prints, as Ctrl+S does where it is no key.
    pub fn hold(&mut self) {
        self.stop_reading();
        tcflow(self.other_end(), FlowArg::TCOOFF).expect("a terminal that can be held");
    }

    /// The reader would hold the terminal open. It notices once there is something to read: the
    /// echo of a key.
    fn stop_reading(&mut self) {
        self.shown.closing.store(true, SeqCst);
        if let Some(reader) = self.reader.take() {
            self.send("x");
            reader.join().expect("the reader");
        }
    }

    fn other_end(&self) -> File {
        let name = self.master.as_ref().and_then(|master| master.tty_name());
        let mut open = OpenOptions::new();
        open.read(true).custom_flags(OFlag::O_NOCTTY.bits());
        open.open(name.expect("a name"))
            .expect("the terminal's other end")
    }

    /// Closes the terminal, as its window's cross does.
    pub fn close(&mut self) {
        // The writer's end would be typed as Ctrl+D, if there were such a key.
        let slave = self.other_end();
        let mut settings = tcgetattr(&slave).expect("its settings");
        settings.control_chars[SpecialCharacterIndices::VEOF as usize] = 0;
        tcsetattr(&slave, SetArg::TCSANOW, &settings).expect("its settings");
        drop(slave);
        self.stop_reading();
        self.keys = Box::new(std::io::sink());
        self.master = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn settings(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().expect("a terminal's settings"))
}

/// The screen without the line above the last prompt.
pub fn without_status(screen: &str) -> String {
    let mut lines: Vec<&str> = screen.lines().collect();
    let prompt = lines.iter().rposition(|line| line.contains(" >>"));
    if let Some(above) = prompt.and_then(|at| at.checked_sub(1)) {
        lines.remove(above);
    }
    lines.join("\n")
}

fn tidy(screen: &str) -> String {
    screen
        .trim_end()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}
