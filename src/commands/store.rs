//! The store that the configuration names, and `dozvon store`: moving the tables from one database to another.

use super::house;
use anyhow::{Context, bail};
use dozvon::config::{Config, Secret, StoreKind};
use dozvon::store::Store;
use dozvon::store::copy::copy;
use dozvon::store::postgres::PostgresStore;
use dozvon::store::sqlite::SqliteStore;
use dozvon::upkeep::lease;
use std::path::Path;
use std::sync::Arc;

/// The embedded store's file in the data folder.
const FILE: &str = "dozvon.db";

/// The one way to a store: whatever the configuration names. To be called within a runtime; nothing is connected yet.
pub fn open(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    match (config.store.kind, &config.store.address) {
        (StoreKind::Sqlite, _) => Ok(Arc::new(SqliteStore::new(&config.data.join(FILE)))),
        (StoreKind::Postgres, Some(address)) => {
            let holder = lease::holder(&config.data).filter(|_| config.standby.lease);
            let store = PostgresStore::held(address.expose(), holder.as_ref());
            Ok(Arc::new(store.context("the store's address cannot be used")?))
        }
        (StoreKind::Postgres, None) => bail!("the configuration names no address of the store"),
    }
}

/// `to` is `sqlite:PATH`; an address of PostgreSQL comes from the variable `to_url_env`, for it may hold a password.
pub fn store_copy(config: &Path, to: Option<&str>, to_url_env: Option<&str>) -> anyhow::Result<()> {
    let house = house(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = match (to, to_url_env) {
            (Some(to), _) => {
                let path =
                    to.strip_prefix("sqlite:").context("write the target as sqlite:PATH, or use --to-url-env for PostgreSQL")?;
                Arc::new(SqliteStore::new(Path::new(path)))
            }
            (None, Some(variable)) => {
                let url = std::env::var(variable).with_context(|| format!("the environment variable `{variable}` is not set"))?;
                postgres(&Secret::new(url))?
            }
            (None, None) => bail!("name the target: --to sqlite:PATH or --to-url-env VARIABLE"),
        };
        let source = open(&house.config)?;
        let told = |table: &str, rows: usize| eprintln!("{table}: {rows} rows");
        copy(source.as_ref(), target.as_ref(), told).await?;
        println!("copied; change [store] in {} and start the engine, it goes on where it stopped", config.display());
        Ok(())
    })
}

fn postgres(address: &Secret) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(PostgresStore::new(address.expose()).context("the store's address cannot be used")?))
}
