//! aids · `/stats`: what all sessions of this folder come to: requests, tokens, prices, days.

mod bill;
mod days;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::sessions;
use crate::journal::read;
use crate::message::{ContentBlock, Usage};
use crate::repl::Repl;
use crate::screen::count;
use crate::session::{FOLDER, Record};
use crate::terminal::fit;
use days::{DAYS, chart, days, streak};

/// The user's own, in dollars for a million tokens; made with [`PRICES`] when it is not there.
const TABLE: &str = "prices.txt";
const PRICES: &str = include_str!("stats/prices.txt");
const HEAD: &str =
    "                            turns requests   tokens in       out    cached  from cache";
/// Where Ctrl+S leaves a copy.
const COPY: &str = "stats.txt";
const COPIED: &str = "Copied, where the terminal takes it; and written to .sessions/stats.txt.";

/// Requests, and what they cost in tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    requests: u64,
    usage: Usage,
}

/// What one session comes to.
#[derive(Default)]
struct Account {
    name: String,
    /// When this process opened it, if it did.
    opened: Option<u64>,
    /// When each turn ended.
    turns: Vec<u64>,
    /// By model and agent.
    sums: BTreeMap<(String, String), Sum>,
}

/// Adds `/stats`, Ctrl+S, and the bill of a turn in which several agents worked.
pub fn attach(repl: &mut Repl) {
    bill::attach(repl);
    repl.action("/stats", "turns, tokens and days; Ctrl+S copies it", |_| {
        text()
    });
    let copies = |_| {
        Some(match copy(&text()) {
            Ok(()) => COPIED,
            Err(_) => "The statistics could not be written to .sessions/stats.txt.",
        })
    };
    repl.on_key('S', "Ctrl+S: copy /stats", Arc::new(copies));
}

impl Sum {
    fn add(&mut self, other: Sum) {
        let (usage, more) = (&mut self.usage, other.usage);
        self.requests += other.requests;
        usage.input_tokens += more.input_tokens;
        usage.output_tokens += more.output_tokens;
        usage.cache_creation_input_tokens += more.cache_creation_input_tokens;
        usage.cache_read_input_tokens += more.cache_read_input_tokens;
    }

    /// Input, output, written to the cache, read from it.
    fn tokens(&self) -> [u64; 4] {
        let it = &self.usage;
        let cache = [it.cache_creation_input_tokens, it.cache_read_input_tokens];
        [it.input_tokens, it.output_tokens, cache[0], cache[1]]
    }

    /// A line of the table under [`HEAD`].
    fn line(&self, what: &str, turns: &str) -> String {
        let [input, output, written, cached] = self.tokens().map(grouped);
        let (what, requests) = (fit(what, 27).0, grouped(self.requests));
        format!(
            "{what:<27} {turns:>5} {requests:>8} {input:>11} {output:>9} {written:>9} {cached:>11}"
        )
    }
}

impl Account {
    fn read(id: &str) -> io::Result<Self> {
        let (mut account, mut model) = (Account::default(), String::new());
        account.name = id.to_string();
        read(&sessions::path(id), usize::MAX, |record| {
            let mut count = |agent: &str, usage| {
                let sum = account.sums.entry((model.clone(), agent.to_string()));
                let requests = 1;
                sum.or_default().add(Sum { requests, usage });
            };
            match record {
                Record::Opened(opened) => {
                    model = opened.model;
                    if opened.process == std::process::id() {
                        account.opened = Some(opened.time);
                    }
                }
                Record::Said(said) => {
                    let Some(usage) = said.usage else {
                        return Ok(());
                    };
                    count("main agent", usage);
                    let mut blocks = said.messages.iter().flat_map(|it| &it.content);
                    if !blocks.any(|block| matches!(block, ContentBlock::ToolUse(_))) {
                        account.turns.push(said.time);
                    }
                }
                Record::Agent(agent, usage) => count(&agent, usage),
                Record::Name(name) => account.name = name,
                Record::Task(..) | Record::Extra(..) => {}
            }
            Ok(())
        })?;
        Ok(account)
    }

