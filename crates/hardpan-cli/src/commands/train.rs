//! `hardpan train`, and `hardpan` alone: the main job.

use crate::args::{Rate, Train};
use crate::events::{Best, Event};
use crate::output::Output;
use crate::setup::{Ready, Settings, prepare};
use crate::{interrupt, memory};
use anyhow::{Context as _, Result, bail};
use hardpan::engine::dev::cpu::pool;
use hardpan::learn::callback::Progress;
use hardpan::learn::file::{FileError, ModelFile, Provenance};
use hardpan::learn::learner::{EpochRecord, FitError};
use hardpan::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// A run: what is in a checkpoint beside the state of the learner.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    settings: Settings,
    epochs: usize,
    lr: Option<f64>,
    out: PathBuf,
}

pub fn run(args: Train, out: &Output) -> Result<()> {
    let start = Instant::now();
    let checkpoint_every = Duration::from_secs_f64(args.checkpoint_secs);
    let (mut run, resume) = match &args.resume {
        Some(file) => {
            let (run, file) = interrupted(file)?;
            out.note(format!("going on with the run of {}", run.out.display()));
            (run, Some(file))
        }
        None => (
            Run {
                settings: Settings::new(&args.setup, args.wd, args.label_smoothing),
                epochs: args.epochs,
                lr: match args.lr {
                    Rate::Value(lr) => Some(lr),
                    Rate::Auto => None,
                },
                out: args.out.clone(),
            },
            None,
        ),
    };
    check_writable(&run.out)?;
    let Ready { mut learn, mut header, train_items, valid_items } = prepare(&run.settings)?;
    let seed = run.settings.seed;
    out.event(&Event::Start {
        task: "image".into(),
        arch: run.settings.arch.clone(),
        params: learn.model().num_parameters(),
        train_items,
        valid_items,
        classes: header.classes.clone(),
        device: "cpu".into(),
        threads: pool::threads(),
        seed,
    });
    out.line(format!(
        "{} on {}: {} parameters, {train_items} images to learn from, {valid_items} to judge by, {} threads",
        run.settings.arch,
        run.settings.data,
        learn.model().num_parameters(),
        pool::threads()
    ));

    let lr = match run.lr {
        Some(lr) => lr,
        None => {
            let Some(lr) = learn.lr_find()?.suggestion() else {
                bail!("the rate finder had too few steps to suggest a rate; give one with --lr");
            };
            out.note(format!("learning rate {lr:.2e}, as the rate finder suggests"));
            run.lr = Some(lr);
            lr
        }
    };

    let checkpoint = checkpoint_of(&run.out);
    let flag = interrupt::flag(|| {
        eprintln!("\nstopping after this batch, to be continued (press again to stop at once)");
    })?;
    learn.context_mut().user_state = serde_json::to_value(&run)?;
    if let Some(file) = &resume {
        learn.resume(file)?;
    }
    learn.add_callback(Checkpoint::new(&checkpoint).every(checkpoint_every).stop_on(flag.clone()));
    if out.is_json() {
        learn.remove_callbacks("Progress");
        learn.add_callback(Progress::bar_only());
        learn.add_callback(JsonLines(*out));
    }

    let fit = learn.fit_one_cycle(run.epochs, lr);
    if let Err(e) = fit {
        let saved = matches!(e, FitError::NonFinite { .. });
        if saved {
            // A finished model of an earlier run is worth more than the weights of a failed one.
            let file = if run.out.exists() {
                run.out.with_extension("last-good.hardpan")
            } else {
                run.out.clone()
            };
            learn.save_with(&file, header).context("saving the last good weights")?;
            out.note(format!("the last good weights are in {}", file.display()));
        }
        if matches!(e, FitError::File(_)) {
            return Err(e).with_context(|| {
                format!(
                    "the run could not be written down and was stopped; \
                     then continue with `hardpan train --resume {}`",
                    run.out.display()
                )
            });
        }
        return Err(e.into());
    }
    let epochs = learn.history().epochs.clone();
    if epochs.len() < run.epochs && flag.load(SeqCst) {
        bail!(
            "interrupted in epoch {} of {}; nothing is lost: continue with `hardpan train --resume {}`",
            epochs.len() + 1,
            run.epochs,
            run.out.display()
        );
    }

    let last = epochs.last().cloned().unwrap_or_default();
    header.provenance = Provenance {
        data: Some(run.settings.data.clone()),
        seed: Some(seed),
        epochs: Some(run.epochs),
        settings: serde_json::to_value(&run.settings)?,
        metrics: measured(&last),
        ..Provenance::default()
    };
    learn.save_with(&run.out, header)?;
    // The run is over; there is nothing to go on with.
    let _ = std::fs::remove_file(&checkpoint);

    let best = epochs
        .iter()
        .filter_map(|e| Some((e.epoch, e.get("accuracy")?)))
        .fold((0, f64::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a });
    let seconds = start.elapsed().as_secs_f64();
    let model = run.out.display().to_string();
    out.event(&Event::Done {
        model: model.clone(),
        best: Best { epoch: best.0, metric: "accuracy".into(), value: best.1 },
        seconds,
        peak_memory_bytes: memory::peak_bytes(),
    });
    let accuracy = last.get("accuracy").unwrap_or(f64::NAN);
    let wrong = ((1.0 - accuracy) * valid_items as f64).round();
    out.line(format!(
        "\n{:.2} % right: {wrong} of {valid_items} wrong. Saved {model} after {seconds:.0} s.",
        accuracy * 100.0
    ));
    out.line(format!(
        "\nNext:\n  hardpan predict {model} digit.png     which digit is it?\n  \
         hardpan eval {model}                  measure it again\n  \
         hardpan info {model}                  what it says about itself\n  \
         hardpan train --epochs 10             train longer\n  \
         hardpan ladder                        how fast can a matrix product get?"
    ));
    Ok(())
}

