//! s09 · Delivery in its smallest form: a log and a cursor.

/// All that has ended, and how much of it was delivered.
#[derive(Default)]
pub struct Deliveries {
    pub log: Vec<String>,
    pub next: usize,
}

impl Deliveries {
    /// A background task has ended.
    pub fn notify(&mut self, result: &str) {
        self.log.push(result.to_string());
    }

    /// Before each request: what is new joins the conversation.
    pub fn deliver(&mut self, messages: &mut Vec<String>) {
        messages.extend_from_slice(&self.log[self.next..]);
        self.next = self.log.len();
    }

    /// At the idle prompt: is there a reason to begin a turn?
    pub fn has_news(&self) -> bool {
        self.next < self.log.len()
    }
}
