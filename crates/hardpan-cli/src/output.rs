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
        let said = said(e);
        self.event(&crate::events::Event::Error { message: said.join(": ") });
        put(io::stderr(), &format!("error: {}", said.join("\n  because: ")));
    }
}

/// An error and its causes, without those that others have in their words already.
fn said(e: &anyhow::Error) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for cause in e.chain().map(ToString::to_string) {
        if !said.iter().any(|s| s.contains(&cause)) {
            said.push(cause);
        }
    }
    said
}

fn put(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let io = io::Error::other("no room");
        let e = anyhow::Error::from(io).context("x.png: no room").context("drawing");
        assert_eq!(said(&e), ["drawing", "x.png: no room"]);
        let e = anyhow::anyhow!("no room").context("drawing").context("training");
        assert_eq!(said(&e), ["training", "drawing", "no room"]);
    }
}
