//! What a model looks at, as a transparent picture to lay over the one it was shown.

use hardpan::vision::image::Image;
use hardpan::vision::predictor::{HeatMap, Predictor};

/// A PNG of the proportions of `image`: clear where nothing speaks for the class, yellow to red where much does. `None` if the model
/// sees pictures so changed that no place of theirs can be named.
pub fn png(predictor: &Predictor, image: &Image, class: Option<usize>) -> Option<Vec<u8>> {
    if predictor.input().digit {
        return None;
    }
    let map = predictor.explain(image, class);
    let (width, height) = canvas(&map);
    let mut rgba = vec![0u8; width * height * 4];
    for (i, pixel) in rgba.chunks_exact_mut(4).enumerate() {
        let middle = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
        pixel.copy_from_slice(&colour(map.at(middle(i % width, width), middle(i / width, height))));
    }
    encode(width, height, &rgba)
}

/// Whether [`png`] gives something for pictures.
pub fn can(predictor: &Predictor) -> bool {
    !predictor.input().digit
}

/// The whole picture at the scale of the map: a model that crops sees its middle, one that pads more than it.
fn canvas(map: &HeatMap) -> (usize, usize) {
    let side = |cells: usize, share: f64| {
        let whole = (cells as f64 / share).round() as usize;
        whole.clamp(1, 8 * cells)
    };
    (side(map.width, map.part.width), side(map.height, map.part.height))
}

/// From clear over yellow to red.
fn colour(value: f32) -> [u8; 4] {
    let v = value.clamp(0.0, 1.0);
    [255, (220.0 * (1.0 - v)) as u8, 0, (255.0 * v.sqrt()) as u8]
}

fn encode(width: usize, height: usize, rgba: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().ok()?.write_image_data(rgba).ok()?;
    Some(out)
}
