//! A headless Chromium, driven over its DevTools protocol through two pipes: keys that it takes for
//! a person's, expressions evaluated in the page, and whatever goes wrong there.

use std::env::{split_paths, var_os};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::{PATIENCE, eventually, gate};

/// Looked for on the PATH, unless `CHROMIUM` names a program.
const NAMES: [&str; 6] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chrome-headless-shell",
];

pub struct Browser {
    child: Child,
    requests: File,
    answers: Receiver<Value>,
    session: Option<String>,
    count: u64,
    /// Errors of the page, and requests for anything but the page itself.
    pub problems: Vec<String>,
    _folder: TempDir,
}

/// The program to be used, if there is one.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = var_os("CHROMIUM") {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = split_paths(&var_os("PATH")?).collect();
    let all = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |it| it.join(name)));
    all.into_iter().find(|path| path.is_file())
}

impl Browser {
    /// Opens a file.
    pub fn open(program: &Path, page: &Path) -> Browser {
        let folder = tempfile::tempdir().expect("a folder for the browser");
        let (to, from) = (gate(folder.path(), "to"), gate(folder.path(), "from"));
        let mut command = Command::new("sh");
        // The descriptors at which it speaks the protocol. No sandbox: root has none.
        command.args(["-c", r#"exec "$0" "$@" 3<"$TO" 4>"$FROM""#]);
        command.arg(program).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--remote-debugging-pipe",
        ]);
        let data = format!("--user-data-dir={}", folder.path().join("data").display());
        command
            .arg(data)
            .arg("about:blank")
            .env("TO", &to)
            .env("FROM", &from);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("sh runs");
        let requests = OpenOptions::new().write(true).open(to).expect("a pipe");
        let (tell, answers) = channel();
        let read = move || {
            let from = BufReader::new(File::open(from).expect("a pipe"));
            let messages = from.split(0).map_while(Result::ok);
            let values = messages.filter_map(|text| serde_json::from_slice(&text).ok());
            values.for_each(|value: Value| drop(tell.send(value)));
        };
        thread::spawn(read);
        let mut browser = Browser {
            child,
            requests,
            answers,
            session: None,
            count: 0,
            problems: Vec::new(),
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", target);
        browser.session = session["sessionId"].as_str().map(str::to_string);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let url = format!("file://{}", page.display());
        browser.call("Page.navigate", json!({ "url": url }));
        eventually("the page is there", || {
            browser.evaluate("document.readyState + location.protocol") == "completefile:"
        });
        browser
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.count += 1;
        let mut request = json!({ "id": self.count, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        write!(self.requests, "{request}\0").expect("the browser runs");
        loop {
            let answer = self.answers.recv_timeout(PATIENCE);
            let answer = answer.expect("an answer of the browser");
            if answer["id"] == self.count {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let its = &event["params"];
        let url = its["request"]["url"].as_str().unwrap_or_default();
        let is_bad = match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => its["type"] == "error",
            "Log.entryAdded" => its["entry"]["level"] == "error",
            "Network.requestWillBeSent" => !url.starts_with("file://"),
            _ => false,
        };
        if is_bad {
            self.problems.push(its.to_string());
        }
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", parameters);
        let failed = &answer["exceptionDetails"];
        assert!(failed.is_null(), "{expression}: {failed}");
        answer["result"]["value"].clone()
    }

    /// Presses a key and lets it go; the names are those of `KeyboardEvent.key`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            " " => (32, " "),
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "End" => (35, ""),
            "Home" => (36, ""),
            "ArrowLeft" => (37, ""),
            "ArrowRight" => (39, ""),
            other => panic!("no number for {other}"),
        };
        let kind = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        for kind in [kind, "keyUp"] {
            let text = if kind == "keyUp" { "" } else { text };
            let event =
                json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }
}

/// It ends its own processes.
impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let _ = write!(
            self.requests,
            "{}\0",
            json!({ "id": 0, "method": "Browser.close" })
        );
        if thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
