//! foundation · An alarm: waits for a time on a clock that goes on while the machine sleeps.

use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::{after, select};
use nix::time::{ClockId, clock_gettime};

use crate::caught::lock;
use crate::interrupt::Interrupt;

/// That of `Instant` and `after` stands still while the machine sleeps.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
/// So late is an alarm at most that was due while the machine slept.
const MOST_LATE: Duration = Duration::from_secs(60);

/// A time, and then every further one after the same period.
pub struct Alarm {
    period: Duration,
    /// The next time on the clock.
    due: Mutex<Duration>,
    /// Ends every wait.
    pub stop: Interrupt,
}

impl Alarm {
    /// First due a period from now; that is not zero.
    pub fn new(period: Duration) -> Self {
        Alarm {
            period,
            due: Mutex::new(now() + period),
            stop: Interrupt::default(),
        }
    }

    /// The time until it is due.
    pub fn left(&self) -> Duration {
        lock(&self.due).saturating_sub(now())
    }

    /// Waits until it is due; false if it was stopped. Of several times that have passed, one counts.
    pub fn wait(&self) -> bool {
        while !self.stop.is_triggered() {
            let (due, now) = (*lock(&self.due), now());
            if now >= due {
                *lock(&self.due) = following(due, self.period, now);
                return true;
            }
            select! {
                recv(self.stop.receiver()) -> _ => {}
                recv(after(MOST_LATE.min(due - now))) -> _ => {}
            }
        }
        false
    }
}

fn now() -> Duration {
    clock_gettime(CLOCK).map_or(Duration::ZERO, Duration::from)
}

/// The first time that is still to come, when `due` has come.
fn following(due: Duration, period: Duration, now: Duration) -> Duration {
    let since_last = (now - due).as_nanos() % period.as_nanos();
    now - Duration::from_nanos_u128(since_last) + period
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_times_that_passed_in_a_sleep_one_counts_and_the_rhythm_stays() {
        let seconds = Duration::from_secs;
        let sleeps = [(10, 20), (19, 20), (20, 30), (21, 30), (3605, 3610)];
        for (now, next) in sleeps {
            let next_due = following(seconds(10), seconds(10), seconds(now));
            assert_eq!(next_due, seconds(next), "at {now} s");
        }
    }
}
