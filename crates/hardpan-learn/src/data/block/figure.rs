//! Shown items as a figure.

use super::{Mark, Shown};
use hardpan_plot::{Figure, ImageGrid, Picture, palette};

impl Shown {
    /// Items side by side: each input's picture with its target beside it, drawn on it, or written above it. Items without a picture are
    /// left out. Counterpart: what fastai's `show_batch` draws.
    pub fn figure(title: impl Into<String>, items: &[(Shown, Shown)]) -> Figure {
        let mut grid = ImageGrid::new(title);
        for (x, y) in items {
            let Shown::Picture { width, height, channels, pixels } = x else { continue };
            let (w, h) = (*width, *height);
            match y {
                Shown::Text(text) => {
                    grid = grid.image(Picture::new(w, h, *channels, pixels), text);
                }
                Shown::Marks { width, height, marks } => {
                    let mut rgb = to_rgb(*channels, pixels);
                    let scale = (w as f32 / *width as f32, h as f32 / *height as f32);
                    let mut names = Vec::new();
                    for (i, mark) in marks.iter().enumerate() {
                        let colour = palette(i);
                        draw(&mut rgb, (w, h), scale, mark, [colour.r, colour.g, colour.b]);
                        if let Mark::Box(_, name) = mark {
                            names.push(name.as_str());
                        }
                    }
                    grid = grid.image(Picture::new(w, h, 3, &rgb), names.join(", "));
                }
                Shown::Picture { width, height, channels: c, pixels: mask }
                    if (*width, *height) == (w, h) =>
                {
                    // Half the picture, half the mask.
                    let (a, b) = (to_rgb(*channels, pixels), to_rgb(*c, mask));
                    let mixed: Vec<u8> = a
                        .iter()
                        .zip(&b)
                        .map(|(a, b)| ((u16::from(*a) + u16::from(*b)) / 2) as u8)
                        .collect();
                    grid = grid.image(Picture::new(w, h, 3, &mixed), "");
                }
                Shown::Picture { width, height, channels: c, pixels: other } => {
                    grid = grid.image(Picture::new(w, h, *channels, pixels), "input");
                    grid = grid.image(Picture::new(*width, *height, *c, other), "target");
                }
            }
        }
        Figure::from(grid)
    }
}

fn to_rgb(channels: usize, pixels: &[u8]) -> Vec<u8> {
    match channels {
        1 => pixels.iter().flat_map(|&p| [p; 3]).collect(),
        _ => pixels.to_vec(),
    }
}

fn draw(
    rgb: &mut [u8],
    (w, h): (usize, usize),
    (sx, sy): (f32, f32),
    mark: &Mark,
    colour: [u8; 3],
) {
    let mut dot = |x: f32, y: f32| {
        let (x, y) = (x.floor() as i64, y.floor() as i64);
        if (0..w as i64).contains(&x) && (0..h as i64).contains(&y) {
            let at = (y as usize * w + x as usize) * 3;
            rgb[at..at + 3].copy_from_slice(&colour);
        }
    };
    match mark {
        Mark::Point([x, y]) => {
            // A cross, so that the point itself stays visible on small pictures.
            let reach = (w.min(h) / 40).max(1) as i64;
            for d in -reach..=reach {
                dot(x * sx + d as f32, y * sy);
                dot(x * sx, y * sy + d as f32);
            }
        }
        Mark::Box([l, t, r, b], _) => {
            let (l, t) = (l * sx, t * sy);
            let (r, b) = ((r * sx - 1.0).max(l), (b * sy - 1.0).max(t));
            for i in 0..=(r - l) as usize {
                dot(l + i as f32, t);
                dot(l + i as f32, b);
            }
            for i in 0..=(b - t) as usize {
                dot(l, t + i as f32);
                dot(r, t + i as f32);
            }
        }
    }
}
