//! Mechanisms in their smallest form, as pages show them: they compile, and do what the page says.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

#[path = "../lessons/s09_notifications/smallest.rs"]
mod s09;
#[path = "../lessons/s11_foreground_background/smallest.rs"]
mod s11;

const LONG: Duration = Duration::from_secs(10);

#[test]
fn s09_delivers_each_result_once() {
    let (mut deliveries, mut messages) = (s09::Deliveries::default(), Vec::new());
    assert!(!deliveries.has_news());
    for results in [&["a", "b"][..], &["c"], &[]] {
        results.iter().for_each(|result| deliveries.notify(result));
        assert_eq!(deliveries.has_news(), !results.is_empty());
        messages.clear();
        deliveries.deliver(&mut messages);
        assert_eq!(messages, results);
        assert!(!deliveries.has_news());
    }
    assert_eq!(deliveries.log, ["a", "b", "c"], "the log only grows");
}

#[test]
fn s11_stops_waiting_and_not_the_work() {
    let (bus, reports) = channel();
    let (gate, opened) = channel::<()>();
    let work = move || {
        let _ = opened.recv();
        "built".to_string()
    };
    let answer = s11::run(work, Duration::ZERO, bus.clone());
    assert!(answer.starts_with("moved to the background"), "{answer}");
    drop(gate);
    assert_eq!(reports.recv_timeout(LONG).as_deref(), Ok("built"));
    let answer = s11::run(|| "built".to_string(), LONG, bus);
    assert_eq!(answer, "built");
    let twice = reports.recv_timeout(LONG);
    assert_eq!(twice, Err(RecvTimeoutError::Disconnected), "told twice");
}
