//! The client of the Messages API against a strict fake server: what it sends, and what it makes
//! of everything that can come back.

mod support;

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meanwhile::agent::Agent;
use meanwhile::event::{Event, Events};
use meanwhile::interrupt::Interrupt;
use meanwhile::message::{ContentBlock, Message, Role, Usage, push_user};
use meanwhile::model::anthropic::Anthropic;
use meanwhile::model::{Model, ModelError};
use meanwhile::tool::{Access, Context, Tool, Toolbox};
use serde_json::{Value, json};
use support::server::{
    Answer, Server, body_faults, events, reply_blocks, reply_error, reply_text, reply_tool, sse,
};

const KEY: &str = "sk-ant-secret-0123456789";

/// A conversation with a fake server.
struct Talk {
    server: Server,
    agent: Agent,
    messages: Vec<Message>,
    log: Arc<Mutex<Vec<Event>>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    text: String,
}

fn echo() -> Tool {
    let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } },
        "required": ["text"], "additionalProperties": false });
    Tool::new(
        "echo",
        "Says the text.",
        schema,
        Access::Free,
        |Echo { text }, _| match text.as_str() {
            "fail" => Err("asked to fail".into()),
            _ => Ok(text),
        },
    )
}

/// A client that wastes no time.
fn client(url: &str) -> Anthropic {
    let mut client = Anthropic::new(url, Some(KEY), "fake-model");
    client.backoff = Duration::from_millis(1);
    client
}

fn talk(answers: impl IntoIterator<Item = Answer>) -> Talk {
    talk_with(answers, |_| {}, |_, _| {})
}

/// A talk with a changed client, and a reader of its events that may trigger the interrupt.
fn talk_with(
    answers: impl IntoIterator<Item = Answer>,
    change: impl FnOnce(&mut Anthropic),
    react: impl Fn(&Event, &Interrupt) + Send + Sync + 'static,
) -> Talk {
    let server = Server::start(answers);
    server.expect_header("x-api-key", KEY);
    let mut model = client(&server.url());
    change(&mut model);
    let (log, interrupt) = (Arc::new(Mutex::new(Vec::new())), Interrupt::default());
    let (writer, latch) = (log.clone(), interrupt.clone());
    let events = Events::default().with(Box::new(move |stamped| {
        writer.lock().unwrap().push(stamped.event.clone());
        react(stamped.event, &latch);
    }));
    let context = Context {
        events,
        interrupt,
        ..Context::default()
    };
    let mut agent = Agent::new(Arc::new(model), "You are a test.", context);
    agent.toolbox.add([echo()]);
    Talk {
        server,
        agent,
        messages: Vec::new(),
        log,
    }
}

impl Talk {
    /// The loop of every lesson.
    fn turn(&mut self, text: &str) -> Result<(), ModelError> {
        push_user(&mut self.messages, text);
        loop {
            let reply = self.agent.ask(&mut self.messages)?;
            if reply.tool_calls().is_empty() {
                return Ok(());
            }
            self.agent.run_tools(reply, &mut self.messages);
        }
    }

    fn notices(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let notice = |event: &Event| {
            if let Event::Notice(text) = event {
                Some(text.clone())
            } else {
                None
            }
        };
        log.iter().filter_map(notice).collect()
    }

    fn streamed(&self) -> String {
        let log = self.log.lock().unwrap();
        log.iter()
            .map(|event| {
                if let Event::Text(text) = event {
                    text.as_str()
                } else {
                    ""
                }
            })
            .collect()
    }

    /// Results of tools, in order: output and whether it is an error.
    fn results(&self) -> Vec<(&str, bool)> {
        let blocks = self.messages.iter().flat_map(|message| &message.content);
        let result = |block| match block {
            &ContentBlock::ToolResult {
                ref content,
                is_error,
                ..
            } => Some((content.as_str(), is_error)),
            _ => None,
        };
        blocks.filter_map(result).collect()
    }

    #[track_caller]
    fn last_text(&self) -> &str {
        let last = self.messages.last().expect("a message");
        assert_eq!(last.role, Role::Assistant);
        last.content
            .last()
            .and_then(ContentBlock::as_text)
            .expect("a text")
    }
}

/// One fault, then a good answer: exactly one notice, and nothing of the fault in the history.
#[track_caller]
fn survives(fault: Answer, notice: &str) {
    let mut talk = talk([fault, reply_text("all well")]);
    talk.turn("hi").unwrap();
    assert_eq!(talk.messages, [Message::user("hi"), assistant("all well")]);
    assert_eq!(talk.notices().len(), 1, "{:?}", talk.notices());
    assert!(
        talk.notices()[0].contains(notice),
        "{:?} has no {notice:?}",
        talk.notices()
    );
    assert!(
        talk.notices()[0].contains("; trying again in "),
        "{:?}",
        talk.notices()
    );
}

fn assistant(text: &str) -> Message {
    Message {
        role: Role::Assistant,
        content: vec![ContentBlock::text(text)],
    }
}

