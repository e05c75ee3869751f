//! The engine of this configuration, asked over its own HTTP by a command beside it.

use crate::config::Config;
use anyhow::Context;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// An engine that does not answer within this is not alive.
const PATIENCE: Duration = Duration::from_secs(3);

pub struct Neighbour {
    http: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Neighbour {
    pub fn of(config: &Config) -> Self {
        let token_file = config.data.join(crate::config::Http::TOKEN_FILE);
        // A token is only read here, never made: that is for the engine.
        let known = config.http.open || config.http.token.is_some() || token_file.exists();
        let token = if known { config.http_token().ok().flatten() } else { None };
        let settings = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        let base = format!("http://{}", reachable(config.http.bind));
        Self { http: settings.into(), base, token: token.map(|token| token.expose().to_owned()) }
    }

    pub fn is_alive(&self) -> bool {
        let answer = self.http.get(format!("{}/healthz", self.base)).call();
        answer.is_ok_and(|mut answer| {
            answer.status() == 200 && answer.body_mut().read_to_string().is_ok_and(|text| text.trim() == "ok")
        })
    }

    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base));
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        read(request.call().with_context(|| format!("the engine at {} does not answer", self.base))?)
    }

    /// As DELETE, with a body.
    pub fn delete(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.delete(format!("{}{path}", self.base)).force_send_body();
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        read(request.send_json(body).with_context(|| format!("the engine at {} does not answer", self.base))?)
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let status = answer.status();
    let body: Value = answer.body_mut().read_json().context("the engine's answer is no JSON")?;
    if status.is_success() {
        return Ok(body);
    }
    let word = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    anyhow::bail!("the engine refused ({status}): {}; {}", word("error"), word("remedy"))
}

/// Where one asks a server that listens everywhere.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}
