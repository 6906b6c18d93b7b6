//! The command line: commands, options, their checks and their help.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

/// Train really good models, understand them, and ship them, from one binary.
#[derive(Debug, Parser)]
#[command(
    name = "hardpan",
    version,
    about = "Train really good models, understand them, and ship them, from one binary",
    after_help = "\
Without a command, hardpan trains a convolutional network on the built-in handwritten
digits (MNIST), shows how it goes, and saves it: the same as `hardpan train mnist`.

Examples:
  hardpan                                    train on the built-in digits, save model.hardpan
  hardpan train mnist --epochs 3 --lr 0.01   the same with other settings
  hardpan predict model.hardpan digit.png    which digit is it?
  hardpan eval model.hardpan mnist           how good is it?

Exit status: 0 done, 1 the work failed, 2 wrong usage. With --json, standard output has
one JSON object a line; progress and notes go to standard error."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Speak to programs: one JSON object a line on standard output
    #[arg(long, global = true)]
    pub json: bool,

    /// Threads to compute with [default: HARDPAN_THREADS, or one a core]. Results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model and save it
    Train(Train),
    /// Find a good learning rate
    LrFind(LrFind),
    /// Say what is on pictures
    Predict(Predict),
    /// Measure a model on labelled data
    Eval(Eval),
    /// The data sets that have a name
    #[command(subcommand)]
    Data(Data),
    /// Matrix multiplication from three nested loops up, with times
    Ladder(Ladder),
    /// Measure the speed of this machine's work
    Bench(Bench),
    /// Show version, processor, threads and devices; or what a model file says about itself
    Info(Info),
}

/// Options of `train`, also used by `lr-find`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan train                                  the built-in digits, 5 epochs
  hardpan train mnist --epochs 1 --out quick.hardpan
  hardpan train ./fashion --lr auto --seed 7     a folder with four idx files
  hardpan train --resume model.hardpan           go on where Ctrl-C or a power cut stopped it
  hardpan train --json | jq .valid_loss          for programs")]
pub struct Train {
    #[command(flatten)]
    pub setup: Setup,

    /// Passes over the training data
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    pub epochs: usize,

    /// Highest learning rate of the one-cycle schedule, or `auto` to look for it first
    #[arg(long, value_name = "F|auto", default_value = "0.01")]
    pub lr: Rate,

    /// Weight decay
    #[arg(long, value_name = "F", default_value = "0.01", value_parser = at_least_zero)]
    pub wd: f64,

    /// Share of each label that is spread over all classes, against overconfidence
    #[arg(long, value_name = "E", default_value = "0", value_parser = fraction)]
    pub label_smoothing: f64,

    /// Where to save the model
    #[arg(long, short, value_name = "FILE", default_value = "model.hardpan")]
    pub out: PathBuf,

    /// Continue the interrupted run that was to write this file, with its own options; gives the same
    /// result as a run that was not interrupted
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,

    /// Write down the run at least this often, for --resume after a kill or a power cut
    #[arg(long, value_name = "S", default_value = "20", value_parser = at_least_zero)]
    pub checkpoint_secs: f64,
}

impl Train {
    /// What `hardpan` without a command does.
    pub fn main_job() -> Train {
        match Cli::parse_from(["hardpan", "train"]).command {
            Some(Command::Train(train)) => train,
            _ => unreachable!("`hardpan train` is a training"),
        }
    }
}

/// What a training starts from.
#[derive(Debug, Args)]
pub struct Setup {
    /// A data set's name (see `hardpan data list`), or a folder with the four idx files of one like MNIST
    #[arg(default_value = "mnist")]
    pub data: String,

    /// The network
    #[arg(long, value_name = "NAME", default_value = "cnn")]
    pub arch: Arch,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value = "64", value_parser = positive)]
    pub bs: usize,

    /// Seed of everything random: the same seed gives the same model, on any number of threads
    #[arg(long, value_name = "N", default_value = "42")]
    pub seed: u64,

    /// Share of the training data kept for validation; without it the data's own test part is used
    #[arg(long, value_name = "FRACTION", value_parser = proper_fraction)]
    pub valid: Option<f64>,

    /// Move training images at random by up to so many pixels [default: 1 for cnn, 0 for mlp]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=8))]
    pub shift: Option<u64>,

    /// Where to compute
    #[arg(long, value_name = "cpu|cuda[:N]", default_value = "cpu", value_parser = device)]
    pub device: String,
}

/// Networks that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// The course's convolutional network with batch norm
    Cnn,
    /// One hidden layer of 50
    Mlp,
}

impl Arch {
    /// As written on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Cnn => "cnn",
            Arch::Mlp => "mlp",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan lr-find
  hardpan lr-find mnist --arch mlp --json")]
pub struct LrFind {
    #[command(flatten)]
    pub setup: Setup,