/// The error of a turn that a single answer ends.
#[track_caller]
fn gives_up(fault: Answer) -> String {
    let mut talk = talk([fault, reply_text("fine again")]);
    let error = talk.turn("hi").unwrap_err();
    assert_eq!(talk.notices(), [""; 0]);
    assert_eq!(talk.messages, [Message::user("hi")]);
    talk.turn("once more").unwrap(); // the conversation goes on
    error.to_string()
}

fn half(text: &str) -> String {
    let mut events = events(&[json!({ "type": "text", "text": text })], "end_turn");
    events.truncate(4); // up to the first delta
    sse(&events)
}

// What is sent

#[test]
fn the_request_is_what_the_api_expects() {
    let mut talk = talk([
        reply_tool("toolu_1", "echo", json!({ "text": "a" })),
        reply_tool("toolu_2", "echo", json!({ "text": "b" })),
        reply_text("done"),
    ]);
    talk.turn("go").unwrap();
    let requests = talk.server.requests();
    let body = &requests[2].body;
    let marker = json!({ "type": "ephemeral" });
    assert_eq!(body["model"], "fake-model");
    assert_eq!(
        body["system"],
        json!([{ "type": "text", "text": "You are a test.", "cache_control": marker }])
    );
    assert_eq!(body["tools"][0]["cache_control"], marker);
    let marked: Vec<_> = requests[2]
        .messages()
        .iter()
        .map(|m| m["content"][0].get("cache_control").is_some())
        .collect();
    assert_eq!(marked, [false, false, true, false, true]);
    let call =
        json!({ "type": "tool_use", "id": "toolu_1", "name": "echo", "input": { "text": "a" } });
    assert_eq!(
        requests[2].messages()[1],
        json!({ "role": "assistant", "content": [call] })
    );
}

#[test]
fn an_empty_system_prompt_and_an_empty_toolbox_are_left_out() {
    let mut talk = talk([reply_text("hello")]);
    (talk.agent.system, talk.agent.toolbox) = (String::new(), Toolbox::default());
    talk.turn("hi").unwrap();
    let body = &talk.server.requests()[0].body;
    assert!(
        body.get("system").is_none() && body.get("tools").is_none(),
        "{body}"
    );
}

#[test]
fn requests_share_a_connection() {
    let mut talk = talk([
        reply_text("one"),
        reply_error(400, "invalid_request_error", "no"),
        reply_text("two"),
    ]);
    talk.turn("a").unwrap();
    talk.turn("b").unwrap_err();
    talk.turn("c").unwrap();
    assert!(
        talk.server
            .requests()
            .iter()
            .all(|request| request.connection == 0)
    );
}

#[test]
fn the_environment_decides() {
    let from = |vars: &[(&str, &str)]| {
        let vars: Vec<_> = vars
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        Anthropic::from_vars(|name| {
            vars.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        })
    };
    let describe = |vars: &[(&str, &str)]| from(vars).map(|client| client.describe());
    assert_eq!(describe(&[]), None);
    assert_eq!(
        describe(&[("ANTHROPIC_API_KEY", " "), ("ANTHROPIC_BASE_URL", "")]),
        None
    );
    assert_eq!(describe(&[("ANTHROPIC_MODEL", "m")]), None);
    let expected = Some("Model: claude-sonnet-4-5 at https://api.anthropic.com".to_string());
    assert_eq!(describe(&[("ANTHROPIC_API_KEY", "k")]), expected);
    assert_eq!(describe(&[("ANTHROPIC_AUTH_TOKEN", "t")]), expected);
    for url in [
        "http://h:1",
        "http://h:1/",
        "http://h:1/v1",
        "http://h:1/v1/",
    ] {
        let vars = [
            ("ANTHROPIC_BASE_URL", url),
            ("ANTHROPIC_MODEL", ""),
            ("MODEL_ID", "m"),
        ];
        assert_eq!(describe(&vars), Some("Model: m at http://h:1".to_string()));
    }
    let vars = [
        ("ANTHROPIC_BASE_URL", "http://h/proxy/v1"),
        ("MODEL_ID", "m"),
        ("ANTHROPIC_MODEL", "n"),
    ];
    assert_eq!(
        describe(&vars),
        Some("Model: n at http://h/proxy".to_string())
    );
}

#[test]
fn a_token_goes_into_the_authorization_header() {
    let mut talk = talk([]);
    let server = Server::start([reply_text("hello")]);
    server.expect_header("authorization", "Bearer my-token");
    let vars = [
        ("ANTHROPIC_AUTH_TOKEN", "my-token".to_string()),
        ("ANTHROPIC_BASE_URL", server.url()),
    ];
    let var = |name: &str| {
        vars.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.clone())
    };
    talk.agent.model = Arc::new(Anthropic::from_vars(var).unwrap());
    talk.turn("hi").unwrap();
    assert_eq!(server.requests()[0].headers.get("x-api-key"), None);
}

