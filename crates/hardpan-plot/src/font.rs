//! The embedded font (Roboto, Apache License 2.0; see `fonts/README.md`): widths of texts and outlines of letters.

use std::sync::OnceLock;
use ttf_parser::{Face, GlyphId, OutlineBuilder};

static REGULAR: &[u8] = include_bytes!("../fonts/Roboto-Regular-subset.ttf");
static MEDIUM: &[u8] = include_bytes!("../fonts/Roboto-Medium-subset.ttf");

/// The font, regular or in its bolder weight.
fn face(bold: bool) -> &'static Face<'static> {
    static FACES: OnceLock<[Face<'static>; 2]> = OnceLock::new();
    let parse = |bytes| Face::parse(bytes, 0).expect("the embedded font is well formed");
    let [regular, medium] = FACES.get_or_init(|| [parse(REGULAR), parse(MEDIUM)]);
    if bold { medium } else { regular }
}

/// The glyph of a letter; one that the font lacks becomes the font's box.
fn glyph(face: &Face<'_>, c: char) -> GlyphId {
    face.glyph_index(c).unwrap_or(GlyphId(0))
}

/// Width of `text` at `size` pixels an em.
pub(crate) fn width(text: &str, size: f32, bold: bool) -> f32 {
    let face = face(bold);
    let advance = |c| face.glyph_hor_advance(glyph(face, c)).map_or(0.0, f32::from);
    text.chars().map(advance).sum::<f32>() * size / f32::from(face.units_per_em())
}

/// `text`, or as much of it as is no wider than `room`, with an ellipsis.
pub(crate) fn fit(text: &str, size: f32, bold: bool, room: f32) -> String {
    if width(text, size, bold) <= room {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while short.pop().is_some() {
        let cut = format!("{}…", short.trim_end());
        if width(&cut, size, bold) <= room {
            return cut;
        }
    }
    String::new()
}

/// Shows `out` the outlines of `text`, written from (0, 0) to the right on the baseline, y downwards.
pub(crate) fn outline(text: &str, size: f32, bold: bool, out: &mut dyn OutlineBuilder) {
    let face = face(bold);
    let scale = size / f32::from(face.units_per_em());
    let mut x = 0.0;
    for c in text.chars() {
        let id = glyph(face, c);
        face.outline_glyph(id, &mut Placed { out, x, scale });
        x += face.glyph_hor_advance(id).map_or(0.0, f32::from) * scale;
    }
}

/// Scales and moves an outline.
struct Placed<'a> {
    out: &'a mut dyn OutlineBuilder,
    x: f32,
    scale: f32,
}

impl Placed<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Placed<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.out.move_to(x, y);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.out.line_to(x, y);
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.out.quad_to(x1, y1, x, y);
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.out.curve_to(x1, y1, x2, y2, x, y);
    }
    fn close(&mut self) {
        self.out.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_measured_and_cut() {
        assert!(width("mmm", 12.0, false) > width("iii", 12.0, false));
        assert!((width("ab", 24.0, false) - 2.0 * width("ab", 12.0, false)).abs() < 1e-3);
        assert_eq!(fit("short", 12.0, false, 100.0), "short");
        let cut = fit("a rather long title", 12.0, false, 50.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, false) <= 50.0, "{cut}");
        assert_eq!(fit("anything", 12.0, false, 1.0), "");
    }

    #[test]
    fn letters_of_other_scripts_are_there() {
        for c in "äßçŁžΩβЖя−≤≈²".chars() {
            assert!(face(false).glyph_index(c).is_some(), "{c}");
            assert!(face(true).glyph_index(c).is_some(), "{c}");
        }
    }
}
