//! Scripted citizens and agents who keep a line busy: `testphone demo --target 127.0.0.1:5060 --agents demo1..demo6`.

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use dozvon::testphone::demo;
use std::net::{IpAddr, SocketAddr};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "Test phone: scripted citizens and agents on real SIP and RTP", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the line alive with citizens and agents until Ctrl-C
    Demo(Demo),
}

#[derive(clap::Args)]
struct Demo {
    /// SIP address of the line
    #[arg(long, default_value = "127.0.0.1:5060")]
    target: SocketAddr,
    /// Address the citizens call from; must be a trunk's in the line's configuration
    #[arg(long, default_value = "127.0.0.20:5060")]
    trunk: SocketAddr,
    /// Address of the agents' phones; must be no trunk's
    #[arg(long, default_value = "127.0.0.30")]
    desks: IpAddr,
    /// Number the citizens dial
    #[arg(long, default_value = "122")]
    number: String,
    #[arg(long, default_value_t = 6.0)]
    citizens_per_minute: f64,
    /// Accounts: `demo1..demo6` or `anna,boris`
    #[arg(long, default_value = "demo1..demo6")]
    agents: String,
    /// Environment variable with the accounts' password
    #[arg(long, default_value = "DOZVON_OP_PASS")]
    password_env: String,
    /// Feature code each agent dials to become ready; empty for none
    #[arg(long, default_value = "")]
    ready_code: String,
    /// Keys the citizens choose from, comma-separated; one that stands twice is chosen twice as often
    #[arg(long, default_value = "1,1,2,3,5,6,0")]
    keys: String,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).init();
    let Command::Demo(demo) = Arguments::parse().command;
    let tally = demo::run(demo.plan()?, stopped()).await.context("cannot open the phones' sockets")?;
    println!("{tally}");
    Ok(())
}

impl Demo {
    fn plan(self) -> Result<demo::Plan> {
        ensure!(self.citizens_per_minute > 0.0, "citizens per minute must be more than zero");
        let password = std::env::var(&self.password_env)
            .with_context(|| format!("set {} to the password of the agents' accounts", self.password_env))?;
        Ok(demo::Plan {
            target: self.target,
            trunk: self.trunk,
            desks: self.desks,
            number: self.number,
            citizens_per_minute: self.citizens_per_minute,
            agents: names(&self.agents)?,
            password,
            ready_code: self.ready_code,
            keys: self.keys.split(',').map(|key| key.trim().to_owned()).collect(),
            seed: self.seed,
        })
    }
}

/// `demo1..demo6` = demo1, demo2, … demo6; else a list with commas; empty for no agents.
fn names(text: &str) -> Result<Vec<String>> {
    let Some((first, last)) = text.split_once("..") else {
        return Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect());
    };
    let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = |name: &str| name.strip_prefix(stem).and_then(|digits| digits.parse::<u16>().ok());
    let (from, to) = number(first).zip(number(last)).with_context(|| format!("no range of accounts: {text}"))?;
    ensure!(from <= to && to - from < 1000, "no range of at most 1000 accounts: {text}");
    Ok((from..=to).map(|number| format!("{stem}{number}")).collect())
}

/// Ctrl-C or SIGTERM.
async fn stopped() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_a_range_or_a_list() {
        assert_eq!(names("demo9..demo11").unwrap(), ["demo9", "demo10", "demo11"]);
        assert_eq!(names("anna, boris").unwrap(), ["anna", "boris"]);
        assert!(names("").unwrap().is_empty());
        assert!(names("demo3..demo1").is_err() && names("a1..b2").is_err());
    }
}
