//! One file for each command; each is a function of its arguments and the output.

mod data;
mod info;

use crate::args::Command;
use crate::output::Output;

pub fn run(command: Command, out: &Output) -> anyhow::Result<()> {
    match command {
        Command::Info => info::run(out),
        Command::Data(args) => data::run(&args, out),
        Command::Train(_)
        | Command::LrFind(_)
        | Command::Predict(_)
        | Command::Eval(_)
        | Command::Ladder(_)
        | Command::Bench(_) => {
            anyhow::bail!("this command is not built yet")
        }
    }
}
