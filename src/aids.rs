//! aids · What helps to teach and is no lesson: the practice model and the timeline. No room of a
//! lesson imports from here.

pub mod practice;
pub mod timeline;