#[test]
fn the_server_is_strict() {
    let user = |content: Value| json!({ "role": "user", "content": content });
    let text = |text: &str| json!({ "type": "text", "text": text });
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "t", "input": {} });
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "" });
    let assistant = |content: Value| json!({ "role": "assistant", "content": content });
    let body = |messages: Value| json!({ "model": "m", "max_tokens": 1, "stream": true, "messages": messages });
    let refused = |messages: Value| body_faults(&body(messages), false);
    let start = user(json!([text("hi")]));

    assert_eq!(refused(json!([start])), [""; 0]);
    let good = json!([
        start,
        assistant(json!([call("a"), call("b")])),
        user(json!([result("a"), result("b"), text("x")]))
    ]);
    assert_eq!(refused(good), [""; 0]);
    for bad in [
        json!([]),
        json!([user(json!([text(" \n")]))]),
        json!([user(json!([]))]),
        json!([start, start]),
        json!([assistant(json!([text("hi")]))]),
        json!([start, assistant(json!([text("hi")]))]),
        json!([start, assistant(json!([call("a")])), start]),
        json!([
            start,
            assistant(json!([call("a"), call("b")])),
            user(json!([result("a")]))
        ]),
        json!([
            start,
            assistant(json!([call("a")])),
            user(json!([result("a"), result("a")]))
        ]),
        json!([
            start,
            assistant(json!([call("a")])),
            user(json!([text("x"), result("a")]))
        ]),
        json!([
            start,
            assistant(json!([call("a"), call("a")])),
            user(json!([result("a"), result("a")]))
        ]),
        json!([
            start,
            assistant(json!([call("")])),
            user(json!([result("")]))
        ]),
        json!([user(json!([result("a")]))]),
        json!([user(json!([text("x"), call("a")]))]),
    ] {
        assert_ne!(refused(bad.clone()), [""; 0], "{bad}");
    }
    for (key, value) in [
        ("model", json!("")),
        ("max_tokens", json!(0)),
        ("stream", json!(false)),
        ("system", json!([text("")])),
        (
            "tools",
            json!([{ "name": "a b", "description": "", "input_schema": { "type": "object" } }]),
        ),
        (
            "tools",
            json!([{ "name": "a", "description": "", "input_schema": { "type": "string" } }]),
        ),
        ("tools", json!(vec![json!({ "cache_control": {} }); 5])),
    ] {
        let mut bad = body(json!([start]));
        bad[key] = value;
        assert_ne!(body_faults(&bad, false), [""; 0], "{bad}");
    }
}

// What may pass: tried again, and nothing is left of the failed try

#[test]
fn a_429_waits_as_long_as_it_was_told() {
    let mut answer = reply_error(429, "rate_limit_error", "Slow down. Please.");
    if let Answer::Http { headers, .. } = &mut answer {
        headers.push(("retry-after", "0".to_string()));
    }
    // Without the header, the wait would be an hour.
    let long = |client: &mut Anthropic| client.backoff = Duration::from_secs(3600);
    let mut talk = talk_with([answer, reply_text("hello")], long, |_, _| {});
    talk.turn("hi").unwrap();
    assert_eq!(
        talk.notices(),
        ["The model's server answered 429: Slow down. Please; trying again in 0 s."]
    );
}

#[test]
fn no_wait_is_longer_than_a_minute_and_ctrl_c_ends_it() {
    for value in ["3600", "1e300", "soon", "-1", "NaN"] {
        let mut answer = reply_error(429, "rate_limit_error", "Slow down");
        if let Answer::Http { headers, .. } = &mut answer {
            headers.push(("retry-after", value.to_string()));
        }
        let long = |client: &mut Anthropic| client.backoff = Duration::MAX;
        let mut talk = talk_with([answer], long, |event, interrupt| {
            if let Event::Notice(_) = event {
                interrupt.trigger();
            }
        });
        assert_eq!(talk.turn("hi"), Err(ModelError::Interrupted));
        let expected = if value == "3600" { "60 s" } else { " s" };
        assert!(talk.notices()[0].contains(expected), "{:?}", talk.notices());
    }
}

#[test]
fn overloaded_twice() {
    let overloaded = || reply_error(529, "overloaded_error", "Overloaded");
    let mut talk = talk([overloaded(), overloaded(), reply_text("hello")]);
    talk.turn("hi").unwrap();
    assert_eq!(talk.last_text(), "hello");
    let notices = talk.notices();
    assert_eq!(notices.len(), 2);
    assert!(
        notices
            .iter()
            .all(|notice| notice.contains("529: Overloaded; trying again in 0 s.")),
        "{notices:?}"
    );
}

#[test]
fn overloaded_for_good_ends_the_turn_with_a_sentence() {
    let overloaded = || reply_error(529, "overloaded_error", "Overloaded");
    let mut talk = talk([
        overloaded(),
        overloaded(),
        overloaded(),
        overloaded(),
        overloaded(),
    ]);
    let error = talk.turn("hi").unwrap_err();
    assert_eq!(
        error.to_string(),
        "The model's server answered 529: Overloaded. Wait a little, then say it again."
    );
    assert_eq!(talk.notices().len(), 4);
    talk.server.push(reply_text("hello"));
    talk.turn("again").unwrap();
}

