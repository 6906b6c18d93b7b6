//! `hardpan train`, and `hardpan` alone: the main job.

use crate::args::{Precision, Rate, Train};
use crate::events::{Best, Event};
use crate::output::Output;
use crate::setup::{Kind, Prepared, Ready, Settings, absolute, prepare};
use crate::{interrupt, memory};
use anyhow::{Context as _, Result, anyhow, bail};
use hardpan::engine::dev::cpu::pool;
use hardpan::learn::callback::{MixUp, MixedPrecision, Progress};
use hardpan::learn::file::{FileError, Header, ModelFile, Provenance};
use hardpan::learn::learner::{EpochRecord, FineTune, FitError, History};
use hardpan::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// A run: what is in a checkpoint beside the state of the learner.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    settings: Settings,
    /// Not said yet: as the data suggests.
    epochs: Option<usize>,
    freeze_epochs: usize,
    /// Not said: `auto` if `find_rate`, else as the data suggests.
    lr: Option<f64>,
    find_rate: bool,
    out: PathBuf,
    plots: Option<PathBuf>,
    coach: bool,
}

pub fn run(args: Train, out: &Output) -> Result<()> {
    let start = Instant::now();
    let (mut run, resume) = match &args.resume {
        Some(file) => {
            let (run, file) = interrupted(file)?;
            out.note(format!("going on with the run of {}", run.out.display()));
            (run, Some(file))
        }
        None => (new_run(&args)?, None),
    };
    check_writable(&run.out)?;
    if let Some(dir) = &run.plots {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let every = Duration::from_secs_f64(args.checkpoint_secs);
    let job = Job { start, every, resume, out: *out };
    match prepare(&mut run.settings)? {
        Prepared::Classes(ready) => job.fit(*ready, run),
        Prepared::Pixels(ready) => job.fit(*ready, run),
    }
}

fn new_run(args: &Train) -> Result<Run> {
    let settings = Settings {
        weight_decay: args.wd,
        label_smoothing: args.label_smoothing,
        mixup: args.mixup,
        bf16: args.fp == Precision::Bf16,
        ..Settings::new(&args.setup)?
    };
    Ok(Run {
        settings,
        epochs: args.epochs,
        freeze_epochs: args.freeze_epochs.unwrap_or(1),
        lr: match args.lr {
            Some(Rate::Value(lr)) => Some(lr),
            _ => None,
        },
        find_rate: args.lr == Some(Rate::Auto),
        out: args.out.clone(),
        plots: args.plots.clone().map(absolute),
        coach: args.coach,
    })
}

/// How a run is carried out; nothing of this decides its result.
struct Job {
    start: Instant,
    /// Time between checkpoints.
    every: Duration,
    resume: Option<PathBuf>,
    out: Output,
}

impl Job {
    fn fit<M>(&self, ready: Ready<M>, mut run: Run) -> Result<()>
    where
        M: Module + Forward<Tensor, Output = Tensor>,
    {
        let out = &self.out;
        let Ready {
            mut learn,
            mut header,
            train_items,
            valid_items,
            suggested,
            metric,
            notes,
            data,
        } = ready;
        notes.iter().for_each(|n| out.note(format!("note: {n}")));
        if valid_items == 0 {
            out.note(
                "note: nothing is left to judge by: give a larger --valid, or a folder `valid`",
            );
        }
        let seed = run.settings.seed;
        let arch = run.settings.arch.clone().unwrap_or_default();
        let epochs = *run.epochs.get_or_insert(suggested.epochs);
        let params = learn.model().num_parameters();
        out.event(&Event::Start {
            task: run.settings.kind.task().into(),
            arch: arch.clone(),
            params,
            train_items,
            valid_items,
            classes: header.classes.clone(),
            device: "cpu".into(),
            threads: pool::threads(),
            seed,
        });
        out.line(format!(
            "{arch} on {}: {params} parameters, {train_items} images to learn from, {valid_items} to judge by, {} threads",
            run.settings.data,
            pool::threads()
        ));
        out.line(about(&run.settings, &header, epochs));

        let lr = match run.lr {
            Some(lr) => lr,
            None if run.find_rate => {
                let Some(lr) = learn.lr_find()?.suggestion() else {
                    bail!(
                        "the rate finder had too few steps to suggest a rate; give one with --lr"
                    );
                };
                out.note(format!("learning rate {lr:.2e}, as the rate finder suggests"));
                lr
            }
            None => suggested.lr,
        };
        run.lr = Some(lr);

        let checkpoint = checkpoint_of(&run.out);
        let flag = interrupt::flag(|| {
            eprintln!("\nstopping after this batch, to be continued (press again to stop at once)");
        })?;
        learn.context_mut().user_state = serde_json::to_value(&run)?;
        if run.settings.mixup > 0.0 {
            learn.add_callback(MixUp::new(run.settings.mixup));
        }
        if run.settings.bf16 {
            learn.add_callback(MixedPrecision::bf16());
        }
        if let Some(file) = &self.resume {
            learn.resume(file)?;
        }
        learn.add_callback(Checkpoint::new(&checkpoint).every(self.every).stop_on(flag.clone()));
        if out.is_json() {
            learn.remove_callback::<Progress>();
            learn.add_callback(Progress::bar_only());
            learn.add_callback(JsonLines { out: *out, head_epochs: run.freeze_epochs });
        }

        let fit = match run.settings.pretrained {
            Some(_) => {
                let freeze_epochs = run.freeze_epochs;
                learn.fine_tune_with(
                    epochs,
                    FineTune { base_lr: lr, freeze_epochs, ..FineTune::default() },
                )
            }
            None => learn.fit_one_cycle(epochs, lr),
        };
        if let Err(e) = fit {
            return Err(self.rescue(e, &learn, header, &run));
        }
        // It ends early when asked to stop; what was recorded is then not the whole.
        let whole = learn.context().epoch + 1 == learn.context().epochs;
        if flag.load(SeqCst) && !(whole && learn.history().epochs.len() == learn.context().epochs) {
            let at = learn.history().epochs.len() + 1;
            bail!(
                "interrupted in epoch {at} of {epochs}; nothing is lost: continue with `hardpan train --resume {}`",
                run.out.display()
            );
        }

        let history = learn.history().clone();
        let last = history.epochs.last().cloned().unwrap_or_default();
        header.provenance = Provenance {
            metrics: measured(&last),
            epochs_seen: without_times(&history),
            ..provenance(&run)?
        };
        learn.save_with(&run.out, header)?;
        // The run is over; there is nothing to go on with.
        let _ = std::fs::remove_file(&checkpoint);
        if let Some(data) = &data {
            for bad in data.bad_files() {
                out.note(format!("left out: {}", bad.reason));
            }
        }
        if let Some(dir) = &run.plots {
            crate::plots::training(&history, dir)?;
            out.note(format!("pictures of the training are in {}", dir.display()));
        }
        self.done(&run, &history, metric, valid_items);
        if run.coach {
            out.note("the coach looks into the training");
            let found = learn.diagnose()?;
            out.event(&serde_json::json!({"event": "coach", "diagnosis": found}));
            out.line(format!("\n{}", found.for_command_line()));
        }
        Ok(())
    }

    /// The error of a fit, with what could be saved and what to do.
    fn rescue<M>(&self, e: FitError, learn: &Learner<M>, header: Header, run: &Run) -> anyhow::Error
    where
        M: Module + Forward<Tensor, Output = Tensor>,
    {
        match e {
            FitError::NonFinite { restored, .. } => {
                // The same run would go the same way again.
                let _ = std::fs::remove_file(checkpoint_of(&run.out));
                let kept = match restored {
                    0 => String::new(),
                    _ => match last_good(learn, header, run) {
                        Ok(file) => format!(", and these are in {}", file.display()),
                        Err(e) => return e.context("saving the last good weights"),
                    },
                };
                anyhow!(
                    "{e}. The run cannot be resumed, since it would go the same way{kept}; start it again with a lower --lr"
                )
            }
            FitError::File(_) => {
                let next = match checkpoint_of(&run.out).exists() {
                    true => format!(
                        "what it had learned before is kept: mend that and continue with `hardpan train --resume {}`",
                        run.out.display()
                    ),
                    false => "mend that and start it again".to_owned(),
                };
                anyhow::Error::from(e)
                    .context(format!("the run could not be written down and was stopped; {next}"))
            }
            e => e.into(),
        }
    }

    fn done(&self, run: &Run, history: &History, metric: &str, valid_items: usize) {
        let best = history
            .epochs
            .iter()
            .filter_map(|e| Some((e.epoch, e.get(metric)?)))
            .fold((0, f64::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a });
        let before = if run.settings.pretrained.is_some() { run.freeze_epochs } else { 0 };
        let seconds = self.start.elapsed().as_secs_f64();
        let model = run.out.display().to_string();
        self.out.event(&Event::Done {
            model: model.clone(),
            best: Best { epoch: best.0 + before, metric: metric.into(), value: best.1 },
            seconds,
            peak_memory_bytes: memory::peak_bytes(),
        });
        let value = history.last_metric(metric).unwrap_or(f64::NAN);
        let wrong = ((1.0 - value) * valid_items as f64).round();
        let data = &run.settings.data;
        let right = format!("{:.2} %", value * 100.0);
        let (result, input) = match run.settings.kind {
            _ if valid_items == 0 => ("There was nothing to judge it by".to_owned(), "photo.jpg"),
            Kind::Segment => (format!("{right} of the pixels right"), "street.jpg"),
            Kind::Image => (format!("{right} right: {wrong} of {valid_items} wrong"), "photo.jpg"),
            Kind::Digits => (format!("{right} right: {wrong} of {valid_items} wrong"), "digit.png"),
        };
        self.out.line(format!("\n{result}. Saved {model} after {seconds:.0} s."));
        let mut next = vec![
            (format!("predict {model} {input}"), "what is it?"),
            (format!("eval {model} {data}"), "measure it again"),
            (format!("report {model} {data} --out report"), "a page: what it gets wrong, and why"),
        ];
        next.push((format!("serve {model}"), "try it in a browser"));
        next.push((format!("info {model}"), "what it says about itself"));
        if run.settings.kind == Kind::Digits {
            next.push(("ladder".into(), "how fast can a matrix product get?"));
        }
        let width = next.iter().map(|n| n.0.len()).max().unwrap_or(0);
        let lines: Vec<String> =
            next.iter().map(|(c, what)| format!("  hardpan {c:width$}  {what}")).collect();
        self.out.line(format!("\nNext:\n{}", lines.join("\n")));
    }
}

/// What was chosen for the data.
fn about(s: &Settings, header: &Header, epochs: usize) -> String {
    let mut parts =
        vec![format!("{epochs} epochs"), format!("batches of {}", s.batch_size.unwrap_or(0))];
    if let Some(i) = &header.input {
        let colour = if i.channels == 1 { "grey" } else { "colour" };
        parts.insert(0, format!("{}x{} {colour}", i.width, i.height));
    }
    if let Some(a) = s.augment {
        parts.push(format!("augmentation {}", a.name()));
    }
    parts.push(format!("seed {}", s.seed));
    parts.join(", ")
}

/// Where a model comes from, as far as is known before it is trained.
fn provenance(run: &Run) -> Result<Provenance> {
    Ok(Provenance {
        data: Some(run.settings.data.clone()),
        seed: Some(run.settings.seed),
        epochs: run.epochs,
        // The same seed gives the same file, however many threads load.
        settings: serde_json::to_value(Settings { workers: None, ..run.settings.clone() })?,
        ..Provenance::default()
    })
}

/// Saves the weights of a run that failed: under a name of their own, for nobody should take them for a finished model.
fn last_good<M>(learn: &Learner<M>, mut header: Header, run: &Run) -> Result<PathBuf>
where
    M: Module + Forward<Tensor, Output = Tensor>,
{
    let file = run.out.with_extension("last-good.hardpan");
    header.provenance = provenance(run)?;
    learn.save_with(&file, header)?;
    Ok(file)
}

/// The epochs without how long they took and in how many parts: the same seed gives the same file.
fn without_times(history: &History) -> Vec<EpochRecord> {
    let epochs = history.epochs.iter().cloned();
    epochs.map(|e| EpochRecord { seconds: 0.0, train_seconds: 0.0, items: 0, ..e }).collect()
}

/// One line for each epoch. Those of the head alone come first and are counted too.
struct JsonLines {
    out: Output,
    head_epochs: usize,
}

impl<T: Task> Callback<T> for JsonLines {
    fn order(&self) -> i32 {
        60
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        let Some(e) = ctx.history.epochs.last().filter(|e| e.epoch == ctx.epoch) else {
            return Flow::Continue;
        };
        let nan = |v: Option<f64>| v.unwrap_or(f64::NAN);
        self.out.event(&Event::Epoch {
            epoch: e.epoch + if ctx.stage() > 0 { self.head_epochs } else { 0 },
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
            "nothing to go on with: there is neither {} nor {}; a run is written down there when it begins, until it is over or its loss is no number any more",
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
    let mut run: Run = serde_json::from_value(training.user)
        .with_context(|| format!("{}: not a run of this program", path.display()))?;
    // Seen from here: the run may have been begun in another folder.
    run.settings.data = run.settings.training_data("put it back to go on with this run")?;
    run.out = match path.to_str().and_then(|p| p.strip_suffix(".checkpoint")) {
        Some(model) => model.into(),
        None => file.to_owned(),
    };
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
