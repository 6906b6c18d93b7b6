//! The command line: commands, options, their checks and their help.

use crate::pictures::Part;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
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
    /// Make a page: what a model can do, what it gets wrong, and why
    Report(Report),
    /// Serve a model over HTTP, with a page to try it
    Serve(Serve),
    /// Write a model as an ONNX file, for other programs
    Export(Export),
    /// The data sets that have a name; checking a folder of pictures
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
  hardpan train ./photos                         a folder with a folder of pictures for each class
  hardpan train ./photos --valid 0.3 --epochs 20 --arch xresnet18 --size 128
  hardpan train labels.csv                       a table: picture files, their classes, perhaps is_valid
  hardpan train ./photos --pretrained efficientnet_lite0    weights by name: downloaded the first time
  hardpan train ./photos --pretrained weights.pth --arch resnet34
  hardpan train ./street --task segment          pictures and masks: images/ and masks/, or train/ and trainannot/
  hardpan train ./street --size 240              the shorter side has 240 pixels (--size 320x240 for both)
  hardpan train ./fashion --lr auto --seed 7     a folder with four idx files, as MNIST has
  hardpan train --resume model.hardpan           go on where Ctrl-C or a power cut stopped it
  hardpan train --json | jq .valid_loss          for programs

What is not said is chosen for the data: how many pictures there are and how large they are
decides the network, size, epochs and augmentation; the first line of the output says what was chosen.")]
pub struct Train {
    #[command(flatten)]
    pub setup: Setup,

    /// Passes over the training data [default: 5 for digits, else by the data]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,

    /// Highest learning rate of the one-cycle schedule, or `auto` to look for it first [default: 0.01 for
    /// digits, else by the network]
    #[arg(long, value_name = "F|auto")]
    pub lr: Option<Rate>,

    /// Weight decay [default: 0.01; for gradient descent 0.00133]
    #[arg(long, value_name = "F", value_parser = at_least_zero)]
    pub wd: Option<f64>,

    /// Share of each label that is spread over all classes, against overconfidence [default: 0 for digits, else
    /// by the data]
    #[arg(long, value_name = "E", value_parser = fraction)]
    pub label_smoothing: Option<f64>,

    /// Mix each picture with another by a share drawn from Beta(A, A); 0.4 is usual, 0 is off
    #[arg(long, value_name = "A", default_value = "0", value_parser = at_least_zero)]
    pub mixup: f64,

    /// Epochs that train the new head alone before everything is trained (with --pretrained) [default: 1]
    #[arg(long, value_name = "N", value_parser = positive, requires = "pretrained")]
    pub freeze_epochs: Option<usize>,

    /// Numbers that products and convolutions are computed in; weights are f32 all the same
    #[arg(long, value_name = "f32|bf16", default_value = "f32")]
    pub fp: Precision,

    /// Look into the training afterwards and say what to try next, in the course's order
    #[arg(long)]
    pub coach: bool,

    /// Draw losses, rates and what the validation shows into this folder, as SVG and PNG
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

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
    /// A folder of pictures with a folder for each class (or train/ and valid/ with those), a CSV table of
    /// pictures and classes, a folder with four idx files, or a data set's name (see `hardpan data list`)
    #[arg(default_value = "mnist")]
    pub data: String,

    /// What is to be learned
    #[arg(long, value_name = "TASK", default_value = "auto")]
    pub task: Task,

    /// The network; `hardpan info --networks` lists them [default: by the data]
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,

    /// Images in a batch [default: 64, or by the data]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub bs: Option<usize>,

    /// Side of the square that pictures are fitted to, in pixels; with masks the shorter side, the other by the
    /// pictures' proportions; or width and height, as 320x240 [default: by the data]
    #[arg(long, value_name = "PX|WxH")]
    pub size: Option<Size>,

    /// Seed of everything random: the same seed gives the same model, on any number of threads
    #[arg(long, value_name = "N", default_value = "42")]
    pub seed: u64,

    /// Share of the training data kept for validation, or a folder to validate on; without it the data's
    /// own valid/ or test part is used, else a fifth
    #[arg(long, value_name = "FRACTION|DIR")]
    pub valid: Option<Valid>,

    /// Weights to start from: a safetensors, .pth or .hardpan file, or the name of a network; published weights
    /// (see `hardpan info --networks`) are downloaded the first time
    #[arg(long, value_name = "NAME|FILE")]
    pub pretrained: Option<String>,

    /// How much training pictures are varied at random [default: by the data]
    #[arg(long, value_name = "HOW")]
    pub augment: Option<Augment>,

