//! One file for each command; each is a function of its arguments and the output.

mod bench;
mod data;
mod eval;
mod export;
mod info;
mod ladder;
mod lr_find;
pub mod predict;
mod report;
mod serve;
mod train;

use crate::args::Command;
use crate::output::Output;

pub fn run(command: Command, out: &Output) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => train::run(args, out),
        Command::LrFind(args) => lr_find::run(&args, out),
        Command::Predict(args) => predict::run(&args, out),
        Command::Eval(args) => eval::run(&args, out),
        Command::Report(args) => report::run(&args, out),
        Command::Serve(args) => serve::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Info(args) => info::run(&args, out),
        Command::Data(args) => data::run(&args, out),
        Command::Ladder(args) => ladder::run(&args, out),
        Command::Bench(args) => bench::run(&args, out),
    }
}
