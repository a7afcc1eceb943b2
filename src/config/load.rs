//! Merges the sources and remembers where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::{Table, Value};

use super::hide::without_value;
use super::sections::Config;

const PREFIX: &str = "SIMBRIDGE__";

/// Variables by which every program with OpenTelemetry is told where its traces go. They concern a program without traces no more
/// than those of others, so it starts where a platform sets them for all.
const OF_OPENTELEMETRY: [(&str, &str); 4] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.endpoint"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "traces.headers"),
    ("OTEL_SERVICE_NAME", "traces.service_name"),
    ("OTEL_RESOURCE_ATTRIBUTES", "traces.resource_attributes"),
];

/// Options of the command line that override everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub database_url: Option<String>,
    pub mqtt_addr: Option<String>,
    pub http_addr: Option<String>,
    pub log_format: Option<String>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A configuration with the origin of each of its keys.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every key as a dotted path with its value, in the order of the sections.
    pub values: BTreeMap<String, (Value, Origin)>,
}

/// Why the configuration cannot be used; exit code 78.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {cause}")]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error("{path} is not TOML: {cause}")]
    NotToml { path: PathBuf, cause: String },
    #[error("unknown key `{key}` in {origin}; {hint}")]
    UnknownKey { key: String, origin: Origin, hint: String },
    #[error("`{key}` ({origin}): {problem}")]
    BadValue { key: String, origin: Origin, problem: String },
}

/// Loads the configuration from its sources; `env` is the environment.
///
/// # Errors
/// [`ConfigError`] with the key at fault and where it was set.
pub fn load(flags: &Flags, env: &[(String, String)]) -> Result<Loaded, ConfigError> {
    let defaults =
        Table::try_from(Config::default()).expect("the defaults are plain numbers, texts and lists");
    let mut merged = Merged { values: BTreeMap::new() };
    flatten("", &defaults, &mut |key, value| {
        merged.values.insert(key, (value.clone(), Origin::Default));
    });
    if let Some(path) = &flags.config {
        merged.add_file(path)?;
    }
    merged.add_environment(env)?;
    merged.add_flags(flags)?;
    merged.finish()
}

struct Merged {
    values: BTreeMap<String, (Value, Origin)>,
}

impl Merged {
    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Unreadable { path: path.into(), cause })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml {
            path: path.into(),
            cause: place(&text, &error),
        })?;
        let mut found = Vec::new();
        flatten("", &table, &mut |key, value| found.push((key, value.clone())));
        for (key, value) in found {
            let prefix = format!("{key}.");
            if value.is_table() && self.values.keys().any(|known| known.starts_with(&prefix)) {
                continue;
            }
            self.set(&key, value, Origin::File(path.into()))?;
        }
        Ok(())
    }

    fn add_environment(&mut self, env: &[(String, String)]) -> Result<(), ConfigError> {
        if let Some((name, url)) = env.iter().find(|(name, _)| name == "DATABASE_URL") {
            self.set("database.url", Value::String(url.clone()), Origin::Environment(name.clone()))?;
        }
        for (name, key) in OF_OPENTELEMETRY.into_iter().filter(|_| cfg!(feature = "opentelemetry")) {
            // An empty one is none, says its specification.
            let found = env.iter().find(|(found, value)| found == name && !value.is_empty());
            if let Some((_, value)) = found {
                self.set(key, Value::String(value.clone()), Origin::Environment(name.into()))?;
            }
        }
        let ours = env.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)));
        for (name, path, value) in ours {
            let origin = Origin::Environment(name.clone());
            let key = path.replace("__", ".").to_lowercase();
            // A secret can be kept in a file that the environment only names.
            if let Some(base) = key.strip_suffix("_file").filter(|base| self.values.contains_key(*base)) {
                let path = PathBuf::from(value);
                let text = std::fs::read_to_string(&path)
                    .map_err(|cause| ConfigError::Unreadable { path, cause })?;
                let value = self.typed(base, text.trim_end());
                self.set(base, value, origin)?;
                continue;
            }
            let value = self.typed(&key, value);
            self.set(&key, value, origin)?;
        }
        Ok(())
    }

    fn add_flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        let data_dir = flags.data_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
        let given = [
            ("data_dir", "--data-dir", &data_dir),
            ("database.url", "--database-url", &flags.database_url),
            ("mqtt.listen", "--mqtt-addr", &flags.mqtt_addr),
            ("http.listen", "--http-addr", &flags.http_addr),
            ("log.format", "--log-format", &flags.log_format),
        ];
        for (key, flag, value) in given {
            if let Some(value) = value {
                self.set(key, Value::String(value.clone()), Origin::Flag(flag))?;
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        match self.values.get_mut(key) {
            Some(held) => {
                *held = (value, origin);
                Ok(())
            }
            None => Err(ConfigError::UnknownKey { key: key.into(), origin, hint: self.neighbours(key) }),
        }
    }

    /// The value as the type that the key has; text stays text even when it looks like a number.
    fn typed(&self, key: &str, text: &str) -> Value {
        if let Some((Value::String(_), _)) = self.values.get(key) {
            return Value::String(text.into());
        }
        let parsed =
            format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        parsed.unwrap_or_else(|| Value::String(text.into()))
    }

    /// What the key could have been.
    fn neighbours(&self, key: &str) -> String {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let known: Vec<&str> = self
            .values
            .keys()
            .filter_map(|known| match known.rsplit_once('.') {
                Some((of, name)) => (of == section).then_some(name),
                None => section.is_empty().then_some(known.as_str()),
            })
            .collect();
        if known.is_empty() {
            return format!("there is no section [{section}]");
        }
        let section = if section.is_empty() { "the top level".into() } else { format!("[{section}]") };
        format!("{section} knows {}", known.join(", "))
    }

    fn finish(self) -> Result<Loaded, ConfigError> {
        let mut table = Table::new();
        for (key, (value, _)) in &self.values {
            insert(&mut table, key, value.clone());
        }
        let origin_of =
            |key: &str| self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
        let config: Config = serde_path_to_error::deserialize(table).map_err(|error| {
            let key = error.path().to_string();
            // For a list the path ends in an index that is no key.
            let key = key.split('[').next().unwrap_or_default().to_owned();
            let problem = without_value(&one_line(&error.into_inner().to_string()));
            ConfigError::BadValue { origin: origin_of(&key), key, problem }
        })?;
        if let Some((key, problem)) = config.fault() {
            return Err(ConfigError::BadValue { key: key.into(), origin: origin_of(key), problem });
        }
        if let Some((key, problem)) = config.source.fault().or_else(|| config.fault_of_mappings()) {
            let list = key.split('[').next().unwrap_or_default();
            return Err(ConfigError::BadValue { origin: origin_of(list), key, problem });
        }
        if let Err(problem) = config.mqtt.validate() {
            // The message begins with the key, as in "mqtt.listen: …".
            let text = problem.to_string();
            let (key, problem) = text.split_once(": ").unwrap_or(("mqtt", &text));
            return Err(ConfigError::BadValue {
                key: key.into(),
                origin: origin_of(key),
                problem: problem.into(),
            });
        }
        Ok(Loaded { config, values: self.values })
    }
}

