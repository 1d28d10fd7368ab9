//! aids · What helps to teach and is no lesson: the practice model, the conversation
//! on the screen, the list of sessions and the timeline; and beside them, as a program of its own, the race `compare`. They hang on the trait
//! [`Model`](crate::model::Model) and on the stream of events; no room of a lesson imports them.

pub mod demo;
pub mod messages;
pub mod practice;
pub mod replay;
pub mod sessions;
pub mod slack;
pub mod stats;
pub mod timeline;