#[test]
fn statuses_that_pass() {
    for status in [408, 409, 500, 502, 503, 504] {
        let body = "<html>a proxy's page</html>".to_string();
        survives(
            Answer::Http {
                status,
                headers: vec![],
                body,
            },
            &status.to_string(),
        );
    }
    survives(
        Answer::Http {
            status: 500,
            headers: vec![],
            body: String::new(),
        },
        "500: no reason given",
    );
}

#[test]
fn connections_and_streams_that_break() {
    survives(Answer::HangUp, "No connection to the model");
    survives(Answer::Drop(String::new()), "No connection to the model");
    survives(
        Answer::Drop(half("half a reply")),
        "No connection to the model",
    );
    survives(
        Answer::Stream(half("half a reply")),
        "it ended before it was complete",
    );
    survives(
        Answer::Stream(String::new()),
        "it ended before it was complete",
    );
    survives(
        Answer::Raw(b"this is not HTTP\r\n\r\n".to_vec()),
        "No connection to the model",
    );
}

#[test]
fn a_stream_that_breaks_inside_a_tool_call_runs_nothing() {
    let call =
        json!({ "type": "tool_use", "id": "toolu_1", "name": "echo", "input": { "text": "a" } });
    let mut started = events(&[call], "tool_use");
    started.truncate(started.len() - 2); // everything but the stop reason
    survives(Answer::Drop(sse(&started)), "No connection to the model");
    survives(
        Answer::Stream(sse(&started)),
        "it ended before it was complete",
    );
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut talk = talk([]);
    talk.agent.model = Arc::new(client(&format!("http://127.0.0.1:{port}")));
    let error = talk.turn("hi").unwrap_err();
    assert!(matches!(error, ModelError::Failed(_)), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(talk.notices().len(), 4);
    assert_eq!(talk.messages, [Message::user("hi")]);
}

#[test]
fn a_stalled_stream_is_given_up() {
    let short = |client: &mut Anthropic| client.idle_timeout = Duration::from_secs(1);
    let mut talk = talk_with(
        [Answer::Stall(half("never to be")), reply_text("hello")],
        short,
        |_, _| {},
    );
    talk.turn("hi").unwrap();
    talk.server.wait_until_abandoned();
    assert_eq!(talk.messages, [Message::user("hi"), assistant("hello")]);
    assert!(
        talk.notices()[0].contains("the server has fallen silent; trying again"),
        "{:?}",
        talk.notices()
    );
}

#[test]
fn garbage_in_the_stream() {
    let garbage = |text: &str| Answer::Stream(half("half") + text);
    survives(
        garbage("data: {\"type\": \"content_block_de\n\n"),
        "an event is no JSON",
    );
    survives(garbage("data: [DONE]\n\n"), "an event is no JSON");
    survives(
        garbage(&format!("data: {}\n\n", "[".repeat(100_000))),
        "an event is no JSON",
    );
    let stray = json!({ "type": "content_block_delta", "index": 7, "delta": { "type": "text_delta", "text": "x" } });
    survives(
        garbage(&format!("data: {stray}\n\n")),
        "a block that had not begun",
    );
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n";
    survives(
        Answer::Raw([&head[..], b"data: \xff\xfe\n"].concat()),
        "No connection",
    );
    survives(
        Answer::Stream("<html>\n\nnot the API\n\n".to_string()),
        "ended before it was complete",
    );
}

#[test]
fn errors_inside_the_stream() {
    let error = |error: Value| {
        Answer::Stream(half("half") + &sse(&[json!({ "type": "error", "error": error })]))
    };
    survives(
        error(json!({ "type": "overloaded_error", "message": "Overloaded" })),
        "529: Overloaded",
    );
    survives(
        error(json!({ "type": "api_error", "message": "Oops" })),
        "500: Oops",
    );
    survives(
        error(json!({ "type": "rate_limit_error", "message": "Slow" })),
        "429: Slow",
    );
    survives(
        error(json!({ "type": "timeout_error", "message": "Late" })),
        "504: Late",
    );
    let last = gives_up(error(
        json!({ "type": "invalid_request_error", "message": "prompt is too long" }),
    ));
    assert!(last.contains("prompt is too long"), "{last}");
    let last = gives_up(error(
        json!({ "type": "new_error", "message": "who knows" }),
    ));
    assert!(last.contains("who knows"), "{last}");
    gives_up(error(json!(17)));
}

// What does not pass: the API's own words, at once

#[test]
fn other_errors_are_said_in_the_servers_own_words() {
    let error = gives_up(reply_error(404, "not_found_error", "model: fake-model"));
    assert_eq!(
        error,
        "The model's server answered 404: model: fake-model. Check ANTHROPIC_MODEL and ANTHROPIC_BASE_URL."
    );
    let page = |status| Answer::Http {
        status,
        headers: vec![],
        body: "é".repeat(1000),
    };
    assert!(gives_up(page(403)).chars().count() < 700);
    assert!(gives_up(page(301)).contains("answered 301: é"));
    let plain = |body: &str| Answer::Http {
        status: 400,
        headers: vec![],
        body: body.to_string(),
    };
    assert!(gives_up(plain("{\"error\": \"just a string\"}")).contains("400: just a string"));
    assert!(gives_up(plain("{\"message\": \"bare\"}")).contains("400: bare"));
    assert!(gives_up(plain("")).contains("400: no reason given"));
}

#[test]
fn the_key_is_in_no_error() {
    let error = gives_up(reply_error(
        401,
        "authentication_error",
        &format!("invalid x-api-key {KEY}!"),
    ));
    assert!(error.contains("[key]!") && !error.contains(KEY), "{error}");
    let long = "x".repeat(490) + KEY;
    let error = gives_up(reply_error(401, "authentication_error", &long));
    assert!(!error.contains("sk-ant"), "{error}");

    let mut talk = talk([]);
    for (url, key) in [
        ("http://127.0.0.1:9", "sk-ant\nbroken"),
        ("http://127.0.0.1:9", "sk-ant-schlüssel"),
        ("not a url", KEY),
        ("", KEY),
        ("localhost:8080", KEY),
        ("ftp://files", KEY),
        ("http://", KEY),
        ("http:///v1", KEY),
        ("http://a b", KEY),
        ("http://127.0.0.1:99999", KEY),
    ] {
        let mut model = Anthropic::new(url, Some(key), "m");
        model.backoff = Duration::from_millis(1);
        talk.agent.model = Arc::new(model);
        let error = talk.turn("hi").unwrap_err().to_string();
        assert!(
            error.starts_with("No connection to the model: ") && !error.contains("sk-ant"),
            "{error}"
        );
        assert!(!talk.agent.model.describe().contains("sk-ant"));
    }
    assert!(
        talk.notices()
            .iter()
            .all(|notice| !notice.contains("sk-ant")),
        "{:?}",
        talk.notices()
    );
}

// Ctrl+C

#[test]
fn ctrl_c_ends_a_stalled_stream_and_the_next_request_works() {
    let answers = [
        Answer::Stall(String::new()),
        Answer::Stall(half("half")),
        reply_text("hello"),
    ];
    let mut talk = talk(answers);
    push_user(&mut talk.messages, "hi");
    for _ in 0..2 {
        let error = std::thread::scope(|scope| {
            let asked = scope.spawn(|| talk.agent.ask(&mut talk.messages));
            talk.server.wait_until_stalled();
            talk.agent.context.interrupt.trigger();
            asked.join().unwrap().unwrap_err()
        });
        assert_eq!(error, ModelError::Interrupted);
        talk.server.wait_until_abandoned();
        talk.agent.context.interrupt.reset();
    }
    assert_eq!(talk.messages, [Message::user("hi")]);
    talk.turn("go on").unwrap();
    assert_eq!(talk.last_text(), "hello");
    assert_eq!(talk.notices(), [""; 0]);
}

// What the model may say

#[test]
fn text_arrives_in_pieces_and_counts_are_kept() {
    let mut script = events(
        &[json!({ "type": "text", "text": "Grüße, 世界" })],
        "end_turn",
    );
    let counts = json!({ "input_tokens": 3, "output_tokens": 1,
        "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300 });
    script[0]["message"]["usage"] = counts;
    let last = script.len() - 2;
    script[last]["usage"] =
        json!({ "input_tokens": null, "output_tokens": 40, "cache_read_input_tokens": null });
    let mut talk = talk([Answer::Stream(sse(&script))]);
    talk.turn("hi").unwrap();
    assert_eq!(
        (talk.last_text(), talk.streamed().as_str()),
        ("Grüße, 世界", "Grüße, 世界")
    );
    let expected = Usage {
        input_tokens: 3,
        output_tokens: 40,
        cache_creation_input_tokens: 20,
        cache_read_input_tokens: 300,
    };
    let log = talk.log.lock().unwrap();
    assert!(
        log.iter().any(
            |event| matches!(event, Event::RequestFinished(Some(usage)) if *usage == expected)
        )
    );
    let pieces = log
        .iter()
        .filter(|event| matches!(event, Event::Text(text) if !text.is_empty()));
    assert_eq!(pieces.count(), 2);
}

#[test]
fn thinking_is_kept_and_sent_back() {
    let thinking =
        json!({ "type": "thinking", "thinking": "hm, let me see", "signature": "c2lnbmVk" });
    let redacted = json!({ "type": "redacted_thinking", "data": "b3BhcXVl" });
    let call =
        json!({ "type": "tool_use", "id": "toolu_1", "name": "echo", "input": { "text": "a" } });
    let blocks = [thinking, redacted, call];
    let mut talk = talk([reply_blocks(&blocks, "tool_use"), reply_text("done")]);
    talk.turn("hi").unwrap();
    assert_eq!(
        talk.server.requests()[1].messages()[1]["content"],
        json!(blocks)
    );
    assert_eq!(talk.streamed(), "done");
}

#[test]
fn unknown_blocks_and_events_are_tolerated() {
    let unknown = json!({ "type": "hologram", "depth": 3 });
    let mut script = events(
        &[unknown.clone(), json!({ "type": "text", "text": "hello" })],
        "end_turn",
    );
    let odd = [
        json!({ "type": "new_event", "index": 0 }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "new_delta", "x": 1 } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": null }),
        json!({ "type": 7 }),
        json!([1, 2]),
        json!(null),
        (0..100).fold(json!({}), |inner, _| json!({ "deep": [inner] })),
    ];
    script.splice(3..3, odd);
    let mut talk = talk([
        Answer::Stream(sse(&script) + ": a comment\n\nretry: 5\nid\n\n"),
        reply_text("more"),
    ]);
    talk.turn("hi").unwrap();
    talk.turn("go on").unwrap();
    let requests = talk.server.requests();
    assert_eq!(
        requests[1].messages()[1]["content"],
        json!([unknown, { "type": "text", "text": "hello" }])
    );
    assert_eq!(talk.notices(), [""; 0]);
}

/// Every place in a JSON value, as JSON pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{at}/{key}");
        places(inner, &place, all);
        all.push(place);
    }
}

#[test]
fn wrong_types_everywhere() {
    let blocks = [
        json!({ "type": "thinking", "thinking": "hm, hm", "signature": "c2lnbmVk" }),
        json!({ "type": "text", "text": "hello" }),
        json!({ "type": "tool_use", "id": "toolu_1", "name": "echo", "input": { "text": "a" } }),
    ];
    let good = events(&blocks, "tool_use");
    let mut all = Vec::new();
    good.iter()
        .enumerate()
        .for_each(|(index, event)| places(event, &index.to_string(), &mut all));
    let server = Server::start([]);
    let mut talk = talk([]);
    talk.agent.model = Arc::new(client(&server.url()));
    for place in all {
        let (index, pointer) = place.split_at(place.find('/').unwrap());
        for wrong in [
            json!(null),
            json!(5),
            json!("x"),
            json!([1]),
            json!({ "type": 5 }),
            json!({ "text": 5 }),
        ] {
            let mut script = good.clone();
            *script[index.parse::<usize>().unwrap()]
                .pointer_mut(pointer)
                .unwrap() = wrong.clone();
            // Taken as it is, or tried again; never a panic, and the next request is valid.
            server.push(Answer::Stream(sse(&script)));
            (0..4).for_each(|_| server.push(reply_text("well")));
            talk.messages.clear();
            for text in ["hi", "go on"] {
                talk.turn(text)
                    .unwrap_or_else(|error| panic!("{place} = {wrong}: {error}"));
            }
            server.forget_answers();
        }
    }
}

#[test]
fn blocks_may_come_in_any_order_and_grow_side_by_side() {
    let start = |index: Value, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
    let delta = |index: Value, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    let text = |text: &str| json!({ "type": "text_delta", "text": text });
    let mut script = events(&[], "end_turn");
    let odd = [
        start(json!(3), json!({ "type": "text", "text": "c" })),
        start(json!(1), json!({ "type": "text" })),
        start(Value::Null, json!({ "type": "text", "text": "" })),
        delta(json!(3), text("C")),
        delta(json!(1), text("a")),
        delta(Value::Null, text("n")),
        delta(json!(1), text("A")),
        delta(json!(1), json!({ "type": "text_delta", "text": 5 })),
    ];
    script.splice(2..2, odd);
    let mut talk = talk([Answer::Stream(sse(&script))]);
    talk.turn("hi").unwrap();
    let content: Vec<_> = ["cC", "aA", "n"].map(ContentBlock::text).into();
    assert_eq!(
        talk.messages[1],
        Message {
            role: Role::Assistant,
            content
        }
    );
}

#[test]
fn a_server_that_does_not_stream() {
    let body = json!({ "type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [{ "type": "text", "text": "well" },
            { "type": "tool_use", "id": "toolu_1", "name": "echo", "input": { "text": "a" } }],
        "usage": { "input_tokens": 1, "output_tokens": 2 } });
    let body = serde_json::to_string_pretty(&body).unwrap();
    let headers = vec![(
        "content-type",
        "application/json; charset=utf-8".to_string(),
    )];
    let mut talk = talk([
        Answer::Http {
            status: 200,
            headers,
            body,
        },
        reply_text("done"),
    ]);
    talk.turn("hi").unwrap();
    assert_eq!(talk.results(), [("a", false)]);
    assert_eq!(talk.streamed(), "welldone");
}

