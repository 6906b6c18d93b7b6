//! Every figure can be drawn every way, and shows what it is given.

use hardpan_plot::figures::{self, LayerCurves};
use hardpan_plot::{Axes, Figure, ImageGrid, Matrix, Picture, PlotError, Series};

fn layers() -> Vec<LayerCurves> {
    let curve = |a: f64| (0..50).map(|i| a + (i as f64 / 9.0).sin() / 5.0).collect::<Vec<f64>>();
    (0..3)
        .map(|l| LayerCurves {
            name: format!("{l}.conv"),
            means: curve(0.1),
            stds: curve(l as f64),
            near_zero: curve(0.4),
            histograms: (0..50).map(|s| (0..40).map(|b| ((s * b) % 7) as f64).collect()).collect(),
        })
        .collect()
}

fn all() -> Vec<Figure> {
    let falling: Vec<f64> = (0..300).map(|i| 2.0 / (1.0 + i as f64 / 20.0)).collect();
    let points: Vec<(f64, f64)> = (0..80)
        .map(|i| (1e-7 * 1e8f64.powf(i as f64 / 80.0), 2.3 - ((i - 40) as f64).max(0.0) * 0.03))
        .collect();
    let classes: Vec<String> =
        ["cat", "dog", "a very long name of a class"].map(String::from).into();
    let picture = Picture::new(4, 3, 1, &[0, 50, 100, 150, 200, 250, 5, 55, 105, 155, 205, 255]);
    vec![
        figures::losses(&falling, &falling, &[(100.0, 0.6), (200.0, 0.4), (300.0, 0.3)]),
        figures::metrics(&[("accuracy".into(), vec![Some(0.5), None, Some(0.9)])]),
        figures::schedules(&[("lr".into(), falling.clone()), ("mom".into(), falling.clone())]),
        figures::lr_find(&points, &[("valley", 1e-3), ("steep", 3e-3)]),
        figures::activation_stats(&layers()),
        figures::color_dim(&layers()),
        figures::confusion_matrix(&classes, &[9, 1, 0, 2, 7, 1, 0, 0, 5], false),
        figures::confusion_matrix(&classes, &[9, 1, 0, 2, 7, 1, 0, 0, 5], true),
        figures::images("batch", (0..5).map(|i| (picture.clone(), format!("title {i}")))),
        figures::results("worst", [(picture.clone(), "cat / dog".into(), false)]),
        figures::bars("counts", [("a", 3.0), ("b", -1.0)]),
        figures::calibration(&[(0.1, 0.2, 4), (0.9, 0.7, 9)], 0.17),
        Matrix::table("t", vec!["r".into()], vec!["c".into()], vec!["5 & <6>".into()]).into(),
        Figure::new("empty"),
        figures::losses(&[], &[], &[]),
        figures::color_dim(&[]),
        ImageGrid::new("none").into(),
    ]
}

#[test]
fn every_figure_is_drawn_every_way() {
    for figure in all() {
        let svg = figure.to_svg().unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains(&format!("<title>{}</title>", figure.title())), "{}", figure.title());
        assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{}", figure.title());
        let picture = figure.to_picture().unwrap();
        assert!(picture.width() >= 40);
        for text in [figure.to_terminal(80), figure.to_text(80)] {
            let width = text.lines().map(visible).max().unwrap_or(0);
            assert!(width <= 80, "{}: {width} letters\n{text}", figure.title());
        }
        assert!(!figure.to_text(80).contains('\x1b'));
    }
}

/// Letters of a line without what sets colours.
fn visible(line: &str) -> usize {
    let (mut count, mut inside) = (0, false);
    for c in line.chars() {
        match (inside, c) {
            (false, '\x1b') => inside = true,
            (true, 'm') => inside = false,
            (false, _) => count += 1,
            _ => {}
        }
    }
    count
}

#[test]
fn a_curve_is_where_it_should_be() {
    let figure: Figure = Axes::new("line")
        .x_range(0.0, 1.0)
        .y_range(0.0, 1.0)
        .with(Series::line([(0.0, 0.0), (1.0, 1.0)]))
        .into();
    let picture = figure.to_picture().unwrap();
    let (w, h) = (picture.width(), picture.height());
    let blue = |x: usize, y: usize| {
        let i = (y * w + x) * 3;
        picture.rgb()[i] < 90 && picture.rgb()[i + 2] > 120
    };
    let in_part =
        |x0: usize, y0: usize| (y0..y0 + h / 3).any(|y| (x0..x0 + w / 3).any(|x| blue(x, y)));
    assert!(
        in_part(0, h - h / 3) && in_part(w - w / 3, 0),
        "from the bottom left to the top right"
    );
    assert!(!in_part(0, 0) && !in_part(w - w / 3, h - h / 3));
    let text = figure.to_text(60);
    let row = |n: usize| text.lines().nth(n).unwrap().trim_end().chars().count();
    assert!(row(2) > row(8), "higher is further right:\n{text}");
}

#[test]
fn a_figure_of_wild_numbers_is_drawn() {
    let wild = [f64::NAN, f64::INFINITY, -1e308, 1e308, 0.0, 1e-300];
    for figure in [
        figures::losses(&wild, &wild, &[(f64::NAN, 1.0)]),
        Axes::new("").log_x().log_y().with(Series::line(wild.iter().map(|&v| (v, v)))).into(),
        Axes::new("").with(Series::histogram(&wild, 5)).into(),
        figures::bars("b", wild.iter().map(|&v| ("bar", v))),
    ] {
        let svg = figure.to_svg().unwrap();
        assert!(!svg.contains("NaN"), "{svg}");
        figure.to_png().unwrap();
        figure.to_terminal(40);
    }
}

#[test]
fn files_by_ending() {
    let dir = tempfile::tempdir().unwrap();
    let figure = figures::bars("b", [("a", 1.0)]);
    for name in ["a.svg", "a.PNG", "a.txt"] {
        figure.save(dir.path().join(name)).unwrap();
        assert!(dir.path().join(name).metadata().unwrap().len() > 30);
    }
    let e = figure.save(dir.path().join("a.jpg")).unwrap_err();
    assert!(matches!(e, PlotError::Ending { .. }) && e.to_string().contains(".svg"), "{e}");
    assert!(matches!(figure.save(dir.path().join("no/a.svg")), Err(PlotError::Write { .. })));
}
