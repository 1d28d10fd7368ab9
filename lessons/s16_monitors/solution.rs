//! s16 · Exercise: how often is an agent told?
//!
//! Fill the two gaps: lines become events, and events wake an agent. A command may print a thousand
//! lines at once, and each turn costs a request; but a red test should be told at once.
//!
//! Without a measure this goes wrong: in anthropics/claude-code#76508 each line of a watcher began a
//! turn, turns were slower than lines, and what was told last was a minute old.

/// Lines that come within this time of the first one are one event. (Times are milliseconds.)
pub const WINDOW: u64 = 200;
/// An event tells at most so many lines, and counts the others.
pub const MOST_LINES: usize = 20;
/// An idle agent is woken at most once in this time.
pub const PAUSE: u64 = 10_000;

/// What the model will read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub lines: Vec<String>,
    /// How many lines more there were.
    pub more: usize,
}

/// A command that is watched.
#[derive(Default)]
pub struct Monitor {
    /// Events that wait to be told, in order.
    waiting: Vec<Event>,
    /// The event that lines still join, and the time of its first line.
    open: Option<(u64, Event)>,
    /// When the agent was woken last.
    woken: Option<u64>,
}

impl Monitor {
    /// The command prints a line at this time. It joins the open event; if there is none, or if that
    /// one's window has passed, it opens one. (A window that has passed is closed: see `close`.)
    pub fn print(&mut self, at: u64, line: &str) {
        self.close(at);
        let (_, event) = self.open.get_or_insert((at, Event::default()));
        if event.lines.len() < MOST_LINES {
            event.lines.push(line.to_string());
        } else {
            event.more += 1;
        }
    }

    /// True if an idle agent is to be woken at this time: if an event waits, and the agent was not
    /// woken for PAUSE. That it was woken is remembered.
    pub fn wakes(&mut self, at: u64) -> bool {
        self.close(at);
        let rested = self.woken.is_none_or(|woken| at >= woken + PAUSE);
        let wakes = rested && !self.waiting.is_empty();
        if wakes {
            self.woken = Some(at);
        }
        wakes
    }

    /// All events that wait. From now on they count as told.
    pub fn deliver(&mut self, at: u64) -> Vec<Event> {
        self.close(at);
        std::mem::take(&mut self.waiting)
    }

    /// If the window of the open event has passed at this time, it waits from now on.
    fn close(&mut self, at: u64) {
        if let Some((_, event)) = self.open.take_if(|(first, _)| at >= *first + WINDOW) {
            self.waiting.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(lines: &[&str]) -> Event {
        let lines = lines.iter().map(|line| line.to_string()).collect();
        Event { lines, more: 0 }
    }

    #[test]
    fn lines_that_come_together_are_one_event() {
        let mut monitor = Monitor::default();
        monitor.print(1000, "one");
        monitor.print(1199, "two");
        assert_eq!(monitor.deliver(1199), [], "more lines may join it");
        assert_eq!(monitor.deliver(1200), [event(&["one", "two"])]);
        assert_eq!(monitor.deliver(9999), [], "it was told before");
    }

    #[test]
    fn a_line_after_the_window_opens_the_next_event() {
        let mut monitor = Monitor::default();
        for (at, line) in [(0, "a"), (150, "b"), (200, "c"), (399, "d"), (900, "e")] {
            monitor.print(at, line);
        }
        let events = [event(&["a", "b"]), event(&["c", "d"]), event(&["e"])];
        let message = "the window counts from the first line of an event";
        assert_eq!(monitor.deliver(1100), events, "{message}");
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut monitor = Monitor::default();
        let lines: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        lines.iter().for_each(|line| monitor.print(5, line));
        let told = monitor.deliver(205);
        let lines = lines[..MOST_LINES].to_vec();
        assert_eq!(told, [Event { lines, more: 980 }]);
    }

    #[test]
    fn the_first_event_wakes_at_once() {
        let mut monitor = Monitor::default();
        assert!(!monitor.wakes(0), "nothing has happened");
        monitor.print(0, "FAILED");
        assert!(!monitor.wakes(199), "more lines may join it");
        assert!(monitor.wakes(200), "it is to be told now");
    }

    #[test]
    fn the_next_one_waits_and_is_not_forgotten() {
        let mut monitor = Monitor::default();
        monitor.print(0, "FAILED one");
        assert!(monitor.wakes(200));
        assert_eq!(monitor.deliver(200).len(), 1);
        monitor.print(3000, "FAILED two");
        assert!(!monitor.wakes(3200), "it was woken three seconds ago");
        assert!(!monitor.wakes(10_199), "nearly");
        assert!(monitor.wakes(10_200), "ten seconds have passed");
        assert!(!monitor.wakes(10_201), "it was woken just now");
        assert_eq!(monitor.deliver(10_201), [event(&["FAILED two"])]);
    }

    #[test]
    fn what_was_told_meanwhile_wakes_nobody() {
        let mut monitor = Monitor::default();
        monitor.print(0, "FAILED one");
        assert!(monitor.wakes(200));
        monitor.print(300, "FAILED two");
        // The agent is still at work, and makes another request.
        assert_eq!(monitor.deliver(500).len(), 2);
        assert!(!monitor.wakes(20_000), "it knows everything");
        monitor.print(20_000, "FAILED three");
        assert!(monitor.wakes(20_200), "a look in vain is no waking");
    }
}
