//! [`Shown`]: an item as people can look at it.

/// A mark on a picture, in pixels from its upper left corner.
///
/// ```
/// use hardpan_learn::data::block::{Mark, Shown};
/// let marks = vec![Mark::Box([1.0, 2.0, 6.0, 7.0], "cat".to_owned())];
/// let shown = Shown::Marks { width: 8, height: 8, marks };
/// assert_eq!(shown.text(), "cat (1.0, 2.0) to (6.0, 7.0)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// A point (x, y).
    Point([f32; 2]),
    /// A box (left, top, right, bottom) and what it is called.
    Box([f32; 4], String),
}

/// What is shown for an item.
///
/// ```
/// use hardpan_learn::data::block::{Mark, Shown};
/// assert_eq!(Shown::Text("cat".to_owned()).text(), "cat");
/// let marks = vec![Mark::Point([3.0, 4.0])];
/// assert_eq!(Shown::Marks { width: 8, height: 8, marks }.text(), "(3.0, 4.0)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A picture: `[height, width, channels]` bytes, 1 or 3 channels.
    Picture {
        /// Pixels in a row.
        width: usize,
        /// Number of rows.
        height: usize,
        /// 1 or 3.
        channels: usize,
        /// The bytes.
        pixels: Vec<u8>,
    },
    /// Words: a label, a number.
    Text(String),
    /// Marks to be drawn on the picture beside it, as if that had this width and height.
    Marks {
        /// Width of the plane that they are on.
        width: usize,
        /// Its height.
        height: usize,
        /// The marks.
        marks: Vec<Mark>,
    },
}

impl Shown {
    /// The words, or what kind of thing it is.
    pub fn text(&self) -> String {
        match self {
            Shown::Text(text) => text.clone(),
            Shown::Picture { width, height, channels, .. } => {
                format!("picture of {width}x{height} pixels, {channels} channels")
            }
            Shown::Marks { marks, .. } => {
                let names: Vec<String> = marks
                    .iter()
                    .map(|m| match m {
                        Mark::Point([x, y]) => format!("({x:.1}, {y:.1})"),
                        Mark::Box([l, t, r, b], name) => {
                            format!("{name} ({l:.1}, {t:.1}) to ({r:.1}, {b:.1})")
                        }
                    })
                    .collect();
                names.join("; ")
            }
        }
    }
}