    fn total(&self) -> Sum {
        let mut total = Sum::default();
        self.sums.values().for_each(|sum| total.add(*sum));
        total
    }
}

fn text() -> String {
    let accounts = sessions::ids().into_iter().map(|id| Account::read(&id));
    let accounts: Vec<Account> = accounts.filter_map(Result::ok).collect();
    if accounts.is_empty() {
        return "No sessions so far.".to_string();
    }
    let mut lines = vec![HEAD.to_string()];
    let line = |what: &str, turns: usize, sum: Sum| sum.line(what, &grouped(turns as u64));
    let opened = accounts.iter().filter(|it| it.opened.is_some());
    if let Some(here) = opened.max_by_key(|it| it.opened) {
        let what = format!("This session, {}", here.name);
        lines.push(line(&what, here.turns.len(), here.total()));
    }
    let (mut all, mut turns) = (Sum::default(), Vec::new());
    let (mut models, mut agents) = (BTreeMap::new(), BTreeMap::new());
    for account in &accounts {
        turns.extend(&account.turns);
        for ((model, agent), sum) in &account.sums {
            all.add(*sum);
            models.entry(model).or_insert(Sum::default()).add(*sum);
            agents.entry(agent).or_insert(Sum::default()).add(*sum);
        }
    }
    let what = format!("All {}", count(accounts.len() as u64, "session"));
    lines.push(line(&what, turns.len(), all));
    let prices = prices();
    lines.push("\nBy model:".to_string());
    for (model, sum) in &models {
        let price = prices.get(model.as_str()).map(|price| {
            let dollars = sum
                .tokens()
                .into_iter()
                .zip(price)
                .map(|(tokens, price)| tokens as f64 * price);
            format!("  ${:.2}", dollars.sum::<f64>() / 1e6)
        });
        let price = price.unwrap_or("  no price".to_string());
        lines.push(sum.line(&format!("  {model}"), "") + &price);
    }
    if let Some((model, _)) = models.iter().max_by_key(|(_, sum)| sum.requests) {
        lines.push(format!(
            "  Most used: {model}. Prices are in {FOLDER}/{TABLE}."
        ));
    }
    lines.push("\nBy agent:".to_string());
    let agents = agents.iter();
    lines.extend(agents.map(|(agent, sum)| sum.line(&format!("  {agent}"), "")));
    let days = days(&turns);
    let today = days.last().map_or(0, |(today, _)| *today);
    let active: BTreeMap<i64, usize> = days
        .iter()
        .filter(|(_, turns)| *turns > 0)
        .copied()
        .collect();
    let streak = streak(&active.keys().copied().collect(), today);
    lines.push(format!(
        "\nDays in a row: {streak}. Turns of the last {DAYS} days, up to today:\n  {}",
        chart(&active, today)
    ));
    lines.join("\n")
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The table of prices, which the user may edit; a line that is none is no price.
fn prices() -> BTreeMap<String, [f64; 4]> {
    let path = Path::new(FOLDER).join(TABLE);
    if !path.exists() {
        let _ = fs::write(&path, PRICES); // then those of the course hold
    }
    let table = fs::read_to_string(path).unwrap_or(PRICES.to_string());
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let model = words.next().filter(|word| !word.starts_with('#'))?;
        let prices: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
        Some((model.to_string(), prices.try_into().ok()?))
    };
    table.lines().filter_map(row).collect()
}

/// Gives it to the terminal's clipboard (OSC 52), and writes it to a file.
fn copy(text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = file.open(Path::new(FOLDER).join(COPY))?;
    file.write_all(text.as_bytes())?;
    let code = format!("\x1b]52;c;{}\x07", base64(text.as_bytes()));
    stdout().write_all(code.as_bytes())?;
    stdout().flush()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = move |at: usize| match at > chunk.len() {
            true => '=',
            false => char::from(DIGITS[(bits >> (18 - 6 * at)) as usize % 64]),
        };
        (0..4).map(digit)
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_everybody() {
        let coded = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(coded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn numbers_are_grouped() {
        let shown = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
