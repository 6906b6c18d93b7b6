//! Colours: the palette of series, and the maps from numbers to colours.

/// A colour: red, green, blue and opacity, 0 to 255 each.
///
/// ```
/// use hardpan_plot::Color;
/// let red = Color::rgb(200, 0, 0).alpha(0.5);
/// assert_eq!((red.r, red.a), (200, 128));
/// assert_eq!(Color::rgb(0, 0, 60).readable(), Color::rgb(255, 255, 255)); // ink on dark blue
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    /// Red.
    pub r: u8,
    /// Green.
    pub g: u8,
    /// Blue.
    pub b: u8,
    /// Opacity: 255 hides what is behind.
    pub a: u8,
}

impl Color {
    /// Text and axes.
    pub const INK: Color = Color::rgb(0x22, 0x26, 0x2b);
    /// Text that is less important.
    pub const SOFT: Color = Color::rgb(0x5f, 0x66, 0x6e);
    /// Grid lines.
    pub const GRID: Color = Color::rgb(0xe4, 0xe7, 0xea);
    /// The background.
    pub const PAPER: Color = Color::rgb(0xff, 0xff, 0xff);
    /// Something is right.
    pub const GOOD: Color = Color::rgb(0x00, 0x7a, 0x5a);
    /// Something is wrong.
    pub const BAD: Color = Color::rgb(0xc4, 0x4e, 0x00);

    /// An opaque colour.
    pub const fn rgb(r: u8, g: u8, b: u8) -> Color {
        Color { r, g, b, a: 255 }
    }

    /// The same colour with another opacity, 0 to 1.
    #[must_use]
    pub fn alpha(self, opacity: f32) -> Color {
        Color { a: (opacity.clamp(0.0, 1.0) * 255.0).round() as u8, ..self }
    }

    /// As it looks on white.
    pub(crate) fn on_white(self) -> [u8; 3] {
        let mix = |c: u8| {
            let a = u32::from(self.a);
            ((u32::from(c) * a + 255 * (255 - a) + 127) / 255) as u8
        };
        [mix(self.r), mix(self.g), mix(self.b)]
    }

    /// Black or white, whichever is easier to read on this colour (as WCAG reckons contrast).
    pub fn readable(self) -> Color {
        let linear = |c: u8| {
            let c = f32::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = self.on_white();
        let light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        if light > 0.3 { Color::INK } else { Color::PAPER }
    }

    /// `#rrggbb`.
    pub(crate) fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }
}

/// The colours of series, in order: those of Okabe and Ito (2008) that are dark enough for lines on white. Also people who cannot
/// tell red from green can tell them apart.
///
/// ```
/// use hardpan_plot::{Axes, Color, Figure, PALETTE, Series};
/// assert!(PALETTE.iter().all(|c| *c != Color::PAPER));
/// let line = Series::line([(0.0, 1.0), (1.0, 2.0)]).color(PALETTE[2]);
/// let svg = Figure::from(Axes::new("one line").with(line)).to_svg()?;
/// assert!(svg.contains("#009e73"));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
pub const PALETTE: [Color; 8] = [
    Color::rgb(0x00, 0x72, 0xb2),
    Color::rgb(0xd5, 0x5e, 0x00),
    Color::rgb(0x00, 0x9e, 0x73),
    Color::rgb(0xb0, 0x5a, 0x92),
    Color::rgb(0xd9, 0x92, 0x00),
    Color::rgb(0x3f, 0xa4, 0xde),
    Color::rgb(0x4d, 0x4d, 0x4d),
    Color::rgb(0x7a, 0x5b, 0x2e),
];

