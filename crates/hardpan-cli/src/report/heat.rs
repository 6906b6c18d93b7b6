//! What a model looks at, as a transparent picture to lay over the one it was shown.

use hardpan::vision::image::Image;
use hardpan::vision::predictor::{Fit, HeatMap, InputSpec, Predictor};

/// A PNG of the proportions of `image`: clear where nothing speaks for the class, yellow to red where much does. `None` if the model
/// cannot tell, or sees pictures so changed that no place of theirs can be named.
pub fn png(predictor: &Predictor, image: &Image, class: Option<usize>) -> Option<Vec<u8>> {
    if predictor.input().fit == Fit::Digit {
        return None;
    }
    let map = predictor.grad_cam(image, class)?;
    let (width, height) = canvas(predictor.input(), &map, image);
    let (left, top) = ((width - map.width.min(width)) / 2, (height - map.height.min(height)) / 2);
    let mut rgba = vec![0u8; width * height * 4];
    for (i, &value) in map.values.iter().enumerate() {
        let (x, y) = (left + i % map.width, top + i / map.width);
        if x < width && y < height {
            rgba[(y * width + x) * 4..][..4].copy_from_slice(&colour(value));
        }
    }
    encode(width, height, &rgba)
}

/// Whether [`png`] gives something for pictures.
pub fn can(predictor: &Predictor) -> bool {
    let input = &predictor.input().image;
    let blank = Image::filled(input.width, input.height, &vec![128; input.channels]);
    png(predictor, &blank, Some(0)).is_some()
}

/// The whole picture at the scale of the map: a model that crops sees its middle.
fn canvas(input: &InputSpec, map: &HeatMap, image: &Image) -> (usize, usize) {
    if input.fit != Fit::Crop {
        return (map.width, map.height);
    }
    let (w, h) = (image.width() as f64, image.height() as f64);
    let scale = (w / map.width as f64).min(h / map.height as f64);
    let side =
        |pixels: f64, least: usize| ((pixels / scale).round() as usize).clamp(least, 8 * least);
    (side(w, map.width), side(h, map.height))
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
