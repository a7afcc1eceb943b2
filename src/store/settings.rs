//! Settings in the database (`domain::Setting`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tracing::warn;

use crate::domain::Setting;

use super::{Statement, Store, StoreError, statement};

static SETTINGS: Statement = statement!("settings");
static SET: Statement = statement!("set_setting", TEXT, TEXT);

/// What counts for one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentSetting {
    pub setting: Setting,
    pub value: i64,
    /// When it was set; `None` while the default counts because nothing is set.
    pub set_at: Option<DateTime<Utc>>,
    /// What stands in the database in place of a whole number; the default counts.
    pub unreadable: Option<String>,
}

/// Unreadable values that were warned about already: readers come back every minute.
#[derive(Debug, Default)]
pub(super) struct WarnedSettings(Mutex<HashMap<Setting, String>>);

impl WarnedSettings {
    /// True once for each value that cannot be read.
    fn is_news(&self, current: &CurrentSetting) -> bool {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &current.unreadable {
            Some(text) => warned.insert(current.setting, text.clone()).as_ref() != Some(text),
            None => {
                warned.remove(&current.setting);
                false
            }
        }
    }
}

impl Store {
    /// What counts for one setting at this moment.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn setting(&self, setting: Setting) -> Result<i64, StoreError> {
        let all = self.settings().await?;
        let current = all.iter().find(|current| current.setting == setting);
        Ok(current.map_or(setting.default_value(), |current| current.value))
    }

    /// What counts for every setting, in the order of [`Setting::ALL`]. A value that cannot be read is warned about once.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn settings(&self) -> Result<Vec<CurrentSetting>, StoreError> {
        let client = self.client().await?;
        let rows = SETTINGS.rows(&client, self.mode, &[]).await?;
        let held: HashMap<&str, (&str, DateTime<Utc>)> =
            rows.iter().map(|row| (row.get("key"), (row.get("value"), row.get("updated_at")))).collect();
        let all: Vec<_> = Setting::ALL
            .into_iter()
            .map(|setting| {
                let stored = held.get(setting.key());
                let read = stored.and_then(|(text, _)| setting.read(text));
                CurrentSetting {
                    setting,
                    value: read.unwrap_or(setting.default_value()),
                    set_at: stored.map(|(_, at)| *at),
                    unreadable: stored.filter(|_| read.is_none()).map(|(text, _)| (*text).to_owned()),
                }
            })
            .collect();
        for current in all.iter().filter(|current| self.warned_settings.is_news(current)) {
            warn!(
                setting = current.setting.key(),
                found = current.unreadable,
                default = current.value,
                "a setting in the database is no whole number; the default counts"
            );
        }
        Ok(all)
    }

    /// Sets it for all instances; returns the value that counts now.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn set_setting(&self, setting: Setting, value: i64) -> Result<i64, StoreError> {
        let client = self.client().await?;
        let counts = setting.clamp(value);
        SET.execute(&client, self.mode, &[&setting.key(), &counts.to_string()]).await?;
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a warning each minute, and none after another mistake.
    #[test]
    fn a_value_that_cannot_be_read_is_news_once() {
        let warned = WarnedSettings::default();
        let held = |text: Option<&str>| CurrentSetting {
            setting: Setting::InvoiceDue,
            value: 30,
            set_at: None,
            unreadable: text.map(str::to_owned),
        };
        let news = [Some("soon"), Some("soon"), Some("later"), None, Some("later")]
            .map(|text| warned.is_news(&held(text)));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
