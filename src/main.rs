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
        /// Print the law of one day for people, each region by itself: yesterday, or the date given.
        #[arg(long, num_args = 0..=1, default_missing_value = "yesterday", conflicts_with_all = ["from", "to"])]
        day: Option<String>,
    },
    /// Examine the installation: journal, tables, orphans, clock, ports, disks, secrets. Exit code 0 ok, 1 warning, 2 fault.
    Doctor {
        #[arg(long)]
        config: PathBuf,
        /// One JSON array instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Write a consistent, proven copy of the data folder, also while the engine runs. It holds keys and phones.
    Backup {
        #[arg(long)]
        config: PathBuf,
        /// A new folder, or a new file that ends with .tar.
        #[arg(long)]
        to: PathBuf,
        /// Leave the recordings out.
        #[arg(long)]
        without_recordings: bool,
    },
    /// Put a backup back into the configuration's data folder, which must be empty.
    Restore {
        #[arg(long)]
        config: PathBuf,
        #[arg(long)]
        from: PathBuf,
    },
    /// Erase number and recordings of a person, also while the engine runs; the id stays in reports.
    Forget {
        /// A person's id, or a phone in any form.
        person: String,
        #[arg(long)]
        config: PathBuf,
    },
    /// Keep a copy of the primary's data here; SIGUSR1 or `dozvon promote` makes it the line.
    Standby {
        #[arg(long)]
        config: PathBuf,
        /// Where the primary's HTTP is, such as https://10.0.0.5:8122.
        #[arg(long)]
        primary: String,
    },
    /// Make the standby that runs on this configuration the line.
    Promote {
        #[arg(long)]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { config } => commands::serve(&config),
        Command::Check { config } => commands::check(&config),
        Command::Ledger { config, region, day: Some(day), .. } => commands::ledger_day(&config, region, &day),
        Command::Ledger { config, region, from, to, .. } => commands::ledger(&config, region, from.as_deref(), to.as_deref()),
        Command::Doctor { config, json } => return commands::doctor(&config, json),
        Command::Backup { config, to, without_recordings } => commands::backup(&config, &to, !without_recordings),
        Command::Restore { config, from } => commands::restore(&config, &from),
        Command::Standby { config, primary } => commands::standby(&config, &primary),
        Command::Promote { config } => commands::promote(&config),
        Command::Forget { person, config } => commands::forget(&config, &person),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dozvon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
