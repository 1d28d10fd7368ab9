//! How soon the program reacts to a key while four tasks pour out output at full speed: s11 at a
//! pseudo-terminal, from Ctrl+B to the moment at which it is on the screen that the command in the
//! foreground has been moved. The keyboard's thread takes the key; the main thread stops waiting.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const ROUNDS: usize = 50;
const LIMIT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

/// What the program has shown, as it comes.
struct Shown {
    pieces: Receiver<Vec<u8>>,
    text: String,
}

impl Shown {
    /// Reads on until this has been shown; what comes after it is kept.
    fn until(&mut self, what: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(what) {
                self.text = self.text.split_off(at + what.len());
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            let piece = self.pieces.recv_timeout(left);
            let piece =
                piece.unwrap_or_else(|_| panic!("never shown: {what:?}, after {:?}", self.text));
            self.text += &String::from_utf8_lossy(&piece);
        }
    }
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let size = PtySize {
        rows: 50,
        cols: 100,
        pixel_width: 0,
        pixel_height: 0,
    };
    let pair = native_pty_system()
        .openpty(size)
        .expect("a pseudo-terminal");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_s11_foreground_background"));
    command.cwd(folder.path());
    for (name, value) in [
        ("TERM", "xterm"),
        ("NO_COLOR", "1"),
        ("MEANWHILE_THINKING_MS", "0"),
    ] {
        command.env(name, value);
    }
    command.env("HOME", folder.path());
    for name in [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
    ] {
        command.env_remove(name);
    }
    let mut program = pair
        .slave
        .spawn_command(command)
        .expect("the program starts");
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().expect("a reader");
    let mut keys = pair.master.take_writer().expect("a keyboard");
    let (sender, pieces) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let _ = sender.send(buffer[..count].to_vec());
        }
    });
    let mut shown = Shown {
        pieces,
        text: String::new(),
    };
    let mut send = |text: &str| keys.write_all(text.as_bytes()).expect("the program reads");

    shown.until("s11 >> ");
    for name in ["a", "b", "c", "d"] {
        send(&format!("run \"yes {name}\" in the background as {name}\r"));
        shown.until(&format!("{name}: started in the background."));
    }
    let mut reactions = Vec::new();
    for seconds in 600..600 + ROUNDS {
        // What it is waiting for stands above the prompt.
        send(&format!("run \"sleep {seconds}\"\r"));
        shown.until(&format!("sleep {seconds}, 1 s"));
        let pressed = Instant::now();
        send("\x02");
        shown.until(&format!(
            "sleep-{seconds}: [running] moved to the background "
        ));
        reactions.push(pressed.elapsed());
        send(&format!("/stop sleep-{seconds}\r"));
        shown.until(&format!("◆ sleep-{seconds}: "));
    }
    send("exit\r");
    shown.until("Once more to leave.");
    send("exit\r");
    let status = program.wait().expect("the program ends");
    assert!(status.success(), "{status}");

    reactions.sort();
    let ms = |percent: usize| {
        reactions[(reactions.len() * percent / 100).min(reactions.len() - 1)].as_secs_f64() * 1000.0
    };
    println!(
        "from Ctrl+B to its effect on the screen, {ROUNDS} times, while four tasks run `yes`:"
    );
    println!(
        "  median {:.1} ms, 10 % {:.1}, 90 % {:.1}, longest {:.1}",
        ms(50),
        ms(10),
        ms(90),
        ms(100)
    );
    println!(
        "  limit for the longest: {:.0} ms",
        LIMIT.as_secs_f64() * 1000.0
    );
    ExitCode::from(u8::from(
        reactions.last().is_some_and(|longest| *longest > LIMIT),
    ))
}