#[test]
fn a_stream_that_never_ends_after_its_last_event_is_a_reply() {
    let mut script = events(&[json!({ "type": "text", "text": "hello" })], "end_turn");
    let whole = sse(&script);
    script.pop(); // no message_stop: the stop reason has come, and then the connection breaks
    let mut talk = talk([
        Answer::Stall(whole),
        Answer::Drop(sse(&script)),
        Answer::Stream(sse(&script)),
    ]);
    talk.turn("hi").unwrap();
    talk.server.wait_until_abandoned();
    talk.turn("more").unwrap();
    talk.turn("more").unwrap();
    assert_eq!(
        talk.messages
            .iter()
            .filter(|message| **message == assistant("hello"))
            .count(),
        3
    );
    assert_eq!(talk.notices(), [""; 0]);
}

#[test]
fn llama_cpp() {
    // No `input` and no pings; errors without an outer type.
    let mut script = events(
        &[json!({ "type": "tool_use", "id": "call_1", "name": "echo", "input": { "text": "a" } })],
        "tool_use",
    );
    script.retain(|event| event["type"] != "ping");
    script[1]["content_block"]
        .as_object_mut()
        .unwrap()
        .remove("input");
    let unavailable = json!({ "error": { "code": 503, "message": "Loading model", "type": "unavailable_error" } });
    let too_large = json!({ "error": { "code": 400, "message": "too large", "type": "exceed_context_size_error" } });
    let mut talk = talk([
        Answer::Stream(half("half") + &format!("error: {}\n\n", unavailable["error"])),
        Answer::Stream(half("half") + &format!("error: {unavailable}\n\n")),
        Answer::Stream(half("half") + &format!("data: {unavailable}\n\n")),
        Answer::Http {
            status: 503,
            headers: vec![],
            body: unavailable.to_string(),
        },
        Answer::Stream(sse(&script)),
        reply_text("done"),
        Answer::Stream(format!("data: {too_large}\n\n")),
    ]);
    talk.turn("hi").unwrap();
    assert_eq!(talk.results(), [("a", false)]);
    let notices = talk.notices();
    assert_eq!(notices.len(), 4);
    assert!(
        notices
            .iter()
            .all(|notice| notice.contains("503: Loading model; trying again")),
        "{notices:?}"
    );
    let error = talk.turn("more").unwrap_err().to_string();
    assert!(error.contains("answered 400: too large."), "{error}");
}

