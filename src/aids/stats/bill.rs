//! aids · The bill: what each agent has cost, told at the end of a turn in which more than the main
//! agent worked. Three agents are three bills.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::Mutex;

use super::grouped;
use crate::caught::lock;
use crate::event::{Event, Stamped};
use crate::repl::Repl;

/// Tokens by agent, since the last bill.
type Sums = BTreeMap<Option<String>, u64>;

/// Adds a reader that says it, where the model counts tokens.
pub fn attach(repl: &mut Repl) {
    let (sums, events) = (Mutex::<Sums>::default(), repl.context().events);
    let reader = move |stamped: Stamped<'_>| match stamped.event {
        Event::RequestFinished(Some(usage)) => {
            let agent = stamped.agent.map(str::to_string);
            *lock(&sums).entry(agent).or_default() += usage.total();
        }
        Event::TurnFinished => {
            let sums = take(&mut *lock(&sums)); // unlocked before emitting
            if let Some(bill) = text(&sums) {
                events.notice(bill);
            }
        }
        _ => {}
    };
    repl.add_reader(Box::new(reader));
}

/// `None` if the main agent worked alone, or nothing was counted.
fn text(sums: &Sums) -> Option<String> {
    let all: u64 = sums.values().sum();
    if all == 0 || sums.keys().all(Option::is_none) {
        return None;
    }
    let name = |agent: &Option<String>| agent.clone().unwrap_or("main agent".to_string());
    let parts = sums.iter().map(|(agent, sum)| (name(agent), grouped(*sum)));
    let parts: Vec<String> = parts.map(|(name, sum)| format!("{name} {sum}")).collect();
    let all = grouped(all);
    Some(format!("tokens: {}; in all {all}", parts.join(", ")))
}
