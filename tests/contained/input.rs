//! Row 8: who wants input gets none, at once, and never the person's keys.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use meanwhile::interrupt::Interrupt;
use meanwhile::outcome::{End, Outcome};

use super::support::*;
use super::terminal::Seat;

/// It comes back by itself, with this exit code. (Helpers of git may need an instant more than git.)
#[track_caller]
fn ends(command: &str, code: i32) -> String {
    prepare();
    match run_blocking(command, NO_LIMIT, &Interrupt::default()) {
        (Outcome { end, output }, _) if end == End::Finished(Some(code)) => output,
        other => panic!("{command}: {other:?}"),
    }
}

#[test]
fn reading_finds_the_end_of_file() {
    assert_eq!(ends("cat; echo done", 0), "done\n");
    assert_eq!(ends("read -p 'Your name: ' name", 1), "");
    assert_eq!(
        ends("read -s -p 'Password: ' word; echo \"[$word]\"", 0),
        "[]\n"
    );
    assert_eq!(
        ends("bash -c 'setsid cat; (cat) && echo done'", 0),
        "done\n"
    );
}

/// The way sudo, ssh and getpass ask: past standard input, through the terminal.
#[test]
fn asking_through_the_terminal_finds_none() {
    let no_terminal = "/dev/tty: No such device or address";
    assert!(ends("LC_ALL=C; read -s -p 'Password: ' word < /dev/tty", 1).contains(no_terminal));
    assert!(ends("LC_ALL=C; echo 'Password: ' > /dev/tty", 1).contains(no_terminal));
    assert!(ends("LC_ALL=C; stty -echo < /dev/tty", 1).contains(no_terminal));
    assert_eq!(ends("LC_ALL=C tty", 1), "not a tty\n");
    ends("for i in 0 1 2; do [ -t $i ] && exit 9; done; exit 4", 4);
}

/// A server that wants a password for everything.
#[test]
fn git_does_not_ask_for_a_password() {
    let has_git = std::process::Command::new("git")
        .arg("--version")
        .output()
        .is_ok();
    if !has_git {
        return println!("not looked at: there is no git here");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let place = Place::new();
    // Nothing of the person who runs this: no helper that knows a password or asks in a window.
    let git = "env -u GIT_ASKPASS -u SSH_ASKPASS -u http_proxy -u HTTP_PROXY -u all_proxy HOME={} LC_ALL=C \
        GIT_CONFIG_NOSYSTEM=1 git";
    let clone = place.command(&format!(
        "{git} clone http://127.0.0.1:{port}/secret.git {{}}/clone"
    ));
    let output = ends(&clone, 128);
    assert!(output.contains("terminal prompts disabled"), "{output}");
    let push = format!(
        "cd {{}} && {git} init -q work && cd work && {git} -c user.name=a -c user.email=a@b.c commit -q --allow-empty -m one \
         && {git} push http://127.0.0.1:{port}/secret.git HEAD"
    );
    let output = ends(&place.command(&push), 128);
    assert!(output.contains("terminal prompts disabled"), "{output}");
}

/// At a real terminal: what is typed while a command runs waits for the prompt.
#[test]
fn the_persons_keys_go_to_the_prompt() {
    let place = Place::new();
    place.gate("gate");
    let mut terminal = Seat::new("s01_agent_loop").start();
    terminal.until_ends("s01 >>");
    let command =
        place.command("read line < {}/gate; cat; read -t 1 x; read x < /dev/tty; echo got [$x]");
    terminal.send(&format!("run '{command}'\r"));
    let gate = place.open("gate");
    terminal.send("run 'echo these were $((1 + 1)) lines'\r");
    drop(gate);
    terminal.until_shows("got []");
    terminal.until_shows("these were 2 lines");
    terminal.send("exit\r");
    assert_eq!(terminal.wait(), 0);
}
