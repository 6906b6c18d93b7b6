//! What goes out: lines for people, or JSON for programs.

use serde::Serialize;
use std::io::{self, Write};

/// Prints for people (text on standard output) or, with `--json`, for programs (one object a line there). A reader
/// that has gone away (`hardpan info | head -1`) is no failure: what is written is dropped.
#[derive(Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether programs are listening.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            put(io::stdout(), text.as_ref());
        }
    }

    /// An object for programs.
    pub fn event(&self, event: &impl Serialize) {
        if self.json {
            let text = serde_json::to_string(event).expect("events are plain data");
            put(io::stdout(), &text);
        }
    }

    /// A remark that is not part of the result: to standard error, in both modes.
    pub fn note(&self, text: impl AsRef<str>) {
        put(io::stderr(), text.as_ref());
    }

    /// What went wrong, with its causes.
    pub fn error(&self, e: &anyhow::Error) {
        self.event(&crate::events::Event::Error { message: format!("{e:#}") });
        let mut text = format!("error: {e}");
        for cause in e.chain().skip(1) {
            text += &format!("\n  because: {cause}");
        }
        put(io::stderr(), &text);
    }
}

fn put(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}
