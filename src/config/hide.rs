//! What of a configuration is not shown: passwords, and whatever else in an address may be a secret.

use toml::Value;

/// What stands for it.
const HIDDEN: &str = "***";

/// Options of a database's address that hold no secret (libpq's names). Only these are shown, so that one that nobody thought of is not.
const HARMLESS: [&str; 16] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "port",
    "sslmode",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// The value of a key as it may be shown.
pub(super) fn hide(key: &str, value: &Value) -> Value {
    match value {
        Value::String(url) if key == "database.url" || key == "database.read_url" => {
            Value::String(database_address(url))
        }
        Value::String(url) if key == "traces.endpoint" && !url.is_empty() => Value::String(address(url, &[])),
        Value::String(headers) if key == "traces.headers" && !headers.is_empty() => {
            Value::String(HIDDEN.into())
        }
        Value::Array(sources) if key == "source.mqtt" || key == "source.panel" => {
            Value::Array(sources.iter().map(hide_in_source).collect())
        }
        other => other.clone(),
    }
}

fn hide_in_source(source: &Value) -> Value {
    let mut source = source.clone();
    for (key, value) in source.as_table_mut().into_iter().flatten() {
        match value {
            Value::String(url) if key == "url" => *url = address(url, &[]),
            Value::String(password) if key == "password" && !password.is_empty() => *password = HIDDEN.into(),
            _ => {}
        }
    }
    source
}

/// `postgres://user:***@host/db`, and `password=***` in the form of words.
fn database_address(url: &str) -> String {
    let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    if is_url { address(url, &HARMLESS) } else { words(url) }
}

/// An address without its password, and without its query but for the keys in `shown` and the place of an account: panels and brokers behind
/// WebSocket take tokens there.
fn address(url: &str, shown: &[&str]) -> String {
    let is_scheme =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return HIDDEN.into();
    };
    // A password may hold an @, a / or a ? that was not escaped; with two @ nobody can tell which of them ends it.
    let (login, place) = match rest.split_once('@') {
        Some((_, after)) if after.contains('@') => return format!("{scheme}://{HIDDEN}"),
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let login = login.map(|login| match login.find([':', '/', '?', '#']) {
        Some(end) => format!("{}:{HIDDEN}@", &login[..end]),
        None => format!("{login}@"),
    });
    let (place, query) = place.split_at(place.find(['?', '#']).unwrap_or(place.len()));
    let query = query.split_inclusive(['?', '&', '#']).map(|part| {
        let (pair, end) = part.split_at(part.find(['?', '&', '#']).unwrap_or(part.len()));
        match pair.split_once('=') {
            _ if pair.is_empty() => end.to_owned(),
            Some((key, value)) if shown.contains(&key) || value == "{account}" => {
                format!("{key}={value}{end}")
            }
            Some(("password", _)) => format!("password={HIDDEN}{end}"),
            // The name too: base64 ends with =, and what is not escaped looks like names.
            _ => format!("{HIDDEN}{end}"),
        }
    });
    format!("{scheme}://{}{place}{}", login.unwrap_or_default(), query.collect::<String>())
}

/// `key=value` with blanks between, as libpq takes it: around the = there may be blanks, and a value may be quoted.
fn words(text: &str) -> String {
    let (mut rest, mut shown) = (text.trim(), Vec::new());
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else {
            shown.push(HIDDEN.to_owned());
            break;
        };
        let (key, after) = (key.trim(), after.trim_start());
        let value = &after[..end_of_value(after)];
        shown.push(match key {
            "user" => format!("{key}={value}"),
            _ if HARMLESS.contains(&key) => format!("{key}={value}"),
            _ if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                format!("{key}={HIDDEN}")
            }
            // Half of a value with a blank that was not quoted.
            _ => HIDDEN.to_owned(),
        });
        rest = after[value.len()..].trim_start();
    }
    shown.join(" ")
}

/// A backslash takes its meaning from the next character.
fn end_of_value(text: &str) -> usize {
    let quoted = text.starts_with('\'');
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(usize::from(quoted)) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return at + 1,
            c if !quoted && c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

/// What serde says of a wrong value, without the value: `invalid type: string, expected …`.
pub(super) fn without_value(problem: &str) -> String {
    let told = ["invalid type: ", "invalid value: "].into_iter().find(|told| problem.starts_with(told));
    let Some((told, (what, expected))) = told.zip(problem.rsplit_once(", expected ")) else {
        return problem.to_owned();
    };
    let kind = what[told.len()..].split(['`', '"']).next().unwrap_or_default().trim_end();
    format!("{told}{kind}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches an address that is taken apart in fewer ways than PostgreSQL's own programs do.
    #[test]
    fn no_form_of_address_shows_its_password() {
        for (url, shown) in [
            ("postgres://me:s3cret@db:5432/usage", "postgres://me:***@db:5432/usage"),
            ("postgres://me:s3/cr@et@db/usage", "postgres://***"),
            ("postgres://me:s3?cr#et@db/usage", "postgres://me:***@db/usage"),
            ("postgres://me@db/usage?password=s3@cret", "postgres://***"),
            (
                "postgres://me@db/usage?password=s3cret&sslmode=require",
                "postgres://me@db/usage?password=***&sslmode=require",
            ),
            ("postgres://db/usage?sslpassword=s3cret&x=1", "postgres://db/usage?***&***"),
            ("host=db password=s3cret user=me", "host=db password=*** user=me"),
            ("host=db password = 's3 cr\\'et' user=me", "host=db password=*** user=me"),
            ("password=s3\\ cret host=db", "password=*** host=db"),
            ("password=s3 cret host=db", "password=*** ***"),
            ("host=db user=me password=s3://cret", "host=db user=me password=***"),
            ("s3cret", "***"),
            ("", ""),
        ] {
            assert_eq!(database_address(url), shown);
        }
    }

    /// Catches a token in a query that is shown because it is not called a password.
    #[test]
    fn an_address_of_others_shows_nothing_of_its_query_but_where_the_account_stands() {
        for (url, shown) in [
            ("wss://me:s3cret@broker/mqtt?token=s3cret", "wss://me:***@broker/mqtt?***"),
            ("https://panel/u?of={account}&key=s3cret#s3cret", "https://panel/u?of={account}&***#***"),
            ("https://panel/u/{account}?s3cret", "https://panel/u/{account}?***"),
            ("https://panel/u?czNjcmV0=&&x=", "https://panel/u?***&&***"),
            ("token=s3cret https://panel/u", "***"),
        ] {
            assert_eq!(address(url, &[]), shown);
        }
    }

    #[test]
    fn what_logs_in_at_a_collector_is_not_shown() {
        let shown =
            |key: &str, value: &str| hide(key, &Value::String(value.into())).as_str().map(str::to_owned);
        assert_eq!(
            shown("traces.endpoint", "https://me:s3cret@collector:4318/a").as_deref(),
            Some("https://me:***@collector:4318/a")
        );
        assert_eq!(shown("traces.headers", "authorization=s3cret").as_deref(), Some("***"));
        assert_eq!(shown("traces.headers", "").as_deref(), Some(""));
    }

    #[test]
    fn a_wrong_value_is_told_by_its_kind() {
        for (problem, told) in [
            ("invalid type: integer `123`, expected a string", "invalid type: integer, expected a string"),
            ("invalid type: string \"a, expected b\", expected u64", "invalid type: string, expected u64"),
            ("unknown field `a`, expected `b`", "unknown field `a`, expected `b`"),
        ] {
            assert_eq!(without_value(problem), told);
        }
    }
}