/// Colour `i` of [`PALETTE`]; after its end its colours come again lighter, then darker: 24 in all before one comes twice, enough
/// for the classes of most masks.
///
/// ```
/// use hardpan_plot::{PALETTE, palette};
/// assert_eq!(palette(0), PALETTE[0]);
/// assert!(palette(8).g > PALETTE[0].g && palette(16).g < PALETTE[0].g);
/// assert_eq!(palette(24), PALETTE[0]); // goes round
/// ```
pub fn palette(i: usize) -> Color {
    let Color { r, g, b, a } = PALETTE[i % PALETTE.len()];
    let (towards, percent) = [(0, 0), (255, 50), (0, 45)][i / PALETTE.len() % 3];
    let mix = |c: u8| ((u32::from(c) * (100 - percent) + towards * percent) / 100) as u8;
    Color { r: mix(r), g: mix(g), b: mix(b), a }
}

/// A way from numbers in 0..=1 to colours.
///
/// ```
/// use hardpan_plot::Colormap;
/// let (low, high) = (Colormap::Blues.at(0.0), Colormap::Blues.at(1.0));
/// assert!(low.r > high.r); // from white to dark
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colormap {
    /// matplotlib's default: dark violet over green to yellow, evenly brighter.
    #[default]
    Viridis,
    /// White to dark blue, for counts.
    Blues,
    /// Black to white.
    Grey,
    /// Blue over white to red: for numbers with a middle, which is at 0.5.
    Diverging,
}

impl Colormap {
    fn stops(self) -> &'static [u32] {
        match self {
            Colormap::Viridis => &[
                0x440154, 0x472d7b, 0x3b528b, 0x2c728e, 0x21918c, 0x28ae80, 0x5ec962, 0xaddc30,
                0xfde725,
            ],
            Colormap::Blues => &[
                0xf7fbff, 0xdeebf7, 0xc6dbef, 0x9ecae1, 0x6baed6, 0x4292c6, 0x2171b5, 0x08519c,
                0x08306b,
            ],
            Colormap::Grey => &[0x000000, 0xffffff],
            Colormap::Diverging => {
                &[0x2166ac, 0x67a9cf, 0xd1e5f0, 0xf7f7f7, 0xfddbc7, 0xef8a62, 0xb2182b]
            }
        }
    }

    /// The colour of `t`, which is cut to 0..=1; grey for what is not a number.
    pub fn at(self, t: f64) -> Color {
        if t.is_nan() {
            return Color::rgb(0xbb, 0xbb, 0xbb);
        }
        let stops = self.stops();
        let t = t.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
        let i = (t as usize).min(stops.len() - 2);
        let part = t - i as f64;
        let mix = |shift: u32| {
            let (a, b) = ((stops[i] >> shift) as u8, (stops[i + 1] >> shift) as u8);
            (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8
        };
        Color::rgb(mix(16), mix(8), mix(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_colours_of_the_palette_are_alike() {
        let far = |a: Color, b: Color| {
            let d = |a: u8, b: u8| u32::from(a.abs_diff(b));
            d(a.r, b.r) + d(a.g, b.g) + d(a.b, b.b)
        };
        for i in 0..24 {
            for j in 0..i {
                let (a, b) = (palette(i), palette(j));
                assert!(far(a, b) >= 24, "{i} and {j}: {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn maps_go_from_end_to_end() {
        for map in [Colormap::Viridis, Colormap::Blues, Colormap::Grey, Colormap::Diverging] {
            let stops = map.stops();
            let hex = |c: Color| u32::from_str_radix(&c.hex()[1..], 16).unwrap();
            assert_eq!(hex(map.at(0.0)), stops[0]);
            assert_eq!(hex(map.at(1.0)), stops[stops.len() - 1]);
            assert_eq!(map.at(7.0), map.at(1.0));
            assert_eq!(map.at(f64::NAN), Color::rgb(0xbb, 0xbb, 0xbb));
        }
        assert_eq!(Colormap::Grey.at(0.5), Color::rgb(128, 128, 128));
    }

    #[test]
    fn text_on_a_colour_can_be_read() {
        assert_eq!(Color::rgb(255, 255, 200).readable(), Color::INK);
        assert_eq!(Color::rgb(8, 48, 107).readable(), Color::PAPER);
        assert_eq!(Color::rgb(0, 0, 0).alpha(0.1).readable(), Color::INK, "opacity counts");
    }
}