    /// Labels to use instead of those of the folders: a file with lines FILE,LABEL as `hardpan report` writes;
    /// an empty label leaves the file out
    #[arg(long, value_name = "FILE")]
    pub corrections: Option<PathBuf>,

    /// The column of a CSV table that has the classes [default: the one named label, class or the like]
    #[arg(long, value_name = "COL")]
    pub target: Option<String>,

    /// Stop at a picture that cannot be read, instead of leaving it out and saying so
    #[arg(long)]
    pub strict: bool,

    /// Threads that read pictures beside the training [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=64))]
    pub workers: Option<u16>,

    /// Move training digits at random by up to so many pixels [default: 1 for cnn, 0 for mlp]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=8))]
    pub shift: Option<u64>,

    /// The value of a mask's pixels that do not count [default: 255, or the class named void in codes.txt]
    #[arg(long, value_name = "N")]
    pub void: Option<u8>,

    /// Where to compute
    #[arg(long, value_name = "cpu|cuda[:N]", default_value = "cpu", value_parser = device)]
    pub device: String,
}

/// What is to be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// As the data looks
    Auto,
    /// The class of a picture
    Image,
    /// The class of each pixel
    Segment,
    /// Columns of a table (not in this version)
    Tabular,
    /// Ratings (not in this version)
    Collab,
    /// Text that goes on (not in this version)
    Lm,
    /// The class of a text (not in this version)
    TextClass,
    /// Text into text (not in this version)
    Seq2seq,
}

/// How much training pictures are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Augment {
    /// Not at all
    None,
    /// Mirrored, and moved a little
    Light,
    /// Mirrored, turned, zoomed, warped, lit otherwise
    Full,
    /// Mirrored, then two random changes (RandAugment)
    Rand,
}

impl Augment {
    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Augment::None => "none",
            Augment::Light => "light",
            Augment::Full => "full",
            Augment::Rand => "rand",
        }
    }
}

/// Numbers to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    F32,
    Bf16,
}

/// The size that pictures are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Of a square; of pictures with masks the shorter side.
    Side(usize),
    /// Width and height.
    Exact(usize, usize),
}