/// One line for each epoch.
struct JsonLines(Output);

impl<T: Task> Callback<T> for JsonLines {
    fn order(&self) -> i32 {
        60
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        let Some(e) = ctx.history.epochs.last().filter(|e| e.epoch == ctx.epoch) else {
            return Flow::Continue;
        };
        let nan = |v: Option<f64>| v.unwrap_or(f64::NAN);
        self.0.event(&Event::Epoch {
            epoch: e.epoch,
            train_loss: nan(e.train_loss),
            valid_loss: nan(e.valid_loss),
            metrics: e.metrics.iter().map(|(n, v)| (n.clone(), nan(*v))).collect(),
            lr: e.lr,
            seconds: e.seconds,
            items_per_second: e.items as f64 / e.train_seconds.max(1e-9),
        });
        Flow::Continue
    }
}

fn measured(e: &EpochRecord) -> std::collections::BTreeMap<String, f64> {
    let losses = [("train_loss", e.train_loss), ("valid_loss", e.valid_loss)];
    let losses = losses.into_iter().map(|(n, v)| (n.to_owned(), v));
    let all = losses.chain(e.metrics.iter().cloned());
    all.filter_map(|(n, v)| Some((n, v?))).collect()
}

/// Where an unfinished run is written down: beside its model, so that a finished model is only replaced by a finished one.
fn checkpoint_of(model: &Path) -> PathBuf {
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(".checkpoint");
    model.with_file_name(name)
}

/// The run that was to write `file`, and where it is written down.
fn interrupted(file: &Path) -> Result<(Run, PathBuf)> {
    let beside = checkpoint_of(file);
    let path = if beside.exists() { beside } else { file.to_owned() };
    let checkpoint = match ModelFile::read(&path) {
        Err(FileError::NotFound { .. }) => bail!(
            "nothing to go on with: there is neither {} nor {}; a run is written down there when it begins",
            beside_name(file),
            file.display()
        ),
        other => other?,
    };
    let Some(training) = checkpoint.training else {
        bail!(
            "{}: a finished model, and there is no {}: nothing to go on with. To train anew, leave out --resume",
            path.display(),
            beside_name(file)
        );
    };
    let run: Run = serde_json::from_value(training.user)
        .with_context(|| format!("{}: not a run of this program", path.display()))?;
    Ok((run, path))
}

fn beside_name(file: &Path) -> String {
    checkpoint_of(file).display().to_string()
}

/// Better now than after the training.
fn check_writable(file: &Path) -> Result<()> {
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if file.is_dir() {
        bail!("--out {}: this is a folder; name a file in it", file.display());
    }
    if file.file_name().is_none() || !parent.is_dir() {
        bail!("--out {}: there is no folder {}; make it first", file.display(), parent.display());
    }
    Ok(())
}
