//! aids · What happened when: a reader of the event stream that keeps the last turn for a picture,
//! and writes the whole session as a trace.
//!
//! The trace is in the Trace Event format (JSON array) that Perfetto and `chrome://tracing` open:
//! a track for the main thread, one for each sub-agent, one for each background task. Every record
//! is a line of its own and is written when it happens, so that the file is of use while the
//! program runs, and when it was killed: the format allows the closing bracket to be missing.

pub mod chart;
mod record;
mod recorder;
mod svg;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Stamped;
use chart::Chart;
pub use record::{Kind, Record, spans};
use recorder::Recorder;

/// The name of the main thread's track.
pub const MAIN: &str = "main";

/// Collects records. Clones are the same timeline.
#[derive(Clone, Default)]
pub struct Timeline(Arc<Mutex<Recorder>>);

impl Timeline {
    /// Writes the session to a file from now on. To be called before the first event.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn trace_to(&self, path: &Path, program: &str) -> io::Result<()> {
        self.lock().write_to(File::create(path)?, program)
    }

    /// Takes an event from the stream.
    pub fn note(&self, stamped: Stamped<'_>) {
        self.lock().note(stamped);
    }

    /// The last turn, as far as it has come.
    pub fn chart(&self) -> Chart {
        self.lock().chart()
    }

    /// The last turn in lines of at most `width` characters, or a sentence if there is nothing to
    /// draw.
    pub fn text(&self, width: usize) -> String {
        let chart = self.chart();
        if chart.lanes.is_empty() {
            return "Nothing to draw: no request and no tool call so far, or none in the last turn."
                .to_string();
        }
        chart.draw(width, chart.seconds) + &chart.legend(width)
    }

    /// The last turn as the text of an SVG file.
    pub fn svg(&self, title: &str) -> String {
        self.chart().svg(title)
    }

    /// Ends what is still open in the file, and the file.
    ///
    /// # Errors
    /// When not all of the session could be written.
    pub fn finish(&self) -> io::Result<()> {
        self.lock().finish()
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
