//! Brings events to whoever asked for them: CloudEvents 1.0 over HTTP, signed, each receiver at its own pace.

use super::pause_after;
use crate::clock::{Clock, Moment};
use crate::pii::Private;
use crate::store::writer::Folded;
use crate::store::{DeliveryDue, DeliveryEnd, Store, StoreError};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Events listed at once.
const LISTED: u32 = 100;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// An event that nobody took for this long is kept as refused.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 86_400);
/// Looks for events whose time has come at least this often.
const LOOK_EACH: Duration = Duration::from_secs(1);
const TYPE_PREFIX: &str = "ru.dozvon.";

/// Who gets the events.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name in the tables; a receiver that is renamed begins anew.
    pub name: String,
    pub url: String,
    /// Shared with the receiver: both sign with it.
    pub secret: Private,
    /// Kinds of events it wants: `callback.opened`, or `interaction.*` for all of a family; empty: everything.
    pub events: Vec<String>,
}

impl Receiver {
    fn wants(&self, kind: &str) -> bool {
        let fits = |wanted: &String| match wanted.strip_suffix('*') {
            Some(family) => kind.starts_with(family),
            None => kind == wanted,
        };
        self.events.is_empty() || self.events.iter().any(fits)
    }
}

/// The delivery to one receiver. One of its own for each, so that a dead one holds nobody up.
pub struct Webhook {
    store: Arc<dyn Store>,
    receiver: Receiver,
    agent: ureq::Agent,
}

impl Webhook {
    pub fn new(store: Arc<dyn Store>, receiver: Receiver) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WITHIN))
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The address in the configuration is the whole truth; the environment does not change it.
            .proxy(None)
            .build();
        Self { store, receiver, agent: config.into() }
    }

    /// Delivers until the tables' writer has ended. To be spawned.
    pub async fn run(self, clock: Clock, mut folded: watch::Receiver<Folded>) {
        let mut failing = false;
        loop {
            let turn = match self.store.receiver_add(&self.receiver.name).await {
                Ok(()) => self.turn(clock.now()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = &turn
                && !failing
            {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    receiver = self.receiver.name,
                    "events wait for the tables"
                );
            }
            failing = turn.is_err();
            tokio::select! {
                changed = folded.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EACH) => {}
            }
        }
    }

    /// Delivers what is due now, until there is nothing more or the receiver fails. Gives how many events were taken.
    pub async fn turn(&self, now: Moment) -> Result<usize, StoreError> {
        let mut taken = 0;
        loop {
            let due = self.store.deliveries_due(&self.receiver.name, now, LISTED).await?;
            if due.is_empty() {
                return Ok(taken);
            }
            for event in due {
                if !self.receiver.wants(&event.kind) {
                    self.store.delivery_settle(&self.receiver.name, event.event, DeliveryEnd::Done).await?;
                    continue;
                }
                let end = self.deliver(&event, now).await;
                let failed = matches!(end, DeliveryEnd::Later(_));
                taken += usize::from(end == DeliveryEnd::Done);
                self.store.delivery_settle(&self.receiver.name, event.event, end).await?;
                if failed {
                    return Ok(taken);
                }
            }
        }
    }

    async fn deliver(&self, event: &DeliveryDue, now: Moment) -> DeliveryEnd {
        let body = cloud_event(event).to_string();
        let timestamp = now.as_unix_seconds().to_string();
        let signature = signature(&self.receiver.secret, &timestamp, &body);
        let key = event.idempotency_key.clone().unwrap_or_else(|| event.event.to_string());
        let request = self
            .agent
            .post(&self.receiver.url)
            .header("Content-Type", "application/cloudevents+json")
            .header("Idempotency-Key", key)
            .header("X-Dozvon-Timestamp", timestamp)
            .header("X-Dozvon-Signature", signature);
        let sending = tokio::task::spawn_blocking(move || request.send(body).map(|answer| answer.status().as_u16()));
        let why = match sending.await {
            // 409: it has this event already.
            Ok(Ok(200..=299 | 409)) => return DeliveryEnd::Done,
            Ok(Ok(status @ (408 | 429 | 500..=599))) => format!("status {status}"),
            Ok(Ok(status)) => return DeliveryEnd::Refused(format!("status {status}")),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the request broke off".to_owned(),
        };
        if now.since(event.at) >= GIVE_UP_AFTER {
            return DeliveryEnd::Refused(why);
        }
        if event.attempts == 0 {
            tracing::warn!(receiver = self.receiver.name, why, "an event was not taken; it is tried again");
        }
        DeliveryEnd::Later(now + pause_after(event.attempts))
    }
}

/// The event in structured JSON form (CloudEvents 1.0 §3.1), with the extension `sequence`: a text that sorts like the number.
fn cloud_event(event: &DeliveryDue) -> Value {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(event.at.0).unwrap_or(i64::MAX));
    let mut value = json!({
        "specversion": "1.0",
        "id": event.event.to_string(),
        "source": format!("/dozvon/region/{}", event.region),
        "type": format!("{TYPE_PREFIX}{}", event.kind),
        "subject": event.call,
        "time": at.unwrap_or(jiff::Timestamp::MAX).to_string(),
        "sequence": format!("{:010}", event.sequence),
        "region": event.region.to_string(),
        "datacontenttype": "application/json",
        "data": serde_json::from_str::<Value>(&event.data).unwrap_or_default(),
    });
    if let (Some(key), Some(fields)) = (&event.idempotency_key, value.as_object_mut()) {
        fields.insert("idempotencykey".into(), key.as_str().into());
    }
    value
}

/// `sha256=` and the HMAC over timestamp, a point, and the body: an old message cannot be sent again under a new time.
fn signature(secret: &Private, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}
