//! The page of `hardpan report` for models that find masks: curves, overlap of each class, the worst pictures with both masks.

use super::page::{Page, escape, picture, table};
use super::{Trained, small, training};
use crate::commands::predict::overlay;
use crate::setup::segment::Pair;
use anyhow::{Context, Result, bail};
use hardpan::learn::interpret::SegmentationInterpretation;
use hardpan::plot::palette;
use hardpan::vision::image::{Image, Mask};
use hardpan::vision::predictor::MaskPredictor;
use std::fmt::Write;

/// Pictures read and predicted together.
const BATCH: usize = 8;

/// How well a model finds masks.
pub struct MasksJudged {
    /// The pictures that could be read, in order.
    pub seen: SegmentationInterpretation,
    /// Of each of those: its number among the pairs.
    numbers: Vec<usize>,
    /// What could not be read, and why.
    pub bad: Vec<String>,
}

impl MasksJudged {
    /// Shows all pictures to the model. Pixels of the label `void` do not count.
    pub fn new(
        predictor: &MaskPredictor,
        pairs: &[Pair],
        void: Option<i64>,
    ) -> Result<MasksJudged> {
        let classes = (0..predictor.model().outputs()).map(|c| predictor.label(c));
        let seen = SegmentationInterpretation::new(classes, void);
        let mut out = MasksJudged { seen, numbers: Vec::new(), bad: Vec::new() };
        for (chunk, first) in pairs.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let (mut images, mut masks) = (Vec::new(), Vec::new());
            for (k, pair) in chunk.iter().enumerate() {
                match open(predictor, pair, void) {
                    Ok((image, mask)) => {
                        images.push(image);
                        masks.push(mask);
                        out.numbers.push(first + k);
                    }
                    Err(e) => out.bad.push(format!("{e:#}")),
                }
            }
            let pixels = |mask: &Mask| mask.pixels().to_vec().into_iter().map(i64::from);
            for (truth, said) in masks.iter().zip(predictor.predict(&images)) {
                out.seen.add_picture(pixels(&said.mask), pixels(truth));
            }
        }
        if out.numbers.is_empty() {
            bail!("none of the {} pictures could be read: {}", pairs.len(), out.bad.join("; "));
        }
        Ok(out)
    }

    /// Number of pictures.
    pub fn items(&self) -> usize {
        self.numbers.len()
    }
}

fn open(predictor: &MaskPredictor, pair: &Pair, void: Option<i64>) -> Result<(Image, Mask)> {
    let image = predictor.input().open(&pair.0)?;
    let mask = Mask::open(&pair.1).with_context(|| format!("the mask of {}", pair.0.display()))?;
    if (mask.width(), mask.height()) != (image.width(), image.height()) {
        bail!("{}: it and its mask differ in size", pair.0.display());
    }
    let classes = predictor.model().outputs();
    let unknown = |p: &&u8| usize::from(**p) >= classes && Some(i64::from(**p)) != void;
    if let Some(label) = mask.pixels().iter().find(unknown) {
        bail!("{}: label {label}, but the model knows {classes} classes", pair.1.display());
    }
    Ok((image, mask))
}

/// The whole page.
pub fn page(
    predictor: &MaskPredictor,
    judged: &MasksJudged,
    pairs: &[Pair],
    model: &str,
    data: &str,
    worst: usize,
    void: Option<i64>,
) -> Result<String> {
    let about = format!(
        "{} on {data} (valid): {:.2} % of the pixels of {} pictures right, mean IoU {:.3}, in the pictures' own size",
        predictor.model().arch().name,
        judged.seen.pixel_accuracy() * 100.0,
        judged.items(),
        judged.seen.mean_iou()
    );
    let mut page = Page::new(model, &about);
    if !judged.bad.is_empty() {
        let list: String = judged.bad.iter().map(|b| format!("<li>{}</li>", escape(b))).collect();
        page.section("Unreadable files", "They were left out.", &format!("<ul>{list}</ul>"));
    }
    let parameters = hardpan::nn::Module::num_parameters(predictor.model());
    let network = predictor.model().arch().name;
    training(&mut page, &Trained { header: predictor.header(), network: &network, parameters })?;
    page.section(
        "Each class",
        "IoU: the pixels that are of the class and were called so, over those that are one or the other.",
        &per_class(judged),
    );
    let mut html = legend(predictor) + "<div class=\"cards\">";
    for (at, wrong) in judged.seen.worst(worst) {
        let pair = &pairs[judged.numbers[at]];
        let Ok((image, truth)) = open(predictor, pair, void) else { continue };
        let said = predictor.predict(std::slice::from_ref(&image)).remove(0).mask;
        let _ = write!(
            html,
            "<div class=\"card\"><div class=\"two\">{}{}</div><div>{:.1} % right</div><div class=\"file\">{}</div></div>",
            picture(&small(&overlay(&image, &truth)).encode_png(), "the true mask"),
            picture(&small(&overlay(&image, &said)).encode_png(), "what the model says"),
            100.0 - wrong * 100.0,
            escape(&pair.0.display().to_string())
        );
    }
    page.section(
        "Worst pictures",
        "Left the true mask, right what the model says. Look for masks that are drawn wrong, too.",
        &(html + "</div>"),
    );
    Ok(page.finish())
}

fn per_class(judged: &MasksJudged) -> String {
    let all = judged.seen.confusion_matrix().iter().sum::<u64>().max(1) as f64;
    let mut rows = vec![["class", "IoU", "found", "pixels", "called so"].map(str::to_owned)];
    for (c, (name, iou)) in judged.seen.iou().into_iter().enumerate() {
        let (both, truth, said) = judged.seen.sums(c);
        let percent = |part: u64, of: f64| format!("{:.1} %", part as f64 * 100.0 / of);
        rows.push([
            name.to_owned(),
            iou.map_or("–".into(), |v| format!("{v:.3}")),
            if truth > 0 { percent(both, truth as f64) } else { "–".into() },
            percent(truth, all),
            percent(said, all),
        ]);
    }
    table(&rows)
}

fn legend(predictor: &MaskPredictor) -> String {
    let mut html = String::from("<p class=\"legend\">");
    for c in 0..predictor.model().outputs() {
        let p = palette(c);
        let _ = write!(
            html,
            "<span><i style=\"background:rgb({},{},{})\"></i>{}</span> ",
            p.r,
            p.g,
            p.b,
            escape(&predictor.label(c))
        );
    }
    html + "</p>"
}