impl Size {
    /// Width and height, where one side means a square.
    pub fn square(self) -> (usize, usize) {
        match self {
            Size::Side(side) => (side, side),
            Size::Exact(w, h) => (w, h),
        }
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(s: &str) -> Result<Size, String> {
        match s.split_once(['x', 'X']) {
            Some((w, h)) => Ok(Size::Exact(side(w)?, side(h)?)),
            None => side(s).map(Size::Side),
        }
    }
}

/// What is validated on.
#[derive(Clone, Debug, PartialEq)]
pub enum Valid {
    /// A share of the training data.
    Fraction(f64),
    /// Other data.
    Folder(PathBuf),
}

impl FromStr for Valid {
    type Err = String;
    fn from_str(s: &str) -> Result<Valid, String> {
        if s.parse::<f64>().is_ok() {
            return proper_fraction(s).map(Valid::Fraction);
        }
        let path = PathBuf::from(s);
        match path.is_dir() {
            true => Ok(Valid::Folder(path)),
            false => Err("expected a number between 0 and 1, or a folder that is there".into()),
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

    /// Draw the curve into this file (.svg, .png or .txt)
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan predict model.hardpan photo.jpg
  hardpan predict model.hardpan photos/ --tta --json
  curl -s https://example.org/photo.jpg | hardpan predict model.hardpan -

Pictures may have any size and format (JPEG, PNG, GIF, BMP, WebP, TIFF). For digits: dark ink on light
paper or light on dark; the digit is found, scaled and centred as in the training data. A picture of
28x28 pixels is taken as it is.")]
pub struct Predict {
    /// A saved model
    pub model: PathBuf,

    /// Pictures, or folders of them; `-` is standard input
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,

    /// Average over several views of each picture: slower, usually a little better
    #[arg(long)]
    pub tta: bool,

    /// How many of the likeliest classes to list
    #[arg(long, value_name = "N", default_value = "3", value_parser = positive)]
    pub top: usize,

    /// Write the masks of a segmentation model into this folder: NAME.png with the number of each pixel's class, and
    /// NAME.overlay.png to look at
    #[arg(long, value_name = "DIR")]
    pub masks: Option<PathBuf>,

    /// Whether digits are dark ink on light paper
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
  hardpan eval model.hardpan ./photos --tta
  hardpan eval model.hardpan ./fashion --json")]
pub struct Eval {
    /// A saved model
    pub model: PathBuf,

    /// A data set's name, a folder with class folders, or one with idx files [default: what it was trained on]
    pub data: Option<String>,

    /// Which part of the data
    #[arg(long, value_name = "PART", default_value = "auto")]
    pub part: Part,

    /// Average over several views of each picture: slower, usually a little better
    #[arg(long)]
    pub tta: bool,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value = "256", value_parser = positive)]
    pub bs: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan report model.hardpan
  hardpan report model.hardpan ./photos --out report

The page needs nothing beside it. Where it shows a wrong label, choose the right one and save the
corrections; `hardpan train ./photos --corrections corrections.csv` learns from them.")]
pub struct Report {
    /// A saved model
    pub model: PathBuf,

    /// A data set's name, a folder with class folders, or one with idx files [default: what it was trained on]
    pub data: Option<String>,

    /// The folder for the page
    #[arg(long, value_name = "DIR", default_value = "report")]
    pub out: PathBuf,

    /// Which part of the data
    #[arg(long, value_name = "PART", default_value = "auto")]
    pub part: Part,

    /// How many of the worst pictures to show
    #[arg(long, value_name = "N", default_value = "48", value_parser = positive)]
    pub worst: usize,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value = "64", value_parser = positive)]
    pub bs: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hardpan serve model.hardpan
  hardpan serve model.hardpan --addr 0.0.0.0:80 --max-mb 4
  curl --data-binary @photo.jpg 'http://127.0.0.1:8080/predict?top=3'
  curl --data-binary @street.jpg -H 'accept: image/png' http://127.0.0.1:8080/predict -o mask.png

A model that finds masks answers with the classes' shares and the mask, as JSON or as the picture itself.
Addresses: / a page to drop or draw a picture; POST /predict and /explain; /info, /health, /metrics;
/openapi.json describes them.")]
pub struct Serve {
    /// A saved model
    pub model: PathBuf,

    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub addr: String,

    /// Largest request, in megabytes
    #[arg(long, value_name = "MB", default_value = "16", value_parser = positive)]
    pub max_mb: usize,

    /// Longest time of a request, in seconds
    #[arg(long, value_name = "S", default_value = "30", value_parser = above_zero)]
    pub timeout: f64,

    /// Most pictures computed together
    #[arg(long, value_name = "N", default_value = "32", value_parser = positive)]
    pub batch: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hardpan export model.hardpan model.onnx

The file takes `input` [N, channels, height, width], normalized as `hardpan info model.hardpan` says, and gives
`output`: a score for each class (softmax makes probabilities of them). The class names are in its metadata.")]
pub struct Export {
    /// A saved model
    pub model: PathBuf,

    /// The ONNX file to write
    pub out: PathBuf,
}

#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  hardpan data list\n  hardpan data get mnist\n  ls $(hardpan data path mnist)\n  hardpan data verify ./photos"
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
    /// Read every picture of a folder and say which cannot be
    Verify {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hardpan info\n  hardpan info --networks\n  hardpan info model.hardpan --json"
)]
pub struct Info {
    /// A saved model
    #[arg(conflicts_with = "networks")]
    pub model: Option<PathBuf>,

    /// List the networks with their sizes, and which can start from published weights
    #[arg(long)]
    pub networks: bool,
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

fn side(s: &str) -> Result<usize, String> {
    let fits = |n: &usize| (1..=8192).contains(n);
    let expected = "expected pixels from 1 to 8192: one number, or width and height as 320x240";
    s.parse().ok().filter(fits).ok_or_else(|| expected.into())
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
        // The network, rate and epochs for digits are chosen when the data is seen.
        assert_eq!((t.setup.data.as_str(), t.setup.arch, t.epochs), ("mnist", None, None));
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
        assert!(refused(&["--size", "0"]).contains("from 1 to 8192"));
        assert!(refused(&["--size", "100000"]).contains("from 1 to 8192"));
        assert!(refused(&["--size", "320x"]).contains("as 320x240"));
        assert!(refused(&["--lr=nan"]).contains("a number above 0"));
        assert!(refused(&["--valid", "1"]).contains("between 0 and 1"));
        assert!(refused(&["--valid", "no/such/folder"]).contains("a folder that is there"));
        assert!(refused(&["--freeze-epochs", "2"]).contains("--pretrained"));
        assert!(refused(&["--device", "cuda:1"]).contains("use --device cpu"));
        assert!(refused(&["--epochz", "3"]).contains("--epochs"), "says what may be meant");
    }
}
