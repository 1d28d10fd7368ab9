//! aids · The mates of a team in the picture of their lead. Each mate writes a trace beside its
//! mailbox; the lead reads them whenever a picture is drawn.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Kind, MAIN, Span, Timeline, Trace};
use crate::options::Options;
use crate::tools::files::{EDIT_LIMIT, read_text};

/// The name of a mate's trace in its own place.
const FILE: &str = "trace.json";

impl Timeline {
    /// Writes the session to the file that the options name from now on; that of a mate always. To
    /// be called before the first event.
    ///
    /// # Errors
    /// A sentence, when the file cannot be created or written.
    pub fn trace_as_asked(&self, options: &Options) -> Result<(), String> {
        let own: Option<PathBuf> = options.mate.as_ref().map(|place| place.join(FILE));
        let Some(path) = options.trace.as_ref().or(own.as_ref()) else {
            return Ok(());
        };
        let failed = |error| format!("No trace will be written to {}: {error}.", path.display());
        self.trace_to(path, &options.title).map_err(failed)
    }
}

impl Trace {
    /// The same with what the mates have done that were started here: each on the track of its own
    /// background task, and what it runs in the background on tracks below. `folder` is where the
    /// lead works. A mate whose trace cannot be read stays what it is, a background task.
    pub fn with_mates(mut self, folder: &Path) -> Trace {
        let is_team = |span: &&Span| span.is(Kind::Tool) && span.begin.name == "team";
        let teams = self.spans.iter().filter(is_team);
        let teams: BTreeSet<String> = teams
            .filter_map(|span| span.begin.args["id"].as_str())
            .map(|team| format!(".team/{team}"))
            .collect();
        if teams.is_empty() {
            return self;
        }
        let tasks = self.spans.iter().filter(|span| span.is(Kind::Task));
        for task in tasks.cloned().collect::<Vec<_>>() {
            let place = |team| folder.join(team).join(&task.begin.name);
            let traces = teams.iter().filter_map(|team| read(&place(team)));
            // One of another time may have been left in the folder.
            let zero = self.zero;
            if let Some(mate) = traces.into_iter().find(|mate| mate.zero >= zero) {
                self.take_in(&task, mate);
            }
        }
        self.spans.sort_by_key(|span| span.begin.ts);
        self
    }

    fn take_in(&mut self, task: &Span, mate: Trace) {
        let (name, later) = (&task.begin.name, mate.zero - self.zero);
        let tracks = self.tracks.keys().last().copied().unwrap_or_default();
        let pids = self.spans.iter().map(|span| span.begin.pid);
        let pid = 1 + pids.max().unwrap_or_default();
        let track = |tid| match tid {
            MAIN => task.begin.tid,
            tid => tid.saturating_add(tracks),
        };
        for (tid, label) in mate.tracks.iter().filter(|(tid, _)| **tid != MAIN) {
            self.tracks.insert(track(*tid), format!("{name}: {label}"));
        }
        for mut span in mate.spans {
            let begin = &mut span.begin;
            (begin.ts, begin.tid) = (begin.ts.saturating_add(later), track(begin.tid));
            begin.pid = pid;
            // Its tasks may have names that tasks of the lead have, too.
            if let Some(id) = begin.args["id"].as_str() {
                begin.args["id"] = json!(format!("{name}: {id}"));
            }
            if begin.kind == Some(Kind::Task) {
                begin.name = format!("{name}: {}", begin.name);
            }
            // What a mate was at when it was killed went on until then.
            span.end = span
                .end
                .map_or(task.end, |end| Some(end.saturating_add(later)));
            self.spans.push(span);
        }
    }
}

fn read(place: &Path) -> Option<Trace> {
    let (text, _) = read_text(&place.join(FILE), EDIT_LIMIT).ok()?;
    let mut trace = Trace::default();
    text.lines()
        .for_each(|line| trace.add_line(line.as_bytes()));
    Some(trace)
}
