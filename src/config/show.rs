use std::fmt;

use toml::Value;

use super::load::Loaded;

/// Every key with its value and origin, one a line, as TOML; passwords are hidden.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        // Keys of the top level come before the first section, as TOML wants it.
        let (mut sections, top): (Vec<_>, Vec<_>) =
            self.values.iter().partition(|(key, _)| key.contains('.'));
        // A section stands once: its own keys are not divided by those of a section within it.
        sections.sort_by_key(|(key, _)| key.rsplit_once('.'));
        for (key, (value, origin)) in top.into_iter().chain(sections) {
            let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
            if of != section {
                writeln!(f, "\n[{of}]")?;
                section = of;
            }
            writeln!(f, "{name} = {}  # {origin}", hide(key, value))?;
        }
        Ok(())
    }
}

fn hide(key: &str, value: &Value) -> Value {
    match value {
        Value::String(url) if key == "database.url" => Value::String(without_password(url)),
        Value::Array(sources) if key == "source.mqtt" => {
            Value::Array(sources.iter().map(hide_in_source).collect())
        }
        other => other.clone(),
    }
}

fn hide_in_source(source: &Value) -> Value {
    let mut source = source.clone();
    for (key, value) in source.as_table_mut().into_iter().flatten() {
        match value {
            Value::String(url) if key == "url" => *url = without_password(url),
            Value::String(password) if key == "password" && !password.is_empty() => *password = "***".into(),
            _ => {}
        }
    }
    source
}

/// `postgres://user:***@host/db`, and `password=***` in the form of words.
pub(super) fn without_password(url: &str) -> String {
    if let Some((scheme, rest)) = url.split_once("://") {
        let (address, options) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        // The last @, wherever it stands: a password may hold an @ or a / that was not escaped.
        return match address.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split_once(':').map_or(user.to_owned(), |(name, _)| format!("{name}:***"));
                format!("{scheme}://{user}@{host}{}", hide_words(options))
            }
            None => format!("{scheme}://{address}{}", hide_words(options)),
        };
    }
    hide_words(url)
}

fn hide_words(text: &str) -> String {
    match text.split_once("password=") {
        Some((before, after)) => {
            let end = after.find([' ', '&']).unwrap_or(after.len());
            format!("{before}password=***{}", &after[end..])
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_toml_that_says_the_same() {
        let loaded = crate::config::load(&crate::config::Flags::default(), &[]).unwrap();
        let shown: toml::Table = loaded.to_string().parse().unwrap();
        assert_eq!(shown, toml::Table::try_from(&loaded.config).unwrap());
    }

    #[test]
    fn no_form_of_address_shows_its_password() {
        for (url, shown) in [
            ("postgres://me:s3cret@db:5432/usage", "postgres://me:***@db:5432/usage"),
            ("postgres://me:s3/cr@et@db/usage", "postgres://me:***@db/usage"),
            (
                "postgres://me@db/usage?password=s3cret&sslmode=require",
                "postgres://me@db/usage?password=***&sslmode=require",
            ),
            ("host=db password=s3cret user=me", "host=db password=*** user=me"),
            ("", ""),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