#[test]
fn nothing_said_is_nothing_kept() {
    for blocks in [
        vec![],
        vec![json!({ "type": "text", "text": " \n" })],
        vec![json!({ "type": "text", "text": "" })],
    ] {
        let mut talk = talk([reply_blocks(&blocks, "end_turn"), reply_text("hello")]);
        talk.turn("hi").unwrap();
        assert_eq!(talk.messages, [Message::user("hi")]);
        assert_eq!(talk.notices(), ["The model had nothing to say."]);
        talk.turn("well?").unwrap();
        assert_eq!(talk.last_text(), "hello");
    }
}

#[test]
fn an_odd_stop_reason_is_said_and_the_talk_goes_on() {
    let blocks = [json!({ "type": "text", "text": "hm" })];
    let mut talk = talk([reply_blocks(&blocks, "bored"), reply_text("hello")]);
    talk.turn("hi").unwrap();
    assert_eq!(
        talk.notices(),
        ["The model stopped for a reason unknown here: bored."]
    );
    talk.turn("well?").unwrap();
}

#[test]
fn a_refusal_takes_back_what_was_refused() {
    let blocks = [json!({ "type": "text", "text": "I" })];
    let mut talk = talk([
        reply_text("hello"),
        reply_blocks(&blocks, "refusal"),
        reply_text("sure"),
    ]);
    talk.turn("hi").unwrap();
    assert_eq!(talk.turn("something bad"), Err(ModelError::Refused));
    assert_eq!(talk.messages.len(), 2);
    talk.turn("something good").unwrap();
}

