//! The command `dozvon`: reads the configuration, opens the doors, runs until drained.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

mod commands;

#[derive(Parser)]
#[command(version, about = "Telephony engine of a health line: trunk, robot, queues, operators, and nobody forgotten")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine until SIGTERM or Ctrl-C drains it; SIGHUP reads configuration and scripts again.
    Serve {
        #[arg(long)]
        config: PathBuf,
    },
    /// Check configuration and scripts and say everything that is wrong.
    Check {
        #[arg(long)]
        config: PathBuf,
    },
    /// Print the ledger of a span as JSON, from the tables.
    Ledger {
        #[arg(long)]
        config: PathBuf,
        /// Region by number; the first of the configuration if left out.
        #[arg(long)]
        region: Option<u16>,
        /// A date or RFC 3339 time; today in the region's zone if left out.
        #[arg(long)]
        from: Option<String>,
        #[arg(long)]
        to: Option<String>,
    },
    /// Recordings as they are kept: sealed with their region's key.
    Recording {
        #[command(subcommand)]
        command: RecordingCommand,
    },
}

#[derive(Subcommand)]
enum RecordingCommand {
    /// Open a call's recording and write it to a file: .ogg as it is kept, anything else as WAV. Written down in the audit log.
    Export {
        #[arg(long)]
        config: PathBuf,
        call: String,
        #[arg(short, long)]
        output: PathBuf,
        /// Which recording of the call, from 0 on.
        #[arg(long, default_value_t = 0)]
        part: usize,
    },
    /// Check hash and readability of all recordings, or of one call's; name those that fail.
    Verify {
        #[arg(long)]
        config: PathBuf,
        call: Option<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { config } => commands::serve(&config),
        Command::Check { config } => commands::check(&config),
        Command::Ledger { config, region, from, to } => commands::ledger(&config, region, from.as_deref(), to.as_deref()),
        Command::Recording { command: RecordingCommand::Export { config, call, output, part } } => {
            commands::export(&config, &call, part, &output)
        }
        Command::Recording { command: RecordingCommand::Verify { config, call } } => commands::verify(&config, call.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dozvon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
