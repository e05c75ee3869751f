//! The same load in a network of its own whose loopback drops datagrams. Needs root, `ip` and `iptables`.

use crate::Options;
use std::process::Command;

/// Runs this program again inside. True if nothing was lost, or if it cannot be done here.
pub fn run_in_a_network_that_drops(percent: u32, options: &Options) -> bool {
    let name = format!("dozvon-chaos-{}", std::process::id());
    let made = Network::make(&name, percent);
    let network = match made {
        Ok(network) => network,
        Err(why) => {
            println!("LOSS OF {percent} % SKIPPED: {why}");
            return true;
        }
    };
    let mut command = network.inside(&std::env::current_exe().unwrap().display().to_string());
    let numbers = [
        ("--dropping", percent.to_string()),
        ("--seed", options.seed.to_string()),
        ("--talking", options.talking.to_string()),
        ("--waiting", options.waiting.to_string()),
        ("--robot", options.robot.to_string()),
        ("--cps", options.cps.to_string()),
        ("--loss-s", options.loss_s.to_string()),
    ];
    command.args(numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    command.status().is_ok_and(|status| status.success())
}

struct Network {
    name: String,
}

impl Network {
    fn make(name: &str, percent: u32) -> Result<Self, String> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let network = Self { name: name.to_owned() };
        run(network.inside("ip").args(["link", "set", "lo", "up"]))?;
        let share = format!("{:.2}", f64::from(percent) / 100.0);
        let drop = ["-A", "INPUT", "-p", "udp", "-m", "statistic", "--mode", "random", "--probability", &share, "-j", "DROP"];
        run(network.inside("iptables").args(drop))?;
        Ok(network)
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["netns", "del", &self.name]));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
