use std::process::ExitCode;

use clap::Subcommand;

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::Setting;
use crate::store::Store;
use crate::store::settings::CurrentSetting;

use super::failure::Failure;
use super::table::{self, printable};

#[derive(Debug, Subcommand)]
pub(super) enum SettingsCommand {
    /// List every setting with its value, its default and what it means
    List,
    /// Print the value of one setting
    Get { key: String },
    /// Set it, for all instances and without a restart; a value out of bounds counts as the nearest one within
    Set {
        key: String,
        #[arg(allow_negative_numbers = true)]
        value: String,
    },
}

pub(super) async fn run(command: SettingsCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    // Before the database is looked for: a wrong key needs none to be told.
    let known = |key: &str| key.parse::<Setting>().map_err(|unknown| Failure::new(2, unknown.to_string()));
    let asked = match &command {
        SettingsCommand::List => Asked::All,
        SettingsCommand::Get { key } => Asked::One(known(key)?),
        SettingsCommand::Set { key, value } => {
            let number = value.parse();
            let not_whole = |_| Failure::new(2, format!("`{}` is no whole number", printable(value)));
            Asked::Change(known(key)?, number.map_err(not_whole)?)
        }
    };
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(asked, &database.store).await;
    database.close().await;
    result
}

enum Asked {
    All,
    One(Setting),
    Change(Setting, i64),
}

async fn on(asked: Asked, store: &Store) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match asked {
        Asked::All => list(&store.settings().await?),
        Asked::One(setting) => println!("{}", store.setting(setting).await?),
        Asked::Change(setting, value) => {
            let counts = store.set_setting(setting, value).await?;
            let why = if counts == value {
                String::new()
            } else {
                format!(" (not {value}: {})", setting.meaning())
            };
            println!("{setting} = {counts}{why}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(settings: &[CurrentSetting]) {
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|current| {
            vec![
                current.setting.key().to_owned(),
                current.value.to_string(),
                current.setting.default_value().to_string(),
                current.set_at.map_or("-".into(), |at| at.format("%F %T").to_string()),
                current.setting.meaning().to_owned(),
            ]
        })
        .collect();
    table::print(&["KEY", "VALUE", "DEFAULT", "SET (UTC)", "MEANING"], &rows);
    for current in settings {
        if let Some(text) = &current.unreadable {
            eprintln!(
                "{}: `{}` in the database is no whole number; the default counts",
                current.setting,
                printable(text)
            );
        }
    }
}
