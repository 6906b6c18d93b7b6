//! [`Mark`]s: what a figure comes down to before it is written as SVG or filled into pixels. Places are pixels from the top left.

use crate::{Color, Picture};

/// Where a text's place is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A text. `y` is its baseline.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub x: f32,
    pub y: f32,
    pub text: String,
    pub size: f32,
    pub color: Color,
    pub anchor: Anchor,
    pub bold: bool,
    /// Written upwards.
    pub upward: bool,
}

impl Text {
    pub fn new(x: f32, y: f32, size: f32, text: impl Into<String>) -> Text {
        Text {
            x,
            y,
            text: text.into(),
            size,
            color: Color::INK,
            anchor: Anchor::Start,
            bold: false,
            upward: false,
        }
    }
    pub fn color(self, color: Color) -> Text {
        Text { color, ..self }
    }
    pub fn anchor(self, anchor: Anchor) -> Text {
        Text { anchor, ..self }
    }
    pub fn bold(self) -> Text {
        Text { bold: true, ..self }
    }
    pub fn upward(self) -> Text {
        Text { upward: true, ..self }
    }
}

/// Something drawn.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    Line { points: Vec<(f32, f32)>, color: Color, width: f32, dashed: bool },
    Area { points: Vec<(f32, f32)>, fill: Color },
    Rect { x: f32, y: f32, w: f32, h: f32, fill: Option<Color>, stroke: Option<Color> },
    Dots { at: Vec<(f32, f32)>, radius: f32, fill: Color },
    Text(Text),
    Image { x: f32, y: f32, w: f32, h: f32, picture: Picture },
}

impl Mark {
    /// A filled rectangle.
    pub fn fill(x: f32, y: f32, w: f32, h: f32, color: Color) -> Mark {
        Mark::Rect { x, y, w, h, fill: Some(color), stroke: None }
    }

    /// A straight line.
    pub fn segment(a: (f32, f32), b: (f32, f32), color: Color, width: f32) -> Mark {
        Mark::Line { points: vec![a, b], color, width, dashed: false }
    }

    /// Moves it.
    pub fn shift(&mut self, dx: f32, dy: f32) {
        let all = |points: &mut Vec<(f32, f32)>| {
            points.iter_mut().for_each(|p| *p = (p.0 + dx, p.1 + dy));
        };
        match self {
            Mark::Line { points, .. } | Mark::Area { points, .. } => all(points),
            Mark::Dots { at, .. } => all(at),
            Mark::Rect { x, y, .. } | Mark::Image { x, y, .. } => {
                *x += dx;
                *y += dy;
            }
            Mark::Text(t) => {
                t.x += dx;
                t.y += dy;
            }
        }
    }
}
