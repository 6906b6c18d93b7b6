//! Writes one of each figure into a folder: `cargo run -p hardpan-plot --example gallery -- FOLDER`.

use hardpan_plot::figures::{self, LayerCurves};
use hardpan_plot::{Colormap, Picture, PlotError};

fn main() -> Result<(), PlotError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let noise = |i: usize| ((i * 7919 + 13) % 1000) as f64 / 1000.0 - 0.5;
    let smooth: Vec<f64> = (0..600).map(|i| 0.08 + 2.2 * (-(i as f64) / 90.0).exp()).collect();
    let raw: Vec<f64> =
        smooth.iter().enumerate().map(|(i, v)| v * (1.0 + 0.6 * noise(i))).collect();
    let valid: Vec<(f64, f64)> =
        (1..=6).map(|e| (e as f64 * 100.0, 0.15 + 1.6 * (-(e as f64)).exp())).collect();
    let cycle = |low: f64, high: f64, up: f64| -> Vec<f64> {
        let cos =
            |a: f64, b: f64, t: f64| b + (a - b) * (1.0 + (t * std::f64::consts::PI).cos()) / 2.0;
        (0..600)
            .map(|i| i as f64 / 600.0)
            .map(|p| {
                if p < up {
                    cos(low, high, p / up)
                } else {
                    cos(high, low / 100.0, (p - up) / (1.0 - up))
                }
            })
            .collect()
    };
    let found: Vec<(f64, f64)> = (0..85)
        .map(|i| {
            let x = i as f64;
            let fall = 2.0 / (1.0 + ((x - 55.0) / 5.0).exp());
            (1e-6 * 1e7f64.powf(x / 85.0), 0.3 + fall + ((x - 80.0) / 2.0).exp())
        })
        .collect();
    let layers: Vec<LayerCurves> = (0..6)
        .map(|l| LayerCurves {
            name: format!("{}.conv", l),
            means: (0..300)
                .map(|s| 0.3 - 0.05 * l as f64 + 0.2 * noise(s + l) * (-(s as f64) / 80.0).exp())
                .collect(),
            stds: (0..300)
                .map(|s| 0.5 + 0.1 * l as f64 + 0.3 * (1.0 - (-(s as f64) / 60.0).exp()))
                .collect(),
            near_zero: (0..300)
                .map(|s| 0.15 * l as f64 + 0.1 * (1.0 - (-(s as f64) / 40.0).exp()))
                .collect(),
            histograms: (0..300)
                .map(|s| {
                    let wide = 4.0 + 12.0 * (1.0 - (-(s as f64) / 60.0).exp()) - l as f64;
                    (0..40)
                        .map(|b| (900.0 * (-((b as f64) / wide).powi(2)).exp()).round())
                        .collect()
                })
                .collect(),
        })
        .collect();
    let classes: Vec<String> = [
        "T-shirt",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    .map(String::from)
    .into();
    let counts: Vec<usize> = (0..100)
        .map(|i| {
            if i % 11 == 0 {
                850 + i
            } else if i % 7 == 3 {
                i / 2
            } else {
                i % 3
            }
        })
        .collect();
    let blob = |k: usize| {
        let v: Vec<f64> = (0..28 * 28)
            .map(|i| {
                let (x, y) = ((i % 28) as f64 - 14.0, (i / 28) as f64 - 14.0);
                (-((x - k as f64).powi(2) + y * y) / (20.0 + 10.0 * k as f64)).exp()
            })
            .collect();
        Picture::heat_map(
            28,
            28,
            &v,
            (0.0, 1.0),
            if k.is_multiple_of(2) { Colormap::Grey } else { Colormap::Viridis },
        )
    };
    let all = [
        ("losses", figures::losses(&raw, &smooth, &valid)),
        (
            "metrics",
            figures::metrics(&[
                (
                    "accuracy".into(),
                    (0..6).map(|e| Some(1.0 - 0.4 * (-(e as f64) / 2.0).exp())).collect(),
                ),
                (
                    "f1".into(),
                    (0..6).map(|e| Some(0.98 - 0.5 * (-(e as f64) / 2.0).exp())).collect(),
                ),
            ]),
        ),
        (
            "schedule",
            figures::schedules(&[
                ("lr".into(), cycle(0.004, 0.1, 0.25)),
                ("mom".into(), cycle(0.95, 0.85, 0.25).iter().map(|v| v.max(0.85)).collect()),
            ]),
        ),
        (
            "lr_find",
            figures::lr_find(&found, &[("valley", 1.2e-3), ("steep", 3e-3), ("minimum", 2e-2)]),
        ),
        ("activation_stats", figures::activation_stats(&layers)),
        ("color_dim", figures::color_dim(&layers)),
        ("confusion", figures::confusion_matrix(&classes, &counts, false)),
        ("confusion_shares", figures::confusion_matrix(&classes, &counts, true)),
        (
            "images",
            figures::results(
                "Worst predictions",
                (0..9).map(|k| {
                    (
                        blob(k),
                        format!("Pullover, not Coat\nloss {:.2}, sure .98", 3.0 - k as f64 / 5.0),
                        k % 3 == 0,
                    )
                }),
            ),
        ),
        (
            "bars",
            figures::bars(
                "Items of each class",
                classes
                    .iter()
                    .zip([900.0, 850.0, 120.0, 700.0, 10.0, 333.0, 512.0, 640.0, 800.0, 77.0])
                    .map(|(c, n)| (c.clone(), n)),
            ),
        ),
        (
            "calibration",
            figures::calibration(
                &(0..10)
                    .map(|i| {
                        let c = (i as f64 + 0.5) / 10.0;
                        (c, c * c * 0.9 + 0.08, 20 + i * i * 12)
                    })
                    .collect::<Vec<_>>(),
                0.083,
            ),
        ),
    ];
    for (name, figure) in all {
        for ending in ["svg", "png", "txt"] {
            figure.save(format!("{folder}/{name}.{ending}"))?;
        }
        std::fs::write(format!("{folder}/{name}.ansi"), figure.to_terminal(100))
            .map_err(|source| PlotError::Write { path: folder.clone().into(), source })?;
    }
    Ok(())
}