#[test]
fn a_turn_that_the_server_paused_is_kept_and_said() {
    let search = json!({ "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": { "q": "x" } });
    let mut script = events(std::slice::from_ref(&search), "pause_turn");
    // Server tools, too, get their input in pieces.
    script[2]["content_block"]["input"] = json!({});
    let piece = json!({ "type": "input_json_delta", "partial_json": "{\"q\": \"x\"}" });
    script.insert(
        3,
        json!({ "type": "content_block_delta", "index": 0, "delta": piece }),
    );
    let mut talk = talk([Answer::Stream(sse(&script)), reply_text("found")]);
    talk.turn("hi").unwrap();
    let said = "The model stopped for a reason unknown here: pause_turn.";
    assert_eq!(talk.notices(), [said]);
    talk.turn("go on").unwrap();
    let requests = talk.server.requests();
    assert_eq!(requests[1].messages()[1]["content"], json!([search]));
    assert_eq!(talk.last_text(), "found");
}

// Tool calls that do not fit

#[test]
fn calls_that_do_not_fit_are_answered_and_not_run() {
    for (name, input, answer) in [
        (
            "nope",
            json!({}),
            "there is no tool \"nope\". The tools are: echo.",
        ),
        (
            "no tool, really!",
            json!({}),
            "there is no tool \"no_tool__really_\"",
        ),
        ("", json!({}), "there is no tool \"unnamed\""),
        ("echo", json!({ "text": 5 }), "does not fit the schema"),
        ("echo", json!({}), "missing field `text`"),
        (
            "echo",
            json!({ "text": "a", "more": 1 }),
            "does not fit the schema",
        ),
        ("echo", json!([1]), "does not fit the schema"),
        ("echo", json!("a"), "does not fit the schema"),
        ("echo", json!(null), "missing field `text`"),
    ] {
        let mut talk = talk([reply_tool("toolu_1", name, input), reply_text("I see")]);
        talk.turn("hi").unwrap();
        let results = talk.results();
        assert!(
            results.len() == 1 && results[0].1 && results[0].0.contains(answer),
            "{results:?}"
        );
    }
}

