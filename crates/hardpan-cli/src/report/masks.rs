//! The page of `hardpan report` for models that find masks: curves, overlap of each class, the worst pictures with both masks.

use super::page::{Page, escape, picture, table};
use super::{Trained, small, training};
use crate::commands::predict::overlay;
use crate::setup::segment::Pair;
use anyhow::{Context, Result, bail};
use hardpan::plot::palette;
use hardpan::vision::image::{Image, Mask};
use hardpan::vision::predictor::MaskPredictor;
use std::fmt::Write;

/// Pictures read and predicted together.
const BATCH: usize = 8;

/// How well a model finds masks.
pub struct MasksJudged {
    /// Pixels of class `t` that were called `p`, at `t * classes + p`; only those that count.
    confusion: Vec<u64>,
    classes: usize,
    /// Of each picture that could be read: its number among the pairs, and the share of its pixels that are right.
    pictures: Vec<(usize, f64)>,
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
        let classes = predictor.model().outputs();
        let mut out = MasksJudged {
            confusion: vec![0; classes * classes],
            classes,
            pictures: Vec::new(),
            bad: Vec::new(),
        };
        for (chunk, first) in pairs.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let mut read = Vec::new();
            for (k, pair) in chunk.iter().enumerate() {
                match open(predictor, pair) {
                    Ok((image, mask)) => read.push((first + k, image, mask)),
                    Err(e) => out.bad.push(format!("{e:#}")),
                }
            }
            let images: Vec<Image> = read.iter().map(|r| r.1.clone()).collect();
            for ((i, _, truth), said) in read.iter().zip(predictor.predict(&images)) {
                let share = out.count(truth, &said.mask, void);
                out.pictures.push((*i, share));
            }
        }
        if out.pictures.is_empty() {
            bail!("none of the {} pictures could be read: {}", pairs.len(), out.bad.join("; "));
        }
        Ok(out)
    }

    fn count(&mut self, truth: &Mask, said: &Mask, void: Option<i64>) -> f64 {
        let (mut right, mut all) = (0u64, 0u64);
        for (&t, &p) in truth.pixels().iter().zip(said.pixels()) {
            if Some(i64::from(t)) == void || usize::from(t) >= self.classes {
                continue;
            }
            self.confusion[usize::from(t) * self.classes + usize::from(p)] += 1;
            right += u64::from(t == p);
            all += 1;
        }
        if all == 0 { 1.0 } else { right as f64 / all as f64 }
    }

    /// Number of pictures.
    pub fn items(&self) -> usize {
        self.pictures.len()
    }

    /// Pixels that are of class `c` in truth, that were called so, and both.
    fn of_class(&self, c: usize) -> (u64, u64, u64) {
        let n = self.classes;
        let truth = self.confusion[c * n..(c + 1) * n].iter().sum();
        let said = (0..n).map(|t| self.confusion[t * n + c]).sum();
        (truth, said, self.confusion[c * n + c])
    }

    /// The share of pixels that are right.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|c| self.of_class(c).2).sum();
        right as f64 / self.confusion.iter().sum::<u64>().max(1) as f64
    }

    /// Intersection over union of a class; `None` if it is nowhere.
    fn overlap(&self, c: usize) -> Option<f64> {
        let (truth, said, both) = self.of_class(c);
        let union = truth + said - both;
        (union > 0).then(|| both as f64 / union as f64)
    }

    /// The mean intersection over union of the classes that occur.
    pub fn mean_overlap(&self) -> f64 {
        let all: Vec<f64> = (0..self.classes).filter_map(|c| self.overlap(c)).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    }
}

fn open(predictor: &MaskPredictor, pair: &Pair) -> Result<(Image, Mask)> {
    let image = predictor.input().open(&pair.0)?;
    let mask = Mask::open(&pair.1).with_context(|| format!("the mask of {}", pair.0.display()))?;
    if (mask.width(), mask.height()) != (image.width(), image.height()) {
        bail!("{}: it and its mask differ in size", pair.0.display());
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
) -> Result<String> {
    let about = format!(
        "{} on {data} (valid): {:.2} % of the pixels of {} pictures right, mean IoU {:.3}, in the pictures' own size",
        predictor.model().arch().name,
        judged.accuracy() * 100.0,
        judged.items(),
        judged.mean_overlap()
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
        &per_class(predictor, judged),
    );
    let mut order = judged.pictures.clone();
    order.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    let mut html = legend(predictor) + "<div class=\"cards\">";
    for &(i, share) in order.iter().take(worst) {
        let Ok((image, truth)) = open(predictor, &pairs[i]) else { continue };
        let said = predictor.predict(std::slice::from_ref(&image)).remove(0).mask;
        let _ = write!(
            html,
            "<div class=\"card\"><div class=\"two\">{}{}</div><div>{:.1} % right</div><div class=\"file\">{}</div></div>",
            picture(&small(&overlay(&image, &truth)).encode_png(), "the true mask"),
            picture(&small(&overlay(&image, &said)).encode_png(), "what the model says"),
            share * 100.0,
            escape(&pairs[i].0.display().to_string())
        );
    }
    page.section(
        "Worst pictures",
        "Left the true mask, right what the model says. Look for masks that are drawn wrong, too.",
        &(html + "</div>"),
    );
    Ok(page.finish())
}

fn per_class(predictor: &MaskPredictor, judged: &MasksJudged) -> String {
    let all = judged.confusion.iter().sum::<u64>().max(1) as f64;
    let mut rows = vec![["class", "IoU", "found", "pixels", "called so"].map(str::to_owned)];
    for c in 0..judged.classes {
        let (truth, said, both) = judged.of_class(c);
        let percent = |part: u64, of: f64| format!("{:.1} %", part as f64 * 100.0 / of);
        rows.push([
            predictor.label(c),
            judged.overlap(c).map_or("–".into(), |v| format!("{v:.3}")),
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
