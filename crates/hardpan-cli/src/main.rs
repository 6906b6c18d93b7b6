//! The `hardpan` command: training, using and inspecting models from a terminal or a script.
//!
//! [`args`] is the command line, [`commands`] has one file for each command, [`output`] speaks to people or (with `--json`) to
//! programs, [`events`] is what programs are told. The exit status is 0 when the work is done, 1 when it failed, 2 when the
//! command line was wrong.

mod args;
mod commands;
mod data;
mod events;
mod interrupt;
mod judge;
mod loaded;
mod memory;
mod output;
mod pictures;
mod plots;
mod report;
mod setup;

use args::{Cli, Command};
use clap::Parser;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Wrong usage ends in here, with exit status 2; so do --help and --version, with 0.
    let cli = Cli::parse();
    let out = Output::new(cli.json);
    if let Some(n) = cli.threads {
        hardpan::engine::dev::cpu::pool::set_threads(n);
    }
    let command = cli.command.unwrap_or_else(|| Command::Train(args::Train::main_job()));
    let result = commands::run(command, &out);
    if hardpan::engine::trace::enabled() {
        out.note(hardpan::engine::trace::report());
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            out.error(&e);
            ExitCode::FAILURE
        }
    }
}
