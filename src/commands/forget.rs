//! `dozvon forget`: by the running engine if there is one, else by ourselves.

use anyhow::Context;
use dozvon::upkeep::forget::{Who, forget_while_down};
use dozvon::upkeep::neighbour::Neighbour;
use serde_json::{Value, json};
use std::path::Path;

pub fn forget(config: &Path, text: &str) -> anyhow::Result<()> {
    let who = Who::read(text).context("this is neither a person's id nor a full number; write it as +79130000012")?;
    let house = super::house(config)?;
    let engine = Neighbour::of(&house.config);
    if engine.is_alive() {
        let answer = match &who {
            Who::Person(person) => engine.delete(&format!("/api/v1/people/{person}"), &Value::Null)?,
            Who::Phone(phone) => engine.delete("/api/v1/people", &json!({ "phone": phone.expose() }))?,
        };
        println!("{answer:#}");
    } else {
        let (person, forgotten) = super::runtime()?.block_on(async {
            let store = super::store::open(&house.config)?;
            forget_while_down(&house, store, &who).await
        })?;
        let callbacks: Vec<_> = forgotten.callbacks.iter().map(ToString::to_string).collect();
        let told = json!({ "person": person.to_string(), "known": forgotten.known, "recordings": forgotten.recordings });
        println!("{told:#}");
        if !forgotten.archived.is_empty() {
            println!("the archive still has, sealed: {}; delete them there", forgotten.archived.join(", "));
        }
        if !callbacks.is_empty() {
            println!("these callbacks have no number any more, close them when the engine runs: {}", callbacks.join(", "));
        }
    }
    println!("the number may still stand in dialogs of calls (legs/), a day at most, and in backups taken before");
    Ok(())
}
