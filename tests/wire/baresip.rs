//! baresip as a phone: a configuration of its own without any sound card, driven over its control port, what it hears kept in WAVs.

use crate::engine::{Engine, SOON};
use crate::tools::program;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

pub struct Baresip {
    folder: PathBuf,
    child: Child,
    control: TcpStream,
    events: Receiver<Value>,
}

impl Baresip {
    /// A phone at this host with this account (its parameters in baresip's own words), playing a sine.
    pub async fn start(engine: &Engine, host: u8, account: &str, hertz: f64) -> Self {
        let folder = engine.folder().join(format!("baresip-{host}"));
        fs::create_dir_all(folder.join("heard")).unwrap();
        let ip = engine.net.ip(host);
        let control: SocketAddr = (ip, 4444).into();
        fs::write(folder.join("config"), configuration(&ip.to_string(), control, hertz, &folder)).unwrap();
        fs::write(folder.join("accounts"), format!("{account}\n")).unwrap();
        let output = File::create(folder.join("log")).unwrap();
        let mut command = program("baresip");
        command.current_dir(&folder).args(["-4", "-v", "-f"]).arg(&folder).env("HOME", &folder);
        let child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        let control = engine.wait_for("baresip's control port", SOON, async || TcpStream::connect(control).ok()).await;
        let (sender, events) = channel::<Value>();
        let reading = control.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut reading = BufReader::new(reading);
            while let Some(message) = netstring(&mut reading) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { folder, child, control, events }
    }

    /// A command of its menu, such as `dial`.
    pub fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).unwrap();
    }

    /// Waits for an event of this type (`REGISTER_OK`, `CALL_ESTABLISHED`, `CALL_CLOSED`).
    pub async fn tells(&self, engine: &Engine, event: &str) -> Value {
        let next = async || {
            let mut news = std::iter::from_fn(|| self.events.try_recv().ok());
            news.find(|message| message["type"] == event)
        };
        engine.wait_for(&format!("baresip's {event}"), SOON, next).await
    }

    /// What came in, call after call: the WAVs are whole once the call is closed.
    pub fn heard(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.join("heard")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_string_lossy().ends_with("-dec.wav")).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// `length:text,` with JSON inside.
fn netstring(reader: &mut impl BufRead) -> Option<Value> {
    let mut length = Vec::new();
    reader.read_until(b':', &mut length).ok()?;
    let length: usize = std::str::from_utf8(&length).ok()?.trim_end_matches(':').parse().ok()?;
    let mut text = vec![0; length + 1];
    reader.read_exact(&mut text).ok()?;
    serde_json::from_slice(&text[..length]).ok()
}

fn configuration(ip: &str, control: SocketAddr, hertz: f64, folder: &Path) -> String {
    let heard = folder.join("heard");
    format!(
        "poll_method epoll\n\
         sip_listen {ip}:5060\n\
         net_interface {ip}\n\
         rtp_ports 20000-20100\n\
         call_max_calls 4\n\
         audio_source ausine,{hertz}\n\
         audio_player aubridge,nowhere\n\
         audio_alert aubridge,alert\n\
         ausrc_srate 48000\n\
         ausrc_channels 2\n\
         auplay_srate 8000\n\
         snd_path {heard}\n\
         ctrl_tcp_listen {control}\n\
         module_path {modules}\n\
         module g711.so\n\
         module ausine.so\n\
         module aubridge.so\n\
         module sndfile.so\n\
         module_tmp account.so\n\
         module_app menu.so\n\
         module_app ctrl_tcp.so\n",
        heard = heard.display(),
        modules = MODULES,
    )
}

/// Where Debian's baresip-core keeps them.
const MODULES: &str = "/usr/lib/baresip/modules";

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- baresip's last words ----\n{}", self.log());
        }
    }
}