#[test]
fn input_that_is_no_json_is_not_run() {
    for broken in ["{\"text\": \"a\"", "{\"text\": \"a\"}}", "text=a"] {
        let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "echo", "input": {} });
        let mut script = events(&[call], "tool_use");
        script[3]["delta"]["partial_json"] = json!(broken);
        script[4]["delta"]["partial_json"] = json!("");
        let mut talk = talk([Answer::Stream(sse(&script)), reply_text("I see")]);
        talk.turn("hi").unwrap();
        assert!(
            talk.results()[0].1 && talk.results()[0].0.contains("invalid_input"),
            "{:?}",
            talk.results()
        );
        let requests = talk.server.requests();
        let sent = &requests[1].messages()[1]["content"][0]["input"];
        assert_eq!(*sent, json!({ "invalid_input": broken }));
    }
}

#[test]
fn input_that_came_whole_is_taken() {
    let call =
        json!({ "type": "tool_use", "id": "toolu_1", "name": "echo", "input": { "text": "a" } });
    let mut script = events(std::slice::from_ref(&call), "tool_use");
    script[2]["content_block"] = call;
    script.drain(3..5);
    let mut talk = talk([Answer::Stream(sse(&script)), reply_text("done")]);
    talk.turn("hi").unwrap();
    assert_eq!(talk.results(), [("a", false)]);
}

#[test]
fn a_call_cut_off_at_the_token_limit_is_never_run() {
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "echo", "input": { "text": "a" } });
    let whole = events(&[call("toolu_1"), call("toolu_2")], "max_tokens");
    let mut cut = whole.clone();
    cut[8]["delta"]["partial_json"] = json!("ext\": \"");
    for script in [whole, cut] {
        let mut talk = talk([Answer::Stream(sse(&script)), reply_text("I see")]);
        talk.turn("hi").unwrap();
        let results = talk.results();
        assert_eq!(results[0], ("a", false));
        assert!(
            results[1].1 && results[1].0.contains("cut off at the token limit"),
            "{results:?}"
        );
    }
}

#[test]
fn two_calls_and_the_first_fails() {
    let call = |id: &str, text: &str| json!({ "type": "tool_use", "id": id, "name": "echo", "input": { "text": text } });
    let mut talk = talk([
        reply_blocks(&[call("a", "fail"), call("b", "fine")], "tool_use"),
        reply_text("done"),
    ]);
    talk.turn("hi").unwrap();
    assert_eq!(
        talk.results(),
        [("ERROR: asked to fail", true), ("fine", false)]
    );
}

#[test]
fn every_call_has_an_id_of_its_own() {
    let call = |id: Value, text: &str| json!({ "type": "tool_use", "id": id, "name": "echo", "input": { "text": text } });
    let calls = [
        call(json!("same"), "a"),
        call(json!("same"), "b"),
        call(json!(""), "c"),
        call(json!(null), "d"),
        call(json!(17), "e"),
        call(json!("not legal"), "f"),
    ];
    let mut talk = talk([reply_blocks(&calls, "tool_use"), reply_text("done")]);
    talk.turn("hi").unwrap();
    let outputs: Vec<_> = talk
        .results()
        .into_iter()
        .map(|(output, _)| output)
        .collect();
    assert_eq!(outputs, ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn an_id_that_comes_again_in_a_later_reply() {
    let call = || reply_tool("call_0", "echo", json!({ "text": "a" }));
    let mut talk = talk([call(), call(), reply_text("done")]);
    talk.turn("hi").unwrap();
    assert_eq!(talk.results().len(), 2);
}

#[test]
fn an_event_may_stand_on_several_lines_and_lines_may_end_in_cr() {
    let text = sse(&events(
        &[json!({ "type": "text", "text": "hello" })],
        "end_turn",
    ));
    let split = text.replace(",\"", ",\ndata: \"");
    assert_ne!(split, text);
    for script in [
        split.replace('\n', "\r\n"),
        split.replace('\n', "\r"),
        split,
    ] {
        let mut talk = talk([Answer::Stream(script)]);
        talk.turn("hi").unwrap();
        assert_eq!(talk.last_text(), "hello");
        assert_eq!(talk.notices(), [""; 0]);
    }
}

#[test]
fn a_password_in_the_address_is_not_shown() {
    for url in ["http://user:s3cret@127.0.0.1:1", "htp://user:s3cret@host"] {
        let client = client(url);
        assert!(client.describe().contains("@"), "{}", client.describe());
        assert!(
            !client.describe().contains("s3cret"),
            "{}",
            client.describe()
        );
    }
}
