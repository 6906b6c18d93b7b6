//! Brightness, contrast, saturation, hue.

use crate::image::Image;

/// Changes of light, as fastai makes them: brightness, contrast and saturation act on the logits of the values, hue on HSV.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lighting {
    /// Added to the logits; 0 leaves them.
    pub brightness: f64,
    /// Logits are multiplied by it; 1 leaves them.
    pub contrast: f64,
    /// Share of the colours' logits against those of grey; 1 leaves them.
    pub saturation: f64,
    /// Added to the hue, of which 1 is the whole circle; 0 leaves it.
    pub hue: f64,
}

impl Default for Lighting {
    fn default() -> Self {
        Lighting { brightness: 0.0, contrast: 1.0, saturation: 1.0, hue: 0.0 }
    }
}

/// fastai's: clipped at 1e-7 from 0 and 1.
pub(super) fn logit(v: f64) -> f64 {
    let v = v.clamp(1e-7, 1.0 - 1e-7);
    -(1.0 / v - 1.0).ln()
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

/// Weights of red, green and blue in grey. Source: ITU-R 601-2 as fastai's `grayscale` has them.
pub(super) const GREY: [f64; 3] = [0.2989, 0.5870, 0.1140];

impl Lighting {
    /// Whether nothing changes.
    pub fn is_identity(&self) -> bool {
        *self == Lighting::default()
    }

    /// The picture in this light.
    #[must_use]
    pub fn apply(&self, mut image: Image) -> Image {
        if self.is_identity() {
            return image;
        }
        let colour = image.channels() == 3;
        // Without saturation each byte has one answer.
        if self.saturation == 1.0 || !colour {
            let table: Vec<u8> = (0..256)
                .map(|v| {
                    let x = (logit(f64::from(v) / 255.0) + self.brightness) * self.contrast;
                    (sigmoid(x) * 255.0).round() as u8
                })
                .collect();
            image.pixels_mut().iter_mut().for_each(|p| *p = table[*p as usize]);
        } else {
            let table: Vec<f32> = (0..256)
                .map(|v| ((logit(f64::from(v) / 255.0) + self.brightness) * self.contrast) as f32)
                .collect();
            let s = self.saturation as f32;
            let weights = GREY.map(|w| w as f32);
            for p in image.pixels_mut().as_chunks_mut::<3>().0 {
                let x = p.map(|v| table[v as usize]);
                let grey = (0..3).map(|k| weights[k] * x[k]).sum::<f32>() * (1.0 - s);
                *p = x.map(|v| (255.0 / (1.0 + (-(v * s + grey)).exp())).round() as u8);
            }
        }
        if self.hue != 0.0 && colour {
            for p in image.pixels_mut().as_chunks_mut::<3>().0 {
                *p = turn_hue(*p, self.hue as f32);
            }
        }
        image
    }
}

/// Through HSV and back.
fn turn_hue(rgb: [u8; 3], by: f32) -> [u8; 3] {
    let [r, g, b] = rgb.map(f32::from);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let range = max - min;
    if range == 0.0 {
        return rgb;
    }
    let h = if max == r {
        (g - b) / range
    } else if max == g {
        2.0 + (b - r) / range
    } else {
        4.0 + (r - g) / range
    };
    let h = (h / 6.0 + by).rem_euclid(1.0) * 6.0;
    // Each channel of the pure colour is a trapezoid of the hue.
    let channel = |offset: f32| {
        let k = (offset + h) % 6.0;
        let share = k.min(4.0 - k).clamp(0.0, 1.0);
        (max - range * share).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}
