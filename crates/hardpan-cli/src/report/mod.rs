//! The page of `hardpan report`: curves, confusion matrix, top losses with what the model looks at, near neighbours, labels to correct.

pub mod heat;
pub mod masks;
mod page;

use crate::judge::{Item, Judged};
use crate::plots;
use anyhow::Result;
use hardpan::learn::file::Header;
use hardpan::learn::interpret::ClassificationInterpretation;
use hardpan::learn::learner::History;
use hardpan::prelude::*;
use hardpan::vision::image::{Filter, Image};
use hardpan::vision::predictor::Predictor;
use page::{Page, escape, picture, table};
use std::fmt::Write;

/// Pictures of the page are at most so large.
const SIDE: usize = 224;

/// Pictures whose neighbours are shown.
const NEIGHBOURED: usize = 8;

/// The whole page.
pub fn page(
    predictor: &Predictor,
    judged: &Judged,
    model: &str,
    data: &str,
    worst: usize,
) -> Result<String> {
    let classes: Vec<String> = (0..judged.classes).map(|c| predictor.label(c)).collect();
    let probabilities =
        Tensor::from_slice(&judged.probabilities, [judged.targets.len(), judged.classes]);
    let interp = ClassificationInterpretation::from_probabilities(
        &probabilities,
        &judged.targets,
        classes.clone(),
    );
    let about = format!(
        "{} on {data} ({}): {:.2} % of {} pictures right, loss {:.4}",
        predictor.model().name(),
        judged.part,
        judged.accuracy() * 100.0,
        judged.targets.len(),
        judged.loss()
    );
    let mut page = Page::new(model, &about);
    if !judged.bad.is_empty() {
        let list: String = judged.bad.iter().map(|b| format!("<li>{}</li>", escape(b))).collect();
        page.section("Unreadable files", "They were left out.", &format!("<ul>{list}</ul>"));
    }
    let network = predictor.model().name();
    let parameters = predictor.model().num_parameters();
    training(&mut page, &Trained { header: predictor.header(), network, parameters })?;
    let svg = interp.plot_confusion_matrix(true).to_svg()?;
    page.section(
        "Confusion matrix",
        "Each row is a true class, each column what the model said. Off the diagonal are the mistakes.",
        &figure(&svg),
    );
    confused(&mut page, &interp);
    per_class(&mut page, &interp);
    calibration(&mut page, &interp)?;
    let top: Vec<usize> = interp.top_losses(worst).into_iter().map(|t| t.item).collect();
    losses(&mut page, predictor, judged, &interp, &classes, &top);
    neighbours(&mut page, predictor, judged, &classes, &top);
    Ok(page.finish())
}

fn figure(svg: &str) -> String {
    format!("<div class=\"figure scroll\">{svg}</div>")
}

/// A model, as far as its training goes.
struct Trained<'a> {
    header: &'a Header,
    network: &'a str,
    parameters: usize,
}

fn training(page: &mut Page, trained: &Trained) -> Result<()> {
    let p = &trained.header.provenance;
    let mut rows: Vec<[String; 2]> = vec![["network".into(), trained.network.into()]];
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.push([name.to_owned(), value]);
        }
    };
    row("parameters", Some(trained.parameters.to_string()));
    row("trained on", p.data.clone());
    row("epochs", p.epochs.map(|e| e.to_string()));
    row("seed", p.seed.map(|s| s.to_string()));
    if let Some(settings) = p.settings.as_object() {
        for (name, value) in settings
            .iter()
            .filter(|(n, v)| !v.is_null() && !["data", "data_at", "seed"].contains(&n.as_str()))
        {
            row(&name.replace('_', " "), Some(value.to_string().trim_matches('"').to_owned()));
        }
    }
    rows.insert(0, ["".into(), "".into()]);
    let mut html = String::new();
    if !p.epochs_seen.is_empty() {
        let history = History { epochs: p.epochs_seen.clone(), ..History::default() };
        html += &figure(&plots::by_epoch(&history).to_svg()?);
    }
    html += &format!("<details><summary>How it was trained</summary>{}</details>", table(&rows));
    page.section(
        "Training",
        "Overfitting shows as a validation loss that gets worse, not as a training loss that is lower.",
        &html,
    );
    Ok(())
}

fn confused(page: &mut Page, interp: &ClassificationInterpretation) {
    let most = interp.most_confused(1);
    let mut rows = vec![["true".to_owned(), "said".to_owned(), "times".to_owned()]];
    rows.extend(most.iter().take(20).map(|&(t, p, n)| [t.to_owned(), p.to_owned(), n.to_string()]));
    let html = match rows.len() {
        1 => "<p>No mistakes.</p>".to_owned(),
        _ => table(&rows),
    };
    page.section(
        "Most confused",
        "Pairs of classes that are taken for each other most often.",
        &html,
    );
}

fn per_class(page: &mut Page, interp: &ClassificationInterpretation) {
    let mut rows = vec![["class", "precision", "recall", "F1", "pictures"].map(str::to_owned)];
    let percent =
        |v: f64| if v.is_nan() { "–".to_owned() } else { format!("{:.1} %", v * 100.0) };
    rows.extend(interp.report().rows.into_iter().map(|r| {
        [r.name, percent(r.precision), percent(r.recall), percent(r.f1), r.support.to_string()]
    }));
    page.section(
        "Each class",
        "Precision: how often it is right when it says so. Recall: how many of the class it finds.",
        &table(&rows),
    );
}

fn calibration(page: &mut Page, interp: &ClassificationInterpretation) -> Result<()> {
    let svg = interp.calibration(10).plot().to_svg()?;
    page.section(
        "Can its probabilities be trusted?",
        "On the diagonal, what it is 80 % sure of is right 80 % of the time; below, it is too sure of itself.",
        &figure(&svg),
    );
    Ok(())
}

