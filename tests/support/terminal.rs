//! Drives a lesson the way a person does: through a real pseudo-terminal, with a screen to look at.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tempfile::TempDir;

use super::program::program;

/// Long enough for a slow machine; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal {
    pub folder: TempDir,
    pub child: Box<dyn Child + Send + Sync>,
    pub master: Option<Box<dyn MasterPty + Send>>,
    keys: Box<dyn Write + Send>,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

impl Terminal {
    /// Starts a lesson at a terminal of 24 rows and 100 columns. `variables` are added to its
    /// environment; `before` is run first in the same terminal by a shell that then becomes it.
    pub fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut command = CommandBuilder::new(program(name));
        command.args(arguments);
        Self::run(folder, command, variables)
    }

    /// Starts any command in a terminal.
    pub fn run(folder: TempDir, mut command: CommandBuilder, variables: &[(&str, &str)]) -> Self {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ANTHROPIC_") {
                command.env_remove(name);
            }
        }
        command.env_remove("MODEL_ID");
        command.env("TERM", "xterm");
        command.env("NO_COLOR", "1");
        command.env("MEANWHILE_THINKING_MS", "0");
        command.env("HOME", folder.path());
        command.env("XDG_STATE_HOME", folder.path().join("state"));
        command.cwd(folder.path());
        for (name, value) in variables {
            command.env(name, value);
        }
        let size = PtySize { rows: 24, cols: 100, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let child = pair.slave.spawn_command(command).expect("the program starts");
        drop(pair.slave);
        let screen = Arc::new((Mutex::new(vt100::Parser::new(24, 100, 1000)), Condvar::new()));
        let (mut output, drawn) = (pair.master.try_clone_reader().expect("a reader"), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                drawn.0.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..count]);
                drawn.1.notify_all();
            }
        });
        let keys = pair.master.take_writer().expect("a writer");
        Terminal { folder, child, master: Some(pair.master), keys, screen }
    }

    pub fn send(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
        self.keys.flush().expect("the terminal takes keys");
    }

    /// Waits until the screen is as wanted; the text has no white space at its line ends.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut parser = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let text = tidy(&parser.screen().contents());
            if wanted(&text) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the screen never came to: {what}\n--- it shows:\n{text}");
            (parser, _) = self.screen.1.wait_timeout(parser, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut parser = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        parser.screen_mut().set_size(rows, columns);
        let size = PtySize { rows, cols: columns, ..PtySize::default() };
        self.master.as_ref().expect("it is there").resize(size).expect("another size");
    }

    /// True while a program draws on another page, or hides the cursor.
    pub fn is_taken_over(&self) -> bool {
        let parser = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        parser.screen().alternate_screen() || parser.screen().hide_cursor()
    }

    #[track_caller]
    pub fn until_shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Waits until the last line is this, the cursor standing behind it.
    #[track_caller]
    pub fn until_prompt(&self, line: &str) {
        self.until(line, |screen| screen.lines().next_back().unwrap_or_default() == line.trim_end());
    }

    /// Waits for the program's end; its exit code.
    pub fn wait(&mut self) -> u32 {
        self.child.wait().expect("the program ends").exit_code()
    }
}

fn tidy(screen: &str) -> String {
    screen.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
