//! Marks as SVG: one self-contained document, with a title for those who cannot see it.

use crate::mark::{Anchor, Mark, Text};
use crate::{Color, PlotError};
use std::fmt::Write;

/// The document.
pub(crate) fn write(
    title: &str,
    (width, height): (f32, f32),
    marks: &[Mark],
) -> Result<String, PlotError> {
    let title = escape(title);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\" \
         font-family=\"Roboto, 'Helvetica Neue', Arial, sans-serif\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for mark in marks {
        one(&mut out, mark)?;
    }
    out += "</svg>\n";
    Ok(out)
}

fn one(out: &mut String, mark: &Mark) -> Result<(), PlotError> {
    match mark {
        Mark::Line { points, color, width, dashed } => {
            let dash = if *dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            *out += &format!(
                "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"{width}\" \
                 stroke-linejoin=\"round\"{dash}/>\n",
                places(points),
                paint("stroke", *color)
            );
        }
        Mark::Area { points, fill } => {
            *out += &format!("<polygon points=\"{}\" {}/>\n", places(points), paint("fill", *fill));
        }
        Mark::Rect { x, y, w, h, fill, stroke } => {
            let fill = fill.map_or("fill=\"none\"".into(), |c| paint("fill", c));
            let stroke = stroke.map_or(String::new(), |c| format!(" {}", paint("stroke", c)));
            *out += &format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {fill}{stroke}/>\n",
                num(*x),
                num(*y),
                num(*w),
                num(*h)
            );
        }
        Mark::Dots { at, radius, fill } => {
            *out += &format!("<g {}>", paint("fill", *fill));
            for (x, y) in at {
                *out += &format!("<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\"/>", num(*x), num(*y));
            }
            *out += "</g>\n";
        }
        Mark::Text(t) => text(out, t),
        Mark::Image { x, y, w, h, picture } => {
            // Few pixels made large are meant to be seen as such.
            let blocky = if *w > picture.width() as f32 * 1.5 {
                " style=\"image-rendering:pixelated\""
            } else {
                ""
            };
            *out += &format!(
                "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\"{blocky} \
                 href=\"data:image/png;base64,{}\"/>\n",
                num(*x),
                num(*y),
                num(*w),
                num(*h),
                base64(&picture.to_png()?)
            );
        }
    }
    Ok(())
}

fn text(out: &mut String, t: &Text) {
    let (x, y) = (num(t.x), num(t.y));
    let anchor = match t.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let weight = if t.bold { " font-weight=\"500\"" } else { "" };
    let turn = if t.upward { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
    *out += &format!(
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" {}{anchor}{weight}{turn}>{}</text>\n",
        num(t.size),
        paint("fill", t.color),
        escape(&t.text)
    );
}

fn paint(what: &str, color: Color) -> String {
    match color.a {
        255 => format!("{what}=\"{}\"", color.hex()),
        a => format!("{what}=\"{}\" {what}-opacity=\"{:.2}\"", color.hex(), f32::from(a) / 255.0),
    }
}

fn places(points: &[(f32, f32)]) -> String {
    let mut out = String::with_capacity(points.len() * 12);
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(out, "{}{},{}", if i == 0 { "" } else { " " }, num(*x), num(*y));
    }
    out
}

/// To a tenth of a pixel.
fn num(v: f32) -> String {
    let text = format!("{v:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// Letters that mean something in XML, and those that it does not allow.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' => out.push(' '),
            c if c.is_control() => out.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let letter = LETTERS[(n >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { letter as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_rfc_says() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn what_means_something_in_xml_is_escaped() {
        assert_eq!(escape("a<b & \"c\"\u{1}"), "a&lt;b &amp; &quot;c&quot;\u{fffd}");
    }
}