    /// Number of batches to try, each with a higher rate
    #[arg(long, value_name = "N", default_value = "100", value_parser = positive)]
    pub steps: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan predict model.hardpan digit.png
  hardpan predict model.hardpan scans/*.png --json
  curl -s https://example.org/digit.png | hardpan predict model.hardpan -

Pictures may have any size, dark ink on light paper or light on dark: the digit is found,
scaled and centred as in the training data. A picture of 28x28 pixels is taken as it is.")]
pub struct Predict {
    /// A saved model
    pub model: PathBuf,

    /// PNG files; `-` is standard input
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,

    /// How many of the likeliest classes to list
    #[arg(long, value_name = "N", default_value = "3", value_parser = positive)]
    pub top: usize,

    /// Whether pictures are dark ink on light paper
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub invert: Invert,
}

/// Whether to turn dark into light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Invert {
    /// If most of the border is light
    Auto,
    /// Always: they are dark on light
    Yes,
    /// Never: they are light on dark
    No,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan eval model.hardpan
  hardpan eval model.hardpan ./fashion --json")]
pub struct Eval {
    /// A saved model
    pub model: PathBuf,

    /// A data set's name, or a folder with idx files; its test part is used
    #[arg(default_value = "mnist")]
    pub data: String,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value = "256", value_parser = positive)]
    pub bs: usize,
}

#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  hardpan data list\n  hardpan data get mnist\n  ls $(hardpan data path mnist)"
)]
pub enum Data {
    /// List the data sets with size, terms and place
    List,
    /// Put a data set into the cache folder, as files for any program
    Get {
        /// Its name
        name: String,
    },
    /// Print the folder that `get` filled
    Path {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hardpan info\n  hardpan info model.hardpan --json")]
pub struct Info {
    /// A saved model
    pub model: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hardpan ladder --secs 0.5")]
pub struct Ladder {
    /// Seconds to measure each step for
    #[arg(long, value_name = "S", default_value = "0.3", value_parser = above_zero)]
    pub secs: f64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan bench                                  everything; takes some minutes
  hardpan bench matmul cnn_b64 'gpt_*'           a group, a name, a pattern
  hardpan bench mlp --variant adam --threads 1 --secs 2 --json
  hardpan bench --peer-python ~/torch/bin/python --write BENCHMARKS.md

A value is the median over blocks of calls, given with the lowest and the highest block.
With a peer both sides run in turns; its script is built in (--peer-script for another).")]
pub struct Bench {
    /// Names, groups, beginnings of names, or patterns with * (see --list) [default: all]
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,

    /// Seconds to measure each variant for
    #[arg(long, value_name = "S", default_value = "1", value_parser = above_zero)]
    pub secs: f64,

    /// List the workloads
    #[arg(long)]
    pub list: bool,

    /// Only variants with this word (f32, bf16, sgd, adam, drop, ...); may be given again
    #[arg(long, value_name = "WORD")]
    pub variant: Vec<String>,

    /// Measure with each of these numbers of threads in turn, such as 2,1
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = positive)]
    pub thread_counts: Vec<usize>,

    /// Share the time out over so many rounds [default: 2 with a peer, else 1]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub rounds: Option<usize>,

    /// A Python that has PyTorch: run its side too, and give ratios
    #[arg(long, value_name = "PATH")]
    pub peer_python: Option<PathBuf>,

    /// Another script for the peer's side
    #[arg(long, value_name = "FILE", requires = "peer_python")]
    pub peer_script: Option<PathBuf>,

    /// Try the peer's compiler too (seconds to a minute for each variant)
    #[arg(long, requires = "peer_python")]
    pub peer_compile: bool,

    /// Write the results as a Markdown page
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// What a process started for a measurement does
    #[arg(long, value_name = "NAME", hide = true)]
    pub child: Option<String>,
}

/// A learning rate, or the wish to have it found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// `lr-find` says.
    Auto,
    /// This one.
    Value(f64),
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(s: &str) -> Result<Rate, String> {
        if s == "auto" { Ok(Rate::Auto) } else { above_zero(s).map(Rate::Value) }
    }
}

fn positive(s: &str) -> Result<usize, String> {
    match s.parse() {
        Ok(0) | Err(_) => Err("expected a whole number from 1 on".into()),
        Ok(n) => Ok(n),
    }
}

fn real(s: &str, right: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    s.parse().ok().filter(|&v: &f64| v.is_finite() && right(v)).ok_or_else(|| expected.to_owned())
}

fn above_zero(s: &str) -> Result<f64, String> {
    real(s, |v| v > 0.0, "expected a number above 0")
}

fn at_least_zero(s: &str) -> Result<f64, String> {
    real(s, |v| v >= 0.0, "expected a number from 0 on")
}

fn fraction(s: &str) -> Result<f64, String> {
    real(s, |v| (0.0..1.0).contains(&v), "expected a number from 0 to below 1")
}

fn proper_fraction(s: &str) -> Result<f64, String> {
    real(s, |v| v > 0.0 && v < 1.0, "expected a number between 0 and 1")
}

fn device(s: &str) -> Result<String, String> {
    match s {
        "cpu" => Ok(s.to_owned()),
        _ if s == "cuda" || s.starts_with("cuda:") => {
            Err("this build computes on the processor only; use --device cpu".into())
        }
        _ => Err("expected cpu".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_main_job_is_the_course_s_network_on_the_built_in_digits() {
        let t = Train::main_job();
        assert_eq!((t.setup.data.as_str(), t.setup.arch, t.epochs), ("mnist", Arch::Cnn, 5));
        assert_eq!(t.out, PathBuf::from("model.hardpan"));
    }

    #[test]
    fn every_command_has_an_example() {
        for c in Cli::command().get_subcommands() {
            let help = c.get_after_help().map(|h| h.to_string()).unwrap_or_default();
            assert!(help.contains("hardpan "), "{} has none", c.get_name());
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        let refused = |args: &[&str]| {
            let line = ["hardpan", "train"].iter().chain(args);
            Cli::try_parse_from(line).unwrap_err().to_string()
        };
        assert!(refused(&["--epochs", "0"]).contains("whole number from 1 on"));
        assert!(refused(&["--lr=nan"]).contains("a number above 0"));
        assert!(refused(&["--valid", "1"]).contains("between 0 and 1"));
        assert!(refused(&["--device", "cuda:1"]).contains("use --device cpu"));
        assert!(refused(&["--arch", "resnet999"]).contains("possible values: cnn, mlp"));
        assert!(refused(&["--ecochs", "3"]).contains("--epochs"), "says what may be meant");
    }
}