/// The card of a picture: the picture, what the model said, and a choice of labels.
fn card(predictor: &Predictor, judged: &Judged, classes: &[String], loss: f64, i: usize) -> String {
    let item = &judged.items[i];
    let (target, said) = (judged.targets[i], judged.predicted(i));
    let shown = item.image();
    let mut html = String::from("<div class=\"card\"><div class=\"pair\">");
    if let Some(image) = &shown {
        html += &picture(&small(image).encode_png(), &item.name());
        if let Some(heat) = heat::png(predictor, image, Some(said)) {
            html += &picture(&heat, "what the answer rests on").replacen(
                "<img ",
                "<img class=\"heat\" ",
                1,
            );
        }
    }
    let right = if said == target { "right" } else { "wrong" };
    let p = judged.row(i);
    let _ = write!(
        html,
        "</div><div><b class=\"{right}\">{}</b> {:.0} %, labelled <b>{}</b> {:.0} %</div><div>loss {loss:.2}</div>",
        escape(&classes[said]),
        p[said] * 100.0,
        escape(&classes[target]),
        p[target] * 100.0
    );
    if let Item::File(path) = item {
        let name = escape(&path.display().to_string());
        let label = escape(&classes[target]);
        let options: String = classes
            .iter()
            .map(|c| {
                let selected = if *c == classes[target] { " selected" } else { "" };
                format!("<option{selected}>{}</option>", escape(c))
            })
            .collect();
        let _ = write!(
            html,
            "<div class=\"file\">{name}</div><select class=\"label\" aria-label=\"Label\" data-file=\"{name}\" data-label=\"{label}\">{options}<option value=\"\">leave it out</option></select>"
        );
    } else {
        let _ = write!(html, "<div class=\"file\">{}</div>", escape(&item.name()));
    }
    html + "</div>"
}

fn losses(
    page: &mut Page,
    predictor: &Predictor,
    judged: &Judged,
    interp: &ClassificationInterpretation,
    classes: &[String],
    top: &[usize],
) {
    let files = top.iter().any(|&i| matches!(judged.items[i], Item::File(_)));
    let mut html = String::from("<div class=\"bar\">");
    if heat::can(predictor) {
        html +=
            "<label><input type=\"checkbox\" id=\"heat\"> show what the answers rest on</label>";
    }
    if files {
        html += "<button id=\"save\" type=\"button\" disabled>Save 0 corrections</button>\
                 <span class=\"soft\">then: hardpan train … --corrections corrections.csv</span>";
    }
    html += "</div><div class=\"cards\">";
    for &i in top {
        html += &card(predictor, judged, classes, interp.losses()[i], i);
    }
    html += "</div>";
    page.section(
        "Top losses",
        "Where the model is most sure of something else than the label says: hard pictures, and wrong labels. Correct a label \
         where it is wrong and save the corrections.",
        &html,
    );
}

/// What lies near the worst in the space of the model's features.
fn neighbours(
    page: &mut Page,
    predictor: &Predictor,
    judged: &Judged,
    classes: &[String],
    top: &[usize],
) {
    // Enough to look at, and no more to compute than a moment.
    let step = judged.items.len().div_ceil(4000).max(1);
    let mut pool: Vec<usize> = (0..judged.items.len()).step_by(step).collect();
    let asked: Vec<usize> = top.iter().copied().take(NEIGHBOURED).collect();
    pool.extend(asked.iter().filter(|i| !(*i).is_multiple_of(step)));
    let (mut kept, mut rows) = (Vec::new(), Vec::new());
    for chunk in pool.chunks(64) {
        let found = chunk.iter().filter_map(|&i| Some((i, judged.items[i].image()?)));
        let (numbers, images): (Vec<usize>, Vec<Image>) = found.unzip();
        if !images.is_empty() {
            rows.push(predictor.embed(&images));
            kept.extend(numbers);
        }
    }
    if kept.len() < 2 {
        return;
    }
    let features = Tensor::cat(&rows, 0);
    let length = (&features * &features).sum_keepdim(1).sqrt() + 1e-12;
    let unit = features / length;
    let mut html = String::new();
    for i in asked {
        let Some(at) = kept.iter().position(|&k| k == i) else { continue };
        let near = unit.matmul(&unit.select(0, at as isize)).to_vec::<f32>();
        let mut order: Vec<usize> = (0..kept.len()).filter(|&k| k != at).collect();
        order.sort_by(|a, b| near[*b].total_cmp(&near[*a]).then(a.cmp(b)));
        html += "<div class=\"strip\">";
        for k in std::iter::once(at).chain(order.into_iter().take(6)) {
            let number = kept[k];
            let Some(image) = judged.items[number].image() else { continue };
            let label = &classes[judged.targets[number]];
            let _ = write!(
                html,
                "<figure>{}<figcaption>{}{}</figcaption></figure>",
                picture(&small(&image).encode_png(), label),
                escape(label),
                if k == at { String::new() } else { format!(" {:.2}", near[k]) }
            );
        }
        html += "</div>";
    }
    page.section(
        "Nearest neighbours of the worst",
        "What looks most alike to the model, with its label and the cosine of the angle between their features. A picture whose \
         neighbours all have another label may be labelled wrong.",
        &html,
    );
}

/// The picture no larger than the page needs.
fn small(image: &Image) -> Image {
    let (w, h) = (image.width(), image.height());
    let largest = w.max(h);
    if largest <= SIDE {
        return image.clone();
    }
    let scaled = |n: usize| (n * SIDE / largest).max(1);
    image.resize(scaled(w), scaled(h), Filter::Bilinear)
}
