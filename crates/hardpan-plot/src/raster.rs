//! Marks as pixels, with smooth edges, and those as PNG.

use crate::mark::{Anchor, Mark, Text};
use crate::{Color, Picture, PlotError, font};
use tiny_skia::{
    FillRule, FilterQuality, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, PixmapPaint,
    PremultipliedColorU8, Rect, Stroke, StrokeDash, Transform,
};

/// Draws marks on white, `scale` pixels for each unit.
pub(crate) fn draw(
    (width, height): (f32, f32),
    scale: f32,
    marks: &[Mark],
) -> Result<Picture, PlotError> {
    let (w, h) = ((width * scale).ceil() as u32, (height * scale).ceil() as u32);
    let mut map = Pixmap::new(w, h).ok_or(PlotError::TooLarge { width: w, height: h })?;
    map.fill(tiny_skia::Color::WHITE);
    let by = Transform::from_scale(scale, scale);
    for mark in marks {
        one(&mut map, mark, by);
    }
    let rgb: Vec<u8> = map.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
    Ok(Picture::new(w as usize, h as usize, 3, &rgb))
}

fn one(map: &mut Pixmap, mark: &Mark, by: Transform) {
    match mark {
        Mark::Line { points, color, width, dashed } => {
            let Some(path) = polyline(points, false) else { return };
            let dash = if *dashed { StrokeDash::new(vec![5.0, 4.0], 0.0) } else { None };
            let stroke = Stroke {
                width: *width,
                dash,
                line_join: LineJoin::Round,
                line_cap: LineCap::Butt,
                ..Default::default()
            };
            map.stroke_path(&path, &paint(*color), &stroke, by, None);
        }
        Mark::Area { points, fill } => {
            if let Some(path) = polyline(points, true) {
                map.fill_path(&path, &paint(*fill), FillRule::Winding, by, None);
            }
        }
        Mark::Rect { x, y, w, h, fill, stroke } => {
            let Some(rect) = Rect::from_xywh(*x, *y, *w, *h) else { return };
            let path = PathBuilder::from_rect(rect);
            if let Some(color) = fill {
                map.fill_path(&path, &paint(*color), FillRule::Winding, by, None);
            }
            if let Some(color) = stroke {
                map.stroke_path(&path, &paint(*color), &Stroke::default(), by, None);
            }
        }
        Mark::Dots { at, radius, fill } => {
            for (x, y) in at {
                if let Some(path) = PathBuilder::from_circle(*x, *y, *radius) {
                    map.fill_path(&path, &paint(*fill), FillRule::Winding, by, None);
                }
            }
        }
        Mark::Text(t) => text(map, t, by),
        Mark::Image { x, y, w, h, picture } => image(map, (*x, *y, *w, *h), picture, by),
    }
}

fn paint(color: Color) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Default::default() };
    paint.set_color_rgba8(color.r, color.g, color.b, color.a);
    paint
}

fn polyline(points: &[(f32, f32)], close: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    let mut points = points.iter();
    let first = points.next()?;
    path.move_to(first.0, first.1);
    points.for_each(|p| path.line_to(p.0, p.1));
    if close {
        path.close();
    }
    path.finish()
}

fn text(map: &mut Pixmap, t: &Text, by: Transform) {
    struct Outline(PathBuilder);
    impl ttf_parser::OutlineBuilder for Outline {
        fn move_to(&mut self, x: f32, y: f32) {
            self.0.move_to(x, y);
        }
        fn line_to(&mut self, x: f32, y: f32) {
            self.0.line_to(x, y);
        }
        fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
            self.0.quad_to(x1, y1, x, y);
        }
        fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
            self.0.cubic_to(x1, y1, x2, y2, x, y);
        }
        fn close(&mut self) {
            self.0.close();
        }
    }
    let mut outline = Outline(PathBuilder::new());
    font::outline(&t.text, t.size, t.bold, &mut outline);
    let Some(path) = outline.0.finish() else { return };
    let back = match t.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => font::width(&t.text, t.size, t.bold) / 2.0,
        Anchor::End => font::width(&t.text, t.size, t.bold),
    };
    let turn = if t.upward { Transform::from_rotate(-90.0) } else { Transform::identity() };
    let at = Transform::from_translate(-back, 0.0).post_concat(turn).post_translate(t.x, t.y);
    map.fill_path(&path, &paint(t.color), FillRule::Winding, at.post_concat(by), None);
}

fn image(map: &mut Pixmap, (x, y, w, h): (f32, f32, f32, f32), picture: &Picture, by: Transform) {
    let (target_w, target_h) = (w * by.sx, h * by.sy);
    // Made smaller it is averaged; made larger its pixels stay pixels.
    let shrunk;
    let picture = if target_w < picture.width() as f32 || target_h < picture.height() as f32 {
        let size = |to: f32, from: usize| (to.round().max(1.0) as usize).min(from);
        shrunk = picture.resize(size(target_w, picture.width()), size(target_h, picture.height()));
        &shrunk
    } else {
        picture
    };
    let Some(mut pixels) = Pixmap::new(picture.width() as u32, picture.height() as u32) else {
        return;
    };
    for (to, rgb) in pixels.pixels_mut().iter_mut().zip(picture.rgb().chunks_exact(3)) {
        *to = PremultipliedColorU8::from_rgba(rgb[0], rgb[1], rgb[2], 255).unwrap_or(*to);
    }
    let to = Transform::from_scale(w / picture.width() as f32, h / picture.height() as f32)
        .post_translate(x, y)
        .post_concat(by);
    let paint = PixmapPaint { quality: FilterQuality::Nearest, ..Default::default() };
    map.draw_pixmap(0, 0, pixels.as_ref(), &paint, to, None);
}
