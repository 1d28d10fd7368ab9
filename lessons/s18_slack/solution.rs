//! s18 · Exercise: listen, at most once.
//!
//! Fill the two gaps: what of a page of messages becomes work, and how long to wait before the next
//! page is asked for. A page is read again and again, and the program can be killed at any moment.
//!
//! This went wrong in two ways. In chenhg5/cc-connect#1822 one mention came twice, and two agents
//! did the same work; in slackapi/python-slack-sdk#390 a bot answered its own answers, for ever.

use std::collections::BTreeSet;

/// The longest wait, in seconds, where the server asks for none.
pub const MOST: u64 = 300;

/// A message of the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name: no two messages have the same. Later messages have greater ones.
    pub ts: String,
    pub user: String,
    pub text: String,
    /// Written by a program.
    pub bot: bool,
    /// Changed after it was written.
    pub edited: bool,
}

/// What came of asking for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The page.
    Page,
    /// Not now: try again, after so many seconds if the server said so.
    Later(Option<u64>),
}

/// Who listens.
pub struct Listener {
    /// Our own id.
    pub me: String,
    /// The ids of those who may ask.
    pub users: Vec<String>,
    /// The `ts` of all that was begun.
    pub begun: BTreeSet<String>,
    /// Seconds from one page to the next.
    pub interval: u64,
    /// How many answers in a row were no page.
    pub failures: u32,
}

impl Listener {
    /// What of a page becomes work now, oldest first: a mention (`<@ME>` in its text) by somebody who
    /// may ask, who is not us, that no program wrote, that was not edited, and that was not begun.
    ///
    /// Each is given to `keep` before it is begun, in that order. If it cannot be kept, neither it nor
    /// a later one is begun: what was begun before it is returned.
    pub fn hear(
        &mut self,
        page: &[Message],
        keep: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Vec<Message> {
        let mention = format!("<@{}>", self.me);
        let mut page: Vec<&Message> = page.iter().collect();
        page.sort_by(|a, b| a.ts.cmp(&b.ts));
        let mut work = Vec::new();
        for message in page {
            let by_a_person = !message.bot && !message.edited && message.user != self.me;
            let may_ask = by_a_person && self.users.contains(&message.user);
            if !may_ask || !message.text.contains(&mention) || self.begun.contains(&message.ts) {
                continue;
            }
            if keep(&message.ts).is_err() {
                break;
            }
            self.begun.insert(message.ts.clone());
            work.push(message.clone());
        }
        work
    }

    /// How many seconds to wait after this answer. After a page: the interval. Where the server says
    /// how long: so long, and the interval is never shorter than that from now on. Otherwise twice the
    /// interval, and twice as long after each further failure, at most [`MOST`].
    pub fn wait(&mut self, answer: Answer) -> u64 {
        match answer {
            Answer::Page => {
                self.failures = 0;
                self.interval
            }
            Answer::Later(after) => {
                let doubled = self.interval.saturating_mul(2 << self.failures.min(16));
                self.failures += 1;
                self.interval = self.interval.max(after.unwrap_or(0));
                after.unwrap_or(doubled.min(MOST))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        Listener {
            me: "U0AGENT".to_string(),
            users: vec!["U0ADA".to_string(), "U0AGENT".to_string()],
            begun: BTreeSet::new(),
            interval: 3,
            failures: 0,
        }
    }

    fn message(ts: &str, user: &str, text: &str) -> Message {
        let [ts, user, text] = [ts, user, text].map(str::to_string);
        let (bot, edited) = (false, false);
        Message {
            ts,
            user,
            text,
            bot,
            edited,
        }
    }

    fn times(messages: &[Message]) -> Vec<&str> {
        messages.iter().map(|message| &*message.ts).collect()
    }

    #[test]
    fn a_mention_by_one_who_may_ask_is_work_and_nothing_else_is() {
        let work = message("10", "U0ADA", "look, <@U0AGENT>: login fails");
        let mut page = vec![
            message("11", "U0ADA", "no mention"),
            message("12", "U0ADA", "<@U0OTHER> look"),
            message("13", "U0EVE", "<@U0AGENT> look"),
            message("14", "U0AGENT", "<@U0AGENT> look"),
            work.clone(),
        ];
        for (bot, edited) in [(true, false), (false, true)] {
            let ts = format!("2{}", u8::from(bot));
            page.push(Message {
                bot,
                edited,
                ts,
                ..work.clone()
            });
        }
        assert_eq!(listener().hear(&page, &mut |_| Ok(())), [work]);
    }

    #[test]
    fn each_is_begun_once_however_often_the_page_is_read() {
        let newest_first = ["12", "11", "10"].map(|ts| message(ts, "U0ADA", "<@U0AGENT>"));
        let (mut listener, mut kept) = (listener(), Vec::new());
        let mut keep = |ts: &str| {
            kept.push(ts.to_string());
            Ok(())
        };
        let work = listener.hear(&newest_first, &mut keep);
        assert_eq!(times(&work), ["10", "11", "12"]);
        assert_eq!(listener.hear(&newest_first, &mut keep), []);
        let twice = [
            message("13", "U0ADA", "<@U0AGENT>"),
            message("13", "U0ADA", "<@U0AGENT>"),
        ];
        assert_eq!(listener.hear(&twice, &mut keep).len(), 1);
        assert_eq!(kept, ["10", "11", "12", "13"]);
    }

    #[test]
    fn what_could_not_be_kept_is_not_begun() {
        let page = ["10", "11", "12"].map(|ts| message(ts, "U0ADA", "<@U0AGENT>"));
        let mut listener = listener();
        let full = &mut |ts: &str| match ts {
            "10" => Ok(()),
            _ => Err("the disk is full".to_string()),
        };
        assert_eq!(times(&listener.hear(&page, full)), ["10"]);
        assert_eq!(listener.begun, BTreeSet::from(["10".to_string()]));
        let later = listener.hear(&page, &mut |_| Ok(()));
        assert_eq!(times(&later), ["11", "12"]);
    }

    #[test]
    fn failures_in_a_row_wait_longer_and_a_page_ends_them() {
        let mut listener = listener();
        assert_eq!(listener.wait(Answer::Page), 3);
        let waits = [(); 9].map(|()| listener.wait(Answer::Later(None)));
        assert_eq!(waits, [6, 12, 24, 48, 96, 192, 300, 300, 300]);
        for _ in 0..100 {
            assert_eq!(listener.wait(Answer::Later(None)), 300);
        }
        assert_eq!(listener.wait(Answer::Page), 3);
        assert_eq!(listener.wait(Answer::Later(None)), 6);
    }

    #[test]
    fn what_the_server_says_counts_and_is_remembered() {
        let mut listener = listener();
        assert_eq!(listener.wait(Answer::Later(Some(60))), 60);
        assert_eq!(
            listener.wait(Answer::Page),
            60,
            "it wants one page a minute"
        );
        assert_eq!(listener.wait(Answer::Later(Some(1))), 1);
        assert_eq!(listener.wait(Answer::Page), 60);
        assert_eq!(
            listener.wait(Answer::Later(Some(900))),
            900,
            "even longer than we would"
        );
    }
}