fn flatten(prefix: &str, table: &Table, each: &mut impl FnMut(String, &Value)) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            // An empty section is a key too, so that an unknown one is found.
            Value::Table(inner) if !inner.is_empty() => flatten(&path, inner, each),
            value => each(path, value),
        }
    }
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.into(), value);
        }
        Some((section, rest)) => {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

/// What is wrong and where; without the line itself, which may hold a password.
fn place(text: &str, error: &toml::de::Error) -> String {
    let problem = one_line(error.message());
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {problem}", before.matches('\n').count() + 1),
        None => problem,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_the_environment_before_the_default() {
        let env = env(&[("SIMBRIDGE__INGEST__WRITERS", "3"), ("SIMBRIDGE__MQTT__LISTEN", "127.0.0.1:1")]);
        let flags = Flags { mqtt_addr: Some("127.0.0.1:2".into()), ..Flags::default() };
        let loaded = load(&flags, &env).unwrap();
        assert_eq!(loaded.config.ingest.writers, 3);
        assert_eq!(loaded.config.mqtt.listen, "127.0.0.1:2");
        assert_eq!(loaded.values["ingest.writers"].1.to_string(), "$SIMBRIDGE__INGEST__WRITERS");
        assert_eq!(loaded.values["mqtt.listen"].1.to_string(), "--mqtt-addr");
        assert_eq!(loaded.values["log.filter"].1, Origin::Default);
    }

    #[test]
    fn text_that_looks_like_a_number_stays_text_where_text_is_wanted() {
        let loaded = load(&Flags::default(), &env(&[("SIMBRIDGE__LOG__FILTER", "1")])).unwrap();
        assert_eq!(loaded.config.log.filter, "1");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_origin_and_what_it_could_have_been() {
        let error = load(&Flags::default(), &env(&[("SIMBRIDGE__LOG__FORMT", "json")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown key `log.formt` in $SIMBRIDGE__LOG__FORMT; [log] knows filter, format"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_its_key() {
        let error = load(&Flags::default(), &env(&[("SIMBRIDGE__INGEST__WRITERS", "many")])).unwrap_err();
        assert!(error.to_string().starts_with("`ingest.writers` ($SIMBRIDGE__INGEST__WRITERS): "), "{error}");
        let error = load(&Flags::default(), &env(&[("SIMBRIDGE__INGEST__WRITERS", "0")])).unwrap_err();
        assert_eq!(error.to_string(), "`ingest.writers` ($SIMBRIDGE__INGEST__WRITERS): must be at least 1");
    }
}
