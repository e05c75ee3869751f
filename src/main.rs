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
    },
    /// Route a trace of calls to a roster of agents in virtual time and write what it comes to.
    Simulate(commands::SimulateArguments),
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

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { config } => commands::serve(&config),
        Command::Media { config } => commands::media(&config),
        Command::Check { config } => commands::check(&config),
        Command::Ledger { config, region, from, to } => commands::ledger(&config, region, from.as_deref(), to.as_deref()),
        Command::Simulate(arguments) => commands::simulate(arguments),
        Command::Generate(arguments) => commands::generate(arguments),
        Command::Replay(arguments) => commands::replay(arguments),
        Command::Staff(command) => commands::staff(command),
        Command::Store(StoreCommand::Copy { config, to, to_url_env }) => {
            commands::store_copy(&config, to.as_deref(), to_url_env.as_deref())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dozvon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
