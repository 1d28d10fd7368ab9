//! aids · Days, where the person is: how many in a row, and a chart of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::journal::now;
use crate::process::{Handle, run};

/// Days that the chart shows.
pub const DAYS: i64 = 28;
/// How long to wait for bash, which knows the time zone.
const LIMIT: Duration = Duration::from_secs(5);

/// How many turns there were on each day, counted from 1970 in local time; today is the last.
pub fn days(turns: &[u64]) -> Vec<(i64, usize)> {
    let now = now() as i64 / 1000;
    // No zone is off by a part of a quarter of an hour; so few times stand for all.
    let quarter = |seconds: i64| seconds.div_euclid(900) * 900;
    let times = turns.iter().map(|time| *time as i64 / 1000);
    let mut all: BTreeMap<i64, usize> = BTreeMap::from([(quarter(now), 0)]);
    times.for_each(|time| *all.entry(quarter(time)).or_default() += 1);
    let asked: Vec<String> = all.keys().rev().take(10_000).map(i64::to_string).collect();
    let command = format!("printf '%(%z)T\\n' {}", asked.join(" "));
    let (command, never) = (Handle::new(&command), Interrupt::default());
    let (told, _) = run(&command, Path::new(""), LIMIT, &never);
    let mut zones = told.output.lines().map(offset);
    let mut days: BTreeMap<i64, usize> = BTreeMap::new();
    for (time, turns) in all.iter().rev() {
        let offset = zones.next().flatten().unwrap_or(0); // as in UTC, where bash does not know
        *days.entry((time + offset).div_euclid(86_400)).or_default() += turns;
    }
    days.into_iter().collect()
}

/// `+0530` in seconds.
fn offset(zone: &str) -> Option<i64> {
    let number: i64 = zone.trim().parse().ok()?;
    Some((number / 100 * 60 + number % 100) * 60)
}

/// Days in a row up to today, or up to yesterday as long as nothing was said today.
pub fn streak(days: &BTreeSet<i64>, today: i64) -> usize {
    let last = if days.contains(&today) {
        today
    } else {
        today - 1
    };
    (0..)
        .take_while(|back| days.contains(&(last - back)))
        .count()
}

/// A bar for each day, and a gap after each seven.
pub fn chart(turns: &BTreeMap<i64, usize>, today: i64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = turns
        .range(today - DAYS + 1..)
        .map(|(_, count)| *count)
        .max();
    let most = most.unwrap_or(0).max(1);
    let bar = |day: i64| match turns.get(&day) {
        None => '·',
        Some(count) => BARS[(count * 8).div_ceil(most) - 1],
    };
    let weeks = (0..DAYS / 7).map(|week| {
        let first = today - DAYS + 1 + week * 7;
        (first..first + 7).map(bar).collect::<String>()
    });
    weeks.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_in_a_row_end_today_or_yesterday() {
        let days = |days: &[i64]| days.iter().copied().collect();
        for (active, today, expected) in [
            (&[][..], 10, 0),
            (&[10], 10, 1),
            (&[9], 10, 1),
            (&[8], 10, 0),
            (&[7, 8, 9, 10], 10, 4),
            (&[6, 7, 9, 10], 10, 2),
            (&[6, 7, 8, 9], 10, 4),
        ] {
            assert_eq!(streak(&days(active), today), expected, "{active:?}");
        }
    }

    #[test]
    fn zones_are_read() {
        let read = ["+0000", "+0530", "-0330", "+1245", ""].map(offset);
        let seconds = [0, 19_800, -12_600, 45_900];
        assert_eq!(read[..4], seconds.map(Some));
        assert_eq!(read[4], None);
    }
}
