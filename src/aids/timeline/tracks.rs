//! Whose records are whose.

use super::MAIN;
use super::record::Record;

/// What a track is for. A task may have the name of an agent, or be called "main".
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Owner {
    Main,
    Agent(String),
    Task(String),
}

pub(super) struct Track {
    pub tid: usize,
    owner: Owner,
    label: String,
    /// The time of its last record.
    last: u64,
}

impl Track {
    /// Threads race for the lock; on a track, time does not go back.
    pub fn advance(&mut self, now: u64) -> u64 {
        self.last = self.last.max(now);
        self.last
    }

    fn name(&self) -> Record {
        Record::name_of_track(self.tid, &self.label)
    }
}

/// The tracks of the current turn, and those that may always come again.
#[derive(Default)]
pub(super) struct Tracks {
    list: Vec<Track>,
    last_tid: usize,
}

impl Tracks {
    /// The track of this owner, and if it is new, the record that names it.
    pub fn of(&mut self, owner: Owner) -> (&mut Track, Option<Record>) {
        let known = self.list.iter().rposition(|track| track.owner == owner);
        let index = known.unwrap_or(self.list.len());
        if known.is_none() {
            let taken = |label: &str| self.list.iter().any(|track| track.label == label);
            let label = match &owner {
                Owner::Main => MAIN.to_string(),
                Owner::Agent(name) if taken(name) => format!("{name} (agent)"),
                Owner::Task(id) if taken(id) => format!("{id} (task)"),
                Owner::Agent(name) | Owner::Task(name) => name.clone(),
            };
            self.last_tid += 1;
            self.list.push(Track {
                tid: self.last_tid,
                owner,
                label,
                last: 0,
            });
        }
        let track = &mut self.list[index];
        let name = known.is_none().then(|| track.name());
        (track, name)
    }

    pub fn find(&self, owner: &Owner) -> Option<&Track> {
        self.list.iter().rfind(|track| track.owner == *owner)
    }

    pub fn with_tid(&mut self, tid: usize) -> Option<&mut Track> {
        self.list.iter_mut().rfind(|track| track.tid == tid)
    }

    /// The records that name them.
    pub fn names(&self) -> impl Iterator<Item = Record> {
        self.list.iter().map(Track::name)
    }

    /// Tasks that have ended never come again.
    pub fn forget_tasks_but(&mut self, records: &[Record]) {
        let needed = |track: &Track| records.iter().any(|record| record.tid == track.tid);
        self.list
            .retain(|track| !matches!(track.owner, Owner::Task(_)) || needed(track));
    }
}
