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
    /// Carry the audio of an engine's calls; `serve` starts this by itself, a unit of systemd may instead.
    Media {
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
    /// Route a trace of calls to a roster of agents in virtual time and write what it comes to.
    Simulate(Box<commands::SimulateArguments>),
    /// Make up a trace of calls: profile of hours and weekdays, uneven days, people who ring again.
    Generate(commands::GenerateArguments),
    /// Play a day of the journal again, with other agents or another policy.
    Replay(commands::ReplayArguments),
    /// How many operators, when: forecast, shifts, and how good the forecast has been.
    #[command(subcommand)]
    Staff(commands::StaffCommand),
    /// The tables' database.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Recordings as they are kept: sealed with their region's key.
    #[command(subcommand)]
    Recording(RecordingCommand),
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Copy everything from the store that the configuration names to an empty one. Stop the engine before.
    Copy {
        #[arg(long)]
        config: PathBuf,
        /// sqlite:PATH
        #[arg(long)]
        to: Option<String>,
        /// Variable of the environment with the address of PostgreSQL: postgres://USER:PASSWORD@HOST/DATABASE
        #[arg(long, conflicts_with = "to", required_unless_present = "to")]
        to_url_env: Option<String>,
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
        Command::Media { config } => commands::media(&config),
        Command::Check { config } => commands::check(&config),
        Command::Ledger { config, region, day: Some(day), .. } => commands::ledger_day(&config, region, &day),
        Command::Ledger { config, region, from, to, .. } => commands::ledger(&config, region, from.as_deref(), to.as_deref()),
        Command::Doctor { config, json } => return commands::doctor(&config, json),
        Command::Backup { config, to, without_recordings } => commands::backup(&config, &to, !without_recordings),
        Command::Restore { config, from } => commands::restore(&config, &from),
        Command::Standby { config, primary } => commands::standby(&config, &primary),
        Command::Promote { config } => commands::promote(&config),
        Command::Forget { person, config } => commands::forget(&config, &person),
        Command::Simulate(arguments) => commands::simulate(*arguments),
        Command::Generate(arguments) => commands::generate(arguments),
        Command::Replay(arguments) => commands::replay(arguments),
        Command::Staff(command) => commands::staff(command),
        Command::Store(StoreCommand::Copy { config, to, to_url_env }) => {
            commands::store_copy(&config, to.as_deref(), to_url_env.as_deref())
        }
        Command::Recording(RecordingCommand::Export { config, call, output, part }) => {
            commands::export(&config, &call, part, &output)
        }
        Command::Recording(RecordingCommand::Verify { config, call }) => commands::verify(&config, call.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dozvon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
